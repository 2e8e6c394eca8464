"""A small sparse autoencoder of hidden frames (bricken2023monosemanticity), of which at most k features speak at a time
(gao2024scaling)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from speechxai.errors import in_range

ALIKE = 0.7
"""Cosine of two decoder directions from which they are one feature."""


@dataclass(frozen=True, eq=False)
class Sparse:
    """Frames x (..., C) as few features: a = top k of max(0, (x - center) / scale W + b), x ~ center + scale a D.

    Args:
        encoder: W, (C, K).
        bias: b, (K,).
        decoder: D, (K, C), rows of length 1.
        center: (C,).
        scale: (), deviation of the frames' values.
        n_active: k.
    """

    encoder: Tensor
    bias: Tensor
    decoder: Tensor
    center: Tensor
    scale: Tensor
    n_active: int

    def features(self, frames: Tensor) -> Tensor:
        """Frames (..., C) to activations (..., K), at most k of them above 0."""
        return _top(((frames - self.center) / self.scale) @ self.encoder + self.bias, self.n_active)

    def back(self, features: Tensor) -> Tensor:
        """Activations (..., K) to frames (..., C)."""
        return self.center + self.scale * (features @ self.decoder)

    def clamped(self, frames: Tensor, which: Sequence[int], levels: Tensor, share: float = 1.0) -> Tensor:
        """Frames in which the features `which` are as active as `levels` (len(which),) say, or a share of the way from
        what they are to that; what the autoencoder does not explain of a frame stays."""
        chosen = list(which)
        change = share * (levels - self.features(frames)[..., chosen])
        return frames + self.scale * (change @ self.decoder[chosen])

    def explained(self, frames: Tensor) -> float:
        """Share of the variance of frames (N, C) that it explains."""
        rest = (frames - self.back(self.features(frames))).square().sum()
        return float(1 - rest / (frames - frames.mean(dim=0)).square().sum())


def _top(values: Tensor, k: int) -> Tensor:
    values = values.relu()
    least = values.topk(min(k, values.shape[-1]), dim=-1).values[..., -1:]
    return torch.where(values >= least, values, torch.zeros_like(values))


def fit_sparse(
    frames: Tensor, n_features: int, n_active: int, *, seed: int, n_steps: int = 1500, batch: int = 512
) -> Sparse:
    """Learn a sparse autoencoder of frames (N, C) by mean squared error, Adam, the decoder's rows kept at length 1.

    The encoder begins as the decoder's transpose, the decoder as random directions; features that were silent for a
    tenth of the steps begin anew at the frames that are explained worst.

    Raises:
        SpeechXAIError: numbers out of range.
    """
    in_range("a sparse autoencoder", "n_features", n_features, 2, 65_536, whole=True)
    in_range("a sparse autoencoder", "n_active", n_active, 1, n_features, whole=True)
    draw = torch.Generator().manual_seed(seed)
    center = frames.mean(dim=0)
    scale = (frames - center).square().mean().sqrt().clamp(min=1e-9)
    data = ((frames - center) / scale).float()
    decoder = _unit(torch.randn(n_features, data.shape[1], generator=draw))
    encoder, bias = decoder.T.clone(), torch.zeros(n_features)
    values = [each.requires_grad_() for each in (encoder, bias, decoder)]
    optimizer = torch.optim.Adam(values, lr=2e-3, betas=(0.9, 0.99))
    silent = torch.zeros(n_features)
    patience = max(1, n_steps // 10)
    for step in range(n_steps):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * 0.5 * (1 + math.cos(math.pi * step / n_steps))
        x = data[torch.randint(len(data), (min(batch, len(data)),), generator=draw)]
        active = _top(x @ encoder + bias, n_active)
        rest = x - active @ decoder
        loss = rest.square().sum(dim=1).mean() / data.shape[1]
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        with torch.no_grad():
            decoder.copy_(_unit(decoder))
            silent = torch.where((active > 0).any(dim=0), torch.zeros_like(silent), silent + 1)
            dead = torch.nonzero(silent >= patience)[:, 0]
            if len(dead) and step < n_steps * 0.8:
                worst = rest.square().sum(dim=1).argsort(descending=True)[: len(dead)]
                dead = dead[: len(worst)]
                decoder[dead] = _unit(rest[worst])
                encoder[:, dead] = 0.2 * decoder[dead].T
                bias[dead], silent[dead] = 0.0, 0.0
    return Sparse(encoder.detach(), bias.detach(), decoder.detach(), center, scale, n_active)


def _unit(rows: Tensor) -> Tensor:
    found: Tensor = rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-9)
    return found


def found_again(first: Tensor, second: Tensor, alike: float = ALIKE) -> float:
    """Share of the directions `first` (K, C) that have a partner of their own among `second` (M, C), one to one, with a
    cosine of at least `alike`."""
    cosines = _unit(first) @ _unit(second).T
    rows, columns = linear_sum_assignment(-(cosines >= alike).double().numpy() - 1e-6 * cosines.double().numpy())
    return float((cosines[rows, columns] >= alike).double().sum() / len(first))
