"""Signs inside a network: which directions and features of its hidden frames find a sign, which of them steer its
answer, and what else their removal costs.

Twins of made voices, with and without a sign, tell where it is. Top-down a direction is the difference of means of the
frames that hold the sign and the same frames without it, or a logistic regression of them. Bottom-up, units are ranked
by attribution patching (nanda2023attribution: gradient x difference of activations), and features are those of a sparse
autoencoder that has heard no label. A head on all hidden layers is fitted to every sign; a direction steers where
taking it out takes the head's answer away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from speechxai.classifiers.base import Classifier
from speechxai.classifiers.hidden import Concept, Edit, inside, over_time, stages, trunk_sha256
from speechxai.classifiers.whisper import EMBEDDED_SHA256, Whisper, fit_head, transcript_through
from speechxai.data.cues import CUES
from speechxai.errors import SpeechXAIError, did_you_mean, in_range
from speechxai.flags import MANY, MAX_SEED
from speechxai.inside.sparse import Sparse, fit_sparse, found_again
from speechxai.planted.material import make_material
from speechxai.planted.settings import SYNTHETIC, BenchmarkSettings, Task
from speechxai.signal.stft import spectrogram
from speechxai.stats import auc, bootstrap
from speechxai.types import Recording

SIGNS = ("breathiness", "tremor", "burst_weakening", "formant_centralization", "monopitch")
TOP_DOWN, BOTTOM_UP, CONTROL = "top-down", "bottom-up", "control"
ONE, ALL = "one layer", "all layers"
MEANS, LOGISTIC, ERASURE, UNIT, UNITS, FEATURE, FEATURES = (
    "difference of means",
    "logistic regression",
    "least change",
    "unit",
    "units",
    "feature",
    "features",
)
RANDOM, OWN_RANDOM, SHUFFLED = "random direction", "difference of two frames", "shuffled frames"
MOST_FRAMES = 40_000
"""Frames that an autoencoder hears at most."""
AT_ONCE = 16
FOUND, HALVED = 0.9, 0.5
"""AUC from which a way finds its sign, and what may be left of the head's gap where it steers."""
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
"""How much of a sign ERASURE, units and features may take out."""
RIDGE = 0.03
"""Of the mean variance of a channel, added to all of them where a covariance is inverted."""

Step = Callable[[float, str], None]
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class ConceptSettings:
    """How much is looked at.

    Args:
        signs: names of CUES.
        n_speakers: made speakers of every sign; a third of them is held out.
        n_takes: pairs of twins of every speaker that directions are learned from.
        duration_s: length of a twin, s.
        seed: of voices, autoencoders and controls.
        n_features, n_active: of the sparse autoencoders, and how many speak at a time.
        n_steps: of their training.
        batch: frames a step.
        n_seeds: autoencoders of every layer, whose features are compared.
        n_random: controls of each kind.
        n_together: units or features that are taken out together.

    Raises:
        SpeechXAIError: an unknown sign, a number out of range.
    """

    signs: tuple[str, ...] = SIGNS
    n_speakers: int = 36
    n_takes: int = 2
    duration_s: float = 2.0
    seed: int = 0
    n_features: int = 256
    n_active: int = 16
    n_steps: int = 1200
    batch: int = 256
    n_seeds: int = 3
    n_random: int = 4
    n_together: int = 8

    def __post_init__(self) -> None:
        for sign in self.signs:
            if sign not in CUES:
                raise SpeechXAIError(did_you_mean(sign, list(CUES), "sign"))
        if not self.signs:
            raise SpeechXAIError(f"Concepts need at least one sign. Known: {', '.join(CUES)}.")
        for name, least in (
            ("n_speakers", 9),
            ("n_takes", 1),
            ("n_active", 1),
            ("n_steps", 1),
            ("batch", 1),
            ("n_seeds", 1),
            ("n_random", 2),
            ("n_together", 1),
        ):
            in_range("concepts", name, getattr(self, name), least, MANY, whole=True)
        in_range("concepts", "n_features", self.n_features, 64, 512, whole=True)
        in_range("concepts", "duration_s", self.duration_s, 1.0, 30.0)
        in_range("concepts", "seed", self.seed, 0, MAX_SEED, whole=True)


QUICK: Mapping[str, Any] = {
    "n_speakers": 9,
    "n_takes": 1,
    "n_features": 64,
    "n_active": 8,
    "n_steps": 60,
    "n_random": 2,
    "n_together": 4,
}
"""What the short form changes: enough to see that everything works."""


@dataclass(frozen=True, eq=False)
class Twins:
    """Pairs of a sign: waveforms (2 P, N), with and without it in turn; owners of pairs; where twins differ (P, N)."""

    waveforms: Tensor
    speakers: tuple[str, ...]
    differs: Tensor

    @property
    def labels(self) -> Tensor:
        """(2 P,): 1, 0, 1, 0, ..."""
        return torch.tensor([1, 0] * len(self.speakers))

    def cue_frames(self, n_frames: int) -> Tensor:
        """(P, T'): whether the sign is in at least half of a frame."""
        share = nn.functional.adaptive_avg_pool1d(self.differs[:, None].float(), n_frames)[:, 0]
        return share >= 0.5

    def some(self, chosen: Sequence[int]) -> Twins:
        """The pairs of those numbers."""
        rows = torch.tensor([2 * pair + k for pair in chosen for k in (0, 1)])
        return Twins(self.waveforms[rows], tuple(self.speakers[k] for k in chosen), self.differs[list(chosen)])


