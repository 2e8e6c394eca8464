"""What of an inspection goes to disk, the same from command line and app: one page to print, sounds, regions,
numbers."""

from __future__ import annotations

import datetime
import hashlib
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from speechxai import __version__
from speechxai.classifiers.bundle import library_versions
from speechxai.data.textgrid import Interval, write_textgrid
from speechxai.errors import SpeechXAIError
from speechxai.explain.agreement import STRONGEST
from speechxai.files import EXPLANATION, csv_text, naming_folder, read_json, to_json, to_plain, write_atomically
from speechxai.inspection import inspect, notes, voice
from speechxai.inspection.inspect import Explained, Heard, Inspection
from speechxai.inspection.notes import Note
from speechxai.inspection.voice import Measured
from speechxai.inspection.words import NOTICE, USUAL_SHARE, class_words, percent, recipe_words, stability_words
from speechxai.report import plots, render
from speechxai.report.plots import Style
from speechxai.report.sheet import Part, Sheet, as_html, as_pdf, shortened, some_of
from speechxai.signal.audio import write
from speechxai.signal.stft import bin_frequencies_hz, frame_times_s
from speechxai.types import Array
from speechxai.units import relevance
from speechxai.units.relevance import Relevance
from speechxai.units.removal import Removal, removals
from speechxai.units.tiers import UNKNOWN, Units


# Labels for Audacity.
def write_audacity(intervals: Sequence[Interval]) -> str:
    """Write intervals (start, end, label), s, as an Audacity label track."""
    lines = []
    for start, end, label in sorted(intervals):
        plain = re.sub(r"[\t\n]", " ", label)
        lines.append(f"{start:.6f}\t{end:.6f}\t{plain}\n")
    return "".join(lines)


# What of an inspection goes to disk, the same from command line and app: one page to print, sounds, regions, numbers.
TOLERANCE = 1e-4
"""How far kept + removed may be from the original, in the explained magnitude."""


# Sounds, regions and numbers.
def sounds(heard: Heard, map_: Explained) -> dict[str, tuple[Array, float]]:
    """Kept and removed by the strongest bins, as they are played: samples (N,) at the original's level, and the gain
    that brought them there, dB."""
    halves = zip(("kept", "removed"), inspect.halves(heard, map_.strongest), strict=True)
    return {half: inspect.matched(sound, heard.waveform) for half, sound in halves}


def soft_sounds(heard: Heard, map_: Explained) -> dict[str, tuple[Array, float]]:
    """The same by the soft mask."""
    halves = zip(("kept", "removed"), inspect.soft_halves(heard, map_.mask), strict=True)
    return {half: inspect.matched(sound, heard.waveform) for half, sound in halves}


def labeled_regions(found: Inspection) -> list[tuple[float, float, str]]:
    """Evidence regions as labeled intervals, s."""
    return [(start, end, f"evidence {i}") for i, (start, end) in enumerate(found.regions, 1)]


def textgrid(found: Inspection) -> str:
    """Evidence regions for Praat."""
    return write_textgrid(labeled_regions(found), len(found.heard.waveform) / found.heard.sample_rate_hz)


def audacity(found: Inspection) -> str:
    """Evidence regions for Audacity."""
    return write_audacity(labeled_regions(found))


def budgets(map_: Explained, what: str = "probability") -> dict[str, Any]:
    """What the model says of both halves, at the equal budget and by the soft mask: a "probability", or a "score"."""
    return {
        f"{what}_original": map_.p,
        f"{what}_kept": map_.p_kept,
        f"{what}_removed": map_.p_removed,
        "budget": STRONGEST,
        "share_of_bins": map_.share,
        "soft_mask": {
            "mean": map_.mean_mask,
            f"{what}_kept": map_.soft_kept,
            f"{what}_removed": map_.soft_removed,
        },
    }


def says(heard: Heard) -> dict[str, Any]:
    """What the model says of a recording, for JSON: probabilities by class, or a score with its unit."""
    values = dict(zip(heard.class_names, heard.probability.tolist(), strict=True))
    return {"score": values, "unit": heard.unit} if heard.unit else {"probability": values}


