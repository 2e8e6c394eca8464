"""Your own folder of recordings with a table of labels."""

from __future__ import annotations

import difflib
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from speechxai.data import manifest as manifests
from speechxai.data.files import NOT_UTF8, checked_root, files_under
from speechxai.data.matching import header_sample_rate, sha256_of_file
from speechxai.data.sheets import read_table
from speechxai.errors import SpeechXAIError, encodable

OPTIONAL = ("task", "language", "sex", "age", "updrs", "updrs_speech", "hoehn_yahr", "medication")


def import_folder(root: str | Path, labels: str | Path, dataset: str) -> pd.DataFrame:
    """Make a manifest of a folder and its table with columns file, label, speaker, and any of OPTIONAL.

    `file` is the path below the folder, or the file name alone where it is unique; every audio file needs a row, every row a
    file, a speaker, and a label: HC, PD, 0, 1, or the word unknown. An empty label is a mistake and not "unknown".

    Args:
        root: the folder.
        labels: csv, tsv or xlsx.
        dataset: name that speakers are prefixed with.

    Raises:
        SpeechXAIError: naming the file without label, speaker or row, the row without file, or the column that is missing.
    """
    base = checked_root(root)
    if "/" in dataset or not dataset.strip():
        raise SpeechXAIError(f"The name of the data set must be a word without '/'. Got {dataset!r} instead.")
    if not Path(labels).is_file():
        raise SpeechXAIError(f"{labels}: no such table of labels. Make one with the columns file, label, speaker.")
    table = read_table(Path(labels))
    table.columns = [str(name).strip().casefold() for name in table.columns]
    absent = [name for name in ("file", "label", "speaker") if name not in table.columns]
    if absent:
        raise SpeechXAIError(
            f"{labels}: lacks the column {' and '.join(repr(name) for name in absent)}. It has: {', '.join(table.columns)}."
        )
    paths = files_under(base)
    for path in paths:
        if encodable(path) != path:
            raise SpeechXAIError(f"{encodable(path)}: {NOT_UTF8}.")
    if not paths:
        raise SpeechXAIError(f"{root}: no recordings (wav, flac, ogg, mp3) in this folder.")
    rows: dict[str, dict[str, Any]] = {}
    for cells in table.to_dict("records"):
        path = _path_of(str(cells["file"]).strip(), paths, labels)
        if path in rows:
            raise SpeechXAIError(f"{labels}: '{path}' stands in two rows. Keep one.")
        rows[path] = {str(name): value for name, value in cells.items()}
    unlisted = [path for path in paths if path not in rows]
    if unlisted:
        more = f" (and {len(unlisted) - 1} more)" if len(unlisted) > 1 else ""
        raise SpeechXAIError(
            f"{unlisted[0]}: has no row in {labels}{more}. Add one with its label and speaker, or move the file away."
        )
    return manifests.validate(pd.DataFrame([_row(base, path, rows[path], dataset, labels) for path in paths]))


def _path_of(file: str, paths: list[str], labels: str | Path) -> str:
    wanted = file.replace("\\", "/")
    if wanted in paths:
        return wanted
    same_name = [path for path in paths if PurePosixPath(path).name == wanted]
    if len(same_name) == 1:
        return same_name[0]
    if same_name:
        raise SpeechXAIError(
            f"{labels}: '{file}' fits {len(same_name)} files, such as {same_name[0]}. Write the path below the folder."
        )
    close = difflib.get_close_matches(wanted, paths, n=1, cutoff=0.6)
    raise SpeechXAIError(
        f"{labels}: '{file}' is no file of the folder." + (f" Did you mean '{close[0]}'?" if close else "")
    )


def _row(base: Path, path: str, cells: dict[str, Any], dataset: str, labels: str | Path) -> dict[str, Any]:
    for name in ("label", "speaker"):
        if not str(cells[name]).strip():
            rest = (
                "Write HC, PD or unknown."
                if name == "label"
                else "Write who speaks; recordings of one person need one speaker."
            )
            raise SpeechXAIError(f"{path}: the {name} is missing in {labels}. {rest}")
    try:
        label = manifests.label_index(cells["label"])
    except SpeechXAIError as error:
        raise SpeechXAIError(f"{path}: in {labels}, {error}") from error
    return {
        **{name: cells[name] for name in OPTIONAL if name in cells},
        "recording": PurePosixPath(path).with_suffix("").as_posix().replace("/", "__"),
        "path": path,
        "speaker": f"{dataset}/{str(cells['speaker']).strip()}",
        "label": label,
        "dataset": dataset,
        "sample_rate": header_sample_rate(base / path),
        "sha256": sha256_of_file(base / path),
    }
