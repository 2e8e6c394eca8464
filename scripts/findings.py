"""docs/findings.md from the tables of finished benchmarks, so that no sentence is wider than its table.

    python scripts/findings.py pack runs/benchmark docs/results/benchmark-synthetic
    python scripts/findings.py unpack docs/results/benchmark-synthetic runs/benchmark
    python scripts/findings.py write          docs/findings.md, of all that lies in docs/results

Packed are the settings and every finished task, compressed and without maps: `speechxai benchmark --resume` goes on
from what was unpacked. Where real recordings were used, `unpack --root NAME=FOLDER` says where they lie now.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import lzma
import math
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from speechxai.explain.recipe import CONTROLS
from speechxai.files import to_toml
from speechxai.inside.concepts import (
    ALL,
    ERASURE,
    FEATURE,
    FEATURES,
    FOUND,
    HALVED,
    LOGISTIC,
    MEANS,
    RANDOM,
    UNIT,
    UNITS,
    in_blocks,
)
from speechxai.inside.report import findings as findings_of_concepts
from speechxai.inside.report import rows_of, signs_of, steering, two_random_words
from speechxai.metrics import PUBLISHED_METRICS
from speechxai.planted.folder import BenchmarkFolder
from speechxai.planted.grades import GRADES, UNGRADED
from speechxai.planted.report import failures
from speechxai.planted.ruler import RESOLUTIONS
from speechxai.planted.settings import CNN, TRUTH
from speechxai.planted.tables import ALL_CUES, AS_CONTRAST, BASE, FEWEST_NETWORKS, singles
from speechxai.stats import FEWEST_SPEAKERS, bootstrap_means, share_interval

NAN = float("nan")
LATER = (
    "retrained",
    "attack",
    "attack_by_chance",
    "reads_band",
    "reads_pitch_range",
    "reads_pauses",
    "reads_pauses_against",
)
"""Checks that only newer runs have."""
GOAL = 0.75
"""A rank correlation with the truth that a metric must reach on every cue."""
DOCS = Path(__file__).parents[1] / "docs"
COPIED = ("environment.json", "recordings.parquet")
SHOWN = {
    f"added, {RESOLUTIONS[0].name}": f"relevance_rank | added, 3 dB, {RESOLUTIONS[0].name}",
    f"added, {RESOLUTIONS[2].name}": f"relevance_rank | added, 3 dB, {RESOLUTIONS[2].name}",
    f"removed, {RESOLUTIONS[0].name}": f"relevance_rank | removed, 3 dB, {RESOLUTIONS[0].name}",
}
"""Ways to measure that have a table of their own; statements rest on all of them."""


def _script(name: str) -> Any:
    """Another script of this folder, as a module."""
    specification = importlib.util.spec_from_file_location(f"script_{name}", Path(__file__).with_name(f"{name}.py"))
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # dataclasses look themselves up
    specification.loader.exec_module(module)
    return module


markdown = _script("networks").markdown


# ---- packed results


def pack(run: Path, into: Path) -> None:
    """Copy settings and finished tasks of a run, compressed; paths of recordings are left out."""
    folder = BenchmarkFolder(run)
    (into / "units").mkdir(parents=True, exist_ok=True)
    config = tomllib.loads((run / "config.toml").read_text("utf-8"))
    config["sources"] = {name: [data, "."] for name, (data, _) in folder.sources.items()}
    (into / "config.toml").write_text(to_toml(config), "utf-8")
    for name in COPIED:
        shutil.copy(run / name, into / name)
    for unit in sorted((run / "units").glob("*.json")):
        packed = into / "units" / f"{unit.name}.xz"
        content = unit.read_bytes()
        if not packed.exists() or lzma.decompress(packed.read_bytes()) != content:
            packed.write_bytes(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME))
    print(f"{into}: {len(list((into / 'units').glob('*.xz')))} of {len(folder.settings.tasks())} tasks")


def unpack(packed: Path, run: Path, roots: dict[str, str] | None = None) -> BenchmarkFolder:
    """Make a run folder of packed results, to read or to go on with."""
    (run / "units").mkdir(parents=True)
    config = tomllib.loads((packed / "config.toml").read_text("utf-8"))
    config["sources"] = {
        name: [data, (roots or {}).get(name, root)] for name, (data, root) in config["sources"].items()
    }
    (run / "config.toml").write_text(to_toml(config), "utf-8")
    for name in COPIED:
        shutil.copy(packed / name, run / name)
    for unit in sorted((packed / "units").glob("*.xz")):
        (run / "units" / unit.stem).write_bytes(lzma.decompress(unit.read_bytes()))
    return BenchmarkFolder(run)


# ---- what is written


def cell(mean: float, low: float, high: float, digits: int = 3) -> str:
    """A value with its interval."""
    if mean != mean:
        return "–"
    return f"{mean:.{digits}f}" if low != low else f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def short(group: str) -> str:
    """Name of a group without its severity of 1."""
    name = group.removesuffix(AS_CONTRAST)
    material, cue, severity = name.split("/")
    said = f"{material}, {cue.replace('_', ' ')}"
    said += "" if float(severity) == 1 else f" ({severity})"
    return said + (AS_CONTRAST if group.endswith(AS_CONTRAST) else "")


class Told:
    """The tables of one benchmark.

    Args:
        folder: with its tables made.
    """

    def __init__(self, folder: BenchmarkFolder) -> None:
        self.folder = folder
        self.tasks, self.summary = folder.table("tasks"), folder.table("summary")
        self.statements, self.orders = folder.table("statements"), folder.table("orders")
        self.network = folder.settings.network
        self.groups = list(dict.fromkeys(self.summary["model"]))
        self.methods = singles(dict.fromkeys(self.summary["recipe"]))

    def rows(self, group: str, metric: str) -> dict[str, dict[str, Any]]:
        """Leaderboard of a group by a way to measure, by recipe."""
        part = self.summary[(self.summary["model"] == group) & (self.summary["metric"] == metric)]
        return {str(row["recipe"]): row for row in part.to_dict("records")}  # type: ignore[misc]

    def networks(self, group: str) -> tuple[int, int]:
        """Networks and speakers behind a group."""
        part = self.summary[self.summary["model"] == group]
        return int(part["n_networks"].max()), int(part["n_speakers"].max())

    def decidable(self, group: str) -> bool:
        """Whether there are networks and speakers enough for a statement."""
        networks, speakers = self.networks(group)
        return networks >= FEWEST_NETWORKS and speakers >= FEWEST_SPEAKERS

    def holds(self, group: str, first: str, second: str) -> bool:
        """Whether `first` is above `second` by every way to measure."""
        part = self.statements
        part = part[(part["model"] == group) & (part["first"] == first) & (part["second"] == second)]
        return bool(len(part)) and bool(part["holds"].astype(bool).iloc[0])

    def said_by(self, group: str, first: str, second: str, sign: str) -> str:
        """By how many ways of a sign `first` is above `second`: "3 of 4"."""
        part = self.statements
        ways = part[part["model"] == group]
        part = ways[(ways["first"] == first) & (ways["second"] == second)]
        column = f"says_{sign}"
        if len(part):
            return str(part[column].iloc[0])
        return f"0 of {str(ways[column].iloc[0]).rpartition(' ')[2]}" if len(ways) else "–"


def counted(told: Told) -> Iterator[str]:
    """Which tasks count, cue by cue."""
    rows = []
    for group, part in told.tasks.groupby("group", sort=False):
        aucs = ", ".join("–" if pd.isna(a) else f"{a:.3f}" for a in part["auc"])
        twins = ", ".join("–" if pd.isna(a) else f"{a:.2f}" for a in part["twins_right"])
        verdicts = part["verdict"].fillna("").replace("", "excluded").value_counts()
        told_by = [
            f"{name.removesuffix('_auc')} {part[name].min():.2f}–{part[name].max():.2f}"
            for name in ("peak_auc", "contour_auc", "crest_auc", "spectrum_auc")
            if part[name].notna().any()
        ]
        areas = "–"
        if part["added_area"].notna().any():
            areas = f"{part['added_area'].mean():.3f} / {part['removed_area'].mean():.3f}"
        named = ", ".join(f"{n} {verdict}" for verdict, n in verdicts.items())
        rows.append([short(str(group)), aucs, twins, named, areas, ", ".join(told_by)])
    header = ["material, cue", "AUC within folds, by seed", "twins in order", "tasks", "area added / removed"]
    yield from markdown([*header, "AUC of what knows no place"], rows)


def pointing(told: Told) -> Iterator[str]:
    """Who points at the truth, by three of the ways to measure."""
    for title, metric in SHOWN.items():
        tables = {group: told.rows(group, metric) for group in told.groups}
        shown = {
            group: rows
            for group, rows in tables.items()
            if TRUTH in rows and rows[TRUTH]["mean"] == rows[TRUTH]["mean"]
        }
        if not shown:
            continue
        yield f"**{title}**: mean over networks and its 95 % interval"
        yield ""
        means = {
            recipe: sum(rows[recipe]["mean"] for rows in shown.values()) / len(shown)
            for recipe in (*told.methods, *CONTROLS)
            if all(recipe in rows for rows in shown.values())
        }
        ordered = sorted((r for r in means if r not in CONTROLS), key=lambda r: -means[r])
        body = [
            [
                f"*{recipe}*" if recipe in CONTROLS else recipe,
                *(cell(rows[recipe]["mean"], rows[recipe]["low"], rows[recipe]["high"]) for rows in shown.values()),
            ]
            for recipe in (*ordered, *(c for c in CONTROLS if c in means))
        ]
        yield from markdown(["explanation", *map(short, shown)], body)


def stated(told: Told) -> Iterator[str]:
    """What holds by every way to measure."""
    for group in told.groups:
        networks, speakers = told.networks(group)
        name = f"**{short(group)}** ({networks} networks, {speakers} speakers)"
        if not told.decidable(group):
            yield (
                f"- {name}: cannot decide; at least {FEWEST_NETWORKS} networks and {FEWEST_SPEAKERS} speakers are"
                " needed."
            )
            continue
        part = told.statements[told.statements["model"] == group]
        ways = int(part["n_ways"].max()) if len(part) else 0
        better = [m for m in told.methods if all(told.holds(group, m, control) for control in CONTROLS)]
        worse = [m for m in told.methods if told.holds(group, "random_map", m)]
        first = [m for m in told.methods if not any(told.holds(group, other, m) for other in told.methods)]
        yield (
            f"- {name}, {ways} ways: above all three controls {', '.join(better) or 'nobody'}; under `random_map`"
            f" {', '.join(worse) or 'nobody'}; no other method above them: {', '.join(first)}."
        )
    yield ""


def orders(told: Told) -> Iterator[str]:
    """How much of the order of methods is the ruler's."""
    rows = []
    for (model, against), part in told.orders.groupby(["model", "against"], sort=False):
        lowest = part.loc[part["tau"].idxmin()]
        rows.append(
            [
                short(str(model)),
                str(against),
                f"{part['tau'].median():.2f}",
                f"{lowest['tau']:.2f} ({str(lowest['metric']).partition(' | ')[2]})",
            ]
        )
    yield from markdown(["material, cue", "order by", "tau to the other ways, median", "lowest"], rows)


