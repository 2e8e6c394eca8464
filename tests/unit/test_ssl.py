"""The ssl backbone: shapes, gradients, freezing, learning rates, precision, checkpointing, bad input."""

from __future__ import annotations

import math
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from speechxai.classifiers import Classifier, build
from speechxai.classifiers.ssl import (
    BUNDLES,
    FAMILIES,
    Ssl,
    SslConfig,
    SslHead,
    SslNetwork,
    architecture,
    attention_weights,
    from_bundle,
    make,
    parameter_groups,
    receptive_field_samples,
)
from speechxai.errors import SpeechXAIError
from speechxai.signal.stft import spectrogram
from speechxai.types import StftConfig


def tiny(family: str = "hubert", seed: int = 0, **options: Any) -> Ssl:
    torch.manual_seed(seed)
    backbone = build("ssl", family=family, size="tiny", hidden_size=12, **options)
    assert isinstance(backbone, Ssl)
    return backbone.eval()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("family", FAMILIES)
def test_magnitude_reaches_the_logits(family: str) -> None:
    backbone = tiny(family)
    spec = spectrogram(noise(2, 8_000))
    magnitude = spec.magnitude.clone().requires_grad_()
    logits = backbone(magnitude, spec.phase)
    assert logits.shape == (2, 2)
    gradient = torch.autograd.grad(logits[:, 1].sum(), magnitude)[0]
    assert torch.isfinite(gradient).all()
    assert (gradient != 0).float().mean() > 0.9
    # The gradient is the slope: a small step along it changes the logit as it says.
    step = 1e-3 * gradient / gradient.norm()
    double = tiny(family).double()
    moved = [double((spec.magnitude + sign * step).double(), spec.phase.double())[:, 1].sum() for sign in (1, -1)]
    assert (moved[0] - moved[1]).item() / 2 == pytest.approx(1e-3 * float(gradient.norm()), rel=1e-2)


@pytest.mark.parametrize("family", FAMILIES)
def test_one_recording_does_not_see_another(family: str) -> None:
    network = tiny(family, normalize=True).network
    waveforms = noise(3, 4_000) * torch.tensor([[1.0], [30.0], [0.01]])
    together = network(waveforms)
    alone = torch.cat([network(row[None]) for row in waveforms])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_head_by_hand() -> None:
    # Two layers, two tokens, two features. LayerNorm of (3, 1) is (1, -1), of (0, 4) is (-1, 1) (up to eps 1e-5).
    # Layer weights (ln 3, 0): shares 3/4 and 1/4. Token 1: 3/4 (1, -1) + 1/4 (1, -1) = (1, -1).
    # Token 2: 3/4 (-1, 1) + 1/4 (1, -1) = (-1/2, 1/2). Pooling weight (ln 2, 0): scores ln 2, -ln(2)/2: shares with
    # 2 and 2^-0.5 = 0.70711: 0.73879 and 0.26121. Pooled: 0.73879 (1, -1) + 0.26121 (-1/2, 1/2) = (0.60818, -0.60818).
    # Hidden layer is the identity with ReLU: (0.60818, 0); output weight (2, 5), bias 1: 2.21637.
    head = SslHead(2, 2, hidden_size=2, n_hidden=1, n_classes=1, dropout=0.0)
    with torch.no_grad():
        head.layer_weights.copy_(torch.tensor([3.0, 1.0]).log())
        head.pooling.weight.copy_(torch.tensor([[2.0, 1.0]]).log())
        head.hidden[0].weight.copy_(torch.eye(2))
        head.output.weight.copy_(torch.tensor([[2.0, 5.0]]))
        head.output.bias.fill_(1.0)
    first = torch.tensor([[[3.0, 1.0], [0.0, 4.0]]])
    second = torch.tensor([[[3.0, 1.0], [4.0, 0.0]]])
    assert head([first, second]).item() == pytest.approx(2.21637, abs=1e-4)


def test_classifier_reads_one_logit_as_log_odds() -> None:
    backbone = tiny(n_classes=1)
    spec = spectrogram(noise(1, 4_000))
    logits = Classifier(backbone).eval()(spec.magnitude, spec.phase)
    assert logits.shape == (1, 2)
    log_odds = backbone(spec.magnitude, spec.phase)[0, 0]
    torch.testing.assert_close(logits[0], torch.stack([-log_odds, log_odds]) / 2)


