"""A finished run for a paper: its table in any format, the paragraph of methods with its references, and tidy tables
with a codebook for R and SPSS.

Everything is read from the run's own tables and from what the run says of its methods and metrics, so that no network
library is loaded.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd

from speechxai.data.manifest import classes_of, column_to_group_by, groups_of, label_names
from speechxai.data.tables import is_known
from speechxai.errors import SpeechXAIError, did_you_mean
from speechxai.evaluation.runs import RunFolder, knowing
from speechxai.evaluation.runs import summary as summarized
from speechxai.families import (
    BESIDE_PUBLISHED,
    COMBINATIONS,
    CONTROLS,
    METHODS,
    METRICS,
    PUBLISHED_METRICS,
    at_equal_budget,
)
from speechxai.files import csv_table, csv_text, to_plain
from speechxai.report.latex import LATEX_NEEDS, Layout, latex, latex_text
from speechxai.report.render import (
    NONE,
    PERCENT,
    Cell,
    Estimate,
    Row,
    Table,
    column_name,
    digits,
    estimates,
    group_of,
    grouped,
    is_control,
    listing,
    markdown,
    metrics_of,
    number,
    p_text,
    short_name,
    span,
)

BESIDE = "Controls: what every explanation must beat"

FORMATS = ("latex", "markdown", "csv", "json")
"""Formats of the paper's table."""


@dataclass(frozen=True)
class Asked:
    """What of a run a table shows, and how.

    Args:
        columns: metrics by their own names or the paper's abbreviations; the paper's and those asked for without.
        recipes: recipes, or headings (methods, unions, intersections, combinations, controls); all without.
        by: columns of the manifest: a table for each of their groups follows; those of the run's settings where None.
        p: whether p-values stand in the cells: the largest of those against the controls, after Holm.
        layout: of LaTeX.
    """

    columns: tuple[str, ...] = ()
    recipes: tuple[str, ...] = ()
    by: tuple[str, ...] | None = None
    p: bool = False
    layout: Layout = field(default_factory=Layout)


def asked_for(summary: pd.DataFrame) -> list[str]:
    """Metrics of a run that are computed when asked for: those of packages and plugins, and ours beside the default."""
    usual = {*PUBLISHED_METRICS, *BESIDE_PUBLISHED}
    return [metric for metric in metrics_of(summary) if metric not in usual and not at_equal_budget(metric)]


def score_table(
    summary: pd.DataFrame,
    metrics: Sequence[str],
    title: str,
    *,
    small: bool = True,
    note: str = "",
    p: bool = False,
) -> Table | None:
    """Recipes x metrics with intervals, in groups with the controls last; None where the run has none of the metrics.

    Args:
        summary: `summary.csv`.
        metrics: columns, where the run has them.
        title: of the table.
        small: whether intervals and numbers of undefined values stand in the cells.
        note: what to know of the table.
        p: whether the largest p-value against the controls stands in the cells too.
    """
    wanted = [metric for metric in metrics if metric in metrics_of(summary)]
    if not [metric for metric in wanted if metric != "mean_mask"]:
        return None
    values = estimates(summary, wanted)
    largest = {m: max((abs(row[m].mean) for row in values.values() if m in row), default=math.inf) for m in wanted}
    tested = largest_p(summary) if p else {}

    def cell(recipe: str, metric: str) -> Cell:
        found, n = values[recipe].get(metric), digits(metric, largest[metric])
        if found is None:
            return Cell(NONE)
        below = "" if metric == "mean_mask" or not small else span(found.low, found.high, n)
        if (recipe, metric) in tested and metric != "mean_mask":
            below = ", ".join(part for part in (below, p_text(tested[recipe, metric])) if part)
        if found.n_nan and small:
            below = f"{below} ({found.n_nan} undefined)".strip()
        return Cell(number(found.mean, n), below, "best" if found.best and not is_control(recipe) else "")

    rows = [
        Row(recipe, tuple(cell(recipe, metric) for metric in wanted), BESIDE if name == "Controls" else name)
        for name, recipes in grouped(list(values)).items()
        for recipe in recipes
    ]
    return Table(title, ("explanation", *map(column_name, wanted)), tuple(rows), note, apart=(BESIDE,))


