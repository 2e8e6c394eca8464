"""Networks that give a score in a unit: contract, explanations, metrics, training, what every door says."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from speechxai.classifiers import Classifier, predict
from speechxai.classifiers.bundle import Bundle, load_bundle
from speechxai.classifiers.fit import score_loss, set_scale, spread_of, truths_of
from speechxai.classifiers.held_out import HeldOutScore
from speechxai.classifiers.network import check
from speechxai.classifiers.scores import ScoredPeople, figures
from speechxai.classifiers.training import Corpus, draw_folds, halves_of, plan_of, train_bundle
from speechxai.cli import app
from speechxai.data.synthetic import corpus
from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.evaluation.words import score_sentence
from speechxai.explain import METHODS
from speechxai.explain.explain import explain_all
from speechxai.inspection import inspect
from speechxai.metrics import Case, applicable, score
from speechxai.signal.audio import write
from speechxai.signal.stft import SegmentConfig, spectrogram
from speechxai.signs.whatif import what_if
from speechxai.signs.words import sentences
from speechxai.testing import tiny_classifier
from speechxai.types import Attribution, Recording, StftConfig

MODULE = "scores_of_others"


class Loudness(nn.Module):
    """Ten times the mean log magnitude of bins 20 to 40, and 5: what it reads is known."""

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        return 10 * magnitude[:, 20:40].mean(dim=(1, 2))[:, None] + 5


def built() -> Classifier:
    return Classifier(Loudness(), class_names=("updrs",), unit="points").eval()


def voice(n: int = 8_000, seed: int = 0) -> Recording:
    samples = 0.1 * torch.randn(n, generator=torch.Generator().manual_seed(seed))
    return Recording(samples, 16_000, "v", "x/v")


def waveform_network(**words: Any) -> Callable[[], Any]:
    def make() -> Any:
        def network(waveform: Tensor) -> Tensor:
            return 30 * waveform.square().mean(dim=1, keepdim=True).sqrt()

        for name, value in {"output": "score", "unit": "points", "class_names": ("updrs",), **words}.items():
            setattr(network, name, value)
        return network

    return make


def opened(monkeypatch: pytest.MonkeyPatch, make: Callable[[], Any]) -> Bundle:
    module = ModuleType(MODULE)
    module.make = make  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, MODULE, module)
    return load_bundle(f"{MODULE}:make", allow_code=True)


# The contract.
def test_a_score_is_one_number_in_its_unit() -> None:
    model, spec = built(), spectrogram(voice().waveform[None], StftConfig())
    by_hand = 10 * spec.magnitude[:, 20:40].mean() + 5
    assert float(predict(model, spec)) == pytest.approx(float(by_hand), abs=1e-4)
    assert check(model).problem == ""
    parts = Classifier(Loudness(), None, SegmentConfig(0.2, 0.1), ("updrs",), unit="points").eval()
    cut = torch.stack([Loudness()(m[None], m[None])[0, 0] for m in parts.cut(spec.magnitude)[0]])
    assert float(parts(spec.magnitude, spec.phase)) == pytest.approx(float(cut.mean()), abs=1e-4)


@pytest.mark.parametrize(
    ("names", "unit", "said"),
    [
        (("a", "b"), "points", "a score in points has one name. Got 2"),
        (("a",), "", "at least two classes are needed, or one score with its unit"),
    ],
)
def test_a_score_has_one_name_and_classes_have_two(names: tuple[str, ...], unit: str, said: str) -> None:
    with pytest.raises(SpeechXAIError, match=said):
        Classifier(Loudness(), class_names=names, unit=unit)


def test_two_columns_are_no_score() -> None:
    class Two(nn.Module):
        def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
            return magnitude.mean(dim=2)[:, :2]

    said = check(Classifier(Two(), class_names=("updrs",), unit="points").eval()).problem
    assert "a score in points is one" in said


def test_a_network_of_others_states_its_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = opened(monkeypatch, waveform_network())
    assert (bundle.config.unit, bundle.config.classes, bundle.assumption) == ("points", ("updrs",), "")
    heard = inspect.hear(bundle, voice())
    assert heard.probability[0] == pytest.approx(30 * float(voice().waveform.square().mean().sqrt()), abs=1e-3)
    assert heard.scale(0) == "updrs (points)"
    assert heard.explained(0) == "a higher updrs"
    assert not heard.flat
    with pytest.raises(SpeechXAIError, match="The web app takes models that name classes"):
        bundle.naming_classes("The web app")
    with pytest.raises(SpeechXAIError, match="states a unit \\(points\\), which a score has"):
        opened(monkeypatch, waveform_network(output="logit"))
    assert opened(monkeypatch, waveform_network(class_names=None)).config.classes == ("score",)


# Explanations and their metrics.
def test_every_method_explains_a_score_where_it_is_read() -> None:
    model, spec = built(), spectrogram(voice().waveform[None], StftConfig())
    names = [name for name in METHODS if not METHODS.facts(name).get("control") and ":" not in name]
    few = {"rise": {"n_masks": 8}, "occlusion": {"patch_ms": 200.0, "stride_ms": 100.0, "patch_hz": 1000.0}}
    found = explain_all(model, spec, names, 0, options=few)
    for name in ("input_x_gradient", "integrated_gradients", "saliency", "smoothgrad"):
        mass = found[name].values.abs().sum(dim=2)[0]
        assert float(mass[20:40].sum() / mass.sum()) > 0.999, name
    # Linear from silence on: what each bin adds is its share of the score.
    adds = found["input_x_gradient"].values.sum()
    assert float(adds) == pytest.approx(float(predict(model, spec)) - 5, rel=1e-3)


def test_metrics_of_a_score_are_in_its_unit_and_those_of_classes_do_not_apply() -> None:
    model, spec = built(), spectrogram(voice().waveform[None], StftConfig())
    values = torch.zeros_like(spec.magnitude)
    values[:, 20:40] = spec.magnitude[:, 20:40]
    values[:, 20:40] /= values.max()
    case = Case(model, spec, Attribution(values, torch.tensor([0]), "m", signed=True))
    kept, refused = applicable("all", model)
    of_classes = {"average_increase", "average_drop", "average_gain", "input_fidelity", "faithfulness:margin"}
    assert of_classes <= set(refused)
    assert not of_classes & set(kept)
    assert applicable(["quantus:PixelFlipping"], model)[0] == []
    assert applicable("all", tiny_classifier())[1] == {}
    assert not [name for name in kept if name.endswith(":margin")]
    found = score(case, ["faithfulness", "comprehensiveness@5", "sufficiency@5"])
    by_hand = 10 * (spec.magnitude * values)[:, 20:40].mean()
    assert float(found["faithfulness"]) == pytest.approx(float(by_hand), rel=1e-4)
    n = int(0.05 * values[0].numel() + 0.5)
    lost = (
        10
        * spec.magnitude[0, 20:40].flatten().sort(descending=True).values[:n].sum()
        / spec.magnitude[0, 20:40].numel()
    )
    # All bins that are read are fewer than 5 % of the whole.
    assert n > spec.magnitude[0, 20:40].numel()
    assert float(found["comprehensiveness@5"]) == pytest.approx(float(lost), rel=1e-4)
    assert float(found["sufficiency@5"]) == pytest.approx(0, abs=1e-3)
    with pytest.raises(
        NotApplicable, match="average_drop: it compares classes, and this network gives updrs in points"
    ):
        score(case, ["average_drop"])


# Training.
def test_scale_and_loss_by_hand() -> None:
    model = built()
    heard = [replace(voice(), metadata={"updrs": value}) for value in (10, 20.0, 30)]
    set_scale(model, heard)
    assert float(model.intercept) == 20
    assert float(model.temperature) == pytest.approx(0.1)
    # Errors of 1 and 2 standard deviations of 10 points.
    assert float(score_loss(model, torch.tensor([[30.0], [0.0]]), torch.tensor([20.0, 20.0]))) == pytest.approx(2.5)
    assert truths_of(model, heard).tolist() == [10, 20, 30]
    assert spread_of(torch.tensor([[1.0], [3.0]])) == 1
    with pytest.raises(SpeechXAIError, match="All training recordings have the same 'updrs' \\(10\\)"):
        set_scale(model, heard[:1] * 2)
    for bad in (None, "mild", True, float("nan")):
        with pytest.raises(SpeechXAIError, match="v: its 'updrs' must be a number to be learned"):
            truths_of(model, [replace(voice(), metadata={"updrs": bad})])


def test_folds_are_alike_in_low_and_high_scores() -> None:
    heard = [replace(voice(), id=f"r{k}", speaker=f"x/{k // 2}", metadata={"updrs": k // 2}) for k in range(24)]
    assert halves_of(heard, "updrs") == [0] * 12 + [1] * 12
    folds = draw_folds(heard, 3, 0, ("updrs",))
    assert [folds[2 * k] == folds[2 * k + 1] for k in range(12)] == [True] * 12
    assert [sum(folds[:12].count(k) == 4 for k in range(3)), folds[12:].count(0)] == [3, 4]


def test_how_near_by_hand() -> None:
    """Errors 1, 2, 3; the mean for everybody is 10, 0 and 10 off."""
    people = ScoredPeople(
        ("a", "b", "c"),
        np.array([0.0, 10, 20]),
        np.array([1.0, 12, 17]),
        np.array([10.0, 10, 10]),
        np.array([60.0, 70, 80]),
        ("F", "M", ""),
        np.ones(3),
    )
    found = figures(people, 50)
    assert found["mae"].value == 2
    assert found["mae_of_mean"].value == pytest.approx(20 / 3)
    assert found["gain"].value == pytest.approx(0.7)
    assert found["spearman"].value == 1
    assert found["rmse"].value == pytest.approx((14 / 3) ** 0.5)
    held_out = people.held_out()
    assert held_out.errors == (1, 2, 3)
    assert held_out.within(0.5) == 2
    assert held_out.within(0.9) is None
    # ceil(.9 x 20) = 18 of 19 errors.
    many = HeldOutScore(truths=(0.0,) * 19, said=tuple(float(k) for k in range(1, 20)), baseline=(0.0,) * 19)
    assert many.within() == 18
    assert many.sentence("points").startswith("Of 19 people it never heard it was 10 points off on average")
    assert "about 9 lie within 18 points" in many.sentence("points")
    assert not many.knows


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A score from 12 synthetic speakers, two epochs: it works, and knows little."""
    folder = tmp_path_factory.mktemp("score") / "severity"
    plan = plan_of(
        {"out": folder, "target": "severity", "unit": "of 1", "folds": 3, "epochs": 2, "option": ["channels=[4, 8]"]}
    )
    voices = tuple(corpus(12, 3, tasks=("vowel-a",)))
    return train_bundle(Corpus("synthetic", voices, "Made.", classes=plan.classes), plan, folder)


