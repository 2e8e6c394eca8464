"""Benchmarks of several networks beside each other: what carries over from one network to another, and what does not.

    python scripts/networks.py runs/cnn runs/whisper runs/mine        Markdown, to a file with --out

A run has one network; several runs of one network (other cues, severities, shortcuts, a bystander, seeds) are read
together. The first network is what the others are held against. Packed results of docs/results become runs by
`scripts/findings.py unpack`. Learned as a contrast and learned are never joined, nor are materials.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from speechxai.errors import SpeechXAIError
from speechxai.explain.recipe import CONTROLS
from speechxai.planted.folder import BenchmarkFolder
from speechxai.planted.grades import BYSTANDER, UNGRADED, bystander_table, grade_table, hybrid_table, of_shortcut
from speechxai.planted.settings import TRUTH
from speechxai.planted.tables import (
    AS_CONTRAST,
    BASE,
    FEWEST_NETWORKS,
    Board,
    believable,
    boards,
    singles,
    statements,
)
from speechxai.stats import network_means

GOAL = 0.75
"""A rank correlation with the truth that a metric must reach on every cue and network."""
REMOVED = BASE.replace("added", "removed")
N_DRAWS = 1000
"""Draws of networks for the interval of a tau."""
WHISPER, TWIN = "whisper", "whisper-random"
SCORES = ("recording", "speaker", "model", "recipe", "metric", "value", "network", "seed")
"""Columns of tidy scores that are read."""
Said = tuple[set[tuple[str, str, str, str]], set[tuple[str, str]]]
"""Who is above whom by every way to measure a truth, (group, added or removed, first, second), and the truths that can
be decided."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What the runs of one network say together.

    Args:
        network: its name.
        folders: its finished runs, no task twice.
    """

    network: str
    folders: tuple[BenchmarkFolder, ...]
    _said: dict[tuple[tuple[int, ...], tuple[str, ...]], Said] = field(default_factory=dict)

    @property
    def plain_folders(self) -> list[BenchmarkFolder]:
        """Runs without a bystander."""
        return [f for f in self.folders if not f.settings.bystander]

    @cached_property
    def tasks(self) -> pd.DataFrame:
        """`tasks.csv` of all runs without a bystander."""
        found = [f.table("tasks") for f in self.plain_folders]
        return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=["group", "auc", "verdict"])

    def sanity(self, material: str) -> pd.DataFrame | None:
        """`sanity.csv` of a run on a material; None where nothing was checked."""
        for folder in self.folders:
            table = folder.table("sanity") if material in folder.settings.materials else None
            if table is not None and len(table):
                return table
        return None

    @cached_property
    def scores(self) -> pd.DataFrame:
        """Tidy scores of all runs without a bystander."""
        found = [f.scores() for f in self.plain_folders]
        return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=SCORES)

    @cached_property
    def bystanders(self) -> pd.DataFrame:
        """Scores that say who marks a bystander, of the runs that have one."""
        found = [f.scores() for f in self.folders if f.settings.bystander]
        both = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=SCORES)
        return both[both["metric"].isin(BYSTANDER)]

    @cached_property
    def boards(self) -> dict[tuple[str, str], Board]:
        """Boards of BASE and REMOVED, by group and metric."""
        return boards(self.scores[self.scores["metric"].isin((BASE, REMOVED))])

    @property
    def groups(self) -> list[str]:
        """Groups that were explained."""
        return list(dict.fromkeys(group for group, _ in self.boards))

    @property
    def cues(self) -> list[str]:
        """Groups of a cue at its full severity: no shortcuts."""
        return [group for group in self.groups if severity_of(group) == 1 and not of_shortcut(group)]

    @property
    def learned_cues(self) -> list[str]:
        """`cues` that were learned as classes, with networks enough to say something."""
        return [
            group
            for group in self.cues
            if not group.endswith(AS_CONTRAST)
            and (group, BASE) in self.boards
            and n_networks(self.boards[group, BASE]) >= FEWEST_NETWORKS
        ]

    def methods(self, group: str) -> list[str]:
        """Methods that explained a group."""
        found = [self.boards[group, m].recipes for m in (BASE, REMOVED) if (group, m) in self.boards]
        return singles(dict.fromkeys(recipe for recipes in found for recipe in recipes))

    def seeds(self, material: str) -> set[int]:
        """Seeds of the scores on a material."""
        own = self.scores[self.scores["model"].astype(str).str.startswith(f"{material}/")]
        return {int(seed) for seed in own["seed"].unique()}

    def said(self, seeds: Sequence[int] | None = None, methods: Sequence[str] | None = None) -> Said:
        """What the statements of these seeds and methods say; of all by default."""
        key = tuple(seeds or ()), tuple(methods or ())
        if key not in self._said:
            part = self.scores
            if seeds is not None:
                part = part[part["seed"].astype(int).isin(seeds)]
            if methods is not None:
                part = part[part["recipe"].isin((*methods, *CONTROLS, TRUTH))]
            self._said[key] = _by_truth(statements(part))
        return self._said[key]

    def means(self, group: str, metric: str) -> dict[str, float]:
        """Mean over networks by explanation."""
        board = self.boards.get((group, metric))
        return {} if board is None else dict(zip(board.recipes, board.interval(board.values)[0].tolist(), strict=True))


def _by_truth(table: pd.DataFrame) -> Said:
    above, truths = set(), set()
    for row in table.to_dict("records"):
        for sign in ("added", "removed"):
            n_say, n_ways = (int(part) for part in str(row[f"says_{sign}"]).split(" of "))
            if row["decidable"] and n_ways:
                truths.add((str(row["model"]), sign))
                if n_say == n_ways:
                    above.add((str(row["model"]), sign, str(row["first"]), str(row["second"])))
    return above, truths


def n_networks(board: Board) -> int:
    """Networks with a score."""
    return len(np.unique(board.networks[~np.isnan(board.values).all(axis=1)]))


def severity_of(group: str) -> float:
    """Severity of a group's name."""
    return float(group.removesuffix(AS_CONTRAST).split("/")[2])


