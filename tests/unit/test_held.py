"""A set larger than memory: what is beyond the limit lies in a scratch file, and nothing else changes."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechxai.classifiers import training
from speechxai.data.corpus import Held
from speechxai.errors import SpeechXAIError
from speechxai.types import Recording


def mapped(tensor: torch.Tensor) -> bool:
    """Whether the samples lie in pages of a file."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        where, _, _, _, inode, *_ = line.split()
        start, end = (int(each, 16) for each in where.split("-"))
        if start <= tensor.data_ptr() < end:
            return inode != "0"
    raise AssertionError("the tensor lies nowhere")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="where memory lies is read from /proc")
def test_what_exceeds_the_limit_lies_in_a_file() -> None:
    waves = [torch.arange(float(n)) for n in (60, 50, 30, 80, 20)]
    held = Held(in_memory_bytes=400)  # 100 samples
    for index, wave in enumerate(waves):
        held.add(Recording(wave, 16_000, f"r{index}", "s", 0))
    # 60 + 50 are over 100 and leave, 30 + 80 as well, 20 stay.
    assert [mapped(recording.waveform) for recording in held.recordings] == [True, True, True, True, False]
    assert [recording.id for recording in held.recordings] == ["r0", "r1", "r2", "r3", "r4"]
    for recording, wave in zip(held.recordings, waves, strict=True):
        torch.testing.assert_close(recording.waveform, wave, rtol=0, atol=0)


def test_a_full_disk_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(SpeechXAIError, match=r"No space left on device\. Make room there, or .* TMPDIR"):
        Held(4).add(Recording(torch.ones(2), 16_000, "r", "s", 0))


def test_a_set_is_read_alike_from_memory_and_from_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    rows = ["recording,path,speaker,label,task"]
    for index in range(6):
        soundfile.write(tmp_path / f"{index}.wav", random.uniform(-0.5, 0.5, 4000), 16_000)
        rows.append(f"r{index},{index}.wav,x/{index},{index % 2},vowel-a")
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("\n".join(rows))
    plan = training.Plan("x")
    usual = training.read_corpus(manifest, tmp_path, plan)
    monkeypatch.setattr(training, "Held", partial(Held, 20_000))
    streamed = training.read_corpus(manifest, tmp_path, plan)
    assert len(usual.recordings) == 6
    for one, other in zip(usual.recordings, streamed.recordings, strict=True):
        assert (one.id, one.label, one.speaker) == (other.id, other.label, other.speaker)
        assert torch.equal(one.waveform, other.waveform)
        if sys.platform.startswith("linux"):
            assert mapped(other.waveform)
            assert not mapped(one.waveform)
