"""Which bands does a model use at all? Prints a table, and with --card writes it into the model's card.

    python scripts/bands.py synthetic-cnn --data synthetic --speakers 40 --card
    python scripts/bands.py synthetic-cnn --local docs/results/bands/local.jsonl

With --local it asks instead whether the average gradient outer product would do as a map of one recording: of made
voices with a cue, the share of the map's K strongest cells among the K that the cue made louder (relevance_rank).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechxai.classifiers import Classifier, training
from speechxai.classifiers.bundle import load_bundle
from speechxai.evaluation.machine import peak_memory_mb
from speechxai.explain import METHODS
from speechxai.explain.passes import logit_gradient, quiet
from speechxai.inside.bands import TITLE, bands, section, state
from speechxai.inside.interpreter import corpus_for
from speechxai.metrics.maps import rank_share
from speechxai.planted import ruler
from speechxai.planted.material import make_material
from speechxai.planted.settings import SYNTHETIC, BenchmarkSettings, Task
from speechxai.signal.stft import spectrogram
from speechxai.stats import bootstrap_means
from speechxai.types import Spectrogram

CUE, N_SPEAKERS, N_COPIES, SIGMA = "breathiness", 12, 16, 0.15
AGOP, WEIGHTED = "average gradient outer product", "average gradient outer product of x * gradient"
BESIDE = ("integrated_gradients", "input_x_gradient", "energy_map")


def local_maps(network: Classifier, spec: Spectrogram, target: Tensor) -> dict[str, Tensor]:
    """Maps (1, F, T): the diagonal of the mean of g g^T over noisy copies of a recording, g its gradient or the
    magnitude times it; beside methods."""
    heard, draw = network.for_length(spec.n_samples), torch.Generator().manual_seed(0)
    plain, weighted = torch.zeros_like(spec.magnitude), torch.zeros_like(spec.magnitude)
    scale = SIGMA * (spec.magnitude.max() - spec.magnitude.min())
    with quiet(heard):
        for _ in range(N_COPIES):
            noise = torch.randn(spec.magnitude.shape, generator=draw)
            copy = (spec.magnitude + scale * noise).clamp(min=0)
            gradient = logit_gradient(heard, copy, spec.phase, target)
            plain += gradient.square() / N_COPIES
            weighted += (copy * gradient).square() / N_COPIES
    found = {name: METHODS[name](network, spec, target) for name in BESIDE}
    return {AGOP: plain, WEIGHTED: weighted, **found}


def local(model: str) -> Iterator[dict[str, Any]]:
    """Rows by map: mean over recordings and its interval over speakers."""
    network = load_bundle(model).classifier()
    settings = BenchmarkSettings(cues=(CUE,), n_speakers=N_SPEAKERS, n_takes=1)
    shares: dict[str, list[float]] = {}
    for pair in make_material(Task(SYNTHETIC, CUE, 1.0, 0), settings, []).pairs:
        spec = spectrogram(pair.with_cue.waveform[None], network.stft)
        where = ruler.inside(pair.difference_db(network.stft), "added", ruler.THRESHOLDS_DB[0])
        if not where.any():
            continue
        for name, values in local_maps(network, spec, torch.tensor([1])).items():
            shares.setdefault(name, []).append(float(rank_share(values.clamp(min=0), where[None].bool())))
    for name, each in shares.items():
        low, high = (float(end[0]) for end in bootstrap_means(np.array(each)[:, None]))
        facts = {"model": model, "cue": CUE, "map": name, "relevance_rank": float(np.mean(each))}
        yield {**facts, "interval": [low, high], "recordings": len(each)}


def told(rows: list[Mapping[str, Any]]) -> str:
    """A line a map."""
    return "\n".join(
        f"{row['map']}: {row['relevance_rank']:.3f} [{row['interval'][0]:.3f}, {row['interval'][1]:.3f}]"
        f" ({row['recordings']} recordings)"
        for row in rows
    )


def main() -> None:
    """Compute and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="name or folder of a model")
    parser.add_argument("--data", default="synthetic", help="recordings, as of speechxai train")
    parser.add_argument("--root", type=Path, help="folder of the recordings")
    parser.add_argument("--speakers", type=int, default=40, help="synthetic speakers")
    parser.add_argument("--card", action="store_true", help="write the section into the model's card")
    parser.add_argument("--local", type=Path, help="file for what it is worth as a map of one recording")
    given = parser.parse_args()
    torch.set_num_threads(1)
    started = time.perf_counter()
    if given.local is not None:
        rows = list(local(given.model))
        given.local.parent.mkdir(parents=True, exist_ok=True)
        given.local.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        print(told(rows))
        return
    bundle = load_bundle(given.model)
    if given.data == training.SYNTHETIC:
        recordings = training.synthetic_corpus(given.speakers, 0).recordings
    else:
        recordings = corpus_for(bundle, given.data, given.root).recordings
    stft = bundle.config.stft_config()
    found = bands((bundle.for_recording(each), spectrogram(each.waveform[None], stft)) for each in recordings)
    print(f"{TITLE}\n\n{section(found)}")
    print(f"{time.perf_counter() - started:.0f} s, {peak_memory_mb():.0f} MB")
    if given.card:
        state(bundle.folder, found)


if __name__ == "__main__":
    main()