def numbers(found: Inspection) -> dict[str, Any]:
    """Everything that is said of one map, for JSON."""
    verdict, what = found.verdict, "score" if found.heard.unit else "probability"
    return {
        "recipe": found.map.recipe,
        "explained": found.heard.class_names[found.map.target],
        **budgets(found.map, what),
        "verdict": {
            "key": verdict.key,
            "label": verdict.label,
            "margin_fall": verdict.fall,
            "copies_below": verdict.n_below,
            "margin_fall_of_copies": list(verdict.copies),
            "copies_below_in_time": verdict.n_below_in_time,
            "margin_fall_of_copies_in_time": list(verdict.in_time),
            "margin_fall_of_energy_map": verdict.energy,
            "margin_fall_of_edge_map": verdict.edges,
        },
        "controls": {name: budgets(map_, what) for name, map_ in found.controls.items()},
        "overlap": {
            name: _defined(inspect.overlap(found.map.mask, other.mask)) for name, other in found.others.items()
        },
        "sentences": [{"kind": s.kind, "key": s.key, "text": s.text} for s in found.sentences],
        "regions_s": [list(region) for region in found.regions],
    }


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value


def slug(recipe: str) -> str:
    """Write a recipe as a file name.

    >>> slug("union(saliency, integrated_gradients)")
    'union-saliency-integrated_gradients'
    """
    text = re.sub(r"[^A-Za-z0-9_]+", "-", recipe).strip("-")
    return text if len(text) <= 120 else f"{text[:100]}-{hashlib.sha256(recipe.encode()).hexdigest()[:8]}"


def file_name(text: str) -> str:
    """A name without anything that a file system refuses; its ending stays."""
    stem, dot, ending = text.rpartition(".")
    plain = unicodedata.normalize("NFKD", stem if dot else text).encode("ascii", "ignore").decode()
    safe = re.sub(r"[^A-Za-z0-9_.-]+", "_", plain).strip("._")[:80] or "recording"
    return f"{safe}{dot}{ending}"


# The case report: one sheet of A4, with the picture, the words, the numbers and what the model cannot do.
def caveats(card: str) -> list[str]:
    """Lines of a model card under headings that speak of caveats, limits, bias or intended use; "" lines left out."""
    found: list[str] = []
    inside = False
    for line in card.splitlines():
        if line.startswith("#"):
            inside = bool(re.search(r"caveat|limit|bias|not for|not use|intended|warning", line, re.IGNORECASE))
        elif inside and line.strip() and not line.startswith("|"):
            text = re.sub(r"[*_`]|\[([^\]]*)\]\([^)]*\)", lambda m: m.group(1) or "", line.strip())
            if text.startswith(("- ", "* ")) or not found:
                found.append(text.lstrip("-* "))
            else:
                found[-1] += f" {text}"
    return found


BUDGET_HEADER = (
    "map",
    "whole",
    f"kept: strongest {percent(STRONGEST)} alone",
    "removed: all but them",
    "soft mask: kept",
    "soft mask: removed",
)
"""Columns of the table of both budgets, everywhere."""


def budget_rows(found: Inspection) -> list[tuple[str, ...]]:
    """Rows of that table: the map, then the controls."""
    maps = [found.map, *(map_ for name, map_ in found.controls.items() if name != found.map.recipe)]
    shown = found.heard.shown
    return [
        (
            recipe_words(m.recipe),
            *(f"{shown(p, m.target):.3f}" for p in (m.p, m.p_kept, m.p_removed, m.soft_kept, m.soft_removed)),
        )
        for m in maps
    ]


UNIT_HEADER = ("unit", "number", "s", "evidence", "time", "energy", "over time", "over energy")
"""Columns of the table of evidence by unit, everywhere."""

UNIT_WORDS = "shares; over time, over energy: above 1 is more than duration or loudness gives"
"""What that table shows."""

MOST_UNITS = 10
"""Words on the sheet where there are no phones."""


def by_unit(found: Inspection, units: Units) -> list[Relevance]:
    """Evidence of one map by unit, beside the energy of the spectrogram that was explained."""
    energy = found.heard.spec.magnitude[0].cpu().numpy()
    return relevance.relevance(units, found.map.mask, energy, found.heard.frame_rate_hz)


