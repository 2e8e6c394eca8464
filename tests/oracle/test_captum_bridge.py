"""Methods of captum by name: what they give is what captum called by hand gives, and its silent traps are refused."""

from __future__ import annotations

import copy
import inspect
import re
from pathlib import Path
from typing import Any

import captum.attr as captum
import pytest
import torch
from torch import Tensor, nn

from speechxai.classifiers import Classifier
from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.explain import METHODS
from speechxai.explain.captum_bridge import CAPTUM, REFUSED, captum_names, patch_mask
from speechxai.explain.explain import explain, explain_all, parse
from speechxai.signal.stft import SegmentConfig, spectrogram
from speechxai.types import Spectrogram, StftConfig

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
STFT = StftConfig(n_fft=64, win_length=64, hop_length=32, sample_rate=2000)
TARGET = torch.tensor([1, 0, 1])
COARSE: dict[str, Any] = {"patch_ms": 200.0, "patch_hz": 250.0}  # 12 or 13 frames of 16 ms, 8 bins of 31.25 Hz
QUICK: dict[str, dict[str, Any]] = {
    **{f"captum:{name}": COARSE for name in ("FeatureAblation", "ShapleyValueSampling", "Lime", "KernelShap")},
    "captum:ShapleyValues": {"patch_ms": 1000.0, "patch_hz": 500.0},
    "captum:Occlusion": {**COARSE, "stride_ms": 100.0, "stride_hz": 125.0},
}


class Blocks(nn.Module):
    def __init__(self, rectifier: Any = nn.ReLU, *, twice: bool = False, flat: bool = False) -> None:
        super().__init__()
        one = rectifier()
        self.features = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), one, nn.AvgPool2d(2), nn.Conv2d(6, 8, 3, padding=1), rectifier()
        )
        self.again = one if twice else nn.Identity()
        self.head = nn.Sequential(nn.Flatten() if flat else nn.Dropout(), nn.Linear(8, 2))
        if not twice:
            del self.again

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        pooled = self.features(magnitude[:, None]).mean((2, 3))
        return self.head(self.again(pooled) if hasattr(self, "again") else pooled)  # type: ignore[no-any-return]


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(33, 8), nn.Linear(8, 2)

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        # magnitudes are at least 0: minus 1 makes the rectifier's kink matter
        return self.second(nn.functional.relu(self.first(magnitude.mean(-1)) - 1))  # type: ignore[no-any-return]


def net(*args: Any, segment: SegmentConfig | None = None, kind: Any = Blocks, **options: Any) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Classifier(
            kind(*args, **options), STFT, segment, cam_layer="features" if kind is Blocks else None, max_batch=5
        ).eval()


@pytest.fixture(scope="module")
def small() -> Spectrogram:
    return spectrogram(torch.randn(3, 1000, generator=torch.Generator().manual_seed(4)), STFT)


def bridge(name: str, model: nn.Module, spec: Spectrogram, **options: Any) -> Tensor:
    values: Tensor = METHODS[f"captum:{name}"](model, spec, TARGET[: len(spec)], **options)
    return values


def by_hand(name: str, model: Any, spec: Spectrogram, *args: Any, **options: Any) -> Tensor:
    model = copy.deepcopy(model)
    model.max_batch = 64
    x = spec.magnitude.clone().requires_grad_()
    values: Tensor = getattr(captum, name)(model).attribute(
        x, *args, target=TARGET, additional_forward_args=(spec.phase,), **options
    )
    assert values.abs().max() > 0
    return values.detach()


