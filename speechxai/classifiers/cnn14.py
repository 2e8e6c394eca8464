"""CNN14 of the pretrained audio neural networks (kong2020panns), on mel features: the auxiliary network of mancini2025investigating."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speechxai.errors import SpeechXAIError

N_PARAMETERS = 80_753_615
"""Parameters with 64 mel bands and the 527 classes of AudioSet (kong2020panns, table XII)."""

CHANNELS = (64, 128, 256, 512, 1024, 2048)
_FRONT_END = ("spectrogram_extractor.", "logmel_extractor.", "spec_augmenter.")


class ConvBlock(nn.Module):
    """Two 3 x 3 convolutions with batch normalization and ReLU, then mean pooling: (B, C, T, M) to (B, C', T / p, M / p)."""

    def __init__(self, n_in: int, n_out: int, pool: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.pool = nn.AvgPool2d(pool)

    def forward(self, values: Tensor) -> Tensor:
        """(B, C, T, M) to (B, C', T / p, M / p)."""
        values = torch.relu(self.bn1(self.conv1(values)))
        return self.pool(torch.relu(self.bn2(self.conv2(values))))  # type: ignore[no-any-return]


class Cnn14(nn.Module):
    """Six convolution blocks, mean over bands, maximum + mean over time, a dense layer of 2048, class logits.

    The layers have the published names, and time comes before frequency inside, so that published weights fit. The number
    of mel bands changes `bn0` alone (2 parameters a band). The published network ends in a sigmoid; here are its logits.

    Args:
        n_mels: mel bands M, at least 32, since five poolings halve them.
        n_classes: logits.

    Raises:
        SpeechXAIError: too few bands.
    """

    def __init__(self, n_mels: int = 64, n_classes: int = 527) -> None:
        super().__init__()
        if n_mels < 32:
            raise SpeechXAIError(f"The 'n_mels' parameter of cnn14 must be at least 32. Got {n_mels} instead.")
        self.bn0 = nn.BatchNorm2d(n_mels)
        for index, (n_in, n_out) in enumerate(zip((1, *CHANNELS[:-1]), CHANNELS, strict=True), start=1):
            self.add_module(f"conv_block{index}", ConvBlock(n_in, n_out, 2 if index < len(CHANNELS) else 1))
        self.fc1 = nn.Linear(CHANNELS[-1], CHANNELS[-1])
        self.fc_audioset = nn.Linear(CHANNELS[-1], n_classes)
        self.block_dropout, self.dense_dropout = nn.Dropout(0.2), nn.Dropout(0.5)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def blocks(self, features: Tensor) -> Tensor:
        """Features (B, 1, M, T) to the last feature map (B, 2048, T / 32, M / 32). Raises SpeechXAIError below 32 frames."""
        if features.shape[-1] < 32:
            raise SpeechXAIError(f"cnn14 needs at least 32 frames, since five poolings halve them. Got {features.shape[-1]} instead.")  # fmt: skip
        values: Tensor = self.bn0(features.permute(0, 2, 3, 1)).permute(0, 3, 2, 1)  # (B, 1, T, M), normalized by band
        for index in range(1, len(CHANNELS) + 1):
            values = self.block_dropout(self.get_submodule(f"conv_block{index}")(values))
        return values

    def embedding(self, features: Tensor) -> Tensor:
        """Features (B, 1, M, T) to the embedding (B, 2048)."""
        over_bands = self.blocks(features).mean(dim=3)
        pooled = over_bands.amax(dim=2) + over_bands.mean(dim=2)
        return torch.relu(self.fc1(self.dense_dropout(pooled)))

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, 1, M, T), T at least 32 frames, to logits (B, C)."""
        return self.fc_audioset(self.dense_dropout(self.embedding(features)))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Transfer:
    """Which published weights a network took: names of its own tensors that were set, and of those that stay as they were."""

    loaded: tuple[str, ...]
    kept: tuple[str, ...]


def load_published(network: Cnn14, state: Mapping[str, Tensor]) -> Transfer:
    """Copy published AudioSet weights into `network`; `bn0` and `fc_audioset` stay where bands or classes differ.

    Args:
        state: tensors by name, as published (`conv_block1.conv1.weight`, ..., `bn0.*`, `fc1.*`, `fc_audioset.*`); those of the
            published spectrogram layers are left out, since features are computed outside the network.

    Raises:
        SpeechXAIError: a tensor of the blocks or of `fc1` is missing or has another shape, or one is not known.
    """
    own = network.state_dict()
    given = {name: value for name, value in state.items() if not name.startswith(_FRONT_END)}
    unknown = sorted(set(given) - set(own))
    if unknown:
        raise SpeechXAIError(
            f"These are no weights of CNN14: '{unknown[0]}' is not known ({len(unknown)} such tensors)."
        )
    fitting = {name: value for name, value in given.items() if value.shape == own[name].shape}
    kept = tuple(name for name in own if name not in fitting)
    wrong = [name for name in kept if not name.startswith(("bn0.", "fc_audioset."))]
    if wrong:
        found = tuple(given[wrong[0]].shape) if wrong[0] in given else "nothing"
        raise SpeechXAIError(
            f"'{wrong[0]}' must have the shape {tuple(own[wrong[0]].shape)}. The weights hold {found}."
        )
    network.load_state_dict(fitting, strict=False)
    return Transfer(tuple(fitting), kept)
