"""The one classifier signature: `forward(magnitude, phase) -> logits`, whatever network is inside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.registry import Registry
from speechxai.signal import stft as segments
from speechxai.signal.stft import SegmentConfig
from speechxai.types import CLASS_NAMES, Spectrogram, StftConfig

BACKBONES: Registry[Any] = Registry("backbone", required=("hears", "cites"))
"""Factories `name(stft, **options) -> nn.Module`; `hears` says whether the network reads "magnitude" or "waveform"."""


class Classifier(nn.Module):
    """A network with its signal settings: spectrogram of a whole recording in, one row of logits a recording out.

    Recordings longer than a segment are cut along time; the logits of the segments are averaged, so that gradients and
    maps come back on the recording's own time axis by the chain rule.

    Args:
        backbone: `forward(magnitude (S, F, L), phase (S, F, L)) -> logits (S, C)` or one logit z (S, 1), which is read
            as the log odds of class 1: logits (-z / 2, z / 2).
        stft: settings of the explained spectrogram.
        segment: how long recordings are heard; None hears every recording whole.
        class_names: names by index, at least two.
        cam_layer: name of the backbone's module whose output Grad-CAM weights; None where there is none.
        max_batch: segments that pass through the backbone at once; bounds the memory of everything built on it.

    Where the backbone says `one_at_a_time`, gradients are taken of one recording and one sample at a time: a network
        that fills the
    processor with one recording wins nothing from more, and its memory grows with each.
    """

    temperature: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        stft: StftConfig | None = None,
        segment: SegmentConfig | None = None,
        class_names: tuple[str, ...] = CLASS_NAMES,
        cam_layer: str | None = None,
        max_batch: int = 16,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.stft = stft or StftConfig()
        self.segment = segment
        self.class_names = class_names
        self.cam_layer = cam_layer
        self.max_batch = max_batch
        self.one_at_a_time = bool(getattr(backbone, "one_at_a_time", False))
        self.register_buffer("temperature", torch.ones(()))

    def cut(self, values: Tensor) -> Tensor:
        """Cut (B, F, T) into the segments (B, S, F, L) that the backbone hears."""
        if self.segment is None:
            return values[:, None]
        length, hop = self.segment.frames(self.stft.frame_rate_hz)
        return segments.cut(values, length, hop, pad=self.segment.short == "pad")

    def stitch(self, values: Tensor, n_frames: int) -> Tensor:
        """Put segment maps (B, S, F, L) back onto the recording's time axis (B, F, T), overlaps averaged."""
        if self.segment is None:
            return values[:, 0]
        return segments.stitch(values, n_frames, self.segment.frames(self.stft.frame_rate_hz)[1])

    def segment_logits(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        """Logits of segments (S, F, L) -> (S, C), calibrated, without chunking."""
        logits: Tensor = self.backbone(magnitude, phase)
        if logits.shape[-1] == 1:
            # The same probabilities as (0, z), whose first logit has no gradient: no answer for class 0 could be
            # explained.
            logits = torch.cat([-0.5 * logits, 0.5 * logits], dim=-1)
        return logits / self.temperature

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        """Magnitude and phase (B, F, T) to calibrated logits (B, C).

        At most `max_batch` segments are in memory at once; where gradients are wanted and there are more, the backward
        pass computes the chunks again instead of keeping them.
        """
        cut_magnitude, cut_phase = self.cut(magnitude), self.cut(phase)
        n_batch, n_segments = cut_magnitude.shape[:2]
        flat_magnitude, flat_phase = cut_magnitude.flatten(0, 1), cut_phase.flatten(0, 1)
        if len(flat_magnitude) <= self.max_batch:
            logits = self.segment_logits(flat_magnitude, flat_phase)
        else:
            logits = torch.cat(
                [
                    (
                        checkpoint(self.segment_logits, part, part_phase, use_reentrant=False)
                        if torch.is_grad_enabled() and part.requires_grad
                        else self.segment_logits(part, part_phase)
                    )
                    for part, part_phase in zip(
                        torch.split(flat_magnitude, self.max_batch),
                        torch.split(flat_phase, self.max_batch),
                        strict=True,
                    )
                ]
            )
        return logits.reshape(n_batch, n_segments, -1).mean(dim=1)

    def cam_module(self) -> nn.Module:
        """Return the module that Grad-CAM reads. Raises NotApplicable where the network names none."""
        if self.cam_layer is None:
            raise NotApplicable("this network names no 'cam_layer', so Grad-CAM has no feature map to weight.")
        try:
            return self.backbone.get_submodule(self.cam_layer)
        except AttributeError as error:
            raise SpeechXAIError(f"The network has no layer '{self.cam_layer}' for Grad-CAM.") from error


def probabilities(model: nn.Module, magnitude: Tensor, phase: Tensor) -> Tensor:
    """Class probabilities (B, C), computed without gradients in batches of the model's `max_batch`."""
    with torch.inference_mode():
        return torch.cat([model(m, p).softmax(-1) for m, p in chunks(model, magnitude, phase)])


def chunks(model: nn.Module, magnitude: Tensor, phase: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Split (B, F, T) into batches of at most the model's `max_batch`; a phase of batch 1 is repeated."""
    size = int(getattr(model, "max_batch", len(magnitude)))
    phase = phase.expand_as(magnitude)
    yield from zip(torch.split(magnitude, size), torch.split(phase, size), strict=True)


def predict(model: nn.Module, spec: Spectrogram) -> Tensor:
    """Class probabilities (B, C) of a batch of recordings, rows summing to 1."""
    return probabilities(model, spec.magnitude, spec.phase)


def device_of(name: str) -> torch.device:
    """Resolve "auto" and check that the device is there. Raises SpeechXAIError where it is not."""
    if name == "auto":
        return torch.device(
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
    if name.startswith("cuda"):
        index = int(name.partition(":")[2] or 0)
        if index >= torch.cuda.device_count():
            raise SpeechXAIError(
                f"The device '{name}' is not there: {torch.cuda.device_count()} CUDA devices found. Use --device cpu."
            )
    if name == "mps" and not torch.backends.mps.is_available():
        raise SpeechXAIError("The device 'mps' is not there. Use --device cpu.")
    return torch.device(name)
