"""One task from its voices to its scores: train, refuse or explain, compare with the truth, check for sanity."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from speechxai.classifiers import Classifier, predict
from speechxai.classifiers.fit import AugmentConfig, FitConfig, fit, initialized, recording_logits
from speechxai.classifiers.network import place_of
from speechxai.classifiers.validation import CrossValidation, cross_validate
from speechxai.data.cues import truth_map
from speechxai.errors import SpeechXAIError
from speechxai.evaluation.unit import repeat, stacked
from speechxai.evaluation.values import failure_of
from speechxai.explain.explain import explain_all
from speechxai.explain.recipe import CONTROLS
from speechxai.metrics import Case, score
from speechxai.metrics.maps import rank_share
from speechxai.planted import ruler
from speechxai.planted.material import Material, Pair, folds_of, giveaways, make_material, seed_of
from speechxai.planted.networks import Network, open_network
from speechxai.planted.sanity import (
    N_VOICES,
    built_cases,
    built_checks,
    explainers,
    mechanism_checks,
    mechanisms,
    rows_of,
    sanity_rows,
)
from speechxai.planted.settings import (
    CONTRAST,
    LEARNED,
    METRICS_OF_BENCHMARK,
    MIN_AUC,
    MIN_TWINS,
    OPTIONS,
    SYNTHETIC,
    TRUTH,
    BenchmarkProgress,
    BenchmarkSettings,
    BenchmarkSink,
    Step,
    Task,
    TaskResult,
)
from speechxai.signal.stft import spectrogram
from speechxai.stats import auc, bootstrap
from speechxai.types import Array, Attribution, Recording, Spectrogram, StftConfig

STACK = 16
"""Maps of one recording that are tested at once."""
SHARES = {False: (0.4, 1.0), True: (0.25, 0.6)}
"""Where training and explaining end, roughly, as shares of a task's time, without and with sanity checks; for the
progress alone."""
OLD_RULER = "relevance_rank | version 1.0"
"""The truth of the first version of the benchmark: log1p magnitudes, smoothed, 30 % of the largest difference."""
DIGITS = 4
"""Significant digits of a stored score."""


@dataclass(frozen=True, eq=False)
class Explained:
    """A pair whose twins are explained by the model of its fold, which never heard the speaker."""

    pair: Pair
    fold: int
    model: Classifier
    margins: tuple[float, float]
    """Logit margin for "the cue is there" of the twin without and of the twin with it."""


def compute(
    task: Task,
    settings: BenchmarkSettings,
    bases: Sequence[Recording],
    step: Step,
    network: Network | None = None,
) -> TaskResult:
    """Compute a task.

    Args:
        task: what is learned.
        settings: how much of everything.
        bases: recordings of healthy speakers, where the material is real.
        step: called as the task advances.
        network: what learns it; without, what the settings name.

    Raises:
        SpeechXAIError: material that cannot be made or learned from.
    """
    network = network or open_network(settings.network)
    material = make_material(task, settings, bases)
    facts: dict[str, Any] = {
        "material": task.material,
        "cue": task.cue,
        "severity": task.severity,
        "seed": task.seed,
        "group": task.group,
        "n_pairs": len(material.pairs),
        "n_speakers": len(material.speakers),
        "skipped": dict(material.skipped),
        "auc": None,
        "auc_low": None,
        "auc_high": None,
    }
    if len(material.speakers) < 3:
        facts["excluded"] = f"{len(material.speakers)} speakers could carry the cue, at least 3 are needed"
        return TaskResult(task.id, facts)
    folds = folds_of(material, settings.n_folds, task.seed)
    facts |= giveaways(material, folds)
    built: list[dict[str, Any]] = []
    if task == settings.tasks()[0] and settings.n_sanity > 0:
        # A built network knows nothing of the task: once is enough, whatever becomes of the task.
        explain = explainers((*settings.methods, *CONTROLS))
        found = built_checks(explain, built_cases(StftConfig(), settings.duration_s))
        voices = mechanisms(StftConfig(), settings.duration_s, min(N_VOICES, settings.n_sanity))
        for name, rows in mechanism_checks(explain, voices).items():
            found.setdefault(name, {}).update(rows)
        built = [{"recording": "built", "speaker": "built", **row} for row in rows_of(found)]
    checked = settings.n_sanity > 0 and task.seed == settings.seeds[0]
    trained, scored = SHARES[checked]
    validated = _train(task, settings, network, material, folds, lambda share, what: step(trained * share, what))
    facts |= held_out(validated)
    facts["n_epochs"] = [len(history.epochs) for history in validated.histories]
    facts["best_epochs"] = [history.best_epoch + 1 for history in validated.histories]
    # What every recording was answered, so that another rule of refusal needs no training.
    facts["answers"] = [
        [name, speaker, fold, rounded(margin)]
        for name, speaker, fold, margin in zip(
            validated.recordings, validated.speakers, validated.folds.tolist(), margins(validated), strict=True
        )
    ]
    facts["capped"] = sum(bool(history.epochs) and not history.stopped_early for history in validated.histories)
    facts["verdict"] = judged(facts["auc"], facts["twins_right"])
    facts["excluded"] = (
        ""
        if facts["verdict"]
        else f"AUC within folds {facts['auc']:.3f} is under {MIN_AUC:.2f}, and {100 * facts['twins_right']:.0f} % of"
        f" the twins are in the right order, under {100 * MIN_TWINS:.0f} %"
    )
    usable = [] if facts["excluded"] else list(right(material, validated, facts["verdict"] == LEARNED))
    chosen = choose(usable, settings.n_explained, task.seed)
    facts["n_correct"] = len(usable)
    if not facts["excluded"] and not chosen:
        facts["excluded"] = "no pair of twins is classified right"
    result = TaskResult(task.id, facts, sanity=built)
    if facts["excluded"]:
        return result
    for index, explained in enumerate(chosen):
        entry, reasons = score_pair(explained, settings.recipes_of(task), task)
        result.scores.append(entry)
        result.not_applicable.update(reasons)
        step(trained + (scored - trained) * (index + 1) / len(chosen), f"pair {index + 1} explained")
    if checked:
        step(scored, "sanity checks")
        _sanity(task, settings, network, material, folds, validated, chosen, result)
    return result


def _train(
    task: Task, settings: BenchmarkSettings, network: Network, material: Material, folds: list[int], step: Step
) -> CrossValidation:
    config = replace(fit_config(task, settings), learning_rate=network.learning_rate)
    return cross_validate(
        partial(network.placed, task.seed),
        material.recordings,
        folds,
        config,
        lambda done, total, what: step(done / total, what),
        # Few voices that are told apart without an error ask for an infinite slope: scores would measure saturation.
        calibrate=False,
    )


def fit_config(task: Task, settings: BenchmarkSettings) -> FitConfig:
    """Return how the classifier of a task is trained: whole recordings, early stopping on other speakers."""
    return FitConfig(
        epochs=settings.epochs,
        patience=settings.patience,
        least_epochs=settings.least_epochs,
        batch=4,
        n_crops=1,
        crop_s=settings.duration_s,
        augment=AugmentConfig(noise_share=0.25, snr_low_db=30.0, snr_high_db=50.0),
        seed=task.seed,
        restarts=0,  # a task that is not learned is excluded, and said so
    )


def margins(validated: CrossValidation) -> Array:
    """Logit margins (N,) for "the cue is there" of recordings that the network never heard."""
    logits = validated.logits.double()
    return np.asarray((logits[:, 1] - logits[:, 0]).numpy())


def auc_within(values: Array, labels: Array, folds: Array) -> float:
    """Mean over folds of the AUC within the fold; folds with one class are left out."""
    areas = [auc(values[folds == fold], labels[folds == fold]) for fold in np.unique(folds)]
    known = [area for area in areas if area == area]
    return float(np.mean(known)) if known else float("nan")


def held_out(validated: CrossValidation) -> dict[str, float]:
    """What was learned, of out-of-fold logits: `auc` within folds with its 95 % interval over speakers, `auc_pooled`
    over all folds at once, `twins_right` (share of twins in the right order), `accuracy` at a margin of 0."""
    values, labels, folds = margins(validated), validated.labels.numpy(), validated.folds.numpy()
    names, owner = np.unique(np.asarray(validated.speakers), return_inverse=True)
    rows = [np.flatnonzero(owner == index) for index in range(len(names))]

    def drawn(speakers: Array) -> float:
        picked = np.concatenate([rows[index] for index in speakers])
        return auc_within(values[picked], labels[picked], folds[picked])

    low, high = bootstrap(drawn, len(names), n=300)
    return {
        "auc": auc_within(values, labels, folds),
        "auc_low": low,
        "auc_high": high,
        "auc_pooled": auc(values, labels),
        "twins_right": float((values[0::2] > values[1::2]).mean()),
        "accuracy": float(((values > 0) == (labels == 1)).mean()),
    }


def judged(area: float, twins_right: float) -> str:
    """LEARNED, CONTRAST, or "" for a task that is excluded."""
    if area >= MIN_AUC:
        return LEARNED
    return CONTRAST if twins_right >= MIN_TWINS else ""


def right(material: Material, validated: CrossValidation, both: bool) -> Iterator[Explained]:
    """Yield the pairs whose twins are told apart by the network that never heard their speaker: `both` classified
    right, or the one with the cue above the other."""
    values = margins(validated)
    for index, pair in enumerate(material.pairs):
        found, lacking = float(values[2 * index]), float(values[2 * index + 1])
        if (found > 0 > lacking) if both else found > lacking:
            fold = int(validated.folds[2 * index])
            yield Explained(pair, fold, validated.models[fold], (lacking, found))


def choose(usable: Sequence[Explained], n: int, seed: int) -> list[Explained]:
    """Choose at most `n`: the folds in turn, speakers in an order drawn by the seed, first pairs of all speakers before
    second ones."""
    order = np.random.default_rng(seed).permutation(len(usable))
    seen: dict[str, int] = {}
    in_fold: dict[tuple[int, int], int] = {}
    keyed = []
    for index in order:
        explained = usable[index]
        speaker = explained.pair.with_cue.speaker
        turn = seen[speaker] = seen.get(speaker, -1) + 1
        place = in_fold[turn, explained.fold] = in_fold.get((turn, explained.fold), -1) + 1
        keyed.append(((turn, place, explained.fold), explained))
    return [explained for _, explained in sorted(keyed, key=lambda item: item[0])[:n]]


def score_pair(explained: Explained, recipes: Sequence[str], task: Task) -> tuple[dict[str, Any], dict[str, str]]:
    """Explain both twins by all recipes, each for the class that it is of, and score every map.

    Of the twin with the cue the map for "it is there" is held against where energy was added, of the twin without it
    the map for "it is not" against where the cue takes energy away: there it stands, and speaks.

    Returns:
        The entry of `TaskResult.scores`, and the reason of every recipe that the network does not allow. Metrics of the
        twin without the cue end in " | without".
    """
    model, pair = explained.model, explained.pair
    difference = pair.difference_db(model.stft)
    values: dict[str, dict[str, float]] = {}
    areas: dict[str, float] = {}
    reasons: dict[str, str] = {}
    old = truth_map(pair.with_cue.waveform, pair.without_cue.waveform, model.stft) > 0.5
    for label, recording in enumerate(pair.twins):
        spec = spectrogram(recording.waveform[None], model.stft)
        found = explained_by_all(model, spec, recipes, label, seed_of(task.seed, pair.with_cue.id))
        reasons |= found.not_applicable
        maps = {recipe: (made.values[0].cpu(), made.signed) for recipe, made in found.items()}
        scores, sizes = ruler.measure(maps, difference, model.stft, with_cue=label == 1)
        scores[TRUTH] = ruler.measure_truth(difference, model.stft, with_cue=label == 1)
        areas |= sizes
        if label == 1 and pair.bystander is not None:
            louder = ruler.difference_db(recording.waveform, recording.waveform - pair.bystander, model.stft)
            beside, areas["bystander"] = ruler.measure_bystander(maps, difference, louder)
            for recipe, marked in beside.items():
                scores[recipe] |= marked
        faithful = score_maps(model, spec, found, label)
        ending = "" if label == 1 else " | without"
        for recipe in scores:
            mine = values.setdefault(recipe, {})
            mine |= scores[recipe]
            mine |= {f"{metric}{ending}": value for metric, value in faithful.get(recipe, {}).items()}
        if label == 1 and old.any():
            for recipe, (each, signed) in maps.items():
                read = ruler.read(each[None], "positive" if signed else "absolute", (1, 1))
                values[recipe][OLD_RULER] = float(rank_share(read, old[None]))
    metrics = list(dict.fromkeys(name for each in values.values() for name in each))
    return {
        "recording": pair.with_cue.id,
        "speaker": pair.with_cue.speaker,
        "fold": explained.fold,
        "margins": [rounded(each) for each in explained.margins],
        "areas": {name: rounded(value) for name, value in areas.items()},
        "old_area": rounded(float(old.double().mean())),
        "metrics": metrics,
        "values": {
            recipe: [rounded(each.get(name, float("nan"))) for name in metrics] for recipe, each in values.items()
        },
    }, reasons


def rounded(value: float) -> float:
    """A number with DIGITS significant digits."""
    return float(f"{value:.{DIGITS}g}")


def explained_by_all(model: nn.Module, spec: Spectrogram, recipes: Sequence[str], target: int, seed: int) -> Any:
    """Explain a recording by all recipes of the benchmark for one class, where the network lies."""
    options = {name: given for name, given in OPTIONS.items() if any(name in recipe for recipe in recipes)}
    return explain_all(model, spec.to(place_of(model)), recipes, target, seed=seed, options=options)


def score_maps(
    model: nn.Module, spec: Spectrogram, maps: Mapping[str, Attribution], target: int
) -> dict[str, dict[str, float]]:
    """Score maps (1, F, T) of one recording by what needs no truth: value by metric, by recipe."""
    spec = spec.to(place_of(model))
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
                stacked([maps[recipe] for recipe in stack], torch.full((1,), target, device=probability.device)),
                probability=probability.expand(len(stack), -1),
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
    network: Network,
    material: Material,
    folds: list[int],
    validated: CrossValidation,
    chosen: list[Explained],
    result: TaskResult,
) -> None:
    """Add the sanity checks of some recordings, and what classifiers of permuted labels have learned. Where such are
    trained, the fold's network is trained once more on its own labels, from another seed."""
    fold = chosen[0].fold
    permuted, areas, learned = [], [], []
    for draw in range(settings.n_permuted):
        mixed, area, accuracy = train_on_permuted_labels(
            task, settings, network, material, folds, fold, validated.final_epochs, draw
        )
        permuted.append(mixed)
        areas.append(area)
        learned.append(accuracy)
    result.facts.update(permuted_auc=areas, permuted_learned=learned, sanity_failures=[])
    retrained = None
    if permuted:
        retrained, result.facts["retrained_auc"] = train_again(task, settings, network, material, folds, fold)
        if result.facts["retrained_auc"] < min(MIN_AUC, result.facts["auc"]):
            retrained = None  # it did not learn the task: its map says nothing of the task's
    for explained in [each for each in chosen if each.fold == fold][: settings.n_sanity]:
        spec = spectrogram(explained.pair.with_cue.waveform[None], explained.model.stft)
        difference = explained.pair.difference_db(explained.model.stft)
        truth = ruler.inside(difference, "added", ruler.THRESHOLDS_DB[0])
        owner = {"recording": explained.pair.with_cue.id, "speaker": explained.pair.with_cue.speaker}
        try:
            rows = sanity_rows(explained.model, spec, truth, permuted, settings, task.seed, retrained)
        except SpeechXAIError as error:  # what was trained and scored is not thrown away
            result.facts["sanity_failures"].append(f"{owner['recording']}: {error}")
            continue
        result.sanity.extend({**owner, **row} for row in rows)


