"""Any metric of Quantus by name, such as "quantus:PixelFlipping", on our maps and classifiers (hedstrom2023quantus).

The only file that knows Quantus."""

from __future__ import annotations

import importlib
import inspect
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from speechxai.errors import SpeechXAIError, did_you_mean, told
from speechxai.explain.explain import explain
from speechxai.metrics.case import METRICS, Case
from speechxai.registry import Registry
from speechxai.types import Array

WEIGHTS = "it changes the network's weights"
BATCHES = "it compares the recordings of a batch, and every recording is scored by itself here"

REFUSED = {
    **dict.fromkeys(("BatchSufficiency", "Consistency", "Sufficiency", "SensitivityN"), BATCHES),
    "Completeness": "a map of maximum 1 cannot add up to the network's answer, so it would fail every map",
    "Focus": "it needs mosaics of several recordings",
    "Infidelity": (
        "its perturbations accumulate from patch to patch (quantus 0.6), so its value is not the published infidelity;"
        " use infidelity"
    ),
    "InputInvariance": "it rebuilds the network's first layer; use the benchmark's invariance checks",
    "Monotonicity": (
        "it writes the baseline onto the baseline (quantus 0.6), so that no bin is ever restored and every map gets 1"
    ),
    "NonSensitivity": "it fails for more than one feature a step and takes a pass for every bin otherwise",
    **dict.fromkeys(
        ("EffectiveMPRT", "EfficientMPRT", "ModelParameterRandomisation", "MPRT", "SmoothMPRT"),
        f"{WEIGHTS}; use model_randomization",
    ),
    "RelativeRepresentationStability": "it needs the names of inner layers",
}
"""Metrics of Quantus that are not taken, and why."""

QUANTUS: Registry[Any] = Registry(
    "Quantus metric",
    required=("best", "bounds", "cites"),
    refused={f"quantus:{name}": reason for name, reason in REFUSED.items()},
)
"""Metrics of Quantus, `(case, *, seed, softmax, ...) -> (B,)`; facts as in METRICS."""
METRICS.adopt(QUANTUS, "quantus")

N_STEPS = 30
"""Steps in which metrics of Quantus remove a map's bins unless told otherwise; theirs of one bin a step are hours."""
N_SAMPLES = 10
"""Perturbed recordings that are explained again unless told otherwise; Quantus' own are 200."""

UNIT, SIGNED, OPEN = (0.0, 1.0), (-1.0, 1.0), (0.0, None)
_SAID: dict[str, tuple[str, tuple[float | None, float | None], str, str]] = {
    "AUC": ("high", UNIT, "fawcett2006introduction", "Area under the ROC curve of the map against the true bins."),
    "AttributionLocalisation": ("high", UNIT, "kohlbrenner2020towards", "Share of the evidence inside the true bins."),
    "AvgSensitivity": ("low", OPEN, "yeh2019infidelity", "Mean change of the map under small noise, relative."),
    "Complexity": ("low", OPEN, "bhatt2020evaluating", "Entropy of the map's shares."),
    "Continuity": ("low", OPEN, "montavon2018methods", "Largest change of the map by change of the shifted recording."),
    "EffectiveComplexity": ("low", OPEN, "nguyen2020quantitative", "Number of bins above a threshold."),
    "FaithfulnessCorrelation": (
        *("high", SIGNED, "bhatt2020evaluating"),
        "Correlation of the evidence in random subsets of bins with what removing them takes from the answer.",
    ),
    "FaithfulnessEstimate": (
        *("high", SIGNED, "alvarezmelis2018towards"),
        "Correlation of evidence in steps, strongest first, with what removing each takes from the answer.",
    ),
    "IROF": (
        "high",
        (None, None),
        "rieger2020irof",
        "Area over the answer's curve while strongest superpixels are removed.",
    ),
    "LocalLipschitzEstimate": (
        *("low", OPEN, "alvarezmelis2018robustness"),
        "Largest change of the map by change of the recording, under noise.",
    ),
    "MaxSensitivity": ("low", OPEN, "yeh2019infidelity", "Largest change of the map under small noise, relative."),
    "MonotonicityCorrelation": (
        *("high", SIGNED, "nguyen2020quantitative"),
        "Rank correlation of evidence with the answer's uncertainty when bins are drawn at random.",
    ),
    "PixelFlipping": ("low", OPEN, "bach2015pixel", "Mean answer while the strongest bins are removed step by step."),
    "PointingGame": ("high", UNIT, "zhang2018topdown", "Whether the strongest bin is a true one."),
    "RandomLogit": ("low", SIGNED, "sixt2020when", "Similarity of the map with that of another class."),
    "RegionPerturbation": (
        # Quantus states that lower is better, but gives the loss of the answer, which the paper wants large.
        *("high", (None, None), "samek2017evaluating"),
        "Mean loss of the answer while the strongest regions are removed.",
    ),
    "RelativeInputStability": (
        "low",
        (None, None),
        "agarwal2022rethinking",
        "Change of map by change of recording, log.",
    ),
    "RelativeOutputStability": (
        "low",
        (None, None),
        "agarwal2022rethinking",
        "Change of map by change of answer, log.",
    ),
    "RelevanceMassAccuracy": ("high", UNIT, "arras2022clevr", "Share of the evidence inside the true bins."),
    "RelevanceRankAccuracy": ("high", UNIT, "arras2022clevr", "Share of as many strongest bins that are true ones."),
    "ROAD": ("low", UNIT, "rong2022consistent", "Share of removals, interpolated, that leave the answer as it is."),
    "Selectivity": ("low", OPEN, "montavon2018methods", "Mean answer while the strongest patches are removed."),
    "Sparseness": ("high", UNIT, "chalasani2020concise", "Gini index of the map."),
    "TopKIntersection": ("high", UNIT, "theiner2022interpretable", "Share of the k strongest bins that are true ones."),
}
"""By name: better direction (a test compares it with Quantus' own), bounds, citation and what it is in a sentence."""

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
    had_nan = "NaN" in vars(np)
    np.NaN = np.nan  # type: ignore[attr-defined]
    np.random.seed(seed)  # Quantus draws from numpy's global state; it is put back below
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        np.random.set_state(state)
        utils.calculate_auc = original
        if not had_nan:
            del np.NaN  # type: ignore[attr-defined]


