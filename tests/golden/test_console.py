"""Lines of a terminal, cells of a spreadsheet and places to write, by hand."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch

from speechxai import files
from speechxai.classifiers.base import device_of
from speechxai.commands import console, explain, listing
from speechxai.errors import SpeechXAIError
from speechxai.explain import METHODS
from speechxai.explain.agreement import iou
from speechxai.explain.recipe import CONTROLS
from speechxai.metrics import METRICS


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the console sees, on no terminal."""
    now = [100.0]
    monkeypatch.setattr(console, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(console, "sys", SimpleNamespace(stderr=SimpleNamespace(isatty=lambda: False)))
    return now


def test_a_log_of_a_run(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    def step(n_done: int, state: str = "done") -> Any:
        return SimpleNamespace(n_done=n_done, n_total=8, state=state, recording="r", message="why")

    with console.progress_bar("Scoring", 8) as line:
        for at, one in (
            (104.0, step(1, "skipped")),
            (109.0, step(2)),
            (110.0, step(3)),
            (119.0, step(4, "failed")),
            (200.0, step(8)),
        ):
            clock[0] = at
            line(one)
    # Time is counted from the first one worked on, which waits for what is loaded: 1 s for the next leaves 5 x 1 s.
    assert capsys.readouterr().err.splitlines() == [
        "Scoring: 3 of 8 recordings, 10 s, 5.00 s left",
        "failed: r: why",
        "Scoring: 8 of 8 recordings, 1 min 40 s, 0.00 s left",
    ]


def test_a_log_of_several_parts(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress_bars(lambda total, what: what) as line:
        for at, done in ((100.0, 2), (104.0, 4), (105.0, 5), (115.0, 8)):
            clock[0] = at
            line(done, 12, "fold 1")
        line(12, 12, "fold 1")
        line(3, 3, "fold 2")  # known from before: nothing was done
    # From 2 to 4 in 4 s: the other 8 take 16 s. From 2 to 8 in 15 s: the other 4 take 10 s.
    assert capsys.readouterr().err.splitlines() == [
        "4 of 12, fold 1: 4.00 s, 16 s left",
        "8 of 12, fold 1: 15 s, 10 s left",
        "12 of 12, fold 1: 15 s, 0.00 s left",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(9.994, "9.99 s"), (10, "10 s"), (59.4, "59 s"), (60, "1 min 0 s"), (3599, "59 min 59 s"), (3600, "1 h 0 min")],
)
def test_times(seconds: float, words: str) -> None:
    assert console.duration(seconds) == words


def test_agreement_in_words() -> None:
    assert [explain._share(value) for value in (None, 0.0, 0.256, 1.0)] == ["none known", "0 %", "26 %", "100 %"]
    assert [explain._number(value) for value in (None, -0.25, 0.1236)] == ["unknown", "-0.250", "0.124"]


def test_a_table_in_plain_text() -> None:
    text = console.table(("a", "number"), [("long name", "1"), ("b", 12)], right=(1,))  # type: ignore[list-item]
    assert text.splitlines() == ["a          number", "---------  ------", "long name       1", "b              12"]
    assert [console.shown(value) for value in (False, 0.5, ("a", "b"), 3, "x")] == ["no", "0.5", "a, b", "3", "x"]


def test_any_error_of_work_on_a_file_names_it() -> None:
    with pytest.raises(SpeechXAIError, match=r"^a\.wav: ValueError: broken$"), console.work_on(Path("a.wav")):
        raise ValueError("broken")
    with pytest.raises(SpeechXAIError, match=r"^mine$"), console.work_on(Path("a.wav")):
        raise SpeechXAIError("mine")


# --- lists ----------------------------------------------------------------------------------------------------------


def test_what_is_listed_of_methods_and_metrics() -> None:
    header, rows = listing._methods()
    kinds = {row[0]: row[1:3] for row in rows}
    assert header == ("method", "map", "random", "source", "what it is")
    assert list(kinds) == [*METHODS, "concept:NAME"]  # the family after those that everybody has
    assert all((kinds[name][0] == "control") == (name in CONTROLS) for name in METHODS)
    assert kinds["integrated_gradients"] == ("signed", "exact")
    assert kinds["saliency"] == ("unsigned", "exact")
    assert kinds["rise"][1] == kinds["random_map"][1] == "seeded"
    bounds = {row[0]: (row[2], row[3]) for row in listing._metrics()[1]}
    assert bounds["faithfulness"] == ("high", "-1 to 1")
    assert bounds["complexity"] == ("low", "0 to open")
    assert list(bounds) == list(METRICS)
    uses = {row[0]: row[1] for row in listing._configs()[1]}
    assert set(uses.values()) == {"evaluate --config", "train --config"}
    flags = {row[1]: (row[0], int(row[2])) for row in listing._presets()[1]}
    assert flags["published"][0] in ("--recipes", "--metrics")
    assert all(n > 0 for _, n in flags.values())


def test_headings_of_lists() -> None:
    assert {name: " | ".join(table()[0]) for name, table in listing._TABLES.items()} == {
        "methods": "method | map | random | source | what it is",
        "combinations": "combination | source | what it is",
        "metrics": "metric | paper | best | bounds | source | what it is",
        "models": "model | backbone | fold models | title",
        "cards": "data card | title",
        "backbones": "backbone | hears | source | what it is",
        "probes": "probe | of | what it is",
        "presets": "flag | preset | entries",
        "configs": "configuration | for | what it is",
    }
    assert all(
        len(row) == len(header) for header, rows in (table() for table in listing._TABLES.values()) for row in rows
    )


# --- spreadsheets ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        *((text, f"'{text}") for text in ("=1", "+a", "-b", "@c", "\td", "'=e", "-1 2", "+1.2 [x]", "\uff1d1")),
        # a program that separates by semicolon or tab begins a cell after them
        *(("a;=1", "a;'=1"), ("a\t -b", "a\t '-b"), ("a;'=1", "a;''=1"), ("=1;=2", "'=1;'=2"), ("\t=1", "'\t'=1")),
        *((text, text) for text in ("a; b", "1;2", "a - b;c=d")),
        *((text, text) for text in ("a=1", "-1", "+.5", "-1e-3", "1.", "−0.1", "'a", "", "-0.1 [-0.2, 0.3]")),
    ],
)
def test_what_a_spreadsheet_would_calculate_stays_text(text: str, cell: str) -> None:
    assert files.csv_cell(text) == cell
    assert files.from_csv_cell(cell) == text
    assert files.csv_text([["a", text], [1, None]]).splitlines()[-1] == "1,"
    frame = pd.DataFrame({"=x": [text, "z"], "n": [-1.5, float("nan")], "t": [True, False]})
    back = files.from_csv_cells(pd.read_csv(io.BytesIO(files.csv_table(frame, na="?")), keep_default_na=False))  # type: ignore[attr-defined]
    assert back["=x"].tolist() == [text, "z"]
    assert back["n"].tolist() == ["-1.5", "?"]


