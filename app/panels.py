"""What stands beside a map on a recording's page: voice measures of the whole and of what is marked, and what if."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import streamlit as st

from app import charts, noting, player, sources, state, widgets
from app.inspecting import Explanation
from app.sources import Key
from speechxai import SpeechXAIError
from speechxai.data.manifest import classes_of
from speechxai.inspection import report, voice
from speechxai.inspection.inspect import Inspection
from speechxai.inspection.voice import Measured
from speechxai.inspection.words import class_words
from speechxai.report import plots
from speechxai.signal.acoustics import task_kind
from speechxai.signs import words as signs_words
from speechxai.signs.whatif import WhatIf, kind_of
from speechxai.units.tiers import Units

TASKS = {"vowel": "a held vowel", "ddk": "repeated syllables"}


def beside(case: Explanation, found: Inspection, title: str) -> report.Beside:
    """Show what stands beside a map, and return it for the report."""
    region = player.region("player", case.heard.digest)
    measured = state.measured(case.model, case.key, region)
    made = report.Beside(share=widgets.share_of_ill(), measures=measured, region_s=region, label=label_of(case.key))
    units = state.chosen_units(case.key)
    if units is not None:
        made = replace(made, units=units)
        with st.expander("Evidence by unit", expanded=True, icon=":material/segment:"):
            _units(found, units)
    with st.expander("Notes", expanded=True, icon=":material/edit_note:"):
        made = replace(made, notes=noting.panel(case.key, case.heard, title))
    with st.expander("What if this voice were different?", expanded=True, icon=":material/tune:"):
        asked = ask(case.model, case.key)
        if asked is not None:
            answer(asked, first_only=True)
            st.page_link("screens/what_if.py", label="Every dial", icon=":material/tune:")
            made = replace(made, what_if=signs_words.sentences(asked, class_words))
    with st.expander("Voice measures", expanded=True, icon=":material/straighten:"):
        _measures(case, made, title)
    return made


def _units(found: Inspection, units: Units) -> None:
    """How much of the evidence lies in stops, vowels, words, pauses."""
    if not found.map.mask.any():
        st.caption("The map holds no evidence.")
        return
    rows = [dict(zip(report.UNIT_HEADER, row, strict=True)) for row in report.unit_rows(found, units)]
    widgets.show_html(charts.table(rows, f"Evidence by unit; {report.UNIT_WORDS}"))
    if units.note:
        st.caption(widgets.plain(units.note))


def label_of(key: Key) -> str:
    """Label of a catalogue's recording in words, "" where it has none."""
    row = sources.rows_by_name().get(key[1]) if key[0] == "catalogue" else None
    label = None if row is None else widgets.label_of(row)
    return "" if label is None else class_words(classes_of(sources.catalogue())[label])


def ask(model: str, key: Key) -> WhatIf | None:
    """What if, once a reader asks: every dial takes the model's time."""
    known = state.known_what_if(model, key)
    if known is not None:
        return known
    wanted = f"what_if {model}|{key}"
    place = st.empty()
    if not st.session_state.get(wanted):
        with place.container():
            st.caption(
                "Turns one sign of the voice at a time (breathier, lower, more tremulous), then the recording (noise,"
                " codec, room), and asks the model again. Takes seconds to a minute."
            )
            if not st.button("Ask", key="ask_what_if", type="primary"):
                return None
    place.empty()
    st.session_state[wanted] = True
    try:
        with widgets.working("Turning the dials", wanted, at_once=True) as tick:
            return state.what_if(model, key, tick)
    except SpeechXAIError as error:
        widgets.problem(error)
        return None


