"""The published protocol as one of PROTOCOLS, so that the rooms below need not know its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from speechxai.evaluation.values import PROTOCOLS, EvaluateSettings, Job, Progress, UnitResult
from speechxai.mancini2025.report import write_protocol
from speechxai.mancini2025.study import check_folds, find_published, finish_study
from speechxai.mancini2025.unit import published_unit

if TYPE_CHECKING:
    from speechxai.evaluation.runs import RunFolder
    from speechxai.evaluation.session import Session


def complete(
    session: Session, folder: RunFolder, told: Callable[[str], Callable[[Progress], None] | None] | None = None
) -> list[str]:
    """Run the other parts of the protocol and write its report; returns what to say about it."""
    finish_study(session, folder, told)
    return [f"Published, authors' and corrected numbers side by side: {write_protocol(folder)}"]


@PROTOCOLS.register(recordings=find_published, check=check_folds, finish=complete, clips=True, evidence="absolute")
def mancini2025(job: Job, settings: EvaluateSettings, stages: list[str]) -> UnitResult:
    """The published code's choices, beside what repairs them."""
    return published_unit(job, settings, stages)
