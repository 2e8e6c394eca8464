"""Files for the reader's disk, handed over inside the page: nothing lies at an address that others could open."""

from __future__ import annotations

import functools
import json
import re
import struct
import unicodedata
from typing import Any

HTML = '<button type="button" class="get" disabled>Download</button>'
"""The button has a name before its script has run, or screen readers meet a nameless one."""
CSS = """
.get { width: 100%; min-height: 40px; padding: 0 14px; font: 15px "Source Sans", "Source Sans Pro", system-ui, sans-serif; color: #1f2a30; background: #fff; border: 1px solid #cfd8d9; border-radius: 8px; cursor: pointer; }
.get:disabled { cursor: progress; }
.get:hover { background: #f3f6f6; border-color: #0b6670; }
.get:focus-visible { outline: 2px solid #0b6670; outline-offset: 2px; }
"""
JS = """
export default function ({ data, parentElement }) {
  if (!data) return;
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const length = view.getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(data.subarray(4, 4 + length)));
  const button = parentElement.querySelector("button");
  button.textContent = header.label;
  button.disabled = false;
  button.onclick = () => {
    const url = URL.createObjectURL(new Blob([data.slice(4 + length)], { type: header.type }));
    const link = Object.assign(document.createElement("a"), { href: url, download: header.name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  };
}
"""


def file_name(text: str) -> str:
    """A name without anything that a file system refuses; its ending stays."""
    stem, dot, ending = text.rpartition(".")
    plain = unicodedata.normalize("NFKD", stem if dot else text).encode("ascii", "ignore").decode()
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "_", plain).strip("._")[:80] or "recording"
    return f"{safe}{dot}{ending}"


@functools.lru_cache(maxsize=1)
def _component() -> Any:
    import streamlit as st

    return st.components.v2.component("speechxai_download", html=HTML, css=CSS, js=JS)


def button(label: str, name: str, mime: str, content: bytes) -> None:
    """A button that saves `content` as a file; one a label and page."""
    header = json.dumps({"label": label, "name": file_name(name), "type": mime}).encode()
    _component()(data=struct.pack("<I", len(header)) + header + content, key=f"download_{label}")
