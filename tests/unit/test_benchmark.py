"""The benchmark's parts: twins that nothing but the cue tells apart, folds, refusal, and tables with known answers."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from speechxai.data.cues import CUES
from speechxai.errors import SpeechXAIError
from speechxai.explain import METHODS
from speechxai.metrics import LOCALIZATION_METRICS, METRICS, Case
from speechxai.planted import settings as benchmark
from speechxai.planted import task as benchmark_task
from speechxai.planted.settings import METRICS_OF_BENCHMARK, TRUTH, BenchmarkSettings, Task, TaskResult
from speechxai.planted.tables import (
    average_over_cues,
    believable,
    chance_table,
    leaderboard,
    sanity_table,
    score_table,
    spearman_rows,
    task_table,
)
from speechxai.planted.task import (
    Explained,
    folds_of,
    level_confounds,
    make_classifier,
    make_material,
    pieces,
    planted,
    score_pair,
    synthetic,
)
from speechxai.signal.audio import resample
from speechxai.signal.stft import frame_times_s, spectrogram
from speechxai.types import Attribution, Recording, StftConfig

SMALL = BenchmarkSettings(
    seeds=(0,), n_speakers=4, n_takes=1, epochs=1, n_explained=2, methods=("saliency",), combinations=(), n_sanity=0
)


def test_the_plan_is_the_product_and_names_are_unique() -> None:
    settings = BenchmarkSettings(severities=(0.5, 1.0), materials=("synthetic", "here"))
    tasks = settings.tasks()
    assert len(tasks) == len({task.id for task in tasks}) == 2 * 2 * 3 * len(CUES)
    assert tasks[0].id == "synthetic/breathiness/0.5/0"
    assert [task.seed for task in tasks] == sorted(task.seed for task in tasks)
    assert set(METRICS_OF_BENCHMARK) >= set(benchmark.FAITHFULNESS_METRICS)
    for wrong in ({"cues": ("breathines",)}, {"severities": (0.0,)}, {"n_folds": 2}, {"seeds": ()}):
        with pytest.raises(SpeechXAIError):
            BenchmarkSettings(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("cue", CUES)
def test_twins_differ_inside_the_truth_and_nowhere_else(cue: str) -> None:
    """Planting then subtracting gives zero outside the cue's frames, and the map names bins that differ much."""
    material = synthetic(Task("synthetic", cue, 1.0, 0), SMALL)
    assert len(material.pairs) == 4
    stft = StftConfig()
    for pair in material.pairs:
        with_cue, without_cue = pair.with_cue.waveform, pair.without_cue.waveform
        assert pair.with_cue.speaker == pair.without_cue.speaker
        assert (pair.with_cue.label, pair.without_cue.label) == (1, 0)
        differs = (with_cue - without_cue).abs() > 1e-7
        first, last = int(differs.nonzero()[0]), int(differs.nonzero()[-1])
        assert last - first < 0.85 * len(with_cue), "the cue leaves part of the recording alone"
        place = pair.truth(stft)
        assert 0 < place.area < 0.5
        assert place.contrast > 2
        times = frame_times_s(stft, place.map.shape[1]) * stft.sample_rate
        half = stft.win_length / 2 + 1
        outside = (times < first - half) | (times > last + half)
        assert outside.any()
        assert place.map[:, outside].sum() == 0
        assert place.difference[:, outside].sum() == 0


def test_materials_are_reproducible_and_level_tells_nothing() -> None:
    task = Task("synthetic", "breathiness", 1.0, 3)
    settings = BenchmarkSettings(n_speakers=20, n_takes=1, cues=("breathiness",), duration_s=1.2)
    one, two = make_material(task, settings, ()), make_material(task, settings, ())
    assert all(torch.equal(a.waveform, b.waveform) for a, b in zip(one.recordings, two.recordings, strict=True))
    other = make_material(Task("synthetic", "breathiness", 1.0, 4), settings, ())
    assert not set(one.speakers) & set(other.speakers)
    # 20 pairs: twins share their level, so neither loudness nor peak separates the classes much
    assert max(level_confounds(one).values()) < 0.65
    assert one.pairs[0].with_cue.waveform.abs().max() <= 1 + 1e-6


def test_folds_hold_speakers_together() -> None:
    material = synthetic(
        Task("synthetic", "tremor", 1.0, 0), BenchmarkSettings(n_speakers=7, n_takes=2, duration_s=1.0)
    )
    folds = folds_of(material, 3, 0)
    home: dict[str, set[int]] = {}
    for recording, fold in zip(material.recordings, folds, strict=True):
        home.setdefault(recording.speaker, set()).add(fold)
    assert all(len(found) == 1 for found in home.values())
    assert set(folds) == {0, 1, 2}
    assert folds == folds_of(material, 3, 0)


