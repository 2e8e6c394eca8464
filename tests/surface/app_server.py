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


HOSTILE = """![a](http://evil.example/1.png) ![b][r] <img src="http://evil.example/2.png"> [link](http://evil.example/3)
<http://evil.example/4> http://evil.example/5 www.evil.example me@evil.example :material/home: :red[red] $x$

[r]: http://evil.example/6.png

| a | b |
|---|---|
| [cell](//evil.example/7) | ![c](//evil.example/8.png) |
"""
"""What a card, a name or a label from outside may hold; none of it may make a browser call or link elsewhere."""


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

    voices = corpus(6, 1_000, tasks=["vowel-a", "phrase"])
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
    from speechxai.classifiers.bundle import BundleConfig, SegmentSettings, StftSettings, save_bundle
    from speechxai.signal.stft import SegmentConfig
    from speechxai.testing import ANYTHING
    from speechxai.types import StftConfig

    stft = StftConfig()
    with torch.random.fork_rng():
        torch.manual_seed(3)
        options = {"channels": [8, 16, 24]}
        model = Classifier(build("cnn", stft, **options), stft, SegmentConfig(), cam_layer="features")
    config = BundleConfig(
        name="test-cnn",
        title="Test network",
        architecture="cnn",
        options=options,
        cam_layer="features",
        stft=StftSettings(
            n_fft=stft.n_fft,
            win_length=stft.win_length,
            hop_length=stft.hop_length,
            window=stft.window,
            sample_rate=stft.sample_rate,
            scale=stft.scale,
        ),
        segment=SegmentSettings(length_s=5.0, hop_s=2.5),
        scope=ANYTHING,
    )
    card = (
        "# Test network\n\nRandom weights.\n\n## Caveats\n\n- It knows nothing: its weights are random.\n\n" + HOSTILE
    )
    return save_bundle(folder / "test-cnn", config, {"final": model}, card).folder


def write_embedded(folder: Path) -> Path:
    """Write the demonstration's network as one that may be asked about any recording."""
    from speechxai.classifiers.bundle import load_bundle, save_bundle
    from speechxai.testing import ANYTHING

    bundle = load_bundle("synthetic-cnn")
    alone = {"scope": ANYTHING, "folds": (), "speakers": {}, "files": {}}
    config = bundle.config.model_copy(update={"name": "embedded", **alone})
    return save_bundle(folder / "embedded", config, {"final": bundle.classifier()}, bundle.card).folder


def write_run(folder: Path) -> Path:
    """Write a finished run of six one-second vowels with an auxiliary study of its maps, for the Benchmark page."""
    from speechxai.auxiliary.folder import run_study
    from speechxai.auxiliary.values import AuxiliarySettings
    from speechxai.evaluation.config import EvaluateConfig
    from speechxai.evaluation.executors import execute
    from speechxai.evaluation.runs import RunFolder
    from speechxai.evaluation.session import create_run, prepare

    rows = pd.read_csv(folder / "manifest.csv")
    rows = rows[rows["task"] == "vowel-a"]
    (folder / "vowels").mkdir()
    for name in rows["path"]:
        samples, rate = soundfile.read(folder / name)
        soundfile.write(folder / "vowels" / name, samples[:rate], rate)
    rows.to_csv(folder / "vowels" / "manifest.csv", index=False)
    config = EvaluateConfig(
        data=str(folder / "vowels" / "manifest.csv"),
        root=folder / "vowels",
        model=str(folder / "test-cnn"),
        out=folder / "run-one",
        maps=True,
        recipes=("saliency", "random_map", "energy_map"),
        metrics=("published", "comprehensiveness@20", "mean_mask"),
    )
    session = prepare(config)
    execute(session, create_run(session))
    study = AuxiliarySettings(("saliency",), n_seeds=1, n_folds=3, epochs=1, n_mels=16)
    run_study(RunFolder.open(folder / "run-one"), study)
    return folder / "run-one"


def write_truth(folder: Path) -> Path:
    """Write a benchmark of two cues whose scores are made: integrated gradients points best, one seed did not learn."""
    from speechxai.planted.folder import BenchmarkFolder
    from speechxai.planted.settings import TRUTH, BenchmarkSettings, TaskResult

    methods = ("saliency", "integrated_gradients")
    settings = BenchmarkSettings(cues=("tremor", "breathiness"), seeds=(0, 1, 2), methods=methods, combinations=())
    benchmark = BenchmarkFolder.begin(folder / "truth", settings, {})
    for task in settings.tasks():
        deaf = task.cue == "breathiness"
        facts = {
            "task": task.id,
            "group": task.group,
            "material": "synthetic",
            "cue": task.cue,
            "severity": 1.0,
            "seed": task.seed,
            "verdict": "" if deaf else "learned",
            "n_pairs": 16,
            "n_speakers": 8,
            "auc": 0.7 if deaf else 0.98,
            "auc_low": 0.6,
            "auc_high": 0.99,
            "rms_auc": 0.5,
            "peak_auc": 0.5,
            "excluded": "AUC within folds 0.700 is under 0.90" if deaf else "",
        }
        scores, sanity = [], []
        for index in range(0 if deaf else 9):
            values = {}
            for place, recipe in enumerate(("random_map", "energy_map", "edge_map", *methods)):
                rank = 0.1 + 0.15 * place + 0.01 * ((index * (place + 1)) % 5)
                values[recipe] = [rank, rank / 2, 0.5 + rank / 2, rank**2, rank, 0.1]
            values[TRUTH] = [1.0] * 3 + [float("nan")] * 3
            way = "added, 3 dB, 1 bin"
            scores.append(
                {
                    "recording": f"{task.cue}-{index}",
                    "speaker": f"s{task.seed}-{index}",
                    "fold": index % 3,
                    "margins": [-1.0, 1.0],
                    "areas": {way: 0.1, "removed, 3 dB, 1 bin": 0.02},
                    "metrics": [
                        f"relevance_rank | {way}",
                        f"relevance_mass | {way}",
                        f"localization_auc | {way}",
                        "comprehensiveness@20",
                        "deletion_auc",
                        "mean_mask",
                    ],
                    "values": values,
                }
            )
            sanity += [
                {"recording": "r", "speaker": "s", "recipe": name, "check": "randomized_all", "value": value}
                for name, value in (("saliency", 0.2), ("edge_map", 1.0))
            ]
        benchmark.keep(TaskResult(task.id, facts, scores, sanity))
    benchmark.finish()
    return folder / "truth"


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
            env=environment,
            stdout=log,
            stderr=log,
            cwd=folder,
        )
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
