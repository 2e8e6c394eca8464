"""What methods cost, and that sharing changes nothing but the cost."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from speechxai.classifiers import Classifier, build, predict, probabilities
from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.evaluation.unit import standard
from speechxai.evaluation.values import EvaluateSettings, Job
from speechxai.explain import METHODS, OriginalPass, completeness_error, count_passes
from speechxai.explain.passes import logit_gradient
from speechxai.metrics import DEFAULT_METRICS
from speechxai.signal.stft import SegmentConfig, spectrogram
from speechxai.testing import noise_recording
from speechxai.types import Spectrogram, StftConfig

TARGET = torch.tensor([1, 0])
FAMILY = ["saliency", "input_x_gradient", "guided_backprop", "gradcam", "guided_gradcam"]


@pytest.fixture(scope="module")
def model() -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return Classifier(build("cnn"), segment=SegmentConfig(0.4, 0.2), cam_layer="features").eval()


@pytest.fixture(scope="module")
def spec() -> Spectrogram:
    return spectrogram(torch.randn(2, 11_200, generator=torch.Generator().manual_seed(4)) * 0.1)


def test_a_family_costs_one_forward_and_two_backward_passes(model: Classifier, spec: Spectrogram) -> None:
    shared = OriginalPass(model, spec)
    with count_passes(model, spec) as passes:
        together = {name: METHODS[name](shared, spec, TARGET) for name in FAMILY}
        completeness_error(shared, spec, TARGET, together["saliency"], "silence")
        p = probabilities(shared, spec.magnitude, spec.phase)
    # 2 recordings: 2 original passes and 2 of the baseline in completeness_error; 2 backward passes each.
    assert passes.forward == pytest.approx(4)
    assert passes.backward == pytest.approx(4)
    torch.testing.assert_close(p, probabilities(model, spec.magnitude, spec.phase))
    for name in FAMILY:
        torch.testing.assert_close(together[name], METHODS[name](model, spec, TARGET), atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "n_forward", "n_backward"),
    [
        ("saliency", {}, 1, 1),
        ("guided_backprop", {}, 1, 1),
        ("guided_gradcam", {}, 1, 2),
        ("integrated_gradients", {"n_steps": 5}, 5, 5),
        ("smoothgrad", {"n_samples": 3}, 3, 3),
        ("gradient_shap", {"n_samples": 3}, 3, 3),
        ("rise", {"n_masks": 7}, 8, 0),
        ("band_occlusion", {"edges_hz": (0.0, 1000.0, 8000.0)}, 3, 0),
        ("random_map", {}, 0, 0),
        ("energy_map", {}, 0, 0),
        ("edge_map", {}, 0, 0),
    ],
)
def test_cost_of_a_method(
    name: str, options: dict[str, object], n_forward: int, n_backward: int, model: Classifier, spec: Spectrogram
) -> None:
    with count_passes(model, spec) as passes:
        METHODS[name](model, spec, TARGET, **options)
    assert passes.forward == pytest.approx(2 * n_forward)
    assert passes.backward == pytest.approx(2 * n_backward)


def test_occlusion_computes_only_the_segments_that_hear_the_patch(model: Classifier) -> None:
    long = spectrogram(torch.randn(1, 48_000, generator=torch.Generator().manual_seed(4)) * 0.1)
    with count_passes(model, long) as passes:
        METHODS["occlusion"](
            model, long, TARGET[:1], patch_ms=100.0, stride_ms=100.0, patch_hz=9000.0, stride_hz=9000.0
        )
    n_patches = 29  # 259 frames in steps of 9
    n_segments = model.cut(long.magnitude).shape[1]
    assert n_segments >= 13
    assert passes.forward < 1 + n_patches * 4 / n_segments


def test_shared_pass_serves_other_targets_and_other_spectrograms(model: Classifier, spec: Spectrogram) -> None:
    shared = OriginalPass(model, spec)
    first = METHODS["saliency"](shared, spec, TARGET)
    other = METHODS["guided_gradcam"](shared, spec, 1 - TARGET)
    torch.testing.assert_close(other, METHODS["guided_gradcam"](model, spec, 1 - TARGET))
    half = Spectrogram(spec.magnitude / 2, spec.phase, spec.n_samples, spec.stft)
    torch.testing.assert_close(METHODS["saliency"](shared, half, TARGET), METHODS["saliency"](model, half, TARGET))
    torch.testing.assert_close(shared(half.magnitude, half.phase), model(half.magnitude, half.phase))
    # What a caller writes into a map does not reach the memory.
    expected = first.clone()
    METHODS["guided_backprop"](shared, spec, TARGET).zero_()
    shared.gradient(TARGET).zero_()
    torch.testing.assert_close(METHODS["saliency"](shared, spec, TARGET), expected)
    shared.release()
    torch.testing.assert_close(METHODS["saliency"](shared, spec, TARGET), expected)


def test_every_method_takes_a_shared_pass(model: Classifier, spec: Spectrogram) -> None:
    shared = OriginalPass(model, spec)
    quick = {"rise": {"n_masks": 4}, "occlusion": {"patch_hz": 4000.0}, "smoothgrad": {"n_samples": 2}}
    for name in METHODS:
        if METHODS.facts(name).get("needs"):
            continue
        options = quick.get(name, {})
        found, expected = METHODS[name](shared, spec, TARGET, **options), METHODS[name](model, spec, TARGET, **options)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    assert shared.max_batch == model.max_batch
    with pytest.raises(AttributeError):
        _ = shared.no_such_thing


def test_shared_pass_works_for_chunks_that_are_computed_again(model: Classifier, spec: Spectrogram) -> None:
    small = copy.deepcopy(model)
    small.max_batch = 2
    shared = OriginalPass(small, spec)
    for name in FAMILY:
        torch.testing.assert_close(
            METHODS[name](shared, spec, TARGET), METHODS[name](model, spec, TARGET), atol=1e-6, rtol=1e-4
        )


def rows_of(model: Classifier) -> tuple[list[int], Any]:
    rows: list[int] = []
    return rows, model.backbone.register_forward_hook(lambda module, inputs, output: rows.append(len(output)))


@pytest.mark.parametrize("name", [name for name in METHODS if METHODS.facts(name).get("needs") is None])
def test_one_setting_bounds_every_internal_batch(name: str, model: Classifier, spec: Spectrogram) -> None:
    small = copy.deepcopy(model)
    small.max_batch = 3
    rows, handle = rows_of(small)
    quick = {"rise": {"n_masks": 6}, "occlusion": {"patch_hz": 4000.0, "stride_hz": 4000.0}}
    METHODS[name](small, spec, TARGET, **quick.get(name, {}))
    handle.remove()
    assert max(rows, default=0) <= 3


def test_one_setting_bounds_the_masked_passes(model: Classifier) -> None:
    small = copy.deepcopy(model)
    small.max_batch = 3
    rows, handle = rows_of(small)
    settings = EvaluateSettings(("saliency", "energy_map", "edge_map"), DEFAULT_METRICS)
    standard(Job(noise_recording("a", 0.7, sample_rate=16_000), small), settings, [])
    handle.remove()
    assert max(rows) <= 3


def test_a_network_that_takes_one_at_a_time_explains_one_sample_of_one_recording(
    model: Classifier, spec: Spectrogram
) -> None:
    single = copy.deepcopy(model)
    single.one_at_a_time = True
    per_recording = single.cut(spec.magnitude).shape[1]
    for name, options in (("integrated_gradients", {"n_steps": 4}), ("rise", {"n_masks": 4}), ("saliency", {})):
        rows, handle = rows_of(single)
        found = METHODS[name](single, spec, TARGET, **options)
        handle.remove()
        assert set(rows) == {per_recording}, name
        torch.testing.assert_close(found, METHODS[name](model, spec, TARGET, **options), atol=1e-6, rtol=1e-4)
    assert Classifier(build("ssl", size="tiny")).one_at_a_time
    assert not model.one_at_a_time


def test_a_shared_pass_of_a_network_in_training_is_in_evaluation(model: Classifier, spec: Spectrogram) -> None:
    training = copy.deepcopy(model).train()
    shared = OriginalPass(training, spec)
    torch.testing.assert_close(shared.logits(), model(spec.magnitude, spec.phase).detach())
    assert training.training
    assert all(parameter.grad is None for parameter in training.parameters())


def test_completeness_on_the_cnn(model: Classifier, spec: Spectrogram) -> None:
    for baseline in ("floor", "silence", "mean"):
        values = METHODS["deep_lift"](model, spec, TARGET, baseline=baseline)
        assert completeness_error(model, spec, TARGET, values, baseline).max() < 1e-4  # type: ignore[arg-type]
    coarse = METHODS["integrated_gradients"](model, spec, TARGET, n_steps=2)
    fine = METHODS["integrated_gradients"](model, spec, TARGET, n_steps=32)
    errors = [float(completeness_error(model, spec, TARGET, values).max()) for values in (coarse, fine)]
    assert errors[1] < 2e-3
    assert errors[1] < errors[0]


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.LayerNorm(33), "layer normalization divides"),
        (nn.Softmax(-1), "softmax mixes"),
        (nn.MaxPool1d(2), "'max_pool1d'"),
        (nn.InstanceNorm1d(33), "normalization"),
    ],
)
def test_deep_lift_names_what_it_does_not_cover(layer: nn.Module, reason: str) -> None:
    from speechxai.types import StftConfig

    stft = StftConfig(n_fft=64, win_length=64, hop_length=32, sample_rate=2000)
    small = spectrogram(torch.randn(2, 1000, generator=torch.Generator().manual_seed(4)), stft)

    class Net(nn.Module):
        def forward(self, magnitude: torch.Tensor, phase: torch.Tensor) -> torch.Tensor:
            values = layer(magnitude.transpose(1, 2)).sum((1, 2))
            return torch.stack([values, -values], 1)

    with pytest.raises(NotApplicable, match=reason):
        METHODS["deep_lift"](Net(), small, TARGET)

    class Product(nn.Module):
        def forward(self, magnitude: torch.Tensor, phase: torch.Tensor) -> torch.Tensor:
            values = (magnitude * magnitude).sum((1, 2))
            return torch.stack([values, -values], 1)

    with pytest.raises(
        NotApplicable,
        match=(
            r"^DeepLift's rescale rule does not cover this network: it combines two activations by 'mul'; "
            r"use integrated_gradients\.$"
        ),
    ):
        METHODS["deep_lift"](Product(), small, TARGET)

    class Disguised(nn.Module):
        def forward(self, magnitude: torch.Tensor, phase: torch.Tensor) -> torch.Tensor:
            values = (magnitude * (magnitude > magnitude.mean()).float()).sum((1, 2))
            return torch.stack([values, -values], 1)

    with pytest.raises(
        NotApplicable,
        match=(
            r"^DeepLift's contributions miss the difference of the logits by .*: this network has a part "
            r"that the rescale rule does not cover; use integrated_gradients\.$"
        ),
    ):
        METHODS["deep_lift"](Disguised(), small, TARGET)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("smoothgrad", {"n_samples": 0}, "'n_samples' parameter of smoothgrad"),
        ("smoothgrad", {"sigma": -1.0}, "'sigma' parameter of smoothgrad"),
        ("smoothgrad", {"sigma": float("nan")}, "'sigma' parameter of smoothgrad"),
        ("integrated_gradients", {"n_steps": 2.5}, "'n_steps' parameter"),
        ("integrated_gradients", {"baseline": "zero"}, "'baseline' parameter must be"),
        ("gradient_shap", {"baselines": "zero"}, "'baselines' parameter of gradient_shap"),
        ("occlusion", {"stride_ms": 500.0}, "'stride_ms' parameter of occlusion"),
        ("occlusion", {"stride_hz": 0.0}, "'stride_hz' parameter of occlusion"),
        ("band_occlusion", {"edges_hz": (0.0,)}, "'edges_hz' parameter"),
        ("band_occlusion", {"edges_hz": (100.0, 50.0)}, "'edges_hz' parameter"),
        ("segment_occlusion", {"min_ms": -1.0}, "'min_ms' parameter"),
        ("rise", {"n_masks": 1}, "'n_masks' parameter of rise"),
        ("rise", {"keep": 1.0}, "rise needs keep in"),
    ],
)
def test_wrong_options_are_named(
    name: str, options: dict[str, object], message: str, model: Classifier, spec: Spectrogram
) -> None:
    with pytest.raises(SpeechXAIError, match=message):
        METHODS[name](model, spec, TARGET, **options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("smoothgrad", {"n_samples": 1, "sigma": 0.0}),
        ("integrated_gradients", {"n_steps": 1}),
        ("gradient_shap", {"n_samples": 1}),
        ("occlusion", {"patch_ms": 400.0, "stride_ms": 400.0, "patch_hz": 4000.0, "stride_hz": 4000.0}),
        ("band_occlusion", {"edges_hz": (0.0, 1000.0)}),
        ("segment_occlusion", {"min_ms": 0.0}),
        ("rise", {"n_masks": 2, "keep": 0.5}),
    ],
)
def test_options_at_their_bounds_are_taken(
    name: str, options: dict[str, object], model: Classifier, spec: Spectrogram
) -> None:
    found = METHODS[name](model, spec, TARGET, **options)
    assert found.shape == spec.magnitude.shape
    if name == "smoothgrad":  # one copy without noise
        torch.testing.assert_close(found.abs(), METHODS["saliency"](model, spec, TARGET))


@pytest.mark.parametrize("n_recordings", [1, 2])
def test_a_long_recording_is_explained_in_pieces_and_no_segment_twice(n_recordings: int) -> None:
    torch.manual_seed(0)
    stft = StftConfig(128, 128, 64, sample_rate=8_000)
    backbone = build("cnn", stft, n_mels=8, channels=[4, 4])
    model = Classifier(backbone, stft, SegmentConfig(0.2, 0.07), max_batch=4).eval()
    spec = spectrogram(0.1 * torch.randn(n_recordings, 12_345), stft)
    target = torch.ones(n_recordings, dtype=torch.int64)
    assert len(model.segment_starts(spec.magnitude.shape[-1])) > 4
    whole = copy.copy(model)
    whole.max_batch = 1_000
    rows = [slice(row, row + 1) for row in range(n_recordings)]
    with count_passes(model, spec) as passes:
        found = [logit_gradient(model, spec.magnitude[row], spec.phase[row], target[row]) for row in rows]
    assert passes.forward == pytest.approx(n_recordings)
    assert passes.backward == pytest.approx(n_recordings)
    at_once = logit_gradient(whole, spec.magnitude, spec.phase, target)
    torch.testing.assert_close(torch.cat(found), at_once, atol=1e-7, rtol=1e-5)
    torch.testing.assert_close(predict(model, spec), predict(whole, spec), atol=1e-6, rtol=0)
