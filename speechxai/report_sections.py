"""The parts of the report: tables as rows of text, pictures as data URIs with the words that stand for them."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from speechxai import plots
from speechxai.metrics import METRICS
from speechxai.report_tables import arrow, cells, digits, grouped, is_control, metrics_of, number, short_name
from speechxai.report_words import ALPHA
from speechxai.stats import auc

if TYPE_CHECKING:
    import pandas as pd

Part = dict[str, Any]


def data_uri(png: bytes) -> str:
    """Write a PNG as a data URI."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def column_name(metric: str) -> str:
    """Heading of a metric's column, with the better direction."""
    unit = " (%)" if short_name(metric) in ("AI", "AD", "AG") else ""
    name = "mean mask" if metric == "mean_mask" else short_name(metric)
    return f"{name}{unit} {arrow(metric)}".strip()


def score_table(summary: pd.DataFrame, metrics: Sequence[str], caption: str) -> Part | None:
    """Recipes x metrics with intervals, in groups with the controls last; None where the run has none of the metrics."""
    wanted = [metric for metric in metrics if metric in metrics_of(summary)]
    if not [metric for metric in wanted if metric != "mean_mask"]:
        return None
    values = cells(summary, wanted)
    n_digits = {
        m: digits(m, max((abs(row[m].mean) for row in values.values() if m in row), default=math.inf)) for m in wanted
    }
    groups = []
    for name, recipes in grouped(list(values)).items():
        rows = []
        for recipe in recipes:
            found = []
            for metric in wanted:
                cell, n = values[recipe].get(metric), n_digits[metric]
                if cell is None:
                    found.append({"text": "–"})
                    continue
                small = "" if metric == "mean_mask" else f"{number(cell.low, n)} to {number(cell.high, n)}"
                if cell.n_nan:
                    small += f" ({cell.n_nan} undefined)"
                mark = "best" if cell.best and not is_control(recipe) else ""
                found.append({"text": number(cell.mean, n), "small": small, "mark": mark})
            rows.append({"name": recipe, "cells": found})
        groups.append({"name": name, "rows": rows})
    return {"caption": caption, "columns": [column_name(metric) for metric in wanted], "groups": groups}


def difference_table(summary: pd.DataFrame, metrics: Sequence[str]) -> Part | None:
    """Differences of every explanation to the controls, with interval and corrected p-value."""
    controls = [name for name in ("energy_map", "random_map") if f"vs_{name}" in summary]
    wanted = [(m, c) for m in metrics if m in metrics_of(summary) for c in controls]
    recipes = [recipe for recipe in dict.fromkeys(summary["recipe"].astype(str)) if not is_control(recipe)]
    if not wanted or not recipes:
        return None
    rows_of = {(row["recipe"], row["metric"]): row for row in summary.to_dict("records")}
    groups = []
    for name, members in grouped(recipes).items():
        rows = []
        for recipe in members:
            found = []
            for metric, control in wanted:
                row = rows_of.get((recipe, metric))
                found.append({"text": "–"} if row is None else _difference(row, metric, control))
            rows.append({"name": recipe, "cells": found})
        groups.append({"name": name, "rows": rows})
    caption = f"Mean difference to a control, with its 95 % interval over speakers; ▲ better, ▼ worse at p < {ALPHA} after Holm correction"
    return {"caption": caption, "columns": [f"{short_name(m)} vs {c}" for m, c in wanted], "groups": groups}


def _difference(row: dict[Any, Any], metric: str, control: str) -> Part:
    value, p = float(row[f"vs_{control}"]), float(row[f"vs_{control}_p"])
    n = digits(metric, abs(value))
    if math.isnan(value) or math.isnan(p):
        return {"text": "–"}
    better = value > 0 if METRICS.facts(metric)["best"] == "high" else value < 0
    mark = "" if p >= ALPHA or value == 0 else "better" if better else "worse"
    sign = {"better": "▲ ", "worse": "▼ ", "": ""}[mark]
    low, high = float(row[f"vs_{control}_low"]), float(row[f"vs_{control}_high"])
    shown = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    return {
        "text": f"{sign}{number(value, n)}",
        "small": f"{number(low, n)} to {number(high, n)}, {shown}",
        "mark": mark,
    }


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
        "uri": data_uri(png),
        "alt": f"Mean {metric} of {len(names)} explanations with 95 % intervals; best is {top}. The table below has the numbers.",
        "caption": f"{metric} {arrow(metric)}: mean over speakers and 95 % interval. Gray squares are controls; the dashed line is the better "
        "of them.",
    }


