"""Parts that networks share: the log-mel front end on an explained magnitude, and the waveform door."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torchaudio.functional import melscale_fbanks

from speechxai.errors import SpeechXAIError
from speechxai.stft import inverse, linear_magnitude
from speechxai.types import StftConfig


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
                f"The 'f_max_hz' parameter must be above f_min_hz = {f_min_hz:g} Hz and heard at {stft.sample_rate} Hz. Got {f_max_hz:g} instead."
            )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="At least one mel filterbank has all zero values")
            filters = melscale_fbanks(stft.n_bins, f_min_hz, top, n_mels, stft.sample_rate)
        n_empty = int((filters.sum(dim=0) == 0).sum())
        if n_empty:
            raise SpeechXAIError(
                f"The 'n_mels' parameter leaves {n_empty} of {n_mels} mel bands empty at {stft.bin_hz:.1f} Hz a bin. Take fewer bands or a longer n_fft."
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


class WaveformDoor(nn.Module):
    """Lets a network `waveform (B, N) -> logits` be explained through its spectrogram.

    Args:
        network: any module that takes waveforms (B, N) at `stft.sample_rate`.
        stft: settings of the magnitude that is explained.
    """

    def __init__(self, network: nn.Module, stft: StftConfig) -> None:
        super().__init__()
        self.network = network
        self.stft = stft

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        """(B, F, T) twice to logits (B, C), through the differentiable inverse STFT."""
        return self.network(inverse(magnitude, phase, self.stft))  # type: ignore[no-any-return]
