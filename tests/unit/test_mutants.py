"""The list of mistakes that `scripts/mutants.py` makes stays one that can be made."""

from __future__ import annotations

import ast
import runpy
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_mistake_can_be_made_and_names_its_test() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "mutants.py"))
    found = script["mutants"]()
    general = [mutant for mutant in found if mutant["kind"] in script["KINDS"]]
    assert Counter(mutant["kind"] for mutant in general) == dict.fromkeys(script["KINDS"], 5)
    assert len({mutant["file"] for mutant in general}) == 25
    for mutant in found:
        text = (ROOT / mutant["file"]).read_text("utf-8")
        assert ast.dump(ast.parse(script["mistaken"](text, mutant))) != ast.dump(ast.parse(text)), mutant
        path, _, name = mutant["test"].partition("::")
        assert f"def {name}" in (ROOT / path).read_text("utf-8"), mutant
