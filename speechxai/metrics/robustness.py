"""Does the explanation stay when nothing but chance changes, and does it follow changes that leave the voice the
same?"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from speechxai.errors import SpeechXAIError, told
from speechxai.explain.agreement import rank_correlation
from speechxai.explain.combination import evidence
from speechxai.explain.explain import explain
from speechxai.explain.passes import unwrap
from speechxai.explain.recipe import parse
from speechxai.metrics.case import METRICS, Case
from speechxai.signal import stft
from speechxai.types import Attribution, Spectrogram

# Does the explanation stay when nothing but chance changes, and does it follow changes that leave the voice the same?
N_SEEDS = 3
N_NEIGHBORS = 5
"""Noisy copies that `max_sensitivity` compares with the recording."""
NEIGHBOR_RADIUS = 0.02
"""Largest change of a bin in those copies, as a share of the recording's largest magnitude."""


def mean_rank_correlation(maps: Sequence[Tensor]) -> Tensor:
    """Mean of the rank correlations of all pairs of maps (B, F, T) -> (B,); NaN where a map is constant."""
    pairs = [rank_correlation(a, b) for index, a in enumerate(maps) for b in maps[index + 1 :]]
    return torch.stack(pairs).mean(dim=0)


def stability_over_seeds(
    model: nn.Module, spec: Spectrogram, attribution: Attribution, n_seeds: int = N_SEEDS
) -> Tensor:
    """Mean rank correlation of a map with the maps of the following seeds, (B,), in [-1, 1]; 1 for deterministic
    recipes.

    Explains the recordings `n_seeds` - 1 times more, with the options that the attribution's `params` record.

    Raises:
        SpeechXAIError: a recipe that is no recipe.
    """
    recipe = parse(attribution.recipe)
    if not recipe.stochastic:
        return torch.ones(len(spec), dtype=attribution.values.dtype, device=attribution.values.device)
    first = int(attribution.params.get("seed") or 0)
    # The recorded options name the seed of every stochastic method: it must not be fixed again.
    options: dict[str, Any] = {
        name: {key: value for key, value in given.items() if key != "seed"}
        for name, given in attribution.params.get("options", {}).items()
    }
    options["evidence"] = attribution.params.get("evidence")
    maps = [attribution.values]
    for seed in range(first + 1, first + n_seeds):
        maps.append(explain(model, spec, recipe, attribution.target, seed=seed, options=options).values)
    return mean_rank_correlation(maps)


@METRICS.register(best="high", bounds=(-1.0, 1.0), cites="own", needs_explaining=True)
def seed_stability(case: Case) -> Tensor:
    """Mean rank correlation of the map over 3 seeds: 1 for deterministic methods; low values say that the map is
    noise."""
    return stability_over_seeds(case.model, case.spec, case.attribution)


def explainer_of(attribution: Attribution) -> Explainer:
    """Return the function `(model, spec, target) -> (B, F, T)` that made an attribution, with its seed and options."""
    params = attribution.params
    options = {**params.get("options", {}), "evidence": params.get("evidence")}
    seed = int(params.get("seed") or 0)

    def again(model: nn.Module, spec: Spectrogram, target: Tensor) -> Tensor:
        return explain(model, spec, attribution.recipe, target, seed=seed, options=options).values

    return again


@METRICS.register(best="low", bounds=(-1.0, 1.0), cites="adebayo2018sanity", needs_explaining=True)
def model_randomization(case: Case) -> Tensor:
    """Rank correlation of the map with the map of the same network with random weights: near 1 says that the map
    ignores the network.

    NaN for a map without evidence.
    """
    attribution = case.attribution
    curve = randomization_curve(
        explainer_of(attribution), case.model, case.spec, attribution.target, values=attribution.values, stages=1
    )
    return _no_evidence_is_nan(case, next(iter(curve.values())))


def neighbor(spec: Spectrogram, radius: float, seed: int) -> Spectrogram:
    """Return the recordings with noise on every bin, uniform within `radius` times each recording's largest magnitude.

    The noise depends on the seed and the map's size alone; magnitudes stay at least 0.
    """
    draw = torch.rand(spec.magnitude.shape[1:], generator=torch.Generator().manual_seed(seed))
    top = spec.magnitude.amax(dim=(1, 2), keepdim=True)
    noise = (2 * draw.to(spec.magnitude) - 1) * radius * top
    return replace(spec, magnitude=(spec.magnitude + noise).clamp(min=0))


