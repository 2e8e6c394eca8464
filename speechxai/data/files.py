"""Which files of a folder are recordings."""

from __future__ import annotations

import os
from pathlib import Path

from speechxai.errors import SpeechXAIError

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".w64", ".rf64", ".caf")
"""File name endings that are read."""

FFMPEG_SUFFIXES = (".m4a", ".aac", ".mp4", ".wma", ".amr", ".3gp", ".webm", ".mov", ".mkv")
"""File name endings of formats that must be converted first."""


NOT_UTF8 = "its name, or that of a folder above it, is not UTF-8, and no table can hold it: rename it"
"""Why a file is refused whose name `errors.encodable` would change."""


def checked_root(root: str | Path) -> Path:
    """Return `root` as a path. Raises SpeechXAIError where it is no folder."""
    folder = Path(root)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise SpeechXAIError(f"{root}: this folder {what}. Name the folder that holds the recordings with --root.")
    return folder


def files_under(root: str | Path, suffixes: tuple[str, ...] = AUDIO_SUFFIXES) -> list[str]:
    """Return the paths of files with one of the endings, relative to `root` with '/', sorted; hidden ones are left out."""
    base = checked_root(root)
    found = []
    for folder, folders, names in os.walk(base):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
        relative = Path(folder).relative_to(base)
        found += [
            (relative / name).as_posix()
            for name in names
            if not name.startswith(".") and name.lower().endswith(suffixes)
        ]
    return sorted(found)
