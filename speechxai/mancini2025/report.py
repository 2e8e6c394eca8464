"""The report of the published protocol as HTML, Markdown, LaTeX and CSV: the same tables in each."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from speechxai.evaluation.runs import RunFolder
from speechxai.explain.backprop import VANISHED
from speechxai.explain.recipe import PUBLISHED_METHODS, parse
from speechxai.files import csv_table, naming_folder, write_atomically
from speechxai.mancini2025.maps import published_running_means, raw_fidelity_count, undo_running_means
from speechxai.mancini2025.unit import (
    BATCH,
    CORRECTED,
    DEGENERATE,
    MENDED_MAP,
    NUDGE,
    NUDGED_MAP,
    OTHER_LEVEL,
    PD_METRICS,
    PREDICTED_CLASS,
)
from speechxai.metrics import PUBLISHED_METRICS
from speechxai.report.latex import LATEX_NEEDS, latex
from speechxai.report.render import (
    NONE,
    PERCENT,
    Cell,
    Finding,
    Row,
    Table,
    grouped,
    markdown,
    number,
    page,
    short_name,
)

if TYPE_CHECKING:
    import pandas as pd


# The published protocol's numbers beside the authors' and the corrected ones, and what each correction changes by
# itself.
METRICS_SHOWN = (*PUBLISHED_METRICS, "mean_mask")
PAIRS = tuple(combinations(PUBLISHED_METHODS, 2))

CORRECTIONS = {
    "level": "Recordings divided by their peak → at the level of their files",
    "batch_maximum": "Masks divided by the maximum of the batch → by each recording's own",
    "second_threshold": "IoU with the first map's thresholds for both → each map by its own maximum",
    "pooled_overlap": "IoU of bins added over a fold → mean of the recordings' own",
    "running_means": "Overlap tables as running means over pairs → each pair's own mean",
    "fidelity_count": "Fid-In counted over all pairs of recordings → each recording with itself",
    "probability_of_pd": "AI, AD, AG from P(PD) for every recording → from the predicted class",
    "guided_backprop": "Guided backpropagation through ReLU modules only → through every rectifier, GELU included",
    "guided_gradcam": "Guided Grad-CAM with hidden units as frequency → with time steps as time",
    "leak": "Auxiliary classifier split by clip, so that speakers leak → by speaker",
}
"""The level and the sum over folds that the published code chose and its eight defects, and what stands in their
place."""


@cache
def reference() -> dict[str, Any]:
    """The authors' figures, as their repository holds them."""
    text = resources.files("speechxai").joinpath("templates", "mancini2025_reference.toml").read_text("utf-8")
    return tomllib.loads(text)


def authors_figures() -> dict[tuple[str, str], dict[str, float]]:
    """(recipe, metric) -> authors' mean, std and, for combinations, the running mean as printed; AI, AD, AG in percent.

    Means of combinations are recovered from the running means, see `undo_running_means`.
    """
    content = reference()
    columns = content["columns"]
    found = {}
    for method, row in content["single"].items():
        for metric, mean, std in zip(columns, row["mean"], row["std"], strict=True):
            found[method, metric] = {"authors": mean, "authors_std": std}
        mean_mask = dict(zip(content["auxiliary"]["columns"], content["auxiliary"][method], strict=True))["mean_mask"]
        found[method, "mean_mask"] = {"authors": mean_mask}
    for kind in ("union", "intersection"):
        recipes = [f"{kind}({', '.join(row['pair'])})" for row in content[kind]]
        recipes = [_in_our_order(recipe) for recipe in recipes]
        for place, metric in enumerate([*columns, "iou"]):
            printed = [row["printed"][place] for row in content[kind]]
            for recipe, shown, own in zip(recipes, printed, undo_running_means(printed), strict=True):
                found[recipe, metric] = {"authors": own, "authors_printed": shown}
    return found