def sensitivity(
    make_map: Explainer,
    model: nn.Module,
    spec: Spectrogram,
    target: Tensor,
    values: Tensor,
    n_neighbors: int = N_NEIGHBORS,
    kind: Literal["positive", "absolute"] = "absolute",
) -> Tensor:
    """Largest relative change of the evidence among noisy copies: max_i |E(X + n_i) - E(X)| / |E(X)|, (B,), at least 0.

    Both maps are scaled to maximum 1 first, so that a scale means nothing (yeh2019infidelity, made relative). NaN for a
    map
    without evidence.

    Args:
        make_map: explains, `(model, spec, target) -> (B, F, T)`.
        values: the map of `spec` (B, F, T).
        n_neighbors: noisy copies.
        kind: what of the maps is evidence.
    """
    near = (neighbor(spec, NEIGHBOR_RADIUS, seed) for seed in range(n_neighbors))
    return torch.stack([relative_change(values, make_map(model, other, target), kind) for other in near]).amax(dim=0)


def relative_change(values: Tensor, other: Tensor, kind: Literal["positive", "absolute"] = "absolute") -> Tensor:
    """How far evidence moved: |E' - E| / |E| (B,) of two maps (B, F, T), Frobenius norms; NaN for a map without
    evidence."""
    original = evidence(values, kind)
    size = original.flatten(1).norm(dim=1)
    distance = (evidence(other, kind) - original).flatten(1).norm(dim=1)
    return torch.where(size > 0, distance / size, torch.full_like(size, torch.nan))


ATTACK_SNR_DB = 40.0
"""How far under the voice an attack stays."""
ATTACK_STEPS = 20
ATTACK_SHARE = 0.1
"""The strongest bins that an attack drains of evidence."""
ANSWER_KEPT = 0.1
"""An attack may move the logit margin by this share of itself, or of 1."""


def attacked(model: nn.Module, spec: Spectrogram, target: int, *, seed: int = 0) -> Spectrogram:
    """Return one recording with a change 40 dB under the voice that keeps the answer and moves the map.

    The top-k attack of ghorbani2019fragile on gradient x input, in the waveform: projected gradient steps take evidence
    away from the bins that held most of it, sideways to what moves the answer. Of the steps that keep the margin within
    ANSWER_KEPT the one that took the most counts; where none does, the recording stays. It aims at gradients; a method
    that follows something else is hit by what remains.

    Args:
        model: `forward(magnitude, phase) -> logits (B, C)`, differentiable twice.
        spec: one recording, (1, F, T).
        target: explained class.
        seed: of the first step.

    Raises:
        SpeechXAIError: more than one recording, or a network that has no second derivative.
    """
    if len(spec) != 1:
        raise SpeechXAIError(f"An attack changes one recording at a time. Got {len(spec)}.")
    voice = stft.waveform(spec).detach()
    size = float(voice.square().mean().sqrt()) * 10 ** (-ATTACK_SNR_DB / 20)
    change = torch.randn(voice.shape, generator=torch.Generator().manual_seed(seed)).to(voice)
    change = change * 0.1 * size / change.square().mean().sqrt()
    strongest, margin, least, best = torch.empty(0), 0.0, 1.0, spec
    for step in range(-1, ATTACK_STEPS):
        moved = (voice if step < 0 else voice + change).requires_grad_(True)
        changed = stft.spectrogram(moved, spec.stft)
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):  # it has a second derivative
            logits = model(changed.magnitude, changed.phase)[0]
            others = torch.cat([logits[:target], logits[target + 1 :]]).logsumexp(0)
            (slope,) = torch.autograd.grad(logits[target] - others, changed.magnitude, create_graph=True)
        held = (slope * changed.magnitude).clamp(min=0).flatten()
        now = float((logits[target] - others).detach())
        if step < 0:
            margin = now
            strongest = held.detach().topk(max(1, round(ATTACK_SHARE * len(held)))).indices
        share = held[strongest].sum() / held.sum().clamp_min(1e-12)
        kept = now * margin > 0 and abs(now - margin) <= ANSWER_KEPT * max(abs(margin), 1.0)
        if step >= 0 and kept and float(share.detach()) < least:
            least = float(share.detach())
            best = replace(spec, magnitude=changed.magnitude.detach(), phase=changed.phase.detach())
        try:
            (down,) = torch.autograd.grad(share, moved, retain_graph=True)
            (answer,) = torch.autograd.grad(logits[target] - others, moved)
        except RuntimeError as error:
            raise SpeechXAIError(f"This network cannot be attacked: {told(error)}.") from error
        # A fifth of the whole along what drains the map and leaves the answer, and as far back as the answer has moved.
        steep = answer.square().sum().clamp_min(1e-20)
        down = down - (down * answer).sum() / steep * answer
        change = change - 0.2 * size * down / down.square().mean().sqrt().clamp_min(1e-20)
        change = change - (now - margin) / steep * answer
        change = change * (size / change.square().mean().sqrt().clamp_min(1e-20)).clamp(max=1)
    return best


