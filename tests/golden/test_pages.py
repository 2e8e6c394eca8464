"""What the app's pages show, by hand: charts, sentences, the player's views, progress, what stands in the address."""

from __future__ import annotations

import base64
import json
import re
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from app import boards, charts, inspecting, player, sources, state, widgets
from app.charts import Row
from speechxai.errors import SpeechXAIError
from speechxai.explain import METHODS
from speechxai.explain.combination import COMBINATIONS
from speechxai.explain.recipe import CONTROLS
from speechxai.inspection import report, voice
from speechxai.inspection.inspect import How, Inspection, inspect
from speechxai.inspection.notes import Note
from speechxai.inspection.words import METHOD_WORDS, TRUTH, method_words
from speechxai.metrics import METRICS
from speechxai.signal.audio import write
from speechxai.testing import noise_recording, tiny_bundle
from speechxai.types import Recording

NAN = float("nan")


def words(page: str) -> list[str]:
    """What stands between the tags."""
    return [part.strip() for part in re.split(r"<[^>]*>", page) if part.strip()]


def drawn(page: str) -> str:
    """The SVG inside a figure."""
    return base64.b64decode(page.split("base64,")[1].split('"')[0]).decode()


# --- charts ---------------------------------------------------------------------------------------------------------


def test_a_matrix_leaves_its_diagonal_empty_and_shades_by_value() -> None:
    page = charts.matrix(["a", "b<"], np.array([[1.0, 0.4], [NAN, 1.0]]), "how")
    assert words(page[page.index("<thead") :]) == ["map", "1", "2", "1 a", "–", "0.40", "2 b&lt;", "none", "–"]
    assert "rgba(11,102,112,0.22)" in page  # .55 of the value
    assert charts._shaded(2.0) == charts._shaded(1.0).replace("1.00", "2.00")
    assert "0.00)" in charts._shaded(-1.0)


def test_calibration_draws_what_was_stated_beside_what_came() -> None:
    page = charts.calibration(
        *(np.array([v]) for v in (0.2, 0.25, 0.1, 0.5, 4)), share="share <PD>", who="people", of="P(PD)"
    )
    assert 'alt="Calibration: stated 0.20, observed 0.25 of 4"' in page
    svg = drawn(page)
    # 300 points a unit: x from 40, y from 310 up to 10.
    assert '<line x1="40" y1="310" x2="340" y2="10"' in svg
    assert '<line x1="100.0" x2="100.0" y1="280.0" y2="160.0"' in svg
    assert '<circle cx="100.0" cy="235.0" r="5"' in svg
    assert words(svg) == [
        "0",
        "0",
        "0.5",
        "0.5",
        "1",
        "1",
        "4 people",
        "P(PD) that the model stated",
        "share &lt;PD&gt;",
    ]
    places = re.findall(r'<text x="([\d.]+)" y="([\d.]+)"', svg)
    assert [(float(x), float(y)) for x, y in places] == [
        *((40, 326), (34, 314), (190, 326), (34, 164), (340, 326), (34, 14)),
        *((190, 344), (12, 160)),
    ]
    assert 'viewBox="0 0 354 352"' in svg


def test_the_ends_of_an_interval_chart() -> None:
    # Values .2 to .4 and a mark at .5: the axis runs from .2 - .018 to .5 + .018.
    page = charts.intervals([Row("a", 0.3, 0.2, 0.4)], "t", [(0.5, "chance")], digits=2)
    assert 'class="dot" style="left:35.12%"' in page  # (.3 - .182) / .336
    assert 'class="span" style="left:5.36%;right:calc(100% - 64.88%)"' in page
    assert words(page)[1:4] == ["a", "0.30", "0.20 to 0.40"]
    alone = charts.intervals([Row("a", 0.3, NAN, NAN)], "t")
    assert "left:50.00%" in alone  # one value: .06 on both sides
    assert words(alone) == ["t", "a", "0.300"]


def test_shares_stand_in_percent_on_the_whole_axis() -> None:
    # The axis runs from -.06 to 1.06: .5 is its middle.
    page = charts.intervals([Row("a", 0.5, 0.25, 1.0)], "t", shares=True)
    assert words(page) == ["t", "a", "50 %", "25 % to 100 %"]
    assert 'class="dot" style="left:50.00%"' in page


def test_cells_of_a_table() -> None:
    page = charts.table([{"a": 1.0, "b": True, "c": "−0.1 (-0.2 to 0.3)", "d": "x & y"}], "c & d")
    assert words(page[page.index("<thead") :]) == [
        "a",
        "b",
        "c",
        "d",
        "1.000",
        "True",
        "−0.1",
        "-0.2 to 0.3",
        "x &amp; y",
    ]
    assert page.count('scope="col" class=n') == 2  # a bool is a number in Python


# --- sentences of the benchmark -------------------------------------------------------------------------------------


def rows(names: list[str], metric: str = "faithfulness", **more: Any) -> pd.DataFrame:
    made = [{"recipe": name, "metric": metric, "mean": 0.9 - 0.1 * i, "n_speakers": 12} for i, name in enumerate(names)]
    return pd.DataFrame(made).assign(low=0.0, high=1.0, model="m", **more)


def beating(board: pd.DataFrame, good: int) -> pd.DataFrame:
    """The first `good` rows beat every control, the others none."""
    first = np.arange(len(board)) < good
    for control in CONTROLS:
        wins = {"": 0.2, "_low": 0.1, "_high": 0.3, "_p": 0.0004}
        fails = {"": 0.0, "_low": -0.1, "_high": 0.1, "_p": 0.5}
        ends = {f"vs_{control}{end}": np.where(first, wins[end], fails[end]) for end in wins}
        board = board.assign(**{k: np.where(board["recipe"].isin(CONTROLS), NAN, v) for k, v in ends.items()})
    return board


METHODS_7 = ["saliency", "deep_lift", "occlusion", "rise", "gradcam", "smoothgrad", "input_x_gradient"]


def test_the_verdict_names_four_and_counts_the_rest() -> None:
    controls = list(CONTROLS)
    assert boards.verdict(rows(controls), "faithfulness") == "This run holds no method beside the controls."
    said = boards.verdict(rows(["rise"]), "comprehensiveness@20")
    assert said.startswith("Best by comprehensiveness, strongest 20\u00a0%: ")
    assert said.endswith(". Without controls in the run, nobody can say whether that is more than chance.")
    for n_good, end in (
        (7, ": saliency, DeepLIFT, occlusion, RISE and others."),
        (6, ": saliency, DeepLIFT, occlusion, RISE and others. The other 1 is not."),
        (4, ": saliency, DeepLIFT, occlusion, RISE. The other 3 are not."),
    ):
        said = boards.verdict(beating(rows([*METHODS_7, *controls]), n_good), "faithfulness")
        assert said.startswith(
            f"By faithfulness over 12 speakers, {n_good} of 7 methods are better than every map that"
        )
        names = re.search(r"\): (.*)", said)
        assert names is not None
        expected = ", ".join(boards.recipe_words(name) for name in METHODS_7[:4])
        assert f": {names[1]}" == end.replace("saliency, DeepLIFT, occlusion, RISE", expected)
    none = boards.verdict(beating(rows([*METHODS_7, *controls]), 0), "faithfulness")
    assert none.endswith("Read none of these maps as the model's reason.")


