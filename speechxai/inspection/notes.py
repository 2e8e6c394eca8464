"""Notes of a reader on one recording: named stretches and boxes of time and frequency, comments and perceptual ticks.

They are health data: files of one folder that its owner sees and may empty, never in a cache.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from speechxai.data.textgrid import Interval, write_tiers
from speechxai.files import csv_text, read_json, to_json, write_atomically

TICKS = ("breathy", "rough", "weak", "tremulous", "monotone", "imprecise")
"""What a listener rates by ear."""

MOST = 3
"""Ratings are 0 (not at all) to this (severe); one that was not given is left out."""

WHOLE = "whole"
"""The note on the whole recording, of which there is always one."""

LONGEST = 4_000
"""Characters of a name or comment that are kept."""


@dataclass(frozen=True)
class Note:
    """One note.

    Args:
        id: its own name, WHOLE for the one on the whole recording.
        name: as its writer calls it.
        start_s, end_s: the stretch; None for the whole recording.
        low_hz, high_hz: of a box; None for all frequencies.
        text: the comment.
        ticks: ratings 0 to MOST by name, those that were given.
    """

    id: str
    name: str = ""
    start_s: float | None = None
    end_s: float | None = None
    low_hz: float | None = None
    high_hz: float | None = None
    text: str = ""
    ticks: Mapping[str, int] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Whether it says nothing at all."""
        return self.start_s is None and not self.text and not self.ticks

    @property
    def title(self) -> str:
        """What it is called."""
        return self.name or ("whole recording" if self.start_s is None else "region")

    @property
    def place(self) -> str:
        """Where it lies, in words.

        >>> Note("a", "", 0.5, 1.0, 500.0, 2000.0).place
        '0.50 to 1.00 s, 500 to 2000 Hz'
        """
        if self.start_s is None:
            return "whole recording"
        where = f"{self.start_s:.2f} to {self.end_s:.2f} s"
        return where if self.low_hz is None else f"{where}, {self.low_hz:.0f} to {self.high_hz:.0f} Hz"

    @property
    def said(self) -> str:
        """Ratings and comment in one line.

        >>> Note("a", text="only at the end", ticks={"weak": 2, "breathy": 1}).said
        'breathy 1, weak 2: only at the end'
        """
        rated = ", ".join(f"{name} {self.ticks[name]}" for name in TICKS if name in self.ticks)
        return ": ".join(part for part in (rated, " ".join(self.text.split())) if part)

    @property
    def label(self) -> str:
        """Name, ratings and comment, for tiers and label tracks."""
        return f"{self.title} ({self.said})" if self.said else self.title


def ordered(notes: Iterable[Note]) -> tuple[Note, ...]:
    """The whole recording first, then by time; exactly one note is on the whole."""
    found = {note.id: note for note in notes}
    whole = found.pop(WHOLE, Note(WHOLE))
    return (whole, *sorted(found.values(), key=lambda n: (n.start_s or 0.0, n.end_s or 0.0, n.id)))


def changed(notes: Sequence[Note], id_: str, **what: Any) -> tuple[Note, ...]:
    """The notes with one changed; a stretch or box whose ends are turned around is turned back."""
    made = []
    for note in notes:
        one = replace(note, **what) if note.id == id_ else note
        if one.start_s is not None and one.end_s is not None and one.end_s < one.start_s:
            one = replace(one, start_s=one.end_s, end_s=one.start_s)
        if one.low_hz is not None and one.high_hz is not None and one.high_hz < one.low_hz:
            one = replace(one, low_hz=one.high_hz, high_hz=one.low_hz)
        made.append(one)
    return ordered(made)


def without(notes: Sequence[Note], ids: Iterable[str]) -> tuple[Note, ...]:
    """The notes without some; the one on the whole recording is emptied instead."""
    gone = set(ids)
    return ordered(note for note in notes if note.id not in gone)


def merged(notes: Sequence[Note], items: Iterable[Mapping[str, Any]], removed: Iterable[str] = ()) -> tuple[Note, ...]:
    """The notes with regions that a player drew or moved: {"id", "start", "end", "low", "high", "label"}; what is no
    region is left out. Name, comment and ratings of a note that is there stay."""
    known = {note.id: note for note in notes}
    for item in items:
        edges = [item.get(name) for name in ("start", "end", "low", "high")]
        if not all(_is_number(edge) for edge in edges[:2]) or float(edges[1]) <= float(edges[0]):  # type: ignore[arg-type]
            continue
        low, high = (float(e) for e in edges[2:]) if all(_is_number(e) for e in edges[2:]) else (None, None)  # type: ignore[arg-type]
        id_ = str(item.get("id", ""))[:64]
        if not id_ or id_ == WHOLE:
            continue
        before = known.get(id_, Note(id_, str(item.get("label", ""))[:LONGEST]))
        known[id_] = replace(before, start_s=float(edges[0]), end_s=float(edges[1]), low_hz=low, high_hz=high)  # type: ignore[arg-type]
    return without(ordered(known.values()), removed)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def for_player(notes: Sequence[Note]) -> list[dict[str, Any]]:
    """Regions as the player draws them."""
    return [
        {"id": n.id, "label": n.title, "start": n.start_s, "end": n.end_s, "low": n.low_hz, "high": n.high_hz}
        for n in notes
        if n.start_s is not None
    ]


