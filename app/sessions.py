"""Pages that were closed: what their readers brought leaves the memory.

Streamlit keeps the session of a closed page for two minutes, so that a reader may come back. After that nobody can, but
it is dropped only when another page is opened: a recording, a person's voice, would stay with the server for as long as
nobody else comes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from speechxai.evaluation.machine import give_back_memory

LEFT_S = 100.0
"""A page closed for so long is not waited for: Streamlit forgets after 120 s how to end a session."""

LOOK_EVERY_S = 5.0

_left: dict[str, float | None] = {}
"""Sessions, and since when nobody looks at them."""


def enter() -> None:
    """Remember the session that this run belongs to."""
    from streamlit.runtime.scriptrunner import get_script_run_ctx

    context = get_script_run_ctx(suppress_warning=True)
    if context is not None:
        _left.setdefault(context.session_id, None)


def overdue(is_open: Callable[[str], bool], now_s: float) -> list[str]:
    """Sessions whose page has been closed for LEFT_S, which are not watched any longer.

    Args:
        is_open: whether somebody looks at a session.
        now_s: the time, s, of a clock that only goes on.
    """
    found = []
    for name, since in list(_left.items()):
        if is_open(name):
            _left[name] = None
        elif since is None:
            _left[name] = now_s
        elif now_s - since >= LEFT_S:
            del _left[name]
            found.append(name)
    return found


async def forget_left() -> None:
    """End sessions that were left, for as long as the server runs."""
    from streamlit.runtime import exists, get_instance

    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        if not exists():
            continue
        server = get_instance()
        ended = overdue(server.is_active_session, time.monotonic())
        for name in ended:
            with suppress(KeyError):  # another page was opened meanwhile, and Streamlit dropped it itself
                server.close_session(name)
        if ended:
            # What the session held is garbage in cycles: it goes in the next round, when its last run has unwound.
            await asyncio.sleep(1.0)
            await asyncio.to_thread(give_back_memory)
