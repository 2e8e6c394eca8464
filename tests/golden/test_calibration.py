"""What may be called calibrated, and what is said of networks that answer the same of everybody: by hand, both ways."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from app import widgets
from speechxai.classifiers.bundle import Bundle
from speechxai.classifiers.validation import Subjects, knowing_nothing, not_calibrated_because, performance
from speechxai.evaluation import report as run_report
from speechxai.inspection import inspect, report
from speechxai.testing import noise_recording, tiny_bundle


def subjects(labels: list[int], probabilities: list[float]) -> Subjects:
    n = len(labels)
    unknown = np.full(n, math.nan)
    names = tuple(f"s{i}" for i in range(n))
    return Subjects(names, np.array(labels, float), np.array(probabilities), unknown, unknown, ("",) * n)


LABELS = [1, 1, 1, 0, 0]  # base rate 0.6: Brier 0.24, log loss 0.673


def test_answers_that_hear_nobody() -> None:
    found = {name: performance(each, n=1) for name, each in knowing_nothing(subjects(LABELS, [0.5] * 5)).items()}
    base, larger = found["base rate"], found["larger class"]
    assert [round(base[name].value, 3) for name in ("accuracy", "sensitivity", "specificity")] == [0.6, 1, 0]
    assert base["auroc"].value == larger["auroc"].value == 0.5
    # 0.6 * 0.4, and -0.6 ln 0.6 - 0.4 ln 0.4; its own share is observed, so its calibration error is 0
    assert base["brier"].value == pytest.approx(0.24)
    assert base["log_loss"].value == pytest.approx(0.6730, abs=1e-4)
    assert base["ece"].value == pytest.approx(0)
    assert larger["brier"].value == larger["ece"].value == pytest.approx(0.4)  # sure, and wrong of two in five


@pytest.mark.parametrize(
    ("after", "before", "reason"),
    [
        ([0.8, 0.8, 0.8, 0.2, 0.2], [0.9, 0.9, 0.6, 0.1, 0.4], ""),
        ([0.6] * 5, [0.9] * 5, "its Brier score of 0.240 is no better than the 0.240 of the base rate"),
        ([0.9, 0.9, 0.1, 0.1, 0.9], [0.5] * 5, "its Brier score of 0.330 is no better than the 0.240"),
        # four right and one nearly certain and wrong: 0.2 * 1 + ..., Brier 0.2, log loss -ln(1e-4) / 5 = 1.84
        ([0.9999, 0.9999, 0.0001, 0.0001, 0.0001], [0.5] * 5, "its log loss of 1.842 is no better than the 0.673"),
        # worse than it was: 0.2 from the shares of both bins, before 0.1
        ([0.8, 0.8, 0.8, 0.2, 0.2], [0.9, 0.9, 0.9, 0.1, 0.1], "its calibration error rose from 0.100 to 0.200"),
    ],
)
def test_what_may_be_called_calibrated(after: list[float], before: list[float], reason: str) -> None:
    found = not_calibrated_because(subjects(LABELS, after), subjects(LABELS, before))
    assert found.startswith(reason) if reason else found == ""


def changed(bundle: Bundle, **settings: Any) -> Bundle:
    return replace(bundle, config=type(bundle.config).model_validate(bundle.config.model_dump() | settings))


FLAT = {"n_recordings": 8, "spread": 0.01, "low": [0.5, 0.49], "high": [0.51, 0.5]}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny", speakers={"noise/known": 1})


@pytest.mark.parametrize(
    ("calibration", "words"),
    [
        ({"calibrated": True}, "calibrated probability"),
        ({"calibrated": False, "reason": "r"}, "probability (not calibrated)"),
        ({}, "probability (whether it is calibrated is not known)"),
    ],
)
def test_a_probability_is_called_what_the_bundle_says(bundle: Bundle, calibration: dict[str, Any], words: str) -> None:
    told = changed(bundle, calibration=calibration)
    heard = inspect.hear(told, noise_recording("n"))
    found, _ = inspect.inspect_all(heard, ["saliency"], ())
    assert f": {words}." in report.case_html(found["saliency"], "t").decode()
    note = widgets.verdict(heard, None)
    assert f"{words[0].upper()}{words[1:]} by the final network" in note
    cautions = [s.text for s in found["saliency"].sentences if s.kind == "caution"]
    assert ("The model's probabilities are not calibrated: r." in cautions) is (calibration.get("reason") == "r")


def test_flat_folds_are_told_to_whom_they_answer(bundle: Bundle) -> None:
    flat = changed(bundle, folds=[{**FLAT, "problem": ""}, {**FLAT, "problem": "says HC of all 8 recordings"}])
    said = "The network of fold 1 says HC of all 8 recordings: it tells nobody from anybody."
    assert flat.concerns() == flat.concerns(1) == [said]
    assert flat.concerns(0) == bundle.concerns() == []
    known, stranger = noise_recording("known"), noise_recording("stranger")
    for recording in (known, stranger):  # the final network stands for all
        found, _ = inspect.inspect_all(inspect.hear(flat, recording), ["saliency"], ())
        assert said in [s.text for s in found["saliency"].sentences]


def run_of(folds: dict[str, list[float]], labels: list[int]) -> pd.DataFrame:
    rows = [
        {"speaker": f"{fold}-{i}", "label": labels[i], "p_HC": 1 - p, "p_PD": p, "fold": fold}
        for fold, values in folds.items()
        for i, p in enumerate(values)
    ]
    return pd.DataFrame(rows)


def test_a_run_says_which_networks_said_the_same_of_all() -> None:
    moving = [0.1, 0.9, 0.3, 0.8, 0.6]
    rows = run_of(
        {
            "0": moving,
            "1": [0.5] * 5,
            "2": [0.499, 0.498, 0.497, 0.496, 0.495],
            "3": [0.1, 0.2, 0.3, 0.4, 0.45],
            "final": moving,
        },
        [0, 1, 0, 1, 0],
    )
    assert run_report.flat_networks(rows, ["HC", "PD"]) == [
        "The network of fold 1 says the same of all 5 recordings: it tells nobody from anybody.",
        (
            "The network of fold 2 says nearly the same of all 5 recordings (spread of its logits 0.0057, that of the"
            " other folds 1.1): it tells nobody from anybody."
        ),
        "The network of fold 3 says HC of all 5 recordings: it tells nobody from anybody.",
    ]
    assert run_report.flat_networks(rows.drop(columns="fold"), ["HC", "PD"]) == []
    concerns = {"concerns": ["The model's probabilities are not calibrated: r."]}
    texts = [finding.text for finding in run_report.cautions(concerns, rows, ["HC", "PD"])]
    assert len(texts) == 4
    assert texts[0] == concerns["concerns"][0]


def test_a_run_prints_the_base_rate_beside_every_score() -> None:
    rows = run_of({"final": [0.8, 0.8, 0.8, 0.2, 0.2]}, LABELS)
    table = run_report.performance_table(rows, ["HC", "PD"])
    assert table is not None
    assert table.columns == ("", "classifier", "base rate", "larger class")
    cells = {row.name: [cell.text for cell in row.cells] for row in table.rows}
    assert cells["accuracy"] == ["1.000 [0.478, 1.000]", "0.600", "0.600"]  # Clopper-Pearson: 0.025 ** (1 / 5)
    assert cells["Brier score"] == ["0.040 [0.040, 0.040]", "0.240", "0.400"]
    assert run_report.performance_table(rows[rows["label"] == 1], ["HC", "PD"]) is None
