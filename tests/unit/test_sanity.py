"""Sanity checks of methods on a network that is built to read one box: honest methods pass, every mutant fails."""

from __future__ import annotations

import pytest
import torch

from speechxai.errors import SpeechXAIError
from speechxai.explain.recipe import PUBLISHED_METHODS
from speechxai.planted import sanity
from speechxai.planted.sanity import (
    LIMITS,
    MUTANTS,
    OTHER_CLASS,
    built_cases,
    built_checks,
    explainers,
    failed_checks,
    lag,
    mutated,
    partial_rank_correlation,
)
from speechxai.planted.settings import OTHER_METHODS
from speechxai.planted.tables import is_signed
from speechxai.types import StftConfig

STFT = StftConfig()


@pytest.fixture(scope="module")
def cases() -> list[sanity.BuiltCase]:
    return built_cases(STFT)


def test_the_network_reads_its_box_and_nothing_else(cases: list[sanity.BuiltCase]) -> None:
    for case in cases:
        whole = case.model(case.spec.magnitude, case.spec.phase).detach()
        alone = case.model(case.spec.magnitude * case.box, case.spec.phase)
        torch.testing.assert_close(whole, alone.detach())
        without = case.model(case.spec.magnitude * (1 - case.box), case.spec.phase).detach()
        assert float(whole[0, 1] - whole[0, 0]) == pytest.approx(4 * 0.3, rel=1e-3)  # 2 * gain * (1 - .7) * mean
        assert float(without[0, 1] - without[0, 0]) == pytest.approx(-4 * 0.7, rel=1e-3)
        rows, columns = case.box.nonzero(as_tuple=True)
        assert rows.max() < STFT.n_bins // 2
        assert columns.max() < case.box.shape[1] // 2


def test_a_lag_by_hand() -> None:
    box = torch.tensor([0.0, 0, 1, 1, 0, 0, 0, 0])
    assert lag(box, box) == 0
    assert lag(torch.roll(box, 2), box) == 2
    assert lag(torch.roll(box, -1), box) == -1
    assert lag(torch.ones(8), box) == 0
    blurred = torch.tensor([0.0, 1, 2, 2, 1, 0, 0, 0])
    assert lag(blurred, box) == 0


def test_a_partial_correlation_is_kendalls_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    given, own, other = (torch.rand(1, 20, 20, generator=generator) for _ in range(3))
    assert abs(partial_rank_correlation(given + 0.5 * own, given + 0.5 * other, given)) < 0.15
    assert partial_rank_correlation(given + 0.5 * own, given + 0.5 * own, given) == pytest.approx(1)
    assert partial_rank_correlation(given, own, given) != partial_rank_correlation(given, own, given)  # NaN


HONEST = [name for name in (*PUBLISHED_METHODS, *OTHER_METHODS) if name not in ("rise", "occlusion")]


def test_honest_methods_pass(cases: list[sanity.BuiltCase]) -> None:
    found = built_checks(explainers(tuple(HONEST)), cases[:3])
    assert not any(failed_checks(values, is_signed(name)) for name, values in found.items())
    assert len(found) == len(HONEST)


def test_controls_fail(cases: list[sanity.BuiltCase]) -> None:
    found = built_checks(explainers(("energy_map", "random_map")), cases[:3])
    assert "energy_outside" in failed_checks(found["energy_map"])
    assert "lag_frames" in failed_checks(found["random_map"])


@pytest.mark.parametrize(
    ("name", "fails"),
    [
        ("moved by 3 frames", "lag_frames"),
        ("moved by 9 frames", "lag_frames"),
        ("turned around in time", "lag_frames"),
        ("turned around in frequency", "lag_bins"),
        ("half energy", "energy_outside"),
        ("wrong sign", "evidence_in_box"),
        (OTHER_CLASS, "evidence_in_box"),
    ],
)
def test_every_mutant_fails(name: str, fails: str, cases: list[sanity.BuiltCase]) -> None:
    found = built_checks(mutated(name, "input_x_gradient"), cases[:2])[name]
    assert fails in failed_checks(found)


def test_every_mutant_is_listed() -> None:
    assert len({*MUTANTS, OTHER_CLASS}) == 7
    with pytest.raises(SpeechXAIError, match=r"^Unknown mutant 'upside down'\. Known: .*$"):
        mutated("upside down")


def test_limits_say_which_side_is_broken() -> None:
    assert failed_checks({"lag_frames": 1.01, "evidence_in_box": 0.49}) == ["lag_frames", "evidence_in_box"]
    assert failed_checks({"lag_frames": 1.0, "evidence_in_box": 0.5, "class_flip": float("nan")}) == []
    assert failed_checks({"class_flip": 0.95}) == ["class_flip"]
    assert failed_checks({"class_flip": 0.95}, signed=False) == []
    assert set(LIMITS) <= set(sanity.CHECKS)
