"""Files written in one step and read with errors that name them."""

from __future__ import annotations

import codecs
import hashlib
import io
import itertools
import json
import os
import re
import stat
import tempfile
import time
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from speechxai.errors import SpeechXAIError, did_you_mean, encodable

if TYPE_CHECKING:
    import pandas as pd


# Files written in one step and read with errors that name them.
@contextmanager
def naming_folder(folder: Path, doing: str) -> Iterator[None]:
    """Turn a failing disk into an error that names the folder and the way on."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise SpeechXAIError(
            f"{folder}: cannot {doing}: {reason}. Make room or choose a writable folder with --out; "
            "a run that has begun continues with 'speechxai evaluate --resume'."
        ) from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` beside `path` and move it there in one step: readers see the old file or the new one, never a
    part."""
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:12]}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def to_json(value: Any) -> bytes:
    """Write a value as readable JSON; what JSON has no type for becomes text, what is not UTF-8 is escaped as JSON
    does."""
    return json.dumps(value, ensure_ascii=False, indent=1, default=str).encode("utf-8", "backslashreplace")


@contextmanager
def reading(path: str | Path) -> Iterator[Path]:
    """Read a regular file in the context, which a library may open. Pipes, devices and sockets are refused unopened:
    reading them can last for ever.

    Raises:
        SpeechXAIError: anything but a regular file that can be read; the message begins with the path.
    """
    file = Path(path)
    try:
        mode = file.stat().st_mode
        if stat.S_ISDIR(mode):
            raise SpeechXAIError(f"{encodable(path)}: this is a folder, and a file is needed here.")
        if not stat.S_ISREG(mode):
            raise SpeechXAIError(f"{encodable(path)}: this is a pipe, a device or a socket, and a file is needed here.")
        yield file
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SpeechXAIError(f"{encodable(path)}: no such file.") from error
    except (OSError, ValueError) as error:
        if isinstance(error, SpeechXAIError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise SpeechXAIError(f"{encodable(path)}: cannot be read ({reason}).") from error


def read_bytes(path: str | Path) -> bytes:
    """Content of a regular file. Raises SpeechXAIError as `reading` does."""
    with reading(path) as file:
        return file.read_bytes()


def check_files(folder: Path) -> None:
    """Check that a folder holds regular files and folders only, for a library that opens whatever stands there.

    Raises:
        SpeechXAIError: as `reading`.
    """
    for path in folder.rglob("*"):
        if not path.is_dir():
            with reading(path):
                pass


def sha256_of(path: str | Path) -> str:
    """Return the sha256 of a regular file's bytes, hexadecimal. Raises SpeechXAIError as `reading` does."""
    with reading(path) as file, file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def read_text(path: str | Path) -> str:
    """Text of a regular file, as `decoded` takes it. Raises SpeechXAIError naming the file."""
    return decoded(read_bytes(path), encodable(path))


def read_json(path: Path) -> dict[str, Any] | None:
    """Content of a JSON file; None where there is none, or a power loss left it unreadable."""
    try:
        content = json.loads(read_bytes(path))
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def to_plain(value: Any) -> Any:
    """Return a value as it comes back from JSON."""
    return json.loads(to_json(value))


def fingerprint(value: Any) -> str:
    """Hash of a value as JSON: 16 hexadecimal digits, the same for values that JSON writes the same."""
    return hashlib.sha256(to_json(value)).hexdigest()[:16]


def sealed(content: Mapping[str, Any], kind: str) -> bytes:
    """Write values as JSON that carries its own hash, `digest`; undone by `read_sealed`.

    Args:
        content: plain values.
        kind: of file, for example "unit": one that stands where another kind belongs does not fit.
    """
    if not content:
        return to_json({"digest": fingerprint([kind, content])})
    body = to_json(content)
    return body.removesuffix(_END) + _SEAL + _seal_of(body, kind).encode() + b'"' + _END


def read_sealed(path: Path, kind: str) -> dict[str, Any] | None:
    """Content of a file that `sealed` made; None where there is none, or a single character of it is another now."""
    try:
        raw = read_bytes(path)
        content = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict):
        return None
    stated = content.pop("digest", None)
    # Read as it stands, without writing the values out again, which takes ten times as long.
    text, seal, rest = raw.rpartition(_SEAL)
    if seal and rest == f'{stated}"'.encode() + _END and stated == _seal_of(text + _END, kind):
        return content
    return content if stated == fingerprint([kind, content]) else None


