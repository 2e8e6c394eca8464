"""The published protocol against a second writing of it: the published network built in Hugging Face's library from its
description, the loader from librosa, the maps from captum, and every cell of the tables by loops.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

os.environ.setdefault("HF_HUB_OFFLINE", "1")
transformers = pytest.importorskip("transformers")

import soundfile  # noqa: E402

from speechxai.classifiers.imports import classifier_of, ssl4pr  # noqa: E402
from speechxai.evaluation.config import PublishedConfig  # noqa: E402
from speechxai.evaluation.values import EvaluateSettings, Job  # noqa: E402
from speechxai.mancini2025.study import batch_maxima  # noqa: E402
from speechxai.mancini2025.unit import clip, heard, networks, published_unit  # noqa: E402
from speechxai.signal.audio import read_audio  # noqa: E402
from speechxai.signal.stft import waveform  # noqa: E402
from tests.oracle.test_huggingface import foundation, head_state, write_fold  # noqa: E402

N_FFT, WINDOW, HOP = 1024, round(16 * 23.2199), round(16 * 11.6099)
LOOP = ("saliency", "guided_backprop", "integrated_gradients", "gradient_shap", "smoothgrad", "guided_gradcam")


class Pooling(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        return (self.linear(tokens).softmax(dim=1) * tokens).sum(dim=1)


class Published(nn.Module):
    """Log magnitude and phase (B, T, F) to P(PD) (B, 1): HuBERT on the inverse transform, a softmax-weighted sum of
    LayerNorms of all hidden states, attention pooling, two hidden layers with ReLU, a sigmoid."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        inner = {n.removeprefix("ssl_model."): v for n, v in state.items() if n.startswith("ssl_model.")}
        convolution = [v for n, v in sorted(inner.items()) if n.endswith("conv.weight") and "extractor" in n]
        width = state["layer_norms.0.weight"].shape[0]
        position = next(v for n, v in inner.items() if n.endswith("weight.original1") or n.endswith("weight_v"))
        layers = len(state["layer_weights"]) - 1
        config = transformers.HubertConfig(
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=width // 64,
            intermediate_size=inner["encoder.layers.0.feed_forward.intermediate_dense.weight"].shape[0],
            conv_dim=[v.shape[0] for v in convolution],
            num_conv_pos_embeddings=position.shape[2],
            num_conv_pos_embedding_groups=width // position.shape[1],
        )
        self.ssl = transformers.HubertModel(config)
        self.ssl.load_state_dict(
            {**{n: v for n, v in self.ssl.state_dict().items() if n == "masked_spec_embed"}, **inner}
        )
        self.layer_weights = nn.Parameter(torch.zeros(layers + 1))
        self.layer_norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(layers + 1)])
        self.pooling = Pooling(width)
        hidden = state["classifier.layer_0.weight"].shape[0]
        self.classifier = nn.Sequential(
            nn.Linear(width, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 1),
            nn.Sigmoid(),
        )
        places = {"layer_0": "0", "layer_1": "2", "final_layer": "4"}
        own = {}
        for name, value in state.items():
            if not name.startswith("ssl_model."):
                name = name.replace("pooling_layer.attention_pooling_head", "pooling")
                for theirs, ours in places.items():
                    name = name.replace(f"classifier.{theirs}.", f"classifier.{ours}.")
                own[name] = value
        missing, unexpected = self.load_state_dict(own, strict=False)
        assert not unexpected
        assert all(name.startswith("ssl.") for name in missing)
        self.eval()

    def forward(self, magnitude: Tensor, phase: Tensor, mask: Tensor | None = None) -> Tensor:
        linear = (magnitude if mask is None else magnitude * mask).expm1()
        spectrum = torch.complex(linear * phase.cos(), linear * phase.sin()).transpose(1, 2)
        window = torch.hamming_window(WINDOW, dtype=linear.dtype)
        sound = torch.istft(spectrum, N_FFT, HOP, WINDOW, window, center=True)
        output = self.ssl(sound, output_hidden_states=True)
        states = [*output.hidden_states[:-1], output.last_hidden_state]
        share = self.layer_weights.softmax(dim=0)
        tokens = torch.zeros_like(states[0])
        for weight, norm, state in zip(share, self.layer_norms, states, strict=True):
            tokens = tokens + weight * norm(state)
        return self.classifier(self.pooling(tokens))


