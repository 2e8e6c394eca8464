"""Numbers that may not move without a word in the CHANGELOG.

Golden values by hand say that a number is right; these say that it is still the same, for every voice, measure, method,
combination, metric and table at once. After a change that is meant to move one: `python
tests/golden/test_frozen_numbers.py` writes them anew; say in the CHANGELOG which moved and why.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from app import boards
from speechxai.auxiliary import tables as aux
from speechxai.auxiliary.values import AuxiliarySettings
from speechxai.classifiers import Classifier, build, predict, validation
from speechxai.classifiers.fit import FitConfig, fit
from speechxai.data.cues import CUES, plant, truth
from speechxai.data.synthetic import takes, twins
from speechxai.data.voice_model import TASKS, UtteranceSettings
from speechxai.errors import NotApplicable
from speechxai.evaluation import report as run_report
from speechxai.evaluation import runs, words
from speechxai.explain import METHODS
from speechxai.explain.combination import COMBINATIONS
from speechxai.explain.recipe import CONTROLS
from speechxai.inspection.inspect import How, inspect
from speechxai.metrics import DEFAULT_METRICS, METRICS, Case
from speechxai.report.render import Table
from speechxai.signal import quality
from speechxai.signal.acoustics import f0_hz, measures, segments_by_voicing
from speechxai.signal.stft import SegmentConfig, spectrogram
from speechxai.testing import TINY_STFT, tiny_bundle, tiny_classifier
from speechxai.types import Attribution, Recording, Spectrogram

FROZEN = Path(__file__).with_name("frozen_numbers.json")
TOLERANCE = 1e-3
QUICK: dict[str, dict[str, Any]] = {
    "smoothgrad": {"n_samples": 3},
    "integrated_gradients": {"n_steps": 4},
    "gradient_shap": {"n_samples": 3},
    "rise": {"n_masks": 8},
}


def digest(values: Any) -> list[float]:
    """Mean, root mean square and a projection that a shift, a swap or a change of sign moves; NaN counts as 0."""
    flat = torch.as_tensor(np.asarray(values)).double().flatten().nan_to_num()
    wave = torch.cos(0.37 * torch.arange(len(flat), dtype=torch.float64) + 0.1)
    return [float(flat.mean()), float(flat.square().mean().sqrt()), float((flat * wave).sum() / math.sqrt(len(flat)))]


def voice() -> Tensor:
    """A synthetic phrase of 1.5 s."""
    speaker = takes(2, seed=3)[0].speaker
    return twins(speaker, UtteranceSettings("phrase", 1.5), 5).without_cue


def voices() -> dict[str, Any]:
    """Every task with every cue that it can carry, and the truth about it."""
    found: dict[str, Any] = {}
    for take in takes(4, seed=2, tasks=TASKS):
        found[take.id] = digest(take.recording().waveform)
    speaker = takes(2, seed=2)[1].speaker
    for cue, task in (
        ("breathiness", "vowel-a"),
        ("tremor", "vowel-i"),
        ("burst_weakening", "ddk"),
        ("formant_centralization", "glide"),
        ("monopitch", "phrase"),
    ):
        pair = twins(speaker, UtteranceSettings(task, 2.0, {cue: 0.8}), 7)
        known = truth(pair.with_cue, pair.without_cue)
        found[cue] = [*digest(pair.with_cue), *digest(known.map), *digest(known.difference), known.area, known.contrast]
    return found


def planted_cues() -> dict[str, Any]:
    """Every cue planted into a recording."""
    found: dict[str, Any] = {}
    for name in CUES:
        try:
            changed, interval = plant(name, voice(), 16_000, seed=1, severity=0.9)
        except NotApplicable as reason:
            found[name] = str(reason)
        else:
            found[name] = [*digest(changed), *interval]
    return found


def signals() -> dict[str, Any]:
    """Spectrogram, pitch, voicing, quality, and every measure of a phrase and a vowel."""
    phrase = voice()
    spec = spectrogram(phrase[None])
    vowel = twins(takes(2, seed=3)[0].speaker, UtteranceSettings("vowel-a", 1.5), 5).without_cue
    return {
        "magnitude": digest(spec.magnitude),
        "f0": digest(f0_hz(phrase, 16_000, 160)),
        "voicing": digest(segments_by_voicing(phrase, 16_000, 150, 160)),
        "quality": list(asdict(quality.quality(phrase, 16_000)).values()),
        "phrase": list(measures(phrase, 16_000).values()),
        "vowel": list(measures(vowel, 16_000).values()),
    }


def noise(n: int = 2) -> Spectrogram:
    """Noise that swells, 0.75 s at 8 kHz."""
    generator = torch.Generator().manual_seed(1)
    envelope = torch.linspace(0.0, 9.0, 6_000).sin().abs()
    return spectrogram(0.2 * envelope * torch.randn(n, 6_000, generator=generator), TINY_STFT)


def transformer(family: str) -> Classifier:
    """A speech transformer of random weights."""
    torch.manual_seed(0)
    backbone = build("ssl", family=family, size="tiny", hidden_size=8)
    return Classifier(backbone, segment=SegmentConfig(0.4, 0.2), cam_layer=backbone.cam_layer).eval()  # type: ignore[arg-type]


def maps_of(model: Classifier, spec: Spectrogram) -> dict[str, Any]:
    """The map of every method."""
    target = torch.arange(len(spec)) % 2
    spec = replace(spec, spans=len(spec) * (((0.0, 0.2), (0.2, 0.45), (0.45, 0.75)),))
    found: dict[str, Any] = {"logits": digest(model(spec.magnitude, spec.phase).detach())}
    for name in METHODS:
        try:
            found[name] = digest(METHODS[name](model, spec, target, **QUICK.get(name, {})).detach())
        except NotApplicable as reason:
            found[name] = str(reason)
    return found


def networks() -> dict[str, Any]:
    """Every method on a convolutional network with segments and on a transformer."""
    cnn = tiny_classifier(3, SegmentConfig(0.4, 0.2))
    spec = spectrogram(voice()[None, :12_000])
    found = {f"cnn {name}": values for name, values in maps_of(cnn, noise()).items()}
    found |= {f"hubert {name}": values for name, values in maps_of(transformer("hubert"), spec).items()}
    for family in ("wav2vec2", "wavlm"):
        found[f"{family} probabilities"] = digest(predict(transformer(family), spec))
    return found


def training() -> dict[str, Any]:
    """Losses of a short training."""
    voiced = [
        Recording(row, 8_000, f"r{i}", f"s/{i}", i % 2)
        for i, row in enumerate(0.3 * torch.randn(8, 4_000, generator=torch.Generator().manual_seed(2)))
    ]
    history = fit(tiny_classifier(0), voiced[:4], voiced[4:], FitConfig(epochs=2, batch=2, crop_s=0.3, patience=2))
    return {"losses": [loss for epoch in history.epochs for loss in (epoch.training_loss, epoch.validation_loss)]}


def scores() -> dict[str, Any]:
    """Every combination of two maps and every metric of each."""
    spec, model = noise(), tiny_classifier(3, SegmentConfig(0.4, 0.2))
    target = torch.tensor([0, 1])
    maps = torch.rand(2, *spec.magnitude.shape, generator=torch.Generator().manual_seed(4)) ** 3
    known = torch.zeros_like(maps[0])
    known[:, 10:30, 5:40] = 1
    found: dict[str, Any] = {name: digest(COMBINATIONS[name](maps)) for name in COMBINATIONS}
    for fill in ("silence", "noise", "mean"):
        attribution = Attribution(maps[0], target, "random_map", {"seed": 0, "options": {}})
        case = Case(model, spec, attribution, truth=known, fill=fill)
        found |= {f"{fill} {name}": METRICS[name](case).tolist() for name in METRICS if name in _OWN}
    return found


_OWN = [name for name in METRICS if not name.startswith("quantus:")]


def tables(folder: Path) -> dict[str, Any]:
    """What a reader sees of one recording."""
    bundle = tiny_bundle(folder / "tiny")
    phrase = Recording(voice()[:16_000:2].contiguous(), 8_000, "a", "s/a")
    seen = inspect(phrase, bundle, "input_x_gradient", How(seed=1))
    return {
        "map": [*digest(seen.map.mask), seen.map.p, seen.map.p_kept, seen.map.p_removed, seen.map.share],
        "controls": [[each.p_kept, each.p_removed] for each in seen.controls.values()],
        "regions": seen.regions,
        "verdict": seen.verdict.label,
        "sentences": [sentence.text for sentence in seen.sentences],
        "checks": [[check.name, check.word, check.text] for check in seen.checks],
    }


def made_scores() -> pd.DataFrame:
    """Scores of three explanations and the controls on 24 speakers, drawn by chance around values of their own."""
    random = np.random.default_rng(9)
    names = ("saliency", "smoothgrad", "union(saliency, smoothgrad)", *CONTROLS)
    metrics = (*DEFAULT_METRICS, "mean_mask", "silence_share")
    rows = []
    for place, recipe in enumerate(names):
        for number, metric in enumerate(dict.fromkeys(metrics)):
            values = np.clip(0.6 - 0.07 * place + 0.02 * number + 0.08 * random.normal(size=24), 0, 1)
            if metric in ("average_increase", "input_fidelity"):
                values = (values > 0.5).astype(float)
            rows += [
                {
                    "recording": f"r{speaker}",
                    "speaker": f"s/{speaker}",
                    "label": speaker % 2,
                    "predicted": (speaker // 3) % 2,
                    "model": "net",
                    "fold": str(speaker % 3),
                    "recipe": recipe,
                    "metric": metric,
                    "value": value,
                }
                for speaker, value in enumerate(values)
            ]
    return pd.DataFrame(rows)


def made_predictions() -> pd.DataFrame:
    """Answers for 24 people of whom sex, age and task are known."""
    random = np.random.default_rng(11)
    labels = np.arange(24) % 2
    p = np.clip(0.35 + 0.25 * labels + 0.2 * random.normal(size=24), 0.02, 0.98)
    return pd.DataFrame(
        {
            "recording": [f"r{i}" for i in range(24)],
            "speaker": [f"s/{i}" for i in range(24)],
            "label": labels,
            "predicted": (p > 0.5).astype(int),
            "p_HC": 1 - p,
            "p_PD": p,
            "probability": p,
            "fold": [str(i % 3) for i in range(24)],
            "model": "net",
            "sex": ["F", "M", "M"] * 8,
            "age": [45 + 2 * ((7 * i) % 20) + 3 * (i % 2) for i in range(24)],
            "task": ["vowel-a", "reading"] * 12,
            "duration_s": [2 + 0.1 * ((5 * i) % 24) for i in range(24)],
        }
    )


def made_arm(name: str, shift: float, random: np.random.Generator) -> aux.Arm:
    """Answers of an auxiliary network for 20 people under two seeds."""
    labels = np.tile(np.arange(20) % 2, (2, 1))
    known = {field.name for field in fields(aux.Arm)}
    values = {
        "name": name,
        "split": "speaker",
        "architecture": "small",
        "labels": labels,
        "folds": np.tile(np.arange(20) // 4, (2, 1)),
        "probabilities": np.clip(0.5 + shift * (labels - 0.5) + 0.2 * random.normal(size=(2, 20)), 0.01, 0.99),
        "mean_mask": 0.1 + 0.01 * np.arange(20),
    }
    assert known == set(values), sorted(known)
    return aux.Arm(**values)  # type: ignore[arg-type]


def reader() -> dict[str, Any]:
    """Tables and sentences of a run, of a classifier and of the app's boards."""
    summary, people, classes = runs.summary(made_scores()), made_predictions(), ("HC", "PD")
    pairs = pd.DataFrame(
        [
            {
                "first": "saliency",
                "second": "smoothgrad",
                "overlap": 0.61,
                "rank_correlation": 0.7,
                "iou": 0.4,
                "n": 24,
            },
            {"first": "smoothgrad", "second": "saliency", "overlap": 0.8, "iou": 0.5, "n": 24},
        ]
    )
    found: dict[str, Any] = {
        "findings": [(f.tone, f.text) for f in words.findings(summary, people, pairs, classes)],
        "scores": written(run_report.score_table(summary, list(DEFAULT_METRICS), "Scores")),
        "differences": written(run_report.difference_table(summary, list(DEFAULT_METRICS))),
        "confusion": written(run_report.confusion_table(people, classes)),
        "confounds": written(run_report.confound_table(people, classes)),
        "performance": written(run_report.performance_table(people, classes)),
        "by group": [list(share) for share in validation.by_group(people, classes)],
        "in words": validation.performance_words(people, classes),
        "undefined": written(run_report._undefined(summary)),
    }
    for metric in ("comprehensiveness@10", "sufficiency@10"):
        board = boards.leaderboard(summary, metric)
        found[f"board {metric}"] = [boards.verdict(board, metric), boards.against_controls(board)]
    random = np.random.default_rng(13)
    arms = [made_arm(name, shift, random) for name, shift in AUXILIARY.items()]
    speakers = [f"s/{i}" for i in range(20)]
    table = aux.table(arms, AuxiliarySettings(("saliency",), n_seeds=2), speakers)
    found["auxiliary"] = table.select_dtypes("number").to_numpy().round(9).tolist()
    return found


