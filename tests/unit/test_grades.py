"""Grades of methods, hybrids of metrics and bystanders, from tables with known answers."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from speechxai.planted.grades import ALL, CHOSEN, PAIR, bystander_table, grade_table, hybrid_table
from speechxai.planted.tables import BASE

CUES = ("synthetic/breathiness/1", "synthetic/tremor/1", "synthetic/monopitch/1")
METHODS = ("integrated_gradients", "saliency", "occlusion", "rise", "smoothgrad", "gradcam")
CONTROLS = ("random_map", "energy_map", "edge_map")


def frame(values: dict[tuple[str, str, str, int], float]) -> pd.DataFrame:
    """Tidy scores of (model, recipe, metric, network): one recording, one speaker a network."""
    rows = [
        {
            "recording": f"r{network}",
            "speaker": f"s{network}",
            "model": model,
            "recipe": recipe,
            "metric": metric,
            "value": value,
            "fold": str(network % 3),
            "seed": network // 3,
            "network": f"{network // 3}/{network % 3}",
        }
        for (model, recipe, metric, network), value in values.items()
    ]
    return pd.DataFrame(rows)


def said(model: str, first: str, second: str, added: str, removed: str = "0 of 4") -> dict[str, Any]:
    holds = all(n == m for n, m in (each.split(" of ") for each in (added, removed)))
    return {
        "model": model,
        "first": first,
        "second": second,
        "says_added": added,
        "says_removed": removed,
        "decidable": True,
        "holds": holds,
    }


def test_grades_follow_what_is_said_of_every_truth() -> None:
    """Two cues with two truths each: added and removed energy."""
    rows = []
    for cue in CUES[:2]:
        for control in CONTROLS:
            rows.append(said(cue, "integrated_gradients", control, "4 of 4", "4 of 4"))
            rows.append(said(cue, "occlusion", control, "4 of 4", "4 of 4" if cue == CUES[0] else "0 of 4"))
        rows.append(said(cue, "rise", "random_map", "4 of 4", "4 of 4"))
        rows.append(said(cue, "smoothgrad", "random_map", "3 of 4"))  # by one way not: it is not said
    rows.append(said(CUES[1], "random_map", "saliency", "0 of 4", "4 of 4"))
    rows.append(said("synthetic/mains_hum/1", "integrated_gradients", "random_map", "4 of 4", "0 of 0"))
    scores = frame(
        {
            (cue, recipe, "silence_share", network): 0.3 + 0.2 * (recipe == "gradcam") + 0.01 * (network % 2)
            for cue in CUES[:2]
            for recipe in (*METHODS, "random_map")
            for network in range(9)
        }
    )
    sanity = pd.DataFrame(
        [
            {"recipe": "rise", "class_flip": 0.95, "max_sensitivity": 0.1},
            {"recipe": "saliency", "class_flip": 1.0, "max_sensitivity": 0.8},  # without a sign: no class to flip
            {"recipe": "smoothgrad", "attack": 0.2},
        ]
    )
    found = grade_table(scores, pd.DataFrame(rows), sanity).set_index("recipe")
    assert found["grade"].to_dict() == {
        "integrated_gradients": "A",
        "occlusion": "B",  # three of four truths
        "rise": "C",
        "smoothgrad": "D",
        "gradcam": "D",
        "saliency": "E",
    }
    assert (found["n_truths"] == 4).all(), "a shortcut is no cue"
    shortcut = "blind to a shortcut (mains_hum)"
    assert found["failures"].to_dict() == {
        "integrated_gradients": "",
        "occlusion": shortcut,
        "rise": f"class-blind; no better than edges; {shortcut}",
        "smoothgrad": f"moved by noise; {shortcut}",
        "gradcam": f"points at silence; {shortcut}",
        "saliency": f"moved by noise; {shortcut}",
    }
    undecided = pd.DataFrame(rows).assign(decidable=False)
    assert set(grade_table(scores, undecided, sanity)["grade"]) == {"–"}
    assert set(grade_table(scores, pd.DataFrame(), sanity)["grade"]) == {"–"}


def test_a_bystander_is_marked_where_the_interval_is_above_chance() -> None:
    values = {}
    for network in range(9):
        for recipe, auc in (("rise", 0.7 + 0.01 * network), ("saliency", 0.45 + 0.02 * (network % 2) * 5)):
            values[CUES[0], recipe, "bystander_auc", network] = auc
            values[CUES[0], recipe, "bystander_rank", network] = auc - 0.4
    found = bystander_table(frame(values)).set_index("recipe")
    assert found.loc["rise", "bystander_auc"] == pytest.approx(0.74)
    assert found.loc["rise", "bystander_rank"] == pytest.approx(0.34)
    assert found.loc["rise", "low"] > 0.5 > found.loc["saliency", "low"]
    assert found["false_positives"].to_dict() == {"rise": 1.0, "saliency": pytest.approx(4 / 9)}
    assert bystander_table(frame({(CUES[0], "rise", BASE, 0): 1.0})).empty


def made(orders: dict[str, dict[str, list[int]]]) -> pd.DataFrame:
    """Scores of three cues, nine networks: of each cue and metric the values of the six methods."""
    return frame(
        {
            (cue, recipe, metric, network): float(value)
            for cue, metrics in orders.items()
            for metric, values in metrics.items()
            for recipe, value in zip(METHODS, values, strict=True)
            for network in range(9)
        }
    )


def test_a_hybrid_is_made_on_the_other_cues_and_tried_on_the_one_left_out() -> None:
    up, down = [1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1]
    swapped = [2, 1, 3, 4, 5, 6]  # Spearman with `up`: 1 - 6 * 2 / (6 * 35) = .943
    orders = {
        cue: {
            BASE: up,
            "comprehensiveness@10": up if cue != CUES[2] else down,
            "faithfulness": swapped,
            "deletion_auc": down,  # lower is better: it is right everywhere
        }
        for cue in CUES
    }
    found = hybrid_table(made(orders), METHODS).set_index(["model", "hybrid"])
    # comprehensiveness is right on the first two cues and wrong on the third; with it left out, a tie of two right ones
    # is broken by order: the metric that comes first among those registered
    assert found.loc[(CUES[2], CHOSEN), "made_of"] in ("comprehensiveness@10", "deletion_auc")
    assert found.loc[(CUES[0], CHOSEN), "made_of"] == "deletion_auc"
    assert found.loc[(CUES[0], CHOSEN), "within"] == pytest.approx(1)
    assert found.loc[(CUES[0], PAIR), "made_of"] == "deletion_auc + faithfulness"
    # ranks of swapped and up: means 1.5 1.5 3 4 5 6 against 1 to 6
    assert found.loc[(CUES[0], PAIR), "within"] == pytest.approx(0.9856, abs=1e-4)
    # what comprehensiveness was worth on the first two is lost on the third
    assert found.loc[(CUES[2], ALL), "within"] < found.loc[(CUES[0], ALL), "within"] + 1e-9
    # two metrics that contradict each other on the cue left out rank nothing together
    assert found.loc[(CUES[2], PAIR), ["within", "n_networks"]].isna().tolist() == [True, False]
    assert found["n_networks"].drop((CUES[2], PAIR)).eq(9).all()
    assert hybrid_table(made({cue: orders[cue] for cue in CUES[:2]}), METHODS).empty, "two cues leave one to learn from"
