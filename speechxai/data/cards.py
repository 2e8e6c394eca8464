"""Data cards: one TOML a data set, shipped with the package or of your own."""

from __future__ import annotations

import collections
import difflib
import os
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import Field, ValidationError, model_validator

from speechxai.data import manifest as manifests
from speechxai.data.manifest import (
    BETWEEN,
    KNOWN_CLASSES,
    check_classes,
    known_classes,
    label_index,
    label_key,
    path_token,
    pseudonym,
    read_manifest,
    remembered_root,
    salt,
)
from speechxai.data.tables import (
    Joined,
    Pattern,
    Sheet,
    _Part,
    compiled,
    find_sheets,
    is_known,
    lookup,
    number,
    our_columns,
    read_table,
    search,
    sex_codes,
    sexes,
    spelled_differently,
    values_of,
)
from speechxai.errors import SpeechXAIError, did_you_mean, encodable
from speechxai.files import read_text, read_toml, reading, resource_folder, sha256_of
from speechxai.signal.audio import AUDIO_SUFFIXES, FFMPEG_SUFFIXES, NOT_UTF8, checked_root, files_under
from speechxai.types import CLASS_NAMES, class_key

# What a data card may say: checked, and no key that is not known.


class LabelRule(_Part):
    """One place that states the class. All rules that apply to a file must agree; text is compared without case.

    `from = "folder"`: a folder of the file's path; "group": the named group `name` of the file-name pattern; "column":
    the
    column `name` of a metadata sheet. `values` gives the class of every text; without it the texts are names of the
    card's classes, in any case and spelling.
    """

    source: Literal["folder", "group", "column"] = Field(alias="from")
    name: str = ""
    values: dict[str, str] = {}

    @model_validator(mode="after")
    def _named(self) -> LabelRule:
        if self.source != "folder" and not self.name:
            raise ValueError(f"a label from a {self.source} must name it")
        if self.source == "folder" and not self.values:
            raise ValueError("a label from a folder needs values: which folder is which class")
        return self

    def class_of(self, text: str, classes: Sequence[str]) -> str | None:
        """The class that a text states, "unknown" included; None where it states none."""
        if self.values:
            return {key.casefold(): value for key, value in self.values.items()}.get(text.casefold())
        try:
            index = label_index(text, classes)
        except SpeechXAIError:
            return None
        return "unknown" if index is None else classes[index]


class Exclusion(_Part):
    """Files that match are left out, and the report says why."""

    match: Pattern
    reason: str


class TaskRule(_Part):
    """Files whose path matches (anywhere, without case) are of this task; the first rule that matches counts."""

    match: Pattern
    task: str


class FetchFile(_Part):
    """A file to download; `checksum` is "sha256:..." or "md5:..." of the publisher, empty where none is known here."""

    url: str
    name: str
    checksum: Annotated[str, Field(pattern=r"^(sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}|)$")] = ""
    size_bytes: Annotated[int, Field(ge=1)] | None = None
    unpack: bool = False


class Published(_Part):
    """A number that somebody published on the set.

    `value` as it is printed, `metric` what it is of, `source` where it stands; `split_by_speaker` whether nobody was in
    train and test, "unknown" where the source was not read for it; `note` what else is known.
    """

    value: str
    metric: str
    source: str
    split_by_speaker: Literal["yes", "no", "unknown"] = "unknown"
    note: str = ""


