"""Whether the tests notice what a reader could not: single mistakes in the code, one at a time, and which test fails.

    python scripts/mutants.py                    all of tests/mutants.toml, a quarter of an hour of one core
    python scripts/mutants.py --only words       one kind: sign, axis, off by one, swapped, words, or a named one

Each mistake is made in a copy of the checkout; the test that `tests/mutants.toml` names must pass on the copy as it is
and fail with the mistake. Ends with exit status 1 where fewer than 23 of the 25 general ones are noticed, or one of the
named ones is not.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
KINDS = ("sign", "axis", "off by one", "swapped", "words")
ENOUGH = 23
LIMIT_S = 900


def mutants() -> list[dict[str, str]]:
    """What `tests/mutants.toml` holds: kind, file, line, becomes, test."""
    found: list[dict[str, str]] = tomllib.loads((CHECKOUT / "tests" / "mutants.toml").read_text("utf-8"))["mutants"]
    return found


def mistaken(text: str, mutant: dict[str, str]) -> str:
    """The file's text with the mistake. Raises ValueError where its line is not there, or more than once."""
    if text.count(mutant["line"]) != 1:
        raise ValueError(f"{mutant['file']}: {mutant['line']!r} is there {text.count(mutant['line'])} times, not once")
    return text.replace(mutant["line"], mutant["becomes"])


def passes(tree: Path, test: str) -> bool:
    """Whether a test passes in a copy of the checkout."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test]
    ended = subprocess.run(words, cwd=tree, env=environment, capture_output=True, text=True, timeout=LIMIT_S)
    if ended.returncode not in (0, 1):
        raise RuntimeError(f"{test}: pytest ends with {ended.returncode}:\n{ended.stdout[-600:]}{ended.stderr[-600:]}")
    return ended.returncode == 0


def main() -> None:
    """Make every mistake and print who notices."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="mistakes of this kind alone")
    only = parser.parse_args().only
    chosen = [mutant for mutant in mutants() if only in (None, mutant["kind"])]
    noticed = {True: 0, False: 0}  # general ones, named ones
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / CHECKOUT.name
        left_out = shutil.ignore_patterns(".*", "runs", "build", "dist", "__pycache__")
        shutil.copytree(CHECKOUT, tree, ignore=left_out)
        sound = {test: passes(tree, test) for test in sorted({mutant["test"] for mutant in chosen})}
        for mutant in chosen:
            path = tree / mutant["file"]
            whole = path.read_text("utf-8")
            path.write_text(mistaken(whole, mutant), "utf-8")
            try:
                found = sound[mutant["test"]] and not passes(tree, mutant["test"])
            finally:
                path.write_text(whole, "utf-8")
            noticed[mutant["kind"] in KINDS] += found
            print(
                f"{'noticed' if found else 'MISSED':8} {mutant['kind']}: {mutant['file']}: {mutant['test']}", flush=True
            )
    general = sum(mutant["kind"] in KINDS for mutant in chosen)
    print(
        f"{noticed[True]} of {general} general mistakes are noticed, {noticed[False]} of {len(chosen) - general} named."
    )
    few = noticed[True] < (ENOUGH if only is None else general)
    raise SystemExit(1 if few or noticed[False] < len(chosen) - general else 0)


if __name__ == "__main__":
    main()
