"""From a folder and its card to a manifest, with an account of every file."""

from __future__ import annotations

import collections
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from speechxai.data import manifest as manifests
from speechxai.data.files import AUDIO_SUFFIXES, FFMPEG_SUFFIXES, NOT_UTF8, checked_root, files_under
from speechxai.data.pseudonyms import path_token, pseudonym, salt
from speechxai.data.schema import DataCard, LabelRule
from speechxai.data.sheets import Joined, find_sheets, lookup, values_of
from speechxai.errors import SpeechXAIError, encodable

Row = dict[str, Any]
_FROM_NAME = ("sex", "age", "updrs", "updrs_speech", "hoehn_yahr", "medication")


@dataclass(frozen=True)
class MatchReport:
    """What a card made of a folder.

    Args:
        card: name of the card.
        root: the folder.
        n_audio: audio files found.
        n_matched: rows of the manifest.
        unmatched: (path, reason) of every audio file that is not in the manifest though it may belong there.
        left_out: (path, reason) of every file that the card leaves out on purpose.
        changed: paths whose bytes are not those of the publisher's file of that name.
        missing: names that the publisher's list or a sheet has and the folder has not.
        notes: what else a reader should know.
    """

    card: str
    root: str
    n_audio: int
    n_matched: int
    unmatched: tuple[tuple[str, str], ...]
    left_out: tuple[tuple[str, str], ...]
    changed: tuple[str, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]


class _Refused(SpeechXAIError):
    """A file that matches a card's pattern and still cannot be used."""


