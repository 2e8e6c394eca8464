"""Attribution methods: `METHODS[name](model, spec, target, *, options) -> (B, F, T)`; importing a file here registers
its methods.

The order of the imports is the order of the menus: gradients first, controls last.
"""

# ruff: noqa: I001, F401
from speechxai.explain import gradient
from speechxai.explain import backprop
from speechxai.explain import occlusion
from speechxai.explain import transformer
from speechxai.explain import interpreter
from speechxai.explain import controls
from speechxai.explain import captum_bridge
from speechxai.explain import concept
from speechxai.explain.passes import METHODS
from speechxai.explain.gradient import baseline_magnitude, completeness_error
from speechxai.explain.passes import OriginalPass, count_passes

__all__ = ["METHODS", "OriginalPass", "baseline_magnitude", "completeness_error", "count_passes"]