def _in_our_order(recipe: str) -> str:
    """The same pair as `published_recipes` writes it: sums and products do not depend on the order."""
    parsed = parse(recipe)
    return f"{parsed.name}({', '.join(sorted(parsed.methods, key=PUBLISHED_METHODS.index))})"


def by_fold(folder: RunFolder) -> dict[tuple[str, str], list[float]]:
    """(recipe, metric) -> mean of every fold, fractions; Fid-In also as `fidelity_count`, the published raw count."""
    scores = folder.scores()
    means = scores.groupby(["recipe", "metric", "fold"], sort=False, observed=True)["value"].mean()
    found: dict[tuple[str, str], list[float]] = {}
    for key, value in means.sort_index(level="fold", sort_remaining=False).to_dict().items():
        found.setdefault((str(key[0]), str(key[1])), []).append(float(value))  # type: ignore[index]
    fidelity = scores[scores["metric"] == "input_fidelity"]
    for (recipe, _), part in fidelity.groupby(["recipe", "fold"], sort=True, observed=True):
        found.setdefault((str(recipe), "fidelity_count"), []).append(_count(part))
    return found


def _count(part: pd.DataFrame) -> float:
    """Mean raw count of one fold: from whether each recording's kept evidence has its class follows that class."""
    part = part.dropna(subset=["value"])
    if part.empty:
        return math.nan
    original = torch.tensor(part["predicted"].to_numpy(dtype=int))
    kept = torch.where(torch.tensor(part["value"].to_numpy() == 1), original, 1 - original)
    return float(raw_fidelity_count(original, kept).double().mean())


def overlaps(folder: RunFolder, *, pooled: bool, own: bool = False) -> dict[str, list[float]]:
    """ "first | second" -> IoU of every fold: counts added over the fold as published, those of each map's `own`
    thresholds, or the mean over recordings."""
    names = ("n_both_own", "n_either_own") if own else ("n_both", "n_either")
    sums: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for unit in folder.units():
        for pair, values in unit.agreement.items():
            both, either = (values.get(name, math.nan) for name in names)
            counts = (both, either) if pooled else (values["iou"], 1.0)
            if not math.isnan(counts[0]):
                sums.setdefault(pair, {}).setdefault(str(unit.facts["fold"]), []).append(counts)
    found = {}
    for pair, folds in sums.items():
        totals = [(sum(a for a, _ in counts), sum(b for _, b in counts)) for _, counts in sorted(folds.items())]
        found[pair] = [a / b if b else math.nan for a, b in totals]
    return found


def mean_std(values: list[float]) -> tuple[float, float]:
    """Mean and standard deviation over folds, divided by n as the authors' are; NaN folds are left out."""
    defined = [value for value in values if not math.isnan(value)]
    if not defined:
        return math.nan, math.nan
    mean = sum(defined) / len(defined)
    return mean, math.sqrt(sum((value - mean) ** 2 for value in defined) / len(defined))


def second_pass(folder: RunFolder) -> RunFolder | None:
    """The run scored by the maxima of batch and fold, or None."""
    return _inside(folder, BATCH)


def corrected_run(folder: RunFolder) -> RunFolder | None:
    """The run under the corrected protocol, or None."""
    return _inside(folder, CORRECTED)


def other_level(folder: RunFolder) -> RunFolder | None:
    """The single maps at the other level, or None."""
    return _inside(folder, OTHER_LEVEL)


def _inside(folder: RunFolder, name: str) -> RunFolder | None:
    path = folder.path / name
    return RunFolder.open(path) if (path / "summary.csv").is_file() else None


