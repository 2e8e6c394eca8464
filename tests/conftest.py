"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# What a machine does fastest is tried in a place of the tests' own.
os.environ.setdefault("SPEECHXAI_CACHE", tempfile.mkdtemp(prefix="speechxai-tests-"))

# Small tensors on many threads spend their time waiting for each other; to be set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]


def shared_data_root() -> Path:
    """Folder of real recordings: SPEECHXAI_DATA, or `shared/data` beside the checkout."""
    return Path(os.environ.get("SPEECHXAI_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Return a function that gives the folder of a set of real recordings, or skips the test with the reason."""

    def folder(name: str) -> Path:
        path = shared_data_root() / name
        if not path.is_dir():
            pytest.skip(f"real recordings not found: {path} (set SPEECHXAI_DATA to their folder)")
        return path

    return folder


@pytest.fixture(autouse=True)
def _no_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs tests in parallel says how wide its screen is; what a command prints goes into a pipe here."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(autouse=True)
def _main_stays() -> Iterator[None]:
    """Streamlit's tester puts a script in the place of `__main__`, and every process spawned later would run it."""
    before = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = before
