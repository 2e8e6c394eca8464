"""What a run's numbers mean, in plain sentences. Every sentence follows from the numbers and says the opposite when
they do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from speechxai.explain.recipe import parse
from speechxai.metrics import METRICS
from speechxai.report.render import ALPHA, HEADLINE, Finding, is_control, metrics_of, number

if TYPE_CHECKING:
    import pandas as pd

CONFOUNDED = 0.7
"""AUC from which something that is no sign of disease counts as a possible shortcut."""

SMALL = 0.01
"""A difference in probability below this is called next to nothing, whatever its p-value."""

FEWEST_SPEAKERS = 5
"""Speakers a class needs before an interval over speakers says anything."""


def findings(
    summary: pd.DataFrame, predictions: pd.DataFrame, agreement: pd.DataFrame, classes: Sequence[str]
) -> list[Finding]:
    """Say what a run shows.

    Args:
        summary: `summary.csv`.
        predictions: `predictions.parquet`.
        agreement: `agreement.csv`.
        classes: names of the classes by index.
    """
    power = power_sentence(summary)
    found = [classifier_sentence(predictions, classes), confound_sentence(predictions, classes), power]
    if (
        power is not None and power.tone != "caution"
    ):  # else no difference could have shown, and saying so once is enough
        found += [control_sentence(summary, metric, control) for metric in HEADLINE for control in _CONTROL]
    found += [
        budget_sentence(summary),
        combination_sentence(summary),
        agreement_sentence(agreement),
        silence_sentence(summary),
    ]
    return [finding for finding in found if finding is not None]


def listing(names: Sequence[str], n_shown: int = 3) -> str:
    """Name a few of many.

    >>> listing(["a", "b"]), listing(["a", "b", "c", "d", "e"])
    ('a and b', 'a, b, c and 2 more')
    """
    if len(names) > n_shown:
        return f"{', '.join(names[:n_shown])} and {len(names) - n_shown} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def classifier_sentence(predictions: pd.DataFrame, classes: Sequence[str]) -> Finding | None:
    """Is the classifier right, and better than chance? An explanation of a wrong classifier explains a mistake."""
    from speechxai.stats import auc, speaker_bootstrap

    if "predicted" not in predictions or len(classes) != 2:
        return None
    known = predictions.dropna(subset=["label", "predicted"])
    labels = known["label"].astype(int).to_numpy()
    if known.empty or len(set(labels)) < 2:
        return Finding(
            "The recordings hold one class or no labels, so nothing is said of the classifier's accuracy.", "caution"
        )
    scores = known[f"p_{classes[1]}"].astype(float).to_numpy()
    area = auc(scores, labels)
    right = int((known["predicted"].astype(int) == labels).sum())
    n_fewest = int(known.groupby("label")["speaker"].nunique().min())
    if n_fewest < FEWEST_SPEAKERS:
        return Finding(
            f"The classifier is right for {right} of {len(known)} recordings; AUC {number(area, 2)}, of too few"
            f" speakers for an interval ({n_fewest} in the smaller class).",
            "caution",
        )
    low, high = speaker_bootstrap(
        np.stack([scores, labels], axis=1),
        known["speaker"].astype(str).to_numpy(),
        lambda rows: auc(rows[:, 0], rows[:, 1]),
    )
    text = (
        f"The classifier is right for {right} of {len(known)} recordings; AUC {number(area, 2)} "
        f"(95 % interval over speakers {number(low, 2)} to {number(high, 2)})."
    )
    if round(low, 2) > 0.5:
        return Finding(text + " That is better than chance.", "good")
    return Finding(
        text
        + " That is not shown to be better than chance: what is explained below may be the reasons of a classifier that"
        " does not work.",
        "caution",
    )


def confound_sentence(predictions: pd.DataFrame, classes: Sequence[str]) -> Finding | None:
    """Does age alone separate the classes as well as the classifier does?"""
    from speechxai.stats import auc

    if "age" not in predictions or "predicted" not in predictions or len(classes) != 2:
        return None
    known = predictions.dropna(subset=["label", "age", "predicted"])
    if known["label"].nunique() < 2 or known["age"].nunique() < 2:
        return None
    labels = known["label"].astype(int).to_numpy()
    by_age = auc(known["age"].astype(float).to_numpy(), labels)
    by_age = max(by_age, 1 - by_age)
    own = auc(known[f"p_{classes[1]}"].astype(float).to_numpy(), labels)
    text = (
        f"Age alone separates {classes[0]} from {classes[1]} with AUC {number(by_age, 3)}, the classifier with"
        f" {number(own, 3)}"
    )
    if by_age >= own or by_age >= CONFOUNDED:
        return Finding(f"{text}: what the maps show may be age and not disease.", "caution")
    return Finding(f"{text}.")


def power_sentence(summary: pd.DataFrame) -> Finding | None:
    """Could any difference have reached significance with so few speakers?"""
    if summary.empty:
        return None
    n_speakers = int(summary["n_speakers"].max())
    columns = [name for name in ("vs_energy_map_p", "vs_random_map_p") if name in summary]
    n_compared = max((int(part[columns].notna().to_numpy().sum()) for _, part in summary.groupby("metric")), default=0)
    if not n_compared:
        return None
    # The smallest p-value of a two-sided sign-flip test is 2 / 2^n; Holm multiplies the smallest by the number of
    # comparisons.
    smallest = min(1.0, 2 * n_compared * 2.0**-n_speakers)
    if smallest > ALPHA:
        return Finding(
            f"There are only {n_speakers} speakers: after correction for {n_compared} comparisons no difference to a"
            " control could have reached significance, however large. Read the numbers as a demonstration.",
            "caution",
        )
    return Finding(f"Statistics rest on {n_speakers} speakers; recordings of one speaker count as one.")


def verdicts(summary: pd.DataFrame, metric: str, control: str) -> dict[str, list[str]]:
    """Recipes that are better, worse or not told apart from a control on a metric, after Holm correction; controls left
    out."""
    best = METRICS.facts(metric)["best"]
    found: dict[str, list[str]] = {"better": [], "worse": [], "open": []}
    for row in summary[summary["metric"] == metric].to_dict("records"):
        p, difference = float(row[f"vs_{control}_p"]), float(row[f"vs_{control}"])
        if is_control(str(row["recipe"])) or math.isnan(p) or math.isnan(difference):
            continue
        better = difference > 0 if best == "high" else difference < 0
        found["open" if p >= ALPHA or difference == 0 else "better" if better else "worse"].append(str(row["recipe"]))
    return found


_GOOD = {
    "comprehensiveness@10": "loses more of the decision when its top 10 % of bins are removed than",
    "sufficiency@10": "keeps more of the decision in its top 10 % of bins than",
}
_CONTROL = {
    "energy_map": "the energy control (simply the loudest bins)",
    "random_map": "the random control",
}


def control_sentence(summary: pd.DataFrame, metric: str, control: str) -> Finding | None:
    """Do explanations beat a control on a metric?"""
    if metric not in metrics_of(summary) or f"vs_{control}_p" not in summary:
        return None
    found = verdicts(summary, metric, control)
    n = sum(len(names) for names in found.values())
    if not n:
        return None
    claim = f"{_GOOD[metric]} {_CONTROL[control]}, after Holm correction ({metric})"
    worse = f" {len(found['worse'])} of {n} do worse than it: {listing(found['worse'])}." if found["worse"] else ""
    if not found["better"]:
        return Finding(f"No explanation {claim}.{worse}", "caution")
    part = summary[(summary["metric"] == metric) & summary["recipe"].isin(found["better"])]
    largest = float(part[f"vs_{control}"].abs().max())
    size = f" The largest difference is {number(largest, 3 if largest >= 0.01 else 4)} in probability"
    size += ": statistically there, practically next to nothing." if largest < SMALL else "."
    who = f"{len(found['better'])} of {n} explanations" if n > 1 else "The one explanation"
    verb = (
        _GOOD[metric]
        if len(found["better"]) == 1
        else _GOOD[metric].replace("loses", "lose", 1).replace("keeps", "keep", 1)
    )
    verb = verb.replace("its", "their") if len(found["better"]) > 1 else verb
    return Finding(
        f"{who} {verb} {_CONTROL[control]}, after Holm correction ({metric}): {listing(found['better'])}.{size}{worse}",
        "caution" if largest < SMALL else "good" if not found["worse"] else "plain",
    )


def budget_sentence(summary: pd.DataFrame) -> Finding | None:
    """Are soft masks of comparable size?"""
    masks = summary[summary["metric"] == "mean_mask"].set_index("recipe")["mean"].dropna()
    if len(masks) < 2 or masks.min() <= 0:
        return None
    ratio = float(masks.max() / masks.min())
    text = (
        f"Mean soft masks run from {number(float(masks.min()), 4)} ({masks.idxmin()}) to"
        f" {number(float(masks.max()), 4)} ({masks.idxmax()}), a factor of {number(ratio, 0 if ratio >= 10 else 1)}"
    )
    if ratio >= 2:
        return Finding(
            f"{text}: scores of soft masks (AI, AD, AG, FF, Fid-In) are not comparable between rows; the @ columns"
            " are.",
            "caution",
        )
    return Finding(f"{text}: rows have similar budgets.", "good")


def combination_sentence(summary: pd.DataFrame, metric: str = "comprehensiveness@10") -> Finding | None:
    """Does combining help? Means only, no test."""
    if metric not in metrics_of(summary):
        return None
    means = summary[summary["metric"] == metric].set_index("recipe")["mean"].to_dict()
    higher = METRICS.facts(metric)["best"] == "high"
    above, tested = [], 0
    for recipe, mean in means.items():
        parsed = parse(str(recipe))
        parts = [means.get(str(part), math.nan) for part in parsed.parts]
        if not parts or any(math.isnan(value) for value in (*parts, mean)):
            continue
        tested += 1
        if mean > max(parts) if higher else mean < min(parts):
            above.append(str(recipe))
    if not tested:
        return None
    if not above:
        return Finding(
            f"No combination has a better mean {metric} than the better of its parts ({tested} compared).", "plain"
        )
    return Finding(
        f"{len(above)} of {tested} combinations have a better mean {metric} than each of their parts: {listing(above)}."
        " These are means, not tests.",
        "plain",
    )


def agreement_sentence(agreement: pd.DataFrame) -> Finding | None:
    """Do the methods say the same?"""
    own = agreement[~agreement["first"].map(is_control) & ~agreement["second"].map(is_control)].dropna(subset=["iou"])
    if own.empty:
        return None
    mean, top = float(own["iou"].mean()), own.iloc[int(own["iou"].argmax())]
    if mean < 0.25:
        text = (
            f"The methods point at different places: their strongest bins overlap with a mean IoU of {number(mean, 2)}"
            f" over {len(own)} pairs"
        )
    elif mean < 0.5:
        text = f"The methods agree in part: mean IoU of their strongest bins {number(mean, 2)} over {len(own)} pairs"
    else:
        text = f"The methods largely agree: mean IoU of their strongest bins {number(mean, 2)} over {len(own)} pairs"
    return Finding(
        f"{text}; most alike are {top['first']} and {top['second']} ({number(float(top['iou']), 2)}).",
        "caution" if mean < 0.25 else "plain" if mean < 0.5 else "good",
    )


def silence_sentence(summary: pd.DataFrame) -> Finding | None:
    """Does a map put its evidence where nobody speaks?"""
    part = summary[(summary["metric"] == "silence_share") & ~summary["recipe"].map(is_control)].dropna(subset=["mean"])
    if part.empty:
        return None
    top = part.iloc[int(part["mean"].argmax())]
    share = number(100 * float(top["mean"]), 0)
    if float(top["mean"]) >= 0.25:
        return Finding(
            f"{top['recipe']} puts {share} % of its evidence where nobody speaks: a sign that the classifier uses a"
            " shortcut.",
            "caution",
        )
    return Finding(
        f"At most {share} % of any explanation's evidence lies where nobody speaks ({top['recipe']}).", "good"
    )