class DataCard(_Part):
    """A data set: where its recordings lie, what their names say, who states the class, and what may be done with it.

    `classes` names its classes, the control first; `sex_values` says what texts mean beyond the usual spellings of sex,
    such as numbers; regular expressions ignore case and are bounded (`tables.search`).
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    title: str
    language: str
    license: str
    source: str
    access: Literal["open", "request", "local"]
    size: str = "not stated"
    how_to_obtain: str = ""
    sample_rate_hz: int | None = None
    patterns: list[Pattern]
    classes: tuple[str, ...] = CLASS_NAMES
    labels: list[LabelRule] = []
    exclude: list[Exclusion] = []
    tasks: list[TaskRule] = []
    task: str = "unknown"
    medication: dict[str, str] = {}
    sex_values: dict[str, Literal["F", "M"]] = {}
    speaker_case: Literal["keep", "upper", "lower"] = "keep"
    sheets: list[Sheet] = []
    notes: list[str] = []
    pseudonymize: bool = False
    splits: str = ""
    sha256_table: Annotated[str, Field(pattern=r"^([\w. -]*\w)?$")] = ""
    published: list[Published] = []
    fetch: list[FetchFile] = []

    @model_validator(mode="after")
    def _consistent(self) -> DataCard:
        for pattern in self.patterns:
            compiled(_anywhere(pattern))  # as it will be used, where a flag or a comment inside may do harm
            if "speaker" not in compiled(pattern).groupindex:
                raise ValueError(f"the pattern {pattern!r} has no named group 'speaker': there is always a speaker")
        try:
            check_classes(self.classes)
        except SpeechXAIError as error:
            raise ValueError(f"classes: {error}") from error
        named = {
            "labels": [name for rule in self.labels for name in rule.values.values()],
            "medication": [*self.medication],
            "sheets": [sheet.only for sheet in self.sheets if sheet.only],
        }
        for place, names in named.items():
            for name in names:
                if name not in (*self.classes, "unknown"):
                    raise ValueError(f"{place}: '{name}' is none of the classes {', '.join(self.classes)}")
        groups = {name for pattern in self.patterns for name in compiled(pattern).groupindex}
        for rule in self.labels:
            if rule.source == "group" and rule.name not in groups:
                raise ValueError(f"a label comes from the group '{rule.name}', which no pattern has")
        if self.access == "open" and not self.fetch and not self.how_to_obtain:
            raise ValueError("an open set needs [[fetch]] or how_to_obtain")
        if self.access == "request" and not self.how_to_obtain:
            raise ValueError("a set on request needs how_to_obtain")
        return self


# From a folder and its card to a manifest, with an account of every file.
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


def match(
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
    said: collections.Counter[str] = collections.Counter()
    for done, path in enumerate(paths, start=1):
        reasons = [rule.reason for rule in card.exclude if search(rule.match, path)]
        if encodable(path) != path:
            unmatched.append((encodable(path), NOT_UTF8))
        elif reasons:
            left_out.append((path, reasons[0]))
        else:
            try:
                rows.append(_row(card, base, path, sheets, used, said))
            except _Refused as error:
                unmatched.append((path, str(error)))
        if progress:
            progress(done, len(paths))
    rows, contradicting = _without_contradictions(rows, card.classes)
    unmatched += contradicting
    _name_recordings(rows)
    changed = tuple(
        row["path"] for row in rows if (known_sha256 or {}).get(_name(row["path"]), row["sha256"]) != row["sha256"]
    )
    missing = sorted(set(known_sha256 or {}) - {_name(path) for path in paths})
    missing += [f"{sheet.file}: {key}" for sheet in sheets for key in sheet.rows if (sheet.file, key) not in used]
    try:
        understood = sexes([row["sex"] for row in rows], card.sex_values)
    except SpeechXAIError as error:
        said[str(error)] += len(rows)
        understood = ["unknown"] * len(rows)
    for row, sex in zip(rows, understood, strict=True):
        row["sex"] = sex
    notes += [f"{words} It stays unknown in {count} of {len(rows)} recordings." for words, count in said.items()]
    if not card.labels and rows:
        notes.append("this card gives no label: every recording is 'unknown'")
    if card.pseudonymize:
        _hide_names(card, base, rows)
    more: list[str] = []
    for sheet in sheets:
        others = other_columns(card, sheet)
        more += [*sheet.sheet.columns, *(map(own_name, others) if sheet.sheet.others else ())]
        if others and not sheet.sheet.others:
            notes.append(f"{sheet.file}: the card does not read its columns {', '.join(others)}")
    columns = list(dict.fromkeys((*manifests.COLUMNS, *more)))
    told = {"classes": BETWEEN.join(card.classes), "root": str(base.resolve())}
    frame = manifests.validate(pd.DataFrame([{**row, **told} for row in rows], columns=columns))
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


def other_columns(card: DataCard, sheet: Joined) -> list[str]:
    """Columns of a sheet that neither identify a file nor say anything that the card asks for, in lower case."""
    asked = {sheet.sheet.key, *sheet.sheet.columns.values()}
    asked |= {rule.name for rule in card.labels if rule.source == "column"}
    known = {sheet.column(name) for name in asked}
    return [name for name in sheet.columns.values() if name not in known]


def own_name(column: str) -> str:
    """Name that a column of somebody's table has in a manifest: its own, unless the manifest says something else by
    it."""
    return f"{column}_of_table" if column in manifests.COLUMNS else column


def _row(
    card: DataCard,
    base: Path,
    path: str,
    sheets: list[Joined],
    used: set[tuple[str, str]],
    said: collections.Counter[str],
) -> Row:
    if path.lower().endswith(FFMPEG_SUFFIXES):
        raise _Refused("not read directly: convert it to wav with ffmpeg")
    groups = _groups(card, path)
    speaker = groups.get("speaker", "")
    row: Row = dict.fromkeys(("sex", "medication"), "unknown")
    row |= {name: groups[name] for name in _FROM_NAME if groups.get(name)}
    years = [groups.get(name, "") for name in ("birth_year", "recorded_year")]
    if all(re.fullmatch(r"\d{1,4}", year) for year in years):
        row["age"] = _age(*map(int, years))
    row |= {"language": card.language, "task": _task(card, path)}
    keys = {"path": path, "name": _name(path), "stem": PurePosixPath(path).stem, "speaker": speaker}
    stated = [_from_path(card, rule, path, groups) for rule in card.labels if rule.source != "column"]
    named = [label for label in stated if label]
    for sheet in sheets:
        if sheet.sheet.only and sheet.sheet.only not in [label for label, _ in named]:
            continue
        cells = lookup(sheet, keys)
        if cells is None:
            continue
        used.add((sheet.file, next(key for key, value in sheet.rows.items() if value is cells)))
        if sheet.sheet.others:
            row |= {own_name(name): cells[name] for name in other_columns(card, sheet)}
        row |= values_of(sheet, cells, said)
        named += [
            found
            for rule in card.labels
            if rule.source == "column"
            for found in [_from_column(card, rule, sheet, cells)]
            if found
        ]
    row["label"] = _agreed(card, named)
    for name in manifests.NUMBERS:
        try:
            row[name] = number(row.get(name), name)
        except SpeechXAIError as error:
            row[name] = None
            said[str(error)] += 1
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
        "sha256": _sha256_of(file),
        "_code": groups.get("code", ""),
    }


def _anywhere(pattern: str) -> str:
    """The pattern of a path's end as one of the whole path."""
    return rf"(?:.*/)?(?:{pattern})"


