"""`speechxai evaluate`: recordings in, scored explanations out."""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speechxai.commands.console import duration, flag, progress_bar, say, table, warn
from speechxai.flags import EVALUATE

if TYPE_CHECKING:
    from speechxai.evaluation.config import EvaluateConfig
    from speechxai.evaluation.runs import RunFolder
    from speechxai.evaluation.session import Session

EPILOG = """
Examples:

\b
  speechxai evaluate --data synthetic --model synthetic-cnn --out runs/first
  speechxai evaluate --data figshare-voice --root DATA --model figshare-cnn -r published -m published --out runs/paper
  speechxai evaluate --data figshare-voice --root DATA --model figshare-cnn --signs all --out runs/signs   # what-ifs
  speechxai evaluate --data voices --model figshare-cnn --textgrids aligned --out runs/units   # by stops, vowels, words
  speechxai evaluate --config study.toml --out runs/study      # keys of the file are the names of the flags
  speechxai evaluate mancini2025-single --root PC-GITA --model SSL4PR --out runs/published     # it ships: list configs
  speechxai evaluate --resume runs/study                       # after a crash: only what is missing is computed
  speechxai evaluate --status runs/study
  speechxai evaluate --config study.toml --out runs/study --executor joblib --workers 8     # this machine's processes
  speechxai evaluate --config study.toml --out runs/study --executor dask --scheduler slurm --workers 20
  speechxai evaluate --resume runs/study --executor dask --scheduler tcp://10.0.0.5:8786        # a scheduler that runs

Whatever goes wrong with a recording is its own failure, and the others go on; --resume tries it again. The traceback
of an error that nobody foresaw stands in the run's folder, units/*.failed.

Exit status: 0 all recordings scored, 1 some failed (listed in failures.csv), 2 wrong input, 130 stopped by Ctrl-C.
"""


setting = partial(flag, left_open=True)


def evaluate(
    study: Annotated[Path | None, typer.Argument(metavar="[STUDY.toml]", help="The same as --config.")] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", help="TOML file, or a name of 'speechxai list configs'; flags override its keys."
        ),
    ] = None,
    data: Annotated[str | None, setting("data")] = None,
    root: Annotated[Path | None, setting("root")] = None,
    labels: Annotated[Path | None, setting("labels")] = None,
    tasks: Annotated[list[str] | None, setting("tasks")] = None,
    model: Annotated[str | None, setting("model")] = None,
    allow_code: Annotated[bool | None, setting("allow_code")] = None,
    recipes: Annotated[list[str] | None, setting("recipes")] = None,
    metrics: Annotated[list[str] | None, setting("metrics")] = None,
    controls: Annotated[bool | None, setting("controls")] = None,
    protocol: Annotated[str | None, setting("protocol")] = None,
    evidence: Annotated[str | None, setting("evidence")] = None,
    fill: Annotated[str | None, setting("fill")] = None,
    seed: Annotated[int | None, setting("seed")] = None,
    limit: Annotated[int | None, setting("limit")] = None,
    channel: Annotated[int | None, setting("channel")] = None,
    max_duration_s: Annotated[float | None, setting("max_duration_s")] = None,
    device: Annotated[str | None, setting("device")] = None,
    precision: Annotated[str | None, setting("precision")] = None,
    force_precision: Annotated[bool | None, setting("force_precision")] = None,
    deterministic: Annotated[bool | None, setting("deterministic")] = None,
    threads: Annotated[
        int | None, setting("threads", also="Without it all cores, or the cores shared out among workers.")
    ] = None,
    agreement: Annotated[bool | None, setting("agreement")] = None,
    maps: Annotated[bool | None, setting("maps")] = None,
    signs: Annotated[list[str] | None, setting("signs")] = None,
    textgrids: Annotated[str | None, setting("textgrids")] = None,
    by: Annotated[list[str] | None, setting("by")] = None,
    pictures: Annotated[int | None, setting("pictures")] = None,
    max_batch: Annotated[int | None, setting("max_batch")] = None,
    memory_mb: Annotated[int | None, setting("memory_mb")] = None,
    executor: Annotated[str | None, setting("executor")] = None,
    workers: Annotated[int | None, setting("workers")] = None,
    scheduler: Annotated[str | None, setting("scheduler")] = None,
    imports: Annotated[list[str] | None, setting("imports")] = None,
    out: Annotated[Path | None, setting("out", also="It must be new.")] = None,
    resume: Annotated[Path | None, typer.Option(metavar="RUN", help="Continue a run; its own settings hold.")] = None,
    overwrite: Annotated[
        bool,
        flag("overwrite", also="With --resume: compute anew what was computed with other settings or versions."),
    ] = False,
    status: Annotated[Path | None, typer.Option(metavar="RUN", help="Show how far a run is.")] = None,
) -> None:
    """Score explanations of recordings: tables with intervals, differences to controls, and a report to read."""
    flags = {key: value for key, value in locals().items() if key in EVALUATE and value is not None}
    if status is not None:
        show_status(status)
        return
    config = config or study
    if resume is not None:
        folder, settings = reopen(resume, config, flags)
    else:
        from speechxai.evaluation.config import load

        settings = load(config, flags)
        folder = None
    raise typer.Exit(run(settings, folder, overwrite))


