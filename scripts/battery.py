"""Bad input by the thousand: every command, damaged audio, texts, models and runs, settings, a hostile server.

    python scripts/battery.py                   everything, about half an hour of one core
    python scripts/battery.py --share 0.02      a fiftieth, as the test suite runs it
    python scripts/battery.py --only commands   one part: commands, audio, texts, folders, models, training,
                                                server

Every input is tried in a process of its own with a limit of time, so that a hang is counted and not waited for. Three
things are counted against us: a *traceback* (an error that is not the library's own, or that ends a command otherwise
than with exit status 0, 1 or 2), a *hang*, and a *silent wrong answer* (exit status 0, or a value, where the input
cannot be right: a file that is not there, a number that is none, a recording of which a part is missing). Ends with
exit status 1 if there was any.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import dataclasses
import io
import multiprocessing
import os
import pickle
import random
import shutil
import socket
import sys
import tempfile
import threading
import time
import tomllib
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

LIMIT_S = 180.0
"""A command that needs longer hangs; the readers need milliseconds."""

CONTAINERS = {
    "wav": ("WAV", "PCM_16"),
    "wavex": ("WAVEX", "PCM_24"),
    "float.wav": ("WAV", "FLOAT"),
    "rf64": ("RF64", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "adpcm.wav": ("WAV", "IMA_ADPCM"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
CHECKED = ("flac", "ogg", "opus")
"""Containers that carry checksums of their samples: there a changed byte must be noticed, or change nothing."""


@dataclasses.dataclass(frozen=True)
class Try:
    """One input.

    Args:
        part, kind: for the table.
        what: shown where it fails.
        call: "cli", "audio" or "text", see `answer`.
        arguments: of the call.
        must_fail: no answer can be right.
        must_work: nothing is wrong with it, so that what the others change is all that is wrong with them.
        make: what the input needs on disk, made when it is drawn.
        whole: for audio, the samples that an answer must have; None where anything may be heard.
    """

    part: str
    kind: str
    what: str
    call: str
    arguments: tuple[Any, ...]
    must_fail: bool = False
    must_work: bool = False
    whole: str | None = None
    make: Callable[[], object] | None = None


# ---- what runs in the other process


def answer(attempt: Try) -> tuple[str, str]:
    """Try one input: ("error" | "value" | "traceback", text)."""
    from speechxai.errors import SpeechXAIError

    spoken = io.StringIO()
    try:
        with contextlib.redirect_stdout(spoken), contextlib.redirect_stderr(spoken):
            value = CALLS[attempt.call](*attempt.arguments)
    except SpeechXAIError as error:
        return "error", str(error)
    except SystemExit as end:
        text = spoken.getvalue()
        silent = end.code == 2 and "Error: " not in text
        if "Traceback (most recent" in text or end.code not in (0, 1, 2, None) or silent:
            return "traceback", f"exit {end.code}: {text[-400:]}"
        return ("value", "") if end.code in (0, None) else ("error", text)
    except BaseException:
        return "traceback", traceback.format_exc()[-900:]
    if attempt.whole is not None and not _hears(value, attempt.whole):
        return "wrong", f"{len(value)} samples are not those of the whole file"
    return "value", ""


def _cli(*words: str) -> None:
    from speechxai.cli import main

    main(words)


def _audio(path: str) -> Any:
    from speechxai.signal.audio import read_audio

    return read_audio(path, sample_rate=None, normalize="none", min_duration_s=0.0).waveform.numpy()


def _text(reader: str, path: str) -> Any:
    from speechxai.classifiers.bundle import read_bundle_config
    from speechxai.data.cards import load_card
    from speechxai.data.manifest import read_manifest
    from speechxai.data.tables import read_table
    from speechxai.data.textgrid import read_textgrid
    from speechxai.evaluation.config import load

    readers: dict[str, Callable[[Path], Any]] = {
        "manifest": read_manifest,
        "table": read_table,
        "card": load_card,
        "textgrid": lambda p: read_textgrid(p.read_bytes(), 2.0),
        "bundle": read_bundle_config,
        "settings": load,
    }
    return readers[reader](Path(path))


def _fetch(url: str, folder: str, size: int, sha256: str) -> Any:
    from speechxai.data.cards import FetchFile
    from speechxai.data.fetch import fetch_file

    return fetch_file(FetchFile(name="voices.bin", url=url, size_bytes=size, checksum=f"sha256:{sha256}"), Path(folder))


CALLS: dict[str, Callable[..., Any]] = {"cli": _cli, "audio": _audio, "text": _text, "fetch": _fetch}


def _hears(value: Any, whole: str) -> bool:
    expected = np.load(whole)
    return len(value) == len(expected) and bool(np.allclose(value, expected, atol=1e-4))


def serve(pipe: Connection) -> None:
    """Answer one input after the other until the pipe closes."""
    os.environ["OMP_NUM_THREADS"] = "1"
    # The app would take this process's place: that it gets so far is its answer.
    os.execve = lambda *_: sys.exit(0)  # type: ignore[assignment]
    import torch

    torch.set_num_threads(1)
    with contextlib.suppress(EOFError):
        while True:
            pipe.send(answer(pipe.recv()))


class Worker:
    """The process that tries inputs; killed and begun anew where one hangs or ends it."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=serve, args=(other,), daemon=True)
        self.process.start()
        other.close()

    def ask(self, attempt: Try) -> tuple[str, str]:
        """The answer, "hang", or "died"."""
        self.pipe.send(attempt)
        if self.pipe.poll(LIMIT_S):
            try:
                found: tuple[str, str] = self.pipe.recv()
                return found
            except (EOFError, OSError):
                kind = "died", f"the process ended with {self.process.exitcode}"
        else:
            kind = "hang", f"no answer within {LIMIT_S:.0f} s"
        self.close()
        self._begin()
        return kind

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


