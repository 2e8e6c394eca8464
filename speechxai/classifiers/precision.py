"""Twins of networks: in float32 with faster exact forms of their convolutions, and in bfloat16 for masked passes alone
or as a preview.

In bfloat16 the spectrogram, its inverse, log-mel front ends, norms and the last linear layer stay in float32; products
of the other linear and
convolutional layers are made in bfloat16, which holds 8 bits of a number.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeGuard
from weakref import WeakKeyDictionary

import torch
from scipy.fft import next_fast_len
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from speechxai.classifiers.network import as_network, stated
from speechxai.classifiers.ssl import Ssl
from speechxai.errors import SpeechXAIError


# Convolutions over time in the forms that processors compute fastest: as matrix products of windows, and by Fourier
# transform.
def windows(values: Tensor, size: int, stride: int) -> Tensor:
    """Windows (B, n, size * C) of contiguous frames (B, T, C), every `stride` frames; they overlap in memory, nothing
    is copied."""
    n_batch, n_frames, n_channels = values.shape
    shape = (n_batch, (n_frames - size) // stride + 1, size * n_channels)
    return values.as_strided(shape, (n_frames * n_channels, stride * n_channels, 1))


class _Windows(torch.autograd.Function):
    """Windows of (B, T, C) times weights (O, k C), every `stride` frames: (B, n, O). The gradient is for the input
    alone."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
        values = values.to(weight.dtype).contiguous()
        ctx.shape, ctx.stride = values.shape, stride
        ctx.save_for_backward(weight)
        return nn.functional.linear(windows(values, weight.shape[1] // values.shape[2], stride), weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Frames r, r + stride, ... take their gradient from windows of the output's gradient: one product for each r <
        stride."""
        (weight,) = ctx.saved_tensors
        n_batch, n_frames, n_channels = ctx.shape
        stride, taps = ctx.stride, weight.unflatten(1, (-1, n_channels))  # (O, k, C)
        reach = -(-taps.shape[1] // stride) - 1  # earlier outputs that hear a frame
        padded = nn.functional.pad(gradients[0].to(weight.dtype), (0, 0, reach, reach))
        found = padded.new_zeros(n_batch, n_frames, n_channels)
        for first in range(min(stride, taps.shape[1])):
            own = taps[:, first::stride].flip(1).permute(1, 0, 2)  # (m, O, C), the latest output last
            m = len(own)
            used = padded[:, reach + 1 - m : padded.shape[1] - (reach + 1 - m)].contiguous()
            product = windows(used, m, 1) @ own.flatten(0, 1)
            place = found[:, first::stride][:, : product.shape[1]]
            place.copy_(product[:, : place.shape[1]])
        return found, None, None, None


class TimeConvolution(nn.Module):
    """`nn.Conv1d` without padding, dilation and groups as a product; its output (B, O, n) lies in memory as (B, n, O).

    Args:
        convolution: whose weights are taken.
        dtype: of the product.
    """

    def __init__(self, convolution: nn.Conv1d, dtype: torch.dtype) -> None:
        super().__init__()
        weight = convolution.weight.detach().transpose(1, 2).flatten(1)
        self.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
        bias = convolution.bias
        self.bias = None if bias is None else nn.Parameter(bias.detach().to(dtype), requires_grad=False)
        self.stride = int(convolution.stride[0])

    @staticmethod
    def takes(module: nn.Module) -> TypeGuard[nn.Conv1d]:
        """Whether a module is a convolution that this one can stand for."""
        return (
            type(module) is nn.Conv1d
            and module.padding_mode == "zeros"
            and (module.padding, module.dilation, module.groups) == ((0,), (1,), 1)
            and not module._forward_hooks
            and not module._forward_pre_hooks
        )

    def forward(self, values: Tensor) -> Tensor:
        """(B, C, T) to (B, O, n)."""
        with torch.autocast(values.device.type, enabled=False):
            found: Tensor = _Windows.apply(values.transpose(1, 2), self.weight, self.bias, self.stride)
        return found.transpose(1, 2)


class NormedConvolution(nn.Module):
    """A convolution of one channel and the norm of its channels over time, as one product.

    Mean and variance of every output channel follow from those of the windows that it hears (k x k numbers), so the
    large output
    is written once and never read for its norm.

    Args:
        convolution: of one input channel, whose weights are taken.
        norm: `nn.GroupNorm` of as many groups as channels.
        dtype: of what is returned; everything is computed in float32, statistics in float64.
    """

    def __init__(self, convolution: nn.Conv1d, norm: nn.GroupNorm, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(convolution.weight.detach()[:, 0].float(), requires_grad=False)
        # The convolution's own bias goes with the mean.
        self.scale = nn.Parameter(norm.weight.detach().float(), requires_grad=False)
        self.bias = nn.Parameter(norm.bias.detach().float(), requires_grad=False)
        self.stride, self.eps, self.dtype = int(convolution.stride[0]), norm.eps, dtype

    @staticmethod
    def takes(convolution: nn.Conv1d, norm: Any) -> TypeGuard[nn.Conv1d]:
        """Whether these two are a pair that this one can stand for; the convolution is one of `TimeConvolution`'s."""
        return (
            convolution.in_channels == 1
            and type(norm) is nn.GroupNorm
            and norm.num_groups == norm.num_channels == convolution.out_channels
            and norm.affine
        )

    def forward(self, values: Tensor) -> Tensor:
        """(B, 1, T) to (B, O, n), which lies in memory as (B, n, O)."""
        with torch.autocast(values.device.type, enabled=False):
            heard = values[:, 0].float().unfold(1, self.weight.shape[1], self.stride)  # (B, n, k)
            centered = heard - heard.mean(dim=1, keepdim=True)
            double = centered.double() if values.device.type != "mps" else centered
            covariance = double.transpose(1, 2) @ double / heard.shape[1]
            weight = self.weight.to(double.dtype)
            variance = ((weight @ covariance) * weight).sum(dim=2)  # (B, O)
            # Never below eps: a clamp at 0 would be a rectifier of the network's, see `RectifierMode`.
            gain = (self.scale * torch.rsqrt((variance + self.eps).clamp(min=self.eps))).float()
            own = (self.weight * gain[:, :, None]).transpose(1, 2)  # (B, k, O)
            found = torch.baddbmm(self.bias.expand(len(own), 1, -1), centered, own)
        return found.to(self.dtype).transpose(1, 2)


class FourierConvolution(nn.Module):
    """`nn.Conv1d` with a long kernel, groups and padding by Fourier transform; long inputs go through the convolution
    itself.

    Args:
        convolution: whose weights are taken; a parametrized weight is computed once.
    """

    LONGEST = 1024
    """Frames; the transformed weights grow with the input's length."""

    def __init__(self, convolution: nn.Conv1d) -> None:
        super().__init__()
        self.convolution = convolution
        self.weight = nn.Parameter(convolution.weight.detach().float(), requires_grad=False)
        self._transformed: tuple[int, Tensor] | None = None

    @staticmethod
    def takes(module: nn.Module) -> TypeGuard[nn.Conv1d]:
        """Whether a module is a convolution that this one can stand for, with a kernel long enough to gain by it."""
        return (
            isinstance(module, nn.Conv1d)  # a weight norm makes a subclass of it
            and (module.padding_mode, module.dilation, module.stride) == ("zeros", (1,), (1,))
            and module.kernel_size[0] >= 32
            and isinstance(module.padding, tuple)
            and module.padding[0] < module.kernel_size[0]
            and type(module).forward is nn.Conv1d.forward
            and not module._forward_hooks
            and not module._forward_pre_hooks
        )

    def _spectrum(self, length: int) -> Tensor:
        """Transformed weights (groups, frequencies, in, out) for inputs of `length` frames, padding included."""
        kept = self._transformed  # another thread may put its own there
        if kept is None or kept[0] != length or kept[1].device != self.weight.device:
            n_groups = self.convolution.groups
            with torch.inference_mode(False), torch.no_grad():
                weight = self.weight.reshape(n_groups, -1, *self.weight.shape[1:]).flip(-1)  # (G, O, I, k)
                kept = length, torch.fft.rfft(weight, n=length).permute(0, 3, 2, 1).contiguous()
            self._transformed = kept
        return kept[1]

    def forward(self, values: Tensor) -> Tensor:
        """(B, C, T) to (B, O, T + 2 padding - k + 1)."""
        n_frames = values.shape[2]
        size, padding = self.weight.shape[2], int(self.convolution.padding[0])
        if n_frames > self.LONGEST or n_frames + 2 * padding < size:
            found: Tensor = self.convolution(values)
            return found
        with torch.autocast(values.device.type, enabled=False):
            length = next_fast_len(n_frames + size - 1, real=True)
            weight = self._spectrum(length)
            spectrum = torch.fft.rfft(values.float(), n=length)
            spectrum = spectrum.reshape(len(values), len(weight), -1, spectrum.shape[2]).permute(1, 3, 0, 2)
            product = (spectrum @ weight).permute(2, 0, 3, 1).flatten(1, 2)  # (B, O, frequencies)
            found = torch.fft.irfft(product, n=length)
            found = found[..., size - 1 - padding : n_frames + padding]
            bias = self.convolution.bias
            return found if bias is None else found + bias.float()[:, None]


# Twins of networks: in float32 with faster exact forms of their convolutions, and in bfloat16 for masked passes alone
# or as a preview.
PRECISIONS = ("float32", "masked-bfloat16", "bfloat16")
"""float32: exact. masked-bfloat16: only what the metrics ask of masked recordings is computed in bfloat16. bfloat16:
everything is;
maps and scores are a preview."""

PRECISION_NOTES = {
    "masked-bfloat16": "masked recordings are judged in bfloat16: probabilities are off by about 0.01; maps are exact",
    "bfloat16": "a preview: maps and scores are computed in bfloat16; repeat the run in float32 before you rely on it",
}
"""What every place that shows numbers of such a run says."""

_Weights = tuple[tuple[int, int], ...]
_twins: WeakKeyDictionary[nn.Module, dict[torch.dtype, tuple[_Weights, nn.Module | None]]] = WeakKeyDictionary()


# What this machine does fastest, tried on the network's own shapes.
WORTH = 1.03
"""So many times as fast a way must be, or the usual one stays: less is within what two equal trials differ by."""


@dataclass(frozen=True)
class Choices:
    """How a network is computed on a machine.

    Args:
        float32_products: setting of `torch.set_float32_matmul_precision`.
        masked_batch: segments of masked recordings that pass at once.
        gains: times as fast as what stands for it otherwise, by choice: "float32_products" (the other setting),
            "masked_batch" (as many as fit), and a precision below float32 where one was asked for (float32).
    """

    float32_products: str
    masked_batch: int
    gains: dict[str, float]


def choose(model: nn.Module, products: Sequence[str], precision: str = "float32") -> Choices:
    """Try what a machine may do faster on passes of a network's own shapes, a few hundred ms, or seconds for a large
    network.

    Args:
        model: the classifier.
        products: settings of float32 products that are exact here, the usual one first.
        precision: what was asked for.
    """
    gains: dict[str, float] = {}
    before = torch.get_float32_matmul_precision()
    judge = at_precision(model, "float32")[1]
    n = as_network(judge).max_batch

    def under(name: str) -> float:
        torch.set_float32_matmul_precision(name)
        return _segment_s(judge, 1)

    try:
        took = dict(zip(products, _in_turns([partial(under, name) for name in products]), strict=True))
        faster = [name for name in products[1:] if _is_faster(took[name], took[products[0]])]
        best = min(faster or products[:1], key=lambda name: min(took[name]))
        gains |= {"float32_products": max(map(min, took.values())) / min(took[best])} if len(took) > 1 else {}
        torch.set_float32_matmul_precision(best)
        batch = n
        if n > 1:
            together, alone = _in_turns([partial(_segment_s, judge, size) for size in (n, 1)])
            batch = 1 if _is_faster(alone, together) else n
            gains["masked_batch"] = min(together) / min(alone) if batch == 1 else 1.0
        if precision != "float32":
            # Without units for it a pass of a large network takes half a minute: one of its products tells as well.
            gains[precision] = _product_gain(judge)
            for size in sorted({1, n}):
                if gains[precision] > 1 / SEVERAL:
                    both = judge, at_precision(model, precision)[1]
                    exact, rounded = _in_turns([partial(_segment_s, each, size) for each in both])
                    gains[precision] = min(exact) / min(rounded)
    finally:
        torch.set_float32_matmul_precision(before)
    return Choices(best, batch, {name: round(gain, 3) for name, gain in gains.items()})


TRIED_S = 2.0
"""Length of the recording that a network hears when it is tried, where it hears them whole, s."""

FEW_ROUNDS, ENOUGH_S = 4, 1.0
"""So many rounds, or after so long two of them: the first pass takes its memory from the system."""

MORE_ROUNDS, SHORT_S = 20, 0.2
"""So many where they are short."""

SEVERAL = 2.0
"""What is so many times as slow is not tried further."""


def _product_gain(model: nn.Module) -> float:
    """How many times as fast the largest linear layer is in bfloat16, on 100 frames; 1 where there is none to speak
    of."""
    layers = [module.weight for module in model.modules() if isinstance(module, nn.Linear)]
    weight = max(layers, key=Tensor.numel, default=None)
    if weight is None or weight.numel() < 2**16:
        return 1.0
    values = torch.rand(100, weight.shape[1], generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        products = [
            partial(nn.functional.linear, values.to(dtype), weight.detach().cpu().to(dtype))
            for dtype in (torch.float32, torch.bfloat16)
        ]
        exact, rounded = _in_turns([partial(_cpu_s, product) for product in products])
    return min(exact) / min(rounded)


def _segment_s(model: nn.Module, n: int) -> float:
    """Processor time of a segment in a pass of n, s."""
    network = as_network(model)
    n_samples = round(TRIED_S * network.stft.sample_rate)
    network, n_frames = network.for_length(n_samples), network.stft.n_frames(n_samples)
    n_frames = n_frames if network.segment is None else network.segment.heard(n_frames, network.stft)[0]
    random = torch.Generator().manual_seed(0)
    magnitude, phase = (torch.rand(n, network.stft.n_bins, n_frames, generator=random) for _ in range(2))
    with torch.inference_mode():
        return _cpu_s(lambda: network.segment_logits(magnitude, phase)) / n


def _cpu_s(run: Callable[[], object]) -> float:
    """Processor time, s."""
    start = time.process_time()
    run()
    return max(time.process_time() - start, 1e-6)


def _in_turns(trials: Sequence[Callable[[], float]]) -> list[list[float]]:
    """Times of each trial, s: two rounds, more where they are short. In turns, since the pace of a shared machine
    changes by half within a second: what is tried by itself in a slow one loses for no fault of its own."""
    rounds: list[list[float]] = []
    start, took_s = time.perf_counter(), 0.0
    while (
        len(rounds) < 2
        or (len(rounds) < FEW_ROUNDS and took_s < ENOUGH_S)
        or (len(rounds) < MORE_ROUNDS and took_s < SHORT_S)
    ):
        rounds.append([trial() for trial in trials])
        took_s = time.perf_counter() - start
    return [list(times) for times in zip(*rounds, strict=True)]


def _is_faster(times: Sequence[float], usual: Sequence[float]) -> bool:
    """Whether a way is faster than the usual one at its best, and in four of five rounds: beside other work a pass can
    take ten times as long as the one before."""
    n_won = sum(one < other for one, other in zip(times, usual, strict=True))
    return min(times) * WORTH < min(usual) and n_won >= 0.8 * len(times)


def at_precision(model: nn.Module, precision: str) -> tuple[nn.Module, nn.Module]:
    """Give the network that is explained and the one that judges masked recordings; the same one unless they differ.

    In float32 it is a twin that shares the weights and computes its convolutions over time in faster forms, equal up to
    rounding;
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
    """Return a twin of `model` with the same doors, whose large products are made in `dtype`, all of it in float64;
    made once for given weights."""
    weights = tuple((values.data_ptr(), values._version) for values in model.state_dict(keep_vars=True).values())
    known = _twins.setdefault(model, {})
    if dtype not in known or known[dtype][0] != weights:
        with torch.inference_mode(False), torch.no_grad():
            known[dtype] = weights, _twin(model, dtype)
    return known[dtype][1] or model


def _twin(model: nn.Module, dtype: torch.dtype) -> nn.Module | None:
    """Make a twin; None where a network in float32 would win nothing."""
    if dtype == torch.float64:
        copied = copy.deepcopy(model).eval()
        # Apple's graphics processors have no float64.
        on_apple = any(values.device.type == "mps" for values in copied.parameters())
        return (copied.cpu() if on_apple else copied).double()
    if dtype == torch.float32 and not _wins_in_float32(model):
        return None
    # Weights are shared with the model; what is rounded or turned takes their place below.
    shared = {id(values): nn.Parameter(values.detach(), requires_grad=False) for values in model.parameters()}
    twin = copy.deepcopy(model, dict(shared)).eval()
    network = as_network(twin).backbone
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
    network.products = dtype  # type: ignore[assignment]
    maps = stated(network, "attention_maps", None)
    if maps is not None:
        network.attention_maps = _rounded_maps(maps)  # type: ignore[assignment]
    return twin


def _wins_in_float32(model: nn.Module) -> bool:
    """Whether faster forms of a network's convolutions exist that are exact: processors, and networks whose inside is
    known."""
    return _is_known(as_network(model).backbone) and all(
        values.dtype == torch.float32 and values.device.type == "cpu" for values in model.parameters()
    )


def _is_known(network: nn.Module) -> bool:
    """Whether a network is a foundation model of torchaudio, where it is known which module follows which."""
    return isinstance(network, Ssl)


def _in_faster_forms(network: nn.Module, dtype: torch.dtype, known: bool) -> None:
    """Replace convolutions over time by those of `products`; what depends on the modules around only where these are
    known."""
    for parent in list(network.modules()):
        norm: Any = stated(parent, "layer_norm", None) if known else None
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
    """Whether a convolution in bfloat16 is far from float32. oneDNN 3.12 gives nonsense on processors with matrix tiles
    where few channels
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
