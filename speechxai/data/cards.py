"""Data cards: one TOML a data set, shipped with the package or of your own."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from pydantic import ValidationError

from speechxai.data import matching
from speechxai.data.matching import MatchReport
from speechxai.data.schema import DataCard
from speechxai.errors import SpeechXAIError
from speechxai.registry import did_you_mean
from speechxai.resources import resource_folder

__all__ = ["DataCard", "MatchReport", "build_manifest", "card_names", "card_text", "load_card", "publisher_sha256"]


def card_names() -> list[str]:
    """Return the names of the cards that ship with the package, sorted: each a TOML with its human text beside it."""
    return sorted(
        path.stem for path in resource_folder("data_cards").glob("*.toml") if path.with_suffix(".md").is_file()
    )


def card_path(name_or_path: str | Path) -> Path:
    """Return the TOML file of a card by its name or its own path. Raises SpeechXAIError for a name that is not known."""
    if str(name_or_path).endswith(".toml"):
        path = Path(name_or_path)
        if not path.is_file():
            raise SpeechXAIError(f"{path}: no such data card.")
        return path
    if str(name_or_path) not in card_names():
        raise SpeechXAIError(did_you_mean(str(name_or_path), card_names(), "data card"))
    return resource_folder("data_cards") / f"{name_or_path}.toml"


def load_card(name_or_path: str | Path) -> DataCard:
    """Load a card by name ("mdvr-kcl") or from your own TOML file.

    Raises:
        SpeechXAIError: an unknown name, or a card with a wrong or unknown key; the message names the key.
    """
    path = card_path(name_or_path)
    try:
        return DataCard.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpeechXAIError(f"{path}: not valid TOML: {error}") from error
    except ValidationError as error:
        lines = [
            f"{'.'.join(str(part) for part in found['loc']) or 'card'}: {found['msg']}" for found in error.errors()
        ]
        raise SpeechXAIError(f"{path}: " + "; ".join(lines)) from error


def card_text(name: str) -> str:
    """Return the human text (Markdown) of a shipped card. Raises SpeechXAIError for a name that is not known."""
    return card_path(name).with_suffix(".md").read_text(encoding="utf-8")


def publisher_sha256(name_or_path: str | Path) -> dict[str, str]:
    """Return sha256 by file name of the publisher's files, where the card ships such a table, else nothing."""
    card = load_card(name_or_path)
    if not card.sha256_table:
        return {}
    table = card_path(name_or_path).with_name(card.sha256_table)
    lines = table.read_text(encoding="utf-8").splitlines()[1:]
    return {file: sha256 for sha256, file in (line.split("\t") for line in lines if line)}


def build_manifest(
    card: DataCard | str | Path, root: str | Path, progress: Callable[[int, int], None] | None = None
) -> tuple[pd.DataFrame, MatchReport]:
    """Match every audio file under `root` with a card, given as such, by name, or as a path.

    Args:
        card: the card; a shipped card brings the publisher's hashes with it.
        root: folder of the data set, or one above it.
        progress: called with files done and files in all.

    Returns:
        The manifest, paths relative to `root`, and what matched, what did not and why.

    Raises:
        SpeechXAIError: an unknown card, or a root that is no folder.
    """
    if isinstance(card, DataCard):
        known = publisher_sha256(card.name) if card.sha256_table and card.name in card_names() else {}
        return matching.build_manifest(card, root, known, progress)
    return matching.build_manifest(load_card(card), root, publisher_sha256(card), progress)
