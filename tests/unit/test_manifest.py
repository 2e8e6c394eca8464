"""The manifest: what is valid, what is refused, what a file keeps."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from speechxai.data.manifest import COLUMNS, label_index, read_manifest, to_recording_kwargs, validate, write_manifest
from speechxai.errors import SpeechXAIError


def rows(**changes: object) -> pd.DataFrame:
    data: dict[str, object] = {
        "recording": ["a", "b", "c"],
        "path": ["a.wav", "b.wav", "c.wav"],
        "speaker": ["s/1", "s/2", "s/3"],
        "label": ["HC", 1, "unknown"],
        "age": ["61", None, "NA"],
        "sex": ["F", None, ""],
    }
    return pd.DataFrame(data | changes)


def test_what_is_not_known_stays_unknown() -> None:
    frame = validate(rows())
    assert tuple(frame.columns) == COLUMNS
    assert frame["label"].tolist()[:2] == [0, 1]
    assert frame["label"].isna().tolist() == [False, False, True]
    assert frame["age"].isna().tolist() == [False, True, True]
    assert frame["sex"].tolist() == ["F", "unknown", "unknown"]


def test_a_written_manifest_is_read_the_same(tmp_path: Path) -> None:
    frame = validate(rows(speaker=["s/NA", "s/ñ", 's/"x",y']))
    write_manifest(frame, tmp_path / "m.csv")
    pd.testing.assert_frame_equal(read_manifest(tmp_path / "m.csv"), frame)
    assert "NA" in (tmp_path / "m.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"label": ["HC", 2, "HC"]}, "b: the label must be 0 or HC, 1 or PD, or unknown. Got 2"),
        ({"recording": ["a", "b", "a"]}, "a: this recording id stands twice"),
        ({"speaker": ["s/1", "2", "s/3"]}, "2: a speaker must be prefixed with the data set"),
        ({"speaker": ["s/1", "s/1", "s/3"]}, "s/1: this speaker has both labels"),
        ({"path": ["a.wav", "", "c.wav"]}, "Row 3 of the manifest has no path"),
        ({"age": ["old", None, None]}, "a: the column 'age' must hold a number or NA. Got 'old'"),
        ({"agee": [1, 2, 3]}, "unknown columns ['agee']"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, object], words: str) -> None:
    with pytest.raises(SpeechXAIError) as error:
        validate(rows(**changes))
    assert words in str(error.value)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(SpeechXAIError, match="lacks the columns \\['speaker'\\]"):
        validate(rows().drop(columns="speaker"))


def test_files_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    with pytest.raises(SpeechXAIError, match=r"none\.csv"):
        read_manifest(tmp_path / "none.csv")
    (tmp_path / "bad.csv").write_text("recording,path\na,b\n")
    with pytest.raises(SpeechXAIError) as error:
        read_manifest(tmp_path / "bad.csv")
    assert str(error.value).startswith(str(tmp_path / "bad.csv"))
    with pytest.raises(SpeechXAIError, match="cannot be written"):
        write_manifest(rows(), tmp_path / "no" / "m.csv")


def test_a_row_becomes_the_identity_of_a_recording() -> None:
    frame = validate(rows())
    first, third = (to_recording_kwargs(frame.iloc[i].to_dict()) for i in (0, 2))
    assert (first["id"], first["speaker"], first["label"], first["task"]) == ("a", "s/1", 0, "unknown")
    assert first["metadata"]["age"] == 61.0
    assert third["label"] is None
    assert third["metadata"]["age"] is None


def test_labels_are_never_guessed() -> None:
    assert [label_index(v) for v in (0, "1", "pd", " HC ", None, "unknown", "NA")] == [0, 1, 1, 0, None, None, None]
    for wrong in ("healthy", 2, "0.5", True):
        with pytest.raises(SpeechXAIError):
            label_index(wrong)
