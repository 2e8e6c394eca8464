"""How good is a classifier, subject by subject: metrics with intervals, groups, and what age or length alone would give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speechxai.classifiers.calibration import brier_score, expected_calibration_error, log_loss
from speechxai.errors import SpeechXAIError

Array = NDArray[np.float64]
Statistic = Callable[[Array, Array], float]
"""A function of labels (N,) and P(PD) (N,)."""


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval; NaN where undefined. `n` is the number of subjects."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, eq=False)
class Subjects:
    """One row a subject: label (S,), mean P(PD) over the subject's recordings (S,), age (S,), mean duration (S,), sex.

    Unknown ages are NaN, unknown sexes "".
    """

    speakers: tuple[str, ...]
    labels: Array
    probabilities: Array
    ages: Array
    durations_s: Array
    sexes: tuple[str, ...]


def by_subject(
    speakers: Sequence[str], labels: ArrayLike, probabilities: ArrayLike, metadata: Sequence[tuple[float, float, str]]
) -> Subjects:
    """Average the recordings of every subject. `metadata` holds (age, duration in s, sex) of each recording.

    Raises:
        SpeechXAIError: a subject with two labels.
    """
    y, p = np.asarray(labels, dtype=float), np.asarray(probabilities, dtype=float)
    names = tuple(dict.fromkeys(speakers))
    rows = [np.array([i for i, speaker in enumerate(speakers) if speaker == name]) for name in names]
    for name, members in zip(names, rows, strict=True):
        if len(set(y[members])) > 1:
            raise SpeechXAIError(f"The speaker '{name}' has recordings of both classes: mend the labels.")
    ages, durations = np.array([m[0] for m in metadata], dtype=float), np.array([m[1] for m in metadata], dtype=float)
    return Subjects(
        names,
        np.array([y[m[0]] for m in rows]),
        np.array([p[m].mean() for m in rows]),
        np.array([ages[m[0]] for m in rows]),
        np.array([durations[m].mean() for m in rows]),
        tuple(metadata[m[0]][2] for m in rows),
    )


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Share of (PD, HC) pairs in which PD has the higher score, ties counted half; NaN with one class.

    >>> auroc([0, 0, 1, 1], [0.1, 0.4, 0.4, 0.8])
    0.875
    """
    y, s = np.asarray(labels, dtype=float), np.asarray(scores, dtype=float)
    difference = s[y == 1][:, None] - s[y == 0][None, :]
    return float(((difference > 0) + 0.5 * (difference == 0)).mean()) if difference.size else float("nan")


def matched_auroc(labels: ArrayLike, scores: ArrayLike, ages: ArrayLike, tolerance_years: float = 5.0) -> float:
    """`auroc` over the (PD, HC) pairs whose ages differ by at most `tolerance_years`: what is left when age cannot help."""
    y, s, a = (np.asarray(v, dtype=float) for v in (labels, scores, ages))
    difference = s[y == 1][:, None] - s[y == 0][None, :]
    near = np.abs(a[y == 1][:, None] - a[y == 0][None, :]) <= tolerance_years
    won = ((difference > 0) + 0.5 * (difference == 0))[near]
    return float(won.mean()) if won.size else float("nan")


def _share(hits: NDArray[np.bool_]) -> float:
    return float(hits.mean()) if hits.size else float("nan")


def sensitivity(labels: Array, probabilities: Array) -> float:
    """Share of PD subjects with P(PD) above 0.5."""
    return _share(probabilities[labels == 1] > 0.5)


def specificity(labels: Array, probabilities: Array) -> float:
    """Share of HC subjects with P(PD) at most 0.5."""
    return _share(probabilities[labels == 0] <= 0.5)


STATISTICS: dict[str, Statistic] = {
    "accuracy": lambda y, p: _share((p > 0.5) == (y == 1)),
    "balanced_accuracy": lambda y, p: (sensitivity(y, p) + specificity(y, p)) / 2,
    "sensitivity": sensitivity,
    "specificity": specificity,
    "auroc": auroc,
    "brier": brier_score,
    "log_loss": log_loss,
    "ece": expected_calibration_error,
}
"""Subject-level metrics by name; the threshold is P(PD) = 0.5."""


