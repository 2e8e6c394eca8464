"""Evidence of maps, and maps made of maps: unions, intersections and votes."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from speechxai.errors import SpeechXAIError
from speechxai.registry import Registry

COMBINATIONS: Registry[Any] = Registry("combination", required=("cites",))
"""Combinations by name: functions `(maps (M, B, F, T)) -> (B, F, T)` on evidence maps in [0, 1]."""


def rescale(values: Tensor) -> Tensor:
    """Divide each recording's map (B, F, T) by its own maximum; an all-zero map stays 0."""
    top = values.flatten(1).amax(dim=1)
    return values / torch.where(top > 0, top, torch.ones_like(top))[:, None, None]


def evidence(values: Tensor, kind: Literal["positive", "absolute"] = "absolute") -> Tensor:
    """Evidence mask of maps (B, F, T), per recording: |A| / max|A| or relu(A) / max relu(A), in [0, 1].

    An all-zero map (or, for "positive", a map without positive values) gives 0 everywhere.
    """
    if kind not in ("positive", "absolute"):
        raise SpeechXAIError(f"The 'evidence' parameter must be 'positive' or 'absolute'. Got {kind!r} instead.")
    return rescale(values.clamp(min=0) if kind == "positive" else values.abs())


@COMBINATIONS.register(cites="mancini2025investigating")
def union(maps: Tensor) -> Tensor:
    """Sum of the evidence maps, rescaled to maximum 1 (the paper's "sum")."""
    return rescale(maps.sum(dim=0))


@COMBINATIONS.register(cites="mancini2025investigating")
def intersection(maps: Tensor) -> Tensor:
    """Product of the evidence maps, rescaled to maximum 1 (the paper's "prod")."""
    return rescale(maps.prod(dim=0))
