"""The plan of the house, enforced: packages are folders, imports go down, no circle between files.

`pytest tests/test_architecture.py -s` prints how many files, floors, arrows and lines there are.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

ROOMS = (
    {"errors"},
    {"types", "registry", "files", "flags", "families"},
    {"signal", "stats"},
    {"data"},
    {"classifiers"},
    {"explain"},
    {"metrics", "testing"},
    {"signs", "units"},
    {"report"},
    {"evaluation"},
    {"planted", "auxiliary", "inside", "audit", "doctor"},
    {"inspection"},
    {"readers"},
    {"mancini2025", "app"},
    {"commands"},
    {"cli", "__main__", "scripts"},
)
"""Rooms from the ground floor up: a file imports from its own room, its own floor or a lower one."""

FLOOR = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}
ONLY_IN = {
    "torchaudio": ("speechxai/classifiers/",),
    "captum": ("speechxai/explain/captum_bridge.py", "speechxai/mancini2025/"),
    "quantus": ("speechxai/metrics/quantus_bridge.py",),
    "matplotlib": ("speechxai/report/plots.py", "speechxai/report/sheet.py"),
    "streamlit": ("app/",),
    "markdown_it": ("app/widgets.py",),
    "parselmouth": ("speechxai/signal/",),
    "librosa": ("speechxai/classifiers/cnn.py",),
    "soundfile": ("speechxai/signal/", "speechxai/data/cards.py"),
    "sklearn": ("speechxai/classifiers/", "speechxai/stats.py"),
    "filelock": ("speechxai/files.py",),
    "regex": ("speechxai/data/tables.py",),
    "tomli_w": ("speechxai/files.py",),
    "platformdirs": ("speechxai/files.py",),
}
"""Libraries that one place knows, so that a change of theirs is met in one place."""


def sources(root: Path = ROOT) -> dict[str, Path]:
    """Files of the house by module name; scripts are `scripts.<name>`."""
    found: dict[str, Path] = {}
    for folder in ("speechxai", "app", "scripts"):
        for path in sorted((root / folder).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path) -> Iterator[str]:
    """Every dotted name that a file imports anywhere, functions and `if TYPE_CHECKING` included."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func).endswith("import_module")
            and isinstance(node.args[0], ast.Constant)
        ):
            yield str(node.args[0].value)


def arrows(files: Mapping[str, Path]) -> dict[str, set[str]]:
    """Which file imports which: a name belongs to the longest module that it begins with."""
    found: dict[str, set[str]] = {}
    for module, path in files.items():
        targets = set()
        for name in imported(path):
            parts = name.split(".")
            for length in range(len(parts), 0, -1):
                target = ".".join(parts[:length])
                if target in files:
                    # `speechxai` itself holds the public face alone, and its names are loaded when they are used.
                    targets |= {target} - {module, "speechxai"}
                    break
        found[module] = targets
    return found


def room_of(module: str) -> str | None:
    parts = module.split(".")
    if parts[0] != "speechxai":
        return parts[0]
    return parts[1] if len(parts) > 1 else None


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of files that import each other around a circle (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph[node]):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = []
            while not group or group[-1] != node:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    for node in graph:
        if node not in index:
            visit(node)
    return found


def floors(graph: Mapping[str, set[str]]) -> int:
    """Number of floors of the drawn house: rooms on the longest way down, a room of files that need each other being
    one."""
    rooms: dict[str, set[str]] = {}
    for module, targets in graph.items():
        room = room_of(module)
        if room is None:
            continue
        below = rooms.setdefault(room, set())
        below |= {other for target in targets if (other := room_of(target)) not in (None, room)}
    height: dict[str, int] = {}

    def measure(room: str) -> int:
        if room not in height:
            height[room] = 1 + max((measure(other) for other in rooms[room]), default=0)
        return height[room]

    return max(measure(room) for room in rooms)


FILES = sources()
GRAPH = arrows(FILES)


def test_every_file_stands_in_a_room() -> None:
    lost = [m for m in FILES if room_of(m) is not None and room_of(m) not in FLOOR]
    assert not lost, f"{lost} stand in no room of the plan: add the room to ROOMS"


def test_imports_go_down() -> None:
    up = [
        f"{module} imports {target}"
        for module, targets in GRAPH.items()
        for target in sorted(targets)
        if room_of(module) is not None
        and room_of(target) is not None
        and FLOOR[str(room_of(target))] > FLOOR[str(room_of(module))]
    ]
    across = [
        f"{module} imports {target}"
        for module, targets in GRAPH.items()
        for target in sorted(targets)
        if room_of(target) == "scripts"
    ]
    assert not up + across, "imports that go up:\n" + "\n".join(up + across)


