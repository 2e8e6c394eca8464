"""Train the auxiliary classifier on the maps of a run: what do the maps alone know about the disease?

examples:
  python scripts/train_auxiliary.py runs/first
  python scripts/train_auxiliary.py runs/first --recipe all --input masked
  python scripts/train_auxiliary.py runs/first --architecture cnn14 --weights Cnn14_16k.pth --device cuda
after an interruption: the same command; after a new evaluation of the run: the same command with --again
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from speechxai.commands.auxiliary import perform
from speechxai.errors import SpeechXAIError


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("run", type=Path, help="run folder, evaluated with --maps")
    add("--recipe", action="append", default=[], help="methods (default), all, or a recipe of the run")
    add("--input", default="map", help="map, masked or original (default: map)")
    add("--architecture", default="small", help="small or cnn14 (default: small)")
    add("--split", default="both", help="both, or speaker: without the leaky comparison (default: both)")
    add("--seeds", type=int, default=5, help="repetitions (default: 5)")
    add("--folds", type=int, default=5, help="folds of the cross-validation (default: 5)")
    add("--epochs", type=int, help="at most so many; the best by validation loss counts")
    add("--n-mels", type=int, default=80, help="mel bands; fewer for a coarse transform (default: 80)")
    add("--weights", type=Path, help="published AudioSet weights for cnn14, a local file")
    add(
        "--checkpoints", action=argparse.BooleanOptionalAction, help="keep every network (default: small yes, cnn14 no)"
    )
    add("--device", default="cpu", help="cpu, cuda, cuda:1 or mps")
    add("--name", help="name of the study's folder")
    add("--again", action="store_true", help="throw away the study that is there")
    return parser.parse_args()


if __name__ == "__main__":
    wanted = vars(_arguments())
    run, name, again = wanted.pop("run"), wanted.pop("name"), wanted.pop("again")
    try:
        perform(run, {**wanted, "recipe": tuple(wanted["recipe"])}, name, again)
    except SpeechXAIError as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit("Stopped. The same command goes on where it stopped.")
