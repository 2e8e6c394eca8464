"""Cross-validation by speaker: every recording is predicted by a model that never heard its speaker."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from speechxai.classifiers.base import Classifier
from speechxai.classifiers.calibration import fit_temperature
from speechxai.classifiers.fit import (
    EpochStore,
    FitConfig,
    History,
    Progress,
    check_recordings,
    fit,
    initialized,
    labels_of,
    recording_logits,
)
from speechxai.errors import SpeechXAIError
from speechxai.types import Recording

Store = Callable[[str], EpochStore]
"""Gives the store of a part of the training: "fold0", "fold1", ..., "final"."""


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """Out-of-fold predictions of N recordings and the fold models that made them.

    Args:
        recordings, speakers: names, N each.
        labels: (N,) int64.
        folds: (N,) int64, the fold whose model never heard the recording's speaker.
        logits: (N, C) of that model, before calibration.
        temperatures: (K,) of the fold models; that of fold k comes from the out-of-fold logits of the other folds.
        models: the K calibrated fold models, in eval mode.
        histories: of the K trainings.
    """

    recordings: tuple[str, ...]
    speakers: tuple[str, ...]
    labels: Tensor
    folds: Tensor
    logits: Tensor
    temperatures: Tensor
    models: tuple[Classifier, ...]
    histories: tuple[History, ...]

    @property
    def uncalibrated(self) -> Tensor:
        """Probability of PD (N,) before calibration."""
        return self.logits.softmax(-1)[:, 1]

    @property
    def probabilities(self) -> Tensor:
        """Calibrated out-of-fold probability of PD (N,)."""
        return (self.logits / self.temperatures[self.folds][:, None]).softmax(-1)[:, 1]

    @property
    def final_temperature(self) -> float:
        """Temperature for a model trained on everybody: that of all out-of-fold logits together."""
        return fit_temperature(self.logits, self.labels)

    @property
    def final_epochs(self) -> int:
        """Epochs for a model trained on everybody: the median of the fold models' best."""
        return max(1, round(statistics.median(history.best_epoch + 1 for history in self.histories)))


def check_fold_list(recordings: Sequence[Recording], folds: Sequence[int]) -> list[int]:
    """Return the folds as ints. Raises SpeechXAIError for a speaker in two folds, a gap in the numbers, or under 3 folds."""
    numbers = [int(fold) for fold in folds]
    if len(numbers) != len(recordings):
        raise SpeechXAIError(
            f"Every recording needs a fold. Got {len(recordings)} recordings and {len(numbers)} folds."
        )
    home: dict[str, int] = {}
    for recording, fold in zip(recordings, numbers, strict=True):
        if home.setdefault(recording.speaker, fold) != fold:
            raise SpeechXAIError(
                f"The speaker '{recording.speaker}' is in fold {home[recording.speaker]} and in fold {fold}: split by speaker, not by recording."
            )
    n_folds = max(numbers, default=-1) + 1
    if n_folds < 3 or set(numbers) != set(range(n_folds)):
        raise SpeechXAIError(
            f"Folds must be numbered 0, 1, ... without a gap, at least 3 of them. Got {sorted(set(numbers))}."
        )
    return numbers


def cross_validate(
    make_classifier: Callable[[], Classifier],
    recordings: Sequence[Recording],
    folds: Sequence[int],
    config: FitConfig | None = None,
    progress: Progress | None = None,
    store: Store | None = None,
) -> CrossValidation:
    """Train one model a fold and predict each recording with the model that never heard its speaker.

    Fold k is tested; the next fold stops the training early; the others train. So neither the weights nor the choice
    of the epoch of model k saw a speaker of fold k.

    Args:
        make_classifier: makes an untrained classifier.
        recordings: N labeled recordings.
        folds: fold of every recording, 0 to K - 1, K at least 3.
        store: gives the place of every fold's training state, for resuming.

    Raises:
        SpeechXAIError: a speaker in two folds, too few folds, or what `fit` refuses.
    """
    config = config or FitConfig()
    numbers = check_fold_list(recordings, folds)
    n_folds = max(numbers) + 1
    models, histories = [], []
    logits = torch.zeros(len(recordings), 0)
    for k in range(n_folds):
        validation_fold = (k + 1) % n_folds
        training = [r for r, fold in zip(recordings, numbers, strict=True) if fold not in (k, validation_fold)]
        validation = [r for r, fold in zip(recordings, numbers, strict=True) if fold == validation_fold]
        classifier = initialized(make_classifier, config.seed)
        check_recordings(recordings, classifier.stft.sample_rate)
        histories.append(
            fit(
                classifier,
                training,
                validation,
                config,
                _shifted(progress, k, n_folds),
                store(f"fold{k}") if store else None,
            )
        )
        members = [index for index, fold in enumerate(numbers) if fold == k]
        held_out = recording_logits(classifier, [recordings[index] for index in members])
        if not logits.shape[1]:
            logits = torch.zeros(len(recordings), held_out.shape[1])
        logits[members] = held_out
        models.append(classifier)
        if progress is not None:
            progress((k + 1) * config.epochs, n_folds * config.epochs, f"fold {k + 1} of {n_folds} done")
    labels, fold_of = labels_of(recordings), torch.tensor(numbers)
    temperatures = torch.tensor([fit_temperature(logits[fold_of != k], labels[fold_of != k]) for k in range(n_folds)])
    for model, temperature in zip(models, temperatures, strict=True):
        model.temperature.fill_(temperature)
    return CrossValidation(
        tuple(r.id for r in recordings), tuple(r.speaker for r in recordings), labels, fold_of, logits, temperatures,
        tuple(models), tuple(histories),
    )  # fmt: skip


def fit_final(
    make_classifier: Callable[[], Classifier],
    recordings: Sequence[Recording],
    validated: CrossValidation,
    config: FitConfig | None = None,
    progress: Progress | None = None,
    store: Store | None = None,
) -> tuple[Classifier, History]:
    """Train a calibrated model on all recordings, for as many epochs as the fold models needed (median)."""
    config = replace(config or FitConfig(), epochs=validated.final_epochs)
    classifier = initialized(make_classifier, config.seed)
    history = fit(classifier, recordings, (), config, progress, store("final") if store else None)
    classifier.temperature.fill_(validated.final_temperature)
    return classifier, history


def _shifted(progress: Progress | None, k: int, n_folds: int) -> Progress | None:
    if progress is None:
        return None
    return lambda done, total, what: progress(k * total + done, n_folds * total, f"fold {k + 1} of {n_folds}, {what}")
