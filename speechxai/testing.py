"""Small stand-ins for tests and dry runs: networks with random weights, a bundle of them, noise that sounds like
nobody."""

from __future__ import annotations

from pathlib import Path

import torch

from speechxai.classifiers import Classifier, build
from speechxai.classifiers.bundle import Bundle, BundleConfig, SegmentSettings, StftSettings, save_bundle
from speechxai.classifiers.scope import Scope
from speechxai.signal.stft import SegmentConfig
from speechxai.types import Recording, StftConfig

TINY_OPTIONS = {"n_mels": 16, "channels": [4, 6], "dropout": 0.0}
ANYTHING = Scope(band_hz=4_000.0, n_recordings=1, ranges={"duration_s": (0.0, 1e6)})
"""The scope of a model that may be asked about any recording."""

TINY_STFT = StftConfig(n_fft=128, win_length=128, hop_length=64, sample_rate=8_000)


def tiny_classifier(seed: int = 0, segment: SegmentConfig | None = None, stft: StftConfig = TINY_STFT) -> Classifier:
    """Return a convolutional classifier of a few hundred random weights, with a Grad-CAM layer.

    Args:
        seed: of the weights.
        segment: how long recordings are heard; None hears them whole.
        stft: settings of the magnitude.
    """
    backbone = build("cnn", stft, **TINY_OPTIONS)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in backbone.parameters():
            weights.copy_(torch.randn(weights.shape, generator=generator) / max(1, weights[0].numel()) ** 0.5)
    return Classifier(backbone, stft, segment, cam_layer="features").eval()


def tiny_bundle(
    folder: Path, n_folds: int = 2, speakers: dict[str, int] | None = None, scope: Scope | None = ANYTHING
) -> Bundle:
    """Write a bundle of random weights: a final model and fold models that differ.

    Args:
        folder: where it goes; its name is the bundle's name.
        n_folds: fold models.
        speakers: fold of speakers that count as training speakers.
        scope: what it was made for; None leaves that unknown.
    """
    segment = SegmentSettings(length_s=0.5, hop_s=0.25)
    stft = StftSettings(**{name: getattr(TINY_STFT, name) for name in StftSettings.model_fields})
    config = BundleConfig(
        name=folder.name,
        title="Random weights, for tests",
        architecture="cnn",
        options=TINY_OPTIONS,
        stft=stft,
        segment=segment,
        cam_layer="features",
        scope=scope,
    )
    segments = SegmentConfig(0.5, 0.25)
    classifiers = {"final": tiny_classifier(0, segments)}
    classifiers |= {f"fold{k}": tiny_classifier(k + 1, segments) for k in range(n_folds)}
    if speakers:
        content = config.model_dump()
        content["weights"]["n_folds"] = n_folds
        config = BundleConfig.model_validate({**content, "speakers": speakers})
    return save_bundle(folder, config, classifiers, "# Random weights\n\nFor tests; knows nothing.\n")


def noise_recording(id: str = "noise", duration_s: float = 0.8, seed: int = 0, sample_rate: int = 8_000) -> Recording:
    """Return noise that swells once a quarter second, peak 0.5, of speaker "noise/<id>"."""
    generator = torch.Generator().manual_seed(seed)
    n_samples = round(duration_s * sample_rate)
    swell = 0.1 + torch.sin(torch.arange(n_samples) * (4 * torch.pi / sample_rate)).square()
    wave = torch.randn(n_samples, generator=generator) * swell
    return Recording(0.5 * wave / wave.abs().max(), sample_rate, id, f"noise/{id}", seed % 2)
