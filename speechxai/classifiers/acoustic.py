"""The transparent baseline: logistic regression on the acoustic measures that a speech therapist reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from speechxai.classifiers.base import BACKBONES
from speechxai.errors import NotApplicable, SpeechXAIError, did_you_mean
from speechxai.signal.acoustics import MEASURE_NAMES, measures
from speechxai.signal.stft import inverse, spectrogram
from speechxai.types import Array, Recording, Spectrogram, StftConfig

Z_LIMIT = 4.0
"""Standardized measures are clipped here, so that one wild value (a failed pitch track) cannot decide alone."""
C_GRID = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Inverse strengths of the L2 penalty that fitting chooses from."""

_MEASURED: WeakKeyDictionary[Recording, dict[tuple[StftConfig, tuple[str, ...]], Array]] = WeakKeyDictionary()
# Half a second a recording: every fold of a cross-validation fits on most of the same recordings, which never change.


class _WithoutGradient(torch.autograd.Function):
    """Identity to `logits` that answers a backward pass with the reason why there is none."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, magnitude: Tensor) -> Tensor:
        return logits.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        raise NotApplicable(
            "the acoustic classifier reads measures of the waveform (pitch cycles, pauses), which have no gradient in"
            " the magnitude. Use its contributions, or methods that only ask for predictions: occlusion, rise."
        )


class Acoustic(nn.Module):
    """log odds of PD = bias + sum over measures of weight_m * z_m, z = (measure - mean) / deviation clipped to +-4.

    A measure that a recording does not define (NaN) counts as z = 0, the training set's mean. The network's output is
    the one logit (B, 1). It is not differentiable in the magnitude: a backward pass raises NotApplicable.

    Args:
        stft: settings of the magnitude.
        names: measures that are read, of `acoustics.MEASURE_NAMES`.
    """

    differentiable = False
    mean: Tensor
    deviation: Tensor

    def __init__(self, stft: StftConfig, names: Sequence[str] = MEASURE_NAMES) -> None:
        super().__init__()
        for name in names:
            if name not in MEASURE_NAMES:
                raise SpeechXAIError(did_you_mean(name, list(MEASURE_NAMES), "acoustic measure"))
        if not names or len(set(names)) < len(names):
            raise SpeechXAIError(
                "The 'names' parameter of the backbone 'acoustic' must hold different measures, at least one."
            )
        self.stft = stft
        self.output = "logit"  # without a gradient nobody sees that it is none of a sigmoid where all lie in (0, 1)
        self.names = tuple(names)
        self.weight = nn.Parameter(torch.zeros(len(names)), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(()), requires_grad=False)
        self.register_buffer("mean", torch.zeros(len(names)))
        self.register_buffer("deviation", torch.ones(len(names)))

    def measured(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        """Measures (B, M) of spectrograms (B, F, T), NaN where undefined."""
        with torch.no_grad():
            waveforms = inverse(magnitude.detach(), phase.detach(), self.stft)
        rows = [
            [values[name] for name in self.names] for values in (measures(w, self.stft.sample_rate) for w in waveforms)
        ]
        return torch.tensor(rows, dtype=self.mean.dtype, device=magnitude.device)

    def standardized(self, values: Tensor) -> Tensor:
        """Measures (B, M) to z (B, M); missing ones are 0."""
        return torch.nan_to_num((values - self.mean) / self.deviation, nan=0.0).clamp(-Z_LIMIT, Z_LIMIT)

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        """(B, F, T) twice to the log odds of PD (B, 1)."""
        z = self.standardized(self.measured(magnitude, phase))
        logits = (z @ self.weight + self.bias)[:, None].to(magnitude.dtype)
        if torch.is_grad_enabled() and magnitude.requires_grad:
            return _WithoutGradient.apply(logits, magnitude)  # type: ignore[no-any-return]
        return logits

    def contributions(self, spec: Spectrogram) -> dict[str, Tensor]:
        """What each measure adds to the log odds of PD, weight_m * z_m, as measure -> (B,); with `bias` they sum to the
        logit."""
        z = self.standardized(self.measured(spec.magnitude, spec.phase))
        return {name: (z[:, i] * self.weight[i]).detach() for i, name in enumerate(self.names)}

    def fit_recordings(self, recordings: Sequence[Recording], seed: int) -> None:
        """Fit the weights; the penalty is chosen by cross-validation over speakers inside these recordings.

        Raises:
            SpeechXAIError: fewer than 2 speakers of a class.
        """
        table = np.concatenate([self._row(recording) for recording in recordings])
        labels = np.array([recording.label for recording in recordings])
        speakers = np.array([recording.speaker for recording in recordings])
        with np.errstate(invalid="ignore"):
            defined = np.isfinite(table)
        n_defined = np.maximum(defined.sum(0), 1)
        mean = np.where(defined, table, 0).sum(0) / n_defined
        deviation = np.sqrt(np.where(defined, (table - mean) ** 2, 0).sum(0) / n_defined)
        with torch.no_grad():
            self.mean.copy_(torch.from_numpy(mean))
            self.deviation.copy_(torch.from_numpy(np.where(deviation > 1e-9, deviation, 1.0)))
            z = self.standardized(torch.from_numpy(table).to(self.mean)).cpu().numpy()
            weight, bias = _logistic(z, labels, speakers, seed)
            self.weight.copy_(torch.from_numpy(weight))
            self.bias.fill_(bias)

    def _row(self, recording: Recording) -> Array:
        known = _MEASURED.setdefault(recording, {})
        if (self.stft, self.names) not in known:
            spec = spectrogram(recording.waveform[None], self.stft)
            known[self.stft, self.names] = self.measured(spec.magnitude, spec.phase).double().numpy()
        return known[self.stft, self.names]


def _logistic(z: Array, labels: Array, speakers: Array, seed: int) -> tuple[Array, float]:
    """Weights (M,) and bias of an L2-penalized logistic regression with balanced classes."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold

    n_speakers = min(len(set(speakers[labels == label])) for label in (0, 1))
    if n_speakers < 2:
        raise SpeechXAIError(
            f"Fitting the acoustic classifier needs at least 2 speakers of each class. Got {n_speakers}."
        )
    folds = StratifiedGroupKFold(min(5, n_speakers), shuffle=True, random_state=seed)
    model = LogisticRegression(class_weight="balanced", max_iter=5000)
    # refit on everything with the penalty whose held-out likelihood is best
    search = GridSearchCV(model, {"C": list(C_GRID)}, cv=folds, scoring="neg_log_loss", error_score="raise")
    best = search.fit(z.astype(np.float64), labels, groups=speakers).best_estimator_
    return best.coef_[0], float(best.intercept_[0])


@BACKBONES.register(hears="waveform", cites="boersma2001praat", differentiable=False, takes=Acoustic)
def acoustic(stft: StftConfig, **options: Any) -> nn.Module:
    """Logistic regression on acoustic measures; `contributions` is its explanation; option: names of the measures."""
    return Acoustic(stft, **options)
