"""Combinations on maps small enough to combine by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from speechxai.explain.combination import COMBINATIONS, evidence, rescale

# Two evidence maps of one recording, 2 bins x 5 frames; the top tenth of ten bins is one bin.
A = [1.0, 0.8, 0.6, 0.4, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0]
B = [0.5, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.2]

GOLDEN = {
    # A + B = 1.5 1.8 .6 .4 .2 0 0 0 0 .2, divided by 1.8
    "union": [5 / 6, 1.0, 1 / 3, 2 / 9, 1 / 9, 0, 0, 0, 0, 1 / 9],
    # A * B = .5 .8 0 ..., divided by .8
    "intersection": [0.625, 1.0, 0, 0, 0, 0, 0, 0, 0, 0],
    "maximum": [1.0, 1.0, 0.6, 0.4, 0.2, 0, 0, 0, 0, 0.2],
    "minimum": [0.5, 0.8, 0, 0, 0, 0, 0, 0, 0, 0],
    # top bin of A is 0, of B is 1
    "set_union": [1, 1, 0, 0, 0, 0, 0, 0, 0, 0],
    "set_intersection": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    "majority": [0.5, 0.5, 0, 0, 0, 0, 0, 0, 0, 0],
    # ranks among ten bins, 0 where there is no evidence: A 10 9 8 7 6 0 ...; B 9 10 0 ... 8 (last bin)
    # their mean: 9.5 9.5 4 3.5 3 0 0 0 0 4, divided by 9.5
    "rank_mean": [1, 1, 8 / 19, 7 / 19, 6 / 19, 0, 0, 0, 0, 8 / 19],
}


def maps(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32).reshape(len(rows), 1, 2, 5)


def test_every_combination_has_a_golden_value() -> None:
    assert set(GOLDEN) == set(COMBINATIONS)


@pytest.mark.parametrize("name", GOLDEN)
def test_by_hand(name: str) -> None:
    combined = COMBINATIONS[name](maps(A, B))
    torch.testing.assert_close(combined, maps(GOLDEN[name])[0], atol=1e-6, rtol=0)


def test_three_maps_by_hand() -> None:
    c = [0.0, 1.0, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0]
    # A + B + C = 1.5 2.8 .6 .4 .7 0 0 0 0 .2
    expected = [1.5 / 2.8, 1, 0.6 / 2.8, 0.4 / 2.8, 0.25, 0, 0, 0, 0, 0.2 / 2.8]
    torch.testing.assert_close(COMBINATIONS["union"](maps(A, B, c)), maps(expected)[0])
    # A * B * C = 0 .8 0 ...
    assert COMBINATIONS["intersection"](maps(A, B, c)).flatten().tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    # top bins: 0, 1, 1
    expected = [1 / 3, 2 / 3, 0, 0, 0, 0, 0, 0, 0, 0]
    torch.testing.assert_close(COMBINATIONS["majority"](maps(A, B, c)), maps(expected)[0])


def test_top_share_is_an_option() -> None:
    # the top 30 % of ten bins are three: A 0 1 2, B 0 1 9
    assert COMBINATIONS["set_union"](maps(A, B), q=0.3).flatten().tolist() == [1, 1, 1, 0, 0, 0, 0, 0, 0, 1]
    assert COMBINATIONS["set_intersection"](maps(A, B), q=0.3).flatten().tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 0, 0]


def test_tied_bins_stand_or_fall_together() -> None:
    tied = [1.0, 0.5, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    # the second largest value of the top 20 % is .5, held by two bins: both belong, so three in all
    assert COMBINATIONS["set_union"](maps(tied, tied), q=0.2).flatten().tolist() == [1, 1, 1, 0, 0, 0, 0, 0, 0, 0]
    # bins without evidence never belong, however large the share
    assert COMBINATIONS["set_union"](maps(tied, tied), q=0.9).flatten().tolist() == [1, 1, 1, 0, 0, 0, 0, 0, 0, 0]


def test_rank_ties_share_their_mean_rank() -> None:
    tied = [1.0, 0.5, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    # ranks 10, 8.5, 8.5
    expected = [1, 0.85, 0.85, 0, 0, 0, 0, 0, 0, 0]
    torch.testing.assert_close(COMBINATIONS["rank_mean"](maps(tied, tied)), maps(expected)[0])


def test_evidence_and_rescale_by_hand() -> None:
    signed = torch.tensor([[[-4.0, 2.0], [1.0, 0.0]]])
    assert evidence(signed, "absolute").flatten().tolist() == [1.0, 0.5, 0.25, 0.0]
    assert evidence(signed, "positive").flatten().tolist() == [0.0, 1.0, 0.5, 0.0]
    assert evidence(-signed.abs(), "positive").flatten().tolist() == [0, 0, 0, 0]
    assert rescale(torch.zeros(1, 2, 2)).sum() == 0
    # a maximum near the smallest float32 must not become infinite
    assert evidence(torch.full((1, 1, 1), 1e-42)).flatten().tolist() == [1.0]