def comparison(folder: RunFolder) -> pd.DataFrame:
    """One row for every recipe and metric: ours under the published definitions, the authors', the corrected
    protocol's.

    Columns: recipe, metric, published and published_std (over folds), n_folds, authors, authors_std, authors_printed
        (running means),
    corrected with low and high (95 %, over speakers), degenerate, noise (nobody can reproduce it, see `rounding`),
    undefined (n recordings without a value, published side).
    AI, AD and AG in percent. Fid-In is the raw count on the published side and the share on the corrected one.
    """
    import pandas as pd

    source = second_pass(folder) or folder
    ours, authors = by_fold(source), authors_figures()
    summary = folder.table("summary") if source is folder else source.table("summary")
    undefined = {(str(r["recipe"]), str(r["metric"])): int(r["n_nan"]) for r in summary.to_dict("records")}
    right, right_iou = _corrected(folder)
    iou = {tuple(pair.split(" | ")): values for pair, values in _pair_overlaps(source).items()}
    recipes = [str(parse(recipe)) for recipe in folder.environment["recipes"]]
    noise = rounding(folder)
    rows = []
    for recipe in recipes:
        parsed = parse(recipe)
        metrics = [m for m in METRICS_SHOWN if m == "mean_mask" or m in folder.environment["metrics"]]
        for metric in [*metrics, *(["iou"] if parsed.parts else [])]:
            scale = 100.0 if metric in PERCENT else 1.0
            if metric == "iou":
                pair = parsed.methods if parsed.methods in iou else parsed.methods[::-1]
                values = iou.get(pair, [])
            else:
                values = ours.get((recipe, "fidelity_count" if metric == "input_fidelity" else metric), [])
            mean, std = mean_std(values)
            low_high = right.get((recipe, metric), {})
            if metric == "iou":
                low_high = {"mean": right_iou.get(frozenset(parsed.methods), math.nan)}
            rows.append(
                {
                    "recipe": recipe,
                    "metric": metric,
                    "published": scale * mean,
                    "published_std": scale * std,
                    "n_folds": len(values),
                    **{
                        "authors": math.nan,
                        "authors_std": math.nan,
                        "authors_printed": math.nan,
                        **authors.get((recipe, metric), {}),
                    },
                    "corrected": scale * low_high.get("mean", math.nan),
                    "low": scale * low_high.get("low", math.nan),
                    "high": scale * low_high.get("high", math.nan),
                    "degenerate": bool(set(parsed.methods) & set(DEGENERATE)),
                    "noise": noise is not None and noise.n_vanished > 0 and "guided_gradcam" in parsed.methods,
                    "undefined": undefined.get((recipe, metric), 0),
                }
            )
    return pd.DataFrame(rows)


def _pair_overlaps(source: RunFolder) -> dict[str, list[float]]:
    has_counts = any("n_both" in values for unit in source.units() for values in unit.agreement.values())
    return overlaps(source, pooled=has_counts)


def _corrected(folder: RunFolder) -> tuple[dict[tuple[str, str], dict[str, float]], dict[frozenset[str], float]]:
    """Mean, low and high by recipe and metric, and mean IoU by pair, of the corrected run; empty where there is
    none."""
    run = corrected_run(folder)
    if run is None:
        return {}, {}
    table = {
        (str(row["recipe"]), str(row["metric"])): {name: float(row[name]) for name in ("mean", "low", "high")}
        for row in run.table("summary").to_dict("records")
    }
    iou = {
        frozenset((str(r["first"]), str(r["second"]))): float(r["iou"])
        for r in run.table("agreement").to_dict("records")
    }
    return table, iou


def corrections(folder: RunFolder) -> pd.DataFrame:
    """What each correction changes by itself: correction, metric, recipe, published, corrected, difference; everything
    else as published, but that maps of another level or rule are divided by their own maximum on both sides.

    Means over folds; AI, AD, AG in percent. A correction whose part was not run has one row of NaN.
    """
    import pandas as pd

    rows = list(_rows(folder))
    present = {row[0] for row in rows}
    rows += [(name, "", "", math.nan, math.nan) for name in CORRECTIONS if name not in present]
    frame = pd.DataFrame(rows, columns=["correction", "metric", "recipe", "published", "corrected"])
    frame["difference"] = frame["corrected"] - frame["published"]
    order = {name: number for number, name in enumerate(CORRECTIONS)}
    return frame.sort_values("correction", key=lambda names: names.map(order), kind="stable").reset_index(drop=True)


