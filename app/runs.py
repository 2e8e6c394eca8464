"""Run folders for the Benchmark page: evaluations of real recordings, and benchmarks with a known truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from speechxai import RunFolder, SpeechXAIError
from speechxai.metrics import PUBLISHED_METRICS

Make = Callable[[], bytes]


@dataclass(frozen=True, eq=False)
class Run:
    """What the page shows of a run.

    Args:
        summary: means with intervals and differences to controls by model or cue, recipe and metric.
        facts: a line of facts.
        files: for the reader's disk: label, name, type, and what makes the content.
        tables: of a benchmark with a known truth: tasks, chance, believable, sanity; empty for other runs.
    """

    summary: pd.DataFrame
    facts: str
    files: tuple[tuple[str, str, str, Make], ...]
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)

    @property
    def has_truth(self) -> bool:
        """Whether the run is a benchmark with a known truth."""
        return bool(self.tables)


def find(given: tuple[str, ...]) -> dict[str, str]:
    """Run folders by path, with their names: those given, those inside the given ones, and `runs/` where the app was started."""
    places = [Path(p) for p in given] or [Path("runs")]
    found: dict[str, str] = {}
    for place in places:
        for path in [place, *sorted(place.glob("*"))]:
            if (path / "config.toml").is_file() and (path / "units").is_dir():
                found[str(path)] = path.name
    return found


def load(path: str) -> Run:
    """Read a run. Raises SpeechXAIError where nothing is scored yet, or a file is missing."""
    folder = RunFolder.open(path)
    return _with_truth(Path(path)) if folder.config.get("protocol") == "benchmark" else _evaluation(folder)


def _evaluation(folder: RunFolder) -> Run:
    summary = folder.table("summary")
    if summary.empty:
        raise SpeechXAIError(
            f"{folder.path}: no recording is scored yet. Continue with 'speechxai evaluate --resume {folder.path}'."
        )
    status, config = folder.status(), folder.config
    done = f"{status.n_done} of {status.n_units} recordings" + (
        f", {status.n_failed} failed" if status.n_failed else ""
    )
    facts = f"{done}; data {config.get('data', 'unknown')}, model {Path(str(config.get('model', 'unknown'))).name}, protocol {config.get('protocol', 'standard')}"
    files = _tables_as_files(folder.path)
    if set(summary["metric"]) & set(PUBLISHED_METRICS):
        files += (("Table (LaTeX)", "table.tex", "text/plain", lambda: _paper_table(folder)),)
    return Run(summary, facts, files)


def _paper_table(folder: RunFolder) -> bytes:
    from speechxai.report_tables import tables

    return tables(folder, "latex").encode()


def _with_truth(path: Path) -> Run:
    from speechxai.io.benchmark_runs import BenchmarkFolder
    from speechxai.report_benchmark import leaderboard

    folder = BenchmarkFolder(path)
    status = folder.status()
    if not (path / "tasks.csv").is_file():
        raise SpeechXAIError(
            f"{path}: {status.n_done} of {status.n_units} tests are done. Continue with 'speechxai benchmark --resume {path}'."
        )
    tables = {name: folder.table(name) for name in ("tasks", "chance", "believable", "sanity")}
    facts = (
        f"Benchmark {folder.config.get('specification', '')}: cues of known place planted into {folder.config.get('data', '')} voices; "
        f"{status.n_done} of {status.n_units} tests done" + (f", {status.n_failed} failed" if status.n_failed else "")
    )
    files = (
        *_tables_as_files(path),
        ("Leaderboard (Markdown)", "leaderboard.md", "text/markdown", lambda: leaderboard(folder, "markdown").encode()),
        ("Leaderboard (LaTeX)", "leaderboard.tex", "text/plain", lambda: leaderboard(folder, "latex").encode()),
    )
    return Run(folder.table("summary"), facts, files, tables)


def _tables_as_files(path: Path) -> tuple[tuple[str, str, str, Make], ...]:
    """The scores and the summary as they stand in the folder, read when asked for."""
    return tuple(
        (label, f"{name}.csv", "text/csv", (path / f"{name}.csv").read_bytes)
        for label, name in (("Scores (CSV)", "scores"), ("Summary (CSV)", "summary"))
        if (path / f"{name}.csv").is_file()
    )
