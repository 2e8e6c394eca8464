"""One task from its voices to its scores: train, refuse or explain, compare with the truth, check for sanity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from speechxai.benchmark import (
    METRICS_OF_BENCHMARK,
    MIN_AUC,
    OPTIONS,
    TRUTH,
    BenchmarkSettings,
    Step,
    Task,
    TaskResult,
)
from speechxai.benchmark_material import Material, Pair, level_confounds, make_material, speaker_folds
from speechxai.benchmark_sanity import sanity_rows
from speechxai.classifiers import Classifier, build, predict
from speechxai.classifiers.augment import AugmentConfig
from speechxai.classifiers.cross_validation import CrossValidation, cross_validate
from speechxai.classifiers.fit import FitConfig, fit, initialized, recording_logits
from speechxai.errors import SpeechXAIError
from speechxai.explain import Explanations, explain_all
from speechxai.metrics import Case, score
from speechxai.pipeline_unit import repeat, stacked
from speechxai.stats import auc, speaker_bootstrap
from speechxai.stft import spectrogram
from speechxai.types import Attribution, Recording, Spectrogram, StftConfig

STACK = 16
"""Maps of one recording that are tested at once."""
CUE = 1
"""The class that is explained: the cue is there."""
RIGHT = 0.5
"""A recording with the cue counts as classified right above this probability."""
SHARES = {False: (0.55, 1.0), True: (0.3, 0.6)}
"""Where training and explaining end, roughly, as shares of a task's time, without and with sanity checks; for the progress alone."""


@dataclass(frozen=True, eq=False)
class Explained:
    """A pair whose twin with the cue is explained: by the model of its fold, which never heard the speaker."""

    pair: Pair
    fold: int
    model: Classifier
    probability: float


def make_classifier() -> Classifier:
    """Return the benchmark's untrained network: `cnn` with its defaults, hearing every recording whole."""
    return Classifier(build("cnn"), StftConfig(), None, ("without", "with"), cam_layer="features")


def compute(task: Task, settings: BenchmarkSettings, bases: Sequence[Recording], step: Step) -> TaskResult:
    """Compute a task.

    Args:
        task: what is learned.
        settings: how much of everything.
        bases: recordings of healthy speakers, where the material is real.
        step: called as the task advances.

    Raises:
        SpeechXAIError: material that cannot be made or learned from.
    """
    material = make_material(task, settings, bases)
    facts: dict[str, Any] = {
        "material": task.material, "cue": task.cue, "severity": task.severity, "seed": task.seed, "group": task.group,
        "n_pairs": len(material.pairs), "n_speakers": len(material.speakers), "skipped": material.skipped,
        "auc": None, "auc_low": None, "auc_high": None,
    }  # fmt: skip
    if len(material.speakers) < 3:
        facts["excluded"] = f"{len(material.speakers)} speakers could carry the cue, at least 3 are needed"
        return TaskResult(task.id, facts)
    facts |= level_confounds(material)
    folds = speaker_folds(material, settings.n_folds, task.seed)
    checked = settings.n_sanity > 0 and task.seed == settings.seeds[0]
    trained, scored = SHARES[checked]
    validated = _train(task, settings, material, folds, lambda share, what: step(trained * share, what))
    facts |= held_out(validated)
    facts["excluded"] = "" if facts["auc"] >= MIN_AUC else f"held-out AUC {facts['auc']:.3f} is under {MIN_AUC:.2f}"
    chosen = [] if facts["excluded"] else choose(material, validated, settings.n_explained)
    facts["n_correct"] = sum(1 for _ in correct(material, validated))
    if not facts["excluded"] and not chosen:
        facts["excluded"] = "no recording with the cue is classified right"
    if facts["excluded"]:
        return TaskResult(task.id, facts)
    result = TaskResult(task.id, facts)
    areas, contrasts = [], []
    for index, explained in enumerate(chosen):
        entry, reasons = score_pair(explained, settings, task.seed)
        result.scores.append(entry)
        result.not_applicable.update(reasons)
        areas.append(entry["area"])
        contrasts.append(entry["contrast"])
        step(trained + (scored - trained) * (index + 1) / len(chosen), f"recording {index + 1} explained")
    facts |= {"truth_area": sum(areas) / len(areas), "truth_contrast": sum(contrasts) / len(contrasts)}
    if checked:
        step(scored, "sanity checks")
        _sanity(task, settings, material, folds, validated, chosen, result)
    return result


