"""Flags: each one's text stands in one place, and help, settings files and documents say the same."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from speechxai import cli, flags
from speechxai.classifiers.fit import FitConfig
from speechxai.classifiers.training import KNOWN
from speechxai.evaluation.config import EvaluateConfig
from speechxai.files import config_names, config_path

ROOT = Path(__file__).resolve().parents[2]
HELP = Path(__file__).with_name("help.txt")
GROUP: Any = typer.main.get_command(cli.app)


def commands() -> Iterator[tuple[str, Any]]:
    """Every command by the words that call it."""
    for name, command in GROUP.commands.items():
        if hasattr(command, "commands"):
            yield from ((f"{name} {part}", below) for part, below in command.commands.items())
        else:
            yield name, command


COMMANDS = dict(commands())


@pytest.mark.parametrize("name", COMMANDS)
def test_a_flag_that_is_a_key_has_the_keys_text(name: str) -> None:
    keys = EvaluateConfig.model_fields
    shared = [p for p in COMMANDS[name].params if p.name in keys and p.opts[0].startswith("-")]
    for parameter in shared:
        assert str(parameter.help).startswith(str(keys[parameter.name].description).rstrip(".")), parameter.name
    if name == "evaluate":
        assert len(shared) > 25


def test_texts_and_defaults_are_those_of_the_settings() -> None:
    keys = EvaluateConfig.model_fields
    assert set(flags.EVALUATE) == set(keys)
    assert not set(flags.EVALUATE) & set(flags.TRAIN)
    texts = [flag.help for flag in flags.FLAGS.values()]
    assert len(set(texts)) == len(texts)
    for key, flag in flags.EVALUATE.items():
        assert keys[key].description == flag.help
        assert flag.default is None or flag.default == keys[key].default, key
    for key in set(flags.TRAIN) & set(FitConfig.__dataclass_fields__):
        assert flags.TRAIN[key].default == getattr(FitConfig(), key), key
    assert set(flags.TRAIN) - {"option"} <= set(KNOWN)


def spoken() -> Iterator[tuple[str, str]]:
    """Lines of documents and help that call a command, each with its place."""
    places = {str(path.relative_to(ROOT)): path.read_text() for path in (ROOT / "docs").rglob("*.md")}
    for path in (ROOT / "docs").rglob("*.ipynb"):
        cells = json.loads(path.read_text("utf-8"))["cells"]
        places[str(path.relative_to(ROOT))] = "\n".join("".join(cell["source"]) for cell in cells)
    places |= {name: command.epilog or "" for name, command in COMMANDS.items()}
    places |= {"README.md": (ROOT / "README.md").read_text(), "speechxai": str(GROUP.epilog)}
    places |= {name: config_path(name).read_text() for name in config_names()}
    for place, text in places.items():
        for line in text.replace("\\\n", " ").splitlines():
            for call in re.findall(r"speechxai ((?:data |study |runs )?[a-z]+ [^`#]*)", line):
                if re.match(r"(data |study |runs )?\w+", call)[0] in COMMANDS:  # type: ignore[index]
                    yield place, re.split(" {3,}", call)[0]  # what stands far to the right explains


def test_documents_and_examples_use_flags_that_exist() -> None:
    calls = list(spoken())
    assert len(calls) > 40
    for place, call in calls:
        command = COMMANDS[re.match(r"(data |study |runs )?\w+", call)[0]]  # type: ignore[index]
        known = {word for p in command.params for word in (*p.opts, *p.secondary_opts)} | {
            "--help",
            "--debug",
            "--quiet",
        }
        unknown = set(re.findall(r"(?<!\S)--?[a-z][\w-]*", call)) - known
        assert not unknown, f"{place}: speechxai {call}: {unknown}"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    if name.startswith("data "):
        name = "data"
    with pytest.raises(SystemExit):
        cli.main([*name.split(), "--help"])
    # Each example keeps its line.
    assert re.search(rf"Examples?:\n\n( +speechxai .*\n)*? +speechxai {name}\b.*\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("evaluate --seed 1 --seed 2", "--seed is given 2 times, and takes one value."),
        ("evaluate --maps --no-maps", "--maps is given 2 times, and takes one value."),
        ("train synthetic --out a --out b", "--out is given 2 times, and takes one value."),
        ("data check x --root a --root b", "--root is given 2 times, and takes one value."),
        ("evaluate --data synthetic --out", "--out is empty."),
        ("explain a.wav --out", "--out is empty."),
        ("predict", "files is empty."),
    ],
)
def test_what_would_be_dropped_in_silence_is_refused(
    words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = [""] if "empty" in message else []
    with pytest.raises(SystemExit) as ended:
        cli.main([*words.split(), *empty])
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"Error: {message}"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("import x --out m --classes HC", "--classes 'HC': write at least two names with commas between them."),
        ("import x --out m --classes HC,,PD", "--classes 'HC,,PD': write at least two names with commas between them."),
        ("import x", "The model needs a folder: give --out, for example --out models/ssl4pr."),
        (
            "evaluate --data synthetic --model synthetic-cnn",
            "The run needs a folder: give --out, for example --out runs/first.",
        ),
        ("benchmark --tables", "--tables writes the tables of a benchmark that has begun. Name it with --resume."),
        (
            "benchmark --resume b --seeds 3",
            "b: a benchmark is continued with its own settings. Leave the other options away.",
        ),
        ("app --root x", "--root names the folder of a data set's recordings: name the data set with --data."),
        ("app --allow-host a/b", "--allow-host 'a/b': write NAME or NAME:PORT, as in the browser's address bar."),
        ("app --run gone", "gone: there is no such folder of a run."),
        ("explain a.wav --out x --evidence most", "Unknown evidence 'most'. Known: auto, positive, absolute."),
        ("whatif a.wav --out x --sex f", "Unknown sex 'f'. Known: F, M, any."),
        (
            "whatif a.wav --out x --textgrids grids",
            "--textgrids says where units lie: name them with --units, such as --units vowel.",
        ),
        (
            "whatif a.wav --out x --units vowel --units stops",
            "Unknown class of phones 'stops'. Did you mean 'stop'? Known: stop, fricative, affricate, nasal, liquid,"
            " glide, vowel, voiced, unvoiced, unknown, pause, high vowel, mid vowel, low vowel.",
        ),
    ],
)
def test_flags_that_do_not_go_together_are_answered(
    words: str, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.main(words.split())
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"Error: {message}"


def test_two_names_of_classes_are_enough(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        cli.main(["import", str(tmp_path / "gone"), "--out", str(tmp_path / "m"), "--classes", "HC,PD"])
    assert "--classes" not in capsys.readouterr().err


def test_repeatable_flags_are_repeated_under_every_name(capsys: pytest.CaptureFixture[str]) -> None:
    words = "evaluate --data synthetic --model synthetic-cnn --out y -r rise --recipe saliency --recipes nonsense"
    with pytest.raises(SystemExit):
        cli.main(words.split())
    assert "Unknown recipe 'nonsense'" in capsys.readouterr().err


def test_no_text_names_a_file_that_an_installed_package_lacks() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for folder in ("speechxai", "app")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".toml", ".j2")
        for line in path.read_text().splitlines()
        if re.search(r"\bscripts/|import_checkpoint|train_classifier|train_auxiliary", line)
    ]
    assert not found


def help_text() -> str:
    """Every command: what it is for, then its arguments and flags, one a line."""
    told = []
    for name, command in sorted(COMMANDS.items()):
        told += [f"== {name}", " ".join(str(command.help).split()), " ".join(str(command.epilog or "").split())]
        for one in command.params:
            told.append(f"{', '.join(one.opts) if one.opts[0].startswith('-') else one.name}: {one.help}")
    return "\n".join(" ".join(line.split()) for line in told if line) + "\n"


def test_help_says_what_it_said() -> None:
    """After a change that is meant: `python tests/surface/test_flags.py` writes it anew."""
    assert help_text().splitlines() == HELP.read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":
    HELP.write_text(help_text(), encoding="utf-8")
