"""Model bundles on disk: settings, weights as safetensors, a card for people; and the state of a training that goes on."""

from __future__ import annotations

import hashlib
import io
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from speechxai.classifiers import Classifier, build
from speechxai.errors import SpeechXAIError, VersionWarning
from speechxai.io.bundle_config import (
    CARD_FILE,
    CONFIG_FILE,
    WEIGHTS_FILE,
    BundleConfig,
    WeightsFile,
    library_versions,
    read_bundle_config,
    version_differences,
)
from speechxai.io.bundle_parts import check_parts, part_path, read_part_file
from speechxai.io.files import write_atomically
from speechxai.io.toml import to_toml
from speechxai.registry import did_you_mean
from speechxai.resources import resource_folder
from speechxai.types import Recording

FINAL = "final"


@dataclass(frozen=True, eq=False)
class Bundle:
    """A trained model with its fold models: which of them speaks for a recording is decided here.

    Args:
        folder: where it is.
        config: what `config.toml` says.
    """

    folder: Path
    config: BundleConfig
    _made: dict[str, Classifier] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """Short name."""
        return self.config.name

    @property
    def n_folds(self) -> int:
        """Number of fold models."""
        return self.config.weights.n_folds

    @property
    def card(self) -> str:
        """The model card, Markdown; "" where there is none."""
        path = self.folder / CARD_FILE
        return path.read_text(encoding="utf-8") if path.is_file() else ""

    def classifier(self, fold: int | None = None) -> Classifier:
        """Return the model of `fold`, or the final one: in eval mode, without gradients of its weights, made once.

        Raises:
            SpeechXAIError: a fold that does not exist, or weights that do not fit.
        """
        if fold is not None and not 0 <= fold < self.n_folds:
            raise SpeechXAIError(
                f"{self.folder}: there is no fold {fold}; the bundle has {self.n_folds} fold models, numbered from 0."
            )
        part = self.config.weights.final if fold is None else f"fold{fold}"
        if part not in self._made:
            self._made[part] = self._make(part)
        return self._made[part]

    def fold_of(self, recording: Recording) -> int | None:
        """Return the fold whose model never heard this recording's speaker; None for a speaker no model heard.

        The file's hash (`metadata["sha256"]`) is asked first, since a renamed file keeps it, then the speaker.
        """
        sha256 = recording.metadata.get("sha256")
        by_file = self.config.files.get(sha256) if isinstance(sha256, str) else None
        return self.config.speakers.get(recording.speaker) if by_file is None else by_file

    def for_recording(self, recording: Recording) -> Classifier:
        """Return the model that may speak about this recording: of its fold if it was trained on, else the final one."""
        return self.classifier(self.fold_of(recording))

    def _make(self, part: str) -> Classifier:
        config, path = self.config, self.folder / WEIGHTS_FILE
        stft = config.stft_config()
        try:
            backbone = build(config.architecture, stft, **config.options)
        except SpeechXAIError as error:
            raise SpeechXAIError(f"{self.folder / CONFIG_FILE}: {error}") from error
        classifier = Classifier(
            backbone, stft, config.segment_config(), config.classes, config.cam_layer, config.max_batch
        )
        if config.weights.parts:
            path = part_path(self.folder, part)
            weights = read_part_file(path, config.weights.parts.get(part))
        else:
            weights = _read_part(path, part)
        _check_fit(path, part, weights, classifier.state_dict())
        classifier.load_state_dict(weights)
        return classifier.eval().requires_grad_(False)


def _read_part(path: Path, part: str) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            prefix = f"{part}."
            return {key.removeprefix(prefix): file.get_tensor(key) for key in file.keys() if key.startswith(prefix)}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise SpeechXAIError(f"{path}: cannot be read ({error}). Restore the file or train the model again.") from error