# ---- good inputs, of which bad ones are made


@dataclasses.dataclass(frozen=True)
class Good:
    """A small working place: recordings, labels, a manifest, a model, a card, a finished run."""

    root: Path

    @classmethod
    def make(cls, root: Path) -> Good:
        """Write everything."""
        import soundfile

        from speechxai.data.cards import import_folder
        from speechxai.data.manifest import write_manifest
        from speechxai.evaluation.config import EvaluateConfig
        from speechxai.evaluation.executors import evaluate
        from speechxai.testing import noise_recording, tiny_bundle

        voices = root / "voices"
        voices.mkdir(parents=True)
        lines = ["file,label,speaker,sex,age"]
        for index in range(6):
            samples = noise_recording(duration_s=1.2, seed=index).waveform.numpy()
            soundfile.write(voices / f"v{index}.wav", samples, 8_000)
            lines.append(f"v{index}.wav,{('HC', 'PD')[index % 2]},s{index},{'FMF'[index // 2]},{60 + index}")
        (root / "labels.csv").write_text("\n".join(lines) + "\n", "utf-8")
        write_manifest(import_folder(voices, root / "labels.csv", "voices"), root / "voices.csv")
        tiny_bundle(root / "tiny")
        closed = f'name = "c"\ntitle = "C"\n{CARD}'
        (root / "card.toml").write_text(closed, "utf-8")
        (root / "grid.TextGrid").write_text(GRID, "utf-8")
        (root / "settings.toml").write_text(
            f'data = "{root / "voices.csv"}"\nmodel = "{root / "tiny"}"\nrecipes = ["saliency"]\n', "utf-8"
        )
        evaluate(
            EvaluateConfig(
                data=str(root / "voices.csv"),
                root=voices,
                model=str(root / "tiny"),
                recipes=("saliency",),
                metrics=("faithfulness",),
                out=root / "run",
                maps=True,
                pictures=0,
            )
        )
        return cls(root)


