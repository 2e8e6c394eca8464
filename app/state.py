"""The app's door to the library: what pages ask for, by strings and numbers, computed once and kept."""

from __future__ import annotations

import hashlib
import json
import tempfile
import threading
import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from app import gate, work
from app import runs as run_folders
from app import settings as app_settings
from app.cache import Disk, Memory
from app.work import Explained, Heard, Tick
from speechxai import METHODS, Recording, SpeechXAIError, __version__
from speechxai.config import EvaluateConfig
from speechxai.explain import COMBINATIONS, CONTROLS, parse
from speechxai.io import corpus
from speechxai.io.audio import read
from speechxai.io.checkpoints import Bundle, bundle_names, load_bundle
from speechxai.quality import quality

N_SYNTHETIC_SPEAKERS = 24
SYNTHETIC_SEED = 1_000  # the seed of the demonstration: no embedded model was trained on these voices
MAX_UPLOAD_S = 300.0
MAX_UPLOAD_MB = 60
FAST_METHODS = ("saliency", "input_x_gradient", "integrated_gradients", "gradcam")
"""What agreement is computed with: one pass or few each."""

Key = tuple[str, str]
"""Where a recording is, "catalogue" or "mine", and its name there."""


@st.cache_resource
def settings() -> app_settings.Settings:
    """How the app was started."""
    return app_settings.parse()


@st.cache_resource
def _memory() -> Memory:
    return Memory(160)


@st.cache_resource
def _disk() -> Disk:
    return Disk(app_settings.cache_folder() / "maps" if settings().keep_cache else None)


# ---- models


@st.cache_resource
def _bundle(name: str) -> tuple[Bundle, threading.RLock]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other library versions: the About page says so
        return load_bundle(name), threading.RLock()


def bundle(name: str) -> Bundle:
    """A model by name or folder. Raises SpeechXAIError where there is none."""
    return _bundle(name)[0]


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

    config = EvaluateConfig(data=given.data, root=Path(given.root) if given.root else None)
    return find_recordings(config)[0]


@st.cache_resource
def _takes() -> dict[str, Any]:
    from speechxai.data.synthetic import takes

    return {take.id: take for take in takes(N_SYNTHETIC_SPEAKERS, SYNTHETIC_SEED)}


def _catalogue_recording(model: str, name: str) -> Recording:
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
    return _catalogue_recording(model, key[1])


# ---- results


def _store(key: Key) -> Memory:
    """What a reader brought stays in the reader's session; the catalogue's results are everybody's."""
    if key[0] == "mine":
        return st.session_state.setdefault("mine_results", Memory(60))  # type: ignore[no-any-return]
    return _memory()


def heard(model: str, key: Key, tick: Tick | None = None) -> Heard:
    """A recording as a model hears it."""
    name = ("heard", model, *key)
    found = _store(key).get(name)
    if found is None:
        found = work.hear(bundle(model), recording(model, key), _bundle(model)[1], tick)
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
        made, reasons = work.explain(what, missing, _bundle(model)[1], tick)
        for canonical in missing:
            result = made.get(canonical) or reasons[canonical]
            store.put(("map", what.digest, canonical), result)
            if key[0] != "mine" and isinstance(result, Explained):
                facts = {k: v for k, v in asdict(result).items() if k != "mask"}
                _disk().put(_map_name(what, canonical), result.mask.astype(np.float16), facts)
            for recipe in recipes:
                if str(parse(recipe)) == canonical:
                    found[recipe] = result
    return found


def _map_name(what: Heard, canonical: str) -> str:
    return hashlib.sha256(f"{what.digest}|{canonical}|seed 0|{__version__}|{work.HEARD_SHARE}".encode()).hexdigest()[
        :40
    ]


def _from_disk(what: Heard, canonical: str) -> Explained | None:
    stored = _disk().get(_map_name(what, canonical))
    if stored is None or stored[0].shape != what.magnitude.shape:
        return None
    return Explained(mask=stored[0].astype(np.float32), **stored[1])