def test_maps_are_those_of_captum_called_by_hand(small: Spectrogram) -> None:
    model, mask = net(), patch_mask(small, **COARSE)
    assert patch_mask(small, **COARSE).shape == small.magnitude[:1].shape
    for name, args, theirs, ours in (
        ("Saliency", (), {"abs": True}, {}),
        ("InputXGradient", (), {}, {}),
        ("IntegratedGradients", (0,), {"n_steps": 7}, {"n_steps": 7}),
        ("DeepLift", (0,), {}, {}),
        ("GuidedBackprop", (), {}, {}),
        ("Deconvolution", (), {}, {}),
        ("LRP", (), {}, {}),
        ("FeatureAblation", (0,), {"feature_mask": mask}, COARSE),
        ("Occlusion", ((8, 12), (4, 6), 0), {}, QUICK["captum:Occlusion"]),
    ):
        expected = by_hand(name, model, small, *args, **theirs)
        scale = float(expected.abs().max())
        found = bridge(name, model, small, **ours)
        torch.testing.assert_close(
            found / scale,
            expected / scale,
            atol=2e-3 if name == "LRP" else 1e-4,
            rtol=0,
            msg=lambda m, n=name: f"{n}: {m}",
        )


def test_exact_shapley_values_are_those_of_captum_with_a_mask(small: Spectrogram) -> None:
    # 1000 ms and 500 Hz: 33 frames are one column, 33 bins two rows
    model, options = net(), QUICK["captum:ShapleyValues"]
    mask = patch_mask(small, **options)
    assert mask.unique().tolist() == [0, 1]
    expected = by_hand("ShapleyValues", model, small, 0, feature_mask=mask)
    torch.testing.assert_close(bridge("ShapleyValues", model, small, **options), expected, atol=1e-6, rtol=1e-4)
    # the weights of enough perturbations come to the same values, and so do many random orders
    with_silence = model(small.magnitude, small.phase) - model(torch.zeros_like(small.magnitude), small.phase)
    difference = with_silence.gather(1, TARGET[:, None])[:, 0].detach()
    for name in ("KernelShap", "ShapleyValueSampling"):
        found = bridge(name, model, small, **options, n_samples=64)
        torch.testing.assert_close(found[:, 0, 0] + found[:, -1, 0], difference, atol=1e-4, rtol=1e-2)


def test_patches_have_no_gap_and_no_sliver() -> None:
    spec = Spectrogram(torch.zeros(1, 33, 33), torch.zeros(1, 33, 33), 1000, STFT)
    mask = patch_mask(spec, 160.0, 250.0)[0]  # 10 frames: 10, 10, 13; 8 bins: 8, 8, 8, 9
    assert mask.unique().tolist() == list(range(12))
    assert (mask[0] == 2).sum() == 13
    assert (mask[:, 0] == 9).sum() == 9
    with pytest.raises(
        SpeechXAIError, match=(r"^Patches must be larger than 0 ms and 0 Hz\. Got 0\.0 ms and 250\.0 Hz\.$")
    ):
        patch_mask(spec, 0.0, 250.0)


@pytest.mark.parametrize("name", list(CAPTUM))
def test_every_method(name: str, small: Spectrogram) -> None:
    """Finite, of the recordings' shape, not all zero, the same in a batch and alone, by seed; nothing is left
    behind."""
    model = net()
    ones = torch.ones_like(TARGET)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    torch.manual_seed(5)
    state = torch.get_rng_state()
    options = {name: QUICK.get(name, {})}
    together = explain(model, small, name, ones, options=options)
    assert torch.equal(state, torch.get_rng_state())
    assert together.values.shape == small.magnitude.shape
    assert together.values.abs().amax((1, 2)).min() > 0
    assert together.signed == CAPTUM.facts(name)["signed"]
    assert together.signed or together.values.min() >= 0
    alone = Spectrogram(small.magnitude[1:2], small.phase[1:2], small.n_samples, STFT)
    single = explain(model, alone, name, ones[1:2], options=options)
    assert torch.equal(single.values[0], together.values[1])
    other = explain(model, small, name, ones, seed=1, options=options)
    assert torch.equal(other.values, together.values) != CAPTUM.facts(name)["stochastic"] or name == "captum:KernelShap"
    assert together.params["seed"] == (0 if CAPTUM.facts(name)["stochastic"] else None)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not any(m._forward_hooks or m._backward_hooks or hasattr(m, "rule") for m in model.modules())
    assert CAPTUM.facts(name)["stochastic"] == ("seed" in inspect.signature(CAPTUM[name]).parameters)


