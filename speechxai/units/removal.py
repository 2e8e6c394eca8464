"""The answer without a class of phones: all its units silenced at once, beside as many frames silenced elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from speechxai.classifiers.base import logits
from speechxai.errors import NotApplicable
from speechxai.explain.gradient import baseline_magnitude
from speechxai.explain.passes import network_of, quiet
from speechxai.types import Array, Spectrogram
from speechxai.units.relevance import ORDER, VOWEL
from speechxai.units.symbols import HEIGHTS
from speechxai.units.tiers import Unit, Units

N_MOVED = 9
"""Placebos of each class: its frames, moved around the recording."""


@dataclass(frozen=True)
class Removal:
    """What the explained logit loses without a class.

    Args:
        name: class of phones, or height of vowels.
        seconds: of its units.
        fall: logit of the whole less that without the class; below 0 where it rises.
        moved: the same where its frames are silenced elsewhere, N_MOVED values.
    """

    name: str
    seconds: float
    fall: float
    moved: tuple[float, ...]

    @property
    def n_below(self) -> int:
        """How many of the placebos lower the logit less; all of them is 1 in N_MOVED + 1 by chance."""
        return sum(one < self.fall for one in self.moved)


def frames_of(units: Sequence[Unit], n_frames: int, frame_rate_hz: float, duration_s: float) -> Array:
    """Share of every frame, as far as it lies within the recording, that lies within the units (n_frames,), 0 to 1; the
    units do not overlap. A frame wholly behind the end counts as the one before it."""
    edges = np.clip((np.arange(n_frames + 1) - 0.5) / frame_rate_hz, 0.0, duration_s)
    width, covered = np.diff(edges), np.zeros(n_frames)
    for unit in units:
        covered += np.diff(np.clip(edges, unit.start_s, unit.end_s))
    last = int(np.flatnonzero(width > 0)[-1])
    found: Array = np.divide(covered, width, out=np.zeros(n_frames), where=width > 0).clip(0.0, 1.0)
    found[last:] = found[last]
    return found


def removals(model: nn.Module, spec: Spectrogram, target: int, units: Units, seed: int = 0) -> list[Removal]:
    """Silence each class of phones in turn: its frames get the noise floor, each bin's 5th percentile.

    Args:
        model: the classifier.
        spec: of one recording.
        target: index of the explained class.
        units: of the recording.
        seed: of how far placebos are moved.

    Raises:
        NotApplicable: no phones, or more than one recording.
    """
    if len(spec) != 1:
        raise NotApplicable("Units belong to one recording, and there are several.")
    if not units.phones:
        raise NotApplicable(f"{units.source}: no phones, so no class of them can be removed.")
    names = [n for one in ORDER for n in ((one, *HEIGHTS) if one == VOWEL else (one,))]
    members = {
        name: [u for u in units.phones if u.kind == name or (name == VOWEL and u.kind in HEIGHTS)] for name in names
    }
    members = {name: found for name, found in members.items() if found}
    n_frames = spec.magnitude.shape[-1]
    random = np.random.default_rng(seed)
    shifts = random.integers(n_frames // 10, max(n_frames - n_frames // 10, n_frames // 10 + 1), N_MOVED)
    covers = [np.zeros(n_frames)]
    for found in members.values():
        own = frames_of(found, n_frames, spec.stft.frame_rate_hz, units.duration_s)
        covers += [own, *(np.roll(own, int(shift)) for shift in shifts)]
    network = network_of(model, spec)
    floor = baseline_magnitude(spec, "floor")

    def without(cover: Array) -> Tensor:
        gone = torch.from_numpy(cover).to(spec.magnitude)
        return spec.magnitude * (1 - gone) + floor * gone

    with quiet(network):
        # One at a time: a stack of all would be as large as the recording many times over.
        values = [float(logits(network, without(cover), spec.phase)[0, target]) for cover in covers]
    falls = np.array([values[0] - value for value in values[1:]]).reshape(-1, 1 + N_MOVED)
    return [
        Removal(name, sum(u.end_s - u.start_s for u in found), float(row[0]), tuple(row[1:].tolist()))
        for (name, found), row in zip(members.items(), falls, strict=True)
    ]
