"""Recording quality against values known by construction."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from scipy.interpolate import CubicSpline
from scipy.signal import resample_poly

from speechxai.errors import SpeechXAIError
from speechxai.signal.quality import Check, Quality, _voice, checks, concerns, quality, usable

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


@pytest.mark.parametrize(
    ("rate_hz", "length", "share"), [(16_000, 2, 0.0), (16_000, 3, 0.03), (48_000, 6, 0.0), (48_000, 7, 0.07)]
)
def test_the_shortest_run_that_counts_as_clipped(rate_hz: int, length: int, share: float) -> None:
    # 0.15 ms: three samples up to 16 kHz, seven at 48 kHz; below it stand 100 samples that rise all the time.
    signal = np.linspace(-0.4, 0.5, 100)
    signal[50 : 50 + length] = 0.9
    assert quality(signal, rate_hz).clipping_share == pytest.approx(share)


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
    # Half a second 38 dB under the loudest frame is no silence, half a second 42 dB under it is.
    level_db = np.where(TIME_S < 1.0, 0.0, np.where(TIME_S < 1.5, -38.0, -42.0))
    assert quality(SINE * 10 ** (level_db / 20), RATE_HZ).silence_share == pytest.approx(0.25, abs=0.02)
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


def breathing(rate_hz: int, to_hz: float, seed: int = 0) -> np.ndarray:
    """2 s of noise up to `to_hz` that comes and goes four times a second, as syllables do; its peak is .5."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft(rng.standard_normal(2 * rate_hz))
    frequency_hz = np.fft.rfftfreq(2 * rate_hz, 1 / rate_hz)
    spectrum *= (frequency_hz < to_hz) / (1 + (frequency_hz / 800) ** 2)  # 12 dB an octave, as the voice's source
    time_s = np.arange(2 * rate_hz) / rate_hz
    sound = np.fft.irfft(spectrum) * (0.05 + np.sin(4 * np.pi * time_s) ** 2)
    return np.asarray(0.5 * sound / np.abs(sound).max())


