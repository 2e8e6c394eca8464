"""The registry of attribution methods. A method is a function `(model, spec, target, *, options) -> (B, F, T)`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from speechxai.errors import SpeechXAIError
from speechxai.registry import Registry
from speechxai.types import Spectrogram

METHODS: Registry[Any] = Registry("method", required=("signed", "stochastic", "cites"))
"""Attribution methods by name.

Facts: `signed` (negative values mean evidence against the class), `stochastic` (takes a `seed`), `cites` (a citation key,
or "own"), and optionally `control=True` for the maps that every method must beat, `class_blind=True` for a map that is the same for
every class, `needs="attention"` for networks with readable attention alone, and `resolution="time"`.
"""

DEFAULT_MAX_BATCH = 16
"""Rows that pass through a plain `nn.Module` at once, where it states no `max_batch`."""


@contextmanager
def quiet(model: nn.Module) -> Iterator[None]:
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
    """Pick the logit of the explained class: logits (B, C), target (B,) -> (B,). Raises SpeechXAIError for wrong shapes or indices."""
    if logits.ndim != 2 or len(logits) != len(target):
        raise SpeechXAIError(
            f"The network must return logits of shape ({len(target)}, C). Got {tuple(logits.shape)} instead."
        )
    if target.numel() and not 0 <= int(target.min()) <= int(target.max()) < logits.shape[1]:
        raise SpeechXAIError(
            f"The 'target' parameter must be in 0 .. {logits.shape[1] - 1} for this network. Got {sorted(set(target.tolist()))} instead."
        )
    return logits.gather(1, plain(target).to(logits.device)[:, None])[:, 0]


def n_segments(model: nn.Module, magnitude: Tensor) -> int:
    """Number of segments in which `model` hears recordings shaped like `magnitude` (B, F, T)."""
    cut = getattr(model, "cut", None)
    return 1 if cut is None else int(cut(magnitude[:1, :1]).shape[1])


def recordings_at_once(model: nn.Module, magnitude: Tensor) -> int:
    """Recordings that fit into one pass of `model.max_batch` segments, at least 1; 1 where the model takes one at a time."""
    if getattr(model, "one_at_a_time", False):
        return 1
    return max(1, int(getattr(model, "max_batch", DEFAULT_MAX_BATCH)) // n_segments(model, magnitude))


def parts(model: nn.Module, magnitude: Tensor) -> Iterator[slice]:
    """Slices of the batch, each small enough for one pass."""
    size = recordings_at_once(model, magnitude)
    for first in range(0, len(magnitude), size):
        yield slice(first, min(first + size, len(magnitude)))


def leaf(values: Tensor) -> Tensor:
    """Copy `values` to a tensor of its own that asks for a gradient."""
    return values.detach().clone().requires_grad_()


def plain(values: Tensor) -> Tensor:
    """Return `values` as a tensor that autograd may save, also when it was made in inference mode."""
    return values.clone() if values.is_inference() else values.detach()


def generator(seed: int, index: int = 0) -> torch.Generator:
    """Random numbers of draw number `index`: they depend on the seed and the index alone, never on the recording or the batch."""
    return torch.Generator().manual_seed((int(seed) * 1_000_003 + index) % 2**63)


def require_at_least(name: str, value: int, least: int, method: str) -> None:
    """Raise SpeechXAIError where a count option is too small or no whole number."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise SpeechXAIError(
            f"The '{name}' parameter of {method} must be an int of at least {least}. Got {value!r} instead."
        )
