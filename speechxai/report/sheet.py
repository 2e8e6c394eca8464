"""One sheet of A4: the same content as a page that prints on exactly one sheet, and as a PDF of one page.

What does not fit is made smaller, down to a size that can still be read; callers keep their lists short and say "12 of
15" (`some_of`).
"""

from __future__ import annotations

import base64
import functools
import html
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

WIDTH_MM, HEIGHT_MM, MARGIN_MM = 210.0, 297.0, 10.0
PICTURE_MM = 54.0
LARGEST_PT, SMALLEST_PT, STEP_PT = 9.0, 5.0, 0.25
LINE = 1.28
"""Height of a line in sizes of its letters."""

_MM = 72 / 25.4
_GAP_MM = 6.0


@dataclass(frozen=True)
class Part:
    """A heading with a list of lines or a table under it."""

    head: str
    lines: Sequence[str] = ()
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


@dataclass(frozen=True)
class Sheet:
    """What stands on one sheet.

    Args:
        title: of the sheet; `subtitle` stands under it.
        answer: paragraphs in a box; the first is bold.
        picture: a PNG across the sheet, and what its colors mean.
        parts: in two columns.
        foot: last lines.
    """

    title: str
    subtitle: str
    answer: Sequence[str]
    picture: bytes
    alt: str
    legend: str
    parts: Sequence[Part]
    foot: str


def some_of(items: Sequence[str], most: int, what: str) -> list[str]:
    """The first of many items, and how many of how many they are.

    >>> some_of(["a", "b", "c"], 2, "notes"), some_of(["a"], 2, "notes")
    (['a', 'b', '2 of 3 notes.'], ['a'])
    """
    return list(items) if len(items) <= most else [*items[:most], f"{most} of {len(items)} {what}."]


def shortened(text: str, most: int) -> str:
    """A text of at most so many characters, cut between words with "…".

    >>> shortened("one two three", 9)
    'one two …'
    """
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 1].rsplit(' ', 1)[0]} …"


STYLE = f"""
@page {{ size: A4; margin: {MARGIN_MM:.0f}mm; }}
* {{ box-sizing: border-box; }}
html {{ font-size: {LARGEST_PT}pt; }}
body {{ font: 1rem/1.28 "Source Sans 3", "Source Sans Pro", system-ui, sans-serif; color: #1f2a30; margin: 0 auto;
  width: {WIDTH_MM - 2 * MARGIN_MM:.0f}mm; }}
h1 {{ font-size: 1.55rem; margin: 0; line-height: 1.15; overflow-wrap: anywhere; }}
h2 {{ font-size: 1.08rem; margin: .7em 0 .15em; color: #0b4f57; break-after: avoid; }}
p {{ margin: 0 0 .25em; }} .muted {{ color: #4d5c64; }}
.answer {{ border-left: 3px solid #0b6670; background: #f3f6f6; padding: .4em .8em; margin: .5em 0; }}
.answer p:first-child {{ font-size: 1.15rem; font-weight: 600; }}
img {{ display: block; width: 100%; height: {PICTURE_MM:.0f}mm; object-fit: fill; }}
.columns {{ columns: 2; column-gap: {_GAP_MM:.0f}mm; }} .columns section:first-child h2 {{ margin-top: .2em; }}
ul {{ margin: 0; padding-left: 1.2em; }} li {{ margin: 0 0 .12em; }}
table {{ border-collapse: collapse; width: 100%; font-size: .93rem; }}
td, th {{ text-align: left; vertical-align: top; padding: .1em .6em .1em 0; border-bottom: 1px solid #dfe6e6; }}
td {{ overflow-wrap: anywhere; }} tr {{ break-inside: avoid; }}
.foot {{ border-top: 1px solid #cfd8d9; margin-top: .6em; padding-top: .3em; font-size: .9rem; }}
@media screen {{ body {{ margin: 8mm auto; padding: 0; }} }}
"""

SCRIPT = f"""
const most = {HEIGHT_MM - 2 * MARGIN_MM - 1:.0f} / 25.4 * 96;
for (let size = {LARGEST_PT}; size > {SMALLEST_PT} && document.body.scrollHeight > most; size -= {STEP_PT})
  document.documentElement.style.fontSize = `${{size}}pt`;
"""
"""Makes the letters smaller until the sheet is one page; without it a full sheet may print on two."""


