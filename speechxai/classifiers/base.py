"""The one classifier signature: `forward(magnitude, phase) -> logits`, whatever network is inside."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from speechxai.classifiers.network import (
    DEFAULT_MAX_BATCH,
    Attention,
    Network,
    WaveformDoor,
    as_network,
    attention_maps,
    cam_module,
    check_unit,
    logits_of,
    other_number,
    said,
    stated,
    uncompiled,
)
from speechxai.errors import SpeechXAIError
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
            as the log odds of class 1: logits (-z / 2, z / 2). It may state `output` (`network.OUTPUTS`), `cam_layer`,
            `max_batch` and `one_at_a_time` as attributes.
        stft: settings of the explained spectrogram.
        segment: how long recordings are heard; None hears every recording whole.
        class_names: names by index, at least two; of a score its one name.
        unit: of a score, such as "points": the network gives one number in it, and no classes; "" for classes.
        cam_layer: name of the backbone's module whose output Grad-CAM weights; None takes what the backbone states.
        max_batch: segments that pass through the backbone at once; bounds the memory of everything built on it. None
            takes what the backbone states, else DEFAULT_MAX_BATCH.

    Where the backbone says `one_at_a_time`, gradients are taken of one recording and one sample at a time: a network
    that fills the processor with one recording wins nothing from more, and its memory grows with each.
    """

    temperature: Tensor
    """(), divides the network's logits, see `validation.fit_calibration`; of a score its inverse is the scale."""
    intercept: Tensor
    """(C,), is added to them; of a score the middle."""
    order: tuple[int, ...] | None = None
    """Which of the network's outputs every class is, where their order is another, see `reordered`."""
    interpreter: Any = None
    """Its `interpreter.Interpreter`, where a bundle may have one; no module of it, so that its weights stay apart."""
    folder: Path | None = None
    """Of the model that it was read from, beside which more may be stored about it."""
    n_samples: int | None = None
    """Length of the recordings, where the backbone is a `WaveformDoor` that hears them whole, see `for_length`."""

    def __init__(
        self,
        backbone: nn.Module,
        stft: StftConfig | None = None,
        segment: SegmentConfig | None = None,
        class_names: tuple[str, ...] = CLASS_NAMES,
        cam_layer: str | None = None,
        max_batch: int | None = None,
        unit: str = "",
    ) -> None:
        super().__init__()
        check_unit(unit, class_names, "a classifier")
        self.unit = unit
        self.backbone: nn.Module = uncompiled(backbone)
        self.stft = stft or StftConfig()
        self.segment = segment
        self.class_names = class_names
        self.cam_layer: str | None = cam_layer or stated(self.backbone, "cam_layer", None)
        self.max_batch = int(max_batch or stated(self.backbone, "max_batch", DEFAULT_MAX_BATCH))
        self.one_at_a_time = bool(stated(self.backbone, "one_at_a_time", False))
        self.output = stated(self.backbone, "output", None)
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("intercept", torch.zeros(len(class_names)))

    def for_length(self, n_samples: int) -> Classifier:
        """Return this classifier as it hears recordings of `n_samples`; weights, buffers and hooks are shared.

        A network of waveforms that hears recordings whole then gets exactly their samples. Segments are whole hops.
        """
        if not isinstance(self.backbone, WaveformDoor):
            return self
        n_frames = self.stft.n_frames(n_samples)
        length = None if self.segment is None else self.segment.heard(n_frames, self.stft)[0]
        padded = self.segment is not None and self.segment.short == "pad" and length != n_frames
        exact = None if padded or (length is not None and n_frames > length) else n_samples
        if exact == self.n_samples:
            return self
        found = copy.copy(self)
        found.n_samples = exact
        return found

    def reordered(self, names: tuple[str, ...], order: tuple[int, ...]) -> Classifier:
        """Return this classifier as it gives its classes in another order or by other names; all else is shared.

        Args:
            names: of the classes.
            order: which of its classes each of them is.
        """
        if (names, order) == (self.class_names, tuple(range(len(order)))):
            return self
        found = copy.copy(self)
        found.class_names = names
        found.order = order if self.order is None else tuple(self.order[index] for index in order)
        return found

    def _heard(self, magnitude: Tensor, phase: Tensor) -> tuple[Any, ...]:
        return (magnitude, phase) if self.n_samples is None else (magnitude, phase, self.n_samples)

    def cut(self, values: Tensor) -> Tensor:
        """Cut (B, F, T) into the segments (B, S, F, L) that the backbone hears."""
        if self.segment is None:
            return values[:, None]
        length, hop = self.segment.heard(values.shape[-1], self.stft)
        return segments.cut(values, length, hop, pad=self.segment.short == "pad")

    def stitch(self, values: Tensor, n_frames: int) -> Tensor:
        """Put segment maps (B, S, F, L) back onto the recording's time axis (B, F, T), overlaps averaged."""
        if self.segment is None:
            return values[:, 0]
        return segments.stitch(values, n_frames, self.segment.frames(self.stft.frame_rate_hz)[1])

    def segment_starts(self, n_frames: int) -> list[int]:
        """First frame of every segment of a recording of `n_frames`."""
        if self.segment is None:
            return [0]
        return segments.starts(n_frames, *self.segment.heard(n_frames, self.stft))

    def _streamed(self, magnitude: Tensor, phase: Tensor, places: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Segments of recordings (B, F, T) as `cut` gives them, `max_batch` at a time: those of an hour are never in
        memory together."""
        assert self.segment is not None
        length, _ = self.segment.heard(magnitude.shape[-1], self.stft)
        wanted = [(row, slice(place, place + length)) for row in range(len(magnitude)) for place in places]
        for first in range(0, len(wanted), self.max_batch):
            part = wanted[first : first + self.max_batch]
            yield tuple(torch.stack([values[row, :, at] for row, at in part]) for values in (magnitude, phase))  # type: ignore[misc]

    def segment_logits(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        """Logits of segments (S, F, L) -> (S, C), calibrated, without chunking; of a score (S, 1) in its unit."""
        if self.unit:
            score = self.backbone(*self._heard(magnitude, phase))
            if score.shape[-1] != 1:
                raise SpeechXAIError(
                    f"it gives {score.shape[-1]} outputs, and a score in {self.unit} is one: let it give one column."
                )
            return score / self.temperature + self.intercept  # type: ignore[no-any-return]
        logits = logits_of(self.backbone(*self._heard(magnitude, phase)), self.output, "the network")
        if logits.shape[-1] == 1:
            # The same probabilities as (0, z), whose first logit has no gradient: no answer for class 0 could be
            # explained.
            logits = torch.cat([-0.5 * logits, 0.5 * logits], dim=-1)
        if logits.shape[-1] != len(self.intercept):
            raise SpeechXAIError(other_number(logits.shape[-1], self.class_names))
        logits = logits / self.temperature + self.intercept
        return logits if self.order is None else logits[:, list(self.order)]

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        """Magnitude and phase (B, F, T) to calibrated logits (B, C).

        At most `max_batch` segments are in memory at once; where gradients are wanted and there are more, the backward
        pass computes the chunks again instead of keeping them.
        """
        if not (torch.is_grad_enabled() and magnitude.requires_grad):
            places = self.segment_starts(magnitude.shape[-1])
            if len(magnitude) * len(places) > self.max_batch and len(places) > 1:
                found = [self.segment_logits(*part) for part in self._streamed(magnitude, phase, places)]
                return torch.cat(found).reshape(len(magnitude), len(places), -1).mean(dim=1)
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
        return cam_module(self.backbone, self.cam_layer)

    def attention_maps(self, magnitude: Tensor, phase: Tensor) -> Attention:
        """Attention of segments (S, F, L). Raises NotApplicable where the backbone has none to read."""
        return attention_maps(self.backbone, *self._heard(magnitude, phase))


def logits(model: nn.Module | Network, magnitude: Tensor, phase: Tensor) -> Tensor:
    """Logits (B, C), computed without gradients in batches of the model's `max_batch`."""
    with torch.inference_mode():
        return torch.cat([model(m, p) for m, p in chunks(model, magnitude, phase)])


def probabilities(model: nn.Module | Network, magnitude: Tensor, phase: Tensor) -> Tensor:
    """Class probabilities (B, C), computed without gradients in batches of the model's `max_batch`; of a network that
    gives a score the score (B, 1)."""
    return said(model, logits(model, magnitude, phase))


def chunks(model: nn.Module | Network, magnitude: Tensor, phase: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Split (B, F, T) into batches of at most the model's `max_batch`; a phase of batch 1 is repeated."""
    size = as_network(model).max_batch
    phase = phase.expand_as(magnitude)
    yield from zip(torch.split(magnitude, size), torch.split(phase, size), strict=True)


def predict(model: nn.Module | Network, spec: Spectrogram) -> Tensor:
    """Class probabilities (B, C) of a batch of recordings, rows summing to 1; of a network that gives a score the score
    (B, 1)."""
    return probabilities(as_network(model).for_length(spec.n_samples), spec.magnitude, spec.phase)


def device_of(name: str) -> torch.device:
    """Resolve "auto" and check that the device is there; of a GPU ask that float32 means float32 and that sums repeat.

    Raises:
        SpeechXAIError: it is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", name):
        there = ["auto", "cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        there += ["mps"] if torch.backends.mps.is_available() else []
        raise SpeechXAIError(f"Unknown device '{name}'. Here: {', '.join(there)}.")
    if name.startswith("cuda"):
        index = int(name.partition(":")[2] or 0)
        if index >= torch.cuda.device_count():
            raise SpeechXAIError(
                f"The device '{name}' is not there: {torch.cuda.device_count()} CUDA devices found. Use --device cpu."
            )
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats its sums with it alone
        # PyTorch lets cuDNN round what it convolves to 10 bits; who wants fewer bits asks for a precision.
        torch.backends.cudnn.allow_tf32 = False
    if name == "mps" and not torch.backends.mps.is_available():
        raise SpeechXAIError("The device 'mps' is not there. Use --device cpu.")
    return torch.device(name)
