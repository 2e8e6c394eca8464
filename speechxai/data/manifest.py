"""The one table that every data set becomes: a row a recording."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from speechxai.data.tables import number, read_table, sexes
from speechxai.errors import SpeechXAIError
from speechxai.signal.audio import files_under
from speechxai.types import CLASS_NAMES

# The one table that every data set becomes: a row a recording.
COLUMNS = (
    "recording",
    "path",
    "speaker",
    "label",
    "task",
    "language",
    "sex",
    "age",
    "updrs",
    "updrs_speech",
    "hoehn_yahr",
    "medication",
    "dataset",
    "sample_rate",
    "sha256",
)
"""Columns of a manifest, in order. Text that is not known is "unknown", a number that is not known is NA."""

REQUIRED = ("recording", "path", "speaker", "label")
NUMBERS = ("age", "updrs", "updrs_speech", "hoehn_yahr")
INTEGERS = ("label", "sample_rate")
_NOT_KNOWN = ("", "na", "nan", "none", "unknown", "<na>")
_LABELS = {**{name.casefold(): index for index, name in enumerate(CLASS_NAMES)}, "0": 0, "1": 1, "0.0": 0, "1.0": 1}


def label_index(value: object) -> int | None:
    """Return 0 (HC), 1 (PD) or None (unknown) for 0, 1, "HC", "PD", "unknown" in any case.

    Raises:
        SpeechXAIError: anything else, for a label is never guessed.
    """
    text = "" if value is None or value is pd.NA else str(value).strip().casefold()
    if text in _NOT_KNOWN:
        return None
    if text not in _LABELS:
        raise SpeechXAIError(f"the label must be 0 or HC, 1 or PD, or unknown. Got {value!r} instead.")
    return _LABELS[text]


def validate(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a copy with exactly COLUMNS, in order and typed: label and sample_rate Int64, ages and scales Float64,
    else text.

    Raises:
        SpeechXAIError: a column that is missing or unknown, a recording or path that is empty, an id twice, a speaker
            without data set prefix or with both labels, a value that is no number or cannot be one of a person.
    """
    missing = [name for name in REQUIRED if name not in frame.columns]
    unknown = [str(name) for name in frame.columns if name not in COLUMNS]
    if missing or unknown:
        raise SpeechXAIError(
            f"The manifest lacks the columns {missing} and has the unknown columns {unknown}. Known:"
            f" {', '.join(COLUMNS)}."
        )
    typed: dict[str, Any] = {}
    for name in COLUMNS:
        given = list(frame[name]) if name in frame.columns else [None] * len(frame)
        ids = list(frame["recording"])
        if name == "label":
            typed[name] = pd.array(
                [_labeled(value, owner) for value, owner in zip(given, ids, strict=True)], dtype="Int64"
            )
        elif name in NUMBERS or name in INTEGERS:
            numbers = [_number(value, name, owner) for value, owner in zip(given, ids, strict=True)]
            typed[name] = pd.array(numbers, dtype="Int64" if name in INTEGERS else "Float64")
        elif name == "sex":
            typed[name] = pd.Series(sexes(given), dtype=object).astype(str)
        else:
            # The text type, even of an empty table, whose values would otherwise count as numbers.
            typed[name] = pd.Series([_text(value) for value in given], dtype=object).astype(str)
    table = pd.DataFrame(typed, columns=list(COLUMNS))
    _check_rows(table)
    return table


def read_manifest(path: str | Path) -> pd.DataFrame:
    """Read a manifest CSV. Raises SpeechXAIError, the path first, for a file that is missing or not valid."""
    frame = read_table(Path(path))
    try:
        return validate(frame)
    except SpeechXAIError as error:
        raise SpeechXAIError(f"{path}: {error}") from error


