"""People's tables: what they write for sex, age and speaker, how they name columns, what programs do to the file."""

from __future__ import annotations

import os
import re
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pandas as pd
import pytest

from speechxai.data.manifest import validate
from speechxai.data.tables import (
    merged,
    not_understood,
    number,
    our_columns,
    person,
    read_table,
    same_person,
    sex_codes,
    sexes,
    spelled_differently,
)
from speechxai.errors import SpeechXAIError

# --- sex ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("woman", "man"),
    [
        ("F", "M"),
        ("f", "m"),
        (" F ", "M."),
        ("female", "male"),
        ("Female", "MALE"),
        ("women", "men"),
        ("w", "m"),
        ("W", "M"),
        ("weiblich", "männlich"),
        ("weiblich", unicodedata.normalize("NFD", "männlich")),
        ("Frau", "Mann"),
        ("femme", "homme"),
        ("f", "h"),
        ("mujer", "hombre"),
        ("Femenino", "Masculino"),
        ("donna", "uomo"),
        ("2 = female", "1 = male"),
        ("(F)", "(M)"),
        ("Ｆ", "Ｍ"),
        ("♀", "♂"),
    ],
)
def test_usual_spellings_of_sex(woman: str, man: str) -> None:
    assert sexes([woman, man, "", None, "n/a", pd.NA]) == ["F", "M", "unknown", "unknown", "unknown", "unknown"]


@pytest.mark.parametrize(
    "text", ["1", "2", "0", "1.0", "x", "none", "divers", "male/female", "F?M", "fm", "femal", "123"]
)
def test_a_sex_that_is_not_understood_stays_and_is_named(text: str) -> None:
    found = sexes(["F", "M", text, text, text])
    assert found == ["F", "M", text, text, text]
    frame = pd.DataFrame({"sex": found, "speaker": [f"s/{i}" for i in range(5)]})
    assert not_understood(frame)[0].startswith(f"sex: {text!r} in 3 rows is not understood and counts as unknown.")


@pytest.mark.parametrize("letters", [("H", "M"), ("h", "m"), ("V", "M"), ("N", "F"), ("K", "M"), ("M", "X")])
def test_a_letter_that_may_mean_either_is_refused(letters: tuple[str, str]) -> None:
    # hombre / mujer, vrouw or varón / man or mujer, férfi / nő, kobieta / mężczyzna
    with pytest.raises(SpeechXAIError, match=r"which may mean either\. Write F and M, or say it in the column's name"):
        sexes(letters)


@pytest.mark.parametrize(
    ("header", "codes"),
    [
        ("sex (1=male, 2=female)", {"1": "M", "2": "F"}),
        ("Sex [0 = F; 1 = M]", {"0": "F", "1": "M"}),
        ("Geschlecht: M=1, W=2", {"1": "M", "2": "F"}),
        ("sexo (H=hombre, M=mujer)", {"h": "M", "m": "F"}),
        ("sex (1=M, 1=F, 2=F)", {"2": "F"}),
        ("sex", {}),
        ("sex (1 or 2)", {}),
    ],
)
def test_a_coding_that_the_header_states(header: str, codes: dict[str, str]) -> None:
    assert sex_codes(header) == codes
    cells = [code.upper() for code in codes]
    assert sexes(cells, codes) == list(codes.values())
    assert sexes([f"{code}.0" for code in codes if code.isdigit()], codes) == [codes[c] for c in codes if c.isdigit()]


def test_a_manifest_says_one_sex_in_one_way() -> None:
    def frame(*given: str) -> pd.DataFrame:
        ids = [f"r{i}" for i in range(len(given))]
        return pd.DataFrame({"recording": ids, "path": ids, "speaker": "s/1", "label": 0, "sex": given})

    found = validate(frame("male", "F", "w", "", "diverse"))
    assert found["sex"].tolist() == ["M", "F", "F", "unknown", "diverse"]
    assert validate(found)["sex"].tolist() == found["sex"].tolist()
    assert not_understood(found)[1] == "sex: s/1 is F in some rows and M in others"


