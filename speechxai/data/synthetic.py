"""Synthetic voices with and without signs of Parkinson's disease, and hence with a known truth.

Everything here is labeled synthetic: ids and speakers start with `synthetic/`, `metadata["synthetic"]` is True. The
voices serve demonstrations, tests and benchmarks; they say nothing about real patients.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from speechxai.data.cues import Truth, truth
from speechxai.data.voice_model import (
    BLOCK_S,
    CUE_TASKS,
    HALVES_OF_TREMOR,
    SAMPLE_RATE,
    TRACK_CUES,
    Event,
    Score,
    SpeakerSettings,
    Tracks,
    UtteranceSettings,
    block_times_s,
    compose,
    phase_cycles,
    synthesize,
)
from speechxai.errors import SpeechXAIError, did_you_mean
from speechxai.types import Array, Recording, StftConfig

# Render a synthetic take with its cues and without them, equal to the sample wherever no cue is.
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


def _window(n_blocks: int, start_s: float, end_s: float) -> Array:
    """Return 0 outside the interval and 1 inside (K,), with raised-cosine ramps, 0 again before the ringing time."""
    times = block_times_s(n_blocks)
    ramp = np.minimum(times - start_s - BLOCK_S, end_s - _RING_S - times) / _RAMP_S
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * np.clip(ramp, 0, 1)), dtype=np.float64)


def _crossfade(n_samples: int, start_s: float, end_s: float) -> Array:
    times = np.arange(n_samples) / SAMPLE_RATE
    ramp = np.minimum((times - start_s) / 0.002, (end_s - times) / 0.03)
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * np.clip(ramp, 0, 1)), dtype=np.float64)


def _aligned_phase(changed: Tracks, original: Array, intervals: list[tuple[float, float]]) -> Array:
    """Return the changed pitch's phase, led back to the original's at the end of every interval of a cue.

    The rest of a cycle is spread over the whole interval, so the pitch differs from the wanted one by a constant
    factor.
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
) -> tuple[Array, Array, tuple[Event, ...]]:
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
                f"The cue '{name}' cannot be heard in '{utterance.task}'. It needs one of:"
                f" {', '.join(CUE_TASKS[name])}."
            )
        generator = np.random.default_rng([seed, 3, list(TRACK_CUES).index(name)])
        start, end = _place(score, name, generator)
        tracks = TRACK_CUES[name](changed, _window(score.tracks.f0_hz.shape[0], start, end), severity, generator)
        changed = replace(changed, tracks=tracks)
        fade = np.maximum(fade, _crossfade(without.shape[0], start, end))
        cue_events.append(Event("cue", name, start, end))
        if name in ("tremor", "frequency_tremor", "monopitch"):
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


# Synthetic voices with and without signs of Parkinson's disease, and hence with a known truth.
DEFAULT_TASKS = ("vowel-a", "ddk", "phrase")


@dataclass(frozen=True)
class Take:
    """All that determines a synthetic recording: equal takes give equal samples.

    Args:
        speaker: who.
        utterance: what, with which cues.
        seed: of noise, jitter, melody and the cues' places.
        label: 0 = HC, 1 = PD.
    """

    speaker: SpeakerSettings
    utterance: UtteranceSettings
    seed: int
    label: int

    @property
    def id(self) -> str:
        """Unique name within a corpus."""
        return f"{self.speaker.name}/{self.utterance.task}-{self.seed}"

    def recording(self) -> Recording:
        """Render the take as a labeled recording; metadata has age, sex, severity, cues, seed and synthetic = True."""
        cues = dict(self.utterance.cues)
        metadata = {
            "synthetic": True,
            "dataset": "synthetic",
            "age": self.speaker.age,
            "sex": self.speaker.sex,
            "severity": max(cues.values(), default=0.0),
            "cues": cues,
            "seed": self.seed,
        }
        voice = render(self.speaker, self.utterance, self.seed)
        return Recording(
            voice.waveform, SAMPLE_RATE, self.id, self.speaker.name, self.label, self.utterance.task, metadata
        )

    def twins(self) -> Twins:
        """Render the take with its cues (the same samples as `recording`) and without them."""
        return twins(self.speaker, self.utterance, self.seed)


