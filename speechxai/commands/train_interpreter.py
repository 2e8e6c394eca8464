"""`speechxai train-interpreter`: a decoder beside a model that says which sound its answer needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from speechxai.commands.console import argument, flag, progress_bars, say, table, warn

EPILOG = """
Examples:

\b
  speechxai train-interpreter models/mine --data manifest.csv --root MY_VOICES
  speechxai train-interpreter models/mine --data synthetic --fill noise --epochs 40
  speechxai train-interpreter synthetic-cnn --data synthetic --out models/synthetic-copy
  speechxai explain voice.wav --model models/mine --recipe lmac --out why

Trains a decoder for every network of the model (L-MAC): the one of a fold hears nobody of that fold and is judged on
them. Written into the model's folder interpreter/; the model's own files and answers stay as they are. After an
interruption the same command goes on. With --out the model is copied there first; one that comes with the library
needs it.

Exit status: 0 trained, 1 trained without recordings that could not be read, 2 wrong input, 130 stopped by Ctrl-C.
"""

METRICS = {
    "input_fidelity": "Fid-In",
    "faithfulness": "FF",
    "average_increase": "AI",
    "average_drop": "AD",
    "mean_mask": "mean mask",
}


def train_interpreter(
    model: Annotated[str, argument("model")],
    data: Annotated[str, flag("data")],
    root: Annotated[Path | None, flag("root")] = None,
    out: Annotated[Path | None, flag("out", also="A copy of the model, where that shall stay as it is.")] = None,
    labels: Annotated[Path | None, flag("labels")] = None,
    tasks: Annotated[list[str] | None, flag("tasks")] = None,
    fill: Annotated[str, flag("fill", also="Neighbors is not for training.")] = "silence",
    epochs: Annotated[int, flag("epochs")] = 30,
    seed: Annotated[int, flag("seed")] = 0,
    speakers: Annotated[int, flag("speakers", also='For "synthetic".')] = 60,
    threads: Annotated[int | None, flag("threads", also="Without it one.")] = None,
    imports: Annotated[list[str] | None, flag("imports")] = None,
    overwrite: Annotated[bool, flag("overwrite", also="Another interpreter, or an interrupted training.")] = False,
) -> None:
    """Train a decoder of a model's hidden layers to a mask: kept sound keeps the answer, removed sound loses it."""
    from typing import Any, cast

    import torch

    from speechxai.classifiers import training
    from speechxai.classifiers.bundle import load_bundle, own_copy
    from speechxai.inside.interpreter import InterpreterConfig, corpus_for, stored
    from speechxai.inside.interpreter import train_interpreter as trained

    torch.set_num_threads(threads or 1)
    config = InterpreterConfig(fill=cast(Any, fill), epochs=epochs, seed=seed)
    bundle = own_copy(load_bundle(model), out)
    if stored(bundle) and not overwrite:
        say(f"{bundle.folder}: this model has an interpreter. Give --overwrite for another.")
        return
    try:
        with progress_bars(lambda total, what: what.partition(":")[0] == "reading") as show:
            if data == training.SYNTHETIC:
                found = training.synthetic_corpus(speakers, seed)
            else:
                found = corpus_for(bundle, data, root, show, labels=labels, tasks=tuple(tasks or ()))
            about = trained(bundle, found.recordings, config, show, overwrite)
    except KeyboardInterrupt:
        warn("Stopped. What is done is kept: the same command goes on.")
        raise typer.Exit(130) from None
    say(
        f"{about['n_recordings']} recordings of {about['n_speakers']} speakers, each by decoder and network of a fold"
        f" that heard nobody of theirs; {fill} in place of masked sound:"
    )
    rows = [(name, *(f"{row[key]:.3f}" for key in METRICS)) for name, row in about["held_out"].items()]
    say(table(("mask", *METRICS.values()), rows, right=range(1, 1 + len(METRICS))))
    say("These numbers say what masking does, not whether the map lies where the sign is.")
    say(f"{about['seconds']:.0f} s, {about['memory_mb']} MB. Written: {bundle.folder / 'interpreter'}")
    for reason in found.unreadable:
        warn(f"left out: {reason}")
    if found.unreadable:
        raise typer.Exit(1)