def _groups(card: DataCard, path: str) -> dict[str, str]:
    for pattern in card.patterns:
        found = search(_anywhere(pattern), path, whole=True)
        if found and found.group("speaker"):
            return {name: text for name, text in found.groupdict().items() if text is not None}
    raise _Refused(f"its path fits no pattern of the card: {'  or  '.join(card.patterns)}")


def _from_path(card: DataCard, rule: LabelRule, path: str, groups: dict[str, str]) -> tuple[str, str] | None:
    """The class that a folder or a named group states, with the words for a report."""
    values = {key.casefold(): value for key, value in rule.values.items()}
    if rule.source == "group":
        text = groups.get(rule.name)
        if text is None:
            return None
        found = rule.class_of(text, card.classes)
        if found is None:
            raise _Refused(f"the card has no class for '{text}' in the file name")
        return found, f"the file name says '{text or 'no ' + rule.name}'"
    folders = [folder for folder in PurePosixPath(path).parts[:-1] if folder.casefold() in values]
    classes = {values[folder.casefold()] for folder in folders}
    if len(classes) > 1:
        raise _Refused(f"its folders {' and '.join(folders)} state the classes {' and '.join(sorted(classes))}")
    return (classes.pop(), f"the folder says '{folders[0]}'") if folders else None


def _from_column(card: DataCard, rule: LabelRule, sheet: Joined, cells: dict[str, str]) -> tuple[str, str] | None:
    text = cells.get(sheet.column(rule.name), "")
    if not text:
        return None
    found = rule.class_of(text, card.classes)
    if found is None:
        raise _Refused(f"the card has no class for '{text}' in column '{rule.name}' of {sheet.file}")
    return found, f"{sheet.file} says '{text}'"


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
    return next((rule.task for rule in card.tasks if search(rule.match, path)), card.task)


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
        with reading(file):
            return int(soundfile.info(str(file)).samplerate)
    except Exception:
        # The reader names what is wrong with the file when it is loaded.
        return None


