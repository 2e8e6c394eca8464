"""Evidence by unit: how much of a map's evidence lies in stops, vowels, words and pauses, beside what their duration
alone and their energy alone would give.

A unit is told from the rest by its density, evidence in a second: long units hold much of any map, and loud ones much
of a map that only repeats the spectrogram. So the share of a unit is divided by its share of the time and by its share
of the energy, and what counts is the smaller of the two, `over_floors`: above 1 the map points there beyond both.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from speechxai.errors import NotApplicable, SpeechXAIError, did_you_mean
from speechxai.stats import reader_interval, speaker_means
from speechxai.types import Array
from speechxai.units.symbols import HEIGHTS, PAUSE
from speechxai.units.tiers import UNKNOWN, Unit, Units

if TYPE_CHECKING:
    import pandas as pd

Level = Literal["class", "vowel height", "phone", "word", "each phone", "each word"]

VOWEL = "vowel"
SILENT = "(pause)"
"""Name of silence among symbols and words: "pause" may be said."""

ORDER = ("stop", "fricative", "affricate", "nasal", "liquid", "glide", VOWEL, "voiced", "unvoiced", UNKNOWN, PAUSE)
"""Classes as tables list them; the heights of vowels are a level of their own."""


@dataclass(frozen=True)
class Relevance:
    """Evidence of one map in one unit, or in all units of a class, a symbol or a word.

    Args:
        level: what is counted together.
        name: class, symbol or word; SILENT of all silence among symbols or words.
        kind: class of a phone, "word" of a word.
        n: units.
        seconds: of them together.
        start_s, end_s: of a single unit, else NaN.
        evidence: sum of the map's evidence over them, in the map's own unit.
        share: of all evidence; NaN of a map without any.
        share_of_time, share_of_energy: the floors; the latter is NaN of a silent recording.
    """

    level: Level
    name: str
    kind: str
    n: int
    seconds: float
    evidence: float
    share: float
    share_of_time: float
    share_of_energy: float
    start_s: float = math.nan
    end_s: float = math.nan

    @property
    def density_per_s(self) -> float:
        """Evidence in a second."""
        return self.evidence / self.seconds

    @property
    def over_time(self) -> float:
        """Share over the share of the time: density over that of the whole recording; 1 is what duration gives."""
        return _ratio(self.share, self.share_of_time)

    @property
    def over_energy(self) -> float:
        """Share over the share of the energy; 1 is what energy alone gives, NaN where there is none."""
        return _ratio(self.share, self.share_of_energy)

    @property
    def over_floors(self) -> float:
        """The smaller of both: above 1 more evidence than duration or energy gives."""
        return min(self.over_time, self.over_energy) if math.isfinite(self.over_energy) else self.over_energy


COLUMNS = (
    "level",
    "name",
    "kind",
    "n",
    "start_s",
    "end_s",
    "seconds",
    "evidence",
    "density_per_s",
    "share",
    "share_of_time",
    "share_of_energy",
    "over_time",
    "over_energy",
    "over_floors",
)
"""Columns of `units.csv`, after the recipe."""


def _ratio(above: float, below: float) -> float:
    return above / below if below > 0 else math.nan


def inside(units: Sequence[Unit], values: Array, frame_rate_hz: float, duration_s: float) -> Array:
    """Sum of a map (F, T) within each unit, (U,); together they are the whole map where the units cover the recording.

    Frame t stands for the time from half a frame before t / frame_rate_hz to half a frame after, within the recording,
    and is shared by the units that it touches in proportion: a burst may be shorter than a frame.
    """
    frames = np.asarray(values, dtype=np.float64).sum(axis=0)
    edges = np.clip((np.arange(frames.shape[0] + 1) - 0.5) / frame_rate_hz, 0.0, duration_s)
    so_far = np.concatenate([[0.0], np.cumsum(frames)])
    ends = np.array([[unit.start_s, unit.end_s] for unit in units]).reshape(-1, 2)
    found: Array = np.diff(np.interp(ends, edges, so_far), axis=1)[:, 0]
    return found


def _name(unit: Unit) -> str:
    """Symbol or word; all silence has one name, which no word has."""
    return SILENT if unit.kind == PAUSE else unit.label


def relevance(units: Units, evidence: Array, energy: Array, frame_rate_hz: float) -> list[Relevance]:
    """Evidence of one map by class, height of vowels, symbol and word, and in every single phone and word.

    Args:
        units: of the recording.
        evidence: (F, T), at least 0: the positive part of a signed map.
        energy: (F, T), at least 0: the spectrogram that was explained, as the control `energy_map` gives it.
        frame_rate_hz: of both.

    Raises:
        SpeechXAIError: maps of different shape, negative or not finite, or much shorter or longer than the recording.
    """
    for name, values in (("evidence", evidence), ("energy", energy)):
        if values.ndim != 2 or values.shape != evidence.shape or not np.isfinite(values).all() or (values < 0).any():
            raise SpeechXAIError(f"The '{name}' must be a map (F, T) of finite numbers, at least 0, both of one shape.")
    if abs((evidence.shape[1] - 1) / frame_rate_hz - units.duration_s) > 0.1 + 1 / frame_rate_hz:
        raise SpeechXAIError(
            f"{units.source}: the map lasts {evidence.shape[1] / frame_rate_hz:.2f} s, and the units belong to"
            f" {units.duration_s:.2f} s."
        )
    rows: list[Relevance] = []
    for tier, level, single in ((units.phones, "phone", "each phone"), (units.words, "word", "each word")):
        if not tier:
            continue
        found = inside(tier, evidence, frame_rate_hz, units.duration_s)
        floor = inside(tier, energy, frame_rate_hz, units.duration_s)
        total, loud = float(evidence.sum()), float(energy.sum())

        def row(
            level: Any,
            name: str,
            at: Sequence[int],
            tier: Sequence[Unit] = tier,
            found: Array = found,
            floor: Array = floor,
            total: float = total,
            loud: float = loud,
        ) -> Relevance:
            seconds, own = sum(tier[i].end_s - tier[i].start_s for i in at), float(found[list(at)].sum())
            alone = tier[at[0]] if str(level).startswith("each") else None
            return Relevance(
                level=level,
                name=name,
                kind=VOWEL if level == "class" and name == VOWEL else tier[at[0]].kind,
                n=len(at),
                seconds=seconds,
                evidence=own,
                share=_ratio(own, total),
                share_of_time=seconds / units.duration_s,
                share_of_energy=_ratio(float(floor[list(at)].sum()), loud),
                start_s=alone.start_s if alone else math.nan,
                end_s=alone.end_s if alone else math.nan,
            )

        places = range(len(tier))
        if level == "phone":
            manner = [VOWEL if tier[i].kind in HEIGHTS else tier[i].kind for i in places]
            rows += [row("class", c, [i for i in places if manner[i] == c]) for c in ORDER if c in manner]
            heights = [c for c in HEIGHTS if any(unit.kind == c for unit in tier)]
            rows += [row("vowel height", c, [i for i in places if tier[i].kind == c]) for c in heights]
        by_name: dict[str, list[int]] = {}
        for i in places:
            by_name.setdefault(_name(tier[i]), []).append(i)
        rows += [row(level, name, at) for name, at in by_name.items()]
        rows += [row(single, _name(tier[i]), [i]) for i in places]
    return rows


def check_classes(names: Sequence[str]) -> None:
    """Raise SpeechXAIError for a name that no class of phones has."""
    for name in names:
        if name not in (*ORDER, *HEIGHTS):
            raise SpeechXAIError(did_you_mean(name, [*ORDER, *HEIGHTS], "class of phones"))


def spans_of(units: Units, names: Sequence[str]) -> tuple[tuple[float, float], ...]:
    """Where the phones of some classes lie, (start, end) in s, in order; "vowel" is of every height.

    Raises:
        SpeechXAIError: an unknown class.
        NotApplicable: the recording has none of them.
    """
    check_classes(names)
    wanted = {*names, *(HEIGHTS if VOWEL in names else ())}
    found = tuple((unit.start_s, unit.end_s) for unit in units.phones if unit.kind in wanted)
    if not found:
        there = ", ".join(c for c in (*ORDER, *HEIGHTS) if any(unit.kind == c for unit in units.phones)) or "no phones"
        raise NotApplicable(f"{units.source}: no {' or '.join(names)} in this recording; there are: {there}.")
    return found


def table(found: Mapping[str, Sequence[Relevance]]) -> list[list[Any]]:
    """Rows of `units.csv`, header first: COLUMNS of every recipe; what is undefined is empty."""

    def cell(value: Any) -> Any:
        if isinstance(value, float):
            return "" if math.isnan(value) else float(f"{value:.6g}")
        return value

    rows = [[recipe, *(cell(getattr(one, c)) for c in COLUMNS)] for recipe, some in found.items() for one in some]
    return [["recipe", *COLUMNS], *rows]


def first(rows: Sequence[Relevance], column: str = "over_floors") -> str:
    """Class with the largest value, unknown symbols left out; "" where no class has one."""
    known = [(getattr(r, column), r.name) for r in rows if r.level == "class" and r.name != UNKNOWN]
    defined = [pair for pair in known if math.isfinite(pair[0])]
    return max(defined)[1] if defined else ""


# Over a cohort: every speaker counts once.
RATIOS = ("over_time", "over_energy", "over_floors")
"""Measures whose means and intervals are of logarithms: half and twice are equally far from 1."""

MEASURES = ("share", "share_of_time", "share_of_energy", "density_per_s", *RATIOS)

LEAST_RATIO = 0.01
"""What a smaller ratio counts as in a cohort, and 0 with it, which has no logarithm; pictures end there too."""

LEVELS: tuple[Level, ...] = ("class", "vowel height", "phone", "word")
"""What is counted over a cohort."""

_KEPT = ("n", "seconds", *MEASURES)


def kept(rows: Sequence[Relevance]) -> dict[str, list[float]]:
    """What tables of many recordings keep of `relevance`: by "level|name" number, seconds and MEASURES."""
    return {f"{r.level}|{r.name}": [float(getattr(r, c)) for c in _KEPT] for r in rows if r.level in LEVELS}


def frame(recordings: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Tidy table of classes, heights, symbols and words of many recordings.

    Args:
        recordings: each with `recording`, `speaker`, `label` (of the speaker's class, as people read it), `recipe` and
            `rows`: those of `relevance`, or what was `kept` of them.
    """
    import pandas as pd

    keys = ["recording", "speaker", "label", "recipe"]
    made = [
        [*(one[key] for key in keys), *name.split("|", 1), *values]
        for one in recordings
        for name, values in (one["rows"] if isinstance(one["rows"], Mapping) else kept(one["rows"])).items()
    ]
    return pd.DataFrame(made, columns=[*keys, "level", "name", *_KEPT]).astype({"n": int})


