"""Benchmarks of several networks beside each other: what carries over from one network to another, and what does not.

    python scripts/networks.py runs/cnn runs/whisper runs/mine        Markdown, to a file with --out

A run has one network; several runs of one network (other cues, severities, shortcuts, a bystander) are read together.
Packed results of docs/results become runs by `scripts/findings.py unpack`. Learned as a contrast and learned are never
joined, nor are materials.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from speechxai.explain.recipe import CONTROLS
from speechxai.planted.folder import BenchmarkFolder
from speechxai.planted.grades import BYSTANDER, UNGRADED, bystander_table, grade_table, hybrid_table, of_shortcut
from speechxai.planted.tables import AS_CONTRAST, BASE, Board, boards, singles
from speechxai.stats import network_means

GOAL = 0.75
"""A rank correlation with the truth that a metric must reach on every cue and network."""
REMOVED = BASE.replace("added", "removed")
N_DRAWS = 1000
"""Draws of networks for the interval of a tau."""
CNN, WHISPER, TWIN = "cnn", "whisper", "whisper-random"


@dataclass(frozen=True, eq=False)
class Seen:
    """What the runs of one network say together.

    Args:
        network: its name.
        folders: its finished runs.
    """

    network: str
    folders: tuple[BenchmarkFolder, ...]

    def _joined(self, name: str, bystander: bool = False) -> pd.DataFrame:
        found = [f.table(name) for f in self.folders if f.settings.bystander is bystander]
        return pd.concat(found, ignore_index=True) if found else pd.DataFrame()

    @cached_property
    def tasks(self) -> pd.DataFrame:
        """`tasks.csv` of all runs without a bystander."""
        return self._joined("tasks")

    @cached_property
    def statements(self) -> pd.DataFrame:
        """`statements.csv` of all runs without a bystander."""
        return self._joined("statements")

    @cached_property
    def believable(self) -> pd.DataFrame:
        """`believable.csv` of all runs without a bystander."""
        return self._joined("believable")

    @cached_property
    def sanity(self) -> pd.DataFrame:
        """`sanity.csv` of the runs that have one; of several the first one's rows count."""
        found = [table for table in (f.table("sanity") for f in self.folders) if len(table)]
        return found[0] if found else pd.DataFrame(columns=["recipe"])

    @cached_property
    def scores(self) -> pd.DataFrame:
        """Tidy scores of all runs without a bystander."""
        found = [f.scores() for f in self.folders if not f.settings.bystander]
        return pd.concat(found, ignore_index=True) if found else pd.DataFrame()

    @cached_property
    def bystanders(self) -> pd.DataFrame:
        """Scores that say who marks a bystander, of the runs that have one."""
        found = [f.scores() for f in self.folders if f.settings.bystander]
        both = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=["metric"])
        return both[both["metric"].isin(BYSTANDER)]

    @cached_property
    def boards(self) -> dict[tuple[str, str], Board]:
        """Boards of BASE and REMOVED, by group and metric."""
        if self.scores.empty:
            return {}
        return boards(self.scores[self.scores["metric"].isin((BASE, REMOVED))])

    @property
    def groups(self) -> list[str]:
        """Groups that were explained."""
        return list(dict.fromkeys(group for group, _ in self.boards))

    @property
    def cues(self) -> list[str]:
        """Groups of a cue at its full severity: no shortcuts."""
        return [group for group in self.groups if severity_of(group) == 1 and not of_shortcut(group)]

    @cached_property
    def said(self) -> tuple[set[tuple[str, str, str, str]], set[tuple[str, str]]]:
        """Who is above whom by every way to measure a truth, (group, added or removed, first, second), and the truths
        that can be decided."""
        above, truths = set(), set()
        for row in self.statements.to_dict("records"):
            for sign in ("added", "removed"):
                n_say, n_ways = (int(part) for part in str(row[f"says_{sign}"]).split(" of "))
                if row["decidable"] and n_ways:
                    truths.add((str(row["model"]), sign))
                    if n_say == n_ways:
                        above.add((str(row["model"]), sign, str(row["first"]), str(row["second"])))
        return above, truths

    def methods(self, group: str) -> list[str]:
        """Methods that explained a group."""
        return singles(self.boards[group, BASE].recipes) if (group, BASE) in self.boards else []

    def means(self, group: str, metric: str) -> dict[str, float]:
        """Mean over networks by explanation."""
        board = self.boards.get((group, metric))
        return {} if board is None else dict(zip(board.recipes, board.interval(board.values)[0].tolist(), strict=True))


