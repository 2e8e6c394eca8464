"""The report of the published protocol as HTML, Markdown, LaTeX and CSV: the same tables in each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechxai import __version__
from speechxai.io.files import naming_folder, write_atomically
from speechxai.io.runs import RunFolder
from speechxai.report_protocol import (
    CORRECTIONS,
    METRICS_SHOWN,
    authors_figures,
    auxiliary_accuracy,
    comparison,
    corrected_run,
    corrections,
    reference,
    second_pass,
)
from speechxai.report_tables import grouped, number, short_name

if TYPE_CHECKING:
    import pandas as pd

DIGITS = {
    "average_increase": 2, "average_drop": 2, "average_gain": 2, "faithfulness": 4, "input_fidelity": 2, "sparseness": 3, "complexity": 2,
    "mean_mask": 4, "iou": 4,
}  # fmt: skip
NAMES = {"mean_mask": "mean mask", "iou": "IoU"}
DAGGER = "†"
"""Marks recipes whose published map is degenerate."""

NOTES = (
    f"{DAGGER} degenerate map: guided backpropagation follows the rule at ReLU modules only (the GELU of a transformer is left alone), and guided "
    "Grad-CAM is what captum gives on a transformer's layer, hidden units laid over frequency.",
    "Published: the published definitions, masks divided by the maximum of batch and fold; mean ± standard deviation over folds (divided by n). "
    "AI, AD, AG in percent; Fid-In is the raw count over a fold's recordings, so it grows with the fold.",
    "Authors: figures of the authors' repository for PC-GITA, SSL4PR HuBERT-base, 10 folds. Their tables of combinations are running means; "
    "shown is each pair's own mean, recovered from them.",
    "Corrected: standard protocol on the same recordings and networks: logit of the predicted class, each map by its own maximum, every "
    "rectifier, time steps as time, no repeated clips; mean over speakers with 95 % interval. Fid-In is a share. “–” is undefined or not there.",
)


@dataclass(frozen=True)
class Table:
    """A table of text: the first column names the row; a row of one cell is a heading."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def write_protocol(folder: RunFolder) -> Path:
    """Write protocol.html, .md, .tex, and the numbers as protocol.csv and corrections.csv into the run's folder.

    Returns:
        Path of the HTML file.

    Raises:
        SpeechXAIError: tables of the run are missing, or the folder cannot be written.
    """
    compared, changed = comparison(folder), corrections(folder)
    tables = build(folder, compared, changed)
    files = {
        "protocol.html": html(folder, tables), "protocol.md": markdown(folder, tables), "protocol.tex": latex(tables),
        "protocol.csv": compared.to_csv(index=False, lineterminator="\n"), "corrections.csv": changed.to_csv(index=False, lineterminator="\n"),
    }  # fmt: skip
    with naming_folder(folder.path, "write the protocol's report"):
        for name, text in files.items():
            write_atomically(folder.path / name, text.encode())
    return folder.path / "protocol.html"


def build(folder: RunFolder, compared: pd.DataFrame, changed: pd.DataFrame) -> list[Table]:
    """All tables of the report: what each correction changes, classifier, one a group of maps, auxiliary, running means."""
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
    return [*tables, detail_table(changed), running_table()]


def metric_name(metric: str) -> str:
    """Heading of a metric."""
    percent = " (%)" if short_name(metric) in ("AI", "AD", "AG") else ""
    return NAMES.get(metric, short_name(metric)) + percent


def _digits(metric: str) -> int:
    return DIGITS.get(metric, 3)


def correction_table(changed: pd.DataFrame) -> Table:
    """One row a correction and metric: mean over maps or pairs as published and corrected, mean difference and the largest."""
    rows: list[tuple[str, ...]] = []
    for name, meaning in CORRECTIONS.items():
        rows.append((meaning,))
        for metric, part in changed[changed["correction"] == name].groupby("metric", sort=False):
            if metric == "":
                rows.append(("not run", "–", "–", "–", "–", "0"))
                continue
            n, means = _digits(str(metric)), part[["published", "corrected", "difference"]].mean()
            largest = max(part["difference"].dropna(), key=abs, default=math.nan)
            cells = [number(float(value), n) for value in (*means, largest)]
            rows.append((metric_name(str(metric)), *cells, str(int(part["difference"].notna().sum()))))
    columns = ("metric", "published", "corrected", "difference", "largest", "maps or pairs")
    return Table("What each correction changes by itself, everything else as published: means over maps", columns, tuple(rows))  # fmt: skip


def detail_table(changed: pd.DataFrame) -> Table:
    """Every row behind `correction_table`."""
    rows: list[tuple[str, ...]] = []
    for name, meaning in CORRECTIONS.items():
        rows.append((meaning,))
        for row in changed[(changed["correction"] == name) & (changed["metric"] != "")].to_dict("records"):
            n = _digits(str(row["metric"]))
            cells = [number(float(row[key]), n) for key in ("published", "corrected", "difference")]
            rows.append((f"{row['recipe']}, {metric_name(str(row['metric']))}", *cells))
    return Table("The same, map by map", ("map and metric", "published", "corrected", "difference"), tuple(rows))


