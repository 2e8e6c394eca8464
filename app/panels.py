"""What stands beside a map on a recording's page: voice measures of the whole and of what is marked."""

from __future__ import annotations

import streamlit as st

from app import charts, player, sources, state, widgets
from app.inspecting import Explanation
from speechxai.data.manifest import classes_of
from speechxai.inspection import report, voice
from speechxai.inspection.inspect import Inspection
from speechxai.inspection.voice import Measured
from speechxai.signal.acoustics import task_kind
from speechxai.signs.whatif import kind_of

TASKS = {"vowel": "a held vowel", "ddk": "repeated syllables"}


def beside(case: Explanation, found: Inspection, title: str) -> report.Beside:
    """Show what stands beside a map, and return it for the report."""
    region = player.region("player", case.heard.digest)
    measured = state.measured(case.model, case.key, region)
    made = report.Beside(share=widgets.share_of_ill(), measures=measured, region_s=region)
    with st.expander("Voice measures", expanded=True, icon=":material/straighten:"):
        _measures(case, made, title)
    return made


def _measures(case: Explanation, made: report.Beside, title: str) -> None:
    kind = task_kind(case.heard.recording.task)
    if kind == "unknown":
        kind = kind_of(case.heard.recording)
    one, two = st.columns([3, 1], vertical_alignment="bottom")
    with one:
        compared = st.toggle(
            "Show the data set beside",
            key="measures_people",
            help="Measures every recording of the same task once. Values of people are no verdict on anybody.",
        )
    with two:
        widgets.button("Voice measures (CSV)", f"{title}_measures.csv", "text/csv", lambda: report.measures_csv(made))
    people: dict[str, dict[int, list[float]]] = {}
    if compared:
        with widgets.working("Measuring the data set", f"measures {kind}") as tick:
            people = state.measured_people(kind, tick)
    widgets.show_html(_table(made, people, kind))


def _table(made: report.Beside, people: dict[str, dict[int, list[float]]], kind: str) -> str:
    """HTML of the measures: blank where the task does not define one."""
    labels = classes_of(sources.catalogue())
    header = ["measure", "recording", "marked", "data set", "reference and what else moves it"]
    left_out = ({"marked"} if made.region_s is None else set()) | ({"data set"} if not people else set())
    body = ""
    for one in voice.shown(made.measures):
        cells = {
            "measure": f"<th scope=row title='{charts.escape(one.measure.description)}'>"
            f"{charts.escape(one.measure.label)}</th>",
            "recording": f"<td class=v>{_value(one, one.value)}</td>",
            "marked": f"<td class=v>{_value(one, one.part)}</td>",
            "data set": f"<td>{_strip(one, people.get(one.measure.name, {}), labels)}</td>",
            "reference and what else moves it": f"<td><small>{_references(one)}</small></td>",
        }
        body += "<tr>" + "".join(cell for name, cell in cells.items() if name not in left_out) + "</tr>"
    head = "".join(f"<th scope=col>{name}</th>" for name in header if name not in left_out)
    where = "" if made.region_s is None else f"; marked: {made.region_s[0]:.2f} to {made.region_s[1]:.2f} s"
    caption = (
        f"Measured as {TASKS.get(kind, 'speech')}{where}. Blank where the"
        " task does not define a measure. None is a verdict."
    )
    return charts.scrolled(
        f'<table class="sx-table sx-measures"><caption>{charts.escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>",
        caption,
    )


def _value(one: Measured, value: float) -> str:
    return charts.escape(voice.value_words(value, one.measure.unit)).replace(" ", "\u00a0")


def _references(one: Measured) -> str:
    if not one.defined:
        return ""
    texts = [*(voice.reference_words(reference) for reference in one.references), one.measure.caveat]
    return " ".join(charts.escape(text) for text in texts)


def _strip(one: Measured, values: dict[int, list[float]], labels: tuple[str, ...]) -> str:
    if not one.defined or one.value != one.value or sum(map(len, values.values())) < 5:
        return ""
    return charts.strip({name: values.get(i, []) for i, name in enumerate(labels)}, one.value)
