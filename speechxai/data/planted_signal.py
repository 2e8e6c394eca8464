"""Signal operations that plant a cue: find its place, follow the voice, blend without a click."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg.lapack import dtbtrs
from scipy.ndimage import map_coordinates, median_filter, uniform_filter1d
from scipy.signal import resample
from torch import Tensor

from speechxai.acoustics import VOICED, f0_hz, segments_by_voicing
from speechxai.acoustics_pitch import PitchTrack, pulses
from speechxai.acoustics_spectrum import formants_hz
from speechxai.errors import NotApplicable, SpeechXAIError

FloatArray = npt.NDArray[np.float64]

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

    signal: FloatArray
    sample_rate: int
    hop_samples: int
    f0: FloatArray
    kinds: npt.NDArray[np.int8]
    start: int
    end: int

    @property
    def interval_s(self) -> tuple[float, float]:
        """Start and end of the cue, s."""
        return self.start / self.sample_rate, self.end / self.sample_rate

    @property
    def positions(self) -> FloatArray:
        """(T,), samples: centers of the frames of `f0` and `kinds`."""
        return np.arange(self.f0.shape[0], dtype=np.float64) * self.hop_samples

    def window(self) -> FloatArray:
        """Return (N,): 0 outside the interval, 1 inside, raised-cosine ramps of 60 ms, 0 in the last 40 ms for ringing."""
        index = np.arange(self.signal.shape[0])
        ring = 0.04 * self.sample_rate
        ramp = np.minimum(index - self.start - 1, self.end - ring - index) / (_RAMP_S * self.sample_rate)
        return np.asarray(0.5 - 0.5 * np.cos(np.pi * np.clip(ramp, 0, 1)), dtype=np.float64)

    def voicing(self) -> FloatArray:
        """Return (N,), 0 to 1: the voiced stretches with soft edges of 20 ms."""
        mask = (self.kinds == VOICED).astype(np.float64)
        samples = np.interp(np.arange(self.signal.shape[0]), self.positions, mask)
        return np.asarray(uniform_filter1d(samples, max(1, int(0.02 * self.sample_rate))), dtype=np.float64).clip(0, 1)

    def blend(self, changed: FloatArray, like: Tensor) -> tuple[Tensor, tuple[float, float]]:
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
            f"A cue needs at least {_SHORTEST_S} s with 0.4 s of voice. Got {signal.shape[0] / sample_rate:.2f} s with {voiced.shape[0] / 200:.2f} s of voice."
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


def cycle_phase(place: Material) -> FloatArray:
    """Return the position within the glottal cycle (N,), cycles, from the pulses; 0 where there are none."""
    phase = np.zeros(place.signal.shape[0])
    for times in glottal_pulses(place):
        inside = np.arange(int(np.ceil(times[0])), int(times[-1]))
        phase[inside] = np.interp(inside, times, np.arange(times.shape[0]))
    return phase


def glottal_pulses(place: Material) -> list[FloatArray]:
    """Return the glottal cycles (samples) of every voiced run with at least four of them."""
    voiced = np.where(place.kinds == VOICED, place.f0, np.nan)
    track = PitchTrack(voiced, np.isfinite(voiced).astype(np.float64), place.hop_samples)
    return [times for times in pulses(place.signal, place.sample_rate, track) if times.shape[0] >= 4]


def warped(signal: FloatArray, positions: FloatArray) -> FloatArray:
    """Read the signal (N,) at fractional positions (M,), samples: cubic splines on four times the rate."""
    first, last = int(max(0, positions.min() - 64)), int(min(signal.shape[0], positions.max() + 65))
    fine = resample(signal[first:last], 4 * (last - first))
    return np.asarray(map_coordinates(fine, [(positions - first) * 4], order=3, mode="nearest"), dtype=np.float64)


def formant_tracks(place: Material) -> tuple[FloatArray, FloatArray]:
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


def move_resonance(signal: FloatArray, sample_rate: int, from_hz: FloatArray, to_hz: FloatArray) -> FloatArray:
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


def overlap_add(signal: FloatArray, marks: FloatArray, new_marks: FloatArray) -> FloatArray:
    """Put the cycles around `marks` (samples) at `new_marks`, whose first and last agree with theirs (moulines1990pitch).

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
