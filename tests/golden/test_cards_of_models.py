"""What the card of a bundle says of made settings and answers, part by part, by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from speechxai.classifiers import training
from speechxai.classifiers.held_out import held_out_of
from speechxai.classifiers.validation import Interval, Subjects, auroc, confounds, subset

NAN = math.nan


def rows(text: str) -> list[list[str]]:
    """Cells of the lines of a table, without its head."""
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    return [line for line in lines if line[0] != "---"][1:]


def config(**more: Any) -> Any:
    facts: dict[str, Any] = {
        "classes": ("HC", "PD"),
        "architecture": "cnn",
        "options": {"n_mels": 16, "dropout": 0.5},
        "unit": "",
        "segment": SimpleNamespace(length_s=1.0, hop_s=0.25),
        "stft": SimpleNamespace(sample_rate=8_000),
        "audio": SimpleNamespace(normalize="peak", offset="removed"),
        "weights": SimpleNamespace(n_folds=0),
        "held_out": None,
        "speakers": {"a": 0, "b": 1, "c": 1},
        "folds": (),
        "training": {
            "n_parameters": 12_345,
            "data": "toy",
            "n_recordings": 9,
            "best_epochs": [3, 5],
            "final_epochs": 4,
            "fit": {
                "learning_rate": 0.00025,
                "weight_decay": 0.01,
                "batch": 8,
                "crop_s": 2.0,
                "n_crops": 3,
                "class_weights": "balanced",
                "seed": 7,
                "epochs": 30,
            },
        },
    }
    return SimpleNamespace(**{**facts, **more})


def subjects() -> Subjects:
    labels = np.array([0.0, 0, 0, 1, 1])
    ages = np.array([50.0, 60, NAN, NAN, NAN])
    p = np.array([0.05, 0.15, 0.12, 0.95, 0.55])
    return Subjects(tuple("abcde"), labels, p, ages, np.array([1.0, 2, 6, 4, 5]), ("F", "M", "", "F", "F"))


def test_network() -> None:
    text = training._network(config())
    assert (
        "Backbone `cnn` (n_mels = 16, dropout = 0.5), 12,345 parameters; it hears segments of 1 s every 0.25 s" in text
    )
    assert "at 8000 Hz, normalized by peak, its offset removed. Output: probability of HC and PD." in text
    text = training._network(config(segment=None, options={}, classes=("A", "B", "C")))
    assert "(defaults)" in text
    assert "it hears each recording whole." in text
    assert text.endswith("probability of A, B and C.")


def test_data() -> None:
    text = training._data(config(), subjects(), "# toy\n\n## Who\n\nPeople.\n")
    assert text.startswith("## Data: toy\n\n9 recordings of 5 subjects.\n\n")
    assert rows(text) == [
        ["HC", "3", "55.0 (50 to 60)", "1 F, 1 M", "3.00 (1.00 to 6.00)"],
        ["PD", "2", "unknown", "2 F", "4.50 (4.00 to 5.00)"],
    ]
    assert text.endswith("## Who\n\nPeople.")


def test_training() -> None:
    text = training._training(config())
    assert text.startswith(
        "## Training\n\n2 folds by speaker, alike in class, sex and age. Fold k tests, the next fold"
    )
    assert (
        "Best epochs: 3, 5; the final model trains on everybody for their median, 4. AdamW, learning rate 0.00025"
        in text
    )
    assert "weight decay 0.01, batches of 8 random crops of 2 s, 3 crops a recording and epoch, classes" in text
    assert "weighted (balanced)" in text
    assert "seed 7." in text
    made = config(weights=SimpleNamespace(n_folds=5))
    made.training["note"] = "A note."
    text = training._training(made)
    assert text.startswith("## Training\n\n5 folds")
    assert text.endswith("seed 7.\n\nA note.")
    for fit, final in (({"epochs": 0}, 4), ({"epochs": 30}, 0)):
        made = config()
        made.training |= {"fit": {**made.training["fit"], **fit}, "final_epochs": final}
        assert "the penalty is chosen by cross-validation over speakers" in training._training(made)


@pytest.mark.parametrize("classes", [("HC", "PD"), ("A", "B", "C")])
def test_folds(classes: tuple[str, ...]) -> None:
    low, high = (0.1, 0.2, 0.3)[: len(classes)], (0.4, 0.5, 0.6)[: len(classes)]
    fold = {"n_recordings": 4, "spread": 1.234, "low": low, "high": high}
    made = config(
        classes=classes,
        folds=(SimpleNamespace(**fold, restarts=0, problem=""), SimpleNamespace(**fold, restarts=2, problem="flat")),
    )
    text = training._folds(made)
    ranges = ["0.200 to 0.500"] if len(classes) == 2 else ["0.100 to 0.400", "0.200 to 0.500", "0.300 to 0.600"]
    assert rows(text) == [["0", "4", "1.23", *ranges, "no", "answers"], ["1", "4", "1.23", *ranges, "2", "flat"]]
    assert text.endswith("**1 of 2 networks give no answers worth the name:** they say the same of everybody.")
    made.folds = made.folds[:1]
    assert "worth the name" not in training._folds(made)


def test_repeats() -> None:
    runs = [(0, 0.5, 0.4), (1, 0.7, NAN)]
    text = training._repeats(runs, True)
    # The standard deviation of .5 and .7 is .2 / sqrt 2.
    assert "AUROC 0.600 +- 0.141 over 2 cross-validations; the first is the one shipped." in text
    assert rows(text) == [["0", "0.500", "0.400"], ["1", "0.700", "undefined"]]
    assert rows(training._repeats(runs, False)) == [["0", "0.500"], ["1", "0.700"]]
    assert "+-" not in training._repeats(runs[:1], True)


def test_calibration() -> None:
    after, before = subjects(), subset(subjects(), np.array([True, True, True, False, False]))
    text = training._calibration(after, before)
    first, second = text[text.index("Before:") :].split("After:")
    # Below .2: .05 .15 .12, nobody of PD. The others: .55 and .95.
    assert rows(first)[0] == ["0.0 to 0.2", "3", "0.107", "0.000"]
    assert [line for line in rows(second) if line[1] == "1"] == [
        ["0.4 to 0.6", "1", "0.550", "1.000"],
        ["0.8 to 1.0", "1", "0.950", "1.000"],
    ]
    assert "| P(PD) | subjects | mean P(PD) | share with PD |" in second


def test_one_area_has_one_interval_in_whatever_order_people_come() -> None:
    draw = np.random.default_rng(5)
    labels = np.array([0.0, 1] * 12)
    p = draw.uniform(0.05, 0.6, 24) + 0.3 * labels
    names = tuple(f"s{number}" for number in range(24))
    shuffled = draw.permutation(24)

    def people(order: np.ndarray, values: np.ndarray) -> Subjects:
        return Subjects(
            tuple(names[k] for k in order), labels[order], values[order], np.full(24, NAN), np.ones(24), ("",) * 24
        )

    shipped, before = people(np.arange(24), p), people(shuffled, p**2)  # calibration keeps the order of the scores
    said = config(
        held_out=held_out_of(shipped), calibration=SimpleNamespace(calibrated=True, reason="", method="Platt")
    )
    [area] = [line for line in rows(training._performance(said, shipped, before, 2_000)) if line[0] == "AUROC"]
    assert area[1] == area[2]
    assert "[" in area[1]
    assert [
        line[2] for line in rows(training._confounds(before, confounds(before), 10)) if line[0] == "classifier"
    ] == [area[1]]
    three = np.stack([p, 1 - p, p / 2], axis=1)
    assert auroc(three, labels * 2) == auroc(three[shuffled], labels[shuffled] * 2)


def test_groups_and_limits() -> None:
    labels = np.array([0.0, 1] * 6)
    p = np.where(labels == 1, 0.9, 0.1)
    ages = np.arange(40.0, 88, 4)
    known = Subjects(tuple("abcdefghijkl"), labels, p, ages, np.ones(12), ("F",) * 6 + ("M",) * 6)
    found = {line[0]: line[1:3] for line in rows(training._groups(known, 10))}
    assert found["sex F"] == ["3", "3"]
    assert found["sex M"] == ["3", "3"]
    nobody = Subjects(known.speakers, labels, p, np.full(12, NAN), np.ones(12), ("",) * 12)
    assert training._groups(nobody, 10).endswith("Neither is known.")
    own = Interval(0.8, 0.7, 0.9, 12)
    for age, says in ((0.61, True), (0.39, True), (0.59, False), (NAN, False)):
        text = training._limits(known, {"classifier": own, "age alone": Interval(age, NAN, NAN, 12)})
        assert text.startswith("## Limits\n\n- 12 subjects: the intervals")
        assert (
            f"**Age confound**: age alone gives AUROC {age:.3f}, the classifier 0.800. Old voices and PD voices" in text
        ) is says
        assert ("Age confound" in text) is says
    assert "Age confound" not in training._limits(known, {"classifier": own})
    assert training._shown(Interval(NAN, NAN, NAN, 2)) == "undefined"
    assert training._shown(Interval(1, NAN, NAN, 1)) == "1.000 (no interval: too few subjects)"
    assert training._shown(Interval(0.8, 0.7, 0.9, 12)) == "0.800 [0.700, 0.900]"
    assert training._shown(own) == str(own)
