"""Statistics by hand, and on simulated data whose truth is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap as scipy_bootstrap
from scipy.stats import norm
from scipy.stats import t as student

from speechxai import stats
from speechxai.errors import SpeechXAIError
from speechxai.stats import (
    Beats,
    auc,
    auc_interval,
    bca_interval,
    bca_p_value,
    beats,
    bootstrap,
    bootstrap_means,
    compared,
    expected_calibration_error,
    fold_summary,
    holm,
    mean_over_speakers,
    share_interval,
    share_of_speakers,
    sign_flip_p_values,
    smallest_p,
    speaker_bootstrap,
    speaker_means,
    spearman,
    summarize,
)

CONTROLS = ("random_map", "energy_map", "edge_map")


def test_auc_by_hand() -> None:
    # pairs (0.3, 0.1) (0.3, 0.5) (0.8, 0.1) (0.8, 0.5): won, lost, won, won: 3 of 4
    assert auc([0.1, 0.5, 0.3, 0.8], [0, 0, 1, 1]) == 0.75
    assert auc([1, 1, 1], [0, 1, 1]) == 0.5
    assert auc([0.9, np.nan, 0.1], [0, 0, 1]) == 0
    assert math.isnan(auc([1, 2], [1, 1]))
    with pytest.raises(SpeechXAIError, match=r"^Values, labels and speakers must have one length\. Got 2 and 3\.$"):
        auc([1, 2], [0, 1, 1])


def test_auc_equals_sklearn_with_ties() -> None:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 6, 200), rng.integers(0, 2, 200)
    assert auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores))


def test_auc_over_chosen_pairs_by_hand() -> None:
    # of the pairs (0.5, 0.1) (0.5, 0.6) (0.9, 0.1) (0.9, 0.6) the second and third count: lost, won
    pairs = np.array([[False, True], [True, False]])
    assert auc([0.1, 0.6, 0.5, 0.9], [0, 0, 1, 1], pairs) == 0.5
    assert math.isnan(auc([0.1, 0.6, 0.5, 0.9], [0, 0, 1, 1], np.zeros((2, 2), bool)))
    rng = np.random.default_rng(1)
    scores, labels = rng.integers(0, 6, 50), np.arange(50) % 2
    assert auc(scores, labels, np.ones((25, 25), bool)) == pytest.approx(auc(scores, labels))


def test_spearman_by_hand() -> None:
    # ranks 1 2 3 4 against 2 1 4 3: 1 - 6 * (1 + 1 + 1 + 1) / (4 * 15) = .6
    assert spearman([1, 5, 7, 100], [2, 1, 9, 8]) == pytest.approx(0.6)
    assert spearman([1, 5, np.nan, 7, 100], [2, 1, 3, 9, 8]) == pytest.approx(0.6)
    assert math.isnan(spearman([1, 1, 1], [1, 2, 3]))
    assert math.isnan(spearman([1, 2], [1, 2]))


def test_calibration_by_hand() -> None:
    # bins [.2, .4): .25 .25 with one of two; [.8, 1]: .9 1 with both: |.5 - 1| / 4 + |1.9 - 2| / 4 = .15
    assert expected_calibration_error([0.25, 0.25, 0.9, 1.0], [0, 1, 1, 1]) == pytest.approx(0.15)
    # one bin: |2.4 - 3| / 4
    assert expected_calibration_error([0.25, 0.25, 0.9, 1.0], [0, 1, 1, 1], n_bins=1) == pytest.approx(0.15)
    # .39 and .41 lie apart with five bins, |.39 - 1| / 2 + .41 / 2 = .51, and together with two: |.8 - 1| / 2
    assert expected_calibration_error([0.39, 0.41], [1, 0]) == pytest.approx(0.51)
    assert expected_calibration_error([0.39, 0.41], [1, 0], n_bins=2) == pytest.approx(0.1)
    assert math.isnan(expected_calibration_error([], []))
    with pytest.raises(SpeechXAIError, match=r"^The 'probabilities' parameter must hold values in \[0, 1\]\.$"):
        expected_calibration_error([1.2], [1])


def test_every_speaker_counts_once() -> None:
    # a: (0 + 0 + 3) / 3 = 1; b: 5: mean 3, and not the 2 of the recordings
    assert mean_over_speakers([0, 0, 3, 5], ["a", "a", "a", "b"]) == 3
    assert speaker_means([1, np.nan, np.nan], ["a", "a", "b"]).tolist() == pytest.approx([1, np.nan], nan_ok=True)
    assert mean_over_speakers([np.nan, 4], ["a", "b"]) == 4
    assert math.isnan(mean_over_speakers([], []))


def test_intervals_are_corrected_by_hand() -> None:
    # Five speakers: the tail is Phi(-sqrt(5 / 4) t(.975, 4)) = Phi(-1.118 * 2.776) = Phi(-3.104) = .000955 instead of
    # .025. Resampled values lie evenly from -1 to 1, the value in their middle, no speaker stands out: no correction.
    even = np.linspace(-1, 1, 20_001)[:, None]
    low, high = bca_interval(even, 0.0, np.array([1.0, -1, 2, -2, 0])[:, None])
    assert (low[0], high[0]) == pytest.approx((-1 + 2 * 0.000955, 1 - 2 * 0.000955), abs=1e-5)
    # One speaker stands out: deviations 2 -1 -1 0 0, acceleration (8 - 1 - 1) / (6 * 6^1.5) = .06804. Lower end:
    # -3.104 / (1 + .2112) = -2.563, Phi = .00519; upper end: 3.104 / (1 - .2112) = 3.935, Phi = .99996.
    low, high = bca_interval(even, 0.0, np.array([-2.0, 1, 1, 0, 0])[:, None])
    assert (low[0], high[0]) == pytest.approx((-1 + 2 * 0.00519, -1 + 2 * 0.99996), abs=1e-4)
    # Six tenths of the resamples are below the value: bias Phi^-1(.6) = .2533, ends Phi(.5067 -+ 3.104) = .00470,
    # .99985.
    low, high = bca_interval(even, 0.2, np.zeros((5, 1)))
    assert (low[0], high[0]) == pytest.approx((-1 + 2 * 0.00470, -1 + 2 * 0.99985), abs=1e-4)
    # Everybody alike: nothing to correct; ties with the value count half below it.
    low, high = bca_interval(np.full((100, 1), 2.0), 2.0, np.full((5, 1), 2.0))
    assert (low[0], high[0]) == (2, 2)
    # NaN: a resample without a value is left out; without any, or for a value that is none, there is no interval.
    some = np.vstack([even, np.full((5_000, 1), np.nan)])
    assert bca_interval(some, 0.0, np.zeros((5, 1)))[0] == pytest.approx([-1 + 2 * 0.000955], abs=1e-5)
    assert np.isnan(bca_interval(np.full((9, 1), np.nan), 0.0, np.zeros((5, 1)))).all()
    assert np.isnan(bca_interval(even, np.nan, np.zeros((5, 1)))).all()


def test_intervals_equal_scipys_at_the_same_tail() -> None:
    values = np.random.default_rng(5).exponential(size=20)
    tail = norm.cdf(-np.sqrt(20 / 19) * student.ppf(0.975, 19))
    theirs = scipy_bootstrap(
        (values,), np.mean, n_resamples=20_000, confidence_level=1 - 2 * tail, method="BCa", rng=1
    ).confidence_interval
    ours = bootstrap_means(values[:, None], n=20_000)
    assert (ours[0][0], ours[1][0]) == pytest.approx(tuple(theirs), abs=0.02)
    # Any statistic, written as a function, has the interval of the vectorized mean.
    assert bootstrap(lambda drawn: float(values[drawn].mean()), 20) == pytest.approx(
        [ends[0] for ends in bootstrap_means(values[:, None])]
    )


def test_intervals_of_few_speakers() -> None:
    five, four = np.arange(5.0), np.arange(4.0)
    low, high = speaker_bootstrap(five, list("abcde"))
    assert 0 <= low < 2 < high <= 4
    assert all(math.isnan(end) for end in speaker_bootstrap(four, list("abcd")))
    assert all(math.isnan(end) for end in speaker_bootstrap([], []))
    assert all(math.isnan(end) for end in speaker_bootstrap(np.arange(9.0), ["a"] * 9))
    assert all(math.isnan(end) for end in speaker_bootstrap(four, list("abcd"), lambda rows: float(rows.mean())))
    # The second column has four speakers with a value among five.
    low, high = bootstrap_means(np.stack([five, np.where(five < 4, five, np.nan)], axis=1))
    assert low[0] < high[0]
    assert math.isnan(low[1])
    assert math.isnan(high[1])
    (one,) = beats([1.0, 2.0], [0.0, 0.0], ["a", "a"])
    assert (one.difference, one.p, one.better, one.decidable) == (1.5, 1.0, False, False)
    assert math.isnan(one.low)


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [
        (12, 12, 0.735, 1.0),  # low^12 = .025
        (0, 7, 0.0, 0.410),  # (1 - high)^7 = .025
        (7, 7, 0.590, 1.0),
        (5, 10, 0.187, 0.813),
        (1, 81, 0.0003, 0.067),
    ],
)
def test_intervals_of_shares_by_hand(k: int, n: int, low: float, high: float) -> None:
    assert share_interval(k, n) == pytest.approx((low, high), abs=5e-4)


def test_a_perfect_auc_has_an_interval() -> None:
    # ten pairs of speakers, all won: .025^(1 / 10) = .69
    labels = [0] * 10 + [1] * 10
    assert auc_interval(labels, labels, np.arange(20)) == pytest.approx((0.025**0.1, 1))
    assert auc_interval(np.subtract(1, labels), labels, np.arange(20)) == pytest.approx((0, 1 - 0.025**0.1))
    # every speaker in both classes: ten speakers make five pairs with nobody in two
    assert auc_interval(labels, labels, [*range(10), *range(10)]) == pytest.approx((0.025**0.2, 1))
    # one speaker in a class says nothing
    assert all(math.isnan(end) for end in auc_interval([0, 0, 1, 1], [0, 0, 1, 1], list("abcc")))
    # anything else is the bootstrap over speakers
    rng = np.random.default_rng(0)
    scores = labels + rng.normal(size=20)
    rows = np.stack([scores, labels], axis=1)
    expected = speaker_bootstrap(rows, np.arange(20), lambda r: auc(r[:, 0], r[:, 1]))
    assert auc_interval(scores, labels, np.arange(20)) == expected


def test_shares_of_speakers() -> None:
    # one recording each: exact; 12 of 12
    assert share_of_speakers([1] * 12, list("abcdefghijkl")) == pytest.approx((1, 0.025 ** (1 / 12), 1, 12))
    # one speaker is half right: no share of speakers any more, and two have no interval of a mean
    assert share_of_speakers([1, 0, 1], ["a", "a", "b"]) == pytest.approx((0.75, np.nan, np.nan, 2), nan_ok=True)
    share, low, high, n = share_of_speakers([1, 1, np.nan], ["a", "a", "b"])
    assert (share, n) == (1, 1)
    assert math.isnan(low)
    assert math.isnan(high)
    assert all(math.isnan(end) for end in share_interval(0, 0))
    with pytest.raises(
        SpeechXAIError, match=(r"^The 'k' parameter of a share must be from 0 to n = 7\. Got 8 instead\.$")
    ):
        share_interval(8, 7)


def test_bootstrap_is_seeded_and_resamples_speakers() -> None:
    rng = np.random.default_rng(1)
    effect = np.repeat(rng.normal(size=12), 20)
    values, speakers = effect + 0.01 * rng.normal(size=240), np.repeat(np.arange(12), 20)
    first = speaker_bootstrap(values, speakers, seed=3)
    assert first == speaker_bootstrap(values, speakers, seed=3)
    assert first != speaker_bootstrap(values, speakers, seed=4)
    # 240 recordings of 12 speakers know no more than 12 numbers: resampling recordings would give a fourth of the width
    width = first[1] - first[0]
    naive = speaker_bootstrap(values, np.arange(240))
    assert width > 3 * (naive[1] - naive[0])


def test_bootstrap_of_any_statistic() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 2
    scores = labels + rng.normal(size=80)
    low, high = speaker_bootstrap(
        np.stack([scores, labels], axis=1), np.arange(80), lambda rows: auc(rows[:, 0], rows[:, 1]), n=400
    )
    # true AUC of two normals one apart: Phi(1 / sqrt 2) = .760; standard error about .053 with 40 each
    assert low < auc(scores, labels) < high
    assert 0.12 < high - low < 0.32
    # the mean written as a statistic gives the interval of the vectorized mean, draw by draw
    values = rng.normal(size=30)
    by_function = speaker_bootstrap(values, np.arange(30), lambda rows: float(rows.mean()), n=500, seed=2)
    assert by_function == pytest.approx(speaker_bootstrap(values, np.arange(30), n=500, seed=2))


@pytest.mark.parametrize(("n_speakers", "least", "most"), [(5, 0.86, 0.91), (12, 0.90, 0.95), (40, 0.93, 0.965)])
def test_coverage_of_the_interval(n_speakers: int, least: float, most: float) -> None:
    """How often the 95 % interval of a mean of skewed values holds the truth; the percentile interval: .79, .87,
    .93."""
    samples = np.random.default_rng(0).exponential(size=(n_speakers, 1500))  # truth 1
    low, high = bootstrap_means(samples, n=1000)
    assert least < ((low <= 1) & (high >= 1)).mean() < most


def test_sign_flips_by_hand() -> None:
    # differences 1 2 3: eight sign patterns, |sum| >= 6 for +++ and ---: p = 2 / 8
    assert sign_flip_p_values(np.array([[1.0], [2], [3]])).tolist() == [0.25]
    # 1 -1: sums 0 2 -2 0, all at least 0: p = 1
    assert sign_flip_p_values(np.array([[1.0], [-1]])).tolist() == [1]
    # a speaker without a value is left out: 1 2 give |sum| 3 in two of four patterns
    assert sign_flip_p_values(np.array([[1.0], [2], [np.nan]])).tolist() == [0.5]
    assert math.isnan(sign_flip_p_values(np.array([[np.nan], [np.nan]]))[0])


def test_sign_flips_are_uniform_without_and_small_with_a_difference() -> None:
    rng = np.random.default_rng(0)
    p = sign_flip_p_values(rng.standard_t(3, size=(25, 1000)), n=999)
    assert abs((p < 0.05).mean() - 0.05) < 0.025
    assert abs((p < 0.5).mean() - 0.5) < 0.06
    assert (sign_flip_p_values(1 + rng.normal(size=(40, 20))) < 0.001).all()


def test_sign_flips_agree_with_scipy() -> None:
    from scipy.stats import permutation_test

    values = np.random.default_rng(5).normal(0.4, 1, size=12)
    theirs = permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    assert sign_flip_p_values(values[:, None])[0] == pytest.approx(theirs)


def test_max_t_by_hand() -> None:
    # columns 1 2 3 and 1 -1 0, standardized: sums 6 / sqrt 14 = 1.60 and 0; flips of the first as before, its largest
    # rivals are 2 / sqrt 2 = 1.41 < 1.60: p = 2 / 8; every flip reaches 0: p = 1
    differences = np.array([[1.0, 1], [2, -1], [3, 0]])
    assert sign_flip_p_values(differences, correction="max-t").tolist() == [0.25, 1]
    assert sign_flip_p_values(differences, correction="holm").tolist() == [0.5, 1]
    # 1 1 1 1 alone: two of sixteen flips reach its sum; in two others 1 1 1 -1 does: p = 4 / 16. The sum 2 of the
    # latter
    # is reached by one of the two in every flip
    differences = np.array([[1.0, 1], [1, 1], [1, 1], [1, -1]])
    assert sign_flip_p_values(differences).tolist() == [2 / 16, 10 / 16]
    assert sign_flip_p_values(differences, correction="max-t").tolist() == [4 / 16, 1]
    # a copy of a column costs nothing, where Holm doubles p
    twice = np.repeat(np.arange(1.0, 9)[:, None], 2, axis=1)
    assert sign_flip_p_values(twice, correction="max-t").tolist() == [2 / 256] * 2
    assert sign_flip_p_values(twice, correction="holm").tolist() == [4 / 256] * 2


def test_bca_p_by_hand() -> None:
    # Means of 5 speakers whose values without each are symmetric: no acceleration. Half of the resamples lie below .2:
    # no bias. 2 of 20 lie below 0: z = -1.2816, t = 1.2816 / sqrt(5 / 4) = 1.1463, p = 2 P(t_4 > 1.1463) = .3156.
    resampled = np.concatenate([[-0.2, -0.1], np.linspace(0.01, 0.19, 8), np.linspace(0.21, 0.5, 10)])[:, None]
    left_out = np.array([0.0, 0.1, 0.2, 0.3, 0.4])[:, None]
    assert bca_p_value(resampled, 0.2, left_out) == pytest.approx([0.3156], abs=1e-4)
    # the sign of what is resampled means nothing
    assert bca_p_value(-resampled, -0.2, -left_out) == pytest.approx([0.3156], abs=1e-4)
    # 1 of 20 equal to 0 counts by half: z = Phi^-1(.025) = -1.95996, t = 1.7530, p = .1544; a NaN is no resample
    resampled[:2, 0] = 0.0, 0.005
    again = np.concatenate([resampled, [[np.nan]]])
    assert bca_p_value(again, 0.2, left_out) == pytest.approx([0.1544], abs=1e-4)
    # without a resample below 0 it is not 0: half a resample of 20 is the least that is counted
    resampled[0, 0] = 0.001
    assert bca_p_value(resampled, 0.2, left_out) == pytest.approx([0.1544], abs=1e-4)
    # skewed: deviations of the mean of those values from each (-.1, -.1, -.1, -.1, .4): a = .06 / (6 * .2 ** 1.5) =
    # .1118; u = z = -1.95996, u / (1 + a u) = -2.5099, t = 2.2449, p = .0881
    skewed = np.array([0.3, 0.3, 0.3, 0.3, -0.2])[:, None]
    assert bca_p_value(resampled, 0.2, skewed) == pytest.approx([0.0881], abs=1e-4)
    assert math.isnan(bca_p_value(resampled, 0.2, left_out[:4])[0])  # four speakers have no interval
    assert math.isnan(bca_p_value(np.full((5, 1), np.nan), 0.2, left_out)[0])


def test_bca_p_and_interval_decide_alike() -> None:
    random, n_decided = np.random.default_rng(1), 0
    for n_speakers in (5, 8, 12, 40):
        for shift in (0.0, 0.4, 0.9):
            values = random.exponential(size=(n_speakers, 30)) - 1 + shift
            drawn = values[random.integers(n_speakers, size=(4000, n_speakers))].mean(axis=1)
            without = (values.sum(axis=0) - values) / (n_speakers - 1)
            low, high = bca_interval(drawn, values.mean(axis=0), without)
            p = bca_p_value(drawn, values.mean(axis=0), without)
            told = (low > 0) | (high < 0)
            doubtful = np.abs(p - 0.05) < 0.002  # an interval ends between two resamples
            assert told[(p < 0.05) & ~doubtful].all()
            beyond = np.minimum((drawn < 0).sum(axis=0), (drawn > 0).sum(axis=0))
            assert not told[(p > 0.05) & ~doubtful & (beyond >= 2)].any()  # and never beyond the last one
            n_decided += int(told.sum())
    assert 80 < n_decided < 280


def test_better_needs_both_the_p_value_and_the_interval() -> None:
    for low, high, p, better, worse in (
        (0.1, 0.3, 0.049, True, False),
        (0.1, 0.3, 0.05, False, False),
        (0.0, 0.3, 0.001, False, False),
        (-0.3, -0.1, 0.049, False, True),
        (-0.3, 0.0, 0.001, False, False),
        (math.nan, math.nan, 0.001, False, False),
    ):
        found = Beats((low + high) / 2, low, high, p, 20, decidable=True)
        assert (found.better, found.worse) == (better, worse)


def test_beats_by_hand() -> None:
    # a - b = 1 3 (speaker s), 4 (t), NaN (u): speakers 2 and 4, mean 3; two speakers of one sign: p = 2 / 4
    (found,) = beats([1, 5, 5, np.nan], [0, 2, 1, 1], ["s", "s", "t", "u"])
    assert (found.difference, found.p, found.n_speakers) == (3, 0.5, 2)
    assert math.isnan(found.low)
    assert not found.decidable
    (low,) = beats([1, 5, 5, np.nan], [0, 2, 1, 1], ["s", "s", "t", "u"], best="low")
    assert low.difference == -3
    # six speakers: p = 2 / 64 = .031 alone, 2 / 64 * 2 = .0625 with two methods
    values, speakers = np.arange(1.0, 7), np.arange(6)
    assert beats(values, np.zeros(6), speakers)[0].better
    both = beats(np.stack([values, values], axis=1), np.zeros(6), speakers)
    assert [(each.better, each.decidable, each.p) for each in both] == [(False, False, 0.0625)] * 2
    assert beats(np.stack([values, values], axis=1), np.zeros(6), speakers, correction="max-t")[0].better


def test_the_fewest_speakers_that_can_decide() -> None:
    # 2 / 2^5 = .0625, 2 / 2^6 = .031; with 21 comparisons 2^(1 - 9) * 21 = .082 and 2^(1 - 10) * 21 = .041
    assert [smallest_p(n) < 0.05 for n in (5, 6)] == [False, True]
    assert [smallest_p(n, 21) < 0.05 for n in (9, 10)] == [False, True]
    assert smallest_p(9, 21, "max-t") < 0.05
    assert smallest_p(40, 3) == pytest.approx(3e-4)
    assert smallest_p(0) == 1


def test_a_summary_says_who_beats_whom() -> None:
    rng = np.random.default_rng(0)
    shifts = {"random_map": 0.0, "edge_map": 3.0, "good": 2.0}
    rows = [
        {
            "recording": r,
            "speaker": r,
            "label": 0,
            "predicted": 0,
            "model": "m",
            "metric": "x",
            "recipe": name,
            "value": v,
        }
        for name, shift in shifts.items()
        for r, v in enumerate(shift + rng.normal(size=20))
    ]
    table = summarize(pd.DataFrame(rows), CONTROLS)
    found = compared(table)
    assert {name: sorted(each) for name, each in found.items()} == {
        "random_map": ["edge_map"],
        "edge_map": ["random_map"],
        "good": ["edge_map", "random_map"],
    }
    assert (found["good"]["random_map"].better, found["good"]["edge_map"].worse) == (True, True)
    turned = compared(table, best="low")["good"]
    assert (turned["random_map"].worse, turned["edge_map"].better) == (True, True)
    assert turned["random_map"].low == -found["good"]["random_map"].high
    few = summarize(pd.DataFrame(rows)[lambda f: f["recording"] < 6], CONTROLS)
    # four comparisons: 2 / 2^6 * 4 = .125
    assert not any(each.decidable or each.better for pairs in compared(few).values() for each in pairs.values())


def test_shares_in_a_summary_are_exact() -> None:
    frame = make_scores().query("recipe == 'random_map' and metric == 'faithfulness'").assign(value=1.0)
    assert summarize(frame, ())[["low", "high"]].isna().all(axis=None)
    exact = summarize(frame, (), indicators=["faithfulness"])[["low", "high"]].to_numpy()
    assert exact[0] == pytest.approx([0.025**0.5, 1])  # two of two speakers


def test_holm_by_hand() -> None:
    # sorted .005 .01 .03 .04 times 4 3 2 1: .02 .03 .06 .04, made monotone: .02 .03 .06 .06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]).tolist() == [1, 1]
    assert holm([0.02, np.nan, 0.5]) == pytest.approx([0.04, np.nan, 0.5], nan_ok=True)
    assert holm([]).tolist() == []


def make_scores() -> pd.DataFrame:
    # saliency - random = .4 .2 (s), .3 (t); saliency - energy = .1 .1 (s), 0 (t)
    values = {
        "saliency": {"faithfulness": [0.5, 0.3, 0.4], "mean_mask": [0.01, 0.03, 0.02]},
        "random_map": {"faithfulness": [0.1, 0.1, 0.1], "mean_mask": [0.5, 0.5, 0.5]},
        "energy_map": {"faithfulness": [0.4, 0.2, 0.4], "mean_mask": [0.2, 0.2, 0.2]},
        "union(saliency, energy_map)": {"faithfulness": [np.nan, 0.2, 0.1], "mean_mask": [0.1, 0.1, 0.1]},
    }
    rows = [
        {
            "recording": f"r{index}",
            "speaker": "sst"[index],
            "label": 1,
            "predicted": 1,
            "model": "net",
            "fold": index % 2,
            "recipe": recipe,
            "metric": metric,
            "value": value,
        }
        for recipe, by_metric in values.items()
        for metric, column in by_metric.items()
        for index, value in enumerate(column)
    ]
    return pd.DataFrame(rows)


def test_summary_by_hand() -> None:
    table = summarize(make_scores(), CONTROLS).set_index(["metric", "recipe"])
    row = table.loc["faithfulness", "saliency"]
    # speakers: (.5 + .3) / 2 = .4 and .4; standard deviation of .5 .3 .4 is .1
    assert row[["mean", "std", "n", "n_nan", "n_speakers"]].tolist() == pytest.approx([0.4, 0.1, 3, 0, 2])
    # two speakers have no interval
    assert row[["low", "high", "vs_random_map_low", "vs_energy_map_high"]].isna().all()
    assert row["mean_mask"] == pytest.approx(0.02)
    # differences to random: speakers .3 and .3; to energy: .1 and 0
    assert row[["vs_random_map", "vs_energy_map"]].tolist() == pytest.approx([0.3, 0.05])
    # with two speakers p is 1/2 at best, so Holm's correction ends at 1
    assert row["vs_random_map_p"] == 1
    union = table.loc["faithfulness", "union(saliency, energy_map)"]
    assert (union["n"], union["n_nan"], union["n_speakers"]) == (2, 1, 2)
    assert union["mean"] == pytest.approx(0.15)
    # only defined pairs: speaker s .2 - .1, t .1 - .1
    assert union["vs_random_map"] == pytest.approx(0.05)
    assert np.isnan(table.loc["faithfulness", "random_map"]["vs_random_map"])
    assert list(dict.fromkeys(table.reset_index()["recipe"])) == list(dict.fromkeys(make_scores()["recipe"]))


def test_summary_without_controls_or_mask_and_of_nothing() -> None:
    scores = make_scores().query("recipe == 'saliency' and metric == 'faithfulness'")
    table = summarize(scores, CONTROLS)
    assert not [name for name in table.columns if name.startswith("vs_")]
    assert table["mean_mask"].isna().all()
    assert summarize(scores.iloc[:0], CONTROLS).empty
    assert "mean_mask" in summarize(scores.iloc[:0], CONTROLS).columns


def test_summary_corrects_for_all_comparisons_of_a_metric() -> None:
    rng = np.random.default_rng(0)
    n = 30
    frame = pd.DataFrame(
        [
            {
                "recording": r,
                "speaker": r,
                "label": 0,
                "predicted": 0,
                "model": "m",
                "recipe": recipe,
                "metric": "x",
                "value": v,
            }
            for recipe, shift in {"random_map": 0.0, "energy_map": 0.0, "good": 2.0, "same": 0.0}.items()
            for r, v in enumerate(shift + rng.normal(size=n))
        ]
    )
    table = summarize(frame, CONTROLS).set_index("recipe")
    # smallest p is 1 / 10 000; six comparisons: good, same and the other control, with each control
    assert table.loc["good", "vs_random_map_p"] == pytest.approx(6 / 10_000)
    assert table.loc["same", "vs_random_map_p"] > 0.2
    assert table.loc["good", "vs_random_map_low"] > 1
    assert summarize(frame, CONTROLS).equals(summarize(frame, CONTROLS))


def test_fold_summary_by_hand() -> None:
    # fold 0 holds recordings 0 and 2, fold 1 recording 1: means .45 and .3: mean .375, std .15 / sqrt 2
    row = fold_summary(make_scores()).set_index(["recipe", "metric"]).loc[("saliency", "faithfulness")]
    assert row["mean"] == pytest.approx(0.375)
    assert row["std"] == pytest.approx(0.15 / math.sqrt(2))
    assert row["n_folds"] == 2


def test_wrong_tables() -> None:
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^The score table lacks value\. It needs recording, speaker, label, predicted, model, "
            r"recipe, metric, value\.$"
        ),
    ):
        summarize(make_scores().drop(columns="value"), CONTROLS)
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^The score table has two values for model net, recording r0, recipe saliency, metric "
            r"faithfulness\.$"
        ),
    ):
        summarize(pd.concat([make_scores(), make_scores().iloc[:1]]), CONTROLS)
    with pytest.raises(SpeechXAIError, match=r"^Unknown column of the score table 'fold'\. Known: .*$"):
        fold_summary(make_scores().drop(columns="fold"))


def test_the_published_size_takes_seconds() -> None:
    """81 recordings, 39 recipes, 17 metrics."""
    import time

    rng = np.random.default_rng(0)
    index = pd.MultiIndex.from_product(
        [range(81), ["random_map", "energy_map", *map(str, range(37))], range(17)],
        names=["recording", "recipe", "metric"],
    )
    frame = index.to_frame(index=False).assign(
        speaker=lambda f: f["recording"], label=0, predicted=0, model="m", fold=0
    )
    frame["value"] = rng.normal(size=len(frame))
    start = time.process_time()
    assert len(summarize(frame, CONTROLS)) == 39 * 17
    assert time.process_time() - start < 20


@pytest.mark.parametrize("n_speakers", [5, 13, 14, 40])
@pytest.mark.parametrize("correction", ["none", "holm", "max-t"])
def test_draws_in_blocks_give_what_one_matrix_gives(
    n_speakers: int, correction: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(n_speakers)
    differences = random.normal(0.2, 1, (n_speakers, 4))
    differences[0, 1] = np.nan
    whole = stats.sign_flip_p_values(differences, correction=correction), *stats.bootstrap_means(differences)
    monkeypatch.setattr(stats, "BLOCK", 1000)
    stats._flips.cache_clear()
    stats._counts.cache_clear()
    parts = stats.sign_flip_p_values(differences, correction=correction), *stats.bootstrap_means(differences)
    assert np.array_equal(whole[0], parts[0])
    np.testing.assert_allclose(whole[1:], parts[1:], rtol=1e-13)
    if correction == "none" and n_speakers == 40:  # all signs at once, as the definition has it
        signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(stats.N_FLIPS, n_speakers))
        values = np.nan_to_num(differences)
        extreme = (np.abs(signs @ values) >= np.abs(values.sum(axis=0)) - 1e-9).sum(axis=0)
        assert np.array_equal(parts[0], (1 + extreme) / (1 + stats.N_FLIPS))


@pytest.mark.parametrize("n_each", [1, 3])
def test_the_interval_of_an_auc_is_the_bootstrap_of_recordings(n_each: int) -> None:
    random = np.random.default_rng(n_each)
    speakers = np.repeat(np.arange(12), n_each)
    labels = np.repeat(np.arange(12) % 2, n_each).astype(float)
    labels[-1] = 0  # one speaker with recordings of both classes, where there are several
    scores = np.round(labels + random.normal(0, 1, len(labels)), 1)  # ties
    scores[1] = np.nan
    rows = np.stack([scores, labels], axis=1)
    slow = stats.speaker_bootstrap(rows, speakers, lambda drawn: stats.auc(drawn[:, 0], drawn[:, 1]), 300)
    assert stats.auc_interval(scores, labels, speakers, 300) == pytest.approx(slow, abs=1e-12)
