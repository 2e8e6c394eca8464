"""One original pass for every method that needs it, and a counter of passes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from speechxai.classifiers.base import Classifier
from speechxai.classifiers.network import Delegate, Network, as_network, is_scripted
from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.explain.rectifiers import RectifierMode, Rule, gradients_inside, hidden_rectifier
from speechxai.families import METHODS as METHODS
from speechxai.types import Spectrogram


@contextmanager
def quiet(model: nn.Module | Network) -> Iterator[None]:
    """Hold `model` in evaluation mode with frozen parameters and gradients enabled; put everything back afterwards.

    Frozen parameters keep no activations for weight gradients, and a tensor that requires a gradient is then one that
    depends on the spectrogram.
    """
    training = [module for module in model.modules() if module.training]
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for module in training:
            module.training = False
        for parameter in learning:
            parameter.requires_grad_(False)
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for module in training:
            module.training = True
        for parameter in learning:
            parameter.requires_grad_(True)


def check_target(spec: Spectrogram, target: Tensor) -> None:
    """Raise SpeechXAIError unless `target` holds one class index (int64) a recording."""
    if target.dtype != torch.int64 or target.shape != (len(spec),):
        raise SpeechXAIError(
            f"The 'target' parameter must hold one int64 class index a recording, shape ({len(spec)},). "
            f"Got {tuple(target.shape)} of {target.dtype} instead."
        )


def target_logit(logits: Tensor, target: Tensor) -> Tensor:
    """Pick the logit of the explained class: logits (B, C), target (B,) -> (B,). Raises SpeechXAIError for wrong shapes
    or indices."""
    if logits.ndim != 2 or len(logits) != len(target):
        raise SpeechXAIError(
            f"The network must return logits of shape ({len(target)}, C). Got {tuple(logits.shape)} instead."
        )
    if target.numel() and not 0 <= int(target.min()) <= int(target.max()) < logits.shape[1]:
        raise SpeechXAIError(
            f"The 'target' parameter must be in 0 .. {logits.shape[1] - 1} for this network. Got"
            f" {sorted(set(target.tolist()))} instead."
        )
    return logits.gather(1, plain(target).to(logits.device)[:, None])[:, 0]


def network_of(model: nn.Module | Network, spec: Spectrogram) -> Network:
    """Return the network itself, without the memory of an original pass, as it hears recordings as long as these."""
    return as_network(unwrap(model)).for_length(spec.n_samples)


def n_segments(model: nn.Module | Network, magnitude: Tensor) -> int:
    """Number of segments in which `model` hears recordings shaped like `magnitude` (B, F, T)."""
    return int(as_network(model).cut(magnitude[:1, :1]).shape[1])


def recordings_at_once(model: nn.Module | Network, magnitude: Tensor) -> int:
    """Recordings that fit into one pass of `model.max_batch` segments, at least 1; 1 where the model takes one at a
    time."""
    network = as_network(model)
    return 1 if network.one_at_a_time else max(1, network.max_batch // n_segments(network, magnitude))


def parts(model: nn.Module | Network, magnitude: Tensor) -> Iterator[slice]:
    """Slices of the batch, each small enough for one pass."""
    size = recordings_at_once(model, magnitude)
    for first in range(0, len(magnitude), size):
        yield slice(first, min(first + size, len(magnitude)))


def refuse_scripted(network: Network, method: str) -> None:
    """Raise NotApplicable where a part of the network is a ScriptModule: a rule for its functions would not be seen."""
    if is_scripted(network):
        raise NotApplicable(
            f"a part of this network is a ScriptModule, whose functions {method} cannot reach; load the nn.Module it"
            " was made from, or use integrated_gradients."
        )


def refuse_unreadable(rule: Rule, logits: Tensor, method: str) -> None:
    """Raise NotApplicable where a pass inside `RectifierMode` met a likely rectifier that cannot follow the rule."""
    found = rule.unreadable or hidden_rectifier(logits)
    if found:
        raise NotApplicable(
            f"{found}: {method} would follow its rule at some rectifiers of this network and the plain gradient at"
            " others; write them as nn.ReLU, nn.GELU, ..., or use integrated_gradients."
        )


def leaf(values: Tensor) -> Tensor:
    """Copy `values` to a tensor of its own that asks for a gradient."""
    return values.detach().clone().requires_grad_()


def plain(values: Tensor) -> Tensor:
    """Return `values` as a tensor that autograd may save, also when it was made in inference mode."""
    return values.clone() if values.is_inference() else values.detach()


def generator(seed: int, index: int = 0) -> torch.Generator:
    """Random numbers of draw number `index`: they depend on the seed and the index alone, never on the recording or the
    batch."""
    return torch.Generator().manual_seed((int(seed) * 1_000_003 + index) % 2**63)


def require_at_least(name: str, value: int, least: int, method: str) -> None:
    """Raise SpeechXAIError where a count option is too small or no whole number."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise SpeechXAIError(
            f"The '{name}' parameter of {method} must be an int of at least {least}. Got {value!r} instead."
        )


# One original pass for every method that needs it, and a counter of passes.
NOT_DIFFERENTIABLE = (
    "this network is not differentiable in the magnitude; use occlusion, band_occlusion, segment_occlusion or rise."
)


def _first_tensor(output: Any) -> Tensor:
    while isinstance(output, tuple | list) and output:
        output = output[0]
    if not isinstance(output, Tensor):
        raise NotApplicable(f"the 'cam_layer' of this network returns {type(output).__name__}, not a tensor.")
    return output


