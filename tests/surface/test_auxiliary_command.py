"""An auxiliary study of a real run folder: made, killed, continued, reported, and refused where it would mislead."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import soundfile
import torch

from speechxai.auxiliary.folder import StudyFolder, chosen_recipes, read_source, run_study
from speechxai.auxiliary.values import AuxiliarySettings
from speechxai.cli import main
from speechxai.errors import SpeechXAIError
from speechxai.evaluation.runs import RunFolder
from speechxai.files import read_sealed, sealed
from speechxai.testing import noise_recording, tiny_bundle

OPTIONS = ["--seeds", "1", "--folds", "3", "--epochs", "2", "--n-mels", "16"]
SETTINGS = AuxiliarySettings(
    ("union(saliency, guided_backprop)",), n_seeds=1, n_folds=3, epochs=2, n_mels=16, splits=("speaker",)
)
TABLES = ("table.csv", "leak.csv", "coefficients.csv", "curves.csv", "sentences.json")


def call(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


def test_what_must_not_be_overlooked_is_said_before_anything_is_trained(capsys: pytest.CaptureFixture[str]) -> None:
    from speechxai.commands.auxiliary import announce

    facts = {"left_out": {"r1": "it has no label"}, "not_held_out": 3, "unknown_held_out": 2}
    study: Any = SimpleNamespace(
        facts=facts,
        misfits=lambda: {"of other maps": 2, "of other settings": 1},
        settings=SimpleNamespace(splits=("speaker",)),
    )
    announce(study)
    said = capsys.readouterr()
    assert said.out == "3 fits do not fit the study and are trained again: 2 of other maps, 1 of other settings.\n"
    assert said.err.splitlines() == [
        "Left out: r1: it has no label",
        "WARNING: 3 maps come from a network that heard the speaker in training; of 2 nobody can say. Marked in the"
        " report.",
    ]
    facts |= {"left_out": {}, "not_held_out": 0, "unknown_held_out": 0}
    study.misfits = dict
    announce(study)
    assert capsys.readouterr() == ("", "")


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with maps: eight speakers with two recordings each, half of them known to the fold models of the bundle."""
    root = tmp_path_factory.mktemp("study")
    for index in range(16):
        speaker = index // 2
        recording = noise_recording(f"n{index}", 0.4 + 0.02 * index, seed=index)
        folder = root / "voices" / ("PD" if speaker % 2 else "HC") / f"s{speaker:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / f"take{index}.wav", recording.waveform.numpy(), 8_000)
    bundle = tiny_bundle(root / "tiny", 2, {f"folder/s{speaker:02d}": speaker % 2 for speaker in range(4)})
    out = root / "run"
    status = call(
        "evaluate",
        "--data",
        root / "voices",
        "--model",
        bundle.folder,
        "-r",
        "saliency",
        "-r",
        "guided_backprop",
        "-r",
        "union(saliency, guided_backprop)",
        "-m",
        "mean_mask",
        "--maps",
        "--pictures",
        0,
        "--out",
        out,
    )
    assert status == 0
    return out


@pytest.fixture
def run(evaluated: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(evaluated, tmp_path / "run"))


