"""Recordings on disk: read with every check, look at the header only, write."""

from __future__ import annotations

import difflib
import math
import os
import re
import shutil
import stat
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

import numpy as np
import soundfile

from speechxai.errors import SpeechXAIError
from speechxai.files import EXPLANATION, WHATIF, sha256_of
from speechxai.signal.container import CHECKED, Stated, examine
from speechxai.types import Array, Recording

if TYPE_CHECKING:  # files are found and probed without it
    from torch import Tensor

# Which files are recordings, and opening one: only regular files, with a header that states their length

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".w64", ".rf64", ".caf")
"""File name endings that are read."""

FFMPEG_SUFFIXES = (".m4a", ".aac", ".mp4", ".wma", ".amr", ".3gp", ".webm", ".mov", ".mkv")
"""File name endings of formats that must be converted first."""


NOT_UTF8 = "its name, or that of a folder above it, is not UTF-8, and no table can hold it: rename it"
"""Why a file is refused whose name `errors.encodable` would change."""


def checked_root(root: str | Path) -> Path:
    """Return `root` as a path. Raises SpeechXAIError where it is no folder."""
    folder = Path(root)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise SpeechXAIError(f"{root}: this folder {what}. Name the folder that holds the recordings with --root.")
    return folder


def files_under(root: str | Path, suffixes: tuple[str, ...] = AUDIO_SUFFIXES) -> list[str]:
    """Return the paths of files with one of the endings, relative to `root` with '/', sorted.

    Hidden ones are left out, pipes, devices and sockets, that would be waited for without end, and the changed sounds
    in folders that `explain` and `whatif` wrote below it.
    """
    base = checked_root(root)
    found = []
    for folder, folders, names in os.walk(base):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
        relative = Path(folder).relative_to(base)
        if relative.parts and {EXPLANATION, WHATIF} & set(names):
            folders.clear()
            continue
        found += [
            (relative / name).as_posix()
            for name in names
            if not name.startswith(".") and name.lower().endswith(suffixes) and not _is_endless(Path(folder) / name)
        ]
    return sorted(found)


def _is_endless(file: Path) -> bool:
    """Whether this is a pipe, a device or a socket; a link to nothing is not, and named when it is read."""
    try:
        mode = file.stat().st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def check_path(path: str | Path) -> None:
    """Raise SpeechXAIError unless this is a regular file, readable, not empty, and of a name that is read.

    Pipes, devices and sockets are refused without opening them: reading from them can last for ever.
    """
    file = Path(path)
    try:
        found = file.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise SpeechXAIError(f"{path}: no such file{_near(file)}") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise SpeechXAIError(f"{path}: cannot be opened ({why}). Check the path.") from error
    if stat.S_ISDIR(found.st_mode):
        raise SpeechXAIError(
            f"{path}: this is a folder, not a recording. Name a file in it, or import the folder with 'speechxai data"
            " import'."
        )
    if not stat.S_ISREG(found.st_mode):
        raise SpeechXAIError(
            f"{path}: this is a pipe, a device or a socket, not a file. Save the recording in a file first, and name"
            " that."
        )
    if not os.access(file, os.R_OK):
        raise SpeechXAIError(f"{path}: no permission to read this file. Change its permissions.")
    if found.st_size == 0:
        raise SpeechXAIError(f"{path}: the file is empty (0 bytes). Copy or record it again.")
    if file.suffix.lower() in FFMPEG_SUFFIXES:
        raise SpeechXAIError(
            f"{path}: {file.suffix} is not read directly. Convert it first: ffmpeg -i '{file.name}' -ac 1"
            f" '{file.stem}.wav'"
        )


CONTAINERS = (
    (4, b"ftyp", "mov"),
    (0, b"\x1aE\xdf\xa3", "matroska"),
    (0, b"#!AMR", "amr"),
    (0, b"0&\xb2u\x8ef\xcf\x11", "asf"),
)
"""Compressed recordings that libsndfile does not read: where a mark stands, the mark, the container as ffmpeg names
it."""