AUXILIARY = {
    "saliency": 0.5,
    "random_map": 0.0,
    "energy_map": 0.3,
    "edge_map": 0.3,
    "permuted_labels": 0.0,
    "majority": 0.0,
    "original": 0.7,
    "answer": 0.4,
}


def written(table: Table | None) -> list[Any]:
    """A table's title, note, headings and cells with their marks."""
    if table is None:
        return []
    rows = [[row.group, row.name, *([c.text, c.small, c.mark] for c in row.cells)] for row in table.rows]
    return [table.title, table.note, list(table.columns), rows]


SECTIONS: dict[str, Callable[[], dict[str, Any]] | Callable[[Path], dict[str, Any]]] = {
    "voices": voices,
    "planted cues": planted_cues,
    "signals": signals,
    "networks": networks,
    "training": training,
    "scores": scores,
    "tables": tables,
    "reader": reader,
}


def computed(name: str, folder: Path) -> dict[str, Any]:
    """A section as JSON gives it back."""
    torch.manual_seed(0)
    section = SECTIONS[name]
    values = section(folder) if name == "tables" else section()  # type: ignore[call-arg]
    return json.loads(json.dumps(values, default=float))  # type: ignore[no-any-return]


def same(found: Any, frozen: Any, where: str) -> list[str]:
    """What differs, with its place."""
    if isinstance(frozen, dict):
        keys = {*found, *frozen}
        return [line for key in sorted(keys) for line in same(found.get(key), frozen.get(key), f"{where}, {key}")]
    if isinstance(frozen, list) and isinstance(found, list) and len(found) == len(frozen):
        numbers = [v for v in frozen if isinstance(v, int | float)]
        # Numbers of one digest are as exact as the largest of them.
        scale = max((abs(v) for v in numbers if math.isfinite(v)), default=0.0) if len(frozen) == 3 else 0.0
        return [
            line
            for index, (a, b) in enumerate(zip(found, frozen, strict=True))
            for line in ([] if _near(a, b, scale) else same(a, b, f"{where}[{index}]"))
        ]
    return [] if found == frozen or _near(found, frozen, 0.0) else [f"{where}: {found!r}, was {frozen!r}"]


