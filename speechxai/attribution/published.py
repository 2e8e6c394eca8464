"""The published study's own choices, two degenerate maps as captum gives them among them, so that its numbers can be met.

`guided_backprop_relu_modules` knows ReLU modules only: on a network of GELU or functional ReLU it is the plain gradient.
`guided_gradcam_captum` reads the hidden units of a transformer layer as frequency. Cited: mancini2025investigating.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from speechxai.attribution.base import check_target, parts, plain, quiet
from speechxai.attribution.shared import unwrap
from speechxai.classifiers import Classifier
from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.registry import Registry
from speechxai.types import Spectrogram

PUBLISHED_VARIANTS: Registry[Any] = Registry(
    "published variant", required=("signed", "stochastic", "cites", "replaces", "degenerate")
)
"""Maps of the published protocol by name; `replaces` names the method of the standard protocol."""

PUBLISHED_OPTIONS: dict[str, dict[str, Any]] = {
    "smoothgrad": {"n_samples": 10, "sigma": 1.0, "relative": False, "clamp": False, "absolute": True},
    "integrated_gradients": {"n_steps": 5, "baseline": "silence"},
    "gradient_shap": {"n_samples": 5, "baselines": "normal"},
}
"""Options that give the published study's settings of the other methods, read in its code (docs/protocol-mancini2025.md): captum's
defaults are 5 samples of GradientSHAP, noise of standard deviation 1 and, inside SmoothGrad, the size of each gradient."""


@PUBLISHED_VARIANTS.register(
    signed=True, stochastic=False, cites="mancini2025investigating", replaces="guided_backprop", degenerate=True
)
def guided_backprop_relu_modules(model: nn.Module, spec: Spectrogram, target: Tensor) -> Tensor:
    """Guided backpropagation through `nn.ReLU` modules alone, (B, F, T); the plain gradient where there are none."""
    from captum.attr import GuidedBackprop

    check_target(spec, target)
    network = unwrap(model)
    found = []
    for part in parts(network, spec.magnitude):
        with quiet(network), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            values = GuidedBackprop(network).attribute(
                plain(spec.magnitude[part]).clone(),
                plain(target[part]),
                additional_forward_args=(plain(spec.phase[part]),),
            )
        found.append(values.detach())
    return torch.cat(found)


@PUBLISHED_VARIANTS.register(
    signed=True, stochastic=False, cites="mancini2025investigating", replaces="guided_gradcam", degenerate=True
)
def guided_gradcam_captum(model: nn.Module, spec: Spectrogram, target: Tensor) -> Tensor:
    """Guided Grad-CAM as captum gives it, nearest-neighbor resized, (B, F, T).

    The feature map (S, C, M, T') of a convolution is laid over the bins as if its bands were linear in frequency; the output
    (S, T', C) of a transformer layer is averaged over its time steps' gradients, and its C units are laid over frequency.

    Raises:
        NotApplicable: the network names no `cam_layer`, or its output has another shape.
    """
    from captum.attr import GuidedGradCam

    check_target(spec, target)
    network = unwrap(model)
    if getattr(network, "cam_module", None) is None:
        raise NotApplicable("this network names no 'cam_layer', so Grad-CAM has no feature map to weight.")
    layer: nn.Module = network.cam_module()  # type: ignore[operator]
    found = []
    for part in parts(network, spec.magnitude):
        with quiet(network), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            cut = [network.cut(plain(values[part])) for values in (spec.magnitude, spec.phase)]  # type: ignore[operator]
            n_cut = cut[0].shape[1]
            magnitude, phase = (values.flatten(0, 1) for values in cut)
            rows = plain(target[part]).repeat_interleave(n_cut)
            n_dimensions = _output_dimensions(network, layer, magnitude, phase)
            view = _View(network, n_dimensions)
            with _tapped(layer) as tap:
                values = GuidedGradCam(view, tap).attribute(
                    view.wrap(magnitude), rows, additional_forward_args=(phase,)
                )
            maps = view.unwrap(values.detach()).view(-1, n_cut, *magnitude.shape[1:])
        found.append(network.stitch(maps, spec.magnitude.shape[-1]))  # type: ignore[operator]
    return torch.cat(found)


class ProbabilityOfPd(Classifier):
    """A classifier whose explained quantity is the probability of PD for both classes, after the sigmoid, as published.

    Each segment's row is (p, p) with p = softmax(logits)_1. Shares the backbone with `classifier`.

    Raises:
        SpeechXAIError: a classifier with other than two classes.
    """

    def __init__(self, classifier: Classifier) -> None:
        if len(classifier.class_names) != 2:
            raise SpeechXAIError(
                f"The published protocol knows two classes. Got {len(classifier.class_names)} instead."
            )
        super().__init__(
            classifier.backbone,
            classifier.stft,
            classifier.segment,
            classifier.class_names,
            classifier.cam_layer,
            classifier.max_batch,
        )
        self.temperature = classifier.temperature
        self.training = classifier.training

    def segment_logits(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        """Probabilities of PD of segments (S, F, L) -> (S, 2), the same in both columns."""
        return super().segment_logits(magnitude, phase).softmax(-1)[:, 1:].expand(-1, 2)


class _View(nn.Module):
    """Gives the segments the axes that captum lays a layer's output over: (S, 1, F, L) for maps, (S, L, F) for sequences."""

    def __init__(self, network: nn.Module, n_dimensions: int) -> None:
        super().__init__()
        if n_dimensions not in (3, 4):
            raise NotApplicable(
                f"the 'cam_layer' of this network returns {n_dimensions} axes; captum's Grad-CAM needs 3 or 4."
            )
        self.network = network
        self.is_map = n_dimensions == 4

    def wrap(self, magnitude: Tensor) -> Tensor:
        return (magnitude[:, None] if self.is_map else magnitude.transpose(1, 2)).clone()

    def unwrap(self, values: Tensor) -> Tensor:
        return values[:, 0] if self.is_map else values.transpose(1, 2).contiguous()

    def forward(self, values: Tensor, phase: Tensor) -> Tensor:
        logits: Tensor = self.network.segment_logits(self.unwrap(values), phase)  # type: ignore[operator]
        return logits


@contextmanager
def _tapped(layer: nn.Module) -> Iterator[nn.Module]:
    """Give a module that sees the layer's first output alone: captum stumbles over layers that return None beside it."""
    tap = nn.Identity()

    def through(module: nn.Module, inputs: Any, output: Any) -> Any:
        return tap(output) if isinstance(output, Tensor) else (tap(output[0]), *output[1:])

    handle = layer.register_forward_hook(through)
    try:
        yield tap
    finally:
        handle.remove()


def _output_dimensions(network: nn.Module, layer: nn.Module, magnitude: Tensor, phase: Tensor) -> int:
    seen: list[int] = []
    handle = layer.register_forward_hook(
        lambda module, inputs, output: seen.append(output.ndim if isinstance(output, Tensor) else output[0].ndim)
    )
    try:
        with torch.no_grad():
            network.segment_logits(magnitude[:1], phase[:1])  # type: ignore[operator]
    finally:
        handle.remove()
    if len(seen) != 1:
        raise NotApplicable("the 'cam_layer' of this network is not used exactly once in its forward pass.")
    return seen[0]
