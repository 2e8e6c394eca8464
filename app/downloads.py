"""Files for the reader's disk, made when asked for and handed over inside the page: nothing lies at an address that others could open."""

from __future__ import annotations

import functools
import json
import re
import struct
import unicodedata
from collections.abc import Callable
from typing import Any

import streamlit as st

HTML = '<button type="button" class="get" disabled>Download</button>'
"""The button has a name before its script has run, or screen readers meet a nameless one."""
CSS = """
.get { width: 100%; min-height: 40px; padding: 0 14px; font: 15px "Source Sans", "Source Sans Pro", system-ui, sans-serif; color: #1f2a30; background: #fff; border: 1px solid #cfd8d9; border-radius: 8px; cursor: pointer; }
.get:disabled, .get[aria-busy] { cursor: progress; }
.get:hover { background: #f3f6f6; border-color: #0b6670; }
.get:focus-visible { outline: 2px solid #0b6670; outline-offset: 2px; }
"""
JS = """
const waiting = new WeakMap();
export default function ({ data, parentElement, setTriggerValue }) {
  if (!data) return;
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const length = view.getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(data.subarray(4, 4 + length)));
  const button = parentElement.querySelector("button");
  button.textContent = header.label;
  button.disabled = false;
  button.onclick = () => {
    waiting.set(button, String(Date.now()));
    button.setAttribute("aria-busy", "true");
    setTriggerValue("wanted", waiting.get(button));
  };
  if (!header.turn || header.turn !== waiting.get(button)) return;
  waiting.delete(button);
  button.removeAttribute("aria-busy");
  const url = URL.createObjectURL(new Blob([data.slice(4 + length)], { type: header.type }));
  const link = Object.assign(document.createElement("a"), { href: url, download: header.name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
"""

Make = Callable[[], bytes]


def file_name(text: str) -> str:
    """A name without anything that a file system refuses; its ending stays."""
    stem, dot, ending = text.rpartition(".")
    plain = unicodedata.normalize("NFKD", stem if dot else text).encode("ascii", "ignore").decode()
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "_", plain).strip("._")[:80] or "recording"
    return f"{safe}{dot}{ending}"


def block(label: str, name: str, mime: str, turn: str, content: bytes) -> bytes:
    """Header length, JSON header, content; `turn` names the click that the content answers, "" where none asked."""
    header = json.dumps({"label": label, "name": file_name(name), "type": mime, "turn": turn}).encode()
    return struct.pack("<I", len(header)) + header + content


@functools.lru_cache(maxsize=1)
def _component() -> Any:
    return st.components.v2.component("speechxai_download", html=HTML, css=CSS, js=JS)


@st.fragment
def button(label: str, name: str, mime: str, make: Make) -> None:
    """A button that saves what `make` returns as a file; one a label and page. Nothing is made or sent before it is pressed."""
    key = f"download_{label}"
    asked = st.session_state.get(key)
    turn = str((asked.get("wanted") if asked else "") or "")
    _component()(data=block(label, name, mime, turn, make() if turn else b""), key=key, on_wanted_change=lambda: None)