def draw_speaker(name: str, sex: str, age: int, generator: np.random.Generator) -> SpeakerSettings:
    """Draw a speaker's habits; sexes differ in pitch and tract (peterson1952control), nothing depends on a label."""
    female = sex == "F"
    return SpeakerSettings(
        name=name,
        sex=sex,
        age=age,
        f0_hz=float((200 if female else 118) * 2 ** (generator.normal(0, 2.0) / 12)),
        tract_scale=float((1.16 if female else 1.0) * generator.normal(1, 0.03)),
        open_quotient=float(np.clip(generator.normal(0.62 if female else 0.56, 0.04), 0.45, 0.75)),
        tilt_hz=float(np.clip(generator.normal(2200, 500), 1000, 4000)),
        aspiration_db=float(np.clip(generator.normal(-22, 2.5), -28, -16)),
        jitter_percent=float(np.clip(generator.normal(0.45, 0.15), 0.15, 1.0)),
        shimmer_percent=float(np.clip(generator.normal(2.5, 0.8), 1.0, 5.0)),
        room_noise_db=float(generator.uniform(-68, -54)),
        pace=float(np.clip(generator.normal(1.0, 0.08), 0.8, 1.25)),
    )


def takes(
    n_speakers: int = 40,
    seed: int = 0,
    cue: str | None = None,
    severity: float | None = None,
    tasks: Iterable[str] | None = None,
) -> list[Take]:
    """Draw the takes of a corpus without rendering them: pairs of an HC and a PD speaker, alike in sex and age.

    Args:
        n_speakers: half of them HC, half PD (HC one more if odd).
        seed: equal seeds give equal takes.
        cue: what PD voices carry; None: all cues that the task allows, each with its own severity.
        severity: 0 to 1 for every PD take; None: 0.4 to 1, drawn for each speaker.
        tasks: of TASKS; by default vowel-a, ddk and phrase, or those of them where the cue can be heard.

    Raises:
        SpeechXAIError: fewer than 2 speakers, an unknown cue or task, a cue that none of the tasks allows.
    """
    if n_speakers < 2:
        raise SpeechXAIError(f"The 'n_speakers' parameter must be at least 2. Got {n_speakers} instead.")
    if cue is not None and cue not in TRACK_CUES:
        raise SpeechXAIError(did_you_mean(cue, list(TRACK_CUES), "cue"))
    chosen = (
        tuple(tasks) if tasks is not None else tuple(t for t in DEFAULT_TASKS if cue is None or t in CUE_TASKS[cue])
    )
    silent_tasks = [task for task in chosen if cue is not None and task not in CUE_TASKS[cue]]
    if silent_tasks or not chosen:
        raise SpeechXAIError(
            f"The cue '{cue}' cannot be heard in {silent_tasks}. It needs tasks of:"
            f" {', '.join(CUE_TASKS[cue or 'tremor'])}."
        )
    result = []
    for index in range(n_speakers):
        pair, label = divmod(index, 2)
        of_pair = np.random.default_rng([seed, 5, pair])
        sex, age = "FM"[pair % 2], int(of_pair.integers(48, 82))
        generator = np.random.default_rng([seed, 6, index])
        age = int(np.clip(age + generator.integers(-2, 3), 45, 85))
        # Another seed's first speaker is another person, and must not bear the same name.
        series = "s" if seed == 0 else f"c{seed}s"
        speaker = draw_speaker(f"synthetic/{series}{index + 1:03d}", sex, age, generator)
        strength = float(generator.uniform(0.4, 1.0)) if severity is None else severity
        for position, task in enumerate(chosen):
            duration_s = round(float(generator.uniform(2.0, 4.0)), 2)
            all_cues = [name for name in TRACK_CUES if name not in HALVES_OF_TREMOR]
            wanted = [name for name in all_cues if task in CUE_TASKS[name]] if cue is None else [cue]
            shares = (
                generator.uniform(0.6, 1.0, len(wanted)) if severity is None and cue is None else np.ones(len(wanted))
            )
            cues = {name: float(strength * share) for name, share in zip(wanted, shares, strict=True)} if label else {}
            take_seed = int(np.random.default_rng([seed, 7, index, position]).integers(0, 2**31))
            result.append(Take(speaker, UtteranceSettings(task, duration_s, cues), take_seed, label))
    return result


def corpus(
    n_speakers: int = 40,
    seed: int = 0,
    cue: str | None = None,
    severity: float | None = None,
    tasks: Iterable[str] | None = None,
) -> list[Recording]:
    """Render a labeled corpus of synthetic voices; arguments and errors as for `takes`.

    Recordings are 16 kHz, 2 to 4 s, peak 1. HC voices carry no cue. Durations, levels, noise, age and sex are drawn
    alike for both classes, so nothing but the cues tells them apart.
    """
    return [take.recording() for take in takes(n_speakers, seed, cue, severity, tasks)]


def demo_corpus(seed: int = 0) -> list[Recording]:
    """Return the 16 recordings of the demonstration: 8 speakers whom no corpus with a small seed holds, two tasks
    each."""
    # Each pair of speakers leaves out the same task, so that tasks stay balanced between the classes.
    return [take.recording() for index, take in enumerate(takes(8, seed + 1_000)) if index % 3 != (index // 6) % 3]
