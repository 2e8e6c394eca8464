"""Verdicts over all cues of a benchmark: a grade for each method, hybrids of metrics, who marks a bystander.

Everything is read from the tables of one run, which has one network: a grade is one on that network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from speechxai.explain.recipe import CONTROLS
from speechxai.metrics import METRICS
from speechxai.planted.ruler import BYSTANDER
from speechxai.planted.settings import FAITHFULNESS_METRICS, TRUTH
from speechxai.planted.shortcuts import SHORTCUTS
from speechxai.planted.tables import BASE, Board, boards, is_signed, singles, spearman_rows
from speechxai.stats import FEWEST_NETWORKS, network_means, ridge_weights

if TYPE_CHECKING:
    import pandas as pd

    from speechxai.types import Array

GRADES = {
    "A": "above all controls on every truth",
    "B": "above all controls on most truths, below none on any",
    "C": "above random_map on most truths, but not above pictures of energy or edges",
    "D": "not told from random_map on most truths",
    "E": "below random_map on a truth",
}
"""What a grade says. A truth is a cue's added or removed energy; "above" and "below" hold by every way to measure it:
resolutions, thresholds, intervals over networks, as `statements.csv` counts them."""
UNGRADED = "–"
"""Grade where no cue has networks enough."""

MOVED_BY_NOISE = 0.5
"""`max_sensitivity` or `attack` beyond this: noise that nobody hears changes half of the map."""
BLIND = 0.9
"""`class_flip` above this: the map does not ask for which class."""


def grade_table(scores: pd.DataFrame, statements: pd.DataFrame, sanity: pd.DataFrame) -> pd.DataFrame:
    """Grade every method: recipe, grade, n_truths (that decide), above_all, above_random, below_random, below_any, and
    `failures`, the kinds of failures seen.

    Truths count that have networks and speakers enough; shortcuts of the recording are no cues, and count as a failure
    where a map does not show one.

    Args:
        scores: from `score_table`.
        statements: from `statements`.
        sanity: from `sanity_table`.
    """
    import pandas as pd

    said, truths = _by_truth(statements)
    cues = [truth for truth in truths if not of_shortcut(truth[0])]
    shortcuts = [truth for truth in truths if of_shortcut(truth[0])]
    checks = {str(row["recipe"]): dict(row) for row in sanity.to_dict("records")}
    silent = _silence(scores)
    marks = bystander_table(scores)
    marking = set(marks[marks["low"] > 0.5]["recipe"]) if len(marks) else set()
    rows = []
    for recipe in singles(dict.fromkeys(scores["recipe"])):
        above = {control: [g for g in cues if (g, recipe, control) in said] for control in CONTROLS}
        below = {control: [g for g in cues if (g, control, recipe) in said] for control in CONTROLS}
        n_all = sum(all(g in above[control] for control in CONTROLS) for g in cues)
        n_below = len({g for found in below.values() for g in found})
        n_random, n_under = len(above["random_map"]), len(below["random_map"])
        check = checks.get(recipe, {})
        failures = []
        if is_signed(recipe) and _known(check, "class_flip") > BLIND:
            failures.append("class-blind")
        if n_random and not any(g in above["edge_map"] for g in cues):
            failures.append("no better than edges")
        if recipe in silent:
            failures.append("points at silence")
        if _known(check, "max_sensitivity") > MOVED_BY_NOISE or 1 - _known(check, "attack", 1.0) > MOVED_BY_NOISE:
            failures.append("moved by noise")
        blind = [truth for truth in shortcuts if (truth, recipe, "random_map") not in said]
        if blind:
            named = dict.fromkeys(group.split("/")[1] for group, _ in blind)
            failures.append(f"blind to a shortcut ({', '.join(named)})")
        if recipe in marking:
            failures.append("marks a bystander")
        rows.append(
            (
                recipe,
                _grade(len(cues), n_all, n_below, n_random, n_under),
                len(cues),
                n_all,
                n_random,
                n_under,
                n_below,
                "; ".join(failures),
            )
        )
    names = ["recipe", "grade", "n_truths", "above_all", "above_random", "below_random", "below_any", "failures"]
    return pd.DataFrame(rows, columns=names).sort_values("grade", kind="stable", ignore_index=True)


Truth = tuple[str, str]
"""A group, and "added" or "removed"."""


def _by_truth(statements: pd.DataFrame) -> tuple[set[tuple[Truth, str, str]], list[Truth]]:
    """Who is above whom by every way to measure a truth, (truth, first, second), and the truths that can be decided."""
    said: set[tuple[Truth, str, str]] = set()
    truths: dict[Truth, None] = {}
    for row in statements.to_dict("records"):
        for sign in ("added", "removed"):
            n_say, n_ways = (int(part) for part in str(row[f"says_{sign}"]).split(" of "))
            if not row["decidable"] or not n_ways:
                continue
            truth = (str(row["model"]), sign)
            truths[truth] = None
            if n_say == n_ways:
                said.add((truth, str(row["first"]), str(row["second"])))
    return said, list(truths)


def _grade(n_cues: int, above_all: int, below_any: int, above_random: int, below_random: int) -> str:
    """The letter of GRADES; "most" is more than half.

    >>> [_grade(4, 4, 0, 4, 0), _grade(4, 3, 0, 4, 0), _grade(4, 2, 0, 3, 0)]
    ['A', 'B', 'C']
    >>> [_grade(4, 0, 0, 2, 0), _grade(4, 3, 1, 3, 1), _grade(0, 0, 0, 0, 0)]
    ['D', 'E', '–']
    """
    if n_cues == 0:
        return UNGRADED
    if below_random:
        return "E"
    if above_all == n_cues:
        return "A"
    if 2 * above_all > n_cues and not below_any:
        return "B"
    return "C" if 2 * above_random > n_cues else "D"


def of_shortcut(group: str) -> bool:
    """Whether a group (material/cue/severity) learned a condition of the recording."""
    return group.split("/")[1] in SHORTCUTS


def _known(check: Mapping[Any, Any], name: str, otherwise: float = float("nan")) -> float:
    value = float(check.get(name, otherwise))
    return value if value == value else otherwise


def _silence(scores: pd.DataFrame) -> set[str]:
    """Methods with more of their evidence in pauses than `random_map` has, with interval, on a cue."""
    found = set()
    for board in boards(scores[scores["metric"] == "silence_share"]).values():
        if "random_map" not in board.recipes:
            continue
        methods = singles(board.recipes)
        if methods:
            differences = np.stack([board.of(m) - board.of("random_map") for m in methods], axis=1)
            low = board.interval(differences)[1]
            found |= {method for method, end in zip(methods, low, strict=True) if end > 0}
    return found


def bystander_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Who marks what tells no class: model, recipe, bystander_auc with low and high (one half is chance), rank (share
    of the strongest bins), and `false_positives`, the share of recordings in which the map's evidence prefers the
    bystander to bins that are neither it nor the cue."""
    import pandas as pd

    rows = []
    made = boards(scores[scores["metric"].isin(BYSTANDER)])
    for (model, metric), board in made.items():
        if metric != BYSTANDER[0]:
            continue
        ranks = made[model, BYSTANDER[1]]
        for recipe in board.recipes:
            values = board.of(recipe)
            mean, low, high = board.interval(values[:, None])
            rank = ranks.interval(ranks.of(recipe)[:, None])[0]
            known = values[~np.isnan(values)]
            ends = np.clip((low[0], high[0]), 0, 1)  # an area cannot be elsewhere, a t interval can
            rows.append((model, recipe, mean[0], *ends, rank[0], float((known > 0.5).mean()), len(known)))
    names = ["model", "recipe", "bystander_auc", "low", "high", "bystander_rank", "false_positives", "n"]
    return pd.DataFrame(rows, columns=names)


