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
    from sklearn.linear_model import LogisticRegression

    known = ~np.isnan(summaries[rows])
    count = known.sum(axis=0)
    mean = np.divide(
        np.where(known, summaries[rows], 0).sum(axis=0), count, out=np.zeros(summaries.shape[1]), where=count > 0
    )
    filled = np.where(np.isnan(summaries), mean, summaries)
    deviation = filled[rows].std(axis=0)
    deviation = np.where(deviation > 1e-9, deviation, 1.0)
    standardized = (filled - mean) / deviation
    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=1000)
    model.fit(standardized[rows], labels[rows])
    return model.predict_proba(standardized[asked])[:, 1], model.coef_[0]
