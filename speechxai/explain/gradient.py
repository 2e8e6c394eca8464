"""Methods that follow the gradient of the explained logit by the magnitude."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from speechxai.classifiers.network import Network
from speechxai.errors import SpeechXAIError
from speechxai.explain.passes import (
    METHODS,
    check_target,
    generator,
    logit_gradient,
    network_of,
    original_passes,
    parts,
    quiet,
    recordings_at_once,
    require_at_least,
    target_logit,
)
from speechxai.flags import MAX_COUNT
from speechxai.types import Spectrogram

Baseline = Literal["floor", "silence", "mean"]
Sample = Callable[[int, slice], tuple[Tensor, Tensor | float]]

FLOOR_SHARE = 0.05
"""The floor of a bin is the level that this share of its frames do not exceed."""


def baseline_magnitude(spec: Spectrogram, baseline: Baseline = "floor") -> Tensor:
    """What counts as "nothing there" for each recording, (B, F, T).

    Args:
        baseline: "silence" is 0; "floor" is each bin's 5th percentile over the recording's frames (nearest rank): its
            stationary background; "mean" is each bin's mean over the frames.

    Raises:
        SpeechXAIError: an unknown baseline.
    """
    magnitude = spec.magnitude.detach()
    if baseline == "silence":
        return torch.zeros_like(magnitude)
    if baseline == "floor":
        rank = max(1, ceil(FLOOR_SHARE * magnitude.shape[-1]))
        return magnitude.kthvalue(rank, dim=-1, keepdim=True).values.expand_as(magnitude)
    if baseline == "mean":
        return magnitude.mean(dim=-1, keepdim=True).expand_as(magnitude)
    raise SpeechXAIError(f"The 'baseline' parameter must be 'floor', 'silence' or 'mean'. Got {baseline!r} instead.")


def streamed(
    model: nn.Module, spec: Spectrogram, target: Tensor, n_samples: int, sample: Sample, *, absolute: bool = False
) -> Tensor:
    """Sum of factor * gradient over samples (B, F, T), a few rows at a time, so that memory does not grow with samples.

    Args:
        sample: `(index, part of the batch) -> (magnitude (b, F, T), factor)`.
        absolute: sum factor * |gradient| instead.
    """
    network = network_of(model, spec)
    totals = []
    for part in parts(network, spec.magnitude):
        total: Tensor | float = 0.0
        n_rows = part.stop - part.start
        n_at_once = max(1, recordings_at_once(network, spec.magnitude) // n_rows)
        for first in range(0, n_samples, n_at_once):
            drawn = [sample(index, part) for index in range(first, min(first + n_at_once, n_samples))]
            n_drawn = len(drawn)
            points = drawn[0][0] if n_drawn == 1 else torch.cat([point for point, _ in drawn])
            phase = spec.phase[part] if n_drawn == 1 else spec.phase[part].repeat(n_drawn, 1, 1)
            gradients = logit_gradient(network, points, phase, target[part].repeat(n_drawn))
            for gradient, (_, factor) in zip(torch.split(gradients, n_rows), drawn, strict=True):
                total = total + factor * (gradient.abs() if absolute else gradient)
        totals.append(torch.as_tensor(total))
    return torch.cat(totals)


@METHODS.register(signed=False, stochastic=False, cites="simonyan2014deep")
def saliency(model: nn.Module, spec: Spectrogram, target: Tensor) -> Tensor:
    """Size of the logit's gradient: A = |d logit / d X|, (B, F, T)."""
    check_target(spec, target)
    return torch.cat([shared.gradient(target[part]).abs() for part, shared in original_passes(model, spec)])


@METHODS.register(signed=True, stochastic=False, cites="shrikumar2017learning")
def input_x_gradient(model: nn.Module, spec: Spectrogram, target: Tensor) -> Tensor:
    """Magnitude times the logit's gradient: A = X * d logit / d X, (B, F, T)."""
    check_target(spec, target)
    gradient = torch.cat([shared.gradient(target[part]) for part, shared in original_passes(model, spec)])
    return spec.magnitude.detach() * gradient