def test_a_score_is_learned_and_its_card_says_how_near(trained: Bundle) -> None:
    config = trained.config
    assert (config.classes, config.unit, config.held_out) == (("severity",), "of 1", None)
    assert config.held_out_score is not None
    assert len(config.held_out_score.truths) == 12
    for words in (
        "severity in of 1",
        "mean absolute error",
        "the same of the mean for everybody",
        "pulls scores to the mean",
    ):
        assert words in trained.card
    assert "AUROC" not in trained.card
    assert "Calibration" not in trained.card
    # What it says is what its weights say: in units, after it is read back.
    recording = corpus(2, 9, tasks=("vowel-a",))[1]
    spec = spectrogram(recording.waveform[None], trained.classifier().stft)
    raw = trained.classifier().backbone(spec.magnitude, spec.phase)
    model = trained.classifier()
    assert float(model.segment_logits(spec.magnitude, spec.phase)) == pytest.approx(
        float(raw / model.temperature + model.intercept), abs=1e-5
    )
    assert 0 < float(model.intercept) < 1


def test_doors_say_the_score(trained: Bundle, tmp_path: Path) -> None:
    recording = corpus(2, 9, tasks=("vowel-a",))[1]
    path, folder = tmp_path / "voice.wav", str(trained.folder)
    write(path, recording.waveform, 16_000)
    run = CliRunner()
    told = run.invoke(app, ["predict", str(path), "--model", folder, "--format", "json"])
    row = json.loads(told.stdout)[0]
    assert row["unit"] == "of 1"
    assert isinstance(row["severity"], float)
    assert "predicted" not in row
    out = tmp_path / "explained"
    said = run.invoke(app, ["explain", str(path), "--model", folder, "--out", str(out), "-r", "saliency"])
    assert said.exit_code == 0, said.output
    assert f"severity {row['severity']:.3f} of 1" in said.output
    content = json.loads((out / "explanation.json").read_text())
    assert content["score"]["severity"] == pytest.approx(row["severity"], abs=1e-3)
    assert content["unit"] == "of 1"
    assert "probability" not in json.dumps(content["explanations"])
    page = (out / "saliency.html").read_text()
    assert "The model says severity" in page
    assert "P(severity)" not in page
    for command, message in (
        (["evaluate", "--data", "synthetic", "--protocol", "mancini2025"], "and no class, and the protocol"),
        (["app"], "names no class. The web app takes models that name classes"),
    ):
        refused = run.invoke(
            app, [*command, "--model", folder, *(["--out", str(tmp_path / "r")] if command[1:] else [])]
        )
        assert message in str(refused.exception)


