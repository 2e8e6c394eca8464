"""The app behind its guard, as `speechxai app` starts it: Streamlit's own command finds `app` in this file and serves
it.

Streamlit by itself answers to any name; see `hosts` for what that lets a stranger do. The guard stands before
everything of
Streamlit, by its documented `App(middleware=...)`. Where a version of Streamlit has no such thing, nothing is started;
and were
it ignored, `main.py` would show nothing.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import webbrowser
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
if str(HERE.parent) not in sys.path:
    sys.path.insert(0, str(HERE.parent))

import streamlit as st  # noqa: E402

from app.hosts import KnownHostsOnly, asked_names, asked_passwords  # noqa: E402
from app.logins import BadFile, PasswordFirst, read  # noqa: E402
from app.sessions import forget_left  # noqa: E402

CANNOT = (
    "Error: Streamlit {} cannot be kept from answering to strangers, so it is not started. Try: pip install -U"
    " streamlit"
)


@asynccontextmanager
async def open_page(_: Any) -> AsyncIterator[None]:
    """Open a page in the browser, unless the server is to start without one; the socket listens already. While it
    runs, sessions that were left are ended."""
    if not st.get_option("server.headless"):
        address = str(st.get_option("server.address") or "localhost")
        if address in ("0.0.0.0", "::"):  # noqa: S104
            address = "localhost"
        elif ":" in address:
            address = f"[{address}]"
        url = f"http://{address}:{st.get_option('server.port')}"
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
    forgetting = asyncio.create_task(forget_left())
    yield
    forgetting.cancel()


try:
    from starlette.middleware import Middleware
    from streamlit.starlette import App

    # The first one stands outside: a stranger's page does not even get to try a password.
    doors = [Middleware(KnownHostsOnly, asked=asked_names(sys.argv[1:]))]
    passwords = asked_passwords(sys.argv[1:])
    if passwords is not None:
        doors.append(Middleware(PasswordFirst, people=read(passwords)))
    app = App(HERE / "main.py", middleware=doors, lifespan=open_page)
except (ImportError, TypeError):
    sys.exit(CANNOT.format(st.__version__))
except BadFile as error:
    sys.exit(f"Error: {error}")


def main() -> None:
    """Run Streamlit's command on this file; the words of the command line are its options, and after `--` the app's
    own."""
    from streamlit.web import cli

    # The server closes what is open and then hands the signal on: the end that was asked for is no failure.
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, lambda number, frame: sys.exit(0))
    sys.argv = ["streamlit", "run", str(Path(__file__).resolve()), *sys.argv[1:]]
    cli.main(prog_name="streamlit")


if __name__ == "__main__":
    main()
