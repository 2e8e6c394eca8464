"""`speechxai explain`: why the classifier says so, to see and to hear."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from speechxai.commands.console import flag, say, table, warn, work_on

EPILOG = """
Examples:

\b
  speechxai explain voice.wav --recipe saliency --out voice-explained
  speechxai explain voice.wav -r integrated_gradients -r "union(saliency, smoothgrad)" --out voice-explained
  speechxai explain voice.wav --textgrids aligned --out voice-explained

Writes for each recipe a report of one page (.html), a picture (.png), the sound of the strongest 20 % of the evidence
alone (.kept.wav) and of the rest (.removed.wav), both brought to the original's level, the same by the soft mask
(.soft-kept.wav, .soft-removed.wav), evidence regions for Praat (.TextGrid), and for all of them maps.npz and
explanation.json; with --textgrids also units.csv: the evidence in stops, vowels, words, pauses, and in each of them,
and units_removed.csv: what the answer loses without each class of phones.

Exit status: 0 explained, 1 no recipe applies to this network, 2 the file cannot be explained or wrong input.
"""


def explain(
    file: Annotated[Path, typer.Argument(help="Audio file: wav, flac, ogg, mp3.")],
    out: Annotated[Path, flag("out", also="A folder for the report, pictures, sounds and maps.")],
    recipes: Annotated[list[str] | None, flag("recipes", also="Without it integrated_gradients.")] = None,
    model: Annotated[str, flag("model")] = "figshare-cnn",
    allow_code: Annotated[bool, flag("allow_code")] = False,
    target: Annotated[str, typer.Option(help="Class to explain; auto is the predicted one.")] = "auto",
    evidence: Annotated[str, flag("evidence")] = "auto",
    seed: Annotated[int, flag("seed")] = 0,
    device: Annotated[str, flag("device")] = "auto",
    channel: Annotated[int | None, flag("channel")] = None,
    max_duration_s: Annotated[float, flag("max_duration_s")] = 600.0,
    textgrids: Annotated[str | None, flag("textgrids")] = None,
    removal: Annotated[
        bool, typer.Option(help="With --textgrids: ask about the answer without each class of phones, ten passes each.")
    ] = True,
    imports: Annotated[list[str] | None, flag("imports")] = None,
    overwrite: Annotated[bool, flag("overwrite", also="Another explanation.")] = False,
) -> None:
    """Explain one recording: the evidence over its spectrogram, the sound with and without it, and the numbers."""
    from typing import Any, cast

    from speechxai.classifiers.bundle import load_bundle
    from speechxai.errors import SpeechXAIError, did_you_mean
    from speechxai.evaluation.config import resolve_recipes
    from speechxai.explain.agreement import STRONGEST
    from speechxai.files import check_out
    from speechxai.inspection import inspect, report, words
    from speechxai.inspection.voice import voice_measures
    from speechxai.signal.quality import usable
    from speechxai.units.tiers import units_of

    if evidence not in ("auto", "positive", "absolute"):
        raise SpeechXAIError(did_you_mean(evidence, ["auto", "positive", "absolute"], "evidence"))
    check_out(out)
    chosen = resolve_recipes(tuple(recipes or ["integrated_gradients"]), controls=False)
    bundle = load_bundle(model, allow_code)
    how = inspect.How(target, cast(Any, evidence), seed)
    with work_on(file):
        recording, original = inspect.read_for(bundle, file, channel=channel, max_duration_s=max_duration_s)
        units = None if textgrids is None else units_of(textgrids, recording, file)
        heard = inspect.hear(bundle, recording, device=device)
        if units is not None:
            heard = inspect.with_units(heard, units.spans)
        made = report.provenance(
            heard,
            recipes=list(chosen),
            target=target,
            evidence=evidence,
            seed=seed,
            channel=channel,
            device=heard.spec.magnitude.device.type,
            **({} if units is None else {"units": units.sha256 or units.source}),
        )
        report.check_folder(out, made, overwrite)
        checks = inspect.recording_checks(original, bundle)
        if not heard.scope.named and target == "auto":
            answer = "score" if heard.unit else "class"
            raise SpeechXAIError(
                f"{file}: no {answer}, and so nothing to explain. {heard.scope.reason} To see what speaks for"
                f" a {answer} all the same, name it: --target {heard.class_names[-1]}."
            )
        found, not_applicable = inspect.inspect_all(heard, chosen, checks, how)
        removed = report.without_units(heard, units, how) if units is not None and found and removal else []
        content = report.write_explanation(
            out,
            heard,
            found,
            not_applicable,
            made,
            report.Beside(measures=voice_measures(original), units=units, removed=removed),
        )

    who = "" if heard.fold is None else f" (by fold {heard.fold}, which never heard this speaker)"
    if heard.scope.named:
        if heard.unit:
            said_class = f"{heard.class_names[0]} {heard.probability[0]:.3f} {heard.unit}{who}"
        else:
            probabilities = ", ".join(f"{name} {p:.3f}" for name, p in content["probability"].items())
            said_class = f"predicted {content['predicted']}{who}: {probabilities}"
        unknown = " (scope unknown)" if heard.scope.state == "unknown" else ""
        say(f"{file}: {heard.recording.duration_s:.2f} s, {said_class}{unknown}")
    else:
        say(
            f"{file}: {heard.recording.duration_s:.2f} s, no {'score' if heard.unit else 'class'}. {heard.scope.reason}"
        )
    for text in heard.chances():
        say(text)
    said = [f"{check.name}: {check}" for check in checks if check.state != "good"]
    say(f"Recording check: {'; '.join(said) or 'fine'}.")
    if not usable(checks):
        warn("Warning: this recording is not usable, so the answer means nothing.")
    of = ("score", heard.unit, "kept", "removed") if heard.unit else ("class", "p", "p of kept", "p of removed")
    header = ("recipe", *of, "soft mask: kept", "removed", "verdict")
    rows = []
    for name, one in found.items():
        m = one.map
        shares = (f"{p:.3f}" for p in (m.p, m.p_kept, m.p_removed, m.soft_kept, m.soft_removed))
        rows.append((name, heard.class_names[m.target], *shares, one.verdict.label))
    if rows:
        say(table(header, rows, right=(2, 3, 4, 5, 6)))
        say(
            f"Kept and removed: the strongest {words.percent(STRONGEST)} of the places, the same number for every map."
            " The soft mask is the published figure; its mass differs from map to map."
        )
    for name, one in found.items():
        entry = content["explanations"][name]
        say(f"\n{name}: map {entry['map_shape'][0]} x {entry['map_shape'][1]} ({entry['map_duration_s']:.2f} s)")
        for sentence in one.sentences:
            say(f"  {'! ' if sentence.kind == 'caution' else ''}{sentence.text}")
        gains = ", ".join(f"{half} {gain_db:+.0f} dB" for half, gain_db in entry["gain_db"].items() if "_" not in half)
        say(
            f"  kept + removed = original: yes, within {entry['kept_plus_removed_error']:.1e} of the magnitude (at most"
            f" {report.TOLERANCE:g} is allowed); brought to the original's level: {gains}."
        )
        if units is not None and one.map.mask.any():
            say(f"  Evidence by unit, {units.source}; {report.UNIT_WORDS}:")
            say(table(report.UNIT_HEADER, report.unit_rows(one, units), right=range(1, len(report.UNIT_HEADER))))
    for pair in content["agreement"]:
        say(
            f"agreement of {pair['first']} and {pair['second']}: {_share(pair['overlap'])} of the strongest places in"
            f" common, {words.percent(STRONGEST)} by chance; rank correlation {_number(pair['rank_correlation'])}"
        )
    if removed:
        say("\nWithout each class of phones, the noise floor in its place: how much the explained logit falls.")
        say(table(report.REMOVAL_HEADER, report.removal_rows(removed), right=range(1, len(report.REMOVAL_HEADER))))
    if units is not None and units.note:
        warn(units.note)
    for name, reason in not_applicable.items():
        warn(f"Not applicable: {name}: {reason}")
    for name, one in found.items():
        if not one.map.mask.any():
            warn(f"Warning: the map of {name} holds no evidence for {one.class_name}.")
    say(f"Written to {out}")
    warn("Not a medical device.")
    if not rows:
        raise typer.Exit(1)


def _share(value: float | None) -> str:
    return "none known" if value is None else f"{100 * value:.0f} %"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
