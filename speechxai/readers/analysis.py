"""What readers did, as numbers with intervals: for other readers and other cases like these."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from speechxai.metrics import METRICS
from speechxai.readers.design import ARMS, KINDS, TRUE, WITH_ANSWER, WITH_MAP, Case
from speechxai.stats import (
    FEWEST_READERS,
    auc,
    auc_interval,
    bootstrap,
    holm,
    multi_reader,
    pairwise_kappa,
    reader_interval,
    share_interval,
    spearman,
    spearman_interval,
    spearman_p,
)

if TYPE_CHECKING:
    import pandas as pd

    from speechxai.types import Array

ACCEPTED, USEFUL, REJECTED = 2, 1, 0
"""What a reader does with an explanation."""

READING_COLUMNS = (
    "reader",
    "case",
    "arm",
    "round",
    "sitting",
    "order",
    "truth",
    "answer",
    "kind",
    "first",
    "first_confidence",
    "foretold",
    "decision",
    "confidence",
    "use",
    "seconds",
    "plays",
    "played_s",
)
"""Columns of a table of readings, one row a reading. `order` counts a reader's readings from 0; first and decision are
1 for the condition; confidence is 0 (unsure) to 3 (certain); use is 2 accepted, 1 useful but not accepted, 0 rejected;
NaN where something was not asked."""

MIN_HYBRID = 20
"""A hybrid metric is fitted to more cases than this, or not at all."""

UNTOLD = "sound"
"""Name of the first decision in tables: by sound alone, in whatever arm it was made."""


@dataclass(frozen=True)
class Figure:
    """One number of one arm.

    Args:
        key: what it is, of FIGURES.
        arm: of the study, "" for all.
        value, low, high: with its 95 % interval; NaN where it cannot be given.
        n_readers, n_cases: behind it.
    """

    key: str
    arm: str
    value: float
    low: float
    high: float
    n_readers: int
    n_cases: int


@dataclass(frozen=True)
class Difference:
    """One number of an arm minus that of another, of the same readers."""

    key: str
    arm: str
    other: str
    value: float
    low: float
    high: float
    p: float
    n_readers: int
    n_cases: int


FIGURES: Mapping[str, str] = {
    "first_auc": "AUC by sound alone",
    "auc": "AUC of the last decision",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "reliance": "appropriate reliance",
    "over_reliance": "over-reliance",
    "under_reliance": "under-reliance",
    "won_over": "wrong at first, set right by a right answer",
    "held_out": "right at first, kept against a wrong answer",
    "foretold": "model's answer foretold",
    "telling": "AUC of telling true from false explanations",
    "accepted_true": "true explanations accepted",
    "accepted_false": "false explanations accepted",
    "useful_true": "true ones useful but not accepted",
    "useful_false": "false ones useful but not accepted",
}
"""What is read of every arm where it is defined, in words."""

SHARES = tuple(key for key in FIGURES if key not in ("first_auc", "auc", "telling"))


def rating(decision: Array, confidence: Array) -> Array:
    """Decision (1 the condition, 0 not) and confidence (0 to 3) as one scale: 1 certainly not, 8 certainly.

    >>> rating(np.array([1, 1, 0, 0]), np.array([0, 3, 0, 3])).tolist()
    [5, 8, 4, 1]
    """
    found: Array = np.where(decision == 1, 5 + confidence, 4 - confidence)
    return found


def _values(readings: pd.DataFrame, key: str) -> tuple[Array, Array]:
    """Of every reading the value that a figure is made of, NaN where it has no part, and whether its case is positive
    for an AUC."""
    r = readings
    truth, answer = r["truth"].to_numpy(), r["answer"].to_numpy()
    decision, first, foretold = (r[name].to_numpy(float) for name in ("decision", "first", "foretold"))
    shown = r["arm"].isin(WITH_ANSWER).to_numpy()
    seen = r["arm"].isin(WITH_MAP).to_numpy()
    true, use = (r["kind"] == TRUE).to_numpy(), r["use"].to_numpy(float)

    def where(mask: Array, values: Array) -> Array:
        kept: Array = np.where(mask, np.asarray(values, float), np.nan)
        return kept

    followed, right = decision == answer, truth == answer
    made = {
        "first_auc": lambda: rating(first, r["first_confidence"].to_numpy(float)),
        "auc": lambda: rating(decision, r["confidence"].to_numpy(float)),
        "sensitivity": lambda: where(truth == 1, decision == 1),
        "specificity": lambda: where(truth == 0, decision == 0),
        "reliance": lambda: where(shown, followed == right),
        "over_reliance": lambda: where(shown & ~right, followed),
        "under_reliance": lambda: where(shown & right, ~followed),
        "won_over": lambda: where(shown & right & (first != truth), followed),
        "held_out": lambda: where(shown & ~right & (first == truth), ~followed),
        "foretold": lambda: where(shown & ~np.isnan(foretold), foretold == answer),
        "telling": lambda: where(seen, use),
        "accepted_true": lambda: where(seen & true & ~np.isnan(use), use == ACCEPTED),
        "accepted_false": lambda: where(seen & ~true & ~np.isnan(use), use == ACCEPTED),
        "useful_true": lambda: where(seen & true & ~np.isnan(use), use == USEFUL),
        "useful_false": lambda: where(seen & ~true & ~np.isnan(use), use == USEFUL),
    }
    values = made[key]()
    return np.where(np.isnan(decision), np.nan, values), true if key == "telling" else truth == 1


def crossed(readings: pd.DataFrame, key: str, arms: Sequence[str]) -> tuple[Array, Array]:
    """Values (I, J, K) of a figure by arm, reader and case, and whether each case is positive (K,)."""
    values, positive = _values(readings, key)
    readers, reader = np.unique(readings["reader"].to_numpy().astype(str), return_inverse=True)
    cases, case = np.unique(readings["case"].to_numpy().astype(str), return_inverse=True)
    place = {arm: k for k, arm in enumerate(arms)}
    table = np.full((len(arms), len(readers), len(cases)), np.nan)
    chosen = readings["arm"].isin(place).to_numpy()
    arm = readings["arm"].map(place).to_numpy()
    table[arm[chosen].astype(int), reader[chosen], case[chosen]] = values[chosen]
    truth = np.zeros(len(cases), bool)
    truth[case] = positive
    return table, truth


def by_arm(readings: pd.DataFrame, key: str, arms: Sequence[str]) -> tuple[list[Figure], list[Difference]]:
    """A figure of every arm where it is defined, and the difference of every later arm to the first such arm."""
    table, truth = crossed(readings, key, arms)
    kept = [k for k in range(len(arms)) if not np.isnan(table[k]).all()]
    if not kept:
        return [], []
    found = multi_reader(table[kept], truth, "mean" if key in SHARES else "auc")
    if not len(found.readers):
        return [], []
    n, n_cases = len(found.readers), found.n_cases
    figures = []
    for row, k in enumerate(kept):
        value, low, high = (float(each[row]) for each in (found.mean, found.low, found.high))
        low, high = doubted(value, low, high, table[k], truth if key not in SHARES else None)
        figures.append(Figure(key, arms[k], value, *_bounded(low, high), n, n_cases))
    differences = []
    for row, k in enumerate(kept[1:], start=1):
        value, low, high, p = (
            float(each[row, 0])
            for each in (found.difference, found.difference_low, found.difference_high, found.difference_p)
        )
        differences.append(Difference(key, arms[k], arms[kept[0]], value, low, high, p, n, n_cases))
    return figures, differences


def over_all(readings: pd.DataFrame, key: str) -> list[Figure]:
    """A figure of all readings taken together, whatever the arm: the mean of a reader's readings of a case."""
    values, positive = _values(readings, key)
    frame = readings.assign(value=values, positive=positive)
    wide = frame.pivot_table(index="reader", columns="case", values="value", dropna=False)
    truth = frame.groupby("case")["positive"].first().reindex(wide.columns).to_numpy()
    found = multi_reader(wide.to_numpy()[None], truth, "mean" if key in SHARES else "auc")
    if not len(found.readers):
        return []
    low, high = float(found.low[0]), float(found.high[0])
    ends = _bounded(*doubted(float(found.mean[0]), low, high, wide.to_numpy(), truth if key not in SHARES else None))
    return [Figure(key, "", float(found.mean[0]), *ends, len(found.readers), found.n_cases)]


