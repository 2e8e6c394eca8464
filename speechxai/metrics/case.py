"""What every metric reads: one batch of maps with the probabilities that masking leaves, each computed once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn

from speechxai.classifiers.base import logits
from speechxai.classifiers.network import as_network, said, stated
from speechxai.errors import SpeechXAIError
from speechxai.explain.agreement import strongest_first
from speechxai.explain.combination import evidence
from speechxai.families import METRICS as METRICS
from speechxai.signal import acoustics, stft
from speechxai.types import Attribution, Spectrogram, StftConfig

Fill = Literal["silence", "noise", "mean", "neighbors"]


def matched_noise(spec: Spectrogram, seed: int) -> Tensor:
    """Magnitudes (B, F, T) of noise with every bin's median level over the recording and Rayleigh fluctuation."""
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(spec.magnitude.shape[1:], generator=generator).clamp_min(1e-6).to(spec.magnitude)
    rayleigh = torch.sqrt(-torch.log(uniform)) / 0.8326  # median 1, the same draw for every recording of the batch
    return spec.magnitude.median(dim=-1, keepdim=True).values * rayleigh


FILLS: dict[str, Callable[[Spectrogram, int], Tensor] | None] = {
    "silence": lambda spec, seed: torch.zeros_like(spec.magnitude),
    "noise": matched_noise,
    "mean": lambda spec, seed: spec.magnitude.mean(dim=-1, keepdim=True).expand_as(spec.magnitude),
    "neighbors": None,  # depends on what is kept: see `from_neighbors`
}
"""What stands where bins are removed, (B, F, T), by name."""
REACHES = ((250.0, 0.05), (1000.0, 0.2))
"""How far `from_neighbors` looks to each side, Hz and s: as near as there is something."""


def from_neighbors(magnitude: Tensor, keep: Tensor, config: StftConfig) -> Tensor:
    """What the kept bins around say of removed ones: normalized convolution (knutsson1993normalized).

    Mean of the magnitudes (..., F, T) around each bin, weighed by `keep` (..., F, T) in [0, 1], within the first of
    REACHES that holds something kept, else over all that is kept; 0 where nothing is.
    """
    shape = torch.broadcast_shapes(magnitude.shape, keep.shape)  # type: ignore[no-untyped-call]
    kept = keep.expand(shape).reshape(-1, 1, *shape[-2:])
    heard = (magnitude * keep).reshape(-1, 1, *shape[-2:])
    amount = kept.mean(dim=(2, 3), keepdim=True)
    filling = torch.where(amount > 0, heard.mean(dim=(2, 3), keepdim=True) / amount.clamp_min(1e-12), 0.0)
    filling = filling.expand_as(heard)
    for hz, s in reversed(REACHES):
        reach = max(1, round(hz / config.bin_hz)), max(1, round(s * config.frame_rate_hz))
        near, around = (_box_mean(values, reach) for values in (heard, kept))
        # A share under 1e-6 is what a sum of single precision leaves of nothing.
        filling = torch.where(around > 1e-6, near / around.clamp_min(1e-6), filling)
    return filling.reshape(shape)


def _box_mean(values: Tensor, reach: tuple[int, int]) -> Tensor:
    """Mean (N, 1, F, T) within `reach` bins and frames to each side; what lies outside counts as 0, in numerator and
    denominator alike."""
    for axis, each in ((2, reach[0]), (3, reach[1])):
        n = values.shape[axis]
        if n <= LONGEST_BAND:
            # A product with a band of ones: boxes are wide, and pooling adds each of their values anew.
            place = torch.arange(n, device=values.device)
            band = ((place[:, None] - place).abs() <= each).to(values) / (2 * each + 1)
            values = band @ values if axis == 2 else values @ band
            continue
        size, pad = [1, 1], [0, 0]
        size[axis - 2], pad[axis - 2] = 2 * each + 1, each
        values = torch.nn.functional.avg_pool2d(values, tuple(size), stride=1, padding=tuple(pad))
    return values


LONGEST_BAND = 2048
"""Bins or frames up to which boxes are products: their cost grows with the square of the length, that of pooling does
not."""