def made_twins(sign: str, settings: ConceptSettings, sample_rate: int) -> tuple[Twins, Twins]:
    """Twins of made voices to learn from, and those of the speakers that are held out, one take each.

    Raises:
        SpeechXAIError: a network of another sample rate than the voices have.
    """
    how = BenchmarkSettings(
        cues=(sign,), n_speakers=settings.n_speakers, n_takes=settings.n_takes, duration_s=settings.duration_s
    )
    pairs = make_material(Task(SYNTHETIC, sign, 1.0, settings.seed), how, []).pairs
    if pairs[0].with_cue.sample_rate != sample_rate:
        raise SpeechXAIError(
            f"Made voices have {pairs[0].with_cue.sample_rate} Hz. This network hears {sample_rate} Hz."
        )
    n_samples = min(len(twin.waveform) for pair in pairs for twin in pair.twins)
    waveforms = torch.stack([t.waveform[:n_samples] for p in pairs for t in (p.with_cue, p.without_cue)])
    difference = (waveforms[0::2] - waveforms[1::2]).abs()
    differs = difference > 1e-4 * waveforms[1::2].abs().amax(dim=1, keepdim=True)
    # Within a cue the difference passes through zero with the sound.
    differs = nn.functional.max_pool1d(differs[:, None].float(), 321, stride=1, padding=160)[:, 0] > 0
    everything = Twins(waveforms, tuple(pair.with_cue.speaker for pair in pairs), differs)
    # Sounds and sexes go round with the speaker, every three and every two: every third one would be of one sound.
    held_out = set(in_blocks(sorted(set(everything.speakers)), 3)[0])
    learned = [k for k, speaker in enumerate(everything.speakers) if speaker not in held_out]
    first = {speaker: k for k, speaker in reversed(list(enumerate(everything.speakers)))}
    return everything.some(learned), everything.some(sorted(first[speaker] for speaker in held_out))


