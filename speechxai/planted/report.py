"""The leaderboard of a benchmark as HTML, Markdown and LaTeX: the same tables, rendered three ways."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechxai.errors import SpeechXAIError, did_you_mean
from speechxai.explain.recipe import CONTROLS
from speechxai.files import naming_folder, read_text, write_atomically
from speechxai.metrics import LOCALIZATION_METRICS, METRICS
from speechxai.planted.settings import MIN_AUC, SPECIFICATION, TRUTH
from speechxai.planted.tables import ALL_CUES, average_over_cues
from speechxai.planted.task import CHECKS, LIMITS
from speechxai.report.render import (
    LATEX_NEEDS,
    Cell,
    Finding,
    Row,
    Table,
    arrow,
    group_of,
    is_control,
    latex,
    listing,
    markdown,
    number,
    page,
    short_name,
    with_span,
)
from speechxai.stats import compared

if TYPE_CHECKING:
    import pandas as pd

    from speechxai.planted.folder import BenchmarkFolder


# What the leaderboard shows: tables as rows of text, with the numbers behind cells that are shaded.
FEWEST_SPEAKERS = 6
"""Fewer speakers allow no statement: an interval over them is wider than it looks."""
FIRST = "relevance_rank"
"""The localization metric that sentences are built on: it does not depend on how a map spreads its mass."""
COMBINATIONS = ("Unions", "Intersections", "Other combinations")
SHOWN = (
    "mean_mask",
    "comprehensiveness@10",
    "sufficiency@10",
    "deletion_auc",
    "insertion_auc",
    "average_increase",
    "average_drop",
    "average_gain",
    "faithfulness",
    "silence_share",
)


def tables(folder: BenchmarkFolder) -> list[Table]:
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


def with_interval(row: Mapping[Any, Any], name: str = "mean", n: int = 3) -> str:
    """Write the number `name` of a row with its interval."""
    low, high = (row[f"{name}_low" if name != "mean" else "low"], row[f"{name}_high" if name != "mean" else "high"])
    mean, low, high = (math.nan if value is None else float(value) for value in (row[name], low, high))
    return with_span(mean, low, high, n)


def _row(
    name: str,
    texts: Sequence[str],
    group: str = "",
    *,
    best: Collection[int] = (),
    values: Sequence[float] = (),
    words: bool = False,
) -> Row:
    """A row of texts: which of them (by index) are the best of their column, the numbers that shade them, and whether
    the
    first is a sentence."""
    cells = (
        Cell(text, "", "best" if i in best else "", values[i] if values else math.nan, words and i == 0)
        for i, text in enumerate(texts)
    )
    return Row(name, tuple(cells), group)


def _tasks(tasks: pd.DataFrame) -> Table:
    header = [
        "task",
        "verdict",
        "held-out AUC",
        "pairs",
        "speakers",
        "explained",
        "AUC of RMS",
        "AUC of peak",
        "permuted labels",
        "truth area",
        "contrast",
        "not carried",
    ]
    rows = []
    groups = list(dict.fromkeys(tasks["group"]))
    for row in sorted(tasks.to_dict("records"), key=lambda row: groups.index(row["group"])):
        excluded = row["excluded"] if isinstance(row["excluded"], str) else ""
        cells = [
            f"excluded: {excluded}" if excluded else "counts",
            with_interval(row, "auc"),
            str(row["n_pairs"]),
            str(row["n_speakers"]),
            str(row["n_explained"]),
            *(number(row[n]) for n in ("rms_auc", "peak_auc", "permuted_auc", "truth_area")),
            number(row["truth_contrast"], 1),
            str(row["n_skipped"]),
        ]
        rows.append(_row(str(row["task"]), cells, words=True))
    text = (
        f"A classifier with a held-out AUC under {MIN_AUC:.2f} did not learn its task, and its explanations are not"
        " scored. AUC of RMS and of peak: what level alone would give, 0.5 is none. Permuted labels: AUC of a"
        " classifier trained on labels dealt out by chance. Not carried: pieces of recordings that the cue could not"
        " be planted into."
    )
    return Table("Tasks and what was learned", tuple(header), tuple(rows), text)


def _group_name(recipe: str) -> str:
    return "The truth itself" if recipe == TRUTH else group_of(recipe)


def _ordered(recipes: list[str]) -> list[str]:
    order = ["Methods", "Unions", "Intersections", "Other combinations", "Controls", "The truth itself"]
    return sorted(recipes, key=lambda recipe: order.index(_group_name(recipe)))


def seeds_that_count(tasks: pd.DataFrame) -> dict[str, int]:
    """Seeds whose classifier learned its task, by group."""
    counting = tasks[~tasks["excluded"].map(lambda reason: isinstance(reason, str) and bool(reason))]
    return {str(group): len(part) for group, part in counting.groupby("group", sort=False)}


def _board(summary: pd.DataFrame, tasks: pd.DataFrame, metric: str, combined: bool) -> Table:
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
            index
            for index, group in enumerate(wide.columns)
            if name in compared and values[index] >= wide.loc[compared, group].max()
        )
        texts = [*cells, number(values[-1])]
        rows.append(_row(name, texts, _group_name(name), best=marked, values=values))
    seeds = seeds_that_count(tasks)
    text = (
        f"{METRICS.summary(metric)} Mean over speakers and 95 % interval by bootstrap over speakers; the best of a"
        " column is marked. The last column is the mean of the columns before it, orders the rows, and says nothing"
        f" without them. Seeds that count: {'; '.join(f'{group}: {seeds.get(group, 0)}' for group in groups)}."
    )
    title = f"Combinations: {metric}" if combined else f"Leaderboard: {metric}"
    columns = ("explanation", *groups, "mean of the columns")
    return Table(title, columns, tuple(rows), text, folded=combined, shading="share")


def _chance(chance: pd.DataFrame) -> Table:
    rows = [
        _row(
            str(r["metric"]),
            [
                number(r["expected"]),
                f"{number(r['random_map'])} [{number(r['random_low'])}, {number(r['random_high'])}]",
                number(r["truth_lowest"]),
            ],
            str(r["model"]),
        )
        for r in chance.to_dict("records")
    ]
    text = (
        "random_map must score the truth's share of the bins (one half for localization_auc), and the truth itself 1."
    )
    header = ["metric", "expected of random_map", "random_map", "lowest of the truth"]
    return Table("Is the ruler straight?", tuple(header), tuple(rows), text)


def _believable(believed: pd.DataFrame, truth_metric: str, kind: str) -> Table:
    """Faithfulness metrics x groups: rank correlations "within" recordings, all groups together last, or "pooled"."""
    used = believed[believed["truth_metric"] == truth_metric]
    groups = [group for group in dict.fromkeys(used["model"]) if kind == "within" or group != ALL_CUES]
    cell = {(row["metric"], row["model"]): row for row in used.to_dict("records")}
    rows = []
    for metric in dict.fromkeys(used["metric"]):
        cells = [with_interval(cell[metric, group], kind, 2) for group in groups]
        values = tuple(float(cell[metric, group][kind]) for group in groups)
        rows.append(_row(f"{metric} {arrow(str(metric))}".strip(), cells, values=values))
    how = {
        "within": "Over the methods of one recording, then mean over recordings and speakers.",
        "pooled": "Over all pairs of method and recording.",
    }
    text = (
        f"Spearman correlation with {truth_metric}, over methods and controls (no combinations); metrics where lower is"
        " better with their sign turned, so positive means that better faithfulness goes with pointing at the truth."
        f" {how[kind]} 95 % intervals over speakers; a dash where a metric gives all methods the same value."
    )
    title = f"Which faithfulness metric to believe: {truth_metric}{', pooled' if kind == 'pooled' else ''}"
    columns = ("faithfulness metric", *groups)
    return Table(title, columns, tuple(rows), text, folded=kind == "pooled", shading="correlation")


def _sanity(sanity: pd.DataFrame) -> Table:
    rows = [
        _row(
            str(row["recipe"]),
            [
                row["fails"] if isinstance(row["fails"], str) and row["fails"] else "none",
                *(number(row[check], 2) for check in CHECKS),
            ],
            "Controls" if is_control(str(row["recipe"])) else "Methods",
            words=True,
        )
        for row in sanity.to_dict("records")
    ]
    limits = "; ".join(f"{name} {side} {limit}" for name, (side, limit) in LIMITS.items())
    text = (
        f"Means over the recordings checked. A method fails with {limits}: such a method is broken, and one that does"
        " not fail may still be poor. What is measured:"
        f" {'; '.join(f'{name}: {what}' for name, what in CHECKS.items())}."
    )
    header = ["explanation", "fails", *(name.replace("_", " ") for name in CHECKS)]
    return Table("Sanity checks", tuple(header), tuple(rows), text)


def _group(summary: pd.DataFrame, group: str) -> Table:
    part = summary[summary["model"] == group]
    metrics = [m for m in (*LOCALIZATION_METRICS, *SHOWN) if m in set(part["metric"])]
    cell = {(row["recipe"], row["metric"]): row for row in part.to_dict("records")}
    recipes = _ordered([str(recipe) for recipe in dict.fromkeys(part["recipe"])])
    rows = [
        _row(
            recipe,
            [with_interval(cell[recipe, m]) if (recipe, m) in cell else "–" for m in metrics],
            _group_name(recipe),
        )
        for recipe in recipes
    ]
    text = (
        "Mean over speakers and 95 % interval; all values are fractions. Compare maps by the @ columns: equal budgets."
    )
    header = ["explanation", *(f"{short_name(m)} {arrow(m)}".strip() for m in metrics)]
    return Table(f"All metrics: {group}", tuple(header), tuple(rows), text, folded=True)


# The sentences of the leaderboard, each computed from its tables.
def findings(folder: BenchmarkFolder) -> list[Finding]:
    """The sentences of the leaderboard, each computed from its tables."""
    return [Finding(text) for text in _sentences(folder)]


def _sentences(folder: BenchmarkFolder) -> list[str]:
    """Write the sentences that follow from the tables: what counts, who points at the truth, which metric to believe,
    who fails."""
    tasks, summary = folder.table("tasks"), folder.table("summary")
    excluded = tasks[tasks["excluded"].map(lambda reason: isinstance(reason, str) and bool(reason))]
    said = [f"{len(tasks) - len(excluded)} of {len(tasks)} tasks count."]
    status = folder.status()
    if status.n_done < status.n_units:
        said.insert(
            0,
            f"Not finished: {status.n_done} of {status.n_units} tasks are done, and every number rests on them alone.",
        )
    if len(excluded):
        said[-1] += (
            " Excluded: " + "; ".join(f"{row['task']} ({row['excluded']})" for row in excluded.to_dict("records")) + "."
        )
    if summary.empty:
        return [*said, "No classifier learned its task, so no explanation is scored."]
    seeds, n_planned = seeds_that_count(tasks), len(folder.settings.seeds)
    for group in dict.fromkeys(summary["model"]):
        part = summary[(summary["model"] == group) & (summary["metric"] == FIRST)]
        said.append(_who_points(part, f"{group} ({seeds[str(group)]} of {n_planned} seeds)"))
    said += _combinations(summary[summary["metric"] == FIRST])
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
        return (
            f"{group}: {int(best['n_speakers'])} speakers explained; at least {FEWEST_SPEAKERS} are needed for a"
            " statement."
        )
    controls = part[part["recipe"].map(is_control)].dropna(subset=["mean"])
    control = controls.sort_values("mean").iloc[-1]
    pairs = {name: each for name, each in compared(part).items() if name in set(methods["recipe"])}
    better = [name for name, each in pairs.items() if all(one.better for one in each.values())]
    names = listing([name for name in CONTROLS if f"vs_{name}_p" in part])
    said = (
        f"{len(better)} of {len(methods)} explanations point better than {names} (Holm-corrected)."
        if any(one.decidable for each in pairs.values() for one in each.values())
        else f"Not enough speakers to test {len(methods)} explanations against {names}."
    )
    return (
        f"{group}: best by {FIRST} is {best['recipe']}, {with_interval(dict(best))} over {int(best['n_speakers'])}"
        f" speakers; the best control, {control['recipe']}, scores {with_interval(dict(control))}. {said}"
    )


def _combinations(part: pd.DataFrame) -> list[str]:
    """Compare every union and intersection with the better of its parts, cue by cue."""
    from speechxai.explain.recipe import parse

    value = {(row["recipe"], row["model"]): float(row["mean"]) for row in part.to_dict("records")}
    found: dict[str, list[float]] = {}
    for recipe, group in value:
        if recipe == TRUTH or is_control(recipe):
            continue
        parsed = parse(recipe)
        alone = [value.get((each.name, group), float("nan")) for each in parsed.parts]
        if alone:
            found.setdefault(parsed.name, []).append(value[recipe, group] - max(alone))
    return [
        f"Of {len(gains)} cases of {name} and cue {sum(gain > 0 for gain in gains)} score above the better of their"
        f" parts by {FIRST}; the mean difference is {number(sum(gains) / len(gains))}."
        for name, gains in ((name, [gain for gain in gains if gain == gain]) for name, gains in found.items())
        if gains
    ]


def _which_metric(believed: pd.DataFrame) -> list[str]:
    used = believed[believed["truth_metric"] == FIRST]
    models = list(dict.fromkeys(used["model"]))
    chosen = used[used["model"] == (ALL_CUES if ALL_CUES in models else models[0])].dropna(subset=["within"])
    chosen = chosen[chosen["n_speakers"] >= FEWEST_SPEAKERS]
    if chosen.empty:
        return []
    # A metric that gives all methods of a recording one value ranks nothing there; few recordings are no base for a
    # comparison.
    rare = chosen["n_speakers"] < chosen["n_speakers"].max() / 2
    silent, chosen = chosen[rare], chosen[~rare]
    ordered = chosen.sort_values("within", ascending=False)
    first, last = ordered.iloc[0], ordered.iloc[-1]
    cues = [model for model in models if model != ALL_CUES]
    spread = used[(used["metric"] == first["metric"]) & used["model"].isin(cues)]["within"]
    misleading = chosen[chosen["within_high"] < 0]["metric"].tolist()
    lines = [
        f"Of the faithfulness metrics {first['metric']} goes best with {FIRST}: mean rank correlation over methods"
        f" {with_interval(dict(first), 'within', 2)}, from {number(spread.min(), 2)} to {number(spread.max(), 2)}"
        f" over the cues; worst is {last['metric']}: {with_interval(dict(last), 'within', 2)}."
    ]
    if len(silent):
        named = ", ".join(f"{row['metric']} ({row['n_speakers']})" for row in silent.to_dict("records"))
        lines.append(
            "Metrics that give all methods the same value for most speakers and are not compared (speakers they are"
            f" defined for, of {chosen['n_speakers'].max()}): {named}."
        )
    if misleading:
        lines.append("Metrics that prefer maps pointing elsewhere (interval below 0): " + ", ".join(misleading) + ".")
    return lines


# The leaderboard of a benchmark as HTML, Markdown and LaTeX: the same tables, rendered three ways.
FORMATS = ("html", "markdown", "latex")


def write_reports(folder: BenchmarkFolder) -> Path:
    """Write `report.html`, `leaderboard.md` and `leaderboard.tex` into a benchmark's folder; returns the path of the
    first.

    Raises:
        SpeechXAIError: tables that are missing, or a folder that cannot be written.
    """
    with naming_folder(folder.path, "write the report"):
        for name, format in (("report.html", "html"), ("leaderboard.md", "markdown"), ("leaderboard.tex", "latex")):
            write_atomically(folder.path / name, leaderboard(folder, format).encode())
    return folder.path / "report.html"


def leaderboard(folder: BenchmarkFolder, format: str) -> str:
    """Render the tables of a finished benchmark as "html", "markdown" or "latex".

    Raises:
        SpeechXAIError: an unknown format, or tables that are missing.
    """
    if format not in FORMATS:
        raise SpeechXAIError(did_you_mean(format, list(FORMATS), "format"))
    found = tables(folder)
    said = findings(folder)
    if format == "html":
        return _html(folder, said, found)
    if format == "latex":
        return "\n".join([LATEX_NEEDS, *map(latex, found)])
    head = ["# Which explanation points at the truth?", "", _subtitle(folder), ""]
    head += [*(f"- {line.text}" for line in said), ""]
    return "\n".join([*head, *(f"## {part.title}\n\n{part.note}\n\n{markdown(part)}\n" for part in found)])


def _subtitle(folder: BenchmarkFolder) -> str:
    status = folder.status()
    return (
        f"Benchmark version {SPECIFICATION}; material: {folder.config['data']}; {status.n_done} of {status.n_units}"
        f" tasks done{f', {status.n_failed} failed' if status.n_failed else ''}. Not a medical device."
    )


def _html(folder: BenchmarkFolder, said: list[Finding], found: list[Table]) -> str:
    return page(
        "benchmark.html.j2",
        title="Which explanation points at the truth?",
        subtitle=_subtitle(folder),
        min_auc=MIN_AUC,
        synthetic=bool(folder.environment.get("synthetic")),
        findings=said,
        tables=found,
        config_text=read_text(folder.path / "config.toml"),
    )