def believed(told: Told) -> Iterator[str]:
    """Which metric prefers the maps that point at the truth."""
    table = told.folder.table("believable")
    part = table[(table["truth_metric"] == BASE) & (table["model"] != ALL_CUES)]
    groups = list(dict.fromkeys(part["model"]))
    wide = part.pivot(index="metric", columns="model", values="within")
    lowest = wide.min(axis=1, skipna=False).sort_values(ascending=False, na_position="last")
    found = {(r["metric"], r["model"]): r for r in part.to_dict("records")}
    rows = []
    for metric in lowest.index:
        cells = [found[metric, g] for g in groups]
        body = [cell(c["within"], c["within_low"], c["within_high"], 2) for c in cells]
        mark = " (published)" if metric in PUBLISHED_METRICS else ""
        rows.append([f"{metric}{mark}", *body, "–" if pd.isna(lowest[metric]) else f"{lowest[metric]:.2f}"])
    yield f"Rank correlation with {BASE} over methods and controls of a recording, mean over networks:"
    yield ""
    yield from markdown(["metric", *map(short, groups), "lowest of the cues"], rows)


def together(told: Told) -> Iterator[str]:
    """Whether metrics say more together, on a cue that was not used to choose them."""
    table = told.folder.table("hybrids")
    if table.empty:
        yield f"Fewer than three cues have {FEWEST_NETWORKS} networks: nothing is left to choose by."
        yield ""
        return
    cells = {(r["model"], r["hybrid"]): r for r in table.to_dict("records")}
    names = list(dict.fromkeys(table["hybrid"]))
    rows = [
        [
            short(str(model)),
            *(
                f"{cell(r['within'], r['low'], r['high'], 2)} ({r['made_of']})"
                for r in (cells[model, name] for name in names)
            ),
        ]
        for model in dict.fromkeys(table["model"])
    ]
    yield from markdown(["left out", *names], rows)
    lowest = table.groupby("hybrid", sort=False)["within"].min()
    yield (
        "Lowest over these cues: "
        + ", ".join(f"{name} {value:.2f}" for name, value in lowest.items())
        + f"; {'one reaches' if (lowest >= GOAL).any() else 'none reaches'} the {GOAL} that a metric would need to be"
        " trusted without a truth."
    )
    yield ""


