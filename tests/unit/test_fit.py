"""Training: by seed, resumable, by speaker; class weights, augmentation, temperature, subject-level metrics."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from speechxai.classifiers import Classifier, build, predict, validation
from speechxai.classifiers.cnn import Cnn
from speechxai.classifiers.fit import (
    AugmentConfig,
    FitConfig,
    Heard,
    _finished,
    augment_waveforms,
    class_weights,
    crop,
    fit,
    fit_temperature,
    flatness,
    heard,
    initialized,
    recording_logits,
    set_front_end,
    spec_augment,
    spread_of,
)
from speechxai.classifiers.network import WaveformDoor
from speechxai.classifiers.validation import (
    Calibration,
    CrossValidation,
    brier_score,
    by_subject,
    confounds,
    cross_validate,
    fit_calibration,
    fit_final,
    flat_folds,
    groups,
    interval,
    log_loss,
    matched_auroc,
    performance,
    reliability,
)
from speechxai.errors import SpeechXAIError
from speechxai.signal.stft import spectrogram
from speechxai.stats import auc, expected_calibration_error
from speechxai.types import Recording, StftConfig

STFT = StftConfig(n_fft=256, win_length=256, hop_length=128, sample_rate=8000)
QUICK = FitConfig(epochs=4, patience=4, batch=8, crop_s=0.4, n_crops=2)


def tone(speaker: int, label: int, seed: int, seconds: float = 0.6) -> Recording:
    """A voice-like tone; class 1 has noise in it, so that the classes can be told apart."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(int(seconds * 8000)) / 8000
    f0 = 100 + 10 * speaker
    waveform = sum(torch.sin(2 * math.pi * f0 * k * time) / k for k in range(1, 6)) * 0.2
    noise = torch.randn(len(time), generator=generator) * (0.15 if label else 0.005)
    return Recording(waveform + noise, 8000, f"r{speaker}-{seed}", f"toy/{speaker}", label)


def corpus(n_speakers: int = 12) -> list[Recording]:
    return [tone(s, s % 2, 100 * s + i, 0.5 + 0.05 * s) for s in range(n_speakers) for i in range(2)]


def make() -> Classifier:
    return Classifier(build("cnn", STFT, n_mels=20, channels=[4, 8], f_max_hz=4000.0), STFT, None, cam_layer="features")


class Memory:
    """A store that raises after some epochs, as a kill would."""

    def __init__(self, kill_after: int | None = None) -> None:
        self.state: dict[str, Any] | None = None
        self.kill_after = kill_after
        self.n_saved = 0

    def load(self) -> dict[str, Any] | None:
        return self.state

    def save(self, state: dict[str, Any]) -> None:
        import copy

        self.state = copy.deepcopy(state)
        self.n_saved += 1
        if self.n_saved == self.kill_after:
            raise KeyboardInterrupt


def equal(a: Classifier, b: Classifier) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return all(torch.equal(left[key], right[key]) for key in left)


@pytest.fixture(scope="module")
def trained() -> Classifier:
    classifier = initialized(make, 0)
    fit(classifier, corpus()[:16], corpus()[16:], QUICK)
    return classifier


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(trained: Classifier) -> None:
    torch.manual_seed(123)  # what the process's own random state is must not matter
    again, other = initialized(make, 0), initialized(make, 1)
    before = torch.get_rng_state()
    fit(again, corpus()[:16], corpus()[16:], QUICK)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.are_deterministic_algorithms_enabled()
    fit(other, corpus()[:16], corpus()[16:], QUICK)
    assert equal(trained, again)
    assert not equal(trained, other)


@pytest.mark.parametrize("kill_after", [1, 3])
def test_killed_and_resumed_equals_uninterrupted(trained: Classifier, kill_after: int) -> None:
    store = Memory(kill_after)
    with pytest.raises(KeyboardInterrupt):
        fit(initialized(make, 0), corpus()[:16], corpus()[16:], QUICK, None, store)
    resumed = initialized(make, 5)  # the weights come from the store and not from here
    history = fit(resumed, corpus()[:16], corpus()[16:], QUICK, None, store)
    assert equal(trained, resumed)
    assert [record.epoch for record in history.epochs] == [0, 1, 2, 3]
    n_saved = store.n_saved
    assert equal(
        resumed, (fit(again := initialized(make, 7), corpus()[:16], corpus()[16:], QUICK, None, store), again)[1]
    )
    assert store.n_saved == n_saved, "a finished training trains no further"


