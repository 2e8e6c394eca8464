"""Metrics on a classifier and maps small enough to score by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from speechxai.metrics import METRICS, Case, score
from speechxai.metrics import case as case_module
from speechxai.metrics.case import from_neighbors, matched_noise
from speechxai.types import Attribution, Spectrogram, StftConfig

TINY = StftConfig(n_fft=2, win_length=2, hop_length=1)
LN2, LN3 = math.log(2), math.log(3)


class Linear(nn.Module):
    """Logits (0, sum of weight * magnitude): the probability of class 1 is that sum's sigmoid."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        z = (magnitude * self.weight).sum(dim=(1, 2))
        return torch.stack([torch.zeros_like(z), z], dim=1)


def make_spec(magnitude: Tensor) -> Spectrogram:
    return Spectrogram(magnitude, torch.zeros_like(magnitude), magnitude.shape[-1] - 1, TINY)


def make_case(weight: Tensor, magnitude: Tensor, mask: Tensor, target: list[int], **options: object) -> Case:
    attribution = Attribution(mask, torch.tensor(target), "by_hand")
    return Case(Linear(weight), make_spec(magnitude), attribution, **options)  # type: ignore[arg-type]


# Weights w = [[ln 4, ln 9], [-ln 2, 0]]. Six recordings:
# 0: x = 1 1 / 1 0  E = 1 .5 / 0 0   z = ln 18   kept ln 12   removed ln 3 - ln 2 = ln 1.5
# 1: x = 1 1 / 1 0  E = 1 1 / 0 0    z = ln 18   kept ln 36   removed -ln 2
# 2: x = 0 0 / 3 1  E = 0 0 / 1/3 1  z = -3 ln 2 kept -ln 2   removed -2 ln 2      explained class 0
# 3: x = 1 0 / 1 0  E = 0 0 / 1 0    z = ln 2    kept -ln 2   removed ln 4
# 4: as 0, E = 0: kept is silence, z = 0; removed is the original
# 5: as 0, E = 1: kept is the original, and an equal probability is no increase; removed is silence
W = torch.tensor([[2 * LN2, 2 * LN3], [-LN2, 0.0]])
X = torch.tensor(
    [
        [[1.0, 1], [1, 0]],
        [[1.0, 1], [1, 0]],
        [[0.0, 0], [3, 1]],
        [[1.0, 0], [1, 0]],
        [[1.0, 1], [1, 0]],
        [[1.0, 1], [1, 0]],
    ]
)
E = torch.tensor(
    [
        [[1.0, 0.5], [0, 0]],
        [[1.0, 1], [0, 0]],
        [[0.0, 0], [1 / 3, 1]],
        [[0.0, 0], [1, 0]],
        [[0.0, 0], [0, 0]],
        [[1.0, 1], [1, 1]],
    ]
)
TARGET = [1, 1, 0, 1, 1, 1]
NAN = float("nan")
GOLDEN = {
    # p        18/19  18/19  8/9  2/3  18/19  18/19
    # p_kept   12/13  36/37  2/3  1/3  1/2    18/19
    # p_rem    3/5    1/3    4/5  4/5  18/19  1/2
    "average_increase": [0, 1, 0, 0, 0, 0],
    # 1 - 12/13 * 19/18 = 1/39; -; 1 - 2/3 * 9/8 = 1/4; 1 - 1/2; 1 - 19/36 = 17/36
    "average_drop": [1 / 39, 0, 1 / 4, 1 / 2, 17 / 36, 0],
    # (36/37 - 18/19) / (1/19) = 18/37
    "average_gain": [0, 18 / 37, 0, 0, 0, 0],
    # 18/19 - 3/5 = 33/95; 18/19 - 1/3 = 35/57; 8/9 - 4/5 = 4/45; 2/3 - 4/5 = -2/15; 0; 18/19 - 1/2 = 17/38
    "faithfulness": [33 / 95, 35 / 57, 4 / 45, -2 / 15, 0, 17 / 38],
    # margins of the explained class: ln 18 - ln 1.5; ln 18 + ln 2; 3 ln 2 - 2 ln 2; ln 2 - ln 4; 0; ln 18 - 0
    "faithfulness:margin": [math.log(12), math.log(36), LN2, -LN2, 0, math.log(18)],
    # classes kept 1 1 0 0 and silence, whose tie goes to class 0; originals 1 1 0 1 1
    "input_fidelity": [1, 1, 1, 0, 0, 1],
    # sorted 0 0 .5 1 with 2 i - n - 1 = -3 -1 1 3: 3.5 / (4 * 1.5) = 7/12; 0 0 1 1: 4 / 8; 0 0 1/3 1: (10/3) / (16/3);
    # 0 0 0 1: 3/4
    "sparseness": [7 / 12, 1 / 2, 5 / 8, 3 / 4, NAN, 0],
    # shares 2/3 1/3: ln 3 - 2/3 ln 2; 1/2 1/2; 1/4 3/4: 2 ln 2 - 3/4 ln 3; 1
    "complexity": [LN3 - 2 / 3 * LN2, LN2, 2 * LN2 - 0.75 * LN3, 0, NAN, 2 * LN2],
    "mean_mask": [1.5 / 4, 1 / 2, 1 / 3, 1 / 4, 0, 1],
}