def largest_p(summary: pd.DataFrame) -> dict[tuple[str, str], float]:
    """By recipe and metric, the largest of the corrected p-values against the controls; of what is no control alone."""
    names = [f"vs_{name}_p" for name in CONTROLS if f"vs_{name}_p" in summary]
    rows = summary.to_dict("records")
    found = {(str(r["recipe"]), str(r["metric"])): [float(r[name]) for name in names] for r in rows}
    return {
        key: max(values)
        for key, values in found.items()
        if values and not is_control(key[0]) and not any(map(math.isnan, values))
    }


@dataclass(frozen=True, eq=False)
class Group:
    """Recordings of a run that have one thing in common: its name, their rows of `predictions`, and the summary of
    their scores."""

    name: str
    rows: pd.DataFrame
    summary: pd.DataFrame


def groups_by(folder: RunFolder, column: str) -> list[Group]:
    """Groups of a run's scored recordings by a column of its manifest.

    Raises:
        SpeechXAIError: there is no such column, or nothing is known in it.
    """
    rows, scores = folder.table("predictions"), folder.table("scores")
    column = column_to_group_by(folder.manifest, column)
    if column == "label":
        names = label_names(folder.manifest)
        masks = [(f"labeled {name}", names == name) for name in (*classes_of(folder.manifest), "unknown")]
    else:
        masks = groups_of(folder.manifest, column)
    found = []
    for name, mask in masks:
        recordings = set(folder.manifest["recording"][mask.to_numpy()])
        own = scores[scores["recording"].isin(recordings)]
        if not own.empty:
            found.append(Group(name, rows[rows["recording"].isin(recordings)], summarized(own)))
    if not found:
        raise SpeechXAIError(f"--by {column}: no recording with scores belongs to any of its groups.")
    return found


# What of a run is shown


