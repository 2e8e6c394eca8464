"""One recording explained, as Inspect and Try yours both show it."""

from __future__ import annotations

import base64
import datetime
import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
import torch

from app import charts, player, sources, state, widgets
from app.gate import Check
from app.player import Map, View, Voice, pack
from app.sources import Key
from app.textgrid import TextGridError, read_textgrid, write_audacity, write_textgrid
from app.widgets import file_name
from speechxai import NotApplicable, __version__
from speechxai.inspection import inspect, words
from speechxai.inspection.inspect import CONTROLS, Explained, Heard
from speechxai.inspection.words import Facts, Sentence, class_words, recipe_words
from speechxai.report import plots
from speechxai.signal.audio import write


# From results to what a page shows: the player's views, and the facts that the sentences are computed from.
def sounds(heard: Heard, map_: Explained) -> list[Voice]:
    """Original, kept and removed at one level, each with the probability of the explained class."""
    name = heard.class_names[map_.target]
    kept, removed = inspect.halves(heard, map_.strongest)
    voices = [
        Voice("original", "Original", heard.waveform, f"{name} {map_.p:.2f}", "The recording as the model hears it.")
    ]
    share = f"{100 * inspect.HEARD_SHARE:.0f} %"
    for key, label, sound, p, what in (
        ("kept", "Kept", kept, map_.p_kept, f"Only the strongest {share} of the evidence"),
        ("removed", "Removed", removed, map_.p_removed, f"Without the strongest {share} of the evidence"),
    ):
        loud, gain_db = inspect.matched(sound, heard.waveform)
        title = f"{what}; probability of {name} {p:.2f}. Level matched: {gain_db:+.0f} dB."
        voices.append(Voice(key, label, loud, f"{name} {p:.2f}", title))
    return voices


def player_view(
    heard: Heard, map_: Explained, title: str, words: Sequence[Sentence] = (), tiers: Sequence[Mapping[str, Any]] = ()
) -> bytes:
    """The player's block for one map."""
    name = class_words(heard.class_names[map_.target])
    summary = f"The model says {name}, probability {map_.p:.2f}. " + " ".join(s.text for s in words)
    return pack(
        View(
            title=title,
            recording=heard.digest,
            magnitude=heard.magnitude,
            frame_rate_hz=heard.frame_rate_hz,
            sample_rate_hz=heard.sample_rate_hz,
            maps=[Map(map_.recipe, recipe_words(map_.recipe), map_.mask)],
            sounds=sounds(heard, map_),
            voicing=heard.voicing,
            f0_hz=heard.f0_hz,
            summary=summary,
            tiers=tiers,
        )
    )


def compare_view(heard: Heard, maps: Mapping[str, Explained], title: str) -> bytes:
    """The player's block for several maps one under the other."""
    return pack(
        View(
            title=title,
            recording=heard.digest,
            magnitude=heard.magnitude,
            frame_rate_hz=heard.frame_rate_hz,
            sample_rate_hz=heard.sample_rate_hz,
            maps=[
                Map(m.recipe, recipe_words(m.recipe), m.mask, f"without it: {m.p_removed:.2f} (whole: {m.p:.2f})")
                for m in maps.values()
            ],
            sounds=[Voice("original", "Original", heard.waveform)],
            voicing=heard.voicing,
            f0_hz=heard.f0_hz,
            summary=f"{len(maps)} maps of one recording: {', '.join(recipe_words(m.recipe) for m in maps.values())}.",
        )
    )


def facts_of(
    heard: Heard,
    map_: Explained,
    controls: Mapping[str, Explained],
    others: Mapping[str, Explained],
    unlike: Sequence[str] = (),
) -> Facts:
    """What the sentences about a map are computed from."""
    fifths = heard.without_fifths[:, map_.target]
    return Facts(
        evidence=map_.mask * map_.strongest,
        loudness=np.log1p(heard.magnitude),
        voicing=heard.voicing,
        bin_hz=heard.sample_rate_hz / 2 / (heard.magnitude.shape[0] - 1),
        frame_rate_hz=heard.frame_rate_hz,
        class_name=class_words(heard.class_names[map_.target]),
        p=map_.p,
        p_removed=map_.p_removed,
        controls={name: found.p_removed for name, found in controls.items() if name != map_.recipe},
        overlaps={name: inspect.top_overlap(map_.strongest, found.strongest) for name, found in others.items()},
        chance_overlap=inspect.HEARD_SHARE,
        range_p=(float(fifths.min()), float(fifths.max())),
        unlike=unlike,
        recording_warnings=heard.warnings,
    )


