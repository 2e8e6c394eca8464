"""What synthetic speakers say, and the signs of Parkinson's disease in how they say it.

An utterance is a list of phones; it becomes control tracks, and a cue changes the tracks within an interval. Signs and
their place follow the clinical literature (duffy2019motor); amounts are ours: severity 0 is no change, 1 is obvious.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg.lapack import dtbtrs
from scipy.signal import butter, lfilter, resample_poly, sosfilt

from speechxai.errors import SpeechXAIError, did_you_mean

if TYPE_CHECKING:
    from speechxai.types import Array


# The voice behind the synthetic corpus: glottal pulses and noise through resonators that move.

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

    f0_hz: Array
    voicing: Array
    aspiration: Array
    murmur: Array
    breath: Array
    formants_hz: Array
    bandwidths_hz: Array
    events: tuple[NoiseEvent, ...]

    @property
    def n_samples(self) -> int:
        """Length of the take, samples."""
        return int(self.f0_hz.shape[0]) * BLOCK


def _to_samples(values: Array, n_samples: int, factor: int = 1) -> Array:
    """Interpolate control values (K,), each at the center of its block, to `factor` times the sample rate."""
    centers = (np.arange(values.shape[0]) + 0.5) * BLOCK * factor
    return np.interp(np.arange(n_samples * factor), centers, values)


def phase_cycles(f0_hz: Array) -> Array:
    """Return the accumulated phase (3 N,), cycles, at the oversampled rate."""
    rate = SAMPLE_RATE * _OVERSAMPLING
    return np.cumsum(_to_samples(f0_hz, f0_hz.shape[0] * BLOCK, _OVERSAMPLING)) / rate


def _pulses(phase: Array, speaker: SpeakerSettings, seed: int) -> tuple[Array, Array]:
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


def _resonate(source: Array, formants_hz: Array, bandwidths_hz: Array) -> Array:
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
def _band(order: int, low_hz: float, high_hz: float) -> Array:
    """Return the sections of a Butterworth filter: a band-pass, or a low-pass where low_hz is 0."""
    if low_hz == 0:
        return np.asarray(butter(order, high_hz, "lowpass", fs=SAMPLE_RATE, output="sos"))
    return np.asarray(butter(order, [low_hz, high_hz], "bandpass", fs=SAMPLE_RATE, output="sos"))


def _add_event(into: Array, event: NoiseEvent, noise: Array) -> None:
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


def synthesize(tracks: Tracks, speaker: SpeakerSettings, seed: int, phase: Array | None = None) -> Array:
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


# What synthetic speakers say, and the signs of Parkinson's disease in how they say it.
BLOCK_S = BLOCK / SAMPLE_RATE
TASKS = ("vowel-a", "vowel-i", "vowel-u", "ddk", "glide", "phrase")
"""What a synthetic speaker can be asked for."""

# First three formants of an adult male, Hz (peterson1952control), and the loci of stops and the nasal.
_FORMANTS = {
    "a": (730, 1090, 2440),
    "e": (530, 1840, 2480),
    "i": (270, 2290, 3010),
    "o": (570, 840, 2410),
    "u": (300, 870, 2240),
    "p": (350, 900, 2300),
    "t": (350, 1750, 2700),
    "k": (350, 1900, 2300),
    "s": (350, 1700, 2600),
    "m": (270, 1000, 2200),
    "_": (500, 1500, 2500),
}
# Band of a stop's burst, Hz; its level; its voice onset time, s.
_BURSTS = {"p": (500, 2500, 1.6, 0.014), "t": (2800, 6800, 1.4, 0.018), "k": (1300, 3200, 2.0, 0.028)}
_VOWELS = "aeiou"
_NEUTRAL_HZ = (500.0, 1500.0)


@dataclass(frozen=True)
class UtteranceSettings:
    """What is said, and with which cues.

    Args:
        task: one of TASKS.
        duration_s: length of the take, at least 1 s.
        cues: severity, 0 to 1, of each cue by name: breathiness, tremor, burst_weakening, formant_centralization,
            monopitch.

    Raises:
        SpeechXAIError: an unknown task or cue, a severity or duration out of range.
    """

    task: str = "vowel-a"
    duration_s: float = 2.5
    cues: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise SpeechXAIError(did_you_mean(self.task, list(TASKS), "task"))
        if not 1 <= self.duration_s <= 60:
            raise SpeechXAIError(
                f"The 'duration_s' parameter of UtteranceSettings must be from 1 to 60. Got {self.duration_s} instead."
            )
        for name, severity in self.cues.items():
            if name not in TRACK_CUES:
                raise SpeechXAIError(did_you_mean(name, list(TRACK_CUES), "cue"))
            if not 0 <= severity <= 1:
                raise SpeechXAIError(f"The severity of {name} must be from 0 to 1. Got {severity} instead.")


@dataclass(frozen=True)
class Event:
    """Something at a known place of a synthetic take.

    Args:
        kind: "vowel", "closure", "burst", "fricative", "nasal" or "cue".
        name: the phone, or the cue's name.
        start_s, end_s: where.
    """

    kind: str
    name: str
    start_s: float
    end_s: float


@dataclass(frozen=True, eq=False)
class Score:
    """Control tracks of a take, and what happens where."""

    tracks: Tracks
    events: tuple[Event, ...]


def _phones(utterance: UtteranceSettings, generator: np.random.Generator, pace: float) -> list[tuple[str, float]]:
    """Return phones and their durations, s, that fill the utterance between its silent edges."""
    edge = 0.08 + 0.06 * generator.random()
    time = utterance.duration_s - 2 * edge
    if utterance.task.startswith("vowel"):
        middle = [(utterance.task[-1], time)]
    elif utterance.task == "glide":
        order = "aiuai" if generator.random() < 0.5 else "aiaua"
        middle = [(vowel, time / 5) for vowel in order]
    elif utterance.task == "ddk":
        syllable = 0.175 * pace
        n_syllables = max(3, int(time / syllable))
        middle = []
        for index in range(n_syllables):
            closure = (0.07 + 0.012 * generator.random()) * pace
            middle += [("ptk"[index % 3], closure), ("a", syllable - closure)]
        stretch = time / sum(length for _, length in middle)
        middle = [(phone, length * stretch) for phone, length in middle]
    else:
        middle = _sentence(generator, time, pace)
    return [("_", edge), *middle, ("_", edge)]


def _sentence(generator: np.random.Generator, time: float, pace: float) -> list[tuple[str, float]]:
    """Return consonant-vowel syllables in two phrases with a pause between them."""
    n_syllables = max(4, int((time - 0.25) / (0.22 * pace)))
    pause_after = n_syllables // 2 - 1
    middle: list[tuple[str, float]] = []
    for index in range(n_syllables):
        consonant = str(generator.choice(list("ptksm")))
        middle.append((consonant, 0.08 if consonant in "ptk" else 0.09))
        middle.append((str(generator.choice(list(_VOWELS))), 0.12 + 0.05 * generator.random()))
        if index == pause_after:
            middle.append(("_", 0.0))
    stretch = (time - 0.25) / sum(length for _, length in middle)
    return [(phone, 0.25 if phone == "_" else length * stretch) for phone, length in middle]


def block_times_s(n_blocks: int) -> Array:
    """Return the centers of the control blocks (K,), s."""
    return np.asarray((np.arange(n_blocks) + 0.5) * BLOCK_S, dtype=np.float64)


def _smooth(values: Array, width_s: float) -> Array:
    """Return the tracks (K,) or (K, R) smoothed along time with a Hann kernel of `width_s`."""
    width = max(3, round(width_s / BLOCK_S) | 1)
    kernel = np.hanning(width + 2)[1:-1]
    kernel /= kernel.sum()
    columns = values[:, None] if values.ndim == 1 else values
    padded = np.pad(columns, ((width // 2, width // 2), (0, 0)), mode="edge")
    smooth = np.stack([np.convolve(column, kernel, "valid") for column in padded.T], axis=1)
    return smooth[:, 0] if values.ndim == 1 else smooth


def _melody(utterance: UtteranceSettings, times_s: Array, generator: np.random.Generator) -> Array:
    """Return the pitch (K,), semitones around the speaker's habitual one."""
    drift = _smooth(_smooth(generator.standard_normal(int(times_s.shape[0])), 0.25), 0.25)
    drift /= max(float(drift.std()), 1e-9)
    if utterance.task != "phrase":
        fall = -0.6 * times_s / utterance.duration_s
        return drift * (0.15 if utterance.task.startswith("vowel") else 0.3) + fall
    contour: Array = 0.3 * drift
    half = utterance.duration_s / 2
    for start in (0.0, half):
        inside = np.clip((times_s - start) / half, 0, 1) * ((times_s >= start) & (times_s < start + half))
        contour = contour - 4.0 * inside
        for _ in range(2):
            center = start + half * (0.15 + 0.6 * generator.random())
            contour = contour + (3.5 + 3 * generator.random()) * np.exp(-0.5 * ((times_s - center) / 0.11) ** 2)
    return _smooth(contour, 0.08)


