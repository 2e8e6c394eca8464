"""Which network learns the tasks of a benchmark: `cnn` from nothing, a frozen encoder with a head, one of yours."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from speechxai.classifiers import Classifier, build
from speechxai.classifiers.bundle import load_bundle
from speechxai.classifiers.dvector import read_speaker_encoder
from speechxai.classifiers.whisper import EMBEDDED, read_encoder
from speechxai.errors import SpeechXAIError
from speechxai.planted.settings import (
    CNN,
    DVECTOR,
    DVECTOR_RANDOM,
    N_TUNED,
    WHISPER,
    WHISPER_RANDOM,
    WHISPER_TUNED,
)
from speechxai.types import StftConfig

CLASSES = ("without", "with")
WIDE_BATCH = 64
"""Short recordings that pass at once off the processor: few of them leave a GPU waiting for its next kernel."""


@dataclass(frozen=True, eq=False)
class Network:
    """What learns a task.

    Args:
        make: makes an untrained classifier for a seed.
        identity: hash of weights that it begins with; empty where a seed draws them.
        learning_rate: of its training, where it is trained by gradient steps.
        device: where it is trained and explained.
    """

    make: Callable[[int], Classifier]
    identity: str = ""
    learning_rate: float = 2e-3
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def placed(self, seed: int) -> Classifier:
        """An untrained classifier for a seed, on the device."""
        made = self.make(seed).to(self.device)
        if self.device.type != "cpu":
            made.max_batch = max(made.max_batch, WIDE_BATCH)
        return made


def open_network(name: str, allow_code: bool = False) -> Network:
    """Find what `BenchmarkSettings.network` names.

    Args:
        name: CNN, WHISPER, WHISPER_RANDOM, WHISPER_TUNED, DVECTOR, DVECTOR_RANDOM, or a model as `load_bundle` takes
            it, which is trained further.
        allow_code: whether "module:function" may run.

    Raises:
        SpeechXAIError: a model that is not there, or that hears another sample rate than the benchmark's voices have.
    """
    stft = StftConfig()
    if name == CNN:
        return Network(lambda seed: make_cnn())
    if name in (WHISPER, WHISPER_RANDOM, WHISPER_TUNED, DVECTOR, DVECTOR_RANDOM):
        return _heads(name, CLASSES)
    bundle = load_bundle(name, allow_code)
    given = bundle.classifier()
    if given.stft.sample_rate != stft.sample_rate or len(given.class_names) != len(CLASSES):
        raise SpeechXAIError(
            f"{name}: a benchmark's network hears {stft.sample_rate} Hz and tells {len(CLASSES)} classes apart. This"
            f" one hears {given.stft.sample_rate} Hz and tells {len(given.class_names)}."
        )

    def further(seed: int) -> Classifier:
        backbone = copy.deepcopy(given.backbone).requires_grad_(True)
        return Classifier(backbone, given.stft, given.segment, CLASSES, given.cam_layer, given.max_batch)

    return Network(further, bundle.config.weights.sha256, learning_rate=3e-4)


def open_scorer(name: str, score: str, unit: str) -> Network:
    """Find what learns a score.

    Args:
        name: CNN, WHISPER, WHISPER_RANDOM, WHISPER_TUNED, DVECTOR or DVECTOR_RANDOM.
        score: its name.
        unit: what it is counted in.

    Raises:
        SpeechXAIError: another network, or an encoder that is not there.
    """
    stft = StftConfig()
    if name == CNN:
        return Network(
            lambda seed: Classifier(build("cnn", stft, n_classes=1), stft, None, (score,), "features", unit=unit)
        )
    if name not in (WHISPER, WHISPER_RANDOM, WHISPER_TUNED, DVECTOR, DVECTOR_RANDOM):
        raise SpeechXAIError(
            f"--network {name}: a score is learned by {CNN}, {WHISPER}, {WHISPER_RANDOM}, {WHISPER_TUNED}, {DVECTOR} or"
            f" {DVECTOR_RANDOM}."
        )
    return _heads(name, (score,), unit)


def _heads(name: str, classes: tuple[str, ...], unit: str = "") -> Network:
    """A head on a frozen encoder, or on its twin with random weights."""
    stft, of_speakers = StftConfig(), name in (DVECTOR, DVECTOR_RANDOM)
    # a missing one is said before anything is computed
    encoder = read_speaker_encoder() if of_speakers else read_encoder(EMBEDDED)
    is_random = name in (WHISPER_RANDOM, DVECTOR_RANDOM)
    options: dict[str, Any] = {} if of_speakers else {"tuned": N_TUNED * (name == WHISPER_TUNED)}
    if unit:
        options["n_classes"] = 1

    def head_on(seed: int) -> Classifier:
        backbone = DVECTOR if of_speakers else WHISPER
        network = build(backbone, stft, random=is_random, seed=seed if is_random else 0, **options)
        return Classifier(network, stft, None, classes, unit=unit)

    return Network(head_on, encoder.sha256)


def make_cnn() -> Classifier:
    """Return `cnn` with its defaults, untrained, hearing every recording whole.

    Its two logits begin as each other's opposites and stay so, for their gradients are opposite too. Begun apart, their
    sum would never be trained, and every map of one logit would hold it: structure that nobody learned.
    """
    network = Classifier(build("cnn"), StftConfig(), None, CLASSES, cam_layer="features")
    head = network.get_submodule("backbone.classifier")
    with torch.no_grad():
        for values in head.parameters():
            values.copy_((values - values.flip(0)) / 2)
    return network
