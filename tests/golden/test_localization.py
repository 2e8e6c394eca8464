"""Localization metrics on maps small enough to score by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from speechxai.errors import SpeechXAIError
from speechxai.metrics import LOCALIZATION_METRICS, METRICS, Case
from speechxai.types import Attribution, Spectrogram, StftConfig

STFT = StftConfig(n_fft=4, win_length=4, hop_length=2)
NAN = math.nan


def case_of(maps: Tensor, truth: Tensor | None) -> Case:
    spec = Spectrogram(torch.ones_like(maps), torch.zeros_like(maps), 2 * (maps.shape[-1] - 1), STFT)
    return Case(
        nn.Identity(), spec, Attribution(maps, torch.ones(len(maps), dtype=torch.int64), "by_hand"), truth=truth
    )


# Truth: bins a, b of the six bins a b / c d / e f.
TRUTH = torch.tensor([[1.0, 1], [0, 0], [0, 0]])
MAPS = torch.tensor(
    [
        [[4.0, 1], [2, 0], [1, 0]],
        [[0.0, 1], [4, 3], [0, 0]],
        [[1.0, 1], [0, 0], [0, 0]],
        [[2.0, 0], [2, 0], [2, 0]],
        [[0.0, 0], [0, 0], [0, 0]],
    ]
)
GOLDEN = {
    # (4 + 1) / 8; 1 / 8; all; 2 / 6; none
    "relevance_mass": [5 / 8, 1 / 8, 1, 1 / 3, NAN],
    # K = 2. Strongest two: a c; c d; a b; two of the tied a c e, of which a third is inside
    "relevance_rank": [1 / 2, 0, 1, 1 / 3, NAN],
    # strongest bin: a; c; a and b, both inside; a, c and e, one of three inside
    "pointing_game": [1, 0, 1, 1 / 3, NAN],
    # 2 bins inside x 4 outside. a=4 beats all 4; b=1 beats d f, loses to c, ties e: (4 + 2.5) / 8
    # a=0 ties e f, loses to c d: 1; b=1 beats e f: 2: 3 / 8.  1.  a=2 beats d f, ties c e: 3; b=0 ties d f: 1: 4 / 8
    "localization_auc": [6.5 / 8, 3 / 8, 1, 4 / 8, NAN],
}


@pytest.mark.parametrize("name", LOCALIZATION_METRICS)
def test_by_hand(name: str) -> None:
    value = METRICS[name](case_of(MAPS, TRUTH.expand(5, -1, -1)))
    torch.testing.assert_close(value, torch.tensor(GOLDEN[name]), equal_nan=True)


def test_every_localization_metric_has_a_golden_value() -> None:
    assert set(GOLDEN) == {name for name in METRICS if METRICS.facts(name).get("needs") == "truth"}


@pytest.mark.parametrize("name", LOCALIZATION_METRICS)
@pytest.mark.parametrize("area", [0.02, 0.3, 0.9])
def test_the_truth_scores_one_and_chance_scores_its_share(name: str, area: float) -> None:
    generator = torch.Generator().manual_seed(1)
    truth = (torch.rand(64, 3, 100, generator=generator) < area).float()
    truth[:, 0, 0] = 1  # never without a bin
    own = METRICS[name](case_of(truth, truth))
    assert (own == 1).all()
    noise = METRICS[name](case_of(torch.rand(64, 3, 100, generator=generator), truth))
    expected = 0.5 if name == "localization_auc" else float(truth.mean())
    assert float(noise.mean()) == pytest.approx(expected, abs=4 * float(noise.std()) / 8 + 1e-3)
    # and a map that says the opposite is worse than chance
    assert float(METRICS[name](case_of(1 - truth, truth)).mean()) < expected


@pytest.mark.parametrize("name", LOCALIZATION_METRICS)
def test_a_truth_without_bins_is_undefined(name: str) -> None:
    assert torch.isnan(METRICS[name](case_of(MAPS[:1], torch.zeros(1, 3, 2)))).all()


def test_a_truth_is_needed_and_must_fit() -> None:
    with pytest.raises(
        SpeechXAIError, match=(r"^A localization metric needs a ground-truth map, and this recording has none\.$")
    ):
        METRICS["relevance_mass"](case_of(MAPS, None))
    with pytest.raises(
        SpeechXAIError, match=(r"^The ground-truth map has shape \(1, 3, 2\), the evidence \(5, 3, 2\)\.$")
    ):
        METRICS["relevance_mass"](case_of(MAPS, TRUTH[None]))
