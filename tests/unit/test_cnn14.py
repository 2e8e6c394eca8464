"""CNN14 against its publication: parameters, shapes, names, and what published weights may set."""

from __future__ import annotations

import pytest
import torch

from speechxai.classifiers.cnn import (
    CHANNELS,
    N_PARAMETERS,
    Cnn14,
    Cnn14Linear,
    load_published,
    symmetric_mel_filters,
)
from speechxai.errors import SpeechXAIError
from speechxai.types import StftConfig


def n_parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_parameters_equal_the_published_number() -> None:
    with torch.device("meta"):  # shapes without memory
        published, ours = Cnn14(64, 527), Cnn14(80, 2)
    assert n_parameters(published) == N_PARAMETERS == 80_753_615
    # 16 more bands: scale and shift of bn0 each; 525 fewer classes: a row of 2048 weights and a bias each.
    assert n_parameters(ours) == N_PARAMETERS + 2 * 16 - 525 * (2048 + 1)


def test_the_auxiliary_network_of_the_paper_has_one_linear_layer() -> None:
    with torch.device("meta"):
        network, whole = Cnn14Linear(80), Cnn14(80, 527)
        assert tuple(network(torch.zeros(3, 1, 80, 861)).shape) == (3, 1)
    # without the dense layer of 2048 x 2048 and the 527 classes; 2048 weights and a bias instead
    dense, classes = 2048 * 2048 + 2048, 527 * (2048 + 1)
    assert n_parameters(network) == n_parameters(whole) - dense - classes + 2048 + 1
    assert {name.split(".")[0] for name in network.state_dict()} == {
        "bn0",
        *(f"conv_block{i}" for i in range(1, 7)),
        "fc_audioset",
    }


def test_mel_bands_of_the_paper_by_hand() -> None:
    # mel(4000 Hz) = 2595 log10(1 + 4000 / 700) = 2146.06; two bands: corners at 0, 715.35, 1430.71, 2146.06 mel =
    # 0, 620.58, 1791.33, 4000 Hz (700 (10^(m / 2595) - 1)); sides as wide as the step below: 620.58 and 1170.75 Hz
    stft = StftConfig(n_fft=16, win_length=16, hop_length=8, sample_rate=8000)  # bins at 0, 500, ..., 4000 Hz
    filters = symmetric_mel_filters(stft, 2)
    low = [max(0, 1 - abs(f - 620.58) / 620.58) for f in range(0, 4001, 500)]
    high = [max(0, 1 - abs(f - 1791.33) / 1170.75) for f in range(0, 4001, 500)]
    torch.testing.assert_close(filters, torch.tensor([low, high]), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("n_mels", "n_frames"), [(64, 1001), (80, 129)])
def test_shapes_inside(n_mels: int, n_frames: int) -> None:
    with torch.device("meta"):
        network = Cnn14(n_mels, 527).eval()
        features = torch.zeros(3, 1, n_mels, n_frames)
        # Published table: every block but the last halves time and bands, channels 64 ... 2048.
        values = features.transpose(2, 3)
        for index, channels in enumerate(CHANNELS, start=1):
            values = network.get_submodule(f"conv_block{index}")(values)
            halved = 2 ** min(index, 5)
            assert tuple(values.shape) == (3, channels, n_frames // halved, n_mels // halved)
        assert tuple(network.embedding(features).shape) == (3, 2048)
        assert tuple(network(features).shape) == (3, 527)


def test_names_are_the_published_ones() -> None:
    with torch.device("meta"):
        names = set(Cnn14().state_dict())
    wanted = {"bn0.weight", "conv_block1.conv1.weight", "conv_block6.bn2.running_var", "fc1.bias", "fc_audioset.weight"}
    assert wanted <= names
    assert len(names) == 5 + 6 * (2 + 2 * 5) + 4


def test_published_weights_set_all_but_bands_and_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    # A narrow network of the same build, so that the test costs no gigabyte.
    monkeypatch.setattr("speechxai.classifiers.cnn.CHANNELS", (2, 4, 4, 4, 4, 8))
    torch.manual_seed(0)
    published, ours = Cnn14(64, 527), Cnn14(80, 2)
    state = {**published.state_dict(), "spectrogram_extractor.stft.conv_real.weight": torch.zeros(1)}
    transfer = load_published(ours, state)
    assert torch.equal(
        ours.state_dict()["conv_block3.conv2.weight"], published.state_dict()["conv_block3.conv2.weight"]
    )
    assert {name.split(".")[0] for name in transfer.kept} == {"bn0", "fc_audioset"}
    assert "fc1.weight" in transfer.loaded
    same_bands = Cnn14(64, 2)
    assert {name.split(".")[0] for name in load_published(same_bands, state).kept} == {"fc_audioset"}
    del state["fc1.weight"]
    with pytest.raises(
        SpeechXAIError, match=(r"^'fc1\.weight' must have the shape \(8, 8\)\. The weights hold nothing\.$")
    ):
        load_published(ours, state)
    with pytest.raises(
        SpeechXAIError, match=(r"^These are no weights of CNN14: 'layer\.weight' is not known \(1 such tensors\)\.$")
    ):
        load_published(ours, {"layer.weight": torch.zeros(1)})


def test_time_and_bands_are_not_mixed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speechxai.classifiers.cnn.CHANNELS", (2, 4, 4, 4, 4, 8))
    torch.manual_seed(0)
    network = Cnn14(32, 2)
    features = torch.randn(4, 1, 32, 64)
    features[:, :, 5] = features[:, :, 5] * 100 + 7  # one loud band: bn0 makes it like the others
    normalized = network.bn0(features.permute(0, 2, 3, 1)).detach()
    assert normalized[:, 5].mean().abs() < 1e-3
    assert normalized[:, 5].std() == pytest.approx(1, abs=0.01)
    assert tuple(network.blocks(features).shape) == (4, 8, 2, 1)  # 64 frames / 32, 32 bands / 32


def test_time_is_pooled_by_the_maximum_and_the_mean() -> None:
    # Channel 0 holds (1, 3) and (5, 7) over two bands in two frames: 2 and 6 over bands, so 6 + (2 + 6) / 2 = 10.
    # The other channels are 0, and the layer after hands channel 0 on as it is.
    network = Cnn14().eval()
    maps = torch.zeros(1, CHANNELS[-1], 2, 2)
    maps[0, 0] = torch.tensor([[1.0, 3], [5, 7]])
    network.blocks = lambda features: maps  # type: ignore[method-assign]
    with torch.no_grad():
        network.fc1.weight.zero_()
        network.fc1.bias.zero_()
        network.fc1.weight[0, 0] = 1
        embedding = network.embedding(torch.zeros(1, 1, 64, 64))
    assert float(embedding[0, 0]) == 10
    assert float(embedding.sum()) == 10


def test_too_little_to_hear() -> None:
    with pytest.raises(
        SpeechXAIError, match=(r"^The 'n_mels' parameter of cnn14 must be at least 32\. Got 16 instead\.$")
    ):
        Cnn14(16, 2)
    with torch.device("meta"):
        network = Cnn14(64, 2)
        with pytest.raises(
            SpeechXAIError,
            match=(r"^cnn14 needs at least 32 frames, since five poolings halve them\. Got 31 instead\.$"),
        ):
            network(torch.zeros(1, 1, 64, 31))