def _train(
    task: Task, settings: BenchmarkSettings, material: Material, folds: list[int], step: Step
) -> CrossValidation:
    config = fit_config(task, settings)
    return cross_validate(
        make_classifier,
        material.recordings,
        folds,
        config,
        lambda done, total, what: step(done / total, what),
    )


def fit_config(task: Task, settings: BenchmarkSettings) -> FitConfig:
    """Return how the classifier of a task is trained: whole recordings, early stopping on other speakers."""
    return FitConfig(
        epochs=settings.epochs,
        patience=settings.patience,
        batch=4,
        n_crops=1,
        crop_s=settings.duration_s,
        augment=AugmentConfig(noise_share=0.25, snr_low_db=30.0, snr_high_db=50.0),
        seed=task.seed,
    )


def held_out(validated: CrossValidation) -> dict[str, float]:
    """Return the out-of-fold AUC with its 95 % interval over speakers, and the accuracy."""
    logits = (validated.logits[:, 1] - validated.logits[:, 0]).double()
    # Fold models have scales of their own; calibrated probabilities make their answers comparable.
    probability = (logits / validated.temperatures[validated.folds].double()).sigmoid()
    rows = torch.stack([probability, validated.labels.double()], dim=1).numpy()
    low, high = speaker_bootstrap(rows, list(validated.speakers), lambda r: auc(r[:, 0], r[:, 1]), n=500)
    right = ((probability > 0.5) == (validated.labels == 1)).double().mean()
    return {"auc": auc(rows[:, 0], rows[:, 1]), "auc_low": low, "auc_high": high, "accuracy": float(right)}


def correct(material: Material, validated: CrossValidation) -> Iterator[Explained]:
    """Yield the pairs whose twin with the cue is classified right by the model that never heard its speaker."""
    probability = validated.probabilities
    for index, pair in enumerate(material.pairs):
        row = 2 * index
        if probability[row] > RIGHT:
            fold = int(validated.folds[row])
            yield Explained(pair, fold, validated.models[fold], float(probability[row]))


def choose(material: Material, validated: CrossValidation, n: int) -> list[Explained]:
    """Choose at most `n` of them: first recordings of all speakers before second ones, the folds in turn."""
    seen: dict[str, int] = {}
    in_fold: dict[tuple[int, int], int] = {}
    keyed = []
    for index, explained in enumerate(correct(material, validated)):
        speaker = explained.pair.with_cue.speaker
        turn = seen[speaker] = seen.get(speaker, -1) + 1
        place = in_fold[turn, explained.fold] = in_fold.get((turn, explained.fold), -1) + 1
        keyed.append(((turn, place, explained.fold, index), explained))
    return [explained for _, explained in sorted(keyed, key=lambda item: item[0])[:n]]


def score_pair(explained: Explained, settings: BenchmarkSettings, seed: int) -> tuple[dict[str, Any], dict[str, str]]:
    """Explain the twin with the cue by all recipes and score every map, the truth itself among them.

    Returns:
        The entry of `TaskResult.scores`, and the reason of every recipe that the network does not allow.
    """
    model, recording = explained.model, explained.pair.with_cue
    spec = spectrogram(recording.waveform[None], model.stft)
    place = explained.pair.truth(model.stft)
    found = explained_by_all(model, spec, settings, seed)
    target = torch.full((1,), CUE)
    maps: dict[str, Attribution] = {**found, TRUTH: Attribution(place.map[None], target, TRUTH)}
    return {
        "recording": recording.id,
        "speaker": recording.speaker,
        "fold": explained.fold,
        "p": explained.probability,
        "area": place.area,
        "contrast": place.contrast,
        "values": score_maps(model, spec, maps, place.map),
    }, dict(found.not_applicable)


