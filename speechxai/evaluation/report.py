"""The report of a run: one file that opens anywhere, asks no server for anything, and prints."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from speechxai.classifiers.network import place_of
from speechxai.classifiers.precision import PRECISION_NOTES
from speechxai.data.manifest import classes_of, label_names
from speechxai.evaluation.paper import BESIDE as BESIDE
from speechxai.evaluation.paper import Group as Group
from speechxai.evaluation.paper import asked_for, caption, data_name, groups_by, score_table
from speechxai.evaluation.runs import RunFolder, knowing, unit_name
from speechxai.evaluation.session import Session
from speechxai.evaluation.values import SAID
from speechxai.evaluation.words import findings
from speechxai.explain.agreement import STRONGEST
from speechxai.explain.explain import explain_all
from speechxai.explain.recipe import CONTROLS, parse
from speechxai.files import naming_folder, read_bytes, read_sealed, sealed, to_toml, without_paths, write_atomically
from speechxai.metrics import EQUAL_BUDGET_METRICS, METRICS, PUBLISHED_METRICS
from speechxai.report import plots
from speechxai.report.latex import LATEX_NEEDS, latex, latex_text
from speechxai.report.render import (
    HEADLINE,
    NONE,
    PERCENT,
    Cell,
    Estimate,
    Finding,
    Row,
    Table,
    arrow,
    console,
    difference_cell,
    digits,
    estimates,
    grouped,
    is_control,
    listing,
    metrics_of,
    number,
    page,
    plain_table,
    short_name,
    span,
    with_span,
)
from speechxai.signal.stft import spectrogram
from speechxai.signs.cohort import WHOLE
from speechxai.stats import ALPHA, separation
from speechxai.types import CLASS_NAMES

if TYPE_CHECKING:
    import pandas as pd

    from speechxai.evaluation.runs import RunFolder
    from speechxai.types import Array


# Example pictures of a run: a few recordings with their evidence, drawn when the run is finished.
N_MAPS = 6
"""Maps drawn of each example."""


def draw_examples(session: Session, folder: RunFolder) -> None:
    """Draw the examples of a run into `pictures/`, with an index for the report; a recording that cannot be drawn is
    left out.

    Raises:
        SpeechXAIError: the folder cannot be written.
    """
    chosen = choose(folder.table("predictions"), session.config.pictures, session.classes.names)
    with naming_folder(folder.path, "write"):
        (folder.path / "pictures").mkdir(exist_ok=True)
    index = []
    for recording, why in chosen:
        picture = None
        with suppress(Exception):  # whatever it is, it costs this picture only
            entry, picture = draw(session, recording)
        if picture is None:
            continue
        name = f"{unit_name(recording)}.png"
        with naming_folder(folder.path, "write"):
            for file_format in plots.FILE_FORMATS:
                file = (folder.path / "pictures" / name).with_suffix(f".{file_format}")
                write_atomically(file, picture.in_format(file_format))
        index.append({"recording": recording, "file": name, "why": why, **entry})
    with naming_folder(folder.path, "write"):
        write_atomically(folder.path / "pictures" / "index.json", sealed({"examples": index}, "pictures"))


def choose(predictions: pd.DataFrame, n: int, classes: tuple[str, ...]) -> list[tuple[str, str]]:
    """Pick examples in turn: the surest right answer of each class, then the surest mistake of each, then the next
    ones.

    Returns:
        (recording, why it was picked), at most `n`.
    """
    known = predictions.dropna(subset=["predicted"]).copy()
    if known.empty or n < 1:
        return []
    if SAID in known:
        ordered = known.sort_values([SAID, "recording"])["recording"].astype(str).tolist()
        found: dict[str, str] = {}
        for high, low in zip(ordered[::-1], ordered, strict=True):
            found.setdefault(high, f"a high {classes[0]}")
            found.setdefault(low, f"a low {classes[0]}")
        return [*found.items()][:n]
    columns = [f"p_{name}" for name in classes]
    known["sure"] = known[columns].max(axis=1)
    known = known.sort_values(["sure", "recording"], ascending=[False, True])
    queues: list[list[tuple[str, str]]] = []
    for right in (True, False):
        for index, name in reversed(list(enumerate(classes))):
            part = known[known["predicted"] == index]
            fits = (part["label"] == index).fillna(False).astype(bool)
            part = part[fits if right else part["label"].notna() & ~fits]
            words = f"a sure and right {name}" if right else f"called {name}, and wrong"
            queues.append([(str(recording), words) for recording in part["recording"]])
    unlabeled = known[known["label"].isna()]
    names = unlabeled["labeled"] if "labeled" in unlabeled else ["unknown"] * len(unlabeled)
    queues.append([(str(r), f"label {name}") for r, name in zip(unlabeled["recording"], names, strict=True)])
    picked = [queue[turn] for turn in range(len(known)) for queue in queues if turn < len(queue)]
    return picked[:n]


def recipes_to_draw(recipes: tuple[str, ...]) -> list[str]:
    """Methods first, then combinations, at most N_MAPS; and the energy control to compare them with."""
    own = [recipe for recipe in recipes if recipe not in CONTROLS]
    own.sort(key=lambda recipe: bool(parse(recipe).parts))
    return own[:N_MAPS] + [recipe for recipe in recipes if recipe == "energy_map"]


def draw(session: Session, recording: str) -> tuple[dict[str, Any], plots.Picture]:
    """Explain one recording again and draw its maps; returns what the picture shows, in words, and the picture."""
    from speechxai.explain.combination import evidence

    job = session.load(recording)
    spec = spectrogram(job.recording.waveform[None].to(place_of(job.model)), job.model.stft)  # type: ignore[arg-type]
    found = explain_all(
        job.model,
        spec,
        recipes_to_draw(session.settings.recipes),
        seed=session.settings.seed,
        options={**session.settings.options, "evidence": session.settings.evidence},
    )
    maps = {}
    for recipe, attribution in found.items():
        kind = session.settings.evidence or ("positive" if attribution.signed else "absolute")
        maps[recipe] = evidence(attribution.values, kind)[0].cpu().numpy()  # type: ignore[arg-type]
    n_rows = math.ceil((len(maps) + 1) / 2)
    magnitude = spec.magnitude[0].cpu().numpy()
    style = plots.Style(width_in=9.6, height_in=1.9 * n_rows + 0.3)
    picture = plots.maps_grid(magnitude, {"recording": magnitude * 0, **maps}, spec.stft, style)
    return {"recipes": list(maps), "duration_s": job.recording.duration_s}, picture


Part = dict[str, Any]
"""A picture: itself, its data URI, the words that stand for it, its caption."""


def data_uri(png: bytes) -> str:
    """Write a PNG as a data URI."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def difference_table(summary: pd.DataFrame, metrics: Sequence[str]) -> Table | None:
    """Differences of every explanation to the controls, with interval and corrected p-value."""
    controls = [name for name in CONTROLS if f"vs_{name}" in summary]
    wanted = [(m, c) for m in metrics if m in metrics_of(summary) for c in controls]
    recipes = [recipe for recipe in dict.fromkeys(summary["recipe"].astype(str)) if not is_control(recipe)]
    if not wanted or not recipes:
        return None
    rows_of = {(row["recipe"], row["metric"]): row for row in summary.to_dict("records")}

    def cell(recipe: str, metric: str, control: str) -> Cell:
        row = rows_of.get((recipe, metric))
        return Cell(NONE) if row is None else _difference(row, metric, control)

    rows = [
        Row(recipe, tuple(cell(recipe, metric, control) for metric, control in wanted), name)
        for name, members in grouped(recipes).items()
        for recipe in members
    ]
    title = (
        f"Mean difference to a control, with its 95 % interval over speakers; ▲ better, ▼ worse at p < {ALPHA} after"
        " Holm correction"
    )
    return Table(title, ("explanation", *(f"{short_name(m)} vs {c}" for m, c in wanted)), tuple(rows))