def evidence_regions(heard: Heard, map_: Explained, share: float = 0.5) -> list[tuple[float, float]]:
    """Stretches of time, s, that together hold `share` of the shown evidence, the fewest frames that do."""
    over_time = (map_.mask * map_.strongest).sum(axis=0, dtype=np.float64)
    total = over_time.sum()
    if not total > 0:
        return []
    order = np.argsort(-over_time, kind="stable")
    before = np.cumsum(over_time[order]) - over_time[order]
    inside = np.zeros(len(over_time), bool)
    inside[order[before < share * total * (1 - 1e-9)]] = True
    edges = np.flatnonzero(np.diff(np.concatenate([[0], inside.astype(np.int8), [0]])))
    duration = len(heard.waveform) / heard.sample_rate_hz
    rate = heard.frame_rate_hz
    found: list[list[float]] = []
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        start, end = max(0.0, (first - 0.5) / rate), min(duration, (last - 0.5) / rate)
        if found and start - found[-1][1] < 0.03:
            found[-1][1] = end
        else:
            found.append([start, end])
    return [(a, b) for a, b in found if b - a >= 0.03]


# One recording explained, as Inspect and Try yours both show it.
@dataclass(frozen=True, eq=False)
class Explanation:
    """A recording with its map, and what stands beside it; `sentences` are there once the controls are computed."""

    model: str
    key: Key
    heard: Heard
    map: Explained


def filters(rows: pd.DataFrame, model: str) -> pd.DataFrame:
    """Widgets that narrow the catalogue; "wrong ones first" predicts all recordings once."""
    chosen = rows
    for column, label in (("dataset", "Data set"), ("task", "Task")):
        options = sorted({str(v) for v in rows[column]})
        if len(options) > 1:
            wanted = st.multiselect(label, options, key=f"filter_{column}", placeholder="all")
            if wanted:
                chosen = chosen[chosen[column].astype(str).isin(wanted)]
    classes = sources.bundle(model).config.classes
    label = st.segmented_control("Labeled", list(classes), key="filter_label")
    if label:
        chosen = chosen[chosen["label"] == classes.index(label)]
    order = st.toggle("Wrong ones first", key="filter_wrong", help="Predicts every recording once.")
    said = st.segmented_control("The model says", list(classes), key="filter_predicted")
    if order or said:
        with widgets.working("Predicting all recordings", f"predict {model}") as tick:
            known = state.predictions(model, tick).set_index("recording")
        chosen = chosen.assign(
            probability=chosen["recording"].map(known["probability"]),
            predicted=chosen["recording"].map(known["predicted"]),
        )
        if said:
            chosen = chosen[chosen["predicted"] == classes.index(said)]
        if order:
            right = (chosen["predicted"] == chosen["label"]).fillna(True)
            chosen = chosen.assign(_right=right).sort_values("_right", kind="stable")
    return chosen


def explain_case(model: str, key: Key, recipe: str) -> Explanation:
    """Hear and explain a recording, showing how far it is. Raises NotApplicable where the network does not allow it."""
    job = f"{model}|{key}|{recipe}"
    with widgets.working(f"Explaining by {words.recipe_words(recipe)}", job) as tick:
        heard = state.heard(model, key, tick)
        found = state.explained(model, key, [recipe], tick)[recipe]
    if isinstance(found, str):
        raise NotApplicable(f"This network cannot be explained that way: {found} Choose another method.")
    return Explanation(model, key, heard, found)


