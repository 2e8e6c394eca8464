"""What the app computes, without Streamlit: hear, explain, compare. Plain arrays out, so that pages need no tensors."""

from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from speechxai import Case, Classifier, Recording, Spectrogram, predict, spectrogram
from speechxai.classifiers.bundle import Bundle
from speechxai.explain.agreement import iou, rank_correlation, top_bins
from speechxai.explain.explain import explain_all
from speechxai.explain.recipe import parse
from speechxai.signal.acoustics import f0_hz, segments_by_voicing
from speechxai.signal.quality import checks, concerns, quality
from speechxai.signal.stft import inverse, linear_magnitude
from speechxai.types import Array

Tick = Callable[[], None]
"""Called between passes; raises to stop the work."""

HEARD_SHARE = 0.2
"""Kept and removed sounds are made from this share of the bins, the strongest ones: what the picture shows by
default."""

MAX_GAIN_DB = 36.0
CONTROLS = ("energy_map", "random_map")


@dataclass(frozen=True, eq=False)
class Heard:
    """A recording as the model hears it.

    Args:
        digest: of waveform and weights: the name of everything computed from them.
        waveform: (N,) float32 at sample_rate_hz.
        magnitude: (F, T), linear.
        probability: (C,) of the classes.
        without_fifths: (5, C), when one fifth of the recording is left out.
        folds: (K, C) of all models of the bundle that never heard the speaker; one row where only one may speak.
        voicing, f0_hz: (T,).
        warnings: what the quality check says.
    """

    recording: Recording
    digest: str
    fold: int | None
    class_names: tuple[str, ...]
    waveform: Array
    sample_rate_hz: int
    frame_rate_hz: float
    magnitude: Array
    probability: Array
    without_fifths: Array
    folds: Array
    voicing: Array
    f0_hz: Array
    warnings: tuple[str, ...]
    quality: dict[str, float]
    spec: Spectrogram = field(repr=False)
    model: Classifier = field(repr=False)

    @functools.cached_property
    def sound(self) -> Array:
        """The explained magnitude with its phase as a sound (N,): what kept and removed sum to."""
        return _sound(self.spec, self.spec.magnitude)

    @property
    def predicted(self) -> int:
        """Index of the most probable class."""
        return int(self.probability.argmax())


@dataclass(frozen=True, eq=False)
class Explained:
    """One map: `mask` (F, T) float32 in [0, 1] and what the model says of its halves at an equal budget.

    Args:
        target: explained class.
        p, p_kept, p_removed: of the explained class: whole, strongest bins alone, without the strongest bins.
        signed: whether evidence against the class was left out.
        mean_mask: mean of the soft mask.
    """

    recipe: str
    mask: Array
    target: int
    p: float
    p_kept: float
    p_removed: float
    signed: bool
    mean_mask: float

    @functools.cached_property
    def strongest(self) -> Array:
        """Which bins are among the strongest HEARD_SHARE, bool (F, T)."""
        return strongest(self.mask)


@contextmanager
def ticking(model: torch.nn.Module, lock: threading.RLock, tick: Tick | None) -> Iterator[None]:
    """Hold a model for this thread and call `tick` before each of its passes, so that long work can be seen and
    stopped.

    Attribution hangs its hooks on the network, so two readers may not explain with one network at the same time.
    """
    while not lock.acquire(timeout=0.2):
        if tick:
            tick()
    me = threading.get_ident()

    def before(*_: Any) -> None:
        if tick and threading.get_ident() == me:
            tick()

    # Occlusion calls the network inside the classifier, so that is where passes are counted.
    handle = getattr(model, "backbone", model).register_forward_pre_hook(before)
    try:
        yield
    finally:
        handle.remove()
        lock.release()


def digest_of(bundle: Bundle, fold: int | None, recording: Recording) -> str:
    """Name of everything that is computed from these samples with these weights."""
    config = bundle.config
    text = f"{config.weights.sha256}|{fold}|{config.stft!r}|{config.segment!r}|{torch.__version__}"
    samples = recording.waveform.contiguous().numpy().tobytes()
    return hashlib.sha256(text.encode() + samples).hexdigest()[:32]


