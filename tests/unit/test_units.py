"""Tiers of aligners by their names, bad TextGrids, TextGrids of recordings, units that the sound alone tells."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from speechxai.data.synthetic import draw_speaker, render, twins
from speechxai.data.textgrid import TextGridError, write_tiers
from speechxai.data.voice_model import Event, UtteranceSettings
from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.explain.controls import energy_map
from speechxai.signal.stft import spectrogram
from speechxai.types import Recording, StftConfig
from speechxai.units.relevance import Relevance, first, relevance, spans_of
from speechxai.units.tiers import Unit, Units, match, own_units, read_units, tier_kind, units_of

PHONES = [(0.3, 0.4, "T"), (0.4, 0.6, "AA1"), (0.6, 0.7, "sil"), (1.2, 1.5, "spn")]
WORDS = [(0.3, 0.6, "tah"), (1.2, 1.5, "<unk>")]


def written(path: Path, duration_s: float = 2.0, **tiers: list[tuple[float, float, str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(write_tiers([(name.replace("_", " "), found) for name, found in tiers.items()], duration_s))
    return path


@pytest.mark.parametrize(
    ("phones", "words"),
    [
        ("phones", "words"),  # Montreal Forced Aligner
        ("Anna - phones", "Anna - words"),
        ("MAU", "ORT-MAU"),  # WebMAUS
        ("MAU", "ORT"),
        ("Phoneme", "Wort"),
        ("PHN", "WRD"),
        ("phones@A", "Words@A"),  # ELAN
        ("segments", "tokens"),
        ("phones_2", "word-tier"),
    ],
)
def test_names_of_tiers(phones: str, words: str) -> None:
    assert (tier_kind(phones), tier_kind(words)) == ("phones", "words")


@pytest.mark.parametrize("name", ["KAN-MAU", "TRN", "notes", "", "evidence", "syllables", "telephone", "swords", "MAS"])
def test_other_tiers_are_neither(name: str) -> None:
    assert tier_kind(name) is None


def test_units_cover_the_recording(tmp_path: Path) -> None:
    path = written(tmp_path / "a.TextGrid", phones=PHONES, words=WORDS, notes=[(0, 2, "said twice")])
    found = read_units(path, 2.0)
    assert [(u.label, u.kind, u.start_s, u.end_s) for u in found.phones] == [
        ("", "pause", 0, 0.3),
        ("T", "stop", 0.3, 0.4),
        ("AA1", "low vowel", 0.4, 0.6),
        ("sil", "pause", 0.6, 1.2),
        ("spn", "unknown", 1.2, 1.5),
        ("", "pause", 1.5, 2.0),
    ]
    assert [(u.label, u.kind) for u in found.words] == [
        ("", "pause"),
        ("tah", "word"),
        ("", "pause"),
        ("<unk>", "word"),
        ("", "pause"),
    ]
    assert found.note == f"{path}: Symbols that are not known and have no class: 'spn'."


def test_words_alone_and_a_word_that_is_called_pause(tmp_path: Path) -> None:
    said = [(0.0, 0.3, "sil"), (0.3, 0.9, "pause"), (0.9, 1.0, "<p:>"), (1.0, 2.0, "said")]
    found = read_units(written(tmp_path / "a.TextGrid", words=said), 2.0)
    assert found.phones == ()
    assert [(u.label, u.kind) for u in found.words] == [
        *(("sil", "pause"), ("pause", "word"), ("<p:>", "pause"), ("said", "word"))
    ]
    values = np.ones((2, 201))
    rows = relevance(found, values, values, 100.0)
    assert [(r.level, r.name, r.kind) for r in rows if r.level == "word"] == [
        *(("word", "(pause)", "pause"), ("word", "pause", "word"), ("word", "said", "word"))
    ]


@pytest.mark.parametrize("duration_s", [1.93, 2.0, 2.07])
def test_units_end_with_the_recording(tmp_path: Path, duration_s: float) -> None:
    found = read_units(written(tmp_path / "a.TextGrid", phones=[(0.5, 1.98, "AA1")]), duration_s)
    assert found.phones[0].start_s == 0
    assert found.phones[-1].end_s == duration_s
    assert all(a.end_s == b.start_s for a, b in pairwise(found.phones))


@pytest.mark.parametrize(
    ("tiers", "message"),
    [
        ({"phones": []}, "the tier 'phones' is empty. Align the recording again, or write its labels."),
        ({"phones": [], "words": []}, "the tier 'phones' is empty. Align the recording again, or write its labels."),
        (
            {"notes": WORDS, "speech": WORDS},
            "no tier is named as one of phones or words; its tiers: 'notes', 'speech'. Rename them 'phones' and"
            " 'words'.",
        ),
        ({}, "no tier is named as one of phones or words; its tiers: none. Rename them 'phones' and 'words'."),
        (
            {"A_-_phones": PHONES, "B_-_phones": PHONES},
            "two tiers hold phones, 'A - phones' and 'B - phones'. Leave the one of the speaker who is explained.",
        ),
    ],
)
def test_tiers_that_cannot_be_used(
    tmp_path: Path, tiers: dict[str, list[tuple[float, float, str]]], message: str
) -> None:
    path = written(tmp_path / "a.TextGrid", **tiers)
    with pytest.raises(TextGridError) as caught:
        read_units(path, 2.0)
    assert str(caught.value) == f"{path}: {message}"


def test_an_empty_tier_beside_a_full_one_is_left_out_and_said(tmp_path: Path) -> None:
    path = written(tmp_path / "a.TextGrid", phones=[], words=WORDS)
    found = read_units(path, 2.0)
    assert (found.phones, len(found.words)) == ((), 5)
    assert found.note == f"{path}: Left out, for nothing stands in it: the tier 'phones'."


ELAN = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 2.0
tiers? <exists>
size = 3
item []:
    item [1]:
        class = "IntervalTier"
        name = "phones@A"
        xmin = 0
        xmax = 2.0
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 0.5
            text = ""
        intervals [2]:
            xmin = 0.5
            xmax = 0.8
            text = "aɪ"
        intervals [3]:
            xmin = 0.8
            xmax = 2.0
            text = ""
    item [2]:
        class = "IntervalTier"
        name = "default"
        xmin = 0
        xmax = 2.0
        intervals: size = 0
    item [3]:
        class = "TextTier"
        name = "words@A"
        xmin = 0
        xmax = 2.0
        points: size = 1
        points [1]:
            number = 0.4
            mark = "x"
"""
"""What ELAN exports, but for the blank at the end of each line: an empty tier, a tier of points."""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_what_elan_exports(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.TextGrid"
    path.write_bytes(ELAN.replace("\n", " \n").encode(encoding))
    found = read_units(path, 2.0)
    assert [(u.label, u.kind) for u in found.phones] == [("", "pause"), ("aɪ", "low vowel"), ("", "pause")]
    assert (found.words, found.note) == ((), "")
    path.write_text('<?xml version="1.0" encoding="UTF-8"?>\n<ANNOTATION_DOCUMENT AUTHOR="" FORMAT="3.0"/>')
    with pytest.raises(TextGridError, match=r"a\.TextGrid: The file is a document of ELAN\. Export it there"):
        read_units(path, 2.0)


def test_spans_of_classes(tmp_path: Path) -> None:
    found = read_units(written(tmp_path / "a.TextGrid", phones=PHONES), 2.0)
    assert spans_of(found, ["vowel"]) == spans_of(found, ["low vowel"]) == ((0.4, 0.6),)
    assert spans_of(found, ["stop", "vowel"]) == ((0.3, 0.4), (0.4, 0.6))
    with pytest.raises(NotApplicable, match="no nasal in this recording; there are: stop, unknown, pause, low vowel"):
        spans_of(found, ["nasal"])
    with pytest.raises(SpeechXAIError, match=r"Did you mean 'stop'"):
        spans_of(found, ["stops"])


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("xmin = 0.4\n            xmax = 0.6", "xmin = 0.35\n            xmax = 0.6", "intervals may not overlap"),
        ("xmax = 0.6", "xmax = nan", r"damaged \(a time is nan\)"),
        ("xmax = 0.6", "xmax = inf", r"damaged \(a time is inf\)"),
        ("xmax = 2.0\ntiers", "xmax = 9.0\ntiers", "belongs to another one"),
        ("ooTextFile", "WAVE", "Save it from Praat"),
    ],
)
def test_damaged_textgrids_are_named(tmp_path: Path, old: str, new: str, why: str) -> None:
    path = written(tmp_path / "a.TextGrid", phones=PHONES)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(TextGridError, match=why) as caught:
        read_units(path, 2.0)
    assert str(caught.value).startswith(f"{path}: ")


