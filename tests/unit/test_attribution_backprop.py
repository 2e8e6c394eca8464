"""The rectifier rule in real networks: checkpointing, in-place and functional calls, a waveform transformer, mel
bands."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchaudio
from torch import Tensor, nn

from speechxai.classifiers import Classifier, build
from speechxai.classifiers.network import WaveformDoor
from speechxai.classifiers.precision import at_precision
from speechxai.errors import NotApplicable
from speechxai.explain import METHODS, OriginalPass, baseline_magnitude
from speechxai.explain.backprop import _to_bins, rounding_of, share_of_mean
from speechxai.signal.stft import SegmentConfig, bin_frequencies_hz, spectrogram
from speechxai.types import Spectrogram, StftConfig

STFT = StftConfig(n_fft=64, win_length=64, hop_length=32, sample_rate=2000)
TARGET = torch.tensor([1, 0])
GRADIENTS = ["saliency", "guided_backprop", "gradcam", "guided_gradcam"]


@pytest.fixture(scope="module")
def spec() -> Spectrogram:
    return spectrogram(torch.randn(2, 1000, generator=torch.Generator().manual_seed(4)), STFT)


class Net(nn.Module):
    """The same weights with different spellings of the rectifier."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 2)
        self.module = nn.ReLU(inplace=True)

    def rectify(self, values: Tensor) -> Tensor:
        if self.kind == "module in place":
            return self.module(values)
        if self.kind == "torch":
            return torch.relu(values)
        if self.kind == "method in place":
            values.relu_()
            return values
        if self.kind == "functional in place":
            return nn.functional.relu(values, True)
        if self.kind == "keyword":
            return nn.functional.relu(input=values)
        return nn.functional.relu(values)

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        return self.head(self.rectify(self.second(self.rectify(self.first(magnitude[:, None])))).mean((2, 3)))


def net(kind: str) -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return Net(kind).eval()


@pytest.mark.parametrize("kind", ["torch", "module in place", "method in place", "functional in place", "keyword"])
def test_every_spelling_of_a_rectifier_is_seen(kind: str, spec: Spectrogram) -> None:
    for name in ("saliency", "guided_backprop", "deep_lift"):
        expected = METHODS[name](net("functional"), spec, TARGET)
        torch.testing.assert_close(METHODS[name](net(kind), spec, TARGET), expected)
    assert not torch.allclose(
        METHODS["guided_backprop"](net(kind), spec, TARGET).abs(), METHODS["saliency"](net(kind), spec, TARGET)
    )


def written(x: Tensor, how: Callable[[Tensor], object]) -> Tensor:
    """x after `how` wrote into a copy of it."""
    copied = x * 1.0
    how(copied)
    return copied


def in_numpy(x: Tensor) -> Tensor:
    return torch.from_numpy((x.detach().numpy() > 0).astype("float32"))


ZERO = torch.zeros(())
SAME_AS_RELU: dict[str, Callable[[Tensor], Tensor]] = {
    "clamp": lambda x: x.clamp(min=0),
    "clamp by tensor": lambda x: torch.clamp(x, ZERO),
    "clip": lambda x: torch.clip(x, 0),
    "clamp_min": lambda x: x.clamp_min(0),
    "threshold": lambda x: nn.functional.threshold(x, 0.0, 0.0),
    "PReLU(0)": nn.PReLU(init=0.0),
    "LeakyReLU(0)": nn.LeakyReLU(0.0),
    "Hardtanh": nn.Hardtanh(0.0, 1e6),
    "clamp at both ends": lambda x: x.clamp(0, 1e6),
    "maximum": lambda x: torch.maximum(x, ZERO),
    "fmax": lambda x: torch.fmax(torch.zeros_like(x), x),
    "max of two": lambda x: torch.max(x, ZERO),
    "mask": lambda x: x * (x > 0),
    "mask first": lambda x: (x >= 0) * x,
    "mask of numbers": lambda x: x * (x > 0).to(x),
    "mask turned round": lambda x: x * ~(x < 0),
    "mask without a gradient": lambda x: x * (x.detach() > 0).float(),
    "mask outside of torch": lambda x: x * in_numpy(x),
    "mask by sign": lambda x: x * ((torch.sign(x) + 1) / 2),
    "mask by step": lambda x: x * torch.heaviside(x.detach(), ZERO),
    "where": lambda x: torch.where(x > 0, x, 0.0),
    "where less": lambda x: torch.where(x < 0, torch.zeros_like(x), x),
    "masked_fill": lambda x: x.masked_fill(x < 0, 0),
    "clamp in place": lambda x: written(x, lambda y: y.clamp_(min=0)),
    "mask in place": lambda x: written(x, lambda y: y.mul_(y > 0)),
    "mask by operator": lambda x: written(x, lambda y: y.__imul__(y > 0)),
    "fill in place": lambda x: written(x, lambda y: y.masked_fill_(y < 0, 0.0)),
    "assignment": lambda x: written(x, lambda y: y.__setitem__(y < 0, 0)),
    "sum through a mask": lambda x: torch.einsum("bcft,bcft->bcft", x, (x > 0).float()),
}


class OwnFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.save_for_backward(values)
        return values.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] * (ctx.saved_tensors[0] > 0)


UNREADABLE: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "half of x + |x|": (lambda x: (x + x.abs()) / 2, "'abs' turns negative values over"),
    "x - min(x, 0)": (lambda x: x - x.clamp(max=0), "'clamp' is a rectifier in disguise"),
    "x - minimum": (lambda x: x - torch.minimum(x, ZERO), "'minimum' is a rectifier in disguise"),
    "softplus by logaddexp": (lambda x: torch.logaddexp(x, ZERO), "'logaddexp' is a rectifier in disguise"),
    "x + relu(-x)": (lambda x: x + torch.relu(-x), "'add' gives what a rectifier gives"),
    "nearly": (lambda x: x.clamp(min=1e-6), "'clamp' gives what a rectifier gives, or nearly"),
    "maximum of a stack": (lambda x: torch.stack([x, torch.zeros_like(x)]).amax(0), "maximum with a constant"),
    "own function": (OwnFunction.apply, "the function 'OwnFunction' has a backward pass of its own"),
    "selection": (lambda x: x * 0 + x[x > 0].sum(), "'getitem' switches activations by a comparison"),
    "twice a mask": (lambda x: x * (2 * (x > 0)), "'mul' switches activations by a comparison"),
    "voice activity": (lambda x: x * (x > x.mean()), "'mul' switches activations by a comparison"),
    "open on this recording": (lambda x: (x + 100) * (x + 100 > 0), "'mul' switches activations by a comparison"),
    "leaky by where": (lambda x: torch.where(x > 0, x, 0.1 * x), "'where' switches activations by a comparison"),
    "SiLU": (lambda x: x * torch.sigmoid(x), "a gate of themselves"),
    "SiLU by division": (lambda x: x / (1 + torch.exp(-x)), "a gate of themselves"),
    "GELU": (lambda x: 0.5 * x * (1 + torch.erf(x / 2**0.5)), "a gate of themselves"),
    "GELU by tanh": (lambda x: 0.5 * x * (1 + torch.tanh(0.8 * (x + 0.04 * x**3))), "a gate of themselves"),
    "root of a product": (lambda x: (x + torch.sqrt(x * x)) / 2, "stands for |x|"),
    "root of a square": (lambda x: (x + (x.square() + 1e-12).sqrt()) / 2, "stands for |x|"),
    "root as a power": (lambda x: (x + ((x**2) + 1e-12) ** 0.5) / 2, "stands for |x|"),
    "Hardswish": (lambda x: x * nn.functional.relu6(x + 3) / 6, "a gate of themselves"),
}
NO_RECTIFIERS: dict[str, Callable[[Tensor], Tensor]] = {
    "root mean square norm": lambda x: x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-6),
    "guarded deviation": lambda x: x / torch.where(x.std((2, 3), keepdim=True) > 0, x.std((2, 3), keepdim=True), 1.0),
    "squeeze and excitation": lambda x: x * torch.sigmoid(x.mean((2, 3), keepdim=True)),
    "gated halves": lambda x: nn.functional.glu(torch.cat([x, x.flip(2)], 1), 1),
    "length over channels": lambda x: x / (x.square().sum(1, keepdim=True) + 1e-6).sqrt(),
    "magnitude of two halves": lambda x: (x.square() + x.flip(1).square() + 1e-6).sqrt(),
    "power": lambda x: (x * x).clamp(min=1e-8).log(),
}