def test_differences_to_controls_in_numbers() -> None:
    first, second = boards.against_controls(beating(rows(["saliency", "rise", "random_map"]), 1))
    assert first["minus random map"] == "+0.200 (+0.100 to +0.300), p < 0.001"
    assert second["minus random map"] == "+0.000 (-0.100 to +0.100), p = 0.500"
    assert list(first) == ["map", *(f"minus {c.replace('_', ' ')}" for c in CONTROLS)]
    assert boards.against_controls(rows(["saliency"])) == []
    lost = boards.against_controls(beating(rows(["saliency"]), 1).assign(vs_random_map=NAN, vs_random_map_p=NAN))
    assert lost[0]["minus random map"] == ""


def test_the_pages_answer_is_one_sentence() -> None:
    controls = list(CONTROLS)

    def said(names: list[str], n_good: int, **more: Any) -> str:
        board = beating(rows([*names, *controls], **more), n_good)
        return boards.advice(boards.ranking(board, "faithfulness"), "my-model")

    assert said(METHODS_7, 2) == (
        "Use saliency for my-model, because over 12 speakers the answer weakens more without what it marks than without"
        " what any map that knows nothing of the model marks (faithfulness)."
    )
    assert said(METHODS_7, 0).startswith(
        "Use none of these methods for my-model, because of none it is shown over 12 speakers that the answer weakens"
    )
    assert boards.reason("sufficiency@20", "it", "another") == (
        "what it marks keeps the answer better than what another marks (sufficiency, strongest 20\u00a0%)"
    )
    assert boards.reason("average_gain", "it", "others") == "by average gain it is better than others"
    assert "3 speakers are too few to test" in boards.advice(
        boards.ranking(beating(rows([*METHODS_7, *controls]), 2).assign(n_speakers=3), "faithfulness"), "m"
    )
    assert said([], 0).startswith("Nothing can be advised: this run holds no method")
    alone = boards.advice(boards.ranking(rows(["rise"]), "faithfulness"), "m")
    assert alone.startswith("Nothing can be advised for m, because this run holds no maps that know nothing")
    assert alone.endswith("best by faithfulness is rise.")


def test_what_a_run_says_of_a_method_is_carried_to_its_maps() -> None:
    ranked = boards.ranking(beating(rows([*METHODS_7, *CONTROLS]), 2), "faithfulness")
    assert ranked.good == ("saliency", "deep_lift")
    nothing = "better than all maps that know nothing of this model"
    began = "In the run demo, over 12 speakers,"
    assert boards.carried(ranked, "saliency", "demo") == (False, f"{began} saliency was {nothing}.")
    assert boards.carried(ranked, "deep_lift", "demo") == (
        False,
        f"{began} deep lift was {nothing}; best was saliency.",
    )
    assert boards.carried(ranked, "rise", "demo") == (True, f"{began} rise was not {nothing}: saliency was.")
    none = boards.ranking(beating(rows([*METHODS_7, *CONTROLS]), 0), "faithfulness")
    assert boards.carried(none, "rise", "demo")[1].endswith(", and neither was any other method.")


def test_only_a_run_of_this_very_model_speaks_of_its_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    board = beating(rows([*METHODS_7, *CONTROLS]), 1)
    found = sources.Run(board, "", (), model="m", sha256="same")
    monkeypatch.setattr(state, "runs", lambda: {"a/path": "demo"})
    monkeypatch.setattr(state, "run", lambda path: found)
    monkeypatch.setattr(state, "bundle", lambda model: SimpleNamespace(sha256=model))
    ranked = boards.ranking(board, "faithfulness")
    assert state.from_runs("same", "saliency") == boards.carried(ranked, "saliency", "demo")
    assert state.from_runs("same", "captum:Lime") is None  # the run did not score it
    assert state.from_runs("other", "saliency") is None  # other weights


@pytest.mark.parametrize("n_good", [0, 1])
def test_what_a_benchmark_advises(n_good: int) -> None:
    group = "synthetic/tremor/1"
    said = boards.truth_advice(beating(rows([*METHODS_7, *CONTROLS]), n_good), group, "deletion_auc")
    assert said.startswith("Use saliency for tremor" if n_good else "Use none of these methods for tremor")
    assert boards.truth_advice(rows(["rise"]), group, "deletion_auc").endswith("too little was explained to test any.")


def test_what_is_compared() -> None:
    both = pd.concat([rows([TRUTH, "rise"], metric) for metric in ("mean_mask", "average_drop", "deletion_auc")])
    both = pd.concat([both, rows(["rise"], "comprehensiveness@20"), rows(["rise"], "faithfulness").assign(model="n")])
    assert boards.metrics_of(both) == ["comprehensiveness@20", "deletion_auc", "faithfulness", "average_drop"]
    assert boards.groups(both) == ["m", "n"]
    assert set(boards.of_group(both, "m")["recipe"]) == {"rise"}
    assert len(boards.of_group(both, "n")) == 1
    low = boards.leaderboard(rows(["a", "b", "c"], "average_drop").assign(mean=[0.2, NAN, 0.1]), "average_drop")
    assert low["recipe"].tolist() == ["c", "a", "b"]
    assert boards.is_sanity("seed_stability")
    assert not boards.is_sanity("faithfulness")
    assert boards.metric_question("nothing") == ""
    for metric in (name for name in METRICS if not name.startswith("quantus:")):
        end = {"high": "Higher is better.", "low": "Lower is better.", "none": "Neither way is better."}
        assert boards.metric_question(metric).endswith(f". {end[METRICS.facts(metric)['best']]}")
        assert boards.best_is_low(metric) == (METRICS.facts(metric)["best"] == "low")


