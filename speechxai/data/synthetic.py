"""Synthetic voices with and without signs of Parkinson's disease, and hence with a known truth.

Everything here is labeled synthetic: ids and speakers start with `synthetic/`, `metadata["synthetic"]` is True. The
voices serve demonstrations, tests and benchmarks; they say nothing about real patients.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from speechxai.data.synthetic_render import Twins, Voice, render, twins
from speechxai.data.synthetic_source import SAMPLE_RATE, SpeakerSettings
from speechxai.data.synthetic_speech import CUE_TASKS, TASKS, TRACK_CUES, Event, UtteranceSettings
from speechxai.errors import SpeechXAIError
from speechxai.registry import did_you_mean
from speechxai.types import Recording

__all__ = [
    "CUE_TASKS",
    "SAMPLE_RATE",
    "TASKS",
    "Event",
    "SpeakerSettings",
    "Take",
    "Twins",
    "UtteranceSettings",
    "Voice",
    "corpus",
    "demo_corpus",
    "draw_speaker",
    "render",
    "takes",
    "twins",
]

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
            f"The cue '{cue}' cannot be heard in {silent_tasks}. It needs tasks of: {', '.join(CUE_TASKS[cue or 'tremor'])}."
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
            wanted = [name for name in TRACK_CUES if task in CUE_TASKS[name]] if cue is None else [cue]
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
    """Return the 16 recordings of the demonstration: 8 speakers whom no corpus with a small seed holds, two tasks each."""
    # Each pair of speakers leaves out the same task, so that tasks stay balanced between the classes.
    return [take.recording() for index, take in enumerate(takes(8, seed + 1_000)) if index % 3 != (index // 6) % 3]
