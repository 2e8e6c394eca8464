"""What every attribution method owes: read from the registry, so that a new method is under test when it is
registered."""

from __future__ import annotations

import copy
import inspect
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from speechxai.classifiers import Classifier, build
from speechxai.classifiers.interpreter import Decoder, Interpreter, layers_of
from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.explain import METHODS
from speechxai.signal.stft import SegmentConfig, spectrogram
from speechxai.types import Spectrogram

NAMES = list(METHODS)
NEEDS_GRADIENT = {
    "saliency",
    "input_x_gradient",
    "smoothgrad",
    "integrated_gradients",
    "gradient_shap",
    "guided_backprop",
    "gradcam",
    "guided_gradcam",
    "deep_lift",
}
BLIND = {name for name in NAMES if METHODS.facts(name).get("control") or METHODS.facts(name).get("class_blind")}
QUICK: dict[str, dict[str, Any]] = {
    "smoothgrad": {"n_samples": 5},
    "integrated_gradients": {"n_steps": 5},
    "gradient_shap": {"n_samples": 5},
    "rise": {"n_masks": 12},
    "occlusion": {"patch_hz": 4000.0, "stride_hz": 4000.0, "stride_ms": 250.0},
}


def run(name: str, model: nn.Module, spec: Spectrogram, target: Tensor, **options: Any) -> Tensor:
    result: Tensor = METHODS[name](model, spec, target, **{**QUICK.get(name, {}), **options})
    return result


def with_units(spec: Spectrogram) -> Spectrogram:
    """The same with four units of each recording, for methods that need them."""
    end = spec.n_samples / spec.stft.sample_rate
    edges = [0.0, 0.2 * end, 0.4 * end, 0.7 * end, end]
    return replace(spec, spans=len(spec) * (tuple(pairwise(edges)),))


def voices(n: int, seconds: float, seed: int = 1) -> Spectrogram:
    """Tones with vibrato, pauses and noise: something voiced, something silent."""
    random = torch.Generator().manual_seed(seed)
    time = torch.arange(int(seconds * 16_000)) / 16_000
    rows = []
    for index in range(n):
        tone = sum(torch.sin(2 * torch.pi * (120 + 20 * index) * k * time) / k for k in range(1, 8))
        gate = (torch.sin(2 * torch.pi * 3 * time + index) > -0.5).float()
        rows.append(0.1 * (1 + index) * tone * gate + 0.01 * torch.randn(len(time), generator=random))
    return with_units(spectrogram(torch.stack(rows)))


