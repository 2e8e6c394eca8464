"""Reader studies: the study file, who reads what, answers on disk, what is asked next, and what is read from it."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from speechxai.errors import SpeechXAIError
from speechxai.readers import analysis, design, material, report, simulate
from speechxai.readers.design import ARMS, Case
from speechxai.readers.sitting import Page, Sitting, checked
from speechxai.readers.store import Store, beside, exported, imrmc, read_ratings, readings
from speechxai.stats import holm, multi_reader, share_interval, spearman_interval, spearman_p

GIVEN = {"rt_ms": 1000.0, "plays": 1, "played_s": 0.5, "paused_ms": 0.0}


def study_of(tmp_path: Path, text: str | None = None, **changes: str) -> design.Study:
    """A study file, its lines changed by key."""
    text = design.template() if text is None else text
    for key, value in changes.items():
        lines = text.splitlines()
        found = [k for k, line in enumerate(lines) if line.startswith(f"{key} =")]
        assert len(found) == 1, key
        lines[found[0]] = f"{key} = {value}"
        text = "\n".join(lines)
    (tmp_path / "study.toml").write_text(text)
    return design.load(tmp_path / "study.toml")


def stored(tmp_path: Path, study: design.Study) -> Store:
    store = Store(tmp_path / "study.sqlite")
    store.begin(study)
    store.put_cases(design.dealt(study), {}, {"classes": ["HC", "PD"]})
    return store


def replied(page: Page, **wanted: Any) -> dict[str, Any]:
    """An answer to every question of a page: the first option, or what is wanted."""
    found: dict[str, Any] = {}
    for question in page.questions:
        values = [value for value, _ in question.options]
        kinds = {"several": values[:1], "text": "said", "box": [[0.1, 0.4, 500, 1500]]}
        found[question.name] = wanted.get(question.name, kinds.get(question.kind, values[0] if values else None))
    return {**GIVEN, "answers": found}


# The study file.
def test_template_says_what_every_line_is(tmp_path: Path) -> None:
    for demo in (False, True):
        text = design.template(demo)
        assert "{" not in text.replace("{title}", "")
        study = study_of(tmp_path, text)
        lines = text.splitlines()
        for k, line in enumerate(lines):
            if " = " in line and not line.startswith("#"):
                block = lines[max(0, k - 9) : k]
                assert any(other.startswith("#") for other in block), f"not explained: {line}"
        assert design.problems(study, design.dealt(study)) == []
    assert (study.cases.n, study.arms) == (8, ("map",))
    big = study_of(tmp_path)
    assert (big.cases.n, big.sitting, big.arms, big.crossed) == (80, 20, ("answer", "map"), True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": '["answer", "picture"]'}, r"the key 'arms.1'"),
        ({"arms": '["map", "map"]'}, r"an arm stands in 'arms' twice"),
        ({"n": "81"}, r"n must be even"),
        ({"kinds": '["permuted-labels"]'}, r"needs permuted_model"),
        ({"metrics": '["faithfulnes"]'}, r"faithfulness"),
        ({"metrics": '["seed_stability"]'}, r"needs more than a shown map"),
        ({"recipe": '"saliencyy"'}, r"saliency"),
        ({"fall": "0.8"}, r"expected.fall"),
        ({"readers": "0"}, r"the key 'readers'"),
        ({"n": '"80"'}, r"cases.n: must be a number, without quotes. Got '80'"),
        ({"gap_days": '"14"'}, r"gap_days: must be a number, without quotes"),
        ({"skill": '"0.69"'}, r"expected.skill: must be a number, without quotes"),
        ({"readers": "true"}, r"readers: must be a number"),
        ({"crossed": '"true"'}, r"crossed: must be true or false, without quotes"),
        ({"box": "1"}, r"questions.box: must be true or false"),
    ],
)
def test_wrong_study_files_are_named(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    with pytest.raises(SpeechXAIError, match=message) as error:
        study_of(tmp_path, **changes)
    assert str(error.value).startswith(str(tmp_path / "study.toml"))


def test_an_unknown_key_is_guessed(tmp_path: Path) -> None:
    with pytest.raises(SpeechXAIError, match="crossed"):
        study_of(tmp_path, design.template().replace("crossed =", "crosed ="))
    with pytest.raises(SpeechXAIError, match="false_answers"):
        study_of(tmp_path, design.template().replace("false_answers =", "false_answer ="))


# Who reads what.
@pytest.mark.parametrize("crossed", ["true", "false"])
@pytest.mark.parametrize("arms", [["answer", "map"], ["sound", "answer", "map", "what-if"], ["map"]])
def test_arms_hold_the_same(tmp_path: Path, arms: list[str], crossed: str) -> None:
    study = study_of(tmp_path, arms=json.dumps(arms), crossed=crossed)
    cases = design.dealt(study)
    assert design.problems(study, cases) == []
    rest = [case for case in cases if not case.training]
    for kind in study.cases.kinds:  # spread over classes, and over right and wrong answers as 56 to 24
        own = [case for case in rest if case.kind == kind]
        assert abs(sum(case.truth for case in own) - len(own) / 2) <= 1
        assert abs(sum(not case.right for case in own) - 0.3 * len(own)) <= 2
    assert sum(case.truth for case in rest) == 40
    assert sum(not case.right for case in rest) == 24
    assert sum(not case.true for case in rest) == 32
    for reader in range(5):
        met = [slot for slot in design.slots(study, reader, cases) if slot.kind == "case"]
        pairs = {(slot.case, slot.arm) for slot in met}
        assert len(met) == len(pairs) == 80 * study.n_rounds
        for number in range(study.n_rounds):
            assert len({slot.case for slot in met if slot.round == number}) == 80
    # over as many readers as arms, every case is read in every arm once in the first round
    first: dict[str, set[str]] = {}
    for reader in range(len(arms)):
        for slot in design.slots(study, reader, cases):
            if slot.kind == "case" and slot.round == 0:
                first.setdefault(slot.case, set()).add(slot.arm)
    assert all(len(met) == len(arms) for met in first.values())


def test_a_plan_depends_on_the_reader_alone(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    cases = design.dealt(study)
    more = study.model_copy(update={"readers": 30})
    assert design.slots(study, 3, cases) == design.slots(more, 3, cases)
    assert design.codes(study) == design.codes(more)[:16]
    assert more.rests_on == study.rests_on
    assert design.slots(study, 3, cases) != design.slots(study, 4, cases)
    assert design.place_of(study, f" {design.codes(study)[2].lower()} ") == 2
    assert design.place_of(study, "R01-XX") is None


def test_what_is_wrong_with_a_plan_is_said(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    cases = design.dealt(study)
    names = [{"recording": f"r{k}", "speaker": f"s{k}"} for k in range(len(cases))]
    known = [replace(case, facts=facts) for case, facts in zip(cases, names, strict=True)]
    assert design.problems(study, known) == []
    twice = [*known[:-1], replace(known[-1], facts=known[0].facts)]
    assert any("recording stands in training and in the study" in one for one in design.problems(study, twice))
    assert any("speaker stands in training" in one for one in design.problems(study, twice))
    honest = [replace(case, answer=case.truth, kind="true") for case in cases]
    assert any("readers learn that everything is true" in one for one in design.problems(study, honest))
    one_class = [replace(case, truth=1) for case in cases]
    assert any("not in halves" in one for one in design.problems(study, one_class))


@pytest.mark.parametrize(("n", "arms"), [(10, 4), (12, 4), (8, 2), (6, 2)])
def test_arms_that_differ_are_named_however_few_cases_they_hold(tmp_path: Path, n: int, arms: int) -> None:
    chosen = ["sound", "answer", "map", "what-if"][-arms:]
    study = study_of(tmp_path, n=str(n), arms=json.dumps(chosen), crossed="false", sitting="20")
    cases = design.dealt(study)
    tables = [design.balance(study, reader, cases) for reader in range(2 * arms)]
    said = design.problems(study, cases)
    for name, what in design.BALANCED.items():
        values = [[getattr(arm, name) for arm in table] for table in tables]
        uneven = max(max(one) - min(one) for one in values) > 0.15
        assert any(what in one and "differ by more than 15 points" in one for one in said) == uneven
    assert said
    assert design.problems(study.model_copy(update={"crossed": True}), cases) == []


# Answers on disk.
def test_an_answer_is_kept_once_and_survives(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    store = stored(tmp_path, study)
    assert store.put("R01-DQ", 0, "agree", {"agree": 1})
    assert not store.put("R01-DQ", 0, "agree", {"agree": 0})
    assert store.answers()["R01-DQ", 0, "agree"][0] == {"agree": 1}
    with sqlite3.connect(store.path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    changed = study_of(tmp_path, seed="5")
    with pytest.raises(SpeechXAIError, match="readers have answered already, and the study file was changed"):
        store.begin(changed)
    told = study_of(tmp_path, readers="17")  # more readers and other texts change no plan
    store.begin(told)
    last = design.codes(told)[-1]
    store.put(last, 0, "agree", {"agree": 1})
    for call in (store.check, store.begin):  # fewer would leave out somebody who answered
        with pytest.raises(SpeechXAIError, match=rf"{last} answered and would not be counted among 16 readers"):
            call(study)
    assert store.forget(last) == store.forget("R01-DQ") == 1
    assert store.answers() == {}


def test_a_file_of_something_else_stays_as_it_is(tmp_path: Path) -> None:
    """Neither cases of another study are deleted nor tables added to the file of another program."""
    study = study_of(tmp_path)
    store, foreign, none = stored(tmp_path, study), tmp_path / "foreign.sqlite", tmp_path / "none.sqlite"
    with closing(sqlite3.connect(foreign)) as connection, connection:
        connection.execute("CREATE TABLE patients (name TEXT)")
    before = foreign.read_bytes()
    for call in (lambda s: s.check(study), lambda s: s.check(), lambda s: s.begin(study)):
        with pytest.raises(SpeechXAIError, match=r"foreign.sqlite: this file holds no answers to a study"):
            call(Store(foreign))
    assert foreign.read_bytes() == before
    store.check(study)
    with pytest.raises(SpeechXAIError, match=r"study.sqlite: these are answers to another study"):
        store.check(study_of(tmp_path, seed="5"))
    assert len(store.cases()) == 84
    with pytest.raises(SpeechXAIError, match=r"none.sqlite: the study's answers cannot be read"):
        Store(none).check()
    assert not none.exists()


WRITER = """
import sys
from pathlib import Path
from speechxai.readers.store import Store
store = Store(Path(sys.argv[1]))
for k in range(10_000):
    store.put(sys.argv[2], k, "first", {"k": k})
    print(k, flush=True)
