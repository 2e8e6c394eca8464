"""What commands share: their flags, plain lines, progress for people and for logs, tables that fit the terminal."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand

from speechxai.errors import SpeechXAIError, encodable, named
from speechxai.flags import FLAGS

if TYPE_CHECKING:
    from pathlib import Path

    from speechxai.evaluation.values import Progress


def flag(key: str, *names: str, also: str = "", left_open: bool = False, **changes: Any) -> Any:
    """Declare a flag of FLAGS, for `Annotated`.

    Args:
        key: of FLAGS, which is the parameter's name.
        names: other names than those of FLAGS.
        also: what is special to the command, after the text that all share.
        left_open: the command leaves it to a file where it is not given, so that its help must name the default.
        changes: other settings of `typer.Option`.
    """
    setting = FLAGS[key]
    help = setting.help
    if left_open and setting.default is not None:
        help = f"{help[:-1]} (default: {shown(setting.default)})."
    if key == "imports":
        changes["callback"] = _import
    limits = {"min": setting.min, "max": setting.max} | changes
    return typer.Option(*(names or setting.names), help=f"{help} {also}".rstrip(), **limits)


def shown(value: Any) -> str:
    """Write a default as people say it.

    >>> shown(True), shown(600.0), shown(("methods",))
    ('yes', '600', 'methods')
    """
    if isinstance(value, tuple):
        return ", ".join(map(shown, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def argument(key: str, also: str = "", **changes: Any) -> Any:
    """Declare a word without dashes that is a setting of FLAGS, for `Annotated`."""
    return typer.Argument(help=f"{FLAGS[key].help} {also}".rstrip(), **changes)


def _import(modules: list[str] | None) -> list[str] | None:
    """Register what installed packages and the modules that are named bring, before a command looks anything up."""
    from speechxai.registry import load_plugins

    load_plugins(modules or ())
    return modules


PLACES = ("data", "model", "source", "card", "config", "pretrained")
"""Texts that may be the path of a file, whose name may be of any bytes."""


class Command(TyperCommand):
    """A command that refuses what would be misread in silence: a flag of one value given twice, of which the first
    would be dropped, an empty word, which as a path means the current folder, and a text that no file can keep."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Look at the words before they become values, then parse."""
        values, _, order = self.make_parser(ctx).parse_args(list(args))
        for parameter in order:
            value = values.get(parameter.name)
            if value == "" or (isinstance(value, list | tuple) and "" in value):
                ctx.fail(f"{parameter.opts[0]} is empty.")
            texts = value if isinstance(value, list | tuple) else [value]
            stated = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
            if stated in (str, list[str]) and parameter.name not in PLACES:
                for text in texts:
                    if isinstance(text, str) and encodable(text) != text:
                        ctx.fail(f"{parameter.opts[0]} {encodable(text)}: this is not UTF-8.")
            if order.count(parameter) > 1 and parameter.nargs == 1 and not getattr(parameter, "multiple", False):
                ctx.fail(f"{parameter.opts[0]} is given {order.count(parameter)} times, and takes one value.")
        return super().parse_args(ctx, args)


def say(text: str = "") -> None:
    """Write a line to standard output."""
    typer.echo(encodable(text))


quiet = False
"""Whether `--quiet` was given: results and errors alone."""


def remark(text: str = "") -> None:
    """Write a line about the work, to standard output, unless nobody wants any."""
    if not quiet:
        say(text)


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
    if quiet:
        yield lambda step: None
        return
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

            n_worked = 0

            def draw(step: Progress) -> None:
                nonlocal n_worked
                n_worked += step.state != "skipped"
                if n_worked == 1:  # what was loaded and skipped before says nothing of the time left
                    bar.reset(task, completed=step.n_done)
                bar.update(task, completed=step.n_done)
                if step.state == "failed":
                    bar.console.print(f"failed: {step.recording}: {step.message}", markup=False, highlight=False)

            yield draw
        return
    started = last = time.monotonic()
    first, n_worked = 0.0, 0

    def line(step: Progress) -> None:
        nonlocal last, first, n_worked
        now = time.monotonic()
        n_worked += step.state != "skipped"
        if n_worked == 1 and step.state != "skipped":
            first = now  # what was loaded and skipped before says nothing of the time left
        if step.state == "failed":
            warn(f"failed: {step.recording}: {step.message}")
        if step.n_done == step.n_total or now - last >= 10:
            last = now
            each = (now - first) / (n_worked - 1) if n_worked > 1 else now - started
            left = duration(each * (step.n_total - step.n_done))
            warn(f"{title}: {step.n_done} of {step.n_total} recordings, {duration(now - started)}, {left} left")

    yield line


