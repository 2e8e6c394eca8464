"""The acoustic baseline: contributions add up to the log odds, missing values are the mean, no gradient says why."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from speechxai.classifiers import BACKBONES, Classifier, acoustic, build, predict
from speechxai.classifiers.acoustic import Z_LIMIT, Acoustic
from speechxai.classifiers.fit import FitConfig, fit
from speechxai.classifiers.network import check
from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.signal.acoustics import MEASURE_NAMES, measures
from speechxai.signal.stft import spectrogram
from speechxai.types import Recording, StftConfig

STFT = StftConfig()
NAMES = ("f0_mean_hz", "hnr_db", "jitter_local_percent", "syllable_rate_hz")


def vowel(f0_hz: float, noise: float, seed: int, seconds: float = 0.6) -> torch.Tensor:
    time = torch.arange(int(seconds * 16_000)) / 16_000
    harmonics = torch.stack([torch.sin(2 * math.pi * f0_hz * k * time) / k for k in range(1, 20)]).sum(0)
    hiss = torch.randn(len(time), generator=torch.Generator().manual_seed(seed))
    waveform = harmonics * 0.2 + noise * hiss
    return waveform / waveform.abs().max()


def corpus() -> list[Recording]:
    return [
        Recording(vowel(110 + 9 * s, 0.1 if s % 2 else 0.005, s), 16_000, f"r{s}", f"toy/{s}", s % 2) for s in range(10)
    ]


@pytest.fixture(scope="module")
def fitted() -> Classifier:
    classifier = Classifier(build("acoustic", STFT, names=NAMES), STFT)
    history = fit(classifier, corpus()[:8], corpus()[8:], FitConfig())
    assert history.epochs == ()
    return classifier


def test_it_learns_what_separates_and_measures_it_names(fitted: Classifier) -> None:
    spec = spectrogram(torch.stack([vowel(120, 0.1, 50), vowel(140, 0.005, 51)]))
    probability = predict(fitted, spec)[:, 1]
    assert probability[0] > 0.6 > 0.4 > probability[1]
    backbone = fitted.backbone
    assert isinstance(backbone, Acoustic)
    weights = dict(zip(NAMES, backbone.weight.tolist(), strict=True))
    assert min(weights, key=weights.__getitem__) == "hnr_db", (
        "noise is what differs: a low harmonicity speaks for class 1"
    )


def test_contributions_sum_to_the_log_odds(fitted: Classifier) -> None:
    spec = spectrogram(torch.stack([vowel(150, 0.05, 1), vowel(200, 0.02, 2), torch.zeros(9600)]))
    backbone = fitted.backbone
    assert isinstance(backbone, Acoustic)
    parts = backbone.contributions(spec)
    assert tuple(parts) == NAMES
    total = torch.stack(list(parts.values())).sum(0) + backbone.bias.detach()
    logits = fitted(spec.magnitude, spec.phase)
    assert torch.allclose(logits[:, 1] - logits[:, 0], total, atol=1e-5)
    # silence defines no measure: every contribution is 0 and the bias answers
    assert all(float(part[2]) == 0 for part in parts.values())
    assert float(logits[2, 1] - logits[2, 0]) == pytest.approx(float(backbone.bias), abs=1e-6)


def test_rare_and_frequent_classes_weigh_the_same() -> None:
    # Two of class 1, six of class 0, and a measure that says nothing: balanced, nobody is more likely; by counts the
    # log odds would be log(2 / 6) = -1.1.
    shared = vowel(150, 0.05, 1)
    voices = [Recording(shared, 16_000, f"r{s}", f"toy/{s}", int(s < 2)) for s in range(8)]
    backbone = Acoustic(STFT, ("hnr_db",))
    backbone.fit_recordings(voices, seed=0)
    assert float(backbone.bias) == pytest.approx(0, abs=1e-4)


def test_standardization_and_weights_by_hand() -> None:
    backbone = Acoustic(STFT, ("f0_mean_hz", "hnr_db"))
    with torch.no_grad():
        backbone.mean.copy_(torch.tensor([100.0, 20.0]))
        backbone.deviation.copy_(torch.tensor([10.0, 5.0]))
        backbone.weight.copy_(torch.tensor([0.5, -1.0]))
        backbone.bias.fill_(0.25)
    # (120 - 100) / 10 = 2; (15 - 20) / 5 = -1; NaN counts as 0; (400 - 100) / 10 = 30 is clipped to 4
    z = backbone.standardized(torch.tensor([[120.0, 15.0], [math.nan, 15.0], [400.0, math.nan]]))
    assert z.tolist() == [[2.0, -1.0], [0.0, -1.0], [Z_LIMIT, 0.0]]
    waveform = vowel(150, 0.05, 3)
    spec = spectrogram(waveform[None])
    found = measures(waveform, 16_000)
    by_hand = 0.25 + 0.5 * min((found["f0_mean_hz"] - 100) / 10, 4) - max(min((found["hnr_db"] - 20) / 5, 4), -4)
    assert float(backbone(spec.magnitude, spec.phase)) == pytest.approx(by_hand, abs=0.02)


def test_mean_and_spread_are_those_of_the_known_values(monkeypatch: pytest.MonkeyPatch) -> None:
    nan, made = math.nan, {}
    table = {"a": (1.0, nan, 5.0, nan), "b": (3.0, 4.0, 5.0, nan), "c": (nan, 8.0, 5.0, nan), "d": (5.0, 9.0, 5.0, nan)}
    backbone = Acoustic(STFT, NAMES)
    monkeypatch.setattr(backbone, "_row", lambda recording: np.array([table[recording.id]]))
    monkeypatch.setattr(acoustic, "_logistic", lambda z, *rest: made.update(z=z, rest=rest) or (np.ones(4), 0.5))
    voices = [Recording(torch.zeros(9), 16_000, name, f"s/{name}", i % 2) for i, name in enumerate(table)]
    backbone.fit_recordings(voices, seed=7)
    # 1 3 5: 3 and sqrt(8 / 3); 4 8 9: 7 and sqrt(14 / 3); always 5: no spread, and it stays 0; never known: 0.
    assert backbone.mean.tolist() == [3.0, 7.0, 5.0, 0.0]
    spread = [math.sqrt(8 / 3), math.sqrt(14 / 3), 1.0, 1.0]
    assert backbone.deviation.tolist() == pytest.approx(spread)
    first, second = 2 / spread[0], 1 / spread[1]
    expected = [[-first, 0, 0, 0], [0, -3 * second, 0, 0], [0, second, 0, 0], [first, 2 * second, 0, 0]]
    np.testing.assert_allclose(made["z"], expected, atol=1e-6)
    labels, speakers, seed = made["rest"]
    assert (labels.tolist(), speakers.tolist(), seed) == ([0, 1, 0, 1], ["s/a", "s/b", "s/c", "s/d"], 7)
    assert (backbone.weight.tolist(), float(backbone.bias)) == ([1.0] * 4, 0.5)


def test_batched_equals_one_by_one(fitted: Classifier) -> None:
    waveforms = torch.stack([vowel(120, 0.1, 50), vowel(140, 0.005, 51)])
    spec, single = spectrogram(waveforms), spectrogram(waveforms[1:])
    together, alone = fitted(spec.magnitude, spec.phase)[1:], fitted(single.magnitude, single.phase)
    assert torch.allclose(together, alone, atol=1e-5)


def test_gradients_are_refused_with_the_reason(fitted: Classifier) -> None:
    spec = spectrogram(vowel(120, 0.1, 50)[None])
    magnitude = spec.magnitude.clone().requires_grad_()
    logits = fitted(magnitude, spec.phase)
    with pytest.raises(
        NotApplicable,
        match=(
            r"^the acoustic classifier reads measures of the waveform \(pitch cycles, pauses\), which "
            r"have no gradient in the magnitude\. Use its contributions, or methods that only ask for "
            r"predictions: occlusion, rise\.$"
        ),
    ):
        torch.autograd.grad(logits[:, 1].sum(), magnitude)
    assert BACKBONES.facts("acoustic")["differentiable"] is False


def test_all_measures_are_read_by_default_and_wrong_names_answered() -> None:
    backbone = build("acoustic", STFT)
    assert isinstance(backbone, Acoustic)
    assert backbone.names == MEASURE_NAMES
    with pytest.raises(SpeechXAIError, match=r"^Unknown acoustic measure 'hnr'\. Did you mean 'hnr_db'\? Known: .*$"):
        build("acoustic", STFT, names=["hnr"])
    for wrong in ([], ["hnr_db", "hnr_db"]):
        with pytest.raises(
            SpeechXAIError,
            match=(
                r"^The 'names' parameter of the backbone 'acoustic' must hold different measures, at "
                r"least one\.$"
            ),
        ):
            build("acoustic", STFT, names=wrong)
    with pytest.raises(SpeechXAIError, match=r"^Unknown option of the backbone 'acoustic' 'colour'\. Known: .*$"):
        build("acoustic", STFT, colour="red")


def test_log_odds_between_0_and_1_are_not_taken_for_probabilities() -> None:
    """A weak model's answers to everything may all lie there, and it has no gradient that would tell."""
    backbone = build("acoustic", STFT, names=NAMES)
    assert isinstance(backbone, Acoustic)
    with torch.no_grad():
        backbone.weight.fill_(0.01)
        backbone.bias.fill_(0.4)
    assert not check(Classifier(backbone, STFT)).problem


def test_too_few_speakers_are_refused() -> None:
    recordings = [corpus()[0], corpus()[1], corpus()[3]]
    with pytest.raises(
        SpeechXAIError, match=(r"^Fitting the acoustic classifier needs at least 2 speakers of each class\. Got 1\.$")
    ):
        fit(Classifier(build("acoustic", STFT, names=NAMES), STFT), recordings, [], FitConfig())
