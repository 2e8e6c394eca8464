"""The command line end to end, on a bundle of random weights and noise: what it writes, what it says, how it ends."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from speechxai import __version__, cli
from speechxai.classifiers.bundle import load_bundle, save_bundle
from speechxai.cli import main
from speechxai.data.textgrid import write_tiers
from speechxai.evaluation.runs import RunFolder
from speechxai.files import to_toml
from speechxai.signal.stft import SegmentConfig
from speechxai.testing import noise_recording, tiny_bundle, tiny_classifier
from tests.unit.test_report import outline

RECIPES = ["-r", "saliency", "-r", "guided_backprop", "-r", "union(saliency, guided_backprop)"]
METRICS = [
    "-m",
    "published",
    "-m",
    "comprehensiveness@10",
    "-m",
    "sufficiency@10",
    "-m",
    "mean_mask",
    "-m",
    "silence_share",
]


class Answer(NamedTuple):
    status: int
    out: str
    err: str


Run = Callable[..., Answer]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    import warnings

    def call(*words: object) -> Answer:
        with warnings.catch_warnings(), pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        found = capsys.readouterr()
        return Answer(int(ended.value.code or 0), found.out, found.err)

    return call


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labeled folder of noise: four speakers a class, one file each."""
    root = tmp_path_factory.mktemp("voices")
    for index in range(8):
        recording = noise_recording(f"n{index}", 0.5 + 0.05 * index, seed=index)
        folder = root / ("PD" if index % 2 else "HC") / f"s{index}"
        folder.mkdir(parents=True)
        soundfile.write(folder / f"take{index}.wav", recording.waveform.numpy(), 8_000)
    return root


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny").folder


