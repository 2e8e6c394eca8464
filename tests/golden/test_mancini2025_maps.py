"""Defects of the published study that lie in its maps and splits, by hand, beside what is right."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from speechxai.classifiers import Classifier
from speechxai.data.splits import speaker_folds, train_validation_test
from speechxai.explain import METHODS
from speechxai.mancini2025.maps import PUBLISHED_VARIANTS, published_overlap, raw_fidelity_count, undo_running_means
from speechxai.mancini2025.report import authors_figures, reference
from speechxai.mancini2025.unit import _published_agreement
from speechxai.types import Spectrogram, StftConfig

STFT = StftConfig(n_fft=4, win_length=4, hop_length=2, sample_rate=32, scale="linear")  # 3 bins
PD = torch.tensor([1])


def recording(values: list[list[float]]) -> Spectrogram:
    """Three bins x two frames."""
    magnitude = torch.tensor([values])
    return Spectrogram(magnitude, torch.zeros_like(magnitude), 2, STFT)


class ThreeUnits(nn.Module):
    """z = gelu(-x1) - gelu(x2) + gelu(x3), one unit a bin of the first frame."""

    def __init__(self) -> None:
        super().__init__()
        self.rectifier = nn.GELU()

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        hidden = self.rectifier(magnitude[:, :, 0] * torch.tensor([-1.0, 1, 1]))
        z = (hidden * torch.tensor([1.0, -1, 1])).sum(1)
        return torch.stack([torch.zeros_like(z), z], dim=1)


def test_guided_backprop_is_blind_to_gelu() -> None:
    # gelu'(u) = Phi(u) + u phi(u): gelu'(1) = .841345 + .241971 = 1.083316, gelu'(-1) = .158655 - .241971 = -.083316
    # dz/dx at x = 1: (1 * -.083316 * -1, -1 * 1.083316 * 1, 1 * 1.083316 * 1) = (.083316, -1.083316, 1.083316)
    spec = recording([[1.0, 0], [1, 0], [1, 0]])
    published = PUBLISHED_VARIANTS["guided_backprop_relu_modules"](ThreeUnits(), spec, PD)
    gradient = torch.tensor([0.083316, -1.083316, 1.083316])
    torch.testing.assert_close(published[0, :, 0], gradient, atol=1e-5, rtol=0)
    # so its size is saliency, nothing is guided
    torch.testing.assert_close(published.abs(), METHODS["saliency"](ThreeUnits(), spec, PD))
    # guided: unit 1 has a negative input, unit 2 a negative gradient from above, only unit 3 lets its gradient through
    corrected = METHODS["guided_backprop"](ThreeUnits(), spec, PD)
    torch.testing.assert_close(corrected[0, :, 0], torch.tensor([0.0, 0, 1.083316]), atol=1e-5, rtol=0)


class Sequence(nn.Module):
    """A layer of (B, T', C) as a transformer's: three hidden units that copy the three bins; z = sum of relu of them
    all."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Identity()
        self.rectifier = nn.ReLU()

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        z = self.rectifier(self.hidden(magnitude.transpose(1, 2))).sum((1, 2))
        return torch.stack([torch.zeros_like(z), z], dim=1)


class Pair(nn.Module):
    """Returns something beside its output, as torchaudio's transformer layers do."""

    def forward(self, values: Tensor) -> tuple[Tensor, None]:
        return values, None


class PairSequence(Sequence):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = Pair()

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        values, _ = self.hidden(magnitude.transpose(1, 2))
        z = self.rectifier(values).sum((1, 2))
        return torch.stack([torch.zeros_like(z), z], dim=1)


@pytest.mark.parametrize("network", [Sequence, PairSequence])
def test_guided_gradcam_reads_hidden_units_as_frequency(network: type[Sequence]) -> None:
    # all gradients are 1; layer output: time step 0 (1, 2, 1), time step 1 (1, 1, 4)
    spec = recording([[1.0, 1], [2, 1], [1, 4]])
    model = Classifier(network(), STFT, cam_layer="hidden").eval()
    # published: the mean gradient over units, 1, weights each time step: units 1+1, 2+1, 1+4, laid over the bins, at
    # every time
    published = PUBLISHED_VARIANTS["guided_gradcam_captum"](model, spec, PD)
    assert published[0].tolist() == [[2, 2], [3, 3], [5, 5]]
    assert not model.cam_module()._forward_hooks
    if network is PairSequence:
        return
    # corrected: the mean gradient over time, 1, weights each unit: time step 0 1+2+1, time step 1 1+1+4, at every
    # frequency
    corrected = METHODS["guided_gradcam"](model, spec, PD)
    assert corrected[0].tolist() == [[4, 6], [4, 6], [4, 6]]


def test_split_by_clip_lets_speakers_leak() -> None:
    # Twelve speakers, two clips each. Maps tell the voice and nothing of the disease: a clip is at distance 0 from the
    # other clip
    # of its speaker, 1 from every speaker of the other class, 1.5 from the others of its own. The nearest neighbor in
    # the training
    # data is right where the speaker's other clip is there, and wrong everywhere else: accuracy = share of leaked
    # speakers.
    manifest = pd.DataFrame(
        [
            {
                "recording": f"{status}{number}{clip}",
                "speaker": f"{status}{number}",
                "label": label,
                "sex": "F",
                "age": 60,
            }
            for label, status in enumerate(("hc", "pd"))
            for number in range(6)
            for clip in "ab"
        ]
    )
    manifest["label"] = manifest["label"].astype("Int64")
    speakers, labels = manifest["speaker"].tolist(), manifest["label"].tolist()

    def distance(i: int, j: int) -> float:
        return 0.0 if speakers[i] == speakers[j] else 1.0 if labels[i] != labels[j] else 1.5

    right: dict[str, list[bool]] = {}
    leaked: dict[str, list[bool]] = {}
    for split in ("recording", "speaker"):
        for fold in range(3):
            # split by clip: every recording counts as a speaker of its own
            table = manifest.assign(speaker=manifest[split])
            training, _, tested = train_validation_test(table, speaker_folds(table, 3, seed=0), fold, seed=0)
            for i in tested.tolist():
                nearest = min(training.tolist(), key=lambda j: distance(i, j))
                right.setdefault(split, []).append(labels[nearest] == labels[i])
                leaked.setdefault(split, []).append(speakers[i] in {speakers[j] for j in training.tolist()})
        assert right[split] == leaked[split]
        assert len(right[split]) == 24
    assert sum(right["speaker"]) == 0
    assert sum(right["recording"]) > 0


def test_fidelity_is_counted_over_all_pairs() -> None:
    # originals PD PD HC, kept PD HC HC: kept PD agrees with 2 originals, each kept HC with 1; one by one the first and
    # third agree
    original, kept = torch.tensor([1, 1, 0]), torch.tensor([1, 0, 0])
    assert raw_fidelity_count(original, kept).tolist() == [2, 1, 1]
    assert (original == kept).float().mean().item() == pytest.approx(2 / 3)


def test_overlap_is_added_over_the_fold() -> None:
    # levels 4 and 4; recording 0: {0, 1} and {1}: 1 of 2; recording 1: {0} and {0, 1, 2}: 1 of 3. Published 2 / 5, mean
    # 5 / 12
    a = torch.tensor([[[10.0, 5, 0]], [[10, 0, 0]]])
    b = torch.tensor([[[0.0, 4, 3]], [[9, 9, 9]]])
    both, either = published_overlap(a, b)
    assert (both.tolist(), either.tolist()) == ([1, 1], [2, 3])
    facts = _published_agreement(a[1:], b[1:])
    assert (facts["n_both"], facts["n_either"], facts["iou"]) == (1, 3, pytest.approx(1 / 3))


def test_running_means_are_undone() -> None:
    # own means .2, .6, .1: printed .2, (.2 + .6) / 2 = .4, (.2 + .6 + .1) / 3 = .3
    assert undo_running_means([0.2, 0.4, 0.3]) == pytest.approx([0.2, 0.6, 0.1])


def test_the_authors_overlap_tables_are_running_means() -> None:
    """Their printed IoU falls along the table, whatever the pair; undone, the values are possible ones and no order is
    left."""
    printed = [row["printed"][-1] for row in reference()["union"]]
    assert printed == sorted(printed, reverse=True)
    own = undo_running_means(printed)
    assert own != sorted(own, reverse=True)
    assert all(0 < value < 0.2 for value in own)
    # smoothgrad | guided_gradcam: 15 * .01615524675 - 14 * .01729908561 = .24232870 - .24218720 = .00014150, not .0162
    assert own[-1] == pytest.approx(0.0001415, abs=1e-6)
    figures = authors_figures()
    recipes = {recipe for recipe, _ in figures}
    assert len(recipes) == 6 + 15 + 15
    for (_, metric), row in figures.items():
        low, high = {"sparseness": (0, 1), "complexity": (0, 13.1), "iou": (0, 1), "faithfulness": (-1, 1)}.get(
            metric, (0, 181)
        )
        assert low <= row["authors"] <= high, (metric, row)


def test_smoothgrad_averages_sizes_as_captum_around_saliency() -> None:
    # z = sum x^2 / 2, so the gradient at a noisy copy is the copy itself: published mean |x + n|, ours mean (x + n)
    seen: list[Tensor] = []

    class Square(nn.Module):
        def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
            seen.append(magnitude.detach())
            z = magnitude.square().sum((1, 2)) / 2
            return torch.stack([torch.zeros_like(z), z], dim=1)

    spec = recording([[0.1, 0.2], [0, 0.3], [0, 0]])
    options = {"n_samples": 10, "sigma": 1.0, "relative": False, "clamp": False}
    published = METHODS["smoothgrad"](Square(), spec, PD, **options, absolute=True)
    copies = torch.cat(seen)
    assert len(copies) == 10
    torch.testing.assert_close(published, copies.abs().mean(0, keepdim=True))
    signed = METHODS["smoothgrad"](Square(), spec, PD, **options)
    torch.testing.assert_close(signed, copies.mean(0, keepdim=True))
    assert (published > signed.abs() + 0.1).any()
