"""What the ruler of the benchmark's version 2.0 changed, point by point: before and after, from one run.

    python scripts/ruler.py runs/benchmark              all points; about three minutes of one core
    python scripts/ruler.py runs/benchmark --only 1 2   some of them

Before is measured by the truth of version 1.0, which every run holds beside its own (`relevance_rank | version 1.0`).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from intervals import of_networks

from speechxai.data.cues import truth_map
from speechxai.errors import NotApplicable
from speechxai.planted.folder import BenchmarkFolder
from speechxai.planted.material import Pair, make_material
from speechxai.planted.ruler import RESOLUTIONS, difference_db, inside
from speechxai.planted.sanity import MUTANTS, OTHER_CLASS, built_cases, built_checks, failed_checks, mutated
from speechxai.planted.settings import FAITHFULNESS_METRICS, SYNTHETIC, BenchmarkSettings, Task
from speechxai.planted.tables import BASE, boards, order_table, singles
from speechxai.planted.task import OLD_RULER
from speechxai.stats import smallest_p
from speechxai.types import StftConfig

STFT = StftConfig()
N_PAIRS = 6


def shown(rows: list[dict[str, object]]) -> None:
    """Print rows as a table."""
    print(pd.DataFrame(rows).to_string(index=False, float_format=lambda value: f"{value:.3f}"), "\n")


def way(sign: str, index: int, ending: str = "") -> str:
    """Name of a way to measure at a resolution."""
    return f"relevance_rank | {sign}, 3 dB, {RESOLUTIONS[index].name}{ending}"


class Run:
    """Scores of a run, and differences between two explanations by any way to measure."""

    def __init__(self, path: Path) -> None:
        self.folder = BenchmarkFolder(path)
        self.scores = self.folder.scores()
        self.boards = boards(self.scores)
        self.groups = list(dict.fromkeys(self.scores["model"]))

    def mean(self, group: str, recipe: str, metric: str) -> float:
        """Mean over networks; NaN where nothing is defined."""
        board = self.boards.get((group, metric))
        return float("nan") if board is None else float(board.interval(board.of(recipe)[:, None])[0][0])

    def less(self, group: str, first: str, second: str, metric: str) -> str:
        """Mean difference of two explanations with its 95 % interval."""
        board = self.boards.get((group, metric))
        if board is None:
            return "–"
        mean, low, high = board.interval((board.of(first) - board.of(second))[:, None])
        return f"{mean[0]:+.3f} [{low[0]:+.3f}, {high[0]:+.3f}]"


def pairs_of(run: Run, cue: str) -> list[Pair]:
    """A few synthetic twins of a cue."""
    settings = BenchmarkSettings(n_speakers=N_PAIRS, n_takes=1)
    return list(make_material(Task(SYNTHETIC, cue, 1.0, 0), settings, ()).pairs)


def sign(run: Run) -> None:
    """1. A truth with a sign, free of level."""
    rows: list[dict[str, object]] = []
    for cue in run.folder.settings.cues:
        removed, alike, old_alike = [], [], []
        try:
            pairs = pairs_of(run, cue)
        except NotApplicable:
            continue
        for pair in pairs:
            with_cue, without = pair.with_cue.waveform, pair.without_cue.waveform
            old = truth_map(with_cue, without, STFT) > 0.5
            softer = pair.difference_db(STFT) < 0
            removed.append(float((old & softer).sum() / old.sum()))
            quiet = 10 ** (-12 / 20)
            other = truth_map(quiet * with_cue, quiet * without, STFT) > 0.5
            old_alike.append(float((old & other).sum() / (old | other).sum()))
            both = [inside(difference_db(gain * with_cue, gain * without, STFT), "both", 3.0) for gain in (1.0, quiet)]
            alike.append(float((both[0] & both[1]).sum() / (both[0] | both[1]).sum()))
        rows.append(
            {
                "cue": cue,
                "1.0: share where energy is removed": np.mean(removed),
                "1.0: IoU with itself 12 dB softer": np.mean(old_alike),
                "2.0: the same": np.mean(alike),
            }
        )
    shown(rows)
    shown(
        [
            {
                "group": group,
                "IG - energy, 1.0": run.less(group, "integrated_gradients", "energy_map", OLD_RULER),
                "added": run.less(group, "integrated_gradients", "energy_map", way("added", 0)),
                "removed": run.less(group, "integrated_gradients", "energy_map", way("removed", 0)),
                "added, absolute": run.less(group, "integrated_gradients", "energy_map", way("added", 0, ", absolute")),
            }
            for group in run.groups
        ]
    )


def resolution(run: Run) -> None:
    """2. Occlusion less Integrated Gradients, by resolution."""
    shown(
        [
            {
                "group": group,
                "1.0": run.less(group, "occlusion", "integrated_gradients", OLD_RULER),
                **{
                    each.name: run.less(group, "occlusion", "integrated_gradients", way("added", index))
                    for index, each in enumerate(RESOLUTIONS)
                },
            }
            for group in run.groups
        ]
    )


def saturation(run: Run) -> None:
    """3. Logits as they are: answers at 0.1 of their temperature, and metrics that can rank again."""
    margins = {}
    for result in run.folder.results():
        found = [abs(each) for entry in result.scores for each in entry["margins"]]
        margins.setdefault(str(result.facts["group"]), []).extend(found)
    rows: list[dict[str, object]] = []
    for group, values in margins.items():
        if not values:
            continue
        p = {t: 1 / (1 + np.exp(-np.array(values) / t)) for t in (0.1, 1.0)}
        rows.append(
            {
                "group": group,
                "answers above .999999 at T = 0.1": float((p[0.1] > 1 - 1e-6).mean()),
                "at T = 1": float((p[1.0] > 1 - 1e-6).mean()),
                **{
                    f"{metric}: recordings with no order": unranked(run, group, metric)
                    for metric in ("average_increase", "average_gain")
                },
            }
        )
    shown(rows)
    believed = run.folder.table("believable")
    used = believed[(believed["truth_metric"] == BASE) & (believed["metric"].isin(FAITHFULNESS_METRICS))]
    print(used.pivot(index="metric", columns="model", values="within").round(2).to_string(), "\n")


def unranked(run: Run, group: str, metric: str) -> str:
    """How many recordings have one value of all methods."""
    board = run.boards.get((group, metric))
    if board is None:
        return "–"
    values = np.stack([board.of(name) for name in singles(board.recipes)], axis=1)
    return f"{int((np.nanmax(values, axis=1) == np.nanmin(values, axis=1)).sum())} of {len(values)}"


def refusal(run: Run) -> None:
    """4. AUC over all folds, within folds, twins in order, and what was made of it."""
    names = ["task", "auc_pooled", "auc", "twins_right", "capped", "verdict"]
    print(run.folder.table("tasks")[names].to_string(index=False), "\n")


def inference(run: Run) -> None:
    """5. Coverage by simulation: ours / t over networks / percentile over speakers (200 samples a cell)."""
    of_networks(200)
    print()


def family(run: Run) -> None:
    """6. What a family can ever decide."""
    n_networks = len(np.unique(next(iter(run.boards.values())).networks)) if run.boards else 0
    print(f"92 tests by Holm, 10 speakers: smallest p {smallest_p(10, 92):.3f}; 12 speakers: {smallest_p(12, 92):.3f}")
    print(f"39 tests by max-T, {n_networks} networks: smallest p {2 / 2 ** max(n_networks, 1):.5f}\n")


def mutants(run: Run) -> None:
    """7. Seven broken methods on a network that reads one box."""
    cases = built_cases(STFT)
    for name in (*MUTANTS, OTHER_CLASS):
        print(f"{name}: fails {', '.join(failed_checks(built_checks(mutated(name), cases)[name])) or 'NOTHING'}")
    sanity = run.folder.table("sanity")
    print(sanity[["recipe", "fails"]].to_string(index=False) if len(sanity) else "No sanity checks in this run.", "\n")


def giveaway(run: Run) -> None:
    """8. What else gives the cue away."""
    names = ["task", "rms_auc", "peak_auc", "contour_auc", "crest_auc", "spectrum_auc"]
    print(run.folder.table("tasks")[names].round(2).to_string(index=False), "\n")


def footing(run: Run) -> None:
    """9. Signed maps by positive evidence and by size; plain gradients beside |X * gradient|."""
    orders = order_table(run.folder.table("summary"))
    absolute = orders[orders["metric"].str.endswith("1 bin, absolute")]
    print(absolute.to_string(index=False), "\n")
    shown(
        [
            {
                "group": group,
                "saliency": run.mean(group, "saliency", way("added", 0)),
                "|X * gradient|": run.mean(group, "input_x_gradient", way("added", 0, ", absolute")),
                "random": run.mean(group, "random_map", way("added", 0)),
            }
            for group in run.groups
        ]
    )


POINTS: tuple[Callable[[Run], None], ...] = (
    sign,
    resolution,
    saturation,
    refusal,
    inference,
    family,
    mutants,
    giveaway,
    footing,
)


def main() -> None:
    """Print the points."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a benchmark of version 2.0 with its tables")
    parser.add_argument("--only", type=int, nargs="+", choices=range(1, len(POINTS) + 1), help="points (default: all)")
    given = parser.parse_args()
    run = Run(given.run)
    for number, point in enumerate(POINTS, start=1):
        if given.only is None or number in given.only:
            print(point.__doc__)
            point(run)


if __name__ == "__main__":
    main()
