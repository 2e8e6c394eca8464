"""The study by both pipelines in turns, and how far their maps and scores agree."""

from __future__ import annotations

import time
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np
from benchmark_naive import naive_apart
from benchmark_parts import OPTIONS, STUDY, forward_s, network, voice

from speechxai.classifiers import Classifier
from speechxai.classifiers.precision import at_precision
from speechxai.evaluation.unit import standard
from speechxai.evaluation.values import Job
from speechxai.explain import OriginalPass
from speechxai.explain.combination import evidence
from speechxai.explain.explain import explain_all
from speechxai.signal.stft import spectrogram
from speechxai.types import Spectrogram


def studies(name: str, seconds: float, repeats: int) -> tuple[list[list[str]], list[list[str]]]:
    """Both pipelines in turns on one recording: rows of cost, and rows of agreement with the naive one."""
    model, recording = network(name), voice(seconds)
    spec = spectrogram(recording.waveform[None])
    precisions = ("float32", "masked-bfloat16", "bfloat16")
    times: dict[str, list[float]] = {key: [] for key in ("pass", "naive", *precisions)}
    found: dict[str, Any] = {}
    # Once unmeasured: what is imported, built and kept stays out of the comparison.
    standard(Job(voice(0.5), network("cnn")), STUDY, [])
    for precision in precisions:
        forward_s(at_precision(model, precision)[1], spec, 1)
    for _ in range(repeats):
        times["pass"].append(forward_s(model, spec, 3))
        plain = naive_apart(name, seconds)
        times["naive"].append(plain["cpu_s"])
        for precision in precisions:
            start = time.process_time()
            found[precision] = standard(Job(recording, model), replace(STUDY, precision=precision), [])
            times[precision].append(time.process_time() - start)
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
    return rows, agree


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