def voice(seed: int, seconds: float = 2.4, rate: int = 8_000, label: int | None = 0) -> Recording:
    material = synthetic(
        Task("synthetic", "tremor", 1.0, seed), BenchmarkSettings(n_speakers=3, n_takes=1, duration_s=seconds)
    )
    wave = torch.from_numpy(resample(material.pairs[0].without_cue.waveform.numpy(), 16_000, rate))
    return Recording(wave, rate, f"set/{seed}", f"set/{seed}", label, "vowel-a")


def test_cues_are_planted_at_the_recordings_own_rate() -> None:
    bases = [voice(seed) for seed in range(3)]
    settings = BenchmarkSettings(n_pieces=2, n_plants=1, duration_s=1.2)
    material = planted(Task("set", "breathiness", 1.0, 0), settings, bases)
    assert len(material.pairs) == 6
    thrice = planted(Task("set", "breathiness", 1.0, 0), BenchmarkSettings(n_pieces=1, duration_s=1.2), bases[:1])
    assert len(thrice.pairs) == len({recording.id for recording in thrice.recordings}) / 2 == 3
    places = [pair.truth(StftConfig()).map for pair in thrice.pairs]
    assert not torch.equal(places[0], places[1]), "every time at another place"
    assert {r.sample_rate for r in material.recordings} == {16_000}
    place = material.pairs[0].truth(StftConfig())
    # a telephone has nothing above 4 kHz, so neither has the cue: bin 256 is 4 kHz
    assert place.map[262:].sum() == 0
    assert place.map[128:256].sum() > 0
    with pytest.raises(SpeechXAIError, match="of another class"):
        planted(Task("set", "tremor", 1.0, 0), settings, [voice(0, label=1)])
    silent = Recording(torch.zeros(8_000 * 3), 8_000, "set/9", "set/9")
    skipped = planted(Task("set", "tremor", 1.0, 0), settings, [silent]).skipped
    assert sum(skipped.values()) == 2


def test_a_recording_is_cut_without_overlap_and_a_short_rest_is_left_out() -> None:
    recording = Recording(torch.arange(5_000.0), 1_000, "a", "b")
    assert [len(piece) for piece in pieces(recording, 1.7)] == [1_700, 1_700, 1_600]
    assert [len(piece) for piece in pieces(recording, 2.0)] == [2_000, 2_000]


def test_a_classifier_that_did_not_learn_is_reported_and_not_scored() -> None:
    result = benchmark_task.compute(Task("synthetic", "monopitch", 0.1, 0), SMALL, (), lambda share, what: None)
    assert result.scores == []
    assert result.facts["excluded"].startswith("held-out AUC 0.")
    table = task_table([result])
    assert table["excluded"][0] == result.facts["excluded"]
    assert table["auc"][0] < 0.9
    few = benchmark_task.compute(Task("set", "tremor", 1.0, 0), SMALL, [voice(0)], lambda share, what: None)
    assert "1 speakers could carry the cue" in few.facts["excluded"]


@pytest.fixture(scope="module")
def entry() -> dict[str, object]:
    material = synthetic(Task("synthetic", "breathiness", 1.0, 0), SMALL)
    torch.manual_seed(0)
    explained = Explained(material.pairs[0], 0, make_classifier().eval(), 0.9)
    return score_pair(explained, SMALL, 0)[0]


def test_the_truth_scores_one_and_random_its_share(entry: dict[str, object]) -> None:
    values: dict[str, dict[str, float]] = entry["values"]  # type: ignore[assignment]
    area = float(entry["area"])  # type: ignore[arg-type]
    assert set(values) == {"saliency", "random_map", "energy_map", "edge_map", TRUTH}
    assert all(set(scores) == set(METRICS_OF_BENCHMARK) for scores in values.values())
    for metric in ("relevance_mass", "relevance_rank", "pointing_game", "localization_auc"):
        assert values[TRUTH][metric] == 1
    assert values["random_map"]["relevance_mass"] == pytest.approx(area, abs=0.01)
    assert values["random_map"]["relevance_rank"] == pytest.approx(area, abs=0.02)
    assert values["random_map"]["localization_auc"] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("cue", CUES)
