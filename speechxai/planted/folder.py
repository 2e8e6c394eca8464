"""The run folder of a benchmark: a run folder whose work units are tasks, and the healthy voices that cues are planted
into."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from speechxai.classifiers.base import device_of
from speechxai.data.cards import find
from speechxai.data.corpus import load
from speechxai.data.manifest import Locator
from speechxai.errors import SpeechXAIError, named
from speechxai.evaluation.config import FORMAT, first_problem, is_folder
from speechxai.evaluation.executors import own_device
from speechxai.evaluation.machine import keep_freed_memory, machine, peak_memory_mb, versions
from speechxai.evaluation.runs import RunFolder
from speechxai.evaluation.values import checked
from speechxai.files import fingerprint, naming_folder, wait_for
from speechxai.planted import tables as benchmark_tables
from speechxai.planted.grades import bystander_table, grade_table, hybrid_table
from speechxai.planted.networks import Network, open_network
from speechxai.planted.settings import (
    CNN,
    SCORED_AS,
    SPECIFICATION,
    SYNTHETIC,
    BenchmarkProgress,
    BenchmarkSettings,
    TaskResult,
)
from speechxai.planted.task import run
from speechxai.registry import code_of, load_plugins
from speechxai.types import Recording, StftConfig

TABLES = (
    "tasks",
    "summary",
    "statements",
    "orders",
    "combinations",
    "chance",
    "believable",
    "hybrids",
    "sanity",
    "grades",
    "bystander",
    "failures",
)
"""Tables of a finished benchmark, as CSV; the tidy scores are in `scores.parquet` and `scores.csv`."""


class BenchmarkFolder(RunFolder):
    """One benchmark on disk; serves as the sink of `benchmark.run`. Several processes may work on one folder at a time.

    A unit is a task. Everything else in the folder is rebuilt from the units that are done.
    """

    command = "benchmark"

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
            "model": f"{settings.network}, one for every task and fold",
            "protocol": "benchmark",
            "imports": list(imports),
            "sources": {name: list(source) for name, source in sources.items()},
            "settings": {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(settings).items()},
        }
        manifest = pd.DataFrame({"recording": [task.id for task in settings.tasks()]})
        return cls(cls.create(path, config, manifest, described(settings)).path)

    @property
    def version(self) -> str:
        """Version of the specification that the benchmark was made by."""
        return str(self.config.get("specification"))

    @property
    def is_current(self) -> bool:
        """Whether this program can go on with the benchmark and make its tables anew: the major version is its own."""
        return self.version.split(".")[0] == SPECIFICATION.split(".")[0]

    @property
    def settings(self) -> BenchmarkSettings:
        """What is computed. Raises SpeechXAIError for a run that is no benchmark or of another major version."""
        given = self.config.get("settings")
        if self.config.get("protocol") != "benchmark" or not isinstance(given, dict):
            raise SpeechXAIError(
                f"{self.path}: this run is no benchmark. Continue it with 'speechxai evaluate --resume'."
            )
        if not self.is_current:
            raise SpeechXAIError(
                f"{self.path}: made by version {self.version} of the benchmark, this is {SPECIFICATION}: their results"
                " do not compare, and its tables and report stand in the folder. Start anew with --out."
            )
        load_plugins(self.config.get("imports", ()))
        try:
            return checked(BenchmarkSettings, given)
        except ValidationError as error:
            raise SpeechXAIError(f"{self.path / 'config.toml'}: settings: {first_problem(error)}") from error

    @property
    def sources(self) -> dict[str, tuple[str, str]]:
        """Data set and root by material. Raises SpeechXAIError where the settings are damaged."""
        found = self.config.get("sources", {})
        if not isinstance(found, dict) or not all(isinstance(s, list) and len(s) == 2 for s in found.values()):
            raise SpeechXAIError(f"{self.path / 'config.toml'}: sources: must hold a data set and its root by name.")
        return {name: (str(source[0]), str(source[1])) for name, source in found.items()}

    def move(self, roots: Sequence[Path]) -> None:
        """Read the voices from other folders from now on, one for each source, in their order.

        Raises:
            SpeechXAIError: more or fewer folders, or recordings of other content.
        """
        sources = self.sources
        if len(roots) != len(sources):
            raise SpeechXAIError(
                f"{self.path}: this benchmark has voices from {len(sources)} folders ({', '.join(sources) or 'none'})."
                f" Got --root {len(roots)} times."
            )
        moved = {}
        for (name, (data, _)), root in zip(sources.items(), roots, strict=True):
            place = str(root.resolve())
            moved[name] = (place if is_folder(data) else data, place)  # a folder of recordings is its own root
        material = self.environment.get("basis", {}).get("material")
        if material is not None and material_of(voices_of(moved, [])) != material:
            raise SpeechXAIError(f"{', '.join(map(str, roots))}: these are not the recordings of {self.path}.")
        self.configure({**self.config, "sources": {name: list(source) for name, source in moved.items()}})

    def parse(self, content: dict[str, Any]) -> TaskResult:
        """Make a task's result of what its file holds. Raises ValueError where it is none."""
        return TaskResult.from_dict(content)

    def keep(self, result: TaskResult) -> None:
        """Store a finished task."""
        self.put(result.task, result.to_dict())

    def failed(self) -> list[dict[str, str]]:
        """Tasks that failed, and recordings that could not be read when their material was: nothing was planted into
        these."""
        unreadable = dict(pair for session in self.sessions() for pair in session.get("unreadable", []))
        return super().failed() + [
            {"recording": name, "stage": "load", "message": words} for name, words in sorted(unreadable.items())
        ]

    def results(self) -> Iterator[TaskResult]:
        """Finished tasks, in order."""
        for task in self.recordings:
            result = self.judge(task)[0]
            if result is not None:
                yield result

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
        summary = benchmark_tables.leaderboard(scores)
        plain = (*settings.methods, *("random_map", "energy_map", "edge_map"))
        statements, sanity = benchmark_tables.statements(scores), benchmark_tables.sanity_table(results)
        tables = {
            "tasks.csv": benchmark_tables.task_table(results),
            "summary.csv": summary,
            "statements.csv": statements,
            "orders.csv": benchmark_tables.order_table(summary),
            "combinations.csv": benchmark_tables.combination_table(scores),
            "chance.csv": benchmark_tables.chance_table(results, scores),
            "believable.csv": benchmark_tables.believable(scores, plain),
            "hybrids.csv": hybrid_table(scores, plain),
            "sanity.csv": sanity,
            "grades.csv": grade_table(scores, statements, sanity),
            "bystander.csv": bystander_table(scores),
            "failures.csv": self.failures(),
            "scores.csv": scores,
            "scores.parquet": scores,
        }
        with naming_folder(self.path, "write"), wait_for(self.path / ".tables.lock"):
            self.write_tables(tables, {**self.environment, "sessions": self.sessions()})


