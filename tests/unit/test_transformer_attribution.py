"""Attribution on speech transformers: every method, the GELU rule, Grad-CAM in time, attention rollout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from speechxai.classifiers import Classifier, build
from speechxai.classifiers.ssl import FAMILIES, Attention, Ssl
from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.explain import METHODS
from speechxai.explain.explain import explain
from speechxai.explain.transformer import rollout
from speechxai.signal.stft import SegmentConfig, inverse, spectrogram
from speechxai.types import Spectrogram

QUICK = {
    "smoothgrad": {"n_samples": 2},
    "integrated_gradients": {"n_steps": 2},
    "gradient_shap": {"n_samples": 2},
    "rise": {"n_masks": 4},
    "occlusion": {"patch_ms": 250.0, "stride_ms": 250.0, "patch_hz": 4000.0, "stride_hz": 4000.0},
}


def tiny(family: str = "hubert", max_batch: int = 8) -> Classifier:
    torch.manual_seed(0)
    backbone = build("ssl", family=family, size="tiny", hidden_size=8)
    assert isinstance(backbone, Ssl)
    with torch.no_grad():
        # Random tiny projections make nearly equal tokens; spread them so that attention has something to tell apart.
        backbone.network.ssl.encoder.feature_projection.projection.weight.mul_(10)
    return Classifier(
        backbone, segment=SegmentConfig(0.4, 0.2), cam_layer=backbone.cam_layer, max_batch=max_batch
    ).eval()


def voices(n: int = 2, n_samples: int = 12_000) -> Spectrogram:
    generator = torch.Generator().manual_seed(1)
    envelope = torch.linspace(0.0, 9.0, n_samples).sin().abs()
    return spectrogram(0.2 * envelope * torch.randn(n, n_samples, generator=generator))


TARGET = torch.tensor([1, 0])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "method", [name for name in METHODS if METHODS.facts(name).get("needs") not in ("units", "interpreter")]
)
def test_every_method_gives_a_map_or_the_reason(method: str, family: str) -> None:
    classifier, spec = tiny(family), voices()
    state = {name: value.clone() for name, value in classifier.state_dict().items()}
    if method in ("deep_lift", "lrp"):
        with pytest.raises(
            NotApplicable,
            match=(
                r"^deep_lift: DeepLift's rescale rule does not cover this network: its group "
                r"normalization divides by the input's own deviation; use integrated_gradients\.$"
            ),
        ):
            explain(classifier, spec, method, TARGET)
    else:
        found = explain(classifier, spec, method, TARGET, options={method: QUICK[method]} if method in QUICK else {})
        assert found.values.shape == spec.magnitude.shape
        assert found.values.abs().amax(dim=(1, 2)).min() > 0
        time_only = method in ("gradcam", "guided_gradcam", "attention_rollout")
        assert ("notes" in found.params) == time_only
        if method in ("gradcam", "attention_rollout"):
            assert torch.equal(found.values, found.values[:, :1].expand_as(found.values))
            assert "time only" in found.params["notes"][0]
    assert all(
        not module._forward_hooks and not module._forward_pre_hooks and not module._backward_hooks
        for module in classifier.modules()
    )
    assert all(torch.equal(value, state[name]) for name, value in classifier.state_dict().items())


class _Guided(torch.autograd.Function):
    """The guided rule written out once more, for the functions of this network alone."""

    @staticmethod
    def forward(ctx: object, values: Tensor, kind: str) -> Tensor:
        ctx.save_for_backward(values)  # type: ignore[attr-defined]
        ctx.kind = kind  # type: ignore[attr-defined]
        return values * (values > 0) if kind == "relu" else values * 0.5 * (1 + torch.erf(values / 2**0.5))

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (values,) = ctx.saved_tensors  # type: ignore[attr-defined]
        slope = torch.ones_like(values)
        if ctx.kind == "gelu":  # type: ignore[attr-defined]
            # d/dx x Phi(x) = Phi(x) + x phi(x)
            slope = (
                0.5 * (1 + torch.erf(values / 2**0.5)) + values * torch.exp(-(values**2) / 2) / (2 * torch.pi) ** 0.5
            )
        return gradient.clamp(min=0) * slope * (values > 0), None


@contextmanager
def guided_functions() -> Iterator[None]:
    gelu, relu = nn.functional.gelu, nn.functional.relu
    nn.functional.gelu = lambda values, approximate="none": _Guided.apply(values, "gelu")  # type: ignore[assignment]
    nn.functional.relu = lambda values, inplace=False: _Guided.apply(values, "relu")  # type: ignore[assignment]
    try:
        yield
    finally:
        nn.functional.gelu, nn.functional.relu = gelu, relu


@pytest.mark.parametrize("max_batch", [8, 2])
def test_guided_backprop_through_gelu_equals_the_rule_written_out(max_batch: int) -> None:
    """With max_batch 2 the network computes its chunks again in the backward pass: the rule must hold there too."""
    classifier, spec = tiny(max_batch=max_batch), voices()
    magnitude = spec.magnitude.clone().requires_grad_()
    with guided_functions():
        segments = classifier.cut(magnitude)
        logits = torch.stack(
            [classifier.segment_logits(m, p) for m, p in zip(segments, classifier.cut(spec.phase), strict=True)]
        ).mean(1)
        logits.gather(1, TARGET[:, None]).sum().backward()
    found = METHODS["guided_backprop"](classifier, spec, TARGET)
    assert magnitude.grad is not None
    torch.testing.assert_close(found, magnitude.grad, atol=1e-6 * float(magnitude.grad.abs().max()), rtol=1e-3)
    plain = METHODS["saliency"](classifier, spec, TARGET)
    assert not torch.allclose(found.abs(), plain, rtol=0.05)


def test_gradcam_weights_the_last_layer() -> None:
    """relu(sum_k mean_t(g_kt) a_tk), written out for the one segment of a short recording, resized to its frames."""
    classifier, spec = tiny(), voices(1, 6_000)
    network = classifier.backbone.network
    waveform = inverse(spec.magnitude, spec.phase, classifier.stft, 6_000)
    with torch.enable_grad():
        states = network.hidden_states(waveform)
        last = states[-1].detach().requires_grad_()
        logit = network.head([*(state.detach() for state in states[:-1]), last])[0, 1]
        gradient = torch.autograd.grad(logit, last)[0][0]
    cam = (last.detach()[0] @ gradient.mean(0)).clamp(min=0)
    expected = nn.functional.interpolate(
        cam[None, None], size=spec.magnitude.shape[-1], mode="linear", align_corners=False
    )[0, 0]
    found = METHODS["gradcam"](classifier, spec, torch.tensor([1]))[0, 0]
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)


def test_rollout_by_hand() -> None:
    # Two tokens, two layers. A1 = ((1, 0), (1/2, 1/2)), A2 = ((0, 1), (0, 1)); with the residual path (A + I) / 2:
    # B1 = ((1, 0), (1/4, 3/4)), B2 = ((1/2, 1/2), (0, 1)). time = (1, 0), mix = (1/2, 1/4, 1/4).
    # time B1 = (1, 0); time B2 B1 = (1/2, 1/2) B1 = (1/2 + 1/8, 3/8) = (5/8, 3/8).
    # Sum: 1/2 (1, 0) + 1/4 (1, 0) + 1/4 (5/8, 3/8) = (29/32, 3/32).
    first, second = torch.tensor([[1.0, 0.0], [0.5, 0.5]]), torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    attention = Attention(
        torch.stack([first, second])[:, None], torch.tensor([[1.0, 0.0]]), torch.tensor([0.5, 0.25, 0.25])
    )
    torch.testing.assert_close(rollout(attention), torch.tensor([[29 / 32, 3 / 32]]))
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^Attention of 2 layers over 2 tokens needs time \(1, 2\) and mix \(3,\)\. Got \(1, 2\) and "
            r"\(2,\) instead\.$"
        ),
    ):
        rollout(attention._replace(mix=torch.ones(2)))


@pytest.mark.parametrize("family", FAMILIES)
def test_rollout_equals_full_matrix_products(family: str) -> None:
    classifier, spec = tiny(family), voices(1, 6_000)
    attention = classifier.backbone.attention_maps(spec.magnitude, spec.phase)
    torch.testing.assert_close(attention.layers.sum(-1), torch.ones(2, 1, attention.layers.shape[-1]))
    expected = torch.zeros(attention.layers.shape[-1])
    walked = torch.eye(attention.layers.shape[-1])
    for index, share in enumerate(attention.mix):
        if index:
            walked = 0.5 * (attention.layers[index - 1, 0] + torch.eye(len(walked))) @ walked
        expected = expected + share * (attention.time[0] @ walked)
    found = rollout(attention)[0]
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    assert float(found.sum()) == pytest.approx(1.0, abs=1e-5)


def test_every_layer_of_a_rollout_has_its_own_share() -> None:
    # Three layers, unequal shares: each layer's share goes to the features after it, by full matrix products.
    generator = torch.Generator().manual_seed(0)
    layers = torch.rand(3, 1, 4, 4, generator=generator).softmax(-1)
    time, mix = torch.tensor([[0.1, 0.2, 0.3, 0.4]]), torch.tensor([0.4, 0.3, 0.2, 0.1])
    b1, b2, b3 = (0.5 * (layer[0] + torch.eye(4)) for layer in layers)
    expected = time[0] @ (0.4 * torch.eye(4) + 0.3 * b1 + 0.2 * b2 @ b1 + 0.1 * b3 @ b2 @ b1)
    torch.testing.assert_close(rollout(Attention(layers, time, mix))[0], expected)


def test_rollout_of_long_recordings_and_batches() -> None:
    classifier, spec = tiny(max_batch=2), voices(2)
    together = METHODS["attention_rollout"](classifier, spec, TARGET)
    for row in range(2):
        alone = Spectrogram(spec.magnitude[row : row + 1], spec.phase[row : row + 1], spec.n_samples, spec.stft)
        torch.testing.assert_close(
            METHODS["attention_rollout"](classifier, alone, TARGET[row : row + 1])[0],
            together[row],
            atol=1e-6,
            rtol=1e-4,
        )
    assert together.min() >= 0
    other = METHODS["attention_rollout"](classifier, spec, 1 - TARGET)
    assert torch.equal(other, together)


def test_networks_without_attention_are_told() -> None:
    with pytest.raises(
        NotApplicable,
        match=(
            r"^this network has no attention layers that can be read, so there is nothing to roll out; "
            r"use saliency or occlusion\.$"
        ),
    ):
        METHODS["attention_rollout"](Classifier(build("cnn")).eval(), voices(), TARGET)
