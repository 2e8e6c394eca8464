"""A page that was closed is waited for as long as it may come back, and then forgotten once."""

from __future__ import annotations

import pytest

from app import sessions


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
