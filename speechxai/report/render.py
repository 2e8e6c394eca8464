"""One table, one finding, and one way to print them: pages, papers, Markdown, CSV and terminals show the same words.

A room that has something to show makes a `Table` of text and `Finding`s; the renderers below are the only ones.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

from speechxai.families import CONTROLS, METRICS
from speechxai.files import csv_text as csv_rows
from speechxai.stats import direction

if TYPE_CHECKING:
    import pandas as pd

PERCENT = ("average_increase", "average_drop", "average_gain")
"""Metrics that papers print in percent; everywhere else they are fractions."""

HEADLINE = ("comprehensiveness@10", "sufficiency@10")
"""Equal budgets: the same number of bins kept or removed for every map, so that rows can be compared."""

N_SHARED = 3
"""A best value that more rows share than this is not marked: it tells none of them apart."""

ARROWS = {"high": "↑", "low": "↓", "none": ""}

NONE = "–"
"""What stands where a number is undefined."""

Tone = Literal["good", "caution", "plain"]


@dataclass(frozen=True)
class Finding:
    """A sentence that follows from numbers.

    Args:
        text: the sentence.
        tone: "good", "caution" or "plain".
        key: what it is about, for those who pick sentences out.
    """

    text: str
    tone: Tone = "plain"
    key: str = ""


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Args:
        text: what it says.
        small: said below it, such as an interval.
        mark: "best", "better", "worse" or none.
        value: the number behind the text where the cell is shaded by it, else NaN.
        words: whether the text is a sentence, which may be broken into lines.
    """

    text: str
    small: str = ""
    mark: Literal["", "best", "better", "worse"] = ""
    value: float = math.nan
    words: bool = False


@dataclass(frozen=True)
class Row:
    """A row of a table: its name, its cells, and the heading that it stands under."""

    name: str
    cells: tuple[Cell, ...]
    group: str = ""


