"""Measure what the dials of signs do: `python scripts/signs.py people|dials|listen|...`.

people      standard deviations and ranges of people by sign, sex and task, as the table of speechxai/signs/people.py
dials       what each dial moves when it is asked for one standard deviation, and the specificity matrix
listen      whether edits clip, click or change the level, and what they do by measures
conditions  which signs a recording dial moves by itself
order       train classifiers of one planted cue and turn every dial on voices that they never heard: a line a task
shortcut    the same where a recording condition goes with the class
confounded  the same where two cues go with the class together: which one does the network use, and do what-ifs say so?
table       from those lines: which sign comes first, and where the alarm is raised
detector    how well spectra tell edited voices from untouched ones
maps        from those lines and the kept networks: maps put into words against what-ifs
cost        processor time and passes of all dials on 10 s of a held vowel and of a phrase
card        what an embedded model listens to, into its card, from a run of `speechxai evaluate --signs all`
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from speechxai.data.synthetic import takes
from speechxai.errors import NotApplicable
from speechxai.signal.acoustics import MEASURE_NAMES, measures, task_kind
from speechxai.signs.conditions import CONDITIONS
from speechxai.signs.dials import SIGNS, achieved, defined_on, measured, turned
from speechxai.signs.people import of_people
from speechxai.signs.voice import analyses
from speechxai.signs.whatif import CONFUSABLE, SMALLEST_DB
from speechxai.stats import regression_auc, share_interval
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
    """Print, for each dial, what share of the dose its measure moved, what is left of it after the way back, and which
    measures moved with it."""
    shares: dict[str, list[float]] = defaultdict(list)
    left: dict[str, list[float]] = defaultdict(list)
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
                    with suppress(NotApplicable):
                        back = turned(SIGNS, name, after, RATE, -dose)
                        left[name].append(abs(achieved(name, before, back, RATE) / dose))
                    last = measures(after, RATE)
                    for measure in MEASURE_NAMES:
                        others[name][measure].append(abs(last[measure] - first[measure]))
    print(f"{source}: share of the dose by which the own measure moved")
    head = ("n", "refused", "median", "5 %", "95 %", "within .1", "after the way back")
    print(
        "dial".ljust(22)
        + "".join(f"{word:>{width}}" for word, width in zip(head, (5, 9, 8, 7, 7, 11, 20), strict=True))
    )
    for name, values in shares.items():
        low, high = np.nanpercentile(values, [5, 95])
        within = np.mean(np.abs(np.array(values) - 1) <= 0.1)
        row = f"{name:22}{len(values):>5}{refused[name]:>9}{np.nanmedian(values):>8.2f}"
        back = f"{np.nanmedian(left[name]):.2f} ({len(left[name])})" if left[name] else "not possible"
        print(f"{row}{low:>7.2f}{high:>7.2f}{within:>10.0%}{back:>21}")
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


def conditions(n: int) -> None:
    """Print which signs a recording dial moves by itself at its registered step, in standard deviations of people: the
    measure cannot tell the two apart, and no model can be blamed for either."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for source in ("figshare-voice", "synthetic"):
        for recording in healthy(source, n):
            kind, sex = task_kind(recording.task), str(recording.metadata.get("sex", "any"))
            before = recording.waveform.double().numpy()
            first = measures(before, RATE)
            for condition in CONDITIONS:
                for dose in CONDITIONS.facts(condition)["steps"]:
                    after = turned(CONDITIONS, condition, before, RATE, dose)
                    last = measures(after, RATE)
                    for name in SIGNS:
                        if not defined_on(name, recording.task):
                            continue
                        moved = measured(name, last) - measured(name, first)
                        if np.isfinite(moved):
                            found[condition][name].append(moved / of_people(name, kind, sex).sd)
    print(f"{'condition':18}signs that it moves by more than one standard deviation (median of {n} voices a source)")
    for condition, moved_by in found.items():
        large = {name: np.median(np.abs(values)) for name, values in moved_by.items()}
        said = ", ".join(f"{name} {size:.1f}" for name, size in sorted(large.items(), key=lambda x: -x[1]) if size > 1)
        print(f"{condition:18}{said or 'none'}")


