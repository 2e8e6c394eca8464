"""How far two maps agree, and the orderings of bins that agreement, combinations and metrics share."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from speechxai.errors import SpeechXAIError
from speechxai.types import Array

STRONGEST = 0.2
"""Share of a recording's bins that agreement, "kept" and "removed" speak of: the strongest ones of a map."""


def _rows(values: Tensor) -> Array:
    """Rows (B, N) in numpy: its vectorized sort takes a tenth of torch's time for half a million bins."""
    flat = values.detach().flatten(1)
    if flat.dtype not in (torch.float32, torch.float64):
        flat = flat.float()
    return flat.cpu().numpy()


def average_ranks(values: Tensor) -> Tensor:
    """Ranks (B, N) float64 of the rows of values (B, N), the smallest 1; equal values share their mean rank.

    What scipy's rankdata gives in many times the time.

    >>> average_ranks(torch.tensor([[0.2, 0.9, 0.2]]))
    tensor([[1.5000, 3.0000, 1.5000]], dtype=torch.float64)
    """
    rows = _rows(values)
    ranks = np.empty(rows.shape, dtype=np.float64)
    for row, out in zip(rows, ranks, strict=True):
        ordered, order = _sorted(row)
        first = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        if len(first) == len(row):
            out[order] = np.arange(1, len(row) + 1)
            continue
        counts = np.diff(np.append(first, len(row)))
        out[order] = np.repeat(first + (counts + 1) / 2, counts)
    return torch.from_numpy(ranks).to(values.device)


def _sorted(row: Array) -> tuple[Array, Array]:
    """Values (N,) in rising order, and where each one was; in which order equal ones come is not said."""
    if row.dtype != np.float32 or np.isnan(row).any():
        order = np.argsort(row)
        return row[order], order
    # Bits of floats sort as the floats do once those below 0 are turned over; with the place below them, one sort of
    # integers, which numpy has vectorized, gives both in half of the time.
    bits = (row + np.float32(0)).view(np.int32)  # -0.0 becomes 0.0
    bits = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    keys = (bits.astype(np.int64) << 32) | np.arange(len(row))
    keys.sort()
    order = keys & 0xFFFFFFFF
    return row[order], order


TIE_PATCH = (16, 4)
"""Bins and frames of the patches in which equal values fall: 250 Hz x 46 ms of the default transform."""


@lru_cache(maxsize=8)
def _tie_order(n_bins: int, n_frames: int) -> tuple[Array, Array]:
    """A fixed shuffle of the patches of a map, bins in order within each: `place[bin]` in it, and the `bin` at each
    place."""
    n = n_bins * n_frames
    patch = (np.arange(n_bins) // TIE_PATCH[0])[:, None] * -(-n_frames // TIE_PATCH[1]) + np.arange(
        n_frames
    ) // TIE_PATCH[1]
    order = np.random.default_rng(n).permutation(patch.max() + 1)
    bins = np.argsort(order[patch].reshape(-1), kind="stable")
    place = np.empty(n, dtype=np.int64)
    place[bins] = np.arange(n)
    return place, bins


def strongest_first(values: Tensor) -> Tensor:
    """Rank every bin of maps (B, F, T) >= 0, int64: 0 is the strongest bin, every rank occurs once.

    Ties fall patch by patch (TIE_PATCH), the patches in a shuffle that is the same everywhere: a map with few bins of
    evidence is filled up fairly and not from the low frequencies, and one of coarse blocks is not taken apart into
    speckle. Values are compared in float32.
    """
    rows = _rows(values).astype(np.float32) + np.float32(0)  # -0.0 becomes 0.0
    place, bins = _tie_order(*values.shape[-2:])
    # Floats >= 0 sort as their bits; the place in the shuffle below them makes every key unique, so any sort will do.
    keys = ((~rows.view(np.int32)).astype(np.int64) << 32) | place
    keys.sort(axis=1)
    ranks = np.empty(rows.shape, dtype=np.int64)
    np.put_along_axis(ranks, bins[keys & 0xFFFFFFFF], np.arange(rows.shape[1])[None], axis=1)
    return torch.from_numpy(ranks).to(values.device).reshape(values.shape)


def n_top(q: float, n: int) -> int:
    """Number of bins in the top share q of n, rounded half up, at least 1. Raises SpeechXAIError unless 0 < q <= 1."""
    if not 0 < q <= 1:
        raise SpeechXAIError(f"The 'q' parameter must be a share in (0, 1]. Got {q} instead.")
    return max(1, int(q * n + 0.5))


def top_bins(values: Tensor, q: float) -> Tensor:
    """Whether a bin of maps (B, F, T) >= 0 is among the top share q of its own map, bool (B, F, T).

    Bins that tie with the last one belong as well, so that nothing depends on their place; bins without evidence (0)
    never do.

    Raises:
        SpeechXAIError: q outside (0, 1].
    """
    rows = _rows(values)
    n = rows.shape[1]
    last = np.partition(rows, n - n_top(q, n), axis=1)[:, n - n_top(q, n)]
    threshold = torch.from_numpy(last).to(values)[:, None, None]
    return (values >= threshold) & (values > 0)


