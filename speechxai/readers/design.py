"""The study file, and what follows from it alone: who reads which case in which arm, in which order."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from speechxai.errors import SpeechXAIError, did_you_mean
from speechxai.evaluation.config import first_problem
from speechxai.explain.recipe import parse
from speechxai.files import fingerprint, read_toml
from speechxai.flags import MANY, MAX_SEED
from speechxai.metrics import METRICS, resolve

ARMS: Mapping[str, str] = {
    "sound": "sound alone",
    "second-look": "a second look, without help",
    "answer": "the model's answer",
    "map": "the answer and its map",
    "what-if": "the answer, its map and what-if curves",
}
"""What a reader gets, by arm, in words; each holds what the one before it holds."""

WITH_ANSWER = ("answer", "map", "what-if")
WITH_MAP = ("map", "what-if")

KINDS: Mapping[str, str] = {
    "other-recording": "map of another recording",
    "elsewhere": "right map, moved elsewhere",
    "random-network": "map of a network with random weights",
    "permuted-labels": "map of a network taught permuted labels",
}
"""How an explanation is false, in words."""

TRUE = "true"
"""Kind of an explanation that is what it says."""

Arm = Literal["sound", "second-look", "answer", "map", "what-if"]
Kind = Literal["other-recording", "elsewhere", "random-network", "permuted-labels"]

FALSE_SHARE = 0.3
"""By design at least this share of answers or explanations is false: without false ones nothing can be told apart."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_text_for_a_number(cls, value: object, info: ValidationInfo) -> object:
        wanted = cls.model_fields[str(info.field_name)].annotation
        if wanted is bool and not isinstance(value, bool):
            raise ValueError(f"must be true or false, without quotes. Got {value!r}")
        if wanted in (int, float) and isinstance(value, (str, bool)):
            raise ValueError(f"must be a number, without quotes. Got {value!r}")
        return value


class CaseSettings(_Part):
    """Which cases there are, and how many of them say something false."""

    data: str = Field("synthetic", min_length=1)
    root: str = ""
    task: str = ""
    model: str = Field("synthetic-cnn", min_length=1)
    recipe: str = "input_x_gradient"
    n: int = Field(80, ge=4, le=MANY)
    training: int = Field(4, ge=0, le=100)
    false_answers: float = Field(0.3, ge=0, le=0.5)
    turn_answers_round: bool = True
    false_explanations: float = Field(0.4, ge=0, le=0.6)
    kinds: tuple[Kind, ...] = Field(("other-recording", "elsewhere", "random-network"), min_length=1)
    permuted_model: str = ""
    metrics: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.n % 2:
            raise ValueError("n must be even, half of the cases for each class")
        if "permuted-labels" in self.kinds and not self.permuted_model:
            raise ValueError('the kind "permuted-labels" needs permuted_model')
        return self


class QuestionSettings(_Part):
    """What is asked beside the decision."""

    foretell: bool = True
    box: bool = True
    comment: bool = True
    scales: bool = True


class TextSettings(_Part):
    """What readers are told."""

    consent: str = Field(min_length=1)
    instructions: str = Field(min_length=1)
    debriefing: str = Field(min_length=1)


class Expected(_Part):
    """What readers are expected to be like; see `simulate`."""

    skill: float = Field(0.69, gt=0, lt=1)
    reliance: float = Field(0.75, gt=0, lt=1)
    fall: float = Field(0.10, ge=-0.5, le=0.5)
    telling: float = Field(0.65, gt=0, lt=1)
    reader_sd: float = Field(0.35, ge=0, le=5)
    case_sd: float = Field(0.6, ge=0, le=5)
    reader_arm_sd: float = Field(0.15, ge=0, le=5)
    case_arm_sd: float = Field(0.3, ge=0, le=5)
    metric_correlation: float = Field(0.5, ge=-0.99, le=0.99)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not 0 < self.reliance - self.fall < 1:
            raise ValueError("reliance - fall must lie between 0 and 1")
        return self