def listen(n: int) -> None:
    """Print the gate of edits: nothing clipped, level kept, no clicks; and what each edit did, by measures."""
    from scipy.ndimage import median_filter, uniform_filter1d
    from scipy.signal import butter, sosfiltfilt

    def crest_db(waveform: np.ndarray) -> float:
        # How far the loudest millisecond above 3 kHz stands out of its 40 ms.
        high = sosfiltfilt(butter(4, 3000, "highpass", fs=RATE, output="sos"), waveform) ** 2
        power = uniform_filter1d(high, 16)[::8].clip(0)
        return float(10 * np.log10((power / (median_filter(power, 81) + 1e-4 * np.percentile(high, 95))).max()))

    heard = ("hnr_db", "cpps_db", "jitter_local_percent", "f0_sd_semitones", "spectral_tilt_db_per_octave")
    print(
        f"{'dial':21}{'edits':>6}{'refused':>8}{'peak':>7}{'level dB':>9}{'click dB':>9}  what moved most, by measures"
    )
    edits: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    moved: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    refused: Counter[str] = Counter()
    voices = [each for source in ("figshare-voice", "synthetic") for each in list(healthy(source, n))[:n]]
    for recording in voices:
        before = recording.waveform.double().numpy()
        before = before / np.abs(before).max()
        first = measures(before, RATE)
        with analyses():
            for name in (each for each in SIGNS if defined_on(each, recording.task)):
                sd = of_people(name, task_kind(recording.task), str(recording.metadata.get("sex", "any"))).sd
                for dose in (-sd, sd):
                    try:
                        after = turned(SIGNS, name, before, RATE, dose)
                    except NotApplicable:
                        refused[name] += 1
                        continue
                    level = 10 * np.log10((after**2).mean() / (before**2).mean())
                    edits[name].append((np.abs(after).max(), level, crest_db(after) - crest_db(before)))
                    if dose > 0:
                        last = measures(after, RATE)
                        for measure in heard:
                            moved[name][measure].append(last[measure] - first[measure])
    for name, found in edits.items():
        peak, level, click = np.array(found).max(axis=0)
        said = ", ".join(f"{measure} {np.nanmean(values):+.2f}" for measure, values in moved[name].items())
        print(f"{name:21}{len(found):>6}{refused[name]:>8}{peak:>7.2f}{level:>9.2f}{click:>9.1f}  {said}")


SIGN_OF: dict[str, str] = {
    "breathiness": "breathiness",
    "amplitude_tremor": "tremor",
    "frequency_tremor": "tremor",
    "burst_weakening": "consonant_precision",
    "formant_centralization": "vowel_space",
    "monopitch": "pitch_range",
}
"""Which dial must come first for a model that learned a planted cue; written before any was run."""


SHORTCUTS = ("noise_floor", "band_limit", "codec", "reverberation", "mains_hum", "clipping", "leading_silence")
"""Recording conditions that are planted beside a class; not level, which is undone where peaks are set to 1."""


def spoiled(name: str, waveform: np.ndarray, seed: int) -> np.ndarray:
    """Record a voice (N,) under a condition, by other means than the dials have."""
    from scipy.signal import butter, lfilter, sosfilt

    draw = np.random.default_rng([seed, 77])
    n, power = waveform.shape[0], np.sqrt((waveform**2).mean())
    time_s = np.arange(n) / RATE
    if name == "noise_floor":  # brown from a low-pass of the first order, 18 to 26 dB under the voice
        noise = lfilter([1.0], [1.0, -0.9], draw.standard_normal(n))
        return waveform + noise / noise.std() * power * 10 ** (-draw.uniform(18, 26) / 20)
    if name == "band_limit":
        return sosfilt(butter(8, draw.uniform(2800, 4000), fs=RATE, output="sos"), waveform)
    if name == "codec":  # 8 bits by the law of mu = 255
        peak = np.abs(waveform).max()
        pressed = np.sign(waveform) * np.log1p(255 * np.abs(waveform / peak)) / np.log(256)
        heard = np.rint(pressed * 127) / 127
        return np.asarray(np.sign(heard) * (256 ** np.abs(heard) - 1) / 255 * peak)
    if name == "reverberation":  # 40 echoes at random times within 0.3 s
        wet = waveform.copy()
        for delay in draw.uniform(0.005, 0.3, 40):
            gain = draw.choice([-1, 1]) * 0.12 * 10 ** (-3 * delay / draw.uniform(0.25, 0.4))
            lag = int(delay * RATE)
            wet[lag:] += gain * waveform[: n - lag]
        return wet
    if name == "mains_hum":
        hum = sum(a * np.sin(2 * np.pi * 50 * k * time_s + draw.uniform(0, 6)) for k, a in ((1, 1), (2, 0.6), (3, 0.4)))
        return waveform + hum * power * 10 ** (-draw.uniform(24, 30) / 20)
    if name == "clipping":
        ceiling = np.abs(waveform).max() * draw.uniform(0.4, 0.55)
        return ceiling * np.tanh(waveform / ceiling * 2).clip(-0.96, 0.96)
    assert name == "leading_silence"
    silent = np.zeros(int(draw.uniform(0.4, 0.6) * RATE))
    return np.concatenate([silent, waveform])[:n]


def shortcut_material(name: str, seed: int, settings: Any) -> Any:
    """Twins of healthy synthetic voices: one of them was recorded under the condition."""
    import torch

    from speechxai.data.synthetic import draw_speaker, render
    from speechxai.data.voice_model import UtteranceSettings
    from speechxai.planted.material import Material, _pair, seed_of

    pairs = []
    for index in range(settings.n_speakers):
        draw = np.random.default_rng([seed_of(name, seed), index])
        sex, speaker_name = "FM"[index % 2], f"synthetic/{name}-{seed}-{index + 1:03d}"
        speaker = draw_speaker(speaker_name, sex, int(draw.integers(48, 82)), draw)
        for take in range(settings.n_takes):
            sound = ("vowel-a", "phrase", "ddk")[(index + take) % 3]
            number = seed_of(name, seed, index, take)
            clean = render(speaker, UtteranceSettings(sound, settings.duration_s), number).waveform
            bad = torch.from_numpy(spoiled(name, clean.double().numpy(), number).astype(np.float32))
            pairs.append(_pair(f"{speaker_name}/{sound}-{take}", speaker_name, sound, (bad, clean), number + 1, sex))
    return Material(tuple(pairs), {})


