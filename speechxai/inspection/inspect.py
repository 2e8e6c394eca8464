"""One recording heard and explained: the answer, its maps, what each is worth, and the facts that sentences are made
of.

Command line, report and app all show what stands here. Plain arrays out, so that pages need no tensors.
"""

from __future__ import annotations

import functools
import hashlib
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from inspect import signature
from itertools import combinations, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from speechxai.classifiers import BACKBONES, Classifier
from speechxai.classifiers import scope as scopes
from speechxai.classifiers.base import device_of
from speechxai.classifiers.base import predict as class_probabilities
from speechxai.classifiers.bundle import Bundle, load_bundle
from speechxai.classifiers.fit import CONSTANT, FLAT, spread_of
from speechxai.classifiers.network import answered, as_network, class_order, place_of, said, stated
from speechxai.data.synthetic import takes
from speechxai.errors import NotApplicable, SpeechXAIError
from speechxai.explain import METHODS
from speechxai.explain.agreement import STRONGEST, n_top, rank_correlation, strongest_first
from speechxai.explain.agreement import overlap as overlap_of_maps
from speechxai.explain.combination import evidence
from speechxai.explain.explain import explain_all
from speechxai.explain.passes import recordings_at_once
from speechxai.explain.recipe import CONTROLS, parse
from speechxai.inspection.words import (
    N_COPIES,
    ROUNDING,
    USUAL_SHARE,
    Facts,
    Sentence,
    Verdict,
    chances,
    class_words,
    summary,
)
from speechxai.signal.acoustics import f0_hz, segments_by_voicing
from speechxai.signal.audio import read_audio, resample
from speechxai.signal.quality import Check, checks, concerns, quality
from speechxai.signal.stft import inverse, linear_magnitude, spectrogram
from speechxai.types import Array, Recording, Spectrogram

Tick = Callable[[], None]
"""Called between passes; raises to stop the work."""

MAX_GAIN_DB = 36.0

FAST_METHODS = ("saliency", "input_x_gradient", "integrated_gradients", "gradcam")
"""What agreement is computed with: one pass or few each."""

LONG_S = 30.0
"""In recordings longer than this, integrated gradients would keep a reader waiting."""


