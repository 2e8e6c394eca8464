"""Acoustic measures against signals whose values are known, and against Praat on real voices."""

from __future__ import annotations

import math
import sys
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from speechxai.errors import SpeechXAIError
from speechxai.signal import acoustics
from speechxai.signal.acoustics import (
    BANDS_HZ,
    MEASURE_NAMES,
    MEASURES,
    measures,
    modulation_depth,
    references,
    references_for,
    spectral_measures,
)
from speechxai.signal.audio import resample
from speechxai.signal.pitch import _best_path

RATE = 16_000


def harmonic_tone(f0_hz, duration_s=1.5, rate=RATE):
    time_s = np.arange(int(duration_s * rate)) / rate
    return 0.2 * sum(np.sin(2 * np.pi * k * f0_hz * time_s) / k for k in range(1, 11))


def pulse_train(periods, loudness, rate=RATE):
    """Pulses at known (whole) samples through one resonance that has died away before the next pulse."""
    marks = 100 + np.concatenate([[0], np.cumsum(periods)])
    signal = np.zeros(marks[-1] + 400)
    signal[marks] = loudness
    radius = math.exp(-math.pi * 400 / rate)
    return 0.3 * lfilter([1], [1, -2 * radius * math.cos(2 * math.pi * 700 / rate), radius**2], signal)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("f0", [85.0, 150.0, 310.0])
def test_pitch_of_a_known_tone(rate, f0):
    found, strength = acoustics.f0_hz(harmonic_tone(f0, 0.6, rate), rate)
    inner = found[6:-6]
    assert np.isfinite(inner).all()
    assert np.abs(inner / f0 - 1).max() < 0.003
    assert strength[6:-6].min() > 0.9
    assert measures(harmonic_tone(f0, 0.6, rate), rate)["f0_mean_hz"] == pytest.approx(f0, rel=0.003)


