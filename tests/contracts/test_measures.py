"""Every acoustic measure has a value that follows from how a signal was made, and where Praat has it, a stated
tolerance.

A measure without an entry here fails: whoever adds one says what it must be, by hand.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import lfilter

from speechxai.signal.acoustics import MEASURE_NAMES, measures, praat_measures

RATE = 16_000
Signal = NDArray[np.float64]


class Golden(NamedTuple):
    """A signal, the value that a measure must have on it, and how far it may be off."""

    signal: Callable[[], Signal]
    value: float
    tolerance: float


def seconds(duration_s: float) -> Signal:
    return np.arange(int(duration_s * RATE)) / RATE


def partials(f0_hz: float | Signal, time_s: Signal, n: int = 10) -> Signal:
    """Harmonics of amplitude 0.2 / k under a pitch that may move."""
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(f0_hz, time_s.shape)) / RATE
    return np.asarray(0.2 * sum(np.sin(k * phase) / k for k in range(1, n + 1)))


@cache
def two_pitches() -> Signal:
    """Half of the time 120 Hz, half of it 12 semitones / 4 higher."""
    time_s = seconds(4.0)
    return partials(np.where(time_s < 2.0, 120.0, 120.0 * 2 ** (3 / 12)), time_s)


@cache
def climbing() -> Signal:
    """From 120 Hz up an octave, the same number of semitones in every second."""
    time_s = seconds(4.0)
    return partials(120.0 * 2 ** (time_s / 4), time_s)


@cache
def tremulous() -> Signal:
    """5 Hz: the pitch by one semitone up and down, the level by 3 dB up and down."""
    time_s = seconds(3.0)
    beat = np.sin(2 * np.pi * 5 * time_s)
    return partials(150.0 * 2 ** (beat / 12), time_s) * 10 ** (3 * beat / 20)


def pulses(periods: Signal, loudness: Signal) -> Signal:
    """Pulses at whole samples through one resonance (700 Hz) that has died away before the next one."""
    marks = (100 + np.concatenate([[0], np.cumsum(periods)])).astype(int)
    signal = np.zeros(marks[-1] + 400)
    signal[marks] = loudness
    radius = math.exp(-math.pi * 400 / RATE)
    return np.asarray(0.3 * lfilter([1], [1, -2 * radius * math.cos(2 * math.pi * 700 / RATE), radius**2], signal))


@cache
def rough() -> Signal:
    """Periods of 128 and 132 samples in turn, 130 on average."""
    return pulses(np.tile([128.0, 132.0], 100), np.ones(201))


@cache
def uneven() -> Signal:
    """Amplitudes of 1.1 and 0.9 in turn."""
    return pulses(np.full(200, 130.0), np.append(np.tile([1.1, 0.9], 100), 1.1))


@cache
def swelling() -> Signal:
    """Amplitudes of 1 + 0.1 sin(2 pi k / 11), which come again after eleven cycles."""
    return pulses(np.full(198, 130.0), 1 + 0.1 * np.sin(2 * np.pi * np.arange(199) / 11))


@cache
def noisy() -> Signal:
    """Harmonics with noise 10 dB below them."""
    tone = partials(140.0, seconds(2.0))
    noise = np.random.default_rng(4).standard_normal(tone.shape[0])
    return np.asarray(tone + noise * tone.std() / noise.std() * 10 ** (-10 / 20))


@cache
def six_octaves() -> Signal:
    """Harmonics of 200 Hz at 200, 400, 800, 1600, 3200 and 6400 Hz: powers 32, 16, 8, 4, 2, 1 of 63."""
    time_s = seconds(1.5)
    return np.asarray(
        sum(0.2 * math.sqrt(2.0**-k) * np.sin(2 * np.pi * 200 * 2**k * time_s + 0.7 * k) for k in range(6))
    )


@cache
def falling() -> Signal:
    """All harmonics of 100 Hz with amplitudes 1 / k; their phases k^2, so that no peak stands out."""
    time_s = seconds(1.5)
    return np.asarray(0.1 * sum(np.sin(2 * np.pi * 100 * k * time_s + k * k) / k for k in range(1, 80)))


@cache
def resonant() -> Signal:
    """A pulse train of 100 Hz through resonances at 600 and 1400 Hz, 60 Hz wide."""
    signal = np.zeros(2 * RATE)
    signal[:: RATE // 100] = 1
    for hz in (600.0, 1400.0):
        radius = math.exp(-math.pi * 60 / RATE)
        signal = lfilter([1], [1, -2 * radius * math.cos(2 * math.pi * hz / RATE), radius**2], signal)
    return np.asarray(0.2 * signal / np.abs(signal).max())


@cache
def two_vowels() -> Signal:
    """The second resonance at 1000 Hz for a second, then an octave higher for a second."""
    signal = np.zeros(2 * RATE)
    signal[:: RATE // 100] = 1
    parts = []
    for piece, second in ((signal[:RATE], 1000.0), (signal[RATE:], 2000.0)):
        for hz in (500.0, second, 2700.0, 3600.0):
            radius = math.exp(-math.pi * 60 / RATE)
            piece = lfilter([1], [1, -2 * radius * math.cos(2 * math.pi * hz / RATE), radius**2], piece)
        parts.append(0.2 * piece / np.abs(piece).max())
    return np.concatenate(parts)


@cache
def two_levels() -> Signal:
    """A second at full level, a second 6 dB lower."""
    return partials(150.0, seconds(2.0)) * np.where(seconds(2.0) < 1.0, 1.0, 10 ** (-6 / 20))


@cache
def half_voiced() -> Signal:
    """A second of voice, a second of noise of the same power."""
    voice = partials(150.0, seconds(1.0))
    noise = np.random.default_rng(5).standard_normal(RATE)
    return np.concatenate([voice, noise * voice.std() / noise.std()])


@cache
def with_pauses() -> Signal:
    """Speech 1 s, pause 0.5 s, speech 1 s, pause 0.22 s, speech 1 s.

    The silence around it is no pause, nor is the 0.1 s in the middle of every second of speech: a stop is as long.
    """
    half, stop = partials(150.0, seconds(0.45)), np.zeros(RATE // 10)
    speech, long, short = np.concatenate([half, stop, half]), np.zeros(RATE // 2), np.zeros(int(0.22 * RATE))
    return np.concatenate([np.zeros(RATE // 2), speech, long, speech, short, speech, np.zeros(RATE)])


def syllables(steps_s: list[float]) -> Signal:
    """Bumps of 0.1 s of voice, their centers so many seconds apart."""
    centers = 0.3 + np.concatenate([[0.0], np.cumsum(steps_s)])
    time_s = seconds(centers[-1] + 0.4)
    level = sum(np.exp(-0.5 * ((time_s - center) / 0.04) ** 2) for center in centers)
    return np.asarray(partials(150.0, time_s) * np.maximum(level, 1e-4))


@cache
def fading() -> Signal:
    """6 dB less in every second."""
    time_s = seconds(2.0)
    return partials(150.0, time_s) * 10 ** (-6 * time_s / 20)


@cache
def four_stops() -> Signal:
    """Vowels of 0.2 s; between them 80 ms of a 3 kHz tone of amplitude 0.002, then 20 ms of it a hundred times as
    loud."""
    vowel = partials(150.0, seconds(0.2))
    tone = np.sin(2 * np.pi * 3000 * seconds(0.1)) * np.where(seconds(0.1) < 0.08, 0.002, 0.2)
    return np.concatenate([*[vowel, tone] * 4, vowel])


GOLDEN: dict[str, Golden] = {
    # Half of the frames at 120, half at 120 * 2^(1/4) = 142.7 Hz: mean 131.35; three semitones apart, so a standard
    # deviation of 1.5. Of twelve semitones climbed evenly, nine tenths lie between the 5th and the 95th percentile.
    "f0_mean_hz": Golden(two_pitches, 131.35, 0.7),
    # Half of the climb is done at 120 sqrt(2) Hz: 12 log2(1.2 sqrt(2)) = 3.156 + 6.
    "f0_median_semitones": Golden(climbing, 9.156, 0.1),
    "f0_sd_semitones": Golden(two_pitches, 1.5, 0.03),
    "f0_range_semitones": Golden(climbing, 0.9 * 12, 0.2),
    # Neighbors differ by 4 of 130 samples: 3.077 %. Against the mean of five (130 - 2/5 or + 2/5 on the other side) a
    # period
    # is 2 - 0.4 = 1.6 samples off: 1.231 %.
    "jitter_local_percent": Golden(rough, 100 * 4 / 130, 0.15),
    "jitter_ppq5_percent": Golden(rough, 100 * 1.6 / 130, 0.1),
    # Neighbors differ by 0.2 of a mean of 1: 20 %, or 20 log10(1.1 / 0.9) = 1.743 dB. Where amplitudes
    # come again after eleven, the mean of any eleven is 1, and each is as far off as its sine: the mean of |sin| over
    # the eleven, 2 / 11 (.541 + .910 + .990 + .756 + .282) = .632, times 0.1: 6.32 %.
    "shimmer_local_percent": Golden(uneven, 20.0, 0.6),
    "shimmer_local_db": Golden(uneven, 1.743, 0.06),
    "shimmer_apq11_percent": Golden(swelling, 6.32, 0.25),
    "hnr_db": Golden(noisy, 10.0, 0.6),
    # No closed form: what Praat 6.1.38 gives for this signal.
    "cpps_db": Golden(noisy, 13.04, 0.3),
    # Amplitudes of 1 / k: half with every octave, -6.02 dB.
    "spectral_tilt_db_per_octave": Golden(falling, -6.02, 0.3),
    # (200 * 32 + 400 * 16 + 800 * 8 + 1600 * 4 + 3200 * 2 + 6400) / 63 = 609.5
    "spectral_centroid_hz": Golden(six_octaves, 609.5, 6.0),
    # 10 log10(2^(5 - k) / 63)
    "band_125_250_db": Golden(six_octaves, -2.94, 0.1),
    "band_250_500_db": Golden(six_octaves, -5.95, 0.1),
    "band_500_1000_db": Golden(six_octaves, -8.96, 0.1),
    "band_1000_2000_db": Golden(six_octaves, -11.97, 0.1),
    "band_2000_4000_db": Golden(six_octaves, -14.98, 0.1),
    "band_4000_8000_db": Golden(six_octaves, -17.99, 0.1),
    "f1_hz": Golden(resonant, 600.0, 25.0),
    "f2_hz": Golden(resonant, 1400.0, 40.0),
    "f2_range_octaves": Golden(two_vowels, 1.0, 0.06),
    # log2(600 / 500) = 0.263 and log2(1400 / 1500) = -0.0995 octaves: together sqrt(0.0692 + 0.0099) = 0.281.
    "formant_distance_octaves": Golden(resonant, 0.281, 0.05),
    # A sine of amplitude 3 dB has the standard deviation 3 / sqrt(2); one of a semitone 1 / sqrt(2). Frames of 25 ms
    # and
    # of three periods smooth a little of it away.
    "amplitude_tremor_db": Golden(tremulous, 3 / math.sqrt(2), 0.12),
    "pitch_tremor_semitones": Golden(tremulous, 1 / math.sqrt(2), 0.05),
    # Half of the frames 6 dB below the others: 3 dB.
    "intensity_sd_db": Golden(two_levels, 3.0, 0.15),
    "level_slope_db_per_s": Golden(fading, -6.0, 0.1),
    # A hundred times the amplitude: 40 dB.
    "burst_contrast_db": Golden(four_stops, 40.0, 0.5),
    "voiced_share": Golden(half_voiced, 0.5, 0.03),
    # Pauses of 0.5 and 0.22 s in 3.72 s from the first to the last sound; frames of 25 ms hear the speech at
    # either end.
    "pause_ratio": Golden(with_pauses, 0.72 / 3.72, 0.03),
    # Steps of 0.2 s: 5 syllables a second, no irregularity there; of 0.2 and 0.3 s in turn: 0.05 / 0.25 = 0.2.
    "syllable_rate_hz": Golden(lambda: syllables([0.2] * 9), 5.0, 0.1),
    "syllable_irregularity": Golden(lambda: syllables([0.2, 0.3] * 5), 0.2, 0.02),
}

PRAAT: dict[str, float] = {
    "f0_mean_hz": 1.0,
    "f0_sd_semitones": 0.1,
    "jitter_local_percent": 0.3,
    "jitter_ppq5_percent": 0.3,
    "shimmer_local_percent": 1.5,
    "shimmer_local_db": 0.15,
    "shimmer_apq11_percent": 1.0,
    "hnr_db": 0.5,
    "cpps_db": 0.5,
    "f1_hz": 30.0,
    "f2_hz": 60.0,
}
"""How far a measure may be from Praat's on the same signal, in its own unit."""


