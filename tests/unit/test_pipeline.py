"""The pipeline: shared passes, stacks that change nothing, failures that cost only their unit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

from speechxai.errors import SpeechXAIError
from speechxai.evaluation.config import check_protocol, resolve_metrics, resolve_recipes
from speechxai.evaluation.unit import agreement_of_methods, half, stack_size, standard, tiled
from speechxai.evaluation.values import (
    PROTOCOLS,
    EvaluateSettings,
    Failure,
    Job,
    Progress,
    UnitResult,
    evaluate_recordings,
)
from speechxai.explain.agreement import iou, overlap, rank_correlation
from speechxai.explain.combination import evidence
from speechxai.explain.explain import explain, explain_all
from speechxai.explain.recipe import PUBLISHED_METHODS
from speechxai.metrics import Case, score
from speechxai.signal.stft import SegmentConfig, spectrogram
from speechxai.testing import noise_recording, tiny_classifier
from speechxai.types import Recording

SETTINGS = EvaluateSettings(
    recipes=("saliency", "integrated_gradients", "union(saliency, integrated_gradients)", "random_map", "energy_map"),
    metrics=("average_drop", "faithfulness", "comprehensiveness@10", "sparseness", "mean_mask"),
)


class Memory:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.results: dict[str, UnitResult] = {}
        self.failures: list[Failure] = []

    @contextmanager
    def claim(self, recording: str) -> Iterator[bool]:
        yield recording not in self.results

    def write(self, result: UnitResult) -> None:
        self.results[result.recording] = result

    def fail(self, failure: Failure) -> None:
        self.failures.append(failure)


def test_stacked_scores_equal_one_explanation_at_a_time() -> None:
    model, recording = tiny_classifier(3, SegmentConfig(0.5, 0.25)), noise_recording("a", seed=1)
    result = standard(Job(recording, model), SETTINGS, [])
    spec = spectrogram(recording.waveform[None], model.stft)
    assert list(result.values) == list(SETTINGS.recipes)
    for recipe, values in result.values.items():
        case = Case(model, spec, explain(model, spec, recipe, seed=0))
        expected = {name: float(value[0]) for name, value in score(case, SETTINGS.metrics).items()}
        assert values == pytest.approx(expected, abs=2e-6, nan_ok=True), recipe


def test_a_small_memory_gives_smaller_stacks_and_the_same_scores() -> None:
    model, recording = tiny_classifier(3), noise_recording("a", seed=1)
    spec = spectrogram(recording.waveform[None], model.stft)
    assert stack_size(spec, 16) > len(SETTINGS.recipes)
    one_map_mb = spec.magnitude.numel() * 4 * 8 / 2**20
    assert stack_size(spec, 1) == max(1, int(1 / one_map_mb))
    big = Recording(recording.waveform.repeat(40), recording.sample_rate, "big", "noise/big")
    assert stack_size(spectrogram(big.waveform[None], model.stft), 1) == 1
    roomy = standard(Job(recording, model), SETTINGS, []).values
    tight = standard(Job(recording, model), replace(SETTINGS, memory_mb=1), []).values
    for recipe, values in roomy.items():
        assert tight[recipe] == pytest.approx(values, abs=2e-6), recipe


def test_the_published_study_costs_no_pass_twice() -> None:
    # 36 maps kept and removed: 72 forward. One original pass serves saliency, guided backprop and Grad-CAM: 1 forward,
    # 2 backward.
    # Integrated gradients 5 + 5, SmoothGrad 10 + 10, GradientSHAP 5 + 5. Together 93 forward and 22 backward.
    options = {
        "integrated_gradients": {"n_steps": 5},
        "smoothgrad": {"n_samples": 10},
        "gradient_shap": {"n_samples": 5},
    }
    recipes = tuple(r for r in resolve_recipes(("published",), False) if not r.endswith("_map"))
    settings = EvaluateSettings(recipes, resolve_metrics(("published",)), options=options)
    result = standard(Job(noise_recording("a"), tiny_classifier(0, SegmentConfig(0.5, 0.25))), settings, [])
    assert len(result.values) == 36
    assert result.facts["n_forward"] <= 93
    assert result.facts["n_backward"] <= 22
    # Fewer would mean that a map was not tested.
    assert (result.facts["n_forward"], result.facts["n_backward"]) == (93, 22)


def passes_of(recipes: tuple[str, ...], metrics: tuple[str, ...] = ("sparseness",)) -> tuple[float, float]:
    facts = standard(
        Job(noise_recording("a"), tiny_classifier(0, SegmentConfig(0.5, 0.25))), EvaluateSettings(recipes, metrics), []
    ).facts
    return facts["n_forward"], facts["n_backward"]


def test_combinations_and_guided_gradcam_cost_no_pass_of_their_own() -> None:
    parts = ("guided_backprop", "smoothgrad", "saliency")
    combined = ("union(saliency, smoothgrad)", "intersection(guided_backprop, union(saliency, smoothgrad))")
    assert passes_of(parts + combined) == passes_of(parts) == passes_of(combined) == (33, 34)
    assert passes_of(("guided_backprop",)) == (1, 1)
    assert passes_of(("guided_backprop", "guided_gradcam", "gradcam", "saliency", "input_x_gradient")) == (1, 2)


def test_masked_passes_of_all_recipes_go_through_the_network_together() -> None:
    model, recording = tiny_classifier(0, SegmentConfig(0.5, 0.25)), noise_recording("a")  # 3 segments
    recipes = tuple(r for r in resolve_recipes(("published",), False) if not r.endswith("_map"))
    settings = EvaluateSettings(recipes, ("average_drop", "faithfulness", "input_fidelity", "average_gain"))
    model.max_batch = 3 * len(recipes)
    rows: list[int] = []
    handle = model.backbone.register_forward_hook(lambda module, inputs, output: rows.append(len(output)))
    explained = standard(Job(recording, model), replace(settings, metrics=("sparseness",)), [])
    n_explaining = len(rows)
    rows.clear()
    scored = standard(Job(recording, model), settings, [])
    handle.remove()
    assert scored.facts["n_forward"] - explained.facts["n_forward"] == 2 * len(recipes)
    # Signed methods apart from the others: two stacks, each kept and removed. One mask at a time would be 72 passes.
    assert len(rows) - n_explaining == 4


def test_one_bad_recording_costs_itself_only() -> None:
    model = tiny_classifier()

    def load(name: str) -> Job:
        if name == "broken":
            raise SpeechXAIError("broken.wav: the file is empty.")
        if name == "gone":
            raise FileNotFoundError(2, "No such file or directory", "gone.wav")
        if name == "slow":
            return Job(noise_recording("slow", sample_rate=16_000), model)
        return Job(noise_recording(name), model, {"model": "tiny", "fold": "final"})

    sink, steps = Memory(), list[Progress]()
    evaluate_recordings(["a", "broken", "gone", "slow", "b"], load, SETTINGS, sink, steps.append)
    assert list(sink.results) == ["a", "b"]
    assert [(f.recording, f.stage) for f in sink.failures] == [
        ("broken", "load"),
        ("gone", "load"),
        ("slow", "predict"),
    ]
    assert sink.failures[0].message == "broken.wav: the file is empty."
    assert "the recording has 16000 Hz, the network hears 8000 Hz" in sink.failures[2].message
    assert [step.state for step in steps] == ["done", "failed", "failed", "failed", "done"]
    assert [step.n_done for step in steps] == [1, 2, 3, 4, 5]


def test_running_out_of_memory_is_a_failure_that_says_what_to_do() -> None:
    def load(name: str) -> Job:
        raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes.")

    sink = Memory()
    evaluate_recordings(["a"], load, SETTINGS, sink)
    assert sink.failures[0].message.startswith("a: not enough memory. Lower 'max_batch' or 'memory_mb'")


def test_a_programming_error_outside_of_a_recordings_work_is_not_swallowed() -> None:
    def progress(step: Progress) -> None:
        raise TypeError("a bug")

    with pytest.raises(TypeError, match="a bug"):
        evaluate_recordings(
            ["a"], lambda name: Job(noise_recording(name), tiny_classifier()), SETTINGS, Memory(), progress
        )


def test_a_sink_that_cannot_write_ends_the_run() -> None:
    class Full(Memory):
        def write(self, result: UnitResult) -> None:
            raise SpeechXAIError("runs/x: cannot write: No space left on device.")

    with pytest.raises(SpeechXAIError, match=r"^runs/x: cannot write: No space left on device\.$"):
        evaluate_recordings(["a", "b"], lambda name: Job(noise_recording(name), tiny_classifier()), SETTINGS, Full())


def test_what_a_network_does_not_allow_is_listed_with_its_reason() -> None:
    model = tiny_classifier()
    model.cam_layer = None
    settings = EvaluateSettings(("saliency", "guided_gradcam", "union(saliency, guided_gradcam)"), ("faithfulness",))
    result = standard(Job(noise_recording("a"), model), settings, [])
    assert list(result.values) == ["saliency"]
    assert set(result.not_applicable) == {"guided_gradcam", "union(saliency, guided_gradcam)"}
    assert "cam_layer" in result.not_applicable["guided_gradcam"]


def test_a_method_that_breaks_costs_its_own_recipes_only() -> None:
    # The published SmoothGrad makes magnitudes negative, whose logarithm a log-mel front end does not have: the map is
    # NaN.
    settings = EvaluateSettings(
        ("saliency", "smoothgrad", "intersection(saliency, smoothgrad)"),
        ("faithfulness",),
        options={"smoothgrad": {"sigma": 20.0, "relative": False, "clamp": False}},
    )
    result = standard(Job(noise_recording("a"), tiny_classifier()), settings, [])
    assert list(result.values) == ["saliency"]
    assert result.not_applicable["smoothgrad"] == "smoothgrad: the map has NaN or infinite values."
    assert (
        result.not_applicable["intersection(saliency, smoothgrad)"] == "smoothgrad: the map has NaN or infinite values."
    )


def test_agreement_in_one_go_equals_pair_by_pair() -> None:
    model, recording = tiny_classifier(2), noise_recording("a", seed=4)
    spec = spectrogram(recording.waveform[None], model.stft)
    maps = explain_all(model, spec, [*PUBLISHED_METHODS, "union(saliency, smoothgrad)", "energy_map"], seed=0)
    found = agreement_of_methods(maps)
    names = ["saliency", "integrated_gradients"]
    assert len(found) == 7 * 6 / 2
    for pair, values in found.items():
        first, second = (evidence(maps[name].values, "absolute") for name in pair.split(" | "))
        assert values["iou"] == pytest.approx(float(iou(first, second)[0]), abs=1e-6)
        assert values["rank_correlation"] == pytest.approx(float(rank_correlation(first, second)[0]), abs=1e-6)
        heard = (Case(model, spec, maps[name]).mask for name in pair.split(" | "))
        assert values["overlap"] == pytest.approx(float(overlap(*heard)[0]), abs=1e-6)
    (absolute,) = agreement_of_methods({name: maps[name] for name in names}, kind="absolute").values()
    assert absolute["overlap"] == pytest.approx(float(overlap(*(maps[name].values.abs() for name in names))[0]))


def test_the_published_protocol_reads_the_probability_of_pd_and_tiles() -> None:
    assert tiled(torch.tensor([1.0, 2.0, 3.0]), 1, 5.0).tolist() == [1, 2, 3, 1, 2]
    assert tiled(torch.arange(7.0), 1, 5.0).tolist() == list(range(5))
    model = next(m for m in (tiny_classifier(s) for s in range(20)) if _predicted(m) == 0)
    values = {}
    for protocol in ("standard", "mancini2025"):
        settings = EvaluateSettings(("energy_map",), ("average_drop", "average_gain"), protocol=protocol)
        check_protocol(protocol)
        result = PROTOCOLS[protocol](Job(noise_recording("a", 10.0), model), settings, [])
        values[protocol] = result.values["energy_map"]
    # Predicted healthy: what we call a drop of P(HC) is a gain of P(PD) for the published code, and the other way
    # round.
    assert (values["standard"]["average_drop"] > 0) != (values["mancini2025"]["average_drop"] > 0)
    assert (values["standard"]["average_gain"] > 0) != (values["mancini2025"]["average_gain"] > 0)


def _predicted(model: torch.nn.Module) -> int:
    spec = spectrogram(noise_recording("a", 10.0).waveform[None], model.stft)  # type: ignore[arg-type]
    return int(model(spec.magnitude, spec.phase).argmax())


def test_small_gradients_survive_half_precision() -> None:
    values = torch.tensor([[1e-9, -2e-9], [0.0, 5e-10]])
    assert half(values).tolist() == [[0.5, -1.0], [0.0, 0.25]]
    assert half(torch.zeros(1, 2)).dtype == np.float16
