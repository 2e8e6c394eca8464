"""The audit of a data set: every probe by hand, the rate of false alarms, what sounds alike, and what it says."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module, reload
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechxai.audit import alike, audit, chance, left, report
from speechxai.audit.probes import NO_LINE_DB, PROBES, Heard, measured
from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.types import Array, Recording

RATE = 8_000
RNG = np.random.default_rng(0)


def tone(seconds: float, rate: int = RATE, hz: float = 200.0, peak: float = 0.5) -> Array:
    return peak * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)


def noise(seconds: float, rate: int = RATE, sd: float = 1e-3, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(0, sd, round(seconds * rate))


def heard(samples: Array, rate: int = RATE, row: dict[str, object] | None = None, place: float = 0.0) -> Heard:
    return Heard(row or {}, samples, rate, {"format": "WAV PCM_16", "sample_rate": rate, "channels": 1}, place)


SPOKEN = np.concatenate([noise(0.5), tone(1), noise(0.3, seed=1), tone(1), noise(0.2, seed=2)])
"""Half a second of quiet, a second of a tone, 0.3 s, another second, 0.2 s."""


def eight_bits(samples: Array) -> Array:
    return np.round(samples * 128) / 128


GOLDEN: dict[str, tuple[Heard, dict[str, float | str], float]] = {
    "age": (heard(SPOKEN, row={"age": 63}), {"age, years": 63.0}, 0),
    "sex": (heard(SPOKEN, row={"sex": "F"}), {"woman": 1.0}, 0),
    # log2(4 s) = 2
    "duration": (heard(tone(4)), {"log2 of the duration, s": 2.0}, 1e-9),
    # a sine of peak 0.5 has 20 log10(0.5 / sqrt 2) = -9.03 dB, its peak -6.02 dB
    "level": (heard(tone(2)), {"level of speech, dB of full scale": -9.03, "peak, dB of full scale": -6.02}, 0.1),
    # Power of white noise is exponential: a fifth of the time lies under -ln .8 = .2231 of the mean, -6.51 dB. Of 1,000
    # windows beside each other that is known to sqrt(.16 / 1000) / (.8 * .2231) = 7 %, 0.3 dB; the lowest of 31
    # frequencies lies 2.1 of them lower, at -7.1 dB
    "noise_floor": (heard(noise(8, sd=0.1)), {"quietest frequency, dB beside the speech": -7.1}, 0.3),
    # A line of peak A in a Hann window of n samples has A^2 n / 6: .05^2 * 3200 / 6 = 1.333; the steady tenth of noise
    # of sd .01 is -ln .9 * 1e-4 = 1.05e-5 of it: 51 dB. Nothing stands at 60 Hz.
    "hum": (
        heard(noise(8, sd=0.01) + tone(8, hz=50, peak=0.05)),
        {
            "50 Hz, dB above its neighbors": 51.0,
            "60 Hz, dB above its neighbors": 0.0,
            # 1.333 is 1.2 dB; all of it has .05^2 / 2 + .01^2 = .00135, -28.7 dB
            "50 Hz, dB beside the speech": 29.9,
            "60 Hz, dB beside the speech": NO_LINE_DB,
        },
        4.0,
    ),
    # 0.5 + 0.3 + 0.2 of 3 s; frames of 25 ms hear speech up to 13 ms away on either side
    "pauses": (
        heard(SPOKEN),
        {
            "silence before, s": 0.5,
            "silence after, s": 0.2,
            "share of silence": 1 / 3,
            "longest pause within, s": 0.3,
        },
        0.035,
    ),
    # White noise of sd .001 is -60 dB up to 4 kHz: of 60 to 101 Hz there is 1 %, -80 dB; speech is at -9.03 dB
    "silence": (
        heard(SPOKEN),
        {
            "60 to 101 Hz, dB under the speech": -60 + 10 * math.log10(40.8 / 4000) + 9.03,
            "2262 to 3800 Hz, dB under the speech": -60 + 10 * math.log10(1537 / 4000) + 9.03,
            "share of exact zeros": 0.0,
        },
        1.6,
    ),
    # In white noise each band is (3800 / 60)^(1/12) wider than the one before, 1.501 dB; 11 steps lie between the ends,
    # so the ends are 5.5 times that from the mean.
    "room": (heard(SPOKEN), {"60 to 85 Hz": -8.26, "2689 to 3800 Hz": 8.26}, 2.0),
    # White noise up to 8 kHz: as much above 4 kHz as below, 0 dB; the last 800 of 8000 Hz have a fifth of 4000 Hz
    "band": (
        heard(noise(4, 16_000, 0.1), 16_000),
        {"above 4 kHz, dB": 0.0, "last tenth of the band, dB": 10 * math.log10(0.2), "bandwidth, Hz": 8000.0},
        0.3,
    ),
    "container": (heard(tone(1)), {"format": "WAV PCM_16", "sample_rate": "8000", "channels": "1"}, 0),
    # Eight bits: steps of 2^-7
    "coding": (
        heard(eight_bits(tone(2, hz=211))),
        {"step, log2 of full scale": -7.0, "offset": 0.0, "clipped share": 0.0},
        1e-6,
    ),
    "file_name": (
        heard(tone(1), row={"path": "HC/AH_064F.wav"}),
        {"length": 7.0, "number of a": 1.0, "number of f": 1.0, "number of 0": 3.0, "number of _": 1.0},
        0,
    ),
    "file_order": (heard(tone(1), row={"path": "a.wav"}, place=0.25), {"place": 0.25}, 0),
}


@pytest.mark.parametrize("name", PROBES)
def test_every_probe_has_a_value_by_hand(name: str) -> None:
    given, values, tolerance = GOLDEN[name]
    found = PROBES[name](given)
    for key, value in values.items():
        assert found[key] == (value if isinstance(value, str) else pytest.approx(value, abs=tolerance + 1e-12)), key


@pytest.mark.parametrize("name", PROBES)
def test_every_probe_is_one_of_one_recording(name: str) -> None:
    """Plain finite numbers or words, the same names for every recording, nothing written into the samples."""
    facts = PROBES.facts(name)
    assert facts["of"] in ("person", "sound", "file")
    assert facts["label"]
    given, _, _ = GOLDEN[name]
    before = given.waveform.copy()
    found = PROBES[name](given)
    assert found == PROBES[name](heard(given.waveform, given.sample_rate, dict(given.row), given.place))
    assert all(isinstance(value, str) or math.isfinite(value) for value in found.values())
    assert np.array_equal(before, given.waveform)


@pytest.mark.parametrize(
    ("name", "row", "samples", "words"),
    [
        ("age", {}, tone(1), "no age is stated"),
        ("age", {"age": math.nan}, tone(1), "no age is stated"),
        ("sex", {"sex": "unknown"}, tone(1), "no sex is stated"),
        ("silence", {}, tone(2), "no pause"),
        ("room", {}, tone(2), "no pause"),
        ("band", {}, tone(1), "8000 Hz has no band above 4000 Hz"),
        ("hum", {}, tone(0.3), "shorter than half a second"),
        ("file_name", {"path": ""}, tone(1), "pseudonyms"),
    ],
)
def test_what_cannot_be_asked_has_its_reason(name: str, row: dict[str, object], samples: Array, words: str) -> None:
    assert words in str(measured(heard(samples, row=row), (name,))[name])


def telephone_vowel(seed: int, noise_db: float, hum_db: float = -200.0) -> Array:
    """A held vowel of 3 s, 130 Hz, whose own noise, 25 dB under it, ends with the band of a telephone; and what is
    added over all frequencies."""
    n, rng = 3 * RATE, np.random.default_rng(seed)
    pulses = np.zeros(n)
    pulses[:: RATE // 130] = 1.0
    breath = rng.normal(size=n) * pulses.std() * 10 ** (-25 / 20)
    spectrum, frequency = np.fft.rfft(pulses + breath), np.fft.rfftfreq(n, 1 / RATE)
    voice = np.fft.irfft(spectrum * ((frequency > 300) & (frequency < 3_400)), n)
    voice /= voice.std()
    line = np.sqrt(2) * np.sin(2 * np.pi * 50 * np.arange(n) / RATE)
    return 0.1 * (voice + 10 ** (noise_db / 20) * rng.normal(size=n) + 10 ** (hum_db / 20) * line)


def test_noise_under_a_held_vowel_is_noise_and_no_hum() -> None:
    """Without any pause, and under the vowel's own noise: 10 dB more of it are 10 dB more, and no line of the mains."""
    floors, hums = [], []
    for noise_db in (-50.0, -40.0, -30.0):
        for seed in (1, 2, 3):
            said = [PROBES[name](heard(telephone_vowel(seed, noise_db))) for name in ("noise_floor", "hum")]
            floors.append(said[0]["quietest frequency, dB beside the speech"])
            hums += [value for name, value in said[1].items() if name.endswith("beside the speech")]
    steps = np.diff(np.reshape(np.array(floors, float), (3, 3)).mean(axis=1))
    assert steps == pytest.approx([10, 10], abs=1)
    assert set(hums) == {NO_LINE_DB}
    with_line = PROBES["hum"](heard(telephone_vowel(1, -45.0, hum_db=-45.0)))
    assert float(with_line["50 Hz, dB beside the speech"]) > -45
    assert with_line["60 Hz, dB beside the speech"] == NO_LINE_DB