def plain(group: str) -> str:
    """A group as people read it, without a severity of 1."""
    material, cue, severity = group.removesuffix(AS_CONTRAST).split("/")
    said = f"{material}, {cue.replace('_', ' ')}" + ("" if float(severity) == 1 else f" ({severity})")
    return said + (AS_CONTRAST if group.endswith(AS_CONTRAST) else "")


def seen(folders: Sequence[BenchmarkFolder]) -> dict[str, Seen]:
    """Join runs by their network, in the order in which networks come.

    Raises:
        SpeechXAIError: a task in two runs of one network.
    """
    names = dict.fromkeys(folder.settings.network for folder in folders)
    owners: dict[tuple[str, bool, str], BenchmarkFolder] = {}
    for folder in folders:
        for task in folder.settings.tasks():
            key = (folder.settings.network, folder.settings.bystander, task.id)
            first = owners.setdefault(key, folder)
            if first is not folder:
                raise SpeechXAIError(
                    f"{first.path} and {folder.path} both hold the task {task.id} of {key[0]}: leave one of them away."
                )
    return {n: Seen(n, tuple(f for f in folders if f.settings.network == n)) for n in names}


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table."""
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _cell(mean: float, low: float, high: float, digits: int = 2) -> str:
    if mean != mean:
        return "–"
    return f"{mean:.{digits}f}" if low != low else f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def learned(networks: dict[str, Seen]) -> Iterator[str]:
    """Held-out AUC by cue, material and network."""
    table = {}
    for name, one in networks.items():
        for group, part in one.tasks.groupby("group", sort=False):
            known = part["auc"].dropna()
            if known.empty:
                continue
            counts = part["verdict"].fillna("").value_counts()
            n_learned, n_contrast = int(counts.get("learned", 0)), int(counts.get("learned as a contrast", 0))
            rest = len(known) - n_learned - n_contrast
            mark = [f"{n} {what}" for n, what in ((n_contrast, "contrast"), (rest, "not")) if n]
            ends = f" [{known.min():.2f}, {known.max():.2f}]" if len(known) > 1 else ""
            table[str(group), name] = (
                f"{known.mean():.2f}{ends}" + (f"; {n_learned} learned, " * bool(mark)) + ", ".join(mark)
            )
    groups = dict.fromkeys(group for group, _ in table)
    rows = [[plain(group), *(table.get((group, name), "") for name in networks)] for group in groups]
    yield (
        "Mean over seeds of the AUC within folds, and its range over seeds. Where not every seed was learned, how many"
        " were, how many as a contrast (twins in the right order at a lower AUC), and how many not."
    )
    yield ""
    yield from markdown(["material, cue", *networks], rows)


def _means_by_network(board: Board, methods: Sequence[str]) -> tuple[Any, Any]:
    """Means (networks, methods), and the seed of each network."""
    values = np.stack([board.of(method) for method in methods], axis=1)
    means, _ = network_means(values, board.networks, board.speakers)
    seed_of = dict(zip(board.networks.tolist(), board.seeds.tolist(), strict=True))
    return means, np.array([seed_of[name] for name in np.unique(board.networks)])


def _tau(first: Any, second: Any) -> float:
    from scipy.stats import kendalltau

    return float(kendalltau(first, second).statistic)


def tau_of(one: Board, other: Board, methods: Sequence[str], seed: int = 0) -> tuple[float, float, float]:
    """Kendall's tau of the order of methods by two boards, and its 95 % interval: both boards' networks drawn anew."""
    tables = [_means_by_network(board, methods)[0] for board in (one, other)]
    draw = np.random.default_rng(seed)

    def drawn(rows: Sequence[Any]) -> float:
        return _tau(*(np.nanmean(table[row], axis=0) for table, row in zip(tables, rows, strict=True)))

    whole = drawn([np.arange(len(table)) for table in tables])
    taus = [drawn([draw.integers(len(table), size=len(table)) for table in tables]) for _ in range(N_DRAWS)]
    low, high = np.nanquantile(taus, (0.025, 0.975))
    return whole, float(low), float(high)


def tau_of_seeds(one: Board, other: Board, methods: Sequence[str]) -> float:
    """Mean tau of the orders by single seeds, every two that differ: other voices, and other weights where they are
    drawn. Of one board with itself how far noise alone keeps an order from being found again."""
    tables = []
    for board in (one, other):
        means, seeds = _means_by_network(board, methods)
        tables.append({name: np.nanmean(means[seeds == name], axis=0) for name in np.unique(seeds)})
    pairs = [(a, b) for a, b in product(*tables) if a != b]
    found = [_tau(tables[0][a], tables[1][b]) for a, b in pairs]
    return float(np.mean(found)) if found else float("nan")


def orders(networks: dict[str, Seen]) -> Iterator[str]:
    """Kendall's tau of the order of methods between networks."""
    rows = []
    whole: dict[tuple[str, str, str, str], list[float]] = {}
    names = list(networks)
    for index, first in enumerate(names):
        for second in names[index + 1 :]:
            one, other = networks[first], networks[second]
            for group, (metric, sign) in product(one.groups, ((BASE, "added"), (REMOVED, "removed"))):
                mine, theirs = one.boards.get((group, metric)), other.boards.get((group, metric))
                if mine is None or theirs is None or min(n_networks(mine), n_networks(theirs)) < FEWEST_NETWORKS:
                    continue
                both = [m for m in singles(mine.recipes) if m in theirs.recipes]
                both = [m for m in both if not (np.isnan(mine.of(m)).all() or np.isnan(theirs.of(m)).all())]
                if len(both) < 4:
                    continue
                tau = tau_of(mine, theirs, both)
                single = [tau_of_seeds(a, b, both) for a, b in ((mine, theirs), (mine, mine), (theirs, theirs))]
                if tau[0] == tau[0]:
                    whole.setdefault((group.split("/")[0], first, second, sign), []).append(tau[0])
                rows.append(
                    [
                        plain(group),
                        sign,
                        f"{first}, {second}",
                        f"{_cell(*tau)} ({len(both)})",
                        *("–" if t != t else f"{t:.2f}" for t in single),
                    ]
                )
    if not rows:
        yield f"No cue has {FEWEST_NETWORKS} networks of two kinds."
        yield ""
        return
    yield (
        "Kendall's tau of the order of methods (relevance_rank, 3 dB, 1 bin; number of methods): 1 the same order, 0"
        f" none in common, -1 turned around. Intervals draw the networks of both runs anew, {N_DRAWS} times; folds of a"
        " seed share voices, so the true ones are wider. Noise alone keeps tau below 1, so beside it stand single"
        " seeds, whose orders are compared between the two networks and within each of them. Cues with at least"
        f" {FEWEST_NETWORKS} networks of both."
    )
    yield ""
    for (material, first, second, sign), taus in whole.items():
        yield (
            f"- {material}, {sign}: **{first}, {second}** median {np.median(taus):.2f} of {len(taus)}"
            f" (lowest {min(taus):.2f}, highest {max(taus):.2f})."
        )
    yield ""
    header = ["material, cue", "energy", "networks", "tau", "single seeds: between", "within the first"]
    yield from markdown([*header, "within the second"], rows)


