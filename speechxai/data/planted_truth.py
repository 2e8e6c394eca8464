"""The truth that a planted cue leaves behind: where twins with and without it differ."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from speechxai.errors import SpeechXAIError
from speechxai.stft import spectrogram
from speechxai.types import StftConfig


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