FFMPEG_S = 60.0
"""A decoder that takes longer is given up, s."""


def container_of(head: bytes) -> str:
    """The container of a compressed recording that must be decoded by another program, by its first bytes; "" for
    others.

    >>> container_of(b"\\0\\0\\0\\x1cftypM4A "), container_of(b"RIFF")
    ('mov', '')
    """
    is_aac = len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0  # ADTS; of MP3 the layer is not 0
    return next((name for at, mark, name in CONTAINERS if head[at : at + len(mark)] == mark), "aac" if is_aac else "")


def decoded(content: bytes, most_s: float) -> bytes | None:
    """What ffmpeg, where it is installed, makes of a compressed recording: a WAV file of at most `most_s` and a second;
    None where there is no ffmpeg or it finds no whole sound.

    The container is named to it, so that no playlist in disguise makes it open anything else.
    """
    program, container = shutil.which("ffmpeg"), container_of(content[:16])
    if program is None or not container:
        return None
    with tempfile.TemporaryDirectory(prefix="speechxai-") as folder:
        given, made = Path(folder) / "given", Path(folder) / "made.wav"
        given.write_bytes(content)
        words = [program, "-nostdin", "-v", "error", "-xerror", "-protocol_whitelist", "file", "-f", container]
        words += ["-i", str(given), "-map", "0:a:0", "-t", f"{most_s + 1:g}", "-c:a", "pcm_s16le", str(made)]
        try:
            subprocess.run(words, check=True, capture_output=True, timeout=FFMPEG_S)  # noqa: S603
            return made.read_bytes()
        except (OSError, subprocess.SubprocessError):
            return None


def _near(file: Path) -> str:
    """The end of the sentence about a file that does not exist: what it may have meant."""
    if not file.parent.is_dir():
        return f" (the folder '{file.parent}' does not exist either). Check the path."
    try:
        names = sorted(os.listdir(file.parent))
    except OSError:
        names = []
    close = difflib.get_close_matches(file.name, names, n=1, cutoff=0.6)
    return f". Did you mean '{close[0]}'?" if close else ". Check the path."


def why_unreadable(path: str | Path, problem: str | None = None) -> str:
    """Return the sentence about a file that libsndfile refuses: by its first bytes, or its container's `problem`."""
    with Path(path).open("rb") as handle:
        head = handle.read(512)
    name = Path(path).name
    printable = sum(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head)
    if head[4:8] == b"ftyp" or head[:4] == b"\x1aE\xdf\xa3":
        return (
            f"{path}: this is compressed audio or video under another name. Convert it first: ffmpeg -i '{name}' -ac 1"
            " converted.wav"
        )
    if problem:
        return f"{path}: {problem}"
    if head[:4] == b"NIST":
        return (
            f"{path}: a NIST/SPHERE file in a coding that is not read (shorten, for example). Convert it first:"
            f" sph2pipe -f wav '{name}' converted.wav"
        )
    if head[:4] in (b"RIFF", b"RIFX", b"RF64"):
        return (
            f"{path}: the samples of this wav are in a coding that is not read, or its header is damaged. Convert it"
            f" first: ffmpeg -i '{name}' converted.wav"
        )
    if printable > 0.95 * len(head):
        return f"{path}: this is text, not audio, whatever its name says. Name the recording itself."
    return (
        f"{path}: not a recording that can be read (wav, flac, ogg, mp3). Convert it first: ffmpeg -i '{name}' -ac 1"
        " converted.wav"
    )


