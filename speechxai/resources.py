"""Where the files that are not Python live: beside the checkout's package, or inside the installed one."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from speechxai.errors import SpeechXAIError


def resource_folder(name: Literal["data_cards", "models", "app"]) -> Path:
    """Return the folder `name`: `speechxai/_data/<name>` in an installed wheel, `<checkout>/<name>` in a checkout.

    Raises:
        SpeechXAIError: neither exists, so the installation is incomplete.
    """
    package = Path(__file__).resolve().parent
    installed = package / "_data" / name
    if installed.is_dir():
        return installed
    # A wheel's neighbor folders in site-packages belong to others: only a checkout has a pyproject beside the package.
    checkout = package.parent / name
    if checkout.is_dir() and (package.parent / "pyproject.toml").is_file():
        return checkout
    raise SpeechXAIError(f"{installed}: the folder '{name}' of speechxai is missing. Install speechxai again.")
