"""Small figures as SVG and tables as HTML: sharp on every screen, readable by screen readers, no request to
anywhere."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from speechxai.types import Array

INK, SOFT, LINE, VOICE, WARM = "#1f2a30", "#4d5c64", "#d5dcdd", "#0b6670", "#b8460b"
FONT = "font-family=\"'Source Sans','Source Sans Pro',system-ui,sans-serif\""


def escape(text: object) -> str:
    """Text for HTML."""
    return html.escape(str(text))


def figure(svg: str, words: str, width: str = "100%") -> str:
    """An SVG as a picture: the page's cleaner removes drawn SVG, and a picture keeps its text alternative."""
    text = svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    data = base64.b64encode(text.encode()).decode()
    return (
        f'<img class="sx-figure" style="max-width:{width}" alt="{escape(words)}"'
        f' src="data:image/svg+xml;base64,{data}">'
    )


def scrolled(content: str, caption: str) -> str:
    """A region that scrolls sideways on small screens and can be reached by the keyboard."""
    return f'<div class="sx-scroll" tabindex="0" role="region" aria-label="{escape(caption)}">{content}</div>'


def matrix(labels: Sequence[str], values: Array, caption: str) -> str:
    """A table of pairs (M, M), darker where higher; the diagonal is left empty."""
    head = "".join(f'<th scope="col" class="n">{i + 1}</th>' for i in range(len(labels)))
    body = ""
    for i, label in enumerate(labels):
        cells = ""
        for j in range(len(labels)):
            v = float(values[i, j])
            cells += '<td class="n muted">–</td>' if i == j else _shaded(v)
        body += f'<tr><th scope="row">{i + 1} {escape(label)}</th>{cells}</tr>'
    return scrolled(
        f'<table class="sx-table"><caption><span>{escape(caption)}</span></caption><thead><tr><th'
        f' scope="col">map</th>{head}</tr></thead><tbody>{body}</tbody></table>',
        caption,
    )


def table(rows: Sequence[Mapping[str, Any]], caption: str, muted: Sequence[bool] = ()) -> str:
    """A small table; numbers get three digits, an interval in brackets stands under its value, `muted` rows are
    gray."""
    if not rows:
        return ""
    head = "".join(
        f'<th scope="col"{" class=n" if isinstance(v, float | int) else ""}>{escape(k)}</th>'
        for k, v in rows[0].items()
    )
    gray = [*muted, *([False] * len(rows))]
    body = "".join(
        f"<tr{' class=muted' if gray[i] else ''}>{''.join(_cell(value) for value in row.values())}</tr>"
        for i, row in enumerate(rows)
    )
    return scrolled(
        f'<table class="sx-table"><caption><span>{escape(caption)}</span></caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>",
        caption,
    )


def _cell(value: Any) -> str:
    if isinstance(value, float | int) and not isinstance(value, bool):
        return f'<td class="n">{f"{value:.3f}" if isinstance(value, float) else value}</td>'
    found = re.fullmatch(r"([+−-]?[\d.]+) \((.+ to [^)]+)\)(, .*)?", str(value))
    if found is None:
        return f"<td>{escape(value)}</td>"
    mean, span, more = found.groups()
    return f'<td class="v">{escape(mean)}<small>{escape(span)}{escape(more or "")}</small></td>'


def confusion(names: Sequence[str], counts: Array, shares: Array, who: str = "Recordings") -> str:
    """A table of answers (columns) against labels (rows), in recordings (or what `who` says) and as a share of the
    label's row, NaN for none."""
    body = ""
    for i, name in enumerate(names):
        cells = ""
        for j in range(len(names)):
            color = "rgba(11,102,112,.14)" if i == j else "rgba(184,70,11,.12)"
            part = "–" if np.isnan(shares[i, j]) else f"{100 * shares[i, j]:.0f} %"
            cells += (
                f'<td class="n" style="background:{color}"><b>{counts[i, j]}</b> <span class="muted">{part}</span></td>'
            )
        body += f'<tr><th scope="row">labeled {escape(name)}</th>{cells}</tr>'
    head = "".join(f'<th scope="col" class="n">says {escape(n)}</th>' for n in names)
    caption = f"{escape(who)}, and percent of those with the label."
    return scrolled(
        f'<table class="sx-table"><caption><span>{caption}</span></caption><thead><tr><td></td>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table>",
        caption,
    )


