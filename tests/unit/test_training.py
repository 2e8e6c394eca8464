"""From recordings to a bundle: the card's numbers are those of the very models shipped, and a killed training goes
on."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from speechxai.classifiers import predict
from speechxai.classifiers.bundle import Bundle, bundle_names, load_bundle
from speechxai.classifiers.fit import FitConfig
from speechxai.classifiers.training import (
    Corpus,
    Plan,
    _confounds,
    _repeats,
    draw_folds,
    fold_facts,
    read_corpus,
    train_bundle,
)
from speechxai.classifiers.validation import Subjects, confounds, cross_validate
from speechxai.errors import SpeechXAIError
from speechxai.signal.stft import spectrogram
from speechxai.stats import auc
from speechxai.types import Recording, StftConfig

STFT = StftConfig(n_fft=256, win_length=256, hop_length=128, sample_rate=8000)
PLAN = Plan(
    "toy",
    "A toy",
    options={"n_mels": 20, "channels": [4, 8], "f_max_hz": 4000.0},
    n_folds=3,
    repeats=(1,),
    segment=None,
    fit=FitConfig(epochs=3, batch=8, crop_s=0.4, restarts=0),
    cam_layer="features",
    stft=STFT,
    n_bootstrap=20,
)


def corpus() -> Corpus:
    time = torch.arange(4800) / 8000
    recordings = []
    for s in range(12):
        hiss = torch.randn(4800, generator=torch.Generator().manual_seed(s))
        waveform = 0.3 * torch.sin(2 * math.pi * (110 + 8 * s) * time) + hiss * (0.02 if s % 2 else 0.005)
        about = {"age": 50 + 2 * s, "sex": "FM"[s // 2 % 2], "sha256": f"{s:064x}"}
        recordings.append(Recording(waveform, 8000, f"r{s}", f"toy/{s}", s % 2, "vowel-a", about))
    return Corpus("toy", tuple(recordings), "# toy\n\nTones with noise.\n")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return train_bundle(corpus(), PLAN, tmp_path_factory.mktemp("models") / "toy")


def shipped_auroc(bundle: Bundle, recordings: tuple[Recording, ...]) -> float:
    """AUROC of the bundle on its own training recordings, each heard by the model that never heard its speaker."""
    scores = []
    for recording in recordings:
        model = bundle.for_recording(recording)
        assert model is not bundle.classifier(), f"{recording.id} must be known to a fold"
        scores.append(float(predict(model, spectrogram(recording.waveform[None], model.stft))[0, 1]))
    return auc(scores, [r.label for r in recordings])


def card_auroc(bundle: Bundle) -> float:
    found = re.search(r"\| AUROC \|[^|]*\| ([\d.]+) \[", bundle.card)
    assert found
    return float(found.group(1))


def test_the_card_tells_what_the_shipped_models_do(trained: Bundle) -> None:
    again = load_bundle(trained.folder)
    assert card_auroc(again) == pytest.approx(shipped_auroc(again, corpus().recordings), abs=6e-4)
    for wanted in (
        "not a medical device",
        "Tones with noise.",
        "12 recordings of 12 subjects",
        "age alone",
        "duration alone",
        "expected calibration error",
        "3 folds by speaker",
        "| sex F |",
        "95 %",
        "| torch |",
    ):
        assert wanted in again.card
    assert again.n_folds == 3
    assert vars(again.config.audio) == {"normalize": "peak", "offset": "removed"}
    folds = draw_folds(corpus().recordings, 3, 0)
    assert again.config.speakers == {f"toy/{s}": folds[s] for s in range(12)}
    assert again.config.files == {f"{s:064x}": folds[s] for s in range(12)}
    assert again.config.training["n_speakers"] == {"HC": 6, "PD": 6}
    assert again.config.calibration.final_temperature == pytest.approx(float(again.classifier().temperature), abs=1e-5)
    assert again.config.calibration.final_intercept == pytest.approx(again.classifier().intercept.tolist(), abs=1e-5)
    assert not Path(f"{trained.folder}.training").exists()
    validated = cross_validate(PLAN.make, corpus().recordings, folds, PLAN.fit)
    # The first epoch is epoch 1 for people.
    losses = [[epoch.validation_loss for epoch in history.epochs] for history in validated.histories]
    assert again.config.training["best_epochs"] == [1 + each.index(min(each)) for each in losses]
    for fold, model in enumerate(validated.models):
        shipped = again.classifier(fold).state_dict()
        assert all(torch.equal(value, shipped[key]) for key, value in model.state_dict().items())


def test_killed_and_resumed_gives_the_same_bundle(trained: Bundle, tmp_path: Path) -> None:
    calls = 0

    def kill(done: int, total: int, what: str) -> None:
        nonlocal calls
        calls += 1
        if calls == 17:  # within the second cross-validation
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_bundle(corpus(), PLAN, tmp_path / "toy", kill)
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"/toy\.training: a training was interrupted here\. Go on with --resume, or begin anew with "
            r"--overwrite\.$"
        ),
    ):
        train_bundle(corpus(), PLAN, tmp_path / "toy")
    resumed = train_bundle(corpus(), PLAN, tmp_path / "toy", resume=True)
    assert resumed.config.weights.sha256 == trained.config.weights.sha256
    assert resumed.card == trained.card


def test_a_folder_without_recordings_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpeechXAIError, match=str(tmp_path)):
        read_corpus("figshare-voice", tmp_path, PLAN)


@pytest.mark.skipif("figshare-cnn" not in bundle_names(), reason="the bundle is not trained yet")
def test_figshare_card_is_true_of_the_shipped_models(shared_data: Callable[[str], Path]) -> None:
    bundle = load_bundle("figshare-cnn")
    data = read_corpus("figshare-voice", shared_data("figshare-voice"), Plan("x"))
    assert len(data.recordings) == 81
    assert card_auroc(bundle) == pytest.approx(shipped_auroc(bundle, data.recordings), abs=6e-4)
    assert "Age confound" in bundle.card
    assert "0.865" in bundle.card


def test_a_card_says_undefined_where_nobody_knows_ages_and_counts_only_sexes_that_are_known() -> None:
    labels, names = np.array([0.0, 0, 0, 0, 1, 1, 1, 1]), tuple(f"s{i}" for i in range(8))
    # F F F M "" and M "" x M: known are F F F M against M M. Men among them: 1 of 4 and 2 of 2, AUROC (3 + .5) / 4.
    sexes = ("F", "F", "F", "M", "M", "", "x", "M")
    told = Subjects(names, labels, labels, np.full(8, np.nan), np.ones(8), sexes)
    text = _confounds(told, confounds(told, n=10), 10) + _repeats(
        [(0, 0.5, float("nan")), (1, 0.6, float("nan"))], True
    )
    assert "| sex alone | 6 | 0.875" in text
    assert "| 0 | 0.500 | undefined |" in text
    assert "nan" not in text


def test_what_each_folds_network_said() -> None:
    p = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3], [0.2, 0.8], [0.3, 0.7]], dtype=torch.float64)
    logits = torch.tensor([[0.0, 1.0], [0.0, 0.0], [0.0, 3.0], [0.0, 2.0], [0.0, 2.0]])
    folds = torch.tensor([0, 1, 0, 1, 1])
    validated = SimpleNamespace(folds=folds, logits=logits, calibrated=p.log(), restarts=(0, 2), flat=["", "flat"])
    first, second = fold_facts(validated)  # type: ignore[arg-type]
    # Fold 0 holds p(PD) .1 and .3, log odds 1 and 3; fold 1 .6, .8, .7, log odds 0, 2, 2: mean 4/3, variance 8/9.
    assert first == {
        "n_recordings": 2,
        "spread": 1.0,
        "low": [0.7, 0.1],
        "high": [0.9, 0.3],
        "restarts": 0,
        "problem": "",
    }
    assert second == {
        "n_recordings": 3,
        "spread": 0.942809,
        "low": [0.2, 0.6],
        "high": [0.4, 0.8],
        "restarts": 2,
        "problem": "flat",
    }