def _rows(folder: RunFolder) -> Iterator[tuple[str, str, str, float, float]]:
    first, second = by_fold(folder), second_pass(folder)
    other = first if second is None else by_fold(second)
    singles = [recipe for recipe in map(str, folder.environment["recipes"]) if recipe in PUBLISHED_METHODS]

    def mean(table: dict[tuple[str, str], list[float]], recipe: str, metric: str) -> float:
        scale = 100.0 if metric.rpartition(".")[2] in PERCENT else 1.0
        return scale * mean_std(table.get((recipe, metric), []))[0]

    level = other_level(folder)
    if level is not None:
        at_peak, as_it_is = first, by_fold(level)
        heard = [accuracy_by_fold(folder), accuracy_by_fold(level)]
        if folder.config.get("published", {}).get("level") == "none":
            at_peak, as_it_is, heard = as_it_is, at_peak, heard[::-1]
        yield "level", "accuracy", "the classifier", mean_std(heard[0])[0], mean_std(heard[1])[0]
        for recipe in singles:
            for metric in METRICS_SHOWN:
                if (recipe, metric) in first:
                    yield "level", metric, recipe, mean(at_peak, recipe, metric), mean(as_it_is, recipe, metric)
    for recipe in singles:
        if second is not None:
            for metric in METRICS_SHOWN:
                if (recipe, metric) in first:
                    yield "batch_maximum", metric, recipe, mean(other, recipe, metric), mean(first, recipe, metric)
        if (recipe, "fidelity_count") in other:
            yield (
                "fidelity_count",
                "input_fidelity",
                recipe,
                mean(other, recipe, "fidelity_count"),
                mean(other, recipe, "input_fidelity"),
            )
        for metric in PD_METRICS:
            if (recipe, PREDICTED_CLASS + metric) in other:
                yield (
                    "probability_of_pd",
                    metric,
                    recipe,
                    mean(other, recipe, metric),
                    mean(other, recipe, PREDICTED_CLASS + metric),
                )
        for metric in METRICS_SHOWN:
            if (recipe, MENDED_MAP + metric) in first:
                yield recipe, metric, recipe, mean(first, recipe, metric), mean(first, recipe, MENDED_MAP + metric)
    if second is not None:
        published, own = overlaps(second, pooled=True), overlaps(second, pooled=True, own=True)
        apart = overlaps(second, pooled=False)
        pairs = [pair for pair in published if set(pair.split(" | ")) <= set(PUBLISHED_METHODS)]
        running = published_running_means({pair: published[pair] for pair in pairs})
        for pair in pairs:
            value = mean_std(published[pair])[0]
            yield "second_threshold", "iou", pair, value, mean_std(own.get(pair, []))[0]
            yield "pooled_overlap", "iou", pair, value, mean_std(apart.get(pair, []))[0]
            yield "running_means", "iou", pair, running[pair], value
        for kind in ("union", "intersection"):
            for metric in PUBLISHED_METRICS:
                name = "fidelity_count" if metric == "input_fidelity" else metric
                scale = 100.0 if metric in PERCENT else 1.0
                values = {r: other[r, name] for r in published_order(folder, kind) if (r, name) in other}
                for recipe, printed in published_running_means(values).items():
                    yield "running_means", metric, recipe, scale * printed, scale * mean_std(values[recipe])[0]
    for name, row in auxiliary_accuracy(folder).items():
        yield "leak", "auxiliary accuracy", name, row["by_recording"], row["by_speaker"]


def published_order(folder: RunFolder, kind: str) -> list[str]:
    """The run's unions or intersections of two published methods, in the order of the published loop."""
    pairs = {frozenset(pair): number for number, pair in enumerate(PAIRS)}
    found = {
        str(recipe): pairs[frozenset(recipe.methods)]
        for recipe in map(parse, folder.environment["recipes"])
        if recipe.name == kind and len(recipe.parts) == 2 and frozenset(recipe.methods) in pairs
    }
    return sorted(found, key=lambda recipe: found[recipe])


