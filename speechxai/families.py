"""The three families that a run's tables speak of, known by name before their code is loaded: methods, combinations and
metrics.

Whoever asks a family about a name that nobody told it loads the room that fills it. A table of a finished run needs
none of that code, for the run says what its names mean.
"""

from __future__ import annotations

from typing import Any

from speechxai.registry import Registry

METHODS: Registry[Any] = Registry("method", required=("signed", "stochastic", "cites"), filled_by="speechxai.explain")
"""Attribution methods by name: functions `(model, spec, target, *, options) -> (B, F, T)`.

Facts: `signed` (negative values mean evidence against the class), `stochastic` (takes a `seed`), `cites` (a citation
key, or "own"), and optionally `control=True` for the maps that every method must beat, `class_blind=True` for a map
that is the same for every class, `needs="attention"` for networks with readable attention alone,
`needs="units"` for recordings whose phones or words are known, `needs="interpreter"` for networks with a trained one,
and `resolution="time"`.
"""

COMBINATIONS: Registry[Any] = Registry("combination", required=("cites",), filled_by="speechxai.explain.combination")
"""Combinations by name: functions `(maps (M, B, F, T)) -> (B, F, T)` on evidence maps in [0, 1]."""

METRICS: Registry[Any] = Registry("metric", required=("best", "bounds", "cites"), filled_by="speechxai.metrics")
"""Metrics by name: functions `(case: Case) -> (B,)`.

Facts: `best` ("high", "low" or "none"), `bounds` (lowest and highest value; None where open; of a network that gives
a score those of `in_unit` metrics are in its unit and open), `cites`, and optionally `needs="truth"` where the case
must hold a ground-truth map, `needs="classes"` where the network must tell classes apart, and `in_unit=True` where the
value is what the network says, or a change of it: a probability, or a score in its unit.
"""

PUBLISHED_METHODS = (
    "saliency",
    "guided_backprop",
    "integrated_gradients",
    "gradient_shap",
    "smoothgrad",
    "guided_gradcam",
)
"""The six methods of mancini2025investigating in the order of its loop over pairs: the published IoU thresholds a
pair's second map by the first one's maximum, and the printed running means accumulate in this order."""

CONTROLS = ("random_map", "energy_map", "edge_map")
"""Maps that know nothing of the classifier: what every method must beat."""

PUBLISHED_METRICS = (
    "average_increase",
    "average_drop",
    "average_gain",
    "faithfulness",
    "input_fidelity",
    "sparseness",
    "complexity",
)
"""The seven of mancini2025investigating, in the order of its tables."""

BESIDE_PUBLISHED = ("silence_share", "mean_mask")
"""What `evaluate` computes beside the published metrics and those at equal budgets, unless asked otherwise."""


def at_equal_budget(metric: str) -> bool:
    """Whether a metric keeps or removes the same number of bins of every map: the ones to compare methods by.

    >>> at_equal_budget("sufficiency@10"), at_equal_budget("sufficiency@10:noise"), at_equal_budget("faithfulness")
    (True, False, False)
    """
    return "@" in metric and ":" not in metric