def test_a_sealed_file_is_of_its_kind_and_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(files.sealed({"a": 1}, "unit"))
    assert files.read_sealed(path, "unit") == {"a": 1}
    assert files.read_sealed(path, "plan") is None
    path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))
    assert files.read_sealed(path, "unit") is None
    path.write_text("[1]")
    assert files.read_json(path) is None


@pytest.mark.parametrize(
    ("make", "kind", "overwrite", "words"),
    [
        (lambda p: p.touch(), "folder", True, "this is a file, and a folder is needed"),
        (lambda p: p.mkdir(), "file", True, "this is a folder, and a file is needed"),
        (lambda p: os.mkfifo(p), "file", True, "this is no regular file"),
        (lambda p: p.touch(), "file", False, r"there is such a file already\. .*--overwrite"),
        (lambda p: p.touch(), "file", True, ""),
        (lambda p: p.mkdir(), "folder", False, ""),
        (lambda p: None, "folder", False, ""),
        (lambda p: None, "file", False, ""),
    ],
)
def test_where_something_is_to_be_written(
    tmp_path: Path, make: Callable[[Path], object], kind: Any, overwrite: bool, words: str
) -> None:
    out = tmp_path / "out"
    make(out)
    if words:
        with pytest.raises(SpeechXAIError, match=f"^{out}: {words}"):
            files.check_out(out, kind, overwrite)
    else:
        files.check_out(out, kind, overwrite)
    with pytest.raises(
        SpeechXAIError, match=(r"^\.\.: this names no file\. Give --out, for example --out results\.csv\.$")
    ):
        files.check_out(Path(".."), "file")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: device_of("gpu"), "Unknown device 'gpu'"),
        (lambda: device_of("cuda:x"), "Unknown device"),
        (lambda: iou(torch.ones(1, 2, 2), torch.ones(1, 2, 2), threshold=0.0), r"must be in \(0, 1\]. Got 0.0"),
        (lambda: iou(torch.ones(1, 2, 2), torch.ones(1, 2, 2), threshold=1.5), r"must be in \(0, 1\]. Got 1.5"),
        (lambda: files.config_path("nothing"), "no such file"),
        (lambda: listing.listing("metods"), "methods"),
    ],
)
def test_what_is_refused_is_named(call: Callable[[], object], words: str) -> None:
    with pytest.raises(SpeechXAIError, match=words):
        call()
