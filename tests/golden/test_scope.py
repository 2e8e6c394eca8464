"""What a model was made for: ranges and sentences by hand, and what is called like its recordings and what is not."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from speechxai.classifiers import scope
from speechxai.classifiers.bundle import load_bundle
from speechxai.classifiers.scope import MEASURES, TOGETHER, Scope, Verdict, compare
from speechxai.data.synthetic import corpus, demo_corpus
from speechxai.inspection.inspect import read_for
from speechxai.types import Recording

RATE = 16_000

# Ranges by hand.
HUNDRED = [float(k) for k in range(101)]
"""0 to 100: the 1st percentile is 1, the median 50, the 99th percentile 99."""


@pytest.mark.parametrize(
    ("name", "values", "low", "high", "typical"),
    [
        # Of ratios the margin is a factor: 2 for the duration, three semitones for the pitch.
        ("duration_s", HUNDRED, 1 / 2, 99 * 2, 50),
        ("f0_hz", HUNDRED, 1 / 2 ** (3 / 12), 99 * 2 ** (3 / 12), 50),
        # Of others it is added at both ends, and what has a lowest value ends there.
        ("voiced_share", [k / 100 for k in HUNDRED], 0.0, 0.99 + 0.1, 0.5),
        ("pause_share", [0.5 + k / 1000 for k in HUNDRED], 0.501 - 0.1, 0.599 + 0.1, 0.55),
        ("loudness_peaks_hz", HUNDRED, 1 - 0.75, 99 + 0.75, 50),
        ("f0_spread_semitones", HUNDRED, 0.0, 99 + 1, 50),
        ("voicing_strength", [k / 100 for k in HUNDRED], 0.0, 0.99 + 0.05, 0.5),
        ("high_band_db", [-k for k in HUNDRED], -99 + 29, -1 + 10, -50),  # -109 is under the floor of -70
    ],
)
def test_a_range_is_that_of_98_in_100_with_a_margin(
    name: str, values: list[float], low: float, high: float, typical: float
) -> None:
    ranges, middle, deviations = scope._learned([{name: value} for value in values], [np.zeros((0, 13))] * 101)
    assert ranges[name] == pytest.approx((low, high), abs=1e-6)
    assert middle == pytest.approx({name: typical}, abs=1e-6)
    assert len(deviations) == 0  # nobody speaks for a second, and so no change is known


def test_what_is_undefined_for_some_has_the_range_of_the_others() -> None:
    rows = [{"duration_s": 2.0, "f0_hz": math.nan}, {"duration_s": 2.0}, {"duration_s": 2.0, "f0_hz": 100.0}]
    ranges, typical, _ = scope._learned(rows, [np.zeros((0, 13))] * 3)
    third = 2 ** (3 / 12)
    assert ranges["f0_hz"] == pytest.approx((100 / third, 100 * third), abs=1e-6)
    assert set(typical) == {"duration_s", "f0_hz"}


def test_the_sum_of_ways_by_hand() -> None:
    """Two measures of manner at typical 1 and .2; their ends are 1 + 3 and .2 + .2."""
    ranges = {"f0_spread_semitones": (0.0, 4.0), "pause_share": (0.0, 0.4), "duration_s": (1.0, 9.0)}
    typical = {"f0_spread_semitones": 1.0, "pause_share": 0.2, "duration_s": 3.0}
    parts = scope._parts({"f0_spread_semitones": 2.5, "pause_share": 0.3, "duration_s": 9.0}, ranges, typical)
    # (2.5 - 1) / 3 and (.3 - .2) / .2; how long it lasts is no manner
    assert parts == pytest.approx({"f0_spread_semitones": 0.5, "pause_share": 0.5})
    # Less than typical is nothing where the range is open, as at no pause at all.
    below = scope._parts({"f0_spread_semitones": 0.0, "pause_share": 0.0}, ranges, typical)
    assert below == {"f0_spread_semitones": 0.0, "pause_share": 0.0}
    half = ranges | {TOGETHER: (0.0, 0.9)}
    values = {"f0_spread_semitones": 2.5, "pause_share": 0.3}
    assert scope._outside(values, half, typical) == pytest.approx({TOGETHER: 0.1 / 0.25})
    assert scope._outside(values, ranges | {TOGETHER: (0.0, 1.0)}, typical) == {}
    # What is outside by itself is said alone, the furthest first: (.7 - .4) / .1 and (6 - 4) / 1 margins
    values = {"f0_spread_semitones": 6.0, "pause_share": 0.7}
    assert list(scope._outside(values, half, typical).items()) == [
        ("pause_share", pytest.approx(3.0)),
        ("f0_spread_semitones", pytest.approx(2.0)),
    ]


def test_the_change_of_a_voice_by_hand() -> None:
    """A second of one voice and a second of another three semitones higher, everything else alike."""
    voice = np.zeros((13, 200))
    voice[0, 100:] = 3.0
    steps = scope._steps(voice)
    # windows of 50 frames every 5: 31 of them, each against that 50 frames later, 21 steps
    assert steps.shape == (21, 13)
    assert steps.max() == 3.0
    assert scope._change(steps, np.full(13, 1.5)) == pytest.approx(2.0)
    assert scope._change(steps, np.full(13, 0.01)) == pytest.approx(8.0)  # no more than MOST_DEVIATIONS
    octave = np.zeros((13, 200))
    octave[0, 102:] = 12.0
    assert scope._change(scope._steps(octave), np.ones(13)) == 0  # an error of the tracker, and no other speaker
    assert math.isnan(scope._change(scope._steps(voice[:, :99]), np.ones(13)))  # less than a second of voice


# What is measured.
def tone(f0_hz: float = 200.0, seconds: float = 2.0, high: float = 0.0) -> Recording:
    """Eight harmonics below 2 kHz and, `high` times as loud as one of them, a tone at 6 kHz."""
    time = torch.arange(round(RATE * seconds), dtype=torch.float64) / RATE
    waveform = sum(torch.sin(2 * math.pi * f0_hz * k * time) for k in range(1, 9))
    waveform = waveform + high * torch.sin(2 * math.pi * 6_000 * time)
    return Recording((waveform / 16).float(), RATE, "tone", "t")


def test_measures_of_a_tone_by_hand() -> None:
    found = scope.measured(tone(high=0.1), Scope(band_hz=4_000.0))
    assert found["duration_s"] == pytest.approx(2.0)
    assert found["f0_hz"] == pytest.approx(200, rel=0.002)
    assert found["f0_spread_semitones"] == pytest.approx(0, abs=0.02)
    assert found["voiced_share"] > 0.97
    assert found["pause_share"] == 0
    assert found["loudness_peaks_hz"] == 0
    assert found["voicing_strength"] > 0.99
    # .01 of nine parts: eight harmonics of energy 1 and one of .01
    assert found["high_band_db"] == pytest.approx(10 * math.log10(0.01 / 8.01), abs=0.05)
    assert "change" not in found  # this model does not say what it usually is


def test_loudness_that_rises_and_falls_is_counted() -> None:
    voice = tone(seconds=3.0)
    time = torch.arange(len(voice.waveform)) / RATE
    beats = replace(voice, waveform=voice.waveform * (1 - 0.8 * torch.cos(2 * math.pi * 4 * time)) / 2)
    found = scope.measured(beats, Scope(band_hz=4_000.0))
    assert found["loudness_peaks_hz"] == pytest.approx(4.0, abs=0.1)


@pytest.mark.parametrize("waveform", [torch.zeros(RATE), torch.full((RATE,), 0.5)])
def test_silence_is_outside(waveform: torch.Tensor) -> None:
    """Nothing sounds, and a constant offset is no sound."""
    silence = Recording(waveform, RATE, "s", "s")
    made_for = Scope(band_hz=4_000.0, ranges={"voiced_share": (0.5, 1.0)})
    assert compare(made_for, silence).reason.startswith("It is unlike what the model learned from: a voice sounds for")


# What is said.
WIDE = Scope(
    tasks=("vowel-a",),
    languages=("en",),
    band_hz=4_000.0,
    ranges={
        "duration_s": (1.0, 8.0),
        "voiced_share": (0.8, 1.1),
        "pause_share": (0.0, 0.2),
        "loudness_peaks_hz": (0.0, 2.0),
        "f0_hz": (80.0, 320.0),
        "f0_spread_semitones": (0.0, 2.0),
        "voicing_strength": (0.7, 1.0),
        "high_band_db": (-70.0, -40.0),
        "change": (5.0, 10.0),
        TOGETHER: (0.0, 1.5),
    },
    typical={
        "duration_s": 3.0,
        "voiced_share": 1.0,
        "pause_share": 0.0,
        "loudness_peaks_hz": 0.0,
        "f0_hz": 160.0,
        "f0_spread_semitones": 0.5,
        "voicing_strength": 0.95,
        "high_band_db": -60.0,
        "change": 5.0,
    },
)
USUAL = {**WIDE.typical}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"duration_s": 0.4}, "it lasts 0.4 s (1.0 to 8.0 s)"),
        ({"duration_s": 9.0}, "it lasts 9.0 s (1.0 to 8.0 s)"),
        ({"voiced_share": 0.41}, "a voice sounds for 41 % of the time (at least 80 %)"),
        ({"pause_share": 0.35}, "pauses take 35 % of the time (at most 20 %)"),
        ({"loudness_peaks_hz": 4.2}, "its loudness rises and falls at 4.2 Hz (at most 2.0 Hz)"),
        ({"f0_hz": 61.0}, "its pitch is 61 Hz (80 to 320 Hz)"),
        ({"f0_hz": 400.0}, "its pitch is 400 Hz (80 to 320 Hz)"),
        ({"f0_spread_semitones": 3.1}, "its pitch moves by 3.1 semitones (at most 2.0 semitones)"),
        ({"voicing_strength": 0.5}, "its voice repeats from cycle to cycle to 50 % (at least 70 %)"),
        ({"high_band_db": -12.0}, "its sound above 4 kHz lies 12 dB under the rest (at least 40 dB)"),
        (
            {"change": 14.0},
            "its voice changes by 14.0 deviations within a second, as when a second speaker begins (at most 10.0"
            " deviations)",
        ),
        # The furthest first, in margins: (.35 - .2) / .1 = 1.5, (4.2 - 2) / .75 = 2.9, (3.1 - 2) / 1 = 1.1
        (
            {"pause_share": 0.35, "loudness_peaks_hz": 4.2, "f0_spread_semitones": 3.1},
            "its loudness rises and falls at 4.2 Hz (at most 2.0 Hz), pauses take 35 % of the time (at most 20 %) and"
            " its pitch moves by 3.1 semitones (at most 2.0 semitones)",
        ),
    ],
)
def test_every_reason_is_one_sentence(changes: dict[str, float], says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scope, "measured", lambda *given: USUAL | changes)
    seconds = changes.get("duration_s", 3.0)
    found = compare(WIDE, Recording(torch.zeros(round(RATE * seconds)), RATE, "r", "s"))
    assert found == Verdict("outside", f"It is unlike what the model learned from: {says}.")
    assert not found.named


def test_a_value_that_is_written_as_the_end_of_its_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scope, "measured", lambda *given: USUAL | {"loudness_peaks_hz": 2.04})
    found = compare(WIDE, Recording(torch.zeros(3 * RATE), RATE, "r", "s"))
    assert found.reason == (
        "It is unlike what the model learned from: its loudness rises and falls at 2.0 Hz (just outside of at most 2.0"
        " Hz)."
    )


def test_the_sentence_of_several_ways_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the way in each of four: 2 of at most 1.5; the three furthest are named."""
    changes = {"voiced_share": 0.9, "pause_share": 0.1, "loudness_peaks_hz": 1.1, "f0_spread_semitones": 1.25}
    monkeypatch.setattr(scope, "measured", lambda *given: USUAL | changes)
    voice = Recording(torch.zeros(3 * RATE), RATE, "r", "s")
    assert compare(WIDE, voice).reason == (
        "It is unlike what the model learned from, not in one way but in several at once: its loudness rises and falls"
        " at 1.1 Hz (usually 0.0 Hz), a voice sounds for 90 % of the time (usually 100 %) and pauses take 10 % of the"
        " time (usually 0 %)."
    )
    # One of the four less is 1.5, and just inside.
    changes["loudness_peaks_hz"] = 0.0
    assert compare(WIDE, voice) == Verdict("inside")


