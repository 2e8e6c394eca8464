"""One task from its voices to its scores: train, refuse or explain, compare with the truth, check for sanity."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from speechxai.classifiers import Classifier, build, predict
from speechxai.classifiers.fit import AugmentConfig, FitConfig, fit, initialized, recording_logits
from speechxai.classifiers.validation import CrossValidation, cross_validate
from speechxai.data.cues import Truth, plant, truth
from speechxai.data.splits import deal
from speechxai.data.synthetic import draw_speaker, twins
from speechxai.data.voice_model import CUE_TASKS, UtteranceSettings
from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.evaluation.unit import repeat, stacked
from speechxai.evaluation.values import failure_of
from speechxai.explain import METHODS
from speechxai.explain.agreement import rank_correlation
from speechxai.explain.combination import evidence
from speechxai.explain.explain import Explanations, explain_all
from speechxai.explain.recipe import CONTROLS
from speechxai.metrics import Case, score
from speechxai.metrics.maps import relevance_rank
from speechxai.metrics.robustness import (
    INVARIANCES,
    N_NEIGHBORS,
    N_SEEDS,
    NEIGHBOR_RADIUS,
    changed_recording,
    likeness_after,
    mean_rank_correlation,
    neighbor,
    randomized,
    relative_change,
    ssim,
)
from speechxai.planted.settings import (
    METRICS_OF_BENCHMARK,
    MIN_AUC,
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
from speechxai.signal.audio import resample
from speechxai.signal.stft import spectrogram
from speechxai.stats import auc, auc_interval, separation
from speechxai.types import Attribution, Recording, Spectrogram, StftConfig

# The recordings of a task: twins of one voice with and without the cue, at one level, so that nothing else tells them
# apart.
LEVEL_RANGE_DB = 12.0
"""Twins share a level drawn from this range below full scale, so that neither peak nor loudness gives the cue away."""

SHORTEST_S = 1.2
"""A shorter rest of a recording makes no piece."""

UTTERANCES = {
    "breathiness": ("vowel-a", "phrase", "ddk"),
    "tremor": ("vowel-a", "vowel-i", "vowel-u"),
    "burst_weakening": ("ddk",),
    "formant_centralization": ("vowel-a", "vowel-i", "vowel-u"),
    "monopitch": ("phrase",),
}
"""What synthetic speakers say for each cue, in turn from take to take."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Twins: one voice with the cue (label 1) and without it (label 0), at one gain."""

    with_cue: Recording
    without_cue: Recording

    def truth(self, stft: StftConfig) -> Truth:
        """Return where the twins differ, on the grid of `stft`."""
        return truth(self.with_cue.waveform, self.without_cue.waveform, stft)


@dataclass(frozen=True, eq=False)
class Material:
    """The pairs of a task, and the pieces that could not carry the cue, by reason."""

    pairs: tuple[Pair, ...]
    skipped: dict[str, int]

    @property
    def recordings(self) -> list[Recording]:
        """Both twins of every pair, in turn."""
        return [recording for pair in self.pairs for recording in (pair.with_cue, pair.without_cue)]

    @property
    def speakers(self) -> list[str]:
        """The speakers, sorted."""
        return sorted({pair.with_cue.speaker for pair in self.pairs})


def make_material(task: Task, settings: BenchmarkSettings, bases: Sequence[Recording]) -> Material:
    """Make the twins of a task: the same task and settings give the same samples.

    Args:
        task: cue, severity and seed.
        settings: numbers of speakers, takes and pieces.
        bases: recordings of healthy speakers; not used for synthetic voices.

    Raises:
        SpeechXAIError: a recording that cannot be planted into.
    """
    return synthetic(task, settings) if task.material == SYNTHETIC else planted(task, settings, bases)


def seed_of(*parts: object) -> int:
    """Return a seed below 2^31 that depends on every part, the same on every machine.

    >>> seed_of("synthetic/tremor/1/0", 3) == seed_of("synthetic/tremor/1/0", 3)
    True
    """
    return zlib.crc32("|".join(map(str, parts)).encode()) & 0x7FFFFFFF


