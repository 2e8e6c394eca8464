"""Concepts as tables, sentences, a page and files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from speechxai.files import to_json, write_atomically
from speechxai.inside.concepts import (
    ALL,
    CONTROL,
    ERASURE,
    FEATURE,
    FEATURES,
    FOUND,
    HALVED,
    LOGISTIC,
    MEANS,
    ONE,
    RANDOM,
    UNIT,
    UNITS,
    Found,
)
from speechxai.report.render import NONE, Cell, Finding, Row, Table, csv_text, number, page, plain_table

DIRECTIONS, FROM_BELOW = (MEANS, LOGISTIC, ERASURE), (UNIT, UNITS, FEATURE, FEATURES)


def signs_of(facts: Mapping[str, Any]) -> list[str]:
    """The signs that were looked for."""
    return list(facts["heads"])


def random_left(facts: Mapping[str, Any], sign: str, reach: str) -> list[float]:
    """What directions drawn at random leave of a sign's gap."""
    return [r["left"][sign] for r in facts["rows"] if r["how"] == RANDOM and r["reach"] == reach and sign in r["left"]]


def two_random_words(facts: Mapping[str, Any], reach: str) -> int | None:
    """Words that the first two directions drawn at random change, together."""
    words = [r["words"] for r in facts["rows"] if r["how"] == RANDOM and r["reach"] == reach][:2]
    return None if not words or None in words else sum(words)


def rows_of(facts: Mapping[str, Any], sign: str, names: Sequence[str], reach: str = "") -> list[dict[str, Any]]:
    """Rows of the named ways to find a sign, of one reach or of both."""
    return [
        row
        for row in facts["rows"]
        if row["sign"] == sign and row["how"] in names and (not reach or row["reach"] == reach)
    ]


