"""Runs that end in the middle: killed, interrupted, out of room, two at a time. What is resumed is what it would have
been."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile

from speechxai.cli import main
from speechxai.evaluation.runs import RunFolder
from speechxai.testing import noise_recording, tiny_bundle
from tests.unit.test_runs import make

TABLES = ("scores.csv", "scores.parquet", "summary.csv", "agreement.csv", "failures.csv")
ROOT = Path(__file__).resolve().parents[2]
WORDS = ["-r", "saliency", "-r", "guided_backprop", "-m", "published", "--maps", "--pictures", "0"]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Twelve recordings of noise and a tiny bundle, as words of the command line."""
    root = tmp_path_factory.mktemp("crashes")
    tiny_bundle(root / "tiny")
    for index in range(12):
        folder = root / "voices" / ("PD" if index % 2 else "HC") / f"s{index}"
        folder.mkdir(parents=True)
        waveform = noise_recording(f"n{index}", 1.5, seed=index).waveform
        soundfile.write(folder / f"take{index}.wav", waveform.numpy(), 8_000)
    return ["--data", str(root / "voices"), "--model", str(root / "tiny"), *WORDS]


def begin(*words: object, before: Callable[[], None] | None = None) -> subprocess.Popen[str]:
    """Start the command in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "speechxai.cli", "evaluate", *map(str, words)],
        process_group=0,
        preexec_fn=before,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def whole(inputs: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happened to."""
    out = tmp_path_factory.mktemp("whole") / "run"
    with pytest.raises(SystemExit) as ended, warnings.catch_warnings():
        main(["evaluate", *inputs, "--out", str(out)])
    assert not ended.value.code
    return out


def resume_here(out: Path) -> None:
    """Continue a run in this process, where everything is imported already."""
    with pytest.raises(SystemExit) as ended, warnings.catch_warnings():
        main(["evaluate", "--resume", str(out)])
    assert not ended.value.code


def tables(path: Path) -> dict[str, bytes]:
    return {name: (path / name).read_bytes() for name in TABLES}


def opened(whole: Path, to: Path, n_missing: int) -> Path:
    """Copy a finished run and take away its tables and some units: as if it had stopped there."""
    folder = Path(shutil.copytree(whole, to / "run"))
    for name in TABLES:
        (folder / name).unlink()
    for path in sorted((folder / "units").glob("*.json"))[-n_missing:]:
        path.unlink()
    return folder


def wait_until(what: Callable[[], bool], patience_s: float = 120.0) -> None:
    deadline = time.monotonic() + patience_s
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def n_units(folder: Path) -> int:
    return len([name for name in os.listdir(folder / "units") if name.endswith(".json") and name[0] != "."])


def test_a_kill_costs_the_unit_in_flight(inputs: list[str], whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = begin(*inputs, "--out", out)
    wait_until(lambda: (out / "units").is_dir() and n_units(out) >= 3)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    before = {path: path.stat().st_mtime_ns for path in (out / "units").glob("*.json")}
    assert 3 <= len(before) < 12
    assert not (out / "scores.csv").exists()
    resume_here(out)
    assert tables(out) == tables(whole)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_ctrl_c_ends_with_the_way_on(whole: Path, tmp_path: Path) -> None:
    out = opened(whole, tmp_path, 8)
    process = begin("--resume", out)
    wait_until(lambda: n_units(out) >= 5)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.endswith(f"Stopped. What is done is kept. Continue with: speechxai evaluate --resume {out}\n")
    assert "Traceback" not in errors
    assert n_units(out) < 12
    resume_here(out)
    assert tables(out) == tables(whole)


PARENT = """
import sys
import threading
from speechxai.evaluation.executors import Order, run_units
from speechxai.cli import main
from speechxai.evaluation.runs import RunFolder
from tests.unit.executor_work import hold_long
if __name__ == "__main__":
    folder = RunFolder.open(sys.argv[1])
    run_units(folder, Order(str(folder.path), {}, 2), sys.argv[2], hold_long)
"""


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("executor", ["joblib", "dask"])
def test_workers_never_outlive_their_parent(executor: str, sign: signal.Signals, tmp_path: Path) -> None:
    if executor == "dask":
        pytest.importorskip("distributed", reason="needs the extra 'cluster'")
    folder = make(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(folder.path), executor],
        process_group=0,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: len(list(folder.path.glob("pid-*"))) == 2)
    assert folder.status().n_running == 2
    workers = [int(path.name.removeprefix("pid-")) for path in folder.path.glob("pid-*")]
    if sign == signal.SIGINT:
        os.killpg(process.pid, sign)  # as Ctrl-C in a terminal: everyone gets it
    else:
        os.kill(process.pid, sign)
    _, errors = process.communicate(timeout=60)
    wait_until(lambda: not any(alive(worker) for worker in workers), 20)
    assert folder.status().n_running == 0
    if sign == signal.SIGINT:
        assert errors.count("KeyboardInterrupt") == 1, errors


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return sys.platform != "linux"


def test_two_processes_on_one_folder_share_the_work(whole: Path, tmp_path: Path) -> None:
    out = opened(whole, tmp_path, 10)
    process = begin("--resume", out)
    wait_until(lambda: n_units(out) >= 3)
    # On a crowded machine it would have done all before we join: it rests until we have done one.
    process.send_signal(signal.SIGSTOP)
    before = n_units(out)

    def wake() -> None:
        try:
            wait_until(lambda: n_units(out) > before)
        finally:
            process.send_signal(signal.SIGCONT)

    waking = threading.Thread(target=wake)
    waking.start()
    resume_here(out)
    waking.join()
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert tables(out) == tables(whole)
    run = RunFolder.open(out)
    assert run.status().n_done == 12
    assert len(run.environment["sessions"]) == 3
    assert not list(out.rglob("*.tmp"))
    assert not list(out.rglob("*.lock"))


def test_a_full_disk_ends_the_run_with_one_line_and_the_rest_resumes(whole: Path, tmp_path: Path) -> None:
    out = opened(whole, tmp_path, 2)

    def little_room() -> None:
        # No file may grow beyond 1 kB: every write of a unit fails as it does on a full disk.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))

    process = begin("--resume", out, before=little_room)
    _, errors = process.communicate()
    assert process.returncode == 2
    assert (
        f"Error: {out}: cannot write: File too large. Make room or choose a writable folder with --out; a run" in errors
    )
    assert "Traceback" not in errors
    assert n_units(out) == 10
    resume_here(out)
    assert tables(out) == tables(whole)