def _pair(name: str, speaker: str, sound: str, waveforms: tuple[Tensor, Tensor], seed: int, sex: str) -> Pair:
    """Bring twins (N,) to one random level and label them."""
    with_cue, without_cue = waveforms
    peak = float(max(with_cue.abs().max(), without_cue.abs().max()))
    level = 10 ** (-LEVEL_RANGE_DB * np.random.default_rng(seed).random() / 20)
    gain = level / max(peak, 1e-9)
    made = [
        Recording(
            (waveform * gain).float(), StftConfig().sample_rate, f"{name}/{kind}", speaker, label, sound, {"sex": sex}
        )
        for waveform, kind, label in ((with_cue, "with", 1), (without_cue, "without", 0))
    ]
    return Pair(made[0], made[1])


def synthetic(task: Task, settings: BenchmarkSettings) -> Material:
    """Render the twins of synthetic speakers, half of them women."""
    pairs = []
    sounds = [sound for sound in UTTERANCES[task.cue] if sound in CUE_TASKS[task.cue]]
    for index in range(settings.n_speakers):
        # Another seed's speakers are other people, and another cue's as well.
        generator = np.random.default_rng([seed_of(task.cue, task.seed), index])
        sex = "FM"[index % 2]
        name = f"{SYNTHETIC}/{task.cue}-{task.seed}-{index + 1:03d}"
        speaker = draw_speaker(name, sex, int(generator.integers(48, 82)), generator)
        for take in range(settings.n_takes):
            sound = sounds[(index + take) % len(sounds)]
            seed = seed_of(task.cue, task.seed, index, take)
            both = twins(speaker, UtteranceSettings(sound, settings.duration_s, {task.cue: task.severity}), seed)
            pairs.append(_pair(f"{name}/{sound}-{take}", name, sound, (both.with_cue, both.without_cue), seed + 1, sex))
    return Material(tuple(pairs), {})


def pieces(recording: Recording, duration_s: float) -> list[Tensor]:
    """Cut a recording into pieces (N,) of at most `duration_s`, one after the other; a rest under SHORTEST_S is left
    out."""
    length = round(duration_s * recording.sample_rate)
    shortest = SHORTEST_S * recording.sample_rate
    cut = [recording.waveform[start : start + length] for start in range(0, len(recording.waveform), length)]
    return [piece for piece in cut if len(piece) >= shortest]


def planted(task: Task, settings: BenchmarkSettings, bases: Sequence[Recording]) -> Material:
    """Plant the cue into pieces of real recordings, at each recording's own sample rate."""
    taken: dict[str, int] = {}
    pairs: list[Pair] = []
    skipped: dict[str, int] = {}
    for base in bases:
        if base.label == 1:
            raise SpeechXAIError(
                f"{base.id}: cues are planted into healthy voices only, and this one is of another class."
            )
        for number, piece in enumerate(pieces(base, settings.duration_s)):
            if taken.get(base.speaker, 0) >= settings.n_pieces:
                break
            try:
                pairs += [_planted_pair(task, base, piece, number, turn) for turn in range(settings.n_plants)]
            except NotApplicable as error:
                reason = str(error).split(". ")[0]
                skipped[reason] = skipped.get(reason, 0) + 1
                continue
            taken[base.speaker] = taken.get(base.speaker, 0) + 1
    return Material(tuple(pairs), skipped)


def _planted_pair(task: Task, base: Recording, piece: Tensor, number: int, turn: int) -> Pair:
    """Plant the cue into a piece (N,), at another place every turn. Raises NotApplicable where the piece cannot carry
    it."""
    seed = seed_of(task.cue, task.seed, base.id, number, turn)
    changed, _ = plant(task.cue, piece, base.sample_rate, seed=seed, severity=task.severity)
    with_cue, without_cue = (
        torch.from_numpy(resample(each.double().numpy(), base.sample_rate, StftConfig().sample_rate))
        for each in (changed, piece)
    )
    sex = str(base.metadata.get("sex", "unknown"))
    return _pair(f"{base.id}/{number}-{turn}", base.speaker, base.task, (with_cue, without_cue), seed + 1, sex)