CARD = """
language = "none"
license = "CC0"
source = "made"
access = "open"
patterns = ['(?P<speaker>v[0-9])[.]wav']
labels = [{ from = "speaker", values = { v0 = "HC" } }]
fetch = [{ name = "voices.zip", url = "http://127.0.0.1:9/voices.zip", size_bytes = 10 }]
"""
"""A data set of a server that does not answer."""

GRID = (
    'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = 2\ntiers? <exists>\nsize = 1\nitem []:\n'
    '    item [1]:\n        class = "IntervalTier"\n        name = "words"\n        xmin = 0\n        xmax = 2\n'
    "        intervals: size = 2\n        intervals [1]:\n            xmin = 0\n            xmax = 1\n"
    '            text = "a"\n        intervals [2]:\n            xmin = 1\n            xmax = 2\n'
    '            text = "b"\n'
)


def bad_files(root: Path) -> dict[str, Path]:
    """Things that stand where a file or folder should be."""
    folder = root / "bad"
    folder.mkdir()
    (folder / "empty").touch()
    (folder / "binary").write_bytes(bytes(range(256)) * 40)
    (folder / "text").write_text("no such thing\n" * 30)
    (folder / "folder").mkdir()
    (folder / "loop").symlink_to(folder / "loop")
    os.mkfifo(folder / "pipe")
    found = {path.name: path for path in folder.iterdir()}
    return {**found, "missing": folder / "missing", "device": Path("/dev/zero")}


# ---- parts


QUICK = ("--epochs", "1", "--folds", "3", "--option", "channels=[2, 2]", "--option", "n_mels=8")
"""What makes a training short."""

LONG = ("benchmark", "demo")
"""Commands that need minutes where nothing is wrong."""


def commands(good: Good, chance: random.Random) -> Iterator[Try]:
    """Every flag and word of every command with every value that it cannot have."""
    import typer

    from speechxai.cli import app

    bad = bad_files(good.root)
    root, out = good.root, good.root / "out"
    wav, tiny, table = str(root / "voices" / "v0.wav"), str(root / "tiny"), str(root / "voices.csv")
    base: dict[str, list[str]] = {
        "predict": [wav, "--model", tiny],
        "explain": [wav, "--model", tiny, "--recipe", "saliency", "--out", str(out / "why")],
        "whatif": [wav, "--model", tiny, "--sign", "level", "--no-floors", "--out", str(out / "whatif")],
        "evaluate": [
            "--data",
            table,
            "--model",
            tiny,
            "-r",
            "saliency",
            "-m",
            "faithfulness",
            "--no-controls",
            "--pictures",
            "0",
            "--out",
            str(out / "run"),
        ],
        "check": [str(root / "settings.toml")],
        "report": [str(root / "run")],
        "list": ["methods"],
        "train": [table, "--out", str(out / "model"), *QUICK],
        "import": [str(root / "tiny"), "--out", str(out / "imported")],
        "benchmark": ["--quick", "--out", str(out / "benchmark")],
        "auxiliary": [str(root / "run"), "--folds", "3", "--seeds", "1", "--epochs", "1", "--n-mels", "16"],
        "app": ["--model", tiny],
        "demo": ["--out", str(out / "demo")],
        "data check": [table],
        "data import": [str(root / "voices"), "--labels", str(root / "labels.csv"), "--out", str(out / "m.csv")],
        "data fetch": [str(root / "card.toml"), "--root", str(out / "fetched")],
        "data list": [],
    }
    group: Any = typer.main.get_command(app)
    places = {name: command for name, command in group.commands.items() if name != "data"}
    places |= {f"data {name}": command for name, command in group.commands["data"].commands.items()}
    for name, command in places.items():
        words = [*name.split(), *base.get(name, [])]
        if name not in (*LONG, "import", "data fetch"):
            yield Try("commands", "as it is", name, "cli", tuple(words), must_work=True)
        yield Try("commands", "unknown flag", f"{name} --nope", "cli", (*words, "--nope"), must_fail=True)
        for parameter in command.params:
            if parameter.param_type_name == "argument":
                for kind, path in bad.items():
                    shown = f"{name} <{parameter.name}: {kind}>"
                    tried = (*name.split(), str(path), *base.get(name, [])[1:])
                    yield Try("commands", f"word: {kind}", shown, "cli", tried, must_fail=True)
                continue
            if parameter.is_flag or parameter.count:
                continue
            flag = max(parameter.opts, key=len)
            if flag == "--help":
                continue
            clean = _without(words, parameter.opts)
            described = repr(parameter.type_descriptor).lower()
            is_number = "'int'" in described or "'float'" in described
            values = (
                ("abc", "nan", "-1e400", "1e999", "--", "0x1g")
                if is_number
                else (str(bad["loop"]), "nope\x01", "\udcff")
            )
            yield Try("commands", "empty", f"{name} {flag} ''", "cli", (*clean, flag, ""), must_fail=True)
            yield Try("commands", "no value", f"{name} {flag}", "cli", (*clean, flag), must_fail=True)
            if name in LONG and flag in ("--out", "--title", "--name"):
                values = values[:1]  # any text is one, and all would be computed
            for value in values:
                tried = (*clean, flag, value)
                yield Try(
                    "commands", "number" if is_number else "text", f"{name} {flag} {value!r}", "cli", tried, is_number
                )
            if not parameter.multiple and parameter.nargs == 1:
                twice = (*clean, flag, values[0], flag, values[0])
                yield Try("commands", "given twice", f"{name} {flag} twice", "cli", twice, must_fail=True)


