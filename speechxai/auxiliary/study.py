"""The auxiliary classifier: what do the maps alone know about the disease, beyond what floors without knowledge
explain?

A small network is trained on maps of held-out recordings to tell the classes apart (part (iii) of
mancini2025investigating), with folds by speaker, and beside it, always, on maps of chance, on energy maps, on shuffled
labels, on nothing, on the answer alone, and on the spectrogram itself. Here stand what it sees, one fit, and all fits
of a study.
"""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from speechxai.auxiliary.values import (
    ANSWER,
    CEILING,
    ENERGY,
    PERMUTED,
    RANDOM,
    UNTRAINED,
    AuxiliarySettings,
    Fit,
    Material,
    Numbers,
    Store,
    Unit,
)
from speechxai.classifiers.cnn import Cnn14, Cnn14Linear, LogMel, load_published, symmetric_mel_filters
from speechxai.classifiers.fit import class_weights
from speechxai.data.splits import speaker_folds, train_validation_test
from speechxai.errors import SpeechXAIError
from speechxai.explain.combination import evidence
from speechxai.signal.stft import bin_frequencies_hz
from speechxai.types import Array, StftConfig

# One fit of the auxiliary classifier: train, stop early on other speakers, answer for the test fold.
# What the auxiliary classifier sees: maps, masked or plain spectrograms on mel bands, in pieces of one length.
BANDS_HZ = ((0, 500), (500, 1000), (1000, 2000), (2000, 4000), (4000, 8000))
"""Bands of the transparent twin, Hz: from the first number up to below the second."""

SEGMENTS = ("pause", "unvoiced", "voiced")
"""Stretches of the transparent twin, by the values of `acoustics.segments_by_voicing`."""

LONGEST_CROP_S = 2.0


@dataclass(frozen=True, eq=False)
class Features:
    """One row's inputs for all recordings of a study.

    Args:
        values: per recording (M, T'), float32.
        summaries: (R, bands x segments) relative densities, NaN where a recording has no such stretch.
        mean_mask: (R,) mean evidence; 1 for the spectrogram itself.
    """

    values: tuple[Tensor, ...]
    summaries: Array
    mean_mask: Array