# Metrics together: is there a combination that says more of the truth than each of its parts, on a cue that it has not
# seen?
CHOSEN, PAIR, ALL = "the best single metric", "the best two", "all metrics"
N_PROMISING = 8
"""Metrics, by their lowest correlation on the other cues, whose pairs are tried."""


def hybrid_table(
    scores: pd.DataFrame, recipes: Sequence[str], apart: Callable[[str, str], bool] = lambda one, other: one != other
) -> pd.DataFrame:
    """Hybrids of faithfulness metrics, made on all cues but one and tried on that one.

    Within a recording every metric ranks the explanations. CHOSEN is the metric, PAIR the mean rank of the two metrics,
    whose lowest correlation with BASE over the other cues is the highest; ALL is a ridge regression of the truth's
    ranks on all metrics' ranks.

    Args:
        scores: from `score_table`.
        recipes: which explanations count; the truth never does.
        apart: whether a hybrid that is tried on the first cue may be made on the second; by default on every other.

    Returns:
        model (the cue that was left out), hybrid, made_of, within (Spearman over the explanations of a recording, mean
        over networks), low, high, n_networks. Empty for fewer than 3 cues with networks enough;
        without a cue that no other is `apart` from.
    """
    import pandas as pd

    made = boards(scores[scores["recipe"].isin([recipe for recipe in recipes if recipe != TRUTH])])
    truths = {model: board for (model, metric), board in made.items() if metric == BASE}
    truths = {
        model: board
        for model, board in truths.items()
        if not of_shortcut(model) and len(np.unique(board.networks)) >= FEWEST_NETWORKS
    }
    metrics = [m for m in FAITHFULNESS_METRICS if all((model, m) in made for model in truths)]
    names = ["model", "hybrid", "made_of", "within", "low", "high", "n_networks"]
    if len(truths) < 3 or len(metrics) < 2:
        return pd.DataFrame(columns=names)
    ranks = {model: _ranks(board, [made[model, m] for m in metrics], metrics) for model, board in truths.items()}
    goals = {model: _row_ranks(_table(board, board.recipes)) for model, board in truths.items()}
    single = {
        model: np.array([_mean_within(truths[model], values, goals[model]) for values in ranks[model]])
        for model in truths
    }
    known: dict[tuple[str, tuple[int, int]], float] = {}

    def of_two(other: str, pair: tuple[int, int]) -> float:
        """Correlation of two metrics' mean rank with the truth's on a cue; asked for by every cue that is left out."""
        if (other, pair) not in known:
            joined = ranks[other][list(pair)].mean(axis=0)
            known[other, pair] = _mean_within(truths[other], joined, goals[other])
        return known[other, pair]

    rows = []
    for model, board in truths.items():
        others = [other for other in truths if apart(model, other)]
        if not others:
            continue
        lowest = np.min([single[other] for other in others], axis=0)
        best = int(np.argmax(lowest))
        promising = np.argsort(-lowest, kind="stable")[:N_PROMISING].tolist()
        together = {pair: min(of_two(o, pair) for o in others) for pair in combinations(promising, 2)}
        two = max(together, key=lambda pair: together[pair])
        weights = _ridge([(ranks[o], goals[o]) for o in others])
        made_here = {
            CHOSEN: (metrics[best], ranks[model][best]),
            PAIR: (" + ".join(metrics[i] for i in two), ranks[model][list(two)].mean(axis=0)),
            ALL: (
                ", ".join(f"{weights[i]:+.2f} {metrics[i]}" for i in np.argsort(-np.abs(weights))[:4]),
                np.tensordot(weights, ranks[model], axes=1),
            ),
        }
        for hybrid, (made_of, values) in made_here.items():
            found = spearman_rows(values, goals[model])
            mean, low, high = board.interval(found[:, None])
            n = len(np.unique(board.networks[~np.isnan(found)]))
            rows.append((model, hybrid, made_of, mean[0], max(low[0], -1.0), min(high[0], 1.0), n))
    return pd.DataFrame(rows, columns=names)


