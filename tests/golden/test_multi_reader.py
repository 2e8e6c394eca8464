"""Readers and cases crossed: values by hand, two published data sets, and the older analysis by pseudovalues."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

from speechxai.errors import SpeechXAIError
from speechxai.stats import multi_reader, pairwise_kappa, reader_interval, spearman_interval


def published(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Ratings (I, J, K) and truth (K,) of a table reader, treatment, case, truth, rating."""
    table = pd.read_csv(path)
    wide = table.pivot_table(index=["treatment", "reader"], columns="case", values="rating")
    truth = table.groupby("case")["truth"].first().reindex(wide.columns).to_numpy()
    return wide.to_numpy().reshape(table["treatment"].nunique(), table["reader"].nunique(), -1), truth


VAN_DYKE = {
    "auc": (0.89704, 0.94084),
    "ms_t": 0.004796,
    "ms_tr": 0.000551,
    "cov2": 0.000344,
    "cov3": 0.000239,
    "f": 4.4563,
    "df": 15.26,
    "p": 0.0517,
    "difference": (-0.0438, -0.0880, 0.0004),
}


def test_van_dyke_as_published(shared_data: Callable[..., Path]) -> None:
    found = multi_reader(*published(shared_data("mrmc") / "VanDyke.csv"))
    assert found.mean == pytest.approx(VAN_DYKE["auc"], abs=5e-6)
    for name in ("ms_t", "ms_tr", "cov2", "cov3"):
        assert getattr(found, name) == pytest.approx(VAN_DYKE[name], abs=5e-7)
    assert found.f == pytest.approx(VAN_DYKE["f"], abs=5e-5)
    assert found.df == pytest.approx(VAN_DYKE["df"], abs=5e-3)
    assert found.p == pytest.approx(VAN_DYKE["p"], abs=5e-5)
    ends = (found.difference[0, 1], found.difference_low[0, 1], found.difference_high[0, 1])
    assert ends == pytest.approx(VAN_DYKE["difference"], abs=5e-5)


def test_franken_as_published(shared_data: Callable[..., Path]) -> None:
    found = multi_reader(*published(shared_data("mrmc") / "Franken.csv"))
    assert found.mean == pytest.approx((0.84775, 0.83690), abs=6e-6)
    assert (found.f, found.df, found.p) == pytest.approx((4.694, 3, 0.119), abs=5e-4)


def test_two_arms_by_hand() -> None:
    # Means .75 .5 and .25 .5, arms .625 and .375, all .5. MS(T) = 2 (.125^2 + .125^2) = .0625; residuals +-.125, MS(TR)
    # = 4 * .015625 = .0625. Covariances of means are sums of products of deviations / 12: same reader .25 and 0, two
    # readers of an arm .5 and .5, both other .5 and .5; variances .75 1 .75 1. F = .0625 / (.0625 + 2 * 0) = 1, df 1.
    right = np.array([[[1, 1, 1, 0], [1, 1, 0, 0]], [[1, 0, 0, 0], [1, 0, 1, 0]]], float)
    found = multi_reader(right, np.zeros(4), "mean")
    assert found.figures.tolist() == [[0.75, 0.5], [0.25, 0.5]]
    assert found.mean.tolist() == [0.625, 0.375]
    assert (found.ms_t, found.ms_tr, found.f, found.df) == pytest.approx((0.0625, 0.0625, 1, 1))
    assert found.variance == pytest.approx(3.5 / 4 / 12)
    assert found.cov1 == pytest.approx(0.125 / 12)
    assert (found.cov2, found.cov3) == pytest.approx((0.5 / 12, 0.5 / 12))
    # two-sided p of F(1, 1) = 1 is .5; the difference .25 has the variance 2 / 2 * .0625, t(.975, 1) = 12.706
    assert found.p == pytest.approx(0.5)
    assert found.difference_p[0, 1] == pytest.approx(0.5)
    assert found.difference_low[0, 1] == pytest.approx(0.25 - 12.7062 * 0.25, abs=1e-4)
    # arm 1 alone: MS(R) = .03125, J Cov2 = .083333, variance .114583 / 2, df .114583^2 / .03125^2 = 13.444
    reach = student.ppf(0.975, 13.4444) * math.sqrt(0.1145833 / 2)
    assert (found.low[0], found.high[0]) == pytest.approx((0.625 - reach, 0.625 + reach), abs=1e-5)


def test_auc_without_a_case_by_hand() -> None:
    # Scores 3 1 of the ill and 2 0 of the others: won 3 of 4. Without 3: 1 of 2; without 1: 2 of 2; without 2: 2 of 2;
    # without 0: 1 of 2. Deviations from .75 are -+.25, so the variance is 3 / 4 * 4 * .0625 = .1875.
    one = np.array([3.0, 1.0, 2.0, 0.0])
    found = multi_reader(np.array([[one, one]]), np.array([1, 1, 0, 0]))
    assert found.figures.tolist() == [[0.75, 0.75]]
    assert (found.variance, found.cov2) == pytest.approx((0.1875, 0.1875))
    # readers alike: MS(R) = 0, only cases vary, variance 2 * .1875 / 2 and no end of degrees of freedom
    assert found.high[0] == pytest.approx(0.75 + 1.959964 * math.sqrt(0.1875))
    assert math.isnan(found.f)
    assert math.isnan(found.cov1)


