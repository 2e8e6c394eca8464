"""Without a torchaudio that fits: spectrogram networks work, and a speech foundation model says what to install, in one
line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import soundfile

from speechxai.classifiers import build
from speechxai.classifiers.bundle import library_versions, version_differences
from speechxai.classifiers.ssl import from_bundle, load_torchaudio
from speechxai.errors import SpeechXAIError
from speechxai.evaluation.machine import machine
from speechxai.files import to_toml
from speechxai.testing import noise_recording, tiny_bundle

REFUSAL = "Detected that PyTorch and TorchAudio were compiled with different CUDA versions.\n  PyTorch has 13.2."
FAKES = {
    "missing": "raise ModuleNotFoundError('No module named torchaudio')",
    "another CUDA": f"raise RuntimeError({REFUSAL!r})",
    "does not link": "raise OSError('undefined symbol: torch_library_impl')",
    "a function is gone": "import torch; torch.a_function_that_is_gone",
}


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("voices")
    for index in range(4):
        recording = noise_recording(f"n{index}", seed=index)
        folder = root / ("PD" if index % 2 else "HC") / f"s{index}"
        folder.mkdir(parents=True)
        soundfile.write(folder / "take.wav", recording.waveform.numpy(), 8_000)
    return root


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a bundle `tiny` of a spectrogram network and one `speech` that asks for a speech foundation model."""
    root = tmp_path_factory.mktemp("models")
    tiny = tiny_bundle(root / "tiny")
    stft = tiny.config.stft.model_copy(update={"sample_rate": 16_000})
    config = tiny.config.model_copy(
        update={"name": "speech", "architecture": "ssl", "options": {"size": "tiny"}, "stft": stft, "cam_layer": None}
    )
    # Its weights are never reached, and no network could be written: one of another kind stands in its place.
    shutil.copytree(root / "tiny", root / "speech")
    written = config.model_dump(mode="json", exclude_none=True)
    written.pop("sha256", None)  # a change that is meant
    (root / "speech" / "config.toml").write_text(to_toml(written))
    return root


def speechxai(words: list[str | Path], torchaudio: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line with a torchaudio in front of the real one that raises at import."""
    fake = folder / "path" / "torchaudio"
    fake.mkdir(parents=True, exist_ok=True)
    (fake / "__init__.py").write_text(torchaudio)
    return subprocess.run(
        [sys.executable, "-m", "speechxai.cli", *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(fake.parent), os.environ.get("PYTHONPATH", "")])},
        cwd=folder,
        timeout=200,
    )


def test_spectrogram_networks_predict_and_are_explained(voices: Path, models: Path, tmp_path: Path) -> None:
    refuses = FAKES["another CUDA"]
    files = sorted(voices.rglob("*.wav"))
    said = speechxai(["predict", *files, "--model", models / "tiny"], refuses, tmp_path)
    assert said.returncode == 0, said.stderr
    assert all(file.name in said.stdout for file in files)
    words = ["--recipes", "published", "--metrics", "published", "--out", tmp_path / "run", "--pictures", "1"]
    scored = speechxai(["evaluate", "--data", voices, "--model", models / "tiny", *words], refuses, tmp_path)
    assert scored.returncode == 0, scored.stderr
    assert (tmp_path / "run" / "report.html").is_file()
    explained = speechxai(
        ["explain", files[0], "--model", models / "tiny", "--out", tmp_path / "why"], refuses, tmp_path
    )
    assert explained.returncode == 0, explained.stderr


def is_advice(line: str) -> bool:
    installed = f"(torch {version('torch')} and torchaudio {version('torchaudio')} are installed)"
    mend = 'pip install "torch>=2.11,<2.15" "torchaudio>=2.11,<2.12"'
    return "\n" not in line and installed in line and line.endswith(mend)


def test_a_speech_foundation_model_says_what_to_install(voices: Path, models: Path, tmp_path: Path) -> None:
    words = ["predict", next(voices.rglob("*.wav")), "--model", models / "speech"]
    said = speechxai(words, FAKES["another CUDA"], tmp_path)
    assert said.returncode == 2
    assert said.stdout == ""
    (line,) = said.stderr.splitlines()
    assert line.startswith("Error: ")
    assert "compiled with different CUDA versions. PyTorch has 13.2. Install" in line
    assert is_advice(line)


@pytest.mark.parametrize("kind", FAKES)
def test_every_way_not_to_load_is_one_line(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torchaudio.py").write_text(FAKES[kind])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchaudio", raising=False)
    for act in (load_torchaudio, lambda: build("ssl", size="tiny"), lambda: from_bundle("HUBERT_BASE")):
        with pytest.raises(SpeechXAIError) as caught:
            act()
        assert is_advice(str(caught.value))


def test_versions_leave_out_a_library_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = version

    def without(name: str) -> str:
        if name == "torchaudio":
            raise PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr("importlib.metadata.version", without)
    assert "torchaudio" not in library_versions()
    assert library_versions()["torch"] == real("torch")
    assert version_differences({"torchaudio": "2.11.0"}) == []
    assert "torchaudio" not in machine()["libraries"]
