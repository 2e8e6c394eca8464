"""Voice measures beside a map: what a recording or a stretch of it measures, with published references and what else
moves them; never a verdict."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from speechxai.signal.acoustics import MEASURES, Measure, Reference, measures, references_for, task_kind
from speechxai.signs.whatif import kind_of
from speechxai.types import Recording

SHORTEST_S = 0.1
"""Of a stretch that is measured."""


@dataclass(frozen=True)
class Measured:
    """One measure of one recording.

    Args:
        measure: its name, unit, meaning and caveat.
        value: of the whole recording; NaN where the task does not define it or the recording does not give it.
        part: of the marked stretch; NaN as well where nothing is marked.
        defined: whether the task defines it.
        references: published values for this task and sex, each with its source and caveat.
    """

    measure: Measure
    value: float
    part: float
    defined: bool
    references: tuple[Reference, ...]


def part_of(recording: Recording, start_s: float, end_s: float) -> Recording | None:
    """A stretch of a recording, None where it is too short to be measured."""
    first, last = (round(t * recording.sample_rate) for t in (max(0.0, start_s), end_s))
    samples = recording.waveform[first:last]
    if len(samples) < SHORTEST_S * recording.sample_rate:
        return None
    return Recording(samples, recording.sample_rate, recording.id, recording.speaker, recording.label, recording.task)


def voice_measures(recording: Recording, region_s: tuple[float, float] | None = None) -> tuple[Measured, ...]:
    """Measure a recording, at its own rate, and a stretch of it.

    Args:
        recording: as it was brought; its task and sex choose what is defined and what it is compared with.
        region_s: a marked stretch, s.
    """
    task = recording.task if task_kind(recording.task) != "unknown" else kind_of(recording)
    sex = str(recording.metadata.get("sex", "any"))
    whole = measures(recording.waveform, recording.sample_rate)
    marked = None if region_s is None else part_of(recording, *region_s)
    part = {} if marked is None else measures(marked.waveform, marked.sample_rate)
    found = []
    for measure in MEASURES:
        defined = measure.defined_on(task)
        found.append(
            Measured(
                measure,
                whole[measure.name] if defined else math.nan,
                part.get(measure.name, math.nan) if defined else math.nan,
                defined,
                _references(measure.name, task, sex) if defined else (),
            )
        )
    return tuple(found)


def _references(name: str, task: str, sex: str) -> tuple[Reference, ...]:
    """Published values for a task and a sex; of another vowel than the one that is held none."""
    found = references_for(name, task, sex if sex in ("F", "M") else "any")
    return tuple(one for one in found if "-" not in one.task or "-" not in task or one.task == task)


KINDS = {"cutoff_above": "cut-off, above", "cutoff_below": "cut-off, below", "typical": "typical", "direction": ""}


_KEY = re.compile(r" \([a-z]+\d{4}[a-z]*\)")


def reference_words(reference: Reference) -> str:
    """A published value with all that it holds for, in words; its source without the key of a bibliography, which tells
    a reader nothing."""
    about = (reference.task, reference.sex, reference.language, reference.software)
    holds = ", ".join(word for word in about if word not in ("any", ""))
    known = reference.value == reference.value
    value = f"{KINDS[reference.kind]} {reference.value:g} {reference.unit}" if known else ""
    source = _KEY.sub("", reference.source)
    return f"{value or 'no number is agreed'}{f' ({holds})' if holds else ''}: {source}. {reference.caveat}"


def short_references(one: Measured, most: int = 2) -> str:
    """Published values in a few words; their sources and caveats stand in the table of measures."""
    known = [r for r in one.references if r.value == r.value and r.kind in ("cutoff_above", "cutoff_below", "typical")]
    return "; ".join(f"{KINDS[r.kind]} {r.value:g} {r.unit}".strip() for r in known[:most])


def value_words(value: float, unit: str = "") -> str:
    """A value as people read it, three digits; "" where there is none."""
    if value != value:
        return ""
    digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:.{min(digits, 3)}f}{f' {unit}' if unit else ''}"


HEADER = ("measure", "recording", "marked", "reference", "what else moves it")
CSV_HEADER = (
    "measure",
    "name",
    "unit",
    "defined_on_task",
    "recording",
    "marked",
    "start_s",
    "end_s",
    "references",
    "caveat",
)


def shown(found: Sequence[Measured]) -> list[Measured]:
    """Those that people read: levels of bands are in the file alone."""
    return [one for one in found if not one.measure.name.startswith("band_")]


def rows(found: Sequence[Measured]) -> list[tuple[str, ...]]:
    """Rows of the table below HEADER."""
    return [
        (
            one.measure.label,
            value_words(one.value, one.measure.unit) or ("not given by this recording" if one.defined else ""),
            value_words(one.part, one.measure.unit),
            " ".join(reference_words(reference) for reference in one.references),
            one.measure.caveat if one.defined else "",
        )
        for one in shown(found)
    ]


def csv_rows(found: Sequence[Measured], region_s: tuple[float, float] | None = None) -> list[tuple[object, ...]]:
    """Rows of the file, its header first; a value that is not defined is empty."""
    start, end = region_s or ("", "")
    lines: list[tuple[object, ...]] = [CSV_HEADER]
    for one in found:
        m = one.measure
        value, part = ("" if v != v else float(f"{v:.6g}") for v in (one.value, one.part))
        texts = " | ".join(reference_words(reference) for reference in one.references)
        lines.append((m.label, m.name, m.unit, one.defined, value, part, start, end, texts, m.caveat))
    return lines
