"""Cards against made-up trees of tiny files in the layouts that the publishers use."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from speechxai.data import cards
from speechxai.data.cards import (
    _age,
    add_card,
    build_manifest,
    card_names,
    card_text,
    find,
    load_card,
    publisher_sha256,
    root_of,
)
from speechxai.data.manifest import Locator, path_token, pseudonym, salt, validate
from speechxai.errors import SpeechXAIError
from speechxai.files import resource_folder

Tree = Callable[[Iterable[str]], Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Return a function that writes a short recording at every path, each with other samples."""

    def make(paths: Iterable[str]) -> Path:
        for index, path in enumerate(paths):
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            kind = {"flac": "FLAC", "ogg": "OGG"}.get(file.suffix[1:].lower(), "WAV")
            soundfile.write(file, np.random.default_rng(index).uniform(-0.5, 0.5, 800), 8_000, format=kind)
        return tmp_path

    return make


def by(frame: pd.DataFrame, column: str) -> dict[str, object]:
    return dict(zip(frame["path"], frame[column], strict=True))


def labels(frame: pd.DataFrame) -> list[int]:
    return [int(value) for value in frame["label"]]


def test_every_card_has_a_human_text_that_answers_the_questions() -> None:
    assert set(card_names()) == {"figshare-voice", "mdvr-kcl", "pc-gita", "neurovoz", "ipvs", "librispeech", "folder"}
    for name in card_names():
        assert load_card(name).name == name
        text = card_text(name)
        for word in ("Source", "icense", "onsent", "Known confounds", "Not documented", "Not to be used for"):
            assert word in text, f"{name}.md says nothing about {word}"


def test_cards_lie_where_the_package_finds_them() -> None:
    assert (resource_folder("data_cards") / "mdvr-kcl.toml").is_file()


# --- figshare-voice -------------------------------------------------------------------------------------------------


def test_figshare_as_published_here(shared_data: Callable[[str], Path]) -> None:
    frame, report = build_manifest("figshare-voice", shared_data("figshare-voice"))
    assert (report.n_audio, report.n_matched, report.unmatched, report.changed, report.missing) == (81, 81, (), (), ())
    assert (labels(frame).count(0), labels(frame).count(1)) == (41, 40)
    assert frame["speaker"].nunique() == 81
    assert frame["age"].notna().all()
    assert set(frame["sex"]) == {"F", "M"}
    assert set(frame["sample_rate"]) == {8_000}


FIGSHARE = ("HC_AH/AH_064F_7AB034C9-72E4.wav", "HC_AH/AH_114S_A89F3548.wav", "PD_AH/AH_545616858-3A749CBC.wav")


def test_figshare_original_folders_and_sheet(tree: Tree) -> None:
    root = tree(FIGSHARE)
    sheet = "Sample ID,Label,Age,Sex\nAH_064F_7AB034C9-72E4,HC,69,M\nAH_545616858-3A749CBC,PwPD,70,F\nAH_gone,HC,50,F\n"
    (root / "Demographics_age_sex.csv").write_text(sheet)
    frame, report = build_manifest("figshare-voice", root)
    assert labels(frame) == [0, 0, 1]
    assert list(frame["age"].astype(object).where(frame["age"].notna(), None)) == [69.0, None, 70.0]
    assert list(frame["sex"]) == ["M", "unknown", "F"]
    assert list(frame["task"]) == ["vowel-a"] * 3
    # The publisher's list has 81 names, none of these; the sheet has one that the folder has not.
    assert len(report.missing) == 82
    assert "Demographics_age_sex.csv: ah_gone" in report.missing


def test_figshare_folder_and_sheet_must_agree(tree: Tree) -> None:
    root = tree(FIGSHARE)
    (root / "demographics.csv").write_text("Sample ID,Label,Age,Sex\nAH_064F_7AB034C9-72E4,PwPD,69,M\n")
    frame, report = build_manifest("figshare-voice", root)
    assert len(frame) == 2
    path, reason = report.unmatched[0]
    assert path == FIGSHARE[0]
    assert reason == "its labels disagree: the folder says 'HC_AH', but demographics.csv says 'PwPD'"


def test_figshare_without_folder_or_sheet_has_no_label(tree: Tree) -> None:
    frame, report = build_manifest("figshare-voice", tree(["audio/AH_064F_7AB034C9.wav"]))
    assert frame.empty
    assert report.unmatched[0][1] == "no label: neither folder nor column Label states one"
    assert any("no demographics.csv" in note for note in report.notes)


def test_figshare_names_a_file_that_is_not_the_publishers(tree: Tree) -> None:
    known = sorted(publisher_sha256("figshare-voice"))
    assert len(known) == 81
    root = tree([f"HC_AH/{known[0]}"])
    assert build_manifest("figshare-voice", root)[1].changed == (f"HC_AH/{known[0]}",)