def explained_by_all(model: nn.Module, spec: Spectrogram, settings: BenchmarkSettings, seed: int) -> Explanations:
    """Explain recordings by all recipes of the benchmark, for the class "with the cue"."""
    options = {name: given for name, given in OPTIONS.items() if name in settings.methods}
    return explain_all(model, spec, settings.recipes, CUE, seed=seed, options=options)


def score_maps(
    model: nn.Module, spec: Spectrogram, maps: Mapping[str, Attribution], truth: Tensor
) -> dict[str, dict[str, float]]:
    """Score maps (1, F, T) of one recording against the truth (F, T) and by faithfulness: value by metric, by recipe."""
    probability = predict(model, spec)
    values: dict[str, dict[str, float]] = {recipe: {} for recipe in maps}
    voicing: Tensor | None = None
    for signed in (False, True):
        recipes = [recipe for recipe, attribution in maps.items() if attribution.signed is signed]
        for first in range(0, len(recipes), STACK):
            stack = recipes[first : first + STACK]
            case = Case(
                model,
                repeat(spec, len(stack)),
                stacked([maps[recipe] for recipe in stack], torch.full((1,), CUE)),
                probability=probability.expand(len(stack), -1),
                truth=truth.expand(len(stack), -1, -1),
            )
            if voicing is None:
                voicing = case.voicing[:1]
            case.voicing = voicing.expand(len(stack), -1)
            for metric, scores in score(case, METRICS_OF_BENCHMARK).items():
                for recipe, value in zip(stack, scores.tolist(), strict=True):
                    values[recipe][metric] = float(value)
    return values


def _sanity(
    task: Task,
    settings: BenchmarkSettings,
    material: Material,
    folds: list[int],
    validated: CrossValidation,
    chosen: list[Explained],
    result: TaskResult,
) -> None:
    """Add the sanity checks of some recordings, and what a classifier of permuted labels has learned."""
    fold = chosen[0].fold
    permuted, area = train_on_permuted_labels(task, settings, material, folds, fold, validated.final_epochs)
    result.facts["permuted_auc"] = area
    for explained in [each for each in chosen if each.fold == fold][: settings.n_sanity]:
        spec = spectrogram(explained.pair.with_cue.waveform[None], explained.model.stft)
        truth = explained.pair.truth(explained.model.stft).map[None]
        rows = sanity_rows(explained.model, spec, truth, permuted, settings, task.seed)
        owner = {"recording": explained.pair.with_cue.id, "speaker": explained.pair.with_cue.speaker}
        result.sanity.extend({**owner, **row} for row in rows)


def train_on_permuted_labels(
    task: Task, settings: BenchmarkSettings, material: Material, folds: list[int], fold: int, epochs: int
) -> tuple[Classifier, float]:
    """Train on labels that are dealt out by chance among the recordings outside `fold` (data randomization, adebayo2018sanity).

    Returns:
        The classifier, and its AUC for the true labels of `fold`: one half is expected.
    """
    from dataclasses import replace

    recordings = material.recordings
    training = [r for r, number in zip(recordings, folds, strict=True) if number != fold]
    order = torch.randperm(len(training), generator=torch.Generator().manual_seed(task.seed + 1)).tolist()
    dealt = [replace(r, label=training[other].label) for r, other in zip(training, order, strict=True)]
    config = fit_config(task, replace(settings, epochs=epochs))
    classifier = initialized(make_classifier, config.seed)
    fit(classifier, dealt, (), config)
    tested = [r for r, number in zip(recordings, folds, strict=True) if number == fold]
    if not tested:
        raise SpeechXAIError(f"Fold {fold} of {task.id} holds no recordings.")
    logits = recording_logits(classifier, tested)
    return classifier, auc((logits[:, 1] - logits[:, 0]).numpy(), [int(r.label or 0) for r in tested])
