"""A run that is continued never mixes: what was computed in another way is refused or computed anew, and said in a
line."""

from __future__ import annotations

import json
import shutil
import tomllib
import warnings
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pandas as pd
import pytest
import soundfile
import torch

from speechxai.auxiliary import folder as studies
from speechxai.auxiliary.study import units
from speechxai.auxiliary.values import AuxiliarySettings, Fit, Material
from speechxai.classifiers import precision
from speechxai.cli import main
from speechxai.errors import SpeechXAIError
from speechxai.evaluation import session
from speechxai.evaluation.config import FORMAT
from speechxai.evaluation.executors import evaluate
from speechxai.evaluation.runs import RunFolder, unit_name
from speechxai.evaluation.values import UnitResult
from speechxai.files import read_json, sealed, to_json, to_toml
from speechxai.planted import folder as planted_folder
from speechxai.planted import task as planted_task
from speechxai.planted.folder import BenchmarkFolder, execute_together
from speechxai.planted.settings import BenchmarkSettings, TaskResult
from speechxai.testing import TINY_STFT, noise_recording, tiny_bundle

TABLES = ("scores.csv", "scores.parquet", "summary.csv", "agreement.csv", "failures.csv")
N = 3
WORDS = ["-r", "saliency", "-r", "gradient_shap", "--no-controls", "-m", "faithfulness", "-m", "sparseness", "--maps"]
WORDS += ["--pictures", "0"]


