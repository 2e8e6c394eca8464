"""Who may open the app where a file of passwords says so: hashes, the log-in page, and the door before everything else.

As a program, `python logins.py FILE NAME` asks for a password and writes its hash into the file. Passwords are hashed
by scrypt (Percival and Josefsson, RFC 7914), compared in constant time, and tried a few times only. Whoever is in gets
a cookie with a random token, which this process alone knows and forgets when it ends.
"""

from __future__ import annotations

import asyncio
import base64
import getpass
import hashlib
import hmac
import html
import os
import re
import secrets
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Message, Receive, Send], Awaitable[None]]

COST, BLOCK, PARALLEL = 2**15, 8, 1
"""Of scrypt: 32 MiB and about a tenth of a second for each try."""

SHORTEST = 12
"""Letters of a password at least."""

MOST_OF_A_NAME, MOST_OF_AN_ADDRESS, WITHIN_S = 5, 20, 300.0
"""Wrong passwords within so many seconds, after which the name, or the address, waits; all that come through one proxy
have its address."""

STAYS_S = 12 * 3600.0
"""How long a reader stays in."""

COOKIE, FORM, OUT = "speechxai", "/_speechxai/login", "/_speechxai/logout"
MOST_BYTES = 4_096

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>speechxai: log in</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
body {{ font: 16px system-ui, sans-serif; color: #1f2a30; background: #f7f9f9; margin: 0; }}
main {{ max-width: 22rem; margin: 12vh auto; padding: 1.5rem; background: #fff; border: 1px solid #cfd8d9; border-radius: 10px; }}
h1 {{ font-size: 1.3rem; margin: 0 0 1rem; }} label {{ display: block; margin: 0 0 .8rem; }}
input {{ display: block; width: 100%; box-sizing: border-box; font: inherit; padding: .5rem; margin-top: .2rem; }}
button {{ font: inherit; padding: .5rem 1.2rem; color: #fff; background: #0b6670; border: 0; border-radius: 8px; }}
p {{ color: #a11238; }}</style></head><body><main><h1>Log in to speechxai</h1>{said}
<form method="post" action="{form}"><input type="hidden" name="next" value="{to}">
<label>Name<input name="name" autocomplete="username" required autofocus></label>
<label>Password<input name="password" type="password" autocomplete="current-password" required></label>
<button>Log in</button></form></main></body></html>"""  # noqa: E501


class BadFile(Exception):
    """What is wrong with a file of passwords, a sentence."""


def hashed(password: str) -> str:
    """The line's part that stands for a password: `scrypt$n$r$p$salt$hash`, salt and hash in base64."""
    salt = secrets.token_bytes(16)
    value = _scrypt(password, salt, COST, BLOCK, PARALLEL)
    return f"scrypt${COST}${BLOCK}${PARALLEL}${base64.b64encode(salt).decode()}${base64.b64encode(value).decode()}"


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=256 * n * r * p, dklen=32)


NOBODY = hashed(secrets.token_urlsafe(16))
"""What an unknown name is compared with, so that it takes as long as a known one."""


def is_right(password: str, stored: str) -> bool:
    """Whether a password is the one that was hashed."""
    _, n, r, p, salt, value = stored.split("$")
    found = _scrypt(password, base64.b64decode(salt), int(n), int(r), int(p))
    return hmac.compare_digest(found, base64.b64decode(value))


def read(path: Path) -> dict[str, str]:
    """Hashes by name. Raises BadFile for a file that is missing, empty, open to others, or holds another line."""
    try:
        text = path.read_text(encoding="utf-8")
        others = os.name == "posix" and path.stat().st_mode & 0o077
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"{path}: the passwords cannot be read ({error}). Make the file with --add-user NAME.") from error
    if others:
        raise BadFile(f"{path}: other users of this computer may read it. Close it to them: chmod 600 '{path}'")
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, stored = line.partition(":")
        if not colon or not re.fullmatch(r"scrypt\$\d+\$\d+\$\d+\$[\w+/=]+\$[\w+/=]+", stored.strip()):
            raise BadFile(f"{path}, line {number}: not NAME:scrypt$... as --add-user writes it. Add the person again.")
        found[name] = stored.strip()
    if not found:
        raise BadFile(f"{path}: nobody has a password yet. Add somebody with --add-user NAME.")
    return found


def add(path: Path, name: str, password: str) -> None:
    """Write a person's hash into a file that only its owner reads, in the place of an earlier one.

    Raises:
        BadFile: a name with a colon or a line break, a password that is too short, a file that is none.
    """
    if not re.fullmatch(r"[^\s:#][^:\r\n]*", name):
        raise BadFile(f"--add-user '{name}': a name has no colon, and begins with a letter.")
    if len(password) < SHORTEST:
        raise BadFile(f"A password has at least {SHORTEST} letters; a few words are easy to remember.")
    people = read(path) if path.exists() and path.stat().st_size else {}
    people[name] = hashed(password)
    part = path.with_name(f".{path.name}.part")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.writelines(f"{person}:{stored}\n" for person, stored in people.items())
    part.replace(path)


class PasswordFirst:
    """ASGI middleware: nothing but a log-in page for whoever has not given a password of the file.

    Args:
        app: what is behind.
        people: hashes by name.
        clock: seconds, for tests.
    """

    def __init__(self, app: Asgi, people: Mapping[str, str], clock: Callable[[], float] = time.monotonic) -> None:
        self.app = app
        self.people = dict(people)
        self.clock = clock
        self._in: dict[str, float] = {}
        self._wrong: dict[str, deque[float]] = {}
        self._one = asyncio.Semaphore(2)  # each try takes 32 MiB

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Let those in who are known; health says nothing of anybody and is asked by proxies."""
        kind, path = scope["type"], scope.get("path", "")
        if kind == "lifespan" or path == "/_stcore/health":
            await self.app(scope, receive, send)
        elif kind == "http" and path == FORM and scope["method"] == "POST":
            await self._try(scope, receive, send)
        elif kind == "http" and path == OUT:
            self._in.pop(_token(scope), None)
            await _answer(send, 303, b"", (b"location", b"/"), (b"set-cookie", _cookie(scope, "", 0)))
        elif self._in.get(_token(scope), -1.0) > self.clock():
            await self.app(scope, receive, send)
        elif kind == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        elif kind == "http":
            query = scope.get("query_string", b"").decode("latin-1")
            await _page(send, 401, "", f"{path}?{query}" if query else path)

    async def _try(self, scope: Message, receive: Receive, send: Send) -> None:
        body = b""
        while len(body) <= MOST_BYTES:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        given = parse_qs(body[:MOST_BYTES].decode("utf-8", "replace"), keep_blank_values=True)
        name, password, to = (given.get(key, [""])[0] for key in ("name", "password", "next"))
        address = (scope.get("client") or ("",))[0]
        who = {f"name {name}": MOST_OF_A_NAME, f"address {address}": MOST_OF_AN_ADDRESS}
        if len(body) > MOST_BYTES or any(self._waits(each) for each in who):
            await _page(send, 429, "Too many wrong passwords. Wait five minutes.", to)
            return
        for each, most in who.items():  # before it is tried, or many at once would all be tried
            self._wrong.setdefault(each, deque(maxlen=most)).append(self.clock())
        async with self._one:
            right = await asyncio.to_thread(is_right, password, self.people.get(name, NOBODY))
        if not right or name not in self.people:
            await _page(send, 401, "Name or password is wrong.", to)
            return
        for each in who:
            self._wrong.pop(each, None)
        now, token = self.clock(), secrets.token_urlsafe(32)
        self._in = {known: end for known, end in self._in.items() if end > now} | {token: now + STAYS_S}
        place = to if re.fullmatch(r"/(?![/\\])[\x21-\x7e]*", to) and not to.startswith("/_") else "/"
        cookie = _cookie(scope, token, int(STAYS_S))
        await _answer(send, 303, b"", (b"location", place.encode()), (b"set-cookie", cookie))

    def _waits(self, who: str) -> bool:
        """Whether somebody was wrong too often; whoever was not for long is forgotten."""
        for known in [known for known, times in self._wrong.items() if times[-1] < self.clock() - WITHIN_S]:
            del self._wrong[known]
        times = self._wrong.get(who)
        return times is not None and len(times) == times.maxlen and times[0] > self.clock() - WITHIN_S


def _token(scope: Message) -> str:
    text = "; ".join(value.decode("latin-1") for name, value in scope.get("headers", ()) if name == b"cookie")
    try:
        found = SimpleCookie(text).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found is not None else ""


def _cookie(scope: Message, token: str, seconds: int) -> bytes:
    headers = dict(scope.get("headers", ()))
    safe = scope.get("scheme") == "https" or headers.get(b"x-forwarded-proto", b"") == b"https"
    text = f"{COOKIE}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{'; Secure' if safe else ''}"
    return text.encode()


async def _page(send: Send, status: int, said: str, to: str) -> None:
    message = f'<p role="alert">{said}</p>' if said else ""
    text = PAGE.format(said=message, form=FORM, to=html.escape(to, quote=True))
    await _answer(send, status, text.encode(), (b"content-type", b"text/html; charset=utf-8"))


async def _answer(send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    fixed = [
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"same-origin"),  # without any, browsers send the form as if from nowhere
    ]
    await send({"type": "http.response.start", "status": status, "headers": [*fixed, *headers]})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    """Ask for a password twice and keep its hash."""
    path, name = Path(sys.argv[1]), sys.argv[2]
    if sys.stdin.isatty():
        password = getpass.getpass(f"Password of {name}: ")
        if getpass.getpass("The same again: ") != password:
            sys.exit("Error: The two are not the same. Nothing is written.")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    try:
        add(path, name, password)
    except (BadFile, OSError) as error:
        sys.exit(f"Error: {error}")
    sys.stdout.write(f"{name} may log in: speechxai app --passwords {path}\n")


if __name__ == "__main__":
    main()