def unit_rows(found: Inspection, units: Units) -> list[tuple[str, ...]]:
    """Rows of that table: classes of phones and heights of vowels, or else the words that hold most beyond time and
    energy."""
    rows = by_unit(found, units)
    heights = [row for row in rows if row.level == "vowel height"]
    shown: list[Relevance] = []
    for row in rows:
        if row.level == "class":
            shown += [row, *(heights if row.name == relevance.VOWEL else ())]
    if not shown:
        words = [row for row in rows if row.level == "word"]
        shown = sorted(words, key=lambda row: -row.over_floors if row.over_floors == row.over_floors else math.inf)
    return [
        (
            "unknown symbols" if row.name == UNKNOWN else shortened(row.name, 40),
            str(row.n),
            f"{row.seconds:.2f}",
            *(render.number(value, 2) for value in (row.share, row.share_of_time, row.share_of_energy)),
            *(render.number(value, 2) for value in (row.over_time, row.over_energy)),
        )
        for row in shown[: None if units.phones else MOST_UNITS]
    ]


REMOVAL_HEADER = ("without", "s", "fall", "moved elsewhere", "placebos below")


def without_units(heard: Heard, units: Units, how: inspect.How) -> list[Removal]:
    """What the answer loses without each class of phones; nothing where there are no phones."""
    target = how.target_of(heard.class_names)
    index = heard.predicted if target is None else target
    return removals(heard.model, heard.spec, index, units, how.seed) if units.phones else []


def removal_rows(removed: Sequence[Removal]) -> list[tuple[str, ...]]:
    """Rows of REMOVAL_HEADER."""
    return [
        (
            "unknown symbols" if one.name == UNKNOWN else one.name,
            f"{one.seconds:.2f}",
            render.signed(one.fall, 2),
            f"{render.signed(min(one.moved), 2)} to {render.signed(max(one.moved), 2)}",
            f"{one.n_below} of {len(one.moved)}",
        )
        for one in removed
    ]


def removed_csv(removed: Sequence[Removal]) -> bytes:
    """The same as a file."""
    header = ("name", "seconds", "logit_fall", "moved_lowest", "moved_highest", "n_moved_below", "n_moved")
    rows = [(r.name, r.seconds, r.fall, min(r.moved), max(r.moved), r.n_below, len(r.moved)) for r in removed]
    return csv_text([header, *rows]).encode()


def units_csv(found: Mapping[str, Inspection], units: Units) -> bytes:
    """Evidence of every map by unit as a file: classes, symbols, words, and every single phone and word."""
    return csv_text(relevance.table({recipe: by_unit(one, units) for recipe, one in found.items()})).encode()


@dataclass(frozen=True)
class Beside:
    """What stands beside a map in its report.

    Args:
        share: of the ill among the people that the reader sees.
        measures: of the voice.
        region_s: the marked stretch that they are of as well.
        what_if: sentences of what-ifs.
        notes: of the reader.
        label: of the recording, "" where there is none.
        person: who speaks, as the reader calls them; "" where it is not said.
        recorded: the day of the recording, as 2026-01-31; "" where it is not said.
        units: phones and words of the recording; None where they are not known.
        removed: what the answer loses without each class of phones.
    """

    share: float = USUAL_SHARE
    measures: Sequence[Measured] = ()
    region_s: tuple[float, float] | None = None
    what_if: Sequence[str] = ()
    notes: Sequence[Note] = ()
    label: str = ""
    person: str = ""
    recorded: str = ""
    units: Units | None = None
    removed: Sequence[Removal] = ()


MOST_STRETCHES, MOST_MEASURES, MOST_WHAT_IFS, MOST_NOTES, MOST_LIMITS = 24, 20, 5, 8, 4
"""How many of each stand on the sheet; where there are more, it says so."""

LONGEST_LINE = 240
"""Characters of a note or a caveat on the sheet."""


