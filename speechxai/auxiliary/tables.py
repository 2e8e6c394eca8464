"""What a study found: metrics with intervals over speakers and seeds, differences to the floors, what the leak adds,
and what these numbers support in plain sentences, each of which says the opposite when its numbers do."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from speechxai.auxiliary.values import (
    ANSWER,
    CEILING,
    ENERGY,
    FLOORS,
    LINEAR,
    MAJORITY,
    PERMUTED,
    RANDOM,
    UNTRAINED,
    AuxiliarySettings,
    Fit,
    kind_of,
)
from speechxai.errors import SpeechXAIError
from speechxai.report import render
from speechxai.report.render import Finding, listing, p_text
from speechxai.stats import N_RESAMPLES, bca_interval, bca_p_value, direction, holm
from speechxai.types import CLASS_NAMES

if TYPE_CHECKING:
    import pandas as pd

    from speechxai.types import Array


# What a study found, in numbers: metrics with intervals over speakers and seeds, differences to the floors, what the
METRICS = ("accuracy", "macro_f1", "auroc")
"""Of the answers for speakers that the network never heard; each also as `selective_`: times 1 - mean mask."""

LEAK = 0.65
"""AUROC that a weak classifier of voices reaches: an interval of shuffled labels that holds it rules no leak out."""

KEYS = ["name", "kind", "input", "split", "architecture", "metric"]


@dataclass(frozen=True, eq=False)
class Arm:
    """Out-of-fold answers of one row, split and architecture: (K, R) for K seeds and R recordings.

    Args:
        name, split, architecture: which.
        labels, folds: (K, R).
        probabilities: (K, R) of the second of two classes, of more (K, R, C).
        mean_mask: (R,) mean evidence, NaN where there is no map.
    """

    name: str
    split: str
    architecture: str
    labels: Array
    probabilities: Array
    folds: Array
    mean_mask: Array


def arms(fits: Iterable[Fit], settings: AuxiliarySettings, n_recordings: int) -> list[Arm]:
    """Gather fits by row, split and architecture, in the table's order.

    Raises:
        SpeechXAIError: fits are missing, so that some recordings have no answer.
    """
    kept: dict[tuple[str, str], list[Fit]] = {}
    more: tuple[int, ...] = ()
    for fit in fits:
        kept.setdefault((fit.unit.name, fit.unit.split), []).append(fit)
        more = np.shape(fit.probabilities)[1:]
    found = []
    for name in settings.rows:
        for split in settings.splits:
            shape = (settings.n_seeds, n_recordings)
            labels, folds = (np.full(shape, np.nan) for _ in range(2))
            network, twin = (np.full(shape + more, np.nan) for _ in range(2))
            mask = np.full(n_recordings, np.nan)
            for fit in kept.get((name, split), []):
                seed, rows = fit.unit.seed, list(fit.rows)
                labels[seed, rows], network[seed, rows], folds[seed, rows] = (
                    fit.labels,
                    fit.probabilities,
                    fit.unit.fold,
                )
                if fit.linear:
                    twin[seed, rows] = fit.linear
                if fit.mean_mask:
                    mask[rows] = fit.mean_mask
            lacking = np.isnan(folds).any(axis=0)
            if lacking.any():
                raise SpeechXAIError(
                    f"The study is not finished: '{name}' has no answer for {int(lacking.sum())} recordings with folds"
                    f" by {split}. Run the same command again."
                )
            found.append(Arm(name, split, settings.architecture, labels, network, folds, mask))
            if name not in UNTRAINED:
                found.append(Arm(name, split, LINEAR, labels, twin, folds, mask))
            else:  # needs no architecture: the same answers stand beside both
                found.append(Arm(name, split, LINEAR, labels, network, folds, mask))
    return found


def statistics(arm: Arm, weights: Array) -> dict[str, Array]:
    """Metrics (D, K) for D weightings of the recordings (D, R) and every seed.

    Accuracy and macro F1 of the most probable class; AUROC over the pairs that are tested in the same fold, since
    networks of different folds are not calibrated to each other: sum of w_i w_j [p_i > p_j] / sum of w_i w_j, ties
    counting half. Of more than two classes it is the mean of each against all others.
    """
    two = arm.probabilities.ndim == 2
    says = (arm.probabilities > 0.5).astype(int) if two else arm.probabilities.argmax(axis=-1)
    total = weights.sum(axis=1, keepdims=True)
    accuracy = weights @ (says == arm.labels).T.astype(float) / total
    scores = []
    for index in range(2 if two else arm.probabilities.shape[-1]):
        said, there = says == index, arm.labels == index
        hits, errors = (weights @ cell.T.astype(float) for cell in (said & there, said ^ there))
        with np.errstate(invalid="ignore", divide="ignore"):
            # A class that is neither there nor said is no mistake; one that is there and never said has F1 = 0.
            scores.append(np.nan_to_num(2 * hits / (2 * hits + errors)))
    ranked = [(1, arm.probabilities)] if two else list(enumerate(np.moveaxis(arm.probabilities, -1, 0)))
    areas = np.stack(
        [
            np.stack([_auroc(arm, seed, p[seed], index, weights) for seed in range(len(arm.labels))], axis=1)
            for index, p in ranked
        ]
    )
    known = ~np.isnan(areas)
    auroc = np.divide(
        np.nan_to_num(areas).sum(axis=0),
        known.sum(axis=0),
        out=np.full(areas.shape[1:], np.nan),
        where=known.any(axis=0),
    )
    return {"accuracy": accuracy, "macro_f1": sum(scores) / len(scores), "auroc": auroc}


def _auroc(arm: Arm, seed: int, p: Array, index: int, weights: Array) -> Array:
    """AUROC (D,) of one seed: of the class `index`, whose probability is p (R,), against all others."""
    inside, outside = np.flatnonzero(arm.labels[seed] == index), np.flatnonzero(arm.labels[seed] != index)
    fold = arm.folds[seed]
    difference = p[inside][:, None] - p[outside][None, :]
    same = (fold[inside][:, None] == fold[outside][None, :]).astype(float)
    won = same * ((difference > 0) + 0.5 * (difference == 0))
    w_inside, w_outside = weights[:, inside], weights[:, outside]
    pairs = ((w_inside @ same) * w_outside).sum(axis=1)
    found: Array = np.divide(
        ((w_inside @ won) * w_outside).sum(axis=1), pairs, out=np.full(len(weights), np.nan), where=pairs > 0
    )
    return found


@dataclass(frozen=True, eq=False)
class Draws:
    """Weights of the recordings for the whole sample (1, R), without each speaker in turn (S, R) and for resamples (D,
    R), and counts of the drawn seeds (D, K)."""

    whole: Array
    left_out: Array
    resampled: Array
    seeds: Array

    @classmethod
    def make(cls, speakers: Sequence[str], n_seeds: int, n: int = N_RESAMPLES, seed: int = 0) -> Draws:
        """Draw speakers and, apart from them, seeds with replacement; every speaker weighs 1, however many recordings
        there are."""
        _, index, n_each = np.unique(np.asarray(speakers, dtype=str), return_inverse=True, return_counts=True)
        rng = np.random.default_rng([seed, 23])
        counts = rng.multinomial(len(n_each), np.full(len(n_each), 1 / len(n_each)), size=n).astype(float)
        whole = 1.0 / n_each[index]
        seeds = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=n).astype(float)
        others = 1.0 - np.eye(len(n_each))
        return cls(whole[None], others[:, index] * whole, counts[:, index] * whole, seeds)


@dataclass(frozen=True, eq=False)
class Measured:
    """A metric of an arm: value, values without each speaker (S,), resampled values (D,), standard deviation over
    seeds."""

    value: float
    left_out: Array
    draws: Array
    seed_std: float

    def times(self, factor: float) -> Measured:
        """Everything multiplied."""
        return Measured(self.value * factor, self.left_out * factor, self.draws * factor, self.seed_std * factor)

    def minus(self, other: Measured) -> Measured:
        """The paired difference; a standard deviation over seeds has none."""
        return Measured(
            self.value - other.value, self.left_out - other.left_out, self.draws - other.draws, float("nan")
        )


def measure(arm: Arm, draws: Draws) -> dict[str, Measured]:
    """Every metric of an arm, plain and selective."""
    whole, left_out, resampled = (statistics(arm, w) for w in (draws.whole, draws.left_out, draws.resampled))
    defined = ~np.isnan(arm.mean_mask)
    mask = float(np.average(arm.mean_mask[defined], weights=draws.whole[0, defined])) if defined.any() else float("nan")
    found = {}
    for metric in METRICS:
        by_seed = whole[metric][0]
        drawn = resampled[metric]
        known = ~np.isnan(drawn)
        weight = (draws.seeds * known).sum(axis=1)
        values = np.divide(
            (draws.seeds * np.nan_to_num(drawn)).sum(axis=1), weight, out=np.full(len(drawn), np.nan), where=weight > 0
        )
        std = float(np.std(by_seed, ddof=1)) if len(by_seed) > 1 else float("nan")
        rest = np.array([_mean(row) for row in left_out[metric]])
        found[metric] = Measured(_mean(by_seed), rest, values, std)
        found[f"selective_{metric}"] = found[metric].times(1 - mask)
    return found


def _mean(values: Array) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def interval(found: Measured) -> tuple[float, float]:
    """95 % interval over speakers and seeds, see `stats.bca_interval`."""
    low, high = bca_interval(found.draws[:, None], found.value, found.left_out[:, None])
    return float(low[0]), float(high[0])


def p_value(found: Measured) -> float:
    """Two-sided p-value that it is 0, of the same draws as its interval, see `stats.bca_p_value`."""
    return float(bca_p_value(found.draws[:, None], found.value, found.left_out[:, None])[0])


def table(found: Sequence[Arm], settings: AuxiliarySettings, speakers: Sequence[str], seed: int = 0) -> pd.DataFrame:
    """One line for every row, split, architecture and metric: KEYS, value, low, high, seed_std, mean_mask, leaky.

    Explanations and the ceiling also have `vs_<floor>` with `_low`, `_high` and, for explanations, `_p`: paired over
    speakers and
    seeds, Holm-corrected over all explanations and floors of a split, architecture and metric. `vs_original` has no
    p-value.
    """
    import pandas as pd

    draws = Draws.make(speakers, settings.n_seeds, seed=seed)
    measured = {(arm.name, arm.split, arm.architecture): (arm, measure(arm, draws)) for arm in found}
    floors = [name for name in FLOORS if name in settings.rows]
    rows = []
    for (name, split, architecture), (arm, metrics) in measured.items():
        for metric, one in metrics.items():
            if name in UNTRAINED and metric.startswith("selective_"):
                continue
            low, high = interval(one)
            row = {
                "name": name,
                "kind": kind_of(name),
                "input": settings.input if name != CEILING else "original",
                "split": split,
                "architecture": architecture,
                "metric": metric,
                "value": one.value,
                "low": low,
                "high": high,
                "seed_std": one.seed_std,
                "mean_mask": float(np.nanmean(arm.mean_mask)) if (~np.isnan(arm.mean_mask)).any() else float("nan"),
                "n_speakers": len(set(speakers)),
                "n_recordings": len(speakers),
                "n_seeds": settings.n_seeds,
                "leaky": split == "recording",
            }
            if metric in METRICS and kind_of(name) != "floor":
                for other in (*floors, *([] if name == CEILING else [CEILING])):
                    base = measured[other, split, architecture][1][metric]
                    difference = one.minus(base)
                    ends = interval(difference)
                    row |= {
                        f"vs_{other}": difference.value,
                        f"vs_{other}_low": ends[0],
                        f"vs_{other}_high": ends[1],
                    }
                    if other in floors and kind_of(name) == "explanation":
                        row[f"vs_{other}_p"] = p_value(difference)
            rows.append(row)
    return _corrected(pd.DataFrame(rows), floors)


def _corrected(frame: pd.DataFrame, floors: Sequence[str]) -> pd.DataFrame:
    columns = [f"vs_{floor}_p" for floor in floors if f"vs_{floor}_p" in frame.columns]
    for _, part in frame.groupby(["split", "architecture", "metric"], sort=False):
        if columns:
            raw = part[columns].to_numpy(dtype=float)
            frame.loc[part.index, columns] = holm(raw.ravel()).reshape(raw.shape)
    return frame


def leak(found: Sequence[Arm], settings: AuxiliarySettings, speakers: Sequence[str], seed: int = 0) -> pd.DataFrame:
    """Both splits side by side: value by speaker, value by recording, what the leak adds, and its interval. Empty with
    one split."""
    import pandas as pd

    columns = ["name", "kind", "architecture", "metric", "by_speaker", "by_recording", "added", "low", "high"]
    if len(settings.splits) < 2:
        return pd.DataFrame(columns=columns)
    draws = Draws.make(speakers, settings.n_seeds, seed=seed)
    measured = {(arm.name, arm.split, arm.architecture): measure(arm, draws) for arm in found}
    rows = []
    for (name, split, architecture), metrics in measured.items():
        if split != "speaker":
            continue
        for metric in METRICS:
            honest, leaky = metrics[metric], measured[name, "recording", architecture][metric]
            low, high = interval(leaky.minus(honest))
            rows.append(
                [
                    name,
                    kind_of(name),
                    architecture,
                    metric,
                    honest.value,
                    leaky.value,
                    leaky.value - honest.value,
                    low,
                    high,
                ]
            )
    return pd.DataFrame(rows, columns=columns)


def coefficients(fits: Iterable[Fit], cells: Sequence[str], classes: Sequence[str] = CLASS_NAMES) -> pd.DataFrame:
    """The twin's coefficients by row, split, class and band x segment: mean and spread over fits, and what they mean.

    Columns: `class`, the second of two; of more each, against all others; `log_odds` of it (per standard deviation of
    the cell's relative density; above 0 speaks for the class), `std` over fits, `odds` = exp(log_odds), `same_sign`:
    share of fits whose coefficient has the mean's sign.
    """
    import pandas as pd

    gathered: dict[tuple[str, str], list[Any]] = {}
    for fit in fits:
        if fit.coefficients:
            gathered.setdefault((fit.unit.name, fit.unit.split), []).append(fit.coefficients)
    rows = []
    for (name, split), values in gathered.items():
        array = np.array(values)
        named = [(classes[1], array)] if array.ndim == 2 else [(each, array[:, i]) for i, each in enumerate(classes)]
        for label, found in named:
            mean, spread = found.mean(axis=0), found.std(axis=0)
            same = (np.sign(found) == np.sign(mean)).mean(axis=0)
            for i, cell in enumerate(cells):
                facts = (*cell.split(", "), mean[i], spread[i], float(np.exp(mean[i])), same[i], len(found))
                rows.append([name, split, label, *facts])
    columns = ["name", "split", "class", "band", "segment", "log_odds", "std", "odds", "same_sign", "n_fits"]
    return pd.DataFrame(rows, columns=columns)


# What a study's numbers support, in plain sentences. Every sentence follows from the table and says the opposite when
HEADLINE = "auroc"
FLOOR_WORDS = {
    RANDOM: "maps of chance",
    ENERGY: "energy",
    PERMUTED: "shuffled labels",
    MAJORITY: "the majority class",
    ANSWER: "the classifier's answer alone",
}
MARGIN = 0.1
"""AUROC by which two inputs may differ and still be called alike."""


Rows = dict[str, dict[str, Any]]


def sentences(
    table: pd.DataFrame, leak: pd.DataFrame, coefficients: pd.DataFrame, facts: Mapping[str, Any]
) -> list[Finding]:
    """Say what a study supports: procedure, ceiling, explanations against floors, the readable twin, the leak.

    Args:
        table, leak, coefficients: of `table`, `leak` and `coefficients`.
        facts: `architecture`, `n_speakers`, `n_recordings`, and `not_held_out`, `unknown_held_out`: recordings whose
            explanation comes from
            a network that heard the speaker, or may have.
    """
    part = table[(table["split"] == "speaker") & (table["metric"] == HEADLINE)]
    network: Rows = {str(r["name"]): r for r in part[part["architecture"] != LINEAR].to_dict("records")}  # type: ignore[misc]
    twin: Rows = {str(r["name"]): r for r in part[part["architecture"] == LINEAR].to_dict("records")}  # type: ignore[misc]
    found = [*_held_out(facts), *_procedure(network), _ceiling(network[CEILING])]
    explanations = [row for row in network.values() if row["kind"] == "explanation"]
    if explanations:
        found += _against(explanations, ENERGY)
        if f"vs_{ANSWER}" in table:  # older studies have no such row
            found += _against(explanations, ANSWER)
        found += _all_floors(explanations)
        found.append(_survival(explanations, network[CEILING]))
        if explanations[0]["input"] == "masked":
            found.append(_masked(network[RANDOM]))
    found += _readable(twin, coefficients)
    found += _leak(leak, facts)
    return found


number, signed = partial(render.number, n_digits=2), partial(render.signed, n_digits=2)
"""Two decimals: an AUROC over a hundred speakers supports no more."""


def span(row: Mapping[str, Any]) -> str:
    """Value with its interval: 0.61 (0.49 to 0.72)."""
    return f"{number(row['value'])} ({number(row['low'])} to {number(row['high'])})"


def inner(row: Mapping[str, Any]) -> str:
    """Value with its interval where it stands in parentheses itself: 0.61, 0.49 to 0.72."""
    return f"{number(row['value'])}, {number(row['low'])} to {number(row['high'])}"


def beats(row: Mapping[str, Any], floor: str) -> bool:
    """Whether an explanation's AUROC is above a floor's, by the rule of `stats.direction`."""
    return direction(*(float(row.get(f"vs_{floor}_{end}", math.nan)) for end in ("low", "high", "p"))) > 0


def _held_out(facts: Mapping[str, Any]) -> list[Finding]:
    bad, unknown = int(facts.get("not_held_out", 0)), int(facts.get("unknown_held_out", 0))
    found = []
    if bad:
        found.append(
            Finding(
                f"{bad} of {facts['n_recordings']} maps come from a network that heard the speaker in training. Such"
                " maps can carry the label itself: do not report this study.",
                "caution",
            )
        )
    if unknown:
        found.append(
            Finding(
                f"For {unknown} of {facts['n_recordings']} maps nobody can say whether the network had heard the"
                " speaker in training.",
                "caution",
            )
        )
    return found


def _procedure(network: Rows) -> list[Finding]:
    """Whether labels that nobody can know were told: what the interval rules out, and no more."""
    row = network[PERMUTED]
    if not math.isfinite(row["low"] + row["high"]):
        text = f"With shuffled labels the AUROC is {number(row['value'])}, of too few speakers to show anything."
        return [Finding(text, "caution")]
    said = f"With shuffled labels the AUROC is {span(row)}"
    if row["low"] > 0.5 or row["high"] < 0.5:
        text = f"{said}, which is not chance: read nothing else here before this is understood."
        return [Finding(text, "caution")]
    worst = max(row["high"], 1 - row["low"])
    if worst > LEAK:
        text = (
            f"{said}: chance, 0.50, fits, but so does {number(worst)}. That is too wide to show that the procedure is"
            " fair."
        )
        return [Finding(text, "caution")]
    text = f"The procedure is fair: {said[0].lower()}{said[1:]}, chance fits, and {number(LEAK)} does not."
    return [Finding(text, "good")]


def _ceiling(row: Mapping[str, Any]) -> Finding:
    if row["low"] > 0.5:
        return Finding(f"The spectrogram itself tells the classes apart with an AUROC of {span(row)}: the ceiling.")
    return Finding(
        f"Not even the spectrogram itself tells the classes apart beyond chance (AUROC {inner(row)}), with this network"
        " and so few speakers: the study can hardly say what the maps lose.",
        "caution",
    )


def _against(explanations: Sequence[Mapping[str, Any]], floor: str) -> list[Finding]:
    winners = [row for row in explanations if beats(row, floor)]
    best = max(explanations, key=lambda row: row[f"vs_{floor}"])
    difference = (
        f"{signed(best[f'vs_{floor}'])} ({signed(best[f'vs_{floor}_low'])} to {signed(best[f'vs_{floor}_high'])}), "
        f"{p_text(best[f'vs_{floor}_p'])} after Holm correction"
    )
    if not winners:
        return [
            Finding(
                f"No evidence that the maps know more than {FLOOR_WORDS[floor]}: of {len(explanations)} explanations"
                f" the largest difference in AUROC is that of {best['name']}, {difference}."
                f"{_ruled_out(explanations, floor)}",
                "caution",
            )
        ]
    return [
        Finding(
            f"{len(winners)} of {len(explanations)} explanations know more than {FLOOR_WORDS[floor]}:"
            f" {listing([str(r['name']) for r in winners])}. The largest difference in AUROC is that of {best['name']},"
            f" {difference}.",
            "good",
        )
    ]


def _ruled_out(explanations: Sequence[Mapping[str, Any]], floor: str) -> str:
    """For how many explanations the interval ends below MARGIN: no evidence of more is not evidence of no more."""
    n = sum(float(row[f"vs_{floor}_high"]) < MARGIN for row in explanations)
    if n == len(explanations):
        return f" More by {number(MARGIN)} or above is ruled out for each of them."
    kept = f"for {n} of {len(explanations)}" if n else "for none of them"
    return f" More by {number(MARGIN)} or above is ruled out {kept}: too few speakers to say that they know no more."


def _all_floors(explanations: Sequence[Mapping[str, Any]]) -> list[Finding]:
    others = [floor for floor in FLOORS if floor not in (ENERGY, ANSWER)]
    winners = [row for row in explanations if all(beats(row, floor) for floor in others)]
    words = f"{FLOOR_WORDS[RANDOM]}, {FLOOR_WORDS[PERMUTED]} and {FLOOR_WORDS[MAJORITY]}"
    if winners:
        ranked = sorted(winners, key=lambda row: -float(row["value"]))
        values = listing([f"{row['name']} with {span(row)}" for row in ranked])
        return [
            Finding(
                f"{len(winners)} of {len(explanations)} explanations know more than {words} (AUROC): {values}.", "good"
            )
        ]
    best = max(explanations, key=lambda row: float(row["value"]))
    return [
        Finding(
            f"No explanation knows more than each of {words}; the highest AUROC is that of {best['name']},"
            f" {span(best)}.",
            "caution",
        )
    ]


def _survival(explanations: Sequence[Mapping[str, Any]], ceiling: Mapping[str, Any]) -> Finding:
    below = [row for row in explanations if row[f"vs_{CEILING}_high"] < 0]
    above = [row for row in explanations if row[f"vs_{CEILING}_low"] > 0]
    equal = len(explanations) - len(below) - len(above)
    text = (
        f"Against the spectrogram itself (AUROC {number(ceiling['value'])}): {len(below)} of {len(explanations)}"
        f" explanations know less, {equal} cannot be told from it"
    )
    if not above:
        return Finding(f"{text}.")
    # More than the input holds can only come from the network that made the maps.
    names = listing([str(r["name"]) for r in above])
    return Finding(
        f"{text}, {len(above)} know more ({names}): these maps carry what the explained network has learned or decided,"
        " not only what the voice holds."
    )


def _masked(row: Mapping[str, Any]) -> Finding:
    if row["low"] > 0.5:
        return Finding(
            f"Masked with chance alone the spectrogram still tells the classes apart (AUROC {inner(row)}): the input"
            " 'masked' shows what a mask lets through, not what the map knows. Read it only against this floor, or"
            " take the input 'map'.",
            "caution",
        )
    return Finding(f"Masked with chance the spectrogram tells nothing (AUROC {inner(row)}).")


def _readable(twin: Rows, coefficients: pd.DataFrame) -> list[Finding]:
    known = [row for row in twin.values() if row["kind"] == "explanation" and row["low"] > 0.5]
    if not [row for row in twin.values() if row["kind"] == "explanation"]:
        return []
    if not known:
        return [
            Finding(
                "The linear model on band x segment summaries finds nothing in any map beyond chance, so its"
                " coefficients mean nothing."
            )
        ]
    best = max(known, key=lambda row: float(row["value"]))
    part = coefficients[(coefficients["name"] == best["name"]) & (coefficients["split"] == "speaker")]
    strong = part.reindex(part["log_odds"].abs().sort_values(ascending=False).index).head(2)
    several = part["class"].nunique() > 1
    read = [
        f"{'more' if r['log_odds'] > 0 else 'less'} evidence at {r['band']} in {r['segment']} frames"
        f" {'for ' + r['class'] + ' ' if several else ''}(odds x {r['odds']:.2f} per standard deviation)"
        for r in strong.to_dict("records")
    ]
    speaks = "what speaks most is" if several else f"for {strong['class'].iloc[0]} speak, most of all,"
    others = sorted((row for row in known if row is not best), key=lambda row: -float(row["value"]))
    text = f"The linear model reads the maps of {best['name']} with an AUROC of {span(best)}; {speaks} {listing(read)}."
    if others:
        named = listing([f"{row['name']} with {span(row)}" for row in others])
        text += f" Above chance too: {named}."
    energy = span(twin[ENERGY])
    if beats(best, ENERGY):
        return [Finding(f"{text} That is more than it reads from energy maps, {energy}.", "good")]
    return [
        Finding(f"{text} There is no evidence that this is more than it reads from energy maps, {energy}.", "caution")
    ]


def _leak(leak: pd.DataFrame, facts: Mapping[str, Any]) -> list[Finding]:
    part = leak[(leak["metric"] == HEADLINE) & (leak["architecture"] != LINEAR) & (leak["kind"] != "floor")]
    if part.empty:
        return []
    added = float(part["added"].mean())
    text = (
        "With folds by recording (the published split) the AUROC of explanations and spectrogram changes by"
        f" {signed(added)} on average"
    )
    if facts["n_recordings"] == facts["n_speakers"]:
        return [
            Finding(f"{text}. Every speaker has one recording here, so both splits are the same and nothing can leak.")
        ]
    most = part.sort_values("added").to_dict("records")[-1]
    return [
        Finding(
            f"{text}, most for {most['name']}: from {number(most['by_speaker'])} to {number(most['by_recording'])}"
            f" ({signed(most['low'])} to {signed(most['high'])}). What is added comes from knowing the speaker, not the"
            " disease.",
            "caution" if float(part["low"].max()) > 0 else "plain",
        )
    ]