@dataclass(frozen=True, eq=False)
class Heard:
    """A recording as the model hears it.

    Args:
        bundle: the model's; `model` is the one of its networks that may speak: `fold`, or None for the final one.
        recording: at the model's sample rate.
        digest: of waveform and weights: the name of everything computed from them.
        spec: (1, F, T), on the model's device.
        logits: (C,) of the classes.
        without_fifths: probabilities (5, C) when one fifth of the recording is left out; one row where that was not
            asked or the recording is too short.
        folds: (K, C) of all networks of the bundle that never heard the speaker; one row where only one may speak.
        scope: whether the model was made for such a recording: where it was not, no class is named.
        flat: what speaks for the network telling nobody from anybody, see `says_the_same`.
    """

    bundle: Bundle
    recording: Recording
    digest: str
    fold: int | None
    logits: Array
    without_fifths: Array
    folds: Array
    spec: Spectrogram = field(repr=False)
    model: Classifier = field(repr=False)
    scope: scopes.Verdict = scopes.UNKNOWN
    flat: str = ""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes by index."""
        return tuple(self.model.class_names)

    @functools.cached_property
    def probability(self) -> Array:
        """Of the classes, (C,); of a network that gives a score that score (1,), in `unit`."""
        return np.asarray(said(self.model, torch.from_numpy(self.logits)).numpy())

    @property
    def unit(self) -> str:
        """Of a score; "" where the network names classes."""
        return str(stated(self.model, "unit", ""))

    @property
    def step(self) -> float:
        """What is a whole step on the scale that is shown: 1 of probabilities, of a score the standard deviation of the
        people it was learned from."""
        return float(1 / self.model.temperature) if self.unit else 1.0

    @property
    def predicted(self) -> int:
        """Index of the most probable class."""
        return int(self.probability.argmax())

    @property
    def condition(self) -> int | None:
        """Of two classes the index of the one that probabilities are of: the disease where the names say which it is,
        else the second. None of more classes."""
        if len(self.class_names) != 2:
            return None
        known = class_order(self.class_names)
        return 1 if known is None else known[1]

    def mirrored(self, target: int) -> bool:
        """Whether a probability of this class is shown as that of the condition."""
        return self.condition not in (None, target)

    def explained(self, target: int) -> str:
        """What evidence is for, as people read it: a class, or a higher score."""
        return f"a higher {self.class_names[0]}" if self.unit else class_words(self.class_names[target])

    def scale(self, target: int) -> str:
        """What probabilities are shown as, whichever class is explained: P(PD); of a score its name and unit."""
        if self.unit:
            return f"{self.class_names[0]} ({self.unit})"
        return f"P({self.class_names[target if self.condition is None else self.condition]})"

    def shown(self, p: float, target: int) -> float:
        """A probability of a class on that scale."""
        return 1 - p if self.mirrored(target) else p

    def chances(self, share: float = USUAL_SHARE) -> list[str]:
        """How often an answer like this is right, in sentences; none where no class is named.

        Args:
            share: of the ill among the people that the reader sees.
        """
        at, scored = self.condition, self.bundle.config.held_out_score
        if self.unit and self.scope.state == "inside":
            synthetic = self.bundle.config.scope is not None and self.bundle.config.scope.synthetic
            if scored is None:
                return ["How near it comes to people it never heard is not known: the model states no figures."]
            return [scored.sentence(self.unit, "synthetic voices" if synthetic else "people")]
        if self.scope.state != "inside" or at is None:
            return []
        made_for, held_out = self.bundle.config.scope, self.bundle.config.held_out
        people = "synthetic voices" if made_for is not None and made_for.synthetic else "people"
        names = (self.class_names[1 - at], self.class_names[at])
        known = held_out.mirrored() if held_out is not None and at == 0 else held_out
        return chances(known, names, float(self.probability[at]), self.predicted == at, share, people)

    def range_without_fifths(self, target: int) -> tuple[float, float]:
        """Lowest and highest probability of a class when any fifth of the recording is left out."""
        values = self.without_fifths[:, target]
        return float(values.min()), float(values.max())

    def range(self, target: int) -> tuple[float, float]:
        """Lowest and highest probability of a class: whole, without any fifth, and by the other networks."""
        values = [self.probability[target], *self.without_fifths[:, target], *self.folds[:, target]]
        return float(min(values)), float(max(values))

    @property
    def waveform(self) -> Array:
        """Samples (N,) float32 at `sample_rate_hz`."""
        return np.asarray(self.recording.waveform.numpy())

    @property
    def sample_rate_hz(self) -> int:
        """Of the model's audio."""
        return self.spec.stft.sample_rate

    @property
    def frame_rate_hz(self) -> float:
        """Frames of every map a second."""
        return self.spec.stft.frame_rate_hz

    @property
    def bin_hz(self) -> float:
        """Width of a frequency bin of every map."""
        return self.spec.stft.bin_hz

    @property
    def n_frames(self) -> int:
        """Frames of every map, T."""
        return self.spec.magnitude.shape[-1]

    @functools.cached_property
    def magnitude(self) -> Array:
        """Linear, (F, T)."""
        return np.asarray(linear_magnitude(self.spec.magnitude, self.spec.stft)[0].cpu().numpy())

    @functools.cached_property
    def voicing(self) -> Array:
        """What every frame holds (T,): 0 pause, 1 unvoiced, 2 voiced."""
        hop = self.spec.stft.hop_length
        return segments_by_voicing(self.recording.waveform, self.sample_rate_hz, self.n_frames, hop)

    @functools.cached_property
    def f0_hz(self) -> Array:
        """Of every frame (T,), NaN where there is none."""
        return f0_hz(self.recording.waveform, self.sample_rate_hz, self.spec.stft.hop_length, self.n_frames)[0]

    @functools.cached_property
    def sound(self) -> Array:
        """The explained magnitude with its phase as a sound (N,): what kept and removed sum to."""
        return _sound(self.spec, self.spec.magnitude)

    @functools.cached_property
    def quality(self) -> dict[str, float]:
        """Technical quality by the name of what was measured, of the recording as the model hears it."""
        found = quality(self.recording.waveform, self.recording.sample_rate)
        return {name: float(value) for name, value in vars(found).items()}


@dataclass(frozen=True, eq=False)
class Explained:
    """One map, and what the model says of its halves at two budgets.

    `kept` and `removed` are the strongest STRONGEST of the bins, the same number for every map: the figure to compare
        by.
    `soft` is the published one: magnitude x mask and magnitude x (1 - mask), whose mass differs from map to map.

    Args:
        recipe: its one name.
        mask: evidence (F, T) float32 in [0, 1].
        target: explained class.
        p, p_kept, p_removed: of that class: whole, the strongest bins alone, all but the strongest bins.
        soft_kept, soft_removed: of that class, by the soft mask.
        margin_fall: of the explained class's logit margin over the next class when the strongest bins are removed.
        signed: whether evidence against the class was left out.
        mean_mask: mean of the soft mask.
        against: what speaks against the class (F, T), on the scale of `mask`, at most 1; None where the map does not
            tell.
        values: the map itself (F, T), signed for signed methods; None where it was kept as a mask alone.
        params: what was set to get it.
    """

    recipe: str
    mask: Array
    target: int
    p: float
    p_kept: float
    p_removed: float
    soft_kept: float
    soft_removed: float
    margin_fall: float
    signed: bool
    mean_mask: float
    against: Array | None = None
    values: Array | None = None
    params: Mapping[str, Any] = field(default_factory=dict)

    @functools.cached_property
    def strongest(self) -> Array:
        """Which bins are among the strongest, bool (F, T)."""
        return strongest(self.mask)

    @property
    def share(self) -> float:
        """Share of the bins that are among the strongest: STRONGEST, or less where the map has less evidence."""
        return float(self.strongest.mean())

    @property
    def p_fall(self) -> float:
        """Probability lost without the strongest bins; below 0 where it rises."""
        return self.p - self.p_removed