def compose(speaker: SpeakerSettings, utterance: UtteranceSettings, seed: int) -> Score:
    """Turn an utterance into control tracks without any cue, and its events."""
    generator = np.random.default_rng([seed, 2])
    phones = _phones(utterance, generator, speaker.pace)
    n_blocks = round(utterance.duration_s / BLOCK_S)
    times = block_times_s(n_blocks)
    voicing, aspiration = np.zeros(n_blocks), np.zeros(n_blocks)
    targets = np.empty((n_blocks, 3))
    noise_events: list[NoiseEvent] = []
    events: list[Event] = []
    start = 0.0
    held = 0.0
    for phone, length in phones:
        inside = (times >= start) & (times < start + length)
        targets[inside] = _FORMANTS[phone]
        if phone in _BURSTS:
            low, high, level, onset = _BURSTS[phone]
            events.append(Event("closure", phone, start, start + length))
            events.append(Event("burst", phone, start + length, start + length + onset))
            level *= 1 + 0.15 * generator.standard_normal()
            noise_events.append(NoiseEvent(start + length, 0.016, low, high, level, 3.0, "burst"))
            held = onset
        elif phone == "s":
            events.append(Event("fricative", phone, start, start + length))
            noise_events.append(NoiseEvent(start, length, 3800, 7600, 0.35, 0.0, "fricative"))
        elif phone != "_":
            # After a stop the vowel's first milliseconds are breath: the voice onset time.
            voiced = inside & (times >= start + held)
            voicing[voiced] = 0.45 if phone == "m" else 1.0
            aspiration[inside] = np.where(times[inside] < start + held, 2.5, 1.0)
            events.append(Event("nasal" if phone == "m" else "vowel", phone, start, start + length))
            held = 0.0
        start += length
    targets[times >= start] = _FORMANTS["_"]
    sustained = utterance.task.startswith("vowel")
    loudness = 1 + 0.05 * _smooth(generator.standard_normal(n_blocks), 0.15) / 0.15
    voicing = _smooth(voicing, 0.12 if sustained else 0.018) * np.clip(loudness, 0.5, 1.5)
    lower = _smooth(targets, 0.25 if utterance.task == "glide" else 0.055) * speaker.tract_scale
    formants, bandwidths = _resonances(lower, speaker.tract_scale)
    f0 = speaker.f0_hz * 2 ** (_melody(utterance, times, generator) / 12)
    silent = np.zeros(n_blocks)
    tracks = Tracks(f0, voicing, _smooth(aspiration, 0.012), silent, silent, formants, bandwidths, tuple(noise_events))
    return Score(tracks, tuple(events))