def carried(networks: dict[str, Seen], first: str, second: str, material: str) -> Iterator[str]:
    """Method by method: what is above the controls on one network, and on the other, by the same seeds and methods."""
    one, other = networks[first], networks[second]
    seeds = sorted(one.seeds(material) & other.seeds(material))
    groups = [g for g in one.cues if g in other.groups and g.startswith(f"{material}/")]
    methods = [
        m
        for m in dict.fromkeys(m for g in groups for m in one.methods(g))
        if any(m in other.methods(g) for g in groups)
    ]
    if not seeds or not groups or not methods:
        return
    (mine, known), (theirs, known_there) = (each.said(seeds, methods) for each in (one, other))
    truths = [truth for truth in sorted(known & known_there) if truth[0] in groups]
    if not truths:
        return

    def above(said: set[tuple[str, str, str, str]], method: str, controls: Sequence[str]) -> set[tuple[str, str]]:
        return {(g, s) for g, s in truths if all((g, s, method, control) in said for control in controls)}

    rows = []
    for method in methods:
        cells = []
        for controls in (("random_map",), CONTROLS):
            a, b = above(mine, method, controls), above(theirs, method, controls)
            cells += [f"{len(a)}", f"{len(b)}", f"{len(a & b)}"]
        a, b = above(mine, method, CONTROLS), above(theirs, method, CONTROLS)
        turned = [(g, s) for g, s in a if any((g, s, control, method) in theirs for control in CONTROLS)]
        said = "–" if not a else "shown on both" if a <= b else f"not shown again: {len(a - b)} of {len(a)}"
        said += f", below a control: {len(turned)}" if turned else ""
        said += f", new: {len(b - a)}" if b - a else ""
        rows.append([method, *cells, said])
    named = ", ".join(f"{plain(g).partition(', ')[2]} {s}" for g, s in truths)
    yield (
        f"**{material}: {first} and {second}**, the same {len(seeds)} seeds and {len(methods)} methods, so that both"
        f" can show as much. Of {len(truths)} truths that both can decide ({named}), on how many a method is above"
        f" `random_map`, and above all three controls, by every way to measure: {first}, {second}, both. What is not"
        " shown again may be there and smaller; below a control is the opposite."
    )
    yield ""
    heads = [f"{what}: {who}" for what in ("random", "all controls") for who in (first, second, "both")]
    yield from markdown(["method", *heads, f"{first} above all controls"], rows)


