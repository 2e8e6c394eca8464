"""The tables of a run, rebuilt from its finished units: the same units give the same bytes, however often the run stopped."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from speechxai.io.files import naming_folder, read_json, to_json, write_atomically, write_parquet
from speechxai.io.locks import wait_for
from speechxai.io.runs import RunFolder
from speechxai.stats import fold_summary, summarize

if TYPE_CHECKING:
    from collections.abc import Iterable

    from speechxai.pipeline import UnitResult

AGREEMENT_COLUMNS = ("first", "second", "iou", "rank_correlation", "n")


def finish(folder: RunFolder) -> None:
    """Write scores (parquet, CSV), summary, agreement, failures and recordings from the units that are done.

    Processes that share a folder take turns from reading to writing: tables of fewer units never replace those of more.

    Raises:
        SpeechXAIError: the folder cannot be written.
    """
    with naming_folder(folder.path, "write"), wait_for(folder.path / ".tables.lock"):
        scores = folder.scores()
        units = [replace(unit, values={}) for unit in folder.units()]
        write_parquet(folder.path / "scores.parquet", scores)
        _write_csv(folder, "scores", scores)
        _write_csv(folder, "summary", summary(scores))
        _write_csv(folder, "agreement", agreement(units))
        _write_csv(folder, "failures", folder.failures())
        write_parquet(folder.path / "predictions.parquet", predictions(folder, units))
        _write_environment(folder, units)


def _write_csv(folder: RunFolder, name: str, frame: pd.DataFrame) -> None:
    write_atomically(folder.path / f"{name}.csv", frame.to_csv(index=False, lineterminator="\n").encode())


def predictions(folder: RunFolder, units: Iterable[UnitResult]) -> pd.DataFrame:
    """The manifest with what the classifier said of every scored recording and what that cost."""
    facts = pd.DataFrame([{"recording": unit.recording, **unit.facts} for unit in units])
    manifest = folder.manifest
    if facts.empty:
        return manifest
    new = [name for name in facts.columns if name not in manifest.columns]
    return manifest.merge(facts[["recording", *new]], on="recording", how="left", validate="one_to_one")


def summary(scores: pd.DataFrame) -> pd.DataFrame:
    """Recipe x metric with intervals and differences to the controls; `fold_mean`, `fold_std`, `n_folds` as papers print them."""
    table = summarize(scores)
    if scores.empty:
        return table
    folds = fold_summary(scores).rename(columns={"mean": "fold_mean", "std": "fold_std"})
    return table.merge(folds, on=["model", "recipe", "metric"], how="left", validate="one_to_one")


def agreement(units: Iterable[UnitResult]) -> pd.DataFrame:
    """Mean agreement of every pair of methods over recordings; undefined values (constant maps) are left out."""
    rows = [
        {"first": pair.split(" | ")[0], "second": pair.split(" | ")[1], **values}
        for unit in units
        for pair, values in unit.agreement.items()
    ]
    if not rows:
        return pd.DataFrame(columns=list(AGREEMENT_COLUMNS))
    grouped = pd.DataFrame(rows).groupby(["first", "second"], sort=False)
    return grouped.mean().assign(n=grouped.size()).reset_index()[list(AGREEMENT_COLUMNS)]


def cost(units: Iterable[UnitResult]) -> dict[str, Any]:
    """What a recording cost, medians over recordings: seconds, passes, and seconds as a multiple of one forward pass."""
    frame = pd.DataFrame([unit.facts for unit in units])
    if frame.empty:
        return {}
    seconds = frame[["spectrogram_s", "forward_pass_s", "explain_s", "score_s", "agreement_s"]].sum(axis=1)
    return {
        "seconds_per_recording": float(seconds.median()),
        "seconds_per_forward_pass": float(frame["forward_pass_s"].median()),
        "forward_passes_of_time": float((seconds / frame["forward_pass_s"]).median()),
        "n_forward": float(frame["n_forward"].median()),
        "n_backward": float(frame["n_backward"].median()),
    }


def _write_environment(folder: RunFolder, units: list[UnitResult]) -> None:
    environment = folder.environment
    sessions = [read_json(path) for path in sorted((folder.path / "sessions").glob("*.json"))]
    environment["sessions"] = sorted((s for s in sessions if s), key=lambda s: str(s.get("started")))
    environment["cost"] = cost(units)
    write_atomically(folder.path / "environment.json", to_json(environment))
