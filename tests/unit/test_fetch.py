"""Downloads against a server on this machine: whole, cut off, continued, wrong, and unsafe archives."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO

import pytest

from speechxai.data import fetch as fetching
from speechxai.data.cards import FetchFile, card_names, load_card
from speechxai.data.fetch import fetch, fetch_file, unpack
from speechxai.errors import SpeechXAIError

BODY = bytes(range(256)) * 4_000  # 1,024,000 bytes
SHA256 = "sha256:" + hashlib.sha256(BODY).hexdigest()
MD5 = "md5:" + hashlib.md5(BODY).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves BODY under any path; `cut` bytes of it before the connection drops, `ranges` honored or not.

    `raw` writes the whole answer instead, given the range that was asked for.
    """

    raw: Callable[[IO[bytes], str | None], None] | None = None
    etag = ""
    cut: int | None = None
    ranges = True
    stated = True
    status = 200
    body = BODY

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append(wanted)
        if server.raw is not None:
            with suppress(OSError):
                server.raw(self.wfile, wanted)
            return
        if server.etag and self.headers.get("If-Range", server.etag) != server.etag:
            wanted = None
        if server.status != 200:
            self.send_error(server.status)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and server.ranges else 0
        if start and start >= len(server.body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.body)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.body) - 1}/{len(server.body)}")
        if server.etag:
            self.send_header("ETag", server.etag)
        if server.stated:
            self.send_header("Content-Length", str(len(server.body) - start))
        self.end_headers()
        end = len(server.body) if server.cut is None else min(len(server.body), start + server.cut)
        self.wfile.write(server.body[start:end])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


def file(server: Server, name: str = "set.bin", **facts: object) -> FetchFile:
    return FetchFile.model_validate({"url": f"http://127.0.0.1:{server.server_port}/{name}", "name": name, **facts})


@pytest.mark.parametrize(("checksum", "verified"), [(SHA256, "sha256"), (MD5, "md5"), ("", "size")])
def test_a_whole_download(server: Server, tmp_path: Path, checksum: str, verified: str) -> None:
    steps: list[tuple[str, int, int | None]] = []
    done = fetch_file(file(server, checksum=checksum, size_bytes=len(BODY)), tmp_path, lambda *step: steps.append(step))
    assert (tmp_path / "set.bin").read_bytes() == BODY
    assert [path.name for path in tmp_path.iterdir()] == ["set.bin"]
    assert (done.verified, done.n_bytes, done.resumed_bytes, done.sha256) == (verified, len(BODY), 0, SHA256[7:])
    assert steps[-1] == ("set.bin", len(BODY), len(BODY))
    assert [step[1] for step in steps] == sorted(step[1] for step in steps)


def test_what_is_there_is_not_downloaded_again(server: Server, tmp_path: Path) -> None:
    for _ in range(2):
        fetch_file(file(server, checksum=SHA256), tmp_path)
    assert len(server.asked) == 1


@pytest.mark.parametrize("checksum", [SHA256, ""])
@pytest.mark.parametrize("came", [300_000, len(BODY) - 1])
def test_a_truncated_download_goes_on_where_it_stopped(
    server: Server, tmp_path: Path, came: int, checksum: str
) -> None:
    server.cut = came
    wanted = file(server, checksum=checksum)
    with pytest.raises(SpeechXAIError, match=rf"truncated: {came} of 1024000 bytes came\. Run the command again"):
        fetch_file(wanted, tmp_path)
    assert not (tmp_path / "set.bin").exists()
    assert (tmp_path / "set.bin.part").stat().st_size == came
    server.cut = None
    done = fetch_file(wanted, tmp_path)
    assert server.asked == [None, f"bytes={came}-"]
    assert done.resumed_bytes == came
    assert (tmp_path / "set.bin").read_bytes() == BODY


def test_a_server_without_ranges_sends_everything_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.bin.part").write_bytes(b"old" * 1_000)
    server.ranges = False
    assert fetch_file(file(server, checksum=SHA256), tmp_path).resumed_bytes == 0
    assert (tmp_path / "set.bin").read_bytes() == BODY