def _resonances(lower: Array, tract_scale: float) -> tuple[Array, Array]:
    """Complete three formants (K, 3) with a uniform tube's higher ones up to 7.6 kHz: formants and bandwidths (K,
    R)."""
    higher = np.arange(3500 * tract_scale, 7600, 1000 * tract_scale)
    formants = np.concatenate([lower, np.broadcast_to(higher, (lower.shape[0], higher.shape[0]))], axis=1)
    bandwidths = np.clip(50 + 0.03 * formants, 60, 350)
    return formants, bandwidths


def _within(events: tuple[Event, ...], kind: str, times_s: Array) -> Array:
    inside = np.zeros(times_s.shape[0], dtype=np.bool_)
    for event in events:
        if event.kind == kind:
            inside |= (times_s >= event.start_s) & (times_s < event.end_s)
    return inside


def _breathiness(score: Score, window: Array, severity: float, generator: np.random.Generator) -> Tracks:
    tracks = score.tracks
    level = 10 ** ((-44 + 34 * severity) / 20) if severity > 0 else 0.0
    return replace(tracks, breath=tracks.breath + level * window * tracks.voicing)


def _tremor(score: Score, window: Array, severity: float, generator: np.random.Generator) -> Tracks:
    return _modulated(score, window, generator, loudness=severity, pitch=severity)


