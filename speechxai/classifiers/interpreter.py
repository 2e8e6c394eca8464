"""A trained interpreter of a classifier: a decoder that reads its hidden layers and writes a mask of the spectrogram.

The decoder of paissan2024listenable (L-MAC): fused from coarse to fine as a U-Net's right half, its output in [0, 1].
Here are its shape, which layers it reads and where it is kept; `inside.interpreter` trains it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_safetensors
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from speechxai.classifiers.network import Network
from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.files import known_format, read_bytes, read_toml, to_toml, write_atomically

FORMAT = 1
"""Version of the layout of a bundle's folder `interpreter`."""
FOLDER, CONFIG_FILE = "interpreter", "config.toml"
COMMAND = "speechxai train-interpreter {} --data DATA"
MOST_LAYERS = 4
FEWEST_CHANNELS = 4
"""A layer of fewer channels is a picture of the input rather than what the network makes of it."""
N_ROWS = 16
"""Rows over frequency that a layer without any is unfolded to."""
WIDTH = 16
TRIED = (128, 192)
"""Frames of two trials: the axis that changes between them is time."""


@dataclass(frozen=True)
class Layer:
    """A hidden layer that a decoder reads.

    Args:
        name: of the module inside the backbone.
        n_channels: C.
        n_rows: rows over frequency M; 0 for a layer over time alone.
        time_axis: which axis of its output is time.
    """

    name: str
    n_channels: int
    n_rows: int
    time_axis: int

    def read(self, output: Tensor) -> Tensor:
        """Its output as (S, C, M, T'), M = 1 for a layer over time alone."""
        values = output.float()
        if self.n_rows:
            return values
        return (values.transpose(1, 2) if self.time_axis == 1 else values)[:, :, None]


def _first(output: Any) -> Tensor | None:
    while isinstance(output, tuple | list) and output:
        output = output[0]
    return output if isinstance(output, Tensor) and output.is_floating_point() else None


