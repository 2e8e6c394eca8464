"""Maps that know nothing of the network: what every method must beat."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechxai.explain.passes import METHODS, check_target, generator
from speechxai.types import Spectrogram


@METHODS.register(signed=False, stochastic=True, cites="adebayo2018sanity", control=True)
def random_map(model: nn.Module, spec: Spectrogram, target: Tensor, *, seed: int = 0) -> Tensor:
    """Uniform random numbers in [0, 1).

    The draw depends on the seed and the map's size alone, so recordings of one length share it: a recording gets the
    same
    map alone or in a batch.
    """
    check_target(spec, target)
    draw = torch.rand(spec.magnitude.shape[1:], generator=generator(seed))
    return draw.to(spec.magnitude).expand_as(spec.magnitude).clone()


@METHODS.register(signed=False, stochastic=False, cites="own", control=True)
def energy_map(model: nn.Module, spec: Spectrogram, target: Tensor) -> Tensor:
    """The spectrogram itself: loud is important. A = X."""
    check_target(spec, target)
    return spec.magnitude.detach().clone()


@METHODS.register(signed=False, stochastic=False, cites="adebayo2018sanity", control=True)
def edge_map(model: nn.Module, spec: Spectrogram, target: Tensor) -> Tensor:
    """Edges of the spectrogram: the Sobel magnitude, A = sqrt(Gf^2 + Gt^2), borders repeated."""
    check_target(spec, target)
    magnitude = spec.magnitude.detach()
    padded = torch.nn.functional.pad(magnitude[:, None], (1, 1, 1, 1), mode="replicate")
    across_time = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]).to(magnitude)
    kernels = torch.stack([across_time, across_time.T])[:, None]
    return torch.nn.functional.conv2d(padded, kernels).square().sum(dim=1).sqrt()