def test_every_measure_has_a_value_by_hand() -> None:
    assert tuple(GOLDEN) == MEASURE_NAMES


@pytest.mark.parametrize("name", MEASURE_NAMES)
def test_value_by_hand(name: str) -> None:
    golden = GOLDEN[name]
    assert measures(golden.signal(), RATE)[name] == pytest.approx(golden.value, abs=golden.tolerance)


@pytest.mark.parametrize("name", PRAAT)
def test_praat_says_the_same(name: str) -> None:
    pytest.importorskip("parselmouth")
    signal = GOLDEN[name].signal()
    assert measures(signal, RATE)[name] == pytest.approx(praat_measures(signal, RATE)[name], abs=PRAAT[name])


def test_praat_tolerances_cover_what_praat_measures() -> None:
    pytest.importorskip("parselmouth")
    assert set(PRAAT) == set(praat_measures(np.zeros(10), RATE))


def wavering(depth_db: float, rate_hz: float) -> Signal:
    """A held vowel whose level goes so far up and down so often."""
    time_s = seconds(3.0)
    return partials(150.0, time_s) * 10 ** (depth_db * np.sin(2 * np.pi * rate_hz * time_s) / 20)


def broken() -> Signal:
    """A held vowel that breaks off for 60 ms every second."""
    time_s = seconds(3.2)
    return partials(150.0, time_s) * np.where(time_s % 1.0 > 0.94, 0.003, 1.0)


@pytest.mark.parametrize(
    "signal",
    [
        lambda: partials(150.0, seconds(2.0)),
        noisy,
        tremulous,
        climbing,
        lambda: wavering(3.0, 2.3),
        lambda: wavering(4.0, 5.0),
        broken,
        lambda: np.concatenate([wavering(4.0, 3.0), np.zeros(RATE // 2), wavering(4.0, 3.0)]),
    ],
    ids=["steady", "noisy", "tremulous", "climbing", "slow waver", "strong tremor", "broken", "twice"],
)
def test_a_held_vowel_has_no_syllables(signal: Callable[[], Signal]) -> None:
    found = measures(signal(), RATE)
    assert math.isnan(found["syllable_rate_hz"])
    assert math.isnan(found["syllable_irregularity"])


@pytest.mark.parametrize("step_s", [0.16, 0.2, 0.35, 0.6])
def test_trains_of_syllables_fast_and_slow_have_a_rate(step_s: float) -> None:
    assert measures(syllables([step_s] * 9), RATE)["syllable_rate_hz"] == pytest.approx(1 / step_s, rel=0.03)
