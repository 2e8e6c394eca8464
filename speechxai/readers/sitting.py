"""What a reader meets next, and what of it is kept: pages of questions that say nothing of the truth."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from speechxai.errors import SpeechXAIError
from speechxai.inspection.words import class_words
from speechxai.readers.design import KINDS, WITH_ANSWER, WITH_MAP, Case, Slot, Study, codes, place_of, slots
from speechxai.readers.store import AGAIN, Store

CONFIDENCE = ("unsure", "leaning", "confident", "certain")
CAUSES = (("voice", "voice"), ("prosody", "prosody"), ("language", "language"), ("other", "other"))
USES = (
    (2, "I accept it"),
    (1, "Useful, but I do not accept it"),
    (0, "I reject it"),
)

SUS = (
    "I think that I would like to use this system frequently.",
    "I found the system unnecessarily complex.",
    "I thought the system was easy to use.",
    "I think that I would need the support of a technical person to be able to use this system.",
    "I found the various functions in this system were well integrated.",
    "I thought there was too much inconsistency in this system.",
    "I would imagine that most people would learn to use this system very quickly.",
    "I found the system very cumbersome to use.",
    "I felt very confident using the system.",
    "I needed to learn a lot of things before I could get going with this system.",
)
"""Items of the System Usability Scale (brooke1996sus)."""

SCS = (
    "I found that the data included all relevant known causal factors with sufficient precision and granularity.",
    "I understood the explanations within the context of my work.",
    "I could change the level of detail on demand.",
    "I did not need support to understand the explanations.",
    "I found the explanations helped me to understand causality.",
    "I was able to use the explanations with my knowledge base.",
    "I did not find inconsistencies between explanations.",
    "I think that most people would learn to understand the explanations very quickly.",
    "I did not need more references in the explanations: e.g., medical guidelines, regulations.",
    "I received the explanations in a timely and efficient manner.",
)
"""Items of the System Causability Scale (holzinger2020measuring)."""

AGREEMENT = ("strongly disagree", "disagree", "neutral", "agree", "strongly agree")

Show = Literal["", "sound", "map", "what-if"]

KEPT = "You may close this page; your answers are kept."

MAX_TEXT = 2_000
MAX_BOXES = 5


@dataclass(frozen=True)
class Question:
    """One question.

    Args:
        name: of its answer.
        label: what is asked.
        kind: "choice" of one option, "several", "text", "box" in time and frequency.
        options: value and words of each.
        required: whether nobody goes on without an answer.
        hint: said below it.
    """

    name: str
    label: str
    kind: Literal["choice", "several", "text", "box"]
    options: tuple[tuple[Any, str], ...] = ()
    required: bool = True
    hint: str = ""


@dataclass(frozen=True)
class Page:
    """What a reader sees. Nothing in it tells what is true.

    Args:
        slot: step that is answered; -1 for pages that ask nothing.
        stage: part of the step.
        title: what stands above.
        text: paragraphs.
        questions: in order.
        button: what it says; "" without one.
        show: what is played and drawn: nothing, "sound", "map", or "what-if" with curves beside the map.
        case: code whose sound is played.
        progress: how far the reader is.
        pause: whether a pause may be taken here.
    """

    slot: int
    stage: str
    title: str
    text: tuple[str, ...] = ()
    questions: tuple[Question, ...] = ()
    button: str = "Go on"
    show: Show = ""
    case: str = ""
    progress: str = ""
    pause: bool = False

    def form(self) -> dict[str, Any]:
        """The page as plain values for the browser; the case's code stays here."""
        kept = asdict(self)
        kept.pop("case")
        return kept


