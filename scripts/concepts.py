"""Which directions and features of a network find a sign, which steer it, and at what cost.

    python scripts/concepts.py docs/results/concepts/lines.jsonl --network whisper --seed 0 --speech FOLDER
    python scripts/concepts.py docs/results/concepts/lines.jsonl --table    prints what is there

A line a part: the controls, then every sign. Parts that are there are not computed again, and with `--cache FOLDER`
neither are the autoencoders; `--parts 1` computes one part and ends. `cnn` learns every sign by itself, as in the
benchmark, and its own answer is looked at beside the head's.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from speechxai.classifiers import Classifier
from speechxai.classifiers.fit import fit, initialized
from speechxai.inside.concepts import (
    ERASURE,
    FEATURE,
    FEATURES,
    QUICK,
    SIGNS,
    UNIT,
    UNITS,
    ConceptSettings,
    Ground,
    control_rows,
    find_concepts,
    look_for,
    set_ground,
)
from speechxai.inside.report import facts_of, findings, tables
from speechxai.inside.sparse import Sparse
from speechxai.planted.material import folds_of, make_material
from speechxai.planted.networks import CLASSES, open_network
from speechxai.planted.settings import BenchmarkSettings, Task
from speechxai.planted.task import fit_config
from speechxai.report.render import console
from speechxai.signal.audio import AUDIO_SUFFIXES, read_audio
from speechxai.types import Recording

CONTROLS = "controls"
LESSENED = [ERASURE, UNIT, UNITS, FEATURE, FEATURES]
"""Ways that take out no more than halves the gap of speakers that they were not learned from; lines of another rule
are not taken together with these."""


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


def told(share: float, what: str) -> None:
    """Say on standard error how far it is."""
    print(f"{share:.2f} {what}", file=sys.stderr, flush=True)


def parts_of_own(seed: int, settings: ConceptSettings, missing: Sequence[str]) -> Iterator[dict[str, Any]]:
    """`cnn`: a network a sign, with controls and autoencoders of its own."""
    for sign in missing:
        found = find_concepts(trained(sign, seed), replace(settings, signs=(sign,)), step=told)
        yield {"part": sign, **facts_of(found)}


def parts_of_encoder(
    name: str,
    seed: int,
    settings: ConceptSettings,
    missing: Sequence[str],
    clips: Sequence[Recording],
    cache: Path | None,
) -> Iterator[dict[str, Any]]:
    """An encoder that knows all signs at once: the controls with what is the same for every sign, and the signs."""
    network = open_network(name).make(seed).eval().requires_grad_(False)
    kept = None if cache is None else cache / f"{name}-{seed}.safetensors"
    there = kept is not None and kept.is_file()
    ground = set_ground(network, settings, clips, told, read_autoencoders(kept, settings) if there and kept else None)
    if kept is not None and not there:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_autoencoders(kept, ground)
    for part in missing:
        if part == CONTROLS:
            whole = {"stability": ground.stability(), "heads": ground.heads(), "n_words": ground.n_words()}
            yield {"part": part, "rows": control_rows(ground, told), "layers": [], **whole}
        else:
            _, rows, layers = look_for(ground, part, told)
            yield {"part": part, "rows": rows, "layers": layers}


def write_autoencoders(path: Path, ground: Ground) -> None:
    """Keep the autoencoders of every stage and seed."""
    names = ("encoder", "bias", "decoder", "center", "scale")
    save_file(
        {
            f"{stage}.{k}.{name}": getattr(each, name).contiguous()
            for stage, several in ground.autoencoders.items()
            for k, each in enumerate(several)
            for name in names
        },
        path,
    )


def read_autoencoders(path: Path, settings: ConceptSettings) -> dict[str, list[Sparse]]:
    """Those that were kept, by stage."""
    found: dict[tuple[str, int], dict[str, torch.Tensor]] = {}
    for key, value in load_file(path).items():
        stage, k, name = key.split(".")
        found.setdefault((stage, int(k)), {})[name] = value
    stages = dict.fromkeys(stage for stage, _ in found)
    return {
        stage: [Sparse(**found[stage, k], n_active=settings.n_active) for k in range(settings.n_seeds)]
        for stage in stages
    }


def whole_of(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Parts of one network and seed as the facts of one run."""
    facts: dict[str, Any] = {"rows": [], "layers": [], "stability": [], "heads": {}, "n_words": None}
    for line in lines:
        facts["rows"] += line["rows"]
        facts["layers"] += line["layers"]
        facts["stability"] += line.get("stability", [])
        facts["heads"] |= line.get("heads", {})
        facts["n_words"] = line.get("n_words") or facts["n_words"]
    looked = {line["part"] for line in lines}
    facts["heads"] = {sign: area for sign, area in facts["heads"].items() if sign in looked}
    return facts


def show(lines: Sequence[Mapping[str, Any]]) -> None:
    """Print sentences and tables."""
    for network, seed in dict.fromkeys((line["network"], line["seed"]) for line in lines):
        own = [line for line in lines if (line["network"], line["seed"]) == (network, seed)]
        spent, memory = sum(line["cpu_s"] for line in own), max(line["memory_mb"] for line in own)
        print(f"\n{network}, seed {seed}: {spent:.0f} s of one core, {memory} MB")
        facts = whole_of(own)
        for finding in findings(facts):
            print(f"- {finding.text}")
        for table in tables(facts):
            print(f"\n{table.title}\n{console(table, 200)}")


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
    parser.add_argument("--quick", action="store_true", help="the short form, to see that everything works")
    parser.add_argument("--cache", type=Path, help="folder that keeps autoencoders of encoders between calls")
    parser.add_argument("--parts", type=int, default=10_000, help="at most so many parts now")
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    lines = [json.loads(line) for line in given.lines.read_text().splitlines()] if given.lines.exists() else []
    if given.table:
        show(lines)
        return
    signs = tuple(given.signs.split(","))
    done = {line["part"] for line in lines if (line["network"], line["seed"]) == (given.network, given.seed)}
    missing = [part for part in ((CONTROLS, *signs) if given.network != "cnn" else signs) if part not in done]
    missing = missing[: given.parts]
    if not missing:
        return
    more: dict[str, Any] = dict(QUICK) if given.quick else {}
    more |= {name: int(value) for name, _, value in (each.partition("=") for each in given.set)}
    settings = ConceptSettings(signs=signs, seed=given.seed, **more)
    files = [] if given.speech is None else sorted(p for p in given.speech.iterdir() if p.suffix in AUDIO_SUFFIXES)
    clips = [read_audio(path, sample_rate=16_000) for path in files]
    clips = [replace(clip, waveform=clip.waveform[: round(16_000 * given.clip_s)]) for clip in clips]
    given.lines.parent.mkdir(parents=True, exist_ok=True)
    began, cpu = time.time(), time.process_time()
    parts = (
        parts_of_own(given.seed, settings, missing)
        if given.network == "cnn"
        else parts_of_encoder(given.network, given.seed, settings, missing, clips, given.cache)
    )
    for part in parts:
        line = {
            **{"network": given.network, "seed": given.seed, **part, "classes": CLASSES, "settings": asdict(settings)},
            "lessened": LESSENED,
            "cpu_s": round(time.process_time() - cpu, 1),
            "wall_s": round(time.time() - began, 1),
            "memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        }
        began, cpu = time.time(), time.process_time()
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
