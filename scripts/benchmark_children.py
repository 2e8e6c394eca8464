"""Measurements of methods, in this process and in processes of their own: passes, processor time, memory, and how they
grow."""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmark_parts import FEW, QUICK, STUDY, batch, cpu_s, network, voice

from speechxai.classifiers import Classifier
from speechxai.evaluation.machine import configure
from speechxai.evaluation.values import Job, evaluate
from speechxai.explain import count_passes
from speechxai.explain.explain import explain
from speechxai.types import Spectrogram


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
        short = Job(voice(0.5), model)
        evaluate(["0"], lambda i: short, settings, Nowhere())  # unmeasured: what is imported, built and kept
        names = [str(i) for i in range(n)]
        run = partial(evaluate, names, lambda i: Job(voices[int(i)], model), settings, Nowhere())
        took = cpu_s(run, max(1, 8 // n), enough_s=30.0)  # short runs vary most
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