def test_lines_and_columns_of_a_run() -> None:
    lines = boards.lines(rows(["saliency", *(f"m{i}" for i in range(30)), *CONTROLS]))
    assert len(lines) == boards.MOST_ROWS + len(CONTROLS)  # a control is never cut off, wherever it stands
    assert [line.muted for line in lines] == [False] * boards.MOST_ROWS + [True] * len(CONTROLS)
    assert (lines[0].value, lines[0].low, lines[0].high) == (0.9, 0.0, 1.0)
    table = pd.concat([rows(["saliency", "rise"]), rows(["saliency"], "average_drop").assign(mean=NAN)])
    first, second = boards.side_by_side(table, ["faithfulness", "average_drop"])
    assert first == {"map": "saliency", "faithfulness": "0.900 (0.000 to 1.000)", "average drop": ""}
    assert second["faithfulness"] == "0.800 (0.000 to 1.000)"
    assert boards.side_by_side(table, []) == []


def tasks(reasons: list[str]) -> pd.DataFrame:
    made = [
        {"group": "synthetic/tremor/1", "seed": i, "auc": 0.5 + 0.1 * i, "excluded": reason, "n_speakers": NAN}
        for i, reason in enumerate(reasons)
    ]
    frame = pd.DataFrame(made).assign(
        auc_low=NAN, auc_high=0.9, rms_auc=0.456, n_explained=3, added_area=NAN, removed_area=NAN, verdict="learned"
    )
    frame.loc[0, "auc"] = NAN
    return frame


def test_tests_that_do_not_count() -> None:
    assert boards.learned(tasks([""])) == "1 of 1 tests count."
    said = boards.learned(tasks(["", *["low"] * 5]))
    assert said.startswith("1 of 6 tests count. Not judged, because")
    assert said.endswith("seed 4 (AUC 0.90) and 1 more.")
    assert said.count("seed") == 4
    assert "more" not in boards.learned(tasks(["", *["low"] * 4]))
    first, second = boards.task_rows(tasks(["", "low"]))
    assert (first["held-out AUC"], second["held-out AUC"]) == ("–", "0.60 (– to 0.90)")
    assert (first["speakers"], first["truth, share of the picture"]) == ("–", "–")
    assert first["AUC of loudness alone"] == "0.46"
    assert (first["verdict"], second["verdict"]) == ("learned", "excluded: low")


def test_answers_of_a_cue_without_methods_or_controls() -> None:
    named = "Tremor in synthetic voices"
    group = "synthetic/tremor/1"
    assert boards.answer(rows(["edge_map"]), group, "faithfulness") == f"{named}: no explanation has this score."
    alone = boards.answer(rows(["rise"]), group, "deletion_auc")
    assert alone == (
        f"{named}: by deletion AUC, {boards.recipe_words('rise')} points at the truth best, 0.90 (0.00 to 1.00) over 12"
        " speakers."
    )
    assert boards.chance_of(pd.DataFrame({"model": ["x"], "metric": ["y"], "expected": [1]}), group, "y") == []
    rows_ = [Row("few", 0.9, 0.8, 1.0, True), Row("one", 0.5, 0.2, 0.8), Row("two", -0.2, -0.4, 0.0)]
    said = boards.which_score(rows_)
    assert "one says most" in said
    assert "(rank correlation 0.50, 0.20 to 0.80), two least (-0.20)." in said
    assert "elsewhere" not in said  # the interval touches 0


def test_spans() -> None:
    assert boards.span(None) == boards.span({"value": NAN}) == boards.NOTHING == "–"
    row = {"value": 0.126, "low": NAN, "high": NAN}
    assert (boards.span(row), boards.span(row, signed=True)) == ("0.13", "+0.13")
    assert boards.span({**row, "low": -0.1, "high": 0.3}, signed=True) == "+0.13 (-0.10 to +0.30)"


# --- pieces of pages ------------------------------------------------------------------------------------------------


def said(**changes: Any) -> Any:
    """A recording of which the model says PD with .75; without a fifth it is between .5 and 1."""
    facts: dict[str, Any] = {
        "predicted": 1,
        "condition": 1,
        "class_names": ("HC", "PD"),
        "probability": np.array([0.25, 0.75]),
        "range": lambda index: (0.5, 1.0) if index == 1 else (0.0, 0.0),
        "scale": lambda index: "P(PD)",
        "shown": lambda p, index: p if index == 1 else 1 - p,
        "chances": lambda share: [f"Half of 1 in {round(1 / share)}."],
        "fold": 0,
        "folds": np.zeros((1, 2)),
        "bundle": SimpleNamespace(probability_words="probability, not calibrated <"),
        "scope": SimpleNamespace(state="inside", reason="because <"),
    }
    return SimpleNamespace(**{**facts, **changes})


def test_the_answer_and_how_far_it_moves() -> None:
    page = widgets.verdict(said())
    assert words(page) == [
        "The model says",
        "Parkinson&#x27;s disease",
        "P(PD)",
        "0.75",
        "Probability, not calibrated &lt; by a network that never heard this speaker. Stability: 0.50 to 1.00 when any"
        " fifth of the recording is left out.",
        "Half of 1 in 100.",
    ]
    assert 'alt="P(PD) 0.75, stable between 0.50 and 1.00"' in page
    # 292 points a unit, from 4.
    svg = drawn(page)
    assert 'x1="150.0" x2="296.0"' in svg
    assert '<circle cx="223.0"' in svg
    page = widgets.verdict(said(fold=None, folds=np.zeros((6, 2))), "HC", same=False)
    assert words(page)[1] == "(but labeled Healthy control)"
    assert (
        "by the final network. Stability: 0.50 to 1.00 when any fifth of the recording is left out or one of the 5"
        " other networks answers." in page
    )
    # Of two classes there is one scale, whichever is the answer.
    page = widgets.verdict(said(predicted=0, probability=np.array([0.75, 0.25])))
    assert words(page)[1:4] == ["Healthy control", "P(PD)", "0.25"]
    assert '<circle cx="77.0"' in drawn(page)
    assert widgets.verdict(said(), share=0.05).endswith("<p>Half of 1 in 20.</p></div></div>")
    assert words(widgets.verdict(said(), "PD", same=True))[1] == "(as labeled)"
    assert words(widgets.verdict(said(), "x", same=None))[1] == "(labeled x)"
    for kind, head in (("outside", "No class"), ("unknown", "Scope unknown")):
        page = widgets.verdict(said(scope=SimpleNamespace(state=kind, reason="2 s <")), "HC", same=True)
        assert words(page) == ["The model says", head, "2\u00a0s &lt;"]


def test_words_of_a_map() -> None:
    verdict: Any = SimpleNamespace(key="weak", text="Head <: the reason: 5 %")
    assert widgets.map_verdict(verdict) == '<p class="sx-worth weak"><b>Head &lt;</b>: the reason: 5\u00a0%</p>'
    assert widgets.unbroken("1 s, 20 %, 3 kHz, 4 Hz, -5 dB, 2 samples & 6 Hzx") == (
        "1\u00a0s, 20\u00a0%, 3\u00a0kHz, 4\u00a0Hz, -5\u00a0dB, 2 samples &amp; 6 Hzx"
    )
    lines: Any = [SimpleNamespace(kind=k, text=f"{k}.") for k in ("verdict", "where", "caution", "when")]
    assert words(widgets.sentences(lines)) == ["What matters", "where.", "when."]
    assert words(widgets.cautions(lines)) == ["Before you trust it", "caution."]
    assert widgets.cautions(lines[:2]) == ""
    assert words(widgets.sentences(lines[:2])) == ["What matters", "where."]