# --- mdvr-kcl -------------------------------------------------------------------------------------------------------


def test_mdvr_clips(shared_data: Callable[[str], Path]) -> None:
    frame, report = build_manifest("mdvr-kcl", shared_data("mdvr-kcl"))
    assert report.unmatched == ()
    assert labels(frame) == [0, 0, 1, 1]
    assert list(frame["speaker"]) == ["mdvr-kcl/ID00"] * 2 + ["mdvr-kcl/ID02"] * 2
    assert list(frame["hoehn_yahr"]) == [0, 0, 2, 2]


def test_mdvr_original_folders(tree: Tree) -> None:
    base = "26-29_09_2017_KCL"
    paths = [
        f"{base}/ReadText/HC/ID22hc_0_0_0.wav",
        f"{base}/SpontaneousDialogue/HC/ID22_hc_0_0_0.wav",
        f"{base}/ReadText/PD/ID02_pd_2_0_1.wav",
        f"{base}/SpontaneousDialogue/PD/id02_PD_2_0_1.WAV",
        f"{base}/ReadText/HC/ID99_pd_2_0_1.wav",
        f"{base}/ReadText/HC/notes of the day.wav",
        f"{base}/ReadText/HC/.hidden.wav",
        f"__MACOSX/{base}/ReadText/HC/._ID22hc_0_0_0.wav",
    ]
    frame, report = build_manifest("mdvr-kcl", tree(paths))
    assert report.n_audio == 6
    assert by(frame, "speaker") == {
        paths[0]: "mdvr-kcl/ID22",
        paths[1]: "mdvr-kcl/ID22",
        paths[2]: "mdvr-kcl/ID02",
        paths[3]: "mdvr-kcl/ID02",
    }
    assert by(frame, "task")[paths[0]] == "reading"
    assert by(frame, "task")[paths[3]] == "dialogue"
    assert by(frame, "updrs_speech")[paths[2]] == 1
    reasons = dict(report.unmatched)
    assert reasons[paths[4]] == "its labels disagree: the file name says 'pd', but the folder says 'HC'"
    assert reasons[paths[5]].startswith("its path fits no pattern of the card")


def test_recordings_of_one_name_get_names_of_their_own(tree: Tree) -> None:
    frame, _ = build_manifest(
        "mdvr-kcl", tree(["ReadText/PD/ID02_pd_2_0_1.wav", "SpontaneousDialogue/PD/ID02_pd_2_0_1.wav"])
    )
    assert list(frame["recording"]) == ["ReadText__PD__ID02_pd_2_0_1", "SpontaneousDialogue__PD__ID02_pd_2_0_1"]


# --- pc-gita --------------------------------------------------------------------------------------------------------


def test_pc_gita_layout(tree: Tree) -> None:
    base = "PC-GITA_per_task_44100Hz"
    expected = {
        f"{base}/DDK_analysis/pataka/sin_normalizar/pd/AVPEPUDEA0001_pataka.wav": (1, "0001", "ddk"),
        f"{base}/DDK analysis/pataka/non-normalized/HC/AVPEPUDEAC0001_pataka.wav": (0, "C0001", "ddk"),
        f"{base}/monologue/sin_normalizar/PD/AVPEPUDEA0001-Monologo-NR.wav": (1, "0001", "monologue"),
        f"{base}/read_text/ayerfuialmedico/sin_normalizar/hc/avpepudeac0001_ayer.wav": (0, "C0001", "reading"),
        f"{base}/sentences2/mi_casa/non-normalized/hc/AVPEPUDEAC0003micasa.wav": (0, "C0003", "sentence"),
        f"{base}/Vowels/A/Control/AVPEPUDEAC0006a3.wav": (0, "C0006", "vowel-a"),
        f"{base}/vowels/I/Patologica/AVPEPUDEA0006_i1.wav": (1, "0006", "vowel-i"),
        f"{base}/Words/PD/atleta/AVPEPUDEA0001atleta.wav": (1, "0001", "word"),
    }
    extra = f"{base}/DDK_analysis/pataka/con normalizar/pd/AVPEPUDEA0001_pataka.wav"
    wrong = f"{base}/monologue/sin_normalizar/hc/AVPEPUDEA0044-Monologo-NR.wav"
    root = tree([*expected, extra, wrong])
    header = "RECODING ORIGINAL NAME;UPDRS;UPDRS-speech;H/Y;SEX;AGE;time after diagnosis\n"
    (root / "Copia de PCGITA_metadata.csv").write_text(
        header + "AVPEPUDEA0001;28;1;2;M;64;4\n avpepudeaC0001 ;;;;F;61;\n"
    )
    frame, report = build_manifest("pc-gita", root)
    found = {
        row["path"]: (row["label"], row["speaker"].removeprefix("pc-gita/AVPEPUDEA"), row["task"])
        for row in frame.to_dict("records")
    }
    assert found == expected
    assert dict(report.left_out)[extra].startswith("the level-normalized copy")
    assert (
        dict(report.unmatched)[wrong]
        == "its labels disagree: the file name says 'no control', but the folder says 'hc'"
    )
    first = frame.set_index("path").loc[next(iter(expected))]
    assert (first["age"], first["updrs"], first["updrs_speech"], first["hoehn_yahr"]) == (64, 28, 1, 2)
    assert (first["sex"], first["medication"]) == ("M", "on")
    control = frame[frame["speaker"] == "pc-gita/AVPEPUDEAC0001"].iloc[0]
    assert (control["age"], control["sex"], control["medication"]) == (61, "F", "unknown")


