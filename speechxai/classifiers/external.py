"""Networks of other people: any Hugging Face audio classifier that hears the waveform, and any `module:factory`."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from speechxai.classifiers.base import BACKBONES, Classifier
from speechxai.classifiers.network import Attention, WaveformDoor
from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.signal.stft import SegmentConfig, inverse
from speechxai.types import CLASS_NAMES, StftConfig

MAX_BATCH = 4
_HEAR_FEATURES = ("audio-spectrogram-transformer", "whisper", "wav2vec2-bert")


class HuggingFaceNetwork(nn.Module):
    """A Hugging Face model for audio classification: waveform (B, N) in, logits (B, C) in the order HC, PD out.

    Args:
        model: the model, which must hear waveforms.
        normalize: each waveform gets mean 0 and variance 1 first, as its feature extractor does.
        order: which of the model's outputs is which class of ours; None keeps its order.

    Raises:
        SpeechXAIError: a model that hears features of its own.
    """

    def __init__(self, model: Any, normalize: bool = False, order: Sequence[int] | None = None) -> None:
        super().__init__()
        kind = model.config.model_type
        if kind in _HEAR_FEATURES or getattr(model, "main_input_name", "input_values") != "input_values":
            raise SpeechXAIError(
                f"A '{kind}' model hears features of its own and not the waveform. Write a factory of a callable"
                " 'waveform -> logits' that computes them with torch, and name it as 'module:function'."
            )
        self.model = model
        self.normalize = normalize
        self.order = None if order is None else list(order)

    def _prepared(self, waveform: Tensor) -> Tensor:
        if not self.normalize:
            return waveform
        centered = waveform - waveform.mean(dim=-1, keepdim=True)
        return centered / (centered.square().mean(dim=-1, keepdim=True) + 1e-7).sqrt()

    def forward(self, waveform: Tensor) -> Tensor:
        """Waveforms (B, N) to logits (B, C)."""
        logits: Tensor = self.model(self._prepared(waveform)).logits
        return logits if self.order is None else logits[:, self.order]

    @torch.no_grad()
    def attention_maps(self, waveform: Tensor) -> Attention:
        """Attention weights of waveforms (B, N), mean over heads. Raises NotApplicable where the model gives none."""
        weights = self.model(self._prepared(waveform), output_attentions=True).attentions
        if not weights or any(layer is None or layer.ndim != 4 for layer in weights):
            raise NotApplicable("this network does not give its attention weights, so there is nothing to roll out.")
        layers = torch.stack([layer.mean(dim=1) for layer in weights])
        mix = layers.new_zeros(len(layers) + 1)
        if getattr(self.model.config, "use_weighted_layer_sum", False):
            mix = self.model.layer_weights.softmax(dim=-1)
        else:
            mix[-1] = 1.0
        # These models take the plain mean over tokens.
        return Attention(layers, layers.new_full(layers.shape[1:3], 1.0 / layers.shape[-1]), mix)

    def last_layer(self) -> str | None:
        """Name of the last transformer layer, None where there is no list of layers."""
        lists = [
            name
            for name, module in self.named_modules()
            if isinstance(module, nn.ModuleList) and name.endswith("encoder.layers")
        ]
        return f"{lists[0]}.{len(self.get_submodule(lists[0])) - 1}" if lists else None  # type: ignore[arg-type]


class HuggingFace(WaveformDoor):
    """A Hugging Face network heard through the inverse STFT."""

    max_batch = MAX_BATCH
    network: HuggingFaceNetwork

    def __init__(self, network: HuggingFaceNetwork, stft: StftConfig) -> None:
        super().__init__(network, stft)
        layer = network.last_layer()
        self.cam_layer = None if layer is None else f"network.{layer}"

    def attention_maps(self, magnitude: Tensor, phase: Tensor, n_samples: int | None = None) -> Attention:
        """Attention of segments (S, F, L) twice; see `HuggingFaceNetwork.attention_maps`."""
        return self.network.attention_maps(inverse(magnitude, phase, self.stft, n_samples))


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise SpeechXAIError(
            "Hugging Face models need the package 'transformers'. Install it with: pip install 'speechxai[huggingface]'"
        ) from error
    return transformers


@BACKBONES.register(hears="waveform", cites="wolf2020transformers", needs="config_json")
def huggingface(
    stft: StftConfig, *, config_json: str, normalize: bool = False, order: Sequence[int] | None = None
) -> nn.Module:
    """Hugging Face model for audio classification with random weights, from the text of its `config.json`."""
    transformers = _transformers()
    try:
        values = json.loads(config_json)
        config = transformers.AutoConfig.for_model(**values)
        model = transformers.AutoModelForAudioClassification.from_config(config, attn_implementation="eager")
    except (ValueError, KeyError, TypeError) as error:
        raise SpeechXAIError(
            f"The 'config_json' parameter of the backbone 'huggingface' does not describe an audio classifier: {error}"
        ) from error
    return HuggingFace(HuggingFaceNetwork(model, normalize, order), stft)


def from_huggingface(
    source: str,
    stft: StftConfig | None = None,
    segment: SegmentConfig | None = None,
    class_names: Sequence[str] | None = None,
) -> Classifier:
    """Any Hugging Face `AutoModelForAudioClassification` that hears waveforms, as a Classifier in evaluation mode.

    Args:
        source: a folder written by `save_pretrained`, or a model's name on the hub (downloaded by `transformers`).
        class_names: names by output index, where the model's own `id2label` does not say them. Outputs named HC and PD
            are put into that order.

    Raises:
        SpeechXAIError: `transformers` is missing, the model cannot be loaded, it hears features of its own or another
            sample rate, or `class_names` has another length than its outputs.
    """
    transformers = _transformers()
    stft = stft or StftConfig()
    try:
        model = transformers.AutoModelForAudioClassification.from_pretrained(
            source, attn_implementation="eager", weights_only=True
        )
    except (OSError, ValueError) as error:
        raise SpeechXAIError(f"{source}: cannot be loaded as a Hugging Face audio classifier: {error}") from error
    normalize = False
    try:
        extractor = transformers.AutoFeatureExtractor.from_pretrained(source)
        normalize = bool(getattr(extractor, "do_normalize", False))
        rate = int(getattr(extractor, "sampling_rate", stft.sample_rate))
        if rate != stft.sample_rate:
            raise SpeechXAIError(f"{source}: the model hears {rate} Hz. Got an STFT at {stft.sample_rate} Hz instead.")
    except OSError:
        normalize = getattr(model.config, "feat_extract_norm", "group") == "layer"
    labels = model.config.id2label
    names = tuple(class_names or (str(labels[index]) for index in sorted(labels)))
    if len(names) != model.config.num_labels:
        raise SpeechXAIError(
            f"{source}: the model has {model.config.num_labels} outputs. Got {len(names)} class names instead."
        )
    order = None
    if len(names) == len(CLASS_NAMES) and {name.upper() for name in names} == set(CLASS_NAMES):
        order = [[name.upper() for name in names].index(name) for name in CLASS_NAMES]
        names = CLASS_NAMES
    backbone = HuggingFace(HuggingFaceNetwork(model, normalize, order), stft)
    return Classifier(backbone, stft, segment, names, backbone.cam_layer, MAX_BATCH).eval()


class ExternalNetwork(nn.Module):
    """A callable `waveform (B, N) -> logits (B, C)` of the user's own; a module inside it keeps its weights."""

    def __init__(self, callable_: Callable[[Tensor], Tensor], name: str) -> None:
        super().__init__()
        self.inner = callable_
        self.name = name

    def forward(self, waveform: Tensor) -> Tensor:
        """Waveforms (B, N) to logits (B, C). Raises SpeechXAIError where the callable returns anything else."""
        logits = self.inner(waveform)
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(waveform):
            got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise SpeechXAIError(
                f"'{self.name}' must return logits of shape ({len(waveform)}, C) for waveforms (B, N). Got {got}"
                " instead."
            )
        return logits


