"""The auxiliary studies of a run as a section of its report and as a page of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from markupsafe import Markup

from speechxai.auxiliary.folder import StudyFolder, finished_studies, wall_time_s
from speechxai.auxiliary.tables import number, signed
from speechxai.auxiliary.values import CEILING, FLOORS, LINEAR
from speechxai.evaluation.report import Section, data_uri
from speechxai.files import naming_folder, write_atomically
from speechxai.report import plots, render
from speechxai.report.render import NONE, Cell, Row, Table, difference_cell, page, plain_table, span
from speechxai.stats import ALPHA

if TYPE_CHECKING:
    import pandas as pd

Part = dict[str, Any]
Line = dict[str, Any]
"""A row of a study's table."""

PLAIN = ("auroc", "accuracy", "macro_f1")
WORDS = {"auroc": "AUROC", "accuracy": "accuracy", "macro_f1": "macro F1"}
GROUPS = {"explanation": "Explanations", "floor": "Floors: what every explanation must beat", "ceiling": "Ceiling"}
LEAKY = "⚠ leaky folds"
"""Marks every column whose folds let the network hear the tested speakers."""


ABOUT = (
    "<p>A small network is trained on the maps of held-out recordings to tell the classes apart, and beside it on maps"
    " of chance, on energy maps, on shuffled labels and on the spectrogram itself. Columns marked ⚠ come from folds"
    " that let it hear the tested speakers: they show a leak, not a result.</p>"
)


def sections(run: Path) -> list[Section]:
    """The finished studies of a run as a section of its report; none where there are none."""
    studies = finished_studies(run)
    if not studies:
        return []
    return [Section("auxiliary", "What maps know", "What do the maps alone know?", ABOUT + _studies(studies))]


def write_study_html(study: StudyFolder) -> Path:
    """Write the study's own page, `report.html` in its folder."""
    text = page("study.html.j2", body=Markup(_studies([study])))  # noqa: S704
    path = study.path / "report.html"
    with naming_folder(study.path, "write the report"):
        write_atomically(path, text.encode())
    return path


def _studies(studies: Sequence[StudyFolder]) -> str:
    return page("auxiliary.html.j2", studies=[study_parts(study) for study in studies])


def study_parts(study: StudyFolder) -> Part:
    """Everything the template shows of one study."""
    table, leak, coefficients = (study.table(name) for name in ("table", "leak", "coefficients"))
    settings, facts, labels = study.settings, study.facts, list(dict.fromkeys(coefficients["class"]))
    honest = table[table["split"] == "speaker"]
    network, twin = honest[honest["architecture"] != LINEAR], honest[honest["architecture"] == LINEAR]
    leaky = table[(table["split"] == "recording") & (table["architecture"] != LINEAR)]
    what = {"map": "maps alone", "masked": "maps times spectrogram", "original": "spectrograms"}[settings.input]
    return {
        "title": f"{what[0].upper()}{what[1:]}, {settings.architecture}",
        "key": study.path.name,
        "sentences": study.sentences,
        "picture": _picture(network),
        "scores": _scores(network, leaky, leak),
        "differences": _differences(network),
        "twin": _scores(twin, None, None),
        "odds_of": study.odds_of,
        "coefficients": [
            _coefficients(part[part["class"] == label], name if len(labels) == 1 else f"{name}: {label}")
            for name in (*settings.recipes, CEILING)
            for part in (coefficients[(coefficients["name"] == name) & (coefficients["split"] == "speaker")],)
            for label in labels
        ],
        "facts": _facts(study, facts),
    }


def _facts(study: StudyFolder, facts: dict[str, Any]) -> list[tuple[str, str]]:
    settings = study.settings
    n_left = len(facts.get("left_out", {}))
    counts = ", ".join(f"{n} {name}" for name, n in study.class_counts.items())
    return [
        (
            "Recordings",
            (f"{facts['n_recordings']} of {facts['n_speakers']} speakers ({counts} recordings); {n_left} left out"),
        ),
        (
            "Splits",
            ", ".join(
                f"by {split}" + (" (leaky, for comparison only)" if split == "recording" else "")
                for split in settings.splits
            ),
        ),
        (
            "Repeated",
            (
                f"{settings.n_seeds} seeds x {settings.n_folds} folds; in each fit one fold tests and another one stops"
                " the training"
            ),
        ),
        (
            "Network",
            (
                f"{settings.architecture} on {settings.n_mels} mel bands; the best of at most {settings.epochs} epochs"
                " by validation loss"
            ),
        ),
        ("Intervals", "95 %, speakers and seeds drawn with replacement; AUROC over pairs tested in the same fold"),
        ("Shuffled labels", f"learned from the inputs of {settings.shuffled_source}"),
        ("Wall time", f"{wall_time_s(study):.0f} s"),
    ]


def _rows(frame: pd.DataFrame, metric: str) -> dict[str, Line]:
    part = frame[frame["metric"] == metric]
    return {str(row["name"]): row for row in part.to_dict("records")}  # type: ignore[misc]


