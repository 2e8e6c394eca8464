"""The report of a run: one file that opens anywhere, asks no server for anything, and prints."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechxai import __version__
from speechxai import report_sections as sections
from speechxai.classifiers.precision import PRECISION_NOTES
from speechxai.io.files import naming_folder, read_json, write_atomically
from speechxai.metrics import EQUAL_BUDGET_METRICS, METRICS, PUBLISHED_METRICS
from speechxai.report_tables import HEADLINE, metrics_of, short_name
from speechxai.report_tables import tables as tables
from speechxai.report_words import findings

if TYPE_CHECKING:
    import pandas as pd

    from speechxai.io.runs import RunFolder

N_FAILURES = 50
"""Failures listed in the report; the CSV has all."""


def write_html(folder: RunFolder, out: Path | None = None) -> Path:
    """Write the report of a run whose tables are written.

    Args:
        folder: the run.
        out: the file; by default `report.html` in the run folder.

    Returns:
        The file's path.

    Raises:
        SpeechXAIError: a table is missing, or the file cannot be written.
    """
    import jinja2

    source = resources.files("speechxai").joinpath("templates", "report.html.j2").read_text("utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    text = environment.from_string(source).render(context(folder))
    path = out or folder.path / "report.html"
    with naming_folder(path.parent, "write the report"):
        write_atomically(path, text.encode())
    return path


def context(folder: RunFolder) -> dict[str, Any]:
    """Everything the report's template shows."""
    from markupsafe import Markup

    from speechxai.report_auxiliary import section_html as auxiliary_html

    summary, agreement = folder.table("summary"), folder.table("agreement")
    predictions, environment = folder.table("predictions"), folder.environment
    status, model = folder.status(), environment["model"]
    classes = list(model.get("classes", ["HC", "PD"]))
    budgets = [m for m in EQUAL_BUDGET_METRICS if m.endswith(("@5", "@10", "@20"))] or list(EQUAL_BUDGET_METRICS)
    areas = [m for m in ("deletion_auc", "insertion_auc") if m in METRICS]
    extra = [
        m for m in metrics_of(summary) if m not in (*PUBLISHED_METRICS, *EQUAL_BUDGET_METRICS, *areas, "mean_mask")
    ]
    parts = {
        "equal": sections.score_table(summary, ["mean_mask", *budgets, *areas], "Equal budgets: mean over speakers and 95 % interval; the best of a column is marked"),
        "soft": sections.score_table(summary, ["mean_mask", *PUBLISHED_METRICS, *extra], "Soft masks: mean over speakers and 95 % interval; AI, AD, AG in percent"),
        "bars": sections.bars(summary, HEADLINE[0]),
        "differences": sections.difference_table(summary, [*HEADLINE, "faithfulness"]),
        "agreement": sections.agreement_pictures(agreement),
        "examples": _examples(folder),
        "confusion": sections.confusion_table(predictions, classes),
        "confounds": sections.confound_table(predictions, classes),
        "calibration": sections.calibration_picture(predictions, classes),
        "auxiliary": Markup(auxiliary_html(folder.path)),  # noqa: S704 - made by our own escaping template
    }  # fmt: skip
    named = [("short", "In short"), ("run", "What was run"), ("scores", "Scores"), ("controls", "Controls"), ("agreement", "Agreement"),
             ("auxiliary", "What maps know"), ("examples", "Examples"), ("classifier", "Classifier"), ("missing", "Missing"), ("details", "Details")]  # fmt: skip
    shown = [(key, name) for key, name in named if key not in ("agreement", "auxiliary", "examples") or parts[key]]
    return {
        **parts,
        "title": f"{model['name']} on {_data_name(folder)}",
        "version": __version__,
        "synthetic": bool(environment.get("synthetic")),
        "model": {"card": "", **model},
        "config": {"protocol": "standard", **folder.config},
        "n_done": status.n_done, "n_planned": status.n_units, "n_failed": status.n_failed,
        "sections": [(key, name) for key, name in shown if key != "controls" or parts["differences"]],
        "findings": findings(summary, predictions, agreement, classes),
        "facts": _facts(folder, predictions),
        "failures": _failures(folder),
        "undefined": _undefined(summary),
        "glossary": [(_glossary_name(m), METRICS.summary(m)) for m in metrics_of(summary) if m in METRICS],
        "environment": _environment(environment),
        "config_text": (folder.path / "config.toml").read_text("utf-8"),
    }  # fmt: skip


def _glossary_name(metric: str) -> str:
    short = short_name(metric)
    return metric if short == metric else f"{short}, {metric}"


def _data_name(folder: RunFolder) -> str:
    data = str(folder.config["data"])
    return "synthetic voices" if data == "synthetic" else Path(data).name


