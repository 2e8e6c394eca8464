"""Attribution methods on networks small enough to explain by hand."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from speechxai.classifiers import Classifier
from speechxai.errors import NotApplicable
from speechxai.explain import METHODS, baseline_magnitude, completeness_error
from speechxai.types import Spectrogram, StftConfig

# 9 bins of 2 Hz, 4 frames a second: 32 Hz sample rate, hop 8.
STFT = StftConfig(n_fft=16, win_length=16, hop_length=8, sample_rate=32, scale="linear")
N_FRAMES = 7


def recording(values: Tensor) -> Spectrogram:
    return Spectrogram(values, torch.zeros_like(values), (N_FRAMES - 1) * 8, STFT)


class Linear(nn.Module):
    """logit_c = sum of W_c * X + b_c."""

    def __init__(self) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(5)
        self.weight = nn.Parameter(torch.randn(2, 9, N_FRAMES, generator=random))
        self.bias = nn.Parameter(torch.tensor([0.3, -0.7]))

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        return torch.einsum("bft,cft->bc", magnitude, self.weight) + self.bias


NETWORK = Linear()
X = torch.rand(2, 9, N_FRAMES, generator=torch.Generator().manual_seed(6)) + 0.1
SPEC = recording(X)
TARGET = torch.tensor([1, 0])
W = NETWORK.weight.detach()[TARGET]


def explain(
    name: str, network: nn.Module = NETWORK, spec: Spectrogram = SPEC, target: Tensor = TARGET, **options: object
) -> Tensor:
    result: Tensor = METHODS[name](network, spec, target, **options)
    return result


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


class Square(nn.Module):
    """logit_1 = half the sum of X^2, whose gradient is X."""

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        half = 0.5 * magnitude.square().sum(dim=(1, 2))
        return torch.stack([torch.zeros_like(half), half], dim=1)


def test_smoothgrads_noise_is_a_share_of_what_lies_between_least_and_most() -> None:
    ones, spec = torch.ones(2, dtype=torch.int64), recording(X + 5.0)  # the least bin lies far above 0

    def noise(sigma: float, relative: bool) -> Tensor:
        options = {"n_samples": 1, "sigma": sigma, "clamp": False, "relative": relative}
        return explain("smoothgrad", Square(), spec, ones, **options) - X - 5.0

    spread = (X.amax(dim=(1, 2)) - X.amin(dim=(1, 2)))[:, None, None]
    for sigma in (0.1, 0.2):
        expected = sigma * spread * noise(1.0, relative=False)
        torch.testing.assert_close(noise(sigma, relative=True), expected, atol=1e-4, rtol=1e-4)


def test_saliency_is_the_size_of_the_weight() -> None:
    close(explain("saliency"), W.abs())


def test_input_x_gradient_is_weight_times_input() -> None:
    close(explain("input_x_gradient"), W * X)


@pytest.mark.parametrize("options", [{}, {"n_samples": 10, "sigma": 1.0, "relative": False, "clamp": False}])
def test_smoothgrad_is_the_weight(options: dict[str, object]) -> None:
    close(explain("smoothgrad", **options), W)


def test_baselines_by_hand() -> None:
    # 5 % of 7 frames is .35, so the nearest rank is the 1st: the smallest; of 60 frames it is the 3rd.
    close(baseline_magnitude(SPEC, "floor"), X.amin(-1, keepdim=True).expand_as(X))
    close(baseline_magnitude(SPEC, "mean"), X.mean(-1, keepdim=True).expand_as(X))
    assert baseline_magnitude(SPEC, "silence").abs().sum() == 0
    ramp = torch.arange(60.0).flip(0).expand(1, 9, 60)
    long = Spectrogram(ramp, torch.zeros_like(ramp), 59 * 8, STFT)
    assert (baseline_magnitude(long, "floor") == 2.0).all()
    # 5 % of 30 frames is 1.5: the nearest rank is the 2nd, not the 1st.
    short = Spectrogram(ramp[..., -30:], torch.zeros_like(ramp[..., -30:]), 29 * 8, STFT)
    assert (baseline_magnitude(short, "floor") == 1.0).all()


@pytest.mark.parametrize("name", ["integrated_gradients", "deep_lift"])
@pytest.mark.parametrize("baseline", ["floor", "silence", "mean"])
def test_path_methods_are_weight_times_difference(name: str, baseline: str) -> None:
    values = explain(name, baseline=baseline)
    close(values, W * (X - baseline_magnitude(SPEC, baseline)))  # type: ignore[arg-type]
    assert completeness_error(NETWORK, SPEC, TARGET, values, baseline).max() < 1e-4  # type: ignore[arg-type]


def test_completeness_error_by_hand() -> None:
    # Silence gives the bias, so logit(X) - logit(0) is the sum of W * X; a map of zeros misses all of it.
    error = completeness_error(NETWORK, SPEC, TARGET, torch.zeros_like(X), "silence")
    close(error, (W * X).sum((1, 2)).abs())


def test_integrated_gradients_of_a_square() -> None:
    class Square(nn.Module):
        def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
            return magnitude.square().sum((1, 2))[:, None].expand(-1, 2)

    # d/dx of the sum of x^2 is 2x; its integral from x0 to x is x^2 - x0^2: one Gauss point is exact for a straight
    # line.
    x0 = baseline_magnitude(SPEC, "floor")
    for n_steps in (1, 5):
        close(explain("integrated_gradients", Square(), n_steps=n_steps), X.square() - x0.square())
    # DeepLift's ratio (x^2 - x0^2) / (x - x0) gives the same; at x = x0 both are 0.
    close(explain("deep_lift", Square()), X.square() - x0.square())


def test_deep_lift_misses_are_judged_by_what_is_missed() -> None:
    """One frame of .5, six of 2: the floor is .5 in all 9 bins. With x * (x > 1) the logit falls by 54 * 2 w = 108 w,
    and the multiplier w at the 54 open cells gives 54 * 1.5 w = 81 w: a quarter is missed, however small w is."""
    heard = torch.full((1, 9, N_FRAMES), 2.0)
    heard[..., 0] = 0.5

    class Gated(nn.Module):
        def __init__(self, weight: float, gate: Callable[[Tensor], Tensor]) -> None:
            super().__init__()
            self.weight, self.gate = weight, gate

        def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
            score = self.weight * self.gate(magnitude).sum((1, 2))
            return torch.stack([score, -score], dim=1)

    def values(weight: float, gate: Callable[[Tensor], Tensor]) -> Tensor:
        return explain("deep_lift", Gated(weight, gate), recording(heard), torch.tensor([0]))

    for weight, missed in ((1.0, "27"), (1e-4, "0.0027"), (1e-7, "2.7e-06")):
        with pytest.raises(NotApplicable, match=f"miss the difference of the logits by {missed}:"):
            values(weight, lambda x: x * (x > 1).float())
        # relu(x - 1): 1 of 1.5 at the 54 cells, 54 w in all, which is the difference.
        assert float(values(weight, lambda x: torch.relu(x - 1)).sum()) == pytest.approx(54 * weight, rel=1e-4)
    # Contributions of +-1500 that cancel: what is left is rounding, a share of them and not of the logits' difference.
    sign = torch.tensor([1.0, -1.0] * 31 + [0.0]).view(9, N_FRAMES)
    cancels = explain("deep_lift", Gated(1e3, lambda x: x * sign), recording(heard), torch.tensor([0]))
    assert cancels.abs().max() == 1500


def test_gradient_shap_counts_its_baselines() -> None:
    # Each of 8 baselines is silence or the floor, so A = W * (X - k / 8 * floor) with one whole k for all bins.
    floor = baseline_magnitude(SPEC, "floor")
    values = explain("gradient_shap", n_samples=8)
    k = 8 * (X - values / W) / floor
    assert 0 < round(float(k.median())) < 8
    close(k, torch.full_like(k, round(float(k.median()))))


def test_gradient_shap_shares_normal_baselines() -> None:
    # A linear network: A = W * (X - mean baseline). Of one baseline the mean is itself, however many points there are;
    # of two it lies between them, with the share k / 5 of one of them for all bins.
    def drawn(n_samples: int, **options: int) -> Tensor:
        return X - explain("gradient_shap", n_samples=n_samples, baselines="normal", **options) / W

    one = drawn(5, n_baselines=1)
    close(drawn(9, n_baselines=1), one)
    assert float(one.std()) > 0.8, "a mean of five fresh ones would have a deviation of 0.45"
    assert float(drawn(5).std()) < 0.6
    pools = [drawn(1, n_baselines=2, seed=0), drawn(5, n_baselines=2, seed=0)]
    assert not torch.equal(pools[0], pools[1])
    assert float(pools[1].std()) > 0.6, "two baselines, unequal shares: at least sqrt(13 / 25)"


def test_gradient_shap_draws_from_references() -> None:
    # A reference equal in every bin: A = W * (X - mean baseline), and with a reference of 5 the mean is beyond the
    # floor.
    reference = recording(torch.full((1, 9, N_FRAMES), 5.0))
    values = explain("gradient_shap", n_samples=12, references=reference)
    mean_baseline = X - values / W
    floor = baseline_magnitude(SPEC, "floor")
    k_reference = torch.round(12 * mean_baseline.median() / 5)
    assert k_reference >= 1
    k_floor = torch.round(((12 * mean_baseline - 5 * k_reference) / floor).median())
    close(mean_baseline, (5 * k_reference + k_floor * floor) / 12)


def test_gradient_shap_of_shorter_references_repeats_them() -> None:
    short = torch.full((1, 9, 2), 5.0)
    reference = Spectrogram(short, torch.zeros_like(short), 8, STFT)
    full = recording(torch.full((1, 9, N_FRAMES), 5.0))
    close(explain("gradient_shap", references=reference), explain("gradient_shap", references=full))


def test_occlusion_is_the_patch_sum() -> None:
    # Patches of 500 ms = 2 frames and 6 Hz = 3 bins, no overlap: 7 frames leave a last patch of 1 frame.
    values = explain("occlusion", patch_ms=500.0, patch_hz=6.0, stride_ms=500.0, stride_hz=6.0)
    product = W * X
    expected = torch.zeros_like(X)
    for low in (0, 3, 6):
        for start in (0, 2, 4, 6):
            where = (slice(None), slice(low, low + 3), slice(start, start + 2))
            expected[where] = product[where].sum((1, 2), keepdim=True)
    close(values, expected)


def test_overlapping_patches_are_averaged() -> None:
    # 2 frames in steps of 1 over all 9 bins: inner frames lie in two patches. A_t = (s_{t-1} + 2 s_t + s_{t+1}) / 2, at
    # the
    # ends A_0 = s_0 + s_1, with s_t the sum of W * X over frame t.
    values = explain("occlusion", patch_ms=500.0, patch_hz=18.0, stride_ms=250.0, stride_hz=18.0)
    s = (W * X).sum(1)
    close(values[:, 4, 0], s[:, 0] + s[:, 1])
    close(values[:, 4, 3], (s[:, 2] + 2 * s[:, 3] + s[:, 4]) / 2)
    close(values[:, 4, 6], s[:, 5] + s[:, 6])


def test_band_occlusion_is_the_band_sum() -> None:
    # Bins are at 0, 2, ..., 16 Hz: the band 0 to 5 Hz holds bins 0, 1, 2; 5 to 16 Hz holds 3 to 8, the last edge
    # included.
    values = explain("band_occlusion", edges_hz=(0.0, 5.0, 16.0))
    product = W * X
    close(values[:, :3], product[:, :3].sum((1, 2), keepdim=True).expand(-1, 3, N_FRAMES))
    close(values[:, 3:], product[:, 3:].sum((1, 2), keepdim=True).expand(-1, 6, N_FRAMES))
    # Bins outside all bands get nothing.
    outside = explain("band_occlusion", edges_hz=(3.0, 5.0))
    assert outside[:, :2].abs().sum() == 0
    assert outside[:, 3:].abs().sum() == 0
    close(outside[:, 2], product[:, 2].sum(1, keepdim=True).expand(-1, N_FRAMES))


def test_segment_occlusion_is_the_sum_of_the_stretch(monkeypatch: pytest.MonkeyPatch) -> None:
    # The package has a method of this name beside the module.
    module = sys.modules["speechxai.explain.occlusion"]
    monkeypatch.setattr(module, "_voicing", lambda spec: [[0, 0, 2, 2, 2, 1, 1], [2, 2, 2, 2, 2, 2, 2]])
    values = explain("segment_occlusion")
    product = W * X
    for index, start, stop in ((0, 0, 2), (0, 2, 5), (0, 5, 7), (1, 0, 7)):
        total = product[index, :, start:stop].sum()
        close(values[index, :, start:stop], total.expand(9, stop - start))


def test_unit_occlusion_sums_to_the_fall_without_each_unit() -> None:
    """Frames 0 1, 2, 3 4 5, 6: the noise floor of each bin, here its least value, in their place."""
    rate = STFT.frame_rate_hz
    spans = ((0.0, 2 / rate), (2 / rate, 3 / rate), (3 / rate, 6 / rate), (6 / rate, 9 / rate))
    spec = replace(SPEC, spans=(spans, ((0.0, 9 / rate),)))
    values = explain("unit_occlusion", spec=spec)
    above = W * (X - X.amin(dim=2, keepdim=True))
    for index, start, stop in ((0, 0, 2), (0, 2, 3), (0, 3, 6), (0, 6, 7), (1, 0, 7)):
        fall = above[index, :, start:stop].sum()
        close(values[index, :, start:stop].sum(), fall)
        close(values[index, :, start:stop], (fall / (9 * (stop - start))).expand(9, stop - start))


def test_rise_recovers_a_single_bin() -> None:
    class OneBin(nn.Module):
        def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
            return torch.stack([-3 * magnitude[:, 4, 3], 2 * magnitude[:, 4, 3]], dim=1)

    # logit = w x m with the mask m of that bin: cov(m, w x m) / var(m) = w x, exactly.
    values = explain("rise", OneBin(), n_masks=40, cell_ms=500.0, cell_hz=4.0)
    close(values[:, 4, 3], torch.tensor([2.0, -3.0]) * X[:, 4, 3])


class TwoUnits(nn.Module):
    """logits = (sum of v r(a X), -that) with one rectifier r: v = 2 and a = 3 on the left frames, v = -2 on the right
    ones."""

    def __init__(self, rectifier: nn.Module, shift: float = 0.0) -> None:
        super().__init__()
        self.rectifier = rectifier
        self.shift = shift
        self.v = torch.tensor([2.0, 2.0, 2.0, 2.0, -2.0, -2.0, -2.0])

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        score = (self.v * self.rectifier(3 * magnitude - self.shift)).sum((1, 2))
        return torch.stack([score, -score], dim=1)


def test_guided_backprop_of_relu_by_hand() -> None:
    # 3 X > 0 everywhere: the derivative is 1. Class 0 sends 2 back on the left (kept: 2 * 3 = 6) and -2 on the right
    # (dropped).
    values = explain("guided_backprop", TwoUnits(nn.ReLU()), target=torch.tensor([0, 0]))
    assert (values[..., :4] == 6).all()
    assert (values[..., 4:] == 0).all()
    # Class 1 sends -2 and 2: the other half.
    values = explain("guided_backprop", TwoUnits(nn.ReLU()), target=torch.tensor([1, 1]))
    assert (values[..., :4] == 0).all()
    assert (values[..., 4:] == 6).all()


def test_guided_backprop_of_gelu_by_hand() -> None:
    # gelu'(z) = Phi(z) + z phi(z). At z = 3 * .5 - 1 = .5: Phi = .691462, phi = .352065, so gelu' = .867495; 2 *
    # .867495 * 3.
    spec = recording(torch.full((1, 9, N_FRAMES), 0.5))
    values = explain("guided_backprop", TwoUnits(nn.GELU(), 1.0), spec, torch.tensor([0]))
    expected = 6 * (0.5 * (1 + math.erf(0.5 / math.sqrt(2))) + 0.5 * math.exp(-0.125) / math.sqrt(2 * math.pi))
    assert expected == pytest.approx(6 * 0.867495, abs=1e-5)
    close(values[..., :4], torch.full((1, 9, 4), expected))
    assert (values[..., 4:] == 0).all()
    # At z = 3 * .5 - 2 = -.5 GELU still has a gradient (gelu' = .132505); the guided rule takes it as 0.
    negative = TwoUnits(nn.GELU(), 2.0)
    assert explain("guided_backprop", negative, spec, torch.tensor([0])).abs().sum() == 0
    close(explain("saliency", negative, spec, torch.tensor([0])), torch.full((1, 9, N_FRAMES), 6 * 0.132505))


def test_guided_backprop_without_rectifier_is_refused() -> None:
    with pytest.raises(
        NotApplicable,
        match=(
            r"^this network has no rectifier \(ReLU, GELU, SiLU, \.\.\.\), so guided backpropagation "
            r"would be the plain gradient; use saliency\.$"
        ),
    ):
        explain("guided_backprop")
    with pytest.raises(
        NotApplicable,
        match=(
            r"^this network has no rectifier \(ReLU, GELU, SiLU, \.\.\.\), so guided backpropagation "
            r"would be the plain gradient; use saliency\.$"
        ),
    ):
        explain("guided_backprop", TwoUnits(nn.Tanh()))


class Maps(nn.Module):
    """Feature maps a_k = c_k X with c = (1, -2); logit 1 = sum over k of v_k mean(a_k) with v = (5, 1), logit 0 its
    negative."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(1, 2, 1, bias=False)
        self.features.weight.data = torch.tensor([1.0, -2.0])[:, None, None, None]

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        pooled = torch.relu(magnitude + 9) * 0
        score = self.features(magnitude[:, None]).mean((2, 3)) @ torch.tensor([5.0, 1.0]) + pooled.sum((1, 2))
        return torch.stack([-score, score], dim=1)


