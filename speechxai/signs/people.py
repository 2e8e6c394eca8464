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
        n: how many gave the mean.
        source: of the recordings that gave the deviation.
    """

    mean: float
    sd: float
    low: float
    high: float
    n: int
    source: str


PEOPLE: Mapping[tuple[str, str, str], Spread] = {
    ("breathiness", "ddk", "F"): Spread(13.98, 2.912, 9.19, 18.77, 20, "figshare-voice"),
    ("breathiness", "ddk", "M"): Spread(14.4, 3.849, 8.068, 20.73, 20, "figshare-voice"),
    ("breathiness", "ddk", "any"): Spread(14.19, 3.295, 8.77, 19.61, 40, "figshare-voice"),
    ("breathiness", "reading", "F"): Spread(16.98, 2.912, 12.19, 21.77, 20, "figshare-voice"),
    ("breathiness", "reading", "M"): Spread(16.49, 3.849, 10.15, 22.82, 20, "figshare-voice"),
    ("breathiness", "reading", "any"): Spread(16.73, 3.295, 11.31, 22.15, 40, "figshare-voice"),
    ("breathiness", "vowel", "F"): Spread(19.03, 2.912, 12.4, 23.82, 25, "figshare-voice"),
    ("breathiness", "vowel", "M"): Spread(15.43, 3.849, 9.101, 21.77, 15, "figshare-voice"),
    ("breathiness", "vowel", "any"): Spread(17.68, 3.295, 11.35, 23.1, 40, "figshare-voice"),
    ("consonant_precision", "ddk", "F"): Spread(44.4, 4.008, 37.77, 50.99, 20, "synthetic"),
    ("consonant_precision", "ddk", "M"): Spread(45.89, 3.127, 40.75, 51.04, 20, "synthetic"),
    ("consonant_precision", "ddk", "any"): Spread(45.15, 3.595, 39.04, 51.06, 40, "synthetic"),
    ("consonant_precision", "reading", "F"): Spread(34.62, 5.476, 23.93, 50.34, 20, "synthetic"),
    ("consonant_precision", "reading", "M"): Spread(35.67, 7.575, 23.04, 49.18, 20, "synthetic"),
    ("consonant_precision", "reading", "any"): Spread(35.15, 6.609, 23.04, 49.24, 40, "synthetic"),
    ("loudness_decay", "ddk", "F"): Spread(-0.1618, 0.3318, -0.7075, 0.5393, 20, "synthetic"),
    ("loudness_decay", "ddk", "M"): Spread(-0.02308, 0.2733, -0.4726, 0.4265, 20, "synthetic"),
    ("loudness_decay", "ddk", "any"): Spread(-0.09242, 0.3039, -0.5924, 0.5347, 40, "synthetic"),
    ("loudness_decay", "reading", "F"): Spread(0.2164, 2.22, -3.436, 3.868, 20, "synthetic"),
    ("loudness_decay", "reading", "M"): Spread(0.4739, 1.784, -2.461, 3.409, 20, "synthetic"),
    ("loudness_decay", "reading", "any"): Spread(0.3452, 2.014, -2.968, 3.658, 40, "synthetic"),
    ("loudness_decay", "vowel", "F"): Spread(-0.6041, 1.495, -3.172, 1.855, 25, "figshare-voice"),
    ("loudness_decay", "vowel", "M"): Spread(-1.21, 1.361, -5.037, 1.03, 15, "figshare-voice"),
    ("loudness_decay", "vowel", "any"): Spread(-0.8312, 1.446, -3.823, 1.729, 40, "figshare-voice"),
    ("loudness_range", "reading", "F"): Spread(7.154, 0.4506, 6.413, 8.141, 20, "synthetic"),
    ("loudness_range", "reading", "M"): Spread(6.818, 0.4874, 6.016, 7.62, 20, "synthetic"),
    ("loudness_range", "reading", "any"): Spread(6.986, 0.4693, 6.214, 8.081, 40, "synthetic"),
    ("pauses", "reading", "F"): Spread(9.391, 2.613, 5.092, 14.29, 20, "synthetic"),
    ("pauses", "reading", "M"): Spread(10.15, 2.173, 6.577, 14.06, 20, "synthetic"),
    ("pauses", "reading", "any"): Spread(9.771, 2.403, 5.818, 14.13, 40, "synthetic"),
    ("pitch_level", "ddk", "F"): Spread(11.72, 2.738, 7.214, 16.22, 20, "figshare-voice"),
    ("pitch_level", "ddk", "M"): Spread(2.296, 1.932, -0.8818, 5.516, 20, "figshare-voice"),
    ("pitch_level", "ddk", "any"): Spread(7.007, 2.467, -0.221, 14.35, 40, "figshare-voice"),
    ("pitch_level", "reading", "F"): Spread(11.92, 2.738, 7.414, 16.42, 20, "figshare-voice"),
    ("pitch_level", "reading", "M"): Spread(2.283, 1.932, -0.8949, 6.203, 20, "figshare-voice"),
    ("pitch_level", "reading", "any"): Spread(7.1, 2.467, -0.3967, 14.08, 40, "figshare-voice"),
    ("pitch_level", "vowel", "F"): Spread(10.33, 2.738, -0.8962, 15.07, 25, "figshare-voice"),
    ("pitch_level", "vowel", "M"): Spread(1.599, 1.932, -1.996, 5.29, 15, "figshare-voice"),
    ("pitch_level", "vowel", "any"): Spread(7.053, 2.467, -2.136, 14.75, 40, "figshare-voice"),
    ("pitch_range", "reading", "F"): Spread(2.718, 0.5902, 1.747, 3.689, 20, "synthetic"),
    ("pitch_range", "reading", "M"): Spread(2.697, 0.4632, 1.935, 3.459, 20, "synthetic"),
    ("pitch_range", "reading", "any"): Spread(2.707, 0.5305, 1.835, 3.58, 40, "synthetic"),
    ("rate", "ddk", "F"): Spread(5.53, 0.5924, 4.555, 6.505, 20, "synthetic"),
    ("rate", "ddk", "M"): Spread(5.364, 0.4563, 4.613, 6.114, 20, "synthetic"),
    ("rate", "ddk", "any"): Spread(5.447, 0.5288, 4.577, 6.317, 40, "synthetic"),
    ("rate", "reading", "F"): Spread(3.954, 0.431, 3.245, 4.663, 20, "synthetic"),
    ("rate", "reading", "M"): Spread(3.799, 0.3088, 3.13, 4.307, 19, "synthetic"),
    ("rate", "reading", "any"): Spread(3.879, 0.3765, 3.132, 4.498, 39, "synthetic"),
    ("roughness", "vowel", "F"): Spread(0.55, 0.1986, 0.2184, 0.9005, 25, "figshare-voice"),
    ("roughness", "vowel", "M"): Spread(0.7258, 0.2704, 0.2809, 1.456, 15, "figshare-voice"),
    ("roughness", "vowel", "any"): Spread(0.616, 0.2282, 0.2405, 1.391, 40, "figshare-voice"),
    ("spectral_tilt", "reading", "F"): Spread(-7.038, 1.799, -9.998, -4.078, 20, "figshare-voice"),
    ("spectral_tilt", "reading", "M"): Spread(-7.873, 0.968, -9.52, -6.281, 20, "figshare-voice"),
    ("spectral_tilt", "reading", "any"): Spread(-7.456, 1.541, -9.991, -4.921, 40, "figshare-voice"),
    ("spectral_tilt", "vowel", "F"): Spread(-5.743, 1.799, -8.703, -2.301, 25, "figshare-voice"),
    ("spectral_tilt", "vowel", "M"): Spread(-7.116, 0.968, -9.65, -4.831, 15, "figshare-voice"),
    ("spectral_tilt", "vowel", "any"): Spread(-6.258, 1.541, -8.973, -3.094, 40, "figshare-voice"),
    ("tremor", "vowel", "F"): Spread(0.2166, 0.1936, -0.1018, 0.7794, 25, "figshare-voice"),
    ("tremor", "vowel", "M"): Spread(0.1221, 0.05252, 0.03573, 0.2085, 15, "figshare-voice"),
    ("tremor", "vowel", "any"): Spread(0.1812, 0.1564, -0.07603, 0.6365, 40, "figshare-voice"),
    ("vowel_space", "reading", "F"): Spread(0.7477, 0.07658, 0.6217, 0.8736, 20, "synthetic"),
    ("vowel_space", "reading", "M"): Spread(0.7952, 0.08484, 0.6556, 0.9348, 20, "synthetic"),
    ("vowel_space", "reading", "any"): Spread(0.7714, 0.08081, 0.6385, 0.9246, 40, "synthetic"),
    ("vowel_space", "vowel", "F"): Spread(0.7445, 0.1367, 0.5197, 0.9693, 25, "figshare-voice"),
    ("vowel_space", "vowel", "M"): Spread(0.6011, 0.04526, 0.5267, 0.692, 15, "figshare-voice"),
    ("vowel_space", "vowel", "any"): Spread(0.6907, 0.1115, 0.5072, 0.9178, 40, "figshare-voice"),
}
"""By sign, kind of task and sex; "any" is both, with the deviation within a sex.

Deviations are half of the way from the 16th to the 84th percentile. Held vowels: 40 healthy speakers of figshare-voice
over the telephone; their deviations hold for breathiness, tilt and pitch in speech as well. All else: 40 synthetic
speakers, who are more alike than real ones."""


def of_people(name: str, kind: str, sex: str = "any") -> Spread:
    """Return how far people differ in a sign; of a sex that is not said or not in the table, both together.

    Raises:
        NotApplicable: the table has no such people.
    """
    found = PEOPLE.get((name, kind, sex)) or PEOPLE.get((name, kind, "any"))
    if found is None:
        raise NotApplicable(f"how far people differ in '{name}' is not known for this task ({kind})")
    return found