@dataclass(frozen=True)
class Row:
    """One line of an interval chart: a value with its 95 % interval, NaN where there is none."""

    label: str
    value: float
    low: float
    high: float
    muted: bool = False


def intervals(
    rows: Sequence[Row],
    title: str,
    marks: Sequence[tuple[float, str]] = (),
    digits: int = 3,
    shares: bool = False,
) -> str:
    """A table that is a chart: dots with their intervals, one under the other, and marks for what chance or a control
    gives. Shares are written in percent, on an axis from 0 to 100.

    Text stays text, so that it wraps on small screens and can be read aloud.
    """
    known = [v for r in rows for v in (r.value, r.low, r.high) if np.isfinite(v)] + [v for v, _ in marks]
    if not known:
        return ""
    low, high = (0.0, 1.0) if shares else (min(known), max(known))
    low, high = low - 0.06 * (high - low or 1), high + 0.06 * (high - low or 1)

    def said_of(v: float) -> str:
        return f"{100 * v:.0f} %" if shares else f"{v:.{digits}f}"

    def x(v: float) -> str:
        return f"{100 * (v - low) / (high - low):.2f}%"

    lines = "".join(f'<i class="mark" style="left:{x(v)}"></i>' for v, _ in marks)
    body = ""
    for row in rows:
        bar, said = lines, "none"
        if np.isfinite(row.low) and np.isfinite(row.high):
            bar += f'<i class="span" style="left:{x(row.low)};right:calc(100% - {x(row.high)})"></i>'
        if np.isfinite(row.value):
            bar += f'<i class="dot" style="left:{x(row.value)}"></i>'
            said = said_of(row.value)
        if np.isfinite(row.low) and np.isfinite(row.high):
            said += f" <small>{said_of(row.low)} to {said_of(row.high)}</small>"
        kind = ' class="muted"' if row.muted else ""
        body += (
            f'<tr{kind}><th scope="row">{escape(row.label)}</th><td class="bar"'
            f' aria-hidden="true"><div>{bar}</div></td><td class="n">{said}</td></tr>'
        )
    if marks:
        words = "".join(f'<span style="left:{x(v)}">{escape(text)}</span>' for v, text in marks)
        spoken = ", ".join(f"{text} {v:.{digits}g}" for v, text in marks)
        body += (
            f'<tr class="marks"><th scope="row"><span class="sx-unseen">{escape(spoken)}</span></th>'
            f'<td class="bar" aria-hidden="true"><div>{words}</div></td><td></td></tr>'
        )
    return f'<table class="sx-chart"><caption class="sx-unseen">{escape(title)}</caption><tbody>{body}</tbody></table>'


def heat(names: Sequence[str], columns: Sequence[str], values: Array, caption: str, muted: Sequence[bool] = ()) -> str:
    """A table of values (N, M), darker where higher within [0, 1]; NaN is none."""
    head = "".join(f'<th scope="col" class="n">{escape(c)}</th>' for c in columns)
    body = ""
    for i, name in enumerate(names):
        kind = ' class="muted"' if i < len(muted) and muted[i] else ""
        cells = "".join(_shaded(float(v)) for v in values[i])
        body += f'<tr{kind}><th scope="row">{escape(name)}</th>{cells}</tr>'
    return scrolled(
        f'<table class="sx-table"><caption><span>{escape(caption)}</span></caption>'
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table>",
        caption,
    )


def _shaded(value: float) -> str:
    if np.isnan(value):
        return '<td class="n muted">none</td>'
    # At its darkest the shade still leaves dark text a contrast of more than 4.5 : 1.
    strength = max(0.0, min(1.0, value)) * 0.55
    return f'<td class="n" style="background:rgba(11,102,112,{strength:.2f});color:{INK}">{value:.2f}</td>'


