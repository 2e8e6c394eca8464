"""Finished runs beside each other: one model over several data sets, several models over one, a run and its
reproduction; and a run as a folder that can be given away."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from speechxai.errors import SpeechXAIError
from speechxai.evaluation.config import FORMAT
from speechxai.evaluation.paper import data_name, metric_names, model_name, rows_of, who
from speechxai.evaluation.runs import RunFolder, hash_of, unlike
from speechxai.families import PUBLISHED_METRICS
from speechxai.files import csv_table, naming_folder, parquet, sealed, to_toml, without_paths, write_atomically
from speechxai.report.render import (
    HEADLINE,
    NONE,
    Cell,
    Row,
    Table,
    column_name,
    digits,
    estimates,
    grouped,
    listing,
    metrics_of,
    number,
    short_name,
    span,
)
from speechxai.stats import FEWEST_SPEAKERS

TOLERANCE = 1e-3
"""Largest difference of a score that two machines may show and still count as the same."""


def found_below(place: Path) -> list[RunFolder]:
    """Run folders at a place and up to two folders below it, by path; what is no run is left out."""
    found = []
    for depth in ("", "*/", "*/*/"):
        for path in sorted(place.glob(f"{depth}config.toml")):
            if (path.parent / "units").is_dir():
                try:
                    found.append(RunFolder.open(path.parent))
                except SpeechXAIError:
                    continue
    return found


def names_of(folders: Sequence[RunFolder]) -> list[str]:
    """A short name for each run: of its data where the model is the same, of its model where the data are, else of its
    folder."""
    data = [data_name(folder) for folder in folders]
    models = [model_name(folder) for folder in folders]
    for names, others in ((data, models), (models, data)):
        if len(set(names)) == len(names) and len(set(others)) == 1:
            return names
    paths = [folder.path.name for folder in folders]
    return paths if len(set(paths)) == len(paths) else [str(folder.path) for folder in folders]


def side_by_side(folders: Sequence[RunFolder], columns: Sequence[str] = (), recipes: Sequence[str] = ()) -> list[Table]:
    """Tables that show runs beside each other: what each is, then for every metric recipes x runs with intervals.

    Args:
        folders: two runs or more, finished.
        columns: metrics; by default those at equal budgets and the paper's that every run has.
        recipes: rows, as `paper.recipe_names` takes them; all of them without.

    Raises:
        SpeechXAIError: fewer than two runs, a run without tables, or runs without a metric in common.
    """
    if len(folders) < 2:
        raise SpeechXAIError("Two runs or more can be compared: name their folders.")
    names = names_of(folders)
    with ExitStack() as stack:
        for folder in folders:
            stack.enter_context(folder.known())
        summaries = [rows_of(folder.table("summary"), recipes) for folder in folders]
        common = [m for m in metrics_of(summaries[0]) if all(m in metrics_of(each) for each in summaries)]
        wanted = metric_names(summaries[0], columns) if columns else [m for m in _usual() if m in common] or common[:6]
        lost = [m for m in wanted if m not in common]
        if lost or not wanted:
            raise SpeechXAIError(f"These runs have no metric {', '.join(lost) or 'at all'} in common.")
        return [_what(folders, names), *(_of_metric(metric, names, summaries) for metric in wanted)]


def _usual() -> tuple[str, ...]:
    return (*HEADLINE, *PUBLISHED_METRICS)


def _what(folders: Sequence[RunFolder], names: Sequence[str]) -> Table:
    rows, few, strange = [], [], 0
    for name, folder in zip(names, folders, strict=True):
        predictions = folder.table("predictions")
        known = predictions.dropna(subset=["label", "predicted"]) if "predicted" in predictions else predictions[:0]
        right = int((known["label"].astype(int) == known["predicted"].astype(int)).sum())
        states = predictions["scope"].dropna().tolist() if "scope" in predictions else []
        counts = (
            f"{right} of {len(known)}" if len(known) else NONE,
            f"{states.count('inside')} of {len(states)}" if set(states) - {"unknown"} else NONE,
        )
        cells = (model_name(folder), data_name(folder), who(folder), *counts)
        rows.append(Row(name, tuple(Cell(text) for text in cells)))
        strange += states.count("outside")
        if predictions["speaker"].nunique() < FEWEST_SPEAKERS:
            few.append(name)
    notes = []
    if strange:
        notes.append(
            f"{strange} of these recordings are unlike those that their model was made for: asked about one of them"
            " alone it names no class. They are scored all the same, and report.html of their run says why."
        )
    if few:
        notes.append(
            f"Means of {listing(few)} have no interval: they are of fewer than {FEWEST_SPEAKERS} speakers. Shares have"
            " exact ones."
        )
    columns = ("run", "model", "data", "recordings", "right", "inside scope")
    return Table("What was run", columns, tuple(rows), " ".join(notes))


def _of_metric(metric: str, names: Sequence[str], summaries: Sequence[pd.DataFrame]) -> Table:
    values = [estimates(summary, [metric]) for summary in summaries]
    recipes = list(dict.fromkeys(recipe for each in values for recipe in each))
    largest = max((abs(e[metric].mean) for each in values for e in each.values() if metric in e), default=math.inf)
    n = digits(metric, largest)

    def cell(each: Mapping[str, Any], recipe: str) -> Cell:
        found = each.get(recipe, {}).get(metric)
        if found is None:
            return Cell(NONE)
        return Cell(number(found.mean, n), span(found.low, found.high, n), "best" if found.best else "")

    rows = [
        Row(recipe, tuple(cell(each, recipe) for each in values), heading)
        for heading, members in grouped(recipes).items()
        for recipe in members
    ]
    title = f"{column_name(metric)}: mean over the speakers of each run and 95 % interval"
    return Table(title, (short_name(metric), *names), tuple(rows))


# A run and its reproduction


@dataclass(frozen=True)
class Difference:
    """What of a table is not as it was.

    Args:
        table: its name.
        n: numbers compared.
        n_other: numbers that differ by more than the tolerance, or are in one of the two alone.
        largest: largest difference.
        where: of the largest.
    """

    table: str
    n: int
    n_other: int
    largest: float
    where: str

    def words(self) -> str:
        """Say it in a sentence."""
        if not self.n_other:
            return f"{self.table}: all {self.n:,} numbers agree, the largest difference is {self.largest:.2g}."
        return (
            f"{self.table}: {self.n_other:,} of {self.n:,} numbers differ, most ({self.largest:.2g}) at {self.where}."
        )


KEYS = {"scores": ("recording", "recipe", "metric"), "summary": ("recipe", "metric"), "predictions": ("recording",)}
"""Tables that are compared, with what tells their rows apart."""


def compared(then: RunFolder, now: RunFolder, tolerance: float = TOLERANCE) -> list[Difference]:
    """Compare the tables of two runs number by number.

    Args:
        then: a run, or the folder that one was exported to.
        now: the other.
        tolerance: differences up to here are none.

    Raises:
        SpeechXAIError: a table that is missing.
    """
    return [_difference(name, keys, then.table(name), now.table(name), tolerance) for name, keys in KEYS.items()]


def _difference(name: str, keys: Sequence[str], then: pd.DataFrame, now: pd.DataFrame, tolerance: float) -> Difference:
    shown = {
        "scores": ["value"],
        "summary": ["mean", "low", "high"],
        "predictions": [c for c in then.columns if str(c).startswith("p_") and c in now],
    }[name]
    texts = dict.fromkeys(keys, str)
    old, new = (each.astype(texts).set_index(list(keys))[shown].astype(float) for each in (then, now))
    old, new = old.align(new, join="outer", axis="index")
    apart = (old - new).abs()
    one_alone = old.isna() != new.isna()
    n_other = int(((apart > tolerance) | one_alone).to_numpy().sum())
    most = apart.max(axis="columns")  # of each row
    largest = float(most.max()) if most.notna().any() else 0.0
    at: Any = most.idxmax() if most.notna().any() else ""
    if one_alone.to_numpy().any() and not largest > tolerance:
        at = one_alone.any(axis="columns").idxmax()
    where = " / ".join(map(str, at if isinstance(at, tuple) else (at,)))
    return Difference(name, int(old.notna().to_numpy().sum()), n_other, largest, where)


def reasons(then: RunFolder, now: RunFolder) -> Iterator[str]:
    """Why a reproduction may differ, the likeliest first: settings or weights, versions of libraries, the machine."""
    before, after = then.environment, now.environment
    if before.get("basis") and after.get("basis") and before["basis"] != after["basis"]:
        yield f"It was computed {unlike(before['basis'], after['basis'])}."
    libraries = [each.get("libraries", {}) for each in (before, after)]
    for name in dict.fromkeys((*libraries[0], *libraries[1])):
        one, other = (each.get(name, "not there") for each in libraries)
        if one != other:
            yield f"{name} {one} then, {other} now."
    for key in ("device", "precision", "float32_products", "masked_batch", "system", "python", "n_cores"):
        if before.get(key) != after.get(key):
            yield f"{key.replace('_', ' ')} {before.get(key)} then, {after.get(key)} now."


# A run to give away

README = """# A run of speechxai, to share

