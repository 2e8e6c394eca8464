"""What scripts/benchmark.py measures: networks, the study of both pipelines, their agreement, and children that report their memory."""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from naive_study import study as naive_study
from torch import nn

from speechxai.attribution import OriginalPass, count_passes
from speechxai.classifiers import Classifier, build
from speechxai.classifiers.precision import at_precision
from speechxai.combination import evidence
from speechxai.config import resolve_metrics, resolve_recipes
from speechxai.data.synthetic import corpus
from speechxai.explain import explain, explain_all
from speechxai.io.hardware import configure
from speechxai.pipeline import EvaluateSettings, Job, evaluate
from speechxai.pipeline_unit import compute
from speechxai.segments import SegmentConfig
from speechxai.stft import spectrogram
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
    tuple(resolve_metrics(("published",))), evidence="absolute", options=OPTIONS,
)  # fmt: skip


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


def cpu_s(run: Callable[[], Any], n: int = 1) -> float:
    """Median processor time of n runs, s."""
    times = []
    for _ in range(n):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return median(times)


def forward_s(model: nn.Module, spec: Spectrogram, n: int = 5) -> float:
    """Processor time of a forward pass without gradients, s: the unit of all tables."""
    with torch.inference_mode():
        model(spec.magnitude, spec.phase)
        return cpu_s(lambda: model(spec.magnitude, spec.phase), n)


def method_row(name: str, model: Classifier, spec: Spectrogram, unit_s: float, n: int) -> list[str]:
    """What one method costs: passes, and processor time in forward passes."""
    with count_passes(model, spec) as passes:
        explain(model, spec, name, 1, options={**QUICK, "completeness": False})
    took = cpu_s(lambda: explain(model, spec, name, 1, options={**QUICK, "completeness": False}), n)
    note = ", ".join(f"{key}={value}" for key, value in QUICK.get(name, {}).items())
    return [name, f"{passes.forward:.0f}", f"{passes.backward:.0f}", f"{took / unit_s:.1f}", note]


def studies(name: str, seconds: float, repeats: int) -> tuple[list[list[str]], list[list[str]]]:
    """Both pipelines in turns on one recording: rows of cost, and rows of agreement with the naive one."""
    model, recording = network(name), voice(seconds)
    spec = spectrogram(recording.waveform[None])
    target = explain(model, spec, "energy_map").target
    precisions = ("float32", "masked-bfloat16", "bfloat16")
    times: dict[str, list[float]] = {key: [] for key in ("pass", "naive", *precisions)}
    found: dict[str, Any] = {}
    # Once unmeasured: what is imported, built and kept stays out of the comparison.
    small, short = network("cnn"), voice(0.5)
    naive_study(small, spectrogram(short.waveform[None]), target)
    compute(Job(short, small), STUDY, [])
    for precision in precisions:
        forward_s(at_precision(model, precision)[1], spec, 1)
    for _ in range(repeats):
        times["pass"].append(forward_s(model, spec, 3))
        start = time.process_time()
        with count_passes(model, spec) as passes:
            scores, maps = naive_study(model, spec, target)
        times["naive"].append(time.process_time() - start)
        for precision in precisions:
            start = time.process_time()
            found[precision] = compute(Job(recording, model), replace(STUDY, precision=precision), [])
            times[precision].append(time.process_time() - start)
    unit = median(times["pass"])
    rows = [
        [
            "naive",
            f"{passes.forward:.0f}, 38 in float64",
            f"{passes.backward:.0f}, 5 in float64",
            f"{median(times['naive']) / unit:.0f}",
            "1",
        ]
    ]
    for precision in precisions:
        facts = found[precision].facts
        ratio = median(n / t for n, t in zip(times["naive"], times[precision], strict=True))
        cost = f"{median(times[precision]) / unit:.0f}"
        rows.append([precision, f"{facts['n_forward']:.0f}", f"{facts['n_backward']:.0f}", cost, f"{ratio:.2f}"])
    agree = [agreement(model, spec, precision, found[precision].values, scores, maps) for precision in precisions]
    return rows, agree