def hear(bundle: Bundle, recording: Recording, lock: threading.RLock, tick: Tick | None = None) -> Heard:
    """Predict a recording by the model that never heard its speaker, and measure the recording itself."""
    fold = bundle.fold_of(recording)
    model = bundle.classifier(fold)
    spec = spectrogram(recording.waveform[None], model.stft)
    n_frames = spec.magnitude.shape[-1]
    hop, rate = model.stft.hop_length, model.stft.sample_rate
    with ticking(model, lock, tick):
        probability = predict(model, spec)[0].numpy()
        fifths = _without_fifths(model, spec)
        folds = [probability]
        if fold is None:
            folds += [predict(bundle.classifier(k), spec)[0].numpy() for k in range(bundle.n_folds)]
    measured = quality(recording.waveform, recording.sample_rate)
    return Heard(
        recording=recording,
        digest=digest_of(bundle, fold, recording),
        fold=fold,
        class_names=tuple(model.class_names),
        waveform=recording.waveform.numpy(),
        sample_rate_hz=rate,
        frame_rate_hz=rate / hop,
        magnitude=linear_magnitude(spec.magnitude, model.stft)[0].numpy(),
        probability=probability,
        without_fifths=probability[None] if fifths is None else fifths,
        folds=np.stack(folds),
        voicing=segments_by_voicing(recording.waveform, rate, n_frames, hop),
        f0_hz=f0_hz(recording.waveform, rate, hop, n_frames)[0],
        warnings=tuple(str(check) for check in concerns(checks(measured))),
        quality={name: float(value) for name, value in vars(measured).items()},
        spec=spec,
        model=model,
    )


