"""Our methods against captum's, where captum's are right."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import captum.attr as captum
import pytest
import torch
from torch import Tensor, nn

from speechxai.classifiers import Classifier, build
from speechxai.explain import METHODS, baseline_magnitude
from speechxai.mancini2025.maps import PUBLISHED_OPTIONS, PUBLISHED_VARIANTS, ProbabilityOfPd
from speechxai.signal.stft import SegmentConfig, spectrogram
from speechxai.types import Spectrogram, StftConfig

pytestmark = pytest.mark.filterwarnings("ignore:Setting:UserWarning")
STFT = StftConfig(n_fft=64, win_length=64, hop_length=32, sample_rate=2000)
TARGET = torch.tensor([1, 0, 1])


class Blocks(nn.Module):
    """Convolutions and ReLU modules without a mel front end."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU()
        )
        self.head = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2))

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        return self.head(self.features(magnitude[:, None]).mean((2, 3)))


@pytest.fixture(scope="module")
def conv() -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Classifier(Blocks(), STFT, cam_layer="features").eval()


@pytest.fixture(scope="module")
def mel() -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return Classifier(build("cnn"), cam_layer="features").eval()


@pytest.fixture(scope="module")
def small() -> Spectrogram:
    return spectrogram(torch.randn(3, 1000, generator=torch.Generator().manual_seed(4)), STFT)


@pytest.fixture(scope="module")
def voices() -> Spectrogram:
    return spectrogram(torch.randn(3, 4000, generator=torch.Generator().manual_seed(5)) * 0.1)


def ours(name: str, model: nn.Module, spec: Spectrogram, **options: Any) -> Tensor:
    result: Tensor = METHODS[name](model, spec, TARGET, **options)
    return result


def close(found: Tensor, expected: Tensor) -> None:
    expected = expected.detach()
    scale = float(expected.abs().max())
    assert scale > 0
    torch.testing.assert_close(found / scale, expected / scale, atol=2e-5, rtol=1e-4)


def leaf(spec: Spectrogram) -> Tensor:
    return spec.magnitude.clone().requires_grad_()


@pytest.mark.parametrize("network", ["conv", "mel"])
def test_saliency(network: str, request: pytest.FixtureRequest) -> None:
    model, spec = request.getfixturevalue(network), request.getfixturevalue("small" if network == "conv" else "voices")
    theirs = captum.Saliency(model).attribute(leaf(spec), TARGET, additional_forward_args=(spec.phase,))
    close(ours("saliency", model, spec), theirs)
    theirs = captum.InputXGradient(model).attribute(leaf(spec), TARGET, additional_forward_args=(spec.phase,))
    close(ours("input_x_gradient", model, spec), theirs)


@pytest.mark.parametrize("network", ["conv", "mel"])
@pytest.mark.parametrize(("n_steps", "baseline"), [(5, "silence"), (32, "floor")])
def test_integrated_gradients(network: str, n_steps: int, baseline: Any, request: pytest.FixtureRequest) -> None:
    model, spec = request.getfixturevalue(network), request.getfixturevalue("small" if network == "conv" else "voices")
    theirs = captum.IntegratedGradients(model).attribute(
        leaf(spec), baseline_magnitude(spec, baseline), TARGET, additional_forward_args=(spec.phase,), n_steps=n_steps
    )
    close(ours("integrated_gradients", model, spec, n_steps=n_steps, baseline=baseline), theirs)


def test_gradient_shap_with_one_certain_baseline(conv: Classifier, small: Spectrogram) -> None:
    # Both draw the position on the way at random, so compare the limit: many samples, and all baselines are silence.
    quiet = Spectrogram(torch.zeros_like(small.magnitude[:1]), small.phase[:1], small.n_samples, STFT)
    above = (small.magnitude - baseline_magnitude(small, "floor")).clamp(min=0)
    flat = Spectrogram(above, small.phase, small.n_samples, STFT)
    assert baseline_magnitude(flat, "floor").abs().sum() == 0
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = captum.GradientShap(conv).attribute(
            leaf(flat),
            torch.zeros_like(flat.magnitude[:1]),
            n_samples=200,
            target=TARGET,
            additional_forward_args=(flat.phase,),
        )
    found = ours("gradient_shap", conv, flat, n_samples=100, references=quiet)
    correlation = torch.corrcoef(torch.stack([found.flatten(), theirs.detach().flatten()]))[0, 1]
    assert correlation > 0.995
    assert 0.97 < (found * theirs).sum() / (theirs * theirs).sum() < 1.03


def test_deep_lift(conv: Classifier, small: Spectrogram) -> None:
    for baseline in ("silence", "floor"):
        origin = baseline_magnitude(small, baseline)  # type: ignore[arg-type]
        theirs = captum.DeepLift(conv).attribute(leaf(small), origin, TARGET, additional_forward_args=(small.phase,))
        close(ours("deep_lift", conv, small, baseline=baseline), theirs)


def test_guided_backprop(conv: Classifier, mel: Classifier, small: Spectrogram, voices: Spectrogram) -> None:
    for model, spec in ((conv, small), (mel, voices)):
        theirs = captum.GuidedBackprop(model).attribute(leaf(spec), TARGET, additional_forward_args=(spec.phase,))
        close(ours("guided_backprop", model, spec), theirs)
        close(PUBLISHED_VARIANTS["guided_backprop_relu_modules"](model, spec, TARGET), theirs)
        assert not torch.allclose(theirs, ours("input_x_gradient", model, spec) / spec.magnitude.clamp(min=1e-9))


