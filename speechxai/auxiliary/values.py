"""Values of an auxiliary study: its settings, its material, one fit and what came out of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from torch import Tensor

from speechxai.data.manifest import classes_of
from speechxai.errors import SpeechXAIError, in_range
from speechxai.evaluation.values import checked
from speechxai.flags import MANY
from speechxai.types import Array, StftConfig

if TYPE_CHECKING:
    import pandas as pd

RANDOM, ENERGY, PERMUTED, MAJORITY, ANSWER = "random_map", "energy_map", "permuted_labels", "majority", "answer"
FLOORS = (RANDOM, ENERGY, PERMUTED, MAJORITY, ANSWER)
"""What every study is measured against: maps of chance, maps that copy the energy, labels of chance, no input at all,
and the number that the explained classifier answered, which every map of it may give away."""
UNTRAINED = (MAJORITY, ANSWER)
"""Floors that need no network."""

CEILING = "original"
"""The spectrogram itself: all that a map could keep."""

INPUTS = ("map", "masked", "original")
SPLITS = ("speaker", "recording")
ARCHITECTURES = ("small", "cnn14", "cnn14-linear")
LINEAR = "linear"
"""The transparent twin: a logistic regression on band x segment summaries, fitted beside every network."""


@dataclass(frozen=True)
class AuxiliarySettings:
    """What an auxiliary study trains, on what, and how.

    Args:
        recipes: explanations whose maps are studied; none with `input="original"`.
        input: "map" (evidence alone), "masked" (evidence x spectrogram, mancini2025investigating) or "original".
        architecture: "small", "cnn14" (kong2020panns), or "cnn14-linear", network and training of
            mancini2025investigating: SpeechBrain's Cnn14 and one linear layer to one logit, binary cross-entropy, Adam,
            mel bands of the log magnitude as they are, whole recordings.
        splits: "speaker", and "recording" only beside it, to show what a leak of speakers adds.
        n_seeds: repetitions with other folds and other initial weights.
        n_folds: of the cross-validation, at least 3: one tests, one stops the training, the others train.
        n_mels: mel bands of the features.
        crop_s: length that every input has, seconds; None: the shortest recording's, at most 2 s, with "cnn14-linear"
            the longest one's.
        n_test_crops: crops of a recording whose probabilities are averaged in validation and test.
        epochs, patience: at most so many; end after so many without a better validation loss.
        learning_rate, weight_decay, batch: of AdamW; with "cnn14-linear" of Adam, whose decay is part of the gradient.
        weights: file of published AudioSet weights that cnn14 starts from.
        checkpoints: whether the weights of every fit are kept.
        device: where networks are trained.

    Raises:
        SpeechXAIError: a value out of range; the message names it.
    """

    recipes: tuple[str, ...]
    input: Literal["map", "masked", "original"] = "map"
    architecture: Literal["small", "cnn14", "cnn14-linear"] = "small"
    splits: tuple[str, ...] = SPLITS
    n_seeds: int = 5
    n_folds: int = 5
    n_mels: int = 80
    crop_s: float | None = None
    n_test_crops: int = 4
    epochs: int = 50
    patience: int = 10
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    batch: int = 32
    weights: str | None = None
    checkpoints: bool = True
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name, known in (("input", INPUTS), ("architecture", ARCHITECTURES)):
            if getattr(self, name) not in known:
                raise SpeechXAIError(
                    f"The '{name}' parameter must be one of {', '.join(known)}. Got {getattr(self, name)!r} instead."
                )
        for name, least in (
            ("n_seeds", 1),
            ("n_folds", 3),
            ("n_mels", 8),
            ("n_test_crops", 1),
            ("epochs", 1),
            ("patience", 1),
            ("batch", 2),
        ):
            in_range("an auxiliary study", name, getattr(self, name), least, MANY, whole=True)
        in_range("an auxiliary study", "learning_rate", self.learning_rate, 1e-12, 10)
        in_range("an auxiliary study", "weight_decay", self.weight_decay, 0, 1000)
        if self.crop_s is not None:
            in_range("an auxiliary study", "crop_s", self.crop_s, 0.01, 600)
        if "speaker" not in self.splits or set(self.splits) - set(SPLITS):
            raise SpeechXAIError(
                f"The 'splits' parameter must be ('speaker',) or {SPLITS}: folds by recording let the network hear the"
                f" tested speakers, so they stand only beside folds by speaker. Got {self.splits} instead."
            )
        if (self.input == "original") == bool(self.recipes):
            raise SpeechXAIError(
                "The 'recipes' parameter must name the maps to study with input 'map' or 'masked', and none with"
                f" 'original'. Got {self.recipes} with input '{self.input}'."
            )
        reserved = [name for name in self.recipes if name in (*FLOORS, CEILING)]
        if reserved:
            raise SpeechXAIError(f"'{reserved[0]}' is run with every study: leave it out of the recipes.")
        if self.weights is not None and self.architecture != "cnn14":
            raise SpeechXAIError(
                "The 'weights' parameter takes published weights of cnn14. Leave it out for another architecture."
            )

    @property
    def rows(self) -> tuple[str, ...]:
        """Names of the table's rows: explanations, floors, ceiling."""
        floors = FLOORS if self.recipes else (PERMUTED, MAJORITY)  # without maps nothing was answered
        return (*self.recipes, *floors, CEILING)

    @property
    def shuffled_source(self) -> str:
        """Whose inputs the row with shuffled labels has: the first recipe's."""
        return self.recipes[0] if self.recipes else CEILING

    @property
    def as_published(self) -> bool:
        """Whether network and training are those of mancini2025investigating."""
        return self.architecture == "cnn14-linear"

    @property
    def pool(self) -> int:
        """Frames that are averaged into one before the network."""
        return 4 if self.architecture == "small" else 1

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> AuxiliarySettings:
        """Undo `to_dict`; keys whose value is None may be missing. Raises ValueError for a value of another type."""
        return checked(cls, content)


