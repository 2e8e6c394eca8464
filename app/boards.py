"""What the Benchmark page shows, as sentences, lines of charts and rows of tables: a run's scores, a known truth cue by
cue, and what the maps alone know. Every number and every rule comes from the library's tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from app.charts import Row
from speechxai.auxiliary.folder import finished_studies
from speechxai.explain.recipe import CONTROLS
from speechxai.inspection.words import TRUTH, cue_words, recipe_words
from speechxai.metrics import METRICS
from speechxai.planted.sanity import LIMITS
from speechxai.planted.settings import MIN_AUC
from speechxai.planted.tables import average_over_cues
from speechxai.report.render import listing, p_text
from speechxai.stats import FEWEST_NETWORKS, FEWEST_SPEAKERS, compared
from speechxai.types import Array

if TYPE_CHECKING:
    from speechxai.auxiliary.folder import StudyFolder

COMPARED_FIRST = (
    "comprehensiveness@20",
    "comprehensiveness@10",
    "sufficiency@20",
    "deletion_auc",
    "insertion_auc",
    "faithfulness",
)
"""Scores to compare methods by, the equal budgets first."""

SANITY = ("seed_stability", "model_randomization", "max_sensitivity")
MOST_ROWS = 16
NOTHING = "–"


# A run over recordings whose truth nobody knows.
def groups(summary: pd.DataFrame) -> list[str]:
    """What is compared apart: the models of a run, or the cues of a benchmark with a known truth."""
    return list(dict.fromkeys(summary["model"].astype(str)))


def of_group(summary: pd.DataFrame, group: str) -> pd.DataFrame:
    """Rows of one group. The truth itself is no method: it only shows that the ruler is straight."""
    return summary[(summary["model"].astype(str) == group) & (summary["recipe"] != TRUTH)]


def metrics_of(summary: pd.DataFrame) -> list[str]:
    """Metrics of a summary, the ones to compare methods by first."""
    present = list(dict.fromkeys(summary["metric"].astype(str)))
    return [m for m in COMPARED_FIRST if m in present] + [
        m for m in present if m not in COMPARED_FIRST and m != "mean_mask"
    ]


def metric_words(metric: str) -> str:
    """A metric as people read it."""
    score, _, way = metric.partition(" | ")
    score, _, kind = score.partition(":")
    name, _, share = score.replace("_", " ").replace("auc", "AUC").partition("@")
    said = f"{name}, strongest {share}\u00a0%" if share else name
    said = f"{said}, in logits" if kind == "margin" else said
    return f"{said} ({way})" if way else said


def metric_question(metric: str) -> str:
    """What a metric asks, and which way is good."""
    metric, _, way = metric.partition(" | ")
    if metric not in METRICS:
        return ""
    if way:
        where = "took energy away" if "removed" in way else "added energy"
        return f"Does the map point at where the cue {where}? Higher is better."
    way = {"high": "Higher is better.", "low": "Lower is better."}.get(
        METRICS.facts(metric)["best"], "Neither way is better."
    )
    return f"{METRICS.summary(metric)} {way}"


def best_is_low(metric: str) -> bool:
    """Whether small values are good."""
    return metric in METRICS and METRICS.facts(metric)["best"] == "low"


def is_sanity(metric: str) -> bool:
    """Whether a metric checks the method itself."""
    return metric.startswith(SANITY)


def leaderboard(summary: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Rows of one metric, best first."""
    rows = summary[summary["metric"] == metric]
    return rows.sort_values("mean", ascending=best_is_low(metric), kind="stable", na_position="last").reset_index(
        drop=True
    )


def lines(rows: pd.DataFrame) -> list[Row]:
    """Lines of the interval chart: the best explanations, and every control wherever it stands, muted."""
    controls = rows["recipe"].isin(CONTROLS)
    shown = rows[controls | (np.cumsum(~controls) <= MOST_ROWS)]
    return [
        Row(recipe_words(str(r.recipe)), float(r.mean), float(r.low), float(r.high), str(r.recipe) in CONTROLS)
        for r in shown.itertuples()
    ]


def against_controls(board: pd.DataFrame) -> list[dict[str, Any]]:
    """Difference of every method to every control, in words and numbers."""
    controls = [c for c in CONTROLS if f"vs_{c}" in board.columns]
    found = []
    for _, row in board.iterrows():
        if str(row["recipe"]) in CONTROLS:
            continue
        line: dict[str, Any] = {"map": recipe_words(str(row["recipe"]))}
        for control in controls:
            name = f"vs_{control}"
            value, low, high, p = (row.get(f"{name}{end}", np.nan) for end in ("", "_low", "_high", "_p"))
            line[f"minus {recipe_words(control).removesuffix(' (control)')}"] = (
                ""
                if pd.isna(value)
                else f"{value:+.3f} ({low:+.3f} to {high:+.3f})" + ("" if pd.isna(p) else f", {p_text(p)}")
            )
        found.append(line)
    return found if controls else []