# --- neurovoz -------------------------------------------------------------------------------------------------------


def test_neurovoz_layout(tree: Tree) -> None:
    expected = {
        "data/audios/HC_A1_0034.wav": (0, "vowel-a"),
        "data/audios/HC_PATAKA_0034.wav": (0, "ddk"),
        "data/audios/PD_FREE_0005.wav": (1, "monologue"),
        "data/audios/PD_CALLE_0005.wav": (1, "sentence"),
        "data/audios/PD_U3_0007.wav": (1, "vowel-u"),
        "data/audios/PD_X9_0007.wav": (1, "unknown"),
    }
    root = tree(expected)
    (root / "data/metadata").mkdir()
    (root / "data/metadata/metadata_hc.csv").write_text("ID,Age,Sex\n34,71,1\n5,40,0\n")
    (root / "data/metadata/metadata_pd.csv").write_text("ID,Age,Sex,UPDRS scale,H-Y Stadium\n5.0,66,0,17,2\n")
    frame, _ = build_manifest("neurovoz", root)
    assert {row["path"]: (row["label"], row["task"]) for row in frame.to_dict("records")} == expected
    assert by(frame, "speaker")["data/audios/HC_A1_0034.wav"] == "neurovoz/0034"
    # Speaker 5 is in both sheets: only the one of its own class counts.
    assert by(frame, "age")["data/audios/PD_FREE_0005.wav"] == 66
    assert by(frame, "hoehn_yahr")["data/audios/PD_FREE_0005.wav"] == 2
    assert by(frame, "age")["data/audios/HC_A1_0034.wav"] == 71
    # The coding of Sex is not documented.
    assert set(frame["sex"]) == {"unknown"}
    assert by(frame, "medication")["data/audios/PD_U3_0007.wav"] == "on"


def test_a_speaker_with_both_labels_is_refused(tree: Tree) -> None:
    frame, report = build_manifest("neurovoz", tree(["HC_A1_0034.wav", "PD_A1_0034.wav", "PD_A1_0001.wav"]))
    assert list(frame["path"]) == ["PD_A1_0001.wav"]
    assert dict(report.unmatched)["HC_A1_0034.wav"] == "speaker neurovoz/0034 has the labels HC and PD"


# --- ipvs -----------------------------------------------------------------------------------------------------------

PD_FOLDER = "28 People with Parkinson's disease"
IPVS = {
    "15 Young Healthy Control/Anna B/B1ANBNNAF94F100120171014.wav": (0, "reading", "F", 23),
    "22 Elderly Healthy Control/MARIO ROSSI/VA1MRAORSOS49M100220161014.wav": (0, "vowel-a", "M", 67),
    "22 Elderly Healthy Control/MARIO ROSSI/VA2MRAORSOS49M100220161015.wav": (0, "vowel-a", "M", 67),
    f"{PD_FOLDER}/1-5/Ugo Verdi/D1UVGEORDI40M230320171209.wav": (1, "syllable", "M", 77),
    f"{PD_FOLDER}/17-28/ugo  verdi/PR1UVGEORDI40M230320171215.wav": (1, "word", "M", 77),
    f"{PD_FOLDER}/Ida N/FB1.wav": (1, "sentence", "unknown", None),
}
NAMES = ("anna", "mario", "rossi", "ugo", "verdi", "ida", "anbnna", "mraorsos", "uvgeordi")


