"""RISE: random soft masks, for every network that gives logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechxai.attribution.base import (
    METHODS,
    check_target,
    generator,
    parts,
    plain,
    quiet,
    recordings_at_once,
    require_at_least,
    target_logit,
)
from speechxai.attribution.boxes import chunked
from speechxai.attribution.shared import unwrap
from speechxai.errors import SpeechXAIError
from speechxai.types import Spectrogram


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
    """What keeping a bin adds to the logit over random soft masks: A = cov(mask, logit(X * mask)) / var(mask), (B, F, T).

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
            f"rise needs keep in (0, 1) and cells above 0. Got keep={keep!r}, cell_ms={cell_ms!r}, cell_hz={cell_hz!r} instead."
        )
    network = unwrap(model)
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
