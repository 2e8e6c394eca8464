"""Fine-tuning of speech foundation models: accumulation, schedule, resuming after a kill, reloading."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from speechxai.classifiers import Classifier, build
from speechxai.classifiers.bundle import (
    BundleConfig,
    EpochFile,
    SegmentSettings,
    StftSettings,
    load_bundle,
    save_bundle,
)
from speechxai.classifiers.fit import AugmentConfig, FitConfig, fit, initialized, rate_factor, recording_logits
from speechxai.classifiers.ssl import convolutions
from speechxai.errors import SpeechXAIError
from speechxai.signal import audio
from speechxai.types import Recording, StftConfig

RECIPE = FitConfig(
    epochs=2,
    patience=2,
    learning_rate=1e-3,
    batch=2,
    accumulate=4,
    crop_s=0.5,
    n_crops=1,
    schedule="linear",
    layer_decay=0.9,
)


OPTIONS = {"size": "tiny", "hidden_size": 8, "overrides": {"extractor_conv_layer_config": convolutions(8)}}


def make(freeze: str | int = "none", precision: str = "float32", dropout: bool = True) -> Classifier:
    backbone = build("ssl", **OPTIONS, freeze=freeze, precision=precision)
    if not dropout:
        for module in backbone.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            if isinstance(getattr(module, "dropout", None), float):
                module.dropout = 0.0  # type: ignore[assignment]
    return Classifier(backbone, max_batch=4)


def voices(n: int = 8, n_samples: int = 12_000) -> list[Recording]:
    generator = torch.Generator().manual_seed(0)
    return [
        Recording(0.1 * (1 + k % 2) * torch.randn(n_samples, generator=generator), 16_000, f"r{k}", f"toy/{k}", k % 2)
        for k in range(n)
    ]


def weights(classifier: Classifier) -> torch.Tensor:
    return nn.utils.parameters_to_vector(classifier.parameters()).detach()


def test_accumulated_batches_are_one_large_batch() -> None:
    ends = []
    for batch, accumulate in ((4, 1), (2, 2), (1, 4)):
        config = replace(
            RECIPE,
            batch=batch,
            accumulate=accumulate,
            class_weights="none",
            augment=AugmentConfig(level_db=0.0, noise_share=0.0, n_bands=0, n_spans=0),
            epochs=1,
            schedule="constant",
            learning_rate=1e-4,
        )
        classifier = initialized(lambda: make(dropout=False), 0)
        start = weights(classifier)
        # As long as a crop, so that no place is drawn: draws differ by batch.
        fit(classifier, voices(n_samples=8_000), [], config)
        ends.append(weights(classifier) - start)
    assert ends[0].abs().max() > 1e-5
    for other in ends[1:]:
        # Adam's steps have the sign of the gradient: compare where the sign is certain.
        assert torch.nn.functional.cosine_similarity(ends[0], other, dim=0) > 0.99


def test_schedule_rises_and_falls() -> None:
    # 20 steps: 2 rising (0, 1/2), then from 1 at step 2 down to 0 at step 20 in 18 equal parts.
    factors = [rate_factor(step, 20, "linear") for step in range(21)]
    assert factors[:3] == [0.0, 0.5, 1.0]
    assert factors[11] == pytest.approx(9 / 18)
    assert factors[20] == 0.0
    assert rate_factor(7, 20, "constant") == 1.0


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_bfloat16_training_learns_and_keeps_float32_weights(precision: str) -> None:
    classifier = initialized(make, 0)
    start = weights(classifier)
    fit(classifier, voices(), [], replace(RECIPE, precision=precision))
    assert weights(classifier).dtype == torch.float32
    assert torch.isfinite(weights(classifier)).all()
    assert not torch.equal(weights(classifier), start)


def test_frozen_model_trains_its_head_alone() -> None:
    classifier = initialized(lambda: make("all"), 0)
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    fit(classifier, voices(), [], RECIPE)
    changed = {name for name, value in classifier.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith("backbone.network.head.") for name in changed)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accumulate": 0}, "'accumulate'"),
        ({"layer_decay": 0.0}, "'layer_decay'"),
        ({"schedule": "cosine"}, "'schedule'"),
        ({"precision": "float16"}, "'precision'"),
    ],
)
def test_wrong_settings_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpeechXAIError, match=message):
        replace(RECIPE, **options)


def figshare(root: Path) -> tuple[list[Recording], list[Recording]]:
    """The 81 recordings, every fifth for validation."""
    rows = [line.split("\t") for line in (root / "manifest.tsv").read_text().splitlines()[1:]]
    recordings = [
        audio.read_audio(root / "audio" / name, id=name, speaker=f"figshare/{name}", label=("HC", "PD").index(kind))
        for _, _, kind, name in rows
    ]
    return [r for k, r in enumerate(recordings) if k % 5], recordings[::5]


def train_here(root: str, store: str, out: str, kill: str) -> None:
    """Two epochs on the real recordings; with `kill`, the process ends itself as a kill would, after the first."""
    training, validation = figshare(Path(root))

    def progress(done: int, total: int, what: str) -> None:
        if kill == "kill" and done == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    classifier = initialized(make, 0)
    history = fit(classifier, training, validation, RECIPE, progress, EpochFile(store))
    assert len(history.epochs) == 2
    stft = StftConfig()
    config = BundleConfig(
        name="tiny-ssl",
        architecture="ssl",
        options=OPTIONS,
        max_batch=4,
        stft=StftSettings(**{key: getattr(stft, key) for key in StftSettings.model_fields}),
        segment=SegmentSettings(length_s=5.0, hop_s=2.5),
    )
    save_bundle(out, config, {"final": classifier}, "# tiny")


@pytest.mark.slow
def test_fine_tuning_on_real_recordings_resumes_after_a_kill(
    shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    root = shared_data("figshare-voice")
    training, validation = figshare(root)
    assert len(training) + len(validation) == 81
    assert sum(r.label or 0 for r in training + validation) == 40
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_ssl_fit as t;"
        " t.train_here(*sys.argv[1:])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}

    def run(store: str, out: str, kill: str) -> int:
        command = [sys.executable, "-c", code, str(root), str(tmp_path / store), str(tmp_path / out), kill]
        return subprocess.run(command, env=environment, check=False, timeout=280).returncode

    assert run("killed.pt", "resumed", "kill") == -signal.SIGKILL
    assert not (tmp_path / "resumed").exists()
    assert run("killed.pt", "resumed", "no") == 0
    resumed, whole = load_bundle(tmp_path / "resumed").classifier(), initialized(make, 0)
    fit(whole, training, validation, RECIPE)
    whole.segment = resumed.segment
    some = validation[:6]
    assert torch.equal(recording_logits(resumed, some), recording_logits(whole, some))
    state = EpochFile(tmp_path / "killed.pt").load()
    assert state is not None
    in_memory = make()
    in_memory.segment = resumed.segment
    in_memory.load_state_dict(state["best"])
    assert torch.equal(recording_logits(in_memory.eval(), some), recording_logits(resumed, some))
