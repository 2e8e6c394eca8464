"""Run folders for the Benchmark page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from speechxai import RunFolder, SpeechXAIError


@dataclass(frozen=True, eq=False)
class Run:
    """What the page shows of a run: its summary, its scores for download, the paper's table and a line of facts."""

    summary: pd.DataFrame
    scores_csv: bytes
    latex: str
    facts: str


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
    from speechxai.report_tables import tables

    folder = RunFolder.open(path)
    summary = folder.table("summary")
    if summary.empty:
        raise SpeechXAIError(f"{path}: no recording is scored yet. Continue with 'speechxai evaluate --resume {path}'.")
    try:
        latex = tables(folder, "latex")
    except SpeechXAIError:
        latex = ""  # a run without the paper's metrics
    status, config = folder.status(), folder.config
    scores = folder.path / "scores.csv"
    done = f"{status.n_done} of {status.n_units} recordings" + (
        f", {status.n_failed} failed" if status.n_failed else ""
    )
    facts = f"{done}; data {config.get('data', 'unknown')}, model {Path(str(config.get('model', 'unknown'))).name}, protocol {config.get('protocol', 'standard')}"
    return Run(summary, scores.read_bytes() if scores.is_file() else b"", latex, facts)