def described(settings: BenchmarkSettings) -> dict[str, Any]:
    """What a benchmark runs on, for `environment.json`."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        **machine(),
        "specification": SPECIFICATION,
        "synthetic": settings.materials == (SYNTHETIC,),
        "model": {
            "name": settings.network,
            "title": "one network for every task and fold",
            "classes": ["without", "with"],
        },
    }


def basis_of(
    settings: BenchmarkSettings,
    bases: Mapping[str, Sequence[Recording]],
    imports: Sequence[str],
    network: Network | None = None,
) -> dict[str, Any]:
    """What every number of a benchmark depends on, as plain values: settings, program and libraries, code of the
    modules that it `imports`, voices, weights that the `network` begins with, and its device where that is none of
    the processor's."""
    chosen = asdict(settings)
    if chosen["network"] == CNN:
        del chosen["network"]  # benchmarks that began before there was a choice go on
    if not chosen["bystander"]:
        del chosen["bystander"]
    return {
        "settings": {"specification": SCORED_AS, **chosen},
        "versions": {**versions(("scikit-learn",)), **code_of(imports)},
        "material": material_of(bases),
        **({"model": {"sha256": network.identity}} if network and network.identity else {}),
        **({"device": network.device.type} if network and network.device.type != "cpu" else {}),
    }


