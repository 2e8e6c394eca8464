"""Measure how an evaluation grows with recordings and workers: processor time, wall time, memory, and the exponent of
growth; and what the app adds to a network that answers a whole cohort.

Examples:
    python scripts/scaling.py --root DATA/figshare-voice --numbers 10 20 40 81 --workers 1 2
    OMP_NUM_THREADS=1 python scripts/scaling.py --made 100 1000 5000       synthetic recordings of 2.5 s
    OMP_NUM_THREADS=1 python scripts/scaling.py --cohort 5000              the app's page on so many
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile

RECIPES = ("saliency", "guided_backprop", "guided_gradcam", "union(saliency, guided_backprop)")


def measure(words: list[str], out: Path) -> dict[str, float]:
    """Run once; numbers of the run's own record, and hours of audio."""
    command = [sys.executable, "-m", "speechxai.cli", "evaluate", *words, "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
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


SECONDS, RATE, TAKES_OF_ONE = 2.5, 16_000, 5


def make(n: int, folder: Path) -> Path:
    """Write n recordings of 2.5 s and their manifest: pieces of synthetic voices, five of each speaker, the loudness a
    little different in each, so that no two files are the same."""
    from speechxai.data.synthetic import corpus

    voices = [voice.waveform.numpy() for voice in corpus(16)]
    length, random, rows = round(SECONDS * RATE), np.random.default_rng(0), []
    for index in range(n):
        speaker = index // TAKES_OF_ONE
        wave = np.resize(voices[speaker % len(voices)], 4 * length)
        start = int(random.integers(0, 3 * length))
        name = f"{index:05}.wav"
        soundfile.write(folder / name, wave[start : start + length] * random.uniform(0.5, 0.9), RATE)
        rows.append(
            {
                "recording": name[:-4],
                "path": name,
                "speaker": f"made/{speaker:05}",
                "label": speaker % 2,
                "task": "vowel-a",
            }
        )
    pd.DataFrame(rows).to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


def made(numbers: list[int]) -> None:
    """Evaluate so many recordings: three recipes and two metrics, tables and report of them included."""
    words = ["--model", "synthetic-cnn", "--pictures", "0", "--no-controls", "--threads", "1", "--no-agreement"]
    words += ["--recipes", "saliency", "--recipes", "input_x_gradient", "--metrics", "average_drop"]
    words += ["--recipes", "union(saliency, input_x_gradient)", "--metrics", "sparseness"]
    rows = []
    for n in numbers:
        with tempfile.TemporaryDirectory() as folder:
            voices = Path(folder, "voices")
            voices.mkdir()
            data = ["--data", str(make(n, voices)), "--root", str(voices)]
            rows.append(measure([*data, *words], Path(folder, "run")))
            print(pd.DataFrame(rows[-1:]).to_string(index=False), flush=True)
    table = pd.DataFrame(rows)
    print(
        f"processor time grows with recordings to the power of {exponent(table, 'recordings', 'cpu_s'):.3f}, between"
        f" the last two {exponent(table[-2:], 'recordings', 'cpu_s'):.3f}; memory"
        f" {exponent(table, 'recordings', 'peak_mb'):.3f}"
    )


def cohort(n: int) -> None:
    """Answer n recordings as the app's page does, once afresh and once from what it kept."""
    import os

    with tempfile.TemporaryDirectory() as folder:
        manifest = make(n, Path(folder))
        os.environ["SPEECHXAI_CACHE"] = str(Path(folder, "cache"))
        sys.argv = ["app", "--data", str(manifest), "--root", folder]
        from app import sources, state

        took = {"network": 0.0, "recordings read": 0.0}

        def timed(name: str, run: Any) -> Any:
            def call(*given: Any) -> Any:
                start = time.process_time()
                try:
                    return run(*given)
                finally:
                    took[name] += time.process_time() - start

            return call

        state.predict = timed("network", state.predict)
        state.spectrogram = timed("network", state.spectrogram)
        state.catalogue_recording = timed("recordings read", state.catalogue_recording)
        start = time.process_time()
        sources.catalogue()
        looked = time.process_time() - start
        for what in ("afresh", "kept"):
            took.update(dict.fromkeys(took, 0.0))
            start = time.process_time()
            found = state.predictions("synthetic-cnn", lambda *_: None)
            total = time.process_time() - start
            assert found["probability"].notna().all()
            parts = ", ".join(f"{name} {spent:.1f} s" for name, spent in took.items())
            ratio = f", {total / took['network']:.3f} x the network" if took["network"] else ""
            print(f"{what}: {n} recordings, {total:.1f} s of processor time ({parts}){ratio}", flush=True)
        print(f"the catalogue before: {looked:.1f} s")


def main() -> None:
    """Measure one worker for every number of recordings, then more workers for the largest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="folder of the figshare-voice recordings")
    parser.add_argument("--numbers", type=int, nargs="+", default=[10, 20, 40, 81])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--executor", default="joblib", help="of the part with workers: joblib or dask")
    parser.add_argument("--made", type=int, nargs="+", help="so many recordings made for it, instead of a data set")
    parser.add_argument("--cohort", type=int, help="the app's page on so many made recordings, and nothing else")
    chosen = parser.parse_args()
    if chosen.cohort or chosen.made:
        cohort(chosen.cohort) if chosen.cohort else made(chosen.made)
        return
    if chosen.root is None:
        parser.error("--root is needed: the folder of the figshare-voice recordings")
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
