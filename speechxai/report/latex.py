"""Tables for papers of two columns: as wide as a column or as the page, never scaled, with the width computed.

LaTeX breaks no table that is too wide; it prints it over the margin. So widths are computed here, from the metrics of
the font that such papers are set in, and what does not fit is set smaller, with intervals below the means, as wide as
the page, or as several tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby, zip_longest

from speechxai.errors import SpeechXAIError, did_you_mean
from speechxai.report.render import Row, Table, below, beside

COLUMN_PT = 252.0
"""Width of a column of IEEE's two-column articles, pt."""

PAGE_PT = 516.0
"""Width of the text of both columns, pt."""

SIZES = {"small": 9.0, "footnotesize": 8.0, "scriptsize": 7.0}
"""Sizes of a table's font in an article of 10 pt, pt, by LaTeX's name."""

WIDTHS = {"column": COLUMN_PT, "page": PAGE_PT}

GAP_PT = 6.0
"""Space between two columns of a table, pt."""

MOST_LINES = 54
"""Lines of a table that fit on a page beside its caption."""

NARROWEST_PT = 54.0
"""Narrowest column of sentences, pt."""

LATEX_NEEDS = r"% needs \usepackage{booktabs,array,amssymb}"

# Adobe Font Metrics of Times-Roman and Times-Bold, thousandths of the size, of the signs from " " to "~".
_ROMAN = (
    "250 333 408 500 500 833 778 333 333 333 500 564 250 333 250 278 500 500 500 500 500 500 500 500 500 "
    "500 278 278 564 564 564 444 921 722 667 667 722 611 556 722 722 333 389 722 611 889 722 722 556 722 "
    "667 556 611 722 722 944 722 722 611 333 278 333 469 500 333 444 500 444 500 444 333 500 500 278 278 "
    "500 278 778 500 500 500 500 333 389 278 500 500 722 500 500 444 480 200 480 541"
)
_BOLD = (
    "250 333 555 500 500 1000 833 333 333 333 500 570 250 333 250 278 500 500 500 500 500 500 500 500 500 "
    "500 333 333 570 570 570 500 930 722 667 722 722 667 611 778 778 389 500 778 667 944 722 778 611 778 "
    "722 556 667 722 722 1000 722 722 667 333 278 333 581 500 333 500 556 444 556 444 333 500 556 278 333 "
    "556 278 833 556 500 556 556 444 389 333 556 500 722 500 500 444 394 220 394 520"
)
_OTHERS = {"−": 778, "–": 500, "↑": 500, "↓": 500, "∪": 667, "∩": 667, "†": 500, "<": 778, ">": 778}
"""Signs that LaTeX takes from other fonts; one that is not here counts as wide as the font is high."""

_WIDTH_OF = {
    bold: {chr(32 + n): int(width) for n, width in enumerate(text.split())} | _OTHERS
    for bold, text in ((False, _ROMAN), (True, _BOLD))
}

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "_": r"\_",
    "%": r"\%",
    "&": r"\&",
    "#": r"\#",
    "$": r"\$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "|": "--",
    "<": "$<$",
    ">": "$>$",
    "−": "$-$",
    "–": "--",
    "“": "``",
    "”": "''",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "→": r"$\to$",
    "▲": r"$\blacktriangle$",
    "▼": r"$\blacktriangledown$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "≥": r"$\ge$",
    "∪": r"$\cup$",
    "∩": r"$\cap$",
    "†": r"$\dagger$",
    "§": r"\S",
}


@dataclass(frozen=True)
class Layout:
    """How a table is set; what is left open is chosen so that it fits.

    Args:
        label: for `\\ref`; none without it.
        width: "column", "page", or "" for the narrower one that fits.
        size: of the font, one of SIZES, or "".
        split: whether intervals stand in lines of their own below the means; None where it is needed.

    Raises:
        SpeechXAIError: an unknown width or size.
    """

    label: str = ""
    width: str = ""
    size: str = ""
    split: bool | None = None

    def __post_init__(self) -> None:
        for value, known, what in ((self.width, WIDTHS, "width"), (self.size, SIZES, "size")):
            if value and value not in known:
                raise SpeechXAIError(did_you_mean(value, list(known), what))


