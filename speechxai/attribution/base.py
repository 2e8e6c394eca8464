"""The registry of attribution methods. A method is a function `(model, spec, target, *, options) -> (B, F, T)`."""

from __future__ import annotations

from typing import Any

from speechxai.registry import Registry

METHODS: Registry[Any] = Registry("method", required=("signed", "stochastic", "cites"))
"""Attribution methods by name.

Facts: `signed` (negative values mean evidence against the class), `stochastic` (takes a `seed`), `cites` (a citation key,
or "own"), and optionally `control=True` for the maps that every method must beat.
"""