def _facts(folder: RunFolder, predictions: pd.DataFrame) -> list[tuple[str, str]]:
    config, environment = folder.config, folder.environment
    classes = environment["model"].get("classes", ["HC", "PD"])
    labels = predictions["label"]
    counts = ", ".join(f"{int((labels == index).sum())} {name}" for index, name in enumerate(classes))
    unknown = int(labels.isna().sum())
    found = [
        ("Data", "synthetic voices, made by a program" if environment.get("synthetic") else str(config["data"])),
        ("Recordings", f"{len(predictions)} of {predictions['speaker'].nunique()} speakers: {counts}" + (f", {unknown} without label" if unknown else "")),
        ("Model", f"{environment['model']['name']}: {environment['model'].get('title') or 'no title'}"),
        ("Answered by", _folds(predictions)),
        ("Explanations", f"{len(environment.get('recipes', []))} recipes, {len(environment.get('metrics', []))} metrics"),
        ("Protocol", str(config.get("protocol", "standard"))),
        ("Evidence", {"auto": "positive part of signed maps, magnitude of the others"}.get(str(config.get("evidence")), str(config.get("evidence")))),
        ("Removed bins", f"filled with {config.get('fill', 'silence')}"),
        ("Seed", str(config.get("seed", 0))),
        ("Precision", _precision(str(config.get("precision", "float32")))),
    ]  # fmt: skip
    cost = environment.get("cost") or {}
    if cost:
        found.append(
            (
                "Cost of a recording",
                f"{cost['seconds_per_recording']:.2f} s (median), {cost['forward_passes_of_time']:.0f} times one forward pass; "
                f"{cost['n_forward']:.0f} forward and {cost['n_backward']:.0f} backward passes",
            )
        )
    return found


def _precision(name: str) -> str:
    note = PRECISION_NOTES.get(name)
    return name if note is None else f"{name}: {note}"


def _folds(predictions: pd.DataFrame) -> str:
    if "fold" not in predictions:
        return "the final model"
    folds = predictions["fold"].dropna().astype(str)
    n_held_out = int((folds != "final").sum())
    if not n_held_out:
        return "the final model; none of these speakers is among its training speakers"
    rest = len(folds) - n_held_out
    text = f"fold models that never heard the speaker, for {n_held_out} recordings of the training data"
    return text + (f"; the final model for {rest}" if rest else "")


def _failures(folder: RunFolder) -> dict[str, Any] | None:
    table = folder.table("failures")
    if table.empty:
        return None
    lost = table[table["kind"] != "not_applicable"]
    rows = [[str(r["recording"]), str(r["stage"]), str(r["message"])] for r in lost.head(N_FAILURES).to_dict("records")]
    refused = table[table["kind"] == "not_applicable"]
    counts = refused.groupby(["recipe", "message"], sort=False, as_index=False).agg(n=("recording", "size"))
    rows += [
        [str(r["recipe"]), f"not applicable to {r['n']} recordings", str(r["message"])]
        for r in counts.to_dict("records")
    ]
    more = f"; {len(lost) - N_FAILURES} more in failures.csv" if len(lost) > N_FAILURES else ""
    return {
        "caption": f"Recordings and explanations without scores{more}",
        "columns": ["what", "where", "why"],
        "rows": rows,
        "text": True,
    }


def _undefined(summary: pd.DataFrame) -> dict[str, Any] | None:
    part = summary[summary["n_nan"] > 0]
    if part.empty:
        return None
    rows = [
        [str(r["recipe"]), str(r["metric"]), int(r["n_nan"]), int(r["n_nan"] + r["n"])] for r in part.to_dict("records")
    ]
    return {
        "caption": "Undefined values, left out of the means",
        "columns": ["explanation", "metric", "undefined", "of"],
        "rows": rows,
    }


def _environment(environment: dict[str, Any]) -> list[tuple[str, str]]:
    names = (
        "started",
        "python",
        "system",
        "n_cores",
        "n_threads",
        "device",
        "precision",
        "deterministic",
        "float32_products",
    )
    found = [(name, str(environment[name])) for name in names if name in environment]
    found += [(name, str(version)) for name, version in environment.get("libraries", {}).items()]
    for index, session in enumerate(environment.get("sessions", []), start=1):
        found.append(
            (
                f"session {index}",
                f"{session['wall_s']:.1f} s ({session['cpu_s']:.1f} s of processor time), peak memory {session['peak_memory_mb']:.0f} MB",
            )
        )
    found.append(("weights sha256", str(environment.get("model", {}).get("sha256", ""))))
    return found


def _examples(folder: RunFolder) -> list[dict[str, str]]:
    index = read_json(folder.path / "pictures" / "index.json") or {}
    found = []
    for example in index.get("examples", []):
        path = folder.path / "pictures" / str(example["file"])
        if not path.is_file():
            continue
        maps = ", ".join(example["recipes"])
        found.append(
            {
                "uri": sections.data_uri(path.read_bytes()),
                "alt": f"Spectrogram of {example['recording']} ({example['duration_s']:.1f} s), alone and with the evidence of {maps}.",
                "caption": f"{example['recording']}, {example['duration_s']:.1f} s: {example['why']}.",
            }
        )
    return found
