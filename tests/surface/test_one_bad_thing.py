"""One bad recording among good ones, as a user meets it: the others are done, it is named with its error, the status
says so."""

from __future__ import annotations

import csv
import json
import shutil
import warnings
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
import soundfile

from speechxai.cli import main
from speechxai.evaluation.runs import RunFolder
from speechxai.testing import noise_recording, tiny_bundle
from tests.unit.raising import raising_reader

BAD = ("ValueError", "KeyError", "RecursionError", "error")
RUN = ["-r", "saliency", "--no-controls", "-m", "faithfulness", "--pictures", "1"]


class Answer(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: a bundle, two good recordings and some that a raising reader cannot read."""
    tiny_bundle(tmp_path / "tiny")
    for index, name in enumerate(["a-good", *BAD, "z-good"]):
        folder = tmp_path / "voices" / ("PD" if index % 2 else "HC") / f"s{index}"
        folder.mkdir(parents=True)
        soundfile.write(folder / f"{name}.wav", noise_recording(name, 0.5, seed=index).waveform.numpy(), 8_000)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(capsys: pytest.CaptureFixture[str], *words: object) -> Answer:
    with warnings.catch_warnings(), pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    said = capsys.readouterr()
    return Answer(int(ended.value.code or 0), said.out, said.err)


def not_utf8(work: Path) -> Path:
    """Copy a good recording to a name that is not UTF-8."""
    path = work / "voices/HC/s0/b\udcff.wav"
    try:
        shutil.copy(work / "voices/HC/s0/a-good.wav", path)
    except (OSError, UnicodeError):
        pytest.skip("this disk takes no such name")
    return path


def test_a_run_and_its_resume_go_on_and_end_with_status_1(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with raising_reader():
        first = call(capsys, "evaluate", "--data", "voices", "--model", "tiny", *RUN, "--out", "run")
        again = call(capsys, "evaluate", "--resume", "run")
    for answer in (first, again):
        assert answer.status == 1
        assert "ValueError.wav: ValueError: frames must be specified for non-seekable files" in answer.err
        assert "error.wav: error: unpack requires a buffer of 4 bytes" in answer.err
        assert "Tracebacks of errors that nobody foresaw: run/units/*.failed" in answer.err
        assert "Traceback (most" not in answer.out + answer.err
    records = [json.loads(path.read_bytes()) for path in (work / "run" / "units").glob("*.failed")]
    assert len(records) == len(BAD)
    assert all("Traceback (most recent call last)" in record["traceback"] for record in records)
    assert "Traceback (most" not in (work / "run" / "report.html").read_text()
    assert pd.read_csv(work / "run" / "scores.csv")["recording"].nunique() == 2
    mended = call(capsys, "evaluate", "--resume", "run")
    assert mended.status == 0
    assert RunFolder.open(work / "run").status().n_done == len(BAD) + 2


@pytest.mark.parametrize("form", ["text", "csv", "json"])
def test_predict_goes_on(form: str, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [*sorted(Path("voices").rglob("*.wav")), not_utf8(work).relative_to(work)]
    with raising_reader():
        answer = call(capsys, "predict", *files, "--model", "tiny", "--format", form)
    assert answer.status == 1
    errors = [line for line in answer.err.splitlines() if line.startswith("Error: ")]
    assert len([line for line in errors if r"b\udcff.wav" not in line]) == len(BAD)
    assert r"b\udcff.wav" in answer.out + answer.err  # whether the reader can open it or not
    assert "Error: voices/PD/s1/ValueError.wav: ValueError: frames must be specified for non-seekable files" in errors
    assert "Traceback" not in answer.out + answer.err
    answer.out.encode()
    names = {"a-good", "z-good"}
    if form == "json":
        assert {Path(row["file"]).stem for row in json.loads(answer.out)} >= names
    elif form == "csv":
        assert {Path(row["file"]).stem for row in csv.DictReader(answer.out.splitlines())} >= names
    else:
        assert all(f"{name}.wav" in answer.out for name in names)


def test_predict_and_explain_of_one_file_end_with_one_line(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = "voices/PD/s1/ValueError.wav"
    message = f"Error: {file}: ValueError: frames must be specified for non-seekable files\n"
    with raising_reader():
        asked = call(capsys, "predict", file, "--model", "tiny")
        assert asked == Answer(2, asked.out, message)
        asked = call(capsys, "explain", file, "--model", "tiny", "--out", "x")
        assert asked == Answer(2, "", message)
        debugged = call(capsys, "predict", file, "--model", "tiny", "--debug")
    assert debugged.status == 2
    assert "Traceback (most recent call last)" in debugged.err
    assert debugged.err.endswith(message)


def test_check_of_a_folder_goes_on(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with raising_reader():
        answer = call(capsys, "data", "check", "folder", "--root", "voices", "--out", "manifest.csv")
    assert answer.status == 1
    assert f"{len(BAD) + 2} files" in answer.out
    assert "KeyError.wav: KeyError: 'fmt '" in answer.out


def test_names_that_are_not_utf8_are_told_and_the_others_go_on(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    not_utf8(work)
    answer = call(capsys, "data", "check", "folder", "--root", "voices", "--out", "manifest.csv")
    assert answer.status == 1
    assert r"HC/s0/b\udcff.wav: its name, or that of a folder above it, is not UTF-8" in answer.out
    assert len(pd.read_csv(work / "manifest.csv")) == len(BAD) + 2
    answer = call(capsys, "evaluate", "--data", "voices", "--model", "tiny", *RUN, "--out", "run")
    assert answer.status == 1
    assert r"HC/s0/b\udcff.wav" in answer.err
    assert pd.read_csv(work / "run" / "scores.csv")["recording"].nunique() == len(BAD) + 2


@pytest.mark.parametrize("command", ["evaluate", "predict", "explain"])
def test_the_exit_status_is_in_the_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Exit status: 0 " in call(capsys, command, "--help").out


def test_an_error_outside_of_a_recordings_work_is_not_swallowed(
    work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("speechxai.evaluation.executors.finish", lambda folder: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["evaluate", "--data", "voices", "--model", "tiny", *RUN, "--out", "run"])
