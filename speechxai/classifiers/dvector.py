"""Resemblyzer's d-vector as a classifier of the explained magnitude: a recurrent encoder that was trained to tell
speakers apart (wan2018generalized), heard through its own differentiable mel front end, with a linear head."""

from __future__ import annotations

import hashlib
import importlib.util
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from speechxai.classifiers.base import BACKBONES
from speechxai.classifiers.cnn import slaney_mel_filters
from speechxai.classifiers.network import WaveformDoor
from speechxai.classifiers.whisper import fit_head
from speechxai.errors import SpeechXAIError, told
from speechxai.files import read_bytes
from speechxai.types import Array, Recording, StftConfig

SAMPLE_RATE_HZ = 16_000
N_FFT, HOP, N_MELS = 400, 160, 40
WIDTH, N_LAYERS = 256, 3
PART_FRAMES, PART_STEP = 160, 77
"""Frames of a part, 1.6 s, and from one part to the next: 1.3 parts a second."""
LEAST_COVERED = 0.75
"""Share of the last part that the recording must fill."""
LOUDNESS_DB = -30.0
"""Level that quieter recordings are raised to, dB of full scale: the front end takes no logarithm."""
PACKAGE, VERSION = "resemblyzer", "0.1.4"
EMBEDDED = PACKAGE
"""Name of the encoder that the published package brings."""
EMBEDDED_SHA256 = "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e"
"""Of its file `pretrained.pt`."""
_GET = f"pip install --no-deps Resemblyzer=={VERSION} (its weights alone are read), or give a file pretrained.pt"


@dataclass(frozen=True)
class SpeakerWeights:
    """An encoder's tensors by name, float32, and the sha256 of the file that held them."""

    state: dict[str, Tensor]
    sha256: str


