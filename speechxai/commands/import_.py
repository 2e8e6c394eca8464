"""`speechxai import`: published speech networks become a model that speechxai explains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from speechxai.commands.console import flag, progress_bars, say

EPILOG = """
Examples:

\b
  speechxai import CHECKPOINTS --out models/ssl4pr --splits PC-GITA_SPLITS     SSL4PR's fold_1.pt ... fold_10.pt
  speechxai import CHECKPOINTS/fold_1.pt --check                               what is in it; nothing is written
  speechxai import HUBERT_BASE --check

A table of labels is imported by 'speechxai data import'.
"""


def import_(
    source: Annotated[
        str,
        typer.Argument(
            help="Folder of fold_<k>.pt; with --check also one file, a save_pretrained folder or HUBERT_BASE."
        ),
    ],
    out: Annotated[Path | None, flag("out", also="The model's folder, whose last part is its name.")] = None,
    splits: Annotated[
        Path | None,
        typer.Option(help="Folder with the published TRAIN_TEST_<k>: who is heard by which fold's network."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="The foundation model's config.json, where its shapes do not tell the architecture."),
    ] = None,
    classes: Annotated[
        str,
        typer.Option(
            metavar="NAME,NAME[,...]",
            help="Classes in the order of the networks' outputs, which a checkpoint does not name; one output speaks of"
            " the second.",
        ),
    ] = "HC,PD",
    overwrite: Annotated[bool, flag("overwrite", also="A model.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Only say what the source holds.")] = False,
) -> None:
    """Import checkpoints of folds as a model: everybody is explained by the network that never heard them."""
    from speechxai.classifiers.imports import import_folds, pretrained, ssl4pr
    from speechxai.classifiers.training import check_out
    from speechxai.errors import SpeechXAIError
    from speechxai.files import check_apart

    if check:
        path = Path(source)
        imported = ssl4pr(path, config) if path.name.startswith("fold_") else pretrained(source)
        imported.backbone()
        n_weights = sum(value.numel() for value in imported.state.values())
        say(f"{source}: fits the backbone 'ssl', {n_weights / 1e6:.1f} M weights")
        for name, value in imported.options.items():
            say(f"  {name} = {value}")
        return
    if out is None:
        raise SpeechXAIError("The model needs a folder: give --out, for example --out models/ssl4pr.")
    names = [name.strip() for name in classes.split(",")]
    if len(names) < 2 or not all(names):
        raise SpeechXAIError(f"--classes {classes!r}: write at least two names with commas between them.")
    check_out(out, overwrite=overwrite)
    check_apart(out, [source])
    with progress_bars(lambda total, what: total) as show:
        bundle = import_folds(source, out, splits, config, show, names)
    say(f"{bundle.folder}: {bundle.n_folds} networks, {len(bundle.config.speakers)} speakers")
    say(f"Next: speechxai evaluate --data DATA --root ROOT --model {bundle.folder} --out runs/first")