class OriginalPass(Delegate):
    """The forward pass of the unchanged recordings and its gradients, each computed once and kept.

    Give it to methods in the place of the model: saliency, input_x_gradient, guided_backprop, gradcam and
        guided_gradcam
    together then cost one forward and two backward passes. Called with any other spectrogram it is the model itself. It
    holds the graph of the forward pass until `release()`, so let it go when the recordings are explained.

    Args:
        model: any `forward(magnitude (B, F, T), phase (B, F, T)) -> logits (B, C)`.
        spec: the recordings; must not be changed afterwards.
    """

    def __init__(self, model: nn.Module | Network, spec: Spectrogram) -> None:
        super().__init__(network_of(model, spec))
        self.spec = spec
        self.rule = Rule()
        self.release()

    def for_length(self, n_samples: int) -> Network:
        """Return itself for recordings as long as its own, else the network without this memory."""
        return self if n_samples == self.spec.n_samples else self.model.for_length(n_samples)

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
        return self.model(magnitude, phase)

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
        self.model.cam_module()
        gradient = self._backward(target)[1]
        n_rows = len(self.spec) * n_segments(self.model, self.spec.magnitude)
        if gradient is None or len(gradient) != n_rows:
            raise NotApplicable("the 'cam_layer' of this network is not used exactly once in its forward pass.")
        return torch.cat(self._activations).detach(), gradient

    def guided_gradient(self, target: Tensor) -> Tensor:
        """Gradient (B, F, T) with the guided rule at every rectifier. Raises NotApplicable where there is no
        rectifier."""
        key = self._key(target)
        if key not in self._guided:
            refuse_scripted(self.model, "guided_backprop")
            magnitude, logits = self._graph()
            if not logits.requires_grad:
                raise NotApplicable(NOT_DIFFERENTIABLE)
            refuse_unreadable(self.rule, logits, "guided_backprop")
            if self.rule.n_rectifiers == 0:
                raise NotApplicable(
                    "this network has no rectifier (ReLU, GELU, SiLU, ...), so guided backpropagation would be the"
                    " plain gradient; use saliency."
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
        if self.model.cam_layer is None:
            yield
            return
        handle = self.model.cam_module().register_forward_hook(
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


def unwrap(model: nn.Module | Network) -> nn.Module:
    """Return the network itself, without the memory of an original pass."""
    return cast(nn.Module, model.model if isinstance(model, OriginalPass) else model)


def original_passes(model: nn.Module | Network, spec: Spectrogram) -> Iterator[tuple[slice, OriginalPass]]:
    """The shared pass where `model` is one for these recordings; else one short-lived pass a part of the batch.

    Yields:
        The slice of the batch and its pass.
    """
    if isinstance(model, OriginalPass) and model.holds(spec.magnitude):
        yield slice(0, len(spec)), model
        return
    network = network_of(model, spec)
    for part in parts(network, spec.magnitude):
        own = Spectrogram(spec.magnitude[part], spec.phase[part], spec.n_samples, spec.stft)
        yield part, OriginalPass(network, own)


def logit_gradient(network: Network, magnitude: Tensor, phase: Tensor, target: Tensor) -> Tensor:
    """Gradient of the target logit at any magnitude: (B, F, T) twice and (B,) -> (B, F, T).

    Raises:
        NotApplicable: the network is not differentiable in the magnitude.
    """
    if isinstance(network, Classifier) and len(magnitude) == 1:
        places = network.segment_starts(magnitude.shape[-1])
        if len(places) > network.max_batch:
            return _gradient_in_pieces(network, magnitude, phase, target, places)
    with quiet(network):
        point = leaf(magnitude)
        return _gradient(network(point, plain(phase)), target, point)


def _gradient(logits: Tensor, target: Tensor, point: Tensor) -> Tensor:
    if not logits.requires_grad:
        raise NotApplicable(NOT_DIFFERENTIABLE)
    return torch.autograd.grad(target_logit(logits, target).sum(), point)[0]


def _gradient_in_pieces(
    network: Classifier, magnitude: Tensor, phase: Tensor, target: Tensor, places: Sequence[int]
) -> Tensor:
    """`logit_gradient` of one long recording (1, F, T), `max_batch` segments there and back at a time: the logit is the
    mean over segments, so no segment is computed twice and none waits in memory."""
    found = torch.zeros_like(magnitude)
    assert network.segment is not None
    length, _ = network.segment.heard(magnitude.shape[-1], network.stft)
    with quiet(network):
        for first in range(0, len(places), network.max_batch):
            part = places[first : first + network.max_batch]
            here = slice(part[0], part[-1] + length)
            point, beside = leaf(magnitude[..., here]), plain(phase[..., here])
            cuts = [slice(place - part[0], place - part[0] + length) for place in part]
            logits = network.segment_logits(*(torch.stack([each[0, :, at] for at in cuts]) for each in (point, beside)))
            found[..., here] += _gradient(logits / len(places), target.expand(len(part)), point)
    return found


@dataclass
class Passes:
    """What a model did: forward and backward passes in units of whole recordings."""

    forward: float = 0.0
    backward: float = 0.0


@contextmanager
def count_passes(model: nn.Module | Network, spec: Spectrogram, *others: nn.Module | Network) -> Iterator[Passes]:
    """Count the passes of `model`, and of other networks, inside this context, in recordings as long as those of
    `spec`.

    Segments count as their share of a recording, and what a checkpointed network computes again counts again.
    """
    networks = [as_network(unwrap(each)) for each in (model, *others)]
    per_recording = n_segments(networks[0], spec.magnitude)
    counted = {id(network.backbone): network.backbone for network in networks}
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
