"""The ruler of the benchmark: where twins differ, in dB and with a sign, at several resolutions, and how a map is held
against that.

One reading of a map against one truth is a choice, and an order of methods may follow from it. So every map is measured
by all CHOICES, and a statement is made where it holds by all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from speechxai.errors import SpeechXAIError
from speechxai.metrics.maps import detection_auc, mass_share, rank_share, strongest_share
from speechxai.signal.stft import magnitudes
from speechxai.types import StftConfig

Sign = Literal["added", "removed", "both"]
Reading = Literal["positive", "negative", "absolute"]

FLOOR_DB = -60.0
"""Magnitudes count from this level on, relative to the largest of both twins: a change below it is no change."""


@dataclass(frozen=True)
class Resolution:
    """Cells of a map: `hz` x `s`; 0 is one bin, one frame."""

    name: str
    hz: float
    s: float

    def cells(self, stft: StftConfig) -> tuple[int, int]:
        """Bins and frames of a cell, at least 1."""
        return max(1, round(self.hz / stft.bin_hz)), max(1, round(self.s * stft.frame_rate_hz))


RESOLUTIONS = (
    Resolution("1 bin", 0.0, 0.0),
    Resolution("80 Hz x 35 ms", 80.0, 0.035),
    Resolution("250 Hz x 50 ms", 250.0, 0.05),
    Resolution("500 Hz x 100 ms", 500.0, 0.1),
)
THRESHOLDS_DB = (3.0, 6.0)
"""A cell belongs to a truth when its mean difference reaches this; the first is the specification."""

TOLERANCE_HZ, TOLERANCE_S = 250.0, 0.05
"""`pointing_game` counts a strongest cell that lies this near to the truth."""

FEWEST_CELLS = 3
"""A truth of fewer cells is none."""
SMALLEST_SHARE = 0.01
"""Nor does one of a smaller share of all cells count: tables leave its scores out, which are stored."""


def difference_db(with_cue: Tensor, without_cue: Tensor, stft: StftConfig) -> Tensor:
    """How much louder every bin is with the cue (F, T), dB, free of the twins' common gain.

    Both magnitudes are raised to FLOOR_DB below the largest of either twin, so that what nobody hears is no difference.

    Args:
        with_cue, without_cue: waveforms (N,).
        stft: the transform; its scale does not matter.

    Raises:
        SpeechXAIError: twins of different length or not of one channel.
    """
    if with_cue.ndim != 1 or with_cue.shape != without_cue.shape:
        raise SpeechXAIError(
            f"Twins must have one shape (N,). Got {tuple(with_cue.shape)} and {tuple(without_cue.shape)} instead."
        )
    pair = magnitudes(torch.stack([with_cue, without_cue]).double(), replace(stft, scale="linear"))
    floor = pair.max() * 10 ** (FLOOR_DB / 20)
    if floor <= 0:
        return torch.zeros(pair.shape[1:])
    level = 20 * pair.clamp(min=floor).log10()
    return (level[0] - level[1]).float()


def pooled(values: Tensor, cells: tuple[int, int]) -> Tensor:
    """Mean (..., f, t) of the cells of values (..., F, T); cells at the upper and right edge may be smaller."""
    if cells == (1, 1):
        return values
    flat = values.reshape(-1, 1, *values.shape[-2:])
    found = torch.nn.functional.avg_pool2d(flat, cells, ceil_mode=True)
    return found.reshape(*values.shape[:-2], *found.shape[-2:])


def inside(difference: Tensor, sign: Sign, threshold_db: float) -> Tensor:
    """Cells (f, t), bool, whose mean difference (dB) says that energy was added, removed, or either."""
    if sign == "added":
        return difference >= threshold_db
    return difference <= -threshold_db if sign == "removed" else difference.abs() >= threshold_db


def read(values: Tensor, reading: Reading, cells: tuple[int, int]) -> Tensor:
    """Evidence (..., f, t), at least 0, of maps (..., F, T); signed ones are pooled with their sign, like the truth."""
    if reading == "absolute":
        return pooled(values.abs(), cells)
    means = pooled(values, cells)
    return (means if reading == "positive" else -means).clamp(min=0)


def tolerated(truth: Tensor, resolution: Resolution, stft: StftConfig) -> Tensor:
    """The truth (f, t) and the cells within the tolerance around it."""
    bins, frames = resolution.cells(stft)
    reach = int(TOLERANCE_HZ / (bins * stft.bin_hz)), int(TOLERANCE_S * stft.frame_rate_hz / frames)
    size = 2 * reach[0] + 1, 2 * reach[1] + 1
    grown = torch.nn.functional.max_pool2d(truth[None, None].float(), size, stride=1, padding=reach)
    return grown[0, 0] > 0


LOCALIZATION = ("relevance_rank", "relevance_mass", "pointing_game", "localization_auc")
"""Scores of a map against a truth, as `metrics.maps` has them; the first is preregistered: all statements rest on
it."""


@dataclass(frozen=True)
class Choice:
    """One way to measure: a truth, a threshold, a resolution, and what of a map is read."""

    sign: Sign
    threshold_db: float
    resolution: Resolution
    reading: Reading

    @property
    def name(self) -> str:
        """Unique name, as the tables have it."""
        said = f"{self.sign}, {self.threshold_db:g} dB, {self.resolution.name}"
        return said if self.reading == "positive" else f"{said}, {self.reading}"


def _choices() -> Iterator[Choice]:
    for resolution in RESOLUTIONS:
        for sign in ("added", "removed", "both"):
            for threshold in THRESHOLDS_DB if sign != "both" else THRESHOLDS_DB[:1]:
                yield Choice(sign, threshold, resolution, "positive")
            yield Choice(sign, THRESHOLDS_DB[0], resolution, "absolute")
        yield Choice("removed", THRESHOLDS_DB[0], resolution, "negative")


CHOICES = {choice.name: choice for choice in _choices()}
"""All ways to measure, by name. "added" and "both" are read on the twin with the cue, "removed" on the twin without it,
where the energy still stands; its "negative" reading is that of the twin with the cue: evidence against the cue where
the energy is gone."""

RULER = tuple(name for name, choice in CHOICES.items() if choice.reading == "positive" and choice.sign != "both")
"""The choices that a statement must hold by, as far as the truth has cells there."""

BASE = "added, 3 dB, 1 bin"
"""The first of them, for tables of one column."""


def on_twin_with_cue(choice: Choice) -> bool:
    """Whether a choice reads the map of the twin with the cue."""
    return choice.sign != "removed" or choice.reading == "negative"


def truth_of(choice: Choice, difference: Tensor, stft: StftConfig) -> tuple[Tensor, bool]:
    """Cells (f, t), bool, of the truth that a choice names, and whether they are enough to be one."""
    cells = inside(pooled(difference, choice.resolution.cells(stft)), choice.sign, choice.threshold_db)
    n = int(cells.sum())
    return cells, FEWEST_CELLS <= n < cells.numel()


def measure(
    maps: Mapping[str, tuple[Tensor, bool]], difference: Tensor, stft: StftConfig, with_cue: bool
) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Hold maps of one recording against its truths.

    Args:
        maps: values (F, T) by recipe, and whether they are signed.
        difference: `difference_db` of the twins, (F, T).
        stft: settings of both.
        with_cue: whether the maps are of the twin with the cue, explained for "the cue is there", or of the other,
            explained for "it is not".

    Returns:
        By recipe: the score of every choice that reads this twin, keyed "score | choice"; LOCALIZATION by the positive
        reading at the first threshold, relevance_rank by all. And by choice the share of cells in the truth; by "near |
        choice" with the tolerance of `pointing_game`.
    """
    found: dict[str, dict[str, float]] = {recipe: {} for recipe in maps}
    areas: dict[str, float] = {}
    stacks = {s: [recipe for recipe, (_, signed) in maps.items() if signed is s] for s in (False, True)}
    evidences: dict[tuple[bool, Reading, Resolution], Tensor] = {}
    for name, choice in CHOICES.items():
        if on_twin_with_cue(choice) is not with_cue:
            continue
        truth, defined = truth_of(choice, difference, stft)
        areas[name] = float(truth.double().mean())
        if defined and LOCALIZATION[2] in _scored(choice):
            areas[f"near | {name}"] = float(tolerated(truth, choice.resolution, stft).double().mean())
        for signed, recipes in stacks.items():
            # A map without a sign has one reading.
            if not defined or not recipes or (not signed and choice.reading != "positive"):
                continue
            key = (signed, choice.reading if signed else "absolute", choice.resolution)
            if key not in evidences:
                values = torch.stack([maps[recipe][0] for recipe in recipes]).float()
                evidences[key] = read(values, key[1], choice.resolution.cells(stft))
            # A map without evidence is all ties: it scores what chance does, and has no mass.
            for score, values in _scores(evidences[key], truth, choice, stft).items():
                for index, recipe in enumerate(recipes):
                    found[recipe][f"{score} | {name}"] = float(values[index])
    return found, areas


