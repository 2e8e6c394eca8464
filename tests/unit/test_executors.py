"""Several processes compute one run: the same table as one alone, whatever happens to a worker."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from speechxai.errors import SpeechXAIError
from speechxai.evaluation import executors
from speechxai.evaluation.config import ClusterConfig, EvaluateConfig, from_dict
from speechxai.evaluation.executors import (
    EXECUTORS,
    LOST_IN_A_ROW,
    MAX_ATTEMPTS,
    Ledger,
    Order,
    Task,
    UnitRecord,
    check_executor,
    compute_unit,
    evaluate,
    execute,
    order_of,
    own_device,
    run_units,
)
from speechxai.evaluation.machine import thread_environment
from speechxai.evaluation.runs import RunFolder, finish
from speechxai.evaluation.session import create_run, prepare
from speechxai.evaluation.values import Progress
from speechxai.files import hold
from speechxai.testing import noise_recording, tiny_bundle
from tests.unit.executor_work import always_busy, deadly, full_disk, grow, tame, wait_to_be_killed
from tests.unit.test_runs import make

TABLES = ("scores.csv", "scores.parquet", "summary.csv", "agreement.csv", "failures.csv")
SEVERAL = ["joblib", pytest.param("dask", marks=pytest.mark.filterwarnings("ignore::ResourceWarning"))]


@pytest.fixture(autouse=True)
def _dask_is_there(request: pytest.FixtureRequest) -> None:
    if getattr(request.node, "callspec", None) and "dask" in request.node.callspec.params.values():
        for module in ("distributed", "dask_jobqueue"):
            pytest.importorskip(module, reason="needs the extra 'cluster'")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> EvaluateConfig:
    """Six recordings of noise, one of them broken, and a tiny bundle; one thread, as the workers have."""
    root = tmp_path_factory.mktemp("executors")
    tiny_bundle(root / "tiny")
    for index in range(6):
        folder = root / "voices" / ("PD" if index % 2 else "HC") / f"s{index}"
        folder.mkdir(parents=True)
        recording = noise_recording(f"n{index}", 0.5 + 0.05 * index, seed=index)
        samples = recording.waveform.numpy().copy()
        if index == 4:
            samples[10] = np.nan
        soundfile.write(folder / f"take{index}.wav", samples, 8_000, subtype="FLOAT")
    content = {"data": str(root / "voices"), "model": str(root / "tiny"), "pictures": 0}
    content |= {"recipes": ["saliency", "union(saliency, guided_backprop)"], "metrics": ["published"], "maps": True}
    return from_dict(content, "test")


@pytest.fixture(scope="module")
def serial_tables(config: EvaluateConfig, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    session = prepare(config.model_copy(update={"out": tmp_path_factory.mktemp("serial") / "run"}))
    folder = create_run(session)
    execute(session, folder)
    return tables(folder.path)


def tables(path: Path) -> dict[str, bytes]:
    return {name: (path / name).read_bytes() for name in TABLES}


def test_one_call_evaluates_and_another_continues(
    config: EvaluateConfig, serial_tables: dict[str, bytes], tmp_path: Path
) -> None:
    run = evaluate(config.model_copy(update={"out": tmp_path / "run"}))
    assert tables(run.path) == serial_tables
    next((run.path / "units").glob("*.json")).unlink()
    steps: list[Progress] = []
    assert evaluate(RunFolder.open(run.path), steps.append).path == run.path
    assert tables(run.path) == serial_tables
    assert sorted(step.state for step in steps) == ["done", "failed", *["skipped"] * 4]


@pytest.mark.parametrize("executor", SEVERAL)
def test_a_worker_killed_with_a_recording_in_its_hands_costs_that_recording_alone(
    executor: str, config: EvaluateConfig, serial_tables: dict[str, bytes], tmp_path: Path
) -> None:
    session = prepare(config.model_copy(update={"out": tmp_path / "run", "executor": executor, "workers": 2}))
    folder, note, killed = create_run(session), tmp_path / "who", []

    def kill() -> None:
        deadline = time.monotonic() + 240
        while not note.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        killed.append(int(note.read_text()))
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    steps: list[Progress] = []
    cost = run_units(folder, order_of(session.config, folder.path), executor, wait_to_be_killed, steps.append)
    killer.join()
    finish(folder)
    assert tables(folder.path) == serial_tables
    assert cost["n_lost_workers"] == 1
    assert (
        str(killed[0]) not in {name.rpartition(":")[2] for name in cost["workers"] if name} or len(cost["workers"]) > 1
    )
    assert [step.n_done for step in steps] == [1, 2, 3, 4, 5, 6]
    assert sorted(step.state for step in steps) == ["done"] * 5 + ["failed"]
    assert not list(folder.path.glob("maps.zarr/.*tmp"))
    assert folder.maps(folder.recordings[1], "saliency").ndim == 2


def test_workers_that_are_slow_to_end_cost_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed")
    real, closed = distributed.LocalCluster.close, []

    def slow(self: Any, timeout: Any = None) -> None:
        real(self, timeout)
        if not closed:
            closed.append(self)
            raise TimeoutError

    monkeypatch.setattr(distributed.LocalCluster, "close", slow)
    folder = make(tmp_path)
    run_units(folder, Order(str(folder.path), {}, 1), "dask", tame)
    assert folder.done_units() == ["a", "b/1", "c"]
    assert len(closed) == 1


@pytest.mark.parametrize("executor", SEVERAL)
def test_a_recording_that_always_kills_its_worker_is_listed_and_the_others_are_done(
    executor: str, tmp_path: Path
) -> None:
    folder = make(tmp_path)
    steps: list[Progress] = []
    cost = run_units(folder, Order(str(folder.path), {}, 2), executor, deadly, steps.append)
    assert folder.done_units() == ["a", "c"]
    (failure,) = folder.failures().query("kind == 'failure'").to_dict("records")
    assert (failure["recording"], failure["stage"]) == ("b/1", "worker")
    assert failure["message"].startswith("b/1: the worker process ended 3 times while it computed this recording")
    assert cost["n_lost_workers"] == MAX_ATTEMPTS == 3
    assert {step.recording: step.state for step in steps} == {"a": "done", "b/1": "failed", "c": "done"}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_task_that_the_scheduler_forgets_is_given_out_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given to a worker that is not there, a task waits for ever beside two that have nothing to do."""
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(executors, "LOOK_S", 1.0)
    submit, forgotten = distributed.Client.submit, []

    def forgetful(client: Any, *given: Any, **options: Any) -> Any:
        if not forgotten:
            forgotten.append(options["key"])
            options |= {"workers": ["127.0.0.1:1"], "allow_other_workers": False}
        return submit(client, *given, **options)

    monkeypatch.setattr(distributed.Client, "submit", forgetful)
    folder = make(tmp_path)
    cost = run_units(folder, Order(str(folder.path), {}, 2), "dask", tame, lambda step: None)
    assert folder.done_units() == ["a", "b/1", "c"]
    assert cost["n_lost_workers"] == len(forgotten) == 1