def folds_of(material: Material, n_folds: int, seed: int) -> list[int]:
    """Fold of every recording of `material.recordings`: speakers dealt out like cards, women and men apart.

    Raises:
        SpeechXAIError: fewer than 3 speakers, so that nobody is left to train, stop and test on.
    """
    speakers = material.speakers
    if len(speakers) < 3:
        raise SpeechXAIError(f"Speaker-disjoint folds need at least 3 speakers. Got {len(speakers)}.")
    sex_of = {pair.with_cue.speaker: str(pair.with_cue.metadata.get("sex")) for pair in material.pairs}
    chance = dict(zip(speakers, np.random.default_rng(seed).random(len(speakers)), strict=True))
    ordered = sorted(speakers, key=lambda speaker: (sex_of[speaker], chance[speaker]))
    home = deal(ordered, min(n_folds, len(speakers)))
    return [home[recording.speaker] for recording in material.recordings]


def level_confounds(material: Material) -> dict[str, float]:
    """How well level alone separates the classes: direction-free AUC of the RMS and of the peak, 0.5 to 1."""
    recordings = material.recordings
    labels = [int(recording.label or 0) for recording in recordings]
    found = {}
    for name, values in (
        ("rms_auc", [float(r.waveform.square().mean().sqrt()) for r in recordings]),
        ("peak_auc", [float(r.waveform.abs().max()) for r in recordings]),
    ):
        found[name] = separation(values, labels)
    return found


# Sanity checks of methods: does a map follow what the network learned, and nothing but that? With limits that say who
# fails.
Maps = dict[str, Tensor]
Explainers = Callable[[nn.Module, Spectrogram, int], Maps]
"""Explains a recording by several methods: `(model, spec, seed) -> map (B, F, T) by method`."""

CHECKS: Mapping[str, str] = {
    "randomized_all": (
        "rank correlation with the map of the network with random weights in every layer; a map of what was learned"
        " loses it"
    ),
    "randomized_all_ssim": "the same by structural similarity",
    "cascading": "mean rank correlation while layers are randomized from the last to the first",
    "cascading_ssim": "the same by structural similarity",
    "independent": "mean rank correlation when one group of layers at a time is randomized",
    "independent_ssim": "the same by structural similarity",
    "permuted_labels": "rank correlation with the map of a network that was trained on labels dealt out by chance",
    "permuted_relevance_rank": "how well that network's map points at the truth, less the truth's share of the bins",
    "max_sensitivity": "largest relative change of the map under 2 % noise",
    "invariance_level": "rank correlation with the map of the same voice at half the level",
    "invariance_polarity": "rank correlation with the map of the waveform turned upside down",
    "invariance_shift": "rank correlation with the map of the same voice 10 ms later",
    "seed_stability": "mean rank correlation over 3 seeds",
}
"""What is measured, and in which direction it speaks."""

LIMITS: Mapping[str, tuple[str, float]] = {
    "randomized_all": ("above", 0.9),
    "permuted_labels": ("above", 0.9),
    "invariance_polarity": ("below", 0.9),
    "invariance_shift": ("below", 0.3),
    "seed_stability": ("below", 0.5),
}
"""A method fails a check when its mean is above or below this limit. They catch methods that are broken; a method
within
them may still be poor, so the values are printed beside."""


def explainers(methods: tuple[str, ...], target: int = 1) -> Explainers:
    """Return the function that explains by registered methods, each original pass shared; methods not applicable are
    left out."""
    options = {name: given for name, given in OPTIONS.items() if name in methods}

    def explain(model: nn.Module, spec: Spectrogram, seed: int) -> Maps:
        found = explain_all(model, spec, methods, target, seed=seed, options=options)
        return {name: attribution.values for name, attribution in found.items()}

    return explain


