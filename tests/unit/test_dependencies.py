"""A fresh installation: which torch and torchaudio make a pair, and what pip's answers mean."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from speechxai.classifiers.ssl import PAIR

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_install", ROOT / "scripts" / "check_install.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_error_names_the_versions_that_are_declared() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert set(PAIR) <= set(declared)


@pytest.mark.parametrize(
    ("torch", "torchaudio", "fits"),
    [
        ("2.14.1", "2.11.0", True),
        ("2.11.0", "2.11.0", True),
        ("2.14.1+cpu", "2.11.0+cpu", True),
        ("2.15.0", "2.11.0", False),
        ("2.10.0", "2.11.0", False),
        ("3.0.0", "2.11.1", False),
        # not in the table: major.minor must be equal
        ("2.15.2", "2.15.0", True),
        ("2.16.0", "2.15.0", False),
        ("2.14.1", "2.15.0", False),
    ],
)
def test_which_versions_are_a_pair(script: ModuleType, torch: str, torchaudio: str, fits: bool) -> None:
    problem = script.misfit(torch, torchaudio)
    if fits:
        assert problem is None
    else:
        assert f"torch {torch} and torchaudio {torchaudio} do not fit" in problem


def test_every_declared_python_is_asked_for_wheels(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.declared_pythons() == ["3.11", "3.12", "3.13"]
    monkeypatch.setattr(script.venv, "create", lambda *_, **__: None)
    monkeypatch.setattr(script, "run", lambda *_, **__: "")

    def uv(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        lacks = "3.12" in command and "windows" in command and command[-1] in ("all", "align")
        out, err = (
            ("", "no usable wheels:\n  aligner") if lacks else ("torch==2.14.1\n    # via x==y\nnumpy==2.1\n", "")
        )
        return subprocess.CompletedProcess(command, int(lacks), out, err)

    monkeypatch.setattr(script.subprocess, "run", uv)
    with pytest.raises(SystemExit, match=r"^Python 3\.12 on windows, align: no usable wheels: aligner$"):
        script.check_pythons()
    said = capsys.readouterr().out
    assert said.count("2 packages, all as wheels") == 8  # nine pairs, one of which has no answer


def answer(monkeypatch: pytest.MonkeyPatch, script: ModuleType, status: int, out: str, err: str) -> None:
    done = subprocess.CompletedProcess([], status, out, err)
    monkeypatch.setattr(script, "resolve", lambda requirements: done)


def report(**versions: str) -> str:
    return json.dumps({"install": [{"metadata": {"name": n, "version": v}} for n, v in versions.items()]})


def test_a_wrong_pair_fails(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(monkeypatch, script, 0, report(torch="2.15.0", torchaudio="2.11.0"), "")
    with pytest.raises(SystemExit, match=r"torch 2\.15\.0 and torchaudio 2\.11\.0 do not fit"):
        script.check_dependencies()
    answer(monkeypatch, script, 0, report(torch="2.14.1", torchaudio="2.11.0"), "")
    script.check_dependencies()
    assert capsys.readouterr().out == "A fresh installation gets 2 packages; torch 2.14.1 and torchaudio 2.11.0 fit.\n"


def test_no_network_is_said_and_a_contradiction_fails(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = (
        "ERROR: Could not find a version that satisfies the requirement torch (from versions: none)\nERROR: No matching"
        " distribution found for torch"
    )
    answer(monkeypatch, script, 1, "", nothing)
    script.check_dependencies()
    assert capsys.readouterr().out.startswith("not checked: ")
    answer(monkeypatch, script, 1, "", nothing.replace("none", "2.13.0, 2.14.1"))
    with pytest.raises(SystemExit, match="contradict"):
        script.check_dependencies()


def test_what_an_audit_says(script: ModuleType) -> None:
    unknown = {"name": "a", "version": "1", "skip_reason": "not found"}
    fine, weak = {"name": "b", "version": "2", "vulns": []}, {"name": "c", "version": "3", "vulns": [{"id": "X-1"}]}
    assert script.audited([unknown]) == ""
    assert script.audited([unknown, fine, weak]) == "2 of 3 packages are known, 1 are weak.\nc 3: X-1"