@contextmanager
def opened(path: str | Path, stated: Stated) -> Iterator[soundfile.SoundFile]:
    """Open a file for decoding, with its header corrected in memory where it must be to be read whole.

    Raises:
        soundfile.SoundFileError, RuntimeError, TypeError, OSError: what cannot be opened or decoded.
    """
    with _without_notes_of_mpg123() if _is_mpeg(path) else nullcontext():
        if not stated.splices:
            with soundfile.SoundFile(str(path)) as file:
                yield file
            return
        with closing(Corrected(path, stated.splices)) as source, soundfile.SoundFile(source) as file:
            yield file


def _is_mpeg(path: str | Path) -> bool:
    """Whether libmpg123 may be asked to decode a file: it begins like no container of another kind."""
    with Path(path).open("rb") as handle:
        return handle.read(4) not in (b"RIFF", b"RIFX", b"RF64", b"riff", b"FORM", b"fLaC", b"OggS", b"caff", b".snd")


_MPG123 = re.compile(
    rb"\[[^\]\n]*libmpg123|Warning: Xing stream|Note: (Illegal Audio-MPEG|Trying to resync|Skipped|Hit end)"
)
"""How the lines begin that libmpg123 prints of a damaged file."""
_STDERR = threading.RLock()


@contextmanager
def _without_notes_of_mpg123() -> Iterator[None]:
    """Keep what libmpg123 prints by itself from the terminal while files are decoded; lines of others come through.

    libsndfile offers no way to ask it to be quiet, and what it says is found in other ways: `examine`, and the number
    of decoded samples.
    """
    with _STDERR, tempfile.TemporaryFile() as kept:
        try:
            before = os.dup(2)
        except OSError:  # a process without this stream
            yield
            return
        try:
            os.dup2(kept.fileno(), 2)
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)
            kept.seek(0)
            for line in kept:
                if not _MPG123.match(line):
                    os.write(2, line)


class Corrected:
    """A file, read only, as if places of it were other bytes: libsndfile reads it like any file.

    Args:
        path: the file, which stays as it is.
        splices: (start, stop, new bytes) as in `Stated`, sorted.
    """

    def __init__(self, path: str | Path, splices: Sequence[tuple[int, int, bytes]]) -> None:
        self._file = Path(path).open("rb")  # noqa: SIM115 - open until close()
        self._at, place, size = 0, 0, Path(path).stat().st_size
        # Each part: length, and either bytes or the place in the file where they are.
        self._parts: list[tuple[int, bytes | int]] = []
        for start, stop, new in (*splices, (size, size, b"")):
            self._parts += [(start - place, place), (len(new), new)]
            place = stop
        self._size = sum(length for length, _ in self._parts)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place, as files do; before the first byte is the first byte."""
        self._at = max(0, (0, self._at, self._size)[whence] + offset)
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, fewer at the end; all that are left for -1."""
        out, begin, left = b"", 0, size if size >= 0 else self._size
        for length, source in self._parts:
            inside = self._at - begin
            n = min(left, length - inside)
            if inside >= 0 and n > 0:
                if isinstance(source, int):
                    self._file.seek(source + inside)
                    piece = self._file.read(n)
                else:
                    piece = source[inside : inside + n]
                out, left, self._at = out + piece, left - len(piece), self._at + len(piece)
            begin += length
        return out


# Recordings on disk: read with every check, look at the header only, write.
MIN_RATE_HZ, MAX_RATE_HZ, MAX_CHANNELS = 8_000, 96_000, 8
_BLOCK_SAMPLES, _WRITE_SAMPLES = 1 << 18, 1 << 16


class Identity(TypedDict, total=False):
    """Who and what a recording is: the fields of `Recording` that no audio file holds."""

    id: str
    speaker: str
    label: int | None
    task: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class AudioInfo:
    """What the header of an audio file says: `n_samples` a channel, `sample_rate` in Hz, container and sample
    format."""

    path: str
    sample_rate: int
    n_channels: int
    n_samples: int
    format: str
    subtype: str

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.sample_rate


def probe(path: str | Path) -> AudioInfo:
    """Read the header of an audio file, no samples.

    Raises:
        SpeechXAIError: a path that is missing, a folder, empty, truncated, or no audio that can be read.
    """
    return _probe(path)[0]


