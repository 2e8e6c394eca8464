"""The benchmark of a score: which explanation points at the sign whose strength is learned?"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from speechxai.cli import app
from speechxai.errors import SpeechXAIError
from speechxai.explain.recipe import CONTROLS
from speechxai.planted import severity
from speechxai.planted.severity import SeveritySettings, findings, table, voices

TINY = SeveritySettings(
    cues=("burst_weakening",), seeds=(0,), n_speakers=8, n_takes=1, epochs=2, least_epochs=1, methods=("saliency",)
)

SHORT = {"epochs": 2, "least_epochs": 1, "methods": ("saliency",)}


def line(permuted: bool, gain: float, **shares: float) -> dict[str, Any]:
    """A task of twelve speakers whose shares are all alike, so that every interval is a point."""
    near = {name: [gain, gain, gain] for name in ("mae", "mae_of_mean", "gain", "spearman")}
    rank = {recipe: dict.fromkeys("abcdefghijkl", value) for recipe, value in shares.items()}
    return {"cue": "breathiness", "seed": 0, "permuted": permuted, "near": near, "area": 0.2, "rank": rank}


def test_a_task_is_voices_of_a_strength_and_the_same_without_the_sign() -> None:
    made = voices("burst_weakening", 0, False, TINY)
    dealt = voices("burst_weakening", 0, True, TINY)
    assert len(made) == 8
    assert len({recording.speaker for recording, _, _ in made}) == 8
    for recording, without, strength in made:
        assert recording.metadata[severity.SCORE] == strength
        assert not (recording.waveform == without.waveform).all()
    # The same voices, and other points: those of somebody else.
    assert sorted(r.metadata[severity.SCORE] for r, _, _ in dealt) == sorted(s for _, _, s in made)
    assert any(r.metadata[severity.SCORE] != s for r, _, s in dealt)
    assert all((a.waveform == b.waveform).all() for (a, _, _), (b, _, _) in zip(made, dealt, strict=True))


def test_what_is_said_needs_all_three_comparisons() -> None:
    """Chance is .2, loudness .3, and .5 on dealt points: .6 passes, .45 does not, nor does anything where the score
    was not learned."""
    shares = {"energy_map": 0.3, "random_map": 0.2, "saliency": 0.6, "rise": 0.45}
    learned, anew = line(False, 0.4, **shares), line(True, -0.1, **dict.fromkeys(shares, 0.5))
    (said,) = findings([learned, anew])
    assert said.endswith("dealt points: saliency; not rise.")
    (said,) = findings([line(False, 0.4, energy_map=0.7, saliency=0.6)])
    assert said.endswith("no explanation; not saliency.")
    (said,) = findings([line(False, 0.4, energy_map=0.1, saliency=0.15)])
    assert said.endswith("no explanation; not saliency."), "under chance"
    (said,) = findings([line(False, -0.1, **shares), anew])
    assert "of 1 network 1 did not come nearer" in said
    assert "saliency" not in said
    lines = table([learned, anew]).splitlines()
    assert "| saliency | 0.600 [0.600, 0.600] | 0.300 [0.300, 0.300] | 0.500 [0.500, 0.500] |" in lines
    assert sum("points dealt anew |" in each for each in lines) == 2


def test_a_benchmark_by_command_is_continued_and_prints_its_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two tasks; the second is lost and computed again to the same numbers."""
    monkeypatch.setattr(severity, "QUICK", {"cues": TINY.cues, "seeds": (0,), "n_speakers": 8, "n_takes": 1} | SHORT)
    run, out = CliRunner(), tmp_path / "severity"
    done = run.invoke(app, ["benchmark", "--target", "severity", "--quick", "--out", str(out)])
    assert done.exit_code == 0, done.output
    lines = (out / severity.LINES).read_text().splitlines()
    kinds = [(json.loads(each)["seed"], json.loads(each)["permuted"]) for each in lines]
    assert kinds == [(0, False), (0, True)]
    ranks = json.loads(lines[0])["rank"]
    assert set(ranks) == {"saliency", *CONTROLS}
    assert all(0 <= value <= 1 for of in ranks.values() for value in of.values())
    assert (out / severity.TABLE).read_text().startswith("| sign | seed | mean absolute error, points |")
    assert "did not come nearer" in done.stdout or "the score is learned" in done.stdout

    (out / severity.LINES).write_text(f"{lines[0]}\n{lines[1][:40]}")  # killed while writing
    again = run.invoke(app, ["benchmark", "--resume", str(out)])
    assert again.exit_code == 0, again.output
    assert "2 tasks, 1 done" in again.stdout
    now = [json.loads(each) for each in (out / severity.LINES).read_text().splitlines()]
    assert [{**each, "cpu_s": 0} for each in now] == [{**json.loads(each), "cpu_s": 0} for each in lines]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target", "strength"], "Unknown target .strength.\\. Known: presence, severity"),
        (["--target", "severity", "--bystander"], "leave --bystander away"),
        (["--target", "severity", "--data", "figshare-voice"], "leave --data away"),
        (["--target", "severity", "--cue", "mains_hum"], "mains_hum"),
        (["--target", "severity", "--network", "my_module:network"], "a score is learned by cnn, whisper"),
        (["--target", "severity", "--tables"], "Name it with --resume"),
    ],
)
def test_what_cannot_be_is_one_sentence(words: list[str], message: str, tmp_path: Path) -> None:
    answer = CliRunner().invoke(app, ["benchmark", *words, "--out", str(tmp_path / "s")])
    assert isinstance(answer.exception, SpeechXAIError)
    assert re.search(message, str(answer.exception), re.IGNORECASE), answer.exception
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("break_it", [lambda text: text[:-9], lambda text: text.replace("8", "9", 1)])
def test_damaged_settings_are_not_gone_on_with(break_it: Callable[[str], str], tmp_path: Path) -> None:
    severity.begin(tmp_path, TINY)
    assert severity.settings_of(tmp_path) == TINY
    with pytest.raises(SpeechXAIError, match="Continue it with --resume"):
        severity.begin(tmp_path, TINY)
    file = tmp_path / severity.SETTINGS
    file.write_text(break_it(file.read_text()))
    with pytest.raises(SpeechXAIError, match="no benchmark of a score"):
        severity.settings_of(tmp_path)
    (tmp_path / severity.LINES).write_text("{\n{}\n")
    with pytest.raises(SpeechXAIError, match="line 1 is damaged"):
        severity.read_lines(tmp_path / severity.LINES)