def calibration(
    stated: Array, observed: Array, low: Array, high: Array, counts: Array, *, share: str, who: str, of: str
) -> str:
    """What share of `who` had the disease, or of answers was right, beside the probability that the model stated, bin
    by bin; `share` and `of` say which."""
    size, pad = 300, 40

    def x(v: float) -> float:
        return pad + v * size

    def y(v: float) -> float:
        return 10 + (1 - v) * size

    parts = [f'<rect x="{pad}" y="10" width="{size}" height="{size}" fill="#ffffff" stroke="{LINE}"/>']
    parts.append(f'<line x1="{x(0)}" y1="{y(0)}" x2="{x(1)}" y2="{y(1)}" stroke="{SOFT}" stroke-dasharray="4 4"/>')
    for tick in (0, 0.5, 1):
        parts.append(
            f'<text x="{x(tick)}" y="{y(0) + 16}" font-size="11" fill="{SOFT}" text-anchor="middle">{tick:g}</text>'
        )
        parts.append(
            f'<text x="{pad - 6}" y="{y(tick) + 4}" font-size="11" fill="{SOFT}" text-anchor="end">{tick:g}</text>'
        )
    for s, o, a, b, n in zip(stated, observed, low, high, counts, strict=True):
        parts.append(
            f'<line x1="{x(s):.1f}" x2="{x(s):.1f}" y1="{y(a):.1f}" y2="{y(b):.1f}" stroke="{VOICE}" stroke-width="2"/>'
        )
        parts.append(
            f'<circle cx="{x(s):.1f}" cy="{y(o):.1f}" r="5" fill="{VOICE}"><title>{n} {escape(who)}</title></circle>'
        )
    parts.append(
        f'<text x="{x(0.5)}" y="{y(0) + 34}" font-size="12" fill="{INK}" text-anchor="middle">{escape(of)} that'
        " the model stated</text>"
    )
    parts.append(
        f'<text x="12" y="{y(0.5)}" font-size="12" fill="{INK}" text-anchor="middle" transform="rotate(-90 12'
        f' {y(0.5)})">{escape(share)}</text>'
    )
    words = "; ".join(
        f"stated {s:.2f}, observed {o:.2f} of {n}" for s, o, n in zip(stated, observed, counts, strict=True)
    )
    svg = f'<svg viewBox="0 0 {size + pad + 14} {size + 52}" {FONT}>{"".join(parts)}</svg>'
    return figure(svg, f"Calibration: {words}", "420px")


def strip(values: Mapping[str, Sequence[float]], own: float) -> str:
    """Values of two or more groups as rows of dots over one axis, and a line where one recording lies."""
    known = [v for group in values.values() for v in group]
    low, high = min([*known, own]), max([*known, own])
    wide = (high - low) or 1.0
    colors = (VOICE, WARM, INK, SOFT)

    def x(value: float) -> float:
        return 34 + 180 * (value - low) / wide

    drawn = ""
    for i, (name, group) in enumerate(values.items()):
        y, color = 8 + 12 * i, colors[i % len(colors)]
        drawn += f'<text x="28" y="{y + 4}" font-size="10" text-anchor="end" fill="{color}">{escape(name)}</text>'
        drawn += "".join(f'<circle cx="{x(v):.1f}" cy="{y}" r="3" fill="{color}" fill-opacity=".35"/>' for v in group)
    bottom = 4 + 12 * len(values)
    drawn += f'<line x1="{x(own):.1f}" x2="{x(own):.1f}" y1="0" y2="{bottom}" stroke="{INK}" stroke-width="1.6"/>'
    told = "; ".join(
        f"{name}: {len(group)} recordings, middle half {np.quantile(group, 0.25):.3g} to {np.quantile(group, 0.75):.3g}"
        for name, group in values.items()
        if len(group)
    )
    svg = f'<svg viewBox="0 0 220 {bottom}" {FONT}>{drawn}</svg>'
    return figure(svg, f"this recording {own:.3g}; {told}", "220px")
