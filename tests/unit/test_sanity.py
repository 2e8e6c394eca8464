"""Sanity checks of methods on a network that is built to read one box: honest methods pass, every mutant fails."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from speechxai.classifiers import Classifier
from speechxai.errors import SpeechXAIError
from speechxai.explain.recipe import PUBLISHED_METHODS
from speechxai.metrics.robustness import ANSWER_KEPT, ATTACK_SNR_DB, attacked
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
from speechxai.signal.stft import waveform
from speechxai.types import Spectrogram, StftConfig

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


@pytest.fixture(scope="module")
def mechanisms() -> list[sanity.Mechanism]:
    return sanity.mechanisms(StftConfig())


def test_mechanisms_read_what_they_say_and_nothing_else(mechanisms: list[sanity.Mechanism]) -> None:
    names = [name for case in mechanisms for name in case.reads]
    assert names == ["reads_band", "reads_pitch_range", "reads_pauses", "reads_pauses_against"] * sanity.N_VOICES
    for case in mechanisms:
        before = case.model(case.spec.magnitude, case.spec.phase)
        truth = next(iter(case.reads.values()))[0]
        if "reads_pauses" in case.reads:
            truth = torch.ones_like(truth)  # what is quiet is known by what is loud
        noise = torch.rand(truth.shape, generator=torch.Generator().manual_seed(0))
        elsewhere = torch.where(truth, case.spec.magnitude[0], noise)[None]
        torch.testing.assert_close(case.model(elsewhere, case.spec.phase), before)
        inside = torch.where(truth, noise, case.spec.magnitude[0])[None]
        assert not torch.allclose(case.model(inside, case.spec.phase), before)


def test_a_mechanism_is_scored_above_chance(mechanisms: list[sanity.Mechanism]) -> None:
    """Gradient x input of a linear reading is exact; chance is 0; nothing marks an absence, which has no energy."""
    found = sanity.mechanism_checks(sanity.explainers(("input_x_gradient", "random_map", "saliency")), mechanisms)
    assert found["input_x_gradient"]["reads_band"] == 1.0
    assert found["saliency"]["reads_band"] == 1.0
    for value in found["random_map"].values():
        assert value == pytest.approx(0, abs=0.02)
    assert found["input_x_gradient"]["reads_pauses"] < 0.1
    assert "reads_pauses_against" not in found["saliency"]


class Smooth(nn.Module):
    """Two logits of a network that is differentiable twice."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(1, 6, 5, 2), nn.GELU(), nn.Conv2d(6, 6, 5, 2), nn.GELU())
        self.answer = nn.Linear(6, 2)

    def forward(self, magnitude: torch.Tensor, phase: torch.Tensor) -> torch.Tensor:
        return self.answer(self.layers(30 * magnitude[:, None]).sin().mean(dim=(2, 3)))  # type: ignore[no-any-return]


def test_an_attack_keeps_the_answer_and_moves_the_map(mechanisms: list[sanity.Mechanism]) -> None:
    spec = mechanisms[0].spec
    model = Classifier(Smooth().requires_grad_(False), StftConfig(), None, ("without", "with")).eval()
    hit = attacked(model, spec, 1)
    change, voice = waveform(hit) - waveform(spec), waveform(spec)
    assert 10 * math.log10(float(change.square().mean() / voice.square().mean())) <= -ATTACK_SNR_DB + 0.01
    before, after = (model(each.magnitude, each.phase)[0] for each in (spec, hit))
    assert abs(float((after - before)[1] - (after - before)[0])) <= ANSWER_KEPT * max(
        1, abs(float(before[1] - before[0]))
    )
    explain = sanity.explainers(("input_x_gradient",))

    def share(at: Spectrogram) -> float:
        first, other = (explain(model, each, 1, 0)["input_x_gradient"].values[0].clamp(min=0) for each in (spec, at))
        strongest = first.flatten().topk(round(0.1 * first.numel())).indices
        return float(other.flatten()[strongest].sum() / other.sum())

    noisy = sanity._under_attack(model, spec)["attack_by_chance"]
    assert share(hit) < share(noisy) < share(spec), "more evidence is gone than noise of that size takes"
    assert torch.equal(attacked(model, spec, 1).magnitude, hit.magnitude)


def test_a_network_without_a_second_derivative_is_left_alone(mechanisms: list[sanity.Mechanism]) -> None:
    class Slope(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, slope: torch.Tensor) -> torch.Tensor:
            return slope * 2

        @staticmethod
        def backward(ctx: Any, slope: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("derivative is not implemented")

    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
            return values * 2

        @staticmethod
        def backward(ctx: Any, slope: torch.Tensor) -> torch.Tensor:
            return Slope.apply(slope)  # type: ignore[no-any-return,no-untyped-call]

    class Network(nn.Module):
        def forward(self, magnitude: torch.Tensor, phase: torch.Tensor) -> torch.Tensor:
            level = Once.apply(magnitude).square().mean(dim=(1, 2))  # type: ignore[no-untyped-call]
            return torch.stack([-level, level], dim=1)

    with pytest.raises(SpeechXAIError, match=r"^This network cannot be attacked: .*derivative is not implemented"):
        attacked(Network(), mechanisms[0].spec, 1)
    assert sanity._under_attack(Network(), mechanisms[0].spec) == {}