@dataclass(frozen=True)
class Ranking:
    """Which methods of a run are better than every control, by one score.

    Args:
        metric: the score.
        good: recipes that are, the best first.
        methods: all of them, the best first.
        controls: what they are compared with.
        n_speakers: behind it.
        decidable: whether so few speakers could have said it of any.
    """

    metric: str
    good: tuple[str, ...]
    methods: tuple[str, ...]
    controls: tuple[str, ...]
    n_speakers: int
    decidable: bool


def ranking(board: pd.DataFrame, metric: str) -> Ranking:
    """Compare the methods of a leaderboard, `leaderboard`, with its controls."""
    controls = tuple(c for c in CONTROLS if f"vs_{c}" in board.columns)
    methods = tuple(str(recipe) for recipe in board["recipe"] if recipe not in CONTROLS)
    pairs = compared(board, best="low" if best_is_low(metric) else "high") if controls and methods else {}
    good = tuple(name for name in methods if pairs.get(name) and all(one.better for one in pairs[name].values()))
    decidable = any(one.decidable for name in methods for one in pairs.get(name, {}).values())
    return Ranking(metric, good, methods, controls, int(board["n_speakers"].max()) if methods else 0, decidable)


REASONS = {
    ("comprehensiveness", "deletion_auc", "faithfulness"): "the answer weakens more without what {} marks than without"
    " what {} marks",
    ("sufficiency", "insertion_auc"): "what {} marks keeps the answer better than what {} marks",
}
"""What it means, by score, that a method is better than controls."""


def reason(metric: str, method: str, controls: str) -> str:
    """What it means that a method is better than controls, in plain words, and the name of the score."""
    for names, said in REASONS.items():
        if metric.startswith(names):
            return f"{said.format(method, controls)} ({metric_words(metric)})"
    return f"by {metric_words(metric)} {method} is better than {controls}"


def advice(found: Ranking, model: str) -> str:
    """The page's answer in one sentence: which method to use for a model, and why."""
    nothing = "maps that know nothing of the model"
    if not found.methods:
        return "Nothing can be advised: this run holds no method beside the controls."
    if not found.controls:
        best = f"best by {metric_words(found.metric)} is {recipe_words(found.methods[0])}"
        return f"Nothing can be advised for {model}, because this run holds no {nothing} to compare with; {best}."
    if not found.decidable:
        return (
            f"Nothing can be advised for {model}, because {found.n_speakers} speakers are too few to test any method"
            f" against {nothing}."
        )
    any_map = "any map that knows nothing of the model"
    of = f"over {found.n_speakers} speakers"
    if not found.good:
        why = reason(found.metric, "it", any_map)
        return f"Use none of these methods for {model}, because of none it is shown {of} that {why}."
    best = recipe_words(found.good[0])
    return f"Use {best} for {model}, because {of} {reason(found.metric, 'it', any_map)}."


def carried(found: Ranking, recipe: str, run: str) -> tuple[bool, str]:
    """What a run of a model says of the method that a map of this model is made by: whether it speaks against it, and
    the sentence."""
    by = f"In the run {run}, over {found.n_speakers} speakers,"
    nothing = "maps that know nothing of this model"
    if recipe in found.good:
        best = "" if recipe == found.good[0] else f"; best was {recipe_words(found.good[0])}"
        return False, f"{by} {recipe_words(recipe)} was better than all {nothing}{best}."
    instead = f": {recipe_words(found.good[0])} was" if found.good else ", and neither was any other method"
    return True, f"{by} {recipe_words(recipe)} was not better than all {nothing}{instead}."