def _near(a: Any, b: Any, scale: float) -> bool:
    if not (isinstance(a, int | float) and isinstance(b, int | float)):
        return False
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return abs(a - b) <= TOLERANCE * max(scale, abs(b)) + 1e-7


@pytest.mark.parametrize("name", list(SECTIONS))
def test_numbers_stand_still(name: str, tmp_path: Path) -> None:
    frozen = json.loads(FROZEN.read_text("utf-8"))[name]
    moved = same(computed(name, tmp_path), frozen, name)
    assert not moved, f"{len(moved)} numbers moved:\n" + "\n".join(moved[:20])


if __name__ == "__main__":
    import tempfile

    def rounded(value: Any) -> Any:
        """Six digits are enough and differ less between machines."""
        if isinstance(value, float):
            return float(f"{value:.6g}")
        if isinstance(value, dict):
            return {key: rounded(each) for key, each in value.items()}
        return [rounded(each) for each in value] if isinstance(value, list) else value

    with tempfile.TemporaryDirectory() as scratch:
        made = {name: rounded(computed(name, Path(scratch))) for name in SECTIONS}
    sections = []
    for title, section in made.items():
        rows = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in section.items())
        sections.append(f"{json.dumps(title)}: {{\n{rows}\n}}")
    FROZEN.write_text("{\n" + ",\n".join(sections) + "\n}\n", "utf-8")
