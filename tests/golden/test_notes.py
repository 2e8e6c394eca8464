"""Notes on recordings and saved cases of one person, by hand: merging, files for other programs, the folder, the axis
of time."""

from __future__ import annotations

import datetime
import json
import math
from pathlib import Path
from typing import Any

import pytest

from speechxai.data.textgrid import read_textgrid
from speechxai.files import to_json
from speechxai.inspection import cases, notes
from speechxai.inspection.notes import WHOLE, Note
from speechxai.report import plots

NOTES = (
    Note(WHOLE, text="tired, after lunch", ticks={"weak": 2}),
    Note("a", 'onset "hard"', 0.5, 1.5, 500.0, 2000.0, "bursts\ttwice", {"breathy": 1, "rough": 0}),
    Note("b", "", 1.0, 2.0),
    Note("c", "end", 1.5, 2.5),
)


def item(id_: str = "x", start: Any = 1.0, end: Any = 2.0, **more: Any) -> dict[str, Any]:
    return {"id": id_, "start": start, "end": end, "low": None, "high": None, "label": "region 1", **more}


def test_what_a_player_drew_becomes_notes_and_words_stay() -> None:
    (whole, one) = notes.merged((), [item()])
    assert whole == Note(WHOLE)
    assert one == Note("x", "region 1", 1.0, 2.0)
    said = notes.changed((whole, one), "x", name="tremor", text="t", ticks={"weak": 3})
    moved = notes.merged(said, [item(start=1.5, low=100, high=900, label="region 1")])[1]
    assert moved == Note("x", "tremor", 1.5, 2.0, 100.0, 900.0, "t", {"weak": 3})
    assert notes.merged(said, [], ["x"]) == (whole,)
    # the same twice is one
    assert notes.merged(notes.merged((), [item()]), [item()]) == (whole, one)


@pytest.mark.parametrize(
    "bad",
    [
        item(start=None),
        item(start="0"),
        item(start=2.0, end=1.0),
        item(end=math.nan),
        item(end=math.inf),
        item(start=True),
        item(id_=""),
        item(id_=WHOLE),
    ],
)
def test_what_is_no_region_is_left_out(bad: dict[str, Any]) -> None:
    assert notes.merged((), [bad]) == (Note(WHOLE),)


def test_edges_are_turned_back_and_the_whole_is_emptied_not_lost() -> None:
    given = notes.ordered(NOTES)
    assert [n.id for n in given] == [WHOLE, "a", "b", "c"]
    one = notes.changed(given, "a", start_s=1.7)[2]  # behind b now
    assert (one.id, one.start_s, one.end_s) == ("a", 1.5, 1.7)
    box = notes.changed(given, "a", low_hz=2500.0)[1]
    assert (box.low_hz, box.high_hz) == (2000.0, 2500.0)
    assert notes.without(given, [WHOLE])[0] == Note(WHOLE)


def test_notes_for_praat_lie_free_of_each_other() -> None:
    tiers = read_textgrid(notes.textgrid(NOTES, 3.0).encode(), 3.0)
    assert [(tier["name"], [(i["start"], i["end"], i["label"]) for i in tier["intervals"]]) for tier in tiers] == [
        (
            "notes",
            [(0.5, 1.5, 'onset "hard" (breathy 1, rough 0: bursts twice)'), (1.5, 2.5, "end")],
        ),
        ("notes 2", [(1.0, 2.0, "region")]),
        ("recording", [(0.0, 3.0, "whole recording (weak 2: tired, after lunch)")]),
    ]
    assert read_textgrid(notes.textgrid((), 3.0).encode(), 3.0)[0]["intervals"] == []


def test_notes_for_audacity_have_their_frequencies() -> None:
    assert notes.audacity(NOTES[1:3], 3.0) == (
        '0.500000\t1.500000\tonset "hard" (breathy 1, rough 0: bursts twice)\n'
        "\\\t500.000000\t2000.000000\n"
        "1.000000\t2.000000\tregion\n"
    )