def verdict(board: pd.DataFrame, metric: str) -> str:
    """Which methods beat every control, which do not."""
    found = ranking(board, metric)
    if not found.methods:
        return "This run holds no method beside the controls."
    if not found.controls:
        return (
            f"Best by {metric_words(metric)}: {recipe_words(found.methods[0])}. Without controls in the run, nobody can"
            " say whether that is more than chance."
        )
    n, good = found.n_speakers, found.good
    names = ", ".join(c.replace("_", " ") for c in found.controls)
    if not found.decidable:
        return (
            f"Not enough speakers to test: with {n} of them no method can be shown to be better than all maps that know"
            f" nothing of the model ({names}), however large the difference. Take more."
        )
    if not good:
        return (
            f"By {metric_words(metric)} over {n} speakers, no method is better than all maps that know nothing of the"
            f" model ({names}). Read none of these maps as the model's reason."
        )
    best = ", ".join(recipe_words(name) for name in good[:4])
    rest = len(found.methods) - len(good)
    return (
        f"By {metric_words(metric)} over {n} speakers, {len(good)} of {len(found.methods)} methods are better than"
        f" every map that knows nothing of the model ({names}): {best}{' and others' if len(good) > 4 else ''}."
        + (f" The other {rest} {'is' if rest == 1 else 'are'} not." if rest else "")
    )


def side_by_side(summary: pd.DataFrame, metrics: Sequence[str]) -> list[dict[str, Any]]:
    """One line a map, one column a metric: mean and 95 % interval."""
    part = summary[summary["metric"].isin(list(metrics))]
    found = []
    for recipe, group in part.groupby("recipe", sort=False):
        line: dict[str, Any] = {"map": recipe_words(str(recipe))}
        for metric in metrics:
            row = group[group["metric"] == metric]
            line[metric_words(metric)] = (
                ""
                if row.empty or pd.isna(row["mean"].iloc[0])
                else f"{row['mean'].iloc[0]:.3f} ({row['low'].iloc[0]:.3f} to {row['high'].iloc[0]:.3f})"
            )
        found.append(line)
    return found


# A benchmark with a known truth.
CHECKS = {
    "lag_frames": "beside the place in time",
    "lag_bins": "beside the place in frequency",
    "evidence_in_box": "evidence at the place",
    "energy_outside": "energy elsewhere",
    "class_flip": "the other class",
    "randomized_all": "random weights",
    "permuted_labels": "shuffled labels",
    "invariance_shift": "10 ms later",
    "seed_stability": "another seed",
}
"""The checks that can be failed, as people read them."""

CHECKS_CAPTION = (
    "On a network that is built to read one place of time and frequency: how far beside it the map lies (1 is the most"
    " that is allowed), whether what lies there speaks for the right class, and whether the map follows the energy"
    " elsewhere. Then how alike a method's map is (rank correlation) to that for the other class, to that of a network"
    " with random weights or of one that learned shuffled labels, where it should differ, and to that of the voice 10"
    " ms later, or with another seed, where it should not. Within the limits a method may still be poor; the controls"
    " must fail."
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
                "truth, share of the picture": _areas(row),
                "verdict": f"excluded: {row['excluded']}" if out else str(row.get("verdict", "counts")),
            }
        )
    return rows


def _areas(row: Mapping[Any, Any]) -> str:
    """Shares of the bins that the cue makes louder and softer; older tables have one of both together."""
    if "truth_area" in row:
        return "–" if pd.isna(row["truth_area"]) else f"{100 * row['truth_area']:.1f} %"
    if pd.isna(row["added_area"]):
        return "–"
    return f"{100 * row['added_area']:.1f} % louder, {100 * row['removed_area']:.1f} % softer"


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


def units(summary: pd.DataFrame) -> str:
    """What the means and intervals of a benchmark are over."""
    return "networks" if "n_networks" in summary else "speakers"


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
    n_networks = int(best.get("n_networks", FEWEST_NETWORKS))
    if n_networks < FEWEST_NETWORKS:
        return (
            f"{name}: only {n_networks} networks were explained; at least {FEWEST_NETWORKS} are needed to say anything."
        )
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
    pairs = {name: each for name, each in compared(rows).items() if name in set(methods["recipe"]) and each}
    if pairs:
        better = [name for name, each in pairs.items() if all(one.better for one in each.values())]
        names = listing([c.replace("_", " ") for c in CONTROLS if c in next(iter(pairs.values()))])
        if any(one.decidable and one.p == one.p for each in pairs.values() for one in each.values()):
            said += f" {len(better)} of {len(methods)} explanations point better than {names} beyond chance."
        else:
            said += f" {n} speakers are not enough to test them against {names}."
    return said


