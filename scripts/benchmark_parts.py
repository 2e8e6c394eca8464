"""What the benchmark runs on: networks of random weights, synthetic voices, the published study's settings, processor
time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import nn

from speechxai.classifiers import Classifier, build
from speechxai.data.synthetic import corpus
from speechxai.evaluation.config import resolve_metrics, resolve_recipes
from speechxai.evaluation.values import EvaluateSettings
from speechxai.signal.stft import SegmentConfig, spectrogram
from speechxai.types import Recording, Spectrogram

RATE_HZ = 16_000
OPTIONS: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"n_steps": 5, "baseline": "silence"},
    "smoothgrad": {"n_samples": 10, "sigma": 1.0, "relative": False, "clamp": False, "absolute": True},
    "gradient_shap": {"n_samples": 5, "baselines": "normal"},
}
QUICK: dict[str, dict[str, Any]] = {
    **OPTIONS,
    "rise": {"n_masks": 16},
    "occlusion": {"patch_ms": 2000.0, "stride_ms": 2000.0, "patch_hz": 4000.0, "stride_hz": 4000.0},
}
FEW = {**QUICK} | {
    "integrated_gradients": {"n_steps": 3},
    "smoothgrad": {"n_samples": 3},
    "gradient_shap": {"n_samples": 3},
    "rise": {"n_masks": 6},
}
"""Memory does not grow with samples, so a few are enough to see it."""
STUDY = EvaluateSettings(
    tuple(recipe for recipe in resolve_recipes(("published",), False) if not recipe.endswith("_map")),
    tuple(resolve_metrics(("published",))),
    evidence="absolute",
    options=OPTIONS,
)


def network(name: str, segment_s: float | None = None) -> Classifier:
    """`cnn` or `hubert` (base), random weights; without segments it hears recordings whole."""
    torch.manual_seed(0)
    backbone: Any = build("cnn") if name == "cnn" else build("ssl", family="hubert", size="base")
    layer = "features" if name == "cnn" else backbone.cam_layer
    segment = None if segment_s is None else SegmentConfig(segment_s, segment_s)
    found = Classifier(backbone, None, segment, cam_layer=layer, max_batch=getattr(backbone, "max_batch", 16))
    return found.eval().requires_grad_(False)


def voice(seconds: float, index: int = 0) -> Recording:
    """A synthetic voice, repeated or cut to a length."""
    wave = corpus(2, index)[0].waveform
    n_samples = round(seconds * RATE_HZ)
    return Recording(wave.repeat(-(-n_samples // len(wave)))[:n_samples], RATE_HZ, f"voice-{index}", f"voice-{index}")


def batch(seconds: float, n: int = 1) -> Spectrogram:
    """Spectrogram of n voices."""
    return spectrogram(torch.stack([voice(seconds, index).waveform for index in range(n)]))


def cpu_s(run: Callable[[], Any], n: int = 1, enough_s: float = math.inf) -> float:
    """Median processor time of n runs, s; of fewer where they have taken `enough_s` together."""
    times: list[float] = []
    while len(times) < n and sum(times) < enough_s:
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return median(times)


def forward_s(model: nn.Module, spec: Spectrogram, n: int = 5) -> float:
    """Processor time of a forward pass without gradients, s: the unit of all tables."""
    with torch.inference_mode():
        model(spec.magnitude, spec.phase)
        return cpu_s(lambda: model(spec.magnitude, spec.phase), n)