def test_gradcam_by_hand() -> None:
    # w_k = v_k / 63 (9 * 7 bins); sum_k w_k a_k = (5 * 1 + 1 * -2) X / 63 = X / 21 for class 1; negative, so 0, for
    # class 0.
    network = Classifier(Maps(), stft=STFT, cam_layer="features")
    values = explain("gradcam", network)
    close(values[0], X[0] / 21)
    assert values[1].abs().sum() == 0


def test_guided_gradcam_is_the_product() -> None:
    network = Classifier(Maps(), stft=STFT, cam_layer="features")
    # Guided gradient of class 1: v . c / 63 = 3 / 63 in every bin; the dead relu passes 0 back.
    close(explain("guided_gradcam", network)[0], X[0] / 21 * 3 / 63)
    close(explain("guided_gradcam", network), explain("guided_backprop", network) * explain("gradcam", network))


def test_controls_by_hand() -> None:
    close(explain("energy_map"), X)
    random = explain("random_map", seed=4)
    assert random.min() >= 0
    assert random.max() < 1
    assert torch.equal(random[0], random[1])
    # A step from 0 to 1 between frames 3 and 4: Gt = 1 + 2 + 1 = 4 on both sides, Gf = 0.
    step = torch.zeros(1, 9, N_FRAMES)
    step[..., 4:] = 1
    edges = explain("edge_map", spec=recording(step), target=TARGET[:1])
    assert edges[0, 4].tolist() == [0, 0, 0, 4, 4, 0, 0]
    # The same step in frequency.
    step = torch.zeros(1, 9, N_FRAMES)
    step[:, 5:] = 1
    assert explain("edge_map", spec=recording(step), target=TARGET[:1])[0, :, 2].tolist() == [0, 0, 0, 0, 4, 4, 0, 0, 0]
