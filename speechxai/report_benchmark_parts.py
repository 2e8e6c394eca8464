"""What the leaderboard shows: tables as rows of text, and the sentences that follow from their numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from speechxai.benchmark import MIN_AUC, TRUTH
from speechxai.benchmark_sanity import CHECKS
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
SHOWN = ("mean_mask", "comprehensiveness@10", "sufficiency@10", "deletion_auc", "insertion_auc", "average_increase", "average_drop", "average_gain", "faithfulness", "silence_share")  # fmt: skip


@dataclass(frozen=True)
class Line:
    """A row of a table: its name, its cells as text, which of them are the best of their column, and its group."""

    name: str
    cells: list[str]
    best: tuple[str, ...] = ()
    group: str = ""


@dataclass(frozen=True)
class Part:
    """A table with a title and what to know of it. `folded` tables are shown on demand where the format allows."""

    title: str
    text: str
    header: list[str]
    rows: list[Line] = field(default_factory=list)
    folded: bool = False


def parts(folder: BenchmarkFolder) -> list[Part]:
    """Build all tables of a finished benchmark, in the order of the report.

    Raises:
        SpeechXAIError: a table is missing.
    """
    summary, tasks = folder.table("summary"), folder.table("tasks")
    found = [_tasks(tasks)]
    if not summary.empty:
        found += [_board(summary, metric) for metric in LOCALIZATION_METRICS]
        found.append(_chance(folder.table("chance")))
        believed = folder.table("believable")
        found += [_believable(believed, metric) for metric in LOCALIZATION_METRICS]
    sanity = folder.table("sanity")
    if not sanity.empty:
        found.append(_sanity(sanity))
    groups = list(dict.fromkeys(summary["model"])) if not summary.empty else []
    return [*found, *(_group(summary, str(group)) for group in groups)]


def _value(value: Any, n: int = 3) -> str:
    return "–" if value is None or (isinstance(value, float) and math.isnan(value)) else number(float(value), n)


def _with_interval(row: Mapping[Any, Any], name: str = "mean", n: int = 3) -> str:
    low, high = (row[f"{name}_low" if name != "mean" else "low"], row[f"{name}_high" if name != "mean" else "high"])
    return f"{_value(row[name], n)} [{_value(low, n)}, {_value(high, n)}]"


def _tasks(tasks: pd.DataFrame) -> Part:
    header = ["task", "pairs", "speakers", "held-out AUC", "AUC of RMS", "AUC of peak", "permuted labels", "explained", "truth area", "contrast", "not carried", "verdict"]  # fmt: skip
    rows = []
    for row in tasks.to_dict("records"):
        excluded = row["excluded"] if isinstance(row["excluded"], str) else ""
        area = "–" if _value(row["auc"]) == "–" else _with_interval(row, "auc")
        cells = [str(row["n_pairs"]), str(row["n_speakers"]), area, *(_value(row[n]) for n in ("rms_auc", "peak_auc", "permuted_auc")),
                 str(row["n_explained"]), _value(row["truth_area"]), _value(row["truth_contrast"], 1), str(row["n_skipped"]),
                 f"excluded: {excluded}" if excluded else "counts"]  # fmt: skip
        rows.append(Line(str(row["task"]), cells, group=str(row["group"])))
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


def _board(summary: pd.DataFrame, metric: str) -> Part:
    """Recipes x groups of one localization metric, with the mean of the columns beside them."""
    wide = average_over_cues(summary, metric).set_index("recipe")
    groups = [str(name) for name in wide.columns[:-1]]
    cell = {(row["recipe"], row["model"]): row for row in summary[summary["metric"] == metric].to_dict("records")}
    names = _ordered([str(recipe) for recipe in wide.index])
    best = {}
    for group in wide.columns:
        own = wide.loc[[name for name in names if not is_control(name) and name != TRUTH], group].dropna()
        best[group] = None if own.empty else own.idxmax()
    rows = []
    for name in names:
        cells = [_with_interval(cell[name, group]) if (name, group) in cell else "–" for group in groups]
        cells.append(_value(wide.loc[name].iloc[-1]))
        marked = tuple(cells[index] for index, group in enumerate(wide.columns) if best[group] == name)
        rows.append(Line(name, cells, marked, _group_name(name)))
    text = (
        f"{METRICS.summary(metric)} Mean over speakers and 95 % interval by bootstrap over speakers; the best explanation of a column is "
        "marked. The last column is the mean of the columns before it and says nothing without them."
    )
    return Part(f"Leaderboard: {metric}", text, ["explanation", *groups, "mean of the columns"], rows)


def _chance(chance: pd.DataFrame) -> Part:
    rows = [
        Line(str(r["metric"]), [_value(r["expected"]), f"{_value(r['random_map'])} [{_value(r['random_low'])}, {_value(r['random_high'])}]", _value(r["truth_lowest"])], group=str(r["model"]))
        for r in chance.to_dict("records")
    ]  # fmt: skip
    text = (
        "random_map must score the truth's share of the bins (one half for localization_auc), and the truth itself 1."
    )
    header = ["metric", "expected of random_map", "random_map", "lowest of the truth"]
    return Part("Is the ruler straight?", text, header, rows)


def _believable(believed: pd.DataFrame, truth_metric: str) -> Part:
    used = believed[believed["truth_metric"] == truth_metric]
    groups = list(dict.fromkeys(used["model"]))
    cell = {(row["metric"], row["model"]): row for row in used.to_dict("records")}
    metrics = [str(metric) for metric in dict.fromkeys(used["metric"])]
    rows = []
    for metric in metrics:
        cells = []
        for group in groups:
            row = cell[metric, group]
            cells.append(_with_interval(row, "within", 2))
            if group != ALL_CUES:
                cells.append(_with_interval(row, "pooled", 2))
        rows.append(Line(f"{short_name(metric)} {arrow(metric)}".strip(), cells))
    header = ["faithfulness metric"]
    for group in groups:
        header += [f"{group}: within a recording"] if group == ALL_CUES else [f"{group}: within a recording", "pooled"]
    text = (
        f"Spearman correlation with {truth_metric}, over methods and controls (no combinations); metrics where lower is better with their "
        "sign turned, so positive means that better faithfulness goes with pointing at the truth. Within a recording: over the methods, "
        "then mean over recordings and speakers. Pooled: over all pairs of method and recording. 95 % intervals over speakers."
    )
    return Part(f"Which faithfulness metric to believe: {truth_metric}", text, header, rows)


def _sanity(sanity: pd.DataFrame) -> Part:
    rows = [
        Line(str(row["recipe"]), [*(_value(row[check], 2) for check in CHECKS), row["fails"] if isinstance(row["fails"], str) and row["fails"] else "none"], group="Controls" if is_control(str(row["recipe"])) else "Methods")
        for row in sanity.to_dict("records")
    ]  # fmt: skip
    text = "Means over the recordings checked. " + "; ".join(f"{name}: {what}" for name, what in CHECKS.items()) + "."
    return Part("Sanity checks", text, ["explanation", *CHECKS, "fails"], rows)


def _group(summary: pd.DataFrame, group: str) -> Part:
    part = summary[summary["model"] == group]
    metrics = [m for m in (*LOCALIZATION_METRICS, *SHOWN) if m in set(part["metric"])]
    cell = {(row["recipe"], row["metric"]): row for row in part.to_dict("records")}
    recipes = _ordered([str(recipe) for recipe in dict.fromkeys(part["recipe"])])
    rows = [
        Line(recipe, [_with_interval(cell[recipe, m]) if (recipe, m) in cell else "–" for m in metrics], group=_group_name(recipe))
        for recipe in recipes
    ]  # fmt: skip
    text = (
        "Mean over speakers and 95 % interval; all values are fractions. Compare maps by the @ columns: equal budgets."
    )
    header = ["explanation", *(f"{short_name(m)} {arrow(m)}".strip() for m in metrics)]
    return Part(f"All metrics: {group}", text, header, rows, folded=True)


def findings(folder: BenchmarkFolder) -> list[str]:
    """Write the sentences that follow from the tables: what counts, who points at the truth, which metric to believe, who fails."""
    tasks, summary = folder.table("tasks"), folder.table("summary")
    excluded = tasks[tasks["excluded"].map(lambda reason: isinstance(reason, str) and bool(reason))]
    said = [f"{len(tasks) - len(excluded)} of {len(tasks)} tasks count."]
    if len(excluded):
        said[0] += (
            " Excluded: " + "; ".join(f"{row['task']} ({row['excluded']})" for row in excluded.to_dict("records")) + "."
        )
    if summary.empty:
        return [*said, "No classifier learned its task, so no explanation is scored."]
    for group in dict.fromkeys(summary["model"]):
        said.append(_who_points(summary[(summary["model"] == group) & (summary["metric"] == FIRST)], str(group)))
    said += _which_metric(folder.table("believable"))
    sanity = folder.table("sanity")
    failing = [row for row in sanity.to_dict("records") if isinstance(row["fails"], str) and row["fails"]]
    for words, control in (("Methods that fail sanity checks", False), ("Controls fail them as they must", True)):
        named = [f"{row['recipe']} ({row['fails']})" for row in failing if is_control(str(row["recipe"])) is control]
        if named or not (control or sanity.empty):
            said.append(f"{words}: {'; '.join(named) or 'none'}.")
    return said


def _who_points(part: pd.DataFrame, group: str) -> str:
    methods = part[~part["recipe"].map(lambda recipe: is_control(recipe) or recipe == TRUTH)].dropna(subset=["mean"])
    best = methods.sort_values("mean").iloc[-1]
    if int(best["n_speakers"]) < FEWEST_SPEAKERS:
        return f"{group}: {int(best['n_speakers'])} speakers explained; at least {FEWEST_SPEAKERS} are needed for a statement."
    controls = part[part["recipe"].map(is_control)].dropna(subset=["mean"])
    control = controls.sort_values("mean").iloc[-1]
    beats = methods[(methods["vs_energy_map_low"] > 0) & (methods["vs_energy_map_p"] < ALPHA) & (methods["vs_random_map_p"] < ALPHA) & (methods["vs_random_map_low"] > 0)]  # fmt: skip
    return (
        f"{group}: best by {FIRST} is {best['recipe']}, {_with_interval(dict(best))} over {int(best['n_speakers'])} speakers; the best control, "
        f"{control['recipe']}, scores {_with_interval(dict(control))}. {len(beats)} of {len(methods)} explanations point better than "
        "random_map and energy_map (Holm-corrected)."
    )


def _which_metric(believed: pd.DataFrame) -> list[str]:
    used = believed[believed["truth_metric"] == FIRST]
    models = list(dict.fromkeys(used["model"]))
    chosen = used[used["model"] == (ALL_CUES if ALL_CUES in models else models[0])].dropna(subset=["within"])
    chosen = chosen[chosen["n_speakers"] >= FEWEST_SPEAKERS]
    if chosen.empty:
        return []
    ordered = chosen.sort_values("within", ascending=False)
    first, last = ordered.iloc[0], ordered.iloc[-1]
    cues = [model for model in models if model != ALL_CUES]
    spread = used[(used["metric"] == first["metric"]) & used["model"].isin(cues)]["within"]
    misleading = chosen[chosen["within_high"] < 0]["metric"].tolist()
    lines = [
        f"Of the faithfulness metrics {first['metric']} goes best with {FIRST}: mean rank correlation over methods "
        f"{_with_interval(dict(first), 'within', 2)}, from {_value(spread.min(), 2)} to {_value(spread.max(), 2)} over the cues; worst is "
        f"{last['metric']}: {_with_interval(dict(last), 'within', 2)}."
    ]
    if misleading:
        lines.append("Metrics that prefer maps pointing elsewhere (interval below 0): " + ", ".join(misleading) + ".")
    return lines
