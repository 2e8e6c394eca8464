"""Every defect of the published code, by hand, beside the corrected definition, so that tests show where they
differ."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from speechxai.errors import SpeechXAIError
from speechxai.explain.agreement import iou
from speechxai.explain.combination import evidence
from speechxai.mancini2025.maps import (
    PUBLISHED_DEFINITIONS,
    PosteriorLogits,
    published_evidence,
    published_iou,
    published_running_means,
    score_published,
)
from speechxai.metrics import METRICS, PUBLISHED_METRICS, Case
from speechxai.types import Attribution, Spectrogram, StftConfig

TINY = StftConfig(n_fft=2, win_length=2, hop_length=1)
LN2 = math.log(2)


class Linear(nn.Module):
    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        z = (magnitude * torch.tensor([[2 * LN2, -LN2], [0.0, 0.0]])).sum(dim=(1, 2))
        return torch.stack([torch.zeros_like(z), z], dim=1)


@pytest.fixture
def case() -> Case:
    # z = 2 ln 2 a - ln 2 b for the first row a b of a recording
    # 0: a b = 1 0, E = 1 0: P(PD) 4/5, kept 4/5, removed 1/2          predicted PD
    # 1: a b = 1 4, E = 0 1: z = -2 ln 2: 1/5, kept -4 ln 2: 1/17, removed 2 ln 2: 4/5   predicted HC
    # 2: a b = 1 4, E = 1 0: 1/5, kept 2 ln 2: 4/5, removed -4 ln 2: 1/17               predicted HC
    magnitude = torch.tensor([[[1.0, 0], [0, 0]], [[1.0, 4], [0, 0]], [[1.0, 4], [0, 0]]])
    mask = torch.tensor([[[1.0, 0], [0, 0]], [[0.0, 1], [0, 0]], [[1.0, 0], [0, 0]]])
    spec = Spectrogram(magnitude, torch.zeros_like(magnitude), 1, TINY)
    return Case(Linear(), spec, Attribution(mask, torch.tensor([1, 0, 0]), "by_hand"))


GOLDEN = {
    # name: (published on P(PD), corrected on the explained class)
    # explained class: p 4/5 4/5 4/5, kept 4/5 16/17 1/5
    "average_increase": ([0, 0, 1], [0, 1, 0]),
    # published: (1/5 - 1/17) / (1/5) = 12/17 for the map that helps, 0 for the one that hurts; corrected: (4/5 - 1/5) /
    # (4/5)
    "average_drop": ([0, 12 / 17, 0], [0, 0, 3 / 4]),
    # published: (4/5 - 1/5) / (4/5); corrected: (16/17 - 4/5) / (1/5) = 12/17
    "average_gain": ([0, 0, 3 / 4], [0, 12 / 17, 0]),
    # kept classes PD HC PD against originals PD HC HC; published: how many of the three originals share the kept class
    "input_fidelity": ([1, 2, 1], [1, 1, 0]),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_published_and_corrected(name: str, case: Case) -> None:
    published, corrected = GOLDEN[name]
    got = PUBLISHED_DEFINITIONS[name](case)
    torch.testing.assert_close(got, torch.tensor(published).float(), atol=1e-6, rtol=0)
    torch.testing.assert_close(METRICS[name](case), torch.tensor(corrected).float(), atol=1e-6, rtol=0)
    assert not torch.allclose(got, METRICS[name](case))


def test_faithfulness_is_that_of_the_predicted_class_in_both(case: Case) -> None:
    # 4/5 - 1/2; removed P(HC) = 1/5: 4/5 - 1/5; removed P(HC) = 16/17: 4/5 - 16/17
    expected = torch.tensor([0.3, 0.6, -12 / 85])
    torch.testing.assert_close(PUBLISHED_DEFINITIONS["faithfulness"](case), expected, atol=1e-6, rtol=0)


def test_all_seven_published_metrics_have_a_published_definition(case: Case) -> None:
    assert tuple(PUBLISHED_DEFINITIONS) == PUBLISHED_METRICS
    values = score_published(case)
    # the raw count and, beside it, the corrected value
    assert list(values) == [*PUBLISHED_METRICS, "input_fidelity_corrected"]
    torch.testing.assert_close(values["input_fidelity_corrected"], torch.tensor([1.0, 1, 0]))


def test_raw_fidelity_depends_on_the_batch(case: Case) -> None:
    alone = Case(
        Linear(),
        Spectrogram(case.spec.magnitude[:1], case.spec.phase[:1], 1, TINY),
        Attribution(case.attribution.values[:1], case.target[:1], "by_hand"),
    )
    assert PUBLISHED_DEFINITIONS["input_fidelity"](alone).tolist() == [1]


def test_maximum_over_the_batch() -> None:
    values = torch.tensor([[[4.0, -2.0]], [[1.0, 0.5]]])
    assert published_evidence(values).tolist() == [[[1, 0.5]], [[0.25, 0.125]]]
    assert evidence(values, "absolute").tolist() == [[[1, 0.5]], [[1, 0.5]]]


def test_second_map_thresholded_by_the_first_maps_maximum() -> None:
    first, second = torch.tensor([[[10.0, 5.0, 0.0]]]), torch.tensor([[[0.0, 1.0, 1.0]]])
    # threshold 4 leaves nothing of the second map: 0 of 2; by its own maximum it holds bins 1 2: 1 of 3
    assert published_iou(first, second).tolist() == [0]
    assert iou(first, second).item() == pytest.approx(1 / 3)
    # a second map of larger scale passes almost whole: {0 1} against {0 1 2}: 2 of 3; by its own maximum {0}: 1 of 2
    second = torch.tensor([[[100.0, 5.0, 4.0]]])
    assert published_iou(first, second).item() == pytest.approx(2 / 3)
    assert iou(first, second).item() == pytest.approx(1 / 2)


def test_running_means() -> None:
    # pair 1 has .2 .4, pair 2 has .9 .9: the store still holds pair 1, so pair 2 is printed as (.2 + .4 + .9 + .9) / 4
    # = .6
    assert published_running_means({"a | b": [0.2, 0.4], "a | c": [0.9, 0.9]}) == pytest.approx(
        {"a | b": 0.3, "a | c": 0.6}
    )


def test_post_sigmoid_is_what_is_explained() -> None:
    magnitude = torch.tensor([[[1.0, 0], [0, 0]]], requires_grad=True)
    output = PosteriorLogits(Linear())(magnitude, torch.zeros(1, 2, 2))
    # P(PD) = 4/5; its gradient is p (1 - p) w = 4/25 * 2 ln 2 in the first bin
    torch.testing.assert_close(output, torch.tensor([[0.2, 0.8]]))
    gradient = torch.autograd.grad(output[0, 1], magnitude)[0]
    assert gradient[0, 0, 0].item() == pytest.approx(0.16 * 2 * LN2)


def test_more_than_two_classes_are_refused() -> None:
    with pytest.raises(SpeechXAIError, match=r"^The 'mancini2025' protocol is for two classes\. This network has 3\.$"):
        PosteriorLogits(lambda m, p: torch.zeros(1, 3))(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2))  # type: ignore[arg-type]


def test_protocol_options_are_options_that_the_methods_take() -> None:
    from speechxai.explain.explain import check_options
    from speechxai.mancini2025.maps import PROTOCOL_OPTIONS

    check_options(PROTOCOL_OPTIONS)