def classifier_table(folder: RunFolder) -> Table:
    """Accuracy, sensitivity and specificity in percent: mean and standard deviation over folds, recordings heard as published."""
    from speechxai.report_protocol import mean_std

    predictions = folder.table("predictions").dropna(subset=["label"])
    measures: dict[str, list[float]] = {"accuracy": [], "sensitivity": [], "specificity": []}
    for _, part in predictions.groupby("fold"):
        right = (part["predicted"] == part["label"]).astype(float)
        pd_only = part["label"] == 1
        for name, values in (("accuracy", right), ("sensitivity", right[pd_only]), ("specificity", right[~pd_only])):
            measures[name].append(100 * float(values.mean()))
    authors = reference()["classifier"]
    rows = tuple(
        (name, _spread(*mean_std(values), 1), _spread(authors[name][0], authors[name][1], 1))
        for name, values in measures.items()
    )
    return Table("The classifier, by recording: percent, mean ± standard deviation over folds", ("measure", "ours", "authors"), rows)  # fmt: skip


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
            cells += [_spread(row["published"], row["published_std"], n) + lost, _spread(row["authors"], row["authors_std"], n), number(row["corrected"], n) + interval]  # fmt: skip
        mark = f" {DAGGER}" if bool(own["degenerate"].iloc[0]) else ""
        rows.append((f"{recipe}{mark}", *cells))
    columns = [f"{metric_name(metric)} {side}" for metric in metrics for side in ("published", "authors", "corrected")]
    names = ", ".join(metric_name(metric) for metric in metrics)
    return Table(f"{group}: {names}", ("map", *columns), tuple(rows))


def _spread(mean: float, std: float, n_digits: int) -> str:
    return number(mean, n_digits) + ("" if math.isnan(std) else f" ± {number(std, n_digits)}")


def auxiliary_table(accuracy: dict[str, dict[str, float]]) -> Table:
    """Accuracy of the auxiliary classifier: split by clip as published, the authors', and by speaker."""
    content = reference()["auxiliary"]
    rows = tuple(
        (name, number(row["by_recording"], 3), number(content[name][0], 2) if name in content else "–", number(row["by_speaker"], 3))
        for name, row in accuracy.items()
    )  # fmt: skip
    caption = "Auxiliary classifier, accuracy: split by clip the tested speakers are in the training data (a leak, never a result)"
    return Table(caption, ("input", "by clip: LEAKS", "authors, by clip", "by speaker"), rows)


def running_table() -> Table:
    """The authors' IoU as printed, and each pair's own, which follows from the running means."""
    figures = authors_figures()
    rows = tuple(
        (recipe.removeprefix("union"), number(row["authors_printed"], 4), number(row["authors"], 4), number(row["authors"] - row["authors_printed"], 4))
        for (recipe, metric), row in figures.items()
        if metric == "iou" and recipe.startswith("union")
    )  # fmt: skip
    caption = "The authors' own IoU figures: printed as running means over all pairs so far, and each pair's own mean that follows from them"
    return Table(caption, ("pair, in the printed order", "printed", "its own", "difference"), rows)


def missing_parts(folder: RunFolder) -> list[str]:
    """What the report lacks, in sentences."""
    found = []
    if second_pass(folder) is None:
        found.append("The second pass is missing (the run kept no maps): published numbers are by each recording's own maximum.")  # fmt: skip
    if corrected_run(folder) is None:
        found.append("The corrected protocol was not run.")
    if not auxiliary_accuracy(folder):
        found.append("No auxiliary study with both splits belongs to this run: scripts/configs/mancini2025-auxiliary.toml makes one.")  # fmt: skip
    return found


def markdown(folder: RunFolder, tables: Sequence[Table]) -> str:
    """The report as Markdown."""
    lines = [f"# The published protocol: {folder.environment['model']['name']}", ""]
    lines += [f"- {note}" for note in (*NOTES, *missing_parts(folder))]
    for table in tables:
        lines += ["", f"**{table.caption}**", "", f"| {' | '.join(table.columns)} |", f"|---|{'---:|' * (len(table.columns) - 1)}"]  # fmt: skip
        for row in table.rows:
            cells = (f"**{row[0]}**", *[""] * (len(table.columns) - 1)) if len(row) == 1 else row
            lines.append(f"| {' | '.join(cell.replace('|', ',') for cell in cells)} |")
    return "\n".join([*lines, ""])


def latex(tables: Sequence[Table]) -> str:
    """The tables for a paper; needs booktabs."""
    lines = ["% needs \\usepackage{booktabs,graphicx}"]
    for table in tables:
        lines += [r"\begin{table*}", r"\centering", f"\\caption{{{_escaped(table.caption)}}}", r"\resizebox{\linewidth}{!}{%",
                  f"\\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}", r"\toprule", " & ".join(map(_escaped, table.columns)) + r" \\", r"\midrule"]  # fmt: skip
        for row in table.rows:
            text = f"\\multicolumn{{{len(table.columns)}}}{{l}}{{\\emph{{{_escaped(row[0])}}}}}" if len(row) == 1 else " & ".join(map(_escaped, row))  # fmt: skip
            lines.append(text + r" \\")
        lines += [r"\bottomrule", r"\end{tabular}}", r"\end{table*}", ""]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    signs = {
        "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "−": "$-$", "–": "--", "±": r"$\pm$", "→": r"$\to$", "†": r"$\dagger$", "|": "--",
        "“": "``", "”": "''",
    }  # fmt: skip
    return "".join(signs.get(sign, sign) for sign in text)


def html(folder: RunFolder, tables: Sequence[Table]) -> str:
    """The report as one page that asks no server for anything."""
    import jinja2

    package = resources.files("speechxai")
    style = package.joinpath("templates", "report.html.j2").read_text("utf-8")
    source = package.joinpath("templates", "protocol.html.j2").read_text("utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    facts: dict[str, Any] = {
        "version": __version__, "model": folder.environment["model"]["name"], "source": reference()["source"], "notes": NOTES,
        "missing": missing_parts(folder), "tables": tables, "n_recordings": len(folder.done_units()),
        "style": style[style.index("<style>") + len("<style>") : style.index("</style>")],
    }  # fmt: skip
    return environment.from_string(source).render(facts)
