"""Recordings of any length through networks that hear a few seconds: cut along time, and stitch back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from speechxai.errors import SpeechXAIError


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
        if not 0 < self.hop_s <= self.length_s:
            raise SpeechXAIError(
                f"The 'hop_s' parameter of SegmentConfig must be in (0, length_s = {self.length_s}]. Got {self.hop_s} instead."
            )
        if self.short not in ("keep", "pad"):
            raise SpeechXAIError(
                f"The 'short' parameter of SegmentConfig must be 'keep' or 'pad'. Got {self.short!r} instead."
            )

    def frames(self, frame_rate_hz: float) -> tuple[int, int]:
        """Return length and hop in frames, each at least 1."""
        return max(1, round(self.length_s * frame_rate_hz)), max(1, round(self.hop_s * frame_rate_hz))


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
