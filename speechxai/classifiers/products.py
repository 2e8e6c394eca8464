"""Convolutions over time in the forms that processors compute fastest: as matrix products of windows, and by Fourier transform.

All of them give what `nn.Conv1d` gives up to rounding; their gradients are for the input alone.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from scipy.fft import next_fast_len
from torch import Tensor, nn


def windows(values: Tensor, size: int, stride: int) -> Tensor:
    """Windows (B, n, size * C) of contiguous frames (B, T, C), every `stride` frames; they overlap in memory, nothing is copied."""
    n_batch, n_frames, n_channels = values.shape
    shape = (n_batch, (n_frames - size) // stride + 1, size * n_channels)
    return values.as_strided(shape, (n_frames * n_channels, stride * n_channels, 1))


class _Windows(torch.autograd.Function):
    """Windows of (B, T, C) times weights (O, k C), every `stride` frames: (B, n, O). The gradient is for the input alone."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
        values = values.to(weight.dtype).contiguous()
        ctx.shape, ctx.stride = values.shape, stride
        ctx.save_for_backward(weight)
        return nn.functional.linear(windows(values, weight.shape[1] // values.shape[2], stride), weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Frames r, r + stride, ... take their gradient from windows of the output's gradient: one product for each r < stride."""
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

    Mean and variance of every output channel follow from those of the windows that it hears (k x k numbers), so the large output
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
            variance = ((weight @ covariance) * weight).sum(dim=2).clamp(min=0)  # (B, O)
            gain = (self.scale * torch.rsqrt(variance + self.eps)).float()
            own = (self.weight * gain[:, :, None]).transpose(1, 2)  # (B, k, O)
            found = torch.baddbmm(self.bias.expand(len(own), 1, -1), centered, own)
        return found.to(self.dtype).transpose(1, 2)


class FourierConvolution(nn.Module):
    """`nn.Conv1d` with a long kernel, groups and padding by Fourier transform; long inputs go through the convolution itself.

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
