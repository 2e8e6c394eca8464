"""A whole corpus: load the rows of a manifest, and look at what could mislead a classifier before it is trained."""

from __future__ import annotations

import collections
import itertools
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from speechxai.data.manifest import Locator, classes_of, is_token, n_missing, to_recording_kwargs
from speechxai.data.tables import not_understood, spelled_differently
from speechxai.errors import FirstFailures, SpeechXAIError, named
from speechxai.signal import audio
from speechxai.signal import quality as qualities
from speechxai.stats import auc
from speechxai.types import Array, Recording

CONFOUNDS = (
    "age",
    "sex",
    "duration",
    "level",
    "sample rate",
    "silence",
    "bandwidth",
    "channels",
    "container and coding",
    "task",
)
"""What `check` compares with the label."""

N_PERMUTATIONS = 500
"""Random exchanges of the speakers' labels that say how well kinds without an order separate classes by chance."""


@dataclass(frozen=True)
class Loaded:
    """One row of a manifest: its recording, or the error that names what is wrong with it."""

    id: str
    recording: Recording | None
    error: SpeechXAIError | None


@dataclass(frozen=True)
class Confound:
    """How well one thing that is not the voice separates the classes.

    Of more than two classes, the pair that it separates best against chance is meant.

    Args:
        name: one of CONFOUNDS.
        auc: direction-free area under the ROC curve over recordings, max(auc, 1 - auc), in [0.5, 1]; NaN if undefined.
            Kinds without an order (tasks, containers) are ordered by the share of the second class among their
            recordings, which is the best that anybody could do who knows them alone.
        chance: the direction-free AUC that 5 % of meaningless measurements exceed, for as many speakers and pairs.
        n_first: recordings of the first class with a known value.
        n_second: recordings of the second class with a known value.
        higher_in: the class with the higher values; "" where undefined, and for kinds without an order.
        alarm: whether it exceeds chance and is at least 0.6.
        note: what it means, in words.
    """

    name: str
    auc: float
    chance: float
    n_first: int
    n_second: int
    higher_in: str
    alarm: bool
    note: str


@dataclass(frozen=True, eq=False)
class CheckReport:
    """What was found in a corpus.

    Args:
        n_files: rows of the manifest.
        classes: recordings by class name; "unknown" for those without a label.
        speakers: speakers by class name.
        tasks: recordings by task.
        duplicates: ids of recordings whose files are the same byte by byte, a tuple a group.
        copies: ids of recordings of other bytes and the same sound (`same_sound`), a tuple a group.
        unreadable: (id, message) of every file that cannot be read.
        warnings: (id, words) for clipping, silence, noise and the like.
        spellings: speakers that differ in spelling alone, in words.
        not_understood: what of the columns is not understood, in words.
        quality: one row a readable recording: recording and the fields of `Quality`.
        confounds: one entry for each of CONFOUNDS.
    """

    n_files: int
    classes: dict[str, int]
    speakers: dict[str, int]
    tasks: dict[str, int]
    duplicates: tuple[tuple[str, ...], ...]
    copies: tuple[tuple[str, ...], ...]
    unreadable: tuple[tuple[str, str], ...]
    warnings: tuple[tuple[str, str], ...]
    spellings: tuple[str, ...]
    not_understood: tuple[str, ...]
    quality: pd.DataFrame
    confounds: tuple[Confound, ...]

    @property
    def sample_rates(self) -> dict[int, int]:
        """Recordings by original sample rate, Hz."""
        counts = collections.Counter(int(rate) for rate in self.quality["sample_rate"])
        return dict(sorted(counts.items()))


