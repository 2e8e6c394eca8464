"""How often a classifier was right about people it never heard, as counts of people and at any share of the ill."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

from speechxai.classifiers.validation import Interval, Subjects, auroc, interval
from speechxai.types import Array

BINS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Values that are alike: the bins of a card's reliability table, the last one closed."""


class HeldOut(BaseModel):
    """Answers of a model of two classes about people whom the network that answered never heard, one a person.

    Args:
        labels: 0 or 1, the second class being the condition.
        probabilities: of the second class, in [0, 1].
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    labels: tuple[int, ...]
    probabilities: tuple[float, ...]

    @model_validator(mode="after")
    def _consistent(self) -> HeldOut:
        if len(self.labels) != len(self.probabilities) or not set(self.labels) == {0, 1}:
            raise ValueError("'labels' and 'probabilities' must be of the same people, of both classes 0 and 1.")
        if not all(0 <= p <= 1 for p in self.probabilities):
            raise ValueError("'probabilities' must lie between 0 and 1.")
        return self

    def mirrored(self) -> HeldOut:
        """The same answers with the classes in the other order."""
        return HeldOut(
            labels=tuple(1 - y for y in self.labels), probabilities=tuple(round(1 - p, 4) for p in self.probabilities)
        )

    @property
    def n_ill(self) -> int:
        """People with the condition."""
        return sum(self.labels)

    @property
    def n_healthy(self) -> int:
        """People without it."""
        return len(self.labels) - self.n_ill

    @property
    def found(self) -> int:
        """People with the condition of whom the model says so."""
        return sum(y for y, p in zip(self.labels, self.probabilities, strict=True) if p > 0.5)

    @property
    def alarms(self) -> int:
        """People without the condition of whom the model says they have it."""
        return sum(1 - y for y, p in zip(self.labels, self.probabilities, strict=True) if p > 0.5)

    @property
    def sensitivity(self) -> float:
        """Share of the ill whom the model finds."""
        return self.found / self.n_ill

    @property
    def specificity(self) -> float:
        """Share of the healthy whom it lets go."""
        return 1 - self.alarms / self.n_healthy

    @cached_property
    def auc(self) -> Interval:
        """Area under the ROC curve, with its 95 % interval over people."""
        return auroc(np.array(self.probabilities), np.array(self.labels))

    @property
    def separates(self) -> bool:
        """Whether that interval lies above chance; without one, whether the area does."""
        return (self.auc.low if self.auc.low == self.auc.low else self.auc.value) > 0.5

    @property
    def share_ill(self) -> float:
        """Share of the ill among these people, which is the data set's and no clinic's."""
        return self.n_ill / len(self.labels)

    def alike(self, probability: float) -> tuple[int, int, float, float]:
        """People with a value in the same bin: how many are ill, how many there are, and the bin's ends."""
        at = next((i for i, high in enumerate(BINS[1:]) if probability < high), len(BINS) - 2)
        low, high = BINS[at], BINS[at + 1]
        members = [
            y
            for y, p in zip(self.labels, self.probabilities, strict=True)
            if low <= p < high or (high == BINS[-1] and p == high)
        ]
        return sum(members), len(members), low, high

    def right(self, says_ill: bool, share: float) -> float:
        """Share of the people of whom the model says this who are what it says, where `share` of all are ill.

        Of an answer "ill" the positive predictive value sens s / (sens s + (1 - spec)(1 - s)), of "healthy" the
        negative one spec (1 - s) / (spec (1 - s) + (1 - sens) s) (altman1994diagnostic).

        Returns:
            In [0, 1]; NaN where the model says this of nobody.
        """
        return predictive_value(self.sensitivity, self.specificity, share, says_ill)


class HeldOutScore(BaseModel):
    """Scores that a model gave people whom the network that answered never heard, one a person, by rising truth.

    Args:
        truths, said: in the score's unit.
        baseline: what whoever knows nobody says: the mean of the people of the other folds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    truths: tuple[float, ...]
    said: tuple[float, ...]
    baseline: tuple[float, ...]

    @model_validator(mode="after")
    def _consistent(self) -> HeldOutScore:
        if not len(self.truths) == len(self.said) == len(self.baseline) > 1:
            raise ValueError("'truths', 'said' and 'baseline' must be of the same people, at least two.")
        return self

    @cached_property
    def errors(self) -> tuple[float, ...]:
        """How far off it was, by person, smallest first."""
        return tuple(sorted(abs(s - t) for s, t in zip(self.said, self.truths, strict=True)))

    @property
    def mae(self) -> float:
        """Mean absolute error."""
        return sum(self.errors) / len(self.errors)

    @property
    def mae_of_mean(self) -> float:
        """Mean absolute error of the mean for everybody."""
        return sum(abs(b - t) for b, t in zip(self.baseline, self.truths, strict=True)) / len(self.truths)

    def within(self, share: float = 0.9) -> float | None:
        """How near the truth of a new person it comes with that probability: the ceil(share (n + 1))-th smallest error
        (split conformal, lei2018distribution); None where there are too few people to say so."""
        place = math.ceil(share * (len(self.errors) + 1) - 1e-9)
        return self.errors[place - 1] if place <= len(self.errors) else None

    @cached_property
    def gain(self) -> Interval:
        """Share of the baseline's mean absolute error that it takes away, with its 95 % interval over people."""
        said, truths, baseline = (np.array(v) for v in (self.said, self.truths, self.baseline))
        off, off_mean = np.abs(said - truths), np.abs(baseline - truths)

        def share(index: Array) -> float:
            whole = off_mean[index].mean()
            return float(1 - off[index].mean() / whole) if whole > 0 else float("nan")

        return interval(share, len(truths))

    @property
    def knows(self) -> bool:
        """Whether that interval lies above 0."""
        return self.gain.low > 0

    def sentence(self, unit: str, people: str = "people") -> str:
        """How near it comes, in words."""
        most = self.within()
        wide = "" if most is None else f"; of 10 {people} about 9 lie within {most:.3g} {unit} of what it says"
        return (
            f"Of {len(self.truths)} {people} it never heard it was {self.mae:.3g} {unit} off on average, where the mean"
            f" for everybody is {self.mae_of_mean:.3g} off{wide}."
        )


def held_out_of(subjects: Subjects) -> HeldOut | None:
    """What a bundle keeps of out-of-fold answers: of two classes, by rising probability and without names."""
    if len(subjects.classes) != 2 or set(subjects.labels.tolist()) != {0, 1}:
        return None
    pairs = sorted(zip(subjects.probabilities.tolist(), subjects.labels.tolist(), strict=True))
    return HeldOut(labels=tuple(int(y) for _, y in pairs), probabilities=tuple(round(p, 4) for p, _ in pairs))


def predictive_value(sensitivity: float, specificity: float, share: float, says_ill: bool = True) -> float:
    """Share of right answers among all equal ones, see `HeldOut.right`.

    >>> round(predictive_value(0.9, 0.9, 0.01), 4)  # 9 of 10 ill ones among 108 alarms in 1,000 people
    0.0833
    >>> round(predictive_value(0.9, 0.9, 0.5), 4)
    0.9
    >>> round(predictive_value(0.9, 0.9, 0.01, says_ill=False), 5)
    0.99888
    """
    true, false = sensitivity * share, (1 - specificity) * (1 - share)
    if not says_ill:
        true, false = specificity * (1 - share), (1 - sensitivity) * share
    return true / (true + false) if true + false > 0 else float("nan")