CONFOUNDED = (
    "breathiness+formant_centralization",
    "amplitude_tremor+breathiness",
    "amplitude_tremor+formant_centralization",
)
"""Two cues of which a network may use either, both of held vowels."""


def confounded_pairs(what: str, seed: int, settings: Any) -> Iterator[tuple[str, list[Any]]]:
    """Of each take of healthy synthetic speakers its name, and twins of the voice without a cue: with both, with the
    first alone and with the second alone."""
    from speechxai.data.synthetic import draw_speaker, render
    from speechxai.data.voice_model import UtteranceSettings
    from speechxai.planted.material import _pair, seed_of

    first, second = what.split("+")
    for index in range(settings.n_speakers):
        draw = np.random.default_rng([seed_of(what, seed), index])
        sex, speaker_name = "FM"[index % 2], f"synthetic/{what}-{seed}-{index + 1:03d}"
        speaker = draw_speaker(speaker_name, sex, int(draw.integers(48, 82)), draw)
        for take in range(settings.n_takes):
            sound, number = f"vowel-{'aiu'[(index + take) % 3]}", seed_of(what, seed, index, take)
            clean, *others = (
                render(speaker, UtteranceSettings(sound, settings.duration_s, cues), number).waveform
                for cues in ({}, {first: 1.0, second: 1.0}, {first: 1.0}, {second: 1.0})
            )
            name = f"{speaker_name}/{sound}-{take}"
            yield name, [_pair(name, speaker_name, sound, (each, clean), number + 1, sex) for each in others]


def alone(model: Any, what: str, seed: int, settings: Any, held: set[str]) -> dict[str, float]:
    """How far each of two confounded cues alone moves the margin of a network, mean over takes of held-out speakers:
    what it uses, by the synthesizer and not by dials."""
    from speechxai.classifiers.fit import recording_logits

    moved: dict[str, list[float]] = defaultdict(list)
    for _, (_, *singles) in confounded_pairs(what, seed, settings):
        for cue, pair in zip(what.split("+"), singles, strict=True):
            if pair.with_cue.speaker in held:
                answers = recording_logits(model, [pair.with_cue, pair.without_cue]).double().numpy()
                margins = answers[:, 1] - answers[:, 0]
                moved[cue].append(float(margins[0] - margins[1]))
    return {cue: round(float(np.mean(values)), 3) for cue, values in moved.items()}


def figshare_bases() -> list[Recording]:
    """Healthy voices of figshare-voice as they are read for a benchmark."""
    from speechxai.data.cards import build_manifest
    from speechxai.data.corpus import load

    rows, _ = build_manifest("figshare-voice", DATA / "figshare-voice")
    healthy_rows = rows[rows["label"].astype(str) == "0"].to_dict("records")
    return [load(row, DATA / "figshare-voice") for row in healthy_rows]


def tried(material: str, what: str, seed: int, network: str, n_recordings: int, keep: Path | None) -> dict[str, Any]:
    """Train one network that learns one cue (or one recording condition), and turn every dial on voices that it never
    heard: of the first of three folds of speakers the network is tested, the second stops its training."""
    import torch

    from speechxai.classifiers.fit import fit, initialized, recording_logits
    from speechxai.planted import task as tasks
    from speechxai.planted.material import Material, folds_of, make_material
    from speechxai.planted.networks import open_network
    from speechxai.planted.settings import MIN_AUC, BenchmarkSettings, Task
    from speechxai.signs.whatif import what_if
    from speechxai.stats import auc

    began = time.process_time()
    settings = BenchmarkSettings(cues=(what,) if what in SIGN_OF else ("breathiness",), seeds=(seed,))
    task = Task(material, what, 1.0, seed)
    if what in CONFOUNDED:
        made = Material(tuple(both for _, (both, *_) in confounded_pairs(what, seed, settings)), {})
    elif what in SIGN_OF:
        made = make_material(task, settings, figshare_bases() if material != "synthetic" else [])
    else:
        made = shortcut_material(what, seed, settings)
    folds = np.array(folds_of(made, 3, seed))
    recordings = made.recordings
    opened = open_network(network)
    config = replace(tasks.fit_config(task, settings), learning_rate=opened.learning_rate)
    model = initialized(partial(opened.make, seed), seed)
    fit(model, *([r for r, f in zip(recordings, folds, strict=True) if f in part] for part in ((2,), (1,))), config)
    held = [r for r, f in zip(recordings, folds, strict=True) if f == 0]
    answers = recording_logits(model, held).double().numpy()
    margins = answers[:, 1] - answers[:, 0]
    labels = np.array([int(r.label or 0) for r in held])
    line: dict[str, Any] = {
        "task": f"{material}/{what}/{seed}/{network}",
        "material": material,
        "what": what,
        "seed": seed,
        "network": network,
        "auc": round(float(auc(margins, labels)), 4),
        "accuracy": round(float(((margins > 0) == (labels == 1)).mean()), 4),
        "twins_right": round(float((margins[0::2] > margins[1::2]).mean()), 4),
        "margins": [round(float(margins[labels == k].mean()), 3) for k in (0, 1)],
        "margin_sd": round(float(margins.std()), 3),
    }
    line["learned"] = bool(line["auc"] >= MIN_AUC)
    if what in CONFOUNDED:
        line["alone"] = alone(model, what, seed, settings, {recording.speaker for recording in held})
    line["recordings"] = []
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), keep / f"{line['task'].replace('/', '-')}.pt")
    if line["learned"]:
        pairs = [(held[i], held[i + 1]) for i in range(0, len(held), 2) if margins[i] > 0 > margins[i + 1]]
        order_of = np.random.default_rng(seed).permutation(len(pairs))
        chosen: dict[str, Any] = {}
        for index in order_of:
            chosen.setdefault(pairs[index][0].speaker, pairs[index])
        for pair in list(chosen.values())[:n_recordings]:
            for recording in pair:
                found = what_if(model, recording, normalize="none")
                line["recordings"].append(
                    {
                        "id": recording.id,
                        "speaker": recording.speaker,
                        "twin": "with" if recording.label else "without",
                        "margin": _short(found.margin),
                        "kind": found.kind,
                        "dials": {c.name: _numbers(c) for c in found.curves},
                        "refused": dict(found.not_applicable),
                    }
                )
    line["cpu_s"] = round(time.process_time() - began, 1)
    return line


