"""`speechxai evaluate`: recordings in, scored explanations out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speechxai.commands.console import duration, flag, progress_bar, remark, say, screen_width, table, warn
from speechxai.commands.report import sections_of
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
  speechxai evaluate --data figshare-voice --root DATA/figshare-voice --data mdvr-kcl --root DATA/mdvr-kcl \\
      --model models/mine --out runs/corpora                   # one model over several data sets, beside each other
  speechxai evaluate --data synthetic --model synthetic-cnn -m all --dry-run        # the plan and its cost
  speechxai evaluate --data synthetic --model synthetic-cnn -m all --save-config study.toml
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
    data: Annotated[
        list[str] | None, setting("data", also="Several: a run for each, and a table of all beside each other.")
    ] = None,
    root: Annotated[list[Path] | None, setting("root", also="One, or one for each --data.")] = None,
    labels: Annotated[Path | None, setting("labels")] = None,
    tasks: Annotated[list[str] | None, setting("tasks")] = None,
    model: Annotated[list[str] | None, setting("model", also="Several as with --data.")] = None,
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
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, show the plan and its cost, and compute nothing.")
    ] = False,
    save_config: Annotated[
        Path | None, typer.Option("--save-config", help="Write these settings as a TOML file for --config, and end.")
    ] = None,
) -> None:
    """Score explanations of recordings: tables with intervals, differences to controls, and a report to read."""
    flags = {key: value for key, value in locals().items() if key in EVALUATE and value is not None}
    if status is not None:
        show_status(status)
        return
    config = config or study
    if resume is not None:
        alone(flags, "--resume")
        folder, settings = reopen(resume, config, flags)
        raise typer.Exit(run(settings, folder, overwrite))
    asked = list(every(flags))
    if save_config is not None:
        alone(flags, "--save-config")
        save(save_config, config, flags, overwrite)
        return
    if len(asked) > 1:
        raise typer.Exit(run_all(asked, config, overwrite, dry_run))
    from speechxai.evaluation.config import load

    settings = load(config, asked[0])
    if dry_run:
        show_plan(settings)
        return
    raise typer.Exit(run(settings, None, overwrite))


def every(flags: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The flags of each run that is asked for: every model on every data set. A single one is left as it is.

    Raises:
        SpeechXAIError: roots that are neither one nor one for each data set.
    """
    from speechxai.errors import SpeechXAIError

    data, models, roots = (flags.get(key) or [None] for key in ("data", "model", "root"))
    if len(roots) not in (1, len(data)):
        raise SpeechXAIError(f"--root is given {len(roots)} times, --data {len(data)} times: give one root for each.")
    roots = roots * len(data) if len(roots) == 1 else roots
    for model in models:
        for each, root in zip(data, roots, strict=True):
            named = {"data": each, "model": model, "root": None if each == "synthetic" and len(data) > 1 else root}
            yield {**flags, **named}


def alone(flags: dict[str, Any], name: str) -> None:
    """Make single values of the flags that may be given several times. Raises SpeechXAIError where they are."""
    from speechxai.errors import SpeechXAIError

    for key in ("data", "model", "root"):
        if key in flags:
            if len(flags[key]) > 1:
                raise SpeechXAIError(f"--{key} is given {len(flags[key])} times, and {name} takes one run at a time.")
            flags[key] = flags[key][0]


def save(path: Path, config: Path | None, flags: dict[str, Any], overwrite: bool) -> None:
    """Write what was asked for as a TOML file that --config takes: what is as by default is left out."""
    from speechxai.evaluation.config import from_dict, load
    from speechxai.files import check_out, naming_folder, to_toml, write_atomically

    check_out(path, "file", overwrite)
    settings = load(config, flags)
    settings.settings()
    least = from_dict({"data": settings.data, "model": settings.model}, "").to_dict()
    asked = {k: v for k, v in settings.to_dict().items() if k in ("data", "model") or v != least.get(k)}
    asked.pop("allow_code", None)  # leave to run code is never a file's
    with naming_folder(path.parent, "write"):
        write_atomically(path, to_toml(asked).encode())
    say(str(path))


