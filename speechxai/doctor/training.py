"""Why did a training learn nothing, or something else? From its log: recordings, loss, optimizer, units, epochs, folds.

Causes that are seen as such come first (weights that never moved, a loss that is not the cross-entropy of the answers),
then what fits the numbers; what is left where all machinery worked and nothing was learned are the labels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any, TypeGuard

from speechxai.classifiers.bundle import CONFIG_FILE, EpochFile, read_bundle_config
from speechxai.classifiers.watch import LOG_FILE, read_log
from speechxai.doctor.values import FITS, LEFT, LIKELY, SEEN, Diagnosis, Suspicion, ranked
from speechxai.errors import SpeechXAIError
from speechxai.registry import Registry

PARTS = ("data", "loss", "optimizer", "activation", "iterations", "outcome")
"""Of a training, in the order in which a cause is looked for."""

TRAINING: Registry[Callable[[Any], tuple[float, str] | None]] = Registry("suspect", required=("stage", "fix"))
"""Functions `name(log: Log) -> (strength, evidence)` or None; `stage` is the place in PARTS."""


@dataclass(frozen=True)
class Log:
    """A training's log as the doctor reads it.

    Args:
        data: see `watch.data_facts`; empty where there is none.
        fit: settings, fields of `fit.FitConfig`.
        classes: names.
        parts: epochs by part ("fold0", ..., "final"): rows of numbers, what `log_of` writes.
        best: best epoch (0-based) by part.
        auc: area over people that the answering network never heard, with its lowest and highest; None where it is not
            known yet.
        problems: what keeps networks of folds from giving answers, by fold; "" where nothing does.
        unit: of a score; "" of classes.
        gain: share of the error of the mean for everybody that a score takes away, with its lowest and highest; None
            where it is not known yet.
    """

    data: Mapping[str, Any] = field(default_factory=dict)
    fit: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ("HC", "PD")
    parts: Mapping[str, list[Mapping[str, float]]] = field(default_factory=dict)
    best: Mapping[str, int] = field(default_factory=dict)
    auc: tuple[float, float, float] | None = None
    problems: tuple[str, ...] = ()
    unit: str = ""
    gain: tuple[float, float, float] | None = None

    @cached_property
    def trained(self) -> list[list[Mapping[str, float]]]:
        """Epochs of every part that has any."""
        return [rows for rows in self.parts.values() if rows]

    def last(self, name: str) -> float:
        """Median over parts of a fact of the last epoch; NaN where there is none."""
        return _middle([rows[-1].get(name) for rows in self.trained])

    def first(self, name: str) -> float:
        """The same of the first epoch."""
        return _middle([rows[0].get(name) for rows in self.trained])

    def largest(self, name: str) -> float:
        """Largest value of a fact in any epoch of any part."""
        return max((v for rows in self.trained for v in _column(rows, name)), default=float("nan"))

    @property
    def chance(self) -> float:
        """Cross-entropy of whoever knows nothing, nats; of a score its mean squared error, in variances."""
        if self.unit:
            return 1.0
        return math.log(len(self.classes))

    @cached_property
    def fall(self) -> float:
        """Share of its first value by which the training loss (its own cross-entropy) fell, median over parts."""
        return _middle([1 - _ends(rows)[1] / max(_ends(rows)[0], 1e-9) for rows in self.trained])

    @cached_property
    def falling(self) -> float:
        """Share of the value in the middle by which it fell in the second half, median over parts of 4 epochs or
        more."""
        found = []
        for rows in self.trained:
            losses = _column(rows, "own_loss")
            if len(losses) >= 4:
                half = len(losses) // 2
                found.append(1 - min(losses[half:][-2:]) / max(losses[half - 1], 1e-9))
        return _middle(found)

    @property
    def n_epochs(self) -> float:
        """Epochs of the folds, median."""
        return _middle([float(len(rows)) for rows in self.trained])

    @property
    def knows(self) -> bool:
        """Whether people that were never heard are told apart: the interval of the area lies above .5; of a score that
        of its gain above 0."""
        if self.gain is not None:
            return self.gain[1] > 0
        if self.auc is None:
            return self.learned
        return (self.auc[1] if math.isfinite(self.auc[1]) else self.auc[0]) > 0.5

    @property
    def learned(self) -> bool:
        """Whether its own recordings are told apart at the end; of a score whether a quarter of their variance is
        explained."""
        if self.unit:
            return self.last("own_loss") <= 0.75
        return self.last("accuracy") >= 0.75


def _flat(log: Log) -> bool:
    """Whether most networks say the same of everybody."""
    return 2 * sum(bool(problem) for problem in log.problems) > len(log.problems) > 0


def _is(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value)


def _middle(values: list[Any]) -> float:
    known = [float(v) for v in values if _is(v)]
    return median(known) if known else float("nan")


def _column(rows: list[Mapping[str, float]], name: str) -> list[float]:
    return [float(row[name]) for row in rows if _is(row.get(name))]


def _ends(rows: list[Mapping[str, float]]) -> tuple[float, float]:
    losses = _column(rows, "own_loss") or [float("nan")]
    return losses[0], min(losses[-2:])


# Data.
@TRAINING.register(stage="data", fix="Give recordings of every class to every fold: more speakers, or fewer --folds.")
def one_class(log: Log) -> tuple[float, str] | None:
    """A fold has no recording of a class, or a class is rare and not weighted."""
    counts = log.data.get("counts") or []
    empty = [(k, c) for k, row in enumerate(counts) for c, n in enumerate(row) if n == 0]
    totals = [sum(column) for column in zip(*counts, strict=True)]
    if empty:
        fold, c = empty[0]
        return SEEN, f"Fold {fold} holds no recording of {log.classes[c]}"
    if totals and min(totals) < 0.15 * sum(totals) and log.fit.get("class_weights") == "none":
        share = f"{min(totals)} of {sum(totals)} recordings are {log.classes[totals.index(min(totals))]}"
        return (
            FITS + 0.1,
            f"{share}, and classes are not weighted: whoever always says the other is nearly always right",
        )
    return None


@TRAINING.register(
    stage="data", fix="Put every person's recordings under one speaker, and remove copies: see 'speechxai data check'."
)
def leak_between_folds(log: Log) -> tuple[float, str] | None:
    """The same sound stands in two folds, under two speakers."""
    n, other = log.data.get("copies", 0), log.data.get("copies_of_other_label", 0)
    if not n or constant_input(log):  # all alike is no leak
        return None
    said = f"{n} recordings of one fold are, whole or in part, in another, under another speaker"
    return SEEN, said + (f"; {other} of them with another label" if other else "")


@TRAINING.register(stage="data", fix="Listen to the recordings: all are the same sound, or none at all.")
def constant_input(log: Log) -> tuple[float, str] | None:
    """All recordings are alike."""
    variety = log.data.get("variety_db")
    if log.data.get("constant"):
        return SEEN, f"{log.data['constant']} recordings do not vary at all"
    if _is(variety) and variety < 0.5:
        return SEEN, f"Spectra of the {log.data['n_recordings']} recordings differ by {variety:.2g} dB at most"
    return None


@TRAINING.register(
    stage="data",
    fix="Bring recordings to one level (normalize 'peak', offset 'removed') and features to mean 0 and deviation 1.",
)
def unnormalized_input(log: Log) -> tuple[float, str] | None:
    """What the network hears is far from mean 0 and deviation 1, or recordings are of very different levels."""
    low, _, high = log.data.get("peaks") or (1.0, 1.0, 1.0)
    mean, deviation = log.first("input_mean"), log.first("input_deviation")
    if high > 2 or (low > 0 and high / low > 30):
        return FITS + 0.15, f"Peaks of the recordings go from {low:.3g} to {high:.3g}"
    if log.data.get("offset", 0) > 1:
        return FITS, f"Recordings have a constant offset of {log.data['offset']:.2g} deviations"
    if deviation > 4 or 0 < deviation < 0.05 or abs(mean) > 2.5:
        return FITS + 0.1, f"The first layer hears values of mean {mean:.2g} and deviation {deviation:.2g}"
    return None


@TRAINING.register(stage="data", fix="Compare the labels with their source: a shifted row or another order is enough.")
def labels(log: Log) -> tuple[float, str] | None:
    """Labels have nothing to do with what is heard."""
    if log.auc is None or log.knows or not log.trained:
        return None
    area = f"people never heard are told apart by chance (AUC {log.auc[0]:.2f}, {log.auc[1]:.2f} to {log.auc[2]:.2f})"
    if log.auc[2] < 0.5:
        return LIKELY, f"People never heard are told apart the wrong way round (AUC {log.auc[0]:.2f})"
    if log.learned:
        return LIKELY, f"The network learned its own recordings ({100 * log.last('accuracy'):.0f} % right), and {area}"
    if log.n_epochs >= 5 and log.last("update") > 1e-3:
        return LEFT, f"Weights moved and gradients flowed for {log.n_epochs:.0f} epochs, and {area}"
    return None


# Loss.
@TRAINING.register(stage="loss", fix="Look at the first epoch that is no number: level of the input, rate, precision.")
def loss_not_finite(log: Log) -> tuple[float, str] | None:
    """The loss is NaN or infinite."""
    for part, rows in log.parts.items():
        for epoch, row in enumerate(rows):
            own, loss = row.get("own_loss"), row.get("training_loss")
            if row and not (_is(loss) and _is(own)):
                return SEEN, f"The loss of {part} is no number from epoch {epoch + 1} on"
    return None


@TRAINING.register(
    stage="loss",
    fix="Minimize the cross-entropy of the logits and the recordings' own labels: no softmax, no sum before.",
)
def wrong_loss(log: Log) -> tuple[float, str] | None:
    """What is minimized is not the cross-entropy of the answers and the labels."""
    worst, where = 0.0, ("", 0.0, 0.0)
    for part, rows in log.parts.items():
        for row in rows:
            own, loss = row.get("own_loss"), row.get("training_loss")
            if _is(own) and _is(loss):
                off = abs(loss - own) / max(own, 0.05)
                if off > worst:
                    worst, where = off, (part, loss, own)
    if worst > 0.02:
        return SEEN, f"{where[0]}: the loss is {where[1]:.3g}, the cross-entropy of the same answers {where[2]:.3g}"
    return None


# Optimizer.
@TRAINING.register(
    stage="optimizer", fix="Give all trainable weights to the optimizer and call its step after backward."
)
def no_update(log: Log) -> tuple[float, str] | None:
    """Weights, or most of them, do not move."""
    if not log.trained:
        return None
    if log.largest("update") == 0:
        return SEEN, f"No weight moved in any of {log.n_epochs:.0f} epochs (mean gradient {log.last('gradient'):.2g})"
    still = log.last("still_tensors")
    if still >= 0.3:
        return SEEN, f"{100 * still:.0f} % of the trainable tensors did not move in the last epoch"
    return None


@TRAINING.register(stage="optimizer", fix="Call optimizer.zero_grad() before every backward pass.")
def stale_gradient(log: Log) -> tuple[float, str] | None:
    """The gradient of the step before is still there."""
    stale = log.largest("stale")
    if stale > 0:
        return SEEN, f"A gradient of norm {stale:.2g} stands there before the backward pass"
    return None


@TRAINING.register(
    stage="optimizer", fix="Divide the learning rate by 10 (--learning-rate), until the loss falls calmly."
)
def learning_rate_too_high(log: Log) -> tuple[float, str] | None:
    """The loss jumps above what knowing nothing costs, or weights move by more than their size."""
    jumps = _middle([sum(v > 1.5 * log.chance for v in _column(rows, "own_loss")) / len(rows) for rows in log.trained])
    moves, peak = log.last("update"), log.largest("own_loss")
    early = _middle([max(_column(rows, "update")[:3], default=float("nan")) for rows in log.trained])
    if early > 1.0:
        return FITS + 0.16, f"Weights move by {early:.2g} times their size in an epoch"
    if _is(jumps) and jumps > 0.3 and log.largest("update") > 0:
        return FITS + 0.14, f"The training loss lies above 1.5 times that of knowing nothing (up to {peak:.3g} nats)"
    if moves > 0.5 and not log.knows:
        return LIKELY, f"Weights still move by {100 * moves:.0f} % of their size an epoch at the end"
    return None


@TRAINING.register(stage="optimizer", fix="Multiply the learning rate by 10 (--learning-rate).")
def learning_rate_too_low(log: Log) -> tuple[float, str] | None:
    """Weights hardly move, and the loss with them."""
    moves = _middle([median(_column(rows, "update") or [float("nan")]) for rows in log.trained])
    total = moves * log.n_epochs
    if 0 < moves < 2e-3 and total < 0.05 and log.fall < 0.1:
        said = (
            f"Weights move by {100 * moves:.2g} % of their size an epoch, and the loss fell by {100 * log.fall:.1f} %"
        )
        return FITS, said
    return None


@TRAINING.register(
    stage="optimizer", fix="Lower --weight-decay: it takes the weights away faster than the loss builds them."
)
def weight_decay_too_high(log: Log) -> tuple[float, str] | None:
    """Weights shrink from epoch to epoch."""
    shrunk = _middle([1 - rows[-1].get("weight", 1.0) / max(rows[0].get("weight", 1.0), 1e-9) for rows in log.trained])
    if _is(shrunk) and shrunk > 0.3:
        return FITS + 0.13, f"The weights lost {100 * shrunk:.0f} % of their norm during the training"
    return None


# Activation.
@TRAINING.register(
    stage="activation", fix="Lower the learning rate, start from smaller biases, or use a leaky rectifier."
)
def dead_units(log: Log) -> tuple[float, str] | None:
    """Units give the same for every recording."""
    dead = log.last("dead")
    if dead >= 0.7 and not (log.knows and log.learned):
        return FITS + 0.12, f"{100 * dead:.0f} % of the units of a layer give the same whatever is heard"
    return None


@TRAINING.register(stage="activation", fix="Start from smaller weights, normalize layers, or use rectifiers.")
def saturated_units(log: Log) -> tuple[float, str] | None:
    """Sigmoids or tangents stand at their bounds."""
    full = log.last("saturated")
    if full >= 0.5 and not (log.knows and log.learned):
        return FITS + 0.12, f"{100 * full:.0f} % of the values of a layer's sigmoids or tangents stand at a bound"
    return None


@TRAINING.register(stage="activation", fix="Let the network return logits without a function behind its last layer.")
def bounded_output(log: Log) -> tuple[float, str] | None:
    """Answers cannot go beyond a bound, so that no answer can be sure."""
    largest, spread = log.largest("logit"), log.last("spread")
    tops = [max(_column(rows, "logit")) for rows in log.trained if _column(rows, "logit")]
    if tops and 0.25 < largest <= 1.0001 and max(tops) - min(tops) < 0.05 and log.fall > 0.1 and spread > 0:
        return FITS + 0.14, f"No logit of any epoch is beyond {largest:.3f}, in any fold"
    return None


@TRAINING.register(
    stage="activation", fix="Put an activation between the layers: without one the network is a single one."
)
def no_activation(log: Log) -> tuple[float, str] | None:
    """There is no activation between the layers."""
    if log.trained and log.largest("n_activations") == 0 and not log.knows:
        return LIKELY + 0.05, "The network has no activation"
    return None


@TRAINING.register(
    stage="activation", fix="Start from larger weights or normalize layers: the gradient does not reach the first ones."
)
def vanishing_gradient(log: Log) -> tuple[float, str] | None:
    """The gradient is next to nothing."""
    gradient = log.largest("gradient")
    if _is(gradient) and gradient < 1e-4 and log.largest("own_loss") > 0.5 * log.chance:
        return FITS + 0.05, f"The gradient's norm is {gradient:.1g} at most while the loss is that of knowing nothing"
    return None


# Iterations.
@TRAINING.register(stage="iterations", fix="Train longer: raise --epochs, and --patience with it.")
def too_few_epochs(log: Log) -> tuple[float, str] | None:
    """It ended while the loss was still falling."""
    if not log.trained or log.largest("update") == 0 or log.fall != log.fall:
        return None
    most = int(log.fit.get("epochs", 0))
    ended = sum(len(rows) >= most for rows in log.trained) > len(log.trained) / 2
    if log.n_epochs <= 3 and (not log.knows or not log.learned or _flat(log)):
        return (
            FITS - 0.05,
            f"{log.n_epochs:.0f} epochs in all; the loss went from {log.first('own_loss'):.3g} to"
            f" {log.last('own_loss'):.3g}",
        )
    if log.learned and not _flat(log):
        return None
    if ended and log.falling > 0.08:
        return (
            LIKELY + 0.1,
            f"The loss still fell by {100 * log.falling:.0f} % in the second half of {log.n_epochs:.0f} epochs",
        )
    return None


@TRAINING.register(stage="iterations", fix="Raise --patience: one worse epoch is no reason to stop.")
def stopped_too_early(log: Log) -> tuple[float, str] | None:
    """Patience ended the training before it began to learn."""
    most, patience = int(log.fit.get("epochs", 0)), int(log.fit.get("patience", 99))
    early = [rows for part, rows in log.parts.items() if part != "final" and rows and len(rows) < most]
    if len(early) * 2 <= len(log.trained) or (log.knows and log.learned and not _flat(log)):
        return None
    if log.largest("update") == 0:
        return None
    if patience <= 2 and log.n_epochs < 0.5 * most:
        return LIKELY + 0.15, f"Training stopped after {log.n_epochs:.0f} of {most} epochs, at a patience of {patience}"
    return None


# Outcome.
@TRAINING.register(stage="outcome", fix="Look at the suspects above; more speakers or other settings give it a spread.")
def folds_without_spread(log: Log) -> tuple[float, str] | None:
    """Networks of folds say the same of everybody."""
    flat = [k for k, problem in enumerate(log.problems) if problem]
    if _flat(log):
        return (
            LEFT - 0.1,
            f"The networks of {len(flat)} of {len(log.problems)} folds give no answers: {log.problems[flat[0]]}",
        )
    return None


# A folder to a log.
def is_training(folder: Path) -> bool:
    """Whether a folder holds a training's log, of a bundle or of a training that is not finished."""
    return (folder / LOG_FILE).is_file()