@pytest.mark.parametrize("executor", SEVERAL)
def test_an_error_of_the_folder_ends_the_run_with_its_message_and_no_process_stays(
    executor: str, tmp_path: Path
) -> None:
    psutil = pytest.importorskip("psutil")
    folder = make(tmp_path)
    with pytest.raises(SpeechXAIError, match="cannot write: No space left on device"):
        run_units(folder, Order(str(folder.path), {}, 2), executor, full_disk)
    deadline = time.monotonic() + 120  # a process that just begins ends late where ten others want the two cores
    while (left := workers_of(psutil.Process())) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left


def workers_of(process: Any) -> list[Any]:
    """Child processes that are workers (each kind keeps a small tracker of resources beside)."""
    found = []
    for child in process.children(recursive=True):
        try:
            words = " ".join(child.cmdline())
        except Exception:  # it ended meanwhile
            continue
        if ("spawn_main" in words or "loky.backend.popen_loky" in words) and child.status() != "zombie":
            found.append(child)
    return found


def test_a_worker_that_grows_keeps_its_models() -> None:
    records = list(EXECUTORS["joblib"](Order("", {}, 1), Ledger(["a", "b", "c"]), grow))
    assert len({record.worker for record in records}) == 1
    assert len(records) == 3


def test_a_recording_in_other_hands_is_asked_for_once_more_at_the_end() -> None:
    ledger = Ledger(["a", "b"])
    assert ledger.take() == Task("a")
    assert list(ledger.settle(Task("a"), UnitRecord("a", "busy"))) == []
    assert [ledger.take(), ledger.take(), ledger.take()] == [Task("b"), Task("a", 2), None]
    (record,) = ledger.settle(Task("a", 2), UnitRecord("a", "busy"))
    assert record.state == "busy"
    found = list(EXECUTORS["serial"](Order("", {}), Ledger(["a", "b"]), always_busy))
    assert [(record.recording, record.seconds) for record in found] == [("a", 2.0), ("b", 2.0)]