def test_ten_thousand_intervals(tmp_path: Path) -> None:
    edges = np.linspace(0, 600, 10_001).tolist()
    many = [(a, b, "AA1" if i % 2 else "T") for i, (a, b) in enumerate(pairwise(edges))]
    units = read_units(written(tmp_path / "a.TextGrid", 600.0, phones=many), 600.0)
    assert len(units.phones) == 10_000
    values = np.ones((2, 60_001))
    stops = next(r for r in relevance(units, values, values, 100.0) if r.level == "class")
    assert (stops.n, stops.share, stops.over_floors) == (5_000, pytest.approx(0.5), pytest.approx(1.0))


def test_textgrids_are_found_by_name(tmp_path: Path) -> None:
    for name in (
        "HC/a.TextGrid",
        "PD/a.TextGrid",
        "deep/down/B.textgrid",
        "c.TextGrid.txt",
        "c.praat",
        "x.v1.TextGrid",
    ):
        written(tmp_path / name, phones=PHONES)
    (tmp_path / "d.txt").write_text("a transcript")
    found = match(tmp_path, ["HC/a.wav", "PD/a.wav", "any/b.flac", "c.wav", "d.wav", "e.wav", "x.v1"])
    assert {key: path.relative_to(tmp_path).as_posix() for key, path in found.found.items()} == {
        "HC/a.wav": "HC/a.TextGrid",
        "PD/a.wav": "PD/a.TextGrid",
        "any/b.flac": "deep/down/B.textgrid",
        "c.wav": "c.TextGrid.txt",
        "x.v1": "x.v1.TextGrid",
    }
    assert found.missing == ("d.wav", "e.wav")
    assert found.words() == "TextGrids: 5 of 7 recordings have one; without: d.wav, e.wav."
    assert match(tmp_path / "c.praat", ["z.wav"]).found == {"z.wav": tmp_path / "c.praat"}
    with pytest.raises(SpeechXAIError, match=r"both have the name of a\.wav\. Leave one of them"):
        match(tmp_path, ["a.wav"])
    with pytest.raises(SpeechXAIError, match=r"both one/b\.wav and two/b\.wav have this name"):
        match(tmp_path, ["one/b.wav", "two/b.wav"])
    with pytest.raises(SpeechXAIError, match="cannot belong to 2 recordings"):
        match(tmp_path / "c.praat", ["a.wav", "b.wav"])
    with pytest.raises(SpeechXAIError, match="no such file or folder"):
        match(tmp_path / "nowhere", ["a.wav"])