def external(stft: StftConfig, factory: str) -> nn.Module:
    """Network of the user's own: `factory` = "module:function" is called without arguments and returns `waveform ->
    logits`.

    The function must come from an installed module or one on PYTHONPATH; it runs as part of this program.

    Raises:
        SpeechXAIError: a name of another form, a module or function that is not there, or no callable.
    """
    module_name, _, function_name = factory.partition(":")
    if not module_name or not function_name:
        raise SpeechXAIError(
            f"The 'factory' parameter must be 'module:function', for example 'my_network:load'. Got {factory!r}"
            " instead."
        )
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise SpeechXAIError(
            f"{factory}: the module '{module_name}' cannot be imported: {error}. Install it or set PYTHONPATH."
        ) from error
    make = getattr(module, function_name, None)
    if not callable(make):
        raise SpeechXAIError(f"{factory}: the module '{module_name}' has no function '{function_name}'.")
    network = make()
    if not callable(network):
        raise SpeechXAIError(
            f"{factory}: must return a callable 'waveform -> logits'. Got {type(network).__name__} instead."
        )
    return WaveformDoor(ExternalNetwork(network, factory), stft)


def from_factory(
    factory: str, stft: StftConfig | None = None, segment: SegmentConfig | None = None, cam_layer: str | None = None
) -> Classifier:
    """Network of the user's own as a Classifier in evaluation mode; see `external`.

    Args:
        cam_layer: name of its layer for Grad-CAM, counted from the returned module.
    """
    stft = stft or StftConfig()
    layer = None if cam_layer is None else f"network.inner.{cam_layer}"
    return Classifier(external(stft, factory), stft, segment, cam_layer=layer, max_batch=MAX_BATCH).eval()


def build(name: str, stft: StftConfig | None = None, **options: Any) -> nn.Module:
    """Build the backbone `name` of BACKBONES, or the network that "module:function" returns; that runs code of the
    module.

    Raises:
        SpeechXAIError: an unknown name or option, or a module or function that is not there.
    """
    if ":" in name:
        from speechxai.classifiers.external import external

        factory: Any = partial(external, factory=name)
    else:
        factory = BACKBONES[name]
    try:
        return factory(stft or StftConfig(), **options)  # type: ignore[no-any-return]
    except TypeError as error:
        raise SpeechXAIError(f"The backbone '{name}' does not take these options: {error}") from error
