"""How often does a study of readers find a metric, or a hybrid of metrics, that knows nothing of what readers can tell?

    python scripts/readers_null.py 1000                         both tables, as in docs/readers.md (about ten minutes)
    python scripts/readers_null.py 1000 --only metrics
    python scripts/readers_null.py 400 --only hybrid

Readers judge explanations, of which 60 % are true, by how clearly each shows what it is; some accept readily, some
hardly. A metric that knows nothing has no part in that, so that of its 95 % intervals for the correlation with
readers' success at most 2.5 % should lie above 0, and as many below. A metric that is related to how clear an
explanation is should be found. The mark is what the report says: where an interval leaves out 0.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import numpy as np

from speechxai.readers import analysis
from speechxai.stats import spearman_interval
from speechxai.types import Array

SHAPES: dict[str, Callable[[Array], Array]] = {
    "normal": lambda z: z,
    "log-normal": np.exp,
    "log-normal, turned": lambda z: -np.exp(-z),
    "with ties": np.round,
}
"""How a metric's values lie."""

ACCEPT = {"hardly": -1.0, "evenly": 0.0, "readily": 1.0}
"""What is added to every judgment, in standard deviations of one."""


def studies(repeats: int, n_cases: int, n_readers: int, bias: float, seed: int) -> Iterator[tuple[Array, ...]]:
    """Simulated studies: which explanations are true, how clear each is, and the mean use that readers made of it; with
    the generator that made them."""
    rng = np.random.default_rng(seed)
    for _ in range(repeats):
        true = rng.permutation(np.arange(n_cases) % 5 < 3)
        clear = rng.normal(size=n_cases)
        judged = np.where(true, 1, -1) * (0.4 + 0.6 * clear) + bias + rng.normal(size=(n_readers, n_cases))
        yield true, clear, np.where(judged > 0.5, 1, np.where(judged < -0.5, 0, 0.5)).mean(0), rng  # type: ignore[misc]


def of_metrics(repeats: int, n_cases: int = 60, n_readers: int = 8, seed: int = 11) -> list[tuple[str, ...]]:
    """Rows of the table of metrics."""
    rows = []
    for words, bias in ACCEPT.items():
        found = {shape: [0, 0, 0] for shape in SHAPES}
        for true, clear, use, rng in studies(repeats, n_cases, n_readers, bias, seed):
            noise = rng.normal(size=n_cases)  # type: ignore[attr-defined]
            related = np.where(true, 1, -1) * clear + noise
            for shape, curve in SHAPES.items():
                low, high = spearman_interval(*analysis.with_success(curve(noise), true, use))
                found[shape][0] += high < 0
                found[shape][1] += low > 0
                found[shape][2] += spearman_interval(*analysis.with_success(curve(related), true, use))[0] > 0
        rows += [(words, shape, *(f"{100 * n / repeats:.1f} %" for n in counts)) for shape, counts in found.items()]
    return rows


def of_hybrids(repeats: int, seed: int = 1) -> list[tuple[str, ...]]:
    """Rows of the table of hybrids: of three metrics that know nothing, and of one of three that is related."""
    keep, rows = analysis.auc_interval, []
    analysis.auc_interval = lambda *_, **__: (float("nan"), float("nan"))  # type: ignore[assignment]  # not asked here
    for n_cases, n_readers in ((40, 8), (80, 16)):
        for words in ("evenly", "readily"):
            counts = [0, 0, 0]
            for true, clear, use, rng in studies(repeats, n_cases, n_readers, ACCEPT[words], seed):
                noise = rng.normal(size=(n_cases, 3))  # type: ignore[attr-defined]
                nothing = analysis.hybrid(noise, true, use)
                noise[:, 0] += np.where(true, 1, -1) * clear
                counts[0] += nothing.success_high < 0
                counts[1] += nothing.success_low > 0
                counts[2] += analysis.hybrid(noise, true, use).success_low > 0
            shares = (f"{100 * n / repeats:.1f} %" for n in counts)
            rows.append((f"{n_cases} cases, {n_readers} readers", words, *shares))
    analysis.auc_interval = keep
    return rows


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repeats", nargs="?", type=int, default=1000, help="simulated studies for each row")
    parser.add_argument("--only", choices=("metrics", "hybrid"), help="one table")
    given = parser.parse_args()
    found = ("knows nothing: below 0", "above 0", "related: above 0")
    if given.only != "hybrid":
        print(table(("readers accept", "metric", *found), of_metrics(given.repeats)), flush=True)
    if given.only is None:
        print()
    if given.only != "metrics":
        print(table(("study", "readers accept", *found), of_hybrids(min(given.repeats, 400))), flush=True)


if __name__ == "__main__":
    main()
