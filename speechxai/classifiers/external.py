"""Networks of other people: any Hugging Face audio classifier that hears the waveform, and any `module:factory`."""

from __future__ import annotations

import difflib
import importlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from speechxai.classifiers.base import BACKBONES, Classifier
from speechxai.classifiers.network import (
    OUTPUTS,
    Attention,
    WaveformDoor,
    check_names,
    class_order,
    kind_of_score,
    logits_of,
    other_number,
    stated,
    uncompiled,
)
from speechxai.classifiers.whisper import LONGEST_S, SAMPLE_RATE_HZ, LogMel
from speechxai.errors import NotApplicable, SpeechXAIError, told
from speechxai.files import check_files
from speechxai.registry import check_values, look_in
from speechxai.signal.stft import SegmentConfig, inverse
from speechxai.types import CLASS_NAMES, StftConfig

MAX_BATCH = 4
SCORE = "score"
"""What the number that a network gives is called where nobody says it."""


class HuggingFaceNetwork(nn.Module):
    """A Hugging Face model for audio classification: waveform (B, N) in, logits (B, C) in the order HC, PD out.

    A Whisper model hears its own log-mel of the waveform, padded with silence to 30 s as its feature extractor does.

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
        self.front = LogMel(model.config.num_mel_bins) if kind == "whisper" else None
        if self.front is None and (
            kind == "audio-spectrogram-transformer" or getattr(model, "main_input_name", "") != "input_values"
        ):
            raise SpeechXAIError(
                f"A '{kind}' model hears features that its feature extractor makes with NumPy, through which no"
                " gradient comes back to the waveform. Write a factory of a callable 'waveform -> logits' that computes"
                " them with torch, and name it as 'module:function'."
            )
        self.model = model
        self.normalize = normalize
        self.order = None if order is None else list(order)

    def _prepared(self, waveform: Tensor) -> Tensor:
        if self.normalize:
            centered = waveform - waveform.mean(dim=-1, keepdim=True)
            waveform = centered / (centered.square().mean(dim=-1, keepdim=True) + 1e-7).sqrt()
        if self.front is None:
            return waveform
        missing = round(LONGEST_S * SAMPLE_RATE_HZ) - waveform.shape[-1]
        if missing < 0:
            raise SpeechXAIError(
                f"A Whisper model hears at most {LONGEST_S:.0f} s at once. Give it a segment of that length or less."
            )
        return self.front(nn.functional.pad(waveform, (0, missing)))  # type: ignore[no-any-return]

    def forward(self, waveform: Tensor) -> Tensor:
        """Waveforms (B, N) to logits (B, C)."""
        logits: Tensor = self.model(self._prepared(waveform)).logits
        return logits if self.order is None else logits[:, self.order]

    @torch.no_grad()
    def attention_maps(self, waveform: Tensor) -> Attention:
        """Attention weights of waveforms (B, N), mean over heads.

        Raises:
            NotApplicable: the model gives none, or most of its tokens hear the silence that pads a recording.
        """
        if self.front is not None:
            raise NotApplicable("the tokens of this network span 30 s, whatever the recording's length.")
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
        """Name of the last transformer layer, None where there is no list of layers or its tokens are not the
        recording's."""
        if self.front is not None:
            return None
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


@dataclass(frozen=True, eq=False)
class Opened:
    """Somebody's network as a classifier in evaluation mode, with what a bundle must know to make it again.

    Args:
        classifier: the network.
        architecture: "huggingface", or "module:function".
        options: of the backbone.
        normalize: how audio is read for it; "none" hears recordings at the level they have.
        names_assumed: whether nobody has said which output is which class.
    """

    classifier: Classifier
    architecture: str
    options: dict[str, Any] = field(default_factory=dict)
    normalize: Literal["peak", "none"] = "none"
    names_assumed: bool = False


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise SpeechXAIError(
            "Hugging Face models need the package 'transformers'. Install it with: pip install 'speechxai[huggingface]'"
        ) from error
    return transformers


def labels_of(config: Any) -> tuple[str, ...]:
    """Names of a Hugging Face model's outputs, in their order."""
    return tuple(str(config.id2label[index]) for index in sorted(config.id2label))


