"""Files written in one step and read with errors that name them."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from speechxai.errors import SpeechXAIError

if TYPE_CHECKING:
    import pandas as pd


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
    """Write `content` beside `path` and move it there in one step: readers see the old file or the new one, never a part."""
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
    """Write a value as readable JSON; what JSON has no type for becomes text, what is not UTF-8 is escaped as JSON does."""
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