def accuracy_by_fold(folder: RunFolder) -> list[float]:
    """Share of right answers of every fold, percent."""
    predictions = folder.table("predictions").dropna(subset=["label"])
    right = 100.0 * (predictions["predicted"] == predictions["label"])
    return [float(part.mean()) for _, part in right.groupby(predictions["fold"], sort=True)]


def auxiliary_accuracy(folder: RunFolder) -> dict[str, dict[str, float]]:
    """Accuracy of the auxiliary classifier by recipe, split by clip (the speakers leak) and by speaker, of the run's
    first finished study."""
    from speechxai.auxiliary.folder import finished_studies

    for study in finished_studies(folder.path):
        table = study.table("leak")
        table = table[(table["architecture"] == study.settings.architecture) & (table["metric"] == "accuracy")]
        if not table.empty:
            return {
                str(row["name"]): {split: float(row[split]) for split in ("by_recording", "by_speaker")}
                for row in table.to_dict("records")
            }
    return {}


# The report of the published protocol as HTML, Markdown, LaTeX and CSV: the same tables in each.
DIGITS = {
    "average_increase": 2,
    "average_drop": 2,
    "average_gain": 2,
    "faithfulness": 4,
    "input_fidelity": 2,
    "sparseness": 3,
    "complexity": 2,
    "mean_mask": 4,
    "iou": 4,
    "accuracy": 1,
}
NAMES = {"mean_mask": "mean mask", "iou": "IoU", "accuracy": "accuracy (%)"}
DAGGER, DOUBLE_DAGGER = "†", "‡"
"""Marks recipes whose published map is degenerate, and those whose numbers are rounding noise."""

NOTES = (
    (
        f"{DAGGER} degenerate map: guided backpropagation follows the rule at ReLU modules only (the GELU of a"
        " transformer is left alone), and guided Grad-CAM is what captum gives on a transformer's layer, hidden units"
        " laid over frequency."
    ),
    (
        "Published: the published definitions, masks divided by the maximum of batch and fold; mean ± standard"
        " deviation over folds (divided by n). AI, AD, AG in percent; Fid-In is the raw count over a fold's recordings,"
        " so it grows with the fold. Recordings are heard once, as published."
    ),
    (
        "Authors: figures of the authors' repository for PC-GITA, SSL4PR HuBERT-base, 10 folds. Their tables of"
        " combinations are running means; shown is each pair's own mean, recovered from them."
    ),
    (
        "Corrected: standard protocol on the same recordings and networks: logit of the predicted class, each map by"
        " its own maximum, every rectifier, time steps as time, no repeated clips, the level that the model asks for;"
        " mean over speakers with 95 % interval. Fid-In is a share. “–” is undefined or not there."
    ),
)


def write_protocol(folder: RunFolder) -> Path:
    """Write protocol.html, .md, .tex, and the numbers as protocol.csv and corrections.csv into the run's folder.

    Returns:
        Path of the HTML file.

    Raises:
        SpeechXAIError: tables of the run are missing, or the folder cannot be written.
    """
    compared, changed, noise = comparison(folder), corrections(folder), rounding(folder)
    tables = build(folder, compared, changed, noise)
    files = {
        "protocol.html": protocol_html(folder, tables, noise),
        "protocol.md": protocol_markdown(folder, tables, noise),
        "protocol.tex": "\n".join([LATEX_NEEDS, *map(latex, tables)]),
        "protocol.csv": csv_table(compared).decode(),
        "corrections.csv": csv_table(changed).decode(),
    }
    with naming_folder(folder.path, "write the protocol's report"):
        for name, text in files.items():
            write_atomically(folder.path / name, text.encode())
    return folder.path / "protocol.html"


