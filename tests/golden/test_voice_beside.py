"""Voice measures beside a map: what is defined, what is marked, and what a published value holds for."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from speechxai.inspection import report, voice
from speechxai.signal.acoustics import MEASURES, Reference
from speechxai.types import Recording


def tone(task: str = "vowel-a", seconds: float = 2.0) -> Recording:
    """A buzz of 150 Hz for the first half, of 200 Hz for the second."""
    t = torch.arange(int(16_000 * seconds)) / 16_000
    f0 = torch.where(t < seconds / 2, 150.0, 200.0)
    wave = sum(torch.sin(2 * math.pi * k * torch.cumsum(f0, 0) / 16_000) / k for k in range(1, 12))
    return Recording(0.3 * wave.float(), 16_000, "tone", "made/tone", task=task, metadata={"sex": "F"})


def by_name(found: tuple[voice.Measured, ...]) -> dict[str, voice.Measured]:
    return {one.measure.name: one for one in found}


def test_a_stretch_is_measured_for_itself() -> None:
    found = by_name(voice.voice_measures(tone(), (1.1, 1.9)))
    assert found["f0_mean_hz"].part == pytest.approx(200.0, abs=1.0)
    assert 150 < found["f0_mean_hz"].value < 200
    assert math.isnan(by_name(voice.voice_measures(tone()))["f0_mean_hz"].part)
    assert math.isnan(by_name(voice.voice_measures(tone(), (1.0, 1.05)))["f0_mean_hz"].part)  # too short


@pytest.mark.parametrize("task", ["vowel-a", "ddk", "reading"])
def test_what_the_task_does_not_define_is_blank(task: str) -> None:
    found = voice.voice_measures(tone(task))
    assert [one.measure for one in found] == list(MEASURES)
    for one, row in zip(voice.shown(found), voice.rows(found), strict=True):
        assert one.defined == one.measure.defined_on(task)
        if not one.defined:
            assert row[1:] == ("", "", "", "")
            assert math.isnan(one.value)


def test_references_are_of_this_vowel_and_sex() -> None:
    found = by_name(voice.voice_measures(tone()))
    assert [one.task for one in found["hnr_db"].references] == ["vowel-a"]
    assert {one.sex for one in found["cpps_db"].references} <= {"any", "F"}


def test_words_of_values_and_references() -> None:
    assert [voice.value_words(v) for v in (math.nan, 177.4, 9.864, 0.2316, 0.0, -0.0512)] == [
        "",
        "177",
        "9.86",
        "0.232",
        "0",
        "-0.051",
    ]
    assert voice.value_words(4.2, "%") == "4.20 %"
    one = Reference("x", 1.04, "%", "cutoff_above", "any", "any", "vowel", "MDVP", "Source", "Caveat.")
    assert voice.reference_words(one) == "cut-off, above 1.04 % (vowel, MDVP): Source. Caveat."
    keyed = replace(one, source="Murton, Hillman, Mehta 2020 (murton2020cepstral)")
    assert voice.reference_words(keyed) == "cut-off, above 1.04 % (vowel, MDVP): Murton, Hillman, Mehta 2020. Caveat."
    none = Reference("x", math.nan, "%", "direction", "de", "any", "any", "", "Source", "Lower in PD.")
    assert voice.reference_words(none) == "no number is agreed (de): Source. Lower in PD."


def test_the_file_holds_every_measure() -> None:
    beside = report.Beside(measures=voice.voice_measures(tone(), (1.1, 1.9)), region_s=(1.1, 1.9))
    header, *lines = report.measures_csv(beside).decode().splitlines()
    assert header == "measure,name,unit,defined_on_task,recording,marked,start_s,end_s,references,caveat"
    assert len(lines) == len(MEASURES)
    (pitch,) = [line.split(",") for line in lines if ",f0_mean_hz," in line]
    assert pitch[3] == "True"
    assert float(pitch[5]) == pytest.approx(200, abs=1)
    assert pitch[6:8] == ["1.1", "1.9"]
    assert any(",syllable_rate_hz,1/s,False,,,1.1,1.9," in line for line in lines)
