"""The trained interpreter: what it reads, what its loss is, where it is kept, and that it goes on."""

from __future__ import annotations

import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from speechxai.classifiers import Classifier, build
from speechxai.classifiers.bundle import EpochFile, load_bundle, own_copy
from speechxai.classifiers.interpreter import Decoder, Interpreter, Layer, layers_of, mask_of, spread
from speechxai.cli import app
from speechxai.data.synthetic import corpus
from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.explain.explain import explain
from speechxai.explain.passes import count_passes
from speechxai.files import resource_folder
from speechxai.inside.interpreter import (
    RANDOM,
    InterpreterConfig,
    corpus_for,
    fit_decoder,
    folds_of,
    judge,
    loss_of,
    train_interpreter,
)
from speechxai.signal.audio import write
from speechxai.signal.stft import spectrogram
from speechxai.types import Recording, Spectrogram, StftConfig

QUICK = InterpreterConfig(epochs=2, batch=4, crop_s=0.5)


@pytest.fixture(scope="module")
def voices() -> list[Recording]:
    return list(corpus(4, 0))


@pytest.fixture
def bundle_folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(resource_folder("models") / "synthetic-cnn", tmp_path / "mine"))


class Sum(nn.Module):
    """Logits (-s, s) of the mean magnitude: every probability can be worked out by hand."""

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        mean = magnitude.mean((1, 2))
        return torch.stack([-mean, mean], dim=1)


def test_loss_by_hand() -> None:
    stft = StftConfig()
    magnitude = torch.ones(1, stft.n_bins, 4)
    spec = Spectrogram(magnitude, torch.zeros_like(magnitude), 500, stft)
    mask = torch.full_like(magnitude, 0.75)
    config = InterpreterConfig(keep=5.0, remove=0.2, sparse=0.4)
    network = Classifier(Sum(), stft)
    found = loss_of(network, mask, spec, torch.zeros_like(magnitude), torch.tensor([1]), config)
    # kept mean .75, removed .25: CE = log(1 + exp(-2 mean))
    by_hand = 5 * math.log(1 + math.exp(-1.5)) - 0.2 * math.log(1 + math.exp(-0.5)) + 0.4 * 0.75
    assert float(found) == pytest.approx(by_hand, abs=1e-5)
    # where as loud a noise stands in place of the masked sound, nothing is kept or lost
    filled = loss_of(network, mask, spec, magnitude, torch.tensor([1]), config)
    assert float(filled) == pytest.approx(4.8 * math.log(1 + math.exp(-2.0)) + 0.3, abs=1e-5)


def test_spread_draws_lines_between_rows() -> None:
    matrix = spread(torch.tensor([1.0, 3.0]), 5)
    assert torch.allclose(matrix[:, 1], torch.tensor([0.0, 0.0, 0.5, 1.0, 1.0]))
    assert torch.allclose(matrix.sum(dim=1), torch.ones(5))


def test_layers_are_chosen_coarse_to_fine() -> None:
    assert [layer.n_rows for layer in layers_of(Classifier(build("cnn")).eval())] == [8, 16, 32, 64]
    transformer = Classifier(build("ssl", size="tiny", hidden_size=8, dropout=0.0)).eval()
    layers = layers_of(transformer)
    assert [layer.name.rpartition(".")[2] for layer in layers] == ["1", "0"]
    assert {(layer.n_rows, layer.n_channels) for layer in layers} == {(0, 48)}  # width of the tiny encoder's blocks
    # A network of waveforms that hears recordings of a given length, which no trial has, is trained for as well.
    assert layers_of(transformer.for_length(32_000)) == layers
    with pytest.raises(NotApplicable, match="no hidden layers over time that an interpreter could read"):
        layers_of(Classifier(Sum()).eval())


def test_training_finds_what_keeps_the_answer(voices: list[Recording], tmp_path: Path) -> None:
    classifier = load_bundle("synthetic-cnn").classifier()
    config = replace(QUICK, epochs=4, batch=2, learning_rate=5e-3)
    said: list[tuple[int, int, str]] = []
    decoder = fit_decoder(classifier, voices[:8], config, lambda *what: said.append(what))
    assert said[-1][:2] == (4, 4)
    losses = [float(what.removeprefix("loss ")) for *_, what in said]
    assert losses[-1] < losses[0]
    found = judge(classifier, decoder, voices[8:10])
    assert set(found) == {"lmac", RANDOM}
    assert found["lmac"]["mean_mask"] == pytest.approx(found[RANDOM]["mean_mask"], abs=1e-6)
    # interrupted after any epoch, the same decoder comes out
    store = EpochFile(tmp_path / "state.pt")

    def stop(done: int, of: int, what: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_decoder(classifier, voices[:8], config, stop, store)
    again: list[int] = []
    resumed = fit_decoder(classifier, voices[:8], config, lambda done, *_: again.append(done), store)
    assert again == [3, 4]
    for name, value in decoder.state_dict().items():
        assert torch.allclose(value, resumed.state_dict()[name], atol=1e-6), name


def test_stored_with_the_bundle_and_refused_for_another(bundle_folder: Path, voices: list[Recording]) -> None:
    bundle = load_bundle(bundle_folder)
    recording = voices[0]
    spec = spectrogram(recording.waveform[None], bundle.config.stft_config())
    command = f"speechxai train-interpreter {bundle_folder} --data DATA"
    with pytest.raises(NotApplicable, match=rf"^lmac: no interpreter .*: {re.escape(command)}$"):
        explain(bundle.classifier(), spec, "lmac")
    told: list[str] = []
    about = train_interpreter(bundle, voices, replace(QUICK, epochs=1), lambda d, n, what: told.append(what))
    assert about["n_recordings"] == len(voices)
    assert told[-1].startswith("final")
    assert not (bundle_folder / "interpreter" / "states").exists()
    again = load_bundle(bundle_folder)
    assert again.sha256 == bundle.sha256
    classifier = again.for_recording(recording)
    with count_passes(classifier, spec) as passes:
        made = explain(classifier, spec, "lmac", 1)
    assert made.values.shape == spec.magnitude.shape
    assert 0 <= float(made.values.min()) < float(made.values.max()) <= 1
    assert passes.backward == 0
    assert "interpreter" not in "".join(classifier.state_dict())
    config = bundle_folder / "interpreter" / "config.toml"
    text = config.read_text("utf-8")
    config.write_text(text.replace(bundle.config.answers_hash, "0" * 64), "utf-8")
    with pytest.raises(NotApplicable, match="trained for another network"):
        explain(load_bundle(bundle_folder).classifier(), spec, "lmac")
    config.write_text(text, "utf-8")
    weights = bundle_folder / "interpreter" / "final.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00\x01")
    with pytest.raises(SpeechXAIError, match="damaged"):
        explain(load_bundle(bundle_folder).classifier(), spec, "lmac")


