"""Downloads of open data sets: resumable, bounded, compared with the publisher's checksum, moved into place whole.

Nothing that a server or an archive says is believed without a bound: lengths, ranges, chunks, names, sizes.
"""

from __future__ import annotations

import filecmp
import gzip
import hashlib
import http.client
import json
import lzma
import queue
import re
import shutil
import stat
import tarfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from bz2 import BZ2File
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from speechxai.data.cards import DataCard, FetchFile
from speechxai.data.manifest import SALT_FILE
from speechxai.errors import SpeechXAIError, told
from speechxai.files import read_bytes, reading

Progress = Callable[[str, int, int | None], None]
"""Called with the file name, the bytes there, and the bytes in all (None where the server does not say)."""

_CHUNK_BYTES = 1 << 18
_TIMEOUT_S = 60.0
_SLOWEST_BYTES_PER_S = 1_000
"""A server is given up that sends nothing for _TIMEOUT_S, or less than this over as long."""

_MOST_BYTES = 50 * 10**9
"""Of a file whose length nobody states."""

_EXPANSION, _ALWAYS_BYTES, _MOST_MEMBERS = 100, 10**8, 10**6
"""Bounds of an archive: it may unpack to so many times its own size, and to so many bytes in any case."""

_SPARE_BYTES = 10**8
"""Left free on the disk."""


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
    names = [file.name.casefold() for file in card.fetch]
    if twice := [name for name in names if names.count(name) > 1]:
        raise SpeechXAIError(f"The card '{card.name}' fetches two files named '{twice[0]}'. Rename one of them.")
    folder = Path(root)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpeechXAIError(
            f"{root}: this folder cannot be made ({error.strerror}). Choose another with --root."
        ) from error
    return [fetch_file(file, folder, progress, reserved=names) for file in card.fetch]


def fetch_file(
    file: FetchFile, folder: Path, progress: Progress | None = None, *, reserved: Collection[str] = ()
) -> Fetched:
    """Download one file; a finished one is only compared, a part of an earlier attempt is continued.

    Args:
        file: its address and what the card knows of it.
        folder: where it goes.
        progress: see Progress.
        reserved: names of other downloads, which no archive may hold.

    Raises:
        SpeechXAIError: as `fetch`.
    """
    plain = PurePosixPath(file.name.replace("\\", "/")).name == file.name and "\0" not in file.name
    if not plain or not file.name or file.name.startswith(".") or file.name.endswith((".part", ".from")):
        raise SpeechXAIError(f"{file.name}: the name of a download must be a plain file name.")
    _check_scheme(file.url)
    target, part = folder / file.name, folder / f"{file.name}.part"
    for place in (target, part, _source(part)):
        if place.exists() and not place.is_file():
            raise SpeechXAIError(f"{place}: this is no file, and stands where the download goes. Move it away.")
    resumed = 0
    if not target.exists():
        with _on_disk(part):
            resumed = part.stat().st_size if part.exists() else 0
        if file.size_bytes is None or resumed != file.size_bytes:
            resumed = _download(file, part, progress)
        _verify(file, part)
        with _on_disk(target):
            part.replace(target)
            _source(part).unlink(missing_ok=True)
    verified = _verify(file, target)
    n_files = unpack(target, folder, (*reserved, file.name)) if file.unpack else 0
    return Fetched(file.name, _digest(target, "sha256"), target.stat().st_size, verified, resumed, n_files)


# The network: one thread reads, the other decides and writes. So nothing that a server does, or leaves undone, can hold
# the program: reading from a socket has no bound on its whole time.
@dataclass(frozen=True)
class _Answer:
    """Head of an answer: status, headers, whether it comes in chunks, and whether its end can be told from a broken
    connection."""

    status: int
    headers: Any
    chunked: bool
    ends: bool


