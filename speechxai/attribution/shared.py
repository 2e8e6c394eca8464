"""One original pass for every method that needs it, and a counter of passes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from speechxai.attribution.base import check_target, leaf, n_segments, parts, plain, quiet, target_logit
from speechxai.attribution.rectifiers import RectifierMode, Rule, gradients_inside
from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.types import Spectrogram

NOT_DIFFERENTIABLE = (
    "this network is not differentiable in the magnitude; use occlusion, band_occlusion, segment_occlusion or rise."
)


def _first_tensor(output: Any) -> Tensor:
    while isinstance(output, tuple | list) and output:
        output = output[0]
    if not isinstance(output, Tensor):
        raise NotApplicable(f"the 'cam_layer' of this network returns {type(output).__name__}, not a tensor.")
    return output


class OriginalPass(nn.Module):
    """The forward pass of the unchanged recordings and its gradients, each computed once and kept.

    Give it to methods in the place of the model: saliency, input_x_gradient, guided_backprop, gradcam and guided_gradcam
    together then cost one forward and two backward passes. Called with any other spectrogram it is the model itself. It
    holds the graph of the forward pass until `release()`, so let it go when the recordings are explained.

    Args:
        model: any `forward(magnitude (B, F, T), phase (B, F, T)) -> logits (B, C)`.
        spec: the recordings; must not be changed afterwards.
    """

    def __init__(self, model: nn.Module, spec: Spectrogram) -> None:
        super().__init__()
        self.model = unwrap(model)
        self.spec = spec
        self.rule = Rule()
        self.training = self.model.training
        self.release()

    def __getattr__(self, name: str) -> Any:
        """Answer for the model: `max_batch`, `cut`, `stitch`, `cam_module` and so on."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("model"), name)

    def release(self) -> None:
        """Forget the graph, the logits and the gradients."""
        self._leaf: Tensor | None = None
        self._logits: Tensor | None = None
        self._activations: list[Tensor] = []
        self._gradients: dict[tuple[int, ...], tuple[Tensor, Tensor | None]] = {}
        self._guided: dict[tuple[int, ...], Tensor] = {}

    def holds(self, magnitude: Tensor) -> bool:
        """Whether `magnitude` is the one of the unchanged recordings, not a copy or a part."""
        own = self.spec.magnitude
        return magnitude is own or (
            magnitude.shape == own.shape
            and magnitude.stride() == own.stride()
            and magnitude.data_ptr() == own.data_ptr()
            and magnitude.dtype == own.dtype
            and not magnitude.requires_grad
        )

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        """Logits (B, C), from the kept pass where the recordings are the unchanged ones."""
        if self.holds(magnitude) and not magnitude.requires_grad:
            return self.logits()
        return self.model(magnitude, phase)  # type: ignore[no-any-return]

    def logits(self) -> Tensor:
        """Logits (B, C) of the unchanged recordings, detached."""
        return self._graph()[1].detach()

    def gradient(self, target: Tensor) -> Tensor:
        """Gradient (B, F, T) of the target logit by the magnitude. Raises NotApplicable where there is none."""
        return self._backward(target)[0]

    def cam(self, target: Tensor) -> tuple[Tensor, Tensor]:
        """Output of the `cam_layer` and the target logit's gradient by it, both with all segments first.

        Raises:
            NotApplicable: the network names no such layer, or calls it more or less than once a pass.
        """
        module = getattr(self.model, "cam_module", None)
        if module is None:
            raise NotApplicable("this network names no 'cam_layer', so Grad-CAM has no feature map to weight.")
        module()
        gradient = self._backward(target)[1]
        n_rows = len(self.spec) * n_segments(self.model, self.spec.magnitude)
        if gradient is None or len(gradient) != n_rows:
            raise NotApplicable("the 'cam_layer' of this network is not used exactly once in its forward pass.")
        return torch.cat(self._activations).detach(), gradient

    def guided_gradient(self, target: Tensor) -> Tensor:
        """Gradient (B, F, T) with the guided rule at every rectifier. Raises NotApplicable where there is no rectifier."""
        key = self._key(target)
        if key not in self._guided:
            magnitude, logits = self._graph()
            if not logits.requires_grad:
                raise NotApplicable(NOT_DIFFERENTIABLE)
            if self.rule.n_rectifiers == 0:
                raise NotApplicable(
                    "this network has no rectifier (ReLU, GELU, SiLU, ...), so guided backpropagation would be the plain gradient; use saliency."
                )
            with quiet(self.model), self.rule.guiding():
                (found,) = gradients_inside(RectifierMode(self.rule), target_logit(logits, target), [magnitude])
            if found is None:
                raise NotApplicable(NOT_DIFFERENTIABLE)
            self._guided[key] = found
        return self._guided[key].clone()

    def _key(self, target: Tensor) -> tuple[int, ...]:
        check_target(self.spec, target)
        return tuple(target.tolist())

    def _graph(self) -> tuple[Tensor, Tensor]:
        if self._leaf is None or self._logits is None:
            with quiet(self.model), RectifierMode(self.rule), self._watching_cam():
                self._leaf = leaf(self.spec.magnitude)
                self._logits = self.model(self._leaf, plain(self.spec.phase))
        return self._leaf, self._logits

    @contextmanager
    def _watching_cam(self) -> Iterator[None]:
        if getattr(self.model, "cam_module", None) is None or getattr(self.model, "cam_layer", None) is None:
            yield
            return
        handle = self.model.cam_module().register_forward_hook(  # type: ignore[operator]
            lambda module, inputs, output: self._activations.append(_first_tensor(output))
        )
        try:
            yield
        finally:
            handle.remove()

    def _backward(self, target: Tensor) -> tuple[Tensor, Tensor | None]:
        key = self._key(target)
        if key not in self._gradients:
            magnitude, logits = self._graph()
            if not logits.requires_grad:
                raise NotApplicable(NOT_DIFFERENTIABLE)
            inside = self._activations if all(values.requires_grad for values in self._activations) else []
            with quiet(self.model):
                score = target_logit(logits, target)
                first, *rest = gradients_inside(RectifierMode(self.rule), score, [magnitude, *inside])
            if first is None:
                raise NotApplicable(NOT_DIFFERENTIABLE)
            found = [gradient for gradient in rest if gradient is not None]
            self._gradients[key] = (first, torch.cat(found) if found and len(found) == len(rest) else None)
        gradient, by_activation = self._gradients[key]
        return gradient.clone(), by_activation


