"""One recording explained, as Inspect and Try yours both show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from app import charts, downloads, naming, player, report, state, view, widgets, words
from app.state import Key
from app.textgrid import TextGridError, read_textgrid, write_audacity, write_textgrid
from app.work import CONTROLS, Explained, Heard
from speechxai import NotApplicable


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
    classes = state.bundle(model).config.classes
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
    with widgets.working(f"Explaining by {naming.recipe_words(recipe)}", job) as tick:
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
        facts = view.facts(
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
        block = state.kept(
            case.model, case.key, name, lambda: view.player_view(case.heard, case.map, title, tiers=tiers)
        )
        player.show(block, key="player")
    with said:
        found = sentences_of(case)
        widgets.show_html(widgets.sentences(found))
    st.session_state["last_sentences"] = [s.text for s in found]


def case_tools(case: Explanation, title: str) -> None:
    """What to take away from a case, and segments to put under it."""
    sentences = st.session_state.get("last_sentences", [])

    def regions() -> list[tuple[float, float]]:
        return view.evidence_regions(case.heard, case.map)

    def labeled() -> list[tuple[float, float, str]]:
        return [(a, b, f"evidence {i + 1}") for i, (a, b) in enumerate(regions())]

    def textgrid() -> bytes:
        return write_textgrid(labeled(), len(case.heard.waveform) / case.heard.sample_rate_hz).encode()

    one, two, three, four = st.columns([1, 1, 1, 1.4], vertical_alignment="bottom")
    with one:
        downloads.button(
            "Case report (HTML)",
            f"{title}_report.html",
            "text/html",
            lambda: report.case_html(case, title, regions(), sentences),
        )
    with two:
        downloads.button("Evidence regions (TextGrid)", f"{title}.TextGrid", "text/plain", textgrid)
    with three:
        downloads.button(
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
                "map": naming.recipe_words(m.recipe),
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
            f"Recording: {quality['duration_s']:.2f} s, peak {quality['peak']:.2f}, level {quality['rms_dbfs']:.0f} dB, "
            f"pauses {100 * quality['silence_share']:.0f} % of the time, band up to {quality['bandwidth_hz']:.0f} Hz."
        )
