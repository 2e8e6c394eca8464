"""Averaging channels: what cancels is refused with the fix, what loses a part is said, what loses nothing is not."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from speechxai.classifiers.bundle import load_bundle
from speechxai.data.cards import build_manifest
from speechxai.data.corpus import check
from speechxai.data.synthetic import takes
from speechxai.errors import SpeechXAIError
from speechxai.inspection.inspect import read_for, recording_checks
from speechxai.signal.audio import Mixing, read_audio
from speechxai.signal.quality import checks, quality

RATE_HZ = 16_000
Signal = NDArray[np.float64]


@cache
def voice(index: int = 0) -> Signal:
    """Two seconds of a synthetic voice with a little noise of its room."""
    made = list(takes(4, 0))[index].recording().waveform.numpy()[: 2 * RATE_HZ].astype(np.float64)
    return 0.5 * np.resize(made, 2 * RATE_HZ) + noise(90 + index, 2e-3)


def noise(seed: int, level: float) -> Signal:
    return level * np.random.default_rng(seed).standard_normal(2 * RATE_HZ)


def late(signal: Signal, delay_s: float) -> Signal:
    """The same a fraction of a sample later, around the end."""
    frequency = np.fft.rfftfreq(signal.size, 1 / RATE_HZ)
    return np.fft.irfft(np.fft.rfft(signal) * np.exp(-2j * np.pi * frequency * delay_s), signal.size)


def room(signal: Signal, seed: int) -> Signal:
    """Direct sound, and as much of it again from a room that dies away in 0.4 s."""
    n = int(0.4 * RATE_HZ)
    tail = np.random.default_rng(seed).standard_normal(n) * 10 ** (-3 * np.arange(n) / n)
    tail /= np.sqrt((tail**2).sum())
    tail[0] += 1
    return np.asarray(fftconvolve(signal, tail)[: signal.size] / 2)


def half_upside_down() -> Signal:
    return voice() * np.where(np.arange(voice().size) < 1.2 * RATE_HZ, -1.0, 1.0)


CANCEL: dict[str, tuple[Callable[[], list[Signal]], int]] = {
    "upside down": (lambda: [voice(), -voice()], 0),
    "nearly as loud": (lambda: [0.8 * voice(), -voice()], 1),
    "with a noise of its own": (lambda: [voice() + noise(1, 3e-3), -voice() + noise(2, 3e-3)], 0),
    "with a hum in common": (lambda: [voice() + noise(1, 0.02), -voice() + noise(1, 0.02)], 0),
    "for the most part of the time": (lambda: [voice(), half_upside_down()], 0),
    "four channels": (lambda: [voice(), -voice(), voice(), -voice()], 0),
    "0.5 ms late, the first resonance in a gap": (lambda: [voice(), late(voice(), 5e-4)], 0),
    "offsets of their own": (lambda: [voice() + 0.2, -voice() + 0.1], 0),
}
LOSE: dict[str, Callable[[], list[Signal]]] = {
    "0.2 ms late": lambda: [voice(), late(voice(), 2e-4)],
    "5 ms late": lambda: [voice(), late(voice(), 5e-3)],
    "late in a room": lambda: [room(voice(), 1), late(room(voice(), 2), 5e-4)],
}
UNLIKE: dict[str, tuple[Callable[[], list[Signal]], int]] = {
    "silent second": (lambda: [voice(), 0 * voice()], 0),
    "silent first": (lambda: [0 * voice(), voice()], 1),
    "40 dB lower": (lambda: [voice(), 0.01 * voice()], 0),
    "40 dB lower, upside down": (lambda: [voice(), -0.01 * voice()], 0),
    "noise in the first": (lambda: [noise(3, 1e-3), voice(), voice()], 1),
}
FINE: dict[str, Callable[[], list[Signal]]] = {
    "the same": lambda: [voice(), voice()],
    "six dB lower": lambda: [voice(), 0.5 * voice()],
    "ten dB lower, upside down": lambda: [voice(), -0.3 * voice()],
    "two places in a room": lambda: [room(voice(), 1), room(voice(), 2)],
    "one of three upside down": lambda: [voice(), voice(), -voice()],
}


def turns() -> list[Signal]:
    """Two voices that take turns, each heard by the other's microphone 20 dB lower."""
    first = np.arange(2 * RATE_HZ) < RATE_HZ
    one, other = voice(0) * first, voice(1) * ~first
    return [one + 0.1 * other, other + 0.1 * one]


APART: dict[str, tuple[Callable[[], list[Signal]], int]] = {
    "two voices at once": (lambda: [voice(0), voice(1)], 0),
    "two voices, the second louder": (lambda: [0.4 * voice(0), voice(1)], 1),
    "two voices in turn": (turns, 0),
    "two noises": (lambda: [noise(4, 0.1), noise(5, 0.1)], 0),
    "eight unrelated": (lambda: [noise(seed, 0.05) for seed in range(8)], 0),
    "one of three is another": (lambda: [voice(0), voice(0), voice(1)], 0),
}


def written(folder: Path, channels: list[Signal]) -> Path:
    soundfile.write(folder / "x.wav", np.stack(channels, axis=1), RATE_HZ, subtype="FLOAT")
    return folder / "x.wav"


def said(path: Path) -> str:
    """What the check of channels says about a file."""
    recording = read_audio(path)
    found = checks(quality(recording.waveform, RATE_HZ), mixing=recording.metadata["mixing"])
    return str(next(check for check in found if check.name == "Channels"))