def test_a_strip_of_people_by_hand() -> None:
    page = charts.strip({"HC <": [1.0, 2.0], "PD": [3.0]}, 5.0)
    svg = drawn(page)
    # 180 points from 34 for 1 to 5: 45 a unit.
    assert re.findall(r'<circle cx="([\d.]+)" cy="(\d+)"', svg) == [("34.0", "8"), ("79.0", "8"), ("124.0", "20")]
    assert '<line x1="214.0" x2="214.0"' in svg
    assert words(svg) == ["HC &lt;", "PD"]
    assert 'alt="this recording 5; HC &lt;: 2 recordings, middle half 1.25 to 1.75; PD: 1 recordings' in page
    assert "<circle" in drawn(charts.strip({"HC": [2.0]}, 2.0))  # one value: the axis has no width


def test_a_row_of_the_picker() -> None:
    row: dict[str, Any] = {"label": 1, "task": "vowel-a", "sex": "M", "age": 64.0}
    told = inspecting.row_words("x" * 30 + "9B6A", row, ["HC", "PD"], ["HC", "PD"])
    assert told == f"PD · M 64 · vowel-a · …{'x' * 20}9B6A"
    known = {"probability": 0.49, "predicted": 0, "scope": "inside"}
    assert inspecting.row_words("r", {**row, **known}, ["HC", "PD"], ["HC", "PD"]).startswith(
        "PD · ✗ model says HC, P(PD) 0.49 · M 64"
    )
    right = {**row, **known, "predicted": 1, "probability": 0.8}
    assert "✗" not in inspecting.row_words("r", right, ["HC", "PD"], ["HC", "PD"])
    outside = {**row, **known, "scope": "outside"}
    assert inspecting.row_words("r", outside, ["HC", "PD"], ["HC", "PD"]) == "PD · no class · M 64 · vowel-a · r"
    nobody = {"label": None, "task": "t", "sex": "unknown", "age": NAN}
    assert inspecting.row_words("r", nobody, ["HC", "PD"], ["HC", "PD"]) == "no label · t · r"


def test_models_stand_in_addresses_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "models", lambda: ["/home/me/runs/net", "other/net", "synthetic-cnn"])
    assert sources.models_by_name() == {
        "net": "/home/me/runs/net",
        "net-2": "other/net",
        "synthetic-cnn": "synthetic-cnn",
    }


def test_a_recording_is_forgotten_with_all_that_was_computed_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    state_of: dict[str, Any] = {"mine": {"a": ("a.wav", b""), "b": ("b.wav", b"")}}
    state_of |= {"mine_results": 1, "mine_kept": 2, "mine_what_ifs": 3, "other": 4}
    monkeypatch.setattr(sources.st, "session_state", state_of)
    sources.forget_mine("a")
    assert state_of == {"mine": {"b": ("b.wav", b"")}, "other": 4}


def test_labels_and_names_of_a_row() -> None:
    assert [widgets.label_of({"label": v}) for v in (None, NAN, "<NA>", 0, 1.0)] == [
        None,
        None,
        None,
        0,
        1,
    ]
    assert widgets.label_of({}) is None
    assert widgets.short_name(("mine", "digest"), "title") == "title"
    assert widgets.short_name(("catalogue", "name"), "title") == "name"


class Page(SimpleNamespace):
    """Stands for Streamlit: keeps what was shown."""

    def __init__(self) -> None:
        super().__init__(query_params={}, session_state={}, shown=[])

    def show(self, *what: Any, **more: Any) -> Any:
        self.shown.append((*what, *(more.get(key) for key in ("text", "index", "key") if key in more)))
        return self

    title = html = toast = info = error = button = progress = container = empty = show

    def selectbox(self, label: str, options: Any, index: int, **more: Any) -> Any:
        self.shown.append((label, list(options), index, more["key"]))
        return list(options)[index]

    def stop(self) -> None:
        raise StopIteration

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Page:
    made = Page()
    monkeypatch.setattr(widgets, "st", made)
    return made


def test_a_choice_is_named_by_the_address_then_the_session_then_the_default(page: Page) -> None:
    options = ("a", "b", "c", "d")
    assert widgets.recalled("x", options) == 0
    assert widgets.recalled("x", options, "d") == 3
    page.session_state["chosen_x"] = "c"
    assert widgets.recalled("x", options, "d") == 2
    page.query_params["x"] = "b"
    assert widgets.recalled("x", options, "d") == 1
    page.query_params["x"] = "gone"
    assert widgets.recalled("x", options, "d") == 2
    assert widgets.choose("Word", "y", options, default="b") == "b"
    assert (page.query_params["y"], page.session_state["chosen_y"]) == ("b", "b")


def test_a_link_to_what_is_not_here_is_said_once(page: Page) -> None:
    for _ in range(2):
        page.query_params["x"] = "gone*"
        page.session_state["box_x"] = "old"
        assert widgets.choose("Map", "x", ("a", "b")) == "a"
        assert "box_x" not in page.session_state
        page.session_state["chosen_x"] = "a"
    toasts = [shown[0] for shown in page.shown if len(shown) == 1]
    assert toasts == ["The link names the map 'gone\\*', which is not here."]