def cheap(facts: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """Whether a way changes no more words than two directions drawn at random; where no words are read, True."""
    allowed = two_random_words(facts, row["reach"])
    return allowed is None or row["words"] is None or row["words"] <= allowed


def steering(facts: Mapping[str, Any], sign: str, names: Sequence[str]) -> dict[str, Any] | None:
    """The way that leaves least of a sign's gap among those that find it, halve it and are cheap, or None."""
    good = [
        row
        for row in rows_of(facts, sign, names)
        if (row["auc"] or 0) >= FOUND and abs(row["left"][sign]) <= HALVED and cheap(facts, row)
    ]
    return min(good, key=lambda row: abs(row["left"][sign]), default=None)


def findings(facts: Mapping[str, Any]) -> list[Finding]:
    """What the tables say.

    Args:
        facts: fields of `concepts.Found` as plain values.
    """
    signs = signs_of(facts)
    said = []
    # Of a network without words nothing is said about them.
    at_no_more = " at no more changed words than two random directions" if facts["n_words"] else ""
    for group, names in (("A direction (top-down)", DIRECTIONS), ("A unit or feature (bottom-up)", FROM_BELOW)):
        finds = [s for s in signs if any((row["auc"] or 0) >= FOUND for row in rows_of(facts, s, names))]
        steers = [s for s in signs if steering(facts, s, names) is not None]
        said.append(
            Finding(
                f"{group} finds {len(finds)} of {len(signs)} signs in voices that were held out (AUC of at least"
                f" {FOUND:.2f}){_named(finds)}; taken out, it halves the head's gap"
                f"{at_no_more} for {len(steers)}{_named(steers)}.",
                "good" if steers else "caution",
                group,
            )
        )
    worst = [abs(1 - left) for s in signs for reach in (ONE, ALL) for left in random_left(facts, s, reach)]
    if worst:
        halved = sum(left <= HALVED for s in signs for reach in (ONE, ALL) for left in random_left(facts, s, reach))
        said.append(
            Finding(
                f"Directions drawn at random move the gap by at most {number(max(worst))} of itself and halve it in"
                f" {halved} of {len(worst)} trials.",
                "plain" if not halved else "caution",
                "random",
            )
        )
    again = [row["again"] for row in facts["stability"] if row["again"] is not None]
    if again:
        said.append(
            Finding(
                f"{number(min(again))} to {number(max(again))} of an autoencoder's features are found again by that of"
                " another seed, one to one, with a cosine of at least .7; of directions drawn at random"
                f" {number(max(row['random'] for row in facts['stability']))}.",
                "plain",
                "seeds",
            )
        )
    return said


def _named(signs: Sequence[str]) -> str:
    return f" ({', '.join(signs)})" if signs else ""


def tables(facts: Mapping[str, Any]) -> list[Table]:
    """Which way finds a sign, which steers, at what cost; beside controls; the layers; the features' seeds."""
    columns = (
        "sign and way",
        "layer",
        "AUC held out",
        "AUC of moments",
        "gap left, one layer",
        "all layers",
        "other signs, one layer",
        "all layers ",
        "words changed, one layer",
        "all layers  ",
        "cosine, one layer",
        "all layers   ",
    )
    rows = []
    for sign in signs_of(facts):
        for name in (*DIRECTIONS, *FROM_BELOW):
            both = {row["reach"]: row for row in rows_of(facts, sign, (name,))}
            if len(both) == 2:
                rows.append(Row(f"{sign}: {name}", _cells(sign, [both[ONE], both[ALL]]), sign))
        for name in dict.fromkeys(row["how"] for row in facts["rows"] if row["group"] == CONTROL):
            drawn = [row for row in facts["rows"] if row["how"] == name and row["sign"] in ("", sign)]
            mean = [_mean_row([row for row in drawn if row["reach"] == reach], sign) for reach in (ONE, ALL)]
            rows.append(Row(f"{sign}: {name} (mean)", _cells(sign, mean), sign))
    main = Table(
        "Which finds the sign, which steers the answer, at what cost",
        columns,
        tuple(rows),
        note="Gap left: how far the head of the sign still puts a held-out twin with it above its twin without it,"
        " after over before; 1 is untouched, 0 is gone. Other signs: the gap of another sign's head that moved"
        f" furthest. Words: changed of {facts['n_words'] or NONE} that Whisper reads in real speech, where the gap is"
        " halved. Cosine: of a"
        " recording's mean in the last layer to what it was.",
    )
    seeds = plain_table(
        "Features of sparse autoencoders over seeds",
        ("layer", "found again", "random directions", "variance explained", "features alive"),
        [
            (r["layer"], *(number(r[key]) for key in ("again", "random", "explained")), f"{r['alive']:.0f}")
            for r in facts["stability"]
        ],
    )
    layers = plain_table(
        "How far apart recordings with and without a sign lie, by layer (deviations, other half of the speakers)",
        ("sign and way", *dict.fromkeys(r["layer"] for r in facts["layers"])),
        [
            (f"{sign}: {how}", *(number(r["apart"]) for r in facts["layers"] if (r["sign"], r["how"]) == (sign, how)))
            for sign, how in dict.fromkeys((r["sign"], r["how"]) for r in facts["layers"])
        ],
    )
    return [main, layers, seeds]


def _mean_row(rows: Sequence[Mapping[str, Any]], sign: str) -> dict[str, Any]:
    others = {s: float(np.mean([r["left"][s] for r in rows if s in r["left"]])) for s in rows[0]["left"]}
    words = [r["words"] for r in rows if r["words"] is not None]
    areas = [r["auc"] for r in rows if r.get("auc") is not None]
    return {
        "left": others,
        "words": float(np.mean(words)) if words else None,
        "cosine": float(np.mean([r["cosine"] for r in rows])),
        "layer": NONE,
        "auc": float(np.mean(areas)) if areas else None,
        "auc_moments": None,
    }


def _cells(sign: str, both: Sequence[Mapping[str, Any]]) -> tuple[Cell, ...]:
    def others(row: Mapping[str, Any]) -> float | None:
        rest = [value for name, value in row["left"].items() if name != sign]
        return max(rest, key=lambda value: abs(1 - value)) if rest else None

    first = both[0]
    texts = [str(first["layer"]), number(first.get("auc")), number(first.get("auc_moments"))]
    texts += [number(row["left"].get(sign)) for row in both] + [number(others(row)) for row in both]
    texts += [NONE if row["words"] is None else f"{row['words']:g}" for row in both]
    texts += [number(row["cosine"]) for row in both]
    return tuple(Cell(text) for text in texts)


def facts_of(found: Found) -> dict[str, Any]:
    """What was found as plain values, without the directions."""
    return {
        "rows": [dict(row) for row in found.rows],
        "layers": [dict(row) for row in found.layers],
        "stability": [dict(row) for row in found.stability],
        "heads": dict(found.heads),
        "n_words": found.n_words,
    }


def write(out: Path, title: str, found: Found, settings: Any) -> Path:
    """Write concepts.csv, concepts.json and concepts.html into a folder, and return the page."""
    facts = facts_of(found)
    made = tables(facts)
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "concepts.csv", csv_text(made[0]).encode())
    write_atomically(out / "concepts.json", to_json({"settings": asdict(settings), **facts}))
    text = page("concepts.html.j2", title=title, tables=made, findings=findings(facts))
    write_atomically(out / "concepts.html", text.encode())
    return out / "concepts.html"
