"""Attention rollout: which moments of the recording a transformer's answer is put together from."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechxai.classifiers.ssl import Attention
from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.explain.passes import METHODS, OriginalPass, check_target, parts, plain, quiet, unwrap
from speechxai.types import Spectrogram


@METHODS.register(
    signed=False, stochastic=False, cites="abnar2020quantifying", resolution="time", needs="attention", class_blind=True
)
def attention_rollout(model: nn.Module, spec: Spectrogram, target: Tensor) -> Tensor:
    """Share of every moment in the pooled features, followed through all attention layers, (B, F, T).

    R_0 = I, R_l = (A_l + I) / 2 R_(l - 1) with A_l the mean over heads; the map over tokens is sum_l mix_l (time .
    R_l): the
    network's own weights of its layers and moments start the walk back, where the paper starts from one chosen token.
    It
    is at least 0, the same for every class and at every frequency: it has time resolution only. Segments are stitched.

    Raises:
        NotApplicable: a network without attention layers that can be read.
    """
    check_target(spec, target)
    network = unwrap(model)
    backbone = getattr(network, "backbone", network)
    read = getattr(backbone, "attention_maps", None)
    if read is None:
        raise NotApplicable(
            "this network has no attention layers that can be read, so there is nothing to roll out; use saliency or"
            " occlusion."
        )
    n_bins, n_frames = spec.magnitude.shape[1:]
    cut, stitch = getattr(network, "cut", None), getattr(network, "stitch", None)
    size = max(1, int(getattr(network, "max_batch", 1)))
    maps = []
    with quiet(network), torch.no_grad():
        for part in parts(network, spec.magnitude):
            magnitude, phase = plain(spec.magnitude[part]), plain(spec.phase[part])
            magnitude, phase = (v[:, None] if cut is None else cut(v) for v in (magnitude, phase))
            rows = [
                rollout(read(m, p))
                for m, p in zip(magnitude.flatten(0, 1).split(size), phase.flatten(0, 1).split(size), strict=True)
            ]
            over_time = nn.functional.interpolate(
                torch.cat(rows)[:, None], size=magnitude.shape[-1], mode="linear", align_corners=False
            )
            # One row stands for all frequencies until the segments are put together.
            cut_maps = over_time.view(*magnitude.shape[:2], 1, -1)
            maps.append(cut_maps[:, 0] if stitch is None else stitch(cut_maps, n_frames))
    return torch.cat(maps).to(spec.magnitude.dtype).expand(-1, n_bins, -1).contiguous()


def rollout(attention: Attention) -> Tensor:
    """Walk back from the pooled features to the tokens (abnar2020quantifying): (S, T'), rows summing to 1.

    Raises:
        SpeechXAIError: shapes of the attention that do not agree.
    """
    n_layers, n_rows, n_tokens, _ = attention.layers.shape
    if attention.time.shape != (n_rows, n_tokens) or attention.mix.shape != (n_layers + 1,):
        raise SpeechXAIError(
            f"Attention of {n_layers} layers over {n_tokens} tokens needs time ({n_rows}, {n_tokens}) and mix"
            f" ({n_layers + 1},). Got {tuple(attention.time.shape)} and {tuple(attention.mix.shape)} instead."
        )
    # From the last layer down (Horner's scheme on a row vector): T'^2 instead of T'^3 products a layer.
    walked = attention.mix[-1] * attention.time
    for weights, share in zip(attention.layers.flip(0), attention.mix[:-1].flip(0), strict=True):
        walked = 0.5 * (walked[:, None] @ weights)[:, 0] + 0.5 * walked + share * attention.time
    return walked


def resolution_note(name: str, model: nn.Module, spec: Spectrogram) -> str | None:
    """Return the sentence about a map that resolves time only on this network, None for full maps and unknown networks.

    Reads the `cam_layer`'s output from the shared pass, else on at most the first 128 frames of one recording.
    """
    if METHODS.facts(name).get("resolution") == "time":
        return f"{name} resolves time only: its map is the same at every frequency."
    network = unwrap(model)
    if name not in ("gradcam", "guided_gradcam") or getattr(network, "cam_layer", None) is None:
        return None
    shapes = [values.ndim for values in model._activations[:1]] if isinstance(model, OriginalPass) else []
    if not shapes:
        shapes = [_cam_dimensions(network, spec)]
    if shapes != [3]:
        return None
    map_is = "its map is the same" if name == "gradcam" else "its Grad-CAM factor is the same"
    return f"{name} weights a layer that resolves time only: {map_is} at every frequency."


def _cam_dimensions(network: nn.Module, spec: Spectrogram) -> int:
    found: list[int] = []

    def seen(module: nn.Module, inputs: object, output: object) -> None:
        first = output[0] if isinstance(output, tuple | list) else output
        found.append(first.ndim if isinstance(first, Tensor) else 0)

    handle = network.cam_module().register_forward_hook(seen)  # type: ignore[operator]
    try:
        with quiet(network), torch.no_grad():
            getattr(network, "segment_logits", network)(
                plain(spec.magnitude[:1, :, :128]), plain(spec.phase[:1, :, :128])
            )
    finally:
        handle.remove()
    return found[0] if found else 0