@BACKBONES.register(hears="waveform", cites="wolf2020transformers", needs="config_json")
def huggingface(
    stft: StftConfig, *, config_json: str, normalize: bool = False, order: Sequence[int] | None = None
) -> nn.Module:
    """Hugging Face model for audio classification with random weights, from the text of its `config.json`.

    Without `order` its outputs are put into the order HC, PD where their names in `id2label` say which is which.
    """
    transformers = _transformers()
    try:
        values = json.loads(config_json)
        config = transformers.AutoConfig.for_model(**values)
        model = transformers.AutoModelForAudioClassification.from_config(config, attn_implementation="eager")
    except (ValueError, KeyError, TypeError) as error:
        raise SpeechXAIError(
            f"The 'config_json' parameter of the backbone 'huggingface' does not describe an audio classifier: {error}"
        ) from error
    return HuggingFace(HuggingFaceNetwork(model, normalize, order or class_order(labels_of(config))), stft)


def open_huggingface(
    source: str,
    stft: StftConfig | None = None,
    segment: SegmentConfig | None = None,
    class_names: Sequence[str] | None = None,
) -> Opened:
    """Open any Hugging Face `AutoModelForAudioClassification` that hears waveforms, or Whisper's log-mel of them.

    Args:
        source: a folder written by `save_pretrained`, or a model's name on the hub (downloaded by `transformers`).
        stft: settings of the explained spectrogram; by default at the sample rate of the model's feature extractor.
        class_names: names by output index, where the model's own `id2label` does not say them. Two outputs whose names
            mean HC and PD (`types.CLASS_SPELLINGS`) are put into that order; others keep their order and names.

    Raises:
        SpeechXAIError: `transformers` is missing, the model cannot be loaded, it hears features of its own or another
            sample rate, or `class_names` has another length than its outputs.
    """
    if Path(source).is_dir():
        check_files(Path(source))
    transformers = _transformers()
    bars = transformers.utils.logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        model = transformers.AutoModelForAudioClassification.from_pretrained(
            source, attn_implementation="eager", weights_only=True
        ).float()
    except Exception as error:  # a damaged config or file of weights has many types of them
        raise SpeechXAIError(f"{source}: cannot be loaded as a Hugging Face audio classifier: {told(error)}") from error
    finally:
        if shown:
            bars.enable_progress_bar()
    try:
        extractor = transformers.AutoFeatureExtractor.from_pretrained(source)
        normalize = bool(stated(extractor, "do_normalize", False))
        rate = int(stated(extractor, "sampling_rate", StftConfig().sample_rate))
        stft = stft or StftConfig(sample_rate=rate)
        if rate != stft.sample_rate:
            raise SpeechXAIError(f"{source}: the model hears {rate} Hz. Got an STFT at {stft.sample_rate} Hz instead.")
    except OSError:
        stft, normalize = stft or StftConfig(), stated(model.config, "feat_extract_norm", "group") == "layer"
    names = check_names(class_names or labels_of(model.config), source)
    if len(names) != model.config.num_labels:
        raise SpeechXAIError(
            f"{source}: the model has {model.config.num_labels} outputs. Got {len(names)} class names instead."
        )
    unit = "points" if stated(model.config, "problem_type", "") == "regression" and len(names) == 1 else ""
    order = class_order(names)
    backbone = HuggingFace(HuggingFaceNetwork(model, normalize, order), stft)
    found = Classifier(backbone, stft, segment, names if order is None else CLASS_NAMES, unit=unit).eval()
    text = json.loads(model.config.to_json_string(use_diff=False))
    text.pop("_name_or_path", None)  # a path of this machine
    options = {"config_json": json.dumps(text, sort_keys=True), "normalize": normalize}
    return Opened(found, "huggingface", options if order is None else {**options, "order": list(order)})


def from_huggingface(
    source: str,
    stft: StftConfig | None = None,
    segment: SegmentConfig | None = None,
    class_names: Sequence[str] | None = None,
) -> Classifier:
    """Return the classifier of `open_huggingface`."""
    return open_huggingface(source, stft, segment, class_names).classifier