def test_ipvs_hides_every_name(tree: Tree, tmp_path: Path) -> None:
    root = tree(IPVS)
    frame, report = build_manifest("ipvs", root)
    assert report.unmatched == ()
    written = tmp_path / "out.csv"
    frame.to_csv(written)
    assert not [name for name in NAMES if name in written.read_text().casefold()]
    assert all(re.fullmatch(r"ipvs/p[0-9a-f]{12}", speaker) for speaker in frame["speaker"])
    # One person, however the folder is spelled, is one speaker: 5 folders but 4 people.
    assert frame["speaker"].nunique() == 4
    found = sorted(
        (int(r["label"]), r["task"], r["sex"], None if pd.isna(r["age"]) else int(r["age"]))
        for r in frame.to_dict("records")
    )
    assert sorted(map(str, found)) == sorted(map(str, IPVS.values()))


def test_ipvs_pseudonyms_are_stable_and_lead_back_with_the_folder_only(tree: Tree) -> None:
    root = tree(IPVS)
    frame, _ = build_manifest("ipvs", root)
    again, _ = build_manifest("ipvs", root)
    pd.testing.assert_frame_equal(frame, again)
    locator = Locator(root)
    for path, sha256 in zip(frame["path"], frame["sha256"], strict=True):
        assert hashlib.sha256(locator.locate(path).read_bytes()).hexdigest() == sha256
    if os.name == "posix":
        assert stat.S_IMODE((root / ".speechxai-salt").stat().st_mode) == 0o600
    (root / ".speechxai-salt").unlink()
    other, _ = build_manifest("ipvs", root)
    assert set(other["speaker"]).isdisjoint(frame["speaker"])
    with pytest.raises(
        SpeechXAIError,
        match=(
            r": no file belongs to the pseudonymous path @.*\. The manifest was made with another copy of "
            r"the data or another \.speechxai-salt; make it again\.$"
        ),
    ):
        Locator(root).locate(frame["path"].iloc[0])


def test_pseudonyms_need_the_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = bytes(32), bytes(31) + b"\1"
    assert pseudonym(one, "person", "Anna B") == pseudonym(one, "person", " anna  b ")
    assert pseudonym(one, "person", "Anna B") != pseudonym(two, "person", "Anna B")
    assert path_token(one, "a/b.wav").startswith("@")
    monkeypatch.setenv("SPEECHXAI_SALT_FILE", str(tmp_path / "elsewhere"))
    assert salt(tmp_path) == (tmp_path / "elsewhere").read_bytes()
    (tmp_path / "elsewhere").write_bytes(b"short")
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"/elsewhere: damaged: 5 bytes instead of 32\. Restore it; a new one changes every "
            r"pseudonym\.$"
        ),
    ):
        salt(tmp_path)
    monkeypatch.setenv("SPEECHXAI_SALT_FILE", str(tmp_path / "no" / "salt"))
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"/no/salt: the secret for pseudonyms cannot be kept here \(.*\)\. Set SPEECHXAI_SALT_FILE to "
            r"a file in a folder of yours that may be written to\.$"
        ),
    ):
        salt(tmp_path)


@pytest.mark.parametrize(
    ("birth", "recorded", "age"), [(94, 2017, 23), (40, 2017, 77), (1, 2017, 16), (10, 2017, 107), (1951, 2016, 65)]
)
def test_age_from_two_years(birth: int, recorded: int, age: int) -> None:
    assert _age(birth, recorded) == age


# --- librispeech, folder, own cards ---------------------------------------------------------------------------------


def test_librispeech_has_no_labels(tree: Tree) -> None:
    frame, report = build_manifest(
        "librispeech", tree(["LibriSpeech/dev-clean/84/121123/84-121123-0000.flac", "84-121123-0001.hq.ogg"])
    )
    assert frame["label"].isna().all()
    assert set(frame["speaker"]) == {"librispeech/84"}
    assert any("no label" in note for note in report.notes)


def test_a_labeled_folder(tree: Tree) -> None:
    paths = [
        "HC/anna/one.wav",
        "HC/anna/sub/two.flac",
        "hc/bert_01.wav",
        "Patients/carl_01.wav",
        "PD/carl_02.wav",
        "other/dora.wav",
        "PD/eve.m4a",
    ]
    root = tree(paths[:-1])
    (root / paths[-1]).write_bytes(b"x")
    frame, report = build_manifest("folder", root)
    assert by(frame, "speaker") == {
        paths[0]: "folder/anna",
        paths[1]: "folder/anna",
        paths[2]: "folder/bert",
        paths[3]: "folder/carl",
        paths[4]: "folder/carl",
    }
    reasons = dict(report.unmatched)
    assert reasons["other/dora.wav"] == "no label: neither folder nor column label states one"
    assert "convert it to wav with ffmpeg" in reasons["PD/eve.m4a"]