def _table(board: Board, recipes: Sequence[str]) -> Array:
    return np.stack([board.of(recipe) for recipe in recipes], axis=1)


def _ranks(truth: Board, by: Sequence[Board], metrics: Sequence[str]) -> Array:
    """Ranks (M, N, K) that metrics give to the recipes of `truth`, higher is better, in the order of its recordings."""
    found = []
    for board, metric in zip(by, metrics, strict=True):
        place = {recording: index for index, recording in enumerate(board.recordings)}
        values = _table(board, truth.recipes)
        missing = np.full(values.shape[1], np.nan)
        rows = [place.get(recording) for recording in truth.recordings]
        aligned = np.stack([missing if row is None else values[row] for row in rows])
        found.append(_row_ranks(-aligned if METRICS.facts(metric)["best"] == "low" else aligned))
    return np.stack(found)


def _row_ranks(values: Array) -> Array:
    """Average ranks of every row (N, K), from 0 to 1; one half where a value is not known."""
    from scipy.stats import rankdata

    known = ~np.isnan(values)
    ranks = rankdata(np.where(known, values, np.inf), axis=1)
    n = known.sum(axis=1, keepdims=True)
    return np.where(known, (ranks - 1) / np.maximum(n - 1, 1), 0.5)


def _mean_within(board: Board, values: Array, goals: Array) -> float:
    """Spearman over the explanations of a recording, mean over networks; -1 where it is not defined."""
    means, _ = network_means(spearman_rows(values, goals)[:, None], board.networks, board.speakers)
    known = means[~np.isnan(means)]
    return float(known.mean()) if len(known) else -1.0


def _ridge(cues: Sequence[tuple[Array, Array]]) -> Array:
    """Weights (M,) of the ranks, all cues weighing the same."""
    x = np.concatenate([ranks.reshape(len(ranks), -1).T - 0.5 for ranks, _ in cues])
    y = np.concatenate([goals.ravel() - 0.5 for _, goals in cues])
    weights = np.concatenate([np.full(goals.size, 1 / goals.size) for _, goals in cues])
    return ridge_weights(x, y, weights * len(y))
