"""The command line. `main()` turns every error of the library into one line and an exit status.

Exit status: 0 all well; 1 the run ended but some recordings failed; 2 wrong input or usage.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from speechxai import __version__
from speechxai.commands import (
    align,
    auxiliary,
    benchmark,
    check,
    concepts,
    console,
    demo,
    doctor,
    env,
    evaluate,
    explain,
    import_,
    listing,
    merge,
    predict,
    report,
    reproduce,
    train,
    train_interpreter,
    whatif,
)
from speechxai.commands import app as web_app
from speechxai.commands.console import Command
from speechxai.commands.data import data_app
from speechxai.commands.runs import runs_app
from speechxai.commands.study import study_app
from speechxai.errors import SpeechXAIError, encodable, is_out_of_memory
from speechxai.evaluation.machine import keep_freed_memory

_EPILOG = """
Examples:

\b
  speechxai demo                                             see everything once, on synthetic voices
  speechxai predict voice.wav --model figshare-cnn           what does the model say?
  speechxai explain voice.wav --recipe saliency --out why    why does it say so?
  speechxai whatif voice.wav --out what-if                   what if the voice were less breathy?
  speechxai evaluate --data figshare-voice --root DATA --model figshare-cnn --recipes published --out runs/first
  speechxai report runs/first --format latex                 tables for a paper
  speechxai train figshare-voice --root DATA --out models/mine     a classifier of your own

A research tool, not a medical device.
"""

app = typer.Typer(
    name="speechxai",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_EPILOG,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"speechxai {__version__}")
        raise typer.Exit


@app.callback(epilog=_EPILOG)
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; works after the command too.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="No progress and no remarks, results alone; works after the command too.")
    ] = False,
) -> None:
    """Why does a speech classifier say Parkinson's? Explain it, test the explanation, say it in clinical words."""


for _name, _module, _short in (
    ("demo", demo, "See everything once, on synthetic voices."),
    ("evaluate", evaluate, "Score explanations of many recordings; resumable."),
    ("check", check, "Check a configuration: its plan and its cost."),
    ("report", report, "Tables of a run: HTML, LaTeX, Markdown, CSV."),
    ("reproduce", reproduce, "Compute a run again; what differs, and why?"),
    ("predict", predict, "What does the model say of these files?"),
    ("explain", explain, "Why? One file: pictures, sounds, numbers."),
    ("align", align, "Where do its words and phones lie? TextGrids."),
    ("whatif", whatif, "What if the voice were less breathy? One file."),
    ("list", listing, "Methods, combinations, metrics, models, cards."),
    ("doctor", doctor, "What is wrong with a model, a training, a run?"),
    ("train", train, "Train a classifier on recordings; resumable."),
    ("train-interpreter", train_interpreter, "Train a mask that says what an answer needs."),
    ("merge", merge, "One model instead of several that began as one."),
    ("concepts", concepts, "Where in a network are the signs? What if they go?"),
    ("import", import_, "Published checkpoints become a model."),
    ("benchmark", benchmark, "Which explanation can I trust? Planted cues."),
    ("auxiliary", auxiliary, "What do the maps alone know?"),
    ("env", env, "Versions for a report of a fault."),
    ("app", web_app, "Open the web app on this computer."),
):
    _function = getattr(_module, _module.__name__.rpartition(".")[2])
    app.command(_name, cls=Command, short_help=_short, epilog=_module.EPILOG)(_function)
app.add_typer(data_app, name="data", short_help="Data sets: list, check, import, fetch.")
app.add_typer(runs_app, name="runs", short_help="Runs: list, compare, export one to share.")
app.add_typer(study_app, name="study", short_help="Reader studies: can people tell true from false?")


def _one_line(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if issubclass(category, UserWarning):
        typer.echo(encodable(f"Warning: {message}"), err=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends with SystemExit."""
    # Large tensors on large pages: a tenth less time. PyTorch reads it when it is imported, and so do worker processes.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    keep_freed_memory()
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    console.quiet = "--quiet" in words
    words = [word for word in words if word not in ("--debug", "--quiet")]
    if not debug:
        warnings.showwarning = _one_line
    try:
        app(args=words, prog_name="speechxai", obj={"debug": debug})
    except SpeechXAIError as error:
        if debug:
            raise
        typer.echo(encodable(f"Error: {error}"), err=True)
        sys.exit(2)
    except (MemoryError, RuntimeError) as error:
        if debug or not is_out_of_memory(error):
            raise
        typer.echo(
            "Error: There is not enough memory for this. Ask for less at once: a smaller network, --batch, --max-batch,"
            " --memory-mb or fewer --workers.",
            err=True,
        )
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("Stopped. What is done is kept; --help of the command says how it goes on.", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
