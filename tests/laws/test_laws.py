"""Which combination and which metric obeys which law: every law is tested on all of them, and must hold exactly where
it is listed."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from speechxai.explain.combination import COMBINATIONS, evidence
from speechxai.metrics import METRICS, Case
from speechxai.types import Attribution, Spectrogram, StftConfig

COMBINATION_LAWS: dict[str, set[str]] = {
    # the order of the maps does not count
    "symmetric": {
        "union",
        "intersection",
        "maximum",
        "minimum",
        "set_union",
        "set_intersection",
        "majority",
        "rank_mean",
    },
    # equal maps give that map
    "idempotent": {"union", "maximum", "minimum"},
    # equal maps give a map that orders the bins of evidence as they do
    "keeps_order": {"union", "maximum", "minimum", "intersection", "rank_mean"},
    # a map without evidence changes nothing
    "zero_is_neutral": {"union", "maximum", "set_union", "rank_mean"},
    # a map without evidence leaves none
    "zero_absorbs": {"intersection", "minimum", "set_intersection"},
    # evidence only where every map has some
    "inside_all": {"intersection", "minimum", "set_intersection"},
    # 0 and 1 only
    "binary": {"set_union", "set_intersection"},
}


def some_maps() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    # methods agree in part, so that they share some of their strongest bins
    values = (torch.rand(1, 2, 9, 10, generator=generator) + 0.2 * torch.rand(3, 2, 9, 10, generator=generator)) ** 2
    values[torch.rand(values.shape, generator=generator) < 0.2] = 0
    return torch.stack([evidence(each) for each in values])


def holds(law: str, name: str) -> bool:
    combine, maps = COMBINATIONS[name], some_maps()
    same = maps[:1].expand(3, -1, -1, -1)
    nothing = torch.zeros_like(maps[:1])

    def close(a: Tensor, b: Tensor) -> bool:
        return torch.allclose(a, b, atol=1e-6)

    match law:
        case "symmetric":
            return all(close(combine(maps[list(order)]), combine(maps)) for order in itertools.permutations(range(3)))
        case "idempotent":
            return close(combine(same), maps[0])
        case "keeps_order":
            pairs = [(value[row], combine(same)[row]) for value in (maps[0],) for row in range(2)]
            return all(
                torch.equal(a.flatten().argsort(stable=True), b.flatten().argsort(stable=True)) for a, b in pairs
            )
        case "zero_is_neutral":
            return close(combine(torch.cat([maps, nothing])), combine(maps))
        case "zero_absorbs":
            return bool((combine(torch.cat([maps, nothing])) == 0).all())
        case "inside_all":
            return bool((combine(maps)[(maps == 0).any(dim=0)] == 0).all())
        case "binary":
            return bool(((combine(maps) == 0) | (combine(maps) == 1)).all())
    raise AssertionError(law)


@pytest.mark.parametrize("name", COMBINATIONS)
@pytest.mark.parametrize("law", COMBINATION_LAWS)
def test_combination_obeys_exactly_its_laws(law: str, name: str) -> None:
    assert holds(law, name) == (name in COMBINATION_LAWS[law])


def test_the_laws_cover_the_registry() -> None:
    assert set.union(*COMBINATION_LAWS.values()) == set(COMBINATIONS)
    assert COMBINATION_LAWS["symmetric"] == set(COMBINATIONS)


KINDS = ("", ":margin")
HARD = {
    f"{family}@{q}{kind}" for family in ("comprehensiveness", "sufficiency") for q in (1, 5, 10, 20) for kind in KINDS
}
FILLED = {f"{family}@10:{fill}" for family in ("comprehensiveness", "sufficiency") for fill in ("noise", "neighbors")}
AREAS = {f"{name}{kind}" for name in ("deletion_auc", "insertion_auc") for kind in KINDS}
SOFT = {"average_increase", "average_drop", "average_gain", "faithfulness", "faithfulness:margin", "input_fidelity"}
METRIC_LAWS: dict[str, set[str]] = {
    # the same value whatever the classifier says
    "reads_the_map_only": {"sparseness", "complexity", "mean_mask", "silence_share", "seed_stability"},
    # only the order of the bins counts: a monotone curve on the map changes nothing
    "reads_the_order_only": HARD | FILLED | AREAS | {"seed_stability"},
    # moving the map's values to other bins changes nothing
    "reads_the_values_only": {"sparseness", "complexity", "mean_mask", "seed_stability"},
    # a map that names exactly what a linear classifier adds up beats its own reverse; not where a fill may be louder
    # than what it stands for
    "prefers_the_true_map": SOFT - {"input_fidelity"} | HARD | AREAS,
}
OF_TRUTH = {"localization_auc", "pointing_game", "relevance_mass", "relevance_rank"}
LATER = {"infidelity", "max_sensitivity", "model_randomization"}


class Linear(nn.Module):
    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        z = (magnitude * self.weight).sum(dim=(1, 2)) - 1
        return torch.stack([torch.zeros_like(z), z], dim=1)


CONFIG = StftConfig(n_fft=32, win_length=32, hop_length=16)
SEEDS = range(20)


def value_of(name: str, mask: Tensor, weight: Tensor) -> float:
    magnitude = torch.rand(1, 17, 21, generator=torch.Generator().manual_seed(2)) + 0.2
    spec = Spectrogram(magnitude, torch.zeros_like(magnitude), 320, CONFIG)
    target = torch.ones(1, dtype=torch.int64)
    case = Case(Linear(weight), spec, Attribution(mask[None], target, "saliency"))
    case.voicing = (torch.arange(21) % 3)[None]
    return float(METRICS[name](case))


def metric_law_holds(law: str, name: str, seed: int) -> bool:
    generator = torch.Generator().manual_seed(seed)
    weight, mask = torch.randn(17, 21, generator=generator) / 4, torch.rand(17, 21, generator=generator)
    value = value_of(name, mask, weight)
    match law:
        case "reads_the_map_only":
            return value == value_of(name, mask, -3 * weight)
        case "reads_the_order_only":
            return value == value_of(name, mask**9, weight)
        case "reads_the_values_only":
            moved = mask.flatten()[torch.randperm(mask.numel(), generator=generator)].reshape(mask.shape)
            return abs(value - value_of(name, moved, weight)) < 1e-6
        case "prefers_the_true_map":
            weight = weight - weight.mean()
            good, bad = value_of(name, weight.clamp(min=0), weight), value_of(name, (-weight).clamp(min=0), weight)
            return good > bad if METRICS.facts(name)["best"] == "high" else good < bad
    raise AssertionError(law)


@pytest.mark.parametrize("name", [n for n in METRICS if n not in OF_TRUTH | LATER])
@pytest.mark.parametrize("law", METRIC_LAWS)
def test_metric_obeys_exactly_its_laws(law: str, name: str) -> None:
    # where a law is not listed, it must fail for some seed: a law that always holds belongs into the table
    assert all(metric_law_holds(law, name, seed) for seed in SEEDS) == (name in METRIC_LAWS[law])


def test_the_laws_cover_the_metrics() -> None:
    assert set.union(*METRIC_LAWS.values()) | {"input_fidelity"} == set(METRICS) - OF_TRUTH - LATER
