"""Loading rows of a manifest and looking for what could mislead a classifier."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from speechxai.data.cards import build_manifest
from speechxai.data.corpus import (
    CONFOUNDS,
    SAME_SOUND,
    _separation_of_kinds,
    check,
    confounds,
    iterate,
    load,
    same_sound,
    sketch,
)
from speechxai.data.manifest import validate
from speechxai.errors import SpeechXAIError
from speechxai.signal.quality import Quality


def voice(seed: int, duration_s: float = 1.2, level: float = 0.3, rate_hz: int = 16_000) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.asarray(np.clip(level * rng.standard_normal(round(duration_s * rate_hz)), -0.99, 0.99) * 0.3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six speakers a class; patients speak longer and louder; one file is text, one a copy of another, one clipped."""
    for index in range(6):
        for name, duration_s, level in (("HC", 1.0, 0.1), ("PD", 2.0, 0.3)):
            (tmp_path / name).mkdir(exist_ok=True)
            signal = voice(index + 10 * (name == "PD"), duration_s + 0.01 * index, level)
            soundfile.write(tmp_path / name / f"{name.lower()}{index}_a.wav", signal, 16_000, subtype="FLOAT")
    (tmp_path / "HC" / "hc9_text.wav").write_text("not a recording")
    (tmp_path / "HC" / "hc0_again.wav").write_bytes((tmp_path / "HC" / "hc0_a.wav").read_bytes())
    soundfile.write(tmp_path / "PD" / "pd0_clipped.wav", np.clip(3 * voice(3, 2.0), -0.1, 0.1), 16_000, subtype="FLOAT")
    return tmp_path


def test_load_gives_the_identity_of_the_row(folder: Path) -> None:
    manifest, _ = build_manifest("folder", folder)
    row = manifest[manifest["recording"] == "pd3_a"].iloc[0].to_dict() | {"age": 71.0}
    recording = load(row, folder)
    assert (recording.id, recording.speaker, recording.label) == ("pd3_a", "folder/pd3", 1)
    assert recording.metadata["age"] == 71.0
    assert recording.metadata["path"] == str(folder / "PD" / "pd3_a.wav")
    assert float(recording.waveform.abs().max()) == 1.0
    quiet = load(row, folder, normalize="none", sample_rate=8_000)
    assert (quiet.sample_rate, quiet.waveform.numel()) == (8_000, 16_240)


def test_a_file_that_changed_since_the_manifest_is_refused(folder: Path) -> None:
    manifest, _ = build_manifest("folder", folder)
    row = manifest[manifest["recording"] == "pd3_a"].iloc[0].to_dict()
    soundfile.write(folder / "PD" / "pd3_a.wav", voice(99), 16_000)
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"/PD/pd3_a\.wav: the file has changed since the manifest was made \(its sha256 differs\)\. "
            r"Make the manifest again\.$"
        ),
    ):
        load(row, folder)


def test_iterate_goes_on_after_a_bad_file(folder: Path) -> None:
    manifest, _ = build_manifest("folder", folder)
    items = list(iterate(manifest, folder))
    assert [item.id for item in items] == manifest["recording"].tolist()
    failed = [item for item in items if item.recording is None]
    assert [item.id for item in failed] == ["hc9_text"]
    assert "this is text, not audio" in str(failed[0].error)
    assert all(item.error is None for item in items if item.recording is not None)


def test_check_finds_what_was_planted(folder: Path) -> None:
    manifest, _ = build_manifest("folder", folder)
    steps: list[tuple[int, int]] = []
    report = check(manifest, folder, lambda done, total: steps.append((done, total)))
    assert steps[-1] == (15, 15)
    assert report.n_files == 15
    assert report.classes == {"HC": 8, "PD": 7}
    assert report.speakers == {"HC": 7, "PD": 6}
    assert report.sample_rates == {16_000: 14}
    assert report.duplicates == (("hc0_a", "hc0_again"),)
    assert [name for name, _ in report.unreadable] == ["hc9_text"]
    assert [name for name, words in report.warnings if words.startswith("clipped")] == ["pd0_clipped"]
    found = {confound.name: confound for confound in report.confounds}
    assert tuple(found) == CONFOUNDS
    assert (found["duration"].auc, found["duration"].alarm, found["duration"].higher_in) == (1.0, True, "PD")
    assert found["level"].alarm
    assert (found["sample rate"].auc, found["sample rate"].note) == (0.5, "the same in all recordings")
    assert np.isnan(found["age"].auc)
    assert "known for 0 HC and 0 PD" in found["age"].note