def run_all(asked: Sequence[dict[str, Any]], config: Path | None, overwrite: bool, dry_run: bool) -> int:
    """Evaluate every model on every data set, each into a folder of its own below --out, then show all beside each
    other. A run that is there already is continued. Returns the worst exit status."""
    from speechxai.commands.runs import written
    from speechxai.errors import SpeechXAIError
    from speechxai.evaluation.beside import side_by_side
    from speechxai.evaluation.config import load
    from speechxai.evaluation.paper import name_of_data
    from speechxai.evaluation.runs import RunFolder
    from speechxai.files import naming_folder, write_atomically

    settings = [load(config, flags) for flags in asked]
    out = settings[0].out
    if out is None:
        raise SpeechXAIError("The runs need a folder: give --out, for example --out runs/all.")
    places = [out / f"{Path(s.model).name}-on-{name_of_data(s.data).replace(' ', '-')}" for s in settings]
    if len(set(places)) < len(places):
        raise SpeechXAIError("Two of the models or of the data sets have the same name. Evaluate them one by one.")
    status, folders = 0, []
    for flags, each, place in zip(asked, settings, places, strict=True):
        say(f"\n{place.name}")
        own = each.model_copy(update={"out": place})
        if dry_run:
            show_plan(own)
            continue
        there = (place / "config.toml").exists() and not overwrite
        folder = reopen(place, config, {**flags, "out": place})[0] if there else None
        status = max(status, run(own, folder, overwrite and (place / "config.toml").exists()))
        folders.append(RunFolder.open(place))
    if dry_run:
        return 0
    tables = side_by_side(folders)
    say("\n" + written(tables, "text"))
    with naming_folder(out, "write"):
        for name, format in (("compared.csv", "csv"), ("compared.tex", "latex"), ("compared.md", "markdown")):
            write_atomically(out / name, f"{written(tables, format)}\n".encode())
    say(f"\nBeside each other: {out / 'compared.csv'}, compared.tex, compared.md")
    return status


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
    from speechxai.evaluation.executors import check_executor, execute
    from speechxai.evaluation.report import console_table, draw_examples, sign_sentences, unit_sentences, write_html
    from speechxai.evaluation.session import check_run, create_run, prepare, resume
    from speechxai.evaluation.words import scope_sentence
    from speechxai.inside.bands import keep
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
        remark(line)
    n_open = len(session.recordings) - len(folder.done_units())
    remark(
        f"{session.bundle.name}: {len(session.settings.recipes)} recipes x {len(session.settings.metrics)} metrics "
        f"on {n_open} of {len(session.recordings)} recordings"
    )
    if "precision_asked" in session.hardware:
        asked, gain = session.hardware["precision_asked"], session.hardware["gains"]
        remark(
            f"Precision {asked} would be slower here ({gain[asked]:.2f} times as fast as float32), so float32 is used;"
            " --force-precision takes it all the same."
        )
    if session.n_missing:
        warn(f"{session.n_missing:,} of {len(session.recordings):,} recordings are missing below {session.root}.")
    if session.grids is not None:
        (warn if session.grids.missing else say)(session.grids.words())
    rounded = precision_line(session.settings.precision)
    if rounded:
        remark(rounded)
    slow = quantus_line(session)
    if slow:
        remark(slow)
    if session.unscored:
        warn(session.unscored)
    if session.bundle.assumption:
        warn(session.bundle.assumption)
    if session.synthetic:
        remark("The voices are synthetic: made by this program, not recorded from people.")
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
        keep(session, folder)
        new = True
    report = folder.path / "report.html" if folder.done_units() else None
    if report is not None and (new or not report.is_file()):
        write_html(folder, report, sections=sections_of(folder.path))
    say()
    status = folder.status()
    if report is not None:
        say(console_table(folder, screen_width()))
        say()
        about = scope_sentence(folder.table("predictions"))
        if about is not None and about.tone == "caution":
            warn(about.text)
            say()
        for sentence in (*sign_sentences(folder), *unit_sentences(folder)):
            say(sentence)
        remark(cost_line(folder, time.perf_counter() - began[0], time.process_time() - began[1]))
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


def show_plan(settings: EvaluateConfig) -> None:
    """Print what a configuration would do, and what that costs, without doing it."""
    from speechxai.doctor import cannot_be_right
    from speechxai.evaluation.session import plan, prepare

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
