"""Twins of networks: in float32 with faster exact forms of their convolutions, and in bfloat16 for masked passes alone or as a preview.

In bfloat16 the spectrogram, its inverse, log-mel front ends, norms and the last linear layer stay in float32; products of the other linear and
convolutional layers are made in bfloat16, which holds 8 bits of a number.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from speechxai.classifiers.products import FourierConvolution, NormedConvolution, TimeConvolution
from speechxai.classifiers.ssl import Ssl
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
_twins: WeakKeyDictionary[nn.Module, dict[torch.dtype, tuple[_Weights, nn.Module | None]]] = WeakKeyDictionary()


def at_precision(model: nn.Module, precision: str) -> tuple[nn.Module, nn.Module]:
    """Give the network that is explained and the one that judges masked recordings; the same one unless they differ.

    In float32 it is a twin that shares the weights and computes its convolutions over time in faster forms, equal up to rounding;
    other networks are given back as they are.

    Raises:
        SpeechXAIError: an unknown precision.
    """
    if precision not in PRECISIONS:
        raise SpeechXAIError(
            f"The 'precision' parameter must be one of {', '.join(PRECISIONS)}. Got {precision!r} instead."
        )
    explained = twin_of(model, torch.bfloat16 if precision == "bfloat16" else torch.float32)
    judge = twin_of(model, torch.float32 if precision == "float32" else torch.bfloat16)
    return explained, judge


def twin_of(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Return a twin of `model` with the same doors, whose large products are made in `dtype`; made once for given weights."""
    weights = tuple((values.data_ptr(), values._version) for values in model.state_dict(keep_vars=True).values())
    known = _twins.setdefault(model, {})
    if dtype not in known or known[dtype][0] != weights:
        with torch.inference_mode(False), torch.no_grad():
            known[dtype] = weights, _twin(model, dtype)
    return known[dtype][1] or model


def _twin(model: nn.Module, dtype: torch.dtype) -> nn.Module | None:
    """Make a twin; None where a network in float32 would win nothing."""
    if dtype == torch.float32 and not _wins_in_float32(model):
        return None
    # Weights are shared with the model; what is rounded or turned takes their place below.
    shared = {id(values): nn.Parameter(values.detach(), requires_grad=False) for values in model.parameters()}
    twin = copy.deepcopy(model, dict(shared)).eval()
    network = getattr(twin, "backbone", twin)
    _in_faster_forms(network, dtype, known=_is_known(network))
    if dtype == torch.float32:
        return twin
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    wrong = [
        module for module in network.modules() if isinstance(module, nn.Conv1d | nn.Conv2d) and _comes_out_wrong(module)
    ]
    exact = [*linear[-1:], *wrong]
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d) and module not in exact:
            _round_weights(module)
    for module in exact:
        module.forward = _exact(module.forward)  # type: ignore[method-assign,assignment]
    network.forward = _rounded(network.forward)
    maps: Any = getattr(network, "attention_maps", None)
    if maps is not None:
        network.attention_maps = _rounded_maps(maps)
    return twin


def _wins_in_float32(model: nn.Module) -> bool:
    """Whether faster forms of a network's convolutions exist that are exact: processors, and networks whose inside is known."""
    return _is_known(getattr(model, "backbone", model)) and all(
        values.dtype == torch.float32 and values.device.type == "cpu" for values in model.parameters()
    )


def _is_known(network: nn.Module) -> bool:
    """Whether a network is a foundation model of torchaudio, where it is known which module follows which."""
    return isinstance(network, Ssl)


def _in_faster_forms(network: nn.Module, dtype: torch.dtype, known: bool) -> None:
    """Replace convolutions over time by those of `products`; what depends on the modules around only where these are known."""
    for parent in list(network.modules()):
        norm: Any = getattr(parent, "layer_norm", None) if known else None
        for name, module in list(parent.named_children()):
            if TimeConvolution.takes(module) and NormedConvolution.takes(module, norm):
                setattr(parent, name, NormedConvolution(module, norm, dtype))
                parent.layer_norm = nn.Identity()
            elif TimeConvolution.takes(module):
                # A waveform has more than 8 bits, and its convolution is a small product.
                setattr(parent, name, TimeConvolution(module, torch.float32 if module.in_channels == 1 else dtype))
            elif known and FourierConvolution.takes(module) and module.weight.device.type == "cpu":
                setattr(parent, name, FourierConvolution(module))


def _round_weights(module: nn.Module) -> None:
    """Keep weight and bias in bfloat16, unless a parametrization makes the weight from other parameters."""
    if "weight" in module._parameters:
        for name, values in list(module.named_parameters(recurse=False)):
            rounded = values.detach().bfloat16()
            if isinstance(module, nn.Linear) and name == "weight":
                rounded = rounded.T.contiguous().T  # in this order a product takes two thirds of the time
            module._parameters[name] = nn.Parameter(rounded, requires_grad=False)


def _comes_out_wrong(convolution: nn.Conv1d | nn.Conv2d) -> bool:
    """Whether a convolution in bfloat16 is far from float32. oneDNN 3.12 gives nonsense on processors with matrix tiles where few channels
    (up to 16) meet kernels of some lengths; so convolutions of few channels are tried once."""
    if convolution.in_channels // convolution.groups > 64:
        return False
    sides = [
        32 * stride + dilation * (size - 1)
        for size, stride, dilation in zip(
            convolution.kernel_size, convolution.stride, convolution.dilation, strict=True
        )
    ]
    weight = convolution.weight.detach().float()
    values = torch.randn(1, convolution.in_channels, *sides, generator=torch.Generator().manual_seed(0)).to(
        weight.device
    )
    function: Any = nn.functional.conv1d if len(sides) == 1 else nn.functional.conv2d
    shape = {"stride": convolution.stride, "dilation": convolution.dilation, "groups": convolution.groups}
    expected = function(values, weight, **shape)
    found = function(values.bfloat16(), weight.bfloat16(), **shape).float()
    return float((found - expected).norm()) > 0.1 * float(expected.norm())


def _exact(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def exact(values: Tensor) -> Tensor:
        with torch.autocast(values.device.type, enabled=False):
            return forward(values.float())

    return exact


def _rounded(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def rounded(values: Tensor, *others: Any) -> Tensor:
        with torch.autocast(values.device.type, torch.bfloat16), _AttentionMode():
            return forward(values, *others).float()

    return rounded


def _rounded_maps(attention_maps: Callable[..., Any]) -> Callable[..., Any]:
    def rounded(values: Tensor, *others: Any) -> Any:
        with torch.autocast(values.device.type, torch.bfloat16):
            found = attention_maps(values, *others)
        return type(found)(*(part.float() for part in found))

    return rounded


class _AttentionMode(TorchFunctionMode):
    """Computes attention in float32 where a way back will be needed: in bfloat16 that takes twice as long."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not nn.functional.scaled_dot_product_attention or not torch.is_grad_enabled():
            return func(*args, **kwargs)
        query = args[0] if args else kwargs["query"]
        with torch.autocast(query.device.type, enabled=False):
            found: Tensor = func(
                *(_in_float32(each) for each in args), **{name: _in_float32(each) for name, each in kwargs.items()}
            )
        return found.to(query.dtype)


def _in_float32(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value