def table(**columns: list[float]) -> pd.DataFrame:
    n = len(next(iter(columns.values())))
    plain = dict.fromkeys((name for name in Quality.__dataclass_fields__), [0.0] * n)
    return pd.DataFrame({"recording": [f"r{i}" for i in range(n)], "sample_rate": [16_000] * n} | plain | columns)


def rows(label: list[int], **columns: list[object]) -> pd.DataFrame:
    n = len(label)
    ids = [f"r{i}" for i in range(n)]
    return validate(
        pd.DataFrame({"recording": ids, "path": ids, "speaker": [f"s/{i}" for i in range(n)], "label": label} | columns)
    )


def test_confounds_by_hand() -> None:
    # HC 1 2 3 4, PD 3 5 6 7: of 16 pairs PD is higher in 14, equal in 1: AUC = 14.5 / 16. Down is as bad as up.
    manifest = rows([0] * 4 + [1] * 4, age=[1, 2, 3, 4, 3, 5, 6, 7], sex=["F", "F", "F", "M", "M", "M", "F", "M"])
    found = {c.name: c for c in confounds(manifest, table(duration_s=[-1, -2, -3, -4, -3, -5, -6, -7]))}
    assert found["age"].auc == 14.5 / 16
    assert (found["age"].higher_in, found["duration"].higher_in) == ("PD", "HC")
    assert found["duration"].auc == 14.5 / 16
    # Women: 3 of 4 HC, 1 of 4 PD: HC higher in 9 of 16 pairs, equal in 6: AUC = 12 / 16.
    assert (found["sex"].auc, found["sex"].higher_in) == (0.75, "HC")
    # Chance for 4 and 4 speakers: 0.5 + 1.96 sqrt(9 / (12 * 16)).
    assert found["age"].chance == pytest.approx(0.5 + 1.96 * np.sqrt(9 / 192))
    assert (found["age"].n_first, found["age"].n_second) == (4, 4)
    # 0.906 exceeds the chance of 0.924 for so few speakers? No: no alarm, and the words say why.
    assert not found["age"].alarm
    assert found["age"].note == "within chance, but so few speakers cannot rule it out"


def test_an_alarm_needs_more_than_chance() -> None:
    rng = np.random.default_rng(0)
    label = [0] * 40 + [1] * 40
    noise = rng.standard_normal(80)
    manifest = rows(label)
    assert not {c.name: c for c in confounds(manifest, table(duration_s=noise.tolist()))}["duration"].alarm
    shifted = (noise + 1.0 * np.array(label)).tolist()
    assert {c.name: c for c in confounds(manifest, table(duration_s=shifted))}["duration"].alarm


