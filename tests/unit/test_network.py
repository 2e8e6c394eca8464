"""The contract of a network: what a trial of somebody else's finds, and what opens as a model."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import speechxai.evaluation.unit  # noqa: F401  registers "standard"
from speechxai.classifiers import Classifier, predict
from speechxai.classifiers.bundle import in_memory, load_bundle, save_bundle
from speechxai.classifiers.external import open_factory
from speechxai.classifiers.network import WaveformDoor, as_network, check, class_order, compared
from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.evaluation.values import PROTOCOLS, EvaluateSettings, Job
from speechxai.explain import METHODS, OriginalPass
from speechxai.inspection import inspect
from speechxai.mancini2025.maps import PosteriorLogits
from speechxai.signal.stft import SegmentConfig, spectrogram
from speechxai.testing import tiny_classifier
from speechxai.types import Recording, StftConfig

STFT = StftConfig(sample_rate=8000)
MODULE = "networks_of_test"


class Net(nn.Module):
    """A convolution, its mean over time h (B, 8), and `tail(fc, h)`."""

    stft = STFT

    def __init__(self, tail: Callable[[nn.Module, Tensor], Tensor], n_outputs: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc, self.tail = nn.Conv1d(1, 8, 64, stride=32), nn.Linear(8, n_outputs), tail

    def forward(self, waveform: Tensor) -> Tensor:
        return self.tail(self.fc, functional.relu(self.conv(waveform[:, None])).mean(-1))


class Scripted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc = nn.Conv1d(1, 8, 64, stride=32), nn.Linear(8, 2)

    def forward(self, waveform: Tensor) -> Tensor:
        return self.fc(functional.relu(self.conv(waveform.unsqueeze(1))).mean(-1))


def saying(network: Any, **words: Any) -> Any:
    for name, value in words.items():
        setattr(network, name, value)
    return network


def of_4000_samples() -> Callable[[Tensor], Tensor]:
    return saying(lambda waveform: functional.linear(waveform, torch.ones(2, 4000)), stft=STFT)


def left_in_training() -> Callable[[Tensor], Tensor]:
    layers = nn.Sequential(
        nn.Unflatten(1, (1, -1)),
        nn.Conv1d(1, 8, 64, 32),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(8, 2),
    )
    return lambda waveform: layers(waveform)  # no nn.Module, so eval() does not reach it


def opened(make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    module = ModuleType(MODULE)
    module.make = make  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, MODULE, module)
    return load_bundle(f"{MODULE}:make", allow_code=True)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Net(lambda fc, h: torch.sigmoid(fc(h)[:, :1] * 20 - 3)), r"look like probabilities \(sigmoid\)"),
        (lambda: Net(lambda fc, h: torch.sigmoid(fc(h) * 20 - 3)), r"look like probabilities \(sigmoid\)"),
        (lambda: Net(lambda fc, h: (fc(h) * 8).softmax(-1)), r"look like probabilities \(softmax\)"),
        (lambda: Net(lambda fc, h: 100 * (fc(h) * 8).softmax(-1)), r"look like probabilities \(softmax\)"),
        (lambda: Net(lambda fc, h: 100 * torch.sigmoid(fc(h) * 8), 1), r"look like probabilities \(sigmoid\)"),
        (lambda: Net(lambda fc, h: torch.sigmoid(fc(h) * 8) * 0.98 + 0.01), r"look like probabilities \(sigmoid\)"),
        (lambda: Net(lambda fc, h: (fc(h) * 8).softmax(-1) + 1e-4), "look like probabilities"),
        (lambda: Net(lambda fc, h: (fc(h) * 8).log_softmax(-1)), r"are log-probabilities \(log-softmax\)"),
        (lambda: Net(lambda fc, h: fc(functional.dropout(h, 0.5))), "two calls with the same recording differ"),
        (left_in_training, "two calls with the same recording differ"),
        (lambda: Net(lambda fc, h: fc(h - h.mean(0, keepdim=True)) * 50), "depends on the others of its batch"),
        (lambda: Net(lambda fc, h: fc(h), 3), r"gives 3 outputs and has 2 class names \(HC, PD\)"),
        (
            lambda: saying(Net(lambda fc, h: fc(h), 3), class_names=("HC", "PD")),
            r"gives 3 outputs and has 2 class names \(HC, PD\)",
        ),
        (
            lambda: saying(Net(lambda fc, h: fc(h), 3), class_names=("parkinson", "control")),
            "gives 3 outputs and has 2 class names",
        ),
        (lambda: saying(Net(lambda fc, h: fc(h)), class_names=("PD", "PD")), r"the same class name \(PD, PD\)"),
        (lambda: saying(Net(lambda fc, h: fc(h)), class_names=("PD", "Parkinson's")), "have the same class name"),
        (
            lambda: saying(Net(lambda fc, h: fc(h)), class_names=("a", "b", "c")),
            "gives 2 outputs and has 3 class names",
        ),
        (lambda: Net(lambda fc, h: fc(h)).half(), r"weights are float16.*call \.float\(\)"),
        (lambda: Net(lambda fc, h: fc(h).half()), "outputs are float16"),
        (lambda: Net(lambda fc, h: (fc(h) * 0).log() - (fc(h) * 0).log()), "NaN or infinite"),
        # 4000 samples are 25 hops of 160: 26 frames, 0.52 s.
        (of_4000_samples, r"4000 samples \(0\.5 s\) alone.*SegmentConfig\(0\.52, 0\.26, 'pad'\).*hop_length=160"),
        (lambda: Net(lambda fc, h: fc(h[:, :3])), "fails on made voices"),
        (lambda: saying(Net(lambda fc, h: fc(h)), output="points"), "must be one of logit, probability"),
        (lambda: saying(Net(lambda fc, h: fc(h)), output="score"), r"is one column, and gives \(4, 2\) for 4"),
        (lambda: saying(Net(lambda fc, h: fc(h).clamp(0, 1), 1), output="score"), "nobody sees whether its score is"),
        (lambda: saying(Net(lambda fc, h: fc(h), 1).half(), output="score"), "it takes no made voice"),
        (
            lambda: saying(Net(lambda fc, h: functional.logsigmoid(fc(h)), 1), output="log-probability"),
            "gives one column, which is no log odds",
        ),
        (lambda: saying(Net(lambda fc, h: fc(h)), output="probability"), "states output = 'probability' and gives"),
        (lambda: saying(Net(lambda fc, h: fc(h)), segment=(1.0, 0.5)), "its `segment` must be a SegmentConfig"),
        (lambda: 1 / 0, "the function fails: ZeroDivisionError"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(
    make: Callable[[], Any], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SpeechXAIError, match=rf"^{MODULE}:make: .*{sentence}"):
        opened(make, monkeypatch)


def test_what_is_said_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spectrogram(0.3 * torch.randn(2, 9000, generator=torch.Generator().manual_seed(1)), STFT)

    def p(make: Callable[[], Any]) -> Tensor:
        return predict(opened(make, monkeypatch).classifier(), spec)

    one = p(lambda: Net(lambda fc, h: fc(h)[:, :1] * 20 - 3))
    said = p(lambda: saying(Net(lambda fc, h: torch.sigmoid(fc(h)[:, :1] * 20 - 3)), output="probability"))
    torch.testing.assert_close(said, one)
    two = p(lambda: Net(lambda fc, h: fc(h) * 8))
    for words, tail in (
        ({"output": "probability"}, lambda fc, h: (fc(h) * 8).softmax(-1)),
        ({"output": "log-probability"}, lambda fc, h: (fc(h) * 8).log_softmax(-1)),
        ({"class_names": ["Parkinson's", "Healthy control"]}, lambda fc, h: (fc(h) * 8).flip(1)),
    ):
        torch.testing.assert_close(p(lambda w=words, t=tail: saying(Net(t), **w)), two)  # type: ignore[misc]
    of_hc = {"class_names": ("PD", "HC")}
    torch.testing.assert_close(p(lambda: saying(Net(lambda fc, h: -(fc(h)[:, :1] * 20 - 3)), **of_hc)), one)

    # What the sentence about a fixed length tells to state.
    stated = {"stft": StftConfig(sample_rate=8000, hop_length=160), "segment": SegmentConfig(0.52, 0.26, "pad")}
    bundle = opened(lambda: saying(of_4000_samples(), normalize="peak", **stated), monkeypatch)
    assert bundle.config.check == {"outputs": 2, "differentiable": True, "notes": [], "names_assumed": True}
    assert bundle.config.audio.normalize == "peak"
    # A whole classifier of ours may be returned as well; modules of these names mean something else.
    assert opened(tiny_classifier, monkeypatch).classifier().backbone.features is not None
    opened(lambda: saying(Net(lambda fc, h: fc(h)), output=nn.Linear(8, 2)), monkeypatch)


@pytest.mark.parametrize("sign", [1, -1])
def test_logits_that_sum_to_one_are_no_probabilities(sign: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # (a, -a, 1) with 0 < a < 1 has a value below 0 and none above 1; (1 + a, -2 a, a) has both.
    def tail(fc: nn.Module, h: Tensor) -> Tensor:
        a = 0.5 * torch.sigmoid(sign * fc(h)[:, 0])
        return torch.stack([a, -a, torch.ones_like(a)] if sign > 0 else [1 + a, -2 * a, a], dim=1)

    bundle = opened(lambda: saying(Net(tail, 3), class_names=("HC", "PD", "MSA")), monkeypatch)
    assert bundle.config.check["outputs"] == 3


def voice_spec() -> Any:
    return spectrogram(torch.randn(1, 8_000, generator=torch.Generator().manual_seed(0)) / 4, STFT)


TAILS = {
    "logit": lambda fc, h: fc(h) * 20 - 3,
    "logit inside 0 to 1": lambda fc, h: fc(h) / 100 + 0.5,
    "linear": lambda fc, h: functional.linear(h, fc.weight / 100, fc.bias * 0 + 0.5),
    "probability": lambda fc, h: torch.sigmoid(fc(h) * 20 - 3),
    "sigmoid in float64": lambda fc, h: torch.sigmoid((fc(h) * 20 - 3).double()).float(),
}


@pytest.mark.parametrize(
    ("kind", "names", "compiled"),
    [
        ("logit", None, False),
        ("logit", ("Parkinson", "control"), False),
        ("linear", ("HC", "PD"), False),
        ("probability", None, True),
        ("probability", ("Parkinson", "control"), False),
        ("probability", ("healthy", "MSA"), False),
        ("sigmoid in float64", None, False),
    ],
)
def test_one_score_is_that_of_the_second_class(
    kind: str, names: tuple[str, ...] | None, compiled: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One column, a logit or a probability, said in the network, in the call or in a bundle."""
    words = {} if names is None else {"class_names": names}
    tail: Any = TAILS[kind]
    with torch.no_grad():
        value = Net(tail, 1)(voice_waveform())
    p_second = float(value if "probability" in kind or "sigmoid" in kind else value.sigmoid())

    def make(**said: Any) -> Any:
        network = saying(Net(tail, 1), **said)
        return torch.compile(network, backend="eager") if compiled else network

    bundle = opened(lambda: make(output="score", **words), monkeypatch)
    told = predict(bundle.classifier(), voice_spec())[0]
    second = 0 if names == ("Parkinson", "control") else 1  # outputs are put into the order HC, PD
    assert float(told[second]) == pytest.approx(p_second, abs=1e-6)
    assert bundle.config.classes == (("healthy", "MSA") if names == ("healthy", "MSA") else ("HC", "PD"))
    if compiled:
        return
    # In the call, where the network itself says nothing; and once more from the folder of a saved bundle.
    plain = open_factory_of(lambda: make(), monkeypatch, output="score", class_names=names)
    torch.testing.assert_close(predict(plain.classifier, voice_spec())[0], told)
    kept = in_memory("kept", plain)
    saved = save_bundle(tmp_path / "kept", kept.config, {"final": kept.classifier()}, "")
    assert saved.config.options["output"] == "score"
    torch.testing.assert_close(predict(saved.classifier(), voice_spec())[0], told)


