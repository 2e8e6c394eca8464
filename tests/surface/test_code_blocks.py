"""Code of README and documents: every name in it is imported there, every import is there, every command and flag
exists, what is short runs as it stands, and of the rest it is said why it does not."""

from __future__ import annotations

import ast
import builtins
import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer

from speechxai.cli import app
from speechxai.signal.audio import write
from speechxai.testing import noise_recording

ROOT = Path(__file__).resolve().parents[2]
GIVEN = {"docs/units.md": {"recordings"}}
"""Names that a document says the reader has."""


def blocks() -> Iterator[tuple[str, str]]:
    """Python blocks of README and documents, each with its file."""
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for text in re.findall(r"^```python\n(.*?)^```", path.read_text("utf-8"), re.S | re.M):
            yield str(path.relative_to(ROOT)), text


BLOCKS = list(blocks())


def free_names(text: str) -> set[str]:
    """Names that a block reads and neither makes nor imports."""
    nodes = list(ast.walk(ast.parse(text)))
    names = [node for node in nodes if isinstance(node, ast.Name)]
    made = {node.id for node in names if not isinstance(node.ctx, ast.Load)}
    made |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    made |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            made |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    return {node.id for node in names if isinstance(node.ctx, ast.Load)} - made - {*dir(builtins), "__file__"}


def test_a_missing_import_is_seen() -> None:
    assert free_names("scores = pandas.read_parquet(glob('x')[0])") == {"pandas", "glob"}
    assert free_names("import pandas\nprint([x for x in pandas.DataFrame()])") == set()


@pytest.mark.parametrize("file", sorted({file for file, _ in BLOCKS}))
def test_every_name_is_made_or_imported_and_every_import_is_there(file: str) -> None:
    known = set(GIVEN.get(file, ()))
    for _, text in (block for block in BLOCKS if block[0] == file):
        assert free_names(text) <= known, text
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                known.add(node.name)
            elif isinstance(node, ast.Name):
                known.add(node.id)  # a later block of the same page may go on with it
            elif isinstance(node, ast.Import):
                known |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                module = importlib.import_module(str(node.module))
                known |= {alias.asname or alias.name for alias in node.names}
                for alias in node.names:
                    if not hasattr(module, alias.name):
                        importlib.import_module(f"{node.module}.{alias.name}")


def block_of(file: str, word: str) -> str:
    return next(text for name, text in BLOCKS if name == file and word in text)


def test_the_snippet_on_scaling_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for part, speakers in (("part-0", "abc"), ("part-1", "def")):
        (tmp_path / "runs" / part).mkdir(parents=True)
        rows = [
            {"recording": f"{s}1", "speaker": s, "label": 0, "predicted": 0, "model": "m", "recipe": recipe, "value": v}
            for s in speakers
            for recipe, v in (("saliency", 0.5), ("energy_map", 0.25), ("rise", 0.0))
        ]
        pd.DataFrame(rows).assign(metric="faithfulness").to_parquet(tmp_path / "runs" / part / "scores.parquet")
    made: dict[str, pd.DataFrame] = {}
    exec(block_of("docs/scaling.md", "summarize"), made)
    table = made["table"].set_index("recipe")
    assert table.loc["saliency", ["mean", "n_speakers", "vs_energy_map"]].tolist() == [0.5, 6, 0.25]


def test_the_readmes_snippet_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "voice.wav", noise_recording().waveform, 16_000)
    made: dict[str, object] = {}
    exec(block_of("README.md", "inspect"), made)
    assert "case" in made


# Commands
PROGRAM = re.compile(r"(?:^|[\\/ ])speechxai (?!\.$)(.*)")


def commands() -> Iterator[tuple[str, str]]:
    """Every line of a block that calls the program, without what is said of it behind, each with its file."""
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for kind, text in re.findall(r"^```(\w*)\n(.*?)^```", path.read_text("utf-8"), re.S | re.M):
            for line in text.splitlines() if kind in ("", "bash", "sh") else ():
                if found := PROGRAM.search(re.split(r"\s{2,}|\s#|;\s*done", line.strip())[0]):
                    yield str(path.relative_to(ROOT)), f"speechxai {found[1]}"


