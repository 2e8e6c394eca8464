"""Methods of captum by name, as recipes such as "captum:KernelShap" (kokhlikyan2020captum).

Everywhere the explained quantity is the logit of the target class, the boundary is the magnitude, silence is 0, and a
recording is explained by itself: nothing of it depends on the rest of the batch. What captum computes wrongly without a
word on a network is refused with the reason. Options are ours where names differ: patches in milliseconds and Hz.
"""

from __future__ import annotations

import copy
import importlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from speechxai.classifiers.network import as_network
from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.explain.backprop import refuse_vanished
from speechxai.explain.gradient import Baseline, baseline_magnitude
from speechxai.explain.passes import (
    METHODS,
    NOT_DIFFERENTIABLE,
    check_target,
    n_segments,
    network_of,
    original_passes,
    plain,
    quiet,
    recordings_at_once,
    refuse_unreadable,
    require_at_least,
    target_logit,
    unwrap,
)
from speechxai.explain.rectifiers import RectifierMode, Rule
from speechxai.registry import Registry
from speechxai.types import Spectrogram

N_PASSES = 500
"""Forward passes that sampling methods take at most unless told otherwise: seconds with a small network."""
MAX_PASSES = 20_000
"""More forward passes than this are refused: hours without a word."""
MAX_ORDERED = 7
"""Patches whose every order `captum:ShapleyValues` tries; 7 make 5040 orders."""
TOLERANCE = 0.01
"""Share of the logit's difference by which the sum of a DeepLift map may be wrong."""

_WRAPS = "it wraps another method"
_INNER = "its map belongs to an inner layer and has no frequency or time axis of the recording"
_ONE_UNIT = "it explains one inner unit, not the answer; a recipe explains the logit of a class"
_TEXT = "it is for language models"

REFUSED = {
    "DataLoaderAttribution": f"{_WRAPS} and adds up a whole data set",
    "FeaturePermutation": "it exchanges patches between the recordings of a batch, and every recording is explained by"
    " itself here; use captum:FeatureAblation",
    "LimeBase": "it is the frame that captum:Lime and captum:KernelShap fill",
    "ImageMaskInput": "it prepares inputs",
    **dict.fromkeys(("LLMAttribution", "LLMGradientAttribution", "RemoteLLMAttribution"), _TEXT),
    **dict.fromkeys(
        (
            *("InternalInfluence", "LayerActivation", "LayerConductance", "LayerDeepLift", "LayerDeepLiftShap"),
            *("LayerFeatureAblation", "LayerFeaturePermutation", "LayerGradientShap", "LayerGradientXActivation"),
            *("LayerIntegratedGradients", "LayerLRP"),
        ),
        f"{_INNER}; captum:LayerGradCam is laid back onto the recording",
    ),
    **dict.fromkeys(
        (
            *("NeuronConductance", "NeuronDeconvolution", "NeuronDeepLift", "NeuronDeepLiftShap"),
            *("NeuronFeatureAblation", "NeuronGradient", "NeuronGradientShap", "NeuronGuidedBackprop"),
            "NeuronIntegratedGradients",
        ),
        _ONE_UNIT,
    ),
}
"""Names of captum that are no recipe, and why."""

CAPTUM: Registry[Any] = Registry(
    "captum method",
    required=("signed", "stochastic", "cites"),
    refused={f"captum:{name}": reason for name, reason in REFUSED.items()},
)
"""Methods of captum, `(model, spec, target, *, options) -> (B, F, T)`; facts as in METHODS."""
METHODS.adopt(CAPTUM, "captum")


def captum_names() -> list[str]:
    """Return the recipes that captum brings, such as "captum:Lime"."""
    return list(CAPTUM)


def _method(**facts: Any) -> Callable[[Any], Any]:
    def add(function: Any) -> Any:
        function.__name__ = f"captum:{function.__name__}"
        return CAPTUM.register(**facts)(function)

    return add


