"""Defects of the published study that lie in its maps and splits, by hand, beside what is right."""

from __future__ import annotations

import threading
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from speechxai.classifiers import Classifier
from speechxai.data.splits import speaker_folds, train_validation_test
from speechxai.evaluation.values import EvaluateSettings, Job
from speechxai.explain import METHODS
from speechxai.explain.recipe import PUBLISHED_METHODS
from speechxai.mancini2025 import unit
from speechxai.mancini2025.maps import PUBLISHED_VARIANTS, published_overlap, raw_fidelity_count, undo_running_means
from speechxai.mancini2025.report import authors_figures, reference
from speechxai.mancini2025.unit import (
    _published_agreement,
    clip,
    heard,
    in_published_order,
    networks,
    published_unit,
)
from speechxai.signal.stft import SegmentConfig, inverse
from speechxai.types import Recording, Spectrogram, StftConfig

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
    # each with its own: levels of b are 1.6 and 3.6, {0, 1} and {1, 2}: 1 of 3; {0} and {0, 1, 2}: 1 of 3
    both, either = published_overlap(a, b, own=True)
    assert (both.tolist(), either.tolist()) == ([1, 1], [3, 3])
    facts = _published_agreement(a[:1], b[:1])
    assert (facts["n_both"], facts["n_either"], facts["n_both_own"], facts["n_either_own"]) == (1, 2, 1, 3)
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


def test_pairs_stand_in_the_order_of_the_authors_tables() -> None:
    pairs = [tuple(row["pair"]) for row in reference()["union"]]
    assert (
        pairs == [tuple(row["pair"]) for row in reference()["intersection"]] == list(combinations(PUBLISHED_METHODS, 2))
    )
    # whoever asks in another order gets the same pairs, others after them
    asked = ["smoothgrad", "gradcam", "integrated_gradients", "saliency", "smoothgrad"]
    assert in_published_order(asked) == ["saliency", "integrated_gradients", "smoothgrad", "gradcam"]


class InFloat32(nn.Module):
    """A network that holds numbers of float32 in its code."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = [torch.linspace(-1, 1, 2 * STFT.n_bins).view(STFT.n_bins, 2)]

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        return magnitude.mean(dim=2) @ self.weights[0]


@pytest.mark.parametrize(
    ("kind", "precision"), [("ours", "float64"), ("float32 alone", "float32"), ("no copy", "float32")]
)
def test_gradients_are_integrated_in_float64_where_the_network_can(kind: str, precision: str) -> None:
    network = InFloat32()
    if kind == "ours":
        network.weights = nn.ParameterList(network.weights)  # type: ignore[assignment]
    elif kind == "no copy":
        network.lock = threading.Lock()  # type: ignore[assignment]
    waveform = torch.randn(64, generator=torch.Generator().manual_seed(0))
    job = Job(Recording(waveform, 32, "r", "s"), Classifier(network, STFT).eval())
    settings = EvaluateSettings(("integrated_gradients",), ("faithfulness",), clip_s=3.0, keep_maps=True)
    result = published_unit(job, settings, [])
    assert result.facts["integrated_gradients_in"] == precision
    assert result.maps["integrated_gradients"].dtype == "float32"
    assert (
        result.values["integrated_gradients"]["faithfulness"] == result.values["integrated_gradients"]["faithfulness"]
    )


def test_every_recording_has_draws_of_its_own_and_keeps_them() -> None:
    """Of one sound under two names the baselines differ, as of two recordings; asked again they are the same."""
    waveform = torch.randn(64, generator=torch.Generator().manual_seed(0))
    settings = EvaluateSettings(("gradient_shap",), ("faithfulness",), clip_s=3.0, keep_maps=True)
    network = Classifier(InFloat32(), STFT).eval()
    first, second, again = (
        published_unit(Job(Recording(waveform, 32, name, "s"), network), settings, []).maps["gradient_shap"]
        for name in ("a", "b", "a")
    )
    assert np.array_equal(first, again)
    assert np.abs(first - second).max() > 0.1


def test_a_clip_is_heard_once_unless_the_network_takes_one_length() -> None:
    # 3 s at 32 Hz are 96 samples, 48 hops of 2: 49 frames; segments of 1 s have 16
    recording = Recording(
        torch.arange(1.0, 41.0) / 100, 32, "r", "s", metadata={"original_samples": 81, "original_sample_rate": 64}
    )
    settings = EvaluateSettings(("saliency",), ("faithfulness",), clip_s=3.0)
    for short, n_segments in (("keep", 1), ("pad", 6)):
        model = Classifier(InFloat32(), STFT, SegmentConfig(1.0, 0.5, short)).eval()  # type: ignore[arg-type]
        job = Job(recording, model)
        spec = heard(job, settings)
        assert spec.magnitude.shape == (1, 3, 49)
        assert networks(job, settings)[0].cut(spec.magnitude).shape[1] == n_segments
        assert model.segment is not None
        assert model.cut(spec.magnitude).shape[1] == 6  # the bundle's own way is left alone
    # 81 samples at 64 Hz are 40.5 at 32 Hz: the published resampling gives 41, the last one silent; peak 1; repeated
    sound = inverse(spec.magnitude, spec.phase, STFT, 96)[0]
    expected = torch.cat([torch.arange(1.0, 41.0) / 40, torch.zeros(1)]).repeat(3)[:96]
    torch.testing.assert_close(sound, expected, atol=1e-5, rtol=0)
    as_it_is = clip(recording, STFT, replace(settings, level="none"))
    torch.testing.assert_close(as_it_is.magnitude, 0.4 * spec.magnitude, atol=1e-6, rtol=1e-5)


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


def test_a_map_is_as_large_as_its_largest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    made = torch.zeros(1, 3, 49)
    made[0, 0, 0], made[0, 1, 2] = 2.0, -3.0
    monkeypatch.setattr(
        unit, "published_maps", lambda *_: ({"saliency": made}, {"mended_map.": {"saliency": -made}}, {}, {})
    )
    job = Job(Recording(torch.ones(64), 32, "r", "s"), Classifier(InFloat32(), STFT).eval())
    result = published_unit(job, EvaluateSettings(("saliency",), ("faithfulness",), clip_s=3.0, keep_maps=True), [])
    assert result.facts["top_saliency"] == 3.0
    kept = result.maps["saliency"]
    assert (kept[0, 0], kept[1, 2], kept.sum()) == (np.float32(2 / 3), 1.0, pytest.approx(5 / 3))
    assert {"faithfulness", "mended_map.faithfulness"} <= set(result.values["saliency"])
