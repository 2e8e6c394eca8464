"""How good is a classifier on people it never heard?

Three parts: cross-validation by speaker, whose predictions are of models that never heard the speaker; calibration, so
that probabilities mean what they say; and performance, one prediction a subject, with intervals, groups, and what age
or length alone would give.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from speechxai.classifiers.base import Classifier
from speechxai.classifiers.fit import (
    T_MAX,
    T_MIN,
    EpochStore,
    FitConfig,
    History,
    Progress,
    check_recordings,
    fit,
    fit_temperature,
    flatness,
    initialized,
    recording_logits,
    spread_of,
    truths_of,
)
from speechxai.classifiers.network import class_order
from speechxai.data.manifest import AGE_BANDS, halves
from speechxai.data.manifest import groups_of as groups_of
from speechxai.errors import SpeechXAIError
from speechxai.stats import (
    N_BINS,
    N_RESAMPLES,
    auc,
    auc_interval,
    bins_of,
    bootstrap,
    bootstrap_means,
    expected_calibration_error,
    share_interval,
    speaker_bootstrap,
    spearman,
)
from speechxai.types import CLASS_NAMES, Array, Recording

if TYPE_CHECKING:
    import pandas as pd


# How good is a classifier on people it never heard?
# Cross-validation by speaker: every recording is predicted by a model that never heard its speaker.
Store = Callable[[str], EpochStore]
"""Gives the store of a part of the training: "fold0", "fold1", ..., "final"."""


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """Out-of-fold predictions of N recordings and the fold models that made them.

    Args:
        recordings, speakers: names, N each.
        labels: (N,) int64; of a score the truth (N,) in its unit.
        folds: (N,) int64, the fold whose model never heard the recording's speaker.
        logits: (N, C) of that model, before calibration; of a score (N, 1) in its unit, which is calibrated by none.
        calibrations: of the K fold models; that of fold k comes from the out-of-fold logits of the other folds.
        models: the K calibrated fold models, in eval mode.
        histories: of the K trainings.
        restarts: how often each of them was trained again, because the network before had no spread.
    """

    recordings: tuple[str, ...]
    speakers: tuple[str, ...]
    labels: Tensor
    folds: Tensor
    logits: Tensor
    calibrations: tuple[Calibration, ...]
    models: tuple[Classifier, ...]
    histories: tuple[History, ...]
    restarts: tuple[int, ...]

    @property
    def uncalibrated(self) -> Tensor:
        """Probabilities before calibration, as `Subjects` has them: (N,) of the second of two classes, else (N, C)."""
        return _as_told(self.logits.softmax(-1))

    @property
    def probabilities(self) -> Tensor:
        """Calibrated out-of-fold probabilities, as `Subjects` has them: (N,) of the second of two classes, else
        (N, C)."""
        return _as_told(self.calibrated.softmax(-1))

    @property
    def calibrated(self) -> Tensor:
        """Calibrated out-of-fold logits (N, C)."""
        found = torch.empty_like(self.logits)
        for k, calibration in enumerate(self.calibrations):
            found[self.folds == k] = calibration(self.logits[self.folds == k])
        return found

    @property
    def final_calibration(self) -> Calibration:
        """Calibration for a model trained on everybody: that of all out-of-fold logits together."""
        if self.logits.shape[1] == 1:
            return NOT_MOVED
        return fit_calibration(self.logits, self.labels)

    @property
    def flat(self) -> tuple[str, ...]:
        """What keeps each of the K networks from giving answers, by its out-of-fold logits; "" where nothing does."""
        return flat_folds(self.logits, self.folds, self.models[0].class_names, self.calibrated)

    @property
    def uncalibrated_because(self) -> str:
        """Which calibrations are none, and why, in words; "" where all are."""
        problems: dict[str, list[str]] = {}
        for k, calibration in enumerate(self.calibrations):
            problems.setdefault(calibration.problem, []).append(f"fold {k}")
        problems.setdefault(self.final_calibration.problem, []).append("the final model")
        return "; ".join(f"{', '.join(where)}: {problem}" for problem, where in problems.items() if problem)

    @property
    def final_epochs(self) -> int:
        """Epochs for a model trained on everybody: the median of the fold models' best."""
        return max(1, round(statistics.median(history.best_epoch + 1 for history in self.histories)))


def _as_told(probabilities: Tensor) -> Tensor:
    """(N, C) as `Subjects` has them: of two classes that of the second alone."""
    return probabilities[:, 1] if probabilities.shape[1] == 2 else probabilities


def flat_folds(
    logits: Tensor, folds: Tensor, class_names: Sequence[str], calibrated: Tensor | None = None
) -> tuple[str, ...]:
    """`fit.flatness` of every fold's network, beside the others.

    Args:
        logits: (N, C), out of fold; log probabilities do as well.
        folds: (N,) int64 from 0.
        class_names: names by index.
        calibrated: (N, C), what is answered; by default the logits.
    """
    says = (logits if calibrated is None else calibrated).argmax(dim=1)
    known = sorted(set(folds.tolist()))
    # A network that gives every recording one class says nothing of how often that class is usual.
    both = {j for j in known if len(set(says[folds == j].tolist())) > 1}
    found = []
    for k in range(known[-1] + 1 if known else 0):
        own = folds == k
        spreads = [spread_of(logits[folds == j]) for j in known if j != k]
        fellows = torch.isin(folds, torch.tensor(sorted(both - {k}), dtype=folds.dtype))
        shares = [float((says[fellows] == c).double().mean()) for c in range(len(class_names))] if fellows.any() else []
        usual = statistics.median(spreads) if spreads else 0.0
        mine = None if calibrated is None else calibrated[own]
        found.append(flatness(logits[own], class_names, usual, shares, mine))
    return tuple(found)


