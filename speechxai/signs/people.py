"""How far people differ in each sign: what one standard deviation of a dial is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from speechxai.errors import NotApplicable


@dataclass(frozen=True)
class Spread:
    """A sign's own measure among healthy people, in the unit of its doses.

    Args:
        mean, sd: of people.
        low, high: 5th and 95th percentile: the range of people.
        n: how many.
        source: of the recordings.
    """

    mean: float
    sd: float
    low: float
    high: float
    n: int
    source: str


PEOPLE: Mapping[tuple[str, str, str], Spread] = {
    ("breathiness", "ddk", "F"): Spread(13.98, 1.185, 12.4, 15.47, 20, "synthetic"),
    ("breathiness", "ddk", "M"): Spread(14.4, 0.8121, 13.07, 15.62, 20, "synthetic"),
    ("breathiness", "ddk", "any"): Spread(14.19, 1.016, 12.67, 15.62, 40, "synthetic"),
    ("breathiness", "reading", "F"): Spread(16.98, 1.15, 15.47, 18.44, 20, "synthetic"),
    ("breathiness", "reading", "M"): Spread(16.49, 1.467, 14.44, 18.61, 20, "synthetic"),
    ("breathiness", "reading", "any"): Spread(16.73, 1.318, 14.47, 18.61, 40, "synthetic"),
    ("breathiness", "vowel", "F"): Spread(19.03, 3.657, 12.4, 22.81, 25, "figshare-voice"),
    ("breathiness", "vowel", "M"): Spread(15.43, 3.843, 10.54, 20.68, 15, "figshare-voice"),
    ("breathiness", "vowel", "any"): Spread(17.68, 3.727, 11.35, 22.6, 40, "figshare-voice"),
    ("consonant_precision", "ddk", "F"): Spread(44.4, 4.256, 37.77, 50.77, 20, "synthetic"),
    ("consonant_precision", "ddk", "M"): Spread(45.89, 2.753, 41.62, 49.68, 20, "synthetic"),
    ("consonant_precision", "ddk", "any"): Spread(45.15, 3.584, 39.04, 50.44, 40, "synthetic"),
    ("consonant_precision", "reading", "F"): Spread(34.62, 8.082, 23.93, 50.34, 20, "synthetic"),
    ("consonant_precision", "reading", "M"): Spread(35.67, 8.054, 23.04, 49.18, 20, "synthetic"),
    ("consonant_precision", "reading", "any"): Spread(35.15, 8.068, 23.04, 49.24, 40, "synthetic"),
    ("loudness_decay", "ddk", "F"): Spread(-0.1618, 0.417, -0.6162, 0.5393, 20, "synthetic"),
    ("loudness_decay", "ddk", "M"): Spread(-0.02308, 0.2885, -0.4121, 0.3678, 20, "synthetic"),
    ("loudness_decay", "ddk", "any"): Spread(-0.09242, 0.3586, -0.5744, 0.5347, 40, "synthetic"),
    ("loudness_decay", "reading", "F"): Spread(0.2164, 2.428, -3.225, 2.806, 20, "synthetic"),
    ("loudness_decay", "reading", "M"): Spread(0.4739, 1.851, -2.066, 3.376, 20, "synthetic"),
    ("loudness_decay", "reading", "any"): Spread(0.3452, 2.159, -2.524, 3.376, 40, "synthetic"),
    ("loudness_decay", "vowel", "F"): Spread(-0.6041, 1.502, -3.172, 1.839, 25, "figshare-voice"),
    ("loudness_decay", "vowel", "M"): Spread(-1.21, 1.998, -5.037, 0.3212, 15, "figshare-voice"),
    ("loudness_decay", "vowel", "any"): Spread(-0.8312, 1.702, -3.823, 1.729, 40, "figshare-voice"),
    ("loudness_range", "reading", "F"): Spread(7.154, 0.4917, 6.521, 8.141, 20, "synthetic"),
    ("loudness_range", "reading", "M"): Spread(6.818, 0.4994, 6.095, 7.429, 20, "synthetic"),
    ("loudness_range", "reading", "any"): Spread(6.986, 0.4956, 6.223, 8.081, 40, "synthetic"),
    ("pauses", "reading", "F"): Spread(9.391, 3.103, 6.069, 14.29, 20, "synthetic"),
    ("pauses", "reading", "M"): Spread(10.15, 2.332, 7.314, 14.06, 20, "synthetic"),
    ("pauses", "reading", "any"): Spread(9.771, 2.745, 6.323, 14.13, 40, "synthetic"),
    ("pitch_level", "ddk", "F"): Spread(11.72, 2.421, 7.931, 15.22, 20, "synthetic"),
    ("pitch_level", "ddk", "M"): Spread(2.296, 2.138, -0.4813, 5.516, 20, "synthetic"),
    ("pitch_level", "ddk", "any"): Spread(7.007, 2.284, -0.221, 14.35, 40, "synthetic"),
    ("pitch_level", "reading", "F"): Spread(11.92, 2.423, 7.423, 15.43, 20, "synthetic"),
    ("pitch_level", "reading", "M"): Spread(2.283, 2.212, -0.7442, 6.203, 20, "synthetic"),
    ("pitch_level", "reading", "any"): Spread(7.1, 2.32, -0.3967, 14.08, 40, "synthetic"),
    ("pitch_level", "vowel", "F"): Spread(10.33, 4.865, -0.8962, 15.07, 25, "figshare-voice"),
    ("pitch_level", "vowel", "M"): Spread(1.599, 2.477, -1.996, 5.29, 15, "figshare-voice"),
    ("pitch_level", "vowel", "any"): Spread(7.053, 4.148, -2.136, 14.75, 40, "figshare-voice"),
    ("pitch_range", "reading", "F"): Spread(2.718, 0.562, 2.065, 3.552, 20, "synthetic"),
    ("pitch_range", "reading", "M"): Spread(2.697, 0.5068, 2.107, 3.442, 20, "synthetic"),
    ("pitch_range", "reading", "any"): Spread(2.707, 0.5351, 2.065, 3.539, 40, "synthetic"),
    ("rate", "ddk", "F"): Spread(5.53, 0.5715, 4.627, 6.122, 20, "synthetic"),
    ("rate", "ddk", "M"): Spread(5.364, 0.4142, 4.73, 5.945, 20, "synthetic"),
    ("rate", "ddk", "any"): Spread(5.447, 0.4991, 4.663, 6.08, 40, "synthetic"),
    ("rate", "reading", "F"): Spread(3.954, 0.4506, 3.404, 4.492, 20, "synthetic"),
    ("rate", "reading", "M"): Spread(3.799, 0.3719, 3.13, 4.278, 19, "synthetic"),
    ("rate", "reading", "any"): Spread(3.879, 0.4142, 3.132, 4.389, 39, "synthetic"),
    ("roughness", "vowel", "F"): Spread(0.55, 0.3293, 0.2184, 0.9005, 25, "figshare-voice"),
    ("roughness", "vowel", "M"): Spread(0.7258, 0.3783, 0.4222, 1.456, 15, "figshare-voice"),
    ("roughness", "vowel", "any"): Spread(0.616, 0.3482, 0.2458, 1.391, 40, "figshare-voice"),
    ("spectral_tilt", "reading", "F"): Spread(-7.038, 0.8548, -8.515, -5.766, 20, "synthetic"),
    ("spectral_tilt", "reading", "M"): Spread(-7.873, 0.8256, -9.52, -6.726, 20, "synthetic"),
    ("spectral_tilt", "reading", "any"): Spread(-7.456, 0.8403, -9.346, -6.29, 40, "synthetic"),
    ("spectral_tilt", "vowel", "F"): Spread(-5.743, 2.111, -8.084, -2.301, 25, "figshare-voice"),
    ("spectral_tilt", "vowel", "M"): Spread(-7.116, 1.583, -9.65, -4.831, 15, "figshare-voice"),
    ("spectral_tilt", "vowel", "any"): Spread(-6.258, 1.933, -8.973, -3.094, 40, "figshare-voice"),
    ("tremor", "vowel", "F"): Spread(0.2166, 0.2601, 0.04128, 0.7794, 25, "figshare-voice"),
    ("tremor", "vowel", "M"): Spread(0.1221, 0.04885, 0.06021, 0.1851, 15, "figshare-voice"),
    ("tremor", "vowel", "any"): Spread(0.1812, 0.2088, 0.04277, 0.6365, 40, "figshare-voice"),
    ("vowel_space", "reading", "F"): Spread(0.7477, 0.07928, 0.6496, 0.8586, 20, "synthetic"),
    ("vowel_space", "reading", "M"): Spread(0.7952, 0.08733, 0.6648, 0.9269, 20, "synthetic"),
    ("vowel_space", "reading", "any"): Spread(0.7714, 0.0834, 0.6638, 0.9246, 40, "synthetic"),
    ("vowel_space", "vowel", "F"): Spread(0.7445, 0.1418, 0.5197, 0.9414, 25, "figshare-voice"),
    ("vowel_space", "vowel", "M"): Spread(0.6011, 0.05507, 0.5423, 0.692, 15, "figshare-voice"),
    ("vowel_space", "vowel", "any"): Spread(0.6907, 0.1175, 0.5169, 0.9178, 40, "figshare-voice"),
}
"""By sign, kind of task and sex; "any" is both, with the deviation within a sex. Held vowels: 40 healthy speakers of
figshare-voice over the telephone. Everything else: 40 synthetic ones, who are alike where the synthesizer makes them:
real people differ more."""


def of_people(name: str, kind: str, sex: str = "any") -> Spread:
    """Return how far people differ in a sign; of a sex that is not said or not in the table, both together.

    Raises:
        NotApplicable: the table has no such people.
    """
    found = PEOPLE.get((name, kind, sex)) or PEOPLE.get((name, kind, "any"))
    if found is None:
        raise NotApplicable(f"how far people differ in '{name}' is not known for this task ({kind})")
    return found
