"""What the published code computes (mancini2025investigating), kept apart so that its numbers can be met and its
defects seen.

Nothing here is in METRICS. Each `published_*` function is wrong on purpose; its docstring names the defect and what is
right.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from speechxai.classifiers import Classifier
from speechxai.classifiers.network import Delegate, Network
from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.explain.combination import evidence
from speechxai.explain.passes import check_target, network_of, parts, plain, quiet
from speechxai.metrics.case import METRICS, Case
from speechxai.registry import Registry
from speechxai.types import Spectrogram

# The published study's own choices, two degenerate maps as captum gives them among them, so that its numbers can be
# met.
PUBLISHED_VARIANTS: Registry[Any] = Registry(
    "published variant", required=("signed", "stochastic", "cites", "replaces", "degenerate")
)
"""Maps of the published protocol by name; `replaces` names the method of the standard protocol."""

PUBLISHED_OPTIONS: dict[str, dict[str, Any]] = {
    "smoothgrad": {"n_samples": 10, "sigma": 1.0, "relative": False, "clamp": False, "absolute": True},
    "integrated_gradients": {"n_steps": 5, "baseline": "silence"},
    "gradient_shap": {"n_samples": 5, "baselines": "normal", "n_baselines": 2},
}
"""Options that give the published study's settings of the other methods, read in its code
(docs/protocol-mancini2025.md): captum's defaults are 5 samples of GradientSHAP, each from one of as many baselines as
the batch has recordings, noise of standard deviation 1 and, inside SmoothGrad, the size of each gradient."""


@PUBLISHED_VARIANTS.register(
    signed=True, stochastic=False, cites="mancini2025investigating", replaces="guided_backprop", degenerate=True
)
def guided_backprop_relu_modules(model: nn.Module, spec: Spectrogram, target: Tensor) -> Tensor:
    """Guided backpropagation through `nn.ReLU` modules alone, (B, F, T); the plain gradient where there are none."""
    from captum.attr import GuidedBackprop

    check_target(spec, target)
    network = network_of(model, spec)
    found = []
    for part in parts(network, spec.magnitude):
        with quiet(network), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            values = GuidedBackprop(network).attribute(
                plain(spec.magnitude[part]).clone(),
                plain(target[part]),
                additional_forward_args=(plain(spec.phase[part]),),
            )
        found.append(values.detach())
    return torch.cat(found)


@PUBLISHED_VARIANTS.register(
    signed=True, stochastic=False, cites="mancini2025investigating", replaces="guided_gradcam", degenerate=True
)
def guided_gradcam_captum(model: nn.Module, spec: Spectrogram, target: Tensor) -> Tensor:
    """Guided Grad-CAM as captum gives it, nearest-neighbor resized, (B, F, T).

    The feature map (S, C, M, T') of a convolution is laid over the bins as if its bands were linear in frequency; the
    output
    (S, T', C) of a transformer layer is averaged over its time steps' gradients, and its C units are laid over
    frequency.

    Raises:
        NotApplicable: the network names no `cam_layer`, or its output has another shape.
    """
    from captum.attr import GuidedGradCam

    check_target(spec, target)
    network = network_of(model, spec)
    layer = network.cam_module()
    found = []
    for part in parts(network, spec.magnitude):
        with quiet(network), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            cut = [network.cut(plain(values[part])) for values in (spec.magnitude, spec.phase)]
            n_cut = cut[0].shape[1]
            magnitude, phase = (values.flatten(0, 1) for values in cut)
            rows = plain(target[part]).repeat_interleave(n_cut)
            n_dimensions = _output_dimensions(network, layer, magnitude, phase)
            view = _View(network, n_dimensions)
            with _tapped(layer) as tap:
                values = GuidedGradCam(view, tap).attribute(
                    view.wrap(magnitude), rows, additional_forward_args=(phase,)
                )
            maps = view.unwrap(values.detach()).view(-1, n_cut, *magnitude.shape[1:])
        found.append(network.stitch(maps, spec.magnitude.shape[-1]))
    return torch.cat(found)


class ProbabilityOfPd(Classifier):
    """A classifier whose explained quantity is the probability of PD for both classes, after the sigmoid, as published.

    Each segment's row is (p, p) with p = softmax(logits)_1. Shares the backbone with `classifier`.

    Raises:
        SpeechXAIError: a classifier with other than two classes.
    """

    def __init__(self, classifier: Classifier) -> None:
        if len(classifier.class_names) != 2:
            raise SpeechXAIError(
                f"The published protocol knows two classes. Got {len(classifier.class_names)} instead."
            )
        super().__init__(
            classifier.backbone,
            classifier.stft,
            classifier.segment,
            classifier.class_names,
            classifier.cam_layer,
            classifier.max_batch,
        )
        self.temperature, self.intercept = classifier.temperature, classifier.intercept
        self.order = classifier.order
        self.training = classifier.training

    def segment_logits(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        """Probabilities of PD of segments (S, F, L) -> (S, 2), the same in both columns."""
        return super().segment_logits(magnitude, phase).softmax(-1)[:, 1:].expand(-1, 2)


class _View(nn.Module):
    """Gives the segments the axes that captum lays a layer's output over: (S, 1, F, L) for maps, (S, L, F) for
    sequences."""

    def __init__(self, network: Network, n_dimensions: int) -> None:
        super().__init__()
        if n_dimensions not in (3, 4):
            raise NotApplicable(
                f"the 'cam_layer' of this network returns {n_dimensions} axes; captum's Grad-CAM needs 3 or 4."
            )
        self.network = network
        self.is_map = n_dimensions == 4

    def wrap(self, magnitude: Tensor) -> Tensor:
        return (magnitude[:, None] if self.is_map else magnitude.transpose(1, 2)).clone()

    def unwrap(self, values: Tensor) -> Tensor:
        return values[:, 0] if self.is_map else values.transpose(1, 2).contiguous()

    def forward(self, values: Tensor, phase: Tensor) -> Tensor:
        logits: Tensor = self.network.segment_logits(self.unwrap(values), phase)
        return logits


@contextmanager
def _tapped(layer: nn.Module) -> Iterator[nn.Module]:
    """Give a module that sees the layer's first output alone: captum stumbles over layers that return None beside
    it."""
    tap = nn.Identity()

    def through(module: nn.Module, inputs: Any, output: Any) -> Any:
        return tap(output) if isinstance(output, Tensor) else (tap(output[0]), *output[1:])

    handle = layer.register_forward_hook(through)
    try:
        yield tap
    finally:
        handle.remove()


def _output_dimensions(network: Network, layer: nn.Module, magnitude: Tensor, phase: Tensor) -> int:
    seen: list[int] = []
    handle = layer.register_forward_hook(
        lambda module, inputs, output: seen.append(output.ndim if isinstance(output, Tensor) else output[0].ndim)
    )
    try:
        with torch.no_grad():
            network.segment_logits(magnitude[:1], phase[:1])
    finally:
        handle.remove()
    if len(seen) != 1:
        raise NotApplicable("the 'cam_layer' of this network is not used exactly once in its forward pass.")
    return seen[0]


# What the published code computes (mancini2025investigating), kept apart so that its numbers can be met and its defects
# seen.
PD = 1
"""Index of the class whose probability the published code reads for every recording."""
EPSILON = 1e-10
"""What the published code adds to denominators."""


class PosteriorLogits(Delegate):
    """Wrap a classifier so that the explained quantity is the posterior itself, after the sigmoid: outputs (P(HC),
    P(PD)).

    Everything else is answered by the wrapped model, so that methods find its layers and settings.

    Raises:
        SpeechXAIError: on a forward pass with other than two classes.
    """

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        """Magnitude and phase (B, F, T) to probabilities (B, 2), where a logit would stand."""
        return _posterior(self.model(magnitude, phase))

    def segment_logits(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        """The same of segments (S, F, L)."""
        return _posterior(self.model.segment_logits(magnitude, phase))

    def for_length(self, n_samples: int) -> PosteriorLogits:
        """Return the wrapped model as it hears recordings of `n_samples`, wrapped."""
        return PosteriorLogits(self.model.for_length(n_samples))


def _posterior(logits: Tensor) -> Tensor:
    if logits.shape[1] != 2:
        raise SpeechXAIError(f"The 'mancini2025' protocol is for two classes. This network has {logits.shape[1]}.")
    return logits.softmax(dim=1)


def published_evidence(values: Tensor) -> Tensor:
    """|A| divided by the maximum over the whole batch (B, F, T).

    Defect: a recording's mask depends on its neighbors in the batch; `combination.evidence` takes each recording's own
        maximum.
    """
    absolute = values.abs()
    return absolute / absolute.max().clamp(min=torch.finfo(absolute.dtype).tiny)


def published_iou(a: Tensor, b: Tensor, threshold: float = 0.4) -> Tensor:
    """Intersection over union (B,) of maps (B, F, T) >= 0 with the first map's maximum as both thresholds.

    Defect: a second map of smaller scale holds nothing, one of larger scale everything; `agreement.iou` is right.
    """
    both, either = published_overlap(a, b, threshold)
    return both.to(a) / either.to(a)


def published_overlap(a: Tensor, b: Tensor, threshold: float = 0.4, *, own: bool = False) -> tuple[Tensor, Tensor]:
    """Bins (B,) in both and in either of two maps (B, F, T) with the first map's thresholds, or each with its `own`.

    The published code adds both over a whole fold and divides the sums.
    """
    level = threshold * a.amax(dim=(1, 2), keepdim=True)
    first, second = a >= level, b >= (threshold * b.amax(dim=(1, 2), keepdim=True) if own else level)
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

    Defect: for a recording predicted healthy a good map lowers P(PD), so the metric runs backwards; `average_increase`
        is right.
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


def published_sparseness(case: Case) -> Tensor:
    """Gini index of the map by its own maximum, whatever its mask was divided by: Quantus divides again."""
    own = copy.copy(case)
    own.mask = evidence(case.mask, "absolute")
    return METRICS["sparseness"](own)  # type: ignore[no-any-return]


PUBLISHED_DEFINITIONS: dict[str, Callable[[Case], Tensor]] = {
    "average_increase": published_average_increase,
    "average_drop": published_average_drop,
    "average_gain": published_average_gain,
    "faithfulness": METRICS["faithfulness"],
    "input_fidelity": published_input_fidelity,
    "sparseness": published_sparseness,
    "complexity": METRICS["complexity"],
}
"""The seven published metrics as the published code computes them; the case's target must be the predicted class."""


def score_published(case: Case) -> dict[str, Tensor]:
    """Compute the seven published definitions, (B,) each, and "input_fidelity_corrected" beside the raw count."""
    values = {name: metric(case) for name, metric in PUBLISHED_DEFINITIONS.items()}
    return {**values, "input_fidelity_corrected": METRICS["input_fidelity"](case)}


def raw_fidelity_count(original: Tensor, kept: Tensor) -> Tensor:
    """For classes (N,) of a fold's recordings and of their kept evidence: how many originals share each kept class,
    (N,), up to N."""
    return (kept[:, None] == original[None, :]).sum(dim=1)


def undo_running_means(printed: Sequence[float]) -> list[float]:
    """Means of each pair from a table of running means in its own order: pair n is n m_n - (n - 1) m_(n-1).

    Exact where all pairs have as many values; rounding of the printed numbers grows n-fold.
    """
    return [n * m - (n - 1) * before for n, (m, before) in enumerate(zip(printed, [0.0, *printed], strict=False), 1)]


PROTOCOL_OPTIONS: Mapping[str, Any] = {"evidence": "absolute", **PUBLISHED_OPTIONS}
"""Options of `explain` that the published code sets by captum's defaults or its own."""
