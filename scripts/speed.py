"""What explaining and scoring costs: ratios of processor time in one run, medians, and memory of processes of their
own.

    OMP_NUM_THREADS=1 python scripts/speed.py --quick                                                a few minutes
    OMP_NUM_THREADS=1 python scripts/speed.py --part study --network hubert --seconds 10
    OMP_NUM_THREADS=1 python scripts/speed.py --part methods --network wavlm-large --segment-s 5 --recording voice.wav

Parts: methods (each in forward-pass units), study (six methods, 30 combinations, seven metrics, beside a naive
pipeline), recordings (1, 10, 100), length (2.5 to 20 s), memory (peak of every method, 10 s, two recordings, on
HuBERT-base unless another transformer is asked for). Random weights, and synthetic voices unless a recording is named:
speed does not depend on what is heard.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # as the command line does; PyTorch reads it when it is imported

import numpy as np
import torch
from torch import Tensor, nn

from speechxai.classifiers import Classifier, build
from speechxai.classifiers.network import as_network
from speechxai.classifiers.precision import PRECISIONS, at_precision
from speechxai.classifiers.ssl import FAMILIES, SIZES
from speechxai.data.synthetic import corpus
from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.evaluation.config import resolve_metrics, resolve_recipes
from speechxai.evaluation.machine import choices, configure, processor
from speechxai.evaluation.unit import standard
from speechxai.evaluation.values import EvaluateSettings, Job, evaluate_recordings
from speechxai.explain import METHODS, OriginalPass, count_passes
from speechxai.explain.combination import evidence
from speechxai.explain.explain import explain, explain_all
from speechxai.explain.passes import generator, logit_gradient, network_of
from speechxai.explain.recipe import PUBLISHED_METHODS
from speechxai.metrics import Case
from speechxai.metrics.quantus_bridge import quantus_metric
from speechxai.signal import audio
from speechxai.signal.stft import SegmentConfig, spectrogram
from speechxai.types import Attribution, Recording, Spectrogram

PARTS = ("methods", "study", "recordings", "length", "memory")
NETWORKS = ("cnn", "whisper", *FAMILIES, *(f"{family}-{size}" for family in FAMILIES for size in SIZES))

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
    """One of NETWORKS (a family alone is its base size), random weights; without segments it hears recordings whole."""
    torch.manual_seed(0)
    family, _, size = name.partition("-")
    backbone: Any
    if name in ("cnn", "whisper"):
        backbone = build(name, **({"random": True} if name == "whisper" else {}))
    else:
        backbone = build("ssl", family=family, size=size or "base")
    layer = "features" if name == "cnn" else None
    segment = None if segment_s is None else SegmentConfig(segment_s, segment_s)
    found = Classifier(backbone, None, segment, cam_layer=layer)
    return found.eval().requires_grad_(False)


def voice(seconds: float, index: int = 0, path: str | None = None) -> Recording:
    """A synthetic voice, or that of a file, repeated or cut to a length."""
    wave = corpus(2, index)[0].waveform if path is None else audio.read_audio(path, sample_rate=RATE_HZ).waveform
    n_samples = round(seconds * RATE_HZ)
    return Recording(wave.repeat(-(-n_samples // len(wave)))[:n_samples], RATE_HZ, f"voice-{index}", f"voice-{index}")


def batch(seconds: float, n: int = 1, path: str | None = None) -> Spectrogram:
    """Spectrogram of n voices."""
    return spectrogram(torch.stack([voice(seconds, index, path).waveform for index in range(n)]))


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


def there_and_back_s(model: nn.Module, spec: Spectrogram, n: int = 5) -> float:
    """Processor time of a forward pass and the way back to the spectrogram, s."""
    target = torch.ones(len(spec), dtype=torch.int64)
    logit_gradient(as_network(model), spec.magnitude, spec.phase, target)
    return cpu_s(lambda: logit_gradient(as_network(model), spec.magnitude, spec.phase, target), n)


N_FORWARD, N_BACKWARD = 93, 22
"""Passes that the study needs; the floor is what they cost one recording at a time, and nothing else."""


# The published study written plainly, as a measure: captum and Quantus map by map, one mask at a time, nothing shared.
# Six methods, 30 combinations of two, seven metrics, a recording. Integrated gradients are computed in float64, and so
# is every pass of a map that holds them, as in the published code (docs/protocol-mancini2025.md). 132 forward passes,
# 38 of them in float64. Random draws are those of speechxai, so that maps can be compared bin by bin; guided
# backpropagation and Grad-CAM are its own, called apart, since captum's do not know GELU and transformers.
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


def naive_study(model: nn.Module, spec: Spectrogram, target: Tensor) -> tuple[Scores, dict[str, np.ndarray]]:
    """Scores and evidence of the 36 maps of one recording (1, F, T) for its predicted class (1,), by recipe."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = attributed(model, spec, target)  # read in the order in which recipes name them
        maps = {name: np.abs(found[name]) / np.abs(found[name]).max() for name in PUBLISHED_METHODS}
        for first, second in combinations(list(maps), 2):
            for name, both in (("union", maps[first] + maps[second]), ("intersection", maps[first] * maps[second])):
                maps[f"{name}({first}, {second})"] = both / both.max()
        double = copy.deepcopy(model).double()
        return {
            name: scored(double if values.dtype == np.float64 else model, spec, target, values)
            for name, values in maps.items()
        }, maps


