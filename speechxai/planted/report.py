"""The leaderboard of a benchmark as HTML, Markdown and LaTeX: the same tables, rendered three ways."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechxai.errors import SpeechXAIError, did_you_mean
from speechxai.explain.recipe import CONTROLS
from speechxai.files import naming_folder, to_toml, without_paths, write_atomically
from speechxai.metrics import METRICS
from speechxai.planted import ruler
from speechxai.planted.grades import GRADES
from speechxai.planted.sanity import CHECKS, LIMITS
from speechxai.planted.settings import MIN_AUC, MIN_TWINS, SPECIFICATION, TRUTH
from speechxai.planted.tables import ALL_CUES, AS_CONTRAST, BASE, FIRST, TRUTHS, average_over_cues
from speechxai.report.latex import LATEX_NEEDS, latex
from speechxai.report.render import (
    Cell,
    Finding,
    Row,
    Table,
    arrow,
    group_of,
    is_control,
    listing,
    markdown,
    number,
    page,
    short_name,
    with_span,
)
from speechxai.stats import FEWEST_NETWORKS, FEWEST_SPEAKERS

if TYPE_CHECKING:
    import pandas as pd

    from speechxai.planted.folder import BenchmarkFolder


# What the leaderboard shows: tables as rows of text, with the numbers behind cells that are shaded.
COMBINATIONS = ("Unions", "Intersections", "Other combinations")
SHOWN = (
    "mean_mask",
    "comprehensiveness@10",
    "comprehensiveness@10:margin",
    "sufficiency@10",
    "sufficiency@10:margin",
    "deletion_auc:margin",
    "insertion_auc:margin",
    "average_increase",
    "average_drop",
    "average_gain",
    "faithfulness",
    "silence_share",
)
READINGS = tuple(f"{FIRST} | {name}" for name in ruler.CHOICES)


def tables(folder: BenchmarkFolder) -> list[Table]:
    """Build all tables of a finished benchmark, in the order of the report.

    Raises:
        SpeechXAIError: a table is missing, or the benchmark is of a version whose tables are others.
    """
    summary, tasks = folder.table("summary"), folder.table("tasks")
    found = [_tasks(tasks)]
    if not summary.empty:
        statements = folder.table("statements")
        found.append(_statements(statements))
        for metric in TRUTHS:
            found += [_board(summary, tasks, metric, combined) for combined in (False, True)]
        found += [_readings(summary, str(group)) for group in dict.fromkeys(summary["model"])]
        found.append(_orders(folder.table("orders")))
        combined = folder.table("combinations")
        if not combined.empty:
            found.append(_combined(combined))
        found.append(_chance(folder.table("chance")))
        believed = folder.table("believable")
        found += [_believable(believed, metric) for metric in TRUTHS]
        found += [_hybrids(folder.table("hybrids")), _bystander(folder.table("bystander"))]
    sanity = folder.table("sanity")
    if not sanity.empty:
        found.append(_sanity(sanity))
    if not summary.empty:
        found.append(_grades(folder.table("grades")))
    groups = list(dict.fromkeys(summary["model"])) if not summary.empty else []
    return [table for table in [*found, *(_group(summary, str(group)) for group in groups)] if table.rows]


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
        "AUC within folds",
        "pooled",
        "twins in order",
        "pairs",
        "speakers",
        "explained",
        "AUC of RMS",
        "of the peak",
        "of the level's contour",
        "of crest and kurtosis",
        "of the long-term spectrum",
        "permuted labels",
        "added",
        "removed",
        "not carried",
    ]
    alone = ("rms_auc", "peak_auc", "contour_auc", "crest_auc", "spectrum_auc", "permuted_auc")
    rows = []
    groups = list(dict.fromkeys(tasks["group"]))
    for row in sorted(tasks.to_dict("records"), key=lambda row: groups.index(row["group"])):
        excluded = row["excluded"] if isinstance(row["excluded"], str) else ""
        cells = [
            f"excluded: {excluded}" if excluded else str(row["verdict"]),
            with_interval(row, "auc"),
            number(row["auc_pooled"]),
            number(row["twins_right"], 2),
            str(row["n_pairs"]),
            str(row["n_speakers"]),
            str(row["n_explained"]),
            *(number(row[name], 2) for name in alone),
            *(number(row[name]) for name in ("added_area", "removed_area")),
            str(row["n_skipped"]),
        ]
        rows.append(_row(str(row["task"]), cells, words=True))
    text = (
        f"A task is learned where the AUC within folds of held-out speakers is at least {MIN_AUC:.2f}, and learned as a"
        f" contrast where at least {100 * MIN_TWINS:.0f} % of the twins are in the right order; others are reported and"
        " excluded. What else gives the classes away is the AUC of level alone, and of logistic regressions by the same"
        " folds on measures that know no place; added and removed are the shares of bins that the cue makes louder and"
        " softer. Pieces of recordings that cannot carry the cue are counted last."
    )
    return Table("Tasks", tuple(header), tuple(rows), text)


def _statements(statements: pd.DataFrame) -> Table:
    rows = []
    for row in statements[statements["holds"].astype(bool)].to_dict("records"):
        cells = [
            str(row["second"]),
            with_span(float(row["difference"]), float(row["low"]), float(row["high"]), 3),
            f"{row['n_say']} of {row['n_ways']}",
            f"{row['n_networks']}, {row['n_speakers']}",
        ]
        rows.append(_row(str(row["first"]), cells, str(row["model"]), words=True))
    text = (
        f"Pairs of which the first has the higher {FIRST} by every way to measure that counts for the cue (energy"
        " added and removed, two thresholds, four resolutions): the 95 % interval over networks is above 0, and p,"
        " max-T over all pairs with whole networks flipped, under .05. At least"
        f" {FEWEST_NETWORKS} networks. The difference is that of the first way. Pairs that are not here are not told"
        " apart."
    )
    return Table(
        "What may be said", ("this", "is above", "difference", "ways", "networks, speakers"), tuple(rows), text
    )


def _board(summary: pd.DataFrame, tasks: pd.DataFrame, metric: str, combined: bool) -> Table:
    """Recipes x groups of one localization metric, the mean of the columns beside them; best first.

    Combinations have a table of their own, for they are many.
    """
    title = f"Combinations: {metric}" if combined else f"Leaderboard: {metric}"
    present = summary[summary["metric"] == metric]
    if present.empty:
        return Table(title, ("explanation",), (), "")
    wide = average_over_cues(present, metric).set_index("recipe")
    groups = [str(name) for name in wide.columns[:-1]]
    cell = {(row["recipe"], row["model"]): row for row in present.to_dict("records")}
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
    counts = "; ".join(f"{group}: {seeds.get(group.removesuffix(AS_CONTRAST), 0)}" for group in groups)
    text = (
        f"Share of the map's strongest cells inside the truth, K cells for a truth of K: {metric.partition(' | ')[2]}."
        " Mean over networks and 95 % interval; the highest of a column is marked, which says nothing of what is told"
        f" apart (table 'What may be said'). Seeds that count: {counts}."
    )
    columns = ("explanation", *groups, "mean of the columns")
    return Table(title, columns, tuple(rows), text, folded=combined, shading="share")


def _readings(summary: pd.DataFrame, group: str) -> Table:
    """Methods and controls x all ways to measure relevance_rank, of one group."""
    part = summary[(summary["model"] == group) & summary["metric"].isin(READINGS)]
    ways = [way for way in READINGS if way in set(part["metric"])]
    value = {(row["recipe"], row["metric"]): float(row["mean"]) for row in part.to_dict("records")}
    names = [name for name in _ordered(list(dict.fromkeys(part["recipe"]))) if _group_name(name) not in COMBINATIONS]
    rows = []
    for name in names:
        numbers = [value.get((name, way), math.nan) for way in ways]
        rows.append(_row(name, [number(each) for each in numbers], _group_name(name), values=numbers))
    text = (
        f"{FIRST} by every way to measure: where energy was added, removed, or either; from which difference on; at"
        ' which resolution; and of signed maps the positive evidence, or ("absolute") the size, or ("negative") what'
        " speaks against the cue on the voice that has it, where the cue took energy away."
    )
    columns = ("explanation", *(way.partition(" | ")[2] for way in ways))
    return Table(f"Every way to measure: {group}", columns, tuple(rows), text, folded=True, shading="share")


def _orders(orders: pd.DataFrame) -> Table:
    rows = [
        _row(
            str(row["metric"]).partition(" | ")[2],
            [str(row["against"]), number(row["tau"], 2), str(row["n_methods"])],
            str(row["model"]),
            words=True,
        )
        for row in orders.to_dict("records")
    ]
    text = "Kendall's tau between the orders of methods by two ways to measure: how much of an order is the ruler's."
    return Table(
        "How much does the order depend on the ruler?", ("way", "against", "tau", "methods"), tuple(rows), text
    )


def _combined(combined: pd.DataFrame) -> Table:
    rows = [
        _row(
            str(row["recipe"]),
            [
                number(row["mean"]),
                str(row["chosen"]),
                with_span(float(row["vs_chosen"]), float(row["low"]), float(row["high"]), 3),
                number(row["vs_better"]),
            ],
            str(row["model"]),
        )
        for row in combined.to_dict("records")
    ]
    text = (
        f"{BASE} of unions and intersections, beside the part that insertion_auc:margin prefers on the same recording,"
        " which needs no truth, and beside the better part by the truth, which nobody knows."
    )
    header = ("combination", "score", "preferred part", "above the preferred part", "above the better part")
    return Table("Do combinations help?", header, tuple(rows), text, folded=True)


def _chance(chance: pd.DataFrame) -> Table:
    rows = [
        _row(
            str(r["metric"]),
            [
                number(r["expected"]),
                with_span(float(r["random_map"]), float(r["random_low"]), float(r["random_high"]), 3),
                number(r["truth_lowest"]),
            ],
            str(r["model"]),
        )
        for r in chance.to_dict("records")
    ]
    text = (
        "random_map must score the truth's share of the cells (with the tolerance for pointing_game, one half for"
        " localization_auc), and the truth itself 1."
    )
    header = ["metric", "expected of random_map", "random_map", "lowest of the truth"]
    return Table("Is the ruler straight?", tuple(header), tuple(rows), text, folded=True)


def _believable(believed: pd.DataFrame, truth_metric: str) -> Table:
    """Faithfulness metrics x groups: rank correlations within recordings, the mean of the groups last."""
    used = believed[believed["truth_metric"] == truth_metric]
    groups = list(dict.fromkeys(used["model"]))
    cell = {(row["metric"], row["model"]): row for row in used.to_dict("records")}
    rows = []
    for metric in dict.fromkeys(used["metric"]):
        cells = [
            with_interval(cell[metric, group], "within", 2) if (metric, group) in cell else "–" for group in groups
        ]
        values = tuple(
            float(cell[metric, group]["within"]) if (metric, group) in cell else math.nan for group in groups
        )
        rows.append(_row(f"{metric} {arrow(str(metric))}".strip(), cells, values=values))
    text = (
        f"Spearman correlation with {truth_metric}, over methods and controls (no combinations) of one recording, then"
        " mean over networks; metrics where lower is better with their sign turned, so positive means that better"
        " faithfulness goes with pointing at the truth. A dash where a metric gives all methods the same value."
    )
    title = f"Which faithfulness metric to believe: {truth_metric}"
    columns = ("faithfulness metric", *("mean of the columns" if g == ALL_CUES else g for g in groups))
    return Table(title, columns, tuple(rows), text, folded=truth_metric != BASE, shading="correlation")


def _hybrids(hybrids: pd.DataFrame) -> Table:
    """Cues x hybrids: rank correlation with the truth on the cue that a hybrid has not seen."""
    cell = {(row["model"], row["hybrid"]): row for row in hybrids.to_dict("records")}
    names = list(dict.fromkeys(hybrids["hybrid"]))
    rows = [
        _row(
            str(model),
            [f"{with_interval(cell[model, name], 'within', 2)} ({cell[model, name]['made_of']})" for name in names],
        )
        for model in dict.fromkeys(hybrids["model"])
    ]
    text = (
        "Made on all other cues and tried on this one: the metric, and the mean rank of the two metrics, whose lowest"
        f" correlation with {BASE} over the other cues is the highest; and a ridge regression of the truth's ranks on"
        " all metrics' ranks (its four largest weights). Spearman over the explanations of a recording, mean over"
        " networks."
    )
    columns = ("left out", *names)
    return Table("Do metrics say more together?", columns, tuple(rows), text)


def _bystander(marks: pd.DataFrame) -> Table:
    """Who marks what tells no class, by cue."""
    cell = {(row["recipe"], row["model"]): row for row in marks.to_dict("records")}
    groups = list(dict.fromkeys(marks["model"]))
    rows = []
    for recipe in _ordered([str(name) for name in dict.fromkeys(marks["recipe"])]):
        found = [cell.get((recipe, group)) for group in groups]
        texts = [
            "–"
            if row is None
            else f"{with_interval({**row, 'mean': row['bystander_auc']}, n=2)}, {100 * row['false_positives']:.0f} %"
            for row in found
        ]
        rows.append(_row(recipe, texts, _group_name(recipe)))
    text = (
        "A sound that both twins hold, of the cue's own energy, at a place of its own: no class is told by it, and a"
        " map that marks it is wrong. The evidence as a detector of its bins, bins of the cue left out (one half is"
        " chance), and the share of recordings in which it is above one half."
    )
    return Table("Who marks a bystander?", ("explanation", *groups), tuple(rows), text)


def _grades(grades: pd.DataFrame) -> Table:
    """A letter for every method, and the failures that were seen."""
    rows = [
        _row(
            str(row["recipe"]),
            [
                str(row["grade"]),
                f"{row['above_all']} of {row['n_truths']}",
                f"{row['above_random']} of {row['n_truths']}",
                f"{row['below_random']} of {row['n_truths']}",
                row["failures"] if isinstance(row["failures"], str) and row["failures"] else "none seen",
            ],
        )
        for row in grades.to_dict("records")
    ]
    said = "; ".join(f"{letter}: {words}" for letter, words in GRADES.items())
    text = (
        f"{said}. A truth is a cue's added or removed energy, where enough networks learned it; above and below hold by"
        " every way to measure it. A grade is one on this network."
    )
    columns = ("method", "grade", "above all controls", "above random_map", "below random_map", "failures")
    return Table("Grades", columns, tuple(rows), text)


def _sanity(sanity: pd.DataFrame) -> Table:
    rows = [
        _row(
            str(row["recipe"]),
            [
                _checked(row),
                *(number(row[check], 2) for check in CHECKS if check in sanity),
            ],
            "Controls" if is_control(str(row["recipe"])) else "Methods",
            words=True,
        )
        for row in sanity.to_dict("records")
    ]
    limits = "; ".join(f"{name} {side} {limit}" for name, (side, limit) in LIMITS.items())
    text = (
        "Means over the recordings checked; what fails by the mean of one cue alone is named with it. A method fails"
        f" with {limits}: such a method is broken, and one that does not fail may still be poor. What is measured:"
        f" {'; '.join(f'{name}: {what}' for name, what in CHECKS.items())}."
    )
    header = ["explanation", "fails", *(name.replace("_", " ") for name in CHECKS if name in sanity)]
    return Table("Sanity checks", tuple(header), tuple(rows), text)


def failures(row: Mapping[Any, Any]) -> str:
    """What a method fails over all cues, and in single ones: "class_flip; tremor: max_sensitivity". Empty: nothing."""
    return "; ".join(row[name] for name in ("fails", "fails_in") if isinstance(row.get(name), str) and row[name])


def _checked(row: Mapping[Any, Any]) -> str:
    """What a method fails, and what was not checked: nothing is passed by a value that is missing."""
    unchecked = row.get("unchecked")
    missing = f"; not checked: {unchecked}" if isinstance(unchecked, str) and unchecked else ""
    return f"{failures(row) or 'none'}{missing}"


def _group(summary: pd.DataFrame, group: str) -> Table:
    part = summary[summary["model"] == group]
    metrics = [m for m in (*TRUTHS, *SHOWN) if m in set(part["metric"])]
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
        "Mean over networks and 95 % interval; values are fractions, margins in logits. Compare maps by the @ columns:"
        " equal budgets."
    )
    header = ["explanation", *(f"{short_name(m)} {arrow(m)}".strip() if m in METRICS else m for m in metrics)]
    return Table(f"All metrics: {group}", tuple(header), tuple(rows), text, folded=True)


def _ordered(recipes: list[str]) -> list[str]:
    order = ["Methods", "Unions", "Intersections", "Other combinations", "Controls", "The truth itself"]
    return sorted(recipes, key=lambda recipe: order.index(_group_name(recipe)))


def _group_name(recipe: str) -> str:
    return "The truth itself" if recipe == TRUTH else group_of(recipe)


def seeds_that_count(tasks: pd.DataFrame) -> dict[str, int]:
    """Seeds whose classifier learned its task, by group."""
    counting = tasks[~tasks["excluded"].map(lambda reason: isinstance(reason, str) and bool(reason))]
    return {str(group): len(part) for group, part in counting.groupby("group", sort=False)}


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
    stated = folder.table("statements")
    for group in dict.fromkeys(summary["model"]):
        part = summary[(summary["model"] == group) & summary["metric"].isin(TRUTHS)]
        count = seeds[str(group).removesuffix(AS_CONTRAST)]
        label = f"{group} ({count} of {n_planned} seeds)"
        said.append(_who_points(part, stated[stated["model"] == group], label))
    said += _combinations(folder.table("combinations"))
    said += _which_metric(folder.table("believable"))
    sanity = folder.table("sanity")
    failing = [row for row in sanity.to_dict("records") if failures(row)]
    for words, control in (("Methods that fail sanity checks", False), ("Controls fail them as they must", True)):
        named = [f"{row['recipe']} ({failures(row)})" for row in failing if is_control(str(row["recipe"])) is control]
        if named or not (control or sanity.empty):
            said.append(f"{words}: {'; '.join(named) or 'none'}.")
    return said


def _who_points(part: pd.DataFrame, stated: pd.DataFrame, group: str) -> str:
    """What may be said of a group: which methods are above all controls by every way to measure, and which first."""
    methods = part[~part["recipe"].map(lambda recipe: is_control(recipe) or recipe == TRUTH or "(" in recipe)]
    n_networks, n_speakers = int(part["n_networks"].max()), int(part["n_speakers"].max())
    if n_networks < FEWEST_NETWORKS or n_speakers < FEWEST_SPEAKERS:
        return (
            f"{group}: cannot decide; {n_networks} networks and {n_speakers} speakers, and at least {FEWEST_NETWORKS}"
            f" networks and {FEWEST_SPEAKERS} speakers are needed for a statement."
        )
    held = {(row["first"], row["second"]) for row in stated[stated["holds"].astype(bool)].to_dict("records")}
    names = [str(name) for name in methods["recipe"]]
    better = [name for name in names if all((name, control) in held for control in CONTROLS)]
    first = [name for name in names if not any((other, name) in held for other in names)]
    ways = int(stated["n_ways"].max()) if len(stated) else 0
    said = (
        f"above {listing(list(CONTROLS))} by all {ways} ways to measure: {listing(better)}"
        if better
        else f"no method is above {listing(list(CONTROLS))} by all {ways} ways to measure"
    )
    return (
        f"{group}, {n_networks} networks, {n_speakers} speakers: {said}. Of {len(names)} methods {len(first)} have no"
        f" other above them by all of them: {listing(first)}."
    )


def _combinations(combined: pd.DataFrame) -> list[str]:
    """How often a union or an intersection is above the part that a metric prefers."""
    if combined.empty:
        return []
    said = []
    for name in ("union", "intersection"):
        part = combined[combined["recipe"].str.startswith(f"{name}(")]
        if len(part):
            said.append(
                f"Of {len(part)} cases of {name} and cue {int((part['vs_chosen'] > 0).sum())} score above the part that"
                " insertion_auc:margin prefers; the mean difference is"
                f" {number(float(part['vs_chosen'].mean()))}. Combinations are scored on one seed, too few networks for"
                " a test."
            )
    return said


def _which_metric(believed: pd.DataFrame) -> list[str]:
    used = believed[(believed["truth_metric"] == BASE) & (believed["model"] != ALL_CUES)]
    wide = used.pivot_table(index="metric", columns="model", values="within", sort=False, dropna=False)
    known = wide.dropna()
    if known.empty:
        return []
    lowest = known.min(axis=1).sort_values(ascending=False)
    best = str(lowest.index[0])
    highest = float(known.max(axis=1).to_dict()[best])
    lines = [
        f"Rank correlation of faithfulness metrics with {BASE}: the highest that a metric reaches on every cue is"
        f" {number(float(lowest.iloc[0]), 2)} ({best}; up to {number(highest, 2)})."
    ]
    silent = [str(name) for name in wide.index if name not in known.index]
    if silent:
        lines.append(f"Undefined on a cue, because all methods score the same there: {listing(silent)}.")
    against = used[used["within_high"] < 0]
    if len(against):
        named = [f"{row['metric']} ({row['model']})" for row in against.to_dict("records")]
        lines.append(f"Metrics that prefer maps pointing elsewhere (interval below 0): {', '.join(named)}.")
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
        config_text=to_toml(without_paths(folder.config)),
    )