def _without(words: Sequence[str], names: Sequence[str]) -> list[str]:
    found, skip = [], False
    for word in words:
        if not skip and word not in names:
            found.append(word)
        skip = not skip and word in names
    return found


def audio(good: Good, chance: random.Random) -> Iterator[Try]:
    """Cut, lengthened and changed recordings in every container."""
    import soundfile

    time_s = np.arange(12_000) / 8_000
    voice = 0.4 * np.sin(2 * np.pi * 140 * time_s) * (1 + 0.3 * np.sin(9 * time_s)) + 0.01 * np.cos(2_000 * time_s)
    folder = good.root / "audio"
    folder.mkdir()
    for name, (format, subtype) in CONTAINERS.items():
        whole = folder / f"whole.{name}"
        rate = 16_000 if subtype == "OPUS" else 8_000
        with contextlib.suppress(soundfile.LibsndfileError):
            soundfile.write(whole, voice, rate, format=format, subtype=subtype)
        if not whole.exists() or not whole.stat().st_size:
            continue  # this libsndfile does not write it
        content = whole.read_bytes()
        samples = folder / f"{name}.npy"
        np.save(samples, _audio(str(whole)))
        for index in range(80):
            kind = ("cut", "header", "changed", "inserted")[index % 4]
            data, suffix = bytearray(content), name.rpartition(".")[2]
            if kind == "cut":
                del data[chance.randrange(1, len(data)) :]
            elif kind == "header":
                data[chance.randrange(min(96, len(data)))] = chance.randrange(256)
            elif kind == "changed":
                for _ in range(chance.randrange(1, 6)):
                    data[chance.randrange(len(data))] = chance.randrange(256)
            else:
                place = chance.randrange(len(data))
                data[place:place] = chance.randbytes(chance.randrange(1, 64))
            path = folder / f"{name.replace('.', '-')}-{index}.{suffix}"
            path.write_bytes(data)
            # A cut must be noticed or have cost nothing; so must a changed byte where there are checksums.
            strict = kind == "cut" or (kind != "header" and name in CHECKED)
            yield Try(
                "audio", f"{kind} {name}", str(path), "audio", (str(path),), whole=str(samples) if strict else None
            )