def raised(signal: np.ndarray, from_hz: int, to_hz: int, how: str) -> np.ndarray:
    places = np.arange(signal.size * to_hz // from_hz) * from_hz / to_hz
    if how == "hold":
        return np.asarray(signal[places.astype(int)])
    if how == "linear":
        return np.interp(places, np.arange(signal.size), signal)
    if how == "cubic":
        return np.asarray(CubicSpline(np.arange(signal.size), signal)(places))
    common = math.gcd(from_hz, to_hz)
    return np.asarray(resample_poly(signal, to_hz // common, from_hz // common))


def dithered(signal: np.ndarray, seed: int = 3) -> np.ndarray:
    """As 16-bit numbers."""
    rng = np.random.default_rng(seed)
    return np.asarray(np.round(signal * 32_768 + rng.random(signal.size) - rng.random(signal.size)) / 32_768)


@pytest.mark.parametrize("how", ["polyphase", "linear", "cubic", "hold"])
def test_what_was_raised_from_8_khz_is_no_wider(how: str) -> None:
    """Images of interpolation, the steps of 16 bits under a quiet voice, and a noisy room are no sound of the voice."""
    voice = breathing(8_000, 4_000)
    for rate_hz in (16_000, 44_100):
        high = raised(voice, 8_000, rate_hz, how)
        noise = np.random.default_rng(1).standard_normal(high.size)
        for name, signal in {
            "floating point": high,
            "16 bits": dithered(high),
            "quiet": dithered(0.02 * high),
            "noise at 40 dB": high + 0.01 * high.std() * noise,
        }.items():
            found = quality(signal, rate_hz).bandwidth_hz
            assert 2_900 <= found <= 4_200, (rate_hz, name, found)


@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
def test_a_wide_voice_stays_wide(rate_hz: int) -> None:
    voice = breathing(rate_hz, 7_500)
    noise = np.random.default_rng(1).standard_normal(voice.size)
    for signal in (voice, dithered(voice), dithered(0.3 * voice), voice + 0.003 * voice.std() * noise):
        # 2 kHz of noise alone are needed to know it as the floor: a file of 16 kHz has none above this voice.
        assert 6_900 < quality(signal, rate_hz).bandwidth_hz < (7_900 if rate_hz > 16_000 else 8_001)
    # Nothing but noise is no floor: there is nothing that stands above it.
    assert quality(noise, rate_hz).bandwidth_hz > 0.49 * rate_hz


def test_real_voices_keep_their_band(shared_data: Callable[[str], Path]) -> None:
    """Telephone voices raised to 44.1 kHz in three ways; read speech at its own rate and through noise of 40 dB."""
    for path in sorted((shared_data("figshare-voice") / "audio").glob("*.wav"))[::40]:
        voice, rate_hz = soundfile.read(path)
        assert rate_hz == 8_000
        for how in ("polyphase", "linear", "hold"):
            found = quality(dithered(raised(voice, 8_000, 44_100, how)), 44_100).bandwidth_hz
            assert 2_900 <= found <= 4_200, (path.name, how, found)
    kinds = {".wav", ".flac", ".ogg"}
    path = min(path for path in shared_data("librispeech").rglob("*") if path.suffix in kinds)
    speech, rate_hz = soundfile.read(path, frames=8 * 16_000)
    noise = np.random.default_rng(1).standard_normal(speech.size)
    for signal in (speech, speech + 0.01 * speech.std() * noise):
        assert quality(signal, rate_hz).bandwidth_hz > 7_500


def test_checks_name_what_is_wrong_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    good = np.where(TIME_S < 1.8, 0.3 * rng.standard_normal(TIME_S.size), 1e-3 * rng.standard_normal(TIME_S.size))

    def words(signal: np.ndarray, rate_hz: int = RATE_HZ) -> set[str]:
        return {check.word for check in concerns(checks(quality(signal, rate_hz), rate_hz))}

    assert words(good) == set()
    assert words(good[: 20 * 800]) == {"short"}
    assert words(np.clip(good, -0.2, 0.2)) == {"clipped"}
    assert words(0.01 * good) == {"quiet"}
    assert words(good[::4], 4_000) == {"narrow band", "low sample rate"}
    assert "offset" in words(good + 0.1)
    mostly_silent = np.where(TIME_S < 0.5, good, 1e-5 * good)
    assert words(mostly_silent) == {"mostly silence"}


FINE = Quality(
    duration_s=4.0,
    peak=0.5,
    rms_dbfs=-20.0,
    clipping_share=0.0,
    silence_share=0.1,
    snr_db=30.0,
    bandwidth_hz=8_000.0,
    dc_offset=0.0,
)


def states(found: list[Check]) -> dict[str, str]:
    return {check.name: check.state for check in found}


@pytest.mark.parametrize(
    ("field", "good", "caution", "stop", "name"),
    [
        # The value at each threshold itself is still on the better side.
        ("duration_s", 1.5, 1.499, 0.499, "Length"),
        ("duration_s", 1.5, 0.5, 0.1, "Length"),
        ("rms_dbfs", -45.0, -45.01, -65.01, "Level"),
        ("rms_dbfs", -44.0, -65.0, -99.0, "Level"),
        ("clipping_share", 0.001, 0.00101, None, "Clipping"),
        ("snr_db", 15.0, 14.99, None, "Noise"),
        ("snr_db", math.nan, 0.0, None, "Noise"),
        ("silence_share", 0.6, 0.601, None, "Silence"),
        ("bandwidth_hz", 4_500.0, 4_499.0, None, "Band"),
        ("dc_offset", 0.02, 0.0201, None, "Offset"),
        ("dc_offset", -0.02, -0.0201, None, "Offset"),
    ],
)
def test_both_sides_of_every_threshold(field: str, good: float, caution: float, stop: float | None, name: str) -> None:
    for value, state in ((good, "good"), (caution, "caution"), (stop, "stop")):
        if value is None:
            continue
        found = checks(replace(FINE, **{field: value}))
        assert states(found) == dict.fromkeys(states(found), "good") | {name: state}
        assert usable(found) is (state != "stop")
        (own,) = [check for check in found if check.name == name]
        assert own.value == pytest.approx(value, nan_ok=True)
        assert concerns(found) == ([] if state == "good" else [own])


def test_a_voice_in_words() -> None:
    assert {share: (found.state, str(found)) for share in (0.0, 0.01, 0.4) if (found := _voice(share))} == {
        0.0: ("stop", "no voice: none was found; the model would answer to noise"),
        0.01: ("caution", "little voice: a voice in only 1 % of the time; cut the rest off"),
        0.4: ("good", "fine: a voice in 40 % of the time"),
    }


def test_sample_rate_and_voice_are_judged_where_they_are_known() -> None:
    assert not {"Sample rate", "Voice"} & set(states(checks(FINE)))
    for rate_hz, state in ((16_000, "good"), (15_999, "caution"), (8_000, "caution"), (7_999, "stop")):
        assert states(checks(FINE, rate_hz, 16_000))["Sample rate"] == state
    assert states(checks(FINE, 8_000))["Sample rate"] == "good"
    for share, state in ((0.15, "good"), (0.149, "caution"), (math.nan, "caution"), (0.0, "stop")):
        assert states(checks(FINE, speech_share=share))["Voice"] == state


def test_what_stops_is_said_first_and_in_words() -> None:
    found = concerns(checks(replace(FINE, snr_db=9.0, rms_dbfs=-70.0)))
    assert [str(check) for check in found] == [
        "close to silent: 70 dB below full scale; check the microphone",
        "noisy: speech is only 9 dB above the background; record in a quiet room",
    ]


def test_it_works_on_tensors_and_extremes() -> None:
    signal = torch.from_numpy(SINE).float()
    before = signal.clone()
    assert quality(signal, RATE_HZ).peak == pytest.approx(1.0, abs=1e-6)
    assert torch.equal(signal, before)
    silent = quality(np.zeros(100), RATE_HZ)
    assert (silent.peak, silent.silence_share, silent.bandwidth_hz, silent.clipping_share) == (0.0, 1.0, 0.0, 0.0)
    assert quality(np.array([0.5]), RATE_HZ).peak == 0.5
    with pytest.raises(
        SpeechXAIError,
        match=(r"^Quality is measured on a finite waveform of shape \(N,\)\. Got shape \(2,\) instead\.$"),
    ):
        quality(np.array([np.nan, 1.0]), RATE_HZ)
    with pytest.raises(
        SpeechXAIError,
        match=(r"^Quality is measured on a finite waveform of shape \(N,\)\. Got shape \(2, 10\) instead\.$"),
    ):
        quality(np.zeros((2, 10)), RATE_HZ)
