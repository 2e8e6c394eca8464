"""The app's door to the library: what pages ask for, by strings and numbers, computed once and kept."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from app import gate, knowing
from app import sources as app_settings
from app import sources as run_folders
from app.sources import (
    Key,
    Memory,
    bundle,
    bundle_and_lock,
    catalogue,
    catalogue_recording,
    disk,
    memory,
    read_mine,
    recording,
    settings,
)
from speechxai import METHODS, Recording, SpeechXAIError, __version__, predict, spectrogram
from speechxai.classifiers.bundle import Bundle
from speechxai.data import corpus
from speechxai.errors import named
from speechxai.explain.combination import COMBINATIONS
from speechxai.explain.recipe import CONTROLS, parse
from speechxai.inspection import inspect
from speechxai.inspection.inspect import Explained, Heard, Tick
from speechxai.signal.quality import quality

# The app's door to the library: what pages ask for, by strings and numbers, computed once and kept.
FAST_METHODS = ("saliency", "input_x_gradient", "integrated_gradients", "gradcam")
"""What agreement is computed with: one pass or few each."""

FIRST_METHOD = "input_x_gradient"
"""What a first visitor sees: one pass, and better than the controls on the embedded models, which plain saliency is
not."""

MOST_KEPT_BYTES = 4_000_000
"""Larger blocks for the player, of recordings over 20 s, are made again."""

LONG_S = 30.0
"""In recordings longer than this, integrated gradients would keep a reader waiting."""


# ---- results


def _store(key: Key) -> Memory:
    """What a reader brought stays in the reader's session; the catalogue's results are everybody's."""
    if key[0] == "mine":
        return st.session_state.setdefault("mine_results", Memory(60))  # type: ignore[no-any-return]
    return memory()


def heard(model: str, key: Key, tick: Tick | None = None) -> Heard:
    """A recording as a model hears it."""
    name = ("heard", model, *key)
    found = _store(key).get(name)
    if found is None:
        found = inspect.hear(bundle(model), recording(model, key), bundle_and_lock(model)[1], tick)
        _store(key).put(name, found)
    return found  # type: ignore[no-any-return]


def explained(model: str, key: Key, recipes: Sequence[str], tick: Tick | None = None) -> dict[str, Explained | str]:
    """Maps by recipe as asked for; a text is the reason why a recipe does not apply to this network.

    Looks in memory, then on disk, and computes the rest together, so that shared passes are made once.
    """
    what = heard(model, key, tick)
    store, found, missing = _store(key), {}, []
    for recipe in recipes:
        canonical = str(parse(recipe))
        result = store.get(("map", what.digest, canonical))
        if result is None and key[0] != "mine":
            result = _from_disk(what, canonical)
            if result is not None:
                store.put(("map", what.digest, canonical), result)
        if result is None:
            missing.append(canonical)
        found[recipe] = result
    if missing:
        made, reasons = inspect.explain(what, missing, bundle_and_lock(model)[1], tick)
        for canonical in missing:
            result = made.get(canonical) or reasons[canonical]
            store.put(("map", what.digest, canonical), result)
            if key[0] != "mine" and isinstance(result, Explained):
                facts = {k: v for k, v in asdict(result).items() if k != "mask"}
                disk().put(_map_name(what, canonical), result.mask.astype(np.float16), facts)
            for recipe in recipes:
                if str(parse(recipe)) == canonical:
                    found[recipe] = result
    return found


def _map_name(what: Heard, canonical: str) -> str:
    return hashlib.sha256(f"{what.digest}|{canonical}|seed 0|{__version__}|{inspect.HEARD_SHARE}".encode()).hexdigest()[
        :40
    ]


def _from_disk(what: Heard, canonical: str) -> Explained | None:
    stored = disk().get(_map_name(what, canonical))
    if stored is None or stored[0].shape != what.magnitude.shape:
        return None
    return Explained(mask=stored[0].astype(np.float32), **stored[1])


def kept(model: str, key: Key, name: tuple[str, ...], make: Callable[[], Any]) -> Any:
    """What `make` returns, made once a recording, model and `name`: pages are drawn again with every click."""
    mine_only = key[0] == "mine"
    store = st.session_state.setdefault("mine_kept", Memory(8)) if mine_only else _kept()
    full = (*name, model, heard(model, key).digest)
    found = store.get(full)
    if found is None:
        found = make()
        if not isinstance(found, bytes) or len(found) <= MOST_KEPT_BYTES:
            store.put(full, found)
    return found


@st.cache_resource
def _kept() -> Memory:
    return Memory(48)


