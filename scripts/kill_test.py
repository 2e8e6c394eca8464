"""Kill an evaluation with SIGKILL at random moments, resume it, and compare: same tables and maps, nothing computed twice.

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
COMMAND = [sys.executable, "-m", "speechxai.cli", "evaluate"]


def fingerprint(run: Path) -> dict[str, str]:
    """Hash of every table and of all maps; predictions without what they cost, which is different every time."""
    found = {name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in TABLES}
    frame = pd.read_parquet(run / "predictions.parquet")
    kept = [name for name in frame.columns if name == "duration_s" or not name.endswith("_s")]
    found["predictions"] = hashlib.sha256(frame[kept].to_csv().encode()).hexdigest()
    files = sorted(path for path in (run / "maps.zarr").rglob("*") if path.is_file() and ".tmp" not in str(path))
    maps = hashlib.sha256()
    for path in files:
        maps.update(str(path.relative_to(run)).encode() + path.read_bytes())
    return {**found, "maps": f"{len(files)} files {maps.hexdigest()}"}


def units(run: Path) -> dict[str, tuple[int, int]]:
    """When and as which file every finished unit was written."""
    found = (run / "units").glob("*.json")
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in found if path.name[0] != "."}


def started(words: list[str]) -> subprocess.Popen[bytes]:
    """Start the command in a process group of its own."""
    quiet = subprocess.DEVNULL
    return subprocess.Popen([*COMMAND, *words], start_new_session=True, stdout=quiet, stderr=quiet)


def kill_and_resume(words: list[str], run: Path, moment_s: float, whole: dict[str, str]) -> tuple[bool, int]:
    """Begin a run, kill it, resume it, print a line. Returns whether all is as in `whole`, and how many units came twice."""
    process = started([*words, "--out", str(run)])
    time.sleep(moment_s)
    note = "" if process.poll() is None else " (was finished)"
    if not note:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = units(run)
    n_in_flight = sum(lock.with_suffix(".json").name not in before for lock in run.glob("units/*.lock"))
    resumed = (run / "config.toml").exists()
    status = started(["--resume", str(run)] if resumed else [*words, "--out", str(run)]).wait()
    after, found = units(run), fingerprint(run)
    n_twice = sum(after.get(name) != value for name, value in before.items())
    differing = [name for name in whole if found[name] != whole[name]]
    shutil.rmtree(run)
    verdict = f"DIFFERENT {differing}" if differing else "identical"
    print(
        f"killed at {moment_s:5.1f} s{note}, {len(before):2d} units done, {n_in_flight} in flight; "
        f"{'resumed' if resumed else 'begun again'}: {len(after) - len(before)} computed, {n_twice} twice, "
        f"exit status {status}, {verdict}",
        flush=True,
    )
    return not differing and status == 0, n_twice


def main() -> None:
    """Run once without a kill, then kill and resume as often as asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder of the figshare-voice recordings")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--executor", nargs="+", default=["serial"], help="for example: joblib --workers 2")
    chosen, others = parser.parse_known_args()
    words = ["--data", "figshare-voice", "--root", str(chosen.root), "--model", "figshare-cnn", "--maps"]
    words += ["--pictures", "0", "--executor", *chosen.executor, *others]
    words += [word for recipe in RECIPES for word in ("--recipes", recipe)]
    folder, rng = Path(tempfile.mkdtemp(prefix="kill-")), random.Random(chosen.seed)  # noqa: S311
    begun = time.perf_counter()
    status = started([*words, "--out", str(folder / "whole")]).wait()
    whole_s, whole = time.perf_counter() - begun, fingerprint(folder / "whole")
    print(f"Without a kill: {len(units(folder / 'whole'))} units, {whole_s:.1f} s, exit status {status}", flush=True)
    results = []
    for number in range(chosen.runs):
        print(f"{number + 1:2d}: ", end="")
        results.append(kill_and_resume(words, folder / f"killed-{number}", rng.uniform(0.05, 1.0) * whole_s, whole))
    n_good, n_twice = sum(good for good, _ in results), sum(n for _, n in results)
    print(f"{n_good} of {chosen.runs} identical; {n_twice} units computed twice.")
    sys.exit(0 if n_good == chosen.runs and not n_twice else 1)


if __name__ == "__main__":
    main()
