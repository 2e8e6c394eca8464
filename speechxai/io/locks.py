"""Locks between processes that the operating system lets go of, however their holder ends: none is ever stale."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform != "win32":
    import fcntl


@contextmanager
def hold(path: Path) -> Iterator[bool]:
    """Try to hold the lock file `path` while the context lasts; False when another process or thread holds it."""
    if sys.platform == "win32":  # two processes may do the same work twice, with the same result
        yield True
        return
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The former holder removes the file when it is done: a lock on a removed file holds nothing.
            ours = os.fstat(file.fileno()).st_ino == path.stat().st_ino
        except OSError:
            ours = False
        try:
            yield ours
        finally:
            if ours:
                path.unlink(missing_ok=True)


@contextmanager
def wait_for(path: Path, patience_s: float = 600.0) -> Iterator[None]:
    """Hold the lock file `path` while the context lasts, after whoever holds it now.

    Raises:
        TimeoutError: somebody held it for longer than `patience_s`.
    """
    deadline = time.monotonic() + patience_s
    while True:
        with hold(path) as ours:
            if ours:
                yield
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path}: held by another process for more than {patience_s:g} s")
        time.sleep(0.05)


def is_held(path: Path) -> bool:
    """Whether someone holds the lock file `path` at this moment."""
    if sys.platform == "win32" or not path.exists():
        return False
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return path.exists()
    return False
