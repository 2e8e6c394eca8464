"""Command line and app say the same of one recording: kept, removed, verdict, sentences. Run with -s to see the
table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from app import sources, state
from speechxai.cli import main
from speechxai.data.manifest import write_manifest
from speechxai.data.synthetic import takes
from speechxai.inspection.inspect import Inspection
from speechxai.signal.audio import write

RECIPE = "input_x_gradient"
HEADER = ("recording", "said by", "p", "kept", "removed", "soft kept", "soft removed", "verdict")


def demo_voices(folder: Path) -> list[Path]:
    """Three synthetic voices of the demonstration, as files."""
    chosen = [take for take in takes(2, 1_000) if take.utterance.task.startswith("vowel")]
    chosen += [take for take in takes(2, 1_000) if not take.utterance.task.startswith("vowel")]
    paths = []
    for take in chosen[:3]:
        voice = take.recording()
        paths.append(folder / f"{voice.id.replace('/', '-')}.wav")
        write(paths[-1], voice.waveform, voice.sample_rate)
    return paths


@pytest.fixture
def app_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[list[Path]], None]]:
    """Start the app's state, without a browser, on a manifest of some files."""

    def start(files: list[Path]) -> None:
        rows = [
            {
                "recording": f.stem,
                "path": str(f.relative_to("/")),
                "speaker": f"made/{f.stem}",
                "label": 0,
                "task": "vowel-a",
                "dataset": "made",
            }
            for f in files
        ]
        manifest = tmp_path / "manifest.csv"
        write_manifest(pd.DataFrame(rows), manifest)
        settings = sources.Settings(data=str(manifest), root="/")
        for module in (sources, state):
            monkeypatch.setattr(module, "settings", lambda: settings)

    def forget() -> None:
        for cached in (sources.memory, sources.disk, sources.catalogue, sources.bundle_and_lock, sources.rows_by_name):
            cached.clear()

    monkeypatch.setenv("SPEECHXAI_CACHE", str(tmp_path / "cache"))
    forget()
    yield start
    forget()


def said_by_app(model: str, name: str) -> Inspection:
    return state.inspection(model, ("catalogue", name), RECIPE)


def compare(
    files: list[Path],
    model: str,
    tmp_path: Path,
    start: Callable[[list[Path]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    start(files)
    lines = []
    for file in files:
        with pytest.raises(SystemExit) as ended:
            main(["explain", str(file), "-r", RECIPE, "--model", model, "--out", str(tmp_path / file.stem)])
        assert ended.value.code in (0, None)
        printed = capsys.readouterr().out
        entry = json.loads((tmp_path / file.stem / "explanation.json").read_text())["explanations"][RECIPE]
        for again in range(2):  # computed, then from the disk
            if again:
                sources.memory.clear()
            shown = said_by_app(model, file.stem)
            m, soft = shown.map, entry["soft_mask"]
            values = (m.p, m.p_kept, m.p_removed, m.soft_kept, m.soft_removed)
            stated = (
                entry["probability_original"],
                entry["probability_kept"],
                entry["probability_removed"],
                soft["probability_kept"],
                soft["probability_removed"],
            )
            assert values == pytest.approx(stated, abs=1e-6)
            assert shown.verdict.key == entry["verdict"]["key"]
            assert shown.verdict.copies == pytest.approx(entry["verdict"]["margin_fall_of_copies"], abs=1e-5)
            assert [s.text for s in shown.sentences] == [s["text"] for s in entry["sentences"]]
            assert [list(r) for r in shown.regions] == entry["regions_s"]
            for sentence in shown.sentences:
                assert sentence.text in printed
            (row,) = [line for line in printed.splitlines() if line.startswith(f"{RECIPE}  ")]
            assert row.split("  ")[0] == RECIPE
            for value in values:
                assert f"{value:.3f}" in row
            assert row.endswith(shown.verdict.label)
        lines.append((file.stem[:28], "command line", *(f"{v:.3f}" for v in stated), entry["verdict"]["label"]))
        lines.append(("", "app", *(f"{v:.3f}" for v in values), shown.verdict.label))
    widths = [max(len(row[i]) for row in (HEADER, *lines)) for i in range(len(HEADER))]
    with capsys.disabled():
        print()
        for row in (HEADER, *lines):
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_demo_voices(tmp_path: Path, app_for: Callable[[list[Path]], None], capsys: pytest.CaptureFixture[str]) -> None:
    compare(demo_voices(tmp_path), "synthetic-cnn", tmp_path, app_for, capsys)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_real_voices(
    tmp_path: Path,
    app_for: Callable[[list[Path]], None],
    capsys: pytest.CaptureFixture[str],
    shared_data: Callable[[str], Path],
) -> None:
    files = sorted((shared_data("figshare-voice") / "audio").rglob("*.wav"))
    compare(files[:3], "figshare-cnn", tmp_path, app_for, capsys)
