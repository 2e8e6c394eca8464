"""Methods with their own backward rule or a layer's feature map: guided backpropagation and Grad-CAM."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from speechxai.classifiers.network import Network, as_network, stated
from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.explain.gradient import Baseline, baseline_magnitude
from speechxai.explain.passes import (
    METHODS,
    NOT_DIFFERENTIABLE,
    OriginalPass,
    check_target,
    leaf,
    n_segments,
    network_of,
    original_passes,
    parts,
    plain,
    quiet,
    refuse_scripted,
    target_logit,
)
from speechxai.explain.rectifiers import RECTIFIERS, Elementwise, derivative_of, elementwise_call, function_name
from speechxai.types import Spectrogram


# Methods with their own backward rule or a layer's feature map: guided backpropagation and Grad-CAM.
@METHODS.register(signed=True, stochastic=False, cites="springenberg2015striving")
def guided_backprop(model: nn.Module, spec: Spectrogram, target: Tensor) -> Tensor:
    """Gradient of the logit where every rectifier lets only positive evidence back, (B, F, T).

    At each rectifier the backward pass is max(gradient, 0) * derivative for positive input and 0 for negative input.
    That holds for ReLU, GELU, SiLU, ELU, Mish and their kin, whether called as a module or as a function, and for a
    ReLU in any spelling that shows as one in what it does, see `RectifierMode`.

    Raises:
        NotApplicable: the network has no rectifier (the result would be the plain gradient), is not differentiable, or
            switches in a way that is no readable rectifier (a smooth one spelled out, a function with its own backward
            pass, a mask by a comparison), where the map would be guided in part.
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
        NotApplicable: no `cam_layer`, a layer that cannot be read as a feature map, a network without gradient, or
            weights that are nothing but rounding, see `share_of_mean`.
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


def share_of_mean(gradient: Tensor) -> Tensor:
    """Size of the weights that Grad-CAM takes from a layer beside the gradients they are the means of, (S,), 0 to 1.

    max_k |mean_i g_ki| / max_k mean_i |g_ki| for gradients (S, K, ...): the channel with the largest gradients decides,
    however few the others have, as under an attention that looks at one moment alone. Where the layer is read through a
    norm over what is averaged (a LayerNorm over features, an InstanceNorm over time) the gradients sum to 0: what is
    left of the mean is the rounding of the machine, about 1e-7 in float32, 1e-16 in float64 and up to 5e-3 in bfloat16,
    and so is the map. 1 where all gradients are 0: such a map is empty and not noise.
    """
    weights, size = (each.flatten(2).mean(dim=2).abs().amax(dim=1) for each in (gradient, gradient.abs()))
    return torch.where(size > 0, weights / size.clamp(min=torch.finfo(size.dtype).tiny), torch.ones_like(size))


VANISHED = 100 * torch.finfo(torch.float32).eps
"""Weights of Grad-CAM below this share of their gradients are rounding of float32. Means of n gradients of either sign,
which is all that chance can cancel, are 1 / sqrt(n) of their size, the largest of many channels several times that."""


def rounding_of(network: nn.Module | Network, gradient: Tensor) -> float:
    """Weights of Grad-CAM below this share of their gradients are rounding at the precision of a network's products:
    VANISHED in float32 and float64, a unit of rounding in half and bfloat16."""
    kinds = stated(as_network(network).backbone, "products", torch.float32), gradient.dtype
    return max([VANISHED, *(torch.finfo(kind).eps for kind in kinds if kind in (torch.bfloat16, torch.float16))])


def refuse_vanished(network: nn.Module | Network, gradient: Tensor) -> None:
    """Raise NotApplicable where the weights of Grad-CAM are nothing but rounding."""
    share = float(share_of_mean(gradient).min())
    if share < rounding_of(network, gradient):
        raise NotApplicable(
            "the weights of Grad-CAM vanish: the means of the layer's gradients are"
            f" {share:.0e} of their size, which is rounding, because the network reads"
            " its 'cam_layer' through a norm whose gradients sum to 0. Name another layer, or use saliency."
        )


