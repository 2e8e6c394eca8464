"""`speechxai explain`: why the classifier says so, to see and to hear."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from speechxai.commands.console import say, table, warn, work_on

EPILOG = """
Examples:

\b
  speechxai explain voice.wav --recipe saliency --out voice-explained
  speechxai explain voice.wav -r integrated_gradients -r "union(saliency, smoothgrad)" --out voice-explained

Writes for each recipe a picture (.png), the sound of the evidence alone (.kept.wav) and of the rest (.removed.wav), and
for all of them maps.npz and explanation.json.

Exit status: 0 explained, 1 no recipe applies to this network, 2 the file cannot be explained or wrong input.
"""


def explain(
    file: Annotated[Path, typer.Argument(help="Audio file: wav, flac, ogg, mp3.")],
    out: Annotated[Path, typer.Option(help="Folder for pictures, sounds and maps.")],
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            "--recipe", "-r", help="A method or a combination; repeat for several (default: integrated_gradients)."
        ),
    ] = None,
    model: Annotated[str, typer.Option(help="Name or folder of a model.")] = "figshare-cnn",
    target: Annotated[str, typer.Option(help="Class to explain; auto is the predicted one.")] = "auto",
    evidence: Annotated[str, typer.Option(help="auto (positive for signed maps), positive or absolute.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Seed of random methods.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    channel: Annotated[
        int | None, typer.Option(min=0, help="Channel to read, from 0 (default: all, averaged).")
    ] = None,
    max_duration_s: Annotated[float, typer.Option(min=0.1, help="Longer files are refused, s.")] = 600.0,
) -> None:
    """Explain one recording: the evidence over its spectrogram, the sound with and without it, and the numbers."""
    from typing import Any, cast

    from speechxai.classifiers.bundle import load_bundle
    from speechxai.errors import SpeechXAIError
    from speechxai.evaluation.config import resolve_recipes
    from speechxai.inspection.single import TOLERANCE, ExplainSettings, explain_file, hear, write_explanation
    from speechxai.registry import did_you_mean

    if evidence not in ("auto", "positive", "absolute"):
        raise SpeechXAIError(did_you_mean(evidence, ["auto", "positive", "absolute"], "evidence"))
    recipes = resolve_recipes(tuple(recipe or ["integrated_gradients"]), controls=False)
    bundle = load_bundle(model)
    with work_on(file):
        heard = hear(bundle, file, device, channel=channel, max_duration_s=max_duration_s)
        cases, not_applicable = explain_file(heard, ExplainSettings(recipes, target, cast(Any, evidence), seed))
        content = write_explanation(out, heard, cases, not_applicable)

    probabilities = ", ".join(f"{name} {p:.3f}" for name, p in content["probability"].items())
    who = "" if heard.fold is None else f" (by fold {heard.fold}, which never heard this speaker)"
    say(f"{file}: {heard.recording.duration_s:.2f} s, predicted {content['predicted']}{who}: {probabilities}")
    header = ("recipe", "class", "p", "p of kept", "p of removed", "mean mask", "map", "kept + removed = original")
    rows = [
        (
            name,
            e["explained"],
            f"{e['probability_original']:.3f}",
            f"{e['probability_kept']:.3f}",
            f"{e['probability_removed']:.3f}",
            f"{e['mean_mask']:.4f}",
            f"{e['map_shape'][0]} x {e['map_shape'][1]} ({e['map_duration_s']:.2f} s)",
            f"yes, within {e['kept_plus_removed_error']:.1e}",
        )
        for name, e in content["explanations"].items()
    ]
    if rows:
        say(table(header, rows, right=(2, 3, 4, 5)))
        say(f"The check is in the magnitude domain; at most {TOLERANCE:g} is allowed.")
    for pair in content["agreement"]:
        say(
            f"agreement of {pair['first']} and {pair['second']}: IoU {pair['iou']:.3f}, rank correlation"
            f" {pair['rank_correlation']:.3f}"
        )
    for name, reason in not_applicable.items():
        warn(f"Not applicable: {name}: {reason}")
    for name, e in content["explanations"].items():
        if e["empty"]:
            warn(f"Warning: the map of {name} holds no evidence for {e['explained']}.")
    say(f"Written to {out}")
    warn("Not a medical device.")
    if not rows:
        raise typer.Exit(1)
