"""Numbers of the Cohort page: speakers are the cases, so intervals are over speakers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from app.charts import Row, escape, scrolled
from speechxai.stats import auc, speaker_bootstrap
from speechxai.types import Array

MOST_GROUPS = 14


def right(rows: pd.DataFrame) -> pd.Series:
    """1.0 where the model's answer is the label, 0.0 where not."""
    return ((rows["probability"] >= 0.5).astype(int) == rows["label"].astype(int)).astype(float)


def share(values: pd.Series, speakers: pd.Series) -> tuple[float, float, float]:
    """Mean over speakers of the mean per speaker, and its 95 % interval by bootstrap over speakers."""
    low, high = speaker_bootstrap(values.to_numpy(float), speakers.astype(str).to_numpy(), seed=0)
    return float(values.groupby(speakers.astype(str)).mean().mean()), float(low), float(high)


def headline(labeled: pd.DataFrame, classes: Sequence[str]) -> str:
    """The page's answer in two sentences."""
    if labeled.empty:
        return "No recording has both a label and an answer."
    found = right(labeled)
    mean, low, high = share(found, labeled["speaker"])
    text = (
        f"The model is right about {100 * mean:.0f} % of the speakers' recordings (95 % interval {100 * low:.0f} to"
        f" {100 * high:.0f} %); always answering the larger class would be right in"
        f" {100 * max(labeled['label'].mean(), 1 - labeled['label'].mean()):.0f} %."
    )
    labels = labeled["label"].astype(int).to_numpy()
    if len(set(labels)) == 2:
        area = float(auc(labeled["probability"].to_numpy(float), labels))
        text += f" AUC {area:.2f}, where chance is 0.50."
    return text


def confusion(labeled: pd.DataFrame, classes: Sequence[str]) -> str:
    """HTML of answers against labels, in recordings and percent of the label's row."""
    names = list(classes)[:2]
    said = (labeled["probability"] >= 0.5).astype(int)
    body = ""
    for i, name in enumerate(names):
        of = labeled["label"].astype(int) == i
        cells = ""
        for j in range(2):
            n, total = int((of & (said == j)).sum()), int(of.sum())
            part = f"{100 * n / total:.0f} %" if total else "–"
            color = "rgba(11,102,112,.14)" if i == j else "rgba(184,70,11,.12)"
            cells += f'<td class="n" style="background:{color}"><b>{n}</b> <span class="muted">{part}</span></td>'
        body += f'<tr><th scope="row">labeled {escape(name)}</th>{cells}</tr>'
    head = "".join(f'<th scope="col" class="n">says {escape(n)}</th>' for n in names)
    caption = "Recordings, and percent of those with the label."
    return scrolled(
        "<table"
        f' class="sx-table"><caption>{caption}</caption><thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table>',
        caption,
    )


def calibration_bins(labeled: pd.DataFrame, n_bins: int = 5) -> tuple[Array, Array, Array, Array, Array] | None:
    """Mean stated probability, observed share of PD, its Wilson interval, and count, in bins of equal count; None if
    too few."""
    if len(labeled) < 10:
        return None
    p, y = labeled["probability"].to_numpy(float), labeled["label"].to_numpy(float)
    parts = np.array_split(np.argsort(p, kind="stable"), min(n_bins, len(p) // 5))
    n = np.array([len(i) for i in parts])
    stated, observed = np.array([p[i].mean() for i in parts]), np.array([y[i].mean() for i in parts])
    z = 1.96
    middle = (observed + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(observed * (1 - observed) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return stated, observed, middle - half, middle + half, n


def by_group(labeled: pd.DataFrame) -> list[Row]:
    """Share of right answers for all, by class, sex, age band, task and severity, where known."""
    found = right(labeled)
    rows = []

    def add(name: str, mask: pd.Series) -> None:
        part = labeled[mask]
        if part["speaker"].nunique() >= 2:
            mean, low, high = share(found[mask], part["speaker"])
            rows.append(
                Row(
                    f"{name} ({part['speaker'].nunique()} speakers)",
                    mean,
                    low,
                    high,
                    muted=part["speaker"].nunique() < 5,
                )
            )

    add("everybody", pd.Series(True, labeled.index))
    for value, name in ((1, "labeled PD"), (0, "labeled HC")):
        add(name, labeled["label"] == value)
    if "sex" in labeled:
        for value, name in (("F", "women"), ("M", "men")):
            add(name, labeled["sex"].astype(str) == value)
    age = pd.to_numeric(labeled.get("age", pd.Series(np.nan, labeled.index)), errors="coerce")
    for low, high, name in ((0, 60, "under 60 years"), (60, 70, "60 to 69 years"), (70, 200, "70 years and older")):
        add(name, (age >= low) & (age < high))
    if labeled["task"].nunique() > 1:
        for task in sorted(labeled["task"].astype(str).unique())[:5]:
            add(f"task {task}", labeled["task"].astype(str) == task)
    column = next(
        (
            c
            for c in ("hoehn_yahr", "severity", "updrs_speech")
            if c in labeled and pd.to_numeric(labeled[c], errors="coerce").notna().any()
        ),
        None,
    )
    if column:
        value = pd.to_numeric(labeled[column], errors="coerce").where(labeled["label"] == 1)
        middle = value.median()
        add(f"PD, {column.replace('_', ' ')} up to {middle:.2g}", value <= middle)
        add(f"PD, {column.replace('_', ' ')} above {middle:.2g}", value > middle)
    return rows[:MOST_GROUPS]


def shown(rows: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """The table as people read it, wrong answers first."""
    label = rows["label"].map(lambda v: classes[int(v)] if pd.notna(v) else "unknown")
    says = rows["probability"].map(lambda v: classes[int(v >= 0.5)] if pd.notna(v) else "none")
    table = pd.DataFrame(
        {
            "recording": rows["recording"],
            "labeled": label,
            "model says": says,
            "P(PD)": rows["probability"],
            "right": [
                ("" if a == "unknown" or b == "none" else "yes" if a == b else "no")
                for a, b in zip(label, says, strict=True)
            ],
            "task": rows["task"],
            "speaker": rows["speaker"],
        }
    )
    for name in ("sex", "age", "severity", "hoehn_yahr", "updrs_speech"):
        if name in rows and rows[name].notna().any():
            table[name.replace("_", " ")] = rows[name]
    if (rows["problem"] != "").any():
        table["problem"] = rows["problem"]
    return table.sort_values("right", key=lambda s: s.map({"no": 0, "yes": 1}).fillna(2), kind="stable")
