"""One recording under the protocol "mancini2025": maps and scores as the published code makes them, beside what repairs
them.

Two passes, because the published masks are divided by the maximum of a whole batch: the first makes the maps and scores
    them
by each recording's own maximum, the second scores the stored maps by the maxima of batch and fold.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from speechxai.classifiers import Classifier
from speechxai.classifiers.network import answered, as_network, place_of
from speechxai.classifiers.precision import at_precision, twin_of
from speechxai.errors import SpeechXAIError
from speechxai.evaluation.unit import agreement_of_methods, repeat, stack_size, tiled
from speechxai.evaluation.values import EvaluateSettings, Job, UnitResult
from speechxai.explain import METHODS, OriginalPass, count_passes
from speechxai.explain.agreement import rank_correlation
from speechxai.explain.backprop import rounding_of, share_of_mean
from speechxai.explain.combination import COMBINATIONS, evidence
from speechxai.explain.recipe import PUBLISHED_METHODS, Recipe, parse
from speechxai.files import fingerprint
from speechxai.mancini2025.maps import (
    PD,
    PUBLISHED_DEFINITIONS,
    PUBLISHED_OPTIONS,
    PUBLISHED_VARIANTS,
    PosteriorLogits,
    ProbabilityOfPd,
    published_overlap,
)
from speechxai.metrics import Case, score
from speechxai.metrics.robustness import neighbor, relative_change
from speechxai.signal.stft import spectrogram
from speechxai.types import Attribution, Recording, Spectrogram, StftConfig

DEGENERATE = {str(PUBLISHED_VARIANTS.facts(name)["replaces"]): name for name in PUBLISHED_VARIANTS}
"""Methods whose published map is degenerate, and the variant that stands for them under this protocol."""

PREDICTED_CLASS = "predicted_class."
"""Before a metric: the same masks, scored for the predicted class instead of always P(PD)."""

MENDED_MAP = "mended_map."
"""Before a metric: the published definition, on the map as the method is meant instead of the degenerate one."""

NUDGED_MAP = "nudged_map."
"""Before a metric: the published definition, on the published guided Grad-CAM of the recording changed by NUDGE."""

NUDGE = 1e-7
"""Largest change of a bin, as a share of the recording's largest magnitude: less than the error of one number in
float32, so that what changes with it is the rounding of a processor and nothing of the recording."""

PD_METRICS = ("average_increase", "average_drop", "average_gain")
"""Metrics that the published code reads from P(PD) for every recording."""

SUMS = {"union": lambda maps: maps.sum(dim=0), "intersection": lambda maps: maps.prod(dim=0)}
"""The published combinations before they are divided by a maximum."""


BATCH, CORRECTED, OTHER_LEVEL = "batch", "corrected", "level"
"""Folders inside the run: second pass, corrected protocol, and the first pass at the other level."""


@dataclass(frozen=True, eq=False)
class BatchJob(Job):
    """A recording with its stored maps and the maxima that the published code divides by.

    Args:
        maps: evidence (F, T) by method, its own maximum 1.
        shares: by method, the map's own maximum as a share of its batch's.
        tops: by combination, the largest value in the whole fold.
    """

    maps: Mapping[str, Tensor] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)
    tops: Mapping[str, float] = field(default_factory=dict)


def published_unit(job: Job, settings: EvaluateSettings, stages: list[str]) -> UnitResult:
    """Make the published maps of one recording, the length of a clip, and score them by their own maxima.

    Scores: the published definitions under the metrics' names (Fid-In per recording), PREDICTED_CLASS beside them,
    MENDED_MAP for the two degenerate methods, NUDGED_MAP for guided Grad-CAM. Facts hold each map's raw maximum as
    `top_<method>`; of guided Grad-CAM how large its weights are beside the gradients they are the means of
    (`gradcam_weight`, see `share_of_mean`; `gradcam_vanished` where that is rounding) and how far its mask moves under
    NUDGE (`gradcam_change`, a share of its size).

    Raises:
        SpeechXAIError: a recording or network that cannot be used, or no map at all.
    """
    laps = _Laps()
    stages.append("predict")
    (model, judge, exact), spec = networks(job, settings), heard(job, settings)
    with count_passes(model, spec, judge, exact) as passes:
        laps("spectrogram_s")
        probability = answered(OriginalPass(model, spec).logits(), job.recording.id).softmax(dim=-1)
        laps("forward_pass_s")
        stages.append("explain")
        recipes = [parse(recipe) for recipe in settings.recipes]
        seed = int(fingerprint([settings.seed, job.recording.id])[:7], 16)  # every recording has draws of its own
        maps, others, facts, reasons = published_maps(model, spec, recipes, settings, exact, seed)
        laps("explain_s")
        stages.append("score")
        found = {name: evidence(values, "absolute") for name, values in maps.items()}
        usable = [recipe for recipe in recipes if set(recipe.methods) <= set(found)]
        masks = {str(recipe): combined(recipe, found) for recipe in usable}
        values = score_masks(judge, spec, probability, masks, settings, PREDICTED_CLASS)
        for prefix, instead in others.items():
            changed = {name: evidence(each, "absolute") for name, each in instead.items()}
            for name, scores in score_masks(judge, spec, probability, changed, settings).items():
                values.get(name, {}).update({prefix + metric: value for metric, value in scores.items()})
        laps("score_s")
    stages.append("agreement")
    agreement = agreement_of_methods(
        {n: Attribution(v, probability.argmax(1), n, signed=False) for n, v in maps.items()}
    )
    laps("agreement_s")
    tops = {f"top_{name}": float(each.abs().max()) for name, each in maps.items()}
    facts = {
        **facts_of(job, spec, probability),
        **tops,
        **facts,
        **laps.all,
        "n_forward": round(passes.forward, 3),
        "n_backward": round(passes.backward, 3),
    }
    kept = {n: v[0].cpu().numpy().astype(np.float32) for n, v in found.items()} if settings.keep_maps else {}
    failed = {str(recipe): reasons[name] for recipe in recipes for name in recipe.methods if name in reasons}
    return UnitResult(job.recording.id, facts, values, agreement, failed, kept)


def compute_batch(job: Job, settings: EvaluateSettings, stages: list[str]) -> UnitResult:
    """Score stored maps as the published code does: divided by the maximum of the batch, combinations by that of the
    fold.

    Agreement: `iou` with the first map's thresholds, `n_both` and `n_either` for the published sum over the fold, and
    those of each map's own thresholds.

    Raises:
        SpeechXAIError: a job without maps, or a network that cannot be used.
    """
    if not isinstance(job, BatchJob):
        raise SpeechXAIError(f"{job.recording.id}: the second pass of the protocol needs the maps of the first.")
    laps = _Laps()
    stages.append("predict")
    (model, judge, _), spec = networks(job, settings, exact=False), heard(job, settings)
    with count_passes(model, spec, judge) as passes:
        probability = answered(OriginalPass(model, spec).logits(), job.recording.id).softmax(dim=-1)
        laps("forward_pass_s")
        stages.append("score")
        scaled = {name: job.shares[name] * each[None].to(spec.magnitude) for name, each in job.maps.items()}
        masks = {}
        for recipe in map(parse, settings.recipes):
            if not recipe.parts and recipe.name in scaled:
                masks[recipe.name] = scaled[recipe.name]
            elif str(recipe) in job.tops:
                masks[str(recipe)] = batch_combination(recipe, scaled) / (job.tops[str(recipe)] or 1.0)
        values = score_masks(judge, spec, probability, masks, settings, PREDICTED_CLASS)
        laps("score_s")
    stages.append("agreement")
    pairs = combinations(in_published_order(scaled), 2)
    agreement = {f"{a} | {b}": _published_agreement(scaled[a], scaled[b]) for a, b in pairs}
    laps("agreement_s")
    facts = {**facts_of(job, spec, probability), **laps.all, "n_forward": round(passes.forward, 3), "n_backward": 0.0}
    return UnitResult(job.recording.id, facts, values, agreement)


def in_published_order(names: Iterable[str]) -> list[str]:
    """Methods, each once, in the order of the published loop, others after them: which of two maps gives the threshold
    of both depends on it."""
    known = {name: place for place, name in enumerate(PUBLISHED_METHODS)}
    return sorted(dict.fromkeys(names), key=lambda name: known.get(name, len(known)))


def networks(job: Job, settings: EvaluateSettings, exact: bool = True) -> tuple[nn.Module, nn.Module, nn.Module]:
    """The network that is explained, the one that judges, and the one in float64; each hears the clip once and whole.

    A network that hears one length alone keeps its segments. The third is the first without `exact`, and where
    somebody's network cannot be made again in float64.
    """
    model = job.model.eval()
    explained, judge = at_precision(model, settings.precision)
    in_float64 = explained
    if exact:
        with suppress(Exception):  # the code of others may raise anything
            in_float64 = twin_of(model, torch.float64)
    return _whole(explained), _whole(judge), _whole(in_float64)


def _whole(model: nn.Module) -> nn.Module:
    if not isinstance(model, Classifier) or model.segment is None or model.segment.short == "pad":
        return model
    whole = copy.copy(model)
    whole.segment = None
    return whole


def heard(job: Job, settings: EvaluateSettings) -> Spectrogram:
    """The job's recording as the published code hears it, on the device of its network; see `clip`."""
    device = place_of(job.model)
    return clip(job.recording, job.model.stft, settings, device)  # type: ignore[arg-type]