@contextmanager
def _watching(network: Network, names: Sequence[str], seen: dict[str, Tensor]) -> Any:
    modules = dict(network.backbone.named_modules())
    missing = [name for name in names if name not in modules]
    if missing:
        raise SpeechXAIError(f"The network has no layer '{missing[0]}' that its interpreter reads.")

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            found = _first(output)
            if found is not None:
                seen[name] = found

        return hook

    handles = [modules[name].register_forward_hook(keep(name)) for name in names]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def hidden(network: Network, layers: Sequence[Layer], magnitude: Tensor, phase: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Logits (S, C) of segments (S, F, L), and what the layers hold (S, C, M, T'), of one pass."""
    seen: dict[str, Tensor] = {}
    with _watching(network, [layer.name for layer in layers], seen):
        logits = network.segment_logits(magnitude, phase)
    return logits, [layer.read(seen[layer.name]) for layer in layers]


def layers_of(network: Network) -> tuple[Layer, ...]:
    """Choose at most MOST_LAYERS hidden layers, coarse to fine: of a network with pictures inside the last output of
    every size, of the last stack of blocks over time four of them, evenly spaced.

    Raises:
        NotApplicable: a network whose hidden layers keep no time.
    """
    device = next(iter(network.parameters()), torch.zeros(())).device
    names = [name for name, _ in network.backbone.named_modules() if name]
    shapes: list[dict[str, tuple[int, ...]]] = []
    for n_frames in TRIED:
        seen: dict[str, Tensor] = {}
        trial = torch.rand(2, network.stft.n_bins, n_frames, generator=torch.Generator().manual_seed(0)).to(device)
        # A network of waveforms is told how many samples it hears; those of the recordings are not the trial's.
        trying = network.for_length((n_frames - 1) * network.stft.hop_length)
        with torch.no_grad(), _watching(network, names, seen):
            trying.segment_logits(trial, torch.zeros_like(trial))
        shapes.append({name: tuple(values.shape) for name, values in seen.items()})
    found: dict[str, Layer] = {}
    for name, shape in shapes[0].items():  # in the order in which they were computed
        other = shapes[1][name]
        moved = [axis for axis, (a, b) in enumerate(zip(shape, other, strict=False)) if a != b]
        if len(shape) not in (3, 4) or shape[0] != 2 or len(moved) != 1 or moved[0] == 0:
            continue
        axis = moved[0]
        if len(shape) == 4 and axis == 3 and shape[1] >= FEWEST_CHANNELS:
            found[name] = Layer(name, shape[1], shape[2], 3)
        elif len(shape) == 3 and shape[3 - axis] >= FEWEST_CHANNELS:
            found[name] = Layer(name, shape[3 - axis], 0, axis)
    pictures = [layer for layer in found.values() if layer.n_rows > 1]
    if pictures:
        return _last_of_every_size(pictures, {n: s[2:] for n, s in shapes[0].items()})
    stacks: dict[str, list[Layer]] = {}
    containers = {name for name, module in network.backbone.named_modules() if any(True for _ in module.children())}
    for name, layer in found.items():
        parent, _, index = name.rpartition(".")
        if index.isdigit() and name in containers:
            stacks.setdefault(parent, []).append(layer)
    # An encoder's convolutions are a stack too, and come before its blocks.
    blocks = next((stack for stack in reversed(stacks.values()) if len(stack) > 1), None)
    if blocks is not None:
        places = torch.linspace(len(blocks) - 1, 0, min(MOST_LAYERS, len(blocks))).round().int().tolist()
        return tuple(blocks[place] for place in dict.fromkeys(places))
    over_time = [layer for layer in found.values() if not layer.n_rows]
    if not over_time:
        raise NotApplicable(
            "this network has no hidden layers over time that an interpreter could read; use integrated_gradients or"
            " occlusion."
        )
    return _last_of_every_size(over_time, {n: (s[found[n].time_axis],) for n, s in shapes[0].items() if n in found})


def _last_of_every_size(layers: Sequence[Layer], sizes: Mapping[str, tuple[int, ...]]) -> tuple[Layer, ...]:
    last = {sizes[layer.name]: layer for layer in layers}
    return tuple(layer for _, layer in sorted(last.items(), key=lambda item: item[0][-1])[:MOST_LAYERS])


def rows_heard(network: Network, layer: Layer, magnitude: Tensor, phase: Tensor) -> Tensor:
    """Where each row of a layer hears, as a bin (M,): the mean bin of its squared gradient by the magnitude (S, F, L),
    made to rise. A layer over time alone, or one that has no gradient: equal steps."""
    n_rows = layer.n_rows or N_ROWS
    steps = torch.linspace(0, network.stft.n_bins - 1, n_rows)
    if not layer.n_rows:
        return steps
    with torch.enable_grad():
        leaf = magnitude.detach().clone().requires_grad_()
        _, (values,) = hidden(network, [layer], leaf, phase)
        if not values.requires_grad:
            return steps
        found = []
        bins = torch.arange(network.stft.n_bins, dtype=torch.float32)
        for row in range(n_rows):
            (gradient,) = torch.autograd.grad(values[:, :, row].square().sum(), leaf, retain_graph=True)
            weight = gradient.detach().square().sum(dim=(0, 2)).cpu()
            found.append(float((weight * bins).sum() / weight.sum()) if weight.sum() > 0 else float("nan"))
    heard = torch.tensor(found)
    if heard.isnan().any() or heard[-1] <= heard[0]:
        return steps
    # Equal places would leave two rows for one bin.
    return heard.cummax(dim=0).values + 1e-3 * torch.arange(n_rows)


def spread(rows: Tensor, n_bins: int) -> Tensor:
    """Matrix (F, M) that draws straight lines between the places of rows (M,), constant beyond the ends; rows sum to
    1."""
    bins = torch.arange(n_bins, dtype=torch.float32).clamp(float(rows[0]), float(rows[-1]))
    right = torch.searchsorted(rows.contiguous(), bins).clamp(1, len(rows) - 1)
    share = (bins - rows[right - 1]) / (rows[right] - rows[right - 1])
    found = torch.zeros(n_bins, len(rows))
    found[torch.arange(n_bins), right] = share
    found[torch.arange(n_bins), right - 1] = 1 - share
    return found


class Decoder(nn.Module):
    """Hidden layers, coarse to fine, to a mask in [0, 1] of the segments' magnitude.

    Each layer is standardized, brought to `width` channels and added to what the coarser ones gave, drawn to its size;
    a convolution follows. The last size's rows are drawn over the frequency bins that they hear.

    Args:
        layers: what is read.
        rows: bin that each row of the finest layer hears (M,), rising.
        n_bins: frequency bins F of the mask.
        width: channels.
    """

    to_bins: Tensor

    def __init__(self, layers: Sequence[Layer], rows: Tensor, n_bins: int, width: int = WIDTH) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.width = width
        self.norms = nn.ModuleList(nn.BatchNorm2d(layer.n_channels, affine=False) for layer in layers)
        self.lifts = nn.ModuleList(
            nn.Conv2d(layer.n_channels, width * (1 if layer.n_rows else N_ROWS), 1) for layer in layers
        )
        self.fuses = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()) for _ in layers
        )
        self.out = nn.Conv2d(width, 1, 1)
        self.register_buffer("to_bins", spread(rows, n_bins))

    def forward(self, values: Sequence[Tensor], n_frames: int) -> Tensor:
        """Layers (S, C, M, T') to masks (S, F, L), L = `n_frames`."""
        found: Tensor | None = None
        for layer, norm, lift, fuse, each in zip(self.layers, self.norms, self.lifts, self.fuses, values, strict=True):
            lifted = lift(norm(each))
            if not layer.n_rows:
                lifted = lifted.view(len(each), self.width, N_ROWS, -1)
            if found is not None:
                lifted = lifted + nn.functional.interpolate(
                    found, size=lifted.shape[2:], mode="bilinear", align_corners=False
                )
            found = fuse(lifted)
        assert found is not None
        drawn = nn.functional.interpolate(
            self.out(found), size=(self.to_bins.shape[1], n_frames), mode="bilinear", align_corners=False
        )
        return (self.to_bins @ drawn[:, 0]).sigmoid()