def case_sheet(found: Inspection, title: str, beside: Beside | None = None) -> Sheet:
    """What stands on the one sheet of a case.

    Args:
        found: the case.
        title: name of the recording.
        beside: what else stands in it.
    """
    beside = beside or Beside()
    heard, map_, bundle = found.heard, found.map, found.heard.bundle
    now = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
    model = bundle.config.title or bundle.name
    who = [part for part in (beside.person, beside.recorded and f"recorded {beside.recorded}") if part]
    about = [*who, f"labeled {beside.label}"] if beside.label else who
    subtitle = [
        *about,
        f"Case report, {now}",
        f"model {model}",
        f"explained by {recipe_words(map_.recipe)}",
        f"{heard.recording.duration_s:.2f} s",
    ]
    answer = [
        _said(heard),
        *_stable(heard),
        " ".join(heard.chances(beside.share)),
        f"The map of the evidence for {found.class_name}: {found.verdict.label}.",
    ]
    cautions = [s.text for s in found.sentences if s.kind == "caution"]
    said = [s.text for s in found.sentences if s.kind not in ("caution", "verdict")]
    stretches = some_of([f"{a:.2f} to {b:.2f}" for a, b in found.regions], MOST_STRETCHES, "stretches")
    noted = [f"{n.title} ({n.place})" + (f": {n.said}" if n.said else "") for n in notes.told(beside.notes)]
    limits = caveats(bundle.card) or ["The model card names none."]
    checked = "; ".join(
        f"{c.name.lower()} {c.word}" if c.state == "good" else f"{c.name.lower()}: {c.text}" for c in found.checks
    )

    def few(lines: Sequence[str], most: int, what: str) -> list[str]:
        return some_of([shortened(line, LONGEST_LINE) for line in lines], most, what)

    parts = [
        Part("Before you trust it", cautions),
        Part("What matters", said),
        Part("Where half of the evidence lies, s", [", ".join(stretches)] if stretches else []),
        Part("What if", few(beside.what_if, MOST_WHAT_IFS, "sentences")),
        Part("Notes", few(noted, MOST_NOTES, "notes")),
        _measures(beside),
        Part(f"{heard.scale(map_.target)}, whole and in halves", header=BUDGET_HEADER, rows=budget_rows(found)),
        _units(found, beside),
        Part("The recording", [f"{checked}."] if checked else []),
        Part("What the model cannot do", few(limits, MOST_LIMITS, "limits that its card names")),
    ]
    made = provenance(heard)
    libraries = ", ".join(f"{name} {version}" for name, version in made["libraries"].items())
    return Sheet(
        title=title,
        subtitle=" · ".join(subtitle),
        answer=[line for line in answer if line],
        picture=picture(found, Style(width_in=9.2, height_in=2.6, dpi=160)),
        alt=f"Spectrogram with the evidence for {found.class_name}",
        legend=legend(found),
        parts=[part for part in parts if part.lines or part.rows],
        foot=f"{NOTICE} Made on this computer by {made['program']} ({libraries}); model {bundle.sha256[:12]}; recording"
        f" {made['input_sha256'][:12]}.",
    )


def case_html(found: Inspection, title: str, beside: Beside | None = None) -> bytes:
    """Return the report of one case as a page that prints on one sheet; arguments as of `case_sheet`."""
    return as_html(case_sheet(found, title, beside))


def case_pdf(found: Inspection, title: str, beside: Beside | None = None) -> bytes:
    """Return the report of one case as a PDF of one page; arguments as of `case_sheet`."""
    return as_pdf(case_sheet(found, title, beside))


def picture(found: Inspection, style: Style) -> plots.Picture:
    """Spectrogram with the evidence; in stripes where the map explains nothing."""
    heard, map_ = found.heard, found.map
    magnitude = heard.spec.magnitude[0].cpu().numpy()
    style = replace(style, hatched=found.explains_nothing)
    return plots.evidence_overlay(magnitude, map_.mask, heard.spec.stft, style, map_.against)


def titled_picture(found: Inspection, title: str, file_format: Literal["png", "svg"] = "png") -> bytes:
    """The picture for papers and slides, at twice the screen's size: recording, model, answer, class and legend stand
    in it."""
    heard, map_ = found.heard, found.map
    model = heard.bundle.config.title or heard.bundle.name
    said = f"{heard.scale(map_.target)} {heard.shown(map_.p, map_.target):.2f} · " if heard.scope.named else ""
    lines = (title, f"model {model}", f"{said}{recipe_words(map_.recipe)}: {found.verdict.label}")
    style = Style(
        width_in=10,
        height_in=4.2,
        dpi=200,
        title="\n".join(shortened(line, 120) for line in lines),
        legend=found.class_name,
        file_format=file_format,
    )
    return picture(found, style)