def firsts(rows: pd.DataFrame) -> dict[str, dict[str, int]]:
    """In how many recordings each class of phones is the one beyond both floors most, by recipe, the most frequent
    first; unknown symbols do not count.

    Args:
        rows: of `frame`.
    """
    known = rows[(rows["level"] == "class") & (rows["name"] != UNKNOWN) & rows["over_floors"].notna()]
    if known.empty:
        return {}
    best = known.loc[known.groupby(["recipe", "recording"], sort=False)["over_floors"].idxmax()]
    return {
        str(recipe): {str(name): int(n) for name, n in part["name"].value_counts().items()}
        for recipe, part in best.groupby("recipe", sort=False)
    }


ALL = "all"
"""What rows of all speakers say in the column `label`."""


def cohort(rows: pd.DataFrame, level: Level = "class") -> pd.DataFrame:
    """Means over speakers with 95 % intervals by Student's t, of everybody and by the speakers' class.

    A recording without a class of phones says nothing of it, and a speaker counts once with the mean of those
    recordings that have it. Of RATIOS all means are geometric and their intervals those of logarithms, where less than
    LEAST_RATIO counts as LEAST_RATIO; no interval begins below it.

    Args:
        rows: of `frame`.
        level: what rows of it.

    Returns:
        A row a recipe, label (ALL first) and name: `n_speakers`, and for each of MEASURES its mean, `_low` and `_high`;
        the ends are NaN with one speaker. Every recipe and label has a row of every name, NaN and 0 speakers where
        it is absent.
    """
    import pandas as pd

    chosen = rows[rows["level"] == level]
    names = [n for n in (*ORDER, *HEIGHTS) if (chosen["name"] == n).any()]
    names += [n for n in dict.fromkeys(chosen["name"]) if n not in names]
    ratio = np.isin(MEASURES, RATIOS)
    made: list[dict[str, Any]] = []
    for recipe in dict.fromkeys(chosen["recipe"]):
        for label in (ALL, *sorted(map(str, chosen["label"].dropna().unique()))):
            for name in names:
                some = chosen[(chosen["recipe"] == recipe) & (chosen["name"] == name)]
                some = some if label == ALL else some[some["label"].astype(str) == label]
                one: dict[str, Any] = {"recipe": recipe, "label": label, "name": name}
                values = some[list(MEASURES)].to_numpy(dtype=float)
                values[:, ratio] = np.log(np.maximum(values[:, ratio], LEAST_RATIO))
                means = speaker_means(values, some["speaker"].astype(str).to_numpy())
                one["n_speakers"] = int((~np.isnan(means[:, MEASURES.index("share")])).sum()) if len(some) else 0
                for k, measure in enumerate(MEASURES):
                    ends = reader_interval(means[:, k]) if len(some) else (math.nan,) * 3
                    if ratio[k]:
                        mean, low, high = map(math.exp, ends)
                        ends = (mean, low if math.isnan(low) else max(low, LEAST_RATIO), high)
                    one |= dict(zip((measure, f"{measure}_low", f"{measure}_high"), ends, strict=True))
                made.append(one)
    columns = [f"{m}{end}" for m in MEASURES for end in ("", "_low", "_high")]
    return pd.DataFrame(made, columns=["recipe", "label", "name", "n_speakers", *columns])
