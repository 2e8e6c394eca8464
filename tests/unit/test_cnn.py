"""The small network: what attribution rules need of it, what its front end hears, and that it asks for sane
settings."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from speechxai.classifiers import Classifier, build
from speechxai.classifiers.cnn import Cnn, LogMel
from speechxai.classifiers.fit import set_front_end
from speechxai.errors import SpeechXAIError
from speechxai.signal.stft import spectrogram
from speechxai.types import Recording, StftConfig


def noise(n: int = 16_000, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(n, generator=torch.Generator().manual_seed(seed))


def test_it_is_small_and_made_of_what_every_rule_allows() -> None:
    network = build("cnn")
    assert sum(p.numel() for p in network.parameters()) < 300_000
    allowed = (nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.AvgPool2d, nn.Dropout, nn.Linear, nn.Sequential, LogMel, Cnn)
    assert all(isinstance(module, allowed) for module in network.modules())
    rectifiers = [module for module in network.modules() if isinstance(module, nn.ReLU)]
    uses: list[nn.Module] = []
    for rectifier in rectifiers:
        rectifier.register_forward_hook(lambda module, *_: uses.append(module))
    spec = spectrogram(noise()[None])
    network.eval()(spec.magnitude, spec.phase)
    assert uses == rectifiers, "DeepLift refuses a rectifier that is used twice"


def test_the_feature_map_is_what_grad_cam_weights() -> None:
    classifier = Classifier(build("cnn"), cam_layer="features").eval()
    seen: list[torch.Tensor] = []
    classifier.cam_module().register_forward_hook(lambda _m, _i, output: seen.append(output))
    spec = spectrogram(torch.stack([noise(), noise(seed=1)]))
    logits = classifier(spec.magnitude, spec.phase)
    assert seen[0].ndim == 4
    assert seen[0].shape[0] == 2
    # from the feature map on the network is linear: mean over time and halves of the bands, one layer
    pooled = seen[0].mean(-1)
    half = pooled.shape[-1] // 2
    features = torch.cat([pooled[..., :half].mean(-1), pooled[..., half:].mean(-1)], -1)
    linear = classifier.backbone.classifier
    assert isinstance(linear, nn.Linear)
    assert torch.allclose(logits, features @ linear.weight.T + linear.bias, atol=1e-5)


def test_nothing_above_the_highest_frequency_is_heard() -> None:
    network = build("cnn", f_max_hz=4000.0).eval()
    spec = spectrogram(noise()[None])
    deaf = spec.magnitude.clone()
    deaf[:, 258:] = 0  # bin 256 is 4000 Hz
    assert torch.equal(network(spec.magnitude, spec.phase), network(deaf, spec.phase))
    deaf[:, 200:] = 0
    assert not torch.equal(network(spec.magnitude, spec.phase), network(deaf, spec.phase))


def test_phase_and_other_recordings_do_not_matter() -> None:
    network = build("cnn").eval()
    spec = spectrogram(torch.stack([noise(), 5 * noise(seed=1)]))
    together = network(spec.magnitude, torch.zeros_like(spec.phase))
    assert torch.allclose(together[:1], network(spec.magnitude[:1], spec.phase[:1]), atol=1e-6)


def test_gradient_reaches_every_bin_that_is_heard_even_in_silence() -> None:
    network = build("cnn").eval()
    magnitude = torch.zeros(1, 513, 60, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(magnitude, torch.zeros(1, 513, 60))[0, 1], magnitude)
    assert torch.isfinite(gradient).all()
    assert gradient[0, 10:500].abs().sum() > 0


@pytest.mark.parametrize("n_samples", [200, 1600, 48_001])
def test_any_length_is_heard(n_samples: int) -> None:
    spec = spectrogram(noise(n_samples)[None])
    assert torch.isfinite(build("cnn").eval()(spec.magnitude, spec.phase)).all()


def test_front_end_statistics_make_training_features_standard() -> None:
    classifier = Classifier(build("cnn"))
    recordings = [Recording(noise(8000 + 1000 * i, i) * (1 + i), 16_000, f"r{i}", f"s{i}", i % 2) for i in range(4)]
    set_front_end(classifier, recordings)
    front_end = classifier.backbone.front_end
    assert isinstance(front_end, LogMel)
    features = torch.cat([front_end(spectrogram(r.waveform[None]).magnitude)[0, 0] for r in recordings], -1)
    assert torch.allclose(features.mean(-1), torch.zeros(64), atol=1e-3)
    assert torch.allclose(features.std(-1, unbiased=False), torch.ones(64), atol=1e-3)


def test_log_mel_by_hand() -> None:
    # One mel band's triangle times a flat linear magnitude of 1: log(sum of its weights + floor)
    stft = StftConfig()
    front_end = LogMel(stft, 8)
    magnitude = torch.full((1, 513, 3), float(torch.log1p(torch.tensor(1.0))))
    expected = torch.log(front_end.filters.sum(0) + front_end.floor)
    assert torch.allclose(front_end.raw(magnitude)[0, :, 1], expected, atol=1e-5)
    # silence is the floor
    assert torch.allclose(front_end.raw(torch.zeros(1, 513, 1)), torch.tensor(front_end.floor).log())


def test_wrong_settings_are_named() -> None:
    with pytest.raises(SpeechXAIError, match=r"^The 'channels' parameter of Cnn must hold at least one number\.$"):
        build("cnn", channels=[])
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^The 'n_mels' parameter leaves 4 of 300 mel bands empty at 15\.6 Hz a bin\. Take fewer "
            r"bands or a longer n_fft\.$"
        ),
    ):
        build("cnn", n_mels=300)
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^The 'f_max_hz' parameter must be above f_min_hz = 50 Hz and heard at 16000 Hz\. Got 20 "
            r"instead\.$"
        ),
    ):
        build("cnn", f_max_hz=20.0)
    with pytest.raises(
        SpeechXAIError, match=(r"^Unknown option of the backbone 'cnn' 'n_mel'\. Did you mean 'n_mels'\? Known: .*$")
    ):
        build("cnn", n_mel=12)