def graded(told: Told) -> Iterator[str]:
    """A letter for every method."""
    table = told.folder.table("grades")
    yield "; ".join(f"**{letter}** {words}" for letter, words in GRADES.items()) + "."
    yield ""
    rows = [
        [
            str(r["recipe"]),
            str(r["grade"]),
            *(f"{r[name]} of {r['n_truths']}" for name in ("above_all", "above_random", "below_random")),
            r["failures"] if isinstance(r["failures"], str) and r["failures"] else "none seen",
        ]
        for r in table.to_dict("records")
    ]
    columns = ["method", "grade", "truths above all controls", "above random_map", "below random_map", "failures seen"]
    yield from markdown(columns, rows)


def beside(told: Told) -> Iterator[str]:
    """Who marks a bystander, where the run had one."""
    table = told.folder.table("bystander")
    groups = list(dict.fromkeys(table["model"]))
    cells = {(r["recipe"], r["model"]): r for r in table.to_dict("records")}
    rows = []
    for recipe in (*told.methods, *CONTROLS):
        found = [cells[recipe, group] for group in groups if (recipe, group) in cells]
        if found:
            texts = [
                f"{cell(r['bystander_auc'], r['low'], r['high'], 2)}, {100 * r['false_positives']:.0f} %" for r in found
            ]
            rows.append([recipe, *texts])
    yield "AUC of the evidence as a detector of the bystander (one half is chance), share of recordings above it:"
    yield ""
    yield from markdown(["explanation", *map(short, groups)], rows)


def sane(told: Told) -> Iterator[str]:
    """Who fails a sanity check."""
    table = told.folder.table("sanity")
    if table.empty:
        return
    for words, control in (("Methods", False), ("Controls", True)):
        part = table[table["recipe"].isin(CONTROLS) == control]
        fails = [f"`{r['recipe']}` ({failures(r)})" for r in part.to_dict("records") if failures(r)]
        yield f"- {words} that fail a check: {'; '.join(fails) or 'none'}."
    columns = ["class_flip", "randomized_all", "permuted_labels", "permuted_labels_beyond_energy", "max_sensitivity"]
    columns += [name for name in LATER if name in table and table[name].notna().any()]
    rows = [
        [str(r["recipe"]), *("–" if pd.isna(r[c]) else f"{r[c]:.2f}" for c in columns)]
        for r in table.to_dict("records")
    ]
    yield ""
    yield from markdown(["explanation", *columns], rows)


def combined(told: Told) -> Iterator[str]:
    """Whether a combination is above the part that a metric would choose."""
    table = told.folder.table("combinations")
    for name in ("union", "intersection"):
        part = table[table["recipe"].str.startswith(f"{name}(")]
        if len(part):
            best = part.loc[part["vs_chosen"].idxmax()]
            yield (
                f"- {name}: {int((part['vs_chosen'] > 0).sum())} of {len(part)} cases above the part that"
                f" insertion_auc:margin prefers, mean difference {part['vs_chosen'].mean():+.3f}; above the better part"
                f" by the truth {int((part['vs_better'] > 0).sum())}. Largest: {best['recipe']} on"
                f" {short(str(best['model']))}, {best['vs_chosen']:+.3f}. One seed: too few networks for a test."
            )
    yield ""


def no_longer(all_told: list[Told]) -> Iterator[str]:
    """What version 1.0 said, and what the tables above say of it."""
    groups = [(told, group) for told in all_told for group in told.groups]
    decidable = [(told, group) for told, group in groups if told.decidable(group)]
    undecided = [short(group) for told, group in groups if not told.decidable(group)]

    def line(claim: str, rows: list[str]) -> Iterator[str]:
        yield f'- **"{claim}"** {" ".join(rows) if rows else "Cannot be decided by these runs."}'

    def over(first: str, second: str, part: str) -> list[str]:
        return [
            f"{short(group)}: {first} above {second} by {told.said_by(group, first, second, 'added')} ways of the"
            f" added and {told.said_by(group, first, second, 'removed')} of the removed, {second} above {first} by"
            f" {told.said_by(group, second, first, 'added')} and {told.said_by(group, second, first, 'removed')}."
            for told, group in decidable
            if part in group
        ]

    yield from line(
        "On tremor nothing beats a picture of where the voice is loud.",
        over("integrated_gradients", "energy_map", "tremor"),
    )
    real = [each for first in ("occlusion", "rise") for each in over(first, "integrated_gradients", "")]
    yield from line("Occlusion and RISE come first on real voices.", [r for r in real if not r.startswith("synthetic")])
    yield from line("Plain gradients are worse than dice.", over("random_map", "saliency", ""))
    best: list[str] = []
    for told, group in decidable:
        first = {m for m in told.methods if not any(told.holds(group, other, m) for other in told.methods)}
        best.append(f"{short(group)}: no method above {len(first)} of {len(told.methods)}.")
    yield from line(
        "Integrated Gradients, GradientSHAP and DeepLIFT are the only methods among the best on every cue.", best
    )
    ranked = []
    for told, group in groups:
        for metric in ("average_increase", "average_gain"):
            table = told.folder.table("believable")
            row = table[(table["model"] == group) & (table["metric"] == metric) & (table["truth_metric"] == BASE)]
            if len(row):
                scored = told.rows(group, BASE)[TRUTH]["n"]
                ranked.append(
                    f"{short(group)}: {metric} orders methods in {int(row['n_recordings'].iloc[0])} of {scored}"
                    " recordings."
                )
    yield from line("average_increase and average_gain rank hardly any method.", ranked)
    if undecided:
        yield f"- Not decided for lack of networks or speakers: {'; '.join(undecided)}."
    yield ""