def voice_waveform() -> Tensor:
    return torch.randn(1, 8_000, generator=torch.Generator().manual_seed(0)) / 4


def open_factory_of(make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, **words: Any) -> Any:
    module = ModuleType(MODULE)
    module.load = make  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, MODULE, module)
    return open_factory(f"{MODULE}:load", **words)


def test_a_score_between_0_and_1_is_not_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^networks_of_test:make: nobody sees whether its score is a logit or a probability\. Let it "
            r"state output = 'logit' or output = 'probability'\.$"
        ),
    ):
        opened(lambda: saying(Net(TAILS["logit inside 0 to 1"], 1), output="score"), monkeypatch)
    said = opened(lambda: saying(Net(TAILS["logit inside 0 to 1"], 1), output="logit"), monkeypatch)
    value = Net(TAILS["logit inside 0 to 1"], 1)(voice_waveform()).detach()
    assert float(predict(said.classifier(), voice_spec())[0, 1]) == pytest.approx(float(value.sigmoid()), abs=1e-6)


class Spectral(nn.Module):
    """A backbone of a plugin, which hears magnitudes and says what its outputs are."""

    def __init__(self, output: str | None, n_outputs: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.output, self.fc = output, nn.Linear(STFT.n_bins, n_outputs)

    def logits(self, magnitude: Tensor) -> Tensor:
        return self.fc(magnitude.mean(-1)) * 9 - 3

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        z = self.logits(magnitude)
        if self.output == "probability":
            return z.sigmoid() if z.shape[1] == 1 else z.softmax(-1)
        return z.log_softmax(-1) if self.output == "log-probability" else z


@pytest.mark.parametrize(
    ("output", "n_outputs"), [(None, 1), ("logit", 1), ("probability", 1), ("probability", 2), ("log-probability", 2)]
)
@pytest.mark.parametrize("whole", [False, True])
def test_what_a_backbone_says_is_heeded(output: str | None, n_outputs: int, whole: bool) -> None:
    """A probability of .007 is no logit of .007, in a classifier of a plugin's backbone and in a bare network alike."""
    backbone, spec = Spectral(output, n_outputs).eval(), voice_spec()
    z = backbone.logits(spec.magnitude).detach()
    expected = torch.cat([-z / 2, z / 2], 1).softmax(-1) if n_outputs == 1 else z.softmax(-1)
    if whole and n_outputs == 1:
        return  # a bare network has one output for each class
    model = saying(backbone, stft=STFT) if whole else Classifier(backbone, STFT)
    torch.testing.assert_close(predict(model, spec), expected)
    assert check(model).problem == ""


def test_a_backbone_states_a_logit_or_a_probability() -> None:
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^the network: states output = 'score'\. A backbone states 'logit' or 'probability' "
            r"instead\.$"
        ),
    ):
        predict(Classifier(Spectral("score", 1), STFT), voice_spec())


