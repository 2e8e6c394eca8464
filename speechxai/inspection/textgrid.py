"""Praat TextGrids read and written, and Audacity labels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

Interval = tuple[float, float, str]
MAX_BYTES = 5_000_000


class TextGridError(ValueError):
    """A file that is no TextGrid; the message says why."""


def read_textgrid(content: bytes) -> tuple[dict[str, Any], ...]:
    """Read the interval tiers of a TextGrid, long or short form, UTF-8 or UTF-16; point tiers become short intervals.

    Returns:
        A dictionary a tier: name, and intervals with start and end (s) and label; empty labels are left out.

    Raises:
        TextGridError: not a TextGrid, or cut off in the middle.
    """
    if len(content) > MAX_BYTES:
        raise TextGridError("The TextGrid is larger than 5 MB. Cut it to this recording.")
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise TextGridError("The file is not text in UTF-8 or UTF-16, so it is no TextGrid.") from error
    if '"TextGrid"' not in text[:200]:
        raise TextGridError(
            'The file does not begin with Object class = "TextGrid". Save it from Praat as a text file.'
        )
    # Both forms hold the same numbers and quoted strings in the same order; names and brackets stand between them.
    tokens = [
        match.group(1).replace('""', '"') if match.group(1) is not None else float(match.group(2))
        for match in re.finditer(r'"((?:[^"]|"")*)"|(?<![\w\[.])(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)(?![\w\].])', text)
    ]
    tokens = tokens[2:]
    try:
        return _tiers(tokens)
    except (IndexError, TypeError, ValueError) as error:
        raise TextGridError("The TextGrid is cut off or damaged. Save it from Praat again.") from error


def _tiers(tokens: list[Any]) -> tuple[dict[str, Any], ...]:
    at = 2  # xmin, xmax
    n_tiers, at = int(tokens[at]), at + 1
    tiers = []
    for _ in range(n_tiers):
        kind, name = str(tokens[at]), str(tokens[at + 1])
        n, at = int(tokens[at + 4]), at + 5
        width = 3 if kind == "IntervalTier" else 2
        intervals = []
        for _ in range(n):
            values, at = tokens[at : at + width], at + width
            start, end = float(values[0]), float(values[1]) if width == 3 else float(values[0]) + 0.01
            label = values[width - 1]
            if not isinstance(label, str):
                raise TypeError(label)
            if label.strip():
                intervals.append({"start": start, "end": end, "label": label.strip()})
        tiers.append({"name": name[:9], "intervals": intervals})
    return tuple(tiers)


def write_textgrid(intervals: Sequence[Interval], duration_s: float, tier: str = "evidence") -> str:
    """Write intervals (start, end, label), s, as a TextGrid with one tier that covers the whole recording."""
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

    def quoted(label: str) -> str:
        return '"' + label.replace('"', '""') + '"'

    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {duration_s}",
        "tiers? <exists>",
        "size = 1",
        "item []:",
        "    item [1]:",
        '        class = "IntervalTier"',
        f"        name = {quoted(tier)}",
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


def write_audacity(intervals: Sequence[Interval]) -> str:
    """Write intervals (start, end, label), s, as an Audacity label track."""
    lines = []
    for start, end, label in sorted(intervals):
        plain = re.sub(r"[\t\n]", " ", label)
        lines.append(f"{start:.6f}\t{end:.6f}\t{plain}\n")
    return "".join(lines)