class Mixed(nn.Module):
    """Three rectifiers, of which `act` spells the second."""

    def __init__(self, act: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.third, self.head, self.act = nn.Conv2d(4, 4, 1), nn.Linear(4, 2), act

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        inner = self.act(self.second(torch.relu(self.first(magnitude[:, None]))))
        return self.head(torch.relu(self.third(inner)).mean((2, 3)))


def mixed(act: Callable[[Tensor], Tensor]) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return Classifier(Mixed(act), STFT, cam_layer="first").eval()


def test_a_rectifier_in_any_spelling_among_others_gives_the_map_of_relu(spec: Spectrogram) -> None:
    relu = mixed(nn.ReLU())
    expected = {name: METHODS[name](relu, spec, TARGET) for name in GRADIENTS}
    assert (expected["guided_backprop"].abs() - expected["saliency"]).abs().max() > 0.1 * expected["saliency"].max()
    for spelling, act in SAME_AS_RELU.items():
        model = mixed(act)
        for name in GRADIENTS:
            found, size = METHODS[name](model, spec, TARGET), expected[name].abs().max()
            assert float((found - expected[name]).abs().max()) <= 1e-6 * float(size), (spelling, name)


def test_mixtures_that_cannot_be_read_are_refused_and_say_why(spec: Spectrogram) -> None:
    for spelling, (act, reason) in UNREADABLE.items():
        for name in ("guided_backprop", "guided_gradcam"):
            with pytest.raises(NotApplicable) as refused:
                METHODS[name](mixed(act), spec, TARGET)
            assert reason in str(refused.value), spelling
            assert "plain gradient at others; write them as nn.ReLU" in str(refused.value), spelling
        METHODS["gradcam"](mixed(act), spec, TARGET)  # and the rest goes on
        METHODS["saliency"](mixed(act), spec, TARGET)


def test_functions_that_are_no_rectifiers_keep_their_gradient(spec: Spectrogram) -> None:
    for spelling, act in NO_RECTIFIERS.items():
        shared = OriginalPass(mixed(act), spec)
        assert METHODS["guided_backprop"](shared, spec, TARGET).abs().max() > 0, spelling
        assert shared.rule.n_rectifiers == 2, spelling


def test_captum_refuses_what_it_cannot_see(spec: Spectrogram) -> None:
    for act in (SAME_AS_RELU["clamp"], SAME_AS_RELU["mask"], SAME_AS_RELU["maximum"], UNREADABLE["SiLU"][0]):
        for name in ("captum:GuidedBackprop", "captum:Deconvolution", "captum:LRP"):
            with pytest.raises(NotApplicable, match=r"plain gradient"):
                METHODS[name](mixed(act), spec, TARGET)


@pytest.mark.parametrize(
    "rectifier",
    [
        nn.ReLU(),
        nn.GELU(),
        nn.GELU("tanh"),
        nn.SiLU(),
        nn.ELU(),
        nn.Mish(),
        nn.LeakyReLU(0.1),
        nn.ReLU6(),
        nn.Hardswish(),
        nn.Softplus(),
    ],
)
def test_guided_rule_against_a_slow_one(rectifier: nn.Module, spec: Spectrogram) -> None:
    """One layer, by the definition: v max(g, 0) r'(z) where z > 0."""
    with torch.random.fork_rng():
        torch.manual_seed(8)
        layer, head = nn.Conv2d(1, 3, 3, padding=1), torch.randn(2, 3)

    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.rectifier = layer, rectifier

        def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
            return self.rectifier(self.layer(magnitude[:, None])).sum((2, 3)) @ head.T

    z = layer(spec.magnitude[:, None]).detach().requires_grad_()
    slope = torch.autograd.grad(rectifier(z).sum(), z)[0]
    back = head[TARGET].clamp(min=0)[:, :, None, None] * slope * (z > 0)
    expected = nn.functional.conv_transpose2d(back, layer.weight, padding=1)[:, 0].detach()
    torch.testing.assert_close(METHODS["guided_backprop"](One(), spec, TARGET), expected, atol=1e-5, rtol=1e-5)
    # The mode leaves the plain gradient alone.
    magnitude = spec.magnitude.clone().requires_grad_()
    plain = torch.autograd.grad(One()(magnitude, spec.phase).gather(1, TARGET[:, None]).sum(), magnitude)[0]
    torch.testing.assert_close(METHODS["saliency"](One(), spec, TARGET), plain.abs())


def test_deep_lift_of_many_segments_sums_to_the_difference_of_their_mean_logits() -> None:
    long = spectrogram(torch.randn(2, 4000, generator=torch.Generator().manual_seed(3)), STFT)
    model = Classifier(build("cnn", STFT, n_mels=16, f_max_hz=1000.0), STFT, SegmentConfig(0.5, 0.25)).eval()
    assert model.cut(long.magnitude).shape[1] > 3
    values = METHODS["deep_lift"](model, long, TARGET)
    difference = model(long.magnitude, long.phase) - model(baseline_magnitude(long, "floor"), long.phase)
    torch.testing.assert_close(
        values.sum((1, 2)), difference.detach().gather(1, TARGET[:, None])[:, 0], atol=1e-4, rtol=1e-3
    )


@pytest.mark.parametrize("name", GRADIENTS)
def test_checkpointed_chunks_keep_the_rule(name: str) -> None:
    """More segments than max_batch: the network is computed again on the way back, and must be so under the same
    rule."""
    long = spectrogram(torch.randn(2, 4000, generator=torch.Generator().manual_seed(3)), STFT)
    for backbone in (net("functional"), nn.Sequential()):
        if isinstance(backbone, nn.Sequential):
            backbone = build("cnn", STFT, n_mels=16, f_max_hz=1000.0)
        layer = "second" if isinstance(backbone, Net) else "features"
        whole = Classifier(backbone, STFT, SegmentConfig(0.5, 0.25), cam_layer=layer, max_batch=64).eval()
        cut = Classifier(backbone, STFT, SegmentConfig(0.5, 0.25), cam_layer=layer, max_batch=3).eval()
        assert whole.cut(long.magnitude).shape[1] > 3
        expected = METHODS[name](whole, long, TARGET)
        assert expected.abs().max() > 0
        torch.testing.assert_close(METHODS[name](cut, long, TARGET), expected, atol=1e-6, rtol=1e-4)


class Hubert(nn.Module):
    """A tiny HuBERT of torchaudio with a mean over time and two logits."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = torchaudio.models.wav2vec2_model(
            extractor_mode="group_norm",
            extractor_conv_layer_config=[(16, 10, 5), (16, 3, 2), (16, 3, 2), (16, 3, 2), (16, 2, 2)],
            extractor_conv_bias=False,
            encoder_embed_dim=24,
            encoder_projection_dropout=0.1,
            encoder_pos_conv_kernel=16,
            encoder_pos_conv_groups=4,
            encoder_num_layers=2,
            encoder_num_heads=4,
            encoder_attention_dropout=0.1,
            encoder_ff_interm_features=48,
            encoder_ff_interm_dropout=0.1,
            encoder_dropout=0.1,
            encoder_layer_norm_first=False,
            encoder_layer_drop=0.0,
            aux_num_out=None,
        )
        self.head = nn.Linear(24, 2)

    def forward(self, waveforms: Tensor) -> Tensor:
        return self.head(self.encoder(waveforms)[0].mean(1))


@pytest.fixture(scope="module")
def hubert() -> Classifier:
    stft = StftConfig()
    with torch.random.fork_rng():
        torch.manual_seed(11)
        door = WaveformDoor(Hubert(), stft)
    return Classifier(door, stft, cam_layer="network.encoder.encoder.transformer.layers.1", max_batch=4).eval()


@pytest.fixture(scope="module")
def speech() -> Spectrogram:
    return spectrogram(torch.randn(2, 12_000, generator=torch.Generator().manual_seed(4)) * 0.1)


def test_guided_backprop_of_hubert_is_not_the_gradient(hubert: Classifier, speech: Spectrogram) -> None:
    """Its rectifiers are functional GELUs, invisible to hooks on modules."""
    saliency = METHODS["saliency"](hubert, speech, TARGET)
    guided = METHODS["guided_backprop"](hubert, speech, TARGET)
    correlation = torch.corrcoef(torch.stack([saliency.flatten(), guided.abs().flatten()]))[0, 1]
    assert guided.abs().max() > 0
    assert correlation < 0.95
    magnitude = speech.magnitude.clone().requires_grad_()
    heard = hubert.for_length(speech.n_samples)(magnitude, speech.phase)
    plain = torch.autograd.grad(heard.gather(1, TARGET[:, None]).sum(), magnitude)[0]
    torch.testing.assert_close(saliency, plain.abs(), atol=1e-6, rtol=1e-3)


def test_checkpointed_hubert_keeps_the_rule(hubert: Classifier, speech: Spectrogram) -> None:
    short = SegmentConfig(0.4, 0.2)
    whole = Classifier(hubert.backbone, segment=short, cam_layer=hubert.cam_layer, max_batch=32).eval()
    cut = Classifier(hubert.backbone, segment=short, cam_layer=hubert.cam_layer, max_batch=2).eval()
    for name in GRADIENTS:
        expected = METHODS[name](whole, speech, TARGET)
        torch.testing.assert_close(METHODS[name](cut, speech, TARGET), expected, atol=1e-6, rtol=1e-3)


def test_every_method_answers_on_hubert(hubert: Classifier, speech: Spectrogram) -> None:
    quick = {
        "smoothgrad": {"n_samples": 2},
        "integrated_gradients": {"n_steps": 2},
        "gradient_shap": {"n_samples": 2},
        "rise": {"n_masks": 4},
        "occlusion": {"patch_hz": 4000.0, "stride_hz": 4000.0},
    }
    for name in METHODS:
        if METHODS.facts(name).get("needs"):
            continue
        if name == "deep_lift":
            with pytest.raises(
                NotApplicable,
                match=(
                    r"^DeepLift's rescale rule does not cover this network: its group normalization "
                    r"divides by the input's own deviation; use integrated_gradients\.$"
                ),
            ):
                METHODS[name](hubert, speech, TARGET)
            continue
        together = METHODS[name](hubert, speech, TARGET, **quick.get(name, {}))
        assert together.isfinite().all()
        first = Spectrogram(speech.magnitude[:1], speech.phase[:1], speech.n_samples, speech.stft)
        alone = METHODS[name](hubert, first, TARGET[:1], **quick.get(name, {}))
        scale = float(alone.abs().max()) or 1.0
        torch.testing.assert_close(together[:1] / scale, alone / scale, atol=1e-4, rtol=1e-3)


def test_gradcam_of_a_transformer_knows_time_alone(hubert: Classifier, speech: Spectrogram) -> None:
    values = METHODS["gradcam"](hubert, speech, TARGET)
    assert (values == values[:, :1]).all()
    assert values.std(-1).max() > 0


def test_a_mel_band_goes_back_to_its_frequencies() -> None:
    backbone = build("cnn")
    filters = backbone.front_end.filters  # type: ignore[union-attr]
    for band in (3, 30, 60):
        bands = torch.zeros(1, 1, 64, 5)
        bands[0, 0, band] = 1
        heard = _to_bins(bands, Classifier(backbone), (513, 5))[0]
        frequencies = bin_frequencies_hz(StftConfig())
        center = (frequencies[:, None] * heard).sum() / heard.sum()
        expected = (frequencies * filters[:, band]).sum() / filters[:, band].sum()
        assert abs(float(center - expected)) < 20 + 0.02 * float(expected)
        assert (heard[filters[:, band] == 0] == 0).all()
    # A map that is 1 everywhere stays 1 wherever a band hears the bin, and is 0 below 50 Hz.
    flat = _to_bins(torch.ones(1, 1, 8, 3), Classifier(backbone), (513, 5))[0]
    hears = filters.sum(1) > 0
    torch.testing.assert_close(flat[hears], torch.ones(int(hears.sum()), 5))
    assert (flat[~hears] == 0).all()
    assert int((~hears).sum()) >= 3


def test_gradcam_refusals(spec: Spectrogram) -> None:
    with pytest.raises(
        NotApplicable, match=(r"^this network names no 'cam_layer', so Grad-CAM has no feature map to weight\.$")
    ):
        METHODS["gradcam"](net("functional"), spec, TARGET)
    with pytest.raises(
        NotApplicable, match=(r"^this network names no 'cam_layer', so Grad-CAM has no feature map to weight\.$")
    ):
        METHODS["guided_gradcam"](Classifier(net("functional"), STFT), spec, TARGET)
    twice = net("module in place")
    with pytest.raises(
        NotApplicable, match=(r"^the 'cam_layer' of this network is not used exactly once in its forward pass\.$")
    ):
        METHODS["gradcam"](Classifier(twice, STFT, cam_layer="module").eval(), spec, TARGET)
    with pytest.raises(
        NotApplicable,
        match=(
            r"^the 'cam_layer' of this network returns shape \(2, 2\); Grad-CAM needs \(S, C, M, T\) or "
            r"\(S, T, C\)\.$"
        ),
    ):
        METHODS["gradcam"](Classifier(net("functional"), STFT, cam_layer="head").eval(), spec, TARGET)


class ReadThrough(nn.Module):
    """A network that reads its feature map `features` through a norm and nothing else."""

    def __init__(self, norm: nn.Module, n_dimensions: int, decisive: bool = True) -> None:
        super().__init__()
        torch.manual_seed(3)
        convolution = nn.Conv2d(1, 6, 3, padding=1) if n_dimensions == 4 else nn.Conv1d(33, 6, 3, padding=1)
        self.features = nn.Sequential(convolution)
        self.norm, self.rectifier = norm, nn.ReLU()
        self.head = nn.Linear(6, 2)
        if not decisive:
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        maps = self.features(magnitude[:, None] if isinstance(self.features[0], nn.Conv2d) else magnitude)
        weighed = self.rectifier(self.norm(maps)).flatten(2)
        time = torch.linspace(0, 1, weighed.shape[2], dtype=weighed.dtype)
        return self.head((weighed * time).mean(2))


# norms over everything that Grad-CAM averages over: their gradients sum to 0 there, whatever comes after
VANISHING = {
    "instance norm of a map": (lambda: nn.InstanceNorm2d(6), 4),
    "instance norm over time": (lambda: nn.InstanceNorm1d(6), 3),
    "group norm, a group a channel": (lambda: nn.GroupNorm(6, 6), 4),
    "group norm over time": (lambda: nn.GroupNorm(6, 6), 3),
}


@pytest.mark.parametrize("name", VANISHING)
def test_gradcam_of_vanishing_weights_is_refused(name: str, spec: Spectrogram) -> None:
    made, n_dimensions = VANISHING[name]
    exact = Spectrogram(spec.magnitude.double(), spec.phase.double(), spec.n_samples, STFT)
    models = ReadThrough(made(), n_dimensions), ReadThrough(made(), n_dimensions).double()
    for model, heard in zip(models, (spec, exact), strict=True):
        classifier = Classifier(model, STFT, cam_layer="features").eval()
        _, gradient = OriginalPass(classifier, heard).cam(TARGET)
        assert (share_of_mean(gradient) < (1e-6 if heard is spec else 1e-14)).all()
        for method in ("gradcam", "guided_gradcam"):
            with pytest.raises(NotApplicable, match=r"weights of Grad-CAM vanish: .* of their size, which is rounding"):
                METHODS[method](classifier, heard, TARGET)
        if n_dimensions == 4 and heard is spec:
            for method in ("captum:LayerGradCam", "captum:GuidedGradCam"):
                with pytest.raises(NotApplicable, match="weights of Grad-CAM vanish"):
                    METHODS[method](classifier, heard, TARGET)
        METHODS["guided_backprop"](classifier, heard, TARGET)  # others are not concerned


@pytest.mark.parametrize("n_dimensions", [3, 4])
def test_gradcam_of_ordinary_weights_is_not_refused(n_dimensions: int, spec: Spectrogram) -> None:
    norm = nn.BatchNorm2d(6) if n_dimensions == 4 else nn.BatchNorm1d(6)
    classifier = Classifier(ReadThrough(norm, n_dimensions), STFT, cam_layer="features").eval()
    assert METHODS["gradcam"](classifier, spec, TARGET).max() > 0
    _, gradient = OriginalPass(classifier, spec).cam(TARGET)
    assert (share_of_mean(gradient) > 1e-3).all()
    # a network that does not listen has an empty map, which is no noise
    deaf = Classifier(ReadThrough(norm, n_dimensions, decisive=False), STFT, cam_layer="features").eval()
    assert METHODS["gradcam"](deaf, spec, TARGET).abs().max() == 0


def test_share_of_mean_by_hand() -> None:
    # channel 0: mean (3 - 1) / 2 = 1, channel 1: 0; sizes (3 + 1) / 2 = 2 and (2 + 2) / 2 = 2, the larger 2: 1 / 2. All
    # zero counts as 1. Third: the one channel with gradients decides, mean .5, size 3.5, not the silent one beside it
    gradient = torch.tensor([[[3.0, -1], [2, -2]], [[0, 0], [0, 0]], [[4, -3], [0, 0]]])
    assert share_of_mean(gradient).tolist() == pytest.approx([0.5, 1.0, 1 / 7])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", VANISHING)
def test_vanishing_weights_are_refused_at_every_precision(name: str, precision: str, spec: Spectrogram) -> None:
    made, n_dimensions = VANISHING[name]
    model = Classifier(ReadThrough(made(), n_dimensions), STFT, cam_layer="features").eval()
    explained, _ = at_precision(model, precision)
    with pytest.raises(NotApplicable, match="weights of Grad-CAM vanish"):
        METHODS["gradcam"](explained, spec, TARGET)
    norm = nn.BatchNorm2d(6) if n_dimensions == 4 else nn.BatchNorm1d(6)
    ordinary = Classifier(ReadThrough(norm, n_dimensions), STFT, cam_layer="features").eval()
    explained, _ = at_precision(ordinary, precision)
    assert METHODS["gradcam"](explained, spec, TARGET).max() > 0


@pytest.mark.parametrize("sharpness", [1, 30, 1000])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_sharp_attention_hides_no_rounding(sharpness: float, precision: str, speech: Spectrogram) -> None:
    # few moments have any gradient, and the mean size of all is far below that of those few
    torch.manual_seed(0)
    model = Classifier(build("ssl", size="tiny", hidden_size=24, n_classes=1)).eval()
    pooling = [p for n, p in model.backbone.named_parameters() if "pool" in n and n.endswith("weight")]  # type: ignore[union-attr]
    assert pooling
    with torch.no_grad():
        for weights in pooling:
            weights.mul_(sharpness)
    explained, _ = at_precision(model, precision)
    _, gradient = OriginalPass(explained, speech).cam(torch.ones(len(speech), dtype=torch.int64))
    assert (share_of_mean(gradient) < rounding_of(explained, gradient)).all()
    assert (share_of_mean(gradient.transpose(1, 2)) > 10 * rounding_of(explained, gradient)).all()


def test_the_published_weights_are_rounding_and_ours_are_not(speech: Spectrogram) -> None:
    # SSL4PR's head reads every layer through a LayerNorm: means over features (captum's weights on (S, T', C)) vanish,
    # means over time do not
    torch.manual_seed(0)
    model = Classifier(build("ssl", size="tiny", hidden_size=24, n_classes=1)).eval()
    _, gradient = OriginalPass(model, speech).cam(torch.ones(len(speech), dtype=torch.int64))
    assert (share_of_mean(gradient) < 1e-6).all()
    assert (share_of_mean(gradient.transpose(1, 2)) > 1e-3).all()
    assert METHODS["gradcam"](model, speech, torch.ones(len(speech), dtype=torch.int64)).max() > 0


def test_a_failing_network_is_left_clean(spec: Spectrogram) -> None:
    class Fails(Net):
        def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
            super().forward(magnitude, phase)
            raise RuntimeError("no")

    model = Classifier(Fails("functional"), STFT, cam_layer="second").train()
    before = copy.deepcopy([m.training for m in model.modules()])
    with pytest.raises(RuntimeError, match="no"):
        METHODS["guided_gradcam"](model, spec, TARGET)
    assert [m.training for m in model.modules()] == before
    assert all(p.requires_grad for p in model.parameters())
    assert not any(m._forward_hooks for m in model.modules())
    # The mode is left: a relu is torch's own again.
    assert torch.relu(torch.ones(1, requires_grad=True)).grad_fn.name() == "ReluBackward0"  # type: ignore[union-attr]


def test_one_dimensional_convolutions_have_channels_first() -> None:
    class Over(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(nn.Conv1d(33, 5, 3, padding=1), nn.ReLU())
            self.head = nn.Linear(5, 2)

        def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
            return self.head(self.features(magnitude).mean(2))

    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = Classifier(Over(), STFT, cam_layer="features").eval()
    spec = spectrogram(torch.randn(1, 1000, generator=torch.Generator().manual_seed(1)), STFT)
    found = METHODS["gradcam"](model, spec, torch.tensor([1]))
    # The head is linear on mean features: w_k = head[1, k] / T, and the map is relu(sum_k w_k a_k).
    features = model.backbone.features(spec.magnitude)  # type: ignore[union-attr, operator]
    weights = model.backbone.head.weight[1] / features.shape[-1]  # type: ignore[union-attr, operator, index]
    expected = torch.relu((weights[None, :, None] * features).sum(1)).detach()
    torch.testing.assert_close(found[:, 7], expected)