def _cam(shared: OriginalPass, target: Tensor) -> Tensor:
    magnitude = shared.spec.magnitude
    n_cut = n_segments(shared.model, magnitude)
    activation, gradient = shared.cam(target)
    # The recording's logit is the mean over its segments; a segment's map is for the segment's own logit.
    gradient = gradient * n_cut
    length = int(shared.model.cut(magnitude[:1, :1]).shape[-1])
    if activation.ndim == 4:
        refuse_vanished(shared.model, gradient)
        cam = torch.relu((gradient.mean((2, 3), keepdim=True) * activation).sum(1, keepdim=True))
        maps = _to_bins(cam, shared.model, (magnitude.shape[1], length))
    elif activation.ndim == 3:
        if not _channels_first(shared.model.cam_module()):
            activation, gradient = activation.transpose(1, 2), gradient.transpose(1, 2)
        refuse_vanished(shared.model, gradient)
        cam = torch.relu((gradient.mean(2, keepdim=True) * activation).sum(1, keepdim=True))
        over_time = nn.functional.interpolate(cam, size=length, mode="linear", align_corners=False)
        maps = over_time.expand(-1, magnitude.shape[1], -1)
    else:
        raise NotApplicable(
            f"the 'cam_layer' of this network returns shape {tuple(activation.shape)}; Grad-CAM needs (S, C, M, T) or"
            " (S, T, C)."
        )
    maps = maps.to(magnitude.dtype).reshape(-1, n_cut, *maps.shape[1:])
    return shared.model.stitch(maps, magnitude.shape[-1]).contiguous()


def _to_bins(cam: Tensor, network: Network, size: tuple[int, int]) -> Tensor:
    """Bring a map (S, 1, M', T') to (S, F, L): through the filters of a mel front end where the network has one."""
    filters = stated(stated(network.backbone, "front_end", None), "filters", None)
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
    """Whether a 3-D output is (S, C, T') as from convolutions over time, rather than (S, T', C) as from a
    transformer."""
    kinds = [type(inner) for inner in module.modules()]
    return any(issubclass(kind, nn.Conv1d | nn.BatchNorm1d) for kind in kinds) and not any(
        issubclass(kind, nn.Linear | nn.LayerNorm) for kind in kinds
    )


# DeepLift's rescale rule for networks of linear layers and elementwise functions; anything else is refused by name.
ELEMENTWISE = (RECTIFIERS - {"rrelu"}) | {
    "sigmoid",
    "logsigmoid",
    "hardsigmoid",
    "tanh",
    "hardtanh",
    "softsign",
    "tanhshrink",
    "log",
    "log1p",
    "log2",
    "log10",
    "exp",
    "expm1",
    "exp2",
    "sqrt",
    "rsqrt",
    "square",
    "reciprocal",
    "abs",
    "absolute",
    "sin",
    "cos",
    "atan",
    "erf",
    "clamp",
    "clamp_min",
    "clamp_max",
    "clip",
    "threshold",
    "pow",
}
"""Functions of one tensor, element by element: the rescale rule holds for each."""

LINEAR = frozenset(
    {
        "add",
        "radd",
        "iadd",
        "sub",
        "subtract",
        "rsub",
        "isub",
        "neg",
        "positive",
        "sum",
        "mean",
        "nanmean",
        "cat",
        "concat",
        "concatenate",
        "stack",
        "hstack",
        "vstack",
        "reshape",
        "reshape_as",
        "view",
        "view_as",
        "flatten",
        "unflatten",
        "squeeze",
        "unsqueeze",
        "transpose",
        "swapaxes",
        "permute",
        "movedim",
        "t",
        "mT",
        "getitem",
        "narrow",
        "select",
        "index_select",
        "gather",
        "take_along_dim",
        "split",
        "chunk",
        "unbind",
        "tensor_split",
        "expand",
        "expand_as",
        "repeat",
        "repeat_interleave",
        "tile",
        "roll",
        "flip",
        "contiguous",
        "clone",
        "to",
        "float",
        "double",
        "half",
        "bfloat16",
        "type_as",
        "cpu",
        "cuda",
        "pad",
        "_pad",
        "unfold",
        "fold",
        "conv1d",
        "conv2d",
        "conv3d",
        "conv_transpose1d",
        "conv_transpose2d",
        "avg_pool1d",
        "avg_pool2d",
        "avg_pool3d",
        "adaptive_avg_pool1d",
        "adaptive_avg_pool2d",
        "interpolate",
        "upsample",
        "dropout",
        "dropout1d",
        "dropout2d",
        "alpha_dropout",
        "feature_dropout",
        "pixel_shuffle",
        "cumsum",
        "istft",
        "stft",
        "fft",
        "rfft",
        "irfft",
        "ifft",
        "real",
        "imag",
        "view_as_real",
        "view_as_complex",
        "as_strided",
        "diff",
        "tril",
        "triu",
        "get",
        "detach",
        "requires_grad",
        "retain_grad",
        "masked_select",
        "broadcast_to",
        "weight_norm",
    }
)
"""Functions that are linear (or affine) in their only tensor that depends on the spectrogram, or in all of them
together."""

