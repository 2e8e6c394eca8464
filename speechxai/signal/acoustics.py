"""Acoustic measures that a speech therapist reads, and the voiced, unvoiced and silent stretches of a recording.

Own implementations on numpy and scipy; `praat_measures` gives Praat's values where the extra `clinical` is installed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import gcd
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from speechxai.errors import SpeechXAIError
from speechxai.files import read_toml, resource_folder
from speechxai.signal.pitch import (
    CEILING_HZ,
    FLOOR_HZ,
    PitchTrack,
    centered_frames,
    harmonicity_db,
    pitch_track,
    pulses,
)
from speechxai.types import Array

# What every acoustic measure means, its unit, the task it is defined on, and its published reference values.
Task = Literal["vowel", "ddk", "reading", "any"]


@dataclass(frozen=True)
class Measure:
    """Facts about one acoustic measure: shown beside its value, never a verdict.

    Args:
        name: key in the dictionary that `measures` returns.
        label: what a person reads.
        unit: of the value; "" for shares.
        tasks: where it is defined; "reading" covers monologue and phrases, "any" everything.
        description: plain language.
        caveat: what else moves it.
        citation: key of the source.
    """

    name: str
    label: str
    unit: str
    tasks: tuple[Task, ...]
    description: str
    caveat: str
    citation: str

    def defined_on(self, task: str) -> bool:
        """Return whether the measure means something for a recording's task, for example "vowel-a" or "ddk"."""
        return "any" in self.tasks or task_kind(task) in self.tasks


def task_kind(task: str) -> str:
    """Return "vowel", "ddk", "reading" or "unknown" for a recording's task name.

    >>> task_kind("vowel-a"), task_kind("ddk-pataka"), task_kind("monologue"), task_kind("cough")
    ('vowel', 'ddk', 'reading', 'unknown')
    """
    name = task.lower()
    if name.startswith(("vowel", "sustained")):
        return "vowel"
    if name.startswith(("ddk", "pataka", "pa-ta-ka")):
        return "ddk"
    connected = ("read", "sentence", "monolog", "phrase", "text", "spontaneous", "dialog", "glide")
    return "reading" if name.startswith(connected) else "unknown"


_LEVEL = "Moves with microphone, room, codec and sample rate."
_CYCLE = "Meaningless outside a sustained vowel; noise and low sample rates raise it."

