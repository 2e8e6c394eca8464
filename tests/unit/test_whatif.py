"""What-ifs: a network that listens to one thing answers to its dial, floors and counts are kept, sentences are true."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from speechxai.classifiers import Classifier
from speechxai.data.synthetic import draw_speaker, render
from speechxai.data.voice_model import UtteranceSettings
from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.signs.cohort import alarms, cohort, frame, profile, said_of
from speechxai.signs.conditions import CONDITIONS
from speechxai.signs.dials import SIGNS, defined_on
from speechxai.signs.people import PEOPLE, of_people
from speechxai.signs.voice import taken_apart
from speechxai.signs.whatif import (
    Curve,
    Point,
    WhatIf,
    _Distance,
    _matched,
    kind_of,
    placebo,
    resolve,
    spectral_distance_db,
    what_if,
    window_of,
)
from speechxai.signs.words import dose_words, panel, sentences
from speechxai.types import Recording, StftConfig

STFT = StftConfig(scale="linear")


@cache
def recording(task: str = "vowel-a", named: bool = True) -> Recording:
    speaker = draw_speaker("synthetic/t2", "F", 60, np.random.default_rng(9))
    waveform = render(speaker, UtteranceSettings(task, 1.6), 3).waveform
    return Recording(waveform, 16_000, "one", "synthetic/t2", None, task if named else "unknown", {"sex": "F"})


class Bright(torch.nn.Module):
    """Log odds: how much louder 2 to 4 kHz is than 300 to 800 Hz, in nepers."""

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        power = magnitude.square().mean(dim=-1)
        high, low = power[:, 128:256].mean(dim=1), power[:, 19:51].mean(dim=1)
        return (high / low).log()[:, None] + 8.0


class Long(torch.nn.Module):
    """Log odds: the length, and nothing else."""

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        return torch.full((len(magnitude), 1), magnitude.shape[-1] / 100)


class Loud(torch.nn.Module):
    """Log odds: the level."""

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        return magnitude.square().mean(dim=(1, 2)).log()[:, None]


def classifier(backbone: torch.nn.Module) -> Classifier:
    return Classifier(backbone, STFT).eval()


@cache
def bright() -> WhatIf:
    return what_if(classifier(Bright()), recording())


def test_a_network_of_brightness_answers_to_the_tilt_and_says_which_way() -> None:
    found = bright()
    first = found.signs[0]
    assert first.name == "spectral_tilt"
    assert first.beats_placebo
    # A voice that falls more steeply is darker, at every dose.
    margins = [point.margin for point in first.points]
    assert margins == sorted(margins, reverse=True)
    assert [point.steps for point in first.points] == [-2, -1, 0, 1, 2]
    assert found.kind == "vowel"
    assert "defined on reading" in found.not_applicable["pauses"]


def test_passes_are_counted_and_bounded() -> None:
    found = bright()
    n_points = sum(point.answered for curve in found.curves for point in curve.points)
    # Doses that come out as the same samples are asked once, and the recording itself is one more.
    assert n_points - len(found.curves) <= found.n_passes[0] <= n_points + 1 <= 110
    assert 0 < found.n_passes[1] <= 60
    assert what_if(classifier(Bright()), recording(), ["level"], floors=False).n_passes[1] == 0


def test_all_dials_stay_within_the_bounds_of_passes() -> None:
    """Twenty dials of five doses, and the recording; two placebos for each and a round trip for those that go back."""
    assert 1 + 5 * len(SIGNS) + sum(1 + len(CONDITIONS.facts(name)["doses"]) for name in CONDITIONS) <= 110
    assert 2 * (len(SIGNS) + len(CONDITIONS)) + len(SIGNS) + 1 <= 60


def test_the_margin_at_dose_0_is_the_recordings() -> None:
    found = bright()
    for curve in found.curves:
        middle = next(point for point in curve.points if point.dose == 0)
        assert middle.margin == pytest.approx(found.margin, abs=1e-3)
        assert middle.distance_db < 0.1


def test_level_is_undone_by_peak_normalization_and_heard_without() -> None:
    model = classifier(Loud())
    undone = what_if(model, recording(), ["level"], floors=False)
    assert undone.curves[0].undone
    assert "The model's own input undoes the level." in sentences(undone)
    heard = what_if(model, recording(), ["level"], floors=False, normalize="none")
    # 6 dB are 4 times the power: log 3.98 = 1.38.
    assert heard.curves[0].strength == pytest.approx(1.38, abs=0.01)
    assert "undoes" not in " ".join(sentences(heard))


def test_dials_within_some_units_change_nothing_elsewhere() -> None:
    spans = ((0.4, 0.6), (1.0, 1.1))
    names = ["spectral_tilt", "pitch_level", "leading_silence", "level"]
    whole = what_if(classifier(Bright()), recording(), names)
    found = what_if(classifier(Bright()), recording(), names, within=spans)
    assert {curve.name for curve in found.curves} == {"spectral_tilt", "pitch_level", "level"}
    assert "changes how long the recording is" in found.not_applicable["leading_silence"]
    before = recording().waveform.double().numpy()
    window = window_of(spans, len(before), 16_000)
    assert set(np.flatnonzero(window)) <= {*range(6_400, 9_600), *range(16_000, 17_600)}
    assert window[6_480:9_520].min() == 1.0
    for (name, _), sound in found.sounds.items():
        changed = np.flatnonzero(sound != before)
        assert changed.size, name
        assert set(changed) <= set(np.flatnonzero(window)), name
    tilt = {curve.name: curve for curve in found.curves}["spectral_tilt"]
    of_all = {curve.name: curve for curve in whole.curves}["spectral_tilt"]
    assert 0 < tilt.strength < of_all.strength
    assert tilt.floor == tilt.floor
    # The whole as a unit is the whole.
    everywhere = what_if(classifier(Bright()), recording(), ["spectral_tilt"], within=[(-0.1, 9.0)], floors=False)
    assert everywhere.curves[0].strength == pytest.approx(of_all.strength, rel=0.05)


def test_units_of_a_telephone_voice_change_nothing_above_its_band() -> None:
    full = recording()
    spectrum = torch.fft.rfft(full.waveform.double())
    spectrum[torch.fft.rfftfreq(len(full.waveform), 1 / 16_000) > 3600] = 0
    noise = 1e-4 * torch.randn(len(full.waveform), generator=torch.Generator().manual_seed(0)) * full.waveform.std()
    narrow = replace(full, waveform=torch.fft.irfft(spectrum, len(full.waveform)).float() + noise)
    found = what_if(classifier(Bright()), narrow, ["pitch_level"], within=[(0.4, 0.7), (0.9, 1.1)], floors=False)
    before = np.fft.rfft(narrow.waveform.double().numpy())
    above = np.fft.rfftfreq(len(narrow.waveform), 1 / 16_000) > 4200
    assert found.sounds
    for sound in found.sounds.values():
        after = np.fft.rfft(np.asarray(sound, dtype=np.float64))
        assert np.abs(after - before)[above].max() < 1e-2 * np.abs(before)[above].mean()
        assert np.abs(after - before)[~above].max() > np.abs(before)[~above].mean()


def test_alarm_where_the_recording_matters_more_than_the_voice() -> None:
    found = what_if(classifier(Long()), recording(), floors=False)
    assert found.alarm is not None
    assert found.alarm.name == "leading_silence"
    assert sentences(found)[0].startswith(
        "The model answers more to the leading silence than to anything in the voice. One recording is no proof"
    )
    quiet = replace(found, curves=tuple(c for c in found.curves if c.name != "leading_silence"))
    assert quiet.alarm is None
    assert "anything in the voice" not in " ".join(sentences(quiet))


def test_a_task_that_is_not_said_is_heard() -> None:
    assert kind_of(recording("vowel-a", named=False)) == "vowel"
    assert kind_of(recording("phrase", named=False)) == "reading"
    assert kind_of(replace(recording("vowel-a"), task="ddk-pataka")) == "ddk"


@pytest.mark.parametrize("operator", ["filter", "gain", "noise", "cycles", "time"])
def test_a_placebo_is_as_far_from_the_recording_as_it_is_asked_to(operator: str) -> None:
    voice = taken_apart(recording("phrase").waveform, 16_000)
    made = _matched(placebo(operator, voice, 0), _Distance(voice.waveform, 16_000), 3.0)
    assert spectral_distance_db(voice.waveform, made, 16_000) == pytest.approx(3.0, rel=0.1)
    other = _matched(placebo(operator, voice, 1), _Distance(voice.waveform, 16_000), 3.0)
    assert made.shape != other.shape or np.abs(made - other).max() > 1e-3


def test_a_placebo_that_is_looked_for_again_begins_where_the_last_one_ended() -> None:
    voice = taken_apart(recording().waveform, 16_000)
    tried: list[float] = []
    edit = placebo("filter", voice, 0)

    def counted(strength: float) -> Any:
        tried.append(strength)
        return edit(strength)

    distance = _Distance(voice.waveform, 16_000)
    known: dict[float, float] = {}
    for wanted, most in ((3.0, 12), (3.0, 1), (2.0, 3), (4.0, 3)):
        tried.clear()
        made = _matched(counted, distance, wanted, known)
        assert distance(made) == pytest.approx(wanted, rel=0.05)
        assert len(tried) <= most
        assert set(tried) <= set(known)


def test_another_draw_begins_where_the_first_one_was() -> None:
    # Distances grow as the root of the strength: 3 dB at 9, and 20 % more in the other draw.
    tried: list[float] = []

    def edit(strength: float) -> np.ndarray[Any, Any]:
        tried.append(strength)
        return np.array([strength])

    known = {4.0: 2.0, 16.0: 4.0}
    made = _matched(edit, lambda x: 1.2 * math.sqrt(x[0]), 3.0, {}, known)  # type: ignore[arg-type]
    # First what the other draw asks for, then along its power: 9 gives 3.6, and 9 / 1.44 is right.
    assert tried == pytest.approx([9.0, 6.25])
    assert made[0] == tried[-1]
    assert known == {4.0: 2.0, 16.0: 4.0}


def test_distance_is_0_of_itself_and_6_dB_of_half() -> None:
    waveform = recording().waveform.double().numpy()
    assert spectral_distance_db(waveform, waveform, 16_000) == 0
    # Cells at the floor do not move.
    assert 5 < spectral_distance_db(waveform, waveform / 2, 16_000) <= 6.03


def test_people_are_known_for_every_sign_and_task_that_it_is_defined_on() -> None:
    for name in SIGNS:
        for kind in ("vowel", "ddk", "reading"):
            if defined_on(name, {"vowel": "vowel-a"}.get(kind, kind)):
                spread = of_people(name, kind, "F")
                assert spread.low < spread.mean < spread.high
                assert 0 < spread.sd < spread.high - spread.low
    assert (
        of_people("tremor", "vowel", "any")
        == of_people("tremor", "vowel", "not said")
        == PEOPLE["tremor", "vowel", "any"]
    )
    with pytest.raises(NotApplicable, match="not known"):
        of_people("tremor", "reading")


def test_wrong_words_are_refused() -> None:
    with pytest.raises(SpeechXAIError, match="Did you mean 'breathiness'"):
        resolve(["breathines"])
    assert resolve(["signs", "tremor"]) == tuple(SIGNS)
    with pytest.raises(SpeechXAIError, match="class 7"):
        what_if(classifier(Loud()), recording(), ["level"], target=7)
    with pytest.raises(SpeechXAIError, match="resample"):
        what_if(classifier(Loud()), replace(recording(), sample_rate=8_000), ["level"])


def curve(name: str, effect: float, **changes: Any) -> Curve:
    family = "sign" if name in SIGNS else "condition"
    return replace(Curve(name, family, (), effect, 3.0, (0.1, -0.2), 0.05, None), **changes)  # type: ignore[arg-type]


def found_with(*curves: Curve, names: tuple[str, ...] = ("HC", "PD")) -> WhatIf:
    nothing: Mapping[Any, Any] = {}
    return WhatIf(recording(), names, 1, 1, 1.3, 0.79, "vowel", curves, nothing, (1, 0), nothing)


TURNS = Point(-6.0, -2.0, -0.4, 0.41, True, 2.0)


def test_sentence_of_a_sign_that_turns_the_answer() -> None:
    turned = sentences(found_with(curve("breathiness", -1.2, turns=TURNS)), {"HC": "healthy", "PD": "PD"}.__getitem__)
    assert turned[0] == "Were this voice 6 dB less breathy, the answer would turn to healthy (0.79 to 0.41 for PD)."
    assert "turns the answer within" not in " ".join(turned)
    assert "Were this" not in " ".join(sentences(found_with(curve("breathiness", -1.2))))
    three = sentences(found_with(curve("breathiness", -1.2, turns=TURNS), names=("HC", "PD", "MSA")))
    assert "the answer would be another" in three[0]


def test_a_turn_that_chance_makes_as_well_is_said_to_be_one() -> None:
    """Signs that beat a random change are named first, however many steps they take."""
    chance = curve("spectral_tilt", -0.15, turns=replace(TURNS, steps=-0.5))
    said = sentences(found_with(chance, curve("breathiness", -1.2, turns=TURNS)))
    assert said[0].startswith("Were this voice 6 dB less breathy")
    assert "random changes" not in said[0]
    assert said[1].endswith("(0.79 to 0.41 for PD; random changes of that size move it as far).")
    without = curve("spectral_tilt", -0.15, placebos=(), round_trip=float("nan"), turns=TURNS)
    assert "random changes of that size" not in sentences(found_with(without))[0]


def test_sentence_of_no_sign_that_turns_the_answer() -> None:
    said = "The one sign that applies never turns the answer within the range of people."
    two = sentences(found_with(curve("breathiness", -1.2), curve("tremor", -1.0)))
    assert "No sign of the 2 that apply turns the answer within the range of people." in two
    assert said in sentences(found_with(curve("breathiness", -1.2)))
    assert said not in sentences(found_with(curve("breathiness", -1.2, turns=TURNS)))
    assert said not in sentences(found_with())


def test_sentence_of_the_strongest_sign_needs_to_beat_its_floor() -> None:
    strong, weak = curve("breathiness", -1.2), curve("breathiness", -0.15)
    said = " ".join(sentences(found_with(strong)))
    assert "The one sign that applies is breathiness: 3 dB more breathy moves its logit by -1.2" in said
    assert "at most 0.2" in said
    assert "No sign moves the answer more than a random change of the same size does." in sentences(found_with(weak))
    assert "No sign moves" not in said
    assert "place 2" in " ".join(sentences(found_with(curve("tremor", 3.0, round_trip=9.0), strong)))


def test_signs_that_are_not_proven_are_marked_where_they_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    found = found_with(curve("pitch_level", 2.0))
    assert "Not proven" in " ".join(sentences(found))
    monkeypatch.setattr("speechxai.signs.words.PROVEN", frozenset({"pitch_level"}))
    assert "Not proven" not in " ".join(sentences(found))


def test_doses_in_words() -> None:
    assert dose_words(curve("breathiness", 1.0), -3.7) == "3.7 dB less breathy"
    assert dose_words(curve("noise_floor", 1.0), 10.0) == "noise floor +10 dB"


def test_an_effect_below_its_floor_beats_nothing() -> None:
    assert curve("breathiness", -0.3).beats_placebo
    assert not curve("breathiness", -0.2).beats_placebo
    assert not curve("breathiness", 0.3, round_trip=-0.4).beats_placebo
    assert curve("breathiness", math.nan).strength == 0


@pytest.mark.parametrize("probability", [0.02, 0.42, 0.999])
def test_the_gray_floor_holds_what_the_table_says_does_not_beat_it(probability: float) -> None:
    """A change of the logit by 2.6 is no change of the probability by 2.6 p (1 - p): the band would leave 0 to 1, and
    hide curves that the table and the sentences call stronger than chance."""
    logit = math.log(probability / (1 - probability))
    points = [(0.0, logit), (1.0, logit + 2.5), (2.0, logit + 2.7), (-1.0, logit - 2.5), (-2.0, logit - 2.7)]
    curved = curve(
        "breathiness",
        2.7,
        placebos=(2.6,),
        points=tuple(Point(dose, dose, m, 1 / (1 + math.exp(-m)), True, 2.0) for dose, m in points),
    )
    _, _, _, values, (low, high), _ = panel(curved)
    assert [low < value < high for value in values] == [True, True, False, True, False]
    assert 0 < low < high < 1
    none = panel(replace(curved, placebos=(), round_trip=math.nan))[4]
    assert math.isnan(none[0])
    assert math.isnan(none[1])
    assert panel(curved, "points")[4] == pytest.approx((probability - 2.6, probability + 2.6))


def test_the_command_turns_a_dial_in_the_named_units_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import soundfile

    from speechxai.cli import main
    from speechxai.data.textgrid import write_tiers
    from speechxai.files import sha256_of
    from speechxai.signal.audio import write

    voice = recording()
    file, grid, duration_s = tmp_path / "voice.wav", tmp_path / "voice.TextGrid", voice.duration_s
    write(file, voice.waveform, 16_000)
    grid.write_text(write_tiers([("phones", [(0, 0.6, "M"), (0.6, 1.0, "AA1"), (1.0, duration_s, "M")])], duration_s))
    words = ["whatif", str(file), "--model", "synthetic-cnn", "--signs", "spectral_tilt", "--no-floors", "--sex", "F"]
    words += ["--textgrids", str(grid), "--units"]
    main_status(main, [*words, "vowel", "--out", str(tmp_path / "vowels")], 0)
    assert "Changed in these units alone: vowel. Doses are those of the whole voice." in capsys.readouterr().out
    content = json.loads((tmp_path / "vowels" / "whatif.json").read_text("utf-8"))
    settings = content["made"]["settings"]
    assert (settings["units"], settings["textgrids"]) == (["vowel"], sha256_of(grid))
    before, after = (
        soundfile.read(tmp_path / "vowels" / name)[0]
        for name in ("original.wav", next(iter(content["sounds"].values())))
    )
    gain = np.abs(after[:8000]).max() / np.abs(before[:8000]).max()  # written at gains of their own
    changed = np.flatnonzero(np.abs(after - gain * before) > 1e-3) / 16_000
    assert 0.59 < changed.min() < 0.62
    assert 0.98 < changed.max() < 1.01
    main_status(main, [*words, "stop", "--out", str(tmp_path / "stops")], 2)
    assert f"{grid}: no stop in this recording; there are: nasal, low vowel." in capsys.readouterr().err
    assert not (tmp_path / "stops").exists()


def test_the_command_writes_what_it_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from speechxai.cli import main
    from speechxai.signal.audio import write

    file, out = tmp_path / "voice.wav", tmp_path / "out"
    write(file, recording().waveform, 16_000)
    words = ["whatif", str(file), "--model", "synthetic-cnn", "--signs", "breathiness", "--signs", "level"]
    words += ["--sex", "F", "--out", str(out)]
    main_status(main, words, 0)
    said = capsys.readouterr().out
    content = json.loads((out / "whatif.json").read_text("utf-8"))
    assert content["task"] == "vowel"
    assert {"model", "weights_sha256", "input_sha256", "settings"} <= set(content["made"])
    assert [row["dial"] for row in content["effects"]] == ["breathiness", "level"]
    for sentence in content["sentences"]:
        assert sentence in said
    for kind, begins in (("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")):
        assert (out / f"curves.{kind}").read_bytes().startswith(begins)
    drawn = (out / "curves.svg").read_text("utf-8")
    assert "<image" not in drawn
    assert drawn.count("<path") > 20
    assert (out / "whatif.csv").read_text("utf-8").startswith("dial,family,unit,dose")
    for name in ("original.wav", *content["sounds"].values()):
        import soundfile

        samples, rate = soundfile.read(out / name)
        assert (rate, np.abs(samples).max() < 1.0) == (16_000, True)
    main_status(main, words, 2)
    assert "there is a what-if already" in capsys.readouterr().err
    main_status(main, [*words[:4], "--signs", "tremmor", "--out", str(tmp_path / "x")], 2)
    assert "Did you mean 'tremor'" in capsys.readouterr().err
    main_status(main, [*words[:4], "--signs", "pauses", "--out", str(tmp_path / "y")], 1)


def test_evaluate_turns_dials_as_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import pandas as pd

    from speechxai.cli import main
    from speechxai.evaluation.runs import RunFolder

    out = tmp_path / "run"
    words = ["evaluate", "--data", "synthetic", "--model", "synthetic-cnn", "--limit", "2", "-r", "saliency", "-m"]
    words += ["deletion_auc", "--pictures", "0", "--no-agreement", "--out", str(out)]
    main_status(main, [*words, "--signs", "spectral_tild"], 2)
    assert "Did you mean 'spectral_tilt'" in capsys.readouterr().err
    main_status(main, [*words, "--signs", "spectral_tilt", "--signs", "level"], 0)
    assert "2 speakers are too few to say what the model listens to" in capsys.readouterr().out
    table, rows = pd.read_csv(out / "signs.csv"), pd.read_csv(out / "signs_recordings.csv")
    assert set(table["by"]) == {"all", "label", "sex", "task"} & set(table["by"])
    assert len(rows) == 4
    whole = table[(table["by"] == "all") & (table["dial"] == "spectral_tilt")].iloc[0]
    assert whole["effect"] == pytest.approx(rows[rows["dial"] == "spectral_tilt"]["slope"].mean())
    report = (out / "report.html").read_text("utf-8")
    assert "What would the model say if the voice were another?" in report
    assert "weak voice" in report
    latex = (out / "signs.tex").read_text("utf-8")
    assert latex.startswith("% needs")
    assert "weak voice" in latex
    # Continued without the dials it is another run.
    assert RunFolder.open(out).is_finished()
    main_status(main, ["evaluate", "--resume", str(out), "--signs", "level"], 2)
    assert "'signs' is" in capsys.readouterr().err


def test_a_dial_of_a_plugin_is_turned_by_the_deviation_that_it_states() -> None:
    @SIGNS.register(
        label="darkness",
        more="darker",
        less="brighter",
        unit="dB",
        measure="spectral_tilt_db_per_octave",
        moves=-1,
        tasks=("any",),
        operator="filter",
        entails=("band", "spectral"),
        sd=2.0,
        cites="own",
    )
    def darkness(waveform: Any, sample_rate: int, dose: float) -> Any:
        """Mix each sample with the one before."""
        return waveform + 0.05 * dose * (np.roll(waveform, 1) - waveform)

    try:
        found = what_if(classifier(Bright()), recording(), ["darkness"], floors=False).signs[0]
    finally:
        SIGNS._functions.pop("darkness")
        SIGNS._facts.pop("darkness")
    assert [point.dose for point in found.points] == [-4, -2, 0, 2, 4]
    assert found.effect != 0


def main_status(main: Any, words: list[str], status: int) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert (end.value.code or 0) == status


def rows(effects: Mapping[str, Any], placebo: float = 0.1) -> list[dict[str, Any]]:
    """What is kept of eight speakers, two recordings each; an effect is a number or the speakers' numbers."""
    found = []
    for speaker in range(8):
        for take in range(2):
            signs = {}
            for name, effect in effects.items():
                value = effect[speaker] if isinstance(effect, tuple) else effect + 0.01 * speaker + 0.02 * take
                signs[name] = {
                    "slope": value,
                    "strength": abs(value),
                    "placebo": placebo,
                    "round_trip": 0.0,
                    "per_db": abs(value) / 2,
                    "step": 1.0,
                }
            found.append({"recording": f"{speaker}-{take}", "speaker": f"s{speaker}", "sex": "FM"[speaker % 2]})
            found[-1]["signs"] = signs  # type: ignore[assignment]
    return found