def load(
    row: Mapping[str, Any],
    root: str | Path | Locator,
    *,
    sample_rate: int | None = 16_000,
    normalize: Literal["peak", "none"] = "peak",
    offset: Literal["removed", "kept"] = "removed",
    max_duration_s: float = 600.0,
    min_duration_s: float = 0.1,
    channel: int | None = None,
) -> Recording:
    """Load the recording of one manifest row, with its label, speaker, task and metadata (age, sex, severity, data
    set).

    Args:
        row: a row of a valid manifest, by column (`row.to_dict()` of a table's row).
        root: folder that its path is relative to; a Locator saves time where many paths are pseudonymous.
        sample_rate: as `signal.audio.read_audio`, like the other options.
        normalize: "peak" or "none".
        offset: "removed" or "kept".
        max_duration_s: longer files are refused.
        min_duration_s: shorter files are refused.
        channel: index of the channel to read, from 0; None averages all.

    Raises:
        SpeechXAIError: a file that cannot be read, whatever the reader raises, or whose bytes are not those that the
            manifest
            was made from. Errors name the path; where paths are pseudonymous, the recording.
    """
    identity = to_recording_kwargs(row)
    stated = str(row["path"])
    locator = root if isinstance(root, Locator) else Locator(root)
    path = locator.locate(stated)
    try:
        recording = audio.read_audio(
            path,
            sample_rate=sample_rate,
            normalize=normalize,
            offset=offset,
            max_duration_s=max_duration_s,
            min_duration_s=min_duration_s,
            channel=channel,
            **identity,
        )
    except MemoryError:
        raise
    except Exception as error:
        found = named(error, path)
        if found is error and not is_token(stated):
            raise
        if not is_token(stated):
            raise found from error
        # The path holds a person's name: it must not reach a list of failures, nor a traceback.
        words = str(found).replace(str(path), identity["id"]).replace(path.name, "FILE")
        if found is not error:  # a message of who knows where, which may say the name without its ending
            words = words.replace(path.stem, "FILE")
        raise SpeechXAIError(words) from None
    expected = row.get("sha256", "unknown")
    if expected not in (None, "", "unknown") and expected != recording.metadata["sha256"]:
        name = identity["id"] if is_token(stated) else path
        raise SpeechXAIError(
            f"{name}: the file has changed since the manifest was made (its sha256 differs). Make the manifest again."
        )
    if is_token(stated):
        return replace(recording, metadata={**recording.metadata, "path": stated})
    return recording


IN_MEMORY_BYTES = 2**30
"""Waveforms of a set that are held in memory before they go to the disk: five hours at 16 kHz."""


class Held:
    """Recordings of a set that may be larger than memory: whenever what is in memory exceeds a limit, its waveforms are
    written to a scratch file and read from there as they are asked for. The file has no name and ends with the process;
    it lies where temporary files do (TMPDIR).

    Args:
        in_memory_bytes: the limit.
    """

    def __init__(self, in_memory_bytes: int = IN_MEMORY_BYTES) -> None:
        self.recordings: list[Recording] = []
        self._limit, self._bytes, self._first = in_memory_bytes, 0, 0

    def add(self, recording: Recording) -> None:
        """Hold one more. Raises SpeechXAIError where the scratch file cannot be written."""
        self.recordings.append(recording)
        self._bytes += recording.waveform.nbytes
        if self._bytes > self._limit:
            self._to_disk()

    def _to_disk(self) -> None:
        moved = self.recordings[self._first :]
        try:
            with tempfile.TemporaryFile() as file:
                for recording in moved:
                    file.write(recording.waveform.float().numpy().tobytes())
                file.flush()
                # Copied on writing: the pages are the file's, and the system drops them where memory is short.
                samples = torch.from_numpy(np.memmap(file, np.float32, "c"))
        except OSError as error:
            raise SpeechXAIError(
                f"{tempfile.gettempdir()}: cannot hold the recordings that are beyond memory: {error.strerror}. Make"
                " room there, or name another folder with TMPDIR."
            ) from error
        parts = torch.split(samples, [len(recording.waveform) for recording in moved])
        self.recordings[self._first :] = [
            replace(recording, waveform=part) for recording, part in zip(moved, parts, strict=True)
        ]
        self._first, self._bytes = len(self.recordings), 0


