"""`speechxai report`: the tables of a run, for reading and for papers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from speechxai.commands.console import flag, say

if TYPE_CHECKING:
    from speechxai.evaluation.paper import Asked
    from speechxai.evaluation.report import Section
    from speechxai.evaluation.runs import RunFolder

FORMATS = ("html", "latex", "markdown", "csv", "json", "methods", "tidy", "figures")

EPILOG = """
Examples:

\b
  speechxai report runs/first                                 writes runs/first/report.html
  speechxai report runs/first --format latex > table.tex      the paper's columns: AI, AD, AG, FF, Fid-In, SPS, COMP
  speechxai report runs/first --format latex --columns AD --columns FF --recipes methods --label tab:maps --p
  speechxai report runs/first --format methods --out methods.tex        and methods.bib beside it
  speechxai report runs/first --format tidy --out tidy        CSV for R and SPSS, with codebook.csv
  speechxai report runs/first --format figures --out figures  PNG, SVG, PDF, and captions in figures.tex
  speechxai report runs/first --format json --by task         for a program; a table for each task as well
  speechxai report runs/first --by sex --by diagnosis         answers and scores by columns of the manifest as well

A LaTeX table is as wide as a column of an IEEE paper, or as its page where it must be, and never scaled: what is too
wide gets smaller letters, intervals below the means, or a second table.
"""


def report(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    format: Annotated[
        str,
        typer.Option(
            "--format",
            "-f",
            help="html; latex, markdown, csv, json: the table; methods: the paragraph with its BibTeX; tidy: tables for"
            " R and SPSS; figures: PNG, SVG, PDF.",
        ),
    ] = "html",
    columns: Annotated[
        list[str] | None,
        typer.Option("--columns", "--column", help="Metrics of the table, such as AD or sufficiency@10; repeat."),
    ] = None,
    rows: Annotated[
        list[str] | None,
        typer.Option(
            "--recipes",
            "--recipe",
            "-r",
            help="Rows of the table: recipes, methods, unions, intersections, combinations or controls; repeat.",
        ),
    ] = None,
    split_intervals: Annotated[
        bool | None,
        typer.Option(
            "--split-intervals/--beside",
            help="LaTeX: intervals in lines below the means, or beside them (default: as fits).",
        ),
    ] = None,
    p: Annotated[
        bool, typer.Option("--p", help="The largest p-value against the controls in every cell as well.")
    ] = False,
    label: Annotated[str, typer.Option("--label", help="LaTeX: the table's label.")] = "",
    size: Annotated[
        str, typer.Option("--size", help="LaTeX: small, footnotesize or scriptsize (default: the largest that fits).")
    ] = "",
    width: Annotated[
        str, typer.Option("--width", help="LaTeX: column or page (default: the narrower one that fits).")
    ] = "",
    out: Annotated[
        Path | None,
        flag(
            "out",
            also="A file; standard output without it (html: report.html in the run; tidy and figures: a folder of"
            " that name in it).",
        ),
    ] = None,
    by: Annotated[list[str] | None, flag("by", also="Without it what the run was asked for.")] = None,
    overwrite: Annotated[bool, flag("overwrite")] = False,
) -> None:
    """Write a run's report as HTML, its table or methods for a paper, its tables for R and SPSS, or its figures."""
    from speechxai.errors import SpeechXAIError, did_you_mean
    from speechxai.evaluation.paper import FORMATS as TABLES
    from speechxai.evaluation.paper import Asked, tables
    from speechxai.evaluation.runs import RunFolder, finish
    from speechxai.files import check_out
    from speechxai.report.latex import Layout

    if format not in FORMATS:
        raise SpeechXAIError(did_you_mean(format, list(FORMATS), "format"))
    in_a_table = {"--columns": columns, "--recipes": rows, "--p": p}
    in_latex = {"--split-intervals": split_intervals is not None, "--label": label, "--size": size, "--width": width}
    for name, given in {**in_a_table, **in_latex}.items():
        fits = TABLES if name in in_a_table else ("latex",)
        if given and format not in fits:
            raise SpeechXAIError(f"{name} is for --format {' or '.join(fits)}; this is {format}.")
    layout = Layout(label, width, size, split_intervals)
    asked = Asked(tuple(columns or ()), tuple(rows or ()), None if by is None else tuple(by), p, layout)
    into_folder = format in ("tidy", "figures")
    if out is not None:
        check_out(out, "folder" if into_folder else "file", overwrite)
    folder = RunFolder.open(run)
    if not folder.done_units():
        raise SpeechXAIError(f"{run}: no recording is scored yet. Continue with 'speechxai evaluate --resume {run}'.")
    if not folder.is_finished():
        finish(folder)
    if format == "html":
        from speechxai.evaluation.report import write_html

        say(str(write_html(folder, out, sections_of(folder.path), by)))
    elif format == "methods":
        _methods(folder, out)
    elif into_folder:
        _files(folder, out or folder.path / format, format, asked)
    elif out is None:
        say(tables(folder, format, asked).rstrip("\n"))
    else:
        _write(out, tables(folder, format, asked))


def sections_of(run: Path) -> list[Section]:
    """What rooms above the run's own add to its report: the bands that the model uses, studies of the maps alone."""
    from speechxai.auxiliary.report import sections
    from speechxai.inside import bands

    return [*bands.sections(run), *sections(run)]


def _methods(folder: RunFolder, out: Path | None) -> None:
    """Print or write the paragraph of methods; its references stand beside it."""
    from speechxai.evaluation.paper import methods

    text, bib = methods(folder, markdown=out is not None and out.suffix == ".md")
    if out is None:
        say(f"{text}\n\n{bib}".rstrip("\n"))
        return
    _write(out, text + "\n")
    _write(out.with_suffix(".bib"), bib)


def _files(folder: RunFolder, out: Path, format: str, asked: Asked) -> None:
    """Write tidy tables or figures into a folder."""
    from speechxai.evaluation.paper import tidy
    from speechxai.files import naming_folder, write_atomically

    if format == "tidy":
        contents = tidy(folder)
    else:
        from speechxai.evaluation.report import figures

        contents = figures(folder)
    with naming_folder(out, "write"):
        out.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            write_atomically(out / name, content)
    say(f"{out}: {', '.join(contents)}")


def _write(out: Path, text: str) -> None:
    from speechxai.files import naming_folder, write_atomically

    with naming_folder(out.parent, "write"):
        write_atomically(out, text.encode())
    say(str(out))