def reopen(run_path: Path, config: Path | None, flags: dict[str, Any]) -> tuple[RunFolder, EvaluateConfig]:
    """Open a run to continue it. Raises SpeechXAIError naming the first setting that was asked for and is not the
    run's."""
    from speechxai.errors import SpeechXAIError
    from speechxai.evaluation.config import difference, from_dict, load
    from speechxai.evaluation.runs import RunFolder

    folder = RunFolder.open(run_path)
    # Leave to run somebody's code is given by who sits here, never by the folder.
    content = {**folder.config, "allow_code": bool(flags.get("allow_code", False))}
    stored = from_dict(content, str(folder.path / "config.toml"))
    if config is not None or flags:
        asked = load(config, {**(stored.to_dict() if config is None else {}), **flags})
        differing = difference(stored.portable(), asked.portable())
        if differing is not None:
            raise SpeechXAIError(
                f"{folder.path}: the run cannot be continued with other settings: {differing}. "
                "Leave the setting away, or start a new run with --out."
            )
        return folder, asked
    return folder, stored


def run(settings: EvaluateConfig, folder: RunFolder | None, overwrite: bool = False) -> int:
    """Compute what is missing, write tables and report, print the headline. Returns the exit status.

    Args:
        settings: what is asked for.
        folder: the run that is continued; None for a new one.
        overwrite: replace the run that is in the way of a new one, or what a run has computed in another way.
    """
    from speechxai.auxiliary.report import sections
    from speechxai.evaluation.executors import check_executor, execute
    from speechxai.evaluation.report import console_table, draw_examples, sign_sentences, unit_sentences, write_html
    from speechxai.evaluation.session import check_run, create_run, prepare, resume
    from speechxai.mancini2025.study import parts

    began = time.perf_counter(), time.process_time()
    check_executor(settings)
    if folder is None:
        check_run(settings, overwrite)
    session = prepare(settings, None if folder is None else folder.manifest)
    if folder is None:
        folder = create_run(session, overwrite)
    else:
        resume(session, folder, overwrite)
    for line in session.resumed:
        say(line)
    n_open = len(session.recordings) - len(folder.done_units())
    say(
        f"{session.bundle.name}: {len(session.settings.recipes)} recipes x {len(session.settings.metrics)} metrics "
        f"on {n_open} of {len(session.recordings)} recordings"
    )
    if "precision_asked" in session.hardware:
        asked, gain = session.hardware["precision_asked"], session.hardware["gains"]
        say(
            f"Precision {asked} would be slower here ({gain[asked]:.2f} times as fast as float32), so float32 is used;"
            " --force-precision takes it all the same."
        )
    if session.n_missing:
        warn(f"{session.n_missing:,} of {len(session.recordings):,} recordings are missing below {session.root}.")
    if session.grids is not None:
        (warn if session.grids.missing else say)(session.grids.words())
    rounded = precision_line(session.settings.precision)
    if rounded:
        say(rounded)
    slow = quantus_line(session)
    if slow:
        say(slow)
    if session.unscored:
        warn(session.unscored)
    if session.bundle.assumption:
        warn(session.bundle.assumption)
    if session.synthetic:
        say("The voices are synthetic: made by this program, not recorded from people.")
    # Where everything is there already, nothing is computed, written or drawn again.
    new = bool(n_open) or not folder.is_finished()
    try:
        with progress_bar("Evaluating", len(session.recordings)) as progress:
            if new:
                execute(session, folder, progress)
    except KeyboardInterrupt:
        warn(f"Stopped. What is done is kept. Continue with: speechxai evaluate --resume {folder.path}")
        raise typer.Exit(130) from None
    if folder.done_units():
        complete_protocol(session, folder)
    wanted = session.config.pictures and folder.done_units() and session.settings.protocol == "standard"
    if wanted and (new or not (folder.path / "pictures" / "index.json").is_file()):
        draw_examples(session, folder)
        new = True
    report = folder.path / "report.html" if folder.done_units() else None
    if report is not None and (new or not report.is_file()):
        write_html(folder, report, sections=sections(folder.path))
    say()
    status = folder.status()
    if report is not None:
        say(console_table(folder))
        say()
        for sentence in (*sign_sentences(folder), *unit_sentences(folder)):
            say(sentence)
        say(cost_line(folder, time.perf_counter() - began[0], time.process_time() - began[1]))
        if rounded:
            say(rounded)
        say(f"Report: {report}")
    lost = bool(status.n_failed or folder.environment.get("unmatched"))
    if lost:
        show_failures(folder)
    for part in parts(folder):
        if part.status().n_failed:
            lost = True
            show_failures(part)
    if status.n_open or status.n_running:
        n = status.n_open + status.n_running
        say(f"{n} recordings are in the hands of other processes; the last of them writes the tables again.")
    return 1 if lost else 0


