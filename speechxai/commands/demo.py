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
Example:

\b
  speechxai demo --out runs/demo      then open runs/demo/report.html
"""


def demo(
    out: Annotated[Path, flag("out", also="A former demo in it is replaced.")] = Path("runs/demo"),
    speakers: Annotated[int, flag("speakers", max=100)] = 12,
    recordings: Annotated[int, typer.Option(min=2, max=300, help="Recordings, at most three a speaker.")] = 16,
    seed: Annotated[int, flag("seed")] = 0,
) -> None:
    """Evaluate the embedded model on synthetic voices: score table, run folder and report, in about a minute."""
    import shutil

    from speechxai.commands.evaluate import run
    from speechxai.errors import SpeechXAIError
    from speechxai.evaluation.config import from_dict
    from speechxai.evaluation.runs import RunFolder

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
