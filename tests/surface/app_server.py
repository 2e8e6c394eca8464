"""One server and one browser for all tests of the app: recordings, a small network, Chromium."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = os.environ.get("SPEECHXAI_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]
SLOW_MS = int(os.environ.get("SPEECHXAI_BROWSER_MS", "60000"))
CHIRP_FROM_HZ, CHIRP_HZ_PER_S = 300.0, 1_400.0


@dataclass(frozen=True)
class Server:
    """A running app: its address, its folder, its process."""

    url: str
    folder: Path
    process: subprocess.Popen[bytes]


def chirp(duration_s: float = 5.0, rate: int = 16_000) -> np.ndarray:
    """A tone whose pitch tells the time: f = 300 Hz + 1400 Hz/s * t."""
    t = np.arange(int(duration_s * rate)) / rate
    return 0.5 * np.sin(2 * np.pi * (CHIRP_FROM_HZ * t + CHIRP_HZ_PER_S * t**2 / 2))


def write_recordings(folder: Path) -> Path:
    """Write synthetic voices, a 10 s and a 3-minute recording and a chirp as WAV, with their manifest."""
    from speechxai.data.manifest import write_manifest
    from speechxai.data.synthetic import corpus

    voices = corpus(4, 1_000, tasks=["vowel-a", "phrase"])
    rows = []
    speech = np.concatenate([v.waveform.numpy() for v in voices])
    sounds = [(v.id.split("/", 1)[1].replace("/", "-"), v.speaker, v.label, v.task, v.waveform.numpy()) for v in voices]
    sounds.append(("ten-seconds", "made/ten", 0, "reading", np.resize(speech, 160_000)))
    sounds.append(("three-minutes", "made/long", 1, "reading", np.resize(speech, 180 * 16_000)))
    sounds.append(("chirp", "made/chirp", 0, "chirp", chirp()))
    for name, speaker, label, task, samples in sounds:
        soundfile.write(folder / f"{name}.wav", samples.astype(np.float32), 16_000, subtype="PCM_16")
        rows.append(
            {
                "recording": name,
                "path": f"{name}.wav",
                "speaker": speaker,
                "label": label,
                "task": task,
                "dataset": "made",
            }
        )
    write_manifest(pd.DataFrame(rows), folder / "manifest.csv")
    return folder / "manifest.csv"


def write_bundle(folder: Path) -> Path:
    """Write a network of random weights: the app does not ask whether an answer is good."""
    from speechxai.classifiers import Classifier, build
    from speechxai.io.bundle_config import BundleConfig, SegmentSettings, StftSettings
    from speechxai.io.checkpoints import save_bundle
    from speechxai.segments import SegmentConfig
    from speechxai.types import StftConfig

    stft = StftConfig()
    with torch.random.fork_rng():
        torch.manual_seed(3)
        options = {"channels": [8, 16, 24]}
        model = Classifier(build("cnn", stft, **options), stft, SegmentConfig(), cam_layer="features")
    config = BundleConfig(
        name="test-cnn", title="Test network", architecture="cnn", options=options, cam_layer="features",
        stft=StftSettings(n_fft=stft.n_fft, win_length=stft.win_length, hop_length=stft.hop_length, window=stft.window, sample_rate=stft.sample_rate, scale=stft.scale),
        segment=SegmentSettings(length_s=5.0, hop_s=2.5),
    )  # fmt: skip
    card = "# Test network\n\nRandom weights.\n\n## Caveats\n\n- It knows nothing: its weights are random.\n"
    return save_bundle(folder / "test-cnn", config, {"final": model}, card).folder


def write_run(folder: Path) -> Path:
    """Write a finished run of two recordings for the Benchmark page."""
    from speechxai.config import EvaluateConfig
    from speechxai.io.session import create_run, execute, prepare

    config = EvaluateConfig(
        data=str(folder / "manifest.csv"), root=folder, model=str(folder / "test-cnn"), limit=4, out=folder / "run-one",
        recipes=("saliency", "random_map", "energy_map"), metrics=("published", "comprehensiveness@20", "mean_mask"),
    )  # fmt: skip
    session = prepare(config)
    execute(session, create_run(session))
    return folder / "run-one"


@contextmanager
def started(folder: Path, *more: str) -> Iterator[Server]:
    """Start the app as a reader does, on a free port; it is stopped at the end, whatever happens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "SPEECHXAI_CACHE": str(folder / "cache"), "PYTHONPATH": str(ROOT)}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "speechxai.cli", "app", "--port", str(port), "--no-browser", *more],
            env=environment, stdout=log, stderr=log, cwd=folder,
        )  # fmt: skip
        try:
            url = f"http://127.0.0.1:{port}"
            for _ in range(240):
                try:
                    urllib.request.urlopen(f"{url}/_stcore/health", timeout=2).read()
                    break
                except OSError:
                    if process.poll() is not None:
                        raise RuntimeError((folder / "server.log").read_text(errors="replace")[-3000:]) from None
                    time.sleep(0.25)
            yield Server(url, folder, process)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def busy() -> bool:
    """Whether other work fills the machine, so that times say nothing about the app."""
    return os.getloadavg()[0] > 1.5 * (os.cpu_count() or 1)
