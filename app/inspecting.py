"""One recording explained, as Inspect and Try yours both show it."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from app import charts, noting, player, sources, state, widgets
from app.player import Map, View, Voice, pack
from app.sources import Key
from speechxai import NotApplicable
from speechxai.data.manifest import classes_of
from speechxai.data.textgrid import TextGridError, read_textgrid
from speechxai.explain.agreement import STRONGEST
from speechxai.inspection import cases, inspect, report, words
from speechxai.inspection.inspect import NARROW, Explained, Heard, Inspection
from speechxai.inspection.words import Sentence, Verdict, class_words, recipe_words
from speechxai.report import plots
from speechxai.signal.acoustics import formants_hz
from speechxai.signs.words import alarm_words
from speechxai.types import Array
from speechxai.units.tiers import Units, own_units, units_in


def sounds(heard: Heard, map_: Explained) -> list[Voice]:
    """Original, kept and removed at one level, each with the probability of the explained class."""
    scale, share = heard.scale(map_.target), words.percent(STRONGEST)

    def said(p: float) -> str:
        return f"{scale} {heard.shown(p, map_.target):.2f}"

    voices = [Voice("original", "Original", heard.waveform, said(map_.p), "The recording as the model hears it.")]
    told = {
        "kept": ("Kept", map_.p_kept, f"Only the strongest {share} of the evidence"),
        "removed": ("Removed", map_.p_removed, f"Without the strongest {share} of the evidence"),
    }
    for key, (loud, gain_db) in report.sounds(heard, map_).items():
        label, p, what = told[key]
        title = f"{what}; {said(p)}. Level matched: {gain_db:+.0f} dB."
        voices.append(Voice(key, label, loud, said(p), title))
    return voices


BAND_STEP_HZ = 500.0
USUAL = ("pitch variability", "harmonics-to-noise ratio", "cepstral peak prominence")
"""Measures that are drawn over time unless others are chosen."""


def top_of(heard: Heard) -> float | None:
    """Where a picture of a recording ends, Hz: above its band, rounded up; None where the band reaches the top."""
    band = heard.quality["bandwidth_hz"]
    if not 0 < band < NARROW * heard.sample_rate_hz / 2:
        return None
    return min(heard.sample_rate_hz / 2, BAND_STEP_HZ * math.ceil(band / BAND_STEP_HZ))


def formants_of(heard: Heard) -> Array:
    """F1 and F2 of every frame (T, 2), Hz: of voiced ones, NaN elsewhere."""
    found = np.full((heard.n_frames, 2), np.nan)
    voiced = np.flatnonzero(heard.voicing == 2)
    centers = voiced * heard.spec.stft.hop_length
    found[voiced] = formants_hz(heard.waveform.astype(np.float64), heard.sample_rate_hz, centers)
    return found


def model_name(heard: Heard) -> str:
    """A model as people know it."""
    return heard.bundle.config.title or heard.bundle.name


def player_view(heard: Heard, map_: Explained, title: str, tiers: Sequence[Mapping[str, Any]] = ()) -> bytes:
    """The player's block for one map."""
    name = class_words(heard.class_names[map_.target])
    inside = heard.scope.state == "inside"
    p = heard.shown(map_.p, map_.target)
    answer = class_words(heard.class_names[heard.predicted])
    said = f"The model says {answer}, {heard.scale(map_.target)} {p:.2f}" if inside else ""
    summary = f"{said}. Evidence for {name}." if said else f"Evidence for {name}."
    return pack(
        View(
            title=title,
            recording=heard.digest,
            magnitude=heard.magnitude,
            frame_rate_hz=heard.frame_rate_hz,
            sample_rate_hz=heard.sample_rate_hz,
            maps=[Map(f"{map_.recipe} for {name}", recipe_words(map_.recipe), map_.mask, against=map_.against)],
            evidence=name,
            sounds=sounds(heard, map_),
            voicing=heard.voicing,
            f0_hz=heard.f0_hz,
            summary=summary,
            tiers=tiers,
            model=model_name(heard),
            answer=said,
            top_hz=top_of(heard),
            formants_hz=formants_of(heard),
        )
    )


