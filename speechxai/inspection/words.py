"""What matters, in words: sentences computed from a map, each true of it. No sentence says more than its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np

from speechxai.explain.recipe import CONTROLS
from speechxai.types import Array

# Names as people read them: classes, recipes, tasks with a planted cue. Needs nothing else of the app.
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


def cue_words(group: str) -> str:
    """A group of a benchmark, `material/cue/severity`, as people read it; anything else as it is."""
    parts = group.split("/")
    if len(parts) != 3:
        return group.replace("_", " ")
    material, cue, severity = parts
    name = cue.replace("_", " ")
    strength = "" if severity == "1" else f", severity {severity}"
    return f"{name[0].upper()}{name[1:]} in {material.replace('_', ' ')} voices{strength}"


# What matters, in words: sentences computed from a map, each true of it. No sentence says more than its numbers.
Kind = Literal["where", "when", "control", "agreement", "caution"]

HALF = 0.5
NOTABLE = 0.10
"""Shares that differ by less are called alike."""

LARGE = 0.25
"""A single band with less than this does not stand out: with six bands an even spread gives each a sixth."""

HARDLY = 0.02
"""Probabilities that differ by less are called unchanged."""

PAUSES = 0.20
"""More evidence than this in pauses raises an alarm."""

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
        class_name: what the model said, in words.
        p, p_removed: probability of that class, whole and without the strongest bins.
        controls: p_removed of maps that know nothing of the model, at the same budget: "energy_map", "random_map".
        overlaps: overlap of the strongest bins with other methods, in [0, 1].
        chance_overlap: what two unrelated maps have.
        range_p: lowest and highest probability when a fifth of the recording is left out.
        unlike: ways in which the recording is unlike those the model learned from.
        recording_warnings: what the quality check says.
    """

    evidence: Array
    loudness: Array
    voicing: Array
    bin_hz: float
    frame_rate_hz: float
    class_name: str
    p: float
    p_removed: float
    controls: Mapping[str, float] = field(default_factory=dict)
    overlaps: Mapping[str, float] = field(default_factory=dict)
    chance_overlap: float = 0.2
    range_p: tuple[float, float] | None = None
    unlike: Sequence[str] = ()
    recording_warnings: Sequence[str] = ()


def percent(share: float) -> str:
    """A share as people read it: 62 %."""
    return f"{100 * share:.0f} %"


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


def control(facts: Facts) -> Sentence:
    """What removing the evidence does to the answer, beside removing as many loud or random bins."""
    drop = facts.p - facts.p_removed
    said = f"from {facts.p:.2f} to {facts.p_removed:.2f}"
    if drop < HARDLY:
        return Sentence(
            "control",
            "no_effect",
            f"Removing it hardly changes the probability of {facts.class_name} ({said}): "
            "the model does not depend on what this map marks.",
        )
    energy, random = facts.controls.get("energy_map"), facts.controls.get("random_map")
    others = [
        f"{name} {value:.2f}"
        for name, value in (("as many of the loudest bins to", energy), ("random bins to", random))
        if value is not None
    ]
    text = f"Removing it lowers the probability of {facts.class_name} {said}"
    if not others:
        return Sentence("control", "uncontrolled", f"{text}.")
    text += f"; removing {' and '.join(others)}"
    best = min(v for v in (energy, random) if v is not None)
    if facts.p_removed < best - HARDLY:
        return Sentence(
            "control", "better", f"{text}. So this map finds more of what the model uses than chance or loudness do."
        )
    return Sentence(
        "control", "not_better", f"{text}. So a map that knows nothing of the model does as well as this one."
    )


def agree(facts: Facts) -> Sentence | None:
    """Whether other methods mark the same bins, beside what unrelated maps have in common; None without others."""
    values = [v for v in facts.overlaps.values() if not np.isnan(v)]
    if not values:
        return None
    mean, chance = float(np.mean(values)), facts.chance_overlap
    numbers = f"{percent(mean)} of the strongest bins in common on average; two unrelated maps have {percent(chance)}"
    n = f"{len(values)} other method{'s' if len(values) > 1 else ''}"
    if mean >= chance + 2 * NOTABLE:
        return Sentence("agreement", "agree", f"It agrees with {n}: {numbers}.")
    if mean >= chance + NOTABLE:
        return Sentence("agreement", "partly", f"It agrees in part with {n}: {numbers}.")
    return Sentence("agreement", "disagree", f"It does not agree with {n}: {numbers}.")


def cautions(facts: Facts) -> list[Sentence]:
    """What speaks against trusting the answer or the map."""
    found: list[Sentence] = []

    def say(key: str, text: str) -> None:
        found.append(Sentence("caution", key, text))

    total = facts.evidence.sum(dtype=np.float64)
    if total > 0:
        quiet = facts.evidence[:, facts.voicing == 0].sum(dtype=np.float64) / total
        if quiet > PAUSES:
            say(
                "silence",
                f"{percent(quiet)} of the evidence lies in pauses, where nobody speaks: "
                "the model may have learned the room or the microphone.",
            )
    low, _ = facts.range_p or (facts.p, facts.p)
    if abs(facts.p - 0.5) < UNSURE:
        say("unsure", f"The model is unsure: its probability of {facts.p:.2f} is close to 0.50.")
    elif low < 0.5 <= facts.p:
        say(
            "fragile",
            f"The answer hangs on a part of the recording: without one fifth of it the probability falls to {low:.2f}.",
        )
    agreement = agree(facts)
    if agreement is not None and agreement.key == "disagree":
        say("disagreement", "The methods do not agree, so no single map should be read as the reason.")
    for text in facts.unlike:
        say("unlike", text)
    for text in facts.recording_warnings:
        say(
            "quality",
            f"The recording is {text}." if not text.startswith(("offset", "narrow")) else f"Recording: {text}.",
        )
    return found


def summary(facts: Facts) -> list[Sentence]:
    """All sentences about a map, in reading order; a map without evidence gives one."""
    if not facts.evidence.sum() > 0:
        empty = Sentence("where", "empty", f"This method finds no evidence for {facts.class_name} in this recording.")
        return [empty, *cautions(facts)]
    parts = [where(facts), when(facts), control(facts), agree(facts)]
    return [part for part in parts if part is not None] + cautions(facts)


BANDS_HZ = (0, 250, 500, 1_000, 2_000, 4_000, 8_000)
"""Edges of the octave bands beside the picture, Hz."""
