"""`speechxai predict`: what the classifier says of recordings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speechxai.commands.console import flag, say, table, warn, work_on

if TYPE_CHECKING:
    from speechxai.inspection.inspect import Heard
    from speechxai.signal.quality import Check

EPILOG = """
Examples:

\b
  speechxai predict voice.wav --model figshare-cnn
  speechxai predict recordings/*.wav --format csv > predictions.csv

A recording unlike those that the model was made for gets no class, and the reason is said (scope "outside"); of a model
that does not say what it was made for the class stands beside the word "unknown".

A file that cannot be predicted, whatever the reason, is named on standard error, and the others go on.

Exit status: 0 all files predicted, 1 some failed, 2 none predicted or wrong input.

A research tool, not a medical device: the answer is a number from a model, not a finding.
"""


def predict(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(help="Audio files: wav, flac, ogg, mp3.")],
    model: Annotated[str, flag("model")] = "figshare-cnn",
    allow_code: Annotated[bool, flag("allow_code")] = False,
    format: Annotated[str, typer.Option("--format", "-f", help="text, csv or json.")] = "text",
    device: Annotated[str, flag("device")] = "auto",
    channel: Annotated[int | None, flag("channel")] = None,
    max_duration_s: Annotated[float, flag("max_duration_s")] = 600.0,
    imports: Annotated[list[str] | None, flag("imports")] = None,
    out: Annotated[Path | None, flag("out", also="A file; standard output without it.")] = None,
    overwrite: Annotated[bool, flag("overwrite")] = False,
) -> None:
    """Predict recordings: class probabilities, or a score, and which of the model's folds answered."""
    from speechxai.errors import SpeechXAIError, did_you_mean, encodable, traced

    if format not in ("text", "csv", "json"):
        raise SpeechXAIError(did_you_mean(format, ["text", "csv", "json"], "format"))
    from speechxai.classifiers.bundle import load_bundle
    from speechxai.doctor import cannot_be_right
    from speechxai.files import check_out, naming_folder, write_atomically
    from speechxai.inspection import inspect, report
    from speechxai.signal.quality import concerns

    if out is not None:
        check_out(out, "file", overwrite)

    bundle = load_bundle(model, allow_code)
    answers: dict[str, list[float]] = {}  # of one sound one
    rows: list[dict[str, Any]] = []
    said: list[str] = []
    failures = 0
    for path in files:
        try:
            with work_on(path):
                recording, original = inspect.read_for(bundle, path, channel=channel, max_duration_s=max_duration_s)
                heard = inspect.hear(bundle, recording, device=device, steadiness=False)
                checks = inspect.recording_checks(original, bundle)
        except SpeechXAIError as error:
            failures += 1
            if (context.obj or {}).get("debug"):
                warn(traced(error))
            warn(f"Error: {error}")
            continue
        if heard.fold is None:
            answers[heard.digest] = heard.probability.tolist()
        said += [f"{path}: {check.name}: {check}." for check in concerns(checks)]
        if not heard.scope.named:
            said.append(f"{path}: no {'score' if heard.unit else 'class'}. {heard.scope.reason}")
        rows.append(
            {
                "file": encodable(path),
                **_answer(heard),
                "scope": heard.scope.state,
                "duration_s": round(heard.recording.duration_s, 2),
                "fold": "final" if heard.fold is None else heard.fold,
                "check": _check(checks),
                "scope_reason": heard.scope.reason,
                **({"made": report.provenance(heard, channel=channel)} if format == "json" else {}),
            }
        )
    text = _written(rows, format)
    if out is None:
        say(text) if text else None
    elif rows:
        with naming_folder(out.parent, "write"):
            out.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(out, f"{text}\n".encode())
        say(str(out))
    for line in said if format == "text" else ():
        warn(line)
    folds = dict.fromkeys(None if row["fold"] == "final" else row["fold"] for row in rows)
    for concern in dict.fromkeys(concern for fold in folds for concern in bundle.concerns(fold)):
        warn(concern)
    doubt = cannot_be_right(bundle, [*answers.values()]) if answers else ""
    if doubt:
        warn(doubt)
    if any(row["fold"] != "final" for row in rows):
        warn("A fold number: the recording was in the training data; the model that never heard its speaker answered.")
    if any(row["scope"] == "unknown" for row in rows):
        warn("Scope unknown: this model does not say which recordings it was made for.")
    if rows and format == "text":
        warn("Not a medical device.")
    if failures:
        raise typer.Exit(1 if rows else 2)


def _answer(heard: Heard) -> dict[str, Any]:
    """What the model says, by column; None where the recording is not one that it was made for."""
    values = dict(zip(heard.class_names, (round(float(p), 4) for p in heard.probability), strict=True))
    if heard.unit:
        return {name: value if heard.scope.named else None for name, value in values.items()} | {"unit": heard.unit}
    answer = heard.class_names[heard.predicted] if heard.scope.named else None
    return {"predicted": answer} | {f"p_{name}": p if heard.scope.named else None for name, p in values.items()}


def _check(checks: Sequence[Check]) -> str:
    from speechxai.signal.quality import concerns, usable

    words = ", ".join(check.word for check in concerns(checks)) or "fine"
    return words if usable(checks) else f"not usable: {words}"


def _written(rows: list[dict[str, Any]], format: str) -> str:
    import json

    if format == "json":
        return json.dumps(rows, indent=1, ensure_ascii=False)
    if not rows:
        return ""
    if format == "csv":
        from speechxai.files import csv_text

        return csv_text([list(rows[0]), *(["" if v is None else v for v in row.values()] for row in rows)]).rstrip("\n")
    shown = [name for name in rows[0] if name != "scope_reason"]  # said below, in a sentence
    cells = [[_cell(name, row[name]) for name in shown] for row in rows]
    return table(shown, cells, right=[1, 4] if "unit" in shown else range(2, len(shown)))


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "no class" if name == "predicted" else "" if name.startswith("p_") else "none"
    return str(value)