@METHODS.register(signed=True, stochastic=True, cites="smilkov2017smoothgrad")
def smoothgrad(
    model: nn.Module,
    spec: Spectrogram,
    target: Tensor,
    *,
    n_samples: int = 32,
    sigma: float = 0.15,
    relative: bool = True,
    clamp: bool = True,
    absolute: bool = False,
    seed: int = 0,
) -> Tensor:
    """Mean gradient over noisy copies: A = mean_i d logit / d X at X + sigma * noise_i, (B, F, T).

    Args:
        n_samples: noisy copies.
        sigma: standard deviation of the noise, as a share of max(X) - min(X) of each recording; with `relative=False`
            in
            units of X.
        clamp: set negative magnitudes of the copies to 0.
        absolute: average |d logit / d X|, as the published study does, instead of the signed gradient.
        seed: copy i of every recording gets noise number i of this seed.

    Raises:
        SpeechXAIError: an option out of range.
        NotApplicable: the network is not differentiable in the magnitude.
    """
    check_target(spec, target)
    require_at_least("n_samples", n_samples, 1, "smoothgrad")
    if not sigma >= 0:
        raise SpeechXAIError(f"The 'sigma' parameter of smoothgrad must be at least 0. Got {sigma!r} instead.")
    magnitude = spec.magnitude.detach()
    spread = magnitude.amax((1, 2)) - magnitude.amin((1, 2)) if relative else torch.ones_like(magnitude[:, 0, 0])
    scale = (sigma * spread)[:, None, None]

    def sample(index: int, part: slice) -> tuple[Tensor, float]:
        noise = torch.randn(magnitude.shape[1:], generator=generator(seed, index)).to(magnitude)
        noisy = magnitude[part] + scale[part] * noise
        return (noisy.clamp(min=0) if clamp else noisy), 1 / n_samples

    return streamed(model, spec, target, n_samples, sample, absolute=absolute)


@METHODS.register(signed=True, stochastic=False, cites="sundararajan2017axiomatic")
def integrated_gradients(
    model: nn.Module, spec: Spectrogram, target: Tensor, *, n_steps: int = 32, baseline: Baseline = "floor"
) -> Tensor:
    """Gradient along the straight way from the baseline: A = (X - X0) * integral of d logit / d X, (B, F, T).

    Gauss-Legendre quadrature with `n_steps` points. The sum of A should be logit(X) - logit(X0); see
    `completeness_error`.

    Args:
        n_steps: points on the way.
        baseline: X0, see `baseline_magnitude`.

    Raises:
        SpeechXAIError: an option out of range.
        NotApplicable: the network is not differentiable in the magnitude.
    """
    check_target(spec, target)
    require_at_least("n_steps", n_steps, 1, "integrated_gradients")
    origin = baseline_magnitude(spec, baseline)
    way = spec.magnitude.detach() - origin
    positions, weights = np.polynomial.legendre.leggauss(n_steps)

    def sample(index: int, part: slice) -> tuple[Tensor, float]:
        return origin[part] + float(0.5 * (1 + positions[index])) * way[part], float(0.5 * weights[index])

    return way * streamed(model, spec, target, n_steps, sample)


def completeness_error(
    model: nn.Module, spec: Spectrogram, target: Tensor, values: Tensor, baseline: Baseline = "floor"
) -> Tensor:
    """How far the map is from telling the whole story: |sum A - (logit(X) - logit(X0))|, in logits, (B,).

    For integrated_gradients and deep_lift with the same baseline; 0 is best. Cited: sundararajan2017axiomatic.
    """
    check_target(spec, target)
    origin = baseline_magnitude(spec, baseline)
    logits = {
        name: _logit(model, spec, target, magnitude) for name, magnitude in (("x", spec.magnitude), ("x0", origin))
    }
    return (values.sum((1, 2)) - (logits["x"] - logits["x0"])).abs()