@METRICS.register(best="low", bounds=(0.0, None), cites="yeh2019infidelity", needs_explaining=True)
def max_sensitivity(case: Case) -> Tensor:
    """Largest relative change of the evidence when every bin gets a little noise (2 % of the largest magnitude), over 5
    draws."""
    made = case.attribution
    found = sensitivity(explainer_of(made), case.model, case.spec, made.target, made.values, N_NEIGHBORS, case.reads)
    return _no_evidence_is_nan(case, found)


def _no_evidence_is_nan(case: Case, values: Tensor) -> Tensor:
    return torch.where(case.is_empty, torch.full_like(values, torch.nan), values)


def _level(waveforms: Tensor, n_samples: int) -> Tensor:
    return waveforms / 2


def _polarity(waveforms: Tensor, n_samples: int) -> Tensor:
    return -waveforms


def _shift(waveforms: Tensor, n_samples: int) -> Tensor:
    return torch.nn.functional.pad(waveforms, (n_samples, 0))[..., : waveforms.shape[-1]]


INVARIANCES: dict[str, Callable[[Tensor, int], Tensor]] = {"level": _level, "polarity": _polarity, "shift": _shift}
"""Changes of a waveform that leave the voice the same: half the level, the other sign, a later start."""
SHIFT_S = 0.01


def changed_recording(spec: Spectrogram, change: str) -> Spectrogram:
    """Return the spectrogram of the changed recordings: "level" (-6 dB), "polarity" (the waveform's sign), or "shift"
    (10 ms later).

    Raises:
        SpeechXAIError: an unknown change.
    """
    if change not in INVARIANCES:
        raise SpeechXAIError(f"The 'change' parameter must be one of {', '.join(INVARIANCES)}. Got {change!r} instead.")
    n_samples = round(SHIFT_S * spec.stft.sample_rate)
    changed = stft.spectrogram(INVARIANCES[change](stft.waveform(spec), n_samples), spec.stft)
    return replace(changed, spans=spec.spans)


def likeness_after(change: str, values: Tensor, other: Tensor, spec: Spectrogram) -> Tensor:
    """Rank correlation (B,) of maps (B, F, T) of the recordings and of the changed ones.

    After a shift the maps are compared with the nearest whole number of frames between them.
    """
    n_frames = round(SHIFT_S * spec.stft.frame_rate_hz) if change == "shift" else 0
    if n_frames:
        values, other = values[..., :-n_frames], other[..., n_frames:]
    return rank_correlation(values, other)


def input_invariance(
    make_map: Explainer, model: nn.Module, spec: Spectrogram, target: Tensor, values: Tensor, change: str
) -> Tensor:
    """Rank correlation of the map with the map of a changed recording that says the same, (B,), in [-1, 1], best 1.

    Args:
        make_map: explains, `(model, spec, target) -> (B, F, T)`.
        values: the map of `spec` (B, F, T).
        change: "level", "polarity" or "shift", see `changed_recording`.

    Raises:
        SpeechXAIError: an unknown change.
    """
    return likeness_after(change, values, make_map(model, changed_recording(spec, change), target), spec)


# Does the map depend on what the network has learned? Networks with random weights, and how alike two maps look.
Explainer = Callable[[nn.Module, Spectrogram, Tensor], Tensor]
"""Explains a batch: `(model, spec, target (B,)) -> map (B, F, T)`."""

Mode = Literal["cascading", "independent"]
Similarity = Callable[[Tensor, Tensor], Tensor]

SSIM_SIGMA, SSIM_RADIUS = 1.5, 5
"""Gaussian window of the structural similarity: 11 x 11 bins (wang2004image)."""


