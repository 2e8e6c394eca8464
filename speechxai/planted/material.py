"""The recordings of a task: twins of one voice with and without the cue, dealt out to folds by speaker; and what else
than the cue would tell them apart."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from speechxai.data.cues import plant
from speechxai.data.splits import deal
from speechxai.data.synthetic import draw_speaker, twins
from speechxai.data.voice_model import CUE_TASKS, UtteranceSettings
from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.planted import ruler
from speechxai.planted.settings import SYNTHETIC, BenchmarkSettings, Task
from speechxai.planted.shortcuts import SHORTCUTS, Condition, bystander
from speechxai.signal.audio import resample
from speechxai.stats import regression_auc, separation
from speechxai.types import Recording, StftConfig

LEVEL_RANGE_DB = 12.0
"""Twins share a level drawn from this range below full scale, so that neither peak nor loudness gives the cue away."""

SHORTEST_S = 1.2
"""A shorter rest of a recording makes no piece."""

UTTERANCES = {
    "breathiness": ("vowel-a", "phrase", "ddk"),
    "tremor": ("vowel-a", "vowel-i", "vowel-u"),
    "amplitude_tremor": ("vowel-a", "vowel-i", "vowel-u"),
    "frequency_tremor": ("vowel-a", "vowel-i", "vowel-u"),
    "burst_weakening": ("ddk",),
    "formant_centralization": ("vowel-a", "vowel-i", "vowel-u"),
    "monopitch": ("phrase",),
}
"""What synthetic speakers say for each cue, in turn from take to take."""
SOUNDS = ["vowel-a", "phrase", "ddk"]
"""What they say where the recording is what differs."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Twins: one voice with the cue (label 1) and without it (label 0), at one gain."""

    with_cue: Recording
    without_cue: Recording
    bystander: Tensor | None = None
    """What both twins hold beside the cue, (N,), and no class is told by."""

    @property
    def twins(self) -> tuple[Recording, Recording]:
        """The twin without the cue and the one with it: by label."""
        return self.without_cue, self.with_cue

    def difference_db(self, stft: StftConfig) -> Tensor:
        """Return how much louder every bin (F, T) is with the cue, dB."""
        return ruler.difference_db(self.with_cue.waveform, self.without_cue.waveform, stft)


@dataclass(frozen=True, eq=False)
class Material:
    """The pairs of a task, and the pieces that could not carry the cue, by reason."""

    pairs: tuple[Pair, ...]
    skipped: Mapping[str, int]

    @property
    def recordings(self) -> list[Recording]:
        """Both twins of every pair, in turn."""
        return [recording for pair in self.pairs for recording in (pair.with_cue, pair.without_cue)]

    @property
    def speakers(self) -> list[str]:
        """The speakers, sorted."""
        return sorted({pair.with_cue.speaker for pair in self.pairs})


def make_material(task: Task, settings: BenchmarkSettings, bases: Sequence[Recording]) -> Material:
    """Make the twins of a task: the same task and settings give the same samples.

    Args:
        task: cue, severity and seed.
        settings: numbers of speakers, takes and pieces.
        bases: recordings of healthy speakers; not used for synthetic voices.

    Raises:
        SpeechXAIError: a recording that cannot be planted into.
    """
    return synthetic(task, settings) if task.material == SYNTHETIC else planted(task, settings, bases)


def seed_of(*parts: object) -> int:
    """Return a seed below 2^31 that depends on every part, the same on every machine.

    >>> seed_of("synthetic/tremor/1/0", 3) == seed_of("synthetic/tremor/1/0", 3)
    True
    """
    return zlib.crc32("|".join(map(str, parts)).encode()) & 0x7FFFFFFF