def read_speaker_encoder(source: str | Path = EMBEDDED) -> SpeakerWeights:
    """Read the weights of a d-vector encoder; no code of the file's is run.

    Args:
        source: "resemblyzer" (the installed package), or a file `.pt` of the same layout.

    Raises:
        SpeechXAIError: nothing there, or something else; the message says how to get one.
    """
    path = _embedded() if str(source) == EMBEDDED else Path(source)
    if not path.is_file():
        raise SpeechXAIError(f"{source}: there is no such file of a speaker encoder. Get one: {_GET}.")
    digest = hashlib.sha256(read_bytes(path)).hexdigest()
    if str(source) == EMBEDDED and digest != EMBEDDED_SHA256:
        raise SpeechXAIError(
            f"{path}: the weights are not those of Resemblyzer {VERSION} (sha256 {digest[:12]}..., expected"
            f" {EMBEDDED_SHA256[:12]}...). Install it again: pip install --no-deps Resemblyzer=={VERSION}."
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
        wanted = {name: tuple(value.shape) for name, value in SpeakerEncoder().named_parameters()}
        state = {name: content[name].float().contiguous() for name in wanted}
    except Exception as error:  # whatever a file of others brings is that file's fault
        raise SpeechXAIError(f"{path}: no checkpoint of a d-vector encoder ({told(error)}).") from error
    for name, shape in wanted.items():
        if tuple(state[name].shape) != shape:
            raise SpeechXAIError(
                f"{path}: the tensor '{name}' of a d-vector encoder has the shape {shape}. Got"
                f" {tuple(state[name].shape)} instead."
            )
    return SpeakerWeights(state, digest)


def _embedded() -> Path:
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise SpeechXAIError(f"The speaker encoder '{EMBEDDED}' is not installed: {_GET}.")
    return Path(found.origin).parent / "pretrained.pt"


class Mel(nn.Module):
    """The encoder's input, differentiable: 40 Slaney mel bands of the power spectrum, without a logarithm."""

    filters: Tensor
    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filters", slaney_mel_filters(SAMPLE_RATE_HZ, N_FFT, N_MELS), persistent=False)
        self.register_buffer("window", torch.hann_window(N_FFT), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """(B, N) to (B, 1 + N // 160, M)."""
        window = self.window.to(waveform.dtype)
        transform = torch.stft(waveform, N_FFT, HOP, window=window, pad_mode="constant", return_complex=True)
        power = transform.real.square() + transform.imag.square()
        return (self.filters.to(waveform.dtype) @ power).transpose(1, 2)


def parts_of(n_samples: int) -> list[int]:
    """First frames of the parts that a recording of `n_samples` is heard in: every 0.77 s, and the last where it is
    filled to three quarters; at least one.

    >>> parts_of(16_000), parts_of(32_000), parts_of(48_000)
    ([0], [0, 77], [0, 77, 154])
    """
    n_frames = math.ceil((n_samples + 1) / HOP)
    starts = list(range(0, max(1, n_frames - PART_FRAMES + PART_STEP + 1), PART_STEP))
    if len(starts) > 1 and n_samples / HOP - starts[-1] < LEAST_COVERED * PART_FRAMES:
        starts.pop()
    return starts


class SpeakerEncoder(nn.Module):
    """Waveforms to d-vectors: three LSTMs over 1.6 s, a linear layer of the last state, its positive part at length 1,
    mean over the parts of a recording, at length 1 again."""

    def __init__(self) -> None:
        super().__init__()
        self.mel = Mel()
        self.lstm = nn.LSTM(N_MELS, WIDTH, N_LAYERS, batch_first=True)
        self.linear = nn.Linear(WIDTH, WIDTH)

    def of_parts(self, mel: Tensor) -> Tensor:
        """Mel bands (B, T, 40) of one part each to (B, 256)."""
        with torch.backends.cudnn.flags(enabled=False):  # whose gradients exist in training mode alone
            _, (hidden, _) = self.lstm(mel)
        return _at_length_one(self.linear(hidden[-1]).relu())

    def forward(self, waveform: Tensor) -> Tensor:
        """(B, N) at 16 kHz to (B, 256)."""
        level = waveform.square().mean(dim=1, keepdim=True).clamp(min=1e-10).sqrt()
        waveform = waveform * (10 ** (LOUDNESS_DB / 20) / level).clamp(min=1.0)
        starts = parts_of(waveform.shape[1])
        missing = (starts[-1] + PART_FRAMES) * HOP - waveform.shape[1]
        mel = self.mel(nn.functional.pad(waveform, (0, max(0, missing))))
        parts = torch.stack([mel[:, start : start + PART_FRAMES] for start in starts], dim=1)
        vectors = self.of_parts(parts.flatten(0, 1)).reshape(*parts.shape[:2], WIDTH)
        return _at_length_one(vectors.mean(dim=1))


def _at_length_one(vectors: Tensor) -> Tensor:
    return vectors / vectors.square().sum(dim=1, keepdim=True).clamp(min=1e-24).sqrt()


@dataclass(frozen=True)
class DVectorConfig:
    """Settings of a classifier of d-vectors.

    Args:
        encoder: "resemblyzer" or a file, see `read_speaker_encoder`.
        random: the encoder's shapes with random weights, drawn by `seed`: its twin that was never trained.
        seed: of the random weights.
        n_classes: 2, told apart by one logit, or 1: a score.

    Raises:
        SpeechXAIError: another number of classes than 2.
    """

    encoder: str = EMBEDDED
    random: bool = False
    seed: int = 0
    n_classes: int = 2

    def __post_init__(self) -> None:
        if self.n_classes not in (1, 2):
            raise SpeechXAIError("The backbone 'dvector' tells two classes apart or gives a score, no more.")


class FrozenDVector(nn.Module):
    """Waveforms (B, N) to one logit (B, 1), the log odds of the second class, or a score: d-vector of an encoder that
    stays as it is, standardized, linear."""

    mean: Tensor
    deviation: Tensor
    encoder_sha256: Tensor

    def __init__(self, config: DVectorConfig) -> None:
        super().__init__()
        weights = read_speaker_encoder(config.encoder)
        self.encoder = SpeakerEncoder()
        self.encoder.load_state_dict(weights.state)
        if config.random:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(config.seed)
                self.encoder.lstm.reset_parameters()
                self.encoder.linear.reset_parameters()
        self.encoder.requires_grad_(False).eval()
        self.layer_weights = nn.Parameter(torch.zeros(1))
        self.output = nn.Linear(WIDTH, 1)
        self.register_buffer("mean", torch.zeros(1, WIDTH))
        self.register_buffer("deviation", torch.ones(1, WIDTH))
        self.register_buffer("encoder_sha256", torch.frombuffer(bytearray.fromhex(weights.sha256), dtype=torch.uint8))
        self.source = config.encoder

    def train(self, mode: bool = True) -> FrozenDVector:
        """Set the mode of the head; the encoder stays in evaluation mode."""
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, waveform: Tensor) -> Tensor:
        """(B, N) at 16 kHz to (B, 1)."""
        return self.output((self.encoder(waveform) - self.mean[0]) / self.deviation[0])  # type: ignore[no-any-return]

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        stored = state_dict.get(f"{prefix}encoder_sha256")
        if stored is not None and not torch.equal(stored.cpu(), self.encoder_sha256.cpu()):
            raise SpeechXAIError(
                f"The head was trained on another speaker encoder than that of {self.source} (sha256"
                f" {bytes(stored.tolist()).hex()[:12]}..., here {bytes(self.encoder_sha256.tolist()).hex()[:12]}...)."
            )
        super()._load_from_state_dict(state_dict, prefix, *rest)


_KNOWN: WeakKeyDictionary[Recording, dict[tuple[bytes, bool, int], Tensor]] = WeakKeyDictionary()


class DVector(WaveformDoor):
    """A classifier of d-vectors heard through the inverse STFT. Its encoder is not stored with it but found again."""

    borrowed: tuple[str, ...] = ("network.encoder.",)
    """Weights that a bundle leaves out: they are another's, and the same for every fold."""
    network: FrozenDVector

    def __init__(self, config: DVectorConfig, stft: StftConfig) -> None:
        super().__init__(FrozenDVector(config), stft)
        self.config = config

    def fit_recordings(self, recordings: Sequence[Recording], seed: int) -> None:
        """Fit the head on d-vectors that are computed once a recording; the penalty is chosen by cross-validation over
        speakers inside these recordings.

        Raises:
            SpeechXAIError: fewer than 2 speakers of a class.
        """
        self._fit(recordings, np.array([recording.label for recording in recordings]), seed, False)

    def fit_scores(self, recordings: Sequence[Recording], scores: Array, seed: int) -> None:
        """Fit the head to scores (N,), in deviations from their mean.

        Raises:
            SpeechXAIError: fewer than 2 speakers.
        """
        self._fit(recordings, scores, seed, True)

    def _fit(self, recordings: Sequence[Recording], wanted: Array, seed: int, score: bool) -> None:
        vectors = torch.stack([self._vector(recording) for recording in recordings]).double()
        speakers = [recording.speaker for recording in recordings]
        fit_head(self.network, vectors[:, None], wanted, speakers, seed, score)

    def _vector(self, recording: Recording) -> Tensor:
        known = _KNOWN.setdefault(recording, {})
        key = (bytes(self.network.encoder_sha256.tolist()), self.config.random, self.config.seed)
        if key not in known:
            with torch.inference_mode():
                waveform = recording.waveform[None].to(self.network.output.weight.device)
                known[key] = self.network.encoder(waveform)[0].cpu().clone()
        return known[key]


@BACKBONES.register(hears="waveform", cites="wan2018generalized", takes=DVectorConfig)
def dvector(stft: StftConfig, **options: Any) -> nn.Module:
    """Resemblyzer's speaker encoder, frozen, with a linear head on its d-vector; options: DVectorConfig."""
    if stft.sample_rate != SAMPLE_RATE_HZ:
        raise SpeechXAIError(f"A d-vector hears {SAMPLE_RATE_HZ} Hz. Got an STFT at {stft.sample_rate} Hz instead.")
    return DVector(DVectorConfig(**options), stft)
