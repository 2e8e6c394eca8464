"""What people read of one recording: names of classes, recipes and cues, the verdict on a map, and what matters in
words.

Every sentence is computed from numbers and true of them; none says more than they do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np

from speechxai.classifiers.held_out import HeldOut
from speechxai.classifiers.scope import MEASURES, Scope, range_rows
from speechxai.explain.agreement import STRONGEST, likeness
from speechxai.explain.recipe import CONTROLS
from speechxai.signal.acoustics import task_kind
from speechxai.types import Array


def stability_words(fold: int | None, n_networks: int, low: float, high: float) -> str:
    """By which network an answer was given, and how far it moves.

    >>> stability_words(None, 1, 0.25, 0.5)
    'by the final network. Stability: 0.25 to 0.50 when any fifth of the recording is left out.'
    """
    whom = "by a network that never heard this speaker" if fold is not None else "by the final network"
    how = "any fifth of the recording is left out"
    if n_networks > 1:
        how += f" or one of the {n_networks - 1} other networks answers"
    return f"{whom}. Stability: {low:.2f} to {high:.2f} when {how}."


NOTICE = "A research tool, not a medical device: it explains what a model computes, not what a person has."

BANDS_HZ = (0, 250, 500, 1_000, 2_000, 4_000, 8_000)
"""Edges of the octave bands beside the picture, Hz."""

CLASS_WORDS = {"PD": "Parkinson's disease", "HC": "Healthy control"}
TRUTH = "truth_map"
"""Recipe of the planted truth among a benchmark's rows."""


def class_words(name: str) -> str:
    """The name of a class as people read it."""
    return CLASS_WORDS.get(name, name)


def recipe_words(recipe: str) -> str:
    """A recipe as people read it."""
    if recipe == TRUTH:
        return "the truth itself"
    text = recipe.replace("_", " ")
    return f"{text} (control)" if recipe in CONTROLS else text


METHOD_WORDS = {
    "saliency": "where the smallest change would move the answer",
    "input_x_gradient": "loud places where a change would move the answer",
    "smoothgrad": "saliency of noisy copies, averaged, so that specks vanish",
    "integrated_gradients": "what each place adds on the way from silence to the recording",
    "gradient_shap": "what each place adds, from several starts near silence",
    "guided_backprop": "what speaks for the answer, followed back through the network",
    "gradcam": "coarse patches that the network's last picture rests on",
    "guided_gradcam": "those coarse patches, drawn finely",
    "deep_lift": "what each place adds, compared with silence",
    "occlusion": "how far the answer falls without a patch",
    "band_occlusion": "how far the answer falls without a band of frequencies",
    "segment_occlusion": "how far the answer falls without a voiced, unvoiced or silent stretch",
    "unit_occlusion": "how far the answer falls without a phone, word or pause",
    "rise": "the answer to many random halves of the recording, averaged",
    "lmac": "what a decoder of the hidden layers was trained to keep",
    "attention_rollout": "which moments the network attends to",
    "random_map": "specks from a die",
    "energy_map": "simply where it is loud",
    "edge_map": "simply where loud meets soft",
    "union": "where any of them marks",
    "intersection": "only where all of them mark",
    "rank_mean": "their order of importance, averaged",
    "maximum": "the largest that any of them gives",
    "minimum": "the least that all of them give",
    "majority": "where more than half of them mark",
    "set_union": "where any of them is among its strongest",
    "set_intersection": "only where all of them are among their strongest",
}
"""What a method or combination does, in a line of plain words for a menu."""


GLOSSARY = {
    "place": "one point of the picture: one frequency at one moment (a bin, for researchers)",
    "strongest 20 %": "the fifth of all places that a map marks most, so that all maps are judged by as many",
    "control": "a map that knows nothing of the model; an explanation must be better than all of them",
    **{recipe.replace("_", " "): METHOD_WORDS[recipe] for recipe in CONTROLS},
    **{name.replace("_", " "): METHOD_WORDS[name] for name in ("union", "intersection", "rank_mean")},
    "kept, removed": "the recording with the strongest places alone, and without them",
    "95 % interval": "values that fit what was measured; more speakers make it narrower",
}
"""Words that pages use, in plain ones."""