class _Heard(nn.Module):
    """The network as captum calls it: batches of any size, no magnitude below silence, one recording's phase repeated.

    Noise may make magnitudes negative, whose logarithm a network on mel bands cannot take.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.training = False

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        logits: Tensor = self.network(magnitude.clamp(min=0), phase.expand_as(magnitude))
        return logits


def _by_recording(model: nn.Module, spec: Spectrogram, target: Tensor, one: Callable[..., Tensor]) -> Tensor:
    """Maps (B, F, T) of `one(network, magnitude (1, F, T), phase, class) -> (1, F, T)` for every recording by itself.

    Raises:
        NotApplicable: captum cannot explain this network; the message has captum's reason.
    """
    check_target(spec, target)
    network = cast(nn.Module, network_of(model, spec))
    found = []
    for index in range(len(spec)):
        magnitude, phase = plain(spec.magnitude[index : index + 1]), plain(spec.phase[index : index + 1])
        with quiet(network), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with torch.no_grad():
                logits = network(magnitude, phase)
                target_logit(logits, target[index : index + 1])
            try:
                values = one(_Heard(network), magnitude, phase, int(target[index]))
            except (SpeechXAIError, torch.OutOfMemoryError):
                raise
            except (AssertionError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
                raise NotApplicable(_reason(error)) from error
        found.append(values.detach().to(spec.magnitude.dtype))
    return torch.cat(found)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "does not require grad" in text or "have been used in the graph" in text:
        return NOT_DIFFERENTIABLE
    if "no rule defined" in text:
        layer = text.partition("<class '")[2].partition("'")[0].rpartition(".")[2]
        return f"captum's LRP has no rule for the layer {layer} of this network; use deep_lift or integrated_gradients."
    if "being used more than once" in text:
        return (
            "captum's DeepLift needs a module for every use of an activation, and this network uses one twice; use"
            " deep_lift."
        )
    return f"captum cannot explain this network: {type(error).__name__}: {text[:300]}"


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Captum draws from the global random numbers of torch and numpy: give it ours and put theirs back."""
    import numpy as np

    state = np.random.get_state()
    with torch.random.fork_rng([device.index or 0] if device.type == "cuda" else []):
        torch.manual_seed(seed % 2**63)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            np.random.set_state(state)


def _captum(name: str) -> Any:
    return getattr(importlib.import_module("captum.attr"), name)


def _whole(network: nn.Module, magnitude: Tensor, n_copies: int, ours: str) -> None:
    """Refuse where the network hears the recording in more than one pass: captum's hooks follow one pass alone."""
    needed, size = n_copies * n_segments(network, magnitude), as_network(network).max_batch
    if size < needed:
        raise NotApplicable(
            f"captum needs {needed} segments in one pass and this network takes {size} (max_batch); raise max_batch, or"
            f" use {ours}."
        )


def _only_relu_modules(heard: nn.Module, magnitude: Tensor, phase: Tensor, ours: str) -> None:
    """Refuse networks with rectifiers that captum does not see, where its rule would be the plain gradient in part."""
    called = [0]

    def seen(*_: Any) -> None:
        called[0] += 1

    handles = [m.register_forward_hook(seen) for m in heard.modules() if isinstance(m, nn.ReLU)]
    rule = Rule()
    try:
        with RectifierMode(rule):  # which counts where gradients are followed alone
            # The network itself: the clamp that stands before it is a rectifier as well, and hands nothing on.
            logits = heard.network(magnitude.clone().requires_grad_(), phase)  # type: ignore[operator]
    finally:
        for handle in handles:
            handle.remove()
    refuse_unreadable(rule, logits, "captum")
    if rule.n_rectifiers != called[0] or not called[0]:
        others = rule.n_rectifiers - called[0]
        has = (
            f"has {others} rectifiers that are no nn.ReLU (functional ones, GELU, ...)" if others else "has no nn.ReLU"
        )
        raise NotApplicable(f"this network {has}, where captum follows the plain gradient without a word; use {ours}.")


def _private(heard: nn.Module) -> nn.Module:
    """Copy of the network: captum hangs rules and hooks on layers and changes weights meanwhile."""
    return copy.deepcopy(heard)


def _baseline(magnitude: Tensor, phase: Tensor, spec: Spectrogram, baseline: Baseline) -> Tensor:
    return plain(baseline_magnitude(Spectrogram(magnitude, phase, spec.n_samples, spec.stft), baseline)).clone()