def build(
    folder: RunFolder, compared: pd.DataFrame, changed: pd.DataFrame, noise: Rounding | None = None
) -> list[Table]:
    """All tables of the report: what each correction changes, classifier, one a group of maps, auxiliary, running
    means."""
    tables = [correction_table(changed), classifier_table(folder)]
    for group, recipes in grouped(list(dict.fromkeys(compared["recipe"]))).items():
        part = compared[compared["recipe"].isin(recipes)]
        for half in ((*METRICS_SHOWN[:4],), (*METRICS_SHOWN[4:], "iou")):
            shown = [metric for metric in half if (part["metric"] == metric).any()]
            if shown:
                tables.append(comparison_table(part, group, shown))
    accuracy = auxiliary_accuracy(folder)
    if accuracy:
        tables.append(auxiliary_table(accuracy))
    if noise is not None:
        tables.append(noise_table(noise))
    return [*tables, detail_table(changed), running_table()]


def _row(name: str, *texts: str, group: str = "") -> Row:
    return Row(name, tuple(map(Cell, texts)), group)


def metric_name(metric: str) -> str:
    """Heading of a metric."""
    percent = " (%)" if short_name(metric) in ("AI", "AD", "AG") else ""
    return NAMES.get(metric, short_name(metric)) + percent


def _digits(metric: str) -> int:
    return DIGITS.get(metric, 3)


def correction_table(changed: pd.DataFrame) -> Table:
    """One row a correction and metric: mean over maps or pairs as published and corrected, mean difference and the
    largest."""
    rows: list[Row] = []
    for name, meaning in CORRECTIONS.items():
        for metric, part in changed[changed["correction"] == name].groupby("metric", sort=False):
            if metric == "":
                rows.append(_row("not run", NONE, NONE, NONE, NONE, "0", group=meaning))
                continue
            n, means = _digits(str(metric)), part[["published", "corrected", "difference"]].mean()
            largest = max(part["difference"].dropna(), key=abs, default=math.nan)
            cells = [number(float(value), n) for value in (*means, largest)]
            n_compared = str(int(part["difference"].notna().sum()))
            rows.append(_row(metric_name(str(metric)), *cells, n_compared, group=meaning))
    columns = ("metric", "published", "corrected", "difference", "largest", "maps or pairs")
    return Table(
        "What each correction changes by itself, everything else as published: means over maps", columns, tuple(rows)
    )


def detail_table(changed: pd.DataFrame) -> Table:
    """Every row behind `correction_table`."""
    rows: list[Row] = []
    for name, meaning in CORRECTIONS.items():
        for row in changed[(changed["correction"] == name) & (changed["metric"] != "")].to_dict("records"):
            n = _digits(str(row["metric"]))
            cells = [number(float(row[key]), n) for key in ("published", "corrected", "difference")]
            rows.append(_row(f"{row['recipe']}, {metric_name(str(row['metric']))}", *cells, group=meaning))
    return Table("The same, map by map", ("map and metric", "published", "corrected", "difference"), tuple(rows))


def classifier_table(folder: RunFolder) -> Table:
    """Accuracy, sensitivity and specificity in percent: mean and standard deviation over folds, recordings heard as
    published."""
    predictions = folder.table("predictions").dropna(subset=["label"])
    measures: dict[str, list[float]] = {"accuracy": [], "sensitivity": [], "specificity": []}
    for _, part in predictions.groupby("fold"):
        right = (part["predicted"] == part["label"]).astype(float)
        pd_only = part["label"] == 1
        for name, values in (("accuracy", right), ("sensitivity", right[pd_only]), ("specificity", right[~pd_only])):
            measures[name].append(100 * float(values.mean()))
    authors = reference()["classifier"]
    rows = tuple(
        _row(name, _spread(*mean_std(values), 1), _spread(authors[name][0], authors[name][1], 1))
        for name, values in measures.items()
    )
    return Table(
        "The classifier, by recording: percent, mean ± standard deviation over folds",
        ("measure", "ours", "authors"),
        rows,
    )


