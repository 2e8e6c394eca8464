"""A network that learns how strong a sign is, and what its explanations point at.

    python scripts/severity.py docs/results/severity/lines.jsonl                     computes what is missing
    python scripts/severity.py docs/results/severity/lines.jsonl --table             prints what is there

Synthetic speakers carry one sign at a strength of their own, 0 to 100 points. A small network learns the points by
folds of speakers; its error stands beside that of the mean for everybody. Then recordings of at least 50 points are
explained by the network that never heard the speaker, and every map is held against the place where the recording
differs from itself without the sign. In a second network of each kind the points are dealt out anew: it has nothing to
learn, so its maps can point at nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from speechxai.classifiers import Classifier, build
from speechxai.classifiers.fit import AugmentConfig, FitConfig
from speechxai.classifiers.scores import figures, people_of
from speechxai.classifiers.training import draw_folds
from speechxai.classifiers.validation import cross_validate
from speechxai.data.synthetic import draw_speaker, twins
from speechxai.data.voice_model import CUE_TASKS, UtteranceSettings
from speechxai.explain.recipe import CONTROLS
from speechxai.metrics.maps import rank_share
from speechxai.planted import ruler
from speechxai.planted.task import explained_by_all
from speechxai.signal.stft import spectrogram
from speechxai.stats import bootstrap_means
from speechxai.types import Recording, StftConfig

CUES, SEEDS = ("breathiness", "burst_weakening"), (0, 1, 2)
METHODS = ("saliency", "input_x_gradient", "integrated_gradients", "smoothgrad", "gradcam", "deep_lift", "occlusion")
N_SPEAKERS, N_TAKES, DURATION_S, FOLDS = 48, 2, 2.0, 3
UNIT, SCORE, STRONG = "points", "strength", 50.0
CHANCE_DB = 3.0


def voices(cue: str, seed: int, permuted: bool) -> list[tuple[Recording, Recording, float]]:
    """Recordings with the sign, the same without it, and how strong it really is, points."""
    draw = np.random.default_rng([seed, 41, CUES.index(cue)])
    strengths = draw.uniform(0, 100, N_SPEAKERS)
    told = np.random.default_rng([seed, 42]).permutation(strengths) if permuted else strengths
    task = next(t for t in ("vowel-a", "ddk", "phrase") if t in CUE_TASKS[cue])
    found = []
    for k in range(N_SPEAKERS):
        sex, age = "FM"[k % 2], int(draw.integers(48, 82))
        speaker = draw_speaker(f"synthetic/v{seed}s{k:03d}", sex, age, np.random.default_rng([seed, 43, k]))
        for take in range(N_TAKES):
            utterance = UtteranceSettings(task, DURATION_S, {cue: float(strengths[k]) / 100})
            pair = twins(speaker, utterance, int(draw.integers(0, 2**31)))
            facts = {"synthetic": True, "sex": sex, "age": age, SCORE: float(told[k])}
            name = f"{speaker.name}/{task}-{take}"
            made = Recording(pair.with_cue, pair.sample_rate, name, speaker.name, None, task, facts)
            found.append((made, replace(made, waveform=pair.without_cue), float(strengths[k])))
    return found


def make() -> Classifier:
    """Make the untrained network."""
    stft = StftConfig()
    return Classifier(build("cnn", stft, n_classes=1), stft, None, (SCORE,), "features", unit=UNIT)


def compute(cue: str, seed: int, permuted: bool) -> dict[str, Any]:
    """Train, measure how near it comes, explain and compare with the truth."""
    began = time.process_time()
    material = voices(cue, seed, permuted)
    recordings = [made for made, _, _ in material]
    config = FitConfig(
        epochs=300,
        patience=15,
        least_epochs=50,
        batch=4,
        n_crops=1,
        crop_s=DURATION_S,
        augment=AugmentConfig(noise_share=0.25, snr_low_db=30.0, snr_high_db=50.0),
        seed=seed,
    )
    folds = draw_folds(recordings, FOLDS, seed, (SCORE,))

    def show(done: int, total: int, what: str) -> None:
        if done % 25 == 0:
            print(f"  {cue}/{seed}{' permuted' if permuted else ''}: {what}", file=sys.stderr)

    validated = cross_validate(make, recordings, folds, config, show)
    near = {name: [v.value, v.low, v.high] for name, v in figures(people_of(recordings, validated)).items()}
    recipes = (*METHODS, *CONTROLS)
    scores: dict[str, dict[str, list[float]]] = {recipe: {} for recipe in recipes}
    areas = []
    for (made, without, strength), fold in zip(material, folds, strict=True):
        if strength < STRONG:
            continue
        model = validated.models[fold]
        difference = ruler.difference_db(made.waveform, without.waveform, model.stft)
        truth = ruler.inside(difference, "both", CHANCE_DB)
        if int(truth.sum()) < ruler.FEWEST_CELLS:
            continue
        areas.append(float(truth.double().mean()))
        spec = spectrogram(made.waveform[None], model.stft)
        for recipe, found in explained_by_all(model, spec, recipes, 0, seed).items():
            evidence = ruler.read(found.values, "absolute", (1, 1))
            value = float(rank_share(evidence, truth[None]))
            scores[recipe].setdefault(made.speaker, []).append(value)
    by_speaker = {
        recipe: {speaker: round(float(np.mean(values)), 4) for speaker, values in of.items()}
        for recipe, of in scores.items()
    }
    return {
        "cue": cue,
        "seed": seed,
        "permuted": permuted,
        "near": near,
        "area": float(np.mean(areas)),
        "rank": by_speaker,
        "epochs": [len(history.epochs) for history in validated.histories],
        "cpu_s": round(time.process_time() - began, 1),
    }


def table(lines: list[dict[str, Any]]) -> str:
    """How near, and what the maps point at, with 95 % intervals over speakers of all seeds."""
    out = ["| sign | seed | mean absolute error, points | of the mean for everybody | share taken away | Spearman |"]
    out.append("|---|---|---|---|---|---|")
    for line in lines:
        cells = [
            f"{v:.2f} [{low:.2f}, {high:.2f}]"
            for v, low, high in (line["near"][k] for k in ("mae", "gain", "spearman"))
        ]
        name = line["cue"].replace("_", " ") + (", points dealt anew" if line["permuted"] else "")
        of_mean = line["near"]["mae_of_mean"][0]
        out.append(f"| {name} | {line['seed']} | {cells[0]} | {of_mean:.2f} | {cells[1]} | {cells[2]} |")
    for cue in dict.fromkeys(line["cue"] for line in lines):
        of_cue = [line for line in lines if line["cue"] == cue]
        kinds = [[line for line in of_cue if line["permuted"] is permuted] for permuted in (False, True)]
        area = np.mean([line["area"] for line in of_cue])
        out += [
            "",
            f"{cue.replace('_', ' ').capitalize()}: share of the strongest bins in the truth (chance {area:.2f})",
            "",
        ]
        out += ["| explanation | learned | above energy | points dealt anew |", "|---|---|---|---|"]
        for recipe in of_cue[0]["rank"]:
            cells = [recipe.replace("_", " ")]
            for members, against in ((kinds[0], None), (kinds[0], "energy_map"), (kinds[1], None)):
                values = np.array(
                    [
                        v - (line["rank"][against][speaker] if against else 0)
                        for line in members
                        for speaker, v in line["rank"][recipe].items()
                    ]
                )
                if not len(values):
                    cells.append("")
                    continue
                low, high = bootstrap_means(values[:, None])
                cells.append(f"{values.mean():.3f} [{low[0]:.3f}, {high[0]:.3f}]")
            out.append(f"| {' | '.join(cells)} |")
    return "\n".join(out)


def main() -> None:
    """Compute what is missing of all signs and seeds, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lines", type=Path, help="where results stand, a line each")
    parser.add_argument("--table", action="store_true", help="print what is there")
    parser.add_argument("--at-most", type=int, default=100, help="tasks computed in this call")
    asked = parser.parse_args()
    text = asked.lines.read_text() if asked.lines.is_file() else ""
    lines = [json.loads(line) for line in text.splitlines()]
    if asked.table:
        print(table(lines))
        return
    torch.set_num_threads(1)
    there = {(line["cue"], line["seed"], line["permuted"]) for line in lines}
    wanted = [
        (cue, seed, permuted)
        for seed in SEEDS
        for cue in CUES
        for permuted in (False, True)
        if seed == 0 or not permuted
    ]
    for task in [t for t in wanted if t not in there][: asked.at_most]:
        line = compute(*task)
        asked.lines.parent.mkdir(parents=True, exist_ok=True)
        with asked.lines.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(f"{task}: {line['cpu_s']:.0f} s of processor time", file=sys.stderr)


if __name__ == "__main__":
    main()