def method_words(recipe: str) -> str:
    """A recipe and what it does, as a menu shows it.

    >>> method_words("energy_map")
    'energy map (control): simply where it is loud'
    >>> method_words("captum:Lime")
    'captum:Lime: as the library captum computes it'
    """
    name = recipe.partition("(")[0]
    said = METHOD_WORDS.get(name) or (f"as the library {name.partition(':')[0]} computes it" if ":" in name else "")
    return f"{recipe_words(recipe)}: {said}" if said else recipe_words(recipe)


def cue_words(group: str) -> str:
    """A group of a benchmark, `material/cue/severity`, as people read it; anything else as it is."""
    parts = group.split("/")
    if len(parts) != 3:
        return group.replace("_", " ")
    material, cue, severity = parts
    name = cue.replace("_", " ")
    strength = "" if severity == "1" else f", severity {severity}"
    return f"{name[0].upper()}{name[1:]} in {material.replace('_', ' ')} voices{strength}"


# What to record for a model.
ASKED = {
    "ddk": "repeat /pa-ta-ka/ as fast and evenly as you can",
    "pataka": "repeat /pa-ta-ka/ as fast and evenly as you can",
    "phrase": "say a sentence",
    "sentence": "say a sentence",
    "read": "read a text aloud",
    "text": "read a text aloud",
    "monolog": "speak freely",
    "spontaneous": "speak freely",
    "dialog": "talk with somebody who is not recorded",
    "glide": "let the pitch glide",
}
"""What a speaker is asked to do, by the beginning of a task's name."""

LANGUAGES = {"cs": "Czech", "de": "German", "en": "English", "es": "Spanish", "fr": "French", "it": "Italian"}


def asked_words(task: str) -> str:
    """What a speaker is asked to do for a task.

    >>> asked_words("vowel-a"), asked_words("ddk"), asked_words("cough")
    ('hold an /a/ on one breath', 'repeat /pa-ta-ka/ as fast and evenly as you can', "do what its data call 'cough'")
    """
    if task_kind(task) == "vowel":
        letter = task.partition("-")[2]
        return f"hold {'an' if letter[:1] in 'aeiou' else 'a'} /{letter}/ on one breath" if letter else "hold a vowel"
    return next((said for name, said in ASKED.items() if task.startswith(name)), f"do what its data call '{task}'")


def instructions(scope: Scope | None) -> list[str]:
    """What to record so that a model may be asked about it, in sentences: all of them from its scope."""
    if scope is None or not scope.ranges:
        return ["This model does not say which recordings it was made for, so it names no class for any."]
    asked = list(dict.fromkeys(asked_words(task) for task in scope.tasks))
    said = listing(asked, "or") if asked else "what to say is not known: its data do not tell"
    long = dict(range_rows(scope)).get(MEASURES["duration_s"].name)
    first = f"{said[0].upper()}{said[1:]}{f', {long} long' if long else ''}."
    found = [f"{first} One person, in a quiet room. Of anything else this model gives no answer."]
    speaks = not scope.tasks or any(task_kind(task) != "vowel" for task in scope.tasks)
    if scope.languages and speaks:
        found.append(f"In {listing([LANGUAGES.get(name, name) for name in scope.languages], 'or')}.")
    if scope.synthetic:
        found.append(
            "It learned from voices made by a program: it may give no answer about a real person, and what it says of"
            " one means nothing."
        )
    elif scope.device:
        found.append(f"It learned from recordings of this kind: {scope.device}.")
    return found


# The verdict on one map of one recording.
N_COPIES = 20
"""Copies of a map, rolled in time and frequency, that its fall is compared with."""

MIN_BELOW = 19
"""Copies that must fall less: one in twenty may fall as far by chance."""

ROUNDING = 1e-4
"""Logit margins that differ by less are equal: passes of other batches round otherwise."""

VERDICTS = {
    "explains": "explains the answer",
    "frequencies": "no better than its own frequencies at other moments",
    "no_better": "no better than loudness or edges",
    "nothing": "explains nothing",
}


