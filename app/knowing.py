"""What the Benchmark page shows of auxiliary studies: what do a run's maps alone know?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.charts import Row
from speechxai.inspection.words import recipe_words

if TYPE_CHECKING:
    import pandas as pd

    from speechxai.auxiliary.folder import StudyFolder

NAMES = {
    "permuted_labels": "shuffled labels",
    "majority": "the larger class",
    "original": "the spectrogram itself",
    "random_map": "random map",
    "energy_map": "energy map",
}
KINDS = {"explanation": "explanation", "floor": "floor", "ceiling": "ceiling"}
INPUTS = {"map": "Maps alone", "masked": "Maps times spectrogram", "original": "Spectrograms"}
NOTHING = "–"


@dataclass(frozen=True)
class Study:
    """One finished study as the page shows it.

    Args:
        title: what the network was given, and which network.
        facts: one line about recordings, speakers, folds and seeds.
        sentences: (tone, text) of what the numbers support.
        lines: of the interval chart: AUROC, explanations first, then floors, then the ceiling.
        scores: one row an input: AUROC, accuracy, macro F1 by speaker, and what leaky folds would have said.
        differences: AUROC of every explanation minus that of every floor and of the ceiling.
        twin: the same of the readable model.
        coefficients: band by segment of the readable model, by input.
    """

    title: str
    facts: str
    sentences: list[tuple[str, str]]
    lines: list[Row]
    scores: list[dict[str, Any]]
    differences: list[dict[str, Any]]
    twin: list[dict[str, Any]]
    coefficients: dict[str, list[dict[str, Any]]]


def load(run: str) -> list[Study]:
    """Finished auxiliary studies of a run, read from its folder; none where there are none."""
    from speechxai.auxiliary.folder import finished_studies

    return [study(one) for one in finished_studies(Path(run))]


def study(one: StudyFolder) -> Study:
    """Read one finished study. Raises SpeechXAIError where a file of it is missing."""
    table, leak, coefficients = one.table("table"), one.table("leak"), one.table("coefficients")
    network, linear = table[table["architecture"] != "linear"], table[table["architecture"] == "linear"]
    ours = leak[leak["architecture"] != "linear"]
    added = {str(r["name"]): r for r in ours[ours["metric"] == "auroc"].to_dict("records")}
    found, settings = one.facts, one.settings
    facts = (
        f"{found['n_recordings']} recordings of {found['n_speakers']} speakers ({found['n_pd']} PD, {found['n_hc']}"
        f" HC); {settings.n_folds} folds by speaker x {settings.n_seeds} seeds, {settings.n_mels} mel bands."
    )
    return Study(
        title=f"{INPUTS[settings.input]}, {settings.architecture} network",
        facts=facts,
        sentences=[(s.tone, s.text) for s in one.sentences],
        lines=lines(network),
        scores=scores(network, added),
        differences=differences(network),
        twin=scores(linear, {}),
        coefficients={input_words(n): cells(coefficients, n) for n in dict.fromkeys(coefficients["name"].astype(str))},
    )


def input_words(name: str) -> str:
    """An explanation, floor or ceiling as people read it."""
    return NAMES.get(name) or recipe_words(name)


def span(row: Mapping[Any, Any] | None, signed: bool = False) -> str:
    """A value with its 95 % interval as text."""
    if row is None or row["value"] != row["value"]:
        return NOTHING
    form = "+.2f" if signed else ".2f"
    if row["low"] != row["low"]:
        return f"{row['value']:{form}}"
    return f"{row['value']:{form}} ({row['low']:{form}} to {row['high']:{form}})"


def _by_name(frame: pd.DataFrame, metric: str, split: str = "speaker") -> dict[str, dict[Any, Any]]:
    """Rows of one metric and split by name: explanations from the best, then floors, then the ceiling."""
    order = {kind: i for i, kind in enumerate(KINDS)}
    rows = frame[(frame["metric"] == metric) & (frame["split"] == split)].to_dict("records")
    rows.sort(key=lambda r: (order[r["kind"]], -r["value"] if r["kind"] == "explanation" else 0))
    return {str(r["name"]): r for r in rows}


def lines(network: pd.DataFrame) -> list[Row]:
    """Lines of the interval chart of AUROC by speaker; floors are muted."""
    return [
        Row(
            f"{input_words(name)} ({KINDS[r['kind']]})" if r["kind"] != "explanation" else input_words(name),
            float(r["value"]),
            float(r["low"]),
            float(r["high"]),
            r["kind"] == "floor",
        )
        for name, r in _by_name(network, "auroc").items()
    ]


def scores(frame: pd.DataFrame, added: Mapping[str, Mapping[Any, Any]]) -> list[dict[str, Any]]:
    """One row an input: scores by speaker, and, marked, AUROC of folds that let the network hear the tested
    speakers."""
    found = {metric: _by_name(frame, metric) for metric in ("auroc", "accuracy", "macro_f1")}
    leaky = _by_name(frame, "auroc", "recording")
    rows = []
    for name, row in found["auroc"].items():
        line: dict[str, Any] = {
            "input": input_words(name),
            "kind": KINDS[row["kind"]],
            "AUROC": span(row),
            "accuracy": span(found["accuracy"].get(name)),
            "macro F1": span(found["macro_f1"].get(name)),
        }
        if added:
            change = added.get(name)
            line["⚠ leaky folds: AUROC"] = span(leaky.get(name))
            line["the leak adds"] = span({**change, "value": change["added"]}, signed=True) if change else NOTHING
        rows.append(line)
    return rows


def differences(network: pd.DataFrame) -> list[dict[str, Any]]:
    """AUROC of every explanation minus that of every floor and of the ceiling, with corrected p where there is one."""
    others = [n for n in NAMES if f"vs_{n}" in network.columns]
    rows = []
    for name, row in _by_name(network, "auroc").items():
        if row["kind"] != "explanation":
            continue
        line: dict[str, Any] = {"input": input_words(name)}
        for other in ("random_map", "energy_map", "permuted_labels", "majority", "original"):
            if other not in others:
                continue
            said = span(
                {"value": row[f"vs_{other}"], "low": row[f"vs_{other}_low"], "high": row[f"vs_{other}_high"]}, True
            )
            p = row.get(f"vs_{other}_p", float("nan"))
            line[f"minus {NAMES[other]}"] = said + (f", p {'< 0.001' if p < 0.001 else f'{p:.3f}'}" if p == p else "")
        rows.append(line)
    return rows


def cells(coefficients: pd.DataFrame, name: str) -> list[dict[str, Any]]:
    """What the readable model takes for PD: log odds a standard deviation of evidence, rows are bands, columns
    segments.

    A cell that is the same in all recordings, as above a telephone's band, says nothing.
    """
    part = coefficients[(coefficients["name"] == name) & (coefficients["split"] == "speaker")]
    rows: dict[str, dict[str, Any]] = {}
    for r in part.to_dict("records"):
        line = rows.setdefault(str(r["band"]), {"band": str(r["band"])})
        line[f"in {r['segment']}"] = f"{r['log_odds']:+.2f}" if r["std"] > 0 else NOTHING
    return list(rows.values())
