"""Pitch, harmonics-to-noise ratio and cepstral peak prominence are Praat's, within half a decibel and half a hertz.

Reference values are measured with Praat, so ours must be on its scale. The voices are made here and by the library,
ordinary and disordered; what Praat 6.1.38 (parselmouth 0.4.7) says of them is stored, so that the comparison runs
without it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import lfilter

from speechxai.data.synthetic import takes
from speechxai.signal.acoustics import measures, praat_measures

Signal = NDArray[np.float64]
NAMES = ("f0_mean_hz", "hnr_db", "cpps_db")
ONE_VOICE = {"f0_mean_hz": 1.0, "hnr_db": 2.0, "cpps_db": 0.7}
MEDIAN = {"f0_mean_hz": 0.2, "hnr_db": 0.5, "cpps_db": 0.5}
"""How far a single voice and the median of voices may be off, Hz and dB."""


def voice(
    rate_hz: int,
    f0_hz: float,
    *,
    jitter: float = 0.003,
    shimmer: float = 0.01,
    double: float = 0.0,
    breath: float = 0.02,
    vibrato: float = 0.0,
    seed: int = 0,
) -> Signal:
    """1.2 s of an open vowel.

    Args:
        rate_hz: sample rate.
        f0_hz: mean pitch.
        jitter, shimmer: standard deviation of a cycle's length and loudness, as shares of it.
        double: by how much every second cycle is longer and softer: a subharmonic.
        breath: noise of the source, as a share of the pulses.
        vibrato: semitones up and down, 5 times a second.
        seed: of cycles and noise.
    """
    rng = np.random.default_rng(seed)
    n_cycles = int(1.4 * f0_hz * (1 + vibrato))
    odd = (-1.0) ** np.arange(n_cycles)
    lengths = (1 + jitter * rng.standard_normal(n_cycles) + double * odd) / f0_hz
    lengths *= 2 ** (-vibrato / 12 * np.sin(2 * np.pi * 5 * np.arange(n_cycles) / f0_hz))
    starts = np.concatenate([[0.0], np.cumsum(lengths)])
    time_s = np.arange(int(1.2 * rate_hz)) / rate_hz
    phase = np.interp(time_s, starts, np.arange(n_cycles + 1))
    loud = 1 + shimmer * rng.standard_normal(n_cycles) + 2 * double * odd
    source = sum(np.cos(2 * np.pi * k * phase) / k for k in range(1, int(0.45 * rate_hz / f0_hz)))
    signal = source * loud[phase.astype(int)] + breath * rng.standard_normal(time_s.size) * np.sqrt(rate_hz / 8_000)
    for hz, width_hz in ((700, 90), (1_200, 110), (2_600, 140)):
        radius = np.exp(-np.pi * width_hz / rate_hz)
        signal = lfilter([1], [1, -2 * radius * np.cos(2 * np.pi * hz / rate_hz), radius**2], signal)
    return np.asarray(0.3 * signal / np.abs(signal).max())


@cache
def library() -> dict[str, Signal]:
    """Vowels that the library makes, the second and fourth with the signs of the disease."""
    made = [take for take in takes(4, 0) if take.utterance.task.startswith("vowel")]
    return {f"library {index}": take.recording().waveform.numpy().astype(float) for index, take in enumerate(made)}


CORRELATION = {
    "f0_mean_hz": 0.999,
    "jitter_local_percent": 0.9,
    "shimmer_local_percent": 0.9,
    "hnr_db": 0.98,
    "cpps_db": 0.99,
    "f1_hz": 0.97,
    "f2_hz": 0.9,
}
"""With Praat's values, over real voices, at least."""

MADE: dict[str, Callable[[int], Signal]] = {
    "low": lambda rate: voice(rate, 85),
    "male": lambda rate: voice(rate, 120),
    "female": lambda rate: voice(rate, 215),
    "child": lambda rate: voice(rate, 310),
    "jitter": lambda rate: voice(rate, 120, jitter=0.02, seed=1),
    "high and jitter": lambda rate: voice(rate, 220, jitter=0.025, seed=2),
    "shimmer": lambda rate: voice(rate, 120, shimmer=0.15, seed=3),
    "subharmonic": lambda rate: voice(rate, 190, double=0.02, seed=4),
    "strong subharmonic": lambda rate: voice(rate, 190, double=0.06, seed=5),
    "period doubled": lambda rate: voice(rate, 180, double=0.15, seed=6),
    "breathy": lambda rate: voice(rate, 150, breath=0.3, seed=7),
    "very breathy": lambda rate: voice(rate, 200, breath=0.5, seed=8),
    "rough and breathy": lambda rate: voice(rate, 110, jitter=0.015, shimmer=0.1, double=0.01, breath=0.3, seed=9),
    "vibrato": lambda rate: voice(rate, 160, vibrato=0.5, seed=10),
}

