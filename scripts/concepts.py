"""Which directions and features of a network find a sign, which steer it, and at what cost.

    python scripts/concepts.py docs/results/concepts/lines.jsonl --network whisper --seed 0 --speech FOLDER
    python scripts/concepts.py docs/results/concepts/lines.jsonl --table    prints what is there

A line a network and seed; those that are there are not computed again. `cnn` learns every sign by itself, as in the
benchmark, and its own answer is looked at beside the head's.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from speechxai.classifiers import Classifier
from speechxai.classifiers.fit import fit, initialized
from speechxai.inside.concepts import SIGNS, ConceptSettings, find_concepts
from speechxai.inside.report import findings, tables
from speechxai.planted.material import folds_of, make_material
from speechxai.planted.networks import CLASSES, open_network
from speechxai.planted.settings import BenchmarkSettings, Task
from speechxai.planted.task import fit_config
from speechxai.report.render import console
from speechxai.signal.audio import AUDIO_SUFFIXES, read_audio
from speechxai.types import Recording


def trained(sign: str, seed: int) -> Classifier:
    """`cnn` that tells twins of a sign apart; its speakers are none of those that concepts are looked for with."""
    task = Task("synthetic", sign, 1.0, seed + 100)
    settings = BenchmarkSettings(cues=(sign,))
    material = make_material(task, settings, [])
    folds = folds_of(material, 3, seed)
    parts = [
        [r for r, fold in zip(material.recordings, folds, strict=True) if (fold == 0) == stops] for stops in (0, 1)
    ]
    network = initialized(lambda: open_network("cnn").make(seed), seed)
    fit(network, parts[0], parts[1], fit_config(task, settings))
    return network.eval().requires_grad_(False)


def compute(name: str, seed: int, settings: ConceptSettings, clips: list[Recording]) -> dict[str, Any]:
    """One line."""
    began, cpu = time.time(), time.process_time()
    rows, layers, stability, heads, n_words = [], [], [], {}, None
    for signs in [settings.signs] if name != "cnn" else [(sign,) for sign in settings.signs]:
        own = open_network(name).make(seed).eval().requires_grad_(False) if name != "cnn" else trained(signs[0], seed)
        each = ConceptSettings(**{**asdict(settings), "signs": signs, "seed": seed})
        found = find_concepts(own, each, clips, lambda share, what: print(f"{share:.2f} {what}", file=sys.stderr))
        rows += found.rows
        layers += found.layers
        stability += found.stability
        heads |= found.heads
        n_words = found.n_words
    return {
        "network": name,
        "seed": seed,
        "classes": CLASSES,
        "settings": asdict(settings),
        "rows": rows,
        "layers": layers,
        "stability": stability,
        "heads": heads,
        "n_words": n_words,
        "cpu_s": round(time.process_time() - cpu, 1),
        "wall_s": round(time.time() - began, 1),
        "memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def main() -> None:
    """Compute a line, or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lines", type=Path)
    parser.add_argument("--network", default="whisper")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--signs", default=",".join(SIGNS))
    parser.add_argument("--speech", type=Path, help="folder of real speech whose words must stay")
    parser.add_argument("--clip-s", type=float, default=30.0, help="of each recording of real speech at most")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=NUMBER", help="of ConceptSettings")
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    lines = [json.loads(line) for line in given.lines.read_text().splitlines()] if given.lines.exists() else []
    if given.table:
        for line in lines:
            print(f"\n{line['network']}, seed {line['seed']}: {line['cpu_s']} s of one core, {line['memory_mb']} MB")
            for finding in findings(line):
                print(f"- {finding.text}")
            for table in tables(line):
                print(f"\n{table.title}\n{console(table, 200)}")
        return
    if any((line["network"], line["seed"]) == (given.network, given.seed) for line in lines):
        return
    more = {name: int(value) for name, _, value in (each.partition("=") for each in given.set)}
    settings = ConceptSettings(signs=tuple(given.signs.split(",")), seed=given.seed, **more)
    files = [] if given.speech is None else sorted(p for p in given.speech.iterdir() if p.suffix in AUDIO_SUFFIXES)
    clips = [read_audio(path, sample_rate=16_000) for path in files]
    clips = [replace(clip, waveform=clip.waveform[: round(16_000 * given.clip_s)]) for clip in clips]
    line = compute(given.network, given.seed, settings, clips)
    given.lines.parent.mkdir(parents=True, exist_ok=True)
    with given.lines.open("a") as file:
        file.write(json.dumps(rounded(line)) + "\n")


def rounded(value: Any) -> Any:
    """Numbers with four significant digits."""
    if isinstance(value, float):
        return None if value != value else float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    return [rounded(each) for each in value] if isinstance(value, list | tuple) else value


if __name__ == "__main__":
    main()
