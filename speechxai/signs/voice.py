"""A voice taken apart and put together again: glottal cycles moved, averaged and weighed, resonances filtered, levels
drawn anew.

Speech keeps its transients and its phase: cycles are moved whole (pitch-synchronous overlap-add), everything else is a
filter or a gain. There is no phase vocoder here: it smears bursts, and a classifier of bursts then answers to "rate".
Whatever changes nothing gives the samples back: marks that stay where they are, a filter of 1, a gain of 0 dB.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple, TypeVar, cast

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.ndimage import spline_filter1d, uniform_filter1d
from torch import Tensor

from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.signal.acoustics import (
    PAUSE,
    UNVOICED,
    VOICED,
    Stop,
    energy_db,
    formants_hz,
    speech_frames,
    stops,
)
from speechxai.signal.pitch import PitchTrack, pitch_track, pulses
from speechxai.signal.quality import bandwidth_hz
from speechxai.types import Array

T = TypeVar("T")

_BAND_FADE_HZ = 125.0
"""How gradually an edit ends below the end of a line's band."""
_LINES_END_HZ, _STEP_HZ, _LINE_FRAMES = (3000.0, 4500.0), 125.0, 300
_LEAST_DROP_DB = 25.0
_FEWEST_CYCLES = 4
_FINER = 2
_FILLER_S = 0.008
_AT_ONCE = 512
_GRAINS_AT_ONCE = 64
_KEPT_FRAMES = 3000
"""Spectra of recordings of up to 30 s are kept: 10 MB for each 10 s."""
_NEIGHBORS = (1.0, 2.0, 3.0, 4.0, 3.0, 2.0, 1.0)
"""Weights of the cycles that are averaged: what differs from cycle to cycle falls by 7.6 dB."""


