"""Any metric of Quantus on our maps and classifiers (hedstrom2023quantus). The only file that knows Quantus."""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.explain.explain import explain
from speechxai.metrics.case import Case
from speechxai.registry import did_you_mean
from speechxai.types import Array

REFUSED = {
    "BatchSufficiency": "it compares the recordings of a batch, and every recording is scored by itself here",
    "Completeness": "a map of maximum 1 cannot add up to the network's answer, so it would fail every map",
    "Consistency": "it compares the recordings of a batch, and every recording is scored by itself here",
    "Focus": "it needs mosaics of several recordings",
    "Infidelity": (
        "its perturbations accumulate from patch to patch (quantus 0.6), so its value is not the published infidelity;"
        " use infidelity"
    ),
    "InputInvariance": "it rebuilds the network's first layer; use the benchmark's invariance checks",
    "ModelParameterRandomisation": "it changes the network's weights; use model_randomization",
    "NonSensitivity": "it fails for more than one feature a step and takes a pass for every bin otherwise",
    "EffectiveMPRT": "it changes the network's weights",
    "MPRT": "it changes the network's weights; use model_randomization",
    "EfficientMPRT": "it changes the network's weights; use model_randomization",
    "SmoothMPRT": "it changes the network's weights; use model_randomization",
    "RelativeRepresentationStability": "it needs the names of inner layers",
    "SensitivityN": "it correlates over the recordings of a batch, and every recording is scored by itself here",
    "Sufficiency": "it compares the recordings of a batch, and every recording is scored by itself here",
}
NEEDS_TRUTH = (
    "AttributionLocalisation",
    "AUC",
    "PointingGame",
    "RelevanceMassAccuracy",
    "RelevanceRankAccuracy",
    "TopKIntersection",
)


class _Heard(nn.Module):
    """The classifier of one recording as Quantus wants it: (N, 1, F, T) -> logits (N, C), two at least, phase bound."""

    def __init__(self, case: Case, index: int) -> None:
        super().__init__()
        self.network = case.network
        self.phase = case.spec.phase[index : index + 1]
        self.training = False

    def forward(self, inputs: Tensor) -> Tensor:
        magnitude = inputs.reshape(-1, *inputs.shape[-2:]).to(self.phase)
        split = torch.split(magnitude, self.network.max_batch)
        logits = torch.cat([self.network(m, self.phase.expand_as(m)) for m in split])
        return torch.cat([torch.zeros_like(logits), logits], dim=1) if logits.shape[1] == 1 else logits


@contextmanager
def _mended(quantus: ModuleType, seed: int) -> Iterator[None]:
    """Give back what numpy 2 took from Quantus, keep its prints and warnings in, and its random numbers apart from
    ours."""
    utils: Any = importlib.import_module("quantus.helpers.utils")
    original, state = utils.calculate_auc, np.random.get_state()

    def calculate_auc(values: Any, dx: int = 1, batched: bool = False) -> Any:
        return np.trapezoid(np.asarray(values), dx=dx, axis=1 if batched else -1)

    utils.calculate_auc = calculate_auc
    np.random.seed(seed)  # Quantus draws from numpy's global state; it is put back below
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        np.random.set_state(state)
        utils.calculate_auc = original


def _quantus() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("quantus")


def quantus_names() -> list[str]:
    """Return the names of the metrics that the bridge takes."""
    quantus = _quantus()
    found = (
        n
        for n in dir(quantus)
        if inspect.isclass(getattr(quantus, n))
        and hasattr(getattr(quantus, n), "evaluate_batch")
        and n != "Metric"  # what all of them inherit from
    )
    return [name for name in found if name not in REFUSED]


