"""Sanity checks: they leave the network alone, agree with slow rules, and fail what is deliberately broken."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from speechxai.errors import SpeechXAIError
from speechxai.explain.explain import explain
from speechxai.explain.gradient import input_x_gradient
from speechxai.metrics import METRICS, Case
from speechxai.metrics.robustness import (
    changed_recording,
    input_invariance,
    layers,
    neighbor,
    randomization_curve,
    randomized,
    relative_change,
    sensitivity,
    ssim,
)
from speechxai.planted.sanity import LIMITS, check, failed_checks, seed_stability_of
from speechxai.signal.stft import spectrogram, waveform
from speechxai.testing import TINY_STFT, tiny_classifier
from speechxai.types import Attribution, Spectrogram


@pytest.fixture(scope="module")
def spec() -> Spectrogram:
    time = torch.arange(6_400) / 8_000
    tone = sum(torch.sin(2 * torch.pi * 140 * k * time) / k for k in range(1, 12))
    noise = torch.randn(6_400, generator=torch.Generator().manual_seed(0))
    return spectrogram((tone * (0.5 + 0.4 * torch.sin(2 * torch.pi * 5 * time)) + 0.02 * noise)[None] / 4, TINY_STFT)


TARGET = torch.ones(1, dtype=torch.int64)


def test_noise_is_a_share_of_each_recordings_own_largest_magnitude(spec: Spectrogram) -> None:
    loud = Spectrogram(10 * spec.magnitude, spec.phase, spec.n_samples, spec.stft)
    both = Spectrogram(
        torch.cat([spec.magnitude, loud.magnitude]), spec.phase.repeat(2, 1, 1), spec.n_samples, spec.stft
    )
    near = neighbor(both, 0.02, 3).magnitude
    torch.testing.assert_close(near[:1], neighbor(spec, 0.02, 3).magnitude)
    torch.testing.assert_close(near[1:], neighbor(loud, 0.02, 3).magnitude)
    assert 0 < float((near[0] - spec.magnitude[0]).abs().max()) <= 0.02 * float(spec.magnitude.max())


def saliency(model: nn.Module, spec: Spectrogram, seed: int = 0) -> Tensor:
    return explain(model, spec, "saliency", 1).values


def blob(model: nn.Module, spec: Spectrogram, seed: int = 0) -> Tensor:
    """The middle of every recording, whatever it holds."""
    n_bins, n_frames = spec.magnitude.shape[1:]
    f, t = torch.linspace(-1, 1, n_bins)[:, None], torch.linspace(-1, 1, n_frames)[None]
    return torch.exp(-4 * (f**2 + t**2)).expand_as(spec.magnitude).clone()


def edges(model: nn.Module, spec: Spectrogram, seed: int = 0) -> Tensor:
    return explain(model, spec, "edge_map", 1).values


def ignores_the_model(model: nn.Module, spec: Spectrogram, seed: int = 0) -> Tensor:
    return spec.magnitude.clone()


def dice(model: nn.Module, spec: Spectrogram, seed: int = 0) -> Tensor:
    """Another map with every seed."""
    return torch.rand(spec.magnitude.shape, generator=torch.Generator().manual_seed(seed))


METHODS = {"saliency": saliency, "blob": blob, "edges": edges, "ignores_the_model": ignores_the_model, "dice": dice}


def test_broken_methods_fail_what_they_should_and_a_sound_one_fails_nothing(spec: Spectrogram) -> None:
    def all_maps(model: nn.Module, spec: Spectrogram, target: int, seed: int) -> dict[str, Attribution]:
        return {name: Attribution(method(model, spec, seed), TARGET, name) for name, method in METHODS.items()}

    model, permuted = tiny_classifier(0), tiny_classifier(5)
    before = copy.deepcopy(model.state_dict())
    truth = torch.zeros(spec.magnitude.shape[1:], dtype=torch.bool)
    truth[20:30, 10:40] = True
    found = check(all_maps, model, spec, truth, [permuted, tiny_classifier(6)], n_stages=2)
    for name, value in seed_stability_of(all_maps, model, spec, 0).items():
        found[name]["seed_stability"] = value
    failed = {name: failed_checks(values, signed=False) for name, values in found.items()}
    ignorant = ["randomized_all", "permuted_labels"]
    assert failed == {
        "saliency": [],
        "blob": ignorant,
        "edges": ignorant,
        "ignores_the_model": ignorant,
        "dice": [*ignorant, "invariance_shift", "seed_stability"],
    }
    of_a_built_network = {"lag_frames", "lag_bins", "evidence_in_box", "energy_outside"}
    assert set(LIMITS) <= set(found["saliency"]) | of_a_built_network
    # maps without a sign cannot tell the classes, and what is asked here does not ask which
    assert found["saliency"]["class_flip"] == pytest.approx(1)
    # a map of energy alone has nothing beyond it
    assert np.isnan(found["ignores_the_model"]["randomized_all_beyond_energy"])
    # the truth is 300 of the bins; who marks the middle marks a share of it, whatever the network
    area = float(truth.double().mean())
    assert -area <= found["blob"]["permuted_relevance_rank"] <= 1 - area
    assert found["edges"]["cascading"] == pytest.approx(1)
    assert found["edges"]["randomized_all_ssim"] == pytest.approx(1)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_stages_randomize_from_the_end_and_alone() -> None:
    model = tiny_classifier(0)
    names = layers(model)[::-1]
    assert names[0] == "backbone.classifier"

    def changed(other: nn.Module) -> set[str]:
        pairs = zip(model.named_parameters(), other.named_parameters(), strict=True)
        return {name.rpartition(".")[0] for (name, a), (_, b) in pairs if not torch.equal(a, b)}

    cascade = [(name, changed(other)) for name, other in randomized(model)]
    assert [name for name, _ in cascade] == names
    assert [touched for _, touched in cascade] == [set(names[: n + 1]) for n in range(len(names))]
    alone = [changed(other) for _, other in randomized(model, "independent")]
    assert alone == [{name} for name in names]
    ((last, whole),) = randomized(model, stages=1)
    assert (last, changed(whole)) == (names[-1], set(names))
    first = next(iter(randomized(model, seed=1)))[1].state_dict()
    assert all(torch.equal(v, first[k]) for k, v in next(iter(randomized(model, seed=1)))[1].state_dict().items())
    with pytest.raises(
        SpeechXAIError,
        match=(r"^The 'mode' parameter must be 'cascading' or 'independent'\. Got 'sideways' instead\.$"),
    ):
        next(randomized(model, "sideways"))  # type: ignore[arg-type]
    with pytest.raises(SpeechXAIError, match=r"^This network has no weights that could be randomized\.$"):
        next(randomized(nn.ReLU()))


def test_the_metric_is_the_whole_cascades_end(spec: Spectrogram) -> None:
    model = tiny_classifier(0)
    attribution = explain(model, spec, "saliency", 1)
    value = METRICS["model_randomization"](Case(model, spec, attribution))

    def again(network: nn.Module, recording: Spectrogram, target: Tensor) -> Tensor:
        return saliency(network, recording)

    curve = randomization_curve(again, model, spec, TARGET, stages=3)
    assert value.item() == pytest.approx(list(curve.values())[-1].item())
    constant = METRICS["model_randomization"](Case(model, spec, explain(model, spec, "edge_map", 1)))
    assert constant.item() == pytest.approx(1)


def slow_ssim(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a / np.abs(a).max(), b / np.abs(b).max()
    offsets = np.arange(-5, 6)
    weight = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
    weight /= weight.sum()
    values = []
    for f, t in itertools.product(range(a.shape[0] - 10), range(a.shape[1] - 10)):
        x, y = a[f : f + 11, t : t + 11], b[f : f + 11, t : t + 11]
        mx, my = (weight * x).sum(), (weight * y).sum()
        vx, vy = (weight * (x - mx) ** 2).sum(), (weight * (y - my) ** 2).sum()
        cov = (weight * (x - mx) * (y - my)).sum()
        values.append((2 * mx * my + 1e-4) * (2 * cov + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4)))
    return float(np.mean(values))


def test_ssim_equals_its_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 14, 16, generator=generator), torch.randn(2, 14, 16, generator=generator)
    got = ssim(a, 0.5 * a + b)
    for row in range(2):
        assert got[row].item() == pytest.approx(slow_ssim(a[row].numpy(), (0.5 * a + b)[row].numpy()), abs=1e-5)
    torch.testing.assert_close(ssim(a, 3 * a), torch.ones(2))
    assert torch.isnan(ssim(a, torch.zeros_like(a))).all()
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^The structural similarity needs two maps of one shape \(B, F, T\) of at least 11 x 11 "
            r"bins\. Got \(2, 8, 16\) and \(2, 8, 16\)\.$"
        ),
    ):
        ssim(a[:, :8], b[:, :8])


def test_sensitivity_is_the_largest_relative_change(spec: Spectrogram) -> None:
    model = tiny_classifier(0)
    values = saliency(model, spec)

    def again(network: nn.Module, recording: Spectrogram, target: Tensor) -> Tensor:
        return saliency(network, recording)

    changes = [relative_change(values, saliency(model, neighbor(spec, 0.02, seed))).item() for seed in range(5)]
    assert len(set(changes)) == 5
    assert sensitivity(again, model, spec, TARGET, values).item() == pytest.approx(max(changes))
    case = Case(model, spec, Attribution(values, TARGET, "saliency"))
    assert METRICS["max_sensitivity"](case).item() == pytest.approx(max(changes))
    # a signed map is scored by its positive part, as its mask is: other numbers, and none of what speaks against
    signed = input_x_gradient(model, spec, TARGET)
    near = [input_x_gradient(model, neighbor(spec, 0.02, seed), TARGET) for seed in range(5)]
    attribution = Attribution(signed, TARGET, "input_x_gradient", signed=True)
    expected = {kind: max(relative_change(signed, n, kind).item() for n in near) for kind in ("positive", "absolute")}
    assert expected["positive"] != pytest.approx(expected["absolute"], abs=1e-4)
    for kind, read in ((None, "positive"), ("positive", "positive"), ("absolute", "absolute")):
        case = Case(model, spec, attribution, kind=kind)
        assert METRICS["max_sensitivity"](case).item() == pytest.approx(expected[read], abs=1e-6)
    against = torch.tensor([[[3.0, 4, -8]]]), torch.tensor([[[3.0, 4, -1]]])
    assert relative_change(*against, "positive").item() == 0
    # by hand: from (3, 4) / 4 to (0, 4) / 4 the distance is 3 / 4 and the size 5 / 4
    assert relative_change(torch.tensor([[[3.0, 4]]]), torch.tensor([[[0.0, 8]]])).item() == pytest.approx(3 / 5)
    moved = neighbor(spec, 0.02, 0).magnitude - spec.magnitude
    assert 0 < moved.abs().max() <= 0.02 * spec.magnitude.max() + 1e-6


def test_noise_goes_both_ways_and_weighs_by_the_loudest_bin() -> None:
    # All bins are 3, one is 5: uniform from -.1 to .1, so that the mean is 0 and the standard deviation .1 / sqrt(3).
    magnitude = torch.full((1, TINY_STFT.n_bins, 300), 3.0)
    magnitude[0, 0, 0] = 5.0
    flat = Spectrogram(magnitude, torch.zeros_like(magnitude), 299 * TINY_STFT.hop_length, TINY_STFT)
    noise = neighbor(flat, 0.02, 0).magnitude - magnitude
    assert (noise.min().item(), noise.max().item()) == pytest.approx((-0.1, 0.1), abs=1e-3)
    assert noise.mean().item() == pytest.approx(0, abs=0.003)
    assert noise.std().item() == pytest.approx(0.1 / 3**0.5, rel=0.02)


@pytest.mark.parametrize("signed", [True, False])
def test_pointing_is_measured_beyond_the_share_of_the_truth_by_what_the_leaderboard_reads(
    spec: Spectrogram, signed: bool
) -> None:
    # The truth is the first 13 of the 65 bins, a fifth: who marks it has 1 - 1 / 5, who marks the rest 0 - 1 / 5. What
    # speaks against the cue is no evidence for it: of a signed map that says so everywhere else, the positive part.
    truth = torch.zeros(spec.magnitude.shape[1:], dtype=torch.bool)
    truth[:13] = True
    marks = torch.where(truth, 1.0, -2.0)[None]

    def one(model: nn.Module, spec: Spectrogram, target: int, seed: int) -> dict[str, Attribution]:
        return {"marks": Attribution(marks, TARGET, "marks", signed=signed)}

    found = check(one, tiny_classifier(0), spec, truth, [tiny_classifier(1)], n_stages=1)
    assert found["marks"]["permuted_relevance_rank"] == pytest.approx(0.8 if signed else -0.2)


def test_changed_recordings_are_what_they_say(spec: Spectrogram) -> None:
    wave = waveform(spec)
    torch.testing.assert_close(waveform(changed_recording(spec, "level")), wave / 2, atol=1e-5, rtol=0)
    torch.testing.assert_close(waveform(changed_recording(spec, "polarity")), -wave, atol=1e-5, rtol=0)
    later = waveform(changed_recording(spec, "shift"))
    torch.testing.assert_close(later[:, 80:], wave[:, :-80], atol=1e-5, rtol=0)  # 10 ms at 8 kHz
    with pytest.raises(
        SpeechXAIError,
        match=(r"^The 'change' parameter must be one of level, polarity, shift\. Got 'louder' instead\.$"),
    ):
        changed_recording(spec, "louder")

    def energy(network: nn.Module, recording: Spectrogram, target: Tensor) -> Tensor:
        return recording.magnitude

    for change, least in (("level", 0.999), ("polarity", 0.999), ("shift", 0.9)):
        assert input_invariance(energy, nn.Identity(), spec, TARGET, spec.magnitude, change).item() > least
