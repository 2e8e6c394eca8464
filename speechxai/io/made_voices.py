"""Recordings that are made, not read: the synthetic corpus of a run and its manifest."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import torch

from speechxai.config import EvaluateConfig
from speechxai.data.manifest import validate
from speechxai.types import Recording


def synthetic_voices(config: EvaluateConfig) -> list[Recording]:
    """Make the synthetic corpus: the same voices for the same seed, and none that `synthetic-cnn` was trained on."""
    from speechxai.data.synthetic import corpus

    return corpus(config.synthetic_speakers, config.seed + 1_000)


def resampled(voice: Recording, sample_rate: int) -> Recording:
    """Bring a recording to the sample rate that a network hears."""
    if voice.sample_rate == sample_rate:
        return voice
    import soxr  # type: ignore[import-untyped]

    waveform = soxr.resample(voice.waveform.numpy(), voice.sample_rate, sample_rate, quality="HQ")
    return replace(voice, waveform=torch.from_numpy(waveform).float(), sample_rate=sample_rate)


def manifest_of(voices: list[Recording]) -> pd.DataFrame:
    """Write the manifest of recordings that are in memory; their path is "(made)"."""
    rows = [
        {
            "recording": v.id,
            "path": "(made)",
            "speaker": v.speaker,
            "label": v.label,
            "task": v.task,
            "dataset": "synthetic",
        }
        for v in voices
    ]
    return validate(pd.DataFrame(rows))
