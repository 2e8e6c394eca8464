"""Speech foundation models (HuBERT, WavLM, wav2vec 2.0) as classifiers of the explained magnitude."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from speechxai.classifiers.base import BACKBONES
from speechxai.classifiers.network import Attention, WaveformDoor
from speechxai.errors import SpeechXAIError, did_you_mean
from speechxai.signal.stft import inverse
from speechxai.types import StftConfig

# The one door to torchaudio, which fits one kind of PyTorch and refuses at import beside any other: everything but the
# speech foundation models runs without.
PAIR = ("torch>=2.11,<2.15", "torchaudio>=2.11,<2.12")
"""Versions that fit each other, as pyproject.toml asks for them."""


def load_torchaudio() -> Any:
    """Import torchaudio.

    Raises:
        SpeechXAIError: it is missing or does not fit the installed PyTorch; the message has both versions and the
            command that mends it.
    """
    try:
        import torchaudio
        import torchaudio.models
        import torchaudio.pipelines
    # Another CUDA is a RuntimeError, a library that does not link an OSError, a function that is gone an
    # AttributeError.
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        versions = f"torch {_version('torch')} and torchaudio {_version('torchaudio')}"
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        command = " ".join(f'"{requirement}"' for requirement in PAIR)
        raise SpeechXAIError(
            f"Speech foundation models need torchaudio, which cannot be loaded ({versions} are installed): {reason}. "
            f"Install a pair that fits: pip install {command}"
        ) from error
    return torchaudio


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "(none)"


# Shapes of the speech foundation models: HuBERT, WavLM and wav2vec 2.0, and of their tiny likenesses for tests.
FAMILIES = ("hubert", "wav2vec2", "wavlm")
"""Families by name; HuBERT and wav2vec 2.0 are one architecture with different training."""

SIZES = ("tiny", "base", "large")
"""`tiny` (random weights, 0.1 M parameters) exists for tests; `base` has 95 M parameters, `large` 316 M."""

STRIDES = (5, 2, 2, 2, 2, 2, 2)
"""Strides of the convolutions of every published model: one token in 320 samples (20 ms at 16 kHz)."""

_KERNELS = (10, 3, 3, 3, 3, 2, 2)
_WAVLM_ONLY = ("encoder_num_buckets", "encoder_max_distance")


def convolutions(n_channels: int) -> list[list[int]]:
    """Convolution front end of every published model as [channels, kernel (samples), stride (samples)] rows."""
    return [[n_channels, kernel, stride] for kernel, stride in zip(_KERNELS, STRIDES, strict=True)]


_BASE: dict[str, Any] = {
    "extractor_mode": "group_norm",
    "extractor_conv_layer_config": convolutions(512),
    "extractor_conv_bias": False,
    "encoder_embed_dim": 768,
    "encoder_projection_dropout": 0.1,
    "encoder_pos_conv_kernel": 128,
    "encoder_pos_conv_groups": 16,
    "encoder_num_layers": 12,
    "encoder_num_heads": 12,
    "encoder_num_buckets": 320,
    "encoder_max_distance": 800,
    "encoder_attention_dropout": 0.1,
    "encoder_ff_interm_features": 3072,
    "encoder_ff_interm_dropout": 0.1,
    "encoder_dropout": 0.1,
    "encoder_layer_norm_first": False,
    "encoder_layer_drop": 0.1,
}
_LARGE = _BASE | {
    "encoder_embed_dim": 1024,
    "encoder_num_layers": 24,
    "encoder_num_heads": 16,
    "encoder_ff_interm_features": 4096,
}
_TINY = _BASE | {
    "extractor_conv_layer_config": convolutions(32),
    "encoder_embed_dim": 48,
    "encoder_pos_conv_kernel": 16,
    "encoder_pos_conv_groups": 4,
    "encoder_num_layers": 2,
    "encoder_num_heads": 4,
    "encoder_num_buckets": 32,
    "encoder_max_distance": 128,
    "encoder_ff_interm_features": 96,
    "encoder_layer_drop": 0.0,
}
# Which large models normalize every convolution and put the norm first differs by family (their published
# configurations).
_NORM_FIRST = {"extractor_mode": "layer_norm", "encoder_layer_norm_first": True}
_TABLE: dict[tuple[str, str], dict[str, Any]] = {
    **{(family, "tiny"): _TINY for family in FAMILIES},
    **{(family, "base"): _BASE for family in FAMILIES},
    ("hubert", "large"): _LARGE | _NORM_FIRST | {"extractor_conv_bias": False},
    ("wav2vec2", "large"): _LARGE,
    ("wavlm", "large"): _LARGE | _NORM_FIRST,
}

BUNDLES: dict[str, tuple[str, str]] = {
    "HUBERT_BASE": ("hubert", "base"),
    "HUBERT_LARGE": ("hubert", "large"),
    "WAV2VEC2_BASE": ("wav2vec2", "base"),
    "WAV2VEC2_LARGE": ("wav2vec2", "large"),
    "WAV2VEC2_LARGE_LV60K": ("wav2vec2", "large"),
    "WAV2VEC2_XLSR53": ("wav2vec2", "large"),
    "WAV2VEC2_XLSR_300M": ("wav2vec2", "large"),
    "WAVLM_BASE": ("wavlm", "base"),
    "WAVLM_BASE_PLUS": ("wavlm", "base"),
    "WAVLM_LARGE": ("wavlm", "large"),
}
"""Pretrained weights that torchaudio offers for download, with family and size."""


def architecture(family: str, size: str, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Architecture of a family ("hubert", "wav2vec2", "wavlm") and size ("tiny", "base", "large"), single values
    overridden.

    Raises:
        SpeechXAIError: an unknown family, size or name in `overrides`.
    """
    if family not in FAMILIES:
        raise SpeechXAIError(did_you_mean(family, list(FAMILIES), "family of speech models"))
    if size not in SIZES:
        raise SpeechXAIError(did_you_mean(size, list(SIZES), "size of speech models"))
    values = dict(_TABLE[family, size])
    for name, value in (overrides or {}).items():
        if name not in values:
            raise SpeechXAIError(did_you_mean(name, list(values), "value of a speech model's architecture"))
        values[name] = value
    if family != "wavlm":
        for name in _WAVLM_ONLY:
            del values[name]
    return values


