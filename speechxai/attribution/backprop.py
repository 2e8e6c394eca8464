"""Methods with their own backward rule or a layer's feature map: guided backpropagation and Grad-CAM."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechxai.attribution.base import METHODS, check_target, n_segments
from speechxai.attribution.shared import OriginalPass, original_passes
from speechxai.errors import NotApplicable
from speechxai.types import Spectrogram


@METHODS.register(signed=True, stochastic=False, cites="springenberg2015striving")
def guided_backprop(model: nn.Module, spec: Spectrogram, target: Tensor) -> Tensor:
    """Gradient of the logit where every rectifier lets only positive evidence back, (B, F, T).

    At each rectifier the backward pass is max(gradient, 0) * derivative for positive input and 0 for negative input. That
    holds for ReLU, GELU, SiLU, ELU, Mish and their kin, whether called as a module or as a function.

    Raises:
        NotApplicable: the network has no rectifier (the result would be the plain gradient) or is not differentiable.
    """
    check_target(spec, target)
    return torch.cat([shared.guided_gradient(target[part]) for part, shared in original_passes(model, spec)])


@METHODS.register(signed=False, stochastic=False, cites="selvaraju2017grad")
def gradcam(model: nn.Module, spec: Spectrogram, target: Tensor) -> Tensor:
    """Feature map of the classifier's `cam_layer`, weighted by mean gradients: A = relu(sum_k w_k a_k), (B, F, T).

    w_k is the mean over the map of the segment logit's gradient by channel k. A map (C, M', T') of a network with a mel
    front end goes back to linear frequency through the filters; without one it is resized. A layer of a transformer,
    (T', C), resolves time only: its map is the same at every frequency. Segments are stitched, overlaps averaged.

    Raises:
        NotApplicable: no `cam_layer`, a layer that cannot be read as a feature map, or a network without gradient.
    """
    check_target(spec, target)
    return torch.cat([_cam(shared, target[part]) for part, shared in original_passes(model, spec)])


@METHODS.register(signed=True, stochastic=False, cites="selvaraju2017grad")
def guided_gradcam(model: nn.Module, spec: Spectrogram, target: Tensor) -> Tensor:
    """Guided backpropagation times Grad-CAM, (B, F, T).

    Raises:
        NotApplicable: where either of the two is not applicable.
    """
    check_target(spec, target)
    return torch.cat(
        [
            _cam(shared, target[part]) * shared.guided_gradient(target[part])
            for part, shared in original_passes(model, spec)
        ]
    )


def _cam(shared: OriginalPass, target: Tensor) -> Tensor:
    magnitude = shared.spec.magnitude
    n_cut = n_segments(shared.model, magnitude)
    activation, gradient = shared.cam(target)
    # The recording's logit is the mean over its segments; a segment's map is for the segment's own logit.
    gradient = gradient * n_cut
    cut = getattr(shared.model, "cut", None)
    length = int(magnitude.shape[-1] if cut is None else cut(magnitude[:1, :1]).shape[-1])
    if activation.ndim == 4:
        cam = torch.relu((gradient.mean((2, 3), keepdim=True) * activation).sum(1, keepdim=True))
        maps = _to_bins(cam, shared.model, (magnitude.shape[1], length))
    elif activation.ndim == 3:
        if not _channels_first(shared.model.cam_module()):  # type: ignore[operator]
            activation, gradient = activation.transpose(1, 2), gradient.transpose(1, 2)
        cam = torch.relu((gradient.mean(2, keepdim=True) * activation).sum(1, keepdim=True))
        over_time = nn.functional.interpolate(cam, size=length, mode="linear", align_corners=False)
        maps = over_time.expand(-1, magnitude.shape[1], -1)
    else:
        raise NotApplicable(
            f"the 'cam_layer' of this network returns shape {tuple(activation.shape)}; Grad-CAM needs (S, C, M, T) or (S, T, C)."
        )
    maps = maps.to(magnitude.dtype)
    if cut is None:
        return maps
    stitched: Tensor = shared.model.stitch(maps.reshape(-1, n_cut, *maps.shape[1:]), magnitude.shape[-1])  # type: ignore[operator]
    return stitched.contiguous()


def _to_bins(cam: Tensor, model: nn.Module, size: tuple[int, int]) -> Tensor:
    """Bring a map (S, 1, M', T') to (S, F, L): through the filters of a mel front end where the network has one."""
    filters = getattr(getattr(getattr(model, "backbone", model), "front_end", None), "filters", None)
    if not (isinstance(filters, Tensor) and filters.ndim == 2 and filters.shape[0] == size[0]):
        return nn.functional.interpolate(cam, size=size, mode="bilinear", align_corners=False)[:, 0]
    bands = nn.functional.interpolate(cam, size=(filters.shape[1], size[1]), mode="bilinear", align_corners=False)[:, 0]
    # A bin gets the mean of the bands that hear it; a bin that no band hears gets 0.
    heard = filters.sum(1, keepdim=True)
    share = torch.where(
        heard > 0, filters / heard.clamp(min=torch.finfo(filters.dtype).tiny), torch.zeros_like(filters)
    )
    return share.to(bands) @ bands


def _channels_first(module: nn.Module) -> bool:
    """Whether a 3-D output is (S, C, T') as from convolutions over time, rather than (S, T', C) as from a transformer."""
    kinds = [type(inner) for inner in module.modules()]
    return any(issubclass(kind, nn.Conv1d | nn.BatchNorm1d) for kind in kinds) and not any(
        issubclass(kind, nn.Linear | nn.LayerNorm) for kind in kinds
    )
