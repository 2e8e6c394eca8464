"""Simulated readers with stated skill, reliance and spread: what a study can find before anybody is asked, and whether
its statistics give back what was put in."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from speechxai.errors import SpeechXAIError
from speechxai.readers import analysis
from speechxai.readers.design import TRUE, WITH_ANSWER, WITH_MAP, Case, Expected, Study, codes, dealt, slots
from speechxai.stats import multi_reader, share_interval

if TYPE_CHECKING:
    import pandas as pd

    from speechxai.readers.store import Store
    from speechxai.types import Array

CONFIDENCE_EDGES = (0.4, 1.0, 1.8)
"""How far from undecided a reader is who says leaning, confident and certain, in standard deviations of a reading."""

USE_EDGE = 0.5
"""How far a reader's impression of an explanation is from undecided where it is accepted or rejected."""

BIAS_SD = 0.4
"""How much readers differ in how easily they accept an explanation, in standard deviations of a reading."""

PERSISTENCE = 0.5
"""Correlation of what chance does to a first and to a second decision about one case."""

PLANTED, UNRELATED = "planted", "unrelated"
"""The two metrics of simulated cases: one that goes with how clearly an explanation shows what it is, and noise."""

GOOD_POWER = 0.8
"""A study below it says so before it starts."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """What simulated readers do: first and last correctness (I, J, K), above 0 is right, impression of explanations
    (I, J, K), above 0 is for it, and how clearly each explanation and metric show what it is (K,)."""

    first: Array
    last: Array
    impression: Array
    clarity: Array
    planted: Array
    unrelated: Array


def reliance_of(expected: Expected, arms: Sequence[str]) -> list[float]:
    """Planted share of readings with appropriate reliance by arm: `reliance` in the first arm with an answer, lower by
    `fall` in the later ones; NaN without an answer."""
    found, seen = [], 0
    for arm in arms:
        found.append(math.nan if arm not in WITH_ANSWER else expected.reliance - (expected.fall if seen else 0.0))
        seen += arm in WITH_ANSWER
    return found


def draw(expected: Expected, arms: Sequence[str], true: Array, n_readers: int, rng: np.random.Generator) -> Drawn:
    """Draw readers and cases on one scale, on which chance of a single reading has the standard deviation 1.

    First decision z1 = m + R_j + C_k + e, right where z1 > 0, with m such that the area under the curve is `skill`:
    2 m / sqrt(4 var R + 2 var C + 2) = Phi^-1(skill). Last decision with an answer z2 = s Phi^-1(reliance of the arm)
    + R_j + C_k + RA_ij + CA_ik + e', s the standard deviation of the rest, so that reliance is appropriate in the
    planted share. Impression of an explanation u = t (d / 2 + v_k) + b_j + e'', t = 1 for a true one and -1 for a false
    one, d = sqrt(2 (var v + 1)) Phi^-1(telling).

    Args:
        expected: skill, reliance and spread.
        arms: I of them.
        true: (K,) whether each explanation is true.
        n_readers: J.
        rng: for everything.
    """
    from scipy.special import ndtri

    n_arms, n_cases = len(arms), len(true)
    shape = (n_arms, n_readers, n_cases)
    e = expected
    reader, case = e.reader_sd * rng.normal(size=(1, n_readers, 1)), e.case_sd * rng.normal(size=(1, 1, n_cases))
    middle = ndtri(e.skill) * math.sqrt(4 * e.reader_sd**2 + 2 * e.case_sd**2 + 2) / 2
    chance = rng.normal(size=shape)
    first = middle + reader + case + chance
    again = PERSISTENCE * chance + math.sqrt(1 - PERSISTENCE**2) * rng.normal(size=shape)
    spread = math.sqrt(1 + e.reader_sd**2 + e.case_sd**2 + e.reader_arm_sd**2 + e.case_arm_sd**2)
    by_arm = e.reader_arm_sd * rng.normal(size=(n_arms, n_readers, 1)) + e.case_arm_sd * rng.normal(
        size=(n_arms, 1, n_cases)
    )
    wanted = np.array(reliance_of(e, arms))[:, None, None]
    last = np.where(np.isnan(wanted), first, spread * ndtri(wanted) + reader + case + by_arm + again)
    sign = np.where(true, 1.0, -1.0)
    clear = rng.normal(size=n_cases)
    distance = math.sqrt(2 * (e.case_sd**2 + 1)) * ndtri(e.telling)
    bias = BIAS_SD * rng.normal(size=(1, n_readers, 1))
    impression = sign * (distance / 2 + e.case_sd * clear) + bias + rng.normal(size=shape)
    other = rng.normal(size=n_cases)
    rho = e.metric_correlation
    planted = sign * (0.5 + rho * clear + math.sqrt(1 - rho**2) * other)
    return Drawn(first, last, impression, clear, planted, rng.normal(size=n_cases))


def confidence_of(z: Array) -> Array:
    """Confidence 0 (unsure) to 3 (certain) of how far from undecided a reader is."""
    return np.searchsorted(CONFIDENCE_EDGES, np.abs(z))


def readings(
    study: Study, cases: Sequence[Case], expected: Expected | None = None, seed: int = 0
) -> tuple[pd.DataFrame, list[Case]]:
    """Simulated readings of a study as it is planned, and its cases with metrics that belong to what was drawn.

    Returns:
        A table of READING_COLUMNS, and the cases.
    """
    import pandas as pd

    rng = np.random.default_rng([study.seed, 4, seed])
    rest = [case for case in cases if not case.training]
    true = np.array([case.kind == TRUE for case in rest])
    drawn = draw(expected or study.expected, study.arms, true, study.readers, rng)
    place = {case.code: k for k, case in enumerate(rest)}
    rows: dict[str, list[Any]] = {name: [] for name in ("reader", "case", "arm", "round", "sitting", "order")}
    index = []
    for number, code in enumerate(codes(study)):
        met = [slot for slot in slots(study, number, cases) if slot.kind == "case"]
        for order, slot in enumerate(met):
            for name, value in zip(rows, (code, slot.case, slot.arm, slot.round, slot.sitting, order), strict=True):
                rows[name].append(value)
            index.append((study.arms.index(slot.arm), number, place[slot.case]))
    at = tuple(np.array(index).T)
    truth = np.array([case.truth for case in rest])[at[2]]
    answer = np.array([case.answer for case in rest])[at[2]]
    first, last = drawn.first[at], drawn.last[at]
    arm = np.array(rows["arm"])
    shown, seen = np.isin(arm, WITH_ANSWER), np.isin(arm, WITH_MAP)
    use = np.where(drawn.impression[at] > USE_EDGE, 2.0, np.where(drawn.impression[at] < -USE_EDGE, 0.0, 1.0))
    n = len(index)
    seconds = np.exp(rng.normal(math.log(35), 0.4, n)) * (1 + 0.4 * seen)
    table = pd.DataFrame(
        rows
        | {
            "truth": truth,
            "answer": answer,
            "kind": np.array([case.kind for case in rest])[at[2]],
            "first": np.where(first > 0, truth, 1 - truth),
            "first_confidence": confidence_of(first),
            "foretold": np.where(shown, np.where(rng.random(n) < 0.65, answer, 1 - answer), np.nan),
            "decision": np.where(last > 0, truth, 1 - truth),
            "confidence": confidence_of(last),
            "use": np.where(seen, use, np.nan),
            "seconds": np.round(seconds, 3),
            "plays": 1 + rng.poisson(1.2, n),
            "played_s": np.round(4 * (1 + rng.random(n)), 3),
        }
    )
    assert tuple(table.columns) == analysis.READING_COLUMNS
    scored = [
        replace(case, metrics={PLANTED: float(drawn.planted[k]), UNRELATED: float(drawn.unrelated[k])})
        for k, case in enumerate(rest)
    ]
    return table, [*(case for case in cases if case.training), *scored]


def fill(study: Study, store: Store, cases: Sequence[Case], seed: int = 0) -> int:
    """Let simulated readers answer everything into a store of their own. Returns how many readings."""
    table, scored = readings(study, cases, seed=seed)
    store.begin(study)
    store.put_cases(scored, {}, {"simulated": True, "classes": ["HC", "PD"]})
    rng = np.random.default_rng([study.seed, 7, seed])
    at = {(row["reader"], row["case"], row["arm"]): row for row in table.to_dict("records")}
    rows: list[tuple[str, int, str, dict[str, Any], float]] = []
    for number, code in enumerate(codes(study)):
        clock = 1_000_000.0
        for slot in slots(study, number, scored):
            clock += 40
            given = {"rt_ms": 1000.0, "plays": 0, "played_s": 0.0, "paused_ms": 0.0}
            if slot.kind in ("sus", "scs"):
                rows.append(
                    (code, slot.index, "scale", given | {f"q{k}": int(rng.integers(2, 6)) for k in ITEMS}, clock)
                )
            if slot.kind == "attention":
                asked = {"decision": slot.asked[0], "confidence": slot.asked[1]}
                rows.append((code, slot.index, "first", given | asked, clock))
            if slot.kind != "case":
                continue
            row = at[code, slot.case, slot.arm]
            share = 1.0 if slot.arm == "sound" else 0.6
            first = given | {
                "decision": int(row["first"]),
                "confidence": int(row["first_confidence"]),
                "cause": [CAUSES[int(rng.integers(len(CAUSES)))]],
                "rt_ms": round(1000 * row["seconds"] * share, 3),
                "plays": int(row["plays"]),
                "played_s": row["played_s"],
            }
            if row["foretold"] == row["foretold"]:
                first["foretold"] = int(row["foretold"])
            rows.append((code, slot.index, "first", first, clock))
            if slot.arm != "sound":
                second = given | {"decision": int(row["decision"]), "confidence": int(row["confidence"])}
                second["rt_ms"] = round(1000 * row["seconds"] * (1 - share), 3)
                if row["use"] == row["use"]:
                    second["use"] = int(row["use"])
                rows.append((code, slot.index, "second", second, clock + 20))
    store.put_many(rows)
    return len(table)


ITEMS = range(1, 11)
CAUSES = ("voice", "prosody", "language", "other")


# Power.
@dataclass(frozen=True)
class Power:
    """How often a study of this size finds a fall in appropriate reliance.

    Args:
        n_readers, n_cases, n_arms: its size.
        crossed: whether each reader reads every case in every arm.
        fall: that is looked for.
        power: share of simulated studies with p below .05 for the difference of the first two arms with an answer, and
            the fall on its side.
        low, high: its 95 % interval from so many studies.
        alarms: the same share where nothing differs, which should be about .05.
    """

    n_readers: int
    n_cases: int
    n_arms: int
    crossed: bool
    fall: float
    power: float
    low: float
    high: float
    alarms: float

    @property
    def sentence(self) -> str:
        """What the study can find."""
        if self.fall == 0:
            return "Power: expected.fall is 0, so there is nothing to find; say what fall the study should find."
        points = f"{100 * abs(self.fall):.3g} points"
        said = f"This study can find a {'fall' if self.fall > 0 else 'rise'} of {points} with power {self.power:.2f}"
        enough = self.power >= GOOD_POWER
        return said + (
            "." if enough else f": below {GOOD_POWER:g}. More readers, more cases or crossed arms find more."
        )


def power(
    expected: Expected, arms: Sequence[str], n_readers: int, n_cases: int, crossed: bool, n: int = 400, seed: int = 0
) -> Power:
    """Simulate n studies with the expected fall, and n without it.

    Raises:
        SpeechXAIError: fewer than two arms with an answer, so that no reliance can fall.
    """
    chosen = [k for k, arm in enumerate(arms) if arm in WITH_ANSWER]
    if len(chosen) < 2:
        raise SpeechXAIError("The power of a difference needs two arms with the model's answer.")
    if n_readers < 2:
        raise SpeechXAIError("The power of a difference needs at least two readers.")
    place = np.arange(n_cases)
    # Who reads what in which arm, when each case is read once.
    turn = (place[None, :] + np.arange(n_readers)[:, None]) % len(arms)
    unread = np.stack([turn != k for k in range(len(arms))]) & (not crossed)
    found = []
    for fall in (expected.fall, 0.0):
        # Where nothing differs both arms have the mean of the two, so that both cases have one spread.
        one = expected.model_copy(update={"fall": fall, "reliance": expected.reliance - (expected.fall - fall) / 2})
        rng = np.random.default_rng([seed, n_readers, n_cases, int(crossed), int(fall != 0)])
        hits = 0
        for _ in range(n):
            drawn = draw(one, arms, np.ones(n_cases, bool), n_readers, rng)
            right = np.where(unread, np.nan, (drawn.last > 0).astype(float))[chosen[:2]]
            tested = multi_reader(right, np.zeros(n_cases), "mean")
            difference = float(tested.difference[0, 1])
            hits += bool(tested.p < 0.05 and (fall == 0 or difference * fall > 0))
        found.append(hits)
    low, high = share_interval(found[0], n)
    return Power(n_readers, n_cases, len(arms), crossed, expected.fall, found[0] / n, low, high, found[1] / n)


# Whether the statistics give back what was put in.
@dataclass(frozen=True)
class Coverage:
    """How often the interval of one figure holds what was planted.

    Args:
        name: of the figure.
        planted: value of endless readers and cases.
        mean: of the estimates.
        held, n: intervals that hold it, of so many.
    """

    name: str
    planted: float
    mean: float
    held: int
    n: int

    @property
    def share(self) -> float:
        """Share of intervals that hold what was planted."""
        return self.held / max(self.n, 1)


def coverage(
    study: Study, n: int = 200, seed: int = 0, tick: Callable[[int, int], None] | None = None
) -> list[Coverage]:
    """Simulate a study n times and count the intervals that hold the planted skill, reliance, its fall, how well true
    is told from false, and the correlation of the metrics with readers' success."""
    cases = dealt(study)
    truths = planted(study, cases)
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in truths}
    for repetition in range(n):
        table, scored = readings(study, cases, seed=seed + repetition)
        for name, value in estimates(study, table, scored).items():
            found[name].append(value)
        if tick:
            tick(repetition + 1, n)
    rows = []
    for name, truth in truths.items():
        each = np.array(found[name])
        held = (each[:, 1] <= truth) & (truth <= each[:, 2])
        rows.append(Coverage(name, truth, float(each[:, 0].mean()), int(held.sum()), len(each)))
    return rows


