"""The reader's screen of a study: a code, then one case after the other. Nothing else of the app is there."""

from __future__ import annotations

import streamlit as st

from app import reader, sources, widgets
from speechxai import SpeechXAIError

# Nothing stands above the reader's page, so that a case fits on a screen.
BARE = '[data-testid="stHeader"] { display: none; } [data-testid="stMainBlockContainer"] { padding-top: 1rem; }'
widgets.show_html(f"<style>{BARE}</style>")
path = sources.settings().study
code = st.query_params.get("reader", "")
if not code:
    widgets.page(reader.study(path)[0].title, "Your answers are kept under a code, without your name.")
    with st.form("begin", border=False):
        typed = st.text_input("Your code", placeholder="R01-AB", max_chars=20)
        if st.form_submit_button("Begin or go on", type="primary"):
            try:
                st.query_params["reader"] = reader.sitting(path, typed).reader
                st.rerun()
            except SpeechXAIError as error:
                widgets.problem(error)
else:
    try:
        reader.show(path, code)
    except SpeechXAIError as error:
        widgets.problem(error)
        if st.button("Another code"):
            st.query_params.clear()
            st.rerun()