def test_two_names_of_one_voice_stand_out_of_their_cohorts() -> None:
    """Of d-vectors: one pair nearer than all others is named, first the nearest; where all are near, or all far, none;
    too few names say nothing, and recordings without a vector are left out."""
    rng = np.random.default_rng(3)
    people = 1 + 0.5 * rng.normal(size=(40, 256))  # cosines around 1 / 1.25 = .8
    vectors = {f"p{i:02}": [person + 0.1 * rng.normal(size=256) for _ in range(2)] for i, person in enumerate(people)}
    assert alike.alike_by_dvector(vectors) == []
    leaky = {
        **vectors,
        "x": [people[3] + 0.1 * rng.normal(size=256), np.zeros(0)],
        "y": [people[7]],
        "z": [np.zeros(0)],
    }
    found = alike.alike_by_dvector(leaky)
    assert {(each.first, each.second) for each in found} == {("p03", "x"), ("p07", "y")}
    assert {each.by for each in found} == {"d-vector"}
    assert found[0].likeness >= found[1].likeness > alike.DEVIATIONS
    few = {name: leaky[name] for name in ("p03", "x", "p01", "p02", "p04", "p05")}
    assert alike.alike_by_dvector(few) == []
    far = {name: [each - 1 for each in parts if len(each)] for name, parts in leaky.items() if name not in ("x", "y")}
    assert alike.alike_by_dvector(far) == []


