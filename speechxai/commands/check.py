"""`speechxai check`: what a configuration would do, and what that costs, without doing it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from speechxai.commands.console import flag, say, table
from speechxai.commands.evaluate import quantus_line, setting
from speechxai.flags import EVALUATE

EPILOG = """
Examples:

\b
  speechxai check study.toml
  speechxai check runs/first/config.toml
  speechxai check study.toml --root DATA/mdvr-kcl --model models/mine
"""


def check(
    config: Annotated[Path, typer.Argument(help="TOML file of an evaluation; flags override its keys.")],
    data: Annotated[str | None, setting("data")] = None,
    root: Annotated[Path | None, setting("root")] = None,
    labels: Annotated[Path | None, setting("labels")] = None,
    model: Annotated[str | None, setting("model")] = None,
    allow_code: Annotated[bool, flag("allow_code")] = False,
    recipes: Annotated[list[str] | None, setting("recipes")] = None,
    metrics: Annotated[list[str] | None, setting("metrics")] = None,
    limit: Annotated[int | None, setting("limit")] = None,
    imports: Annotated[list[str] | None, setting("imports")] = None,
) -> None:
    """Check a configuration and show its plan: recordings, recipes, metrics and passes through the network."""
    flags = {key: value for key, value in locals().items() if key in EVALUATE and value is not None}
    from speechxai.doctor import cannot_be_right
    from speechxai.evaluation.config import load
    from speechxai.evaluation.session import plan, prepare

    settings = load(config, flags)
    session = prepare(settings)
    slow = quantus_line(session)
    if slow:
        say(slow)
    found = plan(session)
    rows = [
        ("model", f"{session.bundle.name}, {session.bundle.n_folds} fold models"),
        ("doctor", cannot_be_right(session.bundle, ()) or "nobody is suspected at a first look"),
        ("recordings", f"{found.n_recordings} of {found.n_speakers} speakers ({found.classes})"),
        ("not placed", f"{len(session.unmatched)} files"),
        (
            "recipes",
            (
                f"{len(session.settings.recipes)}:"
                f" {', '.join(session.settings.recipes[:4])}{', ...' if len(session.settings.recipes) > 4 else ''}"
            ),
        ),
        ("metrics", f"{len(session.settings.metrics)}: {', '.join(session.settings.metrics)}"),
        (
            "protocol",
            (
                f"{settings.protocol}, evidence {settings.evidence}, removed bins filled with {settings.fill}, seed"
                f" {settings.seed}"
            ),
        ),
        (
            "passes a recording",
            f"{found.n_forward:.0f} forward and {found.n_backward:.0f} backward, for one of {found.duration_s:.1f} s",
        ),
        (
            "passes in all",
            (
                f"{found.n_recordings * found.n_forward:,.0f} forward and {found.n_recordings * found.n_backward:,.0f}"
                " backward"
            ),
        ),
        ("maps kept", f"{found.maps_mb:,.0f} MB" if settings.maps else "no"),
        ("run folder", str(settings.out) if settings.out else "give --out"),
    ]
    if session.unscored:
        rows.append(("note", session.unscored))
    if session.bundle.assumption:
        rows.append(("note", session.bundle.assumption))
    if settings.out and (settings.out / "config.toml").exists():
        rows.append(("note", f"{settings.out} holds a run already; it continues with --resume"))
    say(table(("what", "value"), rows))
    for recipe, reason in found.not_applicable.items():
        say(f"Not applicable: {recipe}: {reason}")
    say(f"{config} is valid.")
