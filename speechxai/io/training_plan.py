"""Training settings from a recipe file and the command line."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from speechxai.classifiers.augment import AugmentConfig
from speechxai.classifiers.fit import FitConfig
from speechxai.errors import SpeechXAIError
from speechxai.io.import_checkpoints import pretrained
from speechxai.io.training import Plan
from speechxai.registry import did_you_mean
from speechxai.segments import SegmentConfig

_FIT = tuple(item.name for item in fields(FitConfig) if item.name != "deterministic")
KNOWN = (*_FIT, "title", "backbone", "pretrained", "folds", "repeats", "segment_s", "threads", "speakers", "options")
"""Keys of a recipe."""


def read_recipe(path: str | Path) -> dict[str, Any]:
    """Read a recipe: settings of FitConfig and Plan by name, tables `options` (of the backbone) and `augment`.

    Raises:
        SpeechXAIError: a file that cannot be read, or an unknown key.
    """
    try:
        with Path(path).open("rb") as file:
            values = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpeechXAIError(f"{path}: cannot be read as a training recipe: {error}") from error
    for name in values:
        if name not in KNOWN:
            raise SpeechXAIError(f"{path}: {did_you_mean(name, list(KNOWN), 'setting')}")
    return values


def plan_of(given: Mapping[str, Any]) -> Plan:
    """Put settings by name together into a plan; a pretrained model brings the options of its architecture.

    Args:
        given: keys of KNOWN, and `out`, the folder of the bundle.

    Raises:
        SpeechXAIError: wrong settings, or a pretrained model that cannot be had.
    """
    fit = {name: given[name] for name in _FIT if given.get(name) is not None}
    if isinstance(fit.get("augment"), Mapping):
        try:
            fit["augment"] = AugmentConfig(**fit["augment"])
        except TypeError as error:
            raise SpeechXAIError(f"The 'augment' table of the recipe does not fit: {error}") from error
    backbone = given.get("backbone") or "cnn"
    options, source = dict(given.get("options") or {}), given.get("pretrained")
    if source:
        if backbone != "ssl":
            raise SpeechXAIError(f"Pretrained weights need the backbone 'ssl'. Got '{backbone}' instead.")
        options = {**pretrained(source).options, **options}
    length_s = given.get("segment_s") or SegmentConfig().length_s
    return Plan(
        name=Path(given["out"]).name,
        title=given.get("title") or "",
        backbone=backbone,
        options=options,
        n_folds=given.get("folds") or 5,
        repeats=tuple(given.get("repeats") or ()),
        fit=FitConfig(**fit),
        # Acoustic measures need whole recordings.
        segment=None if backbone == "acoustic" else SegmentConfig(length_s, length_s / 2),
        cam_layer="features" if backbone == "cnn" else None,
        pretrained=source,
    )
