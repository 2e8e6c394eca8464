"""Tables of a benchmark: what was learned, who points at the truth, which faithfulness metric says so, who is sane, and
what may be said.

Networks are the units (`stats.network_interval`), and speakers within them; never recordings or bins.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from speechxai.explain import METHODS
from speechxai.explain.recipe import CONTROLS, parse
from speechxai.metrics import METRICS
from speechxai.planted import ruler
from speechxai.planted.sanity import CHECKS, LIMITS, failed_checks
from speechxai.planted.settings import CONTRAST, FAITHFULNESS_METRICS, TRUTH, TaskResult
from speechxai.stats import (
    ALPHA,
    FEWEST_NETWORKS,
    FEWEST_SPEAKERS,
    network_interval,
    network_means,
    sign_flip_p_values,
    spearman,
)

if TYPE_CHECKING:
    import pandas as pd

    from speechxai.types import Array

ALL_CUES = "all"
AS_CONTRAST = " (contrast)"
"""Ending of a group's name where its networks tell twins apart and not voices: such tasks have tables of their own."""
FIRST = "relevance_rank"
"""The preregistered score: statements rest on it alone."""
BASE = f"{FIRST} | {ruler.BASE}"
"""Its reading for tables of one column."""
TRUTHS = tuple(
    f"{FIRST} | {sign}, {ruler.THRESHOLDS_DB[0]:g} dB, {resolution}"
    for sign in ("added", "removed")
    for resolution in ("1 bin", "250 Hz x 50 ms")
)
"""What faithfulness metrics are held against."""
MOSTLY = 0.5
"""A way to measure counts for a cue where at least this share of its recordings has a truth by it."""

TASK_COLUMNS = (
    "task",
    "group",
    "material",
    "cue",
    "severity",
    "seed",
    "n_pairs",
    "n_speakers",
    "n_skipped",
    "verdict",
    "auc",
    "auc_low",
    "auc_high",
    "auc_pooled",
    "twins_right",
    "capped",
    "rms_auc",
    "peak_auc",
    "contour_auc",
    "crest_auc",
    "spectrum_auc",
    "permuted_auc",
    "n_explained",
    "added_area",
    "removed_area",
    "excluded",
    "seconds",
)


def task_table(results: Iterable[TaskResult]) -> pd.DataFrame:
    """One row a task, excluded ones included: TASK_COLUMNS; `excluded` holds the reason, empty where the task counts;
    `verdict` is "learned" or "learned as a contrast"."""
    import pandas as pd

    rows = []
    for result in results:
        facts = result.facts
        row = {name: facts.get(name) for name in TASK_COLUMNS}
        permuted = facts.get("permuted_auc") or []
        row |= {
            "task": result.task,
            "n_skipped": sum(facts.get("skipped", {}).values()),
            "n_explained": len(result.scores),
            "permuted_auc": float(np.mean(permuted)) if permuted else float("nan"),
            "added_area": _mean_area(result, "added"),
            "removed_area": _mean_area(result, "removed"),
        }
        rows.append(row)
    return pd.DataFrame(rows, columns=list(TASK_COLUMNS))


def _mean_area(result: TaskResult, sign: str) -> float:
    areas = [entry["areas"][f"{sign}, {ruler.THRESHOLDS_DB[0]:g} dB, 1 bin"] for entry in result.scores]
    return float(np.mean(areas)) if areas else float("nan")


def group_of(facts: Mapping[str, Any]) -> str:
    """The group that a task counts in: material/cue/severity, marked where its networks learned a contrast alone."""
    return f"{facts['group']}{AS_CONTRAST if facts.get('verdict') == CONTRAST else ''}"


