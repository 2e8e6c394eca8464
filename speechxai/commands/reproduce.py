"""`speechxai reproduce`: a run computed again from its settings, and what differs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from speechxai.commands.console import flag, say

EPILOG = """
Examples:

\b
  speechxai reproduce runs/first                          into runs/first-again
  speechxai reproduce shared-run --root DATA --out again  from what 'speechxai runs export' wrote
  speechxai reproduce runs/first --tolerance 0            every number to the last bit

Exit status: 0 the same, 1 numbers differ, 2 wrong input.
"""


def reproduce(
    run: Annotated[Path, typer.Argument(help="Run folder, or what 'speechxai runs export' wrote.")],
    data: Annotated[str | None, flag("data", also="Without it the run's.")] = None,
    root: Annotated[Path | None, flag("root", also="Without it the run's.")] = None,
    model: Annotated[str | None, flag("model", also="Without it the run's.")] = None,
    allow_code: Annotated[bool, flag("allow_code")] = False,
    device: Annotated[str | None, flag("device", also="Without it the run's.")] = None,
    tolerance: Annotated[
        float, typer.Option("--tolerance", help="Differences of a number up to here are none.", min=0, max=1)
    ] = 1e-3,
    out: Annotated[Path | None, flag("out", also="A new run; without it beside RUN, with -again.")] = None,
    imports: Annotated[list[str] | None, flag("imports")] = None,
    overwrite: Annotated[bool, flag("overwrite")] = False,
) -> None:
    """Compute a run again from its settings, compare its tables number by number, and say what differs and why."""
    from speechxai.commands.evaluate import run as evaluate
    from speechxai.evaluation.beside import compared, reasons
    from speechxai.evaluation.config import from_dict
    from speechxai.evaluation.runs import RunFolder

    then = RunFolder.open(run)
    tables = compared(then, then)  # says at once where a table is missing
    given = {"data": data, "root": root, "model": model, "device": device, "imports": imports}
    again = out or run.with_name(f"{run.resolve().name}-again")
    content = {**then.config, **{key: value for key, value in given.items() if value is not None}}
    settings = from_dict({**content, "out": again, "allow_code": allow_code}, str(run / "config.toml"))
    lost = evaluate(settings, None, overwrite)
    now = RunFolder.open(again)
    tables = compared(then, now, tolerance)
    say()
    say(f"{run} and {again}, numbers that differ by no more than {tolerance:g} counted as the same:")
    for each in tables:
        say(f"  {each.words()}")
    other = any(each.n_other for each in tables)
    why = list(reasons(then, now))
    if other:
        say("Likely why:" if why else "Nothing that is noted of the two explains it: same settings, weights, versions.")
    elif why:
        say("The same, although:")
    for reason in why:
        say(f"  {reason}")
    if not other and not why:
        say("The same.")
    raise typer.Exit(1 if other or lost else 0)
