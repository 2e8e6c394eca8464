"""Our metrics against Quantus, and Quantus' metrics through the bridge against slow versions of our own."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.evaluation.config import resolve_metrics
from speechxai.evaluation.unit import repeat, stacked, standard
from speechxai.evaluation.values import EvaluateSettings, Job
from speechxai.explain.explain import explain
from speechxai.metrics import METRICS, Case, check_options, score
from speechxai.metrics.quantus_bridge import REFUSED, quantus_metric, quantus_names, sized
from speechxai.report.render import arrow
from speechxai.testing import noise_recording, tiny_classifier
from speechxai.types import Attribution, Spectrogram, StftConfig

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
SMALL = StftConfig(n_fft=16, win_length=16, hop_length=8)


class Net(nn.Module):
    max_batch = 4

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(9 * 6, 2)

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        return self.layer((magnitude * phase.cos()).flatten(1))  # type: ignore[no-any-return]


def make_case(mask: Tensor | None = None, n: int = 3, truth: Tensor | None = None) -> Case:
    generator = torch.Generator().manual_seed(1)
    magnitude = torch.rand(n, 9, 6, generator=generator)
    phase = torch.rand(n, 9, 6, generator=generator)
    spec = Spectrogram(magnitude, phase, 40, SMALL)
    mask = torch.rand(n, 9, 6, generator=generator) if mask is None else mask
    target = torch.tensor([0, 1, 0, 1][:n])
    return Case(Net().eval(), spec, Attribution(mask, target, "saliency"), truth=truth)


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
@pytest.mark.parametrize("power", [1, 8, 3000])
def test_sparseness_and_complexity_equal_quantus(power: int, scale: float) -> None:
    mask = torch.rand(2, 513, 120, generator=torch.Generator().manual_seed(power)) ** power * scale
    spec = Spectrogram(torch.ones_like(mask), torch.zeros_like(mask), 186 * 119, StftConfig())
    case = Case(nn.Identity(), spec, Attribution(mask, torch.zeros(2, dtype=torch.int64), "by_hand"))
    for ours, theirs in (("sparseness", "Sparseness"), ("complexity", "Complexity")):
        torch.testing.assert_close(METRICS[ours](case), quantus_metric(theirs)(case), atol=1e-5, rtol=0)


def test_sparseness_equals_quantus_called_by_hand() -> None:
    """Not through the bridge, so that a mistake there cannot hide."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import quantus

        mask = np.random.default_rng(0).random((1, 1, 513, 100)).astype(np.float32) ** 6
        theirs = {
            name: getattr(quantus, name)(disable_warnings=True)(
                model=None, x_batch=mask, y_batch=np.array([0]), a_batch=mask.copy()
            )[0]
            for name in ("Sparseness", "Complexity")
        }
    spec = Spectrogram(torch.ones(1, 513, 100), torch.zeros(1, 513, 100), 186 * 99, StftConfig())
    case = Case(nn.Identity(), spec, Attribution(torch.from_numpy(mask[0]), torch.tensor([0]), "by_hand"))
    assert METRICS["sparseness"](case).item() == pytest.approx(theirs["Sparseness"], abs=1e-5)
    assert METRICS["complexity"](case).item() == pytest.approx(theirs["Complexity"], abs=1e-5)


@pytest.mark.parametrize("softmax", [None, False])
def test_pixel_flipping_equals_a_slow_version(softmax: bool | None) -> None:
    case = make_case()
    got = quantus_metric("PixelFlipping", softmax=softmax, features_in_step=9, return_auc_per_sample=True)(case)
    for index in range(3):
        order = case.mask[index].flatten().argsort(descending=True)
        magnitude, curve = case.spec.magnitude[index].flatten().clone(), []
        for step in range(6):
            magnitude[order[9 * step : 9 * step + 9]] = 0
            logits = case.model(magnitude.reshape(1, 9, 6), case.spec.phase[index : index + 1])
            # left to itself, this metric reads probabilities
            output = logits if softmax is False else logits.softmax(dim=1)
            curve.append(output[0, case.target[index]].item())
        assert got[index].item() == pytest.approx(np.trapezoid(curve), abs=1e-5)


def test_faithfulness_correlation_is_one_for_a_linear_network() -> None:
    """Removing bins of a linear network loses exactly the sum of weight * input: with that map the correlation is 1."""
    case = make_case()
    weight = case.model.layer.weight.detach().reshape(2, 9, 6)[case.target]
    values = case.spec.magnitude * case.spec.phase.cos() * weight
    # positive evidence alone would lose the negative part, so shift: subsets of one size all gain the same constant
    shifted = values - values.amin(dim=(1, 2), keepdim=True)
    got = quantus_metric("FaithfulnessCorrelation", subset_size=10, nr_runs=40)(make_case(shifted))
    torch.testing.assert_close(got, torch.ones(3), atol=1e-4, rtol=0)
    noise = quantus_metric("FaithfulnessCorrelation", subset_size=10, nr_runs=40)(make_case())
    assert (noise < 0.8).all()


