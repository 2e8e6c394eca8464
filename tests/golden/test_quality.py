"""Recording quality against values known by construction."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from speechxai.errors import SpeechXAIError
from speechxai.signal.quality import quality, warnings

RATE_HZ = 16_000
TIME_S = np.arange(2 * RATE_HZ) / RATE_HZ
SINE = np.sin(2 * np.pi * 100 * TIME_S)


def test_a_clean_sine() -> None:
    found = quality(0.5 * SINE, RATE_HZ)
    assert found.duration_s == 2.0
    assert found.peak == pytest.approx(0.5)
    # Mean square of a sine of amplitude 0.5 is 0.125: 10 log10(0.125) = -9.03 dB.
    assert found.rms_dbfs == pytest.approx(-9.0309, abs=1e-3)
    assert found.clipping_share == 0.0
    assert found.silence_share == 0.0
    assert math.isnan(found.snr_db)
    assert found.dc_offset == pytest.approx(0.0, abs=1e-9)


def test_clipping_is_the_share_of_the_cut_off_time() -> None:
    # |sin| exceeds 0.5 for 2/3 of a period; scaling afterwards changes nothing.
    clipped = np.clip(SINE, -0.5, 0.5)
    assert quality(clipped, RATE_HZ).clipping_share == pytest.approx(2 / 3, abs=0.02)
    assert quality(clipped * 1.7, RATE_HZ).clipping_share == pytest.approx(2 / 3, abs=0.02)
    one_side = np.clip(SINE, -1.0, 0.5)
    assert quality(one_side, RATE_HZ).clipping_share == pytest.approx(1 / 3, abs=0.02)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100, 96_000])
def test_a_peak_at_full_scale_is_not_clipping(rate_hz: int) -> None:
    time_s = np.arange(rate_hz) / rate_hz
    vowel = sum(np.sin(2 * np.pi * 120 * k * time_s) / k for k in range(1, 6))
    scaled = np.round(vowel / np.abs(vowel).max() * 32_767) / 32_767
    assert quality(scaled, rate_hz).clipping_share == 0.0
    slow = np.round(np.sin(2 * np.pi * 90 * time_s) * 32_767) / 32_767
    assert quality(slow, rate_hz).clipping_share < 1e-3


def test_silence_and_background() -> None:
    rng = np.random.default_rng(0)
    noise = 0.001 * rng.standard_normal(TIME_S.size)
    speech = np.where(TIME_S < 1.5, SINE, 0.0)
    # The sine's power is 0.5, the noise's 1e-6: 57 dB.
    assert quality(speech + noise, RATE_HZ).snr_db == pytest.approx(57.0, abs=0.7)
    assert quality(speech + noise, RATE_HZ).silence_share == pytest.approx(0.25, abs=0.02)
    # Exact zeros in the pause count as silence as well.
    assert quality(speech, RATE_HZ).silence_share == pytest.approx(0.25, abs=0.02)
    assert quality(speech + 100 * noise, RATE_HZ).silence_share == 0.0
    # Noise of power 0.01 under a power of 0.5: 17 dB.
    assert quality(speech + 100 * noise, RATE_HZ).snr_db == pytest.approx(17.0, abs=0.7)


def test_bandwidth_and_offset() -> None:
    rng = np.random.default_rng(0)
    spectrum = np.fft.rfft(rng.standard_normal(TIME_S.size))
    spectrum[np.fft.rfftfreq(TIME_S.size, 1 / RATE_HZ) > 3_400] = 0
    band = np.fft.irfft(spectrum)
    assert quality(band, RATE_HZ).bandwidth_hz == pytest.approx(3_400, abs=80)
    assert quality(rng.standard_normal(RATE_HZ), RATE_HZ).bandwidth_hz > 7_900
    assert quality(0.1 * SINE + 0.05, RATE_HZ).dc_offset == pytest.approx(0.05, abs=1e-6)


def test_warnings_name_what_is_wrong_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    good = np.where(TIME_S < 1.8, 0.3 * rng.standard_normal(TIME_S.size), 1e-3 * rng.standard_normal(TIME_S.size))
    assert warnings(quality(good, RATE_HZ)) == []

    def kinds(signal: np.ndarray, rate_hz: int = RATE_HZ) -> set[str]:
        return {words.split(":")[0] for words in warnings(quality(signal, rate_hz))}

    assert kinds(good[:8_000]) == {"short"}
    assert kinds(np.clip(good, -0.2, 0.2)) == {"clipped"}
    assert kinds(0.005 * good) == {"very quiet"}
    assert kinds(good[::4], 4_000) == {"narrow band"}
    assert "offset" in kinds(good + 0.1)
    mostly_silent = np.where(TIME_S < 0.5, good, 1e-5 * good)
    assert kinds(mostly_silent) == {"mostly silence"}


def test_it_works_on_tensors_and_extremes() -> None:
    signal = torch.from_numpy(SINE).float()
    before = signal.clone()
    assert quality(signal, RATE_HZ).peak == pytest.approx(1.0, abs=1e-6)
    assert torch.equal(signal, before)
    silent = quality(np.zeros(100), RATE_HZ)
    assert (silent.peak, silent.silence_share, silent.bandwidth_hz, silent.clipping_share) == (0.0, 1.0, 0.0, 0.0)
    assert quality(np.array([0.5]), RATE_HZ).peak == 0.5
    with pytest.raises(SpeechXAIError, match="finite"):
        quality(np.array([np.nan, 1.0]), RATE_HZ)
    with pytest.raises(SpeechXAIError, match="shape"):
        quality(np.zeros((2, 10)), RATE_HZ)
