"""Benchmark: which explanation can I trust?"""

from __future__ import annotations

import streamlit as st

from app import benchmark_facts, charts, downloads, state, widgets
from app.inspecting import table
from speechxai import SpeechXAIError

widgets.page("Which explanation can I trust?")
runs = state.runs()
if not runs:
    widgets.show_html(
        '<div class="sx-card sx-words"><h2>No run to show yet</h2><p>A run scores explanations of many recordings, so that methods can be compared '
        "with each other and with maps that know nothing of the model. It takes minutes to hours and is made on the command line:</p>"
        "<p><code>speechxai demo --out runs/demo</code><br><code>speechxai app --run runs/demo</code></p></div>"
    )
    widgets.foot()
    st.stop()
left, middle, right = st.columns([3, 4, 4], vertical_alignment="bottom")
with left:
    chosen = widgets.choose("Run", "run", list(runs), lambda path: runs[path])
try:
    run = state.run(chosen)
except SpeechXAIError as error:
    widgets.problem(error)
    widgets.foot()
    st.stop()
groups = benchmark_facts.groups(run.summary)
group = groups[0]
if len(groups) > 1:
    with right:
        group = widgets.choose("Cue", "group", groups, help_text="Each is a test of its own: material, cue, severity.")
summary = benchmark_facts.of_group(run.summary, group)
metrics = benchmark_facts.metrics_of(summary)
with middle:
    metric = widgets.choose(
        "Score",
        "metric",
        metrics,
        benchmark_facts.metric_words,
        "Each score asks another question; equal budgets compare methods fairly.",
    )
widgets.show_html(f'<p class="sx-sub">{charts.escape(run.facts)}</p>')
board = benchmark_facts.leaderboard(summary, metric)
widgets.show_html(f'<div class="sx-card sx-words"><p>{charts.escape(benchmark_facts.verdict(board, metric))}</p></div>')

one, two = st.columns([6, 5], gap="large")
with one:
    st.header(f"{benchmark_facts.metric_words(metric)}, with 95 % intervals")
    st.caption(benchmark_facts.metric_question(metric))
    widgets.show_html(charts.intervals(benchmark_facts.rows(board), benchmark_facts.metric_words(metric)))
with two:
    st.header("Better than knowing nothing?")
    found = benchmark_facts.against_controls(board)
    if found:
        widgets.show_html(
            table(
                found,
                "Difference to each control over the same recordings, with its 95 % interval and a p-value corrected for the number of comparisons.",
            )
        )
    else:
        st.caption("This run holds no control (energy_map, random_map), so nothing can be compared with chance.")

local = [m for m in metrics if benchmark_facts.is_localization(m)]
st.header("Do the maps point at the truth?")
if local:
    widgets.show_html(
        table(
            benchmark_facts.side_by_side(summary, local),
            "Recordings with planted cues: how much of each map lies where the cue is.",
        )
    )
else:
    st.caption(
        "This run has no planted cues, so the true place of the evidence is unknown. A benchmark run has: speechxai benchmark."
    )
sane = [m for m in metrics if benchmark_facts.is_sanity(m)]
st.header("Sanity checks")
if sane:
    widgets.show_html(
        table(
            benchmark_facts.side_by_side(summary, sane),
            "How a map changes with seeds, noise, or a network whose weights are random.",
        )
    )
else:
    st.caption(
        "This run did not measure sanity checks; add --metrics seed_stability or the Quantus metrics to the next one."
    )

a, b, c, _ = st.columns([2, 2, 2, 5])
with a:
    downloads.button("Scores (CSV)", f"{runs[chosen]}_scores.csv", "text/csv", run.scores_csv)
with b:
    downloads.button(
        "Summary (CSV)", f"{runs[chosen]}_summary.csv", "text/csv", run.summary.to_csv(index=False).encode()
    )
if run.latex:
    with c:
        downloads.button("Table (LaTeX)", f"{runs[chosen]}_table.tex", "text/plain", run.latex.encode())
widgets.foot()