def iterate(
    manifest: pd.DataFrame,
    root: str | Path,
    *,
    sample_rate: int | None = 16_000,
    normalize: Literal["peak", "none"] = "peak",
    offset: Literal["removed", "kept"] = "removed",
    max_duration_s: float = 600.0,
    min_duration_s: float = 0.1,
) -> Iterator[Loaded]:
    """Load row after row; a file that cannot be read comes as a `Loaded` with its error, and the next one follows."""
    locator = Locator(root)
    for row in manifest.to_dict("records"):
        try:
            recording = load(
                {str(name): value for name, value in row.items()},
                locator,
                sample_rate=sample_rate,
                normalize=normalize,
                offset=offset,
                max_duration_s=max_duration_s,
                min_duration_s=min_duration_s,
            )
            loaded = Loaded(str(row["recording"]), recording, None)
        except Exception as error:
            loaded = Loaded(str(row["recording"]), None, named(error, row["recording"]))
        yield loaded


def check(manifest: pd.DataFrame, root: str | Path, progress: Callable[[int, int], None] | None = None) -> CheckReport:
    """Read every file as it is (rate, level, offset) and report classes, duplicates, quality and confounds.

    Args:
        manifest: a valid manifest.
        root: folder that its paths are relative to.
        progress: called with files done and files in all.

    Raises:
        SpeechXAIError: no file is there, or the first ones all cannot be read for one reason.
    """
    measured: list[dict[str, Any]] = []
    unreadable: list[tuple[str, str]] = []
    said: list[tuple[str, str]] = []
    sounds: dict[str, Sound] = {}
    n_missing(map(str, manifest["path"]), Locator(root))
    first = FirstFailures()
    for done, item in enumerate(iterate(manifest, root, sample_rate=None, normalize="none", offset="kept"), start=1):
        if item.recording is None:
            unreadable.append((item.id, str(item.error)))
            first.bad(str(item.error))
        else:
            first.good()
            try:
                found = qualities.quality(item.recording.waveform, item.recording.sample_rate)
            except Exception as error:
                unreadable.append((item.id, str(named(error, item.id))))
            else:
                mixing = item.recording.metadata.get("mixing")
                judged = qualities.checks(found, item.recording.sample_rate, mixing=mixing)
                said += [(item.id, str(check)) for check in qualities.concerns(judged)]
                facts = {name: item.recording.metadata.get(f"original_{name}") for name in ("channels", "format")}
                values = {field.name: getattr(found, field.name) for field in fields(found)}
                measured.append({"recording": item.id, "sample_rate": item.recording.sample_rate} | facts | values)
                sounds[item.id] = sketch(item.recording)
        if progress:
            progress(done, len(manifest))
    columns = ["recording", "sample_rate", "channels", "format", *(field.name for field in fields(qualities.Quality))]
    table = pd.DataFrame(measured, columns=columns)
    same = manifest[manifest["sha256"] != "unknown"].groupby("sha256")["recording"].apply(tuple)
    duplicates = tuple(group for group in same if len(group) > 1)
    return CheckReport(
        n_files=len(manifest),
        classes=_by_class(manifest),
        speakers=_by_class(manifest.drop_duplicates("speaker")),
        tasks={str(task): int(count) for task, count in manifest["task"].value_counts().items()},
        duplicates=duplicates,
        copies=tuple(group for group in same_sound(sounds) if not any(set(group) <= set(same) for same in duplicates)),
        unreadable=tuple(unreadable),
        warnings=tuple(said),
        spellings=tuple(spelled_differently(manifest["speaker"])),
        not_understood=tuple(not_understood(manifest)),
        quality=table,
        confounds=confounds(manifest, table),
    )


@dataclass(frozen=True, eq=False)
class Sound:
    """What is kept of a recording to know its copies by: its rate, Hz, its length, and (SKETCH,) numbers of norm 1."""

    sample_rate: int
    n_samples: int
    sketch: Array


SKETCH, SAME_SOUND = 128, 0.98
"""Numbers of a sketch, and the correlation from which two recordings are the same sound. The sketches of two unrelated
recordings correlate by 0 +- 0.09."""


def sketch(recording: Recording) -> Sound:
    """Sum up a waveform in SKETCH numbers whose correlation is that of the waveforms, with an error of 1/sqrt(SKETCH).

    Each sample is added to one of the numbers, drawn for its place. As the waveform has no mean, what falls together by
    chance cancels.
    """
    waveform = recording.waveform.numpy().astype(np.float64)
    drawn = np.random.default_rng(0).integers(0, SKETCH, len(waveform), dtype=np.uint8)
    sums = np.bincount(drawn, waveform - waveform.mean(), SKETCH)
    norm = float(np.linalg.norm(sums)) or 1.0
    return Sound(recording.sample_rate, len(waveform), (sums / norm).astype(np.float32))