def _short(value: float) -> Any:
    return float(f"{value:.4g}") if np.isfinite(value) else None


def _numbers(curve: Any) -> dict[str, Any]:
    """What is kept of a curve: change of the margin by dose, distance, floors."""
    middle = next(p.margin for p in curve.points if p.dose == 0)
    moved = {f"{p.steps:g}": [_short(p.margin - middle), _short(p.distance_db)] for p in curve.points if p.answered}
    return {
        "moved": {k: v for k, v in moved.items() if k != "0"},
        "placebos": [_short(x) for x in curve.placebos],
        "round_trip": _short(curve.round_trip),
    }


def run(given: argparse.Namespace, whats: list[str]) -> None:
    """Compute what the file of lines does not have yet: a line a task."""
    out = Path(given.lines[0])
    out.parent.mkdir(parents=True, exist_ok=True)
    done = {json.loads(line)["task"] for line in out.read_text("utf-8").splitlines()} if out.exists() else set()
    for seed in given.seed or [0]:
        for what in whats:
            name = f"{given.material}/{what}/{seed}/{given.network}"
            if name in done:
                continue
            keep = Path(given.keep) if given.keep else None
            line = tried(given.material, what, seed, given.network, given.recordings, keep)
            with out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, separators=(",", ":")) + "\n")
            print(f"{name}: AUC {line['auc']:.3f}, {len(line['recordings'])} recordings, {line['cpu_s']} s", flush=True)


def _read_back(name: str, numbers: dict[str, Any]) -> dict[str, float] | None:
    """What `cohort.kept` gives, from a line; None where the dial gave no step."""
    moved = {step: tuple(np.nan if x is None else x for x in pair) for step, pair in numbers["moved"].items()}
    steps = ("1", "2", "3") if name == "codec" else ("1", "-1")
    at = max((step for step in steps if step in moved), key=lambda step: abs(moved[step][0]), default=None)
    if at is None:
        return None
    up, down = moved.get("1"), moved.get("-1")
    slope = moved[at][0] * (-1 if at == "-1" else 1)
    if name != "codec" and up is not None and down is not None:
        slope = 0.5 * (up[0] - down[0])
    placebos = [abs(x) for x in numbers["placebos"] if x is not None]
    return {
        "slope": slope,
        "strength": abs(moved[at][0]),
        "placebo": max(placebos, default=np.nan),
        "round_trip": np.nan if numbers["round_trip"] is None else abs(numbers["round_trip"]),
        "per_db": max(abs(change) / max(distance, SMALLEST_DB) for change, distance in moved.values()),
        "step": 1.0,
    }


def used_of(line: dict[str, Any]) -> str:
    """The cue that a network uses: the planted one, of two confounded ones that which alone moves it further."""
    moved = line.get("alone")
    return str(max(moved, key=lambda cue: abs(moved[cue])) if moved else line["what"])


@dataclass(frozen=True)
class Judged:
    """What the what-ifs of one network said of what it had learned.

    Args:
        shortcut: whether a recording condition was planted, and no sign.
        n: recordings.
        first, pair, at_one_sd: of them with the planted sign first for each dB; it or one of its named pair; and by the
            change at one standard deviation.
        chance: mean share of recordings in which a name drawn at random is right.
        sizes: how many dials could be turned.
        firsts: what came first, and how often.
        null: of each dial that came first in some recording, or was planted, in how many it did: what a name drawn at
            random for this network scores.
        models_first: what came first by the mean over speakers.
        right: whether that is what was planted.
        alarms, alike: conditions that raised the alarm, and that would have but for a sign that they move themselves.
    """

    shortcut: bool
    n: int
    first: int
    pair: int
    at_one_sd: int
    chance: float
    sizes: tuple[int, ...]
    firsts: Counter[str]
    null: tuple[int, ...]
    models_first: str
    right: bool
    alarms: tuple[str, ...]
    alike: tuple[str, ...]

    def said(self) -> str:
        """Alarms in words."""
        return ", ".join(self.alarms) or (f"none ({', '.join(self.alike)} alike)" if self.alike else "none")


