"""The Benchmark page's facts: a known truth cue by cue, and what the maps alone know, each against numbers by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from app_server import write_truth

from app import boards, charts, sources
from app.sources import Run
from speechxai import SpeechXAIError
from speechxai.planted.folder import TABLES, BenchmarkFolder
from speechxai.planted.sanity import LIMITS
from speechxai.planted.settings import SPECIFICATION
from speechxai.planted.tables import BASE

TREMOR = "synthetic/tremor/1"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return sources.load(str(write_truth(tmp_path_factory.mktemp("benchmark"))))


def test_every_check_that_can_be_failed_has_words() -> None:
    assert set(boards.CHECKS) == set(LIMITS)


def test_a_benchmark_is_read_with_its_excluded_tests(run: Run) -> None:
    assert run.has_truth
    assert (
        boards.learned(run.tables["tasks"])
        == "3 of 6 tests count. Not judged, because the network did not learn to hear the cue (AUC under 0.90): "
        "Breathiness in synthetic voices, seed 0 (AUC 0.70); Breathiness in synthetic voices, seed 1 (AUC 0.70); "
        "Breathiness in synthetic voices, seed 2 (AUC 0.70)."
    )
    counts, out = boards.task_rows(run.tables["tasks"])[:2]
    assert counts["verdict"] == "learned"
    assert counts["held-out AUC"] == "0.98 (0.60 to 0.99)"
    assert counts["truth, share of the picture"] == "10.0 % louder, 2.0 % softer"
    assert out["verdict"] == "excluded: AUC within folds 0.700 is under 0.90"
    labels = {label: make() for label, _, _, make in run.files}
    assert set(labels) == {"Scores (CSV)", "Summary (CSV)", "Leaderboard (Markdown)", "Leaderboard (LaTeX)"}
    assert b"Leaderboard: relevance_rank" in labels["Leaderboard (Markdown)"]
    assert labels["Leaderboard (LaTeX)"].count(b"begin{table*}") > 4


def test_the_leaderboard_never_ranks_the_truth(run: Run) -> None:
    rows = boards.board(run.summary, TREMOR, BASE)
    assert rows["recipe"].tolist() == ["integrated_gradients", "saliency", "edge_map", "energy_map", "random_map"]
    lines = boards.lines(rows)
    assert [line.muted for line in lines] == [False, False, True, True, True]
    # integrated gradients: 0.1 + 0.15 * 4 for every speaker
    assert lines[0].value == pytest.approx(0.70)
    said = boards.answer(rows, TREMOR, BASE)
    assert "integrated gradients points at the truth best, 0.70" in said
    assert "over 27 speakers" in said
    assert "edge map (control), reaches 0.42" in said
    # nine networks that all agree: 2 of 2^9 flips
    assert "2 of 2 explanations point better than random map, energy map and edge map beyond chance" in said
    assert "only 8 networks were explained" in boards.answer(rows.assign(n_networks=8), TREMOR, BASE)
    few = rows.assign(n_speakers=3)
    assert "only 3 speakers were explained" in boards.answer(few, TREMOR, BASE)

    def changed(**ends: float) -> pd.DataFrame:
        controls = ("random_map", "energy_map", "edge_map")
        values = {"": 0.2, "_low": 0.1, "_high": 0.3, "_p": 0.001}
        told = {f"vs_{c}{end}": value for c in controls for end, value in values.items()} | ends
        return rows.assign(**{name: np.where(rows["recipe"].isin(controls), np.nan, v) for name, v in told.items()})

    assert "2 of 2 explanations point better" in boards.answer(changed(), TREMOR, BASE)
    for control in ("random_map", "energy_map", "edge_map"):  # each of them must be beaten, by p and by the interval
        for change in ({f"vs_{control}_p": 0.2}, {f"vs_{control}_low": -0.1}):
            assert "0 of 2 explanations point better" in boards.answer(changed(**change), TREMOR, BASE)
    undecided = changed(**{f"vs_{control}_p": np.nan for control in ("random_map", "energy_map", "edge_map")})
    assert "27 speakers are not enough to test" in boards.answer(undecided, TREMOR, BASE)
    assert boards.chance_of(run.tables["chance"], TREMOR, BASE) == [(pytest.approx(0.1), "chance")]
    assert boards.chance_of(run.tables["chance"], TREMOR, "localization_auc | added, 3 dB, 1 bin") == [(0.5, "chance")]


def test_a_crowded_leaderboard_keeps_every_control(run: Run) -> None:
    rows = boards.board(run.summary, TREMOR, BASE)
    many = pd.concat([rows[:1].assign(recipe=f"method_{i}") for i in range(40)] + [rows], ignore_index=True)
    assert (boards.units(many), boards.units(many.drop(columns="n_networks"))) == ("networks", "speakers")
    shown = [line.label for line in boards.lines(many)]
    assert len(shown) == boards.MOST_ROWS + 3
    assert shown[-1] == "random map (control)"


def test_cues_stand_beside_their_mean(run: Run) -> None:
    names, columns, values, muted = boards.every_cue(run.summary, BASE)
    assert columns == ["Tremor in synthetic voices", "mean of the columns"]
    assert names == [
        "integrated gradients",
        "saliency",
        "edge map (control)",
        "energy map (control)",
        "random map (control)",
        "the truth itself",
    ]
    assert muted == [False, False, True, True, True, True]
    np.testing.assert_allclose(values[0], [0.70, 0.70])
    page = charts.heat(names, columns, values, "what", muted)
    assert page.count("<tr") == 7
    assert "mean of the columns" in page


def test_which_score_to_believe(run: Run) -> None:
    rows = boards.believable(run.tables["believable"], TREMOR, BASE)
    # comprehensiveness is the square of the rank score, deletion is the rank score where low is good
    assert [(row.label, round(row.value, 6)) for row in rows] == [
        ("comprehensiveness, strongest 20\u00a0%", 1.0),
        ("deletion AUC", -1.0),
    ]
    wide = pd.DataFrame(
        [
            *(
                {"within": 0.2, "within_low": -0.1, "within_high": 0.5, "n_speakers": n, "metric": "deletion_auc"}
                for n in (4, 9)
            ),
            {"within": 0.3, "within_low": 0.1, "within_high": 0.6, "n_speakers": 5, "metric": "comprehensiveness@20"},
        ]
    ).assign(truth_metric=BASE, model=TREMOR)
    assert [(r.value, r.low, r.high, r.muted) for r in boards.believable(wide, TREMOR, BASE)] == [
        (0.3, 0.1, 0.6, False),
        (0.2, -0.1, 0.5, True),
        (0.2, -0.1, 0.5, False),
    ]
    said = boards.which_score(rows)
    assert "comprehensiveness, strongest 20\u00a0% says most about where a map points" in said
    assert "prefer maps that point elsewhere: deletion AUC" in said
    good = boards.which_score(rows[:1])
    assert "elsewhere" not in good
    assert boards.which_score([]) == "Too few speakers to say which score to believe."


def test_sanity_names_what_fails(run: Run) -> None:
    method, control = boards.sanity_rows(run.tables["sanity"])
    assert (method["map"], method["fails"]) == ("saliency", "nothing")
    assert (control["map"], control["fails"]) == ("edge map (control)", "random weights")
    assert control["random weights (fails above 0.90)"] == "1.00"


def test_ruler(run: Run) -> None:
    first = {row["score"]: row for row in boards.ruler(run.tables["chance"], TREMOR)}
    assert first["relevance rank (added, 3 dB, 1 bin)"]["a map of dice must score"] == "0.100"
    assert first["localization AUC (added, 3 dB, 1 bin)"]["a map of dice must score"] == "0.500"
    assert first["relevance rank (added, 3 dB, 1 bin)"]["the truth itself scores at least"] == "1.000"


def test_a_benchmark_of_an_older_version_is_shown_and_marked(tmp_path: Path) -> None:
    """Its tables have other names of scores, and its leaderboard is the file that it left behind."""
    path = write_truth(tmp_path)
    folder = BenchmarkFolder(path)
    folder.configure({**folder.config, "specification": "1.0"})
    older = {f"{name}.csv": folder.table(name) for name in TABLES}
    for name, column in (("summary", "metric"), ("chance", "metric"), ("believable", "truth_metric")):
        older[f"{name}.csv"][column] = older[f"{name}.csv"][column].str.partition(" | ")[0]
    folder.write_tables(older, folder.environment)
    (path / "leaderboard.md").write_text("as it was")
    found = sources.load(str(path))
    assert found.facts.startswith("Benchmark, version 1.0 (its numbers do not compare")
    assert {label: make() for label, _, _, make in found.files}["Leaderboard (Markdown)"] == b"as it was"
    assert boards.board(found.summary, TREMOR, "relevance_rank")["recipe"].tolist()[0] == "integrated_gradients"
    with pytest.raises(SpeechXAIError, match=rf"version 1\.0 of the benchmark, this is {SPECIFICATION}: "):
        folder.settings  # noqa: B018


def test_an_unfinished_benchmark_says_how_to_go_on(tmp_path: Path) -> None:
    path = write_truth(tmp_path)
    (path / "tasks.csv").unlink()
    with pytest.raises(SpeechXAIError, match=r"6 of 6 tests are done. Continue with 'speechxai benchmark --resume"):
        sources.load(str(path))


# ---- what the maps alone know


def line(
    name: str, kind: str, value: float, split: str = "speaker", architecture: str = "small", metric: str = "auroc"
) -> dict[str, Any]:
    found = {
        "name": name,
        "kind": kind,
        "split": split,
        "architecture": architecture,
        "metric": metric,
        "value": value,
        "low": value - 0.1,
        "high": value + 0.1,
        "mean_mask": 0.2,
    }
    if kind == "explanation" and split == "speaker":
        for other, minus in (("random_map", 0.5), ("energy_map", 0.6), ("permuted_labels", 0.5), ("majority", 0.5)):
            found |= {
                f"vs_{other}": value - minus,
                f"vs_{other}_low": value - minus - 0.1,
                f"vs_{other}_high": value - minus + 0.1,
                f"vs_{other}_p": 0.03,
            }
        found |= {"vs_original": value - 0.9, "vs_original_low": -0.2, "vs_original_high": 0.1}
    return found


@dataclass
class MadeStudy:
    """A finished study with numbers by hand."""

    table_rows: list[dict[str, Any]]
    facts: dict[str, Any] = field(default_factory=lambda: {"n_recordings": 20, "n_speakers": 10})
    class_counts: dict[str, int] = field(default_factory=lambda: {"HC": 10, "PD": 10})
    odds_of: str = "PD"
    settings: Any = field(
        default_factory=lambda: SimpleNamespace(input="masked", architecture="small", n_folds=5, n_seeds=3, n_mels=80)
    )
    sentences: list[Any] = field(default_factory=lambda: [SimpleNamespace(tone="caution", text="No evidence.")])

    def table(self, name: str) -> pd.DataFrame:
        if name == "table":
            return pd.DataFrame(self.table_rows)
        if name == "leak":
            return pd.DataFrame(
                [
                    {
                        "name": row["name"],
                        "architecture": "small",
                        "metric": "auroc",
                        "by_speaker": 0.6,
                        "by_recording": 0.8,
                        "added": 0.2,
                        "low": 0.1,
                        "high": 0.3,
                    }
                    for row in self.table_rows
                    if row["split"] == "speaker"
                ]
            )
        cells = [("0-500 Hz", "pause", 0.0, 0.0), ("0-500 Hz", "voiced", -0.4, 1.0), ("500-1000 Hz", "pause", 0.2, 1.0)]
        return pd.DataFrame(
            [
                {
                    "name": "saliency",
                    "split": "speaker",
                    "class": "PD",
                    "band": b,
                    "segment": s,
                    "log_odds": v,
                    "std": d,
                }
                for b, s, v, d in cells
            ]
        )


def made_study() -> boards.Study:
    rows = [
        line("majority", "floor", 0.5),
        line("saliency", "explanation", 0.62),
        line("gradcam", "explanation", 0.71),
        line("original", "ceiling", 0.9),
        line("energy_map", "floor", 0.6),
        line("saliency", "explanation", 0.8, split="recording"),
        line("saliency", "explanation", 0.55, architecture="linear"),
        line("saliency", "explanation", 0.66, metric="accuracy"),
    ]
    return boards.study(MadeStudy(rows))  # type: ignore[arg-type]


def test_a_study_shows_explanations_before_floors_and_ceiling() -> None:
    found = made_study()
    assert found.title == "Maps times spectrogram, small network"
    assert found.facts.startswith("20 recordings of 10 speakers (10 HC, 10 PD); 5 folds by speaker x 3 seeds")
    assert found.sentences == [("caution", "No evidence.")]
    assert [(row.label, row.value, row.muted) for row in found.lines] == [
        ("gradcam", 0.71, False),
        ("saliency", 0.62, False),
        ("the larger class (floor)", 0.5, True),
        ("energy map (floor)", 0.6, True),
        ("the spectrogram itself (ceiling)", 0.9, False),
    ]


def test_both_splits_stand_side_by_side_and_the_leak_is_marked() -> None:
    scores = {row["input"]: row for row in made_study().scores}
    saliency = scores["saliency"]
    assert saliency["AUROC"] == "0.62 (0.52 to 0.72)"
    assert saliency["accuracy"] == "0.66 (0.56 to 0.76)"
    assert saliency["⚠ leaky folds: AUROC"] == "0.80 (0.70 to 0.90)"
    assert saliency["the leak adds"] == "+0.20 (+0.10 to +0.30)"
    assert scores["gradcam"]["⚠ leaky folds: AUROC"] == "–"  # not fitted on leaky folds
    assert scores["energy map"]["kind"] == "floor"


def test_differences_carry_their_corrected_p() -> None:
    best, second = made_study().differences
    assert best["input"] == "gradcam"
    assert best["minus energy map"] == "+0.11 (+0.01 to +0.21), p 0.030"
    assert best["minus the spectrogram itself"] == "-0.19 (-0.20 to +0.10)"
    assert second["minus random map"] == "+0.12 (+0.02 to +0.22), p 0.030"


def test_the_readable_model_says_nothing_of_cells_that_never_vary() -> None:
    found = made_study()
    assert found.twin[0]["AUROC"] == "0.55 (0.45 to 0.65)"
    assert found.coefficients["saliency"] == [
        {"band": "0-500 Hz", "in pause": "–", "in voiced": "-0.40"},
        {"band": "500-1000 Hz", "in pause": "+0.20"},
    ]


# ---- charts


def test_interval_chart_places_dots_and_says_numbers() -> None:
    rows = [charts.Row("a <b>", 0.5, 0.0, 1.0), charts.Row("none", float("nan"), float("nan"), float("nan"), True)]
    page = charts.intervals(rows, "title", [(0.5, "chance")])
    # the axis runs from 0 to 1 and 6 % more on both sides: 0.5 is the middle, 0 at 0.06 / 1.12
    assert 'class="dot" style="left:50.00%"' in page
    assert 'class="span" style="left:5.36%;right:calc(100% - 94.64%)"' in page
    assert page.count('class="mark" style="left:50.00%"') == 2  # one a row
    assert "a &lt;b&gt;" in page
    assert "0.500 <small>0.000 to 1.000</small>" in page
    assert 'class="muted"' in page
    assert "chance 0.5" in page
    assert charts.intervals([], "nothing") == ""


def test_a_table_puts_an_interval_under_its_value() -> None:
    page = charts.table([{"x": "+0.10 (-0.20 to +0.40), p 0.030", "y": 0.1234, "z": "a (b)", "n": 3}], "caption")
    assert '<td class="v">+0.10<small>-0.20 to +0.40, p 0.030</small></td>' in page
    assert '<td class="n">0.123</td>' in page
    assert "<td>a (b)</td>" in page
    assert '<td class="n">3</td>' in page
    assert charts.table([], "caption") == ""