def _difference(row: dict[Any, Any], metric: str, control: str) -> Cell:
    value, p = float(row[f"vs_{control}"]), float(row[f"vs_{control}_p"])
    n = digits(metric, abs(value))
    if math.isnan(value) or math.isnan(p):
        return Cell(NONE)
    low, high = float(row[f"vs_{control}_low"]), float(row[f"vs_{control}_high"])
    return difference_cell(value, low, high, p, n, higher_is_better=METRICS.facts(metric)["best"] == "high")


def bars(summary: pd.DataFrame, metric: str) -> Part | None:
    """Dots with intervals of every recipe on one metric, the best first within its group."""
    part = summary[summary["metric"] == metric].dropna(subset=["mean"]).set_index("recipe")
    if part.empty:
        return None
    falling = METRICS.facts(metric)["best"] == "high"
    names: list[str] = []
    for members in grouped([str(recipe) for recipe in part.index]).values():
        names += sorted(members, key=lambda recipe: float(part.loc[recipe, "mean"]), reverse=falling)  # type: ignore[arg-type]
    means = [float(part.loc[name, "mean"]) for name in names]  # type: ignore[arg-type]
    intervals = [(float(part.loc[name, "low"]), float(part.loc[name, "high"])) for name in names]  # type: ignore[arg-type]
    png = plots.score_bars(names, means, intervals, [is_control(name) for name in names], higher=falling)
    top = names[int(np.argmax(means) if falling else np.argmin(means))]
    return {
        "picture": png,
        "uri": data_uri(png),
        "alt": (
            f"Mean {metric} of {len(names)} explanations with 95 % intervals; best is {top}. The table below has the"
            " numbers."
        ),
        "caption": (
            f"{metric} {arrow(metric)}: mean over speakers and 95 % interval. Gray squares are controls; the dashed"
            " line is the better of them."
        ),
    }


def agreement_pictures(agreement: pd.DataFrame) -> list[Part]:
    """Matrices of pairwise agreement: overlap of the strongest bins, and rank correlation.

    IoU stands in for the overlap in runs of an older version.
    """
    names = list(dict.fromkeys([*agreement["first"].astype(str), *agreement["second"].astype(str)]))
    if len(names) < 2:
        return []
    pictures = []
    titles = {
        "overlap": f"Share of the strongest {100 * STRONGEST:.0f} % of bins in common (unrelated maps:"
        f" {number(STRONGEST, 2)})",
        "iou": "Overlap (IoU) of the bins above 40 % of each map's maximum",
        "rank_correlation": "Spearman's rank correlation",
    }
    known = [column for column in titles if column in agreement and agreement[column].notna().any()]
    for column in [name for name in known if name != "iou" or "overlap" not in known]:
        title = titles[column]
        matrix = np.eye(len(names))
        for row in agreement.to_dict("records"):
            i, j = names.index(str(row["first"])), names.index(str(row["second"]))
            matrix[i, j] = matrix[j, i] = float(row[column])
        off = [
            f"{row['first']} and {row['second']} {number(float(row[column]), 2)}"
            for row in agreement.to_dict("records")
        ]
        pictures.append(
            {
                "picture": (picture := plots.agreement_heatmap(names, matrix)),
                "uri": data_uri(picture),
                "alt": f"{title}: {'; '.join(off)}",
                "caption": f"{title}, mean over recordings; 1 is the same map.",
            }
        )
    return pictures


