"""Where the recordings of a run are computed: in this process, in several of this machine, or on a cluster.

A work unit is a recording with all its recipes. Whoever computes one claims it in the run folder, writes its result there and
gives back a small record: ids and numbers travel between processes, voices and maps do not.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import TYPE_CHECKING, Any

from speechxai.errors import SpeechXAIError
from speechxai.io.orders import Ledger, Order, Task, UnitRecord
from speechxai.pipeline import Failure, Progress
from speechxai.registry import Registry

if TYPE_CHECKING:
    from speechxai.config import EvaluateConfig
    from speechxai.io.runs import RunFolder

Work = Callable[[Order, Task], UnitRecord]
Executor = Callable[[Order, Ledger, Work], Iterator[UnitRecord]]

EXECUTORS: Registry[Executor] = Registry("executor", required=("needs", "extra"))
"""Functions (order, ledger, work) -> records as they come. `needs`: modules that must be installed, by the extra `extra`."""


def check_executor(config: EvaluateConfig) -> None:
    """Check that an executor can be used. Raises SpeechXAIError naming the missing extra or the setting that does not fit."""
    facts = EXECUTORS.facts(config.executor)
    if any(importlib.util.find_spec(module) is None for module in facts["needs"]):
        raise SpeechXAIError(
            f"The executor '{config.executor}' needs the extra '{facts['extra']}': pip install 'speechxai[{facts['extra']}]'."
        )
    if config.scheduler != "local" and config.executor != "dask":
        raise SpeechXAIError(f"The scheduler '{config.scheduler}' needs --executor dask.")
    if config.workers is not None and config.executor == "serial":
        raise SpeechXAIError(
            f"{config.workers} workers need --executor joblib or dask; 'serial' is this process alone."
        )


@EXECUTORS.register(needs=(), extra="")
def serial(order: Order, ledger: Ledger, work: Work) -> Iterator[UnitRecord]:
    """One recording after the other, in this process."""
    while (task := ledger.take()) is not None:
        yield from ledger.settle(task, work(order, task))


@EXECUTORS.register(needs=("joblib",), extra="")
def joblib(order: Order, ledger: Ledger, work: Work) -> Iterator[UnitRecord]:
    """Several processes of this machine (loky).

    Each worker is a pool of one process: where one pool holds them all, a single lost process ends the others too.
    """
    from joblib.externals.loky import ProcessPoolExecutor
    from joblib.externals.loky.process_executor import BrokenProcessPool

    from speechxai.io.processes import begin_process, thread_environment

    def new_pool() -> Any:
        environment = thread_environment(order.n_threads)
        return ProcessPoolExecutor(1, initializer=begin_process, initargs=(os.getpid(),), env=environment)

    idle: list[Any] = [new_pool() for _ in range(min(order.n_workers, len(ledger)))]
    running: dict[Future[UnitRecord], tuple[Any, Task]] = {}
    try:
        while True:
            while idle and (task := ledger.take()) is not None:
                pool = idle.pop()
                running[pool.submit(work, order, task)] = pool, task
            if not running:
                return
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                pool, task = running.pop(future)
                try:
                    record = future.result()
                except BrokenProcessPool:
                    pool.shutdown(wait=False, kill_workers=True)
                    idle.append(new_pool())
                    yield from ledger.lose(task)
                else:
                    idle.append(pool)
                    yield from ledger.settle(task, record)
    finally:
        for pool in (*idle, *(pool for pool, _ in running.values())):
            pool.shutdown(wait=False, kill_workers=True)


@EXECUTORS.register(needs=("dask", "distributed", "dask_jobqueue", "cryptography"), extra="cluster")
def dask(order: Order, ledger: Ledger, work: Work) -> Iterator[UnitRecord]:
    """Workers of dask.distributed: on this machine, of a running scheduler, or in jobs of Slurm."""
    from speechxai.io.cluster import compute_on

    return compute_on(order, ledger, work)


def run_units(
    folder: RunFolder,
    order: Order,
    executor: str,
    work: Work,
    progress: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:
    """Compute every recording of a run that is not done.

    Args:
        folder: the run; other processes may work on it too.
        order: what the workers have to know.
        executor: name in EXECUTORS.
        work: what a worker does with a task, `io.worker.compute_unit`.
        progress: called after every recording.

    Returns:
        For the record: executor, n_workers, n_lost_workers, and for each of `workers` its cpu_s and peak_memory_mb.

    Raises:
        SpeechXAIError: the folder cannot be written, workers cannot be had, or none of them survives.
    """
    recordings = folder.recordings
    done = set(folder.done_units())
    n_done = 0
    for recording in recordings:
        if recording in done:
            n_done += 1
            if progress is not None:
                progress(Progress(recording, "skipped", n_done, len(recordings)))
    ledger = Ledger([recording for recording in recordings if recording not in done], order.n_workers)
    workers: dict[str, UnitRecord] = {}
    for record in EXECUTORS[executor](order, ledger, work) if len(ledger) else ():
        n_done += 1
        if record.state == "lost":
            folder.fail(Failure(record.recording, "worker", record.message))
        elif record.worker:
            workers[record.worker] = record
        state = {"lost": "failed", "busy": "skipped"}.get(record.state, record.state)
        if progress is not None:
            progress(Progress(record.recording, state, n_done, len(recordings), record.message))
    cost = {name: {"cpu_s": w.cpu_s, "peak_memory_mb": w.peak_memory_mb} for name, w in sorted(workers.items())}
    return {"executor": executor, "n_workers": order.n_workers, "n_lost_workers": ledger.n_lost, "workers": cost}