"""


def test_kill_loses_none(tmp_path: Path) -> None:
    store = stored(tmp_path, study_of(tmp_path))
    words = [sys.executable, "-c", WRITER, str(store.path), "R01"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(25)]
        process.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
        told += process.stdout.readlines()
    last = int([line for line in told if line.endswith("\n")][-1])
    kept = {slot for (_, slot, _) in store.answers("R01")}
    assert set(range(last + 1)) <= kept


def test_twenty_readers_at_once_lose_nothing(tmp_path: Path) -> None:
    study = study_of(tmp_path, design.template(True), readers="20", n="4", training="0")
    store = stored(tmp_path, study)
    counts: dict[str, int] = {}
    problems: list[BaseException] = []

    def read(code: str) -> None:
        try:
            while (page := Sitting.of(study, store, code).page()).button:
                assert Sitting.of(study, store, code).answer(page.slot, page.stage, replied(page, comment=code))
                counts[code] = counts.get(code, 0) + 1
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=read, args=(code,)) for code in design.codes(study)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert len(store.answers()) == sum(counts.values())
    assert len(readings(store, study)) == 20 * 4
    for (code, _, _), (content, _) in store.answers().items():
        assert content.get("comment", code) == code


# What is asked next.
def test_a_reader_goes_through(tmp_path: Path) -> None:
    study = study_of(
        tmp_path,
        design.template(True),
        arms='["sound", "second-look", "answer", "map"]',
        n="4",
        training="2",
        sitting="2",
    )
    store = stored(tmp_path, study)
    code = design.codes(study)[0]
    seen = []
    while (page := Sitting.of(study, store, code).page()).button:
        form = json.dumps(page.form())
        assert "C0" not in form
        assert "T0" not in form
        for kind in design.KINDS:
            assert kind not in form
        seen.append((page, store.answers()))
        assert Sitting.of(study, store, code).answer(page.slot, page.stage, replied(page))
    assert page.text[0].startswith("Thank you.")
    stages = [page.stage for page, _ in seen]
    assert stages[:2] == ["agree", "read"]
    assert stages.count("feedback") == 2
    assert stages.count("begin") == 7  # 4 rounds of 2 sittings
    assert stages.count("scale") == 2
    table = readings(store, study)
    assert sorted(table["arm"].unique()) == sorted(study.arms)
    assert len(table) == 16
    cases = {case.code: case for case in store.cases()}
    for page, _ in seen:
        names = [question.name for question in page.questions]
        if page.stage == "first" and page.case:
            assert page.show == "sound"
            assert not any("model says" in text for text in page.text)
        if page.stage == "second" and "use" in names:
            assert page.show == "map"
        if page.case and page.stage != "feedback":
            assert not any("right" in text or "false" in text for text in page.text)
        if page.stage == "feedback":
            answer = "right" if cases[page.case].right else "false"
            assert f"The answer that was shown was {answer}." in page.text
            assert page.show == "map"  # what was false can be heard and seen again
    # without an arm that explains, nobody is asked about explanations
    plain = study.model_copy(update={"arms": ("sound", "answer")})
    kinds = [slot.kind for slot in design.slots(plain, 0, store.cases())]
    assert (kinds[-1], kinds.count("scs")) == ("sus", 0)


def test_answers_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    study = study_of(tmp_path, design.template(True))
    store = stored(tmp_path, study)
    sitting = Sitting.of(study, store, design.codes(study)[0])
    page = sitting.page()
    with pytest.raises(SpeechXAIError, match="is not answered"):
        sitting.answer(0, "agree", {**GIVEN, "answers": {}})
    with pytest.raises(SpeechXAIError, match="is no option"):
        sitting.answer(0, "agree", {**GIVEN, "answers": {"agree": 7}})
    with pytest.raises(SpeechXAIError, match="belongs to no page"):
        sitting.answer(999, "agree", {**GIVEN, "answers": {}})
    for wrong in (-1, math.nan, "3", None, True):
        with pytest.raises(SpeechXAIError, match="is no number"):
            sitting.answer(0, "agree", {**replied(page), "rt_ms": wrong})
    assert store.answers() == {}
    assert sitting.answer(0, "agree", replied(page))
    assert not sitting.answer(0, "agree", replied(page))  # a second window
    with pytest.raises(SpeechXAIError, match="not one of the study's"):
        Sitting.of(study, store, "R99-ZZ")
    first = next(s for s in sitting.steps if s.kind == "case")
    asked = sitting._asked(first, "first")
    for box in ([[0.4, 0.1, 0, 10]], [[0, 1, 10, 5]], [[0, 1, 2]], "x", [[0, 1, 0, 9]] * 6):
        with pytest.raises(SpeechXAIError, match=r"box|number"):
            checked(asked, replied(asked, box=box))
    assert checked(asked, replied(asked, comment="x" * 9_000, box=[]))["plays"] == 1


def test_the_gap_between_rounds_is_kept(tmp_path: Path) -> None:
    study = study_of(tmp_path, n="4", training="0", sitting="2", gap_days="14")
    store = stored(tmp_path, study)
    sitting = Sitting.of(study, store, design.codes(study)[0])
    clock = time.time()
    while (page := sitting.page(clock)).button and page.slot < 100:
        sitting.answer(page.slot, page.stage, replied(page), clock)
        clock += 60
    assert page.stage == "begin"
    assert "opens on" in page.text[0]
    assert sum(slot.round == 1 for slot in sitting.steps if slot.index < page.slot) == 0
    with pytest.raises(SpeechXAIError, match="nothing to answer"):
        sitting.answer(page.slot, "begin", replied(page), clock)
    assert not sitting.page(clock + 13.9 * 86_400).button
    assert sitting.page(clock + 14.1 * 86_400).button == "Begin the next sitting"


def test_every_answer_names_what_its_reader_was_told(tmp_path: Path) -> None:
    study = study_of(tmp_path, n="4", training="0", sitting="4", attention_checks="0", gap_days="0", scales="false")
    store = stored(tmp_path, study)
    one, two, three = design.codes(study)[:3]
    clock = time.time()

    def read(study: design.Study, code: str, until: int) -> Page:
        nonlocal clock
        sitting = Sitting.of(study, store, code)
        while (page := sitting.page(clock)).button and page.slot < until:
            assert sitting.answer(page.slot, page.stage, replied(page), clock)
            clock += 60
        return page

    assert read(study, one, 99).stage == "end"
    read(study, two, 4)
    findings, lines = report.told(study, store)
    assert findings == []
    assert lines[0] == ("Texts", f"every reader was told the same (wording {study.wording}, in wordings.csv)")
    # Another consent and another gap, half way: who had agreed is asked again, once, and with the text of now.
    text = (tmp_path / "study.toml").read_text()
    changed = study_of(tmp_path, text.replace("You are asked to take part", "We ask you to take part"), gap_days="7")
    store.begin(changed)
    page = Sitting.of(changed, store, two).page(clock)
    assert page.stage == f"agree-{changed.wording}"
    assert page.text[0] == "What you agreed to was changed since. Please read it once more."
    assert page.text[1].startswith("We ask you to take part")
    before = read(changed, two, 99)
    assert before.stage == "begin"  # the gap begins with the last case, and agreeing again does not move it
    clock += 7.1 * 86_400
    assert read(changed, two, 99).stage == "end"
    read(changed, three, 3)
    assert Sitting.of(changed, store, one).page(clock).stage == f"agree-{changed.wording}"
    # Texts of which nobody was asked to agree to change no consent.
    other = changed.model_copy(update={"texts": changed.texts.model_copy(update={"debriefing": "Thanks."})})
    store.begin(other)
    assert Sitting.of(other, store, two).page(clock).text == ("Thanks.",)
    (said,), lines = report.told(other, store)
    assert said.text.startswith(
        "While readers answered, the study's file was changed: consent and gap between rounds. 2"
    )
    assert f"under {study.wording}: {one}, {two}" in lines[0][1]
    assert f"under {changed.wording}: {two}, {three}" in lines[0][1]
    days = dict(lines)["Days between two readings of a case"]
    assert days.startswith("0.0 to 7.1; planned ")
    report.write(tmp_path / "out", report.of_store(other, store), other, store)
    exported = csv.DictReader((tmp_path / "out" / "wordings.csv").read_text().splitlines(keepends=True))
    told = {(row["wording"], row["text"]): row["content"] for row in exported}
    assert told[study.wording, "consent"] == study.texts.consent
    assert told[changed.wording, "consent"] == changed.texts.consent
    trials = pd.read_csv(tmp_path / "out" / "jspsych.csv")
    agreed = trials[trials["trial_type"].str.contains("agree")]
    assert agreed.groupby("subject")["wording"].agg(list).to_dict() == {
        one: [study.wording],
        two: [study.wording, changed.wording],
        three: [changed.wording],
    }


# What is read from it.
def table_of(rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    """Readings (reader, case, arm, truth, answer, kind, first, decision, use)."""
    names = ["reader", "case", "arm", "truth", "answer", "kind", "first", "decision", "use"]
    table = pd.DataFrame(rows, columns=names)
    table = table.assign(
        round=0, sitting=1, first_confidence=1.0, confidence=1.0, foretold=math.nan, seconds=10.0, plays=1, played_s=1.0
    )
    table["order"] = table.groupby("reader").cumcount()
    return table[list(analysis.READING_COLUMNS)]


def test_reliance_by_hand() -> None:
    """Answers: c1 and c2 right, c3 and c4 wrong. Reader a follows c1, refuses c2 (under), refuses c3 and
    c4; reader b follows all."""
    cases = {"c1": (1, 1), "c2": (0, 0), "c3": (1, 0), "c4": (0, 1)}
    said = {"a": [1, 1, 1, 0], "b": [1, 0, 0, 1]}
    firsts = {"a": [0, 0, 1, 0], "b": [1, 1, 0, 0]}
    rows = [
        (reader, case, "answer", truth, answer, "true", firsts[reader][k], said[reader][k], math.nan)
        for reader in said
        for k, (case, (truth, answer)) in enumerate(cases.items())
    ]
    table = table_of(rows)

    def value(key: str) -> float:
        return analysis.by_arm(table, key, ["answer"])[0][0].value

    assert value("reliance") == pytest.approx((3 / 4 + 2 / 4) / 2)
    assert value("over_reliance") == pytest.approx((0 + 1) / 2)
    assert value("under_reliance") == pytest.approx((1 / 2 + 0) / 2)
    assert value("sensitivity") == pytest.approx((1 + 1 / 2) / 2)
    assert value("specificity") == pytest.approx((1 / 2 + 1 / 2) / 2)
    # wrong at first and the answer right: a c1 (follows); b c2 (follows): both set right
    assert analysis._values(table, "won_over")[0].tolist() == pytest.approx(
        [1, math.nan, math.nan, math.nan, math.nan, 1, math.nan, math.nan], nan_ok=True
    )
    # right at first and the answer wrong: a c3 and c4 (keeps); b c4 (follows)
    assert analysis._values(table, "held_out")[0].tolist() == pytest.approx(
        [math.nan, math.nan, 1, 1, math.nan, math.nan, math.nan, 0], nan_ok=True
    )
    for arm in ("sound", "second-look"):
        assert analysis.by_arm(table.assign(arm=arm), "reliance", [arm]) == ([], [])


def test_telling_and_success_by_hand() -> None:
    """Use of true c1 c2 and of false c3 c4: reader a 2 1 / 0 2: pairs won 1, .5, 1, 0 of 4; reader b 2 2 / 0 0: all."""
    kinds = {"c1": "true", "c2": "true", "c3": "elsewhere", "c4": "random-network"}
    uses = {"a": [2, 1, 0, 2], "b": [2, 2, 0, 0]}
    rows = [
        (reader, case, "map", k % 2, k % 2, kind, 0, 0, uses[reader][k])
        for reader in uses
        for k, (case, kind) in enumerate(kinds.items())
    ]
    table = table_of(rows)
    telling = analysis.by_arm(table, "telling", ["map"])[0][0]
    assert telling.value == pytest.approx((2.5 / 4 + 1) / 2)
    people = analysis.told(table)
    assert people["use"].tolist() == [1.0, 0.75, 0.0, 0.5]
    assert people["success"].tolist() == [1.0, 0.75, 1.0, 0.5]
    rejected = {one.arm: one.value for one in analysis.by_kind(table)}
    assert rejected == {"true": 0.0, "elsewhere": 1.0, "random-network": 0.5}


def test_success_is_read_among_true_and_among_false_ones_by_hand() -> None:
    """Ranks of 5 true ones 1 2 3 4 5 and 2 1 3 4 5: 1 - 6 * 2 / (5 * 24) = .9, weight 2; of 4 false ones 1 2 3 4 and
    4 3 2 1: -1, weight 1; (1.8 - 1) / 3, as sure as 6 pairs."""
    metric, use = [1, 2, 3, 4, 50, 1, 2, 3, 40], [0.2, 0.1, 0.3, 0.4, 0.5, 0.9, 0.8, 0.7, 0.6]
    true = np.array([True] * 5 + [False] * 4)
    value, n = analysis.with_success(np.array(metric, float), true, np.array(use))
    assert (value, n) == (pytest.approx(0.8 / 3), 6)
    # three of a kind say nothing, nor do ones that are all alike
    assert analysis.with_success(np.array(metric, float), np.arange(9) < 6, np.array(use))[1] == 6
    assert math.isnan(analysis.with_success(np.ones(9), true, np.array(use))[0])


SHAPES = {"normal": lambda z: z, "log-normal": np.exp, "turned log-normal": lambda z: -np.exp(-z), "ties": np.round}


@pytest.mark.parametrize("bias", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_unrelated_metric_is_called_so(bias: float, shape: str) -> None:
    """However it is distributed and however readily readers accept, 95 of 100 intervals hold 0, on both sides alike;
    and a related one is found as often by readers who accept readily."""
    rng, n, found, related = np.random.default_rng(5), 250, [], 0
    for _ in range(n):
        true = np.arange(60) % 5 < 3
        clear = rng.normal(size=60)
        u = np.where(true, 1, -1) * (0.4 + 0.6 * clear) + bias + rng.normal(size=(8, 60))
        use = np.where(u > 0.5, 1, np.where(u < -0.5, 0, 0.5)).mean(axis=0)
        other = rng.normal(size=60)
        for metric in (other, np.where(true, 1, -1) * clear + other):
            value, pairs = analysis.with_success(SHAPES[shape](metric), true, use)
            low, high = spearman_interval(value, pairs)
            assert (spearman_p(value, pairs) < 0.05) == (low > 0 or high < 0)
            if metric is other:
                found.append((low > 0) - (high < 0))
            else:
                related += low > 0
    below, above = found.count(-1) / n, found.count(1) / n
    assert max(below, above) < 0.06
    assert 0.01 < below + above < 0.1
    assert related / n > 0.8


def test_scales_and_boxes_by_hand() -> None:
    assert analysis.sus([4, 2, 4, 2, 4, 2, 4, 2, 4, 2]) == 75
    assert analysis.scs([3, 4, 3, 4, 3, 4, 3, 4, 3, 4]) == pytest.approx(0.7)
    # 4 x 5 bins, 10 frames/s, 100 Hz bins: the box 0 to .1 s, 0 to 100 Hz holds frames 0 1 and bins 0 1: 4 of 20 bins,
    # 3 of 4 parts of the mass: (3 / 4) / (4 / 20)
    mask = np.zeros((4, 5))
    mask[0, 0], mask[1, 1], mask[3, 4] = 2, 1, 1
    assert analysis.in_box(mask, (0.0, 0.1, 0.0, 100.0), 10.0, 100.0) == pytest.approx(0.75 / 0.2)
    assert math.isnan(analysis.in_box(np.zeros((4, 5)), (0, 1, 0, 100), 10.0, 100.0))


def test_order_effect_by_hand() -> None:
    # Reliance 0 0 1 1 over four readings: slope over 0, 1/3, 2/3, 1: sum (t - .5)(y - .5) / sum (t - .5)^2
    rows = [(r, f"c{k}", "answer", 1, 1, "true", 1, int(k >= 2), math.nan) for r in "ab" for k in range(4)]
    t = np.arange(4) / 3 - 0.5
    slope = float((t * (np.array([0, 0, 1, 1]) - 0.5)).sum() / (t**2).sum())
    found = analysis.order_effect(table_of(rows))
    assert found is not None
    assert found.value == pytest.approx(slope)


@pytest.mark.parametrize("bias", [0.0, 1.0])
def test_a_hybrid_of_noise_is_called_so(monkeypatch: pytest.MonkeyPatch, bias: float) -> None:
    """At least 95 of 100 intervals hold 0, on both sides; a metric that is among them is found."""
    monkeypatch.setattr(analysis, "auc_interval", lambda *given: (math.nan, math.nan))
    rng, n, wrong, found = np.random.default_rng(1), 150, 0, 0
    for _ in range(n):
        true = np.arange(80) % 5 < 3
        clear = rng.normal(size=80)
        u = np.where(true, 1, -1) * (0.4 + 0.6 * clear) + bias + rng.normal(size=(16, 80))
        use = np.where(u > 0.5, 1, np.where(u < -0.5, 0, 0.5)).mean(axis=0)
        noise = rng.normal(size=(80, 3))
        one = analysis.hybrid(noise, true, use)
        wrong += one.success_low > 0 or one.success_high < 0
        noise[:, 0] += np.where(true, 1, -1) * clear
        found += analysis.hybrid(noise, true, use).success_low > 0
    assert wrong / n < 0.06
    assert found / n > 0.85
    x = rng.normal(size=(60, 3))
    assert analysis.predicted(x[:30], x[:30] @ [1, 1, 0], x[30:]) == pytest.approx(x[30:] @ [1, 1, 0], abs=1)


def test_what_if_curves_say_what_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The curve of an answer that is turned round begins at the probability that is shown, and so does every other."""
    drawn: list[list[Any]] = []

    def draw(panels: list[Any], label: str) -> bytes:
        drawn.append(panels)
        return b"png"

    monkeypatch.setattr("speechxai.report.plots.dose_curves", draw)
    changes = {"n": "4", "training": "0", "false_answers": "0.5", "arms": '["what-if"]', "metrics": "[]"}
    study = study_of(tmp_path, **changes, kinds='["elsewhere"]')
    store = Store(tmp_path / "study.sqlite")
    store.begin(study)
    cases = material.prepare(study, store)
    assert {case.facts["turned_round"] for case in cases} == {False, True}
    for case, panels in zip(cases, drawn, strict=True):
        for _, _, doses, values, _, _ in panels:
            assert values[doses.index(0)] == pytest.approx(case.facts["p"], abs=0.02)
            assert (values[doses.index(0)] > 0.5) == (case.answer == 1)