def as_html(sheet: Sheet) -> bytes:
    """The sheet as a page without links to anything outside, which prints on one sheet of A4."""
    data = base64.b64encode(sheet.picture).decode()
    said = "".join(f"<p>{html.escape(line)}</p>" for line in sheet.answer)
    parts = "".join(_part_html(part) for part in sheet.parts)
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f"<title>{html.escape(sheet.title)}: case report</title><style>{STYLE}</style></head><body>",
            f'<h1>{html.escape(sheet.title)}</h1><p class="muted">{html.escape(sheet.subtitle)}</p>',
            f'<div class="answer">{said}</div>',
            f'<img alt="{html.escape(sheet.alt)}" src="data:image/png;base64,{data}">',
            f'<p class="muted">{html.escape(sheet.legend)}</p><div class="columns">{parts}</div>',
            f'<p class="muted foot">{html.escape(sheet.foot)}</p><script>{SCRIPT}</script></body></html>',
        ]
    ).encode()


def _part_html(part: Part) -> str:
    body = f"<ul>{''.join(f'<li>{html.escape(line)}</li>' for line in part.lines)}</ul>" if part.lines else ""
    if part.rows:
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in part.header)
        rows = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in part.rows)
        body += f"<table>{f'<tr>{head}</tr>' if head else ''}{rows}</table>"
    return f"<section><h2>{html.escape(part.head)}</h2>{body}</section>"


# ---- PDF


@dataclass(frozen=True)
class Placed:
    """A line of text: left end and baseline in mm from the upper left corner, size in points."""

    text: str
    x: float
    y: float
    size: float
    bold: bool = False
    color: str = "#1f2a30"


