"""What processes begin with, before anything heavy is imported."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from functools import cache

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # of glibc's malloc.h


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


@cache
def keep_freed_memory() -> bool:
    """Let this process use freed memory again instead of asking the system for new pages at every layer; glibc alone knows how.

    A network's layers take and free the same few sizes over and over, and fresh pages must be zeroed and mapped each time. It holds
    for the rest of the process, which does not shrink any more after its largest recording.

    Returns:
        Whether the C library took the settings.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    # The largest blocks go back all the same: kept, they leave holes, and the peak grows by half.
    settings = ((_M_MMAP_THRESHOLD, 32 * 2**20), (_M_TRIM_THRESHOLD, -1), (_M_TOP_PAD, 64 * 2**20))
    return all(mallopt(name, value) == 1 for name, value in settings)


def dask_setup(worker: object) -> None:
    """Let a worker of dask leave Ctrl-C to its parent; dask calls this where the module is named as a preload."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
