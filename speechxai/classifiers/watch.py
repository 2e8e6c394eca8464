"""What a training did, written down while it runs: a few numbers an epoch and a few about its recordings, at next to no
cost. Whoever asks later why a network learned nothing finds the answer here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from speechxai.classifiers.base import Classifier
from speechxai.files import read_sealed, sealed, write_atomically
from speechxai.types import Array, Recording

LOG_FILE, KIND = "training.json", "training log"

KEPT = 2048
"""Values of a tensor that are remembered to see how far it moved."""

ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.ELU, nn.Sigmoid, nn.Tanh, nn.Softplus)

AT_MOST = 400
"""Recordings that are compared with each other for copies."""


def _some(value: Tensor) -> Tensor:
    flat = value.detach().reshape(-1)
    return flat[:: max(1, len(flat) // KEPT)].clone()


class Watch:
    """Watch one epoch; a context, whose `facts` are whole when it ends.

    Args:
        classifier: that is trained.
        weights: (C,) of the classes in the loss.
    """

    def __init__(self, classifier: Classifier, weights: Tensor) -> None:
        self.classifier, self.weights = classifier, weights
        self.facts: dict[str, float] = {}
        self._before = {name: _some(p) for name, p in classifier.named_parameters() if p.requires_grad}
        self._gradients: list[float] = []
        self._stale: list[float] = []
        self._losses: list[float] = []
        self._right: list[Tensor] = []
        self._labels: list[Tensor] = []
        self._logits: list[Tensor] = []
        self._lowest: dict[str, Tensor] = {}
        self._highest: dict[str, Tensor] = {}
        self._full: dict[str, list[float]] = {}
        self._handles: list[Any] = []

    def __enter__(self) -> Watch:
        return self

    def look_inside(self) -> None:
        """Hear the units in the batches that follow; called once, near the end of an epoch."""
        if self._handles:
            return
        for name, module in self.classifier.backbone.named_modules():
            if isinstance(module, ACTIVATIONS):
                self._handles.append(module.register_forward_hook(self._heard(name)))

    def _heard(self, name: str) -> Any:
        def hook(module: nn.Module, _: Any, output: Any) -> None:
            if not isinstance(output, Tensor) or output.ndim < 2:
                return
            values = output.detach().float()
            if values.ndim == 3 and not isinstance(module, nn.ReLU | nn.LeakyReLU):
                values = values.transpose(1, 2)  # (B, T, C): units stand last
            if values.ndim == 4:
                values = values[:, :, ::3, ::3]  # a unit that is silent at every ninth place is silent
            rest = [d for d in range(values.ndim) if d != 1]
            low, high = values.amin(dim=rest), values.amax(dim=rest)
            self._lowest[name] = torch.minimum(self._lowest.get(name, low), low)
            self._highest[name] = torch.maximum(self._highest.get(name, high), high)
            bound = {nn.Sigmoid: (0.0, 1.0), nn.Tanh: (-1.0, 1.0)}.get(type(module))
            full = 0.0
            if bound is not None:
                full = float(
                    torch.minimum((values - bound[0]).abs(), (values - bound[1]).abs()).lt(0.005).float().mean()
                )
            self._full.setdefault(name, []).append(full)

        return hook

    def before_backward(self) -> None:
        """Note what gradient is there already, where there should be none."""
        self._stale.append(self._gradient_norm())

    def before_step(self) -> None:
        """Note the gradient that a step follows."""
        self._gradients.append(self._gradient_norm())

    def _gradient_norm(self) -> float:
        found = [p.grad for p in self.classifier.parameters() if p.grad is not None]
        return float(torch.stack([g.detach().norm() for g in found]).norm()) if found else 0.0

    def answered(self, logits: Tensor, labels: Tensor) -> None:
        """Note answers of a batch: the weighted cross-entropy that they mean, and how many are right; of a score
        the mean squared error, in variances of the training recordings."""
        values, weights = logits.detach().double(), self.weights.double()
        if self.classifier.unit:
            off = (values[:, 0] - labels.double()) * self.classifier.temperature.double()
            self._losses.append(float(off.square().mean()))
            self._logits.append(values.cpu())
            return
        log_p = values - values.logsumexp(dim=1, keepdim=True)
        each = -log_p.gather(1, labels[:, None])[:, 0]
        w = weights[labels]
        self._losses.append(float((w * each).sum() / w.sum()))
        self._right.append((values.argmax(dim=1) == labels).cpu())
        self._labels.append(labels.cpu())
        self._logits.append(values.cpu())

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for handle in self._handles:
            handle.remove()
        if kind is None and self._losses:
            self.facts = {name: _finite(value) for name, value in self._summary().items()}

    def _summary(self) -> dict[str, float]:
        logits, shares = torch.cat(self._logits), [float("nan")]
        if self._labels:
            labels, right = torch.cat(self._labels), torch.cat(self._right)
            shares = [float(right[labels == c].double().mean()) for c in sorted(set(labels.tolist()))]
        moved, size, still = 0.0, 0.0, 0
        for name, p in self.classifier.named_parameters():
            if name in self._before:
                change = float((_some(p) - self._before[name]).double().square().sum())
                moved, size = moved + change, size + float(self._before[name].double().square().sum())
                still += change == 0
        still_units = [float((self._highest[n] - self._lowest[n] < 1e-5).float().mean()) for n in self._lowest]
        full_units = [sum(shares) / len(shares) for shares in self._full.values()]
        steps = [g for g in self._gradients if math.isfinite(g)]
        return {
            "own_loss": sum(self._losses) / len(self._losses),
            "first_loss": self._losses[0],
            "last_loss": self._losses[-1],
            "accuracy": sum(shares) / len(shares),
            "gradient": sum(steps) / len(steps) if steps else float("nan"),
            "largest_gradient": max(steps, default=float("nan")),
            "stale": max(self._stale, default=0.0),
            "update": math.sqrt(moved / size) if size else 0.0,
            "still_tensors": still / max(1, len(self._before)),
            "weight": math.sqrt(size),
            "n_steps": len(self._gradients),
            "logit": float(logits.abs().max()),
            "spread": _spread(logits),
            "n_activations": sum(isinstance(m, ACTIVATIONS) for m in self.classifier.backbone.modules()),
            "dead": max(still_units, default=float("nan")),
            "saturated": max(full_units, default=float("nan")),
        }


def _spread(logits: Tensor) -> float:
    centered = logits - logits.mean(dim=1, keepdim=True) if logits.shape[1] > 1 else logits
    return float(centered.std(dim=0).max()) if len(logits) > 1 else 0.0


def entered(classifier: Classifier, batches: Iterable[tuple[Any, int, Tensor, Tensor]]) -> dict[str, float]:
    """Mean and deviation of what the first layer with weights is given; nothing where there is none.

    Args:
        batches: recordings as `fit.batches_heard` gives them, without augmentation.
    """
    first = next(
        (m for m in classifier.backbone.modules() if isinstance(m, nn.Conv1d | nn.Conv2d | nn.Linear | nn.LSTM)), None
    )
    if first is None:
        return {}
    found: list[Tensor] = []
    handle = first.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0].detach().double().cpu()))
    was = classifier.training
    try:
        classifier.eval()
        with torch.no_grad():
            for _, n_samples, magnitude, phase in batches:
                classifier.for_length(n_samples)(magnitude, phase)
    finally:
        handle.remove()
        classifier.train(was)
    values = torch.cat([each.reshape(-1) for each in found]) if found else torch.zeros(0)
    if values.numel() < 2:
        return {}
    return {"input_mean": _finite(float(values.mean())), "input_deviation": _finite(float(values.std()))}


def _finite(value: float) -> float:
    return float(f"{value:.6g}")


# The recordings of a training.
def data_facts(
    recordings: Sequence[Recording], folds: Sequence[int], n_classes: int, labels: Sequence[int] | None = None
) -> dict[str, Any]:
    """What a training's recordings look like: counts, levels, how much they differ, copies across folds.

    Args:
        recordings: N labeled ones.
        folds: (N,) the fold of each.
        n_classes: how many there are.
        labels: (N,), where they are not the recordings' own.
    """
    waves = [r.waveform.double().numpy() for r in recordings]
    labels = [int(r.label or 0) for r in recordings] if labels is None else list(labels)
    counts = np.zeros((max(folds) + 1, n_classes), dtype=int)
    for fold, label in zip(folds, labels, strict=True):
        counts[fold, label] += 1
    spectra = np.stack([_bands_db(wave) for wave in waves])
    peaks = [float(np.abs(wave).max()) for wave in waves]
    copies = _copies(waves, spectra, folds)
    return {
        "counts": counts.tolist(),
        "n_recordings": len(waves),
        "variety_db": _finite(float(spectra.std(axis=0).max())),
        "peaks": [_finite(min(peaks)), _finite(float(np.median(peaks))), _finite(max(peaks))],
        "offset": _finite(float(np.median([abs(wave.mean()) / max(wave.std(), 1e-9) for wave in waves]))),
        "constant": sum(float(wave.std()) < 1e-6 for wave in waves),
        "copies": len(copies),
        "copies_of_other_label": sum(labels[a] != labels[b] for a, b in copies),
        "compared": min(len(waves), AT_MOST),
    }


def _bands_db(wave: Array) -> Array:
    """Mean spectrum in 24 bands of equal width, dB of the whole: (24,)."""
    n = 512
    frames = wave[: len(wave) // n * n].reshape(-1, n) if len(wave) >= n else np.pad(wave, (0, n - len(wave)))[None]
    power = (np.abs(np.fft.rfft(frames * np.hanning(n), axis=1)) ** 2).mean(axis=0)[1:241]
    bands = power.reshape(24, 10).sum(axis=1)
    return np.asarray(10 * np.log10(bands / max(float(bands.sum()), 1e-20) + 1e-9))


def _copies(waves: Sequence[Array], spectra: Array, folds: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of recordings in different folds of which one is the other, or a part of it: correlation above .95.

    Of each recording the three of other folds with the nearest spectrum are tried.
    """
    n = min(len(waves), AT_MOST)
    small = [_slow(wave) for wave in waves[:n]]
    found = set()
    for a in range(n):
        others = [b for b in range(n) if folds[b] != folds[a]]
        others.sort(key=lambda b: float(np.abs(spectra[a] - spectra[b]).mean()))
        for b in others[:3]:
            pair = (min(a, b), max(a, b))
            if pair not in found and _correlation(small[a], small[b]) > 0.95:
                found.add(pair)
    return sorted(found)


