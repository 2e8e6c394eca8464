"""Convolutions over time as matrix products in bfloat16: processors multiply matrices many times faster than they convolve in it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class _Windows(torch.autograd.Function):
    """Windows of (B, T, C) times weights (O, k C), every `stride` frames: (B, n, O). The gradient is for the input alone."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
        """Windows overlap in memory; nothing is unfolded before the product asks for it."""
        values = values.to(weight.dtype).contiguous()
        n_batch, n_frames, n_channels = values.shape
        size = weight.shape[1] // n_channels
        n_windows = (n_frames - size) // stride + 1
        ctx.shape, ctx.stride = values.shape, stride
        ctx.save_for_backward(weight)
        windows = values.as_strided(
            (n_batch, n_windows, size * n_channels), (n_frames * n_channels, stride * n_channels, 1)
        )
        return nn.functional.linear(windows, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Each window gives its gradient back to the frames it holds."""
        (weight,) = ctx.saved_tensors
        parts = (gradients[0].to(weight.dtype) @ weight).unflatten(2, (-1, ctx.shape[2]))
        found = parts.new_zeros(ctx.shape)
        reach = ctx.stride * (parts.shape[1] - 1) + 1
        for index in range(parts.shape[2]):
            found[:, index : index + reach : ctx.stride] += parts[:, :, index]
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
    def takes(module: nn.Module) -> bool:
        """Whether a module is a convolution that this one can stand for."""
        return (
            type(module) is nn.Conv1d
            and (module.padding, module.dilation, module.groups) == ((0,), (1,), 1)
            and module.padding_mode == "zeros"
        )

    def forward(self, values: Tensor) -> Tensor:
        """(B, C, T) to (B, O, n)."""
        with torch.autocast(values.device.type, enabled=False):
            found: Tensor = _Windows.apply(values.transpose(1, 2), self.weight, self.bias, self.stride)
        return found.transpose(1, 2)


class _Normalized(torch.autograd.Function):
    """Frames (B, T, C) with mean 0 and variance 1 over time, times weight plus bias (C,). The gradient is for the input alone."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        """In float32, whatever goes in and out."""
        centered = values.float()
        centered = centered - centered.mean(dim=1, keepdim=True)
        # torch.var over rows takes five times as long.
        scale = torch.rsqrt(centered.square().mean(dim=1, keepdim=True) + eps)
        ctx.save_for_backward(centered, scale, weight)
        ctx.dtype = values.dtype
        return torch.addcmul(bias, centered, weight * scale).to(dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """scale * (g - mean g - x mean(g x)), x normalized and g the gradient times the weight; as autograd would, in a third of the time."""
        centered, scale, weight = ctx.saved_tensors
        found = gradients[0].float() * weight
        slope = (found * centered).mean(dim=1, keepdim=True) * scale.square()
        found = found.sub_(found.mean(dim=1, keepdim=True)).addcmul_(centered, slope, value=-1).mul_(scale)
        return found.to(ctx.dtype), None, None, None, None


class TimeNorm(nn.Module):
    """`nn.GroupNorm` of as many groups as channels, in the memory order of `TimeConvolution`.

    Args:
        norm: whose weights are taken.
        dtype: of what it returns; the norm itself is computed in float32.
    """

    def __init__(self, norm: nn.GroupNorm, dtype: torch.dtype) -> None:
        super().__init__()
        self.norm = norm
        self.dtype = dtype

    @staticmethod
    def takes(module: nn.Module) -> bool:
        """Whether a module is a norm that this one can stand for."""
        return type(module) is nn.GroupNorm and module.num_groups == module.num_channels and module.affine

    def forward(self, values: Tensor) -> Tensor:
        """(B, C, T), normalized over time."""
        with torch.autocast(values.device.type, enabled=False):
            found: Tensor = _Normalized.apply(
                values.transpose(1, 2), self.norm.weight, self.norm.bias, self.norm.eps, self.dtype
            )
        return found.transpose(1, 2)
