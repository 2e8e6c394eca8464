"""Reading recordings: every format that is read, and every file that must be refused with a sentence."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechxai.errors import SpeechXAIError
from speechxai.signal import audio


def tone(sample_rate: int, duration_s: float = 0.5, frequency_hz: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency_hz * np.arange(round(duration_s * sample_rate)) / sample_rate)


@pytest.mark.parametrize(
    ("name", "kind", "subtype", "tolerance"),
    [
        ("a.wav", "WAV", "PCM_U8", 2e-2),
        ("a.wav", "WAV", "PCM_16", 1e-4),
        ("a.wav", "WAV", "PCM_24", 1e-6),
        ("a.wav", "WAV", "PCM_32", 1e-6),
        ("a.wav", "WAV", "FLOAT", 1e-6),
        ("a.wav", "WAV", "DOUBLE", 1e-6),
        ("a.wav", "WAVEX", "FLOAT", 1e-6),
        ("a.flac", "FLAC", "PCM_24", 1e-6),
        ("a.ogg", "OGG", "VORBIS", 0.1),
        ("a.mp3", "MP3", "MPEG_LAYER_III", 0.1),
    ],
)
def test_every_format_gives_the_same_samples(
    tmp_path: Path, name: str, kind: str, subtype: str, tolerance: float
) -> None:
    signal = tone(16_000)
    soundfile.write(tmp_path / name, signal, 16_000, format=kind, subtype=subtype)
    recording = audio.read_audio(tmp_path / name, normalize="none")
    middle = slice(2_000, 6_000)
    assert recording.waveform.dtype == torch.float32
    np.testing.assert_allclose(recording.waveform[middle], signal[middle], atol=tolerance)


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 44_099, 44_100, 48_000, 96_000])
def test_resampling_keeps_a_tone_in_place(tmp_path: Path, rate_hz: int) -> None:
    soundfile.write(tmp_path / "a.wav", tone(rate_hz), rate_hz, subtype="FLOAT")
    recording = audio.read_audio(tmp_path / "a.wav", normalize="none")
    expected = tone(16_000)
    assert recording.sample_rate == 16_000
    assert abs(len(expected) - recording.waveform.numel()) <= 1
    middle = slice(1_000, 7_000)
    np.testing.assert_allclose(recording.waveform[middle], expected[middle], atol=1e-3)


def test_resampling_removes_what_lies_above_the_new_nyquist_frequency(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(44_100, frequency_hz=9_000.0), 44_100, subtype="FLOAT")
    middle = audio.read_audio(tmp_path / "a.wav", normalize="none").waveform[1_000:7_000]
    assert float(middle.abs().max()) < 1e-5  # 94 dB under the tone's 0.5


def test_channels_are_averaged_or_one_is_chosen(tmp_path: Path) -> None:
    left, right = tone(16_000), tone(16_000, frequency_hz=300.0)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), 16_000, subtype="FLOAT")
    mean = audio.read_audio(tmp_path / "a.wav", normalize="none")
    np.testing.assert_allclose(mean.waveform, (left + right) / 2, atol=1e-6)
    assert mean.metadata["original_channels"] == 2
    np.testing.assert_allclose(
        audio.read_audio(tmp_path / "a.wav", normalize="none", channel=1).waveform, right, atol=1e-6
    )


def test_normalization_and_what_it_remembers(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "voice.wav", 0.2 * tone(22_050), 22_050, subtype="FLOAT")
    recording = audio.read_audio(tmp_path / "voice.wav", label=1, speaker="set/1", metadata={"age": 70})
    assert float(recording.waveform.abs().max()) == pytest.approx(1.0, abs=1e-6)
    assert (recording.id, recording.speaker, recording.label) == ("voice", "set/1", 1)
    assert recording.metadata["original_peak"] == pytest.approx(0.1, abs=1e-3)
    assert recording.metadata["original_sample_rate"] == 22_050
    assert recording.metadata["age"] == 70
    # sha256 of the bytes on disk, by the standard library.
    import hashlib

    assert recording.metadata["sha256"] == hashlib.sha256((tmp_path / "voice.wav").read_bytes()).hexdigest()


def test_the_own_rate_is_kept_on_request(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(8_000), 8_000)
    assert audio.read_audio(tmp_path / "a.wav", sample_rate=None).sample_rate == 8_000


def test_probe_reads_the_header(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", np.zeros((4_410, 3)), 44_100)
    info = audio.probe(tmp_path / "a.flac")
    assert (info.sample_rate, info.n_channels, info.n_samples, info.duration_s) == (44_100, 3, 4_410, 0.1)


def wav(path: Path, signal: np.ndarray, rate_hz: int = 16_000, subtype: str = "FLOAT") -> Path:
    soundfile.write(path, signal, rate_hz, subtype=subtype)
    return path


def empty(folder: Path) -> Path:
    (folder / "x.wav").write_bytes(b"")
    return folder / "x.wav"


def text(folder: Path) -> Path:
    (folder / "x.wav").write_text("subject,label\nA,HC\n" * 50)
    return folder / "x.wav"


def noise_bytes(folder: Path) -> Path:
    (folder / "x.wav").write_bytes(np.random.default_rng(0).bytes(4_000))
    return folder / "x.wav"


def truncated_wav(folder: Path) -> Path:
    path = wav(folder / "x.wav", tone(16_000), subtype="PCM_16")
    path.write_bytes(path.read_bytes()[:-8_000])
    return path


def truncated_wavex(folder: Path) -> Path:
    soundfile.write(folder / "x.wav", tone(16_000), 16_000, format="WAVEX", subtype="FLOAT")
    (folder / "x.wav").write_bytes((folder / "x.wav").read_bytes()[:-4])
    return folder / "x.wav"


def truncated_ogg(folder: Path) -> Path:
    soundfile.write(folder / "x.ogg", np.random.default_rng(0).uniform(-0.5, 0.5, 80_000), 16_000)
    (folder / "x.ogg").write_bytes((folder / "x.ogg").read_bytes()[:-2_000])
    return folder / "x.ogg"


def truncated_flac(folder: Path) -> Path:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 80_000)
    soundfile.write(folder / "x.flac", noise, 16_000)
    data = (folder / "x.flac").read_bytes()
    (folder / "x.flac").write_bytes(data[: len(data) // 2])
    return folder / "x.flac"


def only_a_header(folder: Path) -> Path:
    return wav(folder / "x.wav", np.zeros(0))


def zeros(folder: Path) -> Path:
    return wav(folder / "x.wav", np.zeros(16_000))


def cancelling(folder: Path) -> Path:
    return wav(folder / "x.wav", np.stack([tone(16_000), -tone(16_000)], axis=1))


def with_nan(folder: Path) -> Path:
    signal = tone(16_000)
    signal[[1_600, 1_601]], signal[3_000] = np.nan, np.inf
    return wav(folder / "x.wav", signal)


def too_short(folder: Path) -> Path:
    return wav(folder / "x.wav", tone(16_000, 0.02))


def too_long(folder: Path) -> Path:
    """An hour by its header; the samples are a hole in the file, so that reading them would show as silence."""
    n_bytes = 3_600 * 16_000 * 2
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + n_bytes, b"WAVE", b"fmt ", 16, 1, 1, 16_000, 32_000, 2, 16, b"data", n_bytes
    )
    with (folder / "x.wav").open("wb") as handle:
        handle.write(head)
        handle.truncate(len(head) + n_bytes)
    return folder / "x.wav"


def sixteen_channels(folder: Path) -> Path:
    return wav(folder / "x.wav", np.tile(tone(16_000)[:, None], (1, 16)))


def low_rate(folder: Path) -> Path:
    return wav(folder / "x.wav", tone(4_000), 4_000)


def a_folder(folder: Path) -> Path:
    (folder / "x").mkdir()
    return folder / "x"


def missing(folder: Path) -> Path:
    wav(folder / "speaker_01.wav", tone(16_000))
    return folder / "speaker_1.wav"


def nowhere(folder: Path) -> Path:
    return folder / "no" / "x.wav"


def m4a(folder: Path) -> Path:
    (folder / "x.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    return folder / "x.m4a"


def m4a_renamed(folder: Path) -> Path:
    (folder / "x.wav").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    return folder / "x.wav"


BAD = [
    (empty, "the file is empty (0 bytes). Copy or record it again."),
    (text, "this is text, not audio, whatever its name says. Name the recording itself."),
    (noise_bytes, "not a recording that can be read (wav, flac, ogg, mp3)"),
    (truncated_wav, "truncated: the header promises 16000 bytes of samples, the file holds 8000 (50 %)"),
    (truncated_wavex, "truncated: the header promises 32000 bytes of samples, the file holds 31996"),
    (truncated_ogg, "truncated: the Ogg stream has no complete end page"),
    (truncated_flac, "the file is damaged or truncated"),
    (only_a_header, "the file has a header but holds no samples"),
    (zeros, "the recording is silent (all samples are 0). Check the microphone and record again."),
    (
        cancelling,
        "its channels cancel each other when they are averaged (100 % of the sound is lost): one is upside down or"
        " late. Choose one: --channel 0 (channel), or save it as a file of its own.",
    ),
    (with_nan, "3 of 8000 samples are NaN or infinite, the first at 0.100 s."),
    (too_short, "lasts only 0.020 s, shorter than min_duration_s = 0.1 s"),
    (
        too_long,
        (
            "lasts 3600.0 s, longer than the limit of 600 s. Cut it, or raise the limit: --max-duration-s 3600"
            " (max_duration_s)."
        ),
    ),
    (sixteen_channels, "16 channels; more than 8 are not averaged. Choose one: --channel 0 to 15 (channel)."),
    (low_rate, "the sample rate is 4000 Hz; 8000 to 96000 Hz are read"),
    (a_folder, "this is a folder, not a recording"),
    (missing, "no such file. Did you mean 'speaker_01.wav'?"),
    (nowhere, "does not exist either"),
    (m4a, ".m4a is not read directly. Convert it first: ffmpeg -i 'x.m4a' -ac 1 'x.wav'"),
    (m4a_renamed, "compressed audio or video under another name. Convert it first: ffmpeg"),
]


@pytest.mark.parametrize(("make", "words"), BAD, ids=[make.__name__ for make, _ in BAD])
def test_bad_input_is_named_and_answered(tmp_path: Path, make: object, words: str) -> None:
    path = make(tmp_path)  # type: ignore[operator]
    with pytest.raises(SpeechXAIError) as error:
        audio.read_audio(path)
    assert str(error.value).startswith(f"{path}: ")
    assert words in str(error.value)


def fill_the_heap_with_a_voice(folder: Path) -> None:
    """Read a whole loud recording and free it: what a buffer that is not written would show."""
    loud = folder / "loud.wav"
    if not loud.exists():
        wav(loud, np.full(131_072, 0.987_654), subtype="FLOAT")
    samples, _ = soundfile.read(loud, dtype="float32", always_2d=True)
    del samples


@pytest.mark.parametrize("kept", [0.999, 0.95, 0.6, 0.3, 0.1])
@pytest.mark.parametrize("name", ["x.mp3", "x.flac", "x.ogg"])
def test_a_cut_file_is_never_filled_with_what_was_not_decoded(
    tmp_path: Path, name: str, kept: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 8 * 16_000)
    soundfile.write(tmp_path / name, noise, 16_000)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(kept * len(data))])
    n_decoded, handed_out = 0, 0
    real_read = soundfile.SoundFile._array_io

    def counted(self: object, action: str, array: np.ndarray, frames: int) -> int:
        nonlocal n_decoded, handed_out
        n = real_read(self, action, array, frames)
        n_decoded, handed_out = n_decoded + n, handed_out + int(np.count_nonzero(np.abs(array[n:]) > 0))
        return int(n)

    monkeypatch.setattr(soundfile.SoundFile, "_array_io", counted)
    for _ in range(5):
        fill_the_heap_with_a_voice(tmp_path)
        n_decoded = 0
        with pytest.raises(SpeechXAIError) as error:
            audio.read_audio(tmp_path / name)
        assert str(error.value).startswith(f"{tmp_path / name}: ")
        assert "truncated" in str(error.value)
        assert handed_out == 0  # what lies behind the decoded samples in the buffer is silence
        if name == "x.mp3":
            assert f"decoded {n_decoded / 16_000:.2f} s of 8.00 s" in str(error.value)


@pytest.mark.parametrize("n_decoded", [0, 1, 5_000, 70_000])
def test_a_decoder_that_stops_early_gives_its_count_and_an_error(
    tmp_path: Path, n_decoded: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any container: the reader believes the decoder's count, not the header's."""
    wav(tmp_path / "x.wav", np.full(80_000, 0.5))
    real_read, left = soundfile.SoundFile._array_io, n_decoded

    def stops(self: object, action: str, array: np.ndarray, frames: int) -> int:
        nonlocal left
        n = real_read(self, action, array, min(frames, left))
        left -= n
        return int(n)

    monkeypatch.setattr(soundfile.SoundFile, "_array_io", stops)
    with pytest.raises(SpeechXAIError) as error:
        audio.read_audio(tmp_path / "x.wav")
    assert f"decoded {n_decoded / 16_000:.2f} s of 5.00 s ({n_decoded} of 80000 samples)" in str(error.value)


