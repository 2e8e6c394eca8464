"""One mechanism for every family of capabilities: a dictionary of plain functions with stated facts."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import importlib.util
import inspect
import sys
import traceback
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, TypeVar, cast

from speechxai.errors import NotApplicable, SpeechXAIError, did_you_mean, in_range, told
from speechxai.files import fingerprint, read_bytes, sha256_of, to_json
from speechxai.flags import MAX_COUNT, MAX_SEED

ENTRY_POINTS = "speechxai.plugins"
"""Group of entry points by which an installed package brings methods, metrics, cards and classifiers of its own."""

F = TypeVar("F", bound=Callable[..., Any])
G = TypeVar("G", bound=Callable[..., Any])


class Registry(Generic[F]):
    """Functions of one kind by their own name, each with the facts that every entry must state.

    Args:
        kind: what an entry is called in messages.
        required: facts that every entry must state.
        refused: why names that somebody may ask for have no entry; asking for one raises NotApplicable with the reason.
        filled_by: module whose import registers the entries; loaded when somebody asks for more than was `told`.

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

    def __init__(
        self,
        kind: str,
        required: tuple[str, ...] = (),
        refused: Mapping[str, str] | None = None,
        filled_by: str = "",
    ) -> None:
        self.kind = kind
        self.filled_by = filled_by
        self.required = required
        self.refused: Mapping[str, str] = refused or {}
        self._families: dict[str, Registry[F]] = {}
        self._functions: dict[str, F] = {}
        self._facts: dict[str, Mapping[str, Any]] = {}
        self._loads: dict[str, object] = {}
        self._told: ContextVar[Mapping[str, Mapping[str, Any]]] = ContextVar(kind, default=MappingProxyType({}))

    def register(self, **facts: Any) -> Callable[[G], G]:
        """Register a function under its own name; it stays what it is, for type checkers too.

        A module that is loaded again, or a cell of a notebook that is run again, replaces what it registered before.

        Raises:
            SpeechXAIError: a missing fact or docstring, or a name that another function has.
        """

        def add(function: G) -> G:
            name = function.__name__
            missing = [fact for fact in self.required if fact not in facts]
            if missing:
                raise SpeechXAIError(f"The {self.kind} '{name}' does not state {', '.join(missing)}.")
            load = _load_of(function)
            if name in self._functions and not self._is_again(name, function, load):
                raise SpeechXAIError(f"The {self.kind} '{name}' is registered twice: choose another name.")
            if not (function.__doc__ or "").strip():
                raise SpeechXAIError(f"The {self.kind} '{name}' has no docstring.")
            self._functions[name] = cast(F, function)
            self._facts[name] = MappingProxyType(dict(facts))
            self._loads[name] = load
            return function

        return add

    def _is_again(self, name: str, function: Callable[..., Any], load: object) -> bool:
        """Whether a function is the registered one, defined once more."""
        known = self._functions[name]
        if known.__module__ == function.__module__:
            return load is None or load is not self._loads[name]
        # One file under two names, such as a folder that is on the path twice.
        return _file_of(known) == _file_of(function) is not None

    @contextmanager
    def told(self, entries: Mapping[str, Mapping[str, Any]]) -> Iterator[None]:
        """Know, while the context lasts, what is said of these names, such as by a run whose plugin is not loaded.

        Args:
            entries: facts by name, the summary among them. They go before those of the registry. None can be called.
        """
        token = self._told.set({**self._told.get(), **entries})
        try:
            yield
        finally:
            self._told.reset(token)

    def adopt(self, family: Registry[F], prefix: str) -> None:
        """Know the entries of a named package too, by names such as "captum:Lime". Lists and presets leave them out."""
        self._families[prefix] = family

    def _fill(self) -> None:
        """Load what registers the entries; whoever is loading it already goes on with those that are there."""
        if self.filled_by:
            importlib.import_module(self.filled_by)

    def _family(self, name: object) -> Registry[F] | None:
        prefix, colon, _ = str(name).partition(":")
        return self._families.get(prefix) if colon else None

    def __getitem__(self, name: str) -> F:
        self._fill()
        family = self._family(name)
        if family is not None:
            return family[name]
        if name in self._functions:
            return self._functions[name]
        if name in self._told.get():
            raise SpeechXAIError(
                f"The {self.kind} '{name}' comes from a plugin that is not loaded: give its module with --import."
            )
        if name in self.refused:
            raise NotApplicable(f"The {self.kind} '{name}' is not taken: {self.refused[name]}.")
        # Whoever leaves the prefix out finds the entry of a package as well.
        named = [other for family in self._families.values() for other in family if other.endswith(f":{name}")]
        raise SpeechXAIError(did_you_mean(name, [*named, *self._functions], self.kind))

    def facts(self, name: str) -> Mapping[str, Any]:
        """Return the facts that the entry `name` states. Raises SpeechXAIError for an unknown name."""
        if name in self._told.get():
            return self._told.get()[name]
        self[name]
        family = self._family(name)
        return self._facts[name] if family is None else family.facts(name)

    def summary(self, name: str) -> str:
        """Return the first paragraph of the entry's docstring as one line."""
        if name in self._told.get():
            return str(self._told.get()[name].get("summary", ""))
        return " ".join((self[name].__doc__ or "").strip().split("\n\n")[0].split())

    def __contains__(self, name: object) -> bool:
        if name in self._told.get():
            return True
        self._fill()
        family = self._family(name)
        return name in self._functions if family is None else name in family

    def __iter__(self) -> Iterator[str]:
        self._fill()
        return iter(self._functions)

    def __len__(self) -> int:
        self._fill()
        return len(self._functions)


