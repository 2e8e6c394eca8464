"""Networks in bfloat16: for masked passes alone, or throughout as a preview.

The spectrogram, its inverse, log-mel front ends, norms and the last linear layer stay in float32; products of the other linear and
convolutional layers are made in bfloat16, which holds 8 bits of a number.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from speechxai.classifiers.products import TimeConvolution, TimeNorm
from speechxai.errors import SpeechXAIError

PRECISIONS = ("float32", "masked-bfloat16", "bfloat16")
"""float32: exact. masked-bfloat16: only what the metrics ask of masked recordings is computed in bfloat16. bfloat16: everything is;
maps and scores are a preview."""

PRECISION_NOTES = {
    "masked-bfloat16": "masked recordings are judged in bfloat16: probabilities are off by about 0.01; maps are exact",
    "bfloat16": "a preview: maps and scores are computed in bfloat16; repeat the run in float32 before you rely on it",
}
"""What every place that shows numbers of such a run says."""

_Weights = tuple[tuple[int, int], ...]
_twins: WeakKeyDictionary[nn.Module, tuple[_Weights, nn.Module]] = WeakKeyDictionary()


def at_precision(model: nn.Module, precision: str) -> tuple[nn.Module, nn.Module]:
    """Give the network that is explained and the one that judges masked recordings; the same one unless they differ.

    Raises:
        SpeechXAIError: an unknown precision.
    """
    if precision not in PRECISIONS:
        raise SpeechXAIError(
            f"The 'precision' parameter must be one of {', '.join(PRECISIONS)}. Got {precision!r} instead."
        )
    if precision == "float32":
        return model, model
    low = in_bfloat16(model)
    return (low, low) if precision == "bfloat16" else (model, low)


def in_bfloat16(model: nn.Module) -> nn.Module:
    """Return a twin of `model` with the same doors, whose large products are made in bfloat16; made once for given weights."""
    weights = tuple((values.data_ptr(), values._version) for values in model.state_dict(keep_vars=True).values())
    known = _twins.get(model)
    if known is None or known[0] != weights:
        known = _twins[model] = weights, _twin(model)
    return known[1]


def _twin(model: nn.Module) -> nn.Module:
    twin = copy.deepcopy(model).eval().requires_grad_(False)
    network = getattr(twin, "backbone", twin)
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    for parent in list(network.modules()):
        in_products = any(TimeConvolution.takes(module) for module in parent.children())
        for name, module in list(parent.named_children()):
            if TimeConvolution.takes(module):
                # A waveform has more than 8 bits, and its convolution is a small product.
                dtype = torch.float32 if module.in_channels == 1 else torch.bfloat16
                setattr(parent, name, TimeConvolution(module, dtype))
            elif TimeNorm.takes(module) and in_products:
                setattr(parent, name, TimeNorm(module, torch.bfloat16))
            elif isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d) and module not in linear[-1:]:
                _round_weights(module)
    for module in linear[-1:]:
        module.forward = _exact(module.forward)  # type: ignore[method-assign,assignment]
    network.forward = _rounded(network.forward)
    return twin


def _round_weights(module: nn.Module) -> None:
    """Keep weight and bias in bfloat16, unless a parametrization makes the weight from other parameters."""
    if "weight" in module._parameters:
        for name, values in list(module.named_parameters(recurse=False)):
            module._parameters[name] = nn.Parameter(values.detach().bfloat16(), requires_grad=False)


def _exact(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def exact(values: Tensor) -> Tensor:
        with torch.autocast(values.device.type, enabled=False):
            return forward(values.float())

    return exact


def _rounded(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def rounded(values: Tensor, *others: Any) -> Tensor:
        with torch.autocast(values.device.type, torch.bfloat16):
            return forward(values, *others).float()

    return rounded
