"""Which bands a model uses at all, on networks whose bands are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from speechxai.classifiers import Classifier, build
from speechxai.classifiers.bundle import state_section
from speechxai.errors import SpeechXAIError
from speechxai.inside.bands import TITLE, Bands, bands, section
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