def voice(task: str, seed: int = 3) -> tuple[Recording, Units]:
    """A synthetic take, and its phones as they were made: a stop is its closure and its burst."""
    speaker = draw_speaker("synthetic/s1", "F", 60, np.random.default_rng(seed))
    made = render(speaker, UtteranceSettings(task, 3.0), seed)
    recording = Recording(made.waveform, made.sample_rate, "take", "s1", 0, task)
    return recording, known(made.events, recording.duration_s)


def known(events: Sequence[Event], duration_s: float) -> Units:
    """Phones of a synthetic take as they were made, pauses between them."""
    classes = {"vowel": "low vowel", "closure": "stop", "burst": "stop", "fricative": "fricative", "nasal": "nasal"}
    at, phones = 0.0, []
    for event in sorted((e for e in events if e.kind != "cue"), key=lambda e: e.start_s):
        start = max(at, event.start_s)
        if start > at:
            phones.append(Unit(at, start, "", "pause"))
        phones.append(Unit(start, event.end_s, event.name, classes[event.kind]))
        at = event.end_s
    phones.append(Unit(at, duration_s, "", "pause"))
    return Units(tuple(phones), (), "known", duration_s)


def of_classes(units: Units, recording: Recording) -> dict[str, Relevance]:
    """Evidence of the map of energy."""
    spec = spectrogram(recording.waveform[None], StftConfig())
    values = energy_map(torch.nn.Identity(), spec, torch.zeros(1, dtype=torch.long))[0].numpy()
    found = relevance(units, values, values, spec.stft.frame_rate_hz)
    return {r.name: r for r in found if r.level == "class"}


