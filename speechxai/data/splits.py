"""Who trains and who tests: folds by speaker, drawn here or published by others, that check themselves."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from speechxai.data.manifest import classes_of
from speechxai.data.tables import read_table
from speechxai.errors import SpeechXAIError
from speechxai.types import CLASS_NAMES

_STATUS = {"hc": 0, "control": 0, "0": 0, "pd": 1, "patologica": 1, "1": 1}


def deal(
    speakers: Sequence[str],
    n_folds: int,
    dealt: Mapping[str, int] | None = None,
    rng: np.random.Generator | None = None,
) -> dict[str, int]:
    """Deal speakers out to folds like cards: one each, round after round, so that neighbors in the order come apart.

    Args:
        speakers: in the order in which they are dealt: those who are alike side by side.
        n_folds: how many there are.
        dealt: fold of the speakers who were dealt before: a last round that does not fill all folds goes to the
            smallest.
        rng: draws the order of the folds in every round; None keeps it.

    Returns:
        Fold of every speaker, those of `dealt` included.
    """
    fold_of = dict(dealt or {})
    sizes = np.bincount(list(fold_of.values()), minlength=n_folds)
    for start in range(0, len(speakers), n_folds):
        group = speakers[start : start + n_folds]
        chance = np.arange(n_folds) if rng is None else rng.random(n_folds)
        turn = np.lexsort((chance, sizes if len(group) < n_folds else np.zeros(n_folds)))
        for speaker, fold in zip(group, turn, strict=False):
            fold_of[str(speaker)] = int(fold)
            sizes[fold] += 1
    return fold_of


def speaker_folds(manifest: pd.DataFrame, n_folds: int = 10, seed: int = 0) -> pd.Series[int]:
    """Draw folds that no speaker crosses, equal in classes, and as equal as can be in sex and age.

    Speakers of one class are ordered by sex and age, with chance among equals, and dealt out in turn like cards, each
    round in
    a random order of folds; the next class goes on where the last one stopped, so that folds have equal sizes.

    Args:
        manifest: manifest whose labels are all known.
        n_folds: at least 2, at most the number of speakers of the smallest class.
        seed: of the draw.

    Returns:
        Fold of every row, 0 to n_folds - 1, on the manifest's index.

    Raises:
        SpeechXAIError: an unknown label, one class only, or too few speakers; the message names them.
    """
    unknown = manifest["recording"][manifest["label"].isna()]
    if len(unknown):
        raise SpeechXAIError(
            f"{unknown.iloc[0]}: has no label, so it cannot be put into a fold ({len(unknown)} such recordings). Leave"
            " them out."
        )
    speakers = manifest.groupby("speaker", sort=True).agg(
        label=("label", "first"), sex=("sex", "first"), age=("age", "first")
    )
    classes = classes_of(manifest)
    sizes = {name: int((speakers["label"] == index).sum()) for index, name in enumerate(classes)}
    if n_folds < 2 or min(sizes.values()) < n_folds:
        counts = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise SpeechXAIError(
            f"The 'n_folds' parameter must be from 2 to the speakers of the smallest class. Got {n_folds} with speakers"
            f" {counts}."
        )
    rng = np.random.default_rng(seed)
    fold_of: dict[str, int] = {}
    for index in range(len(classes)):
        members = speakers[speakers["label"] == index].copy()
        members["chance"] = rng.random(len(members))
        members["decade"] = (members["age"].astype("Float64") // 10).fillna(-1)
        fold_of = deal(list(members.sort_values(["sex", "decade", "chance"]).index), n_folds, fold_of, rng)
    folds = manifest["speaker"].map(fold_of).astype(int).rename("fold")
    check_folds(manifest, folds)
    return folds


def check_folds(manifest: pd.DataFrame, folds: pd.Series[int]) -> None:
    """Check that no speaker is in two folds and that every fold has all classes.

    Raises:
        SpeechXAIError: naming the speaker, or the fold and the class it lacks.
    """
    if not manifest.index.equals(folds.index):
        raise SpeechXAIError("The folds must have one value for every row of the manifest, on the same index.")
    per_speaker = folds.groupby(manifest["speaker"]).unique()
    crossing = per_speaker[per_speaker.map(len) > 1]
    if len(crossing):
        where = " and ".join(str(fold) for fold in sorted(crossing.iloc[0]))
        raise SpeechXAIError(
            f"The speaker '{crossing.index[0]}' is in folds {where}. A speaker must be in one fold only, or the test"
            " knows the voice."
        )
    for fold in sorted(folds.unique()):
        present = set(manifest["label"][folds == fold].dropna().astype(int))
        for index, name in enumerate(classes_of(manifest)):
            if index not in present:
                raise SpeechXAIError(f"Fold {fold} has no recording of class {name}. Draw fewer folds.")


def train_validation_test(
    manifest: pd.DataFrame, folds: pd.Series[int], k: int, seed: int = 0
) -> tuple[pd.Index[int], pd.Index[int], pd.Index[int]]:
    """Return the rows that train, validate and test in fold `k`: fold k tests, another one, drawn by `seed`, validates.

    Raises:
        SpeechXAIError: fewer than 3 folds, or a fold that does not exist.
    """
    check_folds(manifest, folds)
    present = sorted(int(fold) for fold in folds.unique())
    if len(present) < 3 or k not in present:
        raise SpeechXAIError(
            f"Training, validation and test need at least 3 folds and one of them as k. Got k = {k} of folds {present}."
        )
    others = [fold for fold in present if fold != k]
    # Step on from k by one random distance: over all k, every fold validates exactly once.
    step = int(np.random.default_rng(seed).integers(1, len(present)))
    validation = present[(present.index(k) + step) % len(present)]
    training = [fold for fold in others if fold != validation]
    return folds.index[folds.isin(training)], folds.index[folds == validation], folds.index[folds == k]


def published_splits(root: str | Path, dataset: str = "pc-gita", pattern: str = r"TRAIN_TEST_(\d+)") -> pd.DataFrame:
    """Read published splits, folders `TRAIN_TEST_<k>` with train.csv and test.csv, as they are, and check them.

    Columns read: original_id, audio_path, status (hc, pd, Control, Patologica), speaker_id; group and others are kept.

    Returns:
        Table with fold (k), part ("train", "test"), recording, path, speaker (prefixed), label, and the other columns.

    Raises:
        SpeechXAIError: no such folders, a file or column that is missing, a status that is not known, a speaker in
            train and
            test of one fold (named), a speaker who is tested in two folds, a part without one of the classes.
    """
    base = Path(root)
    folders = {
        int(m.group(1)): folder
        for folder in sorted(base.rglob("*"))
        if folder.is_dir() and (m := re.fullmatch(pattern, folder.name))
    }
    if not folders:
        raise SpeechXAIError(f"{root}: no folders TRAIN_TEST_<k> with train.csv and test.csv here.")
    parts = []
    for fold, folder in sorted(folders.items()):
        both = {part: _published_part(folder / f"{part}.csv", fold, part, dataset) for part in ("train", "test")}
        common = sorted(set(both["train"]["speaker"]) & set(both["test"]["speaker"]))
        if common:
            raise SpeechXAIError(
                f"{folder}: the speaker '{common[0]}' is in train.csv and in test.csv ({len(common)} such speakers)."
            )
        parts += list(both.values())
    table = pd.concat(parts, ignore_index=True)
    tested = table[table["part"] == "test"].groupby("speaker")["fold"].unique()
    twice = tested[tested.map(len) > 1]
    if len(twice):
        raise SpeechXAIError(
            f"{root}: the speaker '{twice.index[0]}' is tested in folds"
            f" {' and '.join(str(f) for f in sorted(twice.iloc[0]))}."
        )
    return table


def folds_of_published(manifest: pd.DataFrame, splits: pd.DataFrame) -> pd.Series[int]:
    """Return for every row of a manifest the published fold that tests its speaker.

    Raises:
        SpeechXAIError: a speaker that no published test set has.
    """
    tests = splits[splits["part"] == "test"].drop_duplicates("speaker").set_index("speaker")["fold"]
    missing = manifest["speaker"][~manifest["speaker"].isin(tests.index)]
    if len(missing):
        raise SpeechXAIError(
            f"The speaker '{missing.iloc[0]}' is in no published test set. Leave the speaker out, or draw folds."
        )
    return manifest["speaker"].map(tests).astype(int).rename("fold")


def _published_part(path: Path, fold: int, part: str, dataset: str) -> pd.DataFrame:
    if not path.is_file():
        raise SpeechXAIError(f"{path}: this file of the published splits is missing.")
    frame = read_table(path)
    needed = ("original_id", "audio_path", "status", "speaker_id")
    absent = [name for name in needed if name not in frame.columns]
    if absent:
        raise SpeechXAIError(
            f"{path}: lacks the columns {', '.join(absent)}. It has: {', '.join(str(c) for c in frame.columns)}."
        )
    strange = sorted(set(frame["status"].str.casefold()) - set(_STATUS))
    if strange:
        raise SpeechXAIError(f"{path}: the status '{strange[0]}' is not known. Known: {', '.join(_STATUS)}.")
    labels = frame["status"].str.casefold().map(_STATUS)
    for index, name in enumerate(CLASS_NAMES):
        if index not in set(labels):
            raise SpeechXAIError(f"{path}: has no recording of class {name}.")
    own = pd.DataFrame(
        {
            "fold": fold,
            "part": part,
            "recording": frame["original_id"].str.strip(),
            "path": [PurePosixPath(text.strip().replace("\\", "/")).as_posix() for text in frame["audio_path"]],
            "speaker": dataset + "/" + frame["speaker_id"].str.strip(),
            "label": labels.astype("Int64"),
        }
    )
    return pd.concat([own, frame.drop(columns=list(needed))], axis=1)