def _logit(model: nn.Module, spec: Spectrogram, target: Tensor, magnitude: Tensor) -> Tensor:
    if magnitude is spec.magnitude:
        return torch.cat([target_logit(shared.logits(), target[part]) for part, shared in original_passes(model, spec)])
    network = network_of(model, spec)
    found = []
    for part in parts(network, magnitude):
        found.append(target_logit(forward(network, magnitude[part], spec.phase[part]), target[part]))
    return torch.cat(found)


def forward(network: Network, magnitude: Tensor, phase: Tensor) -> Tensor:
    """Logits (B, C) in evaluation mode, without a graph."""
    with quiet(network), torch.no_grad():
        return network(magnitude, phase)


@METHODS.register(signed=True, stochastic=True, cites="lundberg2017unified")
def gradient_shap(
    model: nn.Module,
    spec: Spectrogram,
    target: Tensor,
    *,
    n_samples: int = 32,
    baselines: Literal["reference", "normal"] = "reference",
    references: Spectrogram | None = None,
    n_baselines: int | None = None,
    sigma: float = 0.0,
    seed: int = 0,
) -> Tensor:
    """Expected gradients over random baselines: A = mean_i (X_i - X0_i) * d logit / d X at X0_i + u_i (X_i - X0_i), (B,
    F, T).

    Args:
        n_samples: random points; u_i is drawn uniformly from the i-th of n_samples equal parts of (0, 1).
        baselines: "reference" draws X0 from silence, the recording's own floor and the recordings of `references`;
            "normal" draws standard normal numbers and u_i from all of (0, 1), as the published study does.
        references: other recordings of the same transform, repeated or cut to the length of `spec`.
        n_baselines: of "normal": every point has one of so many, as captum draws them from a batch; None: one of its
            own.
        sigma: standard deviation of noise added to X, in units of X: X_i = X + sigma * noise_i.
        seed: point i of every recording gets the draws number i of this seed.

    Raises:
        SpeechXAIError: an option out of range, or references of another transform.
        NotApplicable: the network is not differentiable in the magnitude.
    """
    check_target(spec, target)
    require_at_least("n_samples", n_samples, 1, "gradient_shap")
    if baselines not in ("reference", "normal"):
        raise SpeechXAIError(
            f"The 'baselines' parameter of gradient_shap must be 'reference' or 'normal'. Got {baselines!r} instead."
        )
    if n_baselines is not None:
        require_at_least("n_baselines", n_baselines, 1, "gradient_shap")
    if references is not None and references.stft != spec.stft:
        raise SpeechXAIError(
            "The 'references' parameter of gradient_shap must have the STFT settings of the explained recordings."
        )
    magnitude = spec.magnitude.detach()
    floor = baseline_magnitude(spec, "floor")
    others = (
        _of_length(references.magnitude, magnitude.shape[-1]).to(magnitude) if references is not None else magnitude[:0]
    )

    def sample(index: int, part: slice) -> tuple[Tensor, Tensor]:
        random = generator(seed, index)
        position = float(torch.rand((), generator=random))
        choice = int(torch.randint(2 + len(others), (), generator=random))
        if baselines == "normal":
            drawn = random
            if n_baselines is not None:
                drawn = generator(seed, MAX_COUNT + int(torch.randint(n_baselines, (), generator=random)))
            origin = torch.randn(magnitude.shape[1:], generator=drawn).to(magnitude).expand_as(magnitude[part])
        else:
            position = (index + position) / n_samples
            origin = (
                floor[part]
                if choice == 1
                else torch.zeros_like(floor[part])
                if choice == 0
                else others[choice - 2].expand_as(floor[part])
            )
        end = magnitude[part]
        if sigma:
            end = end + sigma * torch.randn(magnitude.shape[1:], generator=random).to(magnitude)
        return origin + position * (end - origin), (end - origin) / n_samples

    return streamed(model, spec, target, n_samples, sample)


def _of_length(magnitude: Tensor, n_frames: int) -> Tensor:
    n_times = -(-n_frames // magnitude.shape[-1])
    return magnitude.detach().repeat(1, 1, n_times)[..., :n_frames]
