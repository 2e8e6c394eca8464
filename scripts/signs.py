"""Measure what the dials of signs do: `python scripts/signs.py people|dials|order [--help]`.

people  standard deviations and ranges of people by sign, sex and task, as the table of speechxai/signs/people.py
dials   what each dial moves when it is asked for one standard deviation, and the specificity matrix
order   on classifiers that learned one planted cue: which sign comes first
"""

from __future__ import annotations

import argparse
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from speechxai.data.synthetic import takes
from speechxai.errors import NotApplicable
from speechxai.signal.acoustics import MEASURE_NAMES, measures, task_kind
from speechxai.signs.dials import SIGNS, achieved, defined_on, measured, turned
from speechxai.signs.people import of_people
from speechxai.signs.voice import analyses
from speechxai.types import Recording

RATE = 16_000
DATA = Path(os.environ.get("SPEECHXAI_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def healthy(source: str, n: int) -> Iterator[Recording]:
    """Recordings of healthy speakers with sex and task."""
    if source == "synthetic":
        for take in takes(2 * n, 41, tasks=("vowel-a", "ddk", "phrase")):
            if take.label == 0:
                yield take.recording()
        return
    from speechxai.data.cards import build_manifest
    from speechxai.data.corpus import load

    rows, _ = build_manifest("figshare-voice", DATA / "figshare-voice")
    for row in rows[rows["label"].astype(str) == "0"].head(n).to_dict("records"):
        yield load(row, DATA / "figshare-voice", sample_rate=RATE)


def people(n: int) -> None:
    """Print rows of the table of people."""
    found: dict[tuple[str, str, str, str], list[float]] = defaultdict(list)
    for source in ("figshare-voice", "synthetic"):
        for recording in healthy(source, n):
            values = measures(recording.waveform, RATE)
            kind, sex = task_kind(recording.task), str(recording.metadata.get("sex", "any"))
            if source == "synthetic" and kind == "vowel":
                continue
            for name in SIGNS:
                if defined_on(name, recording.task) and np.isfinite(measured(name, values)):
                    for which in (sex, "any"):
                        found[name, kind, which, source].append(measured(name, values))
    for (name, kind, sex, source), values in sorted(found.items()):
        low, high = np.percentile(values, [5, 95])
        # Of both sexes together the deviation within each: how far women lie from men is no dose.
        groups = [found[name, kind, s, source] for s in ("F", "M")] if sex == "any" else [values]
        within = sum(np.var(group, ddof=1) * (len(group) - 1) for group in groups) / sum(len(g) - 1 for g in groups)
        numbers = ", ".join(f"{x:.4g}" for x in (np.mean(values), np.sqrt(within), low, high))
        print(f'    ("{name}", "{kind}", "{sex}"): Spread({numbers}, {len(values)}, "{source}"),')


def dials(source: str, n: int) -> None:
    """Print, for each dial, what share of the dose its measure moved, and which measures moved with it."""
    shares: dict[str, list[float]] = defaultdict(list)
    refused: dict[str, int] = defaultdict(int)
    others: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    spread: dict[str, list[float]] = defaultdict(list)
    for recording in healthy(source, n):
        before = recording.waveform.double().numpy()
        first = measures(before, RATE)
        for measure in MEASURE_NAMES:
            spread[measure].append(first[measure])
        with analyses():
            for name in SIGNS:
                if not defined_on(name, recording.task):
                    continue
                one = of_people(name, task_kind(recording.task), str(recording.metadata.get("sex", "any"))).sd
                for dose in (-one, one):
                    try:
                        after = turned(SIGNS, name, before, RATE, dose)
                    except NotApplicable:
                        refused[name] += 1
                        continue
                    shares[name].append(achieved(name, before, after, RATE) / dose)
                    last = measures(after, RATE)
                    for measure in MEASURE_NAMES:
                        others[name][measure].append(abs(last[measure] - first[measure]))
    print(f"{source}: share of the dose by which the own measure moved")
    print(f"{'dial':22}{'n':>5}{'refused':>9}{'median':>8}{'5 %':>7}{'95 %':>7}{'within .1':>11}")
    for name, values in shares.items():
        low, high = np.nanpercentile(values, [5, 95])
        within = np.mean(np.abs(np.array(values) - 1) <= 0.1)
        row = f"{name:22}{len(values):>5}{refused[name]:>9}{np.nanmedian(values):>8.2f}"
        print(f"{row}{low:>7.2f}{high:>7.2f}{within:>10.0%}")
    print("\nmeasures that are not entailed and move by more than 0.1 SD (median), in SD of these voices")
    for name, moved in others.items():
        facts = SIGNS.facts(name)
        said = []
        for measure, values in moved.items():
            sd = np.nanstd(spread[measure])
            own = measure == facts["measure"] or any(measure.startswith(each) for each in facts["entails"])
            if not own and sd > 0 and np.isfinite(values).any() and np.nanmedian(values) / sd > 0.1:
                said.append(f"{measure} {np.nanmedian(values) / sd:.2f}")
        print(f"{name:22}{', '.join(said) or 'none'}")


def main() -> None:
    """Parse the words and do what they say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("people", "dials"))
    parser.add_argument("--source", choices=("synthetic", "figshare-voice"), default="synthetic")
    parser.add_argument("--speakers", type=int, default=40, help="Healthy speakers of each source.")
    given = parser.parse_args()
    if given.what == "people":
        people(given.speakers)
    else:
        dials(given.source, given.speakers)


if __name__ == "__main__":
    main()
