"""Waveforms to spectrograms and back, differentiable in the magnitude and exact for any length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from speechxai.errors import SpeechXAIError, in_range
from speechxai.types import Spectrogram, StftConfig


# Waveforms to spectrograms and back, differentiable in the magnitude and exact for any length.
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
    transform = _transform(waveforms, config)
    return Spectrogram(_magnitude(transform, config), transform.angle(), waveforms.shape[-1], config)


def magnitudes(waveforms: Tensor, config: StftConfig | None = None) -> Tensor:
    """Return the magnitude (B, F, T) of `spectrogram` alone, for networks that read no phase: half the time."""
    config = config or StftConfig()
    return _magnitude(_transform(waveforms, config), config)


def _transform(waveforms: Tensor, config: StftConfig) -> Tensor:
    n_samples = waveforms.shape[-1]
    padded = torch.nn.functional.pad(waveforms, (0, (config.n_frames(n_samples) - 1) * config.hop_length - n_samples))
    return torch.stft(
        padded,
        config.n_fft,
        config.hop_length,
        config.win_length,
        _window(config, waveforms),
        center=True,
        pad_mode="constant",
        return_complex=True,
    )


def _magnitude(transform: Tensor, config: StftConfig) -> Tensor:
    magnitude = transform.abs()
    return torch.log1p(magnitude) if config.scale == "log1p" else magnitude


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
        (
            torch.polar(linear.abs(), phase)
            if not linear.requires_grad
            else linear * torch.polar(torch.ones_like(phase), phase)
        ),
        config.n_fft,
        config.hop_length,
        config.win_length,
        _window(config, linear),
        center=True,
        length=length,
    )


def waveform(spec: Spectrogram) -> Tensor:
    """Return the waveforms (B, N) of a spectrogram: the exact inverse of `spectrogram`."""
    return inverse(spec.magnitude, spec.phase, spec.stft, spec.n_samples)


def frame_times_s(config: StftConfig, n_frames: int) -> Tensor:
    """Times of the frame centers (T,), seconds from the recording's start."""
    return torch.arange(n_frames) * config.hop_length / config.sample_rate


def bin_frequencies_hz(config: StftConfig) -> Tensor:
    """Center frequencies of the bins (F,), Hz."""
    return torch.arange(config.n_bins) * config.bin_hz


# Recordings of any length through networks that hear a few seconds: cut along time, and stitch back.
MIN_SEGMENT_S, MAX_SEGMENT_S = 0.001, 3600.0
"""Shortest and longest segment that a network hears at once, s."""


@dataclass(frozen=True)
class SegmentConfig:
    """How a network hears a long recording.

    Args:
        length_s: seconds a network hears at once.
        hop_s: step between segments, seconds; at most length_s, so that every frame is heard.
        short: what happens to recordings shorter than a segment: "keep" leaves their length, "pad" appends silence.

    Raises:
        SpeechXAIError: a length or hop out of range.
    """

    length_s: float = 5.0
    hop_s: float = 2.5
    short: Literal["keep", "pad"] = "keep"

    def __post_init__(self) -> None:
        in_range("SegmentConfig", "length_s", self.length_s, MIN_SEGMENT_S, MAX_SEGMENT_S)
        in_range("SegmentConfig", "hop_s", self.hop_s, MIN_SEGMENT_S, MAX_SEGMENT_S)
        if not 0 < self.hop_s <= self.length_s:
            raise SpeechXAIError(
                f"The 'hop_s' parameter of SegmentConfig must be in (0, length_s = {self.length_s}]. Got {self.hop_s}"
                " instead."
            )
        if self.short not in ("keep", "pad"):
            raise SpeechXAIError(
                f"The 'short' parameter of SegmentConfig must be 'keep' or 'pad'. Got {self.short!r} instead."
            )

    def frames(self, frame_rate_hz: float) -> tuple[int, int]:
        """Return length and hop in frames, each at least 1."""
        return max(1, round(self.length_s * frame_rate_hz)), max(1, round(self.hop_s * frame_rate_hz))

    def heard(self, n_frames: int, config: StftConfig) -> tuple[int, int]:
        """Length and hop, in frames, of the segments in which a recording of `n_frames` is heard.

        A recording that lasts no longer than `length_s` is heard once and whole: frames stand at both of its ends, so
        that it has one or two more than the segments of longer recordings. What is padded hears segments of one length
        alone.
        """
        length, hop = self.frames(config.frame_rate_hz)
        if self.short == "keep" and n_frames <= config.n_frames(round(self.length_s * config.sample_rate)):
            length = max(length, n_frames)
        return length, hop


def starts(n_frames: int, length: int, hop: int) -> list[int]:
    """Return the first frame of every segment; the last segment ends with the recording, so none is padded.

    >>> starts(10, 4, 2), starts(11, 4, 2), starts(3, 4, 2)
    ([0, 2, 4, 6], [0, 2, 4, 6, 7], [0])
    """
    if n_frames <= length:
        return [0]
    first = list(range(0, n_frames - length + 1, hop))
    return first if first[-1] == n_frames - length else [*first, n_frames - length]


def cut(values: Tensor, length: int, hop: int, *, pad: bool = False) -> Tensor:
    """Cut (B, F, T) into segments (B, S, F, L); shorter recordings stay (B, 1, F, T) or are padded with 0 to L."""
    n_frames = values.shape[-1]
    if n_frames <= length:
        padded = torch.nn.functional.pad(values, (0, length - n_frames)) if pad else values
        return padded[:, None]
    return torch.stack([values[..., start : start + length] for start in starts(n_frames, length, hop)], dim=1)


def stitch(segments: Tensor, n_frames: int, hop: int) -> Tensor:
    """Put segments (B, S, F, L) back onto the recording's time axis (B, F, T); overlaps are averaged, padding dropped.

    The inverse of `cut` with the same hop, for values that agree where segments overlap.
    """
    length = segments.shape[-1]
    if n_frames <= length:
        return segments[:, 0, :, :n_frames]
    total = segments.new_zeros(segments.shape[0], segments.shape[2], n_frames)
    count = segments.new_zeros(n_frames)
    for index, start in enumerate(starts(n_frames, length, hop)):
        total[..., start : start + length] += segments[:, index]
        count[start : start + length] += 1
    return total / count