def _pair(
    name: str,
    speaker: str,
    sound: str,
    waveforms: tuple[Tensor, Tensor],
    seed: int,
    sex: str,
    has_bystander: bool = False,
) -> Pair:
    """Bring twins (N,) to one random level and label them; with a bystander of the cue's own energy in both."""
    with_cue, without_cue = waveforms
    beside = None
    if has_bystander:
        energy = float((with_cue.double() - without_cue.double()).square().sum())
        generator = np.random.default_rng([seed_of("bystander", seed)])
        beside = torch.from_numpy(bystander(len(with_cue), StftConfig().sample_rate, energy, generator))
        with_cue, without_cue = with_cue + beside, without_cue + beside
    peak = float(max(with_cue.abs().max(), without_cue.abs().max()))
    level = 10 ** (-LEVEL_RANGE_DB * np.random.default_rng(seed).random() / 20)
    gain = level / max(peak, 1e-9)
    made = [
        Recording(
            (waveform * gain).float(), StftConfig().sample_rate, f"{name}/{kind}", speaker, label, sound, {"sex": sex}
        )
        for waveform, kind, label in ((with_cue, "with", 1), (without_cue, "without", 0))
    ]
    return Pair(made[0], made[1], None if beside is None else (beside * gain).float())


def synthetic(task: Task, settings: BenchmarkSettings) -> Material:
    """Render the twins of synthetic speakers, half of them women."""
    pairs = []
    shortcut = SHORTCUTS.get(task.cue)
    sounds = SOUNDS if shortcut else [sound for sound in UTTERANCES[task.cue] if sound in CUE_TASKS[task.cue]]
    for index in range(settings.n_speakers):
        # Another seed's speakers are other people, and another cue's as well.
        generator = np.random.default_rng([seed_of(task.cue, task.seed), index])
        sex = "FM"[index % 2]
        name = f"{SYNTHETIC}/{task.cue}-{task.seed}-{index + 1:03d}"
        speaker = draw_speaker(name, sex, int(generator.integers(48, 82)), generator)
        for take in range(settings.n_takes):
            sound = sounds[(index + take) % len(sounds)]
            seed = seed_of(task.cue, task.seed, index, take)
            cues = {} if shortcut else {task.cue: task.severity}
            both = twins(speaker, UtteranceSettings(sound, settings.duration_s, cues), seed)
            waveforms = both.with_cue, both.without_cue
            if shortcut:
                waveforms = (
                    _in_another_recording(shortcut, both.without_cue, both.sample_rate, seed, task),
                    waveforms[1],
                )
            pairs.append(_pair(f"{name}/{sound}-{take}", name, sound, waveforms, seed + 1, sex, settings.bystander))
    return Material(tuple(pairs), {})


def _in_another_recording(shortcut: Condition, waveform: Tensor, sample_rate: int, seed: int, task: Task) -> Tensor:
    """A voice (N,) under the recording condition that goes with the class."""
    changed = shortcut(waveform.double().numpy(), sample_rate, np.random.default_rng(seed), task.severity)
    return torch.from_numpy(changed)


def pieces(recording: Recording, duration_s: float) -> list[Tensor]:
    """Cut a recording into pieces (N,) of at most `duration_s`, one after the other; a rest under SHORTEST_S is left
    out."""
    length = round(duration_s * recording.sample_rate)
    shortest = SHORTEST_S * recording.sample_rate
    cut = [recording.waveform[start : start + length] for start in range(0, len(recording.waveform), length)]
    return [piece for piece in cut if len(piece) >= shortest]


def planted(task: Task, settings: BenchmarkSettings, bases: Sequence[Recording]) -> Material:
    """Plant the cue into pieces of real recordings, at each recording's own sample rate."""
    taken: dict[str, int] = {}
    pairs: list[Pair] = []
    skipped: dict[str, int] = {}
    for base in bases:
        if base.label not in (None, 0):
            raise SpeechXAIError(
                f"{base.id}: cues are planted into healthy voices only, and this one is of another class."
            )
        for number, piece in enumerate(pieces(base, settings.duration_s)):
            if taken.get(base.speaker, 0) >= settings.n_pieces:
                break
            try:
                pairs += [_planted_pair(task, settings, base, piece, number, turn) for turn in range(settings.n_plants)]
            except NotApplicable as error:
                reason = str(error).split(". ")[0]
                skipped[reason] = skipped.get(reason, 0) + 1
                continue
            taken[base.speaker] = taken.get(base.speaker, 0) + 1
    return Material(tuple(pairs), skipped)