def metrics_by_network(networks: dict[str, Seen]) -> Iterator[str]:
    """Which metric prefers the maps that point at the truth, network by network."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for name, one in networks.items():
        own = one.scores[one.scores["model"].isin(one.learned_cues)]
        recipes = [r for r in dict.fromkeys(own["recipe"]) if r in CONTROLS or "(" not in r]
        table = believable(own, recipes)
        table = table[(table["truth_metric"] == BASE) & table["model"].isin(one.learned_cues)]
        for row in table.to_dict("records"):
            if row["within"] == row["within"]:
                found.setdefault((str(row["metric"]), name), {})[str(row["model"])] = float(row["within"])
    if not found:
        yield f"No cue was learned by {FEWEST_NETWORKS} networks."
        yield ""
        return
    names = [name for name in networks if any(network == name for _, network in found)]
    lowest = {
        metric: min(min(found[metric, n].values()) for n in names if (metric, n) in found)
        for metric in dict.fromkeys(metric for metric, _ in found)
    }
    rows = []
    for metric in sorted(lowest, key=lambda m: -lowest[m]):
        cells = []
        for name in names:
            values = found.get((metric, name), {})
            if not values:
                cells.append("–")
                continue
            worst = min(values, key=lambda g: values[g])
            cells.append(f"{np.mean(list(values.values())):.2f}; {values[worst]:.2f} ({plain(worst)})")
        rows.append([metric, *cells, f"{lowest[metric]:.2f}"])
    reach = [metric for metric, value in lowest.items() if value >= GOAL]
    best = max(lowest, key=lambda m: lowest[m])
    verdict = f"{', '.join(reach)} reach{'es' * (len(reach) == 1)}" if reach else "No metric reaches"
    n_cues = {name: len({g for (_, n), values in found.items() if n == name for g in values}) for name in names}
    yield (
        f"Rank correlation with {BASE} over the explanations of a recording: mean over the cues that a network learned"
        f" as classes, with {FEWEST_NETWORKS} networks at least ({', '.join(f'{n} {k}' for n, k in n_cues.items())}),"
        f" then the lowest of them. {verdict} {GOAL} on every cue and network; the highest lowest is"
        f" {lowest[best]:.2f} ({best})."
    )
    yield ""
    yield from markdown(["metric", *names, "lowest of all"], rows)


def family(network: str) -> str:
    """What networks share: Whisper's encoder as it is, tuned, or its twin of the same form."""
    return network.split("-")[0]