def letters(told: Told) -> dict[str, str]:
    """Grade of every method; none where no cue has networks enough."""
    table = told.folder.table("grades")
    return {str(r["recipe"]): str(r["grade"]) for r in table.to_dict("records") if r["grade"] != UNGRADED}


# ---- lines of other measurements


WANTED = {"burst_weakening": "stop", "formant_centralization": "vowel", "vowel_formants": "vowel"}
"""Class of phones that a cue changes."""
CHANGED = {"burst_weakening": "stops", "formant_centralization": "formants", "vowel_formants": "vowels alone"}
"""The same as headers say it."""
ENOUGH = 0.8
"""Share of recordings in which that class must come first."""


def by_phones(lines: Path, grades: dict[str, dict[str, str]]) -> Iterator[str]:
    """Whether the phones that were changed come first, by method and network, beside the method's grade.

    Args:
        lines: of `scripts/units_truth.py`.
        grades: letter by method, by network, of benchmarks that could decide.
    """
    rows = pd.read_json(lines, lines=True)
    keys = ["material", "cue", "network"]
    tasks = rows[rows["method"] == ""]
    yield "## Evidence by phones, where the phones were changed"
    yield ""
    yield (
        "One of two twins of a voice has weakened bursts of stops, or moved formants, of every sound that has them or"
        " of vowels alone; counted is in how many explained recordings the changed class of phones, of formants vowels,"
        " comes first by density over both floors, duration and"
        " energy ([how](units.md#does-it-find-what-must-be-there); `scripts/units_truth.py`). Intervals are exact"
        " ones of proportions (Clopper and Pearson), as if recordings were people."
    )
    yield ""
    body = []
    for (material, cue, network), part in tasks.groupby(keys, sort=False):
        areas = ", ".join(f"{area:.2f}" for area in part["auc"])
        verdicts = ", ".join(str(verdict or "not learned") for verdict in part["verdict"])
        body.append([str(material), CHANGED[str(cue)], str(network), areas, verdicts])
    yield from markdown(["material", "changed", "network", "AUC of held-out speakers, by seed", "learned"], body)
    maps = rows[rows["method"] != ""]
    groups = [name for name, _ in maps.groupby(keys, sort=False)]
    counts: dict[tuple[str, Any], tuple[int, int]] = {}
    for (*group, method), part in maps.groupby([*keys, "method"], sort=False):
        counts[str(method), tuple(group)] = (int((part["first"] == WANTED[str(group[1])]).sum()), len(part))
    networks = [name for name in dict.fromkeys(str(group[2]) for group in groups) if name in grades]

    def share(method: str, group: Any) -> str:
        k, n = counts.get((method, group), (0, 0))
        if not n:
            return "–"
        return f"{k} of {n} [{_ends(k, n)}]"

    methods = [m for m in dict.fromkeys(maps["method"]) if m not in (PLACE, *CONTROLS)]
    methods.sort(key=lambda m: -sum(k / n for (name, _), (k, n) in counts.items() if name == m))
    body = [
        [method, *(grades[name].get(method, "–") for name in networks), *(share(method, group) for group in groups)]
        for method in (PLACE, *methods, *CONTROLS)
    ]
    header = [f"{material}, {CHANGED[cue]}, {network}" for material, cue, network in groups]
    yield from markdown(["explanation", *(f"grade on {name}" for name in networks), *header], body)
    trusted = {name: [m for m in methods if grades[name].get(m) in ("A", "B")] for name in networks}
    for material, cue, network in groups:
        group = (material, cue, network)
        best = [m for m in trusted.get(network, methods) if (m, group) in counts]
        reach = [m for m in best if counts[m, group][0] >= ENOUGH * counts[m, group][1]]
        controls = [c for c in CONTROLS if counts[c, group][0] >= ENOUGH * counts[c, group][1]]
        place = counts[PLACE, group]
        own = maps[(maps[keys] == list(group)).all(axis=1) & (maps["method"] == PLACE)]
        other = own["first"].value_counts().drop(WANTED[cue], errors="ignore")
        instead = ", ".join(f"{name} {n}" for name, n in other.items())
        who = "graded A or B" if network in trusted else "of all methods, for none is graded on this network,"
        yield (
            f"- **{material}, {CHANGED[cue]}, {network}**: at least {100 * ENOUGH:.0f} % of the recordings:"
            f" {len(reach)} of the {len(best)} {who} ({', '.join(reach) or 'none'}); the place itself"
            f" {place[0]} of {place[1]}{f' ({instead})' if instead else ''}"
            + (f"; controls that know nothing of the network as often: {', '.join(controls)}." if controls else ".")
        )
    yield ""


