"""Where results go: checked before long work, never over something else, never among what they are made from; and what
an answer says of where it comes from."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import socket
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
import soundfile

from speechxai import __version__
from speechxai.classifiers.bundle import load_bundle
from speechxai.cli import main
from speechxai.testing import noise_recording, tiny_bundle
from tests.unit.test_import_bundle import network, published


class Answer(NamedTuple):
    status: int
    out: str
    err: str


Call = Callable[..., Answer]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def called(*words: object) -> Answer:
        with warnings.catch_warnings(), pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return Answer(int(ended.value.code or 0), said.out, said.err)

    return called


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: a bundle, voices of two classes, and something that must not be lost."""
    tiny_bundle(tmp_path / "tiny")
    for index in range(2):
        folder = tmp_path / "voices" / ("PD" if index % 2 else "HC") / f"s{index}"
        folder.mkdir(parents=True)
        waveform = noise_recording(f"n{index}", 0.4, seed=index).waveform.numpy()
        soundfile.write(folder / f"take{index}.wav", waveform, 8_000)
    (tmp_path / "precious.csv").write_text("kept")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "precious.txt").write_text("kept")
    monkeypatch.chdir(tmp_path)
    return tmp_path


VOICE = "voices/HC/s0/take0.wav"
EVALUATE = ("evaluate", "--data", "voices", "--model", "tiny", "-r", "saliency", "--no-controls", "-m", "faithfulness")
COMMANDS = {
    "evaluate": EVALUATE,
    "explain": ("explain", VOICE, "--model", "tiny", "-r", "saliency"),
    "train": ("train", "voices"),
    "benchmark": ("benchmark", "--quick"),
    "demo": ("demo",),
    "predict": ("predict", VOICE, "--model", "tiny"),
    "import": ("import", "checkpoints"),
    "data import": ("data", "import", "voices", "--labels", "labels.csv"),
    "data check": ("data", "check", "folder", "--root", "voices"),
}
FILES = ("predict", "data import", "data check")


def none_is_lost(work: Path) -> bool:
    return (work / "precious.csv").read_text() == (work / "folder/precious.txt").read_text() == "kept"


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_writes_over_something_else(command: str, work: Path, call: Call) -> None:
    words = COMMANDS[command]
    is_file = command in FILES
    for out, says in (
        ("", "--out is empty."),
        ("folder", "this is a folder" if is_file else "folder: "),
        ("precious.csv", "precious.csv: "),
        ("precious.csv/below", "precious.csv/below: cannot be written (Not a directory"),
        ("pipe", "pipe: "),
    ):
        if out == "pipe":
            os.mkfifo(work / "pipe")
        if command in ("evaluate", "benchmark", "demo") and out == "folder":
            continue  # a run stands beside what is there, as in runs/
        for flags in ([], ["--overwrite"] if command != "demo" else []):
            if out == "precious.csv" and is_file and flags:
                continue  # that is what was asked for
            answer = call(*words, "--out", out, *flags)
            assert answer.status == 2, (out, flags, answer)
            assert says in answer.err, (out, flags, answer.err)
            assert none_is_lost(work)
    assert not (work / "below").exists()


@pytest.mark.parametrize("out", ["voices", "voices/run", "voices/HC/s0/run", "."])
@pytest.mark.parametrize("command", ["evaluate", "train", "benchmark"])
def test_results_are_never_written_among_recordings(command: str, out: str, work: Path, call: Call) -> None:
    if command == "train" and out in (".", "voices"):
        return  # another reason: no name, other files
    words = {"benchmark": ("benchmark", "--data", "voices", "--root", "voices")}.get(command, COMMANDS[command])
    answer = call(*words, "--out", out)
    assert answer.status == 2
    assert f"{out}: results do not go where they are made from (" in answer.err
    assert {path.name for path in (work / "voices").rglob("*")} == {"HC", "PD", "s0", "s1", "take0.wav", "take1.wav"}