def test_notes_as_a_table_and_back_from_their_file(tmp_path: Path) -> None:
    header, whole, box, *_ = notes.table("r1", NOTES).splitlines()
    assert header == (
        "recording,name,start_s,end_s,low_hz,high_hz,breathy,rough,weak,tremulous,monotone,imprecise,comment"
    )
    assert whole == 'r1,whole recording,,,,,,,2,,,,"tired, after lunch"'
    assert box.startswith('r1,"onset ""hard""",0.5,1.5,500.0,2000.0,1,0,,,,,')
    folder = tmp_path / "notes"
    notes.write(folder, "a/person 1", NOTES)
    assert notes.read(folder, "a/person 1") == NOTES
    assert notes.read(folder, "another") == (Note(WHOLE),)
    (path,) = folder.iterdir()
    assert "person" not in path.name  # no name of a person in a folder's listing
    path.write_text("{damaged")
    assert notes.read(folder, "a/person 1") == (Note(WHOLE),)


def test_a_rating_that_is_none_is_not_read(tmp_path: Path) -> None:
    path = notes.path_of(tmp_path, "r")
    path.write_text(
        json.dumps({"notes": [{"id": WHOLE, "ticks": {"weak": 4, "rough": 1, "odd": 1}}, {"name": "no id"}]})
    )
    assert notes.read(tmp_path, "r") == (Note(WHOLE, ticks={"rough": 1}),)


def test_one_deletion_leaves_nothing_of_ours_and_everything_of_others(tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    assert notes.delete_all(folder) == 0
    for name in ("r1", "r2"):
        notes.write(folder, name, NOTES)
    assert notes.delete_all(folder) == 2
    assert not folder.exists()
    notes.write(folder, "r1", NOTES)
    (folder / "letter.txt").write_text("mine")
    assert notes.delete_all(folder) == 1
    assert [path.name for path in folder.iterdir()] == ["letter.txt"]
    notes.write(folder, "r1", NOTES)
    notes.write(folder, "r1", (Note(WHOLE),))  # nothing is said any more: no file is left
    assert [path.name for path in folder.iterdir()] == ["letter.txt"]


def case(folder: Path, name: str, person: str, day: str, p: float | None, task: str = "vowel-a", **more: Any) -> None:
    facts = {
        "recording": f"{name}.wav",
        "person": person,
        "recorded": day,
        "task": task,
        "answer": {"scale": "P(PD)", "p": p},
        "measures": {"mean pitch, Hz": 120.0},
        "notes": [{"start_s": None, "ticks": {"weak": 2}}, {"start_s": 1.0, "ticks": {"rough": 3}}],
        "made": {"model": "m"},
        **more,
    }
    (folder / name).mkdir(parents=True)
    (folder / name / "case.json").write_bytes(to_json(facts))


def test_cases_of_one_person_stand_on_one_axis(tmp_path: Path) -> None:
    case(tmp_path, "2", "A", "2026-03-01", 0.75)
    case(tmp_path, "1", "A", "2026-01-01", 0.25)
    case(tmp_path, "3", "A", "2026-02-01", None, "ddk")
    case(tmp_path, "4", "B", "2026-01-05", 0.5)
    case(tmp_path, "5", "", "2026-01-05", 0.5)  # nobody said who
    case(tmp_path, "6", "A", "no day", 0.5)
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "case.json").write_text('{"person": "A"}')
    found = cases.read_cases(tmp_path)
    assert cases.people(found) == {"A": 3, "B": 1}
    of_a = [one for one in found if one.person == "A"]
    assert [one.recording for one in of_a] == ["1.wav", "3.wav", "2.wav"]
    assert of_a[0].values == {"mean pitch, Hz": 120.0, "weak (0 to 3)": 2.0}  # a region's rating is not the recording's
    day = datetime.date
    # no class was named for the second: its answer is no point; another task is another line
    assert cases.series(of_a, "P(PD)") == {"vowel-a · m": ([day(2026, 1, 1), day(2026, 3, 1)], [0.25, 0.75])}
    assert {name: values for name, (_, values) in cases.series(of_a, "weak (0 to 3)").items()} == {
        "vowel-a": [2.0, 2.0],
        "ddk": [2.0],
    }
    assert plots.over_time([("P(PD)", cases.series(of_a, "P(PD)"), True)])[:4] == b"\x89PNG"
    assert cases.read_cases(tmp_path / "nowhere") == []
