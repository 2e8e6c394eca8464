"""Pitch, voicing strength and the glottal cycle: what jitter, shimmer and HNR are measured on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from speechxai.types import Array


FLOOR_HZ = 70.0
CEILING_HZ = 500.0
_VOICING_THRESHOLD = 0.45
_SILENCE_THRESHOLD = 0.03
_OCTAVE_COST = 0.01
_OCTAVE_JUMP_COST = 0.35
_VOICING_CHANGE_COST = 0.14
_N_CANDIDATES = 15
_LAG_RATE_HZ = 32_000
# An hour of frames at once would take gigabytes.
_CHUNK_FRAMES = 4096


@dataclass(frozen=True, eq=False)
class PitchTrack:
    """Fundamental frequency on a regular grid; frame t is centered at sample t * hop_samples.

    Args:
        f0_hz: (T,), NaN where no voicing was found.
        strength: (T,), 0 to 1, height of the best normalized autocorrelation peak in the pitch range.
        hop_samples: step between frames.
    """

    f0_hz: Array
    strength: Array
    hop_samples: int

    @property
    def voiced(self) -> Array:
        """(T,), true where a fundamental frequency was found."""
        return np.isfinite(self.f0_hz)


def centered_frames(waveform: Array, length: int, hop_samples: int, n_frames: int) -> Array:
    """Cut (N,) into (n_frames, length); frame t is centered at sample t * hop_samples, zeros outside the recording."""
    left = length // 2
    right = max(0, (n_frames - 1) * hop_samples + length - left - waveform.shape[0])
    padded = np.concatenate([np.zeros(left), waveform, np.zeros(right)])
    return np.asarray(
        np.lib.stride_tricks.sliding_window_view(padded, length)[::hop_samples][:n_frames], dtype=np.float64
    )


def _finer(sample_rate: int) -> int:
    """Lags a sample, so many that a parabola through three of them finds the peak."""
    return int(2 ** max(0, math.ceil(math.log2(_LAG_RATE_HZ / sample_rate))))


def _autocorrelation(frames: Array, heard: Array, window: Array, n_lags: int, finer: int) -> Array:
    """Return the windowed autocorrelation divided by the window's own (T, n_lags): 1 for a perfect period (Boersma
    1993).

    Lags are steps of 1 / `finer` samples, between the samples exactly, from the spectrum: a parabola through whole lags
    of 8 kHz leaves a period that falls between two of them 0.02 too low, more than an octave costs.

    Args:
        frames: (T, N).
        heard: (T, N), 1 inside the recording, 0 outside: at its ends a window is as long as what it hears, or short
            periods would seem better than long ones.
        window: (N,).
        n_lags: number of lags.
        finer: lags a sample.
    """
    n_fft = 1 << int(np.ceil(np.log2(window.shape[0] + n_lags // finer)))

    def correlated(values: Array) -> Array:
        power = np.abs(np.fft.rfft(values, n_fft, axis=1)) ** 2
        return np.asarray(np.fft.irfft(power, n_fft * finer, axis=1)[:, :n_lags])

    cut = heard.min(axis=1) < 1
    of_window = np.repeat(correlated(window[None]), frames.shape[0], axis=0)
    of_window[cut] = correlated(window * heard[cut])
    mean = frames.sum(axis=1, keepdims=True) / np.maximum(heard.sum(axis=1, keepdims=True), 1)
    correlation = correlated((frames - mean) * heard * window)
    normalized = correlation / np.where(correlation[:, :1] > 1e-12, correlation[:, :1], np.inf)
    of_window /= np.maximum(of_window[:, :1], 1e-12)
    return np.asarray(normalized / np.maximum(of_window, 1e-3), dtype=np.float64)


def _candidates(correlation: Array, sample_rate: int, least_lag: int) -> tuple[Array, Array]:
    """Return frequency (T, K) and peak height (T, K) of the best peaks; absent candidates have height -inf."""
    middle = correlation[:, least_lag:-1]
    before, after = correlation[:, least_lag - 1 : -2], correlation[:, least_lag + 1 :]
    peak = (middle >= before) & (middle > after) & (middle > 0.5 * _VOICING_THRESHOLD)
    curvature = 2 * middle - before - after
    offset = np.where(peak, 0.5 * (after - before) / np.where(curvature > 1e-9, curvature, 1.0), 0.0).clip(-0.5, 0.5)
    height = np.where(peak, middle + 0.25 * (after - before) * offset, -np.inf)
    lags = np.arange(least_lag, correlation.shape[1] - 1) + offset
    # Boersma's octave cost prefers the shorter of two equally good periods.
    score = height - _OCTAVE_COST * np.log2(FLOOR_HZ * lags / sample_rate)
    count = min(_N_CANDIDATES, score.shape[1])
    best = np.argpartition(-score, count - 1, axis=1)[:, :count]
    frequency = sample_rate / np.take_along_axis(lags, best, axis=1)
    return frequency, np.minimum(np.take_along_axis(height, best, axis=1), 1.0)


def _best_path(frequency: Array, score: Array, unvoiced_score: Array, hop_s: float) -> Array:
    """Return F0 (T,), NaN where unvoiced: the cheapest path through the candidates (Viterbi)."""
    n_frames = frequency.shape[0]
    scores = np.concatenate([unvoiced_score[:, None], score], axis=1)
    octaves = np.concatenate([np.zeros((n_frames, 1)), np.log2(frequency)], axis=1)
    step = 0.01 / hop_s
    total = scores[0]
    came_from = np.zeros(scores.shape, dtype=np.int64)
    for index in range(1, n_frames):
        cost = _OCTAVE_JUMP_COST * step * np.abs(octaves[index - 1][:, None] - octaves[index][None, :])
        cost[0, :] = cost[:, 0] = _VOICING_CHANGE_COST * step
        cost[0, 0] = 0.0
        reached = total[:, None] - cost
        came_from[index] = reached.argmax(axis=0)
        total = reached.max(axis=0) + scores[index]
    choice = np.zeros(n_frames, dtype=np.int64)
    choice[-1] = int(total.argmax())
    for index in range(n_frames - 1, 0, -1):
        choice[index - 1] = came_from[index, choice[index]]
    picked = np.take_along_axis(frequency, np.maximum(choice - 1, 0)[:, None], axis=1)[:, 0]
    return np.where(choice > 0, picked, np.nan)


def pitch_track(waveform: Array, sample_rate: int, hop_samples: int, n_frames: int) -> PitchTrack:
    """Follow the fundamental frequency from 70 to 500 Hz by normalized autocorrelation and a best path.

    Args:
        waveform: (N,).
        sample_rate: Hz.
        hop_samples: step between frames.
        n_frames: T.

    Source: Boersma 1993 (boersma1993accurate), with his costs; the silence threshold refers to the 95th percentile of
    the frames' peaks instead of the one highest sample, so that a click does not silence a recording.
    """
    length = int(3 * sample_rate / FLOOR_HZ) | 1
    finer = _finer(sample_rate)
    n_lags = int(np.ceil(finer * sample_rate / FLOOR_HZ)) + 2
    least_lag = max(2, int(finer * sample_rate / CEILING_HZ))
    window = np.hanning(length)
    frames, heard = (centered_frames(x, length, hop_samples, n_frames) for x in (waveform, np.ones(waveform.shape[0])))
    parts = []
    for start in range(0, n_frames, _CHUNK_FRAMES):
        chunk, inside = frames[start : start + _CHUNK_FRAMES], heard[start : start + _CHUNK_FRAMES]
        # Only the longest period around the center tells how loud this moment is: the window also hears its neighbors.
        loudest = np.abs(chunk - chunk.mean(axis=1, keepdims=True))[:, length // 3 : -(length // 3)].max(axis=1)
        parts.append(
            (
                *_candidates(_autocorrelation(chunk, inside, window, n_lags, finer), finer * sample_rate, least_lag),
                loudest,
            )
        )
    frequency, height, loudest = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    reference = float(np.percentile(loudest, 95))
    if reference <= 1e-9:
        return PitchTrack(np.full(n_frames, np.nan), np.zeros(n_frames), hop_samples)
    quiet = np.maximum(0.0, 2.0 - (loudest / reference) / (_SILENCE_THRESHOLD / (1 + _VOICING_THRESHOLD)))
    score = height - _OCTAVE_COST * np.log2(FLOOR_HZ / frequency)
    # Half a window is too little to change one's mind: a frame at either end goes on with what its neighbor has.
    cut, best = heard.min(axis=1) < 1, score.max(axis=1).clip(_VOICING_THRESHOLD)
    score = np.where(cut[:, None] & np.isfinite(score), best[:, None], score)
    voiceless = np.where(cut, best, _VOICING_THRESHOLD) + quiet
    f0 = _best_path(frequency, score, voiceless, hop_samples / sample_rate)
    return PitchTrack(f0, np.maximum(height.max(axis=1), 0.0), hop_samples)


def harmonicity_db(waveform: Array, sample_rate: int, track: PitchTrack) -> Array:
    """Return the harmonics-to-noise ratio of every voiced frame whose cycles are inside the recording, dB:
    10 log10(r / (1 - r)).

    r is the largest correlation of one longest period (1 / 70 s) with a stretch as long up to a longest period later,
    between samples from a windowed sinc. Boersma 1993 (boersma1993accurate) gives the formula; like Praat ("To
    Harmonicity (cc)") r is the correlation of two stretches and not of a tapered window of 4.5 periods, across which
    the pitch moves: that lies 1.5 dB lower on real voices.
    """
    length = int(sample_rate / FLOOR_HZ)
    span, finer = 2 * length + 2, _finer(sample_rate)
    first = np.flatnonzero(track.voiced) * track.hop_samples - span // 2
    first = first[(first >= 0) & (first + span <= waveform.shape[0])]
    n_fft = 1 << int(np.ceil(np.log2(span + length)))
    lags = np.arange(finer * (span - length) + 1) / finer
    below = np.minimum(lags.astype(np.int64), span - length - 1)
    values = []
    for start in range(0, first.shape[0], 256):
        chunk = waveform[first[start : start + 256, None] + np.arange(span)]
        chunk = chunk - chunk.mean(axis=1, keepdims=True)
        cross = np.fft.rfft(chunk, n_fft, axis=1) * np.fft.rfft(chunk[:, :length], n_fft, axis=1).conj()
        product = finer * np.fft.irfft(cross, n_fft * finer, axis=1)[:, : lags.shape[0]]
        total = np.cumsum(np.pad(chunk**2, ((0, 0), (1, 0))), axis=1)
        energy = total[:, length:] - total[:, :-length]
        later = energy[:, below] + (lags - below) * (energy[:, below + 1] - energy[:, below])
        correlation = product / np.sqrt(np.maximum(energy[:, :1] * later, 1e-18))
        before, middle, after = correlation[:, :-2], correlation[:, 1:-1], correlation[:, 2:]
        summit = middle + 0.125 * (after - before) ** 2 / np.maximum(2 * middle - before - after, 1e-9)
        best = np.where((middle >= before) & (middle > after), summit, 0.0).max(axis=1)
        # Between samples a correlation can come out above 1 by a little: as far above as it should be below.
        best = np.minimum(best, 1 / np.maximum(best, 1e-4)).clip(1e-4, 1 - 1e-9)
        values.append(10 * np.log10(best / (1 - best)))
    return np.concatenate(values) if values else np.zeros(0)


def _next_pulse(waveform: Array, energy_until: Array, at: float, period: float, direction: int) -> tuple[float, float]:
    """Return the lag (samples) and correlation of the cycle after (+1) or before (-1) the one centered at `at`."""
    half = max(2, round(period / 2))
    center = round(at)
    low, high = int(0.8 * period), int(np.ceil(1.25 * period))
    first = center - half + (low if direction > 0 else -high)
    last = center + half + 1 + (high if direction > 0 else -low)
    if min(first, center - half) < 0 or max(last, center + half + 1) > waveform.shape[0]:
        return 0.0, 0.0
    cycle = waveform[center - half : center + half + 1]
    # This runs once a cycle: what is spent on views and checks takes longer than the sums.
    size, n_lags = cycle.shape[0], last - first - cycle.shape[0] + 1
    energy = energy_until[first + size : first + size + n_lags] - energy_until[first : first + n_lags]
    energy *= float(cycle @ cycle)
    correlation = np.correlate(waveform[first:last], cycle, "valid") / np.sqrt(np.maximum(energy, 1e-18))
    best = int(correlation.argmax())
    if best in (0, correlation.shape[0] - 1):
        return 0.0, 0.0
    before, peak, after = correlation[best - 1 : best + 2]
    offset = 0.5 * (after - before) / max(2 * peak - before - after, 1e-12)
    lag = (low + best + offset) if direction > 0 else (high - best - offset)
    return float(lag), float(peak)


def pulses(waveform: Array, sample_rate: int, track: PitchTrack) -> list[Array]:
    """Return the times (samples, fractional) of glottal cycles, one array for every voiced run.

    From the strongest peak in the middle of a run, the next cycle is where the waveform correlates best with the
    present one, 0.8 to 1.25 periods away.
    """
    found: list[Array] = []
    waveform = np.asarray(waveform, dtype=np.float64)
    energy_until = np.concatenate([[0.0], np.cumsum(waveform**2)])
    edges = np.flatnonzero(np.diff(np.concatenate([[False], track.voiced, [False]]).astype(np.int8)))
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        if stop - start < 3:
            continue
        f0 = track.f0_hz[start:stop]
        grid = np.arange(start, stop) * track.hop_samples
        middle = int(grid[len(grid) // 2])
        period = sample_rate / float(f0[len(f0) // 2])
        first = max(0, round(middle - period / 2))
        span = waveform[first : round(middle + period / 2) + 1]
        if span.size == 0:
            continue
        seed = first + int(np.abs(span - span.mean()).argmax())
        times = [float(seed)]
        known_hz, began, ended = f0.tolist(), int(grid[0]), int(grid[-1])
        for direction in (1, -1):
            at = float(seed)
            while began <= at <= ended:
                place = (at - began) / track.hop_samples
                frame = min(int(place), len(known_hz) - 2)
                hz = known_hz[frame] + (place - frame) * (known_hz[frame + 1] - known_hz[frame])
                lag, correlation = _next_pulse(waveform, energy_until, at, sample_rate / hz, direction)
                if correlation < 0.3:
                    break
                at += direction * lag
                times.append(at)
        found.append(np.sort(np.asarray(times)))
    return found
