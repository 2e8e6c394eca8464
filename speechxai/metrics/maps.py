"""Does the map point at the truth? For recordings with a planted cue, whose place in time and frequency is known.

The case holds a ground-truth map G (B, F, T); a bin belongs to the truth where G is at least one half. A map that is G
itself
scores 1 on every metric here. A map that knows nothing scores the truth's share of the bins (`truth_area`) on the first
three
and one half on `localization_auc`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from speechxai.errors import SpeechXAIError
from speechxai.explain.agreement import average_ranks
from speechxai.metrics.case import METRICS, Case

# How concentrated is a map, and where does its mass lie? These metrics read the map and never the classifier.
QUANTUS_OFFSET = 1e-7
"""What Quantus adds to every bin before its Gini index; our values agree with it to 1e-5 for any map of maximum 1."""


def _total(values: Tensor) -> Tensor:
    """Sum (B,) of each map (B, F, T) in float64. Frames are summed as they are, or all would be copied."""
    return values.sum(dim=2).sum(dim=1, dtype=torch.float64)


def _no_evidence_is_nan(case: Case, values: Tensor) -> Tensor:
    return torch.where(case.is_empty, torch.full_like(values, torch.nan), values)


@METRICS.register(best="high", bounds=(0.0, 1.0), cites="chalasani2020concise", published="SPS")
def sparseness(case: Case) -> Tensor:
    """Gini index of the map: 0 where all bins are equal, near 1 where few hold all; NaN for a map without evidence.

    G = sum_i (2 i - n - 1) E_(i) / (n sum_i (E_i + 1e-7)), E sorted upward, i = 1 ... n.
    """
    rows = case.mask.flatten(1)
    n = rows.shape[1]
    weight = torch.arange(1 - n, n, 2, dtype=torch.float64, device=rows.device)
    gini = []
    for row in rows:  # one at a time: in float64 a map fits into the processor's cache, and a stack of them does not
        if rows.device.type == "cpu" and rows.dtype in (torch.float32, torch.float64):
            ordered = torch.from_numpy(np.sort(row.numpy())).double()  # a tenth of the time of torch's sort
        else:
            ordered = row.sort().values.double()
        gini.append((ordered @ weight) / (n * (ordered.sum() + n * QUANTUS_OFFSET)))
    return _no_evidence_is_nan(case, torch.stack(gini).to(case.mask))


@METRICS.register(best="low", bounds=(0.0, None), cites="bhatt2020evaluating", published="COMP")
def complexity(case: Case) -> Tensor:
    """Entropy of the map's mass, nats, between 0 and ln(F T): -sum s ln s, s = E / sum E; NaN for a map without
    evidence."""
    mask = case.mask
    total = _total(mask)
    # -sum (E / m) ln(E / m) = ln m - sum(E ln E) / m, so that one pass over the bins is enough; 0 ln 0 is 0
    least = torch.finfo(mask.dtype).tiny
    products = torch.cat([_total(row[None].clamp(min=least).log_().mul_(row)) for row in mask])
    entropy = total.log() - products / total
    return _no_evidence_is_nan(case, entropy.clamp(min=0).to(case.mask))


@METRICS.register(best="none", bounds=(0.0, 1.0), cites="own")
def mean_mask(case: Case) -> Tensor:
    """Mean of the evidence over all bins: the budget of the soft mask, without which soft-mask metrics cannot be
    compared."""
    return (_total(case.mask) / case.mask[0].numel()).to(case.mask)


@METRICS.register(best="low", bounds=(0.0, 1.0), cites="own")
def silence_share(case: Case) -> Tensor:
    """Share of the map's mass in frames without speech: high values point to a shortcut; NaN for a map without
    evidence."""
    per_frame = case.mask.sum(dim=1, dtype=torch.float64)
    share = (per_frame * (case.voicing == 0)).sum(dim=1) / per_frame.sum(dim=1)
    return _no_evidence_is_nan(case, share.to(case.mask))


# Does the map point at the truth? For recordings with a planted cue, whose place in time and frequency is known.
def truth_bins(case: Case) -> Tensor:
    """Return the bins of the truth (B, F, T), bool. Raises SpeechXAIError for a case without truth or of another
    shape."""
    if case.truth is None:
        raise SpeechXAIError("A localization metric needs a ground-truth map, and this recording has none.")
    if case.truth.shape != case.mask.shape:
        raise SpeechXAIError(
            f"The ground-truth map has shape {tuple(case.truth.shape)}, the evidence {tuple(case.mask.shape)}."
        )
    return case.truth.to(case.mask.device) >= 0.5


def truth_area(case: Case) -> Tensor:
    """Share of the bins that belong to the truth (B,): what a map that knows nothing is expected to score."""
    return truth_bins(case).flatten(1).double().mean(dim=1).to(case.mask)


# Evidence (B, f, t), at least 0, against members (B, f, t) or (1, f, t), bool; equal values are averaged over all their
# orders.
def rank_share(evidence: Tensor, members: Tensor) -> Tensor:
    """Share (B,) of the K strongest cells that are members, K being the number of members; NaN without any."""
    found = []
    for row, inside in zip(evidence.flatten(1), members.expand_as(evidence).flatten(1), strict=True):
        n_inside = int(inside.sum())
        if n_inside == 0:
            found.append(float("nan"))
            continue
        cut = row.topk(n_inside).values[-1]
        above, tied = row > cut, row == cut
        share = int((tied & inside).sum()) / int(tied.sum())
        found.append((int((above & inside).sum()) + (n_inside - int(above.sum())) * share) / n_inside)
    return torch.tensor(found, dtype=torch.float64)


def mass_share(evidence: Tensor, members: Tensor) -> Tensor:
    """Share (B,) of the evidence in members."""
    inside = (evidence * members).sum(dim=(1, 2), dtype=torch.float64)
    return inside / evidence.sum(dim=(1, 2), dtype=torch.float64)


def strongest_share(evidence: Tensor, members: Tensor) -> Tensor:
    """Share (B,) of the strongest cells that are members: 1 or 0 where one alone is the strongest."""
    strongest = evidence == evidence.amax(dim=(1, 2), keepdim=True)
    return (strongest & members).sum(dim=(1, 2)).double() / strongest.sum(dim=(1, 2))


def detection_auc(evidence: Tensor, members: Tensor) -> Tensor:
    """Chance (B,) that a member holds more evidence than another cell, ties half; NaN where all or none are members."""
    inside = members.expand_as(evidence).flatten(1).to(evidence.device)
    n_inside = inside.sum(dim=1).double()
    n_outside = inside.shape[1] - n_inside
    ranks = (average_ranks(evidence.flatten(1)) * inside).sum(dim=1)
    return (ranks - n_inside * (n_inside + 1) / 2) / (n_inside * n_outside)


def _defined(case: Case, inside: Tensor, values: Tensor) -> Tensor:
    """NaN where the map holds no evidence or the truth no bin."""
    undefined = case.is_empty | ~inside.flatten(1).any(dim=1)
    values = values.to(case.mask)
    return torch.where(undefined, torch.full_like(values, torch.nan), values)


@METRICS.register(best="high", bounds=(0.0, 1.0), cites="arras2022clevr", needs="truth")
def relevance_mass(case: Case) -> Tensor:
    """Share of the map's mass inside the truth: sum of E over G / sum of E; NaN for a map without evidence."""
    inside = truth_bins(case)
    return _defined(case, inside, mass_share(case.mask, inside))


