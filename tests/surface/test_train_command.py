"""Training and importing from the command line: what `data import` wrote becomes a model, and mistakes are one line."""

from __future__ import annotations

import re
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile

from speechxai.classifiers import training
from speechxai.classifiers.bundle import load_bundle
from speechxai.cli import main
from speechxai.errors import SpeechXAIError
from tests.surface.protocol_tree import FOLDS, make_checkpoints, make_tree

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--epochs", "1", "--folds", "3", "--option", "channels=[4, 8]", "--option", "n_mels=16", "--crop-s", "0.4"]


class Answer(NamedTuple):
    status: int
    out: str
    err: str


Run = Callable[..., Answer]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: object) -> Answer:
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        found = capsys.readouterr()
        return Answer(int(ended.value.code or 0), found.out, found.err)

    return call


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight tones with noise, a table of labels, and the manifest that `data import` makes of them."""
    root = tmp_path_factory.mktemp("mine")
    (root / "voices").mkdir()
    lines = ["file,label,speaker,age"]
    for index in range(8):
        noise = np.random.default_rng(index).standard_normal(8_000)
        wave = 0.2 * np.sin(2 * np.pi * (120 + 9 * index) * np.arange(8_000) / 16_000) + 0.02 * (1 + index % 2) * noise
        soundfile.write(root / "voices" / f"a{index}.wav", wave, 16_000)
        lines.append(f"a{index}.wav,{'PD' if index % 2 else 'HC'},s{index},{50 + index}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    words = ["data", "import", root / "voices", "--labels", root / "labels.csv", "--out", root / "manifest.csv"]
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert not ended.value.code
    return root


@pytest.fixture(scope="module")
def trained(voices: Path) -> Path:
    words = ["train", voices / "manifest.csv", "--root", voices / "voices", "--out", voices / "model", *SMALL]
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert not ended.value.code
    return voices / "model"


def test_a_manifest_becomes_a_model(trained: Path, voices: Path, run: Run) -> None:
    bundle = load_bundle(trained)
    assert bundle.n_folds == 3
    assert set(bundle.config.speakers) == {f"voices/s{index}" for index in range(8)}
    assert "Named by a manifest (manifest.csv), not by a data card" in bundle.card
    assert str(voices) not in bundle.card
    answer = run("predict", voices / "voices" / "a0.wav", "--model", trained, "--format", "csv")
    assert answer.status == 0, answer.err


def test_a_notebook_does_not_train_over_a_model_either(trained: Path) -> None:
    with pytest.raises(SpeechXAIError, match="holds a model already"):
        training.train_bundle(training.Corpus("none", (), ""), training.Plan("model"), trained)


def test_a_folder_with_labels_gives_the_same_model_and_logs_lines(voices: Path, trained: Path, run: Run) -> None:
    words = ["--labels", voices / "labels.csv", "--out", voices / "again", *SMALL]
    answer = run("train", voices / "voices", *words)
    assert answer.status == 0, answer.err
    hashes = [load_bundle(folder).config.weights.sha256 for folder in (trained, voices / "again")]
    assert hashes[0] == hashes[1]
    # No terminal here: plain lines, without the marks that move a cursor.
    lines = answer.err.splitlines()
    assert "again: cnn, 8 recordings of 8 speakers, 3 folds" in lines
    assert any(re.fullmatch(r"3 of 3, seed 0: .*fold 3 of 3.*: .* s, 0.00 s left", line) for line in lines), lines
    assert "\x1b" not in answer.out + answer.err
    assert f"Written: {voices / 'again'}. Its card:" in answer.out


def test_a_training_that_was_stopped_goes_on(voices: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    out = voices / "stopped"
    words = ["train", voices / "manifest.csv", "--root", voices / "voices", "--out", out, *SMALL]

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "fit_final", stop)
        answer = run(*words)
    assert answer.status == 130
    said = "Stopped. What is done is kept: the same command goes on with --resume."
    assert answer.err.splitlines()[-1] == said
    assert "a training was interrupted here. Go on with --resume" in run(*words).err
    assert run(*words, "--resume").status == 0
    assert not Path(f"{out}.training").exists()
    assert run(*words, "--resume").out == f"{out}: this training is finished.\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--folds", "1"], "Invalid value for '--folds'"),
        (["--epochs", "0"], "Invalid value for '--epochs'"),
        (["--seed", "-1"], "Invalid value for '--seed'"),
        (["--folds", "5"], "Got 5 with speakers HC 4, PD 4."),
        (["--device", "bogus"], "Unknown device 'bogus'. Here: auto, cpu"),
        (["--backbone", "cmm"], "Unknown backbone 'cmm'."),
        (["--option", "f_max=1"], "Unknown option of the backbone 'cnn' 'f_max'"),
        (["--option", "f_max"], "--option f_max: write NAME=VALUE"),
        (["--learning-rate", "0"], "Invalid value for '--learning-rate'"),
        (["--pretrained", "HUBERT"], "need the backbone 'ssl'"),
        (["--tasks", "vowel"], "Unknown task 'vowel'"),
        (["--config", "ssl4p"], "Did you mean 'ssl4pr'?"),
        (["--config", "mancini2025-single"], "Unknown setting 'data'"),
        (["--config", "{root}/wrong.toml"], "wrong.toml: 'epochs' must be a whole number. Got 'ten' instead."),
        (["--out", "{root}/voices"], "voices: holds other files"),
        (["--out", "{root}/model"], "model: holds a model already."),
        (["--out", "{root}/labels.csv"], "labels.csv: this is a file, and a folder is needed."),
        (["--out", "{root}/labels.csv/model"], "cannot be written"),
        (["--out", ".."], "The model needs a folder with a name"),
        (["--labels", "{root}/labels.csv"], "belongs to a folder of recordings"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    words: list[str], message: str, voices: Path, trained: Path, run: Run
) -> None:
    (voices / "wrong.toml").write_text('epochs = "ten"\n')
    words = [word.format(root=voices) for word in words]
    out = [] if "--out" in words else ["--out", voices / "none"]
    answer = run("train", voices / "manifest.csv", "--root", voices / "voices", *out, *words)
    assert answer.status == 2
    last = answer.err.splitlines()[-1]
    assert last.startswith("Error: ")
    assert message in last
    assert "Traceback" not in answer.err
    assert not (voices / "none").exists()
    assert not (voices / "none.training").exists()


def test_a_recording_that_cannot_be_read_is_left_out_and_named(voices: Path, tmp_path: Path, run: Run) -> None:
    root = Path(shutil.copytree(voices / "voices", tmp_path / "voices"))
    (root / "a0.wav").write_text("this is no sound")
    manifest = voices / "manifest.csv"
    answer = run("train", manifest, "--root", root, "--out", tmp_path / "model", *SMALL)
    assert answer.status == 1
    assert re.search(r"left out: .*a0\.wav", answer.err)
    assert "Left out: 1 recordings" in load_bundle(tmp_path / "model").card


def test_scripts_are_callers_of_the_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for script, command in (("train_classifier", "train"), ("train_auxiliary", "auxiliary")):
        monkeypatch.setattr(sys, "argv", [script, "--help"])
        with pytest.raises(SystemExit):
            runpy.run_path(str(ROOT / "scripts" / f"{script}.py"), run_name="__main__")
        assert capsys.readouterr().out.startswith(f"Usage: speechxai {command} ")


def test_checkpoints_become_a_model(tmp_path: Path, run: Run) -> None:
    checkpoints, data = make_checkpoints(tmp_path / "checkpoints"), make_tree(tmp_path / "data")
    answer = run("import", checkpoints, "--out", tmp_path / "model", "--splits", data)
    assert answer.status == 0, answer.err
    assert f"{tmp_path / 'model'}: {FOLDS} networks, {2 * FOLDS} speakers" in answer.out
    assert load_bundle(tmp_path / "model").config.speakers["pc-gita/AVPEPUDEA0002"] == 1
    answer = run("import", checkpoints / "fold_1.pt", "--check")
    assert "fits the backbone 'ssl'" in answer.out
    assert "holds a model already" in run("import", checkpoints, "--out", tmp_path / "model").err
    assert "give --out" in run("import", checkpoints).err
    assert "no files named fold_1.pt" in run("import", data, "--out", tmp_path / "other").err
