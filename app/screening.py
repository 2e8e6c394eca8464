"""All recordings of the data set at once: what the model says of each, and what else tells the classes apart."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import pandas as pd

from app import settings as app_settings
from app.sources import bundle, bundle_and_lock, catalogue, catalogue_recording, memory, settings
from speechxai import SpeechXAIError, __version__, predict, spectrogram
from speechxai.io import corpus
from speechxai.io.checkpoints import Bundle
from speechxai.quality import quality


def predictions(model: str, tick: Any = None) -> pd.DataFrame:
    """The catalogue with `probability` of class 1 and `predicted`; `problem` says what is wrong with a recording.

    Args:
        tick: called with recordings done and in all, before each; kept ones come at once, and what is done stays kept.
    """
    rows = catalogue()
    chosen = bundle(model)
    path = app_settings.cache_folder() / "predictions" / f"{_table_name(chosen)}.json"
    kept = memory().get(("predictions", model))
    if kept is None:
        kept = _read_json(path) if settings().keep_cache else {}
        memory().put(("predictions", model), kept)
    new = 0
    try:
        for done, row in enumerate(rows.to_dict("records")):
            name = str(row["recording"])
            mark = f"{name}|{row.get('sha256', '')}"
            if mark in kept:
                continue
            if tick:
                tick(done, len(rows))
            kept[mark] = _predicted(model, name)
            new += 1
    finally:
        if new and settings().keep_cache:
            _write_json(path, kept)
    found = [kept[f"{r['recording']}|{r.get('sha256', '')}"] for r in rows.to_dict("records")]
    table = rows.assign(probability=[f.get("p") for f in found], problem=[f.get("problem", "") for f in found])
    table["predicted"] = (table["probability"] >= 0.5).astype("Int64").where(table["probability"].notna())
    return table


def _predicted(model: str, name: str) -> dict[str, Any]:
    try:
        voice = catalogue_recording(model, name)
    except SpeechXAIError as error:
        return {"problem": str(error)}
    chosen, lock = bundle_and_lock(model)
    network = chosen.for_recording(voice)
    with lock:
        probability = predict(network, spectrogram(voice.waveform[None], network.stft))[0]
    return {"p": float(probability[1])}


def _table_name(chosen: Bundle) -> str:
    text = f"{chosen.config.weights.sha256}|{settings().data}|{settings().root}|{__version__}"
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError):
        return {}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{threading.get_ident()}.part")
        part.write_text(json.dumps(content), "utf-8")
        part.replace(path)
    except OSError:
        return


def confounds(model: str, tick: Any = None) -> tuple[Any, ...]:
    """How well age, sex, duration, level and so on alone separate the classes."""
    name = ("confounds", model if settings().data == app_settings.SYNTHETIC else "")
    found = memory().get(name)
    if found is not None:
        return found  # type: ignore[no-any-return]
    given, rows = settings(), catalogue()
    if given.data == app_settings.SYNTHETIC:
        measured = []
        for done, row in enumerate(rows.to_dict("records")):
            if tick:
                tick(done, len(rows))
            voice = catalogue_recording(model, str(row["recording"]))
            measured.append(
                {"recording": voice.id, "sample_rate": voice.sample_rate}
                | vars(quality(voice.waveform, voice.sample_rate))
            )
        found = corpus.confounds(rows.assign(sample_rate=16_000), pd.DataFrame(measured))
    else:
        path = Path(given.root or given.data)
        found = corpus.check(rows, path if path.is_dir() else path.parent, tick).confounds
    memory().put(name, found)
    return found
