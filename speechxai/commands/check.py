"""`speechxai check`: what a configuration would do, and what that costs, without doing it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from speechxai.commands.console import flag, say
from speechxai.commands.evaluate import setting, show_plan
from speechxai.flags import EVALUATE

EPILOG = """
Examples:

\b
  speechxai check study.toml
  speechxai check runs/first/config.toml
  speechxai check study.toml --root DATA/mdvr-kcl --model models/mine
  speechxai check --data synthetic --model synthetic-cnn -r published -m all
"""


def check(
    config: Annotated[
        Path | None,
        typer.Argument(
            metavar="[STUDY.toml]", help="TOML file of an evaluation; flags override its keys, or stand alone."
        ),
    ] = None,
    data: Annotated[str | None, setting("data")] = None,
    root: Annotated[Path | None, setting("root")] = None,
    labels: Annotated[Path | None, setting("labels")] = None,
    model: Annotated[str | None, setting("model")] = None,
    allow_code: Annotated[bool, flag("allow_code")] = False,
    recipes: Annotated[list[str] | None, setting("recipes")] = None,
    metrics: Annotated[list[str] | None, setting("metrics")] = None,
    limit: Annotated[int | None, setting("limit")] = None,
    protocol: Annotated[str | None, setting("protocol")] = None,
    signs: Annotated[list[str] | None, setting("signs")] = None,
    maps: Annotated[bool | None, setting("maps")] = None,
    out: Annotated[Path | None, setting("out", also="Whether a run is there already is said.")] = None,
    imports: Annotated[list[str] | None, setting("imports")] = None,
) -> None:
    """Check a configuration and show its plan: recordings, recipes, metrics and passes through the network."""
    flags = {key: value for key, value in locals().items() if key in EVALUATE and value is not None}
    from speechxai.evaluation.config import load

    show_plan(load(config, flags))
    say(f"{config or 'This'} is valid.")
