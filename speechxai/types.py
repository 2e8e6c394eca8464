"""The values that walk through the library: frozen, checked on construction, never written into."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from speechxai.errors import SpeechXAIError, in_range

if TYPE_CHECKING:  # tables and manifests are read without it
    import torch
    from torch import Tensor

CLASS_NAMES = ("HC", "PD")
"""Names of the classes by index where nothing else is said: 0 = healthy control, 1 = Parkinson's disease."""

CLASS_SPELLINGS: Mapping[str, frozenset[str]] = {
    "HC": frozenset({"hc", "control", "controls", "healthy", "healthycontrol", "healthycontrols", "normal"}),
    "PD": frozenset({"pd", "pwp", "pwpd", "parkinson", "parkinsons", "parkinsondisease", "parkinsonsdisease"}),
    "pathological": frozenset({"pathological", "pathologic", "pathology"}),
}
"""Spellings of one class, without case and without what stands between the words. "pathological" and "patient" are not
PD: a data set that says so may mean any disease."""


def class_key(name: str) -> str:
    """What a class is called however it is spelled: classes of two data sets are the same where their keys are equal.

    >>> class_key("Parkinson's disease"), class_key("healthy_control"), class_key("MSA  P"), class_key("pathological")
    ('PD', 'HC', 'msa p', 'pathological')
    """
    text = unicodedata.normalize("NFKC", name).strip().casefold()
    plain = re.sub(r"(?<=\w)[\W_]+(?=\w)", "", text)
    found = next((key for key, spellings in CLASS_SPELLINGS.items() if plain in spellings), None)
    return found or " ".join(text.split())


MAX_FFT = 65_536
"""Longest transform, samples: four seconds of speech at 16 kHz."""

MAX_SAMPLE_RATE_HZ = 768_000
"""Highest sample rate that a sound card has."""


