"""Methods that change the recording and watch the logit: they need no gradient and serve every network."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from speechxai.attribution.base import METHODS, check_target
from speechxai.attribution.boxes import Box, logit_drops, paint, runs, windows
from speechxai.errors import SpeechXAIError
from speechxai.types import Spectrogram

BAND_EDGES_HZ = (0.0, 150.0, 300.0, 600.0, 1200.0, 2400.0, 4000.0, 6000.0, 8000.0)
"""Edges of octave-like bands: voice fundamental, first harmonics, first formant, second formant, upper formants, frication."""


@METHODS.register(signed=True, stochastic=False, cites="zeiler2014visualizing")
def occlusion(
    model: nn.Module,
    spec: Spectrogram,
    target: Tensor,
    *,
    patch_ms: float = 250.0,
    patch_hz: float = 1000.0,
    stride_ms: float = 125.0,
    stride_hz: float = 500.0,
) -> Tensor:
    """Fall of the logit when a time-frequency patch is silenced, mean over the patches that hold a bin, (B, F, T).

    Args:
        patch_ms, patch_hz: size of the patch, milliseconds and Hz; rounded to whole frames and bins, at least one.
        stride_ms, stride_hz: step between patches; at most the patch, so that every bin is tried.

    Raises:
        SpeechXAIError: a size or step out of range.
    """
    check_target(spec, target)
    for name, stride, patch in (("stride_ms", stride_ms, patch_ms), ("stride_hz", stride_hz, patch_hz)):
        if not 0 < stride <= patch:
            raise SpeechXAIError(
                f"The '{name}' parameter of occlusion must be above 0 and at most the patch, {patch}. Got {stride!r} instead."
            )
    _, n_bins, n_frames = spec.magnitude.shape
    frames, step = (max(1, round(value * 1e-3 * spec.stft.frame_rate_hz)) for value in (patch_ms, stride_ms))
    bins, bin_step = (max(1, round(value / spec.stft.bin_hz)) for value in (patch_hz, stride_hz))
    boxes = [
        Box(recording, low, high, start, stop)
        for recording in range(len(spec))
        for start, stop in windows(n_frames, frames, step)
        for low, high in windows(n_bins, bins, bin_step)
    ]
    return paint(spec, boxes, logit_drops(model, spec, target, boxes))


@METHODS.register(signed=True, stochastic=False, cites="zeiler2014visualizing")
def band_occlusion(
    model: nn.Module, spec: Spectrogram, target: Tensor, *, edges_hz: tuple[float, ...] = BAND_EDGES_HZ
) -> Tensor:
    """Fall of the logit when a whole frequency band is silenced, written on every bin of the band, (B, F, T).

    Args:
        edges_hz: rising edges of the bands, Hz; a bin belongs to the band that holds its center frequency. Bins outside all
            bands get 0; edges above half the sample rate end there.

    Raises:
        SpeechXAIError: fewer than two edges, or edges that do not rise.
    """
    check_target(spec, target)
    if len(edges_hz) < 2 or any(low >= high for low, high in pairwise(edges_hz)):
        raise SpeechXAIError(
            f"The 'edges_hz' parameter of band_occlusion must be at least two rising numbers. Got {edges_hz!r} instead."
        )
    _, n_bins, n_frames = spec.magnitude.shape
    edges = [min(n_bins, max(0, -int(-edge // spec.stft.bin_hz))) for edge in edges_hz]
    if edges_hz[-1] >= spec.stft.sample_rate / 2:
        edges[-1] = n_bins
    boxes = [
        Box(recording, low, high, 0, n_frames)
        for recording in range(len(spec))
        for low, high in pairwise(edges)
        if high > low
    ]
    return paint(spec, boxes, logit_drops(model, spec, target, boxes))


@METHODS.register(signed=True, stochastic=False, cites="own")
def segment_occlusion(model: nn.Module, spec: Spectrogram, target: Tensor, *, min_ms: float = 50.0) -> Tensor:
    """Fall of the logit when a voiced, unvoiced or silent stretch is silenced, written on all its frames, (B, F, T).

    Args:
        min_ms: stretches shorter than this join the one before, milliseconds.

    Raises:
        SpeechXAIError: a negative length.
    """
    check_target(spec, target)
    if not min_ms >= 0:
        raise SpeechXAIError(f"The 'min_ms' parameter of segment_occlusion must be at least 0. Got {min_ms!r} instead.")
    n_bins = spec.magnitude.shape[1]
    shortest = round(min_ms * 1e-3 * spec.stft.frame_rate_hz)
    boxes = [
        Box(recording, 0, n_bins, start, stop)
        for recording, kinds in enumerate(_voicing(spec))
        for start, stop in runs(kinds, shortest)
    ]
    return paint(spec, boxes, logit_drops(model, spec, target, boxes))


def _voicing(spec: Spectrogram) -> list[list[int]]:
    from speechxai.acoustics import segments_by_voicing
    from speechxai.stft import waveform

    with torch.no_grad():
        waveforms = waveform(spec).float().cpu()
    n_frames = spec.magnitude.shape[-1]
    return [
        [int(kind) for kind in segments_by_voicing(wave, spec.stft.sample_rate, n_frames, spec.stft.hop_length)]
        for wave in waveforms
    ]
