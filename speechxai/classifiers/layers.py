"""Parts that networks share: the log-mel front end on an explained magnitude, and the waveform door."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor, nn

from speechxai.errors import SpeechXAIError
from speechxai.stft import inverse, linear_magnitude
from speechxai.types import StftConfig


def mel_filters(stft: StftConfig, n_mels: int, f_min_hz: float, f_max_hz: float) -> Tensor:
    """Triangles (F, M) of height 1 whose corners lie at equal steps of HTK's mel scale; a band narrower than a bin is all 0."""
    # Imported here: numba and scipy.signal come along and take more than a second.
    from librosa import mel_frequencies
    from librosa.filters import mel

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
        filters = mel_filters(stft, n_mels, f_min_hz, top)
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
