"""Does a trained interpreter (L-MAC) point at the truth, or only win the masking metrics?

    python scripts/interpreter_truth.py RESULTS.jsonl                  compute what is missing
    python scripts/interpreter_truth.py RESULTS.jsonl --table          print the table of what is there

A cue is planted into one of two twins of synthetic voices and a network learns to tell them apart; a decoder is trained
on the network's own training voices. On twins of speakers that neither has heard it is counted, beside single methods,
how much of the map's strongest evidence lies where the cue is (relevance_rank), what removing it does (faithfulness,
FF) and whether keeping it keeps the answer (input_fidelity, Fid-In). A decoder whose classes were permuted must fail.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from speechxai.classifiers.fit import fit, initialized, recording_logits
from speechxai.classifiers.interpreter import Interpreter
from speechxai.evaluation.machine import peak_memory_mb
from speechxai.explain.explain import explain_all
from speechxai.inside.interpreter import InterpreterConfig, fit_decoder
from speechxai.metrics import Case, score
from speechxai.planted import ruler
from speechxai.planted.material import folds_of, make_material
from speechxai.planted.networks import open_network
from speechxai.planted.settings import MIN_AUC, BenchmarkSettings, Task
from speechxai.planted.task import fit_config, permuted_labels
from speechxai.report.render import with_span
from speechxai.signal.stft import spectrogram
from speechxai.stats import auc, bootstrap_means

CUES = ("burst_weakening", "breathiness", "amplitude_tremor", "formant_centralization")
CUES_OF_WHISPER = CUES[:2]
METHODS = (
    *("integrated_gradients", "deep_lift", "input_x_gradient", "guided_backprop", "saliency", "gradcam"),
    *("energy_map", "random_map"),
)
LMAC, PERMUTED = "lmac", "lmac, classes permuted"
SETTINGS = BenchmarkSettings(n_speakers=12, n_takes=2, epochs=60, patience=15, least_epochs=30)
RANK = f"relevance_rank | added, 3 dB, {ruler.RESOLUTIONS[0].name}"
JUDGED = ("faithfulness", "input_fidelity")


def compute(
    network_name: str, cue: str, seed: int, fill: str, epochs: int, n_explained: int, settings: BenchmarkSettings
) -> Iterator[dict[str, Any]]:
    """Rows of one task: a line of its facts, then one a pair of twins and map."""
    settings, task = replace(settings, cues=(cue,), seeds=(seed,)), Task("synthetic", cue, 1.0, seed)
    material, network = make_material(task, settings, ()), open_network(network_name)
    folds = folds_of(material, settings.n_folds, seed)
    inside = [r for r, fold in zip(material.recordings, folds, strict=True) if fold != 0]
    outside = [r for r, fold in zip(material.recordings, folds, strict=True) if fold == 0]
    config = replace(fit_config(task, settings), learning_rate=network.learning_rate)
    started = time.process_time()
    classifier = initialized(partial(network.make, seed), seed)
    fit(classifier, inside, (), config)
    classifier.eval().requires_grad_(False)
    trained_s = time.process_time() - started
    logits = recording_logits(classifier, outside)
    area = auc((logits[:, 1] - logits[:, 0]).numpy(), [int(r.label or 0) for r in outside])
    base = {"network": network_name, "cue": cue, "seed": seed, "fill": fill}
    how = InterpreterConfig(fill=fill, epochs=epochs, seed=seed)  # type: ignore[arg-type]
    if area < MIN_AUC:
        yield {**base, "map": "", "auc": area, "learned": False}
        return
    started = time.process_time()
    decoders = {LMAC: fit_decoder(classifier, inside, how)}
    decoder_s = time.process_time() - started
    own = recording_logits(classifier, inside).argmax(dim=1).tolist()
    decoders[PERMUTED] = fit_decoder(classifier, inside, how, answers=permuted_labels(own, seed))
    yield {
        **{**base, "map": "", "auc": area, "learned": True, "network_s": round(trained_s, 1)},
        **{"decoder_s": round(decoder_s, 1), "memory_mb": round(peak_memory_mb())},
    }
    held = {r.id for r in outside}
    names = {r.id: int(answer) for r, answer in zip(outside, logits.argmax(dim=1).tolist(), strict=True)}
    pairs = [pair for pair in material.pairs if pair.with_cue.id in held and names[pair.with_cue.id] == 1]
    for pair in pairs[:n_explained]:
        spec = spectrogram(pair.with_cue.waveform[None], classifier.stft)
        classifier.interpreter = Interpreter("", decoder=decoders[LMAC])
        found = dict(explain_all(classifier, spec, (LMAC, *METHODS), 1, options={"completeness": False}))
        classifier.interpreter = Interpreter("", decoder=decoders[PERMUTED])
        found[PERMUTED] = explain_all(classifier, spec, (LMAC,), 1)[LMAC]
        maps = {name: (each.values[0], each.signed) for name, each in found.items()}
        ranks, _ = ruler.measure(maps, pair.difference_db(classifier.stft), classifier.stft, with_cue=True)
        for name, each in found.items():
            case = Case(classifier, spec, each, fill=fill)  # type: ignore[arg-type]
            judged = {metric: round(float(value), 4) for metric, value in score(case, JUDGED).items()}
            row = {**base, "map": name, "recording": pair.with_cue.id, "speaker": pair.with_cue.speaker}
            yield {**row, "relevance_rank": round(ranks[name].get(RANK, float("nan")), 4), **judged}


def show(path: Path) -> None:
    """Print means over recordings with 95 % intervals over speakers, a table a network, cue and fill."""
    rows = pd.DataFrame([json.loads(line) for line in path.read_text("utf-8").splitlines()])
    for (network, cue, fill), part in rows.groupby(["network", "cue", "fill"], sort=False):
        tasks = part[part["map"] == ""]
        told = "; ".join(
            f"seed {t.seed}: AUC {t.auc:.2f}" + (f", decoder {t.decoder_s:.0f} s" if t.learned else ", not learned")
            for t in tasks.itertuples()
        )
        print(f"\n**{cue.replace('_', ' ')}, {network}, {fill} in place of what is masked** ({told})\n")
        scored = part[part["map"] != ""]
        if scored.empty:
            continue
        print("| map | relevance_rank | FF | Fid-In | recordings |\n|---|---|---|---|---|")
        means = scored.groupby("map")["relevance_rank"].mean().sort_values(ascending=False)
        for name in means.index:
            some, cells = scored[scored["map"] == name], []
            for metric in ("relevance_rank", *JUDGED):
                by_speaker = some.groupby(["seed", "speaker"])[metric].mean().to_numpy()
                low, high = bootstrap_means(by_speaker[:, None])
                cells.append(with_span(float(by_speaker.mean()), float(low[0]), float(high[0]), 2))
            print(f"| {name} | {' | '.join(cells)} | {len(some)} |")


def main() -> None:
    """Compute what is missing, or print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="file of results, one JSON a line; what it holds is kept")
    parser.add_argument("--network", default="cnn", help="cnn, whisper, whisper-tuned")
    parser.add_argument("--cue", action="append", choices=CUES, help="only these; repeat for several")
    parser.add_argument("--seeds", type=int, default=3, help="voices and networks a cue")
    parser.add_argument("--fill", default="silence", choices=("silence", "noise"), help="in place of masked sound")
    parser.add_argument("--epochs", type=int, default=20, help="of a decoder")
    parser.add_argument("--pairs", type=int, default=4, help="pairs of held-out twins a task")
    parser.add_argument("--tasks", type=int, default=10_000, help="at most so many tasks now")
    parser.add_argument("--quick", action="store_true", help="one small task, to see that everything works")
    parser.add_argument("--table", action="store_true", help="print the tables and compute nothing")
    given = parser.parse_args()
    if given.table:
        show(given.results)
        return
    torch.set_num_threads(1)
    lines = given.results.read_text("utf-8").splitlines() if given.results.exists() else []
    done = {tuple(json.loads(line)[key] for key in ("network", "cue", "seed", "fill")) for line in lines}
    cues = given.cue or (CUES if given.network == "cnn" else CUES_OF_WHISPER)
    settings = SETTINGS
    if given.quick:
        settings = replace(SETTINGS, n_speakers=6, n_takes=1, epochs=30, least_epochs=20)
        given.seeds, given.epochs, given.pairs, cues = 1, 2, 1, cues[:1]
    todo = [(cue, seed) for seed in range(given.seeds) for cue in cues]
    todo = [each for each in todo if (given.network, *each, given.fill) not in done][: given.tasks]
    for cue, seed in todo:
        rows = list(compute(given.network, cue, seed, given.fill, given.epochs, given.pairs, settings))
        with given.results.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        print(f"{given.network}, {cue}, seed {seed}: AUC {rows[0]['auc']:.2f}, {len(rows) - 1} lines", flush=True)


if __name__ == "__main__":
    main()
