"""Training of one classifier: random crops, early stopping on other speakers, resumable after any epoch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from speechxai.classifiers.augment import augment_waveforms, crop, spec_augment
from speechxai.classifiers.base import Classifier
from speechxai.classifiers.fit_types import EpochRecord, EpochStore, FitConfig, FitsItself, History, Progress
from speechxai.classifiers.layers import LogMel
from speechxai.classifiers.ssl import parameter_groups
from speechxai.errors import SpeechXAIError
from speechxai.stft import spectrogram
from speechxai.types import Recording


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
            f"The training recordings hold no example of class {int((counts == 0).nonzero()[0])}: both classes are needed."
        )
    return len(labels) / (n_classes * counts) if mode == "balanced" else torch.ones(n_classes)


def check_recordings(recordings: Sequence[Recording], sample_rate: int) -> None:
    """Raise SpeechXAIError for a recording without label or at another sample rate than `sample_rate` (Hz)."""
    if not recordings:
        raise SpeechXAIError("Training needs at least one recording. Got none.")
    for recording in recordings:
        if recording.label is None:
            raise SpeechXAIError(
                f"{recording.id}: a training recording needs a label, 0 (HC) or 1 (PD). Leave it out or label it."
            )
        if recording.sample_rate != sample_rate:
            raise SpeechXAIError(
                f"{recording.id}: the sample rate must be {sample_rate} Hz. Got {recording.sample_rate} Hz: resample on reading."
            )


def labels_of(recordings: Sequence[Recording]) -> Tensor:
    """Labels (N,) int64 of labeled recordings."""
    return torch.tensor([cast(int, recording.label) for recording in recordings])


def recording_logits(classifier: Classifier, recordings: Sequence[Recording]) -> Tensor:
    """Logits (N, C) of recordings of any length, one by one, in the mode that the classifier is in."""
    device = classifier.temperature.device
    rows = []
    with torch.no_grad():
        for recording in recordings:
            spec = spectrogram(recording.waveform[None].to(device), classifier.stft)
            rows.append(classifier(spec.magnitude, spec.phase)[0].cpu())
    return torch.stack(rows)


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
    """Set the log-mel front end's mean and deviation per band from these (training) recordings; no front end, no change."""
    front_end = getattr(classifier.backbone, "front_end", None)
    if not isinstance(front_end, LogMel):
        return
    total, squares, n_frames = torch.zeros(()), torch.zeros(()), 0
    for recording in recordings:
        waveform = recording.waveform[None].to(front_end.mean.device)
        raw = front_end.raw(spectrogram(waveform, classifier.stft).magnitude)[0].double()
        total, squares, n_frames = total + raw.sum(-1), squares + raw.pow(2).sum(-1), n_frames + raw.shape[-1]
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