def latex_text(text: str) -> str:
    """Write text so that LaTeX prints it as it is.

    >>> latex_text("50 % of a_b")
    '50 \\\\% of a\\\\_b'
    """
    return "".join(_LATEX.get(sign, sign) for sign in text)


def width_pt(text: str, size_pt: float, *, bold: bool = False) -> float:
    """Width of a line of text in Times, pt.

    >>> width_pt("0.25", 10.0)  # three digits of 500 and a point of 250 thousandths
    17.5
    """
    return sum(_WIDTH_OF[bold].get(sign, 1000) for sign in text) * size_pt / 1000


def latex(table: Table, layout: Layout | None = None) -> str:
    """Render a table for a paper of two columns; needs booktabs, array and amssymb.

    Args:
        table: what is shown.
        layout: how; what it leaves open is chosen: a column before the page, a larger font before a smaller one,
            intervals beside their means before those below. What fits nowhere becomes several tables.
    """
    layout = layout or Layout()
    return "\n".join(_float(part, chosen) for part, chosen in _parts(table, layout))


def table_width_pt(table: Table, layout: Layout) -> float:
    """Width of a table whose layout leaves nothing open, pt; of columns of sentences the narrowest they may have."""
    return sum(_widths(table, layout)) + GAP_PT * (len(table.columns) - 1)


def _parts(table: Table, layout: Layout) -> Iterator[tuple[Table, Layout]]:
    """The tables that a table is set as, each with how."""
    splits = (False, True) if layout.split is None else (layout.split,)
    sizes = [layout.size] if layout.size else ["small", "footnotesize"]
    wanted = [layout.width] if layout.width else list(WIDTHS)
    tried = [replace(layout, width=w, size=s, split=p) for w in wanted for p in splits for s in sizes]
    if not layout.size:
        tried.append(replace(tried[-1], size="scriptsize"))
    chosen = next((each for each in tried if table_width_pt(table, each) <= WIDTHS[each.width]), None)
    pieces = [table]
    if chosen is None:
        chosen = replace(tried[-1], size=layout.size or "footnotesize")
        pieces = list(_by_columns(table, chosen))
    pieces = [short for piece in pieces for short in _by_rows(piece, chosen)]
    for number, piece in enumerate(pieces, start=1):
        more = "" if number == 1 else f"-{number}"
        title = piece.title if number == 1 else f"{piece.title} (continued)"
        yield (
            replace(piece, title=title, note=piece.note if number == 1 else ""),
            replace(chosen, label=f"{chosen.label}{more}" if chosen.label else ""),
        )


def _by_columns(table: Table, layout: Layout) -> Iterator[Table]:
    """Cut a table so that every piece is narrow enough; each has the names, and at least one more column."""
    widths, limit = _widths(table, layout), WIDTHS[layout.width]
    start = 1
    while start < len(table.columns):
        end, width = start, widths[0]
        while end < len(table.columns) and (end == start or width + GAP_PT + widths[end] <= limit):
            width += GAP_PT + widths[end]
            end += 1
        rows = tuple(replace(row, cells=row.cells[start - 1 : end - 1]) for row in table.rows)
        yield replace(table, columns=(table.columns[0], *table.columns[start:end]), rows=rows)
        start = end


def _by_rows(table: Table, layout: Layout) -> Iterator[Table]:
    """Cut a table so that every piece fits on a page."""
    rows: list[Row] = []
    n_lines = 2
    for row in table.rows:
        n = max(map(len, _lines(row, layout)), default=1)
        n += not rows or rows[-1].group != row.group
        if rows and n_lines + n > MOST_LINES:
            yield replace(table, rows=tuple(rows))
            rows, n_lines = [], 2
        rows.append(row)
        n_lines += n
    yield replace(table, rows=tuple(rows))


