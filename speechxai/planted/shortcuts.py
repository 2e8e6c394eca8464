"""What is heard in a recording and is no sign: recording conditions that go with the class, and bystanders.

A network that learns a *shortcut* tells the classes apart by the recording; would its map have told? A *bystander* is
in both classes alike, so that no network has a reason to use it; a map that marks it is wrong. Both have a known place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from speechxai.signal.audio import coded
from speechxai.types import Array

Condition = Callable[[Array, int, np.random.Generator, float], Array]
"""`(waveform (N,), sample_rate, generator, severity from 0 to 1) -> waveform (N,)`."""

HUM_HZ = 50.0
LOUDEST_DB = {"mains_hum": -24.0, "noise_floor": -30.0}
"""Power relative to the whole recording's at severity 1; 30 dB less at severity 0."""
BYSTANDER_HZ = (1200.0, 2800.0)
BYSTANDER_SHARE = 0.3
"""How long a bystander lasts, as a share of the recording."""


def _added(waveform: Array, sound: Array, level_db: float) -> Array:
    power = float(np.square(waveform).mean()) * 10 ** (level_db / 10)
    return np.asarray(waveform + sound * np.sqrt(power / max(float(np.square(sound).mean()), 1e-20)))


def mains_hum(waveform: Array, sample_rate: int, generator: np.random.Generator, severity: float) -> Array:
    """Mains hum: 50 Hz and its harmonics up to 600 Hz, 3 dB less for each, of any phase."""
    time = np.arange(waveform.shape[0]) / sample_rate
    partials = np.arange(1, int(600 / HUM_HZ) + 1)
    phases = generator.uniform(0, 2 * np.pi, partials.shape[0])
    sound = sum(
        10 ** (-3 * (k - 1) / 20) * np.sin(2 * np.pi * HUM_HZ * k * time + phase)
        for k, phase in zip(partials, phases, strict=True)
    )
    return _added(waveform, np.asarray(sound), LOUDEST_DB["mains_hum"] - 30 * (1 - severity))


def noise_floor(waveform: Array, sample_rate: int, generator: np.random.Generator, severity: float) -> Array:
    """The noise of another room: white up to 500 Hz, 3 dB less in each octave above."""
    spectrum = np.fft.rfft(generator.standard_normal(waveform.shape[0]))
    frequency = np.fft.rfftfreq(waveform.shape[0], 1 / sample_rate)
    sound = np.fft.irfft(spectrum / np.sqrt(np.maximum(frequency / 500, 1.0)), waveform.shape[0])
    return _added(waveform, sound, LOUDEST_DB["noise_floor"] - 30 * (1 - severity))


def codec(waveform: Array, sample_rate: int, generator: np.random.Generator, severity: float) -> Array:
    """A recording that was kept as mu-law, as telephones do; a lower severity keeps a share of the original."""
    peak = max(float(np.abs(waveform).max()), 1e-9)
    back = peak * coded(waveform / peak, sample_rate, "ULAW")
    return np.asarray(waveform + severity * (back - waveform))


SHORTCUTS: Mapping[str, Condition] = {"mains_hum": mains_hum, "noise_floor": noise_floor, "codec": codec}
"""Conditions that a task may teach in place of a cue, by name."""


def bystander(n_samples: int, sample_rate: int, energy: float, generator: np.random.Generator) -> Array:
    """A burst of noise between 1.2 and 2.8 kHz at a place drawn by chance, (N,), with that sum of squares."""
    length = round(BYSTANDER_SHARE * n_samples)
    spectrum = np.fft.rfft(generator.standard_normal(length))
    frequency = np.fft.rfftfreq(length, 1 / sample_rate)
    spectrum[(frequency < BYSTANDER_HZ[0]) | (frequency > BYSTANDER_HZ[1])] = 0
    ramp = np.minimum(np.arange(length), np.arange(length)[::-1]) / (0.02 * sample_rate)
    burst = np.fft.irfft(spectrum, length) * (0.5 - 0.5 * np.cos(np.pi * np.clip(ramp, 0, 1)))
    sound = np.zeros(n_samples)
    start = int(generator.integers(n_samples - length + 1))
    sound[start : start + length] = burst * np.sqrt(energy / max(float(np.square(burst).sum()), 1e-20))
    return sound