def doubted(value: float, low: float, high: float, read: Array, truth: Array | None = None) -> tuple[float, float]:
    """Ends of a share, or with the truth (K,) of an area under the curve, of ratings (J, K). Where readers are alike
    and no case weighs, the method would leave no doubt: then it is that of a share of the cases, or of the pairs that
    can be formed with no case in two of them."""
    if low != high or not 0 <= value <= 1:
        return low, high
    known = (~np.isnan(np.asarray(read, float))).any(axis=0)
    n = int(known.sum()) if truth is None else min(int((known & (truth == side)).sum()) for side in (0, 1))
    return share_interval(round(value * n), n)


def _bounded(low: float, high: float) -> tuple[float, float]:
    """Ends of a share or an area, which leaves [0, 1] never; NaN stays."""
    return (low, high) if math.isnan(low) else (max(low, 0.0), min(high, 1.0))


def by_kind(readings: pd.DataFrame) -> list[Figure]:
    """Share of explanations rejected, by how they are false; the true ones first. `arm` holds the kind."""
    seen = readings[readings["arm"].isin(WITH_MAP) & readings["use"].notna()]
    found = []
    for kind in (TRUE, *KINDS):
        part = seen[seen["kind"] == kind]
        if part.empty:
            continue
        wide = part.assign(value=(part["use"] == REJECTED).astype(float))
        table = wide.pivot_table(index="reader", columns="case", values="value").to_numpy()
        one = multi_reader(table[None], np.zeros(table.shape[1]), "mean")
        if not len(one.readers):  # a single case: what it says of it, and nothing of others
            found.append(
                Figure("rejected", kind, float(np.nanmean(table)), math.nan, math.nan, len(table), one.n_cases)
            )
        else:
            low, high = float(one.low[0]), float(one.high[0])
            low, high = doubted(float(one.mean[0]), low, high, table)
            found.append(
                Figure("rejected", kind, float(one.mean[0]), *_bounded(low, high), len(one.readers), one.n_cases)
            )
    return found


