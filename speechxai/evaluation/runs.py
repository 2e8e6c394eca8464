"""The run folder: what an evaluation leaves on disk, written so that a crash at any moment loses only the unit in
flight.

Every work unit (a recording with all its recipes) becomes one file under `units/`, written beside its place and moved
there in one step. A unit is done when its file is there and fits: whole, of this run, computed as the rest of it is.
Everything else in the folder is rebuilt from these files.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, ParamSpec, TypeVar
from uuid import uuid4

import numpy as np
import pandas as pd

from speechxai.data.manifest import label_names, own_columns
from speechxai.errors import SpeechXAIError, encodable
from speechxai.evaluation.config import FORMAT
from speechxai.families import COMBINATIONS, CONTROLS, METHODS, METRICS
from speechxai.files import (
    check_files,
    csv_table,
    fingerprint,
    hold,
    is_held,
    known_format,
    naming_folder,
    parquet,
    read_bytes,
    read_csv,
    read_json,
    read_parquet,
    read_sealed,
    read_toml,
    sealed,
    to_toml,
    wait_for,
    write_atomically,
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

SEALED = 3
"""From this format on, a file of a run carries its own hash, and a unit what it depends on."""

NOT_THERE = ""
"""Why a unit has no scores where there is simply no file of it."""

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

    command: ClassVar[str] = "evaluate"
    """Of the command line, whose `--resume` continues the run."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        if not (self.path / "config.toml").exists():
            raise SpeechXAIError(f"{self.path}: not a run folder (no config.toml in it).")
        self.config: dict[str, Any] = read_toml(self.path / "config.toml")
        self.format = known_format(self.config.pop("format", None), FORMAT, f"{self.path}: this run")
        for key in ("data", "model"):
            if not isinstance(self.config.get(key), str):
                raise SpeechXAIError(
                    f"{self.path / 'config.toml'}: the key '{key}' must be a text: these are not the settings of a run."
                    " Restore the file."
                )
        if not (self.path / "units").is_dir():
            raise SpeechXAIError(
                f"{self.path / 'units'}: the folder of this run's results is missing. Restore it, or start a new run."
            )
        self._manifest: pd.DataFrame | None = None
        self._positions: dict[str, int] = {}
        self._rows: dict[str, str] = {}
        self._done: dict[str, tuple[Any, ...]] = {}
        self._basis: tuple[object, str] | None = None
        self.beside: Mapping[str, str] | None = None
        """By recording: a hash of what else its unit depends on, where whoever continues the run knows it."""

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Open an existing run folder."""
        return cls(Path(path))

    @classmethod
    def create(
        cls, path: str | Path, config: Mapping[str, Any], manifest: pd.DataFrame, environment: Mapping[str, Any]
    ) -> RunFolder:
        """Make a new run folder. The configuration is written last: a folder without it is not a run.

        Args:
            path: where.
            config: what is asked for.
            manifest: the planned recordings.
            environment: what the run runs on; `basis` in it is what every number of the run depends on.

        Raises:
            SpeechXAIError: there is a run already, or the folder cannot be written.
        """
        folder = Path(path)
        cls.check_new(folder)
        settings = to_toml({"format": FORMAT, **config}).encode()
        with naming_folder(folder, "create the run folder"):
            (folder / "units").mkdir(parents=True, exist_ok=True)
            content = parquet(manifest)
            write_atomically(folder / "recordings.parquet", content)
            tables = {"tables": {"recordings.parquet": hash_of(content)}}
            write_atomically(folder / "environment.json", sealed({**environment, **tables}, "environment"))
            write_atomically(folder / "config.toml", settings)
        return cls(folder)

    def _read(self, path: Path, kind: str) -> dict[str, Any] | None:
        """Content of a JSON file of the run; None where it is missing or damaged."""
        return read_sealed(path, kind) if self.format >= SEALED else read_json(path)

    @property
    def manifest(self) -> pd.DataFrame:
        """The planned recordings, one row each; `recording` is unique.

        Raises:
            SpeechXAIError: a table that is damaged, or another than the run was begun with.
        """
        if self._manifest is None:
            path = self.path / "recordings.parquet"
            stated = (self._read(self.path / "environment.json", "environment") or {}).get("tables", {}).get(path.name)
            found = read_parquet(path)
            named = "recording" in found.columns and not found["recording"].duplicated().any()
            if not named or (stated is not None and stated != hash_of(read_bytes(path))):
                raise SpeechXAIError(
                    f"{path}: this is not the list of recordings that the run was begun with. Restore it, or start a"
                    " new run."
                )
            self._manifest = found
            self._positions = {str(recording): number for number, recording in enumerate(found["recording"])}
        return self._manifest

    @property
    def environment(self) -> dict[str, Any]:
        """What the run ran on, and what it cost. Raises SpeechXAIError where that is not known any more."""
        path = self.path / "environment.json"
        content = self._read(path, "environment")
        if content is None:
            raise SpeechXAIError(
                f"{path}: missing or damaged. 'speechxai {self.command} --resume {self.path}' writes it again."
            )
        return content

    @property
    def basis(self) -> str:
        """Hash of what every number of the run depends on: settings, model, program, libraries."""
        path = self.path / "environment.json"
        try:
            found = path.stat()
            written = (found.st_ino, found.st_mtime_ns)
        except OSError:
            written = None
        if self._basis is None or self._basis[0] != written:
            self._basis = written, fingerprint(self.environment.get("basis"))
        return self._basis[1]

    def restate(self, environment: Mapping[str, Any]) -> None:
        """Write down anew what the run runs on. Raises SpeechXAIError where the folder cannot be written."""
        path = self.path / "recordings.parquet"
        tables = (self._read(self.path / "environment.json", "environment") or {}).get("tables") or {
            path.name: hash_of(read_bytes(path))
        }
        with naming_folder(self.path, "write"):
            write_atomically(self.path / "environment.json", sealed({**environment, "tables": tables}, "environment"))

    def configure(self, config: Mapping[str, Any]) -> None:
        """Replace the settings, and bring an older run's folder to this version's format.

        Raises:
            SpeechXAIError: the folder cannot be written.
        """
        with naming_folder(self.path, "write"):
            write_atomically(self.path / "config.toml", to_toml({"format": FORMAT, **config}).encode())
        self.config, self.format = dict(config), FORMAT

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

    def parse(self, content: dict[str, Any]) -> Any:
        """Make a unit's values of what its file holds. Raises ValueError where they are others than a unit has."""
        from speechxai.evaluation.values import UnitResult

        return UnitResult.from_dict(content)

    def judge(self, recording: str) -> tuple[Any | None, str]:
        """Give the unit of a recording, or None and why there is none: NOT_THERE, or what does not fit."""
        path, state = self._shard(recording), self._state(recording)
        raw = self._read(path, "unit")
        if raw is None:
            if not os.path.lexists(path):
                return None, NOT_THERE
            readable = read_json(path) if self.format >= SEALED else None
            other = readable is not None and readable.get("format") != FORMAT
            return None, "of another format" if other else "damaged"
        if self.format >= SEALED:
            if raw.get("format") != FORMAT:
                return None, "of another format"
            raw.pop("maps", None)
            beside = raw.pop("beside", None)
            if raw.pop("basis", None) != self.basis:
                return None, "of other settings, another model or other versions"
            if raw.pop("row", None) != self._row(recording):
                return None, "of another recording"
            if self.beside is not None and beside != self.beside.get(recording):
                return None, "of other maps"
            raw.pop("format")
        try:
            unit = self.parse(raw)
        except (TypeError, ValueError):
            return None, "damaged"
        if state is not None:
            self._done[recording] = state
        return unit, NOT_THERE

    def _state(self, recording: str) -> tuple[Any, ...] | None:
        """What a judgment on a unit depends on, as far as it can change; None where there is no file."""
        try:
            found = self._shard(recording).stat()
        except OSError:
            return None
        beside = None if self.beside is None else self.beside.get(recording)
        return found.st_ino, found.st_mtime_ns, found.st_size, self.format, self.basis, beside

    def content_of(self, recording: str) -> str:
        """Hash of the file of which a unit is, whether the unit fits or not; "" where nothing says it."""
        facts = (self._read(self._shard(recording), "unit") or {}).get("facts")
        return str(facts.get("sha256", "")) if isinstance(facts, dict) else ""

    def hashes_of_maps(self, recording: str) -> dict[str, str]:
        """Hash of each map that was stored of a recording, by recipe."""
        return dict((self._read(self._shard(recording), "unit") or {}).get("maps") or {})

    def _row(self, recording: str) -> str:
        """Hash of what the list says of a recording; where its file lies does not count."""
        if not self._rows:
            for row in self.manifest.drop(columns=["path", "root"], errors="ignore").to_dict("records"):
                known = {str(name): str(value) for name, value in row.items() if not pd.isna(value)}
                self._rows[str(row["recording"])] = fingerprint(known)
        return self._rows.get(recording) or fingerprint({})

    def put(self, recording: str, content: Mapping[str, Any], maps: Mapping[str, str] | None = None) -> None:
        """Store a unit with what it depends on; the hash of each of its maps beside."""
        depends = {"format": FORMAT, "basis": self.basis, "row": self._row(recording)}
        if self.beside is not None:
            depends["beside"] = self.beside.get(recording)
        if maps:
            depends["maps"] = dict(maps)
        with naming_folder(self.path, "write"):
            write_atomically(self._shard(recording), sealed({**depends, **content}, "unit"))
            self._shard(recording, ".failed").unlink(missing_ok=True)

    def agree_on(
        self, basis: Mapping[str, Any], described: Callable[[], Mapping[str, Any]], overwrite: bool = False
    ) -> None:
        """Check that what is done depends on what the rest would depend on.

        Args:
            basis: what the rest depends on.
            described: gives the environment of the process that goes on.
            overwrite: whether what was computed in another way may be computed anew.

        Raises:
            SpeechXAIError: units were computed in another way, and may not be overwritten.
        """
        wanted = fingerprint(basis)
        try:
            then: Mapping[str, Any] | None = self.environment.get("basis") or {}
        except SpeechXAIError:
            then = None
        if then is not None and fingerprint(then) == wanted:
            return
        sound = [unit for unit in (self._read(path, "unit") for path in self._files()) if unit is not None]
        n_other = sum(unit.get("basis") != wanted for unit in sound)
        # Where nobody knows what the run was begun with, its units tell: strangers among fitting ones are strangers.
        if n_other and (then is not None or n_other == len(sound)) and not overwrite:
            how = "in another way" if then is None else unlike(then, basis)
            if self.format < SEALED:
                how = "by an older version, which did not note what they depend on"
            raise SpeechXAIError(
                f"{self.path}: {n_other} of {len(self.recordings)} units were computed {how}. Continue it as it was"
                " begun, start a new run with --out, or compute them anew with --overwrite."
            )
        kept = {} if then is None else {"started": self.environment.get("started")}
        self.restate({**described(), **kept, "basis": basis})

    def _files(self) -> list[Path]:
        present = set(os.listdir(self.path / "units"))
        return [self._shard(recording) for recording in self.recordings if self._shard(recording).name in present]

    @classmethod
    def check_new(cls, path: Path, overwrite: bool = False) -> None:
        """Check that nothing is in the way of a new run, but a run where `overwrite`. Raises SpeechXAIError."""
        if not (path / "config.toml").exists():
            if overwrite and path.is_dir() and any(path.iterdir()):
                raise SpeechXAIError(f"{path}: --overwrite replaces a run, and this is none. Choose another --out.")
        elif not overwrite:
            raise SpeechXAIError(
                f"{path}: there is a run already. Continue it with 'speechxai {cls.command} --resume {path}', "
                "choose another folder with --out, or replace it with --overwrite."
            )
        elif not (path / "units").is_dir():
            raise SpeechXAIError(f"{path}: --overwrite replaces a run, and this is none. Choose another --out.")

    @classmethod
    def remove(cls, path: Path) -> None:
        """Throw away the run at `path`, where there is one.

        Raises:
            SpeechXAIError: a folder that holds anything else, or that cannot be removed.
        """
        cls.check_new(path, overwrite=True)
        if path.exists():
            with naming_folder(path, "throw away the old run"):
                (path / "config.toml").unlink(missing_ok=True)  # first: what is left by a crash is not a run
                shutil.rmtree(path)

    def drop(self, recordings: Iterable[str]) -> None:
        """Throw away units that do not fit, with their maps, unless another process computes them at this moment."""
        with naming_folder(self.path, "write"):
            for recording in recordings:
                with hold(self._shard(recording, ".lock")) as ours:
                    if ours:
                        self._shard(recording).unlink(missing_ok=True)
                        shutil.rmtree(self.path / "maps.zarr" / unit_name(recording), ignore_errors=True)

    def drop_misfits(self) -> Counter[str]:
        """Throw away every unit that does not fit, or whose maps are gone. Returns how many, by what is wrong."""
        misfits = {}
        for recording in self.recordings:
            unit, reason = self.judge(recording)
            if unit is not None and not self._has_maps(recording):
                reason = "without whole maps"
            if reason != NOT_THERE:
                misfits[recording] = reason
        self.drop(misfits)
        return Counter(misfits.values())

    def _has_maps(self, recording: str) -> bool:
        """Whether every map that was stored of a recording is there and whole: a missing part of one reads as zeros."""
        try:
            for recipe in self.hashes_of_maps(recording):
                self.maps(recording, recipe)
        except SpeechXAIError:
            return False
        return True

    def is_done(self, recording: str) -> bool:
        """Whether a recording has its scores. A unit that does not fit counts as not done."""
        # A file that was judged and has not been touched since is not read again.
        state = self._state(recording)
        if state is None:
            return False
        return self._done.get(recording) == state or self.judge(recording)[0] is not None

    def done_units(self) -> list[str]:
        """Recordings that have their scores. A unit that does not fit counts as not done."""
        present = set(os.listdir(self.path / "units"))
        return [r for r in self.recordings if self._shard(r).name in present and self.is_done(r)]

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
        maps = {}
        if result.maps:
            with naming_folder(self.path, "write"):
                maps = self.write_maps(result.recording, result.maps)
        self.put(result.recording, result.to_dict(), maps)

    def fail(self, failure: Failure) -> None:
        """Note that a recording failed; a later `--resume` tries it again."""
        with naming_folder(self.path, "write"):
            write_atomically(self._shard(failure.recording, ".failed"), sealed(failure.to_dict(), "failure"))

    def write_maps(self, recording: str, maps: Mapping[str, Array]) -> dict[str, str]:
        """Store maps (F, T) by recipe under `maps.zarr/<unit>/<recipe>`; they appear all at once.

        Those of float32 stay so, all others become float16.

        Returns:
            Hash of each map.
        """
        import zarr

        root = self.path / "maps.zarr"
        with suppress(ValueError):  # another process may have made it first
            if not root.exists():
                zarr.create_group(str(root), overwrite=False)
        temporary = root / f".{unit_name(recording)}.{uuid4().hex[:12]}.tmp"
        group = zarr.create_group(str(temporary), attributes={"recording": recording})
        for recipe, values in maps.items():
            array = group.create_array(recipe, shape=values.shape, chunks=values.shape, dtype=_stored_as(values))
            array[...] = values
        final = root / unit_name(recording)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(temporary, final)
        return {recipe: _hash_of_map(values) for recipe, values in maps.items()}

    def sweep(self, older_than_s: float = 3600.0) -> None:
        """Remove what killed processes left behind: half-written files and maps that nobody has touched for a while,
        and locks that nobody holds."""
        before = time.time() - older_than_s
        for lock in (self.path / "units").glob("*.lock"):
            is_held(lock)
        for folder in (self.path, self.path / "units", self.path / "maps.zarr", self.path / "sessions"):
            with suppress(OSError):
                for entry in os.scandir(folder):
                    if entry.name.startswith(".") and entry.name.endswith(".tmp") and entry.stat().st_mtime < before:
                        shutil.rmtree(entry.path) if entry.is_dir(follow_symlinks=False) else os.unlink(entry.path)

    def add_session(self, record: Mapping[str, Any]) -> None:
        """Keep what one process measured (wall time, peak memory); `finish` gathers them in `environment.json`."""
        with naming_folder(self.path, "write"):
            (self.path / "sessions").mkdir(exist_ok=True)
            write_atomically(self.path / "sessions" / f"{uuid4().hex[:12]}.json", sealed(record, "session"))

    def sessions(self) -> list[dict[str, Any]]:
        """What the processes measured, in the order in which they began."""
        found = [self._read(path, "session") for path in sorted((self.path / "sessions").glob("*.json"))]
        return sorted((one for one in found if one), key=lambda one: str(one.get("started")))

    def units(self) -> Iterator[UnitResult]:
        """Finished units without their maps, in the manifest's order."""
        for recording in self.recordings:
            unit = self.judge(recording)[0]
            if unit is not None:
                yield unit

    def failed(self) -> list[dict[str, str]]:
        """What went wrong with recordings that have no scores: the fields of `values.Failure`."""
        failures = []
        for recording in self.recordings:
            note = self._shard(recording, ".failed")
            if note.exists() and not self.is_done(recording):
                lost = {"recording": recording, "stage": "unknown", "message": f"{note}: this note is damaged."}
                failures.append(self._read(note, "failure") or lost)
        return failures

    def maps(self, recording: str, recipe: str) -> Array:
        """Stored map (F, T) of one recording. Raises SpeechXAIError where the run kept none, or it is damaged."""
        import zarr

        path = self.path / "maps.zarr" / unit_name(recording)
        if not (path / recipe).exists():
            raise SpeechXAIError(
                f"{self.path}: no stored map of '{recipe}' for '{recording}'. Maps are kept with 'evaluate --maps'."
            )
        try:
            check_files(path)
            values: Array = zarr.open_group(str(path), mode="r")[recipe][...]
            stated = self.hashes_of_maps(recording).get(recipe)
            whole = stated is None or stated == _hash_of_map(values)
        except Exception:  # zarr has many types of them
            whole = False
        if not whole:
            raise SpeechXAIError(
                f"{path / recipe}: this map is damaged. Remove {path} and compute it again: 'speechxai {self.command}"
                f" --resume {self.path}'."
            )
        return values

    def scores(self) -> pd.DataFrame:
        """Tidy table with SCORE_COLUMNS and `fold`, from the finished units in the manifest's order; texts are
        categories."""
        return scores(self.units())

    def failures(self) -> pd.DataFrame:
        """FAILURE_COLUMNS: recordings without scores, and recipes that a recording's network does not allow."""
        return self.failures_beside(self.units())

    def failures_beside(self, units: Iterable[UnitResult]) -> pd.DataFrame:
        """`failures` where the finished units are known already."""
        rows = [{"kind": "failure", "recipe": "", **failure} for failure in self.failed()]
        for path, reason in self.environment.get("unmatched", []):
            rows.append({"recording": path, "kind": "not_matched", "stage": "find", "recipe": "", "message": reason})
        for unit in units:
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
        """Read back `scores`, `recordings` (parquet) or `summary`, `agreement`, `failures` (CSV) of a finished run; of
        one with what-ifs also `signs` and `signs_recordings`, with units `evidence_by_unit` and its `_recordings`.

        Raises:
            SpeechXAIError: a run that is not finished, or a table that is not as it was written.
        """
        if name == "recordings":
            return self.manifest
        paths = [self.path / f"{name}{suffix}" for suffix in (".parquet", ".csv")]
        path = next((path for path in paths if path.exists()), paths[-1])
        if not path.exists():
            raise SpeechXAIError(
                f"{path}: missing. The run is not finished: 'speechxai {self.command} --resume {self.path}'."
            )
        if not self._is_whole(path.name, self.environment):
            raise SpeechXAIError(f"{path}: damaged. {self._again}")
        try:
            return read_parquet(path) if path.suffix == ".parquet" else read_csv(path)
        except SpeechXAIError as error:
            raise SpeechXAIError(f"{error} {self._again}") from error

    @property
    def _again(self) -> str:
        return f"'speechxai {self.command} --resume {self.path}' writes it again."

    def _is_whole(self, name: str, environment: Mapping[str, Any]) -> bool:
        stated = environment.get("tables", {}).get(name)
        try:
            return stated is None or stated == hash_of(read_bytes(self.path / name))
        except SpeechXAIError:
            return False

    def is_finished(self) -> bool:
        """Whether the tables are there as they were written, and what the run cost is known."""
        environment = self.environment
        tables = environment.get("tables", {})
        # An environment that was written anew, after damage, states neither.
        known = "summary.csv" in tables and {"sessions", "cost"} <= environment.keys()
        return known and all(self._is_whole(name, environment) for name in tables)

    def write_tables(self, tables: Mapping[str, pd.DataFrame], environment: Mapping[str, Any]) -> None:
        """Write tables by the names of their files, then the environment, which states their hashes."""
        stated = dict(environment.get("tables", {}))
        for name, each in tables.items():
            content = csv_table(each) if name.endswith(".csv") else parquet(each)
            write_atomically(self.path / name, content)
            stated[name] = hash_of(content)
        write_atomically(self.path / "environment.json", sealed({**environment, "tables": stated}, "environment"))


