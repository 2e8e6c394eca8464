"""Does the doctor find what was planted? Faults of deployment and of training, and healthy runs, each diagnosed once.

    python scripts/doctor.py --split dev --out docs/results/doctor/dev.jsonl
    python scripts/doctor.py --split test --out docs/results/doctor/test.jsonl
    python scripts/doctor.py --table docs/results/doctor/dev.jsonl docs/results/doctor/test.jsonl

Every fault is planted from outside: a changed settings or weights' file, a library that computes otherwise, a wrong
program of a user, wrong recordings, a training whose loss, optimizer or network somebody replaced. Rules were made on
the faults of "dev"; those of "test" have other strengths, seeds, networks and material, and were run once. A case that
stands in the file already is left out, so that a run goes on where it ended.
"""

from __future__ import annotations

import argparse
import copy
import functools
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import soundfile
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from speechxai.classifiers import BACKBONES, training
from speechxai.classifiers.bundle import load_bundle
from speechxai.classifiers.fit import FitConfig
from speechxai.data.synthetic import takes
from speechxai.doctor import examine_bundle, examine_training
from speechxai.errors import SpeechXAIError
from speechxai.files import read_toml, resource_folder, sha256_of, to_toml
from speechxai.signal.stft import SegmentConfig, spectrogram
from speechxai.stats import share_interval
from speechxai.testing import ANYTHING
from speechxai.types import Recording, StftConfig

FL4DEEP = {
    "data": "84 %",
    "deployment": "100 % (library mismatch between training and deployment)",
    "loss": "69 %",
}
"""Of 100 faulty scripts, arXiv 2411.08172."""


@dataclass(frozen=True)
class Case:
    """One planted fault, or a healthy run: `right` are the suspects that count, none where nothing is wrong."""

    name: str
    kind: str
    split: str
    right: tuple[str, ...]
    examine: Callable[[Path], Any]


# Deployment: changed files.
MODEL = {"dev": "synthetic-cnn", "test": "figshare-cnn"}


def copied(split: str, folder: Path) -> Path:
    """A copy of an embedded model that may be spoiled."""
    place = folder / MODEL[split]
    shutil.copytree(resource_folder("models") / MODEL[split], place)
    return place


def changed_settings(split: str, change: Callable[[dict[str, Any]], None]) -> Callable[[Path], Any]:
    """Examine a model whose settings somebody changed, its seal removed."""

    def examine(folder: Path) -> Any:
        place = copied(split, folder)
        settings = read_toml(place / "config.toml")
        change(settings)
        settings.pop("sha256")  # as the message advises whoever means it
        (place / "config.toml").write_text(to_toml(settings))
        return examine_bundle(place)

    return examine


def changed_weights(split: str, change: Callable[[dict[str, torch.Tensor]], None]) -> Callable[[Path], Any]:
    """Examine a model whose weights somebody changed, its hashes made to fit."""

    def examine(folder: Path) -> Any:
        place = copied(split, folder)
        path = place / "weights.safetensors"
        weights = load_file(path)
        change(weights)
        save_file(weights, path)
        settings = read_toml(place / "config.toml")
        settings.pop("sha256")
        settings["weights"]["sha256"] = sha256_of(path)
        (place / "config.toml").write_text(to_toml(settings))
        return examine_bundle(place)

    return examine


def noisy(seed: int, share: float) -> Callable[[dict[str, torch.Tensor]], None]:
    """Add noise to the convolutions, as a share of their deviation."""

    def change(weights: dict[str, torch.Tensor]) -> None:
        generator = torch.Generator().manual_seed(seed)
        for key in weights:
            if key.startswith("final.backbone") and weights[key].ndim == 4:
                noise = torch.randn(weights[key].shape, generator=generator)
                weights[key] = weights[key] + share * weights[key].std() * noise

    return change


# Deployment: another library.
def patched(split: str, *patches: Any) -> Callable[[Path], Any]:
    """Examine a model with libraries that compute otherwise."""

    def examine(folder: Path) -> Any:
        place = copied(split, folder)
        with ExitStack() as stack:
            for patch in patches:
                stack.enter_context(patch())
            return examine_bundle(place)

    return examine


def linear_soxr() -> Any:
    """A resampler without a filter."""

    def resample(x: Any, a: int, b: int, quality: str = "") -> Any:
        n = round(len(x) * b / a)
        return np.interp(np.arange(n) * a / b, np.arange(len(x)), x).astype(x.dtype)

    return mock.patch("soxr.resample", resample)


