"""How near does a network come to a score of people it never heard? One value a person, beside what knows nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from speechxai.classifiers.held_out import HeldOutScore
from speechxai.classifiers.validation import CrossValidation, Interval, interval
from speechxai.stats import N_RESAMPLES, spearman
from speechxai.types import Array, Recording


@dataclass(frozen=True, eq=False)
class ScoredPeople:
    """One row a person, S of them, means over the person's recordings.

    Args:
        speakers: names.
        truths: (S,), in the unit.
        said: (S,), by a network that never heard the person.
        baseline: (S,), the mean truth of the people of the other folds: what knows nobody says of everybody.
        ages: (S,), years; NaN where unknown.
        sexes: "" where unknown.
        durations_s: (S,).
    """

    speakers: tuple[str, ...]
    truths: Array
    said: Array
    baseline: Array
    ages: Array
    sexes: tuple[str, ...]
    durations_s: Array

    def some(self, members: Array) -> ScoredPeople:
        """The people where `members` (S,) is true."""
        index = np.flatnonzero(members)
        return ScoredPeople(
            tuple(self.speakers[i] for i in index),
            self.truths[index],
            self.said[index],
            self.baseline[index],
            self.ages[index],
            tuple(self.sexes[i] for i in index),
            self.durations_s[index],
        )

    def held_out(self) -> HeldOutScore:
        """What a bundle keeps: by rising truth and without names."""
        triples = sorted(zip(self.truths.tolist(), self.said.tolist(), self.baseline.tolist(), strict=True))
        return HeldOutScore(
            truths=tuple(round(t, 4) for t, _, _ in triples),
            said=tuple(round(s, 4) for _, s, _ in triples),
            baseline=tuple(round(b, 4) for _, _, b in triples),
        )


def people_of(recordings: Sequence[Recording], validated: CrossValidation) -> ScoredPeople:
    """Out-of-fold scores of a cross-validation, by person."""
    truths, said, folds = validated.labels.numpy(), validated.logits[:, 0].numpy(), validated.folds.numpy()
    names = tuple(dict.fromkeys(validated.speakers))
    owner = np.array(validated.speakers)
    rows = [np.flatnonzero(owner == name) for name in names]
    mean_truth = np.array([truths[row].mean() for row in rows], dtype=float)
    fold = np.array([folds[row[0]] for row in rows])
    # Where one fold holds everybody there is no other; folds are at least three.
    baseline = np.array([mean_truth[fold != k].mean() for k in fold])

    def known(row: Array, name: str) -> object:
        return recordings[int(row[0])].metadata.get(name)

    ages = [known(row, "age") for row in rows]
    sexes = [known(row, "sex") for row in rows]
    return ScoredPeople(
        names,
        mean_truth,
        np.array([said[row].mean() for row in rows], dtype=float),
        baseline,
        np.array([float(age) if isinstance(age, int | float) else np.nan for age in ages]),
        tuple("" if sex in (None, "unknown") else str(sex) for sex in sexes),
        np.array([np.mean([recordings[int(i)].duration_s for i in row]) for row in rows]),
    )


FIGURES = {
    "mae": "mean absolute error",
    "mae_of_mean": "the same of the mean for everybody",
    "gain": "share of that error which the network takes away",
    "rmse": "root of the mean squared error",
    "spearman": "Spearman's rank correlation",
}
"""Person-level figures and what people call them; the first, second and fourth are in the score's unit."""


def figures(people: ScoredPeople, n: int = N_RESAMPLES) -> dict[str, Interval]:
    """FIGURES with their 95 % intervals by bootstrap over people.

    MAE = mean |said - truth|; gain = 1 - MAE / MAE of the baseline, above 0 where the network is nearer than a mean.
    """
    off = np.abs(people.said - people.truths)
    off_mean = np.abs(people.baseline - people.truths)

    statistics = {
        "mae": lambda index: float(off[index].mean()),
        "mae_of_mean": lambda index: float(off_mean[index].mean()),
        "rmse": lambda index: float(np.sqrt(np.square(off[index]).mean())),
        "spearman": lambda index: spearman(people.said[index], people.truths[index]),
    }
    found = {name: interval(statistic, len(people.speakers), n) for name, statistic in statistics.items()}
    found["gain"] = people.held_out().gain
    return {name: found[name] for name in FIGURES}


def alone(people: ScoredPeople, n: int = N_RESAMPLES) -> dict[str, Interval]:
    """Spearman's correlation of the truth with what is no voice, over people of whom it is known, and beside each
    ("... and what the network says") of the network's score with it: a network may have learned that instead."""
    found: dict[str, Interval] = {}
    sexes = np.array([{"F": 0.0, "M": 1.0}.get(sex, np.nan) for sex in people.sexes])
    for name, values in (("age", people.ages), ("sex (M over F)", sexes), ("duration", people.durations_s)):
        there = np.isfinite(values)
        if there.sum() < 3 or len(set(values[there].tolist())) < 2:
            continue
        part, v = people.some(there), values[there]
        for ending, other in (("", part.truths), (" and what the network says", part.said)):
            found[name + ending] = interval(
                lambda index, v=v, other=other: spearman(v[index], other[index]),  # type: ignore[misc]
                len(v),
                n,
            )
    return found


def groups(people: ScoredPeople) -> Mapping[str, Array]:
    """People by sex, and by age under and from the median: which of them (S,), bool."""
    found = {f"sex {sex}": np.array(people.sexes) == sex for sex in sorted(set(people.sexes)) if sex}
    known = np.isfinite(people.ages)
    if known.sum() >= 4:
        middle = float(np.median(people.ages[known]))
        found |= {
            f"under {middle:g} years": known & (people.ages < middle),
            f"from {middle:g} years": people.ages >= middle,
        }
    return {name: members for name, members in found.items() if members.sum() > 1}


__all__ = ["FIGURES", "ScoredPeople", "alone", "figures", "groups", "people_of"]