def test_work_shows_itself_after_a_while_and_can_be_stopped(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [10.0]
    monkeypatch.setattr(widgets, "time", SimpleNamespace(monotonic=lambda: now[0]))
    texts = []
    with widgets.working("Work", "job") as tick:
        for at, step in ((10.3, (1, 8)), (10.5, (2, 8)), (10.6, (3, 8)), (10.8, ()), (14.0, (6, 8))):
            now[0] = at
            before = len(page.shown)
            tick(*step)
            texts.append([shown for shown in page.shown[before:] if len(shown) == 2 and isinstance(shown[0], float)])
    # Nothing before .4 s, nothing within .25 s of the last; without a total it nears 1 by 3 % a step.
    assert texts[0] == texts[2] == []
    assert texts[1] == [(0.25, "Work: 2 of 8")]
    assert texts[3] == [(pytest.approx(1 - 0.97**4), "Work: 1 s")]
    assert texts[4] == [(0.75, "Work: 6 of 8")]
    page.session_state["stopped"] = "job"
    page.button = lambda *_, **__: False  # type: ignore[method-assign]
    with pytest.raises((StopIteration, RuntimeError)), widgets.working("Work", "job"):
        pass
    assert page.shown[-1] == ("Work: stopped.",)
    with widgets.working("Work", "another"):
        pass


# --- a recording explained ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Inspection:
    bundle = tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")
    return inspect(noise_recording("a/ü b"), bundle, "input_x_gradient", How(seed=1))


def header(block: bytes) -> dict[str, Any]:
    (length,) = struct.unpack_from("<I", block, 4)
    found: dict[str, Any] = json.loads(block[8 : 8 + length])
    return found


def test_a_long_recording_keeps_the_strongest_of_every_few_frames() -> None:
    # five frames by two: the last one stands alone; (F, T) and (M, F, T) go the same way
    values = np.array([[1.0, 5.0, 2.0, 0.0, 3.0], [4.0, 0.0, 0.0, 6.0, 1.0]])
    assert player.pool(values, 2).tolist() == [[5, 2, 3], [4, 6, 1]]
    assert player.pool(values[None], 3).tolist() == [[[5, 3], [4, 6]]]
    assert player.pool(values, 1) is values


def test_the_player_is_told_what_it_plays(seen: Inspection) -> None:
    heard, one = seen.heard, seen.map
    name, scale = heard.class_names[one.target], "P(PD)"
    p, p_kept, p_removed = (heard.shown(v, one.target) for v in (one.p, one.p_kept, one.p_removed))
    found = header(inspecting.player_view(heard, one, "title", [{"name": "t", "intervals": []}]))
    assert [s["label"] for s in found["sounds"]] == ["Original", "Kept", "Removed"]
    assert [s["key"] for s in found["sounds"]] == ["original", "kept", "removed"]
    assert [s["note"] for s in found["sounds"]] == [f"{scale} {v:.2f}" for v in (p, p_kept, p_removed)]
    gains = [gain for _, gain in report.sounds(heard, one).values()]
    assert [s["title"] for s in found["sounds"]] == [
        "The recording as the model hears it.",
        f"Only the strongest 20 % of the evidence; {scale} {p_kept:.2f}. Level matched: {gains[0]:+.0f} dB.",
        f"Without the strongest 20 % of the evidence; {scale} {p_removed:.2f}. Level matched: {gains[1]:+.0f} dB.",
    ]
    whole = {"HC": "Healthy control", "PD": "Parkinson's disease"}[name]
    assert found["summary"] == f"The model says {whole}, {scale} {p:.2f}. Evidence for {whole}."
    assert found["tiers"] == [{"name": "t", "intervals": []}]
    assert found["evidence"] == whole
    assert found["maps"][0]["key"] == f"input_x_gradient for {whole}"
    assert "against" in found["maps"][0]
    both = header(inspecting.compare_view(heard, {"a": one, "b": seen.controls["edge_map"]}, "title"))
    assert [m["key"] for m in both["maps"]] == ["input_x_gradient", "edge_map"]
    assert both["maps"][0]["note"] == f"{scale} without it: {p_removed:.2f} (whole: {p:.2f})"
    assert both["summary"] == "2 maps of one recording: input x gradient, edge map (control)."
    assert len(both["sounds"]) == 1


def test_a_saved_case_holds_everything(seen: Inspection, tmp_path: Path) -> None:
    folder = report.save_case(seen, "my vöice.wav", b"content", tmp_path / "cases")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d{6}_my_voice", folder.name)
    assert sorted(path.name for path in folder.iterdir()) == [
        "case.json",
        *("my_voice.TextGrid", "my_voice.wav", "my_voice_kept.wav", "my_voice_labels.txt", "my_voice_removed.wav"),
        "report.html",
        "report.pdf",
    ]
    assert (folder / "my_voice.wav").read_bytes() == b"content"
    first = (folder / "my_voice_labels.txt").read_text().splitlines()[0]
    start, end = seen.regions[0]
    assert first == f"{start:.6f}\t{end:.6f}\tevidence 1"
    facts = json.loads((folder / "case.json").read_text())
    assert facts["recording"] == "my vöice.wav"
    assert facts["probability"] == {
        k: pytest.approx(v) for k, v in zip(("HC", "PD"), seen.heard.probability, strict=True)
    }
    assert set(facts["gain_db"]) == {"kept", "removed"}
    assert facts["made"]["settings"]["target"] == facts["explained"] == seen.heard.class_names[seen.map.target]
    assert (facts["budget"], facts["share_of_bins"]) == (0.2, seen.map.share)
    assert facts["regions_s"] == [list(region) for region in seen.regions]


def test_the_report_of_a_case(seen: Inspection) -> None:
    page = report.case_html(seen, "a <b>").decode()
    said = words(re.sub(r"<(style|script)>.*?</\1>", "", page, flags=re.DOTALL))
    shown = seen.heard.shown
    assert said[:2] == ["a &lt;b&gt;: case report", "a &lt;b&gt;"]
    assert re.fullmatch(
        r"Case report, [\d-]+ [\d:]+ · model Random weights, for tests · explained by\s+input x gradient · 0\.80 s",
        said[2],
    )
    name = seen.class_name.replace(chr(39), "&#x27;")
    assert said[3].startswith(f"The model says {name}, P(PD) {seen.heard.probability[1]:.2f}: ")
    assert re.fullmatch(r"Answered by the final network\. Stability: 0\.\d\d to [01]\.\d\d when .* left out.*", said[4])
    assert "How often it is right about people it never heard is not known" in said[5]
    assert said[6] == f"The map of the evidence for {name}: {seen.verdict.label}."
    heads = re.findall(r"<h2>(.*?)</h2>", page)
    assert heads[-3:] == ["P(PD), whole and in halves", "The recording", "What the model cannot do"]
    assert "What matters" in heads
    assert "Where half of the evidence lies, s" in heads
    (row,) = re.findall(r"<tr><td>input x gradient</td>(.*?)</tr>", page)
    m = seen.map
    assert words(row) == [
        f"{shown(v, m.target):.3f}" for v in (m.p, m.p_kept, m.p_removed, m.soft_kept, m.soft_removed)
    ]
    assert page.count("</td></tr>") == 1 + len(seen.controls)
    assert "The model card names none." in page
    # Versions of what an answer depends on, and which weights.
    assert re.search(r"not a medical device.*Made on this computer by speechxai [\d.]+.*torch [\d.]+", said[-1])
    assert seen.heard.bundle.sha256[:12] in said[-1]


def beside(n: int) -> report.Beside:
    """What may stand beside a map: `n` notes and sentences, each longer than the sheet takes."""
    note = Note("x", "onset", 0.25, 0.5, 500.0, 2000.0, "longer than a line " * 30, {"weak": 2})
    return report.Beside(
        measures=voice.voice_measures(tone(), (0.25, 0.5)),
        region_s=(0.25, 0.5),
        label="Healthy control",
        person="P 07",
        recorded="2026-01-15",
        notes=[replace(note, id=str(i), name=f"onset {i}") for i in range(n)],
        what_if=[f"If the voice were breathier by {i} dB, P(PD) would rise." for i in range(n)],
    )


def tone() -> Recording:
    samples = torch.sin(2 * np.pi * 150 * torch.arange(16_000) / 16_000) * 0.3
    return Recording(samples, 16_000, "tone", "s", None, "vowel-a")


def test_a_sheet_says_how_much_of_what_it_holds(seen: Inspection) -> None:
    sheet = report.case_sheet(seen, "voice", beside(15))
    lines = {part.head: part for part in sheet.parts}
    assert "P 07 · recorded 2026-01-15 · labeled Healthy control · Case report" in sheet.subtitle
    notes = lines["Notes"].lines
    assert notes[0].startswith("onset 0 (0.25 to 0.50 s, 500 to 2000 Hz): weak 2: longer than a line")
    assert all(len(line) <= report.LONGEST_LINE for line in notes)
    assert (notes[0][-1], notes[-1]) == ("…", "8 of 15 notes.")
    assert lines["What if"].lines[-1] == "5 of 15 sentences."
    (measured,) = (part for head, part in lines.items() if head.startswith("Voice measures"))
    assert measured.head.endswith("; marked: 0.25 to 0.50 s")
    assert measured.header == ["measure", "recording", "marked", "published"]
    assert ["mean pitch", "150 Hz", "150 Hz", ""] in measured.rows
    few = {part.head: part for part in report.case_sheet(seen, "voice", beside(2)).parts}
    assert len(few["Notes"].lines) == len(few["What if"].lines) == 2


@pytest.mark.parametrize("n", [0, 2, 40])
def test_a_report_is_one_page_of_pdf_and_nothing_falls_off(seen: Inspection, n: int) -> None:
    from speechxai.report import sheet

    what = report.case_sheet(seen, "voice", beside(n) if n else None)
    placed, top, lowest = sheet.laid_out(what)
    assert lowest <= sheet.HEIGHT_MM - sheet.MARGIN_MM
    assert min(line.size for line in placed) > 0.85 * sheet.SMALLEST_PT
    assert all(
        line.x + sheet.text_width_mm(line.text, line.size, line.bold) <= sheet.WIDTH_MM - sheet.MARGIN_MM + 0.5
        for line in placed
    )
    assert all(not top < line.y < top + sheet.PICTURE_MM for line in placed)  # no word lies on the picture
    words_of_it = " ".join(line.text for line in placed)
    for part in what.parts:
        for line in part.lines:
            assert all(word in words_of_it for word in line.split())
    if n == 2:
        pdf = report.case_pdf(seen, "voice", beside(n))
        assert pdf.startswith(b"%PDF")
        assert len(re.findall(rb"/Type\s*/Page(?![a-zA-Z])", pdf)) == 1


def test_pictures_for_papers_name_recording_model_class_and_legend(seen: Inspection) -> None:
    png = report.titled_picture(seen, "voice 1")
    assert int.from_bytes(png[16:20], "big") == 2_000  # ten inches at twice the screen's 100 pixels
    svg = report.titled_picture(seen, "voice 1", "svg").decode()
    comments = re.findall(r"<!-- (.*?) -->", svg)
    name = seen.class_name
    for text in ("voice 1", "model Random weights, for tests", f"evidence for {name}", "evidence against it"):
        assert any(text in comment for comment in comments), text
    assert any(comment.startswith("P(PD) ") and seen.verdict.label in comment for comment in comments)


# --- where recordings come from -------------------------------------------------------------------------------------


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    cached = (sources.memory, sources.disk, sources.catalogue, sources.rows_by_name, sources.locator, sources._takes)

    def start(**settings: Any) -> None:
        for each in cached:
            each.clear()
        for module in (sources, state):
            monkeypatch.setattr(module, "settings", lambda: sources.Settings(**settings))

    monkeypatch.setenv("SPEECHXAI_CACHE", str(tmp_path / "cache"))
    yield start
    for each in cached:
        each.clear()


def test_models_of_the_data_come_first(started: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "bundle_names", lambda: ["z-net", "synthetic-cnn", "figshare-cnn", "b-net"])
    started()
    assert sources.models() == ["synthetic-cnn", "b-net", "figshare-cnn", "z-net"]
    started(data="figshare-voice", models=("mine", "z-net"))
    assert sources.models() == ["mine", "z-net", "figshare-cnn", "b-net", "synthetic-cnn"]


def test_synthetic_voices_stand_in_the_catalogue(started: Any) -> None:
    started()
    found = sources.catalogue()
    assert found["speaker"].nunique() == sources.N_SYNTHETIC_SPEAKERS
    assert ((found["severity"] > 0) == (found["label"] == 1)).all()
    assert set(found["dataset"]) == {"synthetic voices"}
    row = found.iloc[0]
    voice = sources.catalogue_recording(None, row["recording"])
    assert (voice.id, voice.label) == (row["recording"], row["label"])
    assert sources.rows_by_name()[row["recording"]]["speaker"] == row["speaker"]
    with pytest.raises(SpeechXAIError, match=r"^x: there is no such recording\. Choose one from the list\.$"):
        sources.catalogue_recording(None, "x")
    assert sources.data_card().startswith("**Synthetic voices.**")
    started(data="figshare-voice")
    assert sources.data_card().startswith("# ")
    started(data="/some/folder")
    assert sources.data_card() == ""


def test_a_readers_recording_is_known_by_its_content_and_named_as_it_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept: dict[str, tuple[str, bytes]] = {}
    monkeypatch.setattr(sources, "mine", lambda: kept)
    voice = noise_recording()
    write(tmp_path / "x.wav", voice.waveform, voice.sample_rate)
    key = sources.add_mine("my voice.WAV", (tmp_path / "x.wav").read_bytes())
    assert key == sources.add_mine("my voice.WAV", (tmp_path / "x.wav").read_bytes())
    assert (key[0], len(key[1])) == ("mine", 16)
    found = sources.original(key)
    assert (found.id, found.speaker, found.metadata["path"]) == ("my voice", f"mine/{key[1]}", "my voice.WAV")
    assert (found.sample_rate, len(found.waveform)) == (8_000, len(voice.waveform))
    assert float(found.waveform.abs().max()) == pytest.approx(0.5, abs=1e-3)  # neither leveled nor moved
    broken = sources.add_mine("bad", b"nothing")
    with pytest.raises(
        SpeechXAIError, match=(r"^bad: this is text, not audio, whatever its name says\. Name the recording itself\.$")
    ) as error:
        sources.original(broken)
    assert "speechxai-" not in str(error.value)


KINDS: dict[str, bytes] = {
    "memo.m4a": b"\0\0\0\x1cftypM4A \0\0\2\0" + bytes(64),
    "memo.webm": b"\x1aE\xdf\xa3" + bytes(64),
    "memo.amr": b"#!AMR\n" + bytes(64),
    "memo.wma": bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(64),
    "memo.aac": b"\xff\xf1P\x80" + bytes(64),
    "an m4a called.wav": b"\0\0\0\x1cftypM4A \0\0\2\0" + bytes(64),
    "strange coding.wav": b"RIFF$\0\0\0WAVEfmt \x10\0\0\0\xfe\x7f\1\0@\x1f\0\0\x80>\0\0\2\0\x10\0data\0\0\0\0",
    "sphere.wav": b"NIST_1A\n   1024\nsample_coding -s4 pcm,embedded-shorten-v2.00\nend_head\n" + bytes(1024),
    "noise.mp3": bytes(range(256)) * 4,
}


@pytest.mark.parametrize("name", KINDS)
def test_a_nurse_reads_no_command_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources.st, "session_state", {})
    key = sources.add_mine(name, KINDS[name])
    with pytest.raises(SpeechXAIError) as error:
        sources.read_mine(key[1], None)
    text = str(error.value)
    assert text.startswith(f"{name}: ")
    assert not re.search(r"ffmpeg|sph2pipe|sox|--channel|/tmp|speechxai data|recording\.wav", text)
    assert text.endswith("Export it as WAV or MP3, or record again with the microphone on this page.")


