"""Data files are found in a checkout and in an installed package, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechxai import files
from speechxai.errors import SpeechXAIError


def test_checkout_installed_and_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "speechxai"
    package.mkdir(parents=True)
    monkeypatch.setattr(files, "__file__", str(package / "resources.py"))
    # A folder of that name beside the package belongs to somebody else, unless this is a checkout.
    (package.parent / "models").mkdir()
    with pytest.raises(SpeechXAIError, match="Install speechxai again"):
        files.resource_folder("models")
    (package.parent / "pyproject.toml").touch()
    assert files.resource_folder("models") == package.parent / "models"
    (package / "_data" / "models").mkdir(parents=True)
    assert files.resource_folder("models") == package / "_data" / "models"
