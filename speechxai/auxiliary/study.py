"""The auxiliary classifier: what do the maps alone know about the disease, beyond what floors without knowledge
explain?

A small network is trained on maps of held-out recordings to tell the classes apart (part (iii) of
mancini2025investigating), with folds by
speaker, and beside it, always, on maps of chance, on energy maps, on shuffled labels, on nothing, and on the
spectrogram itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from speechxai.auxiliary.fit import Crops, Features, crop_frames, features, fit_linear, train
from speechxai.auxiliary.values import (
    CEILING,
    FLOORS,
    MAJORITY,
    PERMUTED,
    AuxiliarySettings,
    Fit,
    Material,
    Store,
    Unit,
)
from speechxai.data.splits import speaker_folds, train_validation_test
from speechxai.errors import SpeechXAIError
from speechxai.types import Array

__all__ = [
    "CEILING",
    "FLOORS",
    "AuxiliarySettings",
    "Fit",
    "Folds",
    "Material",
    "Row",
    "Store",
    "Unit",
    "study",
    "units",
]

Progress = Callable[[int, int, str], None]
"""Called with fits done, fits in all, and what is being fitted."""

LEAK_WARNING = (
    "Folds by recording: recordings of a tested speaker are in the training data, so the network may know the voice"
    " instead of the disease. This split only shows what that leak adds; never report it as a result."
)


def units(settings: AuxiliarySettings) -> list[Unit]:
    """All fits of a study, in the order of the table."""
    return [
        Unit(name, settings.input, split, seed, fold)
        for name in settings.rows
        for split in settings.splits
        for seed in range(settings.n_seeds)
        for fold in range(settings.n_folds)
    ]


def labels_of(manifest: pd.DataFrame, name: str, seed: int) -> Array:
    """Labels (R,) that a row's network learns: the true ones, or with `permuted_labels` those of speakers in another
    order."""
    labels = np.array(manifest["label"], dtype=np.int64)
    if name != PERMUTED:
        return labels
    speakers, first, index = np.unique(
        np.asarray(manifest["speaker"], dtype=str), return_index=True, return_inverse=True
    )
    order = np.random.default_rng([seed, 17]).permutation(len(speakers))
    return labels[first][order][index]


Parts = tuple[Array, ...]


class Folds:
    """Row numbers that train, validate and test in a unit: the same for every row of the table, so that rows are
    paired.

    Shuffled labels are dealt into folds of their own. Split "recording" treats every recording as a speaker of its own;
    where every
    speaker has one recording, both splits are the same.

    Args:
        manifest: the recordings.
        n_folds: of every cross-validation.
    """

    def __init__(self, manifest: pd.DataFrame, n_folds: int) -> None:
        self.manifest, self.n_folds = manifest, n_folds
        self._drawn: dict[tuple[bool, str, int], list[Parts]] = {}

    def __call__(self, unit: Unit) -> Parts:
        """Row numbers (training, validation, test) of one unit. Raises SpeechXAIError for too few speakers."""
        key = (unit.name == PERMUTED, unit.split, unit.seed)
        if key not in self._drawn:
            self._drawn[key] = self._draw(unit)
        return self._drawn[key][unit.fold]

    def _draw(self, unit: Unit) -> list[Parts]:
        table = self.manifest.assign(label=pd.array(labels_of(self.manifest, unit.name, unit.seed), dtype="Int64"))
        if unit.split == "recording" and table["speaker"].duplicated().any():
            table = table.assign(speaker=table["recording"])
        folds = speaker_folds(table, self.n_folds, unit.seed)
        return [
            tuple(np.array(part) for part in train_validation_test(table, folds, k, unit.seed))
            for k in range(self.n_folds)
        ]


def study(
    material: Material,
    settings: AuxiliarySettings,
    store: Store,
    progress: Progress | None = None,
    published: dict[str, Tensor] | None = None,
) -> None:
    """Fit everything that the store has not yet, row by row of the table; each fit is one unit of work.

    Args:
        material: recordings and maps.
        settings: what is trained.
        store: takes the fits; several processes may share one.
        progress: called after every fit.
        published: weights that cnn14 starts from.

    Raises:
        SpeechXAIError: too few speakers, labels missing, maps that do not fit.
    """
    if material.manifest["label"].isna().any():
        raise SpeechXAIError("An auxiliary study needs the label of every recording: leave the others out.")
    plan, folds = units(settings), Folds(material.manifest, settings.n_folds)
    done = sum(store.is_done(unit) for unit in plan)
    for name in settings.rows:
        of_row = [unit for unit in plan if unit.name == name and not store.is_done(unit)]
        if not of_row:
            continue
        if progress is not None:
            progress(done, len(plan), f"{name}: features")
        row = Row(material, settings, name, folds, published)
        for unit in of_row:
            with store.claim(unit) as ours:
                if ours:
                    store.write(row.fit(unit))
            done += 1
            if progress is not None:
                progress(done, len(plan), f"{name}: {unit.split} folds, seed {unit.seed}")


class Row:
    """One row of the table: its features, computed once, and its fits.

    Args:
        material: recordings and maps.
        settings: what is trained.
        name: recipe, floor or ceiling.
        folds: who trains and who tests, shared by all rows.
        published: weights that cnn14 starts from.
    """

    def __init__(
        self,
        material: Material,
        settings: AuxiliarySettings,
        name: str,
        folds: Folds | None = None,
        published: dict[str, Tensor] | None = None,
    ) -> None:
        self.material, self.settings, self.name, self.published = material, settings, name, published
        self.folds = folds or Folds(material.manifest, settings.n_folds)
        self.features: Features | None = None
        self._known: dict[tuple[int, bytes], Fit] = {}
        if name != MAJORITY:
            self.features = features(material, name, settings)
            self.crops = Crops(self.features.values, crop_frames(material, settings))

    def fit(self, unit: Unit) -> Fit:
        """Train network and twin of one unit and answer for its test fold."""
        started = time.perf_counter()
        labels = labels_of(self.material.manifest, self.name, unit.seed)
        parts = self.folds(unit)
        tested = tuple(int(i) for i in parts[2])
        answers = tuple(int(labels[i]) for i in tested)
        if self.features is None:
            heard = labels[np.concatenate(parts[:2])]
            return Fit(unit, tested, answers, (float(heard.mean() >= 0.5),) * len(tested))
        # The same seed for every row, so that rows differ in their inputs only.
        seed = 1_000 * unit.seed + unit.fold
        same = (seed, b"|".join(part.tobytes() for part in parts))
        if same in self._known:  # both splits are one where every speaker has one recording
            return replace(self._known[same], unit=unit)
        tensors = tuple(torch.from_numpy(part) for part in parts)
        trained = train(
            self.crops,
            torch.from_numpy(labels),
            (tensors[0], tensors[1], tensors[2]),
            self.settings,
            seed,
            self.published,
        )
        linear, coefficients = fit_linear(self.features.summaries, labels, parts)
        found = Fit(
            unit,
            tested,
            answers,
            tuple(trained.probabilities.tolist()),
            tuple(linear.tolist()),
            tuple(coefficients.tolist()),
            tuple(self.features.mean_mask[parts[2]].tolist()),
            trained.history,
            trained.best_epoch,
            time.perf_counter() - started,
            trained.weights,
        )
        self._known[same] = replace(found, weights={})
        return found