def agreement_pictures(agreement: pd.DataFrame) -> list[Part]:
    """Matrices of pairwise agreement: IoU of the strongest bins, and rank correlation."""
    names = list(dict.fromkeys([*agreement["first"].astype(str), *agreement["second"].astype(str)]))
    if len(names) < 2:
        return []
    pictures = []
    titles = {
        "iou": "Overlap (IoU) of the bins above 40 % of each map's maximum",
        "rank_correlation": "Spearman's rank correlation",
    }
    for column, title in titles.items():
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
                "uri": data_uri(plots.agreement_heatmap(names, matrix)),
                "alt": f"{title}: {'; '.join(off)}",
                "caption": f"{title}, mean over recordings; 1 is the same map.",
            }
        )
    return pictures


def confusion_table(predictions: pd.DataFrame, classes: Sequence[str]) -> Part | None:
    """Recordings by label and predicted class."""
    known = predictions.dropna(subset=["label", "predicted"]) if "predicted" in predictions else predictions[:0]
    if known.empty:
        return None
    rows = []
    for index, name in enumerate(classes):
        part = known[known["label"].astype(int) == index]
        counts = [int((part["predicted"].astype(int) == other).sum()) for other in range(len(classes))]
        rows.append([f"label {name}", *counts, part["speaker"].nunique()])
    return {
        "caption": "Recordings by label and prediction",
        "columns": ["", *(f"predicted {c}" for c in classes), "speakers"],
        "rows": rows,
    }


def confound_table(predictions: pd.DataFrame, classes: Sequence[str]) -> Part | None:
    """How well age, duration, sex and sample rate alone separate the labels, and how they go with the prediction (AUC)."""
    known = predictions.dropna(subset=["label"])
    if len(classes) != 2 or known["label"].nunique() < 2:
        return None
    rows = []
    for column, name in (("age", "age"), ("duration_s", "duration"), ("sample_rate", "sample rate"), ("sex", "sex")):
        if column not in known:
            continue
        values = known[column]
        if column == "sex":
            values = values.map({"female": 0.0, "male": 1.0, "F": 0.0, "M": 1.0, "f": 0.0, "m": 1.0})
        numbers = values.astype("Float64").to_numpy(dtype=float, na_value=math.nan)
        if np.isfinite(numbers).sum() < 4 or len(np.unique(numbers[np.isfinite(numbers)])) < 2:
            continue
        rows.append(
            [name, number(_either_way(numbers, known["label"]), 2), number(_either_way(numbers, known["predicted"]), 2)]
        )
    if not rows:
        return None
    caption = "What separates the classes without hearing disease: AUC, 0.5 is chance, 1 a perfect shortcut"
    return {"caption": caption, "columns": ["of itself", "the label", "the prediction"], "rows": rows}


def _either_way(values: np.ndarray[Any, Any], labels: pd.Series[Any]) -> float:
    known = labels.notna().to_numpy()
    area = auc(values[known], labels[labels.notna()].astype(int).to_numpy())
    return max(area, 1 - area)


def calibration_picture(predictions: pd.DataFrame, classes: Sequence[str]) -> Part | None:
    """Calibration of the probability of class 1, where there are at least 20 labeled recordings."""
    column = f"p_{classes[1]}"
    known = predictions.dropna(subset=["label", column]) if column in predictions else predictions[:0]
    if len(known) < 20 or known["label"].nunique() < 2:
        return None
    p, y = known[column].astype(float).tolist(), known["label"].astype(int).tolist()
    return {
        "uri": data_uri(plots.calibration_curve(p, y)),
        "alt": f"Share of {classes[1]} against predicted probability in bins of equal counts, {len(known)} recordings.",
        "caption": "Calibration: on the dashed line the probability means what it says. Lines are 95 % intervals.",
    }
