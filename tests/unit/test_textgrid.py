"""TextGrids in every form that Praat writes, in the encodings of people's files, damaged, and of another recording."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from speechxai.data.textgrid import TextGridError, read_textgrid, write_textgrid

INTERVALS = [(0.5, 1.0, 'vowel "a"'), (1.25, 2.0, "pause")]

LONG = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 2.3
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "speech"
        xmin = 0
        xmax = 2.3
        intervals: size = 2
        intervals [1]:
            xmin = 0
            xmax = 1.5
            text = "niño ""x"" b"
        intervals [2]:
            xmin = 1.5
            xmax = 2.3
            text = ""
    item [2]:
        class = "TextTier"
        name = "bell"
        xmin = 0
        xmax = 2.3
        points: size = 1
        points [1]:
            number = 1.1
            mark = "burst"
"""
SHORT = """File type = "ooTextFile"
Object class = "TextGrid"

0
2.3
<exists>
2
"IntervalTier"
"speech"
0
2.3
2
0
1.5
"niño ""x"" b"
1.5
2.3
""
"TextTier"
"bell"
0
2.3
1
1.1
"burst"
"""
COMMENTED = """! made by hand, 12 "intervals" 0 0
"ooTextFile"
"TextGrid"
0 2.3 ! time domain of TextGrid 1
<exists>
2 tiers
"IntervalTier" "speech" ! type and name of tier 1
0 2.3 ! time domain of tier 1, 5 s
2 intervals coming
0 1.5 "niño ""x"" b" ! interval 1 on tier 1
1.5 2.3 ""
"TextTier" "bell" ! type and name of "tier" 2
0 2.3
1 point coming
1.1 "burst"
"""
FOUND = (
    {"name": "speech", "intervals": [{"start": 0.0, "end": 1.5, "label": 'niño "x" b'}], "points": False},
    {"name": "bell", "intervals": [{"start": 1.1, "end": pytest.approx(1.11), "label": "burst"}], "points": True},
)


def binary(label: bytes = b"\xff\xff\x00\x0a" + 'niño "x" b'.encode("utf-16-be")) -> bytes:
    """The same as bytes: big-endian doubles and counts; each text after its length, two bytes a character after
    FFFF."""

    def text(content: str) -> bytes:
        return struct.pack(">H", len(content)) + content.encode("latin-1")

    times = struct.pack(">dd", 0, 2.3)
    speech = b"\x0cIntervalTier" + text("speech") + times + struct.pack(">I", 2)
    speech += struct.pack(">dd", 0, 1.5) + label + struct.pack(">dd", 1.5, 2.3) + text("")
    bell = b"\x08TextTier" + text("bell") + times + struct.pack(">Id", 1, 1.1) + text("burst")
    return b"ooBinaryFile\x08TextGrid" + times + b"\x01" + struct.pack(">I", 2) + speech + bell


@pytest.mark.parametrize("text", [LONG, SHORT, COMMENTED], ids=["long", "short", "by hand"])
@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16", "utf-16-be", "utf-16-le", "utf-32"],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_every_form_says_the_same(text: str, encoding: str, newline: str) -> None:
    assert read_textgrid(text.replace("\n", newline).encode(encoding), 2.3) == FOUND


def test_the_binary_form_says_the_same() -> None:
    assert read_textgrid(binary(), 2.3) == FOUND
    latin = b"\x00\x0a" + 'niño "x" b'.encode("latin-1")
    assert read_textgrid(binary(latin)) == FOUND


def test_praat_writes_what_is_read_here(tmp_path: Path) -> None:
    praat = pytest.importorskip("parselmouth.praat", reason="praat-parselmouth not installed")
    grid = praat.call("Create TextGrid", 0, 2.3, "speech bell", "bell")
    praat.call(grid, "Insert boundary", 1, 1.5)
    praat.call(grid, "Set interval text", 1, 1, 'niño "x" b')
    praat.call(grid, "Insert point", 2, 1.1, "burst")
    for form in ("text", "short text", "binary"):
        praat.call(grid, f"Save as {form} file", str(tmp_path / "x.TextGrid"))
        assert read_textgrid((tmp_path / "x.TextGrid").read_bytes()) == FOUND, form
    praat.call(grid, "Save as chronological text file", str(tmp_path / "x.TextGrid"))
    with pytest.raises(
        TextGridError,
        match=(
            r'^The file does not begin with File type = "ooTextFile" and Object class = "TextGrid"\. Save '
            r"it from Praat as a text file or a short text file\.$"
        ),
    ):
        read_textgrid((tmp_path / "x.TextGrid").read_bytes())


def test_what_is_written_is_read() -> None:
    (tier,) = read_textgrid(write_textgrid(INTERVALS, 3.0).encode(), 3.0)
    assert tier["name"] == "evidence"
    assert [(i["start"], i["end"], i["label"]) for i in tier["intervals"]] == INTERVALS


def moved(by: float) -> bytes:
    """The short form with all of its times later."""
    lines = SHORT.splitlines()
    times = {3, 4, 9, 10, 12, 13, 15, 16, 20, 21, 23}
    return "\n".join(str(float(line) + by) if n in times else line for n, line in enumerate(lines)).encode()


@pytest.mark.parametrize(
    ("content", "duration_s"),
    [
        (moved(12), 2.3),  # a part that kept its times
        (moved(12), 14.3),
        (LONG.encode(), 3.6),  # of a shorter recording
        (LONG.encode(), 1.0),
        (LONG.replace("2.3", "300").encode(), 3.6),
        (binary(), 5.0),
        (moved(-1), 2.3),
    ],
)
def test_a_textgrid_of_other_times_is_refused(content: bytes, duration_s: float) -> None:
    assert read_textgrid(content)
    with pytest.raises(TextGridError, match=r"covers .* s, and this recording lasts .* s: it belongs to another one"):
        read_textgrid(content, duration_s)