# Gradients.
@_method(signed=False, stochastic=False, cites="simonyan2014deep", gradient=True)
def Saliency(model: nn.Module, spec: Spectrogram, target: Tensor) -> Tensor:
    """Size of the logit's gradient, (B, F, T): captum takes absolute values unless told otherwise, and so do we."""

    def one(heard: nn.Module, x: Tensor, phase: Tensor, c: int) -> Tensor:
        return _captum("Saliency")(heard).attribute(  # type: ignore[no-any-return]
            x, c, abs=True, additional_forward_args=(phase,)
        )

    return _by_recording(model, spec, target, one)


@_method(signed=True, stochastic=False, cites="shrikumar2017learning", gradient=True)
def InputXGradient(model: nn.Module, spec: Spectrogram, target: Tensor) -> Tensor:
    """Magnitude times the logit's gradient, (B, F, T)."""

    def one(heard: nn.Module, x: Tensor, phase: Tensor, c: int) -> Tensor:
        return _captum("InputXGradient")(heard).attribute(  # type: ignore[no-any-return]
            x, c, additional_forward_args=(phase,)
        )

    return _by_recording(model, spec, target, one)


@_method(signed=True, stochastic=False, cites="sundararajan2017axiomatic", gradient=True)
def IntegratedGradients(
    model: nn.Module,
    spec: Spectrogram,
    target: Tensor,
    *,
    n_steps: int = 50,
    method: str = "gausslegendre",
    baseline: Baseline = "silence",
) -> Tensor:
    """Gradient along the straight way from the baseline, (B, F, T).

    Args:
        n_steps: points on the way.
        method: "gausslegendre", "riemann_right", "riemann_left", "riemann_middle" or "riemann_trapezoid".
        baseline: see `baseline_magnitude`.
    """
    require_at_least("n_steps", n_steps, 1, "captum:IntegratedGradients")

    def one(heard: nn.Module, x: Tensor, phase: Tensor, c: int) -> Tensor:
        return _captum("IntegratedGradients")(heard).attribute(  # type: ignore[no-any-return]
            x,
            _baseline(x, phase, spec, baseline),
            c,
            additional_forward_args=(phase,),
            n_steps=n_steps,
            method=method,
            internal_batch_size=recordings_at_once(unwrap(model), x),
        )

    return _by_recording(model, spec, target, one)


@_method(signed=True, stochastic=True, cites="lundberg2017unified", gradient=True)
def GradientShap(
    model: nn.Module,
    spec: Spectrogram,
    target: Tensor,
    *,
    n_samples: int = 20,
    stdevs: float = 0.0,
    baseline: Baseline = "silence",
    seed: int = 0,
) -> Tensor:
    """Gradient at random points between the baseline and the recording, times the difference of the two, (B, F, T).

    Args:
        n_samples: points; as many at once as the network takes, since captum itself takes all of them in one batch.
        stdevs: standard deviation of noise added to the recording, in units of the magnitude.
        baseline: see `baseline_magnitude`.
        seed: the same draws for every recording.
    """
    require_at_least("n_samples", n_samples, 1, "captum:GradientShap")

    def one(heard: nn.Module, x: Tensor, phase: Tensor, c: int) -> Tensor:
        origin, explainer = _baseline(x, phase, spec, baseline), _captum("GradientShap")(heard)
        size, total = recordings_at_once(unwrap(model), x), torch.zeros_like(x)
        with _seeded(seed, x.device):
            for first in range(0, n_samples, size):
                n = min(size, n_samples - first)
                total += (
                    n
                    * explainer.attribute(
                        x, origin, n, stdevs=stdevs, target=c, additional_forward_args=(phase,)
                    ).detach()
                )
        return total / n_samples

    return _by_recording(model, spec, target, one)


