"""`speechxai data` end to end: what it prints, where it writes, how it exits."""

from __future__ import annotations

import hashlib
import http.server
import re
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import Result
from typer.testing import CliRunner

from speechxai.commands.data import data_app
from speechxai.data import cards
from speechxai.data.cards import find, import_folder
from speechxai.data.manifest import read_manifest
from speechxai.errors import SpeechXAIError
from speechxai.files import resource_folder


def run(*words: object) -> Result:
    return CliRunner().invoke(data_app, [str(word) for word in words])


@pytest.fixture
def voices(tmp_path: Path) -> Path:
    for index, name in enumerate(("HC/anna_1.wav", "HC/bert_1.wav", "PD/carl_1.wav", "PD/dora_1.wav")):
        path = tmp_path / "voices" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.random.default_rng(index).uniform(-0.3, 0.3, 20_000), 16_000, subtype="PCM_24")
    return tmp_path / "voices"


def labels(folder: Path, *lines: str) -> Path:
    table = folder.parent / "labels.csv"
    table.write_text("\n".join(("file,label,speaker,age", *lines)) + "\n")
    return table


LINES = ("HC/anna_1.wav,HC,anna,60", "bert_1.wav,0,bert,61", "PD/carl_1.wav,pd,carl,70", "PD/dora_1.wav,unknown,dora,")


def test_list_shows_every_card_and_the_text_of_one() -> None:
    shown = run("list")
    assert shown.exit_code == 0
    for name in ("figshare-voice", "mdvr-kcl", "pc-gita", "neurovoz", "ipvs", "folder", "librispeech"):
        assert name in shown.output
    assert "Not to be used for" in run("list", "ipvs").output


@pytest.mark.parametrize("words", [(), ("list",), ("check",), ("audit",), ("import",), ("fetch",)])
def test_help_teaches(words: tuple[str, ...]) -> None:
    shown = run(*words, "--help")
    assert shown.exit_code == 0
    assert re.search(rf"Examples:\n\n +speechxai data {words[0] if words else 'list'}", shown.output)
    if not words:
        assert "speechxai data check mdvr-kcl --root" in shown.output


