"""The transparent twin: a logistic regression on band x segment summaries, whose coefficients can be read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from speechxai.auxiliary_types import Array

STRENGTHS = (0.01, 0.1, 1.0)
"""Inverse regularization strengths that the validation fold chooses from."""


def fit_linear(
    summaries: Array, labels: NDArray[np.int64], parts: tuple[NDArray[np.int64], ...]
) -> tuple[Array, Array]:
    """Fit on the training part, choose the regularization on the validation part, fit again on both, answer for the test.

    Summaries are standardized by the rows that are fitted on; a stretch that a recording lacks counts as average. Classes weigh
    the same.

    Args:
        summaries: (R, K), NaN where a recording has no such stretch.
        labels: (R,), 0 or 1.
        parts: row numbers for training, validation and test.

    Returns:
        P(PD) of the test rows (n,), and the coefficients (K,): change of the log odds per standard deviation.
    """
    training, validation, test = parts
    losses = []
    for strength in STRENGTHS:
        p = _fitted(summaries, labels, training, strength, validation)[0].clip(1e-6, 1 - 1e-6)
        y = labels[validation]
        losses.append(np.mean([-np.log(np.where(y == c, p if c else 1 - p, 1))[y == c].mean() for c in (0, 1) if (y == c).any()]))  # fmt: skip
    both = np.concatenate([training, validation])
    return _fitted(summaries, labels, both, STRENGTHS[int(np.argmin(losses))], test)


def _fitted(
    summaries: Array, labels: NDArray[np.int64], rows: NDArray[np.int64], strength: float, asked: NDArray[np.int64]
) -> tuple[Array, Array]:
    known = ~np.isnan(summaries[rows])
    count = known.sum(axis=0)
    mean = np.divide(
        np.where(known, summaries[rows], 0).sum(axis=0), count, out=np.zeros(summaries.shape[1]), where=count > 0
    )
    filled = np.where(np.isnan(summaries), mean, summaries)
    deviation = filled[rows].std(axis=0)
    deviation = np.where(deviation > 1e-9, deviation, 1.0)
    standardized = (filled - mean) / deviation
    weights, intercept = logistic_regression(standardized[rows], labels[rows], strength)
    return 0.5 * (1 + np.tanh(0.5 * (standardized[asked] @ weights + intercept))), weights


def logistic_regression(
    x: Array, y: NDArray[np.int64], strength: float, n_steps: int = 100, tolerance: float = 1e-8
) -> tuple[Array, float]:
    """Minimize ||w||^2 / 2 + strength * sum_i c_i log(1 + exp(-s_i (w x_i + b))), s = +-1, by Newton's method.

    c_i weighs the classes the same: n / (2 n_class). The intercept b is free.

    Args:
        x: (n, K); y: (n,), 0 or 1, both classes present.
        strength: inverse regularization, above 0.
        n_steps: at most so many; the problem is convex, and steps are halved until they descend.
        tolerance: largest gradient at the end.

    Returns:
        w (K,) and b.
    """
    n, k = x.shape
    design = np.concatenate([x, np.ones((n, 1))], axis=1)
    counts = np.bincount(y, minlength=2)
    weight = strength * n / (2 * counts[y])
    penalty = np.append(np.ones(k), 0.0)
    sign, found = 2.0 * y - 1, np.zeros(k + 1)

    def loss(candidate: Array) -> float:
        return float(np.logaddexp(0, -sign * (design @ candidate)) @ weight + (penalty * candidate**2).sum() / 2)

    for _ in range(n_steps):
        p = 0.5 * (1 + np.tanh(0.5 * (design @ found)))  # a logistic function that cannot overflow
        gradient = design.T @ (weight * (p - y)) + penalty * found
        if np.abs(gradient).max() < tolerance:
            break
        curvature = (design.T * (weight * p * (1 - p))) @ design + np.diag(penalty)
        step, now, length = np.linalg.solve(curvature + 1e-12 * np.eye(k + 1), gradient), loss(found), 1.0
        while loss(found - length * step) > now and length > 1e-6:
            length /= 2
        found = found - length * step
    return found[:k], float(found[k])
