"""`speechxai study` as it is called: a study file, its plan, simulated readers, the report, ratings from elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from speechxai import cli
from speechxai.readers import design
from speechxai.readers.store import Store


def called(*words: object) -> int:
    """Exit status of the command line."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["study", *map(str, words)])
    return int(ended.value.code or 0)


def test_from_the_plan_to_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study, simulated, out = tmp_path / "study.toml", tmp_path / "simulated.sqlite", tmp_path / "out"
    assert called("new", study) == 0
    assert called("check", study, "--no-prepare", "--repeats", 50) == 0
    said = capsys.readouterr().out
    assert "16 readers, 80 cases and 4 for training; arms answer, map, crossed." in said
    assert "This study can find a fall of 10 points with power" in said
    assert "Codes: R01-DQ" in said
    assert called("simulate", study, "--out", simulated, "--reliance", 0.8, "--fall", 0.2) == 0
    assert called("report", study, "--answers", simulated, "--out", out) == 0
    said = capsys.readouterr().out
    assert "Readings: 2560 of 2560" in said
    assert "! Simulated readers: no person answered, and nothing here is evidence." in said
    assert "! Appropriate reliance: the answer and its map minus the model's answer: −0." in said
    assert (out / "report.html").is_file()
    assert called("forget", study, "r02-yw") == 0
    assert capsys.readouterr().out == "0 answers of R02-YW deleted.\n"
    assert called("simulate", study, "--repeats", 2) == 0
    assert "of 2" in capsys.readouterr().out


def test_published_ratings_are_reported_as_published(
    shared_data: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert called("report", shared_data("mrmc") / "VanDyke.csv") == 0
    said = capsys.readouterr().out
    for number in ("0.89704", "0.94084", "0.004796", "0.000551", "0.000344", "0.000239", "4.4563", "15.26", "0.0517"):
        assert number in said, number
    assert "−0.0004 to +0.0880" in said or "+0.0438 [−0.0004, +0.0880]" in said
    assert called("report", shared_data("mrmc") / "Franken.csv") == 0
    said = capsys.readouterr().out
    for number in ("0.84775", "0.83690", "4.6941", "3.00", "0.1188"):
        assert number in said, number


def test_what_people_answered_is_never_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not by a report on answers to another study, not by simulated readers, and no other program's file is touched."""
    monkeypatch.chdir(tmp_path)
    study, people = design.load(Path(new_study("study.toml"))), Store(Path("people.sqlite"))
    people.begin(study)
    people.put_cases(design.dealt(study), {}, {"classes": ["HC", "PD"]})
    other = Path(new_study("other.toml"))
    other.write_text(other.read_text().replace("seed = 20261", "seed = 7"))
    Path("notes.sqlite").write_text("nothing of ours")
    before = {path: Path(path).read_bytes() for path in ("people.sqlite", "notes.sqlite")}
    for words, message in (
        (("report", other, "--answers", "people.sqlite"), "people.sqlite: these are answers to another study"),
        (("report", other, "--answers", "notes.sqlite"), "notes.sqlite: the study's answers cannot be read"),
        (("simulate", other, "--out", "people.sqlite", "--overwrite"), "people.sqlite: these are not simulated"),
        (("simulate", other, "--out", "notes.sqlite", "--overwrite"), "notes.sqlite: the study's answers cannot be"),
    ):
        capsys.readouterr()
        assert called(*words) == 2
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1
    assert {path: Path(path).read_bytes() for path in before} == before
    assert len(people.cases()) == 84
    for _ in range(2):  # simulated answers may be overwritten
        assert called("simulate", other, "--out", "simulated.sqlite", "--overwrite") == 0


def new_study(name: str) -> str:
    """A new study file."""
    assert called("new", name) == 0
    return name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("new", "study.txt"), "study.txt: a study file ends in .toml."),
        (("check", "none.toml"), "none.toml: no such file."),
        (
            ("report", "study.toml"),
            "study.sqlite: nobody has answered yet. Start with: speechxai study check study.toml",
        ),
        (("report", "study.csv", "--answers", "a.sqlite"), "--answers belongs to a study file"),
        (("simulate", "study.toml"), "Say what to do: --out FILE.sqlite"),
        (("simulate", "study.toml", "--out", "study.sqlite"), "study.sqlite: simulated answers go into a .sqlite file"),
        (("simulate", "study.toml", "--out", "a.sqlite", "--fall", "0.5", "--reliance", "0.3"), "reliance - fall"),
        (("forget", "study.toml", "R99-AA"), "R99-AA: this study has no such reader."),
        (("new", "study.toml"), "study.toml: there is such a file already."),
    ],
)
def test_what_is_wrong_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert called("new", "study.toml") == 0
    capsys.readouterr()
    assert called(*words) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_the_app_asks_for_prepared_cases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("streamlit", reason="streamlit is not installed")
    monkeypatch.chdir(tmp_path)
    assert called("new", "study.toml") == 0
    for words, message in (
        (
            ["app", "--study", "study.toml"],
            "study.toml: its cases are not prepared. Prepare them with: speechxai study",
        ),
        (["app", "--study", "study.toml", "--model", "x"], "--study shows its page alone"),
    ):
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        assert ended.value.code == 2
        assert message in capsys.readouterr().err
