"""Resemblyzer's d-vector as a network: against the published package, and as a head on a file of its layout."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from speechxai.classifiers import Classifier, build, predict
from speechxai.classifiers.bundle import BundleConfig, StftSettings, load_bundle, save_bundle
from speechxai.classifiers.dvector import (
    EMBEDDED_SHA256,
    DVectorConfig,
    FrozenDVector,
    Mel,
    SpeakerEncoder,
    parts_of,
    read_speaker_encoder,
)
from speechxai.classifiers.fit import FitConfig, fit, recording_logits
from speechxai.classifiers.training import plan_of
from speechxai.errors import SpeechXAIError
from speechxai.explain.explain import explain_all
from speechxai.planted.networks import open_network
from speechxai.signal.audio import read_audio
from speechxai.signal.stft import spectrogram
from speechxai.testing import noise_recording
from speechxai.types import Recording, StftConfig

STFT = StftConfig()


def voice(seconds: float = 1.3, seed: int = 0, level: float = 1.0) -> Tensor:
    waveform = noise_recording(duration_s=seconds, seed=seed, sample_rate=16_000).waveform
    return level * waveform * torch.linspace(0.1, 1.0, len(waveform))


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The package, without the voice activity detector that it imports and we do not use."""
    if importlib.util.find_spec("resemblyzer") is None:
        pytest.skip("Resemblyzer is not installed (pip install --no-deps Resemblyzer==0.1.4)")
    morphology, detector = ModuleType("scipy.ndimage.morphology"), ModuleType("webrtcvad")
    morphology.binary_dilation = None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "scipy.ndimage.morphology", morphology)
    monkeypatch.setitem(sys.modules, "webrtcvad", detector)
    for name in ("resemblyzer", "resemblyzer.audio", "resemblyzer.hparams", "resemblyzer.voice_encoder"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("resemblyzer")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dvector") / "pretrained.pt"
    torch.manual_seed(7)
    state: dict[str, Tensor] = {
        # bands are powers without a logarithm: weights that were learned are large, and random ones would hear nothing
        name: value.detach() * (300.0 if name == "lstm.weight_ih_l0" else 1.0)
        for name, value in SpeakerEncoder().named_parameters()
    }
    torch.save({"step": 1, "model_state": state | {"similarity_weight": torch.ones(1)}}, path)
    return path


def test_the_front_end_is_the_published_one(published: ModuleType) -> None:
    for seconds in (0.3, 1.3):
        waveform = voice(seconds)
        theirs = published.audio.wav_to_mel_spectrogram(waveform.numpy())
        ours = Mel()(waveform[None])[0].numpy()
        assert ours.shape == theirs.shape
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-6 * float(theirs.max()))


