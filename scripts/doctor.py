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

from speechxai.classifiers.bundle import load_bundle
from speechxai.doctor import examine_bundle
from speechxai.files import read_toml, resource_folder, sha256_of, to_toml
from speechxai.signal.stft import SegmentConfig, spectrogram

FL4DEEP = {
    "data": "84 %",
    "library": "100 % (mismatch between training and deployment)",
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
            x = samples[:, value] if wrong == "channel" else samples.mean(axis=1)
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
            "suspects": [[s.suspect, round(s.strength, 3), s.evidence] for s in found.suspicions[:4]],
            "processor_s": round(time.process_time() - began, 2),
        }
        with out.open("a") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        print(f"{'ok ' if line['ok'] else 'NOT'} {case.name}: {first or 'healthy'} {line['processor_s']} s", flush=True)


def main() -> None:
    """Run cases, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=("dev", "test"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", default="", help="only cases whose name holds this")
    parser.add_argument("--table", nargs="+", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.table:
        return
    run([c for c in deployment() if c.split == given.split and given.only in c.name], given.out)


if __name__ == "__main__":
    main()