_SEAL, _END = b',\n "digest": "', b"\n}"


def _seal_of(body: bytes, kind: str) -> str:
    """`fingerprint([kind, content])` of the JSON text of `content`: within a list every line is one step further in."""
    nested = b'[\n "' + kind.encode() + b'",\n ' + body.replace(b"\n", b"\n ") + b"\n]"
    return hashlib.sha256(nested).hexdigest()[:16]


def write_parquet(path: Path, frame: pd.DataFrame) -> None:
    """Write a table as parquet in one step."""
    write_atomically(path, parquet(frame))


def parquet(frame: pd.DataFrame) -> bytes:
    """Write a table as parquet: the bytes of its file."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


def read_parquet(path: Path) -> pd.DataFrame:
    """Read a parquet table. Raises SpeechXAIError naming the file."""
    import pandas as pd

    content = read_bytes(path)
    try:
        return pd.read_parquet(io.BytesIO(content))
    except Exception as error:  # pyarrow has many types of them
        raise SpeechXAIError(f"{encodable(path)}: cannot be read: {' '.join(str(error).split())}") from error


# Tables as CSV, which people open in spreadsheets: a text that a spreadsheet would calculate stays a text.
# Full-width signs count, and a program that separates by semicolon or tab begins another cell after one of these.
_SIGNS = r"=+\-@\uff1d\uff0b\uff0d\uff20"
_FORMULA = re.compile(rf"'*[{_SIGNS}\t\r\n]")
_INNER, _INNER_TAMED = re.compile(rf"([;\t]\s*)('*[{_SIGNS}])"), re.compile(rf"([;\t]\s*)'('*[{_SIGNS}])")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?( \[[\d.,  −-]*\])?")


def csv_cell(value: Any) -> Any:
    """Put an apostrophe before a text that a spreadsheet would take for a formula; numbers stay as they are.

    >>> csv_cell("=1+1"), csv_cell("-voice"), csv_cell("-1.5"), csv_cell("+0.12 [0.05, 0.20]"), csv_cell("a;=1")
    ("'=1+1", "'-voice", '-1.5', '+0.12 [0.05, 0.20]', "a;'=1")
    """
    if not isinstance(value, str):
        return value
    tamed = _INNER.sub(r"\1'\2", value)
    return f"'{tamed}" if _FORMULA.match(value) and not _NUMBER.fullmatch(value) else tamed


def from_csv_cell(value: Any) -> Any:
    """Undo `csv_cell`."""
    if not isinstance(value, str):
        return value
    bare = value[1:] if value[:1] == "'" and _FORMULA.match(value) else value
    return _INNER_TAMED.sub(r"\1\2", bare)


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Write rows as comma-separated values, the texts as `csv_cell` has them."""
    import csv

    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([csv_cell(value) for value in row] for row in rows)
    return out.getvalue()


CSV_ROWS = 200_000
"""Rows of a table that are written as CSV at once: a large one as text takes more memory than as numbers."""


def csv_table(frame: pd.DataFrame, na: str = "") -> bytes:
    """Write a table as CSV, texts as `csv_cell` has them: the bytes of its file. `na` stands for what is unknown."""
    quick = [_csv_texts(column, na) for _, column in frame.items()]
    if len(frame) and len(quick) > 1 and all(texts is not None for texts in quick):
        parts = [",".join(_csv_quoted(csv_cell(str(name))) for name in frame.columns).encode() + b"\n"]
        lines = map(",".join, zip(*quick, strict=True))
        while some := list(itertools.islice(lines, CSV_ROWS)):
            parts.append("".join(f"{line}\n" for line in some).encode("utf-8", "backslashreplace"))
        return b"".join(parts)
    texts = {
        name: column.map(csv_cell) if column.dtype.kind not in "biuf" else column for name, column in frame.items()
    }
    written = frame.assign(**{str(name): column for name, column in texts.items()})
    written.columns = [csv_cell(name) for name in written.columns]
    return written.to_csv(index=False, na_rep=na, lineterminator="\n").encode("utf-8", "backslashreplace")