class Study(_Part):
    """A study file."""

    title: str = Field(min_length=1, max_length=200)
    arms: tuple[Arm, ...] = Field(min_length=1)
    crossed: bool = True
    readers: int = Field(8, ge=1, le=500)
    sitting: int = Field(20, ge=1, le=1000)
    gap_days: float = Field(14.0, ge=0, le=365)
    attention_checks: int = Field(1, ge=0, le=5)
    seed: int = Field(20261, ge=0, le=MAX_SEED)
    cases: CaseSettings = CaseSettings.model_validate({})
    questions: QuestionSettings = QuestionSettings()
    texts: TextSettings
    expected: Expected = Expected.model_validate({})

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(set(self.arms)) < len(self.arms):
            raise ValueError("an arm stands in 'arms' twice")
        return self

    @property
    def n_rounds(self) -> int:
        """How often a reader meets a case."""
        return len(self.arms) if self.crossed else 1

    @property
    def told(self) -> dict[str, str | float]:
        """What readers are told, by name, and the gap: each answer names the wording under which it was given."""
        return {"title": self.title, **self.texts.model_dump(), "gap_days": self.gap_days}

    @property
    def wording(self) -> str:
        """Hash of what readers are told."""
        return fingerprint(self.told)

    @property
    def rests_on(self) -> str:
        """Hash of everything that may not change once somebody has answered: not the texts, not the number of readers,
        not what was expected."""
        kept = self.model_dump(include={"arms", "crossed", "sitting", "attention_checks", "seed", "cases", "questions"})
        return fingerprint({**kept, "cases": {**kept["cases"], "root": ""}})


def expecting(study: Study, **changes: float) -> Study:
    """The same study with other expectations. Raises SpeechXAIError for ones that do not go together."""
    try:
        expected = Expected.model_validate({**study.expected.model_dump(), **changes})
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "value_error":
            raise SpeechXAIError(f"--fall or --reliance: {first['ctx']['error']}.") from error
        raise SpeechXAIError(f"--{str(first['loc'][0]).replace('_', '-')}: {first['msg']}.") from error
    return study.model_copy(update={"expected": expected})


def load(path: Path) -> Study:
    """Read a study file.

    Raises:
        SpeechXAIError: no such file, no TOML, an unknown key, a value that does not fit; the message begins with the
            file.
    """
    content = read_toml(path)
    try:
        study = Study.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing":
            raise SpeechXAIError(
                f"{path}: the key '{key}' is missing. 'speechxai study new' writes a file with all of them."
            ) from error
        if first["type"] == "extra_forbidden":
            where: Any = Study
            for part in first["loc"][:-1]:
                where = where.model_fields[str(part)].annotation
            raise SpeechXAIError(
                f"{path}: {did_you_mean(str(first['loc'][-1]), list(where.model_fields), 'key')}"
            ) from error
        if first["type"] == "value_error":
            said = str(first["ctx"]["error"])
            raise SpeechXAIError(f"{path}: {key + ': ' if key else ''}{said}.") from error
        raise SpeechXAIError(f"{path}: {first_problem(error)}") from error
    try:
        parse(study.cases.recipe)
        metrics_of(study)
    except SpeechXAIError as error:
        raise SpeechXAIError(f"{path}: {error}") from error
    return study


def metrics_of(study: Study) -> tuple[str, ...]:
    """Metrics of the shown maps. Raises SpeechXAIError for one that is unknown, or needs more than a map."""
    names = tuple(resolve(study.cases.metrics)) if study.cases.metrics else ()
    for name in names:
        facts = METRICS.facts(name)
        if facts.get("needs_explaining") or facts.get("needs"):
            raise SpeechXAIError(f"The metric '{name}' needs more than a shown map. Leave it out of cases.metrics.")
    return names