def _measures(beside: Beside) -> Part:
    """The table of voice measures: those that the recording gives."""
    given = [one for one in voice.shown(beside.measures) if one.value == one.value]
    lines = [(one.measure.label, voice.value_words(one.value, one.measure.unit)) for one in given[:MOST_MEASURES]]
    header = ["measure", "recording", "published"]
    rows = [[*line, voice.short_references(one)] for line, one in zip(lines, given, strict=False)]
    where = ""
    if beside.region_s is not None:
        header.insert(2, "marked")
        for row, one in zip(rows, given, strict=False):
            row.insert(2, voice.value_words(one.part, one.measure.unit))
        where = f"; marked: {beside.region_s[0]:.2f} to {beside.region_s[1]:.2f} s"
    many = f" ({MOST_MEASURES} of {len(given)})" if len(given) > MOST_MEASURES else ""
    return Part(f"Voice measures{many}{where}", header=header if rows else (), rows=rows)


def _units(found: Inspection, beside: Beside) -> Part:
    """The table of evidence by unit."""
    if beside.units is None or not found.map.mask.any():
        return Part("Evidence by unit")
    # The sheet has half a page for it: how many units of how many seconds stand in units.csv.
    header, *rows = ((name, *values) for name, _, _, *values in (UNIT_HEADER, *unit_rows(found, beside.units)))
    return Part(f"Evidence by unit ({UNIT_WORDS})", header=header, rows=rows)


def measures_csv(beside: Beside) -> bytes:
    """Voice measures as a file, every one that there is."""
    return csv_text(voice.csv_rows(beside.measures, beside.region_s)).encode()


def legend(found: Inspection) -> str:
    """What the colors of the picture mean."""
    text = f"Orange: evidence for {found.class_name}, stronger where it is fuller"
    text += "" if found.map.against is None else "; blue: evidence against it"
    return f"{text}{'; in stripes, since this map explains nothing' if found.explains_nothing else ''}."


def _said(heard: Heard) -> str:
    """What the model says, or why it says nothing."""
    if heard.scope.state != "inside":
        head = f"No {'score' if heard.unit else 'class'}" if heard.scope.state == "outside" else "Scope unknown"
        return f"{head}. {heard.scope.reason}"
    name = class_words(heard.class_names[heard.predicted])
    scale, p = heard.scale(heard.predicted), heard.shown(float(heard.probability.max()), heard.predicted)
    if heard.unit:
        return f"The model says {name} {p:.2f} {heard.unit}."
    return f"The model says {name}, {scale} {p:.2f}: {heard.bundle.probability_words}."


def _stable(heard: Heard) -> list[str]:
    """Which network answered, and how far its answer moves."""
    if heard.scope.state != "inside":
        return []
    low, high = sorted(heard.shown(end, heard.predicted) for end in heard.range(heard.predicted))
    said = stability_words(heard.fold, len(heard.folds), low, high)
    fold = "" if heard.fold is None else f" (fold {heard.fold + 1})"
    return [f"Answered {said.replace('network that', f'network{fold} that') if fold else said}"]


# Where an answer comes from: with it, the same can be had again.
def provenance(heard: Heard, **settings: Any) -> dict[str, Any]:
    """Say of an answer what it depends on: program, model and its weights, the file that was heard, and settings."""
    bundle = heard.bundle
    return {
        "program": f"speechxai {__version__}",
        "libraries": {name: version for name, version in library_versions().items() if name != "speechxai"},
        "model": bundle.name,
        "weights_sha256": bundle.config.weights.sha256,
        "input_sha256": str(heard.recording.metadata.get("sha256", "unknown")),
        "settings": {"sample_rate_hz": heard.sample_rate_hz, **bundle.config.audio.model_dump(), **settings},
    }


def check_folder(folder: Path, wanted: Mapping[str, Any], overwrite: bool = False) -> None:
    """Check that an explanation can be written into `folder`: new, empty, or of the very same answer. Another answer is
    removed where `overwrite`.

    Args:
        folder: where.
        wanted: `provenance` of the answer.
        overwrite: whether another answer may go.

    Raises:
        SpeechXAIError: another answer, or a folder of anything else.
    """
    path = folder / EXPLANATION
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not path.exists():
        raise SpeechXAIError(
            f"{folder}: holds other files ({min(folder.iterdir()).name}). Choose a new folder with --out."
        )
    there = read_json(path) or {}
    made = there.get("made")
    if isinstance(made, dict) and made == to_plain(wanted):
        return
    if not overwrite:
        what = there.get("recording") if isinstance(made, dict) else None
        raise SpeechXAIError(
            f"{folder}: holds another answer already{f' (of {what})' if what else ''}: another recording, model,"
            " setting or version. Choose another folder with --out, or replace it with --overwrite."
        )
    with naming_folder(folder, "remove the old explanation"):
        for name in (EXPLANATION, "maps.npz", "measures.csv", "units.csv", "units_removed.csv", *_files_of(there)):
            (folder / Path(name).name).unlink(missing_ok=True)


