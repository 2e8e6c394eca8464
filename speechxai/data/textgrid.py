"""Praat TextGrids read, in each of the forms that Praat writes, and written."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator, Sequence
from typing import Any

from speechxai.errors import SpeechXAIError
from speechxai.files import decoded

Interval = tuple[float, float, str]
MAX_BYTES = 5_000_000
TOLERANCE_S = 0.1
"""How much longer or shorter than its TextGrid a recording may be: a codec adds up to 0.06 s."""

POINT_S = 0.01
"""A point becomes an interval of this length, to be seen."""

_BINARY = b"ooBinaryFile"
_TOKEN = re.compile(r'"((?:[^"]|"")*)"(?=\s|$)|![^\r\n]*|(\S+)')
_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?")


class TextGridError(SpeechXAIError):
    """A file that is no TextGrid, or not of this recording; the message says why."""


def read_textgrid(content: bytes, duration_s: float | None = None) -> tuple[dict[str, Any], ...]:
    """Read the tiers of a TextGrid: text in the long or short form, whatever its encoding, or binary.

    Args:
        content: the file's bytes.
        duration_s: of the recording that it must belong to; None does not compare.

    Returns:
        A dictionary a tier: name, intervals with start and end (s) and label, and whether they are `points`; empty
        labels are left out, points become intervals of POINT_S.

    Raises:
        TextGridError: not a TextGrid, cut off in the middle, or of another stretch of time than the recording.
    """
    if len(content) > MAX_BYTES:
        raise TextGridError("The TextGrid is larger than 5 MB. Cut it to this recording.")
    try:
        source = _Binary(content) if content.startswith(_BINARY) else _Text(content)
        start, end = source.number(), source.number()
        tiers = tuple(_tier(source, start, end) for _ in range(source.n_tiers()))
        source.finish()
    except TextGridError:
        raise
    except ValueError as error:
        raise TextGridError(f"The TextGrid is cut off or damaged ({error}). Save it from Praat again.") from error
    if duration_s is not None and max(abs(start), abs(end - duration_s)) > TOLERANCE_S:
        raise TextGridError(
            f"The TextGrid covers {start:.2f} to {end:.2f} s, and this recording lasts {duration_s:.2f} s: it belongs"
            " to another one, or to a part that kept its old times (in Praat: Modify, Shift times to zero)."
        )
    return tiers


def _tier(source: _Text | _Binary, first: float, last: float) -> dict[str, Any]:
    kind = source.kind()
    if kind not in ("IntervalTier", "TextTier"):
        raise ValueError(f"a tier of the kind {kind[:40]!r}")
    name = source.text()
    if not all(first - TOLERANCE_S <= edge <= last + TOLERANCE_S for edge in (source.number(), source.number())):
        raise ValueError("a tier covers more than the TextGrid")
    intervals, before = [], -math.inf
    for _ in range(source.count()):
        start = source.number()
        end = source.number() if kind == "IntervalTier" else start + POINT_S
        label = source.text().strip()
        if kind == "IntervalTier" and first - TOLERANCE_S <= start < before and start <= end:
            raise TextGridError(
                f"In the TextGrid's tier '{name[:40]}' {start:g} to {end:g} s begins before the interval in front of it"
                f" ends, at {before + 1e-6:g} s. Move one of the two edges: intervals may not overlap."
            )
        if not (max(before, first - TOLERANCE_S) <= start <= end <= last + TOLERANCE_S + POINT_S):
            raise ValueError(f"{start:g} to {end:g} s is out of order")
        before = (end if kind == "IntervalTier" else start) - 1e-6
        if label:
            intervals.append({"start": start, "end": end, "label": label})
    return {"name": name, "intervals": intervals, "points": kind == "TextTier"}


class _Text:
    """Both text forms hold the same numbers, flags and quoted strings in the same order.

    Everything else is comment: words, what follows an exclamation mark, and a number that does not stand free, such as
    the one in "intervals [1]:".
    """

    def __init__(self, content: bytes) -> None:
        try:
            text = decoded(content, "The TextGrid")
        except SpeechXAIError as error:
            raise TextGridError(f"{error} It is no TextGrid.") from error
        self._tokens = self._read(text)
        head = [next(self._tokens, None) for _ in range(2)]
        if "<ANNOTATION_DOCUMENT" in text[:2000]:
            raise TextGridError(
                "The file is a document of ELAN. Export it there: File, Export As, Praat TextGrid File."
            )
        if head[0] not in (("ooTextFile",), ("ooTextFile short",)) or head[1] != ("TextGrid",):
            raise TextGridError(
                'The file does not begin with File type = "ooTextFile" and Object class = "TextGrid". Save it from'
                " Praat as a text file or a short text file."
            )

    @staticmethod
    def _read(text: str) -> Iterator[float | str | tuple[str]]:
        """Numbers, flags, and strings in a tuple."""
        for found in _TOKEN.finditer(text):
            string, word = found.groups()
            if string is not None:
                yield (string.replace('""', '"'),)
            elif word and _NUMBER.fullmatch(word):
                yield float(word)
            elif word in ("<exists>", "<absent>"):
                yield word
            elif word and word.strip("+-").lower() in ("nan", "inf", "infinity", "undefined"):
                raise ValueError(f"a time is {word}")
            elif word and word.startswith('"'):
                raise ValueError("a text without an end")

    def _next(self) -> float | str | tuple[str]:
        found = next(self._tokens, None)
        if found is None:
            raise ValueError("it ends too early")
        return found

    def number(self) -> float:
        found = self._next()
        if not isinstance(found, float) or not math.isfinite(found):
            raise ValueError(f"a number was expected, and {str(found)[:40]} stands there")
        return found

    def count(self) -> int:
        found = self.number()
        if found < 0 or found != int(found):
            raise ValueError(f"{found:g} is no number of intervals")
        return int(found)

    def text(self) -> str:
        found = self._next()
        if not isinstance(found, tuple):
            raise ValueError(f"a text was expected, and {str(found)[:40]} stands there")
        return found[0]

    kind = text

    def n_tiers(self) -> int:
        found = self._next()
        if found not in ("<exists>", "<absent>"):
            raise ValueError("it does not say whether it has tiers")
        return self.count() if found == "<exists>" else 0

    def finish(self) -> None:
        if next(self._tokens, None) is not None:
            raise ValueError("it holds more than it states")


class _Binary:
    """Big-endian doubles and 32-bit counts; texts with their length, of one byte a character or of two."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, len(_BINARY)
        if self.kind() != "TextGrid":
            raise TextGridError("The file is a binary file of Praat, but no TextGrid.")

    def _take(self, n_bytes: int) -> bytes:
        taken = self._content[self._at : self._at + n_bytes]
        if len(taken) < n_bytes:
            raise ValueError("it ends too early")
        self._at += n_bytes
        return taken

    def number(self) -> float:
        (found,) = struct.unpack(">d", self._take(8))
        if not math.isfinite(found):
            raise ValueError("a time is not finite")
        return float(found)

    def count(self) -> int:
        return int.from_bytes(self._take(4), "big")

    def text(self) -> str:
        length = int.from_bytes(self._take(2), "big")
        if length != 0xFFFF:
            return self._take(length).decode("latin-1")
        return self._take(2 * int.from_bytes(self._take(2), "big")).decode("utf-16-be")

    def kind(self) -> str:
        return self._take(self._take(1)[0]).decode("latin-1")

    def n_tiers(self) -> int:
        return self.count() if self._take(1) != b"\0" else 0

    def finish(self) -> None:
        if self._at != len(self._content):
            raise ValueError("it holds more than it states")


