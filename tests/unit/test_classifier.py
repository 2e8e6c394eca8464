"""The one signature: long recordings, single logits, bounded memory, and honest gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from speechxai.classifiers import Classifier, build, predict
from speechxai.classifiers.network import WaveformDoor
from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.explain import METHODS
from speechxai.signal.stft import SegmentConfig, spectrogram
from speechxai.types import StftConfig


class OneLogit(nn.Module):
    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        return magnitude.mean(dim=(1, 2))[:, None]


def classifier(max_batch: int = 16) -> Classifier:
    torch.manual_seed(0)
    return Classifier(build("cnn"), segment=SegmentConfig(1.0, 0.5), max_batch=max_batch).eval()


def test_one_logit_is_read_as_the_log_odds_of_pd() -> None:
    spec = spectrogram(torch.randn(2, 8000))
    model = Classifier(OneLogit())
    expected = torch.sigmoid(spec.magnitude.mean(dim=(1, 2)))
    assert torch.allclose(predict(model, spec)[:, 1], expected)


def test_logits_of_a_long_recording_are_the_mean_over_its_segments() -> None:
    model = classifier()
    spec = spectrogram(torch.randn(1, 40_000))
    length, hop = 86, 43
    pieces = [
        model.backbone(spec.magnitude[..., s : s + length], spec.phase[..., s : s + length])
        for s in [*range(0, 217 - length + 1, hop), 217 - length]
    ]
    assert spec.magnitude.shape[-1] == 217
    # 217 - 86 = 131 = 3 * 43 + 2: starts 0, 43, 86, 129 and the last, 131, that ends with the recording
    assert len(pieces) == 5
    assert torch.allclose(model(spec.magnitude, spec.phase), torch.stack(pieces).mean(0), atol=1e-5)


@pytest.mark.parametrize("length_s", [10.0, 5.0, 3.0, 1.0, 0.37])
def test_a_recording_no_longer_than_a_segment_is_heard_once(length_s: float) -> None:
    # 10 s: 160,000 / 186 = 860.2, so a recording of 10 s has 861 + 1 = 862 frames and a segment 860
    stft = StftConfig()
    heard: list[tuple[int, int]] = []

    class Listener(nn.Module):
        def forward(self, waveform: Tensor) -> Tensor:
            heard.append(tuple(waveform.shape))  # type: ignore[arg-type]
            return waveform.square().mean(dim=1, keepdim=True)

    model = Classifier(WaveformDoor(Listener(), stft), stft, SegmentConfig(length_s, length_s / 2)).eval()
    exact = round(16_000 * length_s)
    waveform = torch.randn(1, exact + 400, generator=torch.Generator().manual_seed(0))
    for n_samples in (exact, exact - 1, exact - 100, exact // 2):
        heard.clear()
        spec = spectrogram(waveform[:, :n_samples], stft)
        predict(model, spec)
        assert heard == [(1, n_samples)]
        assert model.cut(spec.magnitude).shape[1] == 1
        assert torch.equal(model.stitch(model.cut(spec.magnitude), spec.magnitude.shape[-1]), spec.magnitude)
    assert model.cut(spectrogram(waveform, stft).magnitude).shape[1] == 2
    # a network of one length is given that length, whatever the recording has
    fixed = Classifier(nn.Identity(), stft, SegmentConfig(length_s, length_s / 2, "pad"))
    assert fixed.cut(spectrogram(waveform[:, :exact], stft).magnitude).shape[-1] == round(length_s * 16_000 / 186)


def test_maps_of_a_recording_as_long_as_a_segment_are_those_of_the_whole() -> None:
    torch.manual_seed(0)
    backbone = build("cnn", n_mels=16, channels=[4, 4])
    spec = spectrogram(torch.randn(1, 16_000))  # 88 frames, a segment of 1 s has 86
    target = torch.tensor([1])
    for name in ("saliency", "gradcam", "band_occlusion", "deep_lift"):
        whole, cut = (
            METHODS[name](Classifier(backbone, segment=segment, cam_layer="features").eval(), spec, target)
            for segment in (None, SegmentConfig(1.0, 0.5))
        )
        assert torch.equal(whole, cut), name


def test_memory_setting_changes_neither_logits_nor_gradients() -> None:
    spec = spectrogram(torch.randn(1, 60_000))
    results = []
    for max_batch in (64, 2):
        magnitude = spec.magnitude.clone().requires_grad_()
        logits = classifier(max_batch)(magnitude, spec.phase)
        results.append((logits.detach(), torch.autograd.grad(logits[0, 1], magnitude)[0]))
    assert torch.allclose(results[0][0], results[1][0], atol=1e-6)
    assert torch.allclose(results[0][1], results[1][1], atol=1e-6)


def test_temperature_softens_without_changing_the_decision() -> None:
    model, spec = classifier(), spectrogram(torch.randn(3, 16_000))
    sharp = predict(model, spec)
    model.temperature.fill_(4.0)
    soft = predict(model, spec)
    assert torch.equal(sharp.argmax(1), soft.argmax(1))
    assert (soft.amax(1) < sharp.amax(1)).all()


def test_missing_cam_layer_says_so() -> None:
    with pytest.raises(
        NotApplicable, match=(r"^this network names no 'cam_layer', so Grad-CAM has no feature map to weight\.$")
    ):
        classifier().cam_module()
    with pytest.raises(SpeechXAIError, match=r"^The network has no layer 'nowhere' for Grad-CAM\.$"):
        Classifier(build("cnn"), cam_layer="nowhere").cam_module()


def test_unknown_backbone_and_option_are_named() -> None:
    with pytest.raises(SpeechXAIError, match=r"^Unknown backbone 'cn'\. Did you mean 'cnn'\? Known: .*$"):
        build("cn")
    with pytest.raises(SpeechXAIError, match=r"^Unknown option of the backbone 'cnn' 'depth'\. Known: .*$"):
        build("cnn", depth=3)


def test_one_logit_explains_either_class() -> None:
    class OneLogit(nn.Module):
        def forward(self, magnitude: torch.Tensor, phase: torch.Tensor) -> torch.Tensor:
            return magnitude.mean(dim=(1, 2))[:, None] - 1

    model = Classifier(OneLogit())
    magnitude = torch.rand(2, 513, 20, requires_grad=True)
    logits = model(magnitude, torch.zeros(2, 513, 20))
    log_odds = magnitude.mean(dim=(1, 2)) - 1
    assert torch.allclose(logits.softmax(-1)[:, 1], log_odds.sigmoid())
    # with (0, z) the explanation of every healthy answer would be an empty map
    for index, sign in ((0, -1), (1, 1)):
        gradient = torch.autograd.grad(logits[:, index].sum(), magnitude, retain_graph=True)[0]
        assert torch.allclose(gradient, torch.full_like(gradient, sign * 0.5 / (513 * 20)))
