"""What a file says of its length, against what it holds: every container, cut, damaged, lying, or of unknown length."""

from __future__ import annotations

import contextlib
import io
import os
import re
import socket
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechxai.errors import SpeechXAIError
from speechxai.signal import audio, container

RATE_HZ, N_SAMPLES = 16_000, 40_000

WHOLE = [
    ("WAV", "PCM_16"),
    ("WAV", "PCM_24"),
    ("WAV", "FLOAT"),
    ("WAV", "ULAW"),
    ("WAV", "IMA_ADPCM"),
    ("WAV", "MS_ADPCM"),
    ("WAV", "GSM610"),
    ("WAV", "G721_32"),
    ("WAV", "NMS_ADPCM_16"),
    ("WAV", "NMS_ADPCM_24"),
    ("WAV", "NMS_ADPCM_32"),
    ("WAVEX", "PCM_24"),
    ("RF64", "PCM_16"),
    ("RF64", "FLOAT"),
    ("W64", "PCM_16"),
    ("W64", "GSM610"),
    ("AIFF", "PCM_16"),
    ("AIFF", "FLOAT"),
    ("AIFF", "IMA_ADPCM"),
    ("AIFF", "GSM610"),
    ("AU", "PCM_16"),
    ("AU", "G721_32"),
    ("AU", "G723_24"),
    ("NIST", "PCM_16"),
    ("NIST", "ULAW"),
    ("CAF", "PCM_16"),
    ("CAF", "ALAC_16"),
    ("FLAC", "PCM_16"),
    ("FLAC", "PCM_24"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
]
CANNOT_SEEK = [pair for pair in WHOLE if pair[1][:3] in ("GSM", "G72", "NMS")]


def voice(n_samples: int = N_SAMPLES) -> np.ndarray:
    t = np.arange(n_samples) / RATE_HZ
    noise = np.random.default_rng(0).standard_normal(n_samples)
    return (0.3 * np.sin(2 * np.pi * 200 * t) + 0.05 * noise).clip(-0.9, 0.9)


def saved(folder: Path, kind: str, subtype: str, endian: str | None = None, signal: np.ndarray | None = None) -> Path:
    path = folder / "x.bin"
    soundfile.write(path, voice() if signal is None else signal, RATE_HZ, format=kind, subtype=subtype, endian=endian)
    return path


def samples(path: Path) -> np.ndarray:
    return audio.read_audio(path, sample_rate=None, normalize="none", offset="kept").waveform.numpy()


def put(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def replaced(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def refusal(path: Path) -> str:
    with pytest.raises(SpeechXAIError) as error:
        audio.read_audio(path)
    text = str(error.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many samples a channel the decoder gave, call by call."""
    calls: list[int] = []
    real = soundfile.SoundFile._array_io

    def counted(self: object, action: str, array: np.ndarray, frames: int) -> int:
        calls.append(int(real(self, action, array, frames)))
        return calls[-1]

    monkeypatch.setattr(soundfile.SoundFile, "_array_io", counted)
    return calls


# ---- whole and cut


@pytest.mark.parametrize(("kind", "subtype"), WHOLE)
def test_a_whole_file_is_read_whole(tmp_path: Path, kind: str, subtype: str, decoded: list[int]) -> None:
    path = saved(tmp_path, kind, subtype)
    got = samples(path)
    # The last block of these codecs is filled up; W64, AU and libsndfile's own ADPCM do not state by how much.
    assert N_SAMPLES <= len(got) <= N_SAMPLES + 1_200
    assert len(got) <= sum(decoded)
    level = np.abs(np.fft.rfft(got[8_000:24_000]))
    assert int(level.argmax()) == 200  # 1 s: bin = Hz


@pytest.mark.parametrize("tail", ["itself", "noise", "a few bytes"])
@pytest.mark.parametrize(("kind", "subtype"), [k for k in WHOLE if k[1] in ("PCM_16", "FLOAT", "ULAW")])
def test_what_stands_after_the_stated_end_is_no_sound(tmp_path: Path, kind: str, subtype: str, tail: str) -> None:
    """Two recordings in one file, or what a transfer left: refused, or read to the stated end and no further."""
    path = saved(tmp_path, kind, subtype)
    whole, data = samples(path), path.read_bytes()
    noise = np.random.default_rng(3).bytes(5_000)
    put(path, data + {"itself": data, "noise": noise, "a few bytes": b"end of file\n"}[tail])
    try:
        np.testing.assert_array_equal(samples(path), whole)
    except SpeechXAIError:
        assert re.search("damaged|several|not a recording that can be read", refusal(path))


@pytest.mark.parametrize("kept", [0.97, 0.6, 0.15])
@pytest.mark.parametrize(("kind", "subtype"), WHOLE)
def test_a_cut_file_is_refused(tmp_path: Path, kind: str, subtype: str, kept: float) -> None:
    path = saved(tmp_path, kind, subtype)
    put(path, path.read_bytes()[: int(kept * path.stat().st_size)])
    said = refusal(path)
    assert "truncated" in said or "damaged" in said


def test_a_cut_big_endian_wav_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, "WAV", "PCM_16", "BIG")
    assert path.read_bytes()[:4] == b"RIFX"
    assert len(samples(path)) == N_SAMPLES
    put(path, path.read_bytes()[:50_000])
    assert "truncated: the header promises 80000 bytes of samples, the file holds 49956 (62 %)" in refusal(path)


def test_a_cut_little_endian_au_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, "AU", "PCM_16", "LITTLE")
    assert path.read_bytes()[:4] == b"dns."
    put(path, path.read_bytes()[:50_000])
    assert "truncated: the header promises 80000 bytes" in refusal(path)


@pytest.mark.parametrize("n_before", [100_000, 3_000_001])
def test_samples_after_a_long_chunk_are_counted(tmp_path: Path, n_before: int) -> None:
    data = saved(tmp_path, "WAV", "PCM_16").read_bytes()
    chunk = b"LIST" + struct.pack("<I", n_before) + bytes(n_before + n_before % 2)
    path = put(tmp_path / "x.wav", data[:36] + chunk + data[36:])
    assert len(samples(path)) == N_SAMPLES
    put(path, path.read_bytes()[:-30_000])
    assert "the header promises 80000 bytes of samples, the file holds 50000 (62 %)" in refusal(path)


@pytest.mark.parametrize("length", [1 << 63, (1 << 64) - 1, 1 << 40, 0])
def test_a_chunk_that_reaches_beyond_the_file_is_named(tmp_path: Path, length: int) -> None:
    data = saved(tmp_path, "W64", "PCM_16").read_bytes()
    put(tmp_path / "x.w64", replaced(data, data.index(b"fmt ") + 16, struct.pack("<Q", length)))
    assert "the header has no chunk of samples" in refusal(tmp_path / "x.w64")
    data = saved(tmp_path, "CAF", "PCM_16").read_bytes()
    put(tmp_path / "x.caf", replaced(data, 12, struct.pack(">Q", length or 1 << 62)))
    refusal(tmp_path / "x.caf")


def test_a_nist_header_of_absurd_numbers_is_answered(tmp_path: Path) -> None:
    path = saved(tmp_path, "NIST", "PCM_16")
    data = path.read_bytes()
    for number in (b"9" * 15, b"9" * 500, b"-1", b"x"):
        count = b"sample_count -i " + number + b"\n"
        changed = (data[:16] + count + data[16:1_024].replace(b"sample_count -i 40000\n", b"")).ljust(1_024)[:1_024]
        put(path, changed + data[1_024:])
        if number == b"9" * 15:
            assert "truncated" in refusal(path)
        else:
            assert len(samples(path)) == N_SAMPLES


@pytest.mark.parametrize("at", [4_000, 20_000, 60_000])
def test_a_caf_that_lost_a_byte_is_refused(tmp_path: Path, at: int) -> None:
    """Its table of packets may be short, and stands a byte early then."""
    path = saved(tmp_path, "CAF", "ALAC_16")
    data = path.read_bytes()
    put(path, data[:at] + data[at + 1 :])
    assert re.search("damaged|truncated|not a recording", refusal(path))


def test_chunks_without_end_do_not_hang(tmp_path: Path) -> None:
    path = put(tmp_path / "x.wav", b"RIFF\0\0\0\0WAVE" + b"abcd\0\0\0\0" * 200_000)
    start = time.monotonic()
    refusal(path)
    assert time.monotonic() - start < 2


@pytest.mark.parametrize("share", [0.9, 0.5, 0.1])
@pytest.mark.parametrize(
    ("kind", "name", "order"), [("WAV", b"data", "<"), ("AIFF", b"SSND", ">"), ("AU", b"\0\0\0\x18", ">")]
)
def test_a_length_that_is_too_small_contradicts_the_container(
    tmp_path: Path, kind: str, name: bytes, order: str, share: float
) -> None:
    path = saved(tmp_path, kind, "PCM_16")
    data = path.read_bytes()
    at = data.index(name) + 4
    put(path, replaced(data, at, struct.pack(order + "I", int(share * 80_000))))
    assert "the header contradicts itself" in refusal(path)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "DOUBLE"])
def test_an_aiff_whose_samples_begin_later_than_there_is_room_is_refused(tmp_path: Path, subtype: str) -> None:
    path = saved(tmp_path, "AIFF", subtype)
    data = path.read_bytes()
    at = data.index(b"SSND") + 8
    put(path, replaced(data, at, struct.pack(">I", 40_000)))
    assert "the header states 40000 samples, and" in refusal(path)
    path = saved(tmp_path, "AIFF", "IMA_ADPCM")
    put(path, replaced(path.read_bytes(), path.read_bytes().index(b"SSND") + 8, struct.pack(">I", 40_000)))
    assert "and 0 follow" in refusal(path)
    frames = data.index(b"COMM") + 10
    put(path, replaced(data, frames, struct.pack(">I", N_SAMPLES + 1)))
    assert "the header states 40001 samples, and 40000 follow" in refusal(path)


def test_what_programs_append_is_no_contradiction(tmp_path: Path) -> None:
    path = saved(tmp_path, "WAV", "PCM_16")
    data = path.read_bytes()
    put(path, data + b"TAG" + bytes(range(125)))  # an ID3v1 tag, which the container does not count
    assert len(samples(path)) == N_SAMPLES
    padded = replaced(data + bytes(5_000), 4, struct.pack("<I", len(data) + 5_000 - 8))
    assert len(samples(put(path, padded))) == N_SAMPLES


# ---- unknown length

_32 = [0, 0x7FFF_F000, 0x7FFF_EFFF, 0x7FFF_FF00, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 0xFFFF_FFDB]
_64 = [0, 0xFFFF_FFFF, (1 << 63) - 1, (1 << 64) - 1]


def wav_of(order: str) -> Callable[[bytes, int], bytes]:
    return lambda data, mark: replaced(data, data.index(b"data") + 4, struct.pack(order + "I", mark))


def rf64_of(data: bytes, mark: int) -> bytes:
    return replaced(data, data.index(b"ds64") + 16, struct.pack("<Q", mark))


def w64_of(data: bytes, mark: int) -> bytes:
    return replaced(data, data.index(b"data\xf3") + 16, struct.pack("<Q", mark))


def aiff_of(data: bytes, mark: int) -> bytes:
    data = replaced(data, data.index(b"COMM") + 10, struct.pack(">I", mark))
    data = replaced(data, 4, struct.pack(">I", mark))
    return replaced(data, data.index(b"SSND") + 4, struct.pack(">I", min(mark + 8, 0xFFFF_FFFF) if mark else 0))


def au_of(data: bytes, mark: int) -> bytes:
    return replaced(data, 8, struct.pack(">I", mark))


def caf_of(data: bytes, mark: int) -> bytes:
    return replaced(data, data.index(b"data") + 4, struct.pack(">q", mark))


UNKNOWN = [
    *[("WAV", "PCM_16", None, wav_of("<"), mark) for mark in _32],
    *[("WAV", "PCM_24", None, wav_of("<"), mark) for mark in (0, 0x7FFF_EFFF)],
    *[("WAV", "FLOAT", None, wav_of("<"), mark) for mark in (0, 0xFFFF_FFFF)],
    *[("WAV", "PCM_16", "BIG", wav_of(">"), mark) for mark in _32],
    *[("WAV", subtype, None, wav_of("<"), 0xFFFF_FFFF) for subtype in ("IMA_ADPCM", "MS_ADPCM", "GSM610", "ULAW")],
    *[("WAVEX", "PCM_24", None, wav_of("<"), mark) for mark in _32],
    *[("RF64", "PCM_16", None, rf64_of, mark) for mark in _64],
    *[("W64", "PCM_16", None, w64_of, mark) for mark in (0, 24, (1 << 63) - 1, (1 << 64) - 1)],
    *[("AIFF", "PCM_16", None, aiff_of, mark) for mark in (0, 0x7F00_0000, 0xFFFF_FFFF)],
    *[("AU", "PCM_16", None, au_of, mark) for mark in (0, 0xFFFF_FFFF)],
    *[("CAF", "PCM_16", None, caf_of, mark) for mark in (-1, 0)],
]


@pytest.mark.parametrize(("kind", "subtype", "endian", "unknown", "mark"), UNKNOWN)
def test_a_mark_of_unknown_length_means_all_that_is_there(
    tmp_path: Path, kind: str, subtype: str, endian: str | None, unknown: Callable[[bytes, int], bytes], mark: int
) -> None:
    path = saved(tmp_path, kind, subtype, endian)
    whole, before = samples(path), path.read_bytes()
    put(path, unknown(before, mark))
    assert path.read_bytes() != before
    np.testing.assert_array_equal(samples(path), whole)
    assert audio.probe(path).n_samples == len(whole)


def test_a_data_chunk_of_no_bytes_before_another_chunk_is_empty(tmp_path: Path) -> None:
    path = saved(tmp_path, "WAV", "PCM_16", signal=np.zeros(0))
    put(path, path.read_bytes() + b"LIST" + struct.pack("<I", 4_000) + bytes(4_000))
    assert "holds no samples" in refusal(path)


def test_a_flac_from_a_pipe_is_read(tmp_path: Path) -> None:
    for n_samples in (3_000, 4_096, N_SAMPLES, 1_200_000):
        path = saved(tmp_path, "FLAC", "PCM_16", signal=voice(n_samples))
        whole, data = samples(path), path.read_bytes()
        put(path, replaced(replaced(data, 22, bytes(4)), 21, bytes([data[21] & 0xF0])))
        assert soundfile.info(path).frames > 1 << 60
        np.testing.assert_array_equal(samples(path), whole)
        put(path, path.read_bytes()[:-100])
        assert "truncated: the last flac frame is not complete" in refusal(path)


# ---- headers that lie


@pytest.mark.parametrize("stated", [1_000, 20_000, N_SAMPLES - 1, N_SAMPLES + 1, 80_000])
def test_a_flac_header_that_lies_is_refused(tmp_path: Path, stated: int) -> None:
    path = saved(tmp_path, "FLAC", "PCM_16")
    put(path, replaced(path.read_bytes(), 22, struct.pack(">I", stated)))
    assert f"the flac header states {stated / RATE_HZ:.2f} s, the frames hold 2.50 s" in refusal(path)


def mp3_frames(data: bytes) -> list[bytes]:
    frames, at = [], 0
    while at < len(data):
        found = container.mp3_frame(data[at : at + 4])
        assert found is not None
        frames.append(data[at : at + found[0]])
        at += found[0]
    return frames


def vbr_mp3(folder: Path) -> list[bytes]:
    """Frames of a variable bit rate: the second half, louder and noisier, takes more bytes."""
    signal = np.concatenate([0.01 * voice(), np.random.default_rng(0).uniform(-0.5, 0.5, N_SAMPLES)])
    path = folder / "x.mp3"
    with soundfile.SoundFile(path, "w", RATE_HZ, 1, "MPEG_LAYER_III", format="MP3", bitrate_mode="VARIABLE") as file:
        file.write(signal)
    frames = mp3_frames(path.read_bytes())
    assert len({len(frame) for frame in frames}) > 2
    return frames


def test_an_mp3_without_a_frame_count_is_read_to_its_end(tmp_path: Path) -> None:
    frames = vbr_mp3(tmp_path)
    path = put(tmp_path / "x.mp3", b"".join(frames[1:]))  # the first frame is the count
    got = samples(path)
    assert soundfile.info(path).frames != len(got)  # libsndfile's guess
    assert 2 * N_SAMPLES <= len(got) <= 576 * (len(frames) - 1)
    assert np.abs(got[-6_000:-4_000]).max() > 0.1
    for tag in (b"TAG" + bytes(range(125)), b"APETAGEX" + bytes(range(50)), bytes(500)):
        assert len(samples(put(path, b"".join(frames[1:]) + tag))) == len(got)
    tag = b"ID3\x04\0\0\0\0\x02\0" + bytes(256)
    for lead in (tag, tag + tag, tag + bytes(300), tag + b"APETAGEX" + bytes(24), bytes(300)):
        np.testing.assert_array_equal(samples(put(path, lead + b"".join(frames[1:]))), got)
        put(path, lead + b"".join(frames[1:])[:-20])
        assert "truncated: the last mp3 frame is not complete" in refusal(path)


def test_what_the_mp3_decoder_prints_by_itself_reaches_no_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    frames = vbr_mp3(tmp_path)
    for index, damage in enumerate((b"\xff" * 900, bytes(900), b"no frame" * 90)):
        path = put(tmp_path / f"{index}.mp3", b"".join([*frames[:20], damage, *frames[20:]]))
        with contextlib.suppress(SpeechXAIError):
            audio.read_audio(path)
        with audio.opened(path, container.Stated()) as file:
            os.write(2, b"Note: of somebody else\n")
            with contextlib.suppress(soundfile.SoundFileError):
                file.read()
    assert capfd.readouterr().err == "Note: of somebody else\n" * 3


def test_other_headers_of_an_mp3_are_replaced_by_one_that_is_read(tmp_path: Path) -> None:
    frames, tag = vbr_mp3(tmp_path), b"ID3\x04\0\0\0\0\x02\0" + bytes(256)
    n_sounding = len(frames) - 1
    whole = samples(put(tmp_path / "x.mp3", b"".join(frames[1:])))
    form = b"VBRI" + struct.pack(">HHHII", 1, 0, 75, len(b"".join(frames)), n_sounding)
    longest = max(frames, key=len)
    vbri = longest[:4] + (bytes(32) + form).ljust(len(longest) - 4, b"\0")
    np.testing.assert_array_equal(samples(put(tmp_path / "x.mp3", b"".join([vbri, *frames[1:]]))), whole)
    put(tmp_path / "x.mp3", b"".join([vbri, *frames[1:-9]]))
    assert "the mp3 header states 5.0" in refusal(tmp_path / "x.mp3")
    for lead in (b"junk" * 20, frames[1][7:], tag + frames[1][7:]):
        assert "no mp3 frame" in refusal(put(tmp_path / "x.mp3", lead + b"".join(frames[2:])))
    at = next(frames[0].index(name) for name in (b"Xing", b"Info") if name in frames[0])
    for damaged in (replaced(frames[0], at - 3, b"\x80"), replaced(frames[0], at - 1, b"\x01")):
        put(tmp_path / "x.mp3", b"".join([damaged, *frames[1:]]))  # the decoder takes its first frame for sound
        assert len(samples(tmp_path / "x.mp3")) == len(whole) + 576
    no_count = replaced(frames[0], at + 4, bytes(4))
    np.testing.assert_array_equal(samples(put(tmp_path / "x.mp3", b"".join([no_count, *frames[1:]]))), whole)


@pytest.mark.parametrize("n_lost", [1, 40, 100])
def test_an_mp3_without_a_frame_count_that_ends_within_a_frame_is_refused(tmp_path: Path, n_lost: int) -> None:
    frames = vbr_mp3(tmp_path)
    put(tmp_path / "x.mp3", b"".join(frames[1:])[:-n_lost])
    assert "truncated: the last mp3 frame is not complete" in refusal(tmp_path / "x.mp3")


def test_an_mp3_with_a_wrong_frame_count_is_refused(tmp_path: Path) -> None:
    frames = vbr_mp3(tmp_path)
    data = b"".join(frames)
    at = next(data.index(name) for name in (b"Xing", b"Info") if name in frames[0])
    n_frames = struct.unpack_from(">I", data, at + 8)[0]
    assert abs(n_frames - len(frames)) <= 1
    put(tmp_path / "x.mp3", replaced(data, at + 8, struct.pack(">I", n_frames // 2)))
    assert "the mp3 header states 2.5" in refusal(tmp_path / "x.mp3")
    put(tmp_path / "x.mp3", replaced(data, at + 8, struct.pack(">I", n_frames * 2)))
    assert "decoded " in refusal(tmp_path / "x.mp3")
    put(tmp_path / "x.mp3", data + data)  # two files in one
    assert "several mp3 files in one: another begins after 5.11 s" in refusal(tmp_path / "x.mp3")


def test_an_mp3_in_which_another_begins_is_refused(tmp_path: Path) -> None:
    frames = vbr_mp3(tmp_path)
    bare = b"".join(frames[1:]) if any(name in frames[0] for name in (b"Xing", b"Info")) else b"".join(frames)
    put(tmp_path / "x.mp3", bare + b"".join(frames))
    assert "several mp3 files in one: another begins after " in refusal(tmp_path / "x.mp3")


def test_an_mp3_with_foreign_bytes_inside_is_refused(tmp_path: Path) -> None:
    frames = vbr_mp3(tmp_path)
    for junk in (b"\x55" * 300, b"\xff" * 1_000, bytes(9_000), b"ID3\4\0\0\0\0\0\x14" + bytes(20), b"TAG" + bytes(125)):
        put(tmp_path / "x.mp3", b"".join(frames[1:40]) + junk + b"".join(frames[40:]))
        assert "damaged: what follows 1.40 s is no mp3 frame" in refusal(tmp_path / "x.mp3")


def test_a_long_mp3_is_decoded_in_one_go(tmp_path: Path) -> None:
    """At a low bit rate a frame borrows from many before it: a seek between blocks would lose them."""
    path = tmp_path / "x.mp3"
    signal = voice(40 * RATE_HZ)
    with soundfile.SoundFile(path, "w", RATE_HZ, 1, "MPEG_LAYER_III", format="MP3", compression_level=0.99) as file:
        file.write(signal)
    with soundfile.SoundFile(path) as file:
        whole = file.read(dtype="float32")
    np.testing.assert_array_equal(samples(path), whole)


def test_an_mp3_inside_a_wav_is_read_and_its_cut_refused(tmp_path: Path) -> None:
    data = saved(tmp_path, "MP3", "MPEG_LAYER_III").read_bytes()
    whole = samples(tmp_path / "x.bin")
    form = struct.pack("<HHIIHHHHIHHH", 0x55, 1, RATE_HZ, len(data), 1, 0, 12, 1, 2, 1_152, 1, 1_393)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"fact" + struct.pack("<II", 4, 1)
    body += b"data" + struct.pack("<I", len(data)) + data
    path = put(tmp_path / "x.wav", b"RIFF" + struct.pack("<I", len(body)) + body)
    np.testing.assert_array_equal(samples(path), whole)
    put(path, path.read_bytes()[:-500])
    assert "truncated: the header promises" in refusal(path)


def test_a_wav_in_a_coding_that_is_not_read_says_so(tmp_path: Path) -> None:
    data = saved(tmp_path, "WAV", "PCM_16").read_bytes()
    assert "in a coding that is not read" in refusal(put(tmp_path / "x.wav", replaced(data, 20, b"\x50\0")))


# ---- Ogg


def checksum_bit_by_bit(data: bytes) -> int:
    """RFC 3533: polynomial 0x04C11DB7, first bit first, from 0, no final complement."""
    value = 0
    for byte in data:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1) ^ (0x04C11DB7 if value & 0x80000000 else 0)
            value &= 0xFFFFFFFF
    return value


def ogg_pages(data: bytes) -> list[bytes]:
    pages, at = [], 0
    while at < len(data):
        n_segments = data[at + 26]
        end = at + 27 + n_segments + sum(data[at + 27 : at + 27 + n_segments])
        pages.append(data[at:end])
        at = end
    return pages


def ogg_page(serial: int, number: int, flags: int, body: bytes, sample: int = 0) -> bytes:
    lengths = bytes([255] * (len(body) // 255) + [len(body) % 255])
    page = struct.pack("<4sBBqIIIB", b"OggS", 0, flags, sample, serial, number, 0, len(lengths)) + lengths + body
    return replaced(page, 22, struct.pack("<I", container.ogg_checksum(page)))


def test_the_checksum_is_that_of_the_standard() -> None:
    for n in (0, 1, 27, 300):
        data = np.random.default_rng(n).bytes(n)
        assert container.ogg_checksum(data) == checksum_bit_by_bit(data)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_one_wrong_byte_of_an_ogg_is_noticed(tmp_path: Path, subtype: str) -> None:
    path = saved(tmp_path, "OGG", subtype)
    data = path.read_bytes()
    for place in np.random.default_rng(0).integers(0, len(data), 40):
        put(path, replaced(data, int(place), bytes([data[place] ^ 0x10])))
        said = refusal(path)
        assert any(word in said for word in ("damaged", "truncated", "not a recording")), said


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_a_lost_repeated_or_moved_page_is_noticed(tmp_path: Path, subtype: str) -> None:
    path = saved(tmp_path, "OGG", subtype, signal=voice(10 * RATE_HZ))
    pages = ogg_pages(path.read_bytes())
    assert len(pages) > 6
    for changed in (pages[:4] + pages[5:], pages[:4] + pages[3:], [*pages[:3], pages[4], pages[3], *pages[5:]]):
        put(path, b"".join(changed))
        assert "of the Ogg stream are missing" in refusal(path)
    put(path, b"".join(pages[:-1]))
    assert "no complete end page" in refusal(path)


def test_a_chain_of_ogg_recordings_is_refused_not_shortened(tmp_path: Path) -> None:
    first = saved(tmp_path, "OGG", "VORBIS").read_bytes()
    second = saved(tmp_path, "OGG", "VORBIS", signal=voice(60_000)).read_bytes()
    for chain, n in ((first + second, 2), (second + first, 2), (first + second + first, 3)):
        put(tmp_path / "x.ogg", chain)
        assert f"{n} Ogg recordings one after another in one file" in refusal(tmp_path / "x.ogg")
    put(tmp_path / "x.ogg", first + replaced(second, 0, b"o"))
    assert "damaged" in refusal(tmp_path / "x.ogg")
    put(tmp_path / "x.ogg", first + b"TAG" + bytes(125))  # another program's tag is no recording
    assert len(samples(tmp_path / "x.ogg")) == N_SAMPLES


def test_ten_megabytes_of_ogg_are_checked_in_under_a_second() -> None:
    body = np.random.default_rng(0).bytes(4_000)
    pages = [ogg_page(7, number, 2 if number == 0 else 0, body, number) for number in range(2_600)]
    data = b"".join([*pages, ogg_page(7, 2_600, 4, body, 2_600)])
    start = time.monotonic()
    assert container.ogg(io.BytesIO(data), 0, len(data)) == container.Stated()
    assert time.monotonic() - start < 1
    assert len(data) > 10_000_000


# ---- codecs that cannot seek, and those that fill up their last block


@pytest.mark.parametrize(("kind", "subtype"), CANNOT_SEEK)
def test_what_cannot_seek_is_read(tmp_path: Path, kind: str, subtype: str, decoded: list[int]) -> None:
    path = saved(tmp_path, kind, subtype, signal=voice(20 * RATE_HZ))  # more than one block of the reader
    with soundfile.SoundFile(path) as file:
        assert not file.seekable()
        expected = file.read(20 * RATE_HZ, dtype="float32")
    decoded.clear()
    got = samples(path)
    np.testing.assert_array_equal(got[: len(expected)], expected)
    assert len(got) <= sum(decoded)


@pytest.mark.parametrize("subtype", ["IMA_ADPCM", "MS_ADPCM", "GSM610"])
def test_the_padding_of_the_last_block_is_cut_off(tmp_path: Path, subtype: str) -> None:
    path = saved(tmp_path, "WAV", subtype)
    with soundfile.SoundFile(path) as file:
        padded = file.read(N_SAMPLES + 5_000, dtype="float32")
    data = path.read_bytes()
    at = data.index(b"fact") + 8
    for stated in (len(padded), len(padded) - 1, len(padded) - 150):
        put(path, replaced(data, at, struct.pack("<I", stated)))
        np.testing.assert_array_equal(samples(path), padded[:stated])
        assert audio.probe(path).n_samples == stated
    path = saved(tmp_path, "WAV", subtype, signal=voice(300))
    data = path.read_bytes()
    put(path, replaced(data, data.index(b"fact") + 8, bytes(4)))  # 0: a pipe did not know
    assert audio.probe(path).n_samples == soundfile.info(path).frames >= 300


@pytest.mark.parametrize("subtype", ["IMA_ADPCM", "MS_ADPCM", "GSM610"])
def test_a_number_of_samples_that_the_blocks_cannot_hold_is_not_believed(tmp_path: Path, subtype: str) -> None:
    path = saved(tmp_path, "WAV", subtype)
    data, n_padded = path.read_bytes(), soundfile.info(path).frames
    at = data.index(b"fact") + 8
    # No number of samples that the blocks could hold: nobody knows what the program meant.
    for stated in (0, 1, n_padded - 5_000, n_padded + 1, 0xFFFF_FFFF):
        put(path, replaced(data, at, struct.pack("<I", stated)))
        assert len(samples(path)) == n_padded


def test_padding_stays_where_no_header_states_the_number_of_samples(tmp_path: Path) -> None:
    """W64 of libsndfile has no `fact` chunk: less than a block of the decoder's silence stays at the end."""
    got = samples(saved(tmp_path, "W64", "IMA_ADPCM"))
    assert N_SAMPLES < len(got) < N_SAMPLES + 1_017
    assert np.abs(got[N_SAMPLES + 10 :]).max() < 0.05


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [("VOC", "PCM_16"), ("IRCAM", "PCM_16"), ("PAF", "PCM_16"), ("AVR", "PCM_16"), ("AIFF", "DWVW_16")],
)
def test_containers_whose_length_is_not_checked_are_refused_by_name(tmp_path: Path, kind: str, subtype: str) -> None:
    said = refusal(saved(tmp_path, kind, subtype))
    assert "is not read" in said
    assert "Convert it first: ffmpeg -i 'x.bin' 'x.wav'" in said


# ---- only files


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and sockets are no files there")
def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "link.wav").symlink_to("pipe.wav")
    (tmp_path / "zero.wav").symlink_to("/dev/zero")
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "nothing.wav").symlink_to("gone.wav")
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.wav")
        for name in ("pipe.wav", "link.wav", "zero.wav", "socket.wav"):
            assert "this is a pipe, a device or a socket, not a file" in refusal(tmp_path / name)
            with pytest.raises(SpeechXAIError):
                audio.probe(tmp_path / name)
        assert "this is a folder" in refusal(tmp_path / "folder.wav")
        assert "no such file" in refusal(tmp_path / "nothing.wav")
        assert "cannot be opened" in refusal(tmp_path / "loop.wav")
        assert "cannot be opened" in refusal(tmp_path / ("n" * 300 + ".wav"))
        saved(tmp_path, "WAV", "PCM_16").rename(tmp_path / "a.wav")
        assert audio.files_under(tmp_path) == ["a.wav", "loop.wav", "nothing.wav"]


def test_a_corrected_file_reads_like_the_corrected_bytes(tmp_path: Path) -> None:
    data = np.random.default_rng(0).bytes(1_000)
    path = put(tmp_path / "x", data)
    splices = ((0, 10, b""), (100, 100, b"inserted"), (200, 204, b"abcd"), (990, 1_000, b""))
    expected = data[10:100] + b"inserted" + data[100:200] + b"abcd" + data[204:990]
    file = audio.Corrected(path, splices)
    assert file.read() == expected
    for at, n in np.random.default_rng(1).integers(0, 1_100, (200, 2)):
        assert file.seek(int(at)) == at
        assert file.read(int(n)) == expected[at : at + n]
        assert file.tell() == max(at, min(at + n, len(expected)))
    assert file.seek(-5, 2) == len(expected) - 5
    assert file.seek(-2_000, 1) == 0
    file.close()


# --- headers of frames, by hand -------------------------------------------------------------------------------------


def flac_head(size_code: int, number: bytes, more: bytes = b"", rate_code: int = 5, fixed: bool = True) -> bytes:
    """Header of a flac frame: sync, codes, coded number, the rest of the codes, and its checksum."""
    head = bytes((0xFF, 0xF8 if fixed else 0xF9, size_code << 4 | rate_code, 0)) + number + more
    return head + bytes((container._crc8(head),))


@pytest.mark.parametrize(
    ("head", "end"),
    [
        # Samples by the code of the block: 192, 576 doubled, 256 doubled, or stated less one in one or two bytes.
        (flac_head(1, b"\0"), 192),
        *((flac_head(code, b"\0"), n) for code, n in ((2, 576), (3, 1_152), (4, 2_304), (5, 4_608))),
        *((flac_head(code, b"\0"), n) for code, n in ((8, 256), (9, 512), (12, 4_096), (15, 32_768))),
        (flac_head(6, b"\0", b"\x63"), 100),
        (flac_head(7, b"\0", b"\x03\xe7"), 1_000),
        # A frame's number counts blocks of 4096, or with another sync samples; from 128 it is coded as UTF-8 is.
        (flac_head(8, b"\x05"), 5 * 4_096 + 256),
        (flac_head(8, b"\x05", fixed=False), 5 + 256),
        (flac_head(8, b"\xc2\x80"), 128 * 4_096 + 256),
        (flac_head(8, b"\xdf\xbf", fixed=False), 2_047 + 256),
        (flac_head(8, b"\xe0\xa0\x80", fixed=False), 2_048 + 256),
        (flac_head(8, b"\xf0\x90\x80\x80", fixed=False), 65_536 + 256),
        (flac_head(8, b"\xfe\xbf\xbf\xbf\xbf\xbf\xbf", fixed=False), (1 << 36) - 1 + 256),
        # Rates in one byte or two stand between.
        (flac_head(8, b"\0", b"\x10", 12), 256),
        (flac_head(6, b"\0", b"\x09\x3e\x80", 13), 10),
        # Not a frame: no code, a code that nobody has, a byte that cannot begin a number, cut, another checksum.
        (flac_head(0, b"\0"), None),
        (flac_head(8, b"\0", rate_code=15), None),
        (flac_head(8, b"\x80"), None),
        (flac_head(8, b"\xff"), None),
        (flac_head(7, b"\0", b"\x03\xe7")[:-1], None),
        (flac_head(8, b"\0")[:5], None),
        (flac_head(8, b"\0")[:-1] + b"\0", None),
    ],
)
def test_samples_up_to_the_end_of_a_flac_frame(head: bytes, end: int | None) -> None:
    assert container._flac_frame_end(head, 4_096) == end


@pytest.mark.parametrize(
    ("head", "frame"),
    [
        # Layer 3, 128 kbit/s at 44.1 kHz: 144 * 128000 / 44100 = 417.96 bytes, one more where it is padded.
        ("fffb9000", (417, 1_152, 44_100)),
        ("fffb9200", (418, 1_152, 44_100)),
        ("fffb9400", (384, 1_152, 48_000)),
        ("fffb9800", (576, 1_152, 32_000)),
        ("fffa1000", (104, 1_152, 44_100)),  # 32 kbit/s, with a checksum
        ("fffbe000", (1_044, 1_152, 44_100)),  # 320 kbit/s
        # MPEG 2 and 2.5: half and a quarter of the rates; layer 3 has 576 samples. 64 kbit/s: 72 * 64000 / 22050.
        ("fff38000", (208, 576, 22_050)),
        ("ffe38000", (417, 576, 11_025)),
        ("ffe38800", (576, 576, 8_000)),
        # Layer 2: 144 * 160000 / 44100; of MPEG 2 80 kbit/s. Layer 1: 4 * (12 * 288000 // 44100), of MPEG 2 144 kbit/s.
        ("fffd9000", (522, 1_152, 44_100)),
        ("fff59000", (522, 1_152, 22_050)),
        ("ffff9000", (312, 384, 44_100)),
        ("ffff9200", (316, 384, 44_100)),
        ("fff79000", (312, 384, 22_050)),
        # No such version, layer, bit rate, sample rate or sync; cut.
        *((text, None) for text in ("ffeb9000", "fff99000", "fffb0000", "fffbf000", "fffb9c00", "ff7b9000", "fffb90")),
    ],
)
def test_length_of_an_mp3_frame(head: str, frame: tuple[int, int, int] | None) -> None:
    assert container.mp3_frame(bytes.fromhex(head)) == frame


@pytest.mark.parametrize(
    ("head", "n_bytes"), [("fffb9000", 32), ("fffb90c0", 17), ("fff38000", 17), ("fff380c0", 9), ("ffe380c0", 9)]
)
def test_side_information_and_the_header_of_a_count(head: str, n_bytes: int) -> None:
    assert container._side_bytes(bytes.fromhex(head)) == n_bytes
    made = container._frame_count_header(bytes.fromhex(head), 1_234)
    assert container.mp3_frame(made[:4]) is not None
    assert container._mp3_count(made) == (b"Xing", 1_234)
    assert len(made) == (container.mp3_frame(made[:4]) or (0,))[0]
    assert container._mp3_count(made[:6] + b"\1" + made[7:]) == (b"", 0)  # not after zeros: sound
    no_count = bytearray(made)
    no_count[4 + n_bytes + 7] = 2
    assert container._mp3_count(bytes(no_count)) == (b"Xing", 0)
    vbri = bytearray(made[:4] + bytes(100))
    vbri[36:40], vbri[50:54] = b"VBRI", (77).to_bytes(4, "big")
    assert container._mp3_count(bytes(vbri)) == (b"VBRI", 77)
