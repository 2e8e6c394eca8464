"""Statistics of scores: speakers, not recordings, are the independent units.

One AUC, one rank correlation, one calibration error; one bootstrap over speakers and exact intervals of shares; one
test of paired differences with its corrections; readers and cases crossed; one rule for "better than a control"; and
the tidy table of scores summarized by recipe and metric with all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from speechxai.errors import SpeechXAIError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

    from speechxai.types import Array

N_RESAMPLES = 2_000
"""Resamples of a bootstrap."""

N_FLIPS = 9_999
"""Sign flips of a test; with few speakers all of them are made."""

LEVEL = 0.95
"""Of every interval."""

ALPHA = 0.05
"""Below it a corrected p-value counts as a difference."""

FEWEST_SPEAKERS = 5
"""Below it no interval over speakers is given: a resample of three cannot reach beyond them (true coverage 71 %)."""

N_BINS = 5
"""Bins of a reliability table and of the calibration error: 40 speakers leave 8 in each."""

Correction = Literal["holm", "max-t", "none"]


# Ranks and probabilities.
def auc(scores: ArrayLike, labels: ArrayLike, pairs: Array | None = None) -> float:
    """Area under the ROC curve: the chance that a score of class 1 exceeds one of class 0, ties counting half.

    AUC = (sum of the ranks of class 1 - n1 (n1 + 1) / 2) / (n1 n0), average ranks (hanley1982meaning).

    Args:
        scores: (n,), higher means class 1; entries with a NaN score are left out.
        labels: (n,), 0 or 1.
        pairs: (n1, n0), which pairs of one of class 1 and one of class 0 count, each class in the order of `labels`;
            None is all of them.

    Returns:
        In [0, 1]; NaN where a class is missing or no pair counts.

    >>> auc([0.1, 0.4, 0.4, 0.9], [0, 0, 1, 1])
    0.875
    """
    values, positive = np.asarray(scores, dtype=float), np.asarray(labels).astype(bool)
    _same_length(values, positive)
    if pairs is not None:
        difference = values[positive][:, None] - values[~positive][None, :]
        won = ((difference > 0) + 0.5 * (difference == 0))[pairs & ~np.isnan(difference)]
        return float(won.mean()) if won.size else float("nan")
    # Ranks and not sklearn's roc_auc_score, which takes ten times as long: a bootstrap asks 2,000 times.
    from scipy.stats import rankdata

    defined = ~np.isnan(values)
    values, positive = values[defined], positive[defined]
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if not n_positive or not n_negative:
        return float("nan")
    ranks = rankdata(values)
    return float((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def separation(values: ArrayLike, labels: ArrayLike) -> float:
    """How well something tells the classes apart, whichever has the higher values: max(auc, 1 - auc), in [0.5, 1]."""
    area = auc(values, labels)
    return max(area, 1 - area)


def regression_auc(values: Array, labels: Array, folds: Array) -> float:
    """Mean over folds of the AUC that a logistic regression on the other folds reaches: values (n, K), labels (n,) 0 or
    1, folds (n,). What a few measures know of the classes."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    areas = []
    for fold in np.unique(folds):
        tested = folds == fold
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        model.fit(values[~tested], labels[~tested])
        areas.append(auc(model.decision_function(values[tested]), labels[tested]))
    return float(np.mean(areas))


def ridge_weights(x: Array, y: Array, weights: Array) -> Array:
    """Weights (K,) of the columns of x (n, K) that foretell y (n,), without an offset: ridge regression, the penalty by
    generalized cross-validation; `weights` (n,) of the rows."""
    from sklearn.linear_model import RidgeCV

    model = RidgeCV(alphas=np.logspace(-4, 2, 13), fit_intercept=False)
    return np.asarray(model.fit(x, y, sample_weight=weights).coef_)


