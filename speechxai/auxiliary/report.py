"""The auxiliary studies of a run as a section of its report and as a page of their own."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechxai import __version__
from speechxai.auxiliary.folder import StudyFolder, finished_studies, wall_time_s
from speechxai.auxiliary.values import CEILING, FLOORS, LINEAR
from speechxai.auxiliary.words import ALPHA, number, p_text, signed
from speechxai.evaluation.report import Section, data_uri
from speechxai.files import naming_folder, write_atomically
from speechxai.report import plots

if TYPE_CHECKING:
    import pandas as pd

Part = dict[str, Any]
Line = dict[str, Any]

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
    body = _template("auxiliary.html.j2").render(studies=[study_parts(study) for study in studies])
    return [Section("auxiliary", "What maps know", "What do the maps alone know?", ABOUT + body)]


def write_study_html(study: StudyFolder) -> Path:
    """Write the study's own page, `report.html` in its folder."""
    body = _template("auxiliary.html.j2").render(studies=[study_parts(study)])
    source = resources.files("speechxai").joinpath("templates", "report.html.j2").read_text("utf-8")
    style = source[source.index("<style>") : source.index("</style>") + len("</style>")]
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="viewport"'
        ' content="width=device-width, initial-scale=1">\n<title>What do the maps alone know? –'
        f" speechxai</title>\n{style}\n</head>\n<body>\n<main>\n<header>\n<h1>What do the maps alone know?</h1>\n<p"
        f' class="soft">An auxiliary classifier, trained on explanations. Written by speechxai {__version__}.</p>\n<ul'
        ' class="badges"><li class="strong">Not a medical'
        f" device</li></ul>\n</header>\n{body}\n</main>\n</body>\n</html>\n"
    )
    path = study.path / "report.html"
    with naming_folder(study.path, "write the report"):
        write_atomically(path, page.encode())
    return path


def _template(name: str) -> Any:
    import jinja2

    source = resources.files("speechxai").joinpath("templates", name).read_text("utf-8")
    return jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True).from_string(source)


def study_parts(study: StudyFolder) -> Part:
    """Everything the template shows of one study."""
    table, leak, coefficients = (study.table(name) for name in ("table", "leak", "coefficients"))
    settings, facts = study.settings, study.facts
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
        "coefficients": [_coefficients(coefficients, name) for name in (*settings.recipes, CEILING)],
        "facts": _facts(study, facts),
    }


def _facts(study: StudyFolder, facts: dict[str, Any]) -> list[tuple[str, str]]:
    settings = study.settings
    n_left = len(facts.get("left_out", {}))
    return [
        (
            "Recordings",
            (
                f"{facts['n_recordings']} of {facts['n_speakers']} speakers ({facts['n_pd']} PD, {facts['n_hc']} HC"
                f" recordings); {n_left} left out"
            ),
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


def _cell(row: Line | None, mark: str = "") -> Part:
    if row is None or row["value"] != row["value"]:
        return {"text": "–"}
    return {"text": number(row["value"]), "small": f"{number(row['low'])} to {number(row['high'])}", "mark": mark}


def _grouped(lines: dict[str, Line], cells: dict[str, list[Part]]) -> list[Part]:
    groups = []
    for kind, words in GROUPS.items():
        rows = [{"name": name, "cells": cells[name]} for name, row in lines.items() if row["kind"] == kind]
        if rows:
            groups.append({"name": words, "kind": kind, "rows": rows})
    return groups


def _scores(honest: pd.DataFrame, leaky: pd.DataFrame | None, leak: pd.DataFrame | None) -> Part:
    """Rows by group with every metric; beside it, marked, what folds by recording would have said."""
    values = {metric: _rows(honest, metric) for metric in (*PLAIN, *(f"selective_{m}" for m in PLAIN))}
    lines = values["auroc"]
    columns = ["mean mask", *WORDS.values()]
    cells: dict[str, list[Part]] = {}
    for name, row in lines.items():
        mask = row["mean_mask"]
        cells[name] = [{"text": "–" if mask != mask else f"{mask:.3f}"}]
        cells[name] += [_cell(values[metric].get(name)) for metric in PLAIN]
    if leaky is not None and leak is not None and not leaky.empty:
        columns += [f"{LEAKY}: {WORDS[m]}" for m in PLAIN] + ["the leak adds to AUROC"]
        added = leak[(leak["metric"] == "auroc") & (leak["architecture"] != LINEAR)].set_index("name")
        other = {metric: _rows(leaky, metric) for metric in PLAIN}
        for name in lines:
            difference, low, high = (float(added.at[name, part]) for part in ("added", "low", "high"))  # type: ignore[arg-type]
            cells[name] += [_cell(other[metric].get(name), "worse") for metric in PLAIN]
            cells[name].append({"text": signed(difference), "small": f"{signed(low)} to {signed(high)}"})
    columns += [f"selective {words}" for words in WORDS.values()]
    for name in lines:
        cells[name] += [_cell(values[f"selective_{metric}"].get(name)) for metric in PLAIN]
    caption = (
        "Answers for speakers whom the network never heard, with 95 % intervals over speakers and seeds; selective:"
        " times 1 - mean mask"
    )
    return {"caption": caption, "columns": columns, "groups": _grouped(lines, cells)}


def _differences(honest: pd.DataFrame) -> Part | None:
    """AUROC of explanations minus that of every floor and of the ceiling."""
    lines = {name: row for name, row in _rows(honest, "auroc").items() if row["kind"] == "explanation"}
    if not lines:
        return None
    others = [name for name in (*FLOORS, CEILING) if f"vs_{name}" in honest.columns]
    cells: dict[str, list[Part]] = {}
    for name, row in lines.items():
        cells[name] = []
        for other in others:
            low, high, p = (row.get(f"vs_{other}_{end}", float("nan")) for end in ("low", "high", "p"))
            sure = p < ALPHA if p == p else False
            mark = "better" if sure and low > 0 else "worse" if sure and high < 0 else ""
            sign = {"better": "▲ ", "worse": "▼ ", "": ""}[mark]
            small = f"{signed(low)} to {signed(high)}" + (f", {p_text(p)}" if p == p else "")
            cells[name].append({"text": f"{sign}{signed(row[f'vs_{other}'])}", "small": small, "mark": mark})
    caption = (
        "AUROC minus that of each floor and of the ceiling, paired over speakers and seeds; ▲ better, ▼ worse at p <"
        f" {ALPHA} after Holm correction"
    )
    return {"caption": caption, "columns": [f"vs {other}" for other in others], "groups": _grouped(lines, cells)}


def _coefficients(coefficients: pd.DataFrame, name: str) -> Part:
    """Band x segment coefficients of the readable model on one row's inputs, folds by speaker."""
    part = coefficients[(coefficients["name"] == name) & (coefficients["split"] == "speaker")]
    segments, bands = list(dict.fromkeys(part["segment"])), list(dict.fromkeys(part["band"]))
    found = {(r["band"], r["segment"]): r for r in part.to_dict("records")}
    rows = []
    for band in bands:
        cells = [found[band, segment] for segment in segments]
        # Exactly 0: the summary is the same in all recordings, as above a telephone's band.
        texts = [f"{signed(r['log_odds'])} ({100 * r['same_sign']:.0f} %)" if r["std"] > 0 else "–" for r in cells]
        rows.append([band, *texts])
    return {"name": name, "columns": ["band", *segments], "rows": rows}


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
