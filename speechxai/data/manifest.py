"""The one table that every data set becomes: a row a recording."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import pandas as pd

from speechxai.data.tables import is_known, number, read_table, sexes
from speechxai.errors import SpeechXAIError, did_you_mean, encodable
from speechxai.files import csv_table, from_csv_cells, read_bytes, write_atomically
from speechxai.signal.audio import files_under
from speechxai.types import CLASS_NAMES, class_key

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
    "classes",
    "root",
)
"""Columns of a manifest, in order; more of the user's own may follow. Text that is not known is "unknown", a number
that is not known is NA.

`label` is the index of the recording's class in `classes`; a file has its name. `classes` names the classes of the data
set, the control first, with ";" between them; `root` is the folder that paths are relative to. Both are the same in
every row."""

REQUIRED = ("recording", "path", "speaker", "label")
NUMBERS = ("age", "updrs", "updrs_speech", "hoehn_yahr")
INTEGERS = ("label", "sample_rate")
BETWEEN = ";"
"""Stands between the names in `classes`."""

_NUMBERED = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}
KNOWN_CLASSES = (CLASS_NAMES, ("healthy", "pathological"))
"""Pairs of classes that are recognized by their names, the control first."""


def check_classes(names: Sequence[str]) -> tuple[str, ...]:
    """Return names of classes without spaces around them.

    Raises:
        SpeechXAIError: fewer than two, or a name that is empty, stands twice, says "unknown" or holds a ";".
    """
    found = tuple(str(name).strip() for name in names)
    wrong = [name for name in found if not is_known(name) or BETWEEN in name]
    if wrong:
        raise SpeechXAIError(f"A class cannot be called '{wrong[0]}'. Got the classes {', '.join(found)}.")
    if len(found) < 2 or len({class_key(name) for name in found}) < len(found):
        raise SpeechXAIError(
            f"There must be two classes or more, of different names. Got {', '.join(found) or 'none'}."
        )
    return found


def known_classes(labels: Sequence[str]) -> tuple[str, ...] | None:
    """The pair of KNOWN_CLASSES that labels of a table belong to, whichever way they are spelled; None where they
    belong to no one: labels are never guessed.

    >>> known_classes(["control", "Parkinson's"]), known_classes(["Normal", "pathologic"]), known_classes(["HC", "MSA"])
    (('HC', 'PD'), ('healthy', 'pathological'), None)
    """
    for pair in KNOWN_CLASSES:
        if set(map(label_key if pair == CLASS_NAMES else class_key, labels)) <= set(map(class_key, pair)):
            return pair
    return None


def label_key(text: str) -> str:
    """`class_key` of a label of a table, in which 0 and 1 are HC and PD."""
    return class_key(CLASS_NAMES[_NUMBERED[text]] if text in _NUMBERED else text)


def label_index(value: object, classes: Sequence[str] = CLASS_NAMES) -> int | None:
    """Return the index of a class by its name, in any case and spelling, or by a number; None for "unknown".

    The texts "0" and "1" are HC and PD, where these are the classes.

    Raises:
        SpeechXAIError: anything else, for a label is never guessed.
    """
    if not is_known(value):
        return None
    if isinstance(value, Integral | float) and not isinstance(value, bool) and value in range(len(classes)):
        return int(value)
    text = str(value).strip()
    keys = [class_key(name) for name in classes]
    if isinstance(value, str) and class_key(text) in keys:
        return keys.index(class_key(text))
    if isinstance(value, str) and tuple(classes) == CLASS_NAMES and text in _NUMBERED:
        return _NUMBERED[text]
    known = "0 or HC, 1 or PD" if tuple(classes) == CLASS_NAMES else ", ".join(classes)
    raise SpeechXAIError(f"the label must be {known}, or unknown. Got {value!r} instead.")


def classes_of(manifest: pd.DataFrame) -> tuple[str, ...]:
    """Names of the classes of a manifest by index, the control first; HC and PD where it does not say.

    Raises:
        SpeechXAIError: rows that say different ones.
    """
    texts = _constant(manifest, "classes")
    if len(texts) > 1:
        raise SpeechXAIError(
            f"The manifest has rows of the classes {' and rows of '.join(texts)}. Put them into tables of their own."
        )
    return check_classes(texts[0].split(BETWEEN)) if texts else CLASS_NAMES


def remembered_root(manifest: pd.DataFrame) -> Path | None:
    """The folder that the paths of a manifest are relative to, where it says one."""
    texts = _constant(manifest, "root")
    return Path(texts[0]) if len(texts) == 1 else None


def _constant(manifest: pd.DataFrame, name: str) -> list[str]:
    texts = [_text(value) for value in manifest[name].unique()] if name in manifest.columns else []
    return [text for text in dict.fromkeys(texts) if text != "unknown"]


def own_columns(manifest: pd.DataFrame) -> list[str]:
    """Columns that somebody's table had beside COLUMNS, in their order."""
    return [str(name) for name in manifest.columns if name not in COLUMNS]