def sentences_of(case: Explanation) -> list[words.Sentence]:
    """What matters about a case, with controls and other methods computed where they are missing."""
    recipe = case.map.recipe
    others = [
        m
        for m in state.agreement_methods(case.model, case.heard.recording.duration_s)
        if m != recipe and recipe not in CONTROLS
    ]

    def make() -> list[words.Sentence]:
        job = f"words {case.model}|{case.key}|{recipe}"
        with widgets.working("Asking the controls and other methods", job) as tick:
            found = state.explained(case.model, case.key, [*CONTROLS, *others], tick)
        maps = {name: m for name, m in found.items() if isinstance(m, Explained)}
        facts = facts_of(
            case.heard,
            case.map,
            {name: maps[name] for name in CONTROLS if name in maps},
            {name: maps[name] for name in others if name in maps},
            state.unlike_training(case.model, case.heard),
        )
        return words.summary(facts)

    return list(state.kept(case.model, case.key, ("words", recipe, *others), make))


def show_case(case: Explanation, title: str, label: int | None, words_place: Any, picture_place: Any) -> None:
    """Show the answer, the player and the words; the picture first, since the words wait for the controls."""
    with words_place:
        widgets.show_html(widgets.verdict(case.heard, label))
        said = st.container()
    with picture_place:
        tiers = st.session_state.get(f"tiers_{case.key[1]}", ())
        name = ("player", case.map.recipe, title, str(tiers))
        block = state.kept(case.model, case.key, name, lambda: player_view(case.heard, case.map, title, tiers=tiers))
        player.show(block, key="player")
    with said:
        found = sentences_of(case)
        widgets.show_html(widgets.sentences(found))
    st.session_state["last_sentences"] = [s.text for s in found]


def case_tools(case: Explanation, title: str) -> None:
    """What to take away from a case, and segments to put under it."""
    sentences = st.session_state.get("last_sentences", [])

    def regions() -> list[tuple[float, float]]:
        return evidence_regions(case.heard, case.map)

    def labeled() -> list[tuple[float, float, str]]:
        return [(a, b, f"evidence {i + 1}") for i, (a, b) in enumerate(regions())]

    def textgrid() -> bytes:
        return write_textgrid(labeled(), len(case.heard.waveform) / case.heard.sample_rate_hz).encode()

    one, two, three, four = st.columns([1, 1, 1, 1.4], vertical_alignment="bottom")
    with one:
        widgets.button(
            "Case report (HTML)",
            f"{title}_report.html",
            "text/html",
            lambda: case_html(case, title, regions(), sentences),
        )
    with two:
        widgets.button("Evidence regions (TextGrid)", f"{title}.TextGrid", "text/plain", textgrid)
    with three:
        widgets.button(
            "Evidence regions (Audacity)",
            f"{title}_labels.txt",
            "text/plain",
            lambda: write_audacity(labeled()).encode(),
        )
    with four, st.popover("Segments from a TextGrid", width="stretch"):
        file = st.file_uploader("Praat TextGrid", type=["TextGrid", "txt"], key=f"textgrid_{case.key[1]}")
        if file is not None:
            try:
                tiers = read_textgrid(file.getvalue())
            except TextGridError as error:
                widgets.problem(error)
            else:
                name = f"tiers_{case.key[1]}"
                if st.session_state.get(name) != tiers:
                    st.session_state[name] = tiers
                    st.rerun()
    details(case)


def details(case: Explanation) -> None:
    """Numbers behind the words, for those who ask."""
    with st.expander("Numbers behind the words"):
        maps = state.explained(case.model, case.key, [case.map.recipe, *CONTROLS])
        rows: list[Mapping[str, Any]] = [
            {
                "map": words.recipe_words(m.recipe),
                "probability whole": m.p,
                "strongest 20 % alone": m.p_kept,
                "without them": m.p_removed,
                "mean of the soft mask": m.mean_mask,
            }
            for m in maps.values()
            if isinstance(m, Explained)
        ]
        widgets.show_html(
            charts.table(rows, "The chosen map beside maps that know nothing of the model, at one budget.")
        )
        quality = case.heard.quality
        st.caption(
            f"Recording: {quality['duration_s']:.2f} s, peak {quality['peak']:.2f}, level {quality['rms_dbfs']:.0f} dB,"
            f" pauses {100 * quality['silence_share']:.0f} % of the time, band up to {quality['bandwidth_hz']:.0f} Hz."
        )