def test_an_hour_is_refused_before_its_samples_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("samples were read")

    path = too_long(tmp_path)
    monkeypatch.setattr(audio, "_samples", never)
    with pytest.raises(
        SpeechXAIError,
        match=(
            r": lasts 3600\.0 s, longer than the limit of 600 s\. Cut it, or raise the limit: "
            r"--max-duration-s 3600 \(max_duration_s\)\.$"
        ),
    ):
        audio.read_audio(path)


def test_limits_can_be_raised(tmp_path: Path) -> None:
    assert audio.read_audio(too_short(tmp_path), min_duration_s=0.0).waveform.numel() == 320
    assert audio.read_audio(sixteen_channels(tmp_path), channel=15).waveform.numel() == 8_000
    with pytest.raises(SpeechXAIError, match=r"/x\.wav: there is no channel 16; the file has channels 0 to 15\.$"):
        audio.read_audio(tmp_path / "x.wav", channel=16)
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"/x\.wav: lasts 0\.5 s, longer than the limit of 0\.2 s\. Cut it, or raise the limit: "
            r"--max-duration-s 1 \(max_duration_s\)\.$"
        ),
    ):
        audio.read_audio(tmp_path / "x.wav", channel=0, max_duration_s=0.2)


def test_a_wav_of_unknown_length_from_a_pipe_is_read(tmp_path: Path) -> None:
    path = wav(tmp_path / "x.wav", tone(16_000), subtype="PCM_16")
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(bytes(data))
    assert audio.read_audio(path).waveform.numel() == 8_000