@pytest.mark.parametrize("name", GOLDEN)
def test_by_hand(name: str) -> None:
    value = METRICS[name](make_case(W, X, E, TARGET))
    torch.testing.assert_close(value, torch.tensor(GOLDEN[name]).float(), atol=2e-6, rtol=0, equal_nan=True)


def test_certain_classifier() -> None:
    """p = 1 leaves nothing to gain, p = 0 nothing to drop: both are 0 and not NaN."""
    magnitude, mask = torch.ones(2, 2, 2), torch.tensor([[[1.0, 0], [0, 0]]] * 2)
    case = make_case(torch.full((2, 2), 500.0), magnitude, mask, [1, 0])
    assert case.p.tolist() == [1, 0]
    assert METRICS["average_gain"](case).tolist() == [0, 0]
    assert METRICS["average_drop"](case).tolist() == [0, 0]


def test_deletion_and_insertion_by_hand() -> None:
    # 20 bins, so a step is a bin. Only bin k counts, with ln 3: p = 3/4 with it and 1/2 without.
    mask = torch.arange(20, 0, -1).reshape(1, 2, 10) / 20.0
    magnitude = torch.ones(1, 2, 10)
    for k, deletion, insertion in [
        # k = 0: deleted .75 .5 ...: (.375 + 19 * .5 + .25) / 20; inserted .5 .75 ...: (.25 + 19 * .75 + .375) / 20
        (0, 10.125 / 20, 14.875 / 20),
        # k = 1: deleted .75 .75 .5 ...: (.375 + .75 + 18 * .5 + .25) / 20; inserted .5 .5 .75 ...
        (1, 10.375 / 20, 14.625 / 20),
        # k = 19: deleted .75 but for the end .5; inserted .5 but for the end .75
        (19, (0.375 + 19 * 0.75 + 0.25) / 20, (0.25 + 19 * 0.5 + 0.375) / 20),
    ]:
        weight = torch.zeros(20)
        weight[k] = LN3
        case = make_case(weight.reshape(2, 10), magnitude, mask, [1])
        assert METRICS["deletion_auc"](case).item() == pytest.approx(deletion, abs=1e-6)
        assert METRICS["insertion_auc"](case).item() == pytest.approx(insertion, abs=1e-6)
        # the margin is ln 3 with bin k and 0 without: deleted ln 3 up to k, inserted ln 3 after it, half a step between
        assert METRICS["deletion_auc:margin"](case).item() == pytest.approx((k + 0.5) * LN3 / 20, abs=1e-6)
        assert METRICS["insertion_auc:margin"](case).item() == pytest.approx((19.5 - k) * LN3 / 20, abs=1e-6)


