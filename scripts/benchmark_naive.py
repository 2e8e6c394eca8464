"""The naive pipeline in a process of its own, which takes no settings of ours."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmark_parts import network, voice
from naive_study import study

from speechxai.explain import count_passes
from speechxai.explain.explain import explain
from speechxai.signal.stft import spectrogram


def naive_apart(name: str, seconds: float) -> dict[str, Any]:
    """The naive pipeline in a process of its own, which takes no settings of ours: processor time, passes, scores and
    maps."""
    with tempfile.TemporaryDirectory() as folder:
        script, out = Path(__file__).with_name("benchmark.py"), Path(folder, "maps.npz")
        task = json.dumps({"naive": name, "seconds": seconds, "out": str(out)})
        environment = {**os.environ, "THP_MEM_ALLOC_ENABLE": "0"}
        done = subprocess.run(
            [sys.executable, str(script), "--child", task], capture_output=True, text=True, env=environment, check=True
        )
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        with np.load(out) as maps:
            found["maps"] = {recipe: maps[recipe] for recipe in maps.files}
    return found


def naive_work(task: dict[str, Any]) -> dict[str, Any]:
    """What `naive_apart` asks of its process."""
    torch.set_num_threads(1)
    small, short = network("cnn"), voice(0.5)
    study(small, spectrogram(short.waveform[None]), torch.tensor([1]))  # unmeasured: imports
    model, spec = network(task["naive"]), spectrogram(voice(task["seconds"]).waveform[None])
    target = explain(model, spec, "energy_map").target
    start = time.process_time()
    with count_passes(model, spec) as passes:
        scores, maps = study(model, spec, target)
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