@_method(signed=True, stochastic=True, cites="smilkov2017smoothgrad", gradient=True)
def NoiseTunnel(
    model: nn.Module,
    spec: Spectrogram,
    target: Tensor,
    *,
    of: Literal["Saliency", "InputXGradient"] = "Saliency",
    nt_type: Literal["smoothgrad", "smoothgrad_sq", "vargrad"] = "smoothgrad",
    nt_samples: int = 20,
    stdevs: float | None = None,
    seed: int = 0,
) -> Tensor:
    """Mean, mean square or variance over noisy copies of the signed gradient, or of magnitude times it, (B, F, T).

    Args:
        of: what is averaged; the gradient of "Saliency" keeps its sign here.
        nt_type: "smoothgrad" is the mean, "smoothgrad_sq" the mean square, "vargrad" the variance.
        nt_samples: noisy copies.
        stdevs: standard deviation of the noise in units of the magnitude; None is .15 of the recording's range.
        seed: the same noise for every recording.
    """
    require_at_least("nt_samples", nt_samples, 1, "captum:NoiseTunnel")
    if of not in ("Saliency", "InputXGradient"):
        raise SpeechXAIError(
            f"The 'of' parameter of captum:NoiseTunnel must be 'Saliency' or 'InputXGradient'. Got {of!r} instead."
        )

    def one(heard: nn.Module, x: Tensor, phase: Tensor, c: int) -> Tensor:
        spread = 0.15 * float(x.max() - x.min()) if stdevs is None else stdevs
        more = {"abs": False} if of == "Saliency" else {}
        with _seeded(seed, x.device):
            return _captum("NoiseTunnel")(_captum(of)(heard)).attribute(  # type: ignore[no-any-return]
                x,
                nt_type=nt_type,
                nt_samples=nt_samples,
                nt_samples_batch_size=min(nt_samples, recordings_at_once(unwrap(model), x)),
                stdevs=spread,
                target=c,
                additional_forward_args=(phase,),
                **more,
            )

    return _by_recording(model, spec, target, one)


# Rules for layers.
def _rectified(name: str, ours: str, model: nn.Module, spec: Spectrogram, target: Tensor) -> Tensor:
    def one(heard: nn.Module, x: Tensor, phase: Tensor, c: int) -> Tensor:
        _whole(unwrap(model), x, 1, ours)
        _only_relu_modules(heard, x, phase, ours)
        return _captum(name)(_private(heard)).attribute(  # type: ignore[no-any-return]
            x, c, additional_forward_args=(phase,)
        )

    return _by_recording(model, spec, target, one)


@_method(signed=True, stochastic=False, cites="springenberg2015striving", gradient=True)
def GuidedBackprop(model: nn.Module, spec: Spectrogram, target: Tensor) -> Tensor:
    """Gradient without what rectifiers hand back negative, (B, F, T); for networks whose every rectifier is an nn.ReLU.

    Raises:
        NotApplicable: functional rectifiers, GELU and the like, where captum's map is the plain gradient.
    """
    return _rectified("GuidedBackprop", "guided_backprop", model, spec, target)


@_method(signed=True, stochastic=False, cites="zeiler2014visualizing", gradient=True)
def Deconvolution(model: nn.Module, spec: Spectrogram, target: Tensor) -> Tensor:
    """Gradient whose negative part is dropped at every rectifier, whatever its input was, (B, F, T).

    Raises:
        NotApplicable: rectifiers that are no nn.ReLU, where captum's map is the plain gradient.
    """
    return _rectified("Deconvolution", "guided_backprop", model, spec, target)


@_method(signed=True, stochastic=False, cites="shrikumar2017learning", gradient=True)
def DeepLift(model: nn.Module, spec: Spectrogram, target: Tensor, *, baseline: Baseline = "silence") -> Tensor:
    """Difference of the logit to the baseline's, shared out by the rescale rule, (B, F, T).

    Raises:
        NotApplicable: a nonlinearity that is no module of its own (a functional rectifier, the logarithm of mel bands),
            which captum passes by its gradient without a word: the map's sum then misses the difference of logits.
    """

    def one(heard: nn.Module, x: Tensor, phase: Tensor, c: int) -> Tensor:
        return _lifted("DeepLift", heard, x, _baseline(x, phase, spec, baseline), phase, c)

    return _by_recording(model, spec, target, one)


@_method(signed=True, stochastic=False, cites="lundberg2017unified", gradient=True)
def DeepLiftShap(model: nn.Module, spec: Spectrogram, target: Tensor) -> Tensor:
    """Mean of DeepLift over two baselines, silence and the recording's own floor, (B, F, T). Refused as DeepLift is."""

    def one(heard: nn.Module, x: Tensor, phase: Tensor, c: int) -> Tensor:
        origins = torch.cat([torch.zeros_like(x), _baseline(x, phase, spec, "floor")])
        return _lifted("DeepLiftShap", heard, x, origins, phase, c)

    return _by_recording(model, spec, target, one)


