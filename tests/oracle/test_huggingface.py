"""Our speech networks against Hugging Face's implementation, and their head against a second writing of the paper's
formula."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

os.environ.setdefault("HF_HUB_OFFLINE", "1")
transformers = pytest.importorskip("transformers")

from speechxai.classifiers import imports  # noqa: E402
from speechxai.errors import SpeechXAIError  # noqa: E402
from speechxai.signal.stft import spectrogram  # noqa: E402

LENGTHS = (400, 4_001, 16_000, 24_571)
SMALL = {
    "hidden_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 160,
    "conv_dim": (32,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "vocab_size": 8,
}
NORM_FIRST = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
FAMILIES = {
    "hubert": ("HubertConfig", "HubertModel"),
    "wav2vec2": ("Wav2Vec2Config", "Wav2Vec2Model"),
    "wavlm": ("WavLMConfig", "WavLMModel"),
}


def foundation(family: str, seed: int = 0, **config: Any) -> nn.Module:
    """A random Hugging Face network whose norms, biases and position tables are random too, so that none can hide."""
    torch.manual_seed(seed)
    config_class, model_class = (getattr(transformers, name) for name in FAMILIES[family])
    model: nn.Module = getattr(transformers, model_class.__name__)(config_class(**config)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def head_state(n_layers: int, width: int, seed: int, hidden: int = 24) -> dict[str, Tensor]:
    """Random weights of SSL4PR's head under its published names."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        "layer_weights": (n_layers,),
        **{f"layer_norms.{i}.{kind}": (width,) for i in range(n_layers) for kind in ("weight", "bias")},
        "pooling_layer.attention_pooling_head.linear.weight": (1, width),
        "pooling_layer.attention_pooling_head.linear.bias": (1,),
        "classifier.layer_0.weight": (hidden, width),
        "classifier.layer_0.bias": (hidden,),
        "classifier.layer_1.weight": (hidden, hidden),
        "classifier.layer_1.bias": (hidden,),
        "classifier.final_layer.weight": (1, hidden),
        "classifier.final_layer.bias": (1,),
    }
    return {name: torch.randn(shape, generator=generator) / max(1, shape[-1]) ** 0.5 for name, shape in shapes.items()}


