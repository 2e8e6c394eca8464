"""What a what-if says, in sentences for people; each is true of the numbers or is not said."""

from __future__ import annotations

import math
from collections.abc import Callable

from speechxai.signs.whatif import Curve, Point, WhatIf

PROVEN: frozenset[str] = frozenset()
"""Signs whose dial came first in nine tenths of the voices where a network had learned them: none yet. On test seeds it
was seven to eight tenths of single voices."""


def counted(n: int, thing: str) -> str:
    """Say how many.

    >>> counted(1, "recording"), counted(2, "speaker"), counted(0, "recording")
    ('1 recording', '2 speakers', '0 recordings')
    """
    return f"{n} {thing}{'' if n == 1 else 's'}"


def dose_words(curve: Curve, dose: float) -> str:
    """Say a dose of a dial.

    Returns:
        For example "3.7 dB less breathy", or of a recording dial "noise floor +10 dB".
    """
    facts = curve.facts
    if curve.family == "condition":
        return str(facts["more"].format(dose=dose))
    return f"{abs(dose):.2g} {facts['unit']} {facts['more'] if dose > 0 else facts['less']}"


def alarm_words(curve: Curve) -> str:
    """What is said where the model answers more to the recording than to the voice, of one recording."""
    return (
        f"The model answers more to the {curve.facts['label']} than to anything in the voice. One recording is no proof"
        " of a shortcut: that takes several speakers."
    )


def turning(found: WhatIf) -> list[tuple[Curve, Point]]:
    """Signs that turn the answer within the range of people: those that do more than a random change before others,
    fewest standard deviations first."""
    pairs = [(curve, curve.turns) for curve in found.signs if curve.turns is not None]
    return sorted(pairs, key=lambda pair: (_may_be_chance(pair[0]), abs(pair[1].steps)))


def _may_be_chance(curve: Curve) -> bool:
    """Whether random changes of a dial's size move the answer as far as it does."""
    return math.isfinite(curve.floor) and not curve.beats_placebo


def strongest_sign(found: WhatIf) -> Curve | None:
    """The sign that the model answers most to, where it answers more than to a random change; None without one."""
    return next((curve for curve in found.signs if curve.beats_placebo), None)


def sentences(found: WhatIf, class_words: Callable[[str], str] = str, most: int = 3) -> list[str]:
    """Say what matters of a what-if.

    Args:
        found: the numbers.
        class_words: how a class is called to people.
        most: sentences of signs that turn the answer.
    """
    said: list[str] = []
    alarm = found.alarm
    if alarm is not None:
        said.append(alarm_words(alarm))
    if found.unit:
        return said + _of_score(found)
    pairs = turning(found)
    target = class_words(found.class_names[found.target])
    for curve, point in pairs[:most]:
        after = f"{found.probability:.2f} to {point.probability:.2f} for {target}"
        after += "; random changes of that size move it as far" if _may_be_chance(curve) else ""
        if len(found.class_names) == 2:
            other = class_words(found.class_names[1 - found.predicted])
            said.append(f"Were this voice {dose_words(curve, point.dose)}, the answer would turn to {other} ({after}).")
        else:
            said.append(f"Were this voice {dose_words(curve, point.dose)}, the answer would be another ({after}).")
    if found.signs and not pairs:
        of = (
            f"No sign of the {len(found.signs)} that apply"
            if len(found.signs) > 1
            else "The one sign that applies never"
        )
        said.append(f"{of} turns the answer within the range of people.")
    first = strongest_sign(found)
    n_signs = len(found.signs)
    if first is not None:
        floor = "" if first.floor != first.floor else f", random changes of that size by at most {first.floor:.2g}"
        rank = 1 + found.signs.index(first)
        moved = f"{dose_words(first, first.at)} moves its logit by {first.effect:+.2g}{floor}."
        label = first.facts["label"]
        if n_signs == 1:
            said.append(f"The one sign that applies is {label}: {moved}")
        else:
            which = "most" if rank == 1 else f"most of those that beat a random change (place {rank})"
            said.append(f"Of the {n_signs} signs that apply, the model answers {which} to {label}: {moved}")
        if first.name not in PROVEN:
            said.append(
                f"Not proven: it has not been shown that {first.facts['label']} comes first where a model has learned"
                " it."
            )
    elif n_signs:
        said.append("No sign moves the answer more than a random change of the same size does.")
    for curve in found.conditions:
        if curve.undone:
            said.append(f"The model's own input undoes the {curve.facts['label']}.")
    return said


def _of_score(found: WhatIf, most: int = 3) -> list[str]:
    """The same of a network that gives a score: nothing turns, it rises and falls."""
    name, said = found.class_names[0], []
    for curve in [each for each in found.signs if each.beats_placebo][:most]:
        after = found.margin + curve.effect
        verb = "rise" if curve.effect > 0 else "fall"
        said.append(
            f"Were this voice {dose_words(curve, curve.at)}, the {name} would {verb} from {found.margin:.3g} to"
            f" {after:.3g} {found.unit}; random changes of that size move it by at most {curve.floor:.2g}."
        )
    first = strongest_sign(found)
    if first is not None and first.name not in PROVEN:
        said.append(
            f"Not proven: it has not been shown that {first.facts['label']} comes first where a model has learned it."
        )
    if found.signs and first is None:
        said.append(f"No sign moves the {name} more than a random change of the same size does.")
    said += [f"The model's own input undoes the {c.facts['label']}." for c in found.conditions if c.undone]
    return said


def panel(curve: Curve, unit: str = "") -> tuple[str, str, list[float], list[float], tuple[float, float], bool]:
    """A dial as `report.plots.dose_curves` draws it: the floor of its logit, up and down from dose 0, is a range of
    probability. Of a score, which has a `unit`, the floor is a change of the score."""
    points = [p for p in curve.points if p.answered]
    middle = next(p for p in points if p.dose == 0)
    floor = tuple(_changed(middle.probability, change, bool(unit)) for change in (-curve.floor, curve.floor))
    doses, values = [p.dose for p in points], [p.probability for p in points]
    return (
        str(curve.facts["label"]),
        str(curve.facts["unit"]),
        doses,
        values,
        (floor[0], floor[1]),
        curve.family != "sign",
    )


def _changed(value: float, change: float, is_score: bool) -> float:
    """A score so much higher, or the probability whose logit is so much higher."""
    if is_score:
        return value + change
    if not math.isfinite(change):
        return math.nan
    inside = min(max(value, 1e-12), 1 - 1e-12)
    return 0.5 + 0.5 * math.tanh((math.log(inside / (1 - inside)) + change) / 2)


def first(found: WhatIf) -> tuple[Curve, ...]:
    """What is shown first: the three signs that the model answers most to, and the recording dial."""
    return (*found.signs[:3], *found.conditions[:1])