def same_sound(sounds: Mapping[str, Sound]) -> tuple[tuple[str, ...], ...]:
    """Return groups of ids whose decoded samples are the same but for the container, the bit depth, the level, the sign
    and a constant offset, and for the losses of a good codec.

    A copy that was cut, moved in time, resampled, filtered or slowed is not found.
    """
    of_length: dict[tuple[int, int], list[str]] = collections.defaultdict(list)
    for name, sound in sounds.items():
        of_length[sound.sample_rate, sound.n_samples].append(name)
    groups = []
    for names in of_length.values():
        sketches = np.stack([sounds[name].sketch for name in names])
        left = list(range(len(names)))
        while left:
            like = np.abs(sketches[left] @ sketches[left[0]]) >= SAME_SOUND
            like[0] = True
            group = [index for index, same in zip(left, like, strict=True) if same]
            left = [index for index, same in zip(left, like, strict=True) if not same]
            if len(group) > 1:
                groups.append(tuple(names[index] for index in group))
    return tuple(groups)


def confounds(manifest: pd.DataFrame, measured: pd.DataFrame) -> tuple[Confound, ...]:
    """Return how well each of CONFOUNDS alone separates the classes.

    Args:
        manifest: a valid manifest.
        measured: one row a recording: recording, sample_rate, the fields of `Quality`, if known channels and format.
    """
    measured = measured.reindex(columns=list(dict.fromkeys((*measured.columns, "channels", "format"))))
    # A column of the user's table may have the name of something that is measured.
    own = [name for name in measured.columns if name in manifest.columns and name != "recording"]
    joined = manifest.drop(columns=own).merge(measured, on="recording", how="left")
    joined = joined[joined["label"].notna()]
    numbers = {
        "age": joined["age"],
        "sex": joined["sex"].map({"F": 1.0, "M": 0.0}),
        "duration": joined["duration_s"],
        "level": joined["rms_dbfs"],
        "sample rate": joined["sample_rate"],
        "silence": joined["silence_share"],
        "bandwidth": joined["bandwidth_hz"],
        "channels": joined["channels"],
    }
    kinds = {"container and coding": joined["format"], "task": joined["task"].replace("unknown", None)}
    found = []
    for name in CONFOUNDS:
        if name in kinds:
            found.append(_confound(name, *_kinds(kinds[name]), joined))
        else:
            values = np.asarray(numbers[name].astype("Float64").to_numpy(float, na_value=np.nan))
            found.append(_confound(name, values, None, joined))
    return tuple(found)


def _kinds(texts: pd.Series[str]) -> tuple[Array, list[str]]:
    """Numbers of kinds without an order, NaN where it is not known, and their names."""
    codes, names = pd.factorize(texts, sort=True)
    return np.where(codes < 0, np.nan, codes), [str(name) for name in names]


def _confound(name: str, values: Array, kinds: list[str] | None, rows: pd.DataFrame) -> Confound:
    """Compare the classes two by two and keep the pair that is separated best against chance."""
    names = classes_of(rows)
    pairs = list(itertools.combinations(range(len(names)), 2))
    found = [_pair(name, values, kinds, rows, pair, names, len(pairs)) for pair in pairs]
    known = [each for each in found if not np.isnan(each.auc)]
    return max(known, key=lambda each: each.auc - each.chance) if known else found[0]


