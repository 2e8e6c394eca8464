"""Try yours: what about my recording?"""

from __future__ import annotations

import html
from pathlib import Path

import streamlit as st

from app import inspecting, panels, sources, state, widgets
from app.inspecting import case_tools, explain_case, show_case
from speechxai import SpeechXAIError
from speechxai.signal.audio import AUDIO_SUFFIXES, FFMPEG_SUFFIXES
from speechxai.signal.quality import concerns, usable

MARK = {"good": "✓", "caution": "!", "stop": "×"}
WORDS = {"good": "fine", "caution": "take care", "stop": "not usable"}


def add(kind: str) -> None:
    """Take the file or the microphone's recording into the session; the newest is shown."""
    st.session_state.pop("to_decode", None)
    st.session_state.pop("unreadable", None)
    file = st.session_state.get(f"bring_{kind}")
    if file is not None:
        name = file.name if kind == "file" else f"microphone {len(sources.mine()) + 1}.wav"
        key = sources.bring(name, file.getvalue())
        st.session_state["mine_now"] = key
        if key is None:
            st.session_state["to_decode"] = (name, file.getvalue())


widgets.page(
    "What about my recording?",
    "One speaker, up to 5 minutes. It stays in this computer's memory and is gone when you close the page, unless you"
    " save it.",
)
first, left, right = st.columns([1, 1, 1], gap="medium")
with first:
    model = widgets.choose_model()
with left:
    st.file_uploader(
        "A file, such as a voice memo",
        type=[suffix.removeprefix(".") for suffix in (*AUDIO_SUFFIXES, *FFMPEG_SUFFIXES)],
        key="bring_file",
        on_change=add,
        args=("file",),
        max_upload_size=sources.MAX_UPLOAD_MB,
    )
with right:
    st.audio_input(
        "Or record with the microphone", sample_rate=48_000, key="bring_microphone", on_change=add, args=("microphone",)
    )

if "to_decode" in st.session_state:
    brought, content = st.session_state["to_decode"]
    place = st.empty()
    place.info(widgets.plain(f"{brought}: your browser is asked to read it."), icon=":material/hourglass_top:")
    wav = widgets.decode(brought, content)
    if wav is None:
        widgets.foot()
        st.stop()
    place.empty()
    del st.session_state["to_decode"]
    if wav:
        st.session_state["mine_now"] = sources.add_mine(f"{Path(brought).stem}.wav", wav)
    else:
        st.session_state["unreadable"] = sources.CANNOT.format(brought)
    st.rerun()
if "unreadable" in st.session_state:
    st.error(widgets.plain(st.session_state["unreadable"]), icon=":material/error:")
key = st.session_state.get("mine_now")
if key is None or key[1] not in sources.mine():
    widgets.what_to_record(sources.bundle(model).config.scope)
    widgets.foot()
    st.stop()
name = sources.mine()[key[1]][0]
if st.button(
    "Forget this recording", icon=":material/delete:", help="It and all that was computed of it leave the memory."
):
    sources.forget_mine(key[1])
    st.session_state.pop("mine_now", None)
    st.rerun()
two, three = st.columns([2, 1])
with two:
    recipe = widgets.choose_recipe(model)
with three:
    target = widgets.choose_class(model)
try:
    checks = state.checked(model, key)
except SpeechXAIError as error:
    widgets.problem(error)
    widgets.foot()
    st.stop()
worst = next((check.state for check in concerns(checks)), "good")
with st.expander(f"Recording check: {WORDS[worst]}", expanded=not usable(checks), icon=":material/fact_check:"):
    lines = "".join(
        f'<li><b class="{c.state}"'
        f' title="{WORDS[c.state]}">{MARK[c.state]}</b><b>{c.name}</b><span>{html.escape(str(c))}.</span></li>'
        for c in checks
    )
    lines += (
        '<li><b class="caution" title="take care">!</b><b>Speakers</b><span>More than one speaker is not supported, and'
        " is not always noticed: only one person may speak.</span></li>"
    )
    widgets.show_html(f'<ul class="sx-checks">{lines}</ul>')
if not usable(checks):
    st.error("This recording cannot be used. The check above says why, and what to do.", icon=":material/error:")
    widgets.what_to_record(sources.bundle(model).config.scope)
    widgets.foot()
    st.stop()
try:
    case = explain_case(model, key, recipe, target)
except SpeechXAIError as error:
    widgets.problem(error)
    widgets.foot()
    st.stop()
words_place, picture_place = st.columns([3.1, 9.9], gap="medium")
found = show_case(case, name, None, words_place, picture_place)
with picture_place:
    beside = panels.beside(case, found, name)
case_tools(case, found, name, beside)
inspecting.panel(case, found, name, beside)
widgets.foot()
widgets.try_methods(model)