def check_fold_list(recordings: Sequence[Recording], folds: Sequence[int]) -> list[int]:
    """Return the folds as ints. Raises SpeechXAIError for a speaker in two folds, a gap in the numbers, or under 3
    folds."""
    numbers = [int(fold) for fold in folds]
    if len(numbers) != len(recordings):
        raise SpeechXAIError(
            f"Every recording needs a fold. Got {len(recordings)} recordings and {len(numbers)} folds."
        )
    home: dict[str, int] = {}
    for recording, fold in zip(recordings, numbers, strict=True):
        if home.setdefault(recording.speaker, fold) != fold:
            raise SpeechXAIError(
                f"The speaker '{recording.speaker}' is in fold {home[recording.speaker]} and in fold {fold}: split by"
                " speaker, not by recording."
            )
    n_folds = max(numbers, default=-1) + 1
    if n_folds < 3 or set(numbers) != set(range(n_folds)):
        raise SpeechXAIError(
            f"Folds must be numbered 0, 1, ... without a gap, at least 3 of them. Got {sorted(set(numbers))}."
        )
    return numbers


def cross_validate(
    make_classifier: Callable[[], Classifier],
    recordings: Sequence[Recording],
    folds: Sequence[int],
    config: FitConfig | None = None,
    progress: Progress | None = None,
    store: Store | None = None,
    *,
    calibrate: bool = True,
) -> CrossValidation:
    """Train one model a fold and predict each recording with the model that never heard its speaker.

    Fold k is tested; the next fold stops the training early; the others train. So neither the weights nor the choice
    of the epoch of model k saw a speaker of fold k. A network that says the same of the speakers who stop it
    (`fit.flatness`) is trained again, at most `config.restarts` times; what is left of that stands in
    `CrossValidation.flat`.

    Args:
        make_classifier: makes an untrained classifier.
        recordings: N labeled recordings.
        folds: fold of every recording, 0 to K - 1, K at least 3.
        store: gives the place of every fold's training state, for resuming.
        calibrate: False leaves the networks' logits as they are.

    Raises:
        SpeechXAIError: a speaker in two folds, too few folds, or what `fit` refuses.
    """
    config = config or FitConfig()
    numbers = check_fold_list(recordings, folds)
    n_folds = max(numbers) + 1
    untrained = initialized(make_classifier, config.seed)
    unit, score = untrained.unit, untrained.class_names[0]
    check_recordings(recordings, untrained.stft.sample_rate, score if unit else "")
    parts = [[r for r, fold in zip(recordings, numbers, strict=True) if fold == k] for k in range(n_folds)]

    def train(k: int, attempt: int) -> tuple[Classifier, History]:
        validation = (k + 1) % n_folds
        training = [r for r, fold in zip(recordings, numbers, strict=True) if fold not in (k, validation)]
        how = config if attempt == 0 else again(config, attempt)
        classifier = initialized(make_classifier, how.seed)
        name = f"fold{k}" if attempt == 0 else f"fold{k}-again{attempt}"
        shown = _shifted(progress, k, n_folds) if attempt == 0 else _standing(progress, k, n_folds, config.epochs)
        return classifier, fit(classifier, training, parts[validation], how, shown, store(name) if store else None)

    def heard(k: int, classifier: Classifier) -> Tensor:
        """Logits by which a network is judged: of the speakers that stopped its training, not of those it tests."""
        return recording_logits(classifier, parts[(k + 1) % n_folds])

    trained, judged = [], []
    for k in range(n_folds):
        trained.append(train(k, 0))
        judged.append(heard(k, trained[k][0]))
        if progress is not None:
            progress((k + 1) * config.epochs, n_folds * config.epochs, f"fold {k + 1} of {n_folds} done")
    restarts = [0] * n_folds
    names = trained[0][0].class_names
    usual = statistics.median(spread_of(logits) for logits in judged)
    for k in range(n_folds):
        best = spread_of(judged[k])
        while flatness(judged[k], names, usual) and restarts[k] < config.restarts:
            restarts[k] += 1
            other = train(k, restarts[k])
            judged[k] = heard(k, other[0])
            if not flatness(judged[k], names, usual) or spread_of(judged[k]) > best:
                trained[k], best = other, spread_of(judged[k])
    rows: dict[int, Tensor] = {}
    for k, (classifier, _) in enumerate(trained):
        members = [index for index, fold in enumerate(numbers) if fold == k]
        rows |= dict(zip(members, recording_logits(classifier, parts[k]), strict=True))
    logits = torch.stack([rows[index] for index in range(len(recordings))])
    labels, fold_of = truths_of(untrained, recordings), torch.tensor(numbers)
    calibrations = tuple(
        fit_calibration(logits[fold_of != k], labels[fold_of != k])
        if calibrate and not unit
        else Calibration(1.0, (0.0,) * len(names))
        for k in range(n_folds)
    )
    # What a score is counted in, its network has learned.
    for (model, _), calibration in zip(trained, () if unit else calibrations, strict=not unit):
        calibration.give(model)
    return CrossValidation(
        tuple(r.id for r in recordings),
        tuple(r.speaker for r in recordings),
        labels,
        fold_of,
        logits,
        calibrations,
        tuple(model for model, _ in trained),
        tuple(history for _, history in trained),
        tuple(restarts),
    )


