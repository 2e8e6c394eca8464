"""What is left of a model's AUROC when the confounds are gone: the task's own models, trained and tested by speaker on
recordings from which something was taken away."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from speechxai.audit.probes import Heard
from speechxai.classifiers.bundle import EpochFile
from speechxai.classifiers.training import Plan, draw_folds, plan_of
from speechxai.classifiers.validation import auroc, by_subject, cross_validate, groups, subset
from speechxai.errors import NotApplicable, SpeechXAIError, named
from speechxai.files import fingerprint, read_json, to_json, write_atomically
from speechxai.registry import Registry
from speechxai.signal.audio import coded, resample
from speechxai.types import Array, Recording

Change = Callable[[Sequence[Recording]], list[Recording]]
Progress = Callable[[int, int, str], None]

MATCHED_YEARS = 5.0
"""Most that two people of a pair differ in age."""

SURE = 0.8
"""A held-out model that gives the other class as much contradicts a label."""

CONDITIONS: Registry[Change] = Registry("condition", required=("label",))
"""What is taken away, by name: recordings as they are stored, at their own rate and level, to changed ones."""

MODELS: Mapping[str, Mapping[str, Any]] = {
    "acoustic": {"backbone": "acoustic"},
    "cnn": {
        "backbone": "cnn",
        "options": {"n_mels": 48, "dropout": 0.4},
        "learning_rate": 5e-4,
        "weight_decay": 0.05,
        "patience": 15,
    },
    "whisper": {"backbone": "whisper"},
    "dvector": {"backbone": "dvector"},
}
"""The task's own models: a regression on acoustic measures, a small network, and frozen encoders with a head: one of
words, one of who speaks."""


@CONDITIONS.register(label="everything")
def everything(recordings: Sequence[Recording]) -> list[Recording]:
    """Recordings as they are."""
    return list(recordings)


@CONDITIONS.register(label="age- and sex-matched pairs")
def matched(recordings: Sequence[Recording]) -> list[Recording]:
    """Pairs of one speaker of each class, of one sex and at most 5 years apart, as many as there can be."""
    kept = {name for pair in pairs_of(recordings) for name in pair}
    return [recording for recording in recordings if recording.speaker in kept]


@CONDITIONS.register(label="pauses removed")
def no_pauses(recordings: Sequence[Recording]) -> list[Recording]:
    """Every pause of 150 ms cut out."""
    return [_changed(each, _heard(each).without_pauses, each.sample_rate) for each in recordings]


@CONDITIONS.register(label="equalized: level, noise floor, band, duration, codec")
def equalized(recordings: Sequence[Recording]) -> list[Recording]:
    """All alike: pauses cut out, the lowest sample rate and band, the level of speech, noise up to a common floor, the
    middle as long as the shortest tenth at most (the few that are shorter are repeated), all through one codec of the
    telephone.

    Noise is added so that the floor of every recording is that of the ninth noisiest in ten, as far as it lies under.
    """
    rate = max(8_000, min(int(each.metadata.get("original_sample_rate", each.sample_rate)) for each in recordings))
    cut = []
    for each in recordings:
        samples = resample(_heard(each).without_pauses, each.sample_rate, rate)
        cut.append(samples / max(float(np.sqrt(np.mean(samples**2))), 1e-9))
    length = max(rate // 2, int(np.quantile([len(samples) for samples in cut], 0.1)))
    floors = [_floor(samples, rate) for samples in cut]
    target = float(np.quantile(floors, 0.9))
    found = []
    for index, (each, samples, floor) in enumerate(zip(recordings, cut, floors, strict=True)):
        start = max(0, (len(samples) - length) // 2)
        part = np.resize(samples[start : start + length], length)
        noise = np.random.default_rng([19, index]).normal(0, np.sqrt(max(0.0, target - floor)), len(part))
        part = 0.1 * (part + noise)
        part = part / max(1.0, float(np.abs(part).max()))
        found.append(_changed(each, coded(part, rate, "ULAW"), rate))
    return found


@CONDITIONS.register(label="matched and equalized")
def matched_equalized(recordings: Sequence[Recording]) -> list[Recording]:
    """Both: matched pairs, and all recordings made alike."""
    return equalized(matched(recordings))


def pairs_of(recordings: Sequence[Recording]) -> list[tuple[str, str]]:
    """Pairs of speakers (first class, second), of one sex and at most MATCHED_YEARS apart: as many as can be, and of
    those the nearest.

    Raises:
        NotApplicable: ages or sexes are not stated, or fewer than 8 pairs can be made.
    """
    from scipy.optimize import linear_sum_assignment

    people = {each.speaker: (each.label, _age(each), each.metadata.get("sex")) for each in recordings}
    known = {name: facts for name, facts in people.items() if np.isfinite(facts[1]) and facts[2] in ("F", "M")}
    first, second = ([name for name, facts in known.items() if facts[0] == label] for label in (0, 1))
    if not first or not second:
        raise NotApplicable("age and sex are not stated for both classes")
    cost = np.array(
        [[abs(known[a][1] - known[b][1]) if known[a][2] == known[b][2] else np.inf for b in second] for a in first]
    )
    allowed = cost <= MATCHED_YEARS
    rows, columns = linear_sum_assignment(np.where(allowed, cost, 1e6))
    found = [(first[i], second[j]) for i, j in zip(rows, columns, strict=True) if allowed[i, j]]
    if len(found) < 8:
        raise NotApplicable(
            f"only {len(found)} pairs of one sex and at most {MATCHED_YEARS:g} years apart, of 8 needed"
        )
    return found


@dataclass(frozen=True)
class Group:
    """AUROC of people of one sex or age."""

    name: str
    n_first: int
    n_second: int
    auroc: float
    low: float
    high: float


@dataclass(frozen=True)
class Left:
    """What a model reaches under a condition, on speakers it never heard.

    Args:
        model, condition: of MODELS and CONDITIONS.
        label: of the condition, in words.
        n_first, n_second: speakers.
        auroc, low, high: with its 95 % interval over speakers.
        age_alone: AUROC of age among the same speakers; NaN where it is not known.
        groups: the same by sex and age.
        probabilities: of the second class, by recording.
        wall_s: how long it took.
        reason: why there is none; "" where there is one.
    """

    model: str
    condition: str
    label: str
    n_first: int = 0
    n_second: int = 0
    auroc: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    age_alone: float = float("nan")
    groups: tuple[Group, ...] = ()
    probabilities: Mapping[str, float] | None = None
    wall_s: float = 0.0
    reason: str = ""


def leave(
    recordings: Sequence[Recording],
    model: str,
    condition: str,
    kept: Path | None = None,
    progress: Progress | None = None,
    *,
    seed: int = 0,
    plan: Plan | None = None,
) -> Left:
    """Train and test one model by speaker under one condition; what is finished is read again, and a training that
    broke off goes on where it stopped.

    Args:
        recordings: labeled 0 or 1, at their own rate and level.
        model: of MODELS.
        condition: of CONDITIONS.
        kept: folder of results and states; None keeps nothing.
        progress: called with steps done, all, and what.
        seed: of folds and weights.
        plan: how to train; that of MODELS by default.
    """
    label = str(CONDITIONS.facts(condition)["label"])
    plan = plan or _plan(model, recordings, seed)
    key = fingerprint(
        [model, condition, seed, asdict(plan.fit), plan.all_options, plan.n_folds]
        + [[r.id, r.speaker, r.label, r.metadata.get("sha256", r.waveform.numel())] for r in recordings]
    )
    place = None if kept is None else kept / f"{model}-{condition}-{key}.json"
    if place is not None and (stored := read_json(place)) is not None:
        return Left(**{**stored, "groups": tuple(Group(**group) for group in stored["groups"])})
    began = time.monotonic()
    try:
        changed = _for_network(CONDITIONS[condition](recordings), plan)
        folds = draw_folds(changed, plan.n_folds, seed)
        states = None if kept is None else kept / f"{model}-{condition}-{key}.training"
        found = cross_validate(
            plan.make,
            changed,
            folds,
            plan.fit,
            None if progress is None else lambda done, total, what: progress(done, total, f"{model}, {label}: {what}"),
            None if states is None else lambda part: EpochFile(states / f"{part}.pt"),
        )
    except NotApplicable as error:
        return Left(model, condition, label, reason=str(error))
    except SpeechXAIError as error:
        return Left(model, condition, label, reason=str(named(error, model)))
    facts = [(_age(r), r.duration_s, str(r.metadata.get("sex") or "")) for r in changed]
    subjects = by_subject(found.speakers, found.labels.numpy(), found.probabilities.numpy(), facts)
    whole = auroc(subjects.probabilities, subjects.labels)
    parts = []
    for name, members in groups(subjects).items():
        of_group = subset(subjects, members)
        one = auroc(of_group.probabilities, of_group.labels)
        counts = [int((of_group.labels == k).sum()) for k in (0, 1)]
        parts.append(Group(name, counts[0], counts[1], one.value, one.low, one.high))
    by_age = auroc(subjects.ages, subjects.labels).value if np.isfinite(subjects.ages).all() else float("nan")
    probabilities = dict(zip(found.recordings, (round(float(p), 6) for p in found.probabilities), strict=True))
    result = Left(
        model,
        condition,
        label,
        int((subjects.labels == 0).sum()),
        int((subjects.labels == 1).sum()),
        whole.value,
        whole.low,
        whole.high,
        by_age,
        tuple(parts),
        probabilities,
        time.monotonic() - began,
    )
    if place is not None:
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(place, to_json(asdict(result)))
    return result


@dataclass(frozen=True)
class Doubted:
    """A recording whose label every held-out model contradicts: the largest probability that any gives its class."""

    recording: str
    stated: int
    at_most: float


def doubted(found: Sequence[Left], recordings: Sequence[Recording]) -> tuple[list[Doubted], float]:
    """Recordings whose label every model contradicts with at least SURE, the surest first, and how many there would be
    if all labels were right and models as sure as they say: the sum of what the surest leaves to the stated class."""
    whole = [each.probabilities for each in found if each.condition == "everything" and each.probabilities]
    answers, expected = [], 0.0
    for recording in recordings if whole else ():
        of_second = [each[recording.id] for each in whole if recording.id in each]
        own = [p if recording.label else 1 - p for p in of_second]
        sure_of_one = all(p >= SURE for p in of_second) or all(p <= 1 - SURE for p in of_second)
        if own and sure_of_one:
            expected += min(min(p, 1 - p) for p in of_second)
            if max(own) <= 1 - SURE:
                answers.append(Doubted(recording.id, int(recording.label or 0), max(own)))
    return sorted(answers, key=lambda each: each.at_most), expected


def _plan(model: str, recordings: Sequence[Recording], seed: int) -> Plan:
    given = {**MODELS[model], "out": "audit", "seed": seed}
    if model == "cnn":
        rates = [int(r.metadata.get("original_sample_rate", r.sample_rate)) for r in recordings]
        given["options"] = {**given["options"], "f_max_hz": min(8_000.0, min(rates) / 2)}
    return plan_of(given)


def _for_network(recordings: Sequence[Recording], plan: Plan) -> list[Recording]:
    found = []
    for each in recordings:
        samples = resample(each.waveform.numpy().astype(float), each.sample_rate, plan.stft.sample_rate)
        samples = samples - samples.mean()
        if plan.normalize == "peak":
            samples = samples / max(float(np.abs(samples).max()), 1e-9)
        found.append(_changed(each, samples, plan.stft.sample_rate))
    return found


def _heard(recording: Recording) -> Heard:
    samples = recording.waveform.numpy().astype(float)
    return Heard({}, samples - samples.mean(), recording.sample_rate, {})


def _changed(recording: Recording, samples: Array, rate: int) -> Recording:
    return replace(recording, waveform=torch.from_numpy(samples.astype(np.float32)), sample_rate=rate)


def _floor(samples: Array, rate: int) -> float:
    """Power of the quietest twentieth of frames of 25 ms."""
    n = max(1, round(0.025 * rate))
    frames = samples[: len(samples) // n * n].reshape(-1, n)
    return float(np.quantile(np.mean(frames**2, axis=1), 0.05)) if len(frames) else 0.0


def _age(recording: Recording) -> float:
    age = recording.metadata.get("age")
    return float("nan") if age is None else float(age)
