"""What a model answered to four made recordings when it was written, and what each stage before the answer looked like.

A bundle carries the recordings and the facts, so that anybody can hear them again, with other libraries, settings or a
program of one's own, and see at which stage the answer begins to differ.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import io
import wave
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from speechxai.classifiers.base import Classifier
from speechxai.classifiers.network import place_of
from speechxai.data.synthetic import takes
from speechxai.errors import SpeechXAIError
from speechxai.files import read_sealed, sealed, sha256_of, write_atomically
from speechxai.signal.audio import read_audio, resample
from speechxai.signal.stft import spectrogram
from speechxai.types import Array, Recording

REFERENCE_FOLDER, FACTS_FILE, KIND = "reference", "facts.json", "reference answers"

STAGES = ("file", "read", "spectrum", "segments", "features", "network", "answer")
"""What a recording goes through, in this order; the first stage that differs names the suspect."""

SOUNDS = ("stereo", "offset", "long", "quiet")
"""The recordings: two unlike channels at 44.1 kHz; a constant offset at the usual rate of 16 kHz; longer than a segment
at 8 kHz; 34 dB under full scale at 22.05 kHz."""

RATES_HZ: Mapping[str, int] = {"stereo": 44_100, "offset": 16_000, "long": 8_000, "quiet": 22_050}
LENGTHS_S: Mapping[str, float] = {"stereo": 1.0, "offset": 1.6, "long": 6.5, "quiet": 1.5}
N_PROBES, N_BANDS = 48, 16

LIBRARIES = ("torch", "torchaudio", "librosa", "numpy", "scipy", "soxr", "soundfile", "transformers", "speechxai")
"""Libraries that stand between a file and an answer."""


def versions() -> dict[str, str]:
    """Versions of LIBRARIES; one that is not installed is left out."""
    found = {}
    for name in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


@functools.cache
def sounds() -> dict[str, bytes]:
    """Render the four recordings as wav files of 16 bits, by name: made voices of two people with simulated signs and
    two without.

    Each carries what one stage must take care of, so that which of them differ says which stage it was.
    """
    voices = [take.recording().waveform.double().numpy() for take in takes(4, seed=424_242, tasks=("phrase",))]
    random = np.random.default_rng(424_242)
    found = {}
    for name, voice in zip(SOUNDS, voices, strict=True):
        rate, n_samples = RATES_HZ[name], round(LENGTHS_S[name] * RATES_HZ[name])
        samples = resample(voice, 16_000, rate)
        samples = np.tile(samples, -(-n_samples // len(samples)))[:n_samples]
        samples = 0.6 * samples / np.abs(samples).max()
        if rate > 16_000:  # a hiss that a poor resampler folds down
            samples = samples + 0.02 * np.diff(random.standard_normal(n_samples), prepend=0.0)
        channels = [samples]
        if name == "stereo":
            channels.append(0.35 * np.roll(samples, rate // 200) + 0.01 * random.standard_normal(n_samples))
        elif name == "offset":
            channels = [0.5 * samples + 0.25]
        elif name == "quiet":
            channels = [0.033 * samples]
        found[name] = _wav(np.stack(channels, axis=1), rate)
    return found


def _wav(samples: Array, rate_hz: int) -> bytes:
    """Samples (N, channels), full scale 1, as a wav file of 16 bits."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(np.round(32767 * samples.clip(-1, 1)).astype("<i2").tobytes())
    return content.getvalue()


def _short(values: Any) -> list[float]:
    return [float(f"{float(value):.6g}") for value in np.asarray(values).reshape(-1)]


def _probes(values: Array) -> list[float]:
    """Up to N_PROBES values at even distances."""
    flat = np.asarray(values, dtype=np.float64).reshape(-1)
    return _short(flat[np.linspace(0, len(flat) - 1, min(N_PROBES, len(flat))).astype(int)])


def read_facts(recording: Recording) -> dict[str, Any]:
    """What a recording looks like after it is read."""
    samples = recording.waveform.double().numpy()
    return {
        "sample_rate": recording.sample_rate,
        "n_samples": len(samples),
        "offset": _short(samples.mean())[0],
        "peak": _short(np.abs(samples).max())[0],
        "level": _short(np.sqrt((samples**2).mean()))[0],
        "probes": _probes(samples),
    }


def facts_of(classifier: Classifier, recording: Recording) -> dict[str, Any]:
    """What every stage after the file looks like for one recording: a table of numbers by stage of STAGES.

    Args:
        classifier: in evaluation; the facts are of its own device and precision.
        recording: at its sample rate.
    """
    found: dict[str, Any] = {"read": read_facts(recording)}
    with torch.no_grad():
        spec = spectrogram(recording.waveform[None].to(place_of(classifier)), classifier.stft)
        magnitude = spec.magnitude[0].double().cpu()
        bands = [float(part.mean()) for part in magnitude.tensor_split(N_BANDS)]
        found["spectrum"] = {
            "shape": list(magnitude.shape),
            "bands": _short(bands),
            "probes": _probes(magnitude.numpy()),
        }
        cut = classifier.cut(spec.magnitude)
        found["segments"] = {"n": int(cut.shape[1]), "n_frames": int(cut.shape[-1])}
        front_end = getattr(classifier.backbone, "front_end", None)
        if isinstance(front_end, torch.nn.Module):
            with contextlib.suppress(Exception):  # a network of others may name anything so
                values = front_end(spec.magnitude).double().cpu()
                found["features"] = {"shape": list(values.shape), "probes": _probes(values.numpy())}
        answer = classifier.for_length(spec.n_samples)(spec.magnitude, spec.phase)[0].double().cpu()
    raw = (answer - classifier.intercept.double().cpu()) * float(classifier.temperature)
    found["network"] = {"logits": _short(raw)}
    found["answer"] = {"logits": _short(answer)}
    return found


