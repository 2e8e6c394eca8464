"""Does the classifier's probability follow the evidence when it is kept or removed?"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from speechxai.metrics.case import METRICS, Case, Fill

# Does the classifier's probability follow the evidence when it is kept or removed?
N_STEPS = 20
"""Steps from the whole recording to nothing in `deletion_auc` and `insertion_auc`."""
OTHER_FILLS: tuple[Fill, ...] = ("noise", "neighbors")
"""Fills, beside silence, that metrics of one budget are registered with."""
BUDGETS_PERCENT = (1, 5, 10, 20)
"""Shares of bins, in percent, for which the hard-mask metrics are registered."""


def _defined(values: Tensor, *inputs: Tensor) -> Tensor:
    """NaN wherever an input is NaN: comparisons alone would turn a network's NaN into a score."""
    undefined = torch.stack([torch.isnan(each) for each in inputs]).any(dim=0)
    return torch.where(undefined, torch.full_like(values, torch.nan), values)


@METRICS.register(
    best="high", bounds=(0.0, 1.0), cites="chattopadhay2018gradcampp", published="AI", needs="classes", indicator=True
)
def average_increase(case: Case) -> Tensor:
    """Whether the evidence alone convinces more than the whole: 1[p_kept > p]."""
    return _defined((case.p_kept > case.p).to(case.p), case.p, case.p_kept)


@METRICS.register(best="low", bounds=(0.0, 1.0), cites="chattopadhay2018gradcampp", published="AD", needs="classes")
def average_drop(case: Case) -> Tensor:
    """Share of the probability lost when only the evidence is kept: relu(p - p_kept) / p; 0 where p is 0."""
    drop = (case.p - case.p_kept).clamp(min=0) / case.p
    return torch.where(case.p == 0, torch.zeros_like(drop), drop)


@METRICS.register(best="high", bounds=(0.0, 1.0), cites="zhang2024opticam", published="AG", needs="classes")
def average_gain(case: Case) -> Tensor:
    """Share of the missing probability won when only the evidence is kept: relu(p_kept - p) / (1 - p); 0 where p is
    1."""
    gain = ((case.p_kept - case.p).clamp(min=0) / (1 - case.p)).clamp(max=1)
    return torch.where(case.p >= 1, torch.zeros_like(gain), gain)


@METRICS.register(best="high", bounds=(-1.0, 1.0), cites="paissan2024listenable", published="FF", in_unit=True)
def faithfulness(case: Case) -> Tensor:
    """Probability lost when the evidence is removed: p - p_removed."""
    return case.p - case.p_removed


@METRICS.register(
    best="high", bounds=(0.0, 1.0), cites="parekh2022listen", published="Fid-In", needs="classes", indicator=True
)
def input_fidelity(case: Case) -> Tensor:
    """Whether the evidence alone is classified as the whole is: 1[argmax kept = argmax original]."""
    same = case.probability_kept.argmax(dim=1) == case.probability.argmax(dim=1)
    return _defined(same.to(case.p), case.p, case.p_kept)


def _area(curve: list[Tensor]) -> Tensor:
    """Area (B,) under a curve of equidistant points on [0, 1], trapezoidal rule."""
    return torch.trapezoid(torch.stack(curve), dim=0) / (len(curve) - 1)


def budget(percent: float, case: Case) -> int:
    """Return the number of bins in that percentage of a map's F * T bins, rounded half up."""
    return int(percent / 100 * case.mask[0].numel() + 0.5)


def _budgets(case: Case) -> list[int]:
    return [budget(100 * step / N_STEPS, case) for step in range(N_STEPS + 1)]


@METRICS.register(best="low", bounds=(0.0, 1.0), cites="petsiuk2018rise", in_unit=True)
def deletion_auc(case: Case) -> Tensor:
    """Area under the probability of the explained class while the strongest bins are removed, 0 to 100 % in 20
    steps."""
    return _area(case.budget_probability(_budgets(case), keep=False))


@METRICS.register(best="high", bounds=(0.0, 1.0), cites="petsiuk2018rise", in_unit=True)
def insertion_auc(case: Case) -> Tensor:
    """Area under the probability of the explained class while the strongest bins are restored, 0 to 100 % in 20
    steps."""
    return _area(case.budget_probability(_budgets(case), keep=True))


def _comprehensiveness(percent: int) -> Callable[[Case], Tensor]:
    def metric(case: Case) -> Tensor:
        return case.p - case.budget_probability([budget(percent, case)], keep=False)[0]

    metric.__name__ = f"comprehensiveness@{percent}"
    metric.__doc__ = (
        f"Probability lost when exactly the strongest {percent} % of bins are removed: an equal budget for all maps."
    )
    return metric


def _sufficiency(percent: int) -> Callable[[Case], Tensor]:
    def metric(case: Case) -> Tensor:
        return case.p - case.budget_probability([budget(percent, case)], keep=True)[0]

    metric.__name__ = f"sufficiency@{percent}"
    metric.__doc__ = (
        f"Probability lost when exactly the strongest {percent} % of bins are kept: an equal budget for all maps."
    )
    return metric


def _margin_lost(percent: int, keep: bool) -> Callable[[Case], Tensor]:
    def metric(case: Case) -> Tensor:
        return case.margin(case.logits) - case.budget_margin([budget(percent, case)], keep=keep)[0]

    metric.__name__ = f"{'sufficiency' if keep else 'comprehensiveness'}@{percent}:margin"
    metric.__doc__ = (
        f"Logit margin lost when exactly the strongest {percent} % of bins are {'kept' if keep else 'removed'}: what"
        " the probability says, where it is too near 0 or 1 to move."
    )
    return metric


