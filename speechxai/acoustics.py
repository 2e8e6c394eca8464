"""Acoustic measures that a speech therapist reads, and the voiced, unvoiced and silent stretches of a recording.

Own implementations on numpy and scipy; `praat_measures` gives Praat's values where the extra `clinical` is installed.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor

from speechxai.acoustics_pitch import FloatArray, PitchTrack, harmonicity_db, pitch_track, pulses
from speechxai.acoustics_spectrum import (
    cepstral_prominence_db,
    energy_db,
    formants_hz,
    mean_power,
    modulation_depth,
    resampled,
    spectral_measures,
)
from speechxai.acoustics_table import MEASURE_NAMES, MEASURES, Measure, Reference, references, references_for, task_kind
from speechxai.errors import SpeechXAIError

__all__ = [
    "MEASURES",
    "MEASURE_NAMES",
    "PAUSE",
    "UNVOICED",
    "VOICED",
    "Measure",
    "Reference",
    "f0_hz",
    "frame_energy_db",
    "measures",
    "praat_measures",
    "references",
    "references_for",
    "segments_by_voicing",
    "task_kind",
]

PAUSE, UNVOICED, VOICED = 0, 1, 2
"""Values of `segments_by_voicing`."""

Waveform = Tensor | npt.ArrayLike
# The analyses need no more than the speech band; 44.1 or 96 kHz would only make them slow.
_ANALYSIS_RATE_HZ = 16_000
_SHORTEST_S = 0.06


def _as_array(waveform: Waveform) -> FloatArray:
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


def frame_energy_db(waveform: Waveform, sample_rate: int, hop_samples: int, n_frames: int | None = None) -> FloatArray:
    """Return the level (T,), dB re full scale, of 25 ms Hann frames; frame t is centered at sample t * hop_samples.

    Args:
        waveform: (N,), full scale is 1.
        sample_rate: Hz.
        hop_samples: step between frames.
        n_frames: T; by default ceil(N / hop_samples) + 1, as in `stft.spectrogram`.

    Digital silence is -120. Raises SpeechXAIError for more than one channel or values that are not finite.
    """
    array = _as_array(waveform)
    _checked(sample_rate, hop_samples)
    return energy_db(array, sample_rate, hop_samples, n_frames or _n_frames(array.shape[0], hop_samples))


def f0_hz(
    waveform: Waveform, sample_rate: int, hop_samples: int | None = None, n_frames: int | None = None
) -> tuple[FloatArray, FloatArray]:
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


def _speech(level_db: FloatArray) -> npt.NDArray[np.bool_]:
    """Return which frames (T,) are louder than the recording's pauses.

    The threshold lies 30 % above the noise floor on the way to the loud frames, between 40 and 20 dB below them, so
    that a steady vowel without any pause is all speech.
    """
    if level_db.shape[0] == 0:
        return np.zeros(0, dtype=np.bool_)
    floor, loud = np.percentile(level_db, [5, 95])
    threshold = float(np.clip(floor + 0.3 * (loud - floor), loud - 40, loud - 20))
    return np.asarray((level_db > threshold) & (level_db > -90), dtype=np.bool_)


def segments_by_voicing(waveform: Waveform, sample_rate: int, n_frames: int, hop_samples: int) -> npt.NDArray[np.int8]:
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
    speech = _speech(energy_db(array, sample_rate, hop_samples, n_frames))
    kinds = np.where(speech, np.where(track.voiced, VOICED, UNVOICED), PAUSE)
    # One frame that differs from both neighbors is a flicker of the tracker.
    before, after = np.append(kinds[:1], kinds[:-1]), np.append(kinds[1:], kinds[-1:])
    return np.asarray(np.median([before, kinds, after], axis=0), dtype=np.int8)


def _perturbation(array: FloatArray, sample_rate: int, track: PitchTrack) -> dict[str, float]:
    """Return jitter and shimmer from the glottal cycles, with the limits of Praat's manual (boersma2001praat)."""
    jitters: list[FloatArray] = []
    periods_all: list[FloatArray] = []
    fives: list[FloatArray] = []
    shimmers: list[FloatArray] = []
    decibels: list[FloatArray] = []
    amplitudes_all: list[FloatArray] = []
    elevens: list[FloatArray] = []
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

    def relative(parts: list[FloatArray], whole: list[FloatArray]) -> float:
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


