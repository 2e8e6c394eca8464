"""A recording unlike those that a model was made for gets no class, on the command line, in the app and in reports."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from app import inspecting, sources, state, widgets
from speechxai import cli
from speechxai.classifiers.bundle import load_bundle
from speechxai.classifiers.scope import Scope
from speechxai.classifiers.validation import recordings_table
from speechxai.evaluation.runs import RunFolder
from speechxai.evaluation.words import scope_sentence
from speechxai.inspection import inspect, report
from speechxai.testing import noise_recording, tiny_bundle

SHORT = Scope(band_hz=4_000.0, n_recordings=9, ranges={"duration_s": (0.3, 1.0)})
"""The scope of a model that learned from recordings of up to a second."""

TOO_LONG = "It is unlike what the model learned from: it lasts 1.5 s (0.3 to 1.0 s)."
UNKNOWN = "The model does not say what it was made for, so nobody knows whether it may be asked about this recording."
CLASSES = ("HC", "PD", "Healthy control", "Parkinson")


def says(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[object, str, str]:
    """Exit status, standard output and standard error of a command."""
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    return ended.value.code, *capsys.readouterr()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same network with a scope and without."""
    folder = tmp_path_factory.mktemp("models")
    return {
        "short": tiny_bundle(folder / "short", n_folds=0, scope=SHORT).folder,
        "unknown": tiny_bundle(folder / "unknown", n_folds=0, scope=None).folder,
    }


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight recordings of eight speakers, two of them too long: one in each class."""
    root = tmp_path_factory.mktemp("voices")
    for index in range(8):
        samples = noise_recording(seed=index, duration_s=1.5 if index in (2, 5) else 0.6).waveform.numpy()
        path = root / ("HC", "PD")[index % 2] / f"s{index}_a.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, 8_000)
    return root


# ---- command line


def test_predict_names_no_class(models: dict[str, Path], voices: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [voices / "HC" / "s0_a.wav", voices / "HC" / "s2_a.wav"]
    code, out, told = says(capsys, "predict", *files, "--model", models["short"])
    assert code == 0  # it was asked, and has said what can be said
    inside, outside = (next(line for line in out.splitlines() if file.name in line) for file in files)
    assert "inside" in inside
    assert inside.split()[1] in ("HC", "PD")
    assert "no class" in outside
    assert not {"HC", "PD"} & set(outside.split())
    assert f"{files[1]}: no class. {TOO_LONG}" in told
    assert told.count("no class") == 1

    code, out, _ = says(capsys, "predict", *files, "--model", models["short"], "--format", "json")
    first, second = json.loads(out)
    assert first["predicted"] in ("HC", "PD")
    assert (first["scope"], first["scope_reason"]) == ("inside", "")
    assert (second["predicted"], second["p_HC"], second["p_PD"]) == (None, None, None)
    assert (second["scope"], second["scope_reason"]) == ("outside", TOO_LONG)

    code, out, _ = says(capsys, "predict", *files, "--model", models["short"], "--format", "csv")
    first, second = csv.DictReader(io.StringIO(out))
    assert first["predicted"] in ("HC", "PD")
    assert (second["predicted"], second["p_HC"], second["p_PD"], second["scope"]) == ("", "", "", "outside")


def test_predict_answers_with_the_word_unknown(
    models: dict[str, Path], voices: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = voices / "HC" / "s2_a.wav"
    code, out, told = says(capsys, "predict", file, "--model", models["unknown"])
    assert code == 0
    (row,) = (line for line in out.splitlines() if file.name in line)
    assert {"HC", "PD"} & set(row.split())
    assert "unknown" in row.split()
    assert "Scope unknown: this model does not say which recordings it was made for." in told


def test_explain_explains_no_class(
    models: dict[str, Path], voices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = voices / "HC" / "s2_a.wav"
    words = ("explain", file, "-r", "saliency", "--model")
    code, _, told = says(capsys, *words, models["short"], "--out", tmp_path / "a")
    assert code == 2
    assert told == (
        f"Error: {file}: no class, and so nothing to explain. {TOO_LONG} To see what speaks for a class all the same,"
        " name it: --target PD.\n"
    )
    assert not (tmp_path / "a").exists()
    code, out, told = says(capsys, *words, models["short"], "--out", tmp_path / "a", "--target", "PD")
    assert code == 0, told
    assert f"{file}: 1.50 s, no class. {TOO_LONG}" in out
    assert "predicted" not in out
    written = json.loads((tmp_path / "a" / "explanation.json").read_text())
    assert written["predicted"] is None
    assert written["scope"] == {"state": "outside", "reason": TOO_LONG}
    page = next((tmp_path / "a").glob("*.html")).read_text()
    assert f"<p>No class. {TOO_LONG}</p>" in page
    assert "The model says" not in page

    code, out, told = says(capsys, *words, models["unknown"], "--out", tmp_path / "b")
    assert code == 0, told
    assert "(scope unknown)" in out
    assert json.loads((tmp_path / "b" / "explanation.json").read_text())["scope"]["state"] == "unknown"
    page = next((tmp_path / "b").glob("*.html")).read_text()
    assert f"<p>Scope unknown. {UNKNOWN}</p>" in page


# ---- reports


def test_evaluate_scores_what_is_outside_and_counts_it(
    models: dict[str, Path], voices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = {}
    for name, model in models.items():
        words = ("-r", "saliency", "-m", "average_drop", "--no-controls", "--pictures", 0, "--out", tmp_path / name)
        code, _, told = says(capsys, "evaluate", "--data", voices, "--model", model, *words)
        assert code == 0, told
        runs[name] = RunFolder.open(tmp_path / name)
    rows = runs["short"].table("predictions")
    assert rows["scope"].value_counts().to_dict() == {"inside": 6, "outside": 2}
    outside = rows[rows["scope"] == "outside"]
    assert sorted(Path(name).stem for name in outside["recording"]) == ["s2_a", "s5_a"]
    assert set(outside["scope_reason"]) == {TOO_LONG}
    scores = [run.table("scores").assign(model="") for run in runs.values()]
    pd.testing.assert_frame_equal(*scores)  # what is scored does not depend on the scope
    assert scores[0]["value"].notna().all()
    assert len(scores[0]) == 8
    (sentence,) = said_in(runs["short"], "recordings are outside of what the model was made for")
    assert sentence.startswith("2 of 8 recordings are outside")
    assert sentence.endswith(TOO_LONG)
    assert said_in(runs["unknown"], "Scope unknown: the model does not say which recordings it was made for")


def said_in(run: RunFolder, words: str) -> list[str]:
    """The sentence about the scope where the report has it."""
    found = scope_sentence(run.table("predictions"))
    assert found is not None
    page = (run.path / "report.html").read_text(encoding="utf-8")
    return [found.text] if words in found.text and found.text in page else []


def test_what_a_report_says_of_the_scope() -> None:
    def rows(*states: str | None) -> pd.DataFrame:
        return pd.DataFrame({"recording": [f"r{k}" for k in range(len(states))], "scope": states, "scope_reason": "R."})

    all_inside = scope_sentence(rows("inside", "inside"))
    assert all_inside is not None
    assert (all_inside.text, all_inside.tone) == (
        "All 2 recordings are like those that the model was made for.",
        "good",
    )
    some = scope_sentence(rows("inside", "outside", "outside"))
    assert some is not None
    assert (some.text, some.tone) == (
        "2 of 3 recordings are outside of what the model was made for: asked about one of them alone it gives no class."
        " They are scored here all the same. The first, r1: R.",
        "caution",
    )
    assert scope_sentence(rows(None)) is None
    assert scope_sentence(pd.DataFrame({"recording": ["r"]})) is None  # a run of an earlier version


# ---- app


@pytest.fixture
def app_on(voices: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The app's state, without a browser, on the voices."""
    cached = (sources.memory, sources.disk, sources.catalogue, sources.bundle_and_lock, sources.rows_by_name)
    for each in cached:
        each.clear()
    monkeypatch.setattr(sources, "settings", lambda: sources.Settings(data=str(voices), keep_cache=False))
    monkeypatch.setattr(state, "settings", sources.settings)
    yield
    for each in cached:
        each.clear()