def trained(classifier: Classifier) -> Classifier:
    """Some steps of training, so that weights, running statistics and logits are no longer those of a fresh network."""
    spec = voices(4, 0.5, seed=9)
    optimizer = torch.optim.Adam(classifier.parameters(), lr=3e-3)
    classifier.train()
    for _ in range(8):
        loss = nn.functional.cross_entropy(classifier(spec.magnitude, spec.phase), torch.tensor([0, 1, 0, 1]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    optimizer.zero_grad()
    return classifier.eval()


@pytest.fixture(scope="module")
def models() -> dict[str | None, Classifier]:
    """A network by what a method needs of it."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        plain = trained(Classifier(build("cnn"), segment=SegmentConfig(0.4, 0.2), cam_layer="features"))
        backbone = build("ssl", size="tiny", hidden_size=8, dropout=0.0)
        attentive = Classifier(backbone, segment=SegmentConfig(0.4, 0.2), cam_layer="").eval()
    layers = layers_of(plain)
    with torch.random.fork_rng():
        torch.manual_seed(4)
        decoder = Decoder(layers, torch.linspace(0, 512, 64), plain.stft.n_bins)
    interpreted = copy.copy(plain)
    interpreted.interpreter = Interpreter("m", decoder=decoder.eval().requires_grad_(False))
    return {None: plain, "units": plain, "attention": attentive, "interpreter": interpreted}


@pytest.fixture
def model(request: pytest.FixtureRequest, models: dict[str | None, Classifier]) -> Classifier:
    return models[METHODS.facts(request.node.callspec.params["name"]).get("needs")]


@pytest.fixture(scope="module")
def spec() -> Spectrogram:
    return voices(3, 0.7)


TARGET = torch.tensor([1, 0, 1])


def state(model: nn.Module) -> dict[str, Any]:
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "weights": copy.deepcopy(model.state_dict()),
        "training": [module.training for module in model.modules()],
        "requires_grad": [parameter.requires_grad for parameter in model.parameters()],
        "grad": [parameter.grad is None for parameter in model.parameters()],
        "hooks": [len(getattr(module, name)) for module in model.modules() for name in hooks],
    }


def test_gradient_methods_are_known() -> None:
    assert set(NAMES) >= NEEDS_GRADIENT
    assert {name for name in NAMES if METHODS.facts(name).get("control")} == {"random_map", "energy_map", "edge_map"}


@pytest.mark.parametrize("name", NAMES)
def test_stochastic_methods_take_a_seed(name: str) -> None:
    assert METHODS.facts(name)["stochastic"] == ("seed" in inspect.signature(METHODS[name]).parameters)


@pytest.mark.parametrize("name", NAMES)
def test_shape_dtype_sign_and_finite(name: str, model: Classifier, spec: Spectrogram) -> None:
    values = run(name, model, spec, TARGET)
    assert values.shape == spec.magnitude.shape
    assert values.dtype == spec.magnitude.dtype
    assert values.isfinite().all()
    assert not values.requires_grad
    assert values.abs().sum((1, 2)).min() > 0
    if not METHODS.facts(name)["signed"]:
        assert values.min() >= 0


@pytest.mark.parametrize("name", NAMES)
def test_batched_equals_one_by_one(name: str, model: Classifier, spec: Spectrogram) -> None:
    together = run(name, model, spec, TARGET)
    for index in range(len(spec)):
        at = slice(index, index + 1)
        alone = replace(spec, magnitude=spec.magnitude[at], phase=spec.phase[at], spans=spec.spans[at])
        single = run(name, model, alone, TARGET[index : index + 1])
        torch.testing.assert_close(together[index : index + 1], single, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_map(name: str, model: Classifier, spec: Spectrogram) -> None:
    first, again = run(name, model, spec, TARGET), run(name, model, spec, TARGET)
    assert torch.equal(first, again)
    if METHODS.facts(name)["stochastic"]:
        assert not torch.equal(first, run(name, model, spec, TARGET, seed=1))


@pytest.mark.parametrize("name", NAMES)
def test_explained_class_matters(name: str, model: Classifier, spec: Spectrogram) -> None:
    other = run(name, model, spec, 1 - TARGET)
    if name in BLIND:
        assert torch.equal(run(name, model, spec, TARGET), other)
    elif name != "saliency":
        assert not torch.allclose(run(name, model, spec, TARGET), other)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_touched(name: str, model: Classifier, spec: Spectrogram) -> None:
    used = copy.deepcopy(model).train()
    next(module for module in used.modules() if isinstance(module, nn.Dropout)).eval()
    next(used.parameters()).requires_grad_(False)
    before = state(used)
    magnitude, phase, target = spec.magnitude.clone(), spec.phase.clone(), TARGET.clone()
    random_state = torch.get_rng_state()
    run(name, used, spec, target)
    after = state(used)
    for key, value in before.pop("weights").items():
        assert torch.equal(value, after["weights"][key]), key
    del after["weights"]
    assert before == after
    assert torch.equal(magnitude, spec.magnitude)
    assert torch.equal(phase, spec.phase)
    assert torch.equal(target, TARGET)
    assert not spec.magnitude.requires_grad
    assert torch.equal(random_state, torch.get_rng_state())


@pytest.mark.parametrize("name", NAMES)
def test_training_mode_is_not_explained(name: str, model: Classifier, spec: Spectrogram) -> None:
    expected = run(name, model, spec, TARGET)
    torch.testing.assert_close(run(name, copy.deepcopy(model).train(), spec, TARGET), expected)


@pytest.mark.parametrize("name", NAMES)
def test_small_max_batch_gives_the_same_map(name: str, model: Classifier) -> None:
    """Two recordings of more segments than max_batch: each goes alone, in chunks that are computed again on the way
    back."""
    long = voices(2, 1.4)
    assert model.cut(long.magnitude).shape[1] > 4
    small = copy.deepcopy(model)
    small.max_batch = 2
    torch.testing.assert_close(
        run(name, small, long, TARGET[:2]), run(name, model, long, TARGET[:2]), atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("name", NAMES)
def test_zero_input_gives_a_finite_map(name: str, model: Classifier) -> None:
    silent = with_units(spectrogram(torch.zeros(1, 8000)))
    assert run(name, model, silent, TARGET[:1]).isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_padded_short_recordings(name: str, model: Classifier) -> None:
    padding = Classifier(model.backbone, segment=SegmentConfig(1.0, 0.5, "pad"), cam_layer="features").eval()
    padding.interpreter = model.interpreter
    short = voices(1, 0.4)
    values = run(name, padding, short, TARGET[:1])
    assert values.shape == short.magnitude.shape
    assert values.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_works_where_gradients_are_off(name: str, model: Classifier) -> None:
    waveforms = torch.randn(1, 4000, generator=torch.Generator().manual_seed(0)) * 0.1
    expected = run(name, model, with_units(spectrogram(waveforms)), TARGET[:1])
    with torch.inference_mode():
        spec = with_units(spectrogram(waveforms))
        found = run(name, model, spec, TARGET[:1])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", NAMES)
def test_float64_stays_float64(name: str, model: Classifier) -> None:
    single = voices(1, 0.7)
    spec = replace(single, magnitude=single.magnitude.double(), phase=single.phase.double())
    double = copy.deepcopy(model).double()
    values = run(name, double, spec, TARGET[:1])
    assert values.dtype == torch.float64
    if name not in {"saliency", "guided_backprop"}:  # a unit at its kink may flip with rounding
        correlation = torch.corrcoef(
            torch.stack([run(name, model, single, TARGET[:1]).flatten().double(), values.flatten()])
        )
        assert correlation[0, 1] > 0.99


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wrong", [torch.tensor([1, 0]), torch.tensor([1.0, 0.0, 1.0]), torch.tensor([[1], [0], [1]])])
def test_wrong_target_is_named(name: str, wrong: Tensor, model: Classifier, spec: Spectrogram) -> None:
    with pytest.raises(SpeechXAIError, match="'target' parameter"):
        run(name, model, spec, wrong)


@pytest.mark.parametrize("name", sorted({*NAMES} - BLIND))
def test_class_out_of_range_is_named(name: str, model: Classifier, spec: Spectrogram) -> None:
    with pytest.raises(
        SpeechXAIError,
        match=(r"^The 'target' parameter must be in 0 \.\. 1 for this network\. Got \[0, 1, 2\] instead\.$"),
    ):
        run(name, model, spec, torch.tensor([0, 2, 1]))


class Measures(nn.Module):
    """A network that measures and does not differentiate, as one on acoustic measures does."""

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        energy = magnitude.detach().mean((1, 2))
        return torch.stack([-energy, energy], dim=1)


@pytest.mark.parametrize("name", NAMES)
def test_networks_without_gradient(name: str, spec: Spectrogram) -> None:
    for network in (Measures(), Classifier(Measures(), cam_layer=None)):
        if METHODS.facts(name).get("needs") == "attention":
            with pytest.raises(
                NotApplicable,
                match=(
                    r"^this network has no attention layers that can be read, so there is nothing to roll "
                    r"out; use saliency or occlusion\.$"
                ),
            ):
                run(name, network, spec, TARGET)
        elif METHODS.facts(name).get("needs") == "interpreter":
            with pytest.raises(
                NotApplicable, match=r"^no interpreter was trained for this network: speechxai train-interpreter MODEL "
            ):
                run(name, network, spec, TARGET)
        elif name in NEEDS_GRADIENT:
            reason = "cam_layer" if name in {"gradcam", "guided_gradcam"} else "not differentiable in the magnitude"
            with pytest.raises(NotApplicable, match=reason):
                run(name, network, spec, TARGET)
        else:
            assert run(name, network, spec, TARGET).isfinite().all()


NEEDS_UNITS = [name for name in NAMES if METHODS.facts(name).get("needs") == "units"]


@pytest.mark.parametrize("name", NEEDS_UNITS)
@pytest.mark.parametrize("spans", [(), ((), (), ()), (((0.0, 0.7),), (), ((0.0, 0.7),))], ids=["none", "empty", "one"])
def test_recordings_without_units_are_told(name: str, spans: Any, model: Classifier, spec: Spectrogram) -> None:
    assert "unit_occlusion" in NEEDS_UNITS
    reason = r"^no phones or words of this recording are known; give --textgrids a TextGrid, or own\.$"
    with pytest.raises(NotApplicable, match=reason):
        run(name, model, replace(spec, spans=spans), TARGET)