def test_a_truncation_that_the_server_does_not_state_is_seen_by_size_or_checksum(
    server: Server, tmp_path: Path
) -> None:
    server.stated, server.cut = False, 1_000
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^http://.*/set\.bin: truncated: 1000 of 1024000 bytes came\. Run the command again: it goes "
            r"on from there\.$"
        ),
    ):
        fetch_file(file(server, size_bytes=len(BODY)), tmp_path)
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"/b\.bin: the download has the wrong sha256 .*; the publisher states .*\. It was deleted; "
            r"fetch it again, and if it stays wrong, ask the publisher: the file may have changed\.$"
        ),
    ):
        fetch_file(file(server, name="b.bin", checksum=SHA256), tmp_path)


def test_a_wrong_hash_is_named_and_the_download_deleted(server: Server, tmp_path: Path) -> None:
    server.body = BODY[:-1] + b"\0"
    with pytest.raises(SpeechXAIError) as error:
        fetch_file(file(server, checksum=SHA256), tmp_path)
    assert str(error.value).startswith(f"{tmp_path / 'set.bin'}: the download has the wrong sha256 ")
    assert SHA256[7:] in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_file_that_is_there_is_named_and_kept(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.bin").write_bytes(b"mine")
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"/set\.bin: this file has the wrong sha256 .*; the publisher states .*\. Delete or move it, "
            r"and fetch it again\.$"
        ),
    ):
        fetch_file(file(server, checksum=SHA256), tmp_path)
    assert (tmp_path / "set.bin").read_bytes() == b"mine"
    assert server.asked == []


def test_a_part_that_is_whole_is_only_checked(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.bin.part").write_bytes(BODY)
    assert fetch_file(file(server, checksum=SHA256), tmp_path).verified == "sha256"
    assert (tmp_path / "set.bin").read_bytes() == BODY


def test_a_part_longer_than_the_file_is_dropped(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.bin.part").write_bytes(BODY + b"more")
    fetch_file(file(server, checksum=SHA256), tmp_path)
    assert (tmp_path / "set.bin").read_bytes() == BODY


def test_answers_and_connections_that_fail(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^http://.*/set\.bin: the server answers 404 Not Found\. Check the address at the source of "
            r"the data set\.$"
        ),
    ):
        fetch_file(file(server), tmp_path)
    gone = FetchFile(url="http://127.0.0.1:1/x", name="x")
    with pytest.raises(SpeechXAIError, match=r"http://127\.0\.0\.1:1/x: the download broke off after 0 bytes"):
        fetch_file(gone, tmp_path)
    for url in ("file:///etc/passwd", "ftp://x/y"):
        with pytest.raises(SpeechXAIError, match="only http and https"):
            fetch_file(FetchFile(url=url, name="x"), tmp_path)
    with pytest.raises(SpeechXAIError, match=r"^\.\./x: the name of a download must be a plain file name\.$"):
        fetch_file(FetchFile(url="http://127.0.0.1:1/x", name="../x"), tmp_path)


def zip_of(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as packed:
        for name, data in members.items():
            packed.writestr(name, data)
    return stream.getvalue()


def test_a_fetched_archive_is_unpacked(server: Server, tmp_path: Path) -> None:
    server.body = zip_of({"HC/a.wav": b"1", "PD/b.wav": b"2"})
    done = fetch_file(file(server, name="set.zip", unpack=True), tmp_path / ".")
    assert (done.unpacked, done.verified) == (2, "nothing")
    assert (tmp_path / "HC" / "a.wav").read_bytes() == b"1"
    assert (tmp_path / "PD" / "b.wav").read_bytes() == b"2"


@pytest.mark.parametrize("name", ["../evil.wav", "/evil.wav", "a/../../evil.wav", "..\\evil.wav", "C:/evil.wav"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_archives_that_leave_their_folder_are_refused_whole(tmp_path: Path, name: str, kind: str) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    archive = folder / f"x.{kind}"
    if kind == "zip":
        archive.write_bytes(zip_of({"good.wav": b"1", name: b"2"}))
    else:
        with tarfile.open(archive, "w") as packed:
            for member in ("good.wav", name):
                entry = tarfile.TarInfo(member)
                entry.size = 1
                packed.addfile(entry, io.BytesIO(b"1"))
    with pytest.raises(SpeechXAIError, match="outside the folder"):
        unpack(archive, folder)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [archive.name]


def test_links_in_archives_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as packed:
        entry = tarfile.TarInfo("link.wav")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        packed.addfile(entry)
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"/x\.tar\.gz: not unpacked: its member 'link\.wav' is a link or a device\. Do not trust this "
            r"archive\.$"
        ),
    ):
        unpack(tmp_path / "x.tar.gz", tmp_path)
    link = zipfile.ZipInfo("link.wav")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as packed_zip:
        packed_zip.writestr(link, "/etc/passwd")
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"/x\.zip: not unpacked: its member 'link\.wav' is a link or a device\. Do not trust this "
            r"archive\.$"
        ),
    ):
        unpack(tmp_path / "x.zip", tmp_path)


