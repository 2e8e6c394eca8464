"""Published speech networks from disk: SSL4PR folds, Hugging Face folders, torchaudio's pretrained weights."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from speechxai.classifiers import Classifier, build
from speechxai.classifiers import ssl_keys as keys
from speechxai.classifiers.ssl import Ssl, SslNetwork
from speechxai.classifiers.ssl_architectures import BUNDLES, architecture, as_options, download, from_bundle
from speechxai.errors import SpeechXAIError
from speechxai.segments import SegmentConfig
from speechxai.types import StftConfig

_WRAPPERS = ("state_dict", "model_state_dict", "model")


@dataclass(frozen=True, eq=False)
class Imported:
    """A published network in our words.

    Args:
        options: of the backbone `ssl`.
        state: weights under the names of SslNetwork; `head.*` only where the source has a head.
        source: where it comes from, for messages and the model card.
    """

    options: Mapping[str, Any]
    state: Mapping[str, Tensor]
    source: str

    def backbone(self, stft: StftConfig | None = None, **options: Any) -> Ssl:
        """Build the backbone with these weights, in evaluation mode; `options` replace those of the source."""
        backbone = build("ssl", stft, **{**self.options, **options})
        if not isinstance(backbone, Ssl):
            raise SpeechXAIError("The backbone 'ssl' is not ours: another one was registered under its name.")
        self.load_into(backbone)
        return backbone.eval()

    def load_into(self, model: nn.Module) -> None:
        """Copy the weights into the ssl network inside `model`; a head stays as it is where the source has none.

        Raises:
            SpeechXAIError: no ssl network inside, or weights that do not fit; the names are listed.
        """
        network = next((module for module in model.modules() if isinstance(module, SslNetwork)), None)
        if network is None:
            raise SpeechXAIError(f"{self.source}: weights of a speech foundation model need the backbone 'ssl'.")
        expected = network.state_dict()
        if not any(name.startswith("head.") for name in self.state):
            expected = {name: value for name, value in expected.items() if not name.startswith("head.")}
        keys.check(self.state, expected, self.source)
        network.load_state_dict(dict(self.state), strict=False)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a file of weights (.safetensors, or .pt, .pth, .bin with tensors alone) without running any code in it.

    Raises:
        SpeechXAIError: a file that is missing, damaged, or holds anything but tensors.
    """
    if not path.is_file():
        raise SpeechXAIError(f"{path}: no such file of weights.")
    try:
        if path.suffix == ".safetensors":
            from safetensors import SafetensorError
            from safetensors.torch import load_file

            try:
                return dict(load_file(path))
            except SafetensorError as error:
                raise SpeechXAIError(f"{path}: not a readable safetensors file: {error}") from error
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise SpeechXAIError(
            f"{path}: refused, because it holds more than tensors, and a pickle can run code. Save the network's state_dict() alone. "
            f"({str(error).splitlines()[0]})"
        ) from error
    except (RuntimeError, EOFError, OSError, KeyError, ValueError, AttributeError) as error:
        raise SpeechXAIError(
            f"{path}: cannot be read as weights: {str(error).splitlines()[0] if str(error) else error!r}"
        ) from error
    for name in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if (
        not isinstance(content, Mapping)
        or not content
        or not all(isinstance(value, Tensor) for value in content.values())
    ):
        raise SpeechXAIError(f"{path}: holds no dictionary of weights by name. Save the network's state_dict() alone.")
    return {str(name): value for name, value in content.items()}