def test_validation_recordings_do_not_set_the_front_end(trained: Classifier) -> None:
    alone = initialized(make, 0)
    set_front_end(alone, corpus()[:16])
    assert torch.equal(trained.backbone.front_end.mean, alone.backbone.front_end.mean)
    assert torch.equal(trained.backbone.front_end.deviation, alone.backbone.front_end.deviation)


def test_every_epoch_and_every_seed_draws_its_own_crops() -> None:
    losses = {}
    for seed in (0, 1):
        # a rate at which weights stand still: only what is drawn can change the loss
        config = FitConfig(epochs=3, batch=48, crop_s=0.4, learning_rate=1e-12, weight_decay=0, seed=seed)
        history = fit(initialized(make, 0), corpus(), (), config)
        losses[seed] = [record.training_loss for record in history.epochs]
    assert len({round(loss, 6) for values in losses.values() for loss in values}) == 6


def test_a_store_of_another_training_is_refused() -> None:
    store = Memory()
    fit(make(), corpus()[:16], corpus()[16:], FitConfig(epochs=1, batch=8, crop_s=0.4), None, store)
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^The stored training state belongs to other recordings or settings: remove it or train with "
            r"the same ones\.$"
        ),
    ):
        fit(make(), corpus()[:16], corpus()[16:], QUICK, None, store)


def test_training_stops_early_and_keeps_the_best_epoch() -> None:
    config = FitConfig(
        epochs=30, patience=2, batch=8, crop_s=0.4, learning_rate=0.3
    )  # a rate so high that it gets worse
    classifier = initialized(make, 0)
    history = fit(classifier, corpus()[:16], corpus()[16:], config)
    losses = [record.validation_loss for record in history.epochs]
    assert all(loss is not None for loss in losses)
    assert history.best_epoch == int(np.argmin(np.array(losses, dtype=float)))
    assert history.stopped_early
    assert len(losses) == history.best_epoch + 1 + config.patience
    weights = class_weights([r.label or 0 for r in corpus()[16:]], 2)
    labels = torch.tensor([r.label for r in corpus()[16:]])
    kept = torch.nn.functional.cross_entropy(recording_logits(classifier, corpus()[16:]), labels, weight=weights)
    assert float(kept) == pytest.approx(min(loss for loss in losses if loss is not None), rel=1e-5)


def test_it_learns_and_reports_progress() -> None:
    seen: list[tuple[int, int, str]] = []
    classifier = initialized(make, 0)
    # noise is the classes' cue here, so none is added
    config = FitConfig(epochs=12, batch=8, crop_s=0.4, learning_rate=1e-2, augment=AugmentConfig(noise_share=0))
    history = fit(classifier, corpus()[:16], (), config, lambda *args: seen.append(args))
    assert [s[:2] for s in seen] == [(i + 1, 12) for i in range(12)]
    assert history.epochs[-1].training_loss < 0.6 * history.epochs[0].training_loss
    held_out = corpus()[16:]
    probability = recording_logits(classifier, held_out).softmax(-1)[:, 1].numpy()
    assert auc(probability, [r.label for r in held_out]) == 1.0


def test_class_weights_by_hand() -> None:
    # N / (C * n_c): 4 / (2 * 3) = 2/3 and 4 / (2 * 1) = 2
    assert class_weights([0, 0, 0, 1], 2).tolist() == pytest.approx([2 / 3, 2.0])
    assert class_weights([0, 0, 0, 1], 2, "none").tolist() == [1.0, 1.0]
    with pytest.raises(
        SpeechXAIError, match=(r"^The training recordings hold no example of class 1: both classes are needed\.$")
    ):
        class_weights([0, 0], 2)


def test_temperature_golden() -> None:
    # Logit 4 and right three times of four: the best probability is 3/4, its logit ln 3, so T = 4 / ln 3 = 3.641
    logits, labels = torch.tensor([[0.0, 4.0]] * 4), torch.tensor([1, 1, 1, 0])
    temperature = fit_temperature(logits, labels)
    assert temperature == pytest.approx(4 / math.log(3), rel=1e-3)
    before = torch.nn.functional.cross_entropy(logits, labels)
    after = torch.nn.functional.cross_entropy(logits / temperature, labels)
    # before: (3 ln(1 + e^-4) + ln(1 + e^4)) / 4 = 1.0181; after: ln 4 - 0.75 ln 3 = 0.5623
    assert float(before) == pytest.approx(1.0181, abs=1e-4)
    assert float(after) == pytest.approx(0.5623, abs=1e-4)
    # always wrong: no finite temperature is best, so the bound answers
    assert fit_temperature(logits, torch.tensor([0, 0, 0, 0])) == pytest.approx(10.0, rel=1e-3)