def test_channels_that_cancel_are_said_without_a_flag() -> None:
    said = sources.for_reader("a.wav: one is late. Choose one: --channel 0 (channel), or save it as a file of its own.")
    assert said == "a.wav: one is late. Export it as WAV or MP3, or record again with the microphone on this page."
    assert sources.for_reader("a.wav: the file is empty.") == "a.wav: the file is empty."


def test_what_another_program_must_decode_is_brought_as_its_wav(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources.st, "session_state", {})
    for wav in (b"RIFF made", None):
        monkeypatch.setattr(sources, "decoded", lambda content, most_s, wav=wav: wav)
        for name in ("memo.m4a", "memo.webm", "an m4a called.wav"):
            key = sources.bring(name, KINDS[name])
            assert (key is None) == (wav is None)
            if key is not None:
                assert sources.mine()[key[1]] == (f"{Path(name).stem}.wav", b"RIFF made")
    key = sources.bring("plain.wav", b"RIFF plain")
    assert key is not None
    assert sources.mine()[key[1]] == ("plain.wav", b"RIFF plain")


def test_a_large_model_says_that_it_is_read_before_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    place = SimpleNamespace(html=said.append, empty=lambda: said.append("gone"))
    monkeypatch.setattr(widgets.st, "empty", lambda: place)
    monkeypatch.setattr(sources, "recording", lambda model, key: None)

    def network(n_bytes: int) -> Any:
        return SimpleNamespace(
            fold_of=lambda recording: 2,
            unread_bytes=lambda fold: n_bytes,
            classifier=lambda fold: said.append(f"fold {fold} is read"),
        )

    monkeypatch.setattr(sources, "bundle", lambda model: network(360_000_000))
    widgets.load("m", ("catalogue", "r"))
    assert "Loading the model (360 MB)" in said[0]
    assert said[1:] == ["fold 2 is read", "gone"]
    said.clear()
    monkeypatch.setattr(sources, "bundle", lambda model: network(0))
    widgets.load("m", ("catalogue", "r"))
    assert said == []