def sanity_rows(
    model: nn.Module, spec: Spectrogram, truth: Tensor, permuted: nn.Module, settings: BenchmarkSettings, seed: int
) -> list[dict[str, Any]]:
    """Check the methods and controls of the benchmark on one recording: rows with recipe, check and value.

    Args:
        model: a classifier that learned the task.
        spec: one recording, (1, F, T).
        truth: where its cue is, (1, F, T).
        permuted: a classifier trained on permuted labels.
        settings: methods and stages.
        seed: of stochastic methods.
    """
    methods = (*settings.methods, *CONTROLS)
    stochastic = {name for name in methods if METHODS.facts(name)["stochastic"]}
    found = check(explainers(methods), model, spec, truth, permuted, settings.n_stages)
    for name, value in seed_stability_of(explainers(tuple(stochastic)), model, spec, seed).items():
        found[name]["seed_stability"] = value
    return [
        {"recipe": name, "check": key, "value": value}
        for name, checks in found.items()
        for key, value in checks.items()
    ]


def check(
    explain: Explainers, model: nn.Module, spec: Spectrogram, truth: Tensor, permuted: nn.Module, n_stages: int
) -> dict[str, dict[str, float]]:
    """Value by check, by method, for one recording; see CHECKS. The network is never touched.

    Args:
        explain: makes the maps of all methods under test.
        model: a classifier that learned the task.
        spec: one recording, (1, F, T).
        truth: where its cue is, (1, F, T).
        permuted: a classifier trained on permuted labels.
        n_stages: stages of the weight randomization.
    """
    maps = explain(model, spec, 0)
    found: dict[str, dict[str, float]] = {name: {} for name in maps}
    for mode in ("cascading", "independent"):
        ranks: dict[str, list[float]] = {name: [] for name in maps}
        shapes: dict[str, list[float]] = {name: [] for name in maps}
        for _, changed in randomized(model, mode, n_stages):
            others = explain(changed, spec, 0)
            for name, values in maps.items():
                ranks[name].append(float(rank_correlation(values, others[name])))
                shapes[name].append(float(ssim(values, others[name])))
        for name in maps:
            if mode == "cascading":  # its last stage is the network with random weights throughout
                found[name] |= {"randomized_all": ranks[name][-1], "randomized_all_ssim": shapes[name][-1]}
            found[name] |= {mode: _mean(ranks[name]), f"{mode}_ssim": _mean(shapes[name])}
    others = explain(permuted, spec, 0)
    for name, values in maps.items():
        found[name]["permuted_labels"] = float(rank_correlation(values, others[name]))
        found[name]["permuted_relevance_rank"] = _points(permuted, spec, others[name], truth)
    near = [explain(model, neighbor(spec, NEIGHBOR_RADIUS, seed), 0) for seed in range(N_NEIGHBORS)]
    for name, values in maps.items():
        found[name]["max_sensitivity"] = max(float(relative_change(values, other[name])) for other in near)
    for change in INVARIANCES:
        others = explain(model, changed_recording(spec, change), 0)
        for name, values in maps.items():
            found[name][f"invariance_{change}"] = float(likeness_after(change, values, others[name], spec))
    return found


def seed_stability_of(explain: Explainers, model: nn.Module, spec: Spectrogram, seed: int) -> dict[str, float]:
    """Mean rank correlation of the maps of three seeds, by method."""
    drawn = [explain(model, spec, seed + index) for index in range(N_SEEDS)]
    return {name: float(mean_rank_correlation([maps[name] for maps in drawn])) for name in drawn[0]}


def failed_checks(values: Mapping[str, float]) -> list[str]:
    """Return the checks whose limit a method's mean values break, in the order of LIMITS; NaN breaks nothing."""
    broken = []
    for name, (side, limit) in LIMITS.items():
        value = values.get(name, float("nan"))
        if (side == "above" and value > limit) or (side == "below" and value < limit):
            broken.append(name)
    return broken


