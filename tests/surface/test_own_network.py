"""A network of the user's own, `--model module:function --allow-code`, on every command, from its own folder."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import soundfile

from app.sources import parse
from speechxai import cli
from speechxai.evaluation.runs import RunFolder
from speechxai.testing import noise_recording

NETWORK = """
import torch
from torch import nn
from speechxai.types import StftConfig

class Net(nn.Module):
    stft = StftConfig(sample_rate=8000)
    class_names = ("Parkinson", "Control")

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.out = nn.Conv1d(1, 8, 64, stride=32), nn.Linear(8, 2)

    def forward(self, waveform):
        return self.out(torch.relu(self.conv(waveform[:, None])).mean(-1)) + torch.tensor([2.0, 0.0])

def make():
    return Net()
"""
OWN = ("--model", "own_net:make", "--allow-code")
RUN = (
    "--recipes",
    "saliency",
    "--no-controls",
    "--metrics",
    "faithfulness",
    "--pictures",
    "0",
    "--threads",
    "1",
    "--out",
    "run",
)


def test_own_network_on_every_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for index, place in enumerate(("data/HC/a.wav", "data/PD/b.wav")):
        Path(place).parent.mkdir(parents=True)
        soundfile.write(place, noise_recording(seed=index).waveform.numpy(), 8_000)

    def says(*words: str, network: str = NETWORK) -> tuple[object, str, str]:
        Path("own_net.py").write_text(network)
        monkeypatch.delitem(sys.modules, "own_net", raising=False)
        importlib.invalidate_caches()
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        return ended.value.code, *capsys.readouterr()

    code, _, told = says("predict", "data/PD/b.wav", *OWN[:2])
    assert (code, told.count("\n")) == (2, 1)
    assert "--allow-code" in told
    code, said, _ = says("predict", "data/PD/b.wav", *OWN, "--format", "csv")
    name, predicted, p_hc, *_ = said.splitlines()[1].split(",")
    assert (code, name, predicted) == (0, "data/PD/b.wav", "PD")  # its first output, which has the bias, is Parkinson
    assert float(p_hc) < 0.2
    assert says("explain", "data/PD/b.wav", *OWN, "-r", "saliency", "--out", "explained")[0] == 0

    # A network that names no classes says so on every command that answers.
    unnamed = NETWORK.replace('    class_names = ("Parkinson", "Control")\n', "")
    said_so = "own_net:make does not say which output is which class: they are read as HC, PD."
    for words in (
        ("predict", "data/PD/b.wav", *OWN),
        ("explain", "data/PD/b.wav", *OWN, "-r", "saliency", "--out", "unnamed"),
        ("evaluate", "--data", "data", *OWN, *RUN[:-1], "unnamed-run"),
    ):
        code, out, told = says(*words, network=unnamed)
        assert code == 0, told
        assert said_so in " ".join((out + told).split()), words[0]
    assert said_so in Path("unnamed-run/report.html").read_text()

    # Processes of their own, which find the module too.
    code, _, told = says("evaluate", "--data", "data", *OWN, *RUN, "--executor", "joblib", "--workers", "2")
    assert code == 0, told
    folder = RunFolder.open("run")
    assert (folder.config["model"], folder.config["allow_code"]) == ("own_net:make", True)
    scores = Path("run/scores.csv").read_bytes()
    next(Path("run/units").glob("*")).unlink()
    code, _, told = says("evaluate", "--resume", "run")
    assert code == 2
    assert "--allow-code" in told  # a folder's own word is no leave
    assert says("evaluate", "--resume", "run", "--allow-code")[0] == 0
    assert Path("run/scores.csv").read_bytes() == scores
    assert says("check", "run/config.toml", "--allow-code")[0] == says("report", "run")[0] == 0

    # Other code is another network, with other weights and with the same, and names that nobody knows are not scored.
    for old, new in (("manual_seed(0)", "manual_seed(1)"), ("([2.0, 0.0])", "([9.0, 0.0])")):
        code, _, told = says("evaluate", "--resume", "run", "--allow-code", network=NETWORK.replace(old, new))
        assert code == 2
        assert "were computed with the code of own_net" in " ".join(told.split())
    code, told, _ = says(
        "check", "run/config.toml", "--allow-code", network=NETWORK.replace('("Parkinson", "Control")', '("A", "B")')
    )
    assert code == 0
    assert "The data say HC/PD, the model says A/B: nothing is scored against the labels; explanations are." in told


@pytest.mark.parametrize("allowed", [True, False])
def test_the_app_is_told(allowed: bool) -> None:
    found = parse(["--model", "own_net:make", *(["--allow-code"] if allowed else [])])
    assert (found.models, found.allow_code) == (("own_net:make",), allowed)