def estimates(study: Study, table: pd.DataFrame, cases: Sequence[Case]) -> dict[str, tuple[float, float, float]]:
    """Value and interval of everything that simulation plants."""
    found = {}
    for key in ("first_auc", "reliance", "telling"):
        figures, differences = analysis.by_arm(table, key, study.arms)
        for one in figures:
            found[f"{analysis.FIGURES[key]}, {analysis.arm_words(one.arm)}"] = (one.value, one.low, one.high)
        if key == "reliance":
            for other in differences:
                name = (
                    f"{analysis.FIGURES[key]}, {analysis.arm_words(other.arm)} minus {analysis.arm_words(other.other)}"
                )
                found[name] = (other.value, other.low, other.high)
    for row in analysis.against_metrics(table, cases):
        if row.name in (PLANTED, UNRELATED):
            name = f"correlation of the {row.name} metric with readers' success"
            found[name] = (row.success, row.success_low, row.success_high)
    return found


def planted(study: Study, cases: Sequence[Case], n_cases: int = 4000, n_readers: int = 400) -> dict[str, float]:
    """What endless readers and cases would show, by the names of `estimates`. Shares of reliance are exact. What rests
    on scales of a few steps is that of a very large study, of which the metrics' correlations are with the success that
    as many readers as in `study` have on average in a case.
    """
    from scipy.special import ndtri

    true = np.arange(n_cases) % 2 == 0
    rng = np.random.default_rng([study.seed, 5])
    found: dict[str, float] = {}
    relied = dict(zip(study.arms, reliance_of(study.expected, study.arms), strict=True))
    positive = np.arange(n_cases) // 2 % 2 == 0
    drawn = draw(study.expected, study.arms[:1], true, n_readers, rng)
    z = drawn.first[0]
    right = np.where(z > 0, positive, ~positive)
    scores = analysis.rating(right.astype(int), confidence_of(z))
    first = _mean_auc(scores, positive, 8)
    use = np.where(drawn.impression[0] > USE_EDGE, 2, np.where(drawn.impression[0] < -USE_EDGE, 0, 1))
    telling = _mean_auc(use, true, 2)
    for arm in study.arms:
        found[f"{analysis.FIGURES['first_auc']}, {analysis.arm_words(arm)}"] = first
    answered = [arm for arm in study.arms if arm in WITH_ANSWER]
    for arm in answered:
        found[f"{analysis.FIGURES['reliance']}, {analysis.arm_words(arm)}"] = relied[arm]
    for arm in answered[1:]:
        name = f"{analysis.FIGURES['reliance']}, {analysis.arm_words(arm)} minus {analysis.arm_words(answered[0])}"
        found[name] = relied[arm] - relied[answered[0]]
    mapped = [arm for arm in study.arms if arm in WITH_MAP]
    for arm in mapped:
        found[f"{analysis.FIGURES['telling']}, {analysis.arm_words(arm)}"] = telling
    if mapped:
        share = np.mean([case.true for case in cases if not case.training])
        n = study.readers * (len(mapped) if study.crossed else 1)
        many = np.arange(20 * n_cases) < share * 20 * n_cases
        # One population of cases before as many readers as the study has: what a case is stays, the rest is drawn anew.
        rest = draw(study.expected, ("map",), many, 1, rng)
        sign, e = np.where(many, 1.0, -1.0), study.expected
        distance = math.sqrt(2 * (e.case_sd**2 + 1)) * ndtri(e.telling)
        use = np.zeros(len(many))
        for _ in range(n):
            u = sign * (distance / 2 + e.case_sd * rest.clarity) + BIAS_SD * rng.normal() + rng.normal(size=len(many))
            use += np.where(u > USE_EDGE, 1.0, np.where(u < -USE_EDGE, 0.0, 0.5))
        for name, values in ((PLANTED, rest.planted), (UNRELATED, rest.unrelated)):
            success, _ = analysis.with_success(values, many, use)
            found[f"correlation of the {name} metric with readers' success"] = success
        found[f"correlation of the {UNRELATED} metric with readers' success"] = 0.0
    return found


def _mean_auc(scores: Array, positive: Array, top: int) -> float:
    """Mean over readers of the AUC of whole scores (J, K) from 0 to `top`, counted by level."""
    levels = np.arange(top + 1)
    ours = np.stack([(scores[:, positive] == level).mean(axis=1) for level in levels])
    others = np.stack([(scores[:, ~positive] == level).mean(axis=1) for level in levels])
    below = np.cumsum(others, axis=0) - 0.5 * others
    return float((ours * below).sum(axis=0).mean())
