"""What must not matter: the recording itself, as dials with a registered step. A model that answers more to one of
these than to any sign listens to the microphone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.registry import Registry
from speechxai.signal.acoustics import energy_db
from speechxai.signal.audio import CODECS, coded
from speechxai.signs.voice import taken_apart
from speechxai.types import Array

Condition = Callable[..., Array]
"""`(waveform (N,), sample_rate, dose) -> waveform (M,)`."""

CONDITIONS: Registry[Condition] = Registry(
    "condition", required=("label", "more", "unit", "doses", "steps", "operator", "cites")
)
"""Recording dials by name. Facts: label and words for more of it, in which {dose} stands for the dose; unit; the doses
that are tried beside 0, and those of them that are the registered step, by which the dial is ranked; operator, as of
SIGNS; `resembles`: signs whose own measure the registered step moves by more than one standard deviation of people
(healthy voices, median): nobody can tell the two apart by their effects."""

NOISE_REFERENCE_DB = -40.0
"""Noise counts from here, relative to the voice, where a recording has less: what is added to silence is not heard."""
HUM_REFERENCE_DB = -50.0
HUM_HZ = 50.0
CODEC_DOSES = dict(enumerate(CODECS, 1))
"""Which codec a dose of `codec` stands for."""
REVERBERANT_SHARE_DB = -10.0
"""Energy of the tail relative to the direct sound for 0.3 s of reverberation: half a meter from a microphone."""


def _power(waveform: Array) -> float:
    """Power of the loud half of the frames: of the voice, whatever the pauses."""
    level = energy_db(waveform - waveform.mean(), 16_000, 160, -(-waveform.shape[0] // 160) + 1)
    loud = level >= np.median(level)
    return float((10 ** (level[loud] / 10)).mean())


def _array(waveform: Array, sample_rate: int) -> Array:
    return taken_apart(waveform, sample_rate).waveform


def _only_more(dose: float, why: str) -> None:
    if dose < 0:
        raise NotApplicable(why)


@CONDITIONS.register(
    label="level",
    more="{dose:+g} dB of level",
    unit="dB",
    doses=(6.0, -6.0, 12.0, -12.0),
    steps=(6.0, -6.0),
    operator="gain",
    cites="own",
)
def level(waveform: Array, sample_rate: int, dose: float) -> Array:
    """Make the whole recording louder or quieter, without clipping."""
    return _array(waveform, sample_rate) * 10 ** (dose / 20)


@CONDITIONS.register(
    label="noise of the room",
    more="noise floor {dose:+g} dB",
    unit="dB",
    doses=(10.0, 5.0, 15.0, 20.0),
    steps=(10.0,),
    operator="noise",
    resembles=("loudness_range", "consonant_precision"),
    cites="own",
)
def noise_floor(waveform: Array, sample_rate: int, dose: float, *, seed: int = 0) -> Array:
    """Raise a steady noise by the dose, from the floor that is there or from 40 dB under the voice."""
    _only_more(dose, "noise cannot be taken out of a recording without touching the voice")
    signal = _array(waveform, sample_rate)
    floor = float(np.percentile(energy_db(signal - signal.mean(), 16_000, 160, signal.shape[0] // 160 + 1), 5))
    own = 10 ** (floor / 10) if floor < 10 * np.log10(_power(signal)) - 15 else 0.0
    power = max(own, _power(signal) * 10 ** (NOISE_REFERENCE_DB / 10)) * (10 ** (dose / 10) - 1)
    # 3 dB less in each octave above 100 Hz, as rooms sound.
    white = np.fft.rfft(np.random.default_rng([seed, 21]).standard_normal(signal.shape[0]))
    frequency = np.fft.rfftfreq(signal.shape[0], 1 / sample_rate)
    pink = np.fft.irfft(white / np.sqrt(np.maximum(frequency, 100.0)), signal.shape[0])
    return np.asarray(signal + pink * np.sqrt(power / (pink**2).mean()), dtype=np.float64)


@CONDITIONS.register(
    label="band of the recording",
    more="band narrower by {dose:g} octaves",
    unit="octaves",
    doses=(1.0, 0.5, 1.5, 2.0),
    steps=(1.0,),
    operator="filter",
    cites="own",
)
def band_limit(waveform: Array, sample_rate: int, dose: float) -> Array:
    """Cut off what lies above the band that the recording has, divided by 2 to the dose."""
    _only_more(dose, "what a microphone did not record cannot be put back")
    voice = taken_apart(waveform, sample_rate)
    signal = voice.waveform
    highest = max(voice.band_hz or sample_rate / 2, 1000.0) * 2.0**-dose if dose > 0 else sample_rate
    frequency = np.fft.rfftfreq(signal.shape[0], 1 / sample_rate)
    # A raised cosine over a sixth of an octave.
    gain = np.clip(6 * np.log2(highest / np.maximum(frequency, 1.0)) + 1, 0, 1)
    return np.asarray(np.fft.irfft(np.fft.rfft(signal) * (0.5 - 0.5 * np.cos(np.pi * gain)), signal.shape[0]))


@CONDITIONS.register(
    label="codec",
    more="codec {dose:g} (1 mu-law, 2 Opus, 3 MP3)",
    unit="codec",
    doses=tuple(map(float, CODEC_DOSES)),
    steps=tuple(map(float, CODEC_DOSES)),
    operator="filter",
    cites="own",
)
def codec(waveform: Array, sample_rate: int, dose: float) -> Array:
    """Encode and decode: 1 mu-law, 2 Opus, 3 MP3, as libsndfile writes them; 0 is 24-bit samples."""
    if dose not in (0, *CODEC_DOSES):
        raise SpeechXAIError(f"The dose of the condition 'codec' must be 0, 1, 2 or 3. Got {dose:g} instead.")
    signal = _array(waveform, sample_rate)
    # No codec clips what it is given.
    scale = max(1.0, float(np.abs(signal).max()) * 1.05)
    return np.asarray(coded(signal / scale, sample_rate, CODEC_DOSES.get(int(dose), "PCM_24")) * scale)


@CONDITIONS.register(
    label="reverberation",
    more="{dose:g} s of reverberation",
    unit="s",
    doses=(0.3, 0.15, 0.45, 0.6),
    steps=(0.3,),
    operator="filter",
    resembles=("consonant_precision", "pauses", "loudness_range", "breathiness"),
    cites="own",
)
def reverberation(waveform: Array, sample_rate: int, dose: float, *, seed: int = 0) -> Array:
    """Add the tail of a room: noise that falls by 60 dB within the dose, its energy growing with it."""
    _only_more(dose, "a room cannot be taken out of a recording")
    from scipy.signal import fftconvolve

    signal = _array(waveform, sample_rate)
    n_tail = max(2, int(dose * sample_rate))
    time_s = np.arange(n_tail) / sample_rate
    tail = np.random.default_rng([seed, 22]).standard_normal(n_tail) * 10 ** (-3 * time_s / max(dose, 1e-3))
    tail *= np.sqrt(10 ** (REVERBERANT_SHARE_DB / 10) * (dose / 0.3) / (tail**2).sum())
    wet = signal + fftconvolve(np.concatenate([np.zeros(int(0.004 * sample_rate)), signal]), tail)[: signal.shape[0]]
    return np.asarray(wet * np.sqrt((signal**2).sum() / (wet**2).sum()), dtype=np.float64)


@CONDITIONS.register(
    label="hum of the mains",
    more="hum of the mains {dose:+g} dB",
    unit="dB",
    doses=(20.0, 10.0, 25.0, 30.0),
    steps=(20.0,),
    operator="noise",
    resembles=("loudness_range", "consonant_precision"),
    cites="own",
)
def mains_hum(waveform: Array, sample_rate: int, dose: float) -> Array:
    """Raise a hum of 50 Hz and its overtones by the dose, from 50 dB under the voice."""
    _only_more(dose, "hum cannot be taken out of a recording without touching the voice")
    signal = _array(waveform, sample_rate)
    phase = 2 * np.pi * HUM_HZ * np.arange(signal.shape[0]) / sample_rate
    hum = np.asarray(sum(np.sin(k * phase + k) / k for k in (1, 2, 3, 5)), dtype=np.float64)
    amplitude = np.sqrt(_power(signal)) * 10 ** (HUM_REFERENCE_DB / 20) * (10 ** (dose / 20) - 1)
    return np.asarray(signal + amplitude * hum / hum.std(), dtype=np.float64)


@CONDITIONS.register(
    label="clipping",
    more="clipped {dose:g} dB below the peak",
    unit="dB",
    doses=(6.0, 3.0, 9.0, 12.0),
    steps=(6.0,),
    operator="gain",
    cites="own",
)
def clipping(waveform: Array, sample_rate: int, dose: float) -> Array:
    """Cut off the peaks, the dose below the highest."""
    _only_more(dose, "peaks that were cut off cannot be put back")
    signal = _array(waveform, sample_rate)
    ceiling = float(np.abs(signal).max()) * 10 ** (-dose / 20)
    return signal.clip(-ceiling, ceiling)


@CONDITIONS.register(
    label="leading silence",
    more="{dose:g} s of silence before the voice",
    unit="s",
    doses=(0.5, 0.25, 0.75, 1.0),
    steps=(0.5,),
    operator="time",
    cites="own",
)
def leading_silence(waveform: Array, sample_rate: int, dose: float) -> Array:
    """Begin with silence of that length."""
    _only_more(dose, "what was not recorded before the voice cannot be left out")
    return np.concatenate([np.zeros(round(dose * sample_rate)), _array(waveform, sample_rate)])
