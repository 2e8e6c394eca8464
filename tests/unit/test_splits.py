"""Folds that no speaker crosses, drawn and published."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechxai.data.manifest import validate
from speechxai.data.splits import (
    check_folds,
    folds_of_published,
    published_splits,
    speaker_folds,
    train_validation_test,
)
from speechxai.errors import SpeechXAIError


def corpus(n_hc: int, n_pd: int, most: int = 3, seed: int = 0) -> pd.DataFrame:
    """A manifest with 1 to `most` recordings a speaker, sex and age at random."""
    rng = np.random.default_rng(seed)
    rows = []
    for index in range(n_hc + n_pd):
        sex, age = rng.choice(["F", "M"]), int(rng.integers(40, 85))
        for take in range(int(rng.integers(1, most + 1))):
            rows.append(
                {
                    "recording": f"r{index}-{take}",
                    "path": f"{index}-{take}.wav",
                    "speaker": f"s/{index:03d}",
                    "label": int(index >= n_hc),
                    "sex": sex,
                    "age": age,
                }
            )
    return validate(pd.DataFrame(rows).sample(frac=1, random_state=seed).reset_index(drop=True))


@settings(max_examples=25, deadline=None)
@given(n_hc=st.integers(5, 40), n_pd=st.integers(5, 40), n_folds=st.integers(2, 5), seed=st.integers(0, 99))
def test_folds_hold_their_promises(n_hc: int, n_pd: int, n_folds: int, seed: int) -> None:
    manifest = corpus(n_hc, n_pd, seed=seed)
    folds = speaker_folds(manifest, n_folds, seed)
    assert (folds.groupby(manifest["speaker"]).nunique() == 1).all()
    speakers = manifest.assign(fold=folds).drop_duplicates("speaker")
    for label in (0, 1):
        sizes = speakers[speakers["label"] == label]["fold"].value_counts()
        assert len(sizes) == n_folds
        assert sizes.max() - sizes.min() <= 1
    all_sizes = speakers["fold"].value_counts()
    assert all_sizes.max() - all_sizes.min() <= 1


def test_folds_are_reproducible_and_the_seed_matters() -> None:
    manifest = corpus(20, 20)
    assert speaker_folds(manifest, 5, 1).equals(speaker_folds(manifest, 5, 1))
    assert not speaker_folds(manifest, 5, 1).equals(speaker_folds(manifest, 5, 2))
    # The order of the rows does not matter.
    shuffled = manifest.sample(frac=1, random_state=3)
    assert speaker_folds(shuffled, 5, 1).sort_index().equals(speaker_folds(manifest, 5, 1))


def test_folds_balance_sex_and_age_better_than_chance() -> None:
    manifest = corpus(50, 50, most=1)
    rng = np.random.default_rng(0)

    def spread(folds: pd.Series) -> tuple[float, float]:
        by = manifest.groupby(folds)
        return float((manifest["sex"] == "F").groupby(folds).mean().std()), float(by["age"].mean().std())

    ours = np.mean([spread(speaker_folds(manifest, 10, seed)) for seed in range(5)], axis=0)
    random = np.mean([spread(pd.Series(rng.permutation(100) % 10)) for _ in range(20)], axis=0)
    assert (ours < 0.75 * random).all()


def test_drawing_is_refused_with_a_reason() -> None:
    manifest = corpus(10, 3)
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^The 'n_folds' parameter must be from 2 to the speakers of the smallest class\. Got 4 with "
            r"speakers HC 10, PD 3\.$"
        ),
    ):
        speaker_folds(manifest, 4)
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^The 'n_folds' parameter must be from 2 to the speakers of the smallest class\. Got 1 with "
            r"speakers HC 10, PD 3\.$"
        ),
    ):
        speaker_folds(manifest, 1)
    unknown = manifest.assign(label=manifest["label"].mask(manifest["recording"] == "r0-0"))
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^r0-0: has no label, so it cannot be put into a fold \(1 such recordings\)\. Leave them "
            r"out\.$"
        ),
    ):
        speaker_folds(unknown, 2)


def test_a_speaker_in_two_folds_is_named() -> None:
    manifest = corpus(6, 6, most=2)
    folds = speaker_folds(manifest, 3)
    speaker = manifest["speaker"].value_counts().index[0]
    row = manifest.index[manifest["speaker"] == speaker][0]
    before = int(folds[row])
    folds[row] = (before + 1) % 3
    with pytest.raises(SpeechXAIError, match=f"The speaker '{speaker}' is in folds"):
        check_folds(manifest, folds)


def test_a_fold_without_a_class_is_named() -> None:
    manifest = corpus(4, 4, most=1)
    folds = (manifest["label"] == 1).astype(int)
    with pytest.raises(SpeechXAIError, match=r"^Fold 0 has no recording of class PD\. Draw fewer folds\.$"):
        check_folds(manifest, folds)
    with pytest.raises(
        SpeechXAIError, match=(r"^The folds must have one value for every row of the manifest, on the same index\.$")
    ):
        check_folds(manifest, folds.iloc[1:])


def test_training_validation_and_test_share_nobody() -> None:
    manifest = corpus(12, 12)
    folds = speaker_folds(manifest, 4)
    validated = []
    for k in range(4):
        parts = train_validation_test(manifest, folds, k, seed=5)
        assert sorted(i for part in parts for i in part) == sorted(manifest.index)
        people = [set(manifest.loc[part, "speaker"]) for part in parts]
        assert not (people[0] & people[1])
        assert not (people[0] & people[2])
        assert not (people[1] & people[2])
        assert set(folds[parts[2]]) == {k}
        validated.append(int(folds[parts[1]].iloc[0]))
    # Every fold validates exactly once over the whole cross-validation.
    assert sorted(validated) == [0, 1, 2, 3]
    # Which fold validates is part of every published number: with seed 5 the third after the tested one.
    assert validated == [3, 0, 1, 2]
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^Training, validation and test need at least 3 folds and one of them as k\. Got k = 9 of "
            r"folds \[0, 1, 2, 3\]\.$"
        ),
    ):
        train_validation_test(manifest, folds, 9)


HEADER = "original_id,audio_path,status,speaker_id,group,UPDRS,UPDRS-speech,H/Y,SEX,AGE,time after diagnosis\n"


def row(speaker: str, group: int, task: str = "pataka") -> str:
    status = "hc" if "C" in speaker else "pd"
    path = f"/mnt/data/DDK_analysis/{task}/{status}/{speaker}_{task}.wav"
    return f"{speaker}_{task},{path},{status},{speaker},{group},,,,F,60,\n"


GROUPS = {
    1: ["AVPEPUDEA0001", "AVPEPUDEAC0001"],
    2: ["AVPEPUDEA0002", "AVPEPUDEAC0002"],
    3: ["AVPEPUDEA0003", "AVPEPUDEAC0003"],
}


@pytest.fixture
def published(tmp_path: Path) -> Path:
    for k in GROUPS:
        folder = tmp_path / f"TRAIN_TEST_{k}"
        folder.mkdir()
        for part in ("train", "test"):
            lines = [row(s, g) for g, group in GROUPS.items() for s in group if (g == k) == (part == "test")]
            (folder / f"{part}.csv").write_text(HEADER + "".join(lines))
    return tmp_path


def test_published_splits_are_read_as_they_are(published: Path) -> None:
    table = published_splits(published)
    assert sorted(table["fold"].unique()) == [1, 2, 3]
    test = table[(table["fold"] == 2) & (table["part"] == "test")]
    assert sorted(test["speaker"]) == ["pc-gita/AVPEPUDEA0002", "pc-gita/AVPEPUDEAC0002"]
    assert sorted(test["label"]) == [0, 1]
    assert set(table["AGE"]) == {"60"}
    manifest = validate(
        pd.DataFrame(
            {
                "recording": ["a", "b"],
                "path": ["a", "b"],
                "speaker": ["pc-gita/AVPEPUDEA0003", "pc-gita/AVPEPUDEAC0001"],
                "label": [1, 0],
            }
        )
    )
    assert folds_of_published(manifest, table).tolist() == [3, 1]
    with pytest.raises(
        SpeechXAIError,
        match=(r"^The speaker 'x/9' is in no published test set\. Leave the speaker out, or draw folds\.$"),
    ):
        folds_of_published(
            validate(pd.DataFrame({"recording": ["a"], "path": ["a"], "speaker": ["x/9"], "label": [1]})), table
        )


def test_a_speaker_in_train_and_test_is_named(published: Path) -> None:
    with (published / "TRAIN_TEST_2" / "train.csv").open("a") as handle:
        handle.write(row("AVPEPUDEAC0002", 2, "petaka"))
    with pytest.raises(SpeechXAIError) as error:
        published_splits(published)
    assert str(error.value).startswith(str(published / "TRAIN_TEST_2"))
    assert "the speaker 'pc-gita/AVPEPUDEAC0002' is in train.csv and in test.csv" in str(error.value)


def test_a_speaker_tested_twice_is_named(published: Path) -> None:
    text = (published / "TRAIN_TEST_1" / "train.csv").read_text().replace(row("AVPEPUDEA0002", 2), "")
    (published / "TRAIN_TEST_1" / "train.csv").write_text(text)
    with (published / "TRAIN_TEST_1" / "test.csv").open("a") as handle:
        handle.write(row("AVPEPUDEA0002", 2))
    with pytest.raises(SpeechXAIError, match=r": the speaker 'pc-gita/AVPEPUDEA0002' is tested in folds 1 and 2\.$"):
        published_splits(published)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("speaker_id", "speaker", "lacks the columns speaker_id"),
        (",pd,", ",sick,", "the status 'sick' is not known"),
        (row("AVPEPUDEA0001", 1), "", "has no recording of class PD"),
    ],
)
def test_wrong_published_files_are_named(published: Path, old: str, new: str, words: str) -> None:
    file = published / "TRAIN_TEST_1" / "test.csv"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(SpeechXAIError, match=words) as error:
        published_splits(published)
    assert str(error.value).startswith(str(file))


def test_missing_published_files_are_named(published: Path) -> None:
    (published / "TRAIN_TEST_3" / "train.csv").unlink()
    with pytest.raises(
        SpeechXAIError, match=(r"/TRAIN_TEST_3/train\.csv: this file of the published splits is missing\.$")
    ):
        published_splits(published)
    with pytest.raises(
        SpeechXAIError, match=(r"/TRAIN_TEST_1: no folders TRAIN_TEST_<k> with train\.csv and test\.csv here\.$")
    ):
        published_splits(published / "TRAIN_TEST_1")
