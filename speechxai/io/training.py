"""From a data set to a model bundle: read, draw folds by speaker, train, repeat with other seeds, write weights and card."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from speechxai.classifiers import Classifier, build
from speechxai.classifiers.cross_validation import CrossValidation, cross_validate, fit_final
from speechxai.classifiers.fit import FitConfig, Progress, initialized
from speechxai.classifiers.performance import Subjects, auroc, by_subject, matched_auroc
from speechxai.data.cards import build_manifest, card_text, load_card
from speechxai.data.manifest import to_recording_kwargs
from speechxai.data.splits import speaker_folds
from speechxai.errors import SpeechXAIError, named
from speechxai.io.audio import read
from speechxai.io.bundle_config import BundleConfig
from speechxai.io.bundle_parts import save_parts
from speechxai.io.checkpoints import Bundle, EpochFile, load_bundle, save_bundle
from speechxai.io.import_checkpoints import pretrained
from speechxai.io.model_card import model_card
from speechxai.segments import SegmentConfig
from speechxai.types import Recording, StftConfig

SYNTHETIC = "synthetic"
LARGE = 20_000_000
"""Networks of more parameters get a file of weights each."""
SYNTHETIC_ABOUT = """Generated voices, rendered by `speechxai.data.synthetic.corpus`: no human being speaks. People with simulated
Parkinson's disease carry all cues that the task allows (breathiness, tremor, weak bursts, centralized formants, monopitch), each
with its own severity; nothing else differs between the classes.

**Not to be used for.** Anything about real voices. The model serves the demonstration, tests and the benchmark with known truth.
"""


@dataclass(frozen=True, eq=False)
class Corpus:
    """Labeled recordings of one data set, what its card says about it (Markdown), and reasons of files that could not be read."""

    name: str
    recordings: tuple[Recording, ...]
    about: str
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What to train.

    Args:
        name, title: of the bundle.
        backbone, options: a name of BACKBONES and what it takes.
        n_folds: folds by speaker, at least 3.
        repeats: seeds of further cross-validations, for the card only.
        fit: training settings; its seed also draws the folds.
        segment: how long recordings are heard; None hears them whole.
        cam_layer: module that Grad-CAM reads.
        stft: settings of the explained spectrogram.
        normalize: as in `io.audio.read`.
        n_bootstrap: resamples behind the card's intervals.
        note: what else the card must say about the training, for example how settings were chosen.
        pretrained: weights that the backbone `ssl` starts from; see `io.import_checkpoints.pretrained`.
    """

    name: str
    title: str = ""
    backbone: str = "cnn"
    options: Mapping[str, Any] = field(default_factory=dict)
    n_folds: int = 5
    repeats: tuple[int, ...] = ()
    fit: FitConfig = field(default_factory=FitConfig)
    segment: SegmentConfig | None = field(default_factory=SegmentConfig)
    cam_layer: str | None = None
    stft: StftConfig = field(default_factory=StftConfig)
    normalize: Literal["peak", "none"] = "peak"
    n_bootstrap: int = 2000
    note: str = ""
    pretrained: str | None = None

    def make(self) -> Classifier:
        """Make an untrained classifier; a backbone may name its own `cam_layer` and `max_batch`."""
        backbone = build(self.backbone, self.stft, **self.options)
        if self.pretrained is not None:
            pretrained(self.pretrained).load_into(backbone)
        layer = self.cam_layer or getattr(backbone, "cam_layer", None)
        return Classifier(
            backbone, self.stft, self.segment, cam_layer=layer, max_batch=getattr(backbone, "max_batch", 16)
        )


@dataclass(frozen=True)
class Repeat:
    """One cross-validation with its own folds and initialization: AUROC, and AUROC over pairs of like age."""

    seed: int
    auroc: float
    matched_auroc: float


def synthetic_corpus(n_speakers: int, seed: int) -> Corpus:
    """Render the training corpus of synthetic voices."""
    from speechxai.data.synthetic import corpus

    return Corpus(SYNTHETIC, tuple(corpus(n_speakers, seed)), SYNTHETIC_ABOUT)


def read_corpus(card_name: str, root: str | Path, plan: Plan, progress: Progress | None = None) -> Corpus:
    """Read all labeled recordings of a data card; one that cannot be read is left out and named in `unreadable`.

    Raises:
        SpeechXAIError: a set without labeled recordings, or without any that can be read.
    """
    card = load_card(card_name)
    manifest, _ = build_manifest(card, root)
    labeled = manifest[manifest["label"].notna()]
    if labeled.empty:
        raise SpeechXAIError(
            f"{root}: no labeled recording of the card '{card.name}' here: see 'speechxai data check'."
        )
    recordings, unreadable = [], []
    for position, row in enumerate(labeled.to_dict("records")):
        path = Path(root) / str(row["path"])
        values: dict[str, Any] = to_recording_kwargs({str(key): value for key, value in row.items()})
        try:
            recordings.append(read(path, sample_rate=plan.stft.sample_rate, normalize=plan.normalize, **values))
        except Exception as error:
            unreadable.append(str(named(error, path)))
        if progress is not None:
            progress(position + 1, len(labeled), "reading")
    if not recordings:
        raise SpeechXAIError(
            f"{root}: none of {len(labeled)} labeled recordings can be read. The first: {unreadable[0]}"
        )
    return Corpus(card.name, tuple(recordings), card_text(card_name), tuple(unreadable))


