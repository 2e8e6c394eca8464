"""Recipes to maps: every base map of a batch is made once, whatever number of recipes asks for it."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from speechxai.classifiers import predict
from speechxai.errors import NotApplicable, SpeechXAIError, did_you_mean
from speechxai.explain import METHODS, OriginalPass, completeness_error
from speechxai.explain.combination import COMBINATIONS, evidence
from speechxai.explain.passes import recordings_at_once
from speechxai.explain.recipe import CONTROLS, PUBLISHED_METHODS, Recipe, parse, published_recipes, unknown
from speechxai.explain.transformer import resolution_note
from speechxai.registry import check_values
from speechxai.types import Attribution, Spectrogram

COMPLETE_METHODS = ("integrated_gradients", "deep_lift")
"""Methods whose map should sum to a difference of logits; how far it does not is noted in `params`."""


class Explanations(dict[str, Attribution]):
    """Attributions by recipe; `not_applicable` gives the reason for every recipe that this network does not allow.

    Asking for such a recipe raises NotApplicable with its reason.
    """

    def __init__(self) -> None:
        super().__init__()
        self.not_applicable: dict[str, str] = {}

    def __missing__(self, recipe: str) -> Attribution:
        if recipe in self.not_applicable:
            raise NotApplicable(self.not_applicable[recipe])
        raise SpeechXAIError(did_you_mean(recipe, [*self, *self.not_applicable], "recipe"))


@dataclass(eq=False)
class _Kitchen:
    """Makes every map of a batch once, whatever number of recipes asks for it."""

    model: nn.Module
    spec: Spectrogram
    target: Tensor
    seed: int
    options: Mapping[str, Any]
    values: dict[Recipe, Tensor] = field(default_factory=dict)
    reasons: dict[Recipe, str] = field(default_factory=dict)
    evidence_maps: dict[Recipe, Tensor] = field(default_factory=dict)
    notes: dict[str, Tensor] = field(default_factory=dict)

    def settings(self, name: str) -> dict[str, Any]:
        """Options of a method or combination, the seed included where it takes one."""
        given = dict(self.options.get(name, {}))
        if name in METHODS and METHODS.facts(name)["stochastic"]:
            given.setdefault("seed", self.seed)
        return given

    def map(self, recipe: Recipe) -> Tensor:
        """Map (B, F, T) of a recipe. Raises NotApplicable with the reason of the method that cannot."""
        if recipe in self.reasons:
            raise NotApplicable(self.reasons[recipe])
        if recipe not in self.values:
            try:
                self.values[recipe] = self.combined(recipe) if recipe.parts else self.attributed(recipe.name)
            except NotApplicable as error:
                self.reasons[recipe] = str(error)
                raise
        return self.values[recipe]

    def attributed(self, name: str) -> Tensor:
        settings = self.settings(name)
        try:
            values: Tensor = METHODS[name](self.model, self.spec, self.target, **settings)
        except NotApplicable as error:
            raise NotApplicable(f"{name}: {error}") from error
        if name in COMPLETE_METHODS and self.options.get("completeness", True):
            baseline = settings.get("baseline", inspect.signature(METHODS[name]).parameters["baseline"].default)
            self.notes[name] = completeness_error(self.model, self.spec, self.target, values, baseline)
        return values

    def combined(self, recipe: Recipe) -> Tensor:
        maps = torch.stack([self.evidence(part) for part in recipe.parts])
        return COMBINATIONS[recipe.name](maps, **self.settings(recipe.name))  # type: ignore[no-any-return]

    def evidence(self, recipe: Recipe) -> Tensor:
        if recipe not in self.evidence_maps:
            kind: Literal["positive", "absolute"] = "positive" if recipe.signed else "absolute"
            kind = self.options.get("evidence") or kind
            self.evidence_maps[recipe] = evidence(self.map(recipe), kind)
        return self.evidence_maps[recipe]

    def serve(self, recipe: Recipe) -> Attribution:
        values = self.map(recipe)
        params: dict[str, Any] = {
            "seed": self.seed if recipe.stochastic else None,
            "options": {step.name: self.settings(step.name) for step in recipe.walk() if self.settings(step.name)},
            "evidence": self.options.get("evidence"),
        }
        if recipe.name in self.notes and not recipe.parts:
            params["completeness_error"] = self.notes[recipe.name]
        said = [resolution_note(step.name, self.model, self.spec) for step in recipe.walk() if step.name in METHODS]
        if any(said):
            params["notes"] = [note for note in dict.fromkeys(said) if note]
        return Attribution(values, self.target, str(recipe), params, recipe.signed)


def check_options(options: Mapping[str, Any]) -> None:
    """Check options by method or combination, the evidence kind of combined maps under "evidence" and the switch
    "completeness".

    Raises:
        SpeechXAIError: an unknown method, combination, option or evidence kind, answered with the nearest known name.
    """
    for name, given in options.items():
        if name == "evidence":
            if given not in ("positive", "absolute", None):
                raise SpeechXAIError(f"The 'evidence' option must be 'positive' or 'absolute'. Got {given!r} instead.")
            continue
        if name == "completeness":
            if not isinstance(given, bool):
                raise SpeechXAIError(f"The 'completeness' option must be true or false. Got {given!r} instead.")
            continue
        if name not in METHODS and name not in COMBINATIONS:
            raise SpeechXAIError(f"Options: {unknown(name, 'evidence', 'completeness')}")
        if not isinstance(given, Mapping):
            raise SpeechXAIError(f"The options of '{name}' must be a table of names and values. Got {given!r} instead.")
        function = METHODS[name] if name in METHODS else COMBINATIONS[name]
        takes = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
        for option in given:
            if option not in takes:
                raise SpeechXAIError(did_you_mean(str(option), takes or ["none"], f"option of '{name}'"))
        check_values(function, given, f"'{name}'")


def _targets(model: nn.Module, spec: Spectrogram, target: Tensor | int | None) -> Tensor:
    if target is None:
        return predict(model, spec).argmax(dim=1).clone()
    if isinstance(target, int):
        return torch.full((len(spec),), target, dtype=torch.int64, device=spec.magnitude.device)
    return target


def explain_all(
    model: nn.Module,
    spec: Spectrogram,
    recipes: Iterable[str | Recipe],
    target: Tensor | int | None = None,
    *,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> Explanations:
    """Explain a batch by many recipes; every base map and every original pass is computed once and shared.

    Args:
        model: `forward(magnitude, phase) -> logits (B, C)`; an `OriginalPass` of `spec` is used as it is.
        spec: recordings (B, F, T).
        recipes: texts or parsed recipes.
        target: explained class: (B,), one for all, or None for the class predicted for each recording.
        seed: of every stochastic method that has none in its options.
        options: by method or combination, such as {"smoothgrad": {"n_samples": 10}, "set_union": {"q": 0.05}}; and
            "evidence": "positive" or "absolute", how combined maps are read. Without it signed maps give their positive
            part;
            "completeness": False leaves out the completeness error of COMPLETE_METHODS, which costs a forward pass
            each.

    Returns:
        Attributions by canonical recipe text; its `not_applicable` names the recipes that this network does not allow.

    Raises:
        SpeechXAIError: an unknown name or option, a wrong target, a map that is not finite.
    """
    wanted = [parse(recipe) for recipe in recipes]
    options = options or {}
    check_options(options)
    shared = model
    if not isinstance(model, OriginalPass) and len(spec) <= recordings_at_once(model, spec.magnitude):
        shared = OriginalPass(model, spec)
    kitchen = _Kitchen(shared, spec, _targets(shared, spec, target), seed, options)
    found = Explanations()
    try:
        for recipe in wanted:
            try:
                found[str(recipe)] = kitchen.serve(recipe)
            except NotApplicable as error:
                found.not_applicable[str(recipe)] = str(error)
    finally:
        if isinstance(shared, OriginalPass) and shared is not model:
            shared.release()
    return found


def explain(
    model: nn.Module,
    spec: Spectrogram,
    recipe: str | Recipe,
    target: Tensor | int | None = None,
    *,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> Attribution:
    """Explain a batch by one recipe; arguments as in `explain_all`.

    Raises:
        NotApplicable: this network does not allow the recipe; the message says why.
        SpeechXAIError: an unknown name or option, a wrong target, a map that is not finite.
    """
    parsed = parse(recipe)
    return explain_all(model, spec, [parsed], target, seed=seed, options=options)[str(parsed)]


__all__ = [
    "CONTROLS",
    "PUBLISHED_METHODS",
    "Explanations",
    "Recipe",
    "check_options",
    "explain",
    "explain_all",
    "parse",
    "published_recipes",
]
