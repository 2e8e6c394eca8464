"""Evidence by unit, by hand: a grid of four intervals, a map of 3 x 8, two speakers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from speechxai.errors import NotApplicable
from speechxai.types import Spectrogram, StftConfig
from speechxai.units.relevance import ALL, LEAST_RATIO, Relevance, cohort, first, frame, inside, relevance, table
from speechxai.units.removal import N_MOVED, frames_of, removals
from speechxai.units.tiers import Unit, Units

# 0.7 s at 10 frames a second: frame t stands for t - 0.05 s to t + 0.05 s, the first and last for half of that.
PHONES = (
    Unit(0.0, 0.15, "", "pause"),
    Unit(0.15, 0.3, "T", "stop"),
    Unit(0.3, 0.55, "AA1", "low vowel"),
    Unit(0.55, 0.7, "IY0", "high vowel"),
)
WORDS = (Unit(0.0, 0.15, "", "pause"), Unit(0.15, 0.7, "tahi", "word"))
UNITS = Units(PHONES, WORDS, "hand.TextGrid", 0.7)
EVIDENCE = np.array(
    [
        [0, 0, 4, 1, 0, 0, 0, 0],
        [0, 0, 2, 1, 1, 1, 0, 0],
        [1, 1, 2, 2, 0, 1, 1, 2],
    ],
    dtype=float,
)
"""By frame 1, 1, 8, 4, 1, 2, 1, 2: 20 in all."""
ENERGY = np.full((3, 8), 0.5)
"""By frame 1.5: 12 in all."""


def test_frames_are_shared_by_the_units_that_they_touch() -> None:
    # The pause holds frames 0 and 1; T frame 2 and half of 3; AA1 the other half, 4 and 5; IY0 6 and 7.
    assert inside(PHONES, EVIDENCE, 10.0, 0.7) == pytest.approx([2.0, 10.0, 5.0, 3.0])
    assert inside(PHONES, ENERGY, 10.0, 0.7) == pytest.approx([3.0, 2.25, 3.75, 3.0])


def test_units_shorter_than_a_frame() -> None:
    burst = (Unit(0.2, 0.21, "burst", "stop"), Unit(0.69, 0.7, "x", "unknown"))
    # A tenth of frame 2, and a fifth of the last, which is half as long.
    assert inside(burst, EVIDENCE, 10.0, 0.7) == pytest.approx([0.8, 0.4])


def rows() -> dict[tuple[str, str], Relevance]:
    found = relevance(UNITS, EVIDENCE, ENERGY, 10.0)
    return {(r.level, r.name): r for r in found if not r.level.startswith("each")}


@pytest.mark.parametrize(
    ("level", "name", "share", "time", "energy", "density"),
    [
        ("class", "stop", 0.5, 0.15 / 0.7, 0.1875, 10 / 0.15),
        ("class", "vowel", 0.4, 0.4 / 0.7, 0.5625, 8 / 0.4),
        ("class", "pause", 0.1, 0.15 / 0.7, 0.25, 2 / 0.15),
        ("vowel height", "low vowel", 0.25, 0.25 / 0.7, 0.3125, 5 / 0.25),
        ("vowel height", "high vowel", 0.15, 0.15 / 0.7, 0.25, 3 / 0.15),
        ("phone", "T", 0.5, 0.15 / 0.7, 0.1875, 10 / 0.15),
        ("word", "tahi", 0.9, 0.55 / 0.7, 0.75, 18 / 0.55),
        ("word", "(pause)", 0.1, 0.15 / 0.7, 0.25, 2 / 0.15),
    ],
)
def test_share_density_and_floors(
    level: str, name: str, share: float, time: float, energy: float, density: float
) -> None:
    one = rows()[level, name]
    assert (one.share, one.share_of_time, one.share_of_energy) == pytest.approx((share, time, energy))
    assert one.density_per_s == pytest.approx(density)
    assert (one.over_time, one.over_energy) == pytest.approx((share / time, share / energy))
    assert one.over_floors == pytest.approx(min(share / time, share / energy))


def test_every_unit_alone_and_the_table() -> None:
    found = relevance(UNITS, EVIDENCE, ENERGY, 10.0)
    alone = [(r.name, r.start_s, r.end_s, r.share) for r in found if r.level == "each phone"]
    assert [a[:3] for a in alone] == [("(pause)", 0, 0.15), ("T", 0.15, 0.3), ("AA1", 0.3, 0.55), ("IY0", 0.55, 0.7)]
    assert [a[3] for a in alone] == pytest.approx([0.1, 0.5, 0.25, 0.15])
    assert first(found) == first(found, "density_per_s") == "stop"
    lines = table({"saliency": found})
    assert lines[0][:5] == ["recipe", "level", "name", "kind", "n"]
    assert lines[1] == [
        "saliency",
        "class",
        "stop",
        "stop",
        1,
        "",
        "",
        0.15,
        10.0,
        66.6667,
        0.5,
        0.214286,
        0.1875,
        2.33333,
        2.66667,
        2.33333,
    ]


def test_nothing_to_share() -> None:
    empty = {r.name: r for r in relevance(UNITS, 0 * EVIDENCE, ENERGY, 10.0) if r.level == "class"}
    assert math.isnan(empty["stop"].share)
    assert math.isnan(empty["stop"].over_floors)
    assert empty["stop"].density_per_s == 0
    assert first(list(empty.values())) == ""
    silent = {r.name: r for r in relevance(UNITS, EVIDENCE, 0 * ENERGY, 10.0) if r.level == "class"}
    assert silent["stop"].over_time == pytest.approx(0.5 / (0.15 / 0.7))
    assert math.isnan(silent["stop"].over_energy)
    assert math.isnan(silent["stop"].over_floors)


def test_cohort_counts_every_speaker_once() -> None:
    vowels = Units((Unit(0.0, 0.7, "AA1", "low vowel"),), (), "other.TextGrid", 0.7)
    with_stops, without = (relevance(u, EVIDENCE, ENERGY, 10.0) for u in (UNITS, vowels))
    quiet = EVIDENCE.copy()
    quiet[:, 2] = 0  # T keeps half of frame 3: 2 of 12
    changed = relevance(UNITS, quiet, ENERGY, 10.0)
    given = [
        ("a1", "a", "HC", with_stops),
        ("a2", "a", "HC", changed),
        ("a3", "a", "HC", without),
        ("b1", "b", "HC", changed),
        ("c1", "c", "PD", without),
    ]
    keys = ("recording", "speaker", "label", "rows")
    found = cohort(frame([{**dict(zip(keys, one, strict=True)), "recipe": "saliency"} for one in given]))
    by = {(row["label"], row["name"]): row for _, row in found.iterrows()}
    # Speaker a has 1/2 and 1/6 in stops, and one recording without any; b has 1/6.
    mean, spread = (1 / 3 + 1 / 6) / 2, math.sqrt(((1 / 3 - 1 / 6) ** 2 / 2) / 2)
    stops = by["HC", "stop"]
    assert stops["n_speakers"] == 2
    assert stops["share"] == pytest.approx(mean)
    assert stops["share_high"] - mean == pytest.approx(12.7062 * spread, rel=1e-4)
    assert by[ALL, "stop"]["n_speakers"] == 2
    assert by[ALL, "vowel"]["n_speakers"] == 3
    absent = by["PD", "stop"]
    assert absent["n_speakers"] == 0
    assert math.isnan(absent["share"])
    assert math.isnan(absent["over_floors_low"])
    alone = by["PD", "vowel"]
    assert (alone["share"], alone["over_time"], alone["n_speakers"]) == (1, 1, 1)
    assert math.isnan(alone["share_low"])


def test_ratios_of_a_cohort_are_of_logarithms() -> None:
    """Speaker a has 4 and 1 (geometric mean 2) and one of none; b has 8; c has 0, which counts as 1/100. Their
    logarithms are 1, 3 and -log2(100) to base 2."""
    given = [("a1", "a", 4.0), ("a2", "a", 1.0), ("a3", "a", math.nan), ("b1", "b", 8.0), ("c1", "c", 0.0)]
    rows = [
        {
            "recording": recording,
            "speaker": speaker,
            "label": "HC",
            "recipe": "saliency",
            # number, seconds, three shares, density, three ratios
            "rows": {"class|affricate": [1, 0.1, ratio / 8, 0.5, 0.5, 3 * ratio, ratio, 2 * ratio, ratio]},
        }
        for recording, speaker, ratio in given
    ]
    found = cohort(frame(rows)).iloc[0]
    logs = [1.0, 3.0, -math.log2(100)]
    mean = (4 - math.log2(100)) / 3
    spread = math.sqrt(sum((one - mean) ** 2 for one in logs) / 2 / 3)
    assert found["over_floors"] == found["over_time"] == pytest.approx(2**mean)
    # 97.5 % of Student's t with 2 degrees of freedom
    assert 2 ** (mean - 4.302653 * spread) < LEAST_RATIO == found["over_floors_low"] == 0.01
    assert found["over_floors_high"] == pytest.approx(2 ** (mean + 4.302653 * spread), rel=1e-6)
    # twice as much everywhere but at the floor
    assert found["over_energy"] == pytest.approx(2 ** (mean + 2 / 3))
    # Means of shares and densities are plain: of speakers' shares 5/16, 1 and 0.
    assert (found["share"], found["density_per_s"]) == pytest.approx((21 / 48, 10.5))


class LinearNetwork(nn.Module):
    """logit_1 = sum of w_t * X_t, w = 1 2 3 4 5 6 7 8 by frame."""

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        score = (magnitude * torch.arange(1.0, 9.0)).sum(dim=(1, 2))
        return torch.stack([-score, score], dim=1)


def test_frames_that_units_cover() -> None:
    assert frames_of(PHONES[:1], 8, 10.0, 0.7) == pytest.approx([1, 1, 0, 0, 0, 0, 0, 0])
    assert frames_of(PHONES[1:2], 8, 10.0, 0.7) == pytest.approx([0, 0, 1, 0.5, 0, 0, 0, 0])
    assert frames_of(PHONES[1:3], 8, 10.0, 0.7) == pytest.approx([0, 0, 1, 1, 1, 1, 0, 0])
    assert frames_of(PHONES[3:], 8, 10.0, 0.7) == pytest.approx([0, 0, 0, 0, 0, 0, 1, 1])
    assert frames_of(PHONES[3:], 10, 10.0, 0.7) == pytest.approx([0, 0, 0, 0, 0, 0, 1, 1, 1, 1])


def test_the_answer_without_a_class() -> None:
    stft = StftConfig(n_fft=4, win_length=4, hop_length=2, sample_rate=20, scale="linear")
    # Frame 0 is the noise floor, 0.5 in all three bins, and every other is 2: a frame that is silenced loses 4.5.
    magnitude = torch.full((1, 3, 8), 2.0)
    magnitude[..., 0] = 0.5
    spec = Spectrogram(magnitude, torch.zeros_like(magnitude), 14, stft)
    found = {one.name: one for one in removals(LinearNetwork(), spec, 1, UNITS)}
    assert list(found) == ["stop", "vowel", "high vowel", "low vowel", "pause"]
    weights = {"stop": 3 + 0.5 * 4, "low vowel": 0.5 * 4 + 5 + 6, "high vowel": 7 + 8, "pause": 2}
    assert found["vowel"].fall == pytest.approx(found["low vowel"].fall + found["high vowel"].fall)
    for name, weight in weights.items():
        assert found[name].fall == pytest.approx(4.5 * weight), name
    assert {len(one.moved) for one in found.values()} == {N_MOVED}
    assert found["pause"].n_below == 0
    against = {one.name: one.fall for one in removals(LinearNetwork(), spec, 0, UNITS)}
    assert against["stop"] == pytest.approx(-4.5 * 5)


def test_what_has_no_phones_is_not_applicable() -> None:
    stft = StftConfig(n_fft=4, win_length=4, hop_length=2, sample_rate=20, scale="linear")
    both = Spectrogram(torch.ones(2, 3, 8), torch.zeros(2, 3, 8), 14, stft)
    one = Spectrogram(torch.ones(1, 3, 8), torch.zeros(1, 3, 8), 14, stft)
    with pytest.raises(NotApplicable, match="there are several"):
        removals(LinearNetwork(), both, 1, UNITS)
    with pytest.raises(NotApplicable, match=r"hand\.TextGrid: no phones"):
        removals(LinearNetwork(), one, 1, Units((), WORDS, "hand.TextGrid", 0.7))