def _sha256_of(file: Path) -> str:
    try:
        return sha256_of(file)
    except SpeechXAIError as error:
        raise _Refused(str(error).removeprefix(f"{encodable(file)}: ").removesuffix(".")) from error


def _without_contradictions(rows: list[Row], classes: Sequence[str]) -> tuple[list[Row], list[tuple[str, str]]]:
    labels: dict[str, set[str]] = collections.defaultdict(set)
    for row in rows:
        labels[row["speaker"]].add(row["label"])
    several = {
        speaker: " and ".join(name for name in classes if name in found)
        for speaker, found in labels.items()
        if len(found - {"unknown"}) > 1
    }
    refused = [
        (row["path"], f"speaker {row['speaker']} has the labels {several[row['speaker']]}")
        for row in rows
        if row["speaker"] in several
    ]
    return [row for row in rows if row["speaker"] not in several], refused


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
        name = f"{row['speaker'].split('/')[1]}-{(row['_code'] or 'recording').lower()}"
        counts[name] += 1
        row["recording"] = name if counts[name] == 1 else f"{name}-{counts[name]}"
        row["path"] = path_token(secret, row["path"])


# Data cards: one TOML a data set, shipped with the package, brought by another one, or of your own.
_ADDED: dict[str, Path] = {}


def add_card(path: str | Path) -> None:
    """Make a card of another package known by its name, which is the file's: `add_card("my_package/mine.toml")`.

    Raises:
        SpeechXAIError: no such file, or a name that is taken.
    """
    file = Path(os.path.realpath(path))
    if not file.is_file():
        raise SpeechXAIError(f"{path}: no such data card.")
    if file.stem in card_names() and _ADDED.get(file.stem) != file:
        raise SpeechXAIError(f"{path}: there is a data card of this name already. Rename the file.")
    _ADDED[file.stem] = file


def card_names() -> list[str]:
    """Return the names of the cards that are known without a path, sorted."""
    shipped = resource_folder("data_cards").glob("*.toml")
    # Other tables that stand beside the cards have no pattern of file names.
    return sorted({path.stem for path in shipped if "\npatterns = " in path.read_text(encoding="utf-8")} | set(_ADDED))


def card_path(name_or_path: str | Path) -> Path:
    """Return the TOML file of a card by its name or its own path. Raises SpeechXAIError for a name that is not
    known."""
    if str(name_or_path).endswith(".toml"):
        path = Path(name_or_path)
        if not path.is_file():
            raise SpeechXAIError(f"{path}: no such data card.")
        return path
    if str(name_or_path) not in card_names():
        raise SpeechXAIError(did_you_mean(str(name_or_path), card_names(), "data card"))
    return _ADDED.get(str(name_or_path)) or resource_folder("data_cards") / f"{name_or_path}.toml"


def load_card(name_or_path: str | Path) -> DataCard:
    """Load a card by name ("mdvr-kcl") or from your own TOML file.

    Raises:
        SpeechXAIError: an unknown name, or a card with a wrong or unknown key; the message names the key.
    """
    path = card_path(name_or_path)
    content = read_toml(path)
    try:
        return DataCard.model_validate(content)
    except ValidationError as error:
        lines = [
            f"{'.'.join(str(part) for part in found['loc']) or 'card'}: {found['msg']}" for found in error.errors()
        ]
        raise SpeechXAIError(f"{path}: " + "; ".join(lines)) from error


def card_text(name_or_path: str | Path) -> str:
    """Return the human text (Markdown) of a card: the `.md` beside its TOML, or what the TOML says where there is none.

    Raises:
        SpeechXAIError: an unknown name, or a file that cannot be read.
    """
    path = card_path(name_or_path).with_suffix(".md")
    if path.exists():
        return read_text(path)
    card = load_card(name_or_path)
    return (
        f"# {card.title}\n\nThis card has no text: {path.name} is not beside it. Who is in the set, its consent, its"
        " confounds and what it must not be used for are not described.\n\n"
        f"Language {card.language}, license {card.license}, source {card.source}, size {card.size}.\n"
    )


