"""The grammar of recipes: the one name of an explanation, read and written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from speechxai.errors import SpeechXAIError, did_you_mean
from speechxai.explain import METHODS
from speechxai.explain.captum_bridge import captum_names
from speechxai.explain.combination import COMBINATIONS
from speechxai.families import CONTROLS as CONTROLS
from speechxai.families import PUBLISHED_METHODS as PUBLISHED_METHODS

MAX_DEPTH = 16
"""Combinations may stand inside each other this deep."""

_TOKEN = re.compile(r"\s*(?:(?P<name>\w+(?::\w+)?)|(?P<sign>[(),])|(?P<wrong>\S))")


@dataclass(frozen=True)
class Recipe:
    """How an explanation is made: a method, or a combination of recipes. `str` gives its canonical text.

    Args:
        name: of a method, one of a package included ("captum:Lime"), or of a combination where there are parts.
        parts: what is combined, at least two.
    """

    name: str
    parts: tuple[Recipe, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(str, self.parts))})" if self.parts else self.name

    def walk(self) -> Iterator[Recipe]:
        """Yield this recipe and all inside it, parts before the whole."""
        for part in self.parts:
            yield from part.walk()
        yield self

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods inside, each once, in order of appearance."""
        return tuple(dict.fromkeys(recipe.name for recipe in self.walk() if not recipe.parts))

    @property
    def stochastic(self) -> bool:
        """Whether the map depends on the seed."""
        return any(METHODS.facts(name)["stochastic"] for name in self.methods)

    @property
    def signed(self) -> bool:
        """Whether negative values mean evidence against the class; a combination has none."""
        return not self.parts and bool(METHODS.facts(self.name)["signed"])


def unknown(name: str, *others: str) -> str:
    """Return the sentence about a name that is no method and no combination: the nearest known one, or why a package's
    is not taken.

    Args:
        name: what somebody asked for.
        others: further names that would have been right there.
    """
    if ":" in name:
        try:
            METHODS[name]
        except SpeechXAIError as error:
            return str(error)
    named = [known for known in captum_names() if known.lower().endswith(f":{name.lower()}")]
    return did_you_mean(name, [*named, *METHODS, *COMBINATIONS, *others], "method or combination")


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = [
            (match.group(match.lastgroup or 0), match.lastgroup or "", match.start(match.lastgroup or 0))
            for match in _TOKEN.finditer(text)
        ]
        self.tokens.append(("the end", "end", len(text.rstrip())))
        self.index = 0

    def fail(self, problem: str, position: int) -> SpeechXAIError:
        return SpeechXAIError(f"Recipe '{self.text}', position {position + 1}: {problem}")

    def take(self) -> tuple[str, str, int]:
        token = self.tokens[self.index]
        self.index = min(self.index + 1, len(self.tokens) - 1)
        return token

    def recipe(self, depth: int = 0) -> Recipe:
        name, kind, position = self.take()
        if kind != "name":
            raise self.fail(f"expected a method or a combination, found {name!r}.", position)
        if depth > MAX_DEPTH:
            raise self.fail(f"combinations stand inside each other more than {MAX_DEPTH} deep.", position)
        has_parts = self.tokens[self.index][0] == "("
        if name not in METHODS and name not in COMBINATIONS:
            raise self.fail(unknown(name), position)
        if not has_parts:
            if name not in METHODS:
                raise self.fail(
                    f"the combination '{name}' needs its parts, such as {name}(saliency, smoothgrad).", position
                )
            return Recipe(name)
        if name not in COMBINATIONS:
            raise self.fail(
                f"'{name}' is a method and takes no parts. Combinations: {', '.join(COMBINATIONS)}.", position
            )
        parts = self.parts(depth)
        if len(parts) < 2:
            raise self.fail(f"the combination '{name}' needs at least two parts.", position)
        return Recipe(name, parts)

    def parts(self, depth: int) -> tuple[Recipe, ...]:
        self.take()
        found = [self.recipe(depth + 1)]
        while True:
            sign, _, position = self.take()
            if sign == ")":
                return tuple(found)
            if sign != ",":
                raise self.fail(f"expected ',' or ')', found {sign!r}.", position)
            found.append(self.recipe(depth + 1))


def parse(text: str | Recipe) -> Recipe:
    """Read a recipe: `method`, `captum:Method`, or `combination(recipe, recipe, ...)`, nested at will.

    >>> str(parse("union( saliency,captum:Lime )"))
    'union(saliency, captum:Lime)'

    Raises:
        SpeechXAIError: text that is no recipe; the message names the position and the nearest known name.
    """
    if isinstance(text, Recipe):
        return text
    if not isinstance(text, str):
        raise SpeechXAIError(f"A recipe must be text such as 'union(saliency, smoothgrad)'. Got {text!r} instead.")
    parser = _Parser(text)
    recipe = parser.recipe()
    rest, kind, position = parser.take()
    if kind != "end":
        raise parser.fail(f"expected the end, found {rest!r}.", position)
    return recipe


def published_recipes() -> list[str]:
    """Return the 39 recipes of the published tables: 6 methods, 3 controls, 15 unions and 15 intersections of two
    methods."""
    pairs = list(combinations(PUBLISHED_METHODS, 2))
    combined = [f"{name}({first}, {second})" for name in ("union", "intersection") for first, second in pairs]
    return [*PUBLISHED_METHODS, *CONTROLS, *combined]
