"""A password before everything: who has none sees a log-in page and nothing else, of pages, files, uploads and
websockets."""

from __future__ import annotations

import asyncio
import http.client
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from app import logins
from app.logins import BadFile, PasswordFirst

pytest.importorskip("streamlit", reason="needs the extra 'app'")
from app_server import CHROMIUM, FLAGS, ROOT, SLOW_MS, Server, started
from test_app_hosts import PATHS, ask, port_of

GOOD = "correct horse battery"


def test_a_password_by_its_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logins, "COST", 2**10)
    one, two = logins.hashed(GOOD), logins.hashed(GOOD)
    assert one != two  # each has a salt of its own
    assert GOOD not in one
    assert re.fullmatch(r"scrypt\$1024\$8\$1\$[\w+/]{22}==\$[\w+/]{43}=", one)
    assert logins.is_right(GOOD, one)
    assert logins.is_right(GOOD, two)
    assert not logins.is_right(GOOD + " ", one)
    # RFC 7914, section 12: scrypt("password", "NaCl", 1024, 8, 16), its first 32 bytes.
    stated = "scrypt$1024$8$16$TmFDbA==$/bq+HJ00cgB4VucZDQHp/nxq18vII3gw53N2Y0s3MWI="
    assert logins.is_right("password", stated)


def test_the_file_of_passwords(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logins, "COST", 2**10)
    path = tmp_path / "passwords"
    logins.add(path, "nurse", GOOD)
    logins.add(path, "Dr. Ünal", "another long one")
    logins.add(path, "nurse", "a new long one")
    people = logins.read(path)
    assert list(people) == ["nurse", "Dr. Ünal"]
    assert logins.is_right("a new long one", people["nurse"])
    assert path.stat().st_mode & 0o077 == 0
    for name, password in (("a:b", GOOD), ("", GOOD), ("a\nb", GOOD), ("nurse", "too short")):
        with pytest.raises(BadFile):
            logins.add(path, name, password)
    path.chmod(0o644)
    with pytest.raises(BadFile, match="other users of this computer may read it"):
        logins.read(path)
    path.chmod(0o600)
    for text, says in (("", "nobody has a password"), ("nurse:plain", "line 1: not NAME:scrypt"), ("x", "line 1")):
        path.write_text(text)
        with pytest.raises(BadFile, match=says):
            logins.read(path)
    with pytest.raises(BadFile, match="cannot be read"):
        logins.read(tmp_path / "none")


class Asked:
    """The door with a clock of its own, asked without a server."""

    def __init__(self) -> None:
        self.now = 0.0
        self.seen: list[str] = []

        async def behind(scope: Any, receive: Any, send: Any) -> None:
            self.seen.append(scope["path"])
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"recordings"})

        self.door = PasswordFirst(behind, {"nurse": logins.hashed(GOOD)}, lambda: self.now)

    def __call__(self, path: str, cookie: str = "", post: dict[str, str] | None = None, **more: Any) -> Any:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": urlencode(post or {}).encode(), "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"cookie", cookie.encode())] if cookie else []
        scope = {"type": "http", "method": "POST" if post else "GET", "path": path, "headers": headers, **more}
        asyncio.run(self.door({"client": ("10.0.0.1", 5), **scope}, receive, send))
        return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"].decode()

    def log_in(self, name: str = "nurse", password: str = GOOD, to: str = "/", **more: Any) -> Any:
        return self(logins.FORM, post={"name": name, "password": password, "next": to}, **more)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    monkeypatch.setattr(logins, "COST", 2**10)
    monkeypatch.setattr(logins, "NOBODY", logins.hashed("nobody at all"))
    return Asked()


def test_in_and_out_again(asked: Asked) -> None:
    status, _, text = asked("/compare", query_string=b"recording=a&x=%22><script>")
    assert (status, asked.seen) == (401, [])
    assert 'value="/compare?recording=a&amp;x=%22&gt;&lt;script&gt;"' in text
    status, headers, _ = asked.log_in(to="/compare?recording=a")
    assert (status, headers[b"location"]) == (303, b"/compare?recording=a")
    cookie = headers[b"set-cookie"].decode()
    assert cookie.endswith("; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict")
    mine = cookie.partition(";")[0]
    assert asked("/", mine)[2] == "recordings"
    assert asked("/", f"other=1; {mine}; more=2")[0] == 200
    assert asked("/", mine[:-1] + ("A" if mine[-1] != "A" else "B"))[0] == 401
    asked.now = logins.STAYS_S + 1
    assert asked("/", mine)[0] == 401  # it ends by itself
    asked.now = 0.0
    asked(logins.OUT, mine)
    assert asked("/", mine)[0] == 401
    again = asked.log_in(scheme="https")[1][b"set-cookie"].decode()
    assert again.endswith("; Secure")
    assert "Secure" in asked.log_in(headers=[(b"x-forwarded-proto", b"https")])[1][b"set-cookie"].decode()