@dataclass(frozen=True, eq=False)
class Voice:
    """A recording and what was found in it, each thing once.

    Args:
        waveform: (N,) float64.
        sample_rate: Hz.
    """

    waveform: Array
    sample_rate: int

    @property
    def hop_samples(self) -> int:
        """Step between frames, 10 ms; frame t is centered at sample t * hop_samples."""
        return int(max(1, self.sample_rate // 100))

    @property
    def n_frames(self) -> int:
        """Frames, T."""
        return int(-(-self.waveform.shape[0] // self.hop_samples) + 1)

    @property
    def frame_rate_hz(self) -> float:
        """Frames a second."""
        return self.sample_rate / self.hop_samples

    @cached_property
    def centers(self) -> Array:
        """Samples (T,)."""
        return np.arange(self.n_frames, dtype=np.float64) * self.hop_samples

    @cached_property
    def track(self) -> PitchTrack:
        """The fundamental frequency."""
        return pitch_track(self.waveform - self.waveform.mean(), self.sample_rate, self.hop_samples, self.n_frames)

    @cached_property
    def level_db(self) -> Array:
        """Level (T,), dB re full scale."""
        return energy_db(self.waveform - self.waveform.mean(), self.sample_rate, self.hop_samples, self.n_frames)

    @cached_property
    def speech(self) -> Array:
        """Which frames (T,) are louder than the pauses."""
        return speech_frames(self.level_db)

    @cached_property
    def kinds(self) -> Array:
        """What every frame (T,) holds: PAUSE, UNVOICED or VOICED; a single frame unlike both neighbors counts as
        they."""
        kinds = np.where(self.speech, np.where(self.track.voiced, VOICED, UNVOICED), PAUSE)
        before, after = np.append(kinds[:1], kinds[:-1]), np.append(kinds[1:], kinds[-1:])
        return np.asarray(np.median([before, kinds, after], axis=0), dtype=np.int8)

    @cached_property
    def f0(self) -> Array:
        """Fundamental frequency (T,), Hz, carried on through what is not voiced. Raises NotApplicable without any."""
        voiced = np.isfinite(self.track.f0_hz)
        if voiced.sum() < 10:
            raise NotApplicable("the recording has under 0.1 s of voice")
        at = np.flatnonzero(voiced)
        return np.exp(np.interp(np.arange(self.n_frames), at, np.log(self.track.f0_hz[voiced])))

    @cached_property
    def runs(self) -> tuple[Array, ...]:
        """Times of the glottal cycles, samples, of every voiced stretch of at least 4. Raises NotApplicable without."""
        found = tuple(
            marks
            for marks in (self._to_the_ends(x) for x in pulses(self.waveform, self.sample_rate, self.track))
            if marks.shape[0] >= _FEWEST_CYCLES
        )
        if sum(marks.shape[0] for marks in found) < 10:
            raise NotApplicable("the recording has fewer than 10 glottal cycles in voiced stretches")
        return found

    def _to_the_ends(self, marks: Array) -> Array:
        """Go on with marks (n,) by the pitch to both ends of their voiced stretch: where cycles are too unlike to be
        followed by their shape, they still have a length."""
        voiced = self.track.voiced
        middle = min(round(float(np.median(marks)) / self.hop_samples), self.n_frames - 1)
        silent = np.flatnonzero(~voiced)
        first = float((silent[silent < middle].max() + 1 if (silent < middle).any() else 0) * self.hop_samples)
        last = float(
            (silent[silent > middle].min() - 1 if (silent > middle).any() else self.n_frames) * self.hop_samples
        )
        before: list[float] = []
        after: list[float] = []
        while (at := (before or [marks[0]])[-1]) - (step := self._period(at)) >= first:
            before.append(at - step)
        while (at := (after or [marks[-1]])[-1]) + (step := self._period(at)) <= min(last, self.waveform.shape[0] - 1):
            after.append(at + step)
        return np.concatenate([before[::-1], marks, after])

    def _period(self, at: float) -> float:
        return float(self.sample_rate / np.interp(at, self.centers, self.f0))

    @cached_property
    def stops(self) -> tuple[Stop, ...]:
        """Closures and bursts of stops."""
        return stops(self.waveform, self.sample_rate)

    @cached_property
    def voicing(self) -> Array:
        """How much every sample (N,) belongs to the voice, 0 to 1, with soft edges of 20 ms."""
        return self.to_samples(self.kinds == VOICED, 0.02)

    @cached_property
    def loudness(self) -> Array:
        """Level (N,) as amplitude: root of the mean square over 30 ms."""
        power = uniform_filter1d(self.waveform**2, max(1, int(0.03 * self.sample_rate)))
        return np.asarray(np.sqrt(power.clip(0)), dtype=np.float64)

    @cached_property
    def fine(self) -> Array:
        """Coefficients of the spline that goes through the waveform at twice its rate (2 N + margin,)."""
        n = self.waveform.shape[0]
        length = next_fast_len(n + 64, real=True)
        spectrum = np.fft.rfft(self.waveform, length)
        return np.asarray(spline_filter1d(_FINER * np.fft.irfft(spectrum, _FINER * length), order=3, mode="mirror"))

    def read_from(self, starts: Array, n: int) -> Array:
        """Return `n` samples of the waveform from each of some fractional positions (K,) on, (K, n); 0 outside. How far
        between two samples they lie is the same for a whole row of them."""
        last = self.waveform.shape[0] - 1
        doubled = _FINER * starts
        whole = np.floor(doubled)
        f = (doubled - whole)[:, None]
        at = whole.astype(np.int64)
        # The four cubic splines that reach a place f behind a knot.
        splines = ((1 - f) ** 3, 4 - 6 * f**2 + 3 * f**3, 1 + 3 * f + 3 * f**2 - 3 * f**3, f**3)
        # Knots before the first are a mirror's, behind the last there is the last: rows are read as they lie.
        length = _FINER * (n - 1) + len(splines)
        low, high = max(0, 1 - int(at.min())), max(0, int(at.max()) - 1 + length - self.fine.shape[0])
        knots = self.fine
        if low or high:
            index = np.abs(np.arange(-low, self.fine.shape[0] + high)).clip(0, self.fine.shape[0] - 1)
            knots = self.fine[index]
        rows = np.lib.stride_tricks.sliding_window_view(knots, length)[at - 1 + low]
        values = np.zeros((starts.shape[0], n))
        for place, spline in enumerate(splines):
            values += spline / 6 * rows[:, place : place + _FINER * (n - 1) + 1 : _FINER]
        if starts.min() >= 0 and starts.max() + n - 1 <= last:
            return values
        positions = starts[:, None] + np.arange(n)
        return np.where((positions >= 0) & (positions <= last), values, 0.0)

    def to_samples(self, values: Array, smooth_s: float = 0.0) -> Array:
        """Interpolate frames (T,) to samples (N,), smoothed over `smooth_s`."""
        samples = np.interp(np.arange(self.waveform.shape[0]), self.centers, np.asarray(values, dtype=np.float64))
        width = int(smooth_s * self.sample_rate)
        return np.asarray(uniform_filter1d(samples, width), dtype=np.float64) if width > 1 else samples

    @cached_property
    def harmonic(self) -> Array:
        """What glottal cycles share with their neighbors (N,): a comb filter along the pitch (lim1978evaluation).

        Each cycle is the weighted mean of itself and the three on either side, put on its own mark; what is not voiced
        stays.
        """
        total = np.zeros_like(self.waveform)
        reach = len(_NEIGHBORS) // 2
        for offset, weight in zip(range(-reach, reach + 1), _NEIGHBORS, strict=True):
            placed = [
                Placed(marks, marks, np.clip(np.arange(marks.shape[0]) + offset, 0, marks.shape[0] - 1))
                for marks in self.runs
            ]
            total += weight / sum(_NEIGHBORS) * overlap_added(self, placed)
        return total

    @property
    def n_fft(self) -> int:
        """Points of the transform of a frame of 20 ms: four times its length, or a few more."""
        return int(next_fast_len(8 * self.hop_samples, real=True))

    def spectra_of(self, signal: Array, part: slice) -> Array:
        """Spectra (frames, F) of frames of a signal (N,), 20 ms under a Hann window every 10 ms."""
        hop, length = self.hop_samples, 2 * self.hop_samples
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
        padded = np.concatenate([np.zeros(hop), signal, np.zeros(length)])
        frames = np.lib.stride_tricks.sliding_window_view(padded, length)[::hop][part]
        return np.asarray(rfft(frames * window, self.n_fft))

    @cached_property
    def _spectra(self) -> dict[int, Array]:
        return {}

    def spectra(self, part: slice) -> Array:
        """`spectra_of` the waveform, of short recordings made once."""
        if part.start not in self._spectra:
            found = self.spectra_of(self.waveform, part)
            if self.n_frames > _KEPT_FRAMES:
                return found
            self._spectra[part.start] = found
        return self._spectra[part.start]

    @cached_property
    def _made(self) -> dict[str, object]:
        return {}

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What `make` gives, made once for this voice and kept by name: a dial is turned to several doses."""
        if name not in self._made:
            self._made[name] = make()
        return cast("T", self._made[name])

    @cached_property
    def formants(self) -> tuple[Array, Array]:
        """F1 and F2 (T,), Hz, smooth, carried on through what is not voiced. Raises NotApplicable without."""
        from scipy.ndimage import median_filter

        voiced = np.flatnonzero(self.kinds == VOICED)
        found = formants_hz(self.waveform, self.sample_rate, self.centers[voiced])
        good = np.isfinite(found).all(axis=1)
        if good.sum() < 10:
            raise NotApplicable("resonances were found in less than 0.1 s of the voice")
        tracks = []
        for values in found[good].T:
            steady = uniform_filter1d(median_filter(values, size=5, mode="nearest"), 3, mode="nearest")
            tracks.append(np.interp(np.arange(self.n_frames), voiced[good], steady))
        return tracks[0], tracks[1]

    @cached_property
    def band_hz(self) -> float:
        """Highest frequency that is heard, Hz."""
        return bandwidth_hz(self.waveform - self.waveform.mean(), self.sample_rate)

    @cached_property
    def line_hz(self) -> float:
        """Where the band of a narrow line ends, as the telephone's does, Hz; infinity where none is seen.

        Between 3 and 4.5 kHz the level falls by at least 25 dB within 500 Hz, and nothing above is louder: telephone
        vowels fall by 77 to 102 dB, and full-band voices, noisy and dark ones too, by at most 10, for a voice that
        sinks into the noise of a room sinks no further. The end is where half of the fall, in dB, is done.
        """
        length = 2 * round(self.sample_rate / 50)
        n_steps = int(self.sample_rate / 2 / _STEP_HZ)
        if self.waveform.shape[0] < length or n_steps * _STEP_HZ < _LINES_END_HZ[0] + 4 * _STEP_HZ:
            return np.inf
        frames = np.lib.stride_tricks.sliding_window_view(self.waveform, length)[:: length // 2]
        loudest = np.argsort(-(frames**2).sum(axis=1), kind="stable")[:_LINE_FRAMES]
        power = (np.abs(np.fft.rfft(frames[loudest] * np.blackman(length), axis=1)) ** 2).mean(axis=0)
        edges = np.round(np.arange(n_steps) * _STEP_HZ * length / self.sample_rate).astype(np.int64)
        level = 10 * np.log10(np.add.reduceat(power, edges) / np.diff(edges, append=power.shape[0]) + 1e-30)
        found, drop = np.inf, _LEAST_DROP_DB
        for end in range(int(_LINES_END_HZ[0] / _STEP_HZ), int(_LINES_END_HZ[1] / _STEP_HZ) + 1):
            before, after = float(level[end - 6 : end - 2].mean()), level[end + 2 :]
            if after.size >= 2 and before - float(after.max()) > drop:
                drop = before - float(after.max())
                found = _STEP_HZ * float(
                    end - 2 + np.flatnonzero(level[end - 2 :] > before - drop / 2).max(initial=0) + 1
                )
        return found

    def in_band(self, result: Array) -> Array:
        """Take an edit (M,) up to where the band of a narrow line ends, and above it what stood there: a line that
        passes nothing of a voice passes nothing of an edit either.

        Without it a regression on spectra tells most edits of telephone voices from the untouched voice, and a network
        can. Recordings without such an end, and edits that change how long they are, stay as they are.
        """
        if self.line_hz == np.inf or result.shape != self.waveform.shape:
            return result
        n = result.shape[0]
        above = np.clip((np.fft.rfftfreq(n, 1 / self.sample_rate) - self.line_hz) / _BAND_FADE_HZ + 1, 0, 1)
        return np.asarray(result + np.fft.irfft(above * np.fft.rfft(self.waveform - result), n), dtype=np.float64)

    def leveled(self, result: Array) -> Array:
        """Bring a result (M,) to the power that the speech of this voice has."""
        before, after = float((self.waveform**2).sum()), float((result**2).sum())
        return result * np.sqrt(before / after) if after > 0 else result


_ANALYSES: ContextVar[dict[str, Voice] | None] = ContextVar("analyses", default=None)


@contextmanager
def analyses() -> Iterator[None]:
    """Take every voice apart once while the context lasts, known by its samples."""
    token = _ANALYSES.set({})
    try:
        yield
    finally:
        _ANALYSES.reset(token)


def taken_apart(waveform: Tensor | Array, sample_rate: int) -> Voice:
    """Return the voice of a waveform (N,); within `analyses` that of equal samples is found again.

    Raises:
        SpeechXAIError: more than one channel, nothing, or samples that are not finite.
    """
    values = waveform.detach().cpu().numpy() if isinstance(waveform, Tensor) else np.asarray(waveform)
    array = np.ascontiguousarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise SpeechXAIError(
            f"The 'waveform' must have one channel, shape (N,), of finite samples. Got shape {array.shape}."
        )
    known = _ANALYSES.get()
    if known is None:
        return Voice(array, sample_rate)
    name = f"{sample_rate}|{hashlib.sha256(array.tobytes()).hexdigest()}"
    return known.setdefault(name, Voice(array, sample_rate))


class Placed(NamedTuple):
    """Cycles of one voiced stretch on their new places.

    Args:
        marks: where the cycles are, samples (n,).
        targets: where cycles go, samples (K,).
        sources: which cycle goes there (K,).
        gains: by what its amplitude is multiplied (K,); None is 1.
    """

    marks: Array
    targets: Array
    sources: Array
    gains: Array | None = None


class _Grains(NamedTuple):
    """Samples of grains, run by run: where they go, what stands there, with which weight (all (S,)), and how far the
    outer grains of each run reach: first and last sample, the length before its first mark and behind its last."""

    at: Array
    values: Array
    weight: Array
    reach: list[tuple[int, int, float, float]]


def _grains(voice: Voice, placed: Sequence[Placed]) -> _Grains:
    """Cut the grains of all runs at once."""
    parts = []
    for marks, targets, sources, gains in placed:
        before = np.diff(marks, prepend=2 * marks[0] - marks[1])[sources]
        after = np.diff(marks, append=2 * marks[-1] - marks[-2])[sources]
        # A grain reaches its neighbors, so that nothing between two of them is left without.
        steps = np.diff(targets)
        if steps.shape[0]:
            before = np.maximum(before, np.append(steps[0], steps))
            after = np.maximum(after, np.append(steps, steps[-1]))
        parts.append((targets, marks[sources], before, after, np.ones_like(targets) if gains is None else gains))
    targets, marks_there, before, after, gains = (np.concatenate(column) for column in zip(*parts, strict=True))
    first = np.ceil(targets - before).astype(np.int64)
    lengths = np.floor(targets + after).astype(np.int64) - first + 1
    cut: list[tuple[Array, Array, Array]] = []
    # Grains nearly as long as each other lie in one block, in order.
    for start in range(0, targets.shape[0], _GRAINS_AT_ONCE):
        rows = slice(start, start + _GRAINS_AT_ONCE)
        most = int(lengths[rows].max())
        within = np.arange(most)
        there = within < lengths[rows, None]
        away = within + (first - targets)[rows, None]
        turn = np.where(away < 0, np.pi / before[rows, None], np.pi / after[rows, None])
        values = gains[rows, None] * voice.read_from((marks_there + first - targets)[rows], most)
        weight = 0.5 + 0.5 * np.cos(away * turn)
        cut.append(((within + first[rows, None])[there], values[there], weight[there]))
    at, values, weight = (np.concatenate(column) for column in zip(*cut, strict=True))
    runs = np.cumsum([0, *(part[0].shape[0] for part in parts)])
    reach = [
        (int(first[a]), int(first[b - 1] + lengths[b - 1] - 1), float(before[a]), float(after[b - 1]))
        for a, b in pairwise(runs)
    ]
    return _Grains(at, values, weight, reach)


def overlap_added(voice: Voice, placed: Sequence[Placed]) -> Array:
    """Put cycles on their places, each stretch for itself: the waveform (N,), of the same length.

    Pitch-synchronous overlap-add (moulines1990pitch): grains of two cycles under a Hann window with its top on the
    mark, divided by the sum of the windows. Outside of the stretches the recording is as it was; at their ends it is
    crossfaded within a cycle. Cycles on their own marks give the recording back.
    """
    if not placed:
        return np.array(voice.waveform)
    n = voice.waveform.shape[0]
    own = np.ones(n)
    at, values, weight, reach = _grains(voice, placed)
    for run, (low, high, before, after) in zip(placed, reach, strict=True):
        span = np.arange(max(0, low), min(n, high + 1))
        outside = np.maximum((run.targets[0] - span) / before, (span - run.targets[-1]) / after).clip(0, 1)
        own[span] = np.minimum(own[span], 0.5 - 0.5 * np.cos(np.pi * outside))
    total, weights = _added(at, values, weight, n)
    return (total + own * voice.waveform) / np.maximum(weights + own, 1e-6)


def _added(at: Array, values: Array, weight: Array, n: int) -> tuple[Array, Array]:
    """Sums of weighted values and of weights at every sample (n,)."""
    weight = np.where((at >= 0) & (at < n), weight, 0.0)
    at = at.clip(0, n - 1)
    return np.bincount(at, weight * values, minlength=n), np.bincount(at, weight, minlength=n)


def at_pitch(voice: Voice, marks: Array, factor: Array) -> Placed:
    """Place the cycles of a stretch so that its pitch is multiplied by `factor` (n - 1,), one for each cycle.

    Counted in cycles, the stretch is as long as its factors sum to; at every whole count stands the nearest cycle.
    """
    count = np.concatenate([[0.0], np.cumsum(factor)])
    whole = np.arange(int(np.floor(count[-1] + 1e-6)) + 1, dtype=np.float64)
    targets = np.interp(whole, count, marks)
    sources = np.rint(np.interp(whole, count, np.arange(marks.shape[0]))).astype(np.int64)
    return Placed(marks, targets, sources)


def repitched(voice: Voice, factor: Array) -> Array:
    """Multiply the pitch by `factor` (T,), one for each frame; formants, timing and what is not voiced stay (N,)."""
    placed = []
    for marks in voice.runs:
        middles = 0.5 * (marks[1:] + marks[:-1])
        placed.append(at_pitch(voice, marks, np.interp(middles, voice.centers, factor)))
    return overlap_added(voice, placed)


def retimed(voice: Voice, stretch: Array) -> Array:
    """Make every sample last `stretch` (N,) times as long; pitch and formants stay. Returns (M,), M = sum of stretch.

    One chain of marks runs through the whole recording: glottal cycles, and every 8 ms where there are none.
    """
    n = voice.waveform.shape[0]
    marks: list[Array] = []
    reached = 0.0
    for run in (*voice.runs, np.array([float(n - 1)])):
        run = run[run > reached + 1e-6] if reached else run[run > 0]
        if run.shape[0] == 0:
            continue
        n_between = max(1, round((run[0] - reached) / (_FILLER_S * voice.sample_rate)))
        marks.append(reached + (run[0] - reached) * np.arange(n_between) / n_between)
        marks.append(run[:-1])
        reached = float(run[-1])
    chain = np.append(np.concatenate(marks), reached)
    clock = np.concatenate([[0.0], np.cumsum(stretch)])
    later = np.interp(chain, np.arange(n + 1), clock)
    count = np.concatenate([[0.0], np.cumsum(np.diff(later) / np.diff(chain))])
    whole = np.arange(int(np.floor(count[-1] + 1e-6)) + 1, dtype=np.float64)
    targets = np.interp(whole, count, later)
    sources = np.rint(np.interp(whole, count, np.arange(chain.shape[0]))).astype(np.int64)
    at, values, weight, _ = _grains(voice, [Placed(chain, targets, sources)])
    total, weights = _added(at, values, weight, round(float(clock[-1])))
    return total / np.maximum(weights, 1e-3)


def filtered(voice: Voice, response: Callable[[Array, slice], Array], source: Array | None = None) -> Array:
    """Filter the waveform (N,), or a `source` (N,) of the same length, by a response that moves with time.

    Args:
        voice: what is filtered.
        response: of frequencies (F,), Hz, and a slice of the voice's frames to the response (frames, F), complex or
            real.
        source: instead of the voice.

    Frames of 20 ms under a Hann window every 10 ms, each padded to four times its length and filtered for itself: the
    windows sum to 1, so a response of 1 gives the samples back.
    """
    signal = voice.waveform if source is None else source
    hop = voice.hop_samples
    n_fft = voice.n_fft
    n_frames = voice.n_frames
    # In steps of whole hops, so that frames are added by their place and not one by one.
    n_steps = -(-n_fft // hop)
    result = np.zeros((n_frames + n_steps, hop))
    frequency = np.fft.rfftfreq(n_fft, 1 / voice.sample_rate)
    for start in range(0, n_frames, _AT_ONCE):
        part = slice(start, min(n_frames, start + _AT_ONCE))
        changed = voice.spectra(part) if source is None else voice.spectra_of(signal, part)
        filled = np.zeros((part.stop - part.start, n_steps * hop))
        filled[:, :n_fft] = irfft(changed * response(frequency, part), n_fft)
        for step in range(n_steps):
            result[part.start + step : part.stop + step] += filled[:, step * hop : (step + 1) * hop]
    return result.reshape(-1)[hop : hop + signal.shape[0]]


def resonance(frequency_hz: Array, center_hz: Array, bandwidth_hz: Array, sample_rate: int) -> Array:
    """Response (K, F) at frequencies (F,) of digital resonators with centers and bandwidths (K,), Hz; 1 at 0 Hz."""
    turn = np.exp(-2j * np.pi * frequency_hz / sample_rate)
    radius = np.exp(-np.pi * bandwidth_hz / sample_rate)[:, None]
    first = 2 * radius * np.cos(2 * np.pi * center_hz / sample_rate)[:, None]
    return np.asarray((1 - first + radius**2) / (1 - first * turn + radius**2 * turn**2))


def gained(voice: Voice, gain_db: Array) -> Array:
    """Multiply the waveform by a gain (T,), dB, interpolated between frames: (N,)."""
    return np.asarray(voice.waveform * 10 ** (voice.to_samples(gain_db) / 20), dtype=np.float64)


def spliced(parts: Sequence[Array], fade: int) -> Array:
    """Join parts, each crossfaded with the next over `fade` samples: as long as all of them less `fade` a joint."""
    result = parts[0]
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(fade) + 0.5) / fade)
    for part in parts[1:]:
        joint = result[-fade:] * (1 - ramp) + part[:fade] * ramp
        result = np.concatenate([result[:-fade], joint, part[fade:]])
    return np.asarray(result, dtype=np.float64)