def test_rooms_of_one_floor_do_not_need_each_other() -> None:
    pairs = {(room_of(m), room_of(t)) for m, targets in GRAPH.items() for t in targets}
    both = sorted(
        {tuple(sorted((str(a), str(b)))) for a, b in pairs if a != b and (b, a) in pairs and None not in (a, b)}
    )
    assert not both, f"these rooms import each other: {both}"


def test_no_circle_between_files() -> None:
    assert not circles(GRAPH), "files that import each other around a circle:\n" + "\n".join(map(str, circles(GRAPH)))


def test_packages_are_folders() -> None:
    """A family of modules is a folder, not a prefix: no two modules beside each other begin with the same word and
    `_`."""
    families: Counter[tuple[str, str]] = Counter()
    for module in FILES:
        package, _, name = module.rpartition(".")
        if "_" in name and not package.startswith(("scripts", "app.screens")):
            families[(package, name.split("_")[0])] += 1
    assert not [key for key, number in families.items() if number > 1]


@pytest.mark.parametrize("library", ONLY_IN)
def test_library_is_known_in_one_place(library: str) -> None:
    users = [
        str(path.relative_to(ROOT))
        for path in FILES.values()
        if any(name.split(".")[0] == library for name in imported(path))
    ]
    wrong = [user for user in users if not user.startswith(ONLY_IN[library]) and not user.startswith("scripts/")]
    assert users, f"nothing imports {library}: is it still a real part?"
    assert not wrong, f"{wrong} import {library}; only {ONLY_IN[library]} may"


def test_no_formatter_is_switched_off() -> None:
    mark = re.compile(r"#\s*fmt:\s*(skip|off)")
    files = [*FILES.values(), *(ROOT / "tests").rglob("*.py")]
    assert not [str(p.relative_to(ROOT)) for p in files if mark.search(p.read_text("utf-8"))]


def test_the_size_of_the_house(capsys: pytest.CaptureFixture[str]) -> None:
    lines = sum(len(path.read_text("utf-8").splitlines()) for path in FILES.values())
    n_arrows = sum(map(len, GRAPH.values()))
    n_floors = floors(GRAPH)
    with capsys.disabled():
        print(
            f"\n{len(FILES)} Python files in speechxai, app and scripts, {n_floors} floors, {n_arrows} arrows, "
            f"{len(circles(GRAPH))} circles, {lines} lines"
        )
    assert n_floors <= len(ROOMS)


@cache
def names_in(path: Path) -> set[str]:
    """What stands at the top of a module, or is taken into it."""
    found = {name.rsplit(".", 1)[-1] for name in imported(path)}
    for node in ast.parse(path.read_text("utf-8")).body:
        found |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        found |= {node.name} if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) else set()
    return found


def test_names_that_files_import_are_there() -> None:
    """Types are checked in `speechxai` alone; scripts and app must follow a rename as well."""
    lost = []
    for module, path in FILES.items():
        for name in imported(path):
            package, _, last = name.rpartition(".")
            if (
                package in FILES
                and package != "speechxai"
                and name not in FILES
                and last not in names_in(FILES[package])
            ):
                lost.append(f"{module} imports {name}")
    assert not lost


def test_doors_that_the_documentation_names_are_there() -> None:
    """docs/architecture.md lists what rooms take from a module: each name stands in that module or is taken into it."""
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    rows = re.findall(r"^\| `([a-z0-9_.]+)` \| (`.*`) \|$", text, re.M)
    assert len(rows) > 40
    for module, names in rows:
        missing = set(re.findall(r"`(\w+)`", names)) - names_in(FILES[f"speechxai.{module}"])
        assert not missing, f"docs/architecture.md names {sorted(missing)} of {module}, which are not there"


def test_a_wrong_import_is_seen(tmp_path: Path) -> None:
    (tmp_path / "speechxai" / "signal").mkdir(parents=True)
    (tmp_path / "speechxai" / "report").mkdir()
    (tmp_path / "speechxai" / "signal" / "stft.py").write_text("def f():\n    from speechxai.report import plots\n")
    (tmp_path / "speechxai" / "report" / "plots.py").write_text("from speechxai.signal.stft import f\n")
    graph = arrows(sources(tmp_path))
    assert graph["speechxai.signal.stft"] == {"speechxai.report.plots"}
    assert circles(graph) == [["speechxai.report.plots", "speechxai.signal.stft"]]
    assert FLOOR["report"] > FLOOR["signal"]