# The template.
CONSENT = """\
You are asked to take part in a study of how people use explanations of a computer model that listens to voices. You
will hear recordings and say what you hear. Your answers, the times they took and what you write are kept on this
computer under a code, without your name. You may stop at any time without giving a reason; ask the study's leader to
delete what you answered.
"""
INSTRUCTIONS = """\
You will hear recordings of people with and without Parkinson's disease, half of each. Listen as often as you like,
then say what you hear and how sure you are. In some cases you are then shown what a computer model says, and where in
the recording it found it, and may change your decision. The model is sometimes wrong, and what is shown as its reason
is sometimes not its reason. Use headphones. The whole page works with the keyboard: Tab goes on, arrow keys choose,
Enter presses a button, and ? in the player lists its keys.
"""
DEBRIEFING = """\
Thank you. Some answers and some explanations that you saw were false, and this was on purpose: the study asks whether
people can tell. Nothing that was shown was a diagnosis.
"""
METRIC_NAMES = ("faithfulness", "comprehensiveness@10", "sufficiency@10", "deletion_auc", "insertion_auc", "complexity")


def template(demo: bool = False) -> str:
    """The text of a new study file, every line explained: two arms crossed and 80 cases, or 8 cases and ten minutes."""
    text = resources.files("speechxai").joinpath("readers", "template.toml").read_text("utf-8")
    facts: dict[str, object] = {
        "title": "Listening to voices",
        "arms": '["answer", "map"]',
        "readers": 16,
        "sitting": 20,
        "gap_days": 14,
        "attention_checks": 1,
        "n": 80,
        "training": 4,
    }
    if demo:
        facts |= {"arms": '["map"]', "readers": 4, "sitting": 8, "gap_days": 0, "n": 8, "training": 2}
    facts |= {"kinds": _listed(("other-recording", "elsewhere", "random-network")), "metrics": _listed(METRIC_NAMES)}
    facts |= {"consent": CONSENT, "instructions": INSTRUCTIONS, "debriefing": DEBRIEFING}
    for name, value in facts.items():
        text = text.replace(f"{{{name}}}", str(value))
    return text


