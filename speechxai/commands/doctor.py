"""`speechxai doctor`: what is wrong with a model, a training or a run? The first suspect, with evidence and the fix."""

from __future__ import annotations

from typing import Annotated

import typer

from speechxai.commands.console import flag, say

EPILOG = """
Examples:

\b
  speechxai doctor figshare-cnn                          does it still answer as when it was written?
  speechxai doctor models/mine                           the same, and what its training went through
  speechxai doctor models/mine.training                  a training that is not finished
  speechxai doctor runs/first                            an evaluation: does this place still give its numbers?
  speechxai doctor models/mine --script my_app:predict --allow-code      does a program of yours hear as the model does?

A model carries four made recordings, what it answered to them, and what the sound, the spectrogram, the segments and
the features looked like before. They are heard again, and the first stage that differs names the suspect. A script is a
function that takes the path of a sound file and returns your probabilities or logits; every usual mistake (sample
rate, level, offset, window, order of classes, ...) is tried until one gives your answers.

A training is judged by what was written after each epoch: losses, gradients, how far weights moved, silent units, and
what the recordings looked like.

Exit status: 0 nobody is suspected, 1 somebody is, 2 wrong input.
"""


def doctor(
    target: Annotated[str, typer.Argument(help="A model (name or folder), a training's folder, or a run's folder.")],
    script: Annotated[
        str | None, typer.Option(help="Your program as module:function, from a file's path to answers; needs a model.")
    ] = None,
    allow_code: Annotated[bool, flag("allow_code")] = False,
    device: Annotated[str, flag("device")] = "cpu",
    format: Annotated[str, typer.Option("--format", "-f", help="text or json.")] = "text",
    imports: Annotated[list[str] | None, flag("imports")] = None,
    remember: Annotated[
        bool,
        typer.Option(
            "--remember", help="Write what the model answers today as its reference; it must be one you trust."
        ),
    ] = False,
) -> None:
    """Name what is wrong: the first suspect, the evidence, the fix."""
    from speechxai.errors import SpeechXAIError, did_you_mean

    if format not in ("text", "json"):
        raise SpeechXAIError(did_you_mean(format, ["text", "json"], "format"))
    if script and not allow_code:
        raise SpeechXAIError(f"--script {script}: this runs code of that module. If you trust it, give --allow-code.")
    from speechxai.classifiers.base import device_of
    from speechxai.classifiers.bundle import load_bundle
    from speechxai.doctor import examine

    if remember:
        bundle = load_bundle(target, allow_code)
        bundle.remember("written later, from the model as it was then")
        say(f"{bundle.folder}: reference answers written.")
    found = examine(target, script, allow_code, device_of(device).type)
    if format == "json":
        import json

        tables = [each.table() for each in found]
        say(json.dumps(tables, indent=1, ensure_ascii=False))
    else:
        for each in found:
            say(each.line)
            for place, suspicion in enumerate(each.suspicions, start=1):
                say(f"  {place}. {suspicion.suspect.replace('_', ' ')}: {suspicion.evidence}")
                say(f"     {suspicion.fix}")
            for note in each.notes:
                say(f"  {note}")
    if not all(each.healthy for each in found):
        raise typer.Exit(1)