def _files_of(content: Mapping[str, Any]) -> Iterator[str]:
    """Names of the files that an explanation.json names."""
    explanations = content.get("explanations")
    for one in explanations.values() if isinstance(explanations, dict) else ():
        files = one.get("files") if isinstance(one, dict) else None
        yield from (name for name in files.values() if isinstance(name, str)) if isinstance(files, dict) else ()


# Folders: of the command line, and of the app's saved cases.
def write_explanation(
    folder: Path,
    heard: Heard,
    found: Mapping[str, Inspection],
    not_applicable: Mapping[str, str],
    made: Mapping[str, Any] | None = None,
    beside: Beside | None = None,
) -> dict[str, Any]:
    """Write pictures, maps, sounds, regions, reports and `explanation.json` into `folder`; returns the latter's
    content. `made` is the answer's `provenance`.

    Raises:
        SpeechXAIError: the folder cannot be written, or kept + removed is not the original.
    """
    with naming_folder(folder, "write the explanation"):
        folder.mkdir(parents=True, exist_ok=True)
    names, stft = heard.class_names, heard.spec.stft
    checked = next(iter(found.values())).checks if found else ()
    content: dict[str, Any] = {
        "recording": heard.recording.id,
        "duration_s": heard.recording.duration_s,
        "fold": heard.fold,
        "predicted": names[heard.predicted] if heard.scope.named else None,
        "scope": {"state": heard.scope.state, "reason": heard.scope.reason},
        **says(heard),
        "checks": [{"name": c.name, "state": c.state, "text": str(c)} for c in checked],
        "explanations": {recipe: _write_one(folder, one, beside) for recipe, one in found.items()},
        "not_applicable": dict(not_applicable),
        "agreement": _agreement({recipe: one.map for recipe, one in found.items()}),
        "made": dict(made or provenance(heard)),
        "notice": NOTICE,
    }
    maps = {slug(recipe): one.map.values for recipe, one in found.items()}
    axes = {
        "times_s": frame_times_s(stft, heard.n_frames).numpy(),
        "frequencies_hz": bin_frequencies_hz(stft).numpy(),
        "magnitude": heard.spec.magnitude[0].cpu().numpy(),
    }
    with naming_folder(folder, "write the explanation"):
        np.savez_compressed(folder / "maps.npz", **{**maps, **axes})  # type: ignore[arg-type]
        if beside is not None and beside.measures:
            write_atomically(folder / "measures.csv", measures_csv(beside))
        if beside is not None and beside.units is not None and found:
            write_atomically(folder / "units.csv", units_csv(found, beside.units))
        if beside is not None and beside.removed:
            write_atomically(folder / "units_removed.csv", removed_csv(beside.removed))
        write_atomically(folder / EXPLANATION, to_json(content))
    return content


def _write_one(folder: Path, found: Inspection, beside: Beside | None) -> dict[str, Any]:
    heard, map_, stft = found.heard, found.map, found.heard.spec.stft
    error = inspect.split_error(heard, map_.mask)
    if not error <= TOLERANCE:
        raise SpeechXAIError(
            f"{heard.recording.id}: kept + removed of '{map_.recipe}' differs from the original by {error:.2g}, more"
            f" than {TOLERANCE:g}."
        )
    name = slug(map_.recipe)
    files = {"picture": f"{name}.png", "map": name, "report": f"{name}.html", "regions": f"{name}.TextGrid"}
    files |= {kind: f"{name}.{kind}" for kind in plots.VECTORS}
    gains = {}
    for prefix, halves in (("", sounds(heard, map_)), ("soft_", soft_sounds(heard, map_))):
        for half, (sound, gain_db) in halves.items():
            files[f"{prefix}{half}"] = f"{name}.{prefix.replace('_', '-')}{half}.wav"
            gains[f"{prefix}{half}"] = gain_db
            write(folder / files[f"{prefix}{half}"], torch.from_numpy(sound), stft.sample_rate)
    scale, p = heard.scale(map_.target), heard.shown(map_.p, map_.target)
    title = f"{map_.recipe}: evidence for {heard.explained(map_.target)}, {scale} = {p:.2f}"
    drawn = picture(found, Style(width_in=10, height_in=3.2, title=title))
    with naming_folder(folder, "write the explanation"):
        write_atomically(folder / files["picture"], drawn)
        for kind in plots.VECTORS:
            write_atomically(folder / files[kind], drawn.in_format(kind))
        write_atomically(folder / files["report"], case_html(found, heard.recording.id, beside))
        write_atomically(folder / files["regions"], textgrid(found).encode())
    return {
        **numbers(found),
        "map_shape": list(map_.mask.shape),
        "map_duration_s": (map_.mask.shape[1] - 1) / stft.frame_rate_hz,
        "mean_mask": map_.mean_mask,
        "empty": not bool(map_.mask.any()),
        "kept_plus_removed_error": error,
        "files": files,
        "gain_db": gains,
        "params": {key: value.tolist() if isinstance(value, Tensor) else value for key, value in map_.params.items()},
    }