def test_hard_masks_by_hand() -> None:
    # 100 bins; the first of the top 1 %, 5 %, 10 % and 20 % each hold ln 2, so p = 16/17
    weight = torch.zeros(100)
    weight[[0, 4, 9, 19]] = LN2
    mask = torch.arange(100, 0, -1).reshape(1, 2, 50) / 100.0
    case = make_case(weight.reshape(2, 50), torch.ones(1, 2, 50), mask, [1])
    expected = {
        "comprehensiveness@1": 16 / 17 - 8 / 9,
        "comprehensiveness@5": 16 / 17 - 4 / 5,
        "comprehensiveness@10": 16 / 17 - 2 / 3,
        "comprehensiveness@20": 16 / 17 - 1 / 2,
        "sufficiency@1": 16 / 17 - 2 / 3,
        "sufficiency@5": 16 / 17 - 4 / 5,
        "sufficiency@10": 16 / 17 - 8 / 9,
        "sufficiency@20": 0.0,
        # the whole has a margin of 4 ln 2, every share one ln 2 more
        **{f"comprehensiveness@{share}:margin": (n + 1) * LN2 for n, share in enumerate((1, 5, 10, 20))},
        **{f"sufficiency@{share}:margin": (3 - n) * LN2 for n, share in enumerate((1, 5, 10, 20))},
    }
    got = score(case, list(expected))
    assert {name: value.item() for name, value in got.items()} == pytest.approx(expected, abs=1e-6)


def test_neighbors_fill_by_hand() -> None:
    """Near is one frame, far are four: between 1 and 16 the nearest says 1 and 16, and in the middle both do."""
    grid = SimpleNamespace(bin_hz=250.0, frame_rate_hz=20.0)
    magnitude = torch.tensor([[[1.0, 2, 4, 8, 16]]])
    keep = torch.tensor([[[1.0, 0, 0, 0, 1]]])
    filled = from_neighbors(magnitude, keep, grid)  # type: ignore[arg-type]
    assert filled[0, 0].tolist() == pytest.approx([1, 1, 8.5, 16, 16])
    # beyond what is far all that is kept counts, and where nothing is kept there is nothing to say
    magnitude = torch.arange(1.0, 8).reshape(1, 1, 7)
    keep = torch.tensor([[[1.0, 0, 0, 0, 0, 0, 0]]])
    assert from_neighbors(magnitude, keep, grid)[0, 0].tolist() == pytest.approx([1.0] * 7)  # type: ignore[arg-type]
    assert from_neighbors(magnitude, 0 * keep, grid).abs().max() == 0  # type: ignore[arg-type]
    # half kept weighs half: (1 * 2 + .5 * 4) / 1.5, and axes of frequency count as well
    magnitude, keep = torch.tensor([[[2.0], [0.0], [4.0]]]), torch.tensor([[[1.0], [0.0], [0.5]]])
    assert from_neighbors(magnitude, keep, grid)[0, 1, 0].item() == pytest.approx(8 / 3)  # type: ignore[arg-type]


