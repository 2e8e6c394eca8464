"""Tables, cards and TextGrids that are cut, overwritten, doubled or of other types: an error in one line, or a right
answer, and never a traceback."""

from __future__ import annotations

import io
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pandas as pd
import pytest
import soundfile
import tomli_w

from speechxai.data.cards import build_manifest, card_text, import_folder, load_card
from speechxai.data.manifest import read_manifest, validate, write_manifest
from speechxai.data.textgrid import read_textgrid, write_textgrid
from speechxai.errors import SpeechXAIError

TABLE = (
    "file,label,speaker,sex,age,updrs,UPDRS note\n"
    'a.wav,HC,007,male,63,12,"said ""yes"", then\nno"\nb.wav,PD,8,f,"70,5",20,\nc.wav,unknown,Muñoz,,NA,,x\n'
)
CARD = """
name = "mine"
title = "t"
language = "de"
license = "l"
source = "s"
access = "open"
size = "2"
patterns = ['(?P<speaker>[a-z])\\.wav']
labels = [{ from = "column", name = "label", values = { HC = "HC", PD = "PD", unknown = "unknown" } }]
tasks = [{ match = 'a', task = "vowel-a" }]
exclude = [{ match = 'x', reason = "r" }]
medication = { PD = "on" }
sheets = [{ files = ["labels.csv"], key = "file", match = "name", columns = { sex = "sex", age = "age" } }]
fetch = [{ url = "https://example.org/a", name = "a.zip", size_bytes = 12, unpack = true }]
"""
INSERTED = (b"9" * 400, b"-1", b"1e999", b'"', b"\xff\xfe", b"nan", b"\0", b"\n", b",", b"[" * 3_000, b"{", b"=")


def damaged(content: bytes, n: int, seed: int) -> Iterator[bytes]:
    """Copies that are cut, have other bytes, runs of NUL, pieces doubled or lost, and things inserted."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        data = bytearray(content)
        for _again in range(int(rng.integers(1, 4))):
            at, length = int(rng.integers(0, max(1, len(data)))), int(rng.integers(1, 40))
            kind = int(rng.integers(0, 6))
            if kind == 0:
                del data[at:]
            elif kind == 1:
                data[at : at + 1] = bytes([int(rng.integers(0, 256))])
            elif kind == 2:
                data[at : at + length] = bytes(length)
            elif kind == 3:
                data[at:at] = data[at : at + length]
            elif kind == 4:
                del data[at : at + length]
            else:
                data[at:at] = INSERTED[int(rng.integers(0, len(INSERTED)))]
        yield bytes(data)


def answers(work: Callable[[], Any]) -> Any:
    """What comes out, or None where an error says in one line what is wrong."""
    try:
        return work()
    except SpeechXAIError as error:
        said = str(error)
    assert said.strip()
    # Lines of the reader's own file may be quoted, a traceback may not.
    assert "Traceback" not in said
    return None


@pytest.fixture
def voices(tmp_path: Path) -> Path:
    folder = tmp_path / "voices"
    folder.mkdir()
    for index, name in enumerate("abc"):
        soundfile.write(folder / f"{name}.wav", np.random.default_rng(index).uniform(-0.3, 0.3, 400), 8_000)
    return folder


def excel() -> bytes:
    book, stream = openpyxl.Workbook(), io.BytesIO()
    for line in ("file,label,speaker", "a.wav,HC,1", "b.wav,PD,2", "c.wav,HC,3"):
        book.active.append(line.split(","))
    book.save(stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "n"),
    [
        (TABLE.encode(), 100),
        (TABLE.encode("utf-16"), 40),
        (TABLE.encode("cp1252"), 40),
        (("sep=;\n" + TABLE.replace('"70,5"', "70").replace(",", ";")).encode(), 60),
        (excel(), 40),
    ],
    ids=["utf-8", "utf-16", "cp1252", "semicolons", "xlsx"],
)
def test_tables_of_labels(voices: Path, content: bytes, n: int) -> None:
    table = voices.parent / "labels.csv"
    table.write_bytes(content)
    assert answers(lambda: import_folder(voices, table, "set")) is not None, "it is good before it is damaged"
    n_read = 0
    for data in damaged(content, n, seed=len(content)):
        table.write_bytes(data)
        frame = answers(lambda: import_folder(voices, table, "set"))
        if frame is not None:
            n_read += 1
            assert len(frame) == 3
            pd.testing.assert_frame_equal(validate(frame), frame)
            assert frame["age"].dropna().between(1, 120).all()
    assert n_read < n


def test_manifests(voices: Path) -> None:
    (voices.parent / "labels.csv").write_text(TABLE, "utf-8")
    write_manifest(import_folder(voices, voices.parent / "labels.csv", "set"), voices / "m.csv")
    content = (voices / "m.csv").read_bytes()
    assert answers(lambda: read_manifest(voices / "m.csv")) is not None
    for data in damaged(content, 40, seed=1):
        (voices / "m.csv").write_bytes(data)
        frame = answers(lambda: read_manifest(voices / "m.csv"))
        if frame is not None:
            pd.testing.assert_frame_equal(validate(frame), frame)


def read_card(path: Path, voices: Path) -> Any:
    load_card(path)
    card_text(path)
    return build_manifest(path, voices)


def test_cards_and_their_sheets(voices: Path) -> None:
    path = voices / "mine.toml"
    (voices / "labels.csv").write_text(TABLE, "utf-8")
    path.write_text(CARD)
    frame, _ = answers(lambda: read_card(path, voices))
    assert len(frame) == 3
    for data in damaged(CARD.encode(), 150, seed=2):
        path.write_bytes(data)
        answers(lambda: read_card(path, voices))
    path.write_text(CARD)
    for data in damaged(TABLE.encode(), 25, seed=3):
        (voices / "labels.csv").write_bytes(data)
        # A sheet that cannot be read ends nothing: it is a note, and the files without label are named.
        frame, report = read_card(path, voices)
        assert len(frame) + len(report.unmatched) == 3
        pd.testing.assert_frame_equal(validate(frame), frame)


WRONG_VALUES: list[object] = [
    None,
    True,
    -1,
    0,
    1.5,
    float("nan"),
    float("inf"),
    "",
    " ",
    "x",
    "\n",
    "../x",
    "a/b",
    "\ud7ff",
    [],
    [[]],
    {},
    {"a": {}},
    [1],
    ["a", "a"],
    {"": ""},
    10**18,
    "9" * 5_000,
    "(",
    "(?P<speaker>",
    ["x"] * 100,
]


def places(content: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place of nested settings."""
    if here:
        yield here
    for key in content if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ():
        yield from places(content[key], (*here, key))