def loaded(path: Path, clip_s: float) -> Tensor:
    """A file as the published loader gives it: librosa at 16 kHz, divided by its peak, repeated or cut, (N,)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # librosa's other reader loads modules of the past
        import librosa

        samples, _ = librosa.load(path, sr=16_000)
    samples = samples / np.max(np.abs(samples))
    n_samples = round(16_000 * clip_s)
    while len(samples) < n_samples:
        samples = np.concatenate([samples, samples[: n_samples - len(samples)]])
    return torch.from_numpy(samples[:n_samples])


def transformed(sounds: Tensor) -> tuple[Tensor, Tensor]:
    """Log magnitude and phase (B, T, F) of sounds (B, N), as SpeechBrain computes them."""
    window = torch.hamming_window(WINDOW)
    spectrum = torch.stft(
        sounds, N_FFT, HOP, WINDOW, window, center=True, pad_mode="constant", return_complex=True
    ).transpose(1, 2)
    squared = spectrum.real.square() + spectrum.imag.square()
    return (squared + 1e-14).sqrt().log1p(), torch.atan2(spectrum.imag, spectrum.real)


def captum_maps(network: Published, magnitude: Tensor, phase: Tensor) -> dict[str, Tensor]:
    """The three published maps without chance, of one batch (B, T, F), each divided by the batch's maximum."""
    from captum.attr import GuidedBackprop, IntegratedGradients, Saliency

    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found["saliency"] = Saliency(network).attribute(magnitude, additional_forward_args=phase)
        found["guided_backprop"] = GuidedBackprop(network).attribute(magnitude, additional_forward_args=phase)
        network.double()
        found["integrated_gradients"] = IntegratedGradients(network).attribute(
            magnitude.double(), additional_forward_args=phase.double(), n_steps=5
        )
        network.float()
    return {name: (values.abs().float() / values.abs().float().max()).detach() for name, values in found.items()}


def gini(values: np.ndarray) -> float:
    """Gini index of a map by its maximum, as Quantus computes it; NaN for an empty one."""
    if values.max() == 0:
        return float("nan")
    flat = np.sort((np.abs(values) / np.abs(values).max()).ravel().astype(float) + 1e-7)
    n = len(flat)
    return float(np.dot(2 * np.arange(1, n + 1) - n - 1, flat) / (n * flat.sum()))


def entropy(values: np.ndarray) -> float:
    """Entropy of a map's mass, nats; NaN for an empty one."""
    if values.max() == 0:
        return float("nan")
    shares = (np.abs(values) / np.abs(values).sum()).ravel().astype(float)
    shares = shares[shares > 0]
    return -float(np.dot(shares, np.log(shares)))


Batch = tuple[Tensor, Tensor]


@torch.no_grad()
def cells_of_fold(
    network: Published, batches: list[Batch], maps: dict[str, list[Tensor]]
) -> dict[tuple[str, str], float]:
    """Every cell of one fold: (recipe, metric) and (first | second, iou), AI, AD and AG in percent.

    Args:
        network: of the fold.
        batches: log magnitude and phase (B, T, F), in order.
        maps: raw map (T, F) of every recording, by method.
    """
    scaled = {}
    for name in LOOP:
        scaled[name], first = [], 0
        for magnitude, _ in batches:
            own = [maps[name][i].abs() for i in range(first, first + len(magnitude))]
            top = max(float(each.max()) for each in own)
            scaled[name] += [each / top for each in own]
            first += len(magnitude)
    masks = dict(scaled)
    found: dict[tuple[str, str], float] = {}
    for one, two in combinations(LOOP, 2):
        both = either = 0
        for a, b in zip(scaled[one], scaled[two], strict=True):
            level = 0.4 * a.max()
            both += int(((a >= level) & (b >= level)).sum())
            either += int(((a >= level) | (b >= level)).sum())
        found[f"{one} | {two}", "iou"] = both / either
        for kind in ("union", "intersection"):
            joined = [a + b if kind == "union" else a * b for a, b in zip(scaled[one], scaled[two], strict=True)]
            top = max(float(each.max()) for each in joined)
            masks[f"{kind}({one}, {two})"] = [each / top for each in joined]
    for recipe, own in masks.items():
        original, kept, removed, first = [], [], [], 0
        for magnitude, phase in batches:
            mask = torch.stack(own[first : first + len(magnitude)])
            original += network(magnitude, phase)[:, 0].tolist()
            kept += network(magnitude, phase, mask)[:, 0].tolist()
            removed += network(magnitude, phase, 1 - mask)[:, 0].tolist()
            first += len(magnitude)
        n = len(original)
        rows = list(zip(original, kept, removed, strict=True))
        found[recipe, "average_increase"] = 100 * sum(p < o for p, o, _ in rows) / n
        found[recipe, "average_drop"] = 100 * sum(max(0, p - o) / (p + 1e-10) for p, o, _ in rows) / n
        found[recipe, "average_gain"] = 100 * sum(max(0, o - p) / (1 - p + 1e-10) for p, o, _ in rows) / n
        found[recipe, "faithfulness"] = sum(p - r if p > 0.5 else r - p for p, _, r in rows) / n
        found[recipe, "input_fidelity"] = sum((o > 0.5) == (p > 0.5) for o in kept for p in original) / n
        found[recipe, "sparseness"] = float(np.nanmean([gini(each.numpy()) for each in own]))
        found[recipe, "complexity"] = float(np.nanmean([entropy(each.numpy()) for each in own]))
        found[recipe, "mean_mask"] = sum(float(each.mean()) for each in own) / n
    return found


