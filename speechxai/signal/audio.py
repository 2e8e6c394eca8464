"""Recordings on disk: read with every check, look at the header only, write."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

import numpy as np
import soundfile
import torch
from torch import Tensor

from speechxai.errors import SpeechXAIError
from speechxai.signal.container import CHECKED, examine
from speechxai.signal.opening import check_path, opened, why_unreadable
from speechxai.signal.streams import Stated
from speechxai.types import Array, Recording

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
    max_duration_s: float = 600.0,
    min_duration_s: float = 0.1,
    channel: int | None = None,
    **identity: Unpack[Identity],
) -> Recording:
    """Read an audio file into a checked mono recording.

    Channels are averaged; a change of sample rate is a band-limited resampling with the pass band up to 0.91 of the
    lower Nyquist frequency and images below -120 dB (libsoxr "HQ"); "peak" divides by the largest absolute sample.

    Args:
        path: wav (also extensible, RF64, W64, ADPCM, GSM), flac, ogg (Vorbis, Opus), mp3, aiff, au, caf and
            NIST/SPHERE.
        sample_rate: Hz of the result; None keeps the file's own.
        normalize: "peak" makes the largest absolute sample 1, "none" keeps the level of the file.
        max_duration_s: longer files are refused from the header, before any sample is read.
        min_duration_s: shorter files are refused.
        channel: index of the channel to read, from 0; None averages all (up to 8).
        identity: id (default: the file name), speaker, label, task, metadata.

    Returns:
        Recording with (N,) float32; its metadata adds path, sha256 of the file's bytes, original_sample_rate (Hz),
        original_channels, original_peak (full scale is 1) and normalize.

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
    if sample_rate is not None and not MIN_RATE_HZ <= sample_rate <= MAX_RATE_HZ:
        raise SpeechXAIError(
            f"The 'sample_rate' parameter of read_audio must be 8000 to 96000 Hz. Got {sample_rate!r} instead."
        )
    info, stated = _probe(path)
    _check_header(info, max_duration_s, min_duration_s, channel)
    samples = _samples(info, stated, channel)
    peak = float(np.abs(samples).max())
    if float(np.ptp(samples)) == 0.0:
        why = (
            " after averaging its channels; choose one: --channel 0 (channel)"
            if info.n_channels > 1 and channel is None
            else ""
        )
        raise SpeechXAIError(
            f"{path}: the recording is silent (all samples are {samples[0]:g}){why}. Check the microphone and record"
            " again."
        )
    if sample_rate is not None and sample_rate != info.sample_rate:
        samples = resample(samples, info.sample_rate, sample_rate)
    if normalize == "peak":
        samples = samples / np.abs(samples).max()
    facts = {
        "path": str(path),
        "sha256": sha256_of(path),
        "original_sample_rate": info.sample_rate,
        "original_channels": info.n_channels,
        "original_peak": peak,
        "normalize": normalize,
    }
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
    samples = waveform.detach().cpu().to(torch.float32).numpy()
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


def sha256_of(path: str | Path) -> str:
    """Return the sha256 of the file's bytes, hexadecimal. Raises SpeechXAIError where the file cannot be read."""
    try:
        with Path(path).open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise SpeechXAIError(f"{path}: cannot be read ({error.strerror}).") from error


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


def _samples(info: AudioInfo, stated: Stated, channel: int | None) -> Array:
    """Mono samples (N,) of the file, read in blocks so that many channels do not fill the memory.

    Only what the decoder counts as decoded is handed out. `SoundFile.blocks()` yields its buffer whatever was decoded,
    so
    the rest of a cut file would be memory of the process: samples of another recording.
    """
    blocks: list[Array] = []
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
    return np.concatenate(blocks)