def method_menu() -> dict[str, str]:
    """Recipes for the menu and what each does in a sentence: methods, then combinations of fast ones, controls last."""
    menu = {name: METHODS.summary(name) for name in METHODS if name not in CONTROLS}
    for name in ("union", "intersection", "rank_mean"):
        recipe = f"{name}(saliency, integrated_gradients, gradcam)"
        menu[str(parse(recipe))] = COMBINATIONS.summary(name)
    return menu | {name: METHODS.summary(name) for name in CONTROLS}


def canonical(recipe: str) -> str | None:
    """A recipe's canonical text, None where it is no recipe."""
    try:
        return str(parse(recipe))
    except SpeechXAIError:
        return None


def agreement_methods(model: str, duration_s: float) -> tuple[str, ...]:
    """Methods that agreement is computed with: fewer where every pass takes seconds, for large networks or long
    recordings."""
    from speechxai.classifiers import BACKBONES

    name = bundle(model).config.architecture
    slow = name not in BACKBONES or BACKBONES.facts(name)["hears"] == "waveform"
    return ("saliency", "input_x_gradient", "gradcam") if slow or duration_s > LONG_S else FAST_METHODS


def unlike_training(model: str, what: Heard) -> list[str]:
    """Ways in which a recording is unlike those that the model learned from, as far as both say."""
    found = []
    rate = what.recording.metadata.get("original_sample_rate")
    wanted = bundle(model).config.stft.sample_rate
    if rate is not None and rate < wanted:
        found.append(
            f"The recording was made at {rate / 1000:g} kHz; nothing above {rate / 2000:g} kHz is real for a model at"
            f" {wanted / 1000:g} kHz."
        )
    if bundle(model).name.startswith("synthetic") and not what.recording.metadata.get("synthetic"):
        found.append("The model learned from synthetic voices only; what it says of a real voice means nothing.")
    return found


def agreement(model: str, key: Key, recipes: tuple[str, ...]) -> tuple[Any, Any]:
    """Pairwise IoU and rank correlation of maps that are computed, each an (M, M) array."""
    what, store = heard(model, key), _store(key)
    name = ("agreement", what.digest, *recipes)
    found = store.get(name)
    if found is None:
        maps = explained(model, key, recipes)
        found = inspect.agreement([m.mask for m in maps.values() if isinstance(m, Explained)])
        store.put(name, found)
    return found  # type: ignore[no-any-return]


@st.cache_resource
def _detector() -> tuple[Any, threading.Lock]:
    from silero_vad import load_silero_vad

    return load_silero_vad(), threading.Lock()


def speech_share(voice: Recording) -> float:
    """Share of the time with a voice; NaN where the detector is not installed."""
    try:
        detector, lock = _detector()
    except ImportError:
        return float("nan")
    with lock:  # the detector carries its state from call to call
        return inspect.speech_share(voice, detector)


def checked(model: str, key: Key) -> list[gate.Check]:
    """Quality checks of a recording this reader brought, at its own rate and level. Raises SpeechXAIError if
    unreadable."""
    store = _store(key)
    found = store.get(("checked", model, *key))
    if found is None:
        voice = read_mine(key[1], None)
        measured = {name: float(value) for name, value in vars(quality(voice.waveform, voice.sample_rate)).items()}
        rate = bundle(model).config.stft.sample_rate
        found = gate.checks(measured, voice.sample_rate, rate, speech_share(voice))
        store.put(("checked", model, *key), found)
    return found  # type: ignore[no-any-return]


def runs() -> dict[str, str]:
    """Run folders by path, with their names."""
    return run_folders.find(settings().runs)


def run(path: str) -> run_folders.Run:
    """A run, read again when it has grown."""
    file = Path(path) / "summary.csv"
    return _run(path, file.stat().st_mtime if file.is_file() else 0.0)


@st.cache_resource(max_entries=8)
def _run(path: str, changed: float) -> run_folders.Run:
    return run_folders.load(path)


def studies(path: str) -> list[knowing.Study]:
    """Finished auxiliary studies of a run, read again when one has been added."""
    found = sorted(Path(path).glob("auxiliary/*/table.csv"))
    return _studies(path, tuple(file.stat().st_mtime for file in found))


@st.cache_resource(max_entries=8)
def _studies(path: str, changed: tuple[float, ...]) -> list[knowing.Study]:
    return knowing.load(path)


# All recordings of the data set at once: what the model says of each, and what else tells the classes apart.
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
        chosen, lock = bundle_and_lock(model)
        network = chosen.for_recording(voice)
        with lock:
            probability = predict(network, spectrogram(voice.waveform[None], network.stft))[0]
    except Exception as error:  # one recording of many: the others are shown
        return {"problem": str(named(error, name))}
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