def build_manifest(
    card: DataCard,
    root: str | Path,
    known_sha256: dict[str, str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[pd.DataFrame, MatchReport]:
    """Match every audio file under `root` with the card; hash it; join the metadata.

    Args:
        card: the data set's card.
        root: folder of the data set, or one above it.
        known_sha256: sha256 by file name, of the publisher's files.
        progress: called with files done and files in all.

    Returns:
        A valid manifest with paths relative to `root`, and the account of every file.

    Raises:
        SpeechXAIError: a root that is no folder, or no place for the salt of pseudonyms.
    """
    base = checked_root(root)
    paths = files_under(base, AUDIO_SUFFIXES + FFMPEG_SUFFIXES)
    sheets, notes = find_sheets(card.sheets, base)
    rows: list[Row] = []
    unmatched: list[tuple[str, str]] = []
    left_out: list[tuple[str, str]] = []
    used: set[tuple[str, str]] = set()
    for done, path in enumerate(paths, start=1):
        reasons = [rule.reason for rule in card.exclude if re.search(rule.match, path, re.IGNORECASE)]
        if encodable(path) != path:
            unmatched.append((encodable(path), NOT_UTF8))
        elif reasons:
            left_out.append((path, reasons[0]))
        else:
            try:
                rows.append(_row(card, base, path, sheets, used))
            except _Refused as error:
                unmatched.append((path, str(error)))
        if progress:
            progress(done, len(paths))
    rows, contradicting = _without_contradictions(rows)
    unmatched += contradicting
    _name_recordings(rows)
    changed = tuple(
        row["path"] for row in rows if (known_sha256 or {}).get(_name(row["path"]), row["sha256"]) != row["sha256"]
    )
    missing = sorted(set(known_sha256 or {}) - {_name(path) for path in paths})
    missing += [f"{sheet.file}: {key}" for sheet in sheets for key in sheet.rows if (sheet.file, key) not in used]
    if not card.labels and rows:
        notes.append("this card gives no label: every recording is 'unknown'")
    if card.pseudonymize:
        _hide_names(card, base, rows)
    frame = manifests.validate(
        pd.DataFrame(
            [{k: v for k, v in row.items() if k in manifests.COLUMNS} for row in rows], columns=list(manifests.COLUMNS)
        )
    )
    return frame, MatchReport(
        card.name,
        str(root),
        len(paths),
        len(rows),
        tuple(unmatched),
        tuple(left_out),
        changed,
        tuple(missing),
        (*notes, *card.notes),
    )


def _name(path: str) -> str:
    return PurePosixPath(path).name


def _row(card: DataCard, base: Path, path: str, sheets: list[Joined], used: set[tuple[str, str]]) -> Row:
    if path.lower().endswith(FFMPEG_SUFFIXES):
        raise _Refused("not read directly: convert it to wav with ffmpeg")
    groups = _groups(card, path)
    speaker = groups.get("speaker", "")
    row: Row = dict.fromkeys(("sex", "medication"), "unknown")
    row |= {name: groups[name] for name in _FROM_NAME if groups.get(name)}
    if groups.get("birth_year") and groups.get("recorded_year"):
        row["age"] = _age(int(groups["birth_year"]), int(groups["recorded_year"]))
    row |= {"language": card.language, "task": _task(card, path)}
    keys = {"path": path, "name": _name(path), "stem": PurePosixPath(path).stem, "speaker": speaker}
    stated = [_from_path(rule, path, groups) for rule in card.labels if rule.source != "column"]
    named = [label for label in stated if label]
    for sheet in sheets:
        if sheet.sheet.only and sheet.sheet.only not in [label for label, _ in named]:
            continue
        cells = lookup(sheet, keys)
        if cells is None:
            continue
        used.add((sheet.file, next(key for key, value in sheet.rows.items() if value is cells)))
        row |= values_of(sheet, cells)
        named += [
            found
            for rule in card.labels
            if rule.source == "column"
            for found in [_from_column(rule, sheet, cells)]
            if found
        ]
    row["label"] = _agreed(card, named)
    row["sex"] = {k.casefold(): v for k, v in card.sex_values.items()}.get(str(row["sex"]).casefold(), "unknown")
    if row["label"] in card.medication and row["medication"] == "unknown":
        row["medication"] = card.medication[row["label"]]
    # Where the case of names varies, one person must not become two: they would sit in two folds.
    speaker = str(row.get("speaker") or speaker)
    if card.speaker_case != "keep":
        speaker = speaker.upper() if card.speaker_case == "upper" else speaker.lower()
    file = base / path
    return row | {
        "path": path,
        "speaker": f"{card.name}/{speaker}",
        "dataset": card.name,
        "sample_rate": header_sample_rate(file),
        "sha256": sha256_of_file(file),
        "code": groups.get("code", ""),
    }


def _groups(card: DataCard, path: str) -> dict[str, str]:
    for pattern in card.patterns:
        found = re.fullmatch(rf"(?:.*/)?(?:{pattern})", path, re.IGNORECASE)
        if found and found.group("speaker"):
            return {name: text for name, text in found.groupdict().items() if text is not None}
    raise _Refused(f"its path fits no pattern of the card: {'  or  '.join(card.patterns)}")


def _from_path(rule: LabelRule, path: str, groups: dict[str, str]) -> tuple[str, str] | None:
    """The class that a folder or a named group states, with the words for a report."""
    values = {key.casefold(): value for key, value in rule.values.items()}
    if rule.source == "group":
        text = groups.get(rule.name)
        if text is None:
            return None
        if text.casefold() not in values:
            raise _Refused(f"the card has no class for '{text}' in the file name")
        return values[text.casefold()], f"the file name says '{text or 'no ' + rule.name}'"
    folders = [folder for folder in PurePosixPath(path).parts[:-1] if folder.casefold() in values]
    classes = {values[folder.casefold()] for folder in folders}
    if len(classes) > 1:
        raise _Refused(f"its folders {' and '.join(folders)} state both classes")
    return (classes.pop(), f"the folder says '{folders[0]}'") if folders else None


def _from_column(rule: LabelRule, sheet: Joined, cells: dict[str, str]) -> tuple[str, str] | None:
    text = cells.get(rule.name.casefold(), "")
    values = {key.casefold(): value for key, value in rule.values.items()}
    if not text:
        return None
    if text.casefold() not in values:
        raise _Refused(f"the card has no class for '{text}' in column '{rule.name}' of {sheet.file}")
    return values[text.casefold()], f"{sheet.file} says '{text}'"


def _agreed(card: DataCard, named: list[tuple[str, str]]) -> str:
    classes = {label for label, _ in named}
    if len(classes) > 1:
        raise _Refused("its labels disagree: " + ", but ".join(words for _, words in named))
    if classes:
        return classes.pop()
    if card.labels:
        places = [f"{rule.source} {rule.name}".strip() for rule in card.labels]
        raise _Refused(f"no label: neither {' nor '.join(places)} states one")
    return "unknown"


def _task(card: DataCard, path: str) -> str:
    return next((rule.task for rule in card.tasks if re.search(rule.match, path, re.IGNORECASE)), card.task)


def _age(birth_year: int, recorded_year: int) -> int:
    """Age from years; a birth year of two digits is the latest one at least 15 years before the recording."""
    if birth_year < 100:
        birth_year += recorded_year - recorded_year % 100
        birth_year -= 100 if birth_year > recorded_year - 15 else 0
    return recorded_year - birth_year


def header_sample_rate(file: Path) -> int | None:
    """Return the sample rate that a file's header states, Hz; None where it cannot be read."""
    import soundfile

    try:
        return int(soundfile.info(str(file)).samplerate)
    except Exception:
        # The reader names what is wrong with the file when it is loaded.
        return None


def sha256_of_file(file: Path) -> str:
    """Return the sha256 of a file's bytes, hexadecimal. Raises SpeechXAIError where it cannot be read."""
    import hashlib

    try:
        with file.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise _Refused(f"cannot be read ({error.strerror})") from error


def _without_contradictions(rows: list[Row]) -> tuple[list[Row], list[tuple[str, str]]]:
    labels: dict[str, set[str]] = collections.defaultdict(set)
    for row in rows:
        labels[row["speaker"]].add(row["label"])
    both = {speaker for speaker, found in labels.items() if {"HC", "PD"} <= found}
    refused = [
        (row["path"], f"speaker {row['speaker']} has both labels, HC and PD") for row in rows if row["speaker"] in both
    ]
    return [row for row in rows if row["speaker"] not in both], refused


def _name_recordings(rows: list[Row]) -> None:
    """Give every row the shortest end of its path that no other row has, '/' written as '__'."""
    depth = {id(row): 1 for row in rows}
    open_rows = rows
    while open_rows:
        for row in open_rows:
            parts = PurePosixPath(row["path"]).with_suffix("").parts[-depth[id(row)] :]
            row["recording"] = "__".join(parts)
        # Case is ignored: two names that differ in case only are one file on some disks.
        counts = collections.Counter(row["recording"].casefold() for row in rows)
        open_rows = [row for row in rows if counts[row["recording"].casefold()] > 1]
        if all(depth[id(row)] >= len(PurePosixPath(row["path"]).parts) for row in open_rows):
            for row in open_rows:
                row["recording"] = row["path"].replace("/", "__")
            return
        for row in open_rows:
            depth[id(row)] += 1


def _hide_names(card: DataCard, base: Path, rows: list[Row]) -> None:
    secret = salt(base)
    counts: collections.Counter[str] = collections.Counter()
    for row in rows:
        row["speaker"] = f"{card.name}/p{pseudonym(secret, 'person', row['speaker'])}"
        name = f"{row['speaker'].split('/')[1]}-{(row['code'] or 'recording').lower()}"
        counts[name] += 1
        row["recording"] = name if counts[name] == 1 else f"{name}-{counts[name]}"
        row["path"] = path_token(secret, row["path"])
