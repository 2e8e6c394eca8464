"""A reader that raises whatever the name of a file asks for, in this process or in a worker."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from speechxai.evaluation.executors import Order, Task, UnitRecord

UNDECODABLE = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")


class Speechless(Exception):
    """An error that cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


ERRORS: dict[str, Exception] = {
    type(error).__name__: error
    for error in (
        ValueError("frames must be specified for non-seekable files"),
        TypeError("a list has no waveform"),
        KeyError("fmt "),
        IndexError("list index out of range"),
        AssertionError(),
        ZeroDivisionError("division by zero"),
        struct.error("unpack requires a buffer of 4 bytes"),
        RecursionError("maximum recursion depth exceeded"),
        AttributeError("no such thing"),
        UNDECODABLE,
        EOFError("the end"),
        StopIteration(3),
        OSError(5, "Input/output error"),
        RuntimeError("two\nlines"),
        NotImplementedError("not yet"),
        Speechless(),
    )
}
"""One error of every kind that readers, networks, methods and metrics are known to raise, by name; struct.error is
"error"."""


@contextmanager
def raising_reader() -> Iterator[None]:
    """While it lasts, a file named after an error raises it when it is read; all others are read."""
    from speechxai.classifiers import training
    from speechxai.data import corpus
    from speechxai.inspection import inspect
    from speechxai.signal import audio

    read = audio.read_audio

    def reader(path: str | Path, **options: Any) -> Any:
        if Path(path).stem in ERRORS:
            raise ERRORS[Path(path).stem]
        return read(path, **options)

    with ExitStack() as patches:
        # Wherever the reader is known by its name; most modules call it by that of its module.
        for module in (audio, corpus, inspect, training):
            if getattr(module, "read_audio", None) is read:
                patches.enter_context(mock.patch.object(module, "read_audio", reader))
        yield


def compute_with_raising_reader(order: Order, task: Task) -> UnitRecord:
    """The work of a worker whose reader raises."""
    from speechxai.evaluation.executors import compute_unit

    with raising_reader():
        return compute_unit(order, task)