def answer(found: WhatIf, first_only: bool = False) -> None:
    """The curves with their floors, the sentences, and the edited sounds."""
    curves = signs_words.first(found) if first_only else found.curves
    if not curves:
        st.info("No dial applies to this recording.", icon=":material/block:")
        return
    said = signs_words.sentences(found, class_words)
    scale = f"P({found.class_names[found.target]})"
    panels = [signs_words.panel(curve) for curve in curves]
    wide, narrow = (base64.b64encode(_curves(panels, scale, columns)).decode() for columns in (4, 2))
    names = ", ".join(str(curve.facts["label"]) for curve in curves)
    told = f"{scale} over the dose of: {names}. The gray band is what a random change of the same size does."
    widgets.show_html(
        f'<img class="sx-figure wide" alt="{charts.escape(told)}" src="data:image/png;base64,{wide}">'
        f'<img class="sx-figure narrow" alt="{charts.escape(told)}" src="data:image/png;base64,{narrow}">'
        f'<div class="sx-words">{"".join(f"<p>{charts.escape(text)}</p>" for text in said)}</div>'
    )
    sounds = {
        f"{curve.facts['label']}: {signs_words.dose_words(curve, dose)}": (curve.name, dose)
        for curve in curves
        for name, dose in found.sounds
        if name == curve.name
    }
    if not sounds:
        return
    chosen = st.selectbox("Listen to", list(sounds), key="what_if_sound")
    edited = found.sounds[sounds[chosen]]
    original = found.recording.waveform.numpy()
    # One gain for both, so that they can be compared by ear and neither clips.
    gain = min(1.0, 0.999 / max(float(np.abs(edited).max()), float(np.abs(original).max()), 1e-9))
    rate = found.recording.sample_rate
    widgets.sound("Original", player.wav_bytes(gain * original, rate), key="what_if_original")
    widgets.sound("Edited", player.wav_bytes(gain * edited, rate), key="what_if_edited")


@st.cache_data(max_entries=16, show_spinner="Drawing the curves")
def _curves(panels: Sequence[Any], scale: str, columns: int) -> bytes:
    return plots.dose_curves(panels, scale, columns=columns)


def _measures(case: Explanation, made: report.Beside, title: str) -> None:
    kind = task_kind(case.heard.recording.task)
    if kind == "unknown":
        kind = kind_of(case.heard.recording)
    one, two = st.columns([3, 1], vertical_alignment="bottom")
    with one:
        compared = st.toggle(
            "Show the data set beside",
            key="measures_people",
            help="Measures every recording of the same task once. Values of people are no verdict on anybody.",
        )
    with two:
        widgets.button("Voice measures (CSV)", f"{title}_measures.csv", "text/csv", lambda: report.measures_csv(made))
    people: dict[str, dict[int, list[float]]] = {}
    if compared:
        with widgets.working("Measuring the data set", f"measures {kind}") as tick:
            people = state.measured_people(kind, tick)
    widgets.show_html(_table(made, people, kind))


def _table(made: report.Beside, people: dict[str, dict[int, list[float]]], kind: str) -> str:
    """HTML of the measures: blank where the task does not define one."""
    labels = classes_of(sources.catalogue())
    header = ["measure", "recording", "marked", "data set", "reference and what else moves it"]
    left_out = ({"marked"} if made.region_s is None else set()) | ({"data set"} if not people else set())
    body = ""
    for one in voice.shown(made.measures):
        cells = {
            "measure": f"<th scope=row title='{charts.escape(one.measure.description)}'>"
            f"{charts.escape(one.measure.label)}</th>",
            "recording": f"<td class=v>{_value(one, one.value)}</td>",
            "marked": f"<td class=v>{_value(one, one.part)}</td>",
            "data set": f"<td>{_strip(one, people.get(one.measure.name, {}), labels)}</td>",
            "reference and what else moves it": f"<td><small>{_references(one)}</small></td>",
        }
        body += "<tr>" + "".join(cell for name, cell in cells.items() if name not in left_out) + "</tr>"
    head = "".join(f"<th scope=col>{name}</th>" for name in header if name not in left_out)
    where = "" if made.region_s is None else f"; marked: {made.region_s[0]:.2f} to {made.region_s[1]:.2f} s"
    caption = (
        f"Measured as {TASKS.get(kind, 'speech')}{where}. Blank where the"
        " task does not define a measure. None is a verdict."
    )
    return charts.scrolled(
        f'<table class="sx-table sx-measures"><caption>{charts.escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>",
        caption,
    )


def _value(one: Measured, value: float) -> str:
    return charts.escape(voice.value_words(value, one.measure.unit)).replace(" ", "\u00a0")


def _references(one: Measured) -> str:
    if not one.defined:
        return ""
    texts = [*(voice.reference_words(reference) for reference in one.references), one.measure.caveat]
    return " ".join(charts.escape(text) for text in texts)


def _strip(one: Measured, values: dict[int, list[float]], labels: tuple[str, ...]) -> str:
    if not one.defined or one.value != one.value or sum(map(len, values.values())) < 5:
        return ""
    return charts.strip({name: values.get(i, []) for i, name in enumerate(labels)}, one.value)