def again(config: FitConfig, attempt: int) -> FitConfig:
    """How a network that had no spread is trained again: from another seed, with more patience, and with epochs
    compared by what their logits say rather than by how large they are."""
    seed = config.seed + 1_000 * attempt
    return replace(config, seed=seed, patience=2 * config.patience, stop_on="scaled")


def fit_final(
    make_classifier: Callable[[], Classifier],
    recordings: Sequence[Recording],
    validated: CrossValidation,
    config: FitConfig | None = None,
    progress: Progress | None = None,
    store: Store | None = None,
) -> tuple[Classifier, History]:
    """Train a calibrated model on all recordings, for as many epochs as the fold models needed (median)."""
    config = replace(config or FitConfig(), epochs=validated.final_epochs)
    classifier = initialized(make_classifier, config.seed)
    history = fit(classifier, recordings, (), config, progress, store("final") if store else None)
    if not classifier.unit:
        validated.final_calibration.give(classifier)
    return classifier, history


def _shifted(progress: Progress | None, k: int, n_folds: int) -> Progress | None:
    if progress is None:
        return None
    return lambda done, total, what: progress(k * total + done, n_folds * total, f"fold {k + 1} of {n_folds}, {what}")


def _standing(progress: Progress | None, k: int, n_folds: int, n_epochs: int) -> Progress | None:
    """Show a training that was not planned: the bar is full and stands."""
    if progress is None:
        return None
    whole = n_folds * n_epochs
    return lambda done, total, what: progress(whole, whole, f"fold {k + 1} of {n_folds} again, {what}")


# Do probabilities mean what they say? Platt scaling, reliability, calibration errors.
SLOPES = (1 / T_MAX, 1 / T_MIN)
RIDGE = 1e-6
UNBOUNDED = (
    "no slope is steep enough (classes that are told apart without an error, or logits that hardly differ): they are"
    " left as they are"
)
NOTHING = "the logits say nothing of people whom the network never heard"


@dataclass(frozen=True)
class Calibration:
    """Logits to calibrated logits: z / temperature + intercept (C,); `problem` says in words why it is none, "" where
    it is one."""

    temperature: float
    intercept: tuple[float, ...]
    problem: str = ""

    def __call__(self, logits: Tensor) -> Tensor:
        """(N, C) to (N, C)."""
        return logits / self.temperature + torch.tensor(self.intercept, dtype=logits.dtype)

    def give(self, classifier: Classifier) -> None:
        """Make a classifier answer so."""
        classifier.temperature.fill_(self.temperature)
        classifier.intercept.copy_(torch.tensor(self.intercept))


NOT_MOVED = Calibration(1.0, (0.0,))
"""Of a score."""


def fit_calibration(logits: Tensor, labels: Tensor, *, intercept: bool = True) -> Calibration:
    """Temperature and intercept whose logits / T + b have the lowest mean cross-entropy (Platt 1999; Guo et al. 2017).

    With two classes this is Platt's line on the logit margin; with more it is temperature scaling with a bias a class.
    Networks that were trained with weighted classes need the bias, or their mean probability is not the share of the
    class. The temperature stays within [0.1, 10], so that the order of answers never turns; the biases sum to 0.

    A temperature at a bound is no calibration, and said. At 0.1 the classes are told apart without an error, so that
    no slope is steep enough, or the logits hardly differ: they are left as they are, for ten times of them would only
    pretend to be sure. At 10
    the logits say nothing, or the contrary, of people whom the network never heard; what is left is the class's share.

    Args:
        logits: (N, C) of recordings that the network was not trained on.
        labels: (N,) int64.
        intercept: False leaves the bias 0.
    """
    n_classes = logits.shape[1]
    if not intercept:
        return Calibration(fit_temperature(logits, labels), (0.0,) * n_classes)
    from scipy.optimize import minimize

    z = logits.double().numpy()
    z = z - z.mean(axis=1, keepdims=True)
    truth = np.eye(n_classes)[labels.numpy()]

    def loss(x: Array) -> tuple[float, Array]:
        values = x[0] * z + x[1:]
        values = values - values.max(axis=1, keepdims=True)
        log_p = values - np.log(np.exp(values).sum(axis=1, keepdims=True))
        off = (np.exp(log_p) - truth) / len(z)
        # The faint penalty picks one of the biases that say the same, and keeps those of absent classes finite.
        gradient = np.concatenate([[(off * z).sum()], off.sum(axis=0) + RIDGE * x[1:]])
        return float(-(truth * log_p).sum() / len(z) + RIDGE * (x[1:] ** 2).sum() / 2), gradient

    start = np.concatenate([[1.0], np.zeros(n_classes)])
    found = minimize(
        loss,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=[SLOPES, *[(None, None)] * n_classes],
        options={"ftol": 1e-14, "gtol": 1e-9, "maxiter": 1000},
    ).x
    if found[0] > SLOPES[1] * (1 - 1e-6):
        return Calibration(1.0, (0.0,) * n_classes, UNBOUNDED)
    said = NOTHING if found[0] < SLOPES[0] * (1 + 1e-6) else ""
    return Calibration(float(1 / found[0]), tuple(float(b) for b in found[1:] - found[1:].mean()), said)


