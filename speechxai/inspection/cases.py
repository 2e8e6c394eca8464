"""Saved cases of one person over time: what each says, on one axis of dates."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechxai.files import read_json
from speechxai.inspection.notes import MOST, TICKS

RATED = f"(0 to {MOST})"
"""How the name of a perceptual rating ends."""


@dataclass(frozen=True)
class Case:
    """One saved case.

    Args:
        person: as whoever saved it calls them.
        day: of the recording.
        recording, task, model: names.
        scale: what `p` is, as "P(PD)".
        p: the model's answer on it; NaN where no class was named.
        values: voice measures by label with unit, and perceptual ticks of the whole recording.
        folder: where it lies.
    """

    person: str
    day: datetime.date
    recording: str
    task: str
    model: str
    scale: str
    p: float
    values: Mapping[str, float]
    folder: Path


def read_cases(folder: Path) -> list[Case]:
    """Cases saved in a folder with a person and a day, oldest first; others are passed over."""
    found = []
    for path in sorted(folder.glob("*/case.json")):
        facts = read_json(path)
        if isinstance(facts, dict) and facts.get("person"):
            try:
                found.append(_case(facts, path.parent))
            except (KeyError, TypeError, ValueError):  # written by another version: the others are shown
                continue
    return sorted(found, key=lambda case: (case.day, case.folder.name))


def _case(facts: Mapping[str, Any], folder: Path) -> Case:
    values = {str(name): float(value) for name, value in facts["measures"].items()}
    for note in facts["notes"]:
        if note["start_s"] is None:
            values |= {f"{name} {RATED}": float(note["ticks"][name]) for name in TICKS if name in note["ticks"]}
    p = facts["answer"]["p"]
    return Case(
        person=str(facts["person"]),
        day=datetime.date.fromisoformat(facts["recorded"]),
        recording=str(facts["recording"]),
        task=str(facts["task"]),
        model=str(facts["made"]["model"]),
        scale=str(facts["answer"]["scale"]),
        p=math.nan if p is None else float(p),
        values=values,
        folder=folder,
    )


def people(cases: Sequence[Case]) -> dict[str, int]:
    """Persons with their number of cases, in the order of their first."""
    found: dict[str, int] = {}
    for case in cases:
        found[case.person] = found.get(case.person, 0) + 1
    return found


def series(cases: Sequence[Case], name: str) -> dict[str, tuple[list[datetime.date], list[float]]]:
    """Days and values of a measure, of `P` the answer, a line for each task (and for the answer each model): what was
    asked otherwise is not joined."""
    lines: dict[str, tuple[list[datetime.date], list[float]]] = {}
    for case in cases:
        value = case.p if name == case.scale else case.values.get(name, math.nan)
        if value == value:
            key = f"{case.task} · {case.model}" if name == case.scale else case.task
            days, values = lines.setdefault(key, ([], []))
            days.append(case.day)
            values.append(value)
    return lines
