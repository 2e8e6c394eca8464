"""The run folder: what an evaluation leaves on disk, written so that a crash at any moment loses only the unit in
flight.

Every work unit (a recording with all its recipes) becomes one file under `units/`, written beside its place and moved
there in one step. A unit is done when its file is there; everything else in the folder is rebuilt from these files.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar
from uuid import uuid4

import pandas as pd

from speechxai.data.manifest import label_names, own_columns
from speechxai.errors import SpeechXAIError, encodable
from speechxai.evaluation.config import FORMAT
from speechxai.files import (
    hold,
    is_held,
    known_format,
    naming_folder,
    read_json,
    read_parquet,
    to_json,
    to_toml,
    wait_for,
    write_atomically,
    write_parquet,
)
from speechxai.stats import SCORE_COLUMNS, fold_summary, summarize

if TYPE_CHECKING:
    from speechxai.evaluation.values import Failure, UnitResult
    from speechxai.registry import Registry
    from speechxai.types import Array

P = ParamSpec("P")
R = TypeVar("R")

FAILURE_COLUMNS = ("recording", "kind", "stage", "recipe", "message")
"""Columns of `failures.csv`; kind is "failure" (the recording has no scores), "not_matched" (a file
that the data card could not place) or "not_applicable" (a recipe that the network does not allow)."""

AGREEMENT_COLUMNS = ("first", "second", "iou", "rank_correlation", "overlap", "n")
"""Columns of `agreement.csv`: means over `n` recordings of every pair of methods."""


@dataclass(frozen=True)
class RunStatus:
    """How far a run is: numbers of recordings planned, done, failed, and being computed at this moment."""

    n_units: int
    n_done: int
    n_failed: int
    n_running: int

    @property
    def n_open(self) -> int:
        """Recordings that nobody has begun."""
        return self.n_units - self.n_done - self.n_failed - self.n_running


def unit_name(recording: str) -> str:
    """Return the file name of a recording's unit: its id in safe characters and a short hash, so that no two collide.

    >>> unit_name("neurovoz/0034_A1")
    'neurovoz_0034_A1-900009d1'
    """
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", recording)[:80].strip("._") or "recording"
    return f"{safe}-{hashlib.sha256(encodable(recording).encode()).hexdigest()[:8]}"


class RunFolder:
    """One evaluation on disk: `config.toml`, `environment.json`, `recordings.parquet`, `units/` and the tables built
    from them.

    Serves as the sink of `values.evaluate_recordings`. Several processes may work on one folder at the same time.

    Args:
        path: an existing run folder; use `create` for a new one.

    Raises:
        SpeechXAIError: the folder is missing, is no run folder, or was written by a newer version.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        if not (self.path / "config.toml").is_file():
            raise SpeechXAIError(f"{self.path}: not a run folder (no config.toml in it).")
        try:
            self.config: dict[str, Any] = tomllib.loads((self.path / "config.toml").read_text("utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise SpeechXAIError(f"{self.path / 'config.toml'}: cannot be read: {error}") from error
        self.format = known_format(self.config.pop("format", None), FORMAT, f"{self.path}: this run")
        self._manifest: pd.DataFrame | None = None

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Open an existing run folder."""
        return cls(Path(path))

    @classmethod
    def create(
        cls, path: str | Path, config: Mapping[str, Any], manifest: pd.DataFrame, environment: Mapping[str, Any]
    ) -> RunFolder:
        """Make a new run folder. The configuration is written last: a folder without it is not a run.

        Raises:
            SpeechXAIError: there is a run already, or the folder cannot be written.
        """
        folder = Path(path)
        if (folder / "config.toml").exists():
            raise SpeechXAIError(
                f"{folder}: there is a run already. Continue it with 'speechxai evaluate --resume {folder}', "
                "or choose another folder with --out."
            )
        with naming_folder(folder, "create the run folder"):
            (folder / "units").mkdir(parents=True, exist_ok=True)
            write_parquet(folder / "recordings.parquet", manifest)
            write_atomically(folder / "environment.json", to_json(environment))
            write_atomically(folder / "config.toml", to_toml({"format": FORMAT, **config}).encode())
        return cls(folder)

    @property
    def manifest(self) -> pd.DataFrame:
        """The planned recordings, one row each; `recording` is unique."""
        if self._manifest is None:
            self._manifest = read_parquet(self.path / "recordings.parquet")
        return self._manifest

    @property
    def environment(self) -> dict[str, Any]:
        """What the run ran on, and what it cost."""
        content = read_json(self.path / "environment.json")
        return content if content is not None else {}

    @property
    def recordings(self) -> list[str]:
        """Ids of the planned recordings, in the manifest's order."""
        return [str(recording) for recording in self.manifest["recording"]]

    @contextmanager
    def known(self) -> Iterator[None]:
        """Let the registries know this run's methods, combinations and metrics as it describes them, while the context
        lasts: its tables and its report read the same without the plugin that computed it."""
        facts = self.environment.get("facts", {})
        with ExitStack() as stack:
            for kind, registry in _registries().items():
                stack.enter_context(registry.told(facts.get(kind, {})))
            yield

    def _shard(self, recording: str, suffix: str = ".json") -> Path:
        return self.path / "units" / f"{unit_name(recording)}{suffix}"

    def is_done(self, recording: str) -> bool:
        """Whether a recording has its scores. A unit file that cannot be read counts as not done."""
        return read_json(self._shard(recording)) is not None

    def done_units(self) -> list[str]:
        """Recordings that have their scores. A unit file that cannot be read counts as not done."""
        present = set(os.listdir(self.path / "units"))
        return [r for r in self.recordings if self._shard(r).name in present and read_json(self._shard(r)) is not None]

    def status(self) -> RunStatus:
        """Count planned, done, failed and running recordings."""
        done = set(self.done_units())
        failed = [r for r in self.recordings if r not in done and self._shard(r, ".failed").exists()]
        running = [r for r in self.recordings if r not in done and is_held(self._shard(r, ".lock"))]
        return RunStatus(len(self.recordings), len(done), len(set(failed) - set(running)), len(running))

    @contextmanager
    def claim(self, recording: str) -> Iterator[bool]:
        """Hold a recording for this process: True when it is ours and not done yet, False when it is done or in other
        hands.

        The operating system lets go of the lock when the process ends, however it ends, so no claim is ever stale.
        """
        if self.is_done(recording):
            yield False
            return
        with ExitStack() as stack:
            with naming_folder(self.path, "write"):
                ours = stack.enter_context(hold(self._shard(recording, ".lock")))
            # Between the first look and the lock another process may have finished.
            yield ours and not self.is_done(recording)

    def write(self, result: UnitResult) -> None:
        """Store a finished unit; its maps first, its file last, because the file says that it is done."""
        with naming_folder(self.path, "write"):
            if result.maps:
                self.write_maps(result.recording, result.maps)
            write_atomically(self._shard(result.recording), to_json(result.to_dict()))
            self._shard(result.recording, ".failed").unlink(missing_ok=True)

    def fail(self, failure: Failure) -> None:
        """Note that a recording failed; a later `--resume` tries it again."""
        with naming_folder(self.path, "write"):
            write_atomically(self._shard(failure.recording, ".failed"), to_json(failure.to_dict()))

    def write_maps(self, recording: str, maps: Mapping[str, Array]) -> None:
        """Store maps (F, T) by recipe as float16 under `maps.zarr/<unit>/<recipe>`; they appear all at once."""
        import zarr

        root = self.path / "maps.zarr"
        with suppress(ValueError):  # another process may have made it first
            if not root.exists():
                zarr.create_group(str(root), overwrite=False)
        temporary = root / f".{unit_name(recording)}.{uuid4().hex[:12]}.tmp"
        group = zarr.create_group(str(temporary), attributes={"recording": recording})
        for recipe, values in maps.items():
            array = group.create_array(recipe, shape=values.shape, chunks=values.shape, dtype="float16")
            array[...] = values
        final = root / unit_name(recording)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(temporary, final)

    def sweep(self, older_than_s: float = 3600.0) -> None:
        """Remove what killed processes left behind: half-written files and maps that nobody has touched for a while."""
        before = time.time() - older_than_s
        for folder in (self.path, self.path / "units", self.path / "maps.zarr", self.path / "sessions"):
            with suppress(OSError):
                for entry in os.scandir(folder):
                    if entry.name.startswith(".") and entry.name.endswith(".tmp") and entry.stat().st_mtime < before:
                        shutil.rmtree(entry.path) if entry.is_dir(follow_symlinks=False) else os.unlink(entry.path)

    def add_session(self, record: Mapping[str, Any]) -> None:
        """Keep what one process measured (wall time, peak memory); `finish` gathers them in `environment.json`."""
        with naming_folder(self.path, "write"):
            (self.path / "sessions").mkdir(exist_ok=True)
            write_atomically(self.path / "sessions" / f"{uuid4().hex[:12]}.json", to_json(record))

    def units(self) -> Iterator[UnitResult]:
        """Finished units without their maps, in the manifest's order."""
        from speechxai.evaluation.values import UnitResult

        for recording in self.recordings:
            content = read_json(self._shard(recording))
            if content is not None:
                yield UnitResult.from_dict(content)

    def failed(self) -> list[dict[str, str]]:
        """What went wrong with recordings that have no scores: the fields of `values.Failure`."""
        failures = []
        for recording in self.recordings:
            content = None if self._shard(recording).exists() else read_json(self._shard(recording, ".failed"))
            if content is not None:
                failures.append(content)
        return failures

    def maps(self, recording: str, recipe: str) -> Array:
        """Stored map (F, T) of one recording. Raises SpeechXAIError where the run kept none."""
        import zarr

        path = self.path / "maps.zarr" / unit_name(recording)
        try:
            return zarr.open_group(str(path), mode="r")[recipe][...]  # type: ignore[no-any-return]
        except (KeyError, FileNotFoundError) as error:
            raise SpeechXAIError(
                f"{self.path}: no stored map of '{recipe}' for '{recording}'. Maps are kept with 'evaluate --maps'."
            ) from error

    def scores(self) -> pd.DataFrame:
        """Tidy table with SCORE_COLUMNS and `fold`, from the finished units in the manifest's order."""
        # Columns rather than rows, and every text once: half the memory where recordings are many.
        columns: dict[str, list[Any]] = {name: [] for name in (*SCORE_COLUMNS, "fold")}
        known: dict[Any, Any] = {}
        for unit in self.units():
            for row in unit.rows():
                for name, values in columns.items():
                    value = row[name]
                    values.append(known.setdefault(value, value) if isinstance(value, str) else value)
        frame = pd.DataFrame(columns)
        return frame.astype({"label": "Int64", "value": "float64", "fold": "string"})

    def failures(self) -> pd.DataFrame:
        """FAILURE_COLUMNS: recordings without scores, and recipes that a recording's network does not allow."""
        rows = [{"kind": "failure", "recipe": "", **failure} for failure in self.failed()]
        for path, reason in self.environment.get("unmatched", []):
            rows.append({"recording": path, "kind": "not_matched", "stage": "find", "recipe": "", "message": reason})
        for unit in self.units():
            for recipe, reason in unit.not_applicable.items():
                rows.append(
                    {
                        "recording": unit.recording,
                        "kind": "not_applicable",
                        "stage": "explain",
                        "recipe": recipe,
                        "message": reason,
                    }
                )
        return pd.DataFrame(rows, columns=list(FAILURE_COLUMNS))

    def table(self, name: str) -> pd.DataFrame:
        """Read back `scores`, `recordings` (parquet) or `summary`, `agreement`, `failures` (CSV) of a finished run."""
        path = self.path / f"{name}.parquet"
        if path.exists():
            return read_parquet(path)
        path = self.path / f"{name}.csv"
        if not path.exists():
            raise SpeechXAIError(
                f"{path}: missing. The run is not finished: 'speechxai evaluate --resume {self.path}'."
            )
        return pd.read_csv(path, keep_default_na=True)


def knowing(show: Callable[Concatenate[RunFolder, P], R]) -> Callable[Concatenate[RunFolder, P], R]:
    """Decorate a function that shows a run: it knows the run's recipes and metrics, see `RunFolder.known`."""

    @wraps(show)
    def shown(folder: RunFolder, /, *args: P.args, **options: P.kwargs) -> R:
        with folder.known():
            return show(folder, *args, **options)

    return shown


def _registries() -> dict[str, Registry[Any]]:
    from speechxai.explain import METHODS
    from speechxai.explain.combination import COMBINATIONS
    from speechxai.metrics import METRICS

    return {"methods": METHODS, "combinations": COMBINATIONS, "metrics": METRICS}


def describe(recipes: Iterable[str], metrics: Iterable[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """Write down what tables and reports have to know of the methods, combinations and metrics of a run.

    Returns:
        Facts that are plain values, and the summary, by name, by kind: "methods", "combinations", "metrics".
    """
    from speechxai.explain.recipe import parse

    steps = [step for recipe in recipes for step in parse(recipe).walk()]
    names = {
        "methods": [step.name for step in steps if not step.parts],
        "combinations": [step.name for step in steps if step.parts],
        "metrics": metrics,
    }
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for kind, registry in _registries().items():
        found[kind] = {}
        for name in names[kind]:
            facts = registry.facts(name).items()
            plain = {key: value for key, value in facts if isinstance(value, str | int | float | tuple | None)}
            found[kind][name] = {**plain, "summary": registry.summary(name)}
    return found


def finish(folder: RunFolder) -> None:
    """Write scores (parquet, CSV), summary, agreement, failures and recordings from the units that are done: the same
    units give the same bytes, however often the run stopped.

    Processes that share a folder take turns from reading to writing: tables of fewer units never replace those of more.

    Raises:
        SpeechXAIError: the folder cannot be written.
    """
    with naming_folder(folder.path, "write"), wait_for(folder.path / ".tables.lock"):
        scores = folder.scores()
        units = [replace(unit, values={}) for unit in folder.units()]
        write_parquet(folder.path / "scores.parquet", scores)
        _write_csv(folder, "scores", scores)
        _write_csv(folder, "summary", summary(scores))
        _write_csv(folder, "agreement", agreement(units))
        _write_csv(folder, "failures", folder.failures())
        write_parquet(folder.path / "predictions.parquet", predictions(folder, units))
        _write_environment(folder, units)


def _write_csv(folder: RunFolder, name: str, frame: pd.DataFrame) -> None:
    write_atomically(folder.path / f"{name}.csv", frame.to_csv(index=False, lineterminator="\n").encode())


def predictions(folder: RunFolder, units: Iterable[UnitResult]) -> pd.DataFrame:
    """The manifest with what the classifier said of every scored recording and what that cost.

    Where nothing may be compared with the labels there is no `label`, and their names stand in `labeled`. A column of
    somebody's table that has the name of a fact gets another one.
    """
    facts = pd.DataFrame([{"recording": unit.recording, **unit.facts} for unit in units])
    manifest = folder.manifest
    if folder.environment.get("unscored"):
        none = pd.array([pd.NA] * len(manifest), dtype="Int64")
        manifest = manifest.assign(labeled=label_names(manifest), label=none)
    if facts.empty:
        return manifest
    taken = [name for name in own_columns(manifest) if name in facts.columns]
    manifest = manifest.rename(columns={name: f"{name}_of_table" for name in taken})
    new = [name for name in facts.columns if name not in manifest.columns]
    return manifest.merge(facts[["recording", *new]], on="recording", how="left", validate="one_to_one")


def summary(scores: pd.DataFrame) -> pd.DataFrame:
    """Recipe x metric with intervals and differences to the controls; `fold_mean`, `fold_std`, `n_folds` as papers
    print them."""
    from speechxai.explain.recipe import CONTROLS
    from speechxai.metrics import indicators

    table = summarize(scores, CONTROLS, indicators=indicators())
    if scores.empty:
        return table
    folds = fold_summary(scores).rename(columns={"mean": "fold_mean", "std": "fold_std"})
    return table.merge(folds, on=["model", "recipe", "metric"], how="left", validate="one_to_one")


def agreement(units: Iterable[UnitResult]) -> pd.DataFrame:
    """Mean agreement of every pair of methods over recordings; undefined values (constant maps) are left out."""
    rows = [
        {"first": pair.split(" | ")[0], "second": pair.split(" | ")[1], **values}
        for unit in units
        for pair, values in unit.agreement.items()
    ]
    if not rows:
        return pd.DataFrame(columns=list(AGREEMENT_COLUMNS))
    grouped = pd.DataFrame(rows).groupby(["first", "second"], sort=False)
    table = grouped.mean().assign(n=grouped.size()).reset_index()
    return table.reindex(columns=list(AGREEMENT_COLUMNS))  # units of an older version have no overlap


def cost(units: Iterable[UnitResult]) -> dict[str, Any]:
    """What a recording cost, medians over recordings: seconds, passes, and seconds as a multiple of one forward
    pass."""
    frame = pd.DataFrame([unit.facts for unit in units])
    if frame.empty:
        return {}
    seconds = frame[["spectrogram_s", "forward_pass_s", "explain_s", "score_s", "agreement_s"]].sum(axis=1)
    return {
        "seconds_per_recording": float(seconds.median()),
        "seconds_per_forward_pass": float(frame["forward_pass_s"].median()),
        "forward_passes_of_time": float((seconds / frame["forward_pass_s"]).median()),
        "n_forward": float(frame["n_forward"].median()),
        "n_backward": float(frame["n_backward"].median()),
    }


def _write_environment(folder: RunFolder, units: list[UnitResult]) -> None:
    environment = folder.environment
    sessions = [read_json(path) for path in sorted((folder.path / "sessions").glob("*.json"))]
    environment["sessions"] = sorted((s for s in sessions if s), key=lambda s: str(s.get("started")))
    environment["cost"] = cost(units)
    write_atomically(folder.path / "environment.json", to_json(environment))