def test_what_is_no_score_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpeechXAIError, match=r"--unit points: a unit is that of a score. Name its column"):
        plan_of({"out": tmp_path / "m", "unit": "points"})
    with pytest.raises(SpeechXAIError, match="The backbone 'acoustic' tells two classes apart and gives no score"):
        plan_of({"out": tmp_path / "m", "target": "updrs", "backbone": "acoustic"})


# What-ifs and words.
def test_a_dial_moves_a_score_in_its_unit() -> None:
    """A network that reads the level of 4 to 8 kHz gives more points to a breathier voice."""

    class High(nn.Module):
        def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
            return 100 * magnitude[:, 256:].mean(dim=(1, 2))[:, None]

    model = Classifier(High(), class_names=("updrs",), unit="points").eval()
    recording = corpus(2, 9, tasks=("vowel-a",))[0]
    found = what_if(model, recording, ["breathiness"])
    assert found.unit == "points"
    assert found.margin == found.probability
    (curve,) = found.curves
    up = next(p for p in curve.points if p.steps == 1)
    assert up.margin > found.margin
    said = " ".join(sentences(found))
    assert "turn" not in said
    assert "healthy" not in said
    assert curve.beats_placebo
    assert f"the updrs would {'rise' if curve.effect > 0 else 'fall'} from {found.margin:.3g}" in said
    still = Classifier(Loudness(), class_names=("updrs",), unit="points").eval()
    still.backbone.forward = lambda magnitude, phase: torch.full((len(magnitude), 1), 7.0)  # type: ignore[method-assign]
    assert "No sign moves the updrs more than a random change" in " ".join(
        sentences(what_if(still, recording, ["breathiness"]))
    )


def test_a_run_says_how_near_the_score_comes() -> None:
    import pandas as pd

    truths = np.arange(20.0)
    near = pd.DataFrame({"speaker": [f"s{k}" for k in range(20)], "score": truths + 1, "true_score": truths})
    found = score_sentence(near, "updrs", "points")
    assert found.tone == "good"
    assert "updrs is 1.000 points off on average over 20 speakers" in found.text
    far = near.assign(score=truths[::-1])
    assert score_sentence(far, "updrs", "points").tone == "caution"
    assert "too few" in score_sentence(near[:2], "updrs", "points").text
