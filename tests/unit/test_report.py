"""The report says what the numbers say: every sentence is tested both ways."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from speechxai.evaluation.words import (
    _CONTROL,
    agreement_sentence,
    budget_sentence,
    classifier_sentence,
    combination_sentence,
    confound_sentence,
    control_sentence,
    findings,
    power_sentence,
    silence_sentence,
)
from speechxai.explain.recipe import CONTROLS
from speechxai.report import plots
from speechxai.report.render import Cell, Estimate, Row, Table, difference_cell, estimates, grouped, markdown, number
from speechxai.types import StftConfig

COMP, SUFF = "comprehensiveness@10", "sufficiency@10"


def row(
    recipe: str, metric: str, mean: float, difference: float = math.nan, p: float = math.nan, **more: float
) -> dict[str, object]:
    return {
        "model": "m",
        "recipe": recipe,
        "metric": metric,
        "mean": mean,
        "low": mean - 0.01,
        "high": mean + 0.01,
        "n": 40,
        "n_nan": 0,
        "n_speakers": 40,
        "vs_energy_map": difference,
        "vs_energy_map_low": difference - 0.01,
        "vs_energy_map_high": difference + 0.01,
        "vs_energy_map_p": p,
        "vs_random_map": difference,
        "vs_random_map_low": difference - 0.01,
        "vs_random_map_high": difference + 0.01,
        "vs_random_map_p": p,
        **more,
    }


def table(*rows: dict[str, object]) -> pd.DataFrame:
    return pd.DataFrame(list(rows))


def test_no_method_beats_the_control() -> None:
    summary = table(
        row("saliency", COMP, 0.2, 0.1, 0.051),
        row("smoothgrad", COMP, 0.1, -0.1, 0.2),
        row("random_map", COMP, 0.5, 0.4, 0.001),
    )
    finding = control_sentence(summary, COMP, "energy_map")
    assert finding is not None
    assert (
        finding.text
        == "No explanation loses more of the decision when its top 10 % of bins are removed than the energy control "
        "(simply the loudest bins), after Holm correction (comprehensiveness@10)."
    )
    assert finding.tone == "caution"


def test_some_methods_beat_the_control_and_some_fall_behind() -> None:
    summary = table(
        row("saliency", COMP, 0.2, 0.1, 0.049),
        row("smoothgrad", COMP, 0.1, -0.1, 0.01),
        row("guided_backprop", COMP, 0.3, 0.2, 0.001),
        row("energy_map", COMP, 0.1),
    )
    finding = control_sentence(summary, COMP, "energy_map")
    assert finding is not None
    assert (
        finding.text
        == "2 of 3 explanations lose more of the decision when their top 10 % of bins are removed than the energy"
        " control (simply the loudest bins), after Holm correction (comprehensiveness@10): saliency and"
        " guided_backprop. The largest difference is 0.200 in probability. 1 of 3 do worse than it: smoothgrad."
    )


def test_a_difference_may_be_there_and_still_be_nothing() -> None:
    finding = control_sentence(
        table(row("saliency", COMP, 0.2, 0.0024, 0.001, vs_random_map_low=0.001)), COMP, "random_map"
    )
    assert finding is not None
    assert finding.text.endswith(
        "The largest difference is 0.0024 in probability: statistically there, practically next to nothing."
    )
    assert finding.tone == "caution"
    larger = control_sentence(
        table(row("saliency", COMP, 0.2, 0.01, 0.001, vs_random_map_low=0.001)), COMP, "random_map"
    )
    assert larger is not None
    assert larger.text.endswith("The largest difference is 0.010 in probability.")


def test_a_best_value_that_all_share_is_not_marked() -> None:
    rows = [
        row(name, "average_increase", 1.0) for name in ("saliency", "smoothgrad", "guided_backprop", "gradient_shap")
    ]
    assert not any(found["average_increase"].best for found in estimates(table(*rows), ["average_increase"]).values())
    assert all(found["average_increase"].best for found in estimates(table(*rows[:3]), ["average_increase"]).values())


def test_better_needs_the_interval_as_well_as_the_p_value() -> None:
    row_ = row("saliency", COMP, 0.2, 0.1, 0.001, vs_energy_map_low=-0.01)
    finding = control_sentence(table(row_), COMP, "energy_map")
    assert finding is not None
    assert finding.text.startswith("No explanation loses more")
    assert difference_cell(0.1, -0.01, 0.3, 0.001).mark == ""
    assert difference_cell(0.1, 0.01, 0.3, 0.001).mark == "better"
    assert difference_cell(0.1, 0.01, 0.3, 0.001, higher_is_better=False).mark == "worse"
    assert difference_cell(0.1, 0.01, 0.3, 0.05).mark == ""


def test_every_control_has_a_sentence() -> None:
    summary = table(row("saliency", COMP, 0.2, 0.1, 0.001))
    for end in ("", "_low", "_high", "_p"):
        summary[f"vs_edge_map{end}"] = {"": 0.1, "_low": 0.05, "_high": 0.2, "_p": 0.001}[end]
    said = findings(summary, pd.DataFrame({"label": []}), pd.DataFrame(), ["HC", "PD"])
    assert set(_CONTROL) == set(CONTROLS)
    for words in _CONTROL.values():
        assert sum(words in finding.text for finding in said) == 1


def test_lower_is_better_for_sufficiency() -> None:
    better = control_sentence(
        table(row("saliency", SUFF, 0.1, -0.2, 0.001), row("smoothgrad", SUFF, 0.1, 0.0, 1.0)), SUFF, "random_map"
    )
    worse = control_sentence(table(row("saliency", SUFF, 0.1, 0.2, 0.001)), SUFF, "random_map")
    assert better is not None
    assert better.text.startswith(
        "1 of 2 explanations keeps more of the decision in its top 10 % of bins than the random control"
    )
    assert better.tone == "good"
    assert worse is not None
    assert worse.text.startswith("No explanation keeps more of the decision")
    assert worse.text.endswith("1 of 1 do worse than it: saliency.")


def test_with_few_speakers_nothing_is_claimed_of_controls() -> None:
    few = table(row("saliency", COMP, 0.2, 0.1, 0.5), row("smoothgrad", COMP, 0.2, 0.1, 0.5))
    few["n_speakers"] = 7
    finding = power_sentence(few)  # smallest p 2 / 2^7, times 4 comparisons: 0.0625
    assert finding is not None
    assert finding.text.startswith("Not enough speakers to test: with 7 of them, and after correction for 4")
    texts = [
        f.text
        for f in findings(
            few, pd.DataFrame({"label": []}), pd.DataFrame(columns=["first", "second", "overlap"]), ["HC", "PD"]
        )
    ]
    assert not any("Holm" in text for text in texts)
    few["n_speakers"] = 8  # 4 * 2 / 2^8 = 0.03
    finding = power_sentence(few)
    assert finding is not None
    assert finding.text == "Statistics rest on 8 speakers; recordings of one speaker count as one."
    texts = [
        f.text
        for f in findings(
            few, pd.DataFrame({"label": []}), pd.DataFrame(columns=["first", "second", "overlap"]), ["HC", "PD"]
        )
    ]
    assert sum("Holm" in text for text in texts) == 2


def predictions(scores: list[float], labels: list[int]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "label": labels,
            "predicted": [int(s > 0.5) for s in scores],
            "p_PD": scores,
            "speaker": [f"s/{i}" for i in range(len(scores))],
        }
    )


def test_a_classifier_that_works_and_one_that_does_not() -> None:
    works = classifier_sentence(predictions([0.1] * 10 + [0.9] * 10, [0] * 10 + [1] * 10), ["HC", "PD"])
    assert works is not None
    assert (
        works.text
        # .025^(1 / 20) = .83; the AUC is that of ten pairs of speakers, .025^(1 / 10) = .69
        == "The classifier is right for 20 of 20 recordings (100 % over 20 speakers, 95 % interval 83 to 100 %);"
        " AUC 1.00 (95 % interval over speakers 0.69 to 1.00). That is better than chance."
    )
    fails = classifier_sentence(predictions([0.1, 0.9] * 10, [0] * 10 + [1] * 10), ["HC", "PD"])
    assert fails is not None
    assert fails.text.startswith(
        "The classifier is right for 10 of 20 recordings (50 % over 20 speakers, 95 % interval 27 to 73 %); AUC 0.50"
    )
    assert "not shown to be better than chance" in fails.text
    few = classifier_sentence(predictions([0.1, 0.9], [0, 1]), ["HC", "PD"])
    assert few is not None
    assert "too few speakers for an interval" in few.text


@pytest.mark.parametrize(("n", "says"), [(4, "of too few speakers for an interval"), (5, "95 % interval over")])
def test_an_interval_needs_five_speakers_of_each_class(n: int, says: str) -> None:
    sentence = classifier_sentence(predictions([0.1, 0.9] * n, [0, 1] * n), ["HC", "PD"])
    assert sentence is not None
    assert says in sentence.text


def test_chance_at_the_edge_of_the_interval_is_not_better_than_chance() -> None:
    # 4 + 5 + 4 + 2 + 5 of 25 pairs are in order: AUC 0.80, but the interval over ten speakers reaches below one half
    # (0.43).
    finding = classifier_sentence(
        predictions([0.1, 0.6, 0.2, 0.3, 0.4, 0.45, 0.7, 0.5, 0.25, 0.8], [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]), ["HC", "PD"]
    )
    assert finding is not None
    assert finding.tone == "caution"


def test_age_as_a_shortcut_and_not() -> None:
    frame = predictions([0.1, 0.6, 0.4, 0.9], [0, 0, 1, 1])
    older = confound_sentence(frame.assign(age=[50, 60, 70, 80]), ["HC", "PD"])
    assert older is not None
    assert (
        older.text
        == "Age alone separates HC from PD with AUC 1.000, the classifier with 0.750: what the maps show may be age and"
        " not disease."
    )
    matched = confound_sentence(frame.assign(age=[50, 60, 50, 60]), ["HC", "PD"])
    assert matched is not None
    assert matched.text == "Age alone separates HC from PD with AUC 0.500, the classifier with 0.750."
    assert confound_sentence(frame, ["HC", "PD"]) is None


def test_budgets_that_differ_and_budgets_that_do_not() -> None:
    differ = budget_sentence(table(row("saliency", "mean_mask", 0.01), row("random_map", "mean_mask", 0.5)))
    alike = budget_sentence(table(row("saliency", "mean_mask", 0.1), row("random_map", "mean_mask", 0.15)))
    assert differ is not None
    assert "a factor of 50: scores of soft masks" in differ.text
    assert alike is not None
    assert "a factor of 1.5: rows have similar budgets" in alike.text
    twice = budget_sentence(table(row("saliency", "mean_mask", 0.1), row("random_map", "mean_mask", 0.2)))
    assert twice is not None
    assert "a factor of 2.0: scores of soft masks" in twice.text


def test_combinations_that_help_and_that_do_not() -> None:
    parts = [row("saliency", COMP, 0.2), row("smoothgrad", COMP, 0.3)]
    helps = combination_sentence(table(*parts, row("union(saliency, smoothgrad)", COMP, 0.31)))
    fails = combination_sentence(table(*parts, row("union(saliency, smoothgrad)", COMP, 0.29)))
    assert helps is not None
    assert helps.text.startswith(
        "1 of 1 combinations have a better mean comprehensiveness@10 than each of their parts: union(saliency,"
        " smoothgrad)."
    )
    assert fails is not None
    assert (
        fails.text == "No combination has a better mean comprehensiveness@10 than the better of its parts (1 compared)."
    )
    assert combination_sentence(table(*parts)) is None


@pytest.mark.parametrize(
    ("overlap", "words", "tone"),
    [
        (0.29, "The methods point at different places", "caution"),
        (0.3, "The methods agree in part", "plain"),
        (0.4, "The methods largely agree", "good"),
    ],
)
def test_agreement_in_words(overlap: float, words: str, tone: str) -> None:
    pairs = pd.DataFrame(
        [
            {"first": "saliency", "second": "smoothgrad", "overlap": overlap - 0.1},
            {"first": "saliency", "second": "guided_backprop", "overlap": overlap + 0.1},
            {"first": "saliency", "second": "energy_map", "overlap": 1.0},
        ]
    )
    finding = agreement_sentence(pairs)
    assert finding is not None
    assert (
        finding.text
        == f"{words}: two of them have {100 * overlap:.0f} % of their strongest bins in common (mean over 2 pairs),"
        f" unrelated maps 20 %; most alike are saliency and guided_backprop ({100 * overlap + 10:.0f} %)."
    )
    assert finding.tone == tone
    assert agreement_sentence(pairs.drop(columns="overlap")) is None


def test_silence_raises_an_alarm_or_not() -> None:
    loud = silence_sentence(table(row("saliency", "silence_share", 0.3), row("random_map", "silence_share", 0.9)))
    quiet = silence_sentence(table(row("saliency", "silence_share", 0.03)))
    assert loud is not None
    assert (
        loud.text
        == "saliency puts 30 % of its evidence where nobody speaks: a sign that the classifier uses a shortcut."
    )
    assert quiet is not None
    assert quiet.text == "At most 3 % of any explanation's evidence lies where nobody speaks (saliency)."


def test_percent_only_where_papers_print_it_and_the_best_by_direction() -> None:
    summary = table(
        row("saliency", "average_drop", 0.25),
        row("smoothgrad", "average_drop", 0.5),
        row("saliency", "faithfulness", 0.25),
        row("smoothgrad", "faithfulness", 0.5),
    )
    found = estimates(summary, ["average_drop", "faithfulness"])
    assert found["saliency"]["average_drop"] == Estimate(25.0, 24.0, 26.0, 40, 0, best=True)
    assert not found["smoothgrad"]["average_drop"].best
    assert found["smoothgrad"]["faithfulness"].mean == 0.5
    assert found["smoothgrad"]["faithfulness"].best
    assert number(math.nan, 2) == "–"


def test_groups_put_controls_last() -> None:
    found = grouped(
        [
            "random_map",
            "union(saliency, smoothgrad)",
            "saliency",
            "rank_mean(saliency, smoothgrad)",
            "intersection(saliency, smoothgrad)",
        ]
    )
    assert list(found) == ["Methods", "Unions", "Intersections", "Other combinations", "Controls"]


class Outline(HTMLParser):
    """What a reader without eyes finds, and what a browser would ask other servers for."""

    def __init__(self) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.alts: list[str | None] = []
        self.links: list[str] = []
        self.n_tables = self.n_captions = 0
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append(tag)
        if tag == "img":
            self.alts.append(values.get("alt"))
        self.n_tables += tag == "table"
        self.n_captions += tag == "caption"
        self.links += [str(values[name]) for name in ("src", "href") if name in values]
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def outline(text: str) -> Outline:
    found = Outline()
    found.feed(text)
    return found


def test_every_line_of_a_markdown_table_has_its_columns() -> None:
    rows = (Row("a", (Cell("1"), Cell("2"))), Row("b", (Cell("3"), Cell("4")), "Controls"))
    lines = markdown(Table("title", ("name", "x", "y"), rows)).splitlines()
    assert lines[3] == "| **Controls** | | |"
    assert {line.count("|") for line in lines} == {4}


@pytest.mark.parametrize(("scale", "values"), [("linear", [100.0, 10, 1]), ("log1p", np.log1p([100.0, 10, 1]))])
def test_pictures_show_decibels_under_the_loudest_bin(scale: str, values: list[float]) -> None:
    level = plots._level_db(np.array([values]), StftConfig(scale=scale), 30.0)
    np.testing.assert_allclose(level, [[0, -20, -30]], atol=1e-6)


def test_a_bin_is_drawn_around_its_frequency_and_its_time() -> None:
    # 100 frames a second, 50 Hz a bin: frame 0 is drawn from -5 to 5 ms, bin 0 from -25 to 25 Hz.
    stft = StftConfig(n_fft=320, win_length=320, hop_length=160, sample_rate=16_000)
    assert plots._extent((161, 200), stft) == pytest.approx((-0.005, 1.995, -25.0, 8025.0))


def test_evidence_covers_the_spectrogram_by_its_root() -> None:
    # Evidence 1, a quarter and 0: opacity 0.9, 0.9 / 2 and 0, orange everywhere; the level below in decibels.
    drawn: list[np.ndarray] = []
    axes = SimpleNamespace(imshow=lambda values, **_: drawn.append(values))
    axes.set_xlabel = axes.set_ylabel = axes.tick_params = axes.set_ylim = axes.set_xlim = lambda *_, **__: None
    stft = StftConfig(n_fft=4, win_length=4, hop_length=2, sample_rate=16_000, scale="linear")
    plots._draw_overlay(axes, np.array([[1.0], [0.1], [1e-9]]), np.array([[1.0], [0.25], [0.0]]), stft, plots.Style())
    assert drawn[0][:2, 0] == pytest.approx([0, -20])
    assert drawn[1][:, 0, 3] == pytest.approx([0.9, 0.45, 0])
    assert len({tuple(pixel[:3]) for pixel in drawn[1][:, 0]}) == 1