def by_signs(folder: Path) -> Iterator[str]:
    """Which sign came first where one was planted, of seeds that were never tuned on."""
    script = _script("signs")
    lines = [json.loads(line) for line in (folder / "test.jsonl").read_text("utf-8").splitlines()]
    yield "## Signs: what-ifs where one sign was planted"
    yield ""
    yield (
        'Part "signs" of the [specification](benchmark.md#signs); `scripts/signs.py`, test seeds'
        f" {', '.join(map(str, sorted({line['seed'] for line in lines})))} ([how and what else](signs.md)). Counted are"
        " recordings of speakers that the network never heard, both twins."
    )
    yield ""
    judged = [(line, script.judged(line)) for line in lines]
    body = []
    groups: dict[tuple[str, str], list[Any]] = {}
    for line, found in judged:
        if found is None or found.shortcut:
            continue
        groups.setdefault((line["material"], line["network"]), []).append(found)
        cells = [f"{k} of {found.n} [{_ends(k, found.n)}]" for k in (found.first, found.pair, found.at_one_sd)]
        place = [line["material"], line["what"].replace("_", " "), str(line["seed"]), line["network"]]
        body.append(
            [
                *place,
                f"{line['auc']:.2f}",
                *cells,
                f"{found.chance:.0%}",
                found.models_first,
                ", ".join(found.alarms) or "none",
            ]
        )
    header = ["material", "planted", "seed", "network", "AUC", "its sign first", "a named pair as one", "at one SD"]
    yield from markdown([*header, "by chance", "the model's first", "alarm"], body)
    for (material, network), found in groups.items():
        n = sum(one.n for one in found)
        k, pair = sum(one.first for one in found), sum(one.pair for one in found)
        alarmed = sum(bool(one.alarms) for one in found)
        right = sum(one.right for one in found)
        yield (
            f"- **{material}, {network}**: its sign first in {k} of {n} recordings ({k / n:.0%}), a named pair as one"
            f" {pair}; {'the goal of 90 % is met' if k >= GOAL_OF_SIGNS * n else 'the goal of 90 % is missed'}. By the"
            f" mean over speakers in {right} of {len(found)} models. False alarms: {alarmed} of {len(found)} models."
        )
    short = [(line, found) for line, found in judged if found is not None and found.shortcut]
    if short:
        yield (
            f"- **Shortcuts of the recording**: named first in {sum(f.right for _, f in short)} of {len(short)} models,"
            f" alarm raised in {sum(bool(f.alarms) for _, f in short)}: "
            + "; ".join(
                f"{line['what'].replace('_', ' ')} ({line['network']}) {'first' if f.right else 'not first'},"
                f" {'alarm' if f.alarms else 'no alarm'}"
                for line, f in short
            )
            + "."
        )
    unlearned = [
        f"{line['material']}, {line['what'].replace('_', ' ')}, {line['network']}" for line, f in judged if f is None
    ]
    if unlearned:
        yield f"- Not learned, and so not counted: {'; '.join(unlearned)}."
    yield ""


LMAC, PERMUTED = "lmac", "lmac, classes permuted"


def by_interpreter(lines: Path) -> Iterator[str]:
    """Whether the trained interpreter points at the truth or wins the masking metrics, of `interpreter_truth.py`."""
    rows = pd.DataFrame([json.loads(line) for line in lines.read_text("utf-8").splitlines()])
    yield "## A trained interpreter: the masking metrics and the truth"
    yield ""
    yield (
        "L-MAC trains a decoder so that kept sound keeps the answer and removed sound loses it ([how](inside.md))."
        " `scripts/interpreter_truth.py` asks whether it points at the truth (relevance_rank, truth added, 3 dB, 1 bin)"
        " beside single methods. The best other one is the best by these very recordings, so it has an advantage."
        " Intervals of differences are over speakers, 95 %; a seed is one network, and there are too few of them for"
        " intervals over networks."
    )
    yield ""
    body, above, below, most_faithful, failed = [], [], [], 0, 0
    for (network, cue, fill), part in rows[rows["map"] != ""].groupby(["network", "cue", "fill"], sort=False):
        means = part.groupby("map")[["relevance_rank", "faithfulness", "input_fidelity"]].mean()
        others = means.drop([LMAC, PERMUTED])
        best, surest = str(others["relevance_rank"].idxmax()), str(others["faithfulness"].idxmax())
        wide = part.pivot_table(index=["seed", "speaker"], columns="map", values="relevance_rank")
        each = (wide[LMAC] - wide[best]).dropna().to_numpy()
        low, high = (float(end[0]) for end in bootstrap_means(each[:, None]))
        place = f"{cue.replace('_', ' ')}, {network}" + ("" if fill == "silence" else f", {fill}")
        if low > 0:
            above.append(place)
        elif high < 0:
            below.append(place)
        most_faithful += means.loc[LMAC, "faithfulness"] > others["faithfulness"].max()
        failed += means.loc[PERMUTED, "relevance_rank"] < others["relevance_rank"].max() / 2
        body.append(
            [
                place,
                str(part["seed"].nunique()),
                str(len(each)),
                f"{means.loc[LMAC, 'relevance_rank']:.2f}",
                f"{others['relevance_rank'].max():.2f} ({best})",
                cell(float(each.mean()), low, high, 2),
                f"{means.loc[PERMUTED, 'relevance_rank']:.2f}",
                f"{means.loc[LMAC, 'faithfulness']:.2f}",
                f"{others['faithfulness'].max():.2f} ({surest})",
                f"{means.loc[LMAC, 'input_fidelity']:.2f}",
            ]
        )
    header = ["cue, network", "networks", "speakers", "lmac", "best other", "difference", "classes permuted"]
    yield from markdown([*header, "FF of lmac", "best other FF", "Fid-In of lmac"], body)
    n = len(body)
    yield (
        f"- **Masking metrics**: lmac has the highest FF in {most_faithful} of {n}. **Truth**: above the best other in"
        f" {len(above)} ({'; '.join(above) or 'none'}), below it in {len(below)} ({'; '.join(below) or 'none'}), not"
        f" told apart in {n - len(above) - len(below)}."
    )
    yield (
        f"- A decoder trained on permuted classes has less than half of the best other's relevance_rank in {failed} of"
        f" {n}."
    )
    if most_faithful > len(above):
        yield (
            f"- What is trained on a masking metric wins it in {most_faithful} of {n}: a high FF of lmac is no evidence"
            " that its map is truer than another method's."
        )
    yield ""