@dataclass(frozen=True)
class How:
    """How maps are made.

    Args:
        target: explained class by name; "auto" is the predicted one.
        evidence: "positive" reads what speaks for the class, "absolute" all; "auto" is positive for signed maps.
        seed: of stochastic methods and of the copies that a verdict compares with.
    """

    target: str = "auto"
    evidence: Literal["auto", "positive", "absolute"] = "auto"
    seed: int = 0

    def target_of(self, names: Sequence[str]) -> int | None:
        """Index of the class, None for the predicted one. Raises SpeechXAIError for one that the model has not."""
        if self.target not in ("auto", *names):
            raise SpeechXAIError(f"The class '{self.target}' is not one of this model: auto, {', '.join(names)}.")
        return None if self.target == "auto" else list(names).index(self.target)


@dataclass(frozen=True, eq=False)
class Inspection:
    """Everything that is shown of one recording explained by one recipe.

    Args:
        heard: the recording and the answer.
        map: the map.
        verdict: what it is worth.
        controls: maps that know nothing of the model.
        others: maps of other methods, for agreement.
        checks: of the recording as it was brought.
        sentences: what matters, in words.
    """

    heard: Heard
    map: Explained
    verdict: Verdict
    controls: Mapping[str, Explained]
    others: Mapping[str, Explained]
    checks: tuple[Check, ...]
    sentences: tuple[Sentence, ...]

    @property
    def class_name(self) -> str:
        """The explained class, or a higher score, as people read it."""
        return self.heard.explained(self.map.target)

    @property
    def explains_nothing(self) -> bool:
        """Whether the verdict on the map says so: its evidence is drawn in stripes then, everywhere."""
        return self.verdict.key == "nothing"

    @functools.cached_property
    def regions(self) -> list[tuple[float, float]]:
        """Stretches of time, s, that together hold half of the strongest evidence."""
        return evidence_regions(self.heard, self.map)


# Hearing a recording.
@contextmanager
def ticking(model: torch.nn.Module, lock: threading.RLock | None, tick: Tick | None) -> Iterator[None]:
    """Hold a model for this thread and call `tick` before each of its passes, so that long work can be seen and
    stopped.

    Attribution hangs its hooks on the network, so two readers may not explain with one network at the same time.
    """
    while lock is not None and not lock.acquire(timeout=0.2):
        if tick:
            tick()
    me = threading.get_ident()

    def before(*_: Any) -> None:
        if tick and threading.get_ident() == me:
            tick()

    # Occlusion calls the network inside the classifier, so that is where passes are counted.
    handle = as_network(model).backbone.register_forward_pre_hook(before)
    try:
        yield
    finally:
        handle.remove()
        if lock is not None:
            lock.release()


def digest_of(bundle: Bundle, fold: int | None, recording: Recording) -> str:
    """Name of everything that is computed from these samples by this network."""
    text = f"{bundle.sha256}|{fold}|{torch.__version__}"
    samples = recording.waveform.contiguous().numpy().tobytes()
    return hashlib.sha256(text.encode() + samples).hexdigest()[:32]


def read_for(bundle: Bundle, path: str | Path, **reading: Any) -> tuple[Recording, Recording]:
    """Read a file twice: as the bundle's model hears audio, and as it is, at its own rate, level and offset.

    Args:
        bundle: the model's.
        path: audio file.
        reading: options of `signal.audio.read_audio` beside those of the bundle, such as `channel`.

    Raises:
        SpeechXAIError: a file that cannot be used.
    """
    settings = bundle.config.audio.model_dump()
    heard = read_audio(path, sample_rate=bundle.config.stft.sample_rate, **settings, **reading)
    return heard, read_audio(path, sample_rate=None, normalize="none", offset="kept", **reading)


def hear(
    bundle: Bundle,
    recording: Recording,
    lock: threading.RLock | None = None,
    tick: Tick | None = None,
    *,
    device: str = "cpu",
    steadiness: bool = True,
) -> Heard:
    """Ask the network that never heard the speaker about a recording.

    Args:
        bundle: the model's.
        recording: at the model's sample rate and level.
        lock: held while the network works, where several threads share it.
        tick: called between passes.
        device: where the network runs.
        steadiness: whether to ask as well what the answer is without each fifth, and by the bundle's other networks.
    """
    fold = bundle.fold_of(recording)
    place = device_of(device)
    model = bundle.classifier(fold).to(place)
    spec = spectrogram(recording.waveform[None].to(place), model.stft)
    with ticking(model, lock, tick):
        logits = answered(_logits(model, spec, [None])[0], recording.id)
        probability = said(model, logits)[None]
        fifths = _without_fifths(model, spec) if steadiness else None
        folds = [probability]
        if fold is None and steadiness:
            networks = (bundle.classifier(k).to(place) for k in range(bundle.n_folds))
            folds += [class_probabilities(network, spec) for network in networks]
        flat = _nobody(bundle, model) if steadiness else ""
    return Heard(
        bundle=bundle,
        recording=recording,
        digest=digest_of(bundle, fold, recording),
        fold=fold,
        logits=logits.cpu().numpy(),
        without_fifths=probability.cpu().numpy() if fifths is None else fifths,
        folds=torch.cat(folds).cpu().numpy(),
        spec=spec,
        model=model,
        scope=scopes.compare(bundle.config.scope, recording),
        flat=flat,
    )