def train_again(
    task: Task, settings: BenchmarkSettings, network: Network, material: Material, folds: list[int], fold: int
) -> tuple[Classifier, float]:
    """Train the network of a fold once more as it was, on the same recordings from another seed: other initial weights
    where a seed draws them, another order, other folds within a head's fit.

    Returns:
        The classifier, and its AUC in the fold that it never heard.
    """
    seed, stops = seed_of("again", task.seed), (fold + 1) % settings.n_folds
    config = replace(fit_config(task, settings), seed=seed, learning_rate=network.learning_rate)
    classifier = initialized(partial(network.placed, seed), seed)
    parted = list(zip(material.recordings, folds, strict=True))
    training = [r for r, number in parted if number not in (fold, stops)]
    fit(classifier, training, [r for r, number in parted if number == stops], config)
    tested = [r for r, number in parted if number == fold]
    logits = recording_logits(classifier, tested)
    return classifier, auc((logits[:, 1] - logits[:, 0]).numpy(), [int(r.label or 0) for r in tested])


def permuted_labels(labels: Sequence[int], seed: int) -> list[int]:
    """Labels dealt anew so that they know nothing: of each class half keep theirs, the others change.

    A shuffle would leave the new labels correlated with the old ones by chance; this one never does.

    >>> permuted_labels([0, 0, 1, 1], seed=0).count(1)
    2
    """
    generator = np.random.default_rng(seed)
    dealt = np.array(labels)
    for label in np.unique(dealt):
        members = np.flatnonzero(np.array(labels) == label)
        dealt[generator.permutation(members)[: len(members) // 2]] = 1 - label
    return [int(each) for each in dealt]


def train_on_permuted_labels(
    task: Task,
    settings: BenchmarkSettings,
    network: Network,
    material: Material,
    folds: list[int],
    fold: int,
    epochs: int,
    draw: int = 0,
) -> tuple[Classifier, float, float]:
    """Train on labels that are dealt out by chance among the recordings outside `fold` (data randomization,
    adebayo2018sanity), from other initial weights than the task's networks.

    Returns:
        The classifier; its AUC for the true labels of `fold`, one half is expected; and the share of the dealt labels
        that it learned.
    """
    recordings = material.recordings
    training = [r for r, number in zip(recordings, folds, strict=True) if number != fold]
    dealt = permuted_labels([int(r.label or 0) for r in training], seed_of("permuted", task.seed, draw))
    mixed = [replace(r, label=label) for r, label in zip(training, dealt, strict=True)]
    config = fit_config(task, replace(settings, epochs=max(epochs, settings.least_epochs)))
    config = replace(config, seed=seed_of("permuted", task.seed, draw), learning_rate=network.learning_rate)
    classifier = initialized(partial(network.placed, config.seed), config.seed)
    fit(classifier, mixed, (), config)
    tested = [r for r, number in zip(recordings, folds, strict=True) if number == fold]
    if not tested:
        raise SpeechXAIError(f"Fold {fold} of {task.id} holds no recordings.")
    logits = recording_logits(classifier, tested)
    answered = recording_logits(classifier, mixed).argmax(dim=1).tolist()
    learned = float(np.mean([answer == label for answer, label in zip(answered, dealt, strict=True)]))
    return classifier, auc((logits[:, 1] - logits[:, 0]).numpy(), [int(r.label or 0) for r in tested]), learned


def run(
    settings: BenchmarkSettings,
    bases: Mapping[str, Sequence[Recording]],
    sink: BenchmarkSink,
    progress: Callable[[BenchmarkProgress], None] | None = None,
    network: Network | None = None,
) -> None:
    """Compute every task that the sink has not yet; what goes wrong with one is given to the sink, and the others go
    on.

    Args:
        settings: what is computed.
        bases: recordings of healthy speakers by material; "synthetic" needs none.
        sink: claims tasks and takes results.
        progress: called as a task advances.
        network: what learns the tasks; without, what the settings name.

    Raises:
        SpeechXAIError: a material without recordings, a network that is not there.
    """
    network = network or open_network(settings.network)
    for material in settings.materials:
        if material != SYNTHETIC and not bases.get(material):
            raise SpeechXAIError(f"The material '{material}' has no recordings of healthy speakers.")
    tasks = settings.tasks()
    for index, task in enumerate(tasks):

        def tell(state: str, share: float, message: str = "", *, task: Task = task, index: int = index) -> None:
            if progress is not None:
                progress(BenchmarkProgress(task.id, state, index, len(tasks), share, message))

        with sink.claim(task.id) as ours:
            if not ours:
                tell("skipped", 1.0)
                continue
            started, cpu = time.perf_counter(), time.process_time()
            try:
                voices = bases.get(task.material, ())
                result = compute(task, settings, voices, lambda share, what: tell("running", share, what), network)
            except Exception as error:
                failure = failure_of(error, task.id, "benchmark")
                sink.fail(failure)
                tell("failed", 1.0, failure.message)
                continue
            result.facts["seconds"] = round(time.perf_counter() - started, 2)
            result.facts["cpu_s"] = round(time.process_time() - cpu, 2)  # what it costs on a busy machine as well
            sink.keep(result)
            tell("done", 1.0, verdict(result))


def verdict(result: TaskResult) -> str:
    """Say in a line what became of a task."""
    facts = result.facts
    if facts.get("auc") is None:
        return f"no classifier: excluded, {facts['excluded']}"
    said = f"AUC within folds {facts['auc']:.3f}, {100 * facts['twins_right']:.0f} % of the twins right"
    if facts["excluded"]:
        return f"{said}: excluded, {facts['excluded']}"
    return f"{said}: {facts['verdict']}, {len(result.scores)} pairs explained"