def confusion_table(predictions: pd.DataFrame, classes: Sequence[str]) -> Table | None:
    """Recordings by label and predicted class."""
    known = predictions.dropna(subset=["label", "predicted"]) if "predicted" in predictions else predictions[:0]
    if known.empty:
        return None
    rows = []
    for index, name in enumerate(classes):
        part = known[known["label"].astype(int) == index]
        counts = [int((part["predicted"].astype(int) == other).sum()) for other in range(len(classes))]
        rows.append([f"label {name}", *counts, part["speaker"].nunique()])
    columns = ("", *(f"predicted {name}" for name in classes), "speakers")
    return plain_table("Recordings by label and prediction", columns, rows)


def confound_table(predictions: pd.DataFrame, classes: Sequence[str]) -> Table | None:
    """How well age, duration, sex and sample rate alone separate the labels, and how they go with the prediction: AUC,
    of more than two classes that of the two that are told apart best."""
    known = predictions.dropna(subset=["label"])
    if known["label"].nunique() < 2:
        return None
    rows = []
    for column, name in (("age", "age"), ("duration_s", "duration"), ("sample_rate", "sample rate"), ("sex", "sex")):
        if column not in known:
            continue
        values = known[column]
        if column == "sex":
            values = values.map({"F": 0.0, "M": 1.0})
        numbers = values.astype("Float64").to_numpy(dtype=float, na_value=math.nan)
        if np.isfinite(numbers).sum() < 4 or len(np.unique(numbers[np.isfinite(numbers)])) < 2:
            continue
        rows.append(
            [name, number(_either_way(numbers, known["label"]), 2), number(_either_way(numbers, known["predicted"]), 2)]
        )
    if not rows:
        return None
    title = "What separates the classes without hearing disease: AUC, 0.5 is chance, 1 a perfect shortcut"
    return plain_table(title, ("of itself", "the label", "the prediction"), rows)


def _either_way(values: Array, labels: pd.Series[Any]) -> float:
    known = labels.notna().to_numpy() & np.isfinite(values)
    there, of = values[known], labels[known].astype(int).to_numpy()
    pairs = combinations(sorted(set(of.tolist())), 2)
    found = [separation(there[(of == a) | (of == b)], of[(of == a) | (of == b)] == b) for a, b in pairs]
    return max(found, default=math.nan)


