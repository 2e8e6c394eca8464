"""Units of a recording: phones and words of a TextGrid, or what the sound alone tells.

Units of one tier follow each other without holes and cover the whole recording: what is empty in a tier is a pause, as
aligners and Praat write it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np

from speechxai.data.textgrid import TextGridError, read_textgrid
from speechxai.errors import SpeechXAIError, encodable
from speechxai.files import read_bytes
from speechxai.signal.acoustics import (
    BURST_S,
    FEWEST_STOPS,
    PAUSE,
    SHORTEST_PAUSE_S,
    VOICED,
    segments_by_voicing,
    stops,
    task_kind,
)
from speechxai.signal.audio import AUDIO_SUFFIXES
from speechxai.types import Recording
from speechxai.units import symbols

Kind = Literal["phones", "words"]

PHONES = symbols.words("phone phones phoneme phonemes phon phn phns segment segments mau segs")
WORDS = symbols.words("word words wrd wrds ort orthography token tokens wort wörter mot mots palabra palabras")
"""How tiers are named, one word of the name in small letters: WebMAUS calls them MAU and ORT-MAU."""

OWN = ("own", "own:vowel", "own:ddk")
"""What stands for a TextGrid where there is none: `own_units`, of any recording, of a sustained vowel, of syllables."""

UNKNOWN = "unknown"
"""Class of a symbol that no set has."""

_HOLE_S = 1e-3


@dataclass(frozen=True)
class Unit:
    """A phone, a word or a pause.

    Args:
        start_s, end_s: where.
        label: as it was written; "" of an empty interval.
        kind: class of a phone: one of `symbols.CLASSES`, "vowel" where its height is not known, "voiced" or
            "unvoiced" where only the sound is known, UNKNOWN; of a word "word" or "pause".
    """

    start_s: float
    end_s: float
    label: str
    kind: str


@dataclass(frozen=True)
class Units:
    """Tiers of a recording.

    Args:
        phones, words: each covers the recording; () where there is no such tier.
        source: the TextGrid's path, or one of OWN.
        duration_s: of the recording.
        note: what has no class, in a sentence; "" where all have one.
        sha256: of the TextGrid; "" where there is none.
    """

    phones: tuple[Unit, ...]
    words: tuple[Unit, ...]
    source: str
    duration_s: float
    note: str = ""
    sha256: str = ""

    @property
    def spans(self) -> tuple[tuple[float, float], ...]:
        """Where each phone lies, where there are none each word, (start, end) in s: what `unit_occlusion` silences."""
        return tuple((unit.start_s, unit.end_s) for unit in self.phones or self.words)


def tier_kind(name: str) -> Kind | None:
    """What a tier holds by its name; None where the name does not say.

    WebMAUS's KAN-MAU (dictionary forms) and TRN (whole turns) are neither.

    >>> [tier_kind(name) for name in ("phones", "Anna - words", "MAU", "ORT-MAU", "KAN-MAU", "notes")]
    ['phones', 'words', 'phones', 'words', None, None]
    """
    said = re.findall(r"[^\W\d_]+", name.lower())
    if WORDS & set(said):
        return "words"
    if {"kan", "trn", "mas"} & set(said):
        return None
    return "phones" if PHONES & set(said) else None


def _chosen(tiers: Sequence[Mapping[str, Any]], path: str) -> dict[Kind, Mapping[str, Any]]:
    """The tier of phones and that of words."""
    found: dict[Kind, Mapping[str, Any]] = {}
    for tier in tiers:
        kind = None if tier["points"] else tier_kind(tier["name"])
        if kind is None:
            continue
        if kind in found:
            raise TextGridError(
                f"{path}: two tiers hold {kind}, '{found[kind]['name']}' and '{tier['name']}'. Leave the one of the"
                " speaker who is explained."
            )
        found[kind] = tier
    if not found:
        names = ", ".join(f"'{tier['name'][:40]}'" for tier in tiers[:12]) or "none"
        raise TextGridError(
            f"{path}: no tier is named as one of phones or words; its tiers: {names}. Rename them 'phones' and 'words'."
        )
    empty = [str(tier["name"]) for tier in found.values() if not tier["intervals"]]
    if len(empty) == len(found):
        raise TextGridError(f"{path}: the tier '{empty[0]}' is empty. Align the recording again, or write its labels.")
    return {kind: tier for kind, tier in found.items() if tier["intervals"]}


def read_units(path: str | Path, duration_s: float) -> Units:
    """Read phones and words of a TextGrid.

    Args:
        path: the file.
        duration_s: of its recording.

    Raises:
        TextGridError: no TextGrid, or one of another recording, without a tier of phones or words, with two of them, or
            with empty ones; the message begins with the path.
        SpeechXAIError: a file that cannot be read.
    """
    return units_in(read_bytes(path), encodable(path), duration_s)


def units_in(content: bytes, name: str, duration_s: float) -> Units:
    """Read phones and words of the content of a TextGrid that is known by a name; as `read_units`."""
    try:
        tiers = read_textgrid(content, duration_s)
    except TextGridError as error:
        raise TextGridError(f"{name}: {error}") from error
    chosen = _chosen(tiers, name)
    phones: tuple[Unit, ...] = ()
    words: tuple[Unit, ...] = ()
    empty = [f"'{t['name']}'" for t in tiers if not t["points"] and tier_kind(t["name"]) and not t["intervals"]]
    note = f"Left out, for nothing stands in it: the tier {', '.join(empty)}." if empty else ""
    if "phones" in chosen:
        intervals = chosen["phones"]["intervals"]
        reading = symbols.read(interval["label"] for interval in intervals)
        note = " ".join(said for said in (note, reading.words()) if said)

        def class_of(label: str) -> str:
            return symbols.PAUSE if symbols.is_silence(label) else reading.classes.get(label, UNKNOWN)

        phones = _filled([(i["start"], i["end"], i["label"], class_of(i["label"])) for i in intervals], duration_s)
    if "words" in chosen:
        intervals = chosen["words"]["intervals"]
        named = [
            (i["start"], i["end"], i["label"], symbols.PAUSE if symbols.is_silence(i["label"], word=True) else "word")
            for i in intervals
        ]
        words = _filled(named, duration_s)
    digest = hashlib.sha256(content).hexdigest()
    return Units(phones, words, name, duration_s, f"{name}: {note}" if note else "", digest)


def _filled(intervals: Iterable[tuple[float, float, str, str]], duration_s: float) -> tuple[Unit, ...]:
    """Units in order that cover the recording, with pauses where nothing stands; silences that touch are one."""
    found: list[Unit] = []

    def add(start: float, end: float, label: str, kind: str) -> None:
        if end <= start:
            return
        if kind == symbols.PAUSE and found and found[-1].kind == symbols.PAUSE:
            found[-1] = Unit(found[-1].start_s, end, found[-1].label or label, kind)
        else:
            found.append(Unit(start, end, label, kind))

    at = 0.0
    for start, end, label, kind in sorted(intervals):
        start, end = max(at, start), min(duration_s, end)
        if end <= start:
            continue
        if start - at < _HOLE_S:
            start = at
        add(at, start, "", symbols.PAUSE)
        add(start, end, label, kind)
        at = end
    if found and 0 < duration_s - at < _HOLE_S:
        found[-1] = Unit(found[-1].start_s, duration_s, found[-1].label, found[-1].kind)
    else:
        add(at, duration_s, "", symbols.PAUSE)
    return tuple(found)


def own_units(recording: Recording, task: str | None = None) -> Units:
    """Units that the sound alone tells: pauses and voiced and unvoiced stretches; of syllables ("ddk") closures, bursts
    and vowels, of a sustained vowel its voiced stretches as vowel.

    Vowels have no height here, and closures are those of `signal.acoustics.stops`, a burst BURST_S of them.

    Args:
        recording: any sample rate.
        task: as recordings have it, such as "ddk-pataka"; None is the recording's own.
    """
    kind = task_kind(recording.task if task is None else task)
    source = f"own:{kind}" if kind in ("vowel", "ddk") else "own"
    rate, duration = recording.sample_rate, recording.duration_s
    hop = max(1, round(0.005 * rate))
    n_frames = recording.waveform.shape[0] // hop + 1
    voicing = segments_by_voicing(recording.waveform, rate, n_frames, hop)
    # Silence inside of speech is part of a consonant; only a long one is a pause.
    edges = [0, *(np.flatnonzero(np.diff(voicing)) + 1).tolist(), n_frames]
    stretches: list[tuple[float, float, str]] = []
    for first, last in pairwise(edges):
        start, end = max(0.0, (first - 0.5) * hop / rate), min(duration, (last - 0.5) * hop / rate)
        end = duration if last == n_frames else end
        outer = first == 0 or last == n_frames
        if voicing[first] == PAUSE:
            name = symbols.PAUSE if outer or end - start >= SHORTEST_PAUSE_S else "unvoiced"
        elif voicing[first] == VOICED:
            name = "vowel" if source != "own" else "voiced"
        else:
            name = "unvoiced"
        if stretches and stretches[-1][2] == name:
            stretches[-1] = (stretches[-1][0], end, name)
        elif end > start:
            stretches.append((start, end, name))
    if source == "own:vowel":
        return Units(tuple(Unit(a, b, name, name) for a, b, name in stretches), (), source, duration)
    found = stops(np.asarray(recording.waveform.numpy(), dtype=np.float64), rate)
    held: list[tuple[float, float, str]] = []
    for closure, burst in found if len(found) >= FEWEST_STOPS else ():
        held.append((closure / rate, burst / rate, "closure"))
        held.append((burst / rate, min(duration, burst / rate + BURST_S), "burst"))
    cut = [(a, b, name, name) for a0, b0, name in stretches for a, b in _without(a0, b0, [h[:2] for h in held])] + [
        (a, b, name, "stop") for a, b, name in held if b > a
    ]
    return Units(tuple(Unit(*unit) for unit in sorted(cut)), (), source, duration)


def _without(start: float, end: float, holes: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """What is left of a stretch without holes, which are in order."""
    left = []
    for first, last in holes:
        if last <= start or first >= end:
            continue
        if first > start:
            left.append((start, first))
        start = max(start, last)
    return [*left, (start, end)] if end > start else left


@dataclass(frozen=True)
class Matched:
    """TextGrids of recordings.

    Args:
        found: path of each recording that has one.
        missing: recordings without one, in order.
    """

    found: dict[str, Path]
    missing: tuple[str, ...]

    def words(self) -> str:
        """How many have one, in a sentence."""
        n = len(self.found) + len(self.missing)
        text = f"TextGrids: {len(self.found)} of {n} recordings have one"
        if not self.missing:
            return f"{text}."
        more = f" and {len(self.missing) - 5} more" if len(self.missing) > 5 else ""
        return f"{text}; without: {', '.join(self.missing[:5])}{more}."


SUFFIXES = (".textgrid", ".textgrid.txt", ".praat")
"""Endings of TextGrids in small letters; where a recording has several, the first counts."""


def match(folder: str | Path, recordings: Sequence[str] | Mapping[str, str]) -> Matched:
    """Find the TextGrids of recordings by their names: that of `a/b.wav` is `a/b.TextGrid`, or `b.TextGrid` anywhere.

    Args:
        folder: of TextGrids, searched with what is below it; or one TextGrid, of one recording.
        recordings: ids or paths; or paths by id, where what is found is to be known by the ids.

    Raises:
        SpeechXAIError: no such folder, several TextGrids of one name that no folder's name tells apart, one TextGrid
            that would serve two recordings.
    """
    base = Path(folder)
    files = recordings if isinstance(recordings, Mapping) else {name: name for name in recordings}
    if base.is_file():
        if len(files) != 1:
            raise SpeechXAIError(
                f"{encodable(folder)}: one TextGrid cannot belong to {len(files)} recordings. Give a folder."
            )
        return Matched(dict.fromkeys(files, base), ())
    if not base.is_dir():
        raise SpeechXAIError(f"{encodable(folder)}: no such file or folder. Give a TextGrid or a folder of them.")
    by_stem: dict[str, list[Path]] = {}
    for path in sorted(base.rglob("*")):
        low = path.name.lower()
        suffix = next((s for s in SUFFIXES if low.endswith(s)), None)
        if suffix and not path.name.startswith(".") and path.is_file():
            by_stem.setdefault(low[: -len(suffix)], []).append(path)
    found: dict[str, Path] = {}
    missing = []
    owner: dict[Path, str] = {}
    for recording, file in files.items():
        given = Path(file.replace("\\", "/"))
        stem = given.stem if given.suffix.lower() in AUDIO_SUFFIXES else given.name
        nearest = _nearest(by_stem.get(stem.lower(), []), given, base)
        if nearest is None:
            missing.append(recording)
            continue
        if owner.setdefault(nearest, recording) != recording:
            raise SpeechXAIError(
                f"{encodable(nearest)}: both {owner[nearest]} and {recording} have this name. Put TextGrids into"
                " folders named as those of the recordings."
            )
        found[recording] = nearest
    return Matched(found, tuple(missing))


def _nearest(paths: Sequence[Path], recording: Path, base: Path) -> Path | None:
    """The one of several TextGrids of a name whose folders are named as the recording's, the first ending of one."""
    if not paths:
        return None

    def alike(path: Path) -> int:
        ours, theirs = path.relative_to(base).parts[:-1][::-1], recording.parts[:-1][::-1]
        same = [a.lower() == b.lower() for a, b in zip(ours, theirs, strict=False)]
        return same.index(False) if False in same else len(same)

    def rank(path: Path) -> int:
        return next(i for i, suffix in enumerate(SUFFIXES) if path.name.lower().endswith(suffix))

    nearest = [path for path in paths if alike(path) == max(map(alike, paths))]
    shallow = [path for path in nearest if len(path.parts) == min(len(p.parts) for p in nearest)]
    best = sorted(shallow, key=rank)
    if len(best) > 1 and best[1].parent != best[0].parent:
        raise SpeechXAIError(
            f"{encodable(best[0])} and {encodable(best[1])}: both have the name of {recording}. Leave one of them."
        )
    return best[0]


def units_of(source: str | Path, recording: Recording, name: str | Path | None = None) -> Units:
    """Units of one recording by what `--textgrids` says.

    Args:
        source: a TextGrid, a folder of them, or one of OWN.
        recording: what is explained.
        name: its file; None is the recording's id.

    Raises:
        SpeechXAIError: a folder without a TextGrid of this name, or as `match` and `read_units`.
    """
    if str(source) in OWN and not Path(source).exists():
        return own_units(recording, str(source).partition(":")[2] or None)
    wanted = str(recording.id if name is None else name)
    path = match(source, [wanted]).found.get(wanted)
    if path is None:
        raise SpeechXAIError(
            f"{encodable(source)}: no TextGrid named as {encodable(Path(wanted).name)}. Give the TextGrid itself, or"
            f" one of {', '.join(OWN)} for what the sound alone tells."
        )
    return read_units(path, recording.duration_s)