def column_to_group_by(manifest: pd.DataFrame, name: str, flag: str = "--by") -> str:
    """Return a column that recordings may be grouped by, by its name in any case; `flag` asked for it.

    Raises:
        SpeechXAIError: there is none, or nothing is known in it.
    """
    of_a_file = ("recording", "path", "sha256", "classes", "root", "speaker")
    known = [str(column) for column in manifest.columns if column not in of_a_file]
    found = next((column for column in known if column.casefold() == name.strip().casefold()), None)
    if found is None:
        raise SpeechXAIError(f"{flag} {name}: {did_you_mean(name, known, 'column')}")
    if not any(map(is_known, manifest[found])):
        raise SpeechXAIError(f"{flag} {name}: nothing is known in this column of the manifest.")
    return found


AGE_BANDS = (
    (0, 50, "under 50 years"),
    (50, 60, "50 to 59 years"),
    (60, 70, "60 to 69 years"),
    (70, 200, "70 years and older"),
)
"""Lowest age, first age beyond, and name, years."""

SEXES = {"F": "women", "M": "men"}

MOST_TEXTS = 12
"""Texts of a column that are groups of their own."""
MOST_NUMBERS = 6
"""Different numbers of a column that are groups of their own; more are halved."""


def groups_of(rows: pd.DataFrame, column: str) -> list[tuple[str, pd.Series]]:
    """Groups of the recordings by a column of their table: name and which rows, in order.

    Sexes, bands of age, and tasks have names of their own. Of any other column of texts every text is a group, the most
    frequent ones, and the rest one group; a column of numbers with few different values gives a group for each, else
    the lower and the upper half.
    """
    if column == "sex":
        return [(name, rows["sex"].astype(str) == value) for value, name in SEXES.items()]
    if column == "age":
        age = pd.to_numeric(rows["age"], errors="coerce")
        return [(name, (age >= low) & (age < high)) for low, high, name in AGE_BANDS]
    words = column.replace("_", " ")
    if pd.api.types.is_numeric_dtype(rows[column]):
        values = rows[column].astype("Float64")
        different = sorted(float(v) for v in values.dropna().unique())
        if len(different) <= MOST_NUMBERS:
            return [(f"{words} {v:g}", (values == v).fillna(False).astype(bool)) for v in different]
        return halves(values, words)
    texts = rows[column].astype(str)
    counts = texts[texts != "unknown"].value_counts()
    often = sorted(counts.sort_index().sort_values(ascending=False, kind="stable").index[:MOST_TEXTS])
    found = [(f"{words} {text}", texts == text) for text in often]
    if len(counts) > MOST_TEXTS:
        rest = ~texts.isin(often) & (texts != "unknown")
        found.append((f"{words}, {len(counts) - MOST_TEXTS} others", rest))
    return found + ([(f"{words} unknown", texts == "unknown")] if (texts == "unknown").any() else [])


def halves(values: pd.Series, words: str) -> list[tuple[str, pd.Series]]:
    """Groups of the rows by the median of a column of numbers: up to it, and above it."""
    middle = values.median()
    return [
        (f"{words} up to {round(middle, 2):g}", (values <= middle).fillna(False).astype(bool)),
        (f"{words} above {round(middle, 2):g}", (values > middle).fillna(False).astype(bool)),
    ]


