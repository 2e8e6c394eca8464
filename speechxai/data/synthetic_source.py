"""The voice behind the synthetic corpus: glottal pulses and noise through resonators that move.

A source-filter synthesizer in the manner of Klatt and Klatt 1990 (klatt1990analysis): polynomial glottal pulses, noise
that breathes with the glottis, a cascade of resonators up to Nyquist, noise bursts for consonants.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.linalg.lapack import dtbtrs
from scipy.signal import butter, lfilter, resample_poly, sosfilt

FloatArray = npt.NDArray[np.float64]

SAMPLE_RATE = 16_000
"""Hz, of everything synthetic."""

BLOCK = 40
"""Samples per control step (2.5 ms): formants and amplitudes are given once a block."""

# Pulses have corners: made at three times the rate, their overtones above 8 kHz do not fold back as noise.
_OVERSAMPLING = 3


@dataclass(frozen=True)
class SpeakerSettings:
    """A synthetic speaker.

    Args:
        name: for example "synthetic/s001".
        sex: "F" or "M".
        age: years; a label only, drawn alike for both classes.
        f0_hz: habitual pitch.
        tract_scale: formants relative to an adult male's; longer tracts are below 1.
        open_quotient: share of the cycle in which the glottis is open, 0.4 to 0.8.
        tilt_hz: corner of the low-pass that softens the source.
        aspiration_db: noise of the glottis relative to its pulses, dB; about -22 is healthy.
        jitter_percent, shimmer_percent: random change from cycle to cycle.
        room_noise_db: background relative to full scale, dB.
        pace: duration of syllables relative to the average.
    """

    name: str = "synthetic/s000"
    sex: str = "F"
    age: int = 60
    f0_hz: float = 200.0
    tract_scale: float = 1.15
    open_quotient: float = 0.6
    tilt_hz: float = 2500.0
    aspiration_db: float = -22.0
    jitter_percent: float = 0.4
    shimmer_percent: float = 2.5
    room_noise_db: float = -62.0
    pace: float = 1.0


@dataclass(frozen=True)
class NoiseEvent:
    """A burst or fricative: band noise with a fast rise and a decay.

    Args:
        start_s, duration_s: when.
        low_hz, high_hz: its band.
        level: amplitude relative to the voice.
        decay: 0 keeps the level, larger values fall by exp(-decay) over the duration.
        kind: "burst" or "fricative".
    """

    start_s: float
    duration_s: float
    low_hz: float
    high_hz: float
    level: float
    decay: float
    kind: str


@dataclass(frozen=True, eq=False)
class Tracks:
    """Control signals of a take, one value per block (K,), and its noise events.

    Args:
        f0_hz: pitch, defined everywhere.
        voicing, aspiration, murmur, breath: amplitudes of pulses, glottal noise, voice bar and 2 to 6 kHz noise.
        formants_hz: (K, R) resonances.
        bandwidths_hz: (K, R).
        events: bursts and fricatives.
    """

    f0_hz: FloatArray
    voicing: FloatArray
    aspiration: FloatArray
    murmur: FloatArray
    breath: FloatArray
    formants_hz: FloatArray
    bandwidths_hz: FloatArray
    events: tuple[NoiseEvent, ...]

    @property
    def n_samples(self) -> int:
        """Length of the take, samples."""
        return int(self.f0_hz.shape[0]) * BLOCK


def _to_samples(values: FloatArray, n_samples: int, factor: int = 1) -> FloatArray:
    """Interpolate control values (K,), each at the center of its block, to `factor` times the sample rate."""
    centers = (np.arange(values.shape[0]) + 0.5) * BLOCK * factor
    return np.interp(np.arange(n_samples * factor), centers, values)


def phase_cycles(f0_hz: FloatArray) -> FloatArray:
    """Return the accumulated phase (3 N,), cycles, at the oversampled rate."""
    rate = SAMPLE_RATE * _OVERSAMPLING
    return np.cumsum(_to_samples(f0_hz, f0_hz.shape[0] * BLOCK, _OVERSAMPLING)) / rate


def _pulses(phase: FloatArray, speaker: SpeakerSettings, seed: int) -> tuple[FloatArray, FloatArray]:
    """Return the derivative of the glottal flow (N,) and how open the glottis is (N,), 0 to 1.

    Flow over the open phase u in [0, 1] is u^2 - u^3 (KLGLOTT88), so its derivative is 2u - 3u^2. Jitter moves the
    boundary of cycle n by a random amount that belongs to n alone: takes with equal phase have equal cycles.
    """
    n_cycles = int(phase[-1]) + 3
    generator = np.random.default_rng(seed)
    # The difference of two independent boundaries has the variance of both.
    moved = generator.standard_normal(n_cycles) * speaker.jitter_percent / 100 * 0.8
    loudness = 1 + generator.standard_normal(n_cycles) * speaker.shimmer_percent / 100
    boundaries = np.arange(n_cycles) + moved
    cycle = np.clip(np.searchsorted(boundaries, phase, side="right") - 1, 0, n_cycles - 2)
    position = (phase - boundaries[cycle]) / (boundaries[cycle + 1] - boundaries[cycle])
    u = np.clip(position / speaker.open_quotient, 0.0, 1.0)
    pulse = np.where((position >= 0) & (u < 1), 2 * u - 3 * u**2, 0.0) * loudness[cycle]
    openness = np.where(u < 1, u**2 - u**3, 0.0) / (4 / 27)
    source = resample_poly(np.stack([pulse, openness]), 1, _OVERSAMPLING, axis=1)
    smoothing = np.exp(-2 * np.pi * speaker.tilt_hz / SAMPLE_RATE)
    return lfilter([1 - smoothing], [1, -smoothing], source[0]), source[1].clip(0, 1)


def _resonate(source: FloatArray, formants_hz: FloatArray, bandwidths_hz: FloatArray) -> FloatArray:
    """Send the source (N,) through a cascade of resonators that move with every sample (klatt1990analysis).

    One resonator is y[n] = a x[n] + b[n] y[n-1] + c[n] y[n-2] with a = 1 - b - c: a triangular banded system of
    equations, solved exactly in one call. Its memory are past outputs, so that a moving formant does not click.
    """
    n_samples = source.shape[0]
    banded = np.ones((3, n_samples))
    voice = source
    for formant, bandwidth in zip(formants_hz.T, bandwidths_hz.T, strict=True):
        if np.ptp(formant) == 0 and np.ptp(bandwidth) == 0:
            radius = np.exp(-np.pi * bandwidth[0] / SAMPLE_RATE)
            first, second = 2 * radius * np.cos(2 * np.pi * formant[0] / SAMPLE_RATE), -(radius**2)
            voice = lfilter([1 - first - second], [1, -first, -second], voice)
            continue
        radius = np.exp(-np.pi * _to_samples(bandwidth, n_samples) / SAMPLE_RATE)
        second = -(radius**2)
        first = 2 * radius * np.cos(2 * np.pi * _to_samples(formant, n_samples) / SAMPLE_RATE)
        banded[1, :-1] = -first[1:]
        banded[2, :-2] = -second[2:]
        solution, _ = dtbtrs(banded, ((1 - first - second) * voice)[:, None], uplo="L")
        voice = solution[:, 0]
    return voice


@cache
def _band(order: int, low_hz: float, high_hz: float) -> FloatArray:
    """Return the sections of a Butterworth filter: a band-pass, or a low-pass where low_hz is 0."""
    if low_hz == 0:
        return np.asarray(butter(order, high_hz, "lowpass", fs=SAMPLE_RATE, output="sos"))
    return np.asarray(butter(order, [low_hz, high_hz], "bandpass", fs=SAMPLE_RATE, output="sos"))


def _add_event(into: FloatArray, event: NoiseEvent, noise: FloatArray) -> None:
    first = round(event.start_s * SAMPLE_RATE)
    length = min(round(event.duration_s * SAMPLE_RATE), into.shape[0] - first)
    if length < 8:
        return
    shaped = sosfilt(_band(2, event.low_hz, event.high_hz), noise[first : first + length])
    ramp = np.linspace(0, 1, length)
    # A plosive rises within a millisecond, a fricative within 15.
    rise = (16 if event.kind == "burst" else 240) / length
    envelope = np.minimum(1, ramp / rise) * np.minimum(1, (1 - ramp) / max(rise, 0.2)) * np.exp(-event.decay * ramp)
    into[first : first + length] += event.level * envelope * shaped


def synthesize(tracks: Tracks, speaker: SpeakerSettings, seed: int, phase: FloatArray | None = None) -> FloatArray:
    """Render the waveform (N,), float64, not normalized, of control tracks.

    Args:
        tracks: control signals, K blocks.
        speaker: source and noise settings.
        seed: equal seeds give equal noise, jitter and shimmer, sample by sample.
        phase: (3 N,) cycles, when it must not follow from the pitch (twins share theirs outside a cue).
    """
    n_samples = tracks.n_samples
    noise = np.random.default_rng([seed, 1]).standard_normal((4, n_samples))
    pulse, openness = _pulses(phase_cycles(tracks.f0_hz) if phase is None else phase, speaker, seed)
    voicing = _to_samples(tracks.voicing, n_samples)
    breathing = 0.3 + 0.7 * openness
    strength = 10 ** (speaker.aspiration_db / 20) * 0.25
    source = voicing * pulse + strength * _to_samples(tracks.aspiration, n_samples) * breathing * noise[0]
    voice = _resonate(source, tracks.formants_hz, tracks.bandwidths_hz)
    if tracks.murmur.any():
        voice += _to_samples(tracks.murmur, n_samples) * sosfilt(_band(2, 0, 450), pulse)
    if tracks.breath.any():
        voice += _to_samples(tracks.breath, n_samples) * breathing * sosfilt(_band(4, 2000, 6000), noise[1])
    for event in tracks.events:
        _add_event(voice, event, noise[2])
    room = 10 ** (speaker.room_noise_db / 20) * lfilter([1], [1, -0.7], noise[3])
    return np.asarray(voice + room, dtype=np.float64)