@pytest.fixture(scope="module")
def finished(voices: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with maps and pictures."""
    out = tmp_path_factory.mktemp("runs") / "first"
    with pytest.raises(SystemExit) as ended:
        main(
            [
                str(w)
                for w in (
                    "evaluate",
                    "--data",
                    voices,
                    "--model",
                    model,
                    *RECIPES,
                    *METRICS,
                    "--maps",
                    "--pictures",
                    1,
                    "--out",
                    out,
                )
            ]
        )
    assert not ended.value.code
    return out


def copied(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to / "copy"))


def test_a_run_has_everything(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert {
        "config.toml",
        "environment.json",
        "recordings.parquet",
        "predictions.parquet",
        "scores.parquet",
        "scores.csv",
        "summary.csv",
        "agreement.csv",
        "failures.csv",
        "maps.zarr",
        "pictures",
        "report.html",
        "units",
        "sessions",
    } == names
    scores = pd.read_parquet(finished / "scores.parquet")
    assert list(scores.columns[:8]) == [
        "recording",
        "speaker",
        "label",
        "predicted",
        "model",
        "recipe",
        "metric",
        "value",
    ]
    assert len(scores) == 8 * 6 * 11
    assert scores["value"].notna().all()
    assert scores.loc[scores["metric"] == "average_drop", "value"].between(0, 1).all()
    again = pd.read_csv(finished / "scores.csv")
    assert np.allclose(again["value"], scores["value"], rtol=0, atol=1e-15)
    summary = pd.read_csv(finished / "summary.csv")
    assert len(summary) == 6 * 11
    one = scores[(scores["recipe"] == "saliency") & (scores["metric"] == "faithfulness")]
    kept = summary[(summary["recipe"] == "saliency") & (summary["metric"] == "faithfulness")].iloc[0]
    assert kept["mean"] == pytest.approx(one["value"].mean())
    assert {
        "low",
        "high",
        "fold_std",
        "n",
        "n_nan",
        "mean_mask",
        "vs_energy_map",
        "vs_energy_map_p",
        "vs_random_map_p",
    } <= set(summary.columns)
    environment = json.loads((finished / "environment.json").read_text())
    assert environment["sessions"][0]["peak_memory_mb"] > 100
    assert environment["cost"]["forward_passes_of_time"] > 1
    folder = RunFolder.open(finished)
    maps = folder.maps(scores["recording"][0], "union(saliency, guided_backprop)")
    assert maps.dtype == np.float16
    assert float(np.abs(maps).max()) == 1.0


def test_the_report_is_one_file_that_anyone_can_read(finished: Path) -> None:
    text = (finished / "report.html").read_text("utf-8")
    found = outline(text)
    assert found.headings[0] == "h1"
    assert found.headings.count("h1") == 1
    assert all(
        later <= earlier or int(later[1]) == int(earlier[1]) + 1
        for earlier, later in zip(found.headings, found.headings[1:], strict=False)
    )
    assert found.n_tables == found.n_captions >= 4
    assert len(found.alts) >= 3
    assert all(found.alts)
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in found.links)
    assert "http" not in text.replace("http-equiv", "")
    assert "Not a medical device" in text
    assert "do\nnot publish these pictures" in text
    assert text.count("Which bands does it use at all?") == 1
    assert "(8 recordings)" in text[text.index('id="bands"') :][:2000]
    assert 'lang="en"' in text
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_resume_after_a_kill_gives_the_identical_table(finished: Path, tmp_path: Path, run: Run) -> None:
    folder = copied(finished, tmp_path)
    before = {
        name: (folder / name).read_bytes() for name in ("scores.csv", "summary.csv", "agreement.csv", "scores.parquet")
    }
    units = sorted((folder / "units").glob("*.json"))
    kept = units[0].stat().st_mtime_ns
    units[3].unlink()  # the unit in flight
    units[4].write_bytes(units[4].read_bytes()[:100])  # a torn one
    (folder / "units" / ".x.json.abc.tmp").write_bytes(b"half")
    for name in before:
        (folder / name).unlink()
    status = run("evaluate", "--status", folder)
    assert "\ndone             6\n" in status.out
    assert f"Continue with: speechxai evaluate --resume {folder}" in status.out
    answer = run("evaluate", "--resume", folder)
    assert answer.status == 0, answer.err
    assert "on 2 of 8 recordings" in answer.out
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert units[0].stat().st_mtime_ns == kept


def test_resume_refuses_other_settings_and_other_weights(finished: Path, tmp_path: Path, run: Run, model: Path) -> None:
    folder = copied(finished, tmp_path)
    answer = run("evaluate", "--resume", folder, "--seed", 5)
    assert answer.status == 2
    assert (
        answer.err
        == f"Error: {folder}: the run cannot be continued with other settings: 'seed' is 0 in the run and 5 now. "
        "Leave the setting away, or start a new run with --out.\n"
    )
    folder = Path(shutil.copytree(folder, tmp_path / "other"))
    tiny = Path(shutil.copytree(model, tmp_path / "model" / "tiny"))
    content = tomllib.loads((folder / "config.toml").read_text())
    (folder / "config.toml").write_text(to_toml({**content, "model": str(tiny)}))
    assert run("evaluate", "--resume", folder).status == 0, "the same weights at another place"
    save_bundle(
        tiny, load_bundle(tiny).config, {"final": tiny_classifier(7, SegmentConfig(0.5, 0.25))}, "Other weights."
    )
    answer = run("evaluate", "--resume", folder)
    assert answer.status == 2
    assert "8 of 8 units were computed with other weights of the model, " in answer.err


def test_a_corrupt_recording_is_listed_and_the_others_are_scored(
    voices: Path, model: Path, tmp_path: Path, run: Run
) -> None:
    root = Path(shutil.copytree(voices, tmp_path / "voices"))
    bad = root / "PD" / "s1" / "take1.wav"
    data, rate = soundfile.read(bad)
    data[10] = np.nan
    soundfile.write(bad, data, rate, subtype="FLOAT")
    out = tmp_path / "run"
    (root / "HC" / "s8").mkdir()
    (root / "HC" / "s8" / "empty.wav").write_bytes(b"")
    (root / "HC" / "s10").mkdir()
    (root / "HC" / "s10" / "text.wav").write_text("this is no sound")
    words = ["-r", "saliency", "--no-controls", "-m", "faithfulness", "--pictures", 0, "--out", out]
    answer = run("evaluate", "--data", root, "--model", model, *words)
    assert answer.status == 1
    failures = pd.read_csv(out / "failures.csv").set_index("recording")["message"].to_dict()
    assert len(failures) == 3
    for name, words_of in (("take1", "1 of 4400 samples are NaN or infinite"), ("empty", "empty"), ("text", "")):
        (message,) = [text for recording, text in failures.items() if name in recording]
        assert words_of in message
        assert f"{name}.wav" in message
        assert message in answer.err
    assert pd.read_parquet(out / "scores.parquet")["recording"].nunique() == 7
    report = (out / "report.html").read_text()
    assert all(f"{name}.wav" in report for name in ("take1", "empty", "text"))
    assert "\nfailed           3\n" in run("evaluate", "--status", out).out
    # Mended, the run goes on with what is missing, and says that it changed: the manifest knows the bytes.
    shutil.copy(voices / "PD" / "s1" / "take1.wav", bad)
    answer = run("evaluate", "--resume", out)
    assert answer.status == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--recipes", "salency"], "Unknown recipe 'salency'. Did you mean 'saliency'? Known: "),
        (["--metrics", "faithfull"], "Unknown metric 'faithfull'. Did you mean 'faithfulness'? Known: "),
        (
            ["--fill", "zeros"],
            "The command line: the key 'fill': input should be 'silence', 'noise', 'mean' or 'neighbors'. Got 'zeros'"
            " instead.",
        ),
        (["--model", "no-such"], "no-such: there is no such folder. Unknown model 'no-such'."),
        (
            ["--data", "figshare-voic"],
            (
                "figshare-voic: there is no such folder or manifest. Unknown data set 'figshare-voic'. Did you mean"
                " 'figshare-voice'?"
            ),
        ),
        (
            ["--data", "figshare-voice"],
            "The data card 'figshare-voice' needs the folder of its recordings: give --root.",
        ),
        (["--device", "cuda:99"], "The device 'cuda:99' is not there: "),
    ],
)
def test_wrong_words_get_one_clean_line(
    words: list[str], message: str, voices: Path, model: Path, tmp_path: Path, run: Run
) -> None:
    given = {
        "--data": str(voices),
        "--model": str(model),
        "--out": str(tmp_path / "run"),
        **dict(zip(words[::2], words[1::2], strict=True)),
    }
    answer = run("evaluate", *(word for pair in given.items() for word in pair))
    assert answer.status == 2
    assert answer.err.startswith(f"Error: {message}")
    assert answer.err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_run_needs_a_folder_that_can_be_written(
    voices: Path, model: Path, tmp_path: Path, run: Run, finished: Path
) -> None:
    words = ["evaluate", "--data", voices, "--model", model, "-r", "saliency"]
    assert run(*words).err == "Error: The run needs a folder: give --out, for example --out runs/first.\n"
    (tmp_path / "file").write_text("")
    answer = run(*words, "--out", tmp_path / "file" / "run")
    assert answer.status == 2
    assert answer.err.startswith(
        f"Error: {tmp_path / 'file' / 'run'}: cannot be written (Not a directory: {tmp_path / 'file'}). Choose a"
    )
    answer = run(*words, "--out", "/proc/run")
    assert answer.status == 2
    assert answer.err.startswith("Error: /proc/run: cannot ")
    answer = run(*words, "--out", finished)
    assert answer.err.startswith(f"Error: {finished}: there is a run already. Continue it with")


def test_damaged_weights_are_named(voices: Path, model: Path, tmp_path: Path, run: Run) -> None:
    damaged = Path(shutil.copytree(model, tmp_path / "damaged"))
    weights = damaged / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    words = ["evaluate", "--data", voices, "--model", damaged, "--out", tmp_path / "run"]
    assert run(*words).err.startswith(f"Error: {weights}: the file is damaged or from another bundle")
    weights.unlink()
    assert run(*words).err.startswith(f"Error: {weights}: the weights are missing.")


def test_config_file_and_check(voices: Path, model: Path, tmp_path: Path, run: Run) -> None:
    study = tmp_path / "study.toml"
    study.write_text(
        f'data = "{voices}"\nmodel = "{model}"\nrecipes = ["saliency", "occlusion"]\nmetrics = ["faithfulness"]\nlimit'
        " = 4\n"
    )
    answer = run("check", study)
    assert answer.status == 0, answer.err
    assert {tuple(re.split(r"  +", line, maxsplit=1)) for line in answer.out.splitlines()} >= {
        ("model", "tiny, 2 fold models"),
        ("doctor", "nobody is suspected at a first look"),
        ("recordings", "4 of 4 speakers (2 HC, 2 PD)"),
        ("not placed", "0 files"),
        ("recipes", "5: saliency, occlusion, random_map, energy_map, ..."),
        ("metrics", "1: faithfulness"),
        ("protocol", "standard, evidence auto, removed bins filled with silence, seed 0"),
        ("passes a recording", "39 forward and 1 backward, for one of 0.5 s"),
        ("passes in all", "156 forward and 4 backward"),
        ("maps kept", "no"),
        ("run folder", "give --out"),
    }
    assert f"{study} is valid." in answer.out
    assert not (tmp_path / "run").exists()
    flags = ("--limit", 2, "--recipes", "saliency", "--data", voices / "HC", "--root", voices, "--model", "nowhere")
    assert "nowhere: there is no such folder" in run("check", study, *flags).err
    answer = run("check", study, "--limit", 2, "--recipes", "saliency")
    assert "2 of 2 speakers" in answer.out
    assert "occlusion" not in answer.out
    assert "there is no such plugin" in run("check", study, "--import", "no_such_plugin").err
    study.write_text(study.read_text() + "sed = 3\n")
    answer = run("check", study)
    assert answer.status == 2
    assert answer.err.startswith(f"Error: {study}: Unknown key 'sed'. Did you mean 'seed'? Known: data, root")
    study.write_text(study.read_text().replace("sed = 3\n", "[options.occlusion]\npatch = 3\n"))
    assert "option of 'occlusion' 'patch'" in run("check", study).err


def test_predict_says_what_and_goes_on_after_a_bad_file(voices: Path, model: Path, tmp_path: Path, run: Run) -> None:
    good = voices / "HC" / "s0" / "take0.wav"
    (tmp_path / "empty.wav").write_bytes(b"")
    answer = run("predict", good, tmp_path / "empty.wav", "--model", model, "--format", "json")
    assert answer.status == 1
    assert answer.err.startswith(f"Error: {tmp_path / 'empty.wav'}: ")
    (found,) = json.loads(answer.out)
    assert found["predicted"] in ("HC", "PD")
    assert found["p_HC"] + found["p_PD"] == pytest.approx(1, abs=2e-4)
    assert found["fold"] == "final"
    assert run("predict", tmp_path / "nowhere.wav", "--model", model).status == 2
    assert run("predict", good, "--model", model, "--format", "xml").err.startswith("Error: Unknown format 'xml'.")
    table = run("predict", good, "--model", model)
    assert "Not a medical device." in table.err
    assert "take0.wav" in table.out


def test_limits_that_errors_name_are_options(model: Path, tmp_path: Path, run: Run) -> None:
    long, two = tmp_path / "long.wav", tmp_path / "two.wav"
    voice = noise_recording("v", 1.5, seed=2).waveform.numpy()
    soundfile.write(long, voice, 8000)
    soundfile.write(two, np.stack([voice, -voice], axis=1), 8000, subtype="FLOAT")
    for command in (["predict"], ["explain", "--overwrite", "--out", tmp_path / "x"]):
        assert "raise the limit: --max-duration-s 2" in run(*command, long, "--model", model, "--max-duration-s", 1).err
        assert run(*command, long, "--model", model, "--max-duration-s", 2).status == 0
        assert "Choose one: --channel 0" in run(*command, two, "--model", model).err
        assert run(*command, two, "--model", model, "--channel", 1).status == 0


def test_explain_says_which_phones_hold_the_evidence(voices: Path, model: Path, tmp_path: Path, run: Run) -> None:
    file, out, grids = voices / "PD" / "s7" / "take7.wav", tmp_path / "why", tmp_path / "grids" / "s7"
    duration_s = soundfile.info(file).duration
    at = [duration_s * share for share in (0.1, 0.3, 0.6, 0.8, 1)]
    phones = [(at[i], at[i + 1], symbol) for i, symbol in enumerate(("T", "AA1", "S", "spn"))]
    grids.mkdir(parents=True)
    grid = grids / "take7.TextGrid"
    grid.write_text(write_tiers([("words", [(at[0], at[2], "tah")]), ("phones", phones)], duration_s))
    command = ["explain", file, "-r", "energy_map", "--model", model, "--out", out, "--target", "PD", "--overwrite"]
    answer = run(*command, "--textgrids", grids.parent)
    assert answer.status == 0, answer.err
    assert f"Evidence by unit, {grid}; shares; over time, over energy: above 1" in answer.out
    shown = answer.out[answer.out.index("unit   ") :].splitlines()
    assert [line.split("  ")[0] for line in shown[2:8]] == [
        *("stop", "fricative", "vowel", "low vowel", "unknown symbols", "pause")
    ]
    assert "how much the explained logit falls" in answer.out
    assert re.search(r"\nstop +0\.\d\d +[+−]?\d\.\d\d +\S+ to \S+ +\d of 9\n", answer.out)
    assert f"{grid}: Symbols that are not known and have no class: 'spn'." in answer.err
    rows = list(csv.DictReader((out / "units.csv").read_text().splitlines()))
    assert {row["recipe"] for row in rows} == {"energy_map"}
    for level in ("class", "phone", "word", "each phone", "each word"):
        some = [row for row in rows if row["level"] == level]
        assert sum(float(row["share"]) for row in some) == pytest.approx(1, abs=1e-4), level
        assert sum(float(row["share_of_time"]) for row in some) == pytest.approx(1, abs=1e-4), level
        assert {float(row["over_energy"]) for row in some} == {1.0}
    removed = list(csv.DictReader((out / "units_removed.csv").read_text().splitlines()))
    assert [row["name"] for row in removed] == ["stop", "fricative", "vowel", "low vowel", "unknown", "pause"]
    assert b"Evidence by unit" in (out / "energy_map.html").read_bytes()
    content = json.loads((out / "explanation.json").read_text())
    assert content["made"]["settings"]["units"] == hashlib.sha256(grid.read_bytes()).hexdigest()

    answer = run(*command)
    assert answer.status == 0, answer.err
    assert not {"units.csv", "units_removed.csv"} & {path.name for path in out.iterdir()}
    assert "Evidence by unit" not in answer.out
    answer = run(*command, "--textgrids", "own", "--no-removal", "-r", "unit_occlusion")
    assert answer.status == 0, answer.err
    assert "Evidence by unit, own;" in answer.out
    assert "units_removed.csv" not in {path.name for path in out.iterdir()}
    assert "Not applicable" not in answer.err
    answer = run(*command, "-r", "unit_occlusion")
    assert "unit_occlusion: no phones or words of this recording are known; give --textgrids" in answer.err
    for given, why in ((tmp_path / "no", "no such file or folder"), (out, "no TextGrid named as take7.wav")):
        answer = run(*command[:-1], "--textgrids", given)
        assert (answer.status, why in answer.err) == (2, True), answer.err
    grid.write_text(write_tiers([("phones", phones)], duration_s + 3))
    answer = run(*command, "--textgrids", grid)
    assert (answer.status, answer.err.startswith(f"Error: {grid}: The TextGrid covers")) == (2, True), answer.err


def test_evaluate_counts_the_evidence_by_unit_over_speakers(
    voices: Path, model: Path, tmp_path: Path, run: Run
) -> None:
    out, grids = tmp_path / "run", tmp_path / "grids"
    grids.mkdir()
    files = sorted(voices.rglob("*.wav"))
    bad, without = files[0], files[-1]
    for file in files[:-1]:
        end = soundfile.info(file).duration
        phones = [(0.2 * end, 0.3 * end, "T"), (0.3 * end, 0.8 * end, "AA1")]
        text = write_tiers([("phones", phones)], end + 9 * (file == bad))
        (grids / f"{file.stem}.TextGrid").write_text(text)
    command = ["evaluate", "--data", voices, "--model", model, "-r", "unit_occlusion", "-m", "deletion_auc"]
    command += ["--pictures", 0, "--no-agreement", "--out", out]
    answer = run(*command, "--textgrids", grids)
    assert answer.status == 1
    assert f"TextGrids: {len(files) - 1} of {len(files)} recordings have one; without: " in answer.err
    assert "The TextGrid covers" in answer.err
    assert re.search(r"unit_occlusion: beyond duration and loudness most to \w+ in \d of \d recordings\.", answer.out)
    rows = list(csv.DictReader((out / "evidence_by_unit_recordings.csv").read_text().splitlines()))
    named = {row["recording"] for row in rows}
    assert len(named) == len(files) - 2
    assert not [name for name in named if bad.stem in name or without.stem in name]
    table = list(csv.DictReader((out / "evidence_by_unit.csv").read_text().splitlines()))
    assert {row["label"] for row in table} == {"all", "HC", "PD"}
    assert {row["name"] for row in table if row["level"] == "class"} == {"stop", "vowel", "pause"}
    assert {row["name"] for row in table if row["level"] == "phone"} == {"T", "AA1", "(pause)"}
    energy = [row for row in table if (row["recipe"], row["level"], row["label"]) == ("energy_map", "class", "all")]
    assert {round(float(row["over_energy"]), 6) for row in energy} == {1.0}
    stops = [float(r["share"]) for r in rows if (r["recipe"], r["name"]) == ("energy_map", "stop")]
    assert float(energy[0]["share"]) == pytest.approx(sum(stops) / len(stops))
    reasons = list(csv.DictReader((out / "failures.csv").read_text().splitlines()))
    assert [r["recipe"] for r in reasons if without.stem in r["recording"]] == ["unit_occlusion"]
    report = (out / "report.html").read_text("utf-8")
    assert "To which sounds does the evidence point?" in report
    assert (out / "evidence_by_unit.tex").read_text("utf-8").startswith("% needs")
    # What the TextGrids say is part of the run, where they lie is not.
    assert run("evaluate", "--resume", out).status == 1
    moved = next(path for path in grids.iterdir() if path.stem not in (bad.stem, without.stem))
    moved.write_text(moved.read_text().replace('"T"', '"S"'))
    answer = run("evaluate", "--resume", out)
    assert (answer.status, "textgrids" in answer.err) == (2, True), answer.err
    answer = run(*command, "--overwrite", "--textgrids", tmp_path / "no")
    assert (answer.status, "no such file or folder" in answer.err) == (2, True), answer.err


def test_explain_writes_for_eyes_and_ears(voices: Path, model: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "why"
    file = voices / "PD" / "s7" / "take7.wav"
    answer = run(
        "explain", file, "-r", "saliency", "-r", "union( saliency,smoothgrad )", "--model", model, "--out", out
    )
    assert answer.status == 0, answer.err
    assert answer.out.count("yes, within") == 2
    assert answer.out.count("This map ") == 2
    content = json.loads((out / "explanation.json").read_text())
    assert set(content["explanations"]) == {"saliency", "union(saliency, smoothgrad)"}
    n_samples = soundfile.info(file).frames
    for entry in content["explanations"].values():
        assert entry["kept_plus_removed_error"] <= 1e-4
        assert (out / entry["files"]["picture"]).read_bytes().startswith(b"\x89PNG")
        assert (out / entry["files"]["pdf"]).read_bytes().startswith(b"%PDF")
        drawn = (out / entry["files"]["svg"]).read_text("utf-8")
        assert drawn.count("<image") == 1, "the spectrogram; letters, axes and the rim of the evidence are lines"
        assert drawn.count("<path") > 20
        assert entry["map_duration_s"] == pytest.approx(n_samples / 8_000, abs=64 / 8_000)
        assert b"What matters" in (out / entry["files"]["report"]).read_bytes()
        for half in ("kept", "removed", "soft_kept", "soft_removed"):
            sound, rate = soundfile.read(out / entry["files"][half])
            assert (len(sound), rate) == (n_samples, 8_000)
    maps = np.load(out / "maps.npz")
    assert maps["saliency"].shape == maps["magnitude"].shape == (len(maps["frequencies_hz"]), len(maps["times_s"]))
    assert len(content["agreement"]) == 1
    assert 0 <= content["agreement"][0]["overlap"] <= 1
    answer = run("explain", file, "-r", "salency", "--model", model, "--out", out)
    assert answer.err.startswith("Error: Unknown recipe 'salency'. Did you mean 'saliency'?")
    answer = run("explain", file, "--target", "XX", "--model", model, "--out", tmp_path / "other")
    assert answer.err == "Error: The class 'XX' is not one of this model: auto, HC, PD.\n"
    (tmp_path / "file").write_text("")
    answer = run("explain", file, "-r", "saliency", "--model", model, "--out", tmp_path / "file")
    assert answer.err.startswith(f"Error: {tmp_path / 'file'}: ")


def test_a_run_as_methods_tidy_tables_figures_and_json(finished: Path, tmp_path: Path, run: Run) -> None:
    run("report", finished, "--format", "methods", "--out", tmp_path / "methods.tex")
    text, bib = ((tmp_path / f"methods.{kind}").read_text() for kind in ("tex", "bib"))
    cited = {key for keys in re.findall(r"\\cite\{(.*?)\}", text) for key in keys.split(",")}
    assert cited == set(re.findall(r"^@\w+\{(\w+),", bib, re.M))
    assert {"simonyan2014deep", "efron1987better", "holm1979simple"} <= cited
    run("report", finished, "--format", "methods", "--out", tmp_path / "methods.md")
    assert "[@simonyan2014deep]" in (tmp_path / "methods.md").read_text()

    run("report", finished, "--format", "tidy", "--out", tmp_path / "tidy")
    tables = {path.name: pd.read_csv(path) for path in (tmp_path / "tidy").iterdir()}
    book = tables.pop("codebook.csv")
    for name, table in tables.items():  # every variable of every table, and none beside
        assert book.loc[book["file"] == name, "variable"].tolist() == table.columns.tolist()
    assert book["meaning"].notna().all()
    scores = pd.read_csv(finished / "scores.csv")
    assert len(tables["scores.csv"]) == len(scores)
    assert len(tables["scores_wide.csv"]) == len(scores.drop_duplicates(["recording", "recipe"]))
    assert not any("path" in column or "root" in column for table in tables.values() for column in table.columns)

    run("report", finished, "--format", "figures", "--out", tmp_path / "figures")
    for name, begins in (("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")):
        files = sorted((tmp_path / "figures").glob(f"*.{name}"))
        assert {"scores", "agreement-1", "example-1"} <= {path.stem for path in files}
        assert all(path.read_bytes().startswith(begins) for path in files)
    for path in (tmp_path / "figures").glob("*.svg"):
        assert path.read_text("utf-8").count("<path") > 20, f"{path.name} is points and no lines"
    captions = (tmp_path / "figures" / "figures.tex").read_text()
    assert captions.count("\\caption") == captions.count("n = ") == len(files)

    found = json.loads(run("report", finished, "--format", "json", "--columns", "AD", "-r", "controls").out)
    assert {row["recipe"] for row in found["tables"][0]["rows"]} == {"random_map", "energy_map", "edge_map"}
    refused = run("report", finished, "--format", "csv", "--label", "x")
    assert refused.err == "Error: --label is for --format latex; this is csv.\n"


@pytest.mark.parametrize("format", ["latex", "markdown", "csv"])
def test_tables_for_papers(format: str, finished: Path, tmp_path: Path, run: Run) -> None:
    answer = run("report", finished, "--format", format)
    assert answer.status == 0
    for name in ("AI", "AD", "AG", "FF", "Fid-In", "SPS", "COMP"):
        assert name in answer.out
    assert ("guided\\_backprop" if format == "latex" else "guided_backprop") in answer.out
    run("report", finished, "--format", format, "--out", tmp_path / "table")
    assert (tmp_path / "table").read_text().rstrip("\n") == answer.out.rstrip("\n")
    if format == "csv":
        table = pd.read_csv(tmp_path / "table")
        summary = pd.read_csv(finished / "summary.csv").set_index(["recipe", "metric"])
        assert table.set_index("recipe").loc["saliency", "AD"] == pytest.approx(
            100 * summary.loc[("saliency", "average_drop"), "mean"]
        )
        assert table.set_index("recipe").loc["saliency", "FF"] == pytest.approx(
            summary.loc[("saliency", "faithfulness"), "mean"]
        )
        assert list(table["group"])[-1] == "Controls"


def test_report_errors(finished: Path, tmp_path: Path, run: Run) -> None:
    assert run("report", finished, "--format", "pdf").err.startswith("Error: Unknown format 'pdf'.")
    assert run("report", tmp_path).err == f"Error: {tmp_path}: not a run folder (no config.toml in it).\n"
    assert run("report", finished, "--out", tmp_path / "copy.html").out.strip() == str(tmp_path / "copy.html")


@pytest.mark.parametrize(
    "kind", ["methods", "combinations", "metrics", "models", "cards", "backbones", "presets", "configs"]
)
def test_list(kind: str, run: Run) -> None:
    answer = run("list", kind)
    assert answer.status == 0
    expected = {
        "methods": "saliency",
        "combinations": "union",
        "metrics": "faithfulness",
        "cards": "figshare-voice",
        "backbones": "cnn",
        "presets": "published",
        "configs": "ssl4pr                 train --config     Fine-tuning of HuBERT",
    }
    assert expected.get(kind, "") in answer.out
    assert ("concept:NAME" in answer.out and "speechxai concepts MODEL --signs NAME" in answer.out) == (
        kind == "methods"
    )
    assert run("list", "metods").err.startswith("Error: Unknown list 'metods'. Did you mean 'methods'?")


def test_help_is_quick_and_teaches(run: Run) -> None:
    started = time.process_time()
    code = (
        "import sys, speechxai.cli as c\ntry: c.main(['--help'])\nexcept SystemExit: pass\nheavy ="
        " {'torch','pandas','numpy','matplotlib','pydantic'} & set(sys.modules)\nprint('HEAVY', heavy)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "HEAVY set()" in found.stdout
    for name in ("demo", "evaluate", "check", "report", "predict", "explain", "list", "data"):
        (line,) = re.findall(rf"\n  {name} .*", found.stdout)
        assert not line.endswith("...")
    assert "Examples:" in found.stdout
    assert time.process_time() - started < 5
    for name in ("demo", "evaluate", "check", "report", "predict", "explain", "list"):
        text = run(name, "--help").out
        assert "Example" in text
    assert run("--version").out == f"speechxai {__version__}\n"
    module = subprocess.run(
        [sys.executable, "-m", "speechxai", "--version"], capture_output=True, text=True, check=True
    )
    assert module.stdout == f"speechxai {__version__}\n"


def test_importing_the_package_loads_nothing() -> None:
    code = (
        "import sys, speechxai; assert not {'torch', 'numpy', 'pandas'} & set(sys.modules); speechxai.SpeechXAIError;"
        " assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    import speechxai

    assert all(getattr(speechxai, name) is not None for name in speechxai.__all__)


def test_debug_shows_where_it_happened(run: Run, tmp_path: Path) -> None:
    from speechxai.errors import SpeechXAIError

    with pytest.raises(SpeechXAIError):
        main(["report", str(tmp_path), "--debug"])


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: 262400"), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (MemoryError("Unable to allocate 7.45 GiB for an array"), True),
        (RuntimeError("shapes do not fit"), False),
    ],
)
def test_too_little_memory_is_one_line(
    error: Exception, is_memory: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(**_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "app", fails)
    with pytest.raises(SystemExit if is_memory else RuntimeError):
        main(["list"])
    told = capsys.readouterr().err
    assert (told.count("\n"), "not enough memory" in told) == ((1, True) if is_memory else (0, False))


def test_demo_writes_made_voices_that_other_commands_take(run: Run, tmp_path: Path) -> None:
    voices = tmp_path / "voices"
    words = ("demo", "--voices", voices, "--speakers", 4, "--recordings", 5)
    assert "5 made voices and labels.csv" in run(*map(str, words)).out
    table = pd.read_csv(voices / "labels.csv")
    assert sorted(table["file"]) == sorted(path.name for path in voices.glob("*.wav"))
    assert table["speaker"].nunique() == 4
    assert list(table["task"]) == ["vowel-a"] * 4 + ["ddk"]
    out = str(tmp_path / "manifest.csv")
    assert (
        "5 recordings of 4 speakers"
        in run("data", "import", str(voices), "--labels", str(voices / "labels.csv"), "--out", out).out
    )
    assert "not empty" in run(*map(str, words)).err


def test_demo_says_where_it_makes_fewer_voices_than_asked(run: Run, tmp_path: Path) -> None:
    said = [
        run("demo", "--voices", str(tmp_path / count), "--speakers", "2", "--recordings", count).out
        for count in ("6", "7")
    ]
    assert ["three at most" in each for each in said] == [False, True]
    assert all("6 made voices" in each for each in said)
