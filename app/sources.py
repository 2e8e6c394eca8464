"""Where recordings and models come from: the data set the app was started with, the reader's own, the embedded
models."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
import tempfile
import threading
import uuid
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st

from app import sessions
from speechxai import Recording, RunFolder, SpeechXAIError
from speechxai.classifiers.bundle import Bundle, bundle_names, load_bundle
from speechxai.data import corpus
from speechxai.data.cards import root_of
from speechxai.data.manifest import Locator
from speechxai.errors import named
from speechxai.evaluation.config import EvaluateConfig, check_protocol
from speechxai.evaluation.machine import give_back_memory
from speechxai.files import cache_folder, fingerprint
from speechxai.metrics import PUBLISHED_METRICS
from speechxai.registry import code_of, load_plugins
from speechxai.signal.audio import AUDIO_SUFFIXES, container_of, decoded, read_audio

if TYPE_CHECKING:
    from speechxai.planted.folder import BenchmarkFolder

# What the app was started with, and where it may write.
SYNTHETIC = "synthetic"


@dataclass(frozen=True)
class Settings:
    """How the app was started.

    Args:
        data: "synthetic", a data card, a manifest or a folder.
        root: folder of the card's recordings, "" for none.
        runs: run folders, or folders that hold some.
        models: bundles beside the embedded ones; the first is shown first.
        save_to: folder for saved cases.
        keep_cache: whether explanations of the catalogue's recordings are kept on disk.
        allow_code: whether a model "module:function" may run.
        imports: modules that register methods, metrics and so on.
        study: file of a reader study, "" without one; then nothing but its page is shown.
    """

    data: str = SYNTHETIC
    root: str = ""
    runs: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    save_to: str = ""
    keep_cache: bool = True
    allow_code: bool = False
    imports: tuple[str, ...] = ()
    study: str = ""


def parse(arguments: Sequence[str] | None = None) -> Settings:
    """Read the arguments that `speechxai app` hands on."""
    parser = argparse.ArgumentParser(prog="speechxai app", add_help=False)
    parser.add_argument("--data", default=SYNTHETIC)
    parser.add_argument("--root", default="")
    parser.add_argument("--run", action="append", default=[])
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--allow-code", action="store_true")
    parser.add_argument("--import", dest="imports", action="append", default=[])
    parser.add_argument("--save-to", default="")
    parser.add_argument("--no-cache", action="store_true")
    parser.add_argument("--study", default="")
    found, _ = parser.parse_known_args(list(sys.argv[1:] if arguments is None else arguments))
    save_to = found.save_to or str(Path.home() / "speechxai-cases")
    return Settings(
        found.data,
        found.root,
        tuple(found.run),
        tuple(found.model),
        save_to,
        not found.no_cache,
        found.allow_code,
        tuple(found.imports),
        found.study,
    )


# Results that cost time: kept in memory for everybody, on disk by content hash, or with one reader's session only.
MAX_DISK_BYTES = 2_000_000_000


class Memory:
    """The newest `size` results by key; safe for several threads."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._items: OrderedDict[tuple[str, ...], Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[str, ...]) -> Any | None:
        """Return a result, or None."""
        with self._lock:
            if key in self._items:
                self._items.move_to_end(key)
            return self._items.get(key)

    def put(self, key: tuple[str, ...], value: Any) -> None:
        """Keep a result, and forget the oldest over the size."""
        with self._lock:
            self._items[key] = value
            self._items.move_to_end(key)
            while len(self._items) > self.size:
                self._items.popitem(last=False)

    def clear(self) -> None:
        """Forget all results."""
        with self._lock:
            self._items.clear()


