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


OF_THE_VOICE = ("breathiness", "spectral_tilt", "pitch_level")
"""Signs of the voice itself: people differ in speech as they do in a held vowel, where real ones were measured."""


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

    def deviation(values: list[float]) -> float:
        # Half of the way from the 16th to the 84th percentile: a pitch that is found an octave away is no person.
        return float(np.diff(np.percentile(values, [16, 84]))[0] / 2)

    for (name, kind, sex, _), values in sorted(found.items()):
        kinds = {kind, "vowel"} if name in OF_THE_VOICE else {kind}
        # Of both sexes together the deviation within each: how far women lie from men is no dose.
        sexes = ("F", "M") if sex == "any" else (sex,)
        wide = [
            (deviation(group), len(group), of)
            for each in kinds
            for s in sexes
            for of in ("figshare-voice", "synthetic")
            if (group := found.get((name, each, s, of)))
        ]
        real = [w for w in wide if w[2] == "figshare-voice"] or wide
        sd = np.sqrt(sum(d * d * n for d, n, _ in real) / sum(n for _, n, _ in real))
        low, high = np.percentile(values, [5, 95])
        middle = np.mean(values)
        low, high = min(low, middle - 1.645 * sd), max(high, middle + 1.645 * sd)
        numbers = ", ".join(f"{x:.4g}" for x in (middle, sd, low, high))
        print(f'    ("{name}", "{kind}", "{sex}"): Spread({numbers}, {len(values)}, "{real[0][2]}"),')


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


SIGN_OF: dict[str, str] = {
    "breathiness": "breathiness",
    "amplitude_tremor": "tremor",
    "frequency_tremor": "tremor",
    "burst_weakening": "consonant_precision",
    "formant_centralization": "vowel_space",
    "monopitch": "pitch_range",
}
"""Which dial must come first for a model that learned a planted cue; written before any was run."""


def order(cues: list[str], seeds: list[int], n_recordings: int) -> None:
    """Train classifiers of one planted cue on synthetic voices, and print which dial comes first on held-out voices."""
    from collections import Counter

    from speechxai.planted import task as tasks
    from speechxai.planted.material import folds_of, make_material
    from speechxai.planted.settings import LEARNED, BenchmarkSettings, Task
    from speechxai.signs.whatif import CONFUSABLE, what_if

    print("cue, seed: right sign first | a confusable pair as one | that among all dials | that at equal distance |")
    print("    alarm | applicable signs, fewest to most")
    for cue in cues:
        for seed in seeds:
            settings = BenchmarkSettings(cues=(cue,), seeds=(seed,))
            task = next(each for each in settings.tasks() if isinstance(each, Task))
            material = make_material(task, settings, [])
            folds = folds_of(material, settings.n_folds, seed)
            validated = tasks._train(task, settings, material, folds, lambda share, what: None)
            facts = tasks.held_out(validated)
            said = tasks.judged(facts["auc"], facts["twins_right"])
            if said != LEARNED:
                print(f"{cue} {seed}: not learned, AUC {facts['auc']:.3f}", flush=True)
                continue
            usable = tasks.choose(list(tasks.right(material, validated, True)), n_recordings, seed)
            firsts: dict[str, Counter[str]] = {"without": Counter(), "with": Counter()}
            counts: Counter[str] = Counter()
            applicable = []
            right = SIGN_OF[cue]
            alike = {right}.union(*(pair for pair in CONFUSABLE if right in pair))
            for explained in usable:
                for twin, which in zip(explained.pair.twins, firsts, strict=True):
                    found = what_if(explained.model, twin, doses=(-1.0, 0.0, 1.0), normalize="none", floors=False)
                    first = found.signs[0].name
                    every = max(found.curves, key=lambda curve: curve.strength).name
                    firsts[which][first] += 1
                    applicable.append(len(found.signs))
                    counts["n"] += 1
                    counts["strict"] += first == right
                    counts["pair"] += first in alike
                    counts["every"] += every in alike
                    near = max(found.signs, key=lambda curve: np.nan_to_num(curve.per_db)).name
                    counts["equal"] += near in alike
                    counts["alarm"] += found.alarm is not None
            n = counts["n"]
            shown = (f"{counts[key]} of {n}" for key in ("strict", "pair", "every", "equal"))
            rest = f"alarm in {counts['alarm']} | {min(applicable)} to {max(applicable)}"
            print(f"{cue} {seed} (AUC {facts['auc']:.2f}): {' | '.join(shown)} | {rest}", flush=True)
            for which, counter in firsts.items():
                print(f"    twin {which}: " + ", ".join(f"{name} {k}" for name, k in counter.most_common()), flush=True)


def main() -> None:
    """Parse the words and do what they say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("people", "dials", "order"))
    parser.add_argument("--source", choices=("synthetic", "figshare-voice"), default="synthetic")
    parser.add_argument("--speakers", type=int, default=40, help="Healthy speakers of each source.")
    parser.add_argument("--cue", action="append", choices=sorted(SIGN_OF), help="Of order; without it all.")
    parser.add_argument("--seed", action="append", type=int, help="Of order; without it 0.")
    parser.add_argument("--recordings", type=int, default=10, help="Pairs of held-out twins for each network.")
    given = parser.parse_args()
    if given.what == "order":
        order(given.cue or sorted(SIGN_OF), given.seed or [0], given.recordings)
    elif given.what == "people":
        people(given.speakers)
    else:
        dials(given.source, given.speakers)


if __name__ == "__main__":
    main()