@dataclass(frozen=True)
class ReliabilityBin:
    """Predictions between two probabilities: how many, their mean, and the share that has the disease (or, of more than
    two classes, that is right)."""

    low: float
    high: float
    n: int
    mean_probability: float
    share_positive: float


def reliability(labels: ArrayLike, probabilities: ArrayLike, n_bins: int = N_BINS) -> list[ReliabilityBin]:
    """Split predictions into `n_bins` equal ranges of the probability of the second class, or, where there are more
    than two, of the answer; empty ranges are left out.

    >>> reliability([0, 1, 1], [0.1, 0.7, 0.9], n_bins=2)[1].n
    2
    """
    y, p = of_answer(labels, probabilities)
    place = bins_of(p, n_bins)
    return [
        ReliabilityBin(
            k / n_bins,
            (k + 1) / n_bins,
            int((place == k).sum()),
            float(p[place == k].mean()),
            float(y[place == k].mean()),
        )
        for k in range(n_bins)
        if (place == k).any()
    ]


def of_answer(labels: ArrayLike, probabilities: ArrayLike) -> tuple[Array, Array]:
    """What a reliability table compares: of two classes label (N,) and probability (N,) of the second; of more (N, C)
    whether the answer is right, and its probability."""
    y, p = np.asarray(labels, dtype=float), np.asarray(probabilities, dtype=float)
    return (y, p) if p.ndim == 1 else ((p.argmax(axis=1) == y).astype(float), p.max(axis=1))


def brier_score(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean of (p - y)^2, y = 1 for the second class; 0 is best, 0.25 is what p = 0.5 gives (Brier 1950).

    Of more than two classes, probabilities (N, C): the sum over classes, as Brier has it; 1 - 1 / C is what 1 / C for
    everybody gives.

    >>> round(brier_score([0, 2], [[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]]), 3)
    0.31
    """
    return float(np.mean(_brier_losses(labels, probabilities)))


def _brier_losses(labels: ArrayLike, probabilities: ArrayLike) -> Array:
    y, p = np.asarray(labels, dtype=float), np.asarray(probabilities, dtype=float)
    found: Array = (p - y) ** 2 if p.ndim == 1 else ((p - _indicators(y, p.shape[1])) ** 2).sum(axis=1)
    return found


def log_loss(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean negative log-likelihood, nats; 0 is best, ln C (0.693 of two classes) is what 1 / C for everybody gives.

    Args:
        labels: (N,).
        probabilities: (N,) of the second of two classes, or (N, C).
    """
    return float(np.mean(_log_losses(labels, probabilities)))


def _log_losses(labels: ArrayLike, probabilities: ArrayLike) -> Array:
    y, p = np.asarray(labels, dtype=float), np.clip(np.asarray(probabilities, dtype=float), 1e-7, 1 - 1e-7)
    own: Array = p[np.arange(len(p)), y.astype(int)] if p.ndim == 2 else np.where(y == 1, p, 1 - p)
    found: Array = -np.log(own)
    return found


def _indicators(labels: Array, n_classes: int) -> Array:
    """(N,) to (N, C): 1 in the column of the label."""
    return np.asarray(np.eye(n_classes)[labels.astype(int)])


# Performance, subject by subject: people are the independent cases, however many recordings they made.


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval; NaN where undefined. `n` is the number of subjects."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        if self.low != self.low:
            return f"{self.value:.3f} (no interval: too few subjects)"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, eq=False)
class Subjects:
    """One row a subject: label (S,), mean probability over the subject's recordings, age (S,), mean duration (S,), sex.

    Of two classes the probability is that of the second, (S,); of more it is (S, C). Unknown ages are NaN, unknown
    sexes "".
    """

    speakers: tuple[str, ...]
    labels: Array
    probabilities: Array
    ages: Array
    durations_s: Array
    sexes: tuple[str, ...]
    classes: tuple[str, ...] = CLASS_NAMES

    @property
    def answers(self) -> Array:
        """The most probable class of every subject (S,), int; of several the first."""
        p = self.probabilities
        return (p > 0.5).astype(int) if p.ndim == 1 else p.argmax(axis=1)


def by_subject(
    speakers: Sequence[str],
    labels: ArrayLike,
    probabilities: ArrayLike,
    metadata: Sequence[tuple[float, float, str]],
    classes: Sequence[str] = CLASS_NAMES,
) -> Subjects:
    """Average the recordings of every subject.

    Args:
        speakers: of N recordings.
        labels: (N,).
        probabilities: (N,) of the second of two classes, or (N, C).
        metadata: (age, duration in s, sex) of each recording.
        classes: names by index.

    Raises:
        SpeechXAIError: a subject with two labels.
    """
    y, p = np.asarray(labels, dtype=float), np.asarray(probabilities, dtype=float)
    names = tuple(dict.fromkeys(speakers))
    rows = [np.array([i for i, speaker in enumerate(speakers) if speaker == name]) for name in names]
    for name, members in zip(names, rows, strict=True):
        if len(set(y[members])) > 1:
            how = "both" if len(classes) == 2 else "several"
            raise SpeechXAIError(f"The speaker '{name}' has recordings of {how} classes: mend the labels.")
    ages, durations = np.array([m[0] for m in metadata], dtype=float), np.array([m[1] for m in metadata], dtype=float)
    return Subjects(
        names,
        np.array([y[m[0]] for m in rows]),
        np.array([p[m].mean(axis=0) for m in rows]),
        np.array([ages[m[0]] for m in rows]),
        np.array([durations[m].mean() for m in rows]),
        tuple(metadata[m[0]][2] for m in rows),
        tuple(classes),
    )


