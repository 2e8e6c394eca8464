"""What the published code computes (mancini2025investigating), kept apart so that its numbers can be met and its defects seen.

Nothing here is in METRICS. Each `published_*` function is wrong on purpose; its docstring names the defect and what is right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from speechxai.attribution.published import PUBLISHED_OPTIONS
from speechxai.errors import SpeechXAIError
from speechxai.metrics.case import METRICS, Case

PD = 1
"""Index of the class whose probability the published code reads for every recording."""
EPSILON = 1e-10
"""What the published code adds to denominators."""


class PosteriorLogits(nn.Module):
    """Wrap a classifier so that the explained quantity is the posterior itself, after the sigmoid: outputs (P(HC), P(PD)).

    Everything else is answered by the wrapped model, so that methods find its layers and settings.

    Raises:
        SpeechXAIError: on a forward pass with other than two classes.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.training = bool(getattr(model, "training", False))

    def __getattr__(self, name: str) -> Any:
        """Answer for the wrapped model: `max_batch`, `cut`, `stitch`, `cam_module` and so on."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("model"), name)

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        """Magnitude and phase (B, F, T) to probabilities (B, 2), where a logit would stand."""
        logits: Tensor = self.model(magnitude, phase)
        if logits.shape[1] != 2:
            raise SpeechXAIError(f"The 'mancini2025' protocol is for two classes. This network has {logits.shape[1]}.")
        return logits.softmax(dim=1)


def published_evidence(values: Tensor) -> Tensor:
    """|A| divided by the maximum over the whole batch (B, F, T).

    Defect: a recording's mask depends on its neighbors in the batch; `combination.evidence` takes each recording's own maximum.
    """
    absolute = values.abs()
    return absolute / absolute.max().clamp(min=torch.finfo(absolute.dtype).tiny)


def published_iou(a: Tensor, b: Tensor, threshold: float = 0.4) -> Tensor:
    """Intersection over union (B,) of maps (B, F, T) >= 0 with the first map's maximum as both thresholds.

    Defect: a second map of smaller scale holds nothing, one of larger scale everything; `agreement.iou` is right.
    """
    both, either = published_overlap(a, b, threshold)
    return both.to(a) / either.to(a)


def published_overlap(a: Tensor, b: Tensor, threshold: float = 0.4) -> tuple[Tensor, Tensor]:
    """Bins (B,) in both and in either of two maps (B, F, T) with the first map's thresholds.

    The published code adds both over a whole fold and divides the sums.
    """
    level = threshold * a.amax(dim=(1, 2), keepdim=True)
    first, second = a >= level, b >= level
    return (first & second).sum(dim=(1, 2)), (first | second).sum(dim=(1, 2))


def published_running_means(overlaps: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Table of mean overlaps by pair of methods, where the store is not reset between pairs.

    Defect: every cell after the first is the mean over all pairs so far; right is the mean of the pair's own values.
    """
    store: list[float] = []
    table = {}
    for pair, values in overlaps.items():
        store.extend(values)
        table[pair] = sum(store) / len(store)
    return table


def published_average_increase(case: Case) -> Tensor:
    """1[P(PD) kept > P(PD)].

    Defect: for a recording predicted healthy a good map lowers P(PD), so the metric runs backwards; `average_increase` is right.
    """
    return (case.probability_kept[:, PD] > case.probability[:, PD]).to(case.p)


def published_average_drop(case: Case) -> Tensor:
    """relu(P(PD) - P(PD) kept) / P(PD), backwards for healthy predictions; `average_drop` is right."""
    original, kept = case.probability[:, PD], case.probability_kept[:, PD]
    return (original - kept).clamp(min=0) / (original + EPSILON)


def published_average_gain(case: Case) -> Tensor:
    """relu(P(PD) kept - P(PD)) / (1 - P(PD)), backwards for healthy predictions; `average_gain` is right."""
    original, kept = case.probability[:, PD], case.probability_kept[:, PD]
    return (kept - original).clamp(min=0) / (1 - original + EPSILON)


def published_input_fidelity(case: Case) -> Tensor:
    """For each recording, how many recordings of the batch were classified as its kept evidence is: a count up to B.

    Defect: (B, 1) is compared with (B,) and broadcasts to (B, B); `input_fidelity` compares each recording with itself.
    """
    original = case.probability[:, PD] > 0.5
    kept = case.probability_kept[:, PD] > 0.5
    return (kept[:, None] == original[None, :]).sum(dim=1).to(case.p)


PUBLISHED_DEFINITIONS: dict[str, Callable[[Case], Tensor]] = {
    "average_increase": published_average_increase,
    "average_drop": published_average_drop,
    "average_gain": published_average_gain,
    "faithfulness": METRICS["faithfulness"],
    "input_fidelity": published_input_fidelity,
    "sparseness": METRICS["sparseness"],
    "complexity": METRICS["complexity"],
}
"""The seven published metrics as the published code computes them; the case's target must be the predicted class."""


def score_published(case: Case) -> dict[str, Tensor]:
    """Compute the seven published definitions, (B,) each, and "input_fidelity_corrected" beside the raw count."""
    values = {name: metric(case) for name, metric in PUBLISHED_DEFINITIONS.items()}
    return {**values, "input_fidelity_corrected": METRICS["input_fidelity"](case)}


def raw_fidelity_count(original: Tensor, kept: Tensor) -> Tensor:
    """For classes (N,) of a fold's recordings and of their kept evidence: how many originals share each kept class, (N,), up to N."""
    return (kept[:, None] == original[None, :]).sum(dim=1)


def undo_running_means(printed: Sequence[float]) -> list[float]:
    """Means of each pair from a table of running means in its own order: pair n is n m_n - (n - 1) m_(n-1).

    Exact where all pairs have as many values; rounding of the printed numbers grows n-fold.
    """
    return [n * m - (n - 1) * before for n, (m, before) in enumerate(zip(printed, [0.0, *printed], strict=False), 1)]


PROTOCOL_OPTIONS: Mapping[str, Any] = {"evidence": "absolute", **PUBLISHED_OPTIONS}
"""Options of `explain` that the published code sets by captum's defaults or its own."""