@dataclass(frozen=True)
class Table:
    """A table of text.

    Args:
        title: what it shows.
        columns: headings, that of the rows' names first.
        rows: rows of one group stand beside each other.
        note: what to know of it.
        folded: shown on demand where the format allows.
        shading: how cells with a value are shaded: "share" (0 to 1), "correlation" (-1 to 1) or none.
        apart: groups that are shown as what the others are compared with.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str = ""
    folded: bool = False
    shading: Literal["", "share", "correlation"] = ""
    apart: tuple[str, ...] = ()

    def groups(self) -> Iterator[tuple[str, list[Row]]]:
        """Rows by heading, in order."""
        for name, rows in groupby(self.rows, key=lambda row: row.group):
            yield name, list(rows)


def plain_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, words: bool = False) -> Table:
    """A table of plain cells; the first of each row is its name.

    Args:
        title: what it shows.
        columns: headings.
        rows: values, written as they are.
        words: whether the cells are sentences.
    """
    made = [Row(str(name), tuple(Cell(str(value), words=words) for value in values)) for name, *values in rows]
    return Table(title, tuple(columns), tuple(made))


# Numbers as people read them


def number(value: float | None, n_digits: int = 3) -> str:
    """Write a number with `n_digits` decimals and a real minus; "–" where it is undefined.

    >>> number(-0.01234), number(float("nan")), number(-0.00001)
    ('−0.012', '–', '0.000')
    """
    if value is None or math.isnan(value):
        return NONE
    text = f"{value:.{n_digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def signed(value: float | None, n_digits: int = 3) -> str:
    """Write a difference with its sign.

    >>> signed(0.012), signed(-0.012), signed(0.0)
    ('+0.012', '−0.012', '0.000')
    """
    text = number(value, n_digits)
    return f"+{text}" if value is not None and value > 0 and float(text) != 0 else text


def span(low: float, high: float, n_digits: int = 3, write: Callable[[float, int], str] = number) -> str:
    """Write an interval; empty where it is undefined.

    >>> span(-0.1, 0.25, 2), span(float("nan"), 1.0)
    ('−0.10 to 0.25', '')
    """
    if math.isnan(low) or math.isnan(high):
        return ""
    return f"{write(low, n_digits)} to {write(high, n_digits)}"


def with_span(value: float, low: float, high: float, n_digits: int = 3) -> str:
    """Write a number with its interval in brackets, where it has one.

    >>> with_span(0.5, 0.25, 0.75, 2), with_span(0.5, float("nan"), float("nan"), 2)
    ('0.50 [0.25, 0.75]', '0.50')
    """
    if math.isnan(value) or math.isnan(low) or math.isnan(high):
        return number(value, n_digits)
    return f"{number(value, n_digits)} [{number(low, n_digits)}, {number(high, n_digits)}]"


def listing(names: Sequence[str], n_shown: int | None = None) -> str:
    """Write names in a row, at most `n_shown` of them, at least one.

    >>> listing(["a", "b"]), listing(["a", "b", "c", "d", "e"], 3)
    ('a and b', 'a, b, c and 2 more')
    """
    if n_shown is not None and len(names) > n_shown:
        return f"{', '.join(names[:n_shown])} and {len(names) - n_shown} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def p_text(p: float) -> str:
    """Write a p-value.

    >>> p_text(0.0004), p_text(0.0312), p_text(float("nan"))
    ('p < 0.001', 'p = 0.031', 'p undefined')
    """
    return "p undefined" if math.isnan(p) else "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def difference_cell(
    value: float, low: float, high: float, p: float, n_digits: int = 3, *, higher_is_better: bool = True
) -> Cell:
    """Write a difference to a control, ▲ better or ▼ worse by the rule of `stats.direction`."""
    way = direction(low, high, p)
    mark: Literal["", "better", "worse"] = "" if not way else "better" if (way > 0) == higher_is_better else "worse"
    small = ", ".join(part for part in (span(low, high, n_digits), "" if math.isnan(p) else p_text(p)) if part)
    return Cell({"better": "▲ ", "worse": "▼ ", "": ""}[mark] + number(value, n_digits), small, mark)


# Renderers


def html(table: Table) -> Any:
    """Render a table for a page: markup, everything in it escaped."""
    from markupsafe import Markup, escape

    def heading(column: str) -> Markup:
        # Long names may break after "_" and before "@".
        return escape(column.replace("@", "\u200b@").replace("_", "_\u200b"))

    def cell(found: Cell) -> Markup:
        kind = found.mark or ("text" if found.words else "")
        style = "" if not table.shading or math.isnan(found.value) else shade(table.shading, found.value)
        return Markup("<td{}{}>{}{}</td>").format(
            Markup(' class="{}"').format(kind) if kind else "",
            Markup(' style="{}"').format(style) if style else "",
            found.text,
            Markup("<small>{}</small>").format(found.small) if found.small else "",
        )

    bodies = []
    for group, rows in table.groups():
        lines = [
            Markup('<tr><th scope="row">{}</th>{}</tr>').format(row.name, Markup("").join(map(cell, row.cells)))
            for row in rows
        ]
        if group:
            head = Markup('<tr><th class="group" scope="colgroup" colspan="{}">{}</th></tr>')
            lines.insert(0, head.format(len(table.columns), group))
        kind = Markup(' class="controls"') if group in table.apart else ""
        bodies.append(Markup("<tbody{}>{}</tbody>").format(kind, Markup("\n").join(lines)))
    columns = Markup("").join(Markup('<th scope="col">{}</th>').format(heading(column)) for column in table.columns)
    return Markup(
        '<div class="scroll" tabindex="0" role="region" aria-label="{}"><table class="score">\n<caption>{}</caption>\n'
        "<thead><tr>{}</tr></thead>\n{}</table></div>"
    ).format(table.title, table.title, columns, Markup("\n").join(bodies))


def shade(kind: str, value: float) -> str:
    """Style of a cell: a bar for a share (0 to 1), blue above and orange below zero for a correlation.

    >>> shade("share", 0.25)
    'background: linear-gradient(90deg, var(--mark) 25%, transparent 25%)'
    >>> shade("correlation", -0.5)
    'background: rgba(201, 106, 18, 0.20)'
    """
    if kind == "share":
        width = f"{100 * min(max(value, 0), 1):.0f}%"
        return f"background: linear-gradient(90deg, var(--mark) {width}, transparent {width})"
    color = "45, 116, 196" if value > 0 else "201, 106, 18"
    return f"background: rgba({color}, {0.4 * min(abs(value), 1):.2f})"


def below(cell: Cell) -> list[str]:
    """What stands below a cell's number, a piece a line: its interval in brackets, and what else there is.

    >>> below(Cell("0.2", "0.1 to 0.3, p = 0.031")), below(Cell("0.2", "0.1 to 0.3 (2 undefined)"))
    (['[0.1, 0.3]', 'p = 0.031'], ['[0.1, 0.3]', '(2 undefined)'])
    """
    found = re.fullmatch(r"(?:(\S+) to (\S+?))?(?:,? ?(p .*?))?(?: ?(\(.*\)))?", cell.small)
    if found is None:
        return [cell.small]
    low, high, p, rest = found.groups()
    return [*([f"[{low}, {high}]"] if low else []), *([p] if p else []), *([rest] if rest else [])]


def beside(cell: Cell) -> str:
    """Write a cell on one line.

    >>> beside(Cell("0.2", "0.1 to 0.3, p = 0.031"))
    '0.2 [0.1, 0.3] (p = 0.031)'
    """
    return " ".join([cell.text, *(f"({part})" if part.startswith("p ") else part for part in below(cell))])


def _line(row: Row, best: Callable[[str], str]) -> list[str]:
    """The texts of a row, intervals in brackets, the best of a column marked."""
    cells = []
    for cell in row.cells:
        text = beside(cell)
        cells.append(best(text) if cell.mark == "best" else text)
    return [row.name, *cells]


def markdown(table: Table) -> str:
    """Render a table's rows as Markdown, without title and note."""
    n = len(table.columns) - 1

    def line(texts: Sequence[str]) -> str:
        return f"| {' | '.join(text.replace('|', ',') for text in texts)} |"

    lines = [line(table.columns), f"|---|{'---:|' * n}"]
    for group, rows in table.groups():
        if group:
            lines.append(f"| **{group}** |{' |' * n}")
        lines += [line(_line(row, lambda text: f"**{text}**")) for row in rows]
    return "\n".join(lines)


