"""The benchmark with a known truth: which explanation points at a cue that was planted?

A task is a cue x a base material x a severity x a seed. Its recordings come in twins, one voice with and without the
cue; a
classifier learns to tell them apart by speaker-disjoint folds, and its explanations of recordings that it never heard
are
compared with the place where the twins differ. `docs/benchmark.md` is the specification. Nothing is read or written
here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from speechxai.data.cues import CUES
from speechxai.data.voice_model import CUE_TASKS
from speechxai.errors import SpeechXAIError, did_you_mean, in_range
from speechxai.evaluation.values import Failure, checked
from speechxai.explain.recipe import CONTROLS, PUBLISHED_METHODS, published_recipes
from speechxai.flags import MANY, MAX_SEED
from speechxai.metrics import EQUAL_BUDGET_METRICS, FILL_METRICS, MARGIN_METRICS, PUBLISHED_METRICS
from speechxai.planted.shortcuts import SHORTCUTS

SPECIFICATION = "2.3"
"""Version of the tasks and the scoring; results of one major version can be compared."""

SCORED_AS = "2.0"
"""The version since which a task's numbers mean the same: what was computed since then goes on."""

MIN_AUC = 0.9
"""A task is learned where the mean of the AUCs within its folds reaches this. AUC over all folds at once would ask for
a common scale, which networks that were trained apart do not have."""

MIN_TWINS = 0.95
"""A task that is not learned is learned as a contrast where this share of the twins is told apart in the right order:
such a network says which of two voices has the cue, and not whether a voice has it."""

LEARNED, CONTRAST = "learned", "learned as a contrast"

SYNTHETIC = "synthetic"
CUES_OF_BENCHMARK = (
    "breathiness",
    "amplitude_tremor",
    "frequency_tremor",
    "burst_weakening",
    "formant_centralization",
    "monopitch",
)
CNN, WHISPER, WHISPER_RANDOM, WHISPER_TUNED = "cnn", "whisper", "whisper-random", "whisper-tuned"
DVECTOR, DVECTOR_RANDOM = "dvector", "dvector-random"
"""Networks that learn the tasks: trained from nothing; Whisper tiny.en's encoder, which stays as it is, with a head
that is fitted; its twin with random weights, without which no gain is one of pretraining; the encoder whose last
N_TUNED blocks are trained with the head; Resemblyzer's speaker encoder with a head, and its twin."""
N_TUNED = 2

TRUTH = "truth_map"
"""Name of the row of the ground-truth map itself, which must score 1."""

FAITHFULNESS_METRICS = (
    *PUBLISHED_METRICS[:5],
    *EQUAL_BUDGET_METRICS,
    "deletion_auc",
    "insertion_auc",
    "sparseness",
    "complexity",
    "silence_share",
    *MARGIN_METRICS,
    *FILL_METRICS,
)
"""What is compared with the localization metrics: everything that can be computed without a truth."""

METRICS_OF_BENCHMARK = (*FAITHFULNESS_METRICS, "mean_mask")

OTHER_METHODS = (
    "input_x_gradient",
    "deep_lift",
    "gradcam",
    "occlusion",
    "band_occlusion",
    "segment_occlusion",
    "rise",
)
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "occlusion": {"patch_ms": 200.0, "stride_ms": 100.0, "patch_hz": 1000.0, "stride_hz": 500.0},
    "rise": {"n_masks": 192, "cell_ms": 200.0},
}
"""Options that differ from the methods' defaults: patches that fit recordings of two seconds."""


@dataclass(frozen=True)
class Task:
    """What one classifier learns: `cue` planted into `material` at `severity` (0 to 1), voices and weights drawn by
    `seed`."""

    material: str
    cue: str
    severity: float
    seed: int

    @property
    def id(self) -> str:
        """Unique name within a benchmark."""
        return f"{self.material}/{self.cue}/{self.severity:g}/{self.seed}"

    @property
    def group(self) -> str:
        """Name of the tasks that differ by their seed alone."""
        return f"{self.material}/{self.cue}/{self.severity:g}"


