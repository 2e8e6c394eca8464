"""Runs beside each other, again, and given away; several models at once; flags as a file; words about the work."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import typer

from speechxai import cli
from speechxai.commands import console, listing
from speechxai.evaluation.beside import compared, reasons, side_by_side
from speechxai.evaluation.report import _facts as facts_of_run
from speechxai.evaluation.runs import RunFolder
from speechxai.testing import tiny_bundle

ASKED = "--data synthetic --limit 4 -r saliency -m published --pictures 0 --no-agreement"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models on one data set, by one command."""
    place = tmp_path_factory.mktemp("many")
    models = [str(tiny_bundle(place / name).folder) for name in ("one", "two")]
    words = [*ASKED.split(), "--model", models[0], "--model", models[1], "--out", str(place / "runs")]
    with pytest.raises(SystemExit) as ended:
        cli.main(["evaluate", *words])
    assert ended.value.code == 0
    return place / "runs"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main([str(word) for word in words])
        found = capsys.readouterr()
        return int(ended.value.code or 0), found.out, found.err

    return call


def test_every_model_has_a_run_and_all_stand_beside_each_other(many: Path, run: Run) -> None:
    places = [many / f"{name}-on-synthetic-voices" for name in ("one", "two")]
    summaries = [pd.read_csv(place / "summary.csv") for place in places]
    text = (many / "compared.csv").read_text()
    assert "AD,one,two" in text
    row = next(line for line in text.split("AD,one,two")[1].splitlines() if ",saliency," in line)
    for summary in summaries:
        mean = summary.set_index(["recipe", "metric"]).loc[("saliency", "average_drop"), "mean"]
        assert f"{100 * mean:.1f}" in row
    assert r"\begin{table" in (many / "compared.tex").read_text()
    listed = json.loads(run("runs", "list", many, "--json")[1])
    assert [(each["model"], each["done"]) for each in listed] == [("one", "4 of 4"), ("two", "4 of 4")]
    status, out, _ = run("runs", "compare", *places, "--columns", "AD", "-r", "controls")
    assert status == 0
    assert "random_map" in out
    assert "saliency" not in out
    lonely = run("runs", "compare", places[0])
    assert lonely[2] == "Error: Two runs or more can be compared: name their folders.\n"


def test_a_page_names_the_data_and_no_place_of_this_machine(many: Path) -> None:
    page = (many / "one-on-synthetic-voices" / "report.html").read_text(encoding="utf-8")
    assert str(many.parent) not in page
    assert "model = &#34;one&#34;" in page  # its settings, by name
    run = RunFolder.open(many / "one-on-synthetic-voices")
    own = SimpleNamespace(
        config={**run.config, "data": str(many / "clinic.csv")},
        environment={**run.environment, "synthetic": False},
        manifest=run.manifest.drop(columns="dataset"),
    )
    assert dict(facts_of_run(own, run.table("predictions")))["Data"] == "clinic"  # type: ignore[arg-type]