def test_cards_with_values_of_another_type(voices: Path) -> None:
    path = voices / "mine.toml"
    (voices / "labels.csv").write_text(TABLE, "utf-8")
    rng = np.random.default_rng(4)
    where = list(places(tomllib.loads(CARD)))
    n = 0
    for place in where:
        for index in rng.permutation(len(WRONG_VALUES))[:4]:
            content = tomllib.loads(CARD)
            target = content
            for key in place[:-1]:
                target = target[key]
            value = WRONG_VALUES[int(index)]
            if value is None:
                del target[place[-1]]
            else:
                target[place[-1]] = value
            path.write_text(tomli_w.dumps(content), "utf-8")
            answers(lambda: read_card(path, voices))
            n += 1
    assert n > 150


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "[" * 5_000,
        "x = " + "{a=" * 5_000,
        "[" + "a." * 5_000 + "b]",
        "size_bytes = " + "9" * 5_000,
        "a = 1\na = 2",
        "name = 'x'\0",
        "name = 2020-01-01",
        "",
    ],
)
def test_toml_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(SpeechXAIError, match=r"c\.toml"):
        load_card(tmp_path / "c.toml")


def test_cards_in_the_encodings_of_editors(voices: Path) -> None:
    (voices / "labels.csv").write_text(TABLE, "utf-8")
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "cp1252"):
        (voices / "mine.toml").write_bytes(CARD.replace('title = "t"', 'title = "Größe"').encode(encoding))
        assert load_card(voices / "mine.toml").title == "Größe"


GRID = write_textgrid([(0.5, 1.0, 'vowel "a"'), (1.25, 2.0, "pause"), (2.1, 2.9, "ñ")], 3.0)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
def test_textgrids(encoding: str) -> None:
    for data in damaged(GRID.encode(encoding), 150, seed=5):
        tiers = answers(lambda data=data: read_textgrid(data, 3.0))
        if tiers is not None:
            times = [(i["start"], i["end"]) for tier in tiers for i in tier["intervals"]]
            assert all(0 <= start <= end <= 3.2 for start, end in times)


def test_binary_textgrids() -> None:
    name = b"\x00\x06speech"
    span = np.array([0, 3], ">f8").tobytes()
    one = np.array([0, 3], ">f8").tobytes() + b"\xff\xff\x00\x01" + "ñ".encode("utf-16-be")
    tier = b"\x0cIntervalTier" + name + span + b"\0\0\0\1" + one
    content = b"ooBinaryFile\x08TextGrid" + span + b"\1" + b"\0\0\0\1" + tier
    assert read_textgrid(content, 3.0)[0]["intervals"] == [{"start": 0.0, "end": 3.0, "label": "ñ"}]
    for data in damaged(content, 150, seed=6):
        answers(lambda data=data: read_textgrid(data, 3.0))