def material_of(bases: Mapping[str, Sequence[Recording]]) -> dict[str, str]:
    """Hash of the recordings of each material: who they are, and what their files hold."""
    return {
        name: fingerprint([[r.id, r.speaker, r.label, str(r.metadata.get("sha256"))] for r in recordings])
        for name, recordings in bases.items()
    }


def healthy_voices(data: str, root: Path, unreadable: list[tuple[str, str]] | None = None) -> list[Recording]:
    """Read the recordings of a set that are of the control class or unlabeled, at their own rate up to 16 kHz, peak 1.

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


def _placed(name: str, allow_code: bool, device: str) -> Network:
    """The network of a benchmark on its device."""
    return replace(open_network(name, allow_code), device=device_of(device))


def execute(
    path: Path,
    progress: Callable[[BenchmarkProgress], None] | None = None,
    overwrite: bool = False,
    allow_code: bool = False,
    device: str = "cpu",
) -> None:
    """Compute the tasks of a folder that are not done; other processes may work on it at the same time.

    Args:
        path: of the benchmark.
        progress: called as tasks advance, and before with `state` "misfit" for units that do not fit: `n_total` of
            them, the reason as `message`.
        overwrite: whether tasks that were computed in another way are computed anew.
        allow_code: whether a network "module:function" may run.
        device: where networks are trained and explained, as `device_of` takes it.

    Raises:
        SpeechXAIError: tasks were computed in another way (other settings, versions, voices, or another device), or the
            network or device is not there.
    """
    folder = BenchmarkFolder(path)
    settings = folder.settings
    network = _placed(settings.network, allow_code, device)
    started, wall, cpu = datetime.now(UTC).isoformat(timespec="milliseconds"), time.perf_counter(), time.process_time()
    unreadable: list[tuple[str, str]] = []
    bases = voices_of(folder.sources, unreadable)
    basis = basis_of(settings, bases, folder.config.get("imports", ()), network)
    folder.agree_on(basis, lambda: described(settings), overwrite)
    if folder.format < FORMAT:
        folder.configure(folder.config)
    for reason, number in folder.drop_misfits().items():
        if progress is not None:
            progress(BenchmarkProgress("", "misfit", 0, number, 0.0, reason))
    run(settings, bases, folder, progress, network)
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


def _execute_quietly(path: str, allow_code: bool, device: str) -> None:
    import torch

    keep_freed_memory()
    torch.set_num_threads(1)
    execute(Path(path), allow_code=allow_code, device=own_device(device))


def execute_together(
    path: Path,
    n_processes: int,
    progress: Callable[[BenchmarkProgress], None] | None = None,
    overwrite: bool = False,
    allow_code: bool = False,
    device: str = "cpu",
) -> None:
    """Compute a folder with several processes of one thread each, on a GPU of their own where there are several; this
    process reports its own tasks. `overwrite`, `allow_code` and `device` are those of `execute`.

    Raises:
        SpeechXAIError: another process ended before its work was done.
    """
    import multiprocessing

    import torch

    if n_processes < 2:
        execute(path, progress, overwrite, allow_code, device)
        return
    folder = BenchmarkFolder(path)
    # Before the others begin, which may overwrite nothing.
    network = _placed(folder.settings.network, allow_code, device)
    basis = basis_of(folder.settings, voices_of(folder.sources, []), folder.config.get("imports", ()), network)
    folder.agree_on(basis, lambda: described(folder.settings), overwrite)
    context = multiprocessing.get_context("spawn")
    helpers = [
        context.Process(target=_execute_quietly, args=(str(path), allow_code, device), daemon=True)
        for _ in range(n_processes - 1)
    ]
    for helper in helpers:
        helper.start()
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        execute(path, progress, allow_code=allow_code, device=own_device(device))
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