# Simulated readers.
def test_planted_figures_come_back(tmp_path: Path) -> None:
    """Few repetitions here; `speechxai study simulate FILE --repeats 200` counts them well."""
    study = study_of(tmp_path)
    for one in simulate.coverage(study, 12):
        assert one.held >= 9, one
        assert abs(one.mean - one.planted) < 0.06, one


def test_nothing_to_find_is_said_so() -> None:
    found = simulate.power(design.Expected.model_validate({"fall": 0.0}), ("answer", "map"), 4, 20, True, n=50)
    assert found.sentence.startswith("Power: expected.fall is 0, so there is nothing to find")


def test_reliance_is_planted_exactly() -> None:
    expected = design.Expected.model_validate({"reliance": 0.8, "fall": 0.2})
    arms = ("sound", "answer", "map")
    drawn = simulate.draw(expected, arms, np.ones(3000, bool), 300, np.random.default_rng(1))
    shares = (drawn.last > 0).mean(axis=(1, 2))
    assert shares[1:] == pytest.approx([0.8, 0.6], abs=0.02)
    assert simulate.reliance_of(expected, arms)[1:] == pytest.approx([0.8, 0.6])
    assert (drawn.first == drawn.last)[0].all()


def test_power_of_known_designs() -> None:
    """Sizes whose power is known: more readers and crossed arms find more, and nothing is found where nothing is."""
    expected = design.Expected.model_validate({})
    two, four = ("answer", "map"), ("sound", "answer", "map", "what-if")
    small = simulate.power(expected, four, 8, 40, False, n=120)
    large = simulate.power(expected, two, 16, 80, True, n=120)
    assert small.power == pytest.approx(0.22, abs=0.12)
    assert large.power == pytest.approx(0.97, abs=0.06)
    assert max(small.alarms, large.alarms) < 0.12
    assert "below 0.8" in small.sentence
    assert large.sentence.startswith("This study can find a fall of 10 points with power 0.9")
    with pytest.raises(SpeechXAIError, match="two arms"):
        simulate.power(expected, ("sound", "map"), 8, 40, True)


