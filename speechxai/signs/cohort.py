"""Dials turned on many recordings: what a model listens to at all, and whether that is the recording or the voice.

All of it is decided over speakers: each counts once, with the mean of its recordings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from speechxai.signs.conditions import CONDITIONS
from speechxai.signs.dials import SIGNS
from speechxai.signs.whatif import STEPS, Curve, WhatIf, what_if
from speechxai.signs.words import counted
from speechxai.stats import ALPHA, holm, reader_interval, speaker_means
from speechxai.types import Array, Recording

if TYPE_CHECKING:
    import pandas as pd

WHOLE = "all"
"""What rows of all recordings say in the column `by`."""

FEWEST = 5
"""Speakers under which nothing is tested."""


def kept(found: WhatIf) -> dict[str, dict[str, float]]:
    """What tables keep of a what-if, by dial.

    Returns:
        `slope`: change of the margin by one step more of the dial, half the difference of both directions where there
        are two; `strength`: largest change at one step; `placebo`: the larger change by a random edit of the same kind
        and distance; `round_trip`; `per_db`: largest change for each dB of log-spectral distance; `step`: one standard
        deviation of people or the registered step, in the dial's unit.
    """
    return {curve.name: _kept(curve) for curve in found.curves}


def _kept(curve: Curve) -> dict[str, float]:
    placebos = [abs(x) for x in curve.placebos if math.isfinite(x)]
    return {
        "slope": curve.slope,
        "strength": curve.strength if math.isfinite(curve.effect) else math.nan,
        "placebo": max(placebos, default=math.nan),
        "round_trip": abs(curve.round_trip),
        "per_db": curve.per_db,
        "step": abs(curve.at),
    }


@dataclass(frozen=True)
class Alarm:
    """A recording dial that a model answers more to than to any sign.

    Args:
        condition: the dial.
        sign: which sign the model answers most to; "" without one.
        effect: mean change of the margin by the registered step, over speakers.
        sign_effect: that by one standard deviation of the sign.
        difference, low: how much larger the first is, and the lower end of its 95 % interval.
        p: that it is not, corrected for the number of recording dials (Holm).
        n_speakers: behind it.
        alike: whether the condition moves that very sign by more than one standard deviation, and the model answers to
            the sign more than to random changes: then the two cannot be told apart, and there is no alarm.
    """

    condition: str
    sign: str
    effect: float
    sign_effect: float
    difference: float
    low: float
    p: float
    n_speakers: int
    alike: bool = False

    def words(self) -> str:
        """Say it."""
        label = CONDITIONS.facts(self.condition)["label"]
        if self.alike:
            sign = SIGNS.facts(self.sign)["label"]
            return (
                f"The model answers to the {label} or to {sign}: the one moves the other, and which of them it learned"
                " cannot be told."
            )
        beside = f", {self.sign_effect:.2g} by one standard deviation of {SIGNS.facts(self.sign)['label']}"
        return (
            f"The model answers more to the {label} than to anything in the voice: its logit moves by"
            f" {self.effect:+.2g} over {self.n_speakers} speakers{beside if self.sign else ''}."
        )


def frame(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Tidy table of what was kept: a row a recording and dial.

    Args:
        rows: each with `recording`, `speaker`, `signs` (of `kept`) and whatever the table may be split by.
    """
    import pandas as pd

    made = [
        {
            **{key: value for key, value in row.items() if key != "signs"},
            "dial": dial,
            "family": "sign" if dial in SIGNS else "condition",
            **values,
        }
        for row in rows
        for dial, values in row["signs"].items()
    ]
    columns = ["recording", "speaker", "dial", "family", "slope", "strength", "placebo", "round_trip", "per_db", "step"]
    return pd.DataFrame(made) if made else pd.DataFrame(columns=columns)


def _p_above(means: Array) -> float:
    """One-sided p of Student's t that speakers' means (S,) are not above 0; NaN under FEWEST."""
    from scipy.stats import t as student

    known = means[~np.isnan(means)]
    if known.shape[0] < FEWEST:
        return math.nan
    error = known.std(ddof=1) / math.sqrt(known.shape[0])
    if error == 0:
        return 0.0 if known.mean() > 0 else 1.0
    return float(student.sf(known.mean() / error, known.shape[0] - 1))


