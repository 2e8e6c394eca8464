"""Which bands does a model use at all? Prints a table, and with --card writes it into the model's card.

python scripts/bands.py synthetic-cnn --data synthetic --speakers 40 --card
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from speechxai.classifiers import training
from speechxai.classifiers.bundle import load_bundle
from speechxai.evaluation.machine import peak_memory_mb
from speechxai.inside.bands import TITLE, bands, section, state
from speechxai.inside.interpreter import corpus_for
from speechxai.signal.stft import spectrogram


def main() -> None:
    """Compute and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="name or folder of a model")
    parser.add_argument("--data", default="synthetic", help="recordings, as of speechxai train")
    parser.add_argument("--root", type=Path, help="folder of the recordings")
    parser.add_argument("--speakers", type=int, default=40, help="synthetic speakers")
    parser.add_argument("--card", action="store_true", help="write the section into the model's card")
    given = parser.parse_args()
    torch.set_num_threads(1)
    started = time.perf_counter()
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
