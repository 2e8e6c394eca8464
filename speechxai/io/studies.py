"""The folder of an auxiliary study: one file a fit, written in one step; tables, sentences and report are rebuilt from them."""

from __future__ import annotations

import shutil
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from speechxai.auxiliary import AuxiliarySettings, Fit, Unit, study, units
from speechxai.auxiliary_features import band_names
from speechxai.auxiliary_table import arms, coefficients, leak, table
from speechxai.auxiliary_words import Sentence, sentences
from speechxai.errors import SpeechXAIError
from speechxai.io.files import naming_folder, read_json, read_parquet, to_json, write_atomically, write_parquet
from speechxai.io.locks import hold
from speechxai.io.machine import machine, peak_memory_mb
from speechxai.io.runs import RunFolder
from speechxai.io.study_source import Progress, Source, read_source
from speechxai.io.toml import to_toml

if TYPE_CHECKING:
    import pandas as pd

FOLDER = "auxiliary"
"""Studies of a run stand in this folder of it, one folder a study."""


class StudyFolder:
    """One auxiliary study on disk; serves as the store of `auxiliary.study`. Several processes may work on it at the same time.

    Args:
        path: an existing study; use `begin` for a new one.

    Raises:
        SpeechXAIError: no study there, or one that cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            content = tomllib.loads((self.path / "study.toml").read_text("utf-8"))
        except FileNotFoundError as error:
            raise SpeechXAIError(f"{self.path}: not an auxiliary study (no study.toml in it).") from error
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise SpeechXAIError(f"{self.path / 'study.toml'}: cannot be read: {error}") from error
        try:
            self.settings = AuxiliarySettings.from_dict(content)
        except TypeError as error:
            raise SpeechXAIError(f"{self.path / 'study.toml'}: {error}") from error

    @property
    def facts(self) -> dict[str, Any]:
        """What the study stands on: counts of recordings and speakers, who was left out, the run's fingerprint."""
        return read_json(self.path / "facts.json") or {}

    @property
    def manifest(self) -> pd.DataFrame:
        """The recordings, one row each, numbered from 0."""
        return read_parquet(self.path / "recordings.parquet")

    @property
    def sentences(self) -> list[Sentence]:
        """What the numbers support. Empty while the study is not finished."""
        content = read_json(self.path / "sentences.json") or {}
        return [Sentence(**one) for one in content.get("sentences", [])]

    def table(self, name: str) -> pd.DataFrame:
        """Read back "table", "leak", "coefficients" or "curves". Raises SpeechXAIError where the study is not finished."""
        import pandas as pd

        path = self.path / f"{name}.csv"
        if not path.exists():
            raise SpeechXAIError(f"{path}: missing. The study is not finished: run the same command again.")
        return pd.read_csv(path)

    # ---- store of the study

    def _file(self, unit: Unit, suffix: str = ".json") -> Path:
        return self.path / "units" / f"{unit.key}{suffix}"

    def is_done(self, unit: Unit) -> bool:
        """Whether a unit's fit is there; a file that cannot be read counts as not done."""
        return read_json(self._file(unit)) is not None

    @contextmanager
    def claim(self, unit: Unit) -> Iterator[bool]:
        """Hold a unit for this process: True when it is ours and not done yet."""
        with ExitStack() as stack:
            with naming_folder(self.path, "write"):
                ours = stack.enter_context(hold(self._file(unit, ".lock")))
            yield ours and not self.is_done(unit)

    def write(self, fit: Fit) -> None:
        """Store a fit: its weights first, its file last, because the file says that it is done."""
        with naming_folder(self.path, "write"):
            if self.settings.checkpoints and fit.weights:
                from safetensors.torch import save

                content = save({name: value.contiguous() for name, value in fit.weights.items()})
                write_atomically(self.path / "checkpoints" / f"{fit.unit.key}.safetensors", content)
            write_atomically(self._file(fit.unit), to_json(fit.to_dict()))

    def fits(self) -> Iterator[Fit]:
        """Finished fits in the plan's order, without their weights."""
        for unit in units(self.settings):
            content = read_json(self._file(unit))
            if content is not None:
                yield Fit.from_dict(content)

    def n_done(self) -> tuple[int, int]:
        """Fits that are there, and fits in all."""
        plan = units(self.settings)
        return sum(self.is_done(unit) for unit in plan), len(plan)


def study_path(run: RunFolder, settings: AuxiliarySettings, name: str | None = None) -> Path:
    """Where a study of a run stands: `RUN/auxiliary/<input>-<architecture>`, or under another name."""
    return run.path / FOLDER / (name or f"{settings.input}-{settings.architecture}")


def begin(path: Path, settings: AuxiliarySettings, source: Source, again: bool = False) -> StudyFolder:
    """Open the study at `path` to continue it, or make it.

    Args:
        path: the study's folder.
        settings: what is asked for.
        source: recordings and maps.
        again: throw away what is there.

    Raises:
        SpeechXAIError: a study with other settings or of other maps is there, or the folder cannot be written.
    """
    empty = not any((path / "units").glob("*.json"))  # nothing is lost with a study that has no fit
    if (again or empty) and (path / "study.toml").exists():
        with naming_folder(path, "throw away the old study"):
            shutil.rmtree(path)
    if not (path / "study.toml").exists():
        with naming_folder(path, "create the study"):
            for part in ("units", "checkpoints", "sessions"):
                (path / part).mkdir(parents=True, exist_ok=True)
            write_parquet(path / "recordings.parquet", source.material.manifest)
            write_atomically(path / "facts.json", to_json({**source.facts(), "cells": list(band_names(source.material.stft))}))  # fmt: skip
            write_atomically(path / "study.toml", to_toml(settings.to_dict()).encode())
        return StudyFolder(path)
    folder = StudyFolder(path)
    stored, asked = folder.settings.to_dict(), settings.to_dict()
    differing = next((name for name in asked if stored[name] != asked[name]), None)
    if differing is not None:
        raise SpeechXAIError(
            f"{path}: this study was begun with {differing} = {stored[differing]}, not {asked[differing]}. "
            "Give another --name, or --again to throw it away."
        )
    if folder.facts.get("fingerprint") != source.fingerprint:
        raise SpeechXAIError(
            f"{path}: the run has been computed again since this study began, so its maps may be others. Give --again to train on them."
        )
    return folder