def _read_config(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SpeechXAIError(f"{path}: cannot be read as a model's config.json: {error}") from error
    if not isinstance(content, dict):
        raise SpeechXAIError(f"{path}: a model's config.json must hold one object.")
    return content


def pretrained(source: str | Path) -> Imported:
    """Weights of a speech foundation model to start fine-tuning from; its head is new.

    Args:
        source: a folder that Hugging Face's `save_pretrained` wrote (config.json with model.safetensors or
            pytorch_model.bin); the name of torchaudio's weights such as "HUBERT_BASE", downloaded once into torch's
            cache; or a file of torchaudio's weights, named as torchaudio names it or as one of those names.

    Raises:
        SpeechXAIError: an unknown source, unreadable files, weights that do not fit, no network.
    """
    path = Path(source)
    if path.is_dir():
        return _huggingface_folder(path)
    if path.is_file():
        state = keys.foundation(read_weights(path), str(path))
        name = next((name for name in BUNDLES if path.name == from_bundle(name).file_name or path.stem == name), None)
        if name is None:
            return Imported(keys.options_from_weights(state, str(path)), state, str(path))
    else:
        name = str(source)
        if name not in BUNDLES:
            known = ", ".join(BUNDLES)
            raise SpeechXAIError(
                f"{source}: no such folder or file, and no pretrained model of that name. Known: {known}."
            )
        state = keys.foundation(download(name), name)
    facts = from_bundle(name)
    return Imported(as_options(facts.family, facts.architecture) | {"normalize": facts.normalize}, state, str(source))


def _huggingface_folder(folder: Path) -> Imported:
    config = _read_config(folder / "config.json")
    options = keys.options_from_config(config, str(folder / "config.json"))
    weights = next(
        (folder / name for name in ("model.safetensors", "pytorch_model.bin") if (folder / name).is_file()), None
    )
    if weights is None:
        raise SpeechXAIError(f"{folder}: neither model.safetensors nor pytorch_model.bin is there.")
    state = keys.foundation(read_weights(weights), str(weights))
    # Models whose convolutions are all normalized were trained on normalized recordings; the folder may say it itself.
    normalize = config.get("feat_extract_norm", "group") == "layer"
    preprocessor = folder / "preprocessor_config.json"
    if preprocessor.is_file():
        normalize = bool(_read_config(preprocessor).get("do_normalize", True))
    imported = Imported(options | {"normalize": normalize}, state, str(folder))
    values = architecture(options["family"], options["size"], options["overrides"])
    if not values["encoder_num_layers"]:
        raise SpeechXAIError(f"{folder}: the model has no transformer layer.")
    return imported


def ssl4pr(path: str | Path, config: str | Path | None = None, normalize: bool = False) -> Imported:
    """One network of SSL4PR, `fold_<k>.pt` (La Quatra et al., Interspeech 2024), without Hugging Face's library.

    Args:
        path: state dict with `ssl_model.*`, `layer_weights`, `layer_norms.*`, `pooling_layer.*`, `classifier.*`.
        config: the foundation model's config.json or its folder; without it the shapes tell the architecture, which is
            right for every published model (64 features a head).
        normalize: mean 0 and variance 1 a recording first; SSL4PR does not.

    Raises:
        SpeechXAIError: an unreadable file, or weights that do not fit; the names are listed.
    """
    path = Path(path)
    state = keys.ssl4pr(read_weights(path), str(path))
    if config is None:
        options = keys.options_from_weights(state, str(path))
    else:
        file = Path(config) / "config.json" if Path(config).is_dir() else Path(config)
        options = keys.options_from_config(_read_config(file), str(file))
    return Imported(options | keys.head_options(state, str(path)) | {"normalize": normalize}, state, str(path))


def ssl4pr_folds(folder: str | Path) -> dict[int, Path]:
    """Files `fold_<k>.pt` of a folder by fold number, in order.

    Raises:
        SpeechXAIError: there are none.
    """
    found = {
        int(match[1]): path
        for path in Path(folder).glob("fold_*.pt")
        if (match := re.fullmatch(r"fold_(\d+)\.pt", path.name))
    }
    if not found:
        raise SpeechXAIError(f"{folder}: no files named fold_1.pt, fold_2.pt, ... are there.")
    return dict(sorted(found.items()))


def classifier(imported: Imported, stft: StftConfig | None = None, segment: SegmentConfig | None = None) -> Classifier:
    """Imported network as a Classifier with the last transformer layer for Grad-CAM.

    Raises:
        SpeechXAIError: a source without a head, or with more classes than HC and PD.
    """
    if not any(name.startswith("head.") for name in imported.state):
        raise SpeechXAIError(
            f"{imported.source}: a foundation model without a trained head cannot classify; fine-tune it first."
        )
    if imported.options["n_classes"] not in (1, 2):
        raise SpeechXAIError(
            f"{imported.source}: the network has {imported.options['n_classes']} classes; HC and PD are expected."
        )
    backbone = imported.backbone(stft)
    return Classifier(backbone, stft, segment, cam_layer=backbone.cam_layer, max_batch=backbone.max_batch).eval()
