"""What the Benchmark page shows of a benchmark with a known truth: who points at it, cue by cue, and which score would
have told so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from app.benchmark_facts import FEW_SPEAKERS, best_is_low, metric_words
from app.charts import Row
from speechxai.explain.recipe import CONTROLS
from speechxai.inspection.words import TRUTH, cue_words, recipe_words
from speechxai.planted.settings import MIN_AUC
from speechxai.types import Array

FIRST = "relevance_rank"
"""The score that the page opens with: it does not depend on how a map spreads its weight."""

FEWEST_SPEAKERS = 6
"""Fewer allow no statement."""

EVERY_CUE = "all"
MOST_ROWS = 16

CHECKS = {
    "randomized_all": ("random weights", "above 0.90"),
    "permuted_labels": ("shuffled labels", "above 0.90"),
    "invariance_polarity": ("upside down", "below 0.90"),
    "invariance_shift": ("10 ms later", "below 0.30"),
    "seed_stability": ("another seed", "below 0.50"),
}
"""The checks that can be failed, as people read them, and when a method fails."""

CHECKS_CAPTION = (
    "How alike a method's map is (rank correlation) to that of a network with random weights or of one that learned"
    " shuffled labels, where it should differ, and to that of the voice turned upside down, of the voice 10 ms later,"
    " or with another seed, where it should not. Within the limits a method may still be poor; the controls must fail."
)


def excluded(tasks: pd.DataFrame) -> pd.Series:
    """Which tasks do not count, bool by task."""
    return tasks["excluded"].map(lambda reason: isinstance(reason, str) and bool(reason)).astype(bool)


def learned(tasks: pd.DataFrame) -> str:
    """How many tests count, and why the others do not."""
    out = tasks[excluded(tasks)]
    n = len(tasks)
    said = f"{n - len(out)} of {n} tests count."
    if len(out):
        named = "; ".join(
            f"{cue_words(str(r['group']))}, seed {r['seed']} (AUC {float(r['auc']):.2f})"
            for r in out.head(4).to_dict("records")
        )
        more = f" and {len(out) - 4} more" if len(out) > 4 else ""
        said += (
            f" Not judged, because the network did not learn to hear the cue (AUC under {MIN_AUC:.2f}): {named}{more}."
        )
    return said


def task_rows(tasks: pd.DataFrame) -> list[dict[str, Any]]:
    """One line a task: was the cue learned, could level alone have told, and does the task count?"""
    rows = []
    for row, out in zip(tasks.to_dict("records"), excluded(tasks), strict=True):
        rows.append(
            {
                "test": f"{cue_words(str(row['group']))}, seed {row['seed']}",
                "speakers": _number(row["n_speakers"], 0),
                "held-out AUC": _span(row, "auc", "auc_low", "auc_high"),
                "AUC of loudness alone": _number(row["rms_auc"]),
                "recordings explained": str(row["n_explained"]),
                "truth, share of the picture": (
                    "–" if pd.isna(row["truth_area"]) else f"{100 * row['truth_area']:.1f} %"
                ),
                "verdict": f"excluded: {row['excluded']}" if out else "counts",
            }
        )
    return rows


def _number(value: Any, digits: int = 2) -> str:
    return "–" if value is None or pd.isna(value) else f"{float(value):.{digits}f}"


def _span(row: Mapping[Any, Any], value: str, low: str, high: str) -> str:
    if pd.isna(row[value]):
        return "–"
    return f"{row[value]:.2f} ({_number(row[low])} to {_number(row[high])})"


def board(summary: pd.DataFrame, group: str, metric: str) -> pd.DataFrame:
    """Rows of one cue and score, best first, without the truth itself, which only shows that the ruler is straight."""
    part = summary[(summary["model"] == group) & (summary["metric"] == metric) & (summary["recipe"] != TRUTH)]
    return part.sort_values("mean", ascending=best_is_low(metric), kind="stable", na_position="last")


def lines(rows: pd.DataFrame) -> list[Row]:
    """Lines of the interval chart: the best explanations, and every control wherever it stands."""
    controls = rows["recipe"].isin(CONTROLS)
    shown = rows[controls | (np.cumsum(~controls) <= MOST_ROWS)]
    return [
        Row(recipe_words(str(r.recipe)), float(r.mean), float(r.low), float(r.high), str(r.recipe) in CONTROLS)
        for r in shown.itertuples()
    ]


def chance_of(chance: pd.DataFrame, group: str, metric: str) -> list[tuple[float, str]]:
    """The mark of what a map scores that points anywhere."""
    row = chance[(chance["model"] == group) & (chance["metric"] == metric)]
    return [] if row.empty else [(float(row["expected"].iloc[0]), "chance")]


def answer(rows: pd.DataFrame, group: str, metric: str) -> str:
    """Which explanation points at the truth, beside the best control, and how many do better than knowing nothing."""
    methods = rows[~rows["recipe"].isin(CONTROLS)].dropna(subset=["mean"])
    controls = rows[rows["recipe"].isin(CONTROLS)].dropna(subset=["mean"])
    name = cue_words(group)
    if methods.empty:
        return f"{name}: no explanation has this score."
    best = methods.iloc[0]
    n = int(best["n_speakers"])
    if n < FEWEST_SPEAKERS:
        return f"{name}: only {n} speakers were explained; at least {FEWEST_SPEAKERS} are needed to say anything."
    said = (
        f"{name}: by {metric_words(metric)}, {recipe_words(str(best['recipe']))} points at the truth best,"
        f" {_span(best.to_dict(), 'mean', 'low', 'high')} over {n} speakers"
    )
    if not controls.empty:
        other = controls.iloc[0]
        said += (
            f"; the best map that knows nothing of the model, the {recipe_words(str(other['recipe']))}, reaches"
            f" {other['mean']:.2f}"
        )
    said += "."
    compared = [c for c in ("random_map", "energy_map") if f"vs_{c}_low" in rows]
    if len(compared) == 2:
        sure = pd.Series(True, methods.index)
        for c in compared:
            sure &= (methods[f"vs_{c}_low"] > 0) & (methods[f"vs_{c}_p"] < 0.05)
        said += (
            f" {int(sure.sum())} of {len(methods)} explanations point better than both random map and energy map beyond"
            " chance."
        )
        if n < FEW_SPEAKERS and not sure.any():
            said += f" But {n} speakers can hardly prove any difference."
    return said


def every_cue(summary: pd.DataFrame, metric: str) -> tuple[list[str], list[str], Array, list[bool]]:
    """Explanations by cues of one score: names, columns, values (N, M + 1) and which are controls; the mean stands
    last, beside its parts."""
    from speechxai.planted.tables import average_over_cues

    wide = average_over_cues(summary, metric).set_index("recipe")
    last = wide.columns[-1]
    wide = wide.assign(_control=wide.index.isin(CONTROLS), _truth=wide.index == TRUTH)
    wide = wide.sort_values(["_truth", "_control", last], ascending=[True, True, best_is_low(metric)], kind="stable")
    columns = [cue_words(str(c)) for c in wide.columns[:-3]] + ["mean of the columns"]
    muted = (wide["_control"] | wide["_truth"]).tolist()
    return (
        [recipe_words(str(r)) for r in wide.index],
        columns,
        wide.drop(columns=["_control", "_truth"]).to_numpy(float),
        muted,
    )


def believable(table: pd.DataFrame, group: str, truth_metric: str) -> list[Row]:
    """How well each score that needs no truth goes with pointing at it: rank correlation over methods, best first."""
    used = table[(table["truth_metric"] == truth_metric) & (table["model"] == group)].dropna(subset=["within"])
    used = used.sort_values("within", ascending=False, kind="stable")
    return [
        Row(
            metric_words(str(r.metric)),
            float(r.within),
            float(r.within_low),
            float(r.within_high),
            int(r.n_speakers) < FEWEST_SPEAKERS,
        )
        for r in used.itertuples()
    ]


def which_score(rows: list[Row]) -> str:
    """What a reader learns from the correlations: the score to look at where no truth is known, and the one to
    leave."""
    sure = [r for r in rows if not r.muted]
    if not sure:
        return "Too few speakers to say which score to believe."
    best, worst = sure[0], sure[-1]
    said = (
        f"Where no truth is known, {best.label} says most about where a map points (rank correlation {best.value:.2f},"
        f" {best.low:.2f} to {best.high:.2f}), {worst.label} least ({worst.value:.2f})."
    )
    wrong = [r.label for r in sure if r.high < 0]
    return said + (f" These prefer maps that point elsewhere: {', '.join(wrong)}." if wrong else "")


def sanity_rows(sanity: pd.DataFrame) -> list[dict[str, Any]]:
    """Methods by the checks that can be failed, and what each fails."""
    rows = []
    for row in sanity.to_dict("records"):
        line: dict[str, Any] = {"map": recipe_words(str(row["recipe"]))}
        for check, (words, limit) in CHECKS.items():
            if check in row:
                line[f"{words} (fails {limit})"] = _number(row[check])
        fails = row.get("fails")
        named = [CHECKS[f][0] if f in CHECKS else f for f in str(fails).split(", ")] if isinstance(fails, str) else []
        line["fails"] = ", ".join(named) or "nothing"
        rows.append(line)
    return rows


def ruler(chance: pd.DataFrame, group: str) -> list[dict[str, Any]]:
    """The two rows that show that the ruler is straight: dice score chance, the truth scores 1."""
    return [
        {
            "score": metric_words(str(r["metric"])),
            "a map of dice must score": _number(r["expected"], 3),
            "it scores": (
                f"{_number(r['random_map'], 3)} ({_number(r['random_low'], 3)} to {_number(r['random_high'], 3)})"
            ),
            "the truth itself scores at least": _number(r["truth_lowest"], 3),
        }
        for r in chance[chance["model"] == group].to_dict("records")
    ]