def test_a_folder_with_a_table_of_labels(tree: Tree) -> None:
    root = tree(["x/a.wav", "x/b.wav", "x/c.wav"])
    (root / "labels.csv").write_text("file,label,speaker,age\nx/a.wav,HC,s1,60\nx/b.wav,1,s2,\nx/c.wav,unknown,s3,\n")
    frame, report = build_manifest("folder", root)
    assert report.unmatched == ()
    assert list(frame["speaker"]) == ["folder/s1", "folder/s2", "folder/s3"]
    assert [None if pd.isna(v) else int(v) for v in frame["label"]] == [0, 1, None]
    assert frame["age"].iloc[0] == 60


def test_an_unreadable_table_is_a_note_and_a_double_row_too(tree: Tree) -> None:
    root = tree(["HC/a_1.wav"])
    (root / "labels.csv").write_text("name,label\na,HC\n")
    assert any("has no column 'file'" in note for note in build_manifest("folder", root)[1].notes)
    (root / "labels.csv").write_text("file,label\nHC/a_1.wav,HC\nHC/a_1.wav,PD\n")
    assert any("two rows that differ" in note for note in build_manifest("folder", root)[1].notes)


def test_what_a_sheet_says_is_translated_named_or_kept_and_never_dropped(tree: Tree) -> None:
    root = tree([f"HC/{name}_1.wav" for name in "abcd"])
    (root / "mine.toml").write_text(
        """name = "mine"
title = "t"
language = "de"
license = "l"
source = "s"
access = "local"
patterns = ['(?P<speaker>[a-z])_1\\.wav']
sex_values = { "3" = "F" }
[[labels]]
from = "folder"
values = { HC = "HC" }
[[sheets]]
files = ["people.csv"]
key = "ID"
match = "speaker"
columns = { sex = "Gender", age = "Age", medication = "Drug", task = "What" }
values = { task = { "1" = "reading" } }
"""
    )
    rows = "a,1,60,none,1\nb,female,4000,on,2\nc,3,61,,1\nd,9,62,off,2\n"
    (root / "people.csv").write_text("ID,Gender,Age,Drug,What\n" + rows)
    frame, report = build_manifest(root / "mine.toml", root)
    assert frame["sex"].tolist() == ["1", "F", "F", "9"]
    assert frame["medication"].tolist() == ["none", "on", "unknown", "off"]
    assert frame["task"].tolist() == ["reading", "unknown", "reading", "unknown"]
    assert frame["age"].isna().tolist() == [False, True, False, False]
    notes = "\n".join(report.notes)
    assert "task: the card does not say what '2' means. It stays unknown in 2 of 4 recordings." in notes
    assert "Got '4000' instead. Write NA where it is not known. It stays unknown in 1 of 4 recordings." in notes
    # The header may say what the numbers mean, and answers to the card's name for it all the same.
    (root / "people.csv").write_text("ID,Gender (1=M),Age,Drug,What\n" + rows)
    assert build_manifest(root / "mine.toml", root)[0]["sex"].tolist() == ["M", "F", "F", "9"]


def test_the_first_name_of_a_sheet_that_is_there_counts(tree: Tree) -> None:
    root = tree(FIGSHARE[:1])
    # The card names demographics.csv before Demographics*.csv, whatever their order in the folder.
    for file, age in (("Demographics_age_sex.csv", 50), ("demographics.csv", 69)):
        (root / file).write_text(f"Sample ID,Label,Age,Sex\nAH_064F_7AB034C9-72E4,HC,{age},M\n")
    assert build_manifest("figshare-voice", root)[0]["age"].tolist() == [69]


def test_excel_tables(tree: Tree) -> None:
    openpyxl = pytest.importorskip("openpyxl", reason="openpyxl not installed")
    root = tree(FIGSHARE[:1])
    book = openpyxl.Workbook()
    for row in (("Sample ID", "Label", "Age", "Sex"), ("AH_064F_7AB034C9-72E4", "HC", 69, "M")):
        book.active.append(row)
    book.save(root / "Demographics_age_sex.xlsx")
    assert build_manifest("figshare-voice", root)[0]["age"].iloc[0] == 69


def test_a_manifest_is_valid_and_its_files_are_hashed(tree: Tree) -> None:
    root = tree(["HC/a_1.wav", "PD/b_1.wav"])
    done: list[tuple[int, int]] = []
    frame, _ = build_manifest("folder", root, lambda n, total: done.append((n, total)))
    assert done == [(1, 2), (2, 2)]
    pd.testing.assert_frame_equal(validate(frame), frame)
    assert frame["sha256"].iloc[0] == hashlib.sha256((root / "HC/a_1.wav").read_bytes()).hexdigest()


