"""Where the recordings of a run are computed: in this process, in several of this machine, or on a cluster.

A work unit is a recording with all its recipes. Whoever computes one claims it in the run folder, writes its result
there and gives back a small record: ids and numbers travel between processes, voices and maps do not.

In order: what is said to workers (`Order`, `Task`, `UnitRecord`, `Ledger`), what a worker does (`compute_unit`), who
the workers are (EXECUTORS), and the doors: `execute` computes what a run has not yet, `evaluate` does all of it.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import socket
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from speechxai import __version__
from speechxai.errors import FirstFailures, SpeechXAIError
from speechxai.evaluation.config import EvaluateConfig, from_dict
from speechxai.evaluation.machine import begin_process, peak_memory_mb, thread_environment
from speechxai.evaluation.runs import RunFolder, finish
from speechxai.evaluation.session import Session, check_basis, check_run, create_run, prepare, resume
from speechxai.evaluation.values import PROTOCOLS, Failure, Progress, evaluate_recordings
from speechxai.files import hold, is_held
from speechxai.registry import Registry, load_plugins, look_in

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
        folders: where modules of the user's own (`imports`, a network) are looked for, beside where Python looks.
        version: of this library.
    """

    run: str
    config: Mapping[str, Any]
    n_workers: int = 1
    n_threads: int | None = None
    scheduler: str = "local"
    cluster: Mapping[str, Any] = field(default_factory=dict)
    folders: tuple[str, ...] = ()
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
                f"{self._lost_in_a_row} workers ended one after the other and no recording was finished: is the memory"
                " enough for so many? Try fewer with --workers, or --executor serial to see the error. The run"
                " continues with --resume."
            )
        if task.attempt < MAX_ATTEMPTS:
            self._waiting.appendleft(Task(task.recording, task.attempt + 1))
            return
        yield UnitRecord(
            task.recording,
            "lost",
            message=(
                f"{task.recording}: the worker process ended {task.attempt} times while it computed this recording"
                " (killed by the system for its memory, or a crash in a library). Shorten it, or lower 'memory_mb' or"
                " 'workers'."
            ),
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
    content = {**config.portable(), "executor": "serial", "scheduler": "local", "out": str(run.resolve())}
    content.pop("workers", None)
    workers, threads = config.workers or 1, config.threads
    if config.executor != "serial" and config.scheduler == "local":
        workers = config.workers or default_workers(config.device)
        threads = threads or max(1, n_cores() // workers)
    elif config.scheduler == "slurm":
        threads = threads or config.cluster.cores
    folders = (str(Path.cwd()),) if config.imports or config.allow_code else ()
    return Order(
        str(run.resolve()), content, workers, threads, config.scheduler, config.cluster.model_dump(mode="json"), folders
    )


LOCK_WAIT_S = 10.0
"""How long a recording in other hands is waited for when it is asked for again, s."""

# Of a worker process: the run that it has open with its models, whose turn it is, and the GPU that it took.
_opened: dict[str, tuple[Session, RunFolder]] = {}
_one_at_a_time = threading.RLock()
_for_life = ExitStack()
_own: list[str] = []


def compute_unit(order: Order, task: Task) -> UnitRecord:
    """Compute one recording of the run that an order names, in a worker process.

    Where several threads of a process ask at once they take turns: a network is explained by one at a time.

    Raises:
        SpeechXAIError: the run folder is not there or cannot be written, or the model is another one than the run's.
    """
    with _one_at_a_time:
        return compute_in(*open_run(order), order, task)


def compute_in(session: Session, folder: RunFolder, order: Order, task: Task) -> UnitRecord:
    """Claim one recording of an open run, compute it and write its result into the run folder.

    Raises:
        SpeechXAIError: the folder cannot be written.
    """
    started = time.perf_counter()
    steps: list[Progress] = []
    deadline = time.monotonic() + (LOCK_WAIT_S if task.attempt > 1 else 0)
    while True:
        evaluate_recordings([task.recording], session.load, session.settings, folder, steps.append)
        busy = steps[-1].state == "skipped" and not folder.is_done(task.recording)
        if not busy or time.monotonic() >= deadline:
            break
        time.sleep(0.1)
    return UnitRecord(
        task.recording,
        "busy" if busy else steps[-1].state,
        time.perf_counter() - started,
        steps[-1].message,
        f"{socket.gethostname()}:{os.getpid()}",
        time.process_time(),
        peak_memory_mb(),
    )


def open_run(order: Order) -> tuple[Session, RunFolder]:
    """Open the run of an order; its models stay in memory until another run is asked for.

    Raises:
        SpeechXAIError: no run folder at this path on this machine, a plugin that is not there, or a model that is not
            the run's.
    """
    if order.run not in _opened:
        if order.version != __version__:
            raise SpeechXAIError(
                f"The worker on {socket.gethostname()} has speechxai {__version__}, the run is made by {order.version}:"
                " install the same."
            )
        if not Path(order.run, "config.toml").is_file():
            raise SpeechXAIError(
                f"{order.run}: the worker on {socket.gethostname()} does not see the run folder. All workers need the"
                " same files under the same paths: choose a shared folder with --out."
            )
        folder = RunFolder.open(order.run)
        content = {
            **order.config,
            "device": own_device(str(order.config.get("device", "auto"))),
            "threads": order.n_threads,
        }
        look_in(order.folders)
        load_plugins(order.config.get("imports", ()))
        session = prepare(from_dict(content, order.run), folder.manifest)
        check_basis(session, folder)
        _opened.clear()
        _opened[order.run] = session, folder
    return _opened[order.run]


def own_device(device: str, n_gpus: int | None = None, folder: Path | None = None) -> str:
    """Take a GPU for this process alone where the machine has several, for as long as the process lives.

    A lock file for each GPU says which are taken, so the worker that replaces a lost one takes the lost one's GPU,
    however the workers were started. Where there are more workers than GPUs they share.

    Args:
        device: "auto" and "cuda" leave the choice; anything else stays.
        n_gpus: GPUs that this process may use; asked of CUDA by default.
        folder: of the lock files; by default one of this user's in the folder for temporary files.
    """
    if device not in ("auto", "cuda"):
        return device
    if n_gpus is None:
        import torch

        n_gpus = torch.cuda.device_count()
    if n_gpus < 2:
        return device
    if not _own:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        for index in range(n_gpus):
            name = visible[index] if len(visible) == n_gpus else str(index)
            lock = _private(folder) / f"gpu-{name.replace('/', '_')}.lock"
            if _for_life.enter_context(hold(lock)):
                _own.append(f"cuda:{index}")
                break
        else:
            _own.append(f"cuda:{os.getpid() % n_gpus}")
    return _own[0]


def _private(folder: Path | None) -> Path:
    """Make a folder that belongs to this user alone."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    path = folder or Path(tempfile.gettempdir()) / f"speechxai-{user}"
    path.mkdir(mode=0o700, exist_ok=True)
    if hasattr(os, "getuid") and (path.is_symlink() or path.stat().st_uid != user):
        raise SpeechXAIError(f"{path}: belongs to someone else. Set TMPDIR to a folder of your own.")
    return path


Work = Callable[[Order, Task], UnitRecord]
Executor = Callable[[Order, Ledger, Work], Iterator[UnitRecord]]

EXECUTORS: Registry[Executor] = Registry("executor", required=("needs", "extra"))
"""Functions (order, ledger, work) -> records as they come. `needs`: modules that must be installed, by the extra
`extra`."""


def check_executor(config: EvaluateConfig) -> None:
    """Check that an executor can be used. Raises SpeechXAIError naming the missing extra or the setting that does not
    fit."""
    facts = EXECUTORS.facts(config.executor)
    if any(importlib.util.find_spec(module) is None for module in facts["needs"]):
        raise SpeechXAIError(
            f"The executor '{config.executor}' needs the extra '{facts['extra']}': pip install"
            f" 'speechxai[{facts['extra']}]'."
        )
    if config.scheduler != "local" and config.executor != "dask":
        raise SpeechXAIError(f"The scheduler '{config.scheduler}' needs --executor dask.")
    if config.workers not in (None, 1) and config.executor == "serial":
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
        clear_up()


def clear_up(folder: Path = Path("/dev/shm"), older_than_s: float = 3600.0) -> None:  # noqa: S108
    """Remove what killed processes left behind: semaphores of workers whose parent is gone, locks of GPUs."""
    for path in folder.glob("sem.loky-*"):
        with suppress(OSError, ValueError, IndexError):
            parent = int(path.name.split("-")[1])
            if path.stat().st_mtime < time.time() - older_than_s and not is_running(parent):
                path.unlink()
    for path in _private(None).glob("gpu-*.lock"):
        is_held(path)


def is_running(process: int) -> bool:
    """Whether there is a process of this number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


CONNECT_S = 30
"""How long a scheduler and its first worker are waited for, s; jobs of Slurm may wait in their queue for as long as
they like."""


@EXECUTORS.register(needs=("dask", "distributed", "dask_jobqueue", "cryptography"), extra="cluster")
def dask(order: Order, ledger: Ledger, work: Work) -> Iterator[UnitRecord]:
    """Workers of dask.distributed: on this machine, of a running scheduler, or in jobs of Slurm.

    Each thread of a worker has one task at a time: a million tasks are never in the scheduler's memory at once, and
    when a worker is lost it is known which task it had.

    Raises:
        SpeechXAIError: no scheduler or workers, or the scheduler has gone.
    """
    from distributed import CancelledError, KilledWorker, wait

    running: dict[Any, Task] = {}
    waiting: set[str] = set()
    with connect(order) as client:
        try:
            while True:
                n_slots = order.n_workers
                if "://" in order.scheduler:
                    n_slots = max(1, sum(client.nthreads().values()))
                while len(running) < n_slots and (task := ledger.take()) is not None:
                    name = f"speechxai-{uuid4().hex}"
                    running[client.submit(work, order, task, key=name, pure=False)] = task
                if not running:
                    return
                try:
                    with client.as_current():
                        ended = wait(list(running), timeout=LOOK_S, return_when="FIRST_COMPLETED").done
                except TimeoutError:
                    forgotten, waiting = waiting, _not_begun(client, running, order.scheduler == "local")
                    for future in [each for each in running if each.key in forgotten & waiting]:
                        task = running.pop(future)
                        client.cancel([future])
                        yield from ledger.lose(task)
                    continue
                except CancelledError:
                    ended = [future for future in running if future.cancelled()]
                for future in ended:
                    task = running.pop(future)
                    if future.cancelled():
                        raise SpeechXAIError(
                            "The dask scheduler has gone or cancelled its tasks. Continue with 'speechxai evaluate"
                            f" --resume {order.run}'."
                        )
                    try:
                        record = future.result()
                    except KilledWorker:
                        yield from ledger.lose(task)
                    else:
                        yield from ledger.settle(task, record)
        finally:
            client.cancel(list(running))


LOOK_S = 60.0
"""How long nothing may end before the scheduler is asked what it does, s. A task that waits beside an idle worker at
two such looks is one that the scheduler has forgotten, and is given out again: a run never hangs."""


def _not_begun(client: Any, running: Iterable[Any], ours: bool) -> set[str]:
    """Keys of tasks that no worker computes although one has nothing to do, or (of workers that are ours) none is left.

    Elsewhere there may be none: a job of Slurm waits as long as it likes.
    """
    computing = client.processing()
    if all(computing.values()) and (computing or not ours):
        return set()
    begun = {str(key) for keys in computing.values() for key in keys}
    return {future.key for future in running if not future.done()} - begun


@contextmanager
def connect(order: Order) -> Iterator[Any]:
    """Start or find workers, and give the client that speaks with them; what was started ends with the context.

    Raises:
        SpeechXAIError: a scheduler that does not answer or has no workers, or a batch system that refuses.
    """
    import dask
    from distributed import Client

    quiet = logging.getLogger("distributed")
    level = quiet.level
    with ExitStack() as stack, dask.config.set(_settings(order)):
        quiet.setLevel(logging.CRITICAL)
        stack.callback(quiet.setLevel, level)
        try:
            if order.scheduler == "local":
                scratch = stack.enter_context(tempfile.TemporaryDirectory("-dask", ignore_cleanup_errors=True))
                target: Any = _on_this_machine(order, scratch)
                stack.callback(_close, target)
            elif order.scheduler == "slurm":
                target = stack.enter_context(_in_slurm_jobs(order, stack))
            else:
                target = order.scheduler
            client = Client(target, timeout=CONNECT_S, set_as_default=False, security=_security(order, target))
            stack.enter_context(client)
            if order.scheduler != "slurm":
                client.wait_for_workers(1, timeout=CONNECT_S)
        except (OSError, TimeoutError, RuntimeError, ValueError) as error:
            raise SpeechXAIError(
                f"{_described(order.scheduler)}: {str(error).strip() or type(error).__name__}"
            ) from error
        yield client


def _settings(order: Order) -> dict[str, Any]:
    """Settings of dask while it works for us.

    A lost task comes back to us instead of being tried again by the scheduler, and no worker holds a task that waits:
    so a recording that kills its worker harms no other.
    """
    settings: dict[str, Any] = {
        "distributed.scheduler.allowed-failures": 0,
        "distributed.scheduler.worker-saturation": 1.0,
        "distributed.scheduler.work-stealing": False,
        "distributed.scheduler.dashboard.enabled": False,
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
        "distributed.worker.preload": ["speechxai.evaluation.machine"],
        # A recording may take minutes and holds the interpreter at times: its worker is not lost because it is busy.
        "distributed.scheduler.worker-ttl": "30 minutes",
        "distributed.admin.tick.limit": "1h",
    }
    settings |= {
        f"distributed.nanny.pre-spawn-environ.{name}": value
        for name, value in thread_environment(order.n_threads).items()
    }
    return settings


def _on_this_machine(order: Order, scratch: str) -> Any:
    from distributed import LocalCluster
    from distributed.security import Security

    return LocalCluster(
        n_workers=order.n_workers,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=None,
        scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # a port that answers nothing; not a fixed one
        security=Security.temporary(),
        memory_limit=0,
        local_directory=scratch,
        silence_logs=logging.CRITICAL,
    )


def _close(cluster: Any) -> None:
    """End workers. On a busy machine they take longer than the scheduler waits for them; what they computed is stored,
    and they are ended all the same."""
    with suppress(TimeoutError):
        cluster.close()


def _in_slurm_jobs(order: Order, stack: ExitStack) -> Any:
    from dask_jobqueue import SLURMCluster

    asked: Mapping[str, Any] = order.cluster
    folder = Path(order.run) / "cluster"
    folder.mkdir(mode=0o700, exist_ok=True)
    directives = list(asked.get("directives", ()))
    if asked.get("gpus"):
        directives.append(f"--gres=gpu:{asked['gpus']}")
    cluster = SLURMCluster(
        queue=asked.get("queue"),
        account=asked.get("account"),
        cores=1,  # one recording at a time; the network itself uses the cores of the job
        job_cpu=asked["cores"],
        processes=1,
        memory=asked["memory"],
        walltime=asked["walltime"],
        interface=asked.get("interface"),
        protocol="tls://" if asked["tls"] else "tcp://",
        security=_certificates(folder, stack) if asked["tls"] else None,
        log_directory=str(folder),
        job_name="speechxai",
        job_extra_directives=directives,
        job_script_prologue=[*asked.get("prologue", ()), *_exports(order)],
        worker_extra_args=["--no-dashboard", "--memory-limit", "0"],
        scheduler_options={"dashboard_address": None, "dashboard": False},
        silence_logs=logging.CRITICAL,
    )
    # A job that ends, by its time limit or with its node, is asked for again.
    cluster.adapt(minimum_jobs=order.n_workers, maximum_jobs=order.n_workers)
    return cluster


def _certificates(folder: Path, stack: ExitStack) -> Any:
    """Make certificates for this run alone, in files that only its owner reads and that go when the context ends."""
    from distributed.security import Security

    made, files = Security.temporary(), {}
    for name, content in (("cert", made.tls_client_cert), ("key", made.tls_client_key)):
        path = folder / f".{name}.{uuid4().hex}.pem"
        stack.callback(path.unlink, missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(str(content))
        files[name] = str(path)
    roles = {f"tls_{role}_{name}": path for role in ("client", "scheduler", "worker") for name, path in files.items()}
    return Security(tls_ca_file=files["cert"], require_encryption=True, **roles)


def _exports(order: Order) -> list[str]:
    return [f"export {name}={value}" for name, value in thread_environment(order.n_threads).items()]


def _security(order: Order, target: Any) -> Any:
    """Certificates for a running scheduler with the protocol tls, or those of the cluster that was started here."""
    if not isinstance(target, str):
        return target.security
    if not target.startswith("tls://"):
        return None
    from distributed.security import Security

    files = [order.cluster.get(key) for key in ("tls_ca_file", "tls_cert", "tls_key")]
    if any(file is None for file in files):
        raise SpeechXAIError(
            f"{target}: needs the keys tls_ca_file, tls_cert and tls_key in the table [cluster] of the configuration."
        )
    authority, certificate, key = files
    return Security(tls_ca_file=authority, tls_client_cert=certificate, tls_client_key=key, require_encryption=True)


def _described(scheduler: str) -> str:
    if scheduler == "slurm":
        return "Slurm: no jobs could be started"
    return (
        "No local workers could be started"
        if scheduler == "local"
        else f"{scheduler}: no dask scheduler with workers answers"
    )


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
        work: what a worker does with a task, `compute_unit`.
        progress: called after every recording.

    Returns:
        For the record: executor, n_workers, n_lost_workers, and for each of `workers` its cpu_s and peak_memory_mb.

    Raises:
        SpeechXAIError: the folder cannot be written, workers cannot be had, none of them survives, or the first
            recordings all fail for one reason.
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
    first = FirstFailures()
    for record in EXECUTORS[executor](order, ledger, work) if len(ledger) else ():
        n_done += 1
        if record.state == "lost":
            folder.fail(Failure(record.recording, "worker", record.message))
        elif record.worker:
            workers[record.worker] = record
        state = {"lost": "failed", "busy": "skipped"}.get(record.state, record.state)
        if progress is not None:
            progress(Progress(record.recording, state, n_done, len(recordings), record.message))
        if state == "failed":
            first.bad(record.message)
        elif state == "done":
            first.good()
    cost = {name: {"cpu_s": w.cpu_s, "peak_memory_mb": w.peak_memory_mb} for name, w in sorted(workers.items())}
    return {"executor": executor, "n_workers": order.n_workers, "n_lost_workers": ledger.n_lost, "workers": cost}


def execute(session: Session, folder: RunFolder, progress: Callable[[Progress], None] | None = None) -> None:
    """Compute what the run has not yet, then rebuild its tables.

    Args:
        session: what is computed.
        folder: takes the results; other processes may work on it too.
        progress: called after every recording.
    """
    started, wall, cpu = datetime.now(UTC).isoformat(timespec="milliseconds"), time.perf_counter(), time.process_time()
    check_executor(session.config)
    folder.sweep()
    serial = session.config.executor == "serial"
    work = partial(compute_in, session, folder) if serial else compute_unit
    cost = run_units(folder, order_of(session.config, folder.path), session.config.executor, work, progress)
    folder.sweep()
    others = [] if serial else list(cost["workers"].values())
    record = {
        "started": started,
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu + sum(other["cpu_s"] for other in others),
        "peak_memory_mb": max(peak_memory_mb(), *(other["peak_memory_mb"] for other in others), 0.0),
        "pid": os.getpid(),
        **({"resumed": session.resumed} if session.resumed else {}),
        **cost,
    }
    folder.add_session(record)
    finish(folder)


def evaluate(
    config: EvaluateConfig | RunFolder,
    progress: Callable[[Progress], None] | None = None,
    overwrite: bool = False,
) -> RunFolder:
    """Score explanations of recordings, from a configuration to the tables of a finished run.

    Args:
        config: what is asked for, with `out`; or a run, which is continued by its own settings.
        progress: called after every recording.
        overwrite: whether a run that is in the way is replaced, or what a run has computed in another way (other
            settings, another model or other versions) is computed anew.

    Returns:
        The run; a recording that could not be scored is in its `failures`.

    Raises:
        SpeechXAIError: something named is not there, `out` is missing, holds a run already or cannot be written; or a
            run would be continued in another way than it was begun.
    """
    folder = config if isinstance(config, RunFolder) else None
    if isinstance(config, RunFolder):
        config = from_dict(config.config, str(config.path / "config.toml"))
    check_executor(config)
    if folder is None:
        check_run(config, overwrite)
    session = prepare(config, None if folder is None else folder.manifest)
    if folder is None:
        folder = create_run(session, overwrite)
    else:
        resume(session, folder, overwrite)
    execute(session, folder, progress)
    finish_protocol = PROTOCOLS.facts(session.settings.protocol).get("finish")
    if finish_protocol is not None and folder.done_units():
        finish_protocol(session, folder)
    return folder
