"""Render a synthetic take with its cues and without them, equal to the sample wherever no cue is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from speechxai.data.planted_truth import Truth, truth
from speechxai.data.synthetic_source import (
    SAMPLE_RATE,
    FloatArray,
    SpeakerSettings,
    Tracks,
    phase_cycles,
    synthesize,
)
from speechxai.data.synthetic_speech import (
    BLOCK_S,
    CUE_TASKS,
    TRACK_CUES,
    Event,
    Score,
    UtteranceSettings,
    block_times_s,
    compose,
)
from speechxai.errors import SpeechXAIError
from speechxai.types import StftConfig

# A cue's own ramps, and the time its resonances may ring before the twins must be equal again.
_RAMP_S, _RING_S = 0.05, 0.06


@dataclass(frozen=True, eq=False)
class Voice:
    """A rendered take: waveform (N,) float32 with peak 1, sample rate in Hz, and what happens where."""

    waveform: Tensor
    sample_rate: int
    events: tuple[Event, ...]


@dataclass(frozen=True, eq=False)
class Twins:
    """One take with its cues and without them: sample-identical outside the cues' intervals, at one gain.

    Args:
        with_cue, without_cue: (N,) float32; the first has peak 1.
        sample_rate: Hz.
        events: phones and cues of the take with cues.
    """

    with_cue: Tensor
    without_cue: Tensor
    sample_rate: int
    events: tuple[Event, ...]

    @property
    def intervals_s(self) -> tuple[tuple[float, float], ...]:
        """Start and end of every cue, s."""
        return tuple((event.start_s, event.end_s) for event in self.events if event.kind == "cue")

    def truth(self, stft: StftConfig | None = None) -> Truth:
        """Return where the twins differ in time and frequency, on the grid of `stft`."""
        return truth(self.with_cue, self.without_cue, stft)


def _place(score: Score, cue: str, generator: np.random.Generator) -> tuple[float, float]:
    """Draw the interval of a cue, s: 45 to 65 % of the take, inside its voiced part."""
    voiced = np.flatnonzero(score.tracks.voicing > 0.5)
    first, last = float(voiced[0]) * BLOCK_S, float(voiced[-1]) * BLOCK_S
    length = (0.45 + 0.2 * generator.random()) * (last - first)
    start = first + generator.random() * (last - first - length)
    end = start + length
    if cue == "burst_weakening":
        # From vowel to vowel, so that no closure is cut in two.
        middles = np.array([(event.start_s + event.end_s) / 2 for event in score.events if event.kind == "vowel"])
        start = float(middles[np.abs(middles[:-2] - start).argmin()])
        end = float(max(middles[np.abs(middles - end).argmin()], middles[middles > start][1]))
    return float(start), float(end)


def _window(n_blocks: int, start_s: float, end_s: float) -> FloatArray:
    """Return 0 outside the interval and 1 inside (K,), with raised-cosine ramps, 0 again before the ringing time."""
    times = block_times_s(n_blocks)
    ramp = np.minimum(times - start_s - BLOCK_S, end_s - _RING_S - times) / _RAMP_S
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * np.clip(ramp, 0, 1)), dtype=np.float64)


def _crossfade(n_samples: int, start_s: float, end_s: float) -> FloatArray:
    times = np.arange(n_samples) / SAMPLE_RATE
    ramp = np.minimum((times - start_s) / 0.002, (end_s - times) / 0.03)
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * np.clip(ramp, 0, 1)), dtype=np.float64)


def _aligned_phase(changed: Tracks, original: FloatArray, intervals: list[tuple[float, float]]) -> FloatArray:
    """Return the changed pitch's phase, led back to the original's at the end of every interval of a cue.

    The rest of a cycle is spread over the whole interval, so the pitch differs from the wanted one by a constant factor.
    """
    phase = phase_cycles(changed.f0_hz)
    rate = original.shape[0] / (changed.n_samples / SAMPLE_RATE)
    times = np.arange(original.shape[0]) / rate
    for start, end in sorted(intervals):
        inside = np.clip((times - start) / (end - _RING_S - start), 0, 1)
        last = min(int(np.ceil(end * rate)), phase.shape[0] - 1)
        phase = phase - (phase[last] - original[last]) * (3 * inside**2 - 2 * inside**3)
    return phase


def _render_both(
    speaker: SpeakerSettings, utterance: UtteranceSettings, seed: int
) -> tuple[FloatArray, FloatArray, tuple[Event, ...]]:
    """Return the take without and with cues (N,), not normalized, and the events."""
    score = compose(speaker, utterance, seed)
    without = synthesize(score.tracks, speaker, seed)
    cues = {name: severity for name, severity in utterance.cues.items() if severity > 0}
    if not cues:
        return without, without, score.events
    changed, cue_events = score, []
    fade = np.zeros(without.shape[0])
    pitch_intervals = []
    for name, severity in sorted(cues.items()):
        if utterance.task not in CUE_TASKS[name]:
            raise SpeechXAIError(
                f"The cue '{name}' cannot be heard in '{utterance.task}'. It needs one of: {', '.join(CUE_TASKS[name])}."
            )
        generator = np.random.default_rng([seed, 3, list(TRACK_CUES).index(name)])
        start, end = _place(score, name, generator)
        tracks = TRACK_CUES[name](changed, _window(score.tracks.f0_hz.shape[0], start, end), severity, generator)
        changed = replace(changed, tracks=tracks)
        fade = np.maximum(fade, _crossfade(without.shape[0], start, end))
        cue_events.append(Event("cue", name, start, end))
        if name in ("tremor", "monopitch"):
            pitch_intervals.append((start, end))
    phase = phase_cycles(score.tracks.f0_hz)
    if pitch_intervals:
        phase = _aligned_phase(changed.tracks, phase, _merged(pitch_intervals))
    with_cue = synthesize(changed.tracks, speaker, seed, phase)
    return without, without + fade * (with_cue - without), (*score.events, *cue_events)


def _merged(intervals: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Join overlapping intervals, so that the phase is led back once they are all over."""
    joined: list[tuple[float, float]] = []
    for start, end in sorted(intervals):
        if joined and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def twins(speaker: SpeakerSettings, utterance: UtteranceSettings, seed: int) -> Twins:
    """Render a take with the utterance's cues and without them, otherwise sample by sample the same.

    Raises:
        SpeechXAIError: a cue that cannot be heard in the utterance's task.
    """
    without, with_cue, events = _render_both(speaker, utterance, seed)
    gain = 1 / np.abs(with_cue).max()
    first, second = (torch.from_numpy((values * gain).astype(np.float32)) for values in (with_cue, without))
    return Twins(first, second, SAMPLE_RATE, events)


def render(speaker: SpeakerSettings, utterance: UtteranceSettings, seed: int) -> Voice:
    """Render a take: waveform (N,) float32 at 16 kHz with peak 1. The same arguments give identical bytes.

    Raises:
        SpeechXAIError: a cue that cannot be heard in the utterance's task.
    """
    pair = twins(speaker, utterance, seed)
    return Voice(pair.with_cue, SAMPLE_RATE, pair.events)