def _lifted(name: str, heard: nn.Module, x: Tensor, origins: Tensor, phase: Tensor, c: int) -> Tensor:
    _whole(heard.network, x, 2 * len(origins), "deep_lift")  # type: ignore[arg-type]
    values: Tensor = _captum(name)(_private(heard)).attribute(x, origins, c, additional_forward_args=(phase,))
    with torch.no_grad():
        differences = heard(x, phase)[:, c] - torch.cat([heard(origin[None], phase)[:, c] for origin in origins])
    difference, total = float(differences.mean()), float(values.detach().sum())
    if abs(total - difference) > TOLERANCE * float(differences.abs().max()) + 1e-5:
        raise NotApplicable(
            f"captum's map adds up to {total:.3g} where the logit differs by {difference:.3g}: the network has a"
            " nonlinearity that is no module of its own, which captum passes by its gradient; use deep_lift."
        )
    return values


@_method(signed=True, stochastic=False, cites="bach2015pixel", gradient=True)
def LRP(model: nn.Module, spec: Spectrogram, target: Tensor) -> Tensor:
    """Layer-wise relevance by captum's own rule for every layer (epsilon), down to the magnitude, (B, F, T).

    Raises:
        NotApplicable: a layer without a rule (Flatten, Conv1d, GELU, LayerNorm, LSTM, mel bands, ...), or a rectifier
            that is no module.
    """

    def one(heard: nn.Module, x: Tensor, phase: Tensor, c: int) -> Tensor:
        _whole(unwrap(model), x, 1, "deep_lift")
        _only_relu_modules(heard, x, phase, "deep_lift")
        return _captum("LRP")(_private(heard)).attribute(  # type: ignore[no-any-return]
            x, c, additional_forward_args=(phase,)
        )

    return _by_recording(model, spec, target, one)


class _Image(nn.Module):
    """The network for an image (1, 1, F, T): captum's Grad-CAM resizes to the axes after batch and channel."""

    def __init__(self, heard: nn.Module) -> None:
        super().__init__()
        self.heard = heard
        self.training = False

    def forward(self, image: Tensor, phase: Tensor) -> Tensor:
        return self.heard(image[:, 0], phase)  # type: ignore[no-any-return]


def _cam_layer(network: nn.Module) -> nn.Module:
    return as_network(network).cam_module()


def _not_rounding(model: nn.Module, spec: Spectrogram, target: Tensor, values: Tensor) -> Tensor:
    """Return `values`. Raises NotApplicable where the weights of Grad-CAM that they were made with are rounding."""
    for part, shared in original_passes(model, spec):
        refuse_vanished(shared.model, shared.cam(target[part])[1])
    return values


@_method(signed=False, stochastic=False, cites="selvaraju2017grad", gradient=True)
def LayerGradCam(model: nn.Module, spec: Spectrogram, target: Tensor) -> Tensor:
    """Grad-CAM of the network's `cam_layer`, positive part, laid back onto the recording (bilinear), (B, F, T).

    Raises:
        NotApplicable: a network without a `cam_layer`, one whose layer has no frequency axis, or weights that are
            nothing but rounding.
    """

    def one(heard: nn.Module, x: Tensor, phase: Tensor, c: int) -> Tensor:
        network = unwrap(model)
        _whole(network, x, 1, "gradcam")
        cam: Tensor = _captum("LayerGradCam")(heard, _cam_layer(network)).attribute(
            x, c, additional_forward_args=(phase,), relu_attributions=True
        )
        if cam.ndim != 4:
            raise NotApplicable("the 'cam_layer' of this network has no frequency axis; use gradcam.")
        size = tuple(as_network(network).cut(x).shape[-2:])
        large = nn.functional.interpolate(cam.detach(), size=size, mode="bilinear", align_corners=False)
        return as_network(network).stitch(large[:, 0][None], x.shape[-1])

    return _not_rounding(model, spec, target, _by_recording(model, spec, target, one))