def unlike(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say the first thing in which two bases differ, for example "with the setting 'seed' 0 then and 1 now"."""
    settings, model, libraries = ((then.get(k) or {}, now.get(k) or {}) for k in ("settings", "model", "versions"))
    for key in dict.fromkeys((*settings[0], *settings[1])):
        one, other = (_short(each.get(key)) for each in settings)
        if one != other:
            return f"with the setting '{key}' {one} then and {other} now"
    for name in dict.fromkeys((*libraries[0], *libraries[1])):
        one, other = (str(each.get(name, "not used")) for each in libraries)
        if one != other:
            return f"with {name} {one} then and {other} now"
    if model[0] != model[1]:
        weights = [str(each.get("weights"))[:12] for each in model]
        if weights[0] == weights[1]:
            return "with another use of the model's weights"
        return f"with other weights of the model, {weights[0]} then and {weights[1]} now"
    return "from other material" if then else "in another way"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 120 else f"{text[:100]}... ({hash_of(text.encode())[:6]})"


def hash_of(content: bytes) -> str:
    """Hash of a file's bytes, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def _hash_of_map(values: Array) -> str:
    return hash_of(str(values.shape).encode() + np.asarray(values, _stored_as(values)).tobytes())[:16]


def _stored_as(values: Array) -> str:
    """Type that a map is stored as: float32 stays what it is, everything else becomes float16."""
    return "float32" if values.dtype == "float32" else "float16"


def knowing(show: Callable[Concatenate[RunFolder, P], R]) -> Callable[Concatenate[RunFolder, P], R]:
    """Decorate a function that shows a run: it knows the run's recipes and metrics, see `RunFolder.known`."""

    @wraps(show)
    def shown(folder: RunFolder, /, *args: P.args, **options: P.kwargs) -> R:
        with folder.known():
            return show(folder, *args, **options)

    return shown


def _registries() -> dict[str, Registry[Any]]:
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
        units: list[UnitResult] = []  # without their scores, which go into the table at once
        found = scores(folder.units(), units)
        tables = {
            "summary.csv": summary(found),
            "agreement.csv": agreement(units),
            "failures.csv": folder.failures_beside(units),
            "predictions.parquet": predictions(folder, units),
            "scores.parquet": found,
            "scores.csv": found,
        }
        if any(unit.signs for unit in units):
            tables |= sign_tables(folder, units)
        if any(unit.units for unit in units):
            tables |= unit_tables(folder, units)
        folder.write_tables(tables, {**folder.environment, "sessions": folder.sessions(), "cost": cost(units)})


def scores(units: Iterable[UnitResult], rest: list[UnitResult] | None = None) -> pd.DataFrame:
    """Tidy table with SCORE_COLUMNS and `fold` of units, in their order; texts are categories.

    Args:
        units: read one after the other and not kept.
        rest: takes the units without their scores.
    """
    # By column, numbers instead of texts: a row takes 30 bytes, where one of Python's values takes 600.
    of_unit: dict[str, list[Any]] = {
        name: [] for name in ("recording", "speaker", "label", "predicted", "model", "fold")
    }
    n_rows, names = [], {"recipe": {}, "metric": {}}  # type: tuple[list[int], dict[str, dict[str, int]]]
    codes, values = {"recipe": array("i"), "metric": array("i")}, array("d")
    for unit in units:
        before = len(values)
        for recipe, own in unit.values.items():
            row = names["recipe"].setdefault(recipe, len(names["recipe"]))
            codes["recipe"].extend([row] * len(own))
            codes["metric"].extend([names["metric"].setdefault(name, len(names["metric"])) for name in own])
            values.extend(own.values())
        n_rows.append(len(values) - before)
        for name, column in of_unit.items():
            column.append(unit.recording if name == "recording" else unit.facts.get(name))
        if rest is not None:
            rest.append(replace(unit, values={}))
    frame = pd.DataFrame(of_unit).astype({"label": "Int64"})
    for name in ("recording", "speaker", "model", "fold"):
        frame[name] = frame[name].astype("str").astype("category")  # sorted as texts are
    frame = frame.take(np.repeat(np.arange(len(n_rows)), n_rows)).reset_index(drop=True)
    for name, known in names.items():
        texts = pd.Categorical.from_codes(np.frombuffer(codes[name], np.int32), categories=pd.Index(list(known)))
        frame[name] = texts.reorder_categories(sorted(known))
    frame["value"] = np.frombuffer(values, np.float64)
    return frame[[*SCORE_COLUMNS, "fold"]]


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


SPLITS = ("label", "sex", "task")
"""Columns by which effects of signs are shown as well, where there is more than one group."""


def sign_tables(folder: RunFolder, units: Iterable[UnitResult]) -> dict[str, pd.DataFrame]:
    """What the dials of signs did: `signs.csv`, mean effects over speakers, whole and by SPLITS, and
    `signs_recordings.csv`, a row a recording and dial."""
    from speechxai.signs.cohort import cohort, frame

    manifest = folder.manifest.assign(label=label_names(folder.manifest)).set_index("recording")
    splits = [name for name in SPLITS if name in manifest and 1 < manifest[name].dropna().nunique() <= MOST_GROUPS]
    rows = [
        {
            "recording": unit.recording,
            "speaker": unit.facts.get("speaker"),
            **{name: manifest.loc[unit.recording, name] for name in splits},
            "signs": unit.signs,
        }
        for unit in units
        if unit.signs
    ]
    table = frame(rows)
    return {"signs.csv": cohort(table, splits), "signs_recordings.csv": table}


def unit_tables(folder: RunFolder, units: Iterable[UnitResult]) -> dict[str, pd.DataFrame]:
    """The evidence by stops, vowels, words: `evidence_by_unit.csv`, means over speakers, of everybody and by their
    class, and `evidence_by_unit_recordings.csv`, a row a recording, recipe and unit."""
    import pandas as pd

    from speechxai.units.relevance import LEVELS, cohort, frame

    names = dict(zip(folder.manifest["recording"].astype(str), label_names(folder.manifest), strict=True))
    found = frame(
        {
            "recording": unit.recording,
            "speaker": unit.facts.get("speaker"),
            "label": names[unit.recording],
            "recipe": recipe,
            "rows": rows,
        }
        for unit in units
        for recipe, rows in unit.units.items()
    )
    parts = [cohort(found, level).assign(level=level) for level in LEVELS if (found["level"] == level).any()]
    table = pd.concat(parts, ignore_index=True)
    order = ["recipe", "label", "level", *(name for name in table if name not in ("recipe", "label", "level"))]
    return {"evidence_by_unit.csv": table[order], "evidence_by_unit_recordings.csv": found}


MOST_GROUPS = 12


def summary(scores: pd.DataFrame) -> pd.DataFrame:
    """Recipe x metric with intervals and differences to the controls; `fold_mean`, `fold_std`, `n_folds` as papers
    print them."""
    known = [str(name) for name in scores["metric"].unique()]
    indicators = [name for name in known if name in METRICS and METRICS.facts(name).get("indicator")]
    table = summarize(scores, CONTROLS, indicators=indicators)
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
