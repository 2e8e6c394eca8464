"""Attention rollout: which moments of the recording a transformer's answer is put together from."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechxai.classifiers.network import Attention, Network, as_network
from speechxai.errors import SpeechXAIError
from speechxai.explain.passes import METHODS, OriginalPass, check_target, network_of, parts, plain, quiet, unwrap
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
    network = network_of(model, spec)
    n_bins, n_frames = spec.magnitude.shape[1:]
    maps = []
    with quiet(network), torch.no_grad():
        for part in parts(network, spec.magnitude):
            magnitude, phase = network.cut(plain(spec.magnitude[part])), network.cut(plain(spec.phase[part]))
            pieces = (torch.split(values.flatten(0, 1), network.max_batch) for values in (magnitude, phase))
            rows = [rollout(network.attention_maps(m, p)) for m, p in zip(*pieces, strict=True)]
            over_time = nn.functional.interpolate(
                torch.cat(rows)[:, None], size=magnitude.shape[-1], mode="linear", align_corners=False
            )
            # One row stands for all frequencies until the segments are put together.
            maps.append(network.stitch(over_time.view(*magnitude.shape[:2], 1, -1), n_frames))
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
    network = as_network(unwrap(model))
    if name not in ("gradcam", "guided_gradcam") or network.cam_layer is None:
        return None
    shapes = [values.ndim for values in model._activations[:1]] if isinstance(model, OriginalPass) else []
    if not shapes:
        shapes = [_cam_dimensions(network, spec)]
    if shapes != [3]:
        return None
    map_is = "its map is the same" if name == "gradcam" else "its Grad-CAM factor is the same"
    return f"{name} weights a layer that resolves time only: {map_is} at every frequency."


def _cam_dimensions(network: Network, spec: Spectrogram) -> int:
    found: list[int] = []

    def seen(module: nn.Module, inputs: object, output: object) -> None:
        first = output[0] if isinstance(output, tuple | list) else output
        found.append(first.ndim if isinstance(first, Tensor) else 0)

    handle = network.cam_module().register_forward_hook(seen)
    try:
        with quiet(network), torch.no_grad():
            network.segment_logits(plain(spec.magnitude[:1, :, :128]), plain(spec.phase[:1, :, :128]))
    finally:
        handle.remove()
    return found[0] if found else 0
