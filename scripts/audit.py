"""How often does the audit of a data set find what was planted, name it first, and cry wolf?

    nice -n 10 python scripts/audit.py planted.jsonl          64 planted sets, 40 without; goes on after a stop
    python scripts/audit.py other.jsonl --draw 7              the same with everything drawn anew
    python scripts/audit.py planted.jsonl --table             the counts, as Markdown
    python scripts/audit.py FOLDER --made                     a table like VOICED's and a tree like PC-GITA's, audited

Sets of 60 speakers, 30 of each class, labels made up. Two materials: phrases of synthetic voices without any cue, and
real held vowels (figshare-voice) relabeled at random. A confound is a quantity that differs from speaker to speaker by
one standard deviation and between the classes by 1.7 of them (weak, an AUROC of .88 before anything else disturbs
it) or 2.7 (strong, .97); of kinds (sex, codec) a share. Sets without a confound: labels drawn at random, or planted
sets whose labels are exchanged among speakers afterwards.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from speechxai.audit.audit import Audit, Measured, audit, measure
from speechxai.data.cards import build_manifest
from speechxai.data.corpus import load
from speechxai.data.manifest import Locator
from speechxai.data.synthetic import takes
from speechxai.signal.audio import coded, resample
from speechxai.types import Array, Recording

DATA = Path(os.environ.get("SPEECHXAI_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
DRAW = int(sys.argv[sys.argv.index("--draw") + 1]) if "--draw" in sys.argv else 2026
"""Which voices, labels and confounds are drawn."""
LEAK = "one recording under two names"
RIGHT = {
    "hum": ("hum of the mains",),
    "codec": ("container and codec", "traces of coding"),
    "noise floor": ("noise floor",),
    "age gap": ("age",),
    "sex gap": ("sex",),
    "duration": ("duration",),
    "silence pattern": ("pauses",),
    "speaker leak": (LEAK,),
}
"""What may be named first, by what was planted."""

STRENGTHS = {"weak": 1.7, "strong": 2.7}
SHARES = {"weak": (0.2, 0.8), "strong": (0.05, 0.95)}
"""Of women, or of coded files, in the two classes."""
LEAKED = {"weak": 5, "strong": 15}
"""Recordings that stand again, cut, made quieter and coded, under another name."""
MATERIALS = ("synthetic", "real")
N, REPEATS, CLEAN = 60, 2, 10
PERMUTED = 20


@lru_cache
def voices(material: str) -> tuple[tuple[str, Array, int, int, str], ...]:
    """Name, waveform, sample rate, age and sex of the speakers of a material."""
    if material == "synthetic":
        made = [take.recording() for take in takes(2 * N, 77, tasks=("phrase",)) if take.label == 0]
        return tuple(
            (r.speaker, r.waveform.numpy().astype(float), r.sample_rate, r.metadata["age"], r.metadata["sex"])
            for r in made
        )
    root = DATA / "figshare-voice"
    manifest, _ = build_manifest("figshare-voice", root)
    found = []
    for row in manifest.to_dict("records"):
        r = load({str(k): v for k, v in row.items()}, Locator(root), sample_rate=None)
        found.append((r.speaker, r.waveform.numpy().astype(float), r.sample_rate, int(row["age"]), str(row["sex"])))
    return tuple(found)


def sets() -> Iterator[dict[str, Any]]:
    """What is made, one after the other."""
    for repeat in range(REPEATS):
        for kind in RIGHT:
            for strength in STRENGTHS:
                for material in MATERIALS:
                    yield {"set": "planted", "kind": kind, "strength": strength, "material": material, "repeat": repeat}
    for repeat in range(CLEAN):
        for material in MATERIALS:
            yield {"set": "clean", "kind": "none", "strength": "", "material": material, "repeat": repeat}
    kinds = [kind for kind in RIGHT if kind != "speaker leak"]
    for repeat in range(PERMUTED):
        kind, material = kinds[repeat % len(kinds)], MATERIALS[repeat % 2]
        yield {"set": "permuted", "kind": kind, "strength": "strong", "material": material, "repeat": repeat}


def made(asked: dict[str, Any], seed: int) -> list[Measured]:
    """The recordings of one set, measured."""
    rng = np.random.default_rng([DRAW, seed])
    pool, kind = voices(asked["material"]), asked["kind"]
    chosen = rng.permutation(len(pool))[:N]
    labels = rng.permutation([0, 1] * (N // 2))
    shift = STRENGTHS.get(asked["strength"], 0.0)
    low, high = SHARES.get(asked["strength"], (0.5, 0.5))
    found = []
    for place, (index, label) in enumerate(zip(chosen, labels, strict=True)):
        name, samples, rate, age, sex = pool[index]
        v = float(rng.normal()) + shift * label
        nth, n_class = int((labels[:place] == label).sum()), N // 2
        marked = nth < round((low, high)[label] * n_class)
        own = rng.integers(2**31)
        header, gain = "WAV PCM_16", float(rng.uniform(0.2, 0.7))
        samples = gain * samples / np.abs(samples).max()
        if kind == "hum":
            samples = hummed(samples, rate, -48 + 5 * v)
        elif kind == "noise floor":
            samples = samples + rms(samples) * 10 ** ((-42 + 4 * v) / 20) * rng.normal(size=len(samples))
        elif kind == "duration":
            samples = samples[: round(rate * float(np.clip(1.1 * 2 ** (0.15 * v), 0.7, 3)))]
        elif kind == "silence pattern":
            before = float(np.clip(0.4 + 0.12 * v, 0, 1.1))
            samples = padded(samples, rate, before, 1.1 - before, rng)
        elif kind == "age gap":
            age = round(60 + 7 * v)
        elif kind == "sex gap":
            sex = "F" if marked else "M"
        elif kind == "codec" and marked:
            header, samples = stored(samples, rate, asked["repeat"])
        row = {
            "recording": f"r{place}",
            "path": f"{own}.wav",
            "speaker": name,
            "label": int(label),
            "age": age,
            "sex": sex,
        }
        found.append(measured(row, samples, rate, header))
        if kind == "speaker leak" and place < LEAKED[asked["strength"]]:
            start = round(rng.uniform(0.1, 0.4) * len(samples))
            part = coded(0.4 * samples[start:], rate, "ULAW")
            again = {**row, "recording": f"r{place}-again", "path": f"{own + 1}.wav", "speaker": f"{name}-again"}
            found.append(measured(again, part, rate, header))
    if asked["set"] == "permuted":
        exchanged = rng.permutation([each.row["label"] for each in found])
        rows = [{**each.row, "label": int(label)} for each, label in zip(found, exchanged, strict=True)]
        found = [replace(each, row=row) for each, row in zip(found, rows, strict=True)]
    return found


def rms(samples: Array) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(samples**2)))


def hummed(samples: Array, rate: int, level_db: float) -> Array:
    """Add 50 Hz and its odd harmonics, `level_db` beside the recording."""
    time_s = np.arange(len(samples)) / rate
    line = sum(np.sin(2 * np.pi * 50 * k * time_s) / k for k in (1, 3, 5)) * np.sqrt(2)
    return samples + rms(samples) * 10 ** (level_db / 20) * line


def padded(samples: Array, rate: int, before: float, after: float, rng: np.random.Generator) -> Array:
    """Put the quiet of a room before and after, s."""
    quiet = rms(samples) * 10 ** (-55 / 20)
    sides = [quiet * rng.normal(size=round(rate * seconds)) for seconds in (before, after)]
    return np.concatenate([sides[0], samples, sides[1]])


def stored(samples: Array, rate: int, repeat: int) -> tuple[str, Array]:
    """In one half of the sets another container, in the other G.711 that was stored as linear samples again."""
    if repeat % 2 == 0:
        return "OGG OPUS", coded(samples, rate, "OPUS")
    return "WAV PCM_16", coded(samples, rate, "ULAW")


def measured(row: dict[str, Any], samples: Array, rate: int, header: str) -> Measured:
    """Bring a recording to 16 bits, where it has them, and measure it."""
    if header == "WAV PCM_16":
        samples = np.round(np.clip(samples, -1, 1) * 32_768) / 32_768
    waveform = torch.from_numpy(samples.astype(np.float32))
    recording = Recording(waveform, rate, row["recording"], row["speaker"], row["label"])
    return measure(recording, row, {"format": header, "sample_rate": rate, "channels": 1})


def judged(asked: dict[str, Any], found: Audit, seconds: float) -> dict[str, Any]:
    """The line that is kept of a set."""
    alarms = list(found.alarms)
    right = RIGHT.get(asked["kind"], ())
    aucs = {each.label: round(each.auroc, 3) for each in found.probes if not each.reason}
    return {
        **asked,
        "alarms": alarms,
        "found": bool(alarms),
        "first": bool(alarms) and alarms[0] in right,
        "listed": any(name in right for name in alarms),
        "auroc": aucs,
        "seconds": round(seconds, 1),
    }


def table(lines: list[dict[str, Any]]) -> str:
    """Counts of what was found."""
    out = [
        "| planted | strength | material | sets | found | named first | also named |",
        "|---|---|---|---:|---:|---:|---|",
    ]
    planted = [each for each in lines if each["set"] == "planted"]
    for kind in RIGHT:
        for strength in STRENGTHS:
            for material in MATERIALS:
                part = [e for e in planted if (e["kind"], e["strength"], e["material"]) == (kind, strength, material)]
                if part:
                    also = sorted({name for e in part for name in e["alarms"]} - set(RIGHT[kind]))
                    cells = (kind, strength, material, len(part), sum(e["found"] for e in part))
                    out.append(f"| {' | '.join(map(str, (*cells, sum(e['first'] for e in part), ', '.join(also))))} |")
    n, found, first = len(planted), sum(e["found"] for e in planted), sum(e["first"] for e in planted)
    rest = [each for each in lines if each["set"] != "planted"]
    out += ["", f"Planted sets: {n}; an alarm in {found}, the right one named first in {first}."]
    for kind in ("clean", "permuted"):
        part = [e for e in rest if e["set"] == kind]
        out.append(f"{kind.capitalize()} sets: {len(part)}; an alarm in {sum(e['found'] for e in part)}.")
    for each in rest:
        if each["found"]:
            out.append(
                f"- {each['set']} ({each['kind']}), {each['material']}, {each['repeat']}: {', '.join(each['alarms'])}"
            )
    for each in planted:
        if not each["first"]:
            what = ", ".join(each["alarms"]) or "no alarm"
            out.append(f"- {each['kind']}, {each['strength']}, {each['material']}, {each['repeat']}: {what}")
    return "\n".join(out)


def audit_made(folder: Path) -> None:
    """Write made-up voices as two published sets lay them out, audit both by the command, and print the lines for their
    cards: 20 people of each class, matched in age and sex, who differ in nothing but the voice."""
    shutil.rmtree(folder, ignore_errors=True)
    voiced, gita = folder / "voiced", folder / "gita" / "Vowels"
    rows = ["File;Label;Speaker;Gender;Age (years);Diagnosis;VHI"]
    for index, take in enumerate(takes(40, 31, tasks=("vowel-a",))):
        r = take.recording()
        ill, sex, age = bool(r.label), str(r.metadata["sex"]), int(r.metadata["age"])
        voiced.mkdir(parents=True, exist_ok=True)
        samples = resample(r.waveform.numpy().astype(float), r.sample_rate, 8_000)
        soundfile.write(voiced / f"voice{index:03d}.wav", 0.5 * samples, 8_000)
        rows.append(
            f"voice{index:03d}.wav;{'pathological' if ill else 'healthy'};{index:03d};"
            f"{'female' if sex == 'F' else 'male'};{age},5;{'dysphonia' if ill else 'none'};{20 * ill}"
        )
    (folder / "voiced.csv").write_text("\n".join(rows), encoding="utf-16")
    for index, take in enumerate(takes(40, 32, tasks=("vowel-a",))):
        r = take.recording()
        place = gita / ("Patologica" if r.label else "Control") / "A"
        place.mkdir(parents=True, exist_ok=True)
        samples = resample(r.waveform.numpy().astype(float), r.sample_rate, 44_100)
        name = f"AVPEPUDEA{'' if r.label else 'C'}{index + 1:04d}a1.wav"
        soundfile.write(place / name, 0.5 * samples, 44_100)
    calls = (
        f"data import {voiced} --labels {folder / 'voiced.csv'} --name voiced --out {folder / 'voiced_manifest.csv'}",
        f"data audit {folder / 'voiced_manifest.csv'} --out {folder / 'voiced-audit'}",
        f"data audit pc-gita --root {folder / 'gita'} --out {folder / 'gita-audit'}",
    )
    for words in calls:
        subprocess.run([sys.executable, "-m", "speechxai", *words.split()], check=True, stdout=subprocess.DEVNULL)
    for name in ("voiced", "gita"):
        print(f"{name}\n{(folder / f'{name}-audit' / 'card.md').read_text('utf-8')}")


def main() -> None:
    """Make every set that is not in the file yet."""
    place = Path(sys.argv[1])
    if "--made" in sys.argv:
        audit_made(place)
        return
    lines = [json.loads(line) for line in place.read_text("utf-8").splitlines()] if place.exists() else []
    if "--table" in sys.argv:
        print(table(lines))
        return
    keys = ("set", "kind", "strength", "material", "repeat")
    done = {tuple(each[key] for key in keys) for each in lines}
    everything = list(sets())
    for seed, asked in enumerate(everything):
        if tuple(asked[key] for key in keys) in done:
            continue
        began = time.monotonic()
        found = audit(made(asked, seed), ("HC", "PD"), n_permutations=2_000, seed=seed)
        line = judged(asked, found, time.monotonic() - began)
        with place.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(
            f"{seed + 1} of {len(everything)}",
            *(line[k] for k in (*keys, "found", "first", "alarms", "seconds")),
            flush=True,
        )


if __name__ == "__main__":
    main()
