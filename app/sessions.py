"""Pages that were closed: what their readers brought leaves the memory.

Streamlit keeps the session of a closed page for two minutes, so that a reader may come back. After that nobody can, but
it is dropped only when another page is opened: a recording, a person's voice, would stay with the server for as long as
nobody else comes.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, TypeVar

import streamlit as st

from speechxai.evaluation.machine import give_back_memory

LEFT_S = 100.0
"""A page closed for so long is not waited for: Streamlit forgets after 120 s how to end a session."""

LOOK_EVERY_S = 5.0

_left: dict[str, float | None] = {}
"""Sessions, and since when nobody looks at them."""


class Clearable(Protocol):
    """What a session holds of its reader."""

    def clear(self) -> None:
        """Let go of everything."""


Held = TypeVar("Held", bound=Clearable)

_owned: dict[str, list[weakref.ref[Clearable]]] = {}
"""What sessions hold. Streamlit's own object of a session outlives its end, and with it whatever lies in there."""


class Files(dict[str, tuple[str, bytes]]):
    """Names and contents by hash; a dict that can be referred to weakly."""


def _session() -> str | None:
    from streamlit.runtime.scriptrunner import get_script_run_ctx

    context = get_script_run_ctx(suppress_warning=True)
    return None if context is None else context.session_id


def enter() -> None:
    """Remember the session that this run belongs to."""
    name = _session()
    if name is not None:
        _left.setdefault(name, None)


def own(key: str, make: Callable[[], Held]) -> Held:
    """What the reader's session holds under a key, made where there is none, and emptied when the session ends."""
    if key not in st.session_state:
        st.session_state[key] = made = make()
        name = _session()
        if name is not None:
            _owned.setdefault(name, []).append(weakref.ref(made))
    return st.session_state[key]  # type: ignore[no-any-return]


def forget(name: str) -> None:
    """Empty what a session holds."""
    for each in _owned.pop(name, []):
        held = each()
        if held is not None:
            held.clear()


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
            forget(name)
            with suppress(KeyError):  # another page was opened meanwhile, and Streamlit dropped it itself
                server.close_session(name)
        if ended:
            await asyncio.sleep(1.0)  # until its last run has unwound
            await asyncio.to_thread(give_back_memory)
