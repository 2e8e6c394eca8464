"""Downloads of open data sets: resumable, compared with the publisher's checksum, moved into place whole."""

from __future__ import annotations

import hashlib
import http.client
import shutil
import stat
import tarfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from speechxai.data.cards import DataCard, FetchFile
from speechxai.errors import SpeechXAIError

Progress = Callable[[str, int, int | None], None]
"""Called with the file name, the bytes there, and the bytes in all (None where the server does not say)."""

_CHUNK_BYTES = 1 << 18
_TIMEOUT_S = 60


@dataclass(frozen=True)
class Fetched:
    """A file that is there now.

    Args:
        name: file name below the root.
        sha256: of its bytes, hexadecimal.
        n_bytes: its size.
        verified: how it was compared: "sha256", "md5", "size" or "nothing".
        resumed_bytes: bytes that an earlier attempt had left.
        unpacked: files unpacked from it.
    """

    name: str
    sha256: str
    n_bytes: int
    verified: str
    resumed_bytes: int = 0
    unpacked: int = 0


def fetch(card: DataCard, root: str | Path, progress: Progress | None = None) -> list[Fetched]:
    """Download every file of an open card into `root` and unpack the archives there.

    Raises:
        SpeechXAIError: a set that is not open (the message says how to obtain it), a download that fails or is cut off
            (running again goes on where it stopped), a file whose checksum or size is wrong, an archive that is not
            safe.
    """
    if not card.fetch:
        how = card.how_to_obtain or "It is not downloaded by speechxai."
        raise SpeechXAIError(
            f"The data set '{card.name}' cannot be fetched ({card.access}; license: {card.license}). {how} Source:"
            f" {card.source}"
        )
    folder = Path(root)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpeechXAIError(
            f"{root}: this folder cannot be made ({error.strerror}). Choose another with --root."
        ) from error
    return [fetch_file(file, folder, progress) for file in card.fetch]


def fetch_file(file: FetchFile, folder: Path, progress: Progress | None = None) -> Fetched:
    """Download one file; a finished one is only compared, a part of an earlier attempt is continued.

    Raises:
        SpeechXAIError: as `fetch`.
    """
    if PurePosixPath(file.name).name != file.name or file.name.startswith("."):
        raise SpeechXAIError(f"{file.name}: the name of a download must be a plain file name.")
    if urllib.parse.urlsplit(file.url).scheme not in ("http", "https"):
        raise SpeechXAIError(f"{file.url}: only http and https addresses are fetched.")
    target, part = folder / file.name, folder / f"{file.name}.part"
    resumed = 0
    if not target.exists():
        resumed = part.stat().st_size if part.exists() else 0
        if file.size_bytes is None or resumed != file.size_bytes:
            resumed = _download(file, part, progress)
        _verify(file, part)
        with _on_disk(target):
            part.replace(target)
    verified = _verify(file, target)
    n_files = unpack(target, folder) if file.unpack else 0
    return Fetched(file.name, _digest(target, "sha256"), target.stat().st_size, verified, resumed, n_files)


