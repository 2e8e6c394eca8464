"""`speechxai auxiliary`: what do a run's maps alone know about the disease?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speechxai.commands.console import duration, flag, progress_bars, say, table, warn
from speechxai.commands.report import sections_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from speechxai.auxiliary.folder import StudyFolder
    from speechxai.auxiliary.values import AuxiliarySettings
    from speechxai.evaluation.runs import RunFolder

EPILOG = """
Examples:

\b
  speechxai evaluate --data figshare-voice --root DATA --model figshare-cnn --maps --out runs/first
  speechxai auxiliary runs/first                                  all single methods, floors and ceiling
  speechxai auxiliary runs/first --input masked --recipe saliency --recipe "union(saliency, smoothgrad)"

After an interruption the same command goes on where it stopped.
"""


def auxiliary(
    run: Annotated[Path, typer.Argument(help="Run folder, evaluated with --maps.")],
    recipe: Annotated[
        list[str] | None,
        typer.Option("--recipe", "-r", help="methods (default), all, or a recipe of the run; repeat for several."),
    ] = None,
    input: Annotated[str, typer.Option(help="map, masked (map x spectrogram) or original.")] = "map",
    architecture: Annotated[str, typer.Option(help="small, cnn14, or cnn14-linear (as published).")] = "small",
    split: Annotated[str, typer.Option(help="both, or speaker: without the leaky comparison.")] = "both",
    seeds: Annotated[int, typer.Option(help="Repetitions.")] = 5,
    folds: Annotated[int, flag("folds")] = 5,
    epochs: Annotated[int | None, flag("epochs", also="The best by validation loss counts.")] = None,
    n_mels: Annotated[int, typer.Option(help="Mel bands; fewer for a coarse transform.")] = 80,
    weights: Annotated[Path | None, typer.Option(help="Published AudioSet weights for cnn14, a local file.")] = None,
    checkpoints: Annotated[
        bool | None,
        typer.Option("--checkpoints/--no-checkpoints", help="Keep every network (default: small yes, others no)."),
    ] = None,
    device: Annotated[str, flag("device")] = "cpu",
    name: Annotated[
        str | None, typer.Option(help="Name of the study's folder (default: input and architecture).")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Throw away the study that is there.")] = False,
) -> None:
    """Train a classifier on a run's maps alone, beside its floors and its ceiling, and say what the maps know."""
    options: dict[str, Any] = {
        "recipe": tuple(recipe or ()),
        "input": input,
        "architecture": architecture,
        "split": split,
        "seeds": seeds,
        "folds": folds,
        "epochs": epochs,
        "n_mels": n_mels,
        "weights": weights,
        "checkpoints": checkpoints,
        "device": device,
    }
    perform(run, options, name, again)


def perform(run: Path, options: Mapping[str, Any], name: str | None = None, again: bool = False) -> StudyFolder:
    """Check the options, run the study with a progress line, refresh the run's report and print what was found."""
    import torch

    from speechxai.auxiliary.folder import run_study, wall_time_s
    from speechxai.auxiliary.report import write_study_html
    from speechxai.evaluation.report import write_html
    from speechxai.evaluation.runs import RunFolder

    folder = RunFolder.open(run)
    settings = settings_of(folder, options)
    if settings.architecture == "small":
        torch.set_num_threads(1)  # networks this small lose more by sharing the work than they win
    with progress_bars(lambda total, what: total) as show:
        study = run_study(folder, settings, name=name, again=again, progress=show, opened=announce)
    if not (study.path / "table.csv").exists():
        warn(f"Another process still works on {study.path}; it will write the tables.")
        return study
    write_study_html(study)
    say(console_table(study))
    say()
    for sentence in study.sentences:
        say(f"{'! ' if sentence.tone == 'caution' else '  '}{sentence.text}")
    say()
    say(f"{duration(wall_time_s(study))}. Tables, curves, checkpoints: {study.path}")
    if (folder.path / "summary.csv").exists():
        say(f"Report: {write_html(folder, sections=sections_of(folder.path))}")
    return study