def _csv_texts(column: pd.Series[Any], na: str) -> Iterator[str] | None:
    """Cells of a column of categories or numbers, a tenth of the time that pandas takes; None for other columns."""
    kind = str(column.dtype)
    if kind == "category":
        names = [*(_csv_quoted(str(csv_cell(name))) for name in column.cat.categories), _csv_quoted(na)]
        return (names[code] for code in column.cat.codes.to_numpy().data)
    if kind == "float64":
        return (na if value != value else repr(value) for value in column.to_numpy().data)
    if kind == "int64":
        return map(str, column.to_numpy().data)
    if kind == "Int64":
        known = column.notna().to_numpy()
        return (str(v) if there else na for v, there in zip(column.to_numpy("int64", na_value=0), known, strict=True))
    return None


def _csv_quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(sign in text for sign in ',"\r\n') else text


def read_csv(path: Path) -> pd.DataFrame:
    """Read a table that `csv_table` wrote. Raises SpeechXAIError naming the file."""
    import pandas as pd

    content = read_bytes(path)
    try:
        frame = pd.read_csv(io.BytesIO(content), keep_default_na=True)
    except (ValueError, pd.errors.ParserError) as error:
        raise SpeechXAIError(f"{encodable(path)}: cannot be read: {' '.join(str(error).split())}.") from error
    return from_csv_cells(frame)


