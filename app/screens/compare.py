"""Compare: do the methods agree?"""

from __future__ import annotations

import streamlit as st

from app import charts, inspecting, noting, player, state, widgets
from speechxai import SpeechXAIError
from speechxai.explain.agreement import STRONGEST
from speechxai.explain.recipe import CONTROLS
from speechxai.inspection import inspect, words
from speechxai.inspection.inspect import Explained

MOST = 6

widgets.page("Do the methods agree?")
left, middle, right, more = st.columns([3.4, 2.4, 5.2, 1.6], vertical_alignment="bottom")
with middle:
    model = widgets.choose_model()
with left:
    name = inspecting.choose_recording(model)
menu = state.method_menu(model)
if "compare_recipes" in st.session_state:
    st.session_state["compare_recipes"] = [r for r in st.session_state["compare_recipes"] if r in menu]
else:
    wanted = [
        st.session_state.get("chosen_recipe", state.FIRST_METHOD),
        "saliency",
        "integrated_gradients",
        "gradcam",
        "energy_map",
    ]
    st.session_state["compare_recipes"] = list(dict.fromkeys(r for r in wanted if r in menu))[:4]
with right:
    chosen = st.multiselect(
        "Maps, up to six",
        menu,
        key="compare_recipes",
        format_func=words.recipe_words,  # a chip has room for a name only
        max_selections=MOST,
        help="  \n".join(widgets.plain(words.method_words(recipe)) for recipe in words.METHOD_WORDS),
    )
with more, st.popover("Combine", width="stretch"):
    st.caption("Add what all chosen maps say together.")
    joined = [n for n in ("union", "intersection") if st.toggle(n.capitalize(), key=f"compare_{n}")]
recipes = [*chosen]
plain = [r for r in chosen if r not in CONTROLS]
if joined and len(plain) < 2:
    st.info("A combination needs two methods; controls are none.", icon=":material/join:")
recipes += [f"{n}({', '.join(plain)})" for n in joined if len(plain) > 1]
if len(recipes) < 2:
    st.info("Choose at least two maps to compare.", icon=":material/compare_arrows:")
    widgets.foot()
    st.stop()

key = ("catalogue", name)
try:
    widgets.load(model, key)
    with widgets.working(f"Making {len(recipes)} maps", f"compare {model}|{name}|{recipes}") as tick:
        heard = state.heard(model, key, tick)
        found = state.explained(model, key, [*recipes, *CONTROLS], tick) if heard.scope.named else {}
except SpeechXAIError as error:
    widgets.problem(error)
    st.stop()
inspecting.stop_without_class(heard)
widgets.show_html(inspecting.answer_line(heard, name))
maps = {r: m for r, m in found.items() if r in recipes and isinstance(m, Explained)}
for recipe in recipes:
    reason = found[recipe]
    if isinstance(reason, str):
        st.warning(widgets.plain(f"{words.recipe_words(recipe)} does not apply: {reason}"), icon=":material/block:")
if len(maps) < 2:
    widgets.foot()
    st.stop()

agreed = state.agreement(model, key, tuple(maps))
labels = [words.recipe_words(r) for r in maps]
if agreed.pairs:
    text = (
        f"{words.listing([labels[i] for i in sorted({i for pair in agreed.pairs for i in pair})])} share"
        f" {words.percent(agreed.mean)} of their strongest places"
        f"{', averaged over pairs' if len(agreed.pairs) > 1 else ''}, where unrelated maps share"
        f" {words.percent(STRONGEST)}"
    )
    if len(agreed.pairs) > 1:
        (a, b), (c, d) = (choose(agreed.pairs, key=lambda pair: agreed.overlaps[pair]) for choose in (max, min))
        text += (
            f": most {labels[a]} and {labels[b]} ({words.percent(agreed.overlaps[a, b])}), least {labels[c]} and"
            f" {labels[d]} ({words.percent(agreed.overlaps[c, d])})"
        )
    widgets.show_html(f'<p class="sx-sub">{charts.escape(text[0].upper() + text[1:])}.</p>')
block = state.kept(model, key, ("compare", name, *maps), lambda: inspecting.compare_view(heard, maps, name))
player.show(block, key="compare_player", on_kept=lambda: noting.take("compare_player"))
noting.shown_in(key, heard, "compare_player")

one, two = st.columns([1, 1], gap="large")
with one:
    st.header("Overlap of each pair")
    widgets.show_html(
        charts.matrix(
            labels,
            agreed.overlaps,
            "Share of the strongest 20 % of the places that both maps have in common; unrelated maps have 0.20."
            + "".join(
                f" {label} holds evidence in {words.percent(share, 1)} of the places only."
                for label, share in zip(labels, agreed.shares, strict=True)
                if words.has_few(share)
            ),
        )
    )
with two:
    controls = {c: m for c in CONTROLS if isinstance(m := found[c], Explained)}
    st.header("What each map is worth")
    scores = [
        {
            "map": words.recipe_words(r),
            "whole": heard.shown(m.p, m.target),
            "kept: strongest 20 % alone": heard.shown(m.p_kept, m.target),
            "removed: all but them": heard.shown(m.p_removed, m.target),
            "probability lost": m.p_fall,
            "soft mask: kept": heard.shown(m.soft_kept, m.target),
            "soft mask: removed": heard.shown(m.soft_removed, m.target),
            "loses to": ", ".join(words.recipe_words(c) for c in inspect.loses_to(m, controls)).replace(
                " (control)", ""
            )
            if r not in CONTROLS
            else "",
        }
        for r, m in [*maps.items(), *((c, found[c]) for c in CONTROLS if c not in maps)]
        if isinstance(m, Explained)
    ]
    widgets.show_html(
        charts.table(
            scores,
            f"{heard.scale(heard.predicted)} at one budget, and how much probability the answer loses; gray: it"
            " weakens no more than without as many places of a control.",
            muted=[bool(row["loses to"]) for row in scores],
        )
    )
widgets.glossary()
with st.expander("Rank correlation of each pair"):
    widgets.show_html(
        charts.matrix(labels, agreed.ranks, "Spearman's correlation over all places; 0 is what unrelated maps have.")
    )
widgets.foot()
widgets.try_methods(model)
