"""What a doctor says: suspicions with evidence, the strongest first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from speechxai.registry import Registry

SEEN, FITS, LIKELY, LEFT = 1.0, 0.8, 0.6, 0.4
"""How strong a suspicion is: the fault itself was seen; what was measured is what this fault makes and no other does;
it is what this fault usually makes; nothing else is left."""


@dataclass(frozen=True)
class Suspicion:
    """One suspect.

    Args:
        suspect: its name in a registry.
        strength: SEEN, FITS, LIKELY or LEFT, or between.
        evidence: what was measured, a sentence with its numbers.
        fix: what to do, a sentence.
    """

    suspect: str
    strength: float
    evidence: str
    fix: str


@dataclass(frozen=True)
class Diagnosis:
    """What a doctor found.

    Args:
        target: what was examined.
        kind: "model", "training" or "run".
        suspicions: the first suspect first.
        looked_for: how many suspects there are.
        notes: what was compared, and what could not be.
        facts: numbers behind it.
    """

    target: str
    kind: str
    suspicions: tuple[Suspicion, ...]
    looked_for: int
    notes: tuple[str, ...] = ()
    facts: tuple[tuple[str, Any], ...] = ()

    @property
    def healthy(self) -> bool:
        """Whether nobody is suspected."""
        return not self.suspicions

    @property
    def first(self) -> str:
        """Name of the first suspect; "" where there is none."""
        return self.suspicions[0].suspect if self.suspicions else ""

    @property
    def line(self) -> str:
        """The diagnosis in one line."""
        if self.healthy:
            return f"Healthy: {self.looked_for} suspects looked for in this {self.kind}, none found."
        first = self.suspicions[0]
        more = len(self.suspicions) - 1
        others = f" ({more} more behind it)" if more else ""
        return f"First suspect: {first.suspect.replace('_', ' ')}. {first.evidence}{others}"

    def table(self) -> dict[str, Any]:
        """The diagnosis as plain values, for JSON."""
        return {
            "target": self.target,
            "kind": self.kind,
            "healthy": self.healthy,
            "suspects": [vars(each) for each in self.suspicions],
            "looked_for": self.looked_for,
            "notes": list(self.notes),
            **dict(self.facts),
        }


def ranked(found: Iterable[Suspicion], registry: Registry[Any]) -> tuple[Suspicion, ...]:
    """Sort suspicions: the strongest first, of equals the one whose stage comes first."""
    order = {name: place for place, name in enumerate(registry)}  # registered in the order of their stages
    return tuple(sorted(found, key=lambda each: (-round(each.strength, 3), order[each.suspect])))