class Answer(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    def called(*words: object) -> Answer:
        with warnings.catch_warnings(), pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return Answer(int(ended.value.code or 0), said.out, said.err)

    return called


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny bundle, voices, a run of them, and one with another seed."""
    root = tmp_path_factory.mktemp("resume")
    tiny_bundle(root / "tiny")
    for index in range(N):
        folder = root / "voices" / ("PD" if index % 2 else "HC") / f"s{index}"
        folder.mkdir(parents=True)
        waveform = noise_recording(f"n{index}", 0.5, seed=index).waveform
        soundfile.write(folder / f"take{index}.wav", waveform.numpy(), 8_000)
    words = ["evaluate", "--data", root / "voices", "--model", root / "tiny", *WORDS]
    for name, seed in (("run", 0), ("other", 1)):
        with pytest.raises(SystemExit) as ended, warnings.catch_warnings():
            main([*map(str, words), "--seed", str(seed), "--out", str(root / name)])
        assert not ended.value.code
    assert (root / "run/scores.csv").read_bytes() != (root / "other/scores.csv").read_bytes()
    return root


@pytest.fixture
def run(place: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(place / "run", tmp_path / "run"))


def tables(path: Path) -> dict[str, bytes]:
    return {name: (path / name).read_bytes() for name in TABLES}


def stamps(path: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mtime_ns for file in (path / "units").glob("*.json")}


def first(path: Path) -> Path:
    return sorted((path / "units").glob("*.json"))[0]


def rewrite(path: Path, change: Callable[[dict[str, Any]], object], seal: bool, kind: str = "unit") -> None:
    """Change a unit's content; with `seal` as whoever knows the format would."""
    content = read_json(path)
    assert content is not None
    if seal:
        del content["digest"]
    change(content)
    path.write_bytes(sealed(content, kind) if seal else to_json(content))


def cut(run: Path, place: Path) -> None:
    content = first(run).read_bytes()
    first(run).write_bytes(content[: len(content) // 2])


def emptied(run: Path, place: Path) -> None:
    first(run).write_bytes(b"")


def not_an_object(run: Path, place: Path) -> None:
    first(run).write_bytes(b"[1, 2]")


def number_changed(run: Path, place: Path) -> None:
    rewrite(first(run), lambda unit: unit["values"]["saliency"].update(faithfulness=0.5), seal=False)


def text_for_number(run: Path, place: Path) -> None:
    rewrite(first(run), lambda unit: unit["values"]["saliency"].update(faithfulness="0.5"), seal=True)


def field_gone(run: Path, place: Path) -> None:
    rewrite(first(run), lambda unit: unit.pop("values"), seal=True)


def of_another_recording(run: Path, place: Path) -> None:
    one, two = sorted((run / "units").glob("*.json"))[:2]
    shutil.copy(two, one)


def of_another_run(run: Path, place: Path) -> None:
    name = first(run).name
    shutil.copy(place / "other" / "units" / name, run / "units" / name)


def of_another_format(run: Path, place: Path) -> None:
    rewrite(first(run), lambda unit: unit.update(format=FORMAT - 1), seal=True)


def without_format(run: Path, place: Path) -> None:
    rewrite(first(run), lambda unit: [unit.pop(name) for name in ("format", "basis", "row", "digest")], seal=False)


def maps_deleted(run: Path, place: Path) -> None:
    shutil.rmtree(run / "maps.zarr")


def one_map_deleted(run: Path, place: Path) -> None:
    shutil.rmtree(run / "maps.zarr" / first(run).stem / "gradient_shap")


def part_of_a_map_deleted(run: Path, place: Path) -> None:
    """What is not there of a map reads as zeros."""
    next((run / "maps.zarr" / first(run).stem / "gradient_shap").rglob("c/*/*")).unlink()


def a_byte_of_a_map_changed(run: Path, place: Path) -> None:
    part = next((run / "maps.zarr" / first(run).stem / "gradient_shap").rglob("c/*/*"))
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 0xFF
    part.write_bytes(bytes(content))


def environment_lost(run: Path, place: Path) -> None:
    (run / "environment.json").unlink()
    cut(run, place)


MISFITS = {
    cut: "1 damaged",
    emptied: "1 damaged",
    not_an_object: "1 damaged",
    number_changed: "1 damaged",
    text_for_number: "1 damaged",
    field_gone: "1 damaged",
    of_another_recording: "1 of another recording",
    of_another_run: "1 of other settings, another model or other versions",
    of_another_format: "1 of another format",
    without_format: "1 of another format",
    maps_deleted: f"{N} without whole maps",
    one_map_deleted: "1 without whole maps",
    part_of_a_map_deleted: "1 without whole maps",
    a_byte_of_a_map_changed: "1 without whole maps",
    environment_lost: "1 damaged",
}


@pytest.mark.parametrize("damage", MISFITS, ids=lambda damage: damage.__name__)
def test_a_unit_that_does_not_fit_is_computed_again(
    damage: Callable[[Path, Path], None], run: Path, place: Path
) -> None:
    damage(run, place)
    before = stamps(run)
    folder = evaluate(RunFolder.open(run))
    n, _, reason = MISFITS[damage].partition(" ")
    assert folder.environment["sessions"][-1]["resumed"] == [
        f"{n} of {N} units do not fit and are computed again: {n} {reason}."
    ]
    assert tables(run) == tables(place / "run")
    changed = [name for name, stamp in stamps(run).items() if before.get(name) != stamp]
    assert len(changed) == int(n), "the others are not computed twice"
    assert folder.maps(folder.recordings[0], "gradient_shap").dtype == "float16"


def edited(key: str, value: Any) -> Callable[[Path, pytest.MonkeyPatch], None]:
    def edit(run: Path, patch: pytest.MonkeyPatch) -> None:
        content = tomllib.loads((run / "config.toml").read_text())
        (run / "config.toml").write_text(to_toml({**content, key: value}))

    return edit


def updated(name: str) -> Callable[[Path, pytest.MonkeyPatch], None]:
    def update(run: Path, patch: pytest.MonkeyPatch) -> None:
        real = session.versions
        patch.setattr(session, "versions", lambda more=(): {**real(more), name: "99.0"})

    return update


def made_by_an_older_version(run: Path, patch: pytest.MonkeyPatch) -> None:
    content = tomllib.loads((run / "config.toml").read_text())
    (run / "config.toml").write_text(to_toml({**content, "format": 2}))
    for path in (*(run / "units").glob("*.json"), run / "environment.json"):
        old = read_json(path) or {}
        path.write_bytes(
            to_json({k: v for k, v in old.items() if k not in ("format", "basis", "row", "digest", "maps")})
        )


OTHERWISE: dict[str, tuple[Callable[[Path, pytest.MonkeyPatch], None], str]] = {
    "seed": (edited("seed", 1), "with the setting 'seed' 0 then and 1 now"),
    "recipes": (
        edited("recipes", ["saliency", "smoothgrad"]),
        """with the setting 'recipes' ["saliency", "gradient_shap"] then and ["saliency", "smoothgrad"] now""",
    ),
    "options": (edited("options", {"gradient_shap": {"n_samples": 2}}), "with the setting 'options' {} then and"),
    "library": (updated("torch"), f"with torch {version('torch')} then and 99.0 now"),
    "program": (updated("speechxai"), f"with speechxai {version('speechxai')} then and 99.0 now"),
    "older version": (made_by_an_older_version, "by an older version, which did not note what they depend on"),
}


@pytest.mark.parametrize("how", OTHERWISE)
def test_a_run_is_not_continued_in_another_way_unless_all_is_computed_anew(
    how: str, run: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, words = OTHERWISE[how]
    change(run, monkeypatch)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(SpeechXAIError) as caught:
        evaluate(RunFolder.open(run))
    assert str(caught.value).startswith(f"{run}: {N} of {N} units were computed {words}")
    assert str(caught.value).endswith(
        ". Continue it as it was begun, start a new run with --out, or compute them anew with --overwrite."
    )
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    folder = evaluate(RunFolder.open(run), overwrite=True)
    assert folder.environment["sessions"][-1]["resumed"][0].startswith(f"{N} of {N} units do not fit and are computed")
    if how == "seed":
        assert tables(run) == tables(place / "other")
    else:
        assert (tables(run) == tables(place / "run")) is (how in ("library", "program", "older version"))
    assert (folder.format, folder.status().n_done) == (FORMAT, N)
    if how == "recipes":
        assert folder.environment["recipes"] == ["saliency", "smoothgrad"]
        assert set(folder.scores()["recipe"]) == {"saliency", "smoothgrad"}


def test_the_command_line_says_what_it_does_and_what_it_refuses(
    run: Path, call: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    cut(run, run)
    answer = call("evaluate", "--resume", run)
    assert answer.status == 0
    assert f"1 of {N} units do not fit and are computed again: 1 damaged.\n" in answer.out
    updated("captum")(run, monkeypatch)
    answer = call("evaluate", "--resume", run)
    assert answer.status == 2
    assert answer.err.startswith(f"Error: {run}: {N} of {N} units were computed with captum ")
    assert call("evaluate", "--resume", run, "--overwrite").status == 0


@pytest.fixture
def movable(place: Path, tmp_path: Path, call: Callable[..., Answer]) -> Path:
    """A run of voices that a test may move, with a manifest."""
    shutil.copytree(place / "voices", tmp_path / "voices")
    shutil.copytree(place / "run", tmp_path / "run")
    content = tomllib.loads((tmp_path / "run/config.toml").read_text())
    assert content["data"] == content["root"] == str(place / "voices"), "paths are stored absolute"
    there = str(tmp_path / "voices")
    (tmp_path / "run/config.toml").write_text(to_toml({**content, "data": there, "root": there}))
    return tmp_path


def test_a_moved_root_is_compared_by_content_and_remembered(movable: Path, call: Callable[..., Answer]) -> None:
    (movable / "voices").rename(movable / "moved")
    first(movable / "run").unlink()
    answer = call("evaluate", "--resume", movable / "run")
    assert answer.status == 1, "what is open cannot be read"
    assert f"{N - 1} recordings are not below {movable / 'voices'} any more; their scores are kept." in answer.out
    answer = call("evaluate", "--resume", movable / "run", "--root", movable / "moved")
    assert answer.status == 0
    assert f"The recordings are read from {movable / 'moved'} now; their content is the same.\n" in answer.out
    assert "do not fit" not in answer.out
    assert RunFolder.open(movable / "run").status().n_done == N
    first(movable / "run").unlink()
    folder = evaluate(RunFolder.open(movable / "run"))
    assert folder.status().n_done == N
    assert "resumed" not in folder.environment["sessions"][-1]


@pytest.mark.parametrize("wrong", ["one replaced", "nothing there"])
def test_another_root_with_other_recordings_is_refused_and_nothing_is_lost(
    wrong: str, movable: Path, call: Callable[..., Answer]
) -> None:
    (movable / "new").mkdir()
    if wrong == "one replaced":
        shutil.copytree(movable / "voices", movable / "new", dirs_exist_ok=True)
        soundfile.write(movable / "new/HC/s0/take0.wav", noise_recording("x", 0.5, seed=9).waveform.numpy(), 8_000)
    before = {path: path.read_bytes() for path in (movable / "run").rglob("*") if path.is_file()}
    answer = call("evaluate", "--resume", movable / "run", "--root", movable / "new")
    assert answer.status == 2
    others, missing = (1, 0) if wrong == "one replaced" else (0, N)
    assert answer.err.startswith(
        f"Error: {movable / 'new'}: these are not the recordings of {movable / 'run'}: of {N}, {others} have another"
        f" content and {missing} are missing; the first is "
    )
    assert {path: path.read_bytes() for path in (movable / "run").rglob("*") if path.is_file()} == before


def test_a_recording_that_was_replaced_loses_its_scores_and_is_named(
    movable: Path, call: Callable[..., Answer]
) -> None:
    soundfile.write(movable / "voices/HC/s0/take0.wav", noise_recording("x", 0.5, seed=9).waveform.numpy(), 8_000)
    answer = call("evaluate", "--resume", movable / "run")
    assert answer.status == 1
    assert f"1 of {N} units do not fit and are computed again: 1 whose recording has been replaced.\n" in answer.out
    assert "take0.wav: the file has changed since the manifest was made" in answer.err
    scores = pd.read_csv(movable / "run" / "scores.csv")
    assert scores["recording"].nunique() == N - 1
    assert not scores["recording"].str.contains("take0").any()


def test_a_damaged_map_is_never_handed_out(run: Path) -> None:
    folder = RunFolder.open(run)
    one, two = folder.recordings[:2]
    stored = run / "maps.zarr"
    shutil.rmtree(stored / unit_name(one) / "saliency")
    shutil.copytree(stored / unit_name(two) / "saliency", stored / unit_name(one) / "saliency")
    with pytest.raises(ValueError, match=r"saliency: this map is damaged\. Remove .* and compute it again"):
        folder.maps(one, "saliency")
    assert folder.maps(two, "saliency").ndim == 2


@pytest.mark.parametrize("left", [None, b"", b'{"format": ', b"[1, 2]"], ids=["missing", "empty", "cut", "a list"])
def test_a_lost_environment_alone_costs_no_recording(
    left: bytes | None, run: Path, place: Path, call: Callable[..., Answer]
) -> None:
    path = run / "environment.json"
    path.unlink() if left is None else path.write_bytes(left)
    answer = call("evaluate", "--resume", run)
    assert answer.status == 0
    assert f"{N} recordings scored; this session" in answer.out
    assert tables(run) == tables(place / "run")
    folder = RunFolder.open(run)
    assert folder.is_finished()
    assert {"sessions", "cost", "basis"} <= folder.environment.keys()


def test_tables_that_were_changed_are_written_again(run: Path, place: Path, call: Callable[..., Answer]) -> None:
    for name in TABLES:
        whole = (run / name).read_bytes()
        (run / name).write_bytes(whole[:-20])
        assert not RunFolder.open(run).is_finished(), name
        (run / name).write_bytes(whole)
    assert RunFolder.open(run).is_finished()
    (run / "summary.csv").write_bytes((run / "summary.csv").read_bytes().replace(b"0.1", b"0.9"))
    with pytest.raises(SpeechXAIError, match=r"summary\.csv: damaged\. 'speechxai evaluate --resume .*' writes it"):
        RunFolder.open(run).table("summary")
    assert call("report", run).status == 0
    assert tables(run) == tables(place / "run")


def test_the_list_of_recordings_is_the_one_that_the_run_was_begun_with(run: Path, call: Callable[..., Answer]) -> None:
    frame = pd.read_parquet(run / "recordings.parquet")
    frame["label"] = 1 - frame["label"]
    frame.to_parquet(run / "recordings.parquet", index=False)
    for words in (["report", run], ["evaluate", "--resume", run], ["evaluate", "--status", run]):
        answer = call(*words)
        assert answer.status == 2
        assert answer.err.startswith(f"Error: {run / 'recordings.parquet'}: this is not the list of recordings that")


def test_a_note_of_a_failure_may_be_damaged(run: Path, call: Callable[..., Answer]) -> None:
    (run / "units" / f"{first(run).stem}.failed").write_text("{")
    first(run).unlink()
    answer = call("evaluate", "--status", run)
    assert answer.status == 0
    assert "this note is damaged." in answer.err


def test_overwrite_replaces_a_run_and_nothing_else(place: Path, run: Path, call: Callable[..., Answer]) -> None:
    words = ["evaluate", "--data", place / "voices", "--model", place / "tiny", *WORDS]
    answer = call(*words, "--out", run)
    assert answer.status == 2
    assert answer.err.endswith("choose another folder with --out, or replace it with --overwrite.\n")
    assert call(*words, "--seed", 1, "--out", run, "--overwrite").status == 0
    assert tables(run) == tables(place / "other")
    answer = call(*words, "--out", run.parent, "--overwrite")
    assert answer.status == 2
    assert answer.err == f"Error: {run.parent}: --overwrite replaces a run, and this is none. Choose another --out.\n"
    assert json.loads((run / "environment.json").read_bytes())["basis"]["settings"]["seed"] == 1


def test_a_unit_of_the_published_second_pass_depends_on_the_maps_beside_it(tmp_path: Path) -> None:
    manifest = pd.DataFrame({"recording": ["a", "b"]})
    folder = RunFolder.create(tmp_path / "batch", {"data": "d", "model": "m"}, manifest, {"basis": {}})
    folder.beside = {"a": "maps of a and b", "b": "maps of a and b"}
    for name in ("a", "b"):
        folder.write(UnitResult(name, {}, {"saliency": {"faithfulness": 0.5}}))
    later = RunFolder.open(folder.path)
    assert later.done_units() == ["a", "b"], "whoever only reads does not know the maps"
    later.beside = {"a": "maps of a, b and c", "b": "maps of a and b"}
    assert later.drop_misfits() == {"of other maps": 1}
    assert later.done_units() == ["b"]


@pytest.fixture
def benchmark(tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished benchmark on real voices, whose tasks are stand-ins, and the voices beside it."""
    facts = {"cue": "tremor", "material": "voices", "severity": 1.0, "seed": 0, "auc": None, "excluded": "stand-in"}
    monkeypatch.setattr(planted_task, "compute", lambda task, *_: TaskResult(task.id, {**facts, "seed": task.seed}))
    shutil.copytree(place / "voices", tmp_path / "voices")
    settings = BenchmarkSettings(materials=("voices",), cues=("tremor",), seeds=(0, 1))
    source = {"voices": (str(tmp_path / "voices"), str(tmp_path / "voices"))}
    folder = BenchmarkFolder.begin(tmp_path / "run", settings, source)
    execute_together(folder.path, 1)
    assert folder.status().n_done == 2
    return folder.path


def test_a_benchmark_never_mixes_either(
    benchmark: Path, tmp_path: Path, call: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("speechxai.planted.report.write_reports", lambda folder: folder.path / "report.html")
    monkeypatch.setattr("speechxai.commands.benchmark.summarize", lambda folder: None)
    monkeypatch.setattr(BenchmarkFolder, "finish", lambda folder: None)
    whole = {path.name: read_json(path)["facts"] for path in (benchmark / "units").glob("*.json")}  # type: ignore[index]
    cut(benchmark, benchmark)
    answer = call("benchmark", "--resume", benchmark)
    assert answer.status == 0
    assert "1 units do not fit and are computed again: damaged.\n" in answer.out
    assert {p.name: (read_json(p) or {})["facts"].keys() for p in (benchmark / "units").glob("*.json")} == {
        name: facts.keys() for name, facts in whole.items()
    }

    (tmp_path / "voices").rename(tmp_path / "moved")
    assert call("benchmark", "--resume", benchmark).status == 2
    answer = call("benchmark", "--resume", benchmark, "--root", tmp_path / "moved")
    assert (answer.status, "do not fit" in answer.out) == (0, False), answer.err
    assert call("benchmark", "--resume", benchmark).status == 0

    take = tmp_path / "moved/HC/s0/take0.wav"
    kept = take.read_bytes()
    soundfile.write(take, noise_recording("x", 0.5, seed=9).waveform.numpy(), 8_000)
    answer = call("benchmark", "--resume", benchmark)
    assert answer.status == 2
    assert f"{benchmark}: 2 of 2 units were computed from other material." in answer.err
    shutil.copytree(tmp_path / "moved", tmp_path / "third")
    answer = call("benchmark", "--resume", benchmark, "--root", tmp_path / "third")
    assert answer.err == f"Error: {tmp_path / 'third'}: these are not the recordings of {benchmark}.\n"
    take.write_bytes(kept)
    assert call("benchmark", "--resume", benchmark).status == 0

    real = planted_folder.versions
    monkeypatch.setattr(planted_folder, "versions", lambda more=(): {**real(more), "torch": "99.0"})
    answer = call("benchmark", "--resume", benchmark)
    assert "2 of 2 units were computed with torch " in answer.err
    assert call("benchmark", "--resume", benchmark, "--overwrite").status == 0
    assert BenchmarkFolder(benchmark).status().n_done == 2


def test_an_auxiliary_study_never_mixes_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = AuxiliarySettings((), "original", n_seeds=1, n_folds=3, splits=("speaker",))
    manifest = pd.DataFrame({"recording": ["a"], "speaker": ["s/a"], "label": [0]})
    nothing: Any = None
    made = Material(manifest, TINY_STFT, nothing, nothing, nothing, (9,))
    facts = {"fingerprint": "f" * 16}
    source: Any = SimpleNamespace(fingerprint="f" * 16, facts=lambda: facts, material=made)
    study = studies.begin(tmp_path / "study", settings, source)
    assert tomllib.loads((study.path / "study.toml").read_text())["format"] == studies.FORMAT
    plan = units(settings)
    for unit in plan:
        study.write(Fit(unit, (0,), (0,), (0.5,)))
    assert study.n_done() == (len(plan), len(plan))
    files = [study._file(unit) for unit in plan]
    files[0].write_bytes(files[0].read_bytes()[:50])
    rewrite(files[1], lambda fit: fit.update(probabilities=[0.9]), seal=False, kind="fit")
    rewrite(files[2], lambda fit: fit.update(probabilities=["0.9"]), seal=True, kind="fit")
    rewrite(files[3], lambda fit: fit.update(basis="0"), seal=True, kind="fit")
    rewrite(files[4], lambda fit: fit.update(format=1), seal=True, kind="fit")
    shutil.copy(files[6], files[5])
    again = studies.begin(tmp_path / "study", settings, source)
    assert again.n_done() == (len(plan) - 6, len(plan))
    assert again.misfits() == {
        "damaged": 3,
        "of other settings, other maps or other versions": 1,
        "of another format": 1,
        "of another place in the study": 1,
    }
    with pytest.raises(SpeechXAIError, match=r"study: this study was begun with epochs = 50, not 2\. Give"):
        studies.begin(tmp_path / "study", replace(settings, epochs=2), source)
    real = studies.versions
    monkeypatch.setattr(studies, "versions", lambda more=(): {**real(more), "torch": "99.0"})
    with pytest.raises(SpeechXAIError, match=r"study: this study was begun with torch .* then and 99\.0 now\."):
        studies.begin(tmp_path / "study", settings, source)
    monkeypatch.setattr(studies, "versions", real)
    (study.path / "facts.json").write_text("{}")
    with pytest.raises(SpeechXAIError, match=r"facts\.json: missing or damaged\. Train the study anew with --again\."):
        studies.begin(tmp_path / "study", settings, source)


def test_a_resume_that_computes_nothing_writes_nothing(
    call: Callable[..., Answer], place: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = ["--data", place / "voices", "--model", place / "tiny", *WORDS[:-1], "1", "--out", run]
    assert call("evaluate", *words).status == 0

    def state() -> dict[str, tuple[int, bytes]]:
        return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in run.rglob("*") if p.is_file()}

    before = state()
    assert any(name.endswith(".png") for name in before)
    assert not any(name.endswith(".lock") for name in before)
    again = call("evaluate", "--resume", run)
    assert again.status == 0
    assert "3 recordings scored" in again.out
    assert state() == before
    (run / "scores.csv").write_bytes(b"")
    assert call("evaluate", "--resume", run).status == 0
    assert (run / "scores.csv").read_bytes() == before[str(run / "scores.csv")][1]


def test_files_that_are_not_there_are_one_sentence(call: Callable[..., Answer], place: Path, tmp_path: Path) -> None:
    rows = [f"r{i},{i}.wav,s/{i},{'HC' if i % 2 else 'PD'}" for i in range(200)]
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("\n".join(["recording,path,speaker,label", *rows]))
    root = tmp_path / "voices"
    root.mkdir()
    words = ["--data", manifest, "--root", root, "--model", place / "tiny", *WORDS, "--out", tmp_path / "run"]
    told = call("evaluate", *words)
    assert told.status == 2
    assert told.err.splitlines()[-1].startswith(f"Error: {root}: 200 of 200 recordings are missing below it")
    assert not (tmp_path / "run").exists()
    told = call("data", "check", manifest, "--root", root)
    assert told.status == 2
    assert "200 of 200 recordings are missing" in told.err
    for index in range(60):
        (root / f"{index}.wav").write_bytes(b"no sound")
    told = call("evaluate", *words)
    assert told.status == 2
    assert "140 of 200 recordings are missing" in told.err
    assert "Stopped: the first 50 recordings all fail for one reason." in told.err.splitlines()[-1]
    assert len(list((tmp_path / "run" / "units").glob("*.failed"))) == 50
    told = call("data", "check", manifest, "--root", root)
    assert told.status == 2
    assert "the first 50 recordings all fail for one reason" in told.err


def test_a_precision_that_is_slower_here_is_not_taken_unless_forced(
    call: Callable[..., Answer], place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a machine does fastest is tried once, kept, and said; nothing is tried where bytes must repeat."""
    trials: list[str] = []
    gains = {"masked-bfloat16": 0.4, "bfloat16": 1.6}

    def choose(model: Any, products: Any, asked: str = "float32") -> precision.Choices:
        trials.append(asked)
        return precision.Choices("highest", 2, {asked: gains[asked]} if asked in gains else {})

    monkeypatch.setattr(precision, "choose", choose)
    monkeypatch.setenv("SPEECHXAI_CACHE", str(tmp_path / "cache"))
    words = ["evaluate", "--data", place / "voices", "--model", place / "tiny", *WORDS[:-3], "--pictures", "0"]

    def run(name: str, *more: object) -> tuple[Answer, dict[str, Any], str]:
        told = call(*words, "--out", tmp_path / name, *more)
        assert told.status == 0
        config = tomllib.loads((tmp_path / name / "config.toml").read_text())
        return told, RunFolder.open(tmp_path / name).environment, config["precision"]

    told, environment, used = run("slower", "--precision", "masked-bfloat16")
    assert "Precision masked-bfloat16 would be slower here (0.40 times as fast as float32), so float32" in told.out
    assert used == environment["precision"] == "float32"
    assert environment["precision_asked"] == "masked-bfloat16"
    assert environment["gains"] == {"masked-bfloat16": 0.4}
    assert environment["masked_batch"] == 2
    told, environment, used = run("forced", "--precision", "masked-bfloat16", "--force-precision")
    assert used == environment["precision"] == "masked-bfloat16"
    assert "slower" not in told.out
    assert run("faster", "--precision", "bfloat16")[2] == "bfloat16"
    assert trials == ["masked-bfloat16", "bfloat16"]  # the second time it is known
    assert call("evaluate", "--resume", tmp_path / "forced").status == 0
    assert "gains" not in run("fixed", "--deterministic", "--precision", "masked-bfloat16")[1]
    torch.use_deterministic_algorithms(False)
    assert trials == ["masked-bfloat16", "bfloat16"]
    (tmp_path / "cache" / "choices.json").write_text("{")  # damaged: tried again
    assert run("again")[2] == "float32"
    assert trials[2:] == ["float32"]
