"""`speechxai demo`: everything once, on voices that this program makes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from speechxai.commands.console import flag, say

RECIPES = (
    "methods",
    "union(saliency, integrated_gradients)",
    "intersection(saliency, integrated_gradients)",
    "union(guided_backprop, gradient_shap)",
    "intersection(smoothgrad, guided_gradcam)",
)

EPILOG = """
Examples:

\b
  speechxai demo --out runs/demo      then open runs/demo/report.html
  speechxai demo --voices voices      made voices as wav files with labels.csv, to try the other commands on
"""


def demo(
    out: Annotated[Path, flag("out", also="A former demo in it is replaced.")] = Path("runs/demo"),
    speakers: Annotated[int, flag("speakers", max=100)] = 12,
    recordings: Annotated[int, typer.Option(min=2, max=300, help="Recordings, at most three a speaker.")] = 16,
    seed: Annotated[int, flag("seed")] = 0,
    voices: Annotated[
        Path | None, typer.Option(help="Write the voices into this folder, with labels.csv, and nothing else.")
    ] = None,
) -> None:
    """Evaluate the embedded model on synthetic voices: score table, run folder and report, in about a minute."""
    import shutil

    from speechxai.commands.evaluate import run
    from speechxai.errors import SpeechXAIError
    from speechxai.evaluation.config import from_dict
    from speechxai.evaluation.runs import RunFolder

    if voices is not None:
        _write_voices(voices, speakers, recordings, seed)
        return
    if (out / "config.toml").is_file():
        former = RunFolder.open(out)
        if (former.config.get("data"), former.config.get("model")) != ("synthetic", "synthetic-cnn"):
            raise SpeechXAIError(f"{out}: holds a run that is not a demo. Choose another folder with --out.")
        shutil.rmtree(out)
    content = {
        "data": "synthetic",
        "synthetic_speakers": speakers,
        "limit": recordings,
        "model": "synthetic-cnn",
        "recipes": list(RECIPES),
        "metrics": ["default"],
        "seed": seed,
        "out": str(out),
    }
    say("A demonstration on synthetic voices: it shows the workbench, and says nothing about patients.")
    raise typer.Exit(run(from_dict(content, "The demo"), None))


def _write_voices(folder: Path, speakers: int, recordings: int, seed: int) -> None:
    """Write voices of a healthy and an ill half as wav files, and the table of labels that `data import` takes."""
    from speechxai.data.synthetic import takes
    from speechxai.errors import SpeechXAIError
    from speechxai.files import check_out, csv_text, naming_folder, write_atomically
    from speechxai.signal.audio import write

    check_out(folder)
    if folder.is_dir() and any(folder.iterdir()):
        raise SpeechXAIError(f"{folder}: this folder is not empty. Choose another with --voices.")
    rows: list[tuple[object, ...]] = [("file", "label", "speaker", "task", "sex", "age")]
    with naming_folder(folder, "write"):
        folder.mkdir(parents=True, exist_ok=True)
        found = takes(speakers, seed)
        # The first task of everybody, then the second: few recordings are of many people.
        tasks = list(dict.fromkeys(take.utterance.task for take in found))
        for take in sorted(found, key=lambda take: tasks.index(take.utterance.task))[:recordings]:
            voice = take.recording()
            speaker, task = voice.speaker.removeprefix("synthetic/"), voice.task
            name = f"{speaker}_{task}.wav"
            write(folder / name, voice.waveform * 0.9, voice.sample_rate, subtype="PCM_16")
            label = "PD" if voice.label else "HC"
            rows.append((name, label, speaker, task, voice.metadata["sex"], voice.metadata["age"]))
        write_atomically(folder / "labels.csv", csv_text(rows).encode())
    say(f"Written: {len(rows) - 1} made voices and labels.csv in {folder}. No human being speaks in them.")
    if len(rows) - 1 < recordings:
        say(f"{recordings} were asked for, and a speaker has three at most: more people are --speakers.")
