"""Which recordings are scored and which are shown as examples, and the noise that SmoothGrad adds: by hand."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from speechxai.errors import SpeechXAIError
from speechxai.evaluation.config import EvaluateConfig
from speechxai.evaluation.report import choose, recipes_to_draw
from speechxai.evaluation.session import chosen
from speechxai.explain import METHODS
from speechxai.types import Spectrogram, StftConfig


def manifest() -> pd.DataFrame:
    """Three HC speakers of two recordings each, then two PD speakers, the first with three."""
    rows = [(f"{s}{k}", s, label, "vowel-a" if k < 2 else "ddk") for s, label, n in PEOPLE for k in range(n)]
    return pd.DataFrame(rows, columns=["recording", "speaker", "label", "task"])


PEOPLE = (("a", 0, 2), ("b", 0, 2), ("c", 0, 2), ("p", 1, 3), ("q", 1, 1))


@pytest.mark.parametrize(
    ("limit", "wanted"),
    [
        # First recordings of all speakers come first, the classes in turn: a0 p0, b0 q0, c0; then a1 p1, b1, c1, p2.
        # What is
        # taken stays in the order of the table.
        (1, ["a0"]),
        (2, ["a0", "p0"]),
        (3, ["a0", "b0", "p0"]),
        (5, ["a0", "b0", "c0", "p0", "q0"]),
        (7, ["a0", "a1", "b0", "c0", "p0", "p1", "q0"]),
        (9, ["a0", "a1", "b0", "b1", "c0", "c1", "p0", "p1", "q0"]),
        (99, [f"{s}{k}" for s, _, n in PEOPLE for k in range(n)]),
    ],
)
def test_limit_takes_speakers_before_repeats_and_the_classes_in_turn(limit: int, wanted: list[str]) -> None:
    found = chosen(manifest(), EvaluateConfig(data="voices", model="any", limit=limit))
    assert found["recording"].tolist() == wanted


def test_tasks_are_taken_before_the_limit() -> None:
    assert chosen(manifest(), EvaluateConfig(data="voices", model="any", tasks=("ddk",), limit=1))[
        "recording"
    ].tolist() == ["p2"]


def test_a_task_that_is_not_there_is_answered_with_those_that_are() -> None:
    wanted = EvaluateConfig(data="voices", model="any", tasks=("vowel-b",))
    with pytest.raises(
        SpeechXAIError, match=r"^Unknown task 'vowel-b'\. Did you mean 'vowel-a'\? Known: ddk, vowel-a\.$"
    ):
        chosen(manifest(), wanted)
    with pytest.raises(SpeechXAIError, match=r"^Task 'vowel-b': these data name no tasks\. Leave --tasks away, or "):
        chosen(manifest().assign(task="unknown"), wanted)


def test_examples_are_the_surest_right_and_the_surest_wrong_of_each_class() -> None:
    rows = [
        # recording, label, predicted, p_HC, p_PD
        ("pd-sure", 1, 1, 0.05, 0.95),
        ("pd-less", 1, 1, 0.30, 0.70),
        ("hc-sure", 0, 0, 0.90, 0.10),
        ("hc-called-pd", 0, 1, 0.20, 0.80),
        ("pd-called-hc", 1, 0, 0.60, 0.40),
        ("nobody-knows", pd.NA, 1, 0.01, 0.99),
    ]
    table = pd.DataFrame(rows, columns=["recording", "label", "predicted", "p_HC", "p_PD"])
    table["label"] = table["label"].astype("Int64")
    assert choose(table, 6, ("HC", "PD")) == [
        ("pd-sure", "a sure and right PD"),
        ("hc-sure", "a sure and right HC"),
        ("hc-called-pd", "called PD, and wrong"),
        ("pd-called-hc", "called HC, and wrong"),
        ("nobody-knows", "label unknown"),
        ("pd-less", "a sure and right PD"),
    ]


def test_of_the_controls_only_loudness_is_drawn_and_methods_come_before_combinations() -> None:
    recipes = ("random_map", "union(saliency, rise)", "energy_map", "saliency", "edge_map", "rise")
    assert recipes_to_draw(recipes) == ["saliency", "rise", "union(saliency, rise)", "energy_map"]


class HalfSquare(nn.Module):
    """logit = half the sum of X squared, so that its gradient is X itself, noise included."""

    max_batch = 8

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        value = 0.5 * magnitude.square().sum((1, 2))
        return torch.stack([-value, value], 1)


def test_the_noise_of_smoothgrad_is_a_share_of_the_range_and_not_of_the_maximum() -> None:
    stft = StftConfig(n_fft=16, win_length=16, hop_length=8, sample_rate=32, scale="linear")
    # Magnitudes from 2 to 5: 0.15 of their range is 0.45; of their maximum it would be 0.75. Far from 0, nothing is
    # clamped.
    magnitude = torch.linspace(2, 5, 9 * 40).reshape(1, 9, 40)
    spec = Spectrogram(magnitude, torch.zeros_like(magnitude), 39 * 8, stft)
    noise = METHODS["smoothgrad"](HalfSquare(), spec, torch.tensor([1]), n_samples=1, clamp=False) - magnitude
    # 360 draws: the standard deviation is known to 0.45 / sqrt(720) = 0.017.
    assert float(noise.std()) == pytest.approx(0.45, abs=0.05)
    doubled = (
        METHODS["smoothgrad"](HalfSquare(), spec, torch.tensor([1]), n_samples=1, clamp=False, sigma=0.3) - magnitude
    )
    torch.testing.assert_close(doubled, 2 * noise, atol=1e-4, rtol=1e-4)


def test_the_noise_of_captums_noise_tunnel_is_a_share_of_the_range_as_well() -> None:
    pytest.importorskip("captum")
    stft = StftConfig(n_fft=16, win_length=16, hop_length=8, sample_rate=32, scale="linear")
    magnitude = torch.linspace(2, 5, 9 * 40).reshape(1, 9, 40)
    spec = Spectrogram(magnitude, torch.zeros_like(magnitude), 39 * 8, stft)
    values = METHODS["captum:NoiseTunnel"](HalfSquare(), spec, torch.tensor([1]), nt_samples=1)
    assert float((values - magnitude).std()) == pytest.approx(0.45, abs=0.05)
