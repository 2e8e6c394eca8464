"""`speechxai whatif`: what would the model say if the voice were less breathy, and everything else stayed?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from speechxai.commands.console import flag, say, table, warn, work_on

EPILOG = """
Examples:

\b
  speechxai whatif voice.wav --model figshare-cnn --out what-if
  speechxai whatif voice.wav --signs breathiness --signs tremor --task vowel-a --sex F --out what-if
  speechxai whatif voice.wav --signs signs --no-floors --out quick
  speechxai whatif voice.wav --signs vowel_space --units vowel --textgrids aligned --out vowels-alone

Each dial changes one sign of the voice, in the unit of its own measure, and the model is asked again: at one and two
standard deviations of people in both directions. Recording dials (noise, codec, room) change what must not matter, by
registered steps. Three floors stand beside each effect: two random changes of the same kind and size, and the step
followed by the step back. An effect below its floor says nothing.

Writes whatif.csv (every dose), effects.csv (one line a dial), whatif.json, curves.png, and the edited sounds at one
step (.wav), to listen to: what sounds wrong is no answer about the voice.

Exit status: 0 answered, 1 no dial applies, 2 the file cannot be used or wrong input.

A research tool, not a medical device: what the model would say is no statement about the person.
"""


def whatif(
    file: Annotated[Path, typer.Argument(help="Audio file: wav, flac, ogg, mp3.")],
    out: Annotated[Path, flag("out", also="A folder for tables, curves and edited sounds.")],
    signs: Annotated[list[str] | None, flag("signs", also="Without it all.")] = None,
    model: Annotated[str, flag("model")] = "figshare-cnn",
    allow_code: Annotated[bool, flag("allow_code")] = False,
    task: Annotated[str, typer.Option(help="What is spoken, such as vowel-a, ddk, reading; auto listens.")] = "auto",
    sex: Annotated[str, typer.Option(help="F or M, for the standard deviation of people; any is both.")] = "any",
    target: Annotated[str, typer.Option(help="Class whose probability is followed; auto is the last.")] = "auto",
    units: Annotated[list[str] | None, flag("units")] = None,
    textgrids: Annotated[str | None, flag("textgrids")] = None,
    floors: Annotated[bool, typer.Option(help="Ask about random changes and round trips as well.")] = True,
    seed: Annotated[int, flag("seed")] = 0,
    device: Annotated[str, flag("device")] = "auto",
    channel: Annotated[int | None, flag("channel")] = None,
    max_duration_s: Annotated[float, flag("max_duration_s")] = 600.0,
    imports: Annotated[list[str] | None, flag("imports")] = None,
    overwrite: Annotated[bool, flag("overwrite", also="Another what-if.")] = False,
) -> None:
    """Turn one sign of a voice at a time and ask the model again: curves, effects, the sounds themselves."""
    from dataclasses import replace

    from speechxai.classifiers.bundle import load_bundle
    from speechxai.errors import SpeechXAIError, did_you_mean
    from speechxai.files import WHATIF, check_out
    from speechxai.inspection import inspect, report, words
    from speechxai.signal.quality import usable
    from speechxai.signs.whatif import resolve, what_if
    from speechxai.signs.words import counted
    from speechxai.units.relevance import check_classes, spans_of
    from speechxai.units.tiers import units_of

    names = resolve(signs or ["all"])
    if sex not in ("F", "M", "any"):
        raise SpeechXAIError(did_you_mean(sex, ["F", "M", "any"], "sex"))
    if textgrids is not None and not units:
        raise SpeechXAIError("--textgrids says where units lie: name them with --units, such as --units vowel.")
    check_classes(units or [])
    check_out(out)
    if (out / WHATIF).exists() and not overwrite:
        raise SpeechXAIError(
            f"{out}: there is a what-if already. Choose another place with --out, or replace it with --overwrite."
        )
    bundle = load_bundle(model, allow_code)
    with work_on(file):
        recording, original = inspect.read_for(bundle, file, channel=channel, max_duration_s=max_duration_s)
        heard = inspect.hear(bundle, recording, device=device, steadiness=False)
        checks = inspect.recording_checks(original, bundle)
        facts = {**recording.metadata, **({} if sex == "any" else {"sex": sex})}
        asked = replace(recording, task=recording.task if task == "auto" else task, metadata=facts)
        grid = units_of(textgrids or "own", asked, file) if units else None
        audio = bundle.config.audio
        found = what_if(
            heard.model,
            asked,
            names,
            target=inspect.How(target).target_of(heard.class_names),
            normalize=audio.normalize,
            offset=audio.offset,
            floors=floors,
            seed=seed,
            within=None if grid is None else spans_of(grid, units or []),
        )
        made = report.provenance(
            heard,
            signs=list(names),
            task=task,
            sex=sex,
            target=target,
            floors=floors,
            seed=seed,
            channel=channel,
            device=heard.spec.magnitude.device.type,
            **({} if grid is None else {"units": list(units or []), "textgrids": grid.sha256 or grid.source}),
        )
        said = _write(out, found, made, words.class_words, bundle.config.stft.sample_rate)

    name = words.class_words(heard.class_names[found.target])
    if heard.scope.named:
        unit = f" {found.unit}" if found.unit else ""
        say(f"{file}: {recording.duration_s:.2f} s, heard as {found.kind}, {name} {found.probability:.3f}{unit}")
    else:
        say(f"{file}: {recording.duration_s:.2f} s, no {'score' if found.unit else 'class'}. {heard.scope.reason}")
    if units:
        say(f"Changed in these units alone: {', '.join(units)}. Doses are those of the whole voice.")
    if not usable(checks):
        warn("Warning: this recording is not usable, so the answer means nothing.")
    if found.curves:
        header = [found.unit if name == "logit" and found.unit else name for name in _HEADER]
        say(table(header, [_row(curve) for curve in found.curves], right=(3, 4, 5, 6)))
    for sentence in said:
        say(sentence)
    for dial, reason in found.not_applicable.items():
        warn(f"Not applicable: {dial}: {reason}")
    curves, of_floors = (counted(n, "recording") for n in found.n_passes)
    say(f"The model was asked about {curves} for curves and {of_floors} for floors.")
    say(f"Written to {out}")
    warn("Not a medical device.")
    if not found.curves:
        raise typer.Exit(1)


_HEADER = ("dial", "of the", "step", "logit", "floor", "beats it", "turns at")


def _row(curve: Any) -> tuple[str, ...]:
    from speechxai.signs.words import dose_words

    where = "voice" if curve.family == "sign" else "recording"
    floor = "" if curve.floor != curve.floor else f"{curve.floor:.2f}"
    beats = "" if not floor else "yes" if curve.beats_placebo else "no"
    turns = "" if curve.turns is None else dose_words(curve, curve.turns.dose)
    step = dose_words(curve, curve.at) if curve.at == curve.at else "none"
    return curve.name, where, step, f"{curve.effect:+.2f}", floor, beats, turns


def _write(out: Path, found: Any, made: dict[str, Any], class_words: Any, rate: int) -> list[str]:
    """Write tables, curves and sounds into the folder; returns the sentences."""
    import math

    import numpy as np
    import torch

    from speechxai.files import WHATIF, csv_text, naming_folder, to_json, write_atomically
    from speechxai.report.plots import FILE_FORMATS, dose_curves
    from speechxai.signal.audio import write
    from speechxai.signs.words import panel, sentences

    said = sentences(found, class_words)
    says = ["score"] if found.unit else ["margin", "probability"]
    rows: list[list[Any]] = [
        ["dial", "family", "unit", "dose", "steps", *says, "within_people", "distance_db", "reason"]
    ]
    effects: list[list[Any]] = [
        ["dial", "family", "unit", "step", "effect", "placebo_1", "placebo_2", "round_trip", "beats_placebo", "per_db"]
    ]
    effects[0].append("turns_at")
    for curve in found.curves:
        unit = curve.facts["unit"]
        for p in curve.points:
            numbers = (p.dose, p.steps, p.margin, *([] if found.unit else [p.probability]))
            rows.append(
                [curve.name, curve.family, unit, *map(_cell, numbers), p.within, _cell(p.distance_db), p.reason]
            )
        placebos = [*curve.placebos, math.nan, math.nan][:2]
        numbers = (curve.at, curve.effect, *placebos, curve.round_trip)
        turns = "" if curve.turns is None else _cell(curve.turns.dose)
        effects.append(
            [curve.name, curve.family, unit, *map(_cell, numbers), curve.beats_placebo, _cell(curve.per_db), turns]
        )
    kept: dict[str, str] = {}
    with naming_folder(out, "write"):
        out.mkdir(parents=True, exist_ok=True)
        # One gain for all, so that they can be compared by ear and none clips.
        loudest = max((float(np.abs(x).max()) for x in found.sounds.values()), default=1.0)
        gain = min(1.0, 0.999 / max(loudest, float(found.recording.waveform.abs().max())))
        write(out / "original.wav", gain * found.recording.waveform, rate, subtype="PCM_16")
        for (name, dose), sound in found.sounds.items():
            path = f"{name}{dose:+.3g}.wav"
            write(out / path, torch.from_numpy(gain * sound), rate, subtype="PCM_16")
            kept[f"{name} {dose:+.3g}"] = path
        write_atomically(out / "whatif.csv", csv_text(rows).encode())
        write_atomically(out / "effects.csv", csv_text(effects).encode())
        content = {
            "made": made,
            "task": found.kind,
            "target": found.class_names[found.target],
            **(
                {"score": found.margin, "unit": found.unit}
                if found.unit
                else {
                    "predicted": found.class_names[found.predicted],
                    "margin": found.margin,
                    "probability": found.probability,
                }
            ),
            "n_passes": {"curves": found.n_passes[0], "floors": found.n_passes[1]},
            "sentences": said,
            "alarm": None if found.alarm is None else found.alarm.name,
            "effects": [dict(zip(effects[0], row, strict=True)) for row in effects[1:]],
            "points": [dict(zip(rows[0], row, strict=True)) for row in rows[1:]],
            "not_applicable": dict(found.not_applicable),
            "sounds": kept,
        }
        write_atomically(out / WHATIF, to_json(content))
        if found.curves:
            name = found.class_names[found.target]
            label = f"{name} ({found.unit})" if found.unit else f"P({name})"
            panels = [panel(curve, found.unit) for curve in found.curves]
            drawn = dose_curves(panels, label, is_score=bool(found.unit))
            for file_format in FILE_FORMATS:
                write_atomically(out / f"curves.{file_format}", drawn.in_format(file_format))
    return said


def _cell(value: float) -> Any:
    return "" if value != value else float(f"{value:.6g}")
