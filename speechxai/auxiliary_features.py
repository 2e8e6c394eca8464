"""What the auxiliary classifier sees: maps, masked or plain spectrograms on mel bands, in pieces of one length."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from speechxai.auxiliary_types import CEILING, ENERGY, PERMUTED, RANDOM, Array, AuxiliarySettings, Material
from speechxai.classifiers.layers import LogMel
from speechxai.combination import evidence
from speechxai.errors import SpeechXAIError
from speechxai.stft import bin_frequencies_hz
from speechxai.types import StftConfig

BANDS_HZ = ((0, 500), (500, 1000), (1000, 2000), (2000, 4000), (4000, 8000))
"""Bands of the transparent twin, Hz: from the first number up to below the second."""

SEGMENTS = ("pause", "unvoiced", "voiced")
"""Stretches of the transparent twin, by the values of `acoustics.segments_by_voicing`."""

LONGEST_CROP_S = 2.0


@dataclass(frozen=True, eq=False)
class Features:
    """One row's inputs for all recordings of a study.

    Args:
        values: per recording (M, T'), float32.
        summaries: (R, bands x segments) relative densities, NaN where a recording has no such stretch.
        mean_mask: (R,) mean evidence; 1 for the spectrogram itself.
    """

    values: tuple[Tensor, ...]
    summaries: Array
    mean_mask: Array


def crop_frames(material: Material, settings: AuxiliarySettings) -> int:
    """Frames of every input after pooling: `crop_s`, or the shortest recording's length, at most 2 s.

    Every recording enters as pieces of one length, so that duration tells nothing; one that is shorter is repeated.
    """
    shortest = min(material.n_frames)
    if settings.crop_s is None:
        frames = min(shortest, int(LONGEST_CROP_S * material.stft.frame_rate_hz))
    else:
        frames = int(settings.crop_s * material.stft.frame_rate_hz)
    return max(8 if settings.pool > 1 else 32, frames // settings.pool)


def random_evidence(recording: str, n_bins: int, n_frames: int) -> Tensor:
    """Uniform noise (F, T) in [0, 1), another draw for every recording, the same at every call.

    `METHODS["random_map"]` gives all recordings of one length the same draw; as a floor the map must not even tell that.
    """
    seed = int.from_bytes(hashlib.sha256(recording.encode()).digest()[:7], "big")
    return torch.rand(n_bins, n_frames, generator=torch.Generator().manual_seed(seed))


def evidence_of(material: Material, name: str, i: int) -> Tensor:
    """Evidence (F, T) in [0, 1] of a recipe or floor for recording `i`. Raises SpeechXAIError for one that does not fit."""
    if name == RANDOM:
        return random_evidence(str(material.manifest["recording"][i]), material.stft.n_bins, material.n_frames[i])
    if name == ENERGY:
        return evidence(material.magnitude(i)[None])[0]
    found = material.evidence(name, i).float()
    if tuple(found.shape) != (material.stft.n_bins, material.n_frames[i]):
        raise SpeechXAIError(
            f"{material.manifest['recording'][i]}: the map of '{name}' has shape {tuple(found.shape)}, "
            f"the spectrogram ({material.stft.n_bins}, {material.n_frames[i]})."
        )
    return found


def band_names(stft: StftConfig) -> tuple[str, ...]:
    """Names of the summaries' columns, band by band: "0-500 Hz, pause", ..."""
    inside = [(low, high) for low, high in BANDS_HZ if low < stft.sample_rate / 2]
    return tuple(f"{low}-{high} Hz, {segment}" for low, high in inside for segment in SEGMENTS)


def summary(values: Tensor, voicing: np.ndarray[tuple[int], np.dtype[np.int8]], stft: StftConfig) -> Array:
    """Density of values (F, T) >= 0 in every band x segment cell relative to the whole: 1 is as much as anywhere else.

    Returns:
        (bands x segments,); NaN where the recording has no such stretch, 1 everywhere for an all-zero map.
    """
    frequencies = bin_frequencies_hz(stft).numpy()
    array = values.double().numpy()
    total = array.mean()
    cells = []
    for low, high in BANDS_HZ:
        if low >= stft.sample_rate / 2:
            continue
        over_band = array[(frequencies >= low) & (frequencies < high)].mean(axis=0)
        for kind in range(len(SEGMENTS)):
            frames = voicing == kind
            cells.append(float(over_band[frames].mean()) if frames.any() else float("nan"))
    found = np.array(cells)
    return found / total if total > 0 else np.where(np.isnan(found), np.nan, 1.0)


def features(material: Material, name: str, settings: AuxiliarySettings) -> Features:
    """Compute one row's inputs for all recordings.

    "map": square root of the mean evidence under every mel filter (the root tames the few very large values); "masked" and
    "original": log-mel of evidence x magnitude and of the magnitude, log(mel + 0.01). Frames are averaged by `settings.pool`.

    Raises:
        SpeechXAIError: a map that does not fit its recording, mel bands too narrow for the transform.
    """
    source = settings.shuffled_source if name == PERMUTED else name
    front_end = LogMel(material.stft, settings.n_mels)
    filters = (front_end.filters / front_end.filters.sum(dim=0)).T  # (M, F), rows sum to 1
    values, summaries, masks = [], [], []
    for i in range(len(material.manifest)):
        if source == CEILING:
            shown, mask = material.magnitude(i).float(), 1.0
        else:
            keep = evidence_of(material, source, i)
            shown, mask = keep, float(keep.double().mean())
            if settings.input == "masked":
                shown = keep * material.magnitude(i).float()
        if settings.input == "map" and source != CEILING:
            bands = _pooled(filters @ shown, settings.pool).sqrt()
        else:
            bands = _pooled(front_end.raw(shown[None])[0], settings.pool)
        values.append(bands)
        summaries.append(summary(shown, material.voicing(i), material.stft))
        masks.append(mask)
    return Features(tuple(values), np.stack(summaries), np.array(masks))


def _pooled(values: Tensor, pool: int) -> Tensor:
    """Average every `pool` frames of (M, T); a rest at the end is averaged alone."""
    if pool == 1:
        return values
    return torch.nn.functional.avg_pool1d(values[None], pool, ceil_mode=True, count_include_pad=False)[0]


class Crops:
    """Cuts pieces of one length out of recordings of any length, many at once.

    Args:
        values: per recording (M, T').
        length: frames of a piece; a shorter recording is repeated.
    """

    def __init__(self, values: tuple[Tensor, ...], length: int) -> None:
        self.length = length
        self.n_frames = torch.tensor([each.shape[-1] for each in values])
        self.offsets = torch.cat([torch.zeros(1, dtype=torch.long), self.n_frames.cumsum(0)[:-1]])
        self.all = torch.cat(list(values), dim=-1)  # (M, sum of T')

    def cut(self, rows: Tensor, starts: Tensor) -> Tensor:
        """Pieces (n, M, L) of recordings `rows` (n,) from frame `starts` (n,) on."""
        steps = (starts[:, None] + torch.arange(self.length)) % self.n_frames[rows][:, None]
        return self.all[:, self.offsets[rows][:, None] + steps].movedim(0, 1)

    def at_random(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """One piece (n, M, L) of each recording, from a random place."""
        slack = (self.n_frames[rows] - self.length).clamp(min=0)
        starts = (torch.rand(len(rows), generator=generator) * (slack + 1)).long()
        return self.cut(rows, torch.minimum(starts, slack))

    def evenly(self, rows: Tensor, n_crops: int) -> Tensor:
        """`n_crops` pieces (n x n_crops, M, L) of each recording, from first to last frame, whatever its duration."""
        slack = (self.n_frames[rows] - self.length).clamp(min=0).double()
        share = torch.linspace(0, 1, n_crops, dtype=torch.double) if n_crops > 1 else torch.tensor([0.5]).double()
        starts = (slack[:, None] * share).round().long()
        return self.cut(rows.repeat_interleave(n_crops), starts.flatten())

    def statistics(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of every band (M,) over these recordings."""
        chosen = torch.cat([self.all[:, o : o + n] for o, n in zip(self.offsets[rows].tolist(), self.n_frames[rows].tolist(), strict=True)], dim=-1)  # fmt: skip
        deviation, mean = torch.std_mean(chosen, dim=-1, correction=0)
        # A band that never changes (nothing above a telephone's band) must not be blown up.
        return mean, torch.where(deviation > 1e-4 * deviation.max().clamp(min=1e-12), deviation, torch.ones(()))
