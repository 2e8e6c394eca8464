"""Can the numbers of an evaluation be right, and would this place give them again?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechxai.classifiers.bundle import load_bundle
from speechxai.classifiers.fit import CONSTANT
from speechxai.doctor.values import FITS, LEFT, LIKELY, SEEN, Diagnosis, Suspicion, ranked
from speechxai.errors import SpeechXAIError
from speechxai.evaluation.machine import versions
from speechxai.evaluation.runs import RunFolder
from speechxai.explain.recipe import CONTROLS
from speechxai.metrics import METRICS
from speechxai.registry import Registry

RUN: Registry[Callable[[Any], tuple[float, str] | None]] = Registry("suspect", required=("stage", "fix"))
"""Functions `name(case: RunCase) -> (strength, evidence)` or None; stages: "folder", "model", "answers", "scores",
"place"."""


@dataclass(frozen=True, eq=False)
class RunCase:
    """A run as the doctor reads it.

    Args:
        n_recordings, n_done: planned, and with scores.
        failures: recording and message of those that failed.
        damaged: what cannot be read, in words.
        model: name, and sha256 of the weights then.
        model_now: sha256 of that model's weights now; "" where it is not there.
        libraries, libraries_now: versions.
        probabilities: of the answers, a row a recording.
        predicted, labels: classes by recording; a label is None where it is not known.
        scores: values by metric, and bounds by metric.
    """

    n_recordings: int = 0
    n_done: int = 0
    failures: tuple[tuple[str, str], ...] = ()
    damaged: str = ""
    model: tuple[str, str] = ("", "")
    model_now: str = ""
    libraries: Mapping[str, str] | None = None
    libraries_now: Mapping[str, str] | None = None
    probabilities: tuple[float, ...] = ()
    predicted: tuple[Any, ...] = ()
    labels: tuple[Any, ...] = ()
    scores: Mapping[str, tuple[float, ...]] | None = None
    bounds: Mapping[str, tuple[float, float]] | None = None


@RUN.register(stage="folder", fix="Write its tables again: speechxai evaluate --resume RUN.")
def damaged_tables(case: RunCase) -> tuple[float, str] | None:
    """Tables are missing or not as they were written."""
    return (SEEN, case.damaged) if case.damaged else None


@RUN.register(stage="folder", fix="Read what the first failure says; --resume tries them again.")
def failing_recordings(case: RunCase) -> tuple[float, str] | None:
    """Recordings have no scores."""
    if not case.failures:
        return None
    first = case.failures[0]
    share = len(case.failures) / max(1, case.n_recordings)
    strength = FITS + 0.15 if share > 0.1 else LIKELY
    return strength, f"{len(case.failures)} of {case.n_recordings} recordings failed; the first, {first[0]}: {first[1]}"


@RUN.register(stage="folder", fix="Let it go on: speechxai evaluate --resume RUN.")
def unfinished(case: RunCase) -> tuple[float, str] | None:
    """Recordings wait for their scores."""
    open_ = case.n_recordings - case.n_done - len(case.failures)
    return (LIKELY - 0.1, f"{open_} of {case.n_recordings} recordings are not done") if open_ > 0 else None


@RUN.register(stage="model", fix="Evaluate anew with the model of today, or restore the one of then.")
def other_model(case: RunCase) -> tuple[float, str] | None:
    """The model of that name is another now."""
    name, then = case.model
    if case.model_now and then and case.model_now != then:
        return FITS + 0.1, f"The weights of {name} were {then[:12]} and are {case.model_now[:12]} now"
    return None


@RUN.register(stage="answers", fix="Examine the model: speechxai doctor MODEL.")
def impossible_answers(case: RunCase) -> tuple[float, str] | None:
    """Probabilities are none, or the same for everybody."""
    wrong = [p for p in case.probabilities if not (math.isfinite(p) and 0 <= p <= 1)]
    if wrong:
        return SEEN, f"{len(wrong)} of {len(case.probabilities)} probabilities are none, such as {wrong[0]}"
    if len(case.probabilities) >= 3 and max(case.probabilities) - min(case.probabilities) < CONSTANT:
        return SEEN, f"All {len(case.probabilities)} recordings got the probability {case.probabilities[0]:.4f}"
    return None


@RUN.register(stage="answers", fix="See whether the model was made for these recordings: its card says what for.")
def one_answer(case: RunCase) -> tuple[float, str] | None:
    """Everybody gets the same class, though labels differ."""
    known = {label for label in case.labels if label is not None}
    if len(case.predicted) >= 8 and len(set(case.predicted)) == 1 and len(known) > 1:
        return LIKELY, f"All {len(case.predicted)} recordings are called {case.predicted[0]}, and labels are of both"
    return None


@RUN.register(stage="answers", fix="Compare the order of the model's classes with the labels of the data.")
def turned_answers(case: RunCase) -> tuple[float, str] | None:
    """Answers are wrong more often than by chance."""
    pairs = [(p, y) for p, y in zip(case.predicted, case.labels, strict=False) if y is not None]
    wrong = sum(p != y for p, y in pairs)
    # 99 % of coins fall below this.
    if len(pairs) >= 10 and wrong > len(pairs) / 2 + 1.165 * math.sqrt(len(pairs)):
        return FITS, f"{wrong} of {len(pairs)} answers are wrong, more than by chance"
    return None


@RUN.register(stage="scores", fix="Compute the run again; if it stays, the metric breaks a bound of its own.")
def impossible_scores(case: RunCase) -> tuple[float, str] | None:
    """Scores lie outside of what a metric can be."""
    for metric, values in (case.scores or {}).items():
        low, high = (case.bounds or {}).get(metric, (-math.inf, math.inf))
        wrong = [v for v in values if math.isinf(v) or v < low - 1e-6 or v > high + 1e-6]
        if wrong:
            return SEEN, f"{len(wrong)} values of {metric} lie outside of {low:g} to {high:g}, such as {wrong[0]:g}"
    return None


@RUN.register(stage="scores", fix="Read in the metric's description where it is undefined.")
def undefined_scores(case: RunCase) -> tuple[float, str] | None:
    """Most scores of a metric are undefined."""
    for metric, values in (case.scores or {}).items():
        n = sum(math.isnan(v) for v in values)
        if values and n > 0.5 * len(values):
            return LEFT, f"{n} of {len(values)} values of {metric} are undefined"
    return None


@RUN.register(stage="place", fix="Install the versions of then, or evaluate anew here: numbers of both do not mix.")
def other_libraries(case: RunCase) -> tuple[float, str] | None:
    """Libraries have other versions here."""
    then, now = case.libraries or {}, case.libraries_now or {}
    other = [
        f"{name} {version} then, {now.get(name, 'none')} here"
        for name, version in then.items()
        if now.get(name) != version
    ]
    return (LIKELY - 0.05, "; ".join(other[:4])) if other else None


def is_run(folder: Path) -> bool:
    """Whether a folder is one of an evaluation."""
    return (folder / "recordings.parquet").is_file() and (folder / "config.toml").is_file()


def read_case(path: Path) -> RunCase:
    """Read a run. Raises SpeechXAIError for a folder that is none."""
    folder = RunFolder.open(path)
    environment, status = folder.environment, folder.status()
    name = str(folder.config.get("model", ""))
    now, damaged = "", ""
    try:
        now = load_bundle(name).config.weights.sha256 if name and ":" not in name else ""
    except SpeechXAIError:
        now = ""  # it is somewhere else, or gone: the run keeps what it needs
    if status.n_done == status.n_units and not folder.is_finished():
        damaged = "Tables are missing, or are not as they were written"
    units = list(folder.units())
    classes = list(environment["model"]["classes"])
    column = f"p_{classes[-1]}"
    scores: dict[str, list[float]] = {}
    for unit in units:
        for recipe, row in unit.values.items():
            if recipe not in CONTROLS:
                for metric, value in row.items():
                    scores.setdefault(metric, []).append(float(value))
    bounds = {m: METRICS.facts(m)["bounds"] for m in scores if m in METRICS and METRICS.facts(m).get("bounds")}
    compared = [] if environment.get("unscored") else units
    return RunCase(
        n_recordings=status.n_units,
        n_done=status.n_done,
        failures=tuple((each["recording"], each["message"]) for each in folder.failed()),
        damaged=damaged,
        model=(name, str(environment["model"]["sha256"])),
        model_now=now,
        libraries=environment.get("basis", {}).get("versions"),
        libraries_now=versions(("torchaudio", "transformers", "quantus")),
        probabilities=tuple(float(unit.facts[column]) for unit in units if column in unit.facts),
        predicted=tuple(_class_of(unit.facts.get("predicted"), classes) for unit in compared),
        labels=tuple(_class_of(unit.facts.get("label"), classes) for unit in compared),
        scores={metric: tuple(values) for metric, values in scores.items()},
        bounds={m: (_end(b[0], -math.inf), _end(b[1], math.inf)) for m, b in bounds.items()},
    )


def _class_of(value: Any, classes: list[str]) -> Any:
    """A class by its name, whether it is stated by name or number; None where it is not known."""
    if value is None or value != value:
        return None
    return classes[int(value)] if isinstance(value, int | float) and 0 <= int(value) < len(classes) else value


def _end(value: Any, otherwise: float) -> float:
    return float(value) if isinstance(value, int | float) else otherwise


def diagnose_run(case: RunCase, target: str = "run") -> Diagnosis:
    """Ask every suspect, and sort what is found."""
    found = []
    for name in RUN:
        answer = RUN[name](case)
        if answer is not None:
            found.append(Suspicion(name, answer[0], f"{answer[1]}.".replace("..", "."), RUN.facts(name)["fix"]))
    n = sum(map(len, (case.scores or {}).values()))
    note = f"{case.n_done} of {case.n_recordings} recordings and their {n} scores"
    return Diagnosis(target, "run", ranked(found, RUN), len(RUN), (f"{note} looked at.",))


def examine_run(folder: str | Path) -> Diagnosis:
    """Diagnose the run in `folder`. Raises SpeechXAIError for a folder that is none."""
    return diagnose_run(read_case(Path(folder)), str(folder))
