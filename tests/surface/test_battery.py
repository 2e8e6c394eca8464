"""A share of the battery of bad input, drawn anew with every seed; `scripts/battery.py` tries all of it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "battery.py"


@pytest.fixture(scope="module")
def battery() -> Iterator[ModuleType]:
    # Under its own name, so that the process which tries the inputs can import it too.
    sys.path.insert(0, str(SCRIPT.parent))
    specification = importlib.util.spec_from_file_location("battery", SCRIPT)
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    sys.modules["battery"] = module
    specification.loader.exec_module(module)
    yield module
    sys.path.remove(str(SCRIPT.parent))
    del sys.modules["battery"]


def test_a_share_of_the_battery(battery: ModuleType) -> None:
    counts, failures = battery.battery(list(battery.PARTS), 0.01, 7, lambda line: None)
    assert not failures, "\n".join(failures)
    assert sum(counts.values()) > 30
    assert sum(n for (_, kind), n in counts.items() if kind == "error") > 15


def test_the_battery_notices(battery: ModuleType, tmp_path: Path) -> None:
    """What it counts against us, each made once."""
    worker = battery.Worker()
    try:
        (tmp_path / "x.csv").write_text("recording,path\n")
        for call, arguments, kind in (
            ("text", ("manifest", str(tmp_path / "x.csv")), "error"),
            ("text", ("no such reader", ""), "traceback"),
            ("cli", ("--help",), "value"),
        ):
            assert worker.ask(battery.Try("", "", "", call, arguments))[0] == kind
    finally:
        worker.close()
