"""What a network must be, in one place: the contract, networks that hear waveforms, and a trial of other people's."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.signal.stft import SegmentConfig, inverse, spectrogram
from speechxai.types import CLASS_NAMES, StftConfig, class_key

DEFAULT_MAX_BATCH = 16
"""Segments that pass through a network at once, where it states no `max_batch`."""

OUTPUTS = ("logit", "probability", "log-probability", "score")
"""What a network may say of its `output`; without a word logits are expected, and the check looks whether they are.

One column speaks of the second class: its log odds, or its probability. "score" is one column of a network
of the user's own: with a `unit` it is a number in that unit, such as points of a scale; without one it speaks of
the second class, and which of the two it is, is tried once, see `kind_of_score`.
"""


class Attention(NamedTuple):
    """What attention rollout needs: `layers` (L, B, T', T'), mean over heads; `time` (B, T') and `mix` (L + 1,) of the
    head."""

    layers: Tensor
    time: Tensor
    mix: Tensor


class Network(Protocol):
    """An `nn.Module` that hears spectrograms of whole recordings. `base.Classifier` is one; see its arguments."""

    training: bool
    backbone: nn.Module
    stft: StftConfig
    segment: SegmentConfig | None
    class_names: tuple[str, ...]
    unit: str
    cam_layer: str | None
    max_batch: int
    one_at_a_time: bool

    def __call__(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        """Magnitude and phase (B, F, T) to logits (B, C)."""

    def segment_logits(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        """Logits (S, C) of segments (S, F, L)."""

    def cut(self, values: Tensor) -> Tensor:
        """Cut (B, F, T) into the segments (B, S, F, L) that are heard."""

    def stitch(self, values: Tensor, n_frames: int) -> Tensor:
        """Put segments (B, S, F, L) back onto the recording's time axis (B, F, T)."""

    def cam_module(self) -> nn.Module:
        """Return the module that Grad-CAM reads. Raises NotApplicable where the network names none."""

    def attention_maps(self, magnitude: Tensor, phase: Tensor) -> Attention:
        """Attention of segments (S, F, L). Raises NotApplicable where there is none to read."""

    def for_length(self, n_samples: int) -> Network:
        """Return this network as it hears recordings of `n_samples`; weights and hooks are shared."""

    def modules(self) -> Iterator[nn.Module]:
        """Every module inside."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Every parameter inside."""

    def train(self, mode: bool = True) -> Any:
        """Train, or not."""

    def eval(self) -> Any:
        """Train no more."""


def stated(network: Any, name: str, default: Any) -> Any:
    """What somebody's network says of itself: its attribute `name`, else `default`."""
    found = getattr(network, name, None)
    return default if found is None else found


def logits_of(values: Tensor, output: object, name: str) -> Tensor:
    """Logits (B, C), or log odds of the second class (B, 1), from what a network gives.

    Args:
        values: its outputs, (B, C) or (B, 1).
        output: what it says that they are, of OUTPUTS; anything else is no statement.
        name: of the network, for messages.

    Raises:
        SpeechXAIError: values that are not what it says.
    """
    if output == "score":
        raise SpeechXAIError(f"{name}: states output = 'score'. A backbone states 'logit' or 'probability' instead.")
    if output == "log-probability" and values.shape[-1] == 1:
        raise SpeechXAIError(
            f"{name}: states output = 'log-probability' and gives one column, which is no log odds. Give one for every"
            " class, or a probability and output = 'probability'."
        )
    if output != "probability":
        return values
    if values.min() < 0 or values.max() > 1:
        raise SpeechXAIError(
            f"{name} states output = 'probability' and gives values from {float(values.min()):.4g} to"
            f" {float(values.max()):.4g}."
        )
    tiny = torch.finfo(values.dtype).tiny
    logits = values.clamp(min=tiny).log()
    return logits if values.shape[-1] > 1 else logits - (1 - values).clamp(min=tiny).log()


def said(network: nn.Module | Network, logits: Tensor) -> Tensor:
    """What a network says, of its outputs (..., C): probabilities of its classes, or its score in its unit (..., 1)."""
    return logits if stated(network, "unit", "") else logits.softmax(-1)


NO_CLASSES = "this network gives {name} in {unit} and names no class"
"""Why what compares classes does not apply to a score."""


def of_classes(network: nn.Module | Network) -> None:
    """Raise NotApplicable where a network gives a score and no classes."""
    unit = stated(network, "unit", "")
    if unit:
        raise NotApplicable(NO_CLASSES.format(name=as_network(network).class_names[0], unit=unit) + ".")


def check_unit(unit: str, names: Sequence[str], who: object) -> None:
    """Raise SpeechXAIError, `who` first, unless there is a unit and one name, or none and at least two."""
    if unit and len(names) != 1:
        raise SpeechXAIError(
            f"{who}: a score in {unit} has one name. Got {len(names)} ({', '.join(map(str, names))}): give one name,"
            " or no unit for classes."
        )
    if not unit and len(names) < 2:
        raise SpeechXAIError(
            f"{who}: at least two classes are needed, or one score with its unit. Got {', '.join(map(str, names))}."
        )


def place_of(network: nn.Module | Network) -> torch.device:
    """Where a network lies. Of a function whose weights nobody sees that is the processor, or where its buffers are."""
    held = itertools.chain(network.parameters(), cast(nn.Module, network).buffers())
    return next((values.device for values in held), torch.device("cpu"))


def answered(logits: Tensor, who: object) -> Tensor:
    """Return logits as they are. Raises SpeechXAIError, `who` first, where they are no numbers: that is no class."""
    if not torch.isfinite(logits).all():
        raise SpeechXAIError(
            f"{who}: the network's answer is NaN or infinite, so there is none. Look at what it does with recordings of"
            " this length and level."
        )
    return logits


def check_names(names: Sequence[str], who: object) -> tuple[str, ...]:
    """Return the names of a network's outputs. Raises SpeechXAIError, `who` first, where two mean the same class."""
    keys = [class_key(str(name)) for name in names]
    if len(set(keys)) < len(keys):
        raise SpeechXAIError(
            f"{who}: two of its outputs have the same class name ({', '.join(map(str, names))}). Give every output a"
            " class of its own."
        )
    return tuple(str(name) for name in names)


def as_network(model: Any) -> Network:
    """Return `model` where it keeps the contract; anything else that maps (magnitude, phase) to logits is heard
    whole."""
    return cast(Network, model if hasattr(model, "segment_logits") else Whole(model))


class Whole(nn.Module):
    """The contract for a plain `forward(magnitude, phase) -> logits (B, C)`, which hears every recording whole."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.backbone = model
        self.stft: StftConfig = stated(model, "stft", StftConfig())
        self.segment = None
        self.class_names: tuple[str, ...] = stated(model, "class_names", CLASS_NAMES)
        self.unit = str(stated(model, "unit", ""))
        self.cam_layer: str | None = stated(model, "cam_layer", None)
        self.max_batch = int(stated(model, "max_batch", DEFAULT_MAX_BATCH))
        self.one_at_a_time = bool(stated(model, "one_at_a_time", False))
        self.training = bool(stated(model, "training", False))

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        """Magnitude and phase (B, F, T) to logits (B, C)."""
        values = self.backbone(magnitude, phase)
        if self.unit:
            return values  # type: ignore[no-any-return]
        return logits_of(values, stated(self.backbone, "output", None), "the network")

    def segment_logits(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        """The same: the recording is the one segment."""
        return self(magnitude, phase)  # type: ignore[no-any-return]

    def cut(self, values: Tensor) -> Tensor:
        """(B, F, T) to (B, 1, F, T)."""
        return values[:, None]

    def stitch(self, values: Tensor, n_frames: int) -> Tensor:
        """(B, 1, F, T) to (B, F, T)."""
        return values[:, 0]

    def cam_module(self) -> nn.Module:
        """Return the module that Grad-CAM reads. Raises NotApplicable where the network names none."""
        return cam_module(self.backbone, self.cam_layer)

    def attention_maps(self, magnitude: Tensor, phase: Tensor) -> Attention:
        """Attention of recordings (B, F, T). Raises NotApplicable where there is none to read."""
        return attention_maps(self.backbone, magnitude, phase)

    def for_length(self, n_samples: int) -> Whole:
        """Return itself."""
        return self


class Delegate(nn.Module):
    """A network around another one, which answers for all that this one does not say itself."""

    model: Network

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = as_network(model)
        self.training = self.model.training

    def __getattr__(self, name: str) -> Any:
        """Answer for the network inside: `max_batch`, `cut`, `stitch`, `cam_module` and so on."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("model"), name)


def cam_module(backbone: nn.Module, cam_layer: str | None) -> nn.Module:
    """Return the module `cam_layer` of a backbone.

    Raises:
        NotApplicable: there is no name.
        SpeechXAIError: there is no such module.
    """
    if cam_layer is None:
        raise NotApplicable("this network names no 'cam_layer', so Grad-CAM has no feature map to weight.")
    try:
        return backbone.get_submodule(cam_layer)
    except AttributeError as error:
        raise SpeechXAIError(f"The network has no layer '{cam_layer}' for Grad-CAM.") from error


def attention_maps(backbone: nn.Module, *heard: Any) -> Attention:
    """Attention of a backbone for what it hears. Raises NotApplicable where there is none to read."""
    read: Callable[..., Attention] | None = stated(backbone, "attention_maps", None)
    if read is None:
        raise NotApplicable(
            "this network has no attention layers that can be read, so there is nothing to roll out; use saliency or"
            " occlusion."
        )
    return read(*heard)


class WaveformDoor(nn.Module):
    """Lets a network `waveform (B, N) -> logits` be explained through its spectrogram.

    Args:
        network: any module that takes waveforms (B, N) at `stft.sample_rate`.
        stft: settings of the magnitude that is explained.
    """

    def __init__(self, network: nn.Module, stft: StftConfig) -> None:
        super().__init__()
        self.network = network
        self.stft = stft

    @property
    def output(self) -> str | None:
        """What the network says of its outputs."""
        return stated(self.network, "output", None)  # type: ignore[no-any-return]

    def forward(self, magnitude: Tensor, phase: Tensor, n_samples: int | None = None) -> Tensor:
        """(B, F, T) twice to logits (B, C), through the differentiable inverse STFT.

        Args:
            n_samples: length N of the recordings; without it the network hears zeros up to the last frame's center.
        """
        return self.network(inverse(magnitude, phase, self.stft, n_samples))  # type: ignore[no-any-return]


def class_order(names: tuple[str, ...]) -> tuple[int, ...] | None:
    """Positions of HC and PD among two names of outputs; None where the names do not say which is which.

    >>> class_order(("Parkinson's", "healthy control")), class_order(("LABEL_0", "LABEL_1"))
    ((1, 0), None)
    """
    keys = [class_key(name) for name in names]
    return (keys.index("HC"), keys.index("PD")) if sorted(keys) == ["HC", "PD"] else None


@dataclass(frozen=True)
class Compared:
    """How answers of a model are compared with labels of a data set: by the names of the classes.

    Args:
        names: of the classes, as labels and answers are counted: those of the data set, and then what else the model
            knows; those of the model where nothing can be compared.
        order: which of the model's outputs each of them is.
        refused: why nothing is scored against the labels, a sentence; "" where it is.
    """

    names: tuple[str, ...]
    order: tuple[int, ...]
    refused: str = ""

    def index(self, label: int | None) -> int | None:
        """Which of the model's outputs a label of the data set is; None where that is not known."""
        return None if label is None or self.refused else self.order[label]


def compared(data: Sequence[str], model: Sequence[str]) -> Compared:
    """Find every class of a data set among those of a model, by name, in any order and spelling.

    >>> compared(("HC", "PD"), ("parkinson", "MSA", "control"))
    Compared(names=('HC', 'PD', 'MSA'), order=(2, 0, 1), refused='')
    >>> compared(("healthy", "pathological"), ("HC", "PD")).refused.partition(":")[0]
    'The data say healthy/pathological, the model says HC/PD'

    Args:
        data: names of the data set's classes, by label.
        model: names of the model's classes, by output.
    """
    wanted, there = [class_key(name) for name in data], [class_key(name) for name in model]
    if len(set(there)) == len(there) and set(wanted) <= set(there):
        first = tuple(there.index(key) for key in wanted)
        rest = tuple(index for index in range(len(model)) if index not in first)
        return Compared((*data, *(model[index] for index in rest)), first + rest)
    return Compared(
        tuple(model),
        tuple(range(len(model))),
        f"The data say {'/'.join(data)}, the model says {'/'.join(model)}: nothing is scored against the labels;"
        " explanations are.",
    )


def uncompiled(network: Any) -> Any:
    """Return a network as it was before `torch.compile`: same weights and answers, and an inside that can be seen."""
    network = stated(network, "_orig_mod", network)
    if not isinstance(network, nn.Module):
        return stated(network, "_torchdynamo_orig_callable", network)
    for module in network.modules():
        if module._compiled_call_impl is not None:
            module._compiled_call_impl = None
        for name, child in module.named_children():
            if hasattr(child, "_orig_mod"):
                setattr(module, name, child._orig_mod)
    return network


def is_scripted(network: nn.Module | Network) -> bool:
    """Whether a part of a network is a ScriptModule, whose functions nobody sees from outside."""
    return any(isinstance(module, torch.jit.ScriptModule) for module in network.modules())


# One trial of somebody else's network.
@dataclass(frozen=True)
class NetworkReport:
    """What a network did when it was tried once.

    Args:
        problem: one sentence where it cannot be used; "" where it can.
        notes: what works less well with it.
        n_outputs: columns of its output.
        differentiable: whether its answer has a gradient in the magnitude.
    """

    problem: str = ""
    notes: tuple[str, ...] = ()
    n_outputs: int = 0
    differentiable: bool = True

    def table(self) -> dict[str, Any]:
        """Return what a bundle's `[check]` holds."""
        return {"outputs": self.n_outputs, "differentiable": self.differentiable, "notes": list(self.notes)}

    def required(self, name: str) -> NetworkReport:
        """Return itself. Raises SpeechXAIError, `name` first, where there is a problem."""
        if self.problem:
            raise SpeechXAIError(f"{name}: {self.problem}")
        return self


class _Problem(Exception):
    """The sentence that ends a check."""


_NICE_S = (0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0)
_PASS_THROUGH = re.compile(
    "(View|UnsafeView|Reshape|Slice|Select|Index|Cat|Stack|Squeeze|Unsqueeze|Expand|Permute|Transpose|T|Alias|Clone|ToCopy"
    "|Float)Backward"
)


def check(network: nn.Module) -> NetworkReport:
    """Try a network on made voices: about eight passes over four of them, 1 s to 1.5 s long.

    Tried are: float32, any length, shape and number of outputs, finite, two calls alike, no row depends on another,
    logits and not probabilities, and the gradient. Nothing is changed, the random numbers of others included.

    Args:
        network: in evaluation mode, see `Network`.
    """
    tried = as_network(network)
    notes: list[str] = []
    with torch.random.fork_rng(), torch.inference_mode(False), torch.no_grad():
        try:
            _check_precision(tried)
            first, second = _check_lengths(tried, notes)
            _check_shape(tried, first)
            _check_twice(tried, first)
            _check_rows(tried, first)
            differentiable = _has_gradient(tried, first, notes)
            _check_output(tried, first, second, differentiable)
        except _Problem as problem:
            return NetworkReport(str(problem))
    if is_scripted(tried):
        notes.append(
            "it is a ScriptModule, whose functions cannot be seen: guided_backprop, guided_gradcam and deep_lift do not"
            " apply; load the nn.Module it was made from to have them"
        )
    return NetworkReport("", tuple(notes), first.raw.shape[1], differentiable)


class _Trial(NamedTuple):
    """Waveforms (B, N), what the backbone gave (S, C), and the network's logits (B, C)."""

    waveforms: Tensor
    raw: Tensor
    logits: Tensor


def _voices(n_samples: int, stft: StftConfig) -> Tensor:
    """Four made sounds (4, N): two buzzing voices, loud noise, and a whisper of noise."""
    time = torch.arange(n_samples) / stft.sample_rate
    random = torch.Generator().manual_seed(0)
    noise = torch.randn(4, n_samples, generator=random) * torch.tensor([[0.002], [0.02], [0.3], [0.001]])
    for row, f0_hz, level in ((0, 110.0, 0.5), (1, 210.0, 0.1)):
        for harmonic in range(1, 9):
            noise[row] += level / harmonic * torch.sin(2 * math.pi * f0_hz * harmonic * time)
    return noise.clamp(-1, 1)


@contextmanager
def _tapped(backbone: Any) -> Iterator[list[Any]]:
    """Collect what a backbone gives."""
    found: list[Any] = []
    if not isinstance(backbone, nn.Module):
        yield found
        return
    handle = backbone.register_forward_hook(lambda module, inputs, output: found.append(output))
    try:
        yield found
    finally:
        handle.remove()


def _try(network: Network, waveforms: Tensor) -> _Trial:
    spec = spectrogram(waveforms.to(place_of(network)), network.stft)
    with _tapped(network.backbone) as raw:
        logits = network.for_length(spec.n_samples)(spec.magnitude, spec.phase)
    return _Trial(waveforms, torch.cat(raw) if raw else logits, logits)


def _check_precision(network: Network) -> None:
    kinds = {p.dtype for p in network.parameters() if p.is_floating_point()} - {torch.float32}
    if kinds:
        kind = str(next(iter(kinds))).removeprefix("torch.")
        raise _Problem(f"its weights are {kind}, and float32 is heard: call .float() on it before you return it.")


def _check_lengths(network: Network, notes: list[str]) -> tuple[_Trial, _Trial]:
    """Try two lengths, neither of them whole hops."""
    rate = network.stft.sample_rate
    lengths = (rate, round(1.5 * rate) + 7)
    done: dict[int, _Trial] = {}
    reason = ""
    for n_samples in lengths:
        try:
            done[n_samples] = _try(network, _voices(n_samples, network.stft))
        except SpeechXAIError as error:
            raise _Problem(f"{error}") from error
        except Exception as error:  # the code of others may raise anything
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    if len(done) == 2:
        return done[lengths[0]], done[lengths[1]]
    hints = [int(number) for number in re.findall(r"\d{2,7}", reason)]
    for n_samples in dict.fromkeys([*done, *hints, *(round(s * rate) for s in _NICE_S)]):
        if not 0 < n_samples <= 60 * rate or not _takes(network, n_samples):
            continue
        if _takes(network, round(1.37 * n_samples)):
            notes.append(f"it takes no recordings as short as {lengths[0] / rate:g} s, but {n_samples / rate:g} s")
            voices = (_voices(n, network.stft) for n in (n_samples, round(1.37 * n_samples)))
            first, second = (_try(network, each) for each in voices)
            return first, second
        raise _Problem(
            f"it takes recordings of {n_samples} samples ({n_samples / rate:g} s) alone, no others ({reason})."
            f" {_advice(network, n_samples)}"
        )
    raise _Problem(f"it fails on made voices of {lengths[0] / rate:g} s and {lengths[1] / rate:.2f} s ({reason}).")


def answers_to_made_voices(network: Network) -> Tensor | None:
    """Logits (4, C) for four made sounds of a length that a network takes, in evaluation; None where it takes none."""
    was = network.training
    network.eval()
    try:
        with torch.no_grad():
            for seconds in (2.3, *_NICE_S):
                n_samples = round(seconds * network.stft.sample_rate)
                if _takes(network, n_samples):
                    return _try(network, _voices(n_samples, network.stft)).logits.cpu()
    finally:
        network.train(was)
    return None


def _takes(network: Network, n_samples: int) -> bool:
    try:
        _try(network, _voices(n_samples, network.stft))
    except Exception:  # the code of others may raise anything
        return False
    return True


def _advice(network: Network, n_samples: int) -> str:
    """Say which segments a network of one length needs: L frames span (L - 1) hops of samples."""
    stft = network.stft
    hop, also = stft.hop_length, ""
    if isinstance(network.backbone, WaveformDoor) and n_samples % hop:
        hop = max(h for h in range(1, hop + 1) if n_samples % h == 0)
        also = f" and `stft = StftConfig(hop_length={hop}, sample_rate={stft.sample_rate})`"
    seconds = (-(-n_samples // hop) + 1) * hop / stft.sample_rate
    return (
        "Let it state how longer and shorter ones are heard:"
        f" `segment = SegmentConfig({seconds:.6g}, {seconds / 2:.6g}, 'pad')`{also}."
    )


def other_number(n_outputs: int, names: Sequence[str]) -> str:
    """Say that a network has another number of outputs than names."""
    return (
        f"it gives {n_outputs} outputs and has {len(names)} class names ({', '.join(names)}): let it state"
        " `class_names`, one name for each output."
    )


def _check_shape(network: Network, trial: _Trial) -> None:
    raw, names = trial.raw, network.class_names
    if raw.ndim != 2 or raw.shape[1] < 1 or len(raw) < len(trial.waveforms):
        raise _Problem(f"it must return logits (B, C) for B recordings. Got shape {tuple(raw.shape)} for 4 recordings.")
    if raw.dtype != torch.float32:
        raise _Problem(f"its outputs are {str(raw.dtype).removeprefix('torch.')}, and float32 is expected.")
    if network.unit and raw.shape[1] != 1:
        raise _Problem(f"it states a score in {network.unit}, which is one column. Got {raw.shape[1]} columns.")
    if not network.unit and (2 if raw.shape[1] == 1 else raw.shape[1]) != len(names):
        raise _Problem(other_number(raw.shape[1], names))
    if not torch.isfinite(raw).all():
        raise _Problem("its outputs are NaN or infinite for ordinary recordings.")


def _differ(a: Tensor, b: Tensor, share: float) -> bool:
    return not torch.allclose(a, b, rtol=share, atol=share * max(1.0, float(a.abs().max())))


def _check_twice(network: Network, trial: _Trial) -> None:
    again = _try(network, trial.waveforms)
    if _differ(trial.logits, again.logits, 1e-5):
        raise _Problem(
            "two calls with the same recording differ: dropout or another random part is on. Call eval() on what you"
            " return, and give F.dropout `training=self.training`."
        )


def _check_rows(network: Network, trial: _Trial) -> None:
    try:
        alone = torch.cat([_try(network, waveform[None]).logits for waveform in trial.waveforms])
    except Exception as error:  # the code of others may raise anything
        raise _Problem(f"it fails on a single recording ({type(error).__name__}: {error}).") from error
    if _differ(trial.logits, alone, 1e-3):
        raise _Problem(
            "the answer for a recording depends on the others of its batch (batch normalization left in training, or a"
            " mean over the batch): call eval() on what you return."
        )


def _has_gradient(network: Network, trial: _Trial, notes: list[str]) -> bool:
    try:
        with torch.enable_grad():
            spec = spectrogram(trial.waveforms[:1].to(trial.logits.device), network.stft)
            magnitude = spec.magnitude.requires_grad_()
            score = network.for_length(spec.n_samples)(magnitude, spec.phase).square().sum()
            found = score.requires_grad and torch.autograd.grad(score, magnitude)[0].abs().sum() > 0
    except Exception:  # the code of others may raise anything; without a gradient it is of use all the same
        found = False
    if not found:
        notes.append("its answer has no gradient in the spectrogram: methods that need one do not apply")
    return bool(found)


def _check_output(network: Network, first: _Trial, second: _Trial, differentiable: bool) -> None:
    """Refuse what looks like probabilities, unless the network says what its outputs are."""
    states = stated(network.backbone, "output", None)
    if isinstance(states, str):
        if states not in OUTPUTS:
            raise _Problem(f"its `output` must be one of {', '.join(OUTPUTS)}. Got {states!r}.")
        return
    if network.unit:
        return
    values = torch.cat([first.raw, second.raw])
    end = "return the logits before it, or let the network state `output = {!r}` (or 'logit', if they are)."
    if values.shape[1] > 1 and (values <= 0).all() and values.logsumexp(dim=1).abs().max() < 1e-4:
        raise _Problem(f"its outputs are log-probabilities (log-softmax): {end.format('log-probability')}")
    if values.min() < 0:
        return
    sums, is_share = values.sum(dim=1), bool(values.max() <= 1)
    if values.shape[1] > 1 and any((sums / one - 1).abs().max() < 1e-4 for one in (1, 100)):
        raise _Problem(f"its outputs look like probabilities (softmax), not logits: {end.format('probability')}")
    # A softmax or sigmoid stays one when it is scaled, to percent for instance, or moved.
    last = _last_function(network, first, scaled=True) if differentiable else ""
    if last.startswith(("Sigmoid", "Softmax")) or (is_share and not last and values.shape[1] == 1):
        raise _Problem(f"its outputs look like probabilities (sigmoid), not logits: {end.format('probability')}")


_LINEAR = re.compile("(Addmm|Mm|Bmm|Convolution|MkldnnConvolution)Backward")


def kind_of_score(network: nn.Module, name: str) -> str:
    """Whether the one column of a network is a "logit" or a "probability" of the second class.

    It is a logit where made voices are given values outside 0 to 1, or where its last function is linear; a probability
    where that is a sigmoid.

    Raises:
        SpeechXAIError: another number of columns, values that may be either, or a network that takes no made voice.
    """
    tried = as_network(network)
    advice = "Let it state output = 'logit' or output = 'probability'."
    with torch.random.fork_rng(), torch.inference_mode(False), torch.no_grad():
        lengths = (round(seconds * tried.stft.sample_rate) for seconds in (2.3, *_NICE_S))
        n_samples = next((n for n in lengths if _takes(tried, n)), None)
        if n_samples is None:
            raise SpeechXAIError(f"{name}: it takes no made voice, so nobody sees what its score is. {advice}")
        trial = _try(tried, _voices(n_samples, tried.stft))
        if trial.raw.ndim != 2 or trial.raw.shape[1] != 1:
            raise SpeechXAIError(
                f"{name}: states output = 'score', which is one column, and gives {tuple(trial.raw.shape)} for 4"
                " recordings."
            )
        if trial.raw.min() < 0 or trial.raw.max() > 1:
            return "logit"
        try:
            last = _last_function(tried, trial)
        except Exception:  # the code of others may raise anything; its values are left
            last = ""
    if _LINEAR.match(last):
        return "logit"
    if last.startswith("Sigmoid"):
        return "probability"
    raise SpeechXAIError(f"{name}: nobody sees whether its score is a logit or a probability. {advice}")


_AFFINE = re.compile("(Mul|Div|Add|Sub|Rsub|Neg)Backward")


def _last_function(network: Network, trial: _Trial, scaled: bool = False) -> str:
    """Name of the last function of a network that computes, by its graph, with `scaled` before it is multiplied by and
    added to constants; "" where there is none."""
    with torch.enable_grad(), _tapped(network.backbone) as raw:
        spec = spectrogram(trial.waveforms[:1].to(trial.logits.device), network.stft)
        network.for_length(spec.n_samples)(spec.magnitude.requires_grad_(), spec.phase)
        node = raw[0].grad_fn if raw else None
        while node is not None:
            inputs = [edge[0] for edge in node.next_functions if edge[0] is not None]
            one = len(inputs) == 1 and scaled and _AFFINE.match(node.name())
            if not inputs or not (one or _PASS_THROUGH.match(node.name())):
                break
            node = inputs[0]
        return "" if node is None else str(node.name())
