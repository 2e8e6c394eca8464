"""What a worker process does: it opens a run once, keeps its models, and computes one recording after the other."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from speechxai import __version__
from speechxai.errors import SpeechXAIError
from speechxai.io.locks import hold
from speechxai.io.machine import peak_memory_mb
from speechxai.io.orders import Order, Task, UnitRecord
from speechxai.io.runs import RunFolder
from speechxai.pipeline import Progress, evaluate

if TYPE_CHECKING:
    from speechxai.io.session import Session

LOCK_WAIT_S = 10.0
"""How long a recording in other hands is waited for when it is asked for again, s."""

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
        evaluate([task.recording], session.load, session.settings, folder, steps.append)
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
        SpeechXAIError: no run folder at this path on this machine, or a model that is not the run's.
    """
    if order.run not in _opened:
        from speechxai.config import from_dict
        from speechxai.io.session import create_run, prepare

        if order.version != __version__:
            raise SpeechXAIError(
                f"The worker on {socket.gethostname()} has speechxai {__version__}, the run is made by {order.version}: install the same."
            )
        if not Path(order.run, "config.toml").is_file():
            raise SpeechXAIError(
                f"{order.run}: the worker on {socket.gethostname()} does not see the run folder. All workers need the same files "
                "under the same paths: choose a shared folder with --out."
            )
        folder = RunFolder.open(order.run)
        content = {
            **order.config,
            "device": own_device(str(order.config.get("device", "auto"))),
            "threads": order.n_threads,
        }
        session = prepare(from_dict(content, order.run), folder.manifest)
        create_run(session, folder)
        _opened.clear()
        _opened[order.run] = session, folder
    return _opened[order.run]


def own_device(device: str, n_gpus: int | None = None, folder: Path | None = None) -> str:
    """Take a GPU for this process alone where the machine has several, for as long as the process lives.

    A lock file for each GPU says which are taken, so the worker that replaces a lost one takes the lost one's GPU, however
    the workers were started. Where there are more workers than GPUs they share.

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
