"""What happens between a network's layers: its hidden frames, read and changed; and directions among them that mean
something, kept beside a model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from speechxai.classifiers.network import Network, stated
from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.files import write_atomically

CONCEPTS_FILE = "concepts.safetensors"

ANCESTOR = "ancestor"
"""Key of a model's `training`: `trunk_sha256` of what every one of its networks began with."""

Edit = Callable[[Tensor], Tensor]
"""Changes hidden frames (..., C), channels last."""


class Stage(NamedTuple):
    """A place between layers: its name, and the module whose output it is, (B, T', C) or (B, C, M', T')."""

    name: str
    module: nn.Module


def stages(network: Network) -> list[Stage]:
    """The places between layers that the backbone states (`hidden_stages`), in the order in which they are passed.

    Raises:
        NotApplicable: a backbone that states none.
    """
    said: Callable[[], Mapping[str, nn.Module]] | None = stated(network.backbone, "hidden_stages", None)
    if said is None:
        raise NotApplicable(
            "this network states no hidden layers ('hidden_stages'), so no concept can be looked for in it; cnn, ssl"
            " and whisper do."
        )
    return [Stage(name, module) for name, module in said().items()]


def trunk_sha256(network: Network) -> str:
    """Hash of the weights that decide what a direction means: of `hidden_trunk` where the backbone states one, else of
    all of it."""
    trunk: nn.Module = stated(network.backbone, "hidden_trunk", network.backbone)
    digest = hashlib.sha256()
    for name, value in trunk.state_dict().items():
        digest.update(name.encode() + str(tuple(value.shape)).encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@contextmanager
def inside(network: Network, edits: Mapping[str, Edit] | None = None) -> Iterator[dict[str, list[Tensor]]]:
    """Watch, and change, what passes through a network's stages.

    Args:
        network: stays as it is outside of the context.
        edits: by stage: what is done to its frames before they go on.

    Yields:
        By stage what went on in every pass since, channels last: (S, T', C), or (S, T', M', C) where the stage has a
        frequency axis.

    Raises:
        NotApplicable: a network without stages.
        SpeechXAIError: an edit of a stage that it does not have.
    """
    places, edits = stages(network), edits or {}
    unknown = set(edits) - {stage.name for stage in places}
    if unknown:
        raise SpeechXAIError(
            f"There is no hidden layer '{min(unknown)}' in this network. It has {', '.join(s.name for s in places)}."
        )
    seen: dict[str, list[Tensor]] = {stage.name: [] for stage in places}

    def watch(name: str) -> Callable[[nn.Module, Any, Any], Any]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
            values, *rest = output if isinstance(output, tuple) else (output,)
            has_bands = values.ndim == 4
            last = values.permute(0, 3, 2, 1) if has_bands else values
            last = edits[name](last) if name in edits else last
            seen[name].append(last)
            # What was seen is what goes on, so that gradients by it are gradients of the answer.
            values = last.permute(0, 3, 2, 1) if has_bands else last
            return (values, *rest) if isinstance(output, tuple) else values

        return hook

    handles = [stage.module.register_forward_hook(watch(stage.name)) for stage in places]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def over_time(values: Tensor) -> Tensor:
    """Values (S, T', ...) of positions to one a moment (S, T'): their mean over what else there is."""
    return values.flatten(2).mean(dim=2) if values.ndim > 2 else values


@dataclass(frozen=True, eq=False)
class Concept:
    """A direction among a network's hidden frames that stands for a sign.

    Args:
        name: of the sign.
        stage: where it lies.
        direction: (C,), of length 1; it points at frames with the sign.
        center: (C,), mean of frames without it.
        auc: how well its mean over time told recordings of held-out speakers apart, 0 to 1.
        trunk: `trunk_sha256` of the network that it was found in.
        how: in which way, in words.
    """

    name: str
    stage: str
    direction: Tensor
    center: Tensor
    auc: float
    trunk: str
    how: str = "difference of means"

    def active(self, frames: Tensor) -> Tensor:
        """How active it is: frames (..., C) to (...); 0 is what frames without the sign have on average."""
        return (frames - self.center.to(frames)) @ self.direction.to(frames)

    def removed(self, frames: Tensor) -> Tensor:
        """Frames (..., C) in which it is as active as without the sign, and nothing else has changed."""
        return frames - self.active(frames)[..., None] * self.direction.to(frames)


def write_concepts(folder: Path, concepts: Mapping[str, Concept]) -> Path:
    """Write concepts beside a model, in the place of those that were there.

    Raises:
        SpeechXAIError: a folder that cannot be written.
    """
    tensors, facts = {}, {}
    for name, each in sorted(concepts.items()):
        tensors[f"{name}.direction"] = each.direction.float().contiguous()
        tensors[f"{name}.center"] = each.center.float().contiguous()
        facts[name] = {"stage": each.stage, "auc": each.auc, "trunk": each.trunk, "how": each.how}
    path = folder / CONCEPTS_FILE
    try:
        write_atomically(path, save(tensors, {"concepts": json.dumps(facts, sort_keys=True)}))
    except OSError as error:
        raise SpeechXAIError(f"{path}: cannot be written ({error}). Copy the model to a folder of yours.") from error
    return path


def read_concepts(folder: Path) -> dict[str, Concept]:
    """Concepts that lie beside a model, by name; none where there is no file of them.

    Raises:
        SpeechXAIError: a file that is damaged.
    """
    path = folder / CONCEPTS_FILE
    if not path.is_file():
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})["concepts"])
            return {
                name: Concept(
                    name,
                    direction=file.get_tensor(f"{name}.direction"),
                    center=file.get_tensor(f"{name}.center"),
                    **each,
                )
                for name, each in facts.items()
            }
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise SpeechXAIError(
            f"{path}: no concepts, or a damaged file ({error}). Find them again with 'speechxai concepts'."
        ) from error


def concept_of(network: Network, name: str) -> Concept:
    """The concept of that name which lies beside the model that a network was read from.

    Raises:
        NotApplicable: none there, or one of another network; the message has the command that finds it.
    """
    folder: Path | None = stated(network, "folder", None)
    where = "MODEL" if folder is None else str(folder)
    command = f"speechxai concepts {where} --signs {name} --out FOLDER"
    found = {} if folder is None else read_concepts(folder)
    if name not in found:
        raise NotApplicable(f"no concept '{name}' is stored with this network: '{command}' finds it.")
    concept = found[name]
    if concept.trunk != trunk_sha256(network):
        raise NotApplicable(
            f"the stored concept '{name}' was found in another network (sha256 {concept.trunk[:12]}...), such as the"
            f" final one where this is a fold's: '{command}' finds it anew."
        )
    return concept