def by_concepts(path: Path) -> Iterator[str]:
    """Which directions and features find a sign, which steer, at what cost, of `concepts.py`."""
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    yield "## Signs inside a network: directions from above, features from below"
    yield ""
    yield (
        "Twins of made voices differ by one sign ([how](inside.md)). Top-down a direction is learned from their frames;"
        " bottom-up units are ranked by attribution patching and features are those of a sparse autoencoder that heard"
        " no label. Each is taken out of all layers, or of its best one (`scripts/concepts.py`); least change,"
        " units and features take out no more than halves the gap of speakers that they were not learned from. Shown of"
        " every kind is the way that steers, or else the one that leaves least of the gap of the sign's head among"
        f" those that find it (AUC of at least {FOUND:.2f} in held-out voices), or else the one that finds it best."
        " Other sign: the head of another sign that moved furthest, as what is left of its gap. Words: changed of those"
        " that Whisper's decoder reads in three clips of real speech, counted where at most half of the gap is left."
        " Cosine: of a recording's mean in the last layer to what it was. Random: directions drawn anywhere, their"
        " mean; words of two of them together."
    )
    yield ""
    for network, seed in dict.fromkeys((line["network"], line["seed"]) for line in lines):
        own = [line for line in lines if (line["network"], line["seed"]) == (network, seed)]
        facts = _script("concepts").whole_of(own)
        yield f"### {network}, seed {seed}"
        yield ""
        body = []
        for sign in signs_of(facts):
            for kind, names in KINDS_OF_WAYS.items():
                row = shown_way(facts, sign, names)
                body.append(_concept_cells(sign, kind, row))
            drawn = [row for row in facts["rows"] if row["how"] == RANDOM and row["reach"] == ALL]
            if drawn:
                words = two_random_words(facts, ALL)
                others = [min(abs(r["left"][s]) for s in r["left"] if s != sign) for r in drawn if len(r["left"]) > 1]
                body.append(
                    [
                        sign.replace("_", " "),
                        "random direction",
                        "–",
                        f"{np.mean([row['left'][sign] for row in drawn]):.2f}",
                        f"{np.mean(others):.2f}" if others else "–",
                        "–" if words is None else str(words),
                        f"{np.mean([row['cosine'] for row in drawn]):.2f}",
                    ]
                )
        yield from markdown(["sign", "way", "AUC held out", "gap left", "other sign", "words", "cosine"], body)
        for finding in findings_of_concepts(facts):
            yield f"- {finding.text}"
        yield f"- {concepts_compared(facts)}"
        spent, memory = sum(line["cpu_s"] for line in own), max(line["memory_mb"] for line in own)
        how = own[0]["settings"]
        n_held = len(in_blocks([str(k) for k in range(how["n_speakers"])], 3)[0])
        yield (
            f"- {how['n_speakers']} speakers a sign, {n_held} of them held out; {how['n_features']} features,"
            f" {how['n_active']} active; {facts['n_words'] or 'no'} words; {spent / 60:.0f} min of one core,"
            f" {memory / 1000:.1f} GB."
        )
        if not listed_rule(own[0]):
            yield (
                "- Of an earlier rule: units were taken out whole, and features until .4 of the gap of those voices was"
                " left that they were ranked by."
            )
        yield ""
    by_rule: dict[tuple[str, str], dict[int, list[dict[str, Any]]]] = {}
    for line in lines:
        rule = (line["network"], listed_rule(line))
        by_rule.setdefault(rule, {}).setdefault(line["seed"], []).append(line)
    for (network, _), by_seed in by_rule.items():
        if len(by_seed) > 1:
            yield from concepts_together(network, [_script("concepts").whole_of(own) for own in by_seed.values()])


def listed_rule(line: Mapping[str, Any]) -> str:
    """Ways of a line that take out no more than is needed, by the rule of `concepts.py`."""
    return ", ".join(line.get("lessened", []))


