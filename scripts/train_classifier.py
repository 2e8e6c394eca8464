"""Train a classifier by speaker-disjoint cross-validation, and write it as a model bundle with its card.

examples:
  synthetic voices:
    python scripts/train_classifier.py synthetic --out models/synthetic-cnn
  real recordings in the telephone band, with two further cross-validations for the card:
    python scripts/train_classifier.py figshare-voice --root DIR --out models/mine --option f_max_hz=4000.0 --repeats 1
    2
  the transparent baseline, a logistic regression on acoustic measures:
    python scripts/train_classifier.py figshare-voice --root DIR --out models/baseline --backbone acoustic
  fine-tuning a speech foundation model by a recipe file, whose settings the command line may replace:
    python scripts/train_classifier.py pc-gita --root DIR --out models/hubert --recipe scripts/configs/ssl4pr.toml
after an interruption: the same command with --resume
exit status 1: a wrong setting, or recordings that could not be read and were left out
"""

from __future__ import annotations

import argparse
import sys
import tomllib

import torch
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from speechxai.classifiers import BACKBONES
from speechxai.classifiers.fit import FitConfig
from speechxai.classifiers.training import SYNTHETIC, plan_of, read_corpus, read_recipe, synthetic_corpus, train_bundle
from speechxai.errors import SpeechXAIError

TEXTS = {
    "card": "data card ('speechxai data list' names them), a card's TOML file, or 'synthetic'",
    "--root": "folder of the recordings (not for synthetic)",
    "--out": "folder of the bundle; its last part is the model's name",
    "--title": "one line about the model",
    "--note": "what the card must say about the training, for example how settings were chosen",
    "--backbone": f"one of {', '.join(BACKBONES)} (default: cnn)",
    "--pretrained": "weights that the backbone ssl starts from: a save_pretrained folder, a file, or HUBERT_BASE",
    "--recipe": "TOML file with any of these settings",
}
NUMBERS = {"folds": (5, "by speaker, at least 3"), "speakers": (60, "synthetic ones"), "threads": (1, "of torch")}
FIT = {
    "epochs": "at most",
    "patience": "epochs without a better validation loss",
    "learning_rate": "of AdamW",
    "weight_decay": "of AdamW",
    "batch": "crops a step",
    "crop_s": "length of random crops, seconds",
    "n_crops": "crops a recording and epoch",
    "seed": "of folds, initial weights, crops, augmentation",
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, text in TEXTS.items():
        parser.add_argument(name, help=text, **({"required": True} if name == "--out" else {}))
    for name, (default, text) in {**NUMBERS, **{k: (getattr(FitConfig(), k), v) for k, v in FIT.items()}}.items():
        text = f"{text} (default: {default})"
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default, help=text)
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="of the backbone, as TOML")
    parser.add_argument("--repeats", type=int, nargs="*", default=[], metavar="SEED", help="further cross-validations")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted training")
    if recipe := parser.parse_args().recipe:
        parser.set_defaults(**read_recipe(recipe))
    given = parser.parse_args()
    given.options = {**getattr(given, "options", {}), **tomllib.loads("\n".join(given.option))}
    return given


def _train(given: argparse.Namespace, bars: Progress) -> tuple[str, tuple[str, ...]]:
    tasks: dict[str, TaskID] = {}

    def show(done: int, total: int, what: str) -> None:
        part = what.split(":")[0]
        if part not in tasks:
            tasks[part] = bars.add_task(part)
        bars.update(tasks[part], completed=done, total=total, description=f"{what:<45}")

    plan = plan_of(vars(given))
    if given.card != SYNTHETIC and not given.root:
        raise SpeechXAIError("Name the folder of the recordings with --root.")
    synthetic = given.card == SYNTHETIC
    data = (
        synthetic_corpus(given.speakers, given.seed) if synthetic else read_corpus(given.card, given.root, plan, show)
    )
    bundle = train_bundle(data, plan, given.out, show, given.resume)
    card = bundle.card[bundle.card.index("## How good") : bundle.card.index("## Calibration")]
    return f"{card}Written: {bundle.folder}", data.unreadable


if __name__ == "__main__":
    try:
        wanted = _arguments()
        torch.set_num_threads(wanted.threads)
        with Progress(
            TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn()
        ) as shown:
            result, unreadable = _train(wanted, shown)
    except (SpeechXAIError, tomllib.TOMLDecodeError) as error:
        sys.exit(f"Error: {error}")
    print(result)
    if unreadable:
        sys.exit("\n".join(f"left out: {reason}" for reason in unreadable))
