"""The names that a notebook imports: each is what is defined, type checkers know it, and a wrong call is seen."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import speechxai

STUB = Path(speechxai.__file__).with_suffix(".pyi")
HOMES = {
    alias.name: f"speechxai.{node.module}"
    for node in ast.walk(ast.parse(STUB.read_text("utf-8")))
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
}

RIGHT = """\
from speechxai import METRICS, Case, RunFolder, explain, inspect
from speechxai import load_bundle, plot_map, predict, read_audio, spectrogram
from speechxai.explain.passes import OriginalPass

bundle = load_bundle("synthetic-cnn")
voice = read_audio("voice.wav", sample_rate=16_000)
model = bundle.for_recording(voice)
spec = spectrogram(voice.waveform[None], model.stft)
probability = predict(model, spec)[0, 1].item()
map_ = explain(OriginalPass(model, spec), spec, "saliency", seed=1).values.shape
picture: bytes = plot_map(inspect(voice, bundle, "saliency"))
scores = RunFolder.open("runs/first").table("summary")["mean"].max()


@METRICS.register(best="high", bounds=(-1.0, 1.0), cites="own")
def kept(case: Case) -> object:
    "What is left."
    return case.p
"""

WRONG = {
    'from speechxai import read_audio\nread_audio("x.wav", sampel_rate=8)': "sampel_rate",
    "from speechxai import load_bundle\nload_bundle(3)": "incompatible type",
    "from speechxai import spectrogramm": "spectrogramm",
    'from speechxai import explain\nexplain(None, None, "saliency", targte=1)': "targte",
    "from speechxai import Recording\nprint(Recording.wave)": "wave",
}


@pytest.mark.slow
def test_a_type_checker_sees_right_calls_and_wrong_ones(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "right.py").write_text(RIGHT)
    (tmp_path / "wrong.py").write_text("\n".join(WRONG))
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", "", "--cache-dir", str(tmp_path / "cache")]
    command += ["--ignore-missing-imports", "--follow-imports", "silent", "right.py", "wrong.py"]
    place = {**os.environ, "MYPYPATH": str(STUB.parents[1])}  # an editable installation hides it from mypy
    done = subprocess.run(command, cwd=tmp_path, env=place, capture_output=True, text=True, timeout=280)
    assert "right.py" not in done.stdout
    line = 1
    for text, word in WRONG.items():
        line += text.count("\n")
        assert any(word in said for said in done.stdout.splitlines() if said.startswith(f"wrong.py:{line}: error:")), (
            text
        )
        line += 1


@pytest.mark.parametrize("name", sorted(HOMES))
def test_every_name_is_the_one_that_is_defined(name: str) -> None:
    found = getattr(speechxai, name)
    assert found is getattr(import_module(HOMES[name]), name)
    assert not isinstance(found, ModuleType)
    assert name in dir(speechxai)
    if callable(found):
        assert found.__name__ == name
        assert found.__doc__


def test_the_stub_names_all_that_is_public() -> None:
    (listed,) = (
        ast.literal_eval(node.value)
        for node in ast.parse(STUB.read_text("utf-8")).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    assert sorted(listed) == sorted({*HOMES, "__version__"})
    assert sorted(speechxai.__all__) == sorted(HOMES)
    with pytest.raises(AttributeError):
        speechxai.explian  # noqa: B018


@pytest.mark.parametrize(
    "first",
    [
        "from speechxai import explain",
        "from speechxai.explain import METHODS",
        "import speechxai.explain.passes",
        "from speechxai.explain.passes import OriginalPass",
        "import speechxai.explain.explain",
    ],
)
def test_explain_is_the_function_whatever_is_imported_first(first: str) -> None:
    code = (
        f"{first}\nimport speechxai, sys\nfrom speechxai import explain\nfrom speechxai.explain import METHODS\n"
        "import speechxai.explain.passes\nfrom speechxai.explain.passes import OriginalPass\n"
        "assert callable(explain) and explain is speechxai.explain and len(METHODS)\n"
        "assert sys.modules['speechxai.explain.passes'].OriginalPass is OriginalPass"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
