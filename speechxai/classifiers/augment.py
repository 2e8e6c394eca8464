"""Random changes of training crops: level and noise on the waveform, silence holes on the magnitude (SpecAugment)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from speechxai.errors import SpeechXAIError
from speechxai.types import StftConfig


@dataclass(frozen=True)
class AugmentConfig:
    """How training crops are changed at random. Everything 0 switches augmentation off.

    Args:
        level_db: the level moves by at most this much up or down, dB.
        noise_share: share of crops that get noise, 0 to 1.
        snr_low_db, snr_high_db: signal-to-noise ratio of that noise is drawn between them, dB.
        n_bands, band_hz: number of frequency bands set to silence, each at most this wide, Hz.
        n_spans, span_s: number of time spans set to silence, each at most this long, seconds.

    Raises:
        SpeechXAIError: a value out of range.
    """

    level_db: float = 6.0
    noise_share: float = 0.5
    snr_low_db: float = 15.0
    snr_high_db: float = 40.0
    n_bands: int = 2
    band_hz: float = 400.0
    n_spans: int = 2
    span_s: float = 0.15

    def __post_init__(self) -> None:
        for name in ("level_db", "n_bands", "band_hz", "n_spans", "span_s"):
            if getattr(self, name) < 0:
                raise SpeechXAIError(
                    f"The '{name}' parameter of AugmentConfig must be at least 0. Got {getattr(self, name)} instead."
                )
        if not 0 <= self.noise_share <= 1:
            raise SpeechXAIError(
                f"The 'noise_share' parameter of AugmentConfig must be in [0, 1]. Got {self.noise_share} instead."
            )
        if self.snr_low_db > self.snr_high_db:
            raise SpeechXAIError(
                f"The 'snr_low_db' parameter of AugmentConfig must be at most snr_high_db = {self.snr_high_db}. Got {self.snr_low_db} instead."
            )


def _uniform(low: float, high: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)


def crop(waveform: Tensor, n_samples: int, generator: torch.Generator) -> Tensor:
    """Cut `n_samples` from a random place of a waveform (N,); a shorter waveform is repeated from its start.

    Repeating instead of padding keeps the length of a recording from becoming a cue (as Mancini et al. 2025 tile clips).
    """
    n_available = waveform.shape[0]
    if n_available < n_samples:
        return waveform.repeat(-(-n_samples // n_available))[:n_samples]
    start = int(torch.randint(n_available - n_samples + 1, (1,), generator=generator))
    return waveform[start : start + n_samples]


def augment_waveforms(waveforms: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Return waveforms (B, N) at a random level, a share of them with noise of a random spectral slope (0 to -6 dB/octave).

    The noise is scaled to the drawn signal-to-noise ratio: rms(noise) = rms(signal) * 10 ** (-snr / 20).
    """
    n_batch, n_samples = waveforms.shape
    gain = 10 ** (_uniform(-config.level_db, config.level_db, (n_batch, 1), generator) / 20)
    noisy = torch.rand((n_batch, 1), generator=generator) < config.noise_share
    snr_db = _uniform(config.snr_low_db, config.snr_high_db, (n_batch, 1), generator)
    slope = torch.rand((n_batch, 1), generator=generator)
    white = torch.randn((n_batch, n_samples), generator=generator)
    shape: Tensor = torch.arange(n_samples // 2 + 1).clamp(min=1).pow(-slope)
    noise = torch.fft.irfft(torch.fft.rfft(white) * shape, n=n_samples)
    noise = noise / noise.pow(2).mean(dim=1, keepdim=True).sqrt()
    level = waveforms.pow(2).mean(dim=1, keepdim=True).sqrt() * 10 ** (-snr_db.to(waveforms) / 20)
    share = torch.where(noisy, 1.0, 0.0).to(waveforms)
    augmented: Tensor = gain.to(waveforms) * (waveforms + share * level * noise.to(waveforms))
    return augmented


def spec_augment(magnitude: Tensor, stft: StftConfig, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Return magnitudes (B, F, T) with random bands and spans set to 0, that is to silence (Park et al. 2019).

    The holes mean the same as a mask's removed bins, so that masked recordings are not foreign to the trained network.
    """
    n_batch, n_bins, n_frames = magnitude.shape
    keep = torch.ones((n_batch, n_bins, n_frames), dtype=torch.bool)
    bins, frames = torch.arange(n_bins), torch.arange(n_frames)
    for _ in range(config.n_bands):
        width = _uniform(0, min(config.band_hz / stft.bin_hz, n_bins), (n_batch, 1), generator)
        first = torch.rand((n_batch, 1), generator=generator) * (n_bins - width)
        keep &= ~((bins >= first) & (bins < first + width))[:, :, None]
    for _ in range(config.n_spans):
        width = _uniform(0, min(config.span_s * stft.frame_rate_hz, n_frames), (n_batch, 1), generator)
        first = torch.rand((n_batch, 1), generator=generator) * (n_frames - width)
        keep &= ~((frames >= first) & (frames < first + width))[:, None, :]
    return magnitude * keep.to(magnitude)
