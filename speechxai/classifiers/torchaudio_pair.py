"""The one door to torchaudio, which fits one kind of PyTorch and refuses at import beside any other.

Only the speech foundation models need it: everything else runs without.
"""

from __future__ import annotations

import importlib.metadata
from typing import Any

from speechxai.errors import SpeechXAIError

PAIR = ("torch>=2.11,<2.15", "torchaudio>=2.11,<2.12")
"""Versions that fit each other, as pyproject.toml asks for them."""


def load_torchaudio() -> Any:
    """Import torchaudio.

    Raises:
        SpeechXAIError: it is missing or does not fit the installed PyTorch; the message has both versions and the
            command
            that mends it.
    """
    try:
        import torchaudio
        import torchaudio.models
        import torchaudio.pipelines
    # Another CUDA is a RuntimeError, a library that does not link an OSError, a function that is gone an
    # AttributeError.
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        versions = f"torch {_version('torch')} and torchaudio {_version('torchaudio')}"
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        command = " ".join(f'"{requirement}"' for requirement in PAIR)
        raise SpeechXAIError(
            f"Speech foundation models need torchaudio, which cannot be loaded ({versions} are installed): {reason}. "
            f"Install a pair that fits: pip install {command}"
        ) from error
    return torchaudio


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "(none)"
