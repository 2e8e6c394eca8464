"""RISE: random soft masks, for every network that gives logits."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.explain.gradient import baseline_magnitude
from speechxai.explain.passes import (
    METHODS,
    check_target,
    generator,
    network_of,
    parts,
    plain,
    quiet,
    recordings_at_once,
    require_at_least,
    target_logit,
)
from speechxai.signal import stft
from speechxai.types import Spectrogram

# What the logit loses when a rectangle of a recording is silenced: the engine of the occlusion methods.
Item = TypeVar("Item")


class Box(NamedTuple):
    """A rectangle of one recording: frequency bins low .. high - 1, frames start .. stop - 1."""

    recording: int
    low: int
    high: int
    start: int
    stop: int


def logit_drops(
    model: nn.Module, spec: Spectrogram, target: Tensor, boxes: list[Box], fill: Tensor | None = None
) -> Tensor:
    """How much the explained logit falls when a box is silenced: logit(X) - logit(X without the box), (n_boxes,).

    Only the segments that hear a box are computed again, so the cost grows with the recording's length, not its square.
    What stands in a box is 0, or each bin's `fill` (B, F, T), which is the same in every frame.
    """
    network = network_of(model, spec)
    config = network.segment
    n_frames = spec.magnitude.shape[-1]
    with quiet(network), torch.no_grad():
        magnitude, phase = network.cut(plain(spec.magnitude)), network.cut(plain(spec.phase))
        n_cut, length = magnitude.shape[1], magnitude.shape[-1]
        firsts = [0]
        if config is not None and n_cut > 1:
            firsts = stft.starts(n_frames, *config.frames(spec.stft.frame_rate_hz))
        if len(firsts) != n_cut:
            raise SpeechXAIError(
                f"The network cuts a recording into {n_cut} segments where its settings give {len(firsts)}."
            )
        size = network.max_batch

        def logits(rows: list[tuple[int, int]], clean: list[tuple[int, int, int, int] | None]) -> Tensor:
            where = torch.tensor(rows).T
            part = magnitude[where[0], where[1]]
            for row, hole, (recording, _) in zip(part, clean, rows, strict=True):
                if hole is not None:
                    bins = slice(hole[0], hole[1])
                    row[bins, hole[2] : hole[3]] = 0 if fill is None else fill[recording, bins, :1]
            return target_logit(network.segment_logits(part, phase[where[0], where[1]]), target[where[0]])

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


# Methods that change the recording and watch the logit: they need no gradient and serve every network.
BAND_EDGES_HZ = (0.0, 150.0, 300.0, 600.0, 1200.0, 2400.0, 4000.0, 6000.0, 8000.0)
"""Edges of octave-like bands: voice fundamental, first harmonics, first formant, second formant, upper formants,
frication."""


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
                f"The '{name}' parameter of occlusion must be above 0 and at most the patch, {patch}. Got {stride!r}"
                " instead."
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
        edges_hz: rising edges of the bands, Hz; a bin belongs to the band that holds its center frequency. Bins outside
            all
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
    from speechxai.signal.acoustics import segments_by_voicing
    from speechxai.signal.stft import waveform

    with torch.no_grad():
        waveforms = waveform(spec).float().cpu()
    n_frames = spec.magnitude.shape[-1]
    return [
        [int(kind) for kind in segments_by_voicing(wave, spec.stft.sample_rate, n_frames, spec.stft.hop_length)]
        for wave in waveforms
    ]


@METHODS.register(signed=True, stochastic=False, cites="own", needs="units")
def unit_occlusion(model: nn.Module, spec: Spectrogram, target: Tensor) -> Tensor:
    """Fall of the logit when a phone, word or pause is silenced by the noise floor, spread over its bins, (B, F, T).

    The sum over a unit is the fall without it, so the evidence of units can be compared whatever they last. A frame
    belongs to the unit that holds its center, and a unit shorter than a frame has the nearest; the noise floor is each
    bin's 5th percentile.

    Raises:
        NotApplicable: the recordings' `spans` are not known.
    """
    check_target(spec, target)
    if not all(spec.spans) or not spec.spans:
        raise NotApplicable("no phones or words of this recording are known; give --textgrids a TextGrid, or own.")
    _, n_bins, n_frames = spec.magnitude.shape
    boxes = [
        Box(recording, 0, n_bins, *frames)
        for recording, spans in enumerate(spec.spans)
        for frames in frames_within(spans, n_frames, spec.stft.frame_rate_hz)
    ]
    drops = logit_drops(model, spec, target, boxes, baseline_magnitude(spec, "floor"))
    sizes = torch.tensor([(box.stop - box.start) * n_bins for box in boxes]).to(drops)
    return paint(spec, boxes, drops / sizes)


def frames_within(spans: Sequence[tuple[float, float]], n_frames: int, frame_rate_hz: float) -> list[tuple[int, int]]:
    """Frames (start, stop) whose centers lie within each stretch of time, at least one.

    >>> frames_within([(0.0, 0.25), (0.25, 0.26), (0.26, 9.0)], 8, 10.0)
    [(0, 3), (3, 4), (3, 8)]
    """
    found = []
    for start, end in spans:
        first = min(max(0, math.ceil(start * frame_rate_hz - 1e-9)), n_frames - 1)
        found.append((first, min(n_frames, max(first + 1, math.ceil(end * frame_rate_hz - 1e-9)))))
    return found


# RISE: random soft masks, for every network that gives logits.
@METHODS.register(signed=True, stochastic=True, cites="petsiuk2018rise")
def rise(
    model: nn.Module,
    spec: Spectrogram,
    target: Tensor,
    *,
    n_masks: int = 256,
    keep: float = 0.5,
    cell_ms: float = 250.0,
    cell_hz: float = 1000.0,
    seed: int = 0,
) -> Tensor:
    """What keeping a bin adds to the logit over random soft masks: A = cov(mask, logit(X * mask)) / var(mask), (B, F,
    T).

    The covariance takes the place of RISE's plain mean, which adds the mean logit to every bin.

    Args:
        n_masks: random masks; mask i of every recording is drawing number i of this seed.
        keep: probability that a cell of the coarse grid is kept, in (0, 1).
        cell_ms, cell_hz: size of a grid cell, milliseconds and Hz; masks are interpolated and shifted at random.

    Raises:
        SpeechXAIError: an option out of range.
    """
    check_target(spec, target)
    require_at_least("n_masks", n_masks, 2, "rise")
    if not 0 < keep < 1 or not cell_ms > 0 or not cell_hz > 0:
        raise SpeechXAIError(
            f"rise needs keep in (0, 1) and cells above 0. Got keep={keep!r}, cell_ms={cell_ms!r}, cell_hz={cell_hz!r}"
            " instead."
        )
    network = network_of(model, spec)
    cell = (max(1, round(cell_hz / spec.stft.bin_hz)), max(1, round(cell_ms * 1e-3 * spec.stft.frame_rate_hz)))
    size = (spec.magnitude.shape[1], spec.magnitude.shape[2])
    found = []
    with quiet(network), torch.no_grad():
        for part in parts(network, spec.magnitude):
            magnitude, phase = plain(spec.magnitude[part]), plain(spec.phase[part])
            n_rows = len(magnitude)
            n_at_once = max(1, recordings_at_once(network, magnitude) // n_rows)
            origin = target_logit(network(magnitude, phase), target[part])
            product, logit_sum = torch.zeros_like(magnitude), torch.zeros_like(origin)
            mask_sum, mask_square = torch.zeros_like(magnitude[0]), torch.zeros_like(magnitude[0])
            for indices in chunked(list(range(n_masks)), n_at_once):
                masks = torch.stack([_mask(size, cell, keep, generator(seed, i)) for i in indices]).to(magnitude)
                masked = (masks[:, None] * magnitude).flatten(0, 1)
                changed = target_logit(
                    network(masked, phase.repeat(len(indices), 1, 1)), target[part].repeat(len(indices))
                )
                change = changed.view(-1, n_rows) - origin
                product += torch.einsum("kb,kft->bft", change, masks)
                logit_sum += change.sum(0)
                mask_sum += masks.sum(0)
                mask_square += masks.square().sum(0)
            mask_mean = mask_sum / n_masks
            variance = (mask_square / n_masks - mask_mean.square()).clamp(min=1e-6)
            found.append((product / n_masks - (logit_sum / n_masks)[:, None, None] * mask_mean) / variance)
    return torch.cat(found)


def _mask(size: tuple[int, int], cell: tuple[int, int], keep: float, random: torch.Generator) -> Tensor:
    """One soft mask (F, T): a coarse random grid, interpolated, seen through a randomly shifted window."""
    cells = [-(-extent // step) + 1 for extent, step in zip(size, cell, strict=True)]
    grid = (torch.rand(cells, generator=random) < keep).float()
    large = [n * step for n, step in zip(cells, cell, strict=True)]
    soft = torch.nn.functional.interpolate(grid[None, None], size=large, mode="bilinear", align_corners=False)[0, 0]
    shifts = [int(torch.randint(step, (), generator=random)) for step in cell]
    return soft[shifts[0] : shifts[0] + size[0], shifts[1] : shifts[1] + size[1]]