def complete_protocol(session: Session, folder: RunFolder) -> None:
    """Do what else belongs to a run of this protocol, such as the other parts of the published one and its report."""
    from speechxai.evaluation.values import PROTOCOLS

    finish = PROTOCOLS.facts(session.settings.protocol).get("finish")
    if finish is None:
        return
    with ExitStack() as bars:
        n = len(folder.done_units())
        lines = finish(session, folder, lambda title: bars.enter_context(progress_bar(title, n)))
    for line in lines:
        say(line)


def precision_line(precision: str) -> str:
    """Say what a precision below float32 costs; empty for float32."""
    from speechxai.classifiers.precision import PRECISION_NOTES

    return f"Precision {precision}: {PRECISION_NOTES[precision]}." if precision in PRECISION_NOTES else ""


def quantus_line(session: Session) -> str:
    """Say what metrics of Quantus cost; empty without any."""
    n = sum(name.startswith("quantus:") for name in session.settings.metrics)
    if not n:
        return ""
    recipes, recordings = len(session.settings.recipes), len(session.recordings)
    return (
        f"Metrics of Quantus take one map at a time, seconds to minutes each: {n} metrics x {recipes} recipes x"
        f" {recordings} recordings = {n * recipes * recordings} of them. The bar's time left holds from the second"
        " recording on."
    )


def cost_line(folder: RunFolder, wall_s: float, cpu_s: float) -> str:
    """Say what the run cost: time of this process, tables and report included, and of its workers; memory; passes."""
    from speechxai.evaluation.machine import peak_memory_mb

    environment = folder.environment
    last = environment["sessions"][-1]
    others = list(last.get("workers", {}).values()) if last.get("executor") != "serial" else []
    cpu_s += sum(each["cpu_s"] for each in others)
    peak_mb = max(peak_memory_mb(), *(each["peak_memory_mb"] for each in others), 0.0)
    line = f"{folder.status().n_done} recordings scored; this session {duration(wall_s)} "
    line += f"({duration(cpu_s)} of processor time), peak memory {peak_mb / 1024:.2f} GiB."
    cost = environment["cost"]
    if cost:
        line += (
            f" A recording: {cost['seconds_per_recording']:.2f} s = {cost['forward_passes_of_time']:.0f} times one"
            f" forward pass ({cost['n_forward']:.0f} forward and {cost['n_backward']:.0f} backward passes)."
        )
    return line


def show_failures(folder: RunFolder, n_shown: int = 10) -> None:
    """Name the recordings without scores, and the files that belong to none."""
    failures = folder.failures()
    failures = failures[failures["kind"] != "not_applicable"]
    warn(f"{len(failures)} recordings have no scores ({folder.path / 'failures.csv'}):")
    for failure in failures.head(n_shown).itertuples():
        message = str(failure.message)
        name = "" if message.startswith(str(failure.recording)) else f"{failure.recording}: "
        warn(f"  {name}{message}")
    if len(failures) > n_shown:
        warn(f"  and {len(failures) - n_shown} more")
    if any(failure.get("traceback") for failure in folder.failed()):
        warn(f"  Tracebacks of errors that nobody foresaw: {folder.path / 'units'}/*.failed")


def show_status(path: Path) -> None:
    """Print how far a run is."""
    from speechxai.evaluation.runs import RunFolder

    folder = RunFolder.open(path)
    status = folder.status()
    rows = [
        ("planned", status.n_units),
        ("done", status.n_done),
        ("failed", status.n_failed),
        ("running", status.n_running),
        ("open", status.n_open),
    ]
    say(table(("recordings", "number"), [(name, str(number)) for name, number in rows], right=(1,)))
    if status.n_failed:
        show_failures(folder)
    if status.n_open or status.n_failed:
        say(f"Continue with: speechxai evaluate --resume {path}")