@pytest.mark.parametrize(
    ("freeze", "trains", "stays"),
    [
        ("none", "feature_extractor.conv_layers.0.conv.weight", None),
        (
            "feature_extractor",
            "encoder.feature_projection.projection.weight",
            "feature_extractor.conv_layers.3.conv.weight",
        ),
        (0, "encoder.transformer.layers.0.final_layer_norm.weight", "encoder.transformer.pos_conv_embed.conv.bias"),
        (
            1,
            "encoder.transformer.layers.1.final_layer_norm.weight",
            "encoder.transformer.layers.0.final_layer_norm.weight",
        ),
        ("all", None, "encoder.transformer.layers.1.final_layer_norm.weight"),
    ],
)
def test_freezing(freeze: str | int, trains: str | None, stays: str | None) -> None:
    network = tiny(freeze=freeze).network.train()
    before = {name: value.clone() for name, value in network.ssl.named_parameters()}
    head = network.head.output.weight.clone()
    optimizer = torch.optim.SGD(parameter_groups(network, 0.1), lr=0.1)
    network(noise(2, 4_000)).square().sum().backward()
    optimizer.step()
    now = dict(network.ssl.named_parameters())
    assert not torch.equal(network.head.output.weight, head)
    if trains is not None:
        assert not torch.equal(now[trains], before[trains])
    if stays is not None:
        assert torch.equal(now[stays], before[stays])
    frozen = [module for module in network.frozen() for module in module.modules()]
    assert not any(module.training for module in frozen)
    assert network.head.training


def test_learning_rates_fall_with_depth() -> None:
    # Two layers, decay 1/2: head 1, last layer 1/2, first layer 1/4, everything before 1/8.
    network = tiny("wavlm").network
    groups = parameter_groups(network, 1.0, 0.5)
    assert [group["lr"] for group in groups] == [1.0, 0.5, 0.25, 0.125]
    by_rate = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    assert len(by_rate) == sum(1 for _ in network.parameters()) == sum(len(group["params"]) for group in groups)
    assert by_rate[id(network.head.layer_weights)] == 1.0
    assert by_rate[id(network.ssl.encoder.transformer.layers[1].feed_forward.output_dense.bias)] == 0.5
    assert by_rate[id(network.ssl.encoder.transformer.layers[0].attention.rel_attn_embed.weight)] == 0.25
    assert by_rate[id(network.ssl.encoder.transformer.layer_norm.weight)] == 0.125
    assert [group["lr"] for group in parameter_groups(nn.Linear(2, 2), 0.3, 0.5)] == [0.3]
    for rate, decay in ((0.0, 0.5), (1.0, 0.0), (1.0, 1.5)):
        with pytest.raises(SpeechXAIError, match="decay"):
            parameter_groups(network, rate, decay)


def test_gradient_checkpointing_gives_the_same_gradients() -> None:
    gradients = []
    for checkpointing in (False, True):
        network = tiny("wavlm", gradient_checkpointing=checkpointing).network.train()
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        for layer in network.ssl.encoder.transformer.layers:
            layer.attention.dropout = 0.0
        network(noise(2, 4_000)).square().sum().backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    assert gradients[0][0] is not None
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed, atol=1e-6, rtol=1e-4)


@torch.no_grad()
def test_bfloat16_stays_close_and_gives_float32() -> None:
    logits = []
    for precision in ("float32", "bfloat16"):
        network = tiny(precision=precision).network
        # Random tiny projections make nearly equal tokens, whose differences a layer norm would blow up.
        network.ssl.encoder.feature_projection.projection.weight.mul_(10)
        logits.append(network(noise(2, 8_000)))
    exact, fast = logits
    assert fast.dtype == torch.float32
    assert not torch.equal(exact, fast)
    assert float((exact - fast).abs().max()) < 0.1


def test_layer_drop_works_in_training_only() -> None:
    network = tiny("wavlm", overrides={"encoder_num_layers": 4, "encoder_layer_drop": 1.0}).network
    waveform = noise(1, 4_000)
    states = network.hidden_states(waveform)
    assert all(not torch.equal(a, b) for a, b in pairwise(states))
    dropped = network.train().hidden_states(waveform)
    # The first layer, which makes the position bias, always runs; the other three do not.
    assert not torch.equal(dropped[0], dropped[1])
    assert all(torch.equal(a, b) for a, b in pairwise(dropped[1:]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"family": "huberd"}, "Did you mean 'hubert'"),
        ({"size": "huge"}, "size of speech models"),
        ({"overrides": {"encoder_layers": 2}}, "Did you mean 'encoder_num_layers'"),
        ({"overrides": {"encoder_num_heads": 7}}, "must divide 'encoder_embed_dim' = 48"),
        ({"freeze": "most"}, "'freeze' parameter"),
        ({"freeze": 3}, "from 0 to 2"),
        ({"freeze": True}, "'freeze' parameter"),
        ({"precision": "float16"}, "'precision' parameter"),
        ({"n_hidden": 0}, "'n_hidden' parameter"),
        ({"n_clases": 2}, "Did you mean 'n_classes'"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpeechXAIError, match=message):
        build("ssl", **{"size": "tiny", **options})


