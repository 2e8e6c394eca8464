"""`speechxai merge`: one model instead of several that began as one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from speechxai.commands.console import flag, say

EPILOG = """
Examples:

\b
  speechxai merge models/mine --out models/one                                 its folds become one network
  speechxai merge models/site-a models/site-b --out models/both                two sites that may not share voices
  speechxai merge models/site-a models/site-b --weights 0.7 --weights 0.3 --out models/both

Only networks that began with the same weights can be merged: heads on one encoder, or 'speechxai train --init MODEL'.
"""


def merge(
    bundles: Annotated[list[Path], typer.Argument(help="Folder of a model with folds, or folders of several models.")],
    out: Annotated[Path, flag("out", also="The merged model's folder.")],
    weights: Annotated[
        list[float] | None,
        typer.Option("--weights", help="Of every network in turn, summing to 1; repeat for each (default: equal)."),
    ] = None,
    overwrite: Annotated[bool, flag("overwrite", also="A model that is there.")] = False,
) -> None:
    """Interpolate the weights of networks that share an ancestor into one model."""
    from speechxai.classifiers.bundle import load_bundle
    from speechxai.classifiers.merge import merged, save_merged
    from speechxai.classifiers.training import check_out

    check_out(out, overwrite=overwrite)
    models = [load_bundle(path) for path in bundles]
    found = merged(models, weights)
    written = save_merged(str(out), found, models)
    for name, weight in zip(found.parts, found.weights, strict=True):
        say(f"{weight:.3f} x {name}")
    say(f"Written: {written.folder}. One network, which began with {found.ancestor[:12]}...")