def test_classes_that_nobody_has_named_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = opened(lambda: Net(lambda fc, h: fc(h)), monkeypatch)
    (concern,) = bundle.concerns()
    assert concern == (
        f"{bundle.name} does not say which output is which class: they are read as HC, PD. Let it state `class_names`,"
        " one name for each output."
    )
    for names in (("HC", "PD"), ("Parkinson", "Control"), ("a", "b")):
        said = opened(lambda names=names: saying(Net(lambda fc, h: fc(h)), class_names=names), monkeypatch)
        assert not said.concerns()
    assert not open_factory_of(lambda: Net(lambda fc, h: fc(h)), monkeypatch, class_names=("PD", "HC")).names_assumed


def test_notes_are_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    blind = opened(lambda: (lambda net: lambda w: net(w.detach()))(Net(lambda fc, h: fc(h))), monkeypatch)
    assert not blind.config.check["differentiable"]
    assert "no gradient" in blind.config.check["notes"][0]
    wide = opened(lambda: saying(Net(lambda fc, h: fc(h)), conv=nn.Conv1d(1, 8, 14_000, stride=32)), monkeypatch)
    assert "no recordings as short as 1 s" in wide.config.check["notes"][0]
    with pytest.warns(FutureWarning, match="deprecated"):  # torch's own of tracing
        traced = torch.jit.trace(Scripted(), torch.zeros(2, 8000))
    scripted = opened(lambda: traced, monkeypatch)
    assert "ScriptModule" in scripted.config.check["notes"][0]
    spec, target = spectrogram(torch.randn(1, 4000), STFT), torch.tensor([1])
    assert METHODS["saliency"](scripted.classifier(), spec, target).abs().max() > 0
    for name in ("guided_backprop", "deep_lift"):
        with pytest.raises(NotApplicable, match=f"whose functions {name} cannot reach"):
            METHODS[name](scripted.classifier(), spec, target)