BILINEAR = frozenset(
    {
        "mul",
        "multiply",
        "rmul",
        "imul",
        "matmul",
        "rmatmul",
        "imatmul",
        "mm",
        "bmm",
        "mv",
        "dot",
        "einsum",
        "linear",
        "bilinear",
        "addmm",
        "baddbmm",
        "addbmm",
        "addcmul",
        "lerp",
        "where",
        "masked_fill",
        "tensordot",
        "outer",
        "inner",
        "complex",
    }
)
"""Functions that are linear where only one of their tensors depends on the spectrogram."""

REASONS = {
    "softmax": "its softmax mixes all inputs",
    "log_softmax": "its softmax mixes all inputs",
    "scaled_dot_product_attention": "its attention multiplies activations",
    "multi_head_attention_forward": "its attention multiplies activations",
    "layer_norm": "its layer normalization divides by the input's own deviation",
    "group_norm": "its group normalization divides by the input's own deviation",
    "instance_norm": "its instance normalization divides by the input's own deviation",
    "batch_norm": "its batch normalization has no fixed statistics",
}


COMPLETE, ROUNDING = 1e-2, 1e-4
"""DeepLift's sum may miss the difference of the logits by this share of it, or of the sum of all sizes."""


class _Rescale(torch.autograd.Function):
    """An elementwise function on (recordings, baselines) whose multiplier is the ratio of differences."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, function: Elementwise) -> Tensor:
        """Apply the function to both halves and keep (f(x) - f(x0)) / (x - x0), the derivative where x is near x0."""
        result = function(values)
        (value, origin), (after, after_origin) = values.chunk(2), result.chunk(2)
        difference = value - origin
        near = difference.abs() < (1e-10 if values.dtype == torch.float64 else 1e-6)
        ratio = (after - after_origin) / torch.where(near, torch.ones_like(difference), difference)
        ctx.save_for_backward(torch.where(near, derivative_of(function, origin + difference / 2), ratio))
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Multiplier of the output times the ratio; the baselines' half passes nothing back."""
        (ratio,) = ctx.saved_tensors
        multiplier = gradients[0].chunk(2)[0] * ratio
        return torch.cat([multiplier, torch.zeros_like(multiplier)]), None


def _dependent(values: Any) -> int:
    """Number of tensors in a call's arguments that depend on the spectrogram."""
    if isinstance(values, Tensor):
        return int(values.requires_grad)
    if isinstance(values, dict):
        values = values.values()
    return sum(map(_dependent, values)) if isinstance(values, tuple | list | type({}.values())) else 0


