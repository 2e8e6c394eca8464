"""Where does the evidence lie that must lie in the stops, or in the vowels?

    python scripts/units_truth.py RESULTS.jsonl --voices FOLDER      compute what is missing
    python scripts/units_truth.py RESULTS.jsonl --table              print the tables of what is there
    python scripts/units_truth.py RESULTS.jsonl --place              print where twins differ, by class; no network

Bursts of stops are weakened (burst_weakening), or formants of vowels moved (formant_centralization), in one of two
twins of a voice: synthetic syllables and phrases, whose phones the synthesizer knows, and read speech (FOLDER), whose
phones the aligner finds by Whisper's transcripts. A network learns which twin has the cue, by folds of speakers. The
twin with the cue is explained by the network that never heard the speaker, and it is counted which class of phones is
beyond both floors most (evidence over its share of the time and of the energy): stops, or vowels, where the explanation
is true. `truth_map` is the place itself where the twins differ.

Formants that move move in every sound that has them, in nasals as well, where the articulators of a whole voice do so
(formant_centralization). In vowel_formants the twins differ within the vowels alone.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from speechxai.classifiers.validation import cross_validate
from speechxai.classifiers.whisper import transcript
from speechxai.data.cues import truth_map
from speechxai.data.synthetic import draw_speaker, twins
from speechxai.data.textgrid import write_tiers
from speechxai.data.voice_model import CUE_TASKS, UtteranceSettings
from speechxai.explain.combination import evidence
from speechxai.explain.explain import explain_all
from speechxai.explain.recipe import CONTROLS
from speechxai.planted.material import Material, Pair, folds_of, planted, seed_of
from speechxai.planted.networks import open_network
from speechxai.planted.settings import LEARNED, OPTIONS, BenchmarkSettings, Task
from speechxai.planted.task import choose, fit_config, held_out, judged, right
from speechxai.report.render import with_span
from speechxai.signal.audio import files_under, read_audio
from speechxai.signal.stft import spectrogram
from speechxai.stats import share_interval
from speechxai.types import Recording
from speechxai.units.align import Alignment, align
from speechxai.units.relevance import first, relevance
from speechxai.units.tiers import Units, read_units

SYLLABLES, PHRASES, READ = "synthetic syllables", "synthetic phrases", "read speech"
MATERIALS = {SYLLABLES: "ddk", PHRASES: "phrase", READ: ""}
"""What is said, with the task of the synthesizer."""
ALONE = "vowel_formants"
"""Formants moved in vowels alone: a plant of synthetic voices, whose phones are known."""
WANTED = {"burst_weakening": "stop", "formant_centralization": "vowel", ALONE: "vowel"}
CUES = {ALONE: "formant_centralization"}
"""What a plant is made by, where it has a name of its own."""
RAMP_S = 0.005
"""How long a plant takes to come and to go at the ends of a phone, within it."""
METHODS = (
    *("integrated_gradients", "gradient_shap", "guided_backprop", "guided_gradcam", "input_x_gradient", "deep_lift"),
    *("saliency", "smoothgrad", "gradcam", "occlusion", "segment_occlusion", "unit_occlusion", *CONTROLS),
)
SETTINGS = BenchmarkSettings(
    n_speakers=12, n_takes=2, n_pieces=8, n_plants=2, epochs=120, patience=12, least_epochs=40, n_explained=18
)


def units_of(intervals: list[tuple[float, float, str]], duration_s: float, folder: Path) -> Units:
    """Units of phones at known times."""
    path = folder / "made.TextGrid"
    path.write_text(write_tiers([("phones", intervals)], duration_s), "utf-8")
    return read_units(path, duration_s)


def within(spans: list[tuple[float, float]], n: int, sample_rate: int) -> torch.Tensor:
    """1 within the spans, in s, and 0 elsewhere, with raised cosines of RAMP_S at their ends, within them: (n,)."""
    at = np.arange(n) / sample_rate
    inside = np.zeros(n)
    for start, end in spans:
        depth = np.minimum(at - start, end - at) / RAMP_S
        inside = np.maximum(inside, 0.5 - 0.5 * np.cos(np.pi * np.clip(depth, 0, 1)))
    return torch.from_numpy(inside.astype(np.float32))


def synthetic_voices(task: Task, folder: Path) -> tuple[Material, dict[str, Units]]:
    """Twins of synthetic speakers who say syllables or phrases, and the phones of each."""
    said_as = MATERIALS[task.material]
    pairs, units = [], {}
    for index in range(SETTINGS.n_speakers):
        generator = np.random.default_rng([seed_of("units", task.cue, task.seed), index])
        sex, name = "FM"[index % 2], f"synthetic/units-{task.cue}-{task.seed}-{index:02d}"
        speaker = draw_speaker(name, sex, int(generator.integers(48, 82)), generator)
        for take in range(SETTINGS.n_takes):
            seed = seed_of("units", task.cue, task.seed, index, take)
            utterance = UtteranceSettings(said_as, SETTINGS.duration_s, {CUES.get(task.cue, task.cue): 1.0})
            both = twins(speaker, utterance, seed)
            if task.cue == ALONE:
                vowels = [(e.start_s, e.end_s) for e in both.events if e.kind == "vowel"]
                gate = within(vowels, len(both.with_cue), both.sample_rate)
                both = replace(both, with_cue=both.without_cue + gate * (both.with_cue - both.without_cue))
            gain = 10 ** (-12 * np.random.default_rng(seed).random() / 20)
            made = [
                Recording(gain * wave, both.sample_rate, f"{name}/{take}/{kind}", name, label, said_as, {"sex": sex})
                for wave, kind, label in ((both.with_cue, "with", 1), (both.without_cue, "without", 0))
            ]
            pairs.append(Pair(made[0], made[1]))
            said = [(e.start_s, e.end_s, e.name) for e in both.events if e.kind != "cue"]
            units[made[0].id] = units_of(said, made[0].duration_s, folder)
    return Material(tuple(pairs), {}), units


@cache
def aligned(folder: Path) -> list[tuple[Recording, Alignment]]:
    """Read speech with its phones."""
    found = []
    for name in files_under(folder):
        recording = replace(read_audio(folder / name), id=Path(name).name, speaker=Path(name).name, label=0)
        found.append((recording, align(recording, transcript(recording))))
    return found


def read_speech(task: Task, folder: Path, voices: Path) -> tuple[Material, dict[str, Units]]:
    """Twins of pieces of read speech, and the phones of each."""
    material = planted(task, SETTINGS, [recording for recording, _ in aligned(voices)])
    units = {}
    for pair in material.pairs:
        base, place, _ = pair.with_cue.id.rsplit("/", 2)
        start = int(place.split("-")[0]) * SETTINGS.duration_s
        whole = next(found for recording, found in aligned(voices) if recording.id == base)
        end = pair.with_cue.duration_s
        said = [
            (max(0.0, p.start_s - start), min(end, p.end_s - start), p.symbol)
            for p in whole.spoken
            if p.end_s - start > 1e-3 and p.start_s - start < end - 1e-3
        ]
        units[pair.with_cue.id] = units_of(said, end, folder)
    return material, units


def compute(material: str, cue: str, seed: int, network_name: str, voices: Path | None) -> Iterator[dict[str, Any]]:
    """Rows of one task: a line of its facts, then one a recording and method."""
    task = Task(material, cue, 1.0, seed)
    settings = replace(SETTINGS, cues=(CUES.get(cue, cue),), seeds=(seed,))
    network = open_network(network_name)
    with tempfile.TemporaryDirectory() as scratch:
        made = synthetic_voices(task, Path(scratch)) if voices is None else read_speech(task, Path(scratch), voices)
    pairs, units = made
    config = replace(fit_config(task, settings), learning_rate=network.learning_rate)
    folds = folds_of(pairs, settings.n_folds, seed)
    validated = cross_validate(
        partial(network.make, seed), pairs.recordings, folds, config, lambda *_: None, calibrate=False
    )
    known = held_out(validated)
    verdict = judged(known["auc"], known["twins_right"])
    base = {"material": material, "cue": cue, "seed": seed, "network": network_name}
    yield {**base, "method": "", "n_pairs": len(pairs.pairs), "verdict": verdict, **known}
    if not verdict:
        return
    for each in choose(list(right(pairs, validated, verdict == LEARNED)), settings.n_explained, seed):
        recording, own = each.pair.with_cue, units[each.pair.with_cue.id]
        spec = replace(spectrogram(recording.waveform[None], each.model.stft), spans=(own.spans,))
        energy = spec.magnitude[0].numpy()
        maps = {"truth_map": truth_map(recording.waveform, each.pair.without_cue.waveform).numpy()}
        found = explain_all(each.model, spec, METHODS, 1, options={**OPTIONS, "completeness": False})
        for method, attribution in found.items():
            kind = "positive" if attribution.signed else "absolute"
            maps[method] = evidence(attribution.values, kind)[0].cpu().numpy()
        for method, values in maps.items():
            rows = relevance(own, values.astype(float), energy, spec.stft.frame_rate_hz)
            over = {row.name: round(row.over_floors, 4) for row in rows if row.level == "class"}
            share = {row.name: round(row.share, 4) for row in rows if row.level == "class"}
            head = {**base, "recording": recording.id, "speaker": recording.speaker, "method": method}
            yield {**head, "first": first(rows), "over_floors": over, "share": share}


def show(path: Path) -> None:
    """Print how often the class that was changed came first, by material, cue, network and method."""
    rows = pd.DataFrame([json.loads(line) for line in path.read_text("utf-8").splitlines()])
    keys = ["material", "cue", "network"]
    for (material, cue, network), part in rows.groupby(keys, sort=False):
        tasks = part[part["method"] == ""]
        areas = ", ".join(
            f"{a:.2f} ({v or 'not learned'})" for a, v in zip(tasks["auc"], tasks["verdict"], strict=True)
        )
        wanted = WANTED[cue]
        print(f"\n**{material}, {cue.replace('_', ' ')}, {network}**: AUC of held-out speakers {areas}\n")
        own = part[part["method"] != ""]
        if own.empty:
            continue
        others = {"stop": "vowel", "vowel": "stop"}
        print(f"| map | {wanted}s first | {others[wanted]}s first | other | {wanted}s over both floors (median) |")
        print("|---|---|---|---|---|")
        lines = []
        for method, some in own.groupby("method", sort=False):
            n, k = len(some), int((some["first"] == wanted).sum())
            low, high = share_interval(k, n)
            other = int((some["first"] == others[wanted]).sum())
            median = np.nanmedian([one.get(wanted, np.nan) for one in some["over_floors"]])
            rest = some["first"].value_counts().drop([wanted, others[wanted]], errors="ignore")
            more = ", ".join(f"{name} {count}" for name, count in rest.items())
            text = f"{k} of {n}: {with_span(100 * k / n, 100 * low, 100 * high, 0)} %"
            lines.append(
                (method != "truth_map", -k / n, f"| {method} | {text} | {other} of {n} | {more} | {median:.2f} |")
            )
        for *_, line in sorted(lines):
            print(line)


def place(seed: int) -> None:
    """Print in which class of phones the twins of synthetic voices differ, beside its time and energy: what the best
    explanation could show."""
    print("| material, plant | class | difference | time | energy | over both floors | comes first |")
    print("|---|---|---|---|---|---|---|")
    for material, said_as in MATERIALS.items():
        for cue in WANTED:
            if material == READ or said_as not in CUE_TASKS[CUES.get(cue, cue)]:
                continue
            with tempfile.TemporaryDirectory() as scratch:
                pairs, units = synthetic_voices(Task(material, cue, 1.0, seed), Path(scratch))
            found: dict[str, list[tuple[float, ...]]] = {}
            firsts = []
            for pair in pairs.pairs:
                spec = spectrogram(pair.with_cue.waveform[None])
                differs = truth_map(pair.with_cue.waveform, pair.without_cue.waveform).numpy().astype(float)
                energy = spec.magnitude[0].numpy()
                rows = relevance(units[pair.with_cue.id], differs, energy, spec.stft.frame_rate_hz)
                firsts.append(first(rows))
                for row in rows:
                    if row.level == "class":
                        cells = row.share, row.share_of_time, row.share_of_energy, row.over_floors
                        found.setdefault(row.name, []).append(cells)
            for name, values in found.items():
                share, time, loud, over = np.nanmean(values, axis=0)
                cells = f"{share:.2f} | {time:.2f} | {loud:.2f} | {over:.2f} | {firsts.count(name)} of {len(firsts)}"
                print(f"| {material}, {cue.replace('_', ' ')} | {name} | {cells} |")


def said_by(material: str) -> str:
    """Task of the synthesizer; phrases stand for read speech."""
    return MATERIALS[material] or MATERIALS[PHRASES]


def main() -> None:
    """Compute what is missing, or print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="file of results, one JSON a line; what it holds is kept")
    parser.add_argument("--voices", type=Path, help="folder of English read speech of healthy speakers")
    parser.add_argument("--network", default="cnn", help="cnn, whisper, whisper-tuned")
    parser.add_argument("--material", action="append", choices=list(MATERIALS), help="only these; repeat for several")
    parser.add_argument("--cue", action="append", choices=list(WANTED), help="only these; repeat for several")
    parser.add_argument("--seeds", type=int, default=2, help="networks and voices a task")
    parser.add_argument("--table", action="store_true", help="print the tables and compute nothing")
    parser.add_argument("--place", action="store_true", help="print where twins differ and compute nothing")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.place:
        place(0)
        return
    if given.table:
        show(given.results)
        return
    lines = given.results.read_text("utf-8").splitlines() if given.results.exists() else []
    done = {tuple(json.loads(line)[key] for key in ("material", "cue", "seed", "network")) for line in lines}
    for seed in range(given.seeds):
        for material in given.material or MATERIALS:
            for cue in given.cue or WANTED:
                if (material, cue, seed, given.network) in done or (material == READ and given.voices is None):
                    continue
                if said_by(material) not in CUE_TASKS[CUES.get(cue, cue)] or (material == READ and cue in CUES):
                    continue
                voices = given.voices if material == READ else None
                rows = list(compute(material, cue, seed, given.network, voices))
                with given.results.open("a", encoding="utf-8") as file:
                    file.writelines(json.dumps(row) + "\n" for row in rows)
                print(f"{material}, {cue}, seed {seed}: AUC {rows[0]['auc']:.2f}, {len(rows) - 1} lines", flush=True)


if __name__ == "__main__":
    main()