def voice(task: str = "unknown", **metadata: object) -> Recording:
    return Recording(torch.zeros(3 * RATE), RATE, "r", "s", task=task, metadata=metadata)


@pytest.mark.parametrize(
    ("recording", "says"),
    [
        (voice("reading"), "The model learned from vowel-a, and this is reading."),
        (voice("ddk-pataka"), "The model learned from vowel-a, and this is ddk-pataka."),
        (voice("vowel-i"), "The model learned from vowel-a, and this is vowel-i."),
        (voice("monologue", language="de"), "The model learned from vowel-a, and this is monologue."),
        (voice(language="de"), "The model learned from speech in en, and this is in de."),
        (voice("vowel-a", language="de"), ""),  # a held vowel has no language
        (voice("vowel"), ""),  # of which nobody says that it is another
        (voice("cough"), ""),  # the name says nothing, and what is measured decides
        (voice(language="en"), ""),
    ],
)
def test_another_task_or_language_is_said_by_its_name(
    recording: Recording, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scope, "measured", lambda *given: USUAL)
    assert compare(WIDE, recording) == (Verdict("outside", says) if says else Verdict("inside"))


@pytest.mark.parametrize("made_for", [None, Scope(band_hz=4_000.0)])
def test_without_a_scope_it_is_unknown(made_for: Scope | None) -> None:
    found = compare(made_for, tone())
    assert found.state == "unknown"
    assert found.named  # the command line names the class, and this word beside it
    assert found.reason.startswith("The model does not say what it was made for")