@dataclass(frozen=True)
class Verdict:
    """What one map of one recording is worth. Falls are those of the explained class's logit margin.

    The map must fall further than MIN_BELOW of its own copies, moved elsewhere, and further than the energy and edge
    maps with as many bins. A rise is no fall, however much more the copies rise. A map that does all this, but no more
    than some copy of it that is moved in time alone, says which frequencies matter and not when: of a map that marks
    the wrong moments of a held vowel no more is true, and that is no explanation of this recording.

    Args:
        fall: when the map's strongest bins are removed.
        copies: of each copy.
        energy, edges: of the energy and the edge map, with as many bins.
        in_time: of each copy that is moved in time alone, evenly over the recording; empty where the rest has decided.
        of: what is explained, in words.
        falls, rises: what it does, in words.
    """

    fall: float
    copies: tuple[float, ...]
    energy: float
    edges: float
    in_time: tuple[float, ...] = ()
    of: str = "the answer"
    falls: str = "weakens"
    rises: str = "grows stronger"

    def above(self, other: float) -> bool:
        """Whether the map's fall is larger than another."""
        return self.fall > other + ROUNDING

    @property
    def n_below(self) -> int:
        """Copies that fall less than the map itself."""
        return sum(self.above(copy) for copy in self.copies)

    @property
    def n_below_in_time(self) -> int:
        """Copies moved in time alone that fall less than the map itself."""
        return sum(self.above(copy) for copy in self.in_time)

    @property
    def key(self) -> Literal["explains", "frequencies", "no_better", "nothing"]:
        """Which of VERDICTS holds."""
        if not self.above(0.0) or self.n_below < MIN_BELOW:
            return "nothing"
        if not (self.above(self.energy) and self.above(self.edges)):
            return "no_better"
        return "frequencies" if self.n_below_in_time < len(self.in_time) else "explains"

    @property
    def label(self) -> str:
        """The verdict in a few words."""
        return VERDICTS[self.key].replace("the answer", self.of)

    @property
    def text(self) -> str:
        """The verdict with its reason, in a sentence."""
        began = f"without its strongest {percent(STRONGEST)} {self.of}"
        tries = f"{self.n_below} of {len(self.copies)} copies of it moved elsewhere in time and frequency"
        if self.key == "explains":
            return (
                f"This map explains {self.of}: {began} {self.falls} more than without {tries}, and more than without as"
                " many of the loudest places or of the edges."
            )
        if self.key == "frequencies":
            return (
                f"This map is no better than its own frequencies at other moments: {began} {self.falls} more than"
                f" without {tries}, but not more than without {len(self.in_time) - self.n_below_in_time} of"
                f" {len(self.in_time)} moved in time alone. It tells which frequencies matter, not when."
            )
        if self.key == "no_better":
            as_good = [
                name
                for name, fall in (("of the loudest places", self.energy), ("of the edges", self.edges))
                if not self.above(fall)
            ]
            return (
                f"This map is no better than loudness or edges: {began} {self.falls} more than without {tries}, but not"
                f" more than without as many {' or '.join(as_good)}."
            )
        if self.above(0.0):
            return (
                f"This map explains nothing: {began} {self.falls} more than without {tries}; only {MIN_BELOW} or more"
                " would show that its place matters."
            )
        return f"This map explains nothing: {began} {self.rises if self.fall < -ROUNDING else 'stays what it was'}."


# How often the model is right, in counts of people.
USUAL_SHARE = 0.01
"""Of the people that a reader sees, how many are ill, where nobody says: 1 in 100."""


def one_in(share: float) -> str:
    """A share as people count it.

    >>> one_in(0.01), one_in(0.5), one_in(0.001)
    ('1 in 100', '1 in 2', '1 in 1,000')
    """
    return f"1 in {round(1 / share):,}"


def chances(
    held_out: HeldOut | None,
    classes: Sequence[str],
    probability: float,
    says_ill: bool,
    share: float = USUAL_SHARE,
    people: str = "people",
) -> list[str]:
    """How often an answer like this is right, in sentences; figures are of people that the answering network never
    heard.

    Args:
        held_out: answers about them; None where the model states none.
        classes: names, the condition last.
        probability: of the condition.
        says_ill: whether the condition is the answer.
        share: of the ill among the people that the reader sees.
        people: what they are called.
    """
    if held_out is None:
        return ["How often it is right about people it never heard is not known: the model states no figures."]
    ill = class_words(classes[-1])
    k, n, low, high = held_out.alike(probability)
    like = f"a value like this ({low:.1f} to {high:.1f})"
    alike = f"Of {n} {people} with {like} {k} had {ill}." if n else f"None of its {people} had {like}."
    finds = (
        f"It finds {held_out.found} of {held_out.n_ill} with {ill} and wrongly alarms {held_out.alarms} of"
        f" {held_out.n_healthy} without."
    )
    of = 100 if says_ill else 1_000

    def have_it(among: float) -> str:
        right = held_out.right(says_ill, among)
        if right != right:
            return "none"
        count = round(of * (right if says_ill else 1 - right))
        return f"{count}" if count else "fewer than 1"

    said = ill if says_ill else class_words(classes[0])
    there = held_out.share_ill
    return [
        alike,
        finds,
        f"Of {of:,} of whom it says {said}, {have_it(there)} have {ill} where {percent(there)} have it, as in its data;"
        f" {have_it(share)} where {one_in(share)} has it.",
    ]