def from_csv_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Undo `csv_cell` for the texts of a table and the names of its columns."""
    for name in frame.columns:
        if frame[name].dtype.kind not in "biufM":
            frame[name] = frame[name].map(from_csv_cell)
    frame.columns = [from_csv_cell(name) for name in frame.columns]
    return frame


# Where something is to be written, checked before long work.
def check_out(out: Path, kind: Literal["file", "folder"] = "folder", overwrite: bool = False) -> None:
    """Check that a file or folder can be written. A file that is there is kept unless `overwrite`.

    Raises:
        SpeechXAIError: no name, something else of that name, or a place that cannot be written.
    """
    name = encodable(out)
    if out.name in ("", "..") and kind == "file":
        raise SpeechXAIError(f"{name}: this names no file. Give --out, for example --out results.csv.")
    if os.path.lexists(out):
        if kind == "folder" and not out.is_dir():
            raise SpeechXAIError(f"{name}: this is a file, and a folder is needed. Choose another place with --out.")
        if kind == "file" and out.is_dir():
            raise SpeechXAIError(f"{name}: this is a folder, and a file is needed. Choose another place with --out.")
        if kind == "file" and not out.is_file():
            raise SpeechXAIError(f"{name}: this is no regular file. Choose another place with --out.")
        if kind == "file" and not overwrite:
            raise SpeechXAIError(
                f"{name}: there is such a file already. Choose another name with --out, or replace it with --overwrite."
            )
    place = next((path for path in (out.absolute(), *out.absolute().parents) if os.path.lexists(path)), Path.cwd())
    if place.is_file():
        place = place.parent if place == out.absolute() else place
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise SpeechXAIError(
            f"{name}: cannot be written ({error.strerror}: {place}). Choose a writable place with --out."
        ) from error


def check_apart(out: Path, sources: Iterable[str | Path]) -> None:
    """Check that results are not written into folders that hold what they are made from, nor the other way round.

    Raises:
        SpeechXAIError: `out` is inside one of the folders, or one of them is inside `out`.
    """
    one = Path(os.path.abspath(out))
    for source in dict.fromkeys(map(os.path.abspath, sources)):
        if one.is_relative_to(source) or Path(source).is_relative_to(one):
            raise SpeechXAIError(
                f"{encodable(out)}: results do not go where they are made from ({encodable(source)}): one would be"
                " taken for the other. Choose a folder beside it with --out."
            )


EXPLANATION, WHATIF = "explanation.json", "whatif.json"
"""A folder that holds one of them holds an answer about a recording: its sounds are changed ones and no recordings."""


# Text of people's files, whatever program wrote it.
def decoded(content: bytes, name: object) -> str:
    """Return the text of a file: UTF-8, UTF-16 and UTF-32 with or without a mark, otherwise Windows-1252.

    >>> decoded("Muñoz".encode("cp1252"), "a.csv"), decoded("ab".encode("utf-16-le"), "a.csv")
    ('Muñoz', 'ab')

    Args:
        content: the bytes.
        name: begins the message of an error.

    Raises:
        SpeechXAIError: bytes that are no text, or in another encoding.
    """
    encoding = next((encoding for mark, encoding in _MARKS if content.startswith(mark)), "")
    if not encoding:
        # Without a mark, every other byte of UTF-16 is 0 where the text is Latin.
        even, odd = content[0::2].count(0), content[1::2].count(0)
        half = len(content) // 2
        guess = "utf-16-le" if odd > 0.4 * half > even else "utf-16-be" if even > 0.4 * half > odd else "utf-8"
        encoding = guess if len(content) % 2 == 0 else "utf-8"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise SpeechXAIError(
                f"{name}: begins as {encoding.upper()} and is damaged ({error.reason}). Save it again, as UTF-8."
            ) from error
        loose = content.decode("utf-8", "replace")
        n_bad, n_good = loose.count("\ufffd"), sum(ord(c) > 127 and c != "\ufffd" for c in loose)
        if n_good and n_good >= n_bad:
            raise SpeechXAIError(
                f"{name}: text in UTF-8 that is damaged at byte {error.start}. Save it again, as UTF-8."
            ) from error
        text = "" if set(content) & _NOT_IN_1252 else content.decode("cp1252")
        if not text or _NOT_1252.search(text):
            raise SpeechXAIError(
                f"{name}: text that is neither UTF-8 nor Windows-1252, from a Macintosh of old or in an encoding of"
                " another script: names would be read wrong. Save it again, as UTF-8."
            ) from error
    if "\0" in text:
        raise SpeechXAIError(f"{name}: holds NUL bytes, so it is no text, or damaged. Save it again, as UTF-8.")
    return text


_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NOT_IN_1252 = frozenset(b"\x81\x8d\x8f\x90\x9d")
"""Bytes that Windows-1252 leaves open; other encodings have letters there."""
_NOT_1252 = re.compile(r"(?<=[^\W\d_])[†‡•‰§¶©®¯±¸ˆ˜¢£¥¦¬](?=[^\W\d_])|(?<=[a-z])[ŠŒŽŸ]|(?<=\w)[ŠŒŽŸ](?=[a-z])")
"""Signs inside a word, capitals after small letters: what letters of Mac Roman look like when they are read so."""


# Settings as TOML text.
def read_toml(path: str | Path) -> dict[str, Any]:
    """Read settings from a TOML file. Raises SpeechXAIError naming the file."""
    text = read_text(path)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # not TOML, a number of 5,000 digits, brackets without end
        raise SpeechXAIError(f"{encodable(path)}: not valid TOML: {error}") from error


def without_paths(value: Any) -> Any:
    """Nested settings as others may see them: an absolute path becomes its last name.

    >>> without_paths({"data": "/home/me/voices.csv", "seed": 0, "own": ["/home/me/net.py:make", "saliency"]})
    {'data': 'voices.csv', 'seed': 0, 'own': ['net.py:make', 'saliency']}
    """
    if isinstance(value, Mapping):
        return {key: without_paths(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(each) for each in value]
    return Path(value).name if isinstance(value, str | Path) and Path(value).is_absolute() else value


def to_toml(settings: Mapping[str, Any]) -> str:
    """Write nested settings as TOML text; keys whose value is None are left out, paths become text.

    >>> print(to_toml({"seed": 0, "device": None, "options": {"rise": {"n_masks": 10}}}), end="")
    seed = 0
    <BLANKLINE>
    [options.rise]
    n_masks = 10

    Raises:
        SpeechXAIError: a value that TOML has no type for.
    """
    import tomli_w

    return tomli_w.dumps(_for_toml(settings))


def _for_toml(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _for_toml(each) for key, each in value.items() if each is not None}
    if isinstance(value, list | tuple):
        return [_for_toml(each) for each in value]
    if isinstance(value, str | Path):
        if encodable(value) != str(value):
            raise SpeechXAIError(
                f"{encodable(value)}: this name is not UTF-8, and no file of settings can keep it. Rename it."
            )
        return str(value)
    if not isinstance(value, bool | int | float):
        raise SpeechXAIError(f"A value of type {type(value).__name__} cannot be written as TOML: {value!r}.")
    return value


# Locks between processes that the operating system lets go of, however their holder ends: none is ever stale.
@contextmanager
def hold(path: Path) -> Iterator[bool]:
    """Try to hold the lock file `path` while the context lasts; False when another process or thread holds it.

    Raises:
        OSError: the file cannot be made.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        # While it is ours: whoever opened the removed file meanwhile sees that it has no name, and takes a new one.
        # Windows removes no open file; there filelock does when it lets go.
        with suppress(OSError):
            path.unlink()
        lock.release()