def test_a_codec_may_add_a_frame() -> None:
    for duration_s in (2.25, 2.35):
        assert read_textgrid(LONG.encode(), duration_s) == FOUND


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\xff\xfe",
        b"hello",
        b"ooBinaryFile",
        b"ooBinaryFile\x05Sound" + bytes(100),
        binary()[:-3],
        binary() + b"\0",
        LONG.encode() + b"\0",
        write_textgrid(INTERVALS, 3.0).encode()[:-60],
        LONG.replace("size = 2", "size = 3", 1).encode(),
        LONG.replace("size = 2", "size = 1", 1).encode(),
        LONG.replace("intervals: size = 2", "intervals: size = 999999999").encode(),
        LONG.replace("intervals: size = 2", "intervals: size = -1").encode(),
        LONG.replace("intervals: size = 2", "intervals: size = 1.5").encode(),
        LONG.replace("xmax = 1.5", "xmax = 1e999").encode(),
        LONG.replace("xmax = 1.5", "xmax = -1").encode(),
        LONG.replace("xmin = 1.5", "xmin = 0.2").encode(),
        LONG.replace("number = 1.1", "number = 7").encode(),
        LONG.replace("IntervalTier", "PitchTier").encode(),
        LONG.replace("xmax = 1.5", 'xmax = "1.5"').encode(),
        LONG.replace('"burst"', '"burst').encode(),
        LONG.replace("<exists>", "").encode(),
        LONG.replace('"TextGrid"', '"Collection"').encode(),
    ],
)
def test_what_is_no_textgrid_or_damaged(content: bytes) -> None:
    with pytest.raises(TextGridError, match="TextGrid"):
        read_textgrid(content)


def test_no_tiers_and_too_many_bytes() -> None:
    assert read_textgrid(b'"ooTextFile" "TextGrid" 0 1 <absent>') == ()
    with pytest.raises(TextGridError, match=r"^The TextGrid is larger than 5 MB\. Cut it to this recording\.$"):
        read_textgrid(bytes(6_000_000))


def test_what_lies_between_intervals_is_written_as_empty_ones() -> None:
    # Praat wants a tier without gaps: 0 to 0.5, the label, 1 to 2.
    text = write_textgrid([(0.5, 1.0, "a")], 2.0)
    edges = [line.split(" = ")[1].strip() for line in text.splitlines() if line.strip().startswith(("xmin", "xmax"))]
    assert [float(edge) for edge in edges[-6:]] == [0, 0.5, 0.5, 1, 1, 2]
    assert "intervals: size = 3" in text


def grid(*tiers: str, end: float = 2.0) -> bytes:
    return f'"ooTextFile" "TextGrid" 0 {end} <exists> {len(tiers)} {" ".join(tiers)}'.encode()


def test_tiers_may_hold_nothing() -> None:
    assert read_textgrid(grid()) == ()
    empty = grid('"TextTier" "clicks" 0 2 0', '"IntervalTier" "words" 0 2 1 0 2 "  "')
    assert read_textgrid(empty, 2.0) == (
        {"name": "clicks", "intervals": [], "points": True},
        {"name": "words", "intervals": [], "points": False},
    )
    times = struct.pack(">dd", 0, 2)
    tier = b"\x08TextTier" + b"\0\1x" + times + struct.pack(">I", 0)
    points = {"name": "x", "intervals": [], "points": True}
    for content, found in ((b"\1" + struct.pack(">I", 1) + tier, (points,)), (b"\0", ())):
        assert read_textgrid(b"ooBinaryFile\x08TextGrid" + times + content) == found


@pytest.mark.parametrize(
    ("tier", "good"),
    [
        # A tier may end 0.1 s beside the whole, a point lasts 0.01 s more; labels may touch, and rounding is forgiven.
        ('"IntervalTier" "a" -0.09 2.09 1 -0.09 2.09 "x"', True),
        ('"IntervalTier" "a" -0.11 2 0', False),
        ('"IntervalTier" "a" 0 2.11 0', False),
        ('"IntervalTier" "a" 0 2 1 0 2.12 "x"', False),
        ('"IntervalTier" "a" 0 2 1 -0.11 1 "x"', False),
        ('"TextTier" "a" 0 2 1 2.09 "x"', True),
        ('"TextTier" "a" 0 2 1 2.12 "x"', False),
        ('"IntervalTier" "a" 0 2 2 0 1 "x" 1 2 "y"', True),
        ('"IntervalTier" "a" 0 2 2 0 1 "x" 0.9999995 2 "y"', True),
        ('"IntervalTier" "a" 0 2 2 0 1 "x" 0.9999 2 "y"', False),
        ('"IntervalTier" "a" 0 2 1 1 1 "x"', True),
        ('"TextTier" "a" 0 2 2 1 "x" 1 "y"', True),
        ('"TextTier" "a" 0 2 2 1 "x" 0.9 "y"', False),
    ],
)
def test_edges_of_tiers_and_labels(tier: str, good: bool) -> None:
    if good:
        (found,) = read_textgrid(grid(tier))
        assert len(found["intervals"]) == tier.count('"x"') + tier.count('"y"')
    else:
        with pytest.raises(TextGridError, match=r"cut off or damaged|may not overlap"):
            read_textgrid(grid(tier))