def cohort(table: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """Mean effects by dial over speakers, whole and by each column of `by`.

    Args:
        table: of `frame`.
        by: columns to split by, each for itself.

    Returns:
        A row a group and dial, strongest for its distance first: by (WHOLE or the column), which, dial, family,
        n_recordings, n_speakers, step (mean), effect with low and high (mean of `slope`, 95 % interval by Student's t),
        strength, placebo, vs_placebo with vs_placebo_low, vs_placebo_high (of strength less placebo) and p (one-sided,
        that it is not larger, after Holm over the dials of the group), per_db, first (share of recordings where it is
        the sign with the largest effect for its distance; of signs alone).
    """
    import pandas as pd

    parts = [(WHOLE, "", table)]
    for column in by:
        parts += [(column, str(which), part) for which, part in table.groupby(column, sort=True)]
    rows: list[dict[str, Any]] = []
    for column, which, part in parts:
        signs = part[(part["family"] == "sign") & part["per_db"].notna()]
        # Equal ones cannot be told apart: the first of the registry is named.
        firsts = signs.loc[signs.groupby("recording")["per_db"].idxmax(), "dial"] if len(signs) else signs["dial"]
        n_all = max(signs["recording"].nunique(), 1)
        mine: list[dict[str, Any]] = []
        for dial, own in part.groupby("dial", sort=False):
            names = own["speaker"].astype(str).to_numpy()

            def over(values: Any, names: Any = names) -> Array:
                return speaker_means(np.asarray(values, dtype=float), names)

            beyond = over(own["strength"] - own["placebo"])
            effect, low, high = reader_interval(over(own["slope"]))
            more, more_low, more_high = reader_interval(beyond)
            mine.append(
                {
                    "by": column,
                    "which": which,
                    "dial": dial,
                    "family": own["family"].iloc[0],
                    "n_recordings": len(own),
                    "n_speakers": len(set(names)),
                    "step": float(own["step"].mean()),
                    "effect": effect,
                    "low": low,
                    "high": high,
                    "strength": reader_interval(over(own["strength"]))[0],
                    "placebo": reader_interval(over(own["placebo"]))[0],
                    "vs_placebo": more,
                    "vs_placebo_low": more_low,
                    "vs_placebo_high": more_high,
                    "p": _p_above(beyond),
                    "per_db": reader_interval(over(own["per_db"]))[0],
                    "first": float((firsts == dial).sum() / n_all) if own["family"].iloc[0] == "sign" else math.nan,
                }
            )
        for row, p in zip(mine, holm([row["p"] for row in mine]), strict=True):
            row["p"] = float(p)
        rows += sorted(mine, key=lambda row: (row["family"] != "sign", -np.nan_to_num(row["per_db"])))
    return pd.DataFrame(rows)


def alarms(table: pd.DataFrame) -> list[Alarm]:
    """Recording dials to which a model answers more than to any sign, the strongest first.

    One is, where over speakers (1) its step moves the margin one way and (2) by more than one standard deviation of
    the sign that moves it most, each by a one-sided t test; the larger of both p is corrected for the number of
    recording dials (Holm) and below 0.05. A condition that moves that sign itself (`resembles`) raises no alarm where
    the model answers to the sign more than to random changes; it is `alike` then.

    Args:
        table: of `frame`.
    """
    wide = table.pivot_table(index=["speaker", "recording"], columns="dial", values="slope", aggfunc="mean")
    speakers = wide.index.get_level_values("speaker").astype(str).to_numpy()

    def means(values: Any) -> Array:
        return speaker_means(np.asarray(values, dtype=float), speakers)

    def mean_of(name: str) -> float:
        own = means(wide[name])
        return float(np.nanmean(own)) if np.isfinite(own).any() else 0.0

    signs = {name: mean_of(name) for name in SIGNS if name in wide}
    # A sign that few of the voices can show is no rival: it must be there in half of them.
    signs = {name: value for name, value in signs.items() if wide[name].notna().mean() >= 0.5}
    best = max(signs, key=lambda name: abs(signs[name]), default="")
    own = table[table["dial"] == best]
    shown = bool(best) and _p_above(speaker_means(own["strength"] - own["placebo"], own["speaker"].astype(str))) < ALPHA
    found: list[Alarm] = []
    for name in (each for each in CONDITIONS if each in wide):
        effect = mean_of(name)
        turned = math.copysign(1.0, effect) * wide[name]
        rival = math.copysign(1.0, signs[best]) * wide[best] if best else 0.0 * turned
        difference, low, _ = reader_interval(means(turned - rival))
        # The direction was taken from the same numbers, so either way counts.
        p = max(2 * _p_above(means(turned)), _p_above(means(turned - rival)))
        alike = shown and best in CONDITIONS.facts(name).get("resembles", ())
        n = int(np.isfinite(means(turned)).sum())
        found.append(Alarm(name, best, effect, abs(signs.get(best, 0.0)), difference, low, min(p, 1.0), n, alike))
    corrected = holm([alarm.p for alarm in found])
    raised = [
        Alarm(**{**vars(alarm), "p": float(p)})
        for alarm, p in zip(found, corrected, strict=True)
        if p < ALPHA and alarm.low > 0
    ]
    return sorted(raised, key=lambda alarm: (alarm.alike, -abs(alarm.effect)))


@dataclass(frozen=True, eq=False)
class Profile:
    """What a model listens to at all.

    Args:
        table: of `frame`, a row a recording and dial.
        summary: of `cohort`.
        alarms: of `alarms`.
    """

    table: pd.DataFrame
    summary: pd.DataFrame
    alarms: tuple[Alarm, ...]

    @property
    def alarm(self) -> Alarm | None:
        """The first alarm; None without one."""
        return next((alarm for alarm in self.alarms if not alarm.alike), None)

    def sentences(self) -> list[str]:
        """Say what matters of it."""
        return said_of(self.summary, self.alarms)


def said_of(summary: pd.DataFrame, raised: Sequence[Alarm]) -> list[str]:
    """Sentences of a cohort: alarms, then the signs that beat random changes, then whether there was enough to test."""
    said = [alarm.words() for alarm in raised]
    whole = summary[(summary["by"] == WHOLE) & (summary["family"] == "sign")] if len(summary) else summary
    if whole.empty:
        return [*said, "No sign could be turned on these recordings."]
    n = int(whole["n_speakers"].max())
    if n < FEWEST:
        few = f"{counted(n, 'speaker')} {'is' if n == 1 else 'are'} too few"
        return [*said, f"{few} to say what the model listens to: it takes {FEWEST}."]
    beating = whole[(whole["p"] < ALPHA) & (whole["vs_placebo_low"] > 0)]
    if beating.empty:
        return [*said, f"Over {n} speakers no sign moves the answer more than a random change of the same size does."]
    names = [str(SIGNS.facts(dial)["label"]) for dial in beating["dial"] if dial in SIGNS]
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return [*said, f"Over {n} speakers the model answers to {listed} more than to random changes of the same size."]


def profile(
    model: Any,
    recordings: Iterable[Recording],
    signs: Iterable[str] = ("all",),
    doses: Sequence[float] = STEPS,
    *,
    by: Mapping[str, Callable[[Recording], str]] | None = None,
    progress: Callable[[int, str], None] | None = None,
    **options: Any,
) -> Profile:
    """Turn dials on many recordings: what this model listens to at all.

    Args:
        model: a classifier.
        recordings: at the model's sample rate; the more speakers the better.
        signs, doses: as of `what_if`.
        by: columns of the summary, each with what gives a recording's group.
        progress: called with the number of recordings done and the next one's name.
        options: of `what_if`.
    """
    names = tuple(signs)
    rows = []
    for index, recording in enumerate(recordings):
        if progress:
            progress(index, recording.id)
        found = what_if(model, recording, names, doses, **options)
        groups = {column: of(recording) for column, of in (by or {}).items()}
        rows.append({"recording": recording.id, "speaker": recording.speaker, **groups, "signs": kept(found)})
    table = frame(rows)
    return Profile(table, cohort(table, tuple(by or ())), tuple(alarms(table)) if len(table) else ())
