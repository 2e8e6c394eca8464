"""What is wrong with a model, a training or a run: the first suspect, with evidence and the fix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from speechxai.doctor.deployment import DEPLOYMENT
from speechxai.doctor.deployment import cannot_be_right as cannot_be_right
from speechxai.doctor.deployment import examine_bundle as examine_bundle
from speechxai.doctor.values import Diagnosis as Diagnosis
from speechxai.doctor.values import Suspicion as Suspicion

__all__ = ["DEPLOYMENT", "Diagnosis", "Suspicion", "cannot_be_right", "examine", "examine_bundle"]


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
    return [examine_bundle(target, script, allow_code, place)]
