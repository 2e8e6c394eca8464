"""`speechxai check`: what a configuration would do, and what that costs, without doing it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from speechxai.commands.console import flag, say, table

EPILOG = """
Examples:

\b
  speechxai check study.toml
  speechxai check runs/first/config.toml
"""


def check(
    config: Annotated[Path, typer.Argument(help="TOML file of an evaluation.")],
    allow_code: Annotated[bool, flag("allow_code")] = False,
) -> None:
    """Check a configuration and show its plan: recordings, recipes, metrics and passes through the network."""
    from speechxai.evaluation.config import load
    from speechxai.evaluation.session import plan, prepare

    settings = load(config, {"allow_code": allow_code})
    session = prepare(settings)
    found = plan(session)
    rows = [
        ("model", f"{session.bundle.name}, {session.bundle.n_folds} fold models"),
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
