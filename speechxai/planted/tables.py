"""Tables of a benchmark: what was learned, who points at the truth, which faithfulness metric says so, who is sane.

Speakers are the independent units: every interval is a bootstrap over speakers, never over recordings or bins.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from speechxai.explain.recipe import CONTROLS
from speechxai.metrics import LOCALIZATION_METRICS, METRICS, indicators
from speechxai.planted.settings import FAITHFULNESS_METRICS, TRUTH, TaskResult
from speechxai.planted.task import CHECKS, failed_checks
from speechxai.stats import (
    FEWEST_SPEAKERS,
    bca_interval,
    bootstrap_means,
    resamples,
    speaker_means,
    spearman,
    summarize,
)

if TYPE_CHECKING:
    import pandas as pd

    from speechxai.types import Array

ALL_CUES = "all"

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
    "auc",
    "auc_low",
    "auc_high",
    "rms_auc",
    "peak_auc",
    "permuted_auc",
    "n_explained",
    "truth_area",
    "truth_contrast",
    "excluded",
    "seconds",
)


def task_table(results: Iterable[TaskResult]) -> pd.DataFrame:
    """One row a task, excluded ones included: TASK_COLUMNS; `excluded` holds the reason, empty where the task
    counts."""
    import pandas as pd

    rows = []
    for result in results:
        facts = result.facts
        row = {name: facts.get(name) for name in TASK_COLUMNS}
        row |= {
            "task": result.task,
            "n_skipped": sum(facts.get("skipped", {}).values()),
            "n_explained": len(result.scores),
        }
        rows.append(row)
    return pd.DataFrame(rows, columns=list(TASK_COLUMNS))


def score_table(results: Iterable[TaskResult]) -> pd.DataFrame:
    """Tidy table of scores; `model` names the group (material/cue/severity), so that seeds of one cue count
    together."""
    import pandas as pd

    rows = [
        (
            f"{entry['recording']}@{result.facts['seed']}",
            entry["speaker"],
            1,
            1,
            result.facts["group"],
            recipe,
            metric,
            value,
            str(entry["fold"]),
            result.facts["seed"],
            entry["area"],
        )
        for result in results
        for entry in result.scores
        for recipe, values in entry["values"].items()
        for metric, value in values.items()
    ]
    names = ["recording", "speaker", "label", "predicted", "model", "recipe", "metric", "value", "fold", "seed", "area"]
    return pd.DataFrame(rows, columns=names).astype({"value": "float64", "area": "float64"})


def leaderboard(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean over speakers with 95 % interval and differences to the controls, for every group, recipe and metric."""
    return summarize(scores, CONTROLS, indicators=indicators())


def chance_table(scores: pd.DataFrame) -> pd.DataFrame:
    """What `random_map` and the truth itself score beside what they must: one row a group and localization metric.

    Expected of `random_map`: the truth's share of the bins (one half for localization_auc); of the truth: 1. Columns:
        model,
    metric, expected, random_map, random_low, random_high, truth_lowest.
    """
    import pandas as pd

    rows = []
    for (model, metric), part in scores[scores["metric"].isin(LOCALIZATION_METRICS)].groupby(
        ["model", "metric"], sort=False
    ):
        drawn, own = part[part["recipe"] == "random_map"], part[part["recipe"] == TRUTH]
        if drawn.empty or own.empty:
            continue
        area = 0.5 if metric == "localization_auc" else float(_means(drawn["area"], drawn["speaker"]).mean())
        means = _means(drawn["value"], drawn["speaker"])
        low, high = bootstrap_means(means[:, None])
        rows.append(
            (model, metric, area, float(means.mean()), float(low[0]), float(high[0]), float(own["value"].min()))
        )
    names = ["model", "metric", "expected", "random_map", "random_low", "random_high", "truth_lowest"]
    return pd.DataFrame(rows, columns=names)


def _means(values: Any, speakers: Any) -> Array:
    return speaker_means(np.asarray(values, dtype=float), np.asarray(speakers, dtype=str))


