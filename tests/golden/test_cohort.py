"""What a reader sees of a data set, by hand: confusion by row, groups by sex, age, task and severity, exact
intervals."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest

from speechxai.classifiers import validation

CLASSES = ("HC", "PD")


def labeled() -> pd.DataFrame:
    """Twelve speakers in turn HC and PD, of whom s0, s3, s6 and s9 are told wrong."""
    rows = []
    for index in range(12):
        label, is_right = index % 2, index % 3 != 0
        p = 0.8 if (label == 1) == is_right else 0.2
        rows.append(
            {
                "recording": f"r{index}",
                "speaker": f"s{index}",
                "label": label,
                "task": "vowel-a" if index < 8 else "ddk",
                "sex": "F" if index < 3 else "M",
                "age": 55 + 3 * index,
                "probability": p,
                "problem": "",
            }
        )
    return pd.DataFrame(rows)


def test_right_answers_and_the_headline() -> None:
    rows = labeled()
    assert validation.right(rows).tolist() == [0, 1, 1, 0, 1, 1, 0, 1, 1, 0, 1, 1]
    # Clopper and Pearson for 8 of 12: .349 to .901. HC: 2 of 6 at .8, PD: 4 of 6; AUC = (4*4 + .5*(4*2 + 2*4)) / 36 =
    # .667
    assert (
        validation.performance_words(rows)
        == "The model is right about 67 % of the speakers' recordings (95 % interval 35 to 90 %); always answering the"
        " larger class would be right in 50 %. AUC 0.67, where chance is 0.50."
    )
    assert validation.performance_words(rows[:0]) == "No recording has both a label and an answer."
    assert "AUC" not in validation.performance_words(rows[rows["label"] == 1])


def test_a_probability_of_one_half_is_an_answer_of_class_0_as_argmax_has_it() -> None:
    assert validation.answers(pd.DataFrame({"probability": [0.5, 0.50001]})).tolist() == [0, 1]
    assert int(np.argmax([0.5, 0.5])) == 0


def test_confusion_by_row() -> None:
    rows = labeled()
    rows.loc[rows["recording"] == "r1", "probability"] = 0.1  # one PD more is called HC
    counts, shares = validation.confusion(rows)
    np.testing.assert_array_equal(counts, [[4, 2], [3, 3]])  # rows are labels, columns answers
    np.testing.assert_allclose(shares, [[4 / 6, 2 / 6], [0.5, 0.5]])
    _, alone = validation.confusion(rows[rows["label"] == 0])
    assert np.isnan(alone[1]).all()


def test_groups_by_class_sex_age_and_task() -> None:
    found = {group.name: group for group in validation.by_group(labeled(), CLASSES)}
    assert {name: (round(g.mean, 3), g.n_speakers) for name, g in found.items()} == {
        "everybody": (0.667, 12),
        "labeled PD": (0.667, 6),
        "labeled HC": (0.667, 6),
        "women": (0.667, 3),  # s0 to s2: one wrong
        "men": (0.667, 9),
        "50 to 59 years": (0.5, 2),  # 55 and 58: one wrong
        "60 to 69 years": (0.667, 3),  # 61, 64, 67: s2, s3, s4
        "70 years and older": (0.714, 7),  # 70 to 88: s5 to s11, s6 and s9 wrong
        "task ddk": (0.75, 4),
        "task vowel-a": (0.625, 8),
    }
    assert found["everybody"].low == pytest.approx(0.349, abs=1e-3)
    assert found["everybody"].high == pytest.approx(0.901, abs=1e-3)


def test_women_and_men_are_not_exchanged() -> None:
    rows = labeled().assign(sex=["F" if r else "M" for r in validation.right(labeled())])
    found = {group.name: group.mean for group in validation.by_group(rows, CLASSES)}
    assert found["women"] == 1.0
    assert found["men"] == 0.0


def test_severity_splits_the_sick_at_their_median() -> None:
    rows = labeled()
    rows["hoehn_yahr"] = [np.nan if label == 0 else index / 2 for index, label in enumerate(rows["label"])]
    found = {group.name: group for group in validation.by_group(rows, CLASSES)}
    # PD: s1, s3, s5, s7, s9, s11 with .5, 1.5, 2.5, 3.5, 4.5, 5.5: median 3; s3 and s9 are wrong
    assert found["PD, hoehn yahr up to 3"][1:2] == pytest.approx((2 / 3,))
    assert found["PD, hoehn yahr above 3"].n_speakers == 3


def test_calibration_bins() -> None:
    rows = pd.DataFrame({"probability": [0.1] * 10 + [0.9] * 10, "label": [0] * 9 + [1] + [1] * 10})
    found = validation.calibration_bins(rows)
    assert found is not None
    assert found.n.tolist() == [5, 5, 5, 5]
    np.testing.assert_allclose(found.stated, [0.1, 0.1, 0.9, 0.9])
    np.testing.assert_allclose(found.observed, [0, 0.2, 1, 1])
    # Clopper and Pearson: 0 of 5 allows up to 1 - .025^(1/5) = .522
    assert (found.low[0], found.high[0]) == pytest.approx((0.0, 1 - 0.025 ** (1 / 5)))
    assert found.low[-1] == pytest.approx(0.025 ** (1 / 5))
    assert validation.calibration_bins(rows[:9]) is None


def test_the_table_has_wrong_answers_first() -> None:
    found = validation.recordings_table(labeled(), CLASSES)
    assert found["right"].tolist() == ["no"] * 4 + ["yes"] * 8
    assert found["recording"].tolist()[:4] == ["r0", "r3", "r6", "r9"]
    first = found.iloc[0]
    assert (first["labeled"], first["model says"], first["P(PD)"]) == ("HC", "PD", 0.8)
    assert "problem" not in found
    broken = validation.recordings_table(
        labeled().assign(problem=["x"] + [""] * 11, probability=[np.nan] + [0.9] * 11), CLASSES
    )
    assert broken.set_index("recording").loc["r0", ["model says", "right", "problem"]].tolist() == ["none", "", "x"]


def test_every_answer_of_every_label() -> None:
    rows = pd.DataFrame([{"label": a, "probability": p} for a, p in product((0, 1), (0.2, 0.8))])
    assert validation.right(rows).tolist() == [1, 0, 0, 1]
