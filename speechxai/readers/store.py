"""What readers answered, in one SQLite file beside the study: on disk before the next page shows."""

from __future__ import annotations

import json
import math
import re
import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from speechxai.errors import SpeechXAIError
from speechxai.files import csv_table, decoded, from_csv_cell, known_format, read_bytes
from speechxai.readers.analysis import READING_COLUMNS, rating
from speechxai.readers.design import Case, Study, codes, slots
from speechxai.types import CLASS_NAMES, class_key

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
"""Of the file; a program that reads an older one knows it."""

PATIENCE_S = 30.0
"""How long a reader's answer waits for that of another to be written."""

_TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cases (
    code TEXT PRIMARY KEY, place INTEGER NOT NULL, facts TEXT NOT NULL, content BLOB
);
CREATE TABLE IF NOT EXISTS answers (
    reader TEXT NOT NULL, slot INTEGER NOT NULL, stage TEXT NOT NULL, content TEXT NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (reader, slot, stage)
) WITHOUT ROWID;
"""


_TOLD = "told "
"""Before the hash of a wording, in the table of what is known of the study."""


def beside(study_file: Path) -> Path:
    """The file of a study's answers: of the same name, ending in .sqlite."""
    return study_file.with_suffix(".sqlite")


@dataclass(frozen=True)
class Store:
    """One file of cases and answers. Every call opens it anew: any number of threads and processes may share it.

    Args:
        path: of the file.
    """

    path: Path

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path, timeout=PATIENCE_S)) as connection:
                # Written through to the disk at the end of every transaction: no kill and no power loss takes it back.
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                with connection:
                    yield connection
        except sqlite3.Error as error:
            raise SpeechXAIError(f"{self.path}: the study's answers cannot be read or written ({error}).") from error

    def check(self, study: Study | None = None) -> None:
        """Check that a file that is there holds answers to a study, and to this one; nothing is written.

        Raises:
            SpeechXAIError: it holds something else, or belongs to another study.
        """
        try:
            with closing(sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
                tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
                ours = {"meta", "cases", "answers"} <= tables
                known = dict(connection.execute("SELECT name, value FROM meta")) if ours else {}
                met = {who for (who,) in connection.execute("SELECT DISTINCT reader FROM answers")} if ours else set()
        except sqlite3.Error as error:
            raise SpeechXAIError(f"{self.path}: the study's answers cannot be read or written ({error}).") from error
        if not ours:
            raise SpeechXAIError(f"{self.path}: this file holds no answers to a study. Name one that does.")
        if study is not None and known.get("rests_on") != study.rests_on:
            raise SpeechXAIError(
                f"{self.path}: these are answers to another study, or the study file was changed since: arms, cases,"
                " questions, sittings and seed must stay."
            )
        if study is not None and (gone := sorted(met - set(codes(study)))):
            raise SpeechXAIError(
                f"{self.path}: {', '.join(gone)} answered and would not be counted among {study.readers} readers. Raise"
                " 'readers' in the study file again."
            )

    def begin(self, study: Study) -> None:
        """Make the file where there is none.

        Raises:
            SpeechXAIError: the file belongs to another study, or this one was changed after somebody answered, or the
                file holds something else than a study's answers.
        """
        if self.path.exists() and self.path.stat().st_size:
            self.check()
        with self._open() as connection:
            connection.executescript(_TABLES)
            known = dict(connection.execute("SELECT name, value FROM meta"))
            n = connection.execute("SELECT COUNT(*) FROM answers").fetchone()[0]
            known_format(int(known["format"]) if "format" in known else None, FORMAT, f"{self.path}: this file")
            if known.get("rests_on", study.rests_on) != study.rests_on:
                if n:
                    raise SpeechXAIError(
                        f"{self.path}: readers have answered already, and the study file was changed since: arms,"
                        " cases, questions, sittings and seed must stay. Undo that, or copy the study to a new name."
                    )
                connection.execute("DELETE FROM cases")
                connection.execute("DELETE FROM meta")
            connection.executemany(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)",
                [("format", str(FORMAT)), ("rests_on", study.rests_on)],
            )
            connection.execute(
                "INSERT OR IGNORE INTO meta VALUES (?, ?)", (f"{_TOLD}{study.wording}", json.dumps(study.told))
            )
        self.check(study)

    def facts(self) -> dict[str, Any]:
        """What is known of the study as a whole, such as the names of the classes."""
        with self._open() as connection:
            rows = connection.execute("SELECT value FROM meta WHERE name = 'facts'").fetchall()
        return dict(json.loads(rows[0][0])) if rows else {}

    def wordings(self) -> dict[str, dict[str, Any]]:
        """Every wording of what readers were told, by its hash: of each the title, texts and gap."""
        with self._open() as connection:
            rows = connection.execute("SELECT name, value FROM meta WHERE name LIKE ?", (f"{_TOLD}%",)).fetchall()
        return {name.removeprefix(_TOLD): json.loads(text) for name, text in rows}

    def put_cases(self, cases: Sequence[Case], contents: Mapping[str, bytes], facts: Mapping[str, Any]) -> None:
        """Keep the cases in their order, with what is shown of each, in place of those that are there."""
        rows = [(c.code, k, json.dumps(asdict(c)), contents.get(c.code)) for k, c in enumerate(cases)]
        with self._open() as connection:
            connection.execute("DELETE FROM cases")
            connection.executemany("INSERT INTO cases VALUES (?, ?, ?, ?)", rows)
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('facts', ?)", (json.dumps(dict(facts)),))

    def cases(self) -> list[Case]:
        """The cases in their order; none before they are prepared."""
        with self._open() as connection:
            rows = connection.execute("SELECT facts FROM cases ORDER BY place").fetchall()
        return [Case(**json.loads(text)) for (text,) in rows]

    def content(self, code: str) -> bytes | None:
        """What is shown of a case, None where nothing was prepared."""
        with self._open() as connection:
            row = connection.execute("SELECT content FROM cases WHERE code = ?", (code,)).fetchone()
        return row[0] if row else None

    def put(self, reader: str, slot: int, stage: str, content: Mapping[str, Any], at: float | None = None) -> bool:
        """Keep an answer; one that is there already stays, and False is returned. On disk when this returns."""
        text = json.dumps(dict(content))
        with self._open() as connection:
            done = connection.execute(
                "INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?)",
                (reader, slot, stage, text, time.time() if at is None else at),
            )
            return done.rowcount > 0

    def put_many(self, rows: Sequence[tuple[str, int, str, Mapping[str, Any], float]]) -> None:
        """Keep many answers at once, as of simulated readers."""
        with self._open() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?)",
                [(reader, slot, stage, json.dumps(dict(content)), at) for reader, slot, stage, content, at in rows],
            )

    def answers(self, reader: str | None = None) -> dict[tuple[str, int, str], tuple[dict[str, Any], float]]:
        """Answers and when they were given, s since 1970, by reader, slot and stage."""
        asked = "SELECT reader, slot, stage, content, at FROM answers"
        with self._open() as connection:
            found = connection.execute(
                asked + ("" if reader is None else " WHERE reader = ?"), () if reader is None else (reader,)
            )
            return {(who, slot, stage): (json.loads(text), at) for who, slot, stage, text, at in found}

    def forget(self, reader: str) -> int:
        """Delete everything that a reader answered, as readers may ask. Returns how many answers."""
        with self._open() as connection:
            connection.execute("PRAGMA secure_delete = ON")
            n = connection.execute("DELETE FROM answers WHERE reader = ?", (reader,)).rowcount
        with closing(sqlite3.connect(self.path, timeout=PATIENCE_S)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.execute("VACUUM")
        return int(n)


# Tables of what was answered.
def readings(store: Store, study: Study) -> pd.DataFrame:
    """Finished readings, READING_COLUMNS, one row each; training and attention checks are not among them."""
    import pandas as pd

    cases = {case.code: case for case in store.cases()}
    answers = store.answers()
    rows = []
    for number, code in enumerate(codes(study)):
        order = 0
        for slot in slots(study, number, list(cases.values())):
            first = answers.get((code, slot.index, "first"), ({}, 0.0))[0]
            second = answers.get((code, slot.index, "second"), ({}, 0.0))[0]
            if slot.kind != "case" or not first or (slot.arm != "sound" and not second):
                continue
            last, case = second or first, cases[slot.case]
            parts = [part for part in (first, second) if part]
            rows.append(
                (
                    code,
                    slot.case,
                    slot.arm,
                    slot.round,
                    slot.sitting,
                    order,
                    case.truth,
                    case.answer,
                    case.kind,
                    first["decision"],
                    first["confidence"],
                    first.get("foretold", math.nan),
                    last["decision"],
                    last["confidence"],
                    last.get("use", math.nan),
                    sum(part["rt_ms"] for part in parts) / 1000,
                    sum(part["plays"] for part in parts),
                    sum(part["played_s"] for part in parts),
                )
            )
            order += 1
    table = pd.DataFrame(rows, columns=list(READING_COLUMNS))
    numbers = ("first", "first_confidence", "foretold", "decision", "confidence", "use", "seconds", "played_s")
    return table.astype(dict.fromkeys(numbers, float))


def attention(store: Store, study: Study) -> dict[str, tuple[int, int]]:
    """Attention checks passed and answered, by reader."""
    cases, answers, found = store.cases(), store.answers(), {}
    for number, code in enumerate(codes(study)):
        passed = n = 0
        for slot in slots(study, number, cases):
            given = answers.get((code, slot.index, "first"))
            if slot.kind == "attention" and given:
                n += 1
                passed += (given[0]["decision"], given[0]["confidence"]) == slot.asked
        found[code] = (passed, n)
    return found


def scales(store: Store, study: Study) -> dict[str, dict[str, list[int]]]:
    """Answers to the two scales at the end, by scale ("sus", "scs") and reader."""
    cases, answers = store.cases(), store.answers()
    found: dict[str, dict[str, list[int]]] = {"sus": {}, "scs": {}}
    for number, code in enumerate(codes(study)):
        for slot in slots(study, number, cases):
            given = answers.get((code, slot.index, "scale"))
            if slot.kind in found and given:
                found[slot.kind][code] = [int(given[0][f"q{k}"]) for k in range(1, 11)]
    return found


def remarks(store: Store, study: Study) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Boxes (reader, case, arm, start_s, end_s, low_hz, high_hz) and comments with causes (reader, case, arm, causes,
    comment)."""
    import pandas as pd

    cases, answers = store.cases(), store.answers()
    boxes, said = [], []
    for number, code in enumerate(codes(study)):
        for slot in slots(study, number, cases):
            first = answers.get((code, slot.index, "first"), ({}, 0.0))[0]
            second = answers.get((code, slot.index, "second"), ({}, 0.0))[0]
            if slot.kind != "case" or not first:
                continue
            boxes += [(code, slot.case, slot.arm, *box) for box in first.get("box", [])]
            comment = " / ".join(filter(None, (first.get("comment", ""), second.get("comment", ""))))
            said.append((code, slot.case, slot.arm, " ".join(first.get("cause", [])), comment))
    return (
        pd.DataFrame(boxes, columns=["reader", "case", "arm", "start_s", "end_s", "low_hz", "high_hz"]),
        pd.DataFrame(said, columns=["reader", "case", "arm", "causes", "comment"]),
    )


# Formats that people know.
def jspsych(store: Store, study: Study) -> pd.DataFrame:
    """Every answer as a trial with the names of jsPsych: rt in ms, response as JSON, stimulus the case's code."""
    import pandas as pd

    cases, rows = store.cases(), []
    answers = store.answers()
    begun: dict[str, float] = {}
    for (reader, _, _), (_, at) in answers.items():
        begun[reader] = min(at, begun.get(reader, at))
    by_code = {case.code: case for case in cases}
    stages: dict[tuple[str, int], list[str]] = defaultdict(list)
    for reader, index, stage in sorted(answers, key=lambda key: (_place(key[2]), key[2])):
        stages[reader, index].append(stage)
    for number, code in enumerate(codes(study)):
        index = 0
        for slot in slots(study, number, cases):
            for stage in stages[code, slot.index]:
                content, at = answers[code, slot.index, stage]
                response = {k: v for k, v in content.items() if k not in _NO_RESPONSE}
                case = by_code.get(slot.case)
                rows.append(
                    {
                        "subject": code,
                        "trial_index": index,
                        "trial_type": f"{slot.kind}-{stage}",
                        "time_elapsed": round(1000 * (at - begun[code])),
                        "rt": content.get("rt_ms", math.nan),
                        "stimulus": slot.case,
                        "response": json.dumps(response, ensure_ascii=False),
                        "arm": slot.arm,
                        "sitting": slot.sitting,
                        "correct_response": "" if case is None else case.truth,
                        "plays": content.get("plays", math.nan),
                        "played_s": content.get("played_s", math.nan),
                        "wording": content.get("wording", ""),
                    }
                )
                index += 1
    names = ["subject", "trial_index", "trial_type", "time_elapsed", "rt", "stimulus", "response", "arm", "sitting"]
    return pd.DataFrame(rows, columns=[*names, "correct_response", "plays", "played_s", "wording"])


_NO_RESPONSE = ("rt_ms", "plays", "played_s", "paused_ms", "wording")
STAGES = ("begin", "agree", "read", "first", "second", "feedback", "scale")
"""Of one step, in order."""

AGAIN = "agree-"
"""Before the wording to which a reader agreed after one that was changed: a stage of the first step."""


def _place(stage: str) -> int:
    """Of a stage within its step."""
    return STAGES.index("agree" if stage.startswith(AGAIN) else stage)


def wordings(store: Store) -> pd.DataFrame:
    """What readers were told: a row for each wording and text, with the readers who answered under it."""
    import pandas as pd

    met: dict[str, set[str]] = defaultdict(set)
    for (reader, _, _), (content, _) in store.answers().items():
        if "wording" in content:
            met[content["wording"]].add(reader)
    rows = [
        (name, text, told, " ".join(sorted(met[name])))
        for name, texts in sorted(store.wordings().items())
        if name in met
        for text, told in texts.items()
    ]
    return pd.DataFrame(rows, columns=["wording", "text", "content", "readers"])


def gaps_days(store: Store, study: Study) -> list[float]:
    """Days between two readings of one case by one reader, in answers that tell when they were given."""
    cases, answers, found = store.cases(), store.answers(), []
    for number, code in enumerate(codes(study)):
        met: dict[str, float] = {}
        for slot in slots(study, number, cases):
            given = answers.get((code, slot.index, "first"))
            if slot.kind != "case" or given is None:
                continue
            if slot.case in met:
                found.append((given[1] - met[slot.case]) / 86_400)
            met[slot.case] = given[1]
    return found


def imrmc(table: pd.DataFrame) -> pd.DataFrame:
    """Readings as iMRMC's four columns: readerID, caseID, modalityID, score; first the rows of the truth."""
    import pandas as pd

    truth = table.drop_duplicates("case").sort_values("case")
    top = pd.DataFrame(
        {"readerID": "truth", "caseID": truth["case"], "modalityID": "truth", "score": truth["truth"].astype(int)}
    )
    scores = pd.DataFrame(
        {
            "readerID": table["reader"],
            "caseID": table["case"],
            "modalityID": table["arm"],
            "score": rating(table["decision"].to_numpy(float), table["confidence"].to_numpy(float)).astype(int),
        }
    )
    return pd.concat([top, scores], ignore_index=True)


_ALIASES = {
    "reader": ("reader", "readerid", "subject", "participant", "subject_id"),
    "case": ("case", "caseid", "stimulus"),
    "arm": ("arm", "modalityid", "treatment", "modality", "condition"),
    "rating": ("rating", "score", "response"),
    "truth": ("truth", "correct_response"),
    "type": ("trial_type",),
    "decision": ("decision",),
    "confidence": ("confidence",),
}
"""Names of columns, without case, that mean the same: iMRMC's, jsPsych's and those of the R package MRMCaov."""


def read_ratings(path: Path) -> pd.DataFrame:
    """Read a table of ratings from elsewhere: reader, case, arm, rating, truth (0 or 1).

    iMRMC's four columns, as a table with their names or as the program's own file (everything before "BEGIN DATA:" is
    free text, no names of columns), whose rows of the reader "truth" or -1 hold the truth; jsPsych's names with a
    numeric response and correct_response, rows without the latter being instructions and the like; reader, treatment,
    case, truth, rating; or the readings and trials that a study's own report writes, of which last decisions count.
    Ratings may have decimal commas, where they cannot be thousands. The truth is 0 or 1, or one of TRUTHS; two other
    numbers or words, such as 1 and 2, do not say which of them is the condition.

    Returns:
        The readings; `attrs["notes"]` holds a sentence for everything in the file that is none.

    Raises:
        SpeechXAIError: no ratings, a column or cell that is missing, ratings that are no numbers or whose commas may
            mean two things, a truth that does not say which is the condition or differs within a case, a reading given
            twice, no reader who read both classes in every arm; the message begins with the file and names the row,
            counted from 1 with the names of columns.
    """
    import pandas as pd

    numbers, cells, named = _cells_of(path)
    rows = [{key: row[place] for key, place in named.items()} for row in cells]
    notes = []
    if any(row.get("type") == "case-first" for row in rows):
        numbers, rows, n_left = _last_decisions(numbers, rows)
        notes.append(f"Rows of first decisions, training, checks and the like: {n_left} left out.")

    def wrong(number: int, what: str) -> SpeechXAIError:
        return SpeechXAIError(f"{path}: row {number}: {what}")

    by_rows = "truth" not in named
    numbers, rows = list(numbers), _with_points(path, numbers, rows)
    readings: list[tuple[int, dict[str, str]]] = []
    truths: dict[str, tuple[int, int]] = {}
    said: dict[str, int] = {}
    others = 0
    for number, row in zip(numbers, rows, strict=True):
        of_truth = by_rows and row["reader"].lower() in _OF_TRUTH
        if row.get("correct", "-").lower() in ("", "null", "na", "nan"):
            others += 1
            continue
        for key in ("reader", "case", "arm"):
            if key in row and not row[key] and not (of_truth and key == "arm"):
                raise wrong(number, f"the {key} is empty.")
        if not of_truth:
            readings.append((number, row))
        if of_truth or not by_rows:
            given = row["rating"] if of_truth else row["truth"]
            truth = _truth(given)
            if truth is None:
                raise wrong(number, f"the truth of case {row['case']} must be 0 or 1. Got {given!r}.{_UNSAID}")
            said.setdefault(given, truth)
            known, first = truths.setdefault(row["case"], (truth, number))
            if known != truth:
                raise wrong(number, f"case {row['case']} has the truth {truth} here and {known} in row {first}.")
    if others:
        notes.append(f"Rows without correct_response, such as instructions, are no ratings: {others} left out.")
    if words := {given: truth for given, truth in said.items() if math.isnan(_number(given))}:
        read = [f"{given} is {'with' if truth else 'without'}" for given, truth in sorted(words.items())]
        notes.append(f"The truth is read from words: {', '.join(read)} the condition.")
    if by_rows and not truths:
        raise SpeechXAIError(f"{path}: no truth: neither a column of it, nor rows of the reader 'truth' or -1.")
    if not readings:
        raise SpeechXAIError(f"{path}: there are no ratings in it, only names of columns or rows of the truth.")
    met: dict[tuple[str, str, str], int] = {}
    table = []
    for number, row in readings:
        reader, case, arm, given = row["reader"], row["case"], row.get("arm", "all"), row["rating"]
        if not math.isfinite(_number(given)):
            raise wrong(number, f"the rating of reader {reader}, case {case} is no number: {given!r}.")
        if case not in truths:
            raise wrong(number, f"no row of the reader 'truth' or -1 holds the truth of case {case}.")
        first = met.setdefault((reader, case, arm), number)
        if first != number:
            raise wrong(number, f"reader {reader} read case {case} in arm {arm} twice, before in row {first}.")
        table.append((reader, case, arm, _number(given), truths[case][0]))
    unread = len(truths.keys() - {row[1] for row in table})
    if unread:
        notes.append(f"Cases of which there is a truth and no rating: {unread}.")
    found = pd.DataFrame(table, columns=["reader", "case", "arm", "rating", "truth"])
    if lacking := lacking_readings(found):
        if len(lacking) == found["reader"].nunique():
            raise SpeechXAIError(
                f"{path}: no reader read two cases of each class in every arm; nothing can be compared: {lacking[0]}."
            )
        notes.append("Left out, since arms are compared within readers: " + "; ".join(lacking) + ".")
    found.attrs["notes"] = notes
    return found


def _last_decisions(
    numbers: Sequence[int], rows: Sequence[dict[str, str]]
) -> tuple[list[int], list[dict[str, str]], int]:
    """Of a study's own trials the last decision of each reading, as a rating; and how many other rows there are."""
    last: dict[tuple[str, str, str], tuple[int, dict[str, str]]] = {}
    for number, row in zip(numbers, rows, strict=True):
        if row["type"] not in ("case-first", "case-second"):
            continue
        try:
            said = json.loads(row["rating"])
            own = {"rating": _rated(str(said["decision"]), str(said["confidence"]))}
        except (ValueError, TypeError, KeyError):
            own = {}  # named below, as no number
        last[row["reader"], row["case"], row.get("arm", "")] = number, {**row, **own}
    return [number for number, _ in last.values()], [row for _, row in last.values()], len(rows) - len(last)


def _rated(decision: str, confidence: str) -> str:
    """A decision and its confidence as one rating; "" where they are none."""
    if _number(decision) not in (0.0, 1.0) or _number(confidence) not in (0.0, 1.0, 2.0, 3.0):
        return ""
    return str(int(rating(np.array(_number(decision)), np.array(_number(confidence)))))


def lacking_readings(table: pd.DataFrame) -> list[str]:
    """Readers who did not read two cases of each class in every arm, and what is missing, in words."""
    n = table.groupby(["reader", "arm", "truth"]).size()
    arms, found = sorted(table["arm"].unique()), []
    for reader in sorted(table["reader"].unique()):
        for arm in arms:
            counts = [int(n.get((reader, arm, truth), 0)) for truth in (0, 1)]
            if min(counts) < 2:
                what = f"{counts[1]} cases with and {counts[0]} without the condition" if any(counts) else "nothing"
                found.append(f"reader {reader} read {what} in arm {arm}")
                break
    return found


TRUTHS = (
    ("no", "false", "negative", "healthy", "normal", "control", "benign", "absent", "nondiseased", "nonsignal"),
    ("yes", "true", "positive", "ill", "abnormal", "patient", "malignant", "present", "diseased", "signal"),
)
"""Words for the truth, without and with the condition, beside the names of the two classes."""

_UNSAID = " Which of other numbers or words is the condition is not said: write 0 (without) and 1 (with it)."


def _truth(text: str) -> int | None:
    """Whether a case has the condition; None where a cell does not say."""
    value = _number(text)
    if not math.isnan(value):
        return int(value) if value in (0.0, 1.0) else None
    word = text.strip().lower().replace("-", "").replace(" ", "")
    for truth, words in enumerate(TRUTHS):
        if word in words or class_key(text) == CLASS_NAMES[truth]:
            return truth
    return None


_OF_TRUTH = ("truth", "-1")
"""Readers whose rows hold the truth."""

_WITH_COMMA = re.compile(r"[+-]?(\d+),(\d+)")


def _with_points(path: Path, numbers: Sequence[int], rows: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Rows whose ratings have decimal points, where they had commas. Raises SpeechXAIError where both stand in one
    table, or where every comma may stand between thousands."""
    given = {k: row["rating"] for k, row in enumerate(rows) if row["reader"].lower() not in _OF_TRUTH}
    found = {k: cut for k, text in given.items() if (cut := _WITH_COMMA.fullmatch(text))}
    if not found:
        return list(rows)
    first = next(iter(found))
    begun = f"{path}: row {numbers[first]}: the rating {rows[first]['rating']!r}"
    point = next((k for k, text in given.items() if "." in text and math.isfinite(_number(text))), None)
    if point is not None:
        raise SpeechXAIError(
            f"{begun} has a comma and {rows[point]['rating']!r} in row {numbers[point]} a point. Write all with points."
        )
    if all(len(cut[2]) == 3 and not cut[1].startswith("0") for cut in found.values()):
        raise SpeechXAIError(f"{begun} may have a decimal comma or one between thousands. Write it with a point.")
    return [
        {**row, "rating": row["rating"].replace(",", ".")} if k in found else dict(row) for k, row in enumerate(rows)
    ]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _cells_of(path: Path) -> tuple[list[int], list[list[str]], dict[str, int]]:
    """Rows of a table of ratings by their number in the file, without blank ones and spaces at the ends of cells, and
    the place of each column that is read."""
    import csv

    lines = decoded(read_bytes(path), path).removeprefix("\ufeff").splitlines()
    begin = next((k for k, line in enumerate(lines) if line.strip().upper().startswith("BEGIN DATA")), -1)
    top = next((line for line in lines[begin + 1 :] if line.strip()), "")
    try:
        reader = csv.reader(lines[begin + 1 :], delimiter=max(",;\t", key=top.count), skipinitialspace=True)
        # jsPsych's texts may hold line breaks: a row is numbered by the line in which it begins.
        met, first = [], begin + 2
        for row in reader:
            met.append((first, [from_csv_cell(cell.strip()) for cell in row]))
            first = begin + 2 + reader.line_num
    except csv.Error as error:
        raise SpeechXAIError(f"{path}: cannot be read as a table: {error}.") from error
    met = [(number, row) for number, row in met if any(row)]
    if not met:
        raise SpeechXAIError(f"{path}: the file is empty: there are no ratings in it.")
    lower = [name.lower() for name in met[0][1]]
    if len(lower) == len(_IMRMC) and "readerid" not in lower and (begin >= 0 or lower[0] == "-1"):
        names = [name.lower() for name in _IMRMC]
    else:
        names, met = lower, met[1:]
    named: dict[str, int] = {}
    for key, aliases in _ALIASES.items():
        known = [name for name in names if name in aliases]
        if len(known) > 1:
            raise SpeechXAIError(
                f"{path}: {' and '.join(known)} are columns of the same, the {key}. Leave one of them."
            )
        if known:
            named[key] = names.index(known[0])
    if "rating" not in named and {"decision", "confidence"} <= named.keys():
        names.append("rating")
        named["rating"] = len(names) - 1
        for _, row in met:
            if len(row) == len(names) - 1:
                row.append(_rated(row[named["decision"]], row[named["confidence"]]))
    if missing := next((key for key in ("reader", "case", "rating") if key not in named), None):
        listed = ", ".join(_ALIASES[missing])
        raise SpeechXAIError(f"{path}: there is no column of the {missing}. It is called one of: {listed}.")
    if "truth" in named and names[named["truth"]] == "correct_response":
        named["correct"] = named["truth"]
    for number, row in met:
        if any(row[len(names) :]) or len(row) <= max(named.values()):
            raise SpeechXAIError(f"{path}: row {number}: has {len(row)} cells, and there are {len(names)} columns.")
    return [number for number, _ in met], [row for _, row in met], named


_IMRMC = ("readerID", "caseID", "modalityID", "score")
"""Columns of iMRMC in their order."""


def exported(store: Store, study: Study) -> dict[str, bytes]:
    """Everything that was answered, as CSV files by name."""
    table = readings(store, study)
    boxes, said = remarks(store, study)
    return {
        "readings.csv": csv_table(table),
        "jspsych.csv": csv_table(jspsych(store, study)),
        "imrmc.csv": csv_table(imrmc(table)),
        "boxes.csv": csv_table(boxes),
        "comments.csv": csv_table(said),
        "wordings.csv": csv_table(wordings(store)),
    }
