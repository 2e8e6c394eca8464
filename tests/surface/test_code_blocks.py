"""Code of README and documents: every name in it is imported there, every import is there, and what is short runs."""

from __future__ import annotations

import ast
import builtins
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from speechxai.signal.audio import write
from speechxai.testing import noise_recording

ROOT = Path(__file__).resolve().parents[2]
GIVEN = {"docs/units.md": {"recordings"}}
"""Names that a document says the reader has."""


def blocks() -> Iterator[tuple[str, str]]:
    """Python blocks of README and documents, each with its file."""
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for text in re.findall(r"^```python\n(.*?)^```", path.read_text("utf-8"), re.S | re.M):
            yield str(path.relative_to(ROOT)), text


BLOCKS = list(blocks())


def free_names(text: str) -> set[str]:
    """Names that a block reads and neither makes nor imports."""
    nodes = list(ast.walk(ast.parse(text)))
    names = [node for node in nodes if isinstance(node, ast.Name)]
    made = {node.id for node in names if not isinstance(node.ctx, ast.Load)}
    made |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    made |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            made |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    return {node.id for node in names if isinstance(node.ctx, ast.Load)} - made - {*dir(builtins), "__file__"}


def test_a_missing_import_is_seen() -> None:
    assert free_names("scores = pandas.read_parquet(glob('x')[0])") == {"pandas", "glob"}
    assert free_names("import pandas\nprint([x for x in pandas.DataFrame()])") == set()


@pytest.mark.parametrize("file", sorted({file for file, _ in BLOCKS}))
def test_every_name_is_made_or_imported_and_every_import_is_there(file: str) -> None:
    known = set(GIVEN.get(file, ()))
    for _, text in (block for block in BLOCKS if block[0] == file):
        assert free_names(text) <= known, text
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                known.add(node.name)
            elif isinstance(node, ast.Name):
                known.add(node.id)  # a later block of the same page may go on with it
            elif isinstance(node, ast.Import):
                known |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                module = importlib.import_module(str(node.module))
                known |= {alias.asname or alias.name for alias in node.names}
                for alias in node.names:
                    if not hasattr(module, alias.name):
                        importlib.import_module(f"{node.module}.{alias.name}")


def block_of(file: str, word: str) -> str:
    return next(text for name, text in BLOCKS if name == file and word in text)


def test_the_snippet_on_scaling_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for part, speakers in (("part-0", "abc"), ("part-1", "def")):
        (tmp_path / "runs" / part).mkdir(parents=True)
        rows = [
            {"recording": f"{s}1", "speaker": s, "label": 0, "predicted": 0, "model": "m", "recipe": recipe, "value": v}
            for s in speakers
            for recipe, v in (("saliency", 0.5), ("energy_map", 0.25), ("rise", 0.0))
        ]
        pd.DataFrame(rows).assign(metric="faithfulness").to_parquet(tmp_path / "runs" / part / "scores.parquet")
    made: dict[str, pd.DataFrame] = {}
    exec(block_of("docs/scaling.md", "summarize"), made)
    table = made["table"].set_index("recipe")
    assert table.loc["saliency", ["mean", "n_speakers", "vs_energy_map"]].tolist() == [0.5, 6, 0.25]


def test_the_readmes_snippet_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "voice.wav", noise_recording().waveform, 16_000)
    made: dict[str, object] = {}
    exec(block_of("README.md", "inspect"), made)
    assert "case" in made
