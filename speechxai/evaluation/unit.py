"""One recording and all its explanations: predicted once, explained once, tested in stacks."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from speechxai.classifiers.network import answered, as_network, place_of, said, stated
from speechxai.classifiers.precision import at_precision
from speechxai.errors import SpeechXAIError
from speechxai.evaluation.values import PROTOCOLS, SAID, TRUE, EvaluateSettings, Job, UnitResult
from speechxai.explain import METHODS, OriginalPass, count_passes
from speechxai.explain.agreement import STRONGEST, average_ranks, n_top, strongest
from speechxai.explain.combination import evidence
from speechxai.explain.explain import Explanations, explain_all
from speechxai.explain.recipe import parse
from speechxai.metrics import Case, score
from speechxai.signal.stft import spectrogram
from speechxai.types import Array, Attribution, Recording, Spectrogram
from speechxai.units.relevance import kept, relevance
from speechxai.units.tiers import Units

N_TENSORS = 8
"""Tensors of a stack's size that testing it holds at once: maps, masks, masked magnitudes and what metrics derive."""


@PROTOCOLS.register()
def standard(job: Job, settings: EvaluateSettings, stages: list[str]) -> UnitResult:
    """Score all recipes of one recording.

    Args:
        job: the recording and its classifier.
        settings: what is computed.
        stages: the name of each step is appended when it begins, so that an error can say where it happened.

    Raises:
        SpeechXAIError: a recording, map or network that cannot be used.
    """
    model, judge = at_precision(job.model.eval(), settings.precision)
    if settings.masked_batch is not None:
        judge = copy.copy(judge)
        judge.max_batch = settings.masked_batch  # type: ignore[assignment]
    recording = job.recording
    device = place_of(model)
    clock = _Clock()
    stages.append("predict")
    hears_hz = model.stft.sample_rate  # type: ignore[union-attr]
    if recording.sample_rate != hears_hz:
        raise SpeechXAIError(
            f"{recording.id}: the recording has {recording.sample_rate} Hz, the network hears {hears_hz} Hz."
        )
    spec = spectrogram(recording.waveform[None].to(device), model.stft)  # type: ignore[arg-type]
    if job.units is not None:
        spec = replace(spec, spans=(job.units.spans,))
    with count_passes(model, spec, judge) as passes:
        clock.lap("spectrogram_s")
        original = OriginalPass(model, spec)
        probability = said(model, answered(original.logits(), recording.id))
        target = probability.argmax(dim=1)
        clock.lap("forward_pass_s")
        stages.append("explain")
        attributions = explain_all_but_broken(original, spec, target, settings)
        original.release()
        clock.lap("explain_s")
        stages.append("score")
        values, undefined = score_all(judge, spec, probability, attributions, settings)
        clock.lap("score_s")
    stages.append("agreement")
    agreement = agreement_of_methods(attributions, kind=settings.evidence) if settings.agreement else {}
    clock.lap("agreement_s")
    signs = {}
    if settings.signs:
        from speechxai.signs import cohort
        from speechxai.signs.whatif import what_if

        stages.append("signs")
        found = what_if(
            model, recording, settings.signs, normalize=job.normalize, offset=job.offset, seed=settings.seed
        )
        signs = cohort.kept(found)
        clock.lap("signs_s")
    units = {}
    if job.units is not None:
        stages.append("units")
        units = by_unit(job.units, spec, attributions, settings)
    names = as_network(model).class_names
    facts: dict[str, Any] = {
        "speaker": recording.speaker,
        "label": recording.label,
        "predicted": int(target[0]),
        **_answer(names, probability[0], recording, stated(model, "unit", "")),
        "duration_s": recording.duration_s,
        "n_frames": spec.magnitude.shape[-1],
        **job.facts,
        **clock.laps,
        "n_forward": round(passes.forward, 3),
        "n_backward": round(passes.backward, 3),
    }
    maps = {r: half(a.values[0]) for r, a in attributions.items()} if settings.keep_maps else {}
    refused = {**attributions.not_applicable, **undefined}
    return UnitResult(recording.id, facts, values, agreement, refused, maps, signs, units)


