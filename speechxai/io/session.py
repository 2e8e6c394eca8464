"""From settings to work: which recordings, which classifier judges each, and what a finished run says of itself."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from speechxai.config import EvaluateConfig
from speechxai.data.cards import build_manifest, card_names
from speechxai.data.manifest import read_manifest
from speechxai.data.pseudonyms import Locator
from speechxai.errors import SpeechXAIError
from speechxai.io.checkpoints import Bundle
from speechxai.io.corpus import load
from speechxai.io.executors import check_executor, run_units
from speechxai.io.hardware import configure
from speechxai.io.machine import machine, peak_memory_mb
from speechxai.io.made_voices import manifest_of, resampled, synthetic_voices
from speechxai.io.orders import order_of
from speechxai.io.published import bundle_of, check_folds, find_published, wants_splits
from speechxai.io.run_tables import finish
from speechxai.io.runs import RunFolder
from speechxai.io.worker import compute_in, compute_unit
from speechxai.pipeline import EvaluateSettings, Job, Progress
from speechxai.registry import did_you_mean
from speechxai.types import Recording


@dataclass(eq=False)
class Session:
    """A configuration with everything it names: the recordings, the bundle and the resolved settings.

    Args:
        config: what was asked for.
        settings: the same with presets resolved.
        manifest: the recordings, one row each.
        bundle: the classifier and its folds.
        voices: recordings that are made, not read, by id.
        unmatched: (path, reason) of files that may be recordings but could not be placed.
        hardware: what this process asked of it and may change results, see `hardware.configure`.
    """

    config: EvaluateConfig
    settings: EvaluateSettings
    manifest: pd.DataFrame
    bundle: Bundle
    voices: Mapping[str, Recording] = field(default_factory=dict)
    unmatched: list[tuple[str, str]] = field(default_factory=list)
    hardware: Mapping[str, Any] = field(default_factory=dict)

    @property
    def recordings(self) -> list[str]:
        """Ids of the work units, in order."""
        return [str(recording) for recording in self.manifest["recording"]]

    @property
    def synthetic(self) -> bool:
        """Whether the voices are synthetic."""
        return self.config.data == "synthetic"

    def load(self, recording: str) -> Job:
        """Read or look up a recording, and take the classifier that never heard its speaker.

        Raises:
            SpeechXAIError: a recording that cannot be used; the message names it.
        """
        row = self.manifest.iloc[self._positions[recording]]
        voice = self.voices.get(recording)
        if voice is None:
            voice = self.read({str(key): value for key, value in row.items()})
        fold = self.bundle.fold_of(voice)
        model = self.placed(self.bundle.classifier(fold))
        facts = {"model": self.bundle.name, "fold": "final" if fold is None else str(fold)}
        return Job(voice, model, facts)

    def read(self, row: Mapping[str, Any]) -> Recording:
        """Read the recording of a manifest row as the bundle's network hears audio."""
        settings = self.bundle.config
        return load(
            row,
            self._locator,
            sample_rate=settings.stft.sample_rate,
            normalize=settings.audio.normalize,
            channel=self.config.channel,
            max_duration_s=self.config.max_duration_s,
        )

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {recording: position for position, recording in enumerate(self.recordings)}

    @cached_property
    def _locator(self) -> Locator:
        return Locator(root_of(self.config))

    def placed(self, model: torch.nn.Module) -> torch.nn.Module:
        """Move a classifier to the device of the configuration and bound its batches."""
        if self.config.max_batch is not None:
            model.max_batch = self.config.max_batch  # type: ignore[assignment]
            model.one_at_a_time = False  # type: ignore[assignment]
        return model.to(device_of(self.config.device)).eval()


