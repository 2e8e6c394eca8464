"""Waveforms to spectrograms and back, differentiable in the magnitude and exact for any length."""

from __future__ import annotations

import torch
from torch import Tensor

from speechxai.types import Spectrogram, StftConfig


def _window(config: StftConfig, like: Tensor) -> Tensor:
    make = torch.hamming_window if config.window == "hamming" else torch.hann_window
    return make(config.win_length, periodic=True, dtype=like.dtype, device=like.device)


def spectrogram(waveforms: Tensor, config: StftConfig | None = None) -> Spectrogram:
    """Transform waveforms (B, N) into a Spectrogram (B, F, T), T = ceil(N / hop) + 1.

    The signal is padded with zeros to a whole number of hops, so that every sample lies between two frame centers
    and the inverse is exact at both ends.

    >>> spec = spectrogram(torch.randn(2, 16_000))
    >>> tuple(spec.magnitude.shape)
    (2, 513, 88)
    """
    config = config or StftConfig()
    n_samples = waveforms.shape[-1]
    padded = torch.nn.functional.pad(waveforms, (0, (config.n_frames(n_samples) - 1) * config.hop_length - n_samples))
    transform = torch.stft(
        padded, config.n_fft, config.hop_length, config.win_length, _window(config, waveforms),
        center=True, pad_mode="constant", return_complex=True,
    )  # fmt: skip
    magnitude = transform.abs()
    if config.scale == "log1p":
        magnitude = torch.log1p(magnitude)
    return Spectrogram(magnitude, transform.angle(), n_samples, config)


def linear_magnitude(magnitude: Tensor, config: StftConfig) -> Tensor:
    """Undo the scale of `config`: magnitude (B, F, T) to the linear magnitude |S|."""
    return torch.expm1(magnitude) if config.scale == "log1p" else magnitude


def inverse(magnitude: Tensor, phase: Tensor, config: StftConfig, n_samples: int | None = None) -> Tensor:
    """Turn magnitude and phase (B, F, T) back into waveforms (B, N), differentiable in the magnitude.

    Args:
        n_samples: length N of the waveforms; by default the whole hops between first and last frame center.
    """
    length = (magnitude.shape[-1] - 1) * config.hop_length if n_samples is None else n_samples
    linear = linear_magnitude(magnitude, config)
    return torch.istft(
        torch.polar(linear.abs(), phase) if not linear.requires_grad else linear * torch.polar(torch.ones_like(phase), phase),
        config.n_fft, config.hop_length, config.win_length, _window(config, linear), center=True, length=length,
    )  # fmt: skip


def waveform(spec: Spectrogram) -> Tensor:
    """Return the waveforms (B, N) of a spectrogram: the exact inverse of `spectrogram`."""
    return inverse(spec.magnitude, spec.phase, spec.stft, spec.n_samples)


def frame_times_s(config: StftConfig, n_frames: int) -> Tensor:
    """Times of the frame centers (T,), seconds from the recording's start."""
    return torch.arange(n_frames) * config.hop_length / config.sample_rate


def bin_frequencies_hz(config: StftConfig) -> Tensor:
    """Center frequencies of the bins (F,), Hz."""
    return torch.arange(config.n_bins) * config.bin_hz