def texts(good: Good, chance: random.Random) -> Iterator[Try]:
    """Damaged tables, cards, TextGrids and settings."""
    from speechxai.data.cards import card_path

    folder = good.root / "texts"
    folder.mkdir()
    sources = {
        "manifest": good.root / "voices.csv",
        "table": good.root / "labels.csv",
        "card": Path(card_path("figshare-voice")),
        "textgrid": good.root / "grid.TextGrid",
        "bundle": good.root / "tiny" / "config.toml",
        "settings": good.root / "settings.toml",
    }
    strange = [
        b"\x00",
        b"\xff\xfe",
        b'"',
        b"\n\n,,\n",
        b"=",
        b"[[",
        b"1e999",
        b"nan",
        b"-",
        "\u202e".encode(),
        b"\r",
        b";",
    ]
    for reader, source in sources.items():
        content = source.read_bytes()
        for index in range(180):
            kind = ("cut", "changed", "inserted", "encoded", "repeated")[index % 5]
            data = bytearray(content)
            if kind == "cut":
                del data[chance.randrange(len(data)) :]
            elif kind == "changed":
                for _ in range(chance.randrange(1, 8)):
                    data[chance.randrange(len(data))] = chance.randrange(256)
            elif kind == "inserted":
                place = chance.randrange(len(data))
                data[place:place] = chance.choice(strange) * chance.choice((1, 1, 1, 300))
            elif kind == "encoded":
                encoding = chance.choice(("utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "utf-32"))
                data = bytearray(content.decode("utf-8").encode(encoding))
            else:
                lines = content.splitlines(keepends=True)
                place = chance.randrange(len(lines))
                data = bytearray(b"".join([*lines[: place + 1], *lines[place:]]))
            path = folder / f"{reader}-{index}{source.suffix}"
            path.write_bytes(data)
            yield Try("texts", f"{kind} {reader}", str(path), "text", (reader, str(path)))


def folders(good: Good, chance: random.Random) -> Iterator[Try]:
    """Runs and models with a file missing, empty, cut, of bytes, of another kind, or a folder in its place."""
    damages: dict[str, Callable[[Path], object]] = {
        "missing": lambda path: path.unlink(),
        "empty": lambda path: path.write_bytes(b""),
        "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        "bytes": lambda path: path.write_bytes(bytes(range(256))),
        "numbers": lambda path: path.write_bytes(b"[1, 2, 3]"),
        "folder": lambda path: (path.unlink(), path.mkdir()),
        "pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    }
    wav = str(good.root / "voices" / "v0.wav")
    for whole, uses in (
        ("run", (("report", "{}"), ("evaluate", "--resume", "{}"), ("auxiliary", "{}", "--status"))),
        ("tiny", (("predict", wav, "--model", "{}"),)),
    ):
        files = [p for p in sorted((good.root / whole).rglob("*")) if p.is_file() and "maps.zarr" not in p.parts]
        for file in files:
            for damage, spoil in damages.items():
                for use in uses:
                    path = file.relative_to(good.root / whole)
                    place = good.root / "damaged" / str(chance.randrange(10**9))
                    words = tuple(str(place) if word == "{}" else word for word in use)
                    make = partial(_copied, good.root / whole, place, lambda to, p=path, spoil=spoil: spoil(to / p))
                    what = f"{' '.join(use)} with {path} {damage}"
                    yield Try("folders", f"{use[0]}: {damage}", what, "cli", words, make=make)
                    shutil.rmtree(place, ignore_errors=True)  # thousands of copies are gigabytes


def _copied(whole: Path, place: Path, change: Callable[[Path], object]) -> None:
    shutil.copytree(whole, place)
    change(place)


VALUES: tuple[Any, ...] = (
    *(-1, 0, 1, 10**6, 10**9, 10**30, -1.5, 1e300, float("nan"), float("inf"), True),
    *("", "x", "../../x", [], [-1], [10**7], ["a", "b"], {"a": 1}),
)
"""What stands where another value belongs."""


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Path of every table and every value of nested settings."""
    if path:
        yield path
    for name, each in value.items() if isinstance(value, dict) else ():
        yield from _leaves(each, (*path, name))


def _changed(settings: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """Copy with another value at one path; None takes the key away."""
    found = copy.deepcopy(settings)
    place = found
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    return found


def models(good: Good, chance: random.Random) -> Iterator[Try]:
    """Models of which one setting is another, sealed and unsealed, and checkpoints that are none."""
    import torch

    from speechxai.classifiers.bundle import ABOUT
    from speechxai.files import to_toml

    wav = str(good.root / "voices" / "v0.wav")
    settings = tomllib.loads((good.root / "tiny" / "config.toml").read_text("utf-8"))
    unsealed = {key: value for key, value in settings.items() if key != "sha256"}

    def predicted(
        kind: str, what: str, content: dict[str, Any], must_fail: bool = False, must_work: bool = False
    ) -> Try:
        folder = good.root / "models" / str(chance.randrange(10**9))

        def settle(place: Path) -> object:
            return (place / "config.toml").write_text(to_toml(content), "utf-8")

        make = partial(_copied, good.root / "tiny", folder, settle)
        words = ("predict", wav, "--model", str(folder))
        return Try("models", kind, what, "cli", words, must_fail, must_work, make=make)

    for content in (settings, unsealed):
        yield predicted("as it is", "predict", content, must_work=True)
    for path in _leaves(unsealed):
        if path[0] in ("libraries", "training", "check"):
            continue
        name, about = ".".join(path), path[0] in (*ABOUT, "weights")
        for value in (*VALUES, None):
            yield predicted("setting", f"{name} = {value!r}", _changed(unsealed, path, value))
        for value in (chance.choice(VALUES), None):
            changed = _changed(settings, path, value)
            same = changed == settings or value is None  # the default may be the same
            yield predicted("sealed setting", f"{name} = {value!r}, sealed", changed, not (about or same))

    weights = {"ssl_model.a": torch.ones(3), "classifier.weight": torch.ones(2, 3)}
    torch.save(weights, good.root / "fold_1.pt")
    whole = (good.root / "fold_1.pt").read_bytes()
    kinds: dict[str, Callable[[Path], object]] = {
        "strange weights": lambda path: path.write_bytes(whole),
        "list": lambda path: torch.save([1, 2, 3], path),
        "number": lambda path: torch.save(1, path),
        "empty table": lambda path: torch.save({}, path),
        "numbers": lambda path: torch.save({1: torch.ones(1)}, path),
        "texts": lambda path: torch.save({"a": "b"}, path),
        "code": lambda path: torch.save({"a": print}, path),
        "network": lambda path: torch.save(torch.nn.Linear(2, 2), path),
        "nan": lambda path: torch.save({key: value * float("nan") for key, value in weights.items()}, path),
        "integers": lambda path: torch.save({key: value.long() for key, value in weights.items()}, path),
        "complex": lambda path: torch.save({key: value * 1j for key, value in weights.items()}, path),
        "pickle": lambda path: path.write_bytes(pickle.dumps({"a": 1})),
        "zip": lambda path: zipfile.ZipFile(path, "w").close(),
        "bytes": lambda path: path.write_bytes(bytes(range(256)) * 9),
        "empty": lambda path: path.write_bytes(b""),
        "pipe": lambda path: os.mkfifo(path),
        "folder": lambda path: path.mkdir(),
        "loop": lambda path: path.symlink_to(path),
        **{
            f"cut at {n} %": lambda path, n=n: path.write_bytes(whole[: len(whole) * n // 100])
            for n in range(5, 100, 9)
        },
        **{
            f"changed {seed}": lambda path, seed=seed: path.write_bytes(_with_noise(whole, random.Random(seed)))  # noqa: S311
            for seed in range(30)
        },
    }
    for kind, make in kinds.items():
        folder = good.root / "checkpoints" / str(chance.randrange(10**9))
        folder.mkdir(parents=True)
        make(folder / "fold_1.pt")
        out = str(good.root / "out" / "imported")
        words = ("import", str(folder), "--out", out)
        yield Try("models", "checkpoint", f"import {kind}", "cli", words, must_fail=True)
        words = ("import", str(folder / "fold_1.pt"), "--check")
        yield Try("models", "checkpoint", f"import --check {kind}", "cli", words, must_fail=True)
        words = ("train", str(good.root / "voices.csv"), "--backbone", "ssl", "--pretrained", str(folder / "fold_1.pt"))
        yield Try("models", "checkpoint", f"train from {kind}", "cli", (*words, "--out", out), must_fail=True)


def _with_noise(content: bytes, chance: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(chance.randrange(1, 9)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data)


RECIPE = """
title = "t"
note = "n"
backbone = "cnn"
folds = 3
repeats = []
epochs = 1
patience = 1
restarts = 0
learning_rate = 1e-3
weight_decay = 0.01
batch = 4
accumulate = 1
schedule = "constant"
crop_s = 0.5
n_crops = 1
class_weights = "balanced"
seed = 1
segment_s = 1.0
threads = 1
[augment]
level_db = 0.0
noise_share = 0.0
n_bands = 0
n_spans = 0
[options]
channels = [2, 2]
n_mels = 8
dropout = 0.1
f_max_hz = 4000.0
"""


def training(good: Good, chance: random.Random) -> Iterator[Try]:
    """Recipes of a training and settings of an evaluation of which one value is another."""
    from speechxai.files import to_toml

    folder = good.root / "recipes"
    folder.mkdir()
    voices, tiny, out = str(good.root / "voices.csv"), str(good.root / "tiny"), str(good.root / "out" / "any")
    study = {
        **{
            "data": str(good.root / "voices"),
            "model": tiny,
            "recipes": ["rise"],
            "metrics": ["faithfulness"],
            "limit": 1,
            "out": out,
        },
        **{"seed": 0, "device": "cpu", "precision": "float32", "evidence": "auto", "fill": "silence", "pictures": 0},
        **{"max_batch": 4, "memory_mb": 64, "threads": 1, "max_duration_s": 5.0, "channel": 0, "by": ["sex"]},
        **{"options": {"rise": {"n_masks": 4, "seed": 0}}, "metric_options": {"faithfulness": {}}},
        **{"executor": "serial", "workers": 1, "scheduler": "local", "protocol": "standard", "imports": []},
        **{
            "tasks": [],
            "labels": str(good.root / "labels.csv"),
            "root": str(good.root / "voices"),
            "maps": False,
            "deterministic": False,
        },
    }
    for command, settings in (("train", tomllib.loads(RECIPE)), ("check", study)):
        tries: list[tuple[str, dict[str, Any]]] = [("as it is", settings)]
        for path in _leaves(settings):
            for value in (*VALUES, None):
                tries.append((f"{'.'.join(path)} = {value!r}", _changed(settings, path, value)))
        for what, content in tries:
            name = folder / f"{chance.randrange(10**9)}.toml"
            name.write_text(to_toml(content), "utf-8")
            words = [command, *([voices, "--config"] if command == "train" else []), str(name)]
            words += ["--out", out] if command == "train" else []
            works = content is settings
            yield Try("training", command, f"{command} with {what}", "cli", tuple(words), must_work=works)


ANSWERS: dict[str, bytes] = {
    "nothing": b"",
    "no HTTP": b"\x16\x03\x01 hello\r\n\r\n",
    "too short": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc",
    "too long": b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000,
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nabc",
    "absurd length": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nabc",
    "no number": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nabc",
    "broken chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",
    "wrong range": b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 500-502/1000\r\nContent-Length: 3\r\n\r\nabc",
    "redirect to a file": b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n",
    "redirect to itself": b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
    "long header": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    "zipped": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    "error": b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
}


@contextlib.contextmanager
def hostile() -> Iterator[dict[str, str]]:
    """A server that answers `/<n>` with the n-th of ANSWERS, whatever it is asked; addresses by name."""
    listener = socket.create_server(("127.0.0.1", 0))
    names = list(ANSWERS)

    def run() -> None:
        while True:
            try:
                line, _ = listener.accept()
            except OSError:
                return
            with line, contextlib.suppress(OSError, ValueError, IndexError):
                line.settimeout(5)
                asked = line.recv(4096).split(b" ")[1].strip(b"/")
                line.sendall(ANSWERS[names[int(asked or b"0")]])

    threading.Thread(target=run, daemon=True).start()
    port = listener.getsockname()[1]
    try:
        yield {name: f"http://127.0.0.1:{port}/{index}" for index, name in enumerate(names)}
    finally:
        listener.close()


def server(good: Good, chance: random.Random) -> Iterator[Try]:
    """Downloads from a server that means no good."""
    with hostile() as addresses:
        for kind, url in addresses.items():
            for begun in (False, True):
                folder = good.root / "fetched" / f"{list(ANSWERS).index(kind)}-{begun}"
                folder.mkdir(parents=True)
                if begun:
                    (folder / "voices.bin.part").write_bytes(b"x" * 400)
                what = f"{kind}{', begun' if begun else ''}"
                yield Try("server", kind, what, "fetch", (url, str(folder), 1_000, "0" * 64), must_fail=True)


PARTS: dict[str, Callable[[Good, random.Random], Iterator[Try]]] = {
    "commands": commands,
    "audio": audio,
    "texts": texts,
    "folders": folders,
    "models": models,
    "training": training,
    "server": server,
}


def battery(
    parts: Sequence[str], share: float, seed: int, told: Callable[[str], None]
) -> tuple[Counter[Any], list[str]]:
    """Try everything; returns how often each part ended how, and a line for every failure."""
    chance = random.Random(seed)  # noqa: S311
    counts: Counter[Any] = Counter()
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="battery-") as scratch:
        good = Good.make(Path(scratch) / "good")
        (good.root / "out").mkdir()
        place = os.getcwd()
        os.chdir(scratch)  # before the worker begins: what it is made to write by relative names goes with the scratch
        worker = Worker()
        try:
            for part in parts:
                began = time.monotonic()
                for attempt in PARTS[part](good, chance):
                    if chance.random() >= share:
                        continue
                    if attempt.make is not None:
                        attempt.make()
                    kind, text = worker.ask(dataclasses.replace(attempt, make=None))
                    if kind == "value" and attempt.must_fail:
                        kind, text = "wrong", "accepted"
                    if kind == "error" and attempt.must_work:
                        kind = "wrong"
                    counts[part, kind] += 1
                    if kind not in ("error", "value"):
                        failures.append(f"{kind}: {attempt.part}, {attempt.kind}: {attempt.what}\n    {text}")
                        told(failures[-1])
                    shutil.rmtree(good.root / "out", ignore_errors=True)
                    (good.root / "out").mkdir()
                told(
                    f"{part}: {sum(n for (p, _), n in counts.items() if p == part)} in {time.monotonic() - began:.0f} s"
                )
        finally:
            os.chdir(place)
            worker.close()
    return counts, failures


def main() -> None:
    """Print the table; exit status 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=list(PARTS), help="one part; repeat for several")
    parser.add_argument("--share", type=float, default=1.0, help="of the inputs, drawn at random (default 1)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    counts, failures = battery(given.only or list(PARTS), given.share, given.seed, lambda line: print(line, flush=True))
    kinds = ("error", "value", "wrong", "traceback", "hang", "died")
    print(f"\n{'part':<10}" + "".join(f"{kind:>11}" for kind in kinds))
    for part in given.only or PARTS:
        print(f"{part:<10}" + "".join(f"{counts[part, kind]:>11}" for kind in kinds))
    print(f"{sum(counts.values())} inputs, {len(failures)} failures")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