@pytest.mark.parametrize(
    ("wins", "strength"),
    [(296, "noticeably"), (308, "strongly"), (356, "strongly"), (364, "almost as well as a perfect classifier")],
)
def test_how_strongly_a_confound_separates_in_words(wins: int, strength: str) -> None:
    # HC are 0 to 19; k - 0.5 is above k of them, and the k of 20 PD sum to `wins` of 400 pairs: AUC .74, .77, .89, .91.
    above = [wins // 20 + (i < wins % 20) for i in range(20)]
    manifest = rows([0] * 20 + [1] * 20)
    measured = table(duration_s=[*map(float, range(20)), *(k - 0.5 for k in above)])
    found = {c.name: c for c in confounds(manifest, measured)}["duration"]
    assert found.auc == wins / 400
    assert found.note.startswith(f"duration alone separates the classes {strength}:")


@pytest.mark.parametrize(("above", "alarm"), [(118, False), (124, True)])
def test_a_small_difference_between_many_speakers_is_no_alarm(above: int, alarm: bool) -> None:
    # 200 HC are 0 to 199, every PD is above 118 or 124 of them: AUC .59 or .62, both more than chance, .557 for 200 and
    # 200; only from .6 on it is an alarm.
    manifest = rows([0] * 200 + [1] * 200)
    measured = table(duration_s=[*map(float, range(200)), *[above - 0.5] * 200])
    found = {c.name: c for c in confounds(manifest, measured)}["duration"]
    assert (found.auc, found.alarm) == (above / 200, alarm)
    assert found.chance < 0.56
    assert alarm or found.note == "small"


def test_recordings_of_few_speakers_do_not_count_as_many() -> None:
    label = [0] * 20 + [1] * 20
    values = [float(v) for v in np.random.default_rng(1).standard_normal(40) + np.array(label)]
    many = rows(label)
    few = validate(many.assign(speaker=[f"s/{'p' if y else 'h'}{i % 2}" for i, y in enumerate(label)]))
    alarms = [{c.name: c for c in confounds(m, table(duration_s=values))}["duration"].alarm for m in (many, few)]
    assert alarms == [True, False]


def test_recordings_without_label_do_not_count() -> None:
    manifest = rows([0, 0, 1, 1]).assign(label=pd.array([None] * 4, dtype="Int64"))
    assert all(np.isnan(c.auc) and not c.alarm for c in confounds(manifest, table(duration_s=[1, 2, 3, 4])))


# --- kinds without an order, and more than two classes --------------------------------------------------------------


def test_separation_of_kinds_by_hand() -> None:
    # Kinds 0, 1, 2 hold 3, 1, 0 of the first class and 1, 1, 2 of the second: shares 1/4, 1/2, 1. Of 16 pairs the
    # second class is higher in 1*0 + 1*3 + 2*4 = 11 and equal in 1*3 + 1*1 + 2*0 = 4: AUC = (11 + 2) / 16.
    kinds = np.array([0, 0, 0, 1, 0, 1, 2, 2])
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    area, chance = _separation_of_kinds(kinds, labels, pd.Series([f"s{i}" for i in range(8)]), 0.05)
    assert area == 13 / 16
    # So few speakers reach as much by chance.
    assert area < chance <= 1
    # Where every speaker has a kind of their own, the kinds separate any labels, and that says nothing.
    assert _separation_of_kinds(np.arange(8), labels, pd.Series([f"s{i}" for i in range(8)]), 0.05) == (1.0, 1.0)


N = 12


@pytest.mark.parametrize(
    ("name", "column", "first", "second"),
    [
        ("task", "task", "reading", "vowel-a"),
        ("container and coding", "format", "WAV PCM_16", "FLAC PCM_16"),
        ("container and coding", "format", "WAV PCM_16", "WAV PCM_24"),
        ("container and coding", "format", "WAV PCM_16", "OGG VORBIS"),
        ("channels", "channels", 1, 2),
    ],
)
def test_task_container_and_channels_are_confounds(name: str, column: str, first: object, second: object) -> None:
    labels = [0] * N + [1] * N

    def found(cells: list[object]) -> dict[str, object]:
        of_manifest = {column: cells} if column == "task" else {}
        of_sound = {} if column == "task" else {column: cells}
        return {c.name: c for c in confounds(rows(labels, **of_manifest), table(duration_s=[1.0] * 2 * N, **of_sound))}

    perfect = found([first] * N + [second] * N)
    assert tuple(perfect) == CONFOUNDS
    assert (perfect[name].auc, perfect[name].alarm) == (1.0, True)
    if name != "channels":
        assert f"{first}: {N} HC, 0 PD" in perfect[name].note
        assert f"{second}: 0 HC, {N} PD" in perfect[name].note
    # Nothing else is alarmed by it, and what is mixed in both classes alike is none.
    assert [c.name for c in perfect.values() if c.alarm] == [name]
    even = found([first, second] * N)[name]
    assert (even.auc, even.alarm) == (0.5, False)
    assert found([first] * 2 * N)[name].note == "the same in all recordings"
    assert "not to be ruled out" in found([None] * 2 * N if column == "task" else [np.nan] * 2 * N)[name].note


def test_many_tasks_alone_are_no_alarm_and_recordings_of_few_speakers_do_not_count_as_many() -> None:
    rng = np.random.default_rng(3)
    labels = [0] * 40 + [1] * 40
    tasks = [f"t{i}" for i in rng.integers(0, 20, 80)]
    by_chance = {c.name: c for c in confounds(rows(labels, task=tasks), table(duration_s=[1.0] * 80))}["task"]
    assert by_chance.auc > 0.6
    assert not by_chance.alarm
    one_task_a_class = ["a"] * 40 + ["b"] * 40
    few = validate(rows(labels, task=one_task_a_class).assign(speaker=[f"s/{i // 20}" for i in range(80)]))
    assert not {c.name: c for c in confounds(few, table(duration_s=[1.0] * 80))}["task"].alarm


def test_of_three_classes_the_pair_that_is_separated_is_named() -> None:
    labels = [0] * N + [1] * N + [2] * N
    manifest = rows(labels, classes="HC;PD;MSA", task=["a"] * 2 * N + ["b"] * N)
    # HC and PD last as long, people with MSA longer.
    durations = [1.0 + i / 100 for i in range(N)] * 2 + [2.0 + i / 100 for i in range(N)]
    found = {c.name: c for c in confounds(manifest, table(duration_s=durations))}
    for name in ("duration", "task"):
        assert (found[name].auc, found[name].alarm) == (1.0, True)
        assert f"{name} alone separates HC and MSA" in found[name].note
    assert found["duration"].higher_in == "MSA"
    # Three pairs are looked at, so each may exceed chance at a third of 5 %: 2.39 standard deviations for 1.96.
    assert found["duration"].chance == pytest.approx(0.5 + 2.39 * np.sqrt((2 * N + 1) / (12 * N * N)))


# --- the same sound in other files ----------------------------------------------------------------------------------


def write(path: Path, samples: np.ndarray, rate_hz: int = 16_000, subtype: str = "PCM_16") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate_hz, subtype=subtype)