def spearman(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman's rank correlation of two samples (n,), ties by mean rank, pairs with a NaN left out, in [-1, 1].

    NaN where a sample is constant or fewer than 3 pairs are left.

    >>> round(spearman([1, 5, 7, 100], [2, 1, 9, 8]), 3)
    0.6
    """
    from scipy.stats import spearmanr

    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    _same_length(first, second)
    defined = ~(np.isnan(first) | np.isnan(second))
    first, second = first[defined], second[defined]
    if len(first) < 3 or (first == first[0]).all() or (second == second[0]).all():
        return float("nan")
    return float(spearmanr(first, second).statistic)


def expected_calibration_error(probabilities: ArrayLike, labels: ArrayLike, n_bins: int = N_BINS) -> float:
    """How far stated probabilities are from observed shares: sum over bins of n_b / n * |mean p - mean y|.

    Bins of equal width on [0, 1], the last one closed (naeini2015obtaining). With few predictions it is biased upward:
    read it beside the reliability table.

    Args:
        probabilities: (n,) of class 1, in [0, 1].
        labels: (n,), 0 or 1.
        n_bins: at least 1.

    Returns:
        In [0, 1], 0 is best; NaN without data.

    Raises:
        SpeechXAIError: probabilities outside [0, 1], lengths that do not agree.

    >>> round(expected_calibration_error([0.9, 0.9, 0.1, 0.1], [1, 0, 0, 0]), 3)
    0.25
    """
    p, y = np.asarray(probabilities, dtype=float), np.asarray(labels, dtype=float)
    _same_length(p, y)
    if np.isnan(p).any() or (p < 0).any() or (p > 1).any():
        raise SpeechXAIError("The 'probabilities' parameter must hold values in [0, 1].")
    if not len(p):
        return float("nan")
    difference = np.bincount(bins_of(p, n_bins), weights=p - y, minlength=n_bins)
    return float(np.abs(difference).sum() / len(p))


def bins_of(probabilities: Array, n_bins: int = N_BINS) -> Array:
    """Bin (n,) of every probability, 0 to n_bins - 1: bins of equal width on [0, 1], the last one closed."""
    return np.minimum((probabilities * n_bins).astype(np.int64), n_bins - 1)


# Speakers and their means.
def speaker_means(values: ArrayLike, speakers: ArrayLike) -> Array:
    """Mean of each speaker's recordings, (S,) or (S, K) for values (n,) or (n, K), speakers sorted; NaN values left
    out.

    A speaker without any defined value is NaN.
    """
    table, names = np.asarray(values, dtype=float), np.asarray(speakers)
    _same_length(table, names)
    _, index = np.unique(names, return_inverse=True)
    flat = table if table.ndim == 2 else table[:, None]
    defined = ~np.isnan(flat)
    total = np.zeros((index.max(initial=-1) + 1, flat.shape[1]))
    count = np.zeros_like(total)
    np.add.at(total, index, np.where(defined, flat, 0.0))
    np.add.at(count, index, defined)
    means = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return means if table.ndim == 2 else means[:, 0]


def mean_over_speakers(values: ArrayLike, speakers: ArrayLike) -> float:
    """Mean of the speakers' means: every speaker counts once, however many recordings there are. NaN without data."""
    return float(_column_means(speaker_means(values, speakers)[:, None])[0])


# The bootstrap over speakers (efron1993introduction): speakers are drawn with replacement, and come with all they have.
def resamples(n_speakers: int, n: int = N_RESAMPLES, seed: int = 0) -> Array:
    """Numbers of the speakers drawn in each of n resamples, (n, n_speakers)."""
    return np.random.default_rng(seed).integers(n_speakers, size=(n, n_speakers))


def bca_interval(resampled: Array, value: ArrayLike, left_out: Array) -> tuple[Array, Array]:
    """Lower and upper end (K,) of the 95 % interval of statistics of speakers, from their bootstrap.

    Bias-corrected and accelerated (efron1987better), its tails widened as Student's t widens those of a mean, because
    a bootstrap of n speakers has (n - 1) / n of their variance (hesterberg2015what): the nominal tail .025 becomes
    Phi(-sqrt(n / (n - 1)) t(.975, n - 1)), .0010 with 5 speakers, .015 with 12, .020 with 20. The ends never leave the
    range of what was resampled.

    True coverage of a nominal 95 % for a mean of 5, 8, 12 and 20 speakers (docs/statistics.md): normal values 91, 95,
    94, 95 %; exponential ones 88, 91, 93, 94 %; log-normal ones 82, 86, 87, 90 %. The percentile interval has 82, 89,
    91, 93; 80, 82, 88, 92; 72, 76, 81, 85 %.

    Args:
        resampled: (n, K), values of the statistic in n resamples; NaN is left out.
        value: (K,) or (), the statistic of all speakers.
        left_out: (S, K), the statistic without each speaker in turn; NaN for one who has no part in it.

    Returns:
        NaN where fewer than FEWEST_SPEAKERS have a part, or no resample has a value.
    """
    from scipy.special import ndtr, ndtri
    from scipy.stats import t as student

    values, n_columns = np.broadcast_to(np.asarray(value, dtype=float), resampled.shape[1:]), resampled.shape[1]
    ends = np.full((2, n_columns), np.nan)
    n_speakers = (~np.isnan(left_out)).sum(axis=0)
    known = ~np.isnan(resampled)
    some = (n_speakers >= FEWEST_SPEAKERS) & known.any(axis=0) & ~np.isnan(values)
    if not some.any():
        return ends[0], ends[1]
    drawn, n = resampled[:, some], n_speakers[some]
    n_drawn = known[:, some].sum(axis=0)
    bias = ndtri(_share_below(drawn, values[some]))
    acceleration = _acceleration(left_out[:, some])
    z = np.sqrt(n / (n - 1)) * student.ppf(1 - (1 - LEVEL) / 2, n - 1)
    ordered = np.sort(drawn, axis=0)  # NaN last
    for row, sign in enumerate((-1, 1)):
        moved = bias + sign * z
        # Far out and strongly skewed the correction has no meaning: there the end is that of what was resampled.
        bent = np.where(1 - acceleration * moved > 1e-9, 1 - acceleration * moved, 1e-9)
        place = ndtr(bias + moved / bent) * (n_drawn - 1)
        under = np.clip(np.floor(place).astype(int), 0, np.maximum(n_drawn - 2, 0))
        columns = np.arange(ordered.shape[1])
        over = np.minimum(under + 1, n_drawn - 1)
        first, second = ordered[under, columns], ordered[over, columns]
        ends[row, some] = first + (place - under) * (second - first)
    return ends[0], ends[1]


def bca_p_value(resampled: Array, value: ArrayLike, left_out: Array) -> Array:
    """Two-sided p-value that statistics of speakers are 0, (K,): 1 less the level of that interval of `bca_interval`
    which ends at 0, so that p and interval say the same of a difference. Never 0; NaN where there is no interval. Only
    where next to no resample lies on the other side of 0 can p be the more careful one: half a resample is counted
    there, while an interval ends at what was resampled.

    With z of the share of resamples below 0, b the bias and a the acceleration: t = (u / (1 + a u) - b) /
    sqrt(n / (n - 1)) with u = z - b, and p is twice the tail of Student's t with n - 1 degrees of freedom beyond |t|.

    Args:
        resampled, value, left_out: as `bca_interval` takes them.
    """
    from scipy.special import ndtri
    from scipy.stats import t as student

    values = np.broadcast_to(np.asarray(value, dtype=float), resampled.shape[1:])
    n = (~np.isnan(left_out)).sum(axis=0)
    some = (n >= FEWEST_SPEAKERS) & (~np.isnan(resampled)).any(axis=0) & ~np.isnan(values)
    found = np.full(resampled.shape[1], np.nan)
    if not some.any():
        return found
    bias = ndtri(_share_below(resampled[:, some], values[some]))
    u = ndtri(_share_below(resampled[:, some], np.zeros(int(some.sum())))) - bias
    bent = 1 + _acceleration(left_out[:, some]) * u
    moved = np.divide(u, bent, out=np.copysign(np.full_like(u, np.inf), u), where=bent > 0)
    n = n[some]
    found[some] = np.minimum(1, 2 * student.sf(np.abs(moved - bias) / np.sqrt(n / (n - 1)), n - 1))
    return found


def _share_below(drawn: Array, own: Array) -> Array:
    """Share of the resamples (n, K) below a value (K,), equal ones by half, neither 0 nor 1; NaN is left out."""
    n_drawn = (~np.isnan(drawn)).sum(axis=0)
    equal = np.abs(drawn - own) <= 1e-12 * np.abs(own)
    below = ((drawn < own) & ~equal).sum(axis=0) + 0.5 * equal.sum(axis=0)
    found: Array = np.clip(below / n_drawn, 0.5 / n_drawn, 1 - 0.5 / n_drawn)
    return found


def _acceleration(left_out: Array) -> Array:
    """How fast a statistic's standard error grows with it, (K,), from its values without each speaker (S, K)."""
    deviation = np.nanmean(left_out, axis=0) - left_out
    spread = 6 * np.nansum(deviation**2, axis=0) ** 1.5
    found: Array = np.divide(np.nansum(deviation**3, axis=0), spread, out=np.zeros_like(spread), where=spread > 0)
    return found


def bootstrap(
    statistic: Callable[[Array], float], n_speakers: int, n: int = N_RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of a statistic of speakers by bootstrap, see `bca_interval`.

    Args:
        statistic: takes the numbers of the speakers drawn (n_speakers,) and gives the value; a NaN leaves the resample
            out.
        n_speakers: how many there are.
        n: resamples.
        seed: of the draws.

    Returns:
        Lower and upper end; NaN under FEWEST_SPEAKERS.
    """
    if n_speakers < FEWEST_SPEAKERS:
        return float("nan"), float("nan")
    everyone = np.arange(n_speakers)
    found = np.array([[statistic(drawn)] for drawn in resamples(n_speakers, n, seed)], dtype=float)
    without = np.array([[statistic(np.delete(everyone, speaker))] for speaker in everyone], dtype=float)
    low, high = bca_interval(found, statistic(everyone), without)
    return float(low[0]), float(high[0])


def bootstrap_means(means: Array, n: int = N_RESAMPLES, seed: int = 0) -> tuple[Array, Array]:
    """`bootstrap` of the means of all columns of speaker means (S, K) at once; the same draws serve all columns.

    Returns:
        Lower and upper ends (K,); NaN for a column with fewer than FEWEST_SPEAKERS defined speakers.
    """
    n_speakers, n_columns = means.shape
    if n_speakers < FEWEST_SPEAKERS:
        return np.full(n_columns, np.nan), np.full(n_columns, np.nan)
    counts = _counts(n_speakers, n, seed)
    defined = ~np.isnan(means)
    known = np.where(defined, means, 0.0)
    some = defined.any(axis=0) & ~defined.all(axis=0)  # the weight of other columns is known without adding it up
    total, weight = np.empty((n, n_columns)), np.full((n, n_columns), float(n_speakers)) * defined.any(axis=0)
    for rows in _blocks(n, n_speakers):
        drawn = counts[rows].astype(float)
        total[rows] = drawn @ known
        if some.any():
            weight[rows, some] = drawn @ defined[:, some].astype(float)
    resampled = np.divide(total, weight, out=np.full_like(total, np.nan), where=weight > 0)
    n_defined = defined.sum(axis=0)
    rest = np.where(defined & (n_defined > 1), known.sum(axis=0) - known, np.nan)
    return bca_interval(resampled, _column_means(means), rest / np.maximum(n_defined - 1, 1))


# Draws depend on the number of speakers and the seed alone, and every table of a run asks for the same ones: they are
# made once, kept small, and used a block at a time, so that 10,000 speakers take no more memory than 100.
BLOCK = 2**22
"""Numbers of draws that are unpacked at once: 32 MB."""


def _blocks(n: int, n_speakers: int) -> Iterator[slice]:
    size = max(1, BLOCK // max(1, n_speakers))
    return (slice(first, min(n, first + size)) for first in range(0, n, size))


@lru_cache(maxsize=2)
def _counts(n_speakers: int, n: int, seed: int) -> Array:
    """How often each speaker is in each of the `resamples`, (n, n_speakers)."""
    rng, found = np.random.default_rng(seed), np.empty((n, n_speakers), np.uint8 if n_speakers < 10**6 else np.uint16)
    for rows in _blocks(n, n_speakers):
        for row, drawn in zip(
            found[rows], rng.integers(n_speakers, size=(rows.stop - rows.start, n_speakers)), strict=True
        ):
            row[:] = np.bincount(drawn, minlength=n_speakers)
    return found


@lru_cache(maxsize=2)
def _flips(n_speakers: int, n: int, seed: int) -> Array:
    """Which speakers n random flips turn round, eight a byte, (n, n_speakers / 8)."""
    rng = np.random.default_rng(seed)
    sizes = [rows.stop - rows.start for rows in _blocks(n, n_speakers)]
    return np.concatenate([np.packbits(rng.integers(2, size=(size, n_speakers)) == 1, axis=1) for size in sizes])


def speaker_bootstrap(
    values: ArrayLike,
    speakers: ArrayLike,
    statistic: Callable[[Array], float] | None = None,
    n: int = N_RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """`bootstrap` of a statistic of recordings; each speaker drawn comes with all recordings.

    Args:
        values: (n,) or (n, K), one row a recording.
        speakers: (n,).
        statistic: function of the rows of a resample, such as `lambda rows: auc(rows[:, 0], rows[:, 1])`; None is the
            mean over speakers of their means.
        n: resamples.
        seed: of the draws.

    Returns:
        Lower and upper end; NaN under FEWEST_SPEAKERS. Resamples whose statistic is NaN are left out.
    """
    table, names = np.asarray(values, dtype=float), np.asarray(speakers)
    if statistic is None:
        low, high = bootstrap_means(speaker_means(table, names)[:, None], n, seed)
        return float(low[0]), float(high[0])
    _same_length(table, names)
    unique, index = np.unique(names, return_inverse=True)
    rows_of = [np.flatnonzero(index == speaker) for speaker in range(len(unique))]
    return bootstrap(lambda drawn: statistic(table[np.concatenate([rows_of[s] for s in drawn])]), len(unique), n, seed)


def auc_interval(
    scores: ArrayLike, labels: ArrayLike, speakers: ArrayLike, n: int = N_RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of `auc` by bootstrap over speakers.

    Where every score of one class exceeds every one of the other, no resample differs, and the bootstrap would say that
    nothing can be otherwise. Then the interval is that of a share: of all pairs of two speakers that can be formed with
    nobody in two of them, all are won or all lost.

    Args:
        scores: (n,), higher means class 1.
        labels: (n,), 0 or 1.
        speakers: (n,).
        n: resamples.
        seed: of the draws.

    Returns:
        Lower and upper end; NaN where a class has fewer than two speakers.
    """
    rows, names = np.stack([np.asarray(scores, float), np.asarray(labels, float)], axis=1), np.asarray(speakers)
    _same_length(rows, names)
    known = ~np.isnan(rows[:, 0])
    members = [set(names[known & (rows[:, 1] == label)].tolist()) for label in (0, 1)]
    if min(map(len, members)) < 2:
        return float("nan"), float("nan")
    area = auc(rows[:, 0], rows[:, 1])
    if area in (0.0, 1.0):
        n_pairs = min(*map(len, members), len(members[0] | members[1]) // 2)
        return share_interval(int(area) * n_pairs, n_pairs)
    unique, index = np.unique(names, return_inverse=True)
    if len(unique) < FEWEST_SPEAKERS:
        return float("nan"), float("nan")
    counts = _counts(len(unique), n, seed)
    parts = [_weighted_auc(rows[known], counts[part][:, index[known]]) for part in _blocks(n, len(names))]
    without = _auc_without_each(rows[known], index[known], len(unique))
    low, high = bca_interval(np.concatenate(parts)[:, None], area, without[:, None])
    return float(low[0]), float(high[0])


def _ordered(rows: Array) -> tuple[Array, Array]:
    """Order of scores and labels (n, 2) by their score, and where each run of equal scores begins."""
    order = np.argsort(rows[:, 0], kind="stable")
    ordered = rows[order, 0]
    return order, np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))


def _weighted_auc(rows: Array, weights: Array) -> Array:
    """`auc` (R,) of scores and labels (n, 2), each counted as often as the weights (R, n) say."""
    order, first = _ordered(rows)
    positive = rows[order, 1] == 1
    own, other = (
        np.add.reduceat(np.where(chosen, weights[:, order], 0), first, axis=1, dtype=float)
        for chosen in (positive, ~positive)
    )
    won = (own * (np.cumsum(other, axis=1) - 0.5 * other)).sum(axis=1)
    n_pairs = own.sum(axis=1) * other.sum(axis=1)
    found: Array = np.divide(won, n_pairs, out=np.full(len(won), np.nan), where=n_pairs > 0)
    return found


def _auc_without_each(rows: Array, index: Array, n_speakers: int) -> Array:
    """`auc` (S,) of scores and labels (n, 2) without each speaker in turn, from the pairs in which their recordings
    are."""
    order, first = _ordered(rows)
    positive, who = rows[order, 1] == 1, index[order]
    run = np.repeat(np.arange(len(first)), np.diff([*first, len(order)]))
    own, other = (np.add.reduceat(chosen.astype(float), first) for chosen in (positive, ~positive))
    below, above = (np.cumsum(each) - 0.5 * each for each in (other, own))
    won = np.where(positive, below[run], own.sum() - above[run])
    lost = np.bincount(who, won, n_speakers)
    n_own, n_other = (np.bincount(who[chosen], minlength=n_speakers) for chosen in (positive, ~positive))
    for speaker in np.flatnonzero(n_own * n_other):  # pairs of two recordings of one were counted twice
        theirs = rows[index == speaker]
        lost[speaker] -= auc(theirs[:, 0], theirs[:, 1]) * n_own[speaker] * n_other[speaker]
    n_pairs = (own.sum() - n_own) * (other.sum() - n_other)
    rest = won[positive].sum() - lost
    found: Array = np.divide(rest, n_pairs, out=np.full(n_speakers, np.nan), where=n_pairs > 0)
    return found


# Networks and speakers: what was measured on several trained networks, each with speakers of its own or shared ones.
FEWEST_NETWORKS = 9
"""With fewer trained networks no statement is tested."""


def network_means(values: Array, networks: ArrayLike, speakers: ArrayLike) -> tuple[Array, Array]:
    """Means (G, K) of every network, each speaker once, of values (n, K) with NaN left out; and the networks' names.

    Raises:
        SpeechXAIError: lengths that do not agree.
    """
    owner, who = np.asarray(networks).astype(str), np.asarray(speakers).astype(str)
    _same_length(values, owner)
    names = np.unique(owner)
    rows = [_column_means(speaker_means(values[owner == name], who[owner == name])) for name in names]
    return np.array(rows).reshape(len(names), values.shape[1]), names


def network_interval(
    values: Array, networks: ArrayLike, speakers: ArrayLike, seeds: ArrayLike
) -> tuple[Array, Array, Array]:
    """Mean over networks with its 95 % interval, of every column of values (n, K); NaN is left out.

    What differs from network to network is not told from what differs from speaker to speaker by drawing speakers: with
    30 speakers in 9 networks such an interval holds the truth in 94 to 72 % as the networks' share of the variance
    grows from 0 to 0.6. So networks are the units, and Student's t over their means is the interval. Where speakers are
    heard by several networks, or networks of one seed are alike, means are not independent: the variance by networks
    is joined with that by speakers (less that of their cells, cameron2011robust) and by seeds, and the widest counts.
    True coverage (docs/statistics.md): at least 93 % in all of these cases.

    Args:
        values: one row a recording.
        networks, speakers, seeds: (n,), who was heard by which network, and by which draw it was trained.

    Returns:
        Mean, lower and upper end, (K,); the ends NaN under 3 networks.
    """
    from scipy.stats import t as student

    owner, who, draw = (np.asarray(each).astype(str) for each in (networks, speakers, seeds))
    _same_length(values, owner)
    defined = ~np.isnan(values)
    known = np.where(defined, values, 0.0)
    cells = np.char.add(np.char.add(owner, "\n"), who)
    # Weights by which every recording counts in the mean over networks of means over speakers of means over recordings.
    weight = defined / np.maximum(_summed(defined, cells, spread=True), 1)
    in_network = _summed(weight, owner, spread=True)
    weight = np.divide(weight, in_network, out=np.zeros_like(weight), where=in_network > 0)
    n_networks = (_summed(defined, owner) > 0).sum(axis=0)
    weight = weight / np.maximum(n_networks, 1)
    mean = np.where(n_networks > 0, (weight * known).sum(axis=0), np.nan)
    residual = weight * (known - mean)

    def variance(names: Array) -> tuple[Array, Array]:
        n = (_summed(defined, names) > 0).sum(axis=0)
        return np.square(_summed(residual, names)).sum(axis=0) * n / np.maximum(n - 1, 1), n

    by_network, _ = variance(owner)
    by_speaker, n_speakers = variance(who)
    by_cell, _ = variance(cells)
    by_seed, n_seeds = variance(draw)
    joined = np.maximum(by_network, by_network + by_speaker - by_cell)
    reach = student.ppf(0.975, np.maximum(np.minimum(n_networks, n_speakers) - 1, 1)) * np.sqrt(joined)
    of_seeds = student.ppf(0.975, np.maximum(n_seeds - 1, 1)) * np.sqrt(by_seed)
    reach = np.where(n_seeds >= 3, np.fmax(reach, of_seeds), reach)
    reach = np.where((n_networks >= 3) & (n_speakers >= 3), reach, np.nan)
    return mean, mean - reach, mean + reach


def _summed(values: Array, names: Array, *, spread: bool = False) -> Array:
    """Sums (G, K) of the rows of each name, or (n, K) with its sum in every row."""
    _, index = np.unique(names, return_inverse=True)
    total = np.zeros((index.max(initial=-1) + 1, values.shape[1]))
    np.add.at(total, index, values.astype(float))
    return total[index] if spread else total


# Shares of speakers.
def share_interval(k: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Exact interval of a share, k of n (clopper1934use); it never has width zero. NaN for n = 0.

    Raises:
        SpeechXAIError: k outside 0 to n.

    >>> tuple(round(end, 3) for end in share_interval(12, 12))
    (0.735, 1.0)
    >>> tuple(round(end, 3) for end in share_interval(0, 7))
    (0.0, 0.41)
    """
    from scipy.stats import binomtest

    if not 0 <= k <= n:
        raise SpeechXAIError(f"The 'k' parameter of a share must be from 0 to n = {n}. Got {k} instead.")
    if n == 0:
        return float("nan"), float("nan")
    found = binomtest(k, n).proportion_ci(level, method="exact")
    return float(found.low), float(found.high)


def share_of_speakers(right: ArrayLike, speakers: ArrayLike, seed: int = 0) -> tuple[float, float, float, int]:
    """Mean over speakers of the share of their recordings that are right, its 95 % interval and the number of speakers.

    Where every speaker is right always or never, as with one recording each, the interval is exact (`share_interval`);
    else it is `bootstrap_means`.

    Args:
        right: (n,) 0 or 1, NaN where unknown.
        speakers: (n,).
        seed: of the draws.

    Returns:
        Share, lower and upper end, n_speakers. The exact interval needs two speakers, the other FEWEST_SPEAKERS.
    """
    means = speaker_means(right, speakers)
    means = means[~np.isnan(means)]
    low, high = _share_ends(means[:, None], seed)
    return float(means.mean()) if len(means) else float("nan"), float(low[0]), float(high[0]), len(means)


def _share_ends(means: Array, seed: int) -> tuple[Array, Array]:
    """Interval of every column of speakers' shares (S, K): exact where all are 0 or 1."""
    low, high = bootstrap_means(means, seed=seed)
    for column, each in enumerate(means.T):
        known = each[~np.isnan(each)]
        if len(known) >= 2 and np.isin(known, (0.0, 1.0)).all():
            low[column], high[column] = share_interval(int(known.sum()), len(known))
    return low, high


# Readers and cases: several people judge the same cases, in one or several arms; both are a sample of more.
FEWEST_READERS = 2
"""With fewer readers nothing is said about readers in general, so there is no interval."""


@dataclass(frozen=True, eq=False)
class MultiReader:
    """A multi-reader multi-case study by Obuchowski and Rockette, readers and cases random (obuchowski1995hypothesis;
    degrees of freedom hillis2007comparison; covariances by the jackknife over cases).

    Args:
        figures: (I, J) of every arm and reader; readers without one in some arm are left out.
        mean, low, high: (I,) over readers, with 95 % intervals for readers and cases like these.
        difference: (I, I), mean of the row's arm minus that of the column's; then its intervals, and the p-value of
            "no difference" of these two.
        ms_t, ms_tr: mean squares of arms and of arms x readers; NaN with one arm.
        variance, cov1, cov2, cov3: error variance; covariances of one reader in two arms, of two readers in one arm,
            and of two readers in two arms.
        f, df, p: of "all arms are alike", and the denominator's degrees of freedom.
        readers: (J,) which readers count, by their place.
        n_cases: cases that somebody read.
    """

    figures: Array
    mean: Array
    low: Array
    high: Array
    difference: Array
    difference_low: Array
    difference_high: Array
    difference_p: Array
    ms_t: float
    ms_tr: float
    variance: float
    cov1: float
    cov2: float
    cov3: float
    f: float
    df: float
    p: float
    readers: Array
    n_cases: int


def multi_reader(ratings: Array, truth: Array, figure: Literal["auc", "mean"] = "auc") -> MultiReader:
    """Compare arms that the same readers read, see `MultiReader`.

    F = MS(T) / (MS(TR) + J max(Cov2 - Cov3, 0)); a difference of two arms has 2 / J of that denominator as variance, an
    arm alone (MS(R) + J max(Cov2, 0)) / J of its own readers.

    Args:
        ratings: (I, J, K) of I arms, J readers, K cases; NaN where a reader did not read a case in an arm.
        truth: (K,) 0 or 1; read for the AUC alone.
        figure: "auc", or "mean" of ratings: sensitivity is the mean of right answers, NaN for cases of the other class.

    Returns:
        Intervals are NaN with fewer than FEWEST_READERS readers.

    Raises:
        SpeechXAIError: lengths that do not agree.
    """
    from scipy.stats import f as fisher
    from scipy.stats import t as student

    values, positive = np.asarray(ratings, dtype=float), np.asarray(truth).astype(bool)
    if values.ndim != 3 or values.shape[2] != len(positive):
        raise SpeechXAIError(
            f"Ratings must be (arms, readers, cases) and truth (cases,). Got {values.shape} and {positive.shape}."
        )
    read = ~np.isnan(values).all(axis=(0, 1))
    values, positive = values[:, :, read], positive[read]
    n_arms, _, n_cases = values.shape
    figures, without = _jackknife(values, positive, figure)
    readers = np.flatnonzero(~np.isnan(figures).any(axis=0) & ~np.isnan(without).any(axis=(0, 2)))
    figures, without = figures[:, readers], without[:, readers]
    n = len(readers)
    mean = figures.mean(axis=1) if n else np.full(n_arms, np.nan)
    nothing, between = np.full(n_arms, np.nan), mean[:, None] - mean[None, :]
    empty = np.full((n_arms, n_arms), np.nan)
    if n < FEWEST_READERS or n_cases < 2:
        none = (float("nan"),) * 9
        return MultiReader(
            figures, mean, nothing, nothing, between, empty, empty, empty, *none, readers=readers, n_cases=n_cases
        )
    deviation = (without - without.mean(axis=2, keepdims=True)).reshape(n_arms * n, n_cases)
    covariance = ((n_cases - 1) / n_cases * deviation @ deviation.T).reshape(n_arms, n, n_arms, n)
    same_arm, same_reader = np.eye(n_arms, dtype=bool), np.eye(n, dtype=bool)

    def average(arms: Array, who: Array) -> float:
        chosen = covariance.transpose(0, 2, 1, 3)[arms][:, who]
        return float(chosen.mean()) if chosen.size else float("nan")

    variance, cov2 = average(same_arm, same_reader), average(same_arm, ~same_reader)
    cov1, cov3 = average(~same_arm, same_reader), average(~same_arm, ~same_reader)
    own = [covariance[i, :, i][~same_reader].mean() for i in range(n_arms)]
    ms_r, noise = figures.var(axis=1, ddof=1), n * np.maximum(own, 0)
    low, high = _student(mean, (ms_r + noise) / n, _satterthwaite(ms_r, noise, n - 1))
    ms_t = ms_tr = f = df = p = float("nan")
    ends = empty, empty, empty
    if n_arms > 1:
        ms_t = float(n * mean.var(ddof=1))
        rest = figures - mean[:, None] - figures.mean(axis=0) + figures.mean()
        ms_tr = float(np.square(rest).sum() / ((n_arms - 1) * (n - 1)))
        error = ms_tr + n * max(cov2 - cov3, 0.0)
        df = float(_satterthwaite(np.array(ms_tr), np.array(error - ms_tr), (n_arms - 1) * (n - 1)))
        f = ms_t / error if error > 0 else float("nan")
        p = float(fisher.sf(f, n_arms - 1, df))
        off = np.where(same_arm, np.nan, between)
        spread = np.full_like(off, 2 / n * error)
        t = np.abs(off) / np.sqrt(spread) if error > 0 else empty
        ends = (*_student(off, spread, np.full_like(off, df)), 2 * student.sf(t, df))
    return MultiReader(
        figures, mean, low, high, between, *ends, ms_t, ms_tr, variance, cov1, cov2, cov3, f, df, p, readers, n_cases
    )


def _jackknife(values: Array, positive: Array, figure: str) -> tuple[Array, Array]:
    """Figures (I, J) of ratings (I, J, K), and the same without each case in turn (I, J, K)."""
    n_arms, n_readers, _ = values.shape
    known = ~np.isnan(values)
    if figure == "mean":
        n, total = known.sum(axis=2), np.nansum(values, axis=2)
        left = n[:, :, None] - known
        without = np.divide(
            total[:, :, None] - np.where(known, values, 0.0), left, out=np.full(values.shape, np.nan), where=left > 0
        )
        return np.divide(total, n, out=np.full(n.shape, np.nan), where=n > 0), without
    figures, without = np.full((n_arms, n_readers), np.nan), np.full(values.shape, np.nan)
    for arm, reader in np.ndindex(n_arms, n_readers):
        there, row = known[arm, reader], values[arm, reader]
        ours, others = np.flatnonzero(there & positive), np.flatnonzero(there & ~positive)
        if min(len(ours), len(others)) < 2:
            continue
        difference = row[ours][:, None] - row[others][None, :]
        won = (difference > 0) + 0.5 * (difference == 0)
        figures[arm, reader] = won.mean()
        without[arm, reader] = won.mean()  # a case that was not read changes nothing
        without[arm, reader, ours] = (won.sum() - won.sum(axis=1)) / ((len(ours) - 1) * len(others))
        without[arm, reader, others] = (won.sum() - won.sum(axis=0)) / (len(ours) * (len(others) - 1))
    return figures, without


def _satterthwaite(of_readers: Array, noise: Array, df: int) -> Array:
    """Degrees of freedom of a mean square with df of its own and a variance known beside it; infinite without the
    first."""
    squared = np.square(of_readers) / df
    whole, endless = np.square(of_readers + noise), np.full(np.shape(squared), np.inf)
    found: Array = np.divide(whole, squared, out=endless, where=squared > 0)
    return found


def _student(value: Array, variance: Array, df: Array) -> tuple[Array, Array]:
    from scipy.stats import t as student

    reach = student.ppf(1 - (1 - LEVEL) / 2, df) * np.sqrt(variance)
    return value - reach, value + reach


def reader_interval(values: ArrayLike) -> tuple[float, float, float]:
    """Mean of one value a reader (J,), NaN left out, and its 95 % interval by Student's t; the ends are NaN with fewer
    than FEWEST_READERS.

    >>> tuple(round(x, 3) for x in reader_interval([1.0, 2.0, 3.0]))
    (2.0, -0.484, 4.484)
    """
    known = np.asarray(values, dtype=float)
    known = known[~np.isnan(known)]
    if len(known) < FEWEST_READERS:
        return float(known.mean()) if len(known) else float("nan"), float("nan"), float("nan")
    low, high = _student(known.mean(), known.var(ddof=1) / len(known), np.array(len(known) - 1))
    return float(known.mean()), float(low), float(high)


def spearman_interval(correlation: float, n: int) -> tuple[float, float]:
    """95 % interval of a rank correlation of n pairs: tanh(atanh r -+ 1.96 sqrt((1 + r^2 / 2) / (n - 3)))
    (bonett2000sample). NaN under 5 pairs.

    >>> tuple(round(x, 3) for x in spearman_interval(0.5, 40))
    (0.205, 0.712)
    """
    if n < FEWEST_SPEAKERS or np.isnan(correlation):
        return float("nan"), float("nan")
    from scipy.special import ndtri

    bounded = float(np.clip(correlation, -1 + 1e-12, 1 - 1e-12))
    reach = ndtri(1 - (1 - LEVEL) / 2) * np.sqrt((1 + bounded**2 / 2) / (n - 3))
    return float(np.tanh(np.arctanh(bounded) - reach)), float(np.tanh(np.arctanh(bounded) + reach))


def spearman_p(correlation: float, n: int) -> float:
    """Two-sided p-value of "no rank correlation" of n pairs, by the standard error of `spearman_interval`; NaN under 5
    pairs.

    >>> round(spearman_p(0.5, 40), 4)
    0.0016
    """
    if n < FEWEST_SPEAKERS or np.isnan(correlation):
        return float("nan")
    from scipy.special import ndtr

    bounded = float(np.clip(correlation, -1 + 1e-12, 1 - 1e-12))
    return float(2 * ndtr(-abs(np.arctanh(bounded)) / np.sqrt((1 + bounded**2 / 2) / (n - 3))))


def pairwise_kappa(answers: Array) -> float:
    """Mean over pairs of readers of Cohen's kappa, (p_observed - p_chance) / (1 - p_chance) (cohen1960coefficient).

    Args:
        answers: (J, K), 0 or 1; NaN where a reader did not answer. Cases that both read count.

    Returns:
        In [-1, 1]; pairs without a kappa (nothing in common, or both always say the same class) are left out.

    >>> round(pairwise_kappa(np.array([[1, 1, 0, 0, 1], [1, 0, 0, 0, 1]])), 3)
    0.615
    """
    known = ~np.isnan(np.asarray(answers, dtype=float))
    said = np.where(known, answers, 0.0)
    both = known.astype(float) @ known.T
    yes = said @ said.T
    ours = said @ known.T  # of the cases that both read, how often the row's reader said 1
    with np.errstate(invalid="ignore", divide="ignore"):
        observed = (both - ours - ours.T + 2 * yes) / both
        chance = (ours * ours.T + (both - ours) * (both - ours.T)) / both**2
        kappa = (observed - chance) / (1 - chance)
    pairs = kappa[np.triu_indices(len(kappa), 1)]
    pairs = pairs[np.isfinite(pairs)]
    return float(pairs.mean()) if len(pairs) else float("nan")


# Tests of paired differences.
def sign_flip_p_values(differences: Array, n: int = N_FLIPS, seed: int = 0, correction: Correction = "none") -> Array:
    """Two-sided p-values (K,) that the columns of speaker differences (S, K) are symmetric about 0.

    p = (1 + number of sign flips with |mean| at least the observed one) / (1 + n): Fisher's randomization test, which
    assumes no distribution (nichols2002nonparametric); all 2^S flips are made where there are no more than n.

    Args:
        differences: NaN ones are left out.
        n: flips.
        seed: of the flips.
        correction: for the number of columns: "none"; "holm"; "max-t" compares every column with the largest of all
            standardized columns of a flip, which uses that they go together (westfall1993resampling).

    Returns:
        (K,); NaN for a column without data.
    """
    defined = ~np.isnan(differences)
    values = np.where(defined, differences, 0.0)
    n_speakers = len(values)
    exact = n_speakers < 31 and 2**n_speakers <= n
    n_flips = 2**n_speakers if exact else n
    if correction == "max-t":  # a flip leaves the sum of squares as it is, so this scale standardizes every flip
        size = np.sqrt(np.square(values).sum(axis=0))
        values = np.divide(values, size, out=np.zeros_like(values), where=size > 0)
    # A tolerance, so that flips that give the very same mean count whatever the order of summation.
    least = np.abs(values.sum(axis=0)) - 1e-12 * np.abs(values).sum(axis=0)
    extreme = np.zeros(values.shape[1], np.int64)
    for rows in _blocks(n_flips, n_speakers):
        if exact:
            signs = 1.0 - 2.0 * (np.arange(rows.start, rows.stop)[:, None] >> np.arange(n_speakers)[None] & 1)
        else:
            signs = np.unpackbits(_flips(n_speakers, n, seed)[rows], axis=1, count=n_speakers) * 2.0 - 1.0
        flipped = np.abs(signs @ values)
        if correction == "max-t":
            flipped = flipped.max(axis=1, keepdims=True, initial=0.0)
        extreme += (flipped >= least).sum(axis=0)
    p_values = extreme / n_flips if exact else (1 + extreme) / (1 + n)
    p_values = np.where(defined.any(axis=0), p_values, np.nan)
    return holm(p_values) if correction == "holm" else p_values


def holm(p_values: ArrayLike) -> Array:
    """Adjust p-values (K,) for their number by Holm's step-down procedure (holm1979simple); NaN stays and does not
    count.

    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=float)
    adjusted = np.full(p.shape, np.nan)
    defined = np.flatnonzero(~np.isnan(p))
    order = defined[np.argsort(p[defined], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if len(order) else steps
    return adjusted


def smallest_p(n_speakers: int, n_tests: int = 1, correction: Correction = "holm") -> float:
    """The smallest corrected p-value that sign flips of so many speakers can give: 2 / 2^n at best.

    >>> smallest_p(5), smallest_p(7, n_tests=3)
    (0.0625, 0.046875)
    """
    exact = n_speakers < 31 and 2**n_speakers <= N_FLIPS
    alone = 2.0 ** (1 - n_speakers) if exact else 1 / (1 + N_FLIPS)
    return min(1.0, alone * (n_tests if correction == "holm" else 1))


# Better than a control.
def direction(low: float, high: float, p: float, level: float = ALPHA) -> int:
    """The rule for every difference: 1 where it is above 0, -1 where it is below, 0 where neither is shown.

    Both are needed: a corrected p-value below the level, and an interval that lies on one side of 0.
    """
    if not p < level:
        return 0
    return 1 if low > 0 else -1 if high < 0 else 0


@dataclass(frozen=True)
class Beats:
    """How a method compares with a control on one metric.

    Args:
        difference: mean paired difference over speakers, turned so that above 0 is better.
        low, high: its 95 % interval; NaN under FEWEST_SPEAKERS, two for shares.
        p: of "no difference", corrected for all comparisons of the metric.
        n_speakers: behind it.
        decidable: whether the test could have said better or worse with so many speakers and comparisons, however
            large the difference. Where not, say "not enough speakers to test", never "not better".
        level: that p must stay below.
    """

    difference: float
    low: float
    high: float
    p: float
    n_speakers: int
    decidable: bool
    level: float = ALPHA

    @property
    def better(self) -> bool:
        """Whether the method is better than the control, see `direction`."""
        return direction(self.low, self.high, self.p, self.level) > 0

    @property
    def worse(self) -> bool:
        """Whether the method is worse than the control, see `direction`."""
        return direction(self.low, self.high, self.p, self.level) < 0


def beats(
    values: ArrayLike,
    control: ArrayLike,
    speakers: ArrayLike,
    *,
    best: str = "high",
    correction: Correction = "holm",
    level: float = ALPHA,
    seed: int = 0,
) -> list[Beats]:
    """Compare methods with a control, paired within recordings: per recording, per speaker, then over speakers.

    Args:
        values: (n,) of one method or (n, K) of several, one row a recording; a pair with a NaN is left out.
        control: (n,), of the same recordings in the same order.
        speakers: (n,).
        best: "low" where low values are better.
        correction: of the p-values, for the K comparisons.
        level: that p must stay below.
        seed: of the resamples and flips.

    Returns:
        One a method. A table that `summarize` made is read by `compared`.

    Raises:
        SpeechXAIError: lengths that do not agree.
    """
    table, other = np.asarray(values, dtype=float), np.asarray(control, dtype=float)
    _same_length(table, other)
    table = table if table.ndim == 2 else table[:, None]
    difference = table - other[:, None]
    means = speaker_means(-difference if best == "low" else difference, speakers)
    low, high = bootstrap_means(means, seed=seed)
    p = sign_flip_p_values(means, seed=seed, correction=correction)
    mean = _column_means(means)
    n_speakers = (~np.isnan(means)).sum(axis=0).tolist()
    n_tests = sum(n > 0 for n in n_speakers)
    return [
        Beats(
            float(mean[k]),
            float(low[k]),
            float(high[k]),
            float(p[k]),
            n,
            decidable=smallest_p(n, n_tests, correction) < level,
            level=level,
        )
        for k, n in enumerate(n_speakers)
    ]


def compared(
    rows: pd.DataFrame, *, best: str = "high", correction: Correction = "holm", level: float = ALPHA
) -> dict[str, dict[str, Beats]]:
    """Read from a summary how every recipe compares with every control.

    A recipe is better than all maps that know nothing of the network where
    `all(each.better for each in compared(rows)[recipe].values())`, and cannot be told where none is `decidable`.

    Args:
        rows: rows of `summarize` of one model and one metric, all of them: they are what p was corrected for.
        best: "low" where low values of the metric are better.
        correction: that the table was made with.
        level: that p must stay below.

    Returns:
        By recipe, then by control, in the table's order; a control is not compared with itself. What could not be
        compared is NaN, and neither better nor worse.
    """
    controls = [str(name)[3:-2] for name in rows.columns if str(name).startswith("vs_") and str(name).endswith("_p")]
    n_tests = int(rows[[f"vs_{control}_p" for control in controls]].notna().to_numpy().sum())
    found: dict[str, dict[str, Beats]] = {}
    for row in rows.to_dict("records"):
        n_speakers = int(row["n_speakers"])
        decidable = smallest_p(n_speakers, n_tests, correction) < level
        found[str(row["recipe"])] = {
            control: Beats(*_turned(row, control, best), float(row[f"vs_{control}_p"]), n_speakers, decidable, level)
            for control in controls
            if control != row["recipe"]
        }
    return found


def _turned(row: Mapping[Any, Any], control: str, best: str) -> tuple[float, float, float]:
    difference, low, high = (float(row[f"vs_{control}{end}"]) for end in ("", "_low", "_high"))
    return (-difference, -high, -low) if best == "low" else (difference, low, high)


def _same_length(a: Array, b: Array) -> None:
    if len(a) != len(b):
        raise SpeechXAIError(f"Values, labels and speakers must have one length. Got {len(a)} and {len(b)}.")


def _column_means(means: Array) -> Array:
    count = (~np.isnan(means)).sum(axis=0)
    found: Array = np.divide(np.nansum(means, axis=0), count, out=np.full(means.shape[1], np.nan), where=count > 0)
    return found


# The tidy table of scores, summarized by recipe and metric.
SCORE_COLUMNS = ("recording", "speaker", "label", "predicted", "model", "recipe", "metric", "value")
"""Columns of a score table; `fold` may be added."""


def check_scores(scores: pd.DataFrame) -> None:
    """Check the columns of a score table and that no recording has two values in one cell.

    Raises:
        SpeechXAIError: a missing column, a value given twice.
    """
    missing = [name for name in SCORE_COLUMNS if name not in scores.columns]
    if missing:
        raise SpeechXAIError(f"The score table lacks {', '.join(missing)}. It needs {', '.join(SCORE_COLUMNS)}.")
    key = ["model", "recording", "recipe", "metric"]
    twice = scores.duplicated(key)
    if twice.any():
        first = scores.loc[twice, key].iloc[0]
        raise SpeechXAIError(f"The score table has two values for {', '.join(f'{k} {v}' for k, v in first.items())}.")


def summarize(
    scores: pd.DataFrame,
    controls: Sequence[str],
    *,
    indicators: Collection[str] = (),
    correction: Correction = "holm",
    seed: int = 0,
) -> pd.DataFrame:
    """Summarize a score table: one row for every model, recipe and metric.

    Values are averaged per speaker, then over speakers. Columns: `mean`, `low`, `high` (95 %, bootstrap over speakers),
    `std` (over recordings), `n` recordings with a value, `n_nan`, `n_speakers`, `mean_mask` (the recipe's budget, NaN
    where the metric mean_mask was not computed), and for each control that the table holds `vs_<control>`, `.._low`,
    `.._high`, `.._p`: mean paired difference, its interval, and its sign-flip p-value, corrected over all recipes and
    controls of the metric. `compared` reads the latter.

    Args:
        scores: SCORE_COLUMNS, a row for every recording, recipe and metric.
        controls: recipes to compare with; those that the table does not hold are left out.
        indicators: metrics that are 0 or 1 for a recording: where every speaker has one value, the mean is a share of
            speakers and its interval exact (`share_interval`).
        correction: of the p-values.
        seed: of the resamples.

    Raises:
        SpeechXAIError: a missing column, a value given twice.
    """
    import pandas as pd

    check_scores(scores)
    blocks = []
    for (model, metric), part in scores.groupby(["model", "metric"], sort=False, dropna=False, observed=True):
        # A recipe that one recording lacks leaves a NaN there, and so counts as undefined.
        wide = part.pivot(index="recording", columns="recipe", values="value")
        wide = wide[list(dict.fromkeys(part["recipe"]))]  # the table's own order
        speaker = part.drop_duplicates("recording").set_index("recording")["speaker"].reindex(wide.index).astype(str)
        block = _block(wide, speaker.to_numpy(), metric in indicators, seed)
        for name, column in _against(wide, speaker.to_numpy(), controls, correction, seed).items():
            block[name] = column
        block.insert(0, "model", str(model))
        block.insert(2, "metric", str(metric))
        blocks.append(block)
    if not blocks:
        names = ["model", "recipe", "metric", "mean", "low", "high", "std", "n", "n_nan", "n_speakers", "mean_mask"]
        return pd.DataFrame(columns=names)
    table = pd.concat(blocks, ignore_index=True)
    budget = table.loc[table["metric"] == "mean_mask"].set_index(["model", "recipe"])["mean"]
    position = table.columns.get_loc("n_speakers")
    keys = pd.MultiIndex.from_frame(table[["model", "recipe"]])
    table.insert(int(position) + 1, "mean_mask", budget.reindex(keys).to_numpy())  # type: ignore[arg-type]
    return table


def _block(wide: pd.DataFrame, speakers: Array, is_share: bool, seed: int) -> pd.DataFrame:
    """Rows of one model and metric from its recordings x recipes."""
    import pandas as pd

    values = wide.to_numpy(dtype=float)
    defined = ~np.isnan(values)
    means = speaker_means(values, speakers)
    low, high = _share_ends(means, seed) if is_share else bootstrap_means(means, seed=seed)
    return pd.DataFrame(
        {
            "recipe": wide.columns,
            "mean": _column_means(means),
            "low": low,
            "high": high,
            "std": wide.std(ddof=1).to_numpy(),
            "n": defined.sum(axis=0),
            "n_nan": (~defined).sum(axis=0),
            "n_speakers": (~np.isnan(means)).sum(axis=0),
        }
    )


def _against(
    wide: pd.DataFrame, speakers: Array, controls: Sequence[str], correction: Correction, seed: int
) -> dict[str, Array]:
    """Columns of the differences to every control that is there."""
    present = [control for control in controls if control in wide.columns]
    values = wide.to_numpy(dtype=float)
    found: dict[str, Array] = {}
    all_means = []
    for control in present:
        means = speaker_means(values - wide[[control]].to_numpy(dtype=float), speakers)
        means[:, wide.columns == control] = np.nan  # a control is not compared with itself
        all_means.append(means)
        low, high = bootstrap_means(means, seed=seed)
        found |= {f"vs_{control}": _column_means(means), f"vs_{control}_low": low, f"vs_{control}_high": high}
    if present:
        p = sign_flip_p_values(np.concatenate(all_means, axis=1), seed=seed, correction=correction)
        found |= {f"vs_{control}_p": part for control, part in zip(present, np.split(p, len(present)), strict=True)}
    return found


def fold_summary(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over folds, as papers print them: recordings averaged within a fold, then over folds.

    Returns:
        One row for every model, recipe and metric: `mean`, `std` (n - 1), `n_folds`.

    Raises:
        SpeechXAIError: a missing column, `fold` included.
    """
    if "fold" not in scores.columns:
        raise SpeechXAIError(did_you_mean("fold", [str(name) for name in scores.columns], "column of the score table"))
    check_scores(scores)
    keys = ["model", "recipe", "metric"]
    # Columns may be categories, of which only those that are there count, whichever way a pandas is set.
    means = scores.groupby([*keys, "fold"], sort=False, observed=True)["value"].mean()
    folds = means.groupby(level=keys, sort=False, observed=True)
    return folds.agg(mean="mean", std="std", n_folds="count").reset_index()