@pytest.mark.parametrize("figure", ["auc", "mean"])
def test_pseudovalues_say_the_same(figure: str) -> None:
    """Dorfman, Berbaum and Metz: an analysis of variance of jackknife pseudovalues has the same F where no variance is
    cut at 0 (hillis2005comparison)."""
    rng = np.random.default_rng(3)
    truth = np.arange(40) % 2
    ratings = 1.2 * truth + rng.normal(0, 1, (40,)) + rng.normal(0, 0.7, (2, 1, 40)) + rng.normal(0, 0.5, (2, 4, 40))
    n_cases, n_readers = 40, 4
    found = multi_reader(ratings, truth, figure)  # type: ignore[arg-type]
    assert found.cov2 > found.cov3
    pseudo = np.empty_like(ratings)
    for k in range(n_cases):
        rest = np.delete(np.arange(n_cases), k)
        left_out = multi_reader(ratings[:, :, rest], truth[rest], figure).figures  # type: ignore[arg-type]
        pseudo[:, :, k] = n_cases * found.figures - (n_cases - 1) * left_out

    def mean(*axes: int) -> np.ndarray:
        return pseudo.mean(axis=axes, keepdims=True)

    total = pseudo.mean()
    ms_t = n_readers * n_cases * np.square(mean(1, 2) - total).sum()
    tr = mean(2) - mean(1, 2) - mean(0, 2) + total
    tc = mean(1) - mean(1, 2) - mean(0, 1) + total
    trc = pseudo - mean(2) - mean(1) - mean(0) + mean(1, 2) + mean(0, 2) + mean(0, 1) - total
    ms_tr, ms_tc = n_cases * np.square(tr).sum() / 3, n_readers * np.square(tc).sum() / 39
    ms_trc = np.square(trc).sum() / (3 * 39)
    assert found.f == pytest.approx(ms_t / (ms_tr + ms_tc - ms_trc))


def test_readings_that_are_missing() -> None:
    rng = np.random.default_rng(0)
    ratings = rng.normal(0, 1, (2, 3, 20))
    truth = np.arange(20) % 2
    extra = np.concatenate([ratings, np.full((2, 3, 5), np.nan)], axis=2)
    whole, padded = multi_reader(ratings, truth), multi_reader(extra, np.r_[truth, np.ones(5)])
    assert padded.f == pytest.approx(whole.f)
    assert padded.n_cases == 20
    # a reader who read one class alone in one arm has no AUC there, and is left out of both
    ratings[1, 2, truth == 1] = np.nan
    assert multi_reader(ratings, truth).readers.tolist() == [0, 1]
    assert np.isnan(multi_reader(ratings[:, :1], truth).low).all()
    # each reader read half of the cases in each arm: no case is shared by one reader's arms
    split = rng.normal(0, 1, (2, 4, 40))
    for reader in range(4):
        split[reader % 2, reader, :20] = np.nan
        split[1 - reader % 2, reader, 20:] = np.nan
    assert multi_reader(split, np.arange(40) % 2, "mean").cov1 == pytest.approx(0, abs=1e-3)
    with pytest.raises(SpeechXAIError, match=r"^Ratings must be \(arms, readers, cases\)"):
        multi_reader(ratings, truth[:3])


def test_kappa_and_intervals_by_hand() -> None:
    nan = math.nan
    # readers 1 and 2 agree in 4 of 5, chance .6 * .4 + .4 * .6 = .48: (.8 - .48) / .52; reader 3 has no case with them
    answers = np.array([[1, 1, 0, 0, 1, nan], [1, 0, 0, 0, 1, nan], [nan] * 5 + [1]])
    assert pairwise_kappa(answers) == pytest.approx(0.32 / 0.52)
    assert math.isnan(pairwise_kappa(np.ones((2, 4))))
    # 2 -+ t(.975, 2) / sqrt 3 = 4.3027 / 1.7321
    assert reader_interval([1, 2, 3, nan]) == pytest.approx((2, 2 - 2.48414, 2 + 2.48414), abs=1e-5)
    assert math.isnan(reader_interval([1])[1])
    # atanh .5 = .54931 -+ 1.95996 sqrt(1.125 / 37) = .34177: tanh .20754, tanh .89108
    assert spearman_interval(0.5, 40) == pytest.approx((0.20461, 0.71192), abs=1e-5)
    assert math.isnan(spearman_interval(0.5, 4)[0])
