"""The published study written plainly, as a measure: captum and Quantus map by map, one mask at a time, nothing shared.

Six methods, 30 combinations of two, seven metrics, a recording. Integrated gradients are computed in float64, and so is
every
pass of a map that holds them, as in the published code (docs/protocol-mancini2025.md). 132 forward passes, 38 of them
in
float64. Random draws are those of speechxai, so that maps can be compared bin by bin; guided backpropagation and
Grad-CAM are its
own, called apart, since captum's do not know GELU and transformers.
"""

from __future__ import annotations

import copy
import warnings
from itertools import combinations

import numpy as np
import torch
from torch import Tensor, nn

from speechxai.explain import METHODS
from speechxai.explain.passes import generator
from speechxai.metrics import Case
from speechxai.metrics.quantus_bridge import quantus_metric
from speechxai.types import Attribution, Spectrogram

Scores = dict[str, dict[str, float]]


def attributed(model: nn.Module, spec: Spectrogram, target: Tensor) -> dict[str, np.ndarray]:
    """The six maps (F, T) of one recording, each by itself."""
    from captum.attr import IntegratedGradients, Saliency

    x, phase = spec.magnitude, spec.phase

    def gradient(at: Tensor, absolute: bool) -> Tensor:
        point = at.clone().requires_grad_()
        return Saliency(model).attribute(point, target, abs=absolute, additional_forward_args=(phase,)).detach()

    def noise(index: int) -> Tensor:
        return torch.randn(x.shape[1:], generator=generator(0, index))

    maps = {"saliency": gradient(x, True)}
    maps["smoothgrad"] = sum(gradient(x + noise(i), True) for i in range(10)) / 10  # type: ignore[assignment]
    double = copy.deepcopy(model).double()
    double.max_batch = 5  # type: ignore[assignment]  # all steps at once, none computed again
    maps["integrated_gradients"] = IntegratedGradients(double).attribute(
        x.double(), torch.zeros_like(x).double(), target, (phase.double(),), n_steps=5
    )
    maps["guided_backprop"] = METHODS["guided_backprop"](model, spec, target)
    total = torch.zeros_like(x)
    for index in range(5):
        random = generator(0, index)
        share = float(torch.rand((), generator=random))
        torch.randint(2, (), generator=random)
        start = torch.randn(x.shape[1:], generator=random)
        total += (x - start) * gradient(start + share * (x - start), False) / 5
    maps["gradient_shap"] = total
    maps["guided_gradcam"] = METHODS["gradcam"](model, spec, target) * METHODS["guided_backprop"](model, spec, target)
    return {name: values[0].detach().numpy() for name, values in maps.items()}


def scored(model: nn.Module, spec: Spectrogram, target: Tensor, mask: np.ndarray) -> dict[str, float]:
    """The seven metrics of one map, its three passes in the map's own precision."""
    evidence = torch.from_numpy(mask)[None]
    magnitude, phase = spec.magnitude.to(evidence), spec.phase.to(evidence)
    with torch.no_grad():
        original, kept, removed = (
            model(each, phase).softmax(-1)[0] for each in (magnitude, magnitude * evidence, magnitude * (1 - evidence))
        )
    c = int(target)
    p, p_kept, p_removed = float(original[c]), float(kept[c]), float(removed[c])
    case = Case(model, spec, Attribution(evidence.float(), target, "map"), kind="absolute")
    return {
        "average_increase": float(p_kept > p),
        "average_drop": max(0.0, p - p_kept) / p,
        "average_gain": max(0.0, p_kept - p) / (1 - p),
        "faithfulness": p - p_removed,
        "input_fidelity": float(original.argmax() == kept.argmax()),
        "sparseness": float(quantus_metric("Sparseness")(case)),
        "complexity": float(quantus_metric("Complexity")(case)),
        "p": p,
        "p_kept": p_kept,
    }


def study(model: nn.Module, spec: Spectrogram, target: Tensor) -> tuple[Scores, dict[str, np.ndarray]]:
    """Scores and evidence of the 36 maps of one recording (1, F, T) for its predicted class (1,), by recipe."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        maps = {name: np.abs(values) / np.abs(values).max() for name, values in attributed(model, spec, target).items()}
        for first, second in combinations(list(maps), 2):
            for name, both in (("union", maps[first] + maps[second]), ("intersection", maps[first] * maps[second])):
                maps[f"{name}({first}, {second})"] = both / both.max()
        double = copy.deepcopy(model).double()
        return {
            name: scored(double if values.dtype == np.float64 else model, spec, target, values)
            for name, values in maps.items()
        }, maps