def _cell(row: Line | None, mark: Literal["", "worse"] = "") -> Cell:
    if row is None or row["value"] != row["value"]:
        return Cell(NONE)
    return Cell(number(row["value"]), span(row["low"], row["high"], 2), mark)


def _table(title: str, columns: Sequence[str], lines: dict[str, Line], cells: dict[str, list[Cell]]) -> Table:
    rows = [
        Row(name, tuple(cells[name]), words)
        for kind, words in GROUPS.items()
        for name, row in lines.items()
        if row["kind"] == kind
    ]
    return Table(title, ("input", *columns), tuple(rows), apart=(GROUPS["floor"], GROUPS["ceiling"]))


def _scores(honest: pd.DataFrame, leaky: pd.DataFrame | None, leak: pd.DataFrame | None) -> Table:
    """Rows by group with every metric; beside it, marked, what folds by recording would have said."""
    values = {metric: _rows(honest, metric) for metric in (*PLAIN, *(f"selective_{m}" for m in PLAIN))}
    lines = values["auroc"]
    columns = ["mean mask", *WORDS.values()]
    cells: dict[str, list[Cell]] = {}
    for name, row in lines.items():
        mask = row["mean_mask"]
        cells[name] = [Cell(NONE if mask != mask else f"{mask:.3f}")]
        cells[name] += [_cell(values[metric].get(name)) for metric in PLAIN]
    if leaky is not None and leak is not None and not leaky.empty:
        columns += [f"{LEAKY}: {WORDS[m]}" for m in PLAIN] + ["the leak adds to AUROC"]
        added = leak[(leak["metric"] == "auroc") & (leak["architecture"] != LINEAR)].set_index("name")
        other = {metric: _rows(leaky, metric) for metric in PLAIN}
        for name in lines:
            difference, low, high = (float(added.at[name, part]) for part in ("added", "low", "high"))  # type: ignore[arg-type]
            cells[name] += [_cell(other[metric].get(name), "worse") for metric in PLAIN]
            cells[name].append(Cell(signed(difference), span(low, high, 2, render.signed)))
    columns += [f"selective {words}" for words in WORDS.values()]
    for name in lines:
        cells[name] += [_cell(values[f"selective_{metric}"].get(name)) for metric in PLAIN]
    title = (
        "Answers for speakers whom the network never heard, with 95 % intervals over speakers and seeds; selective:"
        " times 1 - mean mask"
    )
    return _table(title, columns, lines, cells)


def _differences(honest: pd.DataFrame) -> Table | None:
    """AUROC of explanations minus that of every floor and of the ceiling."""
    lines = {name: row for name, row in _rows(honest, "auroc").items() if row["kind"] == "explanation"}
    if not lines:
        return None
    others = [name for name in (*FLOORS, CEILING) if f"vs_{name}" in honest.columns]

    def cell(row: Line, other: str) -> Cell:
        value, low, high, p = (float(row.get(f"vs_{other}{end}", math.nan)) for end in ("", "_low", "_high", "_p"))
        return difference_cell(value, low, high, p, 2)

    cells = {name: [cell(row, other) for other in others] for name, row in lines.items()}
    title = (
        "AUROC minus that of each floor and of the ceiling, paired over speakers and seeds; ▲ better, ▼ worse at p <"
        f" {ALPHA} after Holm correction"
    )
    return _table(title, [f"vs {other}" for other in others], lines, cells)


def _coefficients(part: pd.DataFrame, title: str) -> Table:
    """Band x segment coefficients of the readable model on one row's inputs for one class, folds by speaker."""
    segments, bands = list(dict.fromkeys(part["segment"])), list(dict.fromkeys(part["band"]))
    found = {(r["band"], r["segment"]): r for r in part.to_dict("records")}
    rows = []
    for band in bands:
        cells = [found[band, segment] for segment in segments]
        # Exactly 0: the summary is the same in all recordings, as above a telephone's band.
        texts = [f"{signed(r['log_odds'])} ({100 * r['same_sign']:.0f} %)" if r["std"] > 0 else NONE for r in cells]
        rows.append([band, *texts])
    return plain_table(title, ("band", *map(str, segments)), rows)


def _picture(network: pd.DataFrame) -> Part:
    lines = list(_rows(network, "auroc").values())
    ranked = sorted((r for r in lines if r["kind"] == "explanation"), key=lambda r: -r["value"])
    shown = [*ranked, *(r for r in lines if r["kind"] == "floor"), *(r for r in lines if r["kind"] == "ceiling")]
    png = plots.score_bars(
        [str(r["name"]) for r in shown],
        [float(r["value"]) for r in shown],
        [(float(r["low"]), float(r["high"])) for r in shown],
        [r["kind"] == "floor" for r in shown],
    )
    words = "; ".join(f"{r['name']} {number(r['value'])}" for r in shown)
    return {
        "uri": data_uri(png),
        "alt": f"AUROC with 95 % intervals: {words}.",
        "caption": "AUROC, folds by speaker; 0.5 is chance, the dashed line is the highest floor.",
    }
