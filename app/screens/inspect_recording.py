"""Inspect: why did the model say this about this recording?"""

from __future__ import annotations

import streamlit as st

from app import inspecting, panels, sources, state, widgets
from app.inspecting import case_tools, explain_case, filters, row_words, show_case
from speechxai import SpeechXAIError
from speechxai.data.manifest import classes_of

widgets.page("Why did the model say this about this recording?")

rows = sources.catalogue()
left, middle, right, for_class, more = st.columns([3.9, 2.4, 2.4, 2.0, 1.1], vertical_alignment="bottom")
with middle:
    model = widgets.choose_model()
with right:
    recipe = widgets.choose_recipe(model)
with for_class:
    target = widgets.choose_class(model)
with more, st.popover("Filter", width="stretch"):
    chosen = filters(rows, model)  # the very same table where nothing is filtered
with left:
    if chosen.empty:
        st.warning("No recording passes the filter.", icon=":material/filter_alt_off:")
        st.stop()
    labels, classes = classes_of(rows), state.classes(model).names
    told = sources.rows_by_name() if chosen is rows else sources.by_name(chosen)
    known = state.known_answers(model)
    told = {name: {**row, **known.get(name, {})} for name, row in told.items()}

    def describe(name: str) -> str:
        """One line about a recording."""
        return row_words(name, told[name], labels, classes)

    first = next((n for n, row in told.items() if widgets.label_of(row) == 1), None)
    # In one row on a phone as well, where columns would stand one below the other.
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        st.button(
            "‹", key="previous", help="The recording before", on_click=widgets.step, args=("recording", list(told), -1)
        )
        name = widgets.choose("Recording", "recording", list(told), describe, default=first)
        st.button("›", key="next", help="The next recording", on_click=widgets.step, args=("recording", list(told), 1))

key = ("catalogue", name)
try:
    case = explain_case(model, key, recipe, target)
except SpeechXAIError as error:
    widgets.problem(error)
    widgets.foot()
    st.stop()

words_place, picture_place = st.columns([3.1, 9.9], gap="medium")
found = show_case(case, name, widgets.label_of(told[name]), words_place, picture_place)
with picture_place:
    beside = panels.beside(case, found, name)
case_tools(case, found, name, beside)
inspecting.panel(case, found, name, beside)
widgets.foot()
widgets.try_methods(model)
