"""Cues of known place in time and frequency, planted into existing recordings: synthetic or of healthy speakers.

Each cue is a function `(waveform (N,), sample_rate, rng, severity) -> (waveform (N,), (start_s, end_s))`. Outside of the
interval the result is the input, sample by sample. Severity 0 is imperceptible, 1 is obvious.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.signal import butter, resample, sosfilt, sosfiltfilt
from torch import Tensor

from speechxai.data.planted_signal import (
    FloatArray,
    Material,
    cycle_phase,
    formant_tracks,
    glottal_pulses,
    material,
    move_resonance,
    overlap_add,
    warped,
)
from speechxai.data.planted_truth import Truth, truth, truth_map
from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.registry import Registry

__all__ = ["CUES", "Truth", "plant", "truth", "truth_map"]

_FINER = 4
Cue = Callable[[Tensor, int, np.random.Generator, float], tuple[Tensor, tuple[float, float]]]
CUES: Registry[Cue] = Registry("cue", required=("sign", "cites"))


def plant(
    name: str, waveform: Tensor, sample_rate: int, *, seed: int, severity: float
) -> tuple[Tensor, tuple[float, float]]:
    """Plant the cue `name` with a seed of its own: the same arguments give the same samples.

    Raises:
        SpeechXAIError: an unknown cue, a severity out of range, a wrong waveform.
        NotApplicable: the recording has nothing that the cue could change.
    """
    return CUES[name](waveform, sample_rate, np.random.default_rng(seed), severity)


def _prepared(waveform: Tensor, sample_rate: int, rng: np.random.Generator, severity: float) -> Material:
    if not 0 <= severity <= 1:
        raise SpeechXAIError(f"The 'severity' parameter of a cue must be from 0 to 1. Got {severity} instead.")
    return material(waveform, sample_rate, rng)


@CUES.register(sign="incomplete glottal closure", cites="klatt1990analysis")
def breathiness(
    waveform: Tensor, sample_rate: int, rng: np.random.Generator, severity: float
) -> tuple[Tensor, tuple[float, float]]:
    """Add noise from 2 to 6 kHz that breathes with the voice.

    The noise follows the voice's level at -44 + 34 severity dB and the glottal cycle; above 0.45 of the sample rate
    there is none.
    """
    place = _prepared(waveform, sample_rate, rng, severity)
    highest = min(6000.0, 0.45 * sample_rate)
    band = butter(4, [2000.0, highest], "bandpass", fs=sample_rate, output="sos")
    noise = sosfilt(band, rng.standard_normal(place.signal.shape[0]))
    noise /= noise.std()
    level = np.sqrt(uniform_filter1d(place.signal**2, int(0.03 * sample_rate)).clip(0))
    breathing = 0.65 - 0.35 * np.cos(2 * np.pi * cycle_phase(place))
    gain = 10 ** ((-44 + 34 * severity) / 20)
    return place.blend(place.signal + gain * place.window() * place.voicing() * level * breathing * noise, waveform)


@CUES.register(sign="vocal tremor", cites="gillivan2019tremor")
def tremor(
    waveform: Tensor, sample_rate: int, rng: np.random.Generator, severity: float
) -> tuple[Tensor, tuple[float, float]]:
    """Modulate loudness and pitch at 4 to 7 Hz: up to 60 % and 1.2 semitones.

    Pitch moves by reading the recording faster and slower; the reading position agrees with the original's at both
    edges, so length and everything outside stay.
    """
    place = _prepared(waveform, sample_rate, rng, severity)
    rate_hz = 4.2 + 2.6 * rng.random()
    window = place.window()[place.start : place.end]
    time_s = np.arange(window.shape[0]) / sample_rate
    swing = window * np.sin(2 * np.pi * rate_hz * time_s)
    speed = 2 ** (1.2 * severity * swing / 12) - 1
    # Whatever the reading gained over the whole interval it gives back, evenly.
    speed -= window * speed.sum() / max(window.sum(), 1e-9)
    positions = np.arange(place.start, place.end, dtype=np.float64) + np.cumsum(speed)
    changed = place.signal.copy()
    changed[place.start : place.end] = warped(place.signal, positions) * (1 + 0.6 * severity * swing)
    return place.blend(changed, waveform)


def _stops(place: Material) -> list[tuple[int, int, int]]:
    """Find closures and bursts: (closure start, burst start, burst end), samples.

    A closure is 15 to 250 ms within speech, at least 18 dB below the loud frames above 300 Hz; a burst is what follows:
    its first 25 ms.
    """
    rate = place.sample_rate
    high = sosfiltfilt(butter(2, 300, "highpass", fs=rate, output="sos"), place.signal)
    step = max(1, rate // 500)
    width = max(3, int(0.006 * rate))
    level = 10 * np.log10(uniform_filter1d(high**2, width).clip(1e-12)[::step])
    low = level < np.percentile(level, 90) - 18
    edges = np.flatnonzero(np.diff(np.concatenate([[False], low, [False]]).astype(np.int8)))
    found = []
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        if not 0.015 <= (last - first) * step / rate <= 0.25 or first == 0 or last + 5 >= level.shape[0]:
            continue
        # From closure to burst the level jumps; a voice that swells again after a weak consonant does not.
        rise = level[last : last + 5].max() - level[max(first, last - 6) : last].min()
        if rise >= 12:
            burst = int(last * step) - width // 2
            found.append((int(first * step) + width // 2, burst, burst + int(0.025 * rate)))
    return found


def _murmur(place: Material) -> FloatArray:
    """Return a hum (N,) at the pitch of the surrounding voice, as loud as the voice: what leaks through a weak closure."""
    voiced = np.isfinite(place.f0) & (place.kinds == 2)
    f0 = np.interp(np.arange(place.signal.shape[0]), place.positions[voiced], place.f0[voiced])
    phase = 2 * np.pi * np.cumsum(f0) / place.sample_rate
    level = np.sqrt((place.signal[place.start : place.end] ** 2).mean())
    return np.asarray(
        level * (np.sin(phase) + 0.5 * np.sin(2 * phase + 1) + 0.2 * np.sin(3 * phase + 2)), dtype=np.float64
    )


@CUES.register(sign="imprecise articulation", cites="duffy2019motor")
def burst_weakening(
    waveform: Tensor, sample_rate: int, rng: np.random.Generator, severity: float
) -> tuple[Tensor, tuple[float, float]]:
    """Attenuate the bursts of stops by up to 26 dB and let the voice hum through their closures.

    Raises NotApplicable where fewer than two stops are found, as in a sustained vowel.
    """
    place = _prepared(waveform, sample_rate, rng, severity)
    stops = _stops(place)
    if len(stops) < 2:
        raise NotApplicable(f"Burst weakening needs at least two stops with closure and burst. Found {len(stops)}.")
    count = max(2, round(0.6 * len(stops)))
    begin = int(rng.integers(0, len(stops) - count + 1))
    chosen = stops[begin : begin + count]
    margin = int(0.03 * sample_rate)
    start, end = max(0, chosen[0][0] - margin), min(place.signal.shape[0], chosen[-1][2] + margin)
    place = Material(place.signal, sample_rate, place.hop_samples, place.f0, place.kinds, start, end)
    gain, hum = np.ones(place.signal.shape[0]), np.zeros(place.signal.shape[0])
    for closure, burst, after in chosen:
        gain[burst:after] = 1 - 0.95 * severity
        hum[closure:burst] = 0.35 * severity
    smooth = max(3, int(0.006 * sample_rate))
    # Twice a moving mean is a ramp without corners.
    gain, hum = (uniform_filter1d(uniform_filter1d(track, smooth), smooth) for track in (gain, hum))
    return place.blend(place.signal * gain + hum * _murmur(place), waveform)


@CUES.register(sign="reduced vowel space", cites="sapir2010formant")
def formant_centralization(
    waveform: Tensor, sample_rate: int, rng: np.random.Generator, severity: float
) -> tuple[Tensor, tuple[float, float]]:
    """Move F1 and F2 by up to 85 % toward a neutral tube's 500 and 1500 Hz (15 % higher for voices above 160 Hz).

    Raises NotApplicable where no formants are found.
    """
    place = _prepared(waveform, sample_rate, rng, severity)
    scale = 1.15 if float(np.nanmedian(place.f0)) > 160 else 1.0
    window = place.window() * place.voicing() * 0.85 * severity
    changed = place.signal
    for track, neutral in zip(formant_tracks(place), (500.0 * scale, 1500.0 * scale), strict=True):
        changed = move_resonance(changed, sample_rate, track, track + window * (neutral - track))
    # The vowel changes, its loudness does not.
    reach = int(0.04 * sample_rate)
    before, after = (uniform_filter1d(values**2, reach).clip(1e-12) for values in (place.signal, changed))
    gain = np.where(window > 0, np.sqrt(before / after), 1.0)
    return place.blend(changed * uniform_filter1d(gain, reach), waveform)


@CUES.register(sign="dysprosody: monotone pitch", cites="skodda2011gender")
def monopitch(
    waveform: Tensor, sample_rate: int, rng: np.random.Generator, severity: float
) -> tuple[Tensor, tuple[float, float]]:
    """Flatten the pitch toward its mean within the interval, by moving whole glottal cycles (moulines1990pitch).

    Raises NotApplicable where the pitch hardly moves anyway: a standard deviation under 0.8 semitones.
    """
    place = _prepared(waveform, sample_rate, rng, severity)
    inside = (
        (place.positions >= place.start) & (place.positions < place.end) & (place.kinds == 2) & np.isfinite(place.f0)
    )
    semitones = 12 * np.log2(place.f0[inside])
    if semitones.shape[0] < 20 or semitones.std() < 0.8:
        raise NotApplicable(
            "Monopitch needs a pitch that moves by at least 0.8 semitones (standard deviation) in its interval."
        )
    target = float(2 ** (np.median(semitones) / 12))
    window = place.window()
    # Cycles move by fractions of a sample, or rounding would add a jitter of its own.
    first, last = max(0, place.start - 64), min(place.signal.shape[0], place.end + 64)
    fine = fine_before = np.asarray(resample(place.signal[first:last], _FINER * (last - first)), dtype=np.float64)
    for times in glottal_pulses(place):
        marks = times[(times > place.start) & (times < place.end)]
        if marks.shape[0] < 4:
            continue
        centers = (marks[1:] + marks[:-1]) / 2
        weight = severity * np.interp(centers, np.arange(window.shape[0]), window)
        local = sample_rate / np.diff(marks)
        wanted = local ** (1 - weight) * target**weight
        # Cycles at the wanted pitch, counted from mark to mark; a whole number fits between the outer marks.
        phase = np.concatenate([[0.0], np.cumsum(wanted * np.diff(marks) / sample_rate)])
        n_cycles = max(1, round(float(phase[-1])))
        new_marks = np.interp(np.arange(n_cycles + 1) * phase[-1] / n_cycles, phase, marks)
        fine = overlap_add(fine, _FINER * (marks - first), _FINER * (new_marks - first))
    changed = place.signal.copy()
    changed[first:last] += (fine - fine_before)[::_FINER]
    return place.blend(changed, waveform)