def quantus_metric(
    name: str, *, seed: int = 0, softmax: bool | None = None, **options: Any
) -> Callable[[Case], Tensor]:
    """Make a metric `(case) -> (B,)` of any metric class of Quantus, computed recording by recording.

    Maps go in with maximum 1, the magnitude as an image (1, F, T) with its own phase bound to the classifier, the
    explained
    class as label, a ground-truth map as segmentation where the case has one. Curves become their mean.

    Args:
        name: class name, such as "PixelFlipping".
        seed: of Quantus' random numbers; the same for every recording.
        softmax: whether the metric reads probabilities or logits; None leaves Quantus' own choice for that metric.
        options: of the metric's constructor, such as features_in_step=1000.

    Returns:
        A function of a case; NaN for a recording whose map Quantus does not take: all zero or constant.

    Raises:
        SpeechXAIError: an unknown name or option. By the returned function: a ground-truth map that is missing, and
            Quantus'
            own error in our words.
        NotApplicable: a metric whose values in Quantus are wrong or that changes the network; the message says why.
    """
    if name in REFUSED:
        raise NotApplicable(f"Quantus' {name} is not taken: {REFUSED[name]}.")
    quantus, known = _quantus(), quantus_names()
    if name not in known:
        raise SpeechXAIError(did_you_mean(name, known, "Quantus metric"))
    takes = inspect.signature(getattr(quantus, name).__init__).parameters
    for option in options:
        if option not in takes:
            raise SpeechXAIError(did_you_mean(option, [*takes][1:], f"option of Quantus' {name}"))
    settings: dict[str, Any] = {
        "disable_warnings": True,
        "display_progressbar": False,
        "return_aggregate": False,
        **options,
    }
    if "perturb_baseline" in takes and takes["perturb_baseline"].default == "black":
        settings.setdefault(
            "perturb_baseline", 0.0
        )  # "black" is the recording's smallest magnitude; removed means silent
    # Our maps have maximum 1, and Quantus' own scaling would divide by the maximum of the batch.
    settings = {"normalise": False, **{key: value for key, value in settings.items() if key in takes}}

    call = {} if softmax is None else {"softmax": softmax}
    draws_classes = "num_classes" in takes and "num_classes" not in options

    def metric(case: Case) -> Tensor:
        if name in NEEDS_TRUTH and case.truth is None:
            raise SpeechXAIError(f"Quantus' {name} needs a ground-truth map, and this recording has none.")
        if draws_classes:  # Quantus' own choice is the 1000 of ImageNet
            settings["num_classes"] = max(2, case.probability.shape[1])
        values = []
        for index in range(len(case.spec)):
            with _mended(quantus, seed):
                values.append(_one(getattr(quantus, name)(**settings), call, case, index))
        return torch.tensor(values, dtype=case.mask.dtype, device=case.mask.device)

    metric.__name__ = f"quantus_{name}"
    metric.__doc__ = f"{name} of Quantus."
    return metric


def _one(metric: Any, call: dict[str, Any], case: Case, index: int) -> float:
    mask = _array(case.mask[index])
    if mask.min() == mask.max():
        return float("nan")
    inputs: dict[str, Any] = {
        "model": _Heard(case, index),
        "x_batch": _array(case.spec.magnitude[index])[None, None],
        "y_batch": _array(case.target[index : index + 1]),
        "a_batch": mask[None, None],
        "explain_func": _explainer(case, index),
        "channel_first": True,
        "device": str(case.mask.device),
        **call,
    }
    if case.truth is not None:
        inputs["s_batch"] = (_array(case.truth[index]) > 0.5)[None, None]
    try:
        result = metric(**inputs)
    except (AssertionError, AttributeError, IndexError, KeyError, NotImplementedError, TypeError, ValueError) as error:
        raise SpeechXAIError(f"Quantus' {type(metric).__name__} failed: {type(error).__name__}: {error}") from error
    # Curves by their share of removed bins come as a dictionary.
    curve = list(result.values()) if isinstance(result, dict) else result
    return float(np.mean(np.asarray(curve, dtype=np.float64)))


def _explainer(case: Case, index: int) -> Callable[..., Array]:
    """Explain a perturbed magnitude by the case's own recipe, as evidence of maximum 1."""
    from speechxai.types import Attribution, Spectrogram

    own = case.attribution

    def again(model: nn.Module, inputs: Any, targets: Any, **_: Any) -> Array:
        magnitude = torch.as_tensor(inputs).reshape(-1, *case.mask.shape[-2:]).to(case.mask).clamp(min=0)
        phase = case.spec.phase[index : index + 1].expand_as(magnitude).contiguous()
        spec = Spectrogram(magnitude, phase, case.spec.n_samples, case.spec.stft)
        target = torch.as_tensor(targets).to(case.target)
        options = {**own.params.get("options", {}), "evidence": own.params.get("evidence")}
        found = explain(case.model, spec, own.recipe, target, options=options)
        again_case = Case(
            case.model, spec, Attribution(found.values, target, own.recipe, signed=own.signed), kind=case.kind
        )
        return _array(again_case.mask)[:, None]

    return again


def _array(values: Tensor) -> Array:
    # A copy: some metrics write into what they are given.
    return np.array(values.detach().cpu())