def csv_text(table: Table) -> str:
    """Render a table as comma-separated values, the group as a column of its own."""
    rows = [[row.group, *_line(row, lambda text: text)] for row in table.rows]
    return csv_rows([["group", *table.columns], *rows])


def console(table: Table, width: int | None = None) -> str:
    """Render a table for a terminal, numbers to the right and an empty line between groups.

    Args:
        table: what is shown.
        width: columns of the terminal: a table that is wider is cut into several below each other, each with the rows'
            names. None cuts nothing.
    """
    lines: list[list[str]] = []
    for index, (_, rows) in enumerate(table.groups()):
        lines += [[""] * len(table.columns)] if index else []
        lines += [_line(row, lambda text: text) for row in rows]
    header = list(table.columns)
    widths = [max(len(line[i]) for line in (header, *lines)) for i in range(len(header))]
    if width is not None and sum(widths) + 2 * (len(widths) - 1) > width and len(header) > 2:
        end = 2
        while end < len(header) - 1 and sum(widths[: end + 1]) + 2 * end <= width:
            end += 1
        first, rest = (
            replace(table, columns=(header[0], *header[a:b]), rows=tuple(_cells_of(row, a, b) for row in table.rows))
            for a, b in ((1, end), (end, len(header)))
        )
        return f"{console(first, width)}\n\n{console(rest, width)}"
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]).rstrip()
        for line in (header, ["-" * width for width in widths], *lines)
    )


def _cells_of(row: Row, start: int, end: int) -> Row:
    """A row with the cells of some columns alone; the names are column 0."""
    return replace(row, cells=row.cells[start - 1 : end - 1])


def findings_html(findings: Sequence[Finding]) -> Any:
    """Render findings as a list for a page."""
    from markupsafe import Markup

    said = {"good": "Holds. ", "caution": "Caution. ", "plain": ""}
    lines = [
        Markup('<li class="{}"><span class="tone">{}</span>{}</li>').format(one.tone, said[one.tone], one.text)
        for one in findings
    ]
    return Markup('<ul class="findings">\n{}</ul>').format(Markup("\n").join(lines))


def page(template: str, **facts: Any) -> str:
    """Fill a page's template: one file that opens anywhere and asks no server for anything.

    Args:
        template: name of a file in `templates`.
        facts: what it shows; `style`, `version` and the renderers `table` and `findings` are there already.
    """
    import jinja2
    from markupsafe import Markup

    from speechxai import __version__

    folder = resources.files("speechxai").joinpath("templates")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    text = environment.from_string(folder.joinpath(template).read_text("utf-8"))
    style = Markup(folder.joinpath("report.css").read_text("utf-8"))  # noqa: S704
    return text.render(style=style, version=__version__, table=html, listed=findings_html, **facts)


# What a run's summary says, recipe by recipe and metric by metric


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval, in the unit that is printed; NaN where it is undefined."""

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
    name, bracket, _ = recipe.partition("(")
    names = {"": "Methods", "union": "Unions", "intersection": "Intersections"}
    return names.get(name if bracket else "", "Other combinations")


def grouped(recipes: Sequence[str]) -> dict[str, list[str]]:
    """Recipes by heading, controls last."""
    groups: dict[str, list[str]] = {}
    for recipe in recipes:
        groups.setdefault(group_of(recipe), []).append(recipe)
    order = ("Methods", "Unions", "Intersections", "Other combinations", "Controls")
    return {name: groups[name] for name in order if name in groups}


def estimates(summary: pd.DataFrame, metrics: Sequence[str]) -> dict[str, dict[str, Estimate]]:
    """Estimates by recipe and metric, in the printed unit; the best mean of each column among all recipes is marked."""
    found: dict[str, dict[str, Estimate]] = {str(recipe): {} for recipe in dict.fromkeys(summary["recipe"])}
    for metric in metrics:
        part = summary[summary["metric"] == metric]
        direction = METRICS.facts(metric)["best"] if metric in METRICS else "none"
        means = part["mean"].dropna()
        top = None if means.empty or direction == "none" else means.max() if direction == "high" else means.min()
        if top is not None and int((means == top).sum()) > N_SHARED:
            top = None
        scale = 100.0 if metric in PERCENT else 1.0
        for row in part.to_dict("records"):
            found[str(row["recipe"])][metric] = Estimate(
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


def metrics_of(summary: pd.DataFrame) -> list[str]:
    """Metrics of a summary, in order."""
    return [str(metric) for metric in dict.fromkeys(summary["metric"])]


def column_name(metric: str) -> str:
    """Heading of a metric's column: unit and better direction."""
    unit = " (%)" if metric in PERCENT else ""
    name = "mean mask" if metric == "mean_mask" else short_name(metric)
    return f"{name}{unit} {arrow(metric)}".strip()