BYSTANDER = ("bystander_auc", "bystander_rank")
"""How far a map marks what no class is told by: as a detector of its bins (one half is chance), and the share of the
strongest bins in it, of bins outside of the truth."""


def measure_bystander(
    maps: Mapping[str, tuple[Tensor, bool]], difference: Tensor, bystander: Tensor
) -> tuple[dict[str, dict[str, float]], float]:
    """Hold maps of the twin with the cue against a sound that both twins have.

    Bins where the twins differ are left out, for there the cue may be what is marked.

    Args:
        maps: values (F, T) by recipe, and whether they are signed.
        difference: `difference_db` of the twins, (F, T).
        bystander: how much louder every bin is with the bystander, (F, T), dB.

    Returns:
        BYSTANDER by recipe, and the share of the bins that are the bystander's, which `bystander_rank` has by chance.
    """
    outside = ~inside(difference, "both", THRESHOLDS_DB[0])
    members = inside(bystander, "added", THRESHOLDS_DB[0])[outside][None, None]
    if not FEWEST_CELLS <= int(members.sum()) < members.numel():
        return {}, float("nan")
    found = {}
    for recipe, (values, signed) in maps.items():
        evidence = read(values, "positive" if signed else "absolute", (1, 1))[outside][None, None]
        scores = detection_auc(evidence, members), rank_share(evidence, members)
        found[recipe] = dict(zip(BYSTANDER, map(float, scores), strict=True))
    return found, float(members.double().mean())


