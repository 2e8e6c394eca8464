"""The manifest: what is valid, what is refused, what a file keeps."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from speechxai.data.cards import root_of
from speechxai.data.manifest import (
    COLUMNS,
    Locator,
    classes_of,
    label_index,
    label_names,
    n_missing,
    own_columns,
    read_manifest,
    remembered_root,
    to_recording_kwargs,
    validate,
    write_manifest,
)
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
        ({"Label": ["HC", "HC", "HC"]}, "The column 'label' stands in the manifest twice"),
        ({"classes": ["HC;PD", "HC;PD", "PD;HC"]}, "rows of the classes HC;PD and rows of PD;HC"),
        ({"classes": "HC"}, "two classes or more, of different names. Got HC"),
        ({"classes": "HC;healthy"}, "two classes or more, of different names. Got HC, healthy"),
        ({"classes": "HC;unknown"}, "A class cannot be called 'unknown'"),
        ({"classes": "HC;PD;MSA", "label": ["HC", "MSA-P", "PD"]}, "b: the label must be HC, PD, MSA, or unknown"),
        ({"classes": "HC;PD;MSA", "label": ["HC", "1", "PD"]}, "b: the label must be HC, PD, MSA, or unknown. Got '1'"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, object], words: str) -> None:
    with pytest.raises(SpeechXAIError) as error:
        validate(rows(**changes))
    assert words in str(error.value)


def test_a_missing_column_is_named() -> None:
    with pytest.raises(SpeechXAIError, match=r"^The manifest lacks the columns \['speaker'\]\. Known: .*$"):
        validate(rows().drop(columns="speaker"))


def test_files_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    with pytest.raises(SpeechXAIError, match=r"/none\.csv: no such file\.$"):
        read_manifest(tmp_path / "none.csv")
    (tmp_path / "bad.csv").write_text("recording,path\na,b\n")
    with pytest.raises(SpeechXAIError) as error:
        read_manifest(tmp_path / "bad.csv")
    assert str(error.value).startswith(str(tmp_path / "bad.csv"))
    with pytest.raises(
        SpeechXAIError,
        match=(r"/no/m\.csv: the manifest cannot be written \(.*\)\. Choose another place with --out\.$"),
    ):
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
    assert [label_index(v) for v in ("healthy", "Parkinson’s disease", "CONTROL ", 1.0)] == [0, 1, 0, 1]
    for wrong in ("pathological", "patient", "sick", 2, "2", "0.5", 0.5, True, -1):
        with pytest.raises(SpeechXAIError):
            label_index(wrong)


def test_names_of_classes_are_those_of_the_data_set(tmp_path: Path) -> None:
    frame = validate(rows(classes="healthy; MSA;PD", label=["MSA", "Parkinson's", "HC"]))
    assert classes_of(frame) == ("healthy", "MSA", "PD")
    assert frame["label"].tolist() == [1, 2, 0]
    assert label_names(frame).tolist() == ["MSA", "PD", "healthy"]
    write_manifest(frame, tmp_path / "m.csv")
    assert (tmp_path / "m.csv").read_text(encoding="utf-8").splitlines()[1].startswith("a,a.wav,s/1,MSA,")
    pd.testing.assert_frame_equal(read_manifest(tmp_path / "m.csv"), frame)


def test_numbers_may_be_names_of_classes(tmp_path: Path) -> None:
    # Bands of severity: the text "1" is the class of that name, the third, and the number 1 the second one.
    frame = validate(rows(classes="0;2;1", label=["1", 1, "0"]))
    assert frame["label"].tolist() == [2, 1, 0]
    write_manifest(frame, tmp_path / "m.csv")
    pd.testing.assert_frame_equal(read_manifest(tmp_path / "m.csv"), frame)


@pytest.mark.parametrize("label", [["HC", "PD", "unknown"], ["0", "1", "NA"], ["0.0", "1.0", ""], [0, 1, None]])
def test_a_manifest_of_an_older_version_has_hc_and_pd(tmp_path: Path, label: list[object]) -> None:
    rows(label=label).to_csv(tmp_path / "old.csv", index=False)
    frame = read_manifest(tmp_path / "old.csv")
    assert frame["label"].tolist()[:2] == [0, 1]
    assert frame["label"].isna().tolist() == [False, False, True]
    assert (classes_of(frame), remembered_root(frame)) == (("HC", "PD"), None)


def test_columns_of_the_users_own_are_kept_and_typed(tmp_path: Path) -> None:
    own = {
        "diagnosis": ["reflux laryngitis", "", "hyperkinetic, mild"],
        "VHI": ["12", "NA", "3,5"],
        "code": ["007", "12", "3"],  # a zero in front: a name, and no number
        "when": ["2020-01-02", "2020-01-03", "unknown"],
        "remark": ["", None, ""],
    }
    frame = validate(rows(**own))
    assert own_columns(frame) == list(own)
    assert frame["diagnosis"].tolist() == ["reflux laryngitis", "unknown", "hyperkinetic, mild"]
    assert frame["VHI"].tolist()[::2] == [12.0, 3.5]
    assert frame["VHI"].isna().tolist() == [False, True, False]
    assert frame["code"].tolist() == ["007", "12", "3"]
    assert frame["remark"].tolist() == ["unknown"] * 3
    write_manifest(frame, tmp_path / "m.csv")
    pd.testing.assert_frame_equal(read_manifest(tmp_path / "m.csv"), frame)
    found = to_recording_kwargs(frame.iloc[1].to_dict())["metadata"]
    assert (found["VHI"], found["code"]) == (None, "12")
    assert not {"root", "classes", "label"} & set(found)


def test_a_header_that_stands_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("recording,path,speaker,label,label\na,a.wav,s/1,HC,PD\n")
    with pytest.raises(
        SpeechXAIError, match=(r"/m\.csv: the columns 'label' and 'label' both say the label\. Keep one\.$")
    ):
        read_manifest(tmp_path / "m.csv")


def test_a_manifest_remembers_its_root(tmp_path: Path) -> None:
    frame = validate(rows(root=str(tmp_path)))
    write_manifest(frame, tmp_path / "m.csv")
    again = read_manifest(tmp_path / "m.csv")
    elsewhere = tmp_path / "else" / "m.csv"
    assert remembered_root(again) == root_of(elsewhere, None, again) == tmp_path
    assert root_of(elsewhere, "given", again) == Path("given")
    gone = again.assign(root="/nowhere/at/all")
    assert root_of(elsewhere, None, gone) == elsewhere.parent  # moved together with its recordings
    assert remembered_root(again.assign(root=["/a", "/b", "/a"])) is None


def test_all_files_are_looked_at_before_anything_begins(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    assert n_missing(["a.wav", "b.wav", "c/d.wav", f"x{0:0400}.wav"], Locator(tmp_path)) == 3
    assert n_missing([], Locator(tmp_path)) == 0
    with pytest.raises(SpeechXAIError, match=r"1,000 of 1,000 recordings are missing below it, .*v0.wav; check --root"):
        n_missing((f"v{i}.wav" for i in range(1000)), Locator(tmp_path))
    with pytest.raises(SpeechXAIError, match="the recording is missing below it"):
        n_missing(["b.wav"], Locator(tmp_path))