def _lines(row: Row, layout: Layout) -> list[list[str]]:
    """Lines of the cells of a row, as plain text: of each the number first."""
    if layout.split:
        return [[cell.text, *below(cell)] for cell in row.cells]
    return [[beside(cell)] for cell in row.cells]


def _worded(table: Table) -> list[bool]:
    """Which columns hold sentences, which may be broken; the names may be where they are sentences themselves."""
    named = any(len(row.name) > 60 for row in table.rows)
    cells = [any(row.cells[n].words for row in table.rows if n < len(row.cells)) for n in range(len(table.columns) - 1)]
    return [named, *cells]


def _widths(table: Table, layout: Layout) -> list[float]:
    """Width of every column, pt."""
    size = SIZES[layout.size]
    small = min(size, SIZES["scriptsize"])
    widths = [width_pt(column, size) for column in table.columns]
    for row in table.rows:
        widths[0] = max(widths[0], width_pt(row.name, size))
        for n, (cell, lines) in enumerate(zip(row.cells, _lines(row, layout), strict=True), start=1):
            first = width_pt(lines[0], size, bold=cell.mark == "best")
            widths[n] = max(widths[n], first, *(width_pt(line, small) for line in lines[1:]))
    return [min(w, NARROWEST_PT) if worded else w for w, worded in zip(widths, _worded(table), strict=True)]


def _columns(table: Table, layout: Layout) -> str:
    """The letters of a tabular: names to the left, numbers to the right, sentences in what width is left."""
    worded = _worded(table)
    if not any(worded):
        return f"@{{}}l{'r' * (len(table.columns) - 1)}@{{}}"
    left = WIDTHS[layout.width] - table_width_pt(table, layout) + sum(NARROWEST_PT for each in worded if each)
    each_pt = max(NARROWEST_PT, left / sum(worded) - 0.5)
    sentence = f">{{\\raggedright\\arraybackslash}}p{{{each_pt:.0f}pt}}"
    letters = [sentence if words else "r" if n else "l" for n, words in enumerate(worded)]
    return f"@{{}}{''.join(letters)}@{{}}"


def _float(table: Table, layout: Layout) -> str:
    name = "table" if layout.width == "column" else "table*"
    about = ". ".join(part.rstrip(".") for part in (table.title, table.note) if part)
    lines = [
        f"\\begin{{{name}}}",
        r"\centering",
        f"\\caption{{{latex_text(about)}.}}",
        *([f"\\label{{{layout.label}}}"] if layout.label else []),
        f"\\{layout.size}",
        f"\\setlength{{\\tabcolsep}}{{{GAP_PT / 2:g}pt}}",
        f"\\begin{{tabular}}{{{_columns(table, layout)}}}",
        r"\toprule",
        " & ".join(map(latex_text, table.columns)) + r" \\",
    ]
    for group, members in groupby(table.rows, key=lambda row: row.group):
        lines.append(r"\midrule")
        if group:
            lines.append(f"\\multicolumn{{{len(table.columns)}}}{{@{{}}l}}{{\\emph{{{latex_text(group)}}}}} \\\\")
        for row in members:
            lines += _row(row, layout)
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", f"\\end{{{name}}}", ""])


def _row(row: Row, layout: Layout) -> Iterator[str]:
    for number, texts in enumerate(zip_longest(*_lines(row, layout), fillvalue="")):
        cells = [latex_text(text) for text in texts]
        if number == 0:
            marked = zip(cells, row.cells, strict=True)
            cells = [f"\\textbf{{{text}}}" if cell.mark == "best" else text for text, cell in marked]
        elif layout.size != "scriptsize":
            cells = [f"{{\\scriptsize {text}}}" if text else "" for text in cells]
        yield " & ".join([latex_text(row.name) if number == 0 else "", *cells]) + r" \\"
