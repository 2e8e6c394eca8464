"""Statistics of score tables: means over speakers, bootstrap intervals, paired differences, calibration."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def auc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Area under the ROC curve: the chance that a score of class 1 exceeds one of class 0, ties counting half.

    AUC = (sum of the ranks of class 1 - n1 (n1 + 1) / 2) / (n1 n0), average ranks (hanley1982meaning).

    Args:
        scores: (n,), higher means class 1; pairs with a NaN score are left out.
        labels: (n,), 0 or 1.

    Returns:
        In [0, 1]; NaN where a class is missing.

    >>> auc([0.1, 0.4, 0.4, 0.9], [0, 0, 1, 1])
    0.875
    """
    from scipy.stats import rankdata

    values, positive = np.asarray(scores, dtype=float), np.asarray(labels).astype(bool)
    defined = ~np.isnan(values)
    values, positive = values[defined], positive[defined]
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if not n_positive or not n_negative:
        return float("nan")
    ranks = rankdata(values)
    return float((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))