def publisher_sha256(name_or_path: str | Path) -> dict[str, str]:
    """Return sha256 by file name of the publisher's files, where the card ships such a table, else nothing."""
    card = load_card(name_or_path)
    if not card.sha256_table:
        return {}
    table = card_path(name_or_path).with_name(card.sha256_table)
    rows = read_table(table)
    if len(rows.columns) != 2:
        raise SpeechXAIError(f"{table}: must have two columns, sha256 and file. It has: {', '.join(rows.columns)}.")
    return {file: sha256 for sha256, file in rows.itertuples(index=False)}


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
        return match(card, root, known, progress)
    return match(load_card(card), root, publisher_sha256(card), progress)


# The recordings that somebody names: a manifest, a card, or a folder.
def root_of(data: str | Path, root: str | Path | None = None, manifest: pd.DataFrame | None = None) -> Path:
    """Return the folder that the paths of a data set's manifest start from.

    Args:
        data: what names the data set.
        root: the folder, where it is given.
        manifest: what `find` found, which remembers the folder where it was made.

    Returns:
        `root`; without it the folder that the manifest remembers, if it is there; else that of `data` itself.
    """
    if root is not None:
        return Path(root)
    path = Path(data)
    remembered = None if manifest is None else remembered_root(manifest)
    if path.is_dir():
        return path
    if remembered is not None and remembered.is_dir():
        return remembered
    # A folder that is not there any more is named, not the one above it.
    return path.parent if path.suffix.lower() in (".csv", ".toml") else path


def places_of(data: str | Path, root: str | Path | None, files: Iterable[str | Path] = ()) -> list[Path]:
    """Folders of recordings: the one that is named, and those of their files."""
    named = [] if root is None and Path(data).suffix.lower() == ".csv" else [root_of(data, root)]
    return [*named, *dict.fromkeys(Path(file).parent for file in files)]


def find(
    data: str | Path, root: str | Path | None = None, labels: str | Path | None = None
) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """Find the recordings of a data set, whichever way it is named.

    Args:
        data: a card's name or TOML file (with `root`), a manifest's .csv, or a folder of recordings.
        root: folder of the recordings that a card or a manifest names; without it the one that the manifest remembers.
        labels: table of the labels of a folder, as `import_folder` reads it; without it folders HC and PD tell them.

    Returns:
        The manifest, its paths relative to `root_of(data, root)`, and (path, reason) of files that could not be placed.
        A warning names speakers that differ in spelling alone: one person must not stand on both sides of a split.

    Raises:
        SpeechXAIError: nothing of that name, or a card without root.
    """
    manifest, unmatched = _found(data, root, labels)
    if one := spelled_differently(manifest["speaker"]):
        more = f" (and {len(one) - 1} more)" if len(one) > 1 else ""
        warnings.warn(f"{data}: {one[0]}{more} Speakers are compared as they are written.", stacklevel=2)
    return manifest, unmatched


def _found(
    data: str | Path, root: str | Path | None, labels: str | Path | None
) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    path, name = Path(data), str(data)
    known = card_names()
    if labels is not None and (name in known or not path.is_dir()):
        raise SpeechXAIError(f"{labels}: a table of labels belongs to a folder of recordings. Got '{data}' instead.")
    if path.suffix.lower() == ".csv":
        return read_manifest(path), []
    if path.is_dir() and name not in known:
        if root is not None and os.path.realpath(root) != os.path.realpath(path):
            raise SpeechXAIError(f"{data}: this folder of recordings is its own root. Leave --root away.")
        if labels is not None:
            return import_folder(path, labels, os.path.basename(os.path.realpath(path))), []
        manifest, report = build_manifest("folder", path)
        return manifest, list(report.unmatched)
    if name not in known and path.suffix != ".toml":
        raise SpeechXAIError(
            f"{data}: there is no such folder or manifest. {did_you_mean(name, ['synthetic', *known], 'data set')}"
        )
    if root is None:
        raise SpeechXAIError(f"The data card '{data}' needs the folder of its recordings: give --root.")
    manifest, report = build_manifest(data, root)
    return manifest, list(report.unmatched)


# Your own folder of recordings with a table of labels.
MOST_NAMED = 8
"""Labels that an error names."""

ILL = {CLASS_NAMES[1], KNOWN_CLASSES[1][1]}
"""Keys of classes that are no control."""

