"""What strangers find beside the code: how to cite, to report, to take part, and what their machine is."""

from __future__ import annotations

import getpass
import json
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from speechxai import __version__
from speechxai.cli import main
from speechxai.commands.env import facts

ROOT = Path(__file__).resolve().parents[2]


def test_the_version_is_one() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    declared = settings["project"]
    # The package states it, the build reads it there, and the newest section of the changelog is about it.
    assert settings["tool"]["hatch"]["version"]["path"] == "speechxai/__init__.py"
    assert "version" in declared["dynamic"]
    sections = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert cited["version"] == sections[0] == __version__
    assert cited["license"] == declared["license"]
    assert cited["references"][0]["url"] == declared["urls"]["Paper"]


def test_every_workflow_runs_what_everybody_runs() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))["jobs"]
    [job] = jobs.values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    lowest = min(job["strategy"]["matrix"]["python"], key=lambda each: int(each.split(".")[1]))
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["requires-python"]
    assert requires == f">={lowest}"
    for form in sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")):
        asked = yaml.safe_load(form.read_text("utf-8"))
        assert {"name", "description", "body"} <= set(asked), form.name
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"][0]["hooks"]
    assert {hook["entry"].split()[0] for hook in hooks} == {".venv/bin/ruff", ".venv/bin/mypy"}


def test_env_names_what_a_report_needs_and_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["env"])
    assert not ended.value.code
    said = capsys.readouterr().out
    for word in (f"version      {__version__}", "torch", "praat-parselmouth", "cpu", "ffmpeg"):
        assert word in said
    for secret in (str(Path.home()), sys.prefix, f"/{getpass.getuser()}/"):
        assert secret not in said
    with pytest.raises(SystemExit):
        main(["env", "--json"])
    assert json.loads(capsys.readouterr().out) == facts()


def test_env_works_where_torch_does_not(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert facts()["devices"]["torch"].startswith("cannot be loaded: ModuleNotFoundError")