def matched_auroc(labels: ArrayLike, scores: ArrayLike, ages: ArrayLike, tolerance_years: float = 5.0) -> float:
    """`auc` over the pairs of one of each class whose ages differ by at most `tolerance_years`: what is left when age
    cannot help."""
    y, a = np.asarray(labels, dtype=float), np.asarray(ages, dtype=float)
    near = np.abs(a[y == 1][:, None] - a[y == 0][None, :]) <= tolerance_years
    return auc(scores, y, near)


def _share(hits: Array) -> Interval:
    """Share of subjects with its exact interval; none under two subjects."""
    k, n = int(hits.sum()), hits.size
    low, high = share_interval(k, n) if n > 1 else (float("nan"), float("nan"))
    return Interval(k / n if n else float("nan"), low, high, n)


def _mean_of_shares(shares: Sequence[Interval]) -> Interval:
    """Mean of shares of different people, its interval from theirs (zou2008construction)."""
    n = len(shares)
    value = sum(each.value for each in shares) / n
    low = value - math.hypot(*(each.value - each.low for each in shares)) / n
    high = value + math.hypot(*(each.high - each.value for each in shares)) / n
    return Interval(value, low, high, sum(each.n for each in shares))


LOSSES: dict[str, Callable[[Array, Array], float]] = {
    "brier": brier_score,
    "log_loss": log_loss,
    "ece": lambda labels, probabilities: expected_calibration_error(*of_answer(labels, probabilities)[::-1]),
}
"""What probabilities cost, of labels (N,) and probabilities (N,) of the second of two classes, or (N, C)."""

_MEAN_LOSSES = {"brier": _brier_losses, "log_loss": _log_losses}

METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "auroc": "AUROC",
    "brier": "Brier score",
    "log_loss": "log loss",
    "ece": "expected calibration error",
}
"""Subject-level metrics and what people call them. Of two classes the second is answered above a probability of 0.5;
of more, which have no sensitivity and specificity, the most probable one."""

OF_TWO_CLASSES = ("sensitivity", "specificity")


def interval(statistic: Callable[[Array], float], n_subjects: int, n: int = N_RESAMPLES, seed: int = 0) -> Interval:
    """Value of a statistic over all subjects, with its interval by `stats.bootstrap`.

    Args:
        statistic: takes numbers of subjects (with repeats) and gives the value.
        n_subjects: how many there are.
        n: resamples.
        seed: of the draws.
    """
    value = statistic(np.arange(n_subjects)) if n_subjects else float("nan")
    return Interval(value, *bootstrap(statistic, n_subjects, n, seed), n_subjects)


