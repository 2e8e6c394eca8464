"""Where a classifier is right, and on whom, over the recordings of a data set: speakers are the cases.

Tables hold one row a recording: `recording`, `speaker`, `label`, `probability` of class 1, `task`, and what is known of
the speaker (`sex`, `age`, `severity`, ...).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from speechxai.stats import auc, share_interval, share_of_speakers
from speechxai.types import Array

if TYPE_CHECKING:
    import pandas as pd

AGE_BANDS = ((0, 60, "under 60 years"), (60, 70, "60 to 69 years"), (70, 200, "70 years and older"))
"""Lowest age, first age beyond, and name, years."""

SEXES = {"F": "women", "M": "men"}
SEVERITIES = ("hoehn_yahr", "severity", "updrs_speech")
"""Columns that say how severe a disease is; the first that holds anything is used."""

MOST_TASKS = 5
FEW_SPEAKERS = 5
"""With fewer an interval over speakers says little."""


class Share(NamedTuple):
    """Share of right answers of a group: mean over speakers, its 95 % interval, and the number of speakers."""

    name: str
    mean: float
    low: float
    high: float
    n_speakers: int


class Calibration(NamedTuple):
    """Stated probability and observed share of class 1 with its exact 95 % interval, and the number of recordings; each
    (n_bins,)."""

    stated: Array
    observed: Array
    low: Array
    high: Array
    n: Array


def answers(rows: pd.DataFrame) -> pd.Series:
    """The class that a classifier of two says, 0 or 1: 1 from a probability of .5."""
    return (rows["probability"] >= 0.5).astype(int)


def right(rows: pd.DataFrame) -> pd.Series:
    """1.0 where the answer is the label, 0.0 where not."""
    return (answers(rows) == rows["label"].astype(int)).astype(float)


def share(name: str, rows: pd.DataFrame) -> Share:
    """Share of right answers among some recordings."""
    return Share(name, *share_of_speakers(right(rows), rows["speaker"].astype(str)))


def headline(labeled: pd.DataFrame) -> str:
    """How often the classifier is right, beside what the larger class alone would give, in two sentences."""
    if labeled.empty:
        return "No recording has both a label and an answer."
    found = share("everybody", labeled)
    larger = max(labeled["label"].mean(), 1 - labeled["label"].mean())
    within = f" (95 % interval {100 * found.low:.0f} to {100 * found.high:.0f} %)" if found.low == found.low else ""
    text = (
        f"The model is right about {100 * found.mean:.0f} % of the speakers' recordings{within}; always answering the"
        f" larger class would be right in {100 * larger:.0f} %."
    )
    area = auc(labeled["probability"].to_numpy(float), labeled["label"].astype(int).to_numpy())
    return text if area != area else f"{text} AUC {area:.2f}, where chance is 0.50."


def confusion(labeled: pd.DataFrame, n_classes: int = 2) -> tuple[Array, Array]:
    """Recordings by label (rows) and answer (columns), and the same as shares of their row, NaN where a label has
    none."""
    counts = np.zeros((n_classes, n_classes), dtype=int)
    np.add.at(counts, (labeled["label"].astype(int).to_numpy(), answers(labeled).to_numpy()), 1)
    totals = counts.sum(axis=1, keepdims=True)
    return counts, np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)


def calibration(labeled: pd.DataFrame, n_bins: int = 5) -> Calibration | None:
    """Bins of equal count, by stated probability; None under ten recordings."""
    if len(labeled) < 10:
        return None
    p, y = labeled["probability"].to_numpy(float), labeled["label"].to_numpy(float)
    parts = np.array_split(np.argsort(p, kind="stable"), min(n_bins, len(p) // 5))
    low, high = zip(*(share_interval(int(y[part].sum()), len(part)) for part in parts), strict=True)
    return Calibration(
        np.array([p[part].mean() for part in parts]),
        np.array([y[part].mean() for part in parts]),
        np.array(low),
        np.array(high),
        np.array([len(part) for part in parts]),
    )


def by_group(labeled: pd.DataFrame, classes: Sequence[str]) -> list[Share]:
    """Share of right answers of everybody, by class, sex, age band, task and severity, where two speakers or more are
    known."""
    import pandas as pd

    masks: list[tuple[str, pd.Series]] = [("everybody", pd.Series(True, labeled.index))]
    masks += [(f"labeled {classes[label]}", labeled["label"] == label) for label in (1, 0)]
    if "sex" in labeled:
        masks += [(name, labeled["sex"].astype(str) == value) for value, name in SEXES.items()]
    if "age" in labeled:
        age = pd.to_numeric(labeled["age"], errors="coerce")
        masks += [(name, (age >= low) & (age < high)) for low, high, name in AGE_BANDS]
    tasks = sorted(labeled["task"].astype(str).unique())
    if len(tasks) > 1:
        masks += [(f"task {task}", labeled["task"].astype(str) == task) for task in tasks[:MOST_TASKS]]
    for column in SEVERITIES:
        value = pd.to_numeric(labeled[column], errors="coerce") if column in labeled else pd.Series(dtype=float)
        if value.notna().any():
            value = value.where(labeled["label"] == 1)
            middle, words = value.median(), column.replace("_", " ")
            masks += [(f"{classes[1]}, {words} up to {middle:.2g}", value <= middle)]
            masks += [(f"{classes[1]}, {words} above {middle:.2g}", value > middle)]
            break
    return [share(name, labeled[mask]) for name, mask in masks if labeled[mask]["speaker"].nunique() >= 2]


def table(rows: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """All recordings as people read them, wrong answers first."""
    import pandas as pd

    label = rows["label"].map(lambda v: classes[int(v)] if pd.notna(v) else "unknown")
    says = rows["probability"].map(lambda v: classes[int(v >= 0.5)] if pd.notna(v) else "none")
    found = pd.DataFrame(
        {
            "recording": rows["recording"],
            "labeled": label,
            "model says": says,
            f"P({classes[1]})": rows["probability"],
            "right": [
                "" if a == "unknown" or b == "none" else "yes" if a == b else "no"
                for a, b in zip(label, says, strict=True)
            ],
            "task": rows["task"],
            "speaker": rows["speaker"],
        }
    )
    for name in ("sex", "age", *SEVERITIES):
        if name in rows and rows[name].notna().any():
            found[name.replace("_", " ")] = rows[name]
    if (rows["problem"] != "").any():
        found["problem"] = rows["problem"]
    return found.sort_values("right", key=lambda s: s.map({"no": 0, "yes": 1}).fillna(2), kind="stable")
