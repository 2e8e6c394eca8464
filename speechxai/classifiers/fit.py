"""Training of one classifier: random crops, early stopping on other speakers, resumable after any epoch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from speechxai.classifiers.base import Classifier
from speechxai.classifiers.cnn import Cnn, LogMel
from speechxai.classifiers.network import Network, stated
from speechxai.classifiers.ssl import parameter_groups
from speechxai.classifiers.watch import Watch, entered
from speechxai.errors import SpeechXAIError, in_range
from speechxai.flags import MAX_COUNT, MAX_SEED, TRAIN
from speechxai.signal.stft import magnitudes, spectrogram
from speechxai.types import Array, Recording, StftConfig


# Random changes of training crops: level and noise on the waveform, silence holes on the magnitude (SpecAugment).
@dataclass(frozen=True)
class AugmentConfig:
    """How training crops are changed at random. Everything 0 switches augmentation off.

    Args:
        level_db: the level moves by at most this much up or down, dB.
        noise_share: share of crops that get noise, 0 to 1.
        snr_low_db, snr_high_db: signal-to-noise ratio of that noise is drawn between them, dB.
        n_bands, band_hz: number of frequency bands set to silence, each at most this wide, Hz.
        n_spans, span_s: number of time spans set to silence, each at most this long, seconds.

    Raises:
        SpeechXAIError: a value out of range.
    """

    level_db: float = 6.0
    noise_share: float = 0.5
    snr_low_db: float = 15.0
    snr_high_db: float = 40.0
    n_bands: int = 2
    band_hz: float = 400.0
    n_spans: int = 2
    span_s: float = 0.15

    def __post_init__(self) -> None:
        for name, high in (("level_db", 120), ("band_hz", 1e6), ("span_s", 3600), ("noise_share", 1)):
            in_range("AugmentConfig", name, getattr(self, name), 0, high)
        for name in ("n_bands", "n_spans"):
            in_range("AugmentConfig", name, getattr(self, name), 0, 1000, whole=True)
        for name in ("snr_low_db", "snr_high_db"):
            in_range("AugmentConfig", name, getattr(self, name), -120, 120)
        if self.snr_low_db > self.snr_high_db:
            raise SpeechXAIError(
                f"The 'snr_low_db' parameter of AugmentConfig must be at most snr_high_db = {self.snr_high_db}. Got"
                f" {self.snr_low_db} instead."
            )


def _uniform(low: float, high: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)


def crop(waveform: Tensor, n_samples: int, generator: torch.Generator) -> Tensor:
    """Cut `n_samples` from a random place of a waveform (N,); a shorter waveform is repeated from its start.

    Repeating instead of padding keeps the length of a recording from becoming a cue (as Mancini et al. 2025 tile
    clips).
    """
    n_available = waveform.shape[0]
    if n_available < n_samples:
        return waveform.repeat(-(-n_samples // n_available))[:n_samples]
    start = int(torch.randint(n_available - n_samples + 1, (1,), generator=generator))
    return waveform[start : start + n_samples]


def augment_waveforms(waveforms: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Return waveforms (B, N) at a random level, a share of them with noise of a random spectral slope (0 to -6
    dB/octave).

    The noise is scaled to the drawn signal-to-noise ratio: rms(noise) = rms(signal) * 10 ** (-snr / 20).
    """
    n_batch, n_samples = waveforms.shape
    gain = 10 ** (_uniform(-config.level_db, config.level_db, (n_batch, 1), generator) / 20)
    noisy = torch.rand((n_batch, 1), generator=generator) < config.noise_share
    snr_db = _uniform(config.snr_low_db, config.snr_high_db, (n_batch, 1), generator)
    slope = torch.rand((n_batch, 1), generator=generator)
    # Drawn for every crop, so that the share of noisy ones moves no other draw; shaped where it is heard.
    white = torch.randn((n_batch, n_samples), generator=generator)
    rows = noisy[:, 0].nonzero()[:, 0]
    if not len(rows):
        return gain.to(waveforms) * waveforms
    shape: Tensor = torch.arange(n_samples // 2 + 1).clamp(min=1).pow(-slope[rows])
    noise = torch.fft.irfft(torch.fft.rfft(white[rows]) * shape, n=n_samples)
    noise = noise / noise.pow(2).mean(dim=1, keepdim=True).sqrt()
    at = rows.to(waveforms.device)
    level = waveforms[at].pow(2).mean(dim=1, keepdim=True).sqrt() * 10 ** (-snr_db[rows].to(waveforms) / 20)
    return gain.to(waveforms) * waveforms.index_add(0, at, level * noise.to(waveforms))


def spec_augment(magnitude: Tensor, stft: StftConfig, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Return magnitudes (B, F, T) with random bands and spans set to 0, that is to silence (Park et al. 2019).

    The holes mean the same as a mask's removed bins, so that masked recordings are not foreign to the trained network.
    """
    n_batch, n_bins, n_frames = magnitude.shape
    # One mask for each axis, not one for every bin: the same product in a quarter of the time.
    keep_bins, keep_frames = torch.ones((n_batch, n_bins)), torch.ones((n_batch, n_frames))
    bins, frames = torch.arange(n_bins), torch.arange(n_frames)
    for _ in range(config.n_bands):
        width = _uniform(0, min(config.band_hz / stft.bin_hz, n_bins), (n_batch, 1), generator)
        first = torch.rand((n_batch, 1), generator=generator) * (n_bins - width)
        keep_bins[(bins >= first) & (bins < first + width)] = 0
    for _ in range(config.n_spans):
        width = _uniform(0, min(config.span_s * stft.frame_rate_hz, n_frames), (n_batch, 1), generator)
        first = torch.rand((n_batch, 1), generator=generator) * (n_frames - width)
        keep_frames[(frames >= first) & (frames < first + width)] = 0
    return magnitude * keep_bins.to(magnitude)[:, :, None] * keep_frames.to(magnitude)[:, None, :]


# Settings, records and stores of training.
Progress = Callable[[int, int, str], None]
"""Called with (epochs done, epochs at most, what was just done)."""


@dataclass(frozen=True)
class FitConfig:
    """How a classifier is trained.

    Args:
        epochs: passes over the training recordings at most; exactly, where there is no validation set.
        patience: epochs without a better validation loss before training stops.
        least_epochs: that pass before training stops for want of patience: a network may know nothing for many epochs
            before it takes off.
        learning_rate, weight_decay: of AdamW.
        batch: crops that pass at once.
        accumulate: batches whose gradients are averaged before a step.
        schedule: "constant", or "linear": the rate rises over the first tenth of all steps and falls to 0 at the last.
        stop_on: validation loss that chooses the epoch: "loss" as it is, or "scaled", with the logits at their best
            temperature, among epochs whose answers have a spread: a network that ranks speakers well and is too sure of
            it then beats one that says 0.5 of everybody.
        restarts: how often `cross_validate` trains a network without spread again.
        layer_decay: how the rate falls per transformer layer below the head of a speech foundation model; 1 leaves it.
        precision: "float32", or "bfloat16" for the products of training on devices that are fast at it.
        crop_s: length of the random crops, seconds.
        n_crops: crops of every recording an epoch.
        class_weights: "balanced" (N / (C * n_c)) or "none".
        augment: random changes of the crops.
        seed: of initialization, order, crops, augmentation and dropout.
        deterministic: refuse operations whose result differs from run to run.

    Raises:
        SpeechXAIError: a value out of range.
    """

    epochs: int = 60
    patience: int = 12
    least_epochs: int = 0
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    batch: int = 16
    accumulate: int = 1
    schedule: Literal["constant", "linear"] = "constant"
    stop_on: Literal["loss", "scaled"] = "loss"
    restarts: int = 2
    layer_decay: float = 1.0
    precision: Literal["float32", "bfloat16"] = "float32"
    crop_s: float = 1.5
    n_crops: int = 2
    class_weights: Literal["balanced", "none"] = "balanced"
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    seed: int = 0
    deterministic: bool = True

    def __post_init__(self) -> None:
        for name in ("epochs", "patience", "batch", "n_crops", "restarts"):
            in_range("FitConfig", name, getattr(self, name), TRAIN[name].min or 0, TRAIN[name].max or 0, whole=True)
        for name in ("learning_rate", "weight_decay", "crop_s"):
            in_range("FitConfig", name, getattr(self, name), TRAIN[name].min or 0, TRAIN[name].max or 0)
        in_range("FitConfig", "accumulate", self.accumulate, 1, MAX_COUNT, whole=True)
        in_range("FitConfig", "least_epochs", self.least_epochs, 0, MAX_COUNT, whole=True)
        in_range("FitConfig", "layer_decay", self.layer_decay, 1e-6, 1.0)
        in_range("FitConfig", "seed", self.seed, 0, MAX_SEED, whole=True)
        for name, known in (
            ("class_weights", ("balanced", "none")),
            ("schedule", ("constant", "linear")),
            ("stop_on", ("loss", "scaled")),
            ("precision", ("float32", "bfloat16")),
        ):
            if getattr(self, name) not in known:
                raise SpeechXAIError(
                    f"The '{name}' parameter of FitConfig must be {known[0]!r} or {known[1]!r}. Got"
                    f" {getattr(self, name)!r} instead."
                )


@dataclass(frozen=True)
class EpochRecord:
    """Losses of one epoch: weighted cross-entropy, nats, or of a score `score_loss`; `validation_loss` is None without
    a validation set; `facts` are what `watch.Watch` saw."""

    epoch: int
    training_loss: float
    validation_loss: float | None
    facts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class History:
    """What training did: the epochs, and which of them (0-based) the returned weights come from."""

    epochs: tuple[EpochRecord, ...]
    best_epoch: int
    stopped_early: bool


class EpochStore(Protocol):
    """Where training keeps its state between epochs, for example `speechxai.classifiers.bundle.EpochFile`."""

    def load(self) -> dict[str, Any] | None:
        """Return the stored state, or None."""

    def save(self, state: dict[str, Any]) -> None:
        """Store the state so that a kill at any moment leaves the old or the new one."""


@runtime_checkable
class FitsItself(Protocol):
    """A backbone that is fitted in one go and not by gradient steps."""

    def fit_recordings(self, recordings: Sequence[Recording], seed: int) -> None:
        """Set the weights from labeled recordings."""


@runtime_checkable
class FitsScores(Protocol):
    """A backbone that is fitted in one go, to a score as well."""

    def fit_scores(self, recordings: Sequence[Recording], scores: Array, seed: int) -> None:
        """Set the weights from recordings and what should be said of them (N,), in deviations from the mean."""


# One number by which logits are divided, so that probabilities mean what they say.
T_MIN, T_MAX = 0.1, 10.0
"""Bounds of the temperature: a network that knows nothing would ask for an infinite one."""


def fit_temperature(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> float:
    """Return the temperature in [0.1, 10] whose logits / T have the lowest mean cross-entropy (Guo et al. 2017).

    Args:
        logits: (N, C) of recordings that the network was not trained on.
        labels: (N,) int64.
        weights: (C,) of the classes; all 1 without.
    """
    from scipy.optimize import minimize_scalar

    exact, weight = logits.double(), None if weights is None else weights.double()

    def loss(log_temperature: float) -> float:
        return float(nn.functional.cross_entropy(exact / math.exp(log_temperature), labels, weight=weight))

    best = minimize_scalar(loss, bounds=(math.log(T_MIN), math.log(T_MAX)), method="bounded", options={"xatol": 1e-6})
    return float(math.exp(best.x))


# A network that says the same of everybody is no answer, whatever its loss.
FLAT = 0.25
"""Logit margins that spread by less (standard deviation) say next to nothing: calibrated margins of two normal classes
spread by the distance of their means in deviations, and 0.25 is an AUC of 0.57."""

FLAT_SHARE = 0.1
"""Nor does a network say much whose margins spread by less than this share of what is usual among its fellows."""

CONSTANT = 1e-4
"""Rounding alone spreads logits so far."""

CHANCE = 0.05
"""A network is one-sided where this many like answers in a row would be rarer by chance."""


def spread_of(logits: Tensor) -> float:
    """How far logits (N, C) spread from recording to recording; with two classes the deviation of their difference, of
    a score its own.

    >>> spread_of(torch.tensor([[0.0, 1.0], [0.0, 3.0]]))
    1.0
    """
    if logits.shape[1] == 1:
        return float(logits.double().std(unbiased=False))
    centered = logits.double() - logits.double().mean(dim=1, keepdim=True)
    return float((2 * centered.var(dim=0, unbiased=False).sum()).sqrt())


def flatness(
    logits: Tensor,
    class_names: Sequence[str],
    usual_spread: float = 0.0,
    usual_shares: Sequence[float] = (),
    calibrated: Tensor | None = None,
) -> str:
    """What keeps the outputs of a network on N recordings from being answers, in words; "" where nothing does.

    Constant, hardly moving, or the same class of all: the labels are not asked.

    Args:
        logits: (N, C), before calibration.
        class_names: names by index.
        usual_spread: `spread_of` like networks; 0 where there are none.
        usual_shares: shares of the classes (C,) among the answers of like networks, of those that give more than one;
            all alike where there are none.
        calibrated: (N, C), what is answered; by default the logits.
    """
    n, spread = len(logits), spread_of(logits)
    if n < 2:
        return ""
    if spread < CONSTANT:
        return f"says the same of all {n} recordings"
    if len(class_names) == 1:
        return ""  # a score that moves little is the best that can be said where little is known
    if spread < max(FLAT, FLAT_SHARE * usual_spread):
        beside = f", that of the other folds {usual_spread:.2g}" if usual_spread else ""
        return f"says nearly the same of all {n} recordings (spread of its logits {spread:.2g}{beside})"
    answers = (logits if calibrated is None else calibrated).argmax(dim=1)
    share = (usual_shares or [1 / len(class_names)] * len(class_names))[int(answers[0])]
    if (answers == answers[0]).all() and share**n < CHANCE:
        return f"says {class_names[int(answers[0])]} of all {n} recordings"
    return ""


def flat_words(fold: int | None, problem: str) -> str:
    """Say in a sentence which network gives no answers: that of a fold, or the final one."""
    network = "final network" if fold is None else f"network of fold {fold}"
    return f"The {network} {problem}: it tells nobody from anybody."


# Training of one classifier: random crops, early stopping on other speakers, resumable after any epoch.
def class_weights(labels: Sequence[int], n_classes: int, mode: str = "balanced") -> Tensor:
    """Weight of every class in the loss (C,): N / (C * n_c), so that each class counts the same.

    Raises:
        SpeechXAIError: a class without a recording.

    >>> class_weights([0, 0, 0, 1], 2).tolist()
    [0.6666666865348816, 2.0]
    """
    counts = torch.bincount(torch.as_tensor(labels), minlength=n_classes)
    if (counts == 0).any():
        raise SpeechXAIError(
            f"The training recordings hold no example of class {int((counts == 0).nonzero()[0])}:"
            f" {'both' if n_classes == 2 else 'all'} classes are needed."
        )
    return len(labels) / (n_classes * counts) if mode == "balanced" else torch.ones(n_classes)


def check_recordings(recordings: Sequence[Recording], sample_rate: int, score: str = "") -> None:
    """Raise SpeechXAIError for a recording without label, or without a number for `score` where that is learned, or at
    another sample rate than `sample_rate` (Hz)."""
    if not recordings:
        raise SpeechXAIError("Training needs at least one recording. Got none.")
    for recording in recordings:
        if score:
            score_of(recording, score)
        elif recording.label is None:
            raise SpeechXAIError(f"{recording.id}: a training recording needs a label. Leave it out or label it.")
        if recording.sample_rate != sample_rate:
            raise SpeechXAIError(
                f"{recording.id}: the sample rate must be {sample_rate} Hz. Got {recording.sample_rate} Hz: resample on"
                " reading."
            )


def labels_of(recordings: Sequence[Recording]) -> Tensor:
    """Labels (N,) int64 of labeled recordings."""
    return torch.tensor([cast(int, recording.label) for recording in recordings])


def score_of(recording: Recording, name: str) -> float:
    """The number that is known of a recording under a name of its metadata. Raises SpeechXAIError without one."""
    value = recording.metadata.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise SpeechXAIError(f"{recording.id}: its '{name}' must be a number to be learned. Got {value!r} instead.")
    return float(value)


def truths_of(classifier: Classifier, recordings: Sequence[Recording]) -> Tensor:
    """What a classifier should say: labels (N,) int64, or of a score (N,) float32 in its unit."""
    if not classifier.unit:
        return labels_of(recordings)
    return torch.tensor([score_of(recording, classifier.class_names[0]) for recording in recordings])


def set_scale(classifier: Classifier, recordings: Sequence[Recording]) -> None:
    """Let a network that gives a score begin at the mean of these (training) recordings, its outputs counted in their
    standard deviations. Raises SpeechXAIError where all have the same number."""
    truths = truths_of(classifier, recordings).double()
    deviation = float(truths.std()) if len(truths) > 1 else 0.0
    if not deviation > 0:
        raise SpeechXAIError(
            f"All training recordings have the same '{classifier.class_names[0]}' ({float(truths[0]):g}): there is"
            " nothing to learn."
        )
    classifier.temperature.fill_(1 / deviation)
    classifier.intercept.fill_(float(truths.mean()))


def score_loss(classifier: Classifier, scores: Tensor, truths: Tensor) -> Tensor:
    """Mean squared error of scores (N, 1) and truths (N,), in variances of the training recordings: 1 is what their
    mean for everybody gives."""
    return ((scores[:, 0] - truths) * classifier.temperature).square().mean()


AT_ONCE = 4
"""Recordings of one length that are heard at once outside of training; more are no faster on a processor."""
KEPT_BYTES = 1 << 29
"""Spectrograms of the recordings that stop a training are kept up to this size, and made anew every epoch beyond."""


def heard(classifier: Classifier | Network, waveforms: Tensor) -> tuple[Tensor, Tensor]:
    """Magnitude and phase (B, F, T) of waveforms (B, N); the phase is 0 for `Cnn`, which reads none."""
    # Not for what is built on it: a network that listens to the phase would learn from zeros without a word.
    if type(classifier.backbone) is Cnn:
        magnitude = magnitudes(waveforms, classifier.stft)
        return magnitude, torch.zeros((), device=magnitude.device).expand_as(magnitude)
    spec = spectrogram(waveforms, classifier.stft)
    return spec.magnitude, spec.phase


def batches_heard(
    classifier: Classifier, recordings: Sequence[Recording]
) -> Iterator[tuple[list[int], int, Tensor, Tensor]]:
    """Yield recordings with those of their length: their places (b), their samples, magnitude and phase (b, F, T)."""
    of_length: dict[int, list[int]] = {}
    for index, recording in enumerate(recordings):
        of_length.setdefault(len(recording.waveform), []).append(index)
    size = 1 if classifier.one_at_a_time else AT_ONCE
    device = classifier.temperature.device
    for n_samples, places in of_length.items():
        for first in range(0, len(places), size):
            part = places[first : first + size]
            waveforms = torch.stack([recordings[index].waveform for index in part]).to(device)
            yield part, n_samples, *heard(classifier, waveforms)


class Heard:
    """What a classifier hears of some recordings, made once where it is no more than KEPT_BYTES."""

    def __init__(self, classifier: Classifier, recordings: Sequence[Recording]) -> None:
        self.recordings = recordings
        n_bins = classifier.stft.n_bins
        n_values = sum(n_bins * classifier.stft.n_frames(len(recording.waveform)) for recording in recordings)
        small = 8 * n_values <= KEPT_BYTES
        self._kept = list(batches_heard(classifier, recordings)) if small else None

    def logits(self, classifier: Classifier) -> Tensor:
        """Logits (N, C) of the recordings, in the mode that the classifier is in."""
        return _logits(classifier, batches_heard(classifier, self.recordings) if self._kept is None else self._kept)


def recording_logits(classifier: Classifier, recordings: Sequence[Recording]) -> Tensor:
    """Logits (N, C) of recordings of any length, in the mode that the classifier is in."""
    return _logits(classifier, batches_heard(classifier, recordings))


def _logits(classifier: Classifier, batches: Iterable[tuple[list[int], int, Tensor, Tensor]]) -> Tensor:
    rows: dict[int, Tensor] = {}
    with torch.no_grad():
        for places, n_samples, magnitude, phase in batches:
            logits = classifier.for_length(n_samples)(magnitude, phase)  # the samples that `predict` hears, no more
            rows |= dict(zip(places, logits.cpu(), strict=True))
    return torch.stack([rows[index] for index in range(len(rows))])


@contextmanager
def _own_randomness(seed: int, deterministic: bool) -> Iterator[torch.Generator]:
    """Seed dropout and initialization inside, and leave the process's random state and settings as they were."""
    was, warn_only = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if deterministic:
            torch.use_deterministic_algorithms(True)
        try:
            yield torch.Generator().manual_seed(seed)
        finally:
            torch.use_deterministic_algorithms(was, warn_only=warn_only)


def initialized(make: Callable[[], Classifier], seed: int) -> Classifier:
    """Make a classifier whose random initialization depends on `seed` alone."""
    with _own_randomness(seed, False):
        return make()


def set_front_end(classifier: Classifier, recordings: Sequence[Recording]) -> None:
    """Set the log-mel front end's mean and deviation per band from these (training) recordings; no front end, no
    change."""
    front_end = stated(classifier.backbone, "front_end", None)
    if not isinstance(front_end, LogMel):
        return
    total, squares, n_frames = torch.zeros(()), torch.zeros(()), 0
    for _, _, magnitude, _ in batches_heard(classifier, recordings):
        raw = front_end.raw(magnitude).cpu().double()  # float64 is not had everywhere
        total, squares = total + raw.sum((0, -1)), squares + raw.pow(2).sum((0, -1))
        n_frames += raw.shape[0] * raw.shape[-1]
    mean = total / n_frames
    variance = squares / n_frames - mean.pow(2)
    front_end.set_statistics(mean.float(), variance.clamp(min=0).sqrt().float())


def rate_factor(step: int, n_steps: int, schedule: str) -> float:
    """Share of the learning rate at a step: 1, or "linear": up over the first tenth of all steps, then down to 0.

    >>> [rate_factor(step, 20, "linear") for step in (0, 1, 2, 11, 20)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if schedule == "constant":
        return 1.0
    n_rising = n_steps // 10
    return step / n_rising if step < n_rising else max(0.0, (n_steps - step) / max(1, n_steps - n_rising))


LOOKED_AT = 4
"""Batches of an epoch, the last ones, in which units are looked at: a unit that is silent in one is not dead."""


LOOKED_AT_FIRST = 16
"""Recordings whose values at the first layer are looked at before training."""


def _epoch(
    classifier: Classifier,
    optimizer: torch.optim.Optimizer,
    training: Sequence[Recording],
    config: FitConfig,
    epoch: int,
) -> tuple[float, dict[str, float]]:
    """One pass over the training recordings; all randomness comes from the seed and the epoch's number.

    Returns:
        Mean loss, and what was seen on the way.
    """
    device = classifier.temperature.device
    n_samples = round(config.crop_s * classifier.stft.sample_rate)
    truths = truths_of(classifier, training)
    weights = torch.ones(1, device=device)
    if not classifier.unit:
        weights = class_weights(truths.tolist(), len(classifier.class_names), config.class_weights).to(device)
    losses = []
    classifier.train()
    watch = Watch(classifier, weights)
    with watch, _own_randomness(config.seed * 1_000_003 + epoch + 1, config.deterministic) as generator:
        order = torch.cat([torch.randperm(len(training), generator=generator) for _ in range(config.n_crops)])
        batches = order.tensor_split(max(1, -(-len(order) // config.batch)))
        n_steps = -(-len(batches) // config.accumulate)
        for number, indices in enumerate(batches):
            crops = torch.stack([crop(training[i].waveform, n_samples, generator) for i in indices.tolist()])
            augmented = augment_waveforms(crops, config.augment, generator).to(device)
            magnitude, phase = heard(classifier, augmented)
            magnitude = spec_augment(magnitude, classifier.stft, config.augment, generator)
            # The outer frames of a crop hold the zeros beyond its edges; a recording's own frames do not.
            inner = slice(2, -2) if magnitude.shape[-1] > 8 else slice(None)
            if number >= len(batches) - LOOKED_AT:
                watch.look_inside()
            with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
                logits = classifier.segment_logits(magnitude[..., inner], phase[..., inner])
            wanted = truths[indices].to(device)
            if classifier.unit:
                loss = score_loss(classifier, logits.float(), wanted)
            else:
                loss = nn.functional.cross_entropy(logits.float(), wanted, weight=weights)
            step, place = divmod(number, config.accumulate)
            if place == 0:
                optimizer.zero_grad(set_to_none=True)
                watch.before_backward()
            watch.answered(logits, wanted)
            n_together = min(config.accumulate, len(batches) - step * config.accumulate)
            (loss / n_together).backward()  # type: ignore[no-untyped-call]
            if place == n_together - 1:
                factor = rate_factor(epoch * n_steps + step, config.epochs * n_steps, config.schedule)
                for group in optimizer.param_groups:
                    group["lr"] = factor * group["full_rate"]
                watch.before_step()
                optimizer.step()
            losses.append(float(loss.detach()))
    classifier.eval()
    return sum(losses) / len(losses), watch.facts


def _copied(state: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value.detach().clone() for key, value in state.items()}


def _fingerprint(training: Sequence[Recording], validation: Sequence[Recording], config: FitConfig) -> str:
    text = f"{config!r}|{[recording.id for recording in training]}|{[recording.id for recording in validation]}"
    return hashlib.sha256(text.encode()).hexdigest()


def fit(
    classifier: Classifier,
    training: Sequence[Recording],
    validation: Sequence[Recording],
    config: FitConfig | None = None,
    progress: Progress | None = None,
    store: EpochStore | None = None,
) -> History:
    """Train `classifier` in place and leave it in eval mode with the weights of the best validation epoch.

    Without validation recordings it trains `config.epochs` epochs and keeps the last. With a `store`, the state after
    every epoch is kept there, and a run that was killed goes on from it to the same result.

    Args:
        training, validation: labeled recordings at the classifier's sample rate, or such with a number for its score;
            no speaker in both.

    Raises:
        SpeechXAIError: no or unlabeled recordings, another sample rate, a speaker in both sets, a missing class, a
            store that holds another training.
    """
    config = config or FitConfig()
    score = classifier.class_names[0] if classifier.unit else ""
    check_recordings([*training, *validation], classifier.stft.sample_rate, score)
    shared = {recording.speaker for recording in training} & {recording.speaker for recording in validation}
    if shared:
        raise SpeechXAIError(
            f"The speaker '{min(shared)}' is in training and validation: split by speaker, not by recording."
        )
    if classifier.unit:
        set_scale(classifier, training)
    else:
        class_weights(labels_of(training).tolist(), len(classifier.class_names))
    if isinstance(classifier.backbone, FitsItself):
        # Nothing stops early here, so the validation speakers are better used for fitting.
        everybody = [*training, *validation]
        if not classifier.unit:
            classifier.backbone.fit_recordings(everybody, config.seed)
        elif isinstance(classifier.backbone, FitsScores):
            set_scale(classifier, everybody)
            scores = (truths_of(classifier, everybody).to(classifier.intercept) - classifier.intercept[0]) * (
                classifier.temperature
            )
            classifier.backbone.fit_scores(everybody, scores.double().cpu().numpy(), config.seed)
        else:
            raise SpeechXAIError(
                f"{type(classifier.backbone).__name__} is fitted in one go to classes, and gives no score: it has no"
                " 'fit_scores'."
            )
        classifier.eval()
        return History((), 0, False)
    set_front_end(classifier, training)
    trained = parameter_groups(classifier, config.learning_rate, config.layer_decay)
    optimizer = torch.optim.AdamW(
        [{**group, "full_rate": group["lr"]} for group in trained], weight_decay=config.weight_decay
    )
    state: dict[str, Any] = {
        "fingerprint": _fingerprint(training, validation, config),
        "records": [],
        "best_epoch": -1,
        "best_rank": (True, math.inf),
    }
    stored = store.load() if store is not None else None
    if stored is not None:
        if stored.get("fingerprint") != state["fingerprint"]:
            raise SpeechXAIError(
                "The stored training state belongs to other recordings or settings: remove it or train with the same"
                " ones."
            )
        state = stored
        classifier.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    begins = {} if state["records"] else entered(classifier, batches_heard(classifier, training[:LOOKED_AT_FIRST]))
    stopping = Heard(classifier, validation) if validation else None
    while not _finished(state, config):
        epoch = len(state["records"])
        training_loss, facts = _epoch(classifier, optimizer, training, config, epoch)
        flat, validation_loss = (True, None) if stopping is None else _validation_rank(classifier, stopping, config)
        state["records"] = [*state["records"], [epoch, training_loss, validation_loss, {**facts, **begins}]]
        begins = {}
        if validation_loss is None or (flat, validation_loss) < tuple(state["best_rank"]):
            state.update(
                best_epoch=epoch,
                best_rank=(flat, math.inf if validation_loss is None else validation_loss),
                best=_copied(classifier.state_dict()),
            )
        if store is not None:
            store.save({**state, "model": _copied(classifier.state_dict()), "optimizer": optimizer.state_dict()})
        if progress is not None:
            shown = training_loss if validation_loss is None else validation_loss
            progress(epoch + 1, config.epochs, f"epoch {epoch + 1}, loss {shown:.3f}")
    classifier.load_state_dict(state["best"])
    classifier.eval()
    records = tuple(
        EpochRecord(int(e), float(t), None if v is None else float(v), dict(*more))
        for e, t, v, *more in state["records"]
    )
    return History(records, int(state["best_epoch"]), len(records) < config.epochs)


def _finished(state: Mapping[str, Any], config: FitConfig) -> bool:
    n_epochs = len(state["records"])
    waited = n_epochs > 0 and n_epochs - 1 - int(state["best_epoch"]) >= config.patience
    return n_epochs >= config.epochs or (waited and n_epochs >= config.least_epochs)


def _validation_rank(classifier: Classifier, validation: Heard, config: FitConfig) -> tuple[bool, float]:
    """What epochs are compared by, lower is better: whether the answers have no spread where that counts, and the
    loss."""
    if classifier.unit:
        truths, place = truths_of(classifier, validation.recordings), classifier.temperature.device
        return False, float(score_loss(classifier, validation.logits(classifier).to(place), truths.to(place)))
    labels = labels_of(validation.recordings)
    n_classes = len(classifier.class_names)
    present = torch.bincount(labels, minlength=n_classes).clamp(min=1)
    weights = len(labels) / (n_classes * present) if config.class_weights == "balanced" else torch.ones(n_classes)
    logits, flat = validation.logits(classifier), False
    if config.stop_on == "scaled":
        flat = bool(flatness(logits, classifier.class_names))
        logits = logits / fit_temperature(logits, labels, weights)
    return flat, float(nn.functional.cross_entropy(logits, labels, weight=weights))