def macro_auc(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Mean over the classes that are there of the AUC of each against the rest (hand2001simple); `stats.auc` where
    probabilities are (N,), of two classes.

    >>> round(macro_auc([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.3, 0.4, 0.3], [0.1, 0.6, 0.3]], [0, 1, 2, 1]), 3)
    0.889

    Returns:
        In [0, 1]; NaN with fewer than two classes.
    """
    p, y = np.asarray(probabilities, dtype=float), np.asarray(labels, dtype=int)
    if p.ndim == 1:
        return auc(p, y)
    there = np.unique(y)
    return float(np.mean([auc(p[:, k], y == k) for k in there])) if len(there) > 1 else float("nan")


def auroc(
    scores: Array, labels: Array, n: int = N_RESAMPLES, seed: int = 0, speakers: ArrayLike | None = None
) -> Interval:
    """`macro_auc` of scores (S,) or (S, C), with its interval by bootstrap over speakers; where no resample differs,
    with that of a share, see `stats.auc_interval`.

    Args:
        scores: of subjects, or of their recordings.
        labels: (S,).
        n: resamples.
        seed: of the draws.
        speakers: (S,) who spoke; every row is somebody else without them.
    """
    if speakers is None:
        # Draws go by place: the same people have one interval, in whatever order they come.
        order = np.lexsort((labels, *np.atleast_2d(scores.T)[::-1]))
        scores, labels = scores[order], labels[order]
    who = np.arange(len(labels)) if speakers is None else np.asarray(speakers)
    n_speakers = len(np.unique(who))
    if scores.ndim == 1:
        return Interval(auc(scores, labels), *auc_interval(scores, labels, who, n, seed), n_speakers)
    value, there = macro_auc(scores, labels), np.unique(labels.astype(int))
    if len(there) < 2 or min(len(np.unique(who[labels == k])) for k in there) < 2:
        return Interval(value, float("nan"), float("nan"), n_speakers)
    if all(auc(scores[:, k], labels == k) in (0.0, 1.0) for k in there):
        ends = _mean_of_ends([auc_interval(scores[:, k], labels == k, who) for k in there])
    else:
        rows = np.column_stack([scores, labels])
        ends = speaker_bootstrap(rows, who, lambda drawn: macro_auc(drawn[:, :-1], drawn[:, -1]), n, seed)
    return Interval(value, *ends, n_speakers)


def _mean_of_ends(ends: Sequence[tuple[float, float]]) -> tuple[float, float]:
    low, high = np.mean(np.asarray(ends), axis=0)
    return float(low), float(high)


def alone(values: Array, subjects: Subjects, n: int = N_RESAMPLES, seed: int = 0) -> Interval:
    """How well something that is not the answer tells the classes apart: an AUROC of two classes; of more that of the
    two that it tells apart best, counted so that it is at least 0.5."""
    y = subjects.labels
    if len(subjects.classes) == 2:
        return auroc(values, y, n, seed)
    areas = {(a, b): auc(values[(y == a) | (y == b)], y[(y == a) | (y == b)] == b) for a, b in _pairs(subjects)}
    a, b = max(areas, key=lambda pair: abs(areas[pair] - 0.5) if areas[pair] == areas[pair] else -1.0)
    of_two = (y == a) | (y == b)
    sign = -1.0 if areas[a, b] < 0.5 else 1.0
    return auroc(sign * values[of_two], (y[of_two] == b).astype(float), n, seed)


def _pairs(subjects: Subjects) -> list[tuple[int, int]]:
    return list(combinations(range(len(subjects.classes)), 2))


def performance(
    subjects: Subjects, names: Iterable[str] = METRICS, *, n: int = N_RESAMPLES, seed: int = 0
) -> dict[str, Interval]:
    """METRICS, all or those in `names`, with their intervals: exact for shares of subjects, else by bootstrap over
    subjects. OF_TWO_CLASSES are left out where there are more."""
    y, p = subjects.labels, subjects.probabilities
    right = subjects.answers == y
    of_class = [_share(right[y == k]) for k in reversed(range(len(subjects.classes)))]
    shares = {"accuracy": _share(right), "balanced_accuracy": _mean_of_shares(of_class)}
    if len(of_class) == 2:
        shares |= dict(zip(OF_TWO_CLASSES, of_class, strict=True))
    found = {}
    for name in names:
        if name in shares:
            found[name] = shares[name]
        elif name in OF_TWO_CLASSES:
            continue
        elif name == "auroc":
            found[name] = auroc(p, y, n, seed)
        elif name in _MEAN_LOSSES:  # the mean of what every subject costs, of which all resamples are drawn at once
            each = _MEAN_LOSSES[name](y, p)
            low, high = bootstrap_means(each[:, None], n, seed)
            found[name] = Interval(LOSSES[name](y, p), float(low[0]), float(high[0]), len(y))
        else:
            loss = LOSSES[name]
            found[name] = interval(lambda i, loss=loss: loss(y[i], p[i]), len(y), n, seed)  # type: ignore[misc]
    return found


def knowing_nothing(subjects: Subjects) -> dict[str, Subjects]:
    """What two answers that hear nobody would score: always the share of the class, and always the largest class."""
    if subjects.probabilities.ndim == 2:
        shares = _indicators(subjects.labels, len(subjects.classes)).mean(axis=0)
        largest = np.eye(len(shares))[shares.argmax()]
        everybody = (len(subjects.labels), 1)
        return {
            "base rate": replace(subjects, probabilities=np.tile(shares, everybody)),
            "largest class": replace(subjects, probabilities=np.tile(largest, everybody)),
        }
    share = float(subjects.labels.mean()) if len(subjects.labels) else float("nan")
    return {
        "base rate": replace(subjects, probabilities=np.full_like(subjects.probabilities, share)),
        "larger class": replace(subjects, probabilities=np.full_like(subjects.probabilities, float(share > 0.5))),
    }


def not_calibrated_because(subjects: Subjects, before: Subjects) -> str:
    """Why probabilities must not be called calibrated, in words; "" where they may.

    They may where they cost less than the base rate does, by the Brier score and by the log loss (or whoever says the
    share of the disease to everybody knows more), and where calibration has not moved them further from the observed
    shares (or it is calibration in name alone). Compared as they are printed, with three decimals.

    Args:
        subjects: out-of-fold predictions as they are answered.
        before: the same before calibration.
    """
    base = knowing_nothing(subjects)["base rate"]

    def cost(name: str, which: Subjects) -> float:
        return round(LOSSES[name](which.labels, which.probabilities), 3)

    for name, words in (("brier", "Brier score"), ("log_loss", "log loss")):
        own, nothing = cost(name, subjects), cost(name, base)
        if not own < nothing:
            return f"its {words} of {own:.3f} is no better than the {nothing:.3f} of the base rate"
    after, raw = cost("ece", subjects), cost("ece", before)
    if after > raw:
        return f"its calibration error rose from {raw:.3f} to {after:.3f}"
    return ""


def groups(subjects: Subjects) -> dict[str, Array]:
    """Subgroups with at least one subject, by sex and by age band: name -> members (S,)."""
    sex = np.array(subjects.sexes)
    found = {f"sex {name}": sex == name for name in sorted(set(subjects.sexes)) if name}
    for low, high, name in AGE_BANDS:
        found[name] = (subjects.ages >= low) & (subjects.ages < high)
    return {name: members for name, members in found.items() if members.any()}


def subset(subjects: Subjects, members: Array) -> Subjects:
    """Return the subjects whose entry in `members` (S,) is true."""
    i = np.flatnonzero(members)
    return Subjects(
        tuple(subjects.speakers[k] for k in i),
        subjects.labels[i],
        subjects.probabilities[i],
        subjects.ages[i],
        subjects.durations_s[i],
        tuple(subjects.sexes[k] for k in i),
        subjects.classes,
    )


def confounds(subjects: Subjects, *, n: int = 2000, seed: int = 0) -> dict[str, Interval]:
    """What things other than the voice would give, and what is left of the classifier when age cannot help.

    Keys: `age alone`, `duration alone`, `classifier`, `classifier, ages within 5 years`, `classifier, overlapping
    ages`, `age alone, overlapping ages`, each an AUROC; and `rank correlation of P(PD) with age among HC`, by the names
    of the classes, -1 to 1. Those with age are missing where no age is known; of more than two classes there are the
    first three.
    """
    y, p, a, d = subjects.labels, subjects.probabilities, subjects.ages, subjects.durations_s
    result = {"classifier": auroc(p, y, n, seed), "duration alone": alone(d, subjects, n, seed)}
    known = np.isfinite(a)
    if p.ndim == 2:
        there = subset(subjects, known)
        return result | ({"age alone": alone(a[known], there, n, seed)} if known.any() else {})
    if not (known & (y == 0)).any() or not (known & (y == 1)).any():
        return result
    ya, pa, aa = y[known], p[known], a[known]
    result["age alone"] = auroc(aa, ya, n, seed)
    result["classifier, ages within 5 years"] = interval(lambda i: matched_auroc(ya[i], pa[i], aa[i]), len(ya), n, seed)
    low, high = max(aa[ya == 0].min(), aa[ya == 1].min()), min(aa[ya == 0].max(), aa[ya == 1].max())
    inside = (aa >= low) & (aa <= high)
    result["classifier, overlapping ages"] = auroc(pa[inside], ya[inside], n, seed)
    result["age alone, overlapping ages"] = auroc(aa[inside], ya[inside], n, seed)
    ph, ah = pa[ya == 0], aa[ya == 0]
    name = f"rank correlation of P({subjects.classes[1]}) with age among {subjects.classes[0]}"
    result[name] = interval(lambda i: spearman(ph[i], ah[i]), len(ph), n, seed)
    return result


# Where a classifier is right, and on whom, over the recordings of a data set: speakers are the cases.
SEVERITIES = ("hoehn_yahr", "severity", "updrs_speech")
"""Columns that say how severe a disease is; the first that holds anything is used."""

MOST_TASKS = 5
FEW_SPEAKERS = 5
"""With fewer an interval over speakers says little."""


class Recall(NamedTuple):
    """Of the `n` people who carry a label the `k` who get it as their answer, and the exact 95 % interval of that share
    (Clopper and Pearson). Of two classes that of the second is the sensitivity, that of the first the specificity."""

    k: int
    n: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """k of n, NaN where nobody carries the label."""
        return self.k / self.n if self.n else math.nan


class Group(NamedTuple):
    """Some of the people, how many they are, and `Recall` of every class."""

    name: str
    n_people: int
    recalls: tuple[Recall, ...]


class CalibrationBins(NamedTuple):
    """Stated probability and observed share of the second of two classes (of more, of right answers) with its exact
    95 % interval, and the number of recordings; each (n_bins,)."""

    stated: Array
    observed: Array
    low: Array
    high: Array
    n: Array


def answers(rows: pd.DataFrame) -> pd.Series:
    """The index of the class that a classifier says: `predicted`, or of two 1 above a probability of .5, as argmax has
    it."""
    return (rows["predicted"] if "predicted" in rows else rows["probability"] > 0.5).astype(int)


def stated(rows: pd.DataFrame, classes: Sequence[str]) -> Array:
    """Probabilities of recordings as `Subjects` has them, from the columns `p_<class>`, or of two `probability`."""
    if len(classes) == 2:
        return rows["probability" if "probability" in rows else f"p_{classes[1]}"].to_numpy(float)
    return rows[[f"p_{name}" for name in classes]].to_numpy(float)


def right(rows: pd.DataFrame) -> pd.Series:
    """1.0 where the answer is the label, 0.0 where not."""
    return (answers(rows) == rows["label"].astype(int)).astype(float)


def people(labeled: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """One row a person: `speaker`, `label`, and the answer by the mean probabilities of all their recordings, in the
    columns that `stated` and `answers` read. A person with recordings of two labels counts once for each."""
    import pandas as pd

    values = pd.DataFrame(stated(labeled, classes).reshape(len(labeled), -1), index=labeled.index)
    who = [labeled["speaker"].astype(str).rename("speaker"), labeled["label"].astype(int).rename("label")]
    mean = values.groupby(who, sort=False).mean()
    found, p = mean.index.to_frame(index=False), mean.to_numpy()
    if len(classes) == 2:
        return found.assign(probability=p[:, 0], predicted=(p[:, 0] > 0.5).astype(int))
    found = found.assign(**{f"p_{name}": p[:, k] for k, name in enumerate(classes)})
    return found.assign(probability=p.max(axis=1), predicted=p.argmax(axis=1) if len(p) else 0)


def recalls(labeled: pd.DataFrame, classes: Sequence[str]) -> tuple[Recall, ...]:
    """How many of the people of every class get it as their answer."""
    found = people(labeled, classes)
    rows = [found[found["label"] == c] for c in range(len(classes))]
    counted = [(int((own["predicted"] == own["label"]).sum()), len(own)) for own in rows]
    return tuple(Recall(k, n, *share_interval(k, n)) for k, n in counted)


def recall_words(found: Recall) -> str:
    """The interval of a recall, in percent."""
    return f"95 % interval {100 * found.low:.0f} to {100 * found.high:.0f} %"


def performance_words(
    labeled: pd.DataFrame,
    classes: Sequence[str] = CLASS_NAMES,
    who: str = "people",
    words: Callable[[str], str] = str,
) -> str:
    """Whom the classifier finds and whom it alarms, counted in people, with exact intervals, and the AUC over people.

    Args:
        labeled: recordings with labels and answers.
        classes: names by index; of two the second is the condition.
        who: what those are called who speak.
        words: writes the name of a class.
    """
    if labeled.empty:
        return "No recording has both a label and an answer."
    found, by_person = recalls(labeled, classes), people(labeled, classes)
    parts: list[str] = []
    for c in reversed(range(len(classes))):
        each = found[c]
        if not each.n:
            continue
        if c == 0 and class_order(tuple(classes)) == (0, 1):
            missed = Recall(each.n - each.k, each.n, 1 - each.high, 1 - each.low)
            whom = "without" if parts else f"{who} without {words(classes[1])}"
            parts.append(f"wrongly alarms {missed.k} of {missed.n} {whom} ({recall_words(missed)})")
        else:
            parts.append(f"finds {each.k} of {each.n} {who} with {words(classes[c])} ({recall_words(each)})")
    text = f"The model {' and '.join([', '.join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)}."
    if len(labeled) > len(by_person):
        text += " Each counts once, by the mean over their recordings."
    area = macro_auc(stated(by_person, classes), by_person["label"].to_numpy())
    against = "" if len(classes) == 2 else " of each class against the rest"
    return text if area != area else f"{text} AUC{against} {area:.2f}, where chance is 0.50."


def confusion(labeled: pd.DataFrame, n_classes: int = 2) -> tuple[Array, Array]:
    """Recordings by label (rows) and answer (columns), and the same as shares of their row, NaN where a label has
    none."""
    counts = np.zeros((n_classes, n_classes), dtype=int)
    np.add.at(counts, (labeled["label"].astype(int).to_numpy(), answers(labeled).to_numpy()), 1)
    totals = counts.sum(axis=1, keepdims=True)
    return counts, np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)


def calibration_bins(
    labeled: pd.DataFrame, n_bins: int = 5, classes: Sequence[str] = CLASS_NAMES
) -> CalibrationBins | None:
    """Bins of equal count, by stated probability; None under ten recordings."""
    if len(labeled) < 10:
        return None
    y, p = of_answer(labeled["label"].to_numpy(float), stated(labeled, classes))
    parts = np.array_split(np.argsort(p, kind="stable"), min(n_bins, len(p) // 5))
    low, high = zip(*(share_interval(int(y[part].sum()), len(part)) for part in parts), strict=True)
    return CalibrationBins(
        np.array([p[part].mean() for part in parts]),
        np.array([y[part].mean() for part in parts]),
        np.array(low),
        np.array(high),
        np.array([len(part) for part in parts]),
    )


def by_group(labeled: pd.DataFrame, classes: Sequence[str], by: Sequence[str] = ()) -> list[Group]:
    """How many people of every class get it as their answer: of everybody, by sex, age band, task and severity, and by
    other columns that are named, where two people or more are known. A share of right answers would be the mix of the
    classes in a group: older people are ill more often."""
    import pandas as pd

    masks: list[tuple[str, pd.Series]] = [("everybody", pd.Series(True, labeled.index))]
    for column in ("sex", "age"):
        masks += groups_of(labeled, column) if column in labeled else []
    if labeled["task"].astype(str).nunique() > 1:
        masks += groups_of(labeled, "task")[:MOST_TASKS]
    for column in SEVERITIES:
        value = pd.to_numeric(labeled[column], errors="coerce") if column in labeled else pd.Series(dtype=float)
        if value.notna().any():
            who = classes[1] if len(classes) == 2 else f"not {classes[0]}"
            masks += halves(value.where(labeled["label"] != 0), f"{who}, {column.replace('_', ' ')}")
            break
    for column in by:
        masks += groups_of(labeled, column)
    chosen = [(name, labeled[mask]) for name, mask in masks if labeled[mask]["speaker"].nunique() >= 2]
    return [Group(name, rows["speaker"].nunique(), recalls(rows, classes)) for name, rows in chosen]


def recordings_table(rows: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """All recordings as people read them, wrong answers first; a class stands where the model was made for the
    recording."""
    import pandas as pd

    scope = rows["scope"] if "scope" in rows else pd.Series("inside", rows.index)
    no_class = {"outside": "no class", "unknown": "scope unknown"}
    label = rows["label"].map(lambda v: classes[int(v)] if pd.notna(v) else "unknown")
    known = rows["probability"].notna()
    says = answers(rows.assign(predicted=rows["predicted"].fillna(0)) if "predicted" in rows else rows)
    says = says.map(lambda v: classes[v]).where(scope == "inside", scope.map(no_class)).where(known, "none")
    probability = f"P({classes[1]})" if len(classes) == 2 else "probability"
    found = pd.DataFrame(
        {
            "recording": rows["recording"],
            "labeled": label,
            "model says": says,
            probability: rows["probability"].where(scope == "inside"),
            "right": [
                "" if a == "unknown" or b in ("none", *no_class.values()) else "yes" if a == b else "no"
                for a, b in zip(label, says, strict=True)
            ],
            "task": rows["task"],
            "speaker": rows["speaker"],
        }
    )
    for name in ("sex", "age", *SEVERITIES):
        if name in rows and rows[name].notna().any():
            is_number = pd.api.types.is_numeric_dtype(rows[name])
            found[name.replace("_", " ")] = rows[name].round(2) if is_number else rows[name]
    if (rows["problem"] != "").any():
        found["problem"] = rows["problem"]
    return found.sort_values("right", key=lambda s: s.map({"no": 0, "yes": 1}).fillna(2), kind="stable")
