"""Does the evidence foretell what removing a patch does to the answer?"""

from __future__ import annotations

import torch
from torch import Tensor

from speechxai.metrics.case import METRICS, Case

N_PATCHES = 40
"""Patches that `infidelity` removes, one at a time."""
SMALLEST, LARGEST = 1 / 16, 1 / 2
"""Sides of a patch, as shares of the spectrogram's sides."""


def patches(n_bins: int, n_frames: int, seed: int, n: int = N_PATCHES) -> Tensor:
    """Return `n` rectangles at random places (n, F, T), 1 inside and 0 outside, each side 1/16 to 1/2 of the whole."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.zeros(n, n_bins, n_frames)
    for patch, (height, width, top, left) in zip(drawn, torch.rand(n, 4, generator=generator).tolist(), strict=True):
        sides = []
        for share, start, total in ((height, top, n_bins), (width, left, n_frames)):
            length = max(1, round((SMALLEST + share * (LARGEST - SMALLEST)) * total))
            first = int(start * (total - length + 1))
            sides.append(slice(first, first + length))
        patch[sides[0], sides[1]] = 1
    return drawn


@METRICS.register(best="low", bounds=(0.0, 1.0), cites="yeh2019infidelity")
def infidelity(case: Case) -> Tensor:
    """Share of the answer's changes under removed patches that the evidence in them does not foretell; 0 foretells all, 1 nothing.

    min over b >= 0 of sum_i (b s_i - d_i)^2 / sum_i d_i^2, with s_i the evidence in patch i and d_i = p - p(patch i
    removed): the infidelity of yeh2019infidelity with square removal at its best scale, for a map has none of its own.
    Patches are drawn once from the case's seed. NaN for a map without evidence and where no patch changes anything.
    """
    _, n_bins, n_frames = case.mask.shape
    masks = patches(n_bins, n_frames, case.seed).to(case.mask)
    size = max(1, int(getattr(case.model, "max_batch", 8)) // len(case.spec))
    removed = torch.cat([case.masked_probability(1 - part[:, None]) for part in torch.split(masks, size)])
    drop = torch.stack([case.p - case.of_target(probability) for probability in removed]).double()
    foretold = torch.einsum("nft,bft->nb", masks.double(), case.mask.double())
    # By the best scale b = <s, d> / <s, s>, the rest is |d|^2 - <s, d>^2 / |s|^2.
    agreement = (foretold * drop).sum(dim=0).clamp(min=0)
    sizes = foretold.square().sum(dim=0) * drop.square().sum(dim=0)
    explained = torch.where(sizes > 0, agreement.square() / sizes, torch.zeros_like(sizes))
    values = (1 - explained).clamp(0, 1)
    undefined = case.is_empty | (drop.abs().amax(dim=0) == 0)
    return torch.where(undefined, torch.full_like(values, torch.nan), values).to(case.mask)
