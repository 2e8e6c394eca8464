"""What the Benchmark page shows of auxiliary studies: what do a run's maps alone know?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.charts import Row
from app.widgets import recipe_words

FLOOR_WORDS = {
    "permuted_labels": "shuffled labels",
    "majority": "the majority class",
    "original": "the spectrogram itself",
}


@dataclass(frozen=True)
class Study:
    """One finished study in words and lines: its title, (tone, sentence) pairs, lines of the interval chart, a table of both splits."""

    title: str
    sentences: list[tuple[str, str]]
    lines: list[Row]
    table: list[dict[str, Any]]


def load(run: str) -> list[Study]:
    """Finished auxiliary studies of a run, read from its folder; none where there are none."""
    from speechxai.io.studies import finished_studies

    return [_study(one) for one in finished_studies(Path(run))]


def _study(one: Any) -> Study:
    frame = one.table("table")
    network = frame[(frame["architecture"] != "linear") & (frame["metric"] == "auroc")]
    honest = network[network["split"] == "speaker"].to_dict("records")
    leaky = {r["name"]: r for r in network[network["split"] == "recording"].to_dict("records")}
    order = {"explanation": 0, "floor": 1, "ceiling": 2}
    honest.sort(key=lambda r: (order[r["kind"]], -r["value"] if r["kind"] == "explanation" else 0))
    lines, table = [], []
    for r in honest:
        name = FLOOR_WORDS.get(r["name"]) or recipe_words(r["name"])
        lines.append(Row(name, r["value"], r["low"], r["high"], r["kind"] == "floor"))
        row: dict[str, Any] = {"input": name, "AUROC": _span(r)}
        if leaky:
            row["⚠ leaky folds"] = _span(leaky[r["name"]])
        table.append(row)
    what = {"map": "maps alone", "masked": "maps times spectrogram", "original": "spectrograms"}[one.settings.input]
    return Study(f"{what}, {one.settings.architecture}", [(s.tone, s.text) for s in one.sentences], lines, table)


def _span(row: dict[str, Any]) -> str:
    return f"{row['value']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