def write_textgrid(intervals: Sequence[Interval], duration_s: float, tier: str = "evidence") -> str:
    """Write intervals (start, end, label), s, as a TextGrid with one tier that covers the whole recording."""
    return write_tiers([(tier, intervals)], duration_s)


def write_tiers(tiers: Sequence[tuple[str, Sequence[Interval]]], duration_s: float) -> str:
    """Write tiers, each a name and intervals (start, end, label), s, as a TextGrid; each covers the whole recording."""

    def quoted(label: str) -> str:
        return '"' + label.replace('"', '""') + '"'

    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {duration_s}",
        "tiers? <exists>",
        f"size = {len(tiers)}",
        "item []:",
    ]
    for place, (name, intervals) in enumerate(tiers, start=1):
        filled = _without_holes(intervals, duration_s)
        lines += [
            f"    item [{place}]:",
            '        class = "IntervalTier"',
            f"        name = {quoted(name)}",
            "        xmin = 0",
            f"        xmax = {duration_s}",
            f"        intervals: size = {len(filled)}",
        ]
        for index, (start, end, label) in enumerate(filled, start=1):
            lines += [
                f"        intervals [{index}]:",
                f"            xmin = {start}",
                f"            xmax = {end}",
                f"            text = {quoted(label)}",
            ]
    return "\n".join(lines) + "\n"


def _without_holes(intervals: Sequence[Interval], duration_s: float) -> list[Interval]:
    """The intervals in order, with empty ones between them."""
    filled: list[Interval] = []
    at = 0.0
    for start, end, label in sorted(intervals):
        start, end = max(at, start), min(duration_s, end)
        if end - start < 1e-6:
            continue
        if start - at > 1e-6:
            filled.append((at, start, ""))
        filled.append((start, end, label))
        at = end
    if duration_s - at > 1e-6:
        filled.append((at, duration_s, ""))
    return filled
