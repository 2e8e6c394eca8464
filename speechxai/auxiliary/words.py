"""What a study's numbers support, in plain sentences. Every sentence follows from the table and says the opposite when
it does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from speechxai.auxiliary.values import CEILING, ENERGY, FLOORS, LINEAR, PERMUTED, RANDOM
from speechxai.report import render
from speechxai.report.render import Finding, listing, p_text
from speechxai.stats import direction

if TYPE_CHECKING:
    import pandas as pd

HEADLINE = "auroc"
FLOOR_WORDS = {
    RANDOM: "maps of chance",
    ENERGY: "energy",
    PERMUTED: "shuffled labels",
    "majority": "the majority class",
}


Rows = dict[str, dict[str, Any]]


def sentences(
    table: pd.DataFrame, leak: pd.DataFrame, coefficients: pd.DataFrame, facts: Mapping[str, Any]
) -> list[Finding]:
    """Say what a study supports: procedure, ceiling, explanations against floors, the readable twin, the leak.

    Args:
        table, leak, coefficients: of `auxiliary_table`.
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
    row = network[PERMUTED]
    if row["low"] > 0.5 or row["high"] < 0.5:
        return [
            Finding(
                f"With shuffled labels the AUROC is {span(row)}, which is not chance: read nothing else here before"
                " this is understood.",
                "caution",
            )
        ]
    return [
        Finding(
            f"The procedure is fair: with shuffled labels the AUROC is {span(row)}, as chance would have it.", "good"
        )
    ]


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
                f" the largest difference in AUROC is that of {best['name']}, {difference}.",
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


def _all_floors(explanations: Sequence[Mapping[str, Any]]) -> list[Finding]:
    others = [floor for floor in FLOORS if floor != ENERGY]
    winners = [row for row in explanations if all(beats(row, floor) for floor in others)]
    words = f"{FLOOR_WORDS[RANDOM]}, {FLOOR_WORDS[PERMUTED]} and {FLOOR_WORDS['majority']}"
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
    read = [
        f"{'more' if r['log_odds'] > 0 else 'less'} evidence at {r['band']} in {r['segment']} frames (odds x"
        f" {r['odds']:.2f} per standard deviation)"
        for r in strong.to_dict("records")
    ]
    text = (
        f"The linear model reads the maps of {best['name']} with an AUROC of {span(best)}; for PD speak, most of all,"
        f" {listing(read)}."
    )
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