def read_training(folder: Path) -> Log:
    """Read the log of a bundle, or of an unfinished training.

    Raises:
        SpeechXAIError: no log.
    """
    content = read_log(folder)
    if content is None:
        raise SpeechXAIError(
            f"{folder / LOG_FILE}: there is no log of a training, or it is damaged. Models of earlier versions have"
            " none."
        )
    parts = {name: part["epochs"] for name, part in content.get("parts", {}).items()}
    best = {name: part["best_epoch"] for name, part in content.get("parts", {}).items()}
    auc: tuple[float, float, float] | None = None
    gain: tuple[float, float, float] | None = None
    problems: tuple[str, ...] = ()
    if (folder / CONFIG_FILE).is_file():
        config = read_bundle_config(folder / CONFIG_FILE)
        problems = tuple(each.problem for each in config.folds)
        if config.held_out is not None:
            found = config.held_out.auc
            auc = (float(found.value), float(found.low), float(found.high))
        if config.held_out_score is not None:
            of_score = config.held_out_score.gain
            gain = (of_score.value, of_score.low, of_score.high)
    else:
        for path in sorted(folder.rglob("*.pt")):
            state = EpochFile(path).load() or {}
            parts[str(path.relative_to(folder).with_suffix(""))] = [
                {"training_loss": t, "validation_loss": v, **(more[0] if more else {})}
                for _, t, v, *more in state.get("records", [])
            ]
    names, unit = tuple(content["classes"]), str(content.get("unit", ""))
    return Log(content.get("data", {}), content.get("fit", {}), names, parts, best, auc, problems, unit, gain)


def diagnose(log: Log, target: str = "training") -> Diagnosis:
    """Ask every suspect, and sort what is found."""
    found = []
    for name in TRAINING:
        answer = TRAINING[name](log)
        if answer is not None:
            strength, evidence = answer
            found.append(Suspicion(name, strength, f"{evidence}.", TRAINING.facts(name)["fix"]))
    n = sum(len(rows) for rows in log.parts.values())
    notes = [f"{n} epochs of {len(log.trained)} networks looked at."]
    if not log.trained:
        notes = ["It has no epochs: a network that is fitted in one go, so that only its recordings are judged."]
    facts = (("tells_apart", log.knows and not _flat(log)), ("auc", log.auc and log.auc[0]))
    return Diagnosis(target, "training", ranked(found, TRAINING), len(TRAINING), tuple(notes), facts)


def examine_training(folder: str | Path) -> Diagnosis:
    """Diagnose the training whose log stands in `folder`. Raises SpeechXAIError as `read_training` does."""
    return diagnose(read_training(Path(folder)), str(folder))