def execute(folder: StudyFolder, source: Source, progress: Progress | None = None) -> None:
    """Fit what is missing, then write tables, sentences and report."""
    published = None
    if folder.settings.weights is not None:
        from speechxai.io.import_checkpoints import read_weights

        published = read_weights(Path(folder.settings.weights))
    wall, before = time.perf_counter(), folder.n_done()[0]
    study(source.material, folder.settings, folder, progress, published)
    done, total = folder.n_done()
    record = {"wall_s": time.perf_counter() - wall, "n_fits": done - before, "peak_memory_mb": peak_memory_mb(), **machine()}  # fmt: skip
    with naming_folder(folder.path, "write"):
        write_atomically(folder.path / "sessions" / f"{uuid4().hex[:12]}.json", to_json(record))
    if done == total:  # else another process is at work and will finish
        finish(folder)


def finish(folder: StudyFolder) -> None:
    """Write tables, curves, predictions, sentences and `report.html` from the fits: the same fits give the same bytes.

    Raises:
        SpeechXAIError: fits are missing, or the folder cannot be written.
    """
    from speechxai.report_auxiliary import write_study_html

    fits, manifest, facts = list(folder.fits()), folder.manifest, folder.facts
    speakers = [str(name) for name in manifest["speaker"]]
    found = arms(fits, folder.settings, len(manifest))
    tables = {
        "table": table(found, folder.settings, speakers),
        "leak": leak(found, folder.settings, speakers),
        "coefficients": coefficients(fits, facts["cells"]),
        "curves": curves(fits),
    }
    said = sentences(tables["table"], tables["leak"], tables["coefficients"], facts)
    with naming_folder(folder.path, "write"):
        for name, frame in tables.items():
            write_atomically(folder.path / f"{name}.csv", frame.to_csv(index=False, lineterminator="\n").encode())
        write_parquet(folder.path / "predictions.parquet", predictions(fits, manifest))
        content = {"sentences": [{"text": one.text, "tone": one.tone} for one in said]}
        write_atomically(folder.path / "sentences.json", to_json(content))
    write_study_html(folder)


def curves(fits: list[Fit]) -> pd.DataFrame:
    """Losses of every epoch of every fit; `best` marks the epoch whose weights were used."""
    import pandas as pd

    rows = [
        [fit.unit.name, fit.unit.split, fit.unit.seed, fit.unit.fold, epoch, *losses, epoch == fit.best_epoch]
        for fit in fits
        for epoch, losses in enumerate(fit.history)
    ]
    columns = ["name", "split", "seed", "fold", "epoch", "training_loss", "validation_loss", "best"]
    return pd.DataFrame(rows, columns=columns)


def predictions(fits: list[Fit], manifest: pd.DataFrame) -> pd.DataFrame:
    """Every out-of-fold answer: row of the table, split, seed, fold, recording, speaker, label learned, P(PD) of network and twin."""
    import pandas as pd

    recordings, speakers = list(manifest["recording"].astype(str)), list(manifest["speaker"].astype(str))
    rows = []
    for fit in fits:
        unit, twin = fit.unit, fit.linear or (float("nan"),) * len(fit.rows)
        for i, label, p, q in zip(fit.rows, fit.labels, fit.probabilities, twin, strict=True):
            rows.append([unit.name, unit.input, unit.split, unit.seed, unit.fold, recordings[i], speakers[i], label, p, q])  # fmt: skip
    columns = ["name", "input", "split", "seed", "fold", "recording", "speaker", "label", "probability", "probability_linear"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def wall_time_s(folder: StudyFolder) -> float:
    """Seconds that all sessions of a study took together."""
    records = [read_json(path) for path in sorted((folder.path / "sessions").glob("*.json"))]
    return float(sum(record["wall_s"] for record in records if record))


def finished_studies(run: Path) -> list[StudyFolder]:
    """Finished studies of a run, by name."""
    paths = sorted(path.parent for path in (run / FOLDER).glob("*/table.csv"))
    return [StudyFolder(path) for path in paths]


def run_study(
    run: RunFolder,
    settings: AuxiliarySettings,
    *,
    name: str | None = None,
    again: bool = False,
    progress: Progress | None = None,
    opened: Callable[[StudyFolder], None] | None = None,
) -> StudyFolder:
    """Begin or continue a study of a run and finish it: the one door for scripts, command line and app.

    Args:
        run: made with `--maps`.
        settings: what is trained.
        name: of the study's folder.
        again: throw away what is there.
        progress: called after every recording read and every fit.
        opened: called with the study before the first fit.
    """
    source = read_source(run, settings.recipes, progress)
    folder = begin(study_path(run, settings, name), settings, source, again)
    if opened is not None:
        opened(folder)
    execute(folder, source, progress)
    return folder