def test_the_ruler_is_straight_for_every_cue(cue: str) -> None:
    """The truth as a map scores 1, its opposite 0 (area 0.5 is never reached), `random_map` the truth's share of the
    bins."""
    pair = synthetic(Task("synthetic", cue, 1.0, 0), SMALL).pairs[0]
    stft = StftConfig()
    place = pair.truth(stft).map[None]
    spec = spectrogram(pair.with_cue.waveform[None], stft)
    target = torch.ones(1, dtype=torch.int64)

    def scored(values: torch.Tensor) -> dict[str, float]:
        case = Case(nn.Identity(), spec, Attribution(values, target, "by_hand"), truth=place)
        return {name: METRICS[name](case).item() for name in LOCALIZATION_METRICS}

    assert scored(place) == dict.fromkeys(LOCALIZATION_METRICS, 1)
    area = place.mean().item()
    opposite = scored(1 - place)
    assert [opposite[name] for name in ("relevance_mass", "relevance_rank", "pointing_game")] == [0, 0, 0]
    drawn = [scored(METHODS["random_map"](nn.Identity(), spec, target, seed=seed)) for seed in range(20)]
    means = {name: float(np.mean([values[name] for values in drawn])) for name in LOCALIZATION_METRICS}
    n_inside = place.sum().item()
    # 20 draws of n_inside bins each: four standard errors of a share
    error = 4 * np.sqrt(area * (1 - area) / (20 * n_inside))
    assert means["relevance_rank"] == pytest.approx(area, abs=error)
    assert means["relevance_mass"] == pytest.approx(area, abs=error)
    assert means["localization_auc"] == pytest.approx(0.5, abs=4 / np.sqrt(12 * 20 * n_inside))
    # one bin a draw
    assert means["pointing_game"] <= area + 4 * np.sqrt(area * (1 - area) / 20)


def test_the_documented_method_in_ten_lines_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[2] / "docs" / "benchmark.md").read_text("utf-8")
    snippet = text.split("## Submit a method in ten lines")[1].split("```python")[1].split("```")[0]
    method = snippet.split("@METHODS")[1]
    assert len([line for line in method.splitlines() if line.strip()]) <= 10
    full = BenchmarkSettings(methods=("saliency", "loud_gradient"), combinations=())
    assert len(full.tasks()) == 15
    # the same lines with fewer and shorter voices, scored however little was learned
    small = functools.partial(
        BenchmarkSettings,
        cues=("burst_weakening",),
        seeds=(0,),
        n_speakers=3,
        n_takes=1,
        epochs=1,
        n_explained=1,
        n_stages=1,
        n_sanity=1,
        duration_s=1.2,
    )
    monkeypatch.setattr(benchmark, "BenchmarkSettings", small)
    monkeypatch.setattr(benchmark_task, "MIN_AUC", 0.0)
    monkeypatch.setattr(benchmark_task, "RIGHT", 0.0)
    monkeypatch.setattr(METHODS, "_functions", dict(METHODS._functions))
    monkeypatch.setattr(METHODS, "_facts", dict(METHODS._facts))
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, "docs/benchmark.md", "exec"), {})
    summary = pd.read_csv(tmp_path / "runs" / "mine" / "summary.csv").set_index(["recipe", "metric"])
    assert 0 <= summary.loc[("loud_gradient", "relevance_rank"), "mean"] <= 1
    sanity = pd.read_csv(tmp_path / "runs" / "mine" / "sanity.csv").set_index("recipe")
    assert np.isfinite(sanity.loc["loud_gradient", "randomized_all"])
    assert "loud_gradient" in (tmp_path / "runs" / "mine" / "report.html").read_text("utf-8")


def made_results() -> list[TaskResult]:
    """Two cues, four speakers: comprehensiveness@10 follows relevance_rank, deletion_auc (low is best) runs against
    it."""
    results = []
    for cue in ("tremor", "breathiness"):
        scores = []
        for index in range(4):
            values = {
                recipe: {
                    "relevance_rank": 0.1 * place + 0.01 * index,
                    "relevance_mass": 0.2,
                    "pointing_game": float(place > 3),
                    "localization_auc": 0.5 + 0.05 * place,
                    "comprehensiveness@10": place**2 / 100,
                    "deletion_auc": place / 10,
                    "mean_mask": 0.1,
                }
                for place, recipe in enumerate(("random_map", "energy_map", "edge_map", "saliency", "smoothgrad"))
            }
            values[TRUTH] = dict.fromkeys(values["saliency"], 1.0)
            scores.append(
                {
                    "recording": f"{cue}-{index}",
                    "speaker": f"s{index}",
                    "fold": 0,
                    "p": 0.9,
                    "area": 0.1,
                    "values": values,
                }
            )
        sanity = [
            {"recording": "r", "speaker": "s", "recipe": name, "check": "randomized_all", "value": value}
            for name, value in (("saliency", 0.2), ("edge_map", 1.0))
        ]
        facts = {"group": f"synthetic/{cue}/1", "seed": 0, "excluded": "", "auc": 1.0}
        results.append(TaskResult(f"synthetic/{cue}/1/0", facts, scores, sanity))
    return results