Settings (`config.toml`), versions and the machine (`environment.json`), and tables, with a hash of each file in
`SHA256SUMS`. No audio, no maps, no pictures, no paths of files; speakers and recordings have the names of the data set:
where those tell who somebody is, replace them before this folder is given away.

    speechxai reproduce THIS_FOLDER --root FOLDER_OF_THE_RECORDINGS --out again

computes it again from the recordings, compares every number, and says what differs and why.
"""

OWN = ("root", "labels", "out", "cluster")
"""Settings that say where something lies or runs, and change no number."""
PRIVATE = ("path", "root", "sha256")
"""Columns of tables that say where a file lies."""


def export(folder: RunFolder, out: Path) -> list[str]:
    """Write a run into a folder that can be given away: settings, versions, hashes, tables; no audio and no paths.

    Returns:
        Names of the files.

    Raises:
        SpeechXAIError: a table is missing or damaged, or the folder cannot be written.
    """
    config = without_paths({key: value for key, value in folder.config.items() if key not in OWN})
    frames: dict[str, pd.DataFrame] = {"recordings.parquet": folder.manifest}
    for name in ("scores", "summary", "agreement", "predictions"):
        frames[f"{name}.{'parquet' if name in ('scores', 'predictions') else 'csv'}"] = folder.table(name)
    failures = folder.table("failures")
    frames["failures.csv"] = failures.drop(columns=["message"], errors="ignore")  # messages name files
    files: dict[str, bytes] = {"config.toml": to_toml({"format": FORMAT, **config}).encode()}
    for name, frame in frames.items():
        clean = frame.copy()
        for column in PRIVATE:
            if column in clean and name.endswith("parquet"):
                clean[column] = "not shared"
        files[name] = csv_table(clean) if name.endswith(".csv") else parquet(clean)
    environment = {k: v for k, v in folder.environment.items() if k not in ("sessions", "unmatched")}
    environment["tables"] = {name: hash_of(content) for name, content in files.items() if name in frames}
    files["environment.json"] = sealed(environment, "environment")
    files["README.md"] = README.encode()
    files["SHA256SUMS"] = "".join(f"{hash_of(content)}  {name}\n" for name, content in files.items()).encode()
    with naming_folder(out, "write"):
        (out / "units").mkdir(parents=True, exist_ok=True)
        write_atomically(out / "units" / ".keep", b"")
        for name, content in files.items():
            write_atomically(out / name, content)
    return list(files)
