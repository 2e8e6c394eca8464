"""Tables of a run for terminals, papers and the report: means with intervals, controls apart, percent where papers
print it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from speechxai.explain.recipe import CONTROLS, parse
from speechxai.metrics import METRICS

if TYPE_CHECKING:
    import pandas as pd


PERCENT = ("average_increase", "average_drop", "average_gain")
"""Metrics that papers print in percent; everywhere else they are fractions."""

HEADLINE = ("comprehensiveness@10", "sufficiency@10")
"""Equal budgets: the same number of bins kept or removed for every map, so that rows can be compared."""

N_SHARED = 3
"""A best value that more rows share than this is not marked: it tells none of them apart."""

ARROWS = {"high": "↑", "low": "↓", "none": ""}


@dataclass(frozen=True)
class Cell:
    """One number of a table with its interval, in the unit that is printed; NaN where it is undefined."""

    mean: float
    low: float = math.nan
    high: float = math.nan
    n: int = 0
    n_nan: int = 0
    best: bool = False


def short_name(metric: str) -> str:
    """The paper's abbreviation of a metric, or its own name."""
    return str(METRICS.facts(metric).get("published", metric)) if metric in METRICS else metric


def arrow(metric: str) -> str:
    """↑ where a higher value is better, ↓ where a lower one is."""
    return ARROWS[METRICS.facts(metric)["best"]] if metric in METRICS else ""


def is_control(recipe: str) -> bool:
    """Whether a recipe is one of the controls, which know nothing of the classifier."""
    return recipe in CONTROLS


def group_of(recipe: str) -> str:
    """Heading that a recipe stands under."""
    if is_control(recipe):
        return "Controls"
    parsed = parse(recipe)
    names = {"": "Methods", "union": "Unions", "intersection": "Intersections"}
    return names.get(parsed.name if parsed.parts else "", "Other combinations")


def grouped(recipes: Sequence[str]) -> dict[str, list[str]]:
    """Recipes by heading, controls last."""
    groups: dict[str, list[str]] = {}
    for recipe in recipes:
        groups.setdefault(group_of(recipe), []).append(recipe)
    order = ("Methods", "Unions", "Intersections", "Other combinations", "Controls")
    return {name: groups[name] for name in order if name in groups}


def cells(summary: pd.DataFrame, metrics: Sequence[str]) -> dict[str, dict[str, Cell]]:
    """Cells by recipe and metric, in the printed unit; the best mean of each column among all recipes is marked."""
    found: dict[str, dict[str, Cell]] = {str(recipe): {} for recipe in dict.fromkeys(summary["recipe"])}
    for metric in metrics:
        part = summary[summary["metric"] == metric]
        direction = METRICS.facts(metric)["best"] if metric in METRICS else "none"
        means = part["mean"].dropna()
        top = None if means.empty or direction == "none" else means.max() if direction == "high" else means.min()
        if top is not None and int((means == top).sum()) > N_SHARED:
            top = None
        scale = 100.0 if metric in PERCENT else 1.0
        for row in part.to_dict("records"):
            found[str(row["recipe"])][metric] = Cell(
                scale * float(row["mean"]),
                scale * float(row["low"]),
                scale * float(row["high"]),
                int(row["n"]),
                int(row["n_nan"]),
                top is not None and float(row["mean"]) == float(top),
            )
    return found


def digits(metric: str, largest: float = math.inf) -> int:
    """Decimals that a metric is printed with; one more where its `largest` value would vanish in them."""
    usual = (
        1 if metric in PERCENT else 2 if metric == "complexity" else 4 if metric in ("mean_mask", "faithfulness") else 3
    )
    return usual + 1 if 0 < largest < 20 * 10.0**-usual else usual


def number(value: float, n_digits: int) -> str:
    """Write a number with `n_digits` decimals and a real minus; "–" where it is undefined.

    >>> number(-0.01234, 3), number(float("nan"), 3), number(-0.00001, 3)
    ('−0.012', '–', '0.000')
    """
    if value is None or math.isnan(value):
        return "–"
    text = f"{value:.{n_digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def metrics_of(summary: pd.DataFrame) -> list[str]:
    """Metrics of a summary, in order."""
    return [str(metric) for metric in dict.fromkeys(summary["metric"])]


def _markdown(header: Sequence[str], body: Sequence[tuple[str, str, list[str]]], caption: str) -> str:
    lines = [f"| map | {' | '.join(header)} |", f"|---|{'---:|' * len(header)}"]
    group = None
    for heading, recipe, values in body:
        if heading != group:
            lines.append(f"| **{heading}** |{' |' * len(header)}")
            group = heading
        lines.append(f"| {recipe} | {' | '.join(values)} |")
    return "\n".join([*lines, "", caption, ""])


def _latex(header: Sequence[str], body: Sequence[tuple[str, str, list[str]]], caption: str) -> str:
    def clean(text: str) -> str:
        for sign, command in (
            ("_", r"\_"),
            ("%", r"\%"),
            ("&", r"\&"),
            ("#", r"\#"),
            ("−", "$-$"),
            ("–", "--"),
            ("↑", r"$\uparrow$"),
            ("↓", r"$\downarrow$"),
        ):
            text = text.replace(sign, command)
        return text

    lines = [
        "% needs \\usepackage{booktabs}",
        r"\begin{table*}",
        r"\centering",
        f"\\caption{{{clean(caption)}}}",
        f"\\begin{{tabular}}{{l{'r' * len(header)}}}",
        r"\toprule",
        " & ".join(["map", *(clean(h) for h in header)]) + r" \\",
    ]
    group = None
    for heading, recipe, values in body:
        if heading != group:
            lines += [r"\midrule", f"\\multicolumn{{{len(header) + 1}}}{{l}}{{\\emph{{{heading}}}}} \\\\"]
            group = heading
        lines.append(" & ".join([clean(recipe), *(clean(v) for v in values)]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table*}", ""])
