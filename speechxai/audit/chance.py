"""How well numbers tell classes apart on people nobody learned from, and what chance alone would reach over all
probes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from speechxai.audit.probes import PROBES, Values
from speechxai.stats import auc, auc_interval
from speechxai.types import Array

N_PERMUTATIONS = 4_000
"""Exchanges of labels among speakers."""

N_FOLDS, N_REPEATS = 5, 20
"""Folds by speaker, drawn so often without a look at the labels, and scores averaged."""

TAIL = 0.025
"""An alarm is raised in so many sets without any confound: the lower end of simultaneous 95 % intervals."""

PENALTY = 0.3
"""Of the ridge, a speaker and number."""

FEWEST = 8
"""Speakers of each class that a probe needs: with fewer, chance alone reaches an AUROC of .9."""


NEAR = 0.05
"""AUROCs that differ by less are not told apart: the standard error of one of .85 with 30 speakers a class."""


@dataclass(frozen=True)
class Probed:
    """What one probe knows of the classes.

    Args:
        name, label, of: of PROBES.
        n_first, n_second: speakers of each class for whom it is known.
        n_numbers: how many numbers it gives.
        auroc: of speakers nobody learned from; of a single number max(auc, 1 - auc), as there is nothing to learn but
            which class has more of it. NaN where it cannot be asked. Under chance means that nothing was learned.
        low, high: 95 % interval over speakers.
        bound: lower end of an interval that holds for all probes at once.
        chance: median AUROC with labels exchanged among speakers, at least 1/2.
        p: share of exchanges in which any probe of them all exceeds chance by as much.
        t: how far it exceeds chance, as a multiple of what 2.5 % of the exchanges exceed.
        reason: why it cannot be asked; "" where it can.
        leading: of several numbers the one that tells most alone, with the class that has more of it.
    """

    name: str
    label: str
    of: str
    n_first: int
    n_second: int
    n_numbers: int
    auroc: float
    low: float
    high: float
    bound: float
    chance: float
    p: float
    t: float
    reason: str
    leading: str = ""

    @property
    def alarm(self) -> bool:
        """Whether it tells the classes apart, and a network could hear it."""
        return self.of != "file" and self.exceeds

    @property
    def exceeds(self) -> bool:
        """Whether it tells the classes apart by more than chance among all probes."""
        return bool(self.bound > self.chance)


def table(rows: Sequence[Values | str]) -> tuple[list[str], Array]:
    """Names and numbers (n, K) of what a probe said of n recordings; NaN where it said nothing. Kinds become one number
    each, 1 where it is that kind; what is the same everywhere is left out."""
    kinds: dict[tuple[str, str], None] = {}
    numbers: dict[str, None] = {}
    for row in rows:
        for name, value in () if isinstance(row, str) else row.items():
            if isinstance(value, str):
                kinds[name, value] = None
            else:
                numbers[name] = None
    columns: dict[str, list[float]] = {}
    for name in numbers:
        columns[name] = [np.nan if isinstance(row, str) else float(row.get(name, np.nan)) for row in rows]
    for name, kind in kinds:
        columns[f"{name} {kind}"] = [np.nan if isinstance(row, str) else float(row.get(name) == kind) for row in rows]
    kept = {name: values for name, values in columns.items() if len({v for v in values if v == v}) > 1}
    return list(kept), np.array(list(kept.values()), dtype=float).T.reshape(len(rows), len(kept))


def by_speaker(values: Array, speakers: Array) -> Array:
    """Means (S, K) over the recordings of each speaker, sorted; NaN where nothing is known."""
    names, index = np.unique(speakers, return_inverse=True)
    known = ~np.isnan(values)
    total, count = np.zeros((len(names), values.shape[1])), np.zeros((len(names), values.shape[1]))
    np.add.at(total, index, np.where(known, values, 0))
    np.add.at(count, index, known)
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def normal_scores(values: Array) -> Array:
    """Ranks of each column (n, K) as quantiles of the normal distribution, ties by mean rank, variance 1: wild values
    and odd scales count no more than their place."""
    from scipy.special import ndtri
    from scipy.stats import rankdata

    if not len(values):
        return values
    scores = np.asarray(ndtri((rankdata(values, axis=0) - 0.5) / len(values)))
    spread = scores.std(axis=0)
    found: Array = np.divide(scores - scores.mean(axis=0), spread, out=np.zeros_like(scores), where=spread > 1e-12)
    return found


def held_out_matrix(values: Array, seed: int = 0) -> Array:
    """Matrix (S, S) that takes labels to scores of speakers by ridge regressions which never saw them.

    Scores are linear in the labels, as folds are drawn without them; so thousands of exchanged labels are one product.
    The regression's own constant is left out: the share of a class among those who train says nothing of one who
    tests, and in pooled scores it would push chance under 1/2.

    Args:
        values: (S, K), one row a speaker, no NaN.
        seed: of the folds.
    """
    rng, n = np.random.default_rng(seed), len(values)
    total = np.zeros((n, n))
    for _ in range(N_REPEATS):
        fold = rng.permutation(n) % N_FOLDS
        for k in range(N_FOLDS):
            tested, trained = np.flatnonzero(fold == k), np.flatnonzero(fold != k)
            center = values[trained].mean(axis=0)
            known, asked = values[trained] - center, values[tested] - center
            gram = known.T @ known + PENALTY * len(trained) * np.eye(values.shape[1])
            weights = asked @ np.linalg.solve(gram, known.T)
            total[np.ix_(tested, trained)] += weights - weights.mean(axis=1, keepdims=True)
    return total / N_REPEATS


def aucs(scores: Array, labels: Array) -> Array:
    """`stats.auc` (P,) of scores (P, S) and labels (P, S), row by row."""
    from scipy.stats import rankdata

    n_second = labels.sum(axis=1)
    ranks = (rankdata(np.round(scores, 12), axis=1) * labels).sum(axis=1) - n_second * (n_second + 1) / 2
    n_pairs = n_second * (labels.shape[1] - n_second)
    found: Array = np.divide(ranks, n_pairs, out=np.full(len(ranks), np.nan), where=n_pairs > 0)
    return found


def probe_all(
    said: Mapping[str, Sequence[Values | str]],
    labels: Sequence[int],
    speakers: Sequence[str],
    *,
    classes: Sequence[str] = ("HC", "PD"),
    n_permutations: int = N_PERMUTATIONS,
    seed: int = 0,
) -> list[Probed]:
    """Ask every probe how well it tells the classes apart, with one threshold for all of them.

    Labels are exchanged among speakers. In each exchange every probe's AUROC is computed as for the true labels; its
    distance from the median of the exchanges, over that of their 97.5 % quantile, is t (held-out AUROCs lie askew about
    chance, and only above it do they matter). The 97.5 % quantile of the largest t over all probes is what chance
    reaches with any of them (westfall1993resampling); the bound of a probe is its AUROC less that many of its
    distances. So over all probes together, a set that has no confound raises an alarm in 2.5 %.

    Args:
        said: by name of PROBES, what each said of n recordings, or why it did not.
        labels: (n,), 0 or 1.
        speakers: (n,).
        classes: names of the two.
        n_permutations: exchanges.
        seed: of exchanges and folds.

    Returns:
        One entry a probe, those that exceed chance first, the strongest first; of nearly equally strong ones that of
        fewer numbers.
    """
    who = np.asarray(speakers, dtype=str)
    names, first = np.unique(who, return_index=True)
    truth = np.asarray(labels, dtype=float)[first]
    rng = np.random.default_rng([seed, 19])
    drawn = np.stack([truth, *(rng.permutation(truth) for _ in range(n_permutations))])
    areas: dict[str, Array] = {}
    found: dict[str, tuple[Array, Array, str, int]] = {}
    entries: list[Probed] = []
    for name, rows in said.items():
        facts = PROBES.facts(name)
        columns, numbers = table(rows)
        means = by_speaker(numbers, who)
        known = np.asarray(~np.isnan(means).any(axis=1) if columns else np.zeros(len(names), bool))
        n_first, n_second = (int((truth[known] == c).sum()) for c in (0, 1))
        reason = "" if columns else _why(rows)
        if columns and min(n_first, n_second) < FEWEST:
            of_all = [int((truth == c).sum()) for c in (0, 1)]
            why = _why(rows) if min(of_all) >= FEWEST else ""
            reason = (
                f"known for {n_first} of {of_all[0]} speakers of {classes[0]} and {n_second} of {of_all[1]} of"
                f" {classes[1]}, and {FEWEST} of each are needed" + (f": {why}" if why else "")
            )
        if reason:
            nan = float("nan")
            entries.append(
                Probed(
                    name,
                    facts["label"],
                    facts["of"],
                    n_first,
                    n_second,
                    len(columns),
                    *(nan,) * 7,
                    reason=reason,
                )
            )
            continue
        scores = normal_scores(means[known])
        alone = [(auc(scores[:, k], truth[known]), columns[k]) for k in range(len(columns))]
        area, leading = max(alone, key=lambda each: abs(each[0] - 0.5))
        words = f"{leading}, more in {classes[int(area > 0.5)]}"
        if len(columns) == 1:
            of_one = aucs(np.broadcast_to(scores[:, 0], (len(drawn), len(scores))), drawn[:, known])
            areas[name], own = np.maximum(of_one, 1 - of_one), scores[:, 0] * (1 if area > 0.5 else -1)
        else:
            matrix = held_out_matrix(scores, seed)
            areas[name], own = aucs(drawn[:, known] @ matrix.T, drawn[:, known]), matrix @ truth[known]
        found[name] = (known, own, words, len(columns))
    if not areas:
        return _ordered(entries)
    heard = [name for name in areas if PROBES.facts(name)["of"] != "file"]
    centers = {name: _center(each[1:], truth[found[name][0]]) for name, each in areas.items()}
    distance = {name: (each - centers[name][0]) / (centers[name][1] - centers[name][0]) for name, each in areas.items()}
    largest = np.max(np.stack([distance[name] for name in heard or areas]), axis=0)
    limit = float(np.quantile(largest[1:], 1 - TAIL))
    for name, (known, scores, words, n_numbers) in found.items():
        center, reach = centers[name]
        area, t = float(areas[name][0]), float(distance[name][0])
        low, high = auc_interval(scores, truth[known], names[known])
        p = float((1 + (largest[1:] >= t - 1e-9).sum()) / len(largest))
        entries.append(
            Probed(
                name,
                PROBES.facts(name)["label"],
                PROBES.facts(name)["of"],
                int((truth[known] == 0).sum()),
                int((truth[known] == 1).sum()),
                n_numbers,
                area,
                low,
                high,
                area - limit * (reach - center),
                center,
                p,
                t,
                "",
                words,
            )
        )
    return _ordered(entries)


def _center(exchanged: Array, labels: Array) -> tuple[float, float]:
    """What chance usually gives a probe, at least 1/2, and what 2.5 % of the exchanges exceed, at least what they would
    of values without ties (mann1947test): held-out scores of nearly constant numbers lie under 1/2, and a little above
    it is no finding."""
    usual, reach = map(float, np.nanquantile(exchanged, (0.5, 1 - TAIL)))
    n_second, n = float(labels.sum()), len(labels)
    usual = max(0.5, usual)
    return usual, max(reach, 0.5 + 1.96 * float(np.sqrt((n + 1) / (12 * n_second * (n - n_second)))))


def _ordered(found: Sequence[Probed]) -> list[Probed]:
    """Those that raise an alarm first, the strongest first; within NEAR of the strongest that of the fewest numbers:
    what one number says, many that hold it as well say too."""
    rest = sorted(found, key=lambda each: (bool(each.reason), not each.alarm, -np.nan_to_num(each.auroc)))
    best = rest[0].auroc if rest and rest[0].alarm else np.inf
    near = [each for each in rest if each.alarm and each.auroc >= best - NEAR]
    return sorted(near, key=lambda each: (each.n_numbers, -each.auroc)) + rest[len(near) :]


def _why(rows: Sequence[Values | str]) -> str:
    """The reason that most recordings have."""
    reasons = [row for row in rows if isinstance(row, str)]
    return max(set(reasons), key=reasons.count) if reasons else "the same in all recordings"
