"""What the app was started with, and where it may write."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SYNTHETIC = "synthetic"


@dataclass(frozen=True)
class Settings:
    """How the app was started.

    Args:
        data: "synthetic", a data card, a manifest or a folder.
        root: folder of the card's recordings, "" for none.
        runs: run folders, or folders that hold some.
        models: bundles beside the embedded ones; the first is shown first.
        save_to: folder for saved cases.
        keep_cache: whether explanations of the catalogue's recordings are kept on disk.
    """

    data: str = SYNTHETIC
    root: str = ""
    runs: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    save_to: str = ""
    keep_cache: bool = True


def parse(arguments: Sequence[str] | None = None) -> Settings:
    """Read the arguments that `speechxai app` hands on."""
    parser = argparse.ArgumentParser(prog="speechxai app", add_help=False)
    parser.add_argument("--data", default=SYNTHETIC)
    parser.add_argument("--root", default="")
    parser.add_argument("--run", action="append", default=[])
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--save-to", default="")
    parser.add_argument("--no-cache", action="store_true")
    found, _ = parser.parse_known_args(list(sys.argv[1:] if arguments is None else arguments))
    save_to = found.save_to or str(Path.home() / "speechxai-cases")
    return Settings(found.data, found.root, tuple(found.run), tuple(found.model), save_to, not found.no_cache)


def cache_folder() -> Path:
    """Return the user's folder for results that can be computed again: SPEECHXAI_CACHE, or the system's own place."""
    stated = os.environ.get("SPEECHXAI_CACHE")
    if stated:
        return Path(stated)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "speechxai" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "speechxai"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "speechxai"