def unpack(archive: Path, folder: Path) -> int:
    """Unpack a zip or tar into `folder` and return the number of files.

    Every member is checked before the first is written: names that leave the folder, links and devices are refused.

    Raises:
        SpeechXAIError: an archive that is damaged or not safe; the message names the member.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as packed:
                members = [m for m in packed.infolist() if not m.is_dir()]
                for member in members:
                    _check_member(archive, member.filename, regular=not stat.S_ISLNK(member.external_attr >> 16))
                for member in members:
                    with packed.open(member) as source, _new_file(folder / member.filename) as handle:
                        shutil.copyfileobj(source, handle, _CHUNK_BYTES)
                return len(members)
        if tarfile.is_tarfile(archive):
            with tarfile.open(archive) as packed_tar:
                entries = [m for m in packed_tar.getmembers() if not m.isdir()]
                for entry in entries:
                    _check_member(archive, entry.name, regular=entry.isreg())
                for entry in entries:
                    reader = packed_tar.extractfile(entry)
                    if reader is not None:
                        with reader, _new_file(folder / entry.name) as handle:
                            shutil.copyfileobj(reader, handle, _CHUNK_BYTES)
                return len(entries)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, NotImplementedError) as error:
        raise SpeechXAIError(f"{archive}: cannot be unpacked ({error}). Delete it and fetch it again.") from error
    raise SpeechXAIError(
        f"{archive}: neither a zip nor a tar archive. The address may have answered with a web page; delete the file"
        " and look at it."
    )


def _download(file: FetchFile, part: Path, progress: Progress | None) -> int:
    """Append to `part` what it lacks; return the bytes that were there before."""
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(file.url, headers={"User-Agent": "speechxai"})  # noqa: S310 (scheme checked above)
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
            # A server that ignores the range sends everything again, from the start.
            if start and answer.status != http.client.PARTIAL_CONTENT:
                start = 0
            length = answer.headers.get("Content-Length")
            total = start + int(length) if length else file.size_bytes
            n_bytes = start
            with _on_disk(part), part.open("ab" if start else "wb") as handle:
                for chunk in _chunks(answer):
                    handle.write(chunk)
                    n_bytes += len(chunk)
                    if progress:
                        progress(file.name, n_bytes, total)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            # The part is as long as the file: its checksum decides. A longer one belongs to another file.
            if error.headers.get("Content-Range", "").rpartition("/")[2] in ("", "*", str(start)):
                return start
            part.unlink()
            return _download(file, part, progress)
        raise SpeechXAIError(
            f"{file.url}: the server answers {error.code} {error.reason}. Check the address at the source of the data"
            " set."
        ) from error
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        there = part.stat().st_size if part.exists() else 0
        raise SpeechXAIError(
            f"{file.url}: the download broke off after {there} bytes ({error}). Run the command again: it goes on from"
            " there."
        ) from error
    if total is not None and n_bytes < total:
        raise SpeechXAIError(
            f"{file.url}: truncated: {n_bytes} of {total} bytes came. Run the command again: it goes on from there."
        )
    return start


def _chunks(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            chunk = answer.read(_CHUNK_BYTES)
        except http.client.IncompleteRead as error:
            # What did arrive is kept, so that the next attempt starts behind it.
            if error.partial:
                yield error.partial
            return
        except OSError as error:
            # Told apart from the errors of the disk, which are OSError as well.
            raise http.client.HTTPException(str(error)) from error
        if not chunk:
            return
        yield chunk


def _verify(file: FetchFile, path: Path) -> str:
    """Compare a finished file with what the card knows of it; a wrong part is deleted, a wrong file stays and is
    named."""
    kind, _, expected = file.checksum.partition(":")
    n_bytes = path.stat().st_size
    problem = ""
    if file.size_bytes is not None and n_bytes != file.size_bytes:
        problem = f"has {n_bytes} bytes instead of {file.size_bytes}"
    elif kind:
        found = _digest(path, kind)
        if found != expected:
            problem = f"has the wrong {kind} {found}; the publisher states {expected}"
    if not problem:
        return kind or ("size" if file.size_bytes is not None else "nothing")
    if path.suffix == ".part":
        path.unlink()
        raise SpeechXAIError(
            f"{path.with_suffix('')}: the download {problem}. It was deleted; fetch it again, and if it stays wrong,"
            " ask the publisher: the file may have changed."
        )
    raise SpeechXAIError(f"{path}: this file {problem}. Delete or move it, and fetch it again.")


def _digest(path: Path, kind: str) -> str:
    with path.open("rb") as handle:
        # MD5 serves to compare with what publishers state, not to guard against an attacker.
        return hashlib.file_digest(handle, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()


def _check_member(archive: Path, name: str, *, regular: bool) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise SpeechXAIError(
            f"{archive}: not unpacked: its member '{name}' would be written outside the folder. Do not trust this"
            " archive."
        )
    if not regular:
        raise SpeechXAIError(
            f"{archive}: not unpacked: its member '{name}' is a link or a device. Do not trust this archive."
        )


@contextmanager
def _new_file(path: Path) -> Iterator[IO[bytes]]:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as handle:
        yield handle
    part.replace(path)


@contextmanager
def _on_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SpeechXAIError(
            f"{path}: cannot be written ({error.strerror}). Make room or choose another folder with --root."
        ) from error
