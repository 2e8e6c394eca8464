"""Which bands a model uses at all, on networks whose bands are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from speechxai.classifiers import Classifier, build
from speechxai.classifiers.bundle import bundle_names, state_section
from speechxai.errors import SpeechXAIError
from speechxai.files import resource_folder
from speechxai.inside.bands import (
    CARD_PICTURE,
    RUN_FILE,
    TITLE,
    Bands,
    bands,
    kept,
    section,
    sections,
    state,
    write_run,
)
from speechxai.planted.sanity import BREATH_BAND_HZ, mechanisms
from speechxai.signal.stft import linear_magnitude, spectrogram
from speechxai.types import StftConfig


def test_a_network_that_reads_2_to_6_khz_shows_it_and_a_random_one_does_not() -> None:
    case = mechanisms(StftConfig(), 1.0, 1)[0]
    found = bands([(case.model, case.spec)])
    low, high = BREATH_BAND_HZ
    assert found.share(low, high + 1)[0] == pytest.approx(1.0, abs=1e-9)
    assert found.share(low, high + 1)[1] < 0.5
    assert low <= found.half()[0][0] < found.half()[0][1] <= high
    torch.manual_seed(0)
    random = bands([(Classifier(build("cnn")).eval(), case.spec)])
    assert random.share(low, high + 1)[0] < 0.7
    assert random.use.sum() == pytest.approx(1.0)


def test_the_picture_shows_a_cue_of_2_to_6_khz_and_of_a_random_network_none() -> None:
    """The curve of use is read from the drawn figure: how much of its area lies over the band."""
    case = mechanisms(StftConfig(), 1.0, 1)[0]
    torch.manual_seed(0)
    shares = []
    for model in (case.model, Classifier(build("cnn")).eval()):
        picture = bands([(model, case.spec)]).picture()
        assert picture._figure is not None
        (axes,) = picture._figure.axes
        curve = next(line for line in axes.lines if line.get_label() == "use")
        khz, height = np.asarray(curve.get_xdata()), np.asarray(curve.get_ydata())
        low, high = BREATH_BAND_HZ
        inside = (khz >= low / 1000) & (khz <= high / 1000)
        shares.append(height[inside].sum() / height.sum())
        assert height.sum() * (khz[1] - khz[0]) * 10 == pytest.approx(100)  # percent in 0.1 kHz, over all of them
    assert shares[0] == pytest.approx(1, abs=1e-9)
    assert shares[1] < 0.7


def test_what_a_run_keeps_is_sealed(tmp_path: Path) -> None:
    found = Bands(np.arange(0, 8001, 500.0), np.eye(17)[5], np.eye(17)[1], 3)
    assert kept(tmp_path) is None
    assert sections(tmp_path) == []
    write_run(tmp_path, found)
    (section_of_run,) = sections(tmp_path)
    assert found.sentence() in section_of_run.html
    assert kept(tmp_path).share(2000, 6000) == (1.0, 0.0)  # type: ignore[union-attr]
    stored = tmp_path / RUN_FILE
    stored.write_bytes(stored.read_bytes().replace(b"8000.0", b"9000.0"))
    assert kept(tmp_path) is None  # of a file that was changed nothing is shown


def test_use_by_hand() -> None:
    """A linear network's gradient is its weight: use is (x w)^2, energy the squared linear magnitude."""
    stft = StftConfig()
    weight = torch.linspace(0, 1, stft.n_bins)[:, None]

    class Linear(torch.nn.Module):
        def forward(self, magnitude: torch.Tensor, phase: torch.Tensor) -> torch.Tensor:
            z = (magnitude * weight).sum((1, 2))
            return torch.stack([-z, z], dim=1)

    spec = spectrogram(torch.randn(1, 4000, generator=torch.Generator().manual_seed(0)), stft)
    found = bands([(Classifier(Linear(), stft).eval(), spec)])
    by_hand = (spec.magnitude[0] * weight).square().mean(dim=1).double().numpy()
    assert np.allclose(found.use, by_hand / by_hand.sum(), atol=1e-6)
    there = linear_magnitude(spec.magnitude[0], stft).square().mean(dim=1).double().numpy()
    assert np.allclose(found.energy, there / there.sum(), atol=1e-6)


def test_no_recordings_are_refused() -> None:
    with pytest.raises(SpeechXAIError, match="Got none"):
        bands([])


def test_a_card_has_the_picture_beside_it(tmp_path: Path) -> None:
    hz = np.arange(0, 8001, 500.0)
    use, energy = np.eye(17)[5], np.eye(17)[1]
    (tmp_path / "card.md").write_text("# m\n\n## Limits\n\nSome.\n", "utf-8")
    state(tmp_path, Bands(hz, use, energy, 3))
    assert f"]({CARD_PICTURE})" in (tmp_path / "card.md").read_text("utf-8")
    assert "frequency, kHz" in (tmp_path / CARD_PICTURE).read_text("utf-8")
    for name in bundle_names():
        folder = resource_folder("models") / name
        assert f"]({CARD_PICTURE})" in (folder / "card.md").read_text("utf-8")
        assert (folder / CARD_PICTURE).read_text("utf-8").lstrip().startswith("<?xml")


def test_card_section(tmp_path: Path) -> None:
    hz = np.arange(0, 8001, 500.0)
    use, energy = np.zeros(17), np.zeros(17)
    use[4:8], energy[0:2] = 0.25, 0.5
    text = section(Bands(hz, use, energy, 3))
    assert "| 2000 to 3000 Hz | 50.0 % | 0.0 % | – |" in text
    assert "between 2000 and 3000 Hz" in text
    (tmp_path / "card.md").write_text("# m\n\n## Limits\n\nSome.\n", "utf-8")
    for _ in range(2):
        state_section(tmp_path, TITLE, text)
    card = (tmp_path / "card.md").read_text("utf-8")
    assert card.count(TITLE) == 1
    assert card.index(TITLE) < card.index("## Limits")
