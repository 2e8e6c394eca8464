"""Audio containers byte by byte: what libsndfile does not say about a file that is damaged or no audio at all."""

from __future__ import annotations

import struct
from pathlib import Path


def why_unreadable(path: str | Path) -> str:
    """Return the sentence about a file that libsndfile refuses, judged by its first bytes."""
    with Path(path).open("rb") as handle:
        head = handle.read(512)
    name = Path(path).name
    printable = sum(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head)
    if head[4:8] == b"ftyp" or head[:4] == b"\x1aE\xdf\xa3":
        return f"{path}: this is compressed audio or video under another name. Convert it first: ffmpeg -i '{name}' -ac 1 converted.wav"
    if head[:4] == b"RIFF":
        return f"{path}: the wav header is damaged or cut off. Copy or export the file again."
    if printable > 0.95 * len(head):
        return f"{path}: this is text, not audio, whatever its name says. Name the recording itself."
    return f"{path}: not a recording that can be read (wav, flac, ogg, mp3). Convert it first: ffmpeg -i '{name}' -ac 1 converted.wav"


def missing_samples(path: str | Path, container: str) -> str | None:
    """Return what a file lacks that its own header promises, or None; libsndfile would shorten it silently.

    Args:
        path: the file.
        container: "WAV", "WAVEX" or "OGG"; others state no length that could be compared.
    """
    size_bytes = Path(path).stat().st_size
    with Path(path).open("rb") as handle:
        if container in ("WAV", "WAVEX"):
            promised, present = _wav_data_bytes(handle.read(1 << 16), size_bytes)
            if promised > present:
                return (
                    f"the header promises {promised} bytes of samples, the file holds {present} ({100 * present / promised:.0f} %). "
                    "Copy the file again, or save what is there under a new name with an audio editor."
                )
        elif container == "OGG":
            handle.seek(max(0, size_bytes - (1 << 17)))
            if not _ends_with_last_page(handle.read()):
                return "the Ogg stream has no complete end page. Copy the file again."
    return None


def _wav_data_bytes(head: bytes, size_bytes: int) -> tuple[int, int]:
    """Bytes of samples that the RIFF header promises, and bytes that follow it; (0, 0) where no length is stated."""
    position = 12
    while position + 8 <= len(head):
        name, length = struct.unpack_from("<4sI", head, position)
        if name == b"data":
            # Recorders that write to a pipe state the largest number: no promise to hold them to.
            return (0, 0) if length >= 0xFFFFFF00 else (length, size_bytes - position - 8)
        position += 8 + length + length % 2
    return 0, 0


def _ends_with_last_page(tail: bytes) -> bool:
    """Whether the end of an Ogg file holds a whole page that is flagged as the last (RFC 3533, section 6)."""
    start = tail.rfind(b"OggS")
    if start < 0 or start + 27 > len(tail):
        return False
    n_segments = tail[start + 26]
    body = tail[start + 27 : start + 27 + n_segments]
    end = start + 27 + n_segments + sum(body)
    return bool(tail[start + 5] & 4) and len(body) == n_segments and end <= len(tail)