def test_a_lock_that_is_let_go_is_waited_for(config: EvaluateConfig, tmp_path: Path) -> None:
    session = prepare(config.model_copy(update={"out": tmp_path / "run", "limit": 1}))
    folder = create_run(session)
    (recording,) = folder.recordings
    order = order_of(session.config, folder.path)
    free = threading.Event()

    def other() -> None:
        with RunFolder.open(folder.path).claim(recording):
            free.set()
            time.sleep(0.5)

    thread = threading.Thread(target=other)
    thread.start()
    free.wait()
    assert executors.compute_in(session, folder, order, Task(recording)).state == "busy"
    record = executors.compute_in(session, folder, order, Task(recording, 2))
    thread.join()
    assert record.state == "done"
    assert record.seconds > 0.1
    assert executors.compute_in(session, folder, order, Task(recording)).state == "skipped"


def test_workers_that_all_die_end_the_run() -> None:
    ledger = Ledger([str(number) for number in range(100)])
    for _ in range(LOST_IN_A_ROW):
        task = ledger.take()
        assert task is not None
        list(ledger.lose(task))
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^13 workers ended one after the other and no recording was finished: is the memory enough "
            r"for so many\? Try fewer with --workers, or --executor serial to see the error\. The run "
            r"continues with --resume\.$"
        ),
    ):
        list(ledger.lose(Task("z")))


def test_an_order_holds_for_a_worker_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "voices").mkdir()
    monkeypatch.chdir(tmp_path)
    asked = from_dict(
        {"data": "voices", "model": "figshare-cnn", "root": "x", "out": "run", "executor": "joblib", "workers": 3},
        "test",
    )
    monkeypatch.setattr("speechxai.evaluation.executors.n_cores", lambda: 8)
    order = order_of(asked, Path("run"))
    assert (order.run, order.n_workers, order.n_threads) == (str(tmp_path / "run"), 3, 2)
    assert order.config["data"] == str(tmp_path / "voices")
    assert order.config["root"] == str(tmp_path / "x")
    assert order.config["model"] == "figshare-cnn"
    assert order.config["executor"] == "serial"
    assert order.folders == ()
    plugged = asked.model_copy(update={"imports": ("my_methods",)})
    assert order_of(plugged, Path("run")).folders == (str(tmp_path),)
    assert thread_environment(2)["OMP_NUM_THREADS"] == "2"
    slurm = order_of(asked.model_copy(update={"executor": "dask", "scheduler": "slurm"}), Path("run"))
    assert slurm.n_threads == slurm.cluster["cores"] == 1


def test_a_worker_of_another_version_or_without_the_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"/nowhere: the worker on vm does not see the run folder\. All workers need the same files "
            r"under the same paths: choose a shared folder with --out\.$"
        ),
    ):
        compute_unit(Order(str(tmp_path / "nowhere"), {}), Task("a"))
    with pytest.raises(
        SpeechXAIError, match=(r"^The worker on vm has speechxai .*, the run is made by 0\.0\.0: install the same\.$")
    ):
        compute_unit(Order(str(tmp_path), {}, version="0.0.0"), Task("a"))


def test_each_worker_takes_a_gpu_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def fresh() -> Iterator[str]:
        from contextlib import ExitStack

        while True:
            with ExitStack() as life:
                monkeypatch.setattr(executors, "_own", [])
                monkeypatch.setattr(executors, "_for_life", life)
                yield own_device("auto", 2, tmp_path)

    with hold(tmp_path / "gpu-0.lock"):
        assert next(fresh()) == "cuda:1"
    assert next(fresh()) == "cuda:0"
    with hold(tmp_path / "gpu-0.lock"), hold(tmp_path / "gpu-1.lock"):
        assert next(fresh()) in ("cuda:0", "cuda:1")
    assert own_device("auto", 1) == "auto"
    assert own_device("cpu", 4) == "cpu"
    assert own_device("cuda:3", 4) == "cuda:3"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6,7")
    with hold(tmp_path / "gpu-6.lock"):
        assert next(fresh()) == "cuda:1"