def _probe(path: str | Path) -> tuple[AudioInfo, Stated]:
    check_path(path)
    stated = Stated()
    try:
        stated = examine(path)
        with opened(path, stated) as file:
            name = f"{file.format_info} with {file.subtype_info}"
            found = AudioInfo(str(path), file.samplerate, file.channels, file.frames, file.format, file.subtype)
    except (soundfile.SoundFileError, RuntimeError, TypeError, OSError) as error:
        raise SpeechXAIError(why_unreadable(path, stated.problem)) from error
    if found.format not in CHECKED or found.subtype.startswith("DWVW"):
        raise SpeechXAIError(
            f"{path}: {name} is not read: a cut file could not be told from a whole one. "
            f"Convert it first: ffmpeg -i '{Path(path).name}' '{Path(path).stem}.wav' (or sox)"
        )
    if stated.problem:
        raise SpeechXAIError(f"{path}: {stated.problem}")
    if 0 < found.n_samples - stated.n_samples < stated.block_samples:
        found = replace(found, n_samples=stated.n_samples)
    if found.n_samples < 1:
        raise SpeechXAIError(f"{path}: the file has a header but holds no samples. Record or export it again.")
    return found, stated


def read_audio(
    path: str | Path,
    *,
    sample_rate: int | None = 16_000,
    normalize: Literal["peak", "none"] = "peak",
    offset: Literal["removed", "kept"] = "removed",
    max_duration_s: float = 600.0,
    min_duration_s: float = 0.1,
    channel: int | None = None,
    **identity: Unpack[Identity],
) -> Recording:
    """Read an audio file into a checked mono recording.

    In this order: channels are averaged, unless they cancel each other; the mean of the recording is subtracted: a
    constant offset belongs to the recorder and not to the voice; a change of sample rate is a band-limited resampling
    with the pass band up to 0.91 of the lower Nyquist frequency and images below -120 dB (libsoxr "HQ"); "peak" divides
    by the largest absolute sample.

    Args:
        path: wav (also extensible, RF64, W64, ADPCM, GSM), flac, ogg (Vorbis, Opus), mp3, aiff, au, caf and
            NIST/SPHERE.
        sample_rate: Hz of the result; None keeps the file's own.
        normalize: "peak" makes the largest absolute sample 1, "none" keeps the level of the file.
        offset: "removed" subtracts the mean sample, "kept" leaves the file's own samples, to judge the recording by.
        max_duration_s: longer files are refused from the header, before any sample is read.
        min_duration_s: shorter files are refused.
        channel: index of the channel to read, from 0; None averages all (up to 8).
        identity: id (default: the file name), speaker, label, task, metadata.

    Returns:
        Recording with (N,) float32; its metadata adds path, sha256 of the file's bytes, original_sample_rate (Hz),
        original_channels, original_samples, original_format (container and coding, as "WAV PCM_16"), original_peak (of
        the file's own samples, full scale is 1), normalize, offset, and where channels were averaged `mixing`, the
        fields of `Mixing`.

    Raises:
        SpeechXAIError: a file that cannot be used; the message starts with the path and says what to do.
    """
    unknown = set(identity) - Identity.__optional_keys__
    if unknown:
        raise SpeechXAIError(
            f"The parameters {sorted(unknown)} of read_audio are unknown. Known: {sorted(Identity.__optional_keys__)}."
        )
    if normalize not in ("peak", "none"):
        raise SpeechXAIError(
            f"The 'normalize' parameter of read_audio must be 'peak' or 'none'. Got {normalize!r} instead."
        )
    if offset not in ("removed", "kept"):
        raise SpeechXAIError(
            f"The 'offset' parameter of read_audio must be 'removed' or 'kept'. Got {offset!r} instead."
        )
    if sample_rate is not None and not MIN_RATE_HZ <= sample_rate <= MAX_RATE_HZ:
        raise SpeechXAIError(
            f"The 'sample_rate' parameter of read_audio must be 8000 to 96000 Hz. Got {sample_rate!r} instead."
        )
    info, stated = _probe(path)
    _check_header(info, max_duration_s, min_duration_s, channel)
    samples, mixing = _samples(info, stated, channel)
    if mixing is not None and mixing["lost_energy"] > MOST_LOST:
        raise SpeechXAIError(
            f"{path}: its channels cancel each other when they are averaged ({100 * mixing['lost_energy']:.0f} % of the"
            f" sound is lost): one is upside down or late. Choose one: --channel {mixing['loudest']} (channel), or save"
            " it as a file of its own."
        )
    peak = float(np.abs(samples).max())
    if float(np.ptp(samples)) == 0.0:
        raise SpeechXAIError(
            f"{path}: the recording is silent (all samples are {samples[0]:g}). Check the microphone and record again."
        )
    if offset == "removed":
        samples = samples - np.float32(samples.mean(dtype=np.float64))
    if sample_rate is not None and sample_rate != info.sample_rate:
        samples = resample(samples, info.sample_rate, sample_rate)
    if normalize == "peak":
        samples = samples / np.abs(samples).max()
    facts = {
        "path": str(path),
        "sha256": sha256_of(path),
        "original_sample_rate": info.sample_rate,
        "original_channels": info.n_channels,
        "original_samples": info.n_samples,
        "original_format": f"{info.format} {info.subtype}",
        "original_peak": peak,
        "normalize": normalize,
        "offset": offset,
        **({} if mixing is None else {"mixing": mixing}),
    }
    import torch

    stem = Path(path).stem
    return Recording(
        waveform=torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32)),
        sample_rate=sample_rate or info.sample_rate,
        id=identity.get("id", stem),
        speaker=identity.get("speaker", f"unknown/{stem}"),
        label=identity.get("label"),
        task=identity.get("task", "unknown"),
        metadata={**facts, **identity.get("metadata", {})},
    )