for _percent in BUDGETS_PERCENT:
    METRICS.register(best="high", bounds=(-1.0, 1.0), cites="deyoung2020eraser", in_unit=True)(
        _comprehensiveness(_percent)
    )
for _percent in BUDGETS_PERCENT:
    METRICS.register(best="low", bounds=(-1.0, 1.0), cites="deyoung2020eraser", in_unit=True)(_sufficiency(_percent))
for _keep in (False, True):
    for _percent in BUDGETS_PERCENT:
        METRICS.register(
            best="low" if _keep else "high", bounds=(None, None), cites="deyoung2020eraser", needs="classes"
        )(_margin_lost(_percent, _keep))


FILLED_PERCENT = 10
"""The budget that has metrics with other fills: with silence, removing bins may make a sound that nobody ever heard,
and methods that work by removing share that artifact with the metric."""


def _filled(fill: Fill, keep: bool) -> Callable[[Case], Tensor]:
    metric_of = (_sufficiency if keep else _comprehensiveness)(FILLED_PERCENT)

    def metric(case: Case) -> Tensor:
        return metric_of(case.filled_with(fill))

    metric.__name__ = f"{metric_of.__name__}:{fill}"
    stands = {"noise": "noise of the recording's floor", "neighbors": "what the kept bins around say"}[fill]
    metric.__doc__ = f"{(metric_of.__doc__ or '').partition(':')[0]}, and {stands} stands where bins are removed."
    return metric


for _keep in (False, True):
    for _fill in OTHER_FILLS:
        METRICS.register(best="low" if _keep else "high", bounds=(-1.0, 1.0), cites="deyoung2020eraser", in_unit=True)(
            _filled(_fill, _keep)
        )


def _named(name: str, metric: Callable[[Case], Tensor]) -> Callable[[Case], Tensor]:
    metric.__name__ = name
    return metric


def _faithfulness_margin(case: Case) -> Tensor:
    """Logit margin lost when the evidence is removed."""
    return case.margin(case.logits) - case.margin(case.logits_removed)


def _deletion_margin(case: Case) -> Tensor:
    """Mean logit margin of the explained class while the strongest bins are removed, 0 to 100 % in 20 steps."""
    return _area(case.budget_margin(_budgets(case), keep=False))


def _insertion_margin(case: Case) -> Tensor:
    """Mean logit margin of the explained class while the strongest bins are restored, 0 to 100 % in 20 steps."""
    return _area(case.budget_margin(_budgets(case), keep=True))


for _name, _metric, _best, _source in (
    ("faithfulness:margin", _faithfulness_margin, "high", "paissan2024listenable"),
    ("deletion_auc:margin", _deletion_margin, "low", "petsiuk2018rise"),
    ("insertion_auc:margin", _insertion_margin, "high", "petsiuk2018rise"),
):
    METRICS.register(best=_best, bounds=(None, None), cites=_source, needs="classes")(_named(_name, _metric))


# Does the evidence foretell what removing a patch does to the answer?
N_PATCHES = 40
"""Patches that `infidelity` removes, one at a time."""
SMALLEST, LARGEST = 1 / 16, 1 / 2
"""Sides of a patch, as shares of the spectrogram's sides."""


def patches(n_bins: int, n_frames: int, seed: int, n: int = N_PATCHES) -> Tensor:
    """Return `n` rectangles at random places (n, F, T), 1 inside and 0 outside, each side 1/16 to 1/2 of the whole."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.zeros(n, n_bins, n_frames)
    for patch, (height, width, top, left) in zip(drawn, torch.rand(n, 4, generator=generator).tolist(), strict=True):
        sides = []
        for share, start, total in ((height, top, n_bins), (width, left, n_frames)):
            length = max(1, round((SMALLEST + share * (LARGEST - SMALLEST)) * total))
            first = int(start * (total - length + 1))
            sides.append(slice(first, first + length))
        patch[sides[0], sides[1]] = 1
    return drawn


@METRICS.register(best="low", bounds=(0.0, 1.0), cites="yeh2019infidelity")
def infidelity(case: Case) -> Tensor:
    """Share of the answer's changes under removed patches that the evidence in them does not foretell; 0 foretells all,
    1 nothing.

    min over b >= 0 of sum_i (b s_i - d_i)^2 / sum_i d_i^2, with s_i the evidence in patch i and d_i = p - p(patch i
    removed): the infidelity of yeh2019infidelity with square removal at its best scale, for a map has none of its own.
    Patches are drawn once from the case's seed. NaN for a map without evidence and where no patch changes anything.
    """
    _, n_bins, n_frames = case.mask.shape
    masks = patches(n_bins, n_frames, case.seed).to(case.mask)
    size = max(1, case.network.max_batch // len(case.spec))
    removed = torch.cat([case.masked_probability(1 - part[:, None]) for part in torch.split(masks, size)])
    drop = torch.stack([case.p - case.of_target(probability) for probability in removed]).double()
    foretold = torch.einsum("nft,bft->nb", masks.double(), case.mask.double())
    # By the best scale b = <s, d> / <s, s>, the rest is |d|^2 - <s, d>^2 / |s|^2.
    agreement = (foretold * drop).sum(dim=0).clamp(min=0)
    sizes = foretold.square().sum(dim=0) * drop.square().sum(dim=0)
    explained = torch.where(sizes > 0, agreement.square() / sizes, torch.zeros_like(sizes))
    values = (1 - explained).clamp(0, 1)
    undefined = case.is_empty | (drop.abs().amax(dim=0) == 0)
    # An answer that is no number would leave the size of `drop` not above 0, which is "explains nothing".
    return _defined(torch.where(undefined, torch.full_like(values, torch.nan), values), drop.sum(dim=0)).to(case.mask)