def _without_fifths(model: Classifier, spec: Spectrogram) -> Array | None:
    """Probabilities (5, C) when one fifth of a recording is left out; None for recordings under half a second.

    A recording of many segments is judged by the mean of their logits, so there a fifth of the segments is left out:
        one
    pass instead of five.
    """
    n_frames = spec.magnitude.shape[-1]
    if n_frames < 50:
        return None
    pieces, phases = model.cut(spec.magnitude)[0], model.cut(spec.phase)[0]
    if len(pieces) >= 10:
        size = model.max_batch
        with torch.inference_mode():
            logits = torch.cat(
                [model.segment_logits(m, p) for m, p in zip(pieces.split(size), phases.split(size), strict=True)]
            )
        outside = [torch.cat([*(part for j, part in enumerate(logits.tensor_split(5)) if j != k)]) for k in range(5)]
        return np.stack([part.mean(dim=0).softmax(-1).numpy() for part in outside])
    found = []
    for k in range(5):
        keep = torch.cat([torch.arange(k * n_frames // 5), torch.arange((k + 1) * n_frames // 5, n_frames)])
        n_samples = (len(keep) - 1) * model.stft.hop_length
        part = Spectrogram(spec.magnitude[..., keep], spec.phase[..., keep], n_samples, model.stft)
        found.append(predict(model, part)[0].numpy())
    return np.stack(found)


def explain(
    heard: Heard, recipes: Sequence[str], lock: threading.RLock, tick: Tick | None = None, seed: int = 0
) -> tuple[dict[str, Explained], dict[str, str]]:
    """Explain one recording by many recipes: maps by canonical name, and the reasons of those that do not apply."""
    found: dict[str, Explained] = {}
    with ticking(heard.model, lock, tick):
        maps = explain_all(heard.model, heard.spec, [str(parse(r)) for r in recipes], heard.predicted, seed=seed)
        probability = torch.from_numpy(heard.probability)[None]
        for recipe, attribution in maps.items():
            case = Case(heard.model, heard.spec, attribution, probability=probability)
            mask = case.mask
            keep = top_bins(mask, HEARD_SHARE).to(mask)
            target = int(attribution.target[0])
            found[recipe] = Explained(
                recipe=recipe,
                mask=mask[0].numpy(),
                target=target,
                p=float(probability[0, target]),
                p_kept=float(case.masked_probability(keep)[0, target]),
                p_removed=float(case.masked_probability(1 - keep)[0, target]),
                signed=attribution.signed,
                mean_mask=float(mask.mean()),
            )
    return found, dict(maps.not_applicable)


def strongest(mask: Array, share: float = HEARD_SHARE) -> Array:
    """Which bins of a mask (F, T) are among its strongest `share`, bool (F, T)."""
    return np.asarray(top_bins(torch.from_numpy(mask)[None], share)[0].numpy())


def halves(heard: Heard, bins: Array) -> tuple[Array, Array]:
    """Sounds (N,) of some bins, bool (F, T), alone and of the rest, unscaled; they sum to `heard.sound`.

    Bins are kept or removed whole, so the inverse is linear in them and the rest is a difference.
    """
    kept = _sound(heard.spec, heard.spec.magnitude * torch.from_numpy(bins).to(heard.spec.magnitude)[None])
    return kept, heard.sound - kept


def _sound(spec: Spectrogram, magnitude: torch.Tensor) -> Array:
    return np.asarray(inverse(magnitude, spec.phase, spec.stft, spec.n_samples)[0].numpy())


def matched(sound: Array, original: Array) -> tuple[Array, float]:
    """Bring a sound (N,) to the original's level, at most to full scale and by MAX_GAIN_DB; returns it and the gain,
    dB."""
    level, wanted = float(np.sqrt(np.mean(sound**2))), float(np.sqrt(np.mean(original**2)))
    peak = float(np.abs(sound).max(initial=0.0))
    if level <= 0 or peak <= 0:
        return sound, 0.0
    gain = min(wanted / level, 0.99 / peak, 10 ** (MAX_GAIN_DB / 20))
    return sound * np.float32(gain), float(20 * np.log10(gain))


def agreement(masks: Sequence[Array]) -> tuple[Array, Array]:
    """Pairwise IoU at 0.4 of each map's maximum, and rank correlation, of masks (F, T): two (M, M) arrays."""
    n = len(masks)
    overlap, ranks = np.eye(n), np.eye(n)
    tensors = [torch.from_numpy(mask)[None] for mask in masks]
    for i in range(n):
        for j in range(i):
            overlap[i, j] = overlap[j, i] = float(iou(tensors[i], tensors[j])[0])
            ranks[i, j] = ranks[j, i] = float(rank_correlation(tensors[i], tensors[j])[0])
    return overlap, ranks


def top_overlap(first: Array, second: Array) -> float:
    """Share of bins that two choices, bool (F, T), have in common, in [0, 1]; two unrelated ones have the share that
    they choose."""
    total = first.sum() + second.sum()
    return float(2 * (first & second).sum() / total) if total else float("nan")


def speech_share(recording: Recording, detector: Any) -> float:
    """Share of the time in which silero-vad hears a voice, in [0, 1]; held vowels count as voiced by the pitch tracker.

    The detector learned from running speech and lets go of a vowel held for seconds, so the larger of the two counts.
    """
    from silero_vad import get_speech_timestamps

    waveform, rate = recording.waveform, recording.sample_rate
    hop = max(1, rate // 100)
    n_frames = -(-len(waveform) // hop) + 1
    voiced = float((segments_by_voicing(waveform, rate, n_frames, hop) == 2).mean())
    if rate != 16_000:
        from speechxai.signal.acoustics import resampled

        waveform = torch.from_numpy(np.asarray(resampled(waveform.numpy(), rate, 16_000), np.float32))
    with torch.inference_mode():
        found = get_speech_timestamps(waveform, detector, sampling_rate=16_000)
    heard_s = sum(part["end"] - part["start"] for part in found) / len(waveform)
    return max(heard_s, voiced) if heard_s > 0 or voiced > 0.3 else 0.0