def test_an_explanation_is_kept_unless_it_is_the_same_or_may_go(work: Path, call: Call) -> None:
    words = ("explain", VOICE, "--model", "tiny", "--out", "why", "-r", "saliency")
    assert call(*words).status == 0
    before = {path.name: path.read_bytes() for path in (work / "why").iterdir()}
    assert call(*words).status == 0, "the very same answer"
    assert {path.name: path.read_bytes() for path in (work / "why").iterdir()}.keys() == before.keys()
    shutil.copytree(work / "tiny", work / "other")
    for differing in (("-r", "smoothgrad"), ("--seed", "1"), ("--target", "PD"), ("--evidence", "absolute")):
        answer = call(*words, *differing) if differing[0] != "-r" else call(*words[:-2], *differing)
        assert answer.status == 2, differing
        assert "why: holds another answer already (of take0): another recording, model, setting" in answer.err
    answer = call("explain", "voices/PD/s1/take1.wav", *words[2:])
    assert answer.status == 2
    answer = call("explain", VOICE, "--model", "tiny", "--out", "why", "-r", "smoothgrad", "--overwrite")
    assert answer.status == 0
    assert not (work / "why" / "saliency.png").exists(), "no file of the old answer stays beside the new one"
    assert call(*words[:-2], "-r", "saliency", "--out", "voices/HC/s0").status == 2
    (work / "why" / "explanation.json").write_text("{")
    assert call(*words).status == 2


def test_an_answer_says_where_it_comes_from(work: Path, call: Call) -> None:
    assert call("explain", VOICE, "--model", "tiny", "-r", "saliency", "--seed", "3", "--out", "why").status == 0
    made = json.loads((work / "why/explanation.json").read_bytes())["made"]
    row = json.loads(call("predict", VOICE, "--model", "tiny", "-f", "json").out)[0]
    for found in (made, row["made"]):
        assert found["program"] == f"speechxai {__version__}"
        assert found["libraries"].keys() >= {"torch", "librosa"}
        assert found["model"] == "tiny"
        assert found["weights_sha256"] == load_bundle(work / "tiny").config.weights.sha256
        assert found["input_sha256"] == hashlib.sha256((work / VOICE).read_bytes()).hexdigest()
        assert found["settings"].items() >= {"sample_rate_hz": 8_000, "normalize": "peak", "channel": None}.items()
    expected = {"recipes": ["saliency"], "target": "auto", "evidence": "auto", "seed": 3, "device": "cpu"}
    assert made["settings"].items() >= expected.items()


def test_predict_and_report_write_a_file_once(work: Path, call: Call) -> None:
    for format in ("csv", "json", "text"):
        out = f"new/{format}.txt"
        answer = call("predict", VOICE, "--model", "tiny", "-f", format, "--out", out)
        assert (answer.status, answer.out) == (0, f"{out}\n")
        written = (work / out).read_text()
        assert written == call("predict", VOICE, "--model", "tiny", "-f", format).out
        answer = call("predict", VOICE, "--model", "tiny", "-f", format, "--out", out)
        assert answer.err == (
            f"Error: {out}: there is such a file already. Choose another name with --out, or replace it with"
            " --overwrite.\n"
        )
        assert call("predict", VOICE, "--model", "tiny", "-f", format, "--out", out, "--overwrite").status == 0
    assert call(*EVALUATE, "--pictures", "0", "--out", "run").status == 0
    assert call("report", "run", "--out", "precious.csv").status == 2
    assert none_is_lost(work)
    assert call("report", "run", "--out", "page.html").status == 0
    assert call("report", "run", "--out", "page.html", "--overwrite").status == 0