@dataclass(frozen=True)
class Sitting:
    """One reader of one study.

    Args:
        study: the study.
        store: its answers.
        reader: the code.
        cases: as they are prepared.
        steps: everything that this reader meets.
    """

    study: Study
    store: Store
    reader: str
    cases: Mapping[str, Case]
    steps: tuple[Slot, ...]

    @classmethod
    def of(cls, study: Study, store: Store, code: str) -> Sitting:
        """Open a reader's part. Raises SpeechXAIError for a code that the study has not, or cases not prepared."""
        place = place_of(study, code)
        if place is None:
            raise SpeechXAIError("This code is not one of the study's. Look at it again, or ask who gave it to you.")
        cases = store.cases()
        if not cases:
            raise SpeechXAIError("The study's cases are not prepared. 'speechxai study check' prepares them.")
        known = {case.code: case for case in cases}
        return cls(study, store, codes(study)[place], known, tuple(slots(study, place, cases)))

    def page(self, now: float | None = None) -> Page:
        """What comes next."""
        answers = self.store.answers(self.reader)
        answered = {(slot, stage): at for (_, slot, stage), (_, at) in answers.items()}
        if self._must_agree_again([content for (_, _, stage), (content, _) in answers.items() if "agree" in stage]):
            again = ("What you agreed to was changed since. Please read it once more.",)
            return self._consent(f"{AGAIN}{self.study.wording}", again)
        for number, slot in enumerate(self.steps):
            previous = self.steps[number - 1] if number else None
            if previous is not None and previous.sitting != slot.sitting and (slot.index, "begin") not in answered:
                return self._between(slot, previous, answered, time.time() if now is None else now)
            for stage in self.stages(slot):
                if (slot.index, stage) not in answered:
                    return self._asked(slot, stage)
        return Page(-1, "end", "The end", _paragraphs(self.study.texts.debriefing), button="", progress="finished")

    def _must_agree_again(self, agreed: Sequence[Mapping[str, Any]]) -> bool:
        """Whether a reader has agreed, and to other texts than the study's file holds now."""
        known = self.store.wordings()
        consents = [known[one["wording"]]["consent"] for one in agreed if one.get("wording") in known]
        return bool(consents) and self.study.texts.consent not in consents

    def _consent(self, stage: str, before: Sequence[str] = ()) -> Page:
        agree = Question("agree", "Do you agree to take part?", "choice", ((1, "I agree"),))
        return Page(0, stage, self.study.title, (*before, *_paragraphs(self.study.texts.consent)), (agree,))

    def stages(self, slot: Slot) -> tuple[str, ...]:
        """Parts of a step."""
        single = {"consent": "agree", "instructions": "read", "attention": "first", "sus": "scale", "scs": "scale"}
        if slot.kind in single:
            return (single[slot.kind],)
        found = ("first",) if slot.arm == "sound" else ("first", "second")
        return (*found, "feedback") if slot.kind == "training" else found

    def answer(self, slot: int, stage: str, content: Mapping[str, Any], at: float | None = None) -> bool:
        """Keep what the reader answered on the page that comes next; False where it was answered before, as from a
        second window.

        Raises:
            SpeechXAIError: an answer to a page that does not come next, or one that does not fit its question.
        """
        page = self.page(at)
        if (page.slot, page.stage) != (slot, stage):
            if any(step.index == slot for step in self.steps):
                return False
            raise SpeechXAIError("This answer belongs to no page of this study.")
        if not page.button:
            raise SpeechXAIError("There is nothing to answer on this page.")
        kept = {**checked(page, content), "wording": self.study.wording}
        return self.store.put(self.reader, slot, stage, kept, at)

    def _between(self, slot: Slot, previous: Slot, answered: Mapping[tuple[int, str], float], now: float) -> Page:
        last = max((at for (index, _), at in answered.items() if 0 < index <= previous.index), default=now)
        opens = last + 86_400 * self.study.gap_days if slot.round != previous.round else now
        n = self.steps[-1].sitting
        title = f"Sitting {previous.sitting} of {n} is done"
        if opens > now:
            when = time.strftime("%A, %d %B %Y, %H:%M", time.localtime(opens))
            thanks = (
                f"Thank you. The next sitting opens on {when}.",
                "You may close this page; your answers are kept.",
            )
            return Page(slot.index, "begin", title, thanks, button="", progress=f"sitting {previous.sitting} of {n}")
        text = ("Take a pause as long as you like.", KEPT)
        return Page(
            slot.index, "begin", title, text, button="Begin the next sitting", progress=f"sitting {slot.sitting} of {n}"
        )

    def _asked(self, slot: Slot, stage: str) -> Page:
        if slot.kind == "consent":
            return self._consent(stage)
        if slot.kind == "instructions":
            return Page(slot.index, stage, "How it goes", _paragraphs(self.study.texts.instructions), button="Begin")
        if slot.kind in ("sus", "scs"):
            items = SUS if slot.kind == "sus" else SCS
            options = tuple((k, words) for k, words in enumerate(AGREEMENT, start=1))
            asked = tuple(Question(f"q{k}", item, "choice", options) for k, item in enumerate(items, start=1))
            what = "the system that you used" if slot.kind == "sus" else "the explanations that you saw"
            return Page(slot.index, stage, "Looking back", (f"Ten statements about {what}.",), asked)
        if slot.kind == "attention":
            decision, confidence = self.words[slot.asked[0]], CONFIDENCE[slot.asked[1]]
            check = f"This page checks whether you attend: please choose “{decision}” and “{confidence}”."
            return Page(slot.index, stage, "A check", (check,), self._decision(), progress=self._progress(slot))
        case = self.cases[slot.case]
        made = {"first": self._first, "second": self._second, "feedback": self._feedback}[stage](slot, case)
        title = "Training" if slot.kind == "training" else "What do you hear?"
        return replace(made, slot=slot.index, stage=stage, title=title, progress=self._progress(slot), case=slot.case)

    def _first(self, slot: Slot, case: Case) -> Page:
        questions = self.study.questions
        asked = [*self._decision(), Question("cause", "What does your decision rest on?", "several", CAUSES)]
        if questions.foretell and slot.arm in WITH_ANSWER:
            options = ((0, self.words[0]), (1, self.words[1]))
            asked.append(Question("foretold", "What will the model say?", "choice", options))
        if questions.box:
            hint = "Drag over the picture after “Draw a box”, or type its edges. Leave it out if there is no place."
            asked.append(Question("box", "Where do you hear it?", "box", required=False, hint=hint))
        if questions.comment and slot.arm == "sound":
            asked.append(COMMENT)
        return Page(0, "", "", (), tuple(asked), "Answer", "sound", pause=True)

    def _second(self, slot: Slot, case: Case) -> Page:
        asked, show = [*self._decision("Now, what is your decision?")], SHOWN[slot.arm]
        if slot.arm in WITH_ANSWER:
            p = case.facts.get("p")
            said = "" if p is None else f" Its probability of {self.words[1]}: {p:.2f}."
            text = [f"The model says: {self.words[case.answer]}.{said}"]
        else:
            text = ["Listen again if you like, and decide again."]
        if slot.arm in WITH_MAP:
            text.append("The colored places are shown as its reason.")
            asked.append(Question("use", "What do you make of this explanation?", "choice", USES))
        if slot.arm == "what-if":
            text.append("The curves show what the model would say if the voice were different.")
        if self.study.questions.comment:
            asked.append(COMMENT)
        return Page(0, "", "", tuple(text), tuple(asked), "Answer", show, pause=True)

    def _feedback(self, slot: Slot, case: Case) -> Page:
        text = [f"The speaker: {self.words[case.truth]}."]
        if slot.arm in WITH_ANSWER:
            text.append(f"The answer that was shown was {'right' if case.right else 'false'}.")
        if slot.arm in WITH_MAP:
            text.append(f"The explanation was {'true' if case.true else f'false: {KINDS[case.kind]}'}.")
        show = "sound" if slot.arm == "sound" else SHOWN[slot.arm]
        return Page(0, "", "", (*text, "Only in training are you told."), show=show)

    @property
    def words(self) -> tuple[str, str]:
        """The classes in words, the condition second."""
        names = self.store.facts().get("classes", ["HC", "PD"])
        return class_words(names[0]), class_words(names[1])

    def _decision(self, label: str = "What do you hear?") -> tuple[Question, ...]:
        options = ((0, self.words[0]), (1, self.words[1]))
        sure = tuple(enumerate(CONFIDENCE))
        return (
            Question("decision", label, "choice", options),
            Question("confidence", "How sure are you?", "choice", sure),
        )

    def _progress(self, slot: Slot) -> str:
        if slot.kind == "training":
            n = sum(step.kind == "training" for step in self.steps)
            return f"training {sum(s.kind == 'training' for s in self.steps[: slot.index + 1])} of {n}"
        own = [s for s in self.steps if s.sitting == slot.sitting and s.kind in ("case", "attention")]
        return (
            f"{1 + sum(s.index < slot.index for s in own)} of {len(own)},"
            f" sitting {slot.sitting} of {self.steps[-1].sitting}"
        )


