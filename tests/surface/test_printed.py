"""What every command prints, line by line: what it said when somebody read it all.

`printed.txt` holds the lines. After a change that is meant to be seen: `python tests/surface/test_printed.py` writes
them anew; read the difference as a user at a terminal would.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pandas as pd
import pytest
import soundfile
from test_app_pages import NUMBER, close, read

from speechxai.cli import main
from speechxai.data.synthetic import corpus

PRINTED = Path(__file__).with_name("printed.txt")
ON = "--model synthetic-cnn"
COMMANDS = (
    "list models",
    "list configs",
    "list presets",
    "list cards",
    "data import voices --labels labels.csv --out m.csv",
    "data check m.csv --root voices",
    "data list figshare-voice",
    f"predict voices/v1.wav voices/v2.wav short.wav broken.wav {ON}",
    f"explain voices/v2.wav -r saliency -r 'union(saliency, smoothgrad)' {ON} --out e",
    f"explain short.wav -r saliency {ON} --out e1",
    f"explain soft.wav -r energy_map --target HC {ON} --out e2",
    f"whatif voices/v2.wav {ON} --signs breathiness --signs level --signs pauses --out w",
    f"whatif short.wav {ON} --signs pauses --no-floors --out w2",
    "check run.toml",
    "evaluate --config run.toml",
    "report run",
    "evaluate --resume run",
    "auxiliary run --seeds 1 --folds 3 --epochs 1",
    "auxiliary run --seeds 1 --folds 3 --epochs 2",
    "train m.csv --root voices --backbone acoustic --folds 3 --out model",
)
HERE = (
    (r"^[\d.]+ m?s\. Tables", "TIME. Tables"),
    (r"^! \d+ of \d+, .* left$", ""),
    (r"\d+(\.\d+)?e-\d+", "TINY"),
    (r"[\d.]+ m?s \([\d.]+ m?s of processor time\), peak memory .*", "COST"),
    (r"^! \w+: \d+ of \d+ recordings, .* left\n", ""),  # said where it takes long
    (r"recordings, .* left$", "recordings, TIME left"),
    (r"(?<=A recording: )[\d.]+ m?s = [\d.]+ times", "TIME ="),
    (r"\b\d+(\.\d+)? (ms|min)\b.*", "TIME"),
    (r"[━─┏┳┓┡╇┩└┴┘]+", ""),
)


def write_all(folder: Path) -> None:
    """Write twelve voices with their labels, a short and a soft one, one file that is none, and settings of a run."""
    (folder / "voices").mkdir()
    rows = []
    for place, voice in enumerate(corpus(12, 1_000, tasks=["vowel-a"])):
        name = f"v{place + 1}.wav"
        soundfile.write(folder / "voices" / name, voice.waveform.numpy()[:32_000], 16_000, subtype="PCM_16")
        rows.append(
            (name, f"s{place + 1}", ("HC", "PD")[voice.label or 0], "vowel-a", "FFM"[place % 3], 40 + 4 * place)
        )
    pd.DataFrame(rows, columns=["file", "speaker", "label", "task", "sex", "age"]).to_csv(
        folder / "labels.csv", index=False
    )
    soundfile.write(folder / "short.wav", voice.waveform.numpy()[:8_000], 16_000, subtype="PCM_16")
    soundfile.write(folder / "soft.wav", 0.001 * voice.waveform.numpy()[:32_000], 16_000, subtype="PCM_16")
    (folder / "broken.wav").write_text("This is no recording.")
    lines = ('data = "m.csv"', 'root = "voices"', 'model = "synthetic-cnn"', 'recipes = ["saliency", "smoothgrad"]')
    lines += ('metrics = ["default"]', "pictures = 0", "maps = true", 'out = "run"')
    (folder / "run.toml").write_text("\n".join(lines))


def printed(command: str) -> str:
    """What a command prints: its lines, those about what went wrong marked, and how it ended."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.raises(SystemExit) as end, redirect_stdout(out), redirect_stderr(err):
        main(shlex.split(command))
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    lines += [f"! {line.rstrip()}" for line in err.getvalue().splitlines()]
    text = "\n".join([*lines, f"status {end.value.code or 0}"]).replace(f"{Path.cwd()}{os.sep}", "")
    for pattern, put in HERE:
        text = re.sub(pattern, put, text, flags=re.MULTILINE)
    return re.sub(r" {2,}", "  ", "\n".join(line for line in text.splitlines() if line.strip()))


@pytest.fixture(scope="module")
def now(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("printed")
        patch.chdir(folder)
        patch.setenv("COLUMNS", "200")
        write_all(folder)
        return {command: printed(command) for command in COMMANDS}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_prints_what_it_printed(command: str, now: dict[str, str]) -> None:
    lines, before = now[command].splitlines(), read(PRINTED.read_text(encoding="utf-8"))[command].splitlines()
    assert [NUMBER.sub("#", line) for line in lines] == [NUMBER.sub("#", line) for line in before]
    for line, then in zip(lines, before, strict=True):
        pairs = list(zip(NUMBER.findall(line), NUMBER.findall(then), strict=True))
        assert all(close(*pair) for pair in pairs), [pair for pair in pairs if not close(*pair)]


if __name__ == "__main__":
    os.environ["COLUMNS"] = "200"
    with tempfile.TemporaryDirectory() as made:
        os.chdir(made)
        write_all(Path(made))
        texts = [f"== {command}\n{printed(command)}" for command in COMMANDS]
    PRINTED.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
