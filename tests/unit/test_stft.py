"""The transform is exact in both directions, for any length and any allowed setting."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechxai.errors import SpeechXAIError
from speechxai.signal.stft import bin_frequencies_hz, frame_times_s, inverse, spectrogram, waveform
from speechxai.types import Spectrogram, StftConfig


@given(n_samples=st.integers(1, 40_000), seed=st.integers(0, 1000), double=st.booleans())
@settings(max_examples=60, deadline=None)
def test_round_trip_is_exact_for_any_length(n_samples: int, seed: int, double: bool) -> None:
    dtype, tolerance = (torch.float64, 1e-10) if double else (torch.float32, 3e-6)
    signal = torch.randn(2, n_samples, dtype=dtype, generator=torch.Generator().manual_seed(seed))
    signal = signal / signal.abs().max()
    error = (waveform(spectrogram(signal)) - signal).abs().max().item()
    assert error <= (1e-6 if not double else tolerance)


@given(
    hop=st.integers(16, 256),
    window=st.sampled_from(["hamming", "hann"]),
    scale=st.sampled_from(["log1p", "linear"]),
    n_samples=st.integers(300, 5000),
)
@settings(max_examples=30, deadline=None)
def test_round_trip_holds_for_other_settings(hop: int, window: str, scale: str, n_samples: int) -> None:
    config = StftConfig(n_fft=512, win_length=min(512, 2 * hop + hop // 2), hop_length=hop, window=window, scale=scale)  # type: ignore[arg-type]
    signal = torch.randn(1, n_samples, dtype=torch.float64, generator=torch.Generator().manual_seed(n_samples))
    assert (waveform(spectrogram(signal, config)) - signal).abs().max().item() < 1e-10


def test_paper_settings_are_the_default() -> None:
    spec = spectrogram(torch.randn(1, 160_000))
    assert spec.magnitude.shape == (1, 513, math.ceil(160_000 / 186) + 1)
    assert spec.stft.frame_rate_hz == pytest.approx(86.02, abs=0.01)


def test_a_tone_lands_in_its_bin_and_time() -> None:
    # 1000 Hz lies at bin 1000 / (16000 / 1024) = 64; it sounds from 0.5 s to 1 s.
    t = torch.arange(24_000) / 16_000
    tone = torch.sin(2 * math.pi * 1000 * t) * ((t >= 0.5) & (t < 1.0))
    spec = spectrogram(tone[None])
    assert spec.magnitude[0].mean(dim=1).argmax() == 64
    assert bin_frequencies_hz(spec.stft)[64] == 1000
    times = frame_times_s(spec.stft, spec.magnitude.shape[-1])
    loud = times[spec.magnitude[0, 64] > 1.0]
    assert loud.min() == pytest.approx(0.5, abs=0.02)
    assert loud.max() == pytest.approx(1.0, abs=0.02)


def test_times_and_frequencies_by_hand() -> None:
    # Frames are centered on samples 0, 8, 16 of 32 a second; bins lie 32 / 16 = 2 Hz apart, from 0 Hz to half the rate.
    config = StftConfig(n_fft=16, win_length=16, hop_length=8, sample_rate=32)
    assert frame_times_s(config, 3).tolist() == [0.0, 0.25, 0.5]
    assert bin_frequencies_hz(config).tolist() == [0, 2, 4, 6, 8, 10, 12, 14, 16]


def test_inverse_is_differentiable_in_the_magnitude_even_at_zero() -> None:
    spec = spectrogram(torch.cat([torch.zeros(1, 4000), torch.randn(1, 4000)], dim=1))
    magnitude = spec.magnitude.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(inverse(magnitude, spec.phase, spec.stft).square().sum(), magnitude)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0


def test_inverse_gives_the_same_with_and_without_gradient() -> None:
    spec = spectrogram(torch.randn(1, 5000))
    tracked = inverse(spec.magnitude.clone().requires_grad_(), spec.phase, spec.stft)
    assert torch.allclose(tracked.detach(), inverse(spec.magnitude, spec.phase, spec.stft), atol=1e-6)


def test_batched_equals_one_by_one() -> None:
    signals = torch.randn(3, 7000)
    batch = spectrogram(signals)
    for index in range(3):
        alone = spectrogram(signals[index : index + 1])
        assert torch.equal(batch.magnitude[index], alone.magnitude[0])


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        (
            {"hop_length": 400},
            "The 'hop_length' parameter of StftConfig must be at most win_length / 2 = 186. Got 400 instead.",
        ),
        ({"win_length": 2048}, "must be at most n_fft = 1024. Got 2048"),
        ({"n_fft": 0}, "'n_fft' parameter of StftConfig must be a whole number from 1 to 65536. Got 0"),
        ({"window": "boxcar"}, "must be 'hamming' or 'hann'. Got 'boxcar'"),
        ({"scale": "db"}, "must be 'log1p' or 'linear'. Got 'db'"),
    ],
)
def test_settings_without_an_inverse_are_refused(settings_: dict[str, object], message: str) -> None:
    with pytest.raises(SpeechXAIError) as caught:
        StftConfig(**settings_)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_spectrogram_refuses_what_is_none() -> None:
    good = spectrogram(torch.randn(1, 1000))
    with pytest.raises(SpeechXAIError, match=r"^The spectrogram's magnitude has negative values\.$"):
        Spectrogram(-good.magnitude, good.phase, good.n_samples, good.stft)
    with pytest.raises(SpeechXAIError, match=r"^The spectrogram has NaN or infinite values\.$"):
        Spectrogram(good.magnitude * float("nan"), good.phase, good.n_samples, good.stft)
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^A spectrogram needs magnitude and phase of one shape \(B, F, T\)\. Got \(513, 7\) and "
            r"\(513, 7\)\.$"
        ),
    ):
        Spectrogram(good.magnitude[0], good.phase[0], good.n_samples, good.stft)
    with pytest.raises(
        SpeechXAIError,
        match=(r"^A spectrogram of 1000 samples must have \(F, T\) = \(513, 7\)\. Got \(513, 6\) instead\.$"),
    ):
        Spectrogram(good.magnitude[..., :-1], good.phase[..., :-1], good.n_samples, good.stft)
