"""A small convolutional network on log-mel features: light enough to explain on a laptop."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from speechxai.classifiers.base import BACKBONES
from speechxai.classifiers.layers import LogMel
from speechxai.errors import SpeechXAIError
from speechxai.types import StftConfig


class Cnn(nn.Module):
    """Log-mel front end, convolution blocks with ReLU and average pooling, attention-free mean over time, class logits.

    Every activation is a module of its own and pooling is by mean, so that every attribution rule applies. `features`
    is the feature map that Grad-CAM weights, (B, C, M', T').

    Args:
        stft: settings of the magnitude.
        n_mels: mel bands.
        channels: output channels of the blocks.
        n_classes: logits.
        dropout: share of features dropped before the last layer.
        f_max_hz: highest frequency heard, Hz.
    """

    def __init__(
        self,
        stft: StftConfig,
        n_mels: int = 64,
        channels: tuple[int, ...] = (12, 24, 32, 48),
        n_classes: int = 2,
        dropout: float = 0.3,
        f_max_hz: float = 8000.0,
    ) -> None:
        super().__init__()
        if not channels:
            raise SpeechXAIError("The 'channels' parameter of Cnn must hold at least one number.")
        self.front_end = LogMel(stft, n_mels, f_max_hz=f_max_hz)
        blocks: list[nn.Module] = []
        previous = 1
        for index, width in enumerate(channels):
            blocks += [nn.Conv2d(previous, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            if index < len(channels) - 1:
                blocks.append(nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False))
            previous = width
        self.features = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(2 * previous, n_classes)

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        """Magnitude (B, F, T) to logits (B, C); the phase is not used."""
        maps = self.features(self.front_end(magnitude))
        over_time = maps.mean(dim=-1)
        half = over_time.shape[-1] // 2
        low, high = over_time[..., :half].mean(-1), over_time[..., half:].mean(-1)
        return self.classifier(self.dropout(torch.cat([low, high], dim=-1)))  # type: ignore[no-any-return]


@BACKBONES.register(hears="magnitude", cites="mancini2025investigating")
def cnn(stft: StftConfig, **options: Any) -> nn.Module:
    """Small CNN on log-mel features, under 300 k parameters; Grad-CAM layer `features`."""
    if "channels" in options:
        options = {**options, "channels": tuple(options["channels"])}
    return Cnn(stft, **options)