class Disk:
    """Arrays with their facts as `<folder>/<hash>.npz`, written whole or not at all; the oldest go when it grows too
    large."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def get(self, name: str) -> tuple[np.ndarray[Any, Any], dict[str, Any]] | None:
        """Return an array and its facts, or None; a damaged file counts as missing."""
        if self.folder is None:
            return None
        path = self.folder / f"{name}.npz"
        try:
            with np.load(path, allow_pickle=False) as content:
                found = content["values"], json.loads(str(content["facts"]))
            os.utime(path)
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
            return None
        return found

    def put(self, name: str, values: np.ndarray[Any, Any], facts: dict[str, Any]) -> None:
        """Keep an array. A disk that cannot be written to costs time, not the answer."""
        if self.folder is None:
            return
        part = self.folder / f".{name}.{uuid.uuid4().hex[:8]}.part"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                np.savez_compressed(file, values=values, facts=json.dumps(facts))
            part.replace(self.folder / f"{name}.npz")
            self._prune()
        except OSError:
            with suppress(OSError):
                part.unlink(missing_ok=True)

    def _prune(self) -> None:
        folder = self.folder
        if folder is None:
            return
        files = []
        for path in folder.glob("*.npz"):
            try:
                files.append((path.stat().st_mtime, path.stat().st_size, path))
            except FileNotFoundError:
                continue
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= MAX_DISK_BYTES:
                return
            path.unlink(missing_ok=True)
            total -= size


# Where recordings and models come from: the data set the app was started with, the reader's own, the embedded models.
N_SYNTHETIC_SPEAKERS = 24
SYNTHETIC_SEED = 1_000  # the seed of the demonstration: no embedded model was trained on these voices
MAX_UPLOAD_S = 300.0
MAX_UPLOAD_MB = 60

Key = tuple[str, str]
"""Where a recording is, "catalogue" or "mine", and its name there."""


@st.cache_resource(show_spinner=False)
def settings() -> Settings:
    """How the app was started; what it imports is registered then."""
    found = parse()
    load_plugins(found.imports)
    return found


@st.cache_resource(show_spinner=False)
def plugin_code() -> str:
    """Hash of the code of the plugins, on which maps depend."""
    return fingerprint(code_of(settings().imports))


@st.cache_resource(show_spinner=False)
def memory() -> Memory:
    """Results for everybody."""
    return Memory(160)


@st.cache_resource(show_spinner=False)
def disk() -> Disk:
    """Results that survive a restart."""
    return Disk(cache_folder() / "maps" if settings().keep_cache else None)


# ---- models


@st.cache_resource(show_spinner=False)
def bundle_and_lock(name: str) -> tuple[Bundle, threading.RLock]:
    """A model, and the lock that whoever computes with it holds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other library versions: the About page says so
        return load_bundle(name, settings().allow_code).naming_classes("The web app"), threading.RLock()


def bundle(name: str) -> Bundle:
    """A model by name or folder. Raises SpeechXAIError where there is none."""
    return bundle_and_lock(name)[0]


def models() -> list[str]:
    """Models to choose from: those given at the start, then the embedded ones."""
    embedded = bundle_names()
    if settings().data != SYNTHETIC:
        embedded = sorted(embedded, key=lambda name: (name.split("-")[0] not in settings().data, name))
    else:
        embedded = sorted(embedded, key=lambda name: (not name.startswith("synthetic"), name))
    return list(dict.fromkeys([*settings().models, *embedded]))


def models_by_name() -> dict[str, str]:
    """Models by names that may stand in an address: no path of this computer."""
    found: dict[str, str] = {}
    for folder in models():
        short = stem = Path(folder).name or folder
        for k in range(2, 100):
            if short not in found:
                break
            short = f"{stem}-{k}"
        found[short] = folder
    return found


# ---- recordings


@st.cache_data(show_spinner="Looking for recordings …")
def catalogue() -> pd.DataFrame:
    """All recordings of the data set, one row each: recording, speaker, label, task, sex, age and so on."""
    given = settings()
    if given.data == SYNTHETIC:
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
    from speechxai.evaluation.session import find_recordings

    # What is looked for does not depend on the model, but a configuration names one.
    config = EvaluateConfig(data=given.data, model=models()[0], root=Path(given.root) if given.root else None)
    check_protocol(config.protocol)
    return find_recordings(config)[0]


def who() -> str:
    """What those are called who speak in the data set."""
    made = catalogue()["dataset"].astype(str).str.startswith("synthetic")
    return "synthetic voices" if made.all() else "people"


def catalogue_root() -> Path:
    """Folder that the paths of the catalogue are relative to."""
    given = settings()
    return root_of(given.data, given.root or None, catalogue())


@st.cache_resource(show_spinner=False)
def locator(root: Path) -> Locator:
    """Finds the files of a catalogue below its root."""
    return Locator(root)


@st.cache_resource(show_spinner=False)
def rows_by_name() -> dict[str, dict[str, Any]]:
    """The catalogue as rows by recording; nobody may write into them."""
    return by_name(catalogue())