SHOWN: Mapping[str, Show] = {"second-look": "sound", "answer": "sound", "map": "map", "what-if": "what-if"}
"""What the player holds at a second decision, by arm."""

COMMENT = Question("comment", "Anything to say about this case?", "text", required=False)


def _paragraphs(text: str) -> tuple[str, ...]:
    return tuple(" ".join(part.split()) for part in text.split("\n\n") if part.strip())


def checked(page: Page, content: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of an answer: values that are among the options, texts cut, times that can be.

    Raises:
        SpeechXAIError: a required answer that is missing, or a value that is no option.
    """
    given, found = content.get("answers", {}), dict[str, Any]()
    for question in page.questions:
        value = given.get(question.name) if isinstance(given, Mapping) else None
        values = [option for option, _ in question.options]
        if value in (None, "", []):
            if question.required:
                raise SpeechXAIError(f"“{question.label}” is not answered.")
            continue
        if question.kind == "choice" and value not in values:
            raise SpeechXAIError(f"“{question.label}”: {value!r} is no option.")
        if question.kind == "several" and not (isinstance(value, list) and set(map(str, value)) <= set(values)):
            raise SpeechXAIError(f"“{question.label}”: {value!r} is no option.")
        if question.kind == "text":
            value = str(value)[:MAX_TEXT]
        if question.kind == "box":
            value = _boxes(value)
        found[question.name] = value
    for name in ("rt_ms", "played_s", "paused_ms"):
        found[name] = round(_number(content.get(name)), 3)
    found["plays"] = int(_number(content.get("plays")))
    return found


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise SpeechXAIError("A time or a count of this page is no number. Load the page again.")
    return float(value)


def _boxes(value: Any) -> list[list[float]]:
    found: Sequence[Any] = value if isinstance(value, list) else []
    if not found or len(found) > MAX_BOXES:
        raise SpeechXAIError(f"At most {MAX_BOXES} boxes can be drawn.")
    kept = []
    for box in found:
        numbers = [_number(edge) for edge in box] if isinstance(box, list) and len(box) == 4 else []
        if len(numbers) != 4 or numbers[0] >= numbers[1] or numbers[2] >= numbers[3]:
            raise SpeechXAIError("A box needs a beginning before its end, s, and a lower edge below the upper one, Hz.")
        kept.append([round(edge, 3) for edge in numbers])
    return kept
