"""Metadata tables that lie beside recordings: found by name, read as text, looked up by file or speaker."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from pydantic import AfterValidator, BaseModel, ConfigDict

from speechxai.errors import SpeechXAIError
from speechxai.signal.audio import files_under

SHEET_SUFFIXES = (".csv", ".tsv", ".txt", ".xlsx", ".xls")


@dataclass(frozen=True)
class Joined:
    """A sheet that was found: its rows by normalized key, and where it came from."""

    sheet: Sheet
    file: str
    rows: dict[str, dict[str, str]]


def read_table(path: Path, sheet_name: str | int = 0) -> pd.DataFrame:
    """Read a csv, tsv or xlsx as text, with the separator it has; empty cells are "".

    Raises:
        SpeechXAIError: a table that cannot be read; for xlsx without openpyxl, how to save it as csv.
    """
    try:
        if path.suffix.lower() in (".xlsx", ".xls"):
            return pd.read_excel(path, sheet_name=sheet_name, dtype=str, keep_default_na=False)
        first = path.read_text(encoding="utf-8-sig", errors="replace").split("\n", 1)[0]
        separator = max(",;\t", key=first.count)
        return pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except ImportError as error:
        raise SpeechXAIError(
            f"{path}: reading Excel tables needs openpyxl. Install it (pip install openpyxl), or save the table as csv"
            " beside it."
        ) from error
    except (OSError, ValueError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise SpeechXAIError(f"{path}: this table cannot be read ({error}).") from error


def normalize_key(value: str) -> str:
    """Return an identifier as it is compared: without case and spaces, numbers without leading zeros.

    >>> normalize_key(" 0034"), normalize_key("34.0"), normalize_key("AVPEPUDEA0001 ")
    ('34', '34', 'avpepudea0001')
    """
    text = re.sub(r"\s+", " ", value).strip().casefold()
    number = re.fullmatch(r"0*(\d+?)(?:\.0+)?", text)
    return number.group(1) if number else text


def find_sheets(sheets: list[Sheet], root: Path) -> tuple[list[Joined], list[str]]:
    """Return the sheets found under `root`, and a note for each that is missing, unreadable or lacks a column."""
    present = files_under(root, SHEET_SUFFIXES)
    found, notes = [], []
    for sheet in sheets:
        # The first name that is there counts: csv before xlsx where both lie there.
        names = [
            path
            for wanted in sheet.files
            for path in present
            if fnmatch.fnmatch(Path(path).name.lower(), wanted.lower())
        ]
        if not names:
            notes.append(
                f"no {' or '.join(sheet.files)} found: {', '.join(sheet.columns) or 'its columns'} not read from it"
            )
            continue
        try:
            found.append(_join(sheet, root, names[0]))
        except SpeechXAIError as error:
            notes.append(str(error))
    return found, notes


def _join(sheet: Sheet, root: Path, file: str) -> Joined:
    frame = read_table(root / file, sheet.sheet_name)
    frame.columns = [str(name).strip() for name in frame.columns]
    by_lower = {name.casefold(): name for name in frame.columns}
    if sheet.key.casefold() not in by_lower:
        raise SpeechXAIError(
            f"{root / file}: has no column '{sheet.key}' to join by. Its columns: {', '.join(frame.columns)}."
        )
    rows: dict[str, dict[str, str]] = {}
    for record in frame.to_dict("records"):
        cells = {str(name).casefold(): "" if value is None else str(value).strip() for name, value in record.items()}
        cell = cells[sheet.key.casefold()]
        if sheet.key_pattern:
            part = re.search(sheet.key_pattern, cell, re.IGNORECASE)
            cell = part.group(0) if part else ""
        key = normalize_key(cell)
        if not key:
            continue
        if key in rows and rows[key] != cells:
            raise SpeechXAIError(f"{root / file}: '{cell}' stands in two rows that differ. Mend the table.")
        rows[key] = cells
    return Joined(sheet, file, rows)


def lookup(joined: Joined, keys: dict[str, str]) -> dict[str, str] | None:
    """Return the row for a file, whose `keys` are its path, name, stem and speaker; None where there is none."""
    return joined.rows.get(normalize_key(keys[joined.sheet.match]))


def values_of(joined: Joined, row: dict[str, str]) -> dict[str, str]:
    """Return manifest columns of a sheet's row, texts translated; what the card does not translate stays unknown."""
    values: dict[str, str] = {}
    for ours, theirs in joined.sheet.columns.items():
        cell = row.get(theirs.casefold(), "")
        translation = joined.sheet.values.get(ours)
        if translation is not None:
            cell = {key.casefold(): value for key, value in translation.items()}.get(cell.casefold(), "")
        if cell:
            values[ours] = cell
    return values


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return pattern


Pattern = Annotated[str, AfterValidator(_compiles)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Sheet(_Part):
    """A metadata table to join: csv, tsv or xlsx found by name anywhere under the root.

    `key` is its column of identifiers (`key_pattern` picks a part of the cell), compared with the file's "path",
    "name", "stem"
    or "speaker"; `columns` maps manifest columns to its columns, `values` translates texts, everything else stays
    unknown;
    `only` restricts it to files of one class.
    """

    files: list[str]
    key: str
    match: Literal["path", "name", "stem", "speaker"] = "stem"
    key_pattern: Pattern = ""
    sheet_name: str | int = 0
    columns: dict[
        Literal["speaker", "task", "language", "sex", "age", "updrs", "updrs_speech", "hoehn_yahr", "medication"], str
    ] = {}
    values: dict[str, dict[str, str]] = {}
    only: Literal["HC", "PD", ""] = ""