def test_unreadable_audio_stays_in_the_manifest_for_the_reader_to_name(tree: Tree) -> None:
    root = tree(["HC/a_1.wav"])
    (root / "HC/b_1.wav").write_text("no audio")
    frame, report = build_manifest("folder", root)
    assert (report.n_matched, int(frame["sample_rate"].isna().sum())) == (2, 1)


OWN = """
name = "mine"
title = "t"
language = "de"
license = "l"
source = "s"
access = "local"
size = "2"
patterns = ['(?P<speaker>\\d+)_(?P<label>k|p)\\.wav']
labels = [{ from = "group", name = "label", values = { k = "HC", p = "PD" } }]
"""


def test_a_card_of_ones_own(tree: Tree) -> None:
    root = tree(["1_k.wav", "2_p.wav", "3_x.wav"])
    (root / "mine.toml").write_text(OWN)
    frame, report = build_manifest(root / "mine.toml", root)
    assert (list(frame["speaker"]), labels(frame)) == (["mine/1", "mine/2"], [0, 1])
    assert [path for path, _ in report.unmatched] == ["3_x.wav"]


def test_a_card_without_a_text_says_so_and_works(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree(["1_k.wav", "2_p.wav"])
    path = root / "mine.toml"
    path.write_text(OWN)
    assert "mine.md is not beside it" in card_text(path)
    monkeypatch.setattr(cards, "_ADDED", {})
    add_card(path)  # as another package brings it
    assert "mine" in card_names()
    assert len(find("mine", root)[0]) == 2
    assert card_text("mine") == card_text(path)
    path.with_suffix(".md").write_text("# Mine\n")
    assert card_text("mine") == "# Mine\n"
    with pytest.raises(SpeechXAIError, match=r": there is a data card of this name already\. Rename the file\.$"):
        add_card(resource_folder("data_cards") / "folder.toml")


def test_recordings_are_found_whichever_way_they_are_named(tree: Tree) -> None:
    root = tree(["1_k.wav", "2_p.wav"])
    (root / "mine.toml").write_text(OWN)
    (root / "labels.csv").write_text("file,label,speaker\n1_k.wav,HC,1\n2_p.wav,PD,2\n")
    by_card, _ = find(root / "mine.toml", root)
    by_labels, _ = find(root, None, root / "labels.csv")
    cards.manifests.write_manifest(by_card, root / "manifest.csv")
    by_manifest, _ = find(root / "manifest.csv")
    assert labels(by_card) == labels(by_labels) == labels(by_manifest) == [0, 1]
    assert root_of(root / "manifest.csv") == root_of(root) == root_of("mine", root) == root
    for words, message in (
        ((root / "mine.toml",), "give --root"),
        ((root / "manifest.csv", None, root / "labels.csv"), "belongs to a folder"),
        ((root, root.parent), "its own root"),
        (("folde", root), "Did you mean 'folder'"),
    ):
        with pytest.raises(SpeechXAIError, match=message):
            find(*words)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("title =", "titel =", "titel: Extra inputs are not permitted"),
        ("P<speaker>", "P<person>", "no named group 'speaker'"),
        ('name = "label"', 'name = "group"', "the group 'group', which no pattern has"),
        ("k = ", "k = [", "not valid TOML"),
        ('k = "HC"', 'k = "healthy"', "labels: 'healthy' is none of the classes HC, PD"),
        (
            'access = "local"',
            'access = "local"\nclasses = ["HC", "MSA"]',
            "labels: 'PD' is none of the classes HC, MSA",
        ),
        ('access = "local"', 'access = "local"\nclasses = ["HC"]', "classes: There must be two classes or more"),
        (r"(?P<label>k|p)", r"(?P<label>k|p", "not a regular expression"),
        ('access = "local"', 'access = "request"', "needs how_to_obtain"),
        ('access = "local"', 'access = "open"', "an open set needs [[fetch]] or how_to_obtain"),
        ('name = "label", ', "", "a label from a group must name it"),
        ('from = "group", name = "label", values = { k = "HC", p = "PD" }', 'from = "folder"', "which folder is which"),
    ],
)
def test_a_wrong_card_is_named(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in OWN
    (tmp_path / "mine.toml").write_text(OWN.replace(old, new))
    with pytest.raises(SpeechXAIError) as error:
        load_card(tmp_path / "mine.toml")
    assert str(error.value).startswith(str(tmp_path / "mine.toml"))
    assert words in str(error.value)


def test_what_states_a_class_twice_or_none_is_left_out_with_the_reason(tree: Tree) -> None:
    root = tree(["HC/PD/1_k.wav", "HC/2_k.wav", "PD/3_k.wav", "HC/4_q.wav", "5_k.wav", "6_p.wav", "HC/7_.wav"])
    folder = '{ from = "folder", values = { hc = "HC", Pd = "PD" } }'
    own = OWN.replace("(?P<label>k|p)", "(?P<label>[a-z])?").replace("labels = [", f"labels = [{folder}, ")
    (root / "mine.toml").write_text(own)
    frame, report = build_manifest(root / "mine.toml", root)
    assert by(frame, "label") == {"HC/2_k.wav": 0, "5_k.wav": 0, "6_p.wav": 1, "HC/7_.wav": 0}
    assert dict(report.unmatched) == {
        "HC/PD/1_k.wav": "its folders HC and PD state the classes HC and PD",
        "PD/3_k.wav": "its labels disagree: the folder says 'PD', but the file name says 'k'",
        "HC/4_q.wav": "the card has no class for 'q' in the file name",
    }


def imported(root: Path, *lines: str, dataset: str = "set") -> pd.DataFrame:
    table = root / "labels.csv"
    table.write_text("\n".join(lines))
    return cards.import_folder(root, table, dataset)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("file,label,speaker", ",HC,1"), "the row ', HC, 1' names no file"),
        (("file,label,speaker", "x/a.wav,HC,1", "x/a.wav,HC,1"), "'x/a.wav' stands in two rows. Keep one."),
        (
            ("file,label,speaker", "a.wav,HC,1"),
            "'a.wav' fits 2 files, such as x/a.wav. Write the path below the folder.",
        ),
        (("file,label,speaker", "x/b.wav,HC,1"), "'x/b.wav' is no file of the folder. Did you mean 'x/a.wav'?"),
        (("file,label,speaker", "zzzzzz,HC,1"), "'zzzzzz' is no file of the folder."),
        (("file,label,speaker", "x/a.wav,HC,1"), "y/a.wav: has no row in "),
        (("file,label", "x/a.wav,HC"), "lacks the column 'speaker'. It has: file, label."),
        (
            ("Datei;Diagnóstico;Patient ID;Alter", "x/a.wav;HC;1;60"),
            "lacks the columns 'file' and 'label' and 'speaker'. It has: Datei, Diagnóstico, Patient ID, Alter. Write"
            " file for 'Datei', label for 'Diagnóstico', speaker for 'Patient ID', if that is what it says.",
        ),
        # Two columns may say who speaks: neither is offered.
        (
            ("file,label,subject,id", "x/a.wav,HC,1,2"),
            "lacks the column 'speaker'. It has: file, label, subject, id.",
        ),
        (("file,label,speaker", "x/a.wav,,1", "y/a.wav,PD,2"), "x/a.wav: the label is missing in"),
        (("file,label,speaker", "x/a.wav,HC,", "y/a.wav,PD,2"), "x/a.wav: the speaker is missing in"),
        (("file,label,speaker", "x/a.wav,HC,1", "y/a.wav,MSA,2"), "the labels HC, MSA are not those of classes"),
        (("file,label,speaker,sex", "x/a.wav,HC,1,M", "y/a.wav,PD,2,H"), "which may mean either"),
    ],
)
def test_a_table_that_does_not_fit_its_folder(tree: Tree, lines: tuple[str, ...], words: str) -> None:
    root = tree(["x/a.wav", "y/a.wav"])
    with pytest.raises(SpeechXAIError, match=re.escape(words)) as error:
        imported(root, *lines)
    assert ("Did you mean" in words) or not words.startswith("'zz") or "Did you mean" not in str(error.value)
    assert ("Write" in words) == (" Write " in str(error.value)) or "lacks" not in words


