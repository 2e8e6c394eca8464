"""Saving a case: only when the reader presses the button, into a folder the reader names."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st
import torch

from app import report, state, view, widgets, work
from app.downloads import file_name
from app.gate import Check
from app.textgrid import write_audacity, write_textgrid
from speechxai.io.audio import write

if TYPE_CHECKING:
    from app.inspecting import Explanation


def save(case: Explanation, name: str, found: Sequence[Check], folder: Path, sentences: Sequence[str]) -> Path:
    """Write recording, sounds, regions, report and numbers of a case into a new folder of `folder`; returns it.

    Raises:
        OSError: the folder cannot be written.
    """
    now = datetime.datetime.now().astimezone()
    stem = Path(file_name(name)).stem
    target = folder.expanduser() / f"{now:%Y-%m-%d_%H%M%S}_{stem}"
    target.mkdir(parents=True, exist_ok=False)
    (target / file_name(name)).write_bytes(state.mine()[case.key[1]][1])
    regions = view.evidence_regions(case.heard, case.map)
    labeled = [(a, b, f"evidence {i + 1}") for i, (a, b) in enumerate(regions)]
    duration = len(case.heard.waveform) / case.heard.sample_rate_hz
    (target / f"{stem}.TextGrid").write_text(write_textgrid(labeled, duration), "utf-8")
    (target / f"{stem}_labels.txt").write_text(write_audacity(labeled), "utf-8")
    for half, sound in zip(("kept", "removed"), work.halves(case.heard, case.map.strongest), strict=True):
        write(target / f"{stem}_{half}.wav", torch.from_numpy(sound), case.heard.sample_rate_hz)
    (target / "report.html").write_bytes(report.case_html(case, name, regions, sentences))
    facts = {
        "recording": name,
        "saved": now.isoformat(timespec="seconds"),
        "model": state.bundle(case.model).name,
        "recipe": case.map.recipe,
        "explained": case.heard.class_names[case.map.target],
        "probability": case.map.p,
        "probability_kept": case.map.p_kept,
        "probability_removed": case.map.p_removed,
        "checks": [{"name": c.name, "state": c.state, "text": c.text} for c in found],
        "sentences": list(sentences),
        "notice": widgets.NOTICE,
    }
    (target / "case.json").write_text(json.dumps(facts, indent=2, ensure_ascii=False), "utf-8")
    return target


def panel(case: Explanation, name: str, found: Sequence[Check]) -> None:
    """Where to save, and the button that does."""
    with st.expander("Save this case on this computer"):
        folder = st.text_input("Folder", st.session_state.get("save_to", state.settings().save_to), key="save_folder")
        st.session_state["save_to"] = folder
        if st.button("Save", type="primary", key="save_case"):
            try:
                target = save(case, name, found, Path(folder), st.session_state.get("last_sentences", []))
            except OSError as error:
                st.error(
                    f"{folder}: the case cannot be saved ({error.strerror}). Name another folder.",
                    icon=":material/error:",
                )
            else:
                st.success(f"Saved in {target}", icon=":material/check_circle:")