# What matters, in words: sentences computed from a map, each true of it.
Kind = Literal["verdict", "where", "when", "control", "agreement", "caution"]

HALF = 0.5
NOTABLE = 0.10
"""Shares that differ by less are called alike."""

LARGE = 0.25
"""A single band with less than this does not stand out: with six bands an even spread gives each a sixth."""

HARDLY = 0.02
"""Probabilities that differ by less are called unchanged."""

PAUSES = 0.20
"""More evidence than this in pauses raises an alarm."""

ABOVE = 0.05
"""More evidence than this above what recording or network hold is said."""

UNSURE = 0.10
"""Probabilities this near 0.5 are called unsure."""


@dataclass(frozen=True)
class Sentence:
    """One sentence with what it is about."""

    kind: Kind
    key: str
    text: str


@dataclass(frozen=True, eq=False)
class Facts:
    """What the sentences are computed from.

    Args:
        evidence: (F, T) in [0, 1], only the bins shown, 0 elsewhere.
        loudness: (F, T), the energy control: log1p of the magnitude.
        voicing: (T,) 0 pause, 1 unvoiced, 2 voiced.
        bin_hz, frame_rate_hz: of the grid.
        class_name: the explained class, in words.
        p, p_removed: probability of that class, whole and without the strongest bins.
        scale: what probabilities are shown as: of two classes always that of the second, such as "P(PD)".
        mirrored: whether the explained class is the other one, so that 1 - p is shown.
        step: what is a whole step on that scale: 1, or the standard deviation of a score.
        is_score: whether a score is shown and no probability: nothing is near one half then.
        verdict: on the map; None while it is not known.
        controls: p_removed of CONTROLS, maps that know nothing of the model, with as many bins.
        overlaps: share of the strongest bins in common with other methods, in [0, 1]; unrelated maps have STRONGEST.
        shares: share of the bins that are among the strongest, of this map ("") and of other methods: STRONGEST, or
            less
            where a map has less evidence.
        range_p: lowest and highest probability when a fifth of the recording is left out.
        nothing_above: frequencies, Hz, above which there is nothing to explain, and why.
        unlike: ways in which the recording is unlike those the model learned from, and what the model's training says
            against its answers.
        warnings: what the recording check says against the recording.
    """

    evidence: Array
    loudness: Array
    voicing: Array
    bin_hz: float
    frame_rate_hz: float
    class_name: str
    p: float
    p_removed: float
    verdict: Verdict | None = None
    controls: Mapping[str, float] = field(default_factory=dict)
    overlaps: Mapping[str, float] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)
    scale: str = "P(PD)"
    mirrored: bool = False
    step: float = 1.0
    is_score: bool = False
    range_p: tuple[float, float] | None = None
    nothing_above: Sequence[tuple[float, str]] = ()
    unlike: Sequence[str] = ()
    warnings: Sequence[str] = ()

    def shown(self, p: float) -> str:
        """A probability of the explained class on the one scale."""
        return f"{1 - p if self.mirrored else p:.2f}"


def percent(share: float, digits: int = 0) -> str:
    """A share as people read it: 62 %."""
    return f"{100 * share:.{digits}f} %"


def hertz(hz: float) -> str:
    """A frequency as people read it: 500 Hz, 2 kHz."""
    return f"{hz / 1000:g} kHz" if hz >= 1000 else f"{hz:g} Hz"