def average_over_cues(board: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Recipes x groups of one metric with their mean over groups as the last column: an average is never without its
    parts."""
    wide = board[board["metric"] == metric].pivot(index="recipe", columns="model", values="mean")
    wide = wide.reindex(index=list(dict.fromkeys(board["recipe"])), columns=list(dict.fromkeys(board["model"])))
    wide["mean of the columns"] = wide.mean(axis=1, skipna=False)
    return wide.reset_index()


def believable(scores: pd.DataFrame, recipes: Sequence[str]) -> pd.DataFrame:
    """Rank correlation of every faithfulness metric with every localization metric, over the methods and recordings.

    `within`: Spearman over the methods of one recording, then mean over recordings and speakers: does the metric tell
        which of
    the methods points at the truth? `pooled`: Spearman over all pairs of method and recording. A metric where lower is
    better
    counts with its sign turned, so positive always means that better faithfulness goes with better localization. The
    rows
    with model "all" join the groups, each recording within its own group.

    Args:
        scores: from `score_table`.
        recipes: which explanations count; the truth never does.

    Returns:
        model, metric, truth_metric, within, within_low, within_high, pooled, pooled_low, pooled_high, n_recordings,
        n_speakers.
    """
    import pandas as pd

    used = scores[scores["recipe"].isin([recipe for recipe in recipes if recipe != TRUTH])]
    rows: list[dict[str, Any]] = []
    models = list(dict.fromkeys(used["model"]))
    within_of: dict[tuple[str, str], list[tuple[Array, list[str]]]] = {}
    for model in models:
        part = used[used["model"] == model]
        wide = part.pivot_table(
            index=["recording", "speaker"], columns=["metric", "recipe"], values="value", dropna=False
        ).dropna(how="all")  # dropna=False also makes the pairs of recording and speaker that do not exist
        speakers = [str(speaker) for _, speaker in wide.index]
        for truth_metric in LOCALIZATION_METRICS:
            for metric in [name for name in FAITHFULNESS_METRICS if name in wide.columns.get_level_values(0)]:
                ours, theirs = _oriented(wide, metric), wide[truth_metric].to_numpy(dtype=float)
                within = spearman_rows(ours, theirs)
                within_of.setdefault((metric, truth_metric), []).append((within, speakers))
                rows.append(
                    {
                        "model": model,
                        "metric": metric,
                        "truth_metric": truth_metric,
                        **_interval(within, speakers),
                        **_pooled(ours, theirs, speakers),
                        "n_recordings": len(within),
                    }
                )
    if len(models) > 1:
        for (metric, truth_metric), found in within_of.items():
            values = np.concatenate([values for values, _ in found])
            names = [name for _, speakers in found for name in speakers]
            rows.append(
                {
                    "model": ALL_CUES,
                    "metric": metric,
                    "truth_metric": truth_metric,
                    **_interval(values, names),
                    "pooled": np.nan,
                    "pooled_low": np.nan,
                    "pooled_high": np.nan,
                    "n_recordings": len(values),
                }
            )
    names = [
        "model",
        "metric",
        "truth_metric",
        "within",
        "within_low",
        "within_high",
        "pooled",
        "pooled_low",
        "pooled_high",
        "n_recordings",
        "n_speakers",
    ]
    return pd.DataFrame(rows, columns=names)


def _oriented(wide: pd.DataFrame, metric: str) -> Array:
    values = wide[metric].to_numpy(dtype=float)
    return -values if METRICS.facts(metric)["best"] == "low" else values


def spearman_rows(a: Array, b: Array) -> Array:
    """Spearman's correlation of the rows of two tables (N, K), pairs with a NaN left out; (N,), NaN for constant rows
    or under 4 pairs."""
    found = np.full(len(a), np.nan)
    for row in range(len(a)):
        defined = ~(np.isnan(a[row]) | np.isnan(b[row]))
        if defined.sum() >= 4:
            found[row] = spearman(a[row, defined], b[row, defined])
    return found


def _interval(values: Array, speakers: Sequence[str]) -> dict[str, float]:
    means = speaker_means(values, speakers)
    low, high = bootstrap_means(means[:, None])
    defined = means[~np.isnan(means)]
    mean = float(defined.mean()) if len(defined) else float("nan")
    return {"within": mean, "within_low": float(low[0]), "within_high": float(high[0]), "n_speakers": len(defined)}


def _pooled(a: Array, b: Array, speakers: Sequence[str], seed: int = 0) -> dict[str, float]:
    """Spearman over all cells of two tables (N, K), with a bootstrap over speakers of the correlation of their ranks.

    Sums of a speaker's ranks and products are all that a resample needs, so that it ranks nothing again.
    """
    from scipy.stats import rankdata

    defined = ~(np.isnan(a) | np.isnan(b))
    owner = np.repeat(np.unique(np.asarray(speakers), return_inverse=True)[1], a.shape[1]).reshape(a.shape)[defined]
    n_speakers = len(np.unique(owner))
    pooled = spearman(a[defined], b[defined]) if defined.sum() >= 4 else float("nan")
    if np.isnan(pooled) or n_speakers < FEWEST_SPEAKERS:
        return {"pooled": pooled, "pooled_low": np.nan, "pooled_high": np.nan}
    first, second = rankdata(a[defined]), rankdata(b[defined])
    terms = np.stack([np.ones_like(first), first, second, first**2, second**2, first * second])
    sums = np.stack([np.bincount(owner, weights=term) for term in terms], axis=1)
    drawn, without = (
        _correlation(part)[:, None] for part in (sums[resamples(len(sums), seed=seed)].sum(axis=1), sums.sum(0) - sums)
    )
    low, high = bca_interval(drawn, pooled, without)
    return {"pooled": pooled, "pooled_low": float(low[0]), "pooled_high": float(high[0])}


def _correlation(sums: Array) -> Array:
    """Pearson's correlation (D,) from sums (D, 6) of 1, x, y, x^2, y^2 and x y."""
    n, x, y, xx, yy, xy = sums.T
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((n * xy - x * y) / np.sqrt((n * xx - x**2) * (n * yy - y**2)))


def sanity_table(results: Iterable[TaskResult]) -> pd.DataFrame:
    """Methods x checks, means over the recordings checked, in the order of CHECKS, and `fails`: the limits that are
    broken."""
    import pandas as pd

    rows = [row for result in results for row in result.sanity]
    if not rows:
        return pd.DataFrame(columns=["recipe", *CHECKS, "fails"])
    frame = pd.DataFrame(rows)
    wide = frame.pivot_table(index="recipe", columns="check", values="value", sort=False)
    wide = wide.reindex(index=list(dict.fromkeys(frame["recipe"])), columns=list(CHECKS))
    fails = [", ".join(failed_checks({str(k): float(v) for k, v in row.items()})) for row in wide.to_dict("records")]
    return wide.assign(fails=fails).reset_index()
