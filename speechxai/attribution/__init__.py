"""Attribution methods: `METHODS[name](model, spec, target, *, options) -> (B, F, T)`; importing a file here registers its methods."""

from speechxai.attribution import control as control
from speechxai.attribution import gradient as gradient
from speechxai.attribution.base import METHODS
from speechxai.attribution.gradient import baseline_magnitude, completeness_error
from speechxai.attribution.shared import OriginalPass, count_passes

__all__ = ["METHODS", "OriginalPass", "baseline_magnitude", "completeness_error", "count_passes"]
