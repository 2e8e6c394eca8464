"""A page that was closed is waited for as long as it may come back, and then forgotten once."""

from __future__ import annotations

import pytest

from app import sessions
from app.sources import Memory


def test_who_left_is_overdue_after_the_time_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "LEFT_S", 100.0)
    monkeypatch.setattr(sessions, "_left", {"a": None, "b": None})
    looked_at = {"a", "b"}

    def at(now_s: float) -> list[str]:
        return sessions.overdue(looked_at.__contains__, now_s)

    assert at(0.0) == []
    looked_at.discard("a")
    assert at(10.0) == []  # seen to be closed from now on
    assert at(109.0) == []
    looked_at.add("a")  # came back in time
    assert at(110.0) == []
    looked_at.discard("a")
    assert at(120.0) == []
    assert at(219.9) == []
    assert at(220.0) == ["a"]
    assert at(400.0) == []
    assert sessions._left == {"b": None}


def test_what_a_reader_brought_is_emptied_when_the_session_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    state: dict[str, object] = {}
    monkeypatch.setattr(sessions.st, "session_state", state)
    monkeypatch.setattr(sessions, "_owned", {})
    for name in ("a", "b"):
        monkeypatch.setattr(sessions, "_session", lambda name=name: name)
        state.clear()
        files = sessions.own("mine", sessions.Files)
        files["1f"] = (f"{name}.wav", b"a voice")
        assert sessions.own("mine", sessions.Files) is files
        results = sessions.own("mine_results", lambda: Memory(3))
        results.put(("x",), name)
        if name == "a":
            first, first_results = files, results
    sessions.forget("a")
    assert not first
    assert first_results.get(("x",)) is None
    assert files == {"1f": ("b.wav", b"a voice")}
    assert results.get(("x",)) == "b"
    sessions.forget("a")  # once is enough
