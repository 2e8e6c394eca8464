"""Speech foundation models (HuBERT, WavLM, wav2vec 2.0) as classifiers of the explained magnitude."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from speechxai.classifiers.base import BACKBONES
from speechxai.classifiers.layers import WaveformDoor
from speechxai.classifiers.ssl_architectures import architecture, make, receptive_field_samples
from speechxai.classifiers.ssl_head import SslHead
from speechxai.errors import SpeechXAIError
from speechxai.registry import did_you_mean
from speechxai.stft import inverse
from speechxai.types import StftConfig

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
        freeze: what fine-tuning leaves as it is: "none", "feature_extractor", "all" or the number of transformer layers,
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
                f"The 'freeze' parameter of ssl must be 'none', 'feature_extractor', 'all' or a number of layers from 0 to {n_layers}. "
                f"Got {self.freeze!r} instead."
            )


class Attention(NamedTuple):
    """What attention rollout needs: `layers` (L, B, T', T'), mean over heads; `time` (B, T') and `mix` (L + 1,) of the head."""

    layers: Tensor
    time: Tensor
    mix: Tensor


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
                f"A {self.config.family} network needs at least {self.min_samples} samples (25 ms). Got {waveform.shape[-1]} samples instead."
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
        """Attention weights of waveforms (B, N), mean over heads, computed again from each layer's input: no hook is set."""
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
    """softmax(q k / sqrt(d) + gated position bias) of torchaudio's attention: input (B, T', C) to (B, heads, T', T')."""
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

    def attention_maps(self, magnitude: Tensor, phase: Tensor) -> Attention:
        """Attention of segments (S, F, L) twice; see `SslNetwork.attention_maps`."""
        return self.network.attention_maps(inverse(magnitude, phase, self.stft))


@BACKBONES.register(hears="waveform", cites="laquatra2024exploiting", example={"size": "tiny"})
def ssl(stft: StftConfig, **options: Any) -> nn.Module:
    """HuBERT, WavLM or wav2vec 2.0 with a mix of all layers, attention pooling and two hidden layers; options: SslConfig."""
    if stft.sample_rate != SAMPLE_RATE_HZ:
        raise SpeechXAIError(
            f"Speech foundation models hear {SAMPLE_RATE_HZ} Hz. Got an STFT at {stft.sample_rate} Hz instead."
        )
    known = [item.name for item in fields(SslConfig)]
    for name in options:
        if name not in known:
            raise SpeechXAIError(did_you_mean(name, known, "option of the backbone 'ssl'"))
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
