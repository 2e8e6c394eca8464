"""A package of somebody else brings a method, a combination, a metric, a card, a classifier and a cue."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import soundfile

from speechxai.testing import noise_recording

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "extend.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
PARTS = dict(
    zip(
        ("imports", "method", "combination", "metric", "classifier", "cue", "sign", "card", "probe"),
        BLOCKS,
        strict=True,
    )
)
CARD = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)[0]
MODEL = """
import outside, torch
from speechxai.classifiers import Classifier, build
from speechxai.classifiers.bundle import BundleConfig, StftSettings, save_bundle
from speechxai.testing import TINY_STFT
stft = StftSettings(**{name: getattr(TINY_STFT, name) for name in StftSettings.model_fields})
torch.manual_seed(0)
classifier = Classifier(build("mean_spectrum", TINY_STFT), TINY_STFT)
save_bundle("mine", BundleConfig(name="mine", architecture="mean_spectrum", stft=stft), {"final": classifier}, "# Mine")
"""
RECIPES = ("-r", "loud_gradient", "-r", "product(loud_gradient, saliency)")


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def run(folder: Path, *words: object, code: str = "", path: Path | None = None) -> tuple[int, str]:
    """Run the command line, or Python code, in a folder; returns the exit status and everything it said."""
    # -P: as an installed command, which has no current folder on its path.
    command = ["-c", code] if code else ["-P", "-m", "speechxai.cli", *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, filter(None, (path, ROOT))))
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=280
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the outside package, six recordings of noise, and a model of the package's classifier."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "outside.py").write_text("\n".join(PARTS.values()))
    (folder / "outside-set.toml").write_text(CARD)
    for index in range(6):
        path = folder / "voices" / ("PD" if index % 2 else "HC") / f"s{index}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, noise_recording(f"n{index}", 0.4, seed=index).waveform.numpy(), 8_000)
    status, said = run(folder, code=MODEL)
    assert status == 0, said
    return folder


@pytest.mark.parametrize("part", ["method", "combination", "metric", "classifier", "card", "cue", "sign", "probe"])
def test_each_part_is_at_most_eight_lines(part: str) -> None:
    assert len(lines(PARTS[part])) <= 8
    assert len(lines(CARD)) <= 8


@pytest.mark.slow
def test_a_package_outside_is_evaluated_by_workers_resumed_and_reported_without_it(outside: Path) -> None:
    words = ("evaluate", "--import", "outside", "--data", "outside-set", "--root", "voices", "--model", "mine")
    words += (*RECIPES, "-m", "peak_share", "-m", "faithfulness", "--executor", "joblib", "--workers", 2)
    status, said = run(outside, *words, "--out", "run")
    assert status == 0, said
    table = (outside / "run" / "scores.csv").read_bytes()
    assert table.count(b"product(loud_gradient") == 12  # 6 recordings x 2 metrics
    assert b",," not in table

    # As after a kill: two recordings are missing, and every table.
    for path in [*sorted((outside / "run" / "units").glob("*.json"))[:2], outside / "run" / "scores.csv"]:
        path.unlink()
    others = ("--executor", "dask") if find_spec("distributed") and find_spec("dask_jobqueue") else ()
    status, said = run(outside, "evaluate", "--resume", "run", *others)
    assert status == 0, said
    assert "on 2 of 6 recordings" in said
    assert (outside / "run" / "scores.csv").read_bytes() == table

    # Other code computes other numbers: never beside those of the code before.
    code = (outside / "outside.py").read_text()
    (outside / "outside.py").write_text(code.replace("power: float = 1.0", "power: float = 2.0"))
    status, said = run(outside, "evaluate", "--resume", "run")
    assert status == 2
    assert "6 of 6 units were computed with the code of outside" in " ".join(said.split())
    (outside / "outside.py").write_text(code)
    assert run(outside, "evaluate", "--resume", "run")[0] == 0

    status, markdown = run(outside, "report", "run", "--format", "markdown")
    assert status == 0, markdown
    report = (outside / "run" / "report.html").read_text()
    assert "TOP ↓" in report
    assert "Share of the evidence in its strongest bin." in report

    (outside / "outside.py").rename(outside / "hidden.txt")
    try:
        assert run(outside, "report", "run", "--format", "markdown") == (0, markdown)
        assert run(outside, "report", "run", "--out", "without.html")[0] == 0
        assert (outside / "without.html").read_text() == report
        status, said = run(outside, "evaluate", "--resume", "run")
        assert status == 2
        assert said.startswith("Error: outside: there is no such plugin. Install it")
    finally:
        (outside / "hidden.txt").rename(outside / "outside.py")


@pytest.mark.slow
def test_commands_know_what_a_module_brings(outside: Path) -> None:
    status, said = run(outside, "list", "--import", "outside")
    assert status == 0, said
    for name in ("loud_gradient", "product", "peak_share", "mean_spectrum", "outside-set", "first_sample"):
        assert f"\n{name} " in said
    assert "\npeak_share " not in run(outside, "list", "metrics")[1]
    status, said = run(outside, "predict", "voices/PD/s1.wav", "--model", "mine", "--import", "outside")
    assert (status, "p_PD" in said) == (0, True), said
    asked = ("benchmark", "--quick", "--cue", "hum", "--out", "planted")
    assert "Unknown cue 'hum'" in run(outside, *asked)[1]
    assert "The cue 'hum' is planted into recordings" in run(outside, *asked, "--import", "outside")[1]
    status, said = run(outside, "predict", "voices/PD/s1.wav", "--model", "mine")
    assert status == 2
    assert "Unknown backbone 'mean_spectrum'" in said


@pytest.mark.slow
def test_an_installed_package_needs_no_word(outside: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "outside-1.0.dist-info").mkdir(parents=True)
    (site / "outside-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    (site / "outside-1.0.dist-info" / "entry_points.txt").write_text("[speechxai.plugins]\nmine = outside\n")
    for name in ("outside.py", "outside-set.toml"):
        (site / name).write_bytes((outside / name).read_bytes())
    words = ("evaluate", "--data", "outside-set", "--root", outside / "voices", "--model", outside / "mine", *RECIPES)
    words += ("-m", "peak_share", "--limit", 2, "--executor", "joblib", "--workers", 2, "--out", tmp_path / "run")
    status, said = run(tmp_path, *words, path=site)
    assert status == 0, said
    assert "peak_share" in (tmp_path / "run" / "summary.csv").read_text()
    status, said = run(tmp_path, "report", tmp_path / "run")
    assert status == 0, said
    (site / "outside.py").write_text("1 / 0\n")
    status, said = run(tmp_path, "list", "metrics", path=site)
    assert status == 2
    assert said.startswith("Error: outside: this plugin fails when it is imported (")
    assert "outside.py, line 1): ZeroDivisionError: division by zero" in said