def unwrap(model: nn.Module) -> nn.Module:
    """Return the network itself, without the memory of an original pass."""
    return model.model if isinstance(model, OriginalPass) else model


def original_passes(model: nn.Module, spec: Spectrogram) -> Iterator[tuple[slice, OriginalPass]]:
    """The shared pass where `model` is one for these recordings; else one short-lived pass a part of the batch.

    Yields:
        The slice of the batch and its pass.
    """
    if isinstance(model, OriginalPass) and model.holds(spec.magnitude):
        yield slice(0, len(spec)), model
        return
    network = unwrap(model)
    for part in parts(network, spec.magnitude):
        yield (
            part,
            OriginalPass(network, Spectrogram(spec.magnitude[part], spec.phase[part], spec.n_samples, spec.stft)),
        )


def logit_gradient(model: nn.Module, magnitude: Tensor, phase: Tensor, target: Tensor) -> Tensor:
    """Gradient of the target logit at any magnitude: (B, F, T) twice and (B,) -> (B, F, T).

    Raises:
        NotApplicable: the network is not differentiable in the magnitude.
    """
    network = unwrap(model)
    with quiet(network):
        point = leaf(magnitude)
        logits = network(point, plain(phase))
        if not logits.requires_grad:
            raise NotApplicable(NOT_DIFFERENTIABLE)
        return torch.autograd.grad(target_logit(logits, target).sum(), point)[0]


@dataclass
class Passes:
    """What a model did: forward and backward passes in units of whole recordings."""

    forward: float = 0.0
    backward: float = 0.0


@contextmanager
def count_passes(model: nn.Module, spec: Spectrogram, *others: nn.Module) -> Iterator[Passes]:
    """Count the passes of `model`, and of other networks, inside this context, in recordings as long as those of `spec`.

    Segments count as their share of a recording, and what a checkpointed network computes again counts again.
    """
    network = unwrap(model)
    per_recording = n_segments(network, spec.magnitude)
    counted = {id(each): each for each in (getattr(n, "backbone", n) for n in (network, *map(unwrap, others)))}
    for inner in counted.values():
        if not isinstance(inner, nn.Module):
            raise SpeechXAIError(f"Passes are counted on an nn.Module. Got {type(inner).__name__} instead.")
    passes = Passes()

    def seen(module: nn.Module, inputs: Any, output: Any) -> None:
        n_rows = len(output)
        passes.forward += n_rows / per_recording
        if isinstance(output, Tensor) and output.requires_grad:
            output.register_hook(returned)  # type: ignore[no-untyped-call]

    def returned(gradient: Tensor) -> None:
        passes.backward += len(gradient) / per_recording

    handles = [inner.register_forward_hook(seen) for inner in counted.values()]
    try:
        yield passes
    finally:
        for handle in handles:
            handle.remove()