def is_ready(model: str, key: Key, recipe: str) -> bool:
    """Whether a map would come without computing."""
    what = _store(key).get(("heard", model, *key))
    return what is not None and _store(key).get(("map", what.digest, str(parse(recipe)))) is not None


def predictions(model: str, tick: Any = None) -> pd.DataFrame:
    """The catalogue with `probability` of class 1 and `predicted`; `problem` says what is wrong with a recording.

    Args:
        tick: called with recordings done and in all, before each; kept ones come at once, and what is done stays kept.
    """
    rows = catalogue()
    chosen = bundle(model)
    path = app_settings.cache_folder() / "predictions" / f"{_table_name(chosen)}.json"
    kept = _memory().get(("predictions", model))
    if kept is None:
        kept = _read_json(path) if settings().keep_cache else {}
        _memory().put(("predictions", model), kept)
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
    from speechxai import predict, spectrogram

    try:
        voice = _catalogue_recording(model, name)
    except SpeechXAIError as error:
        return {"problem": str(error)}
    chosen, lock = _bundle(model)
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


def agreement_methods(model: str) -> tuple[str, ...]:
    """Methods that agreement is computed with: fewer for networks whose every pass takes seconds."""
    from speechxai.classifiers import BACKBONES

    name = bundle(model).config.architecture
    slow = name not in BACKBONES or BACKBONES.facts(name)["hears"] == "waveform"
    return ("saliency", "input_x_gradient", "gradcam") if slow else FAST_METHODS


def unlike_training(model: str, what: Heard) -> list[str]:
    """Ways in which a recording is unlike those that the model learned from, as far as both say."""
    found = []
    rate = what.recording.metadata.get("original_sample_rate")
    wanted = bundle(model).config.stft.sample_rate
    if rate is not None and rate < wanted:
        found.append(
            f"The recording was made at {rate / 1000:g} kHz; nothing above {rate / 2000:g} kHz is real for a model at {wanted / 1000:g} kHz."
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
        found = work.agreement([m.mask for m in maps.values() if isinstance(m, Explained)])
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
        return work.speech_share(voice, detector)


def checked(model: str, key: Key) -> list[gate.Check]:
    """Quality checks of a recording this reader brought, at its own rate and level. Raises SpeechXAIError if unreadable."""
    store = _store(key)
    found = store.get(("checked", model, *key))
    if found is None:
        voice = read_mine(key[1], None)
        measured = {name: float(value) for name, value in vars(quality(voice.waveform, voice.sample_rate)).items()}
        rate = bundle(model).config.stft.sample_rate
        found = gate.checks(measured, voice.sample_rate, rate, speech_share(voice))
        store.put(("checked", model, *key), found)
    return found  # type: ignore[no-any-return]


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


def confounds(model: str, tick: Any = None) -> tuple[Any, ...]:
    """How well age, sex, duration, level and so on alone separate the classes."""
    name = ("confounds", model if settings().data == app_settings.SYNTHETIC else "")
    found = _memory().get(name)
    if found is not None:
        return found  # type: ignore[no-any-return]
    given, rows = settings(), catalogue()
    if given.data == app_settings.SYNTHETIC:
        measured = []
        for done, row in enumerate(rows.to_dict("records")):
            if tick:
                tick(done, len(rows))
            voice = _catalogue_recording(model, str(row["recording"]))
            measured.append(
                {"recording": voice.id, "sample_rate": voice.sample_rate}
                | vars(quality(voice.waveform, voice.sample_rate))
            )
        found = corpus.confounds(rows.assign(sample_rate=16_000), pd.DataFrame(measured))
    else:
        path = Path(given.root or given.data)
        found = corpus.check(rows, path if path.is_dir() else path.parent, tick).confounds
    _memory().put(name, found)
    return found


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