PROBE_SEED = 2_024
_ASKED: dict[str, str] = {}


def _nobody(bundle: Bundle, model: Classifier) -> str:
    """`says_the_same` of a network whose training has not looked at this with voices of people, asked once."""
    if not bundle.config.folds and bundle.sha256 not in _ASKED:
        _ASKED[bundle.sha256] = says_the_same(model)
    return _ASKED.get(bundle.sha256, "")


def says_the_same(model: Classifier) -> str:
    """A sentence where a network says nearly the same of six made voices, three of them with every simulated sign; ""
    where it does not. It is not asked whether it is right."""
    answers = []
    for take in takes(2, PROBE_SEED):
        voice = take.recording()
        samples = torch.from_numpy(resample(voice.waveform.numpy(), voice.sample_rate, model.stft.sample_rate))
        spec = spectrogram(samples[None].to(place_of(model)), model.stft)
        answers.append(_logits(model, spec, [None]).cpu())
    z = torch.cat(answers)
    if spread_of(z) >= (CONSTANT / float(model.temperature) if stated(model, "unit", "") else FLAT):
        return ""
    if stated(model, "unit", ""):
        same = f"the same {model.class_names[0]}"
        return f"This network gives {len(z)} made voices, with and without simulated signs, {same}."
    p = z.softmax(-1)[:, -1]
    return (
        f"This network separates nobody: of {len(z)} made voices, with and without simulated signs, it says nearly the"
        f" same, P({model.class_names[-1]}) {float(p.min()):.2f} to {float(p.max()):.2f}."
    )


def _logits(model: torch.nn.Module, spec: Spectrogram, keeps: Iterable[Tensor | None]) -> Tensor:
    """Logits (N, C) of one recording with its magnitude times each of N masks (F, T), None for the whole of it.

    As many masks are made at once as the network takes in one pass.
    """
    network, (magnitude, phase) = as_network(model).for_length(spec.n_samples), (spec.magnitude[0], spec.phase)
    waiting, found = iter(keeps), []
    size = recordings_at_once(model, spec.magnitude)
    with torch.inference_mode():
        while part := list(islice(waiting, size)):
            masked = torch.stack([magnitude if keep is None else magnitude * keep.to(magnitude) for keep in part])
            found.append(network(masked, phase.expand_as(masked)))
    return torch.cat(found)


def margin(logits: Tensor, target: int) -> Tensor:
    """How far the logit of a class lies above the highest of the others: logits (..., C) to (...); of a score itself.

    >>> margin(torch.tensor([[1.0, 3.0, 2.5]]), 1)
    tensor([0.5000])
    """
    if logits.shape[-1] == 1:
        return logits[..., 0]
    others = torch.arange(logits.shape[-1], device=logits.device) != target
    return logits[..., target] - logits[..., others].amax(dim=-1)


