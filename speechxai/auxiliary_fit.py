"""One fit of the auxiliary classifier: train, stop early on other speakers, answer for the test fold."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speechxai.auxiliary_features import Crops
from speechxai.auxiliary_types import AuxiliarySettings
from speechxai.classifiers.cnn14 import Cnn14, load_published
from speechxai.classifiers.fit import class_weights

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
    """A network's answers for the test rows (n,) P(PD), its losses by epoch, the best epoch and its weights."""

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
) -> Trained:
    """Train on one part, keep the epoch with the lowest loss on the second, and answer for the third.

    Args:
        crops: features of all recordings.
        labels: (R,) int64.
        parts: row numbers for training, validation and test.
        settings: network and training.
        seed: of initial weights, crops, order and dropout; the process's own random state stays as it is.
        published: weights that cnn14 starts from.
    """
    training, validation, test = parts
    device = torch.device(settings.device)
    mean, deviation = crops.statistics(training)

    def normalized(values: Tensor) -> Tensor:
        return ((values - mean[:, None]) / deviation[:, None])[:, None].to(device)

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = _network(settings, published).to(device)
        generator = torch.Generator().manual_seed(seed)
        optimizer = torch.optim.AdamW(
            network.parameters(),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=device.type != "mps",
        )
        loss = nn.CrossEntropyLoss(class_weights(labels[training].tolist(), 2).to(device))
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
                value = loss(network(normalized(crops.at_random(rows, generator))), labels[rows].to(device))
                value.backward()
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
    return Trained(probabilities, tuple(history), best_epoch, {name: value.cpu() for name, value in kept.items()})


def _network(settings: AuxiliarySettings, published: dict[str, Tensor] | None) -> nn.Module:
    if settings.architecture == "small":
        return Small(settings.n_mels)
    network = Cnn14(settings.n_mels, 2)
    if published is not None:
        load_published(network, published)
    return network


def _probabilities(network: nn.Module, features: Tensor, n_crops: int) -> Tensor:
    """P(PD) (n,) of recordings from their pieces (n x n_crops, 1, M, L), probabilities averaged."""
    network.eval()
    with torch.inference_mode():
        found = torch.cat([network(part).softmax(dim=-1)[:, 1] for part in torch.split(features, EVALUATED_AT_ONCE)])
    return found.reshape(-1, n_crops).mean(dim=1).double().cpu()


def _log_loss(network: nn.Module, features: Tensor, labels: Tensor, n_crops: int) -> float:
    """Mean over classes of the mean log loss, so that each class counts the same."""
    p = _probabilities(network, features, n_crops).clamp(1e-6, 1 - 1e-6)
    losses = torch.where(labels == 1, -p.log(), -(1 - p).log())
    return float(torch.stack([losses[labels == c].mean() for c in (0, 1) if (labels == c).any()]).mean())
