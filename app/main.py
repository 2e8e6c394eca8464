"""The app's frame: which pages there are. `speechxai app` starts `serve.py`, which serves this."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
if str(HERE.parent) not in sys.path:
    # Streamlit puts this folder on the path; the package is the folder itself.
    sys.path.insert(0, str(HERE.parent))

import streamlit as st  # noqa: E402

st.set_page_config(page_title="speechxai", page_icon=str(HERE / "components" / "icon.svg"), layout="wide")
from app import sessions, sources, widgets  # noqa: E402
from app.hosts import ON_GUARD  # noqa: E402

if not ON_GUARD.is_set():
    st.error("The app is not guarded from strangers, so it shows nothing. Start it with: speechxai app")
    st.stop()

sessions.enter()
widgets.style()
# Not named "pages": Streamlit would list that folder by itself, before the navigation below is known.
PAGES = HERE / "screens"
if sources.settings().study:
    # Readers see their own page alone: every other one tells what must not be told.
    st.navigation([st.Page(PAGES / "study.py", title="Study", default=True)], position="hidden").run()
    st.stop()
widgets.ask_before_leaving()
st.logo(str(HERE / "components" / "logo.svg"), size="large")
st.navigation(
    [
        st.Page(PAGES / "inspect_recording.py", title="Inspect", default=True),
        st.Page(PAGES / "what_if.py", title="What if", url_path="what-if"),
        st.Page(PAGES / "compare.py", title="Compare", url_path="compare"),
        st.Page(PAGES / "try_yours.py", title="Try yours", url_path="try-yours"),
        st.Page(PAGES / "cohort.py", title="Cohort", url_path="cohort"),
        st.Page(PAGES / "benchmark.py", title="Benchmark", url_path="benchmark"),
        st.Page(PAGES / "about.py", title="About", url_path="about"),
    ],
    position="top",
).run()