def seconds(readings: pd.DataFrame, arms: Sequence[str]) -> list[Figure]:
    """Geometric mean over readers of their median time for a case, s, by arm."""
    found = []
    for arm in arms:
        part = readings[(readings["arm"] == arm) & (readings["seconds"] > 0)]
        if part.empty:
            continue
        medians = part.groupby("reader")["seconds"].median().to_numpy(float)
        value, low, high = (float(np.exp(x)) for x in reader_interval(np.log(medians)))
        found.append(Figure("seconds", arm, value, low, high, len(medians), part["case"].nunique()))
    return found


def kappas(readings: pd.DataFrame, arms: Sequence[str]) -> list[Figure]:
    """Mean pairwise kappa of the last decisions by arm, and of all first ones; intervals by bootstrap over cases."""
    found = []
    parts = [("first", UNTOLD, readings), *(("decision", arm, readings[readings["arm"] == arm]) for arm in arms)]
    for column, arm, part in parts:
        wide = part.pivot_table(index="reader", columns="case", values=column, aggfunc="first").to_numpy(float)
        if len(wide) < FEWEST_READERS:
            continue
        value, (low, high) = pairwise_kappa(wide), _kappa_interval(wide)
        key = "kappa_first" if column == "first" else "kappa"
        found.append(Figure(key, "" if column == "first" else arm, value, low, high, len(wide), wide.shape[1]))
    return found


def _kappa_interval(answers: Array) -> tuple[float, float]:
    return bootstrap(lambda drawn: pairwise_kappa(answers[:, drawn]), answers.shape[1], n=500)