def severity_of(group: str) -> float:
    """Severity of a group's name."""
    return float(group.removesuffix(AS_CONTRAST).split("/")[2])


def plain(group: str) -> str:
    """A group as people read it, without a severity of 1."""
    material, cue, severity = group.removesuffix(AS_CONTRAST).split("/")
    said = f"{material}, {cue.replace('_', ' ')}" + ("" if float(severity) == 1 else f" ({severity})")
    return said + (AS_CONTRAST if group.endswith(AS_CONTRAST) else "")


def seen(folders: Sequence[BenchmarkFolder]) -> dict[str, Seen]:
    """Join runs by their network, in the order in which networks come."""
    names = dict.fromkeys(folder.settings.network for folder in folders)
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
            verdicts = part["verdict"].fillna("")
            mark = "" if (verdicts == "learned").all() else "not learned" if (verdicts == "").all() else "in part"
            if (verdicts == "learned as a contrast").all():
                mark = "contrast"
            ends = f" [{known.min():.2f}, {known.max():.2f}]" if len(known) > 1 else ""
            table[str(group), name] = f"{known.mean():.2f}{ends}" + (f", {mark}" if mark else "")
    groups = dict.fromkeys(group for group, _ in table)
    rows = [[plain(group), *(table.get((group, name), "") for name in networks)] for group in groups]
    yield "Mean over seeds of the AUC within folds, and its range over seeds:"
    yield ""
    yield from markdown(["material, cue", *networks], rows)


def tau_of(one: Board, other: Board, methods: Sequence[str], seed: int = 0) -> tuple[float, float, float]:
    """Kendall's tau of the order of methods by two boards, and its 95 % interval: both boards' networks drawn anew."""
    from scipy.stats import kendalltau

    tables = []
    for board in (one, other):
        values = np.stack([board.of(method) for method in methods], axis=1)
        tables.append(network_means(values, board.networks, board.speakers)[0])
    draw = np.random.default_rng(seed)

    def tau(rows: Sequence[Any]) -> float:
        first, second = (np.nanmean(table[row], axis=0) for table, row in zip(tables, rows, strict=True))
        return float(kendalltau(first, second).statistic)

    whole = tau([np.arange(len(table)) for table in tables])
    drawn = [tau([draw.integers(len(table), size=len(table)) for table in tables]) for _ in range(N_DRAWS)]
    low, high = np.nanquantile(drawn, (0.025, 0.975))
    return whole, float(low), float(high)


