"""`speechxai list`: what there is, each with one line of what it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from speechxai.commands.console import flag, say, table

if TYPE_CHECKING:
    from speechxai.registry import Registry

KINDS = ("methods", "combinations", "metrics", "models", "cards", "backbones", "probes", "presets", "configs")

EPILOG = """
Examples:

\b
  speechxai list methods        names for --recipe, with what they cost and where they come from
  speechxai list metrics        names for --metrics, with the best direction and the bounds
  speechxai list models         bundles for --model
  speechxai list metrics --json           the same for a program
  speechxai list configs        studies and training recipes that ship, for --config
"""


def listing(
    kind: Annotated[
        str, typer.Argument(metavar="|".join(KINDS), help="What to list; all of it without a word.")
    ] = "all",
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for a program.")] = False,
    imports: Annotated[list[str] | None, flag("imports")] = None,
) -> None:
    """List methods, combinations, metrics, models, data cards, backbones, probes, presets or configurations."""
    from speechxai.errors import SpeechXAIError, did_you_mean

    kind = {"data": "cards", "data-cards": "cards", "recipes": "presets"}.get(kind, kind)
    if kind not in (*KINDS, "all"):
        raise SpeechXAIError(did_you_mean(kind, list(KINDS), "list"))
    if as_json:
        import json

        found = {name: _TABLES[name]() for name in (KINDS if kind == "all" else (kind,))}
        content = {name: [dict(zip(head, row, strict=True)) for row in rows] for name, (head, rows) in found.items()}
        say(json.dumps(content if kind == "all" else content[kind], ensure_ascii=False, indent=1))
        return
    for name in KINDS if kind == "all" else (kind,):
        if kind == "all":
            say(f"\n{name.upper()}")
        header, rows = _TABLES[name]()
        say(table(header, rows) if rows else "none")
        if name in _MORE:
            say(_MORE[name]())


Rows = tuple[tuple[str, ...], list[tuple[str, ...]]]


def _facts(registry: Registry[Any], name: str) -> dict[str, Any]:
    return dict(registry.facts(name))


def _methods() -> Rows:
    from speechxai.explain import METHODS
    from speechxai.explain.concept import FACTS

    rows: list[tuple[str, ...]] = []
    for name in METHODS:
        facts = _facts(METHODS, name)
        kind = "control" if facts.get("control") else "signed" if facts["signed"] else "unsigned"
        rows.append((name, kind, "seeded" if facts["stochastic"] else "exact", facts["cites"], METHODS.summary(name)))
    # A family: which signs there are is known with the cues, whose import costs more than this list.
    about = "How active a sign is inside the network, over time; 'speechxai concepts MODEL --signs NAME' finds it."
    rows.append(("concept:NAME", "unsigned", "exact", str(FACTS["cites"]), about))
    return ("method", "map", "random", "source", "what it is"), rows


def _combinations() -> Rows:
    from speechxai.explain.combination import COMBINATIONS

    return ("combination", "source", "what it is"), [
        (name, COMBINATIONS.facts(name)["cites"], COMBINATIONS.summary(name)) for name in COMBINATIONS
    ]


def _metrics() -> Rows:
    from speechxai.metrics import METRICS

    rows: list[tuple[str, ...]] = []
    for name in METRICS:
        facts = _facts(METRICS, name)
        low, high = facts["bounds"]
        bounds = f"{'' if low is None else f'{low:g}'} to {'open' if high is None else f'{high:g}'}"
        rows.append((name, facts.get("published", ""), facts["best"], bounds, facts["cites"], METRICS.summary(name)))
    return ("metric", "paper", "best", "bounds", "source", "what it is"), rows


def _models() -> Rows:
    from speechxai.classifiers.bundle import bundle_names, load_bundle

    rows: list[tuple[str, ...]] = []
    for name in bundle_names():
        bundle = load_bundle(name)
        rows.append((name, bundle.config.architecture, str(bundle.n_folds), bundle.config.title))
    return ("model", "backbone", "fold models", "title"), rows


def _cards() -> Rows:
    from speechxai.data.cards import card_names, load_card

    return ("data card", "title"), [(name, str(getattr(load_card(name), "title", ""))) for name in card_names()]


def _backbones() -> Rows:
    from speechxai.classifiers import BACKBONES

    return ("backbone", "hears", "source", "what it is"), [
        (name, BACKBONES.facts(name)["hears"], BACKBONES.facts(name)["cites"], BACKBONES.summary(name))
        for name in BACKBONES
    ]


def _probes() -> Rows:
    from speechxai.audit.probes import PROBES

    return ("probe", "of", "what it is"), [(name, PROBES.facts(name)["of"], PROBES.summary(name)) for name in PROBES]


def _presets() -> Rows:
    from speechxai.evaluation.config import METRIC_PRESETS, RECIPE_PRESETS, resolve_metrics, resolve_recipes

    rows: list[tuple[str, ...]] = [
        ("--recipes", name, str(len(resolve_recipes((name,), controls=False)))) for name in RECIPE_PRESETS
    ]
    rows += [("--metrics", name, str(len(resolve_metrics((name,))))) for name in METRIC_PRESETS]
    return ("flag", "preset", "entries"), rows


def _configs() -> Rows:
    from speechxai.files import config_names, config_path

    rows: list[tuple[str, ...]] = []
    for name in config_names():
        lines = config_path(name).read_text("utf-8").splitlines()
        # The first line is the title; an evaluation names its data, a recipe of training leaves them open.
        use = "evaluate --config" if any(line.startswith("data = ") for line in lines) else "train --config"
        rows.append((name, use, lines[0].removeprefix("# ")))
    return ("configuration", "for", "what it is"), rows


def _captum() -> str:
    from speechxai.explain.captum_bridge import captum_names

    return f"Methods of captum are taken by name too: {', '.join(captum_names())}."


def _quantus() -> str:
    from speechxai.metrics import METRICS
    from speechxai.metrics.quantus_bridge import quantus_names

    names = [name for name in quantus_names() if METRICS.facts(name).get("needs") != "truth"]
    return f"Metrics of Quantus are taken by name too: {', '.join(names)}."


_MORE = {"methods": _captum, "metrics": _quantus}
"""A line below the table."""

_TABLES = {
    "methods": _methods,
    "combinations": _combinations,
    "metrics": _metrics,
    "models": _models,
    "cards": _cards,
    "backbones": _backbones,
    "probes": _probes,
    "presets": _presets,
    "configs": _configs,
}