def test_wrong_input_is_named() -> None:
    with pytest.raises(
        SpeechXAIError, match=(r"^A hubert network needs at least 400 samples \(25 ms\)\. Got 399 samples instead\.$")
    ):
        tiny().network(noise(1, 399))
    assert tiny().network(noise(1, 400)).shape == (1, 2)
    with pytest.raises(
        SpeechXAIError, match=(r"^Speech foundation models hear 16000 Hz\. Got an STFT at 8000 Hz instead\.$")
    ):
        build("ssl", StftConfig(sample_rate=8_000), size="tiny")


def test_published_architectures() -> None:
    assert receptive_field_samples(architecture("hubert", "large")) == 400
    for name, (family, size) in BUNDLES.items():
        facts = from_bundle(name)
        assert facts.family == family
        assert facts.architecture["encoder_embed_dim"] == architecture(family, size)["encoder_embed_dim"], name
        assert facts.normalize == (facts.architecture["extractor_mode"] == "layer_norm"), name
        with torch.device("meta"):
            n_parameters = sum(p.numel() for p in make(family, facts.architecture).parameters())
        assert n_parameters == pytest.approx(94.5e6 if size == "base" else 316e6, rel=0.01), name
    for family in FAMILIES:
        assert sum(p.numel() for p in tiny(family).parameters()) < 100_000


def test_config_defaults_are_the_published_head() -> None:
    config = SslConfig()
    assert (config.family, config.size, config.hidden_size, config.n_hidden, config.dropout) == (
        "hubert",
        "base",
        768,
        2,
        0.1,
    )
    assert tiny().cam_layer == "network.ssl.encoder.transformer.layers.1"
    assert isinstance(tiny().network, SslNetwork)


def test_attention_is_scaled_by_the_width_of_a_head() -> None:
    # One head of width 4, queries and keys are the tokens themselves: q k = ((4, 0), (0, 4)), over sqrt(4): 2 and 0.
    block = SimpleNamespace(num_heads=1, head_dim=4, q_proj=nn.Identity(), k_proj=nn.Identity())
    tokens = torch.tensor([[[1.0, 1, 1, 1], [1, -1, 1, -1]]])
    close = math.exp(2) / (math.exp(2) + 1)
    torch.testing.assert_close(
        attention_weights(block, tokens, None)[0, 0], torch.tensor([[close, 1 - close], [1 - close, close]])
    )


def test_wavlms_gate_on_the_relative_position_by_hand() -> None:
    # Queries and keys are 0, so that the bias alone counts. Sums of four: 0 and log 3, gates 1/2 and 3/4; with the
    # constant 2 the bias counts 1/2 (3/4 * 2 - 1) + 2 = 2.25 times.
    def gates(tokens: torch.Tensor) -> torch.Tensor:
        row = torch.tensor([1.0, -1.0, 2.0, -2.0, math.log(3.0), 1.0, -1.0, 0.0])
        return row.expand(*tokens.shape[:-1], 8)

    def nothing(tokens: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(tokens)

    block = SimpleNamespace(
        num_heads=2,
        head_dim=3,
        q_proj=nothing,
        k_proj=nothing,
        gru_rel_pos_linear=gates,
        gru_rel_pos_const=torch.full((1, 2, 1, 1), 2.0),
    )
    bias = math.log(2.0) * torch.tensor([[0.0, 1.0], [-1.0, 0.0]]).expand(1, 2, 2, 2)
    found = attention_weights(block, torch.randn(1, 2, 6), bias)
    more = 2**2.25
    expected = torch.tensor([[1, more], [1 / more, 1]])
    expected = (expected / expected.sum(-1, keepdim=True)).expand(1, 2, 2, 2)
    torch.testing.assert_close(found, expected)
    # Without a bias every token counts the same; one projection for all three says the same as three.
    torch.testing.assert_close(attention_weights(block, torch.randn(1, 2, 6), None), torch.full((1, 2, 2, 2), 0.5))
    projection = torch.randn(18, 6, generator=torch.Generator().manual_seed(0))
    tokens = torch.randn(1, 4, 6, generator=torch.Generator().manual_seed(1))
    three = SimpleNamespace(
        num_heads=2, head_dim=3, q_proj=lambda x: x @ projection[:6].T, k_proj=lambda x: x @ projection[6:12].T
    )
    one = SimpleNamespace(
        num_heads=2,
        head_dim=3,
        attention=SimpleNamespace(in_proj_weight=projection, in_proj_bias=torch.zeros(18)),
    )
    torch.testing.assert_close(attention_weights(one, tokens, None), attention_weights(three, tokens, None))
