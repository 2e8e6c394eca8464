"""Statistics of scores: the tidy table summarized by recipe and metric; the tests and intervals are those of
`stats_speakers`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speechxai.errors import SpeechXAIError
from speechxai.registry import did_you_mean

if TYPE_CHECKING:
    import pandas as pd


# Statistics of score tables: speakers, not recordings, are the independent units.
N_RESAMPLES = 2_000
N_FLIPS = 9_999
LEVEL = 0.95

FloatArray = NDArray[np.float64]


class Difference(NamedTuple):
    """A paired difference: mean over speakers, its 95 % interval, and the p-value of "no difference"."""

    mean: float
    low: float
    high: float
    p_value: float
    n_speakers: int


def auc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Area under the ROC curve: the chance that a score of class 1 exceeds one of class 0, ties counting half.

    AUC = (sum of the ranks of class 1 - n1 (n1 + 1) / 2) / (n1 n0), average ranks (hanley1982meaning).

    Args:
        scores: (n,), higher means class 1; pairs with a NaN score are left out.
        labels: (n,), 0 or 1.

    Returns:
        In [0, 1]; NaN where a class is missing.

    >>> auc([0.1, 0.4, 0.4, 0.9], [0, 0, 1, 1])
    0.875
    """
    from scipy.stats import rankdata

    values, positive = np.asarray(scores, dtype=float), np.asarray(labels).astype(bool)
    _same_length(values, positive)
    defined = ~np.isnan(values)
    values, positive = values[defined], positive[defined]
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if not n_positive or not n_negative:
        return float("nan")
    ranks = rankdata(values)
    return float((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def expected_calibration_error(probabilities: ArrayLike, labels: ArrayLike, n_bins: int = 10) -> float:
    """How far stated probabilities are from observed shares: sum over bins of n_b / n * |mean p - mean y|.

    Bins of equal width on [0, 1], the last one closed (naeini2015obtaining).

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
    bins = np.minimum((p * n_bins).astype(int), n_bins - 1)
    difference = np.bincount(bins, weights=p - y, minlength=n_bins)
    return float(np.abs(difference).sum() / len(p))


def speaker_means(values: ArrayLike, speakers: ArrayLike) -> FloatArray:
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
    means = speaker_means(values, speakers)
    defined = means[~np.isnan(means)]
    return float(defined.mean()) if len(defined) else float("nan")


def bootstrap_means(means: FloatArray, n: int = N_RESAMPLES, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    """95 % percentile intervals of the columns of speaker means (S, K), by drawing speakers with replacement.

    The same draws serve all columns (efron1993introduction).

    Returns:
        Lower and upper ends (K,); NaN for a column without data.
    """
    n_speakers, n_columns = means.shape
    if n_speakers == 0:
        return np.full(n_columns, np.nan), np.full(n_columns, np.nan)
    drawn = np.random.default_rng(seed).integers(n_speakers, size=(n, n_speakers))
    counts = np.apply_along_axis(np.bincount, 1, drawn, minlength=n_speakers).astype(float)
    defined = ~np.isnan(means)
    total, weight = counts @ np.where(defined, means, 0.0), counts @ defined.astype(float)
    resampled = np.divide(total, weight, out=np.full_like(total, np.nan), where=weight > 0)
    return _interval(resampled)


def speaker_bootstrap(
    values: ArrayLike,
    speakers: ArrayLike,
    statistic: Callable[[FloatArray], float] | None = None,
    n: int = N_RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % percentile interval of a statistic, by drawing speakers with replacement (efron1993introduction).

    Args:
        values: (n,) or (n, K), one row a recording.
        speakers: (n,).
        statistic: function of the rows of a resample, such as `lambda rows: auc(rows[:, 0], rows[:, 1])`; None is the
            mean
            over speakers of their means.
        n: resamples.
        seed: of the draws.

    Returns:
        Lower and upper end; NaN without data. Resamples whose statistic is NaN are left out.
    """
    table, names = np.asarray(values, dtype=float), np.asarray(speakers)
    if statistic is None:
        low, high = bootstrap_means(speaker_means(table, names)[:, None], n, seed)
        return float(low[0]), float(high[0])
    _same_length(table, names)
    unique, index = np.unique(names, return_inverse=True)
    if not len(unique):
        return float("nan"), float("nan")
    rows_of = [np.flatnonzero(index == speaker) for speaker in range(len(unique))]
    rng = np.random.default_rng(seed)
    found = np.empty((n, 1))
    for draw in range(n):
        rows = np.concatenate([rows_of[speaker] for speaker in rng.integers(len(unique), size=len(unique))])
        found[draw] = statistic(table[rows])
    low, high = _interval(found)
    return float(low[0]), float(high[0])


def sign_flip_p_values(differences: FloatArray, n: int = N_FLIPS, seed: int = 0) -> FloatArray:
    """Two-sided p-values (K,) that the columns of speaker differences (S, K) are symmetric about 0.

    p = (1 + number of sign flips with |mean| at least the observed one) / (1 + n): Fisher's randomization test, which
    assumes no distribution (nichols2002nonparametric); all 2^S flips are made where there are no more than n.

    Returns:
        (K,); NaN for a column without data. NaN differences are left out.
    """
    defined = ~np.isnan(differences)
    values = np.where(defined, differences, 0.0)
    n_speakers = len(values)
    exact = n_speakers < 31 and 2**n_speakers <= n
    if exact:
        bits = np.arange(2**n_speakers)[:, None] >> np.arange(n_speakers)[None]
        signs = 1.0 - 2.0 * (bits & 1)
    else:
        signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(n, n_speakers))
    observed = np.abs(values.sum(axis=0))
    # A tolerance, so that flips that give the very same mean count whatever the order of summation.
    extreme = (np.abs(signs @ values) >= observed - 1e-12 * np.abs(values).sum(axis=0)).sum(axis=0)
    p_values = extreme / len(signs) if exact else (1 + extreme) / (1 + n)
    return np.where(defined.any(axis=0), p_values, np.nan)


def paired_difference(values_a: ArrayLike, values_b: ArrayLike, speakers: ArrayLike, seed: int = 0) -> Difference:
    """Mean of a - b: per recording, then per speaker, then over speakers; bootstrap interval and sign-flip p-value.

    Args:
        values_a, values_b: (n,), of the same recordings in the same order; a pair with a NaN is left out.
        speakers: (n,).
        seed: of the resamples.

    Raises:
        SpeechXAIError: lengths that do not agree.
    """
    a, b = np.asarray(values_a, dtype=float), np.asarray(values_b, dtype=float)
    _same_length(a, b)
    means = speaker_means(a - b, speakers)[:, None]
    low, high = bootstrap_means(means, seed=seed)
    n_speakers = int((~np.isnan(means)).sum())
    mean = float(np.nanmean(means)) if n_speakers else float("nan")
    return Difference(mean, float(low[0]), float(high[0]), float(sign_flip_p_values(means, seed=seed)[0]), n_speakers)


def holm(p_values: ArrayLike) -> FloatArray:
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


def _interval(resampled: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Percentile interval of every column (n, K), NaN left out."""
    tail = (1 - LEVEL) / 2
    ends = np.full((2, resampled.shape[1]), np.nan)
    some = ~np.isnan(resampled).all(axis=0)
    ends[:, some] = np.nanquantile(resampled[:, some], [tail, 1 - tail], axis=0)
    return ends[0], ends[1]


def _same_length(a: NDArray[Any], b: NDArray[Any]) -> None:
    if len(a) != len(b):
        raise SpeechXAIError(f"Values, labels and speakers must have one length. Got {len(a)} and {len(b)}.")


# Statistics of scores: the tidy table summarized by recipe and metric; the tests and intervals are those of
# `stats_speakers`.
SCORE_COLUMNS = ("recording", "speaker", "label", "predicted", "model", "recipe", "metric", "value")
"""Columns of a score table; `fold` may be added."""

CONTROLS = ("random_map", "energy_map")


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


def summarize(scores: pd.DataFrame, controls: tuple[str, ...] = CONTROLS, seed: int = 0) -> pd.DataFrame:
    """Summarize a score table: one row for every model, recipe and metric.

    Values are averaged per speaker, then over speakers. Columns: `mean`, `low`, `high` (95 %, bootstrap over speakers),
    `std` (over recordings), `n` recordings with a value, `n_nan`, `n_speakers`, `mean_mask` (the recipe's budget, NaN
    where the
    metric mean_mask was not computed), and for each control that the table holds `vs_<control>`, `.._low`, `.._high`,
    `.._p`:
    mean paired difference, its interval, and its sign-flip p-value, Holm-corrected over all recipes and controls of the
    metric.

    Args:
        scores: SCORE_COLUMNS, a row for every recording, recipe and metric.
        controls: recipes to compare with; those that the table does not hold are left out.
        seed: of the resamples.

    Raises:
        SpeechXAIError: a missing column, a value given twice.
    """
    import pandas as pd

    check_scores(scores)
    blocks = []
    for (model, metric), part in scores.groupby(["model", "metric"], sort=False, dropna=False):
        # A recipe that one recording lacks leaves a NaN there, and so counts as undefined.
        wide = part.pivot(index="recording", columns="recipe", values="value")
        wide = wide[list(dict.fromkeys(part["recipe"]))]  # the table's own order
        speaker = part.drop_duplicates("recording").set_index("recording")["speaker"].reindex(wide.index).astype(str)
        block = _block(wide, speaker.to_numpy(), [c for c in controls if c in wide.columns], seed)
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


def _block(wide: pd.DataFrame, speakers: np.ndarray, controls: list[str], seed: int) -> pd.DataFrame:
    """Rows of one model and metric from its recordings x recipes."""
    import pandas as pd

    values = wide.to_numpy(dtype=float)
    defined = ~np.isnan(values)
    means = speaker_means(values, speakers)
    low, high = bootstrap_means(means, seed=seed)
    block = pd.DataFrame(
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
    p_values = np.full((len(controls), values.shape[1]), np.nan)
    for row, control in enumerate(controls):
        differences = speaker_means(values - wide[[control]].to_numpy(dtype=float), speakers)
        own = wide.columns == control
        differences[:, own] = np.nan  # a control is not compared with itself
        low, high = bootstrap_means(differences, seed=seed)
        block[f"vs_{control}"] = _column_means(differences)
        block[f"vs_{control}_low"], block[f"vs_{control}_high"] = low, high
        p_values[row] = sign_flip_p_values(differences, seed=seed)
    adjusted = holm(p_values.ravel()).reshape(p_values.shape)
    for row, control in enumerate(controls):
        block[f"vs_{control}_p"] = adjusted[row]
    return block


def _column_means(means: np.ndarray) -> np.ndarray:
    count = (~np.isnan(means)).sum(axis=0)
    found: np.ndarray = np.divide(np.nansum(means, axis=0), count, out=np.full(means.shape[1], np.nan), where=count > 0)
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
    folds = scores.groupby([*keys, "fold"], sort=False)["value"].mean().groupby(level=keys, sort=False)
    return folds.agg(mean="mean", std="std", n_folds="count").reset_index()