def test_a_d_vector_needs_an_encoder_and_half_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    from speechxai.classifiers.dvector import SpeakerEncoder

    torch.manual_seed(0)
    encoder = SpeakerEncoder().eval()
    monkeypatch.setattr(alike, "_speaker_encoder", lambda: encoder)
    vector = alike.dvector(heard(SPOKEN))
    assert vector.shape == (256,)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    # Pauses are cut out before: the same speech after 2 s of quiet
    later = alike.dvector(heard(np.concatenate([noise(2, seed=5), SPOKEN])))
    assert float(later @ vector) > 0.999
    assert alike.dvector(heard(tone(0.4))).shape == (0,)
    monkeypatch.setattr(alike, "_speaker_encoder", lambda: None)
    assert alike.dvector(heard(SPOKEN)).shape == (0,)
    assert alike.encoder_identity() == ""


def test_pauses_are_cut_out() -> None:
    # 3 s less 0.5 + 0.3 + 0.2, and at each of four edges 20 ms are kept and 13 ms are heard as speech
    assert len(heard(SPOKEN).without_pauses) == pytest.approx(2.13 * RATE, abs=0.03 * RATE)
    assert len(heard(SPOKEN).pauses) == pytest.approx(0.87 * RATE, abs=0.03 * RATE)


def test_what_another_plugin_measured_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept holds for the probes that measured it: without a plugin, with it, and with other code of it."""
    soundfile.write(tmp_path / "a.wav", SPOKEN, RATE)
    plugin = tmp_path / "outside_probe.py"
    code = """
from speechxai.audit.probes import PROBES

@PROBES.register(label="beginning", of="sound", caveat="")
def beginning(heard):
    'The first.'
    return {"first": 1.0}