def _pair(
    name: str,
    values: Array,
    kinds: list[str] | None,
    rows: pd.DataFrame,
    pair: tuple[int, int],
    names: Sequence[str],
    n_pairs: int,
) -> Confound:
    known = ~np.isnan(values) & rows["label"].isin(pair).to_numpy(bool)
    values, part = values[known], rows[known]
    labels = (part["label"] == pair[1]).to_numpy(int)
    n_first, n_second = int((labels == 0).sum()), int((labels == 1).sum())
    first, second = (names[index] for index in pair)
    if min(n_first, n_second) < 2:
        missing = f"known for {n_first} {first} and {n_second} {second} recordings: not to be ruled out"
        return Confound(name, float("nan"), float("nan"), n_first, n_second, "", False, missing)
    level = 0.05 / n_pairs
    if kinds is None:
        signed = auc(values, labels)
        free, chance = max(signed, 1 - signed), _chance(part, labels, level)
        higher = (first, second)[int(signed > 0.5)] if free > 0.5 else ""
    else:
        (free, chance), higher = _separation_of_kinds(values.astype(int), labels, part["speaker"], level), ""
    alarm = bool(free > chance and free >= 0.6)
    if float(np.ptp(values)) == 0:
        note = "the same in all recordings"
    elif alarm:
        strength = (
            "almost as well as a perfect classifier" if free >= 0.9 else "strongly" if free >= 0.75 else "noticeably"
        )
        which = "the classes" if len(names) == 2 else f"{first} and {second}"
        note = f"{name} alone separates {which} {strength}: a classifier may have learned it instead of the voice"
        if kinds is not None:
            note += _shares(values.astype(int), labels, kinds, (first, second))
    elif free > 0.5 and chance >= 0.75:
        note = "within chance, but so few speakers cannot rule it out"
    else:
        note = "within chance" if free <= chance else "small"
    return Confound(name, free, chance, n_first, n_second, higher, alarm, note)


def _chance(part: pd.DataFrame, labels: Array, level: float) -> float:
    """AUC that meaningless values exceed with probability `level`, by the standard deviation of the rank-sum AUC
    (mann1947test), with speakers as the independent cases."""
    speakers = part.assign(second=labels).drop_duplicates("speaker")["second"]
    m, n = int((speakers == 0).sum()), int((speakers == 1).sum())
    z = round(statistics.NormalDist().inv_cdf(1 - level / 2), 2)
    return min(1.0, 0.5 + z * float(np.sqrt((m + n + 1) / (12 * m * n))))


def _separation_of_kinds(kinds: Array, labels: Array, speakers: pd.Series[str], level: float) -> tuple[float, float]:
    """AUC of the share of the second class in each kind, and the one that exchanged labels of speakers exceed with
    probability `level`: many kinds always separate something."""
    people = np.unique(np.asarray(speakers, str), return_inverse=True)[1]
    table = np.zeros((people.max() + 1, kinds.max() + 1))
    np.add.at(table, (people, kinds), 1)
    theirs = np.zeros(len(table))
    theirs[people] = labels
    rng = np.random.default_rng(0)
    drawn = np.stack([theirs, *(rng.permutation(theirs) for _ in range(N_PERMUTATIONS))])
    # Recordings of each class by kind, one row an exchange; the first row is the truth.
    second, first = drawn @ table, (1 - drawn) @ table
    share = second / np.maximum(first + second, 1)
    order = np.argsort(share, axis=1)
    share, second, first = (np.take_along_axis(each, order, axis=1) for each in (share, second, first))
    below = np.cumsum(first, axis=1) - first
    areas = (second * (below + 0.5 * first)).sum(axis=1) / np.maximum(first.sum(axis=1) * second.sum(axis=1), 1)
    return float(areas[0]), float(np.quantile(areas[1:], 1 - level))


def _shares(kinds: Array, labels: Array, names: list[str], classes: tuple[str, str]) -> str:
    """The kinds that say most, in words."""
    shown = []
    for index, name in enumerate(names):
        counts = [int(((kinds == index) & (labels == label)).sum()) for label in (0, 1)]
        if sum(counts):
            shown.append((abs(counts[0] - counts[1]), f"{name}: {counts[0]} {classes[0]}, {counts[1]} {classes[1]}"))
    return f" ({'; '.join(words for _, words in sorted(shown, reverse=True)[:3])})"


def _by_class(rows: pd.DataFrame) -> dict[str, int]:
    counts = {name: int((rows["label"] == index).sum()) for index, name in enumerate(classes_of(rows))}
    unknown = int(rows["label"].isna().sum())
    return counts | ({"unknown": unknown} if unknown else {})
