"""Cues planted into existing voices: nothing outside the interval, no click at its edges, the effect a clinic would
measure."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.signal import stft

from speechxai.data.cues import CUES, move_resonance, overlap_add, plant, truth, truth_map, warped
from speechxai.data.synthetic import render
from speechxai.data.voice_model import SpeakerSettings, UtteranceSettings
from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.signal.acoustics import f0_hz, measures
from speechxai.types import StftConfig

SPEAKER = SpeakerSettings("synthetic/w", "F", 60, 205.0, 1.15)
TASK = {
    "breathiness": "vowel-a",
    "tremor": "vowel-a",
    "burst_weakening": "ddk",
    "formant_centralization": "glide",
    "monopitch": "phrase",
    "amplitude_tremor": "vowel-a",
    "frequency_tremor": "vowel-a",
}
VOWEL_CUES = ["breathiness", "tremor", "amplitude_tremor", "frequency_tremor", "formant_centralization"]


@pytest.fixture(scope="module")
def synthetic():
    return {task: render(SPEAKER, UtteranceSettings(task, 2.5), 7).waveform for task in set(TASK.values())}


@pytest.fixture(scope="module")
def read_speech(shared_data):
    import soundfile

    file = sorted(shared_data("librispeech").rglob("*.ogg"))[1]
    waveform, rate = soundfile.read(file, dtype="float32", frames=80_000)
    return torch.from_numpy(waveform), rate


@pytest.fixture(scope="module")
def held_vowel(shared_data):
    import soundfile

    files = sorted(
        file
        for file in (shared_data("figshare-voice") / "audio").glob("AH_*.wav")
        if not file.name[3:6].isdigit() or file.name[6].isalpha()
    )
    waveform, rate = soundfile.read(files[3], dtype="float32")
    return torch.from_numpy(waveform), rate


def inside(interval, rate):
    return slice(round(interval[0] * rate), round(interval[1] * rate))


def outside_change(before, after, interval, rate):
    difference = (after - before).abs()
    difference[inside(interval, rate)] = 0
    return float(difference.max())


def flux(signal, rate):
    """Spectral flux above 6.4 kHz, where a voice is weak and a click is not, in frames of 8 ms; their centers,
    samples."""
    _, times, spectrum = stft(signal.double().numpy(), rate, nperseg=rate // 125, noverlap=rate // 125 - rate // 500)
    level = np.abs(spectrum[int(0.8 * spectrum.shape[0]) :])
    return np.maximum(np.diff(level, axis=1), 0).sum(axis=0), times[1:] * rate


def edge_flux(signal, rate, interval):
    """Greatest flux within 6 ms of the edges over the greatest within 100 ms of them."""
    values, centers = flux(signal, rate)
    distance = np.minimum(*(np.abs(centers - edge * rate) for edge in interval))
    near = values[distance < 0.006 * rate].max()
    around = values[(distance > 0.015 * rate) & (distance < 0.1 * rate)].max()
    return near / around


@pytest.mark.parametrize("cue", list(CUES))
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_nothing_changes_outside_on_synthetic_voices(cue, seed, synthetic):
    before = synthetic[TASK[cue]]
    untouched = before.clone()
    after, interval = plant(cue, before, 16_000, seed=seed, severity=1.0)
    assert torch.equal(before, untouched)
    assert after.shape == before.shape
    assert after.dtype == before.dtype
    assert 0 <= interval[0] < interval[1] <= before.shape[0] / 16_000
    assert float((after - before).abs().max()) > 0.05
    assert outside_change(before, after, interval, 16_000) == 0.0
    again, _ = plant(cue, before, 16_000, seed=seed, severity=1.0)
    assert torch.equal(after, again)


@pytest.mark.parametrize("cue", list(CUES))
def test_nothing_changes_outside_on_real_speech(cue, read_speech):
    before, rate = read_speech
    after, interval = plant(cue, before, rate, seed=3, severity=1.0)
    assert float((after - before).abs().max()) > 0.01
    assert outside_change(before, after, interval, rate) == 0.0
    found = truth(after, before, StftConfig(sample_rate=rate))
    assert 0 < found.area < 0.3
    assert found.contrast > 5


@pytest.mark.parametrize("cue", VOWEL_CUES)
def test_nothing_changes_outside_on_a_real_held_vowel(cue, held_vowel):
    before, rate = held_vowel
    after, interval = plant(cue, before, rate, seed=3, severity=1.0)
    assert float((after - before).abs().max()) > 0.05
    assert outside_change(before, after, interval, rate) == 0.0


@pytest.mark.parametrize("cue", list(CUES))
def test_severity_goes_from_nothing_to_obvious(cue, synthetic):
    before = synthetic[TASK[cue]]
    sizes = []
    for severity in (0.0, 0.2, 0.5, 1.0):
        after, _ = plant(cue, before, 16_000, seed=1, severity=severity)
        sizes.append(float(truth(after, before).difference.square().sum()))
    if cue == "monopitch":
        # Once harmonics have moved by more than their distance the spectra cannot differ more: the pitch tells.
        sizes = [sizes[0]]
        for severity in (0.2, 0.5, 1.0):
            after, _ = plant(cue, before, 16_000, seed=1, severity=severity)
            pitch = [np.log2(f0_hz(w, 16_000)[0]) for w in (before, after)]
            sizes.append(float(np.nanmean(np.abs(pitch[1] - pitch[0]))))
    assert sizes == sorted(sizes)
    assert sizes[0] < 0.01 * sizes[-1]


@pytest.mark.parametrize("cue", VOWEL_CUES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_click_at_the_edges_of_a_vowel(cue, seed, synthetic):
    before = synthetic["vowel-a"]
    after, interval = plant(cue, before, 16_000, seed=seed, severity=1.0)
    assert edge_flux(after, 16_000, interval) < 1.5
    # The test hears a cut: the same interval with reversed polarity, and no crossfade.
    cut = before.clone()
    cut[inside(interval, 16_000)] *= -1
    assert edge_flux(cut, 16_000, interval) > 2


@pytest.mark.parametrize(("cue", "bound"), [("tremor", 1e-4), ("breathiness", 1e-6), ("formant_centralization", 0.01)])
def test_a_cue_is_over_before_its_interval_ends(cue, bound, synthetic):
    before = synthetic["vowel-a"]
    after, (_, end) = plant(cue, before, 16_000, seed=1, severity=1.0)
    # The crossfade covers the last 20 ms; the 10 ms before it must agree by themselves.
    last = slice(int((end - 0.03) * 16_000), int((end - 0.021) * 16_000))
    assert float((after - before)[last].abs().max()) < bound


@pytest.mark.parametrize("cue", ["burst_weakening", "monopitch"])
def test_no_click_at_the_edges_of_speech(cue, synthetic):
    before = synthetic[TASK[cue]]
    after, interval = plant(cue, before, 16_000, seed=1, severity=1.0)
    values, centers = flux(after, 16_000)
    original, _ = flux(before, 16_000)
    near = np.minimum(*(np.abs(centers - edge * 16_000) for edge in interval)) < 0.006 * 16_000
    assert values[near].max() <= 1.2 * original[near].max() + 0.05 * original.max()


def growth_at_edges(before, after, interval, rate):
    """Greatest flux within 6 ms of the edges, over what it was there before."""
    (changed, centers), (original, _) = flux(after, rate), flux(before, rate)
    near = np.minimum(*(np.abs(centers - edge * rate) for edge in interval)) < 0.006 * rate
    return changed[near].max() / original[near].max()


@pytest.mark.parametrize("cue", list(CUES))
@pytest.mark.parametrize("material", ["read_speech", "held_vowel"])
def test_no_click_at_the_edges_on_real_recordings(cue, material, request):
    before, rate = request.getfixturevalue(material)
    if material == "held_vowel" and cue not in VOWEL_CUES:
        with pytest.raises(NotApplicable):
            plant(cue, before, rate, seed=0, severity=1.0)
        return
    cuts = []
    for seed in range(4):
        after, interval = plant(cue, before, rate, seed=seed, severity=1.0)
        assert growth_at_edges(before, after, interval, rate) < 1.05
        cut = before.clone()
        cut[inside(interval, rate)] *= -1
        cuts.append(growth_at_edges(before, cut, interval, rate))
    # The test hears a cut, where no pulse of the voice falls on the edge anyway.
    assert max(cuts) > 2


def measured(cue, before, rate, severity=1.0, seed=1):
    after, interval = plant(cue, before, rate, seed=seed, severity=severity)
    span = inside(interval, rate)
    return measures(before[span], rate), measures(after[span], rate)


def test_breathiness_lowers_harmonicity_and_prominence(synthetic, held_vowel):
    for waveform, rate in ((synthetic["vowel-a"], 16_000), held_vowel):
        before, after = measured("breathiness", waveform, rate)
        assert after["hnr_db"] < before["hnr_db"] - 2
        assert after["cpps_db"] < before["cpps_db"] - 0.5


def test_tremor_shows_at_4_to_7_hz(synthetic, held_vowel):
    for waveform, rate in ((synthetic["vowel-a"], 16_000), held_vowel):
        before, after = measured("tremor", waveform, rate)
        assert after["amplitude_tremor_db"] > 3 * before["amplitude_tremor_db"]
        assert after["pitch_tremor_semitones"] > 5 * before["pitch_tremor_semitones"]
        assert after["f0_mean_hz"] == pytest.approx(before["f0_mean_hz"], rel=0.02)


def test_monopitch_flattens_the_melody(synthetic, read_speech):
    for waveform, rate in ((synthetic["phrase"], 16_000), read_speech):
        after, (start, end) = plant("monopitch", waveform, rate, seed=1, severity=1.0)
        spread = []
        for signal in (waveform, after):
            # Between the ramps; quartiles, since an octave error in a creak outweighs a sentence.
            pitch = 12 * np.log2(f0_hz(signal, rate)[0][int(100 * start) + 10 : int(100 * end) - 14])
            spread.append(float(np.subtract(*np.nanpercentile(pitch, [75, 25]))))
        assert spread[1] < 0.4 * spread[0]


def test_centralization_shrinks_the_vowel_space(synthetic, read_speech):
    for waveform, rate in ((synthetic["glide"], 16_000), read_speech):
        before, after = measured("formant_centralization", waveform, rate)
        assert after["f2_range_octaves"] < 0.6 * before["f2_range_octaves"]


def test_weak_bursts_lose_energy():
    voice = render(SPEAKER, UtteranceSettings("ddk", 2.5), 7)
    after, (start, end) = plant("burst_weakening", voice.waveform, 16_000, seed=1, severity=1.0)
    losses = []
    for event in voice.events:
        if event.kind == "burst" and start + 0.03 < event.start_s < end - 0.06:
            span = slice(int((event.start_s + 0.002) * 16_000), int((event.start_s + 0.012) * 16_000))
            losses.append(10 * float(torch.log10(voice.waveform[span].square().sum() / after[span].square().sum())))
    assert len(losses) >= 4
    assert np.median(losses) > 10


def test_cues_that_a_recording_cannot_have_are_refused(synthetic, held_vowel):
    with pytest.raises(
        NotApplicable, match=(r"^Burst weakening needs at least two stops with closure and burst\. Found 0\.$")
    ):
        plant("burst_weakening", synthetic["vowel-a"], 16_000, seed=0, severity=1.0)
    with pytest.raises(
        NotApplicable, match=(r"^Burst weakening needs at least two stops with closure and burst\. Found 0\.$")
    ):
        plant("burst_weakening", held_vowel[0], held_vowel[1], seed=0, severity=1.0)
    with pytest.raises(
        NotApplicable,
        match=(
            r"^Monopitch needs a pitch that moves by at least 0\.8 semitones \(standard deviation\) in "
            r"its interval\.$"
        ),
    ):
        plant("monopitch", synthetic["vowel-a"], 16_000, seed=0, severity=1.0)
    for waveform in (
        torch.zeros(32_000),
        torch.zeros(100),
        0.1 * torch.randn(32_000, generator=torch.Generator().manual_seed(0)),
    ):
        with pytest.raises(NotApplicable, match="of voice"):
            plant("tremor", waveform, 16_000, seed=0, severity=1.0)


def test_mistakes_are_named(synthetic):
    with pytest.raises(SpeechXAIError, match=r"^Unknown cue 'tremors'\. Did you mean 'tremor'\? Known: .*$"):
        plant("tremors", synthetic["vowel-a"], 16_000, seed=0, severity=1.0)
    with pytest.raises(
        SpeechXAIError, match=(r"^The 'severity' parameter of a cue must be from 0 to 1\. Got 1\.1 instead\.$")
    ):
        plant("tremor", synthetic["vowel-a"], 16_000, seed=0, severity=1.1)
    with pytest.raises(
        SpeechXAIError, match=(r"^The 'waveform' must have one channel, shape \(N,\)\. Got shape \(2, 100\) instead\.$")
    ):
        plant("tremor", torch.zeros(2, 100), 16_000, seed=0, severity=1.0)
    with pytest.raises(
        SpeechXAIError, match=(r"^Twins must have one shape \(N,\)\. Got \(100,\) and \(101,\) instead\.$")
    ):
        truth(torch.zeros(100), torch.zeros(101))
    with pytest.raises(
        SpeechXAIError, match=(r"^The 'threshold' parameter must be between 0 and 1\. Got 0\.0 instead\.$")
    ):
        truth(torch.zeros(100), torch.zeros(100), threshold=0.0)


def test_the_registry_states_sign_and_source():
    assert set(CUES) == set(TASK)
    for name in CUES:
        assert CUES.facts(name)["sign"]
        assert CUES.facts(name)["cites"]


def test_the_truth_of_a_tone_burst_is_where_it_was_added():
    without = torch.zeros(16_000)
    time_s = torch.arange(16_000) / 16_000
    with_cue = torch.where((time_s >= 0.4) & (time_s < 0.6), 0.5 * torch.sin(2 * torch.pi * 2_000 * time_s), without)
    found = truth(with_cue, without)
    # 2000 Hz is bin 2000 / 15.625 = 128; 0.4 to 0.6 s are frames 34.4 to 51.6.
    bins, frames = torch.nonzero(found.map, as_tuple=True)
    assert (bins - 128).abs().max() <= 8
    assert bins.double().mean() == pytest.approx(128, abs=0.5)
    assert frames.min() in range(33, 37)
    assert frames.max() in range(50, 54)
    assert found.area == pytest.approx(float(found.map.mean()))
    assert torch.equal(truth_map(with_cue, without), found.map)
    nothing = truth(without, without)
    assert nothing.area == 0
    assert np.isnan(nothing.contrast)


def test_signal_operations_leave_alone_what_does_not_move():
    signal = np.random.default_rng(0).standard_normal(4_000)
    still = np.full(4_000, 700.0)
    assert np.abs(move_resonance(signal, 16_000, still, still) - signal).max() < 1e-9
    positions = np.arange(1_000, 3_000, dtype=np.float64)
    assert np.abs(warped(signal, positions) - signal[1_000:3_000]).max() < 1e-6
    marks = np.arange(500.0, 3_500.0, 80.0)
    assert np.abs(overlap_add(signal, marks, marks) - signal).max() < 1e-9


def test_a_moved_resonance_moves():
    impulse = np.zeros(4_000)
    impulse[10] = 1
    moved = move_resonance(impulse, 16_000, np.full(4_000, 700.0), np.full(4_000, 1_100.0))
    spectrum = np.abs(np.fft.rfft(moved))
    hz = np.fft.rfftfreq(4_000, 1 / 16_000)
    assert abs(hz[spectrum.argmax()] - 1_100) < 40
    assert spectrum[np.abs(hz - 700).argmin()] < 0.5