def score_table(results: Iterable[TaskResult]) -> pd.DataFrame:
    """Tidy table of scores; `model` names the group (material/cue/severity), so that seeds of one cue count together,
    and `network` the seed and the fold."""
    import pandas as pd

    blocks = []
    for result in results:
        facts = result.facts
        group = group_of(facts)
        for entry in result.scores:
            recipes, metrics = list(entry["values"]), list(entry["metrics"])
            faint = {name for name, area in entry["areas"].items() if area < ruler.SMALLEST_SHARE}
            block = pd.DataFrame(
                {
                    "recipe": np.repeat(recipes, len(metrics)),
                    "metric": np.tile(metrics, len(recipes)),
                    "value": np.array([entry["values"][recipe] for recipe in recipes], dtype=float).ravel(),
                }
            ).dropna(subset=["value"])
            block = block[~block["metric"].str.partition(" | ")[2].isin(faint)].reset_index(drop=True)
            for place, (name, value) in enumerate(
                (
                    ("recording", f"{entry['recording']}@{facts['seed']}"),
                    ("speaker", entry["speaker"]),
                    ("label", 1),
                    ("predicted", 1),
                    ("model", group),
                )
            ):
                block.insert(place, name, value)
            block["fold"], block["seed"] = str(entry["fold"]), int(facts["seed"])
            block["network"] = f"{facts['seed']}/{entry['fold']}"
            blocks.append(block)
    names = ["recording", "speaker", "label", "predicted", "model", "recipe", "metric", "value", "fold", "seed"]
    return pd.concat(blocks, ignore_index=True) if blocks else pd.DataFrame(columns=[*names, "network"])


class Board:
    """The scores of one group and metric as recordings x recipes, with who is behind each row."""

    def __init__(self, part: pd.DataFrame) -> None:
        wide = part.pivot(index="recording", columns="recipe", values="value")
        self.recipes = list(dict.fromkeys(part["recipe"]))
        self.values = wide[self.recipes].to_numpy(dtype=float)
        owner = part.drop_duplicates("recording").set_index("recording").reindex(wide.index)
        self.recordings = [str(recording) for recording in wide.index]
        self.networks = owner["network"].to_numpy(dtype=str)
        self.speakers = owner["speaker"].to_numpy(dtype=str)
        self.seeds = owner["seed"].to_numpy(dtype=str)

    def of(self, recipe: str) -> Array:
        """Values (n,) of a recipe; NaN where it has none."""
        if recipe not in self.recipes:
            return np.full(len(self.values), np.nan)
        return np.asarray(self.values[:, self.recipes.index(recipe)])

    def interval(self, values: Array) -> tuple[Array, Array, Array]:
        """Mean over networks and its 95 % interval of the columns of values (n, K)."""
        return network_interval(values, self.networks, self.speakers, self.seeds)

    def p_values(self, values: Array) -> Array:
        """p-values (K,) that columns of differences (n, K) are 0: whole networks are flipped, the largest of all
        columns counts (max-T); NaN under FEWEST_NETWORKS."""
        means, _ = network_means(values, self.networks, self.speakers)
        p = sign_flip_p_values(means, correction="max-t")
        return np.where((~np.isnan(means)).sum(axis=0) >= FEWEST_NETWORKS, p, np.nan)


def boards(scores: pd.DataFrame) -> dict[tuple[str, str], Board]:
    """A board for every group and metric."""
    return {
        (str(model), str(metric)): Board(part)
        for (model, metric), part in scores.groupby(["model", "metric"], sort=False, observed=True)
    }


def singles(recipes: Iterable[str]) -> list[str]:
    """Methods of their own among recipes: no controls, no combinations, no truth."""
    return [recipe for recipe in recipes if recipe not in CONTROLS and recipe != TRUTH and "(" not in recipe]


