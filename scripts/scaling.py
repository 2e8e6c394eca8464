"""Measure how an evaluation grows with recordings and workers: processor time, wall time, memory, and the exponent of
growth.

Example: python scripts/scaling.py --root DATA/figshare-voice --numbers 10 20 40 81 --workers 1 2
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

RECIPES = ("saliency", "guided_backprop", "guided_gradcam", "union(saliency, guided_backprop)")


def measure(words: list[str], out: Path) -> dict[str, float]:
    """Run once; numbers of the run's own record, and hours of audio."""
    subprocess.run(
        [sys.executable, "-m", "speechxai.cli", "evaluate", *words, "--out", str(out)], check=True, capture_output=True
    )
    (session,) = json.loads((out / "environment.json").read_text())["sessions"]
    units = [json.loads(path.read_text())["facts"] for path in (out / "units").glob("*.json")]
    parts = ("load_s", "spectrogram_s", "forward_pass_s", "explain_s", "score_s", "agreement_s")
    peak_mb = max(worker["peak_memory_mb"] for worker in session["workers"].values())
    return {
        "recordings": len(units),
        "audio_s": sum(facts["duration_s"] for facts in units),
        "cpu_s": session["cpu_s"],
        "wall_s": session["wall_s"],
        "unit_s": float(np.median([sum(facts.get(part, 0.0) for part in parts) for facts in units])),
        "peak_mb": peak_mb,
        "folder_mb": sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / 2**20,
        "unit_kb": float(np.median([path.stat().st_size for path in (out / "units").glob("*.json")])) / 2**10,
    }


def exponent(table: pd.DataFrame, against: str, of: str) -> float:
    """Slope of the straight line through the logarithms."""
    return float(np.polyfit(np.log(table[against]), np.log(table[of]), 1)[0])


def main() -> None:
    """Measure one worker for every number of recordings, then more workers for the largest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder of the figshare-voice recordings")
    parser.add_argument("--numbers", type=int, nargs="+", default=[10, 20, 40, 81])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--executor", default="joblib", help="of the part with workers: joblib or dask")
    chosen = parser.parse_args()
    words = ["--data", "figshare-voice", "--root", str(chosen.root), "--model", "figshare-cnn", "--pictures", "0"]
    words += ["--metrics", "published", "--no-controls", "--threads", "1", "--maps"]
    words += [word for recipe in RECIPES for word in ("--recipes", recipe)]
    pd.set_option("display.width", 160, "display.float_format", "{:.3f}".format)
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure([*words, "--limit", str(n)], Path(folder, f"serial-{n}")) for n in chosen.numbers]
        table = pd.DataFrame(rows)
        print(table.to_string(index=False), flush=True)
        print(
            f"processor time grows with recordings to the power of {exponent(table, 'recordings', 'cpu_s'):.3f}, "
            f"with seconds of audio {exponent(table, 'audio_s', 'cpu_s'):.3f}; "
            f"memory with recordings {exponent(table, 'recordings', 'peak_mb'):.3f}",
            flush=True,
        )
        rows = []
        for n in chosen.workers:
            found = measure(
                [*words, "--executor", chosen.executor, "--workers", str(n), "--limit", str(max(chosen.numbers))],
                Path(folder, f"workers-{n}"),
            )
            rows.append({"workers": n, **found})
        print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
