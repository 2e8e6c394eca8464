"""The plan of the house, enforced: who may import whom, which library is used where, how long a file may be."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = [
    {"cli", "commands"},
    {"report", "plots", "io", "config", "testing"},
    {"pipeline", "auxiliary", "benchmark", "executors"},
    {"metrics"},
    {"explain"},
    {"attribution"},
    {"combination", "agreement"},
    {"classifiers"},
    {"data", "segments", "stft", "acoustics", "stats", "quality", "resources"},
    {"types", "registry", "errors"},
]
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
ONLY_IN = {
    "torchaudio": ("speechxai/classifiers/torchaudio_pair.py", "tests/", "scripts/"),
    "quantus": ("speechxai/metrics/quantus_bridge.py", "tests/", "scripts/"),
    "matplotlib": ("speechxai/plots.py", "tests/"),
    "streamlit": ("app/", "tests/"),
}
FILES = sorted(p for folder in ("speechxai", "app", "scripts") for p in (ROOT / folder).rglob("*.py"))


def imports(path: Path) -> list[str]:
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from speechxai import stats` imports a room as well
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def room(module: str) -> str | None:
    parts = module.split(".")
    if parts[0] != "speechxai" or len(parts) < 2:
        return None
    for level in (parts[1], parts[1].split("_")[0]):
        if level in LEVEL:
            return level
    return None


def room_of(path: Path) -> str:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    found = room(module)
    assert found is not None, f"{path.relative_to(ROOT)} stands in no room of the plan: add it to LAYERS"
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_file_keeps_to_the_plan(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    names = imports(path)
    for library, allowed in ONLY_IN.items():
        users = [n for n in names if n.split(".")[0] == library]
        assert not users or name.startswith(allowed), f"{name} imports {library}; only {allowed} may"
    assert len(path.read_text().splitlines()) <= (100 if name.startswith("scripts/") else 300), (
        f"{name} is too long: split it"
    )
    if name.startswith("speechxai/") and path.parent.name + "/" + path.name != "speechxai/__init__.py":
        own = LEVEL[room_of(path)]
        for module in names:
            other = room(module)
            if other is not None:
                assert LEVEL[other] >= own, f"{name} (room {room_of(path)}) may not import {module}"


def test_a_wrong_import_is_seen(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text("from speechxai import pipeline\nfrom speechxai.metrics.case import Case\nimport quantus\n")
    assert [room(n) for n in imports(wrong)] == ["pipeline", "metrics", None]
    assert LEVEL["pipeline"] < LEVEL["stft"]


def test_every_room_is_in_the_wheel() -> None:
    import tomllib

    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "speechxai").rglob("__init__.py")}
    assert folders <= set(packages)