def test_a_model_of_the_library_stays_as_it_is(tmp_path: Path) -> None:
    """Its interpreter is kept beside a copy; asked for without one, the command says what to give."""
    library = resource_folder("models")
    before = {path: path.stat().st_mtime_ns for path in sorted(library.rglob("*"))}
    words = ["train-interpreter", "synthetic-cnn", "--data", "synthetic", "--speakers", "5", "--epochs", "1"]
    refused = CliRunner().invoke(app, words)
    assert "Give --out for a copy of it, for example --out models/my-synthetic-cnn" in str(refused.exception)
    # What `lmac` says where nothing was trained can be followed: the command has the --out that it needs.
    classifier = load_bundle("synthetic-cnn").classifier()
    spec = spectrogram(torch.zeros(1, 8000), classifier.stft)
    said = r"train-interpreter synthetic-cnn --data DATA --out models/my-synthetic-cnn, and explain with --model models"
    with pytest.raises(NotApplicable, match=said):
        explain(classifier, spec, "lmac")
    copy = tmp_path / "copy"
    assert own_copy(load_bundle("synthetic-cnn"), copy).folder == copy
    (copy / "interpreter").mkdir()
    again = own_copy(load_bundle("synthetic-cnn"), copy)  # what an interrupted training left is still there
    assert (again.folder / "interpreter").is_dir()
    assert again.config.answers_hash == load_bundle("synthetic-cnn").config.answers_hash
    with pytest.raises(SpeechXAIError, match="another model than 'figshare-cnn'"):
        own_copy(load_bundle("figshare-cnn"), copy)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(SpeechXAIError, match="holds something else"):
        own_copy(load_bundle("synthetic-cnn"), tmp_path / "other")
    assert {path: path.stat().st_mtime_ns for path in sorted(library.rglob("*"))} == before


def test_recordings_of_a_manifest_are_read_as_the_model_hears_them(tmp_path: Path, voices: list[Recording]) -> None:
    lines = ["recording,path,speaker,label,task"]
    for number, voice in enumerate(voices[:3]):
        write(tmp_path / f"{number}.wav", voice.waveform, voice.sample_rate)
        lines.append(f"{number},{number}.wav,{voice.speaker},{voice.label},{voice.task}")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    bundle = load_bundle("synthetic-cnn")
    found = corpus_for(bundle, str(tmp_path / "manifest.csv"), None)
    assert [r.label for r in found.recordings] == [r.label for r in voices[:3]]
    assert {r.sample_rate for r in found.recordings} == {bundle.config.stft_config().sample_rate}
    assert not found.unreadable


def test_nobody_of_a_fold_trains_its_decoder(voices: list[Recording]) -> None:
    bundle = load_bundle("synthetic-cnn")
    strangers = [replace(r, speaker=f"new/{i // 3}", id=f"new/{i}") for i, r in enumerate(voices)]
    folds = folds_of(bundle, [*voices, *strangers])
    assert folds[: len(voices)] == [bundle.fold_of(r) for r in voices]
    by_speaker: dict[str, set[int]] = {}
    for recording, fold in zip(strangers, folds[len(voices) :], strict=True):
        by_speaker.setdefault(recording.speaker, set()).add(fold)
    assert all(len(each) == 1 for each in by_speaker.values())
    assert len(set(folds)) > 1


def test_settings_out_of_range() -> None:
    with pytest.raises(SpeechXAIError, match="silence, noise or mean"):
        InterpreterConfig(fill="neighbors")  # type: ignore[arg-type]
    with pytest.raises(SpeechXAIError, match="epochs"):
        InterpreterConfig(epochs=0)


def test_segments_are_stitched() -> None:
    torch.manual_seed(0)
    classifier = load_bundle("synthetic-cnn").classifier()
    layers = layers_of(classifier)
    decoder = Decoder(layers, torch.arange(64.0), classifier.stft.n_bins).eval()
    spec = spectrogram(0.1 * torch.randn(1, 9 * 16000), classifier.stft)
    with torch.no_grad():
        assert mask_of(classifier, decoder, spec.magnitude, spec.phase).shape == spec.magnitude.shape
    assert isinstance(layers[0], Layer)
    assert Interpreter("", decoder=decoder).load() is decoder