def test_sixteen_readers_exported_and_read_again(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    store = Store(tmp_path / "simulated.sqlite")
    assert simulate.fill(study, store, design.dealt(study)) == 16 * 80 * 2
    files = exported(store, study)
    again = {name: pd.read_csv(io.BytesIO(content)) for name, content in files.items()}
    table = readings(store, study)
    assert len(again["readings.csv"]) == len(table) == 2560
    assert np.allclose(again["readings.csv"]["seconds"], table["seconds"])
    trials = again["jspsych.csv"]
    assert {"rt", "response", "stimulus", "trial_type", "trial_index", "time_elapsed"} <= set(trials.columns)
    firsts = trials[trials["trial_type"] == "case-first"]
    assert len(firsts) == 2560
    assert {"decision", "confidence"} <= set(json.loads(firsts["response"].iloc[0]))
    assert list(again["imrmc.csv"].columns) == ["readerID", "caseID", "modalityID", "score"]
    assert (again["imrmc.csv"]["readerID"] == "truth").sum() == 80
    order = ["reader", "case", "arm"]
    both = []
    for name in ("imrmc.csv", "readings.csv", "jspsych.csv"):
        (tmp_path / name).write_bytes(files[name])
        back = read_ratings(tmp_path / name)
        both.append(back.sort_values(order).reset_index(drop=True))
        pd.testing.assert_frame_equal(both[-1], both[0])
    own = report.of_store(study, store)
    elsewhere = report.of_ratings("back", back)
    aucs = {row.name: row.cells for row in own.tables[0].rows}["AUC of the last decision"]
    assert sorted(float(row.cells[0].text) for row in elsewhere.tables[0].rows) == pytest.approx(
        [float(cell.text) for cell in sorted(aucs, key=lambda cell: cell.text)], abs=0.006
    )
    written = report.write(tmp_path / "out", own, study, store)
    names = {path.name for path in written}
    assert {"report.html", "report.tex", "sentences.csv", "readings.csv", "imrmc.csv", "jspsych.csv"} <= names
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Simulated readers" in page
    assert "http" not in page


@pytest.mark.parametrize("n", [0, 1, 2])
def test_a_study_that_has_just_begun_says_so(tmp_path: Path, n: int) -> None:
    study = study_of(tmp_path)
    table, cases = simulate.readings(study, design.dealt(study))
    few = table[table["reader"].isin(design.codes(study)[:n])]
    found = report.of_readings("begun", study.arms, few, cases)
    said = " ".join(one.text for one in found.findings)
    assert ("nothing to say" in said) == (n == 0)
    if n == 1:
        assert report.CANNOT in said
        assert not any(one.tone == "good" and one.key == "auc" for one in found.findings)
    report.page(found)


def test_readers_who_are_all_alike_leave_doubt() -> None:
    rows = [(r, f"c{k}", "answer", k % 2, k % 2, "true", k % 2, k % 2, math.nan) for r in "abc" for k in range(10)]
    one = analysis.by_arm(table_of(rows), "reliance", ["answer"])[0][0]
    assert (one.value, one.high) == (1.0, 1.0)
    assert one.low == pytest.approx(0.692, abs=0.001)  # 10 of 10 cases


def test_readers_who_are_never_wrong_leave_doubt(tmp_path: Path) -> None:
    """An area of 1 is one of as many pairs as can be formed with nobody in two: 5 of 5, from .549 on."""
    rows = [
        (r, f"c{k}", "map", k % 2, 1, ("true", "elsewhere")[k % 2], k % 2, k % 2, 2 - 2 * (k % 2))
        for r in ("a", "b", "c")
        for k in range(10)
    ]
    table = table_of(rows)
    for key in ("auc", "first_auc", "telling"):
        for one in (analysis.by_arm(table, key, ["map"])[0][0], analysis.over_all(table, key)[0]):
            assert (one.value, one.high) == (1, 1)
            assert one.low == pytest.approx(share_interval(5, 5)[0])
    given = table.rename(columns={"decision": "rating"})[["reader", "case", "arm", "rating", "truth"]]
    said = report.of_ratings("a", given).findings[0].text
    assert f"[{share_interval(5, 5)[0]:.2f}, 1.00]" in said


def test_a_report_says_whom_it_leaves_out(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    table, cases = simulate.readings(study, design.dealt(study))
    first, second = design.codes(study)[:2]
    few = table[(table["reader"] != first) | (table["order"] < 3)]
    lacking = few[(few["reader"] != second) | (few["arm"] == "answer")]
    found = report.of_readings("a", study.arms, lacking, cases)
    said = next(one.text for one in found.findings if one.key == "left-out")
    assert said.startswith("Of 16 readers fewer have read enough in every arm to be counted: AUC by sound alone (14)")
    assert f"Not yet in every arm: {second}" in said or f"Not yet in every arm: {first}, {second}" in said
    whole = report.of_readings("a", study.arms, table, cases)
    assert not any(one.key == "left-out" for one in whole.findings)


# Files from elsewhere.
def test_ratings_from_elsewhere(tmp_path: Path) -> None:
    rows = [(r, c, m, 3 * (c % 2) + r + m) for r in (1, 2) for c in range(6) for m in (1, 2)]
    plain = pd.DataFrame(rows, columns=["reader", "case", "treatment", "rating"])
    plain["truth"] = plain["case"] % 2
    trials = plain.rename(
        columns={"reader": "subject", "case": "stimulus", "rating": "response", "truth": "correct_response"}
    )
    four = plain.rename(
        columns={"reader": "readerID", "case": "caseID", "treatment": "modalityID", "rating": "score"}
    ).drop(columns="truth")
    truth = pd.DataFrame({"readerID": "truth", "caseID": range(6), "modalityID": "truth", "score": np.arange(6) % 2})
    found = []
    for name, frame in (("plain", plain), ("jspsych", trials), ("imrmc", pd.concat([truth, four]))):
        path = tmp_path / f"{name}.csv"
        frame.to_csv(path, index=False, sep=";" if name == "jspsych" else ",")
        found.append(read_ratings(path).sort_values(["reader", "case", "arm"]).reset_index(drop=True))
    for other in found[1:]:
        assert np.array_equal(other["rating"], found[0]["rating"])
        assert np.array_equal(other["truth"], found[0]["truth"])
        assert other["arm"].tolist() == found[0]["arm"].tolist()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "there is no column of the reader"),
        ("reader,case,rating\n1,1,3\n", "no truth"),
        ("reader,case,rating,truth\n1,1,x,1\n", "is no number"),
        (
            "reader,case,rating,truth\n1,1,3,2\n",
            "must be 0 or 1. Got '2'. Which of other numbers or words is the condition",
        ),
        ("reader,case,rating,truth\n1,1,3,maybe\n", "must be 0 or 1. Got 'maybe'."),
        ("reader;case;rating;truth\n1;1;0,5;1\n1;2;0.7;0\n", "row 2: .* has a comma and '0.7' in row 3 a point"),
        ("reader;case;rating;truth\n1;1;1,500;1\n1;2;2;0\n", "row 2: the rating '1,500' may have a decimal comma or"),
        ("reader;case;rating;truth\n1;1;1,5,0;1\n", "is no number: '1,5,0'"),
        (
            "reader,case,rating,truth\n1,1,3,1\n1,1,4,1\n",
            "row 3: reader 1 read case 1 in arm all twice",
        ),
        ("reader,case,rating,truth\np0,1,3,1\np0 ,1 ,4,1\n", "row 3: reader p0 read case 1 in arm all twice"),
        ("reader,case,rating,truth\n,1,3,1\n", "row 2: the reader is empty"),
        ("reader,case,rating,truth\n1, ,3,1\n", "row 2: the case is empty"),
        ("reader,case,arm,rating,truth\n1,1,,3,1\n", "row 2: the arm is empty"),
        ("reader,case,rating,truth\n1,1,,1\n", "row 2: the rating of reader 1, case 1 is no number: ''"),
        ("reader,case,rating,truth\n1,1,inf,1\n", "row 2: the rating .* is no number: 'inf'"),
        ("reader,case,rating,truth\n1,1,3,\n", "row 2: the truth of case 1 must be 0 or 1. Got ''"),
        ("reader,case,rating,truth\n\n1,1,3,1\n2,1,3,0\n", "row 4: case 1 has the truth 0 here and 1 in row 3"),
        ("readerID,caseID,modalityID,score\n-1,1,0,1\ntruth,1,0,0\n1,1,1,3\n", "row 3: case 1 has the truth 0 here"),
        (
            "readerID,caseID,modalityID,score\n-1,1,0,1\n1,1,1,3\n1,2,1,3\n",
            "row 4: no row .* the truth of case 2",
        ),
        ("readerID,caseID,modalityID,score\n-1,1,0,1\n", "no ratings in it"),
        ("reader,case,rating,truth\n1,1,3,1,7\n", "row 2: has 5 cells, and there are 4 columns"),
        ("reader,case,rating,truth\n1,1,3\n", "row 2: has 3 cells, and there are 4 columns"),
        ("reader,case,rating,truth\n", "no ratings in it"),
        ("reader,case,rating,truth\n1,1,3,1\n1,2,4,0\n", "no reader read two cases of each class in every arm"),
        ("reader,case,stimulus,rating,truth\n1,1,2,3,1\n", "case and stimulus are columns of the same, the case"),
        ("reader,case,rating,truth,Truth\n1,1,3,1,0\n", "truth and truth are columns of the same, the truth"),
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        ("Five readers\nBEGIN DATA:\n", "the file is empty"),
    ],
)
def test_wrong_ratings_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "ratings.csv"
    path.write_text(text)
    with pytest.raises(SpeechXAIError, match=message) as error:
        read_ratings(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def rated(reader: str, arm: str, n: int = 8, worse: float = 0.0) -> list[str]:
    """Rows reader,case,arm,rating,truth."""
    rng = np.random.default_rng([ord(x) for x in reader + arm])
    return [f"{reader},c{k},{arm},{rng.normal() + 1.5 * (k % 2) * (1 - worse):.4f},{k % 2}" for k in range(n)]


def test_programs_own_formats_are_read(tmp_path: Path) -> None:
    """iMRMC's file without names of columns, and a trial list with instructions and a text of two lines."""
    rows = [row.split(",") for reader in "12" for arm in "12" for row in rated(reader, arm)]
    plain, own, trials = (tmp_path / name for name in ("plain.csv", "own.imrmc", "jspsych.csv"))
    plain.write_text("\n".join(["reader,case,arm,rating,truth", *map(",".join, rows)]))
    truth = [f"-1, c{k}, 0, {k % 2}" for k in range(8)]
    given = [", ".join(row[:4]) for row in rows]
    own.write_text("\n".join(["Readers, a, comma", "NR: 2", "", "BEGIN DATA:", *truth, *given]))
    names = "trial_type,subject,stimulus,condition,response,correct_response"
    told = [f"rating,{r},{c},{a},{x},{t}" for r, c, a, x, t in rows]
    said = ['instructions,1,"Welcome,\nplease read",,null,', 'survey-text,1,,,"{""Q0"":""x""}",']
    trials.write_text("\n".join([names, *said, *told]))
    found = [read_ratings(path) for path in (plain, own, trials)]
    for other in found[1:]:
        pd.testing.assert_frame_equal(other, found[0])
    assert [table.attrs["notes"] for table in found[:2]] == [[], []]
    assert found[2].attrs["notes"] == [
        "Rows without correct_response, such as instructions, are no ratings: 2 left out."
    ]


@pytest.mark.parametrize(
    ("without", "has"),
    [
        ("0", "1"),
        ("0.0", "1.0"),
        ("HC", "PD"),
        ("healthy control", "Parkinson's disease"),
        ("no", "YES"),
        ("non-diseased", "diseased"),
    ],
)
def test_decimal_commas_and_words_for_the_truth_are_read(tmp_path: Path, without: str, has: str) -> None:
    rows = [row.split(",") for reader in "12" for arm in "ab" for row in rated(reader, arm)]
    points, commas, truths = (tmp_path / name for name in ("points.csv", "commas.csv", "rows.csv"))
    names = ["reader", "case", "arm", "rating", "truth"]
    points.write_text("\n".join(",".join(row) for row in [names, *rows]))
    worded = [[r, c, a, x.replace(".", ","), has if t == "1" else without] for r, c, a, x, t in rows]
    commas.write_text("\n".join(";".join(row) for row in [names, *worded]))
    top = [f"truth;c{k};truth;{has if k % 2 else without}" for k in range(8)]
    truths.write_text("\n".join(["readerID;caseID;modalityID;score", *top, *(";".join(row[:4]) for row in worded)]))
    wanted = read_ratings(points)
    for path in (commas, truths):
        found = read_ratings(path)
        pd.testing.assert_frame_equal(found, wanted)
        words = sorted([f"{without} is without", f"{has} is with"])
        notes = [] if has[0] == "1" else [f"The truth is read from words: {', '.join(words)} the condition."]
        assert found.attrs["notes"] == notes


@pytest.mark.parametrize(("n", "what"), [(0, "nothing"), (3, "1 cases with and 2 without the condition")])
def test_a_reader_who_lacks_an_arm_is_named(tmp_path: Path, n: int, what: str) -> None:
    rows = [row for reader in ("p1", "p2", "p3") for arm in "ab" for row in rated(reader, arm)]
    rows += rated("p4", "a") + rated("p4", "b", n)
    (tmp_path / "a.csv").write_text("\n".join(["reader,case,arm,rating,truth", *rows]))
    found = report.of_ratings("a", read_ratings(tmp_path / "a.csv"))
    assert ("Readers", "3") in found.facts
    left = f"Left out, since arms are compared within readers: reader p4 read {what} in arm b."
    assert (found.findings[0].text, found.findings[0].tone) == (left, "caution")


def test_three_arms_are_compared_pair_by_pair_and_corrected(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    rows = [
        (f"p{j}", f"c{k}", arm, 1.5 * (k % 2) * better + own + rng.normal(0, 0.8), k % 2)
        for k in range(50)
        for own in [rng.normal()]
        for j in range(5)
        for arm, better in (("a", 0.7), ("b", 0.75), ("c", 1.0))
    ]
    table = pd.DataFrame(rows, columns=["reader", "case", "arm", "rating", "truth"])
    found = report.of_ratings("a", table)
    differences = next(one for one in found.tables if one.title == "Differences")
    assert [row.name for row in differences.rows] == ["b minus a", "c minus a", "c minus b"]
    assert differences.columns[-1] == "p (Holm)"
    alone = [
        next(one for one in report.of_ratings("a", table[table["arm"].isin(pair)]).tables if one.title == "Differences")
        for pair in (("a", "b"), ("a", "c"), ("b", "c"))
    ]
    assert [one.columns[-1] for one in alone] == ["p"] * 3
    values = table.pivot_table(index=["arm", "reader"], columns="case", values="rating").to_numpy().reshape(3, 5, -1)
    truth = table.drop_duplicates("case").set_index("case")["truth"].sort_index().to_numpy()
    p = multi_reader(values, truth).difference_p
    assert [row.cells[1].text for row in differences.rows] == [
        report.p_text(float(x)) for x in holm([p[1, 0], p[2, 0], p[2, 1]])
    ]


def test_imrmc_rows_of_truth_come_first() -> None:
    rows = [("a", "c1", "map", 1, 1, "true", 1, 1, 2), ("a", "c2", "map", 0, 0, "true", 1, 0, 2)]
    found = imrmc(table_of(rows))
    assert found["readerID"].tolist() == ["truth", "truth", "a", "a"]
    assert found["score"].tolist() == [1, 0, 6, 3]  # leaning: 5 + 1, 4 - 1


def test_answers_lie_beside_the_study(tmp_path: Path) -> None:
    assert beside(tmp_path / "a.toml") == tmp_path / "a.sqlite"
    assert set(design.WITH_MAP) < set(design.WITH_ANSWER) < set(ARMS)
    assert Case("C001", 1, 1, "true").right