@pytest.mark.parametrize(
    ("texts", "ends"),
    [
        (("MSA", "control"), "--classes control,MSA"),
        (("Parkinson", "gesund"), "--classes HC=gesund,PD=Parkinson"),
        (("sano", "pathologic"), "--classes healthy=sano,pathological=pathologic"),
        (("PD", "MSA", "normal"), "--classes normal,MSA,PD"),
        (("B", "A"), "--classes B,A (or in another order)"),
        (("Parkinson", "MSA", "gesund"), "--classes MSA,gesund,Parkinson (or in another order)"),
    ],
)
def test_the_classes_that_are_offered_begin_with_the_control(tree: Tree, texts: tuple[str, ...], ends: str) -> None:
    root = tree([f"{i}.wav" for i in range(len(texts))])
    with pytest.raises(SpeechXAIError) as error:
        imported(root, "file,label,speaker", *(f"{i}.wav,{text},{i}" for i, text in enumerate(texts)))
    assert str(error.value).endswith(ends)
    offered = ends.removeprefix("--classes ").removesuffix(" (or in another order)").split(",")
    frame = cards.import_folder(root, root / "labels.csv", "set", classes=offered)
    assert frame["label"].tolist() == [
        next(i for i, name in enumerate(offered) if name.rpartition("=")[2] == text) for text in texts
    ]