def _receive(request: urllib.request.Request, put: Callable[[object], None], given_up: threading.Event) -> None:
    """Hand on the answer's head, its chunks, and None at its end, or the error that ended it."""
    try:
        with urllib.request.build_opener(_Redirects).open(request, timeout=_TIMEOUT_S) as answer:
            left = None if answer.chunked else answer.length
            put(_Answer(answer.status, answer.headers, answer.chunked, answer.chunked or left is not None))
            # `read1` gives what is there; a connection that ends too early ends it without a word.
            while left != 0 and not given_up.is_set() and (chunk := answer.read1(_CHUNK_BYTES)):
                left = None if left is None else left - len(chunk)
                put(chunk)
            put(None)
    except Exception as error:
        put(error)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirections to other web addresses, never from an encrypted one to one that is not."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """Check the address, then follow."""
        _check_scheme(newurl)
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise SpeechXAIError(f"{req.full_url}: redirected to {newurl}, which is not encrypted. Do not trust it.")
        return super().redirect_request(req, fp, code, msg, headers, newurl)

    def http_error_302(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        """Follow, or close the connection."""
        try:
            return super().http_error_302(req, fp, code, msg, headers)
        except SpeechXAIError:
            fp.close()
            raise
        except ValueError as error:  # the standard library's words for an address that is none
            fp.close()
            raise SpeechXAIError(
                f"{req.full_url}: redirected to an address that is none ({error}). Check the address at the source of"
                " the data set."
            ) from error

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


class _BrokenOff(Exception):
    """A connection that ended or was given up; no OSError, for those are the disk's."""


def _events(request: urllib.request.Request) -> Generator[Any]:
    """What `_receive` hands on, in time.

    Raises:
        urllib.error.HTTPError, SpeechXAIError: an answer that is no file, an address that is not followed.
        _BrokenOff: anything else, and when nothing came for too long, or too little.
    """
    events: queue.Queue[object] = queue.Queue(maxsize=8)
    given_up = threading.Event()

    def put(event: object) -> None:
        while not given_up.is_set():
            with suppress(queue.Full):
                events.put(event, timeout=0.1)
                return

    threading.Thread(target=_receive, args=(request, put, given_up), daemon=True).start()
    since, n_bytes = time.monotonic(), 0
    try:
        while True:
            try:
                event = events.get(timeout=_TIMEOUT_S)
            except queue.Empty:
                raise _BrokenOff(f"nothing came for {_TIMEOUT_S:g} s") from None
            if isinstance(event, urllib.error.HTTPError | SpeechXAIError):
                raise event
            if isinstance(event, Exception):
                raise _BrokenOff(told(event)) from event
            if event is None:
                return
            n_bytes += len(event) if isinstance(event, bytes) else 0
            passed = time.monotonic() - since
            if passed >= _TIMEOUT_S:
                if n_bytes < _SLOWEST_BYTES_PER_S * passed:
                    raise _BrokenOff(f"only {n_bytes} bytes came in {passed:.0f} s")
                since, n_bytes = time.monotonic(), 0
            yield event
    finally:
        given_up.set()


def _check_scheme(url: str) -> None:
    try:
        scheme = urllib.parse.urlsplit(url).scheme
    except ValueError as error:
        raise SpeechXAIError(f"{url}: this is no web address ({error}).") from error
    if scheme not in ("http", "https"):
        raise SpeechXAIError(f"{url}: only http and https addresses are fetched.")


