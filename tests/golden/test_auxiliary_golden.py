"""The auxiliary study's numbers by hand: metrics, weights, pairs within folds, intervals, p-values, features."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from speechxai.auxiliary import report
from speechxai.auxiliary.folder import Source, chosen_recipes
from speechxai.auxiliary.study import BANDS_HZ, Crops, crop_frames, features, random_evidence, summary
from speechxai.auxiliary.tables import Arm, Draws, measure, statistics
from speechxai.auxiliary.values import AuxiliarySettings, Material
from speechxai.classifiers.cnn import LogMel
from speechxai.errors import SpeechXAIError
from speechxai.types import StftConfig

STFT = StftConfig(n_fft=256, win_length=256, hop_length=128, sample_rate=8_000)


def arm(labels: list[int], probabilities: list[float], folds: list[int], mask: list[float] | None = None) -> Arm:
    row = [np.array([v], dtype=float) for v in (labels, probabilities, folds)]
    return Arm("saliency", "speaker", "small", row[0], row[1], row[2], np.array(mask or [np.nan] * len(labels)))


def test_metrics_by_hand() -> None:
    # PD: .9 (hit), .4 (miss), .6 (hit); HC: .2 (right), .7 (false alarm). 3 of 5 right.
    found = statistics(arm([1, 1, 1, 0, 0], [0.9, 0.4, 0.6, 0.2, 0.7], [0] * 5), np.ones((1, 5)))
    assert found["accuracy"][0, 0] == pytest.approx(3 / 5)
    # F1 of PD: 2*2 / (2*2 + 1 miss + 1 alarm) = 4/6; of HC: 2*1 / (2*1 + 1 + 1) = 1/2.
    assert found["macro_f1"][0, 0] == pytest.approx((4 / 6 + 1 / 2) / 2)
    # Pairs (PD, HC): .9 beats both, .4 beats .2, .6 beats .2: 4 of 6.
    assert found["auroc"][0, 0] == pytest.approx(4 / 6)


def test_metrics_of_three_classes_by_hand() -> None:
    p = [[0.6, 0.3, 0.1], [0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.2, 0.5, 0.3]]  # said: 0, 0, 2, 1
    labels, folds = np.array([[0.0, 1.0, 2.0, 2.0]]), np.zeros((1, 4))
    found = statistics(
        Arm("saliency", "speaker", "small", labels, np.array([p]), folds, np.full(4, np.nan)), np.ones((1, 4))
    )
    assert found["accuracy"][0, 0] == pytest.approx(2 / 4)
    # F1: class 0 2*1 / (2*1 + 1 alarm), class 1 0, class 2 2*1 / (2*1 + 1 miss).
    assert found["macro_f1"][0, 0] == pytest.approx((2 / 3 + 0 + 2 / 3) / 3)
    # Against all others: .6 beats .5, .1, .2; .3 ties with .3, beats .2, loses to .5; .7 and .3 beat .1 and .2.
    assert found["auroc"][0, 0] == pytest.approx((1 + 1.5 / 3 + 1) / 3)
    apart = Arm("saliency", "speaker", "small", labels, np.array([p]), np.array([[0, 0, 1, 1]]), np.full(4, np.nan))
    # Class 2 is alone in its fold, and is left out: .6 beats .5, .3 ties with .3.
    assert statistics(apart, np.ones((1, 4)))["auroc"][0, 0] == pytest.approx((1 + 0.5) / 2)


def test_pairs_are_compared_within_their_fold_only() -> None:
    # Fold 0: .3 against .2, won. Fold 1, where everything is higher: .8 against .9, lost. Across folds .8 would beat
    # .2.
    found = statistics(arm([1, 0, 1, 0], [0.3, 0.2, 0.8, 0.9], [0, 0, 1, 1]), np.ones((1, 4)))
    assert found["auroc"][0, 0] == pytest.approx(1 / 2)
    one_sided = statistics(arm([1, 1, 0, 0], [0.3, 0.2, 0.8, 0.9], [0, 0, 1, 1]), np.ones((1, 4)))
    assert math.isnan(one_sided["auroc"][0, 0])  # no fold has both classes


def test_weights_count_recordings() -> None:
    # Weight 3 on the miss: right 1 + 1 of 1 + 3 + 1.
    found = statistics(arm([1, 1, 0], [0.9, 0.4, 0.5], [0, 0, 0]), np.array([[1.0, 3.0, 1.0]]))
    assert found["accuracy"][0, 0] == pytest.approx(2 / 5)
    # Pairs: .9 > .5 with weight 1, .4 < .5 with weight 3. (0.5 is not above 0.5, so the HC is right.)
    assert found["auroc"][0, 0] == pytest.approx(1 / 4)


def test_a_class_that_is_never_said_has_no_f1() -> None:
    # All said HC: F1 of HC = 2*2 / (2*2 + 1) = 4/5, of PD 0.
    found = statistics(arm([1, 0, 0], [0.1, 0.1, 0.1], [0, 0, 0]), np.ones((1, 3)))
    assert found["macro_f1"][0, 0] == pytest.approx((4 / 5 + 0) / 2)
    assert found["auroc"][0, 0] == 0.5  # ties count half


def test_every_speaker_counts_once_and_masks_make_it_selective() -> None:
    # Speaker a: three recordings, all right; speaker b: one, wrong. By speaker 1/2, by recording 3/4.
    draws = Draws.make(["a", "a", "a", "b"], n_seeds=1, n=200)
    found = measure(arm([1, 1, 1, 0], [0.9, 0.8, 0.7, 0.6], [0] * 4, [0.1, 0.1, 0.1, 0.3]), draws)
    assert found["accuracy"].value == pytest.approx(1 / 2)
    # Mean mask over speakers (0.1 + 0.3) / 2 = 0.2.
    assert found["selective_accuracy"].value == pytest.approx(1 / 2 * 0.8)
    # Two speakers drawn with replacement: accuracy 0, 1/2 or 1, a quarter, a half and a quarter of the draws.
    values, counts = np.unique(found["accuracy"].draws.round(6), return_counts=True)
    assert values.tolist() == [0.0, 0.5, 1.0]
    assert counts / 200 == pytest.approx([0.25, 0.5, 0.25], abs=0.08)


def test_seeds_are_averaged_and_drawn() -> None:
    # Seed 0 is right, seed 1 is wrong on everyone: whoever is drawn, only the drawn seeds move the accuracy.
    labels, folds = np.array([[1.0, 0.0]] * 2), np.zeros((2, 2))
    both = Arm(
        "saliency", "speaker", "small", labels, np.array([[0.9, 0.1], [0.1, 0.9]]), folds, np.array([np.nan, np.nan])
    )
    found = measure(both, Draws.make(["a", "b"], n_seeds=2, n=400))["accuracy"]
    assert found.value == 0.5
    assert found.seed_std == pytest.approx(math.sqrt(0.5))  # (1, 0), n - 1
    assert np.unique(found.draws).tolist() == [0.0, 0.5, 1.0]


def material(maps: list[torch.Tensor], magnitudes: list[torch.Tensor] | None = None) -> Material:
    n = len(maps)
    manifest = pd.DataFrame(
        {
            "recording": [f"r{i}" for i in range(n)],
            "speaker": [f"a/s{i}" for i in range(n)],
            "label": pd.array([i % 2 for i in range(n)], dtype="Int64"),
            "sex": "F",
            "age": pd.array([60.0] * n, dtype="Float64"),
        }
    )
    loud = magnitudes or maps
    voicing = [np.full(m.shape[-1], 2, dtype=np.int8) for m in maps]
    n_frames = tuple(m.shape[-1] for m in maps)
    return Material(
        manifest, STFT, lambda i: loud[i], lambda _, i: maps[i], lambda i: voicing[i], n_frames, np.full(n, 0.5)
    )


def test_features_by_hand() -> None:
    generator = torch.Generator().manual_seed(0)
    magnitude = torch.rand(129, 10, generator=generator) * 3
    quarter = torch.full((129, 10), 0.25)
    settings = AuxiliarySettings(("saliency",), n_mels=12)
    found = features(material([quarter], [magnitude]), "saliency", settings)
    # Evidence 1/4 everywhere has the mean 1/4 under every filter, and 1/2 is its root; 10 frames by fours, the rest
    # alone: 3.
    assert found.values[0] == pytest.approx(torch.full((12, 3), 0.5))
    assert found.mean_mask.tolist() == [0.25]
    front_end = LogMel(STFT, 12)
    masked = features(
        material([quarter], [magnitude]), "saliency", AuxiliarySettings(("saliency",), "masked", n_mels=12)
    )
    by_hand = front_end.raw((0.25 * magnitude)[None])[0]
    expected = torch.stack([by_hand[:, :4].mean(1), by_hand[:, 4:8].mean(1), by_hand[:, 8:].mean(1)], dim=1)
    assert masked.values[0] == pytest.approx(expected, rel=1e-5)
    original = features(material([quarter], [magnitude]), "original", settings)
    assert original.values[0][:, 0] == pytest.approx(front_end.raw(magnitude[None])[0][:, :4].mean(1), rel=1e-5)
    assert original.mean_mask.tolist() == [1.0]
    energy = features(material([quarter], [magnitude]), "energy_map", settings)
    assert energy.mean_mask[0] == pytest.approx(float((magnitude / magnitude.max()).mean()), rel=1e-6)


def test_summary_by_hand() -> None:
    # 31.25 Hz a bin: 0 to 500 Hz are the bins 0 to 15. Frames: pause, unvoiced, voiced, voiced.
    values = torch.zeros(129, 4)
    values[:16, 2:] = 1.0
    voicing = np.array([0, 1, 2, 2], dtype=np.int8)
    found = summary(values, voicing, STFT).reshape(4, 3)  # 4 bands below 4 kHz
    # The mean over all bins is 16 * 2 / (129 * 4); where the evidence is, it is 1.
    expected = np.zeros((4, 3))
    expected[0, 2] = 129 * 4 / (16 * 2)
    assert found == pytest.approx(expected)
    assert summary(torch.zeros(129, 4), voicing, STFT).tolist() == [1.0] * 12
    without_pause = summary(values, np.array([1, 1, 2, 2], dtype=np.int8), STFT).reshape(4, 3)
    assert np.isnan(without_pause[:, 0]).all()
    assert len(BANDS_HZ) == 5


def test_pieces_have_one_length() -> None:
    crops = Crops((torch.arange(6.0)[None], torch.arange(100.0, 103.0)[None]), 4)
    rows = torch.tensor([0, 1])
    # The second recording has 3 frames and is repeated; the first is cut from frame 2 on.
    assert crops.cut(rows, torch.tensor([2, 0]))[:, 0].tolist() == [[2, 3, 4, 5], [100, 101, 102, 100]]
    # Evenly: frames 0 and 6 - 4 = 2; a short recording gives the same piece every time.
    evenly = crops.evenly(rows, 2)[:, 0].tolist()
    assert evenly == [[0, 1, 2, 3], [2, 3, 4, 5], [100, 101, 102, 100], [100, 101, 102, 100]]
    generator = torch.Generator().manual_seed(0)
    starts = {crops.at_random(rows, generator)[0, 0, 0].item() for _ in range(60)}
    assert starts == {0.0, 1.0, 2.0}
    mean, deviation = crops.statistics(torch.tensor([0]))
    assert mean.item() == 2.5
    assert deviation.item() == pytest.approx(math.sqrt(35 / 12))  # variance of 0 ... 5


def test_the_shortest_recording_sets_the_length() -> None:
    some = material([torch.rand(129, n) for n in (90, 60)])
    assert crop_frames(some, AuxiliarySettings(("saliency",))) == 60 // 4
    # 62.5 frames a second: half a second is 31 frames.
    assert crop_frames(some, AuxiliarySettings(("saliency",), crop_s=0.5)) == 8  # 31 // 4 = 7, but at least 8
    long = material([torch.rand(129, 400)])
    assert crop_frames(long, AuxiliarySettings(("saliency",))) == 125 // 4  # at most 2 s


def test_random_maps_differ_by_recording_but_not_by_call() -> None:
    a, again, b = random_evidence("a", 5, 7), random_evidence("a", 5, 7), random_evidence("b", 5, 7)
    assert torch.equal(a, again)
    assert not torch.equal(a, b)
    assert 0 <= float(a.min()) <= float(a.max()) < 1


def test_the_coefficients_of_a_readable_model() -> None:
    part = pd.DataFrame(
        [
            ("0-500 Hz", "pause", 0.25, 0.8, 0.1),
            ("0-500 Hz", "voiced", -1.5, 1.0, 0.1),
            ("500-1000 Hz", "pause", 0.0, 1.0, 0.0),
            ("500-1000 Hz", "voiced", 0.002, 0.6, 0.1),
        ],
        columns=["band", "segment", "log_odds", "same_sign", "std"],
    )
    found = report._coefficients(part, "t")
    assert found.columns == ("band", "pause", "voiced")
    assert [[row.name, *(cell.text for cell in row.cells)] for row in found.rows] == [
        ["0-500 Hz", "+0.25 (80 %)", "−1.50 (100 %)"],
        ["500-1000 Hz", "–", "0.00 (60 %)"],
    ]


def test_who_is_in_a_study() -> None:
    some = material([torch.ones(129, 9)] * 5)  # labels 0 1 0 1 0
    held_out = {"r0": True, "r1": False, "r2": None, "r3": None, "r4": True}
    facts = Source(some, {"r9": "broken"}, held_out, "f").facts()
    assert facts == {
        **{"n_recordings": 5, "n_speakers": 5, "classes": {"HC": 3, "PD": 2}, "left_out": {"r9": "broken"}},
        **{"not_held_out": 1, "unknown_held_out": 2, "fingerprint": "f"},
    }


def test_which_maps_are_studied() -> None:
    recipes = ["saliency", "rise", "union(saliency, rise)", "energy_map"]
    run: Any = SimpleNamespace(path="run", environment={"recipes": recipes})
    assert chosen_recipes(run, ()) == chosen_recipes(run, ("methods",)) == ("saliency", "rise")
    assert chosen_recipes(run, ("all",)) == ("saliency", "rise", "union(saliency, rise)")
    assert chosen_recipes(run, ("union( saliency,rise)", "methods")) == ("union(saliency, rise)", "saliency", "rise")
    assert chosen_recipes(run, ("rise", "rise")) == ("rise",)
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^run: the run has no maps of 'gradcam'\. It has: saliency, rise, union\(saliency, rise\), "
            r"energy_map\.$"
        ),
    ):
        chosen_recipes(run, ("gradcam",))
    for empty, asked in (([], ()), (["energy_map"], ("all",))):
        with pytest.raises(SpeechXAIError, match=r"^run: the run has no explanations to study\.$"):
            chosen_recipes(SimpleNamespace(path="run", environment={"recipes": empty}), asked)  # type: ignore[arg-type]