class Case:
    """One batch of explanations under test: a map for every recording of `spec`, and what the model says of each half.

    Args:
        model: `forward(magnitude, phase) -> logits (B, C)`.
        spec: the recordings, (B, F, T). To score many maps of one recording in one case, repeat it along B.
        attribution: the maps (B, F, T) and the explained class of each.
        kind: "positive" reads only evidence for the class, "absolute" reads magnitudes; None takes "positive" for
            signed maps.
        fill: what stands where bins are removed.
        probability: (B, C) of the original recordings where it is known already.
        truth: ground-truth map (B, F, T) in [0, 1], for the localization metrics.
        seed: of the noise fill.

    Raises:
        SpeechXAIError: shapes that do not agree, an unknown fill.
    """

    def __init__(
        self,
        model: nn.Module,
        spec: Spectrogram,
        attribution: Attribution,
        *,
        kind: Literal["positive", "absolute"] | None = None,
        fill: Fill = "silence",
        probability: Tensor | None = None,
        truth: Tensor | None = None,
        seed: int = 0,
    ) -> None:
        if attribution.values.shape != spec.magnitude.shape:
            raise SpeechXAIError(
                f"{attribution.recipe}: the map has shape {tuple(attribution.values.shape)}, "
                f"the spectrogram {tuple(spec.magnitude.shape)}."
            )
        if fill not in FILLS:
            raise SpeechXAIError(f"The 'fill' parameter must be one of {', '.join(FILLS)}. Got {fill!r} instead.")
        self.model, self.spec, self.attribution = model, spec, attribution
        self.network = as_network(model).for_length(spec.n_samples)
        self.kind, self.fill, self.seed, self.truth = kind, fill, seed, truth
        if probability is not None:
            self.probability = probability
        self.reasons: dict[tuple[str, int], str] = {}
        """Why a metric is undefined for a row, by metric and row, as far as the metric says."""
        self._budgets: dict[tuple[bool, int], Tensor] = {}
        self._filled: dict[str, Case] = {}

    @property
    def target(self) -> Tensor:
        """Explained class (B,)."""
        return self.attribution.target

    @property
    def reads(self) -> Literal["positive", "absolute"]:
        """What of a map is evidence: its positive part, or its size."""
        return self.kind or ("positive" if self.attribution.signed else "absolute")

    @cached_property
    def mask(self) -> Tensor:
        """Evidence (B, F, T) in [0, 1]: 1 is the strongest bin of that recording's map."""
        return evidence(self.attribution.values, self.reads)

    @cached_property
    def is_empty(self) -> Tensor:
        """Whether the map holds no evidence at all (B,), bool."""
        return self.mask.flatten(1).amax(dim=1) <= 0

    @cached_property
    def logits(self) -> Tensor:
        """Logits of the original recordings (B, C); of given probabilities their logarithms, which mean the same."""
        if "probability" in self.__dict__:
            if stated(self.network, "unit", ""):
                return self.probability
            return self.probability.clamp(min=torch.finfo(self.probability.dtype).tiny).log()
        return logits(self.network, self.spec.magnitude, self.spec.phase)

    @cached_property
    def probability(self) -> Tensor:
        """Class probabilities of the original recordings (B, C), or their score in its unit (B, 1)."""
        return said(self.network, self.logits)

    @cached_property
    def filling(self) -> Tensor:
        """Magnitudes (B, F, T) that stand where bins are removed, of fills that do not ask what is kept."""
        make = FILLS[self.fill]
        if make is None:
            raise SpeechXAIError(f"The fill '{self.fill}' depends on what is kept.")
        return make(self.spec, self.seed)

    def filled_with(self, fill: Fill) -> Case:
        """The same maps and answers with something else where bins are removed; made once for each fill."""
        if fill == self.fill:
            return self
        if fill not in self._filled:
            other = self._filled[fill] = Case(
                self.model, self.spec, self.attribution, kind=self.kind, fill=fill, truth=self.truth, seed=self.seed
            )
            # What does not depend on the fill is not computed twice.
            other.mask, other.strength_rank, other.logits = self.mask, self.strength_rank, self.logits
            other.probability = self.probability
        return self._filled[fill]

    def masked_logits(self, keep: Tensor) -> Tensor:
        """Logits (..., B, C) of magnitude * keep + filling * (1 - keep), keep (..., B, F, T) in [0, 1]."""
        magnitude = self.spec.magnitude * keep
        if self.fill == "neighbors":
            magnitude = magnitude + from_neighbors(self.spec.magnitude, keep, self.spec.stft) * (1 - keep)
        elif self.fill != "silence":
            magnitude = magnitude + self.filling * (1 - keep)
        phase = self.spec.phase.expand_as(magnitude)
        flat = logits(self.network, magnitude.reshape(-1, *magnitude.shape[-2:]), phase.reshape(-1, *phase.shape[-2:]))
        return flat.reshape(*magnitude.shape[:-2], -1)

    def masked_probability(self, keep: Tensor) -> Tensor:
        """Probabilities (..., B, C), or the score, of what `masked_logits` hears."""
        return said(self.network, self.masked_logits(keep))

    @cached_property
    def strength_rank(self) -> Tensor:
        """Rank of every bin in its own map (B, F, T), int64: 0 is the strongest; ties by a shuffle fixed for all
        maps."""
        return strongest_first(self.mask)

    def budget_logits(self, n_bins: list[int], *, keep: bool) -> list[Tensor]:
        """Logits (B, C) with exactly that many strongest bins kept, or removed, for each budget.

        Every budget is computed once for the case and shared by the metrics that need it.
        """
        n_all = self.mask[0].numel()
        for n in {0, n_all} & set(n_bins):
            # Nothing kept is everything removed; everything kept is the original.
            self._budgets.setdefault((keep, n), self.logits if keep == (n == n_all) else self.logits_empty)
        missing = sorted({n for n in n_bins if (keep, n) not in self._budgets})
        n_at_once = max(1, self.network.max_batch // max(1, len(self.spec)))
        for start in range(0, len(missing), n_at_once):
            part = missing[start : start + n_at_once]
            limits = torch.tensor(part, device=self.mask.device)[:, None, None, None]
            chosen = self.strength_rank < limits if keep else self.strength_rank >= limits
            for n, answers in zip(part, self.masked_logits(chosen.to(self.mask)), strict=True):
                self._budgets[keep, n] = answers
        return [self._budgets[keep, n] for n in n_bins]

    def budget_probability(self, n_bins: list[int], *, keep: bool) -> list[Tensor]:
        """Probability of the explained class, or the score, (B,) for each budget, see `budget_logits`."""
        return [self.of_target(said(self.network, answers)) for answers in self.budget_logits(n_bins, keep=keep)]

    def budget_margin(self, n_bins: list[int], *, keep: bool) -> list[Tensor]:
        """Logit margin of the explained class (B,) for each budget, see `budget_logits`."""
        return [self.margin(answers) for answers in self.budget_logits(n_bins, keep=keep)]

    @cached_property
    def logits_empty(self) -> Tensor:
        """Logits when everything is removed (B, C)."""
        magnitude, phase = self.spec.magnitude, self.spec.phase
        if self.fill == "silence" and magnitude.stride(0) == phase.stride(0) == 0:
            # Many maps of one recording: what is left of it is the same for all.
            return logits(self.network, torch.zeros_like(magnitude[:1]), phase[:1]).expand(len(magnitude), -1)
        return self.masked_logits(torch.zeros_like(self.mask[:, :1, :1]))

    @cached_property
    def voicing(self) -> Tensor:
        """What every frame holds (B, T), int8: 0 pause, 1 unvoiced, 2 voiced. May be set by who knows it already."""
        config, rows = self.spec.stft, [torch.empty(0)] * len(self.spec)
        waveforms = stft.waveform(self.spec).cpu()
        for index, samples in enumerate(waveforms):
            # Many maps of one recording in one case: the same voice is analyzed once.
            same = index > 0 and torch.equal(samples, waveforms[index - 1])
            rows[index] = (
                rows[index - 1]
                if same
                else torch.as_tensor(
                    acoustics.segments_by_voicing(
                        samples.numpy(), config.sample_rate, self.mask.shape[-1], config.hop_length
                    )
                )
            )
        return torch.stack(rows).to(self.mask.device)

    def of_target(self, probability: Tensor) -> Tensor:
        """Pick the explained class: (B, C) -> (B,)."""
        return probability.gather(1, self.target[:, None])[:, 0]

    def margin(self, logits: Tensor) -> Tensor:
        """How far the explained class leads: its logit less the logarithm of the others' summed exponentials, (B, C) ->
        (B,). With two classes the difference of the logits; unlike a probability it has no ceiling."""
        own = torch.nn.functional.one_hot(self.target, logits.shape[-1]).bool().to(logits.device)
        others = logits.masked_fill(own, -torch.inf).logsumexp(dim=-1)
        return self.of_target(logits) - others

    @cached_property
    def probability_kept(self) -> Tensor:
        """Class probabilities when only the evidence is kept (B, C)."""
        return self.masked_probability(self.mask)

    @cached_property
    def logits_removed(self) -> Tensor:
        """Logits when the evidence is removed (B, C)."""
        return self.masked_logits(1 - self.mask)

    @property
    def probability_removed(self) -> Tensor:
        """Class probabilities when the evidence is removed (B, C)."""
        return said(self.network, self.logits_removed)

    @property
    def p(self) -> Tensor:
        """Probability of the explained class, original (B,)."""
        return self.of_target(self.probability)

    @property
    def p_kept(self) -> Tensor:
        """Probability of the explained class, evidence kept (B,)."""
        return self.of_target(self.probability_kept)

    @property
    def p_removed(self) -> Tensor:
        """Probability of the explained class, evidence removed (B,)."""
        return self.of_target(self.probability_removed)