@_method(signed=True, stochastic=False, cites="selvaraju2017grad", gradient=True)
def GuidedGradCam(model: nn.Module, spec: Spectrogram, target: Tensor) -> Tensor:
    """Guided backpropagation times Grad-CAM of the `cam_layer`, resized by nearest neighbors as captum does, (B, F, T).

    Raises:
        NotApplicable: what GuidedBackprop and LayerGradCam refuse, or a recording that is heard in several segments.
    """

    def one(heard: nn.Module, x: Tensor, phase: Tensor, c: int) -> Tensor:
        network = unwrap(model)
        layer = _cam_layer(network)
        if n_segments(network, x) > 1:
            raise NotApplicable(
                "this recording is heard in several segments, whose Grad-CAM captum cannot lay onto one time axis; use"
                " guided_gradcam."
            )
        _only_relu_modules(heard, x, phase, "guided_gradcam")
        shapes: list[int] = []
        handle = layer.register_forward_hook(lambda m, i, out: shapes.append(getattr(out, "ndim", 0)))
        try:
            with torch.no_grad():
                heard(x, phase)
        finally:
            handle.remove()
        if shapes != [4]:
            raise NotApplicable(
                "the 'cam_layer' of this network has no frequency axis (a network on waveforms), where captum returns"
                " an empty map or a wrong one; use guided_gradcam."
            )
        view = _Image(heard)
        values: Tensor = _captum("GuidedGradCam")(view, layer).attribute(
            x[:, None], c, additional_forward_args=(phase,)
        )
        return values[:, 0]

    return _not_rounding(model, spec, target, _by_recording(model, spec, target, one))


