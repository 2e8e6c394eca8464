"""What a run's numbers mean, in plain sentences. Every sentence follows from the numbers and says the opposite when
they do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from speechxai.evaluation.values import SAID, TRUE
from speechxai.explain.agreement import STRONGEST, likeness
from speechxai.explain.recipe import parse
from speechxai.metrics import METRICS
from speechxai.report.render import HEADLINE, Finding, Tone, is_control, listing, metrics_of, number
from speechxai.stats import ALPHA, FEWEST_SPEAKERS, auc, compared, separation, share_of_speakers, smallest_p

if TYPE_CHECKING:
    import pandas as pd

CONFOUNDED = 0.7
"""AUC from which something that is no sign of disease counts as a possible shortcut."""

SMALL = 0.01
"""A difference in probability below this is called next to nothing, whatever its p-value."""

N_NAMED = 3
"""Recipes that a sentence names before it counts the rest."""


def findings(
    summary: pd.DataFrame,
    predictions: pd.DataFrame,
    agreement: pd.DataFrame,
    classes: Sequence[str],
    unscored: str = "",
    unit: str = "",
) -> list[Finding]:
    """Say what a run shows.

    Args:
        summary: `summary.csv`.
        predictions: `predictions.parquet`.
        agreement: `agreement.csv`.
        classes: names of the classes by index.
        unscored: why no answer is compared with a label, a sentence; "" where it is.
        unit: of a score; "" for classes.
    """
    power = power_sentence(summary)
    if unit:
        about_answers: Finding | None = score_sentence(predictions, classes[0], unit)
    else:
        about_answers = Finding(unscored, "caution") if unscored else classifier_sentence(predictions, classes)
    found = [about_answers, scope_sentence(predictions), confound_sentence(predictions, classes), power]
    if (
        power is not None and power.tone != "caution"
    ):  # else no difference could have shown, and saying so once is enough
        found += [control_sentence(summary, metric, control, unit) for metric in HEADLINE for control in _CONTROL]
    found += [
        budget_sentence(summary),
        combination_sentence(summary),
        agreement_sentence(agreement),
        silence_sentence(summary),
    ]
    return [finding for finding in found if finding is not None]


def classifier_sentence(predictions: pd.DataFrame, classes: Sequence[str]) -> Finding | None:
    """Is the classifier right, and better than chance? An explanation of a wrong classifier explains a mistake."""
    if "predicted" not in predictions:
        return None
    from speechxai.classifiers.validation import auroc, stated

    known = predictions.dropna(subset=["label", "predicted"])
    labels = known["label"].astype(int).to_numpy()
    if known.empty or len(set(labels)) < 2:
        return Finding(
            "The recordings hold one class or no labels, so nothing is said of the classifier's accuracy.", "caution"
        )
    speakers = known["speaker"].astype(str).to_numpy()
    area = auroc(stated(known, classes), labels, speakers=speakers)
    against = "" if len(classes) == 2 else " of each class against the rest"
    right = int((known["predicted"].astype(int) == labels).sum())
    n_fewest = int(known.groupby("label")["speaker"].nunique().min())
    if n_fewest < FEWEST_SPEAKERS:
        return Finding(
            f"The classifier is right for {right} of {len(known)} recordings; AUC{against} {number(area.value, 2)}, of"
            f" too few speakers for an interval ({n_fewest} in the small{'er' if len(classes) == 2 else 'est'} class).",
            "caution",
        )
    share, least, most, n_speakers = share_of_speakers(known["predicted"].astype(int).to_numpy() == labels, speakers)
    text = (
        f"The classifier is right for {right} of {len(known)} recordings ({number(100 * share, 0)} % over {n_speakers}"
        f" speakers, 95 % interval {number(100 * least, 0)} to {number(100 * most, 0)} %); AUC{against}"
        f" {number(area.value, 2)} (95 % interval over speakers {number(area.low, 2)} to {number(area.high, 2)})."
    )
    if round(area.low, 2) > 0.5:
        return Finding(text + " That is better than chance.", "good")
    return Finding(
        text
        + " That is not shown to be better than chance: what is explained below may be the reasons of a classifier that"
        " does not work.",
        "caution",
    )


def score_sentence(predictions: pd.DataFrame, name: str, unit: str) -> Finding:
    """How near does a score come to the truth, and nearer than the mean of these people for everybody?"""
    from speechxai.classifiers.held_out import HeldOutScore
    from speechxai.stats import spearman

    known = predictions.dropna(subset=[SAID, TRUE]) if {SAID, TRUE} <= set(predictions) else predictions[:0]
    by_speaker = known.groupby("speaker")[[SAID, TRUE]].mean() if len(known) else known
    if len(by_speaker) < FEWEST_SPEAKERS:
        return Finding(
            f"The {name} of {len(by_speaker)} speakers is known, too few to say how near the network comes to it.",
            "caution",
        )
    said, true = by_speaker[SAID].to_numpy(float), by_speaker[TRUE].to_numpy(float)
    n = len(true)
    # The mean of the others: a person's own truth would help to guess it.
    mean = (true.sum() - true) / (n - 1)
    found = HeldOutScore(truths=tuple(true), said=tuple(said), baseline=tuple(mean))
    text = (
        f"The network's {name} is {number(found.mae, 3)} {unit} off on average over {n} speakers, where the mean of the"
        f" other speakers is {number(found.mae_of_mean, 3)} off: it takes away {number(100 * found.gain.value, 0)} % of"
        f" that error (95 % interval {number(100 * found.gain.low, 0)} to {number(100 * found.gain.high, 0)} %);"
        f" Spearman's correlation {number(spearman(said, true), 2)}."
    )
    if found.knows:
        return Finding(text, "good")
    return Finding(
        text + " It is not shown to be nearer than that mean: what is explained below may be the reasons of a network"
        " that knows nothing.",
        "caution",
    )


def scope_sentence(predictions: pd.DataFrame) -> Finding | None:
    """How many recordings are unlike those that the model was made for? They are scored all the same."""
    if "scope" not in predictions:
        return None
    states = predictions["scope"].dropna()
    if states.empty:
        return None
    if (states == "unknown").all():
        return Finding(
            "Scope unknown: the model does not say which recordings it was made for, so nobody knows whether it may be"
            " asked about these.",
            "caution",
        )
    outside = predictions[predictions["scope"] == "outside"]
    if outside.empty:
        return Finding(f"All {len(states)} recordings are like those that the model was made for.", "good")
    first = outside.iloc[0]
    return Finding(
        f"{len(outside)} of {len(states)} recordings are outside of what the model was made for: asked about one of"
        f" them alone it gives no class. They are scored here all the same. The first, {first['recording']}:"
        f" {first['scope_reason']}",
        "caution",
    )


def confound_sentence(predictions: pd.DataFrame, classes: Sequence[str]) -> Finding | None:
    """Does age alone separate the classes as well as the classifier does?"""
    if "age" not in predictions or "predicted" not in predictions or len(classes) != 2:
        return None
    known = predictions.dropna(subset=["label", "age", "predicted"])
    if known["label"].nunique() < 2 or known["age"].nunique() < 2:
        return None
    labels = known["label"].astype(int).to_numpy()
    by_age = separation(known["age"].astype(float).to_numpy(), labels)
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
    columns = [name for name in summary.columns if name.startswith("vs_") and name.endswith("_p")]
    parts = [part for _, part in summary.groupby(["model", "metric"])]
    n_compared = max(int(part[columns].notna().to_numpy().sum()) for part in parts)
    if not n_compared:
        return None
    if smallest_p(n_speakers, n_compared) >= ALPHA:
        return Finding(
            f"Not enough speakers to test: with {n_speakers} of them, and after correction for {n_compared}"
            " comparisons, no difference to a control could have reached significance, however large. Read the numbers"
            " as a demonstration.",
            "caution",
        )
    return Finding(f"Statistics rest on {n_speakers} speakers; recordings of one speaker count as one.")


def verdicts(summary: pd.DataFrame, metric: str, control: str) -> dict[str, list[str]]:
    """Recipes that are better, worse or not told apart from a control on a metric, by the rule of `stats.direction`;
    controls left out."""
    found: dict[str, list[str]] = {"better": [], "worse": [], "open": []}
    rows = summary[summary["metric"] == metric]
    for recipe, pairs in compared(rows, best=METRICS.facts(metric)["best"]).items():
        if not is_control(recipe) and not math.isnan(pairs[control].p):
            one = pairs[control]
            found["better" if one.better else "worse" if one.worse else "open"].append(recipe)
    return found


_GOOD = {
    "comprehensiveness@10": "loses more of the decision when its top 10 % of bins are removed than",
    "sufficiency@10": "keeps more of the decision in its top 10 % of bins than",
}
_CONTROL = {
    "energy_map": "the energy control (simply the loudest bins)",
    "random_map": "the random control",
    "edge_map": "the edge control (simply where the spectrogram changes)",
}


def control_sentence(summary: pd.DataFrame, metric: str, control: str, unit: str = "") -> Finding | None:
    """Do explanations beat a control on a metric? Differences are of probability, or of a score in its unit."""
    if metric not in metrics_of(summary) or f"vs_{control}_p" not in summary:
        return None
    found = verdicts(summary, metric, control)
    n = sum(len(names) for names in found.values())
    if not n:
        return None
    claim = f"{_GOOD[metric]} {_CONTROL[control]}, after Holm correction ({metric})"
    worse = (
        f" {len(found['worse'])} of {n} do worse than it: {listing(found['worse'], N_NAMED)}." if found["worse"] else ""
    )
    if not found["better"]:
        return Finding(f"No explanation {claim}.{worse}", "caution")
    part = summary[(summary["metric"] == metric) & summary["recipe"].isin(found["better"])]
    largest = float(part[f"vs_{control}"].abs().max())
    size = f" The largest difference is {number(largest, 3 if largest >= 0.01 else 4)} {unit or 'in probability'}"
    is_small = largest < SMALL and not unit
    size += ": statistically there, practically next to nothing." if is_small else "."
    who = f"{len(found['better'])} of {n} explanations" if n > 1 else "The one explanation"
    verb = (
        _GOOD[metric]
        if len(found["better"]) == 1
        else _GOOD[metric].replace("loses", "lose", 1).replace("keeps", "keep", 1)
    )
    verb = verb.replace("its", "their") if len(found["better"]) > 1 else verb
    return Finding(
        f"{who} {verb} {_CONTROL[control]}, after Holm correction ({metric}):"
        f" {listing(found['better'], N_NAMED)}.{size}{worse}",
        "caution" if is_small else "good" if not found["worse"] else "plain",
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
        f"{len(above)} of {tested} combinations have a better mean {metric} than each of their parts:"
        f" {listing(above, N_NAMED)}. These are means, not tests.",
        "plain",
    )


def agreement_sentence(agreement: pd.DataFrame) -> Finding | None:
    """Do the methods say the same? None in runs of an older version, which have no overlap."""
    if "overlap" not in agreement:
        return None
    own = agreement[~agreement["first"].map(is_control) & ~agreement["second"].map(is_control)]
    own = own.dropna(subset=["overlap"])
    if own.empty:
        return None
    mean, top = float(own["overlap"].mean()), own.iloc[int(own["overlap"].argmax())]
    word = likeness(mean)
    claim = {
        "disagree": "The methods point at different places",
        "partly": "The methods agree in part",
        "agree": "The methods largely agree",
    }[word]
    tones: dict[str, Tone] = {"disagree": "caution", "partly": "plain", "agree": "good"}
    return Finding(
        f"{claim}: two of them have {number(100 * mean, 0)} % of their strongest bins in common (mean over {len(own)}"
        f" pairs), unrelated maps {number(100 * STRONGEST, 0)} %; most alike are {top['first']} and {top['second']}"
        f" ({number(100 * float(top['overlap']), 0)} %).",
        tones[word],
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