def device_of(name: str) -> torch.device:
    """Resolve "auto" and check that the device is there. Raises SpeechXAIError where it is not."""
    if name == "auto":
        return torch.device(
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
    if name.startswith("cuda"):
        index = int(name.partition(":")[2] or 0)
        if index >= torch.cuda.device_count():
            raise SpeechXAIError(
                f"The device '{name}' is not there: {torch.cuda.device_count()} CUDA devices found. Use --device cpu."
            )
    if name == "mps" and not torch.backends.mps.is_available():
        raise SpeechXAIError("The device 'mps' is not there. Use --device cpu.")
    return torch.device(name)


def prepare(config: EvaluateConfig, manifest: pd.DataFrame | None = None, bundle: Bundle | None = None) -> Session:
    """Resolve everything a configuration names, before anything is computed.

    Args:
        config: what is asked for.
        manifest: the recordings, where a run that is continued knows them already.
        bundle: the classifier, where it is loaded already.

    Raises:
        SpeechXAIError: a recipe, metric, model, device or data set that is not there.
    """
    settings = config.settings()
    hardware = configure(device_of(config.device), threads=config.threads, deterministic=config.deterministic)
    check_executor(config)
    if bundle is None:
        bundle = bundle_of(config)
    if wants_splits(config):
        check_folds(bundle, config)
    voices: dict[str, Recording] = {}
    unmatched: list[tuple[str, str]] = []
    if config.data == "synthetic":
        rate = bundle.config.stft.sample_rate
        voices = {voice.id: resampled(voice, rate) for voice in synthetic_voices(config)}
    if manifest is None and voices:
        manifest = chosen(manifest_of(list(voices.values())), config)
    elif manifest is None:
        found, unmatched = find_recordings(config)
        manifest = chosen(found, config)
    return Session(config, settings, manifest, bundle, voices, unmatched, hardware)


def root_of(config: EvaluateConfig) -> Path:
    """Folder that the paths of the manifest start from."""
    if config.root is not None:
        return config.root
    path = Path(config.data)
    return path if path.is_dir() else path.parent


def find_recordings(config: EvaluateConfig) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """Find the recordings that a card, a manifest or a folder names, and (path, reason) of files that could not be placed.

    Raises:
        SpeechXAIError: nothing there, or the root is missing.
    """
    path = Path(config.data)
    if wants_splits(config):
        return find_published(config)
    if path.suffix.lower() == ".csv":
        return read_manifest(path), []
    if path.is_dir() and config.data not in card_names():
        manifest, report = build_manifest("folder", path)
        return manifest, list(report.unmatched)
    if config.data not in card_names() and path.suffix != ".toml":
        known = did_you_mean(config.data, ["synthetic", *card_names()], "data set")
        raise SpeechXAIError(f"{config.data}: there is no such folder or manifest. {known}")
    if config.root is None:
        raise SpeechXAIError(f"The data card '{config.data}' needs the folder of its recordings: give --root.")
    manifest, report = build_manifest(config.data, config.root)
    return manifest, list(report.unmatched)


def chosen(manifest: pd.DataFrame, config: EvaluateConfig) -> pd.DataFrame:
    """Take the tasks asked for and at most `limit` recordings, the classes in turn.

    Raises:
        SpeechXAIError: nothing is left.
    """
    found = manifest
    if config.tasks:
        unknown = [task for task in config.tasks if task not in set(found["task"])]
        if unknown:
            raise SpeechXAIError(did_you_mean(unknown[0], sorted(set(found["task"])), "task"))
        found = found[found["task"].isin(config.tasks)]
    if config.limit is not None:
        # First recordings of all speakers before second ones, and the classes in turn.
        of_speaker = found.groupby("speaker").cumcount()
        turn = (
            found.assign(label=found["label"].fillna(-1), of_speaker=of_speaker)
            .groupby(["label", "of_speaker"])
            .cumcount()
        )
        order = np.lexsort((np.arange(len(found)), turn.to_numpy(), of_speaker.to_numpy()))
        found = found.iloc[np.sort(order[: config.limit])]
    if found.empty:
        raise SpeechXAIError(f"{config.root or config.data}: no recordings found. 'speechxai data check' says why.")
    return found.reset_index(drop=True)


def create_run(session: Session, folder: RunFolder | None = None) -> RunFolder:
    """Make the run folder of a session, or check that an existing one was computed with the same weights.

    Raises:
        SpeechXAIError: no `out`, a folder that holds a run or cannot be written, or a model that has changed since.
    """
    if folder is None:
        if session.config.out is None:
            raise SpeechXAIError("The run needs a folder: give --out, for example --out runs/first.")
        environment = describe_environment(session)
        return RunFolder.create(session.config.out, session.config.to_dict(), session.manifest, environment)
    then = folder.environment.get("model", {}).get("sha256")
    now = session.bundle.config.weights.sha256
    if then is not None and then != now:
        raise SpeechXAIError(
            f"{folder.path}: the weights of the model '{session.bundle.name}' have changed since the run began "
            f"({then[:12]}... then, {now[:12]}... now). Start a new run with --out."
        )
    return folder


def execute(session: Session, folder: RunFolder, progress: Callable[[Progress], None] | None = None) -> None:
    """Compute what the run has not yet, then rebuild its tables.

    Args:
        session: what is computed.
        folder: takes the results; other processes may work on it too.
        progress: called after every recording.
    """
    started, wall, cpu = datetime.now(UTC).isoformat(timespec="milliseconds"), time.perf_counter(), time.process_time()
    folder.sweep()
    serial = session.config.executor == "serial"
    work = partial(compute_in, session, folder) if serial else compute_unit
    cost = run_units(folder, order_of(session.config, folder.path), session.config.executor, work, progress)
    others = [] if serial else list(cost["workers"].values())
    record = {
        "started": started,
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu + sum(other["cpu_s"] for other in others),
        "peak_memory_mb": max(peak_memory_mb(), *(other["peak_memory_mb"] for other in others), 0.0),
        "pid": os.getpid(),
        **cost,
    }
    folder.add_session(record)
    finish(folder)


def describe_environment(session: Session) -> dict[str, Any]:
    """Versions, machine and what the run consists of, for `environment.json`."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        **machine(),
        "device": str(device_of(session.config.device)),
        "precision": session.settings.precision,
        **session.hardware,
        "synthetic": session.synthetic,
        "model": {
            "name": session.bundle.name,
            "title": session.bundle.config.title,
            "sha256": session.bundle.config.weights.sha256,
            "classes": list(session.bundle.config.classes),
            "card": session.bundle.card,
        },
        "unmatched": session.unmatched,
        "recipes": list(session.settings.recipes),
        "metrics": list(session.settings.metrics),
    }