def strongest(values: Tensor, q: float = STRONGEST) -> Tensor:
    """The strongest share q of the bins of maps (B, F, T) >= 0, bool (B, F, T): `n_top` of them, ties broken as
    `strongest_first` does.

    Bins without evidence (0) never belong, so a map with less evidence has fewer.

    Raises:
        SpeechXAIError: q outside (0, 1].
    """
    rows = _rows(values).astype(np.float32) + np.float32(0)
    n = rows.shape[1]
    k = n_top(q, n)
    place, _ = _tie_order(*values.shape[-2:])
    least = np.partition(rows, n - k, axis=1)[:, n - k]  # an eighth of the time of ranking every bin
    found = rows > least[:, None]
    for row, chosen, limit in zip(rows, found, least, strict=True):
        n_left, tied = k - int(chosen.sum()), np.flatnonzero(row == limit)
        chosen[tied[np.argsort(place[tied])[:n_left]] if n_left < len(tied) else tied] = True
    return torch.from_numpy(found).to(values.device).reshape(values.shape) & (values > 0)


def strongest_share(values: Tensor, q: float = STRONGEST) -> Tensor:
    """Share of the bins of maps (B, F, T) that are among their `strongest` (B,): q, or less where a map has less
    evidence."""
    return strongest(values, q).flatten(1).to(values).mean(dim=1)


def _check(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape or a.ndim != 3:
        raise SpeechXAIError(
            f"Agreement needs two maps of one shape (B, F, T). Got {tuple(a.shape)} and {tuple(b.shape)}."
        )


def iou(a: Tensor, b: Tensor, threshold: float = 0.4) -> Tensor:
    """Intersection over union of the bins that reach `threshold` of their own map's maximum, in [0, 1].

    |{a >= threshold max a} & {b >= threshold max b}| / |... or ...|, per recording (mancini2025investigating,
    corrected: there the second map is compared with the first map's maximum).

    Args:
        a, b: maps (B, F, T) >= 0.
        threshold: share of the maximum, in (0, 1].

    Returns:
        (B,); NaN where both maps are all zero.

    Raises:
        SpeechXAIError: shapes that do not agree, a threshold outside (0, 1].
    """
    _check(a, b)
    if not 0 < threshold <= 1:
        raise SpeechXAIError(f"The 'threshold' parameter must be in (0, 1]. Got {threshold} instead.")
    first, second = ((values >= threshold * values.amax(dim=(1, 2), keepdim=True)) & (values > 0) for values in (a, b))
    common, either = (first & second).sum(dim=(1, 2)), (first | second).sum(dim=(1, 2))
    return common.to(a) / either.to(a)


def rank_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Spearman's rank correlation of two maps (B, F, T), ties by mean rank, in [-1, 1].

    Returns:
        (B,); NaN where a map is constant.

    Raises:
        SpeechXAIError: shapes that do not agree.
    """
    _check(a, b)
    return pairwise_rank_correlation(torch.stack([a, b]))[0, 1]


def pairwise_rank_correlation(maps: Tensor) -> Tensor:
    """Spearman's rank correlation of all pairs of maps (M, B, F, T) -> (M, M, B); every map is ranked once.

    NaN where a map is constant.
    """
    # Centered and scaled to length 1 in place: half a million float64 ranks a map.
    ranks = torch.stack([average_ranks(each.flatten(1)) for each in maps], dim=1)
    ranks -= ranks.mean(dim=2, keepdim=True)
    ranks /= ranks.square().sum(dim=2, keepdim=True).sqrt()
    return (ranks @ ranks.mT).clamp(-1, 1).permute(1, 2, 0).to(maps)


def overlap(a: Tensor, b: Tensor, q: float = STRONGEST) -> Tensor:
    """Agreement of two maps (B, F, T) >= 0: share of the k strongest bins that both name, |A & B| / k, in [0, 1].

    k is the share q of the recording's own bins; two unrelated maps have q. A map with evidence in fewer than k bins
    cannot reach 1: see `strongest_share`.

    Returns:
        (B,); NaN where both maps are all zero.

    Raises:
        SpeechXAIError: shapes that do not agree, q outside (0, 1].
    """
    _check(a, b)
    first, second = strongest(a, q), strongest(b, q)
    shared = (first & second).sum(dim=(1, 2)).to(a) / n_top(q, a[0].numel())
    return torch.where((first | second).any(dim=2).any(dim=1), shared, torch.nan)


def likeness(mean_overlap: float) -> Literal["agree", "partly", "disagree"]:
    """What an `overlap` says in a word: at least twice what unrelated maps have, at least half as much again, or less.

    >>> likeness(0.4), likeness(0.3), likeness(0.29)
    ('agree', 'partly', 'disagree')
    """
    if mean_overlap >= 2 * STRONGEST:
        return "agree"
    return "partly" if mean_overlap >= 1.5 * STRONGEST - 1e-9 else "disagree"
