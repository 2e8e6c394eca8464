"""Work that test workers do in place of the real; a module without heavy imports, so that they start in no time."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from speechxai.errors import SpeechXAIError
from speechxai.evaluation.executors import Order, Task, UnitRecord
from speechxai.evaluation.runs import RunFolder


def wait_to_be_killed(order: Order, task: Task) -> UnitRecord:
    """Hold the second recording, and say which process does, until someone ends it; compute all others."""
    from speechxai.evaluation.executors import compute_unit

    note = Path(order.run).parent / "who"
    if "take1" in task.recording and task.attempt == 1:
        with RunFolder.open(order.run).claim(task.recording) as ours:
            assert ours
            note.with_suffix(".tmp").write_text(str(os.getpid()))
            note.with_suffix(".tmp").rename(note)
            time.sleep(60)
    return compute_unit(order, task)


def deadly(order: Order, task: Task) -> UnitRecord:
    """End the process at recording "b/1", every time."""
    if task.recording == "b/1":
        os.kill(os.getpid(), signal.SIGKILL)
    return tame(order, task)


def tame(order: Order, task: Task) -> UnitRecord:
    """Do next to nothing."""
    content = {"recording": task.recording, "facts": {}, "values": {}}
    result: Any = SimpleNamespace(recording=task.recording, maps={}, to_dict=lambda: content)
    RunFolder.open(order.run).write(result)
    return UnitRecord(task.recording, "done", worker=f"test:{os.getpid()}")


def full_disk(order: Order, task: Task) -> UnitRecord:
    raise SpeechXAIError(f"{order.run}: cannot write: No space left on device.")


_hoard: list[Any] = []


def grow(order: Order, task: Task) -> UnitRecord:
    """Take 400 MB and keep them, as a network of another fold does."""
    _hoard.append(b"x" * 400_000_000)
    time.sleep(1.1)
    return UnitRecord(task.recording, "done", worker=str(os.getpid()))


def always_busy(order: Order, task: Task) -> UnitRecord:
    return UnitRecord(task.recording, "busy", seconds=float(task.attempt))


def hold_long(order: Order, task: Task) -> UnitRecord:
    """Hold a recording for a minute, as a slow one would."""
    folder = RunFolder.open(order.run)
    with folder.claim(task.recording):
        (folder.path / f"pid-{os.getpid()}").touch()
        time.sleep(60)
    return UnitRecord(task.recording, "done")