def test_check_of_the_real_recordings(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    shown = run("check", "figshare-voice", "--root", shared_data("figshare-voice"), "--out", tmp_path / "m.csv")
    assert shown.exit_code == 0, shown.output
    assert "81 files, 41 HC, 40 PD; 81 speakers, 269 s in all" in shown.output
    age = next(line for line in shown.output.splitlines() if "age" in line and "0.865" in line)
    assert "ALARM" in age
    assert "Beware: age (AUC 0.865) tells the classes apart without any speech." in shown.output
    assert len(read_manifest(tmp_path / "m.csv")) == 81


def test_check_of_a_good_folder_and_of_its_manifest(voices: Path, tmp_path: Path) -> None:
    shown = run("check", "folder", "--root", voices, "--out", tmp_path / "m.csv")
    assert shown.exit_code == 0, shown.output
    assert "4 files, 2 HC, 2 PD; 4 speakers" in shown.output
    again = run("check", tmp_path / "m.csv", "--root", voices)
    assert again.exit_code == 0
    assert "4 files, 2 HC, 2 PD; 4 speakers" in again.output


def test_check_names_what_is_wrong_and_exits_1(voices: Path) -> None:
    (voices / "HC" / "emil_1.wav").write_text("text")
    (voices / "strange.wav").write_bytes((voices / "HC" / "anna_1.wav").read_bytes())
    shown = run("check", "folder", "--root", voices)
    assert shown.exit_code == 1
    assert "6 audio files, 5 matched, 1 not matched" in shown.output
    assert "strange.wav: no label: neither folder nor column label states one" in shown.output
    assert "emil_1.wav: this is text, not audio" in shown.output


def test_check_names_duplicates_and_shortens_long_lists(voices: Path) -> None:
    for index in range(12):
        (voices / "PD" / f"copy{index}_1.wav").write_bytes((voices / "PD" / "carl_1.wav").read_bytes())
        (voices / f"lost{index:02d}.wav").write_bytes(b"x")
    shown = run("check", "folder", "--root", voices)
    assert "carl_1 = copy0_1 = copy10_1" in shown.output
    assert "lost09.wav" in shown.output
    assert "lost11.wav" not in shown.output
    assert "and 2 more; --all names them" in shown.output
    assert "lost11.wav" in run("check", "folder", "--root", voices, "--all").output


def test_check_where_nothing_matches_exits_1(voices: Path) -> None:
    shown = run("check", "neurovoz", "--root", voices)
    assert shown.exit_code == 1
    assert "4 audio files, 0 matched, 4 not matched" in shown.output
    assert "its path fits no pattern of the card" in shown.output
    assert "nothing matched" in shown.output


def test_check_answers_wrong_names(voices: Path, tmp_path: Path) -> None:
    for words, answer in (
        (("check", "figshare", "--root", voices), "Did you mean 'figshare-voice'?"),
        (("check", "folder", "--root", tmp_path / "no"), "does not exist"),
        (("list", "mdvr"), "Did you mean 'mdvr-kcl'?"),
    ):
        error = run(*words).exception
        assert isinstance(error, SpeechXAIError)
        assert answer in str(error)


def test_links_in_a_circle_are_named(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    table = tmp_path / "labels.csv"
    table.write_text("file,label,speaker\na.wav,HC,s\n")
    for words in (
        ("import", loop, "--labels", table, "--out", tmp_path / "m.csv"),
        ("import", tmp_path, "--labels", loop, "--out", tmp_path / "m.csv"),
        ("import", tmp_path, "--labels", table, "--out", loop / "m.csv"),
        ("check", "folder", "--root", loop),
        ("check", loop),
        ("check", loop / "card.toml", "--root", tmp_path),
    ):
        error = run(*words).exception
        assert isinstance(error, SpeechXAIError), words
        assert "loop" in str(error)


def test_import_makes_a_manifest(voices: Path, tmp_path: Path) -> None:
    shown = run("import", voices, "--labels", labels(voices, *LINES), "--out", tmp_path / "m.csv")
    assert shown.exit_code == 0, shown.output
    assert "4 recordings of 4 speakers (2 HC, 1 PD, 1 unknown)" in shown.output
    frame = read_manifest(tmp_path / "m.csv")
    assert frame["speaker"].tolist() == ["voices/anna", "voices/bert", "voices/carl", "voices/dora"]
    assert frame["age"].tolist()[:3] == [60, 61, 70]
    assert frame["label"].isna().tolist() == [False, False, False, True]
    assert run("check", tmp_path / "m.csv", "--root", voices).exit_code == 0


def test_import_remembers_where_the_recordings_are(voices: Path, tmp_path: Path) -> None:
    table, out = labels(voices, *LINES), tmp_path / "elsewhere" / "m.csv"
    out.parent.mkdir()
    shown = run("import", voices, "--labels", table, "--out", out)
    assert shown.output.splitlines()[-1] == f"Next: speechxai data check {out}"
    assert run("check", out).exit_code == 0
    assert run("check", out, "--root", voices).exit_code == 0
    voices.rename(tmp_path / "moved")
    assert run("check", out).exit_code == 1  # nothing is there, and every file is named
    assert run("check", out, "--root", tmp_path / "moved").exit_code == 0
    error = run("check", "folder").exception
    assert str(error) == "The data card 'folder' needs the folder of its recordings: give --root."


@pytest.mark.parametrize(
    ("texts", "flag", "classes", "found"),
    [
        (("control", "HEALTHY", "Parkinson's disease", "PD"), "", "HC;PD", "2 HC, 2 PD"),
        (
            ("Healthy", "pathological", "pathologic", "unknown"),
            "",
            "healthy;pathological",
            "1 healthy, 2 pathological, 1",
        ),
        (("healthy", "normal", "0", "unknown"), "", "HC;PD", "3 HC, 1 unknown"),
        (("HC", "MSA", "PD", "pd"), "HC,PD,MSA", "HC;PD;MSA", "1 HC, 2 PD, 1 MSA"),
        (("0", "2", "1", "0"), "0,1,2", "0;1;2", "2 0, 1 1, 1 2"),
        (("0", "1", "1", "0"), "healthy=0,pathological=1", "healthy;pathological", "2 healthy, 2 pathological"),
        (("1", "2", "2", "1"), "HC=2, PD=1", "HC;PD", "2 HC, 2 PD"),
    ],
)
def test_labels_are_names_of_the_data_set(
    voices: Path, tmp_path: Path, texts: tuple[str, ...], flag: str, classes: str, found: str
) -> None:
    files = ("HC/anna_1.wav", "HC/bert_1.wav", "PD/carl_1.wav", "PD/dora_1.wav")
    table = labels(voices, *(f"{file},{text},s{i}," for i, (file, text) in enumerate(zip(files, texts, strict=True))))
    words = ("--classes", flag) if flag else ()
    shown = run("import", voices, "--labels", table, "--out", tmp_path / "m.csv", *words)
    assert shown.exit_code == 0, shown.exception
    assert f"4 recordings of 4 speakers ({found}" in shown.output
    assert set(read_manifest(tmp_path / "m.csv")["classes"]) == {classes}


@pytest.mark.parametrize(
    ("texts", "flag", "words"),
    [
        (("patient", "control"), "", "the labels patient, control are not those of classes that are known here"),
        (("patient", "control"), "", "the control first, to 'speechxai data import': --classes control,patient"),
        (("pathological", "0"), "", "--classes 0,pathological"),
        (("pathological", "PD"), "", "--classes pathological,PD"),
        (("mild", "severe"), "", "--classes mild,severe"),
        (("1", "2"), "", "--classes 1,2"),
        (("HC", "PD"), "HC", "There must be two classes or more"),
        (("HC", "PD"), "healthy,pathological", "the label must be healthy, pathological, or unknown. Got 'PD'"),
        (("HC", "PD"), "HC,control,PD", "There must be two classes or more, of different names"),
    ],
)
def test_labels_that_nobody_knows_are_refused(
    voices: Path, tmp_path: Path, texts: tuple[str, str], flag: str, words: str
) -> None:
    files = ("HC/anna_1.wav", "HC/bert_1.wav", "PD/carl_1.wav", "PD/dora_1.wav")
    table = labels(voices, *(f"{file},{texts[i % 2]},s{i}," for i, file in enumerate(files)))
    more = ("--classes", flag) if flag else ()
    error = run("import", voices, "--labels", table, "--out", tmp_path / "m.csv", *more).exception
    assert isinstance(error, SpeechXAIError)
    assert words in str(error)


def test_import_keeps_every_column(voices: Path, tmp_path: Path) -> None:
    table = voices.parent / "labels.csv"
    table.write_text(
        "file;label;speaker;Diagnosis;VHI;path;sha256\n"
        "anna_1.wav;healthy;a;none;3;tape 1;x\nbert_1.wav;healthy;b;none;;tape 1;x\n"
        "carl_1.wav;pathological;c;polyp, left;41,5;tape 2;x\ndora_1.wav;pathological;d;;60;tape 2;x\n"
    )
    shown = run("import", voices, "--labels", table, "--out", tmp_path / "m.csv")
    assert "  kept beside: diagnosis (3 different texts)" in shown.output.splitlines()
    assert "  kept beside: vhi (numbers)" in shown.output.splitlines()
    assert "  kept beside: path_of_table (2 different texts)" in shown.output.splitlines()
    frame = read_manifest(tmp_path / "m.csv")
    assert frame["diagnosis"].tolist() == ["none", "none", "polyp, left", "unknown"]
    assert frame["vhi"].tolist()[2:] == [41.5, 60.0]
    assert frame["path"].tolist()[0] == "HC/anna_1.wav"


def test_a_card_keeps_columns_or_says_which_it_does_not_read(voices: Path, tmp_path: Path) -> None:
    (voices / "labels.csv").write_text(
        "file,label,speaker,Diagnosis,code\n"
        + "".join(
            f"{name},{label},{name[3]},{d},{c}\n"
            for name, label, d, c in (
                ("HC/anna_1.wav", "control", "none", "x"),
                ("HC/bert_1.wav", "0", "none", "y"),
                ("PD/carl_1.wav", "Parkinson's", '"PD, early"', "z"),
            )
        )
    )
    shown = run("check", "folder", "--root", voices, "--out", tmp_path / "m.csv")
    assert "4 files, 2 HC, 2 PD; 4 speakers" in shown.output
    frame = read_manifest(tmp_path / "m.csv").set_index("path")
    assert frame["diagnosis"].tolist() == ["none", "none", "PD, early", "unknown"]
    assert frame["code"].tolist() == ["x", "y", "z", "unknown"]
    card = tmp_path / "mine.toml"
    card.write_text(
        'name = "mine"\ntitle = "t"\nlanguage = "en"\nlicense = "l"\nsource = "s"\naccess = "local"\n'
        'classes = ["healthy", "pathological"]\npatterns = [\'[^/]+/(?P<speaker>[^/_]+)_1\\.wav\']\n'
        '[[labels]]\nfrom = "folder"\nvalues = {HC = "healthy", PD = "pathological"}\n'
        '[[sheets]]\nfiles = ["labels.csv"]\nkey = "file"\nmatch = "path"\ncolumns = {voice_code = "code"}\n'
    )
    shown = run("check", card, "--root", voices, "--overwrite", "--out", tmp_path / "m.csv")
    assert "labels.csv: the card does not read its columns label, speaker, diagnosis" in shown.output
    assert "4 files, 2 healthy, 2 pathological; 4 speakers" in shown.output
    frame = read_manifest(tmp_path / "m.csv").set_index("path")
    assert frame["voice_code"].tolist() == ["x", "y", "z", "unknown"]
    assert set(frame["classes"]) == {"healthy;pathological"}


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ((*LINES[:3], "PD/dora_1.wav,,dora,"), "PD/dora_1.wav: the label is missing in"),
        ((*LINES[:3], "PD/dora_1.wav,PD,,"), "PD/dora_1.wav: the speaker is missing in"),
        ((*LINES[:3], "PD/dora_1.wav,sick,dora,"), "labels.csv: the labels HC, 0, pd, sick are not"),
        (LINES[:3], "PD/dora_1.wav: has no row in"),
        (LINES[1:3], "labels.csv (and 1 more). Add one with its label"),
        (
            (*LINES, "PD/dorra_1.wav,PD,dora,"),
            "'PD/dorra_1.wav' is no file of the folder. Did you mean 'PD/dora_1.wav'?",
        ),
        ((*LINES, LINES[0]), "'HC/anna_1.wav' stands in two rows"),
        ((*LINES, ",HC,anna,60"), "the row ', HC, anna, 60' names no file"),
        ((*LINES[:2], "PD/carl_1.wav,pd,bert,70", LINES[3]), "voices/bert: this speaker has both labels"),
        ((*LINES[:3], "PD/dora_1.wav,PD,dora,old"), "the column 'age' must hold a number or NA. Got 'old'"),
    ],
)
def test_import_names_what_is_wrong(voices: Path, tmp_path: Path, lines: tuple[str, ...], words: str) -> None:
    error = run("import", voices, "--labels", labels(voices, *lines), "--out", tmp_path / "m.csv").exception
    assert isinstance(error, SpeechXAIError)
    assert words in str(error)
    assert not (tmp_path / "m.csv").exists()


