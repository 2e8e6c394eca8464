"""The aligner: words, phones it knows and does not know, its doubt, what it refuses, and what it writes."""

from __future__ import annotations

import csv
import importlib.util
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
import torch

from speechxai.cli import main
from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.types import Recording
from speechxai.units import align as aligner
from speechxai.units.align import UNFIT, align, arpabet, spoken_as, words_of
from speechxai.units.symbols import ARPABET
from speechxai.units.tiers import read_units

ROOT = Path(__file__).resolve().parents[2]
SENTENCE = "Bring the blue bucket back to the boat."


@pytest.fixture(scope="module")
def script() -> ModuleType:
    pytest.importorskip("pocketsphinx", reason="the extra 'align' is not installed")
    pytest.importorskip("espeakng_loader", reason="the extra 'align' is not installed")
    spec = importlib.util.spec_from_file_location("align_script", ROOT / "scripts" / "align.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def said(script: ModuleType) -> Recording:
    recording: Recording = script.spoken(SENTENCE, "en-us", 0)[0]
    return recording


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" -- ... ", []),
        ("Well-known!\nIt's 18 o'clock", ["well", "known", "it's", "18", "o'clock"]),
        ("the dogs’ ‘home’", ["the", "dogs", "home"]),
        ("café", ["café"]),
    ],
)
def test_words_of_a_transcript(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@pytest.mark.parametrize(
    ("ipa", "phones"),
    [
        ("ɡ_ˈɛ_n_ᵻ_v_ɚ", "G EH N IH V ER"),
        ("tʃ_aɪ_l_d", "CH AY L D"),
        ("b_ˈʌ_ʔ_n̩", "B AH T AH N"),
        ("ǃ_a", None),
        ("", None),
    ],
)
def test_ipa_becomes_phones_of_the_model(ipa: str, phones: str | None) -> None:
    assert arpabet(ipa) == phones


def test_every_phone_of_a_spelling_has_a_class() -> None:
    assert {phone for said in aligner._ARPABET.values() for phone in said.split()} <= set(ARPABET)


def test_boundaries_are_where_they_were_made(script: ModuleType) -> None:
    onsets: list[float] = []
    phones: list[float] = []
    for seed, sentence in enumerate(script.SENTENCES[1:3]):
        recording, words, phonemes = script.spoken(sentence, "en-us", seed)
        found = align(recording, sentence)
        assert [word for _, _, word in found.words] == words_of(sentence)
        assert (found.left_out, found.spelled) == ((), {})
        assert found.score > UNFIT
        assert all(a.end_s == b.start_s for a, b in pairwise(found.phones))
        assert (found.phones[0].start_s, found.phones[-1].end_s) == (0.0, recording.duration_s)
        some = script.errors_of(found, sentence, words, phonemes)
        onsets += some[0]
        phones += some[1]
    assert 1000 * np.median(np.abs(onsets)) <= 15
    assert 1000 * np.median(np.abs(phones)) <= 20


def test_syllables_of_our_synthesizer_are_found_where_they_were_made(script: ModuleType) -> None:
    recording, text, words, edges = script.syllables(1)
    assert len(words) == len(words_of(text)) >= 10
    found = align(recording, text)
    onsets, phones = script.errors_of(found, text, words, edges)
    assert len(onsets) == len(words)
    assert len(phones) == 2 * len(words)
    assert 1000 * np.median(np.abs(onsets)) <= 15
    assert 1000 * np.median(np.abs(phones)) <= 20


def test_words_that_the_dictionary_does_not_have(said: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    assert spoken_as("18") == "EY T IY N"
    text = SENTENCE.replace("bucket", "buckit")
    found = align(said, text)
    assert found.spelled == {"buckit": "B AH K IH T"}
    assert [word for _, _, word in found.words] == words_of(text)
    monkeypatch.setattr(aligner, "_espeak", lambda: None)
    found = align(said, text)
    assert (found.left_out, found.spelled) == (("buckit",), {})
    assert "buckit" not in {word for _, _, word in found.words}
    with pytest.raises(SpeechXAIError, match=r"no word of the transcript is in the dictionary: dzwk, xqz\. It must be"):
        align(said, "Dzwk xqz")


def test_what_is_not_said_is_refused_or_doubted(said: Recording) -> None:
    with pytest.raises(SpeechXAIError, match="the transcript has no words"):
        align(said, "...")
    other = "Dark clouds gathered above the quiet valley."
    assert align(said, other).score < UNFIT
    short = replace(said, waveform=said.waveform[:3_000])
    with pytest.raises(NotApplicable, match=r"were not found one after the other\. Does it say what is spoken"):
        align(short, 5 * other)


def test_other_rates_are_resampled_and_silence_has_no_words(said: Recording) -> None:
    from speechxai.signal.audio import resample

    high = torch.from_numpy(resample(said.waveform.numpy(), 16_000, 44_100))
    found = align(replace(said, waveform=high, sample_rate=44_100), SENTENCE)
    expected = align(said, SENTENCE)
    assert np.median([abs(a[0] - b[0]) for a, b in zip(found.words, expected.words, strict=True)]) < 0.011
    silent = replace(said, waveform=torch.zeros(16_000))
    with pytest.raises(NotApplicable, match="is silent"):
        align(silent, SENTENCE)


def status(words: list[object], expected: int) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert ended.value.code == expected


def test_the_command_writes_what_explain_reads(
    said: Recording, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    voices, texts, out = tmp_path / "voices", tmp_path / "texts", tmp_path / "aligned"
    for folder in (voices / "a", texts):
        folder.mkdir(parents=True)
    soundfile.write(voices / "a" / "one.wav", said.waveform.numpy(), 16_000)
    soundfile.write(voices / "two.wav", said.waveform.numpy(), 16_000)
    (texts / "one.lab").write_text(SENTENCE)
    command: list[object] = ["align", voices, "--transcripts", texts, "--out", out]
    status(command, 1)
    printed = capsys.readouterr()
    assert f"two.wav: no transcript of it, {texts / 'two.txt'}." in printed.err
    assert "8 words, " in printed.out
    assert "How well each phone sounds like itself" in printed.out
    units = read_units(out / "a" / "one.TextGrid", said.duration_s)
    assert [unit.label for unit in units.words if unit.kind == "word"] == words_of(SENTENCE)
    assert {unit.kind for unit in units.phones} >= {"stop", "nasal", "high vowel", "pause"}
    assert units.note == ""
    rows = list(csv.DictReader((out / "alignment.csv").read_text().splitlines()))
    assert [row["phone"] for row in rows if row["phone"]][:3] == ["B", "R", "IH"]
    status([*command, "--overwrite"], 1)
    capsys.readouterr()
    status(command, 2)
    assert "there is such a file already" in capsys.readouterr().err
    monkeypatch.setattr("speechxai.classifiers.whisper.transcript", lambda recording: SENTENCE)
    status(["align", voices, "--transcripts", "whisper", "--out", tmp_path / "heard"], 0)
    for given, why in (
        (texts / "one.lab", "one transcript cannot be of 2 recordings"),
        (tmp_path / "no", "no such file or folder. Give a text, a folder of them, or whisper."),
    ):
        status(["align", voices, "--transcripts", given, "--out", tmp_path / "x"], 2)
        assert why in capsys.readouterr().err


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("speechxai.units.align.importlib.import_module", missing)
    recording = Recording(torch.zeros(16_000), 16_000, "voice", "s", None)
    with pytest.raises(SpeechXAIError, match=r"is not installed: pip install 'speechxai\[align\]'\."):
        align(recording, "well")
