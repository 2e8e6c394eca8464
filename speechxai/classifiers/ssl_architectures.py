"""Shapes of the speech foundation models: HuBERT, WavLM and wav2vec 2.0, and of their tiny likenesses for tests.

An architecture is a plain dictionary of numbers, strings and lists, so that it can stand in a bundle's `config.toml`.
Its names are those of `torchaudio.models.wav2vec2_model` and `wavlm_model`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from speechxai.classifiers.torchaudio_pair import load_torchaudio
from speechxai.errors import SpeechXAIError
from speechxai.registry import did_you_mean

FAMILIES = ("hubert", "wav2vec2", "wavlm")
"""Families by name; HuBERT and wav2vec 2.0 are one architecture with different training."""

SIZES = ("tiny", "base", "large")
"""`tiny` (random weights, 0.1 M parameters) exists for tests; `base` has 95 M parameters, `large` 316 M."""

STRIDES = (5, 2, 2, 2, 2, 2, 2)
"""Strides of the convolutions of every published model: one token in 320 samples (20 ms at 16 kHz)."""

_KERNELS = (10, 3, 3, 3, 3, 2, 2)
_WAVLM_ONLY = ("encoder_num_buckets", "encoder_max_distance")


def convolutions(n_channels: int) -> list[list[int]]:
    """Convolution front end of every published model as [channels, kernel (samples), stride (samples)] rows."""
    return [[n_channels, kernel, stride] for kernel, stride in zip(_KERNELS, STRIDES, strict=True)]


_BASE: dict[str, Any] = {
    "extractor_mode": "group_norm",
    "extractor_conv_layer_config": convolutions(512),
    "extractor_conv_bias": False,
    "encoder_embed_dim": 768,
    "encoder_projection_dropout": 0.1,
    "encoder_pos_conv_kernel": 128,
    "encoder_pos_conv_groups": 16,
    "encoder_num_layers": 12,
    "encoder_num_heads": 12,
    "encoder_num_buckets": 320,
    "encoder_max_distance": 800,
    "encoder_attention_dropout": 0.1,
    "encoder_ff_interm_features": 3072,
    "encoder_ff_interm_dropout": 0.1,
    "encoder_dropout": 0.1,
    "encoder_layer_norm_first": False,
    "encoder_layer_drop": 0.1,
}
_LARGE = _BASE | {
    "encoder_embed_dim": 1024,
    "encoder_num_layers": 24,
    "encoder_num_heads": 16,
    "encoder_ff_interm_features": 4096,
}
_TINY = _BASE | {
    "extractor_conv_layer_config": convolutions(32),
    "encoder_embed_dim": 48,
    "encoder_pos_conv_kernel": 16,
    "encoder_pos_conv_groups": 4,
    "encoder_num_layers": 2,
    "encoder_num_heads": 4,
    "encoder_num_buckets": 32,
    "encoder_max_distance": 128,
    "encoder_ff_interm_features": 96,
    "encoder_layer_drop": 0.0,
}
# Which large models normalize every convolution and put the norm first differs by family (their published configurations).
_NORM_FIRST = {"extractor_mode": "layer_norm", "encoder_layer_norm_first": True}
_TABLE: dict[tuple[str, str], dict[str, Any]] = {
    **{(family, "tiny"): _TINY for family in FAMILIES},
    **{(family, "base"): _BASE for family in FAMILIES},
    ("hubert", "large"): _LARGE | _NORM_FIRST | {"extractor_conv_bias": False},
    ("wav2vec2", "large"): _LARGE,
    ("wavlm", "large"): _LARGE | _NORM_FIRST,
}

BUNDLES: dict[str, tuple[str, str]] = {
    "HUBERT_BASE": ("hubert", "base"),
    "HUBERT_LARGE": ("hubert", "large"),
    "WAV2VEC2_BASE": ("wav2vec2", "base"),
    "WAV2VEC2_LARGE": ("wav2vec2", "large"),
    "WAV2VEC2_LARGE_LV60K": ("wav2vec2", "large"),
    "WAV2VEC2_XLSR53": ("wav2vec2", "large"),
    "WAV2VEC2_XLSR_300M": ("wav2vec2", "large"),
    "WAVLM_BASE": ("wavlm", "base"),
    "WAVLM_BASE_PLUS": ("wavlm", "base"),
    "WAVLM_LARGE": ("wavlm", "large"),
}
"""Pretrained weights that torchaudio offers for download, with family and size."""


def architecture(family: str, size: str, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Architecture of a family ("hubert", "wav2vec2", "wavlm") and size ("tiny", "base", "large"), single values overridden.

    Raises:
        SpeechXAIError: an unknown family, size or name in `overrides`.
    """
    if family not in FAMILIES:
        raise SpeechXAIError(did_you_mean(family, list(FAMILIES), "family of speech models"))
    if size not in SIZES:
        raise SpeechXAIError(did_you_mean(size, list(SIZES), "size of speech models"))
    values = dict(_TABLE[family, size])
    for name, value in (overrides or {}).items():
        if name not in values:
            raise SpeechXAIError(did_you_mean(name, list(values), "value of a speech model's architecture"))
        values[name] = value
    if family != "wavlm":
        for name in _WAVLM_ONLY:
            del values[name]
    return values