COMMANDS = list(dict.fromkeys(commands()))


def problem(line: str) -> str:
    """Why a command line is none, as the program itself would say; "" where it is one."""
    command: Any = typer.main.get_command(app)
    words = shlex.split(line)[1:]
    try:
        while hasattr(command, "commands"):
            if not words or words[0] not in command.commands:
                return f"no command '{' '.join(words[:1])}'"
            command = command.commands[words.pop(0)]
        context = command.context_class(command, info_name="speechxai")
        given, rest, _ = command.make_parser(context).parse_args(list(words))
        for param in command.get_params(context):
            if param.name == "imports":
                continue  # it would import the reader's module
            _, rest = param.handle_parse_result(context, given, rest)
    except Exception as error:  # of the parser that typer brings
        return f"{type(error).__name__}: {error}"
    return f"left over: {rest}" if rest else ""


@pytest.mark.parametrize(("file", "line"), COMMANDS, ids=[f"{file}-{line[10:50]}" for file, line in COMMANDS])
def test_every_command_and_flag_of_a_document_exists(file: str, line: str) -> None:
    assert not problem(line), f"{file}: {line}"


def test_a_command_or_flag_that_is_not_there_is_seen() -> None:
    for line in ("speechxai demo --nonsense", "speechxai dmeo", "speechxai train", "speechxai data chek x"):
        assert problem(line), line
    assert len(COMMANDS) > 60


# What runs, in this order and in one process, and why the others do not.
RUNS = {
    "docs/tutorials/researcher.md": (
        "speechxai demo --voices voices --speakers 16 --recordings 48",
        "speechxai data import voices --labels voices/labels.csv --out manifest.csv",
        "speechxai data check manifest.csv",
        "speechxai data audit manifest.csv --out audit",
        "speechxai report runs/first --format latex",
        "speechxai report runs/first --format latex --columns comprehensiveness@10",
    ),
    "docs/tutorials/engineer.md": (
        "speechxai predict voices/s002_vowel-a.wav --model my_net:make --allow-code",
        "speechxai explain voices/s002_vowel-a.wav --model my_net:make --allow-code --recipe saliency --out why",
        "speechxai doctor synthetic-cnn",
        "speechxai explain voices/s002_vowel-a.wav --model synthetic-cnn --import my_methods --recipe power_gradient"
        " --out mine",
    ),
    "docs/readers.md": ("speechxai study new study.toml",),
    "README.md": (
        'speechxai explain voice.wav --model figshare-cnn --recipe "union(saliency, integrated_gradients)" --out'
        " voice-explained",
    ),
}
SMALL = (
    "speechxai evaluate --data manifest.csv --model synthetic-cnn --task vowel-a --recipe saliency --metrics published"
    " --metrics comprehensiveness@10 --limit 4 --pictures 0 --no-agreement --out runs/first"
)
"""Stands for the tutorial's evaluation, which takes 24 s of one processor, before its reports are asked for."""
NOT_RUN = {
    r"--data (figshare-voice|librispeech|mdvr-kcl|voices)|(train|check|audit) (figshare-voice|mdvr-kcl)": (
        "recordings of others, or a folder of the reader's own"
    ),
    r"speechxai app\b": "starts a server",
    r"speechxai demo$": "a minute; `make demo` is a step of every run of the tests",
    r"benchmark --(quick|out|network|resume|target)": "minutes to hours",
    r"train (synthetic|manifest)|auxiliary runs/": "17 to 30 s, or hours; trainings have tests of their own",
    r"--model models/updrs": "goes on from a training on recordings of others",
    r"evaluate --data manifest.csv --model synthetic-cnn": "24 s; a smaller one stands for it here",
    r"evaluate --config study.toml": "a study of the reader's own, on a cluster",
    r"(report|reproduce) runs/first( --format latex)?$": "goes on from a run on recordings of others",
    r"speechxai whatif": "12 s; what-ifs have tests of their own",
    r"--textgrids|speechxai align": "needs the reader's transcripts or an extra; units have tests of their own",
    r"study (check|report) study.toml": "minutes, or answers of readers",
    r"explain /voices/voice.wav": "in a container",
    r"models/mine|models/site-a": "a model of the reader's own; what is inside it has tests of its own",
}
"""Why commands do not run here, by what is in them."""

