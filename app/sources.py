"""Where recordings and models come from: the data set the app was started with, the reader's own, the embedded models."""

from __future__ import annotations

import hashlib
import tempfile
import threading
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from app import settings as app_settings
from app.cache import Disk, Memory
from speechxai import Recording, SpeechXAIError
from speechxai.config import EvaluateConfig
from speechxai.io import corpus
from speechxai.io.audio import read
from speechxai.io.checkpoints import Bundle, bundle_names, load_bundle

N_SYNTHETIC_SPEAKERS = 24
SYNTHETIC_SEED = 1_000  # the seed of the demonstration: no embedded model was trained on these voices
MAX_UPLOAD_S = 300.0
MAX_UPLOAD_MB = 60

Key = tuple[str, str]
"""Where a recording is, "catalogue" or "mine", and its name there."""


@st.cache_resource
def settings() -> app_settings.Settings:
    """How the app was started."""
    return app_settings.parse()


@st.cache_resource
def memory() -> Memory:
    """Results for everybody."""
    return Memory(160)


@st.cache_resource
def disk() -> Disk:
    """Results that survive a restart."""
    return Disk(app_settings.cache_folder() / "maps" if settings().keep_cache else None)


# ---- models


@st.cache_resource
def bundle_and_lock(name: str) -> tuple[Bundle, threading.RLock]:
    """A model, and the lock that whoever computes with it holds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other library versions: the About page says so
        return load_bundle(name), threading.RLock()


def bundle(name: str) -> Bundle:
    """A model by name or folder. Raises SpeechXAIError where there is none."""
    return bundle_and_lock(name)[0]


def models() -> list[str]:
    """Models to choose from: those given at the start, then the embedded ones."""
    embedded = bundle_names()
    if settings().data != app_settings.SYNTHETIC:
        embedded = sorted(embedded, key=lambda name: (name.split("-")[0] not in settings().data, name))
    else:
        embedded = sorted(embedded, key=lambda name: (not name.startswith("synthetic"), name))
    return list(dict.fromkeys([*settings().models, *embedded]))


# ---- recordings


@st.cache_data(show_spinner="Looking for recordings …")
def catalogue() -> pd.DataFrame:
    """All recordings of the data set, one row each: recording, speaker, label, task, sex, age and so on."""
    given = settings()
    if given.data == app_settings.SYNTHETIC:
        rows = [
            {
                "recording": take.id,
                "path": "(made)",
                "speaker": take.speaker.name,
                "label": take.label,
                "task": take.utterance.task,
                "dataset": "synthetic voices",
                "sex": take.speaker.sex,
                "age": take.speaker.age,
                "severity": max(dict(take.utterance.cues).values(), default=0.0),
            }
            for take in _takes().values()
        ]
        return pd.DataFrame(rows)
    from speechxai.io.session import find_recordings

    # What is looked for does not depend on the model, but a configuration names one.
    config = EvaluateConfig(data=given.data, model=models()[0], root=Path(given.root) if given.root else None)
    return find_recordings(config)[0]


@st.cache_resource
def rows_by_name() -> dict[str, dict[str, Any]]:
    """The catalogue as rows by recording; nobody may write into them."""
    return by_name(catalogue())


def by_name(rows: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Rows of a table as dictionaries by recording."""
    return {str(row["recording"]): {str(k): v for k, v in row.items()} for row in rows.to_dict("records")}


@st.cache_resource
def _takes() -> dict[str, Any]:
    from speechxai.data.synthetic import takes

    return {take.id: take for take in takes(N_SYNTHETIC_SPEAKERS, SYNTHETIC_SEED)}


def catalogue_recording(model: str, name: str) -> Recording:
    """A recording of the data set as a model hears audio."""
    given, config = settings(), bundle(model).config
    if given.data == app_settings.SYNTHETIC:
        take = _takes().get(name)
        if take is None:
            raise SpeechXAIError(f"{name}: there is no such recording. Choose one from the list.")
        return take.recording()  # type: ignore[no-any-return]
    rows = catalogue()
    row = rows[rows["recording"] == name]
    if row.empty:
        raise SpeechXAIError(f"{name}: there is no such recording. Choose one from the list.")
    path = Path(given.root or given.data)
    return corpus.load(
        {str(k): v for k, v in row.iloc[0].to_dict().items()},
        path if path.is_dir() else path.parent,
        sample_rate=config.stft.sample_rate,
        normalize=config.audio.normalize,
    )


def mine() -> dict[str, tuple[str, bytes]]:
    """Recordings this reader brought, by hash: name and bytes. They live in the session and nowhere else."""
    return st.session_state.setdefault("mine", {})  # type: ignore[no-any-return]


def add_mine(name: str, content: bytes) -> Key:
    """Take a recording into the session."""
    digest = hashlib.sha256(content).hexdigest()[:16]
    mine()[digest] = (name, content)
    return "mine", digest


def read_mine(digest: str, sample_rate: int | None, normalize: str = "none") -> Recording:
    """Read a recording this reader brought. Raises SpeechXAIError with a sentence about the file, by its own name."""
    name, content = mine()[digest]
    suffix = Path(name).suffix.lower()[:8] or ".wav"
    with tempfile.TemporaryDirectory(prefix="speechxai-") as folder:
        path = Path(folder) / f"recording{suffix}"
        path.write_bytes(content)
        try:
            found = read(path, sample_rate=sample_rate, normalize=normalize, max_duration_s=MAX_UPLOAD_S)  # type: ignore[arg-type]
        except SpeechXAIError as error:
            raise SpeechXAIError(str(error).replace(str(path), name)) from error
    return replace(found, id=Path(name).stem, speaker=f"mine/{digest}", metadata={**found.metadata, "path": name})


def recording(model: str, key: Key) -> Recording:
    """A recording as the model hears audio."""
    if key[0] == "mine":
        config = bundle(model).config
        return read_mine(key[1], config.stft.sample_rate, config.audio.normalize)
    return catalogue_recording(model, key[1])


def data_card() -> str:
    """Text of the data set's card, "" where it has none."""
    from speechxai.data.cards import card_names, card_text

    given = settings().data
    if given == app_settings.SYNTHETIC:
        return (
            "**Synthetic voices.** Made by a source-filter synthesizer. The half labeled PD carries planted cues (breathiness, tremor, "
            "weak bursts, centralized formants, flat pitch); they stand for clinical signs and come from no patient."
        )
    return card_text(given) if given in card_names() else ""