def judged(line: dict[str, Any]) -> Judged | None:
    """Read a line of results; None where the network learned nothing."""
    from speechxai.signs.cohort import alarms, cohort, frame

    if not line["learned"]:
        return None
    rows = []
    for recording in line["recordings"]:
        found = {dial: kept for dial, numbers in recording["dials"].items() if (kept := _read_back(dial, numbers))}
        rows.append({"recording": recording["id"], "speaker": recording["speaker"], "signs": found})
    tidy = frame(rows)
    summary = cohort(tidy)
    signs = summary[(summary["family"] == "sign")]
    # As for the alarm: a sign that few of the voices can show is no answer about the model.
    common = signs[signs["n_recordings"] >= len(rows) / 2]
    found_alarms = alarms(tidy)
    raised = tuple(alarm.condition for alarm in found_alarms if not alarm.alike)
    alike = tuple(alarm.condition for alarm in found_alarms if alarm.alike)
    if line["what"] in SHORTCUTS:
        others = summary[summary["family"] == "condition"].assign(size=lambda t: t["effect"].abs())
        first = str(others.sort_values("size", ascending=False)["dial"].iloc[0])
        right = first == line["what"] and others["size"].max() > common["effect"].abs().max()
        return Judged(True, len(rows), 0, 0, 0, np.nan, (), Counter(), (), first, bool(right), raised, alike)
    planted = SIGN_OF[used_of(line)]
    pair = {planted}.union(*(each for each in CONFUSABLE if planted in each))
    firsts: Counter[str] = Counter()
    at_one_sd, sizes = 0, []
    for row in rows:
        mine = {dial: kept for dial, kept in row["signs"].items() if dial in SIGNS}
        firsts[max(mine, key=lambda dial: np.nan_to_num(mine[dial]["per_db"]))] += 1
        at_one_sd += max(mine, key=lambda dial: np.nan_to_num(mine[dial]["strength"])) == planted
        sizes.append(len(mine))
    can_turn = sorted({dial for row in rows for dial in row["signs"] if dial in SIGNS})
    models_first = str(common.sort_values("per_db", ascending=False)["dial"].iloc[0])
    return Judged(
        shortcut=False,
        n=len(rows),
        first=firsts[planted],
        pair=sum(firsts[each] for each in pair),
        at_one_sd=at_one_sd,
        chance=float(np.mean([1 / size for size in sizes])),
        sizes=tuple(sizes),
        firsts=firsts,
        null=tuple(firsts[dial] for dial in can_turn),
        models_first=models_first,
        right=models_first == planted,
        alarms=raised,
        alike=alike,
    )


def null_of(signs: list[Judged], n: int = 10_000) -> np.ndarray:
    """How many recordings have the right name first where the names of the dials are permuted, (n,). One permutation
    for all recordings of a network: they share what it learned."""
    random = np.random.default_rng(0)
    return np.sum([random.choice(found.null, n) for found in signs if found.null], axis=0)


def left_by_the_way_back(lines: list[dict[str, Any]]) -> dict[str, float]:
    """By sign, smallest first: what a step and the step back change of the logit, over what the step changes; median
    over recordings of networks that learned their cue."""
    found: dict[str, list[float]] = defaultdict(list)
    for line in lines:
        for recording in line.get("recordings", []) if line["learned"] else []:
            for name, turn in recording["dials"].items():
                effect = max(
                    (abs(turn["moved"][step][0]) for step in ("-1", "1") if step in turn["moved"]), default=0.0
                )
                if name in SIGNS and turn["round_trip"] is not None and effect > 0:
                    found[name].append(abs(turn["round_trip"]) / effect)
    medians = {name: float(np.median(values)) for name, values in found.items()}
    return dict(sorted(medians.items(), key=lambda x: x[1]))


