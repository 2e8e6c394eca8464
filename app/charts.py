"""Small figures as SVG and tables as HTML: sharp on every screen, readable by screen readers, no request to anywhere."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.player import Array

INK, SOFT, LINE, VOICE, WARM = "#1f2a30", "#4d5c64", "#d5dcdd", "#0b6670", "#b8460b"
FONT = "font-family=\"'Source Sans','Source Sans Pro',system-ui,sans-serif\""


def escape(text: object) -> str:
    """Text for HTML."""
    return html.escape(str(text))


def figure(svg: str, words: str, width: str = "100%") -> str:
    """An SVG as a picture: the page's cleaner removes drawn SVG, and a picture keeps its text alternative."""
    text = svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    data = base64.b64encode(text.encode()).decode()
    return f'<img class="sx-figure" style="max-width:{width}" alt="{escape(words)}" src="data:image/svg+xml;base64,{data}">'


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
            if i == j:
                cells += '<td class="n muted">–</td>'
            elif np.isnan(v):
                cells += '<td class="n muted">none</td>'
            else:
                strength = max(0.0, min(1.0, v)) * 0.55
                cells += f'<td class="n" style="background:rgba(11,102,112,{strength:.2f});color:{"#ffffff" if strength > 0.5 else INK}">{v:.2f}</td>'
        body += f'<tr><th scope="row">{i + 1} {escape(label)}</th>{cells}</tr>'
    return scrolled(
        f'<table class="sx-table"><caption>{escape(caption)}</caption><thead><tr><th scope="col">map</th>{head}</tr></thead><tbody>{body}</tbody></table>',
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


def intervals(rows: Sequence[Row], title: str, marks: Sequence[tuple[float, str]] = ()) -> str:
    """Dots with their intervals, one under the other, and vertical marks for what chance or a control gives."""
    known = [v for r in rows for v in (r.value, r.low, r.high) if np.isfinite(v)] + [v for v, _ in marks]
    if not known:
        return ""
    low, high = min(known), max(known)
    low, high = low - 0.06 * (high - low or 1), high + 0.06 * (high - low or 1)
    left, width, step = 232, 240, 22
    height = step * len(rows) + 34

    def x(v: float) -> float:
        return left + (v - low) / (high - low) * width

    parts = []
    for value, words in marks:
        parts.append(
            f'<line x1="{x(value):.1f}" x2="{x(value):.1f}" y1="4" y2="{height - 28}" stroke="{WARM}" stroke-dasharray="3 3"/>'
        )
        parts.append(
            f'<text x="{x(value):.1f}" y="{height - 4}" font-size="11" fill="{WARM}" text-anchor="middle">{escape(words)}</text>'
        )
    for i, row in enumerate(rows):
        y = 16 + i * step
        color = SOFT if row.muted else VOICE
        parts.append(
            f'<text x="{left - 10}" y="{y + 4}" font-size="12.5" fill="{SOFT if row.muted else INK}" text-anchor="end">{escape(row.label if len(row.label) <= 34 else row.label[:33] + "…")}</text>'
        )
        if np.isfinite(row.low) and np.isfinite(row.high):
            parts.append(
                f'<line x1="{x(row.low):.1f}" x2="{x(row.high):.1f}" y1="{y}" y2="{y}" stroke="{color}" stroke-width="2"/>'
            )
        if np.isfinite(row.value):
            parts.append(f'<circle cx="{x(row.value):.1f}" cy="{y}" r="4.5" fill="{color}"/>')
            parts.append(
                f'<text x="{left + width + 14}" y="{y + 4}" font-size="12" fill="{SOFT}">{row.value:.3f}</text>'
            )
    words = "; ".join(f"{r.label} {r.value:.3f}" for r in rows)
    svg = f'<svg viewBox="0 0 {left + width + 64} {height}" {FONT}>{"".join(parts)}</svg>'
    return figure(svg, f"{title}: {words}", f"{left + width + 64}px")


def calibration(stated: Array, observed: Array, low: Array, high: Array, counts: Array) -> str:
    """What share of recordings had the disease, beside the probability that the model stated, bin by bin."""
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
            f'<circle cx="{x(s):.1f}" cy="{y(o):.1f}" r="5" fill="{VOICE}"><title>{n} recordings</title></circle>'
        )
    parts.append(
        f'<text x="{x(0.5)}" y="{y(0) + 34}" font-size="12" fill="{INK}" text-anchor="middle">probability the model stated</text>'
    )
    parts.append(
        f'<text x="12" y="{y(0.5)}" font-size="12" fill="{INK}" text-anchor="middle" transform="rotate(-90 12 {y(0.5)})">share labeled PD</text>'
    )
    words = "; ".join(
        f"stated {s:.2f}, observed {o:.2f} of {n}" for s, o, n in zip(stated, observed, counts, strict=True)
    )
    svg = f'<svg viewBox="0 0 {size + pad + 14} {size + 52}" {FONT}>{"".join(parts)}</svg>'
    return figure(svg, f"Calibration: {words}", "420px")