def crop_frames(material: Material, settings: AuxiliarySettings) -> int:
    """Frames of every input after pooling: `crop_s`, or the shortest recording's length, at most 2 s; as published the
    longest one's.

    Every recording enters as pieces of one length, so that duration tells nothing; one that is shorter is repeated.
    """
    if settings.crop_s is None and settings.as_published:
        frames = max(material.n_frames)
    elif settings.crop_s is None:
        frames = min(min(material.n_frames), int(LONGEST_CROP_S * material.stft.frame_rate_hz))
    else:
        frames = int(settings.crop_s * material.stft.frame_rate_hz)
    return max(8 if settings.pool > 1 else 32, frames // settings.pool)


def random_evidence(recording: str, n_bins: int, n_frames: int) -> Tensor:
    """Uniform noise (F, T) in [0, 1), another draw for every recording, the same at every call.

    `METHODS["random_map"]` gives all recordings of one length the same draw; as a floor the map must not even tell
    that.
    """
    seed = int.from_bytes(hashlib.sha256(recording.encode()).digest()[:7], "big")
    return torch.rand(n_bins, n_frames, generator=torch.Generator().manual_seed(seed))


def evidence_of(material: Material, name: str, i: int) -> Tensor:
    """Evidence (F, T) in [0, 1] of a recipe or floor for recording `i`. Raises SpeechXAIError for one that does not
    fit."""
    if name == RANDOM:
        return random_evidence(str(material.manifest["recording"][i]), material.stft.n_bins, material.n_frames[i])
    if name == ENERGY:
        return evidence(material.magnitude(i)[None])[0]
    found = material.evidence(name, i).float()
    if tuple(found.shape) != (material.stft.n_bins, material.n_frames[i]):
        raise SpeechXAIError(
            f"{material.manifest['recording'][i]}: the map of '{name}' has shape {tuple(found.shape)}, "
            f"the spectrogram ({material.stft.n_bins}, {material.n_frames[i]})."
        )
    return found


def band_names(stft: StftConfig) -> tuple[str, ...]:
    """Names of the summaries' columns, band by band: "0-500 Hz, pause", ..."""
    inside = [(low, high) for low, high in BANDS_HZ if low < stft.sample_rate / 2]
    return tuple(f"{low}-{high} Hz, {segment}" for low, high in inside for segment in SEGMENTS)


def summary(values: Tensor, voicing: Array, stft: StftConfig) -> Array:
    """Density of values (F, T) >= 0 in every band x segment cell relative to the whole: 1 is as much as anywhere else.

    Returns:
        (bands x segments,); NaN where the recording has no such stretch, 1 everywhere for an all-zero map.
    """
    frequencies = bin_frequencies_hz(stft).numpy()
    array = values.double().numpy()
    total = array.mean()
    cells = []
    for low, high in BANDS_HZ:
        if low >= stft.sample_rate / 2:
            continue
        over_band = array[(frequencies >= low) & (frequencies < high)].mean(axis=0)
        for kind in range(len(SEGMENTS)):
            frames = voicing == kind
            cells.append(float(over_band[frames].mean()) if frames.any() else float("nan"))
    found = np.array(cells)
    return found / total if total > 0 else np.where(np.isnan(found), np.nan, 1.0)


def features(material: Material, name: str, settings: AuxiliarySettings) -> Features:
    """Compute one row's inputs for all recordings.

    "map": square root of the mean evidence under every mel filter (the root tames the few very large values); "masked"
    and
    "original": log-mel of evidence x magnitude and of the magnitude, log(mel + 0.01); as published the mel bands of
    both as they are, without a logarithm. Frames are averaged by `settings.pool`.

    Raises:
        SpeechXAIError: a map that does not fit its recording, mel bands too narrow for the transform.
    """
    source = settings.shuffled_source if name == PERMUTED else name
    front_end = LogMel(material.stft, settings.n_mels)
    filters = (front_end.filters / front_end.filters.sum(dim=0)).T  # (M, F), rows sum to 1
    values, summaries, masks = [], [], []
    for i in range(len(material.manifest)):
        if source == CEILING:
            shown, mask = material.magnitude(i).float(), 1.0
        else:
            keep = evidence_of(material, source, i)
            shown, mask = keep, float(keep.double().mean())
            if settings.input == "masked":
                shown = keep * material.magnitude(i).float()
        if settings.input == "map" and source != CEILING:
            bands = _pooled(filters @ shown, settings.pool).sqrt()
        elif settings.as_published:
            bands = symmetric_mel_filters(material.stft, settings.n_mels) @ shown
        else:
            bands = _pooled(front_end.raw(shown[None])[0], settings.pool)
        values.append(bands)
        summaries.append(summary(shown, material.voicing(i), material.stft))
        masks.append(mask)
    return Features(tuple(values), np.stack(summaries), np.array(masks))


def _pooled(values: Tensor, pool: int) -> Tensor:
    """Average every `pool` frames of (M, T); a rest at the end is averaged alone."""
    if pool == 1:
        return values
    return torch.nn.functional.avg_pool1d(values[None], pool, ceil_mode=True, count_include_pad=False)[0]


class Crops:
    """Cuts pieces of one length out of recordings of any length, many at once.

    Args:
        values: per recording (M, T').
        length: frames of a piece; a shorter recording is repeated.
    """

    def __init__(self, values: tuple[Tensor, ...], length: int) -> None:
        self.length = length
        self.n_frames = torch.tensor([each.shape[-1] for each in values])
        self.offsets = torch.cat([torch.zeros(1, dtype=torch.long), self.n_frames.cumsum(0)[:-1]])
        self.all = torch.cat(list(values), dim=-1)  # (M, sum of T')

    def cut(self, rows: Tensor, starts: Tensor) -> Tensor:
        """Pieces (n, M, L) of recordings `rows` (n,) from frame `starts` (n,) on."""
        steps = (starts[:, None] + torch.arange(self.length)) % self.n_frames[rows][:, None]
        return self.all[:, self.offsets[rows][:, None] + steps].movedim(0, 1)

    def at_random(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """One piece (n, M, L) of each recording, from a random place."""
        slack = (self.n_frames[rows] - self.length).clamp(min=0)
        starts = (torch.rand(len(rows), generator=generator) * (slack + 1)).long()
        return self.cut(rows, torch.minimum(starts, slack))

    def evenly(self, rows: Tensor, n_crops: int) -> Tensor:
        """`n_crops` pieces (n x n_crops, M, L) of each recording, from first to last frame, whatever its duration."""
        slack = (self.n_frames[rows] - self.length).clamp(min=0).double()
        share = torch.linspace(0, 1, n_crops, dtype=torch.double) if n_crops > 1 else torch.tensor([0.5]).double()
        starts = (slack[:, None] * share).round().long()
        return self.cut(rows.repeat_interleave(n_crops), starts.flatten())

    def statistics(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of every band (M,) over these recordings."""
        chosen = torch.cat(
            [
                self.all[:, o : o + n]
                for o, n in zip(self.offsets[rows].tolist(), self.n_frames[rows].tolist(), strict=True)
            ],
            dim=-1,
        )
        deviation, mean = torch.std_mean(chosen, dim=-1, correction=0)
        # A band that never changes (nothing above a telephone's band) must not be blown up.
        return mean, torch.where(deviation > 1e-4 * deviation.max().clamp(min=1e-12), deviation, torch.ones(()))


# The transparent twin: a logistic regression on band x segment summaries, whose coefficients can be read.
STRENGTHS = (0.01, 0.1, 1.0)
"""Inverse regularization strengths that the validation fold chooses from."""


def fit_linear(summaries: Array, labels: Array, parts: tuple[Array, ...], n_classes: int = 2) -> tuple[Array, Array]:
    """Fit on the training part, choose the regularization on the validation part, fit again on both, answer for the
    test.

    Summaries are standardized by the rows that are fitted on; a stretch that a recording lacks counts as average.
    Classes weigh the same. More than two are told one against all others, and their probabilities made to sum to 1.

    Args:
        summaries: (R, K), NaN where a recording has no such stretch.
        labels: (R,), 0 to C - 1.
        parts: row numbers for training, validation and test.
        n_classes: C.

    Returns:
        Probability of the second class for the test rows (n,), and the coefficients (K,): change of its log odds per
        standard deviation. Of more than two classes (n, C) and (C, K).
    """
    if n_classes > 2:
        each = [fit_linear(summaries, (labels == index).astype(np.int64), parts) for index in range(n_classes)]
        p = np.stack([probability for probability, _ in each], axis=1)
        return p / p.sum(axis=1, keepdims=True), np.stack([found for _, found in each])
    training, validation, test = parts
    losses = []
    for strength in STRENGTHS:
        p = _fitted(summaries, labels, training, strength, validation)[0].clip(1e-6, 1 - 1e-6)
        y = labels[validation]
        losses.append(
            np.mean([-np.log(np.where(y == c, p if c else 1 - p, 1))[y == c].mean() for c in (0, 1) if (y == c).any()])
        )
    both = np.concatenate([training, validation])
    return _fitted(summaries, labels, both, STRENGTHS[int(np.argmin(losses))], test)


def _fitted(summaries: Array, labels: Array, rows: Array, strength: float, asked: Array) -> tuple[Array, Array]:
    known = ~np.isnan(summaries[rows])
    count = known.sum(axis=0)
    mean = np.divide(
        np.where(known, summaries[rows], 0).sum(axis=0), count, out=np.zeros(summaries.shape[1]), where=count > 0
    )
    filled = np.where(np.isnan(summaries), mean, summaries)
    deviation = filled[rows].std(axis=0)
    deviation = np.where(deviation > 1e-9, deviation, 1.0)
    standardized = (filled - mean) / deviation
    weights, intercept = logistic_regression(standardized[rows], labels[rows], strength)
    return 0.5 * (1 + np.tanh(0.5 * (standardized[asked] @ weights + intercept))), weights


def logistic_regression(
    x: Array, y: Array, strength: float, n_steps: int = 100, tolerance: float = 1e-8
) -> tuple[Array, float]:
    """Minimize ||w||^2 / 2 + strength * sum_i c_i log(1 + exp(-s_i (w x_i + b))), s = +-1, by Newton's method.

    c_i weighs the classes the same: n / (2 n_class). The intercept b is free.

    Args:
        x: (n, K); y: (n,), 0 or 1, both classes present.
        strength: inverse regularization, above 0.
        n_steps: at most so many; the problem is convex, and steps are halved until they descend.
        tolerance: largest gradient at the end.

    Returns:
        w (K,) and b.
    """
    n, k = x.shape
    design = np.concatenate([x, np.ones((n, 1))], axis=1)
    counts = np.bincount(y, minlength=2)
    weight = strength * n / (2 * counts[y])
    penalty = np.append(np.ones(k), 0.0)
    sign, found = 2.0 * y - 1, np.zeros(k + 1)

    def loss(candidate: Array) -> float:
        return float(np.logaddexp(0, -sign * (design @ candidate)) @ weight + (penalty * candidate**2).sum() / 2)

    for _ in range(n_steps):
        p = 0.5 * (1 + np.tanh(0.5 * (design @ found)))  # a logistic function that cannot overflow
        gradient = design.T @ (weight * (p - y)) + penalty * found
        if np.abs(gradient).max() < tolerance:
            break
        curvature = (design.T * (weight * p * (1 - p))) @ design + np.diag(penalty)
        step, now, length = np.linalg.solve(curvature + 1e-12 * np.eye(k + 1), gradient), loss(found), 1.0
        while loss(found - length * step) > now and length > 1e-6:
            length /= 2
        found = found - length * step
    return found[:k], float(found[k])


# One fit of the auxiliary classifier: train, stop early on other speakers, answer for the test fold.
EVALUATED_AT_ONCE = 128
"""Pieces that pass through the network together when nothing is trained."""


class Small(nn.Module):
    """Three convolutions on features (B, 1, M, T): the mean and the maximum over time of every channel and band decide.

    Bands keep their place, since where in frequency the evidence lies is the question; about 7,000 parameters.

    Args:
        n_mels: bands M.
        n_classes: logits.
    """

    def __init__(self, n_mels: int = 80, n_classes: int = 2) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        n_bands = n_mels
        for n_in, n_out in ((1, 8), (8, 16), (16, 32)):
            layers += [
                nn.Conv2d(n_in, n_out, 3, 2, padding=1, bias=False),
                nn.BatchNorm2d(n_out),
                nn.ReLU(),
            ]
            n_bands = -(-n_bands // 2)
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(0.3)
        self.classifier = nn.Linear(2 * 32 * n_bands, n_classes)

    def forward(self, features: Tensor) -> Tensor:
        """(B, 1, M, T) to logits (B, C)."""
        maps = self.features(features)
        pooled = torch.cat([maps.mean(dim=-1), maps.amax(dim=-1)], dim=1).flatten(1)
        return self.classifier(self.dropout(pooled))  # type: ignore[no-any-return]


@dataclass(frozen=True, eq=False)
class Trained:
    """A network's probabilities for the test rows, (n,) of the second of two classes, of more (n, C); its losses by
    epoch, the best epoch and its weights."""

    probabilities: Tensor
    history: tuple[tuple[float, float], ...]
    best_epoch: int
    weights: dict[str, Tensor]


def train(
    crops: Crops,
    labels: Tensor,
    parts: tuple[Tensor, Tensor, Tensor],
    settings: AuxiliarySettings,
    seed: int,
    published: dict[str, Tensor] | None = None,
    n_classes: int = 2,
) -> Trained:
    """Train on one part, keep the epoch with the lowest loss on the second, and answer for the third.

    Args:
        crops: features of all recordings.
        labels: (R,) int64.
        parts: row numbers for training, validation and test.
        settings: network and training.
        seed: of initial weights, crops, order and dropout; the process's own random state stays as it is.
        published: weights that cnn14 starts from.
        n_classes: C.
    """
    training, validation, test = parts
    device = torch.device(settings.device)
    mean, deviation = crops.statistics(training)

    def normalized(values: Tensor) -> Tensor:
        # the published network normalizes bands itself
        return (values if settings.as_published else (values - mean[:, None]) / deviation[:, None])[:, None].to(device)

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = _network(settings, published, n_classes).to(device)
        generator = torch.Generator().manual_seed(seed)
        optimizer = (torch.optim.Adam if settings.as_published else torch.optim.AdamW)(
            network.parameters(),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=device.type != "mps",
        )
        weights = None if settings.as_published else class_weights(labels[training].tolist(), n_classes).to(device)
        n_valid = min(2, settings.n_test_crops)  # every epoch asks: two pieces are enough to compare epochs
        valid = normalized(crops.evenly(validation, n_valid))
        history: list[tuple[float, float]] = []
        best, best_epoch, kept = float("inf"), -1, copy.deepcopy(network.state_dict())
        for epoch in range(settings.epochs):
            network.train()
            order = training[torch.randperm(len(training), generator=generator)]
            total = 0.0
            # Equal batches: batch normalization cannot train on a rest of one.
            for rows in order.tensor_split(max(1, round(len(order) / settings.batch))):
                optimizer.zero_grad(set_to_none=True)
                logits = _of_one(network(normalized(crops.at_random(rows, generator))))
                # of one logit z, read as (0, z), this is the binary cross-entropy of z
                value = nn.functional.cross_entropy(logits, labels[rows].to(device), weights)
                value.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                total += float(value.detach()) * len(rows)
            validated = _log_loss(network, valid, labels[validation], n_valid)
            history.append((total / len(order), validated))
            if validated < best:
                best, best_epoch, kept = validated, epoch, copy.deepcopy(network.state_dict())
            if epoch - best_epoch >= settings.patience:
                break
        network.load_state_dict(kept)
        probabilities = _probabilities(
            network, normalized(crops.evenly(test, settings.n_test_crops)), settings.n_test_crops
        )
        if n_classes == 2:
            probabilities = probabilities[:, 1]
    return Trained(probabilities, tuple(history), best_epoch, {name: value.cpu() for name, value in kept.items()})


def _network(settings: AuxiliarySettings, published: dict[str, Tensor] | None, n_classes: int) -> nn.Module:
    if settings.architecture == "small":
        return Small(settings.n_mels, n_classes)
    if settings.as_published:
        return Cnn14Linear(settings.n_mels)
    network = Cnn14(settings.n_mels, n_classes)
    if published is not None:
        load_published(network, published)
    return network


def _of_one(logits: Tensor) -> Tensor:
    """Logits (B, C); one logit z stands for (0, z)."""
    return logits if logits.shape[1] > 1 else torch.cat([torch.zeros_like(logits), logits], dim=1)


def _probabilities(network: nn.Module, features: Tensor, n_crops: int) -> Tensor:
    """Probabilities (n, C) of recordings from their pieces (n x n_crops, 1, M, L), averaged."""
    network.eval()
    with torch.inference_mode():
        found = torch.cat([_of_one(network(part)).softmax(-1) for part in torch.split(features, EVALUATED_AT_ONCE)])
    return found.reshape(-1, n_crops, found.shape[1]).mean(dim=1).double().cpu()


def _log_loss(network: nn.Module, features: Tensor, labels: Tensor, n_crops: int) -> float:
    """Mean over classes of the mean log loss, so that each class counts the same."""
    p = _probabilities(network, features, n_crops)
    if p.shape[1] == 2:
        p = torch.stack([1 - p[:, 1], p[:, 1]], dim=1)  # what the two leave of 1 by rounding
    losses = -p.clamp(1e-6, 1 - 1e-6).gather(1, labels[:, None])[:, 0].log()
    classes = [labels == index for index in range(p.shape[1]) if (labels == index).any()]
    return float(torch.stack([losses[inside].mean() for inside in classes]).mean())


# The auxiliary classifier: what do the maps alone know about the disease, beyond what floors without knowledge
Progress = Callable[[int, int, str], None]
"""Called with fits done, fits in all, and what is being fitted."""

LEAK_WARNING = (
    "Folds by recording: recordings of a tested speaker are in the training data, so the network may know the voice"
    " instead of the disease. This split only shows what that leak adds; never report it as a result."
)


def units(settings: AuxiliarySettings) -> list[Unit]:
    """All fits of a study, in the order of the table."""
    return [
        Unit(name, settings.input, split, seed, fold)
        for name in settings.rows
        for split in settings.splits
        for seed in range(settings.n_seeds)
        for fold in range(settings.n_folds)
    ]


def labels_of(manifest: pd.DataFrame, name: str, seed: int) -> Array:
    """Labels (R,) that a row's network learns: the true ones, or with `permuted_labels` those of speakers in another
    order."""
    labels = np.array(manifest["label"], dtype=np.int64)
    if name != PERMUTED:
        return labels
    speakers, first, index = np.unique(
        np.asarray(manifest["speaker"], dtype=str), return_index=True, return_inverse=True
    )
    order = np.random.default_rng([seed, 17]).permutation(len(speakers))
    return labels[first][order][index]


Parts = tuple[Array, ...]


class Folds:
    """Row numbers that train, validate and test in a unit: the same for every row of the table, so that rows are
    paired.

    Shuffled labels are dealt into folds of their own. Split "recording" treats every recording as a speaker of its own;
    where every
    speaker has one recording, both splits are the same.

    Args:
        manifest: the recordings.
        n_folds: of every cross-validation.
    """

    def __init__(self, manifest: pd.DataFrame, n_folds: int) -> None:
        self.manifest, self.n_folds = manifest, n_folds
        self._drawn: dict[tuple[bool, str, int], list[Parts]] = {}

    def __call__(self, unit: Unit) -> Parts:
        """Row numbers (training, validation, test) of one unit. Raises SpeechXAIError for too few speakers."""
        key = (unit.name == PERMUTED, unit.split, unit.seed)
        if key not in self._drawn:
            self._drawn[key] = self._draw(unit)
        return self._drawn[key][unit.fold]

    def _draw(self, unit: Unit) -> list[Parts]:
        table = self.manifest.assign(label=pd.array(labels_of(self.manifest, unit.name, unit.seed), dtype="Int64"))
        if unit.split == "recording" and table["speaker"].duplicated().any():
            table = table.assign(speaker=table["recording"])
        folds = speaker_folds(table, self.n_folds, unit.seed)
        return [
            tuple(np.array(part) for part in train_validation_test(table, folds, k, unit.seed))
            for k in range(self.n_folds)
        ]


def study(
    material: Material,
    settings: AuxiliarySettings,
    store: Store,
    progress: Progress | None = None,
    published: dict[str, Tensor] | None = None,
) -> None:
    """Fit everything that the store has not yet, row by row of the table; each fit is one unit of work.

    Args:
        material: recordings and maps.
        settings: what is trained.
        store: takes the fits; several processes may share one.
        progress: called after every fit.
        published: weights that cnn14 starts from.

    Raises:
        SpeechXAIError: too few speakers, labels missing, maps that do not fit, more classes than a network tells.
    """
    if material.manifest["label"].isna().any():
        raise SpeechXAIError("An auxiliary study needs the label of every recording: leave the others out.")
    if settings.as_published and material.n_classes > 2:
        raise SpeechXAIError(
            f"The published network 'cnn14-linear' tells two classes apart, and there are {material.n_classes}: choose"
            " --architecture small or cnn14."
        )
    plan, folds = units(settings), Folds(material.manifest, settings.n_folds)
    done = sum(store.is_done(unit) for unit in plan)
    for name in settings.rows:
        of_row = [unit for unit in plan if unit.name == name and not store.is_done(unit)]
        if not of_row:
            continue
        if progress is not None:
            progress(done, len(plan), f"{name}: features")
        row = Row(material, settings, name, folds, published)
        for unit in of_row:
            with store.claim(unit) as ours:
                if ours:
                    store.write(row.fit(unit))
            done += 1
            if progress is not None:
                progress(done, len(plan), f"{name}: {unit.split} folds, seed {unit.seed}")


class Row:
    """One row of the table: its features, computed once, and its fits.

    Args:
        material: recordings and maps.
        settings: what is trained.
        name: recipe, floor or ceiling.
        folds: who trains and who tests, shared by all rows.
        published: weights that cnn14 starts from.
    """

    def __init__(
        self,
        material: Material,
        settings: AuxiliarySettings,
        name: str,
        folds: Folds | None = None,
        published: dict[str, Tensor] | None = None,
    ) -> None:
        self.material, self.settings, self.name, self.published = material, settings, name, published
        self.folds = folds or Folds(material.manifest, settings.n_folds)
        self.features: Features | None = None
        self._known: dict[tuple[int, bytes], Fit] = {}
        if name == ANSWER and material.answers is None:
            raise SpeechXAIError("A study of maps needs what the explained classifier answered.")
        if name not in UNTRAINED:
            self.features = features(material, name, settings)
            self.crops = Crops(self.features.values, crop_frames(material, settings))

    def fit(self, unit: Unit) -> Fit:
        """Train network and twin of one unit and answer for its test fold."""
        started = time.perf_counter()
        labels = labels_of(self.material.manifest, self.name, unit.seed)
        parts = self.folds(unit)
        tested = tuple(int(i) for i in parts[2])
        answers = tuple(int(labels[i]) for i in tested)
        n_classes = self.material.n_classes
        if self.name == ANSWER:
            return Fit(unit, tested, answers, _numbers(np.asarray(self.material.answers)[parts[2]].tolist()))
        if self.features is None:
            counts = np.bincount(labels[np.concatenate(parts[:2])], minlength=n_classes)
            most = n_classes - 1 - int(counts[::-1].argmax())  # of equal ones the last
            said = tuple(float(index == most) for index in range(n_classes))
            return Fit(unit, tested, answers, ((said[1],) if n_classes == 2 else (said,)) * len(tested))
        # The same seed for every row, so that rows differ in their inputs only.
        seed = 1_000 * unit.seed + unit.fold
        same = (seed, b"|".join(part.tobytes() for part in parts))
        if same in self._known:  # both splits are one where every speaker has one recording
            return replace(self._known[same], unit=unit)
        tensors = tuple(torch.from_numpy(part) for part in parts)
        trained = train(
            self.crops,
            torch.from_numpy(labels),
            (tensors[0], tensors[1], tensors[2]),
            self.settings,
            seed,
            self.published,
            n_classes,
        )
        linear, coefficients = fit_linear(self.features.summaries, labels, parts, n_classes)
        found = Fit(
            unit,
            tested,
            answers,
            _numbers(trained.probabilities.tolist()),
            _numbers(linear.tolist()),
            _numbers(coefficients.tolist()),
            tuple(self.features.mean_mask[parts[2]].tolist()),
            trained.history,
            trained.best_epoch,
            time.perf_counter() - started,
            trained.weights,
        )
        self._known[same] = replace(found, weights={})
        return found


def _numbers(values: list[Any]) -> Numbers:
    return tuple(tuple(each) if isinstance(each, list) else each for each in values)