def as_options(family: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the backbone `ssl` (family, size, overrides, normalize) that give the architecture `found`."""
    size = "large" if found.get("encoder_embed_dim", 768) == 1024 else "base"
    published = architecture(family, size)
    overrides = {name: value for name, value in found.items() if name in published and published[name] != value}
    return {"family": family, "size": size, "overrides": overrides, "normalize": False}


class BundleFacts(NamedTuple):
    """What torchaudio says of pretrained weights; `normalize`: recordings get mean 0 and variance 1 first."""

    family: str
    architecture: dict[str, Any]
    normalize: bool
    file_name: str


def from_bundle(name: str) -> BundleFacts:
    """Return what torchaudio says of its pretrained weights `name`, one of BUNDLES."""
    bundle = getattr(load_torchaudio().pipelines, name)
    values = {key: value for key, value in bundle._params.items() if key != "aux_num_out"}
    rows = values["extractor_conv_layer_config"]
    values["extractor_conv_layer_config"] = convolutions(512) if rows is None else [list(row) for row in rows]
    return BundleFacts(BUNDLES[name][0], values, bool(bundle._normalize_waveform), bundle._path)


def download(name: str) -> dict[str, Tensor]:
    """Weights `name` of BUNDLES under torchaudio's names, downloaded once into torch's cache.

    Raises:
        SpeechXAIError: no network; the message says which file to put where.
    """
    pipelines = load_torchaudio().pipelines
    try:
        network = getattr(pipelines, name).get_model(dl_kwargs={"weights_only": True})
    except OSError as error:  # URLError and HTTPError are of this kind.
        file = from_bundle(name).file_name
        raise SpeechXAIError(
            f"The pretrained weights {name} cannot be downloaded: {error}. On a machine with a network, fetch"
            f" https://download.pytorch.org/torchaudio/models/{file} and put it here as"
            f" {Path(torch.hub.get_dir()) / 'checkpoints' / file}, or give the file's path instead of the name."
        ) from error
    return dict(getattr(network, "model", network).state_dict())


def make(family: str, values: Mapping[str, Any]) -> Any:
    """Build torchaudio's network of an architecture, with random weights.

    Raises:
        SpeechXAIError: values that do not fit together, for example a width that the heads do not divide; or no
            torchaudio
            that fits the installed PyTorch.
    """
    models = load_torchaudio().models
    rows = [tuple(int(number) for number in row) for row in values["extractor_conv_layer_config"]]
    factory = models.wavlm_model if family == "wavlm" else models.wav2vec2_model
    if values["encoder_embed_dim"] % values["encoder_num_heads"]:
        raise SpeechXAIError(
            f"A speech model's 'encoder_num_heads' must divide 'encoder_embed_dim' = {values['encoder_embed_dim']}. "
            f"Got {values['encoder_num_heads']} instead."
        )
    try:
        network = factory(**{**values, "extractor_conv_layer_config": rows}, aux_num_out=None)
    except (TypeError, ValueError) as error:
        raise SpeechXAIError(f"The architecture of the {family} network does not fit together: {error}") from error
    return network


def receptive_field_samples(values: Mapping[str, Any]) -> int:
    """Shortest waveform that gives one token, samples (400 for every published model)."""
    length = 1
    for _, kernel, stride in reversed(values["extractor_conv_layer_config"]):
        length = (length - 1) * stride + kernel
    return length


# The head that turns all hidden layers of a speech foundation model into class logits (La Quatra et al., Interspeech
# 2024).
class SslHead(nn.Module):
    """Learned mean of all hidden layers, attention pooling over time, hidden layers with ReLU, class logits.

    f_t = sum_l softmax(w)_l LayerNorm_l(h_l,t);  v = sum_t softmax_t(a . f_t + b) f_t;  logits = MLP(v)
    (laquatra2024exploiting).

    Args:
        n_layers: hidden layers L that are mixed; the embedding before the first transformer layer counts as one.
        width: features C of every hidden layer.
        hidden_size: units of each hidden layer of the classifier.
        n_hidden: how many of those there are.
        n_classes: logits; 1 means one logit, read as the log odds of class 1.
        dropout: share of hidden units dropped in training.

    Raises:
        SpeechXAIError: a number below 1.
    """

    def __init__(
        self,
        n_layers: int,
        width: int,
        hidden_size: int = 768,
        n_hidden: int = 2,
        n_classes: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        for name, value in {
            "n_layers": n_layers,
            "hidden_size": hidden_size,
            "n_hidden": n_hidden,
            "n_classes": n_classes,
        }.items():
            if value < 1:
                raise SpeechXAIError(
                    f"The '{name}' parameter of the ssl head must be at least 1. Got {value!r} instead."
                )
        self.layer_weights = nn.Parameter(torch.ones(n_layers))
        self.layer_norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(n_layers)])
        self.pooling = nn.Linear(width, 1)
        blocks: list[nn.Module] = []
        for index in range(n_hidden):
            blocks += [nn.Linear(width if index == 0 else hidden_size, hidden_size), nn.ReLU(), nn.Dropout(dropout)]
        self.hidden = nn.Sequential(*blocks)
        self.output = nn.Linear(hidden_size, n_classes)
        for name, parameter in self.named_parameters():
            if name.startswith(("pooling", "hidden", "output")):
                nn.init.xavier_normal_(parameter) if parameter.ndim > 1 else nn.init.zeros_(parameter)

    def mix(self, layers: list[Tensor]) -> Tensor:
        """Mix hidden layers, a list of L tensors (B, T', C), into features (B, T', C)."""
        weights = self.layer_weights.softmax(dim=0)
        mixed = torch.zeros_like(layers[0])
        for weight, norm, layer in zip(weights, self.layer_norms, layers, strict=True):
            mixed = mixed + weight * norm(layer)
        return mixed

    def time_weights(self, features: Tensor) -> Tensor:
        """Share of every token in the pooled vector: features (B, T', C) to (B, T'), rows summing to 1."""
        return self.pooling(features).squeeze(-1).softmax(dim=-1)  # type: ignore[no-any-return]

    def forward(self, layers: list[Tensor]) -> Tensor:
        """Hidden layers, a list of L tensors (B, T', C), to logits (B, n_classes)."""
        features = self.mix(layers)
        pooled = (self.time_weights(features).unsqueeze(-1) * features).sum(dim=1)
        return self.output(self.hidden(pooled))  # type: ignore[no-any-return]


# Speech foundation models (HuBERT, WavLM, wav2vec 2.0) as classifiers of the explained magnitude.
SAMPLE_RATE_HZ = 16_000


@dataclass(frozen=True)
class SslConfig:
    """Settings of an ssl classifier; all of them fit into a bundle's `config.toml`.

    Args:
        family: "hubert", "wav2vec2" or "wavlm".
        size: "tiny", "base" or "large".
        overrides: single values of the architecture that differ from the size's, by torchaudio's name.
        normalize: each waveform gets mean 0 and variance 1 first, as the large models were trained.
        n_classes: logits; 1 means one logit, read as the log odds of class 1.
        hidden_size, n_hidden: units and number of the classifier's hidden layers.
        dropout: share of the classifier's hidden units dropped in training.
        freeze: what fine-tuning leaves as it is: "none", "feature_extractor", "all" or the number of transformer
            layers,
            counted from the input, that stay (with everything before them).
        precision: "float32", or "bfloat16" for the foundation model's products on devices that are fast at it.
        gradient_checkpointing: training computes the layers again in the backward pass instead of keeping them.

    Raises:
        SpeechXAIError: values out of range.
    """

    family: str = "hubert"
    size: str = "base"
    overrides: dict[str, Any] = field(default_factory=dict)
    normalize: bool = False
    n_classes: int = 2
    hidden_size: int = 768
    n_hidden: int = 2
    dropout: float = 0.1
    freeze: str | int = "none"
    precision: str = "float32"
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        if self.precision not in ("float32", "bfloat16"):
            raise SpeechXAIError(
                f"The 'precision' parameter of ssl must be 'float32' or 'bfloat16'. Got {self.precision!r} instead."
            )
        n_layers = architecture(self.family, self.size, self.overrides)["encoder_num_layers"]
        known = self.freeze in ("none", "feature_extractor", "all")
        if not known and not (type(self.freeze) is int and 0 <= self.freeze <= n_layers):
            raise SpeechXAIError(
                "The 'freeze' parameter of ssl must be 'none', 'feature_extractor', 'all' or a number of layers from 0"
                f" to {n_layers}. Got {self.freeze!r} instead."
            )


class SslNetwork(nn.Module):
    """A speech foundation model with the head of La Quatra et al. 2024: waveform (B, N) in, logits (B, C) out."""

    def __init__(self, config: SslConfig) -> None:
        super().__init__()
        self.config = config
        values = architecture(config.family, config.size, config.overrides)
        self.n_layers = int(values["encoder_num_layers"])
        self.min_samples = receptive_field_samples(values)
        self.layer_drop = float(values["encoder_layer_drop"])
        self.ssl: Any = make(config.family, values)
        self.head = SslHead(
            self.n_layers + 1,
            values["encoder_embed_dim"],
            config.hidden_size,
            config.n_hidden,
            config.n_classes,
            config.dropout,
        )
        for module in self.frozen():
            module.requires_grad_(False)

    def frozen(self) -> list[nn.Module]:
        """Modules that fine-tuning leaves as they are."""
        freeze, encoder = self.config.freeze, self.ssl.encoder
        if freeze == "none":
            return []
        if freeze == "all":
            return [self.ssl]
        if freeze == "feature_extractor":
            return [self.ssl.feature_extractor]
        layers = list(encoder.transformer.layers[: int(freeze)])
        early = [self.ssl.feature_extractor, encoder.feature_projection, encoder.transformer.pos_conv_embed]
        if encoder.transformer.layer_norm_first:
            early.append(encoder.transformer.layer_norm)
        return early + layers

    def train(self, mode: bool = True) -> SslNetwork:
        """Set the mode; what is frozen stays in evaluation mode, so that its dropout does not add noise."""
        super().train(mode)
        for module in self.frozen():
            module.eval()
        return self

    def hidden_states(self, waveform: Tensor) -> list[Tensor]:
        """Hidden layers of waveforms (B, N): the embedding, then every transformer layer, each (B, T', C).

        As Hugging Face's `hidden_states` up to its version 4: where norms come first, the last one is normalized.

        Raises:
            SpeechXAIError: waveforms too short for one token.
        """
        layers = [state for state, _, _ in self._walk(waveform)]
        transformer = self.ssl.encoder.transformer
        # torchaudio calls the final norm's place 'layer_norm_first' with the opposite sense of its layers.
        if not transformer.layer_norm_first:
            layers[-1] = transformer.layer_norm(layers[-1])
        return layers

    def _walk(self, waveform: Tensor) -> Iterator[tuple[Tensor, Any, Tensor | None]]:
        """Yield each hidden state with the layer it goes into next and that layer's position bias."""
        if waveform.shape[-1] < self.min_samples:
            raise SpeechXAIError(
                f"A {self.config.family} network needs at least {self.min_samples} samples (25 ms). Got"
                f" {waveform.shape[-1]} samples instead."
            )
        if self.config.normalize:
            centered = waveform - waveform.mean(dim=-1, keepdim=True)
            waveform = centered / (centered.square().mean(dim=-1, keepdim=True) + 1e-7).sqrt()
        encoder = self.ssl.encoder
        features, _ = self.ssl.feature_extractor(waveform, None)
        state = encoder.transformer._preprocess(encoder.feature_projection(features))
        bias: Tensor | None = None
        for index, layer in enumerate(encoder.transformer.layers):
            yield state, layer, bias
            # The first layer also makes the position bias of all later ones, so it is never dropped.
            if self.training and index and self.layer_drop and torch.rand(()).item() < self.layer_drop:
                continue
            if self.config.gradient_checkpointing and self.training and torch.is_grad_enabled():
                state, bias = checkpoint(layer, state, None, bias, use_reentrant=False)
            else:
                state, bias = layer(state, None, bias)
        yield state, None, None

    def forward(self, waveform: Tensor) -> Tensor:
        """Waveforms (B, N) at 16 kHz to logits (B, C)."""
        if self.config.precision == "bfloat16":
            with torch.autocast(waveform.device.type, torch.bfloat16):
                layers = self.hidden_states(waveform)
            layers = [layer.to(waveform.dtype) for layer in layers]
        else:
            layers = self.hidden_states(waveform)
        return self.head(layers)  # type: ignore[no-any-return]

    @torch.no_grad()
    def attention_maps(self, waveform: Tensor) -> Attention:
        """Attention weights of waveforms (B, N), mean over heads, computed again from each layer's input: no hook is
        set."""
        weights: list[Tensor] = []
        bias: Tensor | None = None
        states: list[Tensor] = []
        for state, layer, passed in self._walk(waveform):
            states.append(state)
            if layer is None:
                break
            inner = layer.layer_norm(state) if layer.layer_norm_first else state
            block = layer.attention
            if passed is None and getattr(block, "rel_attn_embed", None) is not None:
                bias = block.compute_bias(state.shape[1], state.shape[1])[None].expand(len(state), -1, -1, -1)
            weights.append(attention_weights(block, inner, bias).mean(dim=1))
        transformer = self.ssl.encoder.transformer
        if not transformer.layer_norm_first:
            states[-1] = transformer.layer_norm(states[-1])
        time = self.head.time_weights(self.head.mix(states))
        return Attention(torch.stack(weights), time, self.head.layer_weights.softmax(dim=0))


def attention_weights(block: Any, state: Tensor, bias: Tensor | None) -> Tensor:
    """softmax(q k / sqrt(d) + gated position bias) of torchaudio's attention: input (B, T', C) to (B, heads, T',
    T')."""
    shape = (*state.shape[:2], block.num_heads, block.head_dim)
    if hasattr(block, "q_proj"):
        query, key = block.q_proj(state), block.k_proj(state)
    else:
        query, key, _ = nn.functional.linear(state, block.attention.in_proj_weight, block.attention.in_proj_bias).chunk(
            3, -1
        )
    query, key = query.view(shape).transpose(1, 2), key.view(shape).transpose(1, 2)
    scores = query @ key.transpose(-2, -1) * block.head_dim**-0.5
    if bias is not None:
        # WavLM's gate on the relative position (chen2022wavlm, equation 4): per head and query, from the layer's input.
        gates = block.gru_rel_pos_linear(state.view(shape).transpose(1, 2)).unflatten(-1, (2, 4)).sum(-1).sigmoid()
        update, reset = gates.unbind(-1)
        gate = update.unsqueeze(-1) * (reset.unsqueeze(-1) * block.gru_rel_pos_const - 1.0) + 2.0
        scores = scores + gate * bias
    return scores.softmax(dim=-1)  # type: ignore[no-any-return]


class Ssl(WaveformDoor):
    """An ssl network heard through the inverse STFT; `cam_layer` names the last transformer layer for Grad-CAM."""

    max_batch = 4
    one_at_a_time = True
    network: SslNetwork

    def __init__(self, network: SslNetwork, stft: StftConfig) -> None:
        super().__init__(network, stft)
        self.cam_layer = f"network.ssl.encoder.transformer.layers.{network.n_layers - 1}"

    @property
    def hidden_trunk(self) -> nn.Module:
        """What comes before the head."""
        return self.network.ssl  # type: ignore[no-any-return]

    def hidden_stages(self) -> dict[str, nn.Module]:
        """Modules whose outputs are the hidden layers."""
        layers = self.network.ssl.encoder.transformer.layers
        return {f"layer{index + 1}": layer for index, layer in enumerate(layers)}

    def attention_maps(self, magnitude: Tensor, phase: Tensor, n_samples: int | None = None) -> Attention:
        """Attention of segments (S, F, L) twice; see `SslNetwork.attention_maps`."""
        return self.network.attention_maps(inverse(magnitude, phase, self.stft, n_samples))


@BACKBONES.register(hears="waveform", cites="laquatra2024exploiting", example={"size": "tiny"}, takes=SslConfig)
def ssl(stft: StftConfig, **options: Any) -> nn.Module:
    """HuBERT, WavLM or wav2vec 2.0 with a mix of all layers, attention pooling and two hidden layers; options:
    SslConfig."""
    if stft.sample_rate != SAMPLE_RATE_HZ:
        raise SpeechXAIError(
            f"Speech foundation models hear {SAMPLE_RATE_HZ} Hz. Got an STFT at {stft.sample_rate} Hz instead."
        )
    return Ssl(SslNetwork(SslConfig(**options)), stft)


def parameter_groups(model: nn.Module, lr: float, decay: float = 1.0) -> list[dict[str, Any]]:
    """Trainable parameters in groups whose learning rate falls by `decay` per transformer layer below the head.

    lr of the head; lr * decay^(n - i) of transformer layer i = 0 ... n - 1; lr * decay^(n + 1) of everything before. A
    network of another kind is one group (clark2020electra).

    Raises:
        SpeechXAIError: `lr` not positive, or `decay` outside 0 < decay <= 1.
    """
    if lr <= 0 or not 0 < decay <= 1:
        raise SpeechXAIError(
            f"Learning rates need lr > 0 and 0 < decay <= 1. Got lr = {lr!r} and decay = {decay!r} instead."
        )
    network = next((module for module in model.modules() if isinstance(module, SslNetwork)), None)
    groups: dict[int, list[nn.Parameter]] = {}
    layers = list(network.ssl.encoder.transformer.layers) if network else []
    depth = {
        id(parameter): len(layers) - index for index, layer in enumerate(layers) for parameter in layer.parameters()
    }
    early = {id(parameter) for parameter in network.ssl.parameters()} if network else set()
    for parameter in model.parameters():
        if parameter.requires_grad:
            default = len(layers) + 1 if id(parameter) in early else 0
            groups.setdefault(depth.get(id(parameter), default), []).append(parameter)
    return [{"params": groups[level], "lr": lr * decay**level} for level in sorted(groups)]