def write_manifest(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a checked manifest as CSV, NA for numbers not known. Raises SpeechXAIError where it cannot be written."""
    table = validate(frame)
    part = Path(path).with_name(f".{Path(path).name}.part")
    try:
        table.to_csv(part, index=False, na_rep="NA", lineterminator="\n")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise SpeechXAIError(
            f"{path}: the manifest cannot be written ({error.strerror}). Choose another place with --out."
        ) from error


def to_recording_kwargs(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return id, speaker, label, task and metadata of a manifest row, as `Recording` takes them; NA becomes None."""
    known = {name: None if pd.isna(row[name]) else row[name] for name in COLUMNS if name in row}
    rest = ("language", "sex", *NUMBERS, "medication", "dataset")
    return {
        "id": str(known["recording"]),
        "speaker": str(known["speaker"]),
        "label": None if known["label"] is None else int(known["label"]),
        "task": str(known.get("task") or "unknown"),
        "metadata": {name: known[name] for name in rest if name in known},
    }


def _labeled(value: object, owner: object) -> int | None:
    try:
        return label_index(value)
    except SpeechXAIError as error:
        raise SpeechXAIError(f"{owner}: {error}") from error


def _number(value: object, name: str, owner: object) -> float | None:
    try:
        found = number(value, name)
    except SpeechXAIError as error:
        raise SpeechXAIError(f"{owner}: {error}") from error
    if found is not None and name in INTEGERS and found != round(found):
        raise SpeechXAIError(f"{owner}: the column '{name}' must hold a whole number. Got {value!r} instead.")
    return found


def _text(value: object) -> str:
    text = "" if value is None or value is pd.NA or value != value else str(value).strip()
    return text or "unknown"


def _check_rows(table: pd.DataFrame) -> None:
    for name in ("recording", "path", "speaker"):
        empty = table.index[table[name] == "unknown"]
        if len(empty):
            raise SpeechXAIError(f"Row {empty[0] + 2} of the manifest has no {name}. Every recording needs one.")
    twice = table["recording"][table["recording"].duplicated()]
    if len(twice):
        raise SpeechXAIError(f"{twice.iloc[0]}: this recording id stands twice in the manifest. Ids must be unique.")
    bare = table["speaker"][~table["speaker"].str.contains("/", regex=False)]
    if len(bare):
        raise SpeechXAIError(f"{bare.iloc[0]}: a speaker must be prefixed with the data set, as in 'neurovoz/0034'.")
    both = table.dropna(subset=["label"]).groupby("speaker")["label"].nunique()
    if (both > 1).any():
        raise SpeechXAIError(
            f"{both.index[both > 1][0]}: this speaker has both labels, HC and PD. Mend the labels of the recordings."
        )


# Names of people replaced by names that say nothing.
SALT_FILE = ".speechxai-salt"
PREFIX = "@"
_SALT_BYTES = 32


def salt(root: str | Path) -> bytes:
    """Return the secret of this copy of the data, drawn at the first call.

    It is read from the file that the environment variable SPEECHXAI_SALT_FILE names, else from `root/.speechxai-salt`.

    Raises:
        SpeechXAIError: a salt that is damaged, or a folder where none can be written.
    """
    file = Path(os.environ.get("SPEECHXAI_SALT_FILE") or Path(root) / SALT_FILE)
    try:
        if not file.exists():
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as new:
                new.write(secrets.token_bytes(_SALT_BYTES))
        secret = file.read_bytes()
    except OSError as error:
        raise SpeechXAIError(
            f"{file}: the secret for pseudonyms cannot be kept here ({error.strerror}). "
            "Set SPEECHXAI_SALT_FILE to a file in a folder of yours that may be written to."
        ) from error
    if len(secret) != _SALT_BYTES:
        raise SpeechXAIError(
            f"{file}: damaged: {len(secret)} bytes instead of {_SALT_BYTES}. Restore it; a new one changes every"
            " pseudonym."
        )
    return secret


def pseudonym(secret: bytes, kind: str, name: str, n_characters: int = 12) -> str:
    """Return the keyed hash of a name, hexadecimal; case, spacing and Unicode form of the name do not matter."""
    plain = re.sub(r"\s+", " ", unicodedata.normalize("NFC", name)).strip().casefold()
    return hmac.new(secret, f"{kind}|{plain}".encode(), hashlib.sha256).hexdigest()[:n_characters]


def path_token(secret: bytes, path: str) -> str:
    """Return what stands in a manifest for a path that holds a name."""
    return PREFIX + hmac.new(secret, f"path|{path}".encode(), hashlib.sha256).hexdigest()[:24]


class Locator:
    """Finds the file of a manifest row; the folder is walked once, at the first pseudonymous path.

    Args:
        root: folder that the paths of the manifest are relative to.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self._paths: dict[str, str] | None = None

    def locate(self, path: str) -> Path:
        """Return the file on disk. Raises SpeechXAIError for a pseudonymous path that no file of the folder has."""
        if not path.startswith(PREFIX):
            return self.root / path
        if self._paths is None:
            secret = salt(self.root)
            self._paths = {path_token(secret, found): found for found in files_under(self.root)}
        try:
            return self.root / self._paths[path]
        except KeyError:
            raise SpeechXAIError(
                f"{self.root}: no file belongs to the pseudonymous path {path}. "
                f"The manifest was made with another copy of the data or another {SALT_FILE}; make it again."
            ) from None