def measure_truth(difference: Tensor, stft: StftConfig, with_cue: bool) -> dict[str, float]:
    """What the truth itself scores, at the resolution and threshold of every choice that `measure` reads: 1."""
    found: dict[str, float] = {}
    for name, choice in CHOICES.items():
        if on_twin_with_cue(choice) is with_cue:
            truth, defined = truth_of(choice, difference, stft)
            if defined:
                scores = _scores(truth[None].float(), truth, choice, stft)
                found |= {f"{score} | {name}": float(values) for score, values in scores.items()}
    return found


def _scored(choice: Choice) -> tuple[str, ...]:
    whole = choice.reading == "positive" and choice.threshold_db == THRESHOLDS_DB[0] and choice.sign != "both"
    return LOCALIZATION if whole else LOCALIZATION[:1]


def _scores(evidence: Tensor, truth: Tensor, choice: Choice, stft: StftConfig) -> dict[str, Tensor]:
    found = {LOCALIZATION[0]: rank_share(evidence, truth)}
    if len(_scored(choice)) > 1:
        found["relevance_mass"] = mass_share(evidence, truth)
        found["pointing_game"] = strongest_share(evidence, tolerated(truth, choice.resolution, stft))
        found["localization_auc"] = detection_auc(evidence, truth)
    return found