def _download(file: FetchFile, part: Path, progress: Progress | None) -> int:
    """Append to `part` what it lacks; return the bytes that were there before."""
    start = part.stat().st_size if part.exists() else 0
    # Where no checksum will decide, what is there must come from the same version of the same file.
    before = _read_source(part)
    if not file.checksum and before.get("url") != file.url:
        start = 0
    request = urllib.request.Request(file.url, headers={"User-Agent": "speechxai"})  # noqa: S310 (scheme checked above)
    if start:
        request.add_header("Range", f"bytes={start}-")
        if before.get("etag"):
            request.add_header("If-Range", before["etag"])
    n_bytes, answer = start, None
    try:
        with closing(_events(request)) as events:
            answer = next(events)
            # A server that ignores the range, or whose file is another one now, sends everything from the start.
            if start and answer.status != http.client.PARTIAL_CONTENT:
                start = n_bytes = 0
            total = _promised(file, answer, start, before)
            if total == _OTHER:
                _drop(part)
                return _download(file, part, progress)
            most = _MOST_BYTES if total is None else total
            _check_room(file.url, part.parent, (total or 0) - start)
            etag = answer.headers.get("ETag") or ""
            strong = etag if etag.startswith('"') else ""
            with _on_disk(part), part.open("ab" if start else "wb") as handle:
                _source(part).write_text(json.dumps({"url": file.url, "etag": strong, "total": total}), "utf-8")
                for chunk in events:
                    n_bytes += len(chunk)
                    if n_bytes > most:
                        break
                    handle.write(chunk)
                    if progress:
                        progress(file.name, n_bytes, total)
    except urllib.error.HTTPError as error:
        with error:
            status, stated = error.code, error.headers.get("Content-Range") or ""
            reason = " ".join(str(error.reason).split())
        if status == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            # The part is as long as the file: its checksum decides. A longer one belongs to another file.
            if stated.rpartition("/")[2] in ("", "*", str(start)):
                return start
            _drop(part)
            return _download(file, part, progress)
        raise SpeechXAIError(
            f"{file.url}: the server answers {status} {reason}. Check the address at the source of the data set."
        ) from error
    except _BrokenOff as error:
        if answer is not None and answer.chunked:
            _drop(part)  # where a chunk's length was wrong, what was taken for the file may be the frame around it
        there = part.stat().st_size if part.exists() else 0
        raise SpeechXAIError(
            f"{file.url}: the download broke off after {n_bytes} bytes ({error}). Run the command again"
            + (": it goes on from there." if there else ".")
        ) from error
    if n_bytes > most:
        _drop(part)
        raise SpeechXAIError(
            f"{file.url}: the server sends more than the {most} bytes that were promised. Nothing is kept. Check the"
            " address at the source of the data set."
        )
    if total is not None and n_bytes < total:
        raise SpeechXAIError(
            f"{file.url}: truncated: {n_bytes} of {total} bytes came. Run the command again: it goes on from there."
        )
    if not n_bytes:
        _drop(part)
        raise SpeechXAIError(f"{file.url}: the server sends nothing. Check the address at the source of the data set.")
    if total is None and not answer.ends and not file.checksum:
        _drop(part)
        raise SpeechXAIError(
            f"{file.url}: neither the server nor the card states how long {file.name} is, so a cut file could not be"
            " told from a whole one. Download it by hand, or state its size_bytes or checksum in the card."
        )
    return start


_OTHER = -1
"""The answer belongs to another range or another version of the file than what is there."""


def _promised(file: FetchFile, answer: _Answer, start: int, before: dict[str, Any]) -> int | None:
    """How long the whole file will be, None where nobody states it; _OTHER for a range that was not asked for.

    Raises:
        SpeechXAIError: an answer that cannot be this file.
    """
    wrong = "Check the address at the source of the data set."
    if answer.status not in (http.client.OK, http.client.PARTIAL_CONTENT):
        raise SpeechXAIError(f"{file.url}: the server answers {answer.status}, which is no file. {wrong}")
    coding = (answer.headers.get("Content-Encoding") or "identity").strip().lower()
    # Many servers call a .gz file, which is sent as it is, encoded.
    if coding != "identity" and not (coding in ("gzip", "x-gzip") and file.name.lower().endswith((".gz", ".tgz"))):
        raise SpeechXAIError(f"{file.url}: the server sends it encoded ({coding!r}), which was not asked for. {wrong}")
    lengths = {text.strip() for text in answer.headers.get_all("Content-Length", [])}
    if len(lengths) > 1 or not all(re.fullmatch(r"[0-9]{1,15}", text) for text in lengths):
        raise SpeechXAIError(
            f"{file.url}: the server states the length {' and '.join(sorted(lengths))[:60]!r}, which is none. {wrong}"
        )
    length = int(lengths.pop()) if lengths else None
    total = None if length is None else start + length
    if answer.status == http.client.PARTIAL_CONTENT:
        stated = re.fullmatch(
            r"bytes ([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15}|\*)", (answer.headers.get("Content-Range") or "").strip()
        )
        if not start:
            raise SpeechXAIError(f"{file.url}: the server sends a part though the whole was asked for. {wrong}")
        first, last, whole = stated.groups() if stated else ("", "", "")
        if not stated or int(first) != start or (whole != "*" and int(last) + 1 != int(whole)):
            return _OTHER
        if whole != "*":
            if (total is not None and total != int(whole)) or before.get("total") not in (None, int(whole)):
                return _OTHER
            total = int(whole)
    if total is not None and file.size_bytes is not None and total != file.size_bytes:
        raise SpeechXAIError(
            f"{file.url}: the server offers {total} bytes, and the card states {file.size_bytes}. The publisher may"
            f" have changed the file. {wrong}"
        )
    return total if total is not None else file.size_bytes