def _planted_pair(
    task: Task, settings: BenchmarkSettings, base: Recording, piece: Tensor, number: int, turn: int
) -> Pair:
    """Plant the cue into a piece (N,), at another place every turn. Raises NotApplicable where the piece cannot carry
    it."""
    seed = seed_of(task.cue, task.seed, base.id, number, turn)
    if task.cue in SHORTCUTS:
        changed = _in_another_recording(SHORTCUTS[task.cue], piece, base.sample_rate, seed, task)
    else:
        changed, _ = plant(task.cue, piece, base.sample_rate, seed=seed, severity=task.severity)
    with_cue, without_cue = (
        torch.from_numpy(resample(each.double().numpy(), base.sample_rate, StftConfig().sample_rate))
        for each in (changed, piece)
    )
    sex = str(base.metadata.get("sex", "unknown"))
    waveforms = with_cue, without_cue
    name = f"{base.id}/{number}-{turn}"
    return _pair(name, base.speaker, base.task, waveforms, seed + 1, sex, settings.bystander)


def folds_of(material: Material, n_folds: int, seed: int) -> list[int]:
    """Fold of every recording of `material.recordings`: speakers dealt out like cards, women and men apart.

    Raises:
        SpeechXAIError: fewer than 3 speakers, so that nobody is left to train, stop and test on.
    """
    speakers = material.speakers
    if len(speakers) < 3:
        raise SpeechXAIError(f"Speaker-disjoint folds need at least 3 speakers. Got {len(speakers)}.")
    sex_of = {pair.with_cue.speaker: str(pair.with_cue.metadata.get("sex")) for pair in material.pairs}
    chance = dict(zip(speakers, np.random.default_rng(seed).random(len(speakers)), strict=True))
    ordered = sorted(speakers, key=lambda speaker: (sex_of[speaker], chance[speaker]))
    home = deal(ordered, min(n_folds, len(speakers)))
    return [home[recording.speaker] for recording in material.recordings]


# What else would tell the twins apart.
def _contour(recording: Recording) -> list[float]:
    """Of the level in steps of 20 ms, dB: spread, range, mean step, and the share of its swing at 3 to 8 Hz."""
    step = recording.sample_rate // 50
    wave = recording.waveform.double().numpy()
    frames = wave[: len(wave) // step * step].reshape(-1, step)
    level = 20 * np.log10(np.sqrt(np.square(frames).mean(axis=1)).clip(1e-6))
    swing = np.abs(np.fft.rfft(level - level.mean())) ** 2
    rates = np.fft.rfftfreq(len(level), 0.02)
    slow = swing[(rates >= 3) & (rates <= 8)].sum() / max(swing.sum(), 1e-12)
    low, high = np.percentile(level, [5, 95])
    return [float(level.std()), float(high - low), float(np.abs(np.diff(level)).mean()), float(slow)]


def _crest(recording: Recording) -> list[float]:
    """Crest factor, dB, and kurtosis of the waveform."""
    wave = recording.waveform.double().numpy()
    wave = wave - wave.mean()
    power = max(float(np.square(wave).mean()), 1e-20)
    return [20 * float(np.log10(np.abs(wave).max() / np.sqrt(power))), float((wave**4).mean() / power**2)]


def _long_term_spectrum(recording: Recording) -> list[float]:
    """Mean power in 24 bands of equal width, dB relative to the whole."""
    power = np.abs(np.fft.rfft(recording.waveform.double().numpy())) ** 2
    bands = np.array([part.mean() for part in np.array_split(power, 24)])
    return [float(each) for each in 10 * np.log10((bands / max(power.mean(), 1e-20)).clip(1e-9))]


GIVEAWAYS = {"contour_auc": _contour, "crest_auc": _crest, "spectrum_auc": _long_term_spectrum}
"""Sets of measures that know no place: a logistic regression on one of them, by the folds of the task, must not be
forgotten where it reaches what the network does."""


def giveaways(material: Material, folds: Sequence[int]) -> dict[str, float]:
    """How well simple measures separate the classes: for RMS and peak alone the direction-free AUC, 0.5 to 1; for
    GIVEAWAYS the mean AUC within folds of a logistic regression on the other folds."""
    recordings = material.recordings
    labels = np.array([int(recording.label or 0) for recording in recordings])
    found = {
        "rms_auc": separation([float(r.waveform.square().mean().sqrt()) for r in recordings], labels),
        "peak_auc": separation([float(r.waveform.abs().max()) for r in recordings], labels),
    }
    for name, measure in GIVEAWAYS.items():
        values = np.array([measure(recording) for recording in recordings])
        found[name] = regression_auc(values, labels, np.asarray(folds))
    return found