def validate(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a copy with COLUMNS, in order and typed, and then all other columns: label and sample_rate Int64, ages,
    scales and other columns of numbers alone Float64, else text.

    Raises:
        SpeechXAIError: a column that is missing or stands twice, a recording or path that is empty, an id twice, a
            speaker without data set prefix or with two labels, a value that is no number or cannot be one of a person.
    """
    missing = [name for name in REQUIRED if name not in frame.columns]
    if missing:
        raise SpeechXAIError(f"The manifest lacks the columns {missing}. Known: {', '.join(COLUMNS)}.")
    own = [str(name) for name in frame.columns if name not in COLUMNS]
    spelled = [str(name).strip().casefold() for name in frame.columns]
    twice = [name for name in spelled if spelled.count(name) > 1]
    if twice:
        raise SpeechXAIError(f"The column '{twice[0]}' stands in the manifest twice. Keep one.")
    classes = classes_of(frame)
    typed: dict[str, Any] = {}
    for name in (*COLUMNS, *own):
        given = list(frame[name]) if name in frame.columns else [None] * len(frame)
        ids = list(frame["recording"])
        if name == "label":
            typed[name] = pd.array(
                [_labeled(value, owner, classes) for value, owner in zip(given, ids, strict=True)], dtype="Int64"
            )
        elif name == "classes":
            typed[name] = pd.Series([BETWEEN.join(classes)] * len(frame), dtype=object).astype(str)
        elif name in own and _are_numbers(given):
            cells = [str(value).replace(",", ".") if is_known(value) else None for value in given]
            typed[name] = pd.array([None if cell is None else float(cell) for cell in cells], dtype="Float64")
        elif name in NUMBERS or name in INTEGERS:
            numbers = [_number(value, name, owner) for value, owner in zip(given, ids, strict=True)]
            typed[name] = pd.array(numbers, dtype="Int64" if name in INTEGERS else "Float64")
        elif name == "sex":
            typed[name] = pd.Series(sexes(given), dtype=object).astype(str)
        else:
            # The text type, even of an empty table, whose values would otherwise count as numbers.
            typed[name] = pd.Series([_text(value) for value in given], dtype=object).astype(str)
    table = pd.DataFrame(typed, columns=[*COLUMNS, *own])
    _check_rows(table, classes)
    return table


def read_manifest(path: str | Path) -> pd.DataFrame:
    """Read a manifest CSV. Raises SpeechXAIError, the path first, for a file that is missing or not valid."""
    frame = from_csv_cells(read_table(Path(path)))
    try:
        return validate(frame)
    except SpeechXAIError as error:
        raise SpeechXAIError(f"{path}: {error}") from error


def write_manifest(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a checked manifest as CSV with names of classes, NA for numbers not known. Raises SpeechXAIError where it
    cannot be written."""
    table = validate(frame)
    table = table.assign(label=label_names(table))
    try:
        write_atomically(Path(path), csv_table(table, "NA"))
    except OSError as error:
        raise SpeechXAIError(
            f"{path}: the manifest cannot be written ({error.strerror}). Choose another place with --out."
        ) from error


def label_names(manifest: pd.DataFrame) -> pd.Series[str]:
    """Names of the labels of a manifest, "unknown" where there is none."""
    names = classes_of(manifest)
    return manifest["label"].map(lambda label: "unknown" if pd.isna(label) else names[int(label)]).astype(str)


def to_recording_kwargs(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return id, speaker, label, task and metadata of a manifest row, as `Recording` takes them; NA becomes None."""
    known = {name: None if pd.isna(value) else value for name, value in row.items()}
    own = [name for name in row if name not in COLUMNS]
    rest = ("language", "sex", *NUMBERS, "medication", "dataset", *own)
    return {
        "id": str(known["recording"]),
        "speaker": str(known["speaker"]),
        "label": None if known["label"] is None else int(known["label"]),
        "task": str(known.get("task") or "unknown"),
        "metadata": {name: known[name] for name in rest if name in known},
    }


def _labeled(value: object, owner: object, classes: Sequence[str]) -> int | None:
    try:
        return label_index(value, classes)
    except SpeechXAIError as error:
        raise SpeechXAIError(f"{owner}: {error}") from error


def _are_numbers(values: Sequence[object]) -> bool:
    """Whether the cells of a column are numbers as far as they are known; "007" is a name."""
    known = [str(value).strip() for value in values if is_known(value)]
    return bool(known) and all(re.fullmatch(r"[+-]?(0|[1-9]\d*)([.,]\d+)?(e[+-]?\d+)?", text, re.I) for text in known)


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


def _check_rows(table: pd.DataFrame, classes: Sequence[str]) -> None:
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
    labels = table.dropna(subset=["label"]).groupby("speaker")["label"].unique()
    for speaker, found in labels[labels.map(len) > 1].items():
        names = " and ".join(classes[int(label)] for label in sorted(found))
        raise SpeechXAIError(
            f"{speaker}: this speaker has {'both' if len(found) == 2 else 'several'} labels, {names}. Mend the labels"
            " of the recordings."
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
        secret = read_bytes(file)
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


def is_token(path: str) -> bool:
    """Whether a path of a manifest stands for one that holds a name, and does not just begin like it."""
    return re.fullmatch(rf"{PREFIX}[0-9a-f]{{24}}", path) is not None


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
        if not is_token(path):
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


def n_missing(paths: Iterable[str], locator: Locator) -> int:
    """Look at all files of a data set before anything begins: how many of them are not there.

    Raises:
        SpeechXAIError: none is.
    """
    n, missing, first = 0, 0, ""
    for path in paths:
        n += 1
        try:
            there = locator.locate(path).exists()
        except (SpeechXAIError, OSError, ValueError):
            there = False
        if not there:
            missing += 1
            first = first or path
    if missing and missing == n:
        what = f"{n:,} of {n:,} recordings are missing" if n > 1 else "the recording is missing"
        raise SpeechXAIError(
            f"{encodable(locator.root)}: {what} below it, the first is {encodable(first)}; check --root."
        )
    return missing