def _points(model: nn.Module, spec: Spectrogram, values: Tensor, truth: Tensor) -> float:
    target = torch.ones(1, dtype=torch.int64)
    case = Case(model, spec, Attribution(evidence(values), target, "checked"), truth=truth)
    return float(relevance_rank(case)) - float((truth >= 0.5).double().mean())


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


# One task from its voices to its scores: train, refuse or explain, compare with the truth, check for sanity.
STACK = 16
"""Maps of one recording that are tested at once."""
CUE = 1
"""The class that is explained: the cue is there."""
RIGHT = 0.5
"""A recording with the cue counts as classified right above this probability."""
SHARES = {False: (0.55, 1.0), True: (0.3, 0.6)}
"""Where training and explaining end, roughly, as shares of a task's time, without and with sanity checks; for the
progress alone."""


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
        "material": task.material,
        "cue": task.cue,
        "severity": task.severity,
        "seed": task.seed,
        "group": task.group,
        "n_pairs": len(material.pairs),
        "n_speakers": len(material.speakers),
        "skipped": material.skipped,
        "auc": None,
        "auc_low": None,
        "auc_high": None,
    }
    if len(material.speakers) < 3:
        facts["excluded"] = f"{len(material.speakers)} speakers could carry the cue, at least 3 are needed"
        return TaskResult(task.id, facts)
    facts |= level_confounds(material)
    folds = folds_of(material, settings.n_folds, task.seed)
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
        intercept=False,  # every voice is there with and without the cue
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
        restarts=0,  # a task that is not learned is excluded, and said so
    )


def held_out(validated: CrossValidation) -> dict[str, float]:
    """Return the out-of-fold AUC with its 95 % interval over speakers, and the accuracy."""
    # Fold models have scales of their own; calibrated probabilities make their answers comparable.
    calibrated = validated.calibrated.double()
    probability = (calibrated[:, 1] - calibrated[:, 0]).sigmoid()
    scores, labels = probability.numpy(), validated.labels.numpy()
    low, high = auc_interval(scores, labels, list(validated.speakers), n=500)
    right = ((probability > 0.5) == (validated.labels == 1)).double().mean()
    return {"auc": auc(scores, labels), "auc_low": low, "auc_high": high, "accuracy": float(right)}


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
    """Score maps (1, F, T) of one recording against the truth (F, T) and by faithfulness: value by metric, by
    recipe."""
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
    """Train on labels that are dealt out by chance among the recordings outside `fold` (data randomization,
    adebayo2018sanity).

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


def run(
    settings: BenchmarkSettings,
    bases: Mapping[str, Sequence[Recording]],
    sink: BenchmarkSink,
    progress: Callable[[BenchmarkProgress], None] | None = None,
) -> None:
    """Compute every task that the sink has not yet; what goes wrong with one is given to the sink, and the others go
    on.

    Args:
        settings: what is computed.
        bases: recordings of healthy speakers by material; "synthetic" needs none.
        sink: claims tasks and takes results.
        progress: called as a task advances.

    Raises:
        SpeechXAIError: a material without recordings.
    """
    from speechxai.planted.task import compute

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
            started = time.perf_counter()
            try:
                result = compute(
                    task, settings, bases.get(task.material, ()), lambda share, what: tell("running", share, what)
                )
            except Exception as error:
                failure = failure_of(error, task.id, "benchmark")
                sink.fail(failure)
                tell("failed", 1.0, failure.message)
                continue
            result.facts["seconds"] = round(time.perf_counter() - started, 2)
            sink.keep(result)
            tell("done", 1.0, verdict(result))


def verdict(result: TaskResult) -> str:
    """Say in a line what became of a task."""
    area = result.facts.get("auc")
    learned = "no classifier" if area is None else f"held-out AUC {area:.3f}"
    if result.facts["excluded"]:
        return f"{learned}: excluded, {result.facts['excluded']}"
    return f"{learned}, {len(result.scores)} recordings explained"
