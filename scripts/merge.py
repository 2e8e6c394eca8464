"""One network instead of several that began as one: what is lost?

    python scripts/merge.py docs/results/merge/lines.jsonl             computes what is missing
    python scripts/merge.py docs/results/merge/lines.jsonl --table     prints what is there

Two questions, on `cnn` and made voices with a planted sign. Folds: networks trained on the folds of one set, from one
ancestor or each from random weights, against their ensemble. Sites: two sets of voices recorded through different
microphones, trained apart from one ancestor that knows neither, against each alone and against both trained on
together. All are asked about voices that none has heard.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.signal import butter, sosfilt
from torch import Tensor

from speechxai.classifiers import Classifier
from speechxai.classifiers.fit import fit, initialized, recording_logits
from speechxai.classifiers.merge import merge_networks
from speechxai.explain import METHODS
from speechxai.explain.agreement import rank_correlation
from speechxai.metrics.maps import rank_share
from speechxai.planted import ruler
from speechxai.planted.material import Pair, make_material
from speechxai.planted.networks import make_cnn
from speechxai.planted.settings import BenchmarkSettings, Task
from speechxai.planted.task import fit_config
from speechxai.report.render import console, plain_table
from speechxai.signal.stft import spectrogram
from speechxai.stats import auc, bootstrap
from speechxai.types import Recording

CUES, SEEDS = ("breathiness", "burst_weakening"), (0, 1, 2)
METHOD = "integrated_gradients"
MICROPHONES = {"site A": (2, "low", 3000.0), "site B": (2, "high", 500.0)}
"""Order, kind and corner (Hz) of a filter that stands for a microphone."""


def through(recordings: Sequence[Recording], site: str) -> list[Recording]:
    """Recordings through the microphone of a site."""
    order, kind, corner_hz = MICROPHONES[site]
    found = []
    for each in recordings:
        sos = butter(order, corner_hz, kind, fs=each.sample_rate, output="sos")
        found.append(replace(each, waveform=torch.from_numpy(sosfilt(sos, each.waveform.double().numpy())).float()))
    return found


def pairs_of(cue: str, seed: int, n_speakers: int) -> list[Pair]:
    """Twins of made voices."""
    settings = BenchmarkSettings(cues=(cue,), n_speakers=n_speakers, n_takes=2)
    return list(make_material(Task("synthetic", cue, 1.0, seed), settings, []).pairs)


def both(pairs: Sequence[Pair]) -> list[Recording]:
    """Twins in turn."""
    return [twin for pair in pairs for twin in (pair.with_cue, pair.without_cue)]


def train(
    start: Classifier, recordings: Sequence[Recording], cue: str, seed: int, epochs: int, rate: float
) -> Classifier:
    """A copy of a network trained further; every third speaker stops it early."""
    network = initialized(lambda: _copy(start), seed)
    speakers = sorted({r.speaker for r in recordings})
    stops = set(speakers[::3])
    settings = BenchmarkSettings(cues=(cue,), epochs=epochs, patience=8, least_epochs=min(10, epochs))
    config = replace(fit_config(Task("synthetic", cue, 1.0, seed), settings), learning_rate=rate)
    fit(
        network,
        [r for r in recordings if r.speaker not in stops],
        [r for r in recordings if r.speaker in stops],
        config,
    )
    return network.eval()


def _copy(network: Classifier) -> Classifier:
    made = make_cnn()
    made.load_state_dict(network.state_dict())
    return made.requires_grad_(True)


def margins(network: Classifier, recordings: Sequence[Recording]) -> Tensor:
    """How far the second class lies above the first, (N,)."""
    logits = recording_logits(network, recordings)
    return logits[:, 1] - logits[:, 0]


def maps(network: Classifier, pairs: Sequence[Pair]) -> list[Tensor]:
    """Maps (1, F, T) of the twins with the sign."""
    network.requires_grad_(False)
    found = []
    for pair in pairs:
        spec = spectrogram(pair.with_cue.waveform[None], network.stft)
        found.append(METHODS[METHOD](network, spec, torch.tensor([1]), n_steps=12))
    return found


def truth(found: Sequence[Tensor], pairs: Sequence[Pair], stft: Any) -> float:
    """Mean share of the sign's bins among as many strongest ones."""
    shares = []
    for each, pair in zip(found, pairs, strict=True):
        inside = ruler.inside(pair.difference_db(stft), "added", ruler.THRESHOLDS_DB[0])
        if inside.any():
            shares.append(float(rank_share(each.clamp(min=0), inside[None].bool())))
    return float(np.mean(shares)) if shares else float("nan")


def judged(
    scores: Tensor,
    recordings: Sequence[Recording],
    seen: Sequence[Tensor],
    ensemble: Sequence[Tensor],
    pairs: Any,
    stft: Any,
) -> dict[str, Any]:
    """AUROC with interval over speakers, truth, and likeness of maps to the ensemble's."""
    labels = np.array([int(r.label or 0) for r in recordings])
    values, owners = scores.numpy(), np.array([r.speaker for r in recordings])
    names = sorted(set(owners))
    rows = [np.flatnonzero(owners == name) for name in names]

    def area(drawn: Any) -> float:
        picked = np.concatenate([rows[k] for k in drawn])
        return auc(values[picked], labels[picked])

    return {
        "auroc": auc(values, labels),
        "interval": list(bootstrap(area, len(names), n=300)),
        "truth": truth(seen, pairs, stft),
        "likeness": float(np.mean([float(rank_correlation(a, b)) for a, b in zip(seen, ensemble, strict=True)])),
    }


