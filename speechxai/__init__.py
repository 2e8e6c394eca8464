"""Why does a speech classifier say Parkinson's? Explain it, test the explanation, say it in clinical words.

Public names are loaded when they are first used, so that `import speechxai` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Attribution": "types",
    "Recording": "types",
    "Spectrogram": "types",
    "StftConfig": "types",
    "SpeechXAIError": "errors",
    "NotApplicable": "errors",
    "read_audio": "signal.audio:read",
    "spectrogram": "signal.stft",
    "load_bundle": "classifiers.bundle",
    "Classifier": "classifiers",
    "predict": "classifiers",
    "METHODS": "explain",
    "COMBINATIONS": "explain.combination",
    "METRICS": "metrics",
    "Case": "metrics",
    "explain_all": "explain.explain",
    "score": "metrics",
    "RunFolder": "evaluation.runs",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'speechxai' has no attribute '{name}'")
    module, _, attribute = _HOME[name].partition(":")
    return getattr(import_module(f"speechxai.{module}"), attribute or name)


def __dir__() -> list[str]:
    return sorted(__all__)
