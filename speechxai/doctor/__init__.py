"""What is wrong with a model, a training or a run: the first suspect, with evidence and the fix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from speechxai.classifiers.bundle import CONFIG_FILE
from speechxai.doctor.deployment import DEPLOYMENT
from speechxai.doctor.deployment import cannot_be_right as cannot_be_right
from speechxai.doctor.deployment import examine_bundle as examine_bundle
from speechxai.doctor.run import RUN, examine_run, is_run
from speechxai.doctor.training import TRAINING, is_training
from speechxai.doctor.training import examine_training as examine_training
from speechxai.doctor.values import Diagnosis as Diagnosis
from speechxai.doctor.values import Suspicion as Suspicion

__all__ = [
    "DEPLOYMENT",
    "RUN",
    "TRAINING",
    "Diagnosis",
    "Suspicion",
    "cannot_be_right",
    "examine",
    "examine_bundle",
    "examine_run",
    "examine_training",
]


def examine(
    target: str, script: str | Callable[[str], Any] | None = None, allow_code: bool = False, place: str = "cpu"
) -> list[Diagnosis]:
    """Examine whatever stands at `target`: a model and its training, an unfinished training, or a run.

    Args:
        target: name or folder.
        script, allow_code, place: see `examine_bundle`.

    Raises:
        SpeechXAIError: nothing that a doctor knows.
    """
    folder = Path(target)
    if is_run(folder):
        return [examine_run(folder)]
    if is_training(folder) and not (folder / CONFIG_FILE).is_file():
        return [examine_training(folder)]
    found = [examine_bundle(target, script, allow_code, place)]
    return [*found, examine_training(folder)] if is_training(folder) and script is None else found