def test_wrong_settings_are_refused(tmp_path: Path) -> None:
    path = wav(tmp_path / "x.wav", tone(16_000))
    with pytest.raises(
        SpeechXAIError,
        match=(r"^The 'normalize' parameter of read_audio must be 'peak' or 'none'\. Got 'rms' instead\.$"),
    ):
        audio.read_audio(path, normalize="rms")  # type: ignore[arg-type]
    with pytest.raises(
        SpeechXAIError,
        match=(r"^The 'sample_rate' parameter of read_audio must be 8000 to 96000 Hz\. Got 0 instead\.$"),
    ):
        audio.read_audio(path, sample_rate=0)
    with pytest.raises(SpeechXAIError, match=r"^The parameters \['speeker'\] of read_audio are unknown\. Known: .*$"):
        audio.read_audio(path, speeker="x")  # type: ignore[call-arg]


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_write_then_read_is_the_same(tmp_path: Path, name: str) -> None:
    waveform = torch.from_numpy(tone(16_000)).float()
    audio.write(tmp_path / name, waveform, 16_000)
    back = audio.read_audio(tmp_path / name, normalize="none").waveform
    torch.testing.assert_close(back, waveform, atol=2e-7, rtol=0)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg"])
def test_long_waveforms_are_written_in_blocks(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Vorbis encoder keeps what it gets at once on the stack: five minutes end the process."""
    lengths: list[int] = []
    real = soundfile.SoundFile.write

    def spied(self: soundfile.SoundFile, data: np.ndarray) -> None:
        lengths.append(len(data))
        real(self, data)

    monkeypatch.setattr(soundfile.SoundFile, "write", spied)
    waveform = torch.from_numpy(tone(16_000, 10.0)).float()
    audio.write(tmp_path / name, waveform, 16_000)
    assert lengths == [65_536, 65_536, 160_000 - 2 * 65_536]
    back = audio.read_audio(tmp_path / name, normalize="none").waveform
    assert len(back) == len(waveform)
    torch.testing.assert_close(back[1_000:-1_000], waveform[1_000:-1_000], atol=0.02, rtol=0)


def test_write_refuses_what_would_be_wrong(tmp_path: Path) -> None:
    loud = torch.tensor([0.0, 1.5, -1.5])
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"/a\.wav: the peak 1\.500 is beyond full scale and would clip as PCM_16\. Scale it to 1 or "
            r"write a float wav\.$"
        ),
    ):
        audio.write(tmp_path / "a.wav", loud, 16_000, subtype="PCM_16")
    audio.write(tmp_path / "a.wav", loud, 16_000)
    with pytest.raises(
        SpeechXAIError, match=(r"/a\.m4a: writing knows \.wav, \.flac and \.ogg\. Got '\.m4a' instead\.$")
    ):
        audio.write(tmp_path / "a.m4a", loud, 16_000)
    with pytest.raises(
        SpeechXAIError, match=(r"/b\.wav: only finite waveforms of shape \(N,\) are written\. Got shape \(2, 3\)\.$")
    ):
        audio.write(tmp_path / "b.wav", torch.zeros(2, 3), 16_000)
    with pytest.raises(SpeechXAIError) as error:
        audio.write(tmp_path / "no" / "a.wav", loud, 16_000)
    assert str(error.value).startswith(f"{tmp_path / 'no' / 'a.wav'}: cannot be written")


@pytest.mark.skipif(sys.platform == "win32", reason="names with these characters are not allowed there")
def test_unusual_names_are_read(tmp_path: Path) -> None:
    assert audio.read_audio(wav(tmp_path / "Ängström 'a' [1].wav", tone(16_000))).id == "Ängström 'a' [1]"


@pytest.mark.parametrize("ends", ["well", "badly", "never", "missing"])
def test_a_compressed_recording_is_decoded_by_ffmpeg_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    memo = b"\0\0\0\x1cftypM4A \0\0\2\0"
    program = tmp_path / "ffmpeg"
    does = {
        "well": "import pathlib; pathlib.Path(sys.argv[-1]).write_bytes(b'RIFF' + ' '.join(sys.argv[1:-1]).encode())",
        "badly": "sys.exit(1)",
        "never": "import time; time.sleep(60)",
        "missing": "",
    }
    if ends != "missing":
        program.write_text(f"#!{sys.executable}\nimport sys\n{does[ends]}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(audio, "FFMPEG_S", 0.5 if ends == "never" else 30.0)
    found = audio.decoded(memo, 300.0)
    assert (found is not None) == (ends == "well")
    if found is not None:
        # The container is named and nothing but the file may be opened: a playlist in disguise reads no other file.
        assert b"-protocol_whitelist file -f mov -i " in found
        assert b" -t 301 " in found
    assert audio.decoded(b"RIFF", 300.0) is None
