"""One data set audited: every recording measured once and kept, probes asked, what sounds alike named."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from speechxai.audit import alike, chance, probes
from speechxai.audit.alike import Alike
from speechxai.audit.chance import Probed
from speechxai.audit.probes import PROBES, Heard, Values
from speechxai.data.corpus import Sound, load, same_sound, sketch
from speechxai.data.manifest import Locator, classes_of
from speechxai.errors import SpeechXAIError, named
from speechxai.files import fingerprint, read_json, sha256_of, to_json, write_atomically
from speechxai.types import Array, Recording

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 2
"""Of what is kept of a recording: a change measures it again."""

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, eq=False)
class Measured:
    """What the audit keeps of one recording.

    Args:
        row: of the manifest.
        said: what each probe of the sound says, or why it says nothing.
        sketch: what its exact copies are known by.
        voice: (2, D), see `alike.voice`.
        flattened: (N,), see `alike.flattened`.
        dvector: (256,) or (0,), see `alike.dvector`.
    """

    row: Mapping[str, Any]
    said: Mapping[str, Values | str]
    sketch: Sound
    voice: Array
    flattened: Array
    dvector: Array


@dataclass(frozen=True)
class Same:
    """Two recordings that are one sound: names, speakers, classes, and how alike they are, 1 for the same samples."""

    first: str
    second: str
    speakers: tuple[str, str]
    classes: tuple[str, str]
    likeness: float

    @property
    def leaks(self) -> bool:
        """Whether it stands under two names, and so may be in train and test."""
        return self.speakers[0] != self.speakers[1]


@dataclass(frozen=True)
class Audit:
    """What was found in a data set.

    Args:
        name, title: of the set.
        classes: names of the two that are compared; of more classes the control and all others.
        n_recordings: labeled recordings that were read, by class.
        n_speakers: their speakers, by class.
        probes: one entry a probe, those that raise an alarm first.
        same: pairs of recordings that are one sound.
        voices: pairs of names that may be one person.
        compared: whether all pairs of recordings were compared, and not exact copies alone.
        unreadable: why recordings were left out.
        wall_s: how long it took.
    """

    name: str
    title: str
    classes: tuple[str, str]
    n_recordings: tuple[int, int]
    n_speakers: tuple[int, int]
    probes: tuple[Probed, ...]
    same: tuple[Same, ...]
    voices: tuple[Alike, ...]
    compared: bool
    unreadable: tuple[str, ...] = ()
    wall_s: float = 0.0

    @property
    def alarms(self) -> tuple[str, ...]:
        """What tells the classes apart, or lets a network hear who is tested, the worst first; empty for a clean
        set. Recordings under two names come first: they break every number that follows."""
        leak = ("one recording under two names",) if any(pair.leaks for pair in self.same) else ()
        return leak + tuple(each.label for each in self.probes if each.alarm)


def measure(recording: Recording, row: Mapping[str, Any], header: Mapping[str, Any]) -> Measured:
    """Listen to one recording, at its own rate and level, once and for all."""
    samples = recording.waveform.numpy().astype(float)
    offset = float(samples.mean())
    heard = Heard(row, samples - offset, recording.sample_rate, {**header, "offset": offset})
    names = tuple(name for name in PROBES if PROBES.facts(name)["of"] == "sound")
    return Measured(
        row,
        probes.measured(heard, names),
        sketch(recording),
        alike.voice(heard),
        alike.flattened(heard),
        alike.dvector(heard),
    )


def header_of(recording: Recording) -> dict[str, Any]:
    """What the file says of itself, from the metadata that reading it left."""
    names = {"format": "original_format", "sample_rate": "original_sample_rate", "channels": "original_channels"}
    return {name: recording.metadata[key] for name, key in names.items() if key in recording.metadata}


def audit(
    found: Sequence[Measured],
    classes: Sequence[str],
    *,
    name: str = "",
    title: str = "",
    unreadable: Sequence[str] = (),
    progress: Progress | None = None,
    seed: int = 0,
    n_permutations: int = chance.N_PERMUTATIONS,
) -> Audit:
    """Ask what tells the classes apart without any disease.

    Args:
        found: `measure` of every recording; those without a label are left out.
        classes: names by index, the control first; more than two are the control and all others.
        name, title: of the set.
        unreadable: why recordings are missing.
        progress: called while recordings are compared.
        seed: of folds and exchanges.
        n_permutations: exchanges of labels.

    Raises:
        SpeechXAIError: a speaker in two classes, or one class alone.
    """
    began = time.monotonic()
    known = [each for each in found if _label(each.row) is not None]
    labels = [int((_label(each.row) or 0) > 0) for each in known]
    speakers = [str(each.row["speaker"]) for each in known]
    two = (classes[0], classes[1] if len(classes) == 2 else f"not {classes[0]}")
    of_speaker: dict[str, int] = {}
    for speaker, label in zip(speakers, labels, strict=True):
        if of_speaker.setdefault(speaker, label) != label:
            raise SpeechXAIError(
                f"{speaker}: this speaker has recordings of {two[0]} and of {two[1]}. An audit needs one class a"
                " person: correct the labels or the speakers."
            )
    if len(set(labels)) < 2:
        raise SpeechXAIError(f"{name or 'The set'}: has no recordings of {two[int(1 not in labels)]} to compare with.")
    said: dict[str, list[Values | str]] = {}
    places = _places([str(each.row.get("path", "")) for each in known])
    for probe in PROBES:
        if PROBES.facts(probe)["of"] == "sound":
            said[probe] = [each.said.get(probe, "it was not asked") for each in known]
        else:
            rows = (Heard(each.row, np.zeros(0), 1, {}, place) for each, place in zip(known, places, strict=True))
            said[probe] = [probes.measured(heard, (probe,))[probe] for heard in rows]
    asked = chance.probe_all(said, labels, speakers, classes=two, n_permutations=n_permutations, seed=seed)
    compared = len(known) <= alike.MOST_COMPARED
    voices: dict[str, list[Array]] = {}
    vectors: dict[str, list[Array]] = {}
    for each, speaker in zip(known, speakers, strict=True):
        voices.setdefault(speaker, []).append(each.voice)
        vectors.setdefault(speaker, []).append(each.dvector)
    counts = [[values.count(k) for k in (0, 1)] for values in (labels, list(of_speaker.values()))]
    return Audit(
        name,
        title,
        two,
        (counts[0][0], counts[0][1]),
        (counts[1][0], counts[1][1]),
        tuple(asked),
        tuple(_same(known, two, compared, progress)),
        (*alike.alike_by_dvector(vectors), *alike.alike(voices)),
        compared,
        tuple(unreadable),
        wall_s=time.monotonic() - began,
    )


def audit_set(
    manifest: pd.DataFrame,
    root: str | Path,
    kept: Path | None = None,
    *,
    name: str = "",
    title: str = "",
    progress: Progress | None = None,
    seed: int = 0,
) -> Audit:
    """Measure every recording of a manifest and `audit` them.

    Args:
        manifest: a valid manifest.
        root: folder that its paths are relative to.
        kept: folder where what was measured is kept, so that another audit goes on; None keeps nothing.
        name, title: of the set.
        progress: called with what is done and all.
        seed: of folds and exchanges.

    Raises:
        SpeechXAIError: what `audit` refuses, or not one recording that can be read.
    """
    began = time.monotonic()
    labeled = manifest[manifest["label"].notna()]
    found, unreadable = [], []
    for done, item in enumerate(measured(labeled.to_dict("records"), root, kept), start=1):
        if isinstance(item, Measured):
            found.append(item)
        else:
            unreadable.append(item)
        if progress is not None:
            progress(done, len(labeled), "measuring")
    if not found:
        raise SpeechXAIError(
            f"{root}: none of {len(labeled)} labeled recordings can be read."
            + (f" The first: {unreadable[0]}" if unreadable else "")
        )
    result = audit(
        found,
        classes_of(manifest),
        name=name,
        title=title,
        unreadable=unreadable,
        progress=progress,
        seed=seed,
    )
    return replace(result, wall_s=time.monotonic() - began)


def measured(rows: Iterable[Mapping[Any, Any]], root: str | Path, kept: Path | None = None) -> Iterator[Measured | str]:
    """`measure` the recordings of rows of a manifest; in place of one that cannot be read, the reason."""
    locator, code = Locator(root), _code()
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
    for cells in rows:
        row = {str(key): value for key, value in cells.items()}
        try:
            yield _measured(row, locator, kept, code)
        except Exception as error:
            yield str(named(error, row["recording"]))


def recordings_of(manifest: pd.DataFrame, root: str | Path) -> list[Recording]:
    """Labeled recordings as they are stored, for `left.leave`: label 0 for the control and 1 for all others; those that
    cannot be read are left out, as in `audit_set`."""
    locator, found = Locator(root), []
    for cells in manifest[manifest["label"].notna()].to_dict("records"):
        row = {str(key): value for key, value in cells.items()}
        try:
            heard = load(row, locator, sample_rate=None, normalize="none", offset="kept")
        except SpeechXAIError:
            continue
        found.append(replace(heard, label=int((heard.label or 0) > 0)))
    return found


def _measured(row: Mapping[str, Any], locator: Locator, kept: Path | None, code: str) -> Measured:
    place = None
    if kept is not None:
        path = locator.locate(str(row["path"]))
        key = fingerprint([FORMAT, code, sha256_of(path)]) if path.is_file() else ""
        place = kept / f"{key}.json" if key else None
    if place is not None and (stored := read_json(place)) is not None:
        shape = stored["flattened"]
        return Measured(
            row,
            stored["said"],
            Sound(stored["rate"], stored["n_samples"], np.asarray(stored["sketch"], np.float32)),
            np.asarray([[np.nan if v is None else v for v in part] for part in stored["voice"]], float),
            np.frombuffer(bytes.fromhex(shape), np.float16).astype(np.float32),
            np.asarray(stored["dvector"], float),
        )
    recording = load(row, locator, sample_rate=None, normalize="none", offset="kept")
    found = measure(recording, row, header_of(recording))
    if place is not None:
        content = {
            "said": found.said,
            "rate": found.sketch.sample_rate,
            "n_samples": found.sketch.n_samples,
            "sketch": [round(float(v), 6) for v in found.sketch.sketch],
            "voice": [[None if np.isnan(v) else round(float(v), 6) for v in part] for part in found.voice],
            "flattened": _half(found.flattened).tobytes().hex(),
            "dvector": [round(float(v), 6) for v in found.dvector],
        }
        write_atomically(place, to_json(content))
    return found


def _code() -> str:
    """Hash of all code that measures, and of the speaker encoder: what others measured is not taken."""
    files = {PROBES[name].__code__.co_filename for name in PROBES} | {alike.__file__}
    known = [sha256_of(Path(file)) for file in sorted(files) if Path(file).is_file()]
    return fingerprint([sorted(PROBES), known, alike.encoder_identity()])


def _half(samples: Array) -> Array:
    """Samples in half precision, their largest 1: their shape is all that is compared."""
    return (samples / max(float(np.abs(samples).max(initial=0)), 1e-9)).astype(np.float16)


def _label(row: Mapping[str, Any]) -> int | None:
    value = row.get("label")
    return None if value is None or value != value or str(value) == "<NA>" else int(value)


def _places(paths: Sequence[str]) -> list[float]:
    """Where each file name stands among all in order, folders left out, from 0 to 1."""
    order = sorted(range(len(paths)), key=lambda i: PurePosixPath(paths[i]).name)
    found = [0.0] * len(paths)
    for place, i in enumerate(order):
        found[i] = place / max(1, len(paths) - 1)
    return found


def _same(
    known: Sequence[Measured], classes: tuple[str, str], compared: bool, progress: Progress | None
) -> Iterator[Same]:
    rows = {str(each.row["recording"]): each for each in known}
    if compared:
        pairs = alike.copies({name: each.flattened for name, each in rows.items()}, progress)
    else:
        groups = same_sound({name: each.sketch for name, each in rows.items()})
        pairs = [(group[0], other, 1.0) for group in groups for other in group[1:]]
    for first, second, likeness in sorted(pairs, key=lambda pair: -pair[2]):
        both = [rows[first].row, rows[second].row]
        yield Same(
            first,
            second,
            (str(both[0]["speaker"]), str(both[1]["speaker"])),
            (classes[int((_label(both[0]) or 0) > 0)], classes[int((_label(both[1]) or 0) > 0)]),
            min(1.0, likeness),
        )