class ExternalNetwork(nn.Module):
    """A callable `waveform (B, N) -> logits (B, C)` of the user's own; a module inside it keeps its weights.

    Args:
        callable_: what is called.
        name: for messages.
        output: what it says its outputs are, of `network.OUTPUTS`; None where it says nothing.
        order: its outputs for HC and PD.
        unit: of a score; "" for classes.
    """

    def __init__(
        self,
        callable_: Callable[[Tensor], Tensor],
        name: str,
        output: str | None = None,
        order: Sequence[int] | None = None,
        unit: str = "",
    ) -> None:
        super().__init__()
        self.unit = unit
        self.inner = callable_
        self.name = name
        self.said = output
        # What it says is heeded here, so what comes out are logits.
        self.output = "logit" if output in OUTPUTS else output
        self.order = None if order is None else list(order)

    def forward(self, waveform: Tensor) -> Tensor:
        """Waveforms (B, N) to logits (B, C). Raises SpeechXAIError where the callable returns anything else."""
        values = self.inner(waveform)
        if not isinstance(values, Tensor) or values.ndim != 2 or len(values) != len(waveform):
            got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise SpeechXAIError(
                f"'{self.name}' must return logits of shape ({len(waveform)}, C) for waveforms (B, N). Got {got}"
                " instead."
            )
        if self.unit:
            return values
        logits = logits_of(values, self.said, f"'{self.name}'")
        if self.order is None:
            return logits
        if logits.shape[1] not in (1, len(self.order)):
            raise SpeechXAIError(f"'{self.name}': {other_number(logits.shape[1], CLASS_NAMES)}")
        # One output is the log odds of the second class.
        return logits[:, self.order] if logits.shape[1] > 1 else logits * (self.order[1] - self.order[0])


_MAY_STATE: dict[str, type | tuple[type, ...]] = {
    "stft": StftConfig,
    "segment": SegmentConfig,
    "class_names": (tuple, list),
    "unit": str,
    "cam_layer": str,
    "max_batch": int,
    "output": str,
    "normalize": str,
}


def statements(network: Any, name: str) -> dict[str, Any]:
    """What a network of the user's own says of itself; its modules and functions of these names mean something else.

    Raises:
        SpeechXAIError: a value of another kind.
    """
    found: dict[str, Any] = {}
    for key, kind in _MAY_STATE.items():
        value = stated(network, key, None)
        if isinstance(value, kind):
            found[key] = value
        elif value is not None and not callable(value) and not isinstance(value, Tensor):
            wanted = kind.__name__ if isinstance(kind, type) else "tuple of names"
            raise SpeechXAIError(f"{name}: its `{key}` must be a {wanted}. Got {value!r} instead.")
    check_names(found.get("class_names", ()), name)
    if found.get("unit") and found.get("output") != "score":
        raise SpeechXAIError(f"{name}: states a unit ({found['unit']}), which a score has: state output = 'score' too.")
    if found.get("normalize", "none") not in ("none", "peak"):
        raise SpeechXAIError(f"{name}: its `normalize` must be 'peak' or 'none'. Got {found['normalize']!r} instead.")
    return found


def made_by(factory: str) -> Any:
    """Call `factory` = "module:function" without arguments; the module may lie in the current folder.

    Raises:
        SpeechXAIError: a name of another form, a module or function that is not there, an error of theirs, no callable.
    """
    module_name, _, function_name = factory.partition(":")
    if not module_name or not function_name:
        raise SpeechXAIError(
            f"The 'factory' parameter must be 'module:function', for example 'my_network:load'. Got {factory!r}"
            " instead."
        )
    look_in()
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # the code of others may raise anything
        raise SpeechXAIError(
            f"{factory}: the module '{module_name}' cannot be imported: {told(error)}. Install it, set PYTHONPATH to"
            " its folder, or run the command in that folder."
        ) from error
    make = getattr(module, function_name, None)
    if not callable(make):
        own = [name for name, what in vars(module).items() if getattr(what, "__module__", None) == module_name]
        close = difflib.get_close_matches(function_name, own, n=1)
        hint = f" Did you mean '{module_name}:{close[0]}'?" if close else ""
        raise SpeechXAIError(f"{factory}: the module '{module_name}' has no function '{function_name}'.{hint}")
    try:
        network = uncompiled(make())
    except Exception as error:  # the code of others may raise anything
        raise SpeechXAIError(f"{factory}: the function fails: {told(error)}") from error
    if not callable(network):
        raise SpeechXAIError(
            f"{factory}: must return a callable 'waveform -> logits'. Got {type(network).__name__} instead."
        )
    return network