def compare_view(heard: Heard, maps: Mapping[str, Explained], title: str) -> bytes:
    """The player's block for several maps one under the other."""
    return pack(
        View(
            title=title,
            recording=heard.digest,
            magnitude=heard.magnitude,
            frame_rate_hz=heard.frame_rate_hz,
            sample_rate_hz=heard.sample_rate_hz,
            maps=[
                Map(
                    m.recipe,
                    recipe_words(m.recipe),
                    m.mask,
                    f"{heard.scale(m.target)} without it: {heard.shown(m.p_removed, m.target):.2f} (whole:"
                    f" {heard.shown(m.p, m.target):.2f})",
                )
                for m in maps.values()
            ],
            sounds=[Voice("original", "Original", heard.waveform)],
            voicing=heard.voicing,
            f0_hz=heard.f0_hz,
            evidence=class_words(heard.class_names[heard.predicted]),
            model=model_name(heard),
            top_hz=top_of(heard),
            formants_hz=formants_of(heard),
            summary=f"{len(maps)} maps of one recording: {', '.join(recipe_words(m.recipe) for m in maps.values())}.",
        )
    )


@dataclass(frozen=True, eq=False)
class Explanation:
    """A recording with its map: what is shown first."""

    model: str
    key: Key
    heard: Heard
    map: Explained


def filters(rows: pd.DataFrame, model: str) -> pd.DataFrame:
    """Widgets that narrow the catalogue; "wrong ones first" predicts all recordings once."""
    chosen = rows
    for column, label in (("dataset", "Data set"), ("task", "Task")):
        options = sorted({str(v) for v in rows[column]})
        if len(options) > 1:
            wanted = st.multiselect(label, options, key=f"filter_{column}", placeholder="all")
            if wanted:
                chosen = chosen[chosen[column].astype(str).isin(wanted)]
    labels, classes = classes_of(rows), state.classes(model).names
    label = st.segmented_control("Labeled", list(labels), key="filter_label", format_func=widgets.plain)
    if label:
        chosen = chosen[chosen["label"] == labels.index(label)]
    order = st.toggle("Wrong ones first", key="filter_wrong", help="Predicts every recording once.")
    said = st.segmented_control("The model says", list(classes), key="filter_predicted", format_func=widgets.plain)
    if order or said:
        with widgets.working("Predicting all recordings", f"predict {model}") as tick:
            known = state.predictions(model, tick).set_index("recording")
        chosen = chosen.assign(
            probability=chosen["recording"].map(known["probability"]),
            predicted=chosen["recording"].map(known["predicted"]),
            known_label=chosen["recording"].map(known["label"]),
            scope=chosen["recording"].map(known["scope"]),
        )
        if said:
            chosen = chosen[(chosen["predicted"] == classes.index(said)) & (chosen["scope"] == "inside")]
        if order:
            right = (chosen["predicted"] == chosen["known_label"]).fillna(True)
            chosen = chosen.assign(_right=right).sort_values("_right", kind="stable")
    return chosen


def stop_without_class(heard: Heard) -> None:
    """End the page with the reason where the model was not made for a recording, and with what it was made for: there
    is no answer to explain."""
    if not heard.scope.named:
        widgets.show_html(widgets.verdict(heard, name=str(heard.recording.id)))
        widgets.what_to_record(heard.bundle.config.scope)
        widgets.foot()
        st.stop()


def explain_case(model: str, key: Key, recipe: str, target: str = "auto") -> Explanation:
    """Hear and explain a recording, showing how far it is. Raises NotApplicable where the network does not allow it."""
    job = f"{model}|{key}|{recipe}|{target}"
    widgets.load(model, key)
    with widgets.working(f"Explaining by {words.recipe_words(recipe)}", job) as tick:
        heard = state.heard(model, key, tick)
        found = state.explained(model, key, [recipe], tick, target)[recipe] if heard.scope.named else ""
    stop_without_class(heard)
    if isinstance(found, str):
        raise NotApplicable(f"This network cannot be explained that way: {found} Choose another method.")
    return Explanation(model, key, heard, found)


def worth_of(case: Explanation) -> Verdict:
    """What a case's map is worth."""
    target = case.heard.class_names[case.map.target]
    with widgets.working("Asking the controls", f"worth {case.model}|{case.key}|{case.map.recipe}|{target}") as tick:
        return state.verdict(case.model, case.key, case.map.recipe, tick, target)


def inspection_of(case: Explanation) -> Inspection:
    """What is said of a case, with controls and other methods computed where they are missing."""
    target = case.heard.class_names[case.map.target]
    job = f"words {case.model}|{case.key}|{case.map.recipe}|{target}"
    with widgets.working("Asking the controls and other methods", job) as tick:
        return state.inspection(case.model, case.key, case.map.recipe, tick, target)


def who(case: Explanation, title: str) -> str:
    """Whose answer this is: the recording's whole name, sex and age where they are known."""
    row = sources.rows_by_name().get(title, {}) if case.key[0] == "catalogue" else {}
    return " · ".join(part for part in (title, person(row)) if part)


