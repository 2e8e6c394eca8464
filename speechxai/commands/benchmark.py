"""`speechxai benchmark`: which explanation points at a cue that was planted?"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speechxai.commands.console import duration, flag, say, table, warn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from speechxai.planted.folder import BenchmarkFolder
    from speechxai.planted.settings import BenchmarkProgress

EPILOG = """
Examples:

\b
  speechxai benchmark --quick                                 a few minutes: does everything work?
  speechxai benchmark --out runs/benchmark                    6 cues, 5 seeds, synthetic voices
  speechxai benchmark --data figshare-voice --root DATA/figshare-voice --out runs/real     cues in real voices
  speechxai benchmark --network whisper --out runs/whisper    the same tasks, learned by a head on Whisper's encoder
  speechxai benchmark --cue mains_hum --cue codec --out runs/shortcuts     would the map have told of a shortcut?
  speechxai benchmark --target severity --out runs/severity   a network learns how strong the cue is, a score
  speechxai benchmark --resume runs/benchmark                 after a stop: what is missing
  speechxai benchmark --resume runs/benchmark --tables        tables of what is done so far

Exit status: 0 all tasks done (excluded ones are named), 1 some failed or recordings could not be read, 2 wrong input,
130 stopped by Ctrl-C.
"""


def benchmark(
    quick: Annotated[bool, typer.Option("--quick", help="The short form: 2 cues, 1 seed, few voices.")] = False,
    out: Annotated[Path, flag("out", also="It must be new.")] = Path("runs/benchmark"),
    data: Annotated[
        list[str] | None, flag("data", also="Cues are planted into its healthy voices; repeat, each with --root.")
    ] = None,
    root: Annotated[
        list[Path] | None, flag("root", also="One for each --data; with --resume, where they are now.")
    ] = None,
    cue: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this cue, or a condition of the recording that goes with the class: mains_hum, noise_floor,"
            " codec; repeat for several."
        ),
    ] = None,
    severity: Annotated[
        list[float] | None, typer.Option(help="How strong the cue is, 0 to 1 (default: 1); repeat for several.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Number of seeds (default: 5).")] = None,
    speakers: Annotated[int | None, flag("speakers", min=3, also="Of each task (default: 24).")] = None,
    epochs: Annotated[int | None, flag("epochs", also="Of each task at most (default: 300).")] = None,
    explained: Annotated[
        int | None, typer.Option(min=1, help="Pairs of twins explained for each task (default: 9).")
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            help="What learns the tasks: cnn, whisper (extra 'pretrained'), whisper-random, whisper-tuned, dvector,"
            " dvector-random, or a model of yours as --model of evaluate takes it, trained further for each task"
            " (default: cnn)."
        ),
    ] = None,
    target: Annotated[
        str,
        typer.Option(
            metavar="presence|severity",
            help="What is learned: whether the cue is there, or how strong it is, a score (docs: severity; synthetic"
            " voices).",
        ),
    ] = "presence",
    bystander: Annotated[
        bool,
        typer.Option("--bystander", help="Both twins hold a sound that tells no class: who marks it is wrong."),
    ] = False,
    allow_code: Annotated[bool, flag("allow_code", also="Here --network names it.")] = False,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Processes of one thread each.")] = 1,
    device: Annotated[str, flag("device", also="Of one benchmark always the same kind.")] = "cpu",
    imports: Annotated[list[str] | None, flag("imports", also="Cues count as well.")] = None,
    resume: Annotated[Path | None, typer.Option(metavar="RUN", help="Continue a benchmark; its settings hold.")] = None,
    tables: Annotated[
        bool, typer.Option("--tables", help="With --resume: write tables and report of what is done, compute nothing.")
    ] = False,
    overwrite: Annotated[
        bool,
        flag("overwrite", also="With --resume: compute anew what was computed with other versions or voices."),
    ] = False,
) -> None:
    """Plant cues of known place into voices, train, explain, and score which explanation points at the truth."""
    from speechxai.classifiers.base import device_of
    from speechxai.errors import SpeechXAIError, did_you_mean
    from speechxai.files import check_apart, check_out
    from speechxai.planted.folder import BenchmarkFolder, execute_together, voices_of
    from speechxai.planted.networks import open_network
    from speechxai.planted.report import write_reports
    from speechxai.planted.settings import QUICK, BenchmarkSettings
    from speechxai.planted.severity import is_severity

    if target not in ("presence", "severity"):
        raise SpeechXAIError(did_you_mean(target, ["presence", "severity"], "target"))
    if target == "severity" or (resume is not None and is_severity(resume)):
        others = {
            "--data": data,
            "--root": root,
            "--severity": severity,
            "--explained": explained,
            "--bystander": bystander,
            "--processes": processes > 1,
            "--device": device != "cpu",
            "--allow-code": allow_code,
            "--overwrite": overwrite,
        }
        given = {
            "cues": tuple(cue or ()),
            "seeds": tuple(range(seeds or 0)),
            "n_speakers": speakers,
            "epochs": epochs,
            "network": network,
        }
        refused = [name for name, value in others.items() if value]
        _severity(given, refused, quick, out, resume, tables, imports or ())
        return
    chosen: dict[str, Any] = {
        "cues": tuple(cue) if cue else None,
        "severities": tuple(severity) if severity else None,
        "seeds": tuple(range(seeds)) if seeds else None,
        "n_speakers": speakers,
        "epochs": epochs,
        "n_explained": explained,
        "network": network,
        "bystander": bystander or None,
    }
    chosen = {name: value for name, value in chosen.items() if value is not None}
    device_of(device)  # what is not there is said before anything is read
    if resume is not None:
        if chosen or quick or data:
            raise SpeechXAIError(
                f"{resume}: a benchmark is continued with its own settings. Leave the other options away."
            )
        folder = BenchmarkFolder(resume)
        if root:
            folder.move(root)
        if not tables:
            open_network(folder.settings.network, allow_code)
    elif tables:
        raise SpeechXAIError("--tables writes the tables of a benchmark that has begun. Name it with --resume.")
    else:
        sources = _sources(data or [], root or [])
        check_out(out)
        check_apart(out, (place for _, place in sources.values()))
        BenchmarkFolder.check_new(out, overwrite)
        if sources:
            chosen["materials"] = tuple(sources)
            unreadable: list[tuple[str, str]] = []
            voices_of(sources, unreadable)  # what cannot be read is said before anything is computed
            for _, reason in unreadable:
                warn(f"left out: {reason}")
        settings = BenchmarkSettings(**{**(QUICK if quick else {}), **chosen})
        open_network(settings.network, allow_code)  # what is not there is said before anything is written
        if overwrite:
            BenchmarkFolder.remove(out)
        folder = BenchmarkFolder.begin(out, settings, sources, imports or ())
    tasks = folder.settings.tasks()
    say(
        f"{len(tasks)} tasks: {', '.join(folder.settings.cues)}; {len(folder.settings.recipes)} explanations; in"
        f" {folder.path}"
    )
    started = time.monotonic()
    stopped = False
    if not tables:
        try:
            execute_together(folder.path, processes, reporter(folder), overwrite, allow_code, device)
        except KeyboardInterrupt:
            stopped = True
    folder.finish()
    report = write_reports(folder)
    summarize(folder)
    if stopped:
        warn(f"Stopped. The tables hold what is done; continue with 'speechxai benchmark --resume {folder.path}'.")
        raise typer.Exit(130)
    say(f"Done in {duration(time.monotonic() - started)}. Report: {report}")
    failed = folder.failed()
    for failure in failed:
        warn(f"failed: {failure['recording']}: {failure['message']}")
    raise typer.Exit(1 if failed else 0)


def _severity(
    given: dict[str, Any],
    refused: list[str],
    quick: bool,
    out: Path,
    resume: Path | None,
    tables: bool,
    imports: Sequence[str],
) -> None:
    """Learn how strong a cue is, and ask what the explanations of that score point at."""
    import torch

    from speechxai.errors import SpeechXAIError
    from speechxai.files import check_out, write_atomically
    from speechxai.planted import severity as of_score
    from speechxai.planted.networks import open_scorer
    from speechxai.registry import load_plugins

    chosen = {name: value for name, value in given.items() if value}
    if refused:
        raise SpeechXAIError(f"--target severity plants cues into made voices, one process: leave {refused[0]} away.")
    load_plugins(imports)
    if resume is not None:
        if chosen or quick:
            raise SpeechXAIError(
                f"{resume}: a benchmark is continued with its own settings. Leave the other options away."
            )
        place, settings = resume, of_score.settings_of(resume)
    elif tables:
        raise SpeechXAIError("--tables writes the tables of a benchmark that has begun. Name it with --resume.")
    else:
        check_out(out)
        place = out
        settings = of_score.SeveritySettings(**{**(of_score.QUICK if quick else {}), **chosen})
        open_scorer(settings.network, of_score.SCORE, of_score.UNIT)  # what is not there is said before anything
        of_score.begin(out, settings)
    torch.set_num_threads(1)
    lines, started = place / of_score.LINES, time.monotonic()
    done, n = len(of_score.read_lines(lines)), len(settings.tasks)
    say(f"{n} tasks, {done} done: {', '.join(settings.cues)}; network {settings.network}; in {place}")
    stopped = False
    if not tables:
        try:
            for line in of_score.run(lines, settings, _told(started)):
                done += 1
                warn(f"{done} of {n} tasks: {line['cue']}/{line['seed']}, {duration(line['cpu_s'])} of processor time")
        except KeyboardInterrupt:
            stopped = True
    found = of_score.read_lines(lines)
    said = of_score.findings(found)
    text = "\n".join([of_score.table(found), "", *(f"- {sentence}" for sentence in said)])
    write_atomically(place / of_score.TABLE, f"{text}\n".encode())
    say(text)
    if stopped:
        warn(f"Stopped. The tables hold what is done; continue with 'speechxai benchmark --resume {place}'.")
        raise typer.Exit(130)
    say(f"\nDone in {duration(time.monotonic() - started)}. Tables: {place / of_score.TABLE}")


def _told(started: float) -> Callable[[str, int, int, str], None]:
    """Return a function that says now and then how far the training of a task is."""
    last = started

    def tell(task: str, done: int, total: int, what: str) -> None:
        nonlocal last
        if (now := time.monotonic()) - last >= 15:
            last = now
            warn(f"{task}: {what}, {duration(now - started)}")

    return tell


def _sources(data: list[str], root: list[Path]) -> dict[str, tuple[str, str]]:
    from speechxai.errors import SpeechXAIError

    if len(data) != len(root):
        raise SpeechXAIError(
            f"Every --data needs its --root. Got {len(data)} of the first and {len(root)} of the second."
        )
    return {Path(name).stem: (name, os.path.realpath(folder)) for name, folder in zip(data, root, strict=True)}


def reporter(folder: BenchmarkFolder) -> Callable[[BenchmarkProgress], None]:
    """Return a function that prints finished tasks, and now and then how far it is and what is left."""
    started = last = time.monotonic()
    n_before = folder.status().n_done

    def tell(step: BenchmarkProgress) -> None:
        nonlocal last
        now = time.monotonic()
        if step.state == "misfit":
            say(f"{step.n_total} units do not fit and are computed again: {step.message}.")
            return
        if step.state in ("done", "failed"):
            warn(f"{step.task}: {step.message}")
        if step.state == "skipped" or (step.state == "running" and now - last < 15):
            return
        last = now
        status = folder.status()
        done = status.n_done - n_before + (step.share if step.state == "running" else 0)
        total = status.n_units - n_before
        left = f", about {duration((now - started) / done * (total - done))} left" if done > 0.05 else ""
        what = f" ({step.task}: {step.message})" if step.state == "running" else ""
        warn(f"{status.n_done} of {status.n_units} tasks, {duration(now - started)}{left}{what}")

    return tell


def summarize(folder: BenchmarkFolder) -> None:
    """Print what became of every task, and the sentences of the report."""
    from speechxai.planted.report import findings

    rows = []
    for task in folder.table("tasks").to_dict("records"):
        reason = task["excluded"] if isinstance(task["excluded"], str) else ""
        area = "–" if task["auc"] != task["auc"] else f"{task['auc']:.3f}"
        said = f"excluded: {reason}" if reason else str(task["verdict"])
        rows.append((str(task["task"]), area, str(task["n_explained"]), said))
    say(table(("task", "AUC within folds", "explained", "verdict"), rows, right=(1, 2)))
    say()
    for line in findings(folder):
        say(f"- {line.text}")
    say()