def _scaled(values: Tensor) -> Tensor:
    top = values.abs().amax(dim=(1, 2), keepdim=True)
    return torch.where(top > 0, values / top, torch.zeros_like(values))


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Mean structural similarity of two maps, each divided by its largest magnitude; in [-1, 1], 1 for equal maps
    (wang2004image).

    SSIM = (2 m_a m_b + C1)(2 s_ab + C2) / ((m_a^2 + m_b^2 + C1)(s_a^2 + s_b^2 + C2)) with means, variances and
    covariance under
    an 11 x 11 Gaussian window of sigma 1.5, C1 = 0.01^2, C2 = 0.03^2; averaged over the windows that lie inside the
    map.

    Args:
        a, b: maps (B, F, T) of one shape, F and T at least 11.

    Returns:
        (B,); NaN where a map is all zero.

    Raises:
        SpeechXAIError: shapes that do not agree, or maps smaller than the window.
    """
    n_window = 2 * SSIM_RADIUS + 1
    if a.shape != b.shape or a.ndim != 3 or min(a.shape[1:]) < n_window:
        raise SpeechXAIError(
            f"The structural similarity needs two maps of one shape (B, F, T) of at least {n_window} x {n_window} bins."
            f" Got {tuple(a.shape)} and {tuple(b.shape)}."
        )
    offsets = torch.arange(-SSIM_RADIUS, SSIM_RADIUS + 1, dtype=torch.float64, device=a.device)
    window = torch.exp(-0.5 * (offsets / SSIM_SIGMA) ** 2)
    window = window / window.sum()

    def local_mean(values: Tensor) -> Tensor:
        rows = nn.functional.conv2d(values[:, None], window[None, None, :, None])
        return nn.functional.conv2d(rows, window[None, None, None, :])[:, 0]

    first, second = _scaled(a.detach().double()), _scaled(b.detach().double())
    mean_a, mean_b = local_mean(first), local_mean(second)
    variance_a = local_mean(first.square()) - mean_a.square()
    variance_b = local_mean(second.square()) - mean_b.square()
    covariance = local_mean(first * second) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    quotient = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    quotient = quotient / ((mean_a.square() + mean_b.square() + c1) * (variance_a + variance_b + c2))
    empty = (first.abs().amax(dim=(1, 2)) == 0) | (second.abs().amax(dim=(1, 2)) == 0)
    found = quotient.mean(dim=(1, 2))
    return torch.where(empty, torch.full_like(found, torch.nan), found).to(a)


SIMILARITIES: dict[str, Similarity] = {"rank": rank_correlation, "ssim": ssim}


def layers(model: nn.Module) -> list[str]:
    """Names of the modules that hold weights of their own, in the order in which the network lists them."""
    return [name for name, module in model.named_modules() if any(True for _ in module.parameters(recurse=False))]


def randomize(model: nn.Module, names: list[str], seed: int) -> None:
    """Replace the weights of modules of `model`, in place, by normal numbers of each tensor's own mean and
    deviation."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name in names:
            for weights in model.get_submodule(name).parameters(recurse=False):
                spread = weights.std(unbiased=False) if weights.numel() > 1 else weights.abs().mean()
                draw = torch.randn(weights.shape, generator=generator).to(weights)
                weights.copy_(weights.mean() + spread * draw if weights.numel() > 1 else spread * draw)


def randomized(
    model: nn.Module, mode: Mode = "cascading", stages: int | None = None, seed: int = 0
) -> Iterator[tuple[str, nn.Module]]:
    """Yield copies of `model` with more and more random weights, by the name of the layer where each stage begins.

    Args:
        mode: "cascading" randomizes from the last layer up to and with the named one; "independent" that layer (or
            group of
            layers) alone.
        stages: number of stages, the layers in groups of equal size; None takes every layer, 1 the whole network at
            once.
        seed: of the weights.

    Raises:
        SpeechXAIError: an unknown mode, fewer than one stage, a network without weights.
    """
    if mode not in ("cascading", "independent"):
        raise SpeechXAIError(f"The 'mode' parameter must be 'cascading' or 'independent'. Got {mode!r} instead.")
    names = layers(unwrap(model))[::-1]
    if not names:
        raise SpeechXAIError("This network has no weights that could be randomized.")
    n_stages = len(names) if stages is None else stages
    if n_stages < 1:
        raise SpeechXAIError(f"The 'stages' parameter must be at least 1. Got {stages} instead.")
    n_stages = min(n_stages, len(names))
    edges = [round(index * len(names) / n_stages) for index in range(n_stages + 1)]
    for start, stop in pairwise(edges):
        changed = copy.deepcopy(unwrap(model))
        randomize(changed, names[:stop] if mode == "cascading" else names[start:stop], seed)
        yield names[stop - 1], changed


def randomization_curve(
    make_map: Explainer,
    model: nn.Module,
    spec: Spectrogram,
    target: Tensor,
    *,
    values: Tensor | None = None,
    mode: Mode = "cascading",
    similarity: str = "rank",
    stages: int | None = None,
    seed: int = 0,
) -> dict[str, Tensor]:
    """How alike a map and the maps of randomized copies of the network are: layer name -> (B,), in [-1, 1].

    A map of what the network learned loses its likeness (adebayo2018sanity); one that keeps it shows the recording, not
    the
    network. The network itself is not touched.

    Args:
        make_map: explains, `(model, spec, target) -> (B, F, T)`.
        values: the map of `model`, where it is known.
        mode, stages, seed: as for `randomized`.
        similarity: "rank" (Spearman) or "ssim".

    Raises:
        SpeechXAIError: an unknown mode or similarity, or what `make_map` raises.
    """
    if similarity not in SIMILARITIES:
        raise SpeechXAIError(
            f"The 'similarity' parameter must be one of {', '.join(SIMILARITIES)}. Got {similarity!r} instead."
        )
    original = make_map(model, spec, target) if values is None else values
    return {
        name: SIMILARITIES[similarity](original, make_map(changed, spec, target))
        for name, changed in randomized(model, mode, stages, seed)
    }
