"""Statistics by hand, and on simulated data whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from speechxai.errors import SpeechXAIError
from speechxai.stats import (
    auc,
    bootstrap_means,
    expected_calibration_error,
    fold_summary,
    holm,
    mean_over_speakers,
    paired_difference,
    sign_flip_p_values,
    speaker_bootstrap,
    speaker_means,
    summarize,
)


def test_auc_by_hand() -> None:
    # pairs (0.3, 0.1) (0.3, 0.5) (0.8, 0.1) (0.8, 0.5): won, lost, won, won: 3 of 4
    assert auc([0.1, 0.5, 0.3, 0.8], [0, 0, 1, 1]) == 0.75
    assert auc([1, 1, 1], [0, 1, 1]) == 0.5
    assert auc([0.9, np.nan, 0.1], [0, 0, 1]) == 0
    assert math.isnan(auc([1, 2], [1, 1]))
    with pytest.raises(SpeechXAIError, match="Got 2 and 3"):
        auc([1, 2], [0, 1, 1])


def test_auc_equals_sklearn_with_ties() -> None:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 6, 200), rng.integers(0, 2, 200)
    assert auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores))


def test_calibration_by_hand() -> None:
    # bins [.2, .3): .25 .25 with one of two; [.9, 1]: .9 1 with both: |.5 - 1| / 4 + |1.9 - 2| / 4 = .15
    assert expected_calibration_error([0.25, 0.25, 0.9, 1.0], [0, 1, 1, 1]) == pytest.approx(0.15)
    assert math.isnan(expected_calibration_error([], []))
    with pytest.raises(SpeechXAIError, match=r"in \[0, 1\]"):
        expected_calibration_error([1.2], [1])


def test_every_speaker_counts_once() -> None:
    # a: (0 + 0 + 3) / 3 = 1; b: 5: mean 3, and not the 2 of the recordings
    assert mean_over_speakers([0, 0, 3, 5], ["a", "a", "a", "b"]) == 3
    assert speaker_means([1, np.nan, np.nan], ["a", "a", "b"]).tolist() == pytest.approx([1, np.nan], nan_ok=True)
    assert mean_over_speakers([np.nan, 4], ["a", "b"]) == 4
    assert math.isnan(mean_over_speakers([], []))


def test_bootstrap_of_two_speakers_by_hand() -> None:
    # resamples of {0, 1}: means 0, .5, .5, 1 with chance 1/4, 1/2, 1/4: both tails of 2.5 % are at the ends
    assert speaker_bootstrap([0.0, 1.0], ["a", "b"]) == (0, 1)
    assert speaker_bootstrap([2.0, 2.0, 2.0], ["a", "b", "b"]) == (2, 2)
    assert all(math.isnan(end) for end in speaker_bootstrap([], []))


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


def test_coverage_of_the_interval() -> None:
    """Of 95 % intervals over 40 speakers, 91 to 97 % should hold the truth (the percentile interval is slightly
    narrow)."""
    rng = np.random.default_rng(0)
    samples = rng.exponential(size=(40, 1500))  # skewed, truth 1
    low, high = bootstrap_means(samples, n=1000)
    covered = ((low <= 1) & (high >= 1)).mean()
    assert 0.90 < covered < 0.965


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


def test_paired_difference_by_hand() -> None:
    # a - b = 1 3 (speaker s), 4 (t), NaN (u): speakers 2 and 4, mean 3; two speakers of one sign: p = 2 / 4
    found = paired_difference([1, 5, 5, np.nan], [0, 2, 1, 1], ["s", "s", "t", "u"])
    assert (found.mean, found.low, found.high, found.p_value, found.n_speakers) == (3, 2, 4, 0.5, 2)
    assert math.isnan(paired_difference([], [], []).mean)


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
    table = summarize(make_scores()).set_index(["metric", "recipe"])
    row = table.loc["faithfulness", "saliency"]
    # speakers: (.5 + .3) / 2 = .4 and .4; standard deviation of .5 .3 .4 is .1
    assert row[["mean", "low", "high", "std", "n", "n_nan", "n_speakers"]].tolist() == pytest.approx(
        [0.4, 0.4, 0.4, 0.1, 3, 0, 2]
    )
    assert row["mean_mask"] == pytest.approx(0.02)
    # differences to random: speakers .3 and .3; to energy: .1 and 0
    assert row[["vs_random_map", "vs_random_map_low", "vs_random_map_high"]].tolist() == pytest.approx([0.3] * 3)
    assert row[["vs_energy_map", "vs_energy_map_low", "vs_energy_map_high"]].tolist() == pytest.approx([0.05, 0, 0.1])
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
    table = summarize(scores)
    assert not [name for name in table.columns if name.startswith("vs_")]
    assert table["mean_mask"].isna().all()
    assert summarize(scores.iloc[:0]).empty
    assert "mean_mask" in summarize(scores.iloc[:0]).columns


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
    table = summarize(frame).set_index("recipe")
    # smallest p is 1 / 10 000; six comparisons: good, same and the other control, with each control
    assert table.loc["good", "vs_random_map_p"] == pytest.approx(6 / 10_000)
    assert table.loc["same", "vs_random_map_p"] > 0.2
    assert table.loc["good", "vs_random_map_low"] > 1
    assert summarize(frame).equals(summarize(frame))


def test_fold_summary_by_hand() -> None:
    # fold 0 holds recordings 0 and 2, fold 1 recording 1: means .45 and .3: mean .375, std .15 / sqrt 2
    row = fold_summary(make_scores()).set_index(["recipe", "metric"]).loc[("saliency", "faithfulness")]
    assert row["mean"] == pytest.approx(0.375)
    assert row["std"] == pytest.approx(0.15 / math.sqrt(2))
    assert row["n_folds"] == 2


def test_wrong_tables() -> None:
    with pytest.raises(SpeechXAIError, match="lacks value"):
        summarize(make_scores().drop(columns="value"))
    with pytest.raises(
        SpeechXAIError, match="two values for model net, recording r0, recipe saliency, metric faithfulness"
    ):
        summarize(pd.concat([make_scores(), make_scores().iloc[:1]]))
    with pytest.raises(SpeechXAIError, match="fold"):
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
    assert len(summarize(frame)) == 39 * 17
    assert time.process_time() - start < 20