def test_a_cohort_counts_speakers_and_not_recordings() -> None:
    table = cohort(frame(rows({"tremor": (1.0, 1.2, 0.8, 1.1, 0.9, 1.0, 1.3, 0.7), "breathiness": -0.1})), ["sex"])
    assert set(zip(table["by"], table["which"], strict=True)) == {("all", ""), ("sex", "F"), ("sex", "M")}
    own = table[(table["by"] == "all") & (table["dial"] == "tremor")].iloc[0]
    # Mean 1, standard deviation 0.2, 7 degrees of freedom: 1 -+ 2.365 * 0.2 / sqrt(8).
    assert (own["n_recordings"], own["n_speakers"]) == (16, 8)
    assert (own["effect"], own["low"], own["high"]) == pytest.approx((1.0, 0.8328, 1.1672), abs=1e-4)
    # t = 0.9 / 0.0707 = 12.7 of 7 degrees of freedom, and the larger of two by Holm.
    assert own["vs_placebo"] == pytest.approx(0.9)
    assert 0 < own["p"] < 1e-5
    assert own["first"] == 1
    other = table[(table["by"] == "all") & (table["dial"] == "breathiness")].iloc[0]
    assert other["p"] > 0.05
    assert other["first"] == 0


LOUD = (3.0, 3.2, 2.8, 3.1, 2.9, 3.0, 3.3, 2.7)
UNSURE = (9.0, -1.0, 8.0, -2.0, 7.0, 0.5, 6.0, 0.0)