def draw_folds(recordings: Sequence[Recording], n_folds: int, seed: int) -> list[int]:
    """Fold of every recording, by speaker, alike in class, sex and age; see `data.splits.speaker_folds`."""
    frame = pd.DataFrame(
        {
            "recording": [r.id for r in recordings],
            "speaker": [r.speaker for r in recordings],
            "label": pd.array([r.label for r in recordings], dtype="Int64"),
            "sex": [str(r.metadata.get("sex") or "unknown") for r in recordings],
            "age": pd.array([_age(r) for r in recordings], dtype="Float64"),
        }
    )
    return [int(fold) for fold in speaker_folds(frame, n_folds, seed)]


def _age(recording: Recording) -> float | None:
    age = recording.metadata.get("age")
    return None if age is None else float(age)


def subjects_of(recordings: Sequence[Recording], validated: CrossValidation, calibrated: bool = True) -> Subjects:
    """Out-of-fold predictions averaged by subject, with age, duration and sex."""
    facts = [(float("nan") if (age := _age(r)) is None else age, r.duration_s, _sex(r)) for r in recordings]
    probability = validated.probabilities if calibrated else validated.uncalibrated
    return by_subject(validated.speakers, validated.labels.numpy(), probability.numpy(), facts)


def _sex(recording: Recording) -> str:
    sex = recording.metadata.get("sex")
    return "" if sex in (None, "unknown") else str(sex)


def train_bundle(
    data: Corpus, plan: Plan, out: str | Path, progress: Progress | None = None, resume: bool = False
) -> Bundle:
    """Cross-validate by speaker, train the final model on everybody, and write the bundle with its card.

    Training states stand in `<out>.training/` until the bundle is written; with `resume` a killed run goes on from them.

    Raises:
        SpeechXAIError: states of an unfinished training without `resume`, folds that cannot be drawn, or what `fit` refuses.
    """
    states = Path(f"{out}.training")
    if states.exists() and not resume:
        raise SpeechXAIError(f"{states}: a training was interrupted here. Go on with --resume, or remove the folder.")
    validated = _validate(data.recordings, plan, states, progress)
    final, history = fit_final(
        plan.make,
        data.recordings,
        validated,
        plan.fit,
        _named(progress, "final model"),
        lambda part: EpochFile(states / f"{part}.pt"),
    )
    config = _config(data, plan, validated, len(history.epochs))
    subjects = subjects_of(data.recordings, validated)
    repeats = [_repeat(plan.fit.seed, subjects)]
    for seed in plan.repeats:
        again = _validate(data.recordings, replace(plan, fit=replace(plan.fit, seed=seed)), states, progress)
        repeats.append(_repeat(seed, subjects_of(data.recordings, again)))
    raw = subjects_of(data.recordings, validated, calibrated=False)
    card = model_card(
        config, data.about, subjects, raw, [(r.seed, r.auroc, r.matched_auroc) for r in repeats], plan.n_bootstrap
    )
    models = {"final": final, **{f"fold{k}": model for k, model in enumerate(validated.models)}}
    if config.training["n_parameters"] > LARGE:
        bundle = load_bundle(save_parts(out, config, models.items(), card))
    else:
        bundle = save_bundle(out, config, models, card)
    shutil.rmtree(states, ignore_errors=True)
    return bundle


def _repeat(seed: int, subjects: Subjects) -> Repeat:
    y, p = subjects.labels, subjects.probabilities
    return Repeat(seed, auroc(y, p), matched_auroc(y, p, subjects.ages))


def _validate(recordings: Sequence[Recording], plan: Plan, states: Path, progress: Progress | None) -> CrossValidation:
    seed = plan.fit.seed
    folds = draw_folds(recordings, plan.n_folds, seed)
    return cross_validate(
        plan.make,
        recordings,
        folds,
        plan.fit,
        _named(progress, f"seed {seed}"),
        lambda part: EpochFile(states / f"seed{seed}" / f"{part}.pt"),
    )


def _named(progress: Progress | None, name: str) -> Progress | None:
    return None if progress is None else lambda done, total, what: progress(done, total, f"{name}: {what}")


def _config(data: Corpus, plan: Plan, validated: CrossValidation, n_epochs: int) -> BundleConfig:
    by_speaker = dict(zip(validated.speakers, validated.folds.tolist(), strict=True))
    hashes = [r.metadata.get("sha256") for r in data.recordings]
    by_file = {h: fold for h, fold in zip(hashes, validated.folds.tolist(), strict=True) if isinstance(h, str)}
    made = initialized(plan.make, 0)
    parameters = sum(p.numel() for p in made.parameters())
    labels = {r.speaker: r.label for r in data.recordings}
    left_out = f"Left out: {len(data.unreadable)} recordings that could not be read." if data.unreadable else ""
    return BundleConfig.model_validate(
        {
            "name": plan.name,
            "title": plan.title,
            "architecture": plan.backbone,
            "options": dict(plan.options),
            "stft": asdict(plan.stft),
            "segment": None if plan.segment is None else asdict(plan.segment),
            "audio": {"normalize": plan.normalize},
            "cam_layer": made.cam_layer,
            "max_batch": made.max_batch,
            "training": {
                "data": data.name,
                "n_recordings": len(data.recordings),
                "n_hc": sum(label == 0 for label in labels.values()),
                "n_pd": sum(label == 1 for label in labels.values()),
                "n_parameters": parameters,
                "best_epochs": [history.best_epoch + 1 for history in validated.histories],
                "final_epochs": n_epochs,
                "note": " ".join(filter(None, (plan.note, left_out))),
                "fit": asdict(plan.fit),
            },
            "calibration": {
                "method": "temperature scaling on the out-of-fold logits of the other folds",
                "fold_temperatures": [round(float(t), 6) for t in validated.temperatures],
                "final_temperature": round(validated.final_temperature, 6),
            },
            "speakers": by_speaker,
            "files": by_file,
        }
    )