def orders(networks: dict[str, Seen]) -> Iterator[str]:
    """Kendall's tau of the order of methods between networks."""
    rows = []
    whole: dict[tuple[str, str], list[float]] = {}
    names = list(networks)
    for index, first in enumerate(names):
        for second in names[index + 1 :]:
            one, other = networks[first], networks[second]
            for group in one.groups:
                cells = []
                for metric in (BASE, REMOVED):
                    mine, theirs = one.boards.get((group, metric)), other.boards.get((group, metric))
                    if mine is None or theirs is None:
                        cells.append("–")
                        continue
                    both = [m for m in singles(mine.recipes) if m in theirs.recipes]
                    both = [m for m in both if not (np.isnan(mine.of(m)).all() or np.isnan(theirs.of(m)).all())]
                    found = tau_of(mine, theirs, both) if len(both) > 3 else (float("nan"),) * 3
                    cells.append(_cell(*found))
                    if found[0] == found[0]:
                        whole.setdefault((first, second), []).append(found[0])
                if set(cells) != {"–"}:
                    rows.append([plain(group), f"{first}, {second}", *cells])
    yield (
        "Kendall's tau of the order of methods (relevance_rank, 3 dB, 1 bin): 1 the same order, 0 none of it."
        f" Intervals draw the networks of both runs anew, {N_DRAWS} times."
    )
    yield ""
    for (first, second), taus in whole.items():
        yield (
            f"- **{first}, {second}**: median {np.median(taus):.2f} of {len(taus)} orders, lowest {min(taus):.2f},"
            f" highest {max(taus):.2f}."
        )
    yield ""
    yield from markdown(["material, cue", "networks", "by what was added", "by what was removed"], rows)


def carried(networks: dict[str, Seen], first: str, second: str, material: str) -> Iterator[str]:
    """Method by method: what is above the controls on one network, and on the other."""
    one, other = networks[first], networks[second]
    truths = [
        truth
        for truth in sorted(one.said[1] & other.said[1])
        if truth[0] in one.cues and truth[0].startswith(f"{material}/")
    ]
    if not truths:
        return
    methods = [
        m for m in dict.fromkeys(m for g, _ in truths for m in one.methods(g)) if m in other.methods(truths[0][0])
    ]

    def above(of: Seen, method: str, controls: Sequence[str]) -> set[tuple[str, str]]:
        return {(g, s) for g, s in truths if all((g, s, method, control) in of.said[0] for control in controls)}

    rows = []
    for method in methods:
        cells = []
        for controls in (("random_map",), CONTROLS):
            a, b = above(one, method, controls), above(other, method, controls)
            cells += [f"{len(a)}", f"{len(b)}", f"{len(a & b)}"]
        lost = above(one, method, CONTROLS) - above(other, method, CONTROLS)
        won = above(other, method, CONTROLS) - above(one, method, CONTROLS)
        said = (
            "carries over" if above(one, method, CONTROLS) and not lost else "does not" if lost else "nothing to carry"
        )
        more = ", ".join([f"lost {len(lost)}"] * bool(lost) + [f"new {len(won)}"] * bool(won))
        rows.append([method, *cells, f"{said} ({more})" if more else said])
    named = ", ".join(f"{plain(g).partition(', ')[2]} {s}" for g, s in truths)
    yield (
        f"**{material}: {first} and {second}.** Of {len(truths)} truths that both can decide ({named}), on how many a"
        f" method is above `random_map`, and above all three controls, by every way to measure: {first}, {second},"
        " both. Carries over: no truth is lost."
    )
    yield ""
    heads = [f"{what}: {who}" for what in ("random", "all controls") for who in (first, second, "both")]
    yield from markdown(["method", *heads, "above all controls"], rows)