def leaderboard(scores: pd.DataFrame) -> pd.DataFrame:
    """One row for every group, recipe and metric: `mean` over networks with `low` and `high` (95 %), `n` recordings,
    `n_networks`, `n_speakers`; for ways to measure relevance_rank and for methods and combinations `vs_<control>` with
    its interval and p.

    p is max-T over all methods and controls of the group and the way to measure, whole networks flipped; combinations
    are a family of their own.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for (model, metric), board in boards(scores).items():
        mean, low, high = board.interval(board.values)
        if metric.partition(" | ")[0] in ruler.LOCALIZATION:
            low, high = np.maximum(low, 0), np.minimum(high, 1)  # shares cannot be elsewhere, a t interval can
        against = _against(board) if metric.startswith(f"{FIRST} |") else {}
        for index, recipe in enumerate(board.recipes):
            known = ~np.isnan(board.values[:, index])
            rows.append(
                {
                    "model": model,
                    "recipe": recipe,
                    "metric": metric,
                    "mean": mean[index],
                    "low": low[index],
                    "high": high[index],
                    "n": int(known.sum()),
                    "n_networks": len(np.unique(board.networks[known])),
                    "n_speakers": len(np.unique(board.speakers[known])),
                    **against.get(recipe, {}),
                }
            )
    names = ["model", "recipe", "metric", "mean", "low", "high", "n", "n_networks", "n_speakers"]
    names += [f"vs_{control}{end}" for control in CONTROLS for end in ("", "_low", "_high", "_p")]
    return pd.DataFrame(rows, columns=names)


def _against(board: Board) -> dict[str, dict[str, float]]:
    """Differences of every recipe to every control, by recipe."""
    found: dict[str, dict[str, float]] = {}
    methods = singles(board.recipes)
    combined = [recipe for recipe in board.recipes if "(" in recipe]
    for family in (methods, combined):
        cases = [(recipe, control) for recipe in family for control in CONTROLS if control in board.recipes]
        if not cases:
            continue
        differences = np.stack([board.of(recipe) - board.of(control) for recipe, control in cases], axis=1)
        mean, low, high = board.interval(differences)
        p = board.p_values(differences)
        for index, (recipe, control) in enumerate(cases):
            found.setdefault(recipe, {}).update(
                {
                    f"vs_{control}": mean[index],
                    f"vs_{control}_low": low[index],
                    f"vs_{control}_high": high[index],
                    f"vs_{control}_p": p[index],
                }
            )
    return found


# What may be said: what holds by every way to measure.
def ways(scores: pd.DataFrame, model: str) -> list[str]:
    """Ways to measure that count for a group: of `ruler.RULER` those by which most of its recordings have a truth, in
    networks enough for a test."""
    part = scores[(scores["model"] == model) & (scores["recipe"] == TRUTH)]
    n = scores[scores["model"] == model]["recording"].nunique()
    known = part.groupby("metric")[["recording", "network"]].nunique()
    known = known[(known["recording"] >= MOSTLY * n) & (known["network"] >= FEWEST_NETWORKS)]
    return [f"{FIRST} | {name}" for name in ruler.RULER if f"{FIRST} | {name}" in known.index]


def statements(scores: pd.DataFrame) -> pd.DataFrame:
    """For every group and every two explanations (methods and controls): how many ways to measure say that the first is
    above the second.

    A way says so where the 95 % interval of the difference is above 0 and p (max-T, whole networks flipped; methods
    against controls are one family, methods against each other another) below .05. `holds` is said where all of them
    do; `decidable` where there are networks enough for a test.
    Only pairs are listed that at least one way supports.

    Returns:
        model, first, second, n_ways, n_say, says_added, says_removed, n_networks, n_speakers, decidable, holds,
        difference, low, high (by the first way).
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    made = boards(scores[scores["metric"].str.startswith(f"{FIRST} |")])
    for model in dict.fromkeys(scores["model"]):
        counted = ways(scores, model)
        said: dict[tuple[str, str], list[tuple[str, tuple[float, float, float]]]] = {}
        sizes: list[tuple[int, int]] = []
        for way in counted:
            board = made[model, way]
            names = [*singles(board.recipes), *(c for c in CONTROLS if c in board.recipes)]
            pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
            differences = np.stack([board.of(a) - board.of(b) for a, b in pairs], axis=1)
            mean, low, high = board.interval(differences)
            # The preregistered family, methods against controls, and that of methods against each other.
            p = np.full(len(pairs), np.nan)
            against = np.array([b in CONTROLS for _, b in pairs])
            for part in (against, ~against):
                if part.any():
                    p[part] = board.p_values(differences[:, part])
            known = ~np.isnan(board.of(TRUTH))
            sizes.append((len(np.unique(board.networks[known])), len(np.unique(board.speakers[known]))))
            for index, (a, b) in enumerate(pairs):
                if p[index] < ALPHA and low[index] > 0:
                    said.setdefault((a, b), []).append((way, (mean[index], low[index], high[index])))
                elif p[index] < ALPHA and high[index] < 0:
                    said.setdefault((b, a), []).append((way, (-mean[index], -high[index], -low[index])))
        n_networks, n_speakers = (min(column) for column in zip(*sizes, strict=True)) if sizes else (0, 0)
        decidable = n_networks >= FEWEST_NETWORKS and n_speakers >= FEWEST_SPEAKERS
        for (a, b), found in said.items():
            n_added = sum(f"{FIRST} | added" in way for way, _ in found)
            rows.append(
                {
                    "model": model,
                    "first": a,
                    "second": b,
                    "n_ways": len(counted),
                    "n_say": len(found),
                    "says_added": f"{n_added} of {sum('| added' in way for way in counted)}",
                    "says_removed": f"{len(found) - n_added} of {sum('| removed' in way for way in counted)}",
                    "n_networks": n_networks,
                    "n_speakers": n_speakers,
                    "decidable": decidable,
                    "holds": decidable and len(found) == len(counted),
                    **dict(zip(("difference", "low", "high"), found[0][1], strict=True)),
                }
            )
    names = ["model", "first", "second", "n_ways", "n_say", "says_added", "says_removed", "n_networks", "n_speakers"]
    return pd.DataFrame(rows, columns=[*names, "decidable", "holds", "difference", "low", "high"])