def _without_fifths(model: Classifier, spec: Spectrogram) -> Array | None:
    """Probabilities (5, C) when one fifth of a recording is left out; None for recordings under half a second.

    A recording of many segments is judged by the mean of their logits, so there a fifth of the segments is left out:
    one pass instead of five.
    """
    n_frames = spec.magnitude.shape[-1]
    if n_frames < 50:
        return None
    pieces, phases = model.cut(spec.magnitude)[0], model.cut(spec.phase)[0]
    if len(pieces) >= 10:
        size = model.max_batch
        with torch.inference_mode():
            logits = torch.cat(
                [
                    model.segment_logits(m, p)
                    for m, p in zip(torch.split(pieces, size), torch.split(phases, size), strict=True)
                ]
            )
        outside = [
            torch.cat([*(part for j, part in enumerate(torch.tensor_split(logits, 5)) if j != k)]) for k in range(5)
        ]
        return np.stack([said(model, part.mean(dim=0)).cpu().numpy() for part in outside])
    found = []
    for k in range(5):
        keep = torch.cat([torch.arange(k * n_frames // 5), torch.arange((k + 1) * n_frames // 5, n_frames)])
        n_samples = (len(keep) - 1) * model.stft.hop_length
        part = Spectrogram(spec.magnitude[..., keep], spec.phase[..., keep], n_samples, model.stft)
        found.append(class_probabilities(model, part)[0].cpu().numpy())
    return np.stack(found)


def with_units(heard: Heard, spans: tuple[tuple[float, float], ...]) -> Heard:
    """Tell where the phones or words of the recording lie, s, for methods that need them."""
    return replace(heard, spec=replace(heard.spec, spans=(spans,) if spans else ()))


# Maps of it, and what each is worth.
def explain(
    heard: Heard,
    recipes: Sequence[str],
    how: How | None = None,
    lock: threading.RLock | None = None,
    tick: Tick | None = None,
) -> tuple[dict[str, Explained], dict[str, str]]:
    """Explain one recording by many recipes: maps by canonical name, and the reasons of those that do not apply.

    Raises:
        SpeechXAIError: an unknown recipe or class.
    """
    how = how or How()
    kind = None if how.evidence == "auto" else how.evidence
    target = how.target_of(heard.class_names)
    target = heard.predicted if target is None else target
    wanted = list(dict.fromkeys(str(parse(recipe)) for recipe in recipes))
    found: dict[str, Explained] = {}
    with ticking(heard.model, lock, tick):
        maps = explain_all(heard.model, heard.spec, wanted, target, seed=how.seed, options={"evidence": kind})
        for recipe, attribution in maps.items():
            soft = evidence(attribution.values, kind or ("positive" if attribution.signed else "absolute"))[0]
            found[recipe] = replace(
                of_mask(heard, recipe, soft.cpu().numpy(), target),
                signed=attribution.signed,
                against=_against(attribution.values[0]) if attribution.signed and kind != "absolute" else None,
                values=attribution.values[0].cpu().numpy(),
                params=attribution.params,
            )
    return found, dict(maps.not_applicable)


def _against(values: Tensor) -> Array | None:
    """The negative part of a signed map (F, T) by the largest of its positive part, at most 1."""
    top = values.clamp(min=0).amax()
    return ((-values).clamp(min=0) / top).clamp(max=1).cpu().numpy() if top > 0 else None


def of_mask(heard: Heard, recipe: str, mask: Array, target: int) -> Explained:
    """What a mask (F, T) in [0, 1], whoever made it, is as a map of a recording: the model is asked about its halves.

    Args:
        heard: the recording.
        recipe: name of the map.
        mask: evidence.
        target: index of the class.
    """
    soft = torch.from_numpy(mask)
    hard = torch.from_numpy(strongest(mask)).to(soft)
    logits = _logits(heard.model, heard.spec, [hard, 1 - hard, soft, 1 - soft]).cpu()
    kept, removed, soft_kept, soft_removed = said(heard.model, logits)[:, target].tolist()
    return Explained(
        recipe=recipe,
        mask=mask,
        target=target,
        p=float(heard.probability[target]),
        p_kept=kept,
        p_removed=removed,
        soft_kept=soft_kept,
        soft_removed=soft_removed,
        margin_fall=float(margin(torch.from_numpy(heard.logits), target) - margin(logits[1], target)),
        signed=False,
        mean_mask=float(mask.mean()),
    )


def strongest(mask: Array, n_bins: int | None = None) -> Array:
    """Which bins of a mask (F, T) are among its strongest, bool (F, T): `n_bins`, by default STRONGEST of them.

    Bins without evidence never are, so a map with less evidence has fewer; ties are broken by a shuffle that is the
    same for every map.
    """
    values = torch.from_numpy(np.ascontiguousarray(mask, dtype=np.float32))[None]
    n_bins = n_top(STRONGEST, mask.size) if n_bins is None else n_bins
    return np.asarray(((strongest_first(values) < n_bins) & (values > 0))[0].numpy())


def shifts(n_bins: int, n_frames: int, n: int = N_COPIES, seed: int = 0) -> list[tuple[int, int]]:
    """How far copies of a map (F, T) are rolled: by bins and frames, never by 0 where the axis allows it."""
    draw = np.random.default_rng(seed)
    return [(int(draw.integers(1, max(2, n_bins))), int(draw.integers(1, max(2, n_frames)))) for _ in range(n)]


def judge(
    heard: Heard, map_: Explained, seed: int = 0, lock: threading.RLock | None = None, tick: Tick | None = None
) -> Verdict:
    """What a map is worth: removed like its own copies moved elsewhere, the loudest bins and the edges, equally many.

    Args:
        heard, map_: the recording and its map.
        seed: of the copies.
        lock, tick: as in `hear`.
    """
    bins = torch.from_numpy(map_.strongest)
    n_bins = int(bins.sum())
    target = torch.tensor([map_.target], device=heard.spec.magnitude.device)
    with ticking(heard.model, lock, tick):
        rivals = [
            torch.from_numpy(strongest(METHODS[name](heard.model, heard.spec, target)[0].cpu().numpy(), n_bins))
            for name in ("energy_map", "edge_map")
        ]
        moves = shifts(bins.shape[0], bins.shape[1], seed=seed)
        whole = margin(torch.from_numpy(heard.logits), map_.target)

        def falls(choices: Iterable[Tensor]) -> tuple[float, ...]:
            logits = _logits(heard.model, heard.spec, (~choice for choice in choices)).cpu()
            return tuple((whole - margin(logits, map_.target)).tolist())

        energy, edges, *copies = falls([*rivals, *(torch.roll(bins, move, dims=(0, 1)) for move in moves)])
        found = Verdict(map_.margin_fall, tuple(copies), energy=energy, edges=edges)
        if heard.unit:
            found = replace(found, of=f"the {heard.class_names[0]}", falls="falls", rises="rises")
        if map_.target != heard.predicted:
            found = replace(found, of=f"what speaks for {class_words(heard.class_names[map_.target])}")
        if found.key != "explains":  # what is decided costs no more passes
            return found
        steps = sorted({round(bins.shape[1] * k / (N_COPIES + 1)) for k in range(1, N_COPIES + 1)} - {0, bins.shape[1]})
        return replace(found, in_time=falls(torch.roll(bins, step, dims=1) for step in steps))


TRIED_S = 0.5
"""Length of the made voice on which methods are tried, s."""


def not_applicable(
    bundle: Bundle, recipes: Iterable[str], lock: threading.RLock | None = None, tick: Tick | None = None
) -> dict[str, str]:
    """Which recipes a network does not allow, with the reasons: each is tried on half a second of a made voice, with as
    few samples and steps as it takes. What fails in any other way is not among them: that is said where it is chosen.
    """
    model = bundle.classifier()
    voice = takes(2, PROBE_SEED)[0].recording()
    samples = resample(voice.waveform.numpy(), voice.sample_rate, model.stft.sample_rate)
    n_samples = round(TRIED_S * model.stft.sample_rate)
    spec = spectrogram(torch.from_numpy(samples[None, :n_samples]).to(place_of(model)), model.stft)
    spec = replace(spec, spans=(((0.0, TRIED_S / 2), (TRIED_S / 2, TRIED_S)),))
    found: dict[str, str] = {}
    with ticking(model, lock, tick), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what so few samples are worth is not asked
        for recipe in recipes:
            few = {name: _fewest(METHODS[name]) for name in parse(recipe).methods}
            try:
                found |= explain_all(model, spec, [recipe], 0, options={**few, "completeness": False}).not_applicable
            except Exception:  # noqa: S112
                continue
    return found


def _fewest(method: Callable[..., Any]) -> dict[str, int]:
    """Options of a method that count samples, steps or masks, as small as they may be."""
    return {
        name: 2
        for name, each in signature(method).parameters.items()
        if name.startswith("n_") and isinstance(each.default, int)
    }


def fast_methods(bundle: Bundle, duration_s: float) -> tuple[str, ...]:
    """Methods that agreement is computed with: fewer where every pass takes seconds, for large networks or long
    recordings."""
    name = bundle.config.architecture
    slow = name not in BACKBONES or BACKBONES.facts(name)["hears"] == "waveform"
    return ("saliency", "input_x_gradient", "gradcam") if slow or duration_s > LONG_S else FAST_METHODS


def beside(heard: Heard, recipe: str) -> tuple[str, ...]:
    """Recipes that stand beside a map: every control, and methods for agreement unless it is a control itself.

    A combination is not compared with its own parts, with which it agrees by construction.
    """
    others = () if recipe in CONTROLS else fast_methods(heard.bundle, heard.recording.duration_s)
    return (*CONTROLS, *(method for method in others if method not in parse(recipe).methods))


def unlike(heard: Heard) -> list[str]:
    """Ways in which a recording is unlike those that the model learned from, as far as both say."""
    found = [heard.scope.reason] if heard.scope.state == "outside" else []
    made_for = heard.bundle.config.scope
    if made_for is not None and made_for.synthetic and not heard.recording.metadata.get("synthetic"):
        found.append("The model learned from synthetic voices only; what it says of a real voice means nothing.")
    return found


NARROW = 0.95
"""A band that ends below this share of what the picture holds is narrower than the picture."""


def ends(heard: Heard) -> list[tuple[float, str]]:
    """Where network and recording end below the picture's top, Hz, and what to say of it; the lower first."""
    top, found = heard.sample_rate_hz / 2, []
    for hz, why in (
        (heard.bundle.top_hz, "the network hears nothing"),
        (heard.quality["bandwidth_hz"], "the recording holds nothing"),
    ):
        if 0 < hz < NARROW * top:
            found.append((hz, why))
    return sorted(found)[:1]


def facts_of(
    heard: Heard, map_: Explained, verdict: Verdict | None, maps: Mapping[str, Explained], found: Sequence[Check]
) -> Facts:
    """What the sentences about a map are computed from; `maps` holds those that stand beside it."""
    controls = {name: maps[name] for name in CONTROLS if name in maps and name != map_.recipe}
    others = {name: maps[name] for name in beside(heard, map_.recipe) if name in maps and name not in CONTROLS}
    return Facts(
        evidence=map_.mask * map_.strongest,
        loudness=np.log1p(heard.magnitude),
        voicing=heard.voicing,
        bin_hz=heard.bin_hz,
        frame_rate_hz=heard.frame_rate_hz,
        class_name=heard.explained(map_.target),
        p=map_.p,
        p_removed=map_.p_removed,
        scale=heard.scale(map_.target),
        mirrored=heard.mirrored(map_.target),
        step=heard.step,
        is_score=bool(heard.unit),
        verdict=verdict,
        controls={name: found.p_removed for name, found in controls.items()},
        overlaps={name: overlap(map_.mask, found.mask) for name, found in others.items()},
        shares={"": map_.share, **{name: found.share for name, found in others.items()}},
        range_p=heard.range_without_fifths(map_.target),
        nothing_above=ends(heard),
        unlike=[*([heard.flat] if heard.flat else []), *unlike(heard), *heard.bundle.concerns(heard.fold)],
        warnings=[str(check) for check in concerns(found)],
    )


def first_words(heard: Heard, map_: Explained) -> list[Sentence]:
    """What a map alone tells, at once: the sentences of `assemble` that need no verdict, no other map and no check."""
    return summary(facts_of(heard, map_, None, {}, ()))


def assemble(
    heard: Heard, map_: Explained, verdict: Verdict, maps: Mapping[str, Explained], found: Sequence[Check]
) -> Inspection:
    """Put together what is shown of a map; `maps` holds at least those of `beside`, where they apply."""
    names = beside(heard, map_.recipe)
    return Inspection(
        heard=heard,
        map=map_,
        verdict=verdict,
        controls={name: maps[name] for name in CONTROLS if name in maps},
        others={name: maps[name] for name in names if name in maps and name not in CONTROLS},
        checks=tuple(found),
        sentences=tuple(summary(facts_of(heard, map_, verdict, maps, found))),
    )


def inspect_all(
    heard: Heard, recipes: Sequence[str], found: Sequence[Check], how: How | None = None
) -> tuple[dict[str, Inspection], dict[str, str]]:
    """Inspect a recording by every recipe, by canonical name; passes are shared.

    Args:
        heard: the recording.
        recipes: texts of recipes.
        found: checks of the recording.
        how: target, evidence and seed.

    Returns:
        Inspections, and the reasons of recipes that this network does not allow.

    Raises:
        SpeechXAIError: an unknown recipe or class.
    """
    how = how or How()
    wanted = list(dict.fromkeys(str(parse(recipe)) for recipe in recipes))
    more = (name for recipe in wanted for name in beside(heard, recipe))
    maps, reasons = explain(heard, [*wanted, *more], how)
    made = {
        recipe: assemble(heard, maps[recipe], judge(heard, maps[recipe], how.seed), maps, found)
        for recipe in wanted
        if recipe in maps
    }
    return made, {recipe: reasons[recipe] for recipe in wanted if recipe in reasons}


def inspect(
    recording: str | Path | Recording,
    bundle: str | Bundle,
    recipe: str = "input_x_gradient",
    how: How | None = None,
    *,
    device: str = "cpu",
) -> Inspection:
    """Hear and explain one recording: the answer, the map, what it is worth, and what matters in words.

    Args:
        recording: a file, or a recording at the model's sample rate and level.
        bundle: the model's, or its name or folder.
        recipe: a method or a combination.
        how: target, evidence and seed.
        device: where the network runs.

    Raises:
        NotApplicable: the network does not allow the recipe.
        SpeechXAIError: a file that cannot be used, an unknown model, recipe or class.
    """
    bundle = load_bundle(bundle) if isinstance(bundle, str) else bundle
    given, original = (recording, recording) if isinstance(recording, Recording) else read_for(bundle, recording)
    heard = hear(bundle, given, device=device)
    made, reasons = inspect_all(heard, [recipe], recording_checks(original, bundle), how)
    for reason in reasons.values():
        raise NotApplicable(reason)
    return next(iter(made.values()))


# Agreement of maps.
def overlap(first: Array, second: Array) -> float:
    """Share of the strongest bins that two masks (F, T) have in common, in [0, 1]; NaN where neither has evidence.

    Unrelated maps have STRONGEST.
    """
    a, b = torch.from_numpy(first)[None], torch.from_numpy(second)[None]
    return float(overlap_of_maps(a, b, STRONGEST)[0])


@dataclass(frozen=True, eq=False)
class Agreement:
    """How far maps of one recording agree.

    Args:
        names: recipes, (M,).
        overlaps: share of the strongest bins in common (M, M), by chance STRONGEST.
        ranks: Spearman's correlation over all bins (M, M), by chance 0.
        shares: share of the bins that are among each map's strongest (M,): less than STRONGEST where it has less
            evidence.
    """

    names: tuple[str, ...]
    overlaps: Array
    ranks: Array
    shares: Array

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Pairs of methods whose overlap is known: controls are left out, and combinations, which agree with their own
        parts by construction."""
        own = [i for i, name in enumerate(self.names) if name not in CONTROLS and not parse(name).parts]
        return [(i, j) for i, j in combinations(own, 2) if not np.isnan(self.overlaps[i, j])]

    @property
    def mean(self) -> float:
        """Mean overlap of pairs of methods; NaN without one."""
        return float(np.mean([self.overlaps[pair] for pair in self.pairs])) if self.pairs else float("nan")


def agreement(maps: Mapping[str, Explained]) -> Agreement:
    """How far maps of one recording agree, pair by pair."""
    names = tuple(maps)
    overlaps, ranks = np.eye(len(names)), np.eye(len(names))
    for i, j in combinations(range(len(names)), 2):
        first, second = maps[names[i]].mask, maps[names[j]].mask
        overlaps[i, j] = overlaps[j, i] = overlap(first, second)
        a, b = torch.from_numpy(first)[None], torch.from_numpy(second)[None]
        ranks[i, j] = ranks[j, i] = float(rank_correlation(a, b)[0])
    return Agreement(names, overlaps, ranks, np.array([maps[name].share for name in names]))


def loses_to(map_: Explained, controls: Mapping[str, Explained]) -> tuple[str, ...]:
    """Controls whose bins the answer needs no less than the map's: as many of them weaken it as much."""
    return tuple(
        name
        for name, control in controls.items()
        if name != map_.recipe and not map_.margin_fall > control.margin_fall + ROUNDING
    )


# What the strongest bins sound like, and where they lie.
def halves(heard: Heard, bins: Array) -> tuple[Array, Array]:
    """Sounds (N,) of some bins, bool (F, T), alone and of the rest, unscaled; they sum to `heard.sound`.

    Bins are kept or removed whole, so the inverse is linear in them and the rest is a difference.
    """
    kept = _sound(heard.spec, heard.spec.magnitude * torch.from_numpy(bins).to(heard.spec.magnitude)[None])
    return kept, heard.sound - kept


def soft_halves(heard: Heard, mask: Array) -> tuple[Array, Array]:
    """Sounds (N,) of magnitude x mask and of magnitude x (1 - mask), unscaled, mask (F, T) in [0, 1]."""
    weights = torch.from_numpy(mask).to(heard.spec.magnitude)[None]
    magnitude = heard.spec.magnitude
    return _sound(heard.spec, magnitude * weights), _sound(heard.spec, magnitude * (1 - weights))


def split_error(heard: Heard, mask: Array) -> float:
    """Largest deviation of kept + removed by a mask (F, T) from the original, in the explained magnitude."""
    magnitude, weights = heard.spec.magnitude, torch.from_numpy(mask).to(heard.spec.magnitude)[None]
    return float((magnitude * weights + magnitude * (1 - weights) - magnitude).abs().max())


def _sound(spec: Spectrogram, magnitude: Tensor) -> Array:
    return np.asarray(inverse(magnitude, spec.phase, spec.stft, spec.n_samples)[0].cpu().numpy())


def matched(sound: Array, original: Array) -> tuple[Array, float]:
    """Bring a sound (N,) to the original's level, at most to full scale and by MAX_GAIN_DB; returns it and the gain,
    dB."""
    level, wanted = float(np.sqrt(np.mean(sound**2))), float(np.sqrt(np.mean(original**2)))
    peak = float(np.abs(sound).max(initial=0.0))
    if level <= 0 or peak <= 0:
        return sound, 0.0
    gain = min(wanted / level, 0.99 / peak, 10 ** (MAX_GAIN_DB / 20))
    return sound * np.float32(gain), float(20 * np.log10(gain))


def evidence_regions(heard: Heard, map_: Explained, share: float = 0.5) -> list[tuple[float, float]]:
    """Stretches of time, s, that together hold `share` of the strongest evidence, the fewest frames that do."""
    over_time = (map_.mask * map_.strongest).sum(axis=0, dtype=np.float64)
    total = over_time.sum()
    if not total > 0:
        return []
    order = np.argsort(-over_time, kind="stable")
    before = np.cumsum(over_time[order]) - over_time[order]
    inside = np.zeros(len(over_time), bool)
    inside[order[before < share * total * (1 - 1e-9)]] = True
    edges = np.flatnonzero(np.diff(np.concatenate([[0], inside.astype(np.int8), [0]])))
    duration, rate = len(heard.waveform) / heard.sample_rate_hz, heard.frame_rate_hz
    found: list[list[float]] = []
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        start, end = max(0.0, (first - 0.5) / rate), min(duration, (last - 0.5) / rate)
        if found and start - found[-1][1] < 0.03:
            found[-1][1] = end
        else:
            found.append([start, end])
    return [(a, b) for a, b in found if b - a >= 0.03]


# Is the recording fit to be explained?
def recording_checks(original: Recording, bundle: Bundle) -> tuple[Check, ...]:
    """Judge a recording at its own rate and level, a voice in it included, for a model."""
    measured = quality(original.waveform, original.sample_rate)
    share, mixing = speech_share(original), original.metadata.get("mixing")
    return tuple(checks(measured, original.sample_rate, bundle.config.stft.sample_rate, share, mixing))


@functools.lru_cache(maxsize=1)
def _detector() -> tuple[Any, threading.Lock]:
    from silero_vad import load_silero_vad

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # how the package stores its weights is its own affair
        return load_silero_vad(), threading.Lock()


def speech_share(recording: Recording) -> float:
    """Share of the time in which silero-vad hears a voice, in [0, 1]; held vowels count as voiced by the pitch tracker.

    The detector learned from running speech and lets go of a vowel held for seconds, so the larger of the two counts.

    Returns:
        NaN where the detector is not installed.
    """
    try:
        detector, lock = _detector()
        from silero_vad import get_speech_timestamps
    except (ImportError, OSError, RuntimeError):  # or it brings a library that does not fit the installed PyTorch
        return float("nan")
    waveform, rate = recording.waveform - recording.waveform.mean(), recording.sample_rate
    hop = max(1, rate // 100)
    n_frames = -(-len(waveform) // hop) + 1
    voiced = float((segments_by_voicing(waveform, rate, n_frames, hop) == 2).mean())
    if rate != 16_000:
        waveform = torch.from_numpy(resample(waveform.numpy(), rate, 16_000))
    with torch.inference_mode(), lock:  # the detector carries its state from call to call
        found = get_speech_timestamps(waveform, detector, sampling_rate=16_000)
    heard_s = sum(part["end"] - part["start"] for part in found) / len(waveform)
    return max(heard_s, voiced) if heard_s > 0 or voiced > 0.3 else 0.0
