"""One bad thing never ends the rest: whatever is raised in the work on one recording is that recording's failure."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from speechxai.classifiers.training import Plan, read_corpus
from speechxai.data import corpus
from speechxai.data.manifest import PREFIX, Locator
from speechxai.errors import SpeechXAIError, named, told, traced
from speechxai.evaluation import unit
from speechxai.evaluation.config import EvaluateConfig, from_dict
from speechxai.evaluation.executors import execute, order_of, run_units
from speechxai.evaluation.runs import RunFolder, finish
from speechxai.evaluation.session import create_run, prepare
from speechxai.evaluation.values import EvaluateSettings, Failure, Job, UnitResult, evaluate_recordings
from speechxai.planted.folder import BenchmarkFolder, healthy_voices
from speechxai.testing import noise_recording, tiny_bundle, tiny_classifier
from tests.unit.raising import ERRORS, compute_with_raising_reader, raising_reader

SETTINGS = EvaluateSettings(("saliency",), ("faithfulness",))


class Memory:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.results: dict[str, UnitResult] = {}
        self.failures: list[Failure] = []

    @contextmanager
    def claim(self, recording: str) -> Iterator[bool]:
        yield recording not in self.results

    def write(self, result: UnitResult) -> None:
        self.results[result.recording] = result

    def fail(self, failure: Failure) -> None:
        self.failures.append(failure)


def begins(name: str) -> str:
    """How the message of an error begins."""
    return f"{name}: " if str(ERRORS[name] if name != "Speechless" else "") else name


def in_the_reader(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> Callable[[str], Job]:
    def load(name: str) -> Job:
        if name == "bad":
            raise error
        return Job(noise_recording(name), tiny_classifier())

    return load


def in_the_network(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> Callable[[str], Job]:
    def load(name: str) -> Job:
        model = tiny_classifier()
        if name == "bad":
            model.backbone.register_forward_pre_hook(lambda module, inputs: throw(error))
        return Job(noise_recording(name), model)

    return load


def later(function: str) -> Callable[[pytest.MonkeyPatch, BaseException], Callable[[str], Job]]:
    """Let a function of the pipeline raise for the second recording."""

    def into(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> Callable[[str], Job]:
        real, calls = getattr(unit, function), list[int]()

        def wrapped(*arguments: Any, **options: Any) -> Any:
            calls.append(1)
            return throw(error) if len(calls) == 2 else real(*arguments, **options)

        monkeypatch.setattr(unit, function, wrapped)
        return lambda name: Job(noise_recording(name), tiny_classifier())

    return into


def throw(error: BaseException) -> None:
    raise error


PLACES = {
    "load": in_the_reader,
    "predict": in_the_network,
    "explain": later("explain_all"),
    "score": later("score"),
}


@pytest.mark.parametrize("stage", PLACES)
@pytest.mark.parametrize("name", ERRORS)
def test_any_error_is_the_failure_of_its_recording(name: str, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = Memory()
    evaluate_recordings(["a", "bad", "b"], PLACES[stage](monkeypatch, ERRORS[name]), SETTINGS, sink)
    assert list(sink.results) == ["a", "b"]
    (failure,) = sink.failures
    assert (failure.recording, failure.stage) == ("bad", stage)
    assert failure.message.startswith(begins(name))
    assert "\n" not in failure.message
    assert failure.traceback.startswith("Traceback (most recent call last)")
    assert "in load" in failure.traceback or "in throw" in failure.traceback


@pytest.mark.parametrize("stage", PLACES)
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)], ids=["KeyboardInterrupt", "SystemExit"])
def test_who_wants_to_stop_is_let_go(error: BaseException, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = Memory()
    with pytest.raises(type(error)):
        evaluate_recordings(["a", "bad", "b"], PLACES[stage](monkeypatch, error), SETTINGS, sink)
    assert list(sink.results) == ["a"]
    assert not sink.failures


def test_a_result_that_cannot_be_written_is_the_failure_of_its_recording() -> None:
    class Picky(Memory):
        def write(self, result: UnitResult) -> None:
            if result.recording == "bad":
                raise TypeError("keys must be str")
            super().write(result)

    sink = Picky()
    evaluate_recordings(["a", "bad", "b"], lambda name: Job(noise_recording(name), tiny_classifier()), SETTINGS, sink)
    assert list(sink.results) == ["a", "b"]
    assert [(f.stage, f.message) for f in sink.failures] == [("write", "TypeError: keys must be str")]


def test_an_error_of_this_library_keeps_its_words_and_needs_no_traceback() -> None:
    error = SpeechXAIError("voice.wav: the file is empty.")
    assert (told(error), traced(error), named(error, "x")) == ("voice.wav: the file is empty.", "", error)


# ---- runs on disk, with every executor


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two good recordings and one for every error, which a raising reader cannot read."""
    root = tmp_path_factory.mktemp("unforeseen")
    tiny_bundle(root / "tiny")
    for index, name in enumerate(["a-good", *ERRORS, "z-good"]):
        folder = root / "voices" / ("PD" if index % 2 else "HC") / f"s{index}"
        folder.mkdir(parents=True)
        soundfile.write(folder / f"{name}.wav", noise_recording(name, 0.5, seed=index).waveform.numpy(), 8_000)
    return root


