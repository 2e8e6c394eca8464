"""The reader's screen: a component round the player, and the door to the study that the app was started with."""

from __future__ import annotations

import functools
import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from app import player
from app.player import Map, View, Voice, pack
from speechxai import SpeechXAIError
from speechxai.readers import design
from speechxai.readers.material import Shown
from speechxai.readers.sitting import Page, Sitting
from speechxai.readers.store import Store, beside

FOLDER = Path(__file__).resolve().parent / "components" / "reader"
KEY = "reader_screen"
HEIGHT = 216
"""Of the picture, CSS pixels: a case and its questions fit on a laptop's screen."""


def script() -> str:
    """The player's modules and the reader's as one piece of JavaScript; the player is mounted by the reader."""
    inner = player.script().replace("export default function (", "function mountPlayer(")
    return inner + (FOLDER / "reader.js").read_text(encoding="utf-8")


def html() -> str:
    """The reader's page, and the player's as a template that it puts in its place."""
    inner = (player.FOLDER / "player.html").read_text(encoding="utf-8")
    return (FOLDER / "reader.html").read_text(encoding="utf-8") + f'<template class="player-html">{inner}</template>'


@functools.lru_cache(maxsize=1)
def _component() -> Any:
    css = (player.FOLDER / "player.css").read_text(encoding="utf-8") + (FOLDER / "reader.css").read_text("utf-8")
    return st.components.v2.component("speechxai_reader", html=html(), css=css, js=script())


@st.cache_resource
def study(path: str) -> tuple[design.Study, Store]:
    """The study that the app was started with: its file is read once, for nothing of it may change while it runs."""
    found = design.load(Path(path))
    store = Store(beside(Path(path)))
    store.begin(found)
    return found, store


def sitting(path: str, code: str) -> Sitting:
    """A reader's part. Raises SpeechXAIError for a code that the study has not."""
    found, store = study(path)
    return Sitting.of(found, store, code)


@st.cache_data(max_entries=24, show_spinner=False)
def view(path: str, case: str, shown: str) -> tuple[bytes, bytes]:
    """The player's block of a case, and curves as PNG where they are shown. Without the map before it is: what is not
    sent cannot be found."""
    content = study(path)[1].content(case)
    if content is None:
        raise SpeechXAIError("What is shown of this case was not prepared. 'speechxai study check' prepares it.")
    found = Shown.unpacked(content)
    seen = shown in ("map", "what-if")
    mask = found.mask if seen else np.zeros_like(found.mask)
    made = View(
        title="Recording",
        # The same in both parts of a case, so that place and zoom stay; its code is not sent.
        recording=hashlib.sha256(f"{study(path)[0].seed}|{case}".encode()).hexdigest()[:12],
        magnitude=found.magnitude,
        frame_rate_hz=found.frame_rate_hz,
        sample_rate_hz=found.sample_rate,
        maps=[Map("map", "shown as its reason" if seen else "", mask)],
        sounds=[Voice("original", "Recording", found.waveform)],
        voicing=found.voicing,
        f0_hz=found.f0_hz,
        bare=not seen,
        height=HEIGHT,
        summary="A recording, and what is shown as the model's reason." if seen else "A recording.",
    )
    return pack(made), found.curves if shown == "what-if" else b""


def block(page: Page, view: tuple[bytes, bytes] = (b"", b""), error: str = "") -> bytes:
    """A page for the browser: "SXR1", header length, JSON, length of the player's block, the block, a picture."""
    header = json.dumps({**page.form(), "error": error}).encode()
    sound, picture = view
    return b"SXR1" + struct.pack("<I", len(header)) + header + struct.pack("<I", len(sound)) + sound + picture


def answered(path: str, code: str) -> None:
    """Keep what the browser sent: on disk before the page that comes next is made."""
    given = (st.session_state.get(KEY) or {}).get("answer")
    if not given:
        return
    try:
        sitting(path, code).answer(int(given["slot"]), str(given["stage"]), given)
        st.session_state["reader_error"] = ""
    except (SpeechXAIError, KeyError, TypeError, ValueError) as error:
        said = str(error) if isinstance(error, SpeechXAIError) else "This answer was damaged on its way. Send it again."
        st.session_state["reader_error"] = said


def show(path: str, code: str) -> Page:
    """Show a reader's next page."""
    page = sitting(path, code).page()
    found = view(path, page.case, page.show) if page.show else (b"", b"")
    error = st.session_state.pop("reader_error", "")
    _component()(data=block(page, found, error), key=KEY, on_answer_change=functools.partial(answered, path, code))
    return page
