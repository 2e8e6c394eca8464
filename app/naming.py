"""Names as people read them: classes, recipes, tasks with a planted cue. Needs nothing else of the app."""

from __future__ import annotations

from speechxai.explain import CONTROLS

CLASS_WORDS = {"PD": "Parkinson's disease", "HC": "Healthy control"}
TRUTH = "truth_map"
"""Recipe of the planted truth among a benchmark's rows."""


def class_words(name: str) -> str:
    """The name of a class as people read it."""
    return CLASS_WORDS.get(name, name)


def recipe_words(recipe: str) -> str:
    """A recipe as people read it."""
    if recipe == TRUTH:
        return "the truth itself"
    text = recipe.replace("_", " ")
    return f"{text} (control)" if recipe in CONTROLS else text


def cue_words(group: str) -> str:
    """A group of a benchmark, `material/cue/severity`, as people read it; anything else as it is."""
    parts = group.split("/")
    if len(parts) != 3:
        return group.replace("_", " ")
    material, cue, severity = parts
    name = cue.replace("_", " ")
    strength = "" if severity == "1" else f", severity {severity}"
    return f"{name[0].upper()}{name[1:]} in {material.replace('_', ' ')} voices{strength}"
