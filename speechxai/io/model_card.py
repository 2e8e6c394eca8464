"""The model card: what a bundle was trained on, how well it does on people it never heard, and what that is not."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import numpy as np

from speechxai.classifiers.calibration import reliability
from speechxai.classifiers.performance import (
    Interval,
    Subjects,
    auroc,
    bootstrap,
    confounds,
    groups,
    performance,
    subset,
)
from speechxai.io.bundle_config import BundleConfig, library_versions

NAMES = {
    "accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "sensitivity": "sensitivity", "specificity": "specificity",
    "auroc": "AUROC", "brier": "Brier score", "log_loss": "log loss", "ece": "expected calibration error",
}  # fmt: skip


def model_card(
    config: BundleConfig,
    about: str,
    subjects: Subjects,
    uncalibrated: Subjects,
    repeats: Sequence[tuple[int, float, float]],
    n: int = 2000,
) -> str:
    """Write the card of a bundle as Markdown.

    Args:
        config: settings of the bundle.
        about: what the data set's card says.
        subjects, uncalibrated: out-of-fold predictions of the fold models that the bundle holds, after and before calibration.
        repeats: (seed, AUROC, AUROC over pairs of like age) of every cross-validation, that of the bundle first.
        n: bootstrap resamples behind every interval.
    """
    found = confounds(subjects, n=n)
    parts = [
        f"# {config.name}",
        f"{config.title}\n\n**For research only. This is not a medical device:** it must not be used to diagnose, screen or treat anybody.",
        _network(config),
        _data(config, subjects, about),
        _training(config),
        _performance(subjects, uncalibrated, n),
        _repeats(repeats),
        _calibration(subjects, uncalibrated),
        _groups(subjects, n),
        _confounds(subjects, found, n),
        _limits(subjects, found),
        "## Library versions\n\n" + _table(["library", "version"], [[k, v] for k, v in library_versions().items()]),
    ]
    return "\n\n".join(parts).rstrip() + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def _network(config: BundleConfig) -> str:
    heard = "each recording whole"
    if config.segment is not None:
        heard = f"segments of {config.segment.length_s:g} s every {config.segment.hop_s:g} s, their logits averaged"
    options = ", ".join(f"{name} = {value}" for name, value in config.options.items()) or "defaults"
    return (
        f"## Network\n\nBackbone `{config.architecture}` ({options}), {config.training['n_parameters']:,} parameters; it hears {heard}. "
        f"Audio at {config.stft.sample_rate} Hz, normalized by {config.audio.normalize}. Output: probability of "
        f"{' and '.join(config.classes)}."
    )


def _data(config: BundleConfig, subjects: Subjects, about: str) -> str:
    t = config.training
    lines = [f"## Data: {t['data']}", f"{t['n_recordings']} recordings of {len(subjects.labels)} subjects."]
    rows = []
    for index, name in enumerate(config.classes[:2]):
        members = subset(subjects, subjects.labels == index)
        ages = members.ages[np.isfinite(members.ages)]
        age = f"{ages.mean():.1f} ({ages.min():.0f} to {ages.max():.0f})" if len(ages) else "unknown"
        sexes = ", ".join(f"{members.sexes.count(s)} {s}" for s in sorted(set(members.sexes)) if s) or "unknown"
        d = members.durations_s
        rows.append([name, len(members.labels), age, sexes, f"{d.mean():.2f} ({d.min():.2f} to {d.max():.2f})"])
    lines.append(_table(["class", "subjects", "age, years: mean (range)", "sex", "duration, s: mean (range)"], rows))
    # The data set's own words, one heading level down.
    quoted = [line for line in about.strip().splitlines() if not line.startswith("# ")]
    lines.append("\n".join(quoted).strip())
    return "\n\n".join(lines)


def _training(config: BundleConfig) -> str:
    t = config.training
    fit = t["fit"]
    how = (
        f"Fold k tests, the next fold stops the training early, the others train: neither the weights nor the choice of the epoch of "
        f"model k saw a speaker of fold k. Best epochs: {', '.join(map(str, t['best_epochs']))}; the final model trains on everybody for "
        f"their median, {t['final_epochs']}. AdamW, learning rate {fit['learning_rate']:g}, weight decay {fit['weight_decay']:g}, batches of "
        f"{fit['batch']} random crops of {fit['crop_s']:g} s, {fit['n_crops']} crops a recording and epoch, classes weighted "
        f"({fit['class_weights']}), level, noise and SpecAugment augmentation, seed {fit['seed']}."
        if fit["epochs"] and t["final_epochs"]
        else "Fold k tests, the others fit the weights; the penalty is chosen by cross-validation over speakers inside them."
    )
    how += f"\n\n{t['note']}" if t.get("note") else ""
    return f"## Training\n\n{config.weights.n_folds or len(set(config.speakers.values()))} folds by speaker, alike in class, sex and age. {how}"


def _performance(subjects: Subjects, uncalibrated: Subjects, n: int) -> str:
    after, before = performance(subjects, n=n), performance(uncalibrated, n=n)
    rows = [[NAMES[name], before[name], after[name]] for name in NAMES]
    return (
        "## How good it is on people it never heard\n\nOne prediction a subject, made by the fold model in this bundle that never heard the "
        f"subject; threshold 0.5; 95 % intervals by bootstrap over subjects ({n:,}, seeded).\n\n"
        + _table(["metric", "before calibration", "as shipped (calibrated)"], rows)
    )


def _repeats(repeats: Sequence[tuple[int, float, float]]) -> str:
    rows = [[seed, f"{auc:.3f}", f"{matched:.3f}"] for seed, auc, matched in repeats]
    text = "## Other folds, other seeds\n\n"
    if len(repeats) > 1:
        values = [auc for _, auc, _ in repeats]
        text += f"AUROC {statistics.mean(values):.3f} +- {statistics.stdev(values):.3f} over {len(values)} cross-validations; the first is the one shipped.\n\n"
    return text + _table(["seed", "AUROC", "AUROC, pairs within 5 years of age"], rows)


def _calibration(subjects: Subjects, uncalibrated: Subjects) -> str:
    parts = [
        "## Calibration\n\nTemperature scaling: the temperature of fold k comes from the out-of-fold logits of the other folds (whose models did "
        "train on subjects of fold k: this one number is all that passes), that of the final model from all of them."
    ]
    for name, which in (("Before", uncalibrated), ("After", subjects)):
        rows = [
            [f"{b.low:.1f} to {b.high:.1f}", b.n, f"{b.mean_probability:.3f}", f"{b.share_positive:.3f}"]
            for b in reliability(which.labels, which.probabilities)
        ]
        parts.append(f"{name}:\n\n" + _table(["P(PD)", "subjects", "mean P(PD)", "share with PD"], rows))
    return "\n\n".join(parts)


def _groups(subjects: Subjects, n: int) -> str:
    rows = []
    for name, members in groups(subjects).items():
        part = subset(subjects, members)
        metrics = performance(part, ("sensitivity", "specificity", "auroc"), n=n)
        n_hc, n_pd = int((part.labels == 0).sum()), int((part.labels == 1).sum())
        rows.append([name, n_hc, n_pd, *(_shown(metric) for metric in metrics.values())])
    return "## By sex and age\n\n" + (
        _table(["group", "HC", "PD", "sensitivity", "specificity", "AUROC"], rows) if rows else "Neither is known."
    )


def _shown(interval: Interval) -> str:
    return "undefined" if np.isnan(interval.value) else str(interval)


def _confounds(subjects: Subjects, found: Mapping[str, Interval], n: int) -> str:
    rows = [[name, value.n, _shown(value)] for name, value in found.items()]
    y, sex = subjects.labels, np.array(subjects.sexes) == "M"
    if any(subjects.sexes):
        alone = bootstrap(lambda i: auroc(y[i], sex[i]), len(y), n=n)
        rows.insert(2, ["sex alone", alone.n, _shown(alone)])
    return (
        "## What else could tell the classes apart\n\nAUROC with 95 % intervals. A confound that does better than the classifier may be what "
        "the classifier hears; within pairs of like age, age cannot help.\n\n"
        + _table(["score", "subjects", "value"], rows)
    )


def _limits(subjects: Subjects, found: Mapping[str, Interval]) -> str:
    n = len(subjects.labels)
    text = f"## Limits\n\n- {n} subjects: the intervals above are wide, and one data set says nothing about other microphones, languages or clinics."
    age = found.get("age alone")
    if age is not None and abs(age.value - 0.5) > 0.1:
        text += (
            f"\n- **Age confound**: age alone gives AUROC {age.value:.3f}, the classifier {found['classifier'].value:.3f}. "
            "Old voices and PD voices share signs; the classifier may have learned age."
        )
    return text + (
        "\n- The explanations show what this network listens to. They do not show what the disease is."
        "\n- A probability is calibrated for this data set's mix of classes, not for any population."
    )