def comparison_table(part: pd.DataFrame, group: str, metrics: Sequence[str]) -> Table:
    """Recipes with three columns a metric: ours as published, the authors', the corrected protocol's."""
    rows = []
    for recipe, own in part.groupby("recipe", sort=False):
        cells = []
        for metric in metrics:
            found = own[own["metric"] == metric]
            if found.empty:
                cells += ["–", "–", "–"]
                continue
            row, n = found.iloc[0], _digits(metric)
            interval = f" [{number(row['low'], n)}, {number(row['high'], n)}]" if not math.isnan(row["low"]) else ""
            lost = f" ({row['undefined']} undefined)" if row["undefined"] else ""
            cells += [
                _spread(row["published"], row["published_std"], n) + lost,
                _spread(row["authors"], row["authors_std"], n),
                number(row["corrected"], n) + interval,
            ]
        mark = f" {DAGGER}" if bool(own["degenerate"].iloc[0]) else ""
        mark += DOUBLE_DAGGER if bool(own["noise"].iloc[0]) else ""
        rows.append(_row(f"{recipe}{mark}", *cells))
    columns = [f"{metric_name(metric)} {side}" for metric in metrics for side in ("published", "authors", "corrected")]
    names = ", ".join(metric_name(metric) for metric in metrics)
    return Table(f"{group}: {names}", ("map", *columns), tuple(rows))


def _spread(mean: float, std: float, n_digits: int) -> str:
    return number(mean, n_digits) + ("" if math.isnan(std) else f" ± {number(std, n_digits)}")


def auxiliary_table(accuracy: dict[str, dict[str, float]]) -> Table:
    """Accuracy of the auxiliary classifier: split by clip as published, the authors', and by speaker."""
    content = reference()["auxiliary"]
    rows = tuple(
        _row(
            name,
            number(row["by_recording"], 3),
            number(content[name][0], 2) if name in content else "–",
            number(row["by_speaker"], 3),
        )
        for name, row in accuracy.items()
    )
    caption = (
        "Auxiliary classifier, accuracy: split by clip the tested speakers are in the training data (a leak, never a"
        " result)"
    )
    return Table(caption, ("input", "by clip: LEAKS", "authors, by clip", "by speaker"), rows)


def running_table() -> Table:
    """The authors' IoU as printed, and each pair's own, which follows from the running means."""
    figures = authors_figures()
    rows = tuple(
        _row(
            recipe.removeprefix("union"),
            number(row["authors_printed"], 4),
            number(row["authors"], 4),
            number(row["authors"] - row["authors_printed"], 4),
        )
        for (recipe, metric), row in figures.items()
        if metric == "iou" and recipe.startswith("union")
    )
    caption = (
        "The authors' own IoU figures: printed as running means over all pairs so far, and each pair's own mean that"
        " follows from them"
    )
    return Table(caption, ("pair, in the printed order", "printed", "its own", "difference"), rows)


@dataclass(frozen=True, eq=False)
class Rounding:
    """How much of the published guided Grad-CAM is the rounding of the machine.

    Args:
        n_recordings: recordings with such a map.
        n_vanished: those whose weights are nothing but rounding, see `backprop.rounding_of`.
        weight: median size of the weights beside the gradients that they are the means of.
        change: median change of the mask, as a share of its size, when the recording changes by NUDGE.
        scores: metric, published and nudged (means over folds), difference and largest difference of one recording.
    """

    n_recordings: int
    n_vanished: int
    weight: float
    change: float
    scores: pd.DataFrame


