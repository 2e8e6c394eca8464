"""One mechanism for every family of capabilities: a dictionary of plain functions with stated facts."""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from speechxai.errors import SpeechXAIError

BUILT_IN = ("speechxai.evaluation.unit", "speechxai.mancini2025.protocol")
"""Modules of our own that register what the rooms below them do not know by name."""

ENTRY_POINTS = "speechxai.plugins"
"""Group of entry points by which an installed package brings methods, metrics, cards and classifiers of its own."""

F = TypeVar("F", bound=Callable[..., Any])


def did_you_mean(name: str, known: list[str], kind: str) -> str:
    """Return the sentence that answers a wrong `name`: the nearest known name and all known ones."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    return f"Unknown {kind} '{name}'.{hint} Known: {', '.join(known)}."


class Registry(Generic[F]):
    """Functions of one kind by their own name, each with the facts that every entry must state.

    >>> SHAPES = Registry("shape", required=("corners",))
    >>> @SHAPES.register(corners=4)
    ... def square(side: float) -> float:
    ...     '''Area of a square.'''
    ...     return side * side
    >>> SHAPES["square"](3), SHAPES.facts("square")["corners"]
    (9, 4)
    >>> SHAPES["sqare"]
    Traceback (most recent call last):
    ...
    speechxai.errors.SpeechXAIError: Unknown shape 'sqare'. Did you mean 'square'? Known: square.
    """

    def __init__(self, kind: str, required: tuple[str, ...] = ()) -> None:
        self.kind = kind
        self.required = required
        self._functions: dict[str, F] = {}
        self._facts: dict[str, Mapping[str, Any]] = {}

    def register(self, **facts: Any) -> Callable[[F], F]:
        """Register a function under its own name. Raises SpeechXAIError for a missing fact, docstring or a
        duplicate."""

        def add(function: F) -> F:
            name = function.__name__
            missing = [fact for fact in self.required if fact not in facts]
            if missing:
                raise SpeechXAIError(f"The {self.kind} '{name}' does not state {', '.join(missing)}.")
            if name in self._functions:
                raise SpeechXAIError(f"The {self.kind} '{name}' is registered twice.")
            if not (function.__doc__ or "").strip():
                raise SpeechXAIError(f"The {self.kind} '{name}' has no docstring.")
            self._functions[name] = function
            self._facts[name] = MappingProxyType(dict(facts))
            return function

        return add

    def __getitem__(self, name: str) -> F:
        try:
            return self._functions[name]
        except KeyError:
            raise SpeechXAIError(did_you_mean(name, list(self._functions), self.kind)) from None

    def facts(self, name: str) -> Mapping[str, Any]:
        """Return the facts that the entry `name` states. Raises SpeechXAIError for an unknown name."""
        self[name]
        return self._facts[name]

    def summary(self, name: str) -> str:
        """Return the first paragraph of the entry's docstring as one line."""
        return " ".join((self[name].__doc__ or "").strip().split("\n\n")[0].split())

    def __contains__(self, name: object) -> bool:
        return name in self._functions

    def __iter__(self) -> Iterator[str]:
        return iter(self._functions)

    def __len__(self) -> int:
        return len(self._functions)


def load_plugins(modules: Iterable[str] = ()) -> None:
    """Import what registers capabilities: our own rooms, installed packages with entry points, and `modules` by name;
    each once.

    Args:
        modules: names of Python modules, for example "my_methods"; the current folder is searched as well.

    Raises:
        SpeechXAIError: a module that is not there or fails when it is imported; the message names it.
    """
    installed = [point.value.partition(":")[0] for point in importlib.metadata.entry_points(group=ENTRY_POINTS)]
    for name in (*BUILT_IN, *installed, *modules):
        if name in sys.modules:
            continue
        try:
            importlib.import_module(name)
        except SpeechXAIError:
            raise
        except Exception as error:
            raise SpeechXAIError(
                f"{name}: this plugin cannot be imported: {type(error).__name__}: {error}. Install it, or set"
                " PYTHONPATH to its folder."
            ) from error