def write(
    path: str | Path, waveform: Tensor, sample_rate: int, *, subtype: Literal["FLOAT", "PCM_16", "PCM_24"] | None = None
) -> None:
    """Write a mono waveform (N,), full scale 1, as wav, flac or ogg by the name's ending; whole or not at all.

    Args:
        path: file to write; its folder must exist.
        waveform: (N,) real samples; integer formats refuse samples beyond full scale instead of clipping them.
        sample_rate: Hz.
        subtype: sample format; None is 32-bit float for wav, 24-bit for flac, the codec's own for ogg.

    Raises:
        SpeechXAIError: a waveform that is not (N,) and finite, samples that would clip, a folder that cannot be
            written.
    """
    target = Path(path)
    samples = waveform.detach().cpu().float().numpy()
    if samples.ndim != 1 or samples.size == 0 or not np.isfinite(samples).all():
        raise SpeechXAIError(f"{path}: only finite waveforms of shape (N,) are written. Got shape {samples.shape}.")
    kind = target.suffix.lower().lstrip(".").upper()
    if kind not in ("WAV", "FLAC", "OGG"):
        raise SpeechXAIError(f"{path}: writing knows .wav, .flac and .ogg. Got {target.suffix!r} instead.")
    chosen = subtype or {"WAV": "FLOAT", "FLAC": "PCM_24", "OGG": "VORBIS"}[kind]
    if chosen != "FLOAT" and float(np.abs(samples).max()) > 1.0:
        raise SpeechXAIError(
            f"{path}: the peak {np.abs(samples).max():.3f} is beyond full scale and would clip as {chosen}. Scale it to"
            " 1 or write a float wav."
        )
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with soundfile.SoundFile(str(part), "w", sample_rate, 1, chosen, format=kind) as file:
            # libsndfile's Vorbis encoder keeps a whole block on the stack: minutes at once would end the process.
            for start in range(0, len(samples), _WRITE_SAMPLES):
                file.write(samples[start : start + _WRITE_SAMPLES])
        part.replace(target)
    except (soundfile.SoundFileError, ValueError, OSError) as error:
        part.unlink(missing_ok=True)
        raise SpeechXAIError(
            f"{path}: cannot be written ({error}). Check that the folder exists and may be written to."
        ) from error