def answer_line(heard: Heard, name: str) -> str:
    """HTML of whose answer a page is about, and the answer, in one line."""
    row = sources.rows_by_name().get(name, {})
    label = widgets.label_of(row)
    labeled = "" if label is None else f", labeled {class_words(classes_of(sources.catalogue())[label])}"
    whose = " · ".join(part for part in (name, person(row)) if part) + labeled
    p = heard.shown(float(heard.probability[heard.predicted]), heard.predicted)
    said = f"the model says {class_words(heard.class_names[heard.predicted])}, {heard.scale(heard.predicted)} {p:.2f}"
    if heard.scope.state != "inside":
        said = "no class" if heard.scope.state == "outside" else "scope unknown"
    return f'<p class="sx-sub sx-whose"><b>{html.escape(whose)}</b>: {html.escape(said)}.</p>'


def choose_recording(model: str) -> str:
    """A recording of the catalogue, by the line that the picker of Inspect shows."""
    rows = sources.catalogue()
    labels, classes = classes_of(rows), state.classes(model).names
    known = state.known_answers(model)
    told = {name: {**row, **known.get(name, {})} for name, row in sources.rows_by_name().items()}
    return widgets.choose(
        "Recording", "recording", list(told), lambda name: row_words(name, told[name], labels, classes)
    )


def person(row: Mapping[str, Any]) -> str:
    """Sex and age of a row, as far as they are known.

    >>> person({"sex": "M", "age": 64.0}), person({"sex": "unknown", "age": float("nan")})
    ('M 64', '')
    """
    sex, age = str(row.get("sex", "")), row.get("age")
    known = age is not None and pd.notna(age)
    return " ".join([*([sex] if sex in ("F", "M") else []), *([f"{float(age):.0f}"] if known else [])])


def row_words(name: str, row: Mapping[str, Any], labels: Sequence[str], classes: Sequence[str]) -> str:
    """One line about a recording, for the picker: label, answer where it is known, person, task, end of the name; a
    wrong answer is marked."""
    label, p = widgets.label_of(row), row.get("probability")
    parts = [labels[label] if label is not None else "no label"]
    if p is not None and pd.notna(p):
        if row["scope"] != "inside":
            parts.append("no class" if row["scope"] == "outside" else "scope unknown")
        else:
            said = classes[int(row["predicted"])]
            of = f"P({classes[1]}) {p:.2f}" if len(classes) == 2 else f"{p:.2f}"
            wrong = label is not None and label != int(row["predicted"])
            parts.append(f"{'✗ ' if wrong else ''}model says {said}, {of}")
    short = name if len(name) <= 28 else f"…{name[-24:]}"
    return " · ".join(part for part in (*parts, person(row), str(row["task"]), short) if part)


def show_case(case: Explanation, title: str, label: int | None, words_place: Any, picture_place: Any) -> Inspection:
    """Show the answer beside the label (an index into the catalogue's classes), what the map alone tells, the player,
    the verdict on the map and the rest of the words: what is known first stands first, and nothing waits for what takes
    longer."""
    found = state.known_inspection(case.model, case.key, case.map.recipe, case.heard.class_names[case.map.target])
    with words_place:
        index = state.classes(case.model).index(label)
        labeled = "" if label is None else classes_of(sources.catalogue())[label]
        same = None if index is None else index == case.heard.predicted
        widgets.show_html(widgets.verdict(case.heard, labeled, same, widgets.share_of_ill(), who(case, title)))
        warned, chooser, said, progress = st.empty(), st.container(), st.empty(), st.container()
        if case.heard.bundle.config.held_out is not None:
            with chooser:
                widgets.choose_share()

    def tell(sentences: Sequence[Sentence], waiting: str = "") -> None:
        text = widgets.cautions(sentences)
        warned.html(text) if text else warned.empty()
        said.html(widgets.sentences(sentences, waiting))

    if found is None:
        tell(inspect.first_words(case.heard, case.map), "Asking the controls and other methods …")
    else:
        tell([*found.sentences, *more_words(case)])
    with picture_place:
        worth = st.empty()
        if found is None:
            worth.html('<p class="sx-worth">Is this map worth reading? Asking the controls …</p>')
        else:
            worth.html(widgets.map_verdict(found.verdict))
        tiers = st.session_state.get(f"tiers_{case.key[1]}", ())
        name = ("player", case.map.recipe, str(case.map.target), title, str(tiers))
        block = state.kept(case.model, case.key, name, lambda: player_view(case.heard, case.map, title, tiers=tiers))
        player.show(block, key="player", on_kept=lambda: noting.take("player"))
        noting.shown_in(case.key, case.heard, "player")
    if found is None:
        with progress:
            worth.html(widgets.map_verdict(worth_of(case)))
            found = inspection_of(case)
        tell([*found.sentences, *more_words(case)])
    with picture_place:
        player.judge(case.heard.digest, f"{case.map.recipe} for {found.class_name}", found.verdict.key, key="worth")
    return found