def test_no_function_of_ours_is_named_while_a_reader_waits() -> None:
    """Streamlit's own spinner says "Running `name(...)`" wherever a cached function does not say otherwise."""
    for path in (Path(sources.__file__), Path(state.__file__)):
        for decorator in re.findall(r"@st\.cache_\w+(.*)", path.read_text(encoding="utf-8")):
            assert "show_spinner=" in decorator, decorator


def test_runs_are_found_in_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b", "a", "no-units"):
        (tmp_path / "runs" / name / ("units" if name != "no-units" else "x")).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.toml").touch()
    (tmp_path / "runs" / "no-config" / "units").mkdir(parents=True)
    assert list(sources.find((str(tmp_path / "runs"),)).values()) == ["a", "b"]
    assert list(sources.find((str(tmp_path / "runs" / "b"),)).values()) == ["b"]
    monkeypatch.chdir(tmp_path)
    assert sources.find(()) == {"runs/a": "a", "runs/b": "b"}


def test_facts_of_a_run(tmp_path: Path) -> None:
    table = pd.DataFrame({"metric": ["seed_stability"]})
    about = {"model": {"name": "net", "sha256": "f00"}}
    folder: Any = SimpleNamespace(path=tmp_path, table=lambda _: table, config={"data": "d", "model": "/x/net"})
    folder.environment = about
    folder.manifest = pd.DataFrame({"recording": ["a"]})
    folder.status = lambda: SimpleNamespace(n_done=3, n_units=5, n_failed=1)
    (tmp_path / "scores.csv").write_text("a")
    found = sources._evaluation(folder)
    assert found.facts == "3 of 5 recordings, 1 failed; data d, model net, protocol standard"
    assert [(label, name, kind) for label, name, kind, _ in found.files] == [("Scores (CSV)", "scores.csv", "text/csv")]
    assert not found.has_truth
    folder.status = lambda: SimpleNamespace(n_done=5, n_units=5, n_failed=0)
    table.loc[1, "metric"] = "average_drop"
    again = sources._evaluation(folder)
    assert again.facts.startswith("5 of 5 recordings; data d")
    # what its recordings say that they belong to goes before what was asked for, and a path is no name
    folder.config["data"] = "/home/me/voices/manifest.csv"
    folder.manifest["dataset"] = ["vowels"]
    assert sources._evaluation(folder).facts.startswith("5 of 5 recordings; data vowels, model net")
    folder.config["data"] = "d"
    assert [name for _, name, _, _ in again.files] == ["scores.csv", "table.tex"]
    folder.table = lambda _: table[:0]
    with pytest.raises(
        SpeechXAIError, match=r": no recording is scored yet\. Continue with 'speechxai evaluate --resume .*'\.$"
    ):
        sources._evaluation(folder)


