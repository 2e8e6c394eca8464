"""The app answers to the names of this computer and to those asked for: a stranger's page can neither read nor send
anything."""

from __future__ import annotations

import base64
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.hosts import ON_GUARD, KnownHostsOnly, asked_names, is_local, split
from speechxai.commands.app import command, names
from speechxai.errors import SpeechXAIError

pytest.importorskip("streamlit", reason="needs the extra 'app'")
from app_server import ROOT, Server, started

PATHS = ("/", "/compare", "/_stcore/health", "/_stcore/host-config", "/media/x.wav", "/_stcore/upload_file/a/b")
OURS = (
    "127.0.0.1:{port}",
    "127.0.0.1",
    "127.0.0.9:{port}",
    "localhost:{port}",
    "localhost",
    "LOCALHOST:{port}",
    "[::1]:{port}",
    "[::1]",
    "proxy.example",
    "Proxy.Example:{port}",
    "voices.example:8443",
)
STRANGE = (
    "evil.example",
    "evil.example:{port}",
    "127.0.0.1.evil.example",
    "localhost.evil.example:{port}",
    "evil.localhost",
    "localhost:9999",
    "127.0.0.1:80",
    "[::2]:{port}",
    "[::ffff:127.0.0.1]:{port}",
    "0.0.0.0:{port}",
    "127.1:{port}",
    "2130706433",
    "localhost@evil.example",
    "localhost:{port}/x",
    "localhost, evil.example",
    "localhost.",
    "voices.example",
    "",
    "10.0.0.1",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The app on loopback, behind a proxy of two names; it ends when it is told to, as no failure, pages being open or
    not."""
    folder = tmp_path_factory.mktemp("hosts")
    with started(folder, "--allow-host", "proxy.example", "--allow-host", "voices.example:8443") as running:
        yield running
        end(running, signal.SIGTERM)


def ask(server: Server, path: str, *headers: str, method: str = "GET", websocket: bool = False) -> tuple[int, bytes]:
    """Send a request of these very headers; give the status and what came with it."""
    lines = [f"{method} {path} HTTP/1.1", *headers]
    if websocket:
        key = base64.b64encode(os.urandom(16)).decode()
        lines += ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}"]
    else:
        lines += ["Connection: close", "Content-Length: 0"]
    answer = b""
    with socket.create_connection(("127.0.0.1", port_of(server)), timeout=10) as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        while block := connection.recv(65_536):
            answer += block
            if websocket and b"\r\n\r\n" in answer:
                break
    return int(answer.split(b" ", 2)[1]), answer


def port_of(server: Server) -> int:
    return int(server.url.rpartition(":")[2])


def refused(answer: tuple[int, bytes]) -> bool:
    return answer[0] == 403 and b"The app does not answer to this name" in answer[1]


@pytest.mark.parametrize("host", OURS)
def test_our_own_names_are_answered(host: str, server: Server) -> None:
    header = f"Host: {host.format(port=port_of(server))}"
    assert ask(server, "/", header)[0] == 200
    assert ask(server, "/_stcore/health", header)[0] == 200
    assert ask(server, "/media/x.wav", header)[0] == 404
    assert not refused(ask(server, "/_stcore/upload_file/a/b", header, method="PUT"))
    assert ask(server, "/_stcore/stream", header, websocket=True)[0] == 101  # no Origin: not a browser
    same = f"Origin: http://{host.format(port=port_of(server))}"
    assert ask(server, "/_stcore/stream", header, same, websocket=True)[0] == 101


@pytest.mark.parametrize("host", STRANGE)
def test_other_names_get_nothing(host: str, server: Server) -> None:
    header = f"Host: {host.format(port=port_of(server))}"
    for path in PATHS:
        assert refused(ask(server, path, header)), path
    for method in ("PUT", "POST", "DELETE", "OPTIONS", "HEAD"):
        assert ask(server, "/_stcore/upload_file/a/b", header, method=method)[0] == 403
    own = f"Origin: http://{host.format(port=port_of(server))}"
    for headers in ([header], [header, own], [header, f"Origin: http://localhost:{port_of(server)}"]):
        assert ask(server, "/_stcore/stream", *headers, websocket=True)[0] == 403


def test_a_request_without_a_name_or_with_two_gets_nothing(server: Server) -> None:
    own = f"Host: localhost:{port_of(server)}"
    for websocket in (False, True):
        for headers in ([], [own, "Host: evil.example"], ["Host: evil.example", own]):
            assert ask(server, "/_stcore/stream", *headers, websocket=websocket)[0] in (400, 403)
    forwarded = ("X-Forwarded-Host: localhost", "Forwarded: host=localhost")
    assert ask(server, "/_stcore/stream", "Host: evil.example", *forwarded, websocket=True)[0] == 403


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost:9999",
        "http://localhost",
        "https://localhost",
        "http://127.0.0.1:{port}",
        "http://evil.example",
        "http://localhost.evil.example:{port}",
        "http://localhost:{port}.evil.example",
        "null",
        "",
        "file://",
        "chrome-extension://localhost:{port}",
        "http://proxy.example",
    ],
)
def test_pages_of_other_addresses_get_nothing(origin: str, server: Server) -> None:
    headers = (f"Host: localhost:{port_of(server)}", f"Origin: {origin.format(port=port_of(server))}")
    assert ask(server, "/_stcore/stream", *headers, websocket=True)[0] == 403
    for path in PATHS:
        assert refused(ask(server, path, *headers)), path
    assert refused(ask(server, "/_stcore/upload_file/a/b", *headers, method="PUT"))


def test_a_proxy_that_speaks_tls_is_answered(server: Server) -> None:
    headers = ("Host: voices.example:8443", "Origin: https://voices.example:8443")
    assert ask(server, "/_stcore/stream", *headers, websocket=True)[0] == 101


# ---- what no loopback server can show


def scope(host: str | None, server: Any = ("127.0.0.1", 8501), origin: str | None = None) -> dict[str, Any]:
    headers = [(b"host", host.encode())] if host is not None else []
    headers += [(b"origin", origin.encode())] if origin is not None else []
    return {"type": "http", "headers": headers, "server": server}


@pytest.mark.parametrize(
    ("host", "server", "known"),
    [
        ("192.168.1.5:8501", ("192.168.1.5", 8501), True),
        ("192.168.1.5:8501", ("::ffff:192.168.1.5", 8501), True),
        ("192.168.1.6:8501", ("192.168.1.5", 8501), False),
        ("[fe80::1]:8501", ("fe80::1%eth0", 8501), True),
        ("localhost:8501", ("::1", 8501, 0, 0), True),
        ("localhost", None, False),
        ("localhost", ("/run/socket", None), False),
        (None, ("127.0.0.1", 8501), False),
    ],
)
def test_the_number_that_a_request_was_sent_to_is_ours(host: str | None, server: Any, known: bool) -> None:
    assert KnownHostsOnly(lambda *_: None).allows(scope(host, server)) is known  # type: ignore[arg-type,return-value]


def test_names_are_read_with_care() -> None:
    assert split("Voices.Example:8443") == ("voices.example", 8443)
    assert [split(text) for text in ("", ":80", "a b", "a:b", "a:123456", "[::1", "a/b", "a\n", "ä")] == [None] * 9
    assert [
        name
        for name in ("localhost", "127.0.0.1", "127.255.1.2", "[::1]", "localhost.", "127.0.0.1.x", "[::2]")
        if is_local(name)
    ] == [
        "localhost",
        "127.0.0.1",
        "127.255.1.2",
        "[::1]",
    ]
    with pytest.raises(ValueError, match="evil/x: no name of a host"):
        KnownHostsOnly(lambda *_: None, ["evil/x"])  # type: ignore[arg-type,return-value]


def test_the_command_hands_names_over() -> None:
    assert names("voices.example", ["proxy.example:8443"]) == ["voices.example", "proxy.example:8443"]
    assert names("fe80::1", []) == ["[fe80::1]"]
    assert names("0.0.0.0", []) == names("127.0.0.1", []) == names("::", []) == []
    for wrong in ("*", "http://x", "x/y", "x:port", ""):
        with pytest.raises(SpeechXAIError, match=re.escape(f"--allow-host '{wrong}': write NAME or NAME:PORT")):
            names("127.0.0.1", [wrong])
    words = command(["--data", "synthetic", "--answer-to", "a", "--answer-to", "b:1"], 8501, "127.0.0.1", False)
    assert words[1].endswith("serve.py")
    assert asked_names(words[words.index("--") + 1 :]) == ("a", "b:1")


# ---- closed where it cannot be kept


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_pages_show_nothing_where_no_guard_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    from streamlit.testing.v1 import AppTest

    ON_GUARD.clear()
    shown = AppTest.from_file(str(ROOT / "app" / "main.py"), default_timeout=60).run()
    assert [error.value for error in shown.error] == [
        "The app is not guarded from strangers, so it shows nothing. Start it with: speechxai app"
    ]
    assert len(shown.main) == 1
    assert not shown.exception


@pytest.mark.parametrize("missing", ["class App: pass", ""], ids=["without middleware", "without App"])
def test_a_streamlit_without_the_hook_is_not_started(missing: str, tmp_path: Path) -> None:
    (tmp_path / "streamlit").mkdir()
    (tmp_path / "streamlit" / "__init__.py").write_text("__version__ = '9.9'\n")
    (tmp_path / "streamlit" / "starlette.py").write_text(missing)
    ended = subprocess.run(
        [sys.executable, str(ROOT / "app" / "serve.py")],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("Error: Streamlit 9.9 cannot be kept from answering to strangers")
    assert ended.stderr.count("\n") == 1


def test_ctrl_c_ends_the_server(tmp_path: Path) -> None:
    with started(tmp_path) as running:
        end(running, signal.SIGINT)


def end(server: Server, sign: signal.Signals) -> None:
    """End a server that has a page open."""
    handshake = (
        "Host: localhost",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    )
    with socket.create_connection(("127.0.0.1", port_of(server)), timeout=10) as page:
        page.sendall(("\r\n".join(["GET /_stcore/stream HTTP/1.1", *handshake]) + "\r\n\r\n").encode())
        assert b" 101 " in page.recv(100)
        server.process.send_signal(sign)
        assert server.process.wait(20) == 0
    assert "Traceback" not in (server.folder / "server.log").read_text()


@pytest.mark.parametrize(
    ("hosts", "origins", "allowed"),
    [
        (["localhost:1"], [], True),
        (["localhost:1"], ["http://localhost:1"], True),
        (["localhost:1"], ["HTTPS://localhost:1"], True),
        ([], [], False),
        (["localhost:1", "localhost:1"], [], False),
        (["localhost:1"], ["http://localhost:1", "http://localhost:1"], False),
        (["localhost:1"], ["http://localhost:1", "http://evil.example"], False),
        (["localhost:1"], ["http://localhost:2"], False),
        (["localhost:1"], ["http://127.0.0.1:1"], False),
        (["localhost:1"], ["localhost:1"], False),
        (["localhost:1"], ["file://localhost:1"], False),
        (["localhost:1"], ["null"], False),
        (["localhost:2"], [], False),
        (["127.0.0.1:1"], [], True),
        (["[::1]:1"], [], True),
        (["10.0.0.7:1"], [], False),
        (["asked.example:1"], [], True),
        (["asked.example:2"], [], False),
        (["other.example:5"], [], True),
        (["other.example:1"], [], False),
    ],
)
def test_one_name_and_at_most_one_page(hosts: list[str], origins: list[str], allowed: bool) -> None:
    guard = KnownHostsOnly(None, ("asked.example", "other.example:5"))  # type: ignore[arg-type]
    headers = [(b"host", h.encode()) for h in hosts] + [(b"origin", o.encode()) for o in origins]
    assert guard.allows({"type": "http", "headers": headers, "server": ("127.0.0.1", 1)}) is allowed


def test_the_number_that_a_request_was_sent_to_is_ours_on_any_machine() -> None:
    guard = KnownHostsOnly(None)  # type: ignore[arg-type]
    for server, name, known in (
        (("10.0.0.7", 1), "10.0.0.7", True),
        (("::ffff:10.0.0.7", 1), "10.0.0.7", True),
        (("10.0.0.7", 1), "10.0.0.8", False),
        (("10.0.0.7", 0), "10.0.0.7", False),
        (None, "localhost", False),
    ):
        assert guard.is_known(name, 1, server) is known