OPTIONAL = ("task", "language", "sex", "age", "updrs", "updrs_speech", "hoehn_yahr", "medication")

LIKELY = {
    "file": "file filename recording audio wav path datei aufnahme fichier archivo fichero grabacion registrazione",
    "label": "label class group diagnosis diagnose status condition gruppe klasse groupe classe diagnostic grupo clase"
    " diagnostico gruppo diagnosi",
    "speaker": "speaker subject participant patient person id proband patientin sprecher teilnehmer sujet locuteur"
    " sujeto hablante paciente participante soggetto paziente parlante",
}
"""Columns that a table must have, and words in the names of columns that may mean them. They are only offered: who
speaks and what is ill is never guessed."""


def _likely(header: str, name: str) -> bool:
    """Whether a column's name has one of the words of LIKELY, without accents."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", header) if not unicodedata.combining(c))
    return not set(re.findall(r"[a-z]+", plain.casefold())).isdisjoint(LIKELY[name].split())


def import_folder(
    root: str | Path, labels: str | Path, dataset: str, *, classes: Sequence[str] | None = None
) -> pd.DataFrame:
    """Make a manifest of a folder and its table with columns file, label, speaker, any of OPTIONAL, and any others,
    which are kept.

    `file` is the path below the folder, or the file name alone where it is unique; every audio file needs a row, every
    row a file, a speaker, and a label: the name of a class, or the word unknown. An empty label is a mistake and not
    "unknown".

    Args:
        root: the folder.
        labels: csv, tsv or xlsx.
        dataset: name that speakers are prefixed with.
        classes: names of all classes, the control first; NAME=TEXT where the table has another text for it. Without
            them the labels must belong to one of `manifest.KNOWN_CLASSES`.

    Raises:
        SpeechXAIError: naming the file without label, speaker or row, the row without file, the column that is
            missing, or the labels whose classes nobody knows.
    """
    base = checked_root(root)
    if "/" in dataset or not dataset.strip():
        raise SpeechXAIError(f"The name of the data set must be a word without '/'. Got {dataset!r} instead.")
    if not Path(labels).exists():
        raise SpeechXAIError(f"{labels}: no such table of labels. Make one with the columns file, label, speaker.")
    table = read_table(Path(labels))
    try:
        named = our_columns(table.columns)
    except SpeechXAIError as error:
        raise SpeechXAIError(f"{labels}: {error}") from error
    codes = {code: sex for header, ours in named.items() if ours == "sex" for code, sex in sex_codes(header).items()}
    table = table.rename(columns=named)
    absent = [name for name in LIKELY if name not in table.columns]
    if absent:
        columns = "column" if len(absent) == 1 else "columns"
        near = {name: [head for head, ours in named.items() if _likely(ours, name)] for name in absent}
        renamed = [f"{name} for '{heads[0]}'" for name, heads in near.items() if len(heads) == 1]
        raise SpeechXAIError(
            f"{labels}: lacks the {columns} {' and '.join(repr(name) for name in absent)}. It has:"
            f" {', '.join(named)}." + (f" Write {', '.join(renamed)}, if that is what it says." if renamed else "")
        )
    paths = files_under(base)
    for path in paths:
        if encodable(path) != path:
            raise SpeechXAIError(f"{encodable(path)}: {NOT_UTF8}.")
    if not paths:
        raise SpeechXAIError(f"{root}: no recordings (wav, flac, ogg, mp3) in this folder.")
    rows: dict[str, dict[str, Any]] = {}
    for cells in table.to_dict("records"):
        if not cells["file"]:
            raise SpeechXAIError(f"{labels}: the row '{', '.join(map(str, cells.values()))}' names no file.")
        path = _path_of(str(cells["file"]), paths, labels)
        if path in rows:
            raise SpeechXAIError(f"{labels}: '{path}' stands in two rows. Keep one.")
        rows[path] = {str(name): value for name, value in cells.items()}
    unlisted = [path for path in paths if path not in rows]
    if unlisted:
        more = f" (and {len(unlisted) - 1} more)" if len(unlisted) > 1 else ""
        raise SpeechXAIError(
            f"{unlisted[0]}: has no row in {labels}{more}. Add one with its label and speaker, or move the file away."
        )
    texts = [str(cells["label"]).strip() for cells in rows.values()]
    names, spelled = _classes_of_table([text for text in texts if text], classes, labels)
    frame = pd.DataFrame([_row_of_table(base, path, rows[path], dataset, labels, names, spelled) for path in paths])
    try:
        if "sex" in frame:
            frame["sex"] = sexes(frame["sex"], codes)
        return manifests.validate(frame.assign(classes=BETWEEN.join(names), root=str(base.resolve())))
    except SpeechXAIError as error:
        raise SpeechXAIError(f"{labels}: {error}") from error


def _classes_of_table(
    texts: Sequence[str], given: Sequence[str] | None, labels: str | Path
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Names of the classes of a table, and the class of every text that is not its name."""
    stated = [text for text in dict.fromkeys(texts) if is_known(text)]
    if given is not None:
        pairs = [item.partition("=") for item in given]
        names = check_classes([name for name, _, _ in pairs])
        return names, {text.strip().casefold(): name.strip() for name, _, text in pairs if text.strip()}
    known = known_classes(stated)
    if known is None:
        shown = ", ".join(stated[:MOST_NAMED])
        more = f" and {len(stated) - MOST_NAMED} more" if len(stated) > MOST_NAMED else ""
        named: dict[str, str] = {}
        for text in stated:
            named.setdefault(label_key(text), text)
        # The control first, and last what is known to be none: a line that is copied must not turn the classes around.
        ill = {key for key, text in named.items() if class_key(text) in ILL}
        first = [named[key] for key in sorted(named, key=lambda key: (key != CLASS_NAMES[0]) + (key in ill))]
        sure = CLASS_NAMES[0] in named or (len(named) == 2 and len(ill) == 1)
        if sure and CLASS_NAMES[0] not in named:
            # Under the usual names models of the same classes can be held against the labels.
            pair = next(pair for pair in KNOWN_CLASSES if pair[1] in ill)
            first = [f"{name}={text}" for name, text in zip(pair, first, strict=True)]
        raise SpeechXAIError(
            f"{labels}: the labels {shown}{more} are not those of classes that are known here"
            f" ({' and '.join('/'.join(pair) for pair in KNOWN_CLASSES)}). Mend them, or name all classes, the control"
            f" first, to 'speechxai data import': --classes {','.join(first[:MOST_NAMED])}"
            + ("" if sure else " (or in another order)")
        )
    return known, {}