def test_a_tar_is_unpacked_and_other_files_are_named(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as packed:
        entry = tarfile.TarInfo("a/b.flac")
        entry.size = 3
        packed.addfile(entry, io.BytesIO(b"abc"))
    assert unpack(tmp_path / "x.tar.gz", tmp_path) == 1
    assert (tmp_path / "a/b.flac").read_bytes() == b"abc"
    (tmp_path / "page.zip").write_text("<html>sign in</html>")
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"/page\.zip: neither a zip nor a tar archive\. The address may have answered with a web "
            r"page; delete the file and look at it\.$"
        ),
    ):
        unpack(tmp_path / "page.zip", tmp_path)
    damaged = bytearray(zip_of({"a.wav": b"1" * 10_000}))
    damaged[100:200] = bytes(100)
    (tmp_path / "bad.zip").write_bytes(bytes(damaged))
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"/bad\.zip: cannot be unpacked \(BadZipFile: Bad CRC-32 for file 'a\.wav'\)\. Delete it and "
            r"fetch it again\.$"
        ),
    ):
        unpack(tmp_path / "bad.zip", tmp_path)


@pytest.mark.parametrize("name", ["pc-gita", "neurovoz", "ipvs", "folder"])
def test_sets_that_are_not_open_say_how_to_get_them(tmp_path: Path, name: str) -> None:
    with pytest.raises(SpeechXAIError) as error:
        fetch(load_card(name), tmp_path / "x")
    assert load_card(name).how_to_obtain in str(error.value)
    assert load_card(name).license in str(error.value)
    assert not (tmp_path / "x").exists()


def test_a_whole_card_from_the_server(server: Server, tmp_path: Path) -> None:
    server.body = zip_of({"ReadText/HC/ID00_hc_0_0_0.wav": b"1"})
    card = load_card("mdvr-kcl")
    local = file(server, name="a.zip", unpack=True, checksum="sha256:" + hashlib.sha256(server.body).hexdigest())
    done = fetch(card.model_copy(update={"fetch": [local]}), tmp_path / "new" / "folder")
    assert done[0].verified == "sha256"
    assert (tmp_path / "new/folder/ReadText/HC/ID00_hc_0_0_0.wav").exists()


def test_open_cards_name_addresses_that_are_encrypted() -> None:
    files = [entry for name in card_names() for entry in load_card(name).fetch]
    assert len(files) >= 5
    assert all(entry.url.startswith("https://") for entry in files)


# --- a server that lies, stalls or never stops ----------------------------------------------------------------------


def head(*lines: str, status: str = "200 OK") -> bytes:
    return "\r\n".join((f"HTTP/1.1 {status}", "Connection: close", *lines, "", "")).encode("latin-1")


def sends(*parts: bytes, pause_s: float = 0.0, times: int = 1) -> Callable[[IO[bytes], str | None], None]:
    def raw(out: IO[bytes], _: str | None) -> None:
        for part in parts:
            out.write(part)
        for _again in range(times - 1):
            time.sleep(pause_s)
            out.write(parts[-1])
            out.flush()

    return raw


