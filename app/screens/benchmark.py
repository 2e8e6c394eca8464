"""Benchmark: which explanation can I trust?"""

from __future__ import annotations

import streamlit as st

from app import benchmark_parts, state, widgets
from speechxai import SpeechXAIError

widgets.page("Which explanation can I trust?")
runs = state.runs()
if not runs:
    widgets.show_html(
        '<div class="sx-card sx-words"><h2>No run to show yet</h2><p>A run scores explanations of many recordings, so'
        " that methods can be compared with each other and with maps that know nothing of the model. A benchmark plants"
        " the reason into voices, so that it is known where an explanation must point. Both take minutes to hours and"
        " are made on the command line:</p><p><code>speechxai demo --out runs/demo</code><br><code>speechxai benchmark"
        " --quick --out runs/benchmark</code><br><code>speechxai app --run runs/demo --run"
        " runs/benchmark</code></p></div>"
    )
    widgets.foot()
    st.stop()
places = st.columns([3, 4, 4], vertical_alignment="bottom")
with places[0]:
    chosen = widgets.choose("Run", "run", list(runs), lambda path: runs[path])
try:
    run = state.run(chosen)
    studies = state.studies(chosen)
except SpeechXAIError as error:
    widgets.problem(error)
    widgets.foot()
    st.stop()
if run.has_truth:
    benchmark_parts.with_truth(run, places[1], places[2])
else:
    benchmark_parts.evaluation(run, places[1], places[2])
    benchmark_parts.knowing(studies)
st.header("Take it away")
for place, (label, name, mime, make) in zip(st.columns(4), run.files, strict=False):
    with place:
        widgets.button(label, f"{runs[chosen]}_{name}", mime, make)
widgets.foot()