def more_words(case: Explanation) -> list[Sentence]:
    """What others than the map say about it: what-ifs that were asked, and runs of this very model."""
    asked = state.known_what_if(case.model, case.key)
    alarm = [] if asked is None or asked.alarm is None else [alarm_words(asked.alarm)]
    found = [Sentence("caution", "alarm", text) for text in alarm]
    benchmarked = state.from_runs(case.model, case.map.recipe)
    if benchmarked is not None:
        found.append(Sentence("caution" if benchmarked[0] else "control", "benchmark", benchmarked[1]))
    return found


def case_tools(case: Explanation, found: Inspection, title: str, beside: report.Beside) -> None:
    """What to take away from a case, and segments to put under it."""
    stem = f"{title}_{report.slug(case.map.recipe)}"
    files: tuple[tuple[str, str, str, Callable[[], bytes]], ...] = (
        ("Report (HTML)", "report.html", "text/html", lambda: report.case_html(found, title, beside)),
        ("Report (PDF)", "report.pdf", "application/pdf", lambda: report.case_pdf(found, title, beside)),
        ("Figure (PNG)", "map.png", "image/png", lambda: report.titled_picture(found, title)),
        ("Figure (SVG)", "map.svg", "image/svg+xml", lambda: report.titled_picture(found, title, "svg")),
        ("Regions (Praat)", "regions.TextGrid", "text/plain", lambda: report.textgrid(found).encode()),
        ("Regions (Audacity)", "regions.txt", "text/plain", lambda: report.audacity(found).encode()),
    )
    *places, last = st.columns([1] * len(files) + [1.25], vertical_alignment="bottom")
    for place, (label, ending, mime, make) in zip(places, files, strict=True):
        with place:
            widgets.button(label, f"{stem}_{ending}", mime, make)
    with last, st.popover("Segments", width="stretch"):
        segments(case)
    details(found)


OWN_WORDS = {
    "own": "pauses and voice",
    "own:vowel": "a held vowel",
    "own:ddk": "syllables: closures, bursts, vowels",
}
"""What the sound alone tells, in words."""


def segments(case: Explanation) -> None:
    """Choose what lies under the picture: tiers of a TextGrid, or what the sound alone tells."""
    heard = case.heard
    file = st.file_uploader("Praat TextGrid", type=["TextGrid", "txt"], key=f"textgrid_{case.key[1]}")
    alone = st.selectbox(
        "Or by the sound alone",
        [None, *OWN_WORDS],
        format_func=lambda name: "none" if name is None else OWN_WORDS[name],
        key=f"own_units_{case.key[1]}",
    )
    tiers: Sequence[Mapping[str, Any]] = ()
    units: Units | None = None
    if file is not None:
        try:
            tiers = read_textgrid(file.getvalue(), heard.recording.duration_s)
        except TextGridError as error:
            widgets.problem(error)
            return
        with suppress(TextGridError):  # segments of another kind are shown all the same
            units = units_in(file.getvalue(), file.name, heard.recording.duration_s)
    elif alone is not None:
        units = own_units(heard.recording, alone.partition(":")[2] or "unknown")
        shown = [{"start": u.start_s, "end": u.end_s, "label": u.label} for u in units.phones]
        tiers = [{"name": "sounds", "points": False, "intervals": shown}]
    name = f"tiers_{case.key[1]}"
    if list(st.session_state.get(name, ())) != list(tiers):
        st.session_state[name] = tiers
        state.choose_units(case.key, units)
        st.rerun()


def details(found: Inspection) -> None:
    """Numbers behind the words, and the words themselves, for those who ask."""
    widgets.glossary()
    with st.expander("Numbers behind the words"):
        rows = [dict(zip(report.BUDGET_HEADER, row, strict=True)) for row in report.budget_rows(found)]
        caption = (
            f"{found.heard.scale(found.map.target)}, the chosen map beside maps that know nothing of the model: at one"
            " budget, and by the soft mask, whose mass differs from map to map."
        )
        widgets.show_html(charts.table(rows, caption))
        quality = found.heard.quality
        st.caption(
            f"Recording: {quality['duration_s']:.2f} s, peak {quality['peak']:.2f}, level {quality['rms_dbfs']:.0f} dB,"
            f" pauses {100 * quality['silence_share']:.0f} % of the time, band up to {quality['bandwidth_hz']:.0f} Hz."
        )