def clip(
    recording: Recording, stft: StftConfig, settings: EvaluateSettings, device: torch.device | str = "cpu"
) -> Spectrogram:
    """Spectrogram (1, F, T) of a recording at its level, repeated or cut to the clip's length.

    A frame stands at every whole hop and none beyond, T = N // hop + 1: 861 frames of 160,000 samples, whose inverse
    has 159,960. A last sample of silence is heard where the published resampling rounds the length up.

    Raises:
        SpeechXAIError: another sample rate than the network's.
    """
    if recording.sample_rate != stft.sample_rate:
        raise SpeechXAIError(
            f"{recording.id}: the recording has {recording.sample_rate} Hz, the network hears {stft.sample_rate} Hz."
        )
    waveform = recording.waveform
    n_original, rate = (recording.metadata.get(f"original_{name}") for name in ("samples", "sample_rate"))
    if n_original and rate:
        missing = -(-n_original * recording.sample_rate // rate) - len(waveform)
        waveform = torch.nn.functional.pad(waveform, (0, max(0, missing)))
    if settings.level == "peak":
        waveform = waveform / waveform.abs().max().clamp(min=torch.finfo(waveform.dtype).tiny)
    waveform = tiled(waveform, recording.sample_rate, settings.clip_s)
    whole = spectrogram(waveform[None].to(device), stft)
    n_hops = len(waveform) // stft.hop_length
    kept = slice(0, n_hops + 1)
    return Spectrogram(whole.magnitude[..., kept], whole.phase[..., kept], n_hops * stft.hop_length, stft)


def facts_of(job: Job, spec: Spectrogram, probability: Tensor) -> dict[str, Any]:
    """What the tables say of a recording."""
    names = as_network(job.model).class_names
    return {
        "speaker": job.recording.speaker,
        "label": job.recording.label,
        "predicted": int(probability.argmax(dim=1)[0]),
        **{f"p_{name}": float(p) for name, p in zip(names, probability[0], strict=True)},
        "duration_s": job.recording.duration_s,
        "n_frames": spec.magnitude.shape[-1],
        **job.facts,
    }


def published_maps(
    model: nn.Module,
    spec: Spectrogram,
    recipes: Sequence[Recipe],
    settings: EvaluateSettings,
    exact: nn.Module | None = None,
    seed: int = 0,
) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor]], dict[str, Any], dict[str, str]]:
    """Raw maps (1, F, T) of every method in `recipes`, explaining P(PD).

    Args:
        model: the classifier.
        spec: one recording, (1, F, T).
        recipes: whose methods are asked for.
        settings: options.
        seed: of what is random.
        exact: the classifier in float64, in which the published code integrates gradients; None: in float32.

    Returns:
        Maps as published; under MENDED_MAP and NUDGED_MAP others of the same names; facts of guided Grad-CAM; and
        reasons for methods without a map.

    Raises:
        SpeechXAIError: no method gives a map; the first reason.
    """
    explained = OriginalPass(_of_pd(model), spec)
    target = torch.full((len(spec),), PD, dtype=torch.int64, device=spec.magnitude.device)
    maps: dict[str, Tensor] = {}
    others: dict[str, dict[str, Tensor]] = {MENDED_MAP: {}, NUDGED_MAP: {}}
    facts: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    for name in in_published_order(method for recipe in recipes for method in recipe.methods):
        options = {**PUBLISHED_OPTIONS.get(name, {}), **settings.options.get(name, {})}
        if METHODS.facts(name)["stochastic"]:
            options.setdefault("seed", seed)
        try:
            if name in DEGENERATE:
                published = PUBLISHED_VARIANTS[DEGENERATE[name]]
                maps[name] = finite(published(explained, spec, target), name)
            else:
                if name == "integrated_gradients" and exact is not None:
                    with suppress(RuntimeError):  # a network that holds numbers of float32 in its code
                        maps[name] = finite(_in_float64(name, exact, spec, target, options), name)
                    facts[f"{name}_in"] = "float64" if name in maps else "float32"
                if name not in maps:
                    maps[name] = finite(METHODS[name](explained, spec, target, **options), name)
            if name == "guided_gradcam":
                nudged = neighbor(spec, NUDGE, seed)
                others[NUDGED_MAP][name] = finite(published(_of_pd(model), nudged, target), name)
                gradient = explained.cam(target)[1]
                facts["gradcam_weight"] = float(share_of_mean(gradient).amax())
                facts["gradcam_vanished"] = facts["gradcam_weight"] < rounding_of(model, gradient)
                facts["gradcam_change"] = float(relative_change(maps[name], others[NUDGED_MAP][name])[0])
            if name in DEGENERATE:
                others[MENDED_MAP][name] = finite(METHODS[name](explained, spec, target, **options), name)
        except SpeechXAIError as error:
            if name not in maps:
                reasons[name] = f"{name}: {str(error).removeprefix(f'{name}: ')}"
    explained.release()
    if not maps:
        raise SpeechXAIError(next(iter(reasons.values()), "No method is asked for."))
    return maps, others, facts, reasons


