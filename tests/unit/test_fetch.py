"""Downloads against a server on this machine: whole, cut off, continued, wrong, and unsafe archives."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from speechxai.data.cards import FetchFile, card_names, load_card
from speechxai.data.fetch import fetch, fetch_file, unpack
from speechxai.errors import SpeechXAIError

BODY = bytes(range(256)) * 4_000  # 1,024,000 bytes
SHA256 = "sha256:" + hashlib.sha256(BODY).hexdigest()
MD5 = "md5:" + hashlib.md5(BODY).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves BODY under any path; `cut` bytes of it before the connection drops, `ranges` honored or not."""

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
def test_a_truncated_download_goes_on_where_it_stopped(server: Server, tmp_path: Path, checksum: str) -> None:
    server.cut = 300_000
    wanted = file(server, checksum=checksum)
    with pytest.raises(SpeechXAIError, match=r"truncated: 300000 of 1024000 bytes came\. Run the command again"):
        fetch_file(wanted, tmp_path)
    assert not (tmp_path / "set.bin").exists()
    assert (tmp_path / "set.bin.part").stat().st_size == 300_000
    server.cut = None
    done = fetch_file(wanted, tmp_path)
    assert server.asked == [None, "bytes=300000-"]
    assert done.resumed_bytes == 300_000
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
    with pytest.raises(SpeechXAIError, match="truncated: 1000 of 1024000"):
        fetch_file(file(server, size_bytes=len(BODY)), tmp_path)
    with pytest.raises(SpeechXAIError, match="has the wrong sha256"):
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
    with pytest.raises(SpeechXAIError, match=r"has the wrong sha256 .* Delete or move it"):
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
    with pytest.raises(SpeechXAIError, match="the server answers 404 Not Found"):
        fetch_file(file(server), tmp_path)
    gone = FetchFile(url="http://127.0.0.1:1/x", name="x")
    with pytest.raises(SpeechXAIError, match=r"http://127\.0\.0\.1:1/x: the download broke off after 0 bytes"):
        fetch_file(gone, tmp_path)
    for url in ("file:///etc/passwd", "ftp://x/y"):
        with pytest.raises(SpeechXAIError, match="only http and https"):
            fetch_file(FetchFile(url=url, name="x"), tmp_path)
    with pytest.raises(SpeechXAIError, match="plain file name"):
        fetch_file(FetchFile(url="http://127.0.0.1:1/x", name="../x"), tmp_path)


def zip_of(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
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
    with pytest.raises(SpeechXAIError, match="is a link or a device"):
        unpack(tmp_path / "x.tar.gz", tmp_path)
    link = zipfile.ZipInfo("link.wav")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as packed_zip:
        packed_zip.writestr(link, "/etc/passwd")
    with pytest.raises(SpeechXAIError, match="is a link or a device"):
        unpack(tmp_path / "x.zip", tmp_path)


def test_a_tar_is_unpacked_and_other_files_are_named(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as packed:
        entry = tarfile.TarInfo("a/b.flac")
        entry.size = 3
        packed.addfile(entry, io.BytesIO(b"abc"))
    assert unpack(tmp_path / "x.tar.gz", tmp_path) == 1
    assert (tmp_path / "a/b.flac").read_bytes() == b"abc"
    (tmp_path / "page.zip").write_text("<html>sign in</html>")
    with pytest.raises(SpeechXAIError, match="neither a zip nor a tar"):
        unpack(tmp_path / "page.zip", tmp_path)
    damaged = bytearray(zip_of({"a.wav": b"1" * 10_000}))
    damaged[100:200] = bytes(100)
    (tmp_path / "bad.zip").write_bytes(bytes(damaged))
    with pytest.raises(SpeechXAIError, match=r"bad\.zip: cannot be unpacked"):
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