SMALL = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 1,
    "intermediate_size": 96,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "vocab_size": 8,
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fold of SSL4PR with random weights, as published code saves it."""
    model, head = foundation("hubert", seed=5, **SMALL), head_state(3, 64, seed=5)
    return write_fold(tmp_path_factory.mktemp("published") / "fold_1.pt", model, head)


def voices(folder: Path) -> list[Path]:
    """Recordings as people have them: another rate, two channels, quiet, with an offset, short and long."""
    random = np.random.default_rng(0)

    def voice(rate_hz: int, n_samples: int, level: float) -> np.ndarray:
        time = np.arange(n_samples) / rate_hz
        tone = sum(np.sin(2 * np.pi * 130 * k * time) / k for k in range(1, 30))
        return level * (0.3 * tone * (1 + 0.5 * np.sin(3 * time)) + 0.02 * random.standard_normal(n_samples))

    sounds = {
        "short.wav": (44_100, voice(44_100, 73_217, 0.06)),  # 26,564.0 samples at 16 kHz, rounded up
        "long.wav": (16_000, voice(16_000, 171_000, 0.2) + 0.01),
        "two.wav": (22_050, np.stack([voice(22_050, 100_003, 0.5), voice(22_050, 100_003, 0.1)], axis=1)),
        "exact.wav": (16_000, voice(16_000, 160_000, 1.0)),
    }
    for name, (rate_hz, samples) in sounds.items():
        soundfile.write(folder / name, samples, rate_hz, "FLOAT")
    return [folder / name for name in sounds]


def job_of(path: Path, checkpoint: Path) -> Job:
    recording = read_audio(path, sample_rate=16_000, normalize="none", offset="kept")
    return Job(recording, classifier_of(ssl4pr(checkpoint)), {})


def test_the_same_samples_are_heard(checkpoint: Path, tmp_path: Path) -> None:
    settings = EvaluateSettings(("saliency",), ("faithfulness",), protocol="mancini2025")
    for path in voices(tmp_path):
        magnitude, phase = transformed(loaded(path, 10.0)[None])
        spec = heard(job_of(path, checkpoint), settings)
        assert magnitude.shape == (1, 861, 513)
        assert spec.n_samples == 159_960
        torch.testing.assert_close(spec.magnitude, magnitude.transpose(1, 2), atol=2e-6, rtol=0)
        window = torch.hamming_window(WINDOW)
        spectrum = torch.polar(magnitude.expm1(), phase).transpose(1, 2)
        sound = torch.istft(spectrum, N_FFT, HOP, WINDOW, window, center=True)
        assert sound.shape == (1, 159_960)
        torch.testing.assert_close(waveform(spec), sound, atol=2e-6, rtol=0)
        assert sound.abs().max() == pytest.approx(1.0, abs=1e-4)
    other = clip(job_of(tmp_path / "short.wav", checkpoint).recording, spec.stft, replace(settings, level="none"))
    assert waveform(other).abs().max() < 0.1


def test_answers_and_maps_equal_the_published_network(checkpoint: Path, tmp_path: Path) -> None:
    network = Published(torch.load(checkpoint, weights_only=True))
    recipes = ("saliency", "guided_backprop", "integrated_gradients")
    settings = EvaluateSettings(recipes, ("faithfulness",), protocol="mancini2025", keep_maps=True)
    for path in voices(tmp_path)[:2]:
        magnitude, phase = transformed(loaded(path, 10.0)[None])
        expected = captum_maps(network, magnitude, phase)
        job = job_of(path, checkpoint)
        result = published_unit(job, settings, [])
        with torch.no_grad():
            assert result.facts["p_PD"] == pytest.approx(float(network(magnitude, phase)), abs=1e-5)
        assert result.facts["n_frames"] == 861
        assert result.facts["integrated_gradients_in"] == "float64"
        for name, values in expected.items():
            ours = torch.from_numpy(result.maps[name])
            torch.testing.assert_close(ours, values[0].T, atol=1e-4, rtol=0)
            assert ours.max() == 1
    assert job.model.segment is None or networks(job, settings)[0].segment is None


def random_maps(network: Published, magnitude: Tensor, phase: Tensor) -> dict[str, Tensor]:
    """The two published maps with chance of one batch, raw: captum's GradientSHAP, baselines `randn_like` the batch,
    and its SmoothGrad of the gradient's size, 10 draws."""
    from captum.attr import GradientShap, NoiseTunnel, Saliency

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        shap = GradientShap(network).attribute(
            magnitude, baselines=torch.randn_like(magnitude), additional_forward_args=phase
        )
        smooth = NoiseTunnel(Saliency(network)).attribute(
            magnitude, nt_type="smoothgrad", nt_samples=10, additional_forward_args=phase
        )
    return {"gradient_shap": shap.detach().abs(), "smoothgrad": smooth.detach().abs()}


