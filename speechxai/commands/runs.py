"""`speechxai runs`: which runs there are, runs beside each other, and a run to give away."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated

import typer

from speechxai.commands.console import Command, flag, say, screen_width, table

runs_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]}
)

if TYPE_CHECKING:
    from speechxai.report.render import Table

FORMATS = ("text", "markdown", "latex", "csv", "json")


@runs_app.callback()
def runs() -> None:
    """Run folders: list them, compare them, export one without audio."""


@runs_app.command(
    "list",
    cls=Command,
    epilog=(
        "Examples:\n\n\b\n  speechxai runs list                 the runs below runs/\n"
        "  speechxai runs list /data/runs --json"
    ),
)
def runs_list(
    place: Annotated[Path, typer.Argument(help="Folder of runs.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List run folders: model, data, how far, when."""
    import json

    from speechxai.errors import SpeechXAIError
    from speechxai.evaluation.beside import found_below
    from speechxai.evaluation.paper import data_name, model_name

    if not place.is_dir():
        raise SpeechXAIError(f"{place}: no such folder.")
    rows = []
    for folder in found_below(place):
        try:
            status = folder.status()
            done, started = f"{status.n_done} of {status.n_units}", str(folder.environment.get("started", ""))[:16]
            rows.append((str(folder.path), model_name(folder), data_name(folder), done, started))
        except SpeechXAIError as error:
            rows.append((str(folder.path), "", "", "damaged", str(error)[:40]))
    head = ("run", "model", "data", "done", "started")
    if as_json:
        say(json.dumps([dict(zip(head, row, strict=True)) for row in rows], indent=1))
        return
    say(table(head, rows) if rows else f"No runs below {place}.")


@runs_app.command(
    "compare",
    cls=Command,
    epilog=(
        "Examples:\n\n\b\n  speechxai runs compare runs/first runs/second\n"
        "  speechxai runs compare runs/all --columns AD -r methods --format latex --out cross-corpus.tex"
    ),
)
def runs_compare(
    folders: Annotated[
        list[Path], typer.Argument(metavar="RUN RUN...", help="Run folders, or a folder that holds several.")
    ],
    columns: Annotated[
        list[str] | None, typer.Option("--columns", "--column", help="Metrics, such as AD or sufficiency@10; repeat.")
    ] = None,
    rows: Annotated[
        list[str] | None,
        typer.Option("--recipes", "--recipe", "-r", help="Rows: recipes, methods, combinations or controls; repeat."),
    ] = None,
    format: Annotated[str, typer.Option("--format", "-f", help="text, markdown, latex, csv or json.")] = "text",
    out: Annotated[Path | None, flag("out", also="A file; standard output without it.")] = None,
    overwrite: Annotated[bool, flag("overwrite")] = False,
) -> None:
    """Show runs beside each other: one model over several data sets, or several models over one."""
    from speechxai.errors import SpeechXAIError, did_you_mean
    from speechxai.evaluation.beside import found_below, side_by_side
    from speechxai.evaluation.runs import RunFolder
    from speechxai.files import check_out, naming_folder, write_atomically

    if format not in FORMATS:
        raise SpeechXAIError(did_you_mean(format, list(FORMATS), "format"))
    if out is not None:
        check_out(out, "file", overwrite)
    below = {each: [] if (each / "config.toml").exists() else found_below(each) for each in folders}
    runs = [run for each in folders for run in below[each] or [RunFolder.open(each)]]
    tables = side_by_side(runs, columns or (), rows or ())
    text = written(tables, format)
    if out is None:
        say(text)
        return
    with naming_folder(out.parent, "write"):
        write_atomically(out, f"{text}\n".encode())
    say(str(out))


def written(tables: Sequence[Table], format: str) -> str:
    """Write tables in a format of FORMATS."""
    import json

    from speechxai.report.latex import LATEX_NEEDS, latex
    from speechxai.report.render import beside, console, csv_text, markdown

    if format == "latex":
        return "\n".join([LATEX_NEEDS, *map(latex, tables)]).rstrip("\n")
    if format == "json":
        content = {
            each.title: [dict(zip(each.columns, [row.name, *map(beside, row.cells)], strict=True)) for row in each.rows]
            for each in tables
        }
        return json.dumps(content, ensure_ascii=False, indent=1)
    if format == "csv":
        return "\n".join(csv_text(each).rstrip("\n") for each in tables)
    width = screen_width()

    def shown(table: Table) -> str:
        if format == "markdown":
            parts = [table.title, markdown(table), table.note]
        else:
            parts = [table.title, console(table, width), fill(table.note, width or NOTE_WIDTH)]
        return "\n\n".join(filter(None, parts))

    return "\n\n".join(map(shown, tables))


NOTE_WIDTH = 120
"""Columns of a note in a file."""


@runs_app.command(
    "export",
    cls=Command,
    epilog=(
        "Example:\n\n\b\n  speechxai runs export runs/first --out shared-run\n"
        "  speechxai reproduce shared-run --root DATA --out again       what whoever gets it can do"
    ),
)
def runs_export(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    out: Annotated[Path, flag("out", also="A new folder.")],
    overwrite: Annotated[bool, flag("overwrite")] = False,
) -> None:
    """Write a run into a folder to share: settings, versions, hashes, tables; no audio, maps, pictures or paths."""
    from speechxai.evaluation.beside import export
    from speechxai.evaluation.runs import RunFolder
    from speechxai.files import check_out

    check_out(out, "folder", overwrite)
    say(f"{out}: {', '.join(export(RunFolder.open(run), out))}")