def _answered(predictions: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Recordings with a label and an answer."""
    columns = [f"p_{name}" for name in classes]
    return predictions.dropna(subset=["label", *columns]) if set(columns) <= set(predictions) else predictions[:0]


def performance_table(predictions: pd.DataFrame, classes: Sequence[str]) -> Table | None:
    """How good the answers are, one a speaker, beside what answers that hear nobody would score."""
    from speechxai.classifiers.validation import METRICS as KINDS
    from speechxai.classifiers.validation import by_subject, knowing_nothing, performance, stated

    known = _answered(predictions, classes)
    if known.groupby("speaker")["label"].nunique().max() != 1 or known["label"].nunique() < 2:
        return None
    unknown = [(math.nan, math.nan, "")] * len(known)
    subjects = by_subject(
        known["speaker"].astype(str).tolist(), known["label"].to_numpy(float), stated(known, classes), unknown, classes
    )
    own = performance(subjects)
    others = {name: performance(each, n=1) for name, each in knowing_nothing(subjects).items()}

    def cells(name: str) -> list[str]:
        nothing = (number(each[name].value, 3) for each in others.values())
        return [with_span(own[name].value, own[name].low, own[name].high), *nothing]

    title = f"How good: {len(subjects.labels)} speakers, 95 % intervals, beside answers that hear nobody"
    return plain_table(title, ("", "classifier", *others), [[KINDS[name], *cells(name)] for name in own])


def cautions(model: Mapping[str, Any], predictions: pd.DataFrame, classes: Sequence[str]) -> list[Finding]:
    """What speaks against the model's answers: by its training, and by what it said in this run."""
    found = [*model.get("concerns", []), *flat_networks(predictions, classes)]
    return [Finding(str(text), "caution") for text in dict.fromkeys(found)]


def flat_networks(predictions: pd.DataFrame, classes: Sequence[str]) -> list[str]:
    """Networks that said the same of all their recordings, in sentences, by what they said in this run."""
    import torch

    from speechxai.classifiers.fit import flat_words
    from speechxai.classifiers.validation import flat_folds

    columns = [f"p_{name}" for name in classes]
    if "fold" not in predictions or not set(columns) <= set(predictions):
        return []
    known = predictions.dropna(subset=columns)
    names = sorted(known["fold"].astype(str).unique())
    logits = torch.from_numpy(known[columns].to_numpy(float).clip(1e-7)).log()
    folds = torch.tensor([names.index(fold) for fold in known["fold"].astype(str)], dtype=torch.int64)
    said = zip(names, flat_folds(logits, folds, classes), strict=True)
    return [flat_words(None if name == "final" else int(name), problem) for name, problem in said if problem]


def calibration_picture(predictions: pd.DataFrame, classes: Sequence[str]) -> Part | None:
    """Calibration of the probability of the second of two classes (of more, of the answer), where there are at least 20
    labeled recordings."""
    from speechxai.classifiers.validation import of_answer, stated

    known = _answered(predictions, classes)
    if len(known) < 20 or known["label"].nunique() < 2:
        return None
    y, p = of_answer(known["label"].to_numpy(float), stated(known, classes))
    share = f"Share of {classes[1]}" if len(classes) == 2 else "Share of right answers"
    of, share_words = (classes[1], f"share with {classes[1]}") if len(classes) == 2 else ("the answer", "share right")
    return {
        "picture": (curve := plots.calibration_curve(p.tolist(), y.astype(int).tolist(), of=of, share=share_words)),
        "uri": data_uri(curve),
        "alt": f"{share} against predicted probability in bins of equal counts, {len(known)} recordings.",
        "caption": "Calibration: on the dashed line the probability means what it says. Lines are 95 % intervals.",
    }


# Signs: what the model would say if one thing of the voice were another.
SIGNS_ABOUT = (
    "Each dial changes one sign of a voice, or of its recording, and the model is asked again. The effect is the"
    " change of the logit of the last class by one step more: one standard deviation of people, or the registered step"
    " of a recording dial. Beside it stands what a random change of the same kind and size does. An effect of a sign"
    " is no statement about the disease."
)


def sign_sentences(folder: RunFolder) -> list[str]:
    """What the what-ifs of a run say of the model, alarms first; none where the run has none."""
    if not (folder.path / "signs.csv").is_file():
        return []
    from speechxai.signs.cohort import alarms, said_of

    return said_of(folder.table("signs"), alarms(folder.table("signs_recordings")))


def sign_alarms(folder: RunFolder) -> list[str]:
    """What speaks against the model by its answers to the recording, a sentence each."""
    if not (folder.path / "signs.csv").is_file():
        return []
    from speechxai.signs.cohort import alarms

    return [alarm.words() for alarm in alarms(folder.table("signs_recordings"))]


def signs_table(folder: RunFolder) -> Table | None:
    """Mean effects of dials over speakers, whole and by groups; None where the run has none."""
    if not (folder.path / "signs.csv").is_file():
        return None
    found = folder.table("signs")
    many = found["by"].nunique() > 1
    rows = []
    for line in found.to_dict("records"):
        label, unit = _dial_words(str(line["dial"]))
        group = "" if not many else "All" if line["by"] == WHOLE else f"{line['by']} {line['which']}"
        beats = line["p"] < ALPHA and line["vs_placebo_low"] > 0
        cells = (
            Cell("voice" if line["family"] == "sign" else "recording"),
            # Codecs are kinds and no amounts.
            Cell(NONE if unit == label else f"{line['step']:.2g} {unit}"),
            Cell(with_span(line["effect"], line["low"], line["high"], n_digits=2)),
            Cell(number(line["placebo"], 2)),
            Cell(number(line["vs_placebo"], 2), _p_words(float(line["p"])), "better" if beats else ""),
            Cell(number(line["per_db"], 2)),
            Cell(str(int(line["n_speakers"]))),
        )
        rows.append(Row(label, cells, group))
    title = "Effects of signs and recording dials on the logit: mean over speakers and 95 % interval by Student's t"
    columns = ("dial", "of the", "step", "effect", "random", "beyond random", "a dB", "speakers")
    note = "Beyond random: size of the effect less that of the random change, with p after Holm"
    return Table(title, columns, tuple(rows), note)


def _dial_words(name: str) -> tuple[str, str]:
    from speechxai.signs.conditions import CONDITIONS
    from speechxai.signs.dials import SIGNS

    for registry in (SIGNS, CONDITIONS):
        if name in registry:
            return str(registry.facts(name)["label"]), str(registry.facts(name)["unit"])
    return name, ""


def _p_words(p: float) -> str:
    return "" if math.isnan(p) else "p < 0.001" if p < 0.001 else f"p {number(p, 3)}"


def signs_picture(summary: pd.DataFrame) -> Part | None:
    """What a model listens to at all: dots with intervals, recording dials as squares."""
    part = summary[summary["by"] == WHOLE]
    part = part[part["effect"].notna()]
    if part.empty:
        return None
    part = part.assign(size=part["effect"].abs()).sort_values(["family", "size"], ascending=[False, False])
    names = [_dial_words(str(dial))[0] for dial in part["dial"]]
    intervals = [
        (e, e) if math.isnan(low) else (low, high)
        for e, low, high in zip(part["effect"], part["low"], part["high"], strict=True)
    ]
    squares = [family != "sign" for family in part["family"]]
    png = plots.dial_bars(names, part["effect"].tolist(), intervals, part["placebo"].tolist(), squares)
    said = "; ".join(f"{name} {number(e, 2)}" for name, e in zip(names, part["effect"], strict=True))
    return {
        "picture": png,
        "uri": data_uri(png),
        "alt": f"Mean change of the logit by one step of each dial: {said}.",
        "caption": "What this model listens to: mean change of the logit by one step, with 95 % intervals over"
        " speakers. Gray squares are dials of the recording; the band is what random changes of the same size do.",
    }


def signs_section(folder: RunFolder) -> Section | None:
    """The what-ifs of a run as a section of its report; None where it has none."""
    table = signs_table(folder)
    if table is None:
        return None
    heading = "What would the model say if the voice were another?"
    sentences = (*sign_sentences(folder), SIGNS_ABOUT)
    return _section("signs", "Signs", heading, sentences, signs_picture(folder.table("signs")), table)


# Units: the evidence by stops, vowels, words.
UNITS_ABOUT = (
    "Evidence of a map in each class of phones, over its share of the time and over its share of the energy: above 1"
    " the map points there beyond what duration, or loudness, alone would give; what counts is the smaller of both."
    " Where a map does not explain the answer, this table says nothing of the model either."
)


def unit_sentences(folder: RunFolder) -> list[str]:
    """To which class of phones each map points most beyond its floors; none where the run has no units."""
    if not (folder.path / "evidence_by_unit.csv").is_file():
        return []
    from speechxai.units.relevance import firsts

    found = []
    for recipe, counts in firsts(folder.table("evidence_by_unit_recordings")).items():
        if is_control(recipe):
            continue
        n, (name, k) = sum(counts.values()), next(iter(counts.items()))
        found.append(f"{recipe}: beyond duration and loudness most to {name} in {k} of {n} recordings.")
    return found


def units_table(folder: RunFolder) -> Table | None:
    """Evidence by class of phones (where there are none by word) over speakers, a group a map; None without units."""
    if not (folder.path / "evidence_by_unit.csv").is_file():
        return None
    found = folder.table("evidence_by_unit")
    found = found[found["level"].isin(["class", "vowel height"] if (found["level"] == "class").any() else ["word"])]
    labels = [str(name) for name in dict.fromkeys(found["label"]) if name != WHOLE]
    labels = labels if len(labels) > 1 else []
    own = {(r["recipe"], r["label"], r["level"], r["name"]): r for r in found.to_dict("records")}
    rows = []
    for recipe in dict.fromkeys(found["recipe"]):
        part = found[(found["recipe"] == recipe) & (found["label"] == WHOLE)].to_dict("records")
        classes = [line for line in part if line["level"] != "vowel height"]
        heights = [line for line in part if line["level"] == "vowel height"]
        for line in [each for one in classes for each in (one, *(heights if one["name"] == "vowel" else ()))][
            :MOST_WORDS
        ]:
            beyond = line["over_floors_low"] > 1
            by_label = [own.get((recipe, label, line["level"], line["name"])) for label in labels]
            cells = (
                Cell(number(line["share"], 2), span(line["share_low"], line["share_high"], 2)),
                *(
                    Cell(number(line[name], 2))
                    for name in ("share_of_time", "share_of_energy", "over_time", "over_energy")
                ),
                Cell(
                    number(line["over_floors"], 2),
                    span(line["over_floors_low"], line["over_floors_high"], 2),
                    "better" if beyond else "",
                ),
                *(_over_floors(one) for one in by_label),
                Cell(str(int(line["n_speakers"]))),
            )
            name = "unknown symbols" if line["name"] == "unknown" else str(line["name"])
            rows.append(Row(name, cells, str(recipe)))
    columns = ("unit", "evidence", "time", "energy", "over time", "over energy", "over both")
    title = (
        "Evidence by unit: mean over speakers (of ratios the geometric mean) and 95 % interval by Student's t;"
        " ▲ the whole interval above 1"
    )
    note = "Over both: the smaller of over time and over energy, of each recording"
    return Table(title, (*columns, *(f"over both, {name}" for name in labels), "speakers"), tuple(rows), note)


MOST_WORDS = 20
"""Lines of each map where there are words alone."""


def _over_floors(line: Mapping[Any, Any] | None) -> Cell:
    if line is None or math.isnan(line["over_floors"]):
        return Cell(NONE)
    return Cell(number(line["over_floors"], 2), span(line["over_floors_low"], line["over_floors_high"], 2))


def units_picture(summary: pd.DataFrame) -> Part | None:
    """To which units maps point beyond both floors, dots with intervals, of the first N_MAPS maps and the energy
    control."""
    part = summary[(summary["label"] == WHOLE) & (summary["level"] == "class") & summary["over_floors"].notna()]
    recipes = recipes_to_draw(tuple(dict.fromkeys(part["recipe"].astype(str))))
    if part.empty or not recipes:
        return None
    panels = []
    for recipe in recipes:
        own = part[part["recipe"] == recipe]
        values = own[["over_floors", "over_floors_low", "over_floors_high"]].to_numpy(dtype=float).tolist()
        panels.append((recipe, [(str(name), *each) for name, each in zip(own["name"], values, strict=True)]))
    said = "; ".join(f"{r}: {', '.join(f'{name} {number(m, 2)}' for name, m, *_ in units)}" for r, units in panels)
    return {
        "uri": data_uri(plots.unit_dots(panels)),
        "alt": f"Evidence of classes of phones over both floors. {said}.",
        "caption": "Evidence over both floors, duration and loudness: right of the dashed line a map points to the"
        " units beyond both. Geometric mean over speakers and 95 % interval.",
    }


def units_section(folder: RunFolder) -> Section | None:
    """The evidence by unit as a section of a run's report; None where it has none."""
    table = units_table(folder)
    if table is None:
        return None
    heading = "To which sounds does the evidence point?"
    sentences = (*unit_sentences(folder), UNITS_ABOUT)
    return _section("units", "Units", heading, sentences, units_picture(folder.table("evidence_by_unit")), table)


def _section(
    key: str, name: str, heading: str, sentences: Sequence[str], picture: Part | None, table: Table
) -> Section:
    """Sentences, a picture and a table as a section."""
    from markupsafe import Markup

    from speechxai.report.render import html

    parts = [Markup("<p>{}</p>").format(text) for text in sentences]
    if picture:
        parts.append(
            Markup('<figure><img src="{uri}" alt="{alt}"><figcaption>{caption}</figcaption></figure>').format(**picture)
        )
    return Section(key, name, heading, str(Markup("").join([*parts, html(table)])))


# The report of a run: one file that opens anywhere, asks no server for anything, and prints.
N_FAILURES = 50
"""Failures listed in the report; the CSV has all."""


@dataclass(frozen=True)
class Section:
    """A part of the report that a room above makes: its anchor, its short name in the contents, its heading, its HTML
    (escaped already)."""

    key: str
    name: str
    heading: str
    html: str


@knowing
def write_html(
    folder: RunFolder,
    out: Path | None = None,
    sections: Sequence[Section] = (),
    by: Sequence[str] | None = None,
) -> Path:
    """Write the report of a run whose tables are written; in the run's folder with `signs.tex`, where it has what-ifs,
    and `evidence_by_unit.tex`, where it has units.

    Args:
        folder: the run.
        out: the file; by default `report.html` in the run folder.
        sections: what rooms above this one have to add, such as auxiliary studies of the run.
        by: columns of the manifest by which answers and scores are shown as well; those of the run's settings without.

    Returns:
        The file's path.

    Raises:
        SpeechXAIError: a table is missing, there is no such column, or the file cannot be written.
    """
    text = page("report.html.j2", **context(folder, sections, by))
    path = out or folder.path / "report.html"
    papers = {"signs.tex": signs_table(folder), "evidence_by_unit.tex": units_table(folder)}
    with naming_folder(path.parent, "write the report"):
        write_atomically(path, text.encode())
        for name, table in papers.items():
            if table is not None and path.parent == folder.path:
                write_atomically(folder.path / name, f"{LATEX_NEEDS}\n{latex(table)}\n".encode())
    return path


def context(folder: RunFolder, sections: Sequence[Section] = (), by: Sequence[str] | None = None) -> dict[str, Any]:
    """Everything the report's template shows."""
    from markupsafe import Markup

    summary, agreement = folder.table("summary"), folder.table("agreement")
    predictions, environment = folder.table("predictions"), folder.environment
    status, model = folder.status(), environment["model"]
    classes = list(model.get("classes", CLASS_NAMES))
    budgets = [m for m in EQUAL_BUDGET_METRICS if m.endswith(("@5", "@10", "@20"))] or list(EQUAL_BUDGET_METRICS)
    areas = [m for m in ("deletion_auc", "insertion_auc") if m in METRICS]
    extra = [
        m for m in metrics_of(summary) if m not in (*PUBLISHED_METRICS, *EQUAL_BUDGET_METRICS, *areas, "mean_mask")
    ]
    # Rooms above make their sections with escaping templates of their own.
    own = [each for each in (signs_section(folder), units_section(folder)) if each]
    sections = [*own, *sections]
    more = [replace(section, html=Markup(section.html)) for section in sections if section.html]  # noqa: S704
    parts = {
        "equal": score_table(
            summary,
            ["mean_mask", *budgets, *areas],
            "Equal budgets: mean over speakers and 95 % interval; the best of a column is marked",
        ),
        "soft": score_table(
            summary,
            ["mean_mask", *PUBLISHED_METRICS, *extra],
            "Soft masks: mean over speakers and 95 % interval; AI, AD, AG in percent",
        ),
        "bars": bars(summary, HEADLINE[0]),
        "differences": difference_table(summary, [*HEADLINE, "faithfulness"]),
        "agreement": agreement_pictures(agreement),
        "examples": _examples(folder),
        "confusion": confusion_table(predictions, classes),
        "performance": performance_table(predictions, classes),
        "confounds": confound_table(predictions, classes),
        "calibration": calibration_picture(predictions, classes),
        "more": more,
        "groups": [group_tables(folder, name) for name in (folder.config.get("by", ()) if by is None else by)],
    }
    named = [
        ("short", "In short"),
        ("run", "What was run"),
        ("scores", "Scores"),
        ("controls", "Controls"),
        ("agreement", "Agreement"),
        *((section.key, section.name) for section in more),
        ("examples", "Examples"),
        ("classifier", "Classifier"),
        ("groups", "Groups"),
        ("missing", "Missing"),
        ("details", "Details"),
    ]
    shown = [(key, name) for key, name in named if key not in ("agreement", "examples", "groups") or parts[key]]
    return {
        **parts,
        "title": f"{model['name']} on {data_name(folder)}",
        "synthetic": bool(environment.get("synthetic")),
        "model": {"card": "", **model},
        "config": {"protocol": "standard", **folder.config},
        "n_done": status.n_done,
        "n_planned": status.n_units,
        "n_failed": status.n_failed,
        "sections": [(key, name) for key, name in shown if key != "controls" or parts["differences"]],
        "findings": [
            *cautions(model, predictions, classes),
            *(Finding(text, "caution") for text in sign_alarms(folder)),
            *findings(
                summary,
                predictions,
                agreement,
                classes,
                str(environment.get("unscored") or ""),
                str(model.get("unit") or ""),
            ),
            *(
                Finding(f"Not scored: {', '.join(map(short_name, names))}: {reason}.", "plain")
                for reason, names in _by_reason(environment.get("metrics_not_applicable") or {}).items()
            ),
        ],
        "facts": _facts(folder, predictions),
        "failures": _failures(folder),
        "undefined": _undefined(summary),
        "glossary": [(_glossary_name(m), METRICS.summary(m)) for m in metrics_of(summary) if m in METRICS],
        "environment": _environment(environment),
        "config_text": to_toml(without_paths(folder.config)),
    }


def _by_reason(refused: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, reason in refused.items():
        found.setdefault(reason, []).append(name)
    return found


def _glossary_name(metric: str) -> str:
    short = short_name(metric)
    return metric if short == metric else f"{short}, {metric}"


def _facts(folder: RunFolder, predictions: pd.DataFrame) -> list[tuple[str, str]]:
    config, environment = folder.config, folder.environment
    names = label_names(folder.manifest)
    counts = ", ".join(f"{int((names == name).sum())} {name}" for name in classes_of(folder.manifest))
    unknown = int((names == "unknown").sum())
    found = [
        ("Data", "synthetic voices, made by a program" if environment.get("synthetic") else data_name(folder)),
        (
            "Recordings",
            f"{len(predictions)} of {predictions['speaker'].nunique()} speakers: {counts}"
            + (f", {unknown} without label" if unknown else ""),
        ),
        ("Model", f"{environment['model']['name']}: {environment['model'].get('title') or 'no title'}"),
        ("Answered by", _folds(predictions)),
        (
            "Explanations",
            f"{len(environment.get('recipes', []))} recipes, {len(environment.get('metrics', []))} metrics",
        ),
        ("Protocol", str(config.get("protocol", "standard"))),
        (
            "Evidence",
            {"auto": "positive part of signed maps, magnitude of the others"}.get(
                str(config.get("evidence")), str(config.get("evidence"))
            ),
        ),
        ("Removed bins", f"filled with {config.get('fill', 'silence')}"),
        ("Seed", str(config.get("seed", 0))),
        ("Precision", _precision(str(config.get("precision", "float32")))),
    ]
    cost = environment.get("cost") or {}
    if cost:
        found.append(
            (
                "Cost of a recording",
                (
                    f"{cost['seconds_per_recording']:.2f} s (median), {cost['forward_passes_of_time']:.0f} times one"
                    f" forward pass; {cost['n_forward']:.0f} forward and {cost['n_backward']:.0f} backward passes"
                ),
            )
        )
    return found


def _precision(name: str) -> str:
    note = PRECISION_NOTES.get(name)
    return name if note is None else f"{name}: {note}"


def _folds(predictions: pd.DataFrame) -> str:
    if "fold" not in predictions:
        return "the final model"
    folds = predictions["fold"].dropna().astype(str)
    n_held_out = int((folds != "final").sum())
    if not n_held_out:
        return "the final model; none of these speakers is among its training speakers"
    rest = len(folds) - n_held_out
    text = f"fold models that never heard the speaker, for {n_held_out} recordings of the training data"
    return text + (f"; the final model for {rest}" if rest else "")


def _failures(folder: RunFolder) -> Table | None:
    table = folder.table("failures")
    if table.empty:
        return None
    lost = table[table["kind"] != "not_applicable"]
    rows = [[str(r["recording"]), str(r["stage"]), str(r["message"])] for r in lost.head(N_FAILURES).to_dict("records")]
    refused = table[table["kind"] == "not_applicable"]
    counts = refused.groupby(["recipe", "message"], sort=False, as_index=False).agg(n=("recording", "size"))
    rows += [
        [str(r["recipe"]), f"not applicable to {r['n']} recordings", str(r["message"])]
        for r in counts.to_dict("records")
    ]
    more = f"; {len(lost) - N_FAILURES} more in failures.csv" if len(lost) > N_FAILURES else ""
    title = f"Recordings and explanations without scores{more}"
    return plain_table(title, ("what", "where", "why"), rows, words=True)


def _undefined(summary: pd.DataFrame) -> Table | None:
    part = summary[summary["n_nan"] > 0]
    if part.empty:
        return None
    rows = [
        [str(r["recipe"]), str(r["metric"]), int(r["n_nan"]), int(r["n_nan"] + r["n"])] for r in part.to_dict("records")
    ]
    columns = ("explanation", "metric", "undefined", "of")
    return plain_table("Undefined values, left out of the means", columns, rows)


def _environment(environment: dict[str, Any]) -> list[tuple[str, str]]:
    names = (
        "started",
        "python",
        "system",
        "n_cores",
        "n_threads",
        "device",
        "precision",
        "deterministic",
        "float32_products",
    )
    found = [(name, str(environment[name])) for name in names if name in environment]
    found += [(name, str(version)) for name, version in environment.get("libraries", {}).items()]
    for index, session in enumerate(environment.get("sessions", []), start=1):
        found.append(
            (
                f"session {index}",
                (
                    f"{session['wall_s']:.1f} s ({session['cpu_s']:.1f} s of processor time), peak memory"
                    f" {session['peak_memory_mb']:.0f} MB"
                ),
            )
        )
    found.append(("weights sha256", str(environment.get("model", {}).get("sha256", ""))))
    return found


def _kept(path: Path) -> plots.Picture:
    """A picture from its file, with those of the other formats beside it."""
    others = {kind: path.with_suffix(f".{kind}") for kind in plots.VECTORS}
    return plots.Picture.kept(
        read_bytes(path), {kind: read_bytes(file) for kind, file in others.items() if file.is_file()}
    )


def _examples(folder: RunFolder) -> list[Part]:
    index = read_sealed(folder.path / "pictures" / "index.json", "pictures") or {}
    found = []
    for example in index.get("examples", []):
        path = folder.path / "pictures" / str(example["file"])
        if not path.is_file():
            continue
        maps = ", ".join(example["recipes"])
        found.append(
            {
                "picture": (picture := _kept(path)),
                "uri": data_uri(picture),
                "alt": (
                    f"Spectrogram of {example['recording']} ({example['duration_s']:.1f} s), alone and with the"
                    f" evidence of {maps}."
                ),
                "caption": f"{example['recording']}, {example['duration_s']:.1f} s: {example['why']}.",
            }
        )
    return found


@knowing
def figures(folder: RunFolder) -> dict[str, bytes]:
    """Every figure of a run's report as PNG, SVG and PDF, by file name, and `figures.tex` with what each shows: n,
    speakers, intervals, protocol. Examples are those that the run drew; of a run before SVG was kept, their points."""
    summary, predictions = folder.table("summary"), folder.table("predictions")
    classes = list(folder.environment["model"].get("classes", CLASS_NAMES))
    found: dict[str, Part | None] = {
        "scores": bars(summary, HEADLINE[0]),
        **{f"agreement-{n}": part for n, part in enumerate(agreement_pictures(folder.table("agreement")), start=1)},
        "signs": signs_picture(folder.table("signs")) if (folder.path / "signs.csv").is_file() else None,
        "calibration": calibration_picture(predictions, classes),
        **{f"example-{n}": part for n, part in enumerate(_examples(folder), start=1)},
    }
    files: dict[str, bytes] = {}
    floats = [r"% needs \usepackage{graphicx,amssymb}"]
    for name, part in found.items():
        if part is None:
            continue
        for file_format in plots.FILE_FORMATS:
            files[f"{name}.{file_format}"] = part["picture"].in_format(file_format)
        about = f"{part['caption'].rstrip('.')}. {caption(folder, [])}."
        floats += [
            r"\begin{figure}",
            r"\centering",
            f"\\includegraphics[width=\\linewidth]{{{name}.pdf}}",
            f"\\caption{{{latex_text(about)}}}",
            f"\\label{{fig:{name}}}",
            r"\end{figure}",
            "",
        ]
    return {**files, "figures.tex": "\n".join(floats).encode()}


@knowing
def console_table(folder: RunFolder, width: int | None = None) -> str:
    """The score table for a terminal, at most `width` columns wide: mean over speakers by recipe, controls apart, with
    what the columns mean."""
    summary = folder.table("summary")
    present = metrics_of(summary)
    metrics = [m for m in (*HEADLINE, *PUBLISHED_METRICS, *asked_for(summary)) if m in present] or present[:8]
    table = score_table(summary, ["mean_mask", *metrics], "", small=False)
    if table is None:
        return "The run has no scores."
    narrow = {
        "comprehensiveness": "compr",
        "sufficiency": "suff",
        "mean mask": "mask",
        " (%)": "",
        "explanation": "recipe",
    }
    columns = table.columns
    for long, short in narrow.items():
        columns = tuple(column.replace(long, short) for column in columns)
    percent = [short_name(m) for m in PERCENT if m in metrics]
    note = "Means over speakers; " + (f"{listing(percent)} in percent; " if percent else "")
    note += "↑ higher is better, ↓ lower is better. "
    budgets = any(m in EQUAL_BUDGET_METRICS for m in metrics)
    note += "Compare rows by the @10 columns:\n" if budgets else "Rows keep different shares of the bins (mask):\n"
    note += (
        "only there does every map keep or lose the same number of bins."
        if budgets
        else "--metrics default adds columns in which every map keeps or loses the same number."
    )
    return f"{console(replace(table, columns=columns), width)}\n\n{note}"


def group_tables(folder: RunFolder, column: str) -> tuple[str, list[Table]]:
    """What the classifier says of each group of recordings, and what explanations are worth there."""
    from speechxai.classifiers.validation import macro_auc, recalls, stated

    groups, classes = groups_by(folder, column), list(folder.environment["model"].get("classes", CLASS_NAMES))
    rows = []
    for group in groups:
        answered = group.rows.dropna(subset=["predicted"])
        n_said = [int((answered["predicted"].astype(int) == index).sum()) for index in range(len(classes))]
        cells: list[object] = [len(group.rows), group.rows["speaker"].nunique(), *n_said]
        labeled = _answered(group.rows, classes)
        if labeled.empty:
            rows.append([group.name, *cells, *([NONE] * (len(classes) + 1))])
            continue
        found = []
        for each in recalls(labeled, classes):
            span = with_span(100 * each.share, 100 * each.low, 100 * each.high, 0)
            found.append(f"{each.k} of {each.n}: {span}" if each.n else NONE)
        area = macro_auc(stated(labeled, classes), labeled["label"].astype(int))
        rows.append([group.name, *cells, *found, number(area, 2)])
    said = [f"says {name}" for name in classes]
    columns = ("", "recordings", "speakers", *said, *(f"of {name} right, % of speakers" for name in classes), "AUC")
    tables = [plain_table("What the classifier says", columns, rows)]
    metrics = metrics_of(groups[0].summary)
    for metric in [m for m in HEADLINE if m in metrics] or [m for m in metrics if m != "mean_mask"][:1]:
        values = [estimates(group.summary, [metric]) for group in groups]
        named = [recipe for members in grouped(list(values[0])).values() for recipe in members]
        scored = [
            [recipe, *(_span_cell(each.get(recipe, {}).get(metric), metric) for each in values)] for recipe in named
        ]
        title = f"{short_name(metric)} {arrow(metric)}: mean over the speakers of each group and 95 % interval"
        tables.append(plain_table(title, ("explanation", *(group.name for group in groups)), scored))
    return column, tables


def _span_cell(found: Estimate | None, metric: str) -> str:
    if found is None:
        return NONE
    n = digits(metric, abs(found.mean))
    return with_span(found.mean, found.low, found.high, n)