def metrics_by_network(networks: dict[str, Seen]) -> Iterator[str]:
    """Which metric prefers the maps that point at the truth, network by network."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for name, one in networks.items():
        if one.believable.empty:
            continue
        part = one.believable[(one.believable["truth_metric"] == BASE) & one.believable["model"].isin(one.cues)]
        for row in part.to_dict("records"):
            if row["within"] == row["within"]:
                found.setdefault((str(row["metric"]), name), {})[str(row["model"])] = float(row["within"])
    names = [name for name in networks if any(network == name for _, network in found)]
    lowest = {
        metric: min((min(found[metric, n].values()) for n in names if found.get((metric, n))), default=float("nan"))
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
    verdict = f"{', '.join(reach)} reach{'es' * (len(reach) == 1)}" if reach else "No metric reaches"
    yield (
        f"Rank correlation with {BASE} over the explanations of a recording: mean over the cues that a network learned,"
        " then the lowest of them."
        f" {verdict} {GOAL} on every cue and network."
    )
    yield ""
    yield from markdown(["metric", *names, "lowest of all"], rows)


def hybrids_by_network(networks: dict[str, Seen]) -> Iterator[str]:
    """Metrics together: made on one network's cues and tried on another network."""
    found = []
    for name, one in networks.items():
        if one.scores.empty:
            continue
        part = one.scores[one.scores["model"].isin(one.cues)]
        if part["model"].nunique() > 1:
            found.append(part.assign(model=name + ": " + part["model"].astype(str)))
    if len(found) < 2:
        return
    both = pd.concat(found, ignore_index=True)
    recipes = [r for r in dict.fromkeys(both["recipe"]) if r in CONTROLS or "(" not in r]
    table = hybrid_table(both, recipes, kin=lambda model: model.partition(": ")[0])
    if table.empty:
        return
    rows, names = [], list(dict.fromkeys(table["hybrid"]))
    cells = {(r["model"], r["hybrid"]): r for r in table.to_dict("records")}
    made_of: dict[str, str] = {}
    for model in dict.fromkeys(table["model"]):
        network, _, group = str(model).partition(": ")
        row = [cells[model, name] for name in names]
        made_of.setdefault(network, "; ".join(f"{r['hybrid']} {r['made_of']}" for r in row))
        rows.append([network, plain(group), *(_cell(r["within"], r["low"], r["high"]) for r in row)])
    lowest = table.groupby("hybrid", sort=False)["within"].min()
    yield (
        "Hybrids of metrics, made on all cues of the other networks and tried on this one. Lowest: "
        + ", ".join(f"{name} {value:.2f}" for name, value in lowest.items())
        + f"; {'one reaches' if (lowest >= GOAL).any() else 'none reaches'} {GOAL}."
    )
    yield ""
    yield from (f"- Tried on {network}: {words}." for network, words in made_of.items())
    yield ""
    yield from markdown(["tried on", "material, cue", *names], rows)


def marks_bystander(networks: dict[str, Seen]) -> Iterator[str]:
    """False positives on a sound that tells no class."""
    tables = {name: bystander_table(one.bystanders) for name, one in networks.items() if len(one.bystanders)}
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
        part = table[table["recipe"].isin(singles(recipes))]
        marking = sorted(set(part[part["low"] > 0.5]["recipe"]))
        yield (
            f"- **{name}**: false positives in {part['false_positives'].mean():.0%} of maps (half by chance); with an"
            f" interval above one half: {', '.join(marking) or 'no method'}."
        )
    yield ""
    yield "AUC of the evidence as a detector of the bystander, and share of recordings above one half:"
    yield ""
    yield from markdown(["explanation", *(f"{name}: {plain(model)}" for name, model in columns)], rows)


