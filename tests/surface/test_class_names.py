"""Names of classes from the table to the report: any order, any names, and never a wrong one."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import soundfile
import torch

from speechxai import cli
from speechxai.classifiers.bundle import Bundle, save_bundle
from speechxai.classifiers.fit import recording_logits
from speechxai.data.cards import import_folder
from speechxai.data.manifest import write_manifest
from speechxai.evaluation.runs import RunFolder
from speechxai.testing import noise_recording, tiny_bundle

RECIPES = ("-r", "saliency", "-r", "deep_lift", "-m", "average_drop", "-m", "comprehensiveness@10", "--pictures", "0")


def says(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[object, str, str]:
    """Exit status, standard output and standard error of a command."""
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    return ended.value.code, *capsys.readouterr()


def model(folder: Path, names: tuple[str, ...] = ("HC", "PD"), order: tuple[int, ...] = (0, 1)) -> Bundle:
    """Write a network of random weights that says each class of half of some noises; its outputs have these names, and
    are those of `order`."""
    bundle = tiny_bundle(folder, n_folds=0)
    network = bundle.classifier()
    last = network.backbone.get_submodule("classifier")
    with torch.no_grad():
        last.bias.zero_()
        voices = [noise_recording(seed=seed, duration_s=0.6) for seed in range(8)]
        voices = [replace(voice, waveform=2 * voice.waveform) for voice in voices]  # as it is read, peak 1
        logits = recording_logits(network, voices)
        last.bias[0] += (logits[:, 1] - logits[:, 0]).median() - 1e-4
        for values in (last.weight, last.bias):
            values.copy_(values[list(order)].clone())
    config = bundle.config.model_copy(update={"classes": names})
    return save_bundle(folder, config, {"final": network}, bundle.card)


@pytest.fixture
def voices(tmp_path: Path) -> Path:
    """Eight recordings of eight speakers, half of them in each folder."""
    for index in range(8):
        path = tmp_path / "voices" / ("HC", "PD")[index % 2] / f"s{index}_a.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, noise_recording(seed=index, duration_s=0.6).waveform.numpy(), 8_000)
    return tmp_path / "voices"


def manifest(voices: Path, out: Path, classes: str, names: dict[str, str]) -> Path:
    """Import the voices with another name for each folder."""
    table = voices.parent / "labels.csv"
    lines = [f"{p.name},{names[p.parent.name]},{p.stem}" for p in sorted(voices.rglob("*.wav"))]
    table.write_text("\n".join(["file,label,speaker", *lines]))
    write_manifest(import_folder(voices, table, "voices", classes=classes.split(",") if classes else None), out)
    return out


def test_the_order_of_outputs_changes_nothing(voices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bundle of the classes (Parkinson's, control) gives the report of its twin of (HC, PD)."""
    model(tmp_path / "as-is")
    model(tmp_path / "swapped", ("Parkinson's", "control"), (1, 0))
    found = {}
    for name in ("as-is", "swapped"):
        run = tmp_path / f"run-{name}"
        code, _, told = says(capsys, "evaluate", "--data", voices, "--model", tmp_path / name, *RECIPES, "--out", run)
        assert code == 0, told
        found[name] = RunFolder.open(run)
    first = found["as-is"]
    assert set(first.table("predictions")["predicted"]) == {0, 1}  # or the test says nothing
    other = found["swapped"]
    pd.testing.assert_frame_equal(other.table("scores").assign(model="as-is"), first.table("scores"))
    columns = ["recording", "label", "predicted", "p_HC", "p_PD"]
    pd.testing.assert_frame_equal(other.table("predictions")[columns], first.table("predictions")[columns])
    assert sections(other) == sections(first)


def sections(folder: RunFolder) -> str:
    """What a report says of the classifier and the scores."""
    text = (folder.path / "report.html").read_text(encoding="utf-8")
    parts = re.findall(r'<section id="(?:short|scores|controls|classifier)".*?</section>', text, re.DOTALL)
    assert len(parts) == 4
    return re.sub("swapped|as-is", "", "".join(parts))


def test_what_has_no_common_name_is_explained_and_not_scored(
    voices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model(tmp_path / "model")
    data = manifest(voices, tmp_path / "m.csv", "", {"HC": "healthy", "PD": "pathological"})
    run = tmp_path / "run"
    code, _, told = says(capsys, "evaluate", "--data", data, "--model", tmp_path / "model", *RECIPES, "--out", run)
    assert code == 0, told
    sentence = "The data say healthy/pathological, the model says HC/PD: nothing is scored against the labels;"
    assert sentence in told
    folder = RunFolder.open(run)
    rows, scores = folder.table("predictions"), folder.table("scores")
    assert rows["label"].isna().all()
    assert scores["label"].isna().all()
    assert scores["value"].notna().any()
    assert rows["labeled"].value_counts().to_dict() == {"healthy": 4, "pathological": 4}
    report = (run / "report.html").read_text(encoding="utf-8")
    assert sentence in report
    assert "8 of 8 speakers: 4 healthy, 4 pathological" in report
    for word in ("AUC", "is right for", "predicted HC"):
        assert word not in re.sub('src="[^"]*"', "", report)
    # The protocol of the paper must know which answer is the disease.
    code, _, told = says(
        capsys, "evaluate", "--data", data, "--model", tmp_path / "model", "--protocol", "mancini2025", "--out", "p"
    )
    assert code == 2
    assert "must know which of them is the disease" in told