def by_unit(
    units: Units, spec: Spectrogram, attributions: Mapping[str, Attribution], settings: EvaluateSettings
) -> dict[str, dict[str, list[float]]]:
    """What is kept of the evidence by unit of one recording, by recipe; a map without any has none."""
    energy = spec.magnitude[0].cpu().numpy()
    found = {}
    for recipe, attribution in attributions.items():
        kind = settings.evidence or ("positive" if attribution.signed else "absolute")
        mask = evidence(attribution.values, cast(Any, kind))[0].cpu().numpy()
        found[recipe] = kept(relevance(units, mask, energy, spec.stft.frame_rate_hz))
    return found


def _answer(names: Sequence[str], probability: Tensor, recording: Recording, unit: str) -> dict[str, float]:
    """What the model says, by column: probabilities of its classes, or its score beside what is known of it."""
    if not unit:
        return {f"p_{name}": float(p) for name, p in zip(names, probability, strict=True)}
    known = recording.metadata.get(names[0])
    truth = float(known) if isinstance(known, int | float) and not isinstance(known, bool) else float("nan")
    return {SAID: float(probability[0]), TRUE: truth}


def half(values: Tensor) -> Array:
    """Map (F, T) as float16, divided by its largest magnitude first: gradients are often smaller than float16 can
    hold."""
    top = values.abs().max()
    return (values / top if top > 0 else values).cpu().numpy().astype(np.float16)