class WithChannel(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        return self.model(magnitude[:, 0], phase)


def test_guided_gradcam(conv: Classifier, small: Spectrogram) -> None:
    view = WithChannel(conv)
    layer = conv.cam_module()
    magnitude = leaf(small)[:, None]
    gradcam = captum.LayerGradCam(view, layer).attribute(
        magnitude, TARGET, additional_forward_args=(small.phase,), relu_attributions=True
    )
    size = tuple(small.magnitude.shape[1:])
    close(ours("gradcam", conv, small), captum.LayerAttribution.interpolate(gradcam, size, "bilinear")[:, 0])
    both = captum.GuidedGradCam(view, layer)
    theirs = both.attribute(magnitude, TARGET, additional_forward_args=(small.phase,), interpolate_mode="bilinear")
    close(ours("guided_gradcam", conv, small), theirs[:, 0])
    nearest = both.attribute(magnitude, TARGET, additional_forward_args=(small.phase,))
    close(PUBLISHED_VARIANTS["guided_gradcam_captum"](conv, small, TARGET), nearest[:, 0])


@pytest.mark.parametrize("segment", [None, SegmentConfig(0.25, 0.13)])
def test_occlusion(conv: Classifier, small: Spectrogram, segment: SegmentConfig | None) -> None:
    # 62.5 frames a second and bins of 31.25 Hz: 96 ms = 6 frames, 64 ms = 4, 312.5 Hz = 10 bins, 156.25 Hz = 5.
    model = Classifier(conv.backbone, STFT, segment).eval()
    found = ours("occlusion", model, small, patch_ms=96.0, patch_hz=312.5, stride_ms=64.0, stride_hz=156.25)
    theirs = captum.Occlusion(model).attribute(
        small.magnitude, (10, 6), (5, 4), 0, TARGET, additional_forward_args=(small.phase,)
    )
    close(found, theirs)


def test_band_occlusion_is_feature_ablation(mel: Classifier, voices: Spectrogram) -> None:
    edges = (0.0, 500.0, 1000.0, 8000.0)
    bands = torch.zeros(voices.magnitude.shape[1:], dtype=torch.int64)
    for index, (low, _) in enumerate(pairwise(edges)):
        bands[round(low / 15.625) :] = index
    theirs = captum.FeatureAblation(mel).attribute(
        voices.magnitude, 0, TARGET, additional_forward_args=(voices.phase,), feature_mask=bands
    )
    close(ours("band_occlusion", mel, voices, edges_hz=edges), theirs)


def test_published_guided_gradcam_lays_hidden_units_over_frequency() -> None:
    """What captum makes of a (S, T', C) layer: one profile over frequency that knows no time. Ours knows time alone."""
    with torch.random.fork_rng():
        torch.manual_seed(6)

        class Sequence(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.hidden = nn.Linear(33, 12)
                self.rectifier = nn.ReLU()
                self.head = nn.Linear(12, 2)

            def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
                return self.head(self.rectifier(self.hidden(magnitude.transpose(1, 2))).mean(1))

        model = Classifier(Sequence(), STFT, cam_layer="hidden").eval()
    spec = spectrogram(torch.randn(1, 1000, generator=torch.Generator().manual_seed(1)), STFT)
    target = torch.tensor([1])
    guided = METHODS["guided_backprop"](model, spec, target)
    profile = PUBLISHED_VARIANTS["guided_gradcam_captum"](model, spec, target) / guided
    known = guided.abs() > 1e-6
    over_time = torch.where(known, profile, torch.nan)[0]
    spread = over_time.nan_to_num(-torch.inf).amax(1) - over_time.nan_to_num(torch.inf).amin(1)
    assert spread[torch.isfinite(spread)].max() < 1e-3
    time_map = METHODS["gradcam"](model, spec, target)[0]
    assert (time_map == time_map[:1]).all()
    assert time_map[0].std() > 0


def test_published_quantity_is_the_probability_of_pd(mel: Classifier, voices: Spectrogram) -> None:
    # p = sigmoid(z1 - z0), so dp/dX = p (1 - p) (dz1/dX - dz0/dX), for whatever class is asked.
    magnitude = leaf(voices)
    logits = mel(magnitude, voices.phase)
    slope = torch.autograd.grad((logits[:, 1] - logits[:, 0]).sum(), magnitude)[0]
    p = logits.detach().softmax(-1)[:, 1, None, None]
    close(ours("saliency", ProbabilityOfPd(mel), voices), (p * (1 - p) * slope).abs())


def test_published_options_give_what_captum_gives(mel: Classifier, voices: Spectrogram) -> None:
    model = ProbabilityOfPd(mel)
    theirs = captum.IntegratedGradients(model).attribute(
        leaf(voices), 0, TARGET, additional_forward_args=(voices.phase,), n_steps=5
    )
    close(ours("integrated_gradients", model, voices, **PUBLISHED_OPTIONS["integrated_gradients"]), theirs)
    # Noise of standard deviation 1 makes negative magnitudes, whose logarithm is undefined in a log-mel network: the
    # published
    # setting is only for networks that stand it. Ours draws the same kind of noise, without the clamp.
    seen: list[Tensor] = []

    class Watch(nn.Module):
        def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
            seen.append(magnitude.detach())
            return magnitude.sum((1, 2))[:, None].expand(-1, 2)

    ours("smoothgrad", Watch(), voices, **PUBLISHED_OPTIONS["smoothgrad"])
    noise = torch.cat(seen).view(-1, *voices.magnitude.shape) - voices.magnitude
    assert len(noise) == 10
    assert noise.std() == pytest.approx(1.0, abs=0.01)
    seen.clear()
    ours("gradient_shap", Watch(), voices, **PUBLISHED_OPTIONS["gradient_shap"])
    assert len(torch.cat(seen)) == 5 * len(voices)
    assert torch.cat(seen).min() < 0
