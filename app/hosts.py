"""Which names the app answers to: those of this computer, and those that were asked for.

A page of a stranger may give its own name this computer's address after it is loaded (DNS rebinding); the browser then
takes the
app for a part of that page and hands it every recording. The name that the browser believes in stands in the `Host`
header, and
the page that asks in `Origin`: so both are looked at before anything of Streamlit is, for pages, files, uploads and
    websockets.
"""

from __future__ import annotations

import argparse
import ipaddress
import re
import threading
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from pathlib import Path
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Message, Receive, Send], Awaitable[None]]

ON_GUARD = threading.Event()
"""Set once a request has been looked at; `main.py` shows nothing before, whatever Streamlit made of the middleware."""

REFUSED = b"""The app does not answer to this name, nor to pages of another address. Open it as localhost, or start it
with --allow-host NAME (or NAME:PORT): what the address bar of your browser says. A reverse proxy must hand on the Host
header.
"""

POLICY = (
    b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; base-uri 'self';"
    b" form-action 'self'; frame-ancestors 'self'"
)
"""What a page may load: from this address only, so that nothing in a name, a card or a file makes a browser call
elsewhere. Streamlit's own pages need inline styles, and its components code from strings."""

_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?)(?::([0-9]{1,5}))?")


def split(authority: str) -> tuple[str, int | None] | None:
    """Split `NAME[:PORT]` as it stands in a Host header, in small letters; None where it is none.

    >>> split("LOCALHOST:8501"), split("[::1]"), split("user@localhost")
    (('localhost', 8501), ('[::1]', None), None)
    """
    found = _AUTHORITY.fullmatch(authority.lower())
    return None if found is None else (found[1], None if found[2] is None else int(found[2]))


def is_local(name: str) -> bool:
    """Whether a name means this computer and nothing else: localhost, 127.0.0.0/8, [::1].

    >>> is_local("127.0.0.2"), is_local("[::1]"), is_local("127.0.0.1.evil.example")
    (True, True, False)
    """
    if name == "localhost":
        return True
    address = address_of(name)
    return address is not None and (address.version == 4 or int(address) == 1) and address.is_loopback


def address_of(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The number that a name writes down, an IPv6 one with or without brackets; None for a real name."""
    try:
        return ipaddress.ip_address(name.removeprefix("[").removesuffix("]").partition("%")[0])
    except ValueError:
        return None


def asked_names(arguments: Sequence[str]) -> tuple[str, ...]:
    """Names that `speechxai app` hands on as `--answer-to`."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--answer-to", action="append", default=[])
    return tuple(parser.parse_known_args(list(arguments))[0].answer_to)


def asked_passwords(arguments: Sequence[str]) -> Path | None:
    """File of passwords that `speechxai app` hands on as `--passwords`; None where nobody needs one."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--passwords", type=Path)
    found: Path | None = parser.parse_known_args(list(arguments))[0].passwords
    return found


class KnownHostsOnly:
    """ASGI middleware: requests to names that are not ours get 403, and websockets are not opened.

    Args:
        app: what is behind.
        asked: names beside the local ones, `NAME` (with the server's port or none) or `NAME:PORT`.

    Raises:
        ValueError: a name that no Host header can hold.
    """

    def __init__(self, app: Asgi, asked: Iterable[str] = ()) -> None:
        self.app = app
        pairs = {text: split(text) for text in asked}
        wrong = [text for text, pair in pairs.items() if pair is None]
        if wrong:
            raise ValueError(f"{wrong[0]}: no name of a host")
        self.asked = frozenset(pair for pair in pairs.values() if pair is not None)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Let a request through or refuse it; the server's own start and end ("lifespan") are no requests."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        ON_GUARD.set()
        if self.allows(scope):
            await self.app(scope, receive, _with_policy(send))
        elif scope["type"] == "websocket":
            await receive()  # the handshake; closed before it is accepted, it is answered with 403
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http":
            headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"x-content-type-options", b"nosniff")]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": REFUSED})

    def allows(self, scope: Message) -> bool:
        """Whether a request names us, once, and comes from our own page or from no page at all.

        The Origin must be the very address that is asked: another port of this computer is another program's page.
        """
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        origins = [value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"]
        if len(hosts) != 1 or len(origins) > 1:
            return False
        host = split(hosts[0])
        if host is None or not self.is_known(*host, scope.get("server")):
            return False
        if not origins:
            return True
        scheme, mark, authority = origins[0].partition("://")
        return bool(mark) and scheme.lower() in ("http", "https") and split(authority) == host

    def is_known(self, name: str, port: int | None, server: Sequence[Any] | None) -> bool:
        """Whether `name` and `port` are ours where the request came in at `server`, (address, port)."""
        if (name, port) in self.asked and port is not None:
            return True
        if not server or not server[1] or port not in (None, server[1]):
            return False
        if is_local(name) or (name, None) in self.asked:
            return True
        # A number is no name that a stranger could turn to us: it may be the one that the request was sent to.
        own, address = address_of(str(server[0])), address_of(name)
        own = getattr(own, "ipv4_mapped", None) or own
        return address is not None and address == own


def _with_policy(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), (b"content-security-policy", POLICY)]}
        await send(message)

    return sent
