"""Which files are recordings, and opening one: only regular files, with a header that states their length, and a
sentence about all others."""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import soundfile

from speechxai.errors import SpeechXAIError
from speechxai.signal.streams import Stated

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
    """Return the paths of files with one of the endings, relative to `root` with '/', sorted.

    Hidden ones are left out, and so are pipes, devices and sockets, that would be waited for without end.
    """
    base = checked_root(root)
    found = []
    for folder, folders, names in os.walk(base):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
        relative = Path(folder).relative_to(base)
        found += [
            (relative / name).as_posix()
            for name in names
            if not name.startswith(".") and name.lower().endswith(suffixes) and not _is_endless(Path(folder) / name)
        ]
    return sorted(found)


def _is_endless(file: Path) -> bool:
    """Whether this is a pipe, a device or a socket; a link to nothing is not, and named when it is read."""
    try:
        mode = file.stat().st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def check_path(path: str | Path) -> None:
    """Raise SpeechXAIError unless this is a regular file, readable, not empty, and of a name that is read.

    Pipes, devices and sockets are refused without opening them: reading from them can last for ever.
    """
    file = Path(path)
    try:
        found = file.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise SpeechXAIError(f"{path}: no such file{_near(file)}") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise SpeechXAIError(f"{path}: cannot be opened ({why}). Check the path.") from error
    if stat.S_ISDIR(found.st_mode):
        raise SpeechXAIError(
            f"{path}: this is a folder, not a recording. Name a file in it, or import the folder with 'speechxai data"
            " import'."
        )
    if not stat.S_ISREG(found.st_mode):
        raise SpeechXAIError(
            f"{path}: this is a pipe, a device or a socket, not a file. Save the recording in a file first, and name"
            " that."
        )
    if not os.access(file, os.R_OK):
        raise SpeechXAIError(f"{path}: no permission to read this file. Change its permissions.")
    if found.st_size == 0:
        raise SpeechXAIError(f"{path}: the file is empty (0 bytes). Copy or record it again.")
    if file.suffix.lower() in FFMPEG_SUFFIXES:
        raise SpeechXAIError(
            f"{path}: {file.suffix} is not read directly. Convert it first: ffmpeg -i '{file.name}' -ac 1"
            f" '{file.stem}.wav'"
        )


def _near(file: Path) -> str:
    """The end of the sentence about a file that does not exist: what it may have meant."""
    if not file.parent.is_dir():
        return f" (the folder '{file.parent}' does not exist either). Check the path."
    try:
        names = sorted(os.listdir(file.parent))
    except OSError:
        names = []
    close = difflib.get_close_matches(file.name, names, n=1, cutoff=0.6)
    return f". Did you mean '{close[0]}'?" if close else ". Check the path."


def why_unreadable(path: str | Path, problem: str | None = None) -> str:
    """Return the sentence about a file that libsndfile refuses: by its first bytes, or its container's `problem`."""
    with Path(path).open("rb") as handle:
        head = handle.read(512)
    name = Path(path).name
    printable = sum(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head)
    if head[4:8] == b"ftyp" or head[:4] == b"\x1aE\xdf\xa3":
        return (
            f"{path}: this is compressed audio or video under another name. Convert it first: ffmpeg -i '{name}' -ac 1"
            " converted.wav"
        )
    if problem:
        return f"{path}: {problem}"
    if head[:4] == b"NIST":
        return (
            f"{path}: a NIST/SPHERE file in a coding that is not read (shorten, for example). Convert it first:"
            f" sph2pipe -f wav '{name}' converted.wav"
        )
    if head[:4] in (b"RIFF", b"RIFX", b"RF64"):
        return f"{path}: the samples of this wav are in a coding that is not read, or its header is damaged. Convert it first: ffmpeg -i '{name}' converted.wav"
    if printable > 0.95 * len(head):
        return f"{path}: this is text, not audio, whatever its name says. Name the recording itself."
    return (
        f"{path}: not a recording that can be read (wav, flac, ogg, mp3). Convert it first: ffmpeg -i '{name}' -ac 1"
        " converted.wav"
    )


@contextmanager
def opened(path: str | Path, stated: Stated) -> Iterator[soundfile.SoundFile]:
    """Open a file for decoding, with its header corrected in memory where it must be to be read whole.

    Raises:
        soundfile.SoundFileError, RuntimeError, TypeError, OSError: what cannot be opened or decoded.
    """
    if not stated.splices:
        with soundfile.SoundFile(str(path)) as file:
            yield file
        return
    with closing(Corrected(path, stated.splices)) as source, soundfile.SoundFile(source) as file:
        yield file


class Corrected:
    """A file, read only, as if places of it were other bytes: libsndfile reads it like any file.

    Args:
        path: the file, which stays as it is.
        splices: (start, stop, new bytes) as in `Stated`, sorted.
    """

    def __init__(self, path: str | Path, splices: Sequence[tuple[int, int, bytes]]) -> None:
        self._file = Path(path).open("rb")  # noqa: SIM115 - open until close()
        self._at, place, size = 0, 0, Path(path).stat().st_size
        # Each part: length, and either bytes or the place in the file where they are.
        self._parts: list[tuple[int, bytes | int]] = []
        for start, stop, new in (*splices, (size, size, b"")):
            self._parts += [(start - place, place), (len(new), new)]
            place = stop
        self._size = sum(length for length, _ in self._parts)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place, as files do; before the first byte is the first byte."""
        self._at = max(0, (0, self._at, self._size)[whence] + offset)
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, fewer at the end; all that are left for -1."""
        out, begin, left = b"", 0, size if size >= 0 else self._size
        for length, source in self._parts:
            inside = self._at - begin
            n = min(left, length - inside)
            if inside >= 0 and n > 0:
                if isinstance(source, int):
                    self._file.seek(source + inside)
                    piece = self._file.read(n)
                else:
                    piece = source[inside : inside + n]
                out, left, self._at = out + piece, left - len(piece), self._at + len(piece)
            begin += length
        return out