def agreement(
    model: Classifier, spec: Spectrogram, precision: str, ours: Any, naive: Any, maps: dict[str, np.ndarray]
) -> list[str]:
    """Largest differences to the naive pipeline over the 36 maps: maps, probabilities kept, AD and AG, and AI where it is not a tie."""
    shared = OriginalPass(at_precision(model, precision)[0], spec)
    target = shared.logits().argmax(1)
    made = explain_all(
        shared, spec, STUDY.recipes, target, options={**OPTIONS, "evidence": "absolute", "completeness": False}
    )
    p = float(shared.logits().softmax(-1)[0, target])
    worst, least, probabilities, flips = 0.0, 1.0, abs(p - next(iter(naive.values()))["p"]), 0
    for recipe, values in naive.items():
        mine = evidence(made[recipe].values, "absolute")[0].numpy()
        worst = max(worst, float(np.abs(mine - maps[recipe]).max()))
        least = min(least, float(np.corrcoef(mine.ravel(), maps[recipe].ravel())[0, 1]))
        # The drop and the gain tell the probability that was kept.
        kept = p * (1 - ours[recipe]["average_drop"]) + (1 - p) * ours[recipe]["average_gain"]
        probabilities = max(probabilities, abs(kept - values["p_kept"]))
        tie = abs(values["p_kept"] - values["p"]) < 1e-4
        flips += not tie and ours[recipe]["average_increase"] != values["average_increase"]
    fractions = max(abs(ours[r][m] - naive[r][m]) for r in naive for m in ("average_drop", "average_gain"))
    quantus = max(abs(ours[r][m] - naive[r][m]) for r in naive for m in ("sparseness", "complexity"))
    return [
        precision,
        f"{worst:.1e}",
        f"{least:.4f}",
        f"{probabilities:.1e}",
        f"{fractions:.1e}",
        str(flips),
        f"{quantus:.1e}",
    ]


class Nowhere:
    """A sink that forgets."""

    def claim(self, recording: str) -> Any:
        """Every unit is ours."""
        return nullcontext(True)

    def write(self, result: Any) -> None:
        """Forget it."""

    def fail(self, failure: Any) -> None:
        """A benchmark has no failures."""
        raise RuntimeError(failure.message)


def work(task: dict[str, Any]) -> dict[str, float]:
    """One measurement in a process of its own: processor time and the process's largest memory, GiB."""
    configure(threads=1)
    model = network(task["network"], task.get("segment_s"))
    model.max_batch = task.get("max_batch", model.max_batch)
    seconds, n = task["seconds"], task.get("n", 1)
    if "method" in task:
        options = {**FEW, **task.get("options", {})}
        spec = batch(seconds, n)
        took = cpu_s(lambda: explain(model, spec, task["method"], 1, options=options))
    else:
        settings = replace(STUDY, memory_mb=task.get("memory_mb", STUDY.memory_mb))
        voices = [voice(seconds, index % 4) for index in range(n)]
        evaluate(["0"], lambda i: Job(voices[0], model), settings, Nowhere())  # unmeasured
        names = [str(i) for i in range(n)]
        run = partial(evaluate, names, lambda i: Job(voices[int(i)], model), settings, Nowhere())
        took = cpu_s(run, max(1, 8 // n))  # short runs vary most
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"cpu_s": took, "peak_gib": peak}


def child(**task: Any) -> dict[str, float]:
    """Run `work` in a new process. A task that ends with an error gives its last line."""
    script = Path(__file__).with_name("benchmark.py")
    done = subprocess.run([sys.executable, str(script), "--child", json.dumps(task)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{task}: {done.stderr.strip().splitlines()[-1:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def exponent(sizes: list[float], costs: list[float]) -> float:
    """Slope of log cost over log size: 1 is linear growth."""
    x = [math.log(size) for size in sizes]
    y = [math.log(cost) for cost in costs]
    x_mean, y_mean = sum(x) / len(x), sum(y) / len(y)
    products = sum((a - x_mean) * (b - y_mean) for a, b in zip(x, y, strict=True))
    return products / sum((a - x_mean) ** 2 for a in x)