def _amplitude_tremor(score: Score, window: Array, severity: float, generator: np.random.Generator) -> Tracks:
    return _modulated(score, window, generator, loudness=severity, pitch=0.0)


def _frequency_tremor(score: Score, window: Array, severity: float, generator: np.random.Generator) -> Tracks:
    return _modulated(score, window, generator, loudness=0.0, pitch=severity)


def _modulated(score: Score, window: Array, generator: np.random.Generator, *, loudness: float, pitch: float) -> Tracks:
    """Tracks whose loudness and pitch swing at 4.2 to 6.8 Hz, at the severities given."""
    tracks = score.tracks
    rate_hz = 4.2 + 2.6 * generator.random()
    times = np.arange(window.shape[0]) * BLOCK_S
    swing = window * np.sin(2 * np.pi * rate_hz * (times - times[int((window > 0).argmax())]))
    gain = 1 + 0.6 * loudness * swing
    return replace(
        tracks,
        f0_hz=tracks.f0_hz * 2 ** (1.2 * pitch * swing / 12),
        voicing=tracks.voicing * gain,
        aspiration=tracks.aspiration * gain,
    )


def _burst_weakening(score: Score, window: Array, severity: float, generator: np.random.Generator) -> Tracks:
    tracks = score.tracks
    times = block_times_s(window.shape[0])
    events = tuple(
        (
            replace(event, level=event.level * (1 - 0.95 * severity * float(np.interp(event.start_s, times, window))))
            if event.kind == "burst"
            else event
        )
        for event in tracks.events
    )
    closure = _smooth(_within(score.events, "closure", times).astype(np.float64), 0.02)
    onset = _within(score.events, "burst", times)
    return replace(
        tracks,
        events=events,
        murmur=tracks.murmur + 0.9 * severity * window * closure,
        aspiration=tracks.aspiration * (1 - 0.7 * severity * window * onset),
    )


def _formant_centralization(score: Score, window: Array, severity: float, generator: np.random.Generator) -> Tracks:
    tracks = score.tracks
    # The center is the resonance of a neutral tube as long as this speaker's.
    scale = (tracks.formants_hz[0, 3] / 3500.0) if tracks.formants_hz.shape[1] > 3 else 1.0
    formants = tracks.formants_hz.copy()
    for index, neutral in enumerate(_NEUTRAL_HZ):
        formants[:, index] += 0.85 * severity * window * (neutral * scale - formants[:, index])
    return replace(tracks, formants_hz=formants)


def _monopitch(score: Score, window: Array, severity: float, generator: np.random.Generator) -> Tracks:
    tracks = score.tracks
    octaves = np.log2(tracks.f0_hz)
    weight = window * tracks.voicing
    center = float((octaves * weight).sum() / max(weight.sum(), 1e-9))
    return replace(tracks, f0_hz=2 ** (octaves + 0.98 * severity * window * (center - octaves)))


TRACK_CUES: Mapping[str, Callable[[Score, Array, float, np.random.Generator], Tracks]] = {
    "breathiness": _breathiness,
    "tremor": _tremor,
    "burst_weakening": _burst_weakening,
    "formant_centralization": _formant_centralization,
    "monopitch": _monopitch,
    "amplitude_tremor": _amplitude_tremor,
    "frequency_tremor": _frequency_tremor,
}
"""Each cue as a change of control tracks within a window (K,) from 0 to 1."""

CUE_TASKS: Mapping[str, tuple[str, ...]] = {
    "breathiness": TASKS,
    "tremor": ("vowel-a", "vowel-i", "vowel-u", "phrase"),
    "burst_weakening": ("ddk", "phrase"),
    "formant_centralization": ("vowel-a", "vowel-i", "vowel-u", "glide", "phrase"),
    "monopitch": ("phrase",),
    "amplitude_tremor": ("vowel-a", "vowel-i", "vowel-u", "phrase"),
    "frequency_tremor": ("vowel-a", "vowel-i", "vowel-u", "phrase"),
}
"""Where each cue can be heard."""

HALVES_OF_TREMOR = ("amplitude_tremor", "frequency_tremor")
"""Voices with all cues have these two as one."""
