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

from speechxai.stats import auc_interval, bootstrap_means, network_interval, resamples, speaker_means
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


SHARES = (0.0, 0.2, 0.4, 0.6)
SETTINGS: dict[str, dict[str, float]] = {
    "5 seeds, 3 networks each": {},
    "3 seeds, 3 networks each": {"n_seeds": 3},
    "networks of a seed correlated by .25": {"alike": 0.25},
    "networks of a seed correlated by .5": {"alike": 0.5},
    "41 speakers teach and are explained in all seeds": {"n_pool": 41},
    "24 speakers teach and are explained in all seeds": {"n_pool": 24},
}
"""How networks and speakers hang together: every seed with speakers of its own, or all seeds with parts of the same."""
N_FOLDS, N_EXPLAINED = 3, 3


def drawn_networks(
    random: np.random.Generator, share: float, n_seeds: int = 5, alike: float = 0.0, n_pool: int = 0
) -> tuple[Array, Array, Array, Array, float]:
    """Values (n,) of explained speakers, their networks, speakers and seeds, and the true mean.

    A value is sqrt(share) times its network's effect and sqrt(1 - share) times its speaker's. With `n_pool` the
    speakers of all seeds are the same, dealt anew to folds: half of a network's effect then comes from those who taught
    it, 70 % of a speaker's stays from network to network, and the mean sought is that of networks taught by this pool.
    """
    n_networks = n_seeds * N_FOLDS
    network = np.repeat(np.arange(n_networks), N_EXPLAINED)
    seed = network // N_FOLDS
    if not n_pool:
        effect = np.sqrt(alike) * random.normal(size=n_seeds)[np.arange(n_networks) // N_FOLDS]
        effect = effect + np.sqrt(1 - alike) * random.normal(size=n_networks)
        values = np.sqrt(share) * effect[network] + np.sqrt(1 - share) * random.normal(size=len(network))
        return values, network, np.arange(len(network)), seed, 0.0
    person, teacher = random.normal(size=n_pool), random.normal(size=n_pool)
    effect, speaker = np.empty(n_networks), np.empty(len(network), dtype=int)
    for each in range(n_seeds):
        parts = np.array_split(random.permutation(n_pool), N_FOLDS)
        for fold in range(N_FOLDS):
            taught_by, which = parts[(fold + 2) % N_FOLDS], each * N_FOLDS + fold
            learned = teacher[taught_by].mean() * np.sqrt(len(taught_by))
            effect[which] = np.sqrt(0.5) * learned + np.sqrt(0.5) * random.normal()
            speaker[network == which] = random.choice(parts[fold], N_EXPLAINED, replace=False)
    stays = np.sqrt(0.7) * person[speaker] + np.sqrt(0.3) * random.normal(size=len(network))
    target = float(np.sqrt(share * 0.5) * teacher.mean() * np.sqrt(n_pool / N_FOLDS))
    return np.sqrt(share) * effect[network] + np.sqrt(1 - share) * stays, network, speaker, seed, target


def of_networks(n_samples: int) -> list[str]:
    """Coverage for the mean over networks: ours, Student's t over networks, percentile over speakers."""
    lines = ["| networks | " + " | ".join(f"share {s:g}" for s in SHARES) + " |", "|---|" + "---|" * len(SHARES)]
    for name, setting in SETTINGS.items():
        cells = []
        for share in SHARES:
            random, held = np.random.default_rng([int(10 * share), len(name)]), np.zeros(3)
            for _ in range(n_samples):
                values, network, speaker, seed, target = drawn_networks(random, share, **setting)  # type: ignore[arg-type]
                _, low, high = network_interval(values[:, None], network, speaker, seed)
                means = np.bincount(network, values) / np.bincount(network)
                reach = student.ppf(0.975, len(means) - 1) * means.std(ddof=1) / np.sqrt(len(means))
                people = speaker_means(values, speaker)
                counts = random.multinomial(len(people), np.full(len(people), 1 / len(people)), size=400)
                ends = np.quantile(counts @ people / len(people), [0.025, 0.975])
                held += (low[0] <= target <= high[0], abs(means.mean() - target) <= reach, ends[0] <= target <= ends[1])
            cells.append(" / ".join(f"{100 * each / n_samples:.0f}" for each in held))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1500, help="samples a cell (default 1500; AUC a fifth)")
    n_samples = parser.parse_args().samples
    print("Coverage in percent of intervals of a mean: ours / percentile / t\n")
    of_means(n_samples)
    print("\nCoverage in percent of intervals of an AUC\n")
    of_areas(max(1, n_samples // 5))
    print("\nCoverage in percent of intervals over networks, by their share of the variance: ours / t / percentile\n")
    of_networks(max(1, n_samples // 2))


if __name__ == "__main__":
    main()