CHUNKED = head("Transfer-Encoding: chunked")
WRONG = {
    # broken chunking
    "a chunk's length is no number": sends(CHUNKED, b"zz\r\nabc\r\n0\r\n\r\n"),
    "a chunk's length is negative": sends(CHUNKED, b"-5\r\nabc\r\n0\r\n\r\n"),
    "a chunk is cut": sends(CHUNKED, b"10\r\nabc"),
    "the last chunk is missing": sends(CHUNKED, b"3\r\nabc\r\n"),
    "a chunk's length never ends": sends(CHUNKED, b"0" * 100_000),
    # lengths
    "a negative length": sends(head("Content-Length: -5"), b"abc"),
    "a length that is no number": sends(head("Content-Length: many"), b"abc"),
    "a length of 5,000 digits": sends(head("Content-Length: " + "9" * 5_000), b"abc"),
    "a length beyond every disk": sends(head("Content-Length: 999999999999999"), b"abc"),
    "two lengths": sends(head("Content-Length: 3", "Content-Length: 4"), b"abcd"),
    "less than the length": sends(head("Content-Length: 10"), b"abc"),
    "no length, no checksum": sends(head(), b"abc"),
    "nothing at all": sends(head("Content-Length: 0")),
    # ranges, codings, statuses
    "a part that was not asked for": sends(
        head("Content-Length: 3", "Content-Range: bytes 5-7/8", status="206 Partial Content"), b"abc"
    ),
    "an encoding that was not asked for": sends(
        head("Content-Length: 23", "Content-Encoding: gzip"), gzip.compress(b"abc")
    ),
    "an empty answer by status": sends(head(status="204 No Content")),
    "no http": sends(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "endless headers": sends(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1_000),
    "a redirection to a file": sends(head("Location: file:///etc/passwd", status="302 Found")),
    "a redirection to ftp": sends(head("Location: ftp://127.0.0.1/x", status="302 Found")),
    "a redirection to itself": sends(head("Location: /again", status="302 Found")),
    "a redirection to nowhere": sends(head("Location: http://[::1", status="302 Found")),
}


@pytest.mark.parametrize("raw", WRONG.values(), ids=WRONG)
def test_a_wrong_answer_is_one_line_and_no_file(
    server: Server, tmp_path: Path, raw: Callable[[IO[bytes], str | None], None]
) -> None:
    server.raw = raw
    with pytest.raises(SpeechXAIError) as error:
        fetch_file(file(server), tmp_path)
    assert str(error.value).startswith(("http://127.0.0.1:", "file://", "ftp://", "http://[::1"))
    assert "\n" not in str(error.value)
    # What to do stands in every message.
    assert re.search(
        r"Check the address|Run the command again|Make room|by hand|only http and https|no web", str(error.value)
    )
    assert not (tmp_path / "set.bin").exists()
    # What a broken frame of chunks held is not continued.
    assert raw is not WRONG["a chunk's length is negative"] or list(tmp_path.iterdir()) == []


def test_more_than_was_promised_is_not_written(server: Server, tmp_path: Path) -> None:
    # A byte more than the card states.
    server.raw = sends(CHUNKED, b"3e9\r\n" + bytes(1_001) + b"\r\n0\r\n\r\n")
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^http://.*/set\.bin: the server sends more than the 1000 bytes that were promised\. Nothing "
            r"is kept\. Check the address at the source of the data set\.$"
        ),
    ):
        fetch_file(file(server, size_bytes=1_000), tmp_path)
    # Chunked, so that no length stops it: a megabyte where the card states 1,000 bytes.
    server.raw = sends(CHUNKED, b"%x\r\n" % (1 << 20) + bytes(1 << 20) + b"\r\n", times=50)
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^http://.*/set\.bin: the server sends more than the 1000 bytes that were promised\. Nothing "
            r"is kept\. Check the address at the source of the data set\.$"
        ),
    ):
        fetch_file(file(server, size_bytes=1_000), tmp_path)
    server.raw = sends(head("Content-Length: 1048576"), bytes(1 << 20))
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^http://.*/set\.bin: the server offers 1048576 bytes, and the card states 1000\. The "
            r"publisher may have changed the file\. Check the address at the source of the data set\.$"
        ),
    ):
        fetch_file(file(server, size_bytes=1_000), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_whose_length_nobody_states_is_bounded_too(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_MOST_BYTES", 10_000)
    server.raw = sends(head(), bytes(1 << 20))
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^http://.*/set\.bin: the server sends more than the 10000 bytes that were promised\. "
            r"Nothing is kept\. Check the address at the source of the data set\.$"
        ),
    ):
        fetch_file(file(server, checksum=SHA256), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "raw",
    [
        lambda out, _: time.sleep(3),
        sends(b"H", pause_s=0.02, times=150),
        sends(head("Content-Length: 1024000"), b"a", pause_s=0.02, times=150),
        sends(CHUNKED, b"1\r\na\r\n", pause_s=0.02, times=150),
        sends(head("Content-Length: 1024000"), b"a"),
    ],
    ids=["silence", "the head drips", "the body drips", "chunks drip", "it stops in the middle"],
)
def test_a_server_that_stalls_or_drips_is_given_up(
    server: Server, tmp_path: Path, raw: Callable[[IO[bytes], str | None], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_TIMEOUT_S", 0.4)
    server.raw = raw
    since = time.monotonic()
    with pytest.raises(SpeechXAIError, match=r"(broke off after|truncated).* Run the command again"):
        fetch_file(file(server), tmp_path)
    assert time.monotonic() - since < 2
    assert not (tmp_path / "set.bin").exists()


@pytest.mark.parametrize("checksum", [SHA256, ""])
@pytest.mark.parametrize(
    "stated",
    [
        "bytes 0-999999/1024000",
        "bytes 5-1023999/1024000",
        "bytes 300001-1024000/1024001",
        "bytes 300000-400000/1024000",
        "bytes x",
        "octets 3",
    ],
)
def test_a_wrong_range_is_never_put_behind_what_is_there(
    server: Server, tmp_path: Path, stated: str, checksum: str
) -> None:
    server.cut = 300_000
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^http://.*/set\.bin: truncated: 300000 of 1024000 bytes came\. Run the command again: it "
            r"goes on from there\.$"
        ),
    ):
        fetch_file(file(server, checksum=checksum), tmp_path)
    good = head("Content-Length: 1024000")
    length = len(BODY) - 300_000

    def raw(out: IO[bytes], wanted: str | None) -> None:
        if wanted is None:
            out.write(good + BODY)
        else:
            lines = (f"Content-Range: {stated}", f"Content-Length: {length}")
            out.write(head(*lines, status="206 Partial Content") + BODY[:length])

    server.raw = raw
    fetch_file(file(server, checksum=checksum), tmp_path)
    assert server.asked == [None, "bytes=300000-", None]
    assert (tmp_path / "set.bin").read_bytes() == BODY
    assert [path.name for path in tmp_path.iterdir()] == ["set.bin"]


