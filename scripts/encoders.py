"""What does a pretrained encoder add? AUROC of frozen Whisper on a data set, layer by layer, beside what hears less.

    python scripts/encoders.py figshare-voice --root FOLDER --out TABLE.csv

Every row is a linear head on means over the frames of a recording, fitted and tested by speaker on the same folds: all
hidden layers of the encoder (softmax-weighted, the head of `train --backbone whisper`), one layer alone, the two
convolutions alone (no block has heard them), the energies of the log-mel bands that they read, and the encoder with
random weights. Age, sex and duration alone stand beside them. Folds are drawn several times; the answers of a speaker
are averaged. Intervals are over speakers, also those of the difference to the energies, in pairs.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from speechxai.classifiers.training import draw_folds
from speechxai.classifiers.whisper import EMBEDDED, Encoder, fit_head, randomize, read_encoder
from speechxai.data.cards import build_manifest
from speechxai.data.corpus import load
from speechxai.data.manifest import Locator
from speechxai.inside.concepts import Head
from speechxai.stats import auc, auc_interval, speaker_bootstrap
from speechxai.types import Array, Recording

N_FOLDS, N_DRAWS = 5, 5
ENERGIES = "energies of its 80 mel bands alone"


def features(recordings: list[Recording]) -> dict[str, Tensor]:
    """Means over frames (N, L, C) by what hears them."""
    weights = read_encoder(EMBEDDED)
    encoder, random = Encoder(weights).eval(), Encoder(weights).eval()
    randomize(random, 0)
    found: dict[str, list[Tensor]] = {}
    for recording in recordings:
        with torch.inference_mode():
            heard = recording.waveform[None]
            states = torch.stack([state.mean(1)[0] for state in encoder.hidden_states(heard)])
            embedded = encoder.embedded(heard)[0]
            rows = {
                "Whisper tiny.en, frozen, all layers": states,
                "Whisper with random weights, all layers": torch.stack(
                    [state.mean(1)[0] for state in random.hidden_states(heard)]
                ),
                "its two convolutions alone": (embedded - encoder.positions[: len(embedded)]).mean(0)[None],
                ENERGIES: encoder.mel(heard)[0].mean(-1)[None],
            }
            rows |= {f"after block {k} alone": states[k : k + 1] for k in range(1, len(states))}
        for name, values in rows.items():
            found.setdefault(name, []).append(values.clone())
    return {name: torch.stack(values).double() for name, values in found.items()}


def out_of_fold(pooled: Tensor, recordings: list[Recording]) -> tuple[Array, list[float]]:
    """Log odds (N,) of recordings that the head never heard, mean over the draws of folds; AUROC of every draw."""
    labels = np.array([recording.label for recording in recordings])
    speakers = np.array([recording.speaker for recording in recordings])
    total, areas = np.zeros(len(recordings)), []
    for seed in range(N_DRAWS):
        folds, answers = np.array(draw_folds(recordings, N_FOLDS, seed)), np.zeros(len(recordings))
        for fold in range(N_FOLDS):
            train, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            head = Head(*pooled.shape[1:])
            fit_head(head, pooled[train], labels[train], speakers[train].tolist(), seed)
            with torch.no_grad():
                answers[test] = head(pooled[test].float()).numpy()
        areas.append(auc(answers, labels))
        total += answers / N_DRAWS
    return total, areas


def row(name: str, scores: Array, labels: Array, speakers: Array, baseline: Array | None) -> dict[str, Any]:
    """AUROC of `scores` with its interval over speakers, and how far it is above that of `baseline`."""
    low, high = auc_interval(scores, labels, speakers)
    found: dict[str, Any] = {"what hears": name, "AUROC": auc(scores, labels), "low": low, "high": high}
    if baseline is not None:
        rows = np.column_stack([scores, baseline, labels])
        ends = speaker_bootstrap(
            rows, speakers, lambda drawn: auc(drawn[:, 0], drawn[:, 2]) - auc(drawn[:, 1], drawn[:, 2])
        )
        found |= {"above energies": found["AUROC"] - auc(baseline, labels), "from": ends[0], "to": ends[1]}
    return found


def main() -> None:
    """Compute the table, print it, write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("card", help="data card, say figshare-voice")
    parser.add_argument("--root", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--out", type=Path, help="CSV file to write")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    began = time.process_time()
    manifest, _ = build_manifest(asked.card, asked.root)
    table = manifest[manifest["label"].notna()]
    recordings = [load({str(k): v for k, v in each.items()}, Locator(asked.root)) for each in table.to_dict("records")]
    labels = np.array([recording.label for recording in recordings])
    speakers = np.array([recording.speaker for recording in recordings])
    answers: dict[str, Array] = {}
    spread: dict[str, list[float]] = {}
    for name, pooled in features(recordings).items():
        answers[name], spread[name] = out_of_fold(pooled, recordings)
        print(f"{name}: {auc(answers[name], labels):.3f}", flush=True)
    rows = []
    for name, scores in answers.items():
        found = row(name, scores, labels, speakers, None if name == ENERGIES else answers[ENERGIES])
        rows.append({**found, "lowest draw": min(spread[name]), "highest draw": max(spread[name])})
    known = {
        "age alone": [float(r.metadata.get("age") or float("nan")) for r in recordings],
        "sex alone (men)": [float(r.metadata.get("sex") == "M") for r in recordings],
        "duration alone": [r.duration_s for r in recordings],
    }
    rows += [
        row(name, np.array(values), labels, speakers, answers[ENERGIES])
        for name, values in known.items()
        if np.isfinite(values).all()
    ]
    found_table = pd.DataFrame(rows)
    n_speakers = len(set(speakers.tolist()))
    print(f"\n{len(recordings)} recordings of {n_speakers} speakers, {N_DRAWS} draws of {N_FOLDS} folds by speaker\n")
    print(found_table.to_string(index=False, float_format=lambda value: f"{value:.3f}"))
    print(f"\n{time.process_time() - began:.0f} s of one core")
    if asked.out is not None:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        found_table.round(4).to_csv(asked.out, index=False)


if __name__ == "__main__":
    main()
