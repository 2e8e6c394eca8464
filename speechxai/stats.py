"""Statistics of scores: the tidy table summarized by recipe and metric; the tests and intervals are those of `stats_speakers`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from speechxai.errors import SpeechXAIError
from speechxai.registry import did_you_mean
from speechxai.stats_speakers import (
    Difference,
    auc,
    bootstrap_means,
    expected_calibration_error,
    holm,
    mean_over_speakers,
    paired_difference,
    sign_flip_p_values,
    speaker_bootstrap,
    speaker_means,
)

if TYPE_CHECKING:
    import pandas as pd

SCORE_COLUMNS = ("recording", "speaker", "label", "predicted", "model", "recipe", "metric", "value")
"""Columns of a score table; `fold` may be added."""

CONTROLS = ("random_map", "energy_map")


def check_scores(scores: pd.DataFrame) -> None:
    """Check the columns of a score table and that no recording has two values in one cell.

    Raises:
        SpeechXAIError: a missing column, a value given twice.
    """
    missing = [name for name in SCORE_COLUMNS if name not in scores.columns]
    if missing:
        raise SpeechXAIError(f"The score table lacks {', '.join(missing)}. It needs {', '.join(SCORE_COLUMNS)}.")
    key = ["model", "recording", "recipe", "metric"]
    twice = scores.duplicated(key)
    if twice.any():
        first = scores.loc[twice, key].iloc[0]
        raise SpeechXAIError(f"The score table has two values for {', '.join(f'{k} {v}' for k, v in first.items())}.")


def summarize(scores: pd.DataFrame, controls: tuple[str, ...] = CONTROLS, seed: int = 0) -> pd.DataFrame:
    """Summarize a score table: one row for every model, recipe and metric.

    Values are averaged per speaker, then over speakers. Columns: `mean`, `low`, `high` (95 %, bootstrap over speakers),
    `std` (over recordings), `n` recordings with a value, `n_nan`, `n_speakers`, `mean_mask` (the recipe's budget, NaN where the
    metric mean_mask was not computed), and for each control that the table holds `vs_<control>`, `.._low`, `.._high`, `.._p`:
    mean paired difference, its interval, and its sign-flip p-value, Holm-corrected over all recipes and controls of the metric.

    Args:
        scores: SCORE_COLUMNS, a row for every recording, recipe and metric.
        controls: recipes to compare with; those that the table does not hold are left out.
        seed: of the resamples.

    Raises:
        SpeechXAIError: a missing column, a value given twice.
    """
    import pandas as pd

    check_scores(scores)
    blocks = []
    for (model, metric), part in scores.groupby(["model", "metric"], sort=False, dropna=False):
        # A recipe that one recording lacks leaves a NaN there, and so counts as undefined.
        wide = part.pivot(index="recording", columns="recipe", values="value")
        wide = wide[list(dict.fromkeys(part["recipe"]))]  # the table's own order
        speaker = part.drop_duplicates("recording").set_index("recording")["speaker"].reindex(wide.index).astype(str)
        block = _block(wide, speaker.to_numpy(), [c for c in controls if c in wide.columns], seed)
        block.insert(0, "model", str(model))
        block.insert(2, "metric", str(metric))
        blocks.append(block)
    if not blocks:
        names = ["model", "recipe", "metric", "mean", "low", "high", "std", "n", "n_nan", "n_speakers", "mean_mask"]
        return pd.DataFrame(columns=names)
    table = pd.concat(blocks, ignore_index=True)
    budget = table.loc[table["metric"] == "mean_mask"].set_index(["model", "recipe"])["mean"]
    position = table.columns.get_loc("n_speakers")
    keys = pd.MultiIndex.from_frame(table[["model", "recipe"]])
    table.insert(int(position) + 1, "mean_mask", budget.reindex(keys).to_numpy())  # type: ignore[arg-type]
    return table


def _block(wide: pd.DataFrame, speakers: np.ndarray, controls: list[str], seed: int) -> pd.DataFrame:
    """Rows of one model and metric from its recordings x recipes."""
    import pandas as pd

    values = wide.to_numpy(dtype=float)
    defined = ~np.isnan(values)
    means = speaker_means(values, speakers)
    low, high = bootstrap_means(means, seed=seed)
    block = pd.DataFrame(
        {
            "recipe": wide.columns,
            "mean": _column_means(means),
            "low": low,
            "high": high,
            "std": wide.std(ddof=1).to_numpy(),
            "n": defined.sum(axis=0),
            "n_nan": (~defined).sum(axis=0),
            "n_speakers": (~np.isnan(means)).sum(axis=0),
        }
    )
    p_values = np.full((len(controls), values.shape[1]), np.nan)
    for row, control in enumerate(controls):
        differences = speaker_means(values - wide[[control]].to_numpy(dtype=float), speakers)
        own = wide.columns == control
        differences[:, own] = np.nan  # a control is not compared with itself
        low, high = bootstrap_means(differences, seed=seed)
        block[f"vs_{control}"] = _column_means(differences)
        block[f"vs_{control}_low"], block[f"vs_{control}_high"] = low, high
        p_values[row] = sign_flip_p_values(differences, seed=seed)
    adjusted = holm(p_values.ravel()).reshape(p_values.shape)
    for row, control in enumerate(controls):
        block[f"vs_{control}_p"] = adjusted[row]
    return block


def _column_means(means: np.ndarray) -> np.ndarray:
    count = (~np.isnan(means)).sum(axis=0)
    found: np.ndarray = np.divide(np.nansum(means, axis=0), count, out=np.full(means.shape[1], np.nan), where=count > 0)
    return found


def fold_summary(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over folds, as papers print them: recordings averaged within a fold, then over folds.

    Returns:
        One row for every model, recipe and metric: `mean`, `std` (n - 1), `n_folds`.

    Raises:
        SpeechXAIError: a missing column, `fold` included.
    """
    if "fold" not in scores.columns:
        raise SpeechXAIError(did_you_mean("fold", [str(name) for name in scores.columns], "column of the score table"))
    check_scores(scores)
    keys = ["model", "recipe", "metric"]
    folds = scores.groupby([*keys, "fold"], sort=False)["value"].mean().groupby(level=keys, sort=False)
    return folds.agg(mean="mean", std="std", n_folds="count").reset_index()


__all__ = [
    "SCORE_COLUMNS",
    "Difference",
    "auc",
    "check_scores",
    "expected_calibration_error",
    "fold_summary",
    "holm",
    "mean_over_speakers",
    "paired_difference",
    "speaker_bootstrap",
    "speaker_means",
    "summarize",
]