def test_the_command_writes_tables_curves_checkpoints_and_reports(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("auxiliary", run, "-r", "saliency", *OPTIONS) == 0
    said = capsys.readouterr()
    assert "Folds by recording: recordings of a tested speaker are in the training data" in said.err
    assert "LEAKY: AUROC" in said.out
    study = StudyFolder(run / "auxiliary" / "map-small")
    assert study.settings.recipes == ("saliency",)
    # Three kinds of maps, shuffled labels and the spectrogram: 5 networks x 2 splits x 1 seed x 3 folds; majority
    # trains none.
    assert len(list((study.path / "checkpoints").glob("*.safetensors"))) == 5 * 2 * 3
    table = study.table("table")
    assert set(table["name"]) == {
        "saliency",
        "random_map",
        "energy_map",
        "permuted_labels",
        "majority",
        "answer",
        "original",
    }
    assert set(table["n_recordings"]) == {16}
    assert set(table["n_speakers"]) == {8}
    html = (run / "report.html").read_text()
    assert "What do the maps alone know?" in html
    assert html.count("⚠ leaky folds") >= 3
    for sentence in study.sentences:
        assert sentence.text.replace("'", "&#39;") in html
    assert "Not a medical device" in (study.path / "report.html").read_text()
    # The same command again trains nothing.
    before = {path: path.stat().st_mtime_ns for path in (study.path / "units").glob("*.json")}
    run_study(RunFolder.open(run), study.settings)
    assert {path: path.stat().st_mtime_ns for path in (study.path / "units").glob("*.json")} == before
    assert call("auxiliary", run, "-r", "saliency", *OPTIONS[:-2], "--n-mels", 20) == 2
    assert "begun with n_mels = 16, not 20. Give another --name, or --again" in capsys.readouterr().err


def test_killed_at_a_random_moment_it_ends_with_the_same_tables(run: Path, tmp_path: Path) -> None:
    whole = run_study(RunFolder.open(run), SETTINGS, name="whole")
    code = (
        "import sys; from speechxai.evaluation.runs import RunFolder; from speechxai.auxiliary.folder import run_study;"
        "from tests.surface.test_auxiliary_command import SETTINGS;"
        "import torch; torch.set_num_threads(1); run_study(RunFolder.open(sys.argv[1]), SETTINGS, name='killed')"
    )
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen([sys.executable, "-c", code, str(run)], cwd=root)
    units = run / "auxiliary" / "killed" / "units"
    wanted = random.Random(time.time_ns()).randint(1, 10)
    while process.poll() is None and len(list(units.glob("*.json"))) < wanted:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    n_left = len(list(units.glob("*.json")))
    assert 1 <= n_left < 18  # 6 rows x 3 folds
    assert not (run / "auxiliary" / "killed" / "table.csv").exists()
    # A file that a power loss left half written counts as not done.
    first = sorted(units.glob("*.json"))[0]
    first.write_bytes(first.read_bytes()[:40])
    continued = run_study(RunFolder.open(run), SETTINGS, name="killed")
    for name in TABLES:
        assert (continued.path / name).read_bytes() == (whole.path / name).read_bytes(), name
    a, b = (pd.read_parquet(study.path / "predictions.parquet") for study in (whole, continued))
    pd.testing.assert_frame_equal(a, b)


def test_maps_of_networks_that_heard_the_speaker_are_named(run: Path) -> None:
    folder = RunFolder.open(run)
    source = read_source(folder, ("saliency",))
    assert set(source.held_out.values()) == {True}
    recording = str(folder.manifest["recording"][0])  # of a speaker whom the other fold's network heard
    shard = next(
        path for path in (run / "units").glob("*.json") if json.loads(path.read_text())["recording"] == recording
    )
    content = read_sealed(shard, "unit") or {}
    for fold, expected in (("final", False), ("1", False), ("0", True), ("", None)):
        content["facts"]["fold"] = fold
        shard.write_bytes(sealed(content, "unit"))
        assert read_source(folder, ("saliency",)).held_out[recording] is expected
    content["facts"]["fold"] = "final"
    shard.write_bytes(sealed(content, "unit"))
    facts = read_source(folder, ("saliency",)).facts()
    assert (facts["not_held_out"], facts["unknown_held_out"]) == (1, 0)


def test_a_run_that_was_computed_again_is_not_mixed_with_old_fits(run: Path) -> None:
    small = AuxiliarySettings((), "original", n_seeds=1, n_folds=3, epochs=1, n_mels=16, splits=("speaker",))
    run_study(RunFolder.open(run), small)
    shard = next((run / "units").glob("*.json"))
    content = read_sealed(shard, "unit") or {}
    shard.write_bytes(sealed({**content, "facts": {**content["facts"], "load_s": 0.0}}, "unit"))
    with pytest.raises(SpeechXAIError, match="computed again since this study began"):
        run_study(RunFolder.open(run), small)
    assert run_study(RunFolder.open(run), small, again=True).n_done() == (9, 9)


def test_stored_maps_keep_what_half_precision_would_lose(run: Path) -> None:
    # A gradient of 1e-5 has no precision left as float16: maps are stored relative to their largest magnitude.
    folder = RunFolder.open(run)
    for recording in folder.recordings:
        for recipe in ("saliency", "guided_backprop"):
            assert abs(folder.maps(recording, recipe)).max() == 1


def test_recordings_without_maps_or_labels_are_left_out_by_name(run: Path) -> None:
    folder = RunFolder.open(run)
    first, second = (str(r) for r in folder.manifest["recording"][:2])
    stored = {path.name: path for path in (run / "maps.zarr").iterdir() if path.is_dir()}
    from speechxai.evaluation.runs import unit_name

    shutil.rmtree(stored[unit_name(first)] / "saliency")
    next(p for p in (run / "units").glob("*.json") if p.name.startswith(unit_name(second))).unlink()
    source = read_source(folder, ("saliency",))
    assert source.left_out == {first: "it has no map of 'saliency'", second: "it has no scores in the run"}
    assert len(source.material.manifest) == 14
    # A combination that is not stored is combined from the maps that are.
    union = "union(saliency, guided_backprop)"
    both = read_source(folder, (union,)).material
    names = list(both.manifest["recording"])
    wanted = both.evidence(union, 5)
    shutil.rmtree(stored[unit_name(str(names[5]))] / union)
    again = read_source(folder, (union,)).material
    assert list(again.manifest["recording"]) == names
    assert torch.allclose(again.evidence(union, 5), wanted, atol=2e-3)
    assert wanted.max() == 1


def test_what_cannot_be_studied_says_why(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("auxiliary", run, "--recipe", "saliencyy") == 2
    assert "Did you mean 'saliency'?" in capsys.readouterr().err
    assert call("auxiliary", run, "--recipe", "smoothgrad") == 2
    assert "the run has no maps of 'smoothgrad'" in capsys.readouterr().err
    assert call("auxiliary", run, "--split", "recording") == 2
    assert "only shown beside folds by speaker" in capsys.readouterr().err
    assert call("auxiliary", run, "--split", "speakers") == 2
    assert "Did you mean 'speaker'?" in capsys.readouterr().err
    assert call("auxiliary", run, "--folds", 9, "--n-mels", 16) == 2
    assert "smallest class" in capsys.readouterr().err
    assert call("auxiliary", run) == 2
    assert "bands empty" in capsys.readouterr().err
    shutil.rmtree(run / "maps.zarr")
    assert call("auxiliary", run) == 2
    assert "kept no maps. Evaluate with --maps" in capsys.readouterr().err
    assert call("auxiliary", run / "units") == 2
    assert "not a run folder" in capsys.readouterr().err


def test_recipes_are_chosen_from_the_run(run: Path) -> None:
    folder = RunFolder.open(run)
    assert chosen_recipes(folder, ()) == ("saliency", "guided_backprop")
    assert chosen_recipes(folder, ("all",)) == ("saliency", "guided_backprop", "union(saliency, guided_backprop)")
    assert chosen_recipes(folder, ("union(saliency,guided_backprop)",)) == ("union(saliency, guided_backprop)",)


def test_weights_of_cnn14_are_read_without_running_code(run: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "trapped"),)

    torch.save({"model": {"fc1.weight": Trap()}}, tmp_path / "bad.pth")
    settings = AuxiliarySettings(
        (), "original", "cnn14", ("speaker",), 1, 3, weights=str(tmp_path / "bad.pth"), n_mels=32
    )
    with pytest.raises(SpeechXAIError, match="refused, because it holds more than tensors"):
        run_study(RunFolder.open(run), settings)
    assert not (tmp_path / "trapped").exists()