MEASURES: tuple[Measure, ...] = (
    Measure(
        "f0_mean_hz",
        "mean pitch",
        "Hz",
        ("any",),
        "How high the voice is.",
        "Depends on sex, age and language.",
        "boersma1993accurate",
    ),
    Measure(
        "f0_median_semitones",
        "median pitch",
        "semitones re 100 Hz",
        ("any",),
        "How high the voice is, as the ear counts it.",
        "Depends on sex, age and language.",
        "boersma1993accurate",
    ),
    Measure(
        "f0_sd_semitones",
        "pitch variability",
        "semitones",
        ("reading", "vowel"),
        "How much the pitch moves: melody in speech, unsteadiness in a held vowel.",
        "Depends on the text and the emotion.",
        "skodda2011gender",
    ),
    Measure(
        "f0_range_semitones",
        "pitch range",
        "semitones",
        ("reading",),
        "From the 5th to the 95th percentile of pitch.",
        "Octave errors of the pitch tracker widen it.",
        "skodda2011gender",
    ),
    Measure(
        "jitter_local_percent",
        "jitter (local)",
        "%",
        ("vowel",),
        "Mean difference of neighboring cycle lengths: roughness.",
        _CYCLE,
        "boersma2001praat",
    ),
    Measure(
        "jitter_ppq5_percent",
        "jitter (PPQ5)",
        "%",
        ("vowel",),
        "The same against the mean of five cycles: less sensitive to slow pitch change.",
        _CYCLE,
        "boersma2001praat",
    ),
    Measure(
        "shimmer_local_percent",
        "shimmer (local)",
        "%",
        ("vowel",),
        "Mean difference of neighboring cycle amplitudes: roughness, breathiness.",
        _CYCLE,
        "boersma2001praat",
    ),
    Measure(
        "shimmer_local_db",
        "shimmer (local)",
        "dB",
        ("vowel",),
        "The same as a level ratio.",
        _CYCLE,
        "boersma2001praat",
    ),
    Measure(
        "shimmer_apq11_percent",
        "shimmer (APQ11)",
        "%",
        ("vowel",),
        "Amplitude of a cycle against the mean of eleven.",
        _CYCLE,
        "boersma2001praat",
    ),
    Measure(
        "hnr_db",
        "harmonics-to-noise ratio",
        "dB",
        ("vowel",),
        "How much of the voice repeats from cycle to cycle; low is hoarse or breathy.",
        "Room and telephone noise lower it.",
        "boersma1993accurate",
    ),
    Measure(
        "cpps_db",
        "cepstral peak prominence",
        "dB",
        ("vowel", "reading"),
        "How clearly harmonics stand out; low is breathy or hoarse.",
        "Software and task change the scale.",
        "hillenbrand1996acoustic",
    ),
    Measure(
        "spectral_tilt_db_per_octave",
        "spectral tilt",
        "dB/octave",
        ("vowel", "reading"),
        "How fast the spectrum falls from 200 to 4000 Hz; steep is soft or breathy voicing.",
        _LEVEL,
        "hillenbrand1996acoustic",
    ),
    Measure(
        "spectral_centroid_hz",
        "spectral centroid",
        "Hz",
        ("any",),
        "Center of gravity of the voiced spectrum: dark or bright.",
        _LEVEL,
        "peeters2004large",
    ),
    *(
        Measure(
            f"band_{low}_{high}_db",
            f"level {low} to {high} Hz",
            "dB",
            ("any",),
            "Level of the voiced frames in this octave relative to the whole.",
            _LEVEL,
            "peeters2004large",
        )
        for low, high in ((125, 250), (250, 500), (500, 1000), (1000, 2000), (2000, 4000), (4000, 8000))
    ),
    Measure(
        "f1_hz",
        "first formant",
        "Hz",
        ("vowel",),
        "Median first resonance: how open the mouth is.",
        "Depends on vowel and vocal tract length; unreliable for high pitch.",
        "makhoul1975linear",
    ),
    Measure(
        "f2_hz",
        "second formant",
        "Hz",
        ("vowel",),
        "Median second resonance: how far front the tongue is.",
        "As for the first formant.",
        "makhoul1975linear",
    ),
    Measure(
        "f2_range_octaves",
        "movement of the second formant",
        "octaves",
        ("reading", "ddk"),
        "From the 10th to the 90th percentile: how far the tongue travels.",
        "Depends on the text.",
        "sapir2010formant",
    ),
    Measure(
        "formant_distance_octaves",
        "distance from the neutral vowel",
        "octaves",
        ("vowel", "reading"),
        "How far F1 and F2 lie from those of a neutral tube, 500 and 1500 Hz (575 and 1725 Hz above 160 Hz of pitch).",
        "Depends on the vowels that are said; unreliable for high pitch.",
        "sapir2010formant",
    ),
    Measure(
        "amplitude_tremor_db",
        "amplitude tremor, 4 to 7 Hz",
        "dB",
        ("vowel",),
        "Standard deviation of the level within 4 to 7 Hz.",
        "Vibrato and heartbeat give some.",
        "gillivan2019tremor",
    ),
    Measure(
        "pitch_tremor_semitones",
        "pitch tremor, 4 to 7 Hz",
        "semitones",
        ("vowel",),
        "Standard deviation of the pitch within 4 to 7 Hz.",
        "Vibrato gives some.",
        "gillivan2019tremor",
    ),
    Measure(
        "intensity_sd_db",
        "loudness variability",
        "dB",
        ("reading", "ddk"),
        "Standard deviation of the level of speech frames.",
        "Compression in telephones lowers it.",
        "skodda2011gender",
    ),
    Measure(
        "level_slope_db_per_s",
        "loudness over a phrase",
        "dB/s",
        ("any",),
        "How the level changes within phrases; below 0 it fades.",
        "A held vowel fades with the breath; turning away from the microphone looks alike.",
        "duffy2019motor",
    ),
    Measure(
        "burst_contrast_db",
        "contrast of stops",
        "dB",
        ("reading", "ddk"),
        "How far the bursts of stops stand out of their closures; low is imprecise.",
        "Room noise and reverberation fill closures.",
        "duffy2019motor",
    ),
    Measure(
        "voiced_share",
        "voiced share",
        "",
        ("any",),
        "Share of speech frames with a pitch.",
        "Noise lowers it.",
        "boersma1993accurate",
    ),
    Measure(
        "pause_ratio",
        "pause ratio",
        "",
        ("reading",),
        "Share of the time between first and last speech in pauses of at least 150 ms.",
        "Cutting and noise gates change it.",
        "skodda2008speech",
    ),
    Measure(
        "syllable_rate_hz",
        "syllable rate",
        "1/s",
        ("ddk",),
        "Peaks of loudness per second.",
        "Language-specific; noise adds peaks; blank where a sound is held for 0.8 s.",
        "ackermann1995oral",
    ),
    Measure(
        "syllable_irregularity",
        "syllable irregularity",
        "",
        ("ddk",),
        "Standard deviation of the time between syllables over its mean.",
        "Breaths count; blank where a sound is held for 0.8 s.",
        "ackermann1995oral",
    ),
)
"""All measures, in the order of their names in `MEASURE_NAMES`."""

MEASURE_NAMES: tuple[str, ...] = tuple(measure.name for measure in MEASURES)
"""Keys of the dictionary that `measures` returns."""


@dataclass(frozen=True)
class Reference:
    """A published value to show beside a measure, with the language, sex, task and software it holds for."""

    measure: str
    value: float
    unit: str
    kind: Literal["cutoff_above", "cutoff_below", "typical", "direction"]
    language: str
    sex: str
    task: str
    software: str
    source: str
    caveat: str


@cache
def references(path: Path | None = None) -> tuple[Reference, ...]:
    """Read the reference values.

    Raises:
        SpeechXAIError: a missing file or an entry with missing or unknown fields.
    """
    file = path or resource_folder("data_cards") / "acoustic_references.toml"
    content = read_toml(file)
    entries = []
    for index, entry in enumerate(content.get("reference", [])):
        try:
            entries.append(Reference(**entry))
        except TypeError as error:
            raise SpeechXAIError(f"{file}: reference {index + 1} has missing or unknown fields ({error}).") from error
    return tuple(entries)


def references_for(measure: str, task: str = "any", sex: str = "any", language: str = "any") -> tuple[Reference, ...]:
    """Return the reference values of a measure that hold for the task kind, sex and language; "any" matches all."""

    def agrees(wanted: str, stated: str) -> bool:
        return "any" in (wanted, stated) or wanted == stated

    kind = task if task == "any" else task_kind(task)
    return tuple(
        entry
        for entry in references()
        if entry.measure == measure
        and agrees(kind, task_kind(entry.task) if entry.task != "any" else "any")
        and agrees(sex, entry.sex)
        and agrees(language, entry.language)
    )


# Spectral and cepstral measures of voiced frames: prominence, tilt, bands, formants.
BANDS_HZ = ((125.0, 250.0), (250.0, 500.0), (500.0, 1000.0), (1000.0, 2000.0), (2000.0, 4000.0), (4000.0, 8000.0))
"""Octave bands, Hz, of the band level measures."""