def test_data_sets_beside_each_other_say_whom_the_model_was_made_for(
    many: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    one, two = (RunFolder.open(many / f"{name}-on-synthetic-voices") for name in ("one", "two"))
    read = RunFolder.table

    def table(folder: RunFolder, name: str) -> pd.DataFrame:
        found = read(folder, name)
        if name != "predictions":
            return found
        if folder.path == one.path:  # three of four inside, one label known
            return found.assign(
                scope=["inside", "outside", "inside", "inside"], label=[*found["predicted"][:1], None, None, None]
            )
        return found.assign(scope="unknown", label=None)

    monkeypatch.setattr(RunFolder, "table", table)
    about = side_by_side([one, two])[0]
    assert about.columns[-2:] == ("right", "inside scope")
    assert [[cell.text for cell in row.cells[-2:]] for row in about.rows] == [["1 of 1", "3 of 4"], ["–", "–"]]
    assert about.note.startswith("1 of these recordings are unlike those that their model was made for")
    assert "one and two have no interval" in about.note
    status, out, _ = run("runs", "compare", many)  # the folder that holds both
    assert (status, out.count("unlike those")) == (0, 1)
    assert out.startswith("What was run\n\nrun  model")


def test_a_run_that_was_given_away_is_computed_again(many: Path, tmp_path: Path, run: Run) -> None:
    then = many / "one-on-synthetic-voices"
    shared = tmp_path / "shared"
    assert run("runs", "export", then, "--out", shared)[0] == 0
    everything = b"".join(path.read_bytes() for path in shared.rglob("*") if path.is_file())
    assert str(many.parent).encode() not in everything  # no path of this machine
    assert not [path for path in shared.rglob("*") if path.suffix in (".wav", ".png", ".html", ".zarr")]
    sums = dict(reversed(line.split("  ")) for line in (shared / "SHA256SUMS").read_text().splitlines())
    assert {"config.toml", "environment.json", "scores.parquet", "predictions.parquet"} <= set(sums)
    model = many.parent / "one"
    status, out, _ = run("reproduce", shared, "--model", model, "--out", tmp_path / "again", "--quiet")
    assert status == 0, out
    assert "The same" in out
    assert "scores: all 112 numbers agree, the largest difference is 0." in out  # 4 recordings x 4 recipes x 7 metrics


def test_what_differs_is_counted_located_and_explained(many: Path) -> None:
    one, two = (RunFolder.open(many / f"{name}-on-synthetic-voices") for name in ("one", "two"))
    tables = {name: one.table(name).copy() for name in ("scores", "summary", "predictions")}
    changed = tables["scores"]
    changed.loc[changed.index[3], "value"] += 0.25
    other = type("Other", (), {"table": staticmethod(tables.get), "environment": one.environment})
    scores, summary, answers = compared(one, other, 1e-3)  # type: ignore[arg-type]
    assert (scores.n_other, scores.largest) == (1, pytest.approx(0.25))
    assert scores.where == " / ".join(map(str, changed.loc[changed.index[3], ["recording", "recipe", "metric"]]))
    assert summary.n_other == answers.n_other == 0
    tables["scores"] = changed.drop(index=changed.index[3])  # a number that is in one of the two alone
    assert compared(one, other, 1e-3)[0].n_other == 1  # type: ignore[arg-type]
    environment = {**one.environment, "libraries": {**one.environment["libraries"], "torch": "1.0"}}
    environment["basis"] = {**environment["basis"], "versions": {**environment["basis"]["versions"], "torch": "1.0"}}
    older = type("Older", (), {"environment": environment})
    said = list(reasons(older, one))  # type: ignore[arg-type]
    assert said[0].startswith("It was computed with torch 1.0 then and")
    assert said[1].startswith("torch 1.0 then, ")
    assert list(reasons(one, one)) == []
    assert two.path.name in str(two.path)


def test_flags_become_a_file_that_says_the_same(tmp_path: Path, run: Run) -> None:
    saved = tmp_path / "study.toml"
    words = [*ASKED.split(), "--model", "synthetic-cnn"]
    assert run("evaluate", *words, "--save-config", saved)[0] == 0
    by_file = run("evaluate", "--config", saved, "--dry-run")
    by_flags = run("evaluate", *words, "--dry-run")
    assert by_file == by_flags
    assert by_file[0] == 0
    assert "passes in all" in by_file[1]
    assert run("check", *[word for word in words if word not in ("--pictures", "0", "--no-agreement")])[1].startswith(
        by_file[1].splitlines()[0]
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["study.toml"]  # nothing was computed
    twice = run("evaluate", *words, "--model", "figshare-cnn", "--save-config", tmp_path / "x.toml")
    assert twice[2] == "Error: --model is given 2 times, and --save-config takes one run at a time.\n"
    roots = run("evaluate", *words, "--root", "a", "--root", "b")
    assert roots[2] == "Error: --root is given 2 times, --data 1 times: give one root for each.\n"


@pytest.mark.parametrize("kind", ["methods", "metrics", "combinations", "backbones", "presets", "configs"])
def test_lists_are_json_too(kind: str, run: Run) -> None:
    rows = json.loads(run("list", kind, "--json")[1])
    text = run("list", kind)[1]
    assert rows
    assert all(next(iter(row.values())) in text for row in rows)


def test_quiet_leaves_results_alone(many: Path, run: Run) -> None:
    words = ("evaluate", "--resume", many / "one-on-synthetic-voices")
    loud, quiet = run(*words), run(*words, "--quiet")
    assert "4 recordings scored" in loud[1]
    assert "4 recordings scored" not in quiet[1]
    assert "saliency" in quiet[1]
    assert quiet[2] == ""
    console.quiet = False


@pytest.mark.parametrize("columns", [80, 100])
def test_a_table_fits_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for kind in ("methods", "combinations", "backbones", "configs", "probes", "presets"):
        lines = [line for line in run("list", kind)[1].splitlines() if "taken by name" not in line]
        assert max(map(len, lines)) <= columns, kind
    monkeypatch.delenv("COLUMNS")
    assert console.screen_width() is None  # a file or a pipe keeps a row on its line


def test_every_kind_can_be_listed_on_a_narrow_screen(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    """A table whose other columns alone are too wide stands as it is, with its last column below each row."""
    for kind in listing.KINDS:
        monkeypatch.setenv("COLUMNS", "80")
        narrow = run("list", kind)[1]
        monkeypatch.setenv("COLUMNS", "10000")
        wide = run("list", kind)[1]
        lost = set(re.findall(r"\w+", wide)) - set(re.findall(r"\w+", narrow))
        assert lost <= set(re.findall(r"\w+", wide.splitlines()[0])), kind


def test_a_table_of_scores_fits_80_columns(many: Path) -> None:
    from speechxai.evaluation.report import console_table

    folder = RunFolder.open(many / "one-on-synthetic-voices")
    whole, cut = console_table(folder), console_table(folder, 40)
    rows = [line for line in cut.splitlines() if line.startswith(("recipe", "saliency", "random_map"))]
    assert max(map(len, rows)) <= 40
    assert cut.count("recipe ") > whole.count("recipe ") == 1  # each piece names its rows
    numbers = [text for line in cut.splitlines() if line.startswith("saliency") for text in line.split()[1:]]
    assert numbers == next(line.split()[1:] for line in whole.splitlines() if line.startswith("saliency"))


def test_one_letter_means_one_thing() -> None:
    group = typer.main.get_command(cli.app)
    below = [c for command in group.commands.values() for c in getattr(command, "commands", {"": command}).values()]  # type: ignore[attr-defined]
    meanings: dict[str, set[str]] = {}
    for command in below:
        for parameter in command.params:
            for word in parameter.opts:
                if re.fullmatch(r"-\w", word):
                    meanings.setdefault(word, set()).add(parameter.opts[0].strip("-").rstrip("s"))
    assert {word: names for word, names in meanings.items() if len(names) > 1} == {}
    assert meanings["-r"] == {"recipe"}


def test_every_command_has_examples_in_its_help() -> None:
    group = typer.main.get_command(cli.app)
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        for part, each in getattr(command, "commands", {"": command}).items():
            assert f"speechxai {name} {part}".rstrip() in str(each.epilog), f"{name} {part}"


COLOR = re.compile(rb"\x1b\[(?:[0-9;]*;)?(?:3[0-7]|38|4[0-7]|48|9[0-7]|10[0-7])(?:;[0-9;]*)?m")


def in_a_terminal(code: str, **more: str) -> bytes:
    """What a program writes that believes to be in a terminal of 256 colors."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    environment = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    environment |= {"TERM": "xterm-256color", "COLUMNS": "80", **more}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    written = b""
    try:
        while part := os.read(ours, 1 << 16):
            written += part
    except OSError:  # Linux says so when the other side is gone
        pass
    os.close(ours)
    process.wait(timeout=60)
    return written


def test_who_asks_for_no_color_gets_none() -> None:
    """Bars are all that is colored, and they are not where NO_COLOR is set; words and errors never are."""
    bars = (
        "from speechxai.commands.console import progress_bars\n"
        "with progress_bars(lambda total, what: what) as show:\n"
        "    show(1, 2, 'part'); show(2, 2, 'part')\n"
    )
    assert COLOR.search(in_a_terminal(bars))
    plain = in_a_terminal(bars, NO_COLOR="1")
    assert b"part" in plain
    assert not COLOR.search(plain)
    for words in (["evaluate", "--help"], ["evaluate", "--nonsense"], ["list", "configs"]):
        said = in_a_terminal(f"from speechxai.cli import main; main({words!r})", NO_COLOR="1")
        assert len(said) > 40
        assert b"\x1b" not in said


def test_tab_completion_and_the_module_speak(tmp_path: Path) -> None:
    asked = {**os.environ, "_SPEECHXAI_COMPLETE": "complete_bash", "COMP_WORDS": "speechxai repr", "COMP_CWORD": "1"}
    code = "from speechxai.cli import main; main([])"
    found = subprocess.run([sys.executable, "-c", code], env=asked, capture_output=True, text=True, timeout=60)
    assert found.stdout.split() == ["reproduce"]
    version = [sys.executable, "-m", "speechxai", "--version"]
    assert subprocess.run(version, capture_output=True, text=True, timeout=60).stdout.startswith("speechxai ")