def band_shares(values: Array, bin_hz: float) -> tuple[list[tuple[float, float]], Array]:
    """Octave bands (low, high) in Hz and the share of `values` (F, T) in each."""
    hz = np.arange(values.shape[0]) * bin_hz
    top = float(hz[-1])
    edges = [e for e in BANDS_HZ if e < top] + [top]
    by_bin = values.sum(axis=1, dtype=np.float64)
    total = by_bin.sum()
    inside = [(hz >= low) & ((hz < high) | (high == top)) for low, high in pairwise(edges)]
    shares = np.array([by_bin[m].sum() for m in inside]) / total if total > 0 else np.zeros(len(inside))
    return list(pairwise(edges)), shares


def _place(low: float, high: float) -> str:
    return f"below {hertz(high)}" if low == 0 else f"between {hertz(low)} and {hertz(high)}"


def where(facts: Facts) -> Sentence:
    """Which bands carry half of the evidence, beside the loudness in them."""
    bands, shares = band_shares(facts.evidence, facts.bin_hz)
    _, loud = band_shares(facts.loudness, facts.bin_hz)
    for width in range(1, len(bands) + 1):
        sums = [shares[i : i + width].sum() for i in range(len(bands) - width + 1)]
        best = int(np.argmax(sums))
        if sums[best] >= HALF:
            break
    if width >= len(bands) / 2:  # half of the axis holds half of anything
        most = int(np.argmax(shares))
        if shares[most] < LARGE:
            return Sentence(
                "where", "spread", "The evidence is spread over low and high frequencies; no band stands out."
            )
        return Sentence(
            "where",
            "largest",
            "The evidence is spread over low and high frequencies; the largest part, "
            f"{percent(shares[most])}, lies {_place(*bands[most])} (a map of loudness alone: {percent(loud[most])}).",
        )
    low, high = bands[best][0], bands[best + width - 1][1]
    return Sentence(
        "where",
        "bands",
        f"{percent(sums[best])} of the evidence lies {_place(low, high)}, "
        f"where a map of loudness alone would have {percent(loud[best : best + width].sum())}.",
    )


def when(facts: Facts) -> Sentence:
    """Which kind of sound, or which stretch of time, carries the evidence, beside its share of the time."""
    over_time = facts.evidence.sum(axis=0, dtype=np.float64)
    total = over_time.sum()
    names = ("pauses", "unvoiced sound", "voiced sound")
    kinds = [facts.voicing == k for k in range(3)]
    held = np.array([over_time[k].sum() for k in kinds]) / total
    time = np.array([k.mean() for k in kinds])
    gain = held - time
    most = int(np.argmax(gain))
    if gain[most] >= NOTABLE:
        return Sentence(
            "when",
            ("pause", "unvoiced", "voiced")[most],
            f"It gathers in {names[most]}: {percent(held[most])} of the evidence in {percent(time[most])} of the time.",
        )
    width = max(1, round(0.1 * len(over_time)))
    sums = np.convolve(over_time, np.ones(width), "valid") / total
    start = int(np.argmax(sums))
    if sums[start] >= 0.1 + NOTABLE:
        begin, end = start / facts.frame_rate_hz, (start + width - 1) / facts.frame_rate_hz
        return Sentence(
            "when",
            "stretch",
            f"Its densest tenth, {begin:.2f} to {end:.2f} s, holds {percent(sums[start])} of it.",
        )
    return Sentence(
        "when", "even", "It is spread evenly over the recording: no stretch and no kind of sound stands out."
    )


REMOVED = {"energy_map": "of the loudest places", "edge_map": "of the edges", "random_map": "random places"}
"""What removing a control's bins removes, in words."""


def control(facts: Facts) -> Sentence:
    """What removing the evidence does to the answer, beside removing as many bins of every control.

    Numbers alone: what follows from them is the verdict's to say.
    """
    drop = facts.p - facts.p_removed
    key = "no_effect" if abs(drop) < HARDLY * facts.step else "fall" if drop > 0 else "rise"
    does = "hardly changes" if key == "no_effect" else "lowers" if (key == "fall") != facts.mirrored else "raises"
    text = f"Removing it {does} {facts.scale} from {facts.shown(facts.p)} to {facts.shown(facts.p_removed)}"
    if facts.mirrored and key != "no_effect":
        text += f", {'away from' if key == 'fall' else 'towards'} {facts.class_name}"
    others = [
        f"{words} to {facts.shown(facts.controls[name])}" for name, words in REMOVED.items() if name in facts.controls
    ]
    return Sentence("control", key, f"{text}; removing as many {listing(others)}." if others else f"{text}.")