def rounding(folder: RunFolder) -> Rounding | None:
    """Compare the published guided Grad-CAM with the same map of recordings that changed by NUDGE; None without one."""
    import pandas as pd

    facts = [unit.facts for unit in folder.units() if "gradcam_weight" in unit.facts]
    if not facts:
        return None
    weights = torch.tensor([float(each["gradcam_weight"]) for each in facts])
    changes = torch.tensor([float(each["gradcam_change"]) for each in facts])
    scores, folds = folder.scores(), by_fold(folder)
    scores = scores[scores["recipe"] == "guided_gradcam"]
    values = scores.pivot(index="recording", columns="metric", values="value")
    rows = []
    for metric in METRICS_SHOWN:
        nudged = NUDGED_MAP + metric
        if metric in values and nudged in values:
            scale = 100.0 if metric in PERCENT else 1.0
            means = [scale * mean_std(folds["guided_gradcam", name])[0] for name in (metric, nudged)]
            largest = scale * float((values[nudged] - values[metric]).abs().max())
            rows.append([metric, *means, means[1] - means[0], largest])
    columns = ["metric", "published", "nudged", "difference", "largest"]
    return Rounding(
        len(facts),
        sum(bool(each.get("gradcam_vanished", each["gradcam_weight"] < VANISHED)) for each in facts),
        float(weights.quantile(0.5)),
        float(changes.nanquantile(0.5)),
        pd.DataFrame(rows, columns=columns),
    )


def noise_table(noise: Rounding) -> Table:
    """The published guided Grad-CAM twice: as it is, and of recordings that changed by less than float32 can hold."""
    rows = []
    for row in noise.scores.to_dict("records"):
        n = _digits(str(row["metric"]))
        cells = [number(float(row[key]), n) for key in ("published", "nudged", "difference", "largest")]
        rows.append(_row(metric_name(str(row["metric"])), *cells))
    return Table(
        f"Guided Grad-CAM when every bin of a recording moves by at most {NUDGE:.0e} of its largest magnitude",
        ("metric", "published", "moved", "difference", "largest of one recording"),
        tuple(rows),
    )


def warnings_of(noise: Rounding | None) -> list[str]:
    """What nobody can reproduce, in sentences."""
    if noise is None or not noise.n_vanished:
        return []
    return [
        f"{DOUBLE_DAGGER} Rounding noise: in {noise.n_vanished} of {noise.n_recordings} recordings the weights of the"
        f" published guided Grad-CAM are {noise.weight:.0e} of the gradients they are the means of (median), which is"
        " the rounding of float32: the network reads the layer through a LayerNorm, whose gradients sum to 0 over"
        f" features. A change of the recording by {NUDGE:.0e} moves the mask by {100 * noise.change:.0f} % of its size"
        " (median). Guided Grad-CAM, its unions, intersections and IoUs cannot be reproduced by anyone."
    ]


def missing_parts(folder: RunFolder) -> list[str]:
    """What the report lacks, in sentences."""
    found = []
    if second_pass(folder) is None:
        found.append(
            "The second pass is missing (the run kept no maps): published numbers are by each recording's own maximum."
        )
    if other_level(folder) is None:
        found.append("The maps were not made at the other level.")
    if corrected_run(folder) is None:
        found.append("The corrected protocol was not run.")
    if not auxiliary_accuracy(folder):
        found.append(
            "No auxiliary study with both splits belongs to this run: the configuration mancini2025-auxiliary makes"
            " one."
        )
    return found


def protocol_markdown(folder: RunFolder, tables: Sequence[Table], noise: Rounding | None = None) -> str:
    """The report as Markdown."""
    lines = [f"# The published protocol: {folder.environment['model']['name']}", ""]
    lines += [f"- {note}" for note in (*warnings_of(noise), *NOTES, *missing_parts(folder))]
    lines += [f"\n**{table.title}**\n\n{markdown(table)}" for table in tables]
    return "\n".join([*lines, ""])


def protocol_html(folder: RunFolder, tables: Sequence[Table], noise: Rounding | None = None) -> str:
    """The report as one page that asks no server for anything."""
    return page(
        "protocol.html.j2",
        model=folder.environment["model"]["name"],
        source=reference()["source"],
        notes=NOTES,
        missing=[
            *(Finding(sentence, "caution") for sentence in warnings_of(noise)),
            *(Finding(f"Not there: {sentence}", "caution") for sentence in missing_parts(folder)),
        ],
        tables=tables,
        n_recordings=len(folder.done_units()),
    )
