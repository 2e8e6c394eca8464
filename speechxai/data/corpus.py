"""A whole corpus: load the rows of a manifest, and look at what could mislead a classifier before it is trained."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from speechxai.data.manifest import PREFIX, Locator, classes_of, to_recording_kwargs
from speechxai.data.tables import not_understood, spelled_differently
from speechxai.errors import SpeechXAIError, named
from speechxai.signal import audio
from speechxai.signal import quality as qualities
from speechxai.stats import auc
from speechxai.types import Array, Recording

CONFOUNDS = ("age", "sex", "duration", "level", "sample rate", "silence", "bandwidth")
"""What `check` compares with the label."""


@dataclass(frozen=True)
class Loaded:
    """One row of a manifest: its recording, or the error that names what is wrong with it."""

    id: str
    recording: Recording | None
    error: SpeechXAIError | None


@dataclass(frozen=True)
class Confound:
    """How well one thing that is not the voice separates the classes.

    Args:
        name: one of CONFOUNDS.
        auc: direction-free area under the ROC curve over recordings, max(auc, 1 - auc), in [0.5, 1]; NaN if undefined.
        chance: the direction-free AUC that 5 % of meaningless measurements exceed, for as many speakers.
        n_hc: controls with a known value, recordings.
        n_pd: patients with a known value, recordings.
        higher_in: the class with the higher values; "" where undefined.
        alarm: whether it exceeds chance and is at least 0.6.
        note: what it means, in words.
    """

    name: str
    auc: float
    chance: float
    n_hc: int
    n_pd: int
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
        if found is error and not stated.startswith(PREFIX):
            raise
        if not stated.startswith(PREFIX):
            raise found from error
        # The path holds a person's name: it must not reach a list of failures, nor a traceback.
        words = str(found).replace(str(path), identity["id"]).replace(path.name, "FILE")
        if found is not error:  # a message of who knows where, which may say the name without its ending
            words = words.replace(path.stem, "FILE")
        raise SpeechXAIError(words) from None
    expected = row.get("sha256", "unknown")
    if expected not in (None, "", "unknown") and expected != recording.metadata["sha256"]:
        name = identity["id"] if stated.startswith(PREFIX) else path
        raise SpeechXAIError(
            f"{name}: the file has changed since the manifest was made (its sha256 differs). Make the manifest again."
        )
    if stated.startswith(PREFIX):
        return replace(recording, metadata={**recording.metadata, "path": stated})
    return recording


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
    """
    measured: list[dict[str, Any]] = []
    unreadable: list[tuple[str, str]] = []
    said: list[tuple[str, str]] = []
    for done, item in enumerate(iterate(manifest, root, sample_rate=None, normalize="none", offset="kept"), start=1):
        if item.recording is None:
            unreadable.append((item.id, str(item.error)))
        else:
            try:
                found = qualities.quality(item.recording.waveform, item.recording.sample_rate)
            except Exception as error:
                unreadable.append((item.id, str(named(error, item.id))))
            else:
                mixing = item.recording.metadata.get("mixing")
                judged = qualities.checks(found, item.recording.sample_rate, mixing=mixing)
                said += [(item.id, str(check)) for check in qualities.concerns(judged)]
                values = {field.name: getattr(found, field.name) for field in fields(found)}
                measured.append({"recording": item.id, "sample_rate": item.recording.sample_rate} | values)
        if progress:
            progress(done, len(manifest))
    columns = ["recording", "sample_rate", *(field.name for field in fields(qualities.Quality))]
    table = pd.DataFrame(measured, columns=columns)
    same = manifest[manifest["sha256"] != "unknown"].groupby("sha256")["recording"].apply(tuple)
    return CheckReport(
        n_files=len(manifest),
        classes=_by_class(manifest),
        speakers=_by_class(manifest.drop_duplicates("speaker")),
        tasks={str(task): int(count) for task, count in manifest["task"].value_counts().items()},
        duplicates=tuple(group for group in same if len(group) > 1),
        unreadable=tuple(unreadable),
        warnings=tuple(said),
        spellings=tuple(spelled_differently(manifest["speaker"])),
        not_understood=tuple(not_understood(manifest)),
        quality=table,
        confounds=confounds(manifest, table),
    )


def confounds(manifest: pd.DataFrame, measured: pd.DataFrame) -> tuple[Confound, ...]:
    """Return how well age, sex, duration, level, sample rate, silence and bandwidth alone separate the classes.

    Args:
        manifest: a valid manifest.
        measured: one row a recording: recording, sample_rate and the fields of `Quality`.
    """
    joined = manifest.drop(columns="sample_rate").merge(measured, on="recording", how="left")
    joined = joined[joined["label"].notna()]
    sex = joined["sex"].map({"F": 1.0, "M": 0.0})
    columns = (
        joined["age"],
        sex,
        *(joined[n] for n in ("duration_s", "rms_dbfs", "sample_rate", "silence_share", "bandwidth_hz")),
    )
    return tuple(
        _confound(name, np.asarray(values.astype("Float64").to_numpy(float, na_value=np.nan)), joined)
        for name, values in zip(CONFOUNDS, columns, strict=True)
    )


def _confound(name: str, values: Array, rows: pd.DataFrame) -> Confound:
    labels, names = rows["label"].to_numpy(int), classes_of(rows)
    known = ~np.isnan(values)
    n_hc, n_pd = int((known & (labels == 0)).sum()), int((known & (labels == 1)).sum())
    if min(n_hc, n_pd) < 2:
        missing = f"known for {n_hc} {names[0]} and {n_pd} {names[1]} recordings: not to be ruled out"
        return Confound(name, float("nan"), float("nan"), n_hc, n_pd, "", False, missing)
    signed = auc(values, labels)
    free = max(signed, 1 - signed)
    speakers = rows.loc[known].drop_duplicates("speaker")["label"].value_counts()
    m, n = int(speakers.get(0, 0)), int(speakers.get(1, 0))
    # Standard deviation of the rank-sum AUC of meaningless values (mann1947test), with speakers as the independent
    # cases.
    chance = min(1.0, 0.5 + 1.96 * float(np.sqrt((m + n + 1) / (12 * m * n))))
    alarm = bool(free > chance and free >= 0.6)
    higher = names[int(signed > 0.5)] if free > 0.5 else ""
    if float(np.ptp(values[known])) == 0:
        note = "the same in all recordings"
    elif alarm:
        strength = (
            "almost as well as a perfect classifier" if free >= 0.9 else "strongly" if free >= 0.75 else "noticeably"
        )
        note = f"{name} alone separates the classes {strength}: a classifier may have learned it instead of the voice"
    elif free > 0.5 and chance >= 0.75:
        note = "within chance, but so few speakers cannot rule it out"
    else:
        note = "within chance" if free <= chance else "small"
    return Confound(name, free, chance, n_hc, n_pd, higher, alarm, note)


def _by_class(rows: pd.DataFrame) -> dict[str, int]:
    counts = {name: int((rows["label"] == index).sum()) for index, name in enumerate(classes_of(rows))}
    unknown = int(rows["label"].isna().sum())
    return counts | ({"unknown": unknown} if unknown else {})
