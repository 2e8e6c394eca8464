"""Every page of the app word by word: what stands on it is what stood there when somebody read it all.

`app_pages.txt` holds the pages. After a change that is meant to be seen: `python tests/surface/test_app_pages.py`
writes them anew; read the difference as a reader of the app would.
"""

from __future__ import annotations

import html
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import soundfile
from app_server import write_bundle, write_run, write_truth

from speechxai.data.manifest import write_manifest
from speechxai.data.synthetic import corpus

ROOT = Path(__file__).resolve().parents[2]
FROZEN = Path(__file__).with_name("app_pages.txt")
NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?:[ \u00a0]%)?")
STUDY = "[header] What do the maps alone know?"
HERE = (
    (r"(\w+) \d+\.\d+\.\d+(?:rc\d+)?(?=[,. ])", r"\1 VERSION"),
    (r"(?<=Model )[0-9a-f]{12}", "HASH"),
    (r"\b\d{4}-\d\d-\d\d\b", "DAY"),
    (r"(?<=are kept in\n).*(?= so that)", "CACHE"),
)


def press(label: str) -> Callable[[Any], None]:
    """Turn on the switch of this label."""

    def do(page: Any) -> None:
        next(toggle for toggle in page.toggle if toggle.label == label).set_value(True)

    return do


def pick(key: str, option: str) -> Callable[[Any], None]:
    """Press one of several buttons in a row."""

    def do(page: Any) -> None:
        page.session_state[key] = option

    return do


def bring(name: str) -> Callable[[Any], None]:
    """Bring a file as a reader does."""

    def do(page: Any) -> None:
        page.session_state["mine"] = {"brought": (name, (FOLDERS[-1] / name).read_bytes())}
        page.session_state["mine_now"] = ("mine", "brought")

    return do


def maps(*recipes: str) -> Callable[[Any], None]:
    """Choose the maps to compare."""
    return lambda page: page.multiselect[0].set_value(list(recipes))


def other_run(page: Any) -> None:
    box = next(box for box in page.selectbox if box.label == "Run")
    box.set_value(next(path for path in STARTED["--run"] if path.endswith("run-one")))


def second_model(page: Any) -> None:
    other_run(page)
    page.run()
    next(box for box in page.selectbox if box.label == "Model").set_value("two")


FOLDERS: list[Path] = []
STARTED: dict[str, list[str]] = {}
PAGES: dict[str, tuple[str, list[Callable[[Any], None]]]] = {
    "Inspect": ("inspect_recording", []),
    "What if, before": ("what_if", []),
    "Compare": ("compare", [press("Union")]),
    "Compare one map": ("compare", [maps("saliency")]),
    "Compare two maps": ("compare", [maps("saliency", "gradcam"), press("Intersection")]),
    "Compare a map with a control": ("compare", [maps("saliency", "energy_map")]),
    "Try yours, before": ("try_yours", []),
    "Try yours": ("try_yours", [bring("voice-2.wav")]),
    "Try yours, no sound": ("try_yours", [bring("broken.wav")]),
    "Try yours, too soft": ("try_yours", [bring("soft.wav")]),
    "Cohort": ("cohort", [press("Check what else separates the classes")]),
    "Benchmark, truth known": ("benchmark", []),
    "Benchmark, truth unknown": ("benchmark", [other_run]),
    "About": ("about", []),
    "Inspect, wrong ones first": ("inspect_recording", [press("Wrong ones first"), pick("filter_label", "HC")]),
    "Inspect, nothing left": ("inspect_recording", [pick("filter_predicted", "HC")]),
    "Cohort, few and broken": ("cohort", []),
    "Benchmark, two models": ("benchmark", [second_model]),
    "Benchmark, maps alone": ("benchmark", [other_run]),
    "Benchmark, no controls": ("benchmark", [other_run]),
    "Benchmark, nothing learned": ("benchmark", []),
}


def of(model: str, mean: float, summary: pd.DataFrame) -> pd.DataFrame:
    """The scores as if they were another model's, by so much higher."""
    return summary.assign(model=model, mean=summary["mean"] + mean)


def few_and_broken(rows: pd.DataFrame) -> pd.DataFrame:
    """Of twelve voices nine are left, the last four unheard and outside."""
    rows = rows.head(9)
    broken = np.arange(9) >= 5
    return rows.assign(
        problem=np.where(broken, rows["recording"] + ": broken", ""),
        probability=rows["probability"].where(~broken),
        scope=np.where(np.arange(9) == 0, "outside", "inside"),
    )


def scores(change: Callable[[pd.DataFrame], pd.DataFrame]) -> tuple[str, Callable[[Any], Any]]:
    """Other scores of the run whose truth nobody knows."""
    return "run", lambda run: run if run.has_truth else replace(run, summary=change(run.summary))


