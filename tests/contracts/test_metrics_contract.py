"""What every metric keeps to, new ones from the moment they are registered."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from speechxai.classifiers import Classifier, build, predict
from speechxai.errors import SpeechXAIError
from speechxai.mancini2025.maps import PUBLISHED_DEFINITIONS
from speechxai.metrics import (
    DEFAULT_METRICS,
    LOCALIZATION_METRICS,
    METRICS,
    PUBLISHED_METRICS,
    Case,
    check_options,
    resolve,
    score,
)
from speechxai.signal.stft import SegmentConfig, spectrogram
from speechxai.types import Attribution, Spectrogram, StftConfig

NAMES = list(METRICS)
WITHOUT_TRUTH = [name for name in METRICS if METRICS.facts(name).get("needs") != "truth"]
STFT = StftConfig(n_fft=128, win_length=128, hop_length=64)
FILLS = ("silence", "noise", "mean")
B = 4
Z = 3  # the recording whose map is all zero


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    backbone = build("cnn", STFT, channels=(4, 8), n_mels=12)
    return Classifier(backbone, STFT, SegmentConfig(length_s=0.15, hop_s=0.1), cam_layer="features", max_batch=3).eval()


@pytest.fixture(scope="module")
def spec() -> Spectrogram:
    generator = torch.Generator().manual_seed(0)
    level = torch.tensor([0.1, 1.0, 0.01, 0.3])[:, None]
    envelope = (torch.linspace(0, 12, 4000).sin() > 0).float() + 0.001
    return spectrogram(torch.randn(B, 4000, generator=generator) * level * envelope, STFT)


@pytest.fixture(scope="module")
def values(spec: Spectrogram) -> Tensor:
    noise = torch.rand(spec.magnitude.shape, generator=torch.Generator().manual_seed(1))
    maps = noise**4 * torch.tensor([1.0, 1e-6, 1e4, 0.0])[:, None, None]
    maps[0][maps[0] < 0.3] = 0  # few bins of evidence, many ties
    return maps


def part(spec: Spectrogram, rows: slice) -> Spectrogram:
    return Spectrogram(spec.magnitude[rows], spec.phase[rows], spec.n_samples, spec.stft)


def make(model: nn.Module, spec: Spectrogram, values: Tensor, rows: slice = slice(None), **options: object) -> Case:
    target = predict(model, part(spec, rows)).argmax(dim=1)
    attribution = Attribution(values[rows], target, "random_map", {"seed": 0, "options": {}})
    truth = torch.zeros_like(values)
    truth[:, 10:30, 5:20] = 1
    return Case(model, part(spec, rows), attribution, truth=truth[rows], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("name", NAMES)
def test_metric_keeps_to_the_contract(
    name: str, fill: str, model: nn.Module, spec: Spectrogram, values: Tensor
) -> None:
    before = values.clone(), spec.magnitude.clone(), {k: v.clone() for k, v in model.state_dict().items()}
    value = METRICS[name](make(model, spec, values, fill=fill))
    assert value.shape == (B,)
    assert value.dtype == values.dtype
    assert torch.isfinite(value[:Z]).all(), "maps with evidence have a value"
    assert not torch.isinf(value).any()
    low, high = METRICS.facts(name)["bounds"]
    assert low is None or (value[:Z] >= low - 1e-6).all()
    assert high is None or (value[:Z] <= high + 1e-6).all()
    assert METRICS.facts(name)["best"] in ("high", "low", "none")
    again = METRICS[name](make(model, spec, values, fill=fill))
    torch.testing.assert_close(again, value, rtol=0, atol=0, equal_nan=True)
    # batched equals one by one
    one = torch.cat([METRICS[name](make(model, spec, values, slice(i, i + 1), fill=fill)) for i in range(B)])
    torch.testing.assert_close(one, value, rtol=1e-4, atol=2e-6, equal_nan=True)
    assert torch.equal(values, before[0])
    assert torch.equal(spec.magnitude, before[1])
    assert all(torch.equal(v, before[2][k]) for k, v in model.state_dict().items())
    assert not model._forward_hooks
    assert not any(module._forward_hooks or module._backward_hooks for module in model.modules())


@pytest.mark.parametrize("name", NAMES)
def test_only_the_order_and_shape_of_a_map_count_and_not_its_scale(
    name: str, model: nn.Module, spec: Spectrogram, values: Tensor
) -> None:
    rows = slice(0, 2)
    first = METRICS[name](make(model, spec, values, rows))
    second = METRICS[name](make(model, spec, values * 1024, rows))  # a power of two: no rounding
    torch.testing.assert_close(second, first, rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_float64_agrees_with_float32(name: str, model: nn.Module, spec: Spectrogram, values: Tensor) -> None:
    import copy

    double = Spectrogram(spec.magnitude.double(), spec.phase.double(), spec.n_samples, spec.stft)
    value = METRICS[name](make(copy.deepcopy(model).double(), double, values.double(), slice(0, 2)))
    assert value.dtype == torch.float64
    torch.testing.assert_close(
        value.float(), METRICS[name](make(model, spec, values, slice(0, 2))), rtol=1e-3, atol=1e-5
    )


def test_maps_without_evidence(model: nn.Module, spec: Spectrogram, values: Tensor) -> None:
    """What silence gives where the classifier answers; NaN where there is nothing to measure."""
    case = make(model, spec, values)
    silence = predict(model, Spectrogram(0 * spec.magnitude, spec.phase, spec.n_samples, spec.stft))
    p_silence = silence.gather(1, case.target[:, None])[:, 0]
    got = {name: value[Z] for name, value in score(case, NAMES).items()}
    assert got["faithfulness"].item() == pytest.approx(0, abs=1e-6)
    assert got["average_drop"].item() == pytest.approx(max(0, 1 - (p_silence[Z] / case.p[Z]).item()), abs=1e-5)
    assert got["average_increase"].item() == float(p_silence[Z] > case.p[Z])
    assert got["mean_mask"] == 0
    undefined = {name for name, value in got.items() if torch.isnan(value)}
    of_evidence = {
        "sparseness",
        "complexity",
        "silence_share",
        "seed_stability",
        "model_randomization",
        "max_sensitivity",
        "infidelity",
    }
    assert undefined == of_evidence | set(LOCALIZATION_METRICS)


def test_a_network_that_answers_nan_gives_nan_and_not_a_score(spec: Spectrogram, values: Tensor) -> None:
    class Broken(nn.Module):
        def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
            level = magnitude.mean(dim=(1, 2))
            return torch.stack([level, level / level], dim=1)  # silence: 0 / 0

    target = torch.ones(2, dtype=torch.int64)
    case = Case(Broken(), part(spec, slice(0, 2)), Attribution(torch.zeros_like(values[:2]), target, "by_hand"))
    for name in ("average_increase", "average_drop", "average_gain", "input_fidelity", "insertion_auc"):
        assert torch.isnan(METRICS[name](case)).all(), name


def test_equal_budgets(model: nn.Module, spec: Spectrogram, values: Tensor) -> None:
    """A hard mask holds exactly its share of bins, also for a map of three bins and for one of none."""
    few = torch.zeros_like(values)
    few[:, 5, 1:4] = torch.tensor([1.0, 2.0, 3.0])
    few[2:] = 0
    kept = []

    class Watch(nn.Module):
        max_batch = 100

        def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
            kept.append((magnitude > 0).flatten(1).sum(dim=1))
            return torch.zeros(len(magnitude), 2)

    ones = Spectrogram(torch.ones_like(spec.magnitude), spec.phase, spec.n_samples, spec.stft)
    case = Case(Watch(), ones, Attribution(few, torch.zeros(B, dtype=torch.int64), "by_hand"))
    n = spec.magnitude[0].numel()
    for percent in (1, 5, 10, 20):
        kept.clear()
        METRICS[f"sufficiency@{percent}"](case)
        assert kept[-1].tolist() == [int(percent / 100 * n + 0.5)] * B
        METRICS[f"comprehensiveness@{percent}"](case)
        assert kept[-1].tolist() == [n - int(percent / 100 * n + 0.5)] * B
    top = case.strength_rank < 3
    assert torch.equal(top[0].nonzero(), few[0].nonzero())


def test_passes_are_shared(model: nn.Module, spec: Spectrogram, values: Tensor) -> None:
    class Count(nn.Module):
        rows = 0

        def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
            Count.rows += len(magnitude)
            return torch.stack([0 * magnitude.mean(dim=(1, 2)), magnitude.mean(dim=(1, 2))], dim=1)

    def rows(names: object, **options: object) -> int:
        Count.rows = 0
        target = torch.zeros(1, dtype=torch.int64)
        case = Case(Count(), part(spec, slice(0, 1)), Attribution(values[:1], target, "saliency"), **options)  # type: ignore[arg-type]
        score(case, names)  # type: ignore[arg-type]
        return Count.rows

    # the original, kept and removed
    assert rows(PUBLISHED_METRICS) == 3
    assert rows(PUBLISHED_METRICS, probability=torch.tensor([[0.5, 0.5]])) == 2
    assert rows(["sparseness", "complexity", "mean_mask"]) == 0
    # and four budgets kept, four removed
    assert rows(DEFAULT_METRICS) == 11
    # 19 steps each way and silence; 5, 10 and 20 % are among the steps, so only 1 % comes on top
    assert rows(["deletion_auc", "insertion_auc"]) == 1 + 19 + 19 + 1
    assert rows([*DEFAULT_METRICS, "deletion_auc", "insertion_auc"]) == 3 + 19 + 19 + 1 + 2


def test_one_recording_repeated_scores_many_maps(model: nn.Module, spec: Spectrogram, values: Tensor) -> None:
    """Many maps of one recording as one case give what each gives alone."""
    row = part(spec, slice(0, 1))
    many = Spectrogram(
        row.magnitude.expand(3, -1, -1).contiguous(), row.phase.expand(3, -1, -1).contiguous(), row.n_samples, row.stft
    )
    target = torch.zeros(3, dtype=torch.int64)
    together = score(Case(model, many, Attribution(values[:3], target, "by_hand")), DEFAULT_METRICS)
    for index in range(3):
        alone = Case(model, row, Attribution(values[index : index + 1], target[:1], "by_hand"))
        for name, value in score(alone, DEFAULT_METRICS).items():
            torch.testing.assert_close(together[name][index : index + 1], value, rtol=1e-4, atol=2e-6, msg=name)


def test_signed_maps_are_read_by_their_positive_part_unless_told_otherwise(model: nn.Module, spec: Spectrogram) -> None:
    values = torch.randn(spec.magnitude.shape, generator=torch.Generator().manual_seed(3))
    target = torch.zeros(B, dtype=torch.int64)
    signed = Attribution(values, target, "by_hand", signed=True)
    assert torch.equal(Case(model, spec, signed).mask > 0, values > 0)
    assert (Case(model, spec, signed, kind="absolute").mask > 0).all()
    assert (Case(model, spec, Attribution(values, target, "by_hand")).mask > 0).all()


def test_names() -> None:
    assert resolve("default") == list(DEFAULT_METRICS)
    assert resolve(["published", "complexity", "seed_stability"]) == [*PUBLISHED_METRICS, "seed_stability"]
    assert set(resolve("all")) == set(WITHOUT_TRUTH)
    with pytest.raises(
        SpeechXAIError,
        match=(r"^Unknown metric 'comprehensivness@5'\. Did you mean 'comprehensiveness@5'\? Known: .*$"),
    ):
        resolve(["comprehensivness@5"])
    with pytest.raises(SpeechXAIError, match=r"^Unknown option of 'faithfulness' 'fil'\. Known: none\.$"):
        check_options({"faithfulness": {"fil": 1}})
    assert not any(name in METRICS for name in ("published_average_drop", "input_fidelity_corrected"))
    assert set(PUBLISHED_DEFINITIONS) <= set(METRICS)


def test_wrong_cases(model: nn.Module, spec: Spectrogram, values: Tensor) -> None:
    with pytest.raises(
        SpeechXAIError, match=(r"^random_map: the map has shape \(4, 64, 64\), the spectrogram \(4, 65, 64\)\.$")
    ):
        make(model, spec, values[:, :-1])
    with pytest.raises(
        SpeechXAIError,
        match=(r"^The 'fill' parameter must be one of silence, noise, mean, neighbors\. Got 'white' instead\.$"),
    ):
        make(model, spec, values, fill="white")
