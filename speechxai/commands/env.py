"""`speechxai env`: what a report of a fault should say of this machine."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from typing import Annotated

import typer

from speechxai.commands.console import say

EPILOG = """
Examples:

\b
  speechxai env             put this under a report of a fault: no path and no name of a person is in it
  speechxai env --json      the same for a program
"""

PROGRAMS = {"node": "tests of the player", "chromium": "tests of pages", "ffmpeg": "voice memos in the app"}
"""Programs beside Python that something uses where they are there."""


def env(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Print versions, extras and devices of this installation, as a report of a fault needs them."""
    import json

    found = facts()
    if as_json:
        say(json.dumps(found, indent=2))
        return
    for group, rows in found.items():
        say(group)
        width = max(map(len, rows), default=0)
        for name, value in rows.items():
            say(f"  {name.ljust(width)}  {value}")


def facts() -> dict[str, dict[str, str]]:
    """Versions, extras, devices and programs as words, by group. Loads PyTorch for the devices and nothing else."""
    from importlib import metadata

    from speechxai import __version__

    requires = metadata.requires("speechxai") or []
    core = sorted({_name(line) for line in requires if "extra ==" not in line}, key=str.lower)
    extras: dict[str, list[str]] = {}
    for line in requires:
        need, _, condition = line.partition(";")
        if "extra ==" in condition and not need.startswith("speechxai["):
            extras.setdefault(condition.split("extra ==")[1].strip().strip("'\""), []).append(_name(need))
    return {
        "speechxai": {
            "version": __version__,
            "python": f"{platform.python_version()} ({platform.python_implementation()})",
            "system": f"{platform.system()} {platform.machine()}",
            "cores": str(os.cpu_count()),
            "environment": "virtual" if sys.prefix != sys.base_prefix else "the system's own",
        },
        "devices": _devices(),
        "libraries": {name: _version(name) for name in core},
        "extras": {
            extra: ", ".join(f"{name} {_version(name)}" for name in names) for extra, names in sorted(extras.items())
        },
        "programs": {
            name: f"found ({what})" if shutil.which(name) else f"not found ({what})" for name, what in PROGRAMS.items()
        },
    }


def _name(requirement: str) -> str:
    """Name of a distribution in a requirement.

    >>> _name("torch<2.15,>=2.11"), _name("speechxai[app]"), _name("lazy_loader")
    ('torch', 'speechxai', 'lazy_loader')
    """
    import re

    return re.split(r"[\s\[<>=!~;(]", requirement.strip(), maxsplit=1)[0]


def _version(name: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _devices() -> dict[str, str]:
    """Devices that PyTorch can use. A PyTorch that cannot be loaded is the first thing that a report must say."""
    try:
        import torch
    except Exception as error:  # a broken installation raises whatever its libraries raise
        return {"torch": f"cannot be loaded: {type(error).__name__}: {error}"}
    found = {"cpu": f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"}
    if torch.cuda.is_available():
        found |= {f"cuda:{n}": torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())}
    if torch.backends.mps.is_available():
        found["mps"] = "Apple"
    return found