@pytest.mark.parametrize(
    "copy",
    [
        "other.wav",
        "quiet.wav",
        "flac.flac",
        "eight.wav",
        "float.wav",
        "offset.wav",
        "upside.wav",
        "vorbis.ogg",
        "2.aiff",
    ],
)
def test_a_copy_of_other_bytes_is_found(tmp_path: Path, copy: str) -> None:
    """A held vowel of 1.3 s in both classes, its copy under another speaker and label."""
    t = np.arange(round(1.3 * 16_000)) / 16_000
    vowels = [
        0.3 * sum(np.sin(2 * np.pi * k * (110 + 7 * i) * t + i * k) / k for k in range(1, 12)) / 2 for i in range(6)
    ]
    for index, vowel in enumerate(vowels):
        write(tmp_path / ("HC" if index < 3 else "PD") / f"{'hp'[index >= 3]}{index}.wav", vowel)
    changed = {
        "quiet.wav": (vowels[0] * 0.2, "PCM_16"),
        "eight.wav": (vowels[0], "PCM_U8"),
        "float.wav": (vowels[0], "FLOAT"),
        "offset.wav": (vowels[0] + 0.1, "PCM_24"),
        "upside.wav": (-vowels[0], "PCM_16"),
        "vorbis.ogg": (vowels[0], "VORBIS"),
        "other.wav": (vowels[0], "PCM_32"),
    }
    write(
        tmp_path / "PD" / copy,
        *(lambda samples, coding: (samples, 16_000, coding))(*changed.get(copy, (vowels[0], "PCM_16"))),
    )
    manifest, _ = build_manifest("folder", tmp_path)
    report = check(manifest, tmp_path)
    assert report.unreadable == ()
    assert report.duplicates == ()
    assert report.copies == (("h0", copy.split(".")[0]),)


