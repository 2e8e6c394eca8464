"""The benchmark's ruler by hand: differences in dB, cells, three truths, readings of signed maps, and intervals over
networks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from speechxai.errors import SpeechXAIError
from speechxai.metrics.maps import detection_auc, mass_share, rank_share, strongest_share
from speechxai.planted import ruler
from speechxai.planted.ruler import CHOICES, RESOLUTIONS, RULER, difference_db, inside, measure, pooled, read
from speechxai.planted.task import auc_within, judged, permuted_labels
from speechxai.stats import network_interval, network_means
from speechxai.types import StftConfig

STFT = StftConfig()
NAN = float("nan")


def tone(hz: float, level: float, n: int = 16_000) -> torch.Tensor:
    return level * torch.sin(2 * torch.pi * hz * torch.arange(n) / 16_000)


def test_a_difference_is_in_db_with_a_sign_and_free_of_the_common_gain() -> None:
    voice = tone(1000, 0.5)
    louder, softer = 2 * voice, voice / 2
    row = 64  # 1000 Hz of bins of 15.625 Hz
    up, down = difference_db(louder, voice, STFT), difference_db(softer, voice, STFT)
    middle = slice(20, 60)
    torch.testing.assert_close(up[row, middle], torch.full((40,), 20 * math.log10(2)))
    torch.testing.assert_close(down[row, middle], torch.full((40,), -20 * math.log10(2)))
    # what is 60 dB under the loudest bin of either twin is no difference
    assert (up[400:, middle] == 0).all()
    hiss = tone(6000, 0.5 * 10 ** (-70 / 20))
    assert float(difference_db(voice + hiss, voice, STFT)[384, middle].abs().max()) < 0.5
    loud_hiss = tone(6000, 0.5 * 10 ** (-40 / 20))
    # raised from the floor of -60 dB to -40 dB
    assert float(difference_db(voice + loud_hiss, voice, STFT)[384, middle].mean()) == pytest.approx(20, abs=0.5)
    gained = difference_db(0.07 * (voice + loud_hiss), 0.07 * voice, STFT)
    torch.testing.assert_close(gained, difference_db(voice + loud_hiss, voice, STFT), atol=1e-3, rtol=0)
    assert (difference_db(torch.zeros(4000), torch.zeros(4000), STFT) == 0).all()
    with pytest.raises(
        SpeechXAIError, match=(r"^Twins must have one shape \(N,\)\. Got \(16000,\) and \(15999,\) instead\.$")
    ):
        difference_db(voice, voice[:-1], STFT)


def test_cells_are_means_and_edges_are_smaller() -> None:
    values = torch.arange(15.0).reshape(3, 5)
    # rows 0-1 and 2; columns 0-1, 2-3, 4
    expected = torch.tensor([[(0 + 1 + 5 + 6) / 4, (2 + 3 + 7 + 8) / 4, (4 + 9) / 2], [10.5, 12.5, 14.0]])
    torch.testing.assert_close(pooled(values, (2, 2)), expected)
    torch.testing.assert_close(pooled(values, (1, 1)), values)
    # 15.625 Hz and 11.625 ms: 80 Hz are 5 bins, 35 ms 3 frames; 250 x 50: 16 x 4; 500 x 100: 32 x 9
    assert [each.cells(STFT) for each in RESOLUTIONS] == [(1, 1), (5, 3), (16, 4), (32, 9)]


def test_three_truths_of_one_difference() -> None:
    difference = torch.tensor([[3.0, 2.9, -3.0], [6.0, -7.0, 0.0]])
    assert inside(difference, "added", 3).tolist() == [[True, False, False], [True, False, False]]
    assert inside(difference, "removed", 3).tolist() == [[False, False, True], [False, True, False]]
    assert inside(difference, "both", 3).tolist() == [[True, False, True], [True, True, False]]
    assert inside(difference, "removed", 6).sum() == 1


def test_signed_maps_are_pooled_with_their_sign() -> None:
    values = torch.tensor([[[2.0, -1.0], [-4.0, 1.0]]])
    assert read(values, "positive", (1, 1)).tolist() == [[[2, 0], [0, 1]]]
    assert read(values, "negative", (1, 1)).tolist() == [[[0, 1], [4, 0]]]
    assert read(values, "absolute", (1, 1)).tolist() == [[[2, 1], [4, 1]]]
    # the mean of the four is -0.5
    assert read(values, "positive", (2, 2)).item() == 0
    assert read(values, "negative", (2, 2)).item() == 0.5
    assert read(values, "absolute", (2, 2)).item() == 2


def test_scores_average_over_the_orders_of_ties() -> None:
    members = torch.tensor([[True, True], [False, False]])
    evidence = torch.tensor([[[4.0, 1], [2, 0]], [[3.0, 3], [3, 0]], [[0.0, 0], [0, 0]]])
    # K = 2: 4 and 2, one inside; two of three tied, two of which are inside: 2 * (2 / 3) / 2; two of four: 1 / 2
    assert rank_share(evidence, members).tolist() == pytest.approx([1 / 2, 2 / 3, 1 / 2])
    assert mass_share(evidence[:2], members).tolist() == pytest.approx([5 / 7, 6 / 9])
    assert strongest_share(evidence, members).tolist() == pytest.approx([1, 2 / 3, 1 / 2])
    # 2 x 2 pairs: 4 beats both, 1 beats 0; 3 ties 3 and beats 0, twice; all tie
    assert detection_auc(evidence, members).tolist() == pytest.approx([3 / 4, 3 / 4, 1 / 2])
    assert math.isnan(rank_share(evidence[:1], torch.zeros(2, 2, dtype=torch.bool)).item())


def test_pointing_tolerates_a_quarter_of_a_kilohertz_and_50_ms() -> None:
    truth = torch.zeros(40, 20, dtype=torch.bool)
    truth[20, 10] = True
    near = ruler.tolerated(truth, RESOLUTIONS[0], STFT)
    rows, columns = near.nonzero(as_tuple=True)
    # 250 / 15.625 = 16 bins; 0.05 / 0.011625 = 4.3 frames
    assert (int(rows.min()), int(rows.max())) == (4, 36)
    assert (int(columns.min()), int(columns.max())) == (6, 14)
    assert ruler.tolerated(truth, RESOLUTIONS[3], STFT).sum() == 1


def test_every_choice_reads_the_twin_where_the_energy_stands() -> None:
    assert len(RULER) == 16, "two signs, two thresholds, four resolutions"
    with_cue = [name for name, choice in CHOICES.items() if ruler.on_twin_with_cue(choice)]
    assert "added, 3 dB, 1 bin" in with_cue
    assert "removed, 3 dB, 1 bin" not in with_cue
    assert "removed, 3 dB, 1 bin, negative" in with_cue
    difference = torch.zeros(513, 174)
    difference[100:200, 50:90] = 10
    difference[300:420, 50:90] = -10
    pointing = torch.zeros(513, 174)
    pointing[100:200, 50:90] = 1
    pointing[300:420, 50:90] = -1
    found, areas = measure({"signed": (pointing, True), "unsigned": (pointing.abs(), False)}, difference, STFT, True)
    assert areas["added, 3 dB, 1 bin"] == pytest.approx(4000 / (513 * 174))
    assert found["signed"]["relevance_rank | added, 3 dB, 1 bin"] == 1
    assert found["signed"]["relevance_mass | added, 3 dB, 1 bin"] == 1
    assert found["signed"]["relevance_rank | removed, 3 dB, 1 bin, negative"] == 1
    # 8800 bins tie as the strongest, 4000 are inside
    assert found["unsigned"]["relevance_rank | added, 3 dB, 1 bin"] == pytest.approx(4000 / 8800)
    assert found["signed"]["relevance_rank | added, 3 dB, 1 bin, absolute"] == pytest.approx(4000 / 8800)
    assert found["signed"]["relevance_rank | both, 3 dB, 1 bin, absolute"] == 1
    assert "relevance_rank | removed, 3 dB, 1 bin" not in found["signed"]
    other, _ = measure({"signed": (-pointing, True)}, difference, STFT, False)
    assert other["signed"]["relevance_rank | removed, 3 dB, 1 bin"] == 1
    for with_cue in (True, False):
        assert set(ruler.measure_truth(difference, STFT, with_cue).values()) == {1.0}
    nothing = torch.zeros(513, 174)
    nothing[0, :2] = 10  # two bins
    assert measure({"signed": (pointing, True)}, nothing, STFT, True)[0]["signed"] == {}
    # a map without evidence scores what chance does, and has no mass
    empty, _ = measure({"empty": (torch.zeros(513, 174), False)}, difference, STFT, True)
    assert empty["empty"]["relevance_rank | added, 3 dB, 1 bin"] == pytest.approx(4000 / (513 * 174))
    assert empty["empty"]["localization_auc | added, 3 dB, 1 bin"] == 0.5
    assert math.isnan(empty["empty"]["relevance_mass | added, 3 dB, 1 bin"])


def test_an_area_within_folds_knows_no_common_scale() -> None:
    values = np.array([0.0, 1.0, 10.0, 11.0])
    labels, folds = np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])
    assert auc_within(values, labels, folds) == 1
    assert auc_within(-values, labels, folds) == 0
    assert auc_within(values, labels, np.array([0, 0, 0, 1])) == 0.5  # 1 above 0 and under 10; the other fold has one


@pytest.mark.parametrize(
    ("area", "twins", "verdict"),
    [
        (0.9, 0.5, "learned"),
        (0.899, 0.95, "learned as a contrast"),
        (0.899, 0.949, ""),
        (NAN, 0.99, "learned as a contrast"),
    ],
)
def test_what_counts_as_learned(area: float, twins: float, verdict: str) -> None:
    assert judged(area, twins) == verdict


def test_permuted_labels_know_nothing_of_the_old_ones() -> None:
    labels = [0] * 10 + [1] * 10
    for seed in range(5):
        dealt = permuted_labels(labels, seed)
        assert sum(a == b for a, b in zip(labels, dealt, strict=True)) == 10
        assert sum(dealt[:10]) == sum(dealt[10:]) == 5
    assert permuted_labels(labels, 0) != permuted_labels(labels, 1)


def test_an_interval_over_networks_by_hand() -> None:
    values = np.array([[1.0], [2.0], [3.0]])
    names = ["a", "b", "c"]
    mean, low, high = network_interval(values, names, ["x", "y", "z"], names)
    reach = 4.302653 / math.sqrt(3)  # t(.975, 2) s / sqrt(n), s = 1
    assert (mean[0], low[0], high[0]) == pytest.approx((2, 2 - reach, 2 + reach))
    # a network's speakers count once each, whatever the number of recordings
    more = np.array([[0.0], [2.0], [2.0], [2.0], [3.0]])
    means, order = network_means(more, ["a", "a", "a", "b", "c"], ["x", "w", "w", "y", "z"])
    assert order.tolist() == names
    assert means[:, 0].tolist() == [1, 2, 3]
    again = network_interval(more, ["a", "a", "a", "b", "c"], ["x", "w", "w", "y", "z"], ["a", "a", "a", "b", "c"])
    assert (again[0][0], again[1][0]) == pytest.approx((2, 2 - reach))
    # networks of one seed that are alike: six networks, three seeds, and the seeds' means are 1, 2, 3
    alike = np.repeat(values, 2, axis=0)
    six = network_interval(alike, list("abcdef"), list("uvwxyz"), [1, 1, 2, 2, 3, 3])
    assert (six[0][0], six[1][0]) == pytest.approx((2, 2 - reach))
    # as if they had nothing in common it would be t(.975, 5) .894 / sqrt(6)
    apart = network_interval(alike, list("abcdef"), list("uvwxyz"), [1, 1, 1, 1, 1, 1])
    assert apart[1][0] == pytest.approx(2 - 2.570582 * math.sqrt(0.8) / math.sqrt(6))
    # one speaker heard by all networks: no interval over speakers can be drawn
    assert math.isnan(network_interval(values, names, ["x"] * 3, names)[1][0])
    gap = np.array([[1.0], [NAN], [3.0]])
    mean, low, _ = network_interval(gap, names, ["x", "y", "z"], names)
    assert mean[0] == 2
    assert math.isnan(low[0])
    with pytest.raises(SpeechXAIError):
        network_interval(values, ["a"], ["x"], ["s"])