CHANGES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "Cohort, few and broken": ("predictions", few_and_broken),
    "Benchmark, two models": scores(lambda rows: pd.concat([of("one", 0.0, rows), of("two", 0.1, rows)])),
    "Benchmark, maps alone": scores(lambda rows: rows[rows["metric"] == "mean_mask"]),
    "Benchmark, no controls": scores(
        lambda rows: rows[rows["recipe"] == "saliency"].drop(columns=rows.filter(like="vs_"))
    ),
    "Benchmark, nothing learned": ("run", lambda run: replace(run, summary=run.summary.head(0))),
}
"""What a page is given instead of what the app knows: the function of `app.state`, and what becomes of its answer."""


def write_all(folder: Path) -> list[str]:
    """Write voices, one file that is none, a network, a run and a benchmark; how the app is started with them."""
    rows = []
    for place, voice in enumerate(corpus(12, 1_000, tasks=["vowel-a"])):
        name = f"voice-{place + 1}"
        soundfile.write(folder / f"{name}.wav", voice.waveform.numpy()[:16_000], 16_000, subtype="PCM_16")
        about = {"speaker": voice.speaker, "label": voice.label, "task": voice.task, "dataset": "made"}
        rows.append({"recording": name, "path": f"{name}.wav", **about, "sex": "FFM"[place % 3], "age": 40 + 4 * place})
    soundfile.write(folder / "soft.wav", 0.001 * voice.waveform.numpy()[:16_000], 16_000, subtype="PCM_16")
    (folder / "broken.wav").write_text("This is no recording.")
    rows.append({**rows[0], "recording": "broken", "path": "broken.wav"})
    write_manifest(pd.DataFrame(rows[:-1]), folder / "manifest.csv")
    model = write_bundle(folder)
    runs = [str(write_truth(folder)), str(write_run(folder))]
    write_manifest(pd.DataFrame(rows), folder / "manifest.csv")
    STARTED["--run"] = runs
    FOLDERS.append(folder)
    words = ["speechxai", "--data", str(folder / "manifest.csv"), "--root", str(folder), "--model", str(model)]
    words += ["--save-to", str(folder / "cases")]
    return [*words, *(word for run in runs for word in ("--run", run))]


def lines(element: Any) -> Iterator[str]:
    """What a page says, element by element."""
    for child in element.children.values():
        kind = child.type
        if hasattr(child, "children"):
            label = getattr(getattr(child, "proto", None), "label", "")
            if label:
                yield f"[{kind}] {label}"
            yield from lines(child)
            continue
        value = getattr(child, "value", None)
        if kind == "html":
            text = re.sub(r"<style>.*?</style>", "", child.proto.body, flags=re.DOTALL)
            text = re.sub(r'(<tr class="muted"><th[^>]*>)', r"\1(gray) ", text)
            for image in re.findall(r'(?:alt|aria-label|title)="([^"]*)"', text):
                yield f"[named] {html.unescape(image)}"
            parts = [html.unescape(part).strip() for part in re.split(r"<[^>]*>", text)]
            yield " | ".join(part for part in parts if part)
        elif kind == "arrow_data_frame" or isinstance(value, pd.DataFrame):
            cells = (
                [f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row] for row in value.to_numpy()
            )
            yield from (" | ".join(row) for row in [value.columns, *cells])
        elif kind == "bidi_component":
            yield f"[component] {child.proto.id.split('-', 2)[2]}"
        elif isinstance(value, str) and not hasattr(child, "label"):
            yield f"[{kind}] {value}"
        else:
            options = list(map(str, getattr(child, "options", None) or []))
            offered = " / ".join(options if len(options) < 4 else [*options[:2], "..."])
            words = (getattr(child, "label", ""), offered, str(value), getattr(child.proto, "help", ""))
            yield f"[{kind}] " + " | ".join(word for word in words if word)


def shown(name: str) -> str:
    """A page's text, with what differs from machine to machine left out."""
    from app import state, widgets

    script, steps = PAGES[name]
    if name in CHANGES:
        of_state, change = CHANGES[name]
        known = getattr(state, of_state)
        changed = mock.patch.object(state, of_state, lambda *given: change(known(*given)))
    else:
        changed = nullcontext()  # type: ignore[assignment]
    with changed:
        text = said(script, steps)
    return text.replace(str(FOLDERS[-1]), "FOLDER").replace(widgets.plain(FOLDERS[-1]), "FOLDER")