@torch.no_grad()
def published_probability(model: nn.Module, head: dict[str, Tensor], waveform: Tensor) -> Tensor:
    """SSL4PR's P(PD), written token by token from the paper on Hugging Face's hidden states."""
    output = model(waveform, output_hidden_states=True)
    # Version 4 ends the list with the normalized last layer, version 5 without that norm: both give it as
    # last_hidden_state.
    states = [*output.hidden_states[:-1], output.last_hidden_state]
    share = torch.exp(head["layer_weights"]) / torch.exp(head["layer_weights"]).sum()
    result = []
    for row in range(len(waveform)):
        tokens = torch.zeros_like(states[0][row])
        for index, state in enumerate(states):
            values = state[row]
            mean = values.mean(-1, keepdim=True)
            deviation = ((values - mean).pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()
            normed = (values - mean) / deviation * head[f"layer_norms.{index}.weight"] + head[
                f"layer_norms.{index}.bias"
            ]
            tokens = tokens + share[index] * normed
        name = "pooling_layer.attention_pooling_head.linear"
        score = tokens @ head[f"{name}.weight"][0] + head[f"{name}.bias"]
        pooled = (score.softmax(0)[:, None] * tokens).sum(0)
        for layer in ("layer_0", "layer_1"):
            pooled = (head[f"classifier.{layer}.weight"] @ pooled + head[f"classifier.{layer}.bias"]).clamp(min=0)
        result.append(
            torch.sigmoid(head["classifier.final_layer.weight"] @ pooled + head["classifier.final_layer.bias"])
        )
    return torch.cat(result)


def weight_norm_spelling(state: dict[str, Tensor], old: bool) -> dict[str, Tensor]:
    pairs = (("parametrizations.weight.original0", "weight_g"), ("parametrizations.weight.original1", "weight_v"))
    renamed = {}
    for name, value in state.items():
        for parametrized, plain in pairs:
            name = name.replace(parametrized, plain) if old else name.replace(plain, parametrized)
        renamed[name] = value
    return renamed


def write_fold(path: Path, model: nn.Module, head: dict[str, Tensor], old: bool = True, prefix: str = "") -> Path:
    state = {f"ssl_model.{name}": value for name, value in weight_norm_spelling(model.state_dict(), old).items()}
    torch.save({f"{prefix}{name}": value for name, value in (state | head).items()}, path)
    return path


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_hidden_states_and_attention_equal_huggingface(family: str, norm_first: bool, tmp_path: Path) -> None:
    model = foundation(family, **SMALL, **(NORM_FIRST if norm_first else {}), attn_implementation="eager")
    model.save_pretrained(tmp_path / "model")
    imported = imports.pretrained(tmp_path / "model")
    assert imported.options["normalize"] is norm_first
    network = imported.backbone(normalize=False, hidden_size=8).network
    for n_samples in LENGTHS:
        waveform = torch.randn(2, n_samples, generator=torch.Generator().manual_seed(n_samples))
        with torch.no_grad():
            theirs = model(waveform, output_hidden_states=True, output_attentions=True)
            ours = network.hidden_states(waveform)
        assert len(ours) == SMALL["num_hidden_layers"] + 1 == len(theirs.hidden_states)
        for a, b in zip(ours, [*theirs.hidden_states[:-1], theirs.last_hidden_state], strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
        attention = network.attention_maps(waveform).layers
        for a, b in zip(attention, theirs.attentions, strict=True):
            torch.testing.assert_close(a, b.mean(dim=1), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("old", "prefix"), [(True, ""), (False, ""), (True, "module.")])
@pytest.mark.parametrize("family", ["hubert", "wavlm"])
def test_ssl4pr_fold_equals_published_formula(family: str, old: bool, prefix: str, tmp_path: Path) -> None:
    model, head = foundation(family, **SMALL), head_state(4, 128, seed=1)
    classifier = imports.classifier_of(imports.ssl4pr(write_fold(tmp_path / "fold_3.pt", model, head, old, prefix)))
    network = classifier.backbone.network
    for n_samples in LENGTHS:
        waveform = torch.randn(2, n_samples, generator=torch.Generator().manual_seed(n_samples))
        expected = published_probability(model, head, waveform)
        with torch.no_grad():
            logit = network(waveform)
        assert logit.shape == (2, 1)
        torch.testing.assert_close(logit[:, 0], torch.logit(expected.double()).float(), atol=1e-4, rtol=1e-4)
    # Whole walk: magnitude and phase of an exact multiple of the hop give back the waveform, so the same probability.
    waveform = 0.1 * torch.randn(1, 186 * 60, generator=torch.Generator().manual_seed(5))
    spec = spectrogram(waveform)
    probability = classifier(spec.magnitude, spec.phase).softmax(-1)[:, 1]
    torch.testing.assert_close(probability, published_probability(model, head, waveform), atol=1e-4, rtol=0)


def test_norm_first_fold_with_its_config(tmp_path: Path) -> None:
    model, head = foundation("hubert", **SMALL, **NORM_FIRST), head_state(4, 128, seed=2)
    model.save_pretrained(tmp_path / "model")
    path = write_fold(tmp_path / "fold_1.pt", model, head)
    waveform = torch.randn(1, 6_000, generator=torch.Generator().manual_seed(3))
    expected = torch.logit(published_probability(model, head, waveform))
    for config in (None, tmp_path / "model"):
        network = imports.ssl4pr(path, config).backbone().network
        torch.testing.assert_close(network(waveform)[:, 0], expected, atol=1e-4, rtol=1e-4)


def test_normalization_equals_the_feature_extractor(tmp_path: Path) -> None:
    model = foundation("wav2vec2", **SMALL)
    model.save_pretrained(tmp_path)
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)
    extractor.save_pretrained(tmp_path)
    imported = imports.pretrained(tmp_path)
    assert imported.options["normalize"] is True
    network = imported.backbone(hidden_size=8).network
    waveforms = torch.stack([0.01 * torch.randn(8_000) + 0.3, 2.0 * torch.randn(8_000)])
    prepared = extractor([row.numpy() for row in waveforms], sampling_rate=16_000, return_tensors="pt").input_values
    with torch.no_grad():
        torch.testing.assert_close(
            network.hidden_states(waveforms)[-1], model(prepared).last_hidden_state, atol=1e-4, rtol=1e-4
        )


def test_checkpoint_with_pretraining_heads(tmp_path: Path) -> None:
    config = transformers.Wav2Vec2Config(**SMALL, codevector_dim=8, proj_codevector_dim=8)
    model = transformers.Wav2Vec2ForPreTraining(config).eval()
    model.save_pretrained(tmp_path)
    network = imports.pretrained(tmp_path).backbone(hidden_size=8, normalize=False).network
    waveform = torch.randn(1, 5_000)
    with torch.no_grad():
        torch.testing.assert_close(
            network.hidden_states(waveform)[-1], model.wav2vec2(waveform).last_hidden_state, atol=1e-4, rtol=1e-4
        )


def test_other_heads_are_refused_by_name(tmp_path: Path) -> None:
    model = transformers.HubertForSequenceClassification(transformers.HubertConfig(**SMALL, num_labels=2))
    model.save_pretrained(tmp_path)
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"/model\.safetensors: 4 weights have no place in an ssl network: classifier\.bias, "
            r"classifier\.weight, projector\.bias, projector\.weight\.$"
        ),
    ):
        imports.pretrained(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_base_size_equals_huggingface(family: str, tmp_path: Path) -> None:
    model, head = foundation(family, seed=4), head_state(13, 768, seed=4, hidden=768)
    classifier = imports.classifier_of(imports.ssl4pr(write_fold(tmp_path / "fold_1.pt", model, head)))
    model.save_pretrained(tmp_path / "model")
    network = imports.pretrained(tmp_path / "model").backbone(normalize=False).network
    for n_samples in (8_000, 33_333):
        waveform = torch.randn(1, n_samples, generator=torch.Generator().manual_seed(n_samples))
        with torch.no_grad():
            torch.testing.assert_close(
                classifier.backbone.network(waveform)[:, 0],
                torch.logit(published_probability(model, head, waveform).double()).float(),
                atol=1e-4,
                rtol=1e-4,
            )
            torch.testing.assert_close(
                network.hidden_states(waveform)[-1], model(waveform).last_hidden_state, atol=1e-4, rtol=1e-4
            )
