"""The player: one Streamlit component, and the block of bytes in which sound and pictures travel to it."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import re
import struct
import wave
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from speechxai.inspection.words import BANDS_HZ
from speechxai.types import Array

FOLDER = Path(__file__).resolve().parent / "components" / "player"
# Imports first: a file may use only what stands before it.
MODULES = ("axis", "dsp", "audio", "colors", "draw", "tracks", "exports", "keys", "unpack", "pointer", "player")

MIN_DB = -75.0
"""Levels under this, relative to the loudest bin, are drawn as silence."""

MAX_FRAMES = 8_000
"""Pictures with more frames are pooled by maxima, so that they stay under 16,000 pixels and a few megabytes."""


@dataclass(frozen=True, eq=False)
class Map:
    """One evidence map: `values` (F, T) in [0, 1], its label, a note at the right of its title, and evidence `against`
    the class on the same scale."""

    key: str
    label: str
    values: Array
    note: str = ""
    against: Array | None = None


@dataclass(frozen=True, eq=False)
class Voice:
    """One sound of the switch: `samples` (N,), full scale 1, with a note beside the label and a title on hover."""

    key: str
    label: str
    samples: Array
    note: str = ""
    title: str = ""


@dataclass(frozen=True, eq=False)
class View:
    """What the player shows.

    Args:
        title: name of the recording, also of exported files.
        recording: changes when another recording is shown; equal keeps place and zoom.
        magnitude: (F, T), linear, at least 0.
        frame_rate_hz: frames per second.
        sample_rate_hz: of every sound, Hz.
        maps: one is drawn with bands and tracks; several are drawn one under the other.
        sounds: the first is the original.
        voicing: (T,) 0 pause, 1 unvoiced, 2 voiced.
        f0_hz: (T,) NaN where there is none.
        summary: what a screen reader hears.
        evidence: the class that the evidence speaks for, in words.
        tiers: segments from elsewhere: {"name", "intervals": [{"start", "end", "label"}], "points": whether they are
            points}.
        model: its name, for exported pictures.
        answer: what the model says, for exported pictures.
        top_hz: where the picture ends unless all is asked for; None shows all.
        formants_hz: (T, 2) F1 and F2, NaN where there is none; None where they are not known.
        bare: the map is not to be spoken of: no bands and no track of it.
        height: of the picture, CSS pixels; None for what fits.
    """

    title: str
    recording: str
    magnitude: Array
    frame_rate_hz: float
    sample_rate_hz: int
    maps: Sequence[Map]
    sounds: Sequence[Voice]
    voicing: Array
    f0_hz: Array
    summary: str
    evidence: str = ""
    tiers: Sequence[Mapping[str, Any]] = field(default=())
    model: str = ""
    answer: str = ""
    top_hz: float | None = None
    formants_hz: Array | None = None
    bare: bool = False
    height: int | None = None


def script() -> str:
    """Return the player's modules as one: the component takes a single piece of JavaScript, and there is no build
    step."""
    parts = []
    for name in MODULES:
        text = (FOLDER / f"{name}.js").read_text(encoding="utf-8")
        text = re.sub(r"^import .*?;\n", "", text, flags=re.MULTILINE | re.DOTALL)
        text = re.sub(r"^export (?!default)", "", text, flags=re.MULTILINE)
        if name == "axis":
            # player.js names it as a whole; the others name its functions.
            names = re.findall(r"^(?:function|const) (\w+)", text, flags=re.MULTILINE)
            text += f"const axis = {{ {', '.join(names)} }};\n"
        parts.append(text)
    return "\n".join(parts)


def pool(values: Array, step: int) -> Array:
    """Maxima of (F, T) over `step` frames: (F, ceil(T / step))."""
    if step == 1:
        return values
    short = -values.shape[-1] % step
    padded = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, short)], mode="edge")
    return padded.reshape(*padded.shape[:-1], -1, step).max(axis=-1)


def level_codes(magnitude: Array) -> Array:
    """Linear magnitudes (F, T) as codes 0..255: evenly spaced dB from MIN_DB to 0 re the loudest bin."""
    top = float(magnitude.max(initial=0.0))
    if top <= 0:
        return np.zeros(magnitude.shape, np.uint8)
    db = 20 * np.log10(np.maximum(magnitude / top, 1e-9))
    return np.round(255 * np.clip(1 - db / MIN_DB, 0, 1)).astype(np.uint8)


def evidence_codes(values: Array) -> Array:
    """Evidence (F, T) in [0, 1] as codes 0..255 spaced by the square root: code = 255 sqrt(E)."""
    return np.round(255 * np.sqrt(np.clip(values, 0, 1))).astype(np.uint8)


def pcm(samples: Array) -> Array:
    """Samples (N,), full scale 1, as 16-bit integers."""
    return np.round(32767 * np.clip(samples, -1, 1)).astype("<i2")


def wav_bytes(samples: Any, rate: int) -> bytes:
    """Samples (N,), full scale 1, as a WAV file of 16 bits."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm(np.asarray(samples)).tobytes())
    return out.getvalue()


