"""The audit as a page, as JSON, and as lines for a data card: one set of sentences and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from speechxai.audit.audit import Audit
from speechxai.audit.chance import N_PERMUTATIONS, TAIL, Probed
from speechxai.audit.left import MATCHED_YEARS, SURE, Doubted, Left
from speechxai.audit.probes import PROBES
from speechxai.files import naming_folder, to_json, write_atomically
from speechxai.report.render import Cell, Finding, Row, Table, number, p_text, page, plain_table, with_span

if TYPE_CHECKING:
    from speechxai.data.cards import Published

MOST_PAIRS = 50
"""Pairs of a table; the JSON has all."""


def findings(audit: Audit, left: Sequence[Left] = (), published: Sequence[Published] = ()) -> list[Finding]:
    """What the audit says, the gravest first."""
    said = []
    leaks = [pair for pair in audit.same if pair.leaks]
    if leaks:
        said.append(
            Finding(
                f"{len(leaks)} pairs of recordings under two names are one sound, such as {leaks[0].first} and"
                f" {leaks[0].second}: in train and test they break every number. Give them one speaker.",
                "caution",
                "leak",
            )
        )
    alarms = [each for each in audit.probes if each.alarm]
    first, second = audit.classes
    if alarms:
        worst = alarms[0]
        caveat = _caveat(worst)
        begin = (
            f"{worst.label[0].upper()}{worst.label[1:]}" if caveat else f"Without hearing any disease, {worst.label}"
        )
        meaning = (
            f"That may be the recordings, or the disease itself ({caveat})"
            if caveat
            else "A model that reaches no more than that on this set may have heard no disease"
        )
        said.append(
            Finding(
                f"{begin} alone tells {second} from {first} with an AUROC of {_area(worst)} ({worst.leading}); chance"
                f" over all probes reaches {number(_limit(worst))}. {meaning}.",
                "caution",
                "worst",
            )
        )
        for each in alarms[1:]:
            may = f" It may hear of the disease: {_caveat(each)}." if _caveat(each) else ""
            said.append(Finding(f"So does {each.label}: {_area(each)} ({each.leading}).{may}", "caution", "also"))
    elif asked := [each for each in audit.probes if not each.reason and each.of != "file"]:
        limit = max(map(_limit, asked))
        blind = (
            f"a confound of an AUROC under {number(limit, 2)} would not be seen."
            if limit < 1
            else "some probes would show no confound at all, not even a perfect one: this is no clean bill."
        )
        said.append(
            Finding(
                f"No probe tells {second} from {first} by more than chance over all {len(asked)} probes. With"
                f" {audit.n_speakers[0]} and {audit.n_speakers[1]} speakers {blind}",
                "good" if limit < 1 else "caution",
                "clean",
            )
        )
    elif audit.probes and all(each.reason for each in audit.probes):
        said.append(
            Finding(
                f"No probe could be asked of {audit.n_speakers[0]} speakers of {first} and {audit.n_speakers[1]} of"
                f" {second}: this says nothing of the set, good or bad.",
                "caution",
                "unasked",
            )
        )
    for each in audit.probes:
        if each.of == "file" and each.exceeds:
            said.append(
                Finding(
                    f"The {each.label} gives the class away ({_area(each)}): no network hears it, but a split by it,"
                    " or a program that reads it, does.",
                    "caution",
                    "file",
                )
            )
    said += _left_findings(audit, left)
    said += _claims(audit, alarms, published)
    return said


def _left_findings(audit: Audit, left: Sequence[Left]) -> list[Finding]:
    said = []
    for model in dict.fromkeys(each.model for each in left):
        by = {each.condition: each for each in left if each.model == model and not each.reason}
        whole = by.get("everything")
        if whole is None:
            continue
        for condition in ("matched_equalized", "matched", "equalized"):
            gone = by.get(condition)
            if gone is not None:
                break
        else:
            continue
        stays = gone.low > 0.5
        said.append(
            Finding(
                f"The model '{model}' reaches {with_span(whole.auroc, whole.low, whole.high, 2)} on everything, and"
                f" {with_span(gone.auroc, gone.low, gone.high, 2)} on {gone.label} ({gone.n_first} and {gone.n_second}"
                f" speakers): {'something is left' if stays else 'what is left cannot be told from chance'} when"
                " the confounds are gone.",
                "plain" if stays else "caution",
                "left",
            )
        )
    return said


def _claims(audit: Audit, alarms: Sequence[Probed], published: Sequence[Published]) -> list[Finding]:
    said = []
    if alarms:
        worst = alarms[0]
        where = "matched pairs, or people of one sex and age" if worst.of == "person" else "recordings made alike"
        beats = "" if worst.auroc > 0.95 else f"beats {number(worst.auroc)} clearly, or "
        said.append(
            Finding(
                f"Not to be claimed from this set: that a model tells {audit.classes[1]} from {audit.classes[0]} by the"
                f" voice, unless it {beats}stays above chance where {worst.label} cannot help ({where}: --models).",
                "caution",
                "claim",
            )
        )
    for each in published:
        if each.split_by_speaker != "yes":
            how = (
                "was not split by speaker: people were in train and test"
                if each.split_by_speaker == "no"
                else "stands here without a word on whether it was split by speaker: that is not known here"
            )
            said.append(Finding(f"The published {each.value} ({each.source}) {how}.", "plain", "paper"))
    return said


def _limit(each: Probed) -> float:
    """AUROC of a probe that chance over all probes reaches."""
    return each.auroc - each.bound + each.chance


def _caveat(each: Probed) -> str:
    """What of the disease it may hear all the same."""
    return str(PROBES.facts(each.name)["caveat"]) if each.name in PROBES else ""


def _area(each: Probed) -> str:
    return with_span(each.auroc, each.low, each.high)


def probe_table(audit: Audit) -> Table:
    """What each probe reaches, those that cannot be asked with the reason."""
    first, second = audit.classes
    rows = []
    for each in audit.probes:
        caveat = _caveat(each)
        if each.reason:
            cells = (Cell("–"), Cell("–"), Cell("–"), Cell(""), Cell(each.reason, words=True))
        else:
            low, high = number(each.low), number(each.high)
            cells = (
                Cell(number(each.auroc), f"{low} to {high}", "worse" if each.exceeds else ""),
                Cell(number(each.bound)),
                Cell(p_text(each.p)),
                Cell(f"{each.n_first}, {each.n_second}"),
                Cell(each.leading, f"may hear: {caveat}" if caveat else "", words=True),
            )
        kind = "Cannot be asked" if each.reason else {"file": "No network hears these"}.get(each.of, "Asked")
        rows.append(Row(each.label, cells, kind))
    order = {"Asked": 0, "No network hears these": 1, "Cannot be asked": 2}
    return Table(
        "What a model reaches that hears no disease",
        (
            "probe",
            "AUROC",
            "corrected bound",
            "p, corrected",
            f"{first}, {second}",
            "what tells most, and what it may hear",
        ),
        tuple(sorted(rows, key=lambda row: order[row.group])),
        "One speaker is one case. A probe of one number is asked directly (max of AUROC and 1 - AUROC), one of several"
        " by a ridge regression on speakers that it never saw; under 0.5 nothing was learned. An alarm is raised where"
        f" the corrected bound lies above chance: over all probes together, {100 * TAIL:g} % of sets without any"
        f" confound raise one ({N_PERMUTATIONS:,} exchanges of labels among speakers, the largest"
        " deviation of all probes).",
    )


def tables(
    audit: Audit,
    left: Sequence[Left] = (),
    doubts: tuple[Sequence[Doubted], float] = ((), 0.0),
    published: Sequence[Published] = (),
) -> list[Table]:
    """Every table of the page."""
    found, rows = [probe_table(audit)], list[tuple[str, ...]]()
    if left:
        found += _left_tables(audit, left)
    if audit.same:
        rows = [
            (each.first, each.second, " and ".join(dict.fromkeys(each.speakers)), number(each.likeness, 2))
            for each in audit.same[:MOST_PAIRS]
        ]
        note = "The middle half of one is found in the other: copies that were cut, moved, resampled, made louder or"
        title = f"Recordings that are one sound: {len(audit.same)}"
        found.append(_noted(title, ("recording", "is", "speakers", "likeness"), rows, f"{note} coded again."))
    if audit.voices:
        rows = [(one.first, one.second, one.by, number(one.likeness, 1)) for one in audit.voices[:MOST_PAIRS]]
        note = (
            "Nearer to each other than two people of this set are: by their cepstra (log odds), or by the d-vector of a"
            " speaker network (deviations above their nearest others; of sets of different people's vowels, 1.5 % at"
            " most have one). Both hear the room and the microphone as well as the person: listen to them. Held"
            " vowels of one person are mostly not found."
        )
        found.append(_noted("Names that may be one person", ("name", "and", "by", "likeness"), rows, note))
    if left:
        listed, expected = doubts
        rows = [(one.recording, audit.classes[one.stated], number(one.at_most, 2)) for one in listed[:MOST_PAIRS]]
        note = (
            f"Every held-out model gives the other class at least {number(SURE, 2)}. With all labels right,"
            f" {number(expected, 1)} recordings would be expected here: a model that is sure is not right, and no label"
            " may be changed by this table."
        )
        title = f"Labels that every model contradicts: {len(listed)}"
        found.append(_noted(title, ("recording", "label", "given to it at most"), rows or [("none", "", "")], note))
    if published:
        rows = [
            (each.value, each.metric, each.source, each.split_by_speaker, each.note or "unknown") for each in published
        ]
        columns = ("number", "of what", "source", "split by speaker", "what else is known")
        found.append(
            _noted("Published on this set", columns, rows, "From the data card; unknown means not known here.")
        )
    return found


def _noted(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], note: str) -> Table:
    table = plain_table(title, columns, rows, words=True)
    return replace(table, note=note)


def _left_tables(audit: Audit, left: Sequence[Left]) -> list[Table]:
    first, second = audit.classes
    rows, parts = [], []
    cells: tuple[Cell, ...]
    for each in left:
        if each.reason:
            cells = (Cell("–"), Cell("–"), Cell("–"), Cell(each.reason, words=True))
        else:
            cells = (
                Cell(number(each.auroc), f"{number(each.low)} to {number(each.high)}"),
                Cell(number(each.age_alone)),
                Cell(f"{each.n_first}, {each.n_second}"),
                Cell(f"{each.wall_s:.0f} s"),
            )
        rows.append(Row(each.label, cells, each.model))
        for group in each.groups if each.condition in ("everything", "equalized") else ():
            small = "" if np.isnan(group.low) else f"{number(group.low)} to {number(group.high)}"
            cells = (Cell(number(group.auroc), small), Cell(f"{group.n_first}, {group.n_second}"))
            parts.append(Row(group.name, cells, f"{each.model}, {each.label}"))
    found = [
        Table(
            "What of the AUROC is left",
            ("recordings", "AUROC", "age alone", f"{first}, {second}", "time"),
            tuple(rows),
            "Each model trained and tested by speaker under each condition, 95 % intervals over speakers. Matched:"
            f" pairs of one sex, at most {MATCHED_YEARS:g} years apart. Equalized: pauses cut out, one level, noise up"
            " to a common floor, one band, one length, one codec.",
        )
    ]
    if parts:
        found.append(
            Table(
                "What is left by sex and age",
                ("people", "AUROC", f"{first}, {second}"),
                tuple(parts),
                "Among people of one sex or age, held-out answers of the same models.",
            )
        )
    return found


def card_lines(audit: Audit, left: Sequence[Left] = ()) -> str:
    """Lines for a data card, Markdown."""
    lines = [
        f"- Audit: {each.label} alone has an AUROC of {_area(each)} (corrected bound {number(each.bound)};"
        f" {each.leading})."
        for each in audit.probes
        if each.exceeds
    ]
    if not lines:
        lines = ["- Audit: no probe that hears no disease exceeds chance over all probes."]
    lines += [f"- Audit: {each.label}: not asked, {each.reason}." for each in audit.probes if each.reason]
    leaks = sum(pair.leaks for pair in audit.same)
    compared = "" if audit.compared else "; too many recordings to look for copies that were cut"
    lines.append(f"- Audit: {leaks} pairs of recordings under two names are one sound{compared}.")
    for each in left:
        if not each.reason:
            lines.append(
                f"- Audit: the model {each.model} on {each.label}: {with_span(each.auroc, each.low, each.high)}"
                f" ({each.n_first} and {each.n_second} speakers)."
            )
    return "\n".join(lines) + "\n"


def write(
    folder: Path,
    audit: Audit,
    left: Sequence[Left] = (),
    doubts: tuple[Sequence[Doubted], float] = ((), 0.0),
    published: Sequence[Published] = (),
) -> Path:
    """Write `report.html`, `audit.json` and `card.md` into a folder; returns the path of the first."""
    said, found = findings(audit, left, published), tables(audit, left, doubts, published)
    lines = card_lines(audit, left)
    text = page(
        "audit.html.j2",
        title=f"What can be known of {audit.name or 'this set'} without hearing any disease",
        subtitle=(
            f"{audit.title + '. ' if audit.title else ''}{sum(audit.n_recordings)} recordings,"
            f" {audit.n_speakers[0]} speakers {audit.classes[0]}, {audit.n_speakers[1]} {audit.classes[1]}."
            + (f" {len(audit.unreadable)} recordings could not be read." if audit.unreadable else "")
        ),
        findings=said,
        tables=found,
        card=lines,
    )
    content = {
        **asdict(audit),
        "alarms": list(audit.alarms),
        "findings": [asdict(each) for each in said],
        "left": [asdict(each) for each in left],
        "doubted": {"recordings": [asdict(each) for each in doubts[0]], "expected": doubts[1]},
        "published": [each.model_dump() for each in published],
    }
    with naming_folder(folder, "write the audit"):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "report.html", text.encode())
        write_atomically(folder / "audit.json", to_json(content))
        write_atomically(folder / "card.md", lines.encode())
    return folder / "report.html"