def test_a_batch_of_two_whole_clips_equals_captum(checkpoint: Path, tmp_path: Path) -> None:
    # from two files to the masks that the published code scores: 10 s each, explained together, divided by one maximum
    network = Published(torch.load(checkpoint, weights_only=True))
    settings = EvaluateSettings(
        ("saliency", "guided_backprop", "integrated_gradients"),
        ("faithfulness",),
        protocol="mancini2025",
        keep_maps=True,
    )
    paths = voices(tmp_path)[:2]
    expected = captum_maps(network, *transformed(torch.stack([loaded(path, 10.0) for path in paths])))
    units = {path.stem: published_unit(job_of(path, checkpoint), settings, []) for path in paths}
    units = {name: replace(unit, facts={**unit.facts, "fold": "0"}) for name, unit in units.items()}
    session: Any = SimpleNamespace(
        recordings=list(units), manifest={}, settings=settings, config=SimpleNamespace(published=PublishedConfig())
    )
    shares = batch_maxima(session, SimpleNamespace(), units)  # type: ignore[arg-type]
    lower = []
    for name, values in expected.items():
        for (recording, unit), theirs in zip(units.items(), values, strict=True):
            ours = shares[recording]["shares"][name] * torch.from_numpy(unit.maps[name])
            torch.testing.assert_close(ours, theirs.T, atol=1e-4, rtol=0)
        lower.append(float(min(values[0].max(), values[1].max())))
    assert max(lower) < 0.99  # the batch's maximum is not each recording's own


def test_maps_of_chance_have_the_published_distribution(checkpoint: Path, tmp_path: Path) -> None:
    network = Published(torch.load(checkpoint, weights_only=True))
    names = ("gradient_shap", "smoothgrad")
    path, clip_s, n = voices(tmp_path)[0], 0.3, 80
    settings = EvaluateSettings(names, ("faithfulness",), protocol="mancini2025", keep_maps=True, clip_s=clip_s)
    torch.manual_seed(1)
    batch = transformed(loaded(path, clip_s)[None].repeat(2, 1))
    theirs = [random_maps(network, *batch) for _ in range(n)]
    ours = []
    for seed in range(n):
        unit = published_unit(job_of(path, checkpoint), replace(settings, seed=seed), [])
        ours.append({name: torch.from_numpy(unit.maps[name]) * unit.facts[f"top_{name}"] for name in names})
    for name in names:
        # of one recording each: the size of a whole map, its largest value, and where it lies on average
        a = torch.stack([draw[name][0].T for draw in theirs])
        b = torch.stack([draw[name] for draw in ours])
        for statistic in (lambda maps: maps.mean((1, 2)).log(), lambda maps: maps.amax((1, 2)).log()):
            one, two = statistic(a), statistic(b)
            error = (one.var() / n + two.var() / n).sqrt()
            assert abs(one.mean() - two.mean()) < 3 * error, (name, one.mean(), two.mean(), error)
            assert 0.6 < one.std() / two.std() < 1.7
        assert torch.corrcoef(torch.stack([a.mean(0).flatten(), b.mean(0).flatten()]))[0, 1] > 0.9, name