def hybrids_by_network(networks: dict[str, Seen]) -> Iterator[str]:
    """Metrics together: made on other families of networks and other cues, and tried on what is left."""
    found = []
    for name, one in networks.items():
        part = one.scores[one.scores["model"].isin(one.learned_cues)]
        if part["model"].nunique() > 1:
            found.append(part.assign(model=name + ": " + part["model"].astype(str)))
    if len({family(name) for name in networks}) < 2 or len(found) < 2:
        return

    def apart(one: str, other: str) -> bool:
        (name, _, group), (name_there, _, group_there) = one.partition(": "), other.partition(": ")
        return family(name) != family(name_there) and group.split("/")[1] != group_there.split("/")[1]

    both = pd.concat(found, ignore_index=True)
    recipes = [r for r in dict.fromkeys(both["recipe"]) if r in CONTROLS or "(" not in r]
    table = hybrid_table(both, recipes, apart)
    if table.empty:
        return
    rows, names = [], list(dict.fromkeys(table["hybrid"]))
    cells = {(r["model"], r["hybrid"]): r for r in table.to_dict("records")}
    for model in dict.fromkeys(table["model"]):
        network, _, group = str(model).partition(": ")
        row = [cells[model, name] for name in names]
        said = [f"{_cell(r['within'], r['low'], r['high'])} ({r['made_of']})" for r in row[:2]]
        rows.append([network, plain(group), *said, *(_cell(r["within"], r["low"], r["high"]) for r in row[2:])])
    lowest = table.groupby("hybrid", sort=False)["within"].min()
    reach = [str(name) for name, value in lowest.items() if value >= GOAL]
    yield (
        "Hybrids of metrics, made on networks of another family and on other cues, and tried on this one. Lowest: "
        + ", ".join(f"{name} {value:.2f}" for name, value in lowest.items())
        + f"; {', '.join(reach) if reach else 'none'} reaches {GOAL}."
    )
    yield ""
    yield from markdown(["tried on", "material, cue", *names], rows)


