"""Cohort: where does the model fail, and on whom?"""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import charts, sources, state, widgets
from speechxai import SpeechXAIError
from speechxai.classifiers import validation
from speechxai.data.manifest import own_columns
from speechxai.files import csv_table
from speechxai.inspection.words import class_words

widgets.page("Where does the model fail, and on whom?")
left, right = st.columns([3, 7], vertical_alignment="bottom")
with left:
    model = widgets.choose_model()
try:
    with widgets.working("Predicting all recordings", f"predict {model}") as tick:
        rows = state.predictions(model, tick)
except SpeechXAIError as error:
    widgets.problem(error)
    st.stop()
how = state.classes(model)
classes = how.names
labeled = rows[rows["label"].notna() & rows["probability"].notna()]
broken = rows[rows["problem"] != ""]
who = sources.who()
by_person = validation.people(labeled, classes)


def named(name: str) -> str:
    """A class as people read it; a synthetic voice has no disease."""
    return f"{'simulated ' if who.startswith('synthetic') else ''}{class_words(name)}"


with right:
    unscored = how.refused if sources.catalogue()["label"].notna().any() else ""
    said = unscored or validation.performance_words(labeled, classes, who, named)
    widgets.show_html(f'<p class="sx-lead">{widgets.unbroken(said)}</p>')
outside = int((rows["scope"] == "outside").sum())
if outside:
    st.warning(
        f"{outside} of {len(rows)} recordings are outside of what the model was made for: they get no class in the list"
        " below, and count in the figures all the same.",
        icon=":material/block:",
    )
elif (rows["scope"] == "unknown").all():
    st.warning("Scope unknown: the model does not say which recordings it was made for.", icon=":material/help:")
for row in broken.head(3).itertuples():
    st.warning(widgets.plain(row.problem), icon=":material/broken_image:")
if len(broken) > 3:
    st.caption(f"and {len(broken) - 3} more recordings that cannot be used.")

stated = f"P({classes[1]})" if len(classes) == 2 else "probability"
one, two = st.columns([1, 1], gap="large")
with one:
    st.header("Answers and labels")
    counts, shares = validation.confusion(by_person, len(classes))
    widgets.show_html(charts.confusion(classes, counts, shares, f"{who[0].upper()}{who[1:]}"))
with two:
    st.header("Do the probabilities hold?")
    bins = validation.calibration_bins(by_person, classes=classes)
    if bins is None:
        st.caption(f"At least 10 labeled {who} are needed.")
    else:
        share = f"share labeled {classes[1]}" if len(classes) == 2 else "share of right answers"
        widgets.show_html(charts.calibration(*bins, share=share, who=who, of=stated))

by_class = tuple(classes) == ("HC", "PD")
st.header("Whom does it find, and whom does it alarm?")
own = [name for name in own_columns(sources.catalogue()) if name not in validation.SEVERITIES]
by = st.selectbox("Also by", own, index=None, key="cohort_by") if own else None
groups = validation.by_group(labeled, classes, [by] if by else [])
for place, index in zip(st.columns(len(classes), gap="large"), reversed(range(len(classes))), strict=True):
    lines = [
        charts.Row(f"{g.name} ({r.k} of {r.n})", r.share, r.low, r.high, r.n < validation.FEW_SPEAKERS)
        for g in groups
        for r in [g.recalls[index]]
        if r.n
    ]
    with place:
        st.subheader(f"Of {who} labeled {classes[index]}, it says {classes[index]}")
        widgets.show_html(
            charts.intervals(lines, f"Of those labeled {classes[index]}, share with that answer", shares=True)
        )
st.caption(
    f"Counted in {who}, each once, by the mean over their recordings; exact 95 % intervals (Clopper and Pearson). Gray:"
    f" fewer than {validation.FEW_SPEAKERS}."
    + (
        " This share is the sensitivity of those labeled PD and the specificity of those labeled HC."
        if by_class
        else ""
    )
)

st.header("All recordings")
shown = validation.recordings_table(rows, classes)
picked = st.dataframe(
    shown,
    key=f"cohort_table_{model}",
    on_select="rerun",
    selection_mode="single-row",
    hide_index=True,
    height=330,
    column_config={stated: st.column_config.ProgressColumn(stated, min_value=0, max_value=1, format="%.2f")},
)
a, b, _ = st.columns([2, 2, 5])
with a:
    chosen = picked["selection"]["rows"]
    if st.button("Inspect the chosen recording", disabled=not chosen, width="stretch", type="primary"):
        widgets.remember("recording", str(shown.iloc[chosen[0]]["recording"]))
        st.session_state.pop("box_recording", None)
        st.switch_page("screens/inspect_recording.py")
with b:
    widgets.button(
        "Table (CSV)",
        f"cohort_{sources.bundle(model).name}.csv",
        "text/csv",
        lambda: csv_table(shown),
    )

st.header("Could it have learned something else?")
with st.container():
    if st.toggle("Check what else separates the classes", key="cohort_confounds", help="Reads every recording once."):
        with widgets.working("Measuring all recordings", f"confounds {model}") as tick:
            found = state.confounds(model, tick)
        alarms = [c for c in found if c.alarm]
        for confound in alarms:
            st.warning(
                f"{confound.note} (AUC {confound.auc:.2f}, chance up to {confound.chance:.2f}, higher in"
                f" {confound.higher_in}).",
                icon=":material/warning:",
            )
        widgets.show_html(
            charts.table(
                [
                    {
                        "what": c.name,
                        "AUC alone": "unknown" if pd.isna(c.auc) else f"{c.auc:.2f}",
                        "chance up to": "" if pd.isna(c.chance) else f"{c.chance:.2f}",
                        "what it means": c.note,
                    }
                    for c in found
                ],
                "How well each of these alone tells the classes apart; 0.50 is not at all.",
            )
        )
widgets.foot()
