"""Starting up: help answers at once, and importing the library costs little beyond PyTorch itself.

Processor time of child processes, since wall time on a busy machine says little.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

HELP = "from speechxai.cli import main; main(['--help'])"
HEAVY = (
    "torch",
    "torchaudio",
    "pandas",
    "numpy",
    "scipy",
    "sklearn",
    "matplotlib",
    "librosa",
    "captum",
    "quantus",
    "zarr",
    "pydantic",
)


def child(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)


def processor_seconds(code: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    child(code)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_answers_within_half_a_second() -> None:
    assert median(processor_seconds(HELP) for _ in range(5)) < 0.5


def test_importing_the_package_costs_next_to_nothing() -> None:
    empty = median(processor_seconds("pass") for _ in range(5))
    assert median(processor_seconds("import speechxai") for _ in range(5)) - empty < 0.3


@pytest.mark.parametrize("code", [HELP.replace("main(['--help'])", "pass"), "import speechxai"])
def test_nothing_heavy_is_loaded_before_it_is_needed(code: str) -> None:
    found = child(f"import sys; {code}; print(sorted(set({HEAVY!r}) & set(sys.modules)))").stdout
    assert found.strip() == "[]"


def test_the_rooms_of_the_main_job_add_little_to_torch() -> None:
    code = (
        "import sys, time, torch; start = time.process_time(); "
        "import speechxai.classifiers, speechxai.explain, speechxai.evaluation.unit; "
        "print(time.process_time() - start, [n for n in ('scipy.signal', 'scipy.stats', 'scipy.ndimage', 'sklearn', "
        "'librosa', 'captum', 'quantus', 'matplotlib', 'zarr', 'pandas', 'torchaudio') if n in sys.modules])"
    )
    lines = [child(code).stdout.split(maxsplit=1) for _ in range(2)]
    assert {loaded.strip() for _, loaded in lines} == {"[]"}
    # 0.2 to 0.4 s, of which torch.nn's parts are most; scipy.signal alone would take 2 s.
    assert min(float(seconds) for seconds, _ in lines) < 1.0


MEASURED = """
import atexit, re, sys
from pathlib import Path
from speechxai.cli import main
status = Path("/proc/self/status")
peak_kb = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1]) if status.is_file() else 0
atexit.register(lambda: print("\\n", "torch" in sys.modules, peak_kb() // 1024))
main({words!r})"""


def loaded_and_megabytes(words: list[str]) -> tuple[str, int]:
    loaded, megabytes = child(MEASURED.format(words=words)).stdout.splitlines()[-1].split()
    return loaded, int(megabytes)


def test_a_manifest_is_made_without_a_network(tmp_path: Path) -> None:
    """Commands that only read tables need no PyTorch: a fifth of the memory, and the first line at once."""
    for name in ("HC", "PD"):
        (tmp_path / f"{name}.wav").touch()
    (tmp_path / "labels.csv").write_text("file,label,speaker\nHC.wav,HC,a\nPD.wav,PD,b\n")
    words = [
        "data",
        "import",
        str(tmp_path),
        "--labels",
        str(tmp_path / "labels.csv"),
        "--out",
        str(tmp_path / "m.csv"),
    ]
    loaded, megabytes = loaded_and_megabytes(words)
    assert loaded == "False"
    assert megabytes < 200


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "first"
    words = "evaluate --data synthetic --limit 2 --model synthetic-cnn -r saliency -m published"
    child(f"from speechxai.cli import main; main({[*words.split(), '--pictures', '0', '--out', str(out)]!r})")
    return out


@pytest.mark.parametrize("format", ["latex", "markdown", "csv", "json", "methods", "tidy"])
def test_a_table_of_a_finished_run_needs_no_network(format: str, run: Path) -> None:
    loaded, megabytes = loaded_and_megabytes(["report", str(run), "--format", format])
    assert loaded == "False"
    assert megabytes < 190
