"""A small convolutional network on log-mel features: light enough to explain on a laptop."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from speechxai.classifiers.base import BACKBONES
from speechxai.errors import SpeechXAIError
from speechxai.signal.stft import linear_magnitude
from speechxai.types import StftConfig


# The log-mel front end on an explained magnitude.
def _librosa() -> tuple[Any, Any]:
    """`librosa.filters.mel` and `librosa.mel_frequencies`."""
    # Imported here: numba and scipy.signal come along and take more than a second.
    try:
        from librosa import mel_frequencies
        from librosa.filters import mel
    except RuntimeError:
        # numba refuses where it may write neither beside librosa nor into the user's cache, as in a read-only
        # container.
        import numba

        config: Any = numba.config
        # Of this process alone, since what numba reads there it runs; nothing of ours is compiled, so it stays empty.
        with tempfile.TemporaryDirectory() as folder:
            before, config.CACHE_DIR = config.CACHE_DIR, folder
            try:
                from librosa import mel_frequencies
                from librosa.filters import mel
            finally:
                config.CACHE_DIR = before
    return mel, mel_frequencies


def mel_filters(stft: StftConfig, n_mels: int, f_min_hz: float, f_max_hz: float) -> Tensor:
    """Triangles (F, M) of height 1 whose corners lie at equal steps of HTK's mel scale; a band narrower than a bin is
    all 0."""
    mel, mel_frequencies = _librosa()
    # Bands of equal area, and back to equal height: without a norm librosa loads functions that numba compiles at their
    # first use, 20 s on a fresh installation for a factor of 1.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Empty filters detected in mel frequency basis")
        bands = mel(
            sr=stft.sample_rate,
            n_fft=stft.n_fft,
            n_mels=n_mels,
            fmin=f_min_hz,
            fmax=f_max_hz,
            htk=True,
            norm="slaney",
            dtype=np.float64,
        )
    corners_hz = mel_frequencies(n_mels + 2, fmin=f_min_hz, fmax=f_max_hz, htk=True)
    heights = (corners_hz[2:] - corners_hz[:-2]) / 2
    return torch.from_numpy((bands * heights[:, None]).T.astype(np.float32, order="C"))


def slaney_mel_filters(sample_rate: int, n_fft: int, n_mels: int) -> Tensor:
    """Triangles (M, F) of equal area on Slaney's mel scale from 0 to half the sample rate, as Whisper has them."""
    mel, _ = _librosa()
    return torch.from_numpy(mel(sr=sample_rate, n_fft=n_fft, n_mels=n_mels, dtype=np.float64)).float()


def symmetric_mel_filters(stft: StftConfig, n_mels: int) -> Tensor:
    """Triangles (M, F) of height 1 around equal steps of HTK's mel scale from 0 to half the sample rate, as SpeechBrain
    has them: both sides are as wide as the step below the center."""
    _, mel_frequencies = _librosa()
    corners_hz = torch.from_numpy(mel_frequencies(n_mels + 2, fmin=0.0, fmax=stft.sample_rate / 2, htk=True))
    width = corners_hz[1:-1] - corners_hz[:-2]
    frequencies = torch.linspace(0, stft.sample_rate / 2, stft.n_bins, dtype=torch.float64)
    return (1 - (frequencies - corners_hz[1:-1, None]).abs() / width[:, None]).clamp(min=0).float()


class LogMel(nn.Module):
    """Explained magnitude (B, F, T) to normalized log-mel features (B, 1, M, T).

    log(mel + floor) with a fixed floor and the training set's mean and deviation per band: nothing depends on the
    recording as a whole, so that evidence stays where it is.

    Args:
        stft: settings of the magnitude.
        n_mels: number of mel bands M.
        f_min_hz, f_max_hz: lowest and highest frequency, Hz.
        floor: added to the mel magnitude before the logarithm.

    Raises:
        SpeechXAIError: no frequency range, or bands so many that some hold no bin.
    """

    filters: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(
        self, stft: StftConfig, n_mels: int = 64, f_min_hz: float = 50.0, f_max_hz: float = 8000.0, floor: float = 1e-2
    ) -> None:
        super().__init__()
        self.stft = stft
        self.floor = floor
        top = min(f_max_hz, stft.sample_rate / 2)
        if not 0 <= f_min_hz < top:
            raise SpeechXAIError(
                f"The 'f_max_hz' parameter must be above f_min_hz = {f_min_hz:g} Hz and heard at {stft.sample_rate} Hz."
                f" Got {f_max_hz:g} instead."
            )
        filters = mel_filters(stft, n_mels, f_min_hz, top)
        n_empty = int((filters.sum(dim=0) == 0).sum())
        if n_empty:
            raise SpeechXAIError(
                f"The 'n_mels' parameter leaves {n_empty} of {n_mels} mel bands empty at {stft.bin_hz:.1f} Hz a bin."
                " Take fewer bands or a longer n_fft."
            )
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("mean", torch.zeros(n_mels))
        self.register_buffer("deviation", torch.ones(n_mels))

    def raw(self, magnitude: Tensor) -> Tensor:
        """Log-mel values (B, M, T) before normalization."""
        # Small and before a logarithm: it stays exact where the network behind it is computed in bfloat16.
        with torch.autocast(magnitude.device.type, enabled=False):
            linear = linear_magnitude(magnitude, self.stft)
            return torch.log((linear.transpose(1, 2) @ self.filters).transpose(1, 2) + self.floor)

    def forward(self, magnitude: Tensor) -> Tensor:
        """(B, F, T) to (B, 1, M, T)."""
        return ((self.raw(magnitude) - self.mean[:, None]) / self.deviation[:, None]).unsqueeze(1)

    def set_statistics(self, mean: Tensor, deviation: Tensor) -> None:
        """Set the training set's mean and standard deviation per band, both (M,)."""
        self.mean.copy_(mean)
        self.deviation.copy_(deviation.clamp(min=1e-3))