def truth_advice(rows: pd.DataFrame, group: str, metric: str) -> str:
    """The page's answer in one sentence: which method to use where a sign is like the planted cue, and why."""
    methods = rows[~rows["recipe"].isin(CONTROLS)].dropna(subset=["mean"])
    name, nothing = cue_words(group), "maps that know nothing of the model"
    name = f"{name[0].lower()}{name[1:]}"
    pairs = {each: found for each, found in compared(rows).items() if each in set(methods["recipe"]) and found}
    if not any(one.decidable and one.p == one.p for each in pairs.values() for one in each.values()):
        return f"No method can be advised for {name} yet: too little was explained to test any."
    good = [str(r) for r in methods["recipe"] if pairs.get(r) and all(one.better for one in pairs[r].values())]
    if not good:
        return f"Use none of these methods for {name}, because none points at it better than all {nothing}."
    return (
        f"Use {recipe_words(good[0])} for {name}, because by {metric_words(metric)} it points at the truth best of"
        f" those that point better than all {nothing}."
    )


def every_cue(summary: pd.DataFrame, metric: str) -> tuple[list[str], list[str], Array, list[bool]]:
    """Explanations by cues of one score: names, columns, values (N, M + 1) and which are controls; the mean stands
    last, beside its parts."""
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
        for check, words in CHECKS.items():
            if check in row:
                side, limit = LIMITS[check]
                line[f"{words} (fails {side} {limit:.2f})"] = _number(row[check])
        named = [_checks(row.get("fails"))]
        alone = row.get("fails_in")
        for part in alone.split("; ") if isinstance(alone, str) and alone else ():
            group, _, failed = part.partition(": ")
            named.append(f"{cue_words(group)} alone: {_checks(failed)}")
        line["fails"] = "; ".join(each for each in named if each) or "nothing"
        missing = row.get("unchecked")
        if isinstance(missing, str) and missing:
            line["not checked"] = _checks(missing)
        rows.append(line)
    return rows


def _checks(names: object) -> str:
    """Names of checks, "class_flip, lag_bins", as people read them."""
    return ", ".join(CHECKS.get(name, name) for name in names.split(", ")) if isinstance(names, str) else ""


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


# What the maps alone know.
NAMES = {
    "random_map": "random map",
    "energy_map": "energy map",
    "edge_map": "edge map",
    "permuted_labels": "shuffled labels",
    "majority": "the larger class",
    "answer": "the classifier's answer",
    "original": "the spectrogram itself",
}
"""Floors and the ceiling as people read them, in the order of the table."""
KINDS = {"explanation": "explanation", "floor": "floor", "ceiling": "ceiling"}
INPUTS = {"map": "Maps alone", "masked": "Maps times spectrogram", "original": "Spectrograms"}


@dataclass(frozen=True)
class Study:
    """One finished study as the page shows it.

    Args:
        title: what the network was given, and which network.
        facts: one line about recordings, speakers, folds and seeds.
        sentences: (tone, text) of what the numbers support.
        lines: of the interval chart: AUROC, explanations first, then floors, then the ceiling.
        scores: one row an input: AUROC, accuracy, macro F1 by speaker, and what leaky folds would have said.
        differences: AUROC of every explanation minus that of every floor and of the ceiling.
        twin: the same of the readable model.
        coefficients: band by segment of the readable model, by input.
        odds_of: the class that they speak for, in words.
    """

    title: str
    facts: str
    sentences: list[tuple[str, str]]
    lines: list[Row]
    scores: list[dict[str, Any]]
    differences: list[dict[str, Any]]
    twin: list[dict[str, Any]]
    coefficients: dict[str, list[dict[str, Any]]]
    odds_of: str


def studies(run: str) -> list[Study]:
    """Finished auxiliary studies of a run, read from its folder; none where there are none."""
    return [study(one) for one in finished_studies(Path(run))]


def study(one: StudyFolder) -> Study:
    """Read one finished study. Raises SpeechXAIError where a file of it is missing."""
    table, leak, coefficients = one.table("table"), one.table("leak"), one.table("coefficients")
    network, linear = table[table["architecture"] != "linear"], table[table["architecture"] == "linear"]
    ours = leak[leak["architecture"] != "linear"]
    added = {str(r["name"]): r for r in ours[ours["metric"] == "auroc"].to_dict("records")}
    found, settings = one.facts, one.settings
    counts = ", ".join(f"{n} {name}" for name, n in one.class_counts.items())
    facts = (
        f"{found['n_recordings']} recordings of {found['n_speakers']} speakers ({counts}); {settings.n_folds} folds by"
        f" speaker x {settings.n_seeds} seeds, {settings.n_mels} mel bands."
    )
    return Study(
        title=f"{INPUTS[settings.input]}, {settings.architecture} network",
        facts=facts,
        sentences=[(s.tone, s.text) for s in one.sentences],
        lines=study_lines(network),
        scores=study_scores(network, added),
        differences=study_differences(network),
        twin=study_scores(linear, {}),
        coefficients={
            input_words(n): study_cells(coefficients, n) for n in dict.fromkeys(coefficients["name"].astype(str))
        },
        odds_of=one.odds_of,
    )