class _Clock:
    """Seconds since the last lap, by name."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name], self._last = now - self._last, now


def score_all(
    model: nn.Module,
    spec: Spectrogram,
    probability: Tensor,
    attributions: Mapping[str, Attribution],
    settings: EvaluateSettings,
) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """Score maps of one recording in stacks: the spectrogram repeated along the batch, its probability given once.

    Args:
        model: the classifier that judges masked recordings.
        spec: one recording, (1, F, T).
        probability: of the original, (1, C).
        attributions: maps (1, F, T) by recipe.
        settings: metrics, evidence, fill and the memory that a stack may take.

    Returns:
        Value by metric, by recipe, in the order of `attributions`; and by recipe why metrics are undefined, where they
        say it.
    """
    values: dict[str, dict[str, float]] = {recipe: {} for recipe in attributions}
    reasons: dict[str, str] = {}
    size = stack_size(spec, settings.memory_mb)
    for stack in _stacks(attributions, size):
        case = Case(
            model,
            repeat(spec, len(stack)),
            stacked([attributions[recipe] for recipe in stack], probability.argmax(dim=1)),
            kind=cast(Any, settings.evidence),
            fill=cast(Any, settings.fill),
            probability=probability.expand(len(stack), -1),
            seed=settings.seed,
        )
        for metric, scores in score(case, settings.metrics, settings.metric_options).items():
            for recipe, value in zip(stack, scores.tolist(), strict=True):
                values[recipe][metric] = float(value)
        for (_, row), reason in case.reasons.items():
            known = reasons.get(stack[row])
            reasons[stack[row]] = reason if known is None else f"{known}; {reason}"
    return values, reasons


def explain_all_but_broken(
    model: nn.Module, spec: Spectrogram, target: Tensor, settings: EvaluateSettings
) -> Explanations:
    """Explain by all recipes; a method whose map cannot be used costs its own recipes only.

    Raises:
        SpeechXAIError: no single method is to blame.
    """
    # No table shows how complete a map is, and it costs a pass.
    options: dict[str, Any] = {**settings.options, "evidence": settings.evidence, "completeness": False}
    recipes = [parse(recipe) for recipe in settings.recipes]
    try:
        return explain_all(model, spec, recipes, target, seed=settings.seed, options=options)
    except SpeechXAIError as error:
        broken: dict[str, str] = {}
        for method in dict.fromkeys(name for recipe in recipes for name in recipe.methods):
            try:
                explain_all(model, spec, [method], target, seed=settings.seed, options=options)
            except SpeechXAIError as reason:
                broken[method] = str(reason)
        if not broken:
            raise error
    usable = [recipe for recipe in recipes if not broken.keys() & set(recipe.methods)]
    found = explain_all(model, spec, usable, target, seed=settings.seed, options=options)
    for recipe in recipes:
        reasons = [broken[method] for method in recipe.methods if method in broken]
        if reasons:
            found.not_applicable[str(recipe)] = reasons[0]
    return found


def tiled(waveform: Tensor, sample_rate: int, length_s: float = 10.0) -> Tensor:
    """Repeat or cut a waveform (N,) to `length_s`, as the published protocol does: of longer ones it hears the
    beginning."""
    n_samples = round(length_s * sample_rate)
    return waveform.repeat(-(-n_samples // len(waveform)))[:n_samples]


def stack_size(spec: Spectrogram, memory_mb: int) -> int:
    """Maps of one recording that are tested at once within `memory_mb`, at least 1."""
    bytes_each = spec.magnitude[0].numel() * spec.magnitude.element_size() * N_TENSORS
    return max(1, memory_mb * 2**20 // bytes_each)


def _stacks(attributions: Mapping[str, Attribution], size: int) -> Iterator[list[str]]:
    """Recipes in groups of at most `size`; signed maps apart, since their evidence is read in another way."""
    for signed in (False, True):
        recipes = [recipe for recipe, attribution in attributions.items() if attribution.signed is signed]
        yield from (recipes[first : first + size] for first in range(0, len(recipes), size))


def repeat(spec: Spectrogram, n: int) -> Spectrogram:
    """Repeat one recording (1, F, T) to (n, F, T) without copying."""
    return Spectrogram(
        spec.magnitude.expand(n, -1, -1), spec.phase.expand(n, -1, -1), spec.n_samples, spec.stft, n * spec.spans
    )


def stacked(attributions: Sequence[Attribution], target: Tensor) -> Attribution:
    """Put maps of one recording (1, F, T) together as (n, F, T), all tested for the class `target` (1,)."""
    return Attribution(
        torch.cat([each.values for each in attributions]),
        target.expand(len(attributions)),
        attributions[0].recipe if len(attributions) == 1 else f"{len(attributions)} recipes",
        # How each was made, for metrics that explain a changed recording again.
        {"rows": {index: (each.recipe, each.params, each.signed) for index, each in enumerate(attributions)}},
        attributions[0].signed,
    )


def agreement_of_methods(
    attributions: Mapping[str, Attribution], threshold: float = 0.4, kind: str | None = None
) -> dict[str, dict[str, float]]:
    """Agreement of every pair of plain methods (no combinations).

    Of the evidence of `kind` that the recipes are scored by (None: positive of signed maps) the overlap of the
    strongest bins; of evidence by magnitude, as published, IoU of the bins that reach `threshold` of their own map's
    maximum and Spearman's rank correlation. What `agreement.overlap`, `agreement.iou` and `agreement.rank_correlation`
    give pair by
    pair, with every map sorted once.

    Returns:
        "a | b" -> iou, rank_correlation, overlap; NaN where a map is constant or empty.
    """
    names = [recipe for recipe in attributions if recipe in METHODS]
    if len(names) < 2:
        return {}
    maps = torch.cat([evidence(attributions[name].values, "absolute") for name in names]).flatten(1)
    overlaps = _overlaps([attributions[name] for name in names], kind)
    strong = (maps >= threshold).to(torch.float32)  # the maximum of a map that is not empty is 1
    common = strong @ strong.T
    count = strong.sum(dim=1)
    union = (common / (count[:, None] + count[None, :] - common)).tolist()
    ranks = average_ranks(maps)
    ranks = ranks - ranks.mean(dim=1, keepdim=True)
    length = ranks.square().sum(dim=1).sqrt()
    correlation = (ranks @ ranks.T / (length[:, None] * length[None, :])).clamp(-1, 1).tolist()
    return {
        f"{names[i]} | {names[j]}": {
            "iou": union[i][j],
            "rank_correlation": correlation[i][j],
            "overlap": overlaps[i][j],
        }
        for i, j in combinations(range(len(names)), 2)
    }


def _overlaps(attributions: Sequence[Attribution], kind: str | None) -> list[list[float]]:
    """`agreement.overlap` of all pairs of maps of one recording (1, F, T)."""
    kinds = [kind or ("positive" if each.signed else "absolute") for each in attributions]
    masks = [evidence(each.values, cast(Any, one)) for each, one in zip(attributions, kinds, strict=True)]
    top = strongest(torch.cat(masks)).flatten(1)
    some = top.any(dim=1)
    shared = top.float() @ top.float().T / n_top(STRONGEST, top.shape[1])
    found: list[list[float]] = shared.masked_fill(~(some[:, None] | some[None, :]), torch.nan).tolist()
    return found
