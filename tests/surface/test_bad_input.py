"""Every kind of bad input as a user meets it: one clean line that names the file and the fix, and an exit status.

`pytest tests/surface/test_bad_input.py -s` prints all of them.
"""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile as sf

from speechxai.cli import main
from speechxai.files import resource_folder

RATE = 16_000
RUN = ["--model", "synthetic-cnn", "-r", "saliency", "--no-controls", "-m", "faithfulness", "--pictures", "0"]
FILES = {
    "empty.wav": "voices/empty.wav: the file is empty (0 bytes).",
    "text.wav": "voices/text.wav: this is text, not audio, whatever its name says.",
    "truncated.wav": (
        "voices/truncated.wav: truncated: the header promises 32000 bytes of samples, the file holds 15978"
    ),
    "silent.wav": "voices/silent.wav: the recording is silent (all samples are 0).",
    "nan.wav": "voices/nan.wav: 1 of 16000 samples are NaN or infinite, the first at 0.006 s.",
    "short.wav": "voices/short.wav: lasts only 0.020 s, shorter than min_duration_s = 0.1 s.",
    "hour.flac": "voices/hour.flac: lasts 3600.0 s, longer than the limit of 600 s.",
    "channels.wav": "voices/channels.wav: 16 channels; more than 8 are not averaged.",
    "god.wav": "voices/god.wav: no such file. Did you mean 'good.wav'?",
}
SPLIT = "original_id,audio_path,status,speaker_id,group\n"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with good and bad recordings, a labeled folder, damaged bundles, splits and configurations."""
    root = tmp_path_factory.mktemp("bad")
    voices = root / "voices"
    voices.mkdir()
    time_s = np.arange(RATE) / RATE
    voice = 0.5 * np.sin(2 * np.pi * 150 * time_s) + 0.02 * np.random.default_rng(0).standard_normal(RATE)
    sf.write(voices / "good.wav", voice, RATE)
    (voices / "empty.wav").touch()
    (voices / "text.wav").write_text("This is no recording.\n" * 20)
    whole = (voices / "good.wav").read_bytes()
    (voices / "truncated.wav").write_bytes(whole[: len(whole) // 2])
    sf.write(voices / "silent.wav", np.zeros(RATE), RATE)
    sf.write(voices / "nan.wav", np.where(np.arange(RATE) == 100, np.nan, voice), RATE, subtype="FLOAT")
    sf.write(voices / "short.wav", voice[: RATE // 50], RATE)
    sf.write(voices / "hour.flac", np.tile(voice[:8000], 2 * 3600), 8000 * 2)
    sf.write(voices / "channels.wav", np.tile(voice[:, None], (1, 16)), RATE)

    for index in range(4):
        folder = root / "corpus" / ("PD" if index % 2 else "HC") / f"s{index}"
        folder.mkdir(parents=True)
        sf.write(folder / "a.wav", voice * (1 - 0.1 * index), RATE)
    for bad in ("empty.wav", "text.wav", "truncated.wav", "silent.wav", "nan.wav", "short.wav", "channels.wav"):
        shutil.copy(voices / bad, root / "corpus" / "HC" / "s0" / bad)

    (root / "unlabeled").mkdir()
    for name in ("one.wav", "two.wav"):
        shutil.copy(voices / "good.wav", root / "unlabeled" / name)
    (root / "labels.csv").write_text("file,speaker,label\none.wav,a,HC\ntwo.wav,b,\n")
    (root / "wrong.toml").write_text('data = "synthetic"\nrecipies = ["saliency"]\n')
    for part in ("train", "test"):
        fold = root / "splits" / "TRAIN_TEST_1"
        fold.mkdir(parents=True, exist_ok=True)
        rows = f"x_{part},{voices / 'good.wav'},pd,A01,1\ny_{part},{voices / 'good.wav'},hc,C{part},1\n"
        (fold / f"{part}.csv").write_text(SPLIT + rows)
    (root / "taken").write_text("a file where a folder should be\n")
    for what in ("missing", "corrupted"):
        shutil.copytree(resource_folder("models") / "synthetic-cnn", root / what)
    (root / "missing" / "weights.safetensors").unlink()
    weights = root / "corrupted" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    return root


def ask(
    what: str, words: list[str], work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[int, str]:
    """Run the command line in `work`; print and return its exit status and its last words."""
    monkeypatch.chdir(work)
    with warnings.catch_warnings(), pytest.raises(SystemExit) as ended:
        main(words)
    said = capsys.readouterr()
    text = said.err.strip() or said.out.strip()
    with capsys.disabled():
        print(f"\n{what} (exit status {ended.value.code}): {text.splitlines()[-1]}", end="")
    assert "Traceback" not in said.err + said.out
    return int(ended.value.code or 0), text


@pytest.mark.parametrize("name", FILES)
def test_bad_recording(
    name: str, work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["predict", f"voices/{name}", "--model", "synthetic-cnn"]
    status, text = ask(name, words, work, capsys, monkeypatch)
    assert status == 2
    assert text.startswith(f"Error: {FILES[name]}")


@pytest.mark.parametrize(
    ("what", "words", "message"),
    [
        ("unknown method", ["explain", "voices/good.wav", "-r", "salency", "--out", "x"], "Did you mean 'saliency'?"),
        ("unknown config key", ["check", "wrong.toml"], "wrong.toml: Unknown key 'recipies'. Did you mean 'recipes'?"),
        (
            "label missing",
            ["data", "import", "unlabeled", "--labels", "labels.csv", "--out", "manifest.csv"],
            "two.wav: the label is missing in labels.csv. Write HC, PD or unknown.",
        ),
        (
            "one speaker in train and test",
            ["evaluate", "--data", "pc-gita", "--root", "splits", "--protocol", "mancini2025", *RUN, "--out", "r"],
            "splits/TRAIN_TEST_1: the speaker 'pc-gita/A01' is in train.csv and in test.csv",
        ),
        ("folder below a file", ["evaluate", "--data", "corpus", *RUN, "--out", "taken/run"], "taken/run: cannot"),
        ("read-only folder", ["evaluate", "--data", "corpus", *RUN, "--out", "/proc/run"], "/proc/run: cannot"),
        (
            "missing weights",
            ["predict", "voices/good.wav", "--model", "missing"],
            "missing/weights.safetensors: the weights are missing.",
        ),
        (
            "corrupted weights",
            ["predict", "voices/good.wav", "--model", "corrupted"],
            "corrupted/weights.safetensors: the file is damaged or from another bundle",
        ),
    ],
)
def test_bad_setting(
    what: str,
    words: list[str],
    message: str,
    work: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    status, text = ask(what, words, work, capsys, monkeypatch)
    assert status == 2
    assert message in text


def test_the_same_speaker_in_two_folds_is_named() -> None:
    from speechxai.data.splits import check_folds
    from speechxai.errors import SpeechXAIError

    manifest = pd.DataFrame(
        {"recording": ["a", "b", "c", "d"], "speaker": ["s/1", "s/1", "s/2", "s/3"], "label": [0, 0, 1, 1]}
    )
    with pytest.raises(SpeechXAIError, match="s/1"):
        check_folds(manifest, pd.Series([0, 1, 0, 1], index=manifest.index))


def test_in_a_batch_the_others_are_scored_and_the_failures_listed(
    work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, _ = ask("batch", ["evaluate", "--data", "corpus", *RUN, "--out", "batch"], work, capsys, monkeypatch)
    assert status == 1
    scores = pd.read_csv(work / "batch" / "scores.csv")
    assert scores["recording"].nunique() == 4
    assert scores["value"].notna().all()
    failures = pd.read_csv(work / "batch" / "failures.csv")
    assert len(failures) == 7
    for name in ("empty.wav", "text.wav", "truncated.wav", "silent.wav", "nan.wav", "short.wav", "channels.wav"):
        assert failures["message"].str.contains(name).any(), name


def test_import_needs_two_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for classes in ("PD", "PD,"):
        with pytest.raises(SystemExit):
            main(["import", str(tmp_path), "--classes", classes, "--out", str(tmp_path / "m")])
        said = f"Error: --classes {classes!r}: write at least two names with commas between them.\n"
        assert capsys.readouterr().err == said