@pytest.mark.parametrize(
    ("effects", "raised"),
    [
        ({"tremor": 0.5, "codec": LOUD}, ["codec"]),
        ({"tremor": 0.5, "codec": 2.0, "clipping": LOUD}, ["clipping", "codec"]),
        ({"tremor": 0.5, "codec": tuple(-x for x in LOUD)}, ["codec"]),
        ({"tremor": LOUD, "codec": 0.5}, []),  # the sign is stronger
        ({"tremor": 0.5, "codec": UNSURE}, []),  # stronger in the mean, and not shown
        ({"tremor": 0.5, "codec": (3.0, -3.0) * 4}, []),  # whichever way: any edit hurts
        ({"codec": LOUD}, ["codec"]),  # no sign applies
        # Larger by 0.5 with p 0.016, which five recording dials could show by chance: Holm says 0.08.
        (
            {
                "tremor": 2.0,
                "codec": (2.05, 3.05) * 4,
                **dict.fromkeys(("clipping", "level", "mains_hum", "band_limit"), 0.1),
            },
            [],
        ),
    ],
)
def test_alarm_is_decided_over_speakers(effects: Mapping[str, Any], raised: list[str]) -> None:
    assert [alarm.condition for alarm in alarms(frame(rows(effects)))] == raised


def test_few_speakers_raise_no_alarm_and_say_so() -> None:
    few = [row for row in rows({"tremor": 0.5, "codec": LOUD}) if row["speaker"] in ("s0", "s1", "s2")]
    assert alarms(frame(few)) == []
    assert said_of(cohort(frame(few)), []) == ["3 speakers are too few to say what the model listens to: it takes 5."]
    one = [row for row in few if row["speaker"] == "s0"]
    assert said_of(cohort(frame(one)), [])[0].startswith("1 speaker is too few")