def _slow(wave: Array) -> Array:
    """A waveform at a quarter of its rate, without its mean."""
    part = wave[: len(wave) // 4 * 4].reshape(-1, 4).mean(axis=1)
    return np.asarray(part - part.mean())


def _correlation(a: Array, b: Array) -> float:
    """Largest correlation of the shorter with any part of the longer; 0 where there is nothing to compare."""
    if len(a) < len(b):
        a, b = b, a
    size = 1 << (len(a) + len(b)).bit_length()
    products = np.fft.irfft(np.fft.rfft(a, size) * np.conj(np.fft.rfft(b, size)), size)[: len(a) - len(b) + 1]
    total = np.concatenate([[0.0], np.cumsum(a**2)])
    energy = (total[len(b) :] - total[: len(total) - len(b)]) * float(b @ b)
    at = int(np.abs(products).argmax())
    return float(abs(products[at]) / math.sqrt(energy[at])) if energy[at] > 1e-12 else 0.0


# On disk.
def write_log(folder: Path, log: Mapping[str, Any]) -> None:
    """Write a training's log into a bundle, or beside an unfinished one."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / LOG_FILE, sealed(log, KIND))


def read_log(folder: Path) -> dict[str, Any] | None:
    """Log of a training; None where there is none, or it was damaged."""
    return read_sealed(folder / LOG_FILE, KIND) if (folder / LOG_FILE).is_file() else None
