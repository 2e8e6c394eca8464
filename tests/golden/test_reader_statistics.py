"""What a reader sees of a classifier, by hand: intervals in words, groups, confusion by row, confounds in both
directions."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from speechxai.auxiliary.tables import beats
from speechxai.classifiers.validation import Interval, by_subject, confounds, groups, performance
from speechxai.data.corpus import confounds as corpus_confounds
from speechxai.evaluation.report import confound_table, confusion_table
from speechxai.evaluation.runs import summary
from speechxai.evaluation.words import classifier_sentence, confound_sentence
from speechxai.explain.recipe import CONTROLS
from speechxai.planted.report import _tasks, _who_points

CLASSES = ("HC", "PD")


def predictions(scores: list[float], labels: list[int], **more: list[object]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "recording": [f"r{i}" for i in range(len(scores))],
            "label": labels,
            "predicted": [int(s > 0.5) for s in scores],
            "p_HC": [1 - s for s in scores],
            "p_PD": scores,
            "speaker": [f"s{i}" for i in range(len(scores))],
            **more,
        }
    )


def test_confusion_by_row() -> None:
    # three HC, of whom one is called PD; four PD, of whom two are called HC
    found = confusion_table(predictions([0.1, 0.2, 0.8, 0.9, 0.9, 0.3, 0.4], [0, 0, 0, 1, 1, 1, 1]), CLASSES)
    assert found is not None
    assert found.columns == ("", "predicted HC", "predicted PD", "speakers")
    assert {row.name: [cell.text for cell in row.cells] for row in found.rows} == {
        "label HC": ["2", "1", "3"],
        "label PD": ["2", "2", "4"],
    }


@pytest.mark.parametrize(
    ("ages", "area", "caution"),
    [
        ([50, 60, 70, 80], "1.000", True),  # all PD are older
        ([80, 70, 60, 50], "1.000", True),  # all PD are younger: as good a shortcut
        ([50, 60, 50, 60], "0.500", False),
        ([60, 60, 50, 70], "0.500", False),
    ],
)
def test_age_is_a_shortcut_in_both_directions(ages: list[int], area: str, caution: bool) -> None:
    # 3 of the classifier's 4 pairs are in order
    finding = confound_sentence(predictions([0.1, 0.6, 0.4, 0.9], [0, 0, 1, 1], age=ages), CLASSES)
    assert finding is not None
    assert finding.text.startswith(f"Age alone separates HC from PD with AUC {area}, the classifier with 0.750")
    assert (finding.tone == "caution") is caution
    assert ("may be age and not disease" in finding.text) is caution


def test_sex_is_a_shortcut_in_both_directions() -> None:
    for sexes in (["F", "F", "M", "M"], ["M", "M", "F", "F"]):
        found = confound_table(predictions([0.1, 0.6, 0.4, 0.9], [0, 0, 1, 1], sex=sexes), CLASSES)
        assert found is not None
        # of the label 1, of the prediction (HC PD HC PD) one half
        assert [(row.name, [cell.text for cell in row.cells]) for row in found.rows] == [("sex", ["1.00", "0.50"])]


def test_which_class_has_the_higher_values() -> None:
    manifest = pd.DataFrame(
        {
            "recording": [f"r{i}" for i in range(8)],
            "speaker": [f"s{i}" for i in range(8)],
            "label": [0, 0, 0, 0, 1, 1, 1, 1],
            "age": [50, 51, 52, 53, 70, 71, 72, 73],
            "sex": ["F", "F", "F", "F", "M", "M", "M", "M"],
            "task": "unknown",
            "sample_rate": 16_000,
        }
    )
    measured = pd.DataFrame(
        {
            "recording": manifest["recording"],
            "sample_rate": 16_000,
            "duration_s": [9.0, 9, 9, 9, 2, 2, 2, 2],
            "rms_dbfs": -20.0,
            "silence_share": 0.1,
            "bandwidth_hz": 8_000.0,
        }
    )
    found = {each.name: each for each in corpus_confounds(manifest, measured)}
    # F counts as 1: women are HC here
    assert {name: found[name].higher_in for name in ("age", "sex", "duration")} == {
        "age": "PD",
        "sex": "HC",
        "duration": "HC",
    }
    assert all(found[name].auc == 1.0 and found[name].alarm for name in ("age", "sex", "duration"))
    assert (found["level"].auc, found["level"].higher_in, found["level"].alarm) == (0.5, "", False)


def scores(shifts: dict[str, float], n_speakers: int, metric: str = "relevance_rank") -> pd.DataFrame:
    """Scores of one recording a speaker: the shift, and a tenth more with every second speaker."""
    return pd.DataFrame(
        [
            {
                "recording": f"r{i}",
                "speaker": f"s{i}",
                "label": 1,
                "predicted": 1,
                "model": "m",
                "fold": 0,
                "recipe": recipe,
                "metric": metric,
                "value": shift + 0.1 * (i % 2) * (recipe != "random_map"),
            }
            for recipe, shift in shifts.items()
            for i in range(n_speakers)
        ]
    )


SHIFTS = {"random_map": 0.1, "energy_map": 0.2, "edge_map": 0.5, "saliency": 0.6, "smoothgrad": 0.4}


def test_a_run_compares_with_all_controls_and_gives_shares_their_interval() -> None:
    table = summary(scores({"saliency": 1.0, **dict.fromkeys(CONTROLS, 0.0)}, 7, "input_fidelity").round())
    row = table.set_index("recipe").loc["saliency"]
    assert (row["low"], row["high"]) == (pytest.approx(0.590, abs=1e-3), 1.0)  # 7 of 7
    assert table.set_index("recipe").loc["energy_map", "high"] == pytest.approx(0.410, abs=1e-3)  # 0 of 7
    assert row[[f"vs_{control}" for control in CONTROLS]].tolist() == [1.0, 1.0, 1.0]


def stated(*pairs: tuple[str, str, bool]) -> pd.DataFrame:
    return pd.DataFrame(
        [{"first": first, "second": second, "holds": holds, "n_ways": 16} for first, second, holds in pairs]
    )


def test_who_points_at_the_truth_must_be_above_every_control_by_every_way_to_measure() -> None:
    recipes = ("saliency", "smoothgrad", "union(saliency, smoothgrad)", "random_map", "energy_map", "edge_map")
    part = pd.DataFrame({"recipe": recipes, "n_networks": 15, "n_speakers": 45})
    controls = ("random_map", "energy_map", "edge_map")
    all_three = [("saliency", control, True) for control in controls]
    two = [("smoothgrad", "random_map", True), ("smoothgrad", "energy_map", True), ("smoothgrad", "edge_map", False)]
    said = _who_points(part, stated(*all_three, *two), "tremor")
    assert said == (
        "tremor, 15 networks, 45 speakers: above random_map, energy_map and edge_map by all 16 ways to measure:"
        " saliency. Of 2 methods 2 have no other above them by all of them: saliency and smoothgrad."
    )
    one = _who_points(part, stated(*all_three, ("saliency", "smoothgrad", True)), "tremor")
    assert one.endswith("Of 2 methods 1 have no other above them by all of them: saliency.")
    none = _who_points(part, stated(*two), "tremor")
    assert "no method is above random_map, energy_map and edge_map by all 16 ways" in none
    for few in ({"n_networks": 8}, {"n_speakers": 4}):
        assert "cannot decide" in _who_points(part.assign(**few), stated(*all_three), "tremor")


def test_an_explanation_knows_more_than_a_floor_by_p_and_interval() -> None:
    row = {"vs_energy_map_low": 0.01, "vs_energy_map_high": 0.2, "vs_energy_map_p": 0.04}
    assert beats(row, "energy_map")
    assert not beats(row, "random_map")
    assert not beats(row | {"vs_energy_map_p": 0.05}, "energy_map")
    assert not beats(row | {"vs_energy_map_low": -0.01}, "energy_map")


def subjects(ages: list[float], sexes: list[str], labels: list[int], p: list[float]):  # type: ignore[no-untyped-def]
    return by_subject(
        [f"s{i}" for i in range(len(ages))], labels, p, [(a, 3.0, s) for a, s in zip(ages, sexes, strict=True)]
    )


def test_groups_by_sex_and_age_hold_whom_they_name() -> None:
    found = groups(
        subjects([49, 50, 59.9, 60, 70, math.nan], ["F", "M", "F", "M", "", "F"], [0, 1, 0, 1, 0, 1], [0.5] * 6)
    )
    assert {name: np.flatnonzero(members).tolist() for name, members in found.items()} == {
        "sex F": [0, 2, 5],
        "sex M": [1, 3],
        "under 50 years": [0],
        "50 to 59 years": [1, 2],
        "60 to 69 years": [3],
        "70 years and older": [4],
    }


def test_performance_of_people_and_its_intervals() -> None:
    # HC: 7 of 7 right; PD: 4 of 5 right, one at exactly one half, which is HC
    found = performance(
        subjects([60] * 12, ["F"] * 12, [0] * 7 + [1] * 5, [0.1] * 7 + [0.9] * 4 + [0.5]),
        ("accuracy", "sensitivity", "specificity", "balanced_accuracy"),
    )
    # Clopper and Pearson: 11 of 12 .615 to .998; 4 of 5 .284 to .995; 7 of 7 .590 to 1
    assert {name: str(value) for name, value in found.items() if name != "balanced_accuracy"} == {
        "accuracy": "0.917 [0.615, 0.998]",
        "sensitivity": "0.800 [0.284, 0.995]",
        "specificity": "1.000 [0.590, 1.000]",
    }
    # .9 - sqrt(.516^2 + .410^2) / 2 = .570; .9 + sqrt(.195^2 + 0^2) / 2 = .997
    assert str(found["balanced_accuracy"]) == "0.900 [0.570, 0.997]"
    assert [found[name].n for name in ("accuracy", "sensitivity", "specificity")] == [12, 5, 7]
    (perfect,) = performance(subjects([60] * 12, [""] * 12, [0, 1] * 6, [0.1, 0.9] * 6), ("accuracy",)).values()
    assert str(perfect) == "1.000 [0.735, 1.000]"


def test_one_subject_has_no_interval() -> None:
    found = performance(subjects([60], ["F"], [1], [0.9]), n=20)
    assert found["accuracy"].value == 1.0
    assert all(math.isnan(each.low) and math.isnan(each.high) for each in found.values())


def test_what_duration_and_age_alone_would_give() -> None:
    found = confounds(subjects([50, 60, 70, 80], [""] * 4, [0, 0, 1, 1], [0.1, 0.6, 0.4, 0.9]), n=20)
    assert (found["classifier"].value, found["age alone"].value, found["duration alone"].value) == (0.75, 1.0, 0.5)
    assert isinstance(found["age alone"], Interval)


def test_what_is_left_when_age_cannot_help() -> None:
    people = subjects([40, 60, 70, 50, 65, 90], [""] * 6, [0, 0, 0, 1, 1, 1], [0.1, 0.6, 0.2, 0.4, 0.9, 0.3])
    found = {name: each.value for name, each in confounds(people, n=20).items()}
    assert found["classifier"] == pytest.approx(7 / 9)  # 2 + 3 + 2 of 9 pairs
    # Both classes are there from 50 to 70 years: HC .6 .2, PD .4 .9, 3 of 4 pairs; by age 65 > 60 alone.
    assert found["classifier, overlapping ages"] == 0.75
    assert found["age alone, overlapping ages"] == 0.25
    # Exactly 5 years apart belongs: 65 with 60 and with 70, both won. With 10 years 50 with 40 and with 60 would too.
    assert found["classifier, ages within 5 years"] == 1.0


def test_the_classifier_in_words() -> None:
    several = predictions([0.1, 0.9] * 6, [0, 1] * 6)
    finding = classifier_sentence(several, CLASSES)
    assert finding is not None
    # 12 of 12: .735; six pairs of speakers: .025^(1 / 6) = .541
    assert finding.text == (
        "The classifier is right for 12 of 12 recordings (100 % over 12 speakers, 95 % interval 74 to 100 %); AUC 1.00"
        " (95 % interval over speakers 0.54 to 1.00). That is better than chance."
    )
    assert finding.tone == "good"


def test_the_classifier_in_words_where_little_can_be_said() -> None:
    for labels in ([1] * 4, [None] * 4):
        nothing = classifier_sentence(predictions([0.1, 0.9, 0.2, 0.8], labels), CLASSES)
        assert nothing is not None
        assert (nothing.text, nothing.tone) == (
            "The recordings hold one class or no labels, so nothing is said of the classifier's accuracy.",
            "caution",
        )
    # 3 of 4 right; of 4 pairs 3 in order
    few = classifier_sentence(predictions([0.1, 0.6, 0.55, 0.9], [0, 0, 1, 1]), CLASSES)
    assert few is not None
    assert few.text == (
        "The classifier is right for 3 of 4 recordings; AUC 0.75, of too few speakers for an interval (2 in the smaller"
        " class)."
    )


def test_every_fact_of_a_task_stands_under_its_own_heading() -> None:
    facts = {"auc": 0.95, "auc_low": 0.91, "auc_high": 0.98, "n_pairs": 18, "n_speakers": 12, "n_explained": 10}
    facts |= {"rms_auc": 0.51, "peak_auc": 0.52, "permuted_auc": 0.53, "contour_auc": 0.54, "crest_auc": 0.55}
    facts |= {"spectrum_auc": 0.56, "auc_pooled": 0.94, "twins_right": 0.97, "added_area": 0.04, "removed_area": 0.05}
    facts |= {
        "task": "synthetic/tremor/1/0",
        "group": "synthetic",
        "excluded": None,
        "n_skipped": 7,
        "verdict": "learned",
    }
    table = _tasks(pd.DataFrame([facts]))
    found = dict(zip(table.columns[1:], (cell.text for cell in table.rows[0].cells), strict=True))
    assert found == {
        "verdict": "learned",
        "AUC within folds": "0.950 [0.910, 0.980]",
        "pooled": "0.940",
        "twins in order": "0.97",
        "pairs": "18",
        "speakers": "12",
        "explained": "10",
        "AUC of RMS": "0.51",
        "of the peak": "0.52",
        "of the level's contour": "0.54",
        "of crest and kurtosis": "0.55",
        "of the long-term spectrum": "0.56",
        "permuted labels": "0.53",
        "added": "0.040",
        "removed": "0.050",
        "not carried": "7",
    }