def as_options(family: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the backbone `ssl` (family, size, overrides, normalize) that give the architecture `found`."""
    size = "large" if found.get("encoder_embed_dim", 768) == 1024 else "base"
    published = architecture(family, size)
    overrides = {name: value for name, value in found.items() if name in published and published[name] != value}
    return {"family": family, "size": size, "overrides": overrides, "normalize": False}


class BundleFacts(NamedTuple):
    """What torchaudio says of pretrained weights; `normalize`: recordings get mean 0 and variance 1 first."""

    family: str
    architecture: dict[str, Any]
    normalize: bool
    file_name: str


def from_bundle(name: str) -> BundleFacts:
    """Return what torchaudio says of its pretrained weights `name`, one of BUNDLES."""
    bundle = getattr(load_torchaudio().pipelines, name)
    values = {key: value for key, value in bundle._params.items() if key != "aux_num_out"}
    rows = values["extractor_conv_layer_config"]
    values["extractor_conv_layer_config"] = convolutions(512) if rows is None else [list(row) for row in rows]
    return BundleFacts(BUNDLES[name][0], values, bool(bundle._normalize_waveform), bundle._path)


def download(name: str) -> dict[str, Tensor]:
    """Weights `name` of BUNDLES under torchaudio's names, downloaded once into torch's cache.

    Raises:
        SpeechXAIError: no network; the message says which file to put where.
    """
    pipelines = load_torchaudio().pipelines
    try:
        network = getattr(pipelines, name).get_model(dl_kwargs={"weights_only": True})
    except OSError as error:  # URLError and HTTPError are of this kind.
        file = from_bundle(name).file_name
        raise SpeechXAIError(
            f"The pretrained weights {name} cannot be downloaded: {error}. On a machine with a network, fetch "
            f"https://download.pytorch.org/torchaudio/models/{file} and put it here as {Path(torch.hub.get_dir()) / 'checkpoints' / file}, "
            "or give the file's path instead of the name."
        ) from error
    return dict(getattr(network, "model", network).state_dict())


def make(family: str, values: Mapping[str, Any]) -> Any:
    """Build torchaudio's network of an architecture, with random weights.

    Raises:
        SpeechXAIError: values that do not fit together, for example a width that the heads do not divide; or no torchaudio
            that fits the installed PyTorch.
    """
    models = load_torchaudio().models
    rows = [tuple(int(number) for number in row) for row in values["extractor_conv_layer_config"]]
    factory = models.wavlm_model if family == "wavlm" else models.wav2vec2_model
    if values["encoder_embed_dim"] % values["encoder_num_heads"]:
        raise SpeechXAIError(
            f"A speech model's 'encoder_num_heads' must divide 'encoder_embed_dim' = {values['encoder_embed_dim']}. "
            f"Got {values['encoder_num_heads']} instead."
        )
    try:
        network = factory(**{**values, "extractor_conv_layer_config": rows}, aux_num_out=None)
    except (TypeError, ValueError) as error:
        raise SpeechXAIError(f"The architecture of the {family} network does not fit together: {error}") from error
    return network


def receptive_field_samples(values: Mapping[str, Any]) -> int:
    """Shortest waveform that gives one token, samples (400 for every published model)."""
    length = 1
    for _, kernel, stride in reversed(values["extractor_conv_layer_config"]):
        length = (length - 1) * stride + kernel
    return length