def external(
    stft: StftConfig,
    factory: str,
    network: Any = None,
    output: str | None = None,
    class_names: Sequence[str] | None = None,
    unit: str = "",
) -> nn.Module:
    """Network of the user's own: `factory` = "module:function" is called without arguments and returns `waveform ->
    logits`, or a whole `Classifier`.

    Args:
        network: what the function returned, where it has been called.
        output, class_names, unit: what it does not state itself, or another word than its own.

    Raises:
        SpeechXAIError: what `made_by` and `statements` refuse, or a score of which nobody sees what it is.
    """
    network = made_by(factory) if network is None else network
    if isinstance(network, Classifier):
        return network.backbone
    said = statements(network, factory)
    output, unit = output or said.get("output"), unit or said.get("unit", "")
    if unit:
        return WaveformDoor(ExternalNetwork(network, factory, unit=unit), stft)
    if output == "score":
        output = kind_of_score(WaveformDoor(ExternalNetwork(network, factory, "logit").eval(), stft), factory)
    order = class_order(tuple(class_names or said.get("class_names", ())))
    return WaveformDoor(ExternalNetwork(network, factory, output, order), stft)


def open_factory(
    factory: str,
    stft: StftConfig | None = None,
    segment: SegmentConfig | None = None,
    cam_layer: str | None = None,
    output: str | None = None,
    class_names: Sequence[str] | None = None,
) -> Opened:
    """Open a network of the user's own; see `external`. What is not given here it may state as attributes:

    `stft`, `segment`, `class_names` (one name for each output; without, HC and PD in that order, and every answer says
    so), `cam_layer` (counted from the returned module), `max_batch`, `output` (`network.OUTPUTS`) and `normalize`
    ("none" without, or "peak"). With output = "score" and a `unit` it gives one number in that unit and no classes, and
    `class_names` holds the one name of that number ("score" without).
    """
    network = made_by(factory)
    if isinstance(network, Classifier):
        return Opened(network.eval(), factory)
    said = statements(network, factory)
    stft = stft or said.get("stft") or StftConfig()
    layer = cam_layer or said.get("cam_layer")
    told = class_names or said.get("class_names")
    unit = said.get("unit", "")
    names = check_names(told or ((SCORE,) if unit else CLASS_NAMES), factory)
    given: dict[str, Any] = {"output": output, "class_names": None if class_names is None else list(class_names)}
    options: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    classifier = Classifier(
        external(stft, factory, network, **options),
        stft,
        segment or said.get("segment"),
        names if class_order(names) is None else CLASS_NAMES,
        None if layer is None else f"network.inner.{layer}",
        said.get("max_batch", MAX_BATCH),
        unit,
    )
    normalize = said.get("normalize", "none")
    return Opened(classifier.eval(), factory, options, normalize=normalize, names_assumed=not (told or unit))


def from_factory(
    factory: str,
    stft: StftConfig | None = None,
    segment: SegmentConfig | None = None,
    cam_layer: str | None = None,
    output: str | None = None,
    class_names: Sequence[str] | None = None,
) -> Classifier:
    """Return the classifier of `open_factory`."""
    return open_factory(factory, stft, segment, cam_layer, output, class_names).classifier


def build(name: str, stft: StftConfig | None = None, **options: Any) -> nn.Module:
    """Build the backbone `name` of BACKBONES, or the network that "module:function" returns; that runs code of the
    module.

    Raises:
        SpeechXAIError: an unknown name or option, or a module or function that is not there.
    """
    factory: Any = partial(external, factory=name) if ":" in name else BACKBONES[name]
    if ":" not in name:
        check_values(BACKBONES.facts(name).get("takes", factory), options, f"the backbone '{name}'")
    try:
        return factory(stft or StftConfig(), **options)  # type: ignore[no-any-return]
    except SpeechXAIError:
        raise
    except Exception as error:  # PyTorch has many types for sizes that cannot be
        said = str(error) if isinstance(error, ValueError) else told(error)
        raise SpeechXAIError(f"The backbone '{name}' does not take these options: {said}") from error
