"""Evidence of maps, and maps made of maps: unions, intersections and votes."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from speechxai.errors import SpeechXAIError
from speechxai.explain.agreement import average_ranks, top_bins
from speechxai.families import COMBINATIONS as COMBINATIONS


def rescale(values: Tensor) -> Tensor:
    """Divide each recording's map (B, F, T) >= 0 by its own maximum; an all-zero map stays 0."""
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
    # A product of many small values leaves float32; in float64 its maximum can still be divided by.
    return rescale(maps.double().prod(dim=0)).to(maps)


@COMBINATIONS.register(cites="zadeh1965fuzzy")
def maximum(maps: Tensor) -> Tensor:
    """Largest evidence of each bin: the union of fuzzy sets."""
    return maps.amax(dim=0)


@COMBINATIONS.register(cites="zadeh1965fuzzy")
def minimum(maps: Tensor) -> Tensor:
    """Smallest evidence of each bin: the intersection of fuzzy sets, not rescaled."""
    return maps.amin(dim=0)


def _votes(maps: Tensor, q: float) -> Tensor:
    """How many maps hold each bin in their top share q, (B, F, T) in the maps' dtype."""
    held = top_bins(maps.flatten(0, 1), q).reshape(maps.shape)
    return held.sum(dim=0).to(maps)


@COMBINATIONS.register(cites="own")
def set_union(maps: Tensor, *, q: float = 0.1) -> Tensor:
    """Bins in the top share q of at least one map: 1, others 0. Ties belong, bins without evidence never do."""
    return (_votes(maps, q) > 0).to(maps)


@COMBINATIONS.register(cites="own")
def set_intersection(maps: Tensor, *, q: float = 0.1) -> Tensor:
    """Bins in the top share q of every map: 1, others 0. Ties belong, bins without evidence never do."""
    return (_votes(maps, q) == len(maps)).to(maps)


@COMBINATIONS.register(cites="own")
def majority(maps: Tensor, *, q: float = 0.1) -> Tensor:
    """Share of the maps that hold the bin in their top share q, in [0, 1]."""
    return _votes(maps, q) / len(maps)


@COMBINATIONS.register(cites="own")
def rank_mean(maps: Tensor) -> Tensor:
    """Mean of the maps' ranks, rescaled to maximum 1, so that no method's scale dominates; no evidence has rank 0."""
    flat = maps.flatten(0, 1)
    ranks = average_ranks(flat.flatten(1)).reshape(flat.shape) * (flat > 0)
    return rescale(ranks.reshape(maps.shape).mean(dim=0)).to(maps)
