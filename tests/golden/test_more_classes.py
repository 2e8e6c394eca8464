"""Three classes, by hand: what validation, reports and tables say of them."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from speechxai.classifiers import validation
from speechxai.classifiers.validation import Subjects, macro_auc, performance
from speechxai.evaluation.report import confusion_table
from speechxai.evaluation.words import classifier_sentence
from speechxai.stats import share_interval

CLASSES = ("HC", "PD", "MSA")
LABELS = [0, 0, 1, 1, 2, 2]
P = [
    [0.6, 0.3, 0.1],  # HC: HC
    [0.4, 0.5, 0.1],  # HC: PD
    [0.2, 0.7, 0.1],  # PD: PD
    [0.1, 0.5, 0.4],  # PD: PD
    [0.3, 0.3, 0.4],  # MSA: MSA
    [0.5, 0.3, 0.2],  # MSA: HC
]


def subjects() -> Subjects:
    names = tuple(f"s{i}" for i in range(6))
    ages = np.array([40.0, 50, 60, 70, 80, 90])
    return Subjects(names, np.array(LABELS, float), np.array(P), ages, np.ones(6), ("F", "M") * 3, CLASSES)


def test_performance() -> None:
    found = performance(subjects(), n=20)
    assert [*found] == ["accuracy", "balanced_accuracy", "auroc", "brier", "log_loss", "ece"]
    assert found["accuracy"].value == pytest.approx(4 / 6)
    assert (found["accuracy"].low, found["accuracy"].high) == share_interval(4, 6)
    # Recalls 1/2, 2/2, 1/2; their mean's interval from theirs: 2/3 - sqrt(sum of (value - low)^2) / 3.
    shares = [share_interval(k, 2) for k in (1, 2, 1)]
    low = 2 / 3 - math.hypot(0.5 - shares[0][0], 1 - shares[1][0], 0.5 - shares[2][0]) / 3
    assert found["balanced_accuracy"].value == pytest.approx(2 / 3)
    assert found["balanced_accuracy"].low == pytest.approx(low)
    # HC against the rest: .6 and .4 over .2 .1 .3 .5: 4 + 3 of 8 pairs. PD: .7 and .5 over .3 .5 .3 .3: 4 + 3.5 of 8.
    # MSA: .4 and .2 over .1 .1 .1 .4: 3.5 + 3 of 8. Mean: (7 + 7.5 + 6.5) / 24.
    assert found["auroc"].value == pytest.approx(21 / 24)
    # Squares of each row's (p - y): .16 + .09 + .01 = .26; .36 + .25 + .01 = .62; .04 + .09 + .01 = .14;
    # .01 + .25 + .16 = .42; .09 + .09 + .36 = .54; .25 + .09 + .64 = .98. Sum 2.96.
    assert found["brier"].value == pytest.approx(2.96 / 6)
    assert found["log_loss"].value == pytest.approx(-np.log([0.6, 0.4, 0.7, 0.5, 0.4, 0.2]).mean())
    # Answers in bins of a fifth, right or wrong: .6 r, .5 w, .7 r, .5 r, .4 r, .5 w.
    # [.4, .6): .4 .5 .5 .5, sum of p 1.9, right 2: .1. [.6, .8): .6 .7, sum 1.3, right 2: .7. ECE (.1 + .7) / 6.
    assert found["ece"].value == pytest.approx(0.8 / 6)


def test_answers_that_hear_nobody() -> None:
    few = validation.subset(subjects(), np.array([True, True, True, False, True, False]))  # HC 2, PD 1, MSA 1
    found = {name: performance(each, n=1) for name, each in validation.knowing_nothing(few).items()}
    # Base rate .5 .25 .25: HC costs .25 + 2 / 16 = .375, the others .5625 + .25 + .0625 = .875; mean .625.
    assert found["base rate"]["brier"].value == pytest.approx(0.625)
    assert found["largest class"]["accuracy"].value == 0.5
    assert found["largest class"]["balanced_accuracy"].value == pytest.approx(1 / 3)
    assert found["base rate"]["auroc"].value == 0.5


def test_areas_of_classes_that_are_missing_or_perfectly_apart() -> None:
    assert math.isnan(macro_auc(P[:2], [0, 0]))
    # Of four recordings HC wins 4 of 4 pairs by its column, PD 3.5 of 4 by its own.
    assert macro_auc(P[:4], LABELS[:4]) == pytest.approx(7.5 / 8)
    perfect = np.eye(3)[LABELS * 2]
    found = validation.auroc(perfect, np.array(LABELS * 2, float))
    # Every class against the rest is won by all pairs; 4 speakers against 8 form 4 pairs of which nobody is in two.
    assert (found.value, found.low) == (1.0, pytest.approx(share_interval(4, 4)[0]))
    alone = validation.auroc(np.array(P[:5]), np.array(LABELS[:5], float))
    assert math.isnan(alone.low)  # one speaker of MSA


def test_confounds_are_those_of_the_two_classes_told_apart_best() -> None:
    found = validation.confounds(subjects(), n=10)
    assert [*found] == ["classifier", "duration alone", "age alone"]
    assert (found["age alone"].value, found["duration alone"].value) == (1.0, 0.5)
    younger = validation.alone(-subjects().ages, subjects(), n=10)
    assert younger.value == 1.0  # whichever is higher


def test_reliability_is_that_of_the_answer() -> None:
    found = validation.reliability(LABELS, P, n_bins=2)
    # Below .5: .4 (right). From .5: .6 .5 .7 .5 .5, right 3 of 5.
    assert [(b.n, round(b.mean_probability, 3), b.share_positive) for b in found] == [(1, 0.4, 1.0), (5, 0.56, 0.6)]


def rows() -> pd.DataFrame:
    p = np.array(P)
    frame = pd.DataFrame({"recording": list("abcdef"), "speaker": [f"s/{i}" for i in range(6)], "label": LABELS})
    frame = frame.assign(task="vowel-a", problem="", predicted=p.argmax(axis=1), probability=p.max(axis=1))
    return frame.assign(**{f"p_{name}": p[:, k] for k, name in enumerate(CLASSES)})


def test_what_a_cohort_says() -> None:
    counts, shares = validation.confusion(rows(), 3)
    assert counts.tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 1]]
    assert shares.tolist() == [[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.5, 0.0, 0.5]]
    words = validation.performance_words(rows(), CLASSES)
    # Clopper and Pearson: 1 of 2 is .013 to .987, 2 of 2 from .025^(1/2) = .158.
    assert words == (
        "The model finds 1 of 2 people with MSA (95 % interval 1 to 99 %), finds 2 of 2 people with PD (95 % interval"
        " 16 to 100 %) and finds 1 of 2 people with HC (95 % interval 1 to 99 %). AUC of each class against the rest"
        " 0.88, where chance is 0.50."
    )
    groups = {each.name: [(r.k, r.n) for r in each.recalls] for each in validation.by_group(rows(), CLASSES)}
    assert groups == {"everybody": [(1, 2), (2, 2), (1, 2)]}
    table = validation.recordings_table(rows(), CLASSES)
    assert table["right"].tolist() == ["no", "no", "yes", "yes", "yes", "yes"]
    assert table.iloc[0].to_dict() == {
        "recording": "b",
        "labeled": "HC",
        "model says": "PD",
        "probability": 0.5,
        "right": "no",
        "task": "vowel-a",
        "speaker": "s/1",
    }
    severe = rows().assign(hoehn_yahr=[np.nan, np.nan, 1, 3, 2, 4])
    named = {each.name: [(r.k, r.n) for r in each.recalls] for each in validation.by_group(severe, CLASSES)}
    # PD: c (1) and d (3), both found; MSA: e (2) found, f (4) not.
    assert named["not HC, hoehn yahr up to 2.5"] == [(0, 0), (1, 1), (1, 1)]
    assert named["not HC, hoehn yahr above 2.5"] == [(0, 0), (1, 1), (0, 1)]


def test_what_a_report_says() -> None:
    found = classifier_sentence(rows(), CLASSES)
    assert found is not None
    assert found.text == (
        "The classifier is right for 4 of 6 recordings; AUC of each class against the rest 0.88, of too few speakers"
        " for an interval (2 in the smallest class)."
    )
    many = pd.concat([rows().assign(speaker=lambda f, k=k: f["speaker"] + str(k)) for k in range(4)])
    found = classifier_sentence(many, CLASSES)
    assert found is not None
    assert "16 of 24 recordings (67 % over 24 speakers" in found.text
    assert found.tone == "good"
    table = confusion_table(rows(), CLASSES)
    assert table is not None
    assert table.columns == ("", "predicted HC", "predicted PD", "predicted MSA", "speakers")
    assert [[cell.text for cell in row.cells] for row in table.rows] == [
        ["1", "1", "0", "2"],
        ["0", "2", "0", "2"],
        ["1", "0", "1", "2"],
    ]


def test_groups_of_any_column() -> None:
    frame = pd.DataFrame(
        {
            "diagnosis": ["polyp", "none", "none", "cyst", "unknown", "none"],
            "stage": pd.array([1, 2, 2, None, 1, 2], dtype="Float64"),
            "vhi": pd.array([3.0, 10, 22, 41, 60, 61.5], dtype="Float64").astype("Float64"),
            "site": list("abcdef"),
            "sex": ["F", "M", "F", "unknown", "F", "M"],
        }
    )

    def sizes(column: str) -> dict[str, int]:
        return {name: int(mask.sum()) for name, mask in validation.groups_of(frame, column)}

    assert sizes("diagnosis") == {
        "diagnosis cyst": 1,
        "diagnosis none": 3,
        "diagnosis polyp": 1,
        "diagnosis unknown": 1,
    }
    assert sizes("stage") == {"stage 1": 2, "stage 2": 3}
    assert sizes("sex") == {"women": 3, "men": 2}
    longer = pd.concat([frame, frame.assign(vhi=frame["vhi"] + 0.25)])
    assert {name: int(mask.sum()) for name, mask in validation.groups_of(longer, "vhi")} == {
        "vhi up to 31.62": 6,
        "vhi above 31.62": 6,
    }
    many = pd.DataFrame({"site": [f"s{i:02d}" for i in range(15)] + ["s00"]})
    groups = validation.groups_of(many, "site")
    assert [name for name, _ in groups][-1] == "site, 3 others"
    assert int(groups[-1][1].sum()) == 3
    assert len(groups) == 13
