"""The sentences of the leaderboard, each computed from its tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from speechxai.benchmark import TRUTH
from speechxai.benchmark_tables import ALL_CUES
from speechxai.report_benchmark_parts import ALPHA, FEWEST_SPEAKERS, FIRST, seeds_that_count, value_of, with_interval
from speechxai.report_tables import is_control

if TYPE_CHECKING:
    import pandas as pd

    from speechxai.io.benchmark_runs import BenchmarkFolder


def findings(folder: BenchmarkFolder) -> list[str]:
    """Write the sentences that follow from the tables: what counts, who points at the truth, which metric to believe, who fails."""
    tasks, summary = folder.table("tasks"), folder.table("summary")
    excluded = tasks[tasks["excluded"].map(lambda reason: isinstance(reason, str) and bool(reason))]
    said = [f"{len(tasks) - len(excluded)} of {len(tasks)} tasks count."]
    status = folder.status()
    if status.n_done < status.n_units:
        said.insert(
            0,
            f"Not finished: {status.n_done} of {status.n_units} tasks are done, and every number rests on them alone.",
        )
    if len(excluded):
        said[-1] += (
            " Excluded: " + "; ".join(f"{row['task']} ({row['excluded']})" for row in excluded.to_dict("records")) + "."
        )
    if summary.empty:
        return [*said, "No classifier learned its task, so no explanation is scored."]
    seeds, n_planned = seeds_that_count(tasks), len(folder.settings.seeds)
    for group in dict.fromkeys(summary["model"]):
        part = summary[(summary["model"] == group) & (summary["metric"] == FIRST)]
        said.append(_who_points(part, f"{group} ({seeds[str(group)]} of {n_planned} seeds)"))
    said += _combinations(summary[summary["metric"] == FIRST])
    said += _which_metric(folder.table("believable"))
    sanity = folder.table("sanity")
    failing = [row for row in sanity.to_dict("records") if isinstance(row["fails"], str) and row["fails"]]
    for words, control in (("Methods that fail sanity checks", False), ("Controls fail them as they must", True)):
        named = [f"{row['recipe']} ({row['fails']})" for row in failing if is_control(str(row["recipe"])) is control]
        if named or not (control or sanity.empty):
            said.append(f"{words}: {'; '.join(named) or 'none'}.")
    return said


def _who_points(part: pd.DataFrame, group: str) -> str:
    methods = part[~part["recipe"].map(lambda recipe: is_control(recipe) or recipe == TRUTH)].dropna(subset=["mean"])
    best = methods.sort_values("mean").iloc[-1]
    if int(best["n_speakers"]) < FEWEST_SPEAKERS:
        return f"{group}: {int(best['n_speakers'])} speakers explained; at least {FEWEST_SPEAKERS} are needed for a statement."
    controls = part[part["recipe"].map(is_control)].dropna(subset=["mean"])
    control = controls.sort_values("mean").iloc[-1]
    beats = methods[(methods["vs_energy_map_low"] > 0) & (methods["vs_energy_map_p"] < ALPHA) & (methods["vs_random_map_p"] < ALPHA) & (methods["vs_random_map_low"] > 0)]  # fmt: skip
    # A test by signs of n differences has no p under 2^(1 - n), and Holm's correction multiplies the smallest by the number of tests.
    too_few = 2.0 ** (1 - int(best["n_speakers"])) * len(methods) >= ALPHA
    compared = (
        f"{int(best['n_speakers'])} speakers are too few to test {len(methods)} explanations against the controls."
        if too_few
        else f"{len(beats)} of {len(methods)} explanations point better than random_map and energy_map (Holm-corrected)."
    )
    return (
        f"{group}: best by {FIRST} is {best['recipe']}, {with_interval(dict(best))} over {int(best['n_speakers'])} speakers; the best control, "
        f"{control['recipe']}, scores {with_interval(dict(control))}. {compared}"
    )


def _combinations(part: pd.DataFrame) -> list[str]:
    """Compare every union and intersection with the better of its parts, cue by cue."""
    from speechxai.explain import parse

    value = {(row["recipe"], row["model"]): float(row["mean"]) for row in part.to_dict("records")}
    found: dict[str, list[float]] = {}
    for recipe, group in value:
        if recipe == TRUTH or is_control(recipe):
            continue
        parsed = parse(recipe)
        alone = [value.get((each.name, group), float("nan")) for each in parsed.parts]
        if alone:
            found.setdefault(parsed.name, []).append(value[recipe, group] - max(alone))
    return [
        f"Of {len(gains)} cases of {name} and cue {sum(gain > 0 for gain in gains)} score above the better of their parts by {FIRST}; "
        f"the mean difference is {value_of(sum(gains) / len(gains))}."
        for name, gains in ((name, [gain for gain in gains if gain == gain]) for name, gains in found.items())
        if gains
    ]


def _which_metric(believed: pd.DataFrame) -> list[str]:
    used = believed[believed["truth_metric"] == FIRST]
    models = list(dict.fromkeys(used["model"]))
    chosen = used[used["model"] == (ALL_CUES if ALL_CUES in models else models[0])].dropna(subset=["within"])
    chosen = chosen[chosen["n_speakers"] >= FEWEST_SPEAKERS]
    if chosen.empty:
        return []
    # A metric that gives all methods of a recording one value ranks nothing there; few recordings are no base for a comparison.
    rare = chosen["n_speakers"] < chosen["n_speakers"].max() / 2
    silent, chosen = chosen[rare], chosen[~rare]
    ordered = chosen.sort_values("within", ascending=False)
    first, last = ordered.iloc[0], ordered.iloc[-1]
    cues = [model for model in models if model != ALL_CUES]
    spread = used[(used["metric"] == first["metric"]) & used["model"].isin(cues)]["within"]
    misleading = chosen[chosen["within_high"] < 0]["metric"].tolist()
    lines = [
        f"Of the faithfulness metrics {first['metric']} goes best with {FIRST}: mean rank correlation over methods "
        f"{with_interval(dict(first), 'within', 2)}, from {value_of(spread.min(), 2)} to {value_of(spread.max(), 2)} over the cues; worst is "
        f"{last['metric']}: {with_interval(dict(last), 'within', 2)}."
    ]
    if len(silent):
        named = ", ".join(f"{row['metric']} ({row['n_speakers']})" for row in silent.to_dict("records"))
        lines.append(
            f"Metrics that give all methods the same value for most speakers and are not compared (speakers they are defined for, of "
            f"{chosen['n_speakers'].max()}): {named}."
        )
    if misleading:
        lines.append("Metrics that prefer maps pointing elsewhere (interval below 0): " + ", ".join(misleading) + ".")
    return lines
