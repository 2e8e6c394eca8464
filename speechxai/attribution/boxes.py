"""What the logit loses when a rectangle of a recording is silenced: the engine of the occlusion methods."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from speechxai import segments
from speechxai.attribution.base import DEFAULT_MAX_BATCH, plain, quiet, target_logit
from speechxai.attribution.shared import unwrap
from speechxai.errors import SpeechXAIError
from speechxai.segments import SegmentConfig
from speechxai.types import Spectrogram

Item = TypeVar("Item")


class Box(NamedTuple):
    """A rectangle of one recording: frequency bins low .. high - 1, frames start .. stop - 1."""

    recording: int
    low: int
    high: int
    start: int
    stop: int


def logit_drops(model: nn.Module, spec: Spectrogram, target: Tensor, boxes: list[Box]) -> Tensor:
    """How much the explained logit falls when a box is silenced: logit(X) - logit(X without the box), (n_boxes,).

    Only the segments that hear a box are computed again, so the cost grows with the recording's length, not its square.
    """
    network = unwrap(model)
    config: SegmentConfig | None = getattr(network, "segment", None)
    cut = getattr(network, "cut", None)
    run = getattr(network, "segment_logits", network)
    n_frames = spec.magnitude.shape[-1]
    with quiet(network), torch.no_grad():
        magnitude, phase = (plain(v)[:, None] if cut is None else cut(plain(v)) for v in (spec.magnitude, spec.phase))
        n_cut, length = magnitude.shape[1], magnitude.shape[-1]
        firsts = [0]
        if config is not None and n_cut > 1:
            firsts = segments.starts(n_frames, *config.frames(spec.stft.frame_rate_hz))
        if len(firsts) != n_cut:
            raise SpeechXAIError(
                f"The network cuts a recording into {n_cut} segments where its settings give {len(firsts)}."
            )
        size = max(1, int(getattr(network, "max_batch", DEFAULT_MAX_BATCH)))

        def logits(rows: list[tuple[int, int]], clean: list[tuple[int, int, int, int] | None]) -> Tensor:
            where = torch.tensor(rows).T
            part = magnitude[where[0], where[1]]
            for row, hole in zip(part, clean, strict=True):
                if hole is not None:
                    row[hole[0] : hole[1], hole[2] : hole[3]] = 0
            return target_logit(run(part, phase[where[0], where[1]]), target[where[0]])

        whole = [(recording, segment) for recording in range(len(spec)) for segment in range(n_cut)]
        original = torch.cat([logits(c, [None] * len(c)) for c in chunked(whole, size)]).view(len(spec), n_cut)
        drops = original.new_zeros(len(boxes))
        tasks = [
            (index, segment, box, (box.low, box.high, max(0, box.start - first), min(length, box.stop - first)))
            for index, box in enumerate(boxes)
            for segment, first in enumerate(firsts)
            if box.start < first + length and box.stop > first
        ]
        for chunk in chunked(tasks, size):
            rows = [(box.recording, segment) for _, segment, box, _ in chunk]
            changed = logits(rows, [hole for _, _, _, hole in chunk])
            where = torch.tensor(rows).T
            drops.index_add_(
                0,
                torch.tensor([t[0] for t in chunk], device=drops.device),
                (original[where[0], where[1]] - changed) / n_cut,
            )
        return drops


def chunked(items: list[Item], size: int) -> Iterator[list[Item]]:
    """Cut a list into lists of at most `size`."""
    return (items[first : first + size] for first in range(0, len(items), size))


def paint(spec: Spectrogram, boxes: list[Box], drops: Tensor) -> Tensor:
    """Write each drop onto its box (B, F, T); bins of several boxes get their mean."""
    total, count = torch.zeros_like(spec.magnitude), torch.zeros_like(spec.magnitude)
    for box, drop in zip(boxes, drops.tolist(), strict=True):
        where = (box.recording, slice(box.low, box.high), slice(box.start, box.stop))
        total[where] += drop
        count[where] += 1
    return total / count.clamp(min=1)


def windows(size: int, length: int, stride: int) -> list[tuple[int, int]]:
    """Windows from 0 in steps of `stride` until the end is covered; the last is cut short."""
    n = max(0, -(-(size - length) // stride)) + 1
    return [(i * stride, min(size, i * stride + length)) for i in range(n)]


def runs(kinds: list[int], shortest: int = 1) -> list[tuple[int, int]]:
    """Stretches (start, stop) of equal kinds; one shorter than `shortest` joins the one before, a first one the next.

    >>> runs([0, 0, 0, 1, 2, 2, 2], shortest=2)
    [(0, 4), (4, 7)]
    """
    edges = [0, *(i for i in range(1, len(kinds)) if kinds[i] != kinds[i - 1]), len(kinds)]
    found: list[tuple[int, int]] = []
    for start, stop in pairwise(edges):
        if found and (stop - start < shortest or found[-1][1] - found[-1][0] < shortest):
            found[-1] = (found[-1][0], stop)
        else:
            found.append((start, stop))
    return found