def test_a_compiled_network_is_explained_as_it_was_before(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = opened(lambda: Net(lambda fc, h: fc(h)), monkeypatch).classifier()
    spec, target = spectrogram(torch.randn(1, 4000), STFT), torch.tensor([1])
    for make in (
        lambda: torch.compile(Net(lambda fc, h: fc(h))),
        lambda: nn.Sequential(torch.compile(Net(lambda fc, h: fc(h)))),
    ):
        compiled = opened(make, monkeypatch).classifier()
        for name in ("saliency", "guided_backprop", "deep_lift"):
            found, expected = (METHODS[name](model, spec, target) for model in (compiled, plain))
            torch.testing.assert_close(found, expected)


def test_a_waveform_network_hears_exactly_the_samples() -> None:
    heard: list[tuple[int, ...]] = []

    class Listens(nn.Module):
        def forward(self, waveform: Tensor) -> Tensor:
            heard.append(tuple(waveform.shape))
            return waveform.abs().mean(-1, keepdim=True) * torch.tensor([1.0, -1.0])

    door, raw = WaveformDoor(Listens(), STFT), 0.3 * torch.randn(1, 8000)
    spec = spectrogram(raw, STFT)
    whole, target = Classifier(door, STFT), torch.tensor([1])
    expected = (raw.abs().mean() * torch.tensor([[1.0, -1.0]])).softmax(-1)
    torch.testing.assert_close(predict(whole, spec), expected, atol=1e-5, rtol=1e-5)
    for method in ("saliency", "integrated_gradients", "occlusion", "rise"):
        METHODS[method](whole, spec, target)
    assert {shape[1] for shape in heard} == {8000}
    # Segments are whole hops: 1 s are 43 frames, 42 hops of 186.
    heard.clear()
    predict(Classifier(door, STFT, SegmentConfig(0.5, 0.25)), spec)
    assert {shape[1] for shape in heard} == {21 * 186}
    heard.clear()
    predict(Classifier(door, STFT, SegmentConfig(5.0, 2.5)), spec)
    assert {shape[1] for shape in heard} == {8000}


def of_a_function() -> Callable[[Tensor], Tensor]:
    """A function, whose weights nobody sees, that listens to the last sample and to the length."""
    network = Net(lambda fc, h: fc(h)).eval()
    return saying(
        lambda waveform: network(waveform) + 50 * waveform[:, -1:] + waveform.shape[1] / 8_000 * torch.tensor([0.0, 1]),
        stft=STFT,
    )


def test_commands_and_library_hear_the_same_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = opened(of_a_function, monkeypatch)
    voice = Recording(torch.randn(8_123, generator=torch.Generator().manual_seed(1)) / 8, 8_000, "v", "x/v")
    settings = EvaluateSettings(("saliency",), ("average_drop",))
    scored = PROTOCOLS["standard"](Job(voice, bundle.classifier()), settings, [])
    heard = inspect.hear(bundle, voice)
    told = predict(bundle.classifier(), spectrogram(voice.waveform[None], STFT))[0]
    with torch.no_grad():
        direct = of_a_function()(voice.waveform[None])[0].softmax(-1)
    for p in (heard.probability[1], scored.facts["p_PD"], float(told[1])):
        assert p == pytest.approx(float(direct[1]), abs=2e-4)
    assert inspect.explain(heard, ["saliency"])[0]["saliency"].mask.shape == heard.spec.magnitude.shape[1:]


def test_no_number_is_no_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of recordings that it was not tried on: each door says so, and nobody is called healthy."""

    def make() -> Any:
        network = Net(lambda fc, h: fc(h))
        return saying(lambda w: network(w) * (math.nan if w.shape[1] > 16_000 else 1.0), stft=STFT)

    bundle = opened(make, monkeypatch)
    short, long = (Recording(torch.randn(n) / 8, 8_000, f"v{n}", f"x/v{n}") for n in (8_000, 17_000))
    assert inspect.hear(bundle, short).probability.sum() == pytest.approx(1)
    for door in (
        lambda: inspect.hear(bundle, long),
        lambda: PROTOCOLS["standard"](
            Job(long, bundle.classifier()), EvaluateSettings(("saliency",), ("average_drop",)), []
        ),
    ):
        with pytest.raises(SpeechXAIError, match=r"^v17000: the network's answer is NaN or infinite, so there is none"):
            door()


def test_every_wrapper_keeps_the_contract() -> None:
    model = tiny_classifier()
    spec = spectrogram(torch.randn(1, 4000), model.stft)
    for wrapped in (OriginalPass(model, spec), PosteriorLogits(model)):
        network = as_network(wrapped)
        assert network is wrapped
        assert (network.max_batch, network.cam_layer, network.class_names) == (16, "features", ("HC", "PD"))
        assert network.cut(spec.magnitude).shape[0] == 1
        assert network.for_length(spec.n_samples)(spec.magnitude, spec.phase).shape == (1, 2)
    torch.testing.assert_close(
        PosteriorLogits(model).segment_logits(spec.magnitude, spec.phase),
        model(spec.magnitude, spec.phase).softmax(-1),
    )
    before = torch.random.get_rng_state()
    assert check(model).table() == {"outputs": 2, "differentiable": True, "notes": []}
    assert torch.equal(before, torch.random.get_rng_state())
    assert as_network(saying(nn.Identity(), max_batch=3)).max_batch == 3


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (("HC", "PD"), (0, 1)),
        (("pd", "hc"), (1, 0)),
        (("Parkinson's disease", "healthy_controls"), (1, 0)),
        (("Normal", "PwPD"), (0, 1)),
        (("control", "patient"), None),
        (("healthy", "pathological"), None),
        (("LABEL_0", "LABEL_1"), None),
        (("PD", "patient"), None),
        (("HC", "PD", "MSA"), None),
    ],
)
def test_names_of_outputs_say_which_is_which(names: tuple[str, ...], order: tuple[int, ...] | None) -> None:
    assert class_order(names) == order


@pytest.mark.parametrize(
    ("data", "model", "names", "order"),
    [
        (("HC", "PD"), ("HC", "PD"), ("HC", "PD"), (0, 1)),
        (("HC", "PD"), ("parkinson's", "Control"), ("HC", "PD"), (1, 0)),
        (("healthy", "pathological"), ("Pathologic", "normal"), ("healthy", "pathological"), (1, 0)),
        (("HC", "PD"), ("PD", "MSA", "HC"), ("HC", "PD", "MSA"), (2, 0, 1)),
        (("HC", "PD", "MSA"), ("MSA", "HC", "PD"), ("HC", "PD", "MSA"), (1, 2, 0)),
        (("mild", "severe"), ("Severe ", "mild"), ("mild", "severe"), (1, 0)),
    ],
)
def test_classes_of_data_and_model_are_the_same_by_name(
    data: tuple[str, ...], model: tuple[str, ...], names: tuple[str, ...], order: tuple[int, ...]
) -> None:
    found = compared(data, model)
    assert (found.names, found.order, found.refused) == (names, order, "")
    assert [found.index(label) for label in (*range(len(data)), None)] == [*order[: len(data)], None]


@pytest.mark.parametrize(
    ("data", "model"),
    [
        (("healthy", "pathological"), ("HC", "PD")),
        (("HC", "PD"), ("healthy", "pathological")),
        (("HC", "PD"), ("control", "patient")),
        (("HC", "PD"), ("LABEL_0", "LABEL_1")),
        (("HC", "PD", "MSA"), ("HC", "PD")),
        (("HC", "PD"), ("HC", "PD", "parkinson")),
        (("mild", "severe"), ("HC", "PD")),
    ],
)
def test_classes_of_other_names_are_not_compared(data: tuple[str, ...], model: tuple[str, ...]) -> None:
    found = compared(data, model)
    assert (found.names, found.order, found.index(0)) == (model, tuple(range(len(model))), None)
    assert found.refused == (
        f"The data say {'/'.join(data)}, the model says {'/'.join(model)}: nothing is scored against the labels;"
        " explanations are."
    )


def test_code_runs_only_when_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_net_of_test.py").write_text("raise SystemError('ran')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^my_net_of_test:make: this runs code of that module\. If you trust it, give --allow-code "
            r"\(allow_code=True\)\.$"
        ),
    ):
        load_bundle("my_net_of_test:make")
    with pytest.raises(
        SpeechXAIError,
        match=(
            r"^my_net_of_test:make: the module 'my_net_of_test' cannot be imported: SystemError: ran\. "
            r"Install it, set PYTHONPATH to its folder, or run the command in that folder\.$"
        ),
    ):
        load_bundle("my_net_of_test:make", allow_code=True)


def test_huggingface_outputs_keep_their_meaning(tmp_path: Path) -> None:
    """A model with outputs (PD, HC) says the same P(PD) raw, opened from its folder, and after save and load."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64}
    more = {"conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
    for names, folder in ((("PD", "HC"), "named"), (("Parkinson", "Control"), "spelled"), (("A", "B"), "unnamed")):
        labels = {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
        config = transformers.HubertConfig(**sizes, **more, classifier_proj_size=12, **labels)
        model = transformers.HubertForSequenceClassification(config).eval()
        with torch.no_grad():
            model.classifier.bias.copy_(torch.tensor([2.0, -2.0]))
        model.save_pretrained(tmp_path / folder)
        waveform = 0.1 * torch.randn(1, 8000)
        with torch.no_grad():
            raw = float(model(waveform).logits.softmax(-1)[0, 0])
        spec = spectrogram(waveform, StftConfig())
        bundle = load_bundle(tmp_path / folder)
        assert (bundle.config.check["outputs"], bundle.config.audio.normalize) == (2, "none")
        again = save_bundle(tmp_path / f"{folder}-bundle", bundle.config, {"final": bundle.classifier()}, "# card")
        for each in (bundle, again, load_bundle(tmp_path / f"{folder}-bundle")):
            p_pd = float(predict(each.classifier(), spec)[0, 0 if folder == "unnamed" else 1])
            assert raw > 0.9
            assert p_pd == pytest.approx(raw, abs=1e-4)
        assert again.config.classes == (names if folder == "unnamed" else ("HC", "PD"))
    # Without an order of its own, the text of its config.json says it.
    options = {key: value for key, value in load_bundle(tmp_path / "named").config.options.items() if key != "order"}
    plain = load_bundle(tmp_path / "named")
    kept = save_bundle(
        tmp_path / "kept", plain.config.model_copy(update={"options": options}), {"final": plain.classifier()}, ""
    )
    torch.testing.assert_close(predict(kept.classifier(), spec), predict(plain.classifier(), spec))
