"""From results to what a page shows: the player's views, and the facts that the sentences are computed from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from app import work
from app.naming import class_words, recipe_words
from app.player import Map, View, Voice, pack
from app.words import Facts, Sentence
from app.work import Explained, Heard


def sounds(heard: Heard, map_: Explained) -> list[Voice]:
    """Original, kept and removed at one level, each with the probability of the explained class."""
    name = heard.class_names[map_.target]
    kept, removed = work.halves(heard, map_.strongest)
    voices = [
        Voice("original", "Original", heard.waveform, f"{name} {map_.p:.2f}", "The recording as the model hears it.")
    ]
    share = f"{100 * work.HEARD_SHARE:.0f} %"
    for key, label, sound, p, words in (
        ("kept", "Kept", kept, map_.p_kept, f"Only the strongest {share} of the evidence"),
        ("removed", "Removed", removed, map_.p_removed, f"Without the strongest {share} of the evidence"),
    ):
        loud, gain_db = work.matched(sound, heard.waveform)
        title = f"{words}; probability of {name} {p:.2f}. Level matched: {gain_db:+.0f} dB."
        voices.append(Voice(key, label, loud, f"{name} {p:.2f}", title))
    return voices


def player_view(
    heard: Heard, map_: Explained, title: str, words: Sequence[Sentence] = (), tiers: Sequence[Mapping[str, Any]] = ()
) -> bytes:
    """The player's block for one map."""
    name = class_words(heard.class_names[map_.target])
    summary = f"The model says {name}, probability {map_.p:.2f}. " + " ".join(s.text for s in words)
    return pack(
        View(
            title=title,
            recording=heard.digest,
            magnitude=heard.magnitude,
            frame_rate_hz=heard.frame_rate_hz,
            sample_rate_hz=heard.sample_rate_hz,
            maps=[Map(map_.recipe, recipe_words(map_.recipe), map_.mask)],
            sounds=sounds(heard, map_),
            voicing=heard.voicing,
            f0_hz=heard.f0_hz,
            summary=summary,
            tiers=tiers,
        )
    )


def compare_view(heard: Heard, maps: Mapping[str, Explained], title: str) -> bytes:
    """The player's block for several maps one under the other."""
    return pack(
        View(
            title=title,
            recording=heard.digest,
            magnitude=heard.magnitude,
            frame_rate_hz=heard.frame_rate_hz,
            sample_rate_hz=heard.sample_rate_hz,
            maps=[
                Map(m.recipe, recipe_words(m.recipe), m.mask, f"without it: {m.p_removed:.2f} (whole: {m.p:.2f})")
                for m in maps.values()
            ],
            sounds=[Voice("original", "Original", heard.waveform)],
            voicing=heard.voicing,
            f0_hz=heard.f0_hz,
            summary=f"{len(maps)} maps of one recording: {', '.join(recipe_words(m.recipe) for m in maps.values())}.",
        )
    )


def facts(
    heard: Heard,
    map_: Explained,
    controls: Mapping[str, Explained],
    others: Mapping[str, Explained],
    unlike: Sequence[str] = (),
) -> Facts:
    """What the sentences about a map are computed from."""
    fifths = heard.without_fifths[:, map_.target]
    return Facts(
        evidence=map_.mask * map_.strongest,
        loudness=np.log1p(heard.magnitude),
        voicing=heard.voicing,
        bin_hz=heard.sample_rate_hz / 2 / (heard.magnitude.shape[0] - 1),
        frame_rate_hz=heard.frame_rate_hz,
        class_name=class_words(heard.class_names[map_.target]),
        p=map_.p,
        p_removed=map_.p_removed,
        controls={name: found.p_removed for name, found in controls.items() if name != map_.recipe},
        overlaps={name: work.top_overlap(map_.strongest, found.strongest) for name, found in others.items()},
        chance_overlap=work.HEARD_SHARE,
        range_p=(float(fifths.min()), float(fifths.max())),
        unlike=unlike,
        recording_warnings=heard.warnings,
    )


def evidence_regions(heard: Heard, map_: Explained, share: float = 0.5) -> list[tuple[float, float]]:
    """Stretches of time, s, that together hold `share` of the shown evidence, the fewest frames that do."""
    over_time = (map_.mask * map_.strongest).sum(axis=0, dtype=np.float64)
    total = over_time.sum()
    if not total > 0:
        return []
    order = np.argsort(-over_time, kind="stable")
    before = np.cumsum(over_time[order]) - over_time[order]
    inside = np.zeros(len(over_time), bool)
    inside[order[before < share * total * (1 - 1e-9)]] = True
    edges = np.flatnonzero(np.diff(np.concatenate([[0], inside.astype(np.int8), [0]])))
    duration = len(heard.waveform) / heard.sample_rate_hz
    rate = heard.frame_rate_hz
    found: list[list[float]] = []
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        start, end = max(0.0, (first - 0.5) / rate), min(duration, (last - 0.5) / rate)
        if found and start - found[-1][1] < 0.03:
            found[-1][1] = end
        else:
            found.append([start, end])
    return [(a, b) for a, b in found if b - a >= 0.03]
