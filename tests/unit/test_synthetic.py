"""Synthetic voices: reproducible, balanced, measured as they were set, equal to their twins outside a cue."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from scipy.signal import butter, sosfiltfilt

from speechxai.data.cues import truth
from speechxai.data.synthetic import corpus, demo_corpus, draw_speaker, render, takes, twins
from speechxai.data.voice_model import (
    CUE_TASKS,
    SAMPLE_RATE,
    TASKS,
    SpeakerSettings,
    Tracks,
    UtteranceSettings,
    synthesize,
)
from speechxai.errors import SpeechXAIError
from speechxai.signal.acoustics import f0_hz, measures
from speechxai.signal.stft import spectrogram
from speechxai.types import StftConfig

WOMAN = SpeakerSettings("synthetic/w", "F", 60, 205.0, 1.15)
MAN = SpeakerSettings("synthetic/m", "M", 60, 115.0, 1.0, open_quotient=0.56)
BEST_TASK = {
    "breathiness": "vowel-a",
    "tremor": "vowel-a",
    "burst_weakening": "ddk",
    "formant_centralization": "glide",
    "monopitch": "phrase",
    "amplitude_tremor": "vowel-a",
    "frequency_tremor": "vowel-a",
}
CUES = list(BEST_TASK)


def pair(cue, severity=1.0, speaker=WOMAN, seed=11):
    return twins(speaker, UtteranceSettings(BEST_TASK[cue], 3.0, {cue: severity}), seed)


def within(twin):
    ((start, end),) = twin.intervals_s
    return slice(int(start * SAMPLE_RATE), int(np.ceil(end * SAMPLE_RATE)) + 1)


@pytest.mark.parametrize("task", TASKS)
def test_the_same_arguments_give_identical_bytes(task):
    first, again = (render(MAN, UtteranceSettings(task, 1.5), 3).waveform for _ in range(2))
    other = render(MAN, UtteranceSettings(task, 1.5), 4).waveform
    assert first.numpy().tobytes() == again.numpy().tobytes()
    assert not torch.equal(first, other)
    assert first.dtype == torch.float32
    assert first.shape == (int(1.5 * SAMPLE_RATE),)
    assert float(first.abs().max()) == pytest.approx(1.0)


def test_women_speak_higher_from_shorter_tracts_than_men():
    # The same draws for both: 200 against 118 Hz, a tract's formants 1.16 times as high, a glottis open longer.
    woman, man = (draw_speaker("synthetic/x", sex, 60, np.random.default_rng(2)) for sex in "FM")
    assert (woman.sex, man.sex) == ("F", "M")
    assert woman.f0_hz / man.f0_hz == pytest.approx(200 / 118)
    assert woman.tract_scale / man.tract_scale == pytest.approx(1.16)
    assert woman.open_quotient - man.open_quotient == pytest.approx(0.06)


@pytest.mark.parametrize("speaker", [WOMAN, MAN])
def test_pitch_formants_and_noise_are_what_was_set(speaker):
    targets = {"vowel-a": (730, 1090), "vowel-i": (270, 2290), "vowel-u": (300, 870)}
    for task, (first, second) in targets.items():
        values = measures(render(speaker, UtteranceSettings(task, 2.0), 5).waveform, SAMPLE_RATE)
        # The voice falls by 0.6 semitones in a held vowel, on average 0.3 (1.7 %).
        assert values["f0_mean_hz"] == pytest.approx(speaker.f0_hz, rel=0.03)
        # Linear prediction is drawn to the nearest harmonic, half a pitch away at most.
        assert abs(values["f1_hz"] - first * speaker.tract_scale) < speaker.f0_hz / 2
        assert abs(values["f2_hz"] - second * speaker.tract_scale) < speaker.f0_hz / 2
        assert 14 < values["hnr_db"] < 45
        assert 0.1 < values["jitter_local_percent"] < 1.0
        assert values["voiced_share"] > 0.9


def test_a_train_of_syllables_has_its_rate():
    voice = render(WOMAN, UtteranceSettings("ddk", 3.0), 5)
    bursts = [event.start_s for event in voice.events if event.kind == "burst"]
    values = measures(voice.waveform, SAMPLE_RATE)
    assert values["syllable_rate_hz"] == pytest.approx(1 / np.diff(bursts).mean(), rel=0.1)
    assert 4 < values["syllable_rate_hz"] < 8


@pytest.mark.parametrize("cue", CUES)
@pytest.mark.parametrize("seed", [1, 2])
def test_twins_are_equal_outside_the_cue(cue, seed):
    twin = pair(cue, 1.0, MAN if seed == 1 else WOMAN, seed)
    difference = (twin.with_cue - twin.without_cue).abs()
    inside = within(twin)
    assert float(difference[inside].max()) > 0.05
    difference[inside] = 0
    assert float(difference.max()) == 0.0
    assert twin.with_cue.shape == twin.without_cue.shape


@pytest.mark.parametrize("cue", CUES)
def test_the_truth_grows_with_severity_and_lies_within_the_interval(cue):
    config = StftConfig()
    sizes = []
    for severity in (0.1, 0.4, 0.7, 1.0):
        twin = pair(cue, severity)
        truth = twin.truth()
        sizes.append(float(truth.difference.square().sum()))
        ((start, end),) = twin.intervals_s
        frames = torch.nonzero(truth.map.amax(dim=0)).flatten() * config.hop_length / SAMPLE_RATE
        reach = config.win_length / SAMPLE_RATE
        assert frames.min() >= start - reach
        assert frames.max() <= end + reach
        assert 0 < truth.area < 0.4
        assert truth.contrast > 4
        assert truth.map.shape == (config.n_bins, config.n_frames(twin.with_cue.shape[0]))
    assert sizes == sorted(sizes)
    assert sizes[-1] > 2 * sizes[0]


def test_the_truth_of_breathiness_is_its_band():
    truth = pair("breathiness").truth()
    bins = torch.nonzero(truth.map)[:, 0] * StftConfig().bin_hz
    assert float(((bins > 1800) & (bins < 6300)).float().mean()) > 0.97


def test_breathiness_lowers_harmonicity_and_prominence():
    twin = pair("breathiness")
    inside = within(twin)
    before, after = (measures(w[inside], SAMPLE_RATE) for w in (twin.without_cue, twin.with_cue))
    assert after["cpps_db"] < before["cpps_db"] - 1
    assert after["hnr_db"] < before["hnr_db"] - 2


def test_tremor_moves_loudness_and_pitch_at_4_to_7_hz():
    twin = pair("tremor")
    inside = within(twin)
    before, after = (measures(w[inside], SAMPLE_RATE) for w in (twin.without_cue, twin.with_cue))
    assert after["amplitude_tremor_db"] > 3 * before["amplitude_tremor_db"]
    assert after["pitch_tremor_semitones"] > 5 * before["pitch_tremor_semitones"]


def test_weak_bursts_lose_energy_and_closures_gain_it():
    twin = pair("burst_weakening")
    high = butter(4, 1500, "highpass", fs=SAMPLE_RATE, output="sos")
    signals = [sosfiltfilt(high, w.double().numpy()) for w in (twin.without_cue, twin.with_cue)]
    ((start, end),) = twin.intervals_s
    for event in twin.events:
        if event.kind not in ("burst", "closure") or not start + 0.06 < event.start_s < end - 0.14:
            continue
        span = slice(int(event.start_s * SAMPLE_RATE), int((event.start_s + 0.008) * SAMPLE_RATE))
        if event.kind == "burst":
            loss_db = 10 * np.log10((signals[0][span] ** 2).sum() / (signals[1][span] ** 2).sum())
            assert loss_db > 10
        else:
            middle = slice(int((event.start_s + 0.03) * SAMPLE_RATE), int((event.end_s - 0.02) * SAMPLE_RATE))
            assert twin.with_cue[middle].square().mean() > 100 * twin.without_cue[middle].square().mean()


def test_centralization_shrinks_the_vowel_space():
    twin = pair("formant_centralization")
    inside = within(twin)
    before, after = (measures(w[inside], SAMPLE_RATE) for w in (twin.without_cue, twin.with_cue))
    assert after["f2_range_octaves"] < 0.6 * before["f2_range_octaves"]


def test_monopitch_flattens_the_melody():
    twin = pair("monopitch")
    before, after = (f0_hz(w[within(twin)], SAMPLE_RATE)[0] for w in (twin.without_cue, twin.with_cue))
    spread = [float(np.nanstd(12 * np.log2(f0))) for f0 in (before, after)]
    assert spread[1] < 0.6 * spread[0]


def test_no_cue_no_difference():
    twin = twins(WOMAN, UtteranceSettings("vowel-a", 1.5, {"tremor": 0.0}), 3)
    assert torch.equal(twin.with_cue, twin.without_cue)
    assert twin.truth().area == 0
    assert np.isnan(twin.truth().contrast)


def test_a_corpus_is_labeled_balanced_and_synthetic():
    recordings = corpus(4, seed=0)
    assert len(recordings) == 12
    assert len({recording.id for recording in recordings}) == 12
    for recording in recordings:
        assert recording.id.startswith("synthetic/")
        assert recording.speaker.startswith("synthetic/s0")
        assert recording.metadata["synthetic"] is True
        assert recording.sample_rate == SAMPLE_RATE
        assert 2.0 <= recording.duration_s <= 4.01
        assert float(recording.waveform.abs().max()) == pytest.approx(1.0)
        assert bool(recording.metadata["cues"]) == (recording.label == 1)
    again = takes(4, seed=0)[-1].recording()
    assert torch.equal(recordings[-1].waveform, again.waveform)
    assert recordings[-1].id == again.id


def test_classes_are_alike_but_for_the_cues():
    drawn = takes(200, seed=3)
    speakers = {take.speaker.name: take for take in drawn}
    assert Counter((t.label, t.speaker.sex) for t in speakers.values()) == Counter(
        {(label, sex): 50 for label in (0, 1) for sex in "FM"}
    )
    for fact in ("age", "f0_hz", "room_noise_db", "jitter_percent", "aspiration_db", "pace"):
        by_class = [
            np.array([getattr(t.speaker, fact) for t in speakers.values() if t.label == label]) for label in (0, 1)
        ]
        spread = np.concatenate(by_class).std()
        # Two means of 100 values differ by more than half a standard deviation once in 2,500 draws.
        assert abs(by_class[0].mean() - by_class[1].mean()) < 0.5 * spread, fact
    strengths = {t.speaker.name: max(t.utterance.cues.values()) for t in drawn if t.label == 1}
    assert np.std(list(strengths.values())) > 0.05


def test_a_take_gives_back_its_recording_and_its_twin():
    take = next(take for take in takes(2, 5, cue="tremor", severity=0.8) if take.label == 1)
    twin = take.twins()
    assert take.utterance.cues == {"tremor": 0.8}
    assert torch.equal(take.recording().waveform, twin.with_cue)
    assert take.recording().metadata["severity"] == 0.8


def test_the_demonstration_is_small_and_its_speakers_are_new():
    demo = demo_corpus()
    assert len(demo) == 16
    assert Counter(recording.label for recording in demo) == {0: 8, 1: 8}
    assert {recording.task for recording in demo} == {"vowel-a", "ddk", "phrase"}
    assert Counter((r.task, r.label) for r in demo if r.label == 0).keys() == {
        (t, 0) for t in ("vowel-a", "ddk", "phrase")
    }
    assert not {r.speaker for r in demo} & {take.speaker.name for take in takes(40, 0)}


def test_every_cue_has_tasks_and_mistakes_are_named():
    assert set(CUE_TASKS) == set(CUES)
    with pytest.raises(SpeechXAIError, match=r"^Unknown task 'vowela'\. Did you mean 'vowel-a'\? Known: .*$"):
        UtteranceSettings("vowela")
    with pytest.raises(SpeechXAIError, match=r"^Unknown cue 'tremmor'\. Did you mean 'tremor'\? Known: .*$"):
        UtteranceSettings("vowel-a", 2.0, {"tremmor": 0.5})
    with pytest.raises(SpeechXAIError, match=r"^The severity of tremor must be from 0 to 1\. Got 1\.5 instead\.$"):
        UtteranceSettings("vowel-a", 2.0, {"tremor": 1.5})
    with pytest.raises(
        SpeechXAIError,
        match=(r"^The 'duration_s' parameter of UtteranceSettings must be from 1 to 60\. Got 0\.2 instead\.$"),
    ):
        UtteranceSettings("vowel-a", 0.2)
    with pytest.raises(
        SpeechXAIError,
        match=(r"^The cue 'burst_weakening' cannot be heard in 'vowel-a'\. It needs one of: ddk, phrase\.$"),
    ):
        render(WOMAN, UtteranceSettings("vowel-a", 2.0, {"burst_weakening": 0.5}), 0)
    with pytest.raises(
        SpeechXAIError, match=(r"^The cue 'monopitch' cannot be heard in \['vowel-a'\]\. It needs tasks of: phrase\.$")
    ):
        takes(4, cue="monopitch", tasks=["vowel-a"])
    with pytest.raises(SpeechXAIError, match=r"^The 'n_speakers' parameter must be at least 2\. Got 1 instead\.$"):
        takes(1)
    with pytest.raises(SpeechXAIError, match=r"^Unknown cue 'monoptich'\. Did you mean 'monopitch'\? Known: .*$"):
        takes(4, cue="monoptich")


def test_many_speakers_can_say_everything():
    generator = np.random.default_rng(0)
    for index in range(6):
        speaker = draw_speaker(f"synthetic/x{index}", "FM"[index % 2], 60, generator)
        waveform = render(speaker, UtteranceSettings(TASKS[index], 1.2), index).waveform
        assert torch.isfinite(waveform).all()
        # A peak far above the voice would be a click.
        assert float(waveform.abs().max() / waveform.square().mean().sqrt()) < 12


def test_the_order_of_twins_does_not_matter_and_what_a_cue_takes_away_counts():
    twin = pair("burst_weakening")
    forward, back = truth(twin.with_cue, twin.without_cue), truth(twin.without_cue, twin.with_cue)
    assert torch.equal(forward.map, back.map)
    magnitude = spectrogram(torch.stack([twin.with_cue, twin.without_cue])).magnitude
    taken = (magnitude[1] - magnitude[0]) * forward.map
    assert float(taken.clamp(min=0).sum()) > 0.2 * float(taken.abs().sum())


def test_breath_noise_is_in_decibels():
    # 20 dB less aspiration is a tenth of its amplitude.
    n = 40
    tracks = Tracks(
        f0_hz=np.full(n, 120.0),
        voicing=np.ones(n),
        aspiration=np.ones(n),
        formants_hz=np.full((n, 4), 1000.0),
        bandwidths_hz=np.full((n, 4), 100.0),
        murmur=np.zeros(n),
        breath=np.zeros(n),
        events=(),
    )
    silent, quiet, loud = (
        synthesize(tracks, SpeakerSettings(aspiration_db=level), seed=1) for level in (-300.0, -40.0, -20.0)
    )
    np.testing.assert_allclose(loud - silent, 10 * (quiet - silent), atol=1e-9)