def _check_room(what: object, folder: Path, n_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if n_bytes > free - _SPARE_BYTES:
        raise SpeechXAIError(
            f"{what}: needs {n_bytes} bytes, and {folder} has {free} free. Make room or choose another folder with"
            " --root."
        )


def _source(part: Path) -> Path:
    """Where it is noted which version of which file a part is of."""
    return part.with_name(f"{part.name.removesuffix('.part')}.from")


def _read_source(part: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_bytes(_source(part)))
    except (OSError, ValueError, RecursionError):
        return {}
    kept = {"url": str, "etag": str, "total": int}
    return {key: found[key] for key in kept if isinstance(found, dict) and isinstance(found.get(key), kept[key])}


def _drop(part: Path) -> None:
    for file in (part, _source(part)):
        with suppress(OSError):
            file.unlink()


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
        _drop(path)
        raise SpeechXAIError(
            f"{path.with_suffix('')}: the download {problem}. It was deleted; fetch it again, and if it stays wrong,"
            " ask the publisher: the file may have changed."
        )
    raise SpeechXAIError(f"{path}: this file {problem}. Delete or move it, and fetch it again.")


def _digest(path: Path, kind: str) -> str:
    with reading(path), path.open("rb") as handle:
        # MD5 serves to compare with what publishers state, not to guard against an attacker.
        return hashlib.file_digest(handle, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()


# Archives.
@dataclass(frozen=True)
class _Member:
    """A file in an archive: its name there, its size, whether it is one, and how it is opened."""

    name: str
    n_bytes: int
    regular: bool
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, folder: Path, reserved: Collection[str] = ()) -> int:
    """Unpack a zip or tar into `folder` and return the number of files.

    Every member is checked before the first is written, and all are written aside and whole before the first is moved
    into place: names that leave the folder, links, devices, secrets of ours, members of one name, more bytes than the
    archive can hold, checksums that are wrong, and files that are there already and differ. Hidden files of the
    publisher's computer are left out.

    Args:
        archive: the file.
        folder: where its members go.
        reserved: names at the top of the folder that belong to downloads.

    Raises:
        SpeechXAIError: an archive that is damaged or not safe; the message names the member.
    """
    aside = folder / f".{archive.name}.unpacking"
    try:
        with _members(archive) as members:
            wanted = _checked(archive, members, {SALT_FILE, *(name.casefold() for name in reserved)})
            _check_room(archive, folder, sum(member.n_bytes for _, member in wanted))
            shutil.rmtree(aside, ignore_errors=True)
            for path, member in wanted:
                _write(archive, aside / path, member)
        paths = [path for path, _ in wanted]
        new = [path for path in paths if not _is_there(archive, folder, path, aside / path)]
        for path in new:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (aside / path).replace(folder / path)
        return len(paths)
    except SpeechXAIError:
        raise
    except Exception as error:  # damage shows in any layer: zip, tar, deflate, bzip2, xz, names, the disk
        raise SpeechXAIError(f"{archive}: cannot be unpacked ({told(error)}). Delete it and fetch it again.") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def _members(archive: Path) -> Iterator[list[_Member]]:
    """Files of a zip or tar, directories left out."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            infos = [info for info in packed.infolist() if not info.is_dir()]
            if locked := [info.filename for info in infos if info.flag_bits & 1]:
                raise SpeechXAIError(
                    f"{archive}: its member '{locked[0]}' is encrypted. Unpack it by hand with the publisher's"
                    " password."
                )
            # Python ends a name at its first NUL byte: it would be unpacked as another than it has.
            if cut := [info.filename for info in infos if "\0" in info.orig_filename]:
                raise SpeechXAIError(
                    f"{archive}: the name of its member '{cut[0]}' holds a NUL byte. It is not unpacked."
                )
            yield [
                _Member(
                    info.filename,
                    info.file_size,
                    stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG),
                    partial(packed.open, info),
                )
                for info in infos
            ]
        return
    _check_stream(archive)
    try:
        packed_tar = tarfile.open(archive)  # noqa: SIM115 (closed below; its own errors are told apart)
    except tarfile.ReadError as error:
        raise SpeechXAIError(
            f"{archive}: neither a zip nor a tar archive. The address may have answered with a web page; delete the"
            " file and look at it."
        ) from error
    with packed_tar:
        entries = [entry for entry in packed_tar.getmembers() if not entry.isdir()]
        yield [
            _Member(
                entry.name,
                entry.size,
                entry.isreg() and not entry.issparse(),
                partial(packed_tar.extractfile, entry),
            )
            for entry in entries
        ]


def _check_stream(archive: Path) -> None:
    """Read a compressed tar to its end, where its checksum stands, which reading its members never reaches.

    Raises:
        SpeechXAIError: a stream that is damaged, cut off, or of more bytes than it can honestly hold.
    """
    openers: dict[bytes, Callable[[Path], Any]] = {
        b"\x1f\x8b": gzip.open,
        b"BZh": BZ2File,
        b"\xfd7zXZ": lzma.open,
    }
    with archive.open("rb") as handle:
        head = handle.read(6)
    opener = next((opener for mark, opener in openers.items() if head.startswith(mark)), None)
    if opener is None:
        return
    n_bytes, most = 0, _most_bytes(archive)
    with opener(archive) as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            n_bytes += len(chunk)
            if n_bytes > most:
                raise _bomb(archive, most)


def _most_bytes(archive: Path) -> int:
    return _ALWAYS_BYTES + _EXPANSION * archive.stat().st_size


def _bomb(archive: Path, most: int) -> SpeechXAIError:
    return SpeechXAIError(
        f"{archive}: not unpacked: it would become more than {most} bytes, more than recordings can. Do not trust this"
        " archive."
    )


def _checked(archive: Path, members: list[_Member], reserved: set[str]) -> list[tuple[Path, _Member]]:
    """Members with their paths below the folder. Raises SpeechXAIError where one of them is not safe."""
    most = _most_bytes(archive)
    if len(members) > _MOST_MEMBERS or sum(member.n_bytes for member in members) > most:
        raise _bomb(archive, most)
    wanted: dict[str, tuple[Path, _Member]] = {}
    for member in members:

        def refuse(why: str, name: str = member.name) -> SpeechXAIError:
            return SpeechXAIError(f"{archive}: not unpacked: its member '{name}' {why}. Do not trust this archive.")

        path = PurePosixPath(member.name.replace("\\", "/"))
        if path.is_absolute() or not path.parts or ".." in path.parts or ":" in path.parts[0]:
            raise refuse("would be written outside the folder")
        if not member.regular or member.n_bytes < 0:
            raise refuse("is a link or a device")
        top = path.as_posix().casefold()
        if path.name.casefold() == SALT_FILE or re.sub(r"\.(part|from)$", "", top) in reserved:
            raise refuse("has the name of a file of this program or of a download")
        if any(name.startswith(".") or name == "__MACOSX" for name in path.parts):
            continue
        key = path.as_posix().casefold()
        if key in wanted:
            raise refuse("is there twice")
        wanted[key] = (Path(*path.parts), member)
    return list(wanted.values())


def _write(archive: Path, target: Path, member: _Member) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source = member.open()
    if source is None:
        raise SpeechXAIError(f"{archive}: its member '{member.name}' cannot be read. Delete it and fetch it again.")
    with source, target.open("xb") as handle:
        shutil.copyfileobj(source, handle, _CHUNK_BYTES)
    if target.stat().st_size != member.n_bytes:
        raise SpeechXAIError(
            f"{archive}: its member '{member.name}' has {target.stat().st_size} of {member.n_bytes} bytes. Delete it"
            " and fetch it again."
        )


def _is_there(archive: Path, folder: Path, path: Path, unpacked: Path) -> bool:
    """Whether a member's file is there with the same bytes. Raises SpeechXAIError where another one is."""
    target = folder / path
    if not target.parent.resolve().is_relative_to(folder.resolve()):
        raise SpeechXAIError(f"{archive}: not unpacked: '{path.parent}' is a link out of {folder}. Move it away.")
    if not target.exists() and not target.is_symlink():
        return False
    if target.is_file() and not target.is_symlink() and filecmp.cmp(target, unpacked, shallow=False):
        return True
    raise SpeechXAIError(
        f"{target}: is there already, and is not what {archive.name} holds under this name. Move it away, and fetch"
        " again."
    )


@contextmanager
def _on_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SpeechXAIError(
            f"{path}: cannot be written ({error.strerror}). Make room or choose another folder with --root."
        ) from error