def test_parts_of_two_versions_are_not_joined(server: Server, tmp_path: Path) -> None:
    server.cut, server.etag = 300_000, '"one"'
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^http://.*/set\.bin: truncated: 300000 of 1024000 bytes came\. Run the command again: it "
            r"goes on from there\.$"
        ),
    ):
        fetch_file(file(server), tmp_path)
    server.cut, server.etag, server.body = None, '"two"', bytes(len(BODY))
    assert fetch_file(file(server), tmp_path).resumed_bytes == 0
    assert (tmp_path / "set.bin").read_bytes() == bytes(len(BODY))
    # Without a mark of the version, the length tells; a part of another address is not continued.
    server.etag, server.cut = "", 300_000
    for name in ("b.bin", "c.bin"):
        with pytest.raises(SpeechXAIError, match="truncated"):
            fetch_file(file(server, name=name), tmp_path)
    server.cut, server.body = None, BODY + b"more"
    assert fetch_file(file(server, name="b.bin"), tmp_path).n_bytes == len(BODY) + 4
    assert (tmp_path / "b.bin").read_bytes() == BODY + b"more"
    other = file(server, name="c.bin").model_copy(update={"url": f"http://127.0.0.1:{server.server_port}/other"})
    assert fetch_file(other, tmp_path).resumed_bytes == 0


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", ".hidden", "a\0b", "x.part", "x.from"])
def test_a_download_has_a_plain_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(SpeechXAIError, match="must be a plain file name"):
        fetch_file(FetchFile(url="http://127.0.0.1:1/x", name=name), tmp_path)


