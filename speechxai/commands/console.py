"""What commands share: plain lines, progress for people and for logs, tables that fit the terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from speechxai.errors import SpeechXAIError, encodable, named

if TYPE_CHECKING:
    from pathlib import Path

    from speechxai.evaluation.values import Progress


def say(text: str = "") -> None:
    """Write a line to standard output."""
    typer.echo(encodable(text))


def warn(text: str) -> None:
    """Write a line to standard error, where it does not disturb a table that is piped on."""
    typer.echo(encodable(text), err=True)


def duration(seconds: float) -> str:
    """Write a time as people say it.

    >>> duration(0.234), duration(75), duration(7322)
    ('0.23 s', '1 min 15 s', '2 h 2 min')
    """
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def work_on(file: Path) -> Iterator[None]:
    """Turn any error of the work on one file into one that names the file.

    Raises:
        SpeechXAIError: whatever went wrong.
    """
    try:
        yield
    except SpeechXAIError:
        raise
    except Exception as error:
        raise named(error, file) from error


@contextmanager
def progress_bar(title: str, total: int) -> Iterator[Callable[[Progress], None]]:
    """Show how far a run is: a bar with the time left in a terminal, a line now and then in a log."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import (
            Progress as Bar,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Bar(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(title, total=total)

            def draw(step: Progress) -> None:
                bar.update(task, completed=step.n_done)
                if step.state == "failed":
                    bar.console.print(f"failed: {step.recording}: {step.message}", markup=False, highlight=False)

            yield draw
        return
    started = last = time.monotonic()
    n_worked = 0

    def line(step: Progress) -> None:
        nonlocal last, n_worked
        now = time.monotonic()
        n_worked += step.state != "skipped"
        if step.state == "failed":
            warn(f"failed: {step.recording}: {step.message}")
        if step.n_done == step.n_total or now - last >= 10:
            last = now
            left = (now - started) / max(1, n_worked) * (step.n_total - step.n_done)
            warn(
                f"{title}: {step.n_done} of {step.n_total} recordings, {duration(now - started)}, {duration(left)} left"
            )

    yield line


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Lay out a table in plain text; columns in `right` are aligned at their right edge.

    >>> print(table(("metric", "mean"), [("faithfulness", "0.1")], right=(1,)))
    metric        mean
    ------------  ----
    faithfulness   0.1
    """
    widths = [max(len(str(row[i])) for row in (header, *rows)) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        parts = [c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
        return "  ".join(parts).rstrip()

    return "\n".join([line(header), "  ".join("-" * w for w in widths), *(line([str(c) for c in row]) for row in rows)])
