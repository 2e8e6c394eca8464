"""What the Benchmark page reads from a run's summary: leaderboard, differences to controls, an answer in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from app.charts import Row
from speechxai import METRICS
from speechxai.explain.recipe import CONTROLS
from speechxai.inspection.words import TRUTH, recipe_words

FIRST = (
    "comprehensiveness@20",
    "comprehensiveness@10",
    "sufficiency@20",
    "deletion_auc",
    "insertion_auc",
    "faithfulness",
)
LOCALIZATION = ("relevance_mass", "relevance_rank", "pointing_game", "localization_auc")
FEW_SPEAKERS = 12
"""With fewer, a sign-flip test corrected for many comparisons cannot reach 5 %."""

SANITY = ("seed_stability", "model_randomization", "max_sensitivity")


def groups(summary: pd.DataFrame) -> list[str]:
    """What is compared apart: the models of a run, or the cues of a benchmark with a known truth."""
    return list(dict.fromkeys(summary["model"].astype(str)))


def of_group(summary: pd.DataFrame, group: str) -> pd.DataFrame:
    """Rows of one group. The truth itself is no method: it only shows that the ruler is straight."""
    return summary[(summary["model"].astype(str) == group) & (summary["recipe"] != TRUTH)]


def metrics_of(summary: pd.DataFrame) -> list[str]:
    """Metrics of a summary, the ones to compare methods by first."""
    present = list(dict.fromkeys(summary["metric"].astype(str)))
    return [m for m in FIRST if m in present] + [m for m in present if m not in FIRST and m != "mean_mask"]


def metric_words(metric: str) -> str:
    """A metric as people read it."""
    name, _, share = metric.replace("_", " ").replace("auc", "AUC").partition("@")
    return f"{name}, strongest {share}\u00a0%" if share else name


def metric_question(metric: str) -> str:
    """What a metric asks, and which way is good."""
    if metric not in METRICS:
        return ""
    way = {"high": "Higher is better.", "low": "Lower is better."}.get(
        METRICS.facts(metric)["best"], "Neither way is better."
    )
    return f"{METRICS.summary(metric)} {way}"


def best_is_low(metric: str) -> bool:
    """Whether small values are good."""
    return metric in METRICS and METRICS.facts(metric)["best"] == "low"


def is_localization(metric: str) -> bool:
    """Whether a metric compares with a planted truth."""
    return metric.startswith(LOCALIZATION)


def is_sanity(metric: str) -> bool:
    """Whether a metric checks the method itself."""
    return metric.startswith(SANITY)


def leaderboard(summary: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Rows of one metric, best first."""
    rows = summary[summary["metric"] == metric]
    return rows.sort_values("mean", ascending=best_is_low(metric), kind="stable", na_position="last").reset_index(
        drop=True
    )


def rows(board: pd.DataFrame) -> list[Row]:
    """Lines of the interval chart; controls are muted."""
    return [
        Row(recipe_words(str(r.recipe)), float(r.mean), float(r.low), float(r.high), str(r.recipe) in CONTROLS)
        for r in board.itertuples()
    ][:24]


def against_controls(board: pd.DataFrame) -> list[dict[str, Any]]:
    """Difference of every method to every control, in words and numbers."""
    controls = [c for c in CONTROLS if f"vs_{c}" in board.columns]
    found = []
    for _, row in board.iterrows():
        if str(row["recipe"]) in CONTROLS:
            continue
        line: dict[str, Any] = {"map": recipe_words(str(row["recipe"]))}
        for control in controls:
            name = f"vs_{control}"
            value, low, high, p = (row.get(f"{name}{end}", np.nan) for end in ("", "_low", "_high", "_p"))
            line[f"minus {control.replace('_', ' ')}"] = (
                "" if pd.isna(value) else f"{value:+.3f} ({low:+.3f} to {high:+.3f})"
            )
            line[f"p, {control.replace('_map', '')}"] = "" if pd.isna(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"
        found.append(line)
    return found if controls else []


def beats(row: Mapping[str, Any], control: str, low_is_best: bool) -> bool | None:
    """Whether a method is better than a control beyond chance (interval and corrected p); None where not compared."""
    low, high, p = (row.get(f"vs_{control}{end}") for end in ("_low", "_high", "_p"))
    if low is None or pd.isna(low) or p is None or pd.isna(p):
        return None
    return bool(p < 0.05 and (high < 0 if low_is_best else low > 0))


def verdict(board: pd.DataFrame, metric: str) -> str:
    """The page's answer: which methods beat every control, which do not."""
    controls = [c for c in CONTROLS if f"vs_{c}" in board.columns]
    methods = [row for _, row in board.iterrows() if str(row["recipe"]) not in CONTROLS]
    if not methods:
        return "This run holds no method beside the controls."
    if not controls:
        return (
            f"Best by {metric_words(metric)}: {recipe_words(str(methods[0]['recipe']))}. Without controls in the run,"
            " nobody can say whether that is more than chance."
        )
    good = [r for r in methods if all(beats(r, c, best_is_low(metric)) for c in controls)]
    n = int(methods[0]["n_speakers"]) if "n_speakers" in board.columns else 0
    over = f" over {n} speakers" if n else ""
    names = ", ".join(c.replace("_", " ") for c in controls)
    few = f" But {n} speakers can hardly prove any difference: take more." if 0 < n < FEW_SPEAKERS else ""
    if not good:
        return (
            f"By {metric_words(metric)}{over}, no method is better than all maps that know nothing of the model"
            f" ({names}). Read none of these maps as the model's reason.{few}"
        )
    best = ", ".join(recipe_words(str(r["recipe"])) for r in good[:4])
    rest = len(methods) - len(good)
    return (
        f"By {metric_words(metric)}{over}, {len(good)} of {len(methods)} methods are better than every map that knows"
        f" nothing of the model ({names}): {best}{' and others' if len(good) > 4 else ''}."
        + (f" The other {rest} {'is' if rest == 1 else 'are'} not." if rest else "")
    )


def side_by_side(summary: pd.DataFrame, metrics: Sequence[str]) -> list[dict[str, Any]]:
    """One line a map, one column a metric: mean and 95 % interval."""
    part = summary[summary["metric"].isin(list(metrics))]
    found = []
    for recipe, group in part.groupby("recipe", sort=False):
        line: dict[str, Any] = {"map": recipe_words(str(recipe))}
        for metric in metrics:
            row = group[group["metric"] == metric]
            line[metric_words(metric)] = (
                ""
                if row.empty or pd.isna(row["mean"].iloc[0])
                else f"{row['mean'].iloc[0]:.3f} ({row['low'].iloc[0]:.3f} to {row['high'].iloc[0]:.3f})"
            )
        found.append(line)
    return found