def test_every_method_has_a_line_of_plain_words() -> None:
    own = {
        name for known in (METHODS, COMBINATIONS) for name in known if known[name].__module__.startswith("speechxai.")
    }
    assert own <= set(METHOD_WORDS)
    for name, line in METHOD_WORDS.items():
        assert name in METHODS or name in COMBINATIONS
        assert len(line) <= 75
        assert not re.search(r"gradient|logit|attribution|bins?\b|SHAP|_", line), line
    assert method_words("union(saliency, rise)") == "union(saliency, rise): where any of them marks"
    assert method_words("captum:Lime") == "captum:Lime: as the library captum computes it"
    assert method_words("somebody_elses") == "somebody elses"


# --- the app's door to the library ----------------------------------------------------------------------------------


def test_the_menu_ends_with_the_controls_and_leaves_out_what_a_network_cannot_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(state, "methods_tried", lambda model: {"rise": "", "attention_rollout": "no attention"})
    assert "attention_rollout" not in state.method_menu("m")
    assert "rise" in state.method_menu("m")
    monkeypatch.setattr(state, "methods_tried", lambda model: {})
    menu = state.method_menu("m")
    own = [name for name in METHODS if name not in CONTROLS]
    assert menu[: len(own)] == own
    assert menu[-len(CONTROLS) :] == list(CONTROLS)
    combined = [name for name in menu if "(" in name]
    assert combined == [
        f"{name}(saliency, integrated_gradients, gradcam)" for name in ("union", "intersection", "rank_mean")
    ]
    assert state.FIRST_METHOD in menu
    assert state.canonical("union( saliency,rise)") == "union(saliency, rise)"
    assert state.canonical("nothing") is None


def test_blocks_are_made_once_unless_they_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "heard", lambda *_: SimpleNamespace(digest="d"))
    monkeypatch.setattr(state, "MOST_KEPT_BYTES", 3)
    memory = sources.Memory(4)
    monkeypatch.setattr(state, "_kept", lambda: memory)
    made: list[bytes] = []

    def make(content: bytes) -> Any:
        return lambda: made.append(content) or content

    for name, content in (("a", b"123"), ("b", b"1234")):
        for _ in range(2):
            assert state.kept("m", ("catalogue", "r"), (name,), make(content)) == content
    assert made == [b"123", b"1234", b"1234"]


def test_answers_about_the_catalogue_are_kept_and_one_bad_recording_is_named(
    started: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started(keep_cache=True)
    table = pd.DataFrame({"recording": ["a", "b", "c"], "label": [0, 1, 1], "sha256": "x"})
    monkeypatch.setattr(state, "catalogue", lambda: table)
    chosen: Any = SimpleNamespace(config=SimpleNamespace(classes=("HC", "PD")), sha256="w", use="")
    monkeypatch.setattr(state, "bundle", lambda _: chosen)
    asked: list[str] = []

    def predicted(model: str, name: str) -> dict[str, Any]:
        asked.append(name)
        return (
            {"problem": "broken"}
            if name == "b"
            else {"p": [0.25, 0.75] if name == "a" else [0.875, 0.125], "scope": "inside"}
        )

    monkeypatch.setattr(state, "_predicted", predicted)
    steps: list[tuple[int, int]] = []
    found = state.predictions("m", lambda *step: steps.append(step))
    assert steps == [(0, 3), (1, 3), (2, 3)]
    assert found["problem"].tolist() == ["", "broken", ""]
    assert found["probability"].fillna(-1).tolist() == [0.75, -1, 0.125]
    assert found["predicted"].fillna(-1).tolist() == [1, -1, 0]
    assert found["scope"].tolist() == ["inside", "unknown", "inside"]
    assert found["p_HC"].fillna(-1).tolist() == [0.25, -1, 0.875]
    sources.memory.clear()
    pd.testing.assert_frame_equal(state.predictions("m"), found)  # from the disk
    assert asked == ["a", "b", "c"]
    table["sha256"] = "y"  # other recordings of the same names
    state.predictions("m")
    assert len(asked) == 6
    # What is done is written while it comes: who is killed loses no more than the last seconds.
    table["sha256"] = "z"
    monkeypatch.setattr(state, "KEEP_EVERY_S", -1.0)
    written = tmp_path / "cache" / "predictions" / f"{state._table_name(chosen)}.json"

    def look(done: int, _: int) -> None:
        assert [f"{name}|z" in json.loads(written.read_text()) for name in "abc"] == [at < done for at in range(3)]

    state.predictions("m", look)


@pytest.mark.parametrize("place", ["mine", "catalogue"])
def test_maps_of_the_catalogue_alone_lie_on_the_disk(
    place: str, seen: Inspection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    disk, memory = sources.Disk(tmp_path / "maps"), sources.Memory(9)
    asked: list[list[str]] = []

    def explain(what: Any, recipes: list[str], how: How, **_: Any) -> Any:
        assert how.target == seen.heard.class_names[seen.heard.predicted]
        asked.append(recipes)
        made = {"input_x_gradient": seen.map, "edge_map": seen.controls["edge_map"]}
        return {name: made[name] for name in recipes if name in made}, dict.fromkeys(recipes, "no reason")

    monkeypatch.setattr(state, "heard", lambda *_: seen.heard)
    monkeypatch.setattr(state, "disk", lambda: disk)
    monkeypatch.setattr(state, "_store", lambda _: memory)
    monkeypatch.setattr(state, "bundle_and_lock", lambda _: (None, None))
    monkeypatch.setattr(
        state, "inspect", SimpleNamespace(explain=explain, judge=lambda *_, **__: seen.verdict, How=How)
    )
    recipes = ["input_x_gradient", "rise", "edge_map"]
    for n_asked in (1, 1):  # the second time from the memory
        found = state.explained("m", (place, "r"), recipes)
        assert found == {"input_x_gradient": seen.map, "rise": "no reason", "edge_map": seen.controls["edge_map"]}
        assert len(asked) == n_asked
    assert state.verdict("m", (place, "r"), "input_x_gradient") == seen.verdict
    kept = sorted((tmp_path / "maps").glob("*")) if (tmp_path / "maps").exists() else []
    assert len(kept) == (3 if place == "catalogue" else 0)  # two maps and a verdict
    memory = sources.Memory(9)
    again = state.explained("m", (place, "r"), recipes)
    assert asked[1:] == [["rise"] if place == "catalogue" else recipes]
    one = again["input_x_gradient"]
    assert not isinstance(one, str)
    np.testing.assert_array_equal(one.mask, seen.map.mask)
    assert (one.against is None) == (seen.map.against is None)
    np.testing.assert_allclose(one.against, seen.map.against)  # type: ignore[arg-type]
    assert (one.p, one.p_kept, one.margin_fall, one.target) == (
        seen.map.p,
        seen.map.p_kept,
        seen.map.margin_fall,
        seen.map.target,
    )
