"""`speechxai report`: the tables of a run, for reading and for papers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from speechxai.commands.console import flag, say

FORMATS = ("html", "latex", "markdown", "csv")

EPILOG = """
Examples:

\b
  speechxai report runs/first                               writes runs/first/report.html
  speechxai report runs/first --format latex > table.tex    the paper's columns: AI, AD, AG, FF, Fid-In, SPS, COMP
  speechxai report runs/first --format markdown --out TABLE.md
  speechxai report runs/first --by sex --by diagnosis       answers and scores by columns of the manifest as well
"""


def report(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    format: Annotated[str, typer.Option("--format", "-f", help="html, latex, markdown or csv.")] = "html",
    out: Annotated[
        Path | None, flag("out", also="A file; standard output without it (html: report.html in the run).")
    ] = None,
    by: Annotated[list[str] | None, flag("by", also="Without it what the run was asked for.")] = None,
    overwrite: Annotated[bool, flag("overwrite")] = False,
) -> None:
    """Write a run's report as HTML, or its table with the paper's columns as LaTeX, Markdown or CSV."""
    from speechxai.auxiliary.report import sections
    from speechxai.errors import SpeechXAIError, did_you_mean
    from speechxai.evaluation.report import tables, write_html
    from speechxai.evaluation.runs import RunFolder, finish
    from speechxai.files import check_out, naming_folder, write_atomically

    if format not in FORMATS:
        raise SpeechXAIError(did_you_mean(format, list(FORMATS), "format"))
    if out is not None:
        check_out(out, "file", overwrite)
    folder = RunFolder.open(run)
    if not folder.done_units():
        raise SpeechXAIError(f"{run}: no recording is scored yet. Continue with 'speechxai evaluate --resume {run}'.")
    if not folder.is_finished():
        finish(folder)
    if format == "html":
        say(str(write_html(folder, out, sections(folder.path), by)))
        return
    text = tables(folder, format, by)
    if out is None:
        say(text.rstrip("\n"))
        return
    with naming_folder(out.parent, "write"):
        write_atomically(out, text.encode())
    say(str(out))
