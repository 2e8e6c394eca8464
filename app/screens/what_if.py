"""What if: what would the model say if the voice were less breathy, and everything else stayed?"""

from __future__ import annotations

import streamlit as st

from app import charts, inspecting, panels, state, widgets
from speechxai import SpeechXAIError
from speechxai.signs.words import dose_words

widgets.page("What would the model say if this voice were different?")
one, two = st.columns([3, 2])
with two:
    model = widgets.choose_model()
with one:
    name = inspecting.choose_recording(model)
key = ("catalogue", name)
try:
    widgets.load(model, key)
    with widgets.working("Listening", f"hear {model}|{name}") as tick:
        heard = state.heard(model, key, tick)
except SpeechXAIError as error:
    widgets.problem(error)
    widgets.foot()
    st.stop()
inspecting.stop_without_class(heard)
widgets.show_html(inspecting.answer_line(heard, name))
found = panels.ask(model, key)
if found is not None:
    panels.answer(found)
    rows = [
        {
            "dial": str(curve.facts["label"]),
            "of the": "voice" if curve.family == "sign" else "recording",
            "step": dose_words(curve, curve.at) if curve.at == curve.at else "none",
            "moves the logit by": f"{curve.effect:+.2f}",
            "random change": "" if curve.floor != curve.floor else f"{curve.floor:.2f}",
            "more than that": "" if curve.floor != curve.floor else "yes" if curve.beats_placebo else "no",
            "answer turns at": "" if curve.turns is None else dose_words(curve, curve.turns.dose),
        }
        for curve in found.curves
    ]
    widgets.show_html(
        charts.table(
            rows,
            "Every dial at its step; gray: it moves the answer no more than a random change of its kind and size, so it"
            " says nothing.",
            muted=[row["more than that"] == "no" for row in rows],
        )
    )
    if found.not_applicable:
        with st.expander("Dials that do not apply"):
            for dial, reason in found.not_applicable.items():
                st.caption(widgets.plain(f"{dial.replace('_', ' ')}: {reason}"))
widgets.foot()