def said(script: str, steps: list[Callable[[Any], None]]) -> str:
    """A page's text after what a reader does on it."""
    from streamlit.testing.v1 import AppTest

    page = AppTest.from_file(str(ROOT / "app" / "screens" / f"{script}.py"), default_timeout=60)
    if steps and not script.startswith("try"):
        page.run()
    for step in steps:
        step(page)
    page.run()
    assert not page.exception, page.exception
    text = "\n".join(line for line in lines(page.main) if line)
    for pattern, put in HERE:
        text = re.sub(pattern, put, text)
    return text


def read(frozen: str) -> dict[str, str]:
    """Pages by name."""
    parts = re.split(r"^== (.*)$", frozen, flags=re.MULTILINE)
    return {name: text.strip() for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def close(now: str, then: str) -> bool:
    """Counts are the same, figures differ by one in their last digit at most: other processors round otherwise."""
    a, b = (float(re.sub(r"[^\d.]", "", text)) for text in (now, then))
    decimals = len(then.rstrip("\u00a0 %").partition(".")[2])
    return abs(a - b) <= (1.01 * 10**-decimals if decimals or then.endswith("%") else 0)


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.usefixtures("started")
def test_a_page_says_what_it_said(name: str) -> None:
    now, then = shown(name).splitlines(), read(FROZEN.read_text(encoding="utf-8"))[name].splitlines()
    assert [NUMBER.sub("#", line) for line in now] == [NUMBER.sub("#", line) for line in then]
    if STUDY in then:  # what a network learned in one epoch is another network's on another processor
        now, then = (text[: text.index(STUDY)] for text in (now, then))
    for line, before in zip(now, then, strict=True):
        pairs = list(zip(NUMBER.findall(line), NUMBER.findall(before), strict=True))
        assert all(close(*pair) for pair in pairs), [pair for pair in pairs if not close(*pair)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.usefixtures("started")
def test_what_if_is_asked_and_says_what_was_found() -> None:
    from streamlit.testing.v1 import AppTest

    from app import sources, state
    from speechxai.inspection.words import class_words
    from speechxai.signs.words import sentences

    page = AppTest.from_file(str(ROOT / "app" / "screens" / "what_if.py"), default_timeout=120).run()
    model = sources.models_by_name()[page.session_state["chosen_model"]]
    key = ("catalogue", page.session_state["chosen_recording"])
    assert state.known_what_if(model, key) is None
    next(button for button in page.button if button.label == "Ask").click()
    page.run()
    assert not page.exception
    text = "\n".join(line for line in lines(page.main) if line)
    found = state.known_what_if(model, key)
    assert found is not None
    said = sentences(found, class_words)
    assert said
    for sentence in said:
        assert sentence in text
    assert "proven" not in text.replace("Not proven: ", "")
    assert "[named] P(PD) over the dose of: " in text
    assert "[component] what_if_edited" in text
    for curve in found.curves:
        assert f"| {curve.facts['label']} | {'voice' if curve.family == 'sign' else 'recording'} |" in text


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.usefixtures("started")
def test_units_that_a_reader_brought_are_those_that_are_silenced() -> None:
    from streamlit.testing.v1 import AppTest

    from app import sources, state
    from speechxai.units.tiers import Unit, Units

    page = AppTest.from_file(str(ROOT / "app" / "screens" / "inspect_recording.py"), default_timeout=120)
    page.session_state["method"] = "unit_occlusion"
    page.run()
    assert not page.exception
    model = sources.models_by_name()[page.session_state["chosen_model"]]
    key = ("catalogue", page.session_state["chosen_recording"])
    alone = state.explained(model, key, ["unit_occlusion", "saliency"])
    duration_s = state.heard(model, key).recording.duration_s
    halves = (Unit(0.0, duration_s / 2, "AA", "low vowel"), Unit(duration_s / 2, duration_s, "T", "stop"))
    brought = Units(halves, (), "mine.TextGrid", duration_s)
    with mock.patch.object(state.st, "session_state", {f"units_{key[1]}": brought}):
        found = state.explained(model, key, ["unit_occlusion", "saliency"])
        worth = state.inspection(model, key, "unit_occlusion").map
    values = found["unit_occlusion"].mask
    n_half = values.shape[-1] // 2
    # One value a half, in all of its bins.
    assert np.ptp(values[:, : n_half - 1]) == 0
    assert np.ptp(values[:, n_half + 2 : -1]) == 0
    assert np.array_equal(worth.mask, values)
    assert not np.array_equal(values, alone["unit_occlusion"].mask)
    assert found["saliency"] is alone["saliency"]  # what silences no units is not made again
    again = state.explained(model, key, ["unit_occlusion"])  # the reader who brought none
    assert np.array_equal(again["unit_occlusion"].mask, alone["unit_occlusion"].mask)
    page.session_state[f"units_{key[1]}"] = brought
    page.run()
    assert not page.exception
    assert "Evidence by unit" in "\n".join(line for line in lines(page.main) if line)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.usefixtures("started")
def test_notes_are_written_renamed_rated_and_deleted(tmp_path: Path) -> None:
    from streamlit.testing.v1 import AppTest

    from speechxai.inspection import notes
    from speechxai.inspection.notes import WHOLE

    page = AppTest.from_file(str(ROOT / "app" / "screens" / "inspect_recording.py"), default_timeout=120)
    page.session_state["save_to"] = str(tmp_path / "kept here")
    page.run()
    name, folder = page.session_state["chosen_recording"], tmp_path / "kept here" / "notes"
    assert f"Written at once to {folder}. Notes are health data" in "\n".join(lines(page.main))
    assert not folder.exists()
    page.text_area(key=f"note_{name}_{WHOLE}_text").set_value("tired").run()
    rated = next(group for group in page.button_group if group.key == f"note_{name}_{WHOLE}_weak")
    rated.set_value(2).run()
    assert notes.read(folder, name)[0].said == "weak 2: tired"
    # What the player says when a region is kept is tested in a browser; here it is in the store.
    kept = notes.merged((), [{"id": "r", "start": 0.1, "end": 0.4}])
    page.session_state["notes"] = {("catalogue", name): kept}
    page.run()
    next(group for group in page.button_group if group.key == f"note_chosen_{name}").set_value("r").run()
    page.text_input(key=f"note_{name}_r_name").set_value("onset").run()
    page.number_input(key=f"note_{name}_r_low_hz_None").set_value(500.0).run()
    (_, note) = notes.read(folder, name)
    assert (note.name, note.place) == ("onset", "0.10 to 0.40 s, 500 to 8000 Hz")
    page.button(key=f"note_{name}_r_delete").click().run()
    assert not folder.exists() or not list(folder.iterdir())  # it was the last that said anything
    page.text_area(key=f"note_{name}_{WHOLE}_text").set_value("again").run()
    assert notes.read(folder, name)[0].text == "again"
    assert not list((FOLDERS[-1] / "cache").rglob("*notes*"))
    page.button(key="delete_notes").click().run()
    assert not page.exception
    assert not folder.exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.usefixtures("started")
def test_saved_cases_of_one_person_stand_on_one_axis(tmp_path: Path) -> None:
    import datetime

    from streamlit.testing.v1 import AppTest

    from speechxai.inspection import cases
    from speechxai.inspection.notes import WHOLE

    page = AppTest.from_file(str(ROOT / "app" / "screens" / "inspect_recording.py"), default_timeout=120)
    page.session_state["save_to"] = str(tmp_path)
    page.run()
    name = page.session_state["chosen_recording"]
    page.text_area(key=f"note_{name}_{WHOLE}_text").set_value("first visit").run()
    page.text_input(key=f"save_person_{name}").set_value("P 07")
    for day in (datetime.date(2026, 3, 1), datetime.date(2026, 1, 15)):
        page.date_input(key=f"save_day_{name}").set_value(day)
        page.button(key="save_case").click().run()
        assert page.success[0].value.startswith("Saved in")
        next(tmp_path.glob("20*_*")).rename(tmp_path / f"saved {day}")  # two in one second would share a name
    page.run()
    found = cases.read_cases(tmp_path)
    assert [(case.person, case.day.isoformat()) for case in found] == [("P 07", "2026-01-15"), ("P 07", "2026-03-01")]
    files = {path.name for path in found[0].folder.iterdir()}
    assert {f"{name}.wav", f"{name}_notes.TextGrid", f"{name}_notes_labels.txt", f"{name}_notes.csv"} <= files
    text = "\n".join(line for line in lines(page.main) if line)
    assert "[named] P 07 over time: P(PD), " in text
    assert 0 < text.index("2026-01-15 |") < text.index("2026-03-01 |")


@contextmanager
def running(folder: Path) -> Iterator[None]:
    """The app as it is started with what lies in a folder, forgetting what it knew before and after."""
    import streamlit as st

    kept = {"SPEECHXAI_CACHE": str(folder / "cache")}
    with mock.patch.object(sys, "argv", write_all(folder)), mock.patch.dict(os.environ, kept):
        for cache in (st.cache_resource, st.cache_data):
            cache.clear()
        yield
        for cache in (st.cache_resource, st.cache_data):
            cache.clear()


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with running(tmp_path_factory.mktemp("pages")):
        yield


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made, running(Path(made)):
        FROZEN.write_text("\n\n".join(f"== {name}\n{shown(name)}" for name in PAGES) + "\n", encoding="utf-8")