def test_frames_are_centered_at_multiples_of_the_hop():
    signal = np.zeros(3 * RATE)
    signal[RATE : 2 * RATE] = harmonic_tone(140, 1.0)
    hop = 186
    n_frames = -(-signal.shape[0] // hop) + 1
    kinds = acoustics.segments_by_voicing(signal, RATE, n_frames, hop)
    voiced = np.flatnonzero(kinds == acoustics.VOICED)
    # 1 s is frame 16000 / 186 = 86.02, 2 s is frame 172.04.
    assert kinds.shape == (n_frames,)
    assert kinds.dtype == np.int8
    assert abs(voiced[0] - 86) <= 2
    assert abs(voiced[-1] - 172) <= 2
    level = acoustics.energy_db(signal, RATE, hop, n_frames)
    assert level[40] == pytest.approx(-120)
    # The mean square of harmonics with amplitudes 0.2 / k is 0.02 sum 1/k^2 = 0.02 * 1.54977, in dB -15.09.
    assert level[129] == pytest.approx(-15.09, abs=0.3)


def test_a_click_is_loudest_in_its_own_frame():
    signal = np.zeros(4_000)
    signal[5 * 200] = 1
    level = acoustics.energy_db(signal, RATE, 200, 21)
    assert level.argmax() == 5
    assert level[4] == pytest.approx(level[6])
    assert level[4] < level[5] - 10


def test_a_leap_of_an_octave_costs_the_same_at_every_frame_rate():
    # 100 and 200 Hz in both frames; the second frame prefers 200 by 0.5. A leap costs 0.35 in 10 ms, so it pays there,
    # and 0.7 in 5 ms, where it does not.
    frequency = np.array([[100.0, 200], [100, 200]])
    score, unvoiced = np.array([[0.9, 0.3], [0.4, 0.9]]), np.zeros(2)
    assert _best_path(frequency, score, unvoiced, 0.01).tolist() == [100, 200]
    assert _best_path(frequency, score, unvoiced, 0.005).tolist() == [100, 100]


def test_the_end_of_a_voice_costs_the_same_at_every_frame_rate():
    # One candidate; in the second frame unvoiced scores 0.2 more. A change costs 0.14 in 10 ms, so it pays there, and
    # 0.28 in 5 ms, where it does not.
    frequency = np.array([[100.0], [100]])
    score, unvoiced = np.array([[0.9], [0.4]]), np.array([0.0, 0.6])
    np.testing.assert_array_equal(_best_path(frequency, score, unvoiced, 0.01), [100, np.nan])
    np.testing.assert_array_equal(_best_path(frequency, score, unvoiced, 0.005), [100, 100])


def test_a_gliding_pitch_is_read_at_the_center_of_each_frame():
    time_s = np.arange(2 * RATE) / RATE
    # Pitch rises from 100 to 300 Hz in two seconds: 1 Hz every 10 ms, so frame t has 100 + t Hz.
    phase = 2 * np.pi * (100 * time_s + 50 * time_s**2)
    found, _ = acoustics.f0_hz(sum(np.sin(k * phase) / k for k in range(1, 8)), RATE, 160)
    frames = np.arange(20, 180)
    assert np.abs(found[frames] - (100 + frames)).max() < 0.7


def test_pause_noise_and_voice_are_told_apart():
    rng = np.random.default_rng(0)
    signal = 1e-4 * rng.standard_normal(3 * RATE)
    signal[RATE // 2 : RATE] += 0.05 * rng.standard_normal(RATE // 2)
    signal[3 * RATE // 2 : 5 * RATE // 2] += harmonic_tone(120, 1.0)
    kinds = acoustics.segments_by_voicing(signal, RATE, 301, 160)
    assert (kinds[55:95] == acoustics.UNVOICED).mean() > 0.95
    assert (kinds[155:245] == acoustics.VOICED).all()
    assert (kinds[5:45] == acoustics.PAUSE).all()
    assert (kinds[105:145] == acoustics.PAUSE).all()


def test_a_constant_offset_is_a_pause():
    assert (acoustics.segments_by_voicing(np.ones(RATE), RATE, 101, 160) == acoustics.PAUSE).all()


def test_jitter_and_shimmer_of_known_cycles():
    rng = np.random.default_rng(1)
    periods = 130 + rng.integers(-1, 2, 150)
    loudness = 1 + 0.05 * rng.uniform(-1, 1, 151)
    values = measures(pulse_train(periods, loudness), RATE)
    jitter = 100 * np.abs(np.diff(periods)).mean() / periods.mean()
    shimmer = 100 * np.abs(np.diff(loudness)).mean() / loudness.mean()
    assert values["jitter_local_percent"] == pytest.approx(jitter, rel=0.15)
    assert values["shimmer_local_percent"] == pytest.approx(shimmer, rel=0.15)
    decibels = np.abs(20 * np.log10(loudness[1:] / loudness[:-1])).mean()
    assert values["shimmer_local_db"] == pytest.approx(decibels, rel=0.15)
    steady = measures(pulse_train(np.full(150, 130), np.ones(151)), RATE)
    assert steady["jitter_local_percent"] < 0.02
    assert steady["shimmer_local_percent"] < 0.1


@pytest.mark.parametrize("snr_db", [5.0, 12.0, 20.0])
def test_harmonics_to_noise_ratio_is_the_ratio_of_powers(snr_db):
    tone = harmonic_tone(140)
    noise = np.random.default_rng(2).standard_normal(tone.shape[0])
    noise *= tone.std() / noise.std() * 10 ** (-snr_db / 20)
    assert measures(tone + noise, RATE)["hnr_db"] == pytest.approx(snr_db, abs=1.2)


def test_cepstral_prominence_falls_with_noise():
    tone = harmonic_tone(140)
    noise = np.random.default_rng(3).standard_normal(tone.shape[0])
    found = [measures(tone + level * noise, RATE)["cpps_db"] for level in (0.001, 0.01, 0.1, 0.5)]
    assert found == sorted(found, reverse=True)
    assert found[0] - found[-1] > 6


def test_modulation_depth_by_hand():
    time_s = np.arange(200) / 100
    # A sine of amplitude 2 has the standard deviation 2 / sqrt(2) = 1.414; 10 Hz lies outside 4 to 7 Hz.
    assert modulation_depth(2 * np.sin(2 * np.pi * 5 * time_s), 100) == pytest.approx(1.414, abs=0.03)
    assert modulation_depth(2 * np.sin(2 * np.pi * 10 * time_s), 100) < 0.05
    assert math.isnan(modulation_depth(np.zeros(20), 100))


def test_octave_bands_hold_the_energy_that_was_put_there():
    time_s = np.arange(RATE) / RATE
    # Harmonics 2 and 10 of 150 Hz: 300 Hz with four times the power of 1500 Hz: 10 log10(0.8) = -0.97, 10 log10(0.2) =
    # -6.99.
    signal = 0.2 * np.sin(2 * np.pi * 300 * time_s) + 0.1 * np.sin(2 * np.pi * 1500 * time_s)
    values = measures(signal, RATE)
    assert values["band_250_500_db"] == pytest.approx(-0.97, abs=0.1)
    assert values["band_1000_2000_db"] == pytest.approx(-6.99, abs=0.1)
    assert math.isnan(measures(resample(signal, RATE, 8_000), 8_000)["band_4000_8000_db"])
    assert len(BANDS_HZ) == sum(name.startswith("band_") for name in MEASURE_NAMES)


def test_a_low_voice_counts_whole_from_50_hz():
    # 75 and 300 Hz with the same power: half of it, -3.01 dB, lies in the octave from 250 Hz, the centroid between
    # them.
    frequency_hz = np.array([0.0, 25, 75, 300, 1000, 2000, 4000])
    found = spectral_measures(frequency_hz, np.array([9.0, 9, 1, 1, 0, 0, 0]))
    assert found["band_250_500_db"] == pytest.approx(10 * np.log10(0.5))
    assert found["spectral_centroid_hz"] == pytest.approx(187.5)


@pytest.mark.parametrize("n_samples", [0, 1, 100, 700, 2_000, RATE])
def test_silence_is_undefined_never_an_error(n_samples):
    values = measures(np.zeros(n_samples), RATE)
    assert tuple(values) == MEASURE_NAMES
    assert all(math.isnan(value) for value in values.values())
    assert (acoustics.segments_by_voicing(np.zeros(n_samples), RATE, 5, 160) == 0).all()


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 6_000), st.integers(0, 10_000), st.sampled_from([8_000, 16_000, 22_050, 48_000]))
def test_any_noise_gives_finite_values_or_nan(n_samples, seed, rate):
    signal = np.random.default_rng(seed).standard_normal(n_samples) * 0.1
    values = measures(signal, rate)
    assert tuple(values) == MEASURE_NAMES
    assert not any(math.isinf(value) for value in values.values())


def test_loudness_does_not_change_a_voice():
    tone = harmonic_tone(200) + 0.01 * np.random.default_rng(4).standard_normal(int(1.5 * RATE))
    loud, quiet = measures(tone, RATE), measures(0.05 * tone, RATE)
    for name in MEASURE_NAMES:
        assert loud[name] == pytest.approx(quiet[name], rel=0.02, abs=0.02, nan_ok=True), name


def test_tensors_and_arrays_are_the_same_and_stay_untouched():
    tone = torch.from_numpy(harmonic_tone(200, 0.5)).float()
    before = tone.clone()
    assert measures(tone, RATE) == pytest.approx(measures(tone.numpy(), RATE), nan_ok=True)
    assert torch.equal(tone, before)


def test_wrong_waveforms_are_named():
    with pytest.raises(
        SpeechXAIError, match=(r"^The 'waveform' must have one channel, shape \(N,\)\. Got shape \(2, 100\) instead\.$")
    ):
        measures(np.zeros((2, 100)), RATE)
    with pytest.raises(SpeechXAIError, match=r"^The 'waveform' has 1 samples that are NaN or infinite\.$"):
        acoustics.segments_by_voicing(np.array([0.0, np.nan]), RATE, 2, 160)
    with pytest.raises(SpeechXAIError, match=r"^The 'hop_samples' parameter must be at least 1\. Got 0 instead\.$"):
        acoustics.f0_hz(np.zeros(10), RATE, 0)


def test_ten_seconds_of_pitch_in_a_fraction_of_a_second():
    signal = harmonic_tone(150, 10.0)
    acoustics.f0_hz(signal, RATE)
    start = time.process_time()
    acoustics.f0_hz(signal, RATE)
    assert time.process_time() - start < 0.6


def test_every_measure_states_its_facts():
    assert len(MEASURE_NAMES) == len(set(MEASURE_NAMES)) >= 15
    for measure in MEASURES:
        assert measure.description.endswith(".")
        assert measure.caveat
        assert measure.citation
        assert measure.tasks
    by_name = {measure.name: measure for measure in MEASURES}
    assert by_name["jitter_local_percent"].defined_on("vowel-a")
    assert not by_name["jitter_local_percent"].defined_on("reading")
    assert by_name["f0_mean_hz"].defined_on("anything")


def test_reference_values_carry_their_conditions():
    assert {entry.measure for entry in references()} <= set(MEASURE_NAMES)
    assert all(entry.source and entry.caveat for entry in references())
    (jitter,) = references_for("jitter_local_percent", "vowel-a", "F", "en")
    assert (jitter.value, jitter.kind) == (1.04, "cutoff_above")
    assert [entry.value for entry in references_for("cpps_db", "vowel-a", "F", "es")] == [16.0]
    assert [entry.value for entry in references_for("cpps_db", "reading", "any", "en")] == [9.33]
    assert references_for("jitter_local_percent", "reading") == ()


def test_broken_reference_files_are_named(tmp_path):
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('[[reference]]\nmeasure = "hnr_db"\n')
    with pytest.raises(SpeechXAIError, match=r"wrong\.toml: reference 1"):
        references(wrong)
    with pytest.raises(SpeechXAIError, match=r"/none\.toml: no such file\.$"):
        references(tmp_path / "none.toml")


def test_praat_missing_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "parselmouth", None)
    with pytest.raises(
        SpeechXAIError,
        match=(
            r'^Measures by Praat need the package parselmouth: pip install "speechxai\[clinical\]"\. '
            r"Without it, speechxai\.signal\.acoustics\.measures gives our own implementations\.$"
        ),
    ):
        acoustics.praat_measures(harmonic_tone(150), RATE)