# --- ages and scales ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "age"),
    [
        ("63", 63),
        (63, 63),
        ("63,5", 63.5),
        ("63.5", 63.5),
        (" 63y ", 63),
        ("63 years", 63),
        ("63 yrs.", 63),
        ("63 Jahre", 63),
        ("63 ans", 63),
        ("６３", 63),
        ("6.3e1", 63),
        ("", None),
        ("NA", None),
        ("?", None),
        (float("nan"), None),
    ],
)
def test_ages(cell: object, age: float | None) -> None:
    assert number(cell, "age") == age


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("age", ["inf", "-inf", "-40", "4000", "0", "999", "121", "1e400", "90+", ">89", "60-69", "old", "63 months"]),
        ("age", ["1_0", "0x40", "63;5", "6 3", "9" * 5_000, "1.2.3", "\n", "63\n9"]),
        ("updrs", ["-1", "999", "28 points", "inf"]),
        ("updrs_speech", ["5", "-1"]),
        ("hoehn_yahr", ["6", "2-3", "99"]),
        ("sample_rate", ["inf", "-8000", "8 kHz", "1e400"]),
    ],
)
def test_numbers_that_are_none_or_cannot_be_a_persons(name: str, cells: list[str]) -> None:
    for cell in cells:
        if cell.strip():
            with pytest.raises(SpeechXAIError, match=f"the column '{name}' must hold"):
                number(cell, name)


@pytest.mark.parametrize("column", ["age", "updrs", "hoehn_yahr", "sample_rate"])
def test_a_manifest_refuses_such_a_number_and_names_the_recording(column: str) -> None:
    frame = pd.DataFrame({"recording": ["a"], "path": ["a"], "speaker": ["s/1"], "label": [0]})
    for wrong in ("inf", "-40", "4000000000000"):
        with pytest.raises(SpeechXAIError, match=f"^a: the column '{column}' must hold"):
            validate(frame.assign(**{column: [wrong]}))
    if column == "sample_rate":
        with pytest.raises(
            SpeechXAIError, match=(r"^a: the column 'sample_rate' must hold a whole number\. Got '8000\.5' instead\.$")
        ):
            validate(frame.assign(sample_rate=["8000.5"]))


# --- speakers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spellings",
    [
        ("007", "7", "7.0", " 07"),
        ("Subj01", "subj01", "Subj01 ", "SUBJ 1", "subj_001", "subj-1"),
        ("Ｓｕｂｊ０１", "Subj01"),
        ("Muñoz", unicodedata.normalize("NFD", "Muñoz"), "MUÑOZ"),
        ("anna  b", "Anna B", "anna_b"),
        ("Straße 1", "STRASSE 1"),
    ],
)
def test_one_person_in_several_spellings(spellings: tuple[str, ...]) -> None:
    assert len({person(name) for name in spellings}) == 1
    speakers = [f"set/{name}" for name in (*spellings, spellings[1])]
    assert same_person([*speakers, "set/other"]) == (tuple(f"set/{name}" for name in spellings),)
    assert "one person in" in spelled_differently(speakers)[0]
    # The most frequent spelling stays.
    assert set(merged(speakers)) == {f"set/{spellings[1]}"}


@pytest.mark.parametrize(
    ("one", "other"),
    [("1-12", "11-2"), ("1.5", "15"), ("S1A", "S1B"), ("10", "1"), ("7", "7.5"), ("कि", "का"), ("", "."), ("#1", "1")],
)
def test_two_people_stay_two(one: str, other: str) -> None:
    assert same_person([f"s/{one}", f"s/{other}"]) == ()
    assert same_person(["a/7", "b/7"]) == ()


# --- columns --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "file,label,Label,speaker",
        "file,label,label,speaker",
        "file,label, LABEL ,speaker",
        "file,label,ｌａｂｅｌ,speaker",
        'file,"label","label ",speaker',
        "file,label,Gender,speaker,Geschlecht",
        "file,label,speaker,age (years),Alter",
        "file,label,sex (1=M),sex (m/f),speaker",
    ],
)
def test_two_columns_of_one_meaning_are_refused(tmp_path: Path, header: str) -> None:
    (tmp_path / "t.csv").write_text(f"{header}\na.wav,HC\n", encoding="utf-8")
    with pytest.raises(SpeechXAIError, match=r"t\.csv: the columns '.*' and '.*' both say the \w+\. Keep one"):
        read_table(tmp_path / "t.csv")


def test_names_of_columns() -> None:
    assert our_columns(["Gender", "Age [y]"]) == {"Gender": "sex", "Age [y]": "age"}
    # Where our own name is there, another column keeps its name; an age in months is not an age in years.
    assert our_columns(["sex", "Gender", "age (months)"]) == {
        "sex": "sex",
        "Gender": "gender",
        "age (months)": "age (months)",
    }


# --- files of programs ----------------------------------------------------------------------------------------------

ROWS = [
    ("file", "label", "speaker"),
    ("a.wav", "HC", "Muñoz"),
    ("b.wav", "PD", 'said "no"'),
    ("c.wav", "PD", "a;b,c\td"),
]


def text(separator: str, newline: str = "\n") -> str:
    lines = [separator.join('"' + cell.replace('"', '""') + '"' for cell in row) for row in ROWS]
    return newline.join(lines) + newline