def _of_pd(model: nn.Module) -> nn.Module:
    return ProbabilityOfPd(model) if isinstance(model, Classifier) else PosteriorLogits(model)


def _in_float64(name: str, exact: nn.Module, spec: Spectrogram, target: Tensor, options: Mapping[str, Any]) -> Tensor:
    device = next((p.device for p in exact.parameters()), spec.magnitude.device)
    magnitude, phase = (each.to(device).double() for each in (spec.magnitude, spec.phase))
    exactly = Spectrogram(magnitude, phase, spec.n_samples, spec.stft)
    values: Tensor = METHODS[name](_of_pd(exact), exactly, target.to(device), **options)
    return values.to(spec.magnitude)


def finite(values: Tensor, name: str) -> Tensor:
    """Return the map as it is. Raises SpeechXAIError where it has NaN or infinite values."""
    if not torch.isfinite(values).all():
        raise SpeechXAIError(f"{name}: the map has NaN or infinite values.")
    return values.detach()


def combined(recipe: Recipe, found: Mapping[str, Tensor]) -> Tensor:
    """Evidence (1, F, T) of a recipe from the evidence of its methods, every map by its own maximum."""
    if not recipe.parts:
        return found[recipe.name]
    maps: Tensor = COMBINATIONS[recipe.name](torch.stack([combined(part, found) for part in recipe.parts]))
    return evidence(maps, "absolute")