def order_effect(readings: pd.DataFrame) -> Figure | None:
    """By how much appropriate reliance rises from a reader's first reading to the last: slope of a line for each
    reader, arms taken out. Readers who learn that explanations may be false rely otherwise at the end."""
    values, _ = _values(readings, "reliance")
    part = readings.assign(value=values).dropna(subset=["value"])
    if part.empty:
        return None
    centered = part["value"] - part.groupby(["reader", "arm"])["value"].transform("mean")
    slopes = []
    for _, rows in part.assign(value=centered).groupby("reader"):
        place = rows["order"].to_numpy(float)
        if len(rows) >= 3 and place.std() > 0:
            span = (place - place.min()) / (place.max() - place.min())
            # Within arms, as the values are.
            arm_mean = rows.assign(place=span).groupby("arm")["place"].transform("mean").to_numpy(float)
            own = span - arm_mean
            if (own**2).sum() > 0:
                slopes.append(float((own * rows["value"].to_numpy(float)).sum() / (own**2).sum()))
    value, low, high = reader_interval(slopes)
    return Figure("order", "", value, low, high, len(slopes), part["case"].nunique())


# Metrics against readers.
@dataclass(frozen=True)
class MetricRow:
    """One metric of the shown maps beside what readers did with them.

    Args:
        name: of the metric.
        auc, auc_low, auc_high: how well it alone tells true from false explanations, turned so that high says true.
        acceptance: rank correlation of the metric with the mean use that readers made of the explanation, with ends.
        success: rank correlation with how often readers told what the explanation is, among true and among false
            ones, with ends: whether it is right where people are; see `with_success`.
        p: of "no correlation with success", corrected for the number of metrics; NaN for the hybrid.
        n_cases: behind it.
    """

    name: str
    auc: float
    auc_low: float
    auc_high: float
    acceptance: float
    acceptance_low: float
    acceptance_high: float
    success: float
    success_low: float
    success_high: float
    p: float
    n_cases: int


def told(readings: pd.DataFrame) -> pd.DataFrame:
    """Of every case whose explanation was seen: mean use (0 rejected, .5 useful, 1 accepted) and success, the use of a
    true explanation and 1 minus that of a false one, over all readings."""
    seen = readings[readings["arm"].isin(WITH_MAP) & readings["use"].notna()]
    use = seen["use"] / ACCEPTED
    right = use.where(seen["kind"] == TRUE, 1 - use)
    return seen.assign(use=use, success=right).groupby("case")[["use", "success"]].mean()


def against_metrics(readings: pd.DataFrame, cases: Sequence[Case]) -> list[MetricRow]:
    """Hold every metric of the shown maps against readers, and a hybrid of them, last."""
    people = told(readings)
    by_code = {case.code: case for case in cases}
    chosen = [code for code in people.index if code in by_code]
    names = list(dict.fromkeys(name for code in chosen for name in by_code[code].metrics))
    if not names or len(chosen) < 5:
        return []
    true = np.array([by_code[code].true for code in chosen])
    use = people.loc[chosen, "use"].to_numpy()
    values = np.array([[by_code[c].metrics.get(name, math.nan) for name in names] for c in chosen], dtype=float)
    turned = values * [-1.0 if name in METRICS and METRICS.facts(name)["best"] == "low" else 1.0 for name in names]
    rows = [_metric_row(name, column, true, use) for name, column in zip(names, turned.T, strict=True)]
    corrected = holm([row.p for row in rows])
    rows = [replace(row, p=float(p)) for row, p in zip(rows, corrected, strict=True)]
    usable = ~np.isnan(turned).any(axis=0)
    if usable.sum() >= 2 and len(chosen) > MIN_HYBRID:
        rows.append(hybrid(turned[:, usable], true, use))
    return rows


def _metric_row(name: str, values: Array, true: Array, use: Array) -> MetricRow:
    known = ~np.isnan(values)
    n = int(known.sum())
    low, high = auc_interval(values, true, np.arange(len(values)))
    accepted = spearman(values, use)
    correlation, n_own = with_success(values, true, use)
    return MetricRow(
        name,
        auc(values, true),
        low,
        high,
        accepted,
        *spearman_interval(accepted, n),
        correlation,
        *spearman_interval(correlation, n_own),
        spearman_p(correlation, n_own),
        n,
    )