def test_platt_golden() -> None:
    # Margin 1: three of four have it, so ln 3. Margin -1: one of eight, so ln(1 / 7).
    # Slope (ln 3 + ln 7) / 2 = 1.5223, intercept of the margin (ln 3 - ln 7) / 2 = -0.4236, half of it a class.
    margins = torch.tensor([1.0] * 4 + [-1.0] * 8)
    logits, labels = torch.stack([0 * margins, margins], dim=1), torch.tensor([1, 1, 1, 0, 1, *[0] * 7])
    found = fit_calibration(logits, labels)
    assert found.temperature == pytest.approx(2 / (math.log(3) + math.log(7)), rel=1e-4)
    assert found.intercept == pytest.approx(
        ((math.log(7) - math.log(3)) / 4, (math.log(3) - math.log(7)) / 4), rel=1e-3
    )
    assert found(logits).softmax(-1)[[0, 4], 1].tolist() == pytest.approx([0.75, 0.125], abs=1e-4)
    # The mean probability is then the share of the class, which a temperature alone cannot give: 4 of 12.
    assert float(found(logits).softmax(-1)[:, 1].mean()) == pytest.approx(4 / 12, abs=1e-4)
    alone = fit_calibration(logits, labels, intercept=False)
    assert alone.intercept == (0.0, 0.0)
    assert alone.temperature == pytest.approx(fit_temperature(logits, labels))
    assert float(alone(logits).softmax(-1)[:, 1].mean()) > 0.37


def test_platt_of_three_classes_and_of_networks_that_know_nothing() -> None:
    # Constant logits: the biases alone give the shares 5 : 3 : 2, whatever the logits are.
    labels = torch.tensor([0] * 5 + [1] * 3 + [2] * 2)
    found = fit_calibration(torch.tensor([[0.0, 2.0, 1.0]] * 10), labels)
    assert sum(found.intercept) == pytest.approx(0, abs=1e-9)
    assert found(torch.tensor([[0.0, 2.0, 1.0]])).softmax(-1)[0].tolist() == pytest.approx([0.5, 0.3, 0.2], abs=1e-4)
    # Always wrong: the slope never turns, so the order of answers stays; the intercept gives the share.
    wrong = torch.tensor([[0.0, 3.0], [0.0, -3.0]] * 6)
    found = fit_calibration(wrong, torch.tensor([0, 1] * 6))
    assert found.temperature == pytest.approx(10.0)
    assert found(wrong).argmax(1).tolist() == wrong.argmax(1).tolist()
    assert "say nothing of people" in found.problem


@pytest.mark.parametrize("scale", [1.0, 0.01, 100.0])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_slope_without_bound_is_no_calibration(scale: float, n_classes: int) -> None:
    """Told apart without an error, by however much: ten times the logits would only pretend to be sure."""
    labels = torch.arange(12) % n_classes
    logits = scale * torch.nn.functional.one_hot(labels, n_classes).float()
    found = fit_calibration(logits, labels)
    assert torch.equal(found(logits), logits)
    assert scale == 100 or "no slope is steep enough" in found.problem  # these are sure by themselves already
    labels[0] = (labels[0] + 1) % n_classes  # one error, and there is a slope, if it lies within the bounds
    if (scale, n_classes) == (1.0, 2):
        assert fit_calibration(logits, labels).problem == ""


def test_training_says_which_calibrations_are_none() -> None:
    made = CrossValidation.__new__(CrossValidation)
    fine = Calibration(1.0, (0.0, 0.0))
    perfect, labels = torch.tensor([[0.0, 1.0], [0.0, -1.0]] * 3), torch.tensor([1, 0] * 3)
    calibrations = (fine, fit_calibration(perfect, labels))
    for name, value in {"calibrations": calibrations, "logits": perfect, "labels": labels}.items():
        object.__setattr__(made, name, value)
    assert made.uncalibrated_because.startswith("fold 1, the final model: no slope is steep enough")
    object.__setattr__(made, "calibrations", (fine, fine))
    object.__setattr__(made, "labels", torch.tensor([1, 0] * 2 + [0, 1]))
    assert made.uncalibrated_because == ""