def listing(names: Sequence[str], last: str = "and") -> str:
    """Names in a row.

    >>> listing(["a"]), listing(["a", "b", "c"]), listing(["a", "b"], "or")
    ('a', 'a, b and c', 'a or b')
    """
    return f" {last} ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def has_few(share: float) -> bool:
    """Whether a map has evidence in clearly fewer bins than the strongest STRONGEST, so that this must be said."""
    return share < 0.95 * STRONGEST


def agree(facts: Facts) -> Sentence | None:
    """Whether other methods mark the same bins, beside what unrelated maps have in common; None without others."""
    values = {name: v for name, v in facts.overlaps.items() if not np.isnan(v)}
    if not values:
        return None
    mean = float(np.mean(list(values.values())))
    text = (
        f"{listing([recipe_words(name) for name in values])}: {percent(mean)} of the strongest places in common"
        f"{' on average' if len(values) > 1 else ''}; two unrelated maps have {percent(STRONGEST)}."
    )
    few = [
        f"{recipe_words(name) if name else 'This map'} holds evidence in {percent(share, 1)} of the places only"
        for name, share in facts.shares.items()
        if has_few(share)
    ]
    if few:
        text += f" {'; '.join(few)}."
    key = likeness(mean)
    does = {"agree": "agrees", "partly": "agrees in part", "disagree": "does not agree"}[key]
    return Sentence("agreement", key, f"It {does} with {text}")


def cautions(facts: Facts) -> list[Sentence]:
    """What speaks against trusting the answer or the map."""
    found: list[Sentence] = []

    def say(key: str, text: str) -> None:
        found.append(Sentence("caution", key, text))

    total = facts.evidence.sum(dtype=np.float64)
    if facts.verdict is not None and facts.verdict.key == "nothing":
        say("nothing", "This map explains nothing: where it lies is no reason for the answer.")
    if total > 0:
        by_bin = facts.evidence.sum(axis=1, dtype=np.float64)
        for hz, why in facts.nothing_above:
            share = by_bin[np.arange(len(by_bin)) * facts.bin_hz > hz].sum() / total
            if share > ABOVE:
                say(
                    "band",
                    f"{percent(share)} of the evidence lies above {hertz(round(hz, -2))}, where {why}: there it"
                    " explains nothing.",
                )
        quiet = facts.evidence[:, facts.voicing == 0].sum(dtype=np.float64) / total
        if quiet > PAUSES:
            say(
                "silence",
                f"{percent(quiet)} of the evidence lies in pauses, where nobody speaks: "
                "the model may have learned the room or the microphone.",
            )
    low, _ = facts.range_p or (facts.p, facts.p)
    if facts.is_score:
        high = max(facts.range_p or (facts.p,))
        if high - low > facts.step:
            say(
                "fragile",
                f"The {facts.scale} hangs on parts of the recording: {low:.2f} to {high:.2f} without one fifth of it.",
            )
    elif abs(facts.p - 0.5) < UNSURE:
        say("unsure", f"The model is unsure: {facts.scale} {facts.shown(facts.p)} is close to 0.50.")
    elif low < 0.5 <= facts.p:
        say(
            "fragile",
            "The answer hangs on a part of the recording: without one fifth of it"
            f" {facts.scale} is {facts.shown(low)}.",
        )
    agreement = agree(facts)
    if agreement is not None and agreement.key == "disagree":
        say("disagreement", "The methods do not agree, so no single map should be read as the reason.")
    for text in facts.unlike:
        say("unlike", text)
    for text in facts.warnings:
        say("quality", f"The recording check says {text}.")
    return found


def summary(facts: Facts) -> list[Sentence]:
    """All sentences about a map, in reading order, the verdict first; a map without evidence says only that. What is
    not known yet is left out."""
    first = [] if facts.verdict is None else [Sentence("verdict", facts.verdict.key, facts.verdict.text)]
    if not facts.evidence.sum() > 0:
        empty = Sentence("where", "empty", f"This method finds no evidence for {facts.class_name} in this recording.")
        return [*first, empty, *cautions(facts)]
    parts = [*first, where(facts), when(facts), control(facts), agree(facts)]
    return [part for part in parts if part is not None] + cautions(facts)