def table(lines: list[dict[str, Any]]) -> None:
    """Print what came first and where the alarm was raised."""
    print("| task | AUC | first | with a pair as one | at one SD | by chance | of n | the model's first | alarm |")
    print("|---|---:|---:|---:|---:|---:|---|---|---|")
    signs: list[Judged] = []
    shortcuts: list[Judged] = []
    confused: dict[str, Counter[str]] = defaultdict(Counter)
    for line in lines:
        name, found = line["task"], judged(line)
        if found is None:
            print(f"| {name} | {line['auc']:.2f} | not learned | | | | | | |")
        elif found.shortcut:
            shortcuts.append(found)
            wrong = "" if found.right else " (wrong)"
            print(f"| {name} | {line['auc']:.2f} | | | | | | {found.models_first}{wrong} | {found.said()} |")
        else:
            signs.append(found)
            confused[SIGN_OF[used_of(line)]].update(found.firsts)
            cells = " | ".join(f"{k} of {found.n}" for k in (found.first, found.pair, found.at_one_sd))
            sizes = f"{min(found.sizes)} to {max(found.sizes)}"
            if "alone" in line:
                name += " ({})".format(", ".join(f"{cue} alone {moved:+.1f}" for cue, moved in line["alone"].items()))
            print(
                f"| {name} | {line['auc']:.2f} | {cells} | {found.chance:.0%} | {sizes} | {found.models_first} |"
                f" {found.said()} |"
            )
    print(f"\nRecordings: right sign first in {sum(f.first for f in signs)} of {sum(f.n for f in signs)},", end=" ")
    print(f"with a named pair as one {sum(f.pair for f in signs)},")
    print(f"by change at one standard deviation {sum(f.at_one_sd for f in signs)};", end=" ")
    print(f"a name drawn at random {sum(f.chance * f.n for f in signs):.0f}.")
    print(f"Models: right sign first by the mean over speakers in {sum(f.right for f in signs)} of {len(signs)}.")
    if signs:
        total, drawn = sum(f.first for f in signs), null_of(signs)
        p = (1 + np.sum(drawn >= total)) / (1 + len(drawn))
        print(
            f"Names of the dials permuted within each network ({len(drawn):,} times): {drawn.mean():.0f} first,"
            f" {np.quantile(drawn, 0.95):.0f} in one of twenty; p {'<' if p < 0.0002 else '='} {max(p, 0.0002):.4f}."
        )
        shares = [f.first / f.n for f in signs if f.n]
        low, high = share_interval(total, sum(f.n for f in signs))
        print(
            f"Share {total / sum(f.n for f in signs):.0%} [{low:.0%}, {high:.0%}] as if recordings were apart; by"
            f" network {min(shares):.0%} to {max(shares):.0%}, median {np.median(shares):.0%}."
        )
    back = ", ".join(f"{name} {left:.2f}" for name, left in left_by_the_way_back(lines).items())
    print(f"Left of a step's effect after the step and back, medians: {back}.")
    false = sum(bool(f.alarms) for f in signs)
    print(f"Alarm where nothing but a sign was planted: {false} of {len(signs)} models.")
    print(f"Shortcuts: named first in {sum(f.right for f in shortcuts)} of {len(shortcuts)} models,", end=" ")
    unlearned = len(lines) - len(signs) - len(shortcuts)
    print(f"alarm in {sum(bool(f.alarms) for f in shortcuts)}. Not learned: {unlearned}.")
    print("\nWhich sign came first (columns) where one was planted (rows), recordings:\n")
    names = sorted({first for each in confused.values() for first in each})
    print(f"| planted | {' | '.join(names)} |\n|---|{'---:|' * len(names)}")
    for planted, firsts in confused.items():
        print(f"| {planted} | {' | '.join(str(firsts[each] or '') for each in names)} |")


N_DETECTED_BANDS = 40


def spectrum_of(waveform: np.ndarray) -> np.ndarray:
    """What a detector of edits hears of a voice (N,): log energy in 40 mel bands, mean and standard deviation over
    frames, (80,)."""
    import torch
    from torchaudio.functional import melscale_fbanks

    samples, window = torch.from_numpy(waveform / np.sqrt((waveform**2).mean())), torch.hann_window(512).double()
    spec = torch.stft(samples, 512, 160, window=window, return_complex=True).abs() ** 2
    bands = melscale_fbanks(257, 0.0, RATE / 2, N_DETECTED_BANDS, RATE).double()
    log = torch.log(spec.T @ bands + 1e-8)
    return torch.cat([log.mean(0), log.std(0)]).numpy()


def detector(source: str, n: int) -> None:
    """Print how well a logistic regression on spectra, tested on speakers that it never heard, tells voices that were
    edited from the same voices untouched: one standard deviation up, and the round trip of it."""
    found: dict[str, list[tuple[int, np.ndarray, np.ndarray, np.ndarray]]] = defaultdict(list)
    for speaker, recording in enumerate(healthy(source, n)):
        before = recording.waveform.double().numpy()
        with analyses():
            for name in (each for each in SIGNS if defined_on(each, recording.task)):
                sd = of_people(name, task_kind(recording.task), str(recording.metadata.get("sex", "any"))).sd
                try:
                    after = turned(SIGNS, name, before, RATE, sd)
                    back = turned(SIGNS, name, after, RATE, -sd)
                except NotApplicable:
                    continue
                # The voice untouched goes through the dial at dose 0, as it does for a model.
                same = turned(SIGNS, name, before, RATE, 0.0)
                found[name].append((speaker, spectrum_of(same), spectrum_of(after), spectrum_of(back)))
    print(f"{source}: AUC of a detector on spectra; 0.5 cannot tell\n\n| dial | voices | one SD | round trip |")
    print("|---|---:|---:|---:|")
    for name, rows in found.items():
        folds = np.array([speaker % 5 for speaker, *_ in rows])
        labels = np.repeat([0, 1], len(rows))
        areas = [
            regression_auc(np.array([row[1] for row in rows] + [row[k] for row in rows]), labels, np.tile(folds, 2))
            for k in (2, 3)
        ]
        print(f"| {name} | {len(rows)} | {areas[0]:.2f} | {areas[1]:.2f} |")