def console_table(study: StudyFolder) -> str:
    """The study for a terminal: AUROC, accuracy and macro F1 with intervals, both splits side by side, the leaky one
    marked."""
    from speechxai.auxiliary.values import LINEAR

    frame = study.table("table")
    found = {(r["split"], r["metric"], r["name"]): r for r in frame[frame["architecture"] != LINEAR].to_dict("records")}

    def cell(split: str, metric: str, name: str) -> str:
        row = found[split, metric, name]
        return f"{row['value']:.2f} ({row['low']:.2f}-{row['high']:.2f})"

    both = "recording" in study.settings.splits
    header = ["input", "kind", "mask", "AUROC", "accuracy", "macro F1"]
    header += ["LEAKY: AUROC", "LEAKY: accuracy"] if both else []
    lines = []
    for name in study.settings.rows:
        row = found["speaker", "auroc", name]
        mask = "–" if row["mean_mask"] != row["mean_mask"] else f"{row['mean_mask']:.3f}"
        line = [name, str(row["kind"]), mask, *(cell("speaker", m, name) for m in ("auroc", "accuracy", "macro_f1"))]
        lines.append(line + ([cell("recording", m, name) for m in ("auroc", "accuracy")] if both else []))
    return table(header, lines, right=range(2, len(header)))


def settings_of(folder: RunFolder, options: Mapping[str, Any]) -> AuxiliarySettings:
    """Turn the options of a command into settings. Raises SpeechXAIError naming the wrong one."""
    from speechxai.auxiliary.folder import chosen_recipes
    from speechxai.auxiliary.values import AuxiliarySettings
    from speechxai.classifiers.base import device_of
    from speechxai.errors import SpeechXAIError, did_you_mean

    if options["split"] not in ("both", "speaker"):
        if options["split"] == "recording":
            raise SpeechXAIError(
                "Folds by recording leak speakers, so they are only shown beside folds by speaker: use --split both."
            )
        raise SpeechXAIError(did_you_mean(options["split"], ["both", "speaker"], "split"))
    device_of(options["device"])
    recipes = () if options["input"] == "original" else chosen_recipes(folder, options["recipe"])
    given = {key: options[key] for key in ("epochs", "n_mels") if options[key] is not None}
    keep = options["architecture"] == "small" if options["checkpoints"] is None else options["checkpoints"]
    trained: dict[str, dict[str, Any]] = {
        "cnn14": {"learning_rate": 1e-4, "batch": 16},
        "cnn14-linear": {"learning_rate": 2e-3, "weight_decay": 2e-6, "n_test_crops": 1},
    }
    return AuxiliarySettings(
        recipes,
        options["input"],
        options["architecture"],
        ("speaker", "recording") if options["split"] == "both" else ("speaker",),
        options["seeds"],
        options["folds"],
        weights=None if options["weights"] is None else str(options["weights"]),
        checkpoints=keep,
        device=options["device"],
        **trained.get(options["architecture"], {}),
        **given,
    )


def announce(study: StudyFolder) -> None:
    """Say, before anything is trained, what a reader must not overlook."""
    from speechxai.auxiliary.study import LEAK_WARNING

    facts = study.facts
    misfits = study.misfits()
    if misfits:
        what = ", ".join(f"{number} {reason}" for reason, number in misfits.items())
        say(f"{sum(misfits.values())} fits do not fit the study and are trained again: {what}.")
    for recording, reason in list(facts["left_out"].items())[:10]:
        warn(f"Left out: {recording}: {reason}")
    if facts["not_held_out"] or facts["unknown_held_out"]:
        warn(
            f"WARNING: {facts['not_held_out']} maps come from a network that heard the speaker in training; of"
            f" {facts['unknown_held_out']} nobody can say. Marked in the report."
        )
    if "recording" in study.settings.splits:
        warn(f"WARNING: {LEAK_WARNING}")