def _longest_run(mask: npt.NDArray[np.bool_]) -> slice:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    if edges.shape[0] == 0:
        return slice(0, 0)
    best = int((edges[1::2] - edges[::2]).argmax())
    return slice(int(edges[2 * best]), int(edges[2 * best + 1]))


def _timing(level_db: FloatArray, speech: npt.NDArray[np.bool_], rate_hz: float) -> dict[str, float]:
    """Return pause ratio, level spread and the syllables' rate and irregularity."""
    spoken = np.flatnonzero(speech)
    if spoken.shape[0] < 3:
        return {}
    inside = slice(int(spoken[0]), int(spoken[-1]) + 1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], ~speech[inside], [False]]).astype(np.int8)))
    lengths = edges[1::2] - edges[::2]
    pauses = lengths[lengths >= 0.15 * rate_hz]
    width = max(1, round(0.04 * rate_hz))
    smooth = np.convolve(np.maximum(level_db[inside], level_db.max() - 40), np.ones(width) / width, "same")
    from scipy.signal import find_peaks  # its import takes a second

    peaks, _ = find_peaks(smooth, prominence=4.0, distance=max(1, round(0.08 * rate_hz)))
    steps = np.diff(peaks) / rate_hz
    steps = steps[steps < 1.0]
    return {
        "pause_ratio": float(pauses.sum() / speech[inside].shape[0]),
        "intensity_sd_db": float(level_db[speech].std()),
        "syllable_rate_hz": float(1 / steps.mean()) if steps.shape[0] >= 2 else float("nan"),
        "syllable_irregularity": float(steps.std() / steps.mean()) if steps.shape[0] >= 2 else float("nan"),
    }


def _voice(array: FloatArray, sample_rate: int, track: PitchTrack, level_db: FloatArray) -> dict[str, float]:
    """Return the measures that need voiced frames."""
    f0 = track.f0_hz[track.voiced]
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
        "f0_sd_semitones": float(semitones.std()),
        "f0_range_semitones": float(high - low),
        "hnr_db": float(harmonicity_db(array, sample_rate, track).mean()),
        "f1_hz": float(np.median(formants[:, 0])) if enough else float("nan"),
        "f2_hz": float(np.median(formants[:, 1])) if enough else float("nan"),
        "f2_range_octaves": float(np.diff(np.log2(np.percentile(formants[:, 1], [10, 90])))[0])
        if enough
        else float("nan"),
        "amplitude_tremor_db": modulation_depth(level_db[run], rate_hz),
        "pitch_tremor_semitones": modulation_depth(12 * np.log2(track.f0_hz[run]), rate_hz),
    }
    return (
        values | _perturbation(array, sample_rate, track) | spectral_measures(*mean_power(array, sample_rate, centers))
    )


def measures(waveform: Waveform, sample_rate: int) -> dict[str, float]:
    """Return all measures of MEASURE_NAMES; a value is finite, or NaN where the recording does not define it.

    Args:
        waveform: (N,), full scale is 1.
        sample_rate: Hz; above 16 kHz the recording is resampled first.

    NaN: everything for silence and below 60 ms; measures of the voice without at least 3 voiced frames; jitter and
    shimmer without runs of cycles; tremor without 0.5 s of unbroken voicing; bands above Nyquist; syllables without
    at least 3 peaks. Whether a measure means something for the task is stated in MEASURES, not decided here.

    Raises:
        SpeechXAIError: more than one channel or values that are not finite.
    """
    array = _as_array(waveform)
    _checked(sample_rate, 1)
    values = dict.fromkeys(MEASURE_NAMES, float("nan"))
    if array.shape[0] < _SHORTEST_S * sample_rate or np.abs(array).max() < 1e-6:
        return values
    if sample_rate > _ANALYSIS_RATE_HZ:
        array, sample_rate = resampled(array, sample_rate, _ANALYSIS_RATE_HZ), _ANALYSIS_RATE_HZ
    array = array - array.mean()
    hop = max(1, sample_rate // 100)
    n_frames = _n_frames(array.shape[0], hop)
    track = pitch_track(array, sample_rate, hop, n_frames)
    level = energy_db(array, sample_rate, hop, n_frames)
    speech = _speech(level)
    values |= _timing(level, speech, sample_rate / hop)
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
    from speechxai.acoustics_praat import praat_values

    return praat_values(_as_array(waveform), sample_rate)