@METRICS.register(best="high", bounds=(0.0, 1.0), cites="arras2022clevr", needs="truth")
def relevance_rank(case: Case) -> Tensor:
    """Share of the map's K strongest bins inside the truth, K being the number of bins of the truth; ties are averaged
    over all their orders."""
    inside = truth_bins(case)
    return _defined(case, inside, rank_share(case.mask, inside))


@METRICS.register(best="high", bounds=(0.0, 1.0), cites="zhang2018topdown", needs="truth", indicator=True)
def pointing_game(case: Case) -> Tensor:
    """Whether the strongest bin lies inside the truth; where several bins are the strongest, the share of them that
    does."""
    inside = truth_bins(case)
    return _defined(case, inside, strongest_share(case.mask, inside))


@METRICS.register(best="high", bounds=(0.0, 1.0), cites="fawcett2006introduction", needs="truth")
def localization_auc(case: Case) -> Tensor:
    """Chance that a bin of the truth holds more evidence than a bin outside, ties counting half: AUC of the map as a
    detector.

    NaN where the truth holds no bin or every bin.
    """
    inside = truth_bins(case)
    return _defined(case, inside, detection_auc(case.mask, inside))


LOCALIZATION_METRICS = ("relevance_mass", "relevance_rank", "pointing_game", "localization_auc")
"""The four of this file, in the order of the tables."""