def test_import_names_missing_columns_and_tables(voices: Path, tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("file;label\na;HC\n")
    with pytest.raises(SpeechXAIError, match=r"lacks the column 'speaker'\. It has: file, label"):
        import_folder(voices, tmp_path / "l.csv", "x")
    with pytest.raises(SpeechXAIError, match="no such table of labels"):
        import_folder(voices, tmp_path / "none.csv", "x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SpeechXAIError, match="no recordings"):
        import_folder(tmp_path / "empty", labels(voices, *LINES), "x")


def test_fetch_of_a_card_of_ones_own_prints_what_was_compared(tmp_path: Path) -> None:
    body = b"RIFF" * 1_000

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        sha256 = hashlib.sha256(body).hexdigest()
        url = f"http://127.0.0.1:{server.server_port}"
        (tmp_path / "mine.toml").write_text(
            'name = "mine"\ntitle = "My set"\nlanguage = "en"\nlicense = "CC0"\nsource = "here"\naccess = "open"\nsize'
            f' = "1"\npatterns = [\'(?P<speaker>a)\']\n[[fetch]]\nurl = "{url}/a"\nname = "a.wav"\nchecksum ='
            f' "sha256:{sha256}"\n[[fetch]]\nurl = "{url}/b"\nname = "b.wav"\n'
        )
        shown = run("fetch", tmp_path / "mine.toml", "--root", tmp_path / "data")
        server.shutdown()
        thread.join()
    assert shown.exit_code == 0, shown.output
    assert f"sha256 is the publisher's; sha256 {sha256}" in shown.output
    assert f"the publisher's checksum is not known here (compared: nothing); sha256 {sha256}" in shown.output
    assert (tmp_path / "data" / "b.wav").read_bytes() == body


def test_fetch_of_a_set_on_request_says_how_to_obtain_it(tmp_path: Path) -> None:
    error = run("fetch", "neurovoz", "--root", tmp_path).exception
    assert isinstance(error, SpeechXAIError)
    assert "Request access on the Zenodo record" in str(error)


@pytest.fixture
def eight(tmp_path: Path) -> Path:
    """Eight recordings, r0 to r7: the first four are HC."""
    for index in range(8):
        path = tmp_path / "eight" / f"r{index}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, np.random.default_rng(index).uniform(-0.3, 0.3, 8_000), 8_000)
    return tmp_path / "eight"


def table_of(folder: Path, header: str, cells: list[str], separator: str = ",") -> Path:
    """A table of the eight with one more column, whose cells are those of HC and PD in turn."""
    table = folder.parent / "eight.csv"
    lines = [
        separator.join((f"r{i}.wav", "HC" if i < 4 else "PD", f"s{i}", cells[i >= 4])) for i in range(len(cells) * 4)
    ]
    table.write_text("\n".join((separator.join(("file", "label", "speaker", header)), *lines)) + "\n", "utf-8")
    return table


@pytest.mark.parametrize(
    ("header", "cells", "separator"),
    [
        ("sex", ["female", "male"], ","),
        ("Sex", ["m", "f"], ";"),
        ("Gender", ["Men", "Women"], ","),
        ("Geschlecht", ["w", "m"], ";"),
        ("sex (1=M, 2=F)", ["1", "2"], ";"),
        ("sexo (H=hombre; M=mujer)", ["H", "M"], ","),
    ],
)
def test_a_perfect_confound_by_sex_is_seen_however_it_is_written(
    eight: Path, tmp_path: Path, header: str, cells: list[str], separator: str
) -> None:
    table = table_of(eight, f'"{header}"', cells, separator)
    shown = run("import", eight, "--labels", table, "--out", tmp_path / "m.csv")
    assert shown.exit_code == 0, shown.output
    assert "Beware" not in shown.output
    assert set(read_manifest(tmp_path / "m.csv")["sex"]) == {"F", "M"}
    checked = run("check", tmp_path / "m.csv", "--root", eight)
    assert "Beware: sex (AUC 1.000)" in checked.output


def test_a_sex_that_is_not_understood_is_never_dropped_without_a_word(eight: Path, tmp_path: Path) -> None:
    table = table_of(eight, "sex", ["1", "2"])
    shown = run("import", eight, "--labels", table, "--out", tmp_path / "m.csv")
    assert "sex: '1' in 4 rows is not understood and counts as unknown" in shown.output
    checked = run("check", tmp_path / "m.csv", "--root", eight)
    assert "sex: '2' in 4 rows is not understood" in checked.output
    # A card's table is reported in the same words.
    (eight / "labels.csv").write_text(table.read_text())
    assert "sex: '1' in 4 rows is not understood" in run("check", "folder", "--root", eight).output
    (eight / "labels.csv").write_text(table.read_text().replace("sex", "sex (1=F; 2=M)"))
    assert "Beware: sex (AUC 1.000)" in run("check", "folder", "--root", eight).output
    (eight / "labels.csv").write_text(table.read_text().replace(",1\n", ",H\n").replace(",2\n", ",M\n"))
    assert "may mean either" in run("check", "folder", "--root", eight).output.replace("\n", " ")


@pytest.mark.parametrize("age", ["inf", "-40", "4000"])
def test_an_age_that_nobody_has(eight: Path, tmp_path: Path, age: str) -> None:
    table = table_of(eight, "age", ["60", age])
    error = run("import", eight, "--labels", table, "--out", tmp_path / "m.csv").exception
    assert isinstance(error, SpeechXAIError)
    assert str(error).startswith(f"{table}: r4: the column 'age' must hold")
    # A published table is not the reader's to mend: the age stays unknown, and that is said.
    (eight / "labels.csv").write_text(table.read_text())
    shown = run("check", "folder", "--root", eight)
    assert shown.exit_code == 0
    assert f"Got '{age}' instead" in shown.output
    assert "It stays unknown in 4 of 8 recordings." in shown.output
    assert "known for 4 HC and 0 PD recordings" in shown.output


def test_speakers_in_several_spellings_are_named_and_merged_when_asked(eight: Path, tmp_path: Path) -> None:
    table = table_of(eight, "age", ["60", "70"])
    text = table.read_text()
    for index, name in enumerate(("007", "7", "7.0", "8", "Subj01", "subj01", "ＳＵＢＪ０１", "subj2")):
        text = text.replace(f",s{index},", f",{name},")
    table.write_text(text, "utf-8")
    words = ("import", eight, "--labels", table, "--overwrite", "--out", tmp_path / "m.csv")
    shown = run(*words)
    assert "8 speakers" in shown.output
    assert "eight/007, eight/7, eight/7.0: one person in 3 spellings? --merge-speakers" in shown.output
    checked = run("check", tmp_path / "m.csv", "--root", eight)
    assert "eight/Subj01, eight/subj01, eight/ＳＵＢＪ０１: one person in 3 spellings?" in checked.output
    with pytest.warns(UserWarning, match=r"eight/007, eight/7, eight/7\.0.*\(and 1 more\)"):
        find(tmp_path / "m.csv", eight)
    one = run(*words, "--merge-speakers")
    assert "One speaker now: eight/007, eight/7, eight/7.0" in one.output
    assert "4 speakers" in one.output
    assert "one person in" not in one.output + run("check", tmp_path / "m.csv", "--root", eight).output
    # One person has one label.
    table.write_text(text.replace("Subj01", "07"), "utf-8")
    error = run(*words, "--merge-speakers").exception
    assert isinstance(error, SpeechXAIError)
    assert "eight/007: this speaker has both labels" in str(error)


@pytest.mark.parametrize("header", ["Label", "label", " LABEL"])
def test_a_second_column_of_labels_is_refused(eight: Path, tmp_path: Path, header: str) -> None:
    error = run("import", eight, "--labels", table_of(eight, header, ["PD", "HC"]), "--out", tmp_path / "m.csv")
    assert isinstance(error.exception, SpeechXAIError)
    assert f"the columns 'label' and '{header.strip()}' both say the label. Keep one." in str(error.exception)


def test_the_same_sound_under_another_speaker_and_label_is_named(eight: Path) -> None:
    table = table_of(eight, "task", ["reading", "reading"])
    samples, rate = soundfile.read(eight / "r0.wav")
    soundfile.write(eight / "copy.flac", 0.5 * samples, rate, subtype="PCM_24")
    (eight / "again.wav").write_bytes((eight / "r1.wav").read_bytes())
    (eight / "labels.csv").write_text(table.read_text() + "copy.flac,PD,s9,reading\nagain.wav,HC,s10,reading\n")
    shown = run("check", "folder", "--root", eight).output
    assert "copy = r0: speakers folder/s9 and folder/s0, LABELS PD and HC" in shown
    assert "again = r1: speakers folder/s10 and folder/s1\n" in shown


def test_a_confound_by_task_is_an_alarm(eight: Path, tmp_path: Path) -> None:
    run("import", eight, "--labels", table_of(eight, "task", ["reading", "vowel-a"]), "--out", tmp_path / "m.csv")
    shown = run("check", tmp_path / "m.csv")
    assert "Beware: task (AUC 1.000)" in shown.output
    assert "vowel-a: 0 HC, 4 PD" in " ".join(shown.output.replace("│", " ").split())


def test_cards_of_a_module_of_ones_own(eight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = (resource_folder("data_cards") / "folder.toml").read_text().replace('name = "folder"', 'name = "of-module"')
    (tmp_path / "of-module.toml").write_text(card)
    (tmp_path / "cards_of_module.py").write_text(
        f"from speechxai.data.cards import add_card\nadd_card({str(tmp_path / 'of-module.toml')!r})\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(cards, "_ADDED", {})
    (eight / "labels.csv").write_text(table_of(eight, "task", ["a", "b"]).read_text())
    shown = run("check", "of-module", "--import", "cards_of_module", "--root", eight)
    assert "of-module: 8 audio files, 8 matched" in shown.output
    assert "of-module" in run("list", "--import", "cards_of_module").output


def test_audit_says_what_tells_the_classes_apart_and_goes_on_from_what_it_kept(tmp_path: Path) -> None:
    """Nine of each class, noise of one kind, the patients' recordings twice as long."""
    for index in range(18):
        path = tmp_path / "voices" / ("HC", "PD")[index % 2] / f"s{index:02d}" / "a.wav"
        path.parent.mkdir(parents=True)
        samples = np.random.default_rng(index).normal(0, 0.1, 8_000 * (1 + index % 2) + 40 * index)
        soundfile.write(path, samples, 8_000, subtype="PCM_16")
    words = ("audit", "folder", "--root", tmp_path / "voices", "--out", tmp_path / "out")
    shown = run(*words)
    assert shown.exit_code == 0, shown.output
    said = shown.output.replace("\n", " ")
    assert "Caution. Duration alone tells PD from HC with an AUROC of 1.000" in said
    assert "the disease itself (how long a vowel is held, or how fast a text is read)" in said
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"report.html", "audit.json", "card.md", "measures"}
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "measures").iterdir()}
    first = (tmp_path / "out" / "card.md").read_text("utf-8")
    assert len(kept) == 18
    assert run(*words).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "measures").iterdir()} == kept
    assert (tmp_path / "out" / "card.md").read_text("utf-8") == first


def test_audit_refuses_what_it_cannot_ask(voices: Path, tmp_path: Path) -> None:
    shown = run("audit", "folder", "--root", voices, "--out", tmp_path / "out", "--models", "acustic")
    assert isinstance(shown.exception, SpeechXAIError)
    assert "--models: Unknown model 'acustic'. Did you mean 'acoustic'?" in str(shown.exception)
    with pytest.raises(SpeechXAIError, match="give --root"):
        raise run("audit", "folder", "--out", tmp_path / "out").exception or AssertionError