_FLOOR_DB = -100.0
_CHUNK_FRAMES = 4096


_SINC_REACH, _SINC_MARGIN = 50, 1000


def to_full_band(waveform: Array, sample_rate: int, new_rate: int) -> Array:
    """Return the waveform (N,) at the rate of an analysis, Hz, its band filled up to Nyquist.

    Everything above the new Nyquist frequency is cut off in the spectrum, then a Hann-windowed sinc over 50 samples to
    either side gives the new samples: as Praat resamples before formants and cepstra (boersma2001praat).
    Not `audio.resample`: that one leaves the uppermost 9 % of the band empty, as recordings need it, and an empty band
    puts its own ripple into the cepstrum and a pole of its own into linear prediction.
    """
    if sample_rate == new_rate:
        return waveform
    from scipy.fft import next_fast_len
    from scipy.signal import resample_poly  # its import takes a second

    n = waveform.shape[0]
    if new_rate < sample_rate:
        n_fft = next_fast_len(n + 2 * _SINC_MARGIN, real=True)
        spectrum = np.fft.rfft(waveform, n_fft)
        spectrum[int(spectrum.shape[0] * new_rate / sample_rate) :] = 0.0
        waveform = np.fft.irfft(spectrum, n_fft)[:n]
    common = gcd(sample_rate, new_rate)
    up, down = new_rate // common, sample_rate // common
    at = np.arange(-_SINC_REACH * up, _SINC_REACH * up + 1) / up
    taps = np.sinc(at) * (0.5 + 0.5 * np.cos(np.pi * at / (_SINC_REACH + 0.5)))
    return np.asarray(resample_poly(waveform, up, down, window=taps / taps.sum()), dtype=np.float64)