def test_a_condition_that_moves_the_sign_itself_is_no_shortcut_where_the_sign_is_heard() -> None:
    effects = {"consonant_precision": -1.0, "reverberation": LOUD, "clipping": 0.1}
    (alike,) = alarms(frame(rows(effects)))
    assert alike.alike
    assert "or to consonant precision" in alike.words()
    # Where random changes move as much, the sign is no explanation.
    (alarm,) = alarms(frame(rows(effects, placebo=2.0)))
    assert not alarm.alike
    assert alarm.words().startswith(
        "The model answers more to the reverberation than to anything in the voice: its logit"
    )
    assert "8 speakers" in alarm.words()


def test_what_a_model_listens_to_in_words() -> None:
    table = frame(rows({"tremor": 1.0, "breathiness": 0.8, "roughness": 0.05}))
    (said,) = said_of(cohort(table), [])
    assert (
        said
        == "Over 8 speakers the model answers to tremor and breathiness more than to random changes of the same size."
    )
    quiet = said_of(cohort(frame(rows({"tremor": 0.05}))), [])
    assert quiet == ["Over 8 speakers no sign moves the answer more than a random change of the same size does."]


def test_profile_of_a_network_that_hears_brightness() -> None:
    people = [replace(recording(), speaker=f"s{k}", id=f"r{k}") for k in range(2)]
    found = profile(
        classifier(Bright()), people, ["spectral_tilt", "level"], (-1.0, 0.0, 1.0), by={"task": lambda r: r.task}
    )
    assert list(found.table["dial"]) == ["spectral_tilt", "level"] * 2
    tilt = found.summary[(found.summary["by"] == "all") & (found.summary["dial"] == "spectral_tilt")].iloc[0]
    assert tilt["effect"] < 0  # a spectrum that falls more steeply is less bright
    assert found.alarm is None
    assert "too few" in found.sentences()[-1]