def evidence_features(values: np.ndarray, recording: Recording, stft: Any) -> dict[str, float]:
    """Where a map (F, T) of evidence points: shares by band and segment, and how much it swings at 3 to 8 Hz."""
    from speechxai.signal.acoustics import BURST_S, VOICED
    from speechxai.signs.voice import taken_apart

    voice = taken_apart(recording.waveform, recording.sample_rate)
    total = max(float(values.sum()), 1e-12)
    frequency = np.arange(values.shape[0]) * stft.sample_rate / stft.n_fft
    frames = np.arange(values.shape[1]) * stft.hop_length
    over_time = values.sum(axis=0)
    kinds = voice.kinds[np.clip(np.rint(frames / voice.hop_samples).astype(int), 0, voice.n_frames - 1)]
    stop = np.zeros(frames.shape[0], dtype=bool)
    for first, last in voice.stops:
        stop |= (frames >= first) & (frames <= last + 2 * BURST_S * recording.sample_rate)
    flat = over_time - over_time.mean()
    swing = np.abs(np.fft.rfft(flat)) ** 2
    rates = np.fft.rfftfreq(flat.shape[0], stft.hop_length / stft.sample_rate)
    return {
        "high": float(values[frequency >= 3000].sum()) / total,
        "stops": float(over_time[stop].sum()) / total,
        "voiced": float(over_time[kinds == VOICED].sum()) / total,
        "swing": float(swing[(rates >= 3) & (rates <= 8)].sum() / max(swing[1:].sum(), 1e-12)),
        "is_ddk": float(task_kind(recording.task) == "ddk"),
        "is_vowel": float(task_kind(recording.task) == "vowel"),
    }


NAMED_BY_MAPS = ("breathiness", "tremor", "consonant_precision", "vowel_space")


def named_by_map(found: dict[str, float], swing: float, high: float, stops: float) -> str:
    """A rule from the band and segment of the evidence to one of NAMED_BY_MAPS that the task knows."""
    if found["is_ddk"] and found["stops"] > stops:
        return "consonant_precision"
    if found["is_vowel"] and found["swing"] > swing:
        return "tremor"
    return "breathiness" if found["high"] > high or not found["is_vowel"] else "vowel_space"


def maps(lines: list[dict[str, Any]], keep: Path, tuned_on: set[int]) -> None:
    """Print which names the planted sign more often: evidence of maps put into words, or what-ifs."""
    import torch

    from speechxai.explain.explain import explain_all
    from speechxai.planted.material import make_material
    from speechxai.planted.networks import open_network
    from speechxai.planted.settings import BenchmarkSettings, Task
    from speechxai.signal.stft import spectrogram

    gathered = []
    for line in lines:
        if line["what"] not in SIGN_OF or not line["learned"]:
            continue
        settings = BenchmarkSettings(cues=(line["what"],), seeds=(line["seed"],))
        model = open_network(line["network"]).make(line["seed"]).eval()
        model.load_state_dict(torch.load(keep / f"{line['task'].replace('/', '-')}.pt"))
        material = make_material(Task(line["material"], line["what"], 1.0, line["seed"]), settings, [])
        known = {recording.id: recording for recording in material.recordings}
        for kept in line["recordings"]:
            recording = known[kept["id"]]
            spec = spectrogram(recording.waveform[None], model.stft)
            found = explain_all(model, spec, ["integrated_gradients"], int(recording.label or 0))
            values = found["integrated_gradients"].values[0].clamp(min=0).double().numpy()
            dials_ = {d: v for d, x in kept["dials"].items() if d in SIGNS and (v := _read_back(d, x))}
            ranked = sorted(dials_, key=lambda dial: -np.nan_to_num(dials_[dial]["per_db"]))
            of_four = next((dial for dial in ranked if dial in NAMED_BY_MAPS), "")
            gathered.append((line, evidence_features(values, recording, model.stft), of_four, ranked[0]))
        print(f"{line['task']}: {len(line['recordings'])} recordings", flush=True)

    some = [(SIGN_OF[line["what"]], found) for line, found, *_ in gathered if line["seed"] in tuned_on]
    steps = np.arange(0.05, 0.95, 0.05)
    grid = [(swing, high, stops) for swing in steps for high in steps for stops in steps]
    rule = max(grid, key=lambda each: sum(named_by_map(found, *each) == sign for sign, found in some))
    print("rule tuned on seeds {}: swing {:.2f}, high {:.2f}, stops {:.2f}".format(sorted(tuned_on), *rule))
    print("| planted | seeds | maps and words | what-ifs among the same four | what-ifs |\n|---|---|---:|---:|---:|")
    for what in dict.fromkeys(line["what"] for line, *_ in gathered):
        seen = {line["seed"] for line, *_ in gathered}
        for name, seeds in (("tuned on", tuned_on), ("others", seen - tuned_on)):
            mine = [each for each in gathered if each[0]["what"] == what and each[0]["seed"] in seeds]
            sign = SIGN_OF[what]
            by_map = sum(named_by_map(found, *rule) == sign for _, found, *_ in mine)
            of_four, of_all = (sum(each[k] == sign for each in mine) for k in (2, 3))
            if mine:
                n = len(mine)
                print(f"| {what} | {name} | {by_map} of {n} | {of_four} of {n} | {of_all} of {n} |")


