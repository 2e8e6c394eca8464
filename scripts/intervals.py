"""How often a nominal 95 % interval over speakers holds the truth, by simulation: the tables of docs/statistics.md.

    python scripts/intervals.py                 about five minutes of one core
    python scripts/intervals.py --samples 200   a quick look

Every cell draws many samples of so many speakers from a distribution whose truth is known and counts the intervals that
hold it: ours (`speechxai.stats`), the percentile interval from the same resamples, and Student's t for means.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from scipy.special import ndtri
from scipy.stats import t as student

from speechxai.stats import auc_interval, bootstrap_means, resamples
from speechxai.types import Array

SPEAKERS = (5, 8, 10, 12, 20, 40)
PER_CLASS = (3, 5, 8, 12, 20)
AREAS = (0.6, 0.75, 0.9)
Draw = Callable[[np.random.Generator, tuple[int, int]], Array]
VALUES: dict[str, tuple[Draw, float]] = {
    "normal": (lambda random, size: random.normal(size=size), 0.0),
    "exponential": (lambda random, size: random.exponential(size=size), 1.0),
    "log-normal": (lambda random, size: random.lognormal(size=size), float(np.exp(0.5))),
    "beta(0.3, 1.2)": (lambda random, size: random.beta(0.3, 1.2, size=size), 0.2),
    "a fifth of speakers differ": (
        lambda random, size: np.where(
            random.random(size) < 0.2, random.exponential(size=size), 0.05 * random.normal(size=size)
        ),
        0.2,
    ),
}
"""What scores of speakers look like: `name: (draw, mean)`."""


def of_means(n_samples: int) -> list[str]:
    """Coverage for the mean of so many speakers: ours, percentile, t."""
    lines = ["| values | " + " | ".join(f"{n} speakers" for n in SPEAKERS) + " |", "|---|" + "---|" * len(SPEAKERS)]
    for name, (draw, truth) in VALUES.items():
        cells = []
        for n in SPEAKERS:
            values = draw(np.random.default_rng([n, len(name)]), (n, n_samples))
            low, high = bootstrap_means(values)
            counts = np.apply_along_axis(np.bincount, 1, resamples(n), minlength=n)
            ends = np.quantile(counts @ values / n, [0.025, 0.975], axis=0)
            reach = student.ppf(0.975, n - 1) * values.std(axis=0, ddof=1) / np.sqrt(n)
            mean = values.mean(axis=0)
            held = (
                (low <= truth) & (truth <= high),
                (ends[0] <= truth) & (truth <= ends[1]),
                abs(mean - truth) <= reach,
            )
            cells.append(" / ".join(f"{100 * each.mean():.0f}" for each in held))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    return lines


def of_areas(n_samples: int) -> list[str]:
    """Coverage for the AUC of so many speakers in each class, normal scores."""
    lines = ["| true AUC | " + " | ".join(f"{n} + {n}" for n in PER_CLASS) + " |", "|---|" + "---|" * len(PER_CLASS)]
    for area in AREAS:
        cells = []
        for n in PER_CLASS:
            random, labels = np.random.default_rng([n, int(100 * area)]), np.repeat([0, 1], n)
            held = 0
            for _ in range(n_samples):
                scores = random.normal(size=2 * n) + labels * np.sqrt(2) * ndtri(area)
                low, high = auc_interval(scores, labels, np.arange(2 * n), n=500)
                held += low <= area <= high
            cells.append(f"{100 * held / n_samples:.0f}")
        lines.append(f"| {area} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1500, help="samples a cell (default 1500; AUC a fifth)")
    n_samples = parser.parse_args().samples
    print("Coverage in percent of intervals of a mean: ours / percentile / t\n")
    of_means(n_samples)
    print("\nCoverage in percent of intervals of an AUC\n")
    of_areas(max(1, n_samples // 5))


if __name__ == "__main__":
    main()