def test_a_model_is_replaced_when_asked_and_only_by_one_that_can_be_made(
    work: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    kept = (work / "tiny/config.toml").read_bytes()
    for words in (("train", "voices"), ("import", "checkpoints")):
        answer = call(*words, "--out", "tiny")
        assert answer.status == 2
        assert "tiny: holds a model already. Choose another folder with --out, or replace it with --over" in answer.err
        assert call(*words, "--out", "tiny", "--overwrite").status == 2, "two voices train nothing"
        assert (work / "tiny/config.toml").read_bytes() == kept
        assert (work / "tiny/weights.safetensors").is_file()
    (work / "checkpoints").mkdir()
    for fold in (1, 2):
        torch.save(published(network(fold)), work / "checkpoints" / f"fold_{fold}.pt")
    (work / "tiny" / "notes.txt").write_text("mine")
    assert call("import", "checkpoints", "--out", "tiny", "--overwrite").status == 0
    assert load_bundle(work / "tiny").config.architecture == "ssl"
    assert (work / "tiny" / "notes.txt").read_text() == "mine"


# ---- the app looks before it starts


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--root", "voices"], "--root names the folder of a data set's recordings: name the data set with --data."),
        (["--data", "figshare-voice"], "The data card 'figshare-voice' needs the folder of its recordings"),
        (["--data", "figshare-voice", "--root", "nowhere"], "nowhere: this folder does not exist."),
        (["--data", "figshare-voice", "--root", "folder"], "folder: no recordings found."),
        (["--data", "nope"], "nope: there is no such folder or manifest."),
        (["--data", "precious.csv"], "precious.csv: "),
        (["--model", "nope"], "nope: there is no such folder. Unknown model 'nope'."),
        (["--model", "tiny", "--model", "voices"], "voices/config.toml: no such file. A model bundle is a folder"),
        (["--run", "nowhere"], "nowhere: there is no such folder of a run."),
        (["--run", "folder"], "folder: not a run folder"),
        (["--save-to", "precious.csv"], "precious.csv: this is a file, and a folder is needed."),
        (["--import", "no_such_plugin"], "no_such_plugin: there is no such plugin."),
        (["--host", "no.such.host.invalid"], "--host no.such.host.invalid: the app cannot listen there"),
        (["--port", "TAKEN"], "the app cannot listen there"),
    ],
)
def test_the_app_is_not_started_with_what_is_wrong(
    words: list[str], says: str, work: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("streamlit", reason="needs the extra 'app'")

    def started(*_: object) -> None:
        raise AssertionError("the server was started")

    monkeypatch.setattr(os, "execve", started)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        words = [str(taken.getsockname()[1]) if word == "TAKEN" else word for word in words]
        answer = call("app", "--no-browser", *words)
    assert answer.status == 2
    assert says in answer.err
    assert answer.err.count("\n") == 1


def test_pages_have_no_links_to_other_services() -> None:
    from speechxai.commands.app import command

    words = command([], 8501, "127.0.0.1", False)
    assert "--client.showErrorLinks=false" in words
    assert "--client.showErrorDetails=none" in words
    assert "--server.showEmailPrompt=false" in words  # a clinician's first start waits for no address


# ---- tables that people open in spreadsheets


HOSTILE = ("=1+1", "+cmd", "-2+3", "@SUM(1)")


def test_no_table_that_is_exported_holds_a_formula(work: Path, call: Call) -> None:
    rows = [("file", "label", "speaker", "=note")]
    (work / "many").mkdir()
    for index, text in enumerate(HOSTILE):
        waveform = noise_recording(text, 0.4, seed=index).waveform.numpy()
        soundfile.write(work / "many" / f"{text}.wav", waveform, 8_000)
        rows.append((f"{text}.wav", "PD" if index % 2 else "HC", text, f"\t{text}"))
    with (work / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    assert call("data", "import", "many", "--labels", "labels.csv", "--out", "manifest.csv").status == 0
    run = (
        "evaluate",
        "--data",
        "manifest.csv",
        "--model",
        "tiny",
        "-r",
        "saliency",
        "--no-controls",
        "-m",
        "published",
    )
    assert call(*run, "--pictures", "0", "--out", "run").status == 0, "the manifest is read as it was"
    os.chdir(work / "many")
    files = [f"./{name}.wav" if name[0] in "-+" else f"{name}.wav" for name in HOSTILE]
    predicted = call("predict", *files, "--model", work / "tiny", "-f", "csv").out
    (work / "predicted.csv").write_text(predicted)
    (work / "table.csv").write_text(call("report", work / "run", "-f", "csv").out)
    tables = [work / "manifest.csv", work / "predicted.csv", work / "table.csv", *sorted((work / "run").glob("*.csv"))]
    assert len(tables) >= 7
    n = 0
    for table in tables:
        for row in csv.reader(table.read_text().splitlines()):
            for cell in row:
                n += cell[:1] == "'"
                assert cell[:1] not in ("=", "@", "\t", "\r"), (table, cell)
                assert cell[:1] not in ("+", "-") or float(cell) == float(cell), (table, cell)
    assert n > len(HOSTILE)
    scores = pd.read_csv(work / "run" / "scores.csv")
    assert scores["value"].dtype == "float64"
    from speechxai.data.manifest import read_manifest

    manifest = read_manifest(work / "manifest.csv")
    assert [path.removesuffix(".wav") for path in manifest["path"]] == sorted(HOSTILE)
    assert "=note" in manifest.columns


@pytest.mark.parametrize(
    "words",
    [
        (*EVALUATE, "--out", "run-\udcff"),
        ("train", "voices", "--out", "model", "--title", "t\udcff"),
        ("train", "voices", "--out", "model", "--option", "a=\udcff"),
        (*EVALUATE, "--out", "run", "--recipes", "\udcff"),
        ("data", "import", "voices", "--labels", "precious.csv", "--out", "m.csv", "--name", "\udcff"),
    ],
)
def test_what_no_file_of_settings_can_keep_is_said_before_anything_is_made(
    words: tuple[str, ...], work: Path, call: Call
) -> None:
    before = sorted(work.rglob("*"))
    answer = call(*words)
    assert answer.status == 2
    assert r"\udcff: this " in answer.err
    assert "is not UTF-8" in answer.err
    assert sorted(work.rglob("*")) == before