def test_a_folder_in_the_way_and_two_files_of_one_name(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.bin").mkdir()
    with pytest.raises(
        SpeechXAIError, match=(r"/set\.bin: this is no file, and stands where the download goes\. Move it away\.$")
    ):
        fetch_file(file(server), tmp_path)
    (tmp_path / "b.bin.part").mkdir()
    with pytest.raises(
        SpeechXAIError, match=(r"/b\.bin\.part: this is no file, and stands where the download goes\. Move it away\.$")
    ):
        fetch_file(file(server, name="b.bin"), tmp_path)
    twice = load_card("mdvr-kcl").model_copy(update={"fetch": [file(server, name="A.zip"), file(server, name="a.zip")]})
    with pytest.raises(
        SpeechXAIError, match=(r"^The card 'mdvr-kcl' fetches two files named 'a\.zip'\. Rename one of them\.$")
    ):
        fetch(twice, tmp_path)
    for url in ("http://", "http://[::1", "http://a b/", "http://127.0.0.1:port/", "http://é.invalid/ü"):
        with pytest.raises(SpeechXAIError):
            fetch_file(FetchFile(url=url, name="x"), tmp_path)


def test_a_gz_file_that_the_server_calls_encoded_is_kept_as_it_is(server: Server, tmp_path: Path) -> None:
    packed = gzip.compress(b"abc")
    server.raw = sends(head(f"Content-Length: {len(packed)}", "Content-Encoding: x-gzip"), packed)
    fetch_file(file(server, name="a.tar.gz"), tmp_path)
    assert (tmp_path / "a.tar.gz").read_bytes() == packed


# --- archives that lie ----------------------------------------------------------------------------------------------


def tar_of(members: dict[str, bytes], mode: str = "w") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as packed:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            packed.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


def encrypted_zip() -> bytes:
    """A zip whose members say that they are encrypted, in both places."""
    packed = bytearray(zip_of({"a.wav": b"12345678901234567890"}))
    packed[6] |= 1
    packed[packed.index(b"PK\1\2") + 8] |= 1
    return bytes(packed)


def damaged(packed: bytes, place: int, value: int = 0xFF) -> bytes:
    changed = bytearray(packed)
    changed[place] ^= value
    return bytes(changed)


VOICE = hashlib.sha256(b"voice").digest() * 3_000
GZ = tar_of({"a/b.wav": VOICE}, "w:gz")
ZEROS = bytes(5_000_000)
ARCHIVES: dict[str, Callable[[], tuple[bytes, str]]] = {
    "a salt": lambda: (
        zip_of({"HC/a.wav": b"1", ".speechxai-salt": bytes(32)}),
        "has the name of a file of this program",
    ),
    "a salt below": lambda: (zip_of({"HC/.SPEECHXAI-salt": bytes(32)}), "has the name of a file of this program"),
    "a salt in a tar": lambda: (tar_of({"./.speechxai-salt": bytes(32)}), "has the name of a file of this program"),
    "itself": lambda: (zip_of({"X.zip": b"1"}), "or of a download"),
    "its own part": lambda: (zip_of({"x.zip.part": b"1"}), "or of a download"),
    "the next download": lambda: (tar_of({"./next.zip": b"1"}), "or of a download"),
    "a file that is there": lambda: (zip_of({"new.wav": b"1", "mine.wav": b"2"}), "is there already, and is not what"),
    "a name twice": lambda: (tar_of({"a.wav": b"1", "./A.wav": b"2"}), "is there twice"),
    "a file that is a folder": lambda: (tar_of({"a": b"1", "a/b.wav": b"2"}), "cannot be unpacked"),
    "a name of nothing": lambda: (zip_of({".": b"1"}), "outside the folder"),
    "encryption": lambda: (encrypted_zip(), "is encrypted. Unpack it by hand"),
    "a NUL in a name": lambda: (zip_of({"x_y.wav": b"1"}).replace(b"x_y.wav", b"x\0y.wav"), "holds a NUL byte"),
    "a gzip checksum": lambda: (damaged(GZ, -6), "cannot be unpacked"),
    "a gzip length": lambda: (damaged(GZ, -2), "cannot be unpacked"),
    "a gzip cut in its last bytes": lambda: (GZ[:-5], "cannot be unpacked"),
    "a gzip damaged inside": lambda: (damaged(GZ, len(GZ) // 2), "cannot be unpacked"),
    "an xz damaged inside": lambda: (damaged(tar_of({"a": VOICE}, "w:xz"), -12), "cannot be unpacked"),
    "a bzip2 damaged inside": lambda: (damaged(tar_of({"a": VOICE}, "w:bz2"), 40), "cannot be unpacked"),
    "a tar that is cut": lambda: (tar_of({"a": VOICE, "b": VOICE})[:60_000], "cannot be unpacked"),
    "a zip with a wrong checksum": lambda: (damaged(zip_of({"a": VOICE}), 100), "cannot be unpacked"),
    "a zip that is a bomb": lambda: (zip_of({"a.wav": ZEROS}, zipfile.ZIP_DEFLATED), "more than recordings can"),
    "a tar that is a bomb": lambda: (gzip.compress(ZEROS), "more than recordings can"),
    "a sparse tar": lambda: (sparse_tar(), "more than recordings can"),
    "gzip of no tar": lambda: (gzip.compress(b"abc"), "neither a zip nor a tar"),
}


def sparse_tar() -> bytes:
    """A tar of a kilobyte whose member says that it has 8 GB of holes."""
    entry = tarfile.TarInfo("a.wav")
    entry.type = tarfile.GNUTYPE_SPARSE
    block = bytearray(entry.tobuf(tarfile.GNU_FORMAT))
    block[386:482] = bytes(96)
    block[483:495] = b"77777777777\0"
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + bytes(1_024)


@pytest.mark.parametrize("kind", ARCHIVES)
def test_an_archive_that_is_not_safe_or_damaged_leaves_nothing(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_ALWAYS_BYTES", 100_000)
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "mine.wav").write_bytes(b"mine")
    content, words = ARCHIVES[kind]()
    archive = folder / "x.zip"
    archive.write_bytes(content)
    since = time.monotonic()
    with pytest.raises(SpeechXAIError) as error:
        unpack(archive, folder, ("x.zip", "next.zip"))
    assert words in str(error.value)
    assert str(error.value).startswith(str(folder))
    assert time.monotonic() - since < 5
    assert {path.name: path.read_bytes() for path in folder.rglob("*") if path != archive} == {"mine.wav": b"mine"}
    assert archive.read_bytes() == content


def test_a_link_in_the_folder_leads_nowhere_else(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "HC").symlink_to(tmp_path)
    (folder / "x.zip").write_bytes(zip_of({"HC/a.wav": b"1"}))
    with pytest.raises(SpeechXAIError, match=r"/x\.zip: not unpacked: 'HC' is a link out of .*\. Move it away\.$"):
        unpack(folder / "x.zip", folder)
    assert not (tmp_path / "a.wav").exists()


def test_a_second_time_nothing_changes_and_hidden_files_are_left_out(tmp_path: Path) -> None:
    members = {"HC/a.wav": b"1", "HC/.DS_Store": b"2", "__MACOSX/HC/._a.wav": b"3", "._x.wav": b"4"}
    (tmp_path / "x.zip").write_bytes(zip_of(members))
    assert unpack(tmp_path / "x.zip", tmp_path) == 1
    before = (tmp_path / "HC" / "a.wav").stat().st_mtime_ns
    assert unpack(tmp_path / "x.zip", tmp_path) == 1
    assert (tmp_path / "HC" / "a.wav").stat().st_mtime_ns == before
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["HC", "a.wav", "x.zip"]


def test_an_archive_that_the_disk_cannot_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.zip").write_bytes(zip_of({"a.wav": b"1"}))
    monkeypatch.setattr(fetching, "_SPARE_BYTES", 1 << 62)
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"/x\.zip: needs 1 bytes, and .* has .* free\. Make room or choose another folder with "
            r"--root\.$"
        ),
    ):
        unpack(tmp_path / "x.zip", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]