def check_values(function: Callable[..., Any], given: Mapping[str, Any], owner: str) -> None:
    """Check options against what a function takes: the type that it states for each, numbers finite, counts bounded.

    Args:
        function: takes the options by name, or a class.
        given: the options.
        owner: begins the message, for example "method 'rise'".

    Raises:
        SpeechXAIError: an option that it does not take, a value of another type or beyond a bound; the message names
            the option.
    """
    from pydantic import TypeAdapter, ValidationError
    from pydantic.errors import PydanticUserError

    takes = inspect.signature(function).parameters
    try:
        hints = typing.get_type_hints(vars(function).get("__init__", function))
    except (NameError, TypeError):  # stated for type checkers alone
        hints = {}
    for name, value in given.items():
        if name not in takes and not any(each.kind is each.VAR_KEYWORD for each in takes.values()):
            known = [each for each in takes if takes[each].default is not inspect.Parameter.empty]
            raise SpeechXAIError(did_you_mean(str(name), known or ["none"], f"option of {owner}"))
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and name.startswith("n_"):
            in_range(owner, name, value, 1, MAX_COUNT, whole=isinstance(value, int))
        elif number and name == "seed":
            in_range(owner, name, value, 0, MAX_SEED, whole=True)
        elif number:
            in_range(owner, name, value, -1e12, 1e12)
        for each in value if isinstance(value, list | tuple) else ():
            if isinstance(each, int) and not isinstance(each, bool):
                in_range(owner, name, each, -MAX_COUNT, MAX_COUNT, whole=True)
        if name not in hints:
            continue
        try:
            TypeAdapter(hints[name]).validate_json(to_json(value), strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            what = f"{first['msg'][0].lower()}{first['msg'][1:]}"
            raise SpeechXAIError(f"The '{name}' parameter of {owner}: {what}. Got {value!r:.80}.") from error
        except PydanticUserError:  # a tensor or the like, which no file can hold
            continue


def _load_of(function: Callable[..., Any]) -> object:
    """What differs between two loads of one module: its specification. None in a notebook and in a script."""
    return getattr(function, "__globals__", {}).get("__spec__")


def _file_of(function: Callable[..., Any]) -> str | None:
    code = getattr(function, "__code__", None)
    return None if code is None else str(code.co_filename)


def look_in(folders: Iterable[str | Path] = ()) -> None:
    """Let modules be imported from `folders` and from the current one."""
    # At the end: a file of the folder must not stand in for a library of the same name.
    sys.path += [place for place in map(str, (*folders, Path.cwd())) if place not in sys.path]


def load_plugins(modules: Iterable[str] = (), folders: Iterable[str | Path] = ()) -> None:
    """Import what registers capabilities from outside: installed packages with entry points, and `modules`; each once.

    Args:
        modules: names of Python modules, for example "my_methods"; looked for in the current folder as well.
        folders: further folders where `modules` are looked for.

    Raises:
        SpeechXAIError: a module that is not there or fails when it is imported; the message names it.
    """
    asked = tuple(modules)
    if asked:
        look_in(folders)
    installed = [point.module for point in importlib.metadata.entry_points(group=ENTRY_POINTS)]
    for name in (*installed, *asked):
        if name in sys.modules:
            continue
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name not in (name, name.partition(".")[0]):
                raise SpeechXAIError(f"{name}: this plugin cannot be imported: {told(error)}.") from error
            raise SpeechXAIError(
                f"{name}: there is no such plugin. Install it, set PYTHONPATH to its folder, or run the command in that"
                " folder."
            ) from error
        except Exception as error:
            line = traceback.extract_tb(error.__traceback__)[-1]
            where = f" ({line.filename}, line {line.lineno})"
            raise SpeechXAIError(f"{name}: this plugin fails when it is imported{where}: {told(error)}") from error


def code_of(modules: Iterable[str] = ()) -> dict[str, str]:
    """Hash of the code of installed plugins and of `modules`, on which whatever they compute depends.

    The code of a package is all its Python files; of a module by itself its file, and those beside it that it imports.

    Returns:
        Hash by a name such as "the code of my_methods"; of a module without a file nothing.
    """
    asked = tuple(modules)
    if asked:
        look_in()
    installed = (point.module for point in importlib.metadata.entry_points(group=ENTRY_POINTS))
    found = {}
    for name in dict.fromkeys((*installed, *asked)):
        files = sorted(_sources(name.partition(".")[0]))
        if files:
            found[f"the code of {name}"] = fingerprint([[path.name, sha256_of(path)] for path in files])
    return found


def _sources(name: str) -> set[Path]:
    """Python files of a top-level module, and of those beside it that its text imports, however deep."""
    found: set[Path] = set()
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # made in memory
        return found
    places = (spec.submodule_search_locations or (spec.origin,)) if spec else ()
    if not places or places[0] in (None, "built-in", "frozen"):
        return found
    beside, waiting = Path(str(places[0])).resolve().parent, [name]
    # Among installed packages, what stands beside a plugin is other people's.
    installed = bool({"site-packages", "dist-packages"} & set(beside.parts))
    while waiting:
        place = beside / waiting.pop()
        files = set(place.rglob("*.py")) if place.is_dir() else {place.with_name(f"{place.name}.py")}
        for path in files - found:
            if not path.is_file():
                continue
            found.add(path)
            if not installed:
                waiting += _imported(path)
    return found


def _imported(path: Path) -> list[str]:
    """Names of the top-level modules that a Python file imports; none where it is no Python."""
    try:
        nodes = list(ast.walk(ast.parse(read_bytes(path))))
    except (SyntaxError, ValueError):
        return []
    names = [each.name for node in nodes if isinstance(node, ast.Import) for each in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level and node.module]
    return [name.partition(".")[0] for name in names]