@contextmanager
def progress_bars(part: Callable[[int, str], object]) -> Iterator[Callable[[int, int, str], None]]:
    """Show how far work of several parts is: bars with the time left in a terminal, a line now and then in a log.

    Args:
        part: tells, from how many there are and what was done, which part of the work it is.
    """
    if quiet:
        yield lambda done, total, what: None
        return
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Bars(*columns, console=Console(stderr=True)) as bars:
            tasks: dict[object, Any] = {}

            def draw(done: int, total: int, what: str) -> None:
                key = part(total, what)
                if key not in tasks:
                    tasks[key] = bars.add_task(what, total=total)
                bars.update(tasks[key], completed=done, description=f"{what:<48}")

            yield draw
        return
    began: dict[object, tuple[float, int]] = {}
    last = 0.0

    def line(done: int, total: int, what: str) -> None:
        nonlocal last
        now = time.monotonic()
        since, first = began.setdefault(part(total, what), (now, done))
        if done > first and (now - last >= 10 or done == total):
            last = now
            left = (now - since) / (done - first) * (total - done)
            warn(f"{done} of {total}, {what}: {duration(now - since)}, {duration(left)} left")

    yield line


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Lay out a table in plain text; columns in `right` are aligned at their right edge.

    In a terminal that is narrower (80 columns where its width is not known, or what COLUMNS says), the last column is
    broken into lines.

    >>> print(table(("metric", "mean"), [("faithfulness", "0.1")], right=(1,)))
    metric        mean
    ------------  ----
    faithfulness   0.1
    """
    return _laid_out(header, rows, right, screen_width())


def _laid_out(
    header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = (), most: int | None = None
) -> str:
    """`table`, at most so many columns wide; None does not look."""
    widths = [max(len(str(row[i])) for row in (header, *rows)) for i in range(len(header))]
    last = len(header) - 1
    room = 0 if most is None else most - sum(widths[:last]) - 2 * last
    if most is not None and widths[last] > room and last not in right:
        if room < NARROW:  # what it says stands below, as wide as the screen
            below = [tuple(row[:-1]) for row in rows]
            short = _laid_out(header[:-1], below, right).splitlines()
            told = [textwrap.wrap(str(row[-1]), most - 4) for row in rows]
            pairs = zip(short[2:], told, strict=True)
            return "\n".join([*short[:2], *(part for a, lines in pairs for part in (a, *(f"    {b}" for b in lines)))])
        rows, widths[last] = _broken(rows, room)
        widths[last] = max(widths[last], len(header[last]))

    def line(cells: Sequence[str]) -> str:
        parts = [c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
        return "  ".join(parts).rstrip()

    return "\n".join([line(header), "  ".join("-" * w for w in widths), *(line([str(c) for c in row]) for row in rows)])


NARROW = 24
"""Columns of a screen in which a sentence cannot be read."""


def screen_width() -> int | None:
    """Columns that a table may take: of the terminal, or of COLUMNS; None where the text goes into a file or a pipe."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdecimal():
        return max(40, shutil.get_terminal_size((80, 24)).columns)
    return None


def _broken(rows: Sequence[Sequence[str]], width: int) -> tuple[list[list[str]], int]:
    """Break the last column of a table; returns the rows and how wide it is then."""
    found = []
    for row in rows:
        lines = textwrap.wrap(str(row[-1]), width) or [""]
        found += [[*map(str, row[:-1]), lines[0]], *([*[""] * (len(row) - 1), line] for line in lines[1:])]
    return found, max((len(row[-1]) for row in found), default=0)
