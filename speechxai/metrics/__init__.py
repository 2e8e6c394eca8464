"""Metrics of explanations: functions of a `Case`, one value a recording; importing a file here registers its
metrics."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from speechxai.classifiers.network import NO_CLASSES, as_network, stated
from speechxai.errors import NotApplicable, SpeechXAIError, did_you_mean
from speechxai.families import BESIDE_PUBLISHED, PUBLISHED_METRICS, at_equal_budget
from speechxai.metrics import faithfulness as faithfulness
from speechxai.metrics import maps as maps
from speechxai.metrics import quantus_bridge
from speechxai.metrics import robustness as robustness
from speechxai.metrics.case import METRICS, Case
from speechxai.metrics.maps import LOCALIZATION_METRICS
from speechxai.metrics.robustness import seed_stability
from speechxai.registry import check_values

EQUAL_BUDGET_METRICS = tuple(name for name in METRICS if at_equal_budget(name))
"""Hard masks of the same number of bins for every map: the ones to compare methods by."""

MARGIN_METRICS = tuple(name for name in METRICS if name.endswith(":margin"))
"""Faithfulness on logit margins, which a network that is sure does not saturate; made by the same passes."""

FILL_METRICS = tuple(name for name in METRICS if name.rpartition(":")[2] in faithfulness.OTHER_FILLS)
"""Metrics of one budget with something else than silence where bins are removed; the fill stands in their names."""

DEFAULT_METRICS = (*PUBLISHED_METRICS, *EQUAL_BUDGET_METRICS, *BESIDE_PUBLISHED)
"""What `evaluate` computes unless asked otherwise."""


def indicators() -> list[str]:
    """Names of the metrics that are 0 or 1 for a recording: a mean over speakers with one recording each is a share."""
    return [name for name in METRICS if METRICS.facts(name).get("indicator")]


def resolve(names: Iterable[str] | str) -> list[str]:
    """Return metric names in order, each once; "published", "default" and "all" stand for their lists.

    "all" leaves out metrics that need a ground-truth map.

    Raises:
        SpeechXAIError: an unknown name, answered with the nearest known one.
    """
    groups: dict[str, tuple[str, ...]] = {
        "published": PUBLISHED_METRICS,
        "default": DEFAULT_METRICS,
        "all": tuple(name for name in METRICS if METRICS.facts(name).get("needs") != "truth"),
    }
    found: dict[str, None] = {}
    for name in [names] if isinstance(names, str) else names:
        for each in groups.get(name, (name,)):
            METRICS[each]
            found[each] = None
    return list(found)


def check_options(options: Mapping[str, Mapping[str, Any]]) -> None:
    """Check options by metric, such as {"quantus:PixelFlipping": {"features_in_step": 513}}.

    Raises:
        SpeechXAIError: an unknown metric or option, answered with the nearest known one.
    """
    for name, given in options.items():
        function = METRICS[name]
        if name.startswith("quantus:"):
            quantus_bridge.check_options(name.partition(":")[2], given)
            continue
        takes = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
        for option in given:
            if option not in takes:
                raise SpeechXAIError(did_you_mean(str(option), takes or ["none"], f"option of '{name}'"))
        check_values(function, given, f"'{name}'")


def applicable(names: Iterable[str], network: Any) -> tuple[list[str], dict[str, str]]:
    """Which metrics mean something for what a network gives, and why the others do not, by name.

    Of a network that gives a score in a unit, metrics that compare classes do not apply, nor do those of Quantus, whose
    models have classes.
    """
    wanted, refused = resolve(names), dict[str, str]()
    unit, kinds = stated(network, "unit", ""), as_network(network).class_names
    if unit:
        why = NO_CLASSES.format(name=kinds[0], unit=unit)
        refused = {
            name: f"it compares classes, and {why}"
            for name in wanted
            if METRICS.facts(name).get("needs") == "classes" or name.startswith("quantus:")
        }
    return [name for name in wanted if name not in refused], refused


def score(
    case: Case,
    names: Iterable[str] | str = DEFAULT_METRICS,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Tensor]:
    """Compute metrics of a case: name -> (B,), fractions; NaN where a metric is undefined.

    Of a network that gives a score, those that are changes of what it says are in its unit.

    Args:
        case: the maps under test.
        names: of metrics, those of Quantus included ("quantus:ROAD"), and "published", "default" or "all".
        options: by metric, see `check_options`.

    Raises:
        SpeechXAIError: an unknown name; a metric that needs a ground-truth map where the case has none.
        NotApplicable: a metric that compares classes, of a network that gives a score; see `applicable`.
    """
    wanted, refused = applicable(names, case.network)
    for name, reason in refused.items():
        raise NotApplicable(f"{name}: {reason}.")
    for name in wanted:
        if METRICS.facts(name).get("needs") == "truth" and case.truth is None:
            raise SpeechXAIError(f"The metric '{name}' needs a ground-truth map, and this recording has none.")
    return {name: METRICS[name](case, **(options or {}).get(name, {})) for name in wanted}


__all__ = [
    "DEFAULT_METRICS",
    "EQUAL_BUDGET_METRICS",
    "FILL_METRICS",
    "LOCALIZATION_METRICS",
    "MARGIN_METRICS",
    "METRICS",
    "PUBLISHED_METRICS",
    "Case",
    "applicable",
    "check_options",
    "indicators",
    "resolve",
    "score",
    "seed_stability",
]
