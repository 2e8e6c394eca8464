"""One model instead of several: networks that began as one ancestor, their task vectors added up
(ilharco2023editing)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from speechxai.classifiers.base import Classifier
from speechxai.classifiers.bundle import FINAL, Bundle, BundleConfig, own_weights, save_bundle
from speechxai.classifiers.hidden import ANCESTOR
from speechxai.errors import SpeechXAIError


@dataclass(frozen=True, eq=False)
class Merged:
    """A merged network.

    Args:
        classifier: the one.
        parts: what it was made of, such as "mine fold0".
        weights: of each.
        ancestor: hash that all share.
    """

    classifier: Classifier
    parts: tuple[str, ...]
    weights: tuple[float, ...]
    ancestor: str


def ancestor_of(bundle: Bundle) -> str:
    """Hash of the pretrained weights that a bundle's networks began with: of its encoder, or of the model that
    `train --init` named; "" where they began from random weights.

    An encoder's hash stands in the weights, under names that end in `encoder_sha256`.
    """
    stated = bundle.config.training.get(ANCESTOR)
    if isinstance(stated, str) and stated:
        return stated
    if bundle.config.options.get("random"):
        return ""
    for name, value in own_weights(bundle.classifier(None if bundle.n_folds == 0 else 0)).items():
        if name.endswith("encoder_sha256"):
            return bytes(value.tolist()).hex()
    return ""


def common_ancestor(bundles: Sequence[Bundle]) -> str:
    """The ancestor that all share.

    Raises:
        SpeechXAIError: none, or different ones, or networks of different kinds; the message says which.
    """
    first = bundles[0]
    for other in bundles[1:]:
        for what in ("architecture", "options", "stft", "segment", "classes", "unit"):
            mine, theirs = getattr(first.config, what), getattr(other.config, what)
            if mine != theirs:
                raise SpeechXAIError(
                    f"{other.name}: its {what} is another than that of {first.name} ({theirs!r} against {mine!r}), so"
                    " their weights do not stand for the same."
                )
    found = [ancestor_of(bundle) for bundle in bundles]
    lacking = [bundle.name for bundle, ancestor in zip(bundles, found, strict=True) if not ancestor]
    if lacking:
        raise SpeechXAIError(
            f"{lacking[0]}: its networks began from random weights and share no pretrained ancestor, so the middle"
            " between them is no network that learned anything. Train them from one model with 'speechxai train --init"
            " MODEL', or use a pretrained encoder."
        )
    for bundle, ancestor in zip(bundles, found, strict=True):
        if ancestor != found[0]:
            raise SpeechXAIError(
                f"{bundle.name}: began from other weights (sha256 {ancestor[:12]}...) than {first.name}"
                f" ({found[0][:12]}...). Only networks of one ancestor can be merged."
            )
    return found[0]


def interpolated(
    states: Sequence[Mapping[str, Tensor]], weights: Sequence[float], ancestor: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Weights theta_0 + sum_i w_i (theta_i - theta_0); with weights that sum to 1, theta_0 cancels.

    Args:
        states: theta_i by name; whole numbers, such as counters and hashes, must agree or are taken from the first.
        weights: w_i.
        ancestor: theta_0; needed where the weights do not sum to 1.

    Raises:
        SpeechXAIError: states of different names or shapes, a number of weights that does not fit, or weights that ask
            for an ancestor that is not there.
    """
    if len(weights) != len(states) or not states:
        raise SpeechXAIError(f"Every network needs one weight. Got {len(states)} networks and {len(weights)} weights.")
    total = sum(weights)
    if ancestor is None and abs(total - 1) > 1e-9:
        raise SpeechXAIError(
            f"Weights must sum to 1. Got {', '.join(f'{w:g}' for w in weights)}, which sum to {total:g}."
        )
    shapes = [{name: tuple(value.shape) for name, value in state.items()} for state in states]
    if any(each != shapes[0] for each in shapes):
        raise SpeechXAIError("Networks to merge must have weights of the same names and shapes.")
    merged = {}
    for name, first in states[0].items():
        if not first.is_floating_point():
            merged[name] = first.clone()
            continue
        value = sum(w * state[name].double() for w, state in zip(weights, states, strict=True))
        if ancestor is not None:
            value = value + (1 - total) * ancestor[name].double()
        merged[name] = torch.as_tensor(value).to(first.dtype)
    return merged


def merge_networks(networks: Sequence[Classifier], weights: Sequence[float]) -> Classifier:
    """A copy of the first network with the weights of all, interpolated; calibration too."""
    made = copy.deepcopy(networks[0])
    state = made.state_dict()
    state |= interpolated([own_weights(network) for network in networks], weights)
    made.load_state_dict(state)
    return made.eval().requires_grad_(False)


def merged(bundles: Sequence[Bundle], weights: Sequence[float] | None = None) -> Merged:
    """Merge the fold networks of one bundle, or the final networks of several, into one.

    Args:
        bundles: one with folds, or several.
        weights: one for every network, summing to 1; equal without.

    Raises:
        SpeechXAIError: no common ancestor, one bundle without folds, weights that do not fit.
    """
    if not bundles:
        raise SpeechXAIError("Merging needs at least one model.")
    ancestor = common_ancestor(bundles)
    if len(bundles) == 1:
        bundle = bundles[0]
        if bundle.n_folds < 2:
            raise SpeechXAIError(
                f"{bundle.name}: has {bundle.n_folds} fold networks, and merging needs two. Name another model of the"
                " same ancestor."
            )
        networks = {f"{bundle.name} fold{k}": bundle.classifier(k) for k in range(bundle.n_folds)}
        pairs = list(networks.items())
    else:
        pairs = [(bundle.name, bundle.classifier()) for bundle in bundles]
    given = tuple(weights) if weights else (1 / len(pairs),) * len(pairs)
    made = merge_networks([network for _, network in pairs], given)
    return Merged(made, tuple(name for name, _ in pairs), given, ancestor)


def save_merged(folder: str, found: Merged, bundles: Sequence[Bundle]) -> Bundle:
    """Write a merged network as a model with one network and no folds.

    Raises:
        SpeechXAIError: a folder that cannot be written.
    """
    first = bundles[0].config
    said = ", ".join(f"{name} x {weight:g}" for name, weight in zip(found.parts, found.weights, strict=True))
    training: dict[str, Any] = {"merged_of": list(found.parts), "merged_weights": list(found.weights)}
    kept = ("architecture", "options", "stft", "segment", "audio", "classes", "unit", "cam_layer", "max_batch")
    config = BundleConfig(
        name=str(folder).rstrip("/").rpartition("/")[2],
        title=f"merged of {len(found.parts)} networks",
        training={**training, ANCESTOR: found.ancestor},
        **{key: getattr(first, key) for key in kept},
    )
    card = (
        f"# {config.name}\n\nOne network, merged of {said}, which began with the same weights (sha256"
        f" {found.ancestor}). Its answers about speakers that any of them was trained on are no answers about new"
        " people: ask it about others.\n\n## Limits\n\nNot a medical device. Its probabilities were not calibrated as"
        " one network.\n"
    )
    return save_bundle(folder, config, {FINAL: found.classifier}, card)