def kind_of(name: str) -> str:
    """What a row of the table is: "explanation", "floor" or "ceiling"."""
    return "floor" if name in FLOORS else "ceiling" if name == CEILING else "explanation"


@dataclass(frozen=True, eq=False)
class Material:
    """The recordings of a study and what is known of each; everything is asked for by the row's number.

    Args:
        manifest: one row a recording: recording, speaker, label (0 to C - 1), sex, age, and the names of the classes
            where they are not HC and PD; index 0 to R - 1.
        stft: settings of the spectrograms.
        magnitude: i -> explained magnitude (F, T).
        evidence: recipe, i -> evidence (F, T) in [0, 1].
        voicing: i -> what each frame holds (T,): 0 pause, 1 unvoiced, 2 voiced.
        n_frames: T of every recording.
        answers: what the explained classifier said of each: (R,) probability of the second of two classes, of more
            (R, C); needed where recipes are studied.
    """

    manifest: pd.DataFrame
    stft: StftConfig
    magnitude: Callable[[int], Tensor]
    evidence: Callable[[str, int], Tensor]
    voicing: Callable[[int], Array]
    n_frames: tuple[int, ...]
    answers: Array | None = None

    def __post_init__(self) -> None:
        if len(self.n_frames) != len(self.manifest):
            raise SpeechXAIError("The material of a study needs the number of frames of every recording.")
        if list(self.manifest.index) != list(range(len(self.manifest))):
            raise SpeechXAIError("The manifest of a study must be numbered from 0: reset its index.")

    @property
    def n_classes(self) -> int:
        """How many classes the data set has."""
        return len(classes_of(self.manifest))


Numbers = tuple[float, ...] | tuple[tuple[float, ...], ...]
"""A number, or one of every class, of each thing."""


@dataclass(frozen=True)
class Unit:
    """One fit: a row of the table, a split, a seed and a fold."""

    name: str
    input: str
    split: str
    seed: int
    fold: int

    @property
    def key(self) -> str:
        """Name of the unit's file, the same for the same unit."""
        safe = "".join(c if c.isalnum() else "_" for c in self.name)[:60]
        digest = hashlib.sha256(self.name.encode()).hexdigest()[:8]
        return f"{safe}-{digest}-{self.input}-{self.split}-s{self.seed}-f{self.fold}"


@dataclass(frozen=True, eq=False)
class Fit:
    """What one fit gives for the recordings of its test fold.

    Args:
        unit: which fit.
        rows: (n,) numbers of the tested recordings.
        labels: (n,) the labels that were to be told, shuffled ones with `permuted_labels`.
        probabilities: (n,) of the second of two classes, of more (n, C), by the network; linear: by the transparent
            twin, empty where there is none.
        coefficients: of the twin, per standardized band x segment summary: what speaks for the second of two classes;
            of more, for each against all others.
        mean_mask: (n,) mean evidence of the tested recordings' maps, empty where there is no map.
        history: training and validation loss of every epoch.
        best_epoch: the epoch whose weights were used, counted from 0.
        seconds: how long it took.
        weights: tensors of the network at its best epoch, by name.
    """

    unit: Unit
    rows: tuple[int, ...]
    labels: tuple[int, ...]
    probabilities: Numbers
    linear: Numbers = ()
    coefficients: Numbers = ()
    mean_mask: tuple[float, ...] = ()
    history: tuple[tuple[float, float], ...] = ()
    best_epoch: int = -1
    seconds: float = 0.0
    weights: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the weights as plain values."""
        content = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in ("unit", "weights")}
        return {"unit": asdict(self.unit), **content}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Fit:
        """Undo `to_dict`. Raises ValueError for a value of another type."""
        return checked(cls, content)


class Store(Protocol):
    """Takes fits; `auxiliary.folder.StudyFolder` is one."""

    def is_done(self, unit: Unit) -> bool:
        """Whether a unit's fit is there."""

    def claim(self, unit: Unit) -> AbstractContextManager[bool]:
        """Hold a unit for this process; False when it is done or in other hands."""

    def write(self, fit: Fit) -> None:
        """Take a finished fit."""

    def fits(self) -> Iterator[Fit]:
        """Finished fits, in the plan's order, without their weights."""
