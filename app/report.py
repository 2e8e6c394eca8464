"""The case report: one page that prints, with the picture, the words, the numbers and what the model cannot do."""

from __future__ import annotations

import base64
import datetime
import html
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from app import naming, state, widgets
from speechxai import __version__, plots

if TYPE_CHECKING:
    from app.inspecting import Explanation

STYLE = """
@page { size: A4; margin: 14mm; }
body { font: 11pt/1.4 "Source Sans 3", "Source Sans Pro", system-ui, sans-serif; color: #1f2a30; max-width: 182mm; margin: 8mm auto; padding: 0 4mm; }
h1 { font-size: 16pt; margin: 0 0 1mm; } h2 { font-size: 12pt; margin: 5mm 0 1mm; } p { margin: 0 0 2mm; }
.muted { color: #4d5c64; font-size: 9.5pt; } .answer { font-size: 13pt; border-left: 3px solid #0b6670; padding-left: 4mm; margin: 4mm 0; }
img { width: 100%; } table { border-collapse: collapse; font-size: 9.5pt; } td, th { text-align: left; padding: 1mm 4mm 1mm 0; border-bottom: 1px solid #dfe6e6; }
ul { margin: 0; padding-left: 5mm; } .caveats { font-size: 9.5pt; } .notice { border-top: 1px solid #cfd8d9; margin-top: 5mm; padding-top: 2mm; }
@media print { body { margin: 0 auto; } h2, table, img { break-inside: avoid; } }
"""


def caveats(card: str) -> list[str]:
    """Lines of a model card under headings that speak of caveats, limits, bias or intended use; "" lines left out."""
    found: list[str] = []
    inside = False
    for line in card.splitlines():
        if line.startswith("#"):
            inside = bool(re.search(r"caveat|limit|bias|not for|not use|intended|warning", line, re.IGNORECASE))
        elif inside and line.strip() and not line.startswith("|"):
            text = re.sub(r"[*_`]|\[([^\]]*)\]\([^)]*\)", lambda m: m.group(1) or "", line.strip())
            if text.startswith(("- ", "* ")) or not found:
                found.append(text.lstrip("-* "))
            else:
                found[-1] += f" {text}"
    return found


def case_html(case: Explanation, title: str, regions: Sequence[tuple[float, float]], sentences: Sequence[str]) -> bytes:
    """Return the report of one case as a page without links to anything outside."""
    heard, map_ = case.heard, case.map
    bundle = state.bundle(case.model)
    name = naming.class_words(heard.class_names[map_.target])
    style = plots.Style(width_in=9.2, height_in=3.0, title="")
    picture = plots.evidence_overlay(heard.spec.magnitude[0].numpy(), map_.mask, heard.spec.stft, style)
    rows = "".join(f"<tr><td>{i}</td><td>{a:.2f} to {b:.2f} s</td></tr>" for i, (a, b) in enumerate(regions[:12], 1))
    limits = (
        "".join(f"<li>{html.escape(line)}</li>" for line in caveats(bundle.card))
        or "<li>The model card names none.</li>"
    )
    said = "".join(f"<li>{html.escape(text)}</li>" for text in sentences)
    now = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
    text = f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}: case report</title><style>{STYLE}</style></head><body>
<h1>{html.escape(title)}</h1><p class="muted">Case report, {now} · model {html.escape(bundle.config.title or bundle.name)} · explained by {html.escape(naming.recipe_words(map_.recipe))} · {len(heard.waveform) / heard.sample_rate_hz:.2f} s</p>
<p class="answer">The model says <b>{html.escape(name)}</b>, calibrated probability {map_.p:.2f}. Without the strongest fifth of the evidence: {map_.p_removed:.2f}; with nothing else: {map_.p_kept:.2f}.</p>
<img alt="Spectrogram with the evidence for {html.escape(name)}" src="data:image/png;base64,{base64.b64encode(picture).decode()}">
<h2>What matters</h2><ul>{said}</ul>
<h2>Where half of the evidence lies</h2><table><tr><th>stretch</th><th>time</th></tr>{rows}</table>
<h2>What the model cannot do</h2><ul class="caveats">{limits}</ul>
<p class="muted notice">{widgets.NOTICE} Made on this computer by speechxai {__version__}; weights {bundle.config.weights.sha256[:12]}.</p></body></html>"""
    return text.encode()