def check_rows(path: Path) -> None:
    frame = read_table(path)
    assert [tuple(frame.columns), *frame.itertuples(index=False, name=None)] == ROWS


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "cp1252", "latin-1", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
def test_one_table_in_every_encoding_and_dialect(tmp_path: Path, separator: str, newline: str, encoding: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(text(separator, newline).encode(encoding))
    check_rows(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: f"sep=;\n{t}",
        lambda t: f'"sep=;"\r\n{t}',
        lambda t: f"SEP=;\n{t}",
        lambda t: f"\n\n;;\n{t}",
        lambda t: t + ";;\n\n;;\n   ;;\n",
        lambda t: t.replace("\n", ";;;\n"),
        lambda t: t.replace("\n", ";\n", 1),
        lambda t: t.rstrip("\n"),
        lambda t: t.replace('"label"', '" label "'),
    ],
    ids=["sep", "sep quoted", "SEP", "rows before", "rows after", "columns", "a column", "no newline", "spaces"],
)
def test_rows_and_columns_that_hold_nothing(tmp_path: Path, change: Callable[[str], str]) -> None:
    (tmp_path / "t.csv").write_text(change(text(";")), "utf-8")
    check_rows(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("mac_roman", "Größe,a"),
        ("mac_roman", "José,a"),
        ("mac_roman", "Müller,a"),
        ("shift_jis", "健常,a"),
        ("cp932", "番号,表"),
        ("cp1251", "Ђђ,Џ"),
    ],
)
def test_an_encoding_that_would_be_read_wrong_is_refused(tmp_path: Path, encoding: str, words: str) -> None:
    (tmp_path / "t.csv").write_bytes(f"file,label,{words}\na.wav,HC,{words}\n".encode(encoding))
    with pytest.raises(SpeechXAIError, match=r"t\.csv: text that is neither UTF-8 nor Windows-1252.* as UTF-8\.$"):
        read_table(tmp_path / "t.csv")


def test_a_cell_of_two_lines_and_a_column_without_a_name(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('file,label,\na.wav,HC,"one\ntwo, three"\nb.wav,PD,\n')
    frame = read_table(tmp_path / "t.csv")
    assert list(frame.columns) == ["file", "label", "column 3"]
    assert frame["column 3"].tolist() == ["one\ntwo, three", ""]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"file,label\na.wav,HC,63,5\n", "row 2 has 4 cells and the header 2. A text that holds the separator"),
        (b"file,label,age\na.wav,HC,63,5\nb.wav,PD,64,5\n", "row 2 has 4 cells and the header 3"),
        (b'file,label\n"a.wav,HC\nb.wav,PD\n', "cannot be read"),
        (b"", "this table is empty"),
        (b"\n,,\n", "this table is empty"),
        (b"file,label\0\na.wav,HC\n", "holds NUL bytes"),
        ("file,label,speaker\na.wav,HC,Mu\xf1oz\xe9\n".encode().replace(b"\xc3\xa9", b"\xa9"), "damaged at byte"),
        (b"\xff\xfef\0i\0\0\xd8x\0", "begins as UTF-16 and is damaged"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 old", "of the old kind"),
        (b"PK\x03\x04 no workbook", "cannot be read"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path: Path, content: bytes, words: str) -> None:
    for name in ("t.csv", "t.xlsx"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SpeechXAIError, match=re.escape(words)) as error:
            read_table(tmp_path / name)
        assert str(error.value).startswith(str(tmp_path / name))


def test_only_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    for name in ("pipe.csv", "none.csv", "."):
        with pytest.raises(SpeechXAIError):
            read_table(tmp_path / name)


def test_excel_whatever_its_name_says(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in (*ROWS, ("", "", ""), (None, None, None)):
        book.active.append(row)
    book.save(tmp_path / "t.xlsx")
    check_rows(tmp_path / "t.xlsx")
    (tmp_path / "t.csv").write_bytes((tmp_path / "t.xlsx").read_bytes())
    check_rows(tmp_path / "t.csv")
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"/t\.xlsx: this Excel table cannot be read \(ValueError: .*\)\. Open it and save it again, "
            r"as xlsx or csv\.$"
        ),
    ):
        read_table(tmp_path / "t.xlsx", "nowhere")


def test_a_small_workbook_that_becomes_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "t.xlsx", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("xl/worksheets/sheet1.xml", bytes(10_000_000))
    monkeypatch.setattr("speechxai.data.tables.MAX_TABLE_BYTES", 1_000_000)
    with pytest.raises(
        SpeechXAIError, match=(r"/t\.xlsx: this workbook is too large when unpacked\. Save the sheet as csv\.$")
    ):
        read_table(tmp_path / "t.xlsx")
