"""Measure how an evaluation grows with recordings and workers: processor time, wall time, memory, and the exponent of
growth; what the app adds to a network that answers a whole cohort; what a training and the app hold in memory.

Examples:
    python scripts/scaling.py --root DATA/figshare-voice --numbers 10 20 40 81 --workers 1 2
    OMP_NUM_THREADS=1 python scripts/scaling.py --made 100 1000 5000       synthetic recordings of 2.5 s
    OMP_NUM_THREADS=1 python scripts/scaling.py --cohort 5000              the app's page on so many
    OMP_NUM_THREADS=1 python scripts/scaling.py --train 3000               one epoch, from memory and from the disk
    python scripts/scaling.py --uploads 240                                memory of the app's server (Chromium)
"""

from __future__ import annotations

import argparse
import json
import shutil
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

        took = {"network": 0.0, "recordings read": 0.0, "scope": 0.0}

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
        state.compare = timed("scope", state.compare)
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
            ratio = ""
            if took["network"]:
                ratio = f"; {total / sum(took.values()):.3f} x these three, {total / took['network']:.1f} x the network"
            print(f"{what}: {n} recordings, {total:.1f} s of processor time ({parts}){ratio}", flush=True)
        print(f"the catalogue before: {looked:.1f} s")


def _own_mb(process: int | str = "self") -> float:
    """Memory of a process that is no page of a file, MB."""
    status = Path(f"/proc/{process}/status").read_text()
    return float(next(line for line in status.splitlines() if line.startswith("RssAnon")).split()[1]) / 1024


def train(voices: Path, limit_mb: int) -> None:
    """Read a set of which at most so much is held in memory, train `cnn` for an epoch, and print what it took."""
    from threading import Event, Thread

    from speechxai.classifiers import fit, training
    from speechxai.data import corpus
    from speechxai.planted.networks import make_cnn

    held, over = [_own_mb()], Event()

    def watch() -> None:
        while not over.wait(0.2):
            held.append(_own_mb())

    watcher = Thread(target=watch)
    watcher.start()
    training.Held = lambda: corpus.Held(limit_mb * 2**20)  # type: ignore[misc,assignment]
    start = time.process_time()
    found = training.read_corpus(voices / "manifest.csv", voices, training.Plan("scaling")).recordings
    read = time.process_time() - start
    held_out = set(sorted({r.speaker for r in found})[::10])
    model = fit.initialized(make_cnn, 0)
    parts = [[r for r in found if (r.speaker in held_out) == out] for out in (False, True)]
    history = fit.fit(model, *parts, fit.FitConfig(epochs=1))
    took = time.process_time() - start - read
    over.set()
    watcher.join()
    set_mb = sum(r.waveform.nbytes for r in found) / 2**20
    print(
        f"at most {limit_mb} MB of waveforms in memory: a set of {set_mb:.0f} MB, at the peak"
        f" {max(held) - held[0]:.0f} MB more than before; read in {read:.1f} s, an epoch in {took:.1f} s of processor"
        f" time, loss {history.epochs[0].training_loss!r}",
        flush=True,
    )


def uploads(seconds: float) -> None:
    """Bring three recordings of so many seconds to the app in Chromium, one after the other, and print what the server
    holds after each, and after the page was closed."""
    import socket
    import urllib.request

    from playwright.sync_api import sync_playwright

    from speechxai.classifiers.bundle import load_bundle, save_bundle
    from speechxai.data.synthetic import corpus
    from speechxai.testing import ANYTHING

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        port = int(tried.getsockname()[1])
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        # The models that come with the program name no class for so long a recording, and draw no map.
        own = load_bundle("synthetic-cnn")
        config = own.config.model_copy(update={"scope": ANYTHING, "name": "long", "speakers": {}, "files": {}})
        save_bundle(Path(folder, "model"), config, {"final": own.classifier()}, "# long")
        words = ["app", "--model", str(Path(folder, "model")), "--port", str(port), "--no-browser", "--no-cache"]
        root = Path(__file__).resolve().parents[1]
        server = subprocess.Popen([sys.executable, "-m", "speechxai", *words], cwd=root, stdout=subprocess.DEVNULL)
        try:
            while True:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2).close()
                    break
                except OSError:
                    time.sleep(0.3)
            ids = [server.pid, *(int(each.name) for each in Path("/proc").iterdir() if _is_child(each, server.pid))]

            def held() -> str:
                return f"{max(_own_mb(each) for each in ids):.0f} MB"

            page = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"]).new_page()
            page.goto(f"http://127.0.0.1:{port}/try-yours")
            player = page.locator(".player[data-drawn]")

            def drawn() -> str | None:
                return player.first.get_attribute("data-drawn") if player.count() else None

            bring = page.locator("[data-testid=stFileUploaderDropzoneInput]")
            bring.wait_for(state="attached", timeout=120_000)
            time.sleep(5)
            print(f"page open: {held()}", flush=True)
            for index, voice in enumerate(corpus(3)[:3]):
                path = Path(folder, f"{index}.wav")
                soundfile.write(path, np.resize(voice.waveform.numpy(), round(seconds * RATE)), RATE)
                before = drawn()
                bring.set_input_files(path)
                while drawn() in (None, before):
                    time.sleep(0.5)
                page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]", timeout=900_000)
                print(f"recording {index + 1} of {seconds:g} s explained: {held()}", flush=True)
            page.close()
            for wait_s in (5, 30, 150):
                time.sleep(wait_s)
                print(f"{wait_s} s later, page closed: {held()}", flush=True)
        finally:
            server.terminate()
            server.wait()


def _is_child(process: Path, parent: int) -> bool:
    try:
        return process.name.isdigit() and int((process / "stat").read_text().rsplit(")", 1)[1].split()[1]) == parent
    except OSError:
        return False


def main() -> None:
    """Measure one worker for every number of recordings, then more workers for the largest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="folder of the figshare-voice recordings")
    parser.add_argument("--numbers", type=int, nargs="+", default=[10, 20, 40, 81])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--executor", default="joblib", help="of the part with workers: joblib or dask")
    parser.add_argument("--made", type=int, nargs="+", help="so many recordings made for it, instead of a data set")
    parser.add_argument("--cohort", type=int, help="the app's page on so many made recordings, and nothing else")
    parser.add_argument("--train", type=int, help="train on so many made recordings, from memory and from the disk")
    parser.add_argument("--uploads", type=float, help="bring three recordings of so many seconds to the app")
    parser.add_argument("--at-most", nargs=2, metavar=("FOLDER", "MB"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.at_most:
        train(Path(chosen.at_most[0]), int(chosen.at_most[1]))
        return
    if chosen.uploads:
        uploads(chosen.uploads)
        return
    if chosen.train:
        with tempfile.TemporaryDirectory() as folder:
            make(chosen.train, Path(folder))
            for limit_mb in (10**6, 100):
                subprocess.run([sys.executable, __file__, "--at-most", folder, str(limit_mb)], check=True)
        return
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
