"""What a model bundle's `config.toml` may say, and checked reading of it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

import speechxai
from speechxai.errors import SpeechXAIError
from speechxai.segments import SegmentConfig
from speechxai.types import CLASS_NAMES, StftConfig

NOT_SAVED = "0" * 64
"""Hash of weights that are not on disk yet."""
CONFIG_FILE, WEIGHTS_FILE, CARD_FILE = "config.toml", "weights.safetensors", "card.md"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class StftSettings(_Strict):
    """The fields of `types.StftConfig`."""

    n_fft: int = Field(strict=True)
    win_length: int = Field(strict=True)
    hop_length: int = Field(strict=True)
    window: Literal["hamming", "hann"]
    sample_rate: int = Field(strict=True)
    scale: Literal["log1p", "linear"]


class SegmentSettings(_Strict):
    """The fields of `segments.SegmentConfig`."""

    length_s: float
    hop_s: float
    short: Literal["keep", "pad"] = "keep"


class AudioSettings(_Strict):
    """How audio is read for this model: parameters of `io.audio.read`."""

    normalize: Literal["peak", "none"] = "peak"


class WeightsFile(_Strict):
    """The weights' file, its sha256, and how many fold models it holds beside the final one.

    Large networks have a file each: `parts` then gives the sha256 of every `weights/<part>.safetensors`, `sha256` is the
    hash of that table, and `final` names the part that speaks for speakers no model heard.
    """

    sha256: str = Field(default=NOT_SAVED, pattern="^[0-9a-f]{64}$")
    n_folds: int = Field(default=0, ge=0, strict=True)
    parts: dict[str, str] = Field(default_factory=dict)
    final: str = Field(default="final", pattern="^(final|fold[0-9]+)$")


class BundleConfig(_Strict):
    """A model bundle, without its weights.

    Args:
        format: version of this file's layout.
        name, title: short name (the folder's), and one line for people.
        architecture: a name of `classifiers.BACKBONES`, or "module:factory" of a network that others wrote.
        options: of the backbone.
        stft, segment, audio: signal settings; without `segment` recordings are heard whole.
        classes: names of the classes by index.
        cam_layer: module of the backbone that Grad-CAM reads.
        max_batch: segments that pass at once.
        training: what it was trained on and how; for people.
        calibration: temperatures by model; for people, the weights hold the ones in use.
        libraries: versions at training.
        weights: hash and number of fold models.
        speakers, files: fold of every training speaker, and of every training file by its sha256.
    """

    format: Literal[1] = 1
    name: str = Field(min_length=1)
    title: str = ""
    architecture: str
    options: dict[str, Any] = Field(default_factory=dict)
    stft: StftSettings
    segment: SegmentSettings | None = None
    audio: AudioSettings = Field(default_factory=AudioSettings)
    classes: tuple[str, ...] = CLASS_NAMES
    cam_layer: str | None = None
    max_batch: int = Field(default=16, ge=1, strict=True)
    training: dict[str, Any] = Field(default_factory=dict)
    calibration: dict[str, Any] = Field(default_factory=dict)
    libraries: dict[str, str] = Field(default_factory=dict)
    weights: WeightsFile = Field(default_factory=WeightsFile)
    speakers: dict[str, int] = Field(default_factory=dict)
    files: dict[str, int] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> BundleConfig:
        if len(self.classes) < 2 or len(set(self.classes)) < len(self.classes):
            raise ValueError(f"'classes' must hold at least two different names. Got {list(self.classes)}.")
        for table, folds in (("speakers", self.speakers), ("files", self.files)):
            for key, fold in folds.items():
                if self.weights.sha256 != NOT_SAVED and not 0 <= fold < self.weights.n_folds:
                    raise ValueError(
                        f"'{table}' puts '{key}' in fold {fold}, but there are {self.weights.n_folds} fold models."
                    )
        self.stft_config()
        self.segment_config()
        return self

    def stft_config(self) -> StftConfig:
        """Return the STFT settings."""
        return StftConfig(**self.stft.model_dump())

    def segment_config(self) -> SegmentConfig | None:
        """Return the segment settings, or None."""
        return None if self.segment is None else SegmentConfig(**self.segment.model_dump())


def library_versions() -> dict[str, str]:
    """Versions of the libraries whose change may change a prediction; one that is not installed is left out."""
    found: dict[str, str] = {}
    for name in ("torch", "torchaudio", "librosa"):
        # Only some networks need torchaudio.
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return {**found, "speechxai": speechxai.__version__}


def version_differences(trained: dict[str, str]) -> list[str]:
    """Sentences about libraries whose major.minor differs from those a model was trained with."""
    here = library_versions()
    return [
        f"{name} {here[name]} here, {version} at training"
        for name, version in trained.items()
        if name in here and version.split("+")[0].split(".")[:2] != here[name].split("+")[0].split(".")[:2]
    ]


def read_bundle_config(path: Path) -> BundleConfig:
    """Read and check a bundle's config.toml. Raises SpeechXAIError, the path first, naming every wrong key."""
    try:
        with path.open("rb") as file:
            values = tomllib.load(file)
    except OSError as error:
        raise SpeechXAIError(
            f"{path}: cannot be read ({error.strerror}). A model bundle is a folder with {CONFIG_FILE}, {WEIGHTS_FILE} and {CARD_FILE}."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpeechXAIError(
            f"{path}: this is no valid TOML ({error}). Restore the file or train the model again."
        ) from error
    try:
        return BundleConfig.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'settings'}: {e['msg']}" for e in error.errors())
        raise SpeechXAIError(f"{path}: {problems}. Known keys: {', '.join(BundleConfig.model_fields)}.") from error