def test_what_is_no_copy_or_cannot_be_found(tmp_path: Path) -> None:
    recordings = {}
    for index in range(60):
        samples = voice(index, 1.0)
        write(tmp_path / f"{index}.wav", samples)
        recordings[str(index)] = load(
            {"recording": str(index), "path": f"{index}.wav", "speaker": "s/1", "label": 0}, tmp_path
        )
    sounds = {name: sketch(recording) for name, recording in recordings.items()}
    assert same_sound(sounds) == ()
    likeness = np.abs(np.stack([s.sketch for s in sounds.values()]) @ sounds["0"].sketch)[1:]
    assert likeness.max() < 0.5 < SAME_SOUND
    # A click in silence is where it is: two recordings of a click in different places are not the same.
    clicks = {}
    for place in (1_000, 1_128, 9_000):
        samples = np.zeros(16_000)
        samples[place] = 0.9
        write(tmp_path / f"c{place}.wav", samples)
        row = {"recording": f"c{place}", "path": f"c{place}.wav", "speaker": "s/1", "label": 0}
        clicks[str(place)] = sketch(load(row, tmp_path))
    assert len(same_sound(clicks)) == 0
    # Said in the docstring and on the screen: a copy that was cut or moved is not found.
    write(tmp_path / "cut.wav", voice(0, 1.0)[1:])
    cut = load({"recording": "cut", "path": "cut.wav", "speaker": "s/1", "label": 0}, tmp_path)
    assert same_sound({"0": sounds["0"], "cut": sketch(cut)}) == ()


def test_no_name_of_a_person_leaves_the_reader(tmp_path: Path) -> None:
    person = tmp_path / "22 Elderly Healthy Control" / "Mario Rossi"
    person.mkdir(parents=True)
    (person / "VA1MRAORSOS49M100220161014.wav").write_text("no audio at all")
    (person / "VO1MRAORSOS49M100220161014.wav").write_bytes(bytes(range(128, 256)))
    soundfile.write(person / "VA2MRAORSOS49M100220161015.wav", voice(1), 16_000)
    (person / "VE1MRAORSOS49M100220161014.m4a").write_bytes(b"")
    manifest, _ = build_manifest("ipvs", tmp_path)
    items = list(iterate(manifest, tmp_path))
    good = next(item.recording for item in items if item.recording is not None)
    bad = [item.error for item in items if item.error is not None]
    assert len(bad) == 2
    for text in (*map(str, bad), str(dict(good.metadata)), good.id, good.speaker):
        for name in ("Mario", "Rossi", "MRAORSOS"):
            assert name not in text
    assert [error.__cause__ for error in bad] == [None, None]
    assert good.metadata["path"].startswith("@")


def test_age_of_the_real_recordings_is_a_confound(shared_data: Callable[[str], Path]) -> None:
    root = shared_data("figshare-voice")
    manifest, _ = build_manifest("figshare-voice", root)
    report = check(manifest, root)
    assert report.classes == {"HC": 41, "PD": 40}
    assert (report.unreadable, report.duplicates) == ((), ())
    age = report.confounds[0]
    assert age.name == "age"
    assert round(age.auc, 3) == 0.865
    assert age.alarm
    assert report.quality["duration_s"].sum() == pytest.approx(269, abs=1)


def test_real_recordings_of_other_rates_and_formats_are_loaded(shared_data: Callable[[str], Path]) -> None:
    for card in ("mdvr-kcl", "librispeech"):
        root = shared_data(card)
        manifest, _ = build_manifest(card, root)
        for item in iterate(manifest, root):
            assert item.error is None
            assert item.recording is not None
            assert item.recording.sample_rate == 16_000
            assert 13 < item.recording.duration_s < 23
            assert torch.isfinite(item.recording.waveform).all()