def metric_names(summary: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """Metrics of a run by their own names or the paper's abbreviations, in any case; the usual ones for none.

    Raises:
        SpeechXAIError: the run has no such metric, or, where none is named, none of the paper's.
    """
    present = metrics_of(summary)
    if not columns:
        usual = [metric for metric in PUBLISHED_METRICS if metric in present]
        return ["mean_mask", *usual, *asked_for(summary)] if usual else []
    names = {text.casefold(): metric for metric in present for text in (metric, short_name(metric))}
    found = []
    for column in columns:
        if column.strip().casefold() not in names:
            raise SpeechXAIError(f"--columns {column}: {did_you_mean(column, present, 'metric of this run')}")
        found.append(names[column.strip().casefold()])
    return list(dict.fromkeys(found))


def recipe_names(summary: pd.DataFrame, wanted: Sequence[str]) -> list[str]:
    """Recipes of a run by their texts or by headings, in the run's order; all of them for none.

    Raises:
        SpeechXAIError: the run has no such recipe.
    """
    present = [str(recipe) for recipe in dict.fromkeys(summary["recipe"])]
    if not wanted:
        return present
    under: dict[str, list[str]] = {}
    for recipe in present:
        heading = group_of(recipe).casefold()
        under.setdefault(heading, []).append(recipe)
        if "(" in recipe:
            under.setdefault("combinations", []).append(recipe)
        under.setdefault(recipe.replace(" ", "").casefold(), []).append(recipe)
    chosen: set[str] = set()
    for each in wanted:
        key = each.replace(" ", "").casefold()
        if key not in under:
            raise SpeechXAIError(f"--recipes {each}: {did_you_mean(each, [*present, *HEADINGS], 'recipe of this run')}")
        chosen |= set(under[key])
    return [recipe for recipe in present if recipe in chosen]


HEADINGS = ("methods", "unions", "intersections", "combinations", "controls")
"""Words that stand for all recipes of a kind."""


def rows_of(summary: pd.DataFrame, recipes: Sequence[str]) -> pd.DataFrame:
    """Rows of a summary that are shown."""
    return summary[summary["recipe"].astype(str).isin(recipe_names(summary, recipes))]


def for_paper(recipe: str) -> str:
    """Write a recipe as a paper does.

    >>> for_paper("union(saliency, rise)"), for_paper("intersection(saliency, union(rise, occlusion))")
    ('saliency ∪ rise', 'intersection(saliency, union(rise, occlusion))')
    """
    found = re.fullmatch(r"(union|intersection)\(([^()]+)\)", recipe)
    return recipe if found is None else found[2].replace(", ", " ∪ " if found[1] == "union" else " ∩ ")


# Facts that a caption states


def data_name(folder: RunFolder) -> str:
    """Name of a run's data, without a path: what its recordings say that they belong to, else what was asked for."""
    asked = name_of_data(str(folder.config.get("data", "")))
    if asked == SYNTHETIC_VOICES or "dataset" not in folder.manifest:
        return asked
    named = [name for name in dict.fromkeys(folder.manifest["dataset"].dropna().astype(str)) if is_known(name)]
    return listing(named) if named else asked


SYNTHETIC_VOICES = "synthetic voices"


def name_of_data(data: str) -> str:
    """What --data names, without a path; a manifest that has its usual name is called by its folder.

    >>> name_of_data("voices/clinic/manifest.csv"), name_of_data("pc-gita"), name_of_data("/data/own.csv")
    ('clinic', 'pc-gita', 'own')
    """
    if data == "synthetic":
        return SYNTHETIC_VOICES
    path = Path(data)
    if path.name == "manifest.csv":
        return path.absolute().parent.name or path.stem
    return path.stem if path.suffix else path.name


def model_name(folder: RunFolder) -> str:
    """Name of a run's model, without a path."""
    return str(folder.environment.get("model", {}).get("name") or Path(str(folder.config.get("model", ""))).name)


def who(folder: RunFolder, rows: pd.DataFrame | None = None) -> str:
    """How many recordings were scored, of how many speakers of each class: "n = 12 recordings of 8 speakers (4 HC, 4
    PD)".

    Args:
        folder: the run.
        rows: of `predictions`, where a part of the run is meant.
    """
    rows = folder.table("predictions") if rows is None else rows
    done = rows[rows["predicted"].notna()] if "predicted" in rows else rows
    text = f"n = {len(done)} recordings of {done['speaker'].nunique()} speakers"
    manifest = folder.manifest
    names = label_names(manifest)[manifest["recording"].isin(set(done["recording"]))]
    speakers = manifest["speaker"].reindex(names.index)
    counts = [(name, speakers[names == name].nunique()) for name in (*classes_of(manifest), "unknown")]
    said = ", ".join(f"{n} {name}" for name, n in counts if n)
    return f"{text} ({said})" if said else text


INTERVALS = "Means over speakers with 95 % intervals (bias-corrected and accelerated bootstrap over speakers)"
SHARES = "exact intervals for shares of speakers"


def protocol_words(config: Mapping[str, Any]) -> str:
    """The protocol of a run in a caption's words."""
    protocol = str(config.get("protocol", "standard"))
    if protocol != "standard":
        return f"Protocol {protocol}"
    evidence = {"auto": "positive part of signed maps", "positive": "positive part", "absolute": "absolute values"}
    return (
        f"Protocol standard: evidence is the {evidence.get(str(config.get('evidence', 'auto')), 'map')}, removed bins"
        f" become {config.get('fill', 'silence')}"
    )


def caption(folder: RunFolder, metrics: Sequence[str], rows: pd.DataFrame | None = None, *, p: bool = False) -> str:
    """What a table or figure of a run must say of itself: model, data, n, speakers, intervals, protocol."""
    percent = [short_name(metric) for metric in PERCENT if metric in metrics]
    parts = [
        f"Model {model_name(folder)}, data {data_name(folder)}, {who(folder, rows)}",
        INTERVALS,
        f"{listing(percent)} in percent" if percent else "",
        "p: the largest against the controls, sign flips over speakers, Holm" if p else "",
        protocol_words(folder.config),
    ]
    return ". ".join(part for part in parts if part)


# The paper's table


def published_frame(folder: RunFolder, summary: pd.DataFrame | None = None, asked: Asked | None = None) -> pd.DataFrame:
    """The paper's columns and those that were asked for, a row a recipe: recipe, group, mean mask, and mean, low, high
    of each metric in its unit."""
    asked = asked or Asked()
    summary = rows_of(folder.table("summary") if summary is None else summary, asked.recipes)
    present = [metric for metric in _columns_of(folder, summary, asked) if metric in metrics_of(summary)]
    values = estimates(summary, present)
    rows: list[dict[str, Any]] = []
    for group, recipes in grouped(list(values)).items():
        for recipe in recipes:
            row: dict[str, Any] = {"recipe": recipe, "group": group}
            for metric in present:
                cell = values[recipe].get(metric, Estimate(math.nan))
                if metric == "mean_mask":
                    row[metric] = cell.mean
                    continue
                name = short_name(metric)
                row |= {name: cell.mean, f"{name}_low": cell.low, f"{name}_high": cell.high}
            rows.append(row)
    return pd.DataFrame(rows)


def _columns_of(folder: RunFolder, summary: pd.DataFrame, asked: Asked) -> list[str]:
    found = metric_names(summary, asked.columns)
    if not found:
        raise SpeechXAIError(
            f"{folder.path}: the run has none of the paper's metrics. Name others with --columns, or evaluate with"
            " --metrics published or --metrics default."
        )
    return found


@knowing
def tables(folder: RunFolder, format: str, asked: Asked | None = None) -> str:
    """The paper's table as "latex", "markdown", "csv" or "json"; AI, AD and AG in percent but in JSON, intervals of
    95 % over speakers.

    Args:
        folder: the run.
        format: of the table.
        asked: what is shown; by default the paper's columns of all recipes.

    Raises:
        SpeechXAIError: an unknown format, a metric, recipe or column that is not there, or a run without the paper's
            metrics where none is named.
    """
    if format not in FORMATS:
        raise SpeechXAIError(did_you_mean(format, list(FORMATS), "format"))
    asked = asked or Asked()
    by = folder.config.get("by", ()) if asked.by is None else asked.by
    parts = [Group("", folder.table("predictions"), folder.table("summary"))]
    named = [("", parts[0]), *((column, group) for column in by for group in groups_by(folder, column))]
    if format == "csv":
        return csv_table(_frame_of(folder, named, asked)).decode()
    if format == "json":
        return json.dumps(to_plain(_as_records(folder, named, asked)), ensure_ascii=False, indent=1)
    texts = []
    for position, (_, group) in enumerate(named):
        label = asked.layout.label
        layout = replace(asked.layout, label=f"{label}-{position}") if label and position else asked.layout
        texts.append(_paper_table(folder, format, group, replace(asked, layout=layout)))
    return "\n".join(texts) if format == "markdown" else f"{LATEX_NEEDS}\n" + "\n".join(texts)


def _frame_of(folder: RunFolder, named: Sequence[tuple[str, Group]], asked: Asked) -> pd.DataFrame:
    frames = [published_frame(folder, group.summary, asked) for _, group in named]
    if len(named) == 1:
        return frames[0]
    marked = [f.assign(by=column, which=group.name) for (column, group), f in zip(named, frames, strict=True)]
    found = pd.concat(marked, ignore_index=True)
    return found[["by", "which", *frames[0].columns]]


def _as_records(folder: RunFolder, named: Sequence[tuple[str, Group]], asked: Asked) -> dict[str, Any]:
    metrics = metrics_of(named[0][1].summary) if not asked.columns else _columns_of(folder, named[0][1].summary, asked)
    found = []
    for column, group in named:
        shown = rows_of(group.summary, asked.recipes)
        shown = shown[shown["metric"].astype(str).isin(metrics)]
        records = [
            {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()}
            for row in shown.to_dict("records")
        ]
        found.append({"by": column, "which": group.name, "n": who(folder, group.rows), "rows": records})
    environment = folder.environment
    return {
        "model": model_name(folder),
        "data": data_name(folder),
        "protocol": folder.config.get("protocol", "standard"),
        "metrics": {
            metric: {key: METRICS.facts(metric).get(key) for key in ("best", "bounds", "published", "cites")}
            for metric in metrics
            if metric in METRICS
        },
        "versions": environment.get("libraries", {}),
        "tables": found,
    }


def _paper_table(folder: RunFolder, format: str, group: Group, asked: Asked) -> str:
    summary = rows_of(group.summary, asked.recipes)
    columns = _columns_of(folder, summary, asked)
    note = caption(folder, columns, group.rows, p=asked.p)
    title = "Explanations of a speech classifier" + (f": {group.name}" if group.name else "")
    table = score_table(summary, columns, title, note=note, p=asked.p)
    if table is None:
        raise SpeechXAIError(f"{folder.path}: the run has none of the metrics {listing(columns)}.")
    if format == "markdown":
        return f"{markdown(table)}\n\n{note}.\n"
    rows = tuple(replace(row, name=for_paper(row.name)) for row in table.rows)
    return latex(replace(table, rows=rows), asked.layout)


# The paragraph of methods

PROGRAM = ("mancini2025investigating",)
"""What everybody cites who uses the published columns."""

STATISTICS = {
    "bootstrap": ("efron1987better", "hesterberg2015what"),
    "share": ("clopper1934use",),
    "flips": ("fisher1935design",),
    "holm": ("holm1979simple",),
}
"""Citation keys of what `stats` computes."""


def references() -> dict[str, str]:
    """Entries of the bibliography that ships, by key."""
    text = resources.files("speechxai").joinpath("templates", "references.bib").read_text("utf-8")
    return {found[1]: found[0].strip() for found in re.finditer(r"@\w+\{(\w+),.*?\n\}", text, re.S)}


@knowing
def methods(folder: RunFolder, *, markdown: bool = False) -> tuple[str, str]:
    """The paragraph of methods of a run, and the BibTeX entries of what it cites.

    Args:
        folder: the run.
        markdown: whether citations are Pandoc's (`[@key]`) instead of LaTeX's.

    Returns:
        Text, and the content of a .bib file.
    """
    cited: dict[str, None] = {}

    def cite(*keys: str) -> str:
        known = [key for key in dict.fromkeys(keys) if key and key != "own"]
        cited.update(dict.fromkeys(known))
        if not known:
            return ""
        return f" [{'; '.join(f'@{key}' for key in known)}]" if markdown else f"~\\cite{{{','.join(known)}}}"

    sentences = " ".join(_sentences(folder, cite, (lambda text: text) if markdown else latex_text))
    entries = references()
    missing = [key for key in cited if key not in entries]
    bib = [entries[key] for key in cited if key in entries]
    bib += [f"% {key}: a plugin cites this; add its entry." for key in missing]
    return sentences, "\n\n".join(bib) + "\n"


def _sentences(folder: RunFolder, cite: Any, plain: Any) -> Iterator[str]:
    config, environment = folder.config, folder.environment
    summary = folder.table("summary")
    recipes = [str(recipe) for recipe in dict.fromkeys(summary["recipe"])]
    own = [recipe for recipe in recipes if not is_control(recipe)]

    def named(name: str, family: Any = METHODS) -> str:
        return str(plain(name.replace("_", " "))) + str(
            cite(str(family.facts(name).get("cites", "")) if name in family else "")
        )

    yield (
        f"We explained the classifier {plain(model_name(folder))} on {plain(data_name(folder))}:"
        f" {plain(who(folder).removeprefix('n = '))}."
    )
    yield plain(_answered_by(folder))
    singles = [recipe for recipe in own if "(" not in recipe]
    if singles:
        used = listing([named(name) for name in singles])
        yield f"Attribution maps were computed on the magnitude of the spectrogram by {used}."
    kinds: dict[str, int] = {}
    for recipe in own:
        if "(" in recipe:
            name = recipe.partition("(")[0]
            kinds[name] = kinds.get(name, 0) + 1
    if kinds:
        said = [f"{n} by {named(name, COMBINATIONS)}" for name, n in kinds.items()]
        yield f"Maps were also combined, {listing(said)}."
    controls = [recipe for recipe in recipes if is_control(recipe)]
    if controls:
        yield f"Maps that know nothing of the classifier served as controls: {listing(list(map(named, controls)))}."
    protocol = str(config.get("protocol", "standard"))
    if protocol == "standard":
        words = protocol_words(config).partition(": ")[2].replace(" is ", " was ").replace(" become ", " became ")
        yield plain(f"{words[0].upper()}{words[1:]}.")
    else:
        yield plain(f"Masking followed the protocol {protocol}") + cite(*PROGRAM) + "."
    metrics = [metric for metric in metrics_of(summary) if metric != "mean_mask"]
    budgets = [metric for metric in metrics if at_equal_budget(metric)]
    soft = [metric for metric in metrics if metric not in budgets]
    if soft:
        said = [
            named(metric, METRICS) + (f" ({plain(short_name(metric))})" if short_name(metric) != metric else "")
            for metric in soft
        ]
        yield f"Maps were scored by {listing(said)}."
    kinds_of: dict[str, list[str]] = {}
    for metric in budgets:
        kinds_of.setdefault(metric.partition("@")[0], []).append(metric)
    if kinds_of:
        said = [
            f"{kind} at {listing([m.partition('@')[2] for m in each])}" + cite(str(METRICS.facts(each[0])["cites"]))
            for kind, each in kinds_of.items()
        ]
        yield plain("At equal budgets, where every map keeps or loses the same share of bins (%), we report ") + (
            f"{listing(said)}."
        )
    yield (
        plain("Scores were averaged over the recordings of a speaker and then over speakers; 95 % intervals are")
        + " from the bias-corrected and accelerated bootstrap over speakers"
        + cite(*STATISTICS["bootstrap"])
        + ", and exact for shares of speakers"
        + cite(*STATISTICS["share"])
        + "."
    )
    if controls:
        yield (
            "Differences to controls were tested by sign flips of the speakers' differences"
            + cite(*STATISTICS["flips"])
            + ", corrected over all recipes and controls of a metric"
            + cite(*STATISTICS["holm"])
            + "."
        )
    lost = folder.status()
    if lost.n_done < lost.n_units:
        yield f"{lost.n_units - lost.n_done} of {lost.n_units} recordings could not be scored and are left out."
    libraries = environment.get("libraries", {})
    versions = [f"{name} {libraries[name]}" for name in ("torch", "captum", "librosa", "scipy") if name in libraries]
    yield (
        # As CITATION.cff says it: the work is not the program.
        plain(f"Everything was computed with speechxai {libraries.get('speechxai', '')}".rstrip())
        + ", whose evaluation began with"
        + cite(*PROGRAM)
        + plain(
            f" ({', '.join(versions)}; {environment.get('precision', 'float32')}, seed {config.get('seed', 0)}, weights"
            f" sha256 {str(environment.get('model', {}).get('sha256', ''))[:12]})."
        )
    )


def _answered_by(folder: RunFolder) -> str:
    rows = folder.table("predictions")
    folds = rows["fold"].dropna().astype(str) if "fold" in rows else pd.Series(dtype=str)
    n_held_out = int((folds != "final").sum())
    if not n_held_out:
        return "None of these speakers was among those that the network was trained on."
    text = f"{n_held_out} recordings were heard by the network of the fold that was trained without their speakers"
    rest = len(folds) - n_held_out
    return f"{text}, {rest} by the final network." if rest else f"{text}."


# Tidy tables


@knowing
def tidy(folder: RunFolder) -> dict[str, bytes]:
    """Tables for R, SPSS and the like, and what their columns mean, by file name; no paths of files are in them.

    `scores.csv` has a row a recording, recipe and metric; `scores_wide.csv` a row a recording and recipe with a column
    a metric; `recordings.csv` a row a recording; `summary.csv` a row a recipe and metric. Fractions, never percent;
    what is not known is empty; names of columns hold in R and SPSS.
    """
    rows = folder.table("predictions")
    manifest = folder.manifest
    names = pd.Series(label_names(manifest).to_numpy(), index=manifest["recording"].astype(str))
    rows = rows.drop(columns=[name for name in ("path", "root", "classes", "sha256") if name in rows])
    label = names.reindex(rows["recording"].astype(str)).to_numpy()
    rows = rows.drop(columns=["label", "labeled"], errors="ignore").assign(label=label)
    classes = list(folder.environment.get("model", {}).get("classes", ()))
    if "predicted" in rows and classes:
        rows["predicted"] = rows["predicted"].map(lambda c: None if pd.isna(c) else classes[int(c)])
    front = [name for name in ("recording", "speaker", "label", "predicted") if name in rows]
    rows = rows[[*front, *(name for name in rows.columns if name not in front)]].replace("unknown", None)
    rows = rows.dropna(axis="columns", how="all")
    scores = folder.table("scores")
    about = [name for name in ("speaker", "label", "predicted", "sex", "age", "task", "model", "fold") if name in rows]
    few = rows[["recording", *about]]
    long = few.merge(scores[["recording", "recipe", "metric", "value"]], on="recording", how="inner")
    wide = scores.pivot(index=["recording", "recipe"], columns="metric", values="value")
    wide = few.merge(wide.reset_index(), on="recording", how="inner")
    frames = {
        "scores.csv": long,
        "scores_wide.csv": wide,
        "recordings.csv": rows,
        "summary.csv": folder.table("summary"),
    }
    metrics = [metric for metric in metrics_of(frames["summary.csv"]) if metric in METRICS]
    written, book = {}, []
    for file, frame in frames.items():
        clean = _clean([str(name) for name in frame.columns])
        for name, column in zip(clean, frame.columns, strict=True):
            book.append([file, name, _kind(frame[column]), *_meaning(str(column), metrics), str(column)])
        written[file] = csv_table(frame.set_axis(clean, axis="columns"))
    head = ["file", "variable", "type", "minimum", "maximum", "unit", "meaning", "name_in_the_run"]
    return {**written, "codebook.csv": csv_text([head, *book]).encode()}


def _clean(names: Sequence[str]) -> list[str]:
    """Names of columns that R and SPSS take: letters, digits and _, at most 60, none twice.

    >>> _clean(["p_PD", "deletion_auc:margin", "2nd visit", "a b", "a-b"])
    ['p_PD', 'deletion_auc_margin', 'v2nd_visit', 'a_b', 'a_b_2']
    """
    found: list[str] = []
    for name in names:
        text = re.sub(r"[^0-9A-Za-z]+", "_", name).strip("_")[:60] or "v"
        text = text if text[0].isalpha() else f"v{text}"
        n = sum(known == text or re.fullmatch(rf"{text}_\d+", known) is not None for known in found)
        found.append(text if text not in found else f"{text}_{n + 1}")
    return found


def _kind(column: pd.Series[Any]) -> str:
    if pd.api.types.is_bool_dtype(column):
        return "true or false"
    if pd.api.types.is_integer_dtype(column):
        return "integer"
    return "number" if pd.api.types.is_numeric_dtype(column) else "text"


_MEANING = {
    "recording": ("", "", "", "Id of the recording."),
    "speaker": ("", "", "", "Pseudonym of the speaker: recordings of one speaker are not independent."),
    "label": ("", "", "", "Class that the data set states."),
    "predicted": ("", "", "", "Class that the classifier gives the largest probability."),
    "sex": ("", "", "", "F or M."),
    "age": ("", "", "years", "Age of the speaker."),
    "task": ("", "", "", "What was spoken."),
    "model": ("", "", "", "Classifier."),
    "fold": ("", "", "", "Which network answered: of the fold that never heard the speaker, or the final one."),
    "recipe": ("", "", "", "How the map was made: a method or a combination of methods."),
    "metric": ("", "", "", "What was measured; every metric is a variable of scores_wide.csv."),
    "value": ("", "", "", "Value of the metric; a fraction where it has bounds 0 and 1; empty where it is undefined."),
    "n_forward": ("0", "", "passes", "Forward passes through the network."),
    "n_backward": ("0", "", "passes", "Backward passes through the network."),
    "scope_reason": ("", "", "", "Why it is not."),
    "dataset": ("", "", "", "Data set."),
    "mean_mask": ("0", "1", "", "Mean of the evidence over all bins: the budget of the soft mask."),
    "duration_s": ("0", "", "s", "Length of the recording."),
    "updrs": (
        "",
        "",
        "points",
        "Motor score of the Unified Parkinson's Disease Rating Scale, as the data set states it.",
    ),
    "updrs_speech": ("", "", "points", "Speech item of that scale."),
    "hoehn_yahr": ("", "", "stage", "Hoehn and Yahr stage."),
    "sample_rate": ("", "", "Hz", "Of the file."),
    "scope": ("", "", "", "Whether the recording is like those that the model was made for."),
    "mean": ("", "", "as the metric", "Mean over speakers, each the mean of that speaker's recordings."),
    "low": ("", "", "as the metric", "Lower end of the 95 % interval over speakers."),
    "high": ("", "", "as the metric", "Upper end of the 95 % interval over speakers."),
    "std": ("", "", "as the metric", "Standard deviation over recordings."),
    "n": ("0", "", "recordings", "Recordings with a value."),
    "n_nan": ("0", "", "recordings", "Recordings where the metric is undefined."),
    "n_speakers": ("0", "", "speakers", "Speakers with a value."),
}


def _meaning(column: str, metrics: Sequence[str]) -> tuple[str, ...]:
    """Minimum, maximum, unit and meaning of a column of the tidy tables."""
    if column in metrics:
        low, high = METRICS.facts(column)["bounds"]
        bounds = ["" if bound is None else f"{bound:g}" for bound in (low, high)]
        better = {"high": " Higher is better.", "low": " Lower is better.", "none": ""}[METRICS.facts(column)["best"]]
        return *bounds, "", METRICS.summary(column) + better
    if column in _MEANING:
        return _MEANING[column]
    if column.startswith("p_"):
        return "0", "1", "", f"Probability of {column[2:]} that the classifier states."
    found = re.fullmatch(r"vs_(\w+?)(_low|_high|_p)?", column)
    if found is not None:
        what = {
            None: "Mean paired difference",
            "_low": "Lower end of the 95 % interval of the difference",
            "_high": "Upper end of the 95 % interval of the difference",
            "_p": "Corrected p-value (sign flips, Holm)",
        }
        ends = ("0", "1") if found[2] == "_p" else ("", "")
        return *ends, "", f"{what[found[2]]}, to the control {found[1]}."
    if column.endswith("_s"):
        return "0", "", "s", "Time that a step took."
    if column.startswith("n_"):
        return "0", "", "", f"Number: {column[2:].replace('_', ' ')}."
    return "", "", "", "A column of the data set or of the run."