def batch_combination(recipe: Recipe, scaled: Mapping[str, Tensor]) -> Tensor:
    """Sum or product (..., F, T) of two methods' maps as the published code scales them, before its last division.

    Raises:
        SpeechXAIError: a recipe that the published code does not know.
    """
    if recipe.name not in SUMS or any(part.parts for part in recipe.parts):
        raise SpeechXAIError(f"'{recipe}': the published protocol combines methods by union and intersection alone.")
    values: Tensor = SUMS[recipe.name](torch.stack([scaled[part.name] for part in recipe.parts]))
    return values


def score_masks(
    model: nn.Module,
    spec: Spectrogram,
    probability: Tensor,
    masks: Mapping[str, Tensor],
    settings: EvaluateSettings,
    beside: str | None = None,
) -> dict[str, dict[str, float]]:
    """Score masks (1, F, T) of one recording in stacks, by the published definitions; Fid-In per recording.

    Args:
        model: the classifier.
        spec: one recording, (1, F, T).
        probability: of the original, (1, C).
        masks: by recipe, in [0, 1], taken as they are.
        settings: metrics, fill and memory.
        beside: prefix under which PD_METRICS are given for the predicted class too.
    """
    names = list(masks)
    size = stack_size(spec, settings.memory_mb)
    found: dict[str, dict[str, float]] = {name: {} for name in names}
    for first in range(0, len(names), size):
        stack = names[first : first + size]
        mask = torch.cat([masks[name] for name in stack])
        target = probability.argmax(dim=1).expand(len(stack))
        case = Case(
            model,
            repeat(spec, len(stack)),
            Attribution(mask, target, f"{len(stack)} recipes", signed=False),
            kind="absolute",
            probability=probability.expand(len(stack), -1),
            seed=settings.seed,
        )
        case.mask = mask  # as it is: dividing by its own maximum would repair what the protocol reproduces
        ours = [name for name in settings.metrics if name not in PUBLISHED_DEFINITIONS or name == "input_fidelity"]
        values = {
            name: score(case, [name], settings.metric_options)[name]
            if name in ours
            else PUBLISHED_DEFINITIONS[name](case)
            for name in settings.metrics
        }
        if beside is not None:
            values |= {beside + name: score(case, [name])[name] for name in PD_METRICS if name in settings.metrics}
        for metric, scores in values.items():
            for name, value in zip(stack, scores.tolist(), strict=True):
                found[name][metric] = float(value)
    return found


def _published_agreement(a: Tensor, b: Tensor) -> dict[str, float]:
    both, either = (float(count[0]) for count in published_overlap(a, b))
    own_both, own_either = (float(count[0]) for count in published_overlap(a, b, own=True))
    return {
        "iou": both / either if either else float("nan"),
        "rank_correlation": float(rank_correlation(a, b)[0]),
        "n_both": both,
        "n_either": either,
        "n_both_own": own_both,
        "n_either_own": own_either,
    }


class _Laps:
    """Seconds since the last call, by name."""

    def __init__(self) -> None:
        self.all = {"spectrogram_s": 0.0, "forward_pass_s": 0.0, "explain_s": 0.0, "score_s": 0.0, "agreement_s": 0.0}
        self._last = time.perf_counter()

    def __call__(self, name: str) -> None:
        now = time.perf_counter()
        self.all[name] += now - self._last
        self._last = now
