"""A constant offset belongs to the recorder: it moves no measure, no confound, no answer."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from app import sources
from speechxai.classifiers import probabilities
from speechxai.classifiers.bundle import AudioSettings, Bundle, load_bundle
from speechxai.classifiers.training import Plan, read_corpus
from speechxai.data.cards import build_manifest
from speechxai.data.corpus import check, load
from speechxai.data.synthetic import takes
from speechxai.evaluation.config import EvaluateConfig
from speechxai.evaluation.session import prepare
from speechxai.inspection.inspect import read_for, recording_checks
from speechxai.signal.acoustics import measures, segments_by_voicing
from speechxai.signal.audio import read_audio
from speechxai.signal.quality import quality
from speechxai.signal.stft import spectrogram

RATE_HZ = 16_000
SHIFT = 0.125
"""A binary fraction, so that a voice of 16 bits is shifted exactly."""


def square() -> np.ndarray:
    """100 Hz between +0.3 and -0.3."""
    return 0.3 * np.where(np.arange(RATE_HZ) % 160 < 80, 1.0, -1.0)


def with_pause() -> np.ndarray:
    """A second of harmonics, and a second 60 dB lower."""
    time_s = np.arange(2 * RATE_HZ) / RATE_HZ
    tone = sum(np.sin(2 * np.pi * 120 * k * time_s) / k for k in range(1, 9))
    return np.asarray(0.15 * tone * np.where(time_s < 1.0, 1.0, 1e-3))


def overloaded() -> np.ndarray:
    """A quiet voice whose converter cut it off, and which fills few steps of 16 bits."""
    quiet = 0.02 * with_pause() / np.abs(with_pause()).max()
    return np.asarray(np.round(np.clip(quiet, -0.01, 0.01) * 32_768) / 32_768)


def unequal() -> np.ndarray:
    """Much energy on one side: the crests cut off, the troughs not."""
    return np.minimum(with_pause(), 0.5 * with_pause().max())


def synthetic() -> np.ndarray:
    return next(iter(takes(2, 0))).recording().waveform.numpy().astype(np.float64) * 0.5


def real(place: str, name: str) -> Callable[[Callable[[str], Path]], np.ndarray]:
    def voice(shared_data: Callable[[str], Path]) -> np.ndarray:
        files = sorted(path for path in shared_data(place).rglob(name))
        samples, rate_hz = soundfile.read(files[0], frames=3 * 44_100, dtype="float64")
        return np.asarray(samples[: 4 * rate_hz] * 0.5)

    return voice


MEMBERS: dict[str, Callable[..., np.ndarray]] = {
    made.__name__: lambda _, made=made: made() for made in (square, with_pause, overloaded, unequal, synthetic)
} | {"telephone": real("figshare-voice", "*.wav"), "phone": real("mdvr-kcl", "*.wav")}


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize("shift", [SHIFT, -SHIFT])
def test_no_measure_moves_but_the_offset_itself(member: str, shift: float, shared_data: Callable[[str], Path]) -> None:
    signal = MEMBERS[member](shared_data)
    plain, shifted = quality(signal, RATE_HZ), quality(signal + shift, RATE_HZ)
    assert shifted.dc_offset == pytest.approx(plain.dc_offset + shift, abs=1e-9)
    same = dataclasses.replace(shifted, dc_offset=plain.dc_offset, peak=plain.peak)
    assert vars(same) == pytest.approx(vars(plain), rel=1e-6, abs=1e-6, nan_ok=True)
    assert measures(signal + shift, RATE_HZ) == pytest.approx(measures(signal, RATE_HZ), rel=1e-4, nan_ok=True)
    kinds = [segments_by_voicing(x, RATE_HZ, len(x) // 160 + 1, 160) for x in (signal, signal + shift)]
    assert np.array_equal(*kinds)


def test_values_by_hand() -> None:
    # A square wave of 0.3 has a level of 20 log10(0.3) = -10.46 dB, whatever it is shifted by; with a mean of 0.4 its
    # mean square would be 0.09 + 0.16, -6.02 dB. Half of the second signal is silence.
    assert quality(square() + 0.4, RATE_HZ).rms_dbfs == pytest.approx(-10.458, abs=1e-3)
    assert quality(with_pause() + 0.4, RATE_HZ).silence_share == pytest.approx(0.5, abs=0.02)
    assert quality(with_pause() + 0.4, RATE_HZ).snr_db == pytest.approx(60.0, abs=0.5)
    # The largest absolute sample is the file's own, and so is the offset.
    assert quality(square() + 0.4, RATE_HZ).peak == pytest.approx(0.7)
    assert quality(overloaded() + 0.4, RATE_HZ).clipping_share == quality(overloaded(), RATE_HZ).clipping_share > 0.05
    # Two steps of 16 bits beside an offset of 0.5: within a ten thousandth of it, and no clipping.
    faint = np.round(2 * np.sin(2 * np.pi * 3_300 * np.arange(RATE_HZ) / RATE_HZ + 0.1)) / 32_768
    assert quality(faint + 0.5, RATE_HZ).clipping_share == quality(faint, RATE_HZ).clipping_share


def test_reading_removes_it_before_the_peak_and_before_resampling(tmp_path: Path) -> None:
    path = tmp_path / "square.wav"
    soundfile.write(path, square() + 0.1, RATE_HZ, subtype="FLOAT")
    # 0.4 and -0.2: divided by 0.4 they are 1 and -0.5; without the mean of 0.1 they are 0.3 and -0.3, divided 1 and -1.
    assert np.unique(read_audio(path, offset="kept").waveform) == pytest.approx([-0.5, 1.0])
    assert np.unique(read_audio(path).waveform) == pytest.approx([-1.0, 1.0])
    assert np.unique(read_audio(path, normalize="none").waveform) == pytest.approx([-0.3, 0.3])
    assert [read_audio(path, offset=word).metadata["offset"] for word in ("removed", "kept")] == ["removed", "kept"]
    assert read_audio(path).metadata["original_peak"] == pytest.approx(0.4)
    # Two channels with offsets of their own, at another rate: a step at both ends would ring.
    stereo = np.stack([square() + 0.4, square() - 0.1], axis=1)
    soundfile.write(tmp_path / "stereo.wav", stereo, 44_100, subtype="FLOAT")
    soundfile.write(tmp_path / "plain.wav", square(), 44_100, subtype="FLOAT")
    one, other = (read_audio(tmp_path / name).waveform for name in ("stereo.wav", "plain.wav"))
    assert torch.allclose(one, other, atol=1e-6)


def test_level_as_a_confound_is_the_same_with_and_without(tmp_path: Path) -> None:
    """Patients are louder; controls were recorded with an offset, of either sign, that makes up for it."""
    rng = np.random.default_rng(0)
    for index in range(8):
        for label, level, shift in (("HC", 0.05, 0.2 - 0.05 * index), ("PD", 0.06 + 0.01 * (index > 2), 0.0)):
            noise = level * (1 + 0.02 * index) * rng.standard_normal(RATE_HZ).clip(-3, 3)
            for place, moved in (("plain", 0.0), ("shifted", shift)):
                (tmp_path / place / label).mkdir(parents=True, exist_ok=True)
                path = tmp_path / place / label / f"{label.lower()}{index}_a.wav"
                soundfile.write(path, noise + moved, RATE_HZ, subtype="FLOAT")
    found = {}
    for place in ("plain", "shifted"):
        report = check(build_manifest("folder", tmp_path / place)[0], tmp_path / place)
        found[place] = {confound.name: confound.auc for confound in report.confounds}
        said = {name for name, words in report.warnings if words.startswith("offset")}
        # 0.2 - 0.05 * 4 = 0 has none.
        assert said == (set() if place == "plain" else {f"hc{index}_a" for index in range(8) if index != 4})
    assert found["shifted"] == pytest.approx(found["plain"], nan_ok=True)
    assert found["plain"]["level"] > 0.9


def with_offset(word: str) -> Bundle:
    bundle = load_bundle("synthetic-cnn")
    config = bundle.config.model_copy(update={"audio": AudioSettings(normalize="peak", offset=word)})
    return dataclasses.replace(bundle, config=config)


def answer(bundle: Bundle, path: Path) -> float:
    heard, _ = read_for(bundle, path)
    model = bundle.classifier()
    spec = spectrogram(heard.waveform[None], model.stft)
    with torch.no_grad():
        return float(probabilities(model, spec.magnitude, spec.phase)[0, 1])


def test_the_answer_is_the_same_with_and_without(tmp_path: Path) -> None:
    voice = synthetic()
    for name, shift in (("plain", 0.0), ("up", 0.1), ("down", -0.1)):
        soundfile.write(tmp_path / f"{name}.wav", voice + shift, RATE_HZ, subtype="FLOAT")
    plain, up, down = (answer(with_offset("removed"), tmp_path / f"{name}.wav") for name in ("plain", "up", "down"))
    assert up == pytest.approx(plain, abs=1e-5)
    assert down == pytest.approx(plain, abs=1e-5)
    # A model that was trained on samples as they are goes on hearing them so.
    assert abs(answer(with_offset("kept"), tmp_path / "up.wav") - plain) > 1e-4
    # What the recording is judged by is the file as it is.
    _, original = read_for(with_offset("removed"), tmp_path / "up.wav")
    assert "offset" in {found.word for found in recording_checks(original, with_offset("removed"))}


def test_a_bundle_that_does_not_say_keeps_it() -> None:
    assert AudioSettings().offset == "kept"
    assert AudioSettings.model_validate({"normalize": "none"}).offset == "kept"
    for word in ("gone", 1):
        with pytest.raises(ValueError, match="offset"):
            AudioSettings.model_validate({"offset": word})


def test_a_manifest_row_is_read_so(tmp_path: Path) -> None:
    (tmp_path / "HC").mkdir()
    soundfile.write(tmp_path / "HC" / "a_1.wav", square() + 0.1, RATE_HZ, subtype="FLOAT")
    row = build_manifest("folder", tmp_path)[0].iloc[0].to_dict()
    assert float(load(row, tmp_path).waveform.mean()) == pytest.approx(0.0, abs=1e-6)
    assert float(load(row, tmp_path, normalize="none", offset="kept").waveform.mean()) == pytest.approx(0.1, abs=1e-6)


@pytest.mark.parametrize("word", ["removed", "kept"])
def test_every_door_reads_as_the_bundle_says(word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HC", "PD"):
        (tmp_path / "voices" / name).mkdir(parents=True)
        soundfile.write(tmp_path / "voices" / name / f"{name}_1.wav", square() + 0.1, RATE_HZ, subtype="FLOAT")
    own = load_bundle("synthetic-cnn").folder
    (tmp_path / "model").mkdir()
    for path in (path for path in own.iterdir() if path.is_file()):
        text = path.read_bytes()
        if path.name == "config.toml":
            text = re.sub(
                rb"(?m)^\[audio\]\nnormalize.*\n(offset.*\n)?", f'[audio]\noffset = "{word}"\n'.encode(), text
            )
            # Without its seal, since the change is meant; the first is the bundle's, the second that of the weights.
            text = re.sub(rb'(?m)^sha256 = "[0-9a-f]{64}"\n', b"", text, count=1)
        (tmp_path / "model" / path.name).write_bytes(text)
    bundle, file = load_bundle(tmp_path / "model"), tmp_path / "voices" / "HC" / "HC_1.wav"
    expected = [-1.0, 1.0] if word == "removed" else [-0.5, 1.0]
    config = EvaluateConfig(data=str(tmp_path / "voices"), model=str(tmp_path / "model"), out=tmp_path / "run")
    session = prepare(config)
    plan = Plan("mine", offset=word)
    monkeypatch.setattr(sources, "bundle", lambda model: bundle)
    monkeypatch.setattr(sources, "mine", lambda: {"x": ("x.wav", file.read_bytes())})
    heard = {
        "command line": read_for(bundle, file)[0],
        "evaluate": session.read(session.manifest.iloc[0].to_dict()),
        "train": read_corpus(str(tmp_path / "voices"), None, plan).recordings[0],
        "app": sources.recording("model", ("mine", "x")),
    }
    for door, recording in heard.items():
        assert np.unique(recording.waveform) == pytest.approx(expected, abs=1e-5), door
    assert np.unique(sources.original(("mine", "x")).waveform) == pytest.approx([-0.2, 0.4], abs=1e-5)