@pytest.mark.parametrize("member", CANCEL)
def test_channels_that_cancel_are_refused_with_the_one_to_choose(member: str, tmp_path: Path) -> None:
    channels, loudest = CANCEL[member][0](), CANCEL[member][1]
    path = written(tmp_path, channels)
    with pytest.raises(SpeechXAIError, match=rf"x\.wav: its channels cancel .* --channel {loudest} \(channel\)"):
        read_audio(path)
    chosen = read_audio(path, channel=loudest, normalize="none", offset="kept")
    np.testing.assert_allclose(chosen.waveform, channels[loudest], atol=1e-6)
    assert "mixing" not in chosen.metadata


@pytest.mark.parametrize("member", LOSE)
def test_a_band_that_is_lost_is_said(member: str, tmp_path: Path) -> None:
    assert said(written(tmp_path, LOSE[member]())).startswith("channels cancel: averaging the channels removes ")


@pytest.mark.parametrize("member", UNLIKE)
def test_a_channel_without_a_voice_is_said(member: str, tmp_path: Path) -> None:
    text = said(written(tmp_path, UNLIKE[member][0]()))
    assert text.startswith("unlike channels: one is ")
    assert text.endswith(f"choose one: --channel {UNLIKE[member][1]}")


@pytest.mark.parametrize("member", APART)
def test_channels_of_two_sources_are_said(member: str, tmp_path: Path) -> None:
    path = written(tmp_path, APART[member][0]())
    assert said(path).startswith("unlike channels: the channels hold different sounds (")
    assert said(path).endswith(f" % alike), as of two people or places; choose one: --channel {APART[member][1]}")


def test_a_quiet_channel_word_by_word(tmp_path: Path) -> None:
    assert said(written(tmp_path, UNLIKE["40 dB lower"][0]())) == (
        "unlike channels: one is 40 dB under the loudest and adds nothing but its noise; choose one: --channel 0"
    )


@pytest.mark.parametrize("member", FINE)
def test_channels_that_lose_nothing_are_averaged(member: str, tmp_path: Path) -> None:
    assert said(written(tmp_path, FINE[member]())) == "fine: averaged"


def test_values_by_hand(tmp_path: Path) -> None:
    def mixing(*channels: Signal) -> Mixing:
        return read_audio(written(tmp_path, list(channels))).metadata["mixing"]

    # Noise and the same 1 ms later leave (1 + cos(2 pi f d)) / 2 of the mean power: under a tenth where cos < -0.8, in
    # 2 (180 - 143.13) = 73.74 of 360 degrees.
    white = noise(6, 0.1)
    assert mixing(white, late(white, 1e-3))["lost_cells"] == pytest.approx(73.74 / 360, abs=0.01)
    assert mixing(white, late(white, 1e-3))["lost_energy"] == pytest.approx(73.74 / 360, abs=0.01)
    # A quarter of the time upside down.
    turned = white * np.where(np.arange(white.size) < white.size // 4, -1.0, 1.0)
    assert mixing(white, turned)["lost_energy"] == pytest.approx(0.25, abs=0.01)
    # The same sound at any level, upside down and late, is one source; of 8 independent frames |sum| / 8 is left, the
    # mean of a Rayleigh distribution: sqrt(pi / 8) / 2 = .3133.
    assert mixing(white, -0.3 * late(white, 1e-3))["likeness"] == pytest.approx(1, abs=0.02)
    assert mixing(white, noise(7, 0.1))["likeness"] == pytest.approx(0.3133, abs=0.02)
    assert mixing(white, 0 * white)["likeness"] == 0
    # One at 0.03 of the other: 20 log10(0.03) = -30.46 dB.
    assert mixing(white, 0.03 * white)["quietest_db"] == pytest.approx(-30.46, abs=0.01)
    assert mixing(white, 0 * white)["quietest_db"] == -120.0
    # 1 and -r leave (1 - r)^2 / (2 (1 + r^2)) of the mean power, a tenth of it for r = 0.5.
    assert mixing(white, -0.49 * white)["lost_energy"] == 0.0
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"/x\.wav: its channels cancel each other when they are averaged \(100 % of the sound is "
            r"lost\): one is upside down or late\. Choose one: --channel 0 \(channel\), or save it as a "
            r"file of its own\.$"
        ),
    ):
        mixing(white, -0.51 * white)


def test_it_is_said_where_recordings_are_judged(tmp_path: Path) -> None:
    for name, channels in (("HC", LOSE["0.2 ms late"]()), ("PD", UNLIKE["silent second"][0]())):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / f"{name}_1.wav", np.stack(channels, axis=1), RATE_HZ, subtype="FLOAT")
    soundfile.write(tmp_path / "HC" / "mono_1.wav", voice(), RATE_HZ, subtype="FLOAT")
    soundfile.write(tmp_path / "PD" / "anti_1.wav", np.stack([voice(), -voice()], axis=1), RATE_HZ, subtype="FLOAT")
    report = check(build_manifest("folder", tmp_path)[0], tmp_path)
    told = {name: words for name, words in report.warnings if "channel" in words}
    assert {name: words.split(":")[0] for name, words in told.items()} == {
        "HC_1": "channels cancel",
        "PD_1": "unlike channels",
    }
    assert [name for name, words in report.unreadable if "--channel 0" in words] == ["anti_1"]
    bundle = load_bundle("synthetic-cnn")
    names = {
        name: {found.name for found in recording_checks(read_for(bundle, tmp_path / path)[1], bundle)}
        for name, path in (("stereo", "HC/HC_1.wav"), ("mono", "HC/mono_1.wav"))
    }
    assert "Channels" in names["stereo"] - names["mono"]
