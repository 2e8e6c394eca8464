"""Audio containers byte by byte: the length that each of them states, against the bytes that are there."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

from speechxai.signal.streams import COPY_AGAIN, Stated, flac, mp3, ogg

CHECKED = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "NIST", "CAF", "FLAC", "OGG", "MP3")
"""Formats (libsndfile's names) whose stated length is compared with the file. Others would be shortened silently."""

_MAX_CHUNKS = 10_000


def examine(path: str | Path) -> Stated:
    """Compare the length that a file's container states with its bytes; of what is no container, nothing is said.

    Raises:
        OSError: a file that cannot be opened.
    """
    size = Path(path).stat().st_size
    with Path(path).open("rb") as handle:
        start = _after_id3(handle)
        handle.seek(start)
        head = handle.read(16)
        for magic, check in _CHECKS:
            if head.startswith(magic):
                return check(handle, start, size)
        return mp3(handle, start, size)  # it may begin with anything


# ---- containers of chunks: RIFF, RIFX, RF64, W64, AIFF, CAF


class _Kind(NamedTuple):
    """How a container writes its chunks.

    header: format of name and length; first: place of the first one; align: what their places are multiples of;
    counts_header: the length includes name and length; data: name of the samples' chunk; lead: its bytes before them.
    """

    header: str
    first: int
    align: int
    counts_header: bool = False
    data: bytes = b"data"
    lead: int = 0

    @property
    def length(self) -> str:
        """Format of a chunk's length."""
        return self.header[0] + self.header[-1]

    @property
    def size(self) -> int:
        """Bytes of a chunk's header."""
        return struct.calcsize(self.header)


_RIFF, _RIFX = _Kind("<4sI", 12, 2), _Kind(">4sI", 12, 2)
_AIFF = _Kind(">4sI", 12, 2, data=b"SSND", lead=8)
_W64 = _Kind("<16sQ", 40, 8, counts_header=True)
_CAF = _Kind(">4sq", 8, 1, lead=4)
_BLOCK_CODECS = {0x02: 0, 0x11: 0, 0x31: 0, 0x38: 160, 0x40: 120, 0x45: 120}
"""Codecs of wav that fill up their last block, and its samples; 0 where the header states them: MS and IMA ADPCM,
GSM 06.10, NMS ADPCM, G.721 (two numbers)."""
_MP3_CODEC = 0x55

# What programs write that do not know the length yet: SoX 0x7F000000 (aiff) and 0x7FFFF000, arecord 0x7FFFFF00 and
# 0x80000000, ffmpeg and others -1; less up to a frame, more or less a header.
_MARKS_32 = (0x7F00_0000, 0x7FFF_F000, 0x7FFF_FF00, 0x8000_0000, 0xFFFF_FFFF)


def _is_mark(length: int) -> bool:
    return length <= 0 or length >= 1 << 62 or any(-1_024 <= length - mark <= 128 for mark in _MARKS_32)


def _chunks(handle: BinaryIO, kind: _Kind, place: int, size: int) -> dict[bytes, tuple[int, int]]:
    """Place of the content and stated length (bytes) of the first chunk of each name, up to the samples' chunk.

    Only the headers are read: a picture of megabytes may stand before the samples.
    """
    found: dict[bytes, tuple[int, int]] = {}
    for _ in range(_MAX_CHUNKS):
        handle.seek(place)
        head = handle.read(kind.size)
        if len(head) < kind.size:
            break
        name, length = struct.unpack(kind.header, head)
        name, length = name[:4], length - kind.size * kind.counts_header
        found.setdefault(name, (place + kind.size, length))
        place += kind.size + length + -length % kind.align
        if name == kind.data or length < 0 or place > size or not _is_name(name):
            break
    return found


def _begins_chunk(handle: BinaryIO, kind: _Kind, place: int, size: int) -> bool:
    """Whether a chunk that fits into the file stands here, or after one byte of padding."""
    for at in {place, place + -place % kind.align}:
        handle.seek(at)
        head = handle.read(kind.size)
        if len(head) == kind.size:
            name, length = struct.unpack(kind.header, head)
            if _is_name(name[:4]) and 0 <= length - kind.size * kind.counts_header <= size - at - kind.size:
                return True
    return False


def _is_name(name: bytes) -> bool:
    return all(32 <= byte < 127 for byte in name)


def _chunked(handle: BinaryIO, start: int, size: int, kind: _Kind) -> Stated:
    found = _chunks(handle, kind, start + kind.first, size)
    if kind.data not in found:
        return Stated(f"damaged or truncated: the header has no chunk of samples. {COPY_AGAIN}")
    place, length = found[kind.data]
    # Where the length stands, how, and how much more than the content it counts.
    field, form, more = place - struct.calcsize(kind.length), kind.length, kind.size * kind.counts_header
    end = _outer_end(handle, kind, start)
    if b"ds64" in found and length == 0xFFFFFFFF:
        field, form = found[b"ds64"][0] + 8, "<Q"
        end = start + 8 + _number(handle, found[b"ds64"][0], "<Q")
        length = _number(handle, field, form)
    present, padded = size - place, _fact(handle, kind, found)
    if length <= kind.lead or (_is_mark(length) and length > present):
        is_empty = 0 <= length <= present and _begins_chunk(handle, kind, place + length, size)
        if is_empty or length == present:
            return Stated(None, (), *padded)
        if _codec(handle, kind, found) == _MP3_CODEC:
            return _mp3_inside(handle, place, size, size)
        new = struct.pack(form, present + more)
        return Stated(None, ((field, field + len(new), new),), *padded)
    problem = (
        _cut(length, present)
        or _too_short(handle, kind, place + length, min(size, end), size)
        or _aiff_short(handle, found, length)
    )
    if problem is None and _codec(handle, kind, found) == _MP3_CODEC:
        return _mp3_inside(handle, place, place + length, size)
    return Stated(problem, (), *padded)


def _cut(promised: int, present: int) -> str | None:
    if promised <= present:
        return None
    return (
        f"truncated: the header promises {promised} bytes of samples, the file holds {present} "
        f"({100 * present / promised:.0f} %). {COPY_AGAIN}"
    )


def _too_short(handle: BinaryIO, kind: _Kind, place: int, end: int, size: int) -> str | None:
    """Sentence where bytes after the samples belong to the file but to no chunk: the samples' length is wrong."""
    return None if _begins_chunk(handle, kind, place, size) else _left_over(handle, place, end)


def _left_over(handle: BinaryIO, place: int, end: int) -> str | None:
    """Sentence about bytes from here to the end that belong to nothing; zeros do not count, some recorders fill up."""
    handle.seek(place)
    if end - place <= 32 or not handle.read(min(end - place, 1 << 16)).strip(b"\0"):
        return None
    return f"damaged: the header contradicts itself: {end - place} bytes after the samples belong to no chunk. {COPY_AGAIN}"


def _aiff_short(handle: BinaryIO, found: dict[bytes, tuple[int, int]], length: int) -> str | None:
    """Sentence where aiff's COMM chunk states more samples than its SSND chunk holds after the place where they begin."""
    if b"COMM" not in found or b"SSND" not in found:
        return None
    place, comm_bytes = found[b"COMM"]
    n_channels, n_samples, bits = (_number(handle, place + at, form) for at, form in ((0, ">H"), (2, ">I"), (6, ">H")))
    handle.seek(place + 18)
    sample_bytes = {b"fl32": 4, b"fl64": 8, b"none": -(-bits // 8), b"sowt": -(-bits // 8), b"twos": -(-bits // 8)}
    one = sample_bytes.get(handle.read(4).lower() if comm_bytes >= 22 else b"none", 0) * n_channels
    held = length - 8 - _number(handle, found[b"SSND"][0], ">I")
    if _is_mark(n_samples) or n_samples * one <= held:
        return None
    return f"damaged or truncated: the header states {n_samples} samples, and {max(0, held // max(1, one))} follow. {COPY_AGAIN}"


def _outer_end(handle: BinaryIO, kind: _Kind, start: int) -> int:
    """Where the whole container ends as it says itself; 0 where it does not say."""
    if kind is _CAF:
        return 1 << 63
    if kind is _W64:
        return start + _number(handle, start + 16, "<Q")
    length = _number(handle, start + 4, kind.length)
    return 0 if _is_mark(length) else start + 8 + length


def _number(handle: BinaryIO, place: int, form: str) -> int:
    handle.seek(place)
    read = handle.read(struct.calcsize(form))
    return int(struct.unpack(form, read)[0]) if len(read) == struct.calcsize(form) else 0


def _fact(handle: BinaryIO, kind: _Kind, found: dict[bytes, tuple[int, int]]) -> tuple[int, int]:
    """Samples a channel that the `fact` chunk states, and those of a block, for codecs that fill up their last block.

    (0, 0) for the others: programs write all kinds of numbers there, and the bytes of samples say it themselves.
    """
    codec = _codec(handle, kind, found)
    if b"fact" not in found or codec not in _BLOCK_CODECS:
        return 0, 0
    n_samples = _number(handle, found[b"fact"][0], kind.length)
    own = _number(handle, found[b"fmt "][0] + 18, kind.header[0] + "H")
    return n_samples, _BLOCK_CODECS[codec] or own


def _codec(handle: BinaryIO, kind: _Kind, found: dict[bytes, tuple[int, int]]) -> int:
    place, length = found.get(b"fmt ", (0, 0))
    return _number(handle, place, kind.header[0] + "H") if length >= 16 else 0


def _mp3_inside(handle: BinaryIO, place: int, stop: int, size: int) -> Stated:
    """An mp3 in a wav: its length in the header is a guess, so that libsndfile gets the mp3 alone."""
    inside = mp3(handle, place, stop)
    return replace(inside, splices=(*(inside.splices or ((0, place, b""),)), (stop, size, b"")))


def _au(handle: BinaryIO, start: int, size: int) -> Stated:
    handle.seek(start)
    order = ">" if handle.read(4) == b".snd" else "<"
    place, length = start + _number(handle, start + 4, order + "I"), _number(handle, start + 8, order + "I")
    present = size - place
    if length and not (_is_mark(length) and length > present):
        return Stated(_cut(length, present) or _left_over(handle, place + length, size))
    return Stated(splices=((start + 8, start + 12, struct.pack(order + "I", max(0, present))),))


def _nist(handle: BinaryIO, start: int, size: int) -> Stated:
    handle.seek(start)
    text = handle.read(1 << 14).split(b"end_head")[0]
    stated = {name: int(number) for name, number in re.findall(rb"^(\w+) -i (\d{1,18})\s*$", text, re.MULTILINE)}
    header = re.match(rb"NIST_1A\s+(\d{1,9})\s", text)
    one = stated.get(b"channel_count", 1) * stated.get(b"sample_n_bytes", 1)
    present = size - start - (int(header[1]) if header else 1_024)
    return Stated(_cut(stated.get(b"sample_count", 0) * one, present))


# ---- which is which


def _after_id3(handle: BinaryIO) -> int:
    """Place after the ID3v2 tags at the beginning."""
    place = 0
    while True:
        handle.seek(place)
        head = handle.read(10)
        if head[:3] != b"ID3" or len(head) < 10:
            return place
        place += 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))


_CHECKS: tuple[tuple[bytes, Callable[[BinaryIO, int, int], Stated]], ...] = (
    (b"RIFF", partial(_chunked, kind=_RIFF)),
    (b"RF64", partial(_chunked, kind=_RIFF)),
    (b"RIFX", partial(_chunked, kind=_RIFX)),
    (b"FORM", partial(_chunked, kind=_AIFF)),
    (b"riff", partial(_chunked, kind=_W64)),
    (b"caff", partial(_chunked, kind=_CAF)),
    (b".snd", _au),
    (b"dns.", _au),
    (b"NIST", _nist),
    (b"fLaC", flac),
    (b"OggS", ogg),
    (b"\xff", mp3),
)
