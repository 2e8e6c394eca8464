"""Bundles of large networks: one safetensors file a fold model, written and read one at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from speechxai.classifiers import Classifier
from speechxai.errors import SpeechXAIError
from speechxai.io.bundle_config import CARD_FILE, CONFIG_FILE, BundleConfig, WeightsFile, library_versions
from speechxai.io.files import write_atomically
from speechxai.io.toml import to_toml

FOLDER = "weights"


def part_path(folder: Path, part: str) -> Path:
    """File of a part ("final", "fold0", ...) of the bundle in `folder`."""
    return folder / FOLDER / f"{part}.safetensors"


def _table_hash(parts: Mapping[str, str]) -> str:
    return hashlib.sha256("\n".join(f"{part} {parts[part]}" for part in sorted(parts)).encode()).hexdigest()


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_parts(folder: Path, weights: WeightsFile) -> None:
    """Check that the table of parts is whole and every file is there; contents are checked when they are read.

    Raises:
        SpeechXAIError: a table that does not fit its hash, or a file that is missing.
    """
    wanted = {weights.final, *(f"fold{k}" for k in range(weights.n_folds))}
    if _table_hash(weights.parts) != weights.sha256 or set(weights.parts) != wanted:
        raise SpeechXAIError(
            f"{folder / CONFIG_FILE}: the table of weights is damaged. Restore the file or import the model again."
        )
    for part in weights.parts:
        if not part_path(folder, part).is_file():
            raise SpeechXAIError(
                f"{part_path(folder, part)}: the weights are missing. Restore the file or import the model again."
            )


def read_part_file(path: Path, sha256: str | None) -> dict[str, Tensor]:
    """Weights of one part, its hash compared.

    Raises:
        SpeechXAIError: a file that cannot be read or is another than the bundle's table says.
    """
    try:
        if _file_hash(path) != sha256:
            raise SpeechXAIError(
                f"{path}: the file is damaged or from another bundle. Restore the file or import the model again."
            )
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise SpeechXAIError(
            f"{path}: cannot be read ({error}). Restore the file or import the model again."
        ) from error


def save_parts(
    folder: str | Path,
    config: BundleConfig,
    classifiers: Iterable[tuple[str, Classifier]],
    card: str,
    final: str = "final",
) -> Path:
    """Write a bundle with one file a network; hashes, number of folds and library versions of `config` are filled in.

    Args:
        folder: is made where it is missing; its files are replaced.
        config: settings of the model.
        classifiers: names "final", "fold0", "fold1", ... without a gap, each with its network; taken one after the other, so
            that one is in memory at a time.
        card: the model card, Markdown.
        final: the part that speaks for speakers no model heard; another than "final" where there is no such network.

    Returns:
        The folder, for `load_bundle`.

    Raises:
        SpeechXAIError: parts with a gap or without `final`, or a folder that cannot be written.
    """
    target = Path(folder)
    parts: dict[str, str] = {}
    try:
        (target / FOLDER).mkdir(parents=True, exist_ok=True)
        for part, classifier in classifiers:
            state = {key: value.detach().cpu().contiguous() for key, value in classifier.state_dict().items()}
            path = part_path(target, part)
            temporary = path.with_suffix(".part")
            save_file(state, temporary)
            temporary.replace(path)
            parts[part] = _file_hash(path)
        n_folds = sum(part.startswith("fold") for part in parts)
        if set(parts) != {final, *(f"fold{k}" for k in range(n_folds))}:
            raise SpeechXAIError(
                f"A bundle needs the networks {final}, fold0, fold1, ... Got {', '.join(parts) or 'none'}."
            )
        weights = WeightsFile(sha256=_table_hash(parts), n_folds=n_folds, parts=parts, final=final)
        filled: dict[str, Any] = {
            **config.model_dump(mode="json", exclude_none=True),
            "libraries": library_versions(),
            "weights": weights.model_dump(exclude_defaults=True),
        }
        order = {name: filled[name] for name in BundleConfig.model_fields if name in filled}
        write_atomically(target / CARD_FILE, card.encode())
        write_atomically(target / CONFIG_FILE, to_toml(order).encode())
    except (OSError, SafetensorError) as error:
        raise SpeechXAIError(
            f"{target}: the bundle cannot be written ({error}). Choose a folder that can be written to."
        ) from error
    return target.resolve()