@pytest.mark.usefixtures("app_on")
@pytest.mark.parametrize(
    ("model", "head", "reason"), [("short", "No class", TOO_LONG), ("unknown", "Scope unknown", UNKNOWN)]
)
def test_the_app_shows_the_reason_instead_of_a_class(
    model: str, head: str, reason: str, models: dict[str, Path]
) -> None:
    name = next(n for n in sources.catalogue()["recording"] if "s2_a" in n)
    heard = state.heard(str(models[model]), ("catalogue", name))
    card = widgets.verdict(heard, "HC", True)
    assert f"<b>{head}</b>" in card
    assert reason in card.replace("\u00a0", " ")
    assert not any(word in card for word in CLASSES)
    # Nor does the player say one.
    (found,) = inspect.inspect_all(heard, ["saliency"], [])[0].values()
    block = inspecting.player_view(heard, found.map, "t")
    assert b"The model says" not in block
    assert b"Evidence for " in block
    assert f"<p>{head}. {reason}" in report.case_html(found, "t").decode()


@pytest.mark.usefixtures("app_on")
def test_the_apps_tables_show_no_class(models: dict[str, Path]) -> None:
    shown = recordings_table(state.predictions(str(models["short"])), ("HC", "PD"))
    long = shown[shown["recording"].str.contains("s2_a|s5_a")]
    assert set(long["model says"]) == {"no class"}
    assert long["P(PD)"].isna().all()
    assert set(long["right"]) == {""}
    others = shown.drop(long.index)
    assert set(others["model says"]) <= {"HC", "PD"}
    assert others["P(PD)"].notna().all()
    assert set(others["right"]) <= {"yes", "no"}
    unknown = recordings_table(state.predictions(str(models["unknown"])), ("HC", "PD"))
    assert set(unknown["model says"]) == {"scope unknown"}
    assert unknown["P(PD)"].isna().all()


def test_a_damaged_recording_is_neither(models: dict[str, Path]) -> None:
    """What cannot be read has no answer at all, whatever the scope."""
    rows = pd.DataFrame(
        {
            "recording": ["r"],
            "speaker": ["s"],
            "label": [1.0],
            "task": ["unknown"],
            "probability": [np.nan],
            "predicted": [pd.NA],
            "scope": ["unknown"],
            "problem": ["r: broken"],
        }
    )
    assert recordings_table(rows, ("HC", "PD"))["model says"].tolist() == ["none"]


def test_the_pages_end_where_there_is_no_class(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    class Stopped(Exception):
        pass

    def stop() -> None:
        raise Stopped

    monkeypatch.setattr(widgets, "show_html", shown.append)
    monkeypatch.setattr(widgets, "foot", lambda: None)
    monkeypatch.setattr(inspecting.st, "stop", stop)
    recording = noise_recording(seed=2, duration_s=1.5)
    inspecting.stop_without_class(inspect.hear(load_bundle(models["unknown"]), recording))
    assert not shown
    with pytest.raises(Stopped):
        inspecting.stop_without_class(inspect.hear(load_bundle(models["short"]), recording))
    assert TOO_LONG in shown[0].replace("\u00a0", " ")
