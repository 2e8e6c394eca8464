"""Infidelity on a linear classifier, where removing a patch changes the logit by exactly the patch's sum."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from speechxai.metrics import METRICS, Case, faithfulness
from speechxai.metrics.faithfulness import patches
from speechxai.types import Attribution, Spectrogram, StftConfig

TINY = StftConfig(n_fft=2, win_length=2, hop_length=1)
WIDE = StftConfig(n_fft=38, win_length=38, hop_length=19)
# Four bins in a row of 2 x 2; patches: the first row, the second row, the first column.
PATCHES = torch.tensor([[[1.0, 1], [0, 0]], [[0.0, 0], [1, 1]], [[1.0, 0], [1, 0]]])


class Sum(nn.Module):
    """Probability of class 1 is a tenth of the sum of weight * magnitude."""

    max_batch = 2

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        p = (magnitude * self.weight).sum(dim=(1, 2)) / 10
        return torch.stack([torch.log(1 - p), torch.log(p)], dim=1)


def case_of(masks: Tensor, weight: Tensor) -> Case:
    n = len(masks)
    spec = Spectrogram(torch.ones(n, 2, 2), torch.zeros(n, 2, 2), 1, TINY)
    return Case(Sum(weight), spec, Attribution(masks, torch.ones(n, dtype=torch.int64), "by_hand"))


def test_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faithfulness, "patches", lambda *_: PATCHES)
    # p = (1 + 2 + 3 + 2) / 10 = .8; without each patch p falls by d = .3, .5, .4
    weight = torch.tensor([[1.0, 2], [3, 2]])
    masks = torch.tensor(
        [
            [[1 / 3, 2 / 3], [1, 2 / 3]],  # the weights themselves: s = 1, 5/3, 4/3 = d / .3
            [[1.0, 0], [0, 0]],  # s = 1, 0, 1: <s, d> = .7, |s|^2 = 2, |d|^2 = .5: 1 - .49 / (2 * .5)
            [[0.0, 1], [0, 0]],  # s = 1, 0, 0: 1 - .09 / .5
            [[0.0, 0], [0, 0]],  # no evidence
        ]
    )
    value = METRICS["infidelity"](case_of(masks, weight))
    torch.testing.assert_close(value[:3], torch.tensor([0.0, 0.51, 0.82]), atol=1e-6, rtol=0)
    assert math.isnan(value[3].item())
    # a network that hears the last bin alone: nothing to foretell in patches without it
    monkeypatch.setattr(faithfulness, "patches", lambda *_: PATCHES[[0, 2]])
    deaf = METRICS["infidelity"](case_of(masks[:1], torch.tensor([[0.0, 0], [0, 5]])))
    assert math.isnan(deaf.item())


def test_evidence_where_removing_helps_the_class_foretells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    # the first column, and its lower bin alone
    monkeypatch.setattr(faithfulness, "patches", lambda *_: torch.tensor([[[1.0, 0], [1, 0]], [[0.0, 0], [1, 0]]]))
    # a weight may be negative: p = (3 + 3 - 2 + 1) / 10 = .5, without the column .4, without the bin .7
    weight = torch.tensor([[3.0, 3], [-2, 1]])
    # evidence in that bin: s = 1, 1; d = .1, -.2: <s, d> = -.1 < 0, so the best scale is 0
    # evidence in the bin above it: s = 1, 0: <s, d> = .1, |s|^2 = 1, |d|^2 = .05: 1 - .01 / .05
    value = METRICS["infidelity"](case_of(torch.tensor([[[0.0, 0], [1, 0]], [[1.0, 0], [0, 0]]]), weight))
    torch.testing.assert_close(value, torch.tensor([1.0, 0.8]), atol=1e-6, rtol=0)


def test_an_answer_that_is_no_number_stays_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faithfulness, "patches", lambda *_: PATCHES[:2])
    # without the first row p = (-4 + 1) / 10 is below 0 and its logarithm no number
    value = METRICS["infidelity"](case_of(torch.tensor([[[0.0, 0], [1, 0]]]), torch.tensor([[3.0, 3], [-4, 1]])))
    assert math.isnan(value.item())


def test_the_map_of_a_linear_network_is_best_and_patches_are_rectangles() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.rand(20, 30, generator=generator) / 100
    spec = Spectrogram(torch.ones(2, 20, 30), torch.zeros(2, 20, 30), 19 * 29, WIDE)
    masks = torch.stack([weight, torch.rand(20, 30, generator=generator) ** 20])
    value = METRICS["infidelity"](Case(Sum(weight), spec, Attribution(masks, torch.ones(2, dtype=torch.int64), "x")))
    assert value[0] < 1e-6 < value[1]
    drawn = patches(20, 30, 0)
    assert torch.equal(drawn, patches(20, 30, 0))
    assert not torch.equal(drawn, patches(20, 30, 1))
    for patch in drawn:
        rows, columns = patch.any(dim=1), patch.any(dim=0)
        assert patch.sum() == rows.sum() * columns.sum()
        assert 1 <= rows.sum() <= 10
        assert 1 <= columns.sum() <= 15
        assert patch.sum() > 0


def test_patches_reach_the_last_row_and_the_last_frame() -> None:
    drawn = torch.cat([patches(8, 8, seed) for seed in range(8)]).amax(0)
    assert (drawn[0].amax(), drawn[-1].amax(), drawn[:, 0].amax(), drawn[:, -1].amax()) == (1, 1, 1, 1)
