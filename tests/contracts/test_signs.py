"""Every sign and every recording dial: its facts, dose 0, a dose that is what was asked for, and no clicks.

A dial that is added is tried here without a word.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import median_filter, uniform_filter1d
from scipy.signal import butter, resample_poly, sosfiltfilt

from speechxai.data.synthetic import draw_speaker, render
from speechxai.data.voice_model import UtteranceSettings
from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.signal.acoustics import MEASURE_NAMES, VOICED, measures, praat_measures
from speechxai.signs.conditions import CONDITIONS
from speechxai.signs.dials import SIGNS, achieved, defined_on, turned
from speechxai.signs.voice import Voice, analyses, filtered, overlap_added, repitched, retimed, taken_apart
from speechxai.types import Array

RATE = 16_000
DOSES = {
    "breathiness": 3.0,
    "roughness": 0.5,
    "tremor": 0.2,
    "pitch_range": 0.6,
    "pitch_level": 2.0,
    "loudness_range": 1.0,
    "loudness_decay": 2.0,
    "consonant_precision": 6.0,
    "vowel_space": 0.1,
    "spectral_tilt": 1.5,
    "rate": 0.5,
    "pauses": 3.0,
}
"""A dose of each sign, about a standard deviation of people. A dial without one is asked for 1."""

OPERATORS = {"noise", "cycles", "gain", "filter", "time"}
MAY_BE_LOUDER = {"level"}


@cache
def voice(task: str, sex: str = "F") -> Array:
    """A healthy synthetic voice (N,)."""
    speaker = draw_speaker("synthetic/t1", sex, 60, np.random.default_rng(5))
    return render(speaker, UtteranceSettings(task, 2.4), 7).waveform.double().numpy()


VOICES = [("vowel-a", "F"), ("phrase", "M")]
CASES = [(name, task, sex) for name in SIGNS for task, sex in VOICES if defined_on(name, task)]


@pytest.mark.parametrize("name", SIGNS)
def test_facts_of_a_sign(name: str) -> None:
    facts = SIGNS.facts(name)
    assert facts["measure"] in MEASURE_NAMES
    assert abs(facts["moves"]) == 1
    assert facts["operator"] in OPERATORS
    assert set(facts["tasks"]) <= {"any", "vowel", "ddk", "reading"}
    assert facts["more"] != facts["less"]
    for entailed in facts["entails"]:
        assert any(measure.startswith(entailed) for measure in MEASURE_NAMES), entailed


@pytest.mark.parametrize("name", CONDITIONS)
def test_facts_of_a_condition(name: str) -> None:
    facts = CONDITIONS.facts(name)
    assert facts["operator"] in OPERATORS
    assert 0 not in facts["doses"]
    assert set(facts["steps"]) <= set(facts["doses"])
    assert len(facts["doses"]) <= 4
    assert "{dose" in facts["more"]


def test_twelve_signs_and_eight_conditions() -> None:
    assert (len(SIGNS), len(CONDITIONS)) == (12, 8)


def test_dials_know_nothing_of_what_plants_cues() -> None:
    for path in (Path(__file__).parents[2] / "speechxai" / "signs").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            named = getattr(node, "module", None) or "".join(a.name for a in getattr(node, "names", []))
            assert not re.search(r"data\.|planted", named or ""), f"{path.name} imports {named}"


@pytest.mark.parametrize(("name", "task", "sex"), CASES)
def test_dose_0_gives_the_voice_back(name: str, task: str, sex: str) -> None:
    before = voice(task, sex)
    try:
        after = turned(SIGNS, name, before, RATE, 0.0)
    except NotApplicable:
        return
    assert after.shape == before.shape
    assert np.abs(after - before).max() < 2e-4


@pytest.mark.parametrize("name", CONDITIONS)
def test_dose_0_of_a_condition(name: str) -> None:
    before = voice("phrase", "M")
    assert np.abs(turned(CONDITIONS, name, before, RATE, 0.0) - before).max() < 1e-5
    assert not np.array_equal(turned(CONDITIONS, name, before, RATE, CONDITIONS.facts(name)["doses"][0]), before)


def crest_db(waveform: Array) -> float:
    """How far the loudest millisecond above 4.8 kHz stands out of its 40 ms."""
    high = sosfiltfilt(butter(4, 0.3 * RATE, "highpass", fs=RATE, output="sos"), waveform) ** 2
    power = uniform_filter1d(high, 16)[::8].clip(0)
    return float(10 * np.log10((power / (median_filter(power, 81) + 1e-4 * np.percentile(high, 95))).max()))


UNABLE = {("roughness", "vowel-a", "F"): -1, ("tremor", "vowel-a", "F"): -1, ("rate", "phrase", "M"): 1}
"""Voices that are regular and steady already, or whose syllables do not come faster: direction of the refused dose."""


@pytest.mark.parametrize(("name", "task", "sex"), CASES)
def test_a_dial_moves_its_measure_by_the_dose(name: str, task: str, sex: str) -> None:
    before, asked = voice(task, sex), DOSES.get(name, 1.0)
    refused = UNABLE.get((name, task, sex), 0)
    with analyses():
        for sign in (-1, 1):
            dose = sign * asked
            if sign == refused:
                with pytest.raises(NotApplicable, match=r"this voice does not give so much: .* cannot be moved by"):
                    turned(SIGNS, name, before, RATE, dose)
                continue
            after = turned(SIGNS, name, before, RATE, dose)
            assert np.isfinite(after).all()
            # Breath and the pitch tracker hear a syllable's edges in their own way.
            allowed = 0.1 if task.startswith("vowel") else 0.2
            assert achieved(name, before, after, RATE) == pytest.approx(dose, rel=allowed), (name, dose)
            # A burst that is sharpened may stand out by half of the dose.
            assert crest_db(after) < crest_db(before) + 6, (name, dose)
            power = (after**2).mean() / (before**2).mean()
            assert power == pytest.approx(1.0, abs=0.02) or name == "pauses"


@cache
def over_the_telephone(task: str, sex: str) -> Array:
    """A voice (N,) of which nothing is left above 3.6 kHz but the noise of a line, 80 dB under it."""
    full = voice(task, sex)
    spectrum = np.fft.rfft(full)
    spectrum[np.fft.rfftfreq(len(full), 1 / RATE) > 3600] = 0
    noise = 1e-4 * full.std() * np.random.default_rng(0).standard_normal(len(full))
    return np.asarray(np.fft.irfft(spectrum, len(full)) + noise)


def above_the_band_db(difference: Array, before: Array) -> float:
    """Energy of an edit above 4.2 kHz over what the recording has there, dB."""
    above = np.fft.rfftfreq(len(before), 1 / RATE) > 4200
    edit, line = (float((np.abs(np.fft.rfft(x)[above]) ** 2).sum()) for x in (difference, before))
    return 10 * np.log10(max(edit, 1e-30) / line)


@pytest.mark.parametrize(("name", "task", "sex"), CASES)
def test_a_sign_is_edited_within_the_band_of_a_narrow_recording(name: str, task: str, sex: str) -> None:
    before, asked = over_the_telephone(task, sex), DOSES.get(name, 1.0)
    for dose in (-asked, asked):
        try:
            after = turned(SIGNS, name, before, RATE, dose)
        except NotApplicable:
            continue
        if after.shape == before.shape:
            assert above_the_band_db(after - before, before) < -60
            # What the measure was moved by is what is heard, and not an edit of which a part was taken away again.
            allowed = 0.1 if task.startswith("vowel") else 0.2
            assert achieved(name, before, after, RATE) == pytest.approx(dose, rel=allowed)


def test_a_dose_is_reached_by_what_the_line_leaves_of_an_edit(monkeypatch: pytest.MonkeyPatch) -> None:
    before = over_the_telephone("vowel-a", "F")
    # A line that lets half of every edit through: the dial must turn twice as far, not stop at what it would have been.
    monkeypatch.setattr(Voice, "in_band", lambda self, result: self.waveform + 0.5 * (result - self.waveform))
    after = SIGNS["loudness_decay"](before, RATE, 2.0)
    assert achieved("loudness_decay", before, after, RATE) == pytest.approx(2.0, rel=0.05)
    monkeypatch.setattr(Voice, "in_band", lambda self, result: self.waveform)
    with pytest.raises(NotApplicable, match="does not give so much"):
        SIGNS["loudness_decay"](before, RATE, 2.0)


def test_where_a_line_ends() -> None:
    for task, sex in VOICES:
        full, narrow = voice(task, sex), over_the_telephone(task, sex)
        assert taken_apart(narrow, RATE).line_hz == pytest.approx(3600, abs=150)
        assert taken_apart(resample_poly(narrow, 1, 2), RATE // 2).line_hz == pytest.approx(3600, abs=150)
        assert taken_apart(resample_poly(full, 1, 2), RATE // 2).line_hz == np.inf
        # A voice that sinks into the noise of a room has no line: what is edited there is heard.
        for snr_db in (np.inf, 40, 25):
            noise = np.random.default_rng(0).standard_normal(len(full)) * full.std() * 10 ** (-snr_db / 20)
            found = taken_apart(full + noise, RATE)
            assert found.line_hz == np.inf
            assert np.array_equal(found.in_band(full[::-1]), full[::-1])


def test_a_condition_may_fill_what_the_line_left_empty() -> None:
    before = over_the_telephone("phrase", "M")
    assert above_the_band_db(turned(CONDITIONS, "noise_floor", before, RATE, 1.0) - before, before) > 10


def test_a_voice_that_has_no_such_thing_says_so() -> None:
    vowel, silence = voice("vowel-a"), np.random.default_rng(0).standard_normal(RATE) * 1e-3
    with pytest.raises(NotApplicable, match="0 stops"):
        turned(SIGNS, "consonant_precision", vowel, RATE, 3.0)
    with pytest.raises(NotApplicable, match="no pause"):
        turned(SIGNS, "pauses", vowel, RATE, 3.0)
    with pytest.raises(NotApplicable, match="does not give so much"):
        turned(SIGNS, "breathiness", vowel, RATE, -60.0)
    for name in SIGNS:
        if SIGNS.facts(name)["operator"] == "cycles":
            with pytest.raises(NotApplicable):
                turned(SIGNS, name, silence, RATE, 1.0)
    with pytest.raises(NotApplicable, match="microphone"):
        turned(CONDITIONS, "band_limit", vowel, RATE, -1.0)
    with pytest.raises(SpeechXAIError, match="one channel"):
        turned(SIGNS, "breathiness", np.zeros((2, 100)), RATE, 1.0)


@pytest.mark.parametrize("task", ["vowel-a", "ddk", "phrase"])
def test_machinery_that_changes_nothing_gives_the_samples_back(task: str) -> None:
    found = taken_apart(voice(task), RATE)
    same = [
        repitched(found, np.ones(found.n_frames)),
        retimed(found, np.ones(found.waveform.shape[0])),
        filtered(found, lambda f, part: np.ones((part.stop - part.start, f.shape[0]))),
        overlap_added(found, []),
    ]
    for result in same:
        assert np.abs(result - found.waveform).max() < 1e-4


def test_pitch_up_and_down_again_is_the_voice() -> None:
    """The round trip: what is left of the difference lies 20 dB under the voice, its measures where they were."""
    before = voice("vowel-a", "M")
    up = turned(SIGNS, "pitch_level", before, RATE, 2.0)
    back = turned(SIGNS, "pitch_level", up, RATE, -2.0)
    first, last = measures(before, RATE), measures(back, RATE)
    assert last["f0_median_semitones"] == pytest.approx(first["f0_median_semitones"], abs=0.05)
    assert last["f1_hz"] == pytest.approx(first["f1_hz"], rel=0.05)
    assert last["spectral_tilt_db_per_octave"] == pytest.approx(first["spectral_tilt_db_per_octave"], abs=0.3)


@pytest.mark.parametrize("semitones", [-3.0, 3.0])
def test_pitch_is_moved_as_praat_moves_it(semitones: float) -> None:
    """Praat's own overlap-add: the same pitch by Praat's ear, and a spectrum within 2 dB of it in third octaves."""
    parselmouth = pytest.importorskip("parselmouth")
    from parselmouth.praat import call

    before = voice("vowel-a", "F")
    manipulation = call(parselmouth.Sound(before, RATE), "To Manipulation", 0.01, 70, 500)
    tier = call(manipulation, "Extract pitch tier")
    call(tier, "Multiply frequencies", 0, 1000, 2 ** (semitones / 12))
    call([tier, manipulation], "Replace pitch tier")
    theirs = call(manipulation, "Get resynthesis (overlap-add)").values[0]
    ours = turned(SIGNS, "pitch_level", before, RATE, semitones)
    first, second = (praat_measures(x, RATE) for x in (ours, theirs))
    assert first["f0_mean_hz"] == pytest.approx(second["f0_mean_hz"], rel=0.01)
    spectra = []
    for waveform in (ours, theirs):
        power = np.abs(np.fft.rfft(waveform[:RATE])) ** 2
        edges = (400 * 2 ** (np.arange(11) / 3)).astype(int)
        bands = np.array([power[a:b].mean() for a, b in pairwise(edges)])
        spectra.append(10 * np.log10(bands / power.sum()))
    assert np.sqrt(((spectra[0] - spectra[1]) ** 2).mean()) < 2


@pytest.mark.parametrize(
    ("name", "measure", "dose"), [("breathiness", "hnr_db", 3.0), ("roughness", "jitter_local_percent", 0.5)]
)
def test_praat_hears_the_dose(name: str, measure: str, dose: float) -> None:
    pytest.importorskip("parselmouth")
    before = voice("vowel-a", "F")
    first, last = (praat_measures(x, RATE)[measure] for x in (before, turned(SIGNS, name, before, RATE, dose)))
    assert SIGNS.facts(name)["moves"] * (last - first) == pytest.approx(dose, rel=0.2)


def test_breath_is_in_the_voice_and_not_in_the_pauses() -> None:
    before = voice("phrase", "M")
    found = taken_apart(before, RATE)
    added = np.abs(turned(SIGNS, "breathiness", before, RATE, 4.0) - before)
    pause = found.to_samples(found.kinds != VOICED, 0.05) == 1
    assert added[pause].mean() < 0.1 * added[~pause].mean()


def test_what_is_taken_apart_once_is_found_again() -> None:
    with analyses():
        assert taken_apart(voice("ddk"), RATE) is taken_apart(voice("ddk").copy(), RATE)
    assert taken_apart(voice("ddk"), RATE) is not taken_apart(voice("ddk"), RATE)
