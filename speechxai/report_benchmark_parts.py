"""What the leaderboard shows: tables as rows of text, with the numbers behind cells that are shaded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from speechxai.benchmark import MIN_AUC, TRUTH
from speechxai.benchmark_sanity import CHECKS, LIMITS
from speechxai.benchmark_tables import ALL_CUES, average_over_cues
from speechxai.metrics import LOCALIZATION_METRICS, METRICS
from speechxai.report_tables import arrow, group_of, is_control, number, short_name

if TYPE_CHECKING:
    import pandas as pd

    from speechxai.io.benchmark_runs import BenchmarkFolder

ALPHA = 0.05
FEWEST_SPEAKERS = 6
"""Fewer speakers allow no statement: an interval over them is wider than it looks."""
FIRST = "relevance_rank"
"""The localization metric that sentences are built on: it does not depend on how a map spreads its mass."""
COMBINATIONS = ("Unions", "Intersections", "Other combinations")
SHOWN = ("mean_mask", "comprehensiveness@10", "sufficiency@10", "deletion_auc", "insertion_auc", "average_increase", "average_drop", "average_gain", "faithfulness", "silence_share")  # fmt: skip


@dataclass(frozen=True)
class Line:
    """A row of a table: its name, its cells as text, which of them (by index) are the best of their column, and its group.

    `values` are the numbers behind the cells, NaN where a cell has none; empty in tables that are not shaded.
    """

    name: str
    cells: list[str]
    best: tuple[int, ...] = ()
    group: str = ""
    values: tuple[float, ...] = ()


@dataclass(frozen=True)
class Part:
    """A table with a title and what to know of it.

    `folded` tables are shown on demand where the format allows; `shading` is "share" (0 to 1), "correlation" (-1 to 1) or none.
    """

    title: str
    text: str
    header: list[str]
    rows: list[Line] = field(default_factory=list)
    folded: bool = False
    shading: str = ""


def parts(folder: BenchmarkFolder) -> list[Part]:
    """Build all tables of a finished benchmark, in the order of the report.

    Raises:
        SpeechXAIError: a table is missing.
    """
    summary, tasks = folder.table("summary"), folder.table("tasks")
    found = [_tasks(tasks)]
    if not summary.empty:
        for metric in LOCALIZATION_METRICS:
            found += [_board(summary, tasks, metric, combined) for combined in (False, True)]
        found.append(_chance(folder.table("chance")))
        believed = folder.table("believable")
        found += [
            _believable(believed, metric, kind) for metric in LOCALIZATION_METRICS for kind in ("within", "pooled")
        ]
    sanity = folder.table("sanity")
    if not sanity.empty:
        found.append(_sanity(sanity))
    groups = list(dict.fromkeys(summary["model"])) if not summary.empty else []
    return [*found, *(_group(summary, str(group)) for group in groups)]


def value_of(value: Any, n: int = 3) -> str:
    """Write a number with `n` digits, a dash for none."""
    return "–" if value is None or (isinstance(value, float) and math.isnan(value)) else number(float(value), n)


def with_interval(row: Mapping[Any, Any], name: str = "mean", n: int = 3) -> str:
    """Write the number `name` of a row with its interval."""
    if value_of(row[name]) == "–":
        return "–"
    low, high = (row[f"{name}_low" if name != "mean" else "low"], row[f"{name}_high" if name != "mean" else "high"])
    return f"{value_of(row[name], n)} [{value_of(low, n)}, {value_of(high, n)}]"


def _tasks(tasks: pd.DataFrame) -> Part:
    header = ["task", "verdict", "held-out AUC", "pairs", "speakers", "explained", "AUC of RMS", "AUC of peak", "permuted labels", "truth area", "contrast", "not carried"]  # fmt: skip
    rows = []
    groups = list(dict.fromkeys(tasks["group"]))
    for row in sorted(tasks.to_dict("records"), key=lambda row: groups.index(row["group"])):
        excluded = row["excluded"] if isinstance(row["excluded"], str) else ""
        cells = [f"excluded: {excluded}" if excluded else "counts", with_interval(row, "auc"), str(row["n_pairs"]), str(row["n_speakers"]),
                 str(row["n_explained"]), *(value_of(row[n]) for n in ("rms_auc", "peak_auc", "permuted_auc", "truth_area")),
                 value_of(row["truth_contrast"], 1), str(row["n_skipped"])]  # fmt: skip
        rows.append(Line(str(row["task"]), cells))
    text = (
        f"A classifier with a held-out AUC under {MIN_AUC:.2f} did not learn its task, and its explanations are not scored. AUC of RMS "
        "and of peak: what level alone would give, 0.5 is none. Permuted labels: AUC of a classifier trained on labels dealt out by "
        "chance. Not carried: pieces of recordings that the cue could not be planted into."
    )
    return Part("Tasks and what was learned", text, header, rows)


def _group_name(recipe: str) -> str:
    return "The truth itself" if recipe == TRUTH else group_of(recipe)


def _ordered(recipes: list[str]) -> list[str]:
    order = ["Methods", "Unions", "Intersections", "Other combinations", "Controls", "The truth itself"]
    return sorted(recipes, key=lambda recipe: order.index(_group_name(recipe)))


def seeds_that_count(tasks: pd.DataFrame) -> dict[str, int]:
    """Seeds whose classifier learned its task, by group."""
    counting = tasks[~tasks["excluded"].map(lambda reason: isinstance(reason, str) and bool(reason))]
    return {str(group): len(part) for group, part in counting.groupby("group", sort=False)}


def _board(summary: pd.DataFrame, tasks: pd.DataFrame, metric: str, combined: bool) -> Part:
    """Recipes x groups of one localization metric, the mean of the columns beside them; best first.

    Combinations have a table of their own, for they are many.
    """
    wide = average_over_cues(summary, metric).set_index("recipe")
    groups = [str(name) for name in wide.columns[:-1]]
    cell = {(row["recipe"], row["model"]): row for row in summary[summary["metric"] == metric].to_dict("records")}
    last = wide.columns[-1]
    names = [str(name) for name in wide.sort_values(last, ascending=False, kind="stable").index]
    names = [name for name in _ordered(names) if (_group_name(name) in COMBINATIONS) is combined]
    compared = [name for name in names if not is_control(name) and name != TRUTH]
    rows = []
    for name in names:
        cells = [with_interval(cell[name, group]) if (name, group) in cell else "–" for group in groups]
        values = tuple(wide.loc[name].to_numpy(dtype=float).tolist())
        marked = tuple(
            index for index, group in enumerate(wide.columns) if name in compared and values[index] >= wide.loc[compared, group].max()
        )  # fmt: skip
        rows.append(Line(name, [*cells, value_of(values[-1])], marked, _group_name(name), values))
    seeds = seeds_that_count(tasks)
    text = (
        f"{METRICS.summary(metric)} Mean over speakers and 95 % interval by bootstrap over speakers; the best of a column is marked. "
        "The last column is the mean of the columns before it, orders the rows, and says nothing without them. "
        f"Seeds that count: {'; '.join(f'{group}: {seeds.get(group, 0)}' for group in groups)}."
    )
    title = f"Combinations: {metric}" if combined else f"Leaderboard: {metric}"
    return Part(title, text, ["explanation", *groups, "mean of the columns"], rows, folded=combined, shading="share")


def _chance(chance: pd.DataFrame) -> Part:
    rows = [
        Line(str(r["metric"]), [value_of(r["expected"]), f"{value_of(r['random_map'])} [{value_of(r['random_low'])}, {value_of(r['random_high'])}]", value_of(r["truth_lowest"])], group=str(r["model"]))
        for r in chance.to_dict("records")
    ]  # fmt: skip
    text = (
        "random_map must score the truth's share of the bins (one half for localization_auc), and the truth itself 1."
    )
    header = ["metric", "expected of random_map", "random_map", "lowest of the truth"]
    return Part("Is the ruler straight?", text, header, rows)


def _believable(believed: pd.DataFrame, truth_metric: str, kind: str) -> Part:
    """Faithfulness metrics x groups: rank correlations "within" recordings, all groups together last, or "pooled"."""
    used = believed[believed["truth_metric"] == truth_metric]
    groups = [group for group in dict.fromkeys(used["model"]) if kind == "within" or group != ALL_CUES]
    cell = {(row["metric"], row["model"]): row for row in used.to_dict("records")}
    rows = []
    for metric in dict.fromkeys(used["metric"]):
        cells = [with_interval(cell[metric, group], kind, 2) for group in groups]
        values = tuple(float(cell[metric, group][kind]) for group in groups)
        rows.append(Line(f"{metric} {arrow(str(metric))}".strip(), cells, values=values))
    how = {
        "within": "Over the methods of one recording, then mean over recordings and speakers.",
        "pooled": "Over all pairs of method and recording.",
    }
    text = (
        f"Spearman correlation with {truth_metric}, over methods and controls (no combinations); metrics where lower is better with their "
        f"sign turned, so positive means that better faithfulness goes with pointing at the truth. {how[kind]} 95 % intervals over speakers; "
        "a dash where a metric gives all methods the same value."
    )
    title = f"Which faithfulness metric to believe: {truth_metric}{', pooled' if kind == 'pooled' else ''}"
    return Part(title, text, ["faithfulness metric", *groups], rows, folded=kind == "pooled", shading="correlation")


def _sanity(sanity: pd.DataFrame) -> Part:
    rows = [
        Line(str(row["recipe"]), [row["fails"] if isinstance(row["fails"], str) and row["fails"] else "none", *(value_of(row[check], 2) for check in CHECKS)], group="Controls" if is_control(str(row["recipe"])) else "Methods")
        for row in sanity.to_dict("records")
    ]  # fmt: skip
    limits = "; ".join(f"{name} {side} {limit}" for name, (side, limit) in LIMITS.items())
    text = (
        f"Means over the recordings checked. A method fails with {limits}: such a method is broken, and one that does not fail may still be "
        f"poor. What is measured: {'; '.join(f'{name}: {what}' for name, what in CHECKS.items())}."
    )
    header = ["explanation", "fails", *(name.replace("_", " ") for name in CHECKS)]
    return Part("Sanity checks", text, header, rows)


def _group(summary: pd.DataFrame, group: str) -> Part:
    part = summary[summary["model"] == group]
    metrics = [m for m in (*LOCALIZATION_METRICS, *SHOWN) if m in set(part["metric"])]
    cell = {(row["recipe"], row["metric"]): row for row in part.to_dict("records")}
    recipes = _ordered([str(recipe) for recipe in dict.fromkeys(part["recipe"])])
    rows = [
        Line(recipe, [with_interval(cell[recipe, m]) if (recipe, m) in cell else "–" for m in metrics], group=_group_name(recipe))
        for recipe in recipes
    ]  # fmt: skip
    text = (
        "Mean over speakers and 95 % interval; all values are fractions. Compare maps by the @ columns: equal budgets."
    )
    header = ["explanation", *(f"{short_name(m)} {arrow(m)}".strip() for m in metrics)]
    return Part(f"All metrics: {group}", text, header, rows, folded=True)
