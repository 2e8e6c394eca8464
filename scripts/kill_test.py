"""Kill an evaluation with SIGKILL at random moments, resume it, and compare: same tables and maps, nothing computed
twice.

Example: python scripts/kill_test.py --root DATA/figshare-voice --runs 20
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

TABLES = ("scores.parquet", "scores.csv", "summary.csv", "agreement.csv", "failures.csv")
RECIPES = ("saliency", "guided_backprop", "guided_gradcam", "union(saliency, guided_backprop)")


def fingerprint(run: Path) -> dict[str, str]:
    """Hash of every table and of all maps; predictions without what they cost, which is different every time."""
    found = {name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in TABLES}
    frame = pd.read_parquet(run / "predictions.parquet")
    kept = [name for name in frame.columns if name == "duration_s" or not name.endswith("_s")]
    found["predictions"] = hashlib.sha256(frame[kept].to_csv().encode()).hexdigest()
    files = sorted(path for path in (run / "maps.zarr").rglob("*") if path.is_file() and ".tmp" not in str(path))
    content = b"".join(str(path.relative_to(run)).encode() + path.read_bytes() for path in files)
    return {**found, "maps": f"{len(files)} files {hashlib.sha256(content).hexdigest()}"}


def units(run: Path) -> dict[str, tuple[int, int]]:
    """When and as which file every finished unit was written."""
    found = run.glob("units/*.json")
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in found if path.name[0] != "."}


def started(words: list[str]) -> subprocess.Popen[bytes]:
    """Start the command in a process group of its own."""
    command = [sys.executable, "-m", "speechxai.cli", "evaluate", *words]
    return subprocess.Popen(command, process_group=0, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kill_and_resume(words: list[str], run: Path, n_before: int, delay_s: float, whole: dict[str, str]) -> bool:
    """Kill a run `delay_s` after its `n_before`-th unit, resume it, print a line. Whether all is as it should be."""
    process = started([*words, "--out", str(run)])
    while len(units(run)) < n_before and process.poll() is None:
        time.sleep(0.01)
    time.sleep(delay_s)
    note = "" if process.poll() is None else " (was finished)"
    if not note:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before, tables = units(run), "begun" if (run / "scores.csv").exists() else "not begun"
    n_in_flight = sum(lock.with_suffix(".json").name not in before for lock in run.glob("units/*.lock"))
    resumed = (run / "config.toml").exists()
    status = started(["--resume", str(run)] if resumed else [*words, "--out", str(run)]).wait()
    after, found = units(run), fingerprint(run)
    n_twice = sum(after.get(name) != value for name, value in before.items())
    differing = [name for name in whole if found[name] != whole[name]]
    shutil.rmtree(run)
    print(f"killed{note} with {len(before):2d} units done, {n_in_flight} in flight, tables {tables}; ", end="")
    print(f"{'resumed' if resumed else 'begun again'}: {len(after) - len(before)} computed, {n_twice} twice, ", end="")
    print(f"exit status {status}, {f'DIFFERENT {differing}' if differing else 'identical'}", flush=True)
    return not (differing or status or n_twice)


def main() -> None:
    """Run once without a kill, then kill and resume as often as asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="folder of the figshare-voice recordings")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    chosen, others = parser.parse_known_args()  # others, for example --executor joblib --workers 2, are handed on
    words = ["--data", "figshare-voice", "--root", chosen.root, "--model", "figshare-cnn", "--maps", "--pictures", "0"]
    words += ["--no-controls", "--metrics", "published", *others]
    words += [word for recipe in RECIPES for word in ("--recipes", recipe)]
    folder, begun = Path(tempfile.mkdtemp(prefix="kill-")), time.perf_counter()
    rng = random.Random(chosen.seed)  # noqa: S311
    status = started([*words, "--out", str(folder / "whole")]).wait()
    whole_s, whole, n = time.perf_counter() - begun, fingerprint(folder / "whole"), len(units(folder / "whole"))
    print(f"Without a kill: {n} units, {whole_s:.1f} s, exit status {status}", flush=True)
    n_good = 0
    for number in range(chosen.runs):
        print(f"{number + 1:2d}: ", end="")
        moment = rng.randint(0, n), rng.uniform(0, 3 * whole_s / n)
        n_good += kill_and_resume(words, folder / f"killed-{number}", *moment, whole)
    shutil.rmtree(folder)
    print(f"{n_good} of {chosen.runs}: identical tables and maps, nothing computed twice.")
    sys.exit(n_good != chosen.runs)


if __name__ == "__main__":
    main()
