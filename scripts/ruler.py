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
from speechxai.explain.recipe import CONTROLS
from speechxai.planted.folder import BenchmarkFolder
from speechxai.planted.material import Pair, make_material
from speechxai.planted.ruler import RESOLUTIONS, difference_db, inside
from speechxai.planted.sanity import MUTANTS, OTHER_CLASS, built_cases, built_checks, failed_checks, mutated
from speechxai.planted.settings import FAITHFULNESS_METRICS, MIN_AUC, SYNTHETIC, TRUTH, BenchmarkSettings, Task
from speechxai.planted.tables import BASE, Board, boards, order_table, singles
from speechxai.planted.task import OLD_RULER
from speechxai.stats import ALPHA, sign_flip_p_values, smallest_p, speaker_means
from speechxai.types import Array, StftConfig

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
        positive = self.boards.get((group, metric.removesuffix(", absolute")), board)

        def of(recipe: str) -> Array:  # maps without a sign have one reading
            return board.of(recipe) if recipe in board.recipes else positive.of(recipe)

        mean, low, high = board.interval((of(first) - of(second))[:, None])
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
    """4. Before: AUC over all folds, of networks that end after 30 epochs; after: within folds, and twins in order."""
    tasks = run.folder.table("tasks")
    epochs = {result.task: result.facts.get("best_epochs", []) for result in run.folder.results()}
    shown(
        [
            {
                "task": row["task"],
                "1.0: AUC over folds": row["auc_pooled"],
                "1.0: counts": bool(row["auc_pooled"] >= MIN_AUC),
                "1.0: networks best after its 30 epochs": sum(n > 30 for n in epochs[row["task"]]),
                "AUC within folds": row["auc"],
                "twins in order": row["twins_right"],
                "networks at the cap": row["capped"],
                "verdict": row["verdict"],
            }
            for row in tasks.to_dict("records")
        ]
    )


def inference(run: Run) -> None:
    """5. Coverage by simulation: ours / t over networks / percentile over speakers (200 samples a cell)."""
    of_networks(200)
    print()


def family(run: Run) -> None:
    """6. What a family can ever decide."""
    n_networks = len(np.unique(next(iter(run.boards.values())).networks)) if run.boards else 0
    print("Smallest p that a family can give, whatever the effect:")
    print(f"1.0: 92 tests by Holm: {smallest_p(10, 92):.3f} with 10 speakers, {smallest_p(12, 92):.3f} with 12")
    print(f"2.0: 39 tests by max-T: {2 / 2 ** max(n_networks, 1):.5f} with the {n_networks} networks here")
    held = run.folder.table("statements")
    rows = []
    for group in run.groups:
        part = held[(held["model"] == group) & held["second"].isin(CONTROLS)]
        board = run.boards.get((group, OLD_RULER))
        n_old = "–" if board is None else f"{old_winners(board)} of {len(singles(board.recipes))}"
        above = part[part["holds"].astype(bool)].groupby("first").size() if len(part) else pd.Series(dtype=int)
        rows.append(
            {"group": group, "1.0: above both controls": n_old, "2.0: above all three": int((above == 3).sum())}
        )
    shown(rows)


def old_winners(board: Board) -> int:
    """Methods above random and energy as version 1.0 tested: speakers flipped, Holm over all explanations and both
    controls."""
    methods = singles(board.recipes)
    pairs = [(m, c) for m in board.recipes if m not in (*CONTROLS, TRUTH) for c in ("random_map", "energy_map")]
    means = speaker_means(np.stack([board.of(m) - board.of(c) for m, c in pairs], axis=1), board.speakers)
    p = sign_flip_p_values(means, correction="holm")
    won = {pair for pair, each, mean in zip(pairs, p, means.mean(axis=0), strict=True) if each < ALPHA and mean > 0}
    return sum((m, "random_map") in won and (m, "energy_map") in won for m in methods)


def mutants(run: Run) -> None:
    """7. Seven broken methods on a network that reads one box."""
    cases = built_cases(STFT)
    for name in (*MUTANTS, OTHER_CLASS):
        print(f"{name}: fails {', '.join(failed_checks(built_checks(mutated(name), cases)[name])) or 'NOTHING'}")
    sanity = run.folder.table("sanity")
    print(
        sanity[["recipe", "fails", "fails_in"]].to_string(index=False)
        if len(sanity)
        else "No sanity checks in this run.",
        "\n",
    )


def giveaway(run: Run) -> None:
    """8. What else gives the cue away: version 1.0 asked RMS and peak alone."""
    names = {"rms_auc": "1.0: RMS", "peak_auc": "1.0: peak", "contour_auc": "contour", "crest_auc": "crest"}
    tasks = run.folder.table("tasks")[["task", *names, "spectrum_auc"]].rename(columns=names)
    print(tasks.round(2).to_string(index=False), "\n")


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
