"""Recipes from text to map, with stand-in methods whose values are known."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor, nn

from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.explain import METHODS
from speechxai.explain.explain import explain, explain_all
from speechxai.explain.recipe import parse, published_recipes
from speechxai.registry import Registry
from speechxai.types import Spectrogram, StftConfig

CALLS: Counter[str] = Counter()


class Net(nn.Module):
    max_batch = 8

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        z = magnitude.mean(dim=(1, 2)) - 0.5
        return torch.stack([-z, z], dim=1)


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    methods: Registry[object] = Registry("method", required=("signed", "stochastic", "cites"))

    @methods.register(signed=False, stochastic=False, cites="x")
    def saliency(model: nn.Module, spec: Spectrogram, target: Tensor) -> Tensor:
        """Twice the magnitude."""
        CALLS["saliency"] += 1
        return 2 * spec.magnitude

    @methods.register(signed=True, stochastic=False, cites="x")
    def signed_map(model: nn.Module, spec: Spectrogram, target: Tensor, *, shift: float = 0.0) -> Tensor:
        """First frame -2, others 1."""
        CALLS["signed_map"] += 1
        values = torch.ones_like(spec.magnitude) + shift
        values[..., 0] = -2
        return values

    @methods.register(signed=False, stochastic=True, cites="x")
    def smoothgrad(model: nn.Module, spec: Spectrogram, target: Tensor, *, seed: int = 0) -> Tensor:
        """Noise of the seed."""
        CALLS["smoothgrad"] += 1
        noise = torch.rand(spec.magnitude.shape[1:], generator=torch.Generator().manual_seed(seed))
        return noise.expand_as(spec.magnitude).clone()

    @methods.register(signed=False, stochastic=False, cites="x")
    def guided_gradcam(model: nn.Module, spec: Spectrogram, target: Tensor) -> Tensor:
        """Never allowed."""
        CALLS["guided_gradcam"] += 1
        raise NotApplicable("this network has no 'cam_layer'.")

    @methods.register(signed=False, stochastic=False, cites="x")
    def target_map(model: nn.Module, spec: Spectrogram, target: Tensor) -> Tensor:
        """The target itself."""
        return (target[:, None, None] + 1.0) * torch.ones_like(spec.magnitude)

    # into the one registry itself, so that every room sees the stand-ins
    monkeypatch.setattr(METHODS, "_functions", methods._functions)
    monkeypatch.setattr(METHODS, "_facts", methods._facts)
    CALLS.clear()


@pytest.fixture
def spec() -> Spectrogram:
    magnitude = torch.tensor([[[0.0, 1, 2, 3], [1, 1, 1, 1]], [[0.0, 0, 0, 0.5], [0, 0, 0, 0.5]]])
    return Spectrogram(magnitude, torch.zeros_like(magnitude), 3, StftConfig(2, 2, 1))


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("saliency", "saliency"),
        ("  union( saliency ,smoothgrad )", "union(saliency, smoothgrad)"),
        ("intersection(saliency,union(smoothgrad,signed_map),saliency)", None),
    ],
)
def test_canonical_text(text: str, canonical: str | None) -> None:
    assert str(parse(text)) == (canonical or "intersection(saliency, union(smoothgrad, signed_map), saliency)")
    assert parse(str(parse(text))) == parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Recipe '', position 1: expected a method or a combination, found 'the end'."),
        ("salency", "position 1: Unknown method or combination 'salency'. Did you mean 'saliency'?"),
        (
            "union(saliency, smothgrad)",
            "position 17: Unknown method or combination 'smothgrad'. Did you mean 'smoothgrad'?",
        ),
        ("unoin(saliency, smoothgrad)", "Did you mean 'union'?"),
        ("union(saliency, )", "position 17: expected a method or a combination, found ')'."),
        ("union(saliency", "position 15: expected ',' or ')', found 'the end'."),
        ("union(saliency)", "position 1: the combination 'union' needs at least two parts."),
        ("union()", "position 7: expected a method or a combination, found ')'."),
        ("union", "position 1: the combination 'union' needs its parts, such as union(saliency, smoothgrad)."),
        ("saliency(smoothgrad, saliency)", "position 1: 'saliency' is a method and takes no parts."),
        ("saliency smoothgrad", "position 10: expected the end, found 'smoothgrad'."),
        ("saliency)", "position 9: expected the end, found ')'."),
        ("union(saliency; smoothgrad)", "position 15: expected ',' or ')', found ';'."),
        ("union(" * 5000, "combinations stand inside each other more than 16 deep."),
    ],
)
def test_wrong_text_is_answered_with_its_position(text: str, message: str) -> None:
    with pytest.raises(SpeechXAIError) as error:
        parse(text)
    assert message in str(error.value)


def test_not_even_text() -> None:
    with pytest.raises(
        SpeechXAIError, match=(r"^A recipe must be text such as 'union\(saliency, smoothgrad\)'\. Got 3 instead\.$")
    ):
        parse(3)  # type: ignore[arg-type]


def test_published_recipes_are_39() -> None:
    recipes = published_recipes()
    assert len(recipes) == len(set(recipes)) == 39
    assert sum(text.startswith("union(") for text in recipes) == 15
    assert sum(text.startswith("intersection(") for text in recipes) == 15
    assert "intersection(gradient_shap, guided_gradcam)" in recipes


def test_target_is_the_predicted_class_of_each_recording(spec: Spectrogram) -> None:
    # means 1.25 and .125: classes 1 and 0
    attribution = explain(Net(), spec, "target_map")
    assert attribution.target.tolist() == [1, 0]
    assert attribution.values[:, 0, 0].tolist() == [2, 1]
    assert explain(Net(), spec, "target_map", 0).target.tolist() == [0, 0]
    assert explain(Net(), spec, "target_map", torch.tensor([0, 1])).values[:, 0, 0].tolist() == [1, 2]


def test_base_maps_are_made_once(spec: Spectrogram) -> None:
    recipes = [
        "saliency",
        "union(saliency, smoothgrad)",
        "intersection(saliency, union(saliency, smoothgrad))",
        "smoothgrad",
    ]
    found = explain_all(Net(), spec, recipes)
    assert list(found) == recipes
    assert CALLS == {"saliency": 1, "smoothgrad": 1}


def test_signed_maps_are_combined_by_their_positive_part_unless_told_otherwise(spec: Spectrogram) -> None:
    # positive: 0 1 1 1; absolute: 1 .5 .5 .5; saliency of recording 0, row 0: 0 1/3 2/3 1
    positive = explain(Net(), spec, "union(saliency, signed_map)")
    torch.testing.assert_close(positive.values[0, 0], torch.tensor([0.0, 4 / 3, 5 / 3, 2]) / 2)
    absolute = explain(Net(), spec, "union(saliency, signed_map)", options={"evidence": "absolute"})
    torch.testing.assert_close(absolute.values[0, 0], torch.tensor([1.0, 5 / 6, 7 / 6, 1.5]) / 1.5)
    assert not positive.signed
    assert explain(Net(), spec, "signed_map").signed


def test_params_tell_seed_and_options(spec: Spectrogram) -> None:
    options = {"signed_map": {"shift": 1.0}, "set_union": {"q": 0.5}, "saliency": {}}
    attribution = explain(Net(), spec, "set_union(signed_map, smoothgrad)", seed=7, options=options)
    assert attribution.params["seed"] == 7
    assert attribution.params["options"] == {
        "signed_map": {"shift": 1.0},
        "smoothgrad": {"seed": 7},
        "set_union": {"q": 0.5},
    }
    assert explain(Net(), spec, "saliency", seed=7).params["seed"] is None
    other = explain(Net(), spec, "set_union(signed_map, smoothgrad)", seed=8, options=options)
    assert not torch.equal(attribution.values, other.values)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"salency": {}}, "Did you mean 'saliency'?"),
        ({"signed_map": {"shfit": 1}}, "Unknown option of 'signed_map' 'shfit'. Did you mean 'shift'?"),
        ({"set_union": {"Q": 1}}, "Unknown option of 'set_union' 'Q'"),
        ({"evidence": "negative"}, "must be 'positive' or 'absolute'"),
        ({"signed_map": 3}, "must be a table"),
    ],
)
def test_wrong_options(spec: Spectrogram, options: dict[str, object], message: str) -> None:
    with pytest.raises(SpeechXAIError) as error:
        explain(Net(), spec, "saliency", options=options)
    assert message in str(error.value)


def test_a_method_that_cannot_leaves_the_rest_and_its_reason(spec: Spectrogram) -> None:
    recipes = [
        "guided_gradcam",
        "saliency",
        "union(saliency, guided_gradcam)",
        "intersection(guided_gradcam, smoothgrad)",
    ]
    found = explain_all(Net(), spec, recipes)
    assert list(found) == ["saliency"]
    reason = "guided_gradcam: this network has no 'cam_layer'."
    assert found.not_applicable == dict.fromkeys([recipes[0], *recipes[2:]], reason)
    assert CALLS["guided_gradcam"] == 1
    with pytest.raises(NotApplicable, match=r"^guided_gradcam: this network has no 'cam_layer'\.$"):
        found["guided_gradcam"]
    with pytest.raises(SpeechXAIError, match=r"^Unknown recipe 'smothgrad'\. Known: .*$"):
        found["smothgrad"]
    with pytest.raises(NotApplicable, match=r"^guided_gradcam: this network has no 'cam_layer'\.$"):
        explain(Net(), spec, "union(saliency, guided_gradcam)")


def test_integrated_gradients_come_with_their_completeness_error(
    spec: Spectrogram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the real methods
    options = {"integrated_gradients": {"baseline": "silence", "n_steps": 2}}
    attribution = explain(Net(), spec, "integrated_gradients", options=options)
    # the network is linear: any number of steps is complete
    assert attribution.params["completeness_error"].shape == (2,)
    assert (attribution.params["completeness_error"] < 1e-6).all()
    # means 1.25 and .125 of 8 bins: the sum of the map is the logit of the predicted class less the one of silence
    torch.testing.assert_close(attribution.values.sum(dim=(1, 2)), torch.tensor([1.25, -0.125]))
    without = explain(Net(), spec, "integrated_gradients", options={**options, "completeness": False})
    assert "completeness_error" not in without.params
    torch.testing.assert_close(without.values, attribution.values)
    with pytest.raises(SpeechXAIError, match=r"^The 'completeness' option must be true or false\. Got 1 instead\.$"):
        explain(Net(), spec, "integrated_gradients", options={"completeness": 1})


def test_a_batch_larger_than_one_pass_is_explained_without_a_shared_pass(spec: Spectrogram) -> None:
    model = Net()
    model.max_batch = 1
    assert explain(model, spec, "target_map").target.tolist() == [1, 0]
