"""Benchmark: which explanation can I trust?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from app import boards, charts, state, widgets
from app.boards import Study
from app.sources import Run
from speechxai import SpeechXAIError
from speechxai.explain.recipe import CONTROLS
from speechxai.inspection import words
from speechxai.metrics import LOCALIZATION_METRICS
from speechxai.planted.tables import TRUTHS


def say(*sentences: str, first: str = "") -> None:
    """Sentences in a card; the page's answer goes first and is larger."""
    lead = f'<p class="sx-lead"><b>{charts.escape(first)}</b></p>' if first else ""
    widgets.show_html(
        f'<div class="sx-card sx-words">{lead}' + "".join(f"<p>{charts.escape(s)}</p>" for s in sentences) + "</div>"
    )


def under(text: str) -> None:
    """A line of facts."""
    widgets.show_html(f'<p class="sx-sub">{charts.escape(text)}</p>')


def choose_score(metrics: Sequence[str], default: str | None = None) -> str:
    """The score that the page compares by."""
    return widgets.choose(
        "Score",
        "metric",
        metrics,
        boards.metric_words,
        "Each score asks another question; equal budgets compare methods fairly.",
        default,
    )


def show_run(run: Run, middle: Any, right: Any) -> None:
    """A run over recordings whose truth nobody knows: scores beside those of maps that know nothing."""
    groups = boards.groups(run.summary)
    group = groups[0]
    if len(groups) > 1:
        with right:
            group = widgets.choose("Model", "group", groups)
    summary = boards.of_group(run.summary, group)
    metrics = boards.metrics_of(summary)
    if not metrics:
        under(run.facts)
        say(
            "This run holds maps and no scores to compare them by. Score them with: speechxai evaluate --metrics"
            " default."
        )
        return
    with middle:
        metric = choose_score(metrics)
    under(run.facts)
    board = boards.leaderboard(summary, metric)
    name = group if len(groups) > 1 else run.model
    say(boards.verdict(board, metric), first=boards.advice(boards.ranking(board, metric), name))
    one, two = st.columns([5, 6], gap="large")
    with one:
        _chart(boards.lines(board), metric)
    with two:
        st.header("Better than knowing nothing?")
        found = boards.against_controls(board)
        if found:
            caption = (
                "Each method minus each control, over the same recordings: difference, 95 % interval, and p corrected"
                " for the number of comparisons. A method is better where p is under 0.05 and the interval lies above 0"
                " (below, for scores of which low is good)."
            )
            widgets.show_html(charts.table(found, caption))
        else:
            st.caption(f"This run holds no control ({', '.join(CONTROLS)}), so nothing can be compared with chance.")
    sane = [m for m in run.summary["metric"].unique() if boards.is_sanity(str(m))]
    if sane:
        st.header("Sanity checks")
        caption = "How a map changes with seeds, noise, or a network whose weights are random."
        widgets.show_html(charts.table(boards.side_by_side(summary, sane), caption))


def _chart(
    rows: Sequence[charts.Row], metric: str, marks: Sequence[tuple[float, str]] = (), over: str = "speakers"
) -> None:
    name = boards.metric_words(metric)
    st.header(widgets.plain(f"{name[0].upper()}{name[1:]}"))
    st.caption(f"{boards.metric_question(metric)} Mean over {over} with its 95 % interval; controls in gray.")
    widgets.show_html(charts.intervals(rows, f"{name}, with 95 % intervals", marks))


def show_truth(run: Run, middle: Any, right: Any) -> None:
    """A benchmark with a known truth: who points at it, cue by cue, which score would have told so, who is sane."""
    tables, summary = run.tables, run.summary
    groups = boards.groups(summary)
    if not groups:
        under(run.facts)
        say(boards.learned(tables["tasks"]), "So no explanation is judged.")
        _learned(run)
        return
    with right:
        group = widgets.choose(
            "Cue", "group", groups, words.cue_words, "What was planted, into which voices: each is a test of its own."
        )
    present = [m for m in (*TRUTHS, *LOCALIZATION_METRICS) if m in set(summary["metric"])]
    with middle:
        metric = choose_score(present, "relevance_rank" if "relevance_rank" in present else present[0])
    under(run.facts)
    rows = boards.board(summary, group, metric)
    believed = boards.believable(tables["believable"], group, metric)
    say(
        boards.answer(rows, group, metric),
        boards.which_score(believed),
        boards.learned(tables["tasks"]),
        first=boards.truth_advice(rows, group, metric),
    )
    over = boards.units(summary)
    one, two = st.columns([6, 5], gap="large")
    with one:
        _chart(boards.lines(rows), metric, boards.chance_of(tables["chance"], group, metric), over)
    with two:
        st.header("Which score would have told so?")
        st.caption(
            "Scores that need no truth: does the method they prefer also point at it? Rank correlation over methods"
            " within a recording; gray: too few speakers."
        )
        widgets.show_html(
            charts.intervals(believed, "Rank correlation with pointing at the truth", [(0.0, "not at all")], 2)
        )
    st.header("Every cue apart")
    names, columns, values, muted = boards.every_cue(summary, metric)
    caption = f"{boards.metric_words(metric)}: mean over {over}. The mean of the columns says nothing without them."
    widgets.show_html(charts.heat(names, columns, values, f"{caption[0].upper()}{caption[1:]}", muted))
    _learned(run)
    if not tables["sanity"].empty:
        st.header("Sanity checks")
        widgets.show_html(charts.table(boards.sanity_rows(tables["sanity"]), boards.CHECKS_CAPTION))
    with st.expander("Is the ruler straight?"):
        caption = f"{words.cue_words(group)}: what is known in advance, and what was measured."
        widgets.show_html(charts.table(boards.ruler(tables["chance"], group), caption))
    with st.expander("The scores that need no truth, at equal budgets"):
        part = boards.of_group(summary, group)
        shown = [m for m in boards.COMPARED_FIRST if m in set(part["metric"])]
        caption = f"{words.cue_words(group)}: mean over {over} and 95 % interval."
        widgets.show_html(charts.table(boards.side_by_side(part, shown), caption))