def marks_bystander(networks: dict[str, Seen]) -> Iterator[str]:
    """False positives on a sound that tells no class."""
    tables = {name: bystander_table(one.bystanders) for name, one in networks.items() if len(one.bystanders)}
    tables = {name: table for name, table in tables.items() if len(table)}
    if not tables:
        return
    columns = [(name, model) for name, table in tables.items() for model in dict.fromkeys(table["model"])]
    cells = {(n, r["model"], r["recipe"]): r for n, table in tables.items() for r in table.to_dict("records")}
    recipes = dict.fromkeys(r["recipe"] for t in tables.values() for r in t.to_dict("records"))
    rows = []
    for recipe in (*singles(recipes), *CONTROLS):
        found = [cells.get((name, model, recipe)) for name, model in columns]
        if any(found):
            rows.append(
                [
                    recipe,
                    *(
                        "–"
                        if r is None
                        else f"{_cell(r['bystander_auc'], r['low'], r['high'])}, {r['false_positives']:.0%}"
                        for r in found
                    ),
                ]
            )
    for name, table in tables.items():
        for model, own in table.groupby("model", sort=False):
            part = own[own["recipe"].isin(singles(recipes))]
            marking = [f"{r['recipe']} {r['bystander_auc']:.2f}" for r in part.to_dict("records") if r["low"] > 0.5]
            beside = [
                f"{r['recipe']} {r['bystander_auc']:.2f}"
                for r in own.to_dict("records")
                if r["recipe"] in CONTROLS and r["recipe"] != "random_map"
            ]
            yield (
                f"- **{name}**, {plain(str(model))}: above one half in {part['false_positives'].mean():.0%} of the"
                f" methods' maps (half by chance), mean AUC {part['bystander_auc'].mean():.2f}; with an interval above"
                f" one half: {', '.join(marking) or 'no method'}; controls {', '.join(beside)}."
            )
    yield ""
    yield "AUC of the evidence as a detector of the bystander, and share of recordings above one half:"
    yield ""
    yield from markdown(["explanation", *(f"{name}: {plain(model)}" for name, model in columns)], rows)


def shows_shortcut(networks: dict[str, Seen]) -> Iterator[str]:
    """Would the maps have told of a condition of the recording that goes with the class?"""
    rows = []
    for name, one in networks.items():
        said = one.said()
        for group in one.groups:
            if not of_shortcut(group):
                continue
            for sign in ("added", "removed"):
                if (group, sign) not in said[1]:
                    continue
                methods = one.methods(group)
                telling = [m for m in methods if (group, sign, m, "random_map") in said[0]]
                best = [m for m in methods if all((group, sign, m, c) in said[0] for c in CONTROLS)]
                rows.append(
                    [
                        plain(group),
                        name,
                        sign,
                        f"{len(telling)} of {len(methods)} ({', '.join(telling) or 'none'})",
                        f"{len(best)} ({', '.join(best) or 'none'})",
                    ]
                )
    if rows:
        yield "Methods whose map shows it: above `random_map`, and above all three controls, by every way to measure."
        yield ""
        header = ["material, condition", "network", "energy", "above random_map", "above all controls"]
        yield from markdown(header, sorted(rows))