@pytest.mark.parametrize("name", ["GuidedBackprop", "Deconvolution", "LRP"])
def test_rectifiers_that_captum_does_not_see_are_refused(name: str, small: Spectrogram) -> None:
    own = "has 2 rectifiers that are no nn.ReLU (functional ones, GELU, ...)"
    ours = "deep_lift" if name == "LRP" else "guided_backprop"
    for model, has in ((net(nn.GELU), own), (net(kind=Functional), own.replace("2 rect", "1 rect"))):
        said = f"this network {has}, where captum follows the plain gradient without a word; use {ours}."
        with pytest.raises(NotApplicable, match=f"^{re.escape(said)}$"):
            bridge(name, model, small)


def test_deep_lift_is_refused_where_it_misses_a_nonlinearity(small: Spectrogram) -> None:
    with pytest.raises(
        NotApplicable,
        match=(
            r"^captum's map adds up to .* where the logit differs by .*: the network has a nonlinearity "
            r"that is no module of its own, which captum passes by its gradient; use deep_lift\.$"
        ),
    ):
        bridge("DeepLift", net(kind=Functional), small)
    with pytest.raises(
        NotApplicable,
        match=(
            r"^captum's DeepLift needs a module for every use of an activation, and this network uses one "
            r"twice; use deep_lift\.$"
        ),
    ):
        bridge("DeepLift", net(twice=True), small)


def test_layers_without_a_rule_are_named(small: Spectrogram) -> None:
    with pytest.raises(
        NotApplicable,
        match=(
            r"^captum's LRP has no rule for the layer Flatten of this network; use deep_lift or "
            r"integrated_gradients\.$"
        ),
    ):
        bridge("LRP", net(flat=True), small)


def test_grad_cam_needs_a_frequency_axis_and_one_segment(small: Spectrogram) -> None:
    with pytest.raises(
        NotApplicable, match=(r"^this network names no 'cam_layer', so Grad-CAM has no feature map to weight\.$")
    ):
        bridge("GuidedGradCam", net(kind=Functional), small)
    cut = net(segment=SegmentConfig(0.25, 0.13))
    with pytest.raises(
        NotApplicable,
        match=(
            r"^this recording is heard in several segments, whose Grad-CAM captum cannot lay onto one "
            r"time axis; use guided_gradcam\.$"
        ),
    ):
        bridge("GuidedGradCam", cut, small)
    # captum follows the mean of the four segments' logits, gradcam each by itself
    ours = METHODS["gradcam"](cut, small, TARGET)
    torch.testing.assert_close(4 * bridge("LayerGradCam", cut, small), ours, atol=1e-6, rtol=1e-3)
    waveform = net(kind=Functional)
    waveform.cam_layer = "first"
    with pytest.raises(NotApplicable, match=r"^the 'cam_layer' of this network has no frequency axis; use gradcam\.$"):
        bridge("LayerGradCam", waveform, small)


def test_hooks_need_a_recording_in_one_pass(small: Spectrogram) -> None:
    cut = net(segment=SegmentConfig(0.1, 0.05))
    for name in ("DeepLift", "LRP", "GuidedBackprop", "LayerGradCam"):
        with pytest.raises(NotApplicable, match="segments in one pass"):
            bridge(name, cut, small)


def test_batches_are_bounded(small: Spectrogram) -> None:
    sizes: list[int] = []

    class Watched(Blocks):
        def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
            sizes.append(len(magnitude))
            return super().forward(magnitude, phase)

    model = net(kind=Watched)
    model.cam_layer = "features"
    for name in ("GradientShap", "NoiseTunnel", "IntegratedGradients", "Occlusion", "FeatureAblation", "KernelShap"):
        bridge(name, model, small, **QUICK.get(f"captum:{name}", {}))
    assert max(sizes) == 5


def test_float64_stays(small: Spectrogram) -> None:
    spec = Spectrogram(small.magnitude.double(), small.phase.double(), small.n_samples, STFT)
    assert bridge("Occlusion", net().double(), spec, **QUICK["captum:Occlusion"]).dtype == torch.float64