def _path_of(file: str, paths: list[str], labels: str | Path) -> str:
    wanted = file.replace("\\", "/")
    if wanted in paths:
        return wanted
    # A disk of macOS writes ñ as n with a tilde, and a table as one letter.
    composed = unicodedata.normalize("NFC", wanted)
    same_name = [path for path in paths if unicodedata.normalize("NFC", path) == composed] or [
        path for path in paths if unicodedata.normalize("NFC", PurePosixPath(path).name) == composed
    ]
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


def _row_of_table(
    base: Path,
    path: str,
    cells: dict[str, Any],
    dataset: str,
    labels: str | Path,
    classes: Sequence[str],
    spelled: Mapping[str, str],
) -> dict[str, Any]:
    for name in ("label", "speaker"):
        if not str(cells[name]).strip():
            rest = (
                f"Write {', '.join(classes)} or unknown."
                if name == "label"
                else "Write who speaks; recordings of one person need one speaker."
            )
            raise SpeechXAIError(f"{path}: the {name} is missing in {labels}. {rest}")
    text = str(cells["label"]).strip()
    try:
        label = label_index(spelled.get(text.casefold(), text), classes)
    except SpeechXAIError as error:
        raise SpeechXAIError(f"{path}: in {labels}, {error}") from error
    return {
        **{
            own_name(name): value
            for name, value in cells.items()
            if name not in ("file", "label", "speaker", *OPTIONAL)
        },
        **{name: cells[name] for name in OPTIONAL if name in cells},
        "recording": PurePosixPath(path).with_suffix("").as_posix().replace("/", "__"),
        "path": path,
        "speaker": f"{dataset}/{str(cells['speaker']).strip()}",
        "label": label,
        "dataset": dataset,
        "sample_rate": header_sample_rate(base / path),
        "sha256": _sha256_of(base / path),
    }