@pytest.mark.parametrize(
    "to", ["//evil.example", "/\\evil.example", "https://evil.example", "", "/_speechxai/logout", "/a\r\nb"]
)
def test_nobody_is_sent_elsewhere(asked: Asked, to: str) -> None:
    assert asked.log_in(to=to)[1][b"location"] == b"/"


def test_wrong_passwords_are_counted(asked: Asked) -> None:
    for _ in range(logins.MOST_OF_A_NAME):
        status, _, text = asked.log_in(password="wrong")
        assert (status, "Name or password is wrong." in text) == (401, True)
    assert asked.log_in()[0] == 429  # also the right one
    assert asked.log_in(client=("10.0.0.2", 5))[0] == 429  # from anywhere
    asked.now = logins.WITHIN_S + 1
    assert asked.log_in()[0] == 303
    for place in range(logins.MOST_OF_AN_ADDRESS):
        assert asked.log_in(name=f"guess {place}")[0] == 401  # nobody of that name, said in the same words
    assert asked.log_in(name="another guess")[0] == 429
    assert asked.log_in(client=("10.0.0.2", 5))[0] == 303
    assert asked(logins.FORM, post={"name": "x" * 5_000, "password": "", "next": ""}, client=("10.0.0.3", 5))[0] == 429


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("logins")
    path = folder / "passwords"
    words = [sys.executable, "-m", "speechxai.cli", "app", "--passwords", str(path), "--add-user", "nurse"]
    made = subprocess.run(
        words,
        input=f"{GOOD}\n",
        text=True,
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert made.stdout.startswith("nurse may log in: speechxai app --passwords ")
    with started(folder, "--passwords", str(path)) as running:
        yield running


def test_nothing_is_answered_before_the_password(server: Server) -> None:
    host = f"Host: 127.0.0.1:{port_of(server)}"
    for path in PATHS:
        status, answer = ask(server, path, host)
        assert status == (200 if path == "/_stcore/health" else 401), path
        assert path == "/_stcore/health" or b"streamlit" not in answer.lower()
    assert ask(server, "/_stcore/stream", host, websocket=True)[0] == 403
    assert ask(server, "/_stcore/upload_file/a/b", host, method="PUT")[0] == 401
    assert ask(server, "/", "Host: evil.example")[0] == 403  # not even the log-in page
    assert ask(server, logins.FORM, host, "Origin: http://evil.example", method="POST")[0] == 403


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (apt-get install chromium)")
def test_the_log_in_page_is_accessible(server: Server) -> None:
    """Untouched, after a wrong password, and after too many; on a laptop and on a phone; then the keyboard alone."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    axe = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    script = (Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for width, height in ((1366, 768), (390, 844)):
            page = chromium.new_context(viewport={"width": width, "height": height}).new_page()
            page.goto(server.url)
            for told in ("", "password", "Wait"):
                for _ in range({"": 0, "password": 1, "Wait": logins.MOST_OF_A_NAME}[told]):
                    page.get_by_label("Name").fill(f"nobody {width}")
                    page.get_by_label("Password").fill("not the right one")
                    with page.expect_navigation():
                        page.get_by_role("button", name="Log in").click()
                assert told.lower() in page.locator("main").inner_text().lower()
                page.evaluate(script)
                found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
                assert [f"{one['id']}: {one['help']}" for one in found] == []
                assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        page.goto(server.url)  # the cursor stands in the first field already
        for word, key in (("nurse", "Tab"), (GOOD, "Enter")):
            page.keyboard.type(word)
            page.keyboard.press(key)
        page.get_by_role("link", name="Inspect").first.wait_for(state="attached", timeout=SLOW_MS)
        chromium.close()


def test_the_app_opens_with_the_password(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=20)
    connection.request("POST", logins.FORM, urlencode({"name": "nurse", "password": GOOD, "next": "/"}))
    answer = connection.getresponse()
    answer.read()
    connection.close()
    assert answer.status == 303
    cookie = (answer.getheader("set-cookie") or "").partition(";")[0]
    host = f"Host: 127.0.0.1:{port_of(server)}"
    assert ask(server, "/", host, f"Cookie: {cookie}")[0] == 200
    assert ask(server, "/_stcore/stream", host, f"Cookie: {cookie}", websocket=True)[0] == 101


@pytest.mark.parametrize("text", [None, "nurse:plain"])
def test_a_file_that_is_none_starts_nothing(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "passwords"
    if text is not None:
        path.write_text(text)
        path.chmod(0o600)
    ended = subprocess.run(
        [sys.executable, "-m", "speechxai.cli", "app", "--no-browser", "--port", "0", "--passwords", str(path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode != 0
    assert str(path) in ended.stderr.replace("\n", "")
    assert "Traceback" not in ended.stderr