def test_which_metric_to_believe() -> None:
    scores = score_table(made_results())
    found = believable(scores, ["random_map", "energy_map", "edge_map", "saliency", "smoothgrad", TRUTH])
    rank = found[found["truth_metric"] == "relevance_rank"].set_index(["model", "metric"])
    for model in ("synthetic/tremor/1", "synthetic/breathiness/1", "all"):
        assert rank.loc[(model, "comprehensiveness@10"), "within"] == pytest.approx(1)
        assert rank.loc[(model, "deletion_auc"), "within"] == pytest.approx(-1)
        assert np.isnan(rank.loc[(model, "deletion_auc"), "within_high"]), "four speakers have no interval"
    assert rank.loc[("synthetic/tremor/1", "comprehensiveness@10"), "pooled"] > 0.95
    assert rank.loc[("all", "deletion_auc"), "n_recordings"] == 8
    assert rank.loc[("all", "deletion_auc"), "n_speakers"] == 4
    # relevance_mass is constant: no rank correlation
    mass = found[(found["truth_metric"] == "relevance_mass") & (found["metric"] == "deletion_auc")]
    assert mass["within"].isna().all()


def test_pooled_and_row_correlations_are_spearmans() -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(6, 9)), rng.normal(size=(6, 9))
    a[2, 3] = np.nan
    expected = [spearmanr(x[~np.isnan(x)], y[~np.isnan(x)]).statistic for x, y in zip(a, b, strict=True)]
    assert spearman_rows(a, b) == pytest.approx(expected)
    assert np.isnan(spearman_rows(np.zeros((1, 9)), b[:1])).all()


def test_leaderboard_keeps_cues_apart_and_an_average_has_its_parts() -> None:
    scores = score_table(made_results())
    board = leaderboard(scores)
    one = board[(board["metric"] == "relevance_rank") & (board["recipe"] == "smoothgrad")]
    assert list(one["model"]) == ["synthetic/tremor/1", "synthetic/breathiness/1"]
    assert one["mean"].tolist() == pytest.approx([0.415, 0.415])
    assert (one["n_speakers"] == 4).all()
    wide = average_over_cues(board, "relevance_rank").set_index("recipe")
    assert list(wide.columns) == ["synthetic/tremor/1", "synthetic/breathiness/1", "mean of the columns"]
    assert wide.loc["saliency", "mean of the columns"] == pytest.approx(0.315)
    # A cue that a method has no value for leaves it without an average, and the others as they are.
    gap = board[(board["model"] != "synthetic/tremor/1") | (board["recipe"] != "saliency")]
    partly = average_over_cues(gap, "relevance_rank").set_index("recipe")["mean of the columns"]
    assert np.isnan(partly["saliency"])
    assert partly["smoothgrad"] == pytest.approx(0.415)
    chance = chance_table(scores).set_index(["model", "metric"])
    assert chance.loc[("synthetic/tremor/1", "relevance_rank"), "expected"] == pytest.approx(0.1)
    assert chance.loc[("synthetic/tremor/1", "localization_auc"), "expected"] == 0.5
    assert (chance["truth_lowest"] == 1).all()
    from app import boards

    assert boards.groups(board) == ["synthetic/tremor/1", "synthetic/breathiness/1"]
    shown = boards.of_group(board, "synthetic/tremor/1")
    assert set(shown["model"]) == {"synthetic/tremor/1"}
    assert TRUTH in set(board["recipe"])
    assert TRUTH not in set(shown["recipe"])
    sanity = sanity_table(made_results()).set_index("recipe")
    assert sanity.loc["edge_map", "fails"] == "randomized_all"
    assert sanity.loc["saliency", "fails"] == ""


def test_empty_tables_keep_their_columns() -> None:
    scores = score_table([])
    assert leaderboard(scores).empty
    assert believable(scores, ["saliency"]).empty
    assert chance_table(scores).empty
    assert sanity_table([]).empty
    assert isinstance(task_table([]), pd.DataFrame)
