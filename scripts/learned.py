"""What does each network learn of each cue, and what does pretraining add? AUC by cue, material and network.

    python scripts/learned.py synthetic --network whisper --network whisper-random --lines FILE
    python scripts/learned.py figshare-voice --root FOLDER --network dvector --network dvector-random --lines FILE
    python scripts/learned.py --table --lines FILE

A line is a task of the benchmark (one cue, one seed, one network), trained on the benchmark's own voices by its own
folds; what is in the file is not computed again. Nothing is explained but one pair. The table sets every encoder beside
its twin with random weights, on the same recordings, with 95 % intervals over speakers; of twenty such intervals one
leaves out 0 by chance.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from speechxai.errors import SpeechXAIError
from speechxai.planted.folder import healthy_voices
from speechxai.planted.settings import (
    CUES_OF_BENCHMARK,
    DVECTOR,
    DVECTOR_RANDOM,
    SYNTHETIC,
    WHISPER,
    WHISPER_RANDOM,
    BenchmarkSettings,
)
from speechxai.planted.task import auc_within, compute
from speechxai.stats import speaker_bootstrap
from speechxai.types import Array

TWIN = {WHISPER: WHISPER_RANDOM, DVECTOR: DVECTOR_RANDOM}
"""The network with random weights that an encoder is held against."""


def learned(settings: BenchmarkSettings, root: Path | None, lines: Path) -> None:
    """Train the tasks that the file does not hold, one line each."""
    lines.parent.mkdir(parents=True, exist_ok=True)
    known = {one["task"] for one in read([lines])} if lines.exists() else set()
    bases = [] if root is None else healthy_voices(settings.materials[0], root)
    for task in settings.tasks():
        name = f"{task.id}/{settings.network}"
        if name in known:
            continue
        began = time.process_time()
        facts = compute(task, settings, bases, lambda share, what: None).facts
        kept = ("material", "cue", "seed", "auc", "auc_low", "auc_high", "twins_right", "n_pairs", "n_speakers")
        line = {"task": name, "network": settings.network, **{key: facts.get(key) for key in kept}}
        line |= {"answers": facts.get("answers", []), "cpu_s": round(time.process_time() - began, 1)}
        with lines.open("a") as file:
            file.write(json.dumps(line) + "\n")
        area = "no" if line["auc"] is None else f"{line['auc']:.3f}"
        print(f"{name}: AUC {area}, {line['cpu_s']} s", flush=True)


def read(files: Sequence[Path]) -> list[dict[str, Any]]:
    """Lines of files."""
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def _answers(line: dict[str, Any]) -> tuple[list[str], Array]:
    """Names of the recordings, and their margins, labels and folds (N, 3)."""
    names = [name for name, *_ in line["answers"]]
    rows = [[margin, float(name.endswith("/with")), fold] for name, _, fold, margin in line["answers"]]
    return names, np.array(rows)


def difference(line: dict[str, Any], twin: dict[str, Any]) -> tuple[float, float, float]:
    """AUC within folds less that of a twin on the same recordings, with its 95 % interval over speakers."""
    names, one = _answers(line)
    others, other = _answers(twin)
    if names != others:
        raise SystemExit(f"{line['task']} and {twin['task']} are not about the same recordings.")
    speakers = np.array([speaker for _, speaker, *_ in line["answers"]])

    def gain(rows: Array) -> float:
        return auc_within(rows[:, 0], rows[:, 2], rows[:, 3]) - auc_within(rows[:, 1], rows[:, 2], rows[:, 3])

    rows = np.column_stack([one[:, 0], other[:, 0], one[:, 1:]])
    low, high = speaker_bootstrap(rows, speakers, gain)
    return gain(rows), low, high


def table(lines: Sequence[dict[str, Any]]) -> None:
    """Print AUC by cue and material, a column a network, and what an encoder has over its random twin."""
    networks = list(dict.fromkeys(one["network"] for one in lines))
    rows: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for one in lines:
        if one["auc"] is not None:
            rows[one["material"], one["cue"]][one["network"]].append(one)
    held = [name for name in networks if TWIN.get(name) in networks]
    head = ["material", "cue", "seeds", *networks, *(f"{name} over random" for name in held)]
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for (material, cue), by in rows.items():
        cells = [material, cue.replace("_", " "), str(max(len(found) for found in by.values()))]
        for name in networks:
            areas = [one["auc"] for one in by[name]]
            spread = f" ({min(areas):.2f} to {max(areas):.2f})" if len(areas) > 1 else ""
            cells.append(f"{np.mean(areas):.2f}{spread}" if areas else "")
        for name in held:
            twins = {one["seed"]: one for one in by[TWIN[name]]}
            gains = [difference(one, twins[one["seed"]]) for one in by[name] if one["seed"] in twins]
            cells.append("; ".join(f"{gain:+.2f} [{low:+.2f}, {high:+.2f}]" for gain, low, high in gains) or "no twin")
        print("| " + " | ".join(cells) + " |")
    print(f"\n{sum(one['cpu_s'] for one in lines) / 60:.0f} min of one core")


def main() -> None:
    """Train, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("material", nargs="?", default=SYNTHETIC, help="synthetic, or a card of real recordings")
    parser.add_argument("--root", type=Path, help="folder of the real recordings")
    parser.add_argument("--network", action="append", help="as of `speechxai benchmark`; repeat for several")
    parser.add_argument("--cue", action="append", choices=CUES_OF_BENCHMARK, help="only these (default: all)")
    parser.add_argument("--seed", action="append", type=int, help="seeds (default: 0)")
    parser.add_argument("--lines", type=Path, required=True, help="file of results, a line a task")
    parser.add_argument("--table", action="store_true", help="print the table of the file and compute nothing")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.table:
        if not asked.lines.exists():
            parser.error(f"{asked.lines} is not there")
        table(read([asked.lines]))
        return
    if (asked.root is None) != (asked.material == SYNTHETIC):
        parser.error("real recordings need --root, and synthetic ones have none")
    for network in asked.network or list(TWIN) + list(TWIN.values()):
        settings = BenchmarkSettings(
            materials=(asked.material,),
            cues=tuple(asked.cue or CUES_OF_BENCHMARK),
            seeds=tuple(asked.seed or [0]),
            n_explained=1,
            n_sanity=0,
            methods=("saliency",),
            combinations=(),
            network=network,
        )
        learned(settings, asked.root, asked.lines)


if __name__ == "__main__":
    try:
        main()
    except SpeechXAIError as error:
        sys.exit(f"Error: {error}")
