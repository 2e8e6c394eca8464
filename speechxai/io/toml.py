"""Settings as TOML text; the standard library reads TOML but does not write it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechxai.errors import SpeechXAIError


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        text = repr(value)
        return text if any(mark in text for mark in ".einf") else text + ".0"
    if isinstance(value, str | Path):
        # A JSON string without \u escapes of pairs is a TOML basic string.
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        items = [_value(item) for item in value]
        line = f"[{', '.join(items)}]"
        return line if len(line) <= 100 else "[\n" + "".join(f"    {item},\n" for item in items) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items() if v is not None) + "}"
    raise SpeechXAIError(f"A value of type {type(value).__name__} cannot be written as TOML: {value!r}.")


def _key(key: str) -> str:
    bare = key and all(c.isascii() and (c.isalnum() or c in "_-") for c in key)
    return key if bare else json.dumps(key, ensure_ascii=False)


def to_toml(settings: Mapping[str, Any], comment: str | None = None) -> str:
    """Write nested settings as TOML text; keys whose value is None are left out.

    >>> print(to_toml({"seed": 0, "recipes": ["saliency"], "device": None, "options": {"rise": {"n_masks": 10}}}), end="")
    seed = 0
    recipes = ["saliency"]
    <BLANKLINE>
    [options]
    rise = {n_masks = 10}

    Raises:
        SpeechXAIError: a value that TOML has no type for.
    """
    lines = [f"# {line}" for line in (comment or "").splitlines()]
    lines += [f"{_key(k)} = {_value(v)}" for k, v in settings.items() if v is not None and not isinstance(v, Mapping)]
    for name, table in settings.items():
        if isinstance(table, Mapping):
            lines += ["", f"[{_key(name)}]"] + [f"{_key(k)} = {_value(v)}" for k, v in table.items() if v is not None]
    return "\n".join(lines) + "\n"
