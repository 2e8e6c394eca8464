"""Recipes of training, and a speech foundation model from pretrained weights to a bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from speechxai.classifiers import build, training
from speechxai.classifiers.bundle import load_bundle
from speechxai.classifiers.ssl import Ssl, convolutions
from speechxai.classifiers.training import plan_of, read_recipe
from speechxai.errors import SpeechXAIError
from speechxai.types import Recording

RECIPE = "ssl4pr"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A foundation model of its own, tiny, under torchaudio's names."""
    torch.manual_seed(4)
    overrides = {"encoder_embed_dim": 64, "encoder_num_heads": 1, "extractor_conv_layer_config": convolutions(8)}
    backbone = build("ssl", size="tiny", overrides=overrides)
    assert isinstance(backbone, Ssl)
    path = tmp_path / "foundation.safetensors"
    save_file({name: value.clone() for name, value in backbone.network.ssl.state_dict().items()}, path)
    return path


def test_published_recipe(weights: Path) -> None:
    recipe = read_recipe(RECIPE)
    assert recipe["pretrained"] == "HUBERT_BASE"
    plan = plan_of({**recipe, "pretrained": str(weights), "out": "models/mine"})
    fit = plan.fit
    assert (fit.epochs, fit.learning_rate, fit.batch, fit.accumulate, fit.crop_s) == (10, 1e-4, 2, 16, 10.0)
    assert (fit.schedule, fit.class_weights, fit.augment.noise_share, plan.n_folds, plan.name) == (
        "linear",
        "none",
        0.0,
        10,
        "mine",
    )
    assert plan.segment is not None
    assert (plan.segment.length_s, plan.segment.hop_s) == (10.0, 5.0)
    # The pretrained model's architecture, the recipe's head.
    assert plan.options["overrides"]["encoder_embed_dim"] == 64
    assert plan.options["hidden_size"] == 768
    made = plan.make()
    assert made.cam_layer == "network.ssl.encoder.transformer.layers.1"
    assert made.max_batch == 4
    expected = load_file(weights)
    found = made.backbone.network.ssl.state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_wrong_recipes_are_named(tmp_path: Path, weights: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text("lerning_rate = 1e-4")
    with pytest.raises(
        SpeechXAIError, match=(r": Unknown setting 'lerning_rate'\. Did you mean 'learning_rate'\? Known: .*$")
    ):
        read_recipe(path)
    path.write_text("learning_rate = ")
    with pytest.raises(SpeechXAIError, match=r": not valid TOML: .*$"):
        read_recipe(path)
    with pytest.raises(SpeechXAIError, match="'augment' table"):
        plan_of({"augment": {"loudness": 1}, "out": "a"})
    with pytest.raises(SpeechXAIError, match=r"^Pretrained weights need the backbone 'ssl'\. Got 'cnn' instead\.$"):
        plan_of({"pretrained": str(weights), "out": "a"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threads", 0),
        ("threads", 10**6),
        ("speakers", 1),
        ("epochs", 10**9),
        ("seed", -1),
        ("crop_s", 1e9),
        ("folds", 2),
    ],
)
def test_numbers_of_a_recipe_have_the_bounds_of_the_flags(name: str, value: float, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(f"{name} = {value}")
    with pytest.raises(SpeechXAIError, match=rf"The '{name}' parameter of .*recipe\.toml must be a .*number from"):
        read_recipe(path)


@pytest.mark.parametrize("large", [False, True])
def test_foundation_model_to_bundle(
    large: bool, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large:
        monkeypatch.setattr(training, "LARGE", 0)
    generator = torch.Generator().manual_seed(0)
    recordings = tuple(
        Recording(
            0.1 * (1 + k % 2) * torch.randn(6_000, generator=generator),
            16_000,
            f"r{k}",
            f"toy/{k}",
            k % 2,
            metadata={"age": 60 + k},
        )
        for k in range(12)
    )
    given = {
        "backbone": "ssl",
        "pretrained": str(weights),
        "folds": 3,
        "epochs": 1,
        "batch": 2,
        "accumulate": 2,
        "crop_s": 0.3,
        "n_crops": 1,
        "options": {"hidden_size": 8},
        "out": tmp_path / "model",
    }
    plan = replace(plan_of(given), n_bootstrap=20)
    bundle = training.train_bundle(training.Corpus("toy", recordings, "Tones."), plan, tmp_path / "model")
    assert (bundle.folder / "weights" / "fold2.safetensors").exists() is large
    assert bundle.config.cam_layer == "network.ssl.encoder.transformer.layers.1"
    again = load_bundle(bundle.folder)
    for recording in recordings[:3]:
        fold = again.fold_of(recording)
        assert fold is not None
        model = again.for_recording(recording)
        assert torch.isfinite(model.backbone.network(recording.waveform[None])).all()
        trained = model.backbone.network.ssl.encoder.transformer.layers[0].attention.q_proj.weight
        assert not torch.equal(
            trained, plan.make().backbone.network.ssl.encoder.transformer.layers[0].attention.q_proj.weight
        )