def order_table(board: pd.DataFrame) -> pd.DataFrame:
    """Kendall's tau of the order of methods by every way to measure with that by the first way that counts: model,
    metric, tau, n_methods. A sign of how much of an order is the ruler's, and no gate.

    Args:
        board: from `leaderboard`.
    """
    import pandas as pd
    from scipy.stats import kendalltau

    rows = []
    ranked = board[board["metric"].str.startswith(f"{FIRST} |") & board["recipe"].isin(singles(set(board["recipe"])))]
    for model, part in ranked.groupby("model", sort=False):
        wide = part.pivot(index="recipe", columns="metric", values="mean")
        for metric in [name for name in wide.columns if name.endswith(", absolute")]:
            positive = metric.removesuffix(", absolute")
            if positive in wide:  # maps without a sign have one reading
                wide[metric] = wide[metric].fillna(wide[positive])
        for sign in ("added", "removed"):
            first = f"{FIRST} | {sign}, {ruler.THRESHOLDS_DB[0]:g} dB, 1 bin"
            if first not in wide:
                continue
            for metric in wide.columns:
                both = wide[[first, metric]].dropna() if metric != first else wide[[first]].dropna()
                if metric == first or len(both) < 4:
                    continue
                tau = kendalltau(both[first], both[metric]).statistic
                rows.append((model, f"{sign}, {ruler.THRESHOLDS_DB[0]:g} dB, 1 bin", metric, float(tau), len(both)))
    return pd.DataFrame(rows, columns=["model", "against", "metric", "tau", "n_methods"])


def chance_table(results: Iterable[TaskResult], scores: pd.DataFrame) -> pd.DataFrame:
    """What `random_map` and the truth itself score beside what they must, by group and score.

    Expected of `random_map`: the truth's share of the cells, with its tolerance for `pointing_game`, one half for
    `localization_auc`; of the truth: 1. Columns: model, metric, expected, random_map, random_low, random_high,
    truth_lowest.
    """
    import pandas as pd

    areas: dict[tuple[str, str], list[float]] = {}
    for result in results:
        for entry in result.scores:
            for name, value in entry["areas"].items():
                areas.setdefault((group_of(result.facts), name), []).append(value)
    rows = []
    for (model, metric), board in boards(scores[scores["metric"].str.contains(" | ", regex=False)]).items():
        score, _, name = metric.partition(" | ")
        choice = ruler.CHOICES.get(name)
        if score not in ruler.LOCALIZATION or choice is None or TRUTH not in board.recipes:
            continue
        if choice.reading != "positive":  # a map of chance has one reading
            continue
        key = f"near | {name}" if score == "pointing_game" else name
        known = areas.get((model, key), [])
        least = 0.0 if score == "pointing_game" else ruler.SMALLEST_SHARE
        known = [value for value in known if value >= least]
        mean, low, high = board.interval(board.of("random_map")[:, None])
        expected = 0.5 if score == "localization_auc" else float(np.mean(known)) if known else float("nan")
        lowest = float(np.nanmin(board.of(TRUTH)))
        ends = float(np.maximum(low[0], 0)), float(np.minimum(high[0], 1))
        rows.append((model, metric, expected, float(mean[0]), *ends, lowest))
    names = ["model", "metric", "expected", "random_map", "random_low", "random_high", "truth_lowest"]
    return pd.DataFrame(rows, columns=names)