def doses(networks: dict[str, Seen]) -> Iterator[str]:
    """How localization answers to a cue's severity."""
    columns: dict[tuple[str, str], dict[tuple[float, bool], str]] = {}
    for name, one in networks.items():
        for group in one.groups:
            if of_shortcut(group) or (group, BASE) not in one.boards:
                continue
            material, cue, _ = group.removesuffix(AS_CONTRAST).split("/")
            columns.setdefault((name, f"{material}, {cue.replace('_', ' ')}"), {})[
                (severity_of(group), not group.endswith(AS_CONTRAST))
            ] = group
    columns = {key: found for key, found in columns.items() if len({severity for severity, _ in found}) > 1}
    if not columns:
        return
    recipes: dict[str, None] = {}
    for (name, _), by_severity in columns.items():
        for group in by_severity.values():
            recipes |= dict.fromkeys(networks[name].methods(group))
    rows = []
    for recipe in recipes:
        cells = []
        for (name, _), by_severity in columns.items():
            said = []
            for severity in sorted(by_severity):
                means = networks[name].means(by_severity[severity], BASE)
                over = means.get(recipe, float("nan")) - means.get("random_map", float("nan"))
                said.append("–" if over != over else f"{over:+.2f}")
            cells.append(" / ".join(said))
        rows.append([recipe, *cells])
    heads = []
    for (name, what), by_severity in columns.items():
        steps = [f"{severity:g}{'' if whole else AS_CONTRAST}" for severity, whole in sorted(by_severity)]
        heads.append(f"{name}: {what} ({' / '.join(steps)})")
    yield (
        "relevance_rank (added, 3 dB, 1 bin) above that of `random_map`, by severity; cues that add less than 3 dB at a"
        " lower severity have no such truth there:"
    )
    yield ""
    yield from markdown(["method", *heads], rows)


def beside_twin(networks: dict[str, Seen], first: str = WHISPER, second: str = TWIN) -> Iterator[str]:
    """Maps of a pretrained network beside those of its twin with random weights."""
    if first not in networks or second not in networks:
        return
    one, other = networks[first], networks[second]
    shared = [g for g in one.cues if g in other.cues and (g, BASE) in one.boards and (g, BASE) in other.boards]
    rows: dict[str, list[str]] = {}
    apart = {group: [0, 0] for group in shared}
    for group in shared:
        mine, theirs = one.boards[group, BASE], other.boards[group, BASE]
        for recipe in (*[m for m in singles(mine.recipes) if m in theirs.recipes], *CONTROLS):
            a, b = (board.interval(board.of(recipe)[:, None]) for board in (mine, theirs))
            mark = ""
            if recipe not in CONTROLS and a[1][0] > b[2][0]:
                apart[group][0] += 1
                mark = " ▲"
            if recipe not in CONTROLS and a[2][0] < b[1][0]:
                apart[group][1] += 1
                mark = " ▼"
            rows.setdefault(recipe, []).append(f"{a[0][0]:.2f} / {b[0][0]:.2f}{mark}")
    if not shared:
        return
    words = "; ".join(f"{plain(g)}: {up} higher, {down} lower" for g, (up, down) in apart.items())
    yield (
        f"relevance_rank (added, 3 dB, 1 bin) of {first} / {second}, mean over networks; ▲ and ▼ where the intervals do"
        f" not meet. Of the methods, {words}."
    )
    yield ""
    yield from markdown(["explanation", *map(plain, shared)], [[r, *cells] for r, cells in rows.items()])


def grades(networks: dict[str, Seen], material: str) -> Iterator[str]:
    """A letter for every method and network."""
    tables, tried = {}, []
    for name, one in networks.items():
        own = [
            g
            for g in one.groups
            if severity_of(g) == 1 and g.startswith(f"{material}/") and not g.endswith(AS_CONTRAST)
        ]
        scores = one.scores[one.scores["model"].isin(own)]
        marks = one.bystanders[one.bystanders["model"].isin(own)]
        sanity = one.sanity(material)
        if scores.empty:
            continue
        checks = pd.DataFrame(columns=["recipe"]) if sanity is None else sanity
        table = grade_table(pd.concat([scores, marks], ignore_index=True), statements(scores), checks)
        found = {str(r["recipe"]): r for r in table.to_dict("records")}
        if all(r["grade"] == UNGRADED for r in found.values()):
            continue
        tables[name] = found
        what = [
            f"{next(iter(found.values()))['n_truths']} truths",
            f"{sum(of_shortcut(g) for g in own)} shortcuts",
            "a bystander" if len(marks) else "no bystander",
            "no sanity checks" if sanity is None else "sanity checks",
        ]
        tried.append(f"{name} {', '.join(what)}")
    if not tables:
        return
    rows = []
    for recipe in dict.fromkeys(recipe for table in tables.values() for recipe in table):
        cells = []
        for table in tables.values():
            r = table.get(recipe)
            failures = "" if r is None or not r["failures"] else f": {r['failures']}"
            letter = "" if r is None else f"{r['grade']} ({r['above_all']} of {r['n_truths']})"
            cells.append("not applicable" if r is None else f"{letter}{failures}")
        rows.append([recipe, *cells])
    yield (
        f"**{material}**: grade, truths on which a method is above all controls, failures seen. Tried were:"
        f" {'; '.join(tried)}. A network that was tried on less can fail in less, so letters side by side are no race."
    )
    yield ""
    yield from markdown(["method", *tables], rows)