@contextmanager
def wait_for(path: Path, patience_s: float = 600.0) -> Iterator[None]:
    """Hold the lock file `path` while the context lasts, after whoever holds it now.

    Raises:
        TimeoutError: somebody held it for longer than `patience_s`.
    """
    deadline = time.monotonic() + patience_s
    while True:
        with hold(path) as ours:
            if ours:
                yield
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path}: held by another process for more than {patience_s:g} s")
        time.sleep(0.05)


def is_held(path: Path) -> bool:
    """Whether someone holds the lock file `path` at this moment. What a killed process left behind is removed."""
    if not path.exists():
        return False
    try:
        with hold(path) as ours:
            return not ours
    except OSError:  # a folder that we may not write in
        return path.exists()


def cache_folder() -> Path:
    """Return the user's folder for results that can be computed again: SPEECHXAI_CACHE, or the system's own place."""
    import platformdirs

    stated = os.environ.get("SPEECHXAI_CACHE")
    return Path(stated) if stated else platformdirs.user_cache_path("speechxai", appauthor=False)


# Where the files that are not Python live: beside the checkout's package, or inside the installed one.
def resource_folder(name: Literal["data_cards", "models", "app"]) -> Path:
    """Return the folder `name`: `speechxai/_data/<name>` in an installed wheel, `<checkout>/<name>` in a checkout.

    Raises:
        SpeechXAIError: neither exists, so the installation is incomplete.
    """
    package = Path(__file__).resolve().parent
    installed = package / "_data" / name
    if installed.is_dir():
        return installed
    # A wheel's neighbor folders in site-packages belong to others: only a checkout has a pyproject beside the package.
    checkout = package.parent / name
    if checkout.is_dir() and (package.parent / "pyproject.toml").is_file():
        return checkout
    raise SpeechXAIError(f"{installed}: the folder '{name}' of speechxai is missing. Install speechxai again.")


_CONFIGS = Path(__file__).resolve().parent / "configs"


def config_names() -> list[str]:
    """Return the names of the configurations that ship with the package, of evaluations and of trainings, sorted."""
    return sorted(path.stem for path in _CONFIGS.glob("*.toml"))


def config_path(name_or_path: str | Path) -> Path:
    """Return the TOML file of a configuration: your own by its path, one that ships by its name.

    Raises:
        SpeechXAIError: neither a file nor a known name.
    """
    path, name = Path(name_or_path), str(name_or_path)
    if path.suffix == ".toml" or path.is_file():
        return path
    if name not in config_names():
        raise SpeechXAIError(f"{name}: no such file. {did_you_mean(name, config_names(), 'configuration')}")
    return _CONFIGS / f"{name}.toml"


def known_format(stated: object, newest: int, what: str) -> int:
    """Format version of a file or folder: what it states, 1 where it states none.

    Args:
        stated: what stands there, None for nothing.
        newest: the latest version that this program writes.
        what: begins the message, for example "runs/first: this run".

    Raises:
        SpeechXAIError: a newer version, or no version at all.
    """
    if stated is None:
        return 1
    if not isinstance(stated, int) or isinstance(stated, bool) or stated < 1:
        raise SpeechXAIError(f"{what} states the format {stated!r}, which is no version. Formats are 1 to {newest}.")
    if stated > newest:
        raise SpeechXAIError(
            f"{what} has format {stated}, and this version of speechxai reads up to {newest}. Use the newer version"
            " that wrote it ('speechxai env' says which one this is)."
        )
    return stated