def polyphase_soxr() -> Any:
    """A resampler with a soft filter."""
    from math import gcd

    from scipy.signal import resample_poly

    def resample(x: Any, a: int, b: int, quality: str = "") -> Any:
        return resample_poly(x, b // gcd(a, b), a // gcd(a, b), window=("kaiser", 2.0)).astype(x.dtype)

    return mock.patch("soxr.resample", resample)


def mel_of(**options: Any) -> Callable[[], Any]:
    """Mel bands by other defaults."""

    def patch() -> Any:
        import librosa.filters

        real = librosa.filters.mel
        return mock.patch("librosa.filters.mel", lambda **given: real(**{**given, **options}))

    return patch


def relu_leaks(share: float) -> Callable[[], Any]:
    """A rectifier that leaks."""

    def patch() -> Any:
        return mock.patch("torch.nn.ReLU.forward", lambda self, x: torch.nn.functional.leaky_relu(x, share))

    return patch


def stft_of(normalized: bool = False, symmetric: bool = False) -> Callable[[], Any]:
    """A spectrogram by other defaults."""

    def patch() -> Any:
        real = torch.stft

        def other(x: Any, n_fft: int, hop: Any = None, win: Any = None, window: Any = None, **given: Any) -> Any:
            if symmetric:
                window = torch.hamming_window(win, periodic=False)
            return real(x, n_fft, hop, win, window, **{**given, "normalized": normalized})

        return mock.patch("torch.stft", other)

    return patch


# Deployment: a user's wrong program, written without this library's reader.
def program(split: str, wrong: str, value: Any = None) -> Callable[[Path], Any]:
    """Examine a model beside a program of a user, in which one thing is wrong."""

    def examine(folder: Path) -> Any:
        bundle = load_bundle(MODEL[split])
        network, stft = bundle.classifier(), bundle.config.stft_config()

        torch.manual_seed(value if wrong == "training" else 0)

        def answers(path: str) -> Any:
            samples, rate = soundfile.read(path, always_2d=True)
            x = samples[:, min(value, samples.shape[1] - 1)] if wrong == "channel" else samples.mean(axis=1)
            if wrong != "offset":
                x = x - x.mean()
            target = value if wrong == "rate" else 16_000
            if wrong == "unresampled":
                target = rate
            if target != rate:
                if wrong == "interpolated":
                    n = round(len(x) * target / rate)
                    x = np.interp(np.arange(n) * rate / target, np.arange(len(x)), x)
                else:
                    import librosa

                    x = librosa.resample(x, orig_sr=rate, target_sr=target, res_type="soxr_hq")
            if wrong == "level":
                x = {"none": x, "deviation": x / x.std(), "int16": x * 32768, "rms": 0.1 * x / x.std()}[value]
            else:
                x = x / np.abs(x).max()
            if wrong == "first":
                x = x[: 5 * 16_000]
            how = replace(stft, **value) if wrong == "stft" else stft
            spec = spectrogram(torch.from_numpy(x).float()[None], how)
            model = copy.deepcopy(network)
            model.stft = how
            if wrong == "calibration":
                model.temperature.fill_(1.0)
                model.intercept.zero_()
            if wrong == "training":
                model.train()
            if wrong == "segment":
                model.segment = None if value is None else SegmentConfig(value, value / 2)
            with torch.no_grad():
                logits = model(spec.magnitude, spec.phase)[0]
            p = logits.softmax(-1)
            if wrong == "order":
                p = p.flip(-1)
            if wrong == "twice":
                p = p.softmax(-1)
            return [round(float(v), value if wrong == "fine" else 6) for v in p]

        return examine_bundle(MODEL[split], answers)

    return examine


def setting(table: str, key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Set one key."""

    def change(settings: dict[str, Any]) -> None:
        settings.setdefault(table, {})[key] = value

    return change


def swapped(settings: dict[str, Any]) -> None:
    """Name the classes in the opposite order."""
    settings["classes"] = settings["classes"][::-1]


def scaled(key: str, factor: float) -> Callable[[dict[str, torch.Tensor]], None]:
    """Multiply one tensor."""

    def change(weights: dict[str, torch.Tensor]) -> None:
        weights[key] = weights[key] * factor

    return change


def deployment() -> Iterator[Case]:
    """Faults of deployment, of files, libraries and programs."""
    d, t = "dev", "test"
    for split, name, right, examine in (
        (d, "file-level-none", "normalization", changed_settings(d, setting("audio", "normalize", "none"))),
        (d, "file-window-hann", "stft", changed_settings(d, setting("stft", "window", "hann"))),
        (d, "file-classes", "label_order", changed_settings(d, swapped)),
        (d, "file-noisy-weights", "weights", changed_weights(d, noisy(0, 0.5))),
        (d, "file-temperature-3", "temperature", changed_weights(d, scaled("final.temperature", 3.0))),
        (d, "library-linear-resampler", "resampler", patched(d, linear_soxr)),
        (d, "library-mel-slaney", "features", patched(d, mel_of(htk=False))),
        (d, "library-leaky-relu", "library", patched(d, relu_leaks(0.2))),
        (d, "program-first-channel", "channel_mix", program(d, "channel", 0)),
        (d, "program-22050", "sample_rate", program(d, "rate", 22_050)),
        (d, "program-offset", "offset", program(d, "offset")),
        (d, "program-whole-window", "stft", program(d, "stft", {"win_length": 1024})),
        (d, "program-order", "label_order", program(d, "order")),
        (d, "program-training", "training_mode", program(d, "training", 1)),
        (d, "program-level", "normalization", program(d, "level", "deviation")),
        (d, "program-twice", "softmax_twice", program(d, "twice")),
        (t, "file-offset-kept", "offset", changed_settings(t, setting("audio", "offset", "kept"))),
        (t, "file-hop", "stft", changed_settings(t, setting("stft", "hop_length", 160))),
        (t, "file-rate-8000", "sample_rate", changed_settings(t, setting("stft", "sample_rate", 8_000))),
        (t, "file-segment-2", "segment_length", changed_settings(t, setting("segment", "length_s", 2.6))),
        (t, "file-mel-bands-top", "features", changed_settings(t, setting("options", "f_max_hz", 7_000.0))),
        (t, "file-classes", "label_order", changed_settings(t, swapped)),
        (t, "file-one-weight", "weights", changed_weights(t, scaled("final.backbone.classifier.weight", 0.8))),
        (t, "file-temperature-half", "temperature", changed_weights(t, scaled("final.temperature", 0.5))),
        (t, "library-soft-resampler", "resampler", patched(t, polyphase_soxr)),
        (t, "library-stft-normalized", "stft", patched(t, stft_of(normalized=True))),
        (t, "library-mel-floor", "features", patched(t, mel_of(fmin=0.0))),
        (t, "library-leaky-relu", "library", patched(t, relu_leaks(0.05))),
        (t, "program-last-channel", "channel_mix", program(t, "channel", 1)),
        (t, "program-unresampled", "sample_rate", program(t, "unresampled")),
        (t, "program-interpolated", "resampler", program(t, "interpolated")),
        (t, "program-int16", "normalization", program(t, "level", "int16")),
        (t, "program-hann", "stft", program(t, "stft", {"window": "hann"})),
        (t, "program-uncalibrated", "temperature", program(t, "calibration")),
        (t, "program-order", "label_order", program(t, "order")),
        (t, "program-training", "training_mode", program(t, "training", 7)),
        (t, "program-segment-3", "segment_length", program(t, "segment", 3.0)),
    ):
        yield Case(f"{split}-deploy-{name}", "deployment", split, (right,), examine)
    for split in (d, t):
        yield Case(f"{split}-healthy-model", "healthy", split, (), lambda _, s=split: examine_bundle(MODEL[s]))
        yield Case(f"{split}-healthy-copy", "healthy", split, (), patched(split))
        yield Case(f"{split}-healthy-program", "healthy", split, (), program(split, "nothing"))
        yield Case(f"{split}-healthy-program-rounded", "healthy", split, (), program(split, "fine", 3))


# Trainings: small networks on a second of made voices each, and what somebody does to them.
@BACKBONES.register(hears="magnitude", cites="own")
def dense(
    stft: StftConfig,
    hidden: int = 16,
    activation: str = "relu",
    depth: int = 2,
    scale: float = 1.0,
    bias: float = 0.0,
    output: str = "none",
    gain: float = 1.0,
) -> nn.Module:
    """A few dense layers on the mean spectrum."""
    make = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "gelu": nn.GELU, "none": nn.Identity}[activation]
    layers: list[nn.Module] = []
    width = stft.n_bins
    for _ in range(depth):
        linear = nn.Linear(width, hidden)
        with torch.no_grad():
            linear.weight.mul_(scale)
            linear.bias.add_(bias)
        layers += [linear, make()]
        width = hidden
    layers.append(nn.Linear(width, 2))
    if output == "tanh":
        layers.append(nn.Tanh())
    network = nn.Sequential(*layers)

    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, magnitude: torch.Tensor, phase: torch.Tensor) -> torch.Tensor:
            return self.network(gain * magnitude.mean(dim=-1))

    return Dense()


@functools.cache
def voices(n_speakers: int, seed: int, task: str) -> tuple[Recording, ...]:
    """The first part of made voices, one recording a speaker, at one level, with a plain sign of one of the classes: a
    hiss."""
    found = []
    for index, take in enumerate(takes(n_speakers, seed, severity=0.0, tasks=(task,))):
        recording = take.recording()
        wave = recording.waveform[2_000:14_000]
        if recording.label == 1:
            noise = torch.randn(len(wave), generator=torch.Generator().manual_seed(1_000 * seed + index)).diff(
                prepend=torch.zeros(1)
            )
            wave = wave + (0.25 if task == "vowel-a" else 0.4) * wave.std() * noise
        found.append(replace(recording, waveform=wave / wave.abs().max()))
    return tuple(found)


CNN = {"dev": {"channels": [6, 12], "n_mels": 24}, "test": {"channels": [8, 8, 16], "n_mels": 32}}
RATE = {"cnn": 1e-2, "dense": 1e-2}


def trained(
    split: str,
    seed: int,
    *,
    backbone: str = "cnn",
    options: dict[str, Any] | None = None,
    spoil: Callable[[list[Recording]], list[Recording]] | None = None,
    patches: tuple[Callable[[], Any], ...] = (),
    n_speakers: int = 24,
    task: str = "vowel-a",
    **fit: Any,
) -> Callable[[Path], Any]:
    """Train a small model, with what somebody did to it, and examine what is left on disk."""

    def examine(folder: Path) -> Any:
        recordings = list(voices(n_speakers, 10 * seed + (split == "test"), task))
        recordings = spoil(recordings) if spoil else recordings
        settings = {
            **{"epochs": 8, "patience": 6, "batch": 8, "crop_s": 0.4, "n_crops": 4, "restarts": 0, "seed": seed},
            **{"learning_rate": RATE[backbone], "deterministic": False},
            **fit,
        }
        own = CNN[split] if backbone == "cnn" else {}
        plan = training.Plan(
            name="planted",
            backbone=backbone,
            options={**own, **(options or {})},
            n_folds=3,
            fit=FitConfig(**settings),
            n_bootstrap=20,
            cam_layer="features" if backbone == "cnn" else None,
        )
        with ExitStack() as stack:
            # What a model was made for takes longer than these trainings.
            stack.enter_context(mock.patch.object(training, "scope_of", return_value=ANYTHING))
            for patch in patches:
                stack.enter_context(patch())
            try:
                training.train_bundle(training.Corpus("made", tuple(recordings), ""), plan, folder / "m")
            except SpeechXAIError:
                return examine_training(folder / "m.training")
        return examine_training(folder / "m")

    return examine


def shuffled(share: float, seed: int) -> Callable[[list[Recording]], list[Recording]]:
    """Exchange the labels of a share of the recordings."""

    def spoil(recordings: list[Recording]) -> list[Recording]:
        random = np.random.default_rng(seed)
        chosen = random.permutation(len(recordings))[: round(share * len(recordings))]
        labels = {int(i): recordings[int(j)].label for i, j in zip(chosen, random.permutation(chosen), strict=True)}
        return [replace(r, label=labels.get(i, r.label)) for i, r in enumerate(recordings)]

    return spoil


def leaking(n: int, part: float) -> Callable[[list[Recording]], list[Recording]]:
    """The same recordings once more, or a part of them, under other names."""

    def spoil(recordings: list[Recording]) -> list[Recording]:
        more = []
        for r in recordings[:n]:
            wave = r.waveform[: round(part * len(r.waveform))]
            more.append(replace(r, id=f"{r.id}-b", speaker=f"{r.speaker}-b", waveform=wave / wave.abs().max()))
        return [*recordings, *more]

    return spoil


def constant(noise: float) -> Callable[[list[Recording]], list[Recording]]:
    """One recording in place of all, and a little noise."""

    def spoil(recordings: list[Recording]) -> list[Recording]:
        wave = recordings[0].waveform
        random = torch.Generator().manual_seed(0)
        return [replace(r, waveform=wave + noise * torch.randn(len(wave), generator=random)) for r in recordings]

    return spoil


def louder(factor: float) -> Callable[[list[Recording]], list[Recording]]:
    """Every other recording at another level, or all in whole numbers."""

    def spoil(recordings: list[Recording]) -> list[Recording]:
        return [
            replace(r, waveform=r.waveform * (factor if i % 2 or factor > 1e3 else 1)) for i, r in enumerate(recordings)
        ]

    return spoil


def rare(n: int) -> Callable[[list[Recording]], list[Recording]]:
    """Only a few of one class."""

    def spoil(recordings: list[Recording]) -> list[Recording]:
        ill = [r for r in recordings if r.label == 1][:n]
        return [*(r for r in recordings if r.label == 0), *ill]

    return spoil


REAL_LOSS = nn.functional.cross_entropy


def loss_of(kind: str) -> Callable[[], Any]:
    """Another loss in place of the cross-entropy."""

    def loss(logits: torch.Tensor, labels: torch.Tensor, weight: Any = None) -> torch.Tensor:
        if kind == "softmax":
            return REAL_LOSS(logits.softmax(-1), labels, weight=weight)
        if kind == "negative":
            return -REAL_LOSS(logits, labels, weight=weight)
        if kind == "sum":
            return REAL_LOSS(logits, labels, weight=weight, reduction="sum")
        if kind == "square":
            return (logits.softmax(-1)[:, 1] - labels.float()).square().mean()
        if kind == "one label":
            return REAL_LOSS(logits, torch.zeros_like(labels), weight=weight)
        if kind == "mixed labels":
            return REAL_LOSS(logits, labels.roll(1), weight=weight)
        if kind == "log of sigmoid":
            p = (logits[:, 1] - logits[:, 0]).sigmoid().round()
            return -(labels * p.log() + (1 - labels) * (1 - p).log()).mean() + 0 * logits.sum()
        raise ValueError(kind)

    return lambda: mock.patch("torch.nn.functional.cross_entropy", loss)


def no_step() -> Any:
    """An optimizer whose step is not called."""
    return mock.patch("torch.optim.AdamW.step", return_value=None)


def only_last() -> Any:
    """An optimizer that was given the last layer alone."""
    from speechxai.classifiers import fit

    real = fit.parameter_groups

    def groups(classifier: Any, *args: Any) -> Any:
        found = real(classifier, *args)
        last = list(classifier.backbone.parameters())[-2:]
        return [{**found[0], "params": last}]

    return mock.patch.object(fit, "parameter_groups", groups)


def kept_gradient() -> Any:
    """A loop without zero_grad."""
    return mock.patch("torch.optim.Optimizer.zero_grad", return_value=None)


def no_statistics() -> Any:
    """Features whose mean and deviation nobody set."""
    return mock.patch("speechxai.classifiers.fit.set_front_end", return_value=None)


def wrong_statistics(factor: float) -> Callable[[], Any]:
    """Features that are divided by something else."""
    return lambda: mock.patch(
        "speechxai.classifiers.cnn.LogMel.set_statistics",
        lambda self, mean, deviation: (self.mean.copy_(mean), self.deviation.copy_(deviation * factor)),
    )


def biased(value: float) -> Callable[[], Any]:
    """Rectifiers that are pushed below zero."""
    return lambda: mock.patch("torch.nn.ReLU.forward", lambda self, x: (x - value).clamp(min=0))


SATURATED = {"activation": "tanh", "scale": 400.0, "depth": 3}


def trainings() -> Iterator[Case]:
    """Faults of training, by kind, and healthy runs."""
    d, f, t = "dev", "first", "test"
    cases: list[tuple[str, str, str, str | tuple[str, ...], dict[str, Any]]] = [
        # data
        (d, "data", "labels-all", "labels", {"spoil": shuffled(1.0, 1)}),
        (d, "data", "labels-dense", "labels", {"spoil": shuffled(0.9, 2), "backbone": "dense"}),
        (d, "data", "leak-copies", "leak_between_folds", {"spoil": leaking(6, 1.0)}),
        (d, "data", "leak-parts", "leak_between_folds", {"spoil": leaking(4, 0.7), "backbone": "dense"}),
        (d, "data", "constant", "constant_input", {"spoil": constant(0.0)}),
        (d, "data", "int16", "unnormalized_input", {"spoil": louder(32768.0), "backbone": "dense"}),
        (d, "data", "features-unset", "unnormalized_input", {"patches": (no_statistics,)}),
        (d, "data", "rare-class", "one_class", {"spoil": rare(3), "class_weights": "none", "n_speakers": 40}),
        (f, "data", "labels-all", "labels", {"spoil": shuffled(1.0, 11), "task": "ddk"}),
        (
            f,
            "data",
            "labels-most",
            "labels",
            {"spoil": shuffled(0.8, 12), "backbone": "dense", "options": {"depth": 1}},
        ),
        (f, "data", "leak-copies", "leak_between_folds", {"spoil": leaking(3, 1.0), "task": "ddk"}),
        (f, "data", "leak-parts", "leak_between_folds", {"spoil": leaking(8, 0.6)}),
        (f, "data", "constant-noise", "constant_input", {"spoil": constant(1e-4), "backbone": "dense"}),
        (f, "data", "levels", "unnormalized_input", {"spoil": louder(0.01)}),
        (f, "data", "features-small", "unnormalized_input", {"patches": (wrong_statistics(100.0),)}),
        (f, "data", "rare-class", "one_class", {"spoil": rare(4), "class_weights": "none", "n_speakers": 56}),
        # loss
        (d, "loss", "softmax-twice", "wrong_loss", {"patches": (loss_of("softmax"),)}),
        (d, "loss", "negative", "wrong_loss", {"patches": (loss_of("negative"),)}),
        (d, "loss", "sum", "wrong_loss", {"patches": (loss_of("sum"),), "backbone": "dense"}),
        (d, "loss", "log-of-0", "loss_not_finite", {"patches": (loss_of("log of sigmoid"),), "backbone": "dense"}),
        (f, "loss", "softmax-twice", "wrong_loss", {"patches": (loss_of("softmax"),), "backbone": "dense"}),
        (f, "loss", "square", "wrong_loss", {"patches": (loss_of("square"),)}),
        (f, "loss", "one-label", "wrong_loss", {"patches": (loss_of("one label"),), "task": "ddk"}),
        (f, "loss", "mixed-labels", "wrong_loss", {"patches": (loss_of("mixed labels"),)}),
        # optimizer
        (d, "optimizer", "no-step", "no_update", {"patches": (no_step,)}),
        (d, "optimizer", "kept-gradient", "stale_gradient", {"patches": (kept_gradient,)}),
        (d, "optimizer", "rate-3", "learning_rate_too_high", {"learning_rate": 3.0}),
        (d, "optimizer", "rate-1e-6", "learning_rate_too_low", {"learning_rate": 1e-6}),
        (d, "optimizer", "decay", "weight_decay_too_high", {"weight_decay": 40.0, "backbone": "dense"}),
        (f, "optimizer", "only-last", "no_update", {"patches": (only_last,)}),
        (f, "optimizer", "kept-gradient", "stale_gradient", {"patches": (kept_gradient,), "backbone": "dense"}),
        (f, "optimizer", "rate-1", "learning_rate_too_high", {"learning_rate": 1.0, "backbone": "dense"}),
        (f, "optimizer", "rate-1e-5", "learning_rate_too_low", {"learning_rate": 1e-5, "task": "ddk"}),
        (f, "optimizer", "decay", "weight_decay_too_high", {"weight_decay": 25.0}),
        # activation
        (d, "activation", "dead", "dead_units", {"patches": (biased(8.0),)}),
        (d, "activation", "dead-bias", "dead_units", {"backbone": "dense", "options": {"bias": -20.0}}),
        (
            d,
            "activation",
            "saturated",
            "saturated_units",
            {"backbone": "dense", "options": {"activation": "tanh", "scale": 80.0}},
        ),
        (
            d,
            "activation",
            "tanh-output",
            "bounded_output",
            {"backbone": "dense", "options": {"output": "tanh"}, "learning_rate": 2e-2},
        ),
        (f, "activation", "dead", "dead_units", {"patches": (biased(5.0),), "task": "ddk"}),
        (f, "activation", "dead-bias", "dead_units", {"backbone": "dense", "options": {"bias": -8.0, "depth": 3}}),
        (
            f,
            "activation",
            "saturated",
            "saturated_units",
            {"backbone": "dense", "options": {"activation": "sigmoid", "scale": 200.0}},
        ),
        (
            f,
            "activation",
            "tanh-output",
            "bounded_output",
            {"backbone": "dense", "options": {"output": "tanh", "activation": "gelu"}},
        ),
        # iterations
        (d, "iterations", "one-epoch", "too_few_epochs", {"epochs": 1}),
        (d, "iterations", "two-epochs", "too_few_epochs", {"epochs": 2, "learning_rate": 1e-3}),
        (d, "iterations", "still-falling", "too_few_epochs", {"epochs": 5, "backbone": "dense", "learning_rate": 3e-4}),
        (d, "iterations", "no-patience", "stopped_too_early", {"patience": 1, "epochs": 60, "learning_rate": 1e-3}),
        (f, "iterations", "one-epoch", "too_few_epochs", {"epochs": 1, "backbone": "dense"}),
        (f, "iterations", "three-epochs", "too_few_epochs", {"epochs": 3, "learning_rate": 5e-4}),
        (f, "iterations", "two-epochs", "too_few_epochs", {"epochs": 2, "task": "ddk", "learning_rate": 1e-3}),
        (
            f,
            "iterations",
            "no-patience",
            "stopped_too_early",
            {"patience": 1, "epochs": 80, "learning_rate": 5e-4, "task": "ddk"},
        ),
        # the test: other strengths, seeds, networks and voices again
        (t, "data", "labels-all", "labels", {"spoil": shuffled(1.0, 21), "options": {"channels": [16]}}),
        (t, "data", "labels-all-dense", "labels", {"spoil": shuffled(1.0, 22), "backbone": "dense", "task": "ddk"}),
        (t, "data", "leak-copies", "leak_between_folds", {"spoil": leaking(2, 1.0), "backbone": "dense"}),
        (t, "data", "leak-parts", "leak_between_folds", {"spoil": leaking(5, 0.8), "task": "ddk"}),
        (t, "data", "constant", "constant_input", {"spoil": constant(3e-5), "task": "ddk"}),
        (t, "data", "levels", "unnormalized_input", {"spoil": louder(0.02), "backbone": "dense"}),
        (t, "data", "features-large", "unnormalized_input", {"patches": (wrong_statistics(0.05),)}),
        (t, "data", "rare-class", "one_class", {"spoil": rare(3), "class_weights": "none", "n_speakers": 48}),
        (t, "loss", "softmax-twice", "wrong_loss", {"patches": (loss_of("softmax"),), "task": "ddk"}),
        (t, "loss", "square", "wrong_loss", {"patches": (loss_of("square"),), "backbone": "dense"}),
        (t, "loss", "one-label", "wrong_loss", {"patches": (loss_of("one label"),)}),
        (t, "loss", "mixed-labels", "wrong_loss", {"patches": (loss_of("mixed labels"),), "backbone": "dense"}),
        (t, "loss", "negative", "wrong_loss", {"patches": (loss_of("negative"),), "backbone": "dense"}),
        (t, "loss", "log-of-0", "loss_not_finite", {"patches": (loss_of("log of sigmoid"),)}),
        (t, "optimizer", "no-step", "no_update", {"patches": (no_step,), "backbone": "dense"}),
        (t, "optimizer", "only-last", "no_update", {"patches": (only_last,), "backbone": "dense"}),
        (t, "optimizer", "kept-gradient", "stale_gradient", {"patches": (kept_gradient,), "task": "ddk"}),
        (t, "optimizer", "rate-10", "learning_rate_too_high", {"learning_rate": 10.0, "task": "ddk"}),
        (t, "optimizer", "rate-2", "learning_rate_too_high", {"learning_rate": 2.0, "backbone": "dense"}),
        (t, "optimizer", "rate-3e-6", "learning_rate_too_low", {"learning_rate": 3e-6, "backbone": "dense"}),
        (t, "optimizer", "decay", "weight_decay_too_high", {"weight_decay": 60.0}),
        (t, "activation", "dead", "dead_units", {"patches": (biased(12.0),)}),
        (t, "activation", "dead-bias", "dead_units", {"backbone": "dense", "options": {"bias": -12.0}, "task": "ddk"}),
        (t, "activation", "saturated", "saturated_units", {"backbone": "dense", "options": SATURATED, "task": "ddk"}),
        (t, "activation", "tanh-output", "bounded_output", {"backbone": "dense", "options": {"output": "tanh"}}),
        (t, "iterations", "one-epoch", "too_few_epochs", {"epochs": 1, "learning_rate": 2e-3, "task": "ddk"}),
        (t, "iterations", "two-epochs", "too_few_epochs", {"epochs": 2, "learning_rate": 1e-3, "n_crops": 2}),
        (t, "iterations", "three-epochs", "too_few_epochs", {"epochs": 3, "learning_rate": 3e-4, "backbone": "dense"}),
    ]
    for number, (split, kind, name, right, how) in enumerate(cases):
        wanted = (right,) if isinstance(right, str) else right
        # A case of the first test keeps the voices and the seed that it had.
        seed, voices_of = number + (300 if split == t else 0), t if split == f else split
        yield Case(f"{split}-{kind}-{name}", kind, split, wanted, trained(voices_of, seed, **how))
    healthy: list[dict[str, Any]] = [
        {},
        {"n_speakers": 30},
        {"task": "ddk", "epochs": 20},
        {"backbone": "dense", "epochs": 30, "patience": 12},
        {"backbone": "dense", "options": {"activation": "tanh", "hidden": 32}, "epochs": 30, "patience": 12},
        {"epochs": 16, "batch": 4},
        {"learning_rate": 5e-3, "epochs": 20},
        {"weight_decay": 0.0, "epochs": 14},
        {"schedule": "linear", "epochs": 16},
        {"options": {"channels": [8, 16]}, "class_weights": "none", "epochs": 16},
    ]
    for split in (d, t):
        for number, how in enumerate([*healthy, *healthy]):
            seed = 100 + number + (50 if split == t else 0)
            yield Case(f"{split}-healthy-training-{number:02}", "healthy", split, (), trained(split, seed, **how))


def run(cases: list[Case], out: Path) -> None:
    """Examine every case that the file does not hold, and append one line each."""
    done = {json.loads(line)["name"] for line in out.read_text().splitlines()} if out.exists() else set()
    out.parent.mkdir(parents=True, exist_ok=True)
    for case in cases:
        if case.name in done:
            continue
        began = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            found = case.examine(Path(folder))
        first = found.first
        line = {
            "name": case.name,
            "kind": case.kind,
            "split": case.split,
            "right": list(case.right),
            "first": first,
            "ok": first in case.right if case.right else found.healthy,
            "tells_apart": dict(found.facts).get("tells_apart"),
            "suspects": [[s.suspect, round(s.strength, 3), s.evidence] for s in found.suspicions[:4]],
            "processor_s": round(time.process_time() - began, 2),
        }
        with out.open("a") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        print(f"{'ok ' if line['ok'] else 'NOT'} {case.name}: {first or 'healthy'} {line['processor_s']} s", flush=True)


SPLITS = ("dev", "first", "test")
MILD = " (without an effect: everybody's class is told all the same)"


def share(right: int, n: int) -> str:
    """A share with its exact interval (Clopper and Pearson)."""
    if not n:
        return "-"
    low, high = (100 * float(v) for v in share_interval(right, n))
    return f"{right} of {n} ({100 * right / n:.0f} %, {low:.0f} to {high:.0f})"


def table(paths: list[Path]) -> str:
    """Counts by kind, of faults whose first suspect was right and of healthy runs that were left alone, Markdown."""
    lines = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
    kinds = list(dict.fromkeys(line["kind"] for line in lines if line["kind"] != "healthy"))
    of = {
        (split, kind): [line["ok"] for line in lines if line["split"] == split and line["kind"] == kind]
        for split in SPLITS
        for kind in (*kinds, "healthy")
    }
    rows = ["| kind | development | first test | test | FL4Deep |", "|---|---|---|---|---|"]
    for kind in kinds:
        cells = [share(sum(of[split, kind]), len(of[split, kind])) for split in SPLITS]
        rows.append(f"| {kind} | {cells[0]} | {cells[1]} | {cells[2]} | {FL4DEEP.get(kind, '-')} |")
    for name, wanted in (("training, all kinds", kinds[1:]), ("all faults", kinds)):
        cells = [
            share(sum(sum(of[split, kind]) for kind in wanted), sum(len(of[split, kind]) for kind in wanted))
            for split in SPLITS
        ]
        rows.append(f"| **{name}** | {cells[0]} | {cells[1]} | {cells[2]} | |")
    cells = [share(sum(of[split, "healthy"]), len(of[split, "healthy"])) for split in SPLITS]
    rows.append(f"| healthy, left alone | {cells[0]} | {cells[1]} | {cells[2]} | - |")
    missed = [line for line in lines if not line["ok"]]
    mild = [m for m in missed if m["right"] and m.get("tells_apart")]
    found = [
        f"- `{m['name']}`: {m['first'] or 'nobody'}, not {m['right'][0] if m['right'] else 'nobody'}"
        f"{MILD if m in mild else ''}"
        for m in missed
    ]
    n = sum(len(v) for v in of.values())
    return "\n".join(
        [
            *rows,
            "",
            f"{n} cases. Named first, with exact 95 % intervals. What was missed:",
            *(found or ["- nothing"]),
            "",
            f"Processor time of a model's diagnosis: at most {max(_times(lines)):.1f} s.",
        ]
    )


def _times(lines: list[dict[str, Any]]) -> list[float]:
    """Processor seconds of the diagnoses of models, without trainings."""
    return [
        line["processor_s"]
        for line in lines
        if line["kind"] == "deployment" or (line["kind"] == "healthy" and "training" not in line["name"])
    ]


def main() -> None:
    """Run cases, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=("dev", "first", "test"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", default="", help="only cases whose name holds this")
    parser.add_argument("--table", nargs="+", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.table:
        print(table(given.table))
        return
    everything = [*deployment(), *trainings()]
    run([c for c in everything if c.split == given.split and given.only in c.name], given.out)


if __name__ == "__main__":
    main()