@dataclass(frozen=True)
class BenchmarkSettings:
    """What the benchmark computes. The defaults are the specification; `quick()` is the short form.

    Args:
        materials: "synthetic", or names of sets of real recordings of healthy speakers.
        cues, severities, seeds: the tasks are their product with the materials; a cue may be one of SHORTCUTS, a
            condition of the recording that goes with the class.
        n_speakers, n_takes: synthetic speakers of a task, and takes of each; every take gives a pair of twins.
        n_pieces: pieces of a real speaker's recordings at most.
        n_plants: times that the cue is planted into each of them, at another place every time; each gives a pair of
            twins.
        duration_s: length of takes and pieces, s.
        n_folds, epochs, patience, least_epochs: of the training.
        n_explained: pairs explained for each task at most, of the folds in turn, speakers drawn by the seed.
        n_permuted: networks trained on permuted labels, for the sanity checks; with them one more on the true ones.
        n_sanity: pairs that go through the sanity checks, in the first seed's tasks.
        methods, combinations: explanations that are scored; controls are always added, combinations only in the first
            seed's tasks.
        n_stages: stages of the weight randomization.
        network: what learns the tasks: CNN, WHISPER, WHISPER_RANDOM, WHISPER_TUNED, DVECTOR, DVECTOR_RANDOM, or a model
            that is trained further for each task (`networks.open_network`).
        bystander: whether both twins hold a sound that tells no class, of the cue's own energy, at a place of its own.

    Raises:
        SpeechXAIError: an unknown cue, a value out of range.
    """

    materials: tuple[str, ...] = (SYNTHETIC,)
    cues: tuple[str, ...] = CUES_OF_BENCHMARK
    severities: tuple[float, ...] = (1.0,)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    n_speakers: int = 24
    n_takes: int = 3
    n_pieces: int = 8
    n_plants: int = 3
    duration_s: float = 2.0
    n_folds: int = 3
    epochs: int = 300
    patience: int = 15
    least_epochs: int = 50
    n_explained: int = 9
    n_permuted: int = 3
    n_sanity: int = 2
    methods: tuple[str, ...] = (*PUBLISHED_METHODS, *OTHER_METHODS)
    combinations: tuple[str, ...] = tuple(recipe for recipe in published_recipes() if "(" in recipe)
    n_stages: int = 4
    network: str = CNN
    bystander: bool = False

    def __post_init__(self) -> None:
        for cue in self.cues:
            if cue in SHORTCUTS and cue in CUES:
                raise SpeechXAIError(
                    f"The cue '{cue}' has the name of a condition of the recording. Register another name."
                )
            if cue in SHORTCUTS:
                continue
            if cue not in CUES:
                raise SpeechXAIError(did_you_mean(cue, [*CUES, *SHORTCUTS], "cue"))
            if SYNTHETIC in self.materials and cue not in CUE_TASKS:
                raise SpeechXAIError(
                    f"The cue '{cue}' is planted into recordings; the program that makes synthetic voices does not know"
                    " it. Give recordings with --data and --root."
                )
        for severity in self.severities:
            in_range("a benchmark", "severity", severity, 1e-6, 1)
        for seed in self.seeds:
            in_range("a benchmark", "seed", seed, 0, MAX_SEED, whole=True)
        for name, least in (
            ("n_speakers", 3),
            ("n_takes", 1),
            ("n_pieces", 1),
            ("n_plants", 1),
            ("n_folds", 3),
            ("epochs", 1),
            ("patience", 1),
            ("n_explained", 1),
            ("n_sanity", 0),
            ("n_stages", 1),
            ("n_permuted", 0),
        ):
            in_range("a benchmark", name, getattr(self, name), least, MANY, whole=True)
        in_range("a benchmark", "duration_s", self.duration_s, 0.1, 600)
        if not (self.materials and self.cues and self.severities and self.seeds):
            raise SpeechXAIError("A benchmark needs at least one material, cue, severity and seed.")

    @property
    def recipes(self) -> tuple[str, ...]:
        """Recipes in the order of the tables: methods, controls, combinations."""
        return (*self.methods, *CONTROLS, *self.combinations)

    def recipes_of(self, task: Task) -> tuple[str, ...]:
        """Recipes that a task scores: combinations with the first seed alone."""
        return self.recipes if task.seed == self.seeds[0] else (*self.methods, *CONTROLS)

    def tasks(self) -> list[Task]:
        """Return the tasks, the first seeds of all cues before the second ones."""
        return [
            Task(material, cue, severity, seed)
            for seed in self.seeds
            for material in self.materials
            for severity in self.severities
            for cue in self.cues
        ]


QUICK: Mapping[str, Any] = {
    "cues": ("burst_weakening", "monopitch"),
    "seeds": (0,),
    "n_speakers": 9,
    "n_takes": 2,
    "n_folds": 3,
    "epochs": 40,
    "patience": 8,
    "least_epochs": 20,
    "n_explained": 6,
    "n_sanity": 1,
    "methods": ("saliency", "integrated_gradients", "guided_backprop", "guided_gradcam", "occlusion"),
    "combinations": (
        "union(saliency, integrated_gradients)",
        "intersection(guided_backprop, guided_gradcam)",
    ),
    "n_stages": 2,
    "n_permuted": 1,
}
"""What the short form changes: a cue that the network learns from few voices and one that it does not learn at all.
Enough to see that
everything works, not enough to compare methods."""


@dataclass(frozen=True, eq=False)
class TaskResult:
    """Everything that one task yields, as plain values.

    Args:
        task: its id.
        facts: what the classifier learned, how large the truth is, what else separates the classes, and what it cost.
        scores: one entry an explained pair: recording (of the twin with the cue), speaker, fold, margins, areas of the
            truths, the names of the `metrics`, and `values` by recipe in their order.
        sanity: one entry a check of a method on a recording: recording, speaker, recipe, check, value.
        not_applicable: reason by recipe.
    """

    task: str
    facts: dict[str, Any]
    scores: list[dict[str, Any]] = field(default_factory=list)
    sanity: list[dict[str, Any]] = field(default_factory=list)
    not_applicable: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return {name: getattr(self, name) for name in ("task", "facts", "scores", "sanity", "not_applicable")}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> TaskResult:
        """Undo `to_dict`. Raises ValueError for values of other types."""
        return checked(cls, content)


Step = Callable[[float, str], None]
"""Called with the share of a task that is done, 0 to 1, and what was just done."""


class BenchmarkSink(Protocol):
    """Takes results; `planted.folder.BenchmarkFolder` is one."""

    def claim(self, recording: str) -> AbstractContextManager[bool]:
        """Hold a task for this process; False when it is done already or in other hands."""

    def keep(self, result: TaskResult) -> None:
        """Take a finished task."""

    def fail(self, failure: Failure) -> None:
        """Take a failure."""


@dataclass(frozen=True)
class BenchmarkProgress:
    """How far a benchmark is: `share` of task number `index` of `n_total`; `state` "running", "done", "failed" or
    "skipped". First, with `state` "misfit", `n_total` units that do not fit because of `message`."""

    task: str
    state: str
    index: int
    n_total: int
    share: float = 0.0
    message: str = ""