def pack(view: View) -> bytes:
    """Write a view as one block: "SXP1", header length, JSON header, blobs."""
    n_bins, n_frames = view.magnitude.shape
    step = -(-n_frames // MAX_FRAMES)
    blobs: list[bytes] = []
    offset = 0

    def blob(array: Array) -> list[int]:
        nonlocal offset
        data = np.ascontiguousarray(array).tobytes()
        blobs.append(data)
        offset += len(data)
        return [offset - len(data), len(data)]

    max_hz = view.sample_rate_hz / 2
    top = float(view.magnitude.max(initial=0.0))
    # The energy control is the explained quantity log1p|S| itself: what each level code weighs in it.
    code_db = MIN_DB * (1 - np.arange(256) / 255)
    energy = np.log1p(top * 10 ** (code_db / 20))
    energy[0] = 0
    edges = [hz for hz in BANDS_HZ if hz < max_hz] + [max_hz + 1]
    names = [f"{_hz(low)}–{_hz(min(high, max_hz))}" for low, high in pairwise(edges)]
    frames = slice(None, None, step)
    header = {
        "title": view.title,
        "recording": view.recording,
        "summary": view.summary,
        "bare": view.bare,
        "height": view.height,
        "evidence": view.evidence,
        "model": view.model,
        "answer": view.answer,
        "duration_s": len(view.sounds[0].samples) / view.sample_rate_hz,
        "n_frames": -(-n_frames // step),
        "n_bins": n_bins,
        "frame_rate_hz": view.frame_rate_hz / step,
        "bin_hz": max_hz / (n_bins - 1),
        "max_hz": max_hz,
        "top_hz": min(max_hz, view.top_hz or max_hz),
        "min_db": MIN_DB,
        "max_db": 0,
        "sample_rate_hz": view.sample_rate_hz,
        "peak": max(1e-4, float(np.abs(view.sounds[0].samples).max(initial=0))),
        "energy": [round(float(v), 6) for v in energy],
        "bands": [{"label": n, "low": lo, "high": hi} for n, lo, hi in zip(names, edges[:-1], edges[1:], strict=True)],
        "tiers": list(view.tiers),
        "level": blob(pool(level_codes(view.magnitude), step).T),
        "maps": [
            {"key": m.key, "label": m.label, "note": m.note, "blob": blob(pool(evidence_codes(m.values), step).T)}
            | ({} if m.against is None else {"against": blob(pool(evidence_codes(m.against), step).T)})
            for m in view.maps
        ],
        "sounds": [
            {"key": s.key, "label": s.label, "note": s.note, "title": s.title, "blob": blob(pcm(s.samples))}
            for s in view.sounds
        ],
        "voicing": blob(view.voicing[frames].astype(np.uint8)),
        "f0": blob(view.f0_hz[frames].astype("<f4")),
    } | ({} if view.formants_hz is None else {"formants": blob(view.formants_hz[frames].astype("<f4"))})
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for data in blobs:
        digest.update(data)
    header["version"] = digest.hexdigest()[:16]
    text = json.dumps(header).encode()
    return b"SXP1" + struct.pack("<I", len(text)) + text + b"".join(blobs)


def _hz(hz: float) -> str:
    return f"{hz / 1000:.3g}k" if hz >= 1000 else f"{hz:g}"


@functools.lru_cache(maxsize=1)
def _component() -> Any:
    import streamlit as st

    return st.components.v2.component(
        "speechxai_player",
        html=(FOLDER / "player.html").read_text(encoding="utf-8"),
        css=(FOLDER / "player.css").read_text(encoding="utf-8"),
        js=script(),
    )


WORTH = """
export default function ({ data }) {
  window.__speechxaiWorth = data;
  window.dispatchEvent(new Event("speechxai-worth"));
}
"""
"""Tells the player the verdict on its map, which comes later than the map, without sending sound and picture again."""


@functools.lru_cache(maxsize=1)
def _worth() -> Any:
    import streamlit as st

    return st.components.v2.component("speechxai_worth", html="<span hidden></span>", js=WORTH)


def judge(recording: str, recipe: str, verdict: str, key: str) -> None:
    """Tell the player what the map of a recording by a recipe is worth; evidence that explains nothing is striped."""
    _worth()(data={"recording": recording, "map": recipe, "verdict": verdict}, key=key)


NOTES = """
export default function ({ data }) {
  window.__speechxaiNotes = data;
  window.dispatchEvent(new Event("speechxai-notes"));
}
"""
"""Tells the player the notes on its recording without sending sound and picture again."""


@functools.lru_cache(maxsize=1)
def _notes() -> Any:
    import streamlit as st

    return st.components.v2.component("speechxai_notes", html="<span hidden></span>", js=NOTES)


def note(recording: str, notes: Sequence[Mapping[str, Any]], key: str) -> None:
    """Tell the player the notes on a recording: {"id", "label", "start", "end", "low", "high"}, s and Hz."""
    _notes()(data={"recording": recording, "notes": list(notes)}, key=key)


def show(data: bytes, key: str, on_kept: Callable[[], None] = lambda: None) -> None:
    """Mount the player with a block from `pack`; the same `key` goes on playing when the data change. `on_kept` is
    called when a reader keeps, moves, selects or deletes a note in it: see `kept`."""
    _component()(data=data, key=key, on_region_change=lambda: None, on_kept_change=on_kept)


def kept(key: str) -> Mapping[str, Any]:
    """What a reader did to notes in the player: {"recording", "items", "removed", "chosen"}; empty where nothing."""
    import streamlit as st

    return (st.session_state.get(key) or {}).get("kept") or {}


def region(key: str, recording: str) -> tuple[float, float] | None:
    """The stretch of a recording, s, that the reader asked to measure; None where there is none."""
    import streamlit as st

    asked = (st.session_state.get(key) or {}).get("region")
    if not asked or asked.get("recording") != recording or asked.get("start") is None:
        return None
    return round(float(asked["start"]), 3), round(float(asked["end"]), 3)
