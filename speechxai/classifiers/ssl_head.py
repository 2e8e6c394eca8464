"""The head that turns all hidden layers of a speech foundation model into class logits (La Quatra et al., Interspeech 2024)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechxai.errors import SpeechXAIError


class SslHead(nn.Module):
    """Learned mean of all hidden layers, attention pooling over time, hidden layers with ReLU, class logits.

    f_t = sum_l softmax(w)_l LayerNorm_l(h_l,t);  v = sum_t softmax_t(a . f_t + b) f_t;  logits = MLP(v)
    (laquatra2024exploiting).

    Args:
        n_layers: hidden layers L that are mixed; the embedding before the first transformer layer counts as one.
        width: features C of every hidden layer.
        hidden_size: units of each hidden layer of the classifier.
        n_hidden: how many of those there are.
        n_classes: logits; 1 means one logit, read as the log odds of class 1.
        dropout: share of hidden units dropped in training.

    Raises:
        SpeechXAIError: a number below 1.
    """

    def __init__(
        self, n_layers: int, width: int, hidden_size: int = 768, n_hidden: int = 2, n_classes: int = 2, dropout: float = 0.1
    ) -> None:  # fmt: skip
        super().__init__()
        for name, value in {
            "n_layers": n_layers,
            "hidden_size": hidden_size,
            "n_hidden": n_hidden,
            "n_classes": n_classes,
        }.items():
            if value < 1:
                raise SpeechXAIError(
                    f"The '{name}' parameter of the ssl head must be at least 1. Got {value!r} instead."
                )
        self.layer_weights = nn.Parameter(torch.ones(n_layers))
        self.layer_norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(n_layers)])
        self.pooling = nn.Linear(width, 1)
        blocks: list[nn.Module] = []
        for index in range(n_hidden):
            blocks += [nn.Linear(width if index == 0 else hidden_size, hidden_size), nn.ReLU(), nn.Dropout(dropout)]
        self.hidden = nn.Sequential(*blocks)
        self.output = nn.Linear(hidden_size, n_classes)
        for name, parameter in self.named_parameters():
            if name.startswith(("pooling", "hidden", "output")):
                nn.init.xavier_normal_(parameter) if parameter.ndim > 1 else nn.init.zeros_(parameter)

    def mix(self, layers: list[Tensor]) -> Tensor:
        """Mix hidden layers, a list of L tensors (B, T', C), into features (B, T', C)."""
        weights = self.layer_weights.softmax(dim=0)
        mixed = torch.zeros_like(layers[0])
        for weight, norm, layer in zip(weights, self.layer_norms, layers, strict=True):
            mixed = mixed + weight * norm(layer)
        return mixed

    def time_weights(self, features: Tensor) -> Tensor:
        """Share of every token in the pooled vector: features (B, T', C) to (B, T'), rows summing to 1."""
        return self.pooling(features).squeeze(-1).softmax(dim=-1)  # type: ignore[no-any-return]

    def forward(self, layers: list[Tensor]) -> Tensor:
        """Hidden layers, a list of L tensors (B, T', C), to logits (B, n_classes)."""
        features = self.mix(layers)
        pooled = (self.time_weights(features).unsqueeze(-1) * features).sum(dim=1)
        return self.output(self.hidden(pooled))  # type: ignore[no-any-return]
