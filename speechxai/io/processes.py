"""What every worker process begins with, before anything heavy is imported."""

from __future__ import annotations

import os
import signal
import threading
import time


def thread_environment(n_threads: int | None) -> dict[str, str]:
    """Environment that holds numerical libraries to so many threads; to be set before a process begins."""
    if n_threads is None:
        return {}
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    return dict.fromkeys(names, str(n_threads))


def begin_process(parent: int) -> None:
    """Make this process a good worker: it leaves Ctrl-C to its parent, ends when the parent does, and keeps its models."""
    from joblib.externals.loky import process_executor

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # loky replaces a worker that has grown by 300 MB since its first task: here that is the next fold's network.
    process_executor._USE_PSUTIL = False
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def dask_setup(worker: object) -> None:
    """Let a worker of dask leave Ctrl-C to its parent; dask calls this where the module is named as a preload."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
