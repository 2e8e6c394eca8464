"""Does the explanation stay when nothing but chance changes?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from speechxai.agreement import rank_correlation
from speechxai.explain import explain, parse
from speechxai.metrics.case import METRICS, Case
from speechxai.types import Attribution, Spectrogram

N_SEEDS = 3


def mean_rank_correlation(maps: Sequence[Tensor]) -> Tensor:
    """Mean of the rank correlations of all pairs of maps (B, F, T) -> (B,); NaN where a map is constant."""
    pairs = [rank_correlation(a, b) for index, a in enumerate(maps) for b in maps[index + 1 :]]
    return torch.stack(pairs).mean(dim=0)


def stability_over_seeds(
    model: nn.Module, spec: Spectrogram, attribution: Attribution, n_seeds: int = N_SEEDS
) -> Tensor:
    """Mean rank correlation of a map with the maps of the following seeds, (B,), in [-1, 1]; 1 for deterministic recipes.

    Explains the recordings `n_seeds` - 1 times more, with the options that the attribution's `params` record.

    Raises:
        SpeechXAIError: a recipe that is no recipe.
    """
    recipe = parse(attribution.recipe)
    if not recipe.stochastic:
        return torch.ones(len(spec), dtype=attribution.values.dtype, device=attribution.values.device)
    first = int(attribution.params.get("seed") or 0)
    # The recorded options name the seed of every stochastic method: it must not be fixed again.
    options: dict[str, Any] = {
        name: {key: value for key, value in given.items() if key != "seed"}
        for name, given in attribution.params.get("options", {}).items()
    }
    options["evidence"] = attribution.params.get("evidence")
    maps = [attribution.values]
    for seed in range(first + 1, first + n_seeds):
        maps.append(explain(model, spec, recipe, attribution.target, seed=seed, options=options).values)
    return mean_rank_correlation(maps)


@METRICS.register(best="high", bounds=(-1.0, 1.0), cites="own", needs_explaining=True)
def seed_stability(case: Case) -> Tensor:
    """Mean rank correlation of the map over 3 seeds: 1 for deterministic methods; low values say that the map is noise."""
    return stability_over_seeds(case.model, case.spec, case.attribution)