def test_calibration_golden() -> None:
    labels, probabilities = [0, 0, 1, 1], [0.1, 0.3, 0.3, 0.9]
    # two bins: [0, .5) holds .1 .3 .3, mean .2333, share 1/3; [.5, 1] holds .9, share 1
    bins = reliability(labels, probabilities, 2)
    assert [(b.n, round(b.mean_probability, 4), round(b.share_positive, 4)) for b in bins] == [
        (3, 0.2333, 0.3333),
        (1, 0.9, 1.0),
    ]
    # ECE = 3/4 * 0.1 + 1/4 * 0.1 = 0.1
    assert expected_calibration_error(probabilities, labels, 2) == pytest.approx(0.1)
    # Brier = (.01 + .09 + .49 + .01) / 4 = 0.15
    assert brier_score(labels, probabilities) == pytest.approx(0.15)
    # -(ln .9 + ln .7 + ln .3 + ln .9) / 4 = 0.4428
    assert log_loss(labels, probabilities) == pytest.approx(0.44284, abs=1e-4)


def test_crops_come_from_inside_and_short_ones_repeat() -> None:
    generator = torch.Generator().manual_seed(0)
    ramp = torch.arange(100.0)
    for _ in range(50):
        piece = crop(ramp, 30, generator)
        assert torch.equal(piece, ramp[int(piece[0]) : int(piece[0]) + 30])
    assert crop(torch.tensor([1.0, 2.0]), 5, generator).tolist() == [1, 2, 1, 2, 1]