def test_max_sensitivity_explains_again() -> None:
    case = make_case()
    attribution = explain(case.model, case.spec, "saliency", case.target)
    options = {"nr_samples": 3, "lower_bound": 0.05}
    still = quantus_metric("MaxSensitivity", **options)(Case(case.model, case.spec, attribution))
    # saliency of a linear network is the same everywhere
    torch.testing.assert_close(still, torch.zeros(3), atol=1e-6, rtol=0)
    attribution = explain(case.model, case.spec, "input_x_gradient", case.target)
    moving = quantus_metric("MaxSensitivity", **options)(Case(case.model, case.spec, attribution))
    assert (moving > 1e-3).all()


def test_truth_is_handed_over() -> None:
    # mass inside the truth: .75 of 1 + .5 + .25 + .25
    mask, truth = torch.zeros(1, 9, 6), torch.zeros(1, 9, 6)
    mask[0, 0, :4] = torch.tensor([1.0, 0.5, 0.25, 0.25])
    truth[0, 0, :2] = 1
    case = make_case(mask, n=1, truth=truth)
    assert quantus_metric("RelevanceMassAccuracy")(case).item() == pytest.approx(0.75)
    with pytest.raises(SpeechXAIError, match="needs a ground-truth map"):
        quantus_metric("RelevanceMassAccuracy")(make_case())


def test_maps_that_quantus_refuses_are_nan_and_leave_the_rest() -> None:
    mask = torch.rand(3, 9, 6)
    mask[1] = 0
    got = quantus_metric("Sparseness")(make_case(mask))
    assert torch.isnan(got).tolist() == [False, True, False]


def test_single_logit_networks() -> None:
    case = make_case()
    case.model = nn.Sequential()
    case.model.forward = lambda m, p: m.mean(dim=(1, 2))[:, None]  # type: ignore[method-assign]
    assert torch.isfinite(quantus_metric("PixelFlipping", features_in_step=27, return_auc_per_sample=True)(case)).all()


def test_random_numbers_are_ours_and_left_alone() -> None:
    case, metric = make_case(), quantus_metric("FaithfulnessCorrelation", subset_size=5, nr_runs=10)
    np.random.seed(3)
    before = np.random.get_state()[1].copy()
    first = metric(case)
    assert (np.random.get_state()[1] == before).all()
    torch.testing.assert_close(first, metric(case))
    alone = make_case()
    alone = Case(
        alone.model,
        Spectrogram(alone.spec.magnitude[1:2], alone.spec.phase[1:2], 40, SMALL),
        Attribution(alone.attribution.values[1:2], alone.target[1:2], "saliency"),
    )
    torch.testing.assert_close(metric(alone), first[1:2])


def test_wrong_names_and_options() -> None:
    with pytest.raises(SpeechXAIError, match="Did you mean 'quantus:PixelFlipping'"):
        quantus_metric("PixelFliping")
    with pytest.raises(SpeechXAIError, match="Did you mean 'features_in_step'"):
        quantus_metric("PixelFlipping", feature_in_step=3)
    with pytest.raises(SpeechXAIError, match="Did you mean 'features_in_step'"):
        check_options({"quantus:PixelFlipping": {"feature_in_step": 3}})
    check_options({"quantus:PixelFlipping": {"features_in_step": 3, "softmax": False, "seed": 1}})
    with pytest.raises(NotApplicable, match="accumulate"):
        quantus_metric("Infidelity")
    with pytest.raises(NotApplicable, match="accumulate"):
        resolve_metrics(("quantus:Infidelity",))
    with pytest.raises(SpeechXAIError, match="needs a ground-truth map"):
        resolve_metrics(("quantus:PointingGame",))
    assert resolve_metrics(("quantus:ROAD", "faithfulness")) == ("quantus:ROAD", "faithfulness")
    assert not [name for name in METRICS if name.startswith("quantus:")]