DRIVE = """
import contextlib, io, json, shlex, sys, time
from pathlib import Path
import torch
from speechxai.cli import main
from speechxai.data.synthetic import corpus
from speechxai.signal.audio import resample, write

asked = json.loads(Path("asked.json").read_text())
one = corpus(4, 3, tasks=("vowel-a",))[0]  # over the telephone: what figshare-cnn was made for
write("voice.wav", torch.from_numpy(resample(one.waveform.numpy(), one.sample_rate, 8000).astype("float32")), 8000)
done = {}
for line in asked["commands"]:
    began, said = time.process_time(), io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            main(shlex.split(line)[1:])
        status = 0
    except SystemExit as end:
        status = end.code or 0
    done[line] = [status, time.process_time() - began, said.getvalue()[-2000:]]
for name, blocks in asked["python"].items():
    began = time.process_time()
    try:
        made = {"__name__": "block", "__file__": str(Path("block.py").absolute())}
        for block in blocks:
            exec(compile(block, name, "exec"), made)
        done[name] = [0, time.process_time() - began, ""]
    except Exception as error:
        done[name] = [1, time.process_time() - began, f"{type(error).__name__}: {error}"]
Path("done.json").write_text(json.dumps(done))
"""
PYTHON_RUNS = ("docs/audit.md", "docs/extend.md", "docs/tutorials/engineer.md")
PYTHON_NOT_RUN = {
    "docs/benchmark.md": "a whole benchmark: hours",
    "docs/units.md": "goes on from recordings and TextGrids of the reader",
    "docs/scaling.md": "runs below, on tables of its own",
    "README.md": "runs below, on a voice of its own",
}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Status, seconds of processor time and last words of everything that runs, in one folder and one process."""
    place = tmp_path_factory.mktemp("blocks")
    engineer = [text for file, text in BLOCKS if file == "docs/tutorials/engineer.md"]
    (place / "my_net.py").write_text(engineer[0])
    (place / "my_methods.py").write_text(engineer[1])
    [card] = [
        text
        for text in re.findall(r"^```toml\n(.*?)^```", (ROOT / "docs/extend.md").read_text("utf-8"), re.S | re.M)
        if "patterns" in text
    ]
    (place / "outside-set.toml").write_text(card)
    lines = [line for file in RUNS for line in RUNS[file]]
    at = lines.index("speechxai report runs/first --format latex")
    python = {file: [text for name, text in BLOCKS if name == file] for file in PYTHON_RUNS}
    python["docs/tutorials/engineer.md"] = engineer[2:]
    asked = {"commands": [*lines[:at], SMALL, *lines[at:]], "python": python}
    (place / "asked.json").write_text(json.dumps(asked))
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    words = [sys.executable, "-c", DRIVE]
    ended = subprocess.run(words, cwd=place, env=environment, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stderr[-3000:]
    ran: dict[str, Any] = json.loads((place / "done.json").read_text())
    return ran


def test_what_is_short_runs_as_it_stands(done: dict[str, Any]) -> None:
    wrong = {name: [status, said] for name, (status, _, said) in done.items() if status}
    assert not wrong
    assert sum(seconds for _, seconds, _ in done.values()) < 60


def test_of_every_other_block_it_is_said_why_it_does_not_run() -> None:
    """Each command either runs here or is named by one reason; no reason names nothing."""
    used = set()
    for file, line in COMMANDS:
        if line in RUNS.get(file, ()):
            continue
        reasons = [pattern for pattern in NOT_RUN if re.search(pattern, line)]
        assert reasons, f"{file}: {line} neither runs here nor is it said why"
        used.update(reasons)
    assert used == set(NOT_RUN)
    for file, lines in RUNS.items():
        for line in lines:
            assert (file, line) in COMMANDS, f"{file} no longer has {line}"
    assert {file for file, _ in BLOCKS} == {*PYTHON_RUNS, *PYTHON_NOT_RUN}
    assert not {*PYTHON_RUNS} & {*PYTHON_NOT_RUN}