def shows_shortcut(networks: dict[str, Seen]) -> Iterator[str]:
    """Would the maps have told of a condition of the recording that goes with the class?"""
    rows = []
    for name, one in networks.items():
        for group in one.groups:
            if not of_shortcut(group):
                continue
            for sign in ("added", "removed"):
                if (group, sign) not in one.said[1]:
                    continue
                methods = one.methods(group)
                telling = [m for m in methods if (group, sign, m, "random_map") in one.said[0]]
                best = [m for m in methods if all((group, sign, m, c) in one.said[0] for c in CONTROLS)]
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
    columns: dict[tuple[str, str], dict[float, str]] = {}
    for name, one in networks.items():
        for group in one.groups:
            if of_shortcut(group) or (group, BASE) not in one.boards:
                continue
            material, cue, _ = group.removesuffix(AS_CONTRAST).split("/")
            columns.setdefault((name, f"{material}, {cue.replace('_', ' ')}"), {})[severity_of(group)] = group
    columns = {key: by_severity for key, by_severity in columns.items() if len(by_severity) > 1}
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
                over = means.get(recipe, float("nan")) - means["random_map"]
                said.append("–" if over != over else f"{over:+.2f}")
            cells.append(" / ".join(said))
        rows.append([recipe, *cells])
    heads = []
    for (name, what), by_severity in columns.items():
        steps = [
            f"{severity:g}{AS_CONTRAST if group.endswith(AS_CONTRAST) else ''}"
            for severity, group in sorted(by_severity.items())
        ]
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
    shared = [group for group in one.cues if group in other.cues]
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
    tables = {}
    for name, one in networks.items():
        if one.scores.empty:
            continue
        own = [g for g in one.groups if severity_of(g) == 1 and g.startswith(f"{material}/")]
        scores = one.scores[one.scores["model"].isin(own)]
        marks = one.bystanders[one.bystanders["model"].isin(own)] if len(one.bystanders) else one.bystanders
        said = one.statements[one.statements["model"].isin(own)]
        if scores.empty or said.empty:
            continue
        table = grade_table(pd.concat([scores, marks], ignore_index=True), said, one.sanity)
        tables[name] = {str(r["recipe"]): r for r in table.to_dict("records")}
    tables = {n: table for n, table in tables.items() if any(r["grade"] != UNGRADED for r in table.values())}
    if not tables:
        return
    rows = []
    for recipe in dict.fromkeys(recipe for table in tables.values() for recipe in table):
        cells = []
        for table in tables.values():
            r = table.get(recipe)
            failures = "" if r is None or not r["failures"] else f": {r['failures']}"
            cells.append(
                "not applicable" if r is None else f"{r['grade']} ({r['above_all']} of {r['n_truths']}){failures}"
            )
        rows.append([recipe, *cells])
    yield f"**{material}**: grade, truths on which it is above all controls, failures seen."
    yield ""
    yield from markdown(["method", *tables], rows)


def costs(networks: dict[str, Seen]) -> Iterator[str]:
    """What a task took."""
    rows = []
    for name, one in networks.items():
        for folder in one.folders:
            basis = folder.environment.get("basis", {})
            seconds = folder.table("tasks")["seconds"].dropna()
            explained = folder.table("tasks")["n_explained"].to_numpy()
            sanity = folder.settings.n_sanity
            rows.append(
                [
                    name,
                    folder.path.name,
                    "GPU, shared" if basis.get("device") == "cuda" else "one core, shared",
                    f"{int((explained > 0).sum())} of {len(explained)}",
                    str(sanity),
                    f"{seconds.median():.0f}",
                    f"{seconds.sum() / 3600:.2f}",
                ]
            )
    header = [
        "network",
        "run",
        "on",
        "tasks explained",
        "recordings checked for sanity",
        "median of a task, s",
        "all, h",
    ]
    yield from markdown(header, rows)


def chapter(folders: Sequence[BenchmarkFolder]) -> Iterator[str]:
    """Everything, under headings of the third level."""
    networks = seen(folders)
    materials = dict.fromkeys(m for folder in folders for m in folder.settings.materials)
    rest = [name for name in networks if name != CNN]
    yield from ("### Who learned what", "", *learned(networks))
    yield from ("### Is the order of methods the same?", "", *orders(networks))
    if CNN in networks:
        yield from ("### What carries over", "")
        for material in materials:
            for name in rest:
                yield from carried(networks, CNN, name, material)
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
    yield from ("### What a task costs", "", *costs(networks))


def main() -> None:
    """Print the chapter of some runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of benchmarks")
    parser.add_argument("--out", type=Path, help="a file instead of the screen")
    given = parser.parse_args()
    folders = []
    for path in given.runs:
        folder = BenchmarkFolder(path)
        if not (path / "statements.csv").is_file():
            print(f"{path}: tables", file=sys.stderr)
            folder.finish()
        folders.append(folder)
    text = "\n".join(["## What carries over from one network to another", "", *chapter(folders)])
    if given.out is None:
        print(text)
    else:
        given.out.write_text(f"{text}\n", "utf-8")


if __name__ == "__main__":
    main()
