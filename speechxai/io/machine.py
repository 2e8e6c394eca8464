"""The machine and the libraries that a run ran on."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from typing import Any

import torch

LIBRARIES = ("speechxai", "torch", "torchaudio", "captum", "numpy", "scipy", "pandas", "soundfile", "zarr")


def machine() -> dict[str, Any]:
    """Versions of Python and the libraries, system, cores and threads."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "n_cores": os.cpu_count(),
        "n_threads": torch.get_num_threads(),
        "libraries": {name: metadata.version(name) for name in LIBRARIES if _installed(name)},
    }


def peak_memory_mb() -> float:
    """Largest memory that this process held so far, MB; NaN where the system does not tell."""
    try:
        import resource
    except ImportError:
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
