"""Does the map depend on what the network has learned? Networks with random weights, and how alike two maps look."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from speechxai.agreement import rank_correlation
from speechxai.attribution.shared import unwrap
from speechxai.errors import SpeechXAIError
from speechxai.types import Spectrogram

Explainer = Callable[[nn.Module, Spectrogram, Tensor], Tensor]
"""Explains a batch: `(model, spec, target (B,)) -> map (B, F, T)`."""

Mode = Literal["cascading", "independent"]
Similarity = Callable[[Tensor, Tensor], Tensor]

SSIM_SIGMA, SSIM_RADIUS = 1.5, 5
"""Gaussian window of the structural similarity: 11 x 11 bins (wang2004image)."""


def _scaled(values: Tensor) -> Tensor:
    top = values.abs().amax(dim=(1, 2), keepdim=True)
    return torch.where(top > 0, values / top, torch.zeros_like(values))


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Mean structural similarity of two maps, each divided by its largest magnitude; in [-1, 1], 1 for equal maps (wang2004image).

    SSIM = (2 m_a m_b + C1)(2 s_ab + C2) / ((m_a^2 + m_b^2 + C1)(s_a^2 + s_b^2 + C2)) with means, variances and covariance under
    an 11 x 11 Gaussian window of sigma 1.5, C1 = 0.01^2, C2 = 0.03^2; averaged over the windows that lie inside the map.

    Args:
        a, b: maps (B, F, T) of one shape, F and T at least 11.

    Returns:
        (B,); NaN where a map is all zero.

    Raises:
        SpeechXAIError: shapes that do not agree, or maps smaller than the window.
    """
    n_window = 2 * SSIM_RADIUS + 1
    if a.shape != b.shape or a.ndim != 3 or min(a.shape[1:]) < n_window:
        raise SpeechXAIError(
            f"The structural similarity needs two maps of one shape (B, F, T) of at least {n_window} x {n_window} bins. "
            f"Got {tuple(a.shape)} and {tuple(b.shape)}."
        )
    offsets = torch.arange(-SSIM_RADIUS, SSIM_RADIUS + 1, dtype=torch.float64, device=a.device)
    window = torch.exp(-0.5 * (offsets / SSIM_SIGMA) ** 2)
    window = window / window.sum()

    def local_mean(values: Tensor) -> Tensor:
        rows = nn.functional.conv2d(values[:, None], window[None, None, :, None])
        return nn.functional.conv2d(rows, window[None, None, None, :])[:, 0]

    first, second = _scaled(a.detach().double()), _scaled(b.detach().double())
    mean_a, mean_b = local_mean(first), local_mean(second)
    variance_a = local_mean(first.square()) - mean_a.square()
    variance_b = local_mean(second.square()) - mean_b.square()
    covariance = local_mean(first * second) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    quotient = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    quotient = quotient / ((mean_a.square() + mean_b.square() + c1) * (variance_a + variance_b + c2))
    empty = (first.abs().amax(dim=(1, 2)) == 0) | (second.abs().amax(dim=(1, 2)) == 0)
    found = quotient.mean(dim=(1, 2))
    return torch.where(empty, torch.full_like(found, torch.nan), found).to(a)


SIMILARITIES: dict[str, Similarity] = {"rank": rank_correlation, "ssim": ssim}


def layers(model: nn.Module) -> list[str]:
    """Names of the modules that hold weights of their own, in the order in which the network lists them."""
    return [name for name, module in model.named_modules() if any(True for _ in module.parameters(recurse=False))]


def randomize(model: nn.Module, names: list[str], seed: int) -> None:
    """Replace the weights of modules of `model`, in place, by normal numbers of each tensor's own mean and deviation."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name in names:
            for weights in model.get_submodule(name).parameters(recurse=False):
                spread = weights.std(unbiased=False) if weights.numel() > 1 else weights.abs().mean()
                draw = torch.randn(weights.shape, generator=generator).to(weights)
                weights.copy_(weights.mean() + spread * draw if weights.numel() > 1 else spread * draw)


def randomized(
    model: nn.Module, mode: Mode = "cascading", stages: int | None = None, seed: int = 0
) -> Iterator[tuple[str, nn.Module]]:
    """Yield copies of `model` with more and more random weights, by the name of the layer where each stage begins.

    Args:
        mode: "cascading" randomizes from the last layer up to and with the named one; "independent" that layer (or group of
            layers) alone.
        stages: number of stages, the layers in groups of equal size; None takes every layer, 1 the whole network at once.
        seed: of the weights.

    Raises:
        SpeechXAIError: an unknown mode, fewer than one stage, a network without weights.
    """
    if mode not in ("cascading", "independent"):
        raise SpeechXAIError(f"The 'mode' parameter must be 'cascading' or 'independent'. Got {mode!r} instead.")
    names = layers(unwrap(model))[::-1]
    if not names:
        raise SpeechXAIError("This network has no weights that could be randomized.")
    n_stages = len(names) if stages is None else stages
    if n_stages < 1:
        raise SpeechXAIError(f"The 'stages' parameter must be at least 1. Got {stages} instead.")
    n_stages = min(n_stages, len(names))
    edges = [round(index * len(names) / n_stages) for index in range(n_stages + 1)]
    for start, stop in pairwise(edges):
        changed = copy.deepcopy(unwrap(model))
        randomize(changed, names[:stop] if mode == "cascading" else names[start:stop], seed)
        yield names[stop - 1], changed


def randomization_curve(
    make_map: Explainer,
    model: nn.Module,
    spec: Spectrogram,
    target: Tensor,
    *,
    values: Tensor | None = None,
    mode: Mode = "cascading",
    similarity: str = "rank",
    stages: int | None = None,
    seed: int = 0,
) -> dict[str, Tensor]:
    """How alike a map and the maps of randomized copies of the network are: layer name -> (B,), in [-1, 1].

    A map of what the network learned loses its likeness (adebayo2018sanity); one that keeps it shows the recording, not the
    network. The network itself is not touched.

    Args:
        make_map: explains, `(model, spec, target) -> (B, F, T)`.
        values: the map of `model`, where it is known.
        mode, stages, seed: as for `randomized`.
        similarity: "rank" (Spearman) or "ssim".

    Raises:
        SpeechXAIError: an unknown mode or similarity, or what `make_map` raises.
    """
    if similarity not in SIMILARITIES:
        raise SpeechXAIError(
            f"The 'similarity' parameter must be one of {', '.join(SIMILARITIES)}. Got {similarity!r} instead."
        )
    original = make_map(model, spec, target) if values is None else values
    return {
        name: SIMILARITIES[similarity](original, make_map(changed, spec, target))
        for name, changed in randomized(model, mode, stages, seed)
    }