def _quantus() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("quantus")


def quantus_names() -> list[str]:
    """Return the names of the metrics that the bridge takes, such as "quantus:PixelFlipping"."""
    return list(QUANTUS)


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Check options of `name` ("PixelFlipping") against its constructor. Raises SpeechXAIError for an unknown one."""
    takes = [*inspect.signature(getattr(_quantus(), name).__init__).parameters][1:]
    for option in options:
        if option not in (*takes, "seed", "softmax"):
            raise SpeechXAIError(did_you_mean(option, [*takes, "seed", "softmax"], f"option of Quantus' {name}"))


def sized(name: str, n_bins: int, n_frames: int) -> dict[str, Any]:
    """Return options that suit a recording's size: Quantus' own are made for images of 224 x 224.

    Steps divide the number of bins without a rest, as Quantus asks.
    """
    n_all = n_bins * n_frames
    least = -(-n_all // N_STEPS)
    step = next(size for size in range(least, n_all + 1) if n_all % size == 0)
    found: dict[str, dict[str, Any]] = {
        **{each: {"features_in_step": step} for each in ("PixelFlipping", "FaithfulnessEstimate")},
        "MonotonicityCorrelation": {"features_in_step": step, "nr_samples": N_SAMPLES},
        "FaithfulnessCorrelation": {"subset_size": max(1, round(n_all * 224 / 224**2))},
        "Selectivity": {"patch_size": max(1, round((n_all / N_STEPS) ** 0.5))},
        "RegionPerturbation": {
            "patch_size": max(1, round((n_all / N_STEPS) ** 0.5 / 3)),
            "regions_evaluation": N_STEPS,
        },
        "ROAD": {"percentages": [5, 10, 20, 40]},
        "Continuity": {"nr_steps": N_SAMPLES},
        "TopKIntersection": {"k": max(1, round(n_all * 1000 / 224**2))},
        **{
            each: {"nr_samples": N_SAMPLES}
            for each in (
                *("AvgSensitivity", "MaxSensitivity", "LocalLipschitzEstimate"),
                *("RelativeInputStability", "RelativeOutputStability"),
            )
        },
    }
    return found.get(name, {})


def quantus_metric(name: str, **options: Any) -> Callable[[Case], Tensor]:
    """Make a metric `(case) -> (B,)` of any metric class of Quantus, computed recording by recording.

    Maps go in with maximum 1, the magnitude as an image (1, F, T) with its own phase bound to the classifier, the
    explained class as label, a ground-truth map as segmentation where the case has one. Curves become their mean.

    Args:
        name: class name, such as "PixelFlipping".
        options: of the metric's constructor, such as features_in_step=1000; `seed` of Quantus' random numbers, the same
            for every recording (the case's unless given); and `softmax`: whether the metric reads probabilities or
            logits, Quantus' own choice unless given.

    Returns:
        A function of a case; NaN where Quantus takes no map that is zero or constant, and where it fails: the reason
        stands in the case's `reasons`.

    Raises:
        SpeechXAIError: an unknown name or option. By the returned function: a ground-truth map that is missing.
        NotApplicable: a metric whose values in Quantus are wrong or that changes the network; the message says why.
    """
    function = QUANTUS[f"quantus:{name}"]
    check_options(name, options)
    return lambda case: function(case, **options)


def _register(name: str) -> None:
    best, bounds, cites, summary = _SAID[name]

    def metric(case: Case, **options: Any) -> Tensor:
        return _computed(name, case, options)

    metric.__name__ = f"quantus:{name}"
    metric.__doc__ = f"{summary} By Quantus ({cites})."
    facts = {"needs": "truth"} if name in NEEDS_TRUTH else {}
    QUANTUS.register(best=best, bounds=bounds, cites=cites, **facts)(metric)


for _name in _SAID:
    _register(_name)


def _computed(name: str, case: Case, options: Mapping[str, Any]) -> Tensor:
    if name in NEEDS_TRUTH and case.truth is None:
        raise SpeechXAIError(f"Quantus' {name} needs a ground-truth map, and this recording has none.")
    quantus = _quantus()
    given = {**sized(name, *case.mask.shape[1:]), **options}
    seed, softmax = given.pop("seed", case.seed), given.pop("softmax", None)
    takes = inspect.signature(getattr(quantus, name).__init__).parameters
    # Our maps have maximum 1, and Quantus' own scaling would divide by the maximum of the batch.
    settings: dict[str, Any] = {
        "disable_warnings": True,
        "display_progressbar": False,
        "return_aggregate": False,
        "normalise": False,
        **given,
    }
    if "perturb_baseline" in takes and takes["perturb_baseline"].default == "black":
        # "black" is the recording's smallest magnitude; removed means silent
        settings.setdefault("perturb_baseline", 0.0)
    if "num_classes" in takes:  # Quantus' own choice is the 1000 of ImageNet
        settings.setdefault("num_classes", max(2, case.probability.shape[1]))
    settings = {key: value for key, value in settings.items() if key in takes}
    call = {} if softmax is None else {"softmax": softmax}
    values = []
    for index in range(len(case.spec)):
        value, reason = float("nan"), "its map is zero or constant"
        mask = case.mask[index]
        if bool(mask.min() < mask.max()):
            try:
                with _mended(quantus, seed):
                    value, reason = (
                        _one(getattr(quantus, name)(**settings), call, case, index),
                        "it is not defined here",
                    )
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # Quantus fails in many ways, and none of them costs more than its own value
                reason = f"Quantus failed: {told(error)}"
        if not math.isfinite(value):
            case.reasons[f"quantus:{name}", index] = f"quantus:{name}: {reason}"
            value = float("nan")
        values.append(value)
    return torch.tensor(values, dtype=case.mask.dtype, device=case.mask.device)


def _one(metric: Any, call: dict[str, Any], case: Case, index: int) -> float:
    inputs: dict[str, Any] = {
        "model": _Heard(case, index),
        "x_batch": _array(case.spec.magnitude[index])[None, None],
        "y_batch": _array(case.target[index : index + 1]),
        "a_batch": _array(case.mask[index])[None, None],
        "explain_func": _explainer(case, index),
        "channel_first": True,
        "device": str(case.mask.device),
        **call,
    }
    if case.truth is not None:
        inputs["s_batch"] = (_array(case.truth[index]) > 0.5)[None, None]
    result = metric(**inputs)
    # Curves by their share of removed bins come as a dictionary.
    curve = list(result.values()) if isinstance(result, dict) else result
    return float(np.mean(np.asarray(curve, dtype=np.float64)))


def _explainer(case: Case, index: int) -> Callable[..., Array]:
    """Explain a perturbed magnitude by the case's own recipe, as evidence of maximum 1."""
    from speechxai.types import Attribution, Spectrogram

    own = case.attribution
    # A stack of many maps of one recording remembers how each was made.
    recipe, params, signed = own.params.get("rows", {}).get(index, (own.recipe, own.params, own.signed))

    def again(model: nn.Module, inputs: Any, targets: Any, **_: Any) -> Array:
        magnitude = torch.as_tensor(inputs).reshape(-1, *case.mask.shape[-2:]).to(case.mask).clamp(min=0)
        phase = case.spec.phase[index : index + 1].expand_as(magnitude).contiguous()
        spans = case.spec.spans[index : index + 1] * len(magnitude)
        spec = Spectrogram(magnitude, phase, case.spec.n_samples, case.spec.stft, spans)
        target = torch.as_tensor(targets).to(case.target)
        options = {**params.get("options", {}), "evidence": params.get("evidence"), "completeness": False}
        found = explain(case.model, spec, recipe, target, seed=params.get("seed") or 0, options=options)
        again_case = Case(case.model, spec, Attribution(found.values, target, recipe, signed=signed), kind=case.kind)
        return _array(again_case.mask)[:, None]

    return again


def _array(values: Tensor) -> Array:
    # A copy: some metrics write into what they are given.
    return np.array(values.detach().cpu())
