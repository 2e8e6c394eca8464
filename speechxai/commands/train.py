"""`speechxai train`: a classifier of your own, validated by speaker, with its card."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from speechxai.commands.console import argument, flag, progress_bars, say, warn
from speechxai.flags import TRAIN

EPILOG = """
Examples:

\b
  speechxai train synthetic --out models/synthetic-cnn                       synthetic voices
  speechxai train manifest.csv --root MY_VOICES --out models/mine            what 'speechxai data import' wrote
  speechxai train figshare-voice --root DATA --out models/telephone --option f_max_hz=4000.0 --repeats 1 --repeats 2
  speechxai train figshare-voice --root DATA --out models/baseline --backbone acoustic     a regression on measures
  speechxai train mdvr-kcl --root DATA --out models/updrs --target updrs                   a score instead of classes
  speechxai train pc-gita --root DATA --out models/hubert --config ssl4pr --device cuda    a speech foundation model

After an interruption: the same command with --resume.

Exit status: 0 trained, 1 trained without recordings that could not be read, 2 wrong input, 130 stopped by Ctrl-C.
"""

setting = partial(flag, left_open=True)


def train(
    data: Annotated[str, argument("data")],
    out: Annotated[Path, flag("out", also="The model's folder, whose last part is its name.")],
    root: Annotated[Path | None, flag("root")] = None,
    labels: Annotated[Path | None, flag("labels")] = None,
    tasks: Annotated[list[str] | None, flag("tasks")] = None,
    config: Annotated[
        str | None,
        typer.Option(
            "--config", "-c", "--recipe", help="TOML file of these settings, or a name of 'speechxai list configs'."
        ),
    ] = None,
    title: Annotated[str | None, setting("title")] = None,
    note: Annotated[str | None, setting("note")] = None,
    target: Annotated[str | None, setting("target")] = None,
    unit: Annotated[str | None, setting("unit")] = None,
    recorded_with: Annotated[str | None, setting("recorded_with")] = None,
    backbone: Annotated[str | None, setting("backbone")] = None,
    option: Annotated[list[str] | None, setting("option", metavar="NAME=VALUE")] = None,
    pretrained: Annotated[str | None, setting("pretrained")] = None,
    init: Annotated[str | None, setting("init")] = None,
    folds: Annotated[int | None, setting("folds")] = None,
    repeats: Annotated[list[int] | None, setting("repeats")] = None,
    epochs: Annotated[int | None, setting("epochs")] = None,
    patience: Annotated[int | None, setting("patience")] = None,
    restarts: Annotated[int | None, setting("restarts")] = None,
    learning_rate: Annotated[float | None, setting("learning_rate")] = None,
    weight_decay: Annotated[float | None, setting("weight_decay")] = None,
    batch: Annotated[int | None, setting("batch")] = None,
    crop_s: Annotated[float | None, setting("crop_s")] = None,
    n_crops: Annotated[int | None, setting("n_crops")] = None,
    seed: Annotated[int | None, setting("seed", also="Folds, initial weights, crops, augmentation.")] = None,
    speakers: Annotated[int | None, setting("speakers", also='For "synthetic".')] = None,
    device: Annotated[str, flag("device")] = "cpu",
    threads: Annotated[int | None, setting("threads", also="Without it one.")] = None,
    imports: Annotated[list[str] | None, flag("imports")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted training.")] = False,
    overwrite: Annotated[bool, flag("overwrite", also="A model, or an interrupted training.")] = False,
) -> None:
    """Train a classifier by cross-validation over speakers, and write it as a model with its card."""
    flags = (*TRAIN, "seed", "threads", "device", "out")
    given = {key: value for key, value in locals().items() if key in flags and value is not None}
    import torch

    from speechxai.classifiers import training
    from speechxai.data.cards import places_of
    from speechxai.errors import SpeechXAIError
    from speechxai.files import check_apart
    from speechxai.types import CLASS_NAMES

    given = {**(training.read_recipe(config) if config else {}), **given}
    torch.set_num_threads(given.get("threads", 1))
    plan = training.plan_of(given)
    if training.check_out(out, resume, overwrite):
        say(f"{out}: this training is finished.")
        return
    if data != training.SYNTHETIC:
        check_apart(out, places_of(data, root))
    plan.make()  # what the backbone refuses is said before anything is read
    try:
        with progress_bars(lambda total, what: what.partition(":")[0]) as show:
            if data == training.SYNTHETIC:
                found = training.synthetic_corpus(given.get("speakers", TRAIN["speakers"].default), plan.fit.seed)
            else:
                found = training.read_corpus(data, root, plan, show, labels=labels, tasks=tuple(tasks or ()))
                check_apart(out, places_of(data, root, (str(r.metadata["path"]) for r in found.recordings)))
            plan = replace(plan, classes=plan.classes if plan.unit and data == training.SYNTHETIC else found.classes)
            warn(
                f"{plan.name}: {plan.backbone}, {len(found.recordings)} recordings of"
                f" {len({r.speaker for r in found.recordings})} speakers, {plan.n_folds} folds"
                + (
                    f", {plan.classes[0]} in {plan.unit}"
                    if plan.unit
                    else ""
                    if plan.classes == CLASS_NAMES
                    else f", classes {', '.join(plan.classes)}"
                )
            )
            bundle = training.train_bundle(found, plan, out, show, resume, overwrite)
    except SpeechXAIError:
        _doctor(training.states_of(out))
        raise
    except KeyboardInterrupt:
        warn("Stopped. What is done is kept: the same command goes on with --resume.")
        raise typer.Exit(130) from None
    ends = ("## How near", "## Other folds") if plan.unit else ("## How good", "## Calibration")
    say(bundle.card[bundle.card.index(ends[0]) : bundle.card.index(ends[1])].rstrip())
    say()
    say(f"Written: {bundle.folder}. Its card: {bundle.folder / 'card.md'}")
    for concern in bundle.concerns():
        warn(f"Warning: {concern}")
    _doctor(bundle.folder)
    for reason in found.unreadable:
        warn(f"left out: {reason}")
    if found.unreadable:
        raise typer.Exit(1)


def _doctor(folder: Path) -> None:
    """Say in a line what the log of a training shows."""
    from speechxai.doctor import examine_training
    from speechxai.doctor.training import is_training

    if not is_training(folder):
        return
    found = examine_training(folder)
    warn(found.line if found.healthy else f"{found.line} More: speechxai doctor {folder}")