# A small convolutional network on log-mel features: light enough to explain on a laptop.
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
        # Channels last: two thirds of the time for convolutions and pooling of so few channels.
        self.features = nn.Sequential(*blocks).to(memory_format=torch.channels_last)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(2 * previous, n_classes)

    def hidden_stages(self) -> dict[str, nn.Module]:
        """Modules whose outputs are the hidden layers: the rectifier of every block."""
        rectifiers = [module for module in self.features if isinstance(module, nn.ReLU)]
        return {f"block{index + 1}": module for index, module in enumerate(rectifiers)}

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        """Magnitude (B, F, T) to logits (B, C); the phase is not used."""
        maps = self.features(self.front_end(magnitude))
        over_time = maps.mean(dim=-1)
        half = over_time.shape[-1] // 2
        low, high = over_time[..., :half].mean(-1), over_time[..., half:].mean(-1)
        return self.classifier(self.dropout(torch.cat([low, high], dim=-1)))  # type: ignore[no-any-return]


@BACKBONES.register(hears="magnitude", cites="mancini2025investigating", takes=Cnn)
def cnn(stft: StftConfig, **options: Any) -> nn.Module:
    """Small CNN on log-mel features, under 300 k parameters; Grad-CAM layer `features`."""
    if "channels" in options:
        options = {**options, "channels": tuple(options["channels"])}
    return Cnn(stft, **options)


# CNN14 of the pretrained audio neural networks (kong2020panns), on mel features: the auxiliary network of
# mancini2025investigating.
N_PARAMETERS = 80_753_615
"""Parameters with 64 mel bands and the 527 classes of AudioSet (kong2020panns, table XII)."""

CHANNELS = (64, 128, 256, 512, 1024, 2048)
_FRONT_END = ("spectrogram_extractor.", "logmel_extractor.", "spec_augmenter.")


class ConvBlock(nn.Module):
    """Two 3 x 3 convolutions with batch normalization and ReLU, then mean pooling: (B, C, T, M) to (B, C', T / p, M /
    p)."""

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

    The layers have the published names, and time comes before frequency inside, so that published weights fit. The
    number
    of mel bands changes `bn0` alone (2 parameters a band). The published network ends in a sigmoid; here are its
    logits.

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
        """Features (B, 1, M, T) to the last feature map (B, 2048, T / 32, M / 32). Raises SpeechXAIError below 32
        frames."""
        if features.shape[-1] < 32:
            raise SpeechXAIError(
                f"cnn14 needs at least 32 frames, since five poolings halve them. Got {features.shape[-1]} instead."
            )
        values: Tensor = self.bn0(features.permute(0, 2, 3, 1)).permute(0, 3, 2, 1)  # (B, 1, T, M), normalized by band
        for index in range(1, len(CHANNELS) + 1):
            values = self.block_dropout(self.get_submodule(f"conv_block{index}")(values))
        return values

    def pooled(self, features: Tensor) -> Tensor:
        """Features (B, 1, M, T) to the last feature map (B, 2048): its mean over bands, maximum + mean over time."""
        over_bands = self.blocks(features).mean(dim=3)
        return over_bands.amax(dim=2) + over_bands.mean(dim=2)

    def embedding(self, features: Tensor) -> Tensor:
        """Features (B, 1, M, T) to the embedding (B, 2048)."""
        return torch.relu(self.fc1(self.dense_dropout(self.pooled(features))))

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, 1, M, T), T at least 32 frames, to logits (B, C)."""
        return self.fc_audioset(self.dense_dropout(self.embedding(features)))  # type: ignore[no-any-return]


class Cnn14Linear(Cnn14):
    """CNN14 without its dense layer, as SpeechBrain has it, and one linear layer to one logit: the auxiliary network of
    mancini2025investigating.

    Args:
        n_mels: mel bands M, at least 32.
    """

    def __init__(self, n_mels: int = 80) -> None:
        super().__init__(n_mels, 1)
        del self.fc1
        self.fc_audioset = nn.Linear(CHANNELS[-1], 1)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, 1, M, T), T at least 32 frames, to the log odds of PD (B, 1)."""
        return self.fc_audioset(self.pooled(features))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Transfer:
    """Which published weights a network took: names of its own tensors that were set, and of those that stay as they
    were."""

    loaded: tuple[str, ...]
    kept: tuple[str, ...]


def load_published(network: Cnn14, state: Mapping[str, Tensor]) -> Transfer:
    """Copy published AudioSet weights into `network`; `bn0` and `fc_audioset` stay where bands or classes differ.

    Args:
        state: tensors by name, as published (`conv_block1.conv1.weight`, ..., `bn0.*`, `fc1.*`, `fc_audioset.*`); those
            of the
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