PRAAT: dict[str, tuple[float, float, float]] = {
    "low, 8 kHz": (84.98, 26.97, 21.59),
    "low, 16 kHz": (84.98, 26.92, 25.20),
    "male, 8 kHz": (119.97, 26.88, 21.81),
    "male, 16 kHz": (119.97, 27.03, 24.59),
    "female, 8 kHz": (215.01, 27.49, 20.23),
    "female, 16 kHz": (215.01, 29.51, 23.31),
    "child, 8 kHz": (310.04, 29.33, 17.33),
    "child, 16 kHz": (310.04, 29.56, 20.36),
    "jitter, 8 kHz": (120.22, 13.59, 17.62),
    "jitter, 16 kHz": (120.21, 13.81, 23.40),
    "high and jitter, 8 kHz": (220.51, 13.25, 16.12),
    "high and jitter, 16 kHz": (220.52, 13.50, 21.36),
    "shimmer, 8 kHz": (120.02, 18.49, 19.91),
    "shimmer, 16 kHz": (120.02, 18.80, 23.62),
    "subharmonic, 8 kHz": (94.98, 25.15, 21.43),
    "subharmonic, 16 kHz": (94.98, 25.85, 25.03),
    "strong subharmonic, 8 kHz": (95.01, 24.18, 21.55),
    "strong subharmonic, 16 kHz": (95.01, 24.62, 23.77),
    "period doubled, 8 kHz": (89.97, 21.22, 20.40),
    "period doubled, 16 kHz": (89.98, 22.72, 22.13),
    "breathy, 8 kHz": (150.01, 8.66, 12.48),
    "breathy, 16 kHz": (150.00, 9.27, 12.69),
    "very breathy, 8 kHz": (131.48, 4.67, 8.59),
    "very breathy, 16 kHz": (100.00, 4.64, 8.53),
    "rough and breathy, 8 kHz": (110.08, 5.22, 11.33),
    "rough and breathy, 16 kHz": (109.88, 5.55, 11.38),
    "vibrato, 8 kHz": (160.11, 23.85, 22.36),
    "vibrato, 16 kHz": (160.11, 23.81, 25.68),
    "male, 44 kHz": (119.97, 27.22, 24.58),
    "rough and breathy, 44 kHz": (110.00, 5.27, 11.25),
    "library 0": (201.56, 22.07, 20.47),
    "library 1": (217.00, 22.61, 19.04),
    "library 2": (159.86, 22.55, 21.65),
    "library 3": (107.78, 17.88, 21.32),
}
"""f0_mean_hz, hnr_db and cpps_db by Praat."""


@cache
def voices() -> dict[str, tuple[Signal, int]]:
    """Every voice with its sample rate, Hz."""
    made = {f"{name}, {rate // 1000} kHz": (MADE[name](rate), rate) for name in MADE for rate in (8_000, 16_000)}
    other = {f"{name}, 44 kHz": (MADE[name](44_100), 44_100) for name in ("male", "rough and breathy")}
    return made | other | {name: (signal, 16_000) for name, signal in library().items()}


@cache
def ours(name: str) -> dict[str, float]:
    signal, rate_hz = voices()[name]
    return measures(signal, rate_hz)


@pytest.mark.parametrize("name", PRAAT)
def test_one_voice(name: str) -> None:
    for measure, praat in zip(NAMES, PRAAT[name], strict=True):
        assert ours(name)[measure] == pytest.approx(praat, abs=ONE_VOICE[measure]), measure


def test_the_median_of_the_voices() -> None:
    assert set(PRAAT) == set(voices())
    for measure, praat in zip(NAMES, zip(*PRAAT.values(), strict=True), strict=True):
        off = np.array([ours(name)[measure] for name in PRAAT]) - praat
        print(f"{measure}: median off by {np.median(off):.3f}, {np.median(np.abs(off)):.3f} whatever its sign")
        assert np.median(np.abs(off)) < MEDIAN[measure], measure


@pytest.mark.parametrize("name", ["male, 8 kHz", "period doubled, 16 kHz", "very breathy, 16 kHz", "library 1"])
def test_praat_still_says_so(name: str) -> None:
    pytest.importorskip("parselmouth", reason="Praat is not installed: pip install 'speechxai[clinical]'")
    found = praat_measures(*voices()[name])
    assert tuple(found[measure] for measure in NAMES) == pytest.approx(PRAAT[name], abs=0.05)


def test_real_voices(shared_data: Callable[[str], Path]) -> None:
    pytest.importorskip("parselmouth", reason="Praat is not installed: pip install 'speechxai[clinical]'")
    import soundfile

    files = sorted((shared_data("figshare-voice") / "audio").glob("*.wav"))[::11]
    found, praat = [], []
    for file in files:
        # A second each: Praat's cepstrum takes four times as long as the voice.
        signal, rate_hz = soundfile.read(file, frames=8_000)
        found.append(measures(signal, rate_hz))
        praat.append(praat_measures(signal, rate_hz))
    for measure, least in CORRELATION.items():
        pairs = np.array([[a[measure], b[measure]] for a, b in zip(found, praat, strict=True)])
        assert np.corrcoef(pairs.T)[0, 1] > least, measure
        if measure in NAMES:
            off = np.abs(pairs[:, 0] - pairs[:, 1])
            print(f"{measure}: {len(files)} real voices, median off by {np.median(off):.3f}, at most {off.max():.3f}")
            assert np.median(off) < MEDIAN[measure], measure
            assert off.max() < ONE_VOICE[measure], measure