# Patches that are removed.
def patch_mask(spec: Spectrogram, patch_ms: float, patch_hz: float) -> Tensor:
    """Number of the time-frequency patch that each bin belongs to, (1, F, T) int64, from 0 without a gap.

    A rest of less than half a patch at the upper edge or the end belongs to the patch before.

    Raises:
        SpeechXAIError: a patch of no size.
    """
    if not (patch_ms > 0 and patch_hz > 0):
        raise SpeechXAIError(f"Patches must be larger than 0 ms and 0 Hz. Got {patch_ms!r} ms and {patch_hz!r} Hz.")
    sides = (patch_hz / spec.stft.bin_hz, patch_ms * 1e-3 * spec.stft.frame_rate_hz)
    numbers = []
    for extent, side in zip(spec.magnitude.shape[1:], sides, strict=True):
        length = max(1, round(side))
        n = max(1, int(extent / length + 0.5))
        numbers.append((torch.arange(extent) // length).clamp(max=n - 1))
    rows, columns = numbers
    return (rows[:, None] * (int(columns[-1]) + 1) + columns)[None].to(spec.magnitude.device)


def _check_passes(n: int, name: str, lower: str) -> None:
    if n > MAX_PASSES:
        raise SpeechXAIError(
            f"captum:{name} would take {n} forward passes for a recording, more than {MAX_PASSES}: {lower}."
        )


def _masked(
    name: str,
    model: nn.Module,
    spec: Spectrogram,
    target: Tensor,
    patch_ms: float,
    patch_hz: float,
    *,
    n_samples: Callable[[int], int] | None = None,
    n_passes: Callable[[int], int] = lambda n: n,
    alpha: float | None = None,
    seed: int = 0,
) -> Tensor:
    mask = patch_mask(spec, patch_ms, patch_hz)
    n_patches = int(mask.max()) + 1
    _check_passes(n_passes(n_patches), name, "set larger 'patch_ms' and 'patch_hz', or fewer samples")
    more = {} if n_samples is None else {"n_samples": n_samples(n_patches)}

    def one(heard: nn.Module, x: Tensor, phase: Tensor, c: int) -> Tensor:
        options = {"target": c, "perturbations_per_eval": recordings_at_once(unwrap(model), x), **more}
        with _seeded(seed, x.device), torch.no_grad():
            if name.startswith("Shapley"):
                # captum walks over every input of every order in Python: give it the patches, not their bins.
                explainer = _captum(name)(_Patches(heard, x, phase, mask))
                by_patch: Tensor = explainer.attribute(x.new_ones(1, n_patches), 0, **options)
                return by_patch[:, mask[0]]
            surrogate = () if alpha is None else (_lasso(heard, x, phase, c, alpha),)
            explainer = _captum(name)(heard, *surrogate)
            values: Tensor = explainer.attribute(
                x, baselines=0, additional_forward_args=(phase,), feature_mask=mask, **options
            )
            if alpha is not None and not values.any():
                raise NotApplicable("the lasso set the weight of every patch to 0; set a smaller 'alpha'.")
            return values

    return _by_recording(model, spec, target, one)


class _Patches(nn.Module):
    """The logits of one recording as a function of which patches are there, (N, n_patches) in [0, 1]."""

    def __init__(self, heard: nn.Module, magnitude: Tensor, phase: Tensor, mask: Tensor) -> None:
        super().__init__()
        self.heard, self.recording, self.mask = heard, (magnitude, phase), mask[0]
        self.training = False

    def forward(self, there: Tensor) -> Tensor:
        magnitude, phase = self.recording
        return self.heard(magnitude * there[:, self.mask], phase)  # type: ignore[no-any-return]


def _lasso(heard: nn.Module, x: Tensor, phase: Tensor, c: int, alpha: float) -> Any:
    """Lime's linear model with a penalty in units of the logit's difference to silence: captum's own of .01 is larger
    than what a patch of a recording changes, and its map all zero."""
    lasso = importlib.import_module("captum._utils.models.linear_model").SkLearnLasso
    difference = float((heard(x, phase) - heard(torch.zeros_like(x), phase))[0, c].abs())
    return lasso(alpha=max(alpha * difference, 1e-12))


def _samples(given: int | None, name: str, least: int = 1) -> int | None:
    if given is not None:
        require_at_least("n_samples", given, least, f"captum:{name}")
    return given


@_method(signed=True, stochastic=False, cites="zeiler2014visualizing")
def FeatureAblation(
    model: nn.Module, spec: Spectrogram, target: Tensor, *, patch_ms: float = 200.0, patch_hz: float = 1000.0
) -> Tensor:
    """Fall of the logit when a time-frequency patch is silenced, written on its bins, (B, F, T).

    Args:
        patch_ms, patch_hz: size of a patch, milliseconds and Hz.
    """
    return _masked("FeatureAblation", model, spec, target, patch_ms, patch_hz)


@_method(signed=True, stochastic=False, cites="zeiler2014visualizing")
def Occlusion(
    model: nn.Module,
    spec: Spectrogram,
    target: Tensor,
    *,
    patch_ms: float = 250.0,
    patch_hz: float = 1000.0,
    stride_ms: float = 125.0,
    stride_hz: float = 500.0,
) -> Tensor:
    """Fall of the logit when a patch that slides over the recording is silenced, mean over the patches, (B, F, T).

    Args:
        patch_ms, patch_hz: size of the patch, milliseconds and Hz.
        stride_ms, stride_hz: step between patches; at most the patch.
    """
    bin_hz, frame_ms = spec.stft.bin_hz, 1e3 / spec.stft.frame_rate_hz
    extents = tuple(spec.magnitude.shape[1:])
    window = (max(1, round(patch_hz / bin_hz)), max(1, round(patch_ms / frame_ms)))
    window = (min(window[0], extents[0]), min(window[1], extents[1]))
    steps = (max(1, round(stride_hz / bin_hz)), max(1, round(stride_ms / frame_ms)))
    steps = (min(steps[0], window[0]), min(steps[1], window[1]))
    n = [-(-(extent - side) // step) + 1 for extent, side, step in zip(extents, window, steps, strict=True)]
    _check_passes(n[0] * n[1], "Occlusion", "set larger patches and steps")

    def one(heard: nn.Module, x: Tensor, phase: Tensor, c: int) -> Tensor:
        with torch.no_grad():
            return _captum("Occlusion")(heard).attribute(  # type: ignore[no-any-return]
                x,
                window,
                steps,
                0,
                c,
                additional_forward_args=(phase,),
                perturbations_per_eval=recordings_at_once(unwrap(model), x),
            )

    return _by_recording(model, spec, target, one)


@_method(signed=True, stochastic=True, cites="castro2009polynomial")
def ShapleyValueSampling(
    model: nn.Module,
    spec: Spectrogram,
    target: Tensor,
    *,
    n_samples: int | None = None,
    patch_ms: float = 200.0,
    patch_hz: float = 1000.0,
    seed: int = 0,
) -> Tensor:
    """What a patch adds to the logit, mean over random orders in which patches are put back into silence, (B, F, T).

    Args:
        n_samples: orders; None takes as many as make about 500 passes, at least one.
        patch_ms, patch_hz: size of a patch, milliseconds and Hz.
        seed: the same orders for every recording.
    """
    given = _samples(n_samples, "ShapleyValueSampling")

    def orders(n_patches: int) -> int:
        return given or max(1, N_PASSES // n_patches)

    return _masked(
        "ShapleyValueSampling",
        model,
        spec,
        target,
        patch_ms,
        patch_hz,
        n_samples=orders,
        n_passes=lambda n: n * orders(n),
        seed=seed,
    )


@_method(signed=True, stochastic=False, cites="castro2009polynomial")
def ShapleyValues(
    model: nn.Module, spec: Spectrogram, target: Tensor, *, patch_ms: float = 2000.0, patch_hz: float = 4000.0
) -> Tensor:
    """What a patch adds to the logit, mean over every order: for few patches alone, (B, F, T).

    Args:
        patch_ms, patch_hz: size of a patch, milliseconds and Hz; 7 patches are the most.

    Raises:
        NotApplicable: more patches, whose orders nobody could try.
    """
    n_patches = int(patch_mask(spec, patch_ms, patch_hz).max()) + 1
    if n_patches > MAX_ORDERED:
        raise NotApplicable(
            f"every order of {n_patches} patches is more than can be tried; set 'patch_ms' and 'patch_hz' for at most"
            f" {MAX_ORDERED}, or use captum:ShapleyValueSampling."
        )
    return _masked("ShapleyValues", model, spec, target, patch_ms, patch_hz)


@_method(signed=True, stochastic=True, cites="ribeiro2016why")
def Lime(
    model: nn.Module,
    spec: Spectrogram,
    target: Tensor,
    *,
    n_samples: int | None = None,
    alpha: float = 0.0005,
    patch_ms: float = 200.0,
    patch_hz: float = 1000.0,
    seed: int = 0,
) -> Tensor:
    """Weights of a sparse linear model (lasso) of the logit by which patches are silenced, (B, F, T).

    Args:
        n_samples: perturbed recordings; None takes two for every patch, 64 to 500.
        alpha: penalty of the lasso, as a share of the logit's difference between the recording and silence.
        patch_ms, patch_hz: size of a patch, milliseconds and Hz.
        seed: the same perturbations for every recording.

    Raises:
        NotApplicable: a penalty that leaves no patch any weight.
    """
    if not alpha > 0:
        raise SpeechXAIError(f"The 'alpha' parameter of captum:Lime must be above 0. Got {alpha!r} instead.")
    drawn = _drawn(n_samples, "Lime")
    return _masked(
        "Lime", model, spec, target, patch_ms, patch_hz, n_samples=drawn, n_passes=drawn, alpha=alpha, seed=seed
    )


@_method(signed=True, stochastic=True, cites="lundberg2017unified")
def KernelShap(
    model: nn.Module,
    spec: Spectrogram,
    target: Tensor,
    *,
    n_samples: int | None = None,
    patch_ms: float = 200.0,
    patch_hz: float = 1000.0,
    seed: int = 0,
) -> Tensor:
    """Shapley values of patches as weights of a linear model of the logit by which patches are silenced, (B, F, T).

    Args:
        n_samples: perturbed recordings; None takes two for every patch, 64 to 500.
        patch_ms, patch_hz: size of a patch, milliseconds and Hz.
        seed: the same perturbations for every recording.
    """
    drawn = _drawn(n_samples, "KernelShap")
    return _masked("KernelShap", model, spec, target, patch_ms, patch_hz, n_samples=drawn, n_passes=drawn, seed=seed)


def _drawn(given: int | None, name: str) -> Callable[[int], int]:
    n_samples = _samples(given, name, 2)
    return lambda n_patches: n_samples or min(N_PASSES, max(64, 2 * n_patches))


# A name with a colon is no name of a class: `CAPTUM["captum:Lime"]` is how these are called.
__all__ = ["CAPTUM", "MAX_PASSES", "REFUSED", "captum_names", "patch_mask"]