def panel(case: Explanation, found: Inspection, name: str, beside: report.Beside) -> None:
    """Where to save a case, and the button that does: nothing is kept unless it is pressed. Saved cases of one person
    stand on one axis of time."""
    with st.expander(
        "Save this case on this computer",
        expanded=case.key[1] in st.session_state.get("saved", ()),
        icon=":material/save:",
    ):
        row = sources.rows_by_name().get(case.key[1], {}) if case.key[0] == "catalogue" else {}
        one, two, three = st.columns([2, 1, 3])
        with one:
            person = st.text_input(
                "Person",
                str(row.get("speaker", "")),
                key=f"save_person_{case.key[1]}",
                help="A pseudonym, the same every time: cases of one person are then seen over time.",
            )
        with two:
            day = st.date_input("Recorded on", "today", key=f"save_day_{case.key[1]}", format="YYYY-MM-DD")
        with three:
            folder = st.text_input(
                "Folder", st.session_state.get("save_to", sources.settings().save_to), key="save_folder"
            )
        st.session_state["save_to"] = folder
        if st.button("Save", type="primary", key="save_case"):
            beside = replace(beside, person=person.strip(), recorded=day.isoformat())
            try:
                target = report.save_case(found, *recording_file(case, name), Path(folder), beside)
            except OSError as error:
                st.error(
                    widgets.plain(f"{folder}: the case cannot be saved ({error.strerror}). Name another folder."),
                    icon=":material/error:",
                )
            else:
                st.session_state["saved"] = {**st.session_state.get("saved", {}), case.key[1]: str(target)}
                st.rerun()  # leaving is asked about no more
        saved = st.session_state.get("saved", {}).get(case.key[1])
        if saved:
            st.success(f"Saved in {widgets.plain(saved)}", icon=":material/check_circle:")
        over_time(Path(folder).expanduser(), person.strip())


def recording_file(case: Explanation, name: str) -> tuple[str, bytes]:
    """Name and content of a case's recording: the file that was brought, of the catalogue's its samples as WAV."""
    if case.key[0] == "mine":
        return name, sources.mine()[case.key[1]][1]
    original = state.original(case.key)
    return f"{name}.wav", player.wav_bytes(original.waveform.numpy(), original.sample_rate)


MOST_SHOWN = 3
"""Measures that are drawn over time at first."""


def over_time(folder: Path, person: str) -> None:
    """Saved cases of one person, what the model said and what was measured, on one axis of dates."""
    found = cases.read_cases(folder)
    known = cases.people(found)
    if not known:
        st.caption("Cases saved with a person and a day are shown here over time.")
        return
    options = list(known)
    chosen = st.selectbox(
        "Over time",
        options,
        index=options.index(person) if person in known else 0,
        format_func=lambda name: f"{widgets.plain(name)}: {known[name]} case{'s' if known[name] > 1 else ''}",
        key=f"over_time_{person}",
    )
    theirs = [case for case in found if case.person == chosen]
    measured = list(dict.fromkeys(name for case in theirs for name in case.values))
    usual = [name for name in measured if name.endswith(cases.RATED) or name.split(",")[0] in USUAL]
    shown = st.multiselect("Measures", measured, usual[:MOST_SHOWN], key=f"over_time_measures_{chosen}")
    scales = list(dict.fromkeys(case.scale for case in theirs))
    panels = [(name, cases.series(theirs, name), name in scales) for name in (*scales, *shown)]
    panels = [panel for panel in panels if panel[1]]
    if panels:
        told = f"{chosen} over time: {', '.join(name for name, _, _ in panels)}."
        data = base64.b64encode(plots.over_time(panels)).decode()
        widgets.show_html(f'<img class="sx-figure" alt="{charts.escape(told)}" src="data:image/png;base64,{data}">')
    rows = [
        {
            "recorded": case.day.isoformat(),
            "recording": case.recording,
            "task": case.task,
            "model": case.model,
            "answer": "no class" if case.p != case.p else f"{case.scale} {case.p:.2f}",
        }
        for case in theirs
    ]
    widgets.show_html(
        charts.table(rows, f"Saved cases of {chosen}. Another task, model or microphone moves every value.")
    )
