# ruff: noqa: I001
# The public face: what a notebook needs, in the order of its use. `lazy_loader` reads this file as well, so every name
# stands here under the name that it has where it is defined.
#
# `speechxai.explain` is the function, in notebooks and for type checkers, although the room of the methods has the same
# name: `lazy_loader` sees to it that loading the room never takes the function's place. The room's modules are imported
# as always (`import speechxai.explain.passes`, `from speechxai.explain.passes import OriginalPass`); only the spelling
# `speechxai.explain.passes.OriginalPass`, by way of the attribute, is not to be had.

from .errors import NotApplicable, SpeechXAIError
from .types import Attribution, Recording, Spectrogram, StftConfig

# A recording and a model
from .signal.audio import read_audio
from .signal.stft import spectrogram
from .classifiers.base import Classifier, predict
from .classifiers.bundle import Bundle, load_bundle

# Why the model says so: `inspect` does it all at once
from .inspection.inspect import Inspection, inspect
from .report.plots import plot_map
from .explain.explain import explain, explain_all
from .metrics import Case, score

# Many recordings
from .data.cards import build_manifest, load_card
from .evaluation.config import EvaluateConfig
from .evaluation.executors import evaluate
from .evaluation.runs import RunFolder
from .evaluation.words import findings
from .stats import summarize

# What there is, and how to add to it: `@METRICS.register(...)` above a function
from .explain import METHODS
from .explain.combination import COMBINATIONS
from .metrics import METRICS
from .classifiers.base import BACKBONES
from .data.cards import add_card
from .registry import load_plugins

__version__: str

__all__ = [
    "BACKBONES",
    "COMBINATIONS",
    "METHODS",
    "METRICS",
    "Attribution",
    "Bundle",
    "Case",
    "Classifier",
    "EvaluateConfig",
    "Inspection",
    "NotApplicable",
    "Recording",
    "RunFolder",
    "Spectrogram",
    "SpeechXAIError",
    "StftConfig",
    "__version__",
    "add_card",
    "build_manifest",
    "evaluate",
    "explain",
    "explain_all",
    "findings",
    "inspect",
    "load_bundle",
    "load_card",
    "load_plugins",
    "plot_map",
    "predict",
    "read_audio",
    "score",
    "spectrogram",
    "summarize",
]