def test_what_cannot_be_had_is_said_before_the_run_begins(
    config: EvaluateConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SpeechXAIError, match=r"^The scheduler 'slurm' needs --executor dask\.$"):
        check_executor(config.model_copy(update={"scheduler": "slurm"}))
    with pytest.raises(
        SpeechXAIError, match=(r"^2 workers need --executor joblib or dask; 'serial' is this process alone\.$")
    ):
        check_executor(config.model_copy(update={"workers": 2}))
    find = executors.importlib.util.find_spec
    monkeypatch.setattr(
        executors.importlib.util, "find_spec", lambda name: None if name == "dask_jobqueue" else find(name)
    )
    with pytest.raises(SpeechXAIError) as caught:
        check_executor(config.model_copy(update={"executor": "dask"}))
    assert str(caught.value) == "The executor 'dask' needs the extra 'cluster': pip install 'speechxai[cluster]'."


def test_a_scheduler_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="needs the extra 'cluster'")
    monkeypatch.setattr(executors, "CONNECT_S", 0.5)
    folder = make(tmp_path)
    order = Order(str(folder.path), {}, scheduler="tcp://127.0.0.1:9")
    with pytest.raises(SpeechXAIError, match=r"^tcp://.*: no dask scheduler with workers answers: .*$"):
        run_units(folder, order, "dask", deadly)
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^tls://.*: no dask scheduler with workers answers: tls://.*: needs the keys tls_ca_file, "
            r"tls_cert and tls_key in the table \[cluster\] of the configuration\.$"
        ),
    ):
        run_units(folder, replace(order, scheduler="tls://127.0.0.1:9"), "dask", deadly)


def fake_slurm(folder: Path) -> None:
    """Write sbatch and scancel that run a job script on this machine at once, and end it."""
    (folder / "sbatch").write_text(
        # The number is its own: two may be asked for at once.
        '#!/bin/bash\nset -m; mkdir -p "$0".jobs; cp "${!#}" "$0".jobs/$$\n'
        'bash "$0".jobs/$$ >/dev/null 2>&1 & echo $! > "$0".$$.pid\necho "Submitted batch job $$"\n'
    )
    (folder / "scancel").write_text(
        '#!/bin/bash\nkill -9 -- -$(cat "$(dirname "$0")"/sbatch.$1.pid) 2>/dev/null; true\n'
    )
    for name in ("sbatch", "scancel"):
        (folder / name).chmod(0o755)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_workers_in_jobs_of_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A stand-in for the batch system runs the very scripts that Slurm would get.
    pytest.importorskip("dask_jobqueue", reason="needs the extra 'cluster'")
    (tmp_path / "bin").mkdir()
    fake_slurm(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    folder = make(tmp_path)
    asked = ClusterConfig(cores=4, memory="6GB", walltime="02:00:00", gpus=1, queue="long", interface="lo")
    order = Order(str(folder.path), {}, 2, 4, "slurm", asked.model_dump(mode="json"))
    cost = run_units(folder, order, "dask", deadly)
    assert folder.done_units() == ["a", "c"]
    assert [failure["stage"] for failure in folder.failed()] == ["worker"]
    assert cost["n_lost_workers"] == 3
    scripts = sorted((tmp_path / "bin" / "sbatch.jobs").iterdir())
    assert len(scripts) >= 2
    script = scripts[0].read_text()
    for line in ("-p long", "--cpus-per-task=4", "--mem=6G", "-t 02:00:00", "--gres=gpu:1"):
        assert f"#SBATCH {line}\n" in script
    assert "export OMP_NUM_THREADS=4\n" in script
    assert "--nthreads 1 " in script
    assert "--no-dashboard" in script
    assert "tls://127.0.0.1:" in script
    assert "--tls-key " in script
    assert not list((folder.path / "cluster").glob(".*.pem")), "keys stay behind"
    assert (folder.path / "cluster").stat().st_mode & 0o077 == 0


def test_what_killed_workers_left_is_cleared(tmp_path: Path) -> None:
    mine, gone, young = (tmp_path / f"sem.loky-{name}-abc" for name in (os.getpid(), 2**22 + 7, 2**22 + 8))
    other = tmp_path / "sem.other"
    for path in (mine, gone, young, other):
        path.touch()
        if path != young:
            os.utime(path, (0, 0))
    executors.clear_up(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([mine, young, other])