def told(notes: Sequence[Note]) -> list[Note]:
    """Those that say something."""
    return [note for note in notes if not note.empty]


# ---- for other programs


def textgrid(notes: Sequence[Note], duration_s: float) -> str:
    """Notes for Praat: the whole recording on a tier of its own, the others on as many as they need to lie free of each
    other."""
    given = told(notes)
    tiers: list[list[Interval]] = []
    for note in given:
        if note.start_s is None or note.end_s is None:
            continue
        free = next((tier for tier in tiers if tier[-1][1] <= note.start_s + 1e-6), None)
        if free is None:
            tiers.append(free := [])
        free.append((note.start_s, note.end_s, note.label))
    named = [(f"notes {i}" if i > 1 else "notes", tier) for i, tier in enumerate(tiers, 1)]
    named += [("recording", [(0.0, duration_s, note.label)]) for note in given if note.start_s is None]
    return write_tiers(named or [("notes", [])], duration_s)


def audacity(notes: Sequence[Note], duration_s: float) -> str:
    """Notes as an Audacity label track: start, end and label; a box is a spectral label, its frequencies on a line of
    their own."""
    lines = []
    for note in told(notes):
        start, end = (0.0, duration_s) if note.start_s is None or note.end_s is None else (note.start_s, note.end_s)
        lines.append(f"{start:.6f}\t{end:.6f}\t{' '.join(note.label.split())}\n")
        if note.low_hz is not None and note.high_hz is not None:
            lines.append(f"\\\t{note.low_hz:.6f}\t{note.high_hz:.6f}\n")
    return "".join(lines)


CSV_HEADER = ("recording", "name", "start_s", "end_s", "low_hz", "high_hz", *TICKS, "comment")


def table(recording: str, notes: Sequence[Note]) -> str:
    """Notes as CSV; a rating that was not given is empty."""
    rows: list[Sequence[Any]] = [CSV_HEADER]
    for n in told(notes):
        edges = ("" if v is None else v for v in (n.start_s, n.end_s, n.low_hz, n.high_hz))
        rows.append((recording, n.title, *edges, *(n.ticks.get(name, "") for name in TICKS), n.text))
    return csv_text(rows)


def content(recording: str, notes: Sequence[Note]) -> dict[str, Any]:
    """Notes for JSON, as they lie in their file."""
    return {"recording": recording, "notes": [{**vars(n), "ticks": dict(n.ticks)} for n in told(notes)]}


# ---- the folder


def path_of(folder: Path, recording: str) -> Path:
    """File of a recording's notes."""
    return folder / f"{hashlib.sha256(recording.encode()).hexdigest()[:24]}.notes.json"


def read(folder: Path, recording: str) -> tuple[Note, ...]:
    """Notes of a recording; of one that has none, and of a damaged file, an empty one on the whole."""
    found = read_json(path_of(folder, recording))
    kept = found.get("notes", []) if isinstance(found, dict) else []
    notes = []
    for one in kept if isinstance(kept, list) else []:
        with suppress(TypeError, ValueError):
            given = {name: one[name] for name in Note.__dataclass_fields__ if name in one}
            ticks = {k: int(v) for k, v in given.pop("ticks", {}).items() if k in TICKS and 0 <= int(v) <= MOST}
            notes.append(Note(**given, ticks=ticks))
    return ordered(notes)


def write(folder: Path, recording: str, notes: Sequence[Note]) -> None:
    """Write the notes of a recording, or remove their file where none says anything.

    Raises:
        OSError: the folder cannot be written.
    """
    path = path_of(folder, recording)
    if told(notes):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, to_json(content(recording, notes)))
    else:
        path.unlink(missing_ok=True)


def delete_all(folder: Path) -> int:
    """Delete every file of notes in a folder, and the folder where nothing else is in it; returns how many.

    Raises:
        OSError: a file cannot be deleted.
    """
    files = sorted(folder.glob("*.notes.json"))
    for path in files:
        path.unlink()
    with suppress(OSError):
        folder.rmdir()
    return len(files)