def test_boxes_are_the_same_however_long_a_recording_is(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = torch.Generator().manual_seed(0)
    magnitude = torch.rand(2, 30, 40, generator=draw)
    keep = (torch.rand(2, 30, 40, generator=draw) < 0.2).float()
    grid = SimpleNamespace(bin_hz=250.0, frame_rate_hz=20.0)
    short = from_neighbors(magnitude, keep, grid)  # type: ignore[arg-type]
    monkeypatch.setattr(case_module, "LONGEST_BAND", 0)
    assert torch.allclose(from_neighbors(magnitude, keep, grid), short, atol=1e-6)  # type: ignore[arg-type]


def test_silence_is_asked_once_for_all_maps_of_a_recording() -> None:
    maps = torch.rand(5, 2, 2, generator=torch.Generator().manual_seed(0))
    heard: list[int] = []
    model = Linear(W)
    model.register_forward_hook(lambda _module, inputs, _output: heard.append(len(inputs[0])))
    one = Attribution(maps, torch.ones(5, dtype=torch.int64), "by_hand")
    alone, phase = X[:1].clone(), torch.zeros(1, 2, 2)
    shared = Case(model, Spectrogram(alone.expand(5, -1, -1), phase.expand(5, -1, -1), 1, TINY), one)
    assert shared.logits_empty.tolist() == [[0.0, 0.0]] * 5
    assert sum(heard) == 1
    apart = Case(model, make_spec(alone.repeat(5, 1, 1)), one)
    assert torch.equal(apart.logits_empty, shared.logits_empty)
    assert sum(heard) == 6


def test_other_fills_by_hand() -> None:
    """Each of 100 equal bins has its own weight; the strongest 10 are removed, or all others."""
    weight = torch.linspace(-0.2, 0.3, 100)
    mask = torch.arange(100, 0, -1).reshape(1, 2, 50) / 100.0
    case = make_case(weight.reshape(2, 50), torch.ones(1, 2, 50), mask, [1])
    p = 1 / (1 + math.exp(-float(weight.sum())))
    assert case.p.item() == pytest.approx(p)
    # neighbors say what was there: nothing is lost
    assert METRICS["comprehensiveness@10:neighbors"](case).item() == pytest.approx(0, abs=1e-6)
    assert METRICS["sufficiency@10:neighbors"](case).item() == pytest.approx(0, abs=1e-6)
    noise = matched_noise(case.spec, case.seed).flatten()  # its median is the recording's, 1
    for name, kept in (("comprehensiveness@10:noise", slice(10, None)), ("sufficiency@10:noise", slice(None, 10))):
        heard = noise.clone()
        heard[kept] = 1
        assert METRICS[name](case).item() == pytest.approx(p - torch.sigmoid(heard @ weight).item(), abs=1e-6)
    # silence is what the names without a fill say, also in a case that fills otherwise
    noisy = make_case(weight.reshape(2, 50), torch.ones(1, 2, 50), mask, [1], fill="noise")
    assert METRICS["comprehensiveness@10"](noisy).item() == METRICS["comprehensiveness@10:noise"](case).item()


def test_a_margin_is_against_all_other_classes() -> None:
    one = torch.ones(1, 2, 2)
    case = make_case(W, one, one, [1])
    # the explained logit less the logarithm of the others' summed exponentials; of two the difference
    assert case.margin(torch.tensor([[1.0, 2, 4]])).item() == pytest.approx(2 - math.log(math.exp(1) + math.exp(4)))
    assert case.margin(torch.tensor([[1.0, 4.0]])).item() == 3
    # and of given probabilities the difference of their logarithms
    given = make_case(W, one, one, [1], probability=torch.tensor([[0.2, 0.8]]))
    assert given.margin(given.logits).item() == pytest.approx(math.log(4))


def test_the_ends_of_the_budget_by_hand() -> None:
    # z = ln 3 of one bin: the original 3/4, silence 1/2
    weight = torch.tensor([[LN3, 0.0], [0.0, 0.0]])
    case = make_case(weight, torch.ones(1, 2, 2), torch.ones(1, 2, 2), [1])
    assert [p.item() for p in case.budget_probability([0, 4], keep=True)] == pytest.approx([0.5, 0.75])
    assert [p.item() for p in case.budget_probability([0, 4], keep=False)] == pytest.approx([0.75, 0.5])


def test_mean_filling_by_hand() -> None:
    # x = [[2, 0], [0, 0]], means per bin 1 and 0, w = [[ln 2, ln 2], [0, 0]], E keeps the first bin alone.
    # original z = 2 ln 2: 4/5. removed: first frame 1, second 0 as it was: ln 2 -> 2/3. kept: 2 and filled 1: 3 ln 2 ->
    # 8/9
    weight = torch.tensor([[LN2, LN2], [0.0, 0.0]])
    case = make_case(weight, torch.tensor([[[2.0, 0], [0, 0]]]), torch.tensor([[[1.0, 0], [0, 0]]]), [1], fill="mean")
    assert case.p.item() == pytest.approx(4 / 5)
    assert METRICS["faithfulness"](case).item() == pytest.approx(4 / 5 - 2 / 3)
    assert case.p_kept.item() == pytest.approx(8 / 9)


def test_noise_filling_has_the_median_level_and_is_the_same_for_every_recording() -> None:
    magnitude = torch.rand(2, 2, 4001) + 0.5
    magnitude[1] = 3 * magnitude[0]
    case = make_case(torch.zeros(2, 4001), magnitude, torch.zeros_like(magnitude), [1, 1], fill="noise")
    noise = case.filling
    torch.testing.assert_close(noise[1], 3 * noise[0])
    # 4001 Rayleigh draws: the median's standard error is about 1.3 %
    ratio = noise.median(dim=-1).values / magnitude.median(dim=-1).values
    assert ((ratio - 1).abs() < 0.06).all()


def test_silence_share_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    from speechxai.signal import acoustics

    # frames: pause, unvoiced, voiced, pause; mass 1 + .5 + .25 in pauses of 1 + .5 + .5 + .25 + .25 = 2.5
    monkeypatch.setattr(acoustics, "segments_by_voicing", lambda *_: torch.tensor([0, 1, 2, 0]).numpy())
    mask = torch.tensor([[[1.0, 0.5, 0, 0.5], [0, 0.25, 0, 0.25]], [[0.0, 0, 0, 0], [0, 0, 0, 0]]])
    case = make_case(torch.zeros(2, 4), torch.ones(2, 2, 4), mask, [1, 1])
    value = METRICS["silence_share"](case)
    assert value[0].item() == pytest.approx(1.75 / 2.5)
    assert math.isnan(value[1].item())


def test_seed_stability_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    from speechxai.explain.recipe import Recipe
    from speechxai.metrics import robustness

    # Maps of seeds 5, 6, 7 have ranks 1 2 3 4, 2 1 4 3 and 1 2 4 3. Pairs: 1 - 6 * 4 / 60 = .6, 1 - 6 * 2 / 60 = .8, .8
    maps = {5: [0.1, 0.2, 0.3, 0.4], 6: [0.2, 0.1, 0.4, 0.3], 7: [0.1, 0.2, 0.9, 0.3]}
    asked = []

    def again(
        model: nn.Module, spec: Spectrogram, recipe: object, target: Tensor, *, seed: int, options: object
    ) -> Attribution:
        asked.append((seed, options))
        return Attribution(torch.tensor(maps[seed]).reshape(1, 2, 2), target, "noise")

    monkeypatch.setattr(robustness, "explain", again)
    monkeypatch.setattr(robustness, "parse", lambda text: Recipe(text))
    monkeypatch.setattr(Recipe, "stochastic", property(lambda self: self.name == "noise"))
    params = {"seed": 5, "options": {"noise": {"seed": 5, "n_samples": 3}}, "evidence": None}
    values = torch.tensor(maps[5]).reshape(1, 2, 2)
    spec = make_spec(torch.ones(1, 2, 2))
    case = Case(Linear(W), spec, Attribution(values, torch.tensor([1]), "noise", params))
    assert METRICS["seed_stability"](case).item() == pytest.approx((0.6 + 0.8 + 0.8) / 3)
    assert asked == [(seed, {"noise": {"n_samples": 3}, "evidence": None}) for seed in (6, 7)]
    still = Case(Linear(W), spec, Attribution(values, torch.tensor([1]), "still", params))
    assert METRICS["seed_stability"](still).tolist() == [1.0]


def test_every_metric_of_one_map_has_a_golden_value() -> None:
    families = {name for name in METRICS if "@" in name}
    elsewhere = {"deletion_auc", "insertion_auc", "silence_share", "seed_stability"}
    elsewhere |= {"deletion_auc:margin", "insertion_auc:margin"}
    here = set(GOLDEN) | families | elsewhere
    assert here == {name for name in METRICS if METRICS.facts(name).get("needs") != "truth"} - LATER


LATER = {"infidelity", "max_sensitivity", "model_randomization"}
