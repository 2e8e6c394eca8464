"""Do probabilities mean what they say? Temperature scaling, reliability, calibration errors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor, nn

T_MIN, T_MAX = 0.1, 10.0
"""Bounds of the temperature: a network that knows nothing would ask for an infinite one."""


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the temperature in [0.1, 10] whose logits / T have the lowest mean cross-entropy (Guo et al. 2017).

    Args:
        logits: (N, C) of recordings that the network was not trained on.
        labels: (N,) int64.
    """
    from scipy.optimize import minimize_scalar

    exact = logits.double()

    def loss(log_temperature: float) -> float:
        return float(nn.functional.cross_entropy(exact / math.exp(log_temperature), labels))

    best = minimize_scalar(loss, bounds=(math.log(T_MIN), math.log(T_MAX)), method="bounded", options={"xatol": 1e-6})
    return float(math.exp(best.x))


@dataclass(frozen=True)
class ReliabilityBin:
    """Predictions between two probabilities: how many, their mean, and the share that has the disease."""

    low: float
    high: float
    n: int
    mean_probability: float
    share_positive: float


def reliability(labels: ArrayLike, probabilities: ArrayLike, n_bins: int = 5) -> list[ReliabilityBin]:
    """Split predictions into `n_bins` equal ranges of P(PD); empty ranges are left out.

    >>> reliability([0, 1, 1], [0.1, 0.7, 0.9], n_bins=2)[1].n
    2
    """
    y, p = np.asarray(labels, dtype=float), np.asarray(probabilities, dtype=float)
    place = np.minimum((p * n_bins).astype(int), n_bins - 1)
    return [
        ReliabilityBin(
            k / n_bins,
            (k + 1) / n_bins,
            int((place == k).sum()),
            float(p[place == k].mean()),
            float(y[place == k].mean()),
        )
        for k in range(n_bins)
        if (place == k).any()
    ]


def expected_calibration_error(labels: ArrayLike, probabilities: ArrayLike, n_bins: int = 5) -> float:
    """ECE = sum over bins of (n_b / N) * |share positive - mean P(PD)|; 0 is best, bounds 0 to 1 (Guo et al. 2017).

    With few predictions it is biased upward: read it beside the reliability table.
    """
    bins = reliability(labels, probabilities, n_bins)
    n = sum(b.n for b in bins)
    return sum(b.n / n * abs(b.share_positive - b.mean_probability) for b in bins)


def brier_score(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean of (P(PD) - label)^2; 0 is best, 0.25 is what P = 0.5 gives (Brier 1950)."""
    return float(np.mean((np.asarray(probabilities, dtype=float) - np.asarray(labels, dtype=float)) ** 2))


def log_loss(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean negative log-likelihood, nats; 0 is best, ln 2 = 0.693 is what P = 0.5 gives."""
    y, p = np.asarray(labels, dtype=float), np.clip(np.asarray(probabilities, dtype=float), 1e-7, 1 - 1e-7)
    return float(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)))