def configuration(voices: Path, out: Path, **more: object) -> EvaluateConfig:
    content = {"data": str(voices / "voices"), "model": str(voices / "tiny"), "pictures": 0, "out": str(out)}
    return from_dict({**content, "recipes": ["saliency"], "metrics": ["faithfulness"], "controls": False, **more}, "t")


@pytest.mark.parametrize(
    "executor", ["serial", "joblib", pytest.param("dask", marks=pytest.mark.filterwarnings("ignore::ResourceWarning"))]
)
def test_every_executor_goes_on_and_the_run_resumes(executor: str, voices: Path, tmp_path: Path) -> None:
    if executor == "dask":
        for module in ("distributed", "dask_jobqueue"):
            pytest.importorskip(module, reason="needs the extra 'cluster'")
    more = {} if executor == "serial" else {"executor": executor, "workers": 2}
    session = prepare(configuration(voices, tmp_path / "run", **more))
    folder = create_run(session)
    cost = run_units(folder, order_of(session.config, folder.path), executor, compute_with_raising_reader)
    finish(folder)
    assert cost["n_lost_workers"] == 0
    assert [name.rpartition("__")[2] for name in folder.done_units()] == ["a-good", "z-good"]
    failures = {failure["recording"].rpartition("__")[2]: failure for failure in folder.failed()}
    assert set(failures) == set(ERRORS)
    for name, failure in failures.items():
        assert f"{name}.wav: {begins(name)}" in failure["message"]
        assert "in reader" in failure["traceback"]
    listed = folder.table("failures")
    assert set(listed.columns) == {"recording", "kind", "stage", "recipe", "message"}
    assert len(listed) == len(ERRORS)
    with raising_reader():  # a resume that meets the same errors goes on as well
        again = prepare(configuration(voices, tmp_path / "run"), folder.manifest)
        execute(again, create_run(again, folder))
    assert folder.status().n_failed == len(ERRORS)
    execute(again, create_run(again, folder))
    assert folder.status().n_done == len(ERRORS) + 2
    assert folder.table("failures").empty


def test_a_whole_corpus_is_read_but_for_those(voices: Path, tmp_path: Path) -> None:
    from speechxai.data.cards import build_manifest

    manifest, _ = build_manifest("folder", voices / "voices")
    with raising_reader():
        report = corpus.check(manifest, voices / "voices")
        unreadable: list[tuple[str, str]] = []
        manifest.assign(label=0).to_csv(tmp_path / "all.csv", index=False)
        heard = healthy_voices(str(tmp_path / "all.csv"), voices / "voices", unreadable)
        trained = read_corpus("folder", voices / "voices", Plan("x"))
        with pytest.raises(
            SpeechXAIError,
            match=(
                r"/voices/HC/s10/UnicodeDecodeError\.wav: UnicodeDecodeError: 'utf-8' codec can't decode "
                r"byte 0xff in position 0: invalid start byte$"
            ),
        ):
            healthy_voices(str(tmp_path / "all.csv"), voices / "voices")
    assert len(report.quality) == len(heard) == len(trained.recordings) == 2
    assert len(report.unreadable) == len(unreadable) == len(trained.unreadable) == len(ERRORS)
    for words in ([w for _, w in report.unreadable], [w for _, w in unreadable], trained.unreadable):
        assert any(".wav: ValueError: frames must be specified" in one for one in words)


