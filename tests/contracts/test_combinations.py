"""What every combination and measure of agreement keeps to, new ones from the moment they are registered."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from speechxai.explain.agreement import (
    STRONGEST,
    iou,
    n_top,
    overlap,
    pairwise_rank_correlation,
    rank_correlation,
    strongest,
)
from speechxai.explain.combination import COMBINATIONS, evidence


@pytest.fixture
def maps() -> Tensor:
    """Four recordings under three methods: ordinary, sparse with ties, one method silent, all methods silent."""
    values = torch.rand(3, 4, 17, 23, generator=torch.Generator().manual_seed(0)) ** 3
    values[:, 1] = (values[:, 1] > 0.6).float() * values[:, 1].mul(4).round()
    values[1, 2] = 0
    values[:, 3] = 0
    return torch.stack([evidence(each) for each in values])


@pytest.mark.parametrize("n_maps", [2, 3])
@pytest.mark.parametrize("name", COMBINATIONS)
def test_combination_keeps_to_the_contract(name: str, n_maps: int, maps: Tensor) -> None:
    maps = maps[:n_maps]
    before = maps.clone()
    combined = COMBINATIONS[name](maps)
    assert combined.shape == maps.shape[1:]
    assert combined.dtype == maps.dtype
    assert torch.isfinite(combined).all()
    assert combined.min() >= 0
    assert combined.max() <= 1
    assert torch.equal(maps, before)
    assert torch.equal(combined, COMBINATIONS[name](maps))
    assert (combined[3] == 0).all(), "maps without evidence give none"
    one = torch.cat([COMBINATIONS[name](maps[:, i : i + 1]) for i in range(4)])
    torch.testing.assert_close(one, combined, rtol=0, atol=0)
    double = COMBINATIONS[name](maps.double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), combined, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", COMBINATIONS)
def test_many_weak_maps_do_not_vanish(name: str) -> None:
    """Twenty maps whose common bins are weak: the product leaves float32, and still the map is not all zero."""
    maps = torch.full((20, 1, 4, 5), 1e-3)
    maps[:, 0, 0, 0] = 2e-3
    for index in range(20):
        maps[index, 0, 3, index % 5] = 1.0
    combined = COMBINATIONS[name](maps)
    assert torch.isfinite(combined).all()
    if name != "set_intersection":  # the twenty top tenths have nothing in common
        assert combined.max() > 0


AGREEMENTS = [iou, rank_correlation, overlap]


@pytest.mark.parametrize("agreement", AGREEMENTS)
def test_agreement_keeps_to_the_contract(agreement: Callable[..., Tensor], maps: Tensor) -> None:
    a, b = maps[0], maps[1]
    before = a.clone(), b.clone()
    value = agreement(a, b)
    assert value.shape == (4,)
    assert value.dtype == a.dtype
    torch.testing.assert_close(value, agreement(b, a), equal_nan=True)
    one = torch.cat([agreement(a[i : i + 1], b[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(one, value, rtol=0, atol=0, equal_nan=True)
    # a map with evidence in fewer bins than k cannot reach 1
    own = strongest(a).flatten(1).sum(dim=1)[:2] / n_top(STRONGEST, a[0].numel())
    torch.testing.assert_close(agreement(a, a)[:2], own if agreement is overlap else torch.ones(2))
    assert torch.isnan(value[3])
    assert (value[:2].abs() < 1).all()
    assert torch.equal(a, before[0])
    assert torch.equal(b, before[1])
    # each map by its own scale
    torch.testing.assert_close(agreement(a, 1024 * b), value, equal_nan=True)


def test_rank_correlation_equals_scipy(maps: Tensor) -> None:
    from scipy.stats import spearmanr

    value = rank_correlation(maps[0], maps[2])
    for index in range(2):
        expected = spearmanr(maps[0, index].flatten(), maps[2, index].flatten()).statistic
        assert value[index].item() == pytest.approx(expected, abs=1e-6)


def test_all_pairs_at_once_equal_pair_by_pair(maps: Tensor) -> None:
    table = pairwise_rank_correlation(maps)
    assert table.shape == (3, 3, 4)
    for i in range(3):
        for j in range(3):
            torch.testing.assert_close(
                table[i, j], rank_correlation(maps[i], maps[j]), rtol=0, atol=1e-6, equal_nan=True
            )