def test_energy_of_syllables_lies_in_vowels() -> None:
    recording, made = voice("ddk")
    truth, own = of_classes(made, recording), of_classes(own_units(recording), recording)
    assert truth["vowel"].share > 0.6
    assert truth["vowel"].over_time > 1.1 > 1 > truth["stop"].over_time > truth["pause"].over_time
    # A map of the energy says nothing that energy does not.
    assert [r.over_energy for r in truth.values()] == pytest.approx([1.0] * 3)
    assert own["vowel"].share == pytest.approx(truth["vowel"].share, abs=0.1)
    assert own["stop"].share_of_time == pytest.approx(truth["stop"].share_of_time, abs=0.12)


@pytest.mark.parametrize(("cue", "where"), [("burst_weakening", "stop"), ("formant_centralization", "vowel")])
@pytest.mark.parametrize("seed", range(3))
def test_a_map_that_is_the_truth_points_to_the_phones_that_were_changed(cue: str, where: str, seed: int) -> None:
    speaker = draw_speaker("synthetic/s1", "FM"[seed % 2], 60, np.random.default_rng(seed))
    pair = twins(speaker, UtteranceSettings("phrase", 3.0, {cue: 0.8}), seed)
    spec = spectrogram(pair.with_cue[None], StftConfig())
    units = known(pair.events, pair.with_cue.shape[0] / pair.sample_rate)
    difference = pair.truth(spec.stft).difference.numpy()
    rows = relevance(units, difference, spec.magnitude[0].numpy(), spec.stft.frame_rate_hz)
    assert first(rows) == where
    by_class = {r.name: r.over_floors for r in rows if r.level == "class"}
    assert by_class[where] > 1
    assert where == "stop" or by_class["stop"] < 1


def test_own_closures_and_bursts_are_where_they_were_made() -> None:
    n_made, misses = 0, []
    for seed in (3, 4, 5):
        recording, phones = voice("ddk", seed)
        made = [u.end_s for u in phones.phones if u.label in "ptk" and u.kind == "stop" and u.end_s - u.start_s > 0.04]
        units = own_units(recording).phones
        n_made += len(made)
        misses += [min(abs(u.start_s - end) for end in made) for u in units if u.label == "burst"]
        assert units[0].start_s == 0
        assert units[-1].end_s == recording.duration_s
        assert all(a.end_s == b.start_s for a, b in pairwise(units))
    # docs/units.md says 47 of 50, within 2.3 ms.
    assert n_made == 50
    assert len(misses) >= 45
    assert max(misses) < 0.004


def test_own_units_of_a_vowel_and_of_anything_else() -> None:
    recording, _ = voice("vowel-a")
    kinds = {u.kind for u in own_units(recording).phones}
    assert {"vowel", "pause"} <= kinds <= {"vowel", "pause", "unvoiced"}
    assert sum(u.end_s - u.start_s for u in own_units(recording).phones if u.kind == "vowel") > 2.3
    unknown = {u.kind for u in own_units(recording, "unknown").phones}
    assert "vowel" not in unknown
    assert "voiced" in unknown
    silent = Recording(torch.zeros(16_000), 16_000, "silent", "s", None, "ddk")
    assert [(u.kind, u.start_s, u.end_s) for u in own_units(silent).phones] == [("pause", 0, 1)]


def test_what_the_flag_says(tmp_path: Path) -> None:
    recording, _ = voice("ddk")
    assert units_of("own", recording).source == "own:ddk"
    assert units_of("own:vowel", recording).source == "own:vowel"
    with pytest.raises(SpeechXAIError, match="no TextGrid named as take"):
        units_of(tmp_path, recording)
    path = written(tmp_path / "take.TextGrid", recording.duration_s, phones=PHONES)
    assert units_of(tmp_path, recording) == units_of(path, recording) == read_units(path, recording.duration_s)
