"""How often a model is right about people it never heard: counts of people, predictive values, by hand."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from speechxai.classifiers.bundle import bundle_names, load_bundle
from speechxai.classifiers.held_out import HeldOut, held_out_of, predictive_value
from speechxai.classifiers.validation import Subjects
from speechxai.testing import tiny_bundle


def test_counts_by_hand() -> None:
    held = HeldOut(labels=(0, 0, 0, 1, 1), probabilities=(0.1, 0.2, 0.6, 0.5, 1.0))
    assert (held.n_ill, held.n_healthy, held.found, held.alarms) == (2, 3, 1, 1)  # .5 is no alarm, as argmax has it
    assert (held.sensitivity, held.specificity, held.share_ill) == (0.5, pytest.approx(2 / 3), 0.4)
    assert held.alike(0.1) == (0, 1, 0.0, 0.2)
    assert held.alike(0.2) == (0, 1, 0.2, 0.4)  # an edge belongs to the bin above it
    assert held.alike(1.0) == held.alike(0.8) == (1, 1, 0.8, 1.0)  # the last bin is closed
    other = held.mirrored()
    assert (other.labels, other.probabilities) == ((1, 1, 1, 0, 0), (0.9, 0.8, 0.4, 0.5, 0.0))


@pytest.mark.parametrize(
    ("sensitivity", "specificity", "share", "ill", "healthy"),
    [
        # Of 10,000 people 100 are ill, 90 of them found; of 9,900 healthy ones 990 alarmed: 90 / 1,080, 8,910 / 8,920.
        (0.9, 0.9, 0.01, 90 / 1080, 8910 / 8920),
        (0.65, 27 / 41, 0.01, 0.0065 / (0.0065 + 0.99 * 14 / 41), (0.99 * 27 / 41) / (0.99 * 27 / 41 + 0.0035)),
        (0.9, 0.9, 0.5, 0.9, 0.9),
        (1.0, 1.0, 0.001, 1.0, 1.0),
    ],
)
def test_predictive_values_by_hand(
    sensitivity: float, specificity: float, share: float, ill: float, healthy: float
) -> None:
    assert predictive_value(sensitivity, specificity, share) == pytest.approx(ill)
    assert predictive_value(sensitivity, specificity, share, says_ill=False) == pytest.approx(healthy)


def test_at_the_share_of_the_data_it_is_the_share_of_the_data() -> None:
    held = HeldOut(labels=(0, 0, 0, 1, 1), probabilities=(0.1, 0.2, 0.6, 0.5, 1.0))
    assert held.right(True, held.share_ill) == pytest.approx(1 / 2)  # of two alarms one is right
    assert held.right(False, held.share_ill) == pytest.approx(2 / 3)
    assert np.isnan(predictive_value(0.0, 1.0, 0.3))


@pytest.mark.parametrize(
    ("labels", "probabilities"), [((0, 1), (0.1,)), ((1, 1), (0.1, 0.2)), ((0, 2), (0.1, 0.2)), ((0, 1), (0.1, 1.2))]
)
def test_what_cannot_be(labels: tuple[int, ...], probabilities: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError):
        HeldOut(labels=labels, probabilities=probabilities)


def test_names_are_left_out_and_order_with_them() -> None:
    nothing = np.zeros(3)
    found = Subjects(("c", "a", "b"), np.array([1, 0, 1]), np.array([0.9, 0.3, 0.1]), nothing, nothing, ("",) * 3)
    held = held_out_of(found)
    assert held is not None
    assert (held.labels, held.probabilities) == ((1, 0, 1), (0.1, 0.3, 0.9))
    assert held_out_of(replace(found, labels=np.ones(3))) is None
    assert held_out_of(replace(found, classes=("a", "b", "c"))) is None


@pytest.mark.parametrize("name", bundle_names())
def test_embedded_models_state_what_their_cards_say(name: str) -> None:
    bundle = load_bundle(name)
    held = bundle.config.held_out
    assert held is not None
    for metric, value in (("sensitivity", held.sensitivity), ("specificity", held.specificity)):
        (row,) = re.findall(rf"^\| {metric} \|.*$", bundle.card, re.MULTILINE)
        assert row.split("|")[3].strip().startswith(f"{value:.3f} ")
    # The area stands twice in a card, and in the warning under an answer: one value, one interval.
    areas = re.findall(r"^\| (?:AUROC \|[^|]*|classifier \|[^|]*)\| ([^|]*) \|", bundle.card, re.MULTILINE)
    assert areas == [str(held.auc)] * 2
    bins = re.findall(r"^\| ([\d.]+) to [\d.]+ \| (\d+) \| [\d.]+ \| ([\d.]+) \|$", bundle.card, re.MULTILINE)
    for low, n, share in bins[len(bins) // 2 :]:  # the table after calibration is the last
        ill, of, _, _ = held.alike(float(low) + 0.1)
        assert (of, f"{ill / of:.3f}") == (int(n), share)
    assert held.separates
    assert bundle.config.answers_hash == bundle.config.sha256  # figures change no answer


def test_a_network_that_separates_nobody_says_so(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "tiny")
    generator = np.random.default_rng(0)
    held = HeldOut(labels=(0, 1) * 20, probabilities=tuple(generator.random(40).round(4)))
    assert not held.separates
    told = replace(bundle, config=bundle.config.model_copy(update={"held_out": held}))
    assert told.concerns() == [
        f"This network separates nobody that could be shown: AUC {held.auc} over 40 people it never heard, where chance"
        " is 0.50."
    ]