def tensors_of(state: Mapping[str, Tensor]) -> dict[str, list[float]]:
    """Norm and sum of every tensor, by name: which of them are others now."""
    return {
        name: _short([float(value.double().norm()), float(value.double().sum())])
        for name, value in state.items()
        if value.is_floating_point()
    }


def settings_of(
    classifier: Classifier, audio: Mapping[str, Any], architecture: str, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything beside the weights that an answer depends on, flat: "stft.n_fft", "audio.normalize", ..."""
    segment = classifier.segment
    tables: dict[str, Mapping[str, Any]] = {
        "audio": audio,
        "stft": asdict(classifier.stft),
        "segment": {"length_s": None, "hop_s": None, "short": None} if segment is None else asdict(segment),
        "options": options,
    }
    kind = next((p.dtype for p in classifier.parameters() if p.is_floating_point()), torch.float32)
    return {
        **{f"{table}.{key}": _plain(value) for table, values in tables.items() for key, value in values.items()},
        "architecture": architecture,
        "classes": list(classifier.class_names),
        "temperature": _short(classifier.temperature.cpu())[0],
        "intercept": _short(classifier.intercept.cpu()),
        "dtype": str(kind).removeprefix("torch."),
        "device": place_of(classifier).type,
    }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def heard(
    path: Path, rate_hz: int, normalize: Literal["peak", "none"], offset: Literal["removed", "kept"]
) -> Recording:
    """Read a reference recording as a model's settings say."""
    return read_audio(path, sample_rate=rate_hz, normalize=normalize, offset=offset, min_duration_s=0.01)


def observe(
    classifier: Classifier, folder: Path, audio: Mapping[str, Any], names: Sequence[str] = SOUNDS
) -> dict[str, dict[str, Any]]:
    """Hear the recordings of `folder` with the libraries of this moment; facts by recording and stage.

    One that cannot be heard has the reason as its "problem".
    """
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        path = folder / f"{name}.wav"
        try:
            facts: dict[str, Any] = {"file": {"sha256": sha256_of(path)}}
            recording = heard(path, classifier.stft.sample_rate, audio["normalize"], audio["offset"])
            found[name] = facts
            facts |= facts_of(classifier, recording)
        except Exception as error:  # networks of others may raise anything; it is said, and the others go on
            found[name] = {**found.get(name, {}), "problem": " ".join(str(error).split())[:300]}
    return found


def write_reference(
    folder: Path, classifier: Classifier, audio: Mapping[str, Any], about: Mapping[str, Any], when: str
) -> None:
    """Write the recordings and what `classifier` makes of them into the bundle `folder`.

    Args:
        folder: of the bundle.
        classifier: its network for new speakers, in evaluation.
        audio: how it reads audio: `normalize` and `offset`.
        about: `answers` (hash of what answers depend on), `weights` (their sha256), `architecture`, `options`, and
            `state`, its own weights by name.
        when: "written with the model", or in words when else.

    Raises:
        SpeechXAIError: a folder that cannot be written.
    """
    place = folder / REFERENCE_FOLDER
    try:
        place.mkdir(parents=True, exist_ok=True)
        for name, content in sounds().items():
            write_atomically(place / f"{name}.wav", content)
        facts = {
            "when": when,
            "answers": about["answers"],
            "weights": about["weights"],
            "settings": settings_of(classifier, audio, about["architecture"], about["options"]),
            "tensors": tensors_of(about["state"]),
            "libraries": versions(),
            "sounds": observe(classifier, place, audio),
        }
        write_atomically(place / FACTS_FILE, sealed(facts, KIND))
    except OSError as error:
        raise SpeechXAIError(
            f"{place}: cannot be written ({error.strerror}). Choose a folder that can be written to."
        ) from error


def read_reference(folder: Path) -> dict[str, Any] | None:
    """Facts of the bundle in `folder`; None where it carries none.

    Raises:
        SpeechXAIError: a file that was changed by hand or is damaged.
    """
    path = folder / REFERENCE_FOLDER / FACTS_FILE
    if not path.is_file():
        return None
    found = read_sealed(path, KIND)
    if found is None:
        raise SpeechXAIError(
            f"{path}: the facts are damaged or were changed by hand, so they are no reference. Restore the file, or"
            " write them anew from a model that you trust: speechxai doctor MODEL --remember."
        )
    return found