def test_every_measure_can_be_said() -> None:
    ranges = dict(scope.range_rows(WIDE))
    for name, measure in MEASURES.items():
        assert measure.name in ranges or measure.name.replace("above the band", "above 4 kHz") in ranges
        assert measure.words.count("{}") == 1
        assert measure.margin > (1 if measure.ratio else 0)
        assert measure.low < measure.high
        assert name in WIDE.ranges
    assert ranges["duration"] == "1.0 to 8.0 s"
    assert ranges["share of the time in pauses"] == "at most 20 %"
    assert ranges["sound above 4 kHz, under the rest"] == "at least 40 dB"
    assert ranges["share of the time with a voice"] == "at least 80 %"
    assert ranges["pitch"] == "80 to 320 Hz"
    # Between two ends, the smaller number first also where it is said the other way round.
    both = WIDE.model_copy(update={"ranges": {"high_band_db": (-50.0, -10.0)}})
    assert scope.range_rows(both) == [("sound above 4 kHz, under the rest", "10 to 50 dB")]


def test_a_network_that_hears_all_is_asked_about_the_telephones_band() -> None:
    """Above half of the sample rate there is nothing; one that hears up to 4 kHz is asked about that."""
    assert scope._edge_hz(8_000.0, 16_000) == 4_000.0
    assert scope._edge_hz(3_000.0, 16_000) == 3_000.0
    assert scope._edge_hz(5_500.0, 16_000) == 5_500.0
    assert scope._edge_hz(2_000.0, 4_000) == 2_000.0  # nothing lies above, and so nothing is measured
    low = Recording(tone().waveform[::4].clone(), RATE // 4, "r", "s")
    assert "high_band_db" not in scope.measured(low, Scope(band_hz=2_000.0))


# What is learned.
def test_a_scope_is_learned_from_recordings() -> None:
    voices = corpus(6, 3, tasks=["vowel-a"])
    told = [replace(voice, metadata={**voice.metadata, "language": "en"}) for voice in voices]
    made_for = scope.learn(told, [0, 1, 2] * 2, 4_000.0, "a program")
    assert (made_for.tasks, made_for.languages, made_for.device) == (("vowel-a",), ("en",), "a program")
    assert (made_for.synthetic, made_for.n_recordings, made_for.n_speakers) == (True, 6, 1)
    assert set(made_for.ranges) == {*MEASURES, TOGETHER}
    seconds = [voice.duration_s for voice in voices]
    low, high = np.quantile(seconds, [0.01, 0.99])
    assert made_for.ranges["duration_s"] == pytest.approx((low / 2, high * 2), abs=1e-6)
    assert len(made_for.deviations) == 13
    assert all(compare(made_for, voice).state == "inside" for voice in told)
    # One that does not say its task or language, or is no synthetic voice: neither is the scope then.
    mixed = [*told[:5], voices[5], replace(told[0], task="unknown", metadata={})]
    unsaid = scope.learn(mixed, [0, 1, 2, 0, 1, 2, 0], 4_000.0)
    assert (unsaid.tasks, unsaid.languages, unsaid.device, unsaid.synthetic) == ((), (), "", False)


def test_the_share_inside_is_counted_with_ranges_of_other_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three voices of 2 s and one of 9 s: for its own fold the others end at 4 s, for theirs it lies inside."""
    monkeypatch.setattr(scope, "_measured", lambda each, *_: ({"duration_s": each.duration_s}, np.zeros((0, 13))))
    voices = [Recording(torch.zeros(RATE * seconds), RATE, "r", "s") for seconds in (2, 2, 2, 9)]
    found = scope.learn(voices, [0, 1, 0, 2], 4_000.0)
    assert found.share_inside == 0.75
    assert compare(found, voices[3]) == Verdict("inside")
    assert scope.learn(voices[:3], [0, 1, 0], 4_000.0).share_inside == 1.0


# Real recordings and those of the demonstration, with the embedded models.
@pytest.fixture(scope="module")
def vowels(shared_data: Callable[[str], Path]) -> list[Recording]:
    """The 81 held vowels, as `figshare-cnn` hears them."""
    root = shared_data("figshare-voice")
    return [as_heard(path) for path in sorted((root / "audio").rglob("*.wav"))]


def as_heard(path: Path) -> Recording:
    return read_for(load_bundle("figshare-cnn"), path)[0]


def asked(model: str, recording: Recording) -> Verdict:
    return compare(load_bundle(model).config.scope, recording)


def test_read_speech_gets_no_class(shared_data: Callable[[str], Path]) -> None:
    clips = [*shared_data("librispeech").glob("*.ogg"), *shared_data("mdvr-kcl").glob("*.wav")]
    assert len(clips) == 7
    for path in clips:
        found = asked("figshare-cnn", as_heard(path))
        assert found.state == "outside", path.name
        assert found.reason.startswith("It is unlike what the model learned from")
        assert "  " not in found.reason
    # Three seconds of it, where neither the length nor a pause tells: most are noticed, and none are by their name.
    whole = as_heard(clips[0])
    cuts = [replace(whole, waveform=part) for part in whole.waveform.split(3 * RATE)[:-1]]
    assert sum(asked("figshare-cnn", cut).state == "outside" for cut in cuts) >= 0.8 * len(cuts)


def test_held_vowels_get_their_class(vowels: list[Recording]) -> None:
    assert len(vowels) == 81
    assert sum(asked("figshare-cnn", vowel).state == "inside" for vowel in vowels) >= 79


def tones() -> dict[str, np.ndarray]:
    """Three seconds each of what repeats itself as no voice does."""
    time = np.arange(3 * RATE) / RATE
    made = {"dial tone": (350, 440), "keypad": (770, 1_336)}
    found = {name: sum(np.sin(2 * np.pi * f * time) for f in both) for name, both in made.items()}
    for f0_hz in (110, 150, 200, 300):
        found[f"tone {f0_hz}"] = np.sin(2 * np.pi * f0_hz * time)
        found[f"organ {f0_hz}"] = sum(np.sin(2 * np.pi * f0_hz * k * time) / k for k in (1, 2, 4, 8))
        found[f"flute {f0_hz}"] = np.sin(2 * np.pi * f0_hz * time + 2 * np.sin(2 * np.pi * 5.5 * time))
    return found


@pytest.mark.parametrize("name", list(tones()))
def test_what_is_more_regular_than_a_voice_gets_no_class(name: str) -> None:
    """With the ranges of telephone vowels, which all of them fit but for how regular they are."""
    loud = torch.from_numpy(tones()[name] / np.abs(tones()[name]).max() / 2).float()
    found = asked("figshare-cnn", Recording(loud, RATE, name, "x/tone"))
    assert found.state == "outside"
    if "unlike" not in found.reason:
        assert re.fullmatch(
            r"It is more regular than any person's voice \(jitter \d\.\d\d %, shimmer \d\.\d %\): a tone, an instrument"
            r" or a program\.",
            found.reason,
        )


def test_a_model_of_regular_voices_knows_them() -> None:
    voices = [replace(tone(f0_hz, 1.0), id=f"v{f0_hz}") for f0_hz in (120.0, 150.0, 180.0)]
    learned = scope.learn(voices, [0, 1, 0], 4_000.0)
    assert learned.regular
    assert compare(learned, voices[0]).state == "inside"
    assert compare(learned.model_copy(update={"regular": False}), voices[0]).state == "outside"
    assert not load_bundle("figshare-cnn").config.scope.regular  # type: ignore[union-attr]


def test_two_speakers_and_minutes_of_speech_get_no_class(vowels: list[Recording]) -> None:
    def after(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.cat([a, b])

    def at_once(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        n = min(len(a), len(b))
        return a[:n] + b[:n]

    pairs = [(vowels[k], vowels[(k + 17) % 81]) for k in range(0, 81, 4)]
    for together, share in ((after, 0.9), (at_once, 0.6)):
        said = [asked("figshare-cnn", replace(a, waveform=together(a.waveform, b.waveform))) for a, b in pairs]
        assert sum(each.state == "outside" for each in said) >= share * len(pairs), together.__name__
    first = vowels[0].waveform
    three_minutes = replace(vowels[0], waveform=first.repeat(180 * RATE // len(first) + 1)[: 180 * RATE])
    assert asked("figshare-cnn", three_minutes).reason == (
        "It is unlike what the model learned from: it lasts 180.0 s (0.8 to 13.9 s)."
    )


@pytest.mark.parametrize("told", [True, False])
def test_voices_of_the_demonstration_keep_their_class(told: bool) -> None:
    for voice in demo_corpus():
        heard = voice if told else replace(voice, task="unknown", metadata={})
        assert asked("synthetic-cnn", heard) == Verdict("inside")


def test_real_voices_are_outside_of_the_demonstration(vowels: list[Recording]) -> None:
    """A telephone has nothing above 4 kHz, and the rendered voices have."""
    assert all(asked("synthetic-cnn", vowel).state == "outside" for vowel in vowels[:8])


@pytest.mark.parametrize("name", ["figshare-cnn", "synthetic-cnn"])
def test_the_cards_of_the_embedded_models_say_their_scope(name: str) -> None:
    bundle = load_bundle(name)
    made_for = bundle.config.scope
    assert made_for is not None
    for what, between in scope.range_rows(made_for):
        assert f"| {what} | {between} |" in bundle.card
    assert f"of these recordings {100 * made_for.share_inside:.1f} % lie inside" in bundle.card
    assert made_for.device in bundle.card
