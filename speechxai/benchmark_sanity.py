"""Sanity checks of methods: does a map follow what the network learned, and nothing but that? With limits that say who fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from speechxai.agreement import rank_correlation
from speechxai.attribution import METHODS
from speechxai.benchmark import OPTIONS, BenchmarkSettings
from speechxai.combination import evidence
from speechxai.explain import CONTROLS, explain_all
from speechxai.metrics import Case
from speechxai.metrics.localization import relevance_rank
from speechxai.metrics.randomization import randomized, ssim
from speechxai.metrics.robustness import (
    INVARIANCES,
    N_NEIGHBORS,
    N_SEEDS,
    NEIGHBOR_RADIUS,
    changed_recording,
    likeness_after,
    mean_rank_correlation,
    neighbor,
    relative_change,
)
from speechxai.types import Attribution, Spectrogram

Maps = dict[str, Tensor]
Explainers = Callable[[nn.Module, Spectrogram, int], Maps]
"""Explains a recording by several methods: `(model, spec, seed) -> map (B, F, T) by method`."""

CHECKS: Mapping[str, str] = {
    "randomized_all": "rank correlation with the map of the network with random weights in every layer; a map of what was learned loses it",
    "randomized_all_ssim": "the same by structural similarity",
    "cascading": "mean rank correlation while layers are randomized from the last to the first",
    "cascading_ssim": "the same by structural similarity",
    "independent": "mean rank correlation when one group of layers at a time is randomized",
    "independent_ssim": "the same by structural similarity",
    "permuted_labels": "rank correlation with the map of a network that was trained on labels dealt out by chance",
    "permuted_relevance_rank": "how well that network's map points at the truth, less the truth's share of the bins",
    "max_sensitivity": "largest relative change of the map under 2 % noise",
    "invariance_level": "rank correlation with the map of the same voice at half the level",
    "invariance_polarity": "rank correlation with the map of the waveform turned upside down",
    "invariance_shift": "rank correlation with the map of the same voice 10 ms later",
    "seed_stability": "mean rank correlation over 3 seeds",
}
"""What is measured, and in which direction it speaks."""

LIMITS: Mapping[str, tuple[str, float]] = {
    "randomized_all": ("above", 0.9),
    "permuted_labels": ("above", 0.9),
    "invariance_polarity": ("below", 0.9),
    "invariance_shift": ("below", 0.3),
    "seed_stability": ("below", 0.5),
}
"""A method fails a check when its mean is above or below this limit. They catch methods that are broken; a method within
them may still be poor, so the values are printed beside."""


def explainers(methods: tuple[str, ...], target: int = 1) -> Explainers:
    """Return the function that explains by registered methods, each original pass shared; methods not applicable are left out."""
    options = {name: given for name, given in OPTIONS.items() if name in methods}

    def explain(model: nn.Module, spec: Spectrogram, seed: int) -> Maps:
        found = explain_all(model, spec, methods, target, seed=seed, options=options)
        return {name: attribution.values for name, attribution in found.items()}

    return explain


def sanity_rows(
    model: nn.Module, spec: Spectrogram, truth: Tensor, permuted: nn.Module, settings: BenchmarkSettings, seed: int
) -> list[dict[str, Any]]:
    """Check the methods and controls of the benchmark on one recording: rows with recipe, check and value.

    Args:
        model: a classifier that learned the task.
        spec: one recording, (1, F, T).
        truth: where its cue is, (1, F, T).
        permuted: a classifier trained on permuted labels.
        settings: methods and stages.
        seed: of stochastic methods.
    """
    methods = (*settings.methods, *CONTROLS)
    stochastic = {name for name in methods if METHODS.facts(name)["stochastic"]}
    found = check(explainers(methods), model, spec, truth, permuted, settings.n_stages)
    for name, value in seed_stability_of(explainers(tuple(stochastic)), model, spec, seed).items():
        found[name]["seed_stability"] = value
    return [
        {"recipe": name, "check": key, "value": value} for name, checks in found.items() for key, value in checks.items()
    ]  # fmt: skip


def check(
    explain: Explainers, model: nn.Module, spec: Spectrogram, truth: Tensor, permuted: nn.Module, n_stages: int
) -> dict[str, dict[str, float]]:
    """Value by check, by method, for one recording; see CHECKS. The network is never touched.

    Args:
        explain: makes the maps of all methods under test.
        model: a classifier that learned the task.
        spec: one recording, (1, F, T).
        truth: where its cue is, (1, F, T).
        permuted: a classifier trained on permuted labels.
        n_stages: stages of the weight randomization.
    """
    maps = explain(model, spec, 0)
    found: dict[str, dict[str, float]] = {name: {} for name in maps}
    for mode in ("cascading", "independent"):
        ranks: dict[str, list[float]] = {name: [] for name in maps}
        shapes: dict[str, list[float]] = {name: [] for name in maps}
        for _, changed in randomized(model, mode, n_stages):
            others = explain(changed, spec, 0)
            for name, values in maps.items():
                ranks[name].append(float(rank_correlation(values, others[name])))
                shapes[name].append(float(ssim(values, others[name])))
        for name in maps:
            if mode == "cascading":  # its last stage is the network with random weights throughout
                found[name] |= {"randomized_all": ranks[name][-1], "randomized_all_ssim": shapes[name][-1]}
            found[name] |= {mode: _mean(ranks[name]), f"{mode}_ssim": _mean(shapes[name])}
    others = explain(permuted, spec, 0)
    for name, values in maps.items():
        found[name]["permuted_labels"] = float(rank_correlation(values, others[name]))
        found[name]["permuted_relevance_rank"] = _points(permuted, spec, others[name], truth)
    near = [explain(model, neighbor(spec, NEIGHBOR_RADIUS, seed), 0) for seed in range(N_NEIGHBORS)]
    for name, values in maps.items():
        found[name]["max_sensitivity"] = max(float(relative_change(values, other[name])) for other in near)
    for change in INVARIANCES:
        others = explain(model, changed_recording(spec, change), 0)
        for name, values in maps.items():
            found[name][f"invariance_{change}"] = float(likeness_after(change, values, others[name], spec))
    return found


def seed_stability_of(explain: Explainers, model: nn.Module, spec: Spectrogram, seed: int) -> dict[str, float]:
    """Mean rank correlation of the maps of three seeds, by method."""
    drawn = [explain(model, spec, seed + index) for index in range(N_SEEDS)]
    return {name: float(mean_rank_correlation([maps[name] for maps in drawn])) for name in drawn[0]}


def failed_checks(values: Mapping[str, float]) -> list[str]:
    """Return the checks whose limit a method's mean values break, in the order of LIMITS; NaN breaks nothing."""
    broken = []
    for name, (side, limit) in LIMITS.items():
        value = values.get(name, float("nan"))
        if (side == "above" and value > limit) or (side == "below" and value < limit):
            broken.append(name)
    return broken


def _points(model: nn.Module, spec: Spectrogram, values: Tensor, truth: Tensor) -> float:
    target = torch.ones(1, dtype=torch.int64)
    case = Case(model, spec, Attribution(evidence(values), target, "checked"), truth=truth)
    return float(relevance_rank(case)) - float((truth >= 0.5).double().mean())


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