def by_name(rows: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Rows of a table as dictionaries by recording."""
    return {str(row["recording"]): {str(k): v for k, v in row.items()} for row in rows.to_dict("records")}


@st.cache_resource(show_spinner=False)
def _takes() -> dict[str, Any]:
    from speechxai.data.synthetic import takes

    return {take.id: take for take in takes(N_SYNTHETIC_SPEAKERS, SYNTHETIC_SEED)}


def catalogue_recording(model: str | None, name: str) -> Recording:
    """A recording of the data set as a model hears audio; None leaves its rate, level and offset as they are."""
    given = settings()
    if given.data == SYNTHETIC:
        take = _takes().get(name)
        if take is None:
            raise SpeechXAIError(f"{name}: there is no such recording. Choose one from the list.")
        return take.recording()  # type: ignore[no-any-return]
    row = rows_by_name().get(name)
    if row is None:
        raise SpeechXAIError(f"{name}: there is no such recording. Choose one from the list.")
    return corpus.load(row, locator(catalogue_root()), **reading(model))


def reading(model: str | None) -> dict[str, Any]:
    """Parameters of `read_audio`: as a model hears audio, or without one as the file is."""
    if model is None:
        return {"sample_rate": None, "normalize": "none", "offset": "kept"}
    config = bundle(model).config
    return {"sample_rate": config.stft.sample_rate, **config.audio.model_dump()}


def mine() -> dict[str, tuple[str, bytes]]:
    """Recordings this reader brought, by hash: name and bytes. They live in the session and nowhere else."""
    return sessions.own("mine", sessions.Files)


def add_mine(name: str, content: bytes) -> Key:
    """Take a recording into the session. What was computed of the one before is forgotten: the maps of a few minutes
    are large, and their memory goes back to the system."""
    digest = hashlib.sha256(content).hexdigest()[:16]
    if digest not in mine():
        for kept in ("mine_results", "mine_kept", "mine_what_ifs"):
            st.session_state.pop(kept, None)
        give_back_memory()
    mine()[digest] = (name, content)
    return "mine", digest


CANNOT = (
    "{}: this kind of recording can be read neither by this computer nor by your browser. Share or export it as WAV or"
    " MP3 where it was made, or record again with the microphone on this page."
)


def bring(name: str, content: bytes) -> Key | None:
    """Take a file into the session, decoded by this computer where it must be; None where only a browser may read
    it."""
    if not container_of(content[:16]):
        return add_mine(name, content)
    wav = decoded(content, MAX_UPLOAD_S)
    return None if wav is None else add_mine(f"{Path(name).stem}.wav", wav)


def for_reader(text: str) -> str:
    """A sentence about a file without what only a command line can do.

    >>> for_reader("a.wav: a coding that is not read. Convert it first: ffmpeg -i 'a.wav' b.wav")
    'a.wav: a coding that is not read. Export it as WAV or MP3, or record again with the microphone on this page.'
    """
    what, found, _ = re.sub(r"(Choose one:) --channel.*", r"\1", text).partition(" Convert it first:")
    if what.endswith("Choose one:"):
        what, found = what.removesuffix(" Choose one:"), " "
    return f"{what} Export it as WAV or MP3, or record again with the microphone on this page." if found else text


def forget_mine(digest: str) -> None:
    """Forget a recording that a reader brought, with all that was computed of it."""
    mine().pop(digest, None)
    for kept in ("mine_results", "mine_kept", "mine_what_ifs"):
        st.session_state.pop(kept, None)
    give_back_memory()


def read_mine(digest: str, model: str | None) -> Recording:
    """Read a recording this reader brought, for a model or as it is.

    Raises SpeechXAIError with a sentence about the file, by its own name.
    """
    name, content = mine()[digest]
    suffix = Path(name).suffix.lower()
    suffix = suffix if suffix in AUDIO_SUFFIXES else ".wav"  # what is inside is looked at in any case
    with tempfile.TemporaryDirectory(prefix="speechxai-") as folder:
        path = Path(folder) / f"recording{suffix}"
        path.write_bytes(content)
        try:
            found = read_audio(path, max_duration_s=MAX_UPLOAD_S, **reading(model))
        except Exception as error:
            text = str(named(error, name)).replace(str(path), name).replace(path.name, name)
            raise SpeechXAIError(for_reader(text)) from error
    return replace(found, id=Path(name).stem, speaker=f"mine/{digest}", metadata={**found.metadata, "path": name})


def recording(model: str, key: Key) -> Recording:
    """A recording as the model hears audio."""
    return read_mine(key[1], model) if key[0] == "mine" else catalogue_recording(model, key[1])


def original(key: Key) -> Recording:
    """A recording at its own rate, level and offset."""
    return read_mine(key[1], None) if key[0] == "mine" else catalogue_recording(None, key[1])


def data_card() -> str:
    """Text of the data set's card, "" where it has none."""
    from speechxai.data.cards import card_names, card_text

    given = settings().data
    if given == SYNTHETIC:
        return (
            "**Synthetic voices.** Made by a source-filter synthesizer. The half labeled PD carries planted cues"
            " (breathiness, tremor, weak bursts, centralized formants, flat pitch); they stand for clinical signs and"
            " come from no patient."
        )
    return card_text(given) if given in card_names() else ""


# Run folders for the Benchmark page: evaluations of real recordings, and benchmarks with a known truth.
Make = Callable[[], bytes]


@dataclass(frozen=True, eq=False)
class Run:
    """What the page shows of a run.

    Args:
        summary: means with intervals and differences to controls by model or cue, recipe and metric.
        facts: a line of facts.
        files: for the reader's disk: label, name, type, and what makes the content.
        tables: of a benchmark with a known truth: tasks, chance, believable, sanity; empty for other runs.
        model, sha256: name and hash of the model whose maps were scored; "" for a benchmark, which trains its own.
    """

    summary: pd.DataFrame
    facts: str
    files: tuple[tuple[str, str, str, Make], ...]
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    model: str = ""
    sha256: str = ""

    @property
    def has_truth(self) -> bool:
        """Whether the run is a benchmark with a known truth."""
        return bool(self.tables)


def find(given: tuple[str, ...]) -> dict[str, str]:
    """Run folders by path, with their names: those given, those inside the given ones, and `runs/` where the app was
    started."""
    places = [Path(p) for p in given] or [Path("runs")]
    found: dict[str, str] = {}
    for place in places:
        for path in [place, *sorted(place.glob("*"))]:
            if (path / "config.toml").is_file() and (path / "units").is_dir():
                found[str(path)] = path.name
    return found


def load(path: str) -> Run:
    """Read a run. Raises SpeechXAIError where nothing is scored yet, or a file is missing."""
    folder = RunFolder.open(path)
    return _with_truth(Path(path)) if folder.config.get("protocol") == "benchmark" else _evaluation(folder)


def _evaluation(folder: RunFolder) -> Run:
    from speechxai.evaluation.paper import data_name

    summary = folder.table("summary")
    if summary.empty:
        raise SpeechXAIError(
            f"{folder.path}: no recording is scored yet. Continue with 'speechxai evaluate --resume {folder.path}'."
        )
    status, config = folder.status(), folder.config
    done = f"{status.n_done} of {status.n_units} recordings" + (
        f", {status.n_failed} failed" if status.n_failed else ""
    )
    facts = (
        f"{done}; data {data_name(folder)}, model {Path(str(config.get('model', 'unknown'))).name},"
        f" protocol {config.get('protocol', 'standard')}"
    )
    files = _tables_as_files(folder.path)
    if set(summary["metric"]) & set(PUBLISHED_METRICS):
        files += (("Table (LaTeX)", "table.tex", "text/plain", lambda: _paper_table(folder)),)
    about = folder.environment.get("model", {})
    return Run(summary, facts, files, model=str(about.get("name", "this model")), sha256=str(about.get("sha256", "")))


def _paper_table(folder: RunFolder) -> bytes:
    from speechxai.evaluation.paper import tables

    return tables(folder, "latex").encode()


def _with_truth(path: Path) -> Run:
    from speechxai.planted.folder import BenchmarkFolder

    folder = BenchmarkFolder(path)
    status = folder.status()
    if not (path / "tasks.csv").is_file():
        raise SpeechXAIError(
            f"{path}: {status.n_done} of {status.n_units} tests are done. Continue with 'speechxai benchmark --resume"
            f" {path}'."
        )
    tables = {name: folder.table(name) for name in ("tasks", "chance", "believable", "sanity")}
    older = "" if folder.is_current else " (its numbers do not compare with those of the version that is installed)"
    facts = (
        f"Benchmark, version {folder.version}{older}: cues of known place planted into"
        f" {folder.config.get('data', '')} voices; {status.n_done} of {status.n_units} tests done"
        + (f", {status.n_failed} failed" if status.n_failed else "")
    )
    files = _tables_as_files(path)
    for label, name, kind, format in (
        ("Leaderboard (Markdown)", "leaderboard.md", "text/markdown", "markdown"),
        ("Leaderboard (LaTeX)", "leaderboard.tex", "text/plain", "latex"),
    ):
        if folder.is_current:
            files += ((label, name, kind, partial(_leaderboard, folder, format)),)
        elif (path / name).is_file():  # as that version wrote it
            files += ((label, name, kind, (path / name).read_bytes),)
    return Run(folder.table("summary"), facts, files, tables)


def _leaderboard(folder: BenchmarkFolder, format: str) -> bytes:
    from speechxai.planted.report import leaderboard

    return leaderboard(folder, format).encode()


def _tables_as_files(path: Path) -> tuple[tuple[str, str, str, Make], ...]:
    """The scores and the summary as they stand in the folder, read when asked for."""
    return tuple(
        (label, f"{name}.csv", "text/csv", (path / f"{name}.csv").read_bytes)
        for label, name in (("Scores (CSV)", "scores"), ("Summary (CSV)", "summary"))
        if (path / f"{name}.csv").is_file()
    )
