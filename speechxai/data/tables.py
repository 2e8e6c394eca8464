"""Metadata tables that lie beside recordings: read as text, looked up by file or speaker, people's spellings of sex,
age and speaker understood in one place."""

from __future__ import annotations

import collections
import csv
import fnmatch
import io
import math
import re
import unicodedata
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
import regex
from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

from speechxai.errors import SpeechXAIError, told
from speechxai.files import decoded, read_bytes
from speechxai.signal.audio import files_under

SHEET_SUFFIXES = (".csv", ".tsv", ".txt", ".xlsx", ".xls")


@dataclass(frozen=True)
class Joined:
    """A sheet that was found: where it came from, the name that each of its columns has here, its rows by normalized
    key, and the coding of sexes that its header states."""

    sheet: Sheet
    file: str
    columns: dict[str, str]
    rows: dict[str, dict[str, str]]
    codes: dict[str, str]

    def column(self, name: str) -> str:
        """The name in `rows` of a column that a card names as its header does, without what stands in brackets there,
        or as we do."""
        ours = our_columns([name])[name]
        return self.columns.get(_plain(name), ours if ours in self.columns.values() else _plain(name))


def read_table(path: Path, sheet_name: str | int = 0) -> pd.DataFrame:
    """Read a csv, tsv or xlsx as text: its encoding and separator are found, rows and columns of nothing left out.

    Returns:
        Its cells, "" where empty. A column without a name is called "column 3", by its place.

    Raises:
        SpeechXAIError: a table that cannot be read, with two columns of one name, or with a row longer than its header.
    """
    if path.is_file() and path.stat().st_size > MAX_TABLE_BYTES:
        raise SpeechXAIError(f"{path}: {path.stat().st_size} bytes are too many for a table of recordings.")
    content = read_bytes(path)
    if content[:8] == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1":
        raise SpeechXAIError(f"{path}: an Excel table of the old kind (xls). Save it as xlsx or csv.")
    rows = _excel(path, content, sheet_name) if content[:4] == b"PK\x03\x04" else _text_rows(path, content)
    rows = [(line, [cell.strip() for cell in cells]) for line, cells in rows]
    rows = [(line, cells) for line, cells in rows if any(cells)]
    if not rows:
        raise SpeechXAIError(f"{path}: this table is empty.")
    header, width = rows[0][1], max(len(cells) for _, cells in rows)
    filled = [cells + [""] * (width - len(cells)) for _, cells in rows]
    used = [i for i in range(width) if any(cells[i] for cells in filled)]
    for line, cells in rows[1:]:
        if len(header) < len(cells) and any(cells[len(header) :]):
            raise SpeechXAIError(
                f"{path}: row {line} has {len(cells)} cells and the header {len(header)}. A text that holds the"
                " separator, such as 63,5, needs quotes."
            )
    names = [filled[0][i] or f"column {i + 1}" for i in used]
    try:
        our_columns(names)
    except SpeechXAIError as error:
        raise SpeechXAIError(f"{path}: {error}") from error
    return pd.DataFrame([[cells[i] for i in used] for cells in filled[1:]], columns=names, dtype=object)


MAX_TABLE_BYTES = 200_000_000


def _excel(path: Path, content: bytes, sheet_name: str | int) -> list[tuple[int, list[str]]]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            if sum(member.file_size for member in packed.infolist()) > MAX_TABLE_BYTES:
                raise SpeechXAIError(f"{path}: this workbook is too large when unpacked. Save the sheet as csv.")
        frame = pd.read_excel(
            io.BytesIO(content), sheet_name=sheet_name, header=None, dtype=str, keep_default_na=False, engine="openpyxl"
        )
    except ImportError as error:
        raise SpeechXAIError(
            f"{path}: reading Excel tables needs openpyxl. Install it (pip install openpyxl), or save the table as csv"
            " beside it."
        ) from error
    except SpeechXAIError:
        raise
    except Exception as error:  # a damaged workbook fails in any layer: zip, XML, styles, dates
        raise SpeechXAIError(
            f"{path}: this Excel table cannot be read ({told(error)}). Open it and save it again, as xlsx or csv."
        ) from error
    cells = frame.fillna("").to_numpy(dtype=str).tolist()
    return [(line, row) for line, row in enumerate(cells, start=1)]


