"""`speechxai benchmark` from the command line: the short form end to end, resuming, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

import speechxai.planted.settings
import speechxai.planted.task
from speechxai.cli import main
from speechxai.errors import SpeechXAIError
from speechxai.planted.folder import BenchmarkFolder
from speechxai.planted.report import leaderboard
from speechxai.planted.settings import Task, TaskResult
from speechxai.planted.tables import BASE
from speechxai.types import Recording

# Two classifiers are trained once, by one process.
pytestmark = pytest.mark.timeout(900)


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["benchmark", *words])
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> BenchmarkFolder:
    """The short form as everybody gets it."""
    path = tmp_path_factory.mktemp("benchmark") / "run"
    assert run("--quick", "--out", str(path)) == 0
    return BenchmarkFolder(path)


def test_the_short_form_from_voices_to_leaderboard(folder: BenchmarkFolder) -> None:
    learned, not_learned = sorted(folder.results(), key=lambda result: result.task)
    assert (learned.task, not_learned.task) == ("synthetic/burst_weakening/1/0", "synthetic/monopitch/1/0")
    assert learned.facts["auc"] >= 0.9 > not_learned.facts["auc"]
    assert learned.facts["verdict"] == "learned"
    assert not learned.facts["excluded"]
    assert "is under 0.90, and" in not_learned.facts["excluded"]
    assert learned.facts["n_pairs"] == 18
    assert (len(learned.scores), len(not_learned.scores)) == (6, 0)
    assert {row["check"] for row in learned.sanity} >= {"cascading", "permuted_labels", "lag_frames", "class_flip"}
    summary = folder.table("summary").set_index(["recipe", "metric"])
    assert summary["mean"].xs("truth_map", level="recipe").dropna().min() == pytest.approx(1)
    area = folder.table("tasks").set_index("cue")["added_area"]["burst_weakening"]
    mass = BASE.replace("relevance_rank", "relevance_mass")
    assert summary.loc[("random_map", mass), "mean"] == pytest.approx(area, abs=0.02)
    # What a network has learned for certain, a good method finds, and plain gradients do not.
    rank = summary["mean"].xs(BASE, level="metric")
    assert rank["integrated_gradients"] > 3 * rank["random_map"]
    assert rank["integrated_gradients"] > 2 * rank["saliency"]
    assert set(folder.table("scores")["metric"]) == set(folder.table("summary")["metric"])
    # one seed is three networks: nothing is tested, and the report says so
    assert folder.table("statements").empty
    page = (folder.path / "report.html").read_text("utf-8")
    for word in (
        "Leaderboard: relevance_rank",
        "cannot decide; 3 networks",
        "Every way to measure",
        "Which faithfulness metric to believe",
        "Sanity checks",
        "Synthetic voices",
        "synthetic/monopitch/1/0",
    ):
        assert word in page
    assert "http" not in page
    assert "intersection(guided_backprop, guided_gradcam)" in leaderboard(folder, "markdown")
    tex = leaderboard(folder, "latex")
    assert tex.count(r"\begin{table*}") == tex.count(r"\end{table*}") >= 10
    assert r"relevance\_rank" in tex
    with pytest.raises(SpeechXAIError, match="Did you mean 'latex'"):
        leaderboard(folder, "latx")


def test_resuming_computes_only_what_is_missing(folder: BenchmarkFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def compute(task: Task, *_: object) -> TaskResult:
        asked.append(task.id)
        raise SpeechXAIError("nothing should be computed")

    monkeypatch.setattr(speechxai.planted.task, "compute", compute)
    before = (folder.path / "summary.csv").read_bytes()
    assert run("--resume", str(folder.path)) == 0
    assert asked == []
    assert (folder.path / "summary.csv").read_bytes() == before


def test_tables_of_an_unfinished_benchmark_say_what_they_rest_on(
    folder: BenchmarkFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from dataclasses import replace

    settings = replace(folder.settings, cues=("burst_weakening",), seeds=(0, 1))
    begun = BenchmarkFolder.begin(tmp_path / "run", settings, {})
    result = next(result for result in folder.results() if result.scores)

    def compute(task: Task, *_: object) -> TaskResult:
        if task.seed:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(speechxai.planted.task, "compute", compute)
    assert run("--resume", str(begun.path)) == 130
    assert "Stopped. The tables hold what is done" in capsys.readouterr().err
    report = (begun.path / "report.html").read_bytes()
    monkeypatch.setattr(speechxai.planted.task, "compute", None)
    assert run("--resume", str(begun.path), "--tables") == 0
    said = capsys.readouterr().out
    assert "Not finished: 1 of 2 tasks are done" in said
    assert "synthetic/burst_weakening/1 (1 of 2 seeds)" in said
    assert (begun.path / "report.html").read_bytes() == report
    text = leaderboard(begun, "markdown")
    assert "Not finished: 1 of 2 tasks are done" in text
    assert "Seeds that count: synthetic/burst_weakening/1: 1." in text
    assert "1 of 2 tasks done" in text
    # and it can still be continued
    assert begun.status().n_done == 1
    monkeypatch.setattr(
        speechxai.planted.task,
        "compute",
        lambda task, *rest: replace(result, task=task.id, facts={**result.facts, "seed": task.seed}),
    )
    assert run("--resume", str(begun.path)) == 0
    assert "Not finished" not in capsys.readouterr().out


def test_a_failed_task_is_named_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def compute(task: Task, settings: object, bases: list[Recording], *_: object) -> TaskResult:
        if task.cue == "breathiness":
            raise SpeechXAIError("the voice is lost")
        facts = {
            "group": task.group,
            "seed": 0,
            "excluded": "held-out AUC 0.700 is under 0.90",
            "auc": 0.7,
            "twins_right": 0.8,
            "n_pairs": 1,
            "n_speakers": 1,
        }
        return TaskResult(task.id, facts)

    monkeypatch.setattr(speechxai.planted.task, "compute", compute)
    out = tmp_path / "run"
    assert run("--quick", "--cue", "breathiness", "--cue", "monopitch", "--out", str(out)) == 1
    said = capsys.readouterr()
    assert "failed: synthetic/breathiness/1/0: the voice is lost" in said.err
    assert "0 of 1 tasks count. Excluded: synthetic/monopitch/1/0 (held-out AUC 0.700 is under 0.90)." in said.out
    assert "No classifier learned its task" in said.out
    tasks = pd.read_csv(out / "tasks.csv")
    assert list(tasks["excluded"]) == ["held-out AUC 0.700 is under 0.90"]
    monkeypatch.setattr(
        speechxai.planted.task,
        "compute",
        lambda task, *rest: TaskResult(task.id, {"group": task.group, "seed": 0, "excluded": "no"}),
    )
    assert run("--resume", str(out)) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--cue", "breathines"), "Did you mean 'breathiness'"),
        (("--severity", "2"), "must be a number from 1e-06 to 1"),
        (("--data", "figshare-voice"), "Every --data needs its --root"),
        (("--data", "figshre-voice", "--root", "."), "Did you mean 'figshare-voice'"),
        (("--resume", "nowhere"), "not a run folder"),
        (("--tables",), "Name it with --resume"),
    ],
)
def test_what_is_refused(
    words: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words, *(() if "--resume" in words else ("--out", str(tmp_path / "x")))) == 2
    assert message in capsys.readouterr().err


def test_a_run_that_is_no_benchmark_or_of_another_version_is_refused(folder: BenchmarkFolder, tmp_path: Path) -> None:
    text = (folder.path / "config.toml").read_text("utf-8")
    for wrong, message in (
        (text.replace('"benchmark"', '"standard"'), "is no benchmark"),
        (text.replace('specification = "2.3"', 'specification = "1.0"'), "do not compare"),
    ):
        (tmp_path / "units").mkdir(exist_ok=True)
        (tmp_path / "config.toml").write_text(wrong)
        with pytest.raises(SpeechXAIError, match=message):
            _ = BenchmarkFolder(tmp_path).settings
    with pytest.raises(SpeechXAIError, match="there is a run already"):
        BenchmarkFolder.begin(folder.path, folder.settings, {})
    assert json.loads((folder.path / "environment.json").read_text())["synthetic"] is True


def test_real_voices_are_read_at_their_own_rate(shared_data: object) -> None:
    from speechxai.planted.folder import healthy_voices

    voices = healthy_voices("figshare-voice", shared_data("figshare-voice"))  # type: ignore[operator]
    assert len(voices) == len({v.speaker for v in voices}) == 41
    assert {v.sample_rate for v in voices} == {8_000}
    readers = healthy_voices("librispeech", shared_data("librispeech"))  # type: ignore[operator]
    assert len(readers) == 3