CODECS = ("ULAW", "OPUS", "MPEG_LAYER_III")
"""Lossy codecs of `coded`."""
_CONTAINERS = {"ULAW": "WAV", "PCM_24": "WAV", "OPUS": "OGG", "MPEG_LAYER_III": "MP3"}
_OPUS_RATES_HZ = (8_000, 12_000, 16_000, 24_000, 48_000)


def coded(samples: Array, sample_rate: int, subtype: str) -> Array:
    """Return a waveform (N,), at most full scale, as it comes back from a codec: of the same length, not delayed.

    Args:
        samples: (N,).
        sample_rate: Hz; a codec that has not this rate is given the next one.
        subtype: of CODECS, or PCM_24.

    Raises:
        SpeechXAIError: libsndfile on this machine does not write the codec.
    """
    import io

    n = samples.shape[0]
    rate = sample_rate
    if subtype == "OPUS":
        rate = next((each for each in _OPUS_RATES_HZ if each >= sample_rate), _OPUS_RATES_HZ[-1])
    elif subtype == "MPEG_LAYER_III":
        rate = min(max(sample_rate, 8_000), 48_000)
    file = io.BytesIO()
    try:
        soundfile.write(file, resample(samples, sample_rate, rate), rate, subtype, format=_CONTAINERS[subtype])
        file.seek(0)
        back = np.asarray(soundfile.read(file)[0], dtype=np.float64)
    except (soundfile.SoundFileError, ValueError) as error:
        raise SpeechXAIError(f"The codec {subtype} is not written here ({error}): libsndfile is too old.") from error
    back = resample(back, rate, sample_rate)
    # Encoders begin with a silence of their own, of at most a tenth of a second.
    reach = min(sample_rate // 10, n // 2)
    if reach and subtype in ("OPUS", "MPEG_LAYER_III"):
        n_fft = 1 << (n + back.shape[0]).bit_length()
        cross = np.fft.irfft(np.fft.rfft(back, n_fft) * np.fft.rfft(samples, n_fft).conj(), n_fft)
        back = np.roll(back, -(int(np.argmax(np.append(cross[-reach:], cross[: reach + 1]))) - reach))
    return np.append(back, np.zeros(max(0, n - back.shape[0])))[:n]


def resample(samples: Array, rate_hz: int, new_rate_hz: int) -> Array:
    """Bring a waveform (N,), float32 or float64, to another sample rate, Hz, by a band-limited, linear-phase filter.

    The pass band reaches 0.91 of the lower Nyquist frequency; images lie below -120 dB (libsoxr "HQ"). The filter is
    linear: the difference of two waveforms is resampled as they are.
    """
    if rate_hz == new_rate_hz:
        return samples
    # libsoxr and not torchaudio: its default leaks -17 dB of a 9 kHz tone into 16 kHz (measured; soxr: -144 dB), and
    # rates without a common divisor (44,099 to 16,000 Hz) would build filters of gigabytes.
    import soxr  # type: ignore[import-untyped]

    return np.asarray(soxr.resample(samples, rate_hz, new_rate_hz, quality="HQ"), dtype=samples.dtype)


def _check_header(info: AudioInfo, max_duration_s: float, min_duration_s: float, channel: int | None) -> None:
    path = info.path
    if not MIN_RATE_HZ <= info.sample_rate <= MAX_RATE_HZ:
        raise SpeechXAIError(
            f"{path}: the sample rate is {info.sample_rate} Hz; 8000 to 96000 Hz are read. Convert it first: ffmpeg -i"
            f" '{Path(path).name}' -ar 16000 converted.wav"
        )
    if channel is None and info.n_channels > MAX_CHANNELS:
        raise SpeechXAIError(
            f"{path}: {info.n_channels} channels; more than {MAX_CHANNELS} are not averaged. Choose one: --channel 0 to"
            f" {info.n_channels - 1} (channel)."
        )
    if channel is not None and not 0 <= channel < info.n_channels:
        raise SpeechXAIError(
            f"{path}: there is no channel {channel}; the file has channels 0 to {info.n_channels - 1}."
        )
    if info.duration_s > max_duration_s:
        raise SpeechXAIError(
            f"{path}: lasts {info.duration_s:.1f} s, longer than the limit of {max_duration_s:g} s. "
            f"Cut it, or raise the limit: --max-duration-s {math.ceil(info.duration_s)} (max_duration_s)."
        )
    if info.duration_s < min_duration_s:
        raise SpeechXAIError(
            f"{path}: lasts only {info.duration_s:.3f} s, shorter than min_duration_s = {min_duration_s:g} s. Record a"
            " longer one."
        )


MOST_LOST = 0.3
"""Channels are not averaged where that loses more of the sound's energy: without a third of it a voice is another."""

_LOST = 0.1
_CELL_FRAMES, _FRAMES_A_S, _LOWEST_BIN = 8, 16, 3
_AUDIBLE_DB, _LOWEST_DB, _AS_LOUD_DB = 40.0, -120.0, 1.0


class Mixing(TypedDict):
    """What averaging its channels does to a recording.

    A cell is half a second and 16 Hz. It is lost where the average has less than a fifth of what unrelated channels
    would leave, a tenth of the mean power of two: where the channels hold the same sound upside down (all cells), or
    one of them late, so that a comb takes a fifth of the spectrum.

    Args:
        lost_energy: share of the channels' energy in lost cells, in [0, 1].
        lost_cells: share of lost cells among those within 40 dB of the strongest, in [0, 1].
        quietest_db: level of the quietest channel under the loudest, dB, -120 to 0.
        loudest: index of the loudest channel, the first of those within 1 dB.
        likeness: of the loudest channel and the one least like it, in [0, 1]: the size of their cross-power in cells
            over the geometric mean of their powers. 1 where both hear one source at any level and delay,
            about .3 for two voices at once, less for two that take turns.
    """

    lost_energy: float
    lost_cells: float
    quietest_db: float
    loudest: int
    likeness: float


class _Cells:
    """Power of the channels and of their average in cells of time and frequency, added block by block."""

    def __init__(self, sample_rate: int, n_channels: int) -> None:
        self.frame = sample_rate // _FRAMES_A_S
        self.window = np.hanning(self.frame).astype(np.float32)
        self.energy = np.zeros(n_channels)
        self.crossed = np.zeros((n_channels, n_channels))
        self.own: list[Array] = []
        self.mixed: list[Array] = []

    def add(self, block: Array) -> None:
        """Take a block (N, C) of finite samples."""
        spectra = [self._spectrum(column) for column in block.T]
        powers = [_summed(each) for each in spectra]
        self.energy += [float(power.sum()) for power in powers]
        for i, one in enumerate(spectra):
            for j, other in enumerate(spectra[:i]):
                self.crossed[i, j] += np.abs((one * other.conj()).sum(axis=1)).sum()
        self.own.append(np.mean(powers, axis=0))
        self.mixed.append(_summed(self._spectrum(block.mean(axis=1))))

    def _spectrum(self, samples: Array) -> Array:
        """Spectrum (cells in time, frames, bins above 40 Hz): an offset is no sound."""
        cell = _CELL_FRAMES * self.frame
        padded = np.pad(samples, (0, -len(samples) % cell)).reshape(-1, _CELL_FRAMES, self.frame)
        found: Array = np.fft.rfft((padded - padded.mean(axis=2, keepdims=True)) * self.window)[..., _LOWEST_BIN:]
        return found

    def mixing(self) -> Mixing:
        """Compare what was added."""
        own, mixed = np.concatenate(self.own), np.concatenate(self.mixed)
        lost = mixed < _LOST * 2 / len(self.energy) * own
        audible = own > own.max() * 10 ** (-_AUDIBLE_DB / 10)
        level_db = 10 * np.log10(np.maximum(self.energy, 1e-300))
        loudest = int((level_db > level_db.max() - _AS_LOUD_DB).argmax())
        crossed = self.crossed + self.crossed.T
        likeness = crossed[loudest] / np.sqrt(np.maximum(self.energy[loudest] * self.energy, 1e-300))
        return Mixing(
            lost_energy=float(own[lost].sum() / max(float(own.sum()), 1e-300)),
            lost_cells=float((lost & audible).sum() / max(1, int(audible.sum()))),
            quietest_db=max(_LOWEST_DB, float(level_db.min() - level_db.max())),
            loudest=loudest,
            likeness=float(min(1.0, np.delete(likeness, loudest).min())),
        )


def _summed(spectrum: Array) -> Array:
    """Power of cells (cells in time, bins)."""
    return np.asarray((spectrum.real**2 + spectrum.imag**2).sum(axis=1))


def _samples(info: AudioInfo, stated: Stated, channel: int | None) -> tuple[Array, Mixing | None]:
    """Mono samples (N,) of the file, read in blocks so that many channels do not fill the memory, and what averaging
    channels did.

    Only what the decoder counts as decoded is handed out. `SoundFile.blocks()` yields its buffer whatever was decoded,
    so the rest of a cut file would be memory of the process: samples of another recording.
    """
    blocks: list[Array] = []
    cells = _Cells(info.sample_rate, info.n_channels) if info.n_channels > 1 and channel is None else None
    n_bad, first_bad, n_read = 0, -1, 0
    try:
        with opened(info.path, stated) as file:
            # soundfile seeks after each block, and mp3 frames there lack what they take from the ones before.
            n_block = info.n_samples if info.format == "MP3" else min(_BLOCK_SAMPLES, info.n_samples)
            # Zeros, so that not even a decoder that counts wrongly can show memory of the process.
            buffer = np.zeros((n_block, file.channels), dtype=np.float32)
            while n_read < info.n_samples:
                wanted = min(len(buffer), info.n_samples - n_read)
                block = file.read(out=buffer[:wanted])
                if len(block) == 0:
                    break
                mono = block[:, channel].copy() if channel is not None else block.mean(axis=1)
                bad = np.flatnonzero(~np.isfinite(mono))
                if len(bad) and first_bad < 0:
                    first_bad = n_read + int(bad[0])
                if cells is not None and not len(bad):
                    cells.add(block)
                n_bad += len(bad)
                n_read += len(mono)
                blocks.append(mono)
                buffer[:] = 0.0
    except (soundfile.SoundFileError, RuntimeError, OSError) as error:
        raise SpeechXAIError(
            f"{info.path}: decoding stops after {n_read} of {info.n_samples} samples: the file is damaged or truncated."
            " Copy it again."
        ) from error
    if n_read < info.n_samples:
        raise SpeechXAIError(
            f"{info.path}: truncated or damaged: decoded {n_read / info.sample_rate:.2f} s of {info.duration_s:.2f} s "
            f"({n_read} of {info.n_samples} samples). Copy the file again."
        )
    if n_bad:
        raise SpeechXAIError(
            f"{info.path}: {n_bad} of {n_read} samples are NaN or infinite, the first at"
            f" {first_bad / info.sample_rate:.3f} s. Export the recording again from its source."
        )
    return np.concatenate(blocks), None if cells is None else cells.mixing()
