"""Settings, records and stores of training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from speechxai.classifiers.augment import AugmentConfig
from speechxai.errors import SpeechXAIError
from speechxai.types import Recording

Progress = Callable[[int, int, str], None]
"""Called with (epochs done, epochs at most, what was just done)."""


@dataclass(frozen=True)
class FitConfig:
    """How a classifier is trained.

    Args:
        epochs: passes over the training recordings at most; exactly, where there is no validation set.
        patience: epochs without a better validation loss before training stops.
        learning_rate, weight_decay: of AdamW.
        batch: crops that pass at once.
        accumulate: batches whose gradients are averaged before a step.
        schedule: "constant", or "linear": the rate rises over the first tenth of all steps and falls to 0 at the last.
        layer_decay: how the rate falls per transformer layer below the head of a speech foundation model; 1 leaves it.
        precision: "float32", or "bfloat16" for the products of training on devices that are fast at it.
        crop_s: length of the random crops, seconds.
        n_crops: crops of every recording an epoch.
        class_weights: "balanced" (N / (C * n_c)) or "none".
        augment: random changes of the crops.
        seed: of initialization, order, crops, augmentation and dropout.
        deterministic: refuse operations whose result differs from run to run.

    Raises:
        SpeechXAIError: a value out of range.
    """

    epochs: int = 60
    patience: int = 12
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    batch: int = 16
    accumulate: int = 1
    schedule: Literal["constant", "linear"] = "constant"
    layer_decay: float = 1.0
    precision: Literal["float32", "bfloat16"] = "float32"
    crop_s: float = 1.5
    n_crops: int = 2
    class_weights: Literal["balanced", "none"] = "balanced"
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    seed: int = 0
    deterministic: bool = True

    def __post_init__(self) -> None:
        for name in ("epochs", "patience", "batch", "accumulate", "n_crops"):
            if getattr(self, name) < 1:
                raise SpeechXAIError(
                    f"The '{name}' parameter of FitConfig must be at least 1. Got {getattr(self, name)} instead."
                )
        for name in ("learning_rate", "crop_s"):
            if not getattr(self, name) > 0:
                raise SpeechXAIError(
                    f"The '{name}' parameter of FitConfig must be above 0. Got {getattr(self, name)} instead."
                )
        if not 0 < self.layer_decay <= 1:
            raise SpeechXAIError(
                f"The 'layer_decay' parameter of FitConfig must be above 0 and at most 1. Got {self.layer_decay} instead."
            )
        for name, known in (
            ("class_weights", ("balanced", "none")),
            ("schedule", ("constant", "linear")),
            ("precision", ("float32", "bfloat16")),
        ):
            if getattr(self, name) not in known:
                raise SpeechXAIError(
                    f"The '{name}' parameter of FitConfig must be {known[0]!r} or {known[1]!r}. Got {getattr(self, name)!r} instead."
                )


@dataclass(frozen=True)
class EpochRecord:
    """Losses of one epoch: weighted cross-entropy, nats; `validation_loss` is None without a validation set."""

    epoch: int
    training_loss: float
    validation_loss: float | None


@dataclass(frozen=True)
class History:
    """What training did: the epochs, and which of them (0-based) the returned weights come from."""

    epochs: tuple[EpochRecord, ...]
    best_epoch: int
    stopped_early: bool


class EpochStore(Protocol):
    """Where training keeps its state between epochs, for example `speechxai.io.checkpoints.EpochFile`."""

    def load(self) -> dict[str, Any] | None:
        """Return the stored state, or None."""

    def save(self, state: dict[str, Any]) -> None:
        """Store the state so that a kill at any moment leaves the old or the new one."""


@runtime_checkable
class FitsItself(Protocol):
    """A backbone that is fitted in one go and not by gradient steps."""

    def fit_recordings(self, recordings: Sequence[Recording], seed: int) -> None:
        """Set the weights from labeled recordings."""