def average_over_cues(board: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Recipes x groups of one metric with their mean over groups as the last column: an average is never without its
    parts."""
    wide = board[board["metric"] == metric].pivot(index="recipe", columns="model", values="mean")
    wide = wide.reindex(index=list(dict.fromkeys(board["recipe"])), columns=list(dict.fromkeys(board["model"])))
    wide["mean of the columns"] = wide.mean(axis=1, skipna=False)
    return wide.reset_index()


def believable(scores: pd.DataFrame, recipes: Sequence[str]) -> pd.DataFrame:
    """Rank correlation of every faithfulness metric with TRUTHS, over the methods of a recording.

    `within`: Spearman over the methods of one recording, then mean over networks: does the metric tell which of the
    methods points at the truth? Where energy is removed both are of the twin without the cue. A metric where lower is
    better counts with its sign turned, so positive always means that better faithfulness goes with better localization.
    The rows with model "all" are the mean of the groups, and NaN where one is undefined.

    Args:
        scores: from `score_table`.
        recipes: which explanations count; the truth never does.

    Returns:
        model, metric, truth_metric, within, within_low, within_high, n_recordings, n_networks, n_speakers.
    """
    import pandas as pd

    used = scores[scores["recipe"].isin([recipe for recipe in recipes if recipe != TRUTH])]
    made = boards(used)
    rows: list[dict[str, Any]] = []
    models = list(dict.fromkeys(used["model"]))
    for model in models:
        for truth_metric in TRUTHS:
            truth = made.get((model, truth_metric))
            if truth is None:
                continue
            ending = " | without" if "| removed" in truth_metric else ""
            for metric in FAITHFULNESS_METRICS:
                board = made.get((model, f"{metric}{ending}"))
                if board is None:
                    continue
                found = _within(board, truth, metric)
                mean, low, high = truth.interval(found[:, None])
                known = ~np.isnan(found)
                rows.append(
                    {
                        "model": model,
                        "metric": metric,
                        "truth_metric": truth_metric,
                        "within": float(mean[0]),
                        "within_low": float(np.maximum(low[0], -1)),
                        "within_high": float(np.minimum(high[0], 1)),
                        "n_recordings": int(known.sum()),
                        "n_networks": len(np.unique(truth.networks[known])),
                        "n_speakers": len(np.unique(truth.speakers[known])),
                    }
                )
    names = ["model", "metric", "truth_metric", "within", "within_low", "within_high", "n_recordings"]
    frame = pd.DataFrame(rows, columns=[*names, "n_networks", "n_speakers"])
    if len(models) < 2:
        return frame
    means = frame.pivot_table(
        index=["metric", "truth_metric"], columns="model", values="within", sort=False, dropna=False
    ).mean(axis=1, skipna=False)
    joined = means.rename("within").reset_index().assign(model=ALL_CUES)
    return pd.concat([frame, joined.reindex(columns=frame.columns)], ignore_index=True)


def _within(board: Board, truth: Board, metric: str) -> Array:
    """Spearman over the recipes that both boards have, for every recording of `truth`; NaN where it is undefined."""
    recipes = [recipe for recipe in truth.recipes if recipe in board.recipes]
    ours = np.stack([board.of(recipe) for recipe in recipes], axis=1)
    ours = -ours if METRICS.facts(metric)["best"] == "low" else ours
    theirs = np.stack([truth.of(recipe) for recipe in recipes], axis=1)
    place = {recording: index for index, recording in enumerate(board.recordings)}
    rows = [place.get(recording) for recording in truth.recordings]
    aligned = np.stack([ours[row] if row is not None else np.full(len(recipes), np.nan) for row in rows])
    return spearman_rows(aligned, theirs)


def spearman_rows(a: Array, b: Array) -> Array:
    """Spearman's correlation of the rows of two tables (N, K), pairs with a NaN left out; (N,), NaN for constant rows
    or under 4 pairs."""
    from scipy.stats import rankdata

    found = np.full(len(a), np.nan)
    missing = np.isnan(a) | np.isnan(b)
    whole = ~missing.any(axis=1)
    if whole.any() and a.shape[1] >= 4:  # most rows: all of them at once
        ranks = [rankdata(table[whole], axis=1) for table in (a, b)]
        first, second = (each - each.mean(axis=1, keepdims=True) for each in ranks)
        scale = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
        found[whole] = np.divide((first * second).sum(axis=1), scale, out=np.full(len(scale), np.nan), where=scale > 0)
    for row in np.flatnonzero(~whole):
        defined = ~missing[row]
        if defined.sum() >= 4:
            found[row] = spearman(a[row, defined], b[row, defined])
    return found


def combination_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Every union and intersection beside its parts by BASE: beside the better part by the truth, which nobody knows,
    and beside the part that `insertion_auc:margin` prefers, which anybody can choose.

    Returns:
        model, recipe, mean, chosen (the part that the metric prefers most often), vs_chosen, low, high, vs_better.
    """
    import pandas as pd

    rows = []
    made = boards(scores[scores["metric"].isin([BASE, "insertion_auc:margin"])])
    for model in dict.fromkeys(scores["model"]):
        board, by = made.get((model, BASE)), made.get((model, "insertion_auc:margin"))
        if board is None or by is None:
            continue
        place = {recording: index for index, recording in enumerate(by.recordings)}
        rows_of_by = [place.get(recording) for recording in board.recordings]
        for recipe in [name for name in board.recipes if "(" in name]:
            parts = [part.name for part in parse(recipe).parts]
            truth = np.stack([board.of(part) for part in parts], axis=1)
            theirs = np.stack([by.of(part) for part in parts], axis=1)
            preferred = np.stack([np.full(len(parts), np.nan) if row is None else theirs[row] for row in rows_of_by])
            known = ~np.isnan(board.of(recipe)) & ~np.isnan(preferred).any(axis=1) & ~np.isnan(truth).any(axis=1)
            if not known.any():
                continue
            taken = np.where(known, np.nan_to_num(preferred, nan=-np.inf).argmax(axis=1), 0)
            chosen = truth[np.arange(len(truth)), taken]
            difference = np.where(known, board.of(recipe) - chosen, np.nan)
            mean, low, high = board.interval(difference[:, None])
            own = board.interval(board.of(recipe)[:, None])[0][0]
            better = np.nanmax(board.interval(np.where(known[:, None], truth, np.nan))[0])
            favorite = parts[int(np.bincount(taken[known]).argmax())]
            rows.append((model, recipe, own, favorite, mean[0], low[0], high[0], own - better))
    names = ["model", "recipe", "mean", "chosen", "vs_chosen", "low", "high", "vs_better"]
    return pd.DataFrame(rows, columns=names)


def sanity_table(results: Iterable[TaskResult]) -> pd.DataFrame:
    """Methods x checks, means over the recordings checked, in the order of CHECKS; `fails`, the limits that are broken,
    `fails_in`, the groups whose own means break a limit that the mean over all groups keeps ("group: check, check;
    ..."), and `unchecked`, the limits that no value stands behind."""
    import pandas as pd

    rows = [{**row, "model": group_of(result.facts)} for result in results for row in result.sanity]
    if not rows:
        return pd.DataFrame(columns=["recipe", *CHECKS, "fails", "fails_in", "unchecked"])
    frame = pd.DataFrame(rows)
    wide = _means_of_checks(frame)
    fails = {recipe: _failed(recipe, row) for recipe, row in wide.iterrows()}
    fails_in: dict[Any, list[str]] = {recipe: [] for recipe in wide.index}
    for group, part in frame.groupby("model", sort=False):
        for recipe, row in _means_of_checks(part).iterrows():
            alone = [check for check in _failed(recipe, row) if check not in fails[recipe]]
            if alone:
                fails_in[recipe].append(f"{group}: {', '.join(alone)}")
    unchecked = [", ".join(name for name in LIMITS if row[name] != row[name]) for row in wide.to_dict("records")]
    return wide.assign(
        fails=[", ".join(fails[recipe]) for recipe in wide.index],
        fails_in=["; ".join(fails_in[recipe]) for recipe in wide.index],
        unchecked=unchecked,
    ).reset_index()


def _means_of_checks(frame: pd.DataFrame) -> pd.DataFrame:
    wide = frame.pivot_table(index="recipe", columns="check", values="value", sort=False)
    return wide.reindex(index=list(dict.fromkeys(frame["recipe"])), columns=list(CHECKS))


def _failed(recipe: Hashable, row: pd.Series[Any]) -> list[str]:
    values = {str(name): float(value) for name, value in row.items()}
    return failed_checks(values, is_signed(str(recipe)))


def is_signed(recipe: str) -> bool:
    """Whether a method says what speaks against a class; a recipe that is no registered method is taken as one."""
    return bool(METHODS.facts(recipe)["signed"]) if recipe in METHODS else True