def test_every_metric_of_quantus_is_computed_or_refused_with_the_reason() -> None:
    import quantus

    offered = {each.__name__ for family in quantus.AVAILABLE_METRICS.values() for each in family.values()}
    assert len(offered) >= 30
    truth = torch.zeros(1, 9, 6)
    truth[:, :4, :3] = 1
    case = make_case(n=1, truth=truth)
    case = Case(case.model, case.spec, explain(case.model, case.spec, "input_x_gradient", case.target), truth=truth)
    known = {name.partition(":")[2] for name in quantus_names()}
    assert not known & set(REFUSED)
    for name in offered | known:
        if name in REFUSED:
            with pytest.raises(NotApplicable, match=f"{name}' is not taken: .{{20}}"):
                quantus_metric(name)
            continue
        value = score(case, [f"quantus:{name}"])[f"quantus:{name}"].item()
        assert np.isfinite(value), (name, case.reasons)
        facts = METRICS.facts(f"quantus:{name}")
        low, high = facts["bounds"]
        assert low is None or value >= low - 1e-6, name
        assert high is None or value <= high + 1e-6, name
        theirs = {"higher": "high", "lower": "low"}[getattr(quantus, name).score_direction.value]
        # the loss of the answer, which samek2017evaluating wants large
        assert facts["best"] == ("high" if name == "RegionPerturbation" else theirs), name
        assert len(METRICS.summary(f"quantus:{name}")) > 20


def test_defaults_suit_a_recording() -> None:
    """A quarter of an hour of passes by Quantus' own settings; here about 30 steps, which divide the bins."""
    for n_frames in (323, 860, 101):
        step = sized("PixelFlipping", 513, n_frames)["features_in_step"]
        assert 513 * n_frames % step == 0
        assert 15 <= 513 * n_frames / step <= 30
    assert sized("Sparseness", 513, 323) == {}


def test_a_metric_that_fails_is_undefined_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = torch.rand(3, 9, 6)
    mask[1] = 0
    case = make_case(mask)
    options = {"quantus:PixelFlipping": {"features_in_step": 7}}  # 54 bins are no multiple of 7
    values = score(case, ["quantus:PixelFlipping", "sparseness"], options)
    assert torch.isnan(values["quantus:PixelFlipping"]).all()
    assert torch.isfinite(values["sparseness"][0])
    assert "AssertionError" in case.reasons["quantus:PixelFlipping", 0]
    assert "zero or constant" in case.reasons["quantus:PixelFlipping", 1]


def test_a_stack_of_maps_is_explained_again_by_the_recipe_of_each_row() -> None:
    """`evaluate` scores many maps of one recording at once; each row has its own recipe, options and seed."""
    one = make_case(n=1)
    recipes = {"input_x_gradient": {}, "smoothgrad": {"n_samples": 2}}
    maps = [explain(one.model, one.spec, name, one.target, options={name: given}) for name, given in recipes.items()]
    signed = Case(one.model, repeat(one.spec, 2), stacked(maps, one.target))
    together = score(signed, ["quantus:MaxSensitivity"])["quantus:MaxSensitivity"]
    for index, each in enumerate(maps):
        alone = score(Case(one.model, one.spec, each), ["quantus:MaxSensitivity"])["quantus:MaxSensitivity"]
        assert together[index].item() == pytest.approx(alone.item(), abs=1e-6)
    assert together[0] != together[1]


def test_a_run_shows_direction_and_reason() -> None:
    settings = EvaluateSettings(
        ("saliency", "random_map"),
        ("faithfulness", "quantus:FaithfulnessCorrelation", "quantus:PixelFlipping"),
        metric_options={"quantus:PixelFlipping": {"features_in_step": 7919}},
    )
    found = standard(Job(noise_recording("a"), tiny_classifier()), settings, [])
    for recipe in settings.recipes:
        assert -1 <= found.values[recipe]["quantus:FaithfulnessCorrelation"] <= 1
        assert np.isnan(found.values[recipe]["quantus:PixelFlipping"])
        assert "quantus:PixelFlipping: Quantus failed: AssertionError" in found.not_applicable[recipe]
    assert arrow("quantus:FaithfulnessCorrelation") == "↑"
    assert arrow("quantus:PixelFlipping") == "↓"


def test_irof_equals_a_slow_version() -> None:
    """Superpixels go one after the other, the one with most evidence on average first; the area over the curve
    counts."""
    from skimage.segmentation import slic

    case = make_case()
    got = quantus_metric("IROF", perturb_baseline=0.0)(case)
    for index in range(3):
        magnitude = case.spec.magnitude[index].clone()
        parts = torch.from_numpy(slic(magnitude.double().numpy()[..., None], start_label=0))
        labels = parts.unique().tolist()
        assert len(labels) > 3
        strongest = sorted(labels, key=lambda label: -case.mask[index][parts == label].mean().item())
        curve = []
        for label in strongest:
            magnitude[parts == label] = 0
            logits = case.model(magnitude[None], case.spec.phase[index : index + 1])
            curve.append((logits.softmax(dim=1)[0, case.target[index]] / case.p[index]).item())
        assert got[index].item() == pytest.approx(len(labels) - np.trapezoid(curve), abs=1e-4)