# The case report: one page that prints, with the picture, the words, the numbers and what the model cannot do.
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
    bundle = sources.bundle(case.model)
    name = words.class_words(heard.class_names[map_.target])
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
<h1>{html.escape(title)}</h1><p class="muted">Case report, {now} · model {html.escape(bundle.config.title or bundle.name)} · explained by {html.escape(words.recipe_words(map_.recipe))} · {len(heard.waveform) / heard.sample_rate_hz:.2f} s</p>
<p class="answer">The model says <b>{html.escape(name)}</b>, calibrated probability {map_.p:.2f}. Without the strongest fifth of the evidence: {map_.p_removed:.2f}; with nothing else: {map_.p_kept:.2f}.</p>
<img alt="Spectrogram with the evidence for {html.escape(name)}" src="data:image/png;base64,{base64.b64encode(picture).decode()}">
<h2>What matters</h2><ul>{said}</ul>
<h2>Where half of the evidence lies</h2><table><tr><th>stretch</th><th>time</th></tr>{rows}</table>
<h2>What the model cannot do</h2><ul class="caveats">{limits}</ul>
<p class="muted notice">{widgets.NOTICE} Made on this computer by speechxai {__version__}; weights {bundle.config.weights.sha256[:12]}.</p></body></html>"""
    return text.encode()


# Saving a case: only when the reader presses the button, into a folder the reader names.
def save(case: Explanation, name: str, found: Sequence[Check], folder: Path, sentences: Sequence[str]) -> Path:
    """Write recording, sounds, regions, report and numbers of a case into a new folder of `folder`; returns it.

    Raises:
        OSError: the folder cannot be written.
    """
    now = datetime.datetime.now().astimezone()
    stem = Path(file_name(name)).stem
    target = folder.expanduser() / f"{now:%Y-%m-%d_%H%M%S}_{stem}"
    target.mkdir(parents=True, exist_ok=False)
    (target / file_name(name)).write_bytes(sources.mine()[case.key[1]][1])
    regions = evidence_regions(case.heard, case.map)
    labeled = [(a, b, f"evidence {i + 1}") for i, (a, b) in enumerate(regions)]
    duration = len(case.heard.waveform) / case.heard.sample_rate_hz
    (target / f"{stem}.TextGrid").write_text(write_textgrid(labeled, duration), "utf-8")
    (target / f"{stem}_labels.txt").write_text(write_audacity(labeled), "utf-8")
    for half, sound in zip(("kept", "removed"), inspect.halves(case.heard, case.map.strongest), strict=True):
        write(target / f"{stem}_{half}.wav", torch.from_numpy(sound), case.heard.sample_rate_hz)
    (target / "report.html").write_bytes(case_html(case, name, regions, sentences))
    facts = {
        "recording": name,
        "saved": now.isoformat(timespec="seconds"),
        "model": sources.bundle(case.model).name,
        "recipe": case.map.recipe,
        "explained": case.heard.class_names[case.map.target],
        "probability": case.map.p,
        "probability_kept": case.map.p_kept,
        "probability_removed": case.map.p_removed,
        "checks": [{"name": c.name, "state": c.state, "text": c.text} for c in found],
        "sentences": list(sentences),
        "notice": widgets.NOTICE,
    }
    (target / "case.json").write_text(json.dumps(facts, indent=2, ensure_ascii=False), "utf-8")
    return target


def panel(case: Explanation, name: str, found: Sequence[Check]) -> None:
    """Where to save, and the button that does."""
    with st.expander("Save this case on this computer"):
        folder = st.text_input("Folder", st.session_state.get("save_to", sources.settings().save_to), key="save_folder")
        st.session_state["save_to"] = folder
        if st.button("Save", type="primary", key="save_case"):
            try:
                target = save(case, name, found, Path(folder), st.session_state.get("last_sentences", []))
            except OSError as error:
                st.error(
                    f"{folder}: the case cannot be saved ({error.strerror}). Name another folder.",
                    icon=":material/error:",
                )
            else:
                st.success(f"Saved in {target}", icon=":material/check_circle:")
