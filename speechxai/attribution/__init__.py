"""Attribution methods: `METHODS[name](model, spec, target, *, options) -> (B, F, T)`; importing a file here registers its methods.

The order of the imports is the order of the menus: gradients first, controls last.
"""

# ruff: noqa: I001
from speechxai.attribution import gradient as gradient
from speechxai.attribution import backprop as backprop
from speechxai.attribution import rescale as rescale
from speechxai.attribution import perturbation as perturbation
from speechxai.attribution import masking as masking
from speechxai.attribution import transformer as transformer
from speechxai.attribution import control as control
from speechxai.attribution.base import METHODS
from speechxai.attribution.gradient import baseline_magnitude, completeness_error
from speechxai.attribution.shared import OriginalPass, count_passes

__all__ = ["METHODS", "OriginalPass", "baseline_magnitude", "completeness_error", "count_passes"]