def _agreement(maps: Mapping[str, Explained]) -> list[dict[str, Any]]:
    agreed = inspect.agreement(maps)
    return [
        {
            "first": agreed.names[i],
            "second": agreed.names[j],
            "overlap": _defined(float(agreed.overlaps[i, j])),
            "overlap_by_chance": STRONGEST,
            "rank_correlation": _defined(float(agreed.ranks[i, j])),
        }
        for i in range(len(maps))
        for j in range(i + 1, len(maps))
    ]


def save_case(found: Inspection, name: str, content: bytes, folder: Path, beside: Beside | None = None) -> Path:
    """Write recording, sounds, regions, report and numbers of a case into a new folder of `folder`; returns it.

    Args:
        found: the case.
        name: the recording's file name.
        content: its bytes.
        folder: made where it is missing.
        beside: what else stands in its report.

    Raises:
        OSError: the folder cannot be written.
    """
    now = datetime.datetime.now().astimezone()
    stem = Path(file_name(name)).stem
    target = folder.expanduser() / f"{now:%Y-%m-%d_%H%M%S}_{stem}"
    target.mkdir(parents=True, exist_ok=False)
    (target / file_name(name)).write_bytes(content)
    (target / f"{stem}.TextGrid").write_text(textgrid(found), "utf-8")
    (target / f"{stem}_labels.txt").write_text(audacity(found), "utf-8")
    gains = {}
    for half, (sound, gain_db) in sounds(found.heard, found.map).items():
        gains[half] = gain_db
        write(target / f"{stem}_{half}.wav", torch.from_numpy(sound), found.heard.sample_rate_hz)
    (target / "report.html").write_bytes(case_html(found, name, beside))
    (target / "report.pdf").write_bytes(case_pdf(found, name, beside))
    beside = beside or Beside()
    if beside.measures:
        (target / "measures.csv").write_bytes(measures_csv(beside))
    given = notes.told(beside.notes)
    if given:
        duration_s = len(found.heard.waveform) / found.heard.sample_rate_hz
        (target / f"{stem}_notes.TextGrid").write_text(notes.textgrid(given, duration_s), "utf-8")
        (target / f"{stem}_notes_labels.txt").write_text(notes.audacity(given, duration_s), "utf-8")
        (target / f"{stem}_notes.csv").write_text(notes.table(name, given), "utf-8")
    heard = found.heard
    named = heard.scope.state == "inside"
    facts = {
        "recording": name,
        "person": beside.person,
        "recorded": beside.recorded or now.date().isoformat(),
        "task": heard.recording.task,
        "answer": {
            "scale": heard.scale(heard.predicted),
            "p": heard.shown(float(heard.probability.max()), heard.predicted) if named else None,
        },
        "measures": {
            f"{one.measure.label}{f', {one.measure.unit}' if one.measure.unit else ''}": one.value
            for one in voice.shown(beside.measures)
            if one.value == one.value
        },
        "notes": notes.content(name, given)["notes"],
        "saved": now.isoformat(timespec="seconds"),
        "made": provenance(found.heard, target=found.heard.class_names[found.map.target], recipe=found.map.recipe),
        "scope": {"state": found.heard.scope.state, "reason": found.heard.scope.reason},
        **says(heard),
        "checks": [{"name": c.name, "state": c.state, "text": str(c)} for c in found.checks],
        **numbers(found),
        "gain_db": gains,
        "notice": NOTICE,
    }
    (target / "case.json").write_bytes(to_json(facts))
    return target