def cepstral_prominence_db(waveform: Array, sample_rate: int) -> float:
    """Return the smoothed cepstral peak prominence (CPPS), dB: cepstral peak above the cepstrum's trend line.

    Power cepstra of 100 ms Gaussian frames every 5 ms of the signal below 5 kHz, averaged over 20 ms in time and 0.5 ms
    in quefrency; peak between 60 and 330 Hz; robust line (Theil) from 1 to 50 ms; mean over frames. NaN below 0.1 s.
    Within 0.5 dB of Praat's (median of voices; `measures` says how it was tried).
    Source: Hillenbrand and Houde 1996 (hillenbrand1996acoustic); settings as in Maryn and Weenink 2015
        (maryn2015objective).
    """
    from scipy.ndimage import uniform_filter1d

    rate = 10_000
    signal = to_full_band(waveform, sample_rate, rate)
    if signal.shape[0] < rate // 10:
        return float("nan")
    signal = np.append(signal[0], signal[1:] - np.exp(-2 * np.pi * 50 / rate) * signal[:-1])
    length, hop, n_fft = rate // 10, rate // 200, 1024
    frames = np.lib.stride_tricks.sliding_window_view(signal, length)[::hop]
    # A frame of digital silence has no cepstrum, and its floor would outweigh all others.
    frames = frames[np.sqrt((frames**2).mean(axis=1)) > 1e-7]
    if frames.shape[0] == 0:
        return float("nan")
    edge = np.exp(-12.0)
    window = (np.exp(-48 * ((np.arange(length) + 0.5) / length - 0.5) ** 2) - edge) / (1 - edge)
    power = np.abs(np.fft.rfft((frames - frames.mean(axis=1, keepdims=True)) * window, n_fft, axis=1)) ** 2
    # Under -200 dB stands how the computer rounds, and a cepstrum would hear it.
    log_power = 10 * np.log10(power + 1e-20 * power.max(axis=1, keepdims=True))
    cepstrum = np.fft.irfft(log_power, n_fft, axis=1)[:, : n_fft // 2 + 1] ** 2
    cepstrum = uniform_filter1d(cepstrum, 4, axis=0, mode="nearest")
    cepstrum = uniform_filter1d(cepstrum, round(0.0005 * rate), axis=1, mode="nearest")
    level = 10 * np.log10(cepstrum + 1e-30)
    quefrency = np.arange(level.shape[1]) / rate
    fitted, values = quefrency[rate // 1000 : rate // 20 + 1], level[:, rate // 1000 : rate // 20 + 1]
    half = fitted.shape[0] // 2
    slope = np.median((values[:, -half:] - values[:, :half]) / (fitted[-half:] - fitted[:half]), axis=1)
    intercept = np.median(values - slope[:, None] * fitted, axis=1)
    first, last = math.ceil(rate / 330), rate // 60 + 1
    best = first + level[:, first:last].argmax(axis=1)
    before, peak, after = (level[np.arange(level.shape[0]), best + step] for step in (-1, 0, 1))
    curvature = 2 * peak - before - after
    inside = (peak >= before) & (peak >= after) & (curvature > 1e-9)
    offset = np.where(inside, 0.5 * (after - before) / np.where(inside, curvature, 1.0), 0.0)
    summit = peak + 0.25 * (after - before) * offset
    return float(np.mean(summit - (slope * (quefrency[best] + offset / rate) + intercept)))


def mean_power(waveform: Array, sample_rate: int, centers: Array) -> tuple[Array, Array]:
    """Return frequencies (F,), Hz, and the mean power spectrum (F,) of 32 ms Hann frames centered at `centers`
    (samples)."""
    length = max(16, int(0.032 * sample_rate))
    starts = np.round(centers).astype(np.int64)
    padded = np.concatenate([np.zeros(length // 2), waveform, np.zeros(length)])
    total = np.zeros(length // 2 + 1)
    for begin in range(0, starts.shape[0], 1024):
        index = starts[begin : begin + 1024, None] + np.arange(length)[None, :]
        total += (np.abs(np.fft.rfft(padded[index] * np.hanning(length), axis=1)) ** 2).sum(axis=0)
    return np.asarray(np.fft.rfftfreq(length, 1 / sample_rate), dtype=np.float64), total / max(1, starts.shape[0])


def spectral_measures(frequency_hz: Array, power: Array) -> dict[str, float]:
    """Return band levels, tilt and centroid of a mean power spectrum (F,).

    A band that the sample rate cannot hold at least half is NaN; levels are dB relative to 50 Hz to Nyquist, at least
    -100. Tilt is the regression of third-octave levels on octaves from 200 to 4000 Hz.
    """
    audible = frequency_hz >= 50
    total = float(power[audible].sum())
    values: dict[str, float] = {}
    nyquist = float(frequency_hz[-1])
    for low, high in BANDS_HZ:
        share = float(power[(frequency_hz >= low) & (frequency_hz < high)].sum()) / max(total, 1e-20)
        inside = (min(high, nyquist) - low) / (high - low) >= 0.5 and total > 1e-20
        values[f"band_{low:.0f}_{high:.0f}_db"] = (
            max(_FLOOR_DB, float(10 * np.log10(share + 1e-20))) if inside else float("nan")
        )
    edges = 200 * 2 ** (np.arange(14) / 3)
    edges = edges[edges <= nyquist * 1.001]
    levels, octaves = [], []
    for low, high in pairwise(edges):
        inside_band = (frequency_hz >= low) & (frequency_hz < high)
        if inside_band.any():
            levels.append(10 * np.log10(float(power[inside_band].mean()) + 1e-20))
            octaves.append(np.log2(low))
    defined = len(levels) >= 6 and total > 1e-20
    values["spectral_tilt_db_per_octave"] = float(np.polyfit(octaves, levels, 1)[0]) if defined else float("nan")
    centroid = float((frequency_hz[audible] * power[audible]).sum()) / total if total > 1e-20 else float("nan")
    values["spectral_centroid_hz"] = centroid
    return values


def formants_hz(waveform: Array, sample_rate: int, centers: Array) -> Array:
    """Return F1 and F2 (n, 2), Hz, of the frames centered at `centers` (samples); NaN where none was found.

    Roots of a linear prediction of order 10 below 5 kHz (order 8 for signals sampled at 8 kHz or less), 30 ms frames,
    pre-emphasis from 50 Hz; poles narrower than 2 kHz, at least 150 Hz away from both ends. Source: Makhoul 1975
    (makhoul1975linear).
    """
    rate = min(10_000, sample_rate)
    order = 10 if rate > 9_000 else 8
    signal = to_full_band(waveform, sample_rate, rate)
    signal = np.append(signal[0], signal[1:] - np.exp(-2 * np.pi * 50 / rate) * signal[:-1])
    length = int(0.03 * rate)
    padded = np.concatenate([np.zeros(length // 2), signal, np.zeros(length)])
    found = np.full((centers.shape[0], 2), np.nan)
    window = np.hamming(length)
    first = np.round(centers * rate / sample_rate).astype(np.int64)
    lags = np.abs(np.arange(order)[:, None] - np.arange(order))
    for start in range(0, centers.shape[0], _CHUNK_FRAMES):
        frames = padded[first[start : start + _CHUNK_FRAMES, None] + np.arange(length)] * window
        spectrum = np.abs(np.fft.rfft(frames, 1 << (2 * length).bit_length())) ** 2
        correlation = np.fft.irfft(spectrum)[:, : order + 1]
        heard = np.flatnonzero(correlation[:, 0] >= 1e-9)
        correlation = correlation[heard]
        correlation[:, 0] *= 1 + 1e-6
        predictor = np.linalg.solve(correlation[:, lags], correlation[:, 1:, None])[..., 0]
        # The roots of 1 - sum of predictor_k z^-k are the eigenvalues of its companion matrix.
        companion = np.zeros((heard.shape[0], order, order))
        companion[:, 0] = predictor
        companion[:, np.arange(1, order), np.arange(order - 1)] = 1.0
        for row, roots in zip(heard + start, np.linalg.eigvals(companion), strict=True):
            roots = roots[roots.imag > 0]
            frequency = np.angle(roots) * rate / (2 * np.pi)
            bandwidth = -np.log(np.maximum(np.abs(roots), 1e-9)) * rate / np.pi
            chosen = np.sort(frequency[(bandwidth < 2000) & (frequency > 150) & (frequency < rate / 2 - 150)])
            if chosen.shape[0] >= 2:
                found[row] = chosen[:2]
    return found


def formant_distance_octaves(formants: Array, median_f0_hz: float) -> Array:
    """Return how far F1 and F2 (n, 2), Hz, lie from a neutral tube's (n,), octaves: the root of both squares.

    The tube has 500 and 1500 Hz, 15 % more where the voice is higher than 160 Hz, as shorter tracts are.
    """
    return np.asarray(np.sqrt((np.log2(formants / neutral_hz(median_f0_hz)) ** 2).sum(axis=1)), dtype=np.float64)


def neutral_hz(median_f0_hz: float) -> Array:
    """F1 and F2 (2,), Hz, of the tube that `formant_distance_octaves` measures from."""
    return np.array([500.0, 1500.0]) * (1.15 if median_f0_hz > 160 else 1.0)


class Stop(NamedTuple):
    """A stop: its closure, and the burst that follows, samples."""

    closure: int
    burst: int


_STOP_STEP_S, _STOP_FRAME_S = 0.002, 0.006
BURST_S = 0.012
"""How long a burst lasts before breath or voice takes over."""
FEWEST_STOPS = 2
"""Fewer tell nothing of a recording."""


def _stop_levels(waveform: Array, sample_rate: int, low_hz: float) -> Array:
    """Level (K,), dB, of the waveform above `low_hz` in 6 ms every 2 ms."""
    from scipy.ndimage import uniform_filter1d
    from scipy.signal import butter, sosfiltfilt

    if waveform.shape[0] < 64:
        return np.zeros(0)
    high = sosfiltfilt(butter(2, low_hz, "highpass", fs=sample_rate, output="sos"), waveform)
    step, width = max(1, round(_STOP_STEP_S * sample_rate)), max(3, round(_STOP_FRAME_S * sample_rate))
    return np.asarray(10 * np.log10(uniform_filter1d(high**2, width).clip(1e-14)[::step]), dtype=np.float64)


def stops(waveform: Array, sample_rate: int) -> tuple[Stop, ...]:
    """Find stops (N,): 20 to 200 ms within speech at least 15 dB below the loud frames, above 600 Hz, where a closure
    is silent even when the voice hums through it, and then a rise of 9 dB within 10 ms."""
    level = _stop_levels(waveform, sample_rate, 600.0)
    if level.shape[0] < 50:
        return ()
    step = max(1, round(_STOP_STEP_S * sample_rate))
    low = level < np.percentile(level, 90) - 15
    edges = np.flatnonzero(np.diff(np.concatenate([[False], low, [False]]).astype(np.int8)))
    found = []
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        if first == 0 or last + 5 >= level.shape[0] or not 0.02 <= (last - first) * step / sample_rate <= 0.2:
            continue
        if level[last : last + 4].max() - level[max(first, last - 4)] >= 9:
            found.append(Stop(int(first * step), int(last * step)))
    return tuple(found)


def burst_contrasts_db(waveform: Array, sample_rate: int, found: Sequence[Stop]) -> Array:
    """Return by how much the burst of each stop is louder than its closure (n,), dB, above 80 Hz: the loudest 6 ms of
    the burst's 12 against the mean power of the closure's middle half."""
    level = _stop_levels(waveform, sample_rate, 80.0)
    step = max(1, round(_STOP_STEP_S * sample_rate))
    values = []
    for closure, burst in found:
        quarter = (burst - closure) // 4
        middle = level[(closure + quarter) // step : max((burst - quarter) // step, (closure + quarter) // step + 1)]
        loudest = level[burst // step : (burst + round(BURST_S * sample_rate)) // step + 1].max()
        values.append(float(loudest - 10 * np.log10((10 ** (middle / 10)).mean())))
    return np.array(values)


def phrases(speech: Array, rate_hz: float) -> list[slice]:
    """Return the stretches of frames between pauses: at least 0.5 s of speech (T,) without a pause of 150 ms."""
    spoken = np.flatnonzero(speech)
    if spoken.shape[0] == 0:
        return []
    cut = np.flatnonzero(np.diff(spoken) > SHORTEST_PAUSE_S * rate_hz)
    firsts, lasts = np.append(spoken[0], spoken[cut + 1]), np.append(spoken[cut], spoken[-1])
    return [
        slice(int(first), int(last) + 1)
        for first, last in zip(firsts, lasts, strict=True)
        if last + 1 - first >= 0.5 * rate_hz
    ]


def level_slope_db_per_s(level_db: Array, speech: Array, rate_hz: float) -> float:
    """Return how the level (T,) of speech changes within phrases, dB/s: one slope for all of them (least squares), each
    phrase with a level of its own. NaN without a phrase of 0.5 s."""
    times, levels = [np.zeros(0)], [np.zeros(0)]
    for phrase in phrases(speech, rate_hz):
        at = np.flatnonzero(speech[phrase])
        times.append((at - at.mean()) / rate_hz)
        levels.append(level_db[phrase][at] - level_db[phrase][at].mean())
    time, level = np.concatenate(times), np.concatenate(levels)
    return float((time @ level) / (time @ time)) if time.shape[0] else float("nan")


def modulation_depth(values: Array, rate_hz: float, low_hz: float = 4.0, high_hz: float = 7.0) -> float:
    """Return the standard deviation of `values` (T,) within low_hz to high_hz, in their own unit; NaN below 0.5 s."""
    if values.shape[0] < max(8, int(0.5 * rate_hz)):
        return float("nan")
    time = np.arange(values.shape[0])
    flat = values - np.polyval(np.polyfit(time, values, 2), time)
    spectrum = np.fft.rfft(flat)
    frequency = np.fft.rfftfreq(values.shape[0], 1 / rate_hz)
    inside = (frequency >= low_hz) & (frequency <= high_hz)
    return float(np.sqrt(2 * np.sum(np.abs(spectrum[inside]) ** 2)) / values.shape[0])


def energy_db(waveform: Array, sample_rate: int, hop_samples: int, n_frames: int) -> Array:
    """Return the level (n_frames,), dB re full scale, of 25 ms Hann frames centered at t * hop_samples; at least
    -120."""
    length = max(2, int(0.025 * sample_rate)) | 1
    window = np.hanning(length + 2)[1:-1]
    frames = centered_frames(waveform**2, length, hop_samples, n_frames)
    return np.asarray(10 * np.log10(np.maximum(frames @ (window / window.sum()), 1e-12)), dtype=np.float64)


# Praat's measures through parselmouth, an optional package under GPL-3: the second opinion on our own measures.
def praat_values(waveform: Array, sample_rate: int) -> dict[str, float]:
    """Return Praat's measures of a waveform (N,) with Praat's standard settings and our pitch range; NaN if undefined.

    Raises:
        SpeechXAIError: parselmouth is not installed.
    """
    try:
        import parselmouth
        from parselmouth.praat import call
    except ImportError as error:
        raise SpeechXAIError(
            'Measures by Praat need the package parselmouth: pip install "speechxai[clinical]". '
            "Without it, speechxai.signal.acoustics.measures gives our own implementations."
        ) from error
    names = (
        "f0_mean_hz",
        "f0_sd_semitones",
        "jitter_local_percent",
        "jitter_ppq5_percent",
        "shimmer_local_percent",
        "shimmer_local_db",
        "shimmer_apq11_percent",
        "hnr_db",
        "cpps_db",
        "f1_hz",
        "f2_hz",
    )
    values = dict.fromkeys(names, float("nan"))
    sound = parselmouth.Sound(waveform, sampling_frequency=sample_rate)
    # Praat refuses recordings shorter than its longest window.
    if sound.duration < 0.15 or abs(waveform).max() < 1e-6:
        return values
    pitch = call(sound, "To Pitch", 0.0, FLOOR_HZ, CEILING_HZ)
    points = call([sound, pitch], "To PointProcess (cc)")
    limits = (0, 0, 0.0001, 0.02, 1.3)
    values["f0_mean_hz"] = call(pitch, "Get mean", 0, 0, "Hertz")
    values["f0_sd_semitones"] = call(pitch, "Get standard deviation", 0, 0, "semitones")
    values["jitter_local_percent"] = 100 * call(points, "Get jitter (local)", *limits)
    values["jitter_ppq5_percent"] = 100 * call(points, "Get jitter (ppq5)", *limits)
    values["shimmer_local_percent"] = 100 * call([sound, points], "Get shimmer (local)", *limits, 1.6)
    values["shimmer_local_db"] = call([sound, points], "Get shimmer (local_dB)", *limits, 1.6)
    values["shimmer_apq11_percent"] = 100 * call([sound, points], "Get shimmer (apq11)", *limits, 1.6)
    values["hnr_db"] = call(call(sound, "To Harmonicity (cc)", 0.01, FLOOR_HZ, 0.1, 1.0), "Get mean", 0, 0)
    cepstrogram = call(sound, "To PowerCepstrogram", 60.0, 0.002, 5000.0, 50.0)
    values["cpps_db"] = call(
        cepstrogram, "Get CPPS", "no", 0.02, 0.0005, 60.0, 330.0, 0.05, "Parabolic", 0.001, 0.05, "Straight", "Robust"
    )
    highest = min(5000.0, sample_rate / 2)
    formants = call(sound, "To Formant (burg)", 0.0, max(2.0, round(highest / 1000)), highest, 0.025, 50.0)
    values["f1_hz"] = call(formants, "Get quantile", 1, 0, 0, "Hertz", 0.5)
    values["f2_hz"] = call(formants, "Get quantile", 2, 0, 0, "Hertz", 0.5)
    return values


# Acoustic measures that a speech therapist reads, and the voiced, unvoiced and silent stretches of a recording.
PAUSE, UNVOICED, VOICED = 0, 1, 2
"""Values of `segments_by_voicing`."""

Waveform = Tensor | npt.ArrayLike
# The analyses need no more than the speech band; 44.1 or 96 kHz would only make them slow.
_ANALYSIS_RATE_HZ = 16_000
_SHORTEST_S = 0.06
SHORTEST_PAUSE_S = 0.15
"""Shorter silences are closures of stops."""
# The closure of a stop takes a syllable's level down by 10 dB and more, a strong tremor by 8; the slowest trains of
# patients have one and a half syllables a second.
_GAP_DB, _LONGEST_SYLLABLE_S = 9.0, 0.8


def _as_array(waveform: Waveform) -> Array:
    """Return a mono waveform as float64 (N,). Raises SpeechXAIError for another shape or values that are not finite."""
    values = waveform.detach().cpu().numpy() if isinstance(waveform, Tensor) else waveform
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise SpeechXAIError(f"The 'waveform' must have one channel, shape (N,). Got shape {array.shape} instead.")
    if not np.isfinite(array).all():
        raise SpeechXAIError(f"The 'waveform' has {int((~np.isfinite(array)).sum())} samples that are NaN or infinite.")
    return array


def _checked(sample_rate: int, hop_samples: int) -> None:
    for name, value in (("sample_rate", sample_rate), ("hop_samples", hop_samples)):
        if value < 1:
            raise SpeechXAIError(f"The '{name}' parameter must be at least 1. Got {value} instead.")


def _n_frames(n_samples: int, hop_samples: int) -> int:
    return -(-n_samples // hop_samples) + 1


def f0_hz(
    waveform: Waveform, sample_rate: int, hop_samples: int | None = None, n_frames: int | None = None
) -> tuple[Array, Array]:
    """Return the fundamental frequency (T,), Hz, NaN where unvoiced, and the voicing strength (T,), 0 to 1.

    Args:
        waveform: (N,).
        sample_rate: Hz.
        hop_samples: step between frames, by default 10 ms; frame t is centered at sample t * hop_samples.
        n_frames: T; by default ceil(N / hop_samples) + 1.

    Range 70 to 500 Hz. Source: Boersma 1993 (boersma1993accurate).
    Raises SpeechXAIError for more than one channel or values that are not finite.
    """
    array = _as_array(waveform)
    hop = max(1, sample_rate // 100) if hop_samples is None else hop_samples
    _checked(sample_rate, hop)
    track = pitch_track(array, sample_rate, hop, n_frames or _n_frames(array.shape[0], hop))
    return track.f0_hz, track.strength


def speech_frames(level_db: Array) -> Array:
    """Return which frames (T,) are louder than the recording's pauses.

    The threshold lies 30 % above the noise floor on the way to the loud frames, between 40 and 20 dB below them, so
    that a steady vowel without any pause is all speech.
    """
    if level_db.shape[0] == 0:
        return np.zeros(0, dtype=np.bool_)
    floor, loud = np.percentile(level_db, [5, 95])
    threshold = float(np.clip(floor + 0.3 * (loud - floor), loud - 40, loud - 20))
    return np.asarray((level_db > threshold) & (level_db > -90), dtype=np.bool_)


def segments_by_voicing(waveform: Waveform, sample_rate: int, n_frames: int, hop_samples: int) -> Array:
    """Return what every STFT frame (T,) holds: 0 pause, 1 unvoiced speech, 2 voiced speech.

    Args:
        waveform: (N,).
        sample_rate: Hz.
        n_frames: T of the spectrogram.
        hop_samples: its hop; frame t is centered at sample t * hop_samples, as in `stft.spectrogram`.

    A silent recording is all pause. Raises SpeechXAIError for more than one channel or values that are not finite.
    """
    array = _as_array(waveform)
    _checked(sample_rate, hop_samples)
    # A constant offset is no sound.
    array = array - array.mean() if array.size else array
    track = pitch_track(array, sample_rate, hop_samples, n_frames)
    speech = speech_frames(energy_db(array, sample_rate, hop_samples, n_frames))
    kinds = np.where(speech, np.where(track.voiced, VOICED, UNVOICED), PAUSE)
    # One frame that differs from both neighbors is a flicker of the tracker.
    before, after = np.append(kinds[:1], kinds[:-1]), np.append(kinds[1:], kinds[-1:])
    return np.asarray(np.median([before, kinds, after], axis=0), dtype=np.int8)


def perturbation(array: Array, sample_rate: int, track: PitchTrack) -> dict[str, float]:
    """Return jitter and shimmer from the glottal cycles, with the limits of Praat's manual (boersma2001praat)."""
    jitters: list[Array] = []
    periods_all: list[Array] = []
    fives: list[Array] = []
    shimmers: list[Array] = []
    decibels: list[Array] = []
    amplitudes_all: list[Array] = []
    elevens: list[Array] = []
    reach = np.arange(-0.2, 0.2001, 0.02)
    weights = np.hanning(reach.shape[0] + 2)[1:-1]
    samples = np.arange(array.shape[0])
    for times in pulses(array, sample_rate, track):
        periods = np.diff(times) / sample_rate
        if periods.shape[0] < 3:
            continue
        near = np.interp(times[1:-1, None] + reach[None, :] * (periods.mean() * sample_rate), samples, array)
        amplitudes = np.sqrt((near**2 * weights).sum(axis=1) / weights.sum())
        good = np.maximum(periods[1:] / periods[:-1], periods[:-1] / periods[1:]) < 1.3
        jitters.append(np.abs(np.diff(periods))[good])
        periods_all.append(periods)
        ratio = amplitudes[1:] / np.maximum(amplitudes[:-1], 1e-12)
        steady = (np.maximum(ratio, 1 / np.maximum(ratio, 1e-12)) < 1.6) & good[1:]
        shimmers.append(np.abs(np.diff(amplitudes))[steady])
        decibels.append(np.abs(20 * np.log10(np.maximum(ratio[steady], 1e-12))))
        amplitudes_all.append(amplitudes)
        for width, values, into in ((5, periods, fives), (11, amplitudes, elevens)):
            if values.shape[0] >= width:
                local = np.convolve(values, np.ones(width) / width, "valid")
                into.append(np.abs(values[width // 2 : width // 2 + local.shape[0]] - local))

    def relative(parts: list[Array], whole: list[Array]) -> float:
        joined = np.concatenate(parts) if parts else np.zeros(0)
        return float(100 * joined.mean() / max(np.concatenate(whole).mean(), 1e-12)) if joined.size else float("nan")

    level = np.concatenate(decibels) if decibels else np.zeros(0)
    return {
        "jitter_local_percent": relative(jitters, periods_all),
        "jitter_ppq5_percent": relative(fives, periods_all),
        "shimmer_local_percent": relative(shimmers, amplitudes_all),
        "shimmer_local_db": float(level.mean()) if level.size else float("nan"),
        "shimmer_apq11_percent": relative(elevens, amplitudes_all),
    }


def steady(voiced: Array) -> Array:
    """Voiced frames (T,) of runs of at least 30 ms, where there are any.

    A shorter one is a flicker of the tracker, often octaves away, and one such frame outweighs all others in a standard
    deviation.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], voiced, [False]]).astype(np.int8)))
    kept = np.zeros(voiced.shape[0], dtype=np.bool_)
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        kept[first:last] = last - first >= 3
    return kept if kept.any() else voiced


def _longest_run(mask: Array) -> slice:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    if edges.shape[0] == 0:
        return slice(0, 0)
    best = int((edges[1::2] - edges[::2]).argmax())
    return slice(int(edges[2 * best]), int(edges[2 * best + 1]))


def timing(level_db: Array, speech: Array, rate_hz: float) -> dict[str, float]:
    """Return pause ratio, level spread and the syllables' rate and irregularity."""
    spoken = np.flatnonzero(speech)
    if spoken.shape[0] < 3:
        return {}
    inside = slice(int(spoken[0]), int(spoken[-1]) + 1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], ~speech[inside], [False]]).astype(np.int8)))
    lengths = edges[1::2] - edges[::2]
    pauses = lengths[lengths >= SHORTEST_PAUSE_S * rate_hz]
    width = max(1, round(0.04 * rate_hz))
    smooth = np.convolve(np.maximum(level_db[inside], level_db.max() - 40), np.ones(width) / width, "same")
    from scipy.signal import find_peaks  # its import takes a second

    peaks, _ = find_peaks(smooth, prominence=4.0, distance=max(1, round(0.08 * rate_hz)))
    gaps, _ = find_peaks(-smooth, prominence=_GAP_DB)
    steps = np.diff(peaks) / rate_hz
    steps = steps[steps < 1.0]
    if np.diff([0, *gaps, smooth.shape[0]]).max() > _LONGEST_SYLLABLE_S * rate_hz:
        steps = steps[:0]  # a held vowel, whose loudness wavers
    return {
        "pause_ratio": float(pauses.sum() / speech[inside].shape[0]),
        "intensity_sd_db": float(level_db[speech].std()),
        "level_slope_db_per_s": level_slope_db_per_s(level_db, speech, rate_hz),
        "syllable_rate_hz": float(1 / steps.mean()) if steps.shape[0] >= 2 else float("nan"),
        "syllable_irregularity": float(steps.std() / steps.mean()) if steps.shape[0] >= 2 else float("nan"),
    }


def _voice(array: Array, sample_rate: int, track: PitchTrack, level_db: Array) -> dict[str, float]:
    """Return the measures that need voiced frames."""
    f0 = track.f0_hz[steady(track.voiced)]
    semitones = 12 * np.log2(f0)
    rate_hz = sample_rate / track.hop_samples
    run = _longest_run(track.voiced)
    centers = np.flatnonzero(track.voiced).astype(np.float64) * track.hop_samples
    # A hundred frames tell a median formant as well as a thousand, at a tenth of the time.
    formants = formants_hz(array, sample_rate, centers[:: max(1, centers.shape[0] // 150)])
    formants = formants[np.isfinite(formants).all(axis=1)]
    enough = formants.shape[0] >= 3
    low, high = np.percentile(semitones, [5, 95])
    values = {
        "f0_mean_hz": float(f0.mean()),
        "f0_median_semitones": float(12 * np.log2(np.median(f0) / 100)),
        "f0_sd_semitones": float(semitones.std()),
        "f0_range_semitones": float(high - low),
        "hnr_db": float(harmonicity_db(array, sample_rate, track).mean()),
        "f1_hz": float(np.median(formants[:, 0])) if enough else float("nan"),
        "f2_hz": float(np.median(formants[:, 1])) if enough else float("nan"),
        "f2_range_octaves": (
            float(np.diff(np.log2(np.percentile(formants[:, 1], [10, 90])))[0]) if enough else float("nan")
        ),
        "formant_distance_octaves": (
            float(formant_distance_octaves(formants, float(np.median(f0))).mean()) if enough else float("nan")
        ),
        "amplitude_tremor_db": modulation_depth(level_db[run], rate_hz),
        "pitch_tremor_semitones": modulation_depth(12 * np.log2(track.f0_hz[run]), rate_hz),
    }
    return (
        values | perturbation(array, sample_rate, track) | spectral_measures(*mean_power(array, sample_rate, centers))
    )


def measures(waveform: Waveform, sample_rate: int) -> dict[str, float]:
    """Return all measures of MEASURE_NAMES; a value is finite, or NaN where the recording does not define it.

    Args:
        waveform: (N,), full scale is 1.
        sample_rate: Hz; above 16 kHz the recording is resampled first.

    NaN: everything for silence and below 60 ms; measures of the voice without at least 3 voiced frames; jitter and
    shimmer without runs of cycles; tremor without 0.5 s of unbroken voicing; bands above Nyquist; syllables without
    at least 3 peaks, or where a sound is held for 0.8 s. Whether a measure means something for the task is stated in
    MEASURES, not decided here.

    Pitch, HNR and CPPS are on Praat's scale, as the reference values are. On 81 sustained vowels over the telephone the
    median difference is 0.06 Hz, 0.2 dB and 0.1 dB, the largest 2.7 Hz, 2.0 dB and 0.3 dB; on 34 made voices with
    jitter, shimmer, subharmonics and breath the medians are alike (tests/oracle/test_praat.py, which allows 0.2 Hz and
    0.5 dB). In running speech only voiced frames count here, and Praat's HNR has pauses in it.

    Raises:
        SpeechXAIError: more than one channel or values that are not finite.
    """
    array = _as_array(waveform)
    _checked(sample_rate, 1)
    values = dict.fromkeys(MEASURE_NAMES, float("nan"))
    if array.shape[0] < _SHORTEST_S * sample_rate or np.abs(array).max() < 1e-6:
        return values
    if sample_rate > _ANALYSIS_RATE_HZ:
        array, sample_rate = to_full_band(array, sample_rate, _ANALYSIS_RATE_HZ), _ANALYSIS_RATE_HZ
    array = array - array.mean()
    hop = max(1, sample_rate // 100)
    n_frames = _n_frames(array.shape[0], hop)
    track = pitch_track(array, sample_rate, hop, n_frames)
    level = energy_db(array, sample_rate, hop, n_frames)
    speech = speech_frames(level)
    values |= timing(level, speech, sample_rate / hop)
    contrasts = burst_contrasts_db(array, sample_rate, stops(array, sample_rate))
    if contrasts.shape[0] >= FEWEST_STOPS:
        values["burst_contrast_db"] = float(contrasts.mean())
    if speech.any():
        values["voiced_share"] = float((track.voiced & speech).sum() / speech.sum())
        values["cpps_db"] = cepstral_prominence_db(array, sample_rate)
    if track.voiced.sum() >= 3:
        values |= _voice(array, sample_rate, track, level)
    return values


def praat_measures(waveform: Waveform, sample_rate: int) -> dict[str, float]:
    """Return Praat's own F0, jitter, shimmer, HNR and CPPS (parselmouth), under the same names as `measures`.

    Raises:
        SpeechXAIError: parselmouth is not installed.
    """

    return praat_values(_as_array(waveform), sample_rate)
