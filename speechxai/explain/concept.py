"""When a sign is active inside a network: a stored direction of its hidden frames, over time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from speechxai.classifiers.hidden import concept_of, inside, over_time
from speechxai.errors import SpeechXAIError, did_you_mean
from speechxai.explain.passes import METHODS, check_target, network_of, parts, plain, quiet
from speechxai.registry import Registry
from speechxai.types import Spectrogram

FACTS: Mapping[str, Any] = MappingProxyType(
    {"signed": False, "stochastic": False, "cites": "kim2018tcav", "resolution": "time", "class_blind": True}
)


def _cues() -> Registry[Any]:
    # SciPy comes with it: two seconds that no other method should wait for.
    from speechxai.data.cues import CUES

    return CUES


class _Concepts(Registry[Any]):
    """One method a sign, by names such as "concept:breathiness"; signs of plugins as well."""

    def __getitem__(self, name: str) -> Any:
        _, _, sign = name.partition(":")
        if sign not in _cues():
            raise SpeechXAIError(did_you_mean(sign, list(_cues()), "sign of a concept"))

        def concept(model: nn.Module, spec: Spectrogram, target: Tensor) -> Tensor:
            return activity(model, spec, target, sign)

        concept.__doc__ = f"How active '{sign}' is inside the network, over time: a direction that was found before."
        concept.__name__ = name
        return concept

    def facts(self, name: str) -> Mapping[str, Any]:
        """Return what every concept states. Raises SpeechXAIError for a sign that there is not."""
        self[name]
        return FACTS

    def __contains__(self, name: object) -> bool:
        family, _, sign = str(name).partition(":")
        return family == "concept" and sign in _cues()

    def __iter__(self) -> Iterator[str]:
        return iter([f"concept:{sign}" for sign in _cues()])

    def __len__(self) -> int:
        return len(_cues())


CONCEPTS: Registry[Any] = _Concepts("concept")
METHODS.adopt(CONCEPTS, "concept")


def activity(model: nn.Module, spec: Spectrogram, target: Tensor, sign: str) -> Tensor:
    """How active a sign is inside the network, (B, F, T): max(0, (h_t - center) . direction) of the hidden frames h_t
    at the stage where the direction lies, the same at every frequency and for every class. Segments are stitched.

    Raises:
        NotApplicable: a network without hidden stages, or beside whose model no such concept is stored.
    """
    check_target(spec, target)
    network = network_of(model, spec)
    concept = concept_of(network, sign)
    n_bins, n_frames = spec.magnitude.shape[1:]
    maps = []
    with quiet(network), torch.no_grad():
        for part in parts(network, spec.magnitude):
            magnitude, phase = network.cut(plain(spec.magnitude[part])), network.cut(plain(spec.phase[part]))
            pieces = [torch.split(values.flatten(0, 1), network.max_batch) for values in (magnitude, phase)]
            with inside(network) as seen:
                for heard in zip(*pieces, strict=True):
                    network.segment_logits(*heard)
            active = torch.cat([over_time(concept.active(frames)) for frames in seen[concept.stage]]).relu()
            moments = nn.functional.interpolate(
                active[:, None], size=magnitude.shape[-1], mode="linear", align_corners=False
            )
            maps.append(network.stitch(moments.view(*magnitude.shape[:2], 1, -1), n_frames))
    return torch.cat(maps).to(spec.magnitude.dtype).expand(-1, n_bins, -1).contiguous()
