"""The run folder of a benchmark: a run folder whose work units are tasks, and the healthy voices that cues are planted
into."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from speechxai.data.cards import find
from speechxai.data.corpus import load
from speechxai.data.manifest import Locator
from speechxai.errors import SpeechXAIError, named
from speechxai.evaluation.machine import keep_freed_memory, machine, peak_memory_mb
from speechxai.evaluation.runs import RunFolder
from speechxai.files import naming_folder, read_json, to_json, write_atomically, write_parquet
from speechxai.planted import tables as benchmark_tables
from speechxai.planted.settings import SPECIFICATION, SYNTHETIC, BenchmarkProgress, BenchmarkSettings, TaskResult
from speechxai.planted.task import run
from speechxai.registry import load_plugins
from speechxai.types import Recording, StftConfig

TABLES = ("tasks", "summary", "chance", "believable", "sanity", "failures")
"""Tables of a finished benchmark, as CSV; the tidy scores are in `scores.parquet` and `scores.csv`."""


class BenchmarkFolder(RunFolder):
    """One benchmark on disk; serves as the sink of `benchmark.run`. Several processes may work on one folder at a time.

    A unit is a task. Everything else in the folder is rebuilt from the units that are done.
    """

    @classmethod
    def begin(
        cls,
        path: Path,
        settings: BenchmarkSettings,
        sources: Mapping[str, tuple[str, str]],
        imports: Sequence[str] = (),
    ) -> BenchmarkFolder:
        """Make a new folder.

        Args:
            path: where.
            settings: what will be computed.
            sources: data set and root by material.
            imports: modules that register what the settings name, imported by every process.

        Raises:
            SpeechXAIError: there is a run already, or the folder cannot be written.
        """
        config = {
            "specification": SPECIFICATION,
            "data": ", ".join(settings.materials),
            "model": "cnn, one for every task and fold",
            "protocol": "benchmark",
            "imports": list(imports),
            "sources": {name: list(source) for name, source in sources.items()},
            "settings": {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(settings).items()},
        }
        if (path / "config.toml").exists():
            raise SpeechXAIError(
                f"{path}: there is a run already. Continue it with 'speechxai benchmark --resume {path}', or choose"
                " another folder with --out."
            )
        manifest = pd.DataFrame({"recording": [task.id for task in settings.tasks()]})
        environment = {
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            **machine(),
            "specification": SPECIFICATION,
            "synthetic": settings.materials == (SYNTHETIC,),
            "model": {"name": "cnn", "title": "one network for every task and fold", "classes": ["without", "with"]},
        }
        folder = cls.create(path, config, manifest, environment)
        return cls(folder.path)

    @property
    def settings(self) -> BenchmarkSettings:
        """What is computed. Raises SpeechXAIError for a run that is no benchmark or of another major version."""
        given = self.config.get("settings")
        if self.config.get("protocol") != "benchmark" or not isinstance(given, dict):
            raise SpeechXAIError(
                f"{self.path}: this run is no benchmark. Continue it with 'speechxai evaluate --resume'."
            )
        version = str(self.config.get("specification"))
        if version.split(".")[0] != SPECIFICATION.split(".")[0]:
            raise SpeechXAIError(
                f"{self.path}: made by version {version} of the benchmark, this is {SPECIFICATION}: their results do"
                " not compare. Start anew with --out."
            )
        load_plugins(self.config.get("imports", ()))
        plain: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in given.items()}
        return BenchmarkSettings(**plain)

    @property
    def sources(self) -> dict[str, tuple[str, str]]:
        """Data set and root by material."""
        return {name: (str(source[0]), str(source[1])) for name, source in self.config.get("sources", {}).items()}

    def keep(self, result: TaskResult) -> None:
        """Store a finished task."""
        with naming_folder(self.path, "write"):
            write_atomically(self._shard(result.task), to_json(result.to_dict()))
            self._shard(result.task, ".failed").unlink(missing_ok=True)

    def failed(self) -> list[dict[str, str]]:
        """Tasks that failed, and recordings that could not be read when their material was: nothing was planted into
        these."""
        sessions = [read_json(path) or {} for path in sorted((self.path / "sessions").glob("*.json"))]
        unreadable = dict(pair for session in sessions for pair in session.get("unreadable", []))
        return super().failed() + [
            {"recording": name, "stage": "load", "message": words} for name, words in sorted(unreadable.items())
        ]

    def results(self) -> Iterator[TaskResult]:
        """Finished tasks, in order."""
        for task in self.recordings:
            content = read_json(self._shard(task))
            if content is not None:
                yield TaskResult.from_dict(content)

    def failures(self) -> pd.DataFrame:
        """What `failed` names, and recipes that the network does not allow: recording (or task), kind, stage, recipe,
        message."""
        rows = [{"kind": "failure", "recipe": "", **failure} for failure in self.failed()]
        for result in self.results():
            rows += [
                {
                    "recording": result.task,
                    "kind": "not_applicable",
                    "stage": "explain",
                    "recipe": recipe,
                    "message": reason,
                }
                for recipe, reason in result.not_applicable.items()
            ]
        return pd.DataFrame(rows, columns=["recording", "kind", "stage", "recipe", "message"])

    def scores(self) -> pd.DataFrame:
        """Tidy table of scores of the finished tasks."""
        return benchmark_tables.score_table(self.results())

    def finish(self) -> None:
        """Write all tables from the tasks that are done. Raises SpeechXAIError where the folder cannot be written."""
        results, settings = list(self.results()), self.settings
        scores = benchmark_tables.score_table(results)
        plain = (*settings.methods, *("random_map", "energy_map", "edge_map"))
        tables = {
            "tasks": benchmark_tables.task_table(results),
            "summary": benchmark_tables.leaderboard(scores),
            "chance": benchmark_tables.chance_table(scores),
            "believable": benchmark_tables.believable(scores, plain),
            "sanity": benchmark_tables.sanity_table(results),
            "failures": self.failures(),
            "scores": scores,
        }
        with naming_folder(self.path, "write"):
            write_parquet(self.path / "scores.parquet", scores)
            for name, table in tables.items():
                write_atomically(self.path / f"{name}.csv", table.to_csv(index=False, lineterminator="\n").encode())
            environment = self.environment
            sessions = [read_json(path) for path in sorted((self.path / "sessions").glob("*.json"))]
            environment["sessions"] = sorted((s for s in sessions if s), key=lambda s: str(s.get("started")))
            write_atomically(self.path / "environment.json", to_json(environment))


def healthy_voices(data: str, root: Path, unreadable: list[tuple[str, str]] | None = None) -> list[Recording]:
    """Read the recordings of a set that nobody labeled PD, at their own sample rate up to 16 kHz, peak 1.

    Args:
        data: a data card, a manifest (CSV), or a folder of recordings.
        root: folder of the recordings.
        unreadable: takes (recording, reason) of each that cannot be read, and the others go on; without it the first
            one raises.

    Raises:
        SpeechXAIError: an unknown card, no recordings, or none that can be read.
    """
    manifest, _ = find(data, root)
    manifest = manifest[manifest["label"].fillna(0) == 0]
    if manifest.empty:
        raise SpeechXAIError(f"{root}: the set '{data}' holds no recordings of healthy speakers here.")
    locator, highest = Locator(root), StftConfig().sample_rate
    found = []
    for row in manifest.to_dict("records"):
        cells = {str(key): value for key, value in row.items()}
        own = cells["sample_rate"]
        rate = highest if own is None or pd.isna(own) else min(highest, int(own))
        try:
            found.append(load(cells, locator, sample_rate=rate))
        except Exception as error:
            reason = named(error, cells["recording"])
            if unreadable is None:
                raise reason from error
            unreadable.append((str(cells["recording"]), str(reason)))
    if not found and unreadable:
        raise SpeechXAIError(f"{root}: no recording of the set '{data}' can be read. The last: {unreadable[-1][1]}")
    return found


def voices_of(
    sources: Mapping[str, tuple[str, str]], unreadable: list[tuple[str, str]] | None = None
) -> dict[str, list[Recording]]:
    """Read the healthy voices of every material, as `healthy_voices` does."""
    return {name: healthy_voices(data, Path(root), unreadable) for name, (data, root) in sources.items()}


def execute(path: Path, progress: Callable[[BenchmarkProgress], None] | None = None) -> None:
    """Compute the tasks of a folder that are not done; other processes may work on it at the same time."""
    folder = BenchmarkFolder(path)
    started, wall, cpu = datetime.now(UTC).isoformat(timespec="milliseconds"), time.perf_counter(), time.process_time()
    unreadable: list[tuple[str, str]] = []
    run(folder.settings, voices_of(folder.sources, unreadable), folder, progress)
    folder.add_session(
        {
            "started": started,
            "wall_s": time.perf_counter() - wall,
            "cpu_s": time.process_time() - cpu,
            "peak_memory_mb": peak_memory_mb(),
            "pid": os.getpid(),
            "unreadable": unreadable,
        }
    )


def _execute_quietly(path: str) -> None:
    import torch

    keep_freed_memory()
    torch.set_num_threads(1)
    execute(Path(path))


def execute_together(path: Path, n_processes: int, progress: Callable[[BenchmarkProgress], None] | None = None) -> None:
    """Compute a folder with several processes of one thread each; this process reports its own tasks.

    Raises:
        SpeechXAIError: another process ended before its work was done.
    """
    import multiprocessing

    import torch

    if n_processes < 2:
        execute(path, progress)
        return
    context = multiprocessing.get_context("spawn")
    helpers = [context.Process(target=_execute_quietly, args=(str(path),), daemon=True) for _ in range(n_processes - 1)]
    for helper in helpers:
        helper.start()
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        execute(path, progress)
        for helper in helpers:
            helper.join()
    finally:
        torch.set_num_threads(n_threads)
        for helper in helpers:
            if helper.is_alive():
                helper.terminate()
    if any(helper.exitcode for helper in helpers):
        raise SpeechXAIError(f"{path}: a process ended early. Continue with 'speechxai benchmark --resume {path}'.")


__all__: Sequence[str] = [
    "TABLES",
    "BenchmarkFolder",
    "execute",
    "execute_together",
    "healthy_voices",
    "voices_of",
]
