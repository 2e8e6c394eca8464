"""The run folder: written in steps that a crash cannot tear, shared by processes, read back the same."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from speechxai import files
from speechxai.errors import SpeechXAIError
from speechxai.evaluation import runs
from speechxai.evaluation.config import FORMAT
from speechxai.evaluation.runs import RunFolder, describe, unit_name
from speechxai.evaluation.values import Failure, UnitResult
from speechxai.explain.recipe import parse
from speechxai.metrics import METRICS

MANIFEST = pd.DataFrame({"recording": ["a", "b/1", "c"], "speaker": ["s/1", "s/2", "s/3"]})
CONFIG = {"data": "synthetic", "model": "m", "recipes": ["saliency"], "out": "runs/x"}


def make(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", CONFIG, MANIFEST, {"python": "3"})


def result(recording: str, value: float = 0.1) -> UnitResult:
    facts = {"speaker": "s/1", "label": 1, "predicted": 1, "model": "m", "fold": "0"}
    return UnitResult(
        recording, facts, {"saliency": {"faithfulness": value, "sparseness": float("nan")}}, {}, {"lrp": "no rule"}
    )


def test_scores_come_back_exactly_and_in_the_manifests_order(tmp_path: Path) -> None:
    run = make(tmp_path)
    run.write(result("c", 1 / 3))
    run.write(result("a", 0.1 + 0.2))
    scores = RunFolder.open(run.path).scores()
    assert list(scores["recording"]) == ["a", "a", "c", "c"]
    assert list(scores["metric"]) == ["faithfulness", "sparseness"] * 2
    assert scores["value"][0] == 0.1 + 0.2
    assert scores["value"][2] == 1 / 3
    assert np.isnan(scores["value"][1])
    assert run.done_units() == ["a", "c"]


def test_a_torn_unit_counts_as_not_done(tmp_path: Path) -> None:
    run = make(tmp_path)
    run.write(result("a"))
    shard = run.path / "units" / f"{unit_name('a')}.json"
    shard.write_bytes(shard.read_bytes()[:40])
    assert run.done_units() == []
    with run.claim("a") as ours:
        assert ours
    assert run.scores().empty


def test_failures_are_listed_until_the_unit_succeeds(tmp_path: Path) -> None:
    run = make(tmp_path)
    run.fail(Failure("b/1", "load", "b/1: the recording is empty (0 samples)."))
    table = run.failures()
    assert table.to_dict("records") == [
        {
            "recording": "b/1",
            "kind": "failure",
            "stage": "load",
            "recipe": "",
            "message": "b/1: the recording is empty (0 samples).",
        }
    ]
    assert (run.status().n_done, run.status().n_failed, run.status().n_open) == (0, 1, 2)
    run.write(result("b/1"))
    assert list(run.failures()["kind"]) == ["not_applicable"]
    assert run.status().n_failed == 0


def test_a_claimed_unit_is_not_given_twice_and_is_free_again_after(tmp_path: Path) -> None:
    run, other = make(tmp_path), RunFolder.open(tmp_path / "run")
    with run.claim("a") as first:
        assert first
        assert other.status().n_running == 1
        with other.claim("a") as second:
            assert not second
        with other.claim("c") as different:
            assert different
    with other.claim("a") as again:
        assert again
        other.write(result("a"))
    with run.claim("a") as done:
        assert not done
    assert not list((run.path / "units").glob("*.lock"))


def test_a_failed_recording_that_is_tried_again_is_running_not_failed(tmp_path: Path) -> None:
    run = make(tmp_path)
    run.fail(Failure("a", "load", "a: empty."))
    run.fail(Failure("c", "load", "c: empty."))
    with run.claim("a"):
        status = run.status()
        assert (status.n_failed, status.n_running, status.n_open) == (1, 1, 1)


def _die_holding(path: str, ready: object) -> None:
    with RunFolder.open(path).claim("a") as ours:
        assert ours
        ready.set()  # type: ignore[attr-defined]
        os.kill(os.getpid(), 9)


def test_a_killed_process_leaves_no_claim_behind(tmp_path: Path) -> None:
    run = make(tmp_path)
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_die_holding, args=(str(run.path), ready))
    process.start()
    assert ready.wait(60)
    process.join(60)
    assert process.exitcode == -9
    assert (run.path / "units" / f"{unit_name('a')}.lock").exists()
    assert run.status().n_running == 0
    with run.claim("a") as ours:
        assert ours


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_writing_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    run = make(tmp_path)
    run.write(result("a", 0.25))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, step, full)
    with pytest.raises(SpeechXAIError) as caught:
        run.write(result("a", 0.75))
    assert (
        str(caught.value)
        == f"{run.path}: cannot write: No space left on device. Make room or choose a writable folder with --out; "
        "a run that has begun continues with 'speechxai evaluate --resume'."
    )
    monkeypatch.undo()
    assert run.scores()["value"][0] == 0.25
    assert not list((run.path / "units").glob(".*.tmp"))


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("not a folder")
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"/run: cannot create the run folder: Not a directory\. Make room or choose a writable folder "
            r"with --out; a run that has begun continues with 'speechxai evaluate --resume'\.$"
        ),
    ):
        make(tmp_path)


def test_a_run_is_never_overwritten(tmp_path: Path) -> None:
    run = make(tmp_path)
    with pytest.raises(SpeechXAIError) as caught:
        make(tmp_path)
    assert str(caught.value).startswith(
        f"{run.path}: there is a run already. Continue it with 'speechxai evaluate --resume {run.path}'"
    )


def test_a_folder_without_settings_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(SpeechXAIError) as caught:
        RunFolder.open(tmp_path)
    assert str(caught.value) == f"{tmp_path}: not a run folder (no config.toml in it)."


@pytest.mark.parametrize(
    ("stated", "read"), [(None, 1), (1, 1), (FORMAT, FORMAT), (FORMAT + 1, "newer"), ("two", "none"), (True, "none")]
)
def test_an_older_run_is_read_and_a_newer_one_is_refused(tmp_path: Path, stated: object, read: object) -> None:
    run = make(tmp_path)
    assert run.format == FORMAT
    assert run.config == CONFIG, "the format is no setting"
    content = {**CONFIG, **({} if stated is None else {"format": stated})}
    (run.path / "config.toml").write_text(files.to_toml(content))
    if isinstance(read, int):
        assert RunFolder.open(run.path).format == read
        return
    with pytest.raises(SpeechXAIError) as caught:
        RunFolder.open(run.path)
    assert str(caught.value) == (
        f"{run.path}: this run has format {FORMAT + 1}, and this version of speechxai reads up to {FORMAT}. Use the"
        " newer version that wrote it ('speechxai env' says which one this is)."
        if read == "newer"
        else f"{run.path}: this run states the format {stated!r}, which is no version. Formats are 1 to {FORMAT}."
    )


def test_a_run_knows_its_recipes_and_metrics_without_the_plugin_that_computed_it(tmp_path: Path) -> None:
    facts = describe(["union(saliency, rise)", "energy_map"], ["faithfulness"])
    assert facts["methods"].keys() == {"saliency", "rise", "energy_map"}
    assert facts["methods"]["energy_map"]["control"] is True
    assert facts["metrics"]["faithfulness"]["bounds"] == (-1.0, 1.0)
    facts["metrics"]["gone"] = {"best": "low", "summary": "Of a plugin."}
    facts["methods"]["mine"] = {"signed": True, "summary": "Of a plugin."}
    run = RunFolder.create(tmp_path / "run", CONFIG, MANIFEST, {"facts": facts})
    with run.known():
        assert METRICS.facts("gone")["best"] == "low"
        assert METRICS.summary("gone") == "Of a plugin."
        assert "gone" in METRICS
        assert parse("mine").signed is True
        assert parse("union(mine, saliency)").methods == ("mine", "saliency")
        with pytest.raises(
            SpeechXAIError,
            match=(
                r"^The metric 'gone' comes from a plugin that is not loaded: give its module with "
                r"--import\.$"
            ),
        ):
            METRICS["gone"]
        assert METRICS["faithfulness"] is not None
    assert "gone" not in METRICS
    with pytest.raises(SpeechXAIError, match=r"^Unknown metric 'gone'\. Known: .*$"):
        METRICS.facts("gone")
    with RunFolder.create(tmp_path / "old", CONFIG, MANIFEST, {}).known():
        assert METRICS.facts("faithfulness")["best"] == "high"


def test_maps_appear_whole_and_replace_older_ones(tmp_path: Path) -> None:
    run = make(tmp_path)
    values = np.linspace(-1, 1, 12, dtype=np.float16).reshape(3, 4)
    run.write_maps("b/1", {"saliency": np.zeros((2, 2), np.float16), "union(saliency, smoothgrad)": values})
    run.write_maps("b/1", {"union(saliency, smoothgrad)": values})
    stored = run.maps("b/1", "union(saliency, smoothgrad)")
    assert stored.dtype == np.float16
    assert np.array_equal(stored, values)
    with pytest.raises(
        SpeechXAIError, match=(r"/run: no stored map of 'saliency' for 'b/1'\. Maps are kept with 'evaluate --maps'\.$")
    ):
        run.maps("b/1", "saliency")


def test_names_of_units_are_safe_and_differ(tmp_path: Path) -> None:
    names = [unit_name(r) for r in ("a/b", "a_b", "a b", "../../etc", "ä" * 200, "..")]
    assert len(set(names)) == len(names)
    assert all("/" not in name and not name.startswith(".") and len(name) < 100 for name in names)


def test_tables_are_rebuilt_in_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # One process has read its units and is slow to write. Another finishes a unit meanwhile and rebuilds the tables as
    # well:
    # without turns the slow one would put its older tables in their place.
    run = make(tmp_path)
    run.write(result("a"))
    began, order = threading.Event(), []
    real = runs.summary

    def slow(scores: pd.DataFrame) -> pd.DataFrame:
        if len(scores) == 2:
            began.set()
            time.sleep(0.4)
        order.append(len(scores))
        return real(scores)

    monkeypatch.setattr(runs, "summary", slow)
    monkeypatch.setattr(runs, "cost", lambda units: {})
    first = threading.Thread(target=runs.finish, args=(run,))
    first.start()
    assert began.wait(10)
    other = RunFolder.open(run.path)
    other.write(result("c"))
    runs.finish(other)
    first.join()
    assert order == [2, 4]
    assert list(pd.read_csv(run.path / "scores.csv")["recording"]) == ["a", "a", "c", "c"]
    assert not (run.path / ".tables.lock").exists()


def test_leftovers_of_killed_processes_are_swept_when_nobody_touches_them(tmp_path: Path) -> None:
    run = make(tmp_path)
    run.write_maps("a", {"saliency": np.zeros((2, 2), np.float16)})
    old = [
        run.path / "units" / ".a-1.json.0123.tmp",
        run.path / "maps.zarr" / ".a-1.0123.tmp",
        run.path / ".scores.csv.0.tmp",
    ]
    for path in old:
        if path.parent.name == "maps.zarr":
            path.mkdir()
            (path / "zarr.json").write_text("{}")
        else:
            path.write_bytes(b"half")
        os.utime(path, (1, 1))
    young = run.path / "units" / ".c-1.json.0123.tmp"
    young.write_bytes(b"half")
    run.sweep()
    assert not any(path.exists() for path in old)
    assert young.exists()
    assert run.maps("a", "saliency").shape == (2, 2)


def test_what_a_recording_cost_is_a_median_over_recordings() -> None:
    parts = ("spectrogram_s", "forward_pass_s", "explain_s", "score_s", "agreement_s")
    # Sums 31, 15.5 and 3.2 s; a forward pass of 2, .5 and .4 s: 15.5, 31 and 8 of them.
    times = ((1, 2, 4, 8, 16), (8, 0.5, 4, 2, 1), (0.8, 0.4, 0.8, 0.4, 0.8))
    units = [
        UnitResult(str(i), {**dict(zip(parts, row, strict=True)), "n_forward": 10 * i, "n_backward": 5 - i}, {}, {})
        for i, row in enumerate(times)
    ]
    found = runs.cost(units)
    assert found == {
        "seconds_per_recording": pytest.approx(15.5),
        "seconds_per_forward_pass": 0.5,
        "forward_passes_of_time": pytest.approx(15.5),
        "n_forward": 10.0,
        "n_backward": 4.0,
    }
    assert runs.cost([]) == {}