@dataclass(frozen=True)
class StftConfig:
    """Settings of an invertible short-time Fourier transform. Defaults are those of Mancini et al. 2025.

    Args:
        n_fft: length of the transform, samples; gives n_fft // 2 + 1 frequency bins.
        win_length: window length, samples (372 at 16 kHz is 23.25 ms).
        hop_length: step between frames, samples (186 at 16 kHz is 11.6 ms).
        window: "hamming" or "hann", periodic.
        sample_rate: Hz.
        scale: the explained quantity is log1p of the magnitude, or the magnitude itself.

    Raises:
        SpeechXAIError: settings whose inverse does not exist, or out of range.
    """

    n_fft: int = 1024
    win_length: int = 372
    hop_length: int = 186
    window: Literal["hamming", "hann"] = "hamming"
    sample_rate: int = 16_000
    scale: Literal["log1p", "linear"] = "log1p"

    def __post_init__(self) -> None:
        for name in ("n_fft", "win_length", "hop_length"):
            in_range("StftConfig", name, getattr(self, name), 1, MAX_FFT, whole=True)
        in_range("StftConfig", "sample_rate", self.sample_rate, 1, MAX_SAMPLE_RATE_HZ, whole=True)
        if self.win_length > self.n_fft:
            raise SpeechXAIError(
                f"The 'win_length' parameter of StftConfig must be at most n_fft = {self.n_fft}. Got {self.win_length}"
                " instead."
            )
        if self.hop_length > self.win_length // 2:
            raise SpeechXAIError(
                f"The 'hop_length' parameter of StftConfig must be at most win_length / 2 = {self.win_length // 2}. Got"
                f" {self.hop_length} instead."
            )
        if self.window not in ("hamming", "hann"):
            raise SpeechXAIError(
                f"The 'window' parameter of StftConfig must be 'hamming' or 'hann'. Got {self.window!r} instead."
            )
        if self.scale not in ("log1p", "linear"):
            raise SpeechXAIError(
                f"The 'scale' parameter of StftConfig must be 'log1p' or 'linear'. Got {self.scale!r} instead."
            )

    @property
    def n_bins(self) -> int:
        """Number of frequency bins F."""
        return self.n_fft // 2 + 1

    @property
    def frame_rate_hz(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop_length

    @property
    def bin_hz(self) -> float:
        """Width of a frequency bin, Hz."""
        return self.sample_rate / self.n_fft

    def n_frames(self, n_samples: int) -> int:
        """Number of frames T of a signal of `n_samples`: every sample lies between two frame centers."""
        return -(-n_samples // self.hop_length) + 1


def all_finite(values: Tensor) -> bool:
    """Whether no value is NaN or infinite. Their sum tells it in one pass over them, unless it is too large."""
    if values.ndim and len(values) > 1 and values.stride(0) == 0:
        values = values[:1]  # one recording repeated
    return math.isfinite(float(values.detach().sum())) or bool(values.isfinite().all())


def _is_index(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) >= 0


@dataclass(frozen=True, eq=False)
class Recording:
    """One voice recording.

    Args:
        waveform: (N,) float32, full scale is 1.
        sample_rate: Hz.
        id: unique name within its data set.
        speaker: who speaks; prefixed with the data set.
        label: index into the classes of its data set, the control first (0 = HC, 1 = PD without others); None: unknown.
        task: what is spoken, for example "vowel-a", "ddk", "reading".
        metadata: anything else: age, sex, severity, path, sha256.

    Raises:
        SpeechXAIError: a waveform that is empty, not one-dimensional or not finite.
    """

    waveform: Tensor
    sample_rate: int
    id: str
    speaker: str
    label: int | None = None
    task: str = "unknown"
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.waveform.ndim != 1:
            raise SpeechXAIError(
                f"{self.id}: a recording must have one channel, shape (N,). Got shape {tuple(self.waveform.shape)}"
                " instead."
            )
        if self.waveform.numel() == 0:
            raise SpeechXAIError(f"{self.id}: the recording is empty (0 samples).")
        if not all_finite(self.waveform):
            n_bad = int((~self.waveform.isfinite()).sum())
            raise SpeechXAIError(f"{self.id}: {n_bad} samples are NaN or infinite.")
        if self.label is not None and not _is_index(self.label):
            raise SpeechXAIError(
                f"{self.id}: the label must be the index of a class, such as 0 (HC) or 1 (PD), or None. Got"
                f" {self.label!r} instead."
            )

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.waveform.shape[0] / self.sample_rate


@dataclass(frozen=True, eq=False)
class Spectrogram:
    """A batch of spectrograms that can be turned back into waveforms.

    Args:
        magnitude: (B, F, T), at least 0, in `stft.scale`.
        phase: (B, F, T), rad.
        n_samples: length of every waveform of the batch, samples.
        stft: the transform's settings.
        spans: where the phones or words of each recording lie, (start, end) in s, in order; () where nobody said.

    Raises:
        SpeechXAIError: shapes that do not agree, values that are negative or not finite.
    """

    magnitude: Tensor
    phase: Tensor
    n_samples: int
    stft: StftConfig
    spans: tuple[tuple[tuple[float, float], ...], ...] = ()

    def __post_init__(self) -> None:
        shape = tuple(self.magnitude.shape)
        if len(shape) != 3 or shape != tuple(self.phase.shape):
            raise SpeechXAIError(
                f"A spectrogram needs magnitude and phase of one shape (B, F, T). Got {shape} and"
                f" {tuple(self.phase.shape)}."
            )
        expected = (self.stft.n_bins, self.stft.n_frames(self.n_samples))
        if shape[1:] != expected:
            raise SpeechXAIError(
                f"A spectrogram of {self.n_samples} samples must have (F, T) = {expected}. Got {shape[1:]} instead."
            )
        if self.spans and len(self.spans) != shape[0]:
            raise SpeechXAIError(
                f"The 'spans' must be of {shape[0]} recordings. Got those of {len(self.spans)} instead."
            )
        if not (all_finite(self.magnitude) and all_finite(self.phase)):
            raise SpeechXAIError("The spectrogram has NaN or infinite values.")
        if self.magnitude.numel() and self.magnitude.amin() < 0:
            raise SpeechXAIError("The spectrogram's magnitude has negative values.")

    def __len__(self) -> int:
        return self.magnitude.shape[0]

    def to(self, device: torch.device | str) -> Spectrogram:
        """The same where a network lies: itself where it is there already."""
        magnitude, phase = self.magnitude.to(device), self.phase.to(device)
        if magnitude is self.magnitude and phase is self.phase:
            return self
        return replace(self, magnitude=magnitude, phase=phase)


@dataclass(frozen=True, eq=False)
class Attribution:
    """How much each time-frequency bin counts for the logit of the explained class.

    Args:
        values: (B, F, T); signed for signed methods, else at least 0.
        target: (B,) int64, the explained class.
        recipe: the one name of this explanation, for example "union(saliency, smoothgrad)".
        params: what was set to get it, the seed included; notes such as "completeness_error" (B,).
        signed: whether negative values mean evidence against the class.

    Raises:
        SpeechXAIError: shapes that do not agree or values that are not finite.
    """

    values: Tensor
    target: Tensor
    recipe: str
    params: Mapping[str, Any] = field(default_factory=dict)
    signed: bool = False

    def __post_init__(self) -> None:
        if self.values.ndim != 3 or self.target.shape != self.values.shape[:1]:
            raise SpeechXAIError(
                f"{self.recipe}: an attribution needs values (B, F, T) and target (B,). Got {tuple(self.values.shape)}"
                f" and {tuple(self.target.shape)}."
            )
        if not all_finite(self.values):
            raise SpeechXAIError(f"{self.recipe}: the map has NaN or infinite values.")

    def __len__(self) -> int:
        return self.values.shape[0]

    def to(self, device: torch.device | str) -> Attribution:
        """The same on another device, notes included: itself where it is there already."""
        values, target = self.values.to(device), self.target.to(device)
        if values is self.values and target is self.target:
            return self
        params = {key: value.to(device) if hasattr(value, "to") else value for key, value in self.params.items()}
        return replace(self, values=values, target=target, params=params)


Array = npt.NDArray[Any]
"""Any numpy array; docstrings say its shape, units and what it holds."""