def test_augmentation_level_noise_and_holes() -> None:
    generator = torch.Generator().manual_seed(0)
    waveforms = torch.sin(torch.arange(8000.0) / 5).repeat(64, 1)
    before = waveforms.clone()
    only_level = augment_waveforms(waveforms, AugmentConfig(level_db=6, noise_share=0), generator)
    gains = 20 * torch.log10(only_level.abs().amax(1) / waveforms.abs().amax(1))
    assert gains.abs().max() <= 6.001
    assert gains.std() > 2  # uniform in +-6 has 3.46
    noisy = augment_waveforms(
        waveforms, AugmentConfig(level_db=0, noise_share=1, snr_low_db=20, snr_high_db=20), generator
    )
    snr = 10 * torch.log10(waveforms.pow(2).mean(1) / (noisy - waveforms).pow(2).mean(1))
    assert torch.allclose(snr, torch.full((64,), 20.0), atol=0.01)
    assert torch.equal(waveforms, before)
    # The share of noisy crops moves no other draw, and each gets the noise that it would get if all had some.
    settings = [AugmentConfig(noise_share=share, snr_low_db=20, snr_high_db=20) for share in (0, 0.5, 1)]
    clean, some, every = (augment_waveforms(waveforms, each, torch.Generator().manual_seed(1)) for each in settings)
    is_noisy = (some != clean).any(1)
    assert 16 < is_noisy.sum() < 48
    assert torch.equal(some[is_noisy], every[is_noisy])
    magnitude = torch.ones(16, STFT.n_bins, 50)
    holes = spec_augment(magnitude, STFT, AugmentConfig(n_bands=1, band_hz=1000, n_spans=1, span_s=0.2), generator)
    assert set(holes.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(magnitude, torch.ones_like(magnitude))
    empty_bins = (holes.sum(2) == 0).sum(1)
    empty_frames = (holes.sum(1) == 0).sum(1)
    # 1000 Hz / 31.25 Hz = 32 bins, 0.2 s * 62.5 = 12.5 frames
    assert empty_bins.max() <= 33
    assert empty_frames.max() <= 13
    assert empty_bins.max() > 16
    off = AugmentConfig(level_db=0, noise_share=0, n_bands=0, n_spans=0)
    assert torch.allclose(augment_waveforms(waveforms, off, generator), waveforms)
    assert torch.equal(spec_augment(magnitude, STFT, off, generator), magnitude)


def test_cross_validation_never_tests_what_it_heard() -> None:
    recordings = corpus()
    folds = [int(r.speaker.split("/")[1]) // 2 % 3 for r in recordings]
    config = FitConfig(epochs=3, batch=8, crop_s=0.4, restarts=0)
    stores: dict[str, Memory] = {}
    progress: list[tuple[int, int, str]] = []
    cv = cross_validate(
        make, recordings, folds, config, lambda *a: progress.append(a), lambda part: stores.setdefault(part, Memory())
    )
    assert sorted(stores) == ["fold0", "fold1", "fold2"]
    assert progress[-1][:2] == (9, 9)
    assert [p[0] for p in progress] == sorted(p[0] for p in progress)
    assert cv.folds.tolist() == folds
    for index, recording in enumerate(recordings):
        own = cv.models[folds[index]]
        expected = (recording_logits(own, [recording])[0] - own.intercept) * own.temperature
        assert torch.allclose(expected, cv.logits[index], atol=1e-4)
    # fold k's calibration comes from the others' logits
    others = torch.tensor(folds) != 1
    assert cv.calibrations[1] == fit_calibration(cv.logits[others], cv.labels[others])
    temperatures = torch.tensor([c.temperature for c in cv.calibrations])[cv.folds][:, None]
    intercepts = torch.tensor([c.intercept for c in cv.calibrations])[cv.folds]
    assert torch.allclose(cv.probabilities, (cv.logits / temperatures + intercepts).softmax(-1)[:, 1])
    # and the front end's statistics from its training folds alone
    heard = [r for r, fold in zip(recordings, folds, strict=True) if fold == 2]
    alone = initialized(make, 0)
    fit(alone, heard, [r for r, fold in zip(recordings, folds, strict=True) if fold == 1], config)
    assert equal_but_calibration(alone, cv.models[0])
    final, history = fit_final(make, recordings, cv, config)
    assert len(history.epochs) == cv.final_epochs
    assert float(final.temperature) == pytest.approx(fit_calibration(cv.logits, cv.labels).temperature, rel=1e-5)


def equal_but_calibration(a: Classifier, b: Classifier) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return all(torch.equal(left[key], right[key]) for key in left if key not in ("temperature", "intercept"))


def test_a_speaker_in_two_folds_or_sets_is_refused() -> None:
    recordings = corpus()
    folds = [i % 3 for i in range(len(recordings))]
    with pytest.raises(
        SpeechXAIError,
        match=(r"^The speaker 'toy/0' is in fold 0 and in fold 1: split by speaker, not by recording\.$"),
    ):
        cross_validate(make, recordings, folds, QUICK)
    with pytest.raises(
        SpeechXAIError,
        match=(r"^The speaker 'toy/4' is in training and validation: split by speaker, not by recording\.$"),
    ):
        fit(make(), recordings[:9], recordings[9:], QUICK)


@pytest.mark.parametrize(
    ("folds", "message"), [([0, 1] * 12, "at least 3"), ([0, 1, 3] * 8, "without a gap"), ([0], "24 recordings and 1")]
)
def test_folds_that_make_no_sense_are_refused(folds: list[int], message: str) -> None:
    each = [Recording(r.waveform, 8000, r.id, f"s{i}", r.label) for i, r in enumerate(corpus())]
    with pytest.raises(SpeechXAIError, match=message):
        cross_validate(make, each, folds, QUICK)


def test_bad_input_is_named() -> None:
    good = corpus()
    with pytest.raises(SpeechXAIError, match=r"^Training needs at least one recording\. Got none\.$"):
        fit(make(), [], [], QUICK)
    with pytest.raises(SpeechXAIError, match=r"^odd: a training recording needs a label\. Leave it out or label it\.$"):
        fit(make(), [*good, Recording(good[0].waveform, 8000, "odd", "x")], [], QUICK)
    with pytest.raises(
        SpeechXAIError, match=(r"^fast: the sample rate must be 8000 Hz\. Got 16000 Hz: resample on reading\.$")
    ):
        fit(make(), [*good, Recording(good[0].waveform, 16000, "fast", "x", 0)], [], QUICK)
    with pytest.raises(
        SpeechXAIError, match=(r"^The training recordings hold no example of class 1: both classes are needed\.$")
    ):
        fit(make(), [r for r in good if r.label == 0], [], QUICK)
    for wrong in ({"epochs": 0}, {"learning_rate": 0.0}, {"class_weights": "heavy"}, {"crop_s": float("nan")}):
        with pytest.raises(SpeechXAIError, match=next(iter(wrong))):
            FitConfig(**wrong)  # type: ignore[arg-type]
    for wrong_augment in ({"level_db": -1.0}, {"noise_share": 2.0}, {"snr_low_db": 50.0}):
        with pytest.raises(SpeechXAIError, match=next(iter(wrong_augment))):
            AugmentConfig(**wrong_augment)


def test_matched_auroc_by_hand() -> None:
    # HC ages 40, 60; PD ages 62, 90: only the pair (60, 62) is within 5 years, and PD has the lower score there
    assert matched_auroc([0, 0, 1, 1], [0.1, 0.6, 0.5, 0.9], [40, 60, 62, 90]) == 0.0
    # exactly 5 years is still a pair, a day more is none
    assert matched_auroc([0, 1], [0.1, 0.6], [60, 65]) == 1.0
    assert math.isnan(matched_auroc([0, 1], [0.1, 0.6], [60, 65.01]))
    assert math.isnan(matched_auroc([0, 1], [0.1, 0.6], [20, 80]))


def test_subjects_are_averaged_and_intervals_hold() -> None:
    subjects = by_subject(
        ["a", "a", "b"], [1, 1, 0], [0.9, 0.3, 0.2], [(70.0, 2.0, "M"), (70.0, 4.0, "M"), (50.0, 3.0, "F")]
    )
    assert subjects.probabilities.tolist() == pytest.approx([0.6, 0.2])
    assert subjects.durations_s.tolist() == [3.0, 3.0]
    result = performance(subjects, n=50)
    assert [result[k].value for k in ("accuracy", "sensitivity", "specificity", "auroc")] == [1.0, 1.0, 1.0, 1.0]
    with pytest.raises(SpeechXAIError, match=r"^The speaker 'a' has recordings of both classes: mend the labels\.$"):
        by_subject(["a", "a"], [1, 0], [0.9, 0.3], [(70.0, 2.0, "M")] * 2)
    rng = np.random.default_rng(0)
    sample = rng.normal(size=100)
    found = interval(lambda i: float(sample[i].mean()), 100, n=1000)
    # the interval of a mean is close to mean +- 1.96 s / sqrt(n)
    assert found.low == pytest.approx(sample.mean() - 0.196 * sample.std(), abs=0.03)
    assert found.high == pytest.approx(sample.mean() + 0.196 * sample.std(), abs=0.03)
    assert found == interval(lambda i: float(sample[i].mean()), 100, n=1000)


def test_an_age_detector_is_unmasked() -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat([0.0, 1.0], 100)
    ages = np.where(labels == 1, rng.normal(67, 9, 200), rng.normal(50, 12, 200))
    subjects = by_subject(
        [f"s{i}" for i in range(200)], labels, 1 / (1 + np.exp(-(ages - 58) / 5)), [(a, 3.0, "M") for a in ages]
    )
    found = confounds(subjects, n=50)
    assert found["classifier"].value > 0.8
    assert found["age alone"].value == pytest.approx(found["classifier"].value)
    assert found["duration alone"].value == 0.5
    assert abs(found["classifier, ages within 5 years"].value - 0.5) < 0.15
    assert found["rank correlation of P(PD) with age among HC"].value == pytest.approx(1.0)
    assert {"sex M", "under 50 years", "50 to 59 years", "60 to 69 years", "70 years and older"} == set(
        groups(subjects)
    )
    unknown = by_subject(["a", "b"], [0, 1], [0.1, 0.9], [(float("nan"), 3.0, "")] * 2)
    assert set(confounds(unknown, n=5)) == {"classifier", "duration alone"}


def test_training_leaves_recordings_alone(trained: Classifier) -> None:
    recordings = corpus()
    before: list[Tensor] = [r.waveform.clone() for r in recordings]
    fit(make(), recordings[:16], recordings[16:], FitConfig(epochs=1, batch=8, crop_s=0.4))
    assert all(torch.equal(r.waveform, b) for r, b in zip(recordings, before, strict=True))
    assert not trained.training


def test_noise_of_augmentation_falls_with_frequency_and_never_rises() -> None:
    config = AugmentConfig(level_db=0.0, noise_share=1.0, snr_low_db=0.0, snr_high_db=0.0)
    voice = torch.sin(torch.arange(16_000) / 3).expand(16, -1)
    noise = augment_waveforms(voice, config, torch.Generator().manual_seed(0)) - voice
    power = torch.fft.rfft(noise).abs().square()
    # Bins of 1 Hz: 100 to 1000 Hz against 4 to 8 kHz.
    assert (power[:, 100:1000].mean(1) > power[:, 4000:].mean(1)).float().mean() > 0.9


# A network that says the same of everybody is no answer.
CLASSES = ("HC", "PD")


def margins(*values: float) -> Tensor:
    return torch.tensor([[0.0, value] for value in values])


def test_spread_golden() -> None:
    # Margins 1 and 3: deviation 1. A constant added to both logits of a recording changes nothing.
    assert spread_of(margins(1, 3)) == pytest.approx(1.0)
    assert spread_of(torch.tensor([[5.0, 6.0], [-2.0, 1.0]])) == pytest.approx(1.0)
    assert spread_of(margins(2, 2, 2)) == 0
    # Three classes, logits (3, 0, 0), (0, 3, 0), (0, 0, 3): centered (2, -1, -1), variance 2 of each, sqrt(2 * 6)
    assert spread_of(3 * torch.eye(3)) == pytest.approx(12**0.5)


@pytest.mark.parametrize(
    ("values", "usual", "shares", "wanted"),
    [
        ([0.7] * 8, 0.0, (), "says the same of all 8 recordings"),
        ([0.0, -0.17, -0.1, -0.05, -0.12], 1.3, (), "says nearly the same of all 5 recordings (spread of its logits"),
        ([-0.3, 0.3, -0.3, 0.3, -0.3], 4.0, (), "of its logits 0.29, that of the other folds 4)"),  # under a tenth
        ([-0.3, 0.3, -0.3, 0.3, -0.3], 2.0, (), ""),
        ([-2.0, -1.0, -0.5, -0.1, -3.0], 1.0, (), "says HC of all 5 recordings"),  # a coin: 1 / 32
        ([2.0, 1.0, 0.5, 0.1, 3.0], 1.0, (), "says PD of all 5 recordings"),
        ([-2.0, -1.0, -0.5, -0.1], 1.0, (), ""),  # a coin: 1 / 16
        ([-2.0, -1.0, -0.5, -0.1, -3.0], 1.0, (0.95, 0.05), ""),  # nineteen of twenty are said to be HC elsewhere
        ([-2.0, 1.0, -0.5, -0.1, -3.0], 1.0, (), ""),
        ([5.0], 1.0, (), ""),
    ],
)
def test_constant_tiny_and_one_sided_networks(
    values: list[float], usual: float, shares: tuple[float, ...], wanted: str
) -> None:
    found = flatness(margins(*values), CLASSES, usual, shares)
    assert found == wanted if wanted in ("", found) else wanted in found


def test_three_classes_and_what_calibration_moves() -> None:
    logits = 2 * torch.eye(3)[[0, 1, 2, 0, 1]]
    assert flatness(logits, ("a", "b", "c")) == ""
    # The threshold is what is answered: an intercept that moves all to one side makes a network one-sided.
    assert (
        flatness(logits, ("a", "b", "c"), calibrated=logits + torch.tensor([0.0, 0.0, 5.0]))
        == "says c of all 5 recordings"
    )


def test_folds_are_judged_beside_each_other() -> None:
    good = [-2.0, 1.0, -1.0, 2.0, 0.5, -0.5]
    folds = torch.arange(3).repeat_interleave(6)
    said = flat_folds(margins(*good, *(0.01 * v for v in good), *(abs(v) for v in good)), folds, CLASSES)
    assert said[0] == ""
    assert said[1].startswith("says nearly the same of all 6 recordings (spread of its logits 0.013, that of the other")
    assert said[2] == "says PD of all 6 recordings"
    # One-sided networks do not excuse each other.
    said = flat_folds(margins(*good, *(-abs(v) for v in 2 * good)), torch.tensor([0] * 6 + [1] * 6 + [2] * 6), CLASSES)
    assert said == ("", "says HC of all 6 recordings", "says HC of all 6 recordings")
    said = flat_folds(margins(*(-abs(v) for v in 3 * good)), folds, CLASSES)
    assert said == ("says HC of all 6 recordings",) * 3


def test_a_network_without_spread_is_trained_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fold 1 fails at first; its second training has another seed, more patience and the scaled loss."""
    from speechxai.classifiers import validation
    from speechxai.classifiers.fit import History

    recordings = corpus()
    folds = [int(r.speaker.split("/")[1]) // 2 % 3 for r in recordings]
    seen: list[tuple[int, int, int, str]] = []

    def trained(classifier: Classifier, training: Any, others: Any, how: FitConfig, *more: Any) -> History:
        (left_out,) = {0, 1, 2} - {folds[recordings.index(r)] for r in [*training, *others]}
        seen.append((left_out, how.seed, how.patience, how.stop_on))
        classifier.max_batch = 0 if left_out == 1 and how.seed == 0 else 1  # a mark: this one says the same of all
        return History((), 0, False)

    def answers(classifier: Classifier, heard: Any) -> Tensor:
        return classifier.max_batch * margins(*(2.0 if r.label else -2.0 for r in heard))

    monkeypatch.setattr(validation, "fit", trained)
    monkeypatch.setattr(validation, "recording_logits", answers)
    progress: list[tuple[int, int, str]] = []
    cv = cross_validate(make, recordings, folds, QUICK, lambda *a: progress.append(a))
    assert cv.restarts == (0, 1, 0)
    assert seen == [(0, 0, 4, "loss"), (1, 0, 4, "loss"), (2, 0, 4, "loss"), (1, 1_000, 8, "scaled")]
    assert cv.flat == ("", "", "")
    # Where nothing helps, the network stays and is named; without restarts it is only named.
    monkeypatch.setattr(validation, "again", lambda how, attempt: how)
    cv = cross_validate(make, recordings, folds, QUICK)
    assert cv.restarts == (0, 2, 0)
    assert cv.flat == ("", "says the same of all 8 recordings", "")
    assert cross_validate(make, recordings, folds, replace(QUICK, restarts=0)).restarts == (0, 0, 0)


class Listener(Cnn):
    """A network on the same front end that reads the phase."""

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        self.largest = float(phase.abs().max())
        return super().forward(magnitude, phase)


def test_only_a_network_that_reads_no_phase_is_spared_it() -> None:
    spoken = corpus()[:3]
    deaf, listening = (Classifier(kind(STFT, n_mels=20, channels=(4, 8)), STFT).eval() for kind in (Cnn, Listener))
    listening.load_state_dict(deaf.state_dict())
    torch.testing.assert_close(recording_logits(listening, spoken), recording_logits(deaf, spoken))
    assert listening.backbone.largest > 3  # radians
    assert float(heard(deaf, spoken[0].waveform[None])[1].abs().max()) == 0


def test_recordings_are_heard_alike_alone_and_together() -> None:
    """Of two lengths, in the order in which they came; kept or made anew."""
    spoken = [tone(n, n % 2, n, 0.6 if n % 3 else 0.9) for n in range(7)]
    network = Classifier(Cnn(STFT, n_mels=20, channels=(4, 8)), STFT).eval()
    alone = torch.cat([recording_logits(network, [each]) for each in spoken])
    torch.testing.assert_close(recording_logits(network, spoken), alone)
    torch.testing.assert_close(Heard(network, spoken).logits(network), alone)


class Counting(torch.nn.Module):
    """Log odds of a waveform: a thousandth of the number of its samples."""

    def forward(self, waveform: Tensor) -> Tensor:
        return torch.full((len(waveform), 1), waveform.shape[-1] / 1000)


def test_training_judges_the_samples_that_an_answer_rests_on() -> None:
    """The last hop of a recording is seldom whole: its rest is no part of the voice, and no network hears it."""
    network = Classifier(WaveformDoor(Counting(), STFT), STFT).eval()
    spoken = [Recording(torch.rand(n), STFT.sample_rate, f"r{n}", f"s{n}", 0) for n in (5001, 6000, 6000, 7002)]
    z = torch.tensor([5.001, 6.0, 6.0, 7.002])
    logits = torch.stack([-z / 2, z / 2], dim=1)
    torch.testing.assert_close(recording_logits(network, spoken), logits)
    torch.testing.assert_close(Heard(network, spoken).logits(network), logits)
    answered = torch.cat([predict(network, spectrogram(each.waveform[None], STFT)) for each in spoken])
    torch.testing.assert_close(logits.softmax(dim=1), answered)


def test_patience_counts_from_the_least_epochs() -> None:
    state = {"records": [[n, 0.0, 1.0] for n in range(5)], "best_epoch": 0}
    assert _finished(state, FitConfig(epochs=9, patience=4))
    assert not _finished(state, FitConfig(epochs=9, patience=4, least_epochs=6))
    assert _finished(state, FitConfig(epochs=5, patience=4, least_epochs=6))


def test_the_scaled_loss_prefers_answers_to_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs: flat, right and too sure of it, flat again. By the loss as it is the first is best, scaled the second."""
    from speechxai.classifiers import fit as module

    recordings = corpus()
    held_out = recordings[16:]
    sure = margins(*(9.0 if r.label == (index > 0) else -9.0 for index, r in enumerate(held_out)))
    for stop_on, best in (("loss", 0), ("scaled", 1)):
        said = iter([0.001 * sure, sure, 0.001 * sure])
        monkeypatch.setattr(module.Heard, "logits", lambda *_, said=said: next(said))
        config = replace(QUICK, epochs=3, n_crops=1, stop_on=stop_on)
        assert fit(initialized(make, 0), recordings[:16], held_out, config).best_epoch == best


def test_how_far_a_cross_validation_is() -> None:
    shown: list[tuple[int, int, str]] = []
    # Of five folds of eight epochs the third has done two of them: 2 * 8 + 2 of 40.
    usual = validation._shifted(lambda *step: shown.append(step), 2, 5)
    again = validation._standing(lambda *step: shown.append(step), 2, 5, 8)
    assert usual is not None
    assert again is not None
    usual(2, 8, "epoch 2")
    again(2, 16, "epoch 2")
    assert shown == [(18, 40, "fold 3 of 5, epoch 2"), (40, 40, "fold 3 of 5 again, epoch 2")]
    assert validation._shifted(None, 0, 5) is validation._standing(None, 0, 5, 8) is None
    config = FitConfig(seed=4, patience=3)
    retried = validation.again(config, 2)
    assert (retried.seed, retried.patience, retried.stop_on) == (2_004, 6, "scaled")
