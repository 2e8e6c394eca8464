"""One mechanism for every family of capabilities: a dictionary of plain functions with stated facts."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from speechxai.errors import SpeechXAIError

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
        """Register a function under its own name. Raises SpeechXAIError for a missing fact, docstring or a duplicate."""

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
        """Return the first line of the entry's docstring."""
        return (self[name].__doc__ or "").strip().splitlines()[0]

    def __contains__(self, name: object) -> bool:
        return name in self._functions

    def __iter__(self) -> Iterator[str]:
        return iter(self._functions)

    def __len__(self) -> int:
        return len(self._functions)