def mask_of(network: Network, decoder: Decoder, magnitude: Tensor, phase: Tensor) -> Tensor:
    """Mask (B, F, T) of recordings, `max_batch` segments of one pass at a time, overlaps averaged."""
    cut_magnitude, cut_phase = network.cut(magnitude), network.cut(phase)
    n_batch, n_segments = cut_magnitude.shape[:2]
    found = []
    for part, part_phase in zip(
        torch.split(cut_magnitude.flatten(0, 1), network.max_batch),
        torch.split(cut_phase.flatten(0, 1), network.max_batch),
        strict=True,
    ):
        _, values = hidden(network, decoder.layers, part, part_phase)
        found.append(decoder(values, part.shape[-1]))
    maps = torch.cat(found)
    return network.stitch(maps.view(n_batch, n_segments, *maps.shape[1:]), magnitude.shape[-1])


@dataclass(eq=False)
class Interpreter:
    """The trained decoder of one network; on disk until it is asked for.

    Args:
        model: of whom it is, as the command line names it.
        copy_to: folder that a copy of the model may lie in, for a model that must stay as it is.
        folder: of the bundle; None for a decoder in memory.
        part: of the bundle, "final", "fold0", ...
        made_for: hash of the bundle's answers, see `BundleConfig.answers_hash`.
        decoder: where it is in memory.
    """

    model: str
    folder: Path | None = None
    part: str = "final"
    made_for: str = ""
    decoder: Decoder | None = field(default=None, repr=False)
    copy_to: str = ""

    def load(self) -> Decoder:
        """Return the decoder, in evaluation mode.

        Raises:
            NotApplicable: none was trained, or it was for another network; the message names the command.
            SpeechXAIError: a file that is damaged or missing.
        """
        if self.decoder is None:
            self.decoder = self._read().eval().requires_grad_(False)
        return self.decoder

    def _read(self) -> Decoder:
        command = COMMAND.format(self.model)
        if self.copy_to:
            command += f" --out {self.copy_to}, and explain with --model {self.copy_to}"
        path = (self.folder or Path()) / FOLDER / CONFIG_FILE
        if self.folder is None or not path.is_file():
            raise NotApplicable(f"no interpreter was trained for this model: {command}")
        stated = read_settings(path)
        if stated.get("made_for") != self.made_for:
            raise NotApplicable(f"the interpreter beside this model was trained for another network; anew: {command}")
        part = stated.get("parts", {}).get(self.part)
        file = path.with_name(f"{self.part}.safetensors")
        if part is None or not file.is_file():
            raise NotApplicable(f"no interpreter was trained for the network '{self.part}' of this model: {command}")
        content = read_bytes(file)
        if hashlib.sha256(content).hexdigest() != part.get("sha256"):
            raise SpeechXAIError(f"{file}: the file is damaged or of another interpreter. Anew: {command} --overwrite")
        try:
            layers = tuple(Layer(**each) for each in part["layers"])
            weights = from_safetensors(content)
            n_bins, n_rows = weights["to_bins"].shape
            decoder = Decoder(layers, torch.arange(float(n_rows)), n_bins, int(part["width"]))
            decoder.load_state_dict(weights)
        except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
            raise SpeechXAIError(f"{path}: the interpreter does not fit its settings. Anew: {command}") from error
        return decoder


def read_settings(path: Path) -> dict[str, Any]:
    """Settings of a stored interpreter. Raises SpeechXAIError for a file that cannot be read or a newer format."""
    values = read_toml(path)
    known_format(values.get("format"), FORMAT, f"{path}: this interpreter")
    return values


def save_interpreter(folder: Path, made_for: str, decoders: Mapping[str, Decoder], about: Mapping[str, Any]) -> Path:
    """Write the decoders of a bundle's networks, their settings last.

    Args:
        folder: of the bundle.
        made_for: hash of the bundle's answers.
        decoders: by part, "final", "fold0", ...
        about: what else is kept: how they were trained, what they reach.

    Raises:
        SpeechXAIError: a folder that cannot be written.
    """
    target = folder / FOLDER
    parts: dict[str, Any] = {}
    try:
        target.mkdir(parents=True, exist_ok=True)
        for part, decoder in decoders.items():
            content = to_safetensors({k: v.detach().cpu().contiguous() for k, v in decoder.state_dict().items()})
            write_atomically(target / f"{part}.safetensors", content)
            parts[part] = {
                "sha256": hashlib.sha256(content).hexdigest(),
                "width": decoder.width,
                "layers": [asdict(layer) for layer in decoder.layers],
            }
        stated = {"format": FORMAT, "made_for": made_for, **about, "parts": parts}
        write_atomically(target / CONFIG_FILE, to_toml(stated).encode())
    except OSError as error:
        raise SpeechXAIError(
            f"{target}: the interpreter cannot be written ({error.strerror}). Copy the model to a folder of yours."
        ) from error
    return target