def costs(networks: dict[str, Seen]) -> Iterator[str]:
    """What a task took."""
    rows = []
    for name, one in networks.items():
        for folder in one.folders:
            device = folder.environment.get("basis", {}).get("device", "cpu")
            table = folder.table("tasks")
            table = table[table["n_explained"] > 0]
            first = table["seed"] == folder.settings.seeds[0]
            whole = bool(folder.settings.n_sanity or folder.settings.combinations)
            parts = [table[~first] if whole else table, table[first] if whole else table[:0]]
            rows.append(
                [
                    name,
                    folder.path.name,
                    {"cuda": "GPU", "cpu": "processor"}.get(device, device),
                    folder.environment.get("libraries", {}).get("torch", ""),
                    str(len(table)),
                    *("–" if part["seconds"].isna().all() else f"{part['seconds'].median():.0f}" for part in parts),
                    f"{folder.table('tasks')['seconds'].sum() / 3600:.2f}",
                ]
            )
    yield (
        "Wall-clock seconds of tasks beside others: one process a task, several at once on one processor or one GPU."
        " The first seeds' tasks hold sanity checks and combinations too, where a run has them."
    )
    yield ""
    header = ["network", "run", "on", "PyTorch", "tasks explained", "median, s", "median of first seeds, s"]
    yield from markdown([*header, "sum of tasks, h"], rows)


def chapter(folders: Sequence[BenchmarkFolder]) -> Iterator[str]:
    """Everything, under headings of the third level; the first network is what the others are held against.

    Raises:
        SpeechXAIError: a task in two runs of one network.
    """
    networks = seen(folders)
    materials = dict.fromkeys(m for folder in folders for m in folder.settings.materials)
    first, *rest = networks
    yield from ("### Who learned what", "", *learned(networks))
    if rest:
        yield from ("### Is the order of methods the same?", "", *orders(networks))
        yield from ("### What carries over", "")
        for material in materials:
            for name in rest:
                yield from carried(networks, first, name, material)
    yield from ("### Which metric to believe, by network", "", *metrics_by_network(networks))
    yield from hybrids_by_network(networks)
    for title, part in (
        ("A pretrained network beside its random twin", beside_twin),
        ("Who marks a bystander, by network", marks_bystander),
        ("Would the map have told of a shortcut?", shows_shortcut),
        ("Dose and response", doses),
    ):
        lines = list(part(networks))
        if lines:
            yield from (f"### {title}", "", *lines)
    yield from ("### Grades by network", "")
    for material in materials:
        yield from grades(networks, material)
    yield from ("### What a task took", "", *costs(networks))


def main() -> None:
    """Print the chapter of some runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of benchmarks")
    parser.add_argument("--out", type=Path, help="a file instead of the screen")
    given = parser.parse_args()
    folders = []
    try:
        for path in given.runs:
            folder = BenchmarkFolder(path)
            tables = [path / f"{name}.csv" for name in ("tasks", "sanity")]
            units = max((unit.stat().st_mtime for unit in (path / "units").glob("*.json")), default=0.0)
            if any(not table.is_file() or table.stat().st_mtime < units for table in tables):
                print(f"{path}: tables", file=sys.stderr)
                folder.finish()
            folders.append(folder)
        text = "\n".join(["## What carries over from one network to another", "", *chapter(folders)])
    except SpeechXAIError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    if given.out is None:
        print(text)
    else:
        given.out.write_text(f"{text}\n", "utf-8")


if __name__ == "__main__":
    main()
