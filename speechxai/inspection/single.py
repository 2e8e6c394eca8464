"""One audio file: heard by a bundle's classifier, explained, and the explanation written for eyes and ears."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from speechxai.classifiers import Classifier
from speechxai.classifiers import predict as class_probabilities
from speechxai.classifiers.base import device_of
from speechxai.classifiers.bundle import Bundle
from speechxai.errors import SpeechXAIError
from speechxai.explain.agreement import iou, rank_correlation
from speechxai.explain.explain import explain_all
from speechxai.explain.recipe import parse
from speechxai.files import naming_folder, to_json, write_atomically
from speechxai.metrics import Case
from speechxai.report import plots
from speechxai.signal.audio import read_audio, write
from speechxai.signal.stft import bin_frequencies_hz, frame_times_s, inverse, spectrogram
from speechxai.types import Recording, Spectrogram

TOLERANCE = 1e-4
"""How far kept + removed may be from the original, in the explained magnitude."""


@dataclass(frozen=True, eq=False)
class Heard:
    """A recording with the classifier that may judge it, its spectrogram (1, F, T) and probabilities (1, C)."""

    recording: Recording
    model: Classifier
    fold: int | None
    spec: Spectrogram
    probability: Tensor


@dataclass(frozen=True)
class ExplainSettings:
    """How a file is explained.

    Args:
        recipes: texts of recipes.
        target: class name, or "auto" for the predicted class.
        evidence: "auto", "positive" or "absolute".
        seed: of stochastic methods.
    """

    recipes: tuple[str, ...]
    target: str = "auto"
    evidence: Literal["auto", "positive", "absolute"] = "auto"
    seed: int = 0


def hear(bundle: Bundle, path: Path, device: str = "auto", **reading: Any) -> Heard:
    """Read a file as the bundle hears audio, and predict it by the model that never heard its speaker.

    Args:
        bundle: the model.
        path: audio file.
        device: where the network runs.
        reading: options of `signal.audio.read_audio` beside those of the bundle, for example `channel`.

    Raises:
        SpeechXAIError: a file that cannot be used.
    """
    config = bundle.config
    recording = read_audio(path, sample_rate=config.stft.sample_rate, normalize=config.audio.normalize, **reading)
    fold = bundle.fold_of(recording)
    model = bundle.classifier(fold).to(device_of(device))
    spec = spectrogram(recording.waveform[None].to(device_of(device)), model.stft)
    return Heard(recording, model, fold, spec, class_probabilities(model, spec))


def explain_file(heard: Heard, settings: ExplainSettings) -> tuple[dict[str, Case], dict[str, str]]:
    """Explain a recording by every recipe.

    Returns:
        A case of each recipe, with its mask and the probabilities of both halves; and reasons of those not applicable.

    Raises:
        SpeechXAIError: an unknown recipe or class.
    """
    names = heard.model.class_names
    if settings.target not in ("auto", *names):
        raise SpeechXAIError(f"The class '{settings.target}' is not one of this model: auto, {', '.join(names)}.")
    target = None if settings.target == "auto" else names.index(settings.target)
    kind = None if settings.evidence == "auto" else settings.evidence
    recipes = [str(parse(recipe)) for recipe in settings.recipes]
    found = explain_all(heard.model, heard.spec, recipes, target, seed=settings.seed, options={"evidence": kind})
    cases = {
        recipe: Case(heard.model, heard.spec, attribution, kind=kind, probability=heard.probability)
        for recipe, attribution in found.items()
    }
    return cases, dict(found.not_applicable)


def split_error(case: Case) -> float:
    """Largest deviation of kept + removed from the original, in the explained magnitude."""
    kept, removed = case.spec.magnitude * case.mask, case.spec.magnitude * (1 - case.mask)
    return float((kept + removed - case.spec.magnitude).abs().max())


def write_explanation(
    folder: Path, heard: Heard, cases: Mapping[str, Case], not_applicable: Mapping[str, str]
) -> dict[str, Any]:
    """Write pictures, maps, kept and removed sound and `explanation.json` into `folder`; returns the latter's content.

    Raises:
        SpeechXAIError: the folder cannot be written, or kept + removed is not the original.
    """
    with naming_folder(folder, "write the explanation"):
        folder.mkdir(parents=True, exist_ok=True)
    names = heard.model.class_names
    content: dict[str, Any] = {
        "recording": heard.recording.id,
        "duration_s": heard.recording.duration_s,
        "fold": heard.fold,
        "predicted": names[int(heard.probability.argmax())],
        "probability": dict(zip(names, heard.probability[0].tolist(), strict=True)),
        "explanations": {recipe: _write_one(folder, heard, recipe, case) for recipe, case in cases.items()},
        "not_applicable": dict(not_applicable),
        "agreement": _agreement(cases),
        "notice": "A research tool, not a medical device.",
    }
    maps = {slug(recipe): case.attribution.values[0].cpu().numpy() for recipe, case in cases.items()}
    stft = heard.spec.stft
    axes = {
        "times_s": frame_times_s(stft, heard.spec.magnitude.shape[-1]).numpy(),
        "frequencies_hz": bin_frequencies_hz(stft).numpy(),
        "magnitude": heard.spec.magnitude[0].cpu().numpy(),
    }
    with naming_folder(folder, "write the explanation"):
        np.savez_compressed(folder / "maps.npz", **{**maps, **axes})  # type: ignore[arg-type]
        write_atomically(folder / "explanation.json", to_json(content))
    return content


def slug(recipe: str) -> str:
    """Write a recipe as a file name.

    >>> slug("union(saliency, integrated_gradients)")
    'union-saliency-integrated_gradients'
    """
    text = re.sub(r"[^A-Za-z0-9_]+", "-", recipe).strip("-")
    return text if len(text) <= 120 else f"{text[:100]}-{hashlib.sha256(recipe.encode()).hexdigest()[:8]}"


def _write_one(folder: Path, heard: Heard, recipe: str, case: Case) -> dict[str, Any]:
    error = split_error(case)
    if not error <= TOLERANCE:
        raise SpeechXAIError(
            f"{heard.recording.id}: kept + removed of '{recipe}' differs from the original by {error:.2g}, more than"
            f" {TOLERANCE:g}."
        )
    names, name, stft = heard.model.class_names, slug(recipe), heard.spec.stft
    target = names[int(case.target[0])]
    magnitude, mask = heard.spec.magnitude, case.mask
    sounds = {"kept": magnitude * mask, "removed": magnitude * (1 - mask)}
    for half, values in sounds.items():
        sound = inverse(values, heard.spec.phase, stft, heard.spec.n_samples)[0]
        write(folder / f"{name}.{half}.wav", sound, stft.sample_rate)
    title = f"{recipe}: evidence for {target} (p = {float(case.p[0]):.2f})"
    picture = plots.evidence_overlay(
        magnitude[0].cpu().numpy(), mask[0].cpu().numpy(), stft, plots.Style(width_in=10, height_in=3.2, title=title)
    )
    with naming_folder(folder, "write the explanation"):
        write_atomically(folder / f"{name}.png", picture)
    return {
        "explained": target,
        "map_shape": list(mask.shape[1:]),
        "map_duration_s": (mask.shape[2] - 1) / stft.frame_rate_hz,
        "probability_original": float(case.p[0]),
        "probability_kept": float(case.p_kept[0]),
        "probability_removed": float(case.p_removed[0]),
        "mean_mask": float(mask.mean()),
        "empty": bool(case.is_empty[0]),
        "kept_plus_removed_error": error,
        "files": {"picture": f"{name}.png", "kept": f"{name}.kept.wav", "removed": f"{name}.removed.wav", "map": name},
        "params": {
            key: value.tolist() if isinstance(value, Tensor) else value
            for key, value in case.attribution.params.items()
        },
    }


def _agreement(cases: Mapping[str, Case]) -> list[dict[str, Any]]:
    return [
        {
            "first": first,
            "second": second,
            "iou": float(iou(cases[first].mask, cases[second].mask)[0]),
            "rank_correlation": float(rank_correlation(cases[first].mask, cases[second].mask)[0]),
        }
        for first, second in combinations(cases, 2)
    ]