def _check_fit(path: Path, part: str, weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    problems = [f"'{part}.{key}' is missing" for key in wanted if key not in weights]
    problems += [f"'{part}.{key}' belongs to no layer" for key in weights if key not in wanted]
    problems += [
        f"'{part}.{key}' has shape {list(value.shape)} and must have {list(wanted[key].shape)}"
        for key, value in weights.items()
        if key in wanted and value.shape != wanted[key].shape
    ]
    problems += [
        f"'{part}.{key}' has NaN or infinite values"
        for key, value in weights.items()
        if not torch.isfinite(value).all()
    ]
    if problems:
        shown = "; ".join(problems[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")
        raise SpeechXAIError(
            f"{path}: the weights do not fit {CONFIG_FILE}: {shown}. Restore the bundle or train the model again."
        )


def bundle_names() -> list[str]:
    """Names of the models that come with the library."""
    return sorted(path.parent.name for path in resource_folder("models").glob(f"*/{CONFIG_FILE}"))


def load_bundle(name_or_path: str | Path, allow_code: bool = False) -> Bundle:
    """Open a model that comes with the library, by its name, or a bundle's folder, by its path.

    Settings are checked and the weights' hash is compared; the weights are read when a classifier is asked for. Other
    library versions than at training give one VersionWarning.

    Args:
        name_or_path: for example "figshare-cnn" or "runs/my-model".
        allow_code: whether a bundle may name a network of another package ("module:factory"), whose code then runs.

    Raises:
        SpeechXAIError: an unknown name, a missing or damaged file, wrong settings, a network that needs `allow_code`.
    """
    folder = _folder(name_or_path)
    config = read_bundle_config(folder / CONFIG_FILE)
    if ":" in config.architecture and not allow_code:
        raise SpeechXAIError(
            f"{folder / CONFIG_FILE}: the architecture '{config.architecture}' would run code of another package. "
            "If you trust it, load the bundle with allow_code=True."
        )
    path = folder / WEIGHTS_FILE
    try:
        if config.weights.parts:
            # Gigabytes are hashed when a part is asked for, not when the bundle is opened.
            check_parts(folder, config.weights)
            return _opened(folder, config)
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise SpeechXAIError(f"{path}: the weights are missing. Restore the file or train the model again.") from error
    except OSError as error:
        raise SpeechXAIError(f"{path}: cannot be read ({error.strerror}).") from error
    if found != config.weights.sha256:
        raise SpeechXAIError(
            f"{path}: the file is damaged or from another bundle: its sha256 is {found[:12]}..., {CONFIG_FILE} says "
            f"{config.weights.sha256[:12]}.... Restore the file or train the model again."
        )
    return _opened(folder, config)


def _opened(folder: Path, config: BundleConfig) -> Bundle:
    differences = version_differences(config.libraries)
    if differences:
        warnings.warn(
            f"The model '{config.name}' was trained with other libraries: {'; '.join(differences)}. Its predictions may differ.",
            VersionWarning,
            stacklevel=3,
        )
    return Bundle(folder, config)


def _folder(name_or_path: str | Path) -> Path:
    path = Path(name_or_path)
    if path.is_dir():
        return path
    embedded = resource_folder("models") / path.name
    if len(path.parts) == 1 and (embedded / CONFIG_FILE).is_file():
        return embedded
    known = did_you_mean(str(name_or_path), bundle_names(), "model")
    raise SpeechXAIError(f"{name_or_path}: there is no such folder. {known}")


def save_bundle(folder: str | Path, config: BundleConfig, classifiers: Mapping[str, Classifier], card: str) -> Bundle:
    """Write a bundle and open it again; hash, number of folds and library versions of `config` are filled in.

    Args:
        folder: is made where it is missing; its files are replaced.
        config: settings of the model.
        classifiers: "final", "fold0", "fold1", ... without a gap.
        card: the model card, Markdown.

    Raises:
        SpeechXAIError: classifiers without "final" or with a gap, a folder that cannot be written.
    """
    n_folds = len(classifiers) - 1
    wanted = [FINAL, *(f"fold{k}" for k in range(n_folds))]
    if sorted(classifiers) != sorted(wanted):
        raise SpeechXAIError(
            f"A bundle needs the classifiers final, fold0, fold1, ... Got {', '.join(sorted(classifiers)) or 'none'}."
        )
    tensors = {
        f"{part}.{key}": value.detach().cpu().contiguous().clone()
        for part in wanted
        for key, value in classifiers[part].state_dict().items()
    }
    content = to_safetensors(tensors)
    filled = {
        **config.model_dump(mode="json", exclude_none=True),
        "libraries": library_versions(),
        "weights": WeightsFile(sha256=hashlib.sha256(content).hexdigest(), n_folds=n_folds).model_dump(
            exclude_defaults=True
        ),
    }
    order = {name: filled[name] for name in BundleConfig.model_fields if name in filled}
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
        # The settings come last: a bundle that is half written then has a hash that does not fit, and says so.
        write_atomically(target / WEIGHTS_FILE, content)
        write_atomically(target / CARD_FILE, card.encode())
        write_atomically(target / CONFIG_FILE, to_toml(order).encode())
    except OSError as error:
        raise SpeechXAIError(
            f"{target}: the bundle cannot be written ({error.strerror}). Choose a folder that can be written to."
        ) from error
    return load_bundle(target.resolve(), allow_code=True)


class EpochFile:
    """State of a training between epochs, in one file that is replaced in one step: a kill leaves the last whole one.

    Args:
        path: the file; its folder is made where it is missing.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def load(self) -> dict[str, Any] | None:
        """Return the stored state, None without a file. Raises SpeechXAIError for a file that is damaged."""
        if not self.path.exists():
            return None
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
            raise SpeechXAIError(
                f"{self.path}: this training state is damaged ({error}). Remove it to train from the start."
            ) from error
        if not isinstance(state, dict):
            raise SpeechXAIError(f"{self.path}: this is no training state. Remove it to train from the start.")
        return state

    def save(self, state: dict[str, Any]) -> None:
        """Replace the stored state. Raises SpeechXAIError where the file cannot be written."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, buffer.getvalue())
        except OSError as error:
            raise SpeechXAIError(
                f"{self.path}: cannot be written ({error.strerror}). Make room or choose another folder."
            ) from error