def with_success(values: Array, true: Array, use: Array) -> tuple[float, int]:
    """Rank correlation of a metric (n,), high for true, with readers' success at telling what explanations are.

    Among true explanations success is the use (n,) that readers made of them, among false ones its opposite, and so is
    what the metric should say: in both it is the correlation of metric and use, of which the mean is taken, weighted by
    n - 3 (Fisher). Never across both: readers who accept readily succeed with every true explanation and with no false
    one, and a skewed metric, or one that tells them apart for reasons of its own, would correlate with that alone.

    Returns:
        In [-1, 1], NaN where neither has 4 cases that differ; and as how many pairs its interval counts.
    """
    total, weight = 0.0, 0
    for part in (true, ~true):
        chosen = part & ~np.isnan(values)
        n = int(chosen.sum())
        correlation = spearman(values[chosen], use[chosen]) if n > 3 else math.nan
        if not math.isnan(correlation):
            total, weight = total + (n - 3) * correlation, weight + n - 3
    return (total / weight, weight + 3) if weight else (math.nan, 0)


def hybrid(values: Array, true: Array, use: Array) -> MetricRow:
    """All metrics (n, M) as one, fitted to the use (n,) of one half of the cases and read on the other, both ways: the
    mean of both, with intervals as wide as that of a half.

    Halves, and not one case left out at a time: there all predictions hang on the same weights, which were fitted to
    the very cases that they are read on, and intervals for pairs that know nothing of each other held 0 too rarely.
    """
    place = np.where(true, np.cumsum(true), np.cumsum(~true))  # halves of true and of false ones
    halves = []
    for read in (place % 2 == 0, place % 2 == 1):
        made = predicted(values[~read], use[~read], values[read])
        halves.append(vars(_metric_row("hybrid", made, true[read], use[read])))
    first, second = halves
    both = {name: (value + second[name]) / 2 for name, value in first.items() if isinstance(value, float)}
    return MetricRow(**{**first, **both, "p": math.nan, "n_cases": first["n_cases"] + second["n_cases"]})


def predicted(values: Array, target: Array, others: Array) -> Array:
    """What a ridge regression on cases (n, M) with a target (n,) says of others (m, M), as a deviation from the mean:
    values standardized on the first, penalty n / 10."""
    mean, spread = values.mean(axis=0), values.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    x, y = (values - mean) / spread, target - target.mean()
    weights = np.linalg.solve(x.T @ x + len(x) / 10 * np.eye(x.shape[1]), x.T @ y)
    found: Array = (others - mean) / spread @ weights
    return found


# Scales and boxes.
def sus(answers: Sequence[int]) -> float:
    """System Usability Scale of ten answers from 1 to 5, 0 to 100: odd items count answer - 1, even ones 5 - answer,
    times 2.5 (brooke1996sus).

    >>> sus([5, 1] * 5), sus([3] * 10)
    (100.0, 50.0)
    """
    return 2.5 * sum(a - 1 if k % 2 == 0 else 5 - a for k, a in enumerate(answers))


def scs(answers: Sequence[int]) -> float:
    """System Causability Scale of ten answers from 1 to 5: their sum / 50, 0.2 to 1 (holzinger2020measuring).

    >>> scs([5] * 10), scs([3] * 10)
    (1.0, 0.6)
    """
    return sum(answers) / 50


def in_box(mask: Array, box: tuple[float, float, float, float], frame_rate_hz: float, bin_hz: float) -> float:
    """How many times more of a map's evidence lies in a reader's box than a map without preference would have there:
    the share of its mass over the share of its bins; NaN without evidence or bins.

    Args:
        mask: (F, T), at least 0.
        box: from and to, s; from and to, Hz.
        frame_rate_hz, bin_hz: of the map.
    """
    start, end, low, high = box
    n_bins, n_frames = mask.shape
    t, f = np.arange(n_frames) / frame_rate_hz, np.arange(n_bins) * bin_hz
    inside = np.outer((f >= low) & (f <= high), (t >= start) & (t <= end))
    total = float(mask.sum())
    if total <= 0 or not inside.any():
        return math.nan
    return float(mask[inside].sum()) / total / float(inside.mean())


def arm_words(arm: str) -> str:
    """An arm in words; one that a study from elsewhere names stays as it is."""
    return ARMS.get(arm, arm)