def card(model: str, run_path: str) -> None:
    """Write what a model listens to into the settings and the card of an embedded bundle."""
    from speechxai.classifiers.bundle import Listens, state_listening
    from speechxai.evaluation.report import sign_sentences, signs_table
    from speechxai.evaluation.runs import RunFolder
    from speechxai.report.render import markdown
    from speechxai.signs.cohort import WHOLE, alarms

    folder = RunFolder.open(run_path)
    said, found = sign_sentences(folder), signs_table(folder)
    assert found is not None
    rows = tuple(replace(row, group="") for row in found.rows if row.group in ("", "All"))
    summary = folder.table("signs")
    n = int(summary.loc[summary["by"] == WHOLE, "n_speakers"].max())
    raised = tuple(alarm.words() for alarm in alarms(folder.table("signs_recordings")) if not alarm.alike)
    about = f"{found.title}; {n} speakers, each answered by a model that never heard the speaker. {found.note}."
    state_listening(
        Path(__file__).resolve().parents[1] / "models" / model,
        Listens(said=tuple(said), alarms=raised, n_speakers=n),
        "\n\n".join((" ".join(said), about, markdown(replace(found, rows=rows)))),
    )


def cost() -> None:
    """Print processor time and passes of all dials, floors included, on 10 s of one synthetic voice, with the embedded
    `cnn`."""
    import torch

    from speechxai.classifiers.bundle import load_bundle
    from speechxai.data.synthetic import draw_speaker, render
    from speechxai.data.voice_model import UtteranceSettings
    from speechxai.signs.whatif import what_if

    torch.set_num_threads(1)
    model = load_bundle("synthetic-cnn").classifier()
    speaker = draw_speaker("synthetic/cost", "F", 60, np.random.default_rng(5))
    for said_as in ("vowel-a", "phrase"):
        voice = render(speaker, UtteranceSettings(said_as, 10.0), 3)
        recording = Recording(voice.waveform, RATE, f"synthetic/{said_as}", "synthetic", 0, said_as, {"sex": "F"})
        began = time.process_time()
        found = what_if(model, recording)
        seconds = time.process_time() - began
        curves, floors = found.n_passes
        print(f"{said_as}: {seconds:.1f} s, {len(found.curves)} dials, passes {curves} + {floors}")


def main() -> None:
    """Parse the words and do what they say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "what",
        choices=(
            "people",
            "dials",
            "listen",
            "conditions",
            "order",
            "shortcut",
            "confounded",
            "table",
            "detector",
            "maps",
            "cost",
            "card",
        ),
    )
    parser.add_argument("--source", choices=("synthetic", "figshare-voice"), default="synthetic")
    parser.add_argument("--speakers", type=int, default=40, help="Healthy speakers of each source.")
    parser.add_argument("--cue", action="append", choices=sorted(SIGN_OF), help="Of order; without it all.")
    parser.add_argument("--shortcut", action="append", choices=SHORTCUTS, help="Of shortcut; without it all.")
    parser.add_argument("--seed", action="append", type=int, help="Of order and shortcut; without it 0.")
    parser.add_argument("--recordings", type=int, default=8, help="Pairs of held-out twins for each network.")
    parser.add_argument("--material", choices=("synthetic", "figshare-voice"), default="synthetic")
    parser.add_argument("--network", default="cnn", help="As of `speechxai benchmark`.")
    parser.add_argument("--lines", action="append", help="File of results, a line a task; of table several.")
    parser.add_argument("--run", help="Of card: a finished run with what-ifs.")
    parser.add_argument("--model", help="Of card: the embedded model.")
    parser.add_argument("--keep", help="Folder for the weights of the networks.")
    given = parser.parse_args()
    given.lines = given.lines or ["docs/results/signs/lines.jsonl"]
    if given.what == "table":
        table([json.loads(text) for path in given.lines for text in Path(path).read_text("utf-8").splitlines()])
    elif given.what == "maps":
        read = [json.loads(text) for path in given.lines for text in Path(path).read_text("utf-8").splitlines()]
        maps(read, Path(given.keep), set(given.seed or [0, 1]))
    elif given.what == "cost":
        cost()
    elif given.what == "card":
        card(given.model, given.run)
    elif given.what in ("order", "shortcut", "confounded"):
        of_what = {"order": given.cue or sorted(SIGN_OF), "shortcut": given.shortcut or list(SHORTCUTS)}
        run(given, of_what.get(given.what, list(CONFOUNDED)))
    elif given.what in ("people", "conditions", "listen"):
        {"people": people, "conditions": conditions, "listen": listen}[given.what](given.speakers)
    else:
        {"dials": dials, "detector": detector}[given.what](given.source, given.speakers)


if __name__ == "__main__":
    main()