def bootstrap(
    statistic: Callable[[NDArray[np.int64]], float], n_subjects: int, *, n: int = 2000, seed: int = 0
) -> Interval:
    """Value over all subjects with a 95 % percentile interval over `n` resamples of subjects; NaN resamples are left out.

    Args:
        statistic: takes indices of subjects (with repeats) and gives the value.
    """
    rng = np.random.default_rng(seed)
    value = statistic(np.arange(n_subjects)) if n_subjects else float("nan")
    draws = (
        np.array([statistic(rng.integers(n_subjects, size=n_subjects)) for _ in range(n)])
        if n_subjects
        else np.zeros(0)
    )
    draws = draws[np.isfinite(draws)]
    low, high = np.percentile(draws, [2.5, 97.5]) if len(draws) else (float("nan"), float("nan"))
    return Interval(value, float(low), float(high), n_subjects)


def performance(
    subjects: Subjects, names: Sequence[str] = tuple(STATISTICS), *, n: int = 2000, seed: int = 0
) -> dict[str, Interval]:
    """Metrics of STATISTICS, all or those in `names`, with their intervals by bootstrap over subjects."""
    y, p = subjects.labels, subjects.probabilities
    return {name: bootstrap(lambda i, f=STATISTICS[name]: f(y[i], p[i]), len(y), n=n, seed=seed) for name in names}  # type: ignore[misc]


AGE_BANDS = ((0, 50), (50, 60), (60, 70), (70, 200))
"""Age bands, years: from the first number up to below the second."""


def groups(subjects: Subjects) -> dict[str, NDArray[np.bool_]]:
    """Subgroups with at least one subject, by sex and by age band: name -> members (S,)."""
    sex = np.array(subjects.sexes)
    found = {f"sex {name}": sex == name for name in sorted(set(subjects.sexes)) if name}
    for low, high in AGE_BANDS:
        name = (
            f"age under {high}" if low == 0 else f"age {low} and above" if high >= 200 else f"age {low} to {high - 1}"
        )
        found[name] = (subjects.ages >= low) & (subjects.ages < high)
    return {name: members for name, members in found.items() if members.any()}


def subset(subjects: Subjects, members: NDArray[np.bool_]) -> Subjects:
    """Return the subjects whose entry in `members` (S,) is true."""
    i = np.flatnonzero(members)
    return Subjects(
        tuple(subjects.speakers[k] for k in i), subjects.labels[i], subjects.probabilities[i], subjects.ages[i],
        subjects.durations_s[i], tuple(subjects.sexes[k] for k in i),
    )  # fmt: skip


def confounds(subjects: Subjects, *, n: int = 2000, seed: int = 0) -> dict[str, Interval]:
    """What things other than the voice would give, and what is left of the classifier when age cannot help.

    Keys: `age alone`, `duration alone`, `classifier`, `classifier, ages within 5 years`, `classifier, overlapping ages`,
    `age alone, overlapping ages`, each an AUROC; and `rank correlation of P(PD) with age among HC`, -1 to 1. Those
    with age are missing where no age is known.
    """
    result: dict[str, Interval] = {}
    y, p, a, d = subjects.labels, subjects.probabilities, subjects.ages, subjects.durations_s

    def add(name: str, statistic: Callable[[NDArray[np.int64]], float], size: int) -> None:
        result[name] = bootstrap(statistic, size, n=n, seed=seed)

    add("classifier", lambda i: auroc(y[i], p[i]), len(y))
    add("duration alone", lambda i: auroc(y[i], d[i]), len(y))
    known = np.isfinite(a)
    if not (known & (y == 0)).any() or not (known & (y == 1)).any():
        return result
    ya, pa, aa = y[known], p[known], a[known]
    add("age alone", lambda i: auroc(ya[i], aa[i]), len(ya))
    add("classifier, ages within 5 years", lambda i: matched_auroc(ya[i], pa[i], aa[i]), len(ya))
    low, high = max(aa[ya == 0].min(), aa[ya == 1].min()), min(aa[ya == 0].max(), aa[ya == 1].max())
    inside = (aa >= low) & (aa <= high)
    yo, po, ao = ya[inside], pa[inside], aa[inside]
    add("classifier, overlapping ages", lambda i: auroc(yo[i], po[i]), len(yo))
    add("age alone, overlapping ages", lambda i: auroc(yo[i], ao[i]), len(yo))
    ph, ah = pa[ya == 0], aa[ya == 0]
    add("rank correlation of P(PD) with age among HC", lambda i: _rank_correlation(ph[i], ah[i]), len(ph))
    return result


def _rank_correlation(a: Array, b: Array) -> float:
    from scipy.stats import rankdata

    ra, rb = rankdata(a), rankdata(b)
    if len(a) < 3 or ra.std() == 0 or rb.std() == 0:
        return float("nan")
    return float(np.corrcoef(ra, rb)[0, 1])