def compute(kind: str, cue: str, seed: int, n_speakers: int, epochs: int, n_folds: int) -> dict[str, Any]:
    """One line: rows by network."""
    began = time.process_time()
    random = initialized(make_cnn, seed)
    ancestor = train(random, both(pairs_of(cue, 1000 + seed, n_speakers)), cue, seed, epochs, 2e-3)
    ours, theirs = pairs_of(cue, 2000 + seed, n_speakers), pairs_of(cue, 3000 + seed, n_speakers)
    asked = pairs_of(cue, 4000 + seed, n_speakers)
    further = max(2, epochs // 3)
    networks: dict[str, Classifier] = {"ancestor": ancestor}
    groups: dict[str, list[Classifier]] = {}
    tests = {"": both(asked)}
    if kind == "folds":
        speakers = sorted({pair.with_cue.speaker for pair in ours})
        parts = [[p for p in ours if speakers.index(p.with_cue.speaker) % n_folds != k] for k in range(n_folds)]
        groups["from one ancestor"] = [
            train(ancestor, both(p), cue, seed + k, further, 3e-4) for k, p in enumerate(parts)
        ]
        groups["from random weights"] = [
            train(initialized(make_cnn, 50 + seed * 10 + k), both(p), cue, seed + k, epochs, 2e-3)
            for k, p in enumerate(parts[:3])
        ]
    else:
        sets = {"site A": through(both(ours), "site A"), "site B": through(both(theirs), "site B")}
        groups["sites"] = [train(ancestor, each, cue, seed, further, 3e-4) for each in sets.values()]
        networks |= dict(zip(sets, groups["sites"], strict=True))
        networks["pooled"] = train(ancestor, [r for each in sets.values() for r in each], cue, seed, further, 3e-4)
        tests = {site: through(both(asked), site) for site in MICROPHONES}
    for name, group in groups.items():
        networks[f"merged, {name}"] = merge_networks(group, [1 / len(group)] * len(group))
    rows = []
    for place, recordings in tests.items():
        pairs = [Pair(recordings[2 * k], recordings[2 * k + 1]) for k in range(len(asked))]
        shown = pairs[:8]
        seen = {name: maps(network, shown) for name, network in networks.items()}
        ensembles = {}
        for name, group in groups.items():
            each = [maps(network, shown) for network in group]
            ensembles[name] = [torch.stack(row).mean(dim=0) for row in zip(*each, strict=True)]
            score = torch.stack([margins(network, recordings) for network in group]).mean(dim=0)
            facts = judged(score, recordings, ensembles[name], ensembles[name], shown, ancestor.stft)
            rows.append({"asked": place, "network": f"ensemble, {name}", "passes": len(group), **facts})
        for name, network in networks.items():
            like = next((group for group in groups if name.endswith(group)), next(iter(groups)))
            score = margins(network, recordings)
            facts = judged(score, recordings, seen[name], ensembles[like], shown, ancestor.stft)
            rows.append({"asked": place, "network": name, "passes": 1, **facts})
    return {"kind": kind, "cue": cue, "seed": seed, "rows": rows, "cpu_s": round(time.process_time() - began, 1)}


def tables(lines: Sequence[dict[str, Any]]) -> list[Any]:
    """Means over seeds, by kind and sign."""
    found = []
    for kind, cue in dict.fromkeys((line["kind"], line["cue"]) for line in lines):
        mine = [line for line in lines if (line["kind"], line["cue"]) == (kind, cue)]
        rows = []
        for asked, name in dict.fromkeys((r["asked"], r["network"]) for line in mine for r in line["rows"]):
            each = [r for line in mine for r in line["rows"] if (r["asked"], r["network"]) == (asked, name)]
            inside = [
                r["interval"][0] <= m["auroc"] <= r["interval"][1]
                for line in mine
                for r in line["rows"]
                for m in line["rows"]
                if name.startswith("merged")
                and m["asked"] == r["asked"] == asked
                and m["network"] == name
                and r["network"] == name.replace("merged", "ensemble")
            ]
            means = [f"{np.mean([r[key] for r in each]):.3f}" for key in ("auroc", "truth", "likeness")]
            rows.append((f"{name}{f', asked at {asked}' if asked else ''}", *means, each[0]["passes"], _share(inside)))
        columns = ("network", "AUROC", "truth (relevance_rank)", "map like ensemble's", "passes", "within interval")
        found.append(plain_table(f"{kind}, {cue}, {len(mine)} seed{'s' if len(mine) > 1 else ''}", columns, rows))
    return found


def _share(inside: Sequence[bool]) -> str:
    return f"{sum(inside)} of {len(inside)}" if inside else "–"


def main() -> None:
    """Compute what is missing, or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lines", type=Path)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--one", action="store_true", help="stop after one line")
    parser.add_argument("--quick", action="store_true", help="one seed, few voices: to see that everything works")
    given = parser.parse_args()
    torch.set_num_threads(1)
    lines = [json.loads(line) for line in given.lines.read_text().splitlines()] if given.lines.exists() else []
    if given.table:
        for table in tables(lines):
            print(f"{table.title}\n{console(table, 160)}\n")
        print(f"{sum(line['cpu_s'] for line in lines):.0f} s of one core in all")
        return
    size = (6, 1, 3) if given.quick else (12, 20, 10)
    done = {(line["kind"], line["cue"], line["seed"]) for line in lines}
    for seed in SEEDS[:1] if given.quick else SEEDS:
        for cue in CUES[:1] if given.quick else CUES:
            for kind in ("sites", "folds"):
                if (kind, cue, seed) in done:
                    continue
                line = compute(kind, cue, seed, *size)
                given.lines.parent.mkdir(parents=True, exist_ok=True)
                with given.lines.open("a") as file:
                    file.write(json.dumps(line) + "\n")
                if given.one:
                    return


if __name__ == "__main__":
    main()