def test_what_cannot_be_imported_at_all(tree: Tree) -> None:
    root = tree(["x/a.wav"])
    lines = ("file,label,speaker", "x\\a.wav,HC,1")
    frame = imported(root, *lines)
    assert (frame["path"].tolist(), frame["speaker"].tolist()) == (["x/a.wav"], ["set/1"])
    for name in ("a/b", " "):
        with pytest.raises(SpeechXAIError, match="must be a word without '/'"):
            imported(root, *lines, dataset=name)
    with pytest.raises(
        SpeechXAIError,
        match=(r"/none\.csv: no such table of labels\. Make one with the columns file, label, speaker\.$"),
    ):
        cards.import_folder(root, root / "none.csv", "set")
    (root / "x" / "a.wav").unlink()
    with pytest.raises(SpeechXAIError, match=r": no recordings \(wav, flac, ogg, mp3\) in this folder\.$"):
        imported(root, *lines)


def test_wrong_names_are_answered(tmp_path: Path) -> None:
    with pytest.raises(SpeechXAIError, match=r"^Unknown data card 'mdvr_kcl'\. Did you mean 'mdvr-kcl'\? Known: .*$"):
        load_card("mdvr_kcl")
    with pytest.raises(SpeechXAIError, match=r"/none\.toml: no such data card\.$"):
        load_card(tmp_path / "none.toml")
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"/nowhere: this folder does not exist\. Name the folder that holds the recordings with "
            r"--root\.$"
        ),
    ):
        build_manifest("folder", tmp_path / "nowhere")


# --- regular expressions of cards -----------------------------------------------------------------------------------

SLOW = [
    r"(a+)+$",
    r"(a|aa)+$",
    r"((a+)+)+$",
    r"(a*)*b",
    r"(.*)*x(.*)*y(.*)*z",
    r"(?:a|a?a|aa?|aaa)+c",
    r"^(([a-z])+.)+[A-Z]([a-z])+[0-9]$",
    r"(?=(a+))(\1|a)+b",
]


@pytest.mark.parametrize("pattern", SLOW)
@pytest.mark.parametrize("place", ["patterns", "exclude", "tasks", "key_pattern"])
def test_no_pattern_of_a_card_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, place: str) -> None:
    monkeypatch.setattr("speechxai.data.tables.MOST_S", 0.02)
    name = "a" * 90 + "!"
    (tmp_path / f"{name}.wav").write_bytes(b"RIFF")
    (tmp_path / "t.csv").write_text(f"key,age\n{name},60\n")
    parts = {
        "patterns": f"patterns = ['(?P<speaker>{pattern})\\.wav']",
        "exclude": f"patterns = ['(?P<speaker>.+)\\.wav']\nexclude = [{{match = '{pattern}', reason = 'r'}}]",
        "tasks": f"patterns = ['(?P<speaker>.+)\\.wav']\ntasks = [{{match = '{pattern}', task = 't'}}]",
        "key_pattern": (
            "patterns = ['(?P<speaker>.+)\\.wav']\nsheets = [{files = ['t.csv'], key = 'key', key_pattern ="
            f" '{pattern}'}}]"
        ),
    }
    text = OWN.split("patterns")[0] + parts[place] + "\n"
    (tmp_path / "mine.toml").write_text(text)
    since = time.monotonic()
    try:
        _, report = build_manifest(tmp_path / "mine.toml", tmp_path)
        said = " ".join(report.notes)
    except SpeechXAIError as error:
        said = str(error)
    assert time.monotonic() - since < 2
    # Most are decided at once. The one that cannot be is named, with what is wrong with it.
    if pattern == r"(a|aa)+$":
        assert f"{pattern}" in said
        assert "takes too long on" in said
        assert "write it without" in said


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?P<speaker>(a{1000}){1000})",
        r"(?P<speaker>((a{100}){100}){101})",
        r"(?P<speaker>a{1000000000})",
        r"(?P<speaker>a{1,99999999999999999999})",
        "(?P<speaker>" + "a" * 3_000 + ")",
        "(?P<speaker>" + "(" * 900 + "a" + ")" * 900 + ")",
        r"(?P<speaker>a)\2",
        r"(?P<speaker>a",
        r"(?x)(?P<speaker>a) # a comment",
        r"(?P<speaker>[[a-z]",
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused_when_the_card_is_loaded(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "mine.toml").write_text(OWN.split("patterns")[0] + f"patterns = ['{pattern}']\n")
    since = time.monotonic()
    with pytest.raises(SpeechXAIError, match=r"mine\.toml: .*regular expression"):
        load_card(tmp_path / "mine.toml")
    assert time.monotonic() - since < 2