def naive_apart(name: str, seconds: float) -> dict[str, Any]:
    """The naive pipeline in a process of its own, which takes no settings of ours: processor time, passes, scores and
    maps."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "maps.npz")
        task = json.dumps({"naive": name, "seconds": seconds, "out": str(out)})
        environment = {**os.environ, "THP_MEM_ALLOC_ENABLE": "0"}
        done = subprocess.run(
            [sys.executable, __file__, "--child", task], capture_output=True, text=True, env=environment, check=True
        )
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        with np.load(out) as maps:
            found["maps"] = {recipe: maps[recipe] for recipe in maps.files}
    return found


def naive_work(task: dict[str, Any]) -> dict[str, Any]:
    """What `naive_apart` asks of its process."""
    torch.set_num_threads(1)
    small, short = network("cnn"), voice(0.5)
    naive_study(small, spectrogram(short.waveform[None]), torch.tensor([1]))  # unmeasured: imports
    model, spec = network(task["naive"]), spectrogram(voice(task["seconds"]).waveform[None])
    target = explain(model, spec, "energy_map").target
    start = time.process_time()
    with count_passes(model, spec) as passes:
        scores, maps = naive_study(model, spec, target)
    took = time.process_time() - start
    np.savez(task["out"], **maps)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "cpu_s": took,
        "forward": passes.forward,
        "backward": passes.backward,
        "scores": scores,
        "peak_gib": peak,
    }


# Methods and studies by themselves, in this process and in processes of their own.
def method_row(name: str, model: Classifier, spec: Spectrogram, unit_s: float, n: int) -> list[str]:
    """What one method costs: passes, and processor time in forward passes."""
    with count_passes(model, spec) as passes:
        explain(model, spec, name, 1, options={**QUICK, "completeness": False})
    took = cpu_s(lambda: explain(model, spec, name, 1, options={**QUICK, "completeness": False}), n)
    note = ", ".join(f"{key}={value}" for key, value in QUICK.get(name, {}).items())
    return [name, f"{passes.forward:.0f}", f"{passes.backward:.0f}", f"{took / unit_s:.1f}", note]


class Nowhere:
    """A sink that forgets."""

    def claim(self, recording: str) -> Any:
        """Every unit is ours."""
        return nullcontext(True)

    def write(self, result: Any) -> None:
        """Forget it."""

    def fail(self, failure: Any) -> None:
        """A measurement has no failures."""
        raise RuntimeError(failure.message)


def work(task: dict[str, Any]) -> dict[str, float]:
    """One measurement in a process of its own: processor time and the process's largest memory, GiB."""
    configure(threads=1)
    model = network(task["network"], task.get("segment_s"))
    model.max_batch = task.get("max_batch", model.max_batch)
    seconds, n = task["seconds"], task.get("n", 1)
    if "method" in task:
        options = {**FEW, **task.get("options", {})}
        spec = batch(seconds, n, task.get("recording"))
        took = cpu_s(lambda: explain(model, spec, task["method"], 1, options=options))
    else:
        settings = replace(STUDY, memory_mb=task.get("memory_mb", STUDY.memory_mb))
        voices = [voice(seconds, index % 4) for index in range(n)]
        short = Job(voice(0.5), model)
        evaluate_recordings(["0"], lambda i: short, settings, Nowhere())  # unmeasured: what is imported, built and kept
        names = [str(i) for i in range(n)]
        run = partial(evaluate_recordings, names, lambda i: Job(voices[int(i)], model), settings, Nowhere())
        took = cpu_s(run, max(1, 8 // n), enough_s=30.0)  # short runs vary most
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"cpu_s": took, "peak_gib": peak}


def child(**task: Any) -> dict[str, float]:
    """Run `work` in a new process. A task that ends with an error gives its last line."""
    done = subprocess.run([sys.executable, __file__, "--child", json.dumps(task)], capture_output=True, text=True)
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


SHORT_S = 0.1
"""Where a pass takes less, a study runs once unmeasured: the memory that the first one fetches is a tenth of it."""


def pass_times(model: Any, spec: Spectrogram) -> tuple[float, float]:
    """Processor time of a pass, and of one there and back, s: each the median of half a second, of 3 at least. The pace
    of a shared processor changes by half within seconds, and a study lasts hundreds of passes."""
    n = max(3, round(0.5 / max(forward_s(model, spec, 3), 1e-4)))
    return forward_s(model, spec, n), there_and_back_s(model, spec, max(3, n // 3))


# The study by both pipelines in turns, and how far their maps and scores agree.
def studies(
    name: str, seconds: float, repeats: int, precisions: Sequence[str]
) -> tuple[list[list[str]], list[list[str]], list[list[str]]]:
    """Both pipelines in turns on one recording: rows of cost, of agreement with the naive one, and of the distance to
    the floor of passes."""
    model, recording = network(name), voice(seconds)
    spec = spectrogram(recording.waveform[None])
    own = network_of(at_precision(model, "float32")[0], spec)
    times: dict[str, list[float]] = {key: [] for key in ("pass", "back", "naive", *precisions)}
    found: dict[str, Any] = {}
    batch = choices(model).masked_batch
    # Once unmeasured: what is imported, built and kept, memory above all, stays out of the comparison.
    standard(Job(voice(0.5), network("cnn")), STUDY, [])
    settings = {precision: replace(STUDY, precision=precision, masked_batch=batch) for precision in precisions}
    if forward_s(own, spec, 1) < SHORT_S:  # type: ignore[arg-type]
        standard(Job(recording, model), settings["float32"], [])
    for precision in precisions:
        forward_s(at_precision(model, precision)[1], spec, 1)
    for _ in range(repeats):
        plain = naive_apart(name, seconds)
        times["naive"].append(plain["cpu_s"])
        for precision in precisions:
            passes = [pass_times(own, spec)] if precision == "float32" else []
            start = time.process_time()
            found[precision] = standard(Job(recording, model), settings[precision], [])
            times[precision].append(time.process_time() - start)
            if passes:  # the floor, from before and after the study that is held against it
                for key, *two in zip(("pass", "back"), *passes, pass_times(own, spec), strict=True):
                    times[key].append(sum(two) / 2)
    unit = median(times["pass"])
    rows = [
        [
            "naive",
            f"{plain['forward']:.0f}, 38 in float64",
            f"{plain['backward']:.0f}, 5 in float64",
            f"{median(times['naive']) / unit:.0f}",
            "1",
        ]
    ]
    for precision in precisions:
        facts = found[precision].facts
        ratio = median(n / t for n, t in zip(times["naive"], times[precision], strict=True))
        cost = f"{median(times[precision]) / unit:.0f}"
        rows.append([precision, f"{facts['n_forward']:.0f}", f"{facts['n_backward']:.0f}", cost, f"{ratio:.2f}"])
    agree = [
        agreement(model, spec, precision, found[precision].values, plain["scores"], plain["maps"])
        for precision in precisions
    ]
    floors = [N_FORWARD * f + N_BACKWARD * (back - f) for f, back in zip(times["pass"], times["back"], strict=True)]
    distances = [took / floor for took, floor in zip(times["float32"], floors, strict=True)]
    floor_row = [
        f"{1e3 * unit:.1f} ms",
        f"{1e3 * median(times['back']):.1f} ms",
        f"{median(floors):.2f} s = {median(floors) / unit:.0f} F",
        f"{median(times['float32']):.2f} s = {median(times['float32']) / unit:.0f} F",
        f"{median(distances):.2f}",
        rows[1][-1],
    ]
    return rows, agree, [floor_row]


def agreement(
    model: Classifier, spec: Spectrogram, precision: str, ours: Any, naive: Any, maps: dict[str, np.ndarray]
) -> list[str]:
    """Largest differences to the naive pipeline over the 36 maps: maps, probabilities kept, AD and AG, and AI where it
    is not a tie."""
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


# The tables, in Markdown.
def show(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table."""
    lines = [" | ".join(head), " | ".join("---" for _ in head), *(" | ".join(row) for row in rows)]
    print(f"\n**{title}**\n\n" + "\n".join(f"| {line} |" for line in lines), flush=True)


def methods(name: str, given: argparse.Namespace) -> None:
    """Cost of every method."""
    model, spec = network(name, given.segment_s), batch(given.seconds, path=given.recording)
    unit, rows = forward_s(model, spec), []
    for method in given.method:
        try:
            rows.append(method_row(method, model, spec, unit, given.repeats))
        except NotApplicable as error:
            rows.append([method, "", "", "", str(error)])
    show(
        f"{name}, {given.seconds:g} s; one forward pass takes {unit:.3f} s",
        ("method", "forward", "backward", "cost in forward passes", "with"),
        rows,
    )


def study(name: str, given: argparse.Namespace) -> None:
    """The published study beside the naive pipeline."""
    gains = {low: choices(network(name), low).gains[low] for low in PRECISIONS if low != "float32"}
    print(f"\nTimes as fast as float32, tried on this machine: {gains}", flush=True)
    asked = given.precision or [low for low in PRECISIONS if gains.get(low, 1) >= 1]
    precisions = ["float32", *(low for low in asked if low != "float32")]
    rows, agree, floor = studies(name, given.seconds, given.repeats, precisions)
    show(
        f"study, {name}, {given.seconds:g} s, {given.repeats} runs",
        ("pipeline", "forward", "backward", "cost in forward passes", "times as fast"),
        rows,
    )
    head = (
        "difference to naive",
        "maps",
        "least correlation of maps",
        "probabilities",
        "AD, AG",
        "AI that differ, ties apart",
        "Gini, entropy",
    )
    show(f"agreement, {name}", head, agree)
    head = ("F", "there and back", f"floor, {N_FORWARD} F + {N_BACKWARD} back", "study", "distance to the floor")
    made = choices(network(name), "masked-bfloat16")
    print(
        f"\nChoices: float32 products {made.float32_products}, masked passes of {made.masked_batch}; gains {made.gains}"
    )
    show(f"floor of passes, {name}, float32, medians of {given.repeats}", (*head, "times as fast as naive"), floor)


def growth(title: str, sizes: Sequence[float], tasks: list[dict[str, object]], given: argparse.Namespace) -> None:
    """Processor time and memory over a size, and the exponent of their fit."""
    found = [[child(**task) for _ in range(given.repeats)] for task in tasks]
    costs = [sorted(run["cpu_s"] for run in runs)[len(runs) // 2] for runs in found]
    rows = [
        [f"{s:g}", f"{c:.2f}", f"{max(r['peak_gib'] for r in runs):.2f}"]
        for s, c, runs in zip(sizes, costs, found, strict=True)
    ]
    show(
        f"{title}: time grows with exponent {exponent(list(sizes), costs):.2f}",
        ("size", "processor time, s", "peak, GiB"),
        rows,
    )


def memory(name: str, given: argparse.Namespace) -> None:
    """Peak memory of a process that explains two recordings by one method, and that steps do not add to it."""
    task: dict[str, Any] = {"network": name, "segment_s": given.segment_s, "n": 2}
    here = {**task, "seconds": given.seconds, "recording": given.recording}
    tasks = {method: {**here, "method": method} for method in given.method}
    if set(METHODS) == set(given.method):
        tasks["study"] = here
    for n_steps in (8, 64) if "integrated_gradients" in tasks else ():
        options = {"integrated_gradients": {"n_steps": n_steps}}
        few = {**task, "seconds": 2.5, "method": "integrated_gradients", "options": options}
        tasks[f"integrated_gradients, 2.5 s, {n_steps} steps"] = few
    rows = []
    for title, one in tasks.items():
        try:
            rows.append([title, f"{child(**one)['peak_gib']:.2f}"])
        except SystemExit as error:
            rows.append([title, "not applicable" if "NotApplicable" in str(error) else str(error)])
    show(f"memory, {name}, {given.seconds:g} s, two recordings", ("method", "peak, GiB"), rows)


def arguments() -> argparse.Namespace:
    """What is to be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--part", action="append", choices=PARTS, help="only these (default: all)")
    add(
        "--network", action="append", choices=NETWORKS, metavar="NAME", help="cnn, hubert, wavlm-large, ...: only these"
    )
    add("--method", action="append", choices=list(METHODS), metavar="NAME", help="only these (default: all)")
    add("--seconds", type=float, default=10.0, help="length of the recordings (default: 10)")
    add("--segment-s", type=float, help="methods and memory: heard in segments of this length (default: whole)")
    add("--recording", help="methods and memory: a voice of yours, cut or repeated (default: a synthetic one)")
    add(
        "--precision",
        action="append",
        choices=PRECISIONS,
        help="study: beside float32 only these (default: those that are no slower on this machine)",
    )
    add("--repeats", type=int, default=3, help="runs of each measurement (default: 3)")
    add("--quick", action="store_true", help="2.5 s, one run, the six published methods, cnn alone unless asked")
    add("--child", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.quick:
        given.seconds, given.repeats = min(given.seconds, 2.5), 1
    given.method = given.method or list(PUBLISHED_METHODS if given.quick else METHODS)
    return given


def main() -> None:
    """Print the tables that are asked for; as a child, one measurement."""
    given = arguments()
    if given.child:
        print(json.dumps((naive_work if "naive" in given.child else work)(given.child)))
        return
    chosen = configure(threads=int(os.environ.get("OMP_NUM_THREADS", 0)) or None)
    print(f"{processor()}, torch {torch.__version__}; choices: {chosen}")
    networks = given.network or (["cnn"] if given.quick else ["cnn", "hubert"])
    for part in given.part or PARTS:
        for name in networks:
            if part == "methods":
                methods(name, given)
            elif part == "study":
                study(name, given)
            elif part == "recordings" and name == "cnn":
                sizes = (1, 4, 16) if given.quick else (1, 10, 100)
                tasks = [{"network": name, "seconds": 2.5, "n": n} for n in sizes]
                growth("recordings, cnn, 2.5 s", sizes, tasks, given)
            elif part == "length":
                lengths = (2.5, 5.0, 10.0) if given.quick else (2.5, 5.0, 10.0, 20.0)
                # A spectrogram has one frame more than its hops, so segments of 2.5 s sharp would cut off one more.
                tasks = [{"network": name, "segment_s": 2.52, "seconds": s} for s in lengths]
                growth(f"length in s, {name}, segments of 2.5 s that do not overlap", lengths, tasks, given)
            elif part == "memory" and name != "cnn":
                memory(name, given)


if __name__ == "__main__":
    try:
        main()
    except SpeechXAIError as error:
        sys.exit(f"Error: {error}")
