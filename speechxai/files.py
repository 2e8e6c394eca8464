"""Files written in one step and read with errors that name them."""

from __future__ import annotations

import io
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from speechxai.errors import SpeechXAIError

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


def read_json(path: Path) -> dict[str, Any] | None:
    """Content of a JSON file; None where a power loss left it unreadable."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def write_parquet(path: Path, frame: pd.DataFrame) -> None:
    """Write a table as parquet in one step."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    write_atomically(path, buffer.getvalue())


def read_parquet(path: Path) -> pd.DataFrame:
    """Read a parquet table. Raises SpeechXAIError naming the file."""
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise SpeechXAIError(f"{path}: cannot be read: {error}") from error


# Settings as TOML text; the standard library reads TOML but does not write it.
def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        text = repr(value)
        return text if any(mark in text for mark in ".einf") else text + ".0"
    if isinstance(value, str | Path):
        # A JSON string without \u escapes of pairs is a TOML basic string.
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        items = [_value(item) for item in value]
        line = f"[{', '.join(items)}]"
        return line if len(line) <= 100 else "[\n" + "".join(f"    {item},\n" for item in items) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items() if v is not None) + "}"
    raise SpeechXAIError(f"A value of type {type(value).__name__} cannot be written as TOML: {value!r}.")


def _key(key: str) -> str:
    bare = key and all(c.isascii() and (c.isalnum() or c in "_-") for c in key)
    return key if bare else json.dumps(key, ensure_ascii=False)


def to_toml(settings: Mapping[str, Any], comment: str | None = None) -> str:
    """Write nested settings as TOML text; keys whose value is None are left out.

    >>> print(to_toml({"seed": 0, "recipes": ["saliency"], "device": None, "options": {"rise": {"n_masks": 10}}}), end="")
    seed = 0
    recipes = ["saliency"]
    <BLANKLINE>
    [options]
    rise = {n_masks = 10}

    Raises:
        SpeechXAIError: a value that TOML has no type for.
    """
    lines = [f"# {line}" for line in (comment or "").splitlines()]
    lines += [f"{_key(k)} = {_value(v)}" for k, v in settings.items() if v is not None and not isinstance(v, Mapping)]
    for name, table in settings.items():
        if isinstance(table, Mapping):
            lines += ["", f"[{_key(name)}]"] + [f"{_key(k)} = {_value(v)}" for k, v in table.items() if v is not None]
    return "\n".join(lines) + "\n"


# Locks between processes that the operating system lets go of, however their holder ends: none is ever stale.
if sys.platform != "win32":
    import fcntl


@contextmanager
def hold(path: Path) -> Iterator[bool]:
    """Try to hold the lock file `path` while the context lasts; False when another process or thread holds it."""
    if sys.platform == "win32":  # two processes may do the same work twice, with the same result
        yield True
        return
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The former holder removes the file when it is done: a lock on a removed file holds nothing.
            ours = os.fstat(file.fileno()).st_ino == path.stat().st_ino
        except OSError:
            ours = False
        try:
            yield ours
        finally:
            if ours:
                path.unlink(missing_ok=True)


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
    """Whether someone holds the lock file `path` at this moment."""
    if sys.platform == "win32" or not path.exists():
        return False
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return path.exists()
    return False


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
            f"{what} has format {stated}, and this version of speechxai reads up to {newest}. Use the newer version that"
            " wrote it: pip install --upgrade speechxai."
        )
    return stated
