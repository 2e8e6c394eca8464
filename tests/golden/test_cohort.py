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


def test_the_headline_counts_people() -> None:
    rows = labeled()
    assert validation.right(rows).tolist() == [0, 1, 1, 0, 1, 1, 0, 1, 1, 0, 1, 1]
    # HC are s0, s2, ...: s0 and s6 are alarmed; PD are s1, s3, ...: all but s3 and s9 are found. Clopper and Pearson
    # for 4 of 6: .223 to .957, for 2 of 6: .043 to .777. AUC = (4*4 + .5*(4*2 + 2*4)) / 36 = .667
    assert validation.performance_words(rows, words={"HC": "health", "PD": "the disease"}.__getitem__) == (
        "The model finds 4 of 6 people with the disease (95 % interval 22 to 96 %) and wrongly alarms 2 of 6 without"
        " (95 % interval 4 to 78 %). AUC 0.67, where chance is 0.50."
    )
    assert validation.performance_words(rows[:0]) == "No recording has both a label and an answer."
    assert validation.performance_words(rows[rows["label"] == 0], who="synthetic voices") == (
        "The model wrongly alarms 2 of 6 synthetic voices without PD (95 % interval 4 to 78 %)."
    )
    assert "AUC" not in validation.performance_words(rows[rows["label"] == 1])


def test_a_person_counts_once_by_the_mean_over_their_recordings() -> None:
    # s1 (PD) says .8 three times and .1 once: the mean is .625, found. s0 (HC) .4 and .7: .55, alarmed.
    rows = pd.DataFrame({"speaker": ["s1"] * 4 + ["s0"] * 2, "label": [1] * 4 + [0] * 2})
    rows["probability"] = [0.8, 0.8, 0.8, 0.1, 0.4, 0.7]
    found = validation.people(rows, CLASSES)
    assert found["speaker"].tolist() == ["s1", "s0"]
    assert found["label"].tolist() == [1, 0]
    assert found["probability"].tolist() == pytest.approx([0.625, 0.55])
    assert found["predicted"].tolist() == [1, 1]
    assert [(r.k, r.n) for r in validation.recalls(rows, CLASSES)] == [(0, 1), (1, 1)]
    assert "Each counts once, by the mean over their recordings." in validation.performance_words(rows, CLASSES)


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


def counts(rows: pd.DataFrame) -> dict[str, list[tuple[int, int]]]:
    """Of each group those who are let go of the healthy, and found of the ill."""
    return {group.name: [(r.k, r.n) for r in group.recalls] for group in validation.by_group(rows, CLASSES)}


def test_groups_by_sex_age_and_task() -> None:
    assert counts(labeled()) == {
        "everybody": [(4, 6), (4, 6)],
        "women": [(1, 2), (1, 1)],  # s0 to s2: s0 alarmed
        "men": [(3, 4), (3, 5)],
        "50 to 59 years": [(0, 1), (1, 1)],  # 55 and 58
        "60 to 69 years": [(2, 2), (0, 1)],  # 61, 64, 67: s2, s3, s4
        "70 years and older": [(2, 3), (3, 4)],  # 70 to 88: s5 to s11, s6 and s9 wrong
        "task ddk": [(2, 2), (1, 2)],
        "task vowel-a": [(2, 4), (3, 4)],
    }
    found = validation.by_group(labeled(), CLASSES)[0].recalls[1]
    assert (found.low, found.high) == pytest.approx((0.223, 0.957), abs=1e-3)  # Clopper and Pearson for 4 of 6


def test_a_group_of_one_class_says_nothing_of_the_other() -> None:
    # Everybody over 60 is ill and called ill: a share of right answers would call the model better on old people.
    rows = labeled().assign(age=[70 if label else 55 for label in labeled()["label"]], probability=0.9)
    assert counts(rows)["70 years and older"] == [(0, 0), (6, 6)]
    assert counts(rows)["50 to 59 years"] == [(0, 6), (0, 0)]
    empty = next(g for g in validation.by_group(rows, CLASSES) if g.name == "70 years and older").recalls[0]
    assert np.isnan([empty.share, empty.low, empty.high]).all()


def test_women_and_men_are_not_exchanged() -> None:
    rows = labeled().assign(sex=["F" if r else "M" for r in validation.right(labeled())])
    found = counts(rows)
    assert found["women"] == [(4, 4), (4, 4)]
    assert found["men"] == [(0, 2), (0, 2)]


def test_severity_splits_the_sick_at_their_median() -> None:
    rows = labeled()
    rows["hoehn_yahr"] = [np.nan if label == 0 else index / 2 for index, label in enumerate(rows["label"])]
    # PD: s1, s3, s5, s7, s9, s11 with .5, 1.5, 2.5, 3.5, 4.5, 5.5: median 3; s3 and s9 are wrong
    assert counts(rows)["PD, hoehn yahr up to 3"] == [(0, 0), (2, 3)]
    assert counts(rows)["PD, hoehn yahr above 3"] == [(0, 0), (2, 3)]
    rows["hoehn_yahr"] = rows["hoehn_yahr"] + 0.12345
    assert "PD, hoehn yahr up to 3.12" in counts(rows)


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