class RescaleMode(TorchFunctionMode):
    """Inside this mode elementwise functions follow the rescale rule; what has no rule raises NotApplicable."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """Answer elementwise functions, let linear ones pass, refuse the rest."""
        kwargs = kwargs or {}
        n_dependent = _dependent(args) + _dependent(kwargs)
        if n_dependent == 0 or not torch.is_grad_enabled():
            return func(*args, **kwargs)
        name = function_name(func)
        if n_dependent == 1 and name in ELEMENTWISE:
            values, alone, in_place = elementwise_call(func, args, kwargs)
            if values is not None and values.requires_grad:
                result = _Rescale.apply(values.clone() if in_place else values, alone)
                return values.copy_(result) if in_place else result
        result = func(*args, **kwargs)
        if not _dependent(result) or name in LINEAR or (n_dependent == 1 and self._linear_in_one(name, args, kwargs)):
            return result
        reason = REASONS.get(name, f"it uses '{name}', for which there is no rescale rule")
        if n_dependent > 1 and name in BILINEAR | {"div", "truediv"}:
            reason = f"it combines two activations by '{name}'"
        raise NotApplicable(f"DeepLift's rescale rule does not cover this network: {reason}; use integrated_gradients.")

    @staticmethod
    def _linear_in_one(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        if name in {"div", "divide", "truediv", "true_divide", "itruediv"}:
            return _dependent(args[0]) == 1
        if name == "batch_norm":
            statistics = [*args[1:3], kwargs.get("running_mean"), kwargs.get("running_var")]
            training = args[5] if len(args) > 5 else kwargs.get("training", False)
            return not training and sum(isinstance(value, Tensor) for value in statistics) == 2
        return name in BILINEAR


@METHODS.register(signed=True, stochastic=False, cites="shrikumar2017learning")
def deep_lift(model: nn.Module, spec: Spectrogram, target: Tensor, *, baseline: Baseline = "floor") -> Tensor:
    """Contributions by differences from a baseline: A = multiplier * (X - X0), rescale rule, (B, F, T).

    At each elementwise function the multiplier is (f(x) - f(x0)) / (x - x0). The sum of A is logit(X) - logit(X0); a
    map that misses it by more than 1 % of it, or 1e-4 of sum |A| where the logits hardly differ, is refused.

    Args:
        baseline: X0, see `baseline_magnitude`.

    Raises:
        NotApplicable: the network has a part that the rule does not cover (attention, normalization by the input
            itself, max
            pooling, products of activations), or the contributions do not add up to the difference of the logits.
    """
    check_target(spec, target)
    network = network_of(model, spec)
    refuse_scripted(network, "deep_lift")
    origin = baseline_magnitude(spec, baseline)
    return torch.cat(
        [
            _contributions(network, spec.magnitude[part].detach(), origin[part], spec.phase[part], target[part])
            for part in parts(network, spec.magnitude)
        ]
    )


def _contributions(network: Network, magnitude: Tensor, origin: Tensor, phase: Tensor, target: Tensor) -> Tensor:
    with quiet(network):
        point = leaf(magnitude)
        pieces = [network.cut(values) for values in (point, plain(origin), plain(phase))]
        n_cut = pieces[0].shape[1]
        flat, flat_origin, flat_phase = (piece.flatten(0, 1) for piece in pieces)
        rows = target.repeat_interleave(n_cut)
        # A segment and its baseline go through the network together.
        size = max(1, network.max_batch // 2)
        multipliers, gaps = [], []
        for x, x0, angle, row in zip(
            *(torch.split(values, size) for values in (flat, flat_origin, flat_phase, rows)), strict=True
        ):
            multiplier, gap = _multipliers(network, x.detach(), x0, angle, row)
            multipliers.append(multiplier / n_cut)
            gaps.append(gap)
        # Back through the cut: a frame that two segments hear gets the sum of both, as in the mean logit.
        total = torch.autograd.grad(flat, point, torch.cat(multipliers))[0]
    values = total * (magnitude - origin)
    gap = torch.cat(gaps).view(-1, n_cut).mean(1)
    error = (values.sum((1, 2)) - gap).abs()
    # Both are relative: any number of logits, however small, can be missed. Rounding is a share of what is summed.
    allowed = torch.maximum(COMPLETE * gap.abs(), ROUNDING * values.abs().sum((1, 2)))
    if not (error <= allowed).all():
        raise NotApplicable(
            f"DeepLift's contributions miss the difference of the logits by {float(error.max()):.3g}: this network has"
            " a part that the rescale rule does not cover; use integrated_gradients."
        )
    return values


def _multipliers(network: Network, x: Tensor, x0: Tensor, phase: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Multipliers (S, F, L) of segments and the differences of their logits (S,)."""
    x = leaf(x)
    with RescaleMode():
        logits = network.segment_logits(torch.cat([x, x0]), torch.cat([phase, phase]))
    if not logits.requires_grad:
        raise NotApplicable(NOT_DIFFERENTIABLE)
    if len(logits) != 2 * len(x):
        raise SpeechXAIError(
            f"The network must return one row of logits a recording. Got {len(logits)} rows for {2 * len(x)}."
        )
    first, second = logits.chunk(2)
    score = target_logit(first, target)
    gap = (score - target_logit(second, target)).detach()
    return torch.autograd.grad(score.sum(), x)[0], gap
