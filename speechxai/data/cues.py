"""Cues of known place in time and frequency, planted into existing recordings: synthetic or of healthy speakers.

Each cue is a function `(waveform (N,), sample_rate, rng, severity) -> (waveform (N,), (start_s, end_s))`. Outside of
the
interval the result is the input, sample by sample. Severity 0 is imperceptible, 1 is obvious.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg.lapack import dtbtrs
from scipy.ndimage import map_coordinates, median_filter, uniform_filter1d
from scipy.signal import butter, resample, sosfilt, sosfiltfilt
from torch import Tensor

from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.registry import Registry
from speechxai.signal.acoustics import VOICED, f0_hz, formants_hz, segments_by_voicing
from speechxai.signal.pitch import PitchTrack, pulses
from speechxai.signal.stft import spectrogram
from speechxai.types import Array, StftConfig


# The truth that a planted cue leaves behind: where twins with and without it differ.
@dataclass(frozen=True, eq=False)
class Truth:
    """Where two takes differ, on the grid of a spectrogram.

    Args:
        map: (F, T), 1 where the cue is, 0 elsewhere.
        difference: (F, T), at least 0: how much the log magnitudes differ, local mean, 0 outside the cue's frames.
        area: share of bins that are 1.
        contrast: mean difference inside the map over the mean outside; NaN when the takes are equal, inf when nothing
            differs outside.
    """

    map: Tensor
    difference: Tensor
    area: float
    contrast: float


def truth(with_cue: Tensor, without_cue: Tensor, stft: StftConfig | None = None, *, threshold: float = 0.3) -> Truth:
    """Compare twins (N,): the bins whose |log1p|S_with| - log1p|S_without|| is large.

    Args:
        with_cue, without_cue: (N,), at one gain.
        stft: the spectrogram's settings; the difference is always of log1p magnitudes.
        threshold: a bin counts when its difference, averaged over 5 bins and 3 frames, reaches this share of the
            99.5th percentile of the frames that differ at all.

    Averaging joins the speckle of noise to one region; a frame that does not differ stays 0, so the map never leaves
    the cue's interval by more than the transform's window.

    Raises:
        SpeechXAIError: twins of different length or not of one channel.
    """
    if with_cue.ndim != 1 or with_cue.shape != without_cue.shape:
        raise SpeechXAIError(
            f"Twins must have one shape (N,). Got {tuple(with_cue.shape)} and {tuple(without_cue.shape)} instead."
        )
    if not 0 < threshold < 1:
        raise SpeechXAIError(f"The 'threshold' parameter must be between 0 and 1. Got {threshold} instead.")
    pair = spectrogram(torch.stack([with_cue, without_cue]).double(), stft)
    magnitude = torch.log1p(pair.magnitude) if pair.stft.scale == "linear" else pair.magnitude
    raw = (magnitude[0] - magnitude[1]).abs()
    differs = raw.amax(dim=0) > 1e-6
    smooth = torch.nn.functional.avg_pool2d(raw[None], (5, 3), stride=1, padding=(2, 1), count_include_pad=False)[0]
    smooth = smooth * differs
    if not differs.any():
        return Truth(torch.zeros_like(raw).float(), torch.zeros_like(raw).float(), 0.0, float("nan"))
    level = torch.quantile(smooth[:, differs].flatten()[:2_000_000], 0.995)
    inside = smooth >= threshold * level
    outside_mean = float(smooth[~inside].mean())
    contrast = float(smooth[inside].mean()) / outside_mean if outside_mean > 0 else float("inf")
    return Truth(inside.float(), smooth.float(), float(inside.double().mean()), contrast)


def truth_map(with_cue: Tensor, without_cue: Tensor, stft: StftConfig | None = None) -> Tensor:
    """Return the map (F, T) of `truth`: 1 where the twins differ, else 0."""
    return truth(with_cue, without_cue, stft).map


# Signal operations that plant a cue: find its place, follow the voice, blend without a click.

_RAMP_S = 0.06
_FADE_S = 0.02
_SHORTEST_S = 0.8


@dataclass(frozen=True, eq=False)
class Material:
    """A recording, and the interval where a cue goes.

    Args:
        signal: (N,).
        sample_rate: Hz.
        hop_samples: step of the tracks, 5 ms.
        f0: (T,), Hz, NaN where unvoiced.
        kinds: (T,), 0 pause, 1 unvoiced, 2 voiced.
        start, end: the interval, samples.
    """

    signal: Array
    sample_rate: int
    hop_samples: int
    f0: Array
    kinds: Array
    start: int
    end: int

    @property
    def interval_s(self) -> tuple[float, float]:
        """Start and end of the cue, s."""
        return self.start / self.sample_rate, self.end / self.sample_rate

    @property
    def positions(self) -> Array:
        """(T,), samples: centers of the frames of `f0` and `kinds`."""
        return np.arange(self.f0.shape[0], dtype=np.float64) * self.hop_samples

    def window(self) -> Array:
        """Return (N,): 0 outside the interval, 1 inside, raised-cosine ramps of 60 ms, 0 in the last 40 ms for
        ringing."""
        index = np.arange(self.signal.shape[0])
        ring = 0.04 * self.sample_rate
        ramp = np.minimum(index - self.start - 1, self.end - ring - index) / (_RAMP_S * self.sample_rate)
        return np.asarray(0.5 - 0.5 * np.cos(np.pi * np.clip(ramp, 0, 1)), dtype=np.float64)

    def voicing(self) -> Array:
        """Return (N,), 0 to 1: the voiced stretches with soft edges of 20 ms."""
        mask = (self.kinds == VOICED).astype(np.float64)
        samples = np.interp(np.arange(self.signal.shape[0]), self.positions, mask)
        return np.asarray(uniform_filter1d(samples, max(1, int(0.02 * self.sample_rate))), dtype=np.float64).clip(0, 1)

    def blend(self, changed: Array, like: Tensor) -> tuple[Tensor, tuple[float, float]]:
        """Return `like` with the interval taken from `changed` (N,), crossfaded within 20 ms inside both edges."""
        inside = slice(self.start, self.end)
        index = np.arange(self.end - self.start)
        edge = np.minimum(index, self.end - self.start - 1 - index) / (_FADE_S * self.sample_rate)
        fade = 0.5 - 0.5 * np.cos(np.pi * np.clip(edge, 0, 1))
        difference = (changed[inside] - self.signal[inside]) * fade
        result = like.clone()
        result[inside] += result.new_tensor(difference)
        return result, self.interval_s


def material(waveform: Tensor, sample_rate: int, rng: np.random.Generator) -> Material:
    """Follow the voice of a recording and draw the interval of a cue: 40 to 60 % of what is spoken.

    Raises:
        SpeechXAIError: more than one channel, values that are not finite.
        NotApplicable: under 0.8 s or under 0.4 s of voice.
    """
    if waveform.ndim != 1:
        raise SpeechXAIError(
            f"The 'waveform' must have one channel, shape (N,). Got shape {tuple(waveform.shape)} instead."
        )
    signal = waveform.detach().cpu().double().numpy()
    hop = max(1, sample_rate // 200)
    n_frames = -(-signal.shape[0] // hop) + 1
    kinds = segments_by_voicing(waveform, sample_rate, n_frames, hop)
    voiced = np.flatnonzero(kinds == VOICED)
    if signal.shape[0] < _SHORTEST_S * sample_rate or voiced.shape[0] < 80:
        raise NotApplicable(
            f"A cue needs at least {_SHORTEST_S} s with 0.4 s of voice. Got {signal.shape[0] / sample_rate:.2f} s with"
            f" {voiced.shape[0] / 200:.2f} s of voice."
        )
    f0, _ = f0_hz(waveform, sample_rate, hop, n_frames)
    first, last = int(voiced[0]), int(voiced[-1])
    length = int((0.4 + 0.2 * rng.random()) * (last - first))
    # The place with the most voice among a few: a cue in a pause would be none.
    starts = first + (rng.random(8) * (last - first - length)).astype(np.int64)
    amounts = [int((kinds[start : start + length] == VOICED).sum()) for start in starts]
    start = int(starts[int(np.argmax(amounts))])
    end = min((start + length) * hop, signal.shape[0])
    return Material(signal, sample_rate, hop, f0, kinds, start * hop, end)


def cycle_phase(place: Material) -> Array:
    """Return the position within the glottal cycle (N,), cycles, from the pulses; 0 where there are none."""
    phase = np.zeros(place.signal.shape[0])
    for times in glottal_pulses(place):
        inside = np.arange(int(np.ceil(times[0])), int(times[-1]))
        phase[inside] = np.interp(inside, times, np.arange(times.shape[0]))
    return phase


def glottal_pulses(place: Material) -> list[Array]:
    """Return the glottal cycles (samples) of every voiced run with at least four of them."""
    voiced = np.where(place.kinds == VOICED, place.f0, np.nan)
    track = PitchTrack(voiced, np.isfinite(voiced).astype(np.float64), place.hop_samples)
    return [times for times in pulses(place.signal, place.sample_rate, track) if times.shape[0] >= 4]


def warped(signal: Array, positions: Array) -> Array:
    """Read the signal (N,) at fractional positions (M,), samples: cubic splines on four times the rate."""
    first, last = int(max(0, positions.min() - 64)), int(min(signal.shape[0], positions.max() + 65))
    fine = resample(signal[first:last], 4 * (last - first))
    return np.asarray(map_coordinates(fine, [(positions - first) * 4], order=3, mode="nearest"), dtype=np.float64)


def formant_tracks(place: Material) -> tuple[Array, Array]:
    """Return smooth F1 and F2 (N,), Hz, interpolated through what is not voiced.

    Raises:
        NotApplicable: no formants were found within the interval.
    """
    inside = (place.kinds == VOICED) & (place.positions >= place.start) & (place.positions < place.end)
    centers = place.positions[inside]
    found = formants_hz(place.signal, place.sample_rate, centers)
    good = np.isfinite(found).all(axis=1)
    if good.sum() < 20:
        raise NotApplicable("Formants were found in less than 0.1 s of the interval.")
    centers, found = centers[good], found[good]
    tracks = []
    for values in found.T:
        steady = uniform_filter1d(median_filter(values, size=9, mode="nearest"), 9, mode="nearest")
        tracks.append(np.interp(np.arange(place.signal.shape[0]), centers, steady))
    return tracks[0], tracks[1]


def move_resonance(signal: Array, sample_rate: int, from_hz: Array, to_hz: Array) -> Array:
    """Cancel a resonance along `from_hz` (N,) and put one along `to_hz` (N,) in its place; the gain at 0 Hz stays.

    The zeros and poles move with every sample: y[n] = b' y[n-1] + c' y[n-2] + g (x[n] - b x[n-1] - c x[n-2]), solved as
    a banded system. Where both tracks agree the two cancel exactly.
    """
    bandwidth_hz = 60 + 0.05 * from_hz
    radius = np.exp(-np.pi * bandwidth_hz / sample_rate)
    second = -(radius**2)
    old, new = (2 * radius * np.cos(2 * np.pi * hz / sample_rate) for hz in (from_hz, to_hz))
    delayed = np.concatenate([[0.0, 0.0], signal])
    flat = signal - old * delayed[1:-1] - second * delayed[:-2]
    banded = np.ones((3, signal.shape[0]))
    banded[1, :-1] = -new[1:]
    banded[2, :-2] = -second[2:]
    solution, _ = dtbtrs(banded, ((1 - new - second) / (1 - old - second) * flat)[:, None], uplo="L")
    return np.asarray(solution[:, 0], dtype=np.float64)


def overlap_add(signal: Array, marks: Array, new_marks: Array) -> Array:
    """Put the cycles around `marks` (samples) at `new_marks`, whose first and last agree with theirs
    (moulines1990pitch).

    Returns the signal (N,) with the span between the outer marks replaced; equal marks leave it as it is.
    """
    first, last = int(np.ceil(marks[0])), int(marks[-1])
    total, weight = np.zeros(signal.shape[0]), np.zeros(signal.shape[0])
    nearest = np.abs(new_marks[:, None] - marks[None, :]).argmin(axis=1)
    periods = np.diff(marks)
    for position, index in zip(new_marks, nearest, strict=True):
        reach = float(max(periods[max(index - 1, 0)], periods[min(index, periods.shape[0] - 1)]))
        shift = round(position - marks[index])
        grain = np.arange(
            max(0, int(np.ceil(marks[index] - reach))), min(signal.shape[0], int(marks[index] + reach) + 1)
        )
        target = grain + shift
        grain, target = (
            grain[(target >= 0) & (target < signal.shape[0])],
            target[(target >= 0) & (target < signal.shape[0])],
        )
        hann = 0.5 + 0.5 * np.cos(np.pi * (grain - marks[index]) / (reach + 1))
        total[target] += hann * signal[grain]
        weight[target] += hann
    result = signal.copy()
    span = slice(first, last)
    covered = weight[span] > 0.1
    result[span] = np.where(covered, total[span] / np.maximum(weight[span], 0.1), signal[span])
    return result


# Cues of known place in time and frequency, planted into existing recordings: synthetic or of healthy speakers.
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
    """Modulate loudness and pitch at 4 to 7 Hz: up to 60 % and 1.2 semitones."""
    return _modulated(_prepared(waveform, sample_rate, rng, severity), waveform, rng, severity, severity)


@CUES.register(sign="vocal tremor of loudness", cites="gillivan2019tremor")
def amplitude_tremor(
    waveform: Tensor, sample_rate: int, rng: np.random.Generator, severity: float
) -> tuple[Tensor, tuple[float, float]]:
    """Modulate loudness alone at 4 to 7 Hz, up to 60 %."""
    return _modulated(_prepared(waveform, sample_rate, rng, severity), waveform, rng, severity, 0.0)


@CUES.register(sign="vocal tremor of pitch", cites="gillivan2019tremor")
def frequency_tremor(
    waveform: Tensor, sample_rate: int, rng: np.random.Generator, severity: float
) -> tuple[Tensor, tuple[float, float]]:
    """Modulate pitch alone at 4 to 7 Hz, up to 1.2 semitones."""
    return _modulated(_prepared(waveform, sample_rate, rng, severity), waveform, rng, 0.0, severity)


def _modulated(
    place: Material, waveform: Tensor, rng: np.random.Generator, loudness: float, pitch: float
) -> tuple[Tensor, tuple[float, float]]:
    """Let loudness and pitch swing at one rate, at the severities given.

    Pitch moves by reading the recording faster and slower; the reading position agrees with the original's at both
    edges, so length and everything outside stay.
    """
    rate_hz = 4.2 + 2.6 * rng.random()
    window = place.window()[place.start : place.end]
    time_s = np.arange(window.shape[0]) / place.sample_rate
    swing = window * np.sin(2 * np.pi * rate_hz * time_s)
    changed = place.signal.copy()
    if pitch > 0:
        speed = 2 ** (1.2 * pitch * swing / 12) - 1
        # Whatever the reading gained over the whole interval it gives back, evenly.
        speed -= window * speed.sum() / max(window.sum(), 1e-9)
        positions = np.arange(place.start, place.end, dtype=np.float64) + np.cumsum(speed)
        changed[place.start : place.end] = warped(place.signal, positions)
    changed[place.start : place.end] *= 1 + 0.6 * loudness * swing
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


def _murmur(place: Material) -> Array:
    """Return a hum (N,) at the pitch of the surrounding voice, as loud as the voice: what leaks through a weak
    closure."""
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