def _epoch(
    classifier: Classifier,
    optimizer: torch.optim.Optimizer,
    training: Sequence[Recording],
    config: FitConfig,
    epoch: int,
) -> float:
    """One pass over the training recordings; all randomness comes from the seed and the epoch's number."""
    device = classifier.temperature.device
    n_samples = round(config.crop_s * classifier.stft.sample_rate)
    labels = labels_of(training)
    weights = class_weights(labels.tolist(), len(classifier.class_names), config.class_weights).to(device)
    losses = []
    classifier.train()
    with _own_randomness(config.seed * 1_000_003 + epoch + 1, config.deterministic) as generator:
        order = torch.cat([torch.randperm(len(training), generator=generator) for _ in range(config.n_crops)])
        batches = order.tensor_split(max(1, -(-len(order) // config.batch)))
        n_steps = -(-len(batches) // config.accumulate)
        for number, indices in enumerate(batches):
            crops = torch.stack([crop(training[i].waveform, n_samples, generator) for i in indices.tolist()])
            spec = spectrogram(augment_waveforms(crops, config.augment, generator).to(device), classifier.stft)
            magnitude = spec_augment(spec.magnitude, classifier.stft, config.augment, generator)
            # The outer frames of a crop hold the zeros beyond its edges; a recording's own frames do not.
            inner = slice(2, -2) if magnitude.shape[-1] > 8 else slice(None)
            with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
                logits = classifier.segment_logits(magnitude[..., inner], spec.phase[..., inner])
            loss = nn.functional.cross_entropy(logits.float(), labels[indices].to(device), weight=weights)
            step, place = divmod(number, config.accumulate)
            if place == 0:
                optimizer.zero_grad(set_to_none=True)
            n_together = min(config.accumulate, len(batches) - step * config.accumulate)
            (loss / n_together).backward()  # type: ignore[no-untyped-call]
            if place == n_together - 1:
                factor = rate_factor(epoch * n_steps + step, config.epochs * n_steps, config.schedule)
                for group in optimizer.param_groups:
                    group["lr"] = factor * group["full_rate"]
                optimizer.step()
            losses.append(float(loss.detach()))
    classifier.eval()
    return sum(losses) / len(losses)


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
        training, validation: labeled recordings at the classifier's sample rate; no speaker in both.

    Raises:
        SpeechXAIError: no or unlabeled recordings, another sample rate, a speaker in both sets, a missing class, a
            store that holds another training.
    """
    config = config or FitConfig()
    check_recordings([*training, *validation], classifier.stft.sample_rate)
    shared = {recording.speaker for recording in training} & {recording.speaker for recording in validation}
    if shared:
        raise SpeechXAIError(
            f"The speaker '{min(shared)}' is in training and validation: split by speaker, not by recording."
        )
    class_weights(labels_of(training).tolist(), len(classifier.class_names))
    if isinstance(classifier.backbone, FitsItself):
        # Nothing stops early here, so the validation speakers are better used for fitting.
        classifier.backbone.fit_recordings([*training, *validation], config.seed)
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
        "best_loss": math.inf,
    }
    stored = store.load() if store is not None else None
    if stored is not None:
        if stored.get("fingerprint") != state["fingerprint"]:
            raise SpeechXAIError(
                "The stored training state belongs to other recordings or settings: remove it or train with the same ones."
            )
        state = stored
        classifier.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    while not _finished(state, config):
        epoch = len(state["records"])
        training_loss = _epoch(classifier, optimizer, training, config, epoch)
        validation_loss = _validation_loss(classifier, validation, config) if validation else None
        state["records"] = [*state["records"], [epoch, training_loss, validation_loss]]
        if validation_loss is None or validation_loss < state["best_loss"]:
            state.update(
                best_epoch=epoch,
                best_loss=math.inf if validation_loss is None else validation_loss,
                best=_copied(classifier.state_dict()),
            )
        if store is not None:
            store.save({**state, "model": _copied(classifier.state_dict()), "optimizer": optimizer.state_dict()})
        if progress is not None:
            shown = training_loss if validation_loss is None else validation_loss
            progress(epoch + 1, config.epochs, f"epoch {epoch + 1}, loss {shown:.3f}")
    classifier.load_state_dict(state["best"])
    classifier.eval()
    records = tuple(EpochRecord(int(e), float(t), None if v is None else float(v)) for e, t, v in state["records"])
    return History(records, int(state["best_epoch"]), len(records) < config.epochs)


def _finished(state: Mapping[str, Any], config: FitConfig) -> bool:
    n_epochs = len(state["records"])
    return n_epochs >= config.epochs or (n_epochs > 0 and n_epochs - 1 - int(state["best_epoch"]) >= config.patience)


def _validation_loss(classifier: Classifier, validation: Sequence[Recording], config: FitConfig) -> float:
    labels = labels_of(validation)
    n_classes = len(classifier.class_names)
    present = torch.bincount(labels, minlength=n_classes).clamp(min=1)
    weights = len(labels) / (n_classes * present) if config.class_weights == "balanced" else torch.ones(n_classes)
    return float(nn.functional.cross_entropy(recording_logits(classifier, validation), labels, weight=weights))


__all__ = [
    "EpochRecord", "EpochStore", "FitConfig", "FitsItself", "History", "Progress",
    "check_recordings", "class_weights", "fit", "initialized", "labels_of", "recording_logits", "set_front_end",
]  # fmt: skip
