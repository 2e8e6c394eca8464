"""Agreement of two maps, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from speechxai.errors import SpeechXAIError
from speechxai.explain.agreement import (
    average_ranks,
    iou,
    likeness,
    overlap,
    rank_correlation,
    strongest,
    strongest_first,
    strongest_share,
    top_bins,
)


def one(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).reshape(1, 1, -1)


def test_iou_thresholds_each_map_by_its_own_maximum() -> None:
    # a: threshold .4 * 10 = 4 -> bins 0 1; b: .4 * 1 = .4 -> bins 1 2; common 1 of 3
    assert iou(one(10, 4, 3, 0), one(0.1, 1, 0.4, 0)).item() == pytest.approx(1 / 3)
    # thresholding b by a's maximum would leave b empty
    assert iou(one(10, 0, 0, 0), one(1, 0, 0, 0)).item() == 1.0


def test_iou_of_maps_without_evidence() -> None:
    assert math.isnan(iou(one(0, 0), one(0, 0)).item())
    assert iou(one(0, 0), one(1, 0)).item() == 0.0


def test_rank_correlation_by_hand() -> None:
    # ranks 1 2 3 4 against 2 1 4 3: 1 - 6 * (1 + 1 + 1 + 1) / (4 * 15) = .6
    assert rank_correlation(one(1, 5, 7, 100), one(2, 1, 9, 8)).item() == pytest.approx(0.6)
    # ties: a has ranks 1.5 1.5 3, b 1 2 3: deviations (-.5 -.5 1), (-1 0 1): 1.5 / sqrt(1.5 * 2) = .8660
    assert rank_correlation(one(0, 0, 5), one(1, 2, 3)).item() == pytest.approx(math.sqrt(3) / 2)
    assert rank_correlation(one(1, 2, 3), one(3, 2, 1)).item() == pytest.approx(-1)
    assert math.isnan(rank_correlation(one(1, 1, 1), one(1, 2, 3)).item())


def test_negative_zero_is_zero() -> None:
    assert average_ranks(torch.tensor([[-0.0, 0.0, 1.0]])).tolist() == [[1.5, 1.5, 3.0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ranks_are_those_of_scipy(dtype: torch.dtype) -> None:
    rankdata = pytest.importorskip("scipy.stats").rankdata
    draw = torch.Generator().manual_seed(0)
    signed = torch.randn(500, generator=draw)
    infinite = torch.tensor([-math.inf, 3.0, math.inf, -1e-45, 1e-45, 0.0, -0.0, -3.0])
    for row in (signed, signed.round(decimals=1), signed.clamp(min=0), infinite):
        row = row.to(dtype)
        assert average_ranks(row[None])[0].tolist() == rankdata(row.numpy()).tolist()


def test_overlap_by_hand() -> None:
    # k is 2 of four bins: {0 1} and {1 2}: one common of two
    assert overlap(one(4, 3, 2, 1), one(0.5, 4, 3, 1), q=0.5).item() == 0.5
    assert overlap(one(4, 3, 2, 1), one(1, 2, 3, 4), q=0.5).item() == 0.0
    # a fifth of ten bins is two, by default
    first, second = one(9, 8, *[1] * 8), one(1, 8, 9, *[1] * 7)
    assert overlap(first, second).item() == 0.5
    assert overlap(first, first).item() == 1.0


def test_bins_without_evidence_are_never_among_the_strongest() -> None:
    # k is 2, and the second map has evidence in one bin: it names that one, and reaches 1 / 2 at most
    few = one(0, 7, 0, 0)
    assert strongest(few, q=0.5).flatten().tolist() == [False, True, False, False]
    assert overlap(few, few, q=0.5).item() == 0.5
    assert overlap(one(4, 3, 2, 1), few, q=0.5).item() == 0.5
    assert strongest_share(torch.cat([one(4, 3, 2, 1), few]), q=0.5).tolist() == [0.5, 0.25]
    assert overlap(one(0, 0), one(1, 2), q=0.5).item() == 0.0
    assert math.isnan(overlap(one(0, 0), one(0, 0), q=0.5).item())


@pytest.mark.parametrize(
    ("n", "q", "k"),
    [(8, 0.2, 2), (7, 0.2, 1), (5, 0.5, 3), (10, 0.04, 1), (3, 1.0, 3)],  # 1.6, 1.4, 2.5 (half up), 0.4 (at least 1), 3
)
def test_a_share_of_the_bins_is_rounded_half_up(n: int, q: float, k: int) -> None:
    values = one(*range(1, n + 1))
    wanted = [False] * (n - k) + [True] * k
    assert strongest(values, q).flatten().tolist() == wanted
    assert top_bins(values, q).flatten().tolist() == wanted


def test_ties_are_cut_at_k() -> None:
    assert int(strongest(torch.ones(1, 10, 10)).sum()) == 20


def test_two_unrelated_maps_overlap_by_a_fifth() -> None:
    maps = torch.rand(2, 1, 100, 100, generator=torch.Generator().manual_seed(0))
    # mean .2; standard deviation sqrt(.2 * .8 * .8 / 2000) = .008
    assert overlap(maps[0], maps[1]).item() == pytest.approx(0.2, abs=0.03)


def test_overlap_in_a_word() -> None:
    assert [likeness(x) for x in (0.2, 0.299, 0.3, 0.399, 0.4)] == ["disagree", "disagree", "partly", "partly", "agree"]


def test_strongest_first_is_a_permutation_that_never_prefers_a_weaker_bin() -> None:
    ranks = strongest_first(one(0, 3, 1, 2, 0, 0))
    assert ranks.flatten()[[1, 3, 2]].tolist() == [0, 1, 2]
    assert sorted(ranks.flatten().tolist()) == [0, 1, 2, 3, 4, 5]


def test_strongest_first_breaks_ties_without_preferring_low_frequencies() -> None:
    ranks = strongest_first(torch.zeros(1, 513, 100))
    half = ranks < 513 * 50
    # of the 25 650 first bins, a fair draw has half below bin 256: 12 800 +- 80; low bins first would give all
    assert 12_400 < int(half[0, :256].sum()) < 13_200


@pytest.mark.parametrize("q", [0.0, 1.5, -1.0])
def test_a_share_outside_0_1_is_refused(q: float) -> None:
    with pytest.raises(SpeechXAIError, match="'q' parameter"):
        overlap(one(1, 2), one(1, 2), q=q)


def test_shapes_must_agree() -> None:
    with pytest.raises(
        SpeechXAIError,
        match=(r"^Agreement needs two maps of one shape \(B, F, T\)\. Got \(1, 1, 2\) and \(1, 1, 3\)\.$"),
    ):
        iou(one(1, 2), one(1, 2, 3))