def test_slope_leaves_out_what_any_edit_does() -> None:
    def point(steps: float, margin: float) -> Point:
        return Point(2 * steps, steps, margin, 0.5, True, 2.0 * abs(steps))

    both = curve("breathiness", 3.0, points=(point(-1, 1.0), point(0, 0.0), point(1, 3.0)))
    # Half of 3 - 1; for each dB 3 / 2.
    assert (both.slope, both.per_db) == (1.0, 1.5)
    one = curve("breathiness", 1.0, points=(point(-1, 1.0), point(0, 0.0)))
    assert one.slope == -1.0
    tiny = curve("level", 0.4, points=(point(0, 0.0), replace(point(1, 0.4), distance_db=0.01)))
    assert tiny.per_db == pytest.approx(0.8)


def test_what_a_bundle_listens_to_stands_in_its_card_and_among_what_speaks_against_it(tmp_path: Path) -> None:
    import shutil

    from speechxai.classifiers.bundle import LISTENS, Listens, load_bundle, state_listening
    from speechxai.files import resource_folder

    folder = tmp_path / "model"
    shutil.copytree(resource_folder("models") / "synthetic-cnn", folder)
    before = load_bundle(folder)
    alarm = "The model answers more to the codec than to anything in the voice."
    for text in ("First.", "Second."):
        state_listening(folder, Listens(said=(text, alarm), alarms=(alarm,), n_speakers=8), text)
    after = load_bundle(folder)
    assert after.card.count(LISTENS) == 1
    assert "Second." in after.card
    assert "First." not in after.card
    assert after.card.index(LISTENS) < after.card.index("## Limits")
    assert after.concerns() == [*[c for c in before.concerns() if "answers more to" not in c], alarm]
    assert after.config.answers_hash == before.config.answers_hash
    assert after.config.sha256 == before.config.sha256