def _listed(names: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"


# Cases and readers.
@dataclass(frozen=True)
class Case:
    """One case as it is shown.

    Args:
        code: what readers' answers name it by; says nothing of what it is.
        truth: 1 has the condition, 0 has not.
        answer: what is shown as the model's answer, 1 or 0.
        kind: of the explanation: "true" or one of KINDS.
        training: whether it is one of those before the study, with feedback.
        facts: recording, speaker, task, probability and so on; empty for a case that only a plan knows.
        metrics: score of the shown map by metric.
    """

    code: str
    truth: int
    answer: int
    kind: str
    training: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def right(self) -> bool:
        """Whether the shown answer is right."""
        return self.truth == self.answer

    @property
    def true(self) -> bool:
        """Whether the shown explanation is what it says."""
        return self.kind == TRUE


def dealt(study: Study) -> list[Case]:
    """The cases as the study file plans them: classes in halves, false answers and explanations spread over both.

    Returns:
        Training cases first, then those that count; without recordings.
    """
    rng = np.random.default_rng([study.seed, 1])
    found = []
    for training, n in ((True, study.cases.training), (False, study.cases.n)):
        truth = np.arange(n) % 2
        wrong = _spread(n, study.cases.false_answers, [truth], rng)
        false = _spread(n, study.cases.false_explanations, [truth, wrong], rng)
        # Kinds in turn along classes, and within them along right and wrong answers, so that each is spread over all.
        along = np.lexsort((rng.random(n), wrong, truth))
        kind_of = {int(k): study.cases.kinds[m % len(study.cases.kinds)] for m, k in enumerate(along[false[along]])}
        order = rng.permutation(n)
        rows = [(int(truth[k]), bool(wrong[k]), kind_of.get(k, TRUE)) for k in range(n)]
        for place, k in enumerate(order, start=1):
            own, is_wrong, kind = rows[k]
            code = f"{'T' if training else 'C'}{place:03d}"
            found.append(Case(code, own, 1 - own if is_wrong else own, kind, training))
    return found


def _spread(n: int, share: float, strata: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Which of n are chosen, round(share n) in all and as evenly as can be within every stratum."""
    wanted = round(share * n)
    order = np.lexsort((rng.random(n), *strata[::-1]))
    # Chosen evenly along the strata one after the other: each gets its share, up to one.
    chosen = np.zeros(n, bool)
    chosen[order[np.floor((np.arange(wanted) + 0.5) * n / max(wanted, 1)).astype(int)]] = True
    return chosen


def codes(study: Study) -> list[str]:
    """Codes of the readers, in order. The letters catch a mistyped one; they keep no secret."""
    letters = "ABCDEFGHJKLMNPQRSTUVWXYZ"
    found = []
    for number in range(1, study.readers + 1):
        digest = hashlib.sha256(f"{study.seed}|reader|{number}".encode()).digest()
        found.append(f"R{number:02d}-{letters[digest[0] % 24]}{letters[digest[1] % 24]}")
    return found


def place_of(study: Study, code: str) -> int | None:
    """Place of a reader by code, from 0; None for a code that the study has not."""
    known = codes(study)
    wanted = code.strip().upper()
    return known.index(wanted) if wanted in known else None


# What a reader meets, step by step.
SlotKind = Literal["consent", "instructions", "training", "case", "attention", "sus", "scs"]


@dataclass(frozen=True)
class Slot:
    """One step of a reader.

    Args:
        index: its place; answers name it.
        kind: what stands there.
        sitting: from 1; a pause is offered between sittings.
        round: from 0; a case stands once in each.
        case: its code, "" where there is none.
        arm: of a case, "" where there is none.
        asked: decision and confidence that an attention check asks for.
    """

    index: int
    kind: SlotKind
    sitting: int
    round: int = 0
    case: str = ""
    arm: str = ""
    asked: tuple[int, int] = (0, 0)


def slots(study: Study, reader: int, cases: Sequence[Case]) -> list[Slot]:
    """Everything that the reader in place `reader` (from 0) meets, in order.

    Cases rotate over the arms from case to case, reader to reader and round to round; the order within a round is
    drawn for every reader.
    """
    rng = np.random.default_rng([study.seed, 2, reader])
    training = [case for case in cases if case.training]
    rest = [case for case in cases if not case.training]
    arm_of = _blocks(study, rest)
    n_arms = len(study.arms)
    found: list[dict[str, Any]] = [{"kind": "consent"}, {"kind": "instructions"}]
    teach = study.arms[-1] if set(study.arms) & set(WITH_ANSWER) else study.arms[0]
    found += [{"kind": "training", "case": case.code, "arm": teach} for case in training]
    for step in found:
        step["sitting"] = 1
    sitting = 0
    for number in range(study.n_rounds):
        order = rng.permutation(len(rest))
        for first in range(0, len(order), study.sitting):
            sitting += 1
            part: list[dict[str, Any]] = [
                {
                    "kind": "case",
                    "case": rest[k].code,
                    "arm": study.arms[(arm_of[rest[k].code] + reader + number) % n_arms],
                }
                for k in order[first : first + study.sitting]
            ]
            for _ in range(study.attention_checks):
                asked = (int(rng.integers(2)), int(rng.integers(1, 4)))
                part.insert(int(rng.integers(1, len(part) + 1)), {"kind": "attention", "asked": asked})
            found += [{**step, "sitting": sitting, "round": number} for step in part]
    if study.questions.scales:
        last = {"sitting": sitting, "round": study.n_rounds - 1}
        # The System Causability Scale asks about explanations: not where nobody sees one.
        scales = ("sus", "scs") if set(study.arms) & set(WITH_MAP) else ("sus",)
        found += [{"kind": scale, **last} for scale in scales]
    return [Slot(index, **step) for index, step in enumerate(found)]


def _blocks(study: Study, cases: Sequence[Case]) -> dict[str, int]:
    """First arm of every case, by code: of many ways to deal them the one in which arms are most alike."""
    kinds = tuple((case.truth, case.right, case.true, case.kind) for case in cases)
    return dict(zip((case.code for case in cases), _most_even(study.seed, len(study.arms), kinds), strict=True))


N_DEALS = 200
"""Ways to deal cases to arms that are tried."""


@lru_cache(maxsize=8)
def _most_even(seed: int, n_arms: int, kinds: tuple[tuple[int, bool, bool, str], ...]) -> tuple[int, ...]:
    rng = np.random.default_rng([seed, 3])
    facts = np.array([kind[:3] for kind in kinds], dtype=float)
    best, least = np.zeros(len(kinds), int), np.inf
    for _ in range(N_DEALS):
        groups = dict(zip(sorted(set(kinds)), rng.permutation(len(set(kinds))), strict=True))
        order = np.lexsort((rng.random(len(kinds)), [groups[kind] for kind in kinds]))
        arm = np.empty(len(kinds), int)
        arm[order] = np.arange(len(kinds)) % n_arms
        counts = np.stack([facts[arm == k].sum(axis=0) for k in range(n_arms)])
        uneven = float(np.square(counts - counts.mean(axis=0)).sum())
        if uneven < least:
            best, least = arm, uneven
    return tuple(best.tolist())


BALANCED = {"condition": "the condition", "right": "right answers", "true": "true explanations"}
"""What arms of one reader should hold alike, in words."""

UNEVEN = 0.15
"""Arms of one reader that differ by more in what they hold are named, however few cases they have."""


@dataclass(frozen=True)
class Balance:
    """How often each arm of one reader holds what: readings, and shares of the condition, of right answers and of true
    explanations."""

    arm: str
    n: int
    condition: float
    right: float
    true: float


def balance(study: Study, reader: int, cases: Sequence[Case]) -> list[Balance]:
    """Count what one reader meets in every arm."""
    by_code = {case.code: case for case in cases}
    found = []
    for arm in study.arms:
        met = [by_code[slot.case] for slot in slots(study, reader, cases) if slot.kind == "case" and slot.arm == arm]
        n = len(met)
        shares = [sum(values) / max(n, 1) for values in zip(*((c.truth, c.right, c.true) for c in met), strict=True)]
        found.append(Balance(arm, n, *(shares or [float("nan")] * 3)))
    return found


def problems(study: Study, cases: Sequence[Case]) -> list[str]:
    """What is wrong with a plan, in sentences; none where all is well."""
    found = []
    training = [case for case in cases if case.training]
    rest = [case for case in cases if not case.training]
    for name in ("recording", "speaker"):
        both = {str(c.facts[name]) for c in training if name in c.facts} & {
            str(c.facts[name]) for c in rest if name in c.facts
        }
        if both:
            found.append(f"A {name} stands in training and in the study: {', '.join(sorted(both))}.")
    recordings = [str(case.facts["recording"]) for case in rest if "recording" in case.facts]
    if len(set(recordings)) < len(recordings):
        found.append("A recording is a case twice.")
    if abs(sum(case.truth for case in rest) - len(rest) / 2) > 0.5:
        found.append("The classes are not in halves.")
    if set(study.arms) & set(WITH_ANSWER):
        wrong = 1 - np.mean([case.right for case in rest])
        false = 1 - np.mean([case.true for case in rest])
        maps = bool(set(study.arms) & set(WITH_MAP))
        if max(wrong, false if maps else 0) < FALSE_SHARE - 1e-9:
            found.append(
                f"Only {100 * wrong:.0f} % of answers"
                + (f" and {100 * false:.0f} % of explanations" if maps else "")
                + f" are false: below {100 * FALSE_SHARE:.0f} % readers learn that everything is true."
            )
    tables = [balance(study, reader, cases) for reader in range(min(study.readers, 2 * len(study.arms)))]
    for name, what in BALANCED.items():
        ends = [[pick(getattr(arm, name) for arm in arms) for pick in (min, max)] for arms in tables]
        worst = max(range(len(ends)), key=lambda reader: ends[reader][1] - ends[reader][0])
        low, high = ends[worst]
        if high - low > UNEVEN + 1e-9:
            found.append(
                f"The arms of reader {worst + 1} differ by more than {100 * UNEVEN:.0f} points: {what} in {low:.2f} to"
                f" {high:.2f} of {min(arm.n for arm in tables[worst])} to {max(arm.n for arm in tables[worst])} cases."
                " A difference between arms may be one between cases. More cases, fewer arms or crossed = true even it"
                " out."
            )
    for reader, arms in enumerate(tables):
        if max(arm.n for arm in arms) - min(arm.n for arm in arms) > len(study.arms):
            found.append(f"Reader {reader + 1}: the arms hold different numbers of cases.")
    return found
