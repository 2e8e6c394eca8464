"""Audio containers byte by byte: the length that each of them states, against the bytes that are there."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

# Audio streams frame by frame: what an Ogg, FLAC or mp3 file holds, against what it says of itself.
COPY_AGAIN = "Copy the file again, or save what is there under a new name with an audio editor."


@dataclass(frozen=True)
class Stated:
    """What a file says of its own length, checked against its bytes.

    problem: sentence about what is wrong, None where the file is whole.
    splices: places (start, stop, new bytes) that libsndfile must see differently to read the whole file, sorted.
    n_samples: samples a channel without what fills up the last block of `block_samples`, 0 where that is not stated.
    """

    problem: str | None = None
    splices: tuple[tuple[int, int, bytes], ...] = ()
    n_samples: int = 0
    block_samples: int = 0


# ---- Ogg (RFC 3533)

_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def ogg_checksum(page: bytes) -> int:
    """Checksum of an Ogg page whose checksum field is 0: CRC-32, polynomial 0x04C11DB7, first bit first, from 0.

    zlib's CRC-32 has the same polynomial with the last bit first and starts from ones: of mirrored bytes, begun at the
    complement, it is the mirrored checksum. A loop in Python would take minutes for a long recording.
    """
    mirrored = zlib.crc32(page.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(_MIRRORED), "big")


def ogg(handle: BinaryIO, start: int, size: int) -> Stated:
    """Check every page: checksum, number, place, and that every stream has its end."""
    next_page: dict[int, int] = {}
    last_sample: dict[int, int] = {}
    open_streams: set[int] = set()
    n_pages, n_links, only_first_pages = 0, 0, False
    handle.seek(start)
    while head := handle.read(27):
        if head[:4] != b"OggS" or len(head) < 27 or head[4] != 0:
            # Tags of other programs may follow the end of the last stream.
            if not open_streams and b"OggS" not in head + handle.read():
                break
            return Stated(
                "truncated: the Ogg stream has no complete end page. Copy the file again."
                if len(head) < 27
                else f"damaged: page {n_pages + 1} of the Ogg stream does not begin where it should. {COPY_AGAIN}"
            )
        flags, sample, stream, number, checksum, n_segments = struct.unpack_from("<xBqIIIB", head, 4)
        lengths = handle.read(n_segments)
        body = handle.read(sum(lengths))
        n_pages += 1
        if len(lengths) < n_segments or len(body) < sum(lengths):
            return Stated("truncated: the Ogg stream has no complete end page. Copy the file again.")
        if ogg_checksum(head[:22] + bytes(4) + head[26:] + lengths + body) != checksum:
            return Stated(f"damaged: the checksum of page {n_pages} of the Ogg stream is wrong. {COPY_AGAIN}")
        if flags & 2:
            n_links += not only_first_pages
            only_first_pages = True
            open_streams.add(stream)
        else:
            only_first_pages = False
            if stream not in open_streams or number != next_page[stream]:
                return Stated(f"damaged: pages before page {n_pages} of the Ogg stream are missing. {COPY_AGAIN}")
            if -1 < sample < last_sample[stream]:
                return Stated(f"damaged: page {n_pages} of the Ogg stream goes back in time. {COPY_AGAIN}")
        next_page[stream] = number + 1
        last_sample[stream] = sample if sample > -1 or flags & 2 else last_sample[stream]
        if flags & 4:
            open_streams.discard(stream)
    if open_streams:
        return Stated("truncated: the Ogg stream has no complete end page. Copy the file again.")
    if n_links > 1:
        return Stated(
            f"{n_links} Ogg recordings one after another in one file; only the first would be read. "
            "Join them first: ffmpeg -i FILE joined.wav"
        )
    return Stated()


# ---- FLAC (RFC 9639)


def _crc_table(polynomial: int, bits: int) -> list[int]:
    table = []
    for byte in range(256):
        value = byte << (bits - 8)
        for _ in range(8):
            value = (value << 1) ^ (polynomial if value >> (bits - 1) else 0)
            value &= (1 << bits) - 1
        table.append(value)
    return table


_CRC8, _CRC16 = _crc_table(0x07, 8), _crc_table(0x8005, 16)


def _crc8(data: bytes) -> int:
    value = 0
    for byte in data:
        value = _CRC8[value ^ byte]
    return value


def _crc16(data: bytes) -> int:
    value = 0
    for byte in data:
        value = ((value << 8) & 0xFFFF) ^ _CRC16[(value >> 8) ^ byte]
    return value


def flac(handle: BinaryIO, start: int, size: int) -> Stated:
    """Compare the number of samples in the header with the place of the last frame; 0 is the mark of an unknown
    number."""
    place = start + 4
    handle.seek(place)
    head = handle.read(38)
    if len(head) < 38 or head[0] & 0x7F or int.from_bytes(head[1:4], "big") != 34:
        return Stated(f"the flac header is damaged or cut off. {COPY_AGAIN}")
    _, largest_block = struct.unpack_from(">HH", head, 4)
    packed = int.from_bytes(head[14:22], "big")
    stated, rate_hz = packed & ((1 << 36) - 1), packed >> 44
    widest = largest_block * (1 + (packed >> 41 & 7)) * 4 + 1_024
    is_last = False
    while not is_last:
        handle.seek(place)
        block = handle.read(4)
        if len(block) < 4:
            return Stated(f"truncated: the file ends within its flac header. {COPY_AGAIN}")
        is_last = bool(block[0] & 0x80)
        place += 4 + int.from_bytes(block[1:], "big")
    handle.seek(max(place, size - widest - 128))
    tail = handle.read()
    if tail[-128:-125] == b"TAG":
        tail = tail[:-128]
    held = _end_of_last_flac_frame(tail, largest_block)
    if held is None and stated == 0:
        return Stated(f"truncated: the last flac frame is not complete. {COPY_AGAIN}")
    if held is None or held == stated:
        return Stated()
    if stated == 0:
        at = start + 18
        return Stated(splices=((at, at + 8, (packed | held).to_bytes(8, "big")),))
    seconds = max(rate_hz, 1)
    return Stated(
        f"the flac header states {stated / seconds:.2f} s, the frames hold {held / seconds:.2f} s: the file is damaged"
        f" or truncated. {COPY_AGAIN}"
    )


def _end_of_last_flac_frame(tail: bytes, block_samples: int) -> int | None:
    """Samples a channel up to the end of the frame that ends `tail`; None where no whole frame ends it."""
    at = len(tail)
    while (at := tail.rfind(b"\xff", 0, at)) >= 0:
        if tail[at + 1 : at + 2] in (b"\xf8", b"\xf9"):
            end = _flac_frame_end(tail[at : at + 17], block_samples)
            if end is not None and _crc16(tail[at:]) == 0:
                return end
    return None


def _flac_frame_end(head: bytes, block_samples: int) -> int | None:
    """Samples a channel up to the end of a frame, from its header; None where the checksum says that this is none."""
    if len(head) < 6:
        return None
    size_code, rate_code = head[2] >> 4, head[2] & 15
    n_more = (0, None, 1, 2, 3, 4, 5, 6)[len(f"{head[4]:08b}".split("0")[0])] if head[4] < 0xFF else None
    if n_more is None or size_code == 0 or rate_code == 15:
        return None
    number = head[4] if n_more == 0 else head[4] & (0x3F >> n_more)
    for byte in head[5 : 5 + n_more]:
        number = number << 6 | byte & 0x3F
    at = 5 + n_more
    n_size, n_rate = {6: 1, 7: 2}.get(size_code, 0), {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if len(head) <= at + n_size + n_rate or _crc8(head[: at + n_size + n_rate + 1]) != 0:
        return None
    if n_size:
        own = int.from_bytes(head[at : at + n_size], "big") + 1
    else:
        own = 192 if size_code == 1 else 576 << (size_code - 2) if size_code < 6 else 256 << (size_code - 8)
    return own + (number if head[1] & 1 else number * block_samples)


# ---- mp3 (ISO 11172-3, 13818-3)

_KBPS = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_AROUND_FRAMES = (b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"ID3", b"3DI")


def mp3_frame(head: bytes) -> tuple[int, int, int] | None:
    """Bytes, samples and sample rate (Hz) of the mp3 frame with this header of 4 bytes; None where it is none."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = (head[1] >> 3) & 3, 4 - ((head[1] >> 1) & 3)
    kbps, rate = head[2] >> 4, (head[2] >> 2) & 3
    if version == 1 or layer == 4 or kbps in (0, 15) or rate == 3:
        return None
    rate_hz = (44_100, 48_000, 32_000)[rate] >> {3: 0, 2: 1, 0: 2}[version]
    bits = _KBPS[1 if version == 3 else 2, layer][kbps - 1] * 1_000
    padding = head[2] >> 1 & 1
    if layer == 1:
        return (12 * bits // rate_hz + padding) * 4, 384, rate_hz
    n_samples = 576 if layer == 3 and version != 3 else 1_152
    return n_samples // 8 * bits // rate_hz + padding, n_samples, rate_hz


def _mp3_frames(handle: BinaryIO, place: int) -> Iterator[tuple[int, bytes, int]]:
    """Place, header (4 bytes) and length of frame after frame; stops where no further frame of the same kind
    follows."""
    kind: bytes | None = None
    handle.seek(place)
    while found := mp3_frame(head := handle.read(4)):
        same = bytes((head[1] & 0xFE, head[2] & 0x0C))
        if kind not in (None, same):
            return
        kind = same
        yield place, head, found[0]
        place += found[0]
        handle.seek(found[0] - 4, 1)


def mp3(handle: BinaryIO, start: int, size: int) -> Stated:
    """Count the frames: without a Xing header libsndfile guesses the length from the first ones, and reads no further.

    A file without that header gets one in front; one whose header states fewer frames than there are is refused. Of
    fewer frames than stated the decoder's count tells.
    """
    handle.seek(start)
    lead = handle.read(1 << 16)
    at = lead.find(b"\xff")
    while at >= 0 and not _is_mp3_run(lead, at):
        at = lead.find(b"\xff", at + 1)
    found = mp3_frame(lead[at : at + 4]) if at >= 0 else None
    if not found:
        return Stated()  # free format and what is no mp3: the decoder decides
    if lead[:at].strip(b"\0") and not lead.startswith(_AROUND_FRAMES):
        return Stated(f"damaged or cut: the file begins with {at} bytes that are no mp3 frame. {COPY_AGAIN}")
    first, n_frames, end = start + at, 0, start + at
    frame_s = found[1] / found[2]
    for place, head, length in _mp3_frames(handle, first):
        if n_frames and _begins_another(handle, place, head):
            return Stated(
                f"several mp3 files in one: another begins after {n_frames * frame_s:.2f} s. Cut them apart with an"
                " audio editor."
            )
        n_frames, end = n_frames + 1, place + length
    handle.seek(end)
    rest = handle.read(max(0, size - end))
    if rest.strip(b"\0") and (not rest.startswith(_AROUND_FRAMES) or _holds_mp3(rest)):
        return Stated(f"damaged: what follows {n_frames * frame_s:.2f} s is no mp3 frame. {COPY_AGAIN}")
    name, stated = _mp3_count(lead[at : at + found[0]])
    n_sounding = n_frames - (name != b"") - (end > size)
    if stated and (n_sounding > stated + 1 or (name == b"VBRI" and n_sounding < stated - 1)):
        return Stated(
            f"the mp3 header states {stated * frame_s:.2f} s, the file holds {n_sounding * frame_s:.2f} s: it is"
            " truncated, or several in one. Copy it again, or convert it first: ffmpeg -i FILE converted.wav"
        )
    if stated and name != b"VBRI":
        return Stated()  # the decoder holds the file to it
    if end > size:
        return Stated(f"truncated: the last mp3 frame is not complete. {COPY_AGAIN}")
    if lead[at + 1] >> 1 & 3 != 1:
        return Stated()  # layers 1 and 2 have frames of one length, and no such header
    header = _frame_count_header(lead[at : at + 4], n_sounding)
    # Tags before it go as well: between them and the first frame libsndfile takes no other bytes.
    return Stated(splices=((0, first + found[0] if name else first, header),))


def _begins_another(handle: BinaryIO, place: int, head: bytes) -> bool:
    """Whether the frame with this header holds no sound but the count of frames of a file that begins with it; the
    handle stands after the header again."""
    frame = head + handle.read(64)
    handle.seek(place + 4)
    return _mp3_count(frame)[0] != b""


def _mp3_count(frame: bytes) -> tuple[bytes, int]:
    """Name of the header that the first frame holds instead of sound, b"" for none, and the frames that it states or 0.

    As the decoder does: in its place, and after nothing but zeros; else the frame is sound.
    """
    at = 4 + _side_bytes(frame) + 2 * (frame[1] & 1 == 0)
    if frame[36:40] == b"VBRI":
        return b"VBRI", int.from_bytes(frame[50:54], "big")
    if frame[at : at + 4] in (b"Xing", b"Info") and not frame[6:at].strip(b"\0"):
        has_count = frame[at + 7 : at + 8] and frame[at + 7] & 1
        return frame[at : at + 4], int.from_bytes(frame[at + 8 : at + 12], "big") if has_count else 0
    return b"", 0


def _side_bytes(head: bytes) -> int:
    """Bytes of side information of a layer 3 frame with this header."""
    is_mpeg1, is_mono = head[1] >> 3 & 3 == 3, head[3] >> 6 == 3
    return (17 if is_mono else 32) if is_mpeg1 else (9 if is_mono else 17)


def _is_mp3_run(data: bytes, at: int) -> bool:
    """Whether three mp3 frames follow one another from here, or frames up to the end of the data: more than chance."""
    for n_frames in range(3):
        found = mp3_frame(data[at : at + 4])
        if not found:
            return n_frames > 0 and at >= len(data)
        at += found[0]
    return True


def _holds_mp3(data: bytes) -> bool:
    """Whether mp3 frames follow one another somewhere."""
    at = data.find(b"\xff")
    while at >= 0 and not _is_mp3_run(data, at):
        at = data.find(b"\xff", at + 1)
    return at >= 0


def _frame_count_header(head: bytes, n_frames: int) -> bytes:
    """A frame of silence like the one with this header, with a Xing header that states a number of frames."""
    side_bytes = _side_bytes(head)
    for kbps in range(1, 15):
        own = bytes((head[0], head[1] | 1, kbps << 4 | head[2] & 0x0C, head[3]))
        length = (mp3_frame(own) or (0, 0, 0))[0]
        if length >= 4 + side_bytes + 12:
            return (own + bytes(side_bytes) + b"Xing" + struct.pack(">II", 1, n_frames)).ljust(length, b"\0")
    raise AssertionError("the longest frame of every kind holds the header")


# Audio containers byte by byte: the length that each of them states, against the bytes that are there.
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
    # Of this container libsndfile takes all that follows for sound, another file that was appended among it.
    tail = ((place + length, size, b""),) if kind is _W64 and place + length < size else ()
    return Stated(problem, tail, *padded)


def _cut(promised: int, present: int) -> str | None:
    if promised <= present:
        return None
    return (
        f"truncated: the header promises {promised} bytes of samples, the file holds {present} "
        f"({100 * present / promised:.0f} %). {COPY_AGAIN}"
    )


def _too_short(handle: BinaryIO, kind: _Kind, place: int, end: int, size: int) -> str | None:
    """Sentence where bytes after the samples belong to the file but to no chunk: the samples' length is wrong."""
    # In CAF a table of packets follows that may be as short; nothing is ever filled up.
    spare = 0 if kind is _CAF else 32
    return None if _begins_chunk(handle, kind, place, size) else _left_over(handle, place, min(end, size), spare)


def _left_over(handle: BinaryIO, place: int, end: int, spare: int = 32) -> str | None:
    """Sentence about bytes from here to the end that belong to nothing; zeros do not count, some recorders fill up."""
    handle.seek(place)
    if end - place <= spare or not handle.read(min(end - place, 1 << 16)).strip(b"\0"):
        return None
    return (
        f"damaged: the header contradicts itself: {end - place} bytes after the samples belong to no chunk."
        f" {COPY_AGAIN}"
    )


def _aiff_short(handle: BinaryIO, found: dict[bytes, tuple[int, int]], length: int) -> str | None:
    """Sentence where aiff's COMM chunk states more samples than its SSND chunk holds after the place where they
    begin."""
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
    return (
        f"damaged or truncated: the header states {n_samples} samples, and {max(0, held // max(1, one))} follow."
        f" {COPY_AGAIN}"
    )


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
    place = start + (int(header[1]) if header else 1_024)
    length, present = stated.get(b"sample_count", 0) * one, size - place
    if not length:
        return Stated(_cut(length, present))
    problem = _cut(length, present) or _left_over(handle, place + length, size)
    # What follows would be taken for sound.
    return Stated(problem, ((place + length, size, b""),) if length < present else ())


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