def in_blocks(speakers: Sequence[str], n: int) -> list[list[str]]:
    """Speakers in turn dealt out to n groups, three at a time."""
    return [[each for k, each in enumerate(speakers) if (k // 3) % n == group] for group in range(n)]


Frames = dict[str, Tensor]
"""Hidden frames by stage, (B, T', C) or (B, T', M', C)."""


def look(network: Classifier, waveforms: Tensor, edits: Mapping[str, Edit] | None = None) -> tuple[Frames, Tensor]:
    """Hidden frames of waveforms (B, N) by stage, and the margin of the network's last class over its first (B,)."""
    heard = network.for_length(waveforms.shape[-1])
    found: dict[str, list[Tensor]] = {}
    margins = []
    with torch.no_grad():
        for part in torch.split(waveforms, AT_ONCE):
            spec = spectrogram(part, network.stft)
            with inside(heard, edits) as seen:
                logits = heard.segment_logits(spec.magnitude, spec.phase)
            margins.append(logits[:, -1] - logits[:, 0])
            for stage, values in seen.items():
                found.setdefault(stage, []).extend(values)
    return {stage: torch.cat(values) for stage, values in found.items()}, torch.cat(margins)


class Head(nn.Module):
    """What tells a sign by all hidden layers: their means over frames, standardized, their weighted sum, linear; of
    layers of different widths side by side."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, n_layers: int, width: int) -> None:
        super().__init__()
        self.layer_weights = nn.Parameter(torch.zeros(n_layers))
        self.output = nn.Linear(width, 1)
        self.register_buffer("mean", torch.zeros(n_layers, width))
        self.register_buffer("deviation", torch.ones(n_layers, width))

    @classmethod
    def fitted(cls, pooled: Tensor, twins: Twins, seed: int) -> Head:
        """Fit it to pooled layers (2 P, L, C) of twins, as the head of a frozen encoder is fitted; layers are
        standardized as a whole."""
        head = cls(*pooled.shape[1:])
        owners = [speaker for speaker in twins.speakers for _ in (0, 1)]
        # By channel, what is taken out of a direction would be blown up where it meets a channel that hardly moves.
        fit_head(head, pooled.double(), twins.labels.numpy(), owners, seed, by_channel=False)
        return head.requires_grad_(False).eval()

    def forward(self, pooled: Tensor) -> Tensor:
        """(B, L, C) to logits (B,)."""
        mixed = (self.layer_weights.softmax(dim=0)[:, None] * ((pooled - self.mean) / self.deviation)).sum(dim=1)
        return self.output(mixed)[:, 0]  # type: ignore[no-any-return]


def pooled_of(frames: Mapping[str, Tensor]) -> Tensor:
    """Means over frames: (B, L, C), or (B, 1, sum of C) of layers of different widths."""
    means = [values.flatten(1, -2).mean(dim=1) for values in frames.values()]
    return (
        torch.stack(means, dim=1) if len({each.shape[1] for each in means}) == 1 else torch.cat(means, dim=1)[:, None]
    )


def moments(values: Tensor) -> Tensor:
    """Frames (B, T', M', C) without their frequency axis; (B, T', C) as they are."""
    return values.mean(dim=2) if values.ndim == 4 else values


# ---- what may be taken out
@dataclass(frozen=True, eq=False)
class Way:
    """A way to find a sign, and to take it out.

    Args:
        sign: what it looks for; "" for a control of all.
        name: of the way.
        group: TOP_DOWN, BOTTOM_UP or CONTROL.
        stage: where it is best, by the speakers that it was learned from.
        edits: by stage what takes the sign out.
        scores: by stage how active the sign is: frames (B, T', ..., C) to (B, T', ...).
        together: by stage what takes it out at all of them at once, where that is something else than `edits`.
    """

    sign: str
    name: str
    group: str
    stage: str
    edits: Mapping[str, Edit]
    scores: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    together: Mapping[str, Edit] | None = None


def held(frames: Tensor, twins: Twins) -> tuple[Tensor, Tensor]:
    """Frames with the sign (n, C), and the same frames of the twins without it (n, C)."""
    values = moments(frames)
    where = twins.cue_frames(values.shape[1])
    return values[0::2][where], values[1::2][where]


def difference_of_means(with_sign: Tensor, without: Tensor) -> tuple[Tensor, Tensor]:
    """Direction of length 1 (C,) from frames (m, C) without a sign to frames (n, C) with it, and the center of those
    without."""
    center = without.mean(dim=0)
    direction = with_sign.mean(dim=0) - center
    return direction / direction.norm().clamp(min=1e-12), center


def logistic(with_sign: Tensor, without: Tensor, strength: float = 0.1) -> tuple[Tensor, Tensor]:
    """Direction of length 1 (C,) of a penalized logistic regression on standardized frames, and the center of those
    without the sign."""
    x = torch.cat([with_sign, without]).double()
    y = torch.cat([torch.ones(len(with_sign)), torch.zeros(len(without))]).double()
    deviation = x.std(dim=0).clamp(min=1e-6)
    x = (x - x.mean(dim=0)) / deviation
    weight = torch.zeros(x.shape[1], dtype=x.dtype, requires_grad=True)
    bias = torch.zeros((), dtype=x.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        cost = nn.functional.binary_cross_entropy_with_logits(x @ weight + bias, y)
        cost = cost + weight.square().sum() / (2 * strength * len(x))
        cost.backward()  # type: ignore[no-untyped-call]
        return cost

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    direction = (weight.detach() / deviation).float()
    return direction / direction.norm().clamp(min=1e-12), without.mean(dim=0)


def least_change(with_sign: Tensor, without: Tensor, everything: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What takes a sign out of frames and changes them least: x - ((x - c) . q) d (belrose2023leace).

    d is the difference of means, q = S^-1 d / (d . S^-1 d) what tells the sign best among frames of covariance S. A
    projection changes a frame by all that lies along d, much of which is no sign but the voice; this one only by what
    q says of the sign.

    Args:
        with_sign: frames (n, C) with the sign.
        without: frames (m, C) without it.
        everything: frames (N, C) of every kind, for S.

    Returns:
        d (C,), q (C,) with d . q = 1, and c (C,), the mean of the frames without the sign.
    """
    center = without.mean(dim=0)
    along = (with_sign.mean(dim=0) - center).double()
    covariance = torch.cov(everything.T.double(), correction=0)
    ridge = RIDGE * covariance.diagonal().mean().clamp(min=1e-12)
    reading = torch.linalg.solve(covariance + ridge * torch.eye(len(along), dtype=along.dtype), along)
    reading = reading / (reading @ along).clamp(min=1e-12)
    return along.float(), reading.float(), center


def _read(frames: Tensor, reading: Tensor, center: Tensor) -> Tensor:
    return (frames - center) @ reading


def _lessened(frames: Tensor, along: Tensor, reading: Tensor, center: Tensor, share: float) -> Tensor:
    return frames - share * _read(frames, reading, center)[..., None] * along


def separation(scores: Tensor) -> float:
    """How far recordings with a sign score above those without (2 P,), in deviations within the classes."""
    inside_, outside = scores[0::2].double(), scores[1::2].double()
    spread = ((inside_.var() + outside.var()) / 2).sqrt().clamp(min=1e-12)
    return float((inside_.mean() - outside.mean()) / spread)


def recording_scores(score: Callable[[Tensor], Tensor], frames: Tensor) -> Tensor:
    """Mean over time of how active something is: frames (B, T', ..., C) to (B,)."""
    return over_time(score(frames)).mean(dim=1)


def patched(network: Classifier, head: Head, twins: Twins, autoencoders: Mapping[str, Sparse]) -> tuple[Frames, Frames]:
    """Attribution patching: how far the head's logit would fall if a unit were as in the twin without the sign.

    effect_c = mean over pairs of sum_t (dz / dh_tc)(h_tc with - h_tc without), the gradient at the twin with the sign;
    of a feature with the autoencoder's activations in the place of h and the decoder's direction times the gradient.

    Returns:
        Effects of the units (C,) and of the features (K,) by stage.
    """
    units: dict[str, list[Tensor]] = {}
    features: dict[str, list[Tensor]] = {}
    first = stages(network)[0].name
    heard = network.for_length(twins.waveforms.shape[-1])
    lacking, _ = look(network, twins.waveforms[1::2])
    for index, part in enumerate(torch.split(twins.waveforms[0::2], AT_ONCE)):
        spec = spectrogram(part, network.stft)
        with inside(heard, {first: lambda values: values.detach().requires_grad_()}) as seen:
            heard.segment_logits(spec.magnitude, spec.phase)
        found = {stage: values[0] for stage, values in seen.items()}
        gradients = torch.autograd.grad(head(pooled_of(found)).sum(), list(found.values()))
        for (stage, values), gradient in zip(found.items(), gradients, strict=True):
            without = lacking[stage][index * AT_ONCE : index * AT_ONCE + len(part)]
            values = values.detach()
            units.setdefault(stage, []).append((gradient * (values - without)).flatten(1, -2).sum(dim=1))
            if stage in autoencoders:
                sparse = autoencoders[stage]
                change = sparse.features(values) - sparse.features(without)
                pull = sparse.scale * (gradient @ sparse.decoder.T)
                features.setdefault(stage, []).append((change * pull).flatten(1, -2).sum(dim=1))
    return tuple({stage: torch.cat(rows).mean(dim=0) for stage, rows in each.items()} for each in (units, features))  # type: ignore[return-value]


def _set_units(frames: Tensor, which: Tensor, levels: Tensor, share: float = 1.0) -> Tensor:
    changed = frames.clone()
    changed[..., which] += share * (levels - changed[..., which])
    return changed


def _direction_way(
    sign: str, name: str, group: str, stage: str, found: Mapping[str, tuple[Tensor, Tensor]]
) -> tuple[Way, dict[str, Concept]]:
    concepts = {each: Concept(sign, each, *pair, float("nan"), "", name) for each, pair in found.items()}
    edits = {each: concept.removed for each, concept in concepts.items()}
    scores = {each: concept.active for each, concept in concepts.items()}
    return Way(sign, name, group, stage, edits, scores), concepts


def ways_of(
    network: Classifier,
    sign: str,
    head: Head,
    twins: Twins,
    frames: Frames,
    autoencoders: Mapping[str, Sparse],
    settings: ConceptSettings,
    everything: Mapping[str, Tensor],
) -> tuple[list[Way], dict[str, Concept], list[dict[str, Any]]]:
    """All ways to find one sign, learned from `twins`; the concept of every stage by difference of means; and the table
    of layers: how far apart recordings lie, by halves of the speakers that did not make the direction. `everything`:
    frames (n, C) of every sign's voices by stage."""
    pairs = {stage: held(values, twins) for stage, values in frames.items()}
    groups = in_blocks(sorted(set(twins.speakers)), 2)
    halves = [[k for k, speaker in enumerate(twins.speakers) if speaker in group] for group in groups]
    found, layers = [], []
    concepts: dict[str, Concept] = {}
    for name, learn in ((MEANS, difference_of_means), (LOGISTIC, logistic)):
        apart: dict[str, float] = {}
        for stage, values in frames.items():
            both = []
            for chosen, others in (halves, halves[::-1]):
                rows = torch.tensor([2 * k + twin for k in chosen for twin in (0, 1)])
                direction, center = learn(*held(values[rows], twins.some(chosen)))
                rest = torch.tensor([2 * k + twin for k in others for twin in (0, 1)])
                both.append(separation(((moments(values[rest]) - center) @ direction).mean(dim=1)))
            apart[stage] = float(np.mean(both))
            layers.append({"sign": sign, "how": name, "layer": stage, "apart": apart[stage]})
        best = max(apart, key=lambda stage: apart[stage])
        way, made = _direction_way(sign, name, TOP_DOWN, best, {s: learn(*pair) for s, pair in pairs.items()})
        found.append(way)
        concepts = concepts or made
    way, table = _erasure_way(network, sign, head, twins, frames, halves, everything)
    found.append(way)
    layers += table
    found += _bottom_up_ways(network, sign, head, twins, frames, halves, autoencoders, settings)
    draw = torch.Generator().manual_seed(settings.seed + 7)
    for _ in range(settings.n_random):
        mixed = {}
        for stage, (with_sign, without) in pairs.items():
            together = torch.cat([with_sign, without])
            order = torch.randperm(len(together), generator=draw)
            mixed[stage] = difference_of_means(together[order[: len(with_sign)]], together[order[len(with_sign) :]])
        found.append(_direction_way(sign, SHUFFLED, CONTROL, found[0].stage, mixed)[0])
    return found, concepts, layers


Lessening = Callable[..., Tensor]
"""Changes frames by a share, given by name, of what it would change them by."""


def at_share(edits: Mapping[str, Lessening], share: float) -> dict[str, Edit]:
    """Edits by stage that take out that share."""
    return {stage: partial(edit, share=share) for stage, edit in edits.items()}


@dataclass(frozen=True, eq=False)
class Crossed:
    """How much is needed, by speakers that had no say in what is taken out.

    Args:
        network: whose inside it is.
        head: of the sign.
        twins: of all speakers that are learned from.
        frames: their hidden frames.
        tried: what was learned from one half of them by stage, and the numbers of the other half's pairs; both ways.
    """

    network: Classifier
    head: Head
    twins: Twins
    frames: Frames
    tried: Sequence[tuple[Mapping[str, Lessening], Sequence[int]]]

    def left(self, share: float, reach: Sequence[str]) -> float:
        """What is left of the head's gap where that share is taken out of those stages, mean of the two halves."""
        before = self.head(pooled_of(self.frames))
        gaps = before[0::2] - before[1::2]
        found = []
        for made, others in self.tried:
            edits = at_share({stage: made[stage] for stage in reach}, share)
            logits = self.head(pooled_of(look(self.network, self.twins.some(others).waveforms, edits)[0]))
            found.append(left_of(logits[0::2] - logits[1::2], gaps[list(others)]))
        return float(np.mean(found))

    def enough(self, reach: Sequence[str]) -> float:
        """The least of SHARES that halves the gap; all where all does not."""
        if self.left(SHARES[-1], reach) > HALVED:
            return SHARES[-1]
        return next((share for share in SHARES[:-1] if self.left(share, reach) <= HALVED), SHARES[-1])


def _erasure_way(
    network: Classifier,
    sign: str,
    head: Head,
    twins: Twins,
    frames: Frames,
    halves: Sequence[Sequence[int]],
    everything: Mapping[str, Tensor],
) -> tuple[Way, Rows]:
    """The sign taken out with least change, where and as much as speakers say that did not make the direction: at the
    stage after which least of the head's gap is left, and at all at once, the least share that halves it. A direction
    of half of the speakers moves the gap of the others less than one of all, so what is chosen errs towards too much.
    """

    def learned(chosen: Sequence[int]) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
        rows, some = torch.tensor([2 * k + twin for k in chosen for twin in (0, 1)]), twins.some(chosen)
        return {s: least_change(*held(values[rows], some), everything[s]) for s, values in frames.items()}

    def edits_of(made: Mapping[str, tuple[Tensor, Tensor, Tensor]]) -> dict[str, Lessening]:
        return {
            stage: partial(_lessened, along=along, reading=reading, center=center)
            for stage, (along, reading, center) in made.items()
        }

    tried = [(learned(chosen), others) for chosen, others in (halves, halves[::-1])]
    crossed = Crossed(network, head, twins, frames, [(edits_of(made), others) for made, others in tried])
    alone = {stage: crossed.left(1.0, [stage]) for stage in frames}
    best = min(alone, key=lambda stage: abs(alone[stage]))
    table: Rows = []
    for stage, values in frames.items():
        apart = []
        for made, others in tried:
            _, reading, center = made[stage]
            rest = torch.tensor([2 * k + twin for k in others for twin in (0, 1)])
            apart.append(separation(_read(moments(values[rest]), reading, center).mean(dim=1)))
        table.append({"sign": sign, "how": ERASURE, "layer": stage, "apart": float(np.mean(apart))})
    whole = learned(range(len(twins.speakers)))
    edits = edits_of(whole)
    return (
        Way(
            sign,
            ERASURE,
            TOP_DOWN,
            best,
            at_share(edits, crossed.enough([best])),
            {stage: partial(_read, reading=q, center=c) for stage, (_, q, c) in whole.items()},
            at_share(edits, crossed.enough(list(frames))),
        ),
        table,
    )


def _bottom_up_ways(
    network: Classifier,
    sign: str,
    head: Head,
    twins: Twins,
    frames: Frames,
    halves: Sequence[Sequence[int]],
    autoencoders: Mapping[str, Sparse],
    settings: ConceptSettings,
) -> list[Way]:
    """Units and features, ranked and leveled by all speakers, and set no further than is needed: the share is chosen as
    that of ERASURE is, by those of one half of the speakers in the voices of the other."""

    def learned(chosen: Sequence[int]) -> list[tuple[Way, dict[str, Lessening]]]:
        rows, some = torch.tensor([2 * k + twin for k in chosen for twin in (0, 1)]), twins.some(chosen)
        own = {stage: values[rows] for stage, values in frames.items()}
        units, features = patched(network, head, some, autoencoders)
        pairs = {stage: held(values, some) for stage, values in own.items()}
        return [
            *_unit_ways(sign, units, pairs, own, settings),
            *_feature_ways(sign, features, own, autoencoders, settings),
        ]

    tried = [(learned(chosen), others) for chosen, others in (halves, halves[::-1])]
    found = []
    for number, (way, edits) in enumerate(learned(range(len(twins.speakers)))):
        crossed = Crossed(network, head, twins, frames, [(made[number][1], others) for made, others in tried])
        one, all_ = (at_share(edits, crossed.enough(reach)) for reach in ([way.stage], list(frames)))
        found.append(replace(way, edits=one, together=all_))
    return found


def _unit_ways(
    sign: str,
    effects: Frames,
    pairs: Mapping[str, tuple[Tensor, Tensor]],
    frames: Frames,
    settings: ConceptSettings,
) -> list[tuple[Way, dict[str, Lessening]]]:
    found = []
    for name, n in ((UNIT, 1), (UNITS, settings.n_together)):
        edits: dict[str, Lessening] = {}
        scores: dict[str, Callable[[Tensor], Tensor]] = {}
        apart = {}
        for stage, effect in effects.items():
            which = effect.argsort(descending=True)[:n]
            with_sign, without = pairs[stage]
            center, spread = without.mean(dim=0)[which], without.std(dim=0)[which].clamp(min=1e-6)
            rise = (with_sign.mean(dim=0)[which] - center) / spread
            edits[stage] = partial(_set_units, which=which, levels=center)
            scores[stage] = partial(_units_active, which=which, center=center, weights=rise.sign() / spread)
            apart[stage] = separation(recording_scores(scores[stage], frames[stage]))
        best = max(apart, key=lambda stage: apart[stage])
        found.append((Way(sign, name, BOTTOM_UP, best, edits, scores), edits))
    return found


def _units_active(frames: Tensor, which: Tensor, center: Tensor, weights: Tensor) -> Tensor:
    return (frames[..., which] - center) @ weights


def _feature_ways(
    sign: str, effects: Frames, frames: Frames, autoencoders: Mapping[str, Sparse], settings: ConceptSettings
) -> list[tuple[Way, dict[str, Lessening]]]:
    """The feature that tells recordings apart best, and those that attribution patching ranks first."""
    found = []
    active = {
        stage: autoencoders[stage].features(values).flatten(1, -2).mean(dim=1) for stage, values in frames.items()
    }
    for name, n in ((FEATURE, 1), (FEATURES, settings.n_together)):
        edits: dict[str, Lessening] = {}
        scores: dict[str, Callable[[Tensor], Tensor]] = {}
        apart = {}
        for stage, means in active.items():
            sparse = autoencoders[stage]
            rises = torch.tensor([separation(column) for column in means.T])
            rises[means.amax(dim=0) <= 0] = 0.0
            which = rises.abs().argsort(descending=True)[:1] if n == 1 else effects[stage].argsort(descending=True)[:n]
            levels = means[1::2].mean(dim=0)[which]
            spread = means[:, which].std(dim=0).clamp(min=1e-6)
            edits[stage] = partial(sparse.clamped, which=which.tolist(), levels=levels)
            scores[stage] = partial(_features_active, sparse=sparse, which=which, weights=rises[which].sign() / spread)
            apart[stage] = separation(recording_scores(scores[stage], frames[stage]))
        best = max(apart, key=lambda stage: apart[stage])
        found.append((Way(sign, name, BOTTOM_UP, best, edits, scores), edits))
    return found


def _features_active(frames: Tensor, sparse: Sparse, which: Tensor, weights: Tensor) -> Tensor:
    return sparse.features(frames)[..., which] @ weights


def controls(frames: Mapping[str, Tensor], settings: ConceptSettings) -> list[Way]:
    """Directions that know no sign: drawn anywhere, and between two frames drawn from those that were heard."""
    draw = torch.Generator().manual_seed(settings.seed + 3)
    names = list(frames)
    found = []
    for kind in (RANDOM, OWN_RANDOM):
        for number in range(settings.n_random):
            made = {}
            for stage, values in frames.items():
                if kind == RANDOM:
                    direction = torch.randn(values.shape[1], generator=draw)
                else:
                    first, second = torch.randint(len(values), (2,), generator=draw).tolist()
                    direction = values[first] - values[second]
                made[stage] = direction / direction.norm().clamp(min=1e-12), values.mean(dim=0)
            found.append(_direction_way("", kind, CONTROL, names[number % len(names)], made)[0])
    return found


# ---- what follows when it is taken out
@dataclass(frozen=True, eq=False)
class Scene:
    """What every way is measured on.

    Args:
        network: whose inside it is.
        twins: held-out pairs by sign.
        heads: by sign.
        gaps: by sign how far its head puts a twin with it above its twin, by pair (P,).
        margins: the same by the network's own answer.
        means: by sign the last layer's means over time (2 P, C).
        clips: real speech, (N,) each at 16 kHz.
        words: what Whisper's decoder reads of each.
    """

    network: Classifier
    twins: Mapping[str, Twins]
    heads: Mapping[str, Head]
    gaps: Mapping[str, Tensor]
    margins: Mapping[str, Tensor]
    means: Mapping[str, Tensor]
    clips: tuple[Tensor, ...] = ()
    words: tuple[str, ...] = ()


def reads_words(network: Classifier) -> bool:
    """Whether the decoder of Whisper tiny.en was made for the encoder of this network."""
    backbone = network.backbone
    return (
        isinstance(backbone, Whisper)
        and not backbone.config.random
        and bytes(backbone.network.encoder_sha256.tolist()).hex() == EMBEDDED_SHA256
    )


def word_changes(first: str, second: str) -> int:
    """Words inserted, left out or replaced between two texts, at least; case and punctuation do not count.

    >>> word_changes("The cat sat.", "the cat sat down")
    1
    """
    a, b = (["".join(c for c in w.lower() if c.isalnum()) for w in text.split()] for text in (first, second))
    a, b = [w for w in a if w], [w for w in b if w]
    row = list(range(len(b) + 1))
    for i, word in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (word != other))
    return row[-1]


def read_clips(network: Classifier, clips: Sequence[Tensor], edits: Mapping[str, Edit]) -> tuple[str, ...]:
    """What Whisper's decoder reads of clips (N,) while the edits are in place."""
    assert isinstance(network.backbone, Whisper)
    with inside(network, edits):
        return tuple(transcript_through(network.backbone.network.encoder, clip) for clip in clips)


def set_scene(
    network: Classifier, twins: Mapping[str, Twins], heads: Mapping[str, Head], clips: Sequence[Tensor]
) -> Scene:
    """Look at everything once with nothing taken out."""
    gaps, margins, means = {}, {}, {}
    for sign, each in twins.items():
        frames, margin = look(network, each.waveforms)
        logits = heads[sign](pooled_of(frames))
        gaps[sign], margins[sign] = logits[0::2] - logits[1::2], margin[0::2] - margin[1::2]
        means[sign] = list(frames.values())[-1].flatten(1, -2).mean(dim=1)
    usable = tuple(clips) if reads_words(network) else ()
    words = read_clips(network, usable, {}) if usable else ()
    return Scene(network, twins, heads, gaps, margins, means, usable, words)


def left_of(after: Tensor, before: Tensor) -> float:
    """What is left of a gap (P,): mean after over mean before."""
    whole = float(before.double().mean())
    return float(after.double().mean()) / whole if abs(whole) > 1e-12 else float("nan")


def steer(scene: Scene, way: Way, reach: str) -> dict[str, Any]:
    """Take a sign out and look at everything again.

    Args:
        scene: what is looked at.
        way: what is taken out.
        reach: ONE, at the way's own stage, or ALL, at every stage what the way found there.

    Returns:
        sign, how, group, reach, layer; `left` of every sign's gap by its head, `own` of the network's own margin on the
        way's sign, `cosine` of recordings' means in the last layer to what they were (less the mean of all), and
        `words` changed in the clips (None where no decoder reads the network, where more than HALVED of the way's own
        gap is left, and of controls but directions drawn anywhere).
    """
    edits = {way.stage: way.edits[way.stage]} if reach == ONE else way.together or way.edits
    left, own, cosines, intervals = {}, {}, [], {}
    everybody = torch.cat(list(scene.means.values())).mean(dim=0)
    for sign, twins in scene.twins.items():
        frames, margin = look(scene.network, twins.waveforms, edits)
        logits = scene.heads[sign](pooled_of(frames))
        gaps = logits[0::2] - logits[1::2]
        left[sign] = left_of(gaps, scene.gaps[sign])
        intervals[sign] = _interval(gaps, scene.gaps[sign])
        own[sign] = left_of(margin[0::2] - margin[1::2], scene.margins[sign])
        means = list(frames.values())[-1].flatten(1, -2).mean(dim=1)
        cosines.append(nn.functional.cosine_similarity(means - everybody, scene.means[sign] - everybody, dim=1))
    # Words are dear, and asked for only of what could steer and of what it is held against.
    dear = way.group != CONTROL and abs(left[way.sign]) <= HALVED
    heard = bool(scene.clips) and (way.name == RANDOM or dear)
    said = read_clips(scene.network, scene.clips, edits) if heard else ()
    return {
        "sign": way.sign,
        "how": way.name,
        "group": way.group,
        "reach": reach,
        "layer": way.stage if reach == ONE else "all",
        "left": left,
        "interval": intervals,
        "own": own,
        "cosine": float(torch.cat(cosines).mean()),
        "words": sum(map(word_changes, scene.words, said)) if heard else None,
    }


def _interval(after: Tensor, before: Tensor) -> list[float]:
    """95 % interval of `left_of`, one pair a speaker."""
    return list(bootstrap(lambda drawn: left_of(after[drawn], before[drawn]), len(after), n=300))


def detection(way: Way, frames: Frames, twins: Twins) -> dict[str, float]:
    """How well a way finds its sign in held-out voices: AUC of recordings, and of moments within those that have it."""
    found = {}
    values = way.scores[way.stage](frames[way.stage])
    by_moment = over_time(values)
    found["auc"] = auc(by_moment.mean(dim=1).numpy(), twins.labels.numpy())
    where = twins.cue_frames(by_moment.shape[1])
    areas = [auc(row.numpy(), mask.numpy().astype(int)) for row, mask in zip(by_moment[0::2], where, strict=True)]
    found["auc_moments"] = float(np.nanmean(areas)) if np.isfinite(areas).any() else float("nan")
    return found


# ---- everything
@dataclass(frozen=True, eq=False)
class Found:
    """What was found inside a network.

    Args:
        concepts: what is stored, by sign.
        rows: one a sign and way and reach, see `steer`, with `auc` and `auc_moments` where it looks for a sign.
        layers: one a sign, way and stage.
        stability: one a stage: share of features `found_again` over seeds, the same of random directions, how much of
            the frames' variance is explained, and how many features are alive.
        heads: AUC of every sign's head for held-out speakers.
        n_words: that Whisper reads in the clips.
    """

    concepts: Mapping[str, Concept]
    rows: tuple[dict[str, Any], ...]
    layers: tuple[dict[str, Any], ...]
    stability: tuple[dict[str, Any], ...]
    heads: Mapping[str, float]
    n_words: int | None


@dataclass(frozen=True, eq=False)
class Ground:
    """What every sign is looked for on.

    Args:
        settings: how much is looked at.
        learned: twins to learn from and their hidden frames, by sign.
        autoencoders: of every stage, one a seed; signs are looked for among the features of the first.
        sampled: frames (n, C) of every stage that the autoencoders heard.
        scene: held-out twins and clips with nothing taken out.
        intact: hidden frames of the held-out twins, by sign.
    """

    settings: ConceptSettings
    learned: Mapping[str, tuple[Twins, Frames]]
    autoencoders: Mapping[str, Sequence[Sparse]]
    sampled: Mapping[str, Tensor]
    scene: Scene
    intact: Mapping[str, Frames]

    def stability(self) -> tuple[dict[str, Any], ...]:
        """See `Found`."""
        seed = self.settings.seed
        return tuple(_stability(name, each, self.sampled[name], seed) for name, each in self.autoencoders.items())

    def heads(self) -> dict[str, float]:
        """See `Found`."""
        return {
            sign: auc(self.scene.heads[sign](pooled_of(frames)).numpy(), self.scene.twins[sign].labels.numpy())
            for sign, frames in self.intact.items()
        }

    def n_words(self) -> int | None:
        """See `Found`."""
        return sum(len(text.split()) for text in self.scene.words) if self.scene.clips else None


def set_ground(
    network: Classifier,
    settings: ConceptSettings,
    clips: Sequence[Recording] = (),
    step: Step = lambda share, what: None,
    autoencoders: Mapping[str, Sequence[Sparse]] | None = None,
) -> Ground:
    """Make voices, look at them, and learn heads and autoencoders; arguments as of `find_concepts`.

    Args:
        autoencoders: those of an earlier call with the same network and settings, which are then not learned again.

    Raises:
        NotApplicable: a network without hidden stages.
        SpeechXAIError: made voices that it cannot hear.
    """
    names = [stage.name for stage in stages(network)]
    made = {sign: made_twins(sign, settings, network.stft.sample_rate) for sign in settings.signs}
    step(0.05, "voices")
    learned = {sign: look(network, twins.waveforms)[0] for sign, (twins, _) in made.items()}
    heads = {sign: Head.fitted(pooled_of(frames), made[sign][0], settings.seed) for sign, frames in learned.items()}
    step(0.15, "heads")
    sampled = {name: _sampled([frames[name] for frames in learned.values()], settings.seed) for name in names}
    trained = dict(autoencoders or {})
    for number, name in enumerate(name for name in names if name not in trained):
        trained[name] = [
            fit_sparse(
                sampled[name],
                settings.n_features,
                settings.n_active,
                seed=settings.seed * 100 + k,
                n_steps=settings.n_steps,
                batch=settings.batch,
            )
            for k in range(settings.n_seeds)
        ]
        step(0.15 + 0.25 * (number + 1) / len(names), f"autoencoders of {name}")
    held_out = {sign: twins for sign, (_, twins) in made.items()}
    intact = {sign: look(network, twins.waveforms)[0] for sign, twins in held_out.items()}
    scene = set_scene(network, held_out, heads, [clip.waveform for clip in clips])
    both = {sign: (made[sign][0], frames) for sign, frames in learned.items()}
    return Ground(settings, both, trained, sampled, scene, intact)


def look_for(ground: Ground, sign: str, step: Step = lambda share, what: None) -> tuple[Concept, Rows, Rows]:
    """Every way to find one sign, taken out: the concept that is stored, and its rows and layers (see `Found`)."""
    network, settings = ground.scene.network, ground.settings
    twins, frames = ground.learned[sign]
    first = {name: each[0] for name, each in ground.autoencoders.items()}
    ways, by_stage, layers = ways_of(
        network, sign, ground.scene.heads[sign], twins, frames, first, settings, ground.sampled
    )
    facts = [detection(way, ground.intact[sign], ground.scene.twins[sign]) for way in ways]
    best = by_stage[ways[0].stage]
    concept = Concept(sign, best.stage, best.direction, best.center, facts[0]["auc"], trunk_sha256(network))
    rows: Rows = []
    for number, (way, found) in enumerate(zip(ways, facts, strict=True)):
        rows += [{**steer(ground.scene, way, reach), **found} for reach in (ONE, ALL)]
        step((number + 1) / len(ways), f"{sign}: {way.name}")
    return concept, rows, layers


def control_rows(ground: Ground, step: Step = lambda share, what: None) -> Rows:
    """Rows of directions that know no sign (see `Found`)."""
    ways = controls(ground.sampled, ground.settings)
    rows: Rows = []
    for number, way in enumerate(ways):
        rows += [steer(ground.scene, way, reach) for reach in (ONE, ALL)]
        step((number + 1) / len(ways), f"controls: {way.name}")
    return rows


def find_concepts(
    network: Classifier,
    settings: ConceptSettings,
    clips: Sequence[Recording] = (),
    step: Step = lambda share, what: None,
) -> Found:
    """Look for signs inside a network, take them out, and count what else goes.

    Args:
        network: whose backbone states its hidden stages; recordings are heard whole.
        settings: how much is looked at.
        clips: real speech at 16 kHz whose transcript must stay, for encoders that Whisper's decoder reads.
        step: called with the share that is done, and what was done.

    Raises:
        NotApplicable: a network without hidden stages.
        SpeechXAIError: made voices that it cannot hear.
    """
    ground = set_ground(network, settings, clips, step)
    concepts: dict[str, Concept] = {}
    rows: Rows = []
    layers: Rows = []
    each = 0.5 / (len(settings.signs) + 1)
    for number, sign in enumerate(settings.signs):
        concepts[sign], some, table = look_for(ground, sign, _within(step, 0.5 + number * each, each))
        rows += some
        layers += table
    rows += control_rows(ground, _within(step, 1 - each, each))
    return Found(concepts, tuple(rows), tuple(layers), ground.stability(), ground.heads(), ground.n_words())


def _within(step: Step, start: float, width: float) -> Step:
    """Progress of a part as progress of the whole."""
    return lambda share, what: step(start + share * width, what)


def _sampled(values: Sequence[Tensor], seed: int) -> Tensor:
    """Frames (n, C) of several batches, at most MOST_FRAMES."""
    frames = torch.cat([each.flatten(0, -2) for each in values])
    if len(frames) <= MOST_FRAMES:
        return frames
    return frames[torch.randperm(len(frames), generator=torch.Generator().manual_seed(seed))[:MOST_FRAMES]]


def _stability(name: str, trained: Sequence[Sparse], frames: Tensor, seed: int) -> dict[str, Any]:
    """Share of living features that an autoencoder of another seed has as well, beside directions drawn at random."""
    draw = torch.Generator().manual_seed(seed + 11)
    alive = [each.decoder[(each.features(frames) > 0).float().mean(dim=0) > 1e-4] for each in trained]
    again = [found_again(a, b) for k, a in enumerate(alive) for m, b in enumerate(alive) if k != m]
    drawn = [torch.randn(each.shape, generator=draw) for each in alive]
    by_chance = [found_again(a, b) for a, b in zip(alive, drawn, strict=True)]
    return {
        "layer": name,
        "again": float(np.mean(again)) if again else float("nan"),
        "random": float(np.mean(by_chance)),
        "explained": float(np.mean([each.explained(frames[:4000]) for each in trained])),
        "alive": float(np.mean([len(each) for each in alive])),
    }