@functools.lru_cache(maxsize=20_000)
def _word_width(word: str, bold: bool) -> float:
    """Width of a word in points at 10 points."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")))
    font.set_size(10, 72)
    font.set_text(word, 0.0)
    return float(font.get_width_height()[0]) / 64


def text_width_mm(text: str, size: float, bold: bool = False) -> float:
    """Width of a line as it is printed."""
    return _word_width(text, bold) * size / 10 / _MM


def wrapped(text: str, width_mm: float, size: float, bold: bool = False) -> list[str]:
    """Lines of a text that are at most so wide; a word that is wider is broken."""
    lines, line = [], ""
    for word in text.split():
        while text_width_mm(word, size, bold) > width_mm and len(word) > 1:
            n = next((n for n in range(len(word) - 1, 1, -1) if text_width_mm(word[:n], size, bold) <= width_mm), 1)
            if line:
                lines.append(line)
                line = ""
            lines.append(word[:n])
            word = word[n:]
        longer = f"{line} {word}" if line else word
        if line and text_width_mm(longer, size, bold) > width_mm:
            lines.append(line)
            line = word
        else:
            line = longer
    return [*lines, line] if line or not lines else lines


def laid_out(sheet: Sheet) -> tuple[list[Placed], float, float]:
    """Every line of text with its place, where the picture begins (mm from the top), and the lowest baseline: the
    letters are as large as fits, at least SMALLEST_PT."""
    size = LARGEST_PT
    while True:
        lines, top, lowest = _at(sheet, size)
        if lowest <= HEIGHT_MM - MARGIN_MM or size <= SMALLEST_PT:
            return lines, top, lowest
        size -= STEP_PT


def _at(sheet: Sheet, size: float) -> tuple[list[Placed], float, float]:
    width = WIDTH_MM - 2 * MARGIN_MM
    step = LINE * size / _MM
    out: list[Placed] = []
    y = MARGIN_MM

    def write(text: str, x: float, room: float, scale: float = 1.0, bold: bool = False, color: str = "#1f2a30") -> None:
        nonlocal y
        for line in wrapped(text, room, size * scale, bold):
            y += step * scale
            out.append(Placed(line, x, y, size * scale, bold, color))

    write(sheet.title, MARGIN_MM, width, 1.5, bold=True)
    write(sheet.subtitle, MARGIN_MM, width, 1.0, color="#4d5c64")
    y += step * 0.4
    for i, line in enumerate(sheet.answer):
        write(line, MARGIN_MM, width, 1.1 if i == 0 else 1.0, bold=i == 0)
    y += step * 0.4
    top = y
    y += PICTURE_MM
    write(sheet.legend, MARGIN_MM, width, 1.0, color="#4d5c64")
    y += step * 0.2
    column = (width - _GAP_MM) / 2
    foot = wrapped(sheet.foot, width, size * 0.9)
    flow = [block for part in sheet.parts for block in _blocks(part, column, size)]
    below = sum(height for height, _ in flow)
    begin, first = y, []
    # The left column takes whole lines and rows up to half of the height.
    height = 0.0
    while flow and (height + flow[0][0] / 2 <= below / 2):
        first.append(flow.pop(0))
        height += first[-1][0]
    if first and first[-1][1] and first[-1][1][0].bold and flow:  # a heading alone at the foot of a column
        flow.insert(0, first.pop())
    ends = []
    for place, blocks in enumerate((first, flow)):
        y = begin
        for tall, lines in blocks:
            x = MARGIN_MM + place * (column + _GAP_MM)
            out += [Placed(p.text, x + p.x, y + p.y, p.size, p.bold, p.color) for p in lines]
            y += tall
        ends.append(y)
    y = max(ends) + step * 0.6
    for line in foot:
        y += step * 0.9
        out.append(Placed(line, MARGIN_MM, y, size * 0.9, color="#4d5c64"))
    return out, top, y


def _blocks(part: Part, width: float, size: float) -> Iterator[tuple[float, list[Placed]]]:
    """What may not be parted, each with its height in mm: the heading, a line, a row."""
    step = LINE * size / _MM
    head = wrapped(part.head, width, size * 1.05, bold=True)
    space = step * 0.45
    yield (
        space + step * len(head),
        [Placed(t, 0.0, space + step * (i + 0.85), size * 1.05, True, "#0b4f57") for i, t in enumerate(head)],
    )
    for line in part.lines:
        texts = wrapped(line, width - 2.5, size)
        bullet = [Placed("•", 0.0, step * 0.85, size)]
        yield step * len(texts), bullet + [Placed(t, 2.5, step * (i + 0.85), size) for i, t in enumerate(texts)]
    if part.rows:
        small = size * 0.93
        widths = _column_widths([*([part.header] if part.header else []), *part.rows], width, small)
        for n, row in enumerate([*([part.header] if part.header else []), *part.rows]):
            cells = [wrapped(cell, w - 1.2, small) for cell, w in zip(row, widths, strict=True)]
            is_head = bool(part.header) and n == 0
            placed = [
                Placed(text, sum(widths[:k]), step * (i + 0.85), small, False, "#4d5c64" if is_head else "#1f2a30")
                for k, texts in enumerate(cells)
                for i, text in enumerate(texts)
            ]
            yield step * max(len(texts) for texts in cells), placed


def _column_widths(rows: Sequence[Sequence[str]], width: float, size: float) -> list[float]:
    """Widths of a table's columns, mm: as wide as they want, else shrunk in proportion; the last takes the rest."""
    wanted = [max(text_width_mm(row[k], size) for row in rows) + 1.4 for k in range(len(rows[0]))]
    if sum(wanted) > width:
        least = [
            max(max((text_width_mm(w, size) for w in row[k].split()), default=0.0) for row in rows) + 1.4
            for k in range(len(rows[0]))
        ]
        least = [min(w, width / len(wanted) * 1.5) for w in least]
        spare = max(0.0, width - sum(least))
        more = [w - lo for w, lo in zip(wanted, least, strict=True)]
        whole = sum(more) or 1.0
        wanted = [lo + spare * m / whole for lo, m in zip(least, more, strict=True)]
        scale = min(1.0, width / sum(wanted))
        wanted = [w * scale for w in wanted]
    wanted[-1] += max(0.0, width - sum(wanted))
    return wanted


def as_pdf(sheet: Sheet) -> bytes:
    """The sheet as a PDF of one page; its text can be searched and copied."""
    import matplotlib
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.figure import Figure
    from matplotlib.image import imread

    lines, top, _ = laid_out(sheet)
    figure = Figure(figsize=(WIDTH_MM / 25.4, HEIGHT_MM / 25.4), facecolor="white")
    FigureCanvasPdf(figure)
    axes = figure.add_axes(
        (MARGIN_MM / WIDTH_MM, 1 - (top + PICTURE_MM) / HEIGHT_MM, 1 - 2 * MARGIN_MM / WIDTH_MM, PICTURE_MM / HEIGHT_MM)
    )
    axes.imshow(imread(io.BytesIO(sheet.picture), format="png"), aspect="auto", interpolation="none")
    axes.set_axis_off()
    for line in lines:
        figure.text(
            line.x / WIDTH_MM,
            1 - line.y / HEIGHT_MM,
            line.text,
            size=line.size,
            weight="bold" if line.bold else "normal",
            color=line.color,
            family="DejaVu Sans",
            va="baseline",
            parse_math=False,
        )
    out = io.BytesIO()
    with matplotlib.rc_context({"pdf.fonttype": 42}):
        figure.savefig(out, format="pdf", metadata={"Title": sheet.title, "CreationDate": None})
    return out.getvalue()