def _text_rows(path: Path, content: bytes) -> list[tuple[int, list[str]]]:
    text = decoded(content, path)
    # Excel reads the separator from a first line of its own, and writes it there.
    stated = re.match(r'"?sep=([^\r\n])"?[ ,;]*(\r\n|\r|\n)', text, re.IGNORECASE)
    if stated:
        text, separator = text[stated.end() :], stated.group(1)
    else:
        header = next((line for line in text.splitlines() if line.strip(" ,;\t|")), "")
        bare = re.sub(r'"[^"]*"', "", header)
        separator = max(",;\t|", key=bare.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows: list[tuple[int, list[str]]] = []
    try:
        for cells in reader:
            rows.append((reader.line_num + bool(stated), cells))
    except csv.Error as error:
        raise SpeechXAIError(f"{path}: line {reader.line_num} cannot be read ({error}).") from error
    return rows


def normalize_key(value: str) -> str:
    """Return an identifier as it is compared: without case, spaces and Unicode form, numbers without leading zeros.

    >>> normalize_key(" 0034"), normalize_key("34.0"), normalize_key("AVPEPUDEA0001 "), normalize_key("Ｓ１")
    ('34', '34', 'avpepudea0001', 's1')
    """
    text = re.sub(r"\s+", " ", unicodedata.normalize("NFKC", value)).strip().casefold()
    number = re.fullmatch(r"0*(\d+?)(?:\.0+)?", text)
    return number.group(1) if number else text


# What people write for a sex, an age, a speaker. Text that is not understood stays as it is, and is named.
NOT_KNOWN = ("", "-", ".", "?", "na", "n/a", "nan", "null", "unknown", "not known", "<na>")
"""Texts that say that something is not known, in any case. "None" is not among them: it may be a diagnosis or a
medication."""

_SEXES = {
    "F": "f w female woman women girl fem feminine weiblich frau féminin femme femenino femenina mujer feminino"
    " feminina mulher femminile femmina donna ♀",
    "M": "m male man men boy masc masculine männlich maennlich mann masculin homme masculino varón varon hombre homem"
    " maschile maschio uomo ♂",
}
_SEX_OF = {word: sex for sex, words in _SEXES.items() for word in words.split()}
NAMES = {"sex": ("gender", "geschlecht", "sexe", "sexo", "sesso"), "age": ("age_years", "alter", "âge", "edad", "età")}
"""Other names of a column, which is taken where the table has one of them and not ours."""

LIMITS = {
    "age": (1, 120, "years"),
    "updrs": (0, 260, "points"),
    "updrs_speech": (0, 4, "points"),
    "hoehn_yahr": (0, 5, "stages"),
}
"""Lowest and highest value of the columns of numbers: what lies outside is a code or a mistake, never a measurement."""

_NUMBER = re.compile(r"([-+]?\d*[.,]?\d+(?:e[-+]?\d+)?)\s*(.*)", re.DOTALL)
_YEARS = re.compile(r"((y|yrs?|years?|j|jahre?|ans?|años|anos|anni)(\.| old)?)?")


def is_known(value: object) -> bool:
    """Whether a cell says something: not empty, not NA, not one of NOT_KNOWN."""
    return not (value is None or value is pd.NA or value != value or str(value).strip().casefold() in NOT_KNOWN)


def sex_codes(header: str) -> dict[str, str]:
    """Return the coding of sexes that a column's name states, by `normalize_key` of the code.

    >>> sex_codes("Sex (1=male, 2=female)"), sex_codes("sex")
    ({'1': 'M', '2': 'F'}, {})
    """
    rest = re.split(r"[\[({:]", unicodedata.normalize("NFKC", header).casefold(), maxsplit=1)[-1]
    found: dict[str, set[str]] = collections.defaultdict(set)
    for first, second in re.findall(r"(\w+)\s*[=:]\s*(\w+)", rest):
        code, word = (first, second) if second in _SEX_OF else (second, first)
        if word in _SEX_OF:
            found[normalize_key(code)].add(_SEX_OF[word])
    return {code: meant.pop() for code, meant in found.items() if len(meant) == 1}


def sexes(cells: Iterable[object], codes: Mapping[str, str] | None = None) -> list[str]:
    """Return "F", "M" or "unknown" for the cells of one column; a text that is not understood as it stands.

    Numbers are understood where `codes` says what they mean. A letter counts in the company of the others: H is a man
    beside F.

    >>> sexes(["male", "w", "", "2"]), sexes(["H", "f"]), sexes(["1", "2"], {"1": "M", "2": "F"})
    (['M', 'F', 'unknown', '2'], ['M', 'F'], ['M', 'F'])

    Raises:
        SpeechXAIError: M or F alone beside another letter, which may mean the opposite: M is a woman (mujer) beside H
            (hombre), F a man (férfi) beside N.
    """
    texts = [str(cell).strip() if is_known(cell) else "unknown" for cell in cells]
    stated = {normalize_key(code): sex for code, sex in (codes or {}).items()}
    found = [_sex(text, stated) for text in texts]
    others = sorted({text for text in found if len(text) == 1 and text.isalpha()} - {"F", "M"}, key=str.casefold)
    if {text.casefold() for text in others} == {"h"} and "F" in found and "M" not in found:
        return ["M" if text.casefold() == "h" else text for text in found]
    alone = {"F", "M"} & set(found)
    if others and len(alone) == 1:
        raise SpeechXAIError(
            f"the column 'sex' holds {alone.pop()} and {' and '.join(others)}, which may mean either. Write F and M, or"
            f" say it in the column's name: sex ({others[0]}=F)."
        )
    return found


def _sex(text: str, codes: Mapping[str, str]) -> str:
    if (key := normalize_key(text)) in codes:
        return codes[key]
    # "1 = male", "(F)", "M." and "female (2)" say it in a word; a number beside it adds nothing.
    words = re.findall(r"[^\W\d_]+|[♀♂]", key)
    known = {_SEX_OF[word] for word in words if word in _SEX_OF}
    return known.pop() if len(known) == 1 and len(words) == 1 else text


def number(value: object, name: str) -> float | None:
    """Return a cell of a column of numbers, None where it is not known; 63,5 and "63 years" are numbers.

    >>> number("63,5", "age"), number("63y", "age"), number("NA", "age")
    (63.5, 63.0, None)

    Raises:
        SpeechXAIError: no number, not finite, or outside LIMITS.
    """
    if not is_known(value):
        return None
    found = _NUMBER.fullmatch(unicodedata.normalize("NFKC", str(value)).strip().casefold())
    given = repr(value if len(str(value)) <= 40 else f"{str(value)[:40]}...")
    if found is None or (found.group(2) and not (name == "age" and _YEARS.fullmatch(found.group(2)))):
        raise SpeechXAIError(f"the column '{name}' must hold a number or NA. Got {given} instead.")
    result = float(found.group(1).replace(",", "."))
    low, high, unit = LIMITS.get(name, (0, 1e12, ""))
    if not low <= result <= high:
        raise SpeechXAIError(
            f"the column '{name}' must hold {low:g} to {high:g} {unit}".rstrip()
            + f". Got {given} instead. Write NA where it is not known."
        )
    return result


def person(name: str) -> str:
    """Return what two spellings of one person have in common.

    Case, Unicode form, spaces, leading zeros and the ".0" of a spreadsheet do not count.

    >>> {person(name) for name in ("Subj01", "subj 1", "SUBJ-001", "Ｓｕｂｊ01")}, person("007"), person("7.0")
    ({'subj1'}, '7', '7')
    """
    key = re.sub(r"(?<=\d)\.0+$", "", unicodedata.normalize("NFKC", name).casefold().strip())
    parts = re.findall(r"\d+|[^\d\s_.-]+", key)
    # What stands between a letter and a digit adds nothing; between two numbers it keeps 1-12 from 11-2.
    joined = ""
    for before, part in zip(["", *parts], parts, strict=False):
        joined += " " if before and before.isdigit() == part.isdigit() else ""
        joined += (part.lstrip("0") or "0") if part.isdigit() else part
    return joined or key


def same_person(speakers: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """Return the groups of speakers that differ in spelling alone, each in the order of their first recordings.

    >>> same_person(["s/007", "s/8", "s/7", "s/7.0"])
    (('s/007', 's/7', 's/7.0'),)
    """
    groups: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
    for speaker in dict.fromkeys(speakers):
        dataset, _, name = speaker.rpartition("/")
        groups[dataset.casefold(), person(name)].append(speaker)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def merged(speakers: Sequence[str]) -> list[str]:
    """Return the speakers with one spelling a person: the most frequent, the first of equals."""
    counts = collections.Counter(speakers)
    chosen = {name: max(group, key=counts.__getitem__) for group in same_person(speakers) for name in group}
    return [chosen.get(speaker, speaker) for speaker in speakers]


def not_understood(manifest: pd.DataFrame) -> list[str]:
    """Say which sexes of a manifest are not understood and in how many rows, and which speakers have two."""
    texts = collections.Counter(str(text) for text in manifest["sex"] if text not in ("F", "M", "unknown"))
    said = [
        f"sex: {text!r} in {count} {'row' if count == 1 else 'rows'} is not understood and counts as unknown. Write F"
        " or M, or say it in the column's name: sex (1=M, 2=F)"
        for text, count in texts.items()
    ]
    known = manifest[manifest["sex"].isin(("F", "M"))]
    both = known.groupby("speaker")["sex"].nunique()
    return said + [f"sex: {speaker} is F in some rows and M in others" for speaker in both.index[both > 1]]


def spelled_differently(speakers: Iterable[str]) -> list[str]:
    """Say which speakers may be one person: they differ in spelling alone (`same_person`)."""
    return [f"{', '.join(group)}: one person in {len(group)} spellings?" for group in same_person(speakers)]


def our_columns(headers: Iterable[str]) -> dict[str, str]:
    """Return the name that a column has here, by its header; what has no other name keeps its own, in lower case.

    >>> our_columns(["File", "Gender [m/w]", "age (years)", "UPDRS (III)"])
    {'File': 'file', 'Gender [m/w]': 'sex', 'age (years)': 'age', 'UPDRS (III)': 'updrs (iii)'}

    Raises:
        SpeechXAIError: two columns of one meaning; the message has both names.
    """
    headers = list(headers)
    names = [_plain(header) for header in headers]
    for ours, others in NAMES.items():
        if ours in names:
            continue
        for i, name in enumerate(names):
            base, *rest = re.split(r"[\[({:]", name, maxsplit=1)
            # An age in months is not read as years: the column keeps its name.
            in_years = not rest or re.match(r"(y|yrs?|years?|jahre?)\b", rest[0])
            if base.strip() in (ours, *others) and (ours != "age" or in_years):
                names[i] = ours
    for ours, count in collections.Counter(names).items():
        if count > 1:
            same = [repr(header) for header, name in zip(headers, names, strict=True) if name == ours]
            raise SpeechXAIError(f"the columns {' and '.join(same)} both say the {ours}. Keep one.")
    return dict(zip(headers, names, strict=True))


def _plain(header: str) -> str:
    return re.sub(r"\s+", " ", unicodedata.normalize("NFKC", header)).strip().casefold()


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
    # A column answers to its own name and to ours: "Sex (1=M, 2=F)" is the sex.
    headers = our_columns(frame.columns)
    joined = Joined(sheet, file, {_plain(header): ours for header, ours in headers.items()}, {}, {})
    key_name = joined.column(sheet.key)
    if key_name not in headers.values():
        raise SpeechXAIError(
            f"{root / file}: has no column '{sheet.key}' to join by. Its columns: {', '.join(frame.columns)}."
        )
    rows = joined.rows
    for values in frame.to_numpy().tolist():
        cells = dict(zip(headers.values(), values, strict=True))
        cell = cells[key_name]
        if sheet.key_pattern:
            part = search(sheet.key_pattern, cell)
            cell = part.group(0) if part else ""
        key = normalize_key(cell)
        if not key:
            continue
        if key in rows and rows[key] != cells:
            raise SpeechXAIError(f"{root / file}: '{cell}' stands in two rows that differ. Mend the table.")
        rows[key] = cells
    wanted = joined.column(sheet.columns.get("sex", ""))
    for header, name in headers.items():
        joined.codes.update(sex_codes(header) if name == wanted else {})
    return joined


def lookup(joined: Joined, keys: dict[str, str]) -> dict[str, str] | None:
    """Return the row for a file, whose `keys` are its path, name, stem and speaker; None where there is none."""
    return joined.rows.get(normalize_key(keys[joined.sheet.match]))


def values_of(joined: Joined, row: dict[str, str], said: collections.Counter[str]) -> dict[str, str]:
    """Return manifest columns of a sheet's row, texts translated.

    What the card does not translate stays unknown and is counted in `said`; a sex stays as it is, for `sexes`.
    """
    values: dict[str, str] = {}
    for ours, theirs in joined.sheet.columns.items():
        cell = row.get(joined.column(theirs), "")
        if ours == "sex":
            cell = joined.codes.get(normalize_key(cell), cell)
        translation = {key.casefold(): value for key, value in joined.sheet.values.get(ours, {}).items()}
        if cell.casefold() in translation:
            cell = translation[cell.casefold()]
        elif translation and is_known(cell) and ours != "sex":
            said[f"{ours}: the card does not say what {cell!r} means."] += 1
            continue
        if is_known(cell):
            values[ours] = cell
    return values


# Regular expressions of cards: people's own, and so bounded in what they cost.
MOST_CHARACTERS, MOST_REPEATS, MOST_S = 2_000, 10**5, 0.3
"""Of a pattern: its length, the product of its counted repetitions ({4} and {1,12} make 48), and how long it may look
at one text, s."""


@cache
def compiled(pattern: str) -> Any:
    """Compile a pattern that ignores case.

    The package `regex` reads what `re` reads, looks more cleverly, and stops when it is told.

    Raises:
        ValueError: no regular expression, or one too large.
    """
    braces = re.findall(r"\{[0-9,]+\}", pattern)
    counts = [int(count[:9]) for count in re.findall(r"\d+", " ".join(braces))]
    if len(pattern) > MOST_CHARACTERS or math.prod(max(1, count) for count in counts) > MOST_REPEATS:
        raise ValueError(f"this regular expression is too large: {pattern[:60]}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return regex.compile(pattern, regex.IGNORECASE)
    except (regex.error, RecursionError, ValueError, OverflowError) as error:
        raise ValueError(f"not a regular expression: {error}") from error


def search(pattern: str, text: str, *, whole: bool = False) -> Any:
    """Return the first match of a card's pattern in a text, or of the whole text; None where there is none.

    Raises:
        SpeechXAIError: it takes longer than MOST_S.
    """
    looked = compiled(pattern)
    try:
        return (looked.fullmatch if whole else looked.search)(text, timeout=MOST_S)
    except TimeoutError as error:
        raise SpeechXAIError(
            f"The pattern {pattern!r} of the card takes too long on {text[:80]!r}. A repetition of alternatives that"
            " may mean the same, such as (a|aa)+, has too many ways to fail: write it without."
        ) from error


def _compiles(pattern: str) -> str:
    compiled(pattern)
    return pattern


Pattern = Annotated[str, AfterValidator(_compiles)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


NOT_FROM_A_SHEET = ("recording", "path", "label", "dataset", "sample_rate", "sha256", "classes", "root")


class Sheet(_Part):
    """A metadata table to join: csv, tsv or xlsx found by name anywhere under the root.

    `key` is its column of identifiers (`key_pattern` picks a part of the cell), compared with the file's "path",
    "name", "stem" or "speaker"; `columns` maps columns of the manifest, known ones or of any other name, to its
    columns, `values` translates texts, everything else stays unknown; `only` restricts it to files of one class;
    `others` keeps its other columns under their own names, in lower case.
    """

    files: list[str]
    key: str
    match: Literal["path", "name", "stem", "speaker"] = "stem"
    key_pattern: Pattern = ""
    sheet_name: str | int = 0
    columns: dict[str, str] = {}
    values: dict[str, dict[str, str]] = {}
    only: str = ""
    others: bool = False

    @model_validator(mode="after")
    def _no_fact_of_the_file(self) -> Sheet:
        fixed = [name for name in self.columns if name in NOT_FROM_A_SHEET]
        if fixed:
            raise ValueError(f"columns: '{fixed[0]}' comes from the file or the card, not from a sheet")
        return self