"""
    monkeypatch.syspath_prepend(str(tmp_path))
    heard_again = []
    measure = audit.measure
    monkeypatch.setattr(audit, "measure", lambda *given: heard_again.append(1) or measure(*given))

    def said() -> dict[str, object]:
        row = {"recording": "a", "speaker": "s", "path": "a.wav", "label": 0}
        (found,) = audit.measured([row], tmp_path, tmp_path / "kept")
        assert isinstance(found, audit.Measured), found
        return dict(found.said)

    for part in ("_functions", "_facts", "_loads"):  # what is registered here is forgotten afterwards
        monkeypatch.setattr(PROBES, part, dict(getattr(PROBES, part)))
    assert "beginning" not in said()
    plugin.write_text(code)
    module = import_module("outside_probe")
    monkeypatch.delitem(sys.modules, "outside_probe")
    assert said()["beginning"] == {"first": 1.0}
    assert len(heard_again) == 2
    said()
    assert len(heard_again) == 2, "the same probes: what is kept is taken"
    plugin.write_text(code.replace("1.0", "22.0"))
    sys.modules["outside_probe"] = module
    reload(module)
    assert said()["beginning"] == {"first": 22.0}
    assert len(heard_again) == 3


# What chance reaches


def said_of(values: Array, key: str = "x") -> list[dict[str, float | str] | str]:
    return [{key: float(value)} for value in values]


def test_one_number_is_asked_directly() -> None:
    """10 of each class, values 0 to 9 and 5 to 14: pairs counted one by one."""
    first, second = np.arange(10.0), np.arange(10.0) + 5
    won = sum((b > a) + 0.5 * (b == a) for a in first for b in second) / 100
    for sign in (1, -1):
        (found,) = chance.probe_all(
            {"age": said_of(sign * np.concatenate([first, second]))},
            [0] * 10 + [1] * 10,
            [f"s{i}" for i in range(20)],
            n_permutations=400,
        )
        assert found.auroc == pytest.approx(won)
        assert found.leading == f"x, more in {'PD' if sign > 0 else 'HC'}"
        assert found.alarm


def test_a_speaker_is_one_case_however_many_recordings_there_are() -> None:
    speakers = [f"s{i % 20}" for i in range(200)]
    labels = [int(name[1:]) % 2 for name in speakers]
    values = RNG.normal(size=20)[[int(name[1:]) for name in speakers]]
    (found,) = chance.probe_all({"age": said_of(values)}, labels, speakers, n_permutations=400)
    assert (found.n_first, found.n_second) == (10, 10)
    assert found.p > 0.01


def test_folds_never_learn_from_whom_they_test() -> None:
    matrix = chance.held_out_matrix(RNG.normal(size=(30, 4)))
    assert not matrix.diagonal().any()
    assert np.abs(matrix.sum(axis=1)).max() < 1e-9  # nothing is learned where all labels are one


def test_aucs_are_those_of_the_house() -> None:
    from speechxai.stats import auc

    scores, labels = RNG.integers(0, 5, (6, 20)).astype(float), np.array([RNG.permutation([0] * 8 + [1] * 12)] * 6)
    assert chance.aucs(scores, labels) == pytest.approx([auc(s, y) for s, y in zip(scores, labels, strict=True)])


def test_a_set_without_a_confound_raises_an_alarm_in_one_of_forty() -> None:
    """40 sets of 6 probes, of one number and of four: 1 alarm is expected, more than 5 come in 1 of 1,000 tests."""
    rng, alarms = np.random.default_rng(4), 0
    names = [name for name in PROBES if PROBES.facts(name)["of"] != "file"][:6]
    speakers, labels = [f"s{i}" for i in range(40)], [0] * 20 + [1] * 20
    for number in range(40):
        said = {}
        for k, name in enumerate(names):
            values = rng.normal(size=(40, 1 if k < 3 else 4))
            said[name] = [{str(j): float(v) for j, v in enumerate(row)} for row in values]
        found = chance.probe_all(said, labels, speakers, n_permutations=300, seed=number)
        alarms += any(each.alarm for each in found)
    assert alarms <= 5


def test_what_no_network_hears_raises_no_alarm() -> None:
    labels, speakers = [0] * 12 + [1] * 12, [f"s{i}" for i in range(24)]
    found = chance.probe_all({"file_order": said_of(np.arange(24.0))}, labels, speakers, n_permutations=400)
    assert found[0].exceeds
    assert not found[0].alarm


def test_too_few_are_not_asked() -> None:
    labels, speakers = [0] * 12 + [1] * 12, [f"s{i}" for i in range(24)]
    rows: list[dict[str, float | str] | str] = ["no age is stated"] * 20 + said_of(np.arange(4.0))
    (found,) = chance.probe_all({"age": rows}, labels, speakers, n_permutations=50)
    assert "known for 0 of 12 speakers of HC and 4 of 12 of PD" in found.reason
    assert "no age is stated" in found.reason
    assert math.isnan(found.auroc)


# What sounds alike


def voiced(seed: int, seconds: float = 2.0) -> Array:
    rng = np.random.default_rng(seed)
    hz = rng.uniform(100, 220) * (1 + 0.01 * np.cumsum(rng.normal(size=round(seconds * RATE))) / 30)
    phase = 2 * np.pi * np.cumsum(hz) / RATE
    return 0.1 * sum(np.sin(k * phase) / k for k in range(1, 12)) + noise(seconds, sd=3e-3, seed=seed)


def test_a_copy_that_was_cut_moved_and_made_quieter_is_found() -> None:
    sounds = {f"v{seed}": voiced(seed) for seed in range(6)}
    sounds["copy"] = 0.3 * sounds["v2"][RATE // 2 :]
    flat = {name: alike.flattened(heard(samples)) for name, samples in sounds.items()}
    assert [(a, b) for a, b, _ in alike.copies(flat)] == [("copy", "v2")]


@pytest.mark.parametrize("mended", [True, False])
def test_a_speaker_in_two_classes_is_refused(mended: bool) -> None:
    found = [recorded(i, label=i % 2) for i in range(20)]
    if not mended:
        found[1] = recorded(1, label=1, speaker="s0")
        with pytest.raises(SpeechXAIError, match="s0: this speaker has recordings of HC and of PD"):
            audit.audit(found, ("HC", "PD"), n_permutations=20)
    else:
        assert audit.audit(found, ("HC", "PD"), n_permutations=20).n_speakers == (10, 10)


def recorded(
    number: int, label: int, speaker: str = "", change: Callable[[Array], Array] | None = None
) -> audit.Measured:
    samples = np.concatenate([noise(0.3, seed=number), voiced(number, 1.0), noise(0.3, seed=number + 99)])
    samples = samples * np.random.default_rng(number).uniform(0.3, 1)
    samples = samples if change is None else change(samples)
    row = {
        "recording": f"r{number}",
        "path": f"r{number}.wav",
        "speaker": speaker or f"s{number}",
        "label": label,
        "age": 60 + number // 2,
        "sex": "FM"[number // 2 % 2],
    }
    recording = Recording(
        torch.from_numpy(samples.astype(np.float32)), RATE, f"r{number}", str(row["speaker"]), label, "vowel-a"
    )
    return audit.measure(recording, row, {"format": "WAV PCM_16", "sample_rate": RATE, "channels": 1})


@pytest.fixture(scope="module")
def hummed() -> audit.Audit:
    """Twelve of each class, and the mains in the second; one recording under two names."""
    found = [
        recorded(i, i % 2, change=(lambda x: x + tone(len(x) / RATE, hz=50, peak=0.01)) if i % 2 else None)
        for i in range(24)
    ]
    copy = found[0]
    found.append(replace(copy, row={**copy.row, "recording": "again", "speaker": "else"}))
    return audit.audit(found, ("HC", "PD"), name="hummed", n_permutations=400)


def test_a_planted_hum_is_named_first(hummed: audit.Audit) -> None:
    assert hummed.alarms[:2] == ("one recording under two names", "hum of the mains")
    assert hummed.probes[0].auroc > 0.9


def test_the_page_says_what_was_found(hummed: audit.Audit, tmp_path: Path) -> None:
    said = [each.text for each in report.findings(hummed)]
    assert said[0].startswith("1 pairs of recordings under two names are one sound, such as")
    assert said[1].startswith("Without hearing any disease, hum of the mains alone tells PD from HC with an AUROC of ")
    assert any(
        text.startswith("Not to be claimed from this set: that a model tells PD from HC by the voice, unless it stays")
        for text in said
    )
    path = report.write(tmp_path / "out", hummed)
    text = path.read_text("utf-8")
    for each in hummed.probes:
        assert each.label in text
    stored = json.loads((tmp_path / "out" / "audit.json").read_text("utf-8"))
    assert stored["alarms"] == list(hummed.alarms)
    assert "hum of the mains alone has an AUROC of" in (tmp_path / "out" / "card.md").read_text("utf-8")


def asked(name: str, auroc: float, bound: float) -> chance.Probed:
    facts = PROBES.facts(name)
    return chance.Probed(
        name,
        facts["label"],
        facts["of"],
        41,
        40,
        1,
        auroc,
        0.758,
        0.934,
        bound,
        0.544,
        0.0002,
        3.2,
        "",
        "x, more in PD",
    )


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        (
            [asked("age", 0.865, 0.723)],
            # what chance reaches: .865 - .723 + .544
            "Without hearing any disease, age alone tells PD from HC with an AUROC of 0.865 [0.758, 0.934] (x, more in"
            " PD); chance over all probes reaches 0.686. A model that reaches no more than that on this set may have"
            " heard no disease.",
        ),
        (
            [asked("level", 0.865, 0.723)],
            "Level alone tells PD from HC with an AUROC of 0.865 [0.758, 0.934] (x, more in PD); chance over all probes"
            " reaches 0.686. That may be the recordings, or the disease itself (a soft voice, where the gain was"
            " fixed).",
        ),
        (
            [asked("age", 0.6, 0.5)],
            "No probe tells PD from HC by more than chance over all 1 probes. With 41 and 40 speakers a confound of an"
            " AUROC under 0.64 would not be seen.",
        ),
        (
            # what chance reaches: .9 - .4 + .544, more than an AUROC can be
            [asked("age", 0.9, 0.4)],
            "No probe tells PD from HC by more than chance over all 1 probes. With 41 and 40 speakers some probes would"
            " show no confound at all, not even a perfect one: this is no clean bill.",
        ),
        (
            [replace(asked("age", math.nan, math.nan), reason="8 of each are needed")],
            "No probe could be asked of 41 speakers of HC and 40 of PD: this says nothing of the set, good or bad.",
        ),
        (
            [asked("file_name", 0.865, 0.723)],
            "The file name gives the class away (0.865 [0.758, 0.934]): no network hears it, but a split by it, or a"
            " program that reads it, does.",
        ),
    ],
)
def test_the_sentence_says_what_the_number_is_worth(entries: list[chance.Probed], words: str) -> None:
    found = audit.Audit("set", "", ("HC", "PD"), (41, 40), (41, 40), tuple(entries), (), (), True)
    assert words in [each.text for each in report.findings(found)]


@pytest.mark.parametrize(("low", "words"), [(0.55, "something is left"), (0.45, "cannot be told from chance")])
def test_what_is_left_is_said(low: float, words: str) -> None:
    found = audit.Audit("set", "", ("HC", "PD"), (41, 40), (41, 40), (asked("age", 0.865, 0.723),), (), (), True)
    both = [
        left.Left("acoustic", name, label, 41, 40, 0.7, low, 0.8)
        for name, label in (("everything", "everything"), ("matched", "age- and sex-matched pairs"))
    ]
    said = [each.text for each in report.findings(found, both) if each.key == "left"]
    assert len(said) == 1
    assert words in said[0]
    assert f"0.70 [{low:.2f}, 0.80] on age- and sex-matched pairs (41 and 40 speakers)" in said[0]


# What is left


def person(name: str, label: int, age: float | None, sex: str = "F") -> Recording:
    samples = torch.from_numpy(voiced(hash_of(name), 1.0).astype(np.float32))
    return Recording(
        samples, RATE, name, name, label, "vowel-a", {"age": age, "sex": sex, "original_sample_rate": RATE}
    )


def hash_of(name: str) -> int:
    return sum(ord(sign) * (i + 1) for i, sign in enumerate(name))


def test_pairs_are_of_one_sex_and_near_in_age() -> None:
    """Eight women of each class 2 years apart; a man, and a woman 20 years older than all, have no partner."""
    people = [person(f"h{i}", 0, 50 + 3 * i) for i in range(8)] + [person(f"p{i}", 1, 52 + 3 * i) for i in range(8)]
    people += [person("man", 1, 60, "M"), person("old", 0, 93)]
    found = left.pairs_of(people)
    assert len(found) == 8
    assert {name for pair in found for name in pair} == {f"{c}{i}" for c in "hp" for i in range(8)}
    with pytest.raises(NotApplicable, match="only 7 pairs"):
        left.pairs_of(people[1:])
    with pytest.raises(NotApplicable, match="age and sex are not stated"):
        left.pairs_of([replace(each, metadata={}) for each in people])


@pytest.mark.parametrize("name", left.CONDITIONS)
def test_a_condition_keeps_who_speaks_and_writes_into_nothing(name: str) -> None:
    people = [person(f"h{i}", 0, 50 + i) for i in range(8)] + [person(f"p{i}", 1, 50 + i) for i in range(8)]
    before = [each.waveform.clone() for each in people]
    found = left.CONDITIONS[name](people)
    assert [(each.speaker, each.label) for each in found] == [(each.speaker, each.label) for each in people]
    assert all(torch.equal(a, each.waveform) for a, each in zip(before, people, strict=True))


def test_equalized_recordings_are_of_one_length_level_and_floor() -> None:
    people = [
        replace(each, waveform=factor * each.waveform[: 6000 + 500 * index])
        for index, (each, factor) in enumerate((person(f"h{i}", i % 2, 60), 10.0 ** (-i / 4)) for i in range(5))
    ]
    found = left.equalized(people)
    assert len({len(each.waveform) for each in found}) == 1
    levels = [20 * math.log10(float(each.waveform.square().mean().sqrt())) for each in found]
    assert max(levels) - min(levels) < 1.5


def test_a_label_is_doubted_where_every_model_contradicts_it() -> None:
    people = [person("a", 0, 60), person("b", 0, 60), person("c", 1, 60)]
    sure = left.Left("x", "everything", "everything", probabilities={"a": 0.9, "b": 0.9, "c": 0.95})
    other = left.Left("y", "everything", "everything", probabilities={"a": 0.85, "b": 0.6, "c": 0.9})
    listed, expected = left.doubted([sure, other], people)
    assert [(one.recording, one.at_most) for one in listed] == [("a", pytest.approx(0.15))]
    # of a and c, of which both models are sure: .1 and .05 by the surest
    assert expected == pytest.approx(0.15)


def test_a_model_is_trained_again_only_where_it_must(tmp_path: Path) -> None:
    people = [person(f"{c}{i}", int(c == "p"), 60) for c in "hp" for i in range(6)]
    plan = left._plan("cnn", people, 0)
    plan = replace(plan, n_folds=3, fit=replace(plan.fit, epochs=1, restarts=0))
    first = left.leave(people, "cnn", "no_pauses", tmp_path, plan=plan)
    assert not first.reason
    assert (first.n_first, first.n_second) == (6, 6)
    calls: list[str] = []
    again = left.leave(people, "cnn", "no_pauses", tmp_path, lambda *a: calls.append(a[2]), plan=plan)
    assert not calls
    assert again == first
    assert "pairs" in left.leave(people, "cnn", "matched", tmp_path, plan=plan).reason


def test_eight_lines_add_a_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines of docs/audit.md, as they stand."""
    text = (Path(__file__).parents[2] / "docs" / "audit.md").read_text("utf-8")
    code = text[text.index("```python") + 9 :]
    for store in ("_functions", "_facts", "_loads"):
        monkeypatch.setattr(PROBES, store, dict(getattr(PROBES, store)))
    names = {"numpy": np}
    exec(code[: code.index("```")], names)
    assert len(code[: code.index("```")].strip().splitlines()) <= 8
    # the tone begins after half a second of noise of sd .001: -60 dB, under a tone of -9.03 dB
    found = PROBES["beginning"](heard(SPOKEN))
    assert found["dB under the speech"] == pytest.approx(-50.97, abs=0.5)