def test_no_hours_without_a_word(small: Spectrogram) -> None:
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^captum:KernelShap would take 30000 forward passes for a recording, more than 20000: set "
            r"larger 'patch_ms' and 'patch_hz', or fewer samples\.$"
        ),
    ):
        bridge("KernelShap", net(), small, n_samples=30_000)
    with pytest.raises(
        NotApplicable,
        match=(
            r"^every order of 12 patches is more than can be tried; set 'patch_ms' and 'patch_hz' for at "
            r"most 7, or use captum:ShapleyValueSampling\.$"
        ),
    ):
        bridge("ShapleyValues", net(), small, patch_ms=160.0, patch_hz=250.0)
    with pytest.raises(NotApplicable, match=r"^the lasso set the weight of every patch to 0; set a smaller 'alpha'\.$"):
        bridge("Lime", net(), small, **COARSE, alpha=100.0)


def test_names() -> None:
    """Every attribution class of captum is a recipe or refused with its reason, and the grammar takes the names."""
    classes = {
        name for name, value in vars(captum).items() if inspect.isclass(value) and issubclass(value, captum.Attribution)
    }
    bases = {"Attribution", "GradientAttribution", "PerturbationAttribution", "LayerAttribution", "NeuronAttribution"}
    known = {name.partition(":")[2] for name in captum_names()}
    assert classes - bases <= known | set(REFUSED)
    assert known <= classes
    assert parse("union( captum:Lime ,rank_mean(saliency, captum:LRP))").methods == (
        "captum:Lime",
        "saliency",
        "captum:LRP",
    )
    assert not [name for name in METHODS if ":" in name]
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^Recipe 'union\(captum:KernelShip, saliency\)', position 7: Unknown captum method "
            r"'captum:KernelShip'\. Did you mean 'captum:KernelShap'\? Known: .*$"
        ),
    ):
        parse("union(captum:KernelShip, saliency)")
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^Recipe 'kernelshap', position 1: Unknown method or combination 'kernelshap'\. Did you mean "
            r"'captum:KernelShap'\? Known: .*$"
        ),
    ):
        parse("kernelshap")
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^Recipe 'captum:NeuronGradient', position 1: The captum method 'captum:NeuronGradient' is "
            r"not taken: it explains one inner unit, not the answer; a recipe explains the logit of a "
            r"class\.$"
        ),
    ):
        parse("captum:NeuronGradient")


def test_options_and_combinations(small: Spectrogram) -> None:
    options = {"captum:KernelShap": {"n_samples": 20, **COARSE}}
    found = explain_all(net(), small, ["union(captum:KernelShap, saliency)", "captum:NoiseTunnel"], options=options)
    assert not found.not_applicable
    assert found["union(captum:KernelShap, saliency)"].params["options"]["captum:KernelShap"]["n_samples"] == 20
    with pytest.raises(
        SpeechXAIError,
        match=(r"^Unknown option of 'captum:KernelShap' 'n_sample'\. Did you mean 'n_samples'\? Known: .*$"),
    ):
        explain(net(), small, "saliency", options={"captum:KernelShap": {"n_sample": 20}})


def test_a_network_without_gradients_has_the_perturbations(small: Spectrogram) -> None:
    class Stepwise(nn.Module):
        def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
            loud = (magnitude > 1).float().mean((1, 2))
            return torch.stack([-loud, loud], 1)

    model = Classifier(Stepwise(), STFT).eval()
    for name in captum_names():
        short = name.partition(":")[2]
        if CAPTUM.facts(name).get("gradient"):
            with pytest.raises(NotApplicable):
                bridge(short, model, small)
        else:
            assert bridge(short, model, small, **QUICK[name]).abs().max() > 0


def test_captum_is_loaded_when_it_is_used() -> None:
    source = Path(str(inspect.getsourcefile(patch_mask))).read_text("utf-8")
    assert "import captum" not in source
    assert "from captum" not in source