def input_words(name: str) -> str:
    """An explanation, floor or ceiling as people read it."""
    return NAMES.get(name) or recipe_words(name)


def span(row: Mapping[Any, Any] | None, signed: bool = False) -> str:
    """A value with its 95 % interval as text."""
    if row is None or row["value"] != row["value"]:
        return NOTHING
    form = "+.2f" if signed else ".2f"
    if row["low"] != row["low"]:
        return f"{row['value']:{form}}"
    return f"{row['value']:{form}} ({row['low']:{form}} to {row['high']:{form}})"


def _by_name(frame: pd.DataFrame, metric: str, split: str = "speaker") -> dict[str, dict[Any, Any]]:
    """Rows of one metric and split by name: explanations from the best, then floors, then the ceiling."""
    order = {kind: i for i, kind in enumerate(KINDS)}
    rows = frame[(frame["metric"] == metric) & (frame["split"] == split)].to_dict("records")
    rows.sort(key=lambda r: (order[r["kind"]], -r["value"] if r["kind"] == "explanation" else 0))
    return {str(r["name"]): r for r in rows}


def study_lines(network: pd.DataFrame) -> list[Row]:
    """Lines of the interval chart of AUROC by speaker; floors are muted."""
    return [
        Row(
            f"{input_words(name)} ({KINDS[r['kind']]})" if r["kind"] != "explanation" else input_words(name),
            float(r["value"]),
            float(r["low"]),
            float(r["high"]),
            r["kind"] == "floor",
        )
        for name, r in _by_name(network, "auroc").items()
    ]


def study_scores(frame: pd.DataFrame, added: Mapping[str, Mapping[Any, Any]]) -> list[dict[str, Any]]:
    """One row an input: scores by speaker, and, marked, AUROC of folds that let the network hear the tested
    speakers."""
    found = {metric: _by_name(frame, metric) for metric in ("auroc", "accuracy", "macro_f1")}
    leaky = _by_name(frame, "auroc", "recording")
    rows = []
    for name, row in found["auroc"].items():
        line: dict[str, Any] = {
            "input": input_words(name),
            "kind": KINDS[row["kind"]],
            "AUROC": span(row),
            "accuracy": span(found["accuracy"].get(name)),
            "macro F1": span(found["macro_f1"].get(name)),
        }
        if added:
            change = added.get(name)
            line["⚠ leaky folds: AUROC"] = span(leaky.get(name))
            line["the leak adds"] = span({**change, "value": change["added"]}, signed=True) if change else NOTHING
        rows.append(line)
    return rows


def study_differences(network: pd.DataFrame) -> list[dict[str, Any]]:
    """AUROC of every explanation minus that of every floor and of the ceiling, with corrected p where there is one."""
    others = [n for n in NAMES if f"vs_{n}" in network.columns]
    rows = []
    for name, row in _by_name(network, "auroc").items():
        if row["kind"] != "explanation":
            continue
        line: dict[str, Any] = {"input": input_words(name)}
        for other in others:
            said = span(
                {"value": row[f"vs_{other}"], "low": row[f"vs_{other}_low"], "high": row[f"vs_{other}_high"]}, True
            )
            p = row.get(f"vs_{other}_p", float("nan"))
            line[f"minus {NAMES[other]}"] = said + (f", p {'< 0.001' if p < 0.001 else f'{p:.3f}'}" if p == p else "")
        rows.append(line)
    return rows


def study_cells(coefficients: pd.DataFrame, name: str) -> list[dict[str, Any]]:
    """What the readable model takes for a class: log odds a standard deviation of evidence, rows are bands (of each
    class, where there are more than two), columns segments.

    A cell that is the same in all recordings, as above a telephone's band, says nothing.
    """
    part = coefficients[(coefficients["name"] == name) & (coefficients["split"] == "speaker")]
    several = part["class"].nunique() > 1
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for r in part.to_dict("records"):
        label, band = str(r["class"]), str(r["band"])
        line = rows.setdefault((label, band), ({"class": label} if several else {}) | {"band": band})
        line[f"in {r['segment']}"] = f"{r['log_odds']:+.2f}" if r["std"] > 0 else NOTHING
    return list(rows.values())