def test_quality_that_cannot_be_measured_is_named(voices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from speechxai.data.cards import build_manifest

    manifest, _ = build_manifest("folder", voices / "voices")
    monkeypatch.setattr(corpus.qualities, "quality", lambda waveform, rate: throw(ZeroDivisionError("of zero frames")))
    report = corpus.check(manifest.head(2), voices / "voices")
    assert [words.partition(": ")[2] for _, words in report.unreadable] == ["ZeroDivisionError: of zero frames"] * 2


def test_voices_that_the_benchmark_could_not_read_are_failures_of_the_run(tmp_path: Path) -> None:
    from speechxai.planted.settings import BenchmarkSettings

    folder = BenchmarkFolder.begin(tmp_path / "run", BenchmarkSettings(cues=("tremor",), seeds=(0,)), {})
    for _ in range(2):
        folder.add_session({"unreadable": [["v", "v.wav: ValueError: no"]]})
    assert [(f["recording"], f["stage"], f["message"]) for f in folder.failed()] == [
        ("v", "load", "v.wav: ValueError: no")
    ]
    assert folder.failures()["kind"].tolist() == ["failure"]


def test_maps_that_cannot_be_read_cost_their_recording_alone_in_the_published_batches() -> None:
    from speechxai.mancini2025.study import batch_maxima

    def maps(recording: str, recipe: str) -> np.ndarray:
        if recording == "bad":
            raise KeyError("c/0/0")
        return np.full((2, 3), 0.5 if recording == "a" else 1.0, dtype="float16")

    names = ("saliency", "smoothgrad", "union(saliency, smoothgrad)")
    published = SimpleNamespace(batch=2)
    session: Any = SimpleNamespace(
        recordings=["a", "bad", "b"],
        manifest={},
        settings=SimpleNamespace(recipes=names, protocol_options=published),
        config=SimpleNamespace(published=published),
    )
    facts = {"fold": "0", "top_saliency": 2.0, "top_smoothgrad": 4.0}
    units: Any = {name: SimpleNamespace(facts=facts) for name in session.recordings}
    found = batch_maxima(session, SimpleNamespace(maps=maps), units)  # type: ignore[arg-type]
    assert set(found) == {"a", "bad", "b"}
    assert set(found["a"]["tops"]) == {"union(saliency, smoothgrad)"} == set(found["bad"]["tops"])
    assert found["a"]["tops"]["union(saliency, smoothgrad)"] > 0


def test_the_name_of_a_person_stays_out_of_an_unforeseen_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "Anna Rossi.wav"
    row = {
        "recording": "p1",
        "path": f"{PREFIX}{'0' * 24}",
        "speaker": "x/p1",
        "label": 0,
        "task": "reading",
        "dataset": "x",
    }
    monkeypatch.setattr(Locator, "locate", lambda self, path: secret)
    monkeypatch.setattr(corpus, "to_recording_kwargs", lambda row: {"id": "p1"})
    monkeypatch.setattr(corpus.audio, "read_audio", lambda path, **options: throw(ValueError(f"{path} of Anna Rossi")))
    with pytest.raises(SpeechXAIError) as caught:
        corpus.load(row, tmp_path)
    assert "ValueError" in str(caught.value)
    assert "Anna" not in str(caught.value) + traced(caught.value)
    assert caught.value.__suppress_context__


def test_an_identifier_that_is_not_utf8_can_be_written(voices: Path, tmp_path: Path) -> None:
    session = prepare(configuration(voices, tmp_path / "run", limit=2))
    folder = create_run(session)
    folder.fail(Failure("voice-\udcff", "load", told(ValueError("voice-\udcff"))))
    (path,) = (folder.path / "units").glob("*.failed")
    assert json.loads(path.read_bytes())["message"] == r"ValueError: voice-\udcff"
    assert RunFolder.open(folder.path).status().n_units == 2


def test_a_copy_with_a_name_that_is_not_utf8_is_refused_and_the_others_are_scored(voices: Path, tmp_path: Path) -> None:
    shutil.copytree(voices / "voices" / "HC" / "s0", tmp_path / "voices" / "HC" / "s0")
    try:
        shutil.copy(tmp_path / "voices/HC/s0/a-good.wav", tmp_path / "voices/HC/s0/b\udcff.wav")
    except (OSError, UnicodeError):
        pytest.skip("this disk takes no such name")
    session = prepare(configuration(voices, tmp_path / "run", data=str(tmp_path / "voices")))
    folder = create_run(session)
    execute(session, folder)
    assert len(folder.done_units()) == 1
    (row,) = folder.table("failures").to_dict("records")
    assert (row["recording"], row["kind"]) == (r"HC/s0/b\udcff.wav", "not_matched")
    assert "not UTF-8" in row["message"]