def concepts_together(network: str, facts: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Several sets of made voices beside each other: of every kind the one way that takes out no more than is needed,
    out of all layers, so that no way is chosen by what it did."""
    signs = [sign for sign in signs_of(facts[0]) if all(sign in signs_of(each) for each in facts)]
    allowed = [two_random_words(each, ALL) for each in facts]
    kept: dict[str, list[str]] = {kind: [] for kind in NEEDED}
    body = []
    for sign in signs:
        for kind, way in NEEDED.items():
            names = KINDS_OF_WAYS[kind]
            rows = [rows_of(each, sign, (way,), ALL)[0] for each in facts]
            area = float(np.mean([row["auc"] or 0 for row in rows]))
            left = [row["left"][sign] for row in rows]
            words = [row["words"] for row in rows]
            if area >= FOUND and abs(np.mean(left)) <= HALVED and whole(words) <= whole(allowed):
                kept[kind].append(sign.replace("_", " "))
            finds = sum(any((row["auc"] or 0) >= FOUND for row in rows_of(each, sign, names)) for each in facts)
            steers = sum(steering(each, sign, names) is not None for each in facts)
            body.append(
                [
                    sign.replace("_", " "),
                    f"{kind}: {way}",
                    f"{finds} of {len(facts)}",
                    f"{steers} of {len(facts)}",
                    f"{area:.2f}",
                    f"{np.mean(left):.2f} ({', '.join(f'{each:.2f}' for each in left)})",
                    listed(words),
                ]
            )
    yield f"### {network}, {len(facts)} seeds of one rule together"
    yield ""
    yield (
        "Each seed has voices, heads and autoencoders of its own. Finds and steers: in how many seeds any way of the"
        " kind does. The rest is of one way a kind, out of all layers: means over seeds, and each seed in turn. Words"
        f" that two random directions change: {listed(allowed)}."
    )
    yield ""
    yield from markdown(["sign", "way", "finds", "steers", "AUC held out", "gap left", "words"], body)
    named = "; ".join(f"{kind} {len(found)} ({', '.join(found) or 'none'})" for kind, found in kept.items())
    yield (
        f"- Over all seeds (mean AUC of at least {FOUND:.2f}, at most half of the gap left in the mean, words of all"
        f" seeds no more than random directions change) that way steers, of {len(signs)} signs: {named}."
    )
    pairs = [
        [s for s in signs if all(steering(f, s, KINDS_OF_WAYS[k]) for k in ("direction", "features"))] for f in facts
    ]
    yield (
        f"- A direction **and** features steer {', '.join(str(len(each)) for each in pairs)} of {len(signs)} signs,"
        " seed by seed."
    )
    yield ""


def whole(words: Sequence[int | None]) -> float:
    """Words of all seeds together: without end where one was not counted, for it is not where too little is taken
    out; without words at all two without end are alike."""
    return math.inf if None in words else float(sum(each or 0 for each in words))


def listed(words: Sequence[int | None]) -> str:
    """Words seed by seed."""
    return ", ".join("–" if each is None else str(each) for each in words)


NEEDED = {"direction": ERASURE, "units": UNITS, "features": FEATURES}
"""Of every kind the way that takes out no more than is needed."""

KINDS_OF_WAYS = {"direction": (MEANS, LOGISTIC, ERASURE), "units": (UNIT, UNITS), "features": (FEATURE, FEATURES)}


def shown_way(facts: dict[str, Any], sign: str, names: tuple[str, ...]) -> dict[str, Any]:
    """The way of a kind that stands in the table."""
    steers = steering(facts, sign, names)
    if steers is not None:
        return steers
    rows = [row for row in facts["rows"] if row["sign"] == sign and row["how"] in names]
    found = [row for row in rows if (row["auc"] or 0) >= FOUND]
    if found:
        return min(found, key=lambda row: abs(row["left"][sign]))
    return max(rows, key=lambda row: (row["auc"] or 0, -abs(row["left"][sign])))


def _concept_cells(sign: str, kind: str, row: dict[str, Any]) -> list[str]:
    others = [value for name, value in row["left"].items() if name != sign]
    furthest = max(others, key=lambda value: abs(1 - value), default=None)
    low, high = row["interval"][sign]
    return [
        sign.replace("_", " "),
        f"{kind}: {row['how']}, {row['layer']}{'' if row['layer'] == 'all' else ' alone'}",
        f"{row['auc']:.2f}",
        cell(row["left"][sign], low, high, 2),
        "–" if furthest is None else f"{furthest:.2f}",
        "–" if row["words"] is None else str(row["words"]),
        f"{row['cosine']:.2f}",
    ]


def concepts_compared(facts: dict[str, Any]) -> str:
    """Top-down against bottom-up in one sentence."""
    signs = signs_of(facts)
    counts = {
        kind: (
            sum(any((row["auc"] or 0) >= FOUND for row in rows_of(facts, sign, names)) for sign in signs),
            sum(steering(facts, sign, names) is not None for sign in signs),
        )
        for kind, names in KINDS_OF_WAYS.items()
    }
    said = ", ".join(f"{kind} {finds} and {steers}" for kind, (finds, steers) in counts.items())
    down, up = counts["direction"], [max(pair) for pair in zip(counts["units"], counts["features"], strict=True)]
    verdict = "more" if down[1] > up[1] else "fewer" if down[1] < up[1] else "as many"
    return (
        f"**Top-down against bottom-up** (signs found and steered, of {len(signs)}): {said}. Directions learned from"
        f" twins steer {verdict} signs {'as' if verdict == 'as many' else 'than'} what is found without labels."
    )


def by_bands(path: Path) -> Iterator[str]:
    """What the average gradient outer product is worth as a map of one recording, of `bands.py --local`."""
    rows = {row["map"]: row for row in (json.loads(line) for line in path.read_text("utf-8").splitlines())}

    def said(name: str) -> str:
        row = rows[name]
        return cell(row["relevance_rank"], *row["interval"], 2)

    products = [name for name in rows if name.startswith("average gradient")]
    one = next(iter(rows.values()))
    yield "## The average gradient outer product as a map of one recording"
    yield ""
    yield (
        f"Its diagonal over noisy copies of a recording finds {said(products[0])} of the cue, on x * gradient"
        f" {said(products[1])}; integrated gradients find {said('integrated_gradients')}, the energy map"
        f" {said('energy_map')} (relevance_rank, {one['cue'].replace('_', ' ')} in {one['recordings']} made voices,"
        f" {one['model']}; intervals over speakers, 95 %)."
    )
    yield (
        "It squares signs away and averages places out, so it is a picture of a model ([which bands](inside.md)) and no"
        " method here."
    )
    yield ""


def by_merge(path: Path) -> Iterator[str]:
    """One network instead of several, of `merge.py`."""
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    yield "## One model instead of ten"
    yield ""
    yield (
        "Networks that began as one are averaged ([how](inside.md)); asked about voices that none heard. Means over"
        " seeds; truth is relevance_rank of integrated gradients, the last column the rank correlation of maps to the"
        " ensemble's mean map, and `within` in how many seeds the merged AUROC lies in the ensemble's 95 % interval."
    )
    yield ""
    merging = _script("merge")
    for table in merging.tables(lines):
        yield f"### {table.title.replace('_', ' ')}"
        yield ""
        yield from markdown(list(table.columns), [[row.name, *(each.text for each in row.cells)] for row in table.rows])
    yield f"{sum(line['cpu_s'] for line in lines) / 60:.0f} min of one core in all."
    yield ""


def by_retrained(config: Path) -> Iterator[str]:
    """How far a map is the task's and not one network's, of a packed benchmark that trained its networks once more."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = unpack(config.parent, Path(scratch) / "run")
        rows = [row for result in folder.results() for row in result.sanity]
    table = pd.DataFrame(rows)
    wide = table.pivot_table(index="recipe", columns="check", values="value", sort=False)
    wide = wide.dropna(subset=["retrained"]).sort_values("retrained", ascending=False)
    own = table[table["check"] == "retrained"]
    cues = dict.fromkeys(task.cue.replace("_", " ") for task in folder.settings.tasks())
    yield "## Would another training give the same map?"
    yield ""
    yield (
        f"`{folder.settings.network}` trained once more on the same recordings, from other weights, in another order:"
        f" rank correlation of the two networks' maps, mean over {own['recording'].nunique()} recordings, one a task"
        f" ({', '.join(cues)}); beside it that with networks of permuted labels, which learned nothing of the cue."
        " Controls know no network and stay what they are. Few recordings: an order to look at, no test. A coarse map"
        " is found again more easily than a fine one, whether it is right or not."
    )
    yield ""
    columns = ["retrained", "permuted_labels", "permuted_labels_beyond_energy"]
    body = [
        [str(name), *("–" if pd.isna(row[c]) else f"{row[c]:.2f}" for c in columns)] for name, row in wide.iterrows()
    ]
    yield from markdown(["explanation", *columns], body)


GOAL_OF_SIGNS = 0.9
"""Share of recordings in which the planted sign must come first."""


def _ends(k: int, n: int) -> str:
    return ", ".join(f"{100 * end:.0f}" for end in share_interval(k, n))


PLACE = "truth_map"
"""Where the twins differ, as a map."""


HEAD = """# Findings: what the benchmark said

Written by `scripts/findings.py` from the tasks in `docs/results`, of [version 2 of the
benchmark](benchmark.md): change the runs or the script, not this page. Synthetic voices are made by a program; what
they teach holds for these networks and cues, and says nothing about patients. On real material the cue is planted: the
speakers do not have it, and what is said holds for networks taught by these people.

What others did first: a truth in time for speech, by which faithfulness ranks explainers otherwise than the truth
(Bolaños and others, Interspeech 2025, arXiv 2506.04391); edges and noise that rival methods on images (XAI-TRIS,
2306.12816); unknown shortcuts (Adebayo and others, 2212.04629); removal without its own artifact (F-Fidelity,
2410.02970; infill, AIM, 2605.16905); networks built to a known mechanism (XAI-Units, 2506.01059); agreement of seeds
(2505.16406); attacks (2606.14466). Here they stand on one ruler of signed time and frequency, and on several networks,
a pretrained speech transformer beside its random twin among them.

`relevance_rank`: of the map's K strongest cells, the share inside the truth, K being the truth's number of cells; a
map that knows nothing scores the truth's area. Networks are the units of every interval and test. "Above" means: by
every way to measure that counts (truth added and removed, resolutions, readings), with the interval above 0 and p <
.05 by max-T over whole networks.
"""

TAIL = """## A published row that is rounding
The guided Grad-CAM of Mancini et al. 2025 on SSL4PR is the rounding of a processor: its weights are means of
gradients that sum to 0, because the network reads the explained layer through a LayerNorm. On six recordings and
random weights (`scripts/protocol.py --telephone 2`) the weights are 3e-8 of their gradients; a change of 1e-7 in the
recording moves the mask by 49 % of its size (median), and one draw of it turned the mean FF from −.0140 to .0209. The
row, its 5 unions, 5 intersections and 5 IoUs cannot be reproduced by anyone ([why](protocol-mancini2025.md)). Grad-CAM
of any network is refused where its weights vanish so; ours on the same network, with means over time, does not.

## What these numbers do not support
- Five networks, of which the pretrained ones are small (8 and 1.4 million weights) and hear with a linear head, or with
  two trained blocks; recordings of two seconds. Faint cues were tried on frozen Whisper alone, and long recordings and
  large networks may order the methods otherwise.
- What one network's runs say of methods is said of that network. The order of methods on another one is another.
- The truth is where the recordings differ, not what the network used: a network may decide by a part of the cue, and
  a faithful map then covers that part. Scores under 1 are no proof of unfaithfulness; differences between methods on
  one network are what counts.
- Nothing here says which explanation of a Parkinson's classifier is right.
"""


MORE: Mapping[str, Callable[[Path], Iterator[str]]] = {
    "retrained-cnn/config.toml": by_retrained,
    "interpreter/truth.jsonl": by_interpreter,
    "concepts/lines.jsonl": by_concepts,
    "bands/local.jsonl": by_bands,
    "merge/lines.jsonl": by_merge,
}
"""Sections behind those of the benchmark, by the file of `docs/results` that they are written from."""


PARTS: Mapping[str, Callable[[Told], Iterator[str]]] = {
    "Which tasks count": counted,
    "Who points at the truth": pointing,
    "What may be said": stated,
    "How much of the order is the ruler's": orders,
    "Which metric to believe": believed,
    "Do metrics say more together?": together,
    "Do combinations help?": combined,
    "Who marks a bystander?": beside,
    "Sanity checks": sane,
    "Grades": graded,
}
"""Sections of a run."""
FEW_CUES = 4
"""Runs of fewer cues say in short what they found; networks beside each other have the rest."""


def where(folder: BenchmarkFolder) -> str:
    """On what a run was computed."""
    if folder.environment.get("basis", {}).get("device") == "cuda":
        return "tasks side by side on one GPU"
    return "on cores that others shared"


def written(results: list[Path], units: Path | None = None, signs: Path | None = None, more: Path | None = None) -> str:
    """The page, with what `units_truth.py` and `signs.py` found, and with MORE of a folder, where that is given."""
    lines, runs = [HEAD], list[str]()
    all_told = []
    with tempfile.TemporaryDirectory() as scratch:
        for packed in results:
            folder = unpack(packed, Path(scratch) / packed.name)
            folder.finish()
            told = Told(folder)
            all_told.append(told)
            status = folder.status()
            seconds = told.tasks["seconds"].dropna()
            runs.append(f"## {packed.name}\n")
            runs.append(
                f"Network `{told.network}`. {status.n_done} of {status.n_units} tasks are done"
                f" ({seconds.sum() / 3600:.1f} h in all {where(folder)}, median of a task"
                f" {seconds.median() / 60:.1f} min).\n"
            )
            for title, part in PARTS.items():
                if part is beside and not folder.settings.bystander:
                    continue
                if len(folder.settings.cues) >= FEW_CUES or part in (counted, pointing, stated, beside):
                    runs += [f"### {title}", *part(told)]
        if len({told.network for told in all_told}) > 1:
            lines += ["## What carries over from one network to another", ""]
            lines += _script("networks").chapter([told.folder for told in all_told])
        lines += runs
        if units is not None:
            whole = [told for told in all_told if len(told.folder.settings.cues) >= FEW_CUES]
            lines += by_phones(units, {told.network: letters(told) for told in whole if letters(told)})
        if signs is not None:
            lines += by_signs(signs)
        # What version 1.0 had.
        small = [t for t in all_told if t.network == CNN and len(t.folder.settings.cues) >= FEW_CUES]
        for name, part in MORE.items() if more is not None else ():
            if (more / name).is_file():
                lines += part(more / name)
        lines += ["## What version 1.0 said, and what these tables say of it", *no_longer(small)]
    return "\n".join([*lines, TAIL])


def main() -> None:
    """Pack, unpack or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    packing = actions.add_parser("pack", help="a run to docs/results")
    packing.add_argument("run", type=Path)
    packing.add_argument("into", type=Path)
    unpacking = actions.add_parser("unpack", help="packed results to a run that can be continued")
    unpacking.add_argument("packed", type=Path)
    unpacking.add_argument("run", type=Path)
    unpacking.add_argument("--root", action="append", default=[], metavar="NAME=FOLDER", help="where recordings lie")
    writing = actions.add_parser("write", help="docs/findings.md")
    writing.add_argument("results", type=Path, nargs="*", help="packed results (default: all in docs/results)")
    writing.add_argument("--out", type=Path, default=DOCS / "findings.md")
    given = parser.parse_args()
    if given.action == "pack":
        pack(given.run, given.into)
    elif given.action == "unpack":
        unpack(given.packed, given.run, dict(each.split("=", 1) for each in given.root))
    else:
        results = given.results or sorted(path.parent for path in (DOCS / "results").glob("benchmark-*/config.toml"))
        lines_of = ("units/truth.jsonl", "signs", "")
        more = () if given.results else tuple(DOCS / "results" / name for name in lines_of)
        given.out.write_text(written(results, *more), "utf-8")


if __name__ == "__main__":
    main()
