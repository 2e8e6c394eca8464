"""What executors and workers say to each other: orders, tasks, records, and who waits for what. Plain values only."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechxai import __version__
from speechxai.errors import SpeechXAIError

if TYPE_CHECKING:
    from speechxai.config import EvaluateConfig

MAX_ATTEMPTS = 3
"""A recording whose worker is lost so often is listed as failed."""

LOST_IN_A_ROW = 12
"""So many lost workers for each one asked for, and not one recording finished between: the run ends."""


@dataclass(frozen=True)
class Order:
    """What a worker has to know of a run; plain values only.

    Args:
        run: absolute path of the run folder, the same for all workers.
        config: the run's settings as plain values, with absolute paths.
        n_workers: processes that compute at the same time.
        n_threads: threads of each; None leaves them as they are.
        scheduler: "local", "slurm", or the address of a running scheduler.
        cluster: what the batch system is asked for, the keys of `config.ClusterConfig`.
        version: of this library.
    """

    run: str
    config: Mapping[str, Any]
    n_workers: int = 1
    n_threads: int | None = None
    scheduler: str = "local"
    cluster: Mapping[str, Any] = field(default_factory=dict)
    version: str = __version__


@dataclass(frozen=True)
class Task:
    """One recording to compute, for the `attempt`-th time; from the second on, a worker waits for a lock to be free."""

    recording: str
    attempt: int = 1


@dataclass(frozen=True)
class UnitRecord:
    """What a worker says of one recording.

    Args:
        recording: its id.
        state: "done", "failed", "skipped" (done before), "busy" (in the hands of another run) or "lost".
        seconds: wall time.
        message: why it failed.
        worker: host and process that computed it.
        cpu_s: processor time of the worker since it began, s.
        peak_memory_mb: largest memory of the worker so far, MB.
    """

    recording: str
    state: str
    seconds: float = 0.0
    message: str = ""
    worker: str = ""
    cpu_s: float = 0.0
    peak_memory_mb: float = 0.0


class Ledger:
    """Which recordings wait, and what becomes of those whose worker is lost or that another process holds.

    Args:
        recordings: ids, in order.
        n_workers: how many are computed at the same time.
    """

    def __init__(self, recordings: Sequence[str], n_workers: int = 1) -> None:
        self._waiting = deque(Task(recording) for recording in recordings)
        self._lost_in_a_row = 0
        self._patience = LOST_IN_A_ROW * n_workers
        self.n_lost = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self) -> Task | None:
        """Give the next task; None when none waits."""
        return self._waiting.popleft() if self._waiting else None

    def settle(self, task: Task, record: UnitRecord) -> Iterator[UnitRecord]:
        """Take a worker's record. A recording in other hands is asked for once more, when all others are done."""
        self._lost_in_a_row = 0
        if record.state == "busy" and task.attempt < 2:
            self._waiting.append(Task(task.recording, 2))
            return
        yield record

    def lose(self, task: Task) -> Iterator[UnitRecord]:
        """Take note that a worker ended while it computed this task: try again, at most MAX_ATTEMPTS times in all.

        Raises:
            SpeechXAIError: workers end one after the other, and nothing is ever finished.
        """
        self.n_lost += 1
        self._lost_in_a_row += 1
        if self._lost_in_a_row > self._patience:
            raise SpeechXAIError(
                f"{self._lost_in_a_row} workers ended one after the other and no recording was finished: is the memory enough for "
                "so many? Try fewer with --workers, or --executor serial to see the error. The run continues with --resume."
            )
        if task.attempt < MAX_ATTEMPTS:
            self._waiting.appendleft(Task(task.recording, task.attempt + 1))
            return
        yield UnitRecord(
            task.recording,
            "lost",
            message=f"{task.recording}: the worker process ended {task.attempt} times while it computed this recording "
            "(killed by the system for its memory, or a crash in a library). Shorten it, or lower 'memory_mb' or 'workers'.",
        )


def n_cores() -> int:
    """Number of processor cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def default_workers(device: str) -> int:
    """Workers where none are asked for: one for each GPU, otherwise one for each core."""
    import torch

    if device in ("auto", "cuda") and torch.cuda.is_available():
        return torch.cuda.device_count()
    return 1 if device not in ("auto", "cpu") else n_cores()


def order_of(config: EvaluateConfig, run: Path) -> Order:
    """Write down what the workers of a run have to know; cores are shared out among the workers of this machine."""
    content = {**portable(config), "executor": "serial", "scheduler": "local", "out": str(run.resolve())}
    content.pop("workers", None)
    workers, threads = config.workers or 1, config.threads
    if config.executor != "serial" and config.scheduler == "local":
        workers = config.workers or default_workers(config.device)
        threads = threads or max(1, n_cores() // workers)
    elif config.scheduler == "slurm":
        threads = threads or config.cluster.cores
    return Order(
        str(run.resolve()), content, workers, threads, config.scheduler, config.cluster.model_dump(mode="json")
    )


def portable(config: EvaluateConfig) -> dict[str, Any]:
    """Settings as plain values, with absolute paths: a worker may have been started in another folder."""
    content = config.to_dict()
    for key in ("root", "labels", "data", "model"):
        path = content.get(key)
        if path is not None and (key in ("root", "labels") or Path(path).exists()):
            content[key] = str(Path(path).resolve())
    if config.published.splits is not None:
        content["published"] = {**content["published"], "splits": str(config.published.splits.resolve())}
    return content