def test_d_vectors_are_the_published_ones(published: ModuleType) -> None:
    theirs = published.VoiceEncoder("cpu", verbose=False)
    ours = SpeakerEncoder()
    ours.load_state_dict(read_speaker_encoder().state)
    for seconds, level in ((0.4, 1.0), (1.3, 0.001), (2.3, 1.0), (2.9, 0.05), (5.17, 1.0)):
        waveform = voice(seconds, level=level)
        parts, _ = theirs.compute_partial_slices(len(waveform), 1.3, 0.75)
        assert [part.start // 160 for part in parts] == parts_of(len(waveform)), seconds
        loud = published.audio.normalize_volume(waveform.numpy(), -30, increase_only=True)
        with torch.no_grad():
            found = ours(waveform[None])[0].numpy()
        assert found == pytest.approx(theirs.embed_utterance(loud), abs=2e-5), seconds
        assert float(np.linalg.norm(found)) == pytest.approx(1, abs=1e-5)


def test_readers_are_told_apart(shared_data: Callable[[str], Path]) -> None:
    """Real speech, two pieces each of three readers: what is one person's lies above what is two people's."""
    if importlib.util.find_spec("resemblyzer") is None:
        pytest.skip("Resemblyzer is not installed (pip install --no-deps Resemblyzer==0.1.4)")
    encoder = SpeakerEncoder()
    encoder.load_state_dict(read_speaker_encoder().state)
    files = sorted(shared_data("librispeech").glob("*.ogg"))
    pieces = [piece[:48_000] for file in files for piece in torch.tensor_split(read_audio(file).waveform, 2)]
    with torch.no_grad():
        vectors = torch.cat([encoder(piece[None]) for piece in pieces])
    cosines = vectors @ vectors.T
    own = [float(cosines[i, i + 1]) for i in range(0, len(pieces), 2)]
    others = [float(cosines[i, j]) for i in range(len(pieces)) for j in range(i) if i // 2 != j // 2]
    assert min(own) > max(others) + 0.05


def test_nothing_of_one_recording_depends_on_another(file: Path) -> None:
    encoder = FrozenDVector(DVectorConfig(str(file))).encoder
    both = torch.stack([voice(2.5), voice(2.5, seed=1, level=1e-3)])
    with torch.no_grad():
        together, alone = encoder(both), torch.cat([encoder(both[:1]), encoder(both[1:])])
        silent = encoder(torch.zeros(1, 8_000))
    assert together.numpy() == pytest.approx(alone.numpy(), abs=1e-6)
    assert torch.isfinite(silent).all()


def test_gradient_is_that_of_finite_differences(file: Path) -> None:
    network = FrozenDVector(DVectorConfig(str(file))).double().eval()
    waveform = voice(2.5, level=0.1).double()[None].requires_grad_()
    (gradient,) = torch.autograd.grad(network(waveform).sum(), waveform)
    generator = torch.Generator().manual_seed(1)
    for _ in range(2):
        direction = torch.randn(waveform.shape, generator=generator, dtype=torch.float64)
        step = 1e-7 * direction
        with torch.no_grad():
            by_steps = float((network(waveform + step) - network(waveform - step)).sum()) / 2e-7
        assert float((gradient * direction).sum()) == pytest.approx(by_steps, rel=1e-4, abs=1e-7)


def made(file: Path, **options: Any) -> Classifier:
    torch.manual_seed(3)
    return Classifier(build("dvector", STFT, encoder=str(file), **options), STFT).eval()


def test_a_bundle_stores_the_head_and_finds_its_encoder(file: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.pt"
    own.write_bytes(file.read_bytes())
    classifier = made(own)
    config = BundleConfig(
        name="d",
        architecture="dvector",
        options={"encoder": str(own)},
        stft=StftSettings(**asdict(STFT)),
        classes=("HC", "PD"),
    )
    save_bundle(tmp_path / "d", config, dict.fromkeys(("final", "fold0", "fold1"), classifier), "card")
    assert (tmp_path / "d" / "weights.safetensors").stat().st_size < 20_000
    spec = spectrogram(voice()[None], STFT)
    assert torch.equal(predict(load_bundle(tmp_path / "d").classifier(None), spec), predict(classifier, spec))
    content = torch.load(own, weights_only=True)
    content["model_state"]["linear.bias"][0] += 1
    torch.save(content, own)
    with pytest.raises(SpeechXAIError, match="trained on another speaker encoder"):
        load_bundle(tmp_path / "d").classifier(None)


def test_a_head_learns_and_is_explained(file: Path) -> None:
    """A tone against noise, told from people who were not heard; and its twin with other weights."""
    rng = np.random.default_rng(0)
    recordings = []
    for i in range(16):
        tone = torch.sin(2 * torch.pi * float(rng.uniform(900, 1_100)) * torch.arange(20_000) / 16_000)
        hiss = torch.from_numpy(rng.normal(size=20_000).astype(np.float32))
        recordings.append(Recording(0.1 * (tone if i % 2 else hiss), 16_000, f"r{i}", f"s{i}", i % 2))
    classifier = made(file)
    classifier.backbone.fit_recordings(recordings[:12], seed=0)  # type: ignore[union-attr,operator]
    spec = spectrogram(torch.stack([each.waveform for each in recordings[12:]]), STFT)
    assert predict(classifier, spec).argmax(dim=1).tolist() == [0, 1, 0, 1]
    found = explain_all(classifier, spec, ("saliency", "gradcam"), 1)
    assert set(found) == {"saliency"}
    assert all(float(one.values.abs().amax(dim=(1, 2)).min()) > 0 for one in found.values())
    weights = [
        made(file, **options).get_parameter("backbone.network.encoder.linear.weight")
        for options in ({}, {"random": True}, {"random": True}, {"random": True, "seed": 1})
    ]
    assert torch.equal(weights[1], weights[2])
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[3])
    assert plan_of({"backbone": "dvector", "options": {"encoder": str(file)}, "out": "m"}).backbone == "dvector"


def test_a_score_is_learned_on_d_vectors(file: Path) -> None:
    rng = np.random.default_rng(0)
    recordings = []
    for i in range(20):
        points = float(rng.uniform(0, 100))
        tone = np.sin(2 * np.pi * 1_000 * np.arange(20_000) / 16_000) + 0.02 * points * rng.normal(size=20_000)
        wave = torch.from_numpy((0.05 * tone).astype(np.float32))
        recordings.append(Recording(wave, 16_000, f"r{i}", f"s{i}", None, "vowel-a", {"points": points}))
    torch.manual_seed(3)
    network = build("dvector", STFT, encoder=str(file), n_classes=1)
    classifier = Classifier(network, STFT, class_names=("points",), unit="points").eval()
    fit(classifier, recordings[:10], recordings[10:14], FitConfig(seed=0))
    said = recording_logits(classifier, recordings[14:])[:, 0].numpy()
    truth = np.array([recording.metadata["points"] for recording in recordings[14:]])
    fitted = np.mean([recording.metadata["points"] for recording in recordings[:14]])
    assert np.abs(said - truth).mean() < 0.6 * np.abs(truth - fitted).mean()


def test_the_benchmark_makes_it_and_its_twin() -> None:
    if importlib.util.find_spec("resemblyzer") is None:
        pytest.skip("Resemblyzer is not installed (pip install --no-deps Resemblyzer==0.1.4)")
    trained, twin = open_network("dvector"), open_network("dvector-random")
    assert trained.identity == twin.identity == EMBEDDED_SHA256
    name = "backbone.network.encoder.lstm.weight_hh_l2"
    weights = [network.make(seed).get_parameter(name) for network in (trained, twin) for seed in (0, 1)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[2], weights[3])


def test_what_is_no_encoder_is_one_line(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content in (
        ("text.pt", b"no weights"),
        ("empty.pt", b""),
        ("cut.pt", file.read_bytes()[:5_000]),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SpeechXAIError, match=rf"{name}: no checkpoint of a d-vector encoder"):
            read_speaker_encoder(tmp_path / name)
    state = {**torch.load(file, weights_only=True)["model_state"], "linear.bias": torch.zeros(3)}
    for other, said in (
        ({"weights": 1}, "no checkpoint"),
        ({"model_state": {}}, "no checkpoint"),
        ({"model_state": state}, r"'linear\.bias' .* has the shape \(256,\)\. Got \(3,\)"),
    ):
        torch.save(other, tmp_path / "other.pt")
        with pytest.raises(SpeechXAIError, match=said):
            read_speaker_encoder(tmp_path / "other.pt")
    with pytest.raises(SpeechXAIError, match=r"no such file of a speaker encoder\. Get one: pip install --no-deps"):
        read_speaker_encoder(tmp_path / "nothing.pt")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SpeechXAIError, match="'resemblyzer' is not installed: pip install --no-deps"):
        read_speaker_encoder()
    with pytest.raises(SpeechXAIError, match="hears 16000 Hz"):
        build("dvector", StftConfig(sample_rate=8_000), encoder=str(file))
    with pytest.raises(SpeechXAIError, match="tells two classes apart"):
        DVectorConfig(n_classes=3)