def _learned(run: Run) -> None:
    st.header("Was there anything to explain?")
    caption = (
        "Explanations are judged only where the network learned to hear the cue, tested on voices that it never heard."
        " Loudness alone must not tell (0.50)."
    )
    widgets.show_html(charts.table(boards.task_rows(run.tables["tasks"]), caption))


def show_studies(studies: Sequence[Study]) -> None:
    """What a small network learns from the maps alone: beside floors, the ceiling, and folds that leak."""
    st.header("What do the maps alone know?")
    if not studies:
        st.caption(
            "No study of this run yet. A run made with --maps can be asked: speechxai auxiliary RUN trains a small"
            " network on the maps alone."
        )
        return
    study = studies[0]
    if len(studies) > 1:
        titles = [s.title for s in studies]
        picked = st.segmented_control(
            "What the network is given",
            titles,
            default=titles[0],
            key="study",
            label_visibility="collapsed",
            format_func=widgets.plain,
        )
        study = next((s for s in studies if s.title == picked), study)
    under(f"{study.title}: {study.facts}")
    say(*(text for _, text in study.sentences))
    left, right = st.columns([4, 7], gap="large")
    with left:
        st.subheader("How well can the classes be told apart?")
        st.caption("AUROC on speakers the network never heard; 95 % intervals over speakers and seeds.")
        widgets.show_html(charts.intervals(study.lines, "AUROC", [(0.5, "chance")], 2))
    with right:
        caption = (
            "The same in numbers. ⚠ Leaky folds let the network hear the speakers it is tested on: what the published"
            " split would have said, no result."
        )
        widgets.show_html(charts.table(study.scores, caption))
    with st.expander("Differences to every floor and to the ceiling"):
        caption = (
            "AUROC of each explanation minus that of each floor and of the ceiling, paired over speakers and seeds; p"
            " after Holm correction."
        )
        widgets.show_html(charts.table(study.differences, caption))
    with st.expander("A model that can be read"):
        widgets.show_html(
            charts.table(
                study.twin, "A linear model on the evidence in each band and kind of sound, on speakers it never heard."
            )
        )
        name = st.selectbox("Its coefficients for", list(study.coefficients), key=f"twin_{study.title}")
        caption = (
            f"Log odds of {study.odds_of} for one standard deviation more evidence there: above 0 speaks for it, below"
            " 0 against. – where it never varies."
        )
        widgets.show_html(charts.table(study.coefficients[name], caption))


widgets.page("Which explanation can I trust?")
runs = state.runs()
if not runs:
    widgets.show_html(
        '<div class="sx-card sx-words"><h2>No run to show yet</h2><p>A run scores explanations of many recordings, so'
        " that methods can be compared with each other and with maps that know nothing of the model. A benchmark plants"
        " the reason into voices, so that it is known where an explanation must point. Both take minutes to hours and"
        " are made on the command line:</p><p><code>speechxai demo --out runs/demo</code><br><code>speechxai benchmark"
        " --quick --out runs/benchmark</code><br><code>speechxai app --run runs/demo --run"
        " runs/benchmark</code></p></div>"
    )
    widgets.foot()
    st.stop()
places = st.columns([3, 4, 4], vertical_alignment="bottom")
with places[0]:
    chosen = widgets.choose("Run", "run", list(runs), lambda path: runs[path])
try:
    run = state.run(chosen)
    studies = state.studies(chosen)
except SpeechXAIError as error:
    widgets.problem(error)
    widgets.foot()
    st.stop()
if run.has_truth:
    show_truth(run, places[1], places[2])
else:
    show_run(run, places[1], places[2])
    show_studies(studies)
widgets.glossary()
st.header("Take it away")
for place, (label, name, mime, make) in zip(st.columns(4), run.files, strict=False):
    with place:
        widgets.button(label, f"{runs[chosen]}_{name}", mime, make)
widgets.foot()
