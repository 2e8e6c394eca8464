"""From a data set to a model bundle: read, draw folds by speaker, train, repeat with other seeds, write weights and
card."""

from __future__ import annotations

import shutil
import statistics
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from torch import nn

from speechxai.classifiers import Classifier, build, scope, scores
from speechxai.classifiers.base import device_of
from speechxai.classifiers.bundle import (
    CONFIG_FILE,
    Bundle,
    BundleConfig,
    EpochFile,
    library_versions,
    load_bundle,
    read_bundle_config,
    save_bundle,
    save_parts,
)
from speechxai.classifiers.fit import AugmentConfig, FitConfig, History, Progress, initialized, score_of, spread_of
from speechxai.classifiers.held_out import held_out_of
from speechxai.classifiers.hidden import ANCESTOR, trunk_sha256
from speechxai.classifiers.imports import pretrained
from speechxai.classifiers.network import check
from speechxai.classifiers.scope import Scope
from speechxai.classifiers.validation import (
    METRICS,
    OF_TWO_CLASSES,
    CrossValidation,
    Interval,
    Subjects,
    alone,
    by_subject,
    confounds,
    cross_validate,
    fit_final,
    groups,
    knowing_nothing,
    macro_auc,
    matched_auroc,
    not_calibrated_because,
    performance,
    reliability,
    subset,
)
from speechxai.classifiers.watch import data_facts, write_log
from speechxai.data.cards import card_names, card_text, find, load_card, root_of
from speechxai.data.corpus import Held, load
from speechxai.data.manifest import BETWEEN, Locator, classes_of, column_to_group_by
from speechxai.data.splits import speaker_folds
from speechxai.data.tables import is_known
from speechxai.errors import SpeechXAIError, did_you_mean, in_range, named
from speechxai.files import check_out as check_place
from speechxai.files import config_path, read_toml
from speechxai.flags import FLAGS, MAX_SEED, TRAIN
from speechxai.signal.stft import SegmentConfig
from speechxai.types import CLASS_NAMES, Recording, StftConfig

# From a data set to a model bundle: read, draw folds by speaker, train, repeat with other seeds, write weights and
# card.
SYNTHETIC = "synthetic"
LARGE = 20_000_000
"""Networks of more parameters get a file of weights each."""
SYNTHETIC_ABOUT = """Generated voices, rendered by `speechxai.data.synthetic.corpus`: no human being speaks. People with
simulated Parkinson's disease carry all cues that the task allows (breathiness, tremor, weak bursts, centralized
formants, monopitch), each with its own severity; nothing else differs between the classes.

**Not to be used for.** Anything about real voices. The model serves the demonstration, tests and the benchmark with
known truth.
"""


@dataclass(frozen=True, eq=False)
class Corpus:
    """Labeled recordings of one data set, what its card says about it (Markdown), reasons of files that could not be
    read, and the names of its classes by index."""

    name: str
    recordings: tuple[Recording, ...]
    about: str
    unreadable: tuple[str, ...] = ()
    classes: tuple[str, ...] = CLASS_NAMES


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
        normalize, offset: as in `signal.audio.read_audio`.
        n_bootstrap: resamples behind the card's intervals.
        note: what else the card must say about the training, for example how settings were chosen.
        pretrained: weights that the backbone `ssl` starts from; see `imports.pretrained`.
        init: a model of the same network whose weights every fold and the final network begin with.
        device: where networks are trained.
        classes: names of the classes that are told apart, the control first; of a score its one name, a column of the
            data set.
        unit: of a score; "" for classes.
        recorded_with: device of the recordings, in words, for the bundle's scope.

    Raises:
        SpeechXAIError: a bundle without a name, or too few folds.
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
    offset: Literal["removed", "kept"] = "removed"
    n_bootstrap: int = 2000
    note: str = ""
    pretrained: str | None = None
    init: str | None = None
    device: str = "cpu"
    classes: tuple[str, ...] = CLASS_NAMES
    recorded_with: str = ""
    unit: str = ""

    def __post_init__(self) -> None:
        if self.name in ("", ".."):
            raise SpeechXAIError("The model needs a folder with a name: give --out, for example --out models/mine.")
        flag = TRAIN["folds"]  # one tests, one stops it early, the others train
        in_range("a training", "folds", self.n_folds, flag.min or 0, flag.max or 0, whole=True)
        for seed in self.repeats:
            in_range("a training", "repeats", seed, 0, MAX_SEED, whole=True)
        if self.backbone == "acoustic" and self.unit:
            raise SpeechXAIError(
                f"The backbone 'acoustic' tells two classes apart and gives no score ('{self.classes[0]}'): choose"
                " another with --backbone."
            )
        if self.backbone == "acoustic" and len(self.classes) > 2:
            raise SpeechXAIError(
                f"The backbone 'acoustic' tells two classes apart. Got {', '.join(self.classes)}: choose another with"
                " --backbone."
            )

    @property
    def all_options(self) -> dict[str, Any]:
        """Options of the backbone: as asked for, and the number of outputs where there are other than two."""
        return {**self.options, **({"n_classes": len(self.classes)} if len(self.classes) != 2 else {})}

    def make(self) -> Classifier:
        """Make an untrained classifier; a backbone may name its own `cam_layer` and `max_batch`."""
        backbone = build(self.backbone, self.stft, **self.all_options)
        if self.pretrained is not None:
            pretrained(self.pretrained).load_into(backbone)
        if self.init is not None:
            begin_with(backbone, self.init)
        made = Classifier(backbone, self.stft, self.segment, self.classes, self.cam_layer, unit=self.unit)
        return made.to(device_of(self.device))


def begin_with(backbone: nn.Module, model: str) -> None:
    """Give a network the weights of a model's final one.

    Raises:
        SpeechXAIError: no model, or one whose weights have other names or shapes.
    """
    start = load_bundle(model).classifier().backbone.state_dict()
    own = backbone.state_dict()
    if {name: value.shape for name, value in start.items()} != {name: value.shape for name, value in own.items()}:
        raise SpeechXAIError(
            f"{model}: its network has other weights than the one to train. Give the same --backbone and --option."
        )
    backbone.load_state_dict(start)


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


def read_corpus(
    data: str | Path,
    root: str | Path | None,
    plan: Plan,
    progress: Progress | None = None,
    *,
    labels: str | Path | None = None,
    tasks: Sequence[str] = (),
) -> Corpus:
    """Read all labeled recordings of a data set, or all of which the plan's score is known; one that cannot be read is
    left out and named in `unreadable`. A set larger than memory is read from a scratch file (`corpus.Held`).

    Args:
        data, root, labels: a card, a manifest or a folder, as `data.cards.find` takes them.
        plan: how its network hears audio.
        progress: called after every recording.
        tasks: only recordings of these tasks; all without any.

    Raises:
        SpeechXAIError: nothing of that name, or a set without labeled recordings, or without any that can be read.
    """
    manifest, _ = find(data, root, labels)
    place = root_of(data, root, manifest)
    known = sorted(set(manifest["task"]))
    for task in tasks:
        if task not in known:
            raise SpeechXAIError(f"{place}: {did_you_mean(task, known, 'task')}")
    if tasks:
        manifest = manifest[manifest["task"].isin(tasks)]
    if plan.unit:
        manifest, plan = _with_score(manifest, plan, place)
        labeled = manifest[manifest[plan.classes[0]].notna()]
    else:
        labeled = manifest[manifest["label"].notna()]
    if labeled.empty:
        raise SpeechXAIError(f"{place}: no labeled recording of '{data}' here: see 'speechxai data check'.")
    locator = Locator(place)
    held, unreadable = Held(), []
    for position, row in enumerate(labeled.to_dict("records")):
        cells = {str(key): value for key, value in row.items()}
        try:
            heard = load(
                cells, locator, sample_rate=plan.stft.sample_rate, normalize=plan.normalize, offset=plan.offset
            )
        except Exception as error:
            unreadable.append(str(named(error, cells["recording"])))
        else:
            held.add(heard)
        if progress is not None:
            progress(position + 1, len(labeled), "reading")
    if not held.recordings:
        raise SpeechXAIError(
            f"{place}: none of {len(labeled)} labeled recordings can be read. The first: {unreadable[0]}"
        )
    name, about = _described(data, manifest)
    return Corpus(
        name, tuple(held.recordings), about, tuple(unreadable), plan.classes if plan.unit else classes_of(manifest)
    )


def _with_score(manifest: pd.DataFrame, plan: Plan, place: Path) -> tuple[pd.DataFrame, Plan]:
    """The manifest and the plan with the name of the score as the manifest's column has it.

    Raises:
        SpeechXAIError: no such column, or none of numbers.
    """
    column = column_to_group_by(manifest, plan.classes[0], "--target")
    if not pd.api.types.is_numeric_dtype(manifest[column]):
        first = next((value for value in manifest[column] if is_known(value)), "")
        raise SpeechXAIError(
            f"{place}: the column '{column}' is no column of numbers (for example {first!r}), so it is no score."
        )
    return manifest, replace(plan, classes=(column,))


def _described(data: str | Path, manifest: pd.DataFrame) -> tuple[str, str]:
    """Name of a data set, and what is known of it: its card's text, or that it has none."""
    path = Path(data)
    if path.suffix == ".toml" or str(data) in card_names():
        return load_card(data).name, card_text(data)
    names = sorted(set(manifest["dataset"]) - {"unknown"})
    name = names[0] if len(names) == 1 else path.resolve().stem
    return (
        name,
        (
            f"Named by {'a folder' if path.is_dir() else 'a manifest'} ({path.resolve().name}), not by a data card: who"
            " is in the set, its consent and what it must not be used for are not described. 'speechxai data check'"
            " shows what could mislead a classifier.\n"
        ),
    )


HALVES = ("lower half", "upper half")
"""Of the people by their score: what folds are alike in."""


def halves_of(recordings: Sequence[Recording], score: str) -> list[int]:
    """Whose speaker's mean score lies in the upper half, 1, else 0, by recording."""
    by_speaker: dict[str, list[float]] = {}
    for recording in recordings:
        by_speaker.setdefault(recording.speaker, []).append(score_of(recording, score))
    means = {speaker: statistics.mean(values) for speaker, values in by_speaker.items()}
    ordered = sorted(means, key=lambda speaker: (means[speaker], speaker))
    upper = set(ordered[(len(ordered) + 1) // 2 :])
    return [int(recording.speaker in upper) for recording in recordings]


def draw_folds(
    recordings: Sequence[Recording], n_folds: int, seed: int, classes: Sequence[str] = CLASS_NAMES
) -> list[int]:
    """Fold of every recording, by speaker, alike in class, sex and age; see `data.splits.speaker_folds`.

    Of a score, the one name of `classes`, folds are alike in their halves of the people by it.
    """
    labels: Sequence[int | None] = [r.label for r in recordings]
    if len(classes) == 1:
        labels, classes = halves_of(recordings, classes[0]), HALVES
    frame = pd.DataFrame(
        {
            "recording": [r.id for r in recordings],
            "speaker": [r.speaker for r in recordings],
            "label": pd.array(labels, dtype="Int64"),
            "sex": [str(r.metadata.get("sex") or "unknown") for r in recordings],
            "age": pd.array([_age(r) for r in recordings], dtype="Float64"),
            "classes": BETWEEN.join(classes),
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
    classes = validated.models[0].class_names
    return by_subject(validated.speakers, validated.labels.numpy(), probability.numpy(), facts, classes)


def _sex(recording: Recording) -> str:
    sex = recording.metadata.get("sex")
    return "" if sex in (None, "unknown") else str(sex)


def states_of(out: str | Path) -> Path:
    """Return the folder of the training states of an unfinished bundle, beside it."""
    return Path(f"{out}.training")


def check_out(out: str | Path, resume: bool = False, overwrite: bool = False) -> bool:
    """Check that a bundle can be written to a folder, before hours of training: new or empty, and writable.

    Args:
        out: the bundle's folder.
        resume: whether an interrupted training goes on.
        overwrite: whether a bundle or an interrupted training may be there.

    Returns:
        Whether the bundle is there already and finished, which is no error with `resume`.

    Raises:
        SpeechXAIError: no name, a file, a folder that holds anything else, an unfinished training without `resume`, or
            a place that cannot be written.
    """
    folder, states = Path(out), states_of(out)
    if folder.name in ("", ".."):
        raise SpeechXAIError("The model needs a folder with a name: give --out, for example --out models/mine.")
    check_place(folder)
    if overwrite and not resume and ((folder / CONFIG_FILE).is_file() or states.is_dir()):
        if not states.is_dir():
            read_bundle_config(folder / CONFIG_FILE)  # a model, and not a run
        return False
    if states.exists() and not resume:
        raise SpeechXAIError(
            f"{states}: a training was interrupted here. Go on with --resume, or begin anew with --overwrite."
        )
    if (folder / CONFIG_FILE).is_file() and not states.exists():
        if resume:
            return True
        raise SpeechXAIError(
            f"{folder}: holds a model already. Choose another folder with --out, or replace it with --overwrite."
        )
    other = next((path for path in folder.iterdir() if not states.exists()), None) if folder.is_dir() else None
    if other is not None:
        raise SpeechXAIError(f"{folder}: holds other files ({other.name}). Choose a folder for the model with --out.")
    return False


def train_bundle(
    data: Corpus,
    plan: Plan,
    out: str | Path,
    progress: Progress | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Bundle:
    """Cross-validate by speaker, train the final model on everybody, and write the bundle with its card.

    Training states stand in `<out>.training/` until the bundle is written; with `resume` a killed run goes on from
    them. With `overwrite` a bundle that is there is replaced in the end, and states of an unfinished training go now.

    Raises:
        SpeechXAIError: a folder that cannot take a bundle, states of an unfinished training without `resume`, folds
            that cannot be drawn, or what `fit` refuses.
    """
    if check_out(out, resume, overwrite):
        return load_bundle(out)
    states = states_of(out)
    if overwrite and not resume:
        shutil.rmtree(states, ignore_errors=True)
    # What the network does wrong is said before hours of training.
    found = check(initialized(plan.make, plan.fit.seed).eval()).required(f"The backbone '{plan.backbone}'")
    folds = draw_folds(data.recordings, plan.n_folds, plan.fit.seed, plan.classes)
    halves = halves_of(data.recordings, plan.classes[0]) if plan.unit else None
    seen = data_facts(data.recordings, folds, 2 if plan.unit else len(plan.classes), halves)
    about: dict[str, Any] = {"data": seen, "fit": asdict(plan.fit)}
    about |= {"classes": list(plan.classes), **({"unit": plan.unit} if plan.unit else {})}
    write_log(states, about)  # for a training that does not come to its end
    validated = _validate(data.recordings, plan, states, progress)
    final, history = fit_final(
        plan.make,
        data.recordings,
        validated,
        plan.fit,
        _named(progress, "final model"),
        lambda part: EpochFile(states / f"{part}.pt"),
    )
    others = (
        (seed, _validate(data.recordings, replace(plan, fit=replace(plan.fit, seed=seed)), states, progress))
        for seed in plan.repeats
    )
    if plan.unit:
        people = scores.people_of(data.recordings, validated)
        config = _config(data, plan, validated, len(history.epochs), "")
        config = config.model_copy(update={"check": found.table(), "held_out_score": people.held_out()})
        again = [(seed, scores.people_of(data.recordings, other)) for seed, other in others]
        card = score_card(config, data.about, people, [(plan.fit.seed, people), *again], plan.n_bootstrap)
    else:
        subjects = subjects_of(data.recordings, validated)
        raw = subjects_of(data.recordings, validated, calibrated=False)
        problem = validated.uncalibrated_because or not_calibrated_because(subjects, raw)
        config = _config(data, plan, validated, len(history.epochs), problem)
        config = config.model_copy(update={"check": found.table(), "held_out": held_out_of(subjects)})
        repeats = [_repeat(plan.fit.seed, subjects)]
        repeats += [_repeat(seed, subjects_of(data.recordings, other)) for seed, other in others]
        card = model_card(
            config, data.about, subjects, raw, [(r.seed, r.auroc, r.matched_auroc) for r in repeats], plan.n_bootstrap
        )
    models = {"final": final, **{f"fold{k}": model for k, model in enumerate(validated.models)}}
    for part, model in models.items():
        check(model).required(f"{out}: the trained network '{part}'")
    if config.training["n_parameters"] > LARGE:
        bundle = load_bundle(save_parts(out, config, models.items(), card))
    else:
        bundle = save_bundle(out, config, models, card)
    log = {**about, "parts": log_of(validated, history)}
    write_log(bundle.folder, log)
    shutil.rmtree(states, ignore_errors=True)
    return bundle


def log_of(validated: CrossValidation, final: History) -> dict[str, Any]:
    """What was seen in every epoch, by part of a training: rows of numbers, the best epoch and whether it ended
    early."""
    named = {**{f"fold{k}": history for k, history in enumerate(validated.histories)}, "final": final}
    return {
        part: {
            "best_epoch": history.best_epoch,
            "stopped_early": history.stopped_early,
            "epochs": [
                {"training_loss": _short(e.training_loss), "validation_loss": e.validation_loss, **e.facts}
                for e in history.epochs
            ],
        }
        for part, history in named.items()
    }


def _repeat(seed: int, subjects: Subjects) -> Repeat:
    y, p = subjects.labels, subjects.probabilities
    matched = matched_auroc(y, p, subjects.ages) if p.ndim == 1 else float("nan")
    return Repeat(seed, macro_auc(p, y), matched)


def _validate(recordings: Sequence[Recording], plan: Plan, states: Path, progress: Progress | None) -> CrossValidation:
    seed = plan.fit.seed
    folds = draw_folds(recordings, plan.n_folds, seed, plan.classes)
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


def fold_facts(validated: CrossValidation) -> list[dict[str, Any]]:
    """How every fold's network answered, as a bundle states it."""
    found = []
    for k, problem in enumerate(validated.flat):
        members = validated.folds == k
        logits = validated.calibrated[members]
        p = logits if logits.shape[1] == 1 else logits.softmax(-1)
        found.append(
            {
                "n_recordings": int(members.sum()),
                "spread": _short(spread_of(validated.logits[members])),
                "low": [_short(v) for v in p.amin(dim=0).tolist()],
                "high": [_short(v) for v in p.amax(dim=0).tolist()],
                "restarts": validated.restarts[k],
                "problem": problem,
            }
        )
    return found


def scope_of(recordings: Sequence[Recording], folds: Sequence[int], plan: Plan) -> Scope:
    """What the model was made for, from its training recordings."""
    heard_hz = plan.stft.sample_rate / 2
    band_hz = min(float(plan.options.get("f_max_hz", heard_hz)), heard_hz)
    return scope.learn(recordings, folds, band_hz, plan.recorded_with)


def _short(value: float) -> float:
    return round(float(value), 6)


def _config(data: Corpus, plan: Plan, validated: CrossValidation, n_epochs: int, not_calibrated: str) -> BundleConfig:
    by_speaker = dict(zip(validated.speakers, validated.folds.tolist(), strict=True))
    hashes = [r.metadata.get("sha256") for r in data.recordings]
    by_file = {h: fold for h, fold in zip(hashes, validated.folds.tolist(), strict=True) if isinstance(h, str)}
    made = initialized(plan.make, 0)
    parameters = sum(p.numel() for p in made.parameters())
    labels = {r.speaker: r.label for r in data.recordings}
    of_class = {name: Counter(labels.values())[i] for i, name in enumerate(plan.classes)}
    final = validated.final_calibration
    left_out = f"Left out: {len(data.unreadable)} recordings that could not be read." if data.unreadable else ""
    return BundleConfig.model_validate(
        {
            "name": plan.name,
            "title": plan.title,
            "architecture": plan.backbone,
            "options": plan.all_options,
            "classes": list(plan.classes),
            "unit": plan.unit,
            "stft": asdict(plan.stft),
            "segment": None if plan.segment is None else asdict(plan.segment),
            "audio": {"normalize": plan.normalize, "offset": plan.offset},
            "cam_layer": made.cam_layer,
            "max_batch": made.max_batch,
            "training": {
                "data": data.name,
                "n_recordings": len(data.recordings),
                "n_speakers": {"people": len(labels)} if plan.unit else of_class,
                "n_parameters": parameters,
                "best_epochs": [history.best_epoch + 1 for history in validated.histories],
                "final_epochs": n_epochs,
                "note": " ".join(filter(None, (plan.note, left_out))),
                "fit": asdict(plan.fit),
                **({ANCESTOR: trunk_sha256(plan.make())} if plan.init or plan.pretrained else {}),
            },
            "calibration": {}
            if plan.unit
            else {
                "method": "Platt scaling (slope and intercept) on the out-of-fold logits of the other folds",
                "calibrated": not not_calibrated,
                "reason": not_calibrated,
                "fold_temperatures": [_short(c.temperature) for c in validated.calibrations],
                "fold_intercepts": [[_short(b) for b in c.intercept] for c in validated.calibrations],
                "final_temperature": _short(final.temperature),
                "final_intercept": [_short(b) for b in final.intercept],
            },
            "folds": fold_facts(validated),
            "scope": scope_of(data.recordings, validated.folds.tolist(), plan).model_dump(),
            "speakers": by_speaker,
            "files": by_file,
        }
    )


# Training settings from a recipe file and the command line.
_FIT = {item.name: getattr(FitConfig(), item.name) for item in fields(FitConfig) if item.name != "deterministic"}
_OTHERS: dict[str, Any] = {
    **dict.fromkeys(("title", "note", "recorded_with", "backbone", "pretrained", "init", "target", "unit"), ""),
    **{"folds": 5, "repeats": [], "segment_s": 1.0, "threads": 1, "speakers": 60, "options": {}},
}
_KINDS = {str: "text", int: "a whole number", float: "a number", list: "a list of whole numbers", dict: "a table"}
KNOWN = (*_FIT, *_OTHERS)
"""Keys of a recipe."""


def read_recipe(name_or_path: str | Path) -> dict[str, Any]:
    """Read a recipe: settings of FitConfig and Plan by name, tables `options` (of the backbone) and `augment`.

    Args:
        name_or_path: a TOML file, or a name of `files.config_names`.

    Raises:
        SpeechXAIError: a file that cannot be read, an unknown key, or a value of another kind.
    """
    path = config_path(name_or_path)
    values = read_toml(path)
    for name, value in values.items():
        if name not in KNOWN:
            raise SpeechXAIError(f"{path}: {did_you_mean(name, list(KNOWN), 'setting')}")
        kind = type({**_FIT, **_OTHERS}[name])
        kind = dict if kind is AugmentConfig else kind
        fits = isinstance(value, (int, float) if kind is float else kind) and not isinstance(value, bool)
        if not fits or (kind is list and not all(type(item) is int for item in value)):
            raise SpeechXAIError(f"{path}: '{name}' must be {_KINDS[kind]}. Got {value!r} instead.")
        bounds = FLAGS.get(name)
        if bounds is not None and bounds.max is not None and kind in (int, float):
            in_range(str(path), name, value, bounds.min or 0, bounds.max, whole=kind is int)
    return values


def options_of(words: Sequence[str]) -> dict[str, Any]:
    """Read options of a backbone from words NAME=VALUE, each value as in TOML.

    >>> options_of(["f_max_hz=4000.0", "channels=[4, 8]"])
    {'f_max_hz': 4000.0, 'channels': [4, 8]}

    Raises:
        SpeechXAIError: a word of another form.
    """
    found: dict[str, Any] = {}
    for word in words:
        try:
            found |= tomllib.loads(word)
        except tomllib.TOMLDecodeError as error:
            raise SpeechXAIError(
                f"--option {word}: write NAME=VALUE with a value of TOML, text in quotes: {error}."
            ) from error
    return found


def plan_of(given: Mapping[str, Any]) -> Plan:
    """Put settings by name together into a plan; a pretrained model brings the options of its architecture.

    Args:
        given: keys of KNOWN; `option`, words as `options_of` takes them; `device`; and `out`, the folder of the bundle.

    Raises:
        SpeechXAIError: wrong settings, or a pretrained model that cannot be had.
    """
    fit = {name: given[name] for name in _FIT if given.get(name) is not None}
    if isinstance(fit.get("augment"), Mapping):
        try:
            fit["augment"] = AugmentConfig(**fit["augment"])
        except TypeError as error:
            raise SpeechXAIError(f"The 'augment' table of the recipe does not fit: {error}") from error
    backbone = given.get("backbone") or "cnn"
    options, source = dict(given.get("options") or {}), given.get("pretrained")
    options |= options_of(given.get("option") or ())
    if source:
        if backbone != "ssl":
            raise SpeechXAIError(f"Pretrained weights need the backbone 'ssl'. Got '{backbone}' instead.")
        options = {**pretrained(source).options, **options}
    target, unit = given.get("target") or "", given.get("unit") or ""
    if unit and not target:
        raise SpeechXAIError(f"--unit {unit}: a unit is that of a score. Name its column with --target.")
    length_s = SegmentConfig().length_s if given.get("segment_s") is None else given["segment_s"]
    return Plan(
        name=Path(given["out"]).name,
        title=given.get("title") or "",
        backbone=backbone,
        options=options,
        n_folds=5 if given.get("folds") is None else given["folds"],
        repeats=tuple(given.get("repeats") or ()),
        fit=FitConfig(**fit),
        # Acoustic measures need whole recordings.
        segment=None if backbone == "acoustic" else SegmentConfig(length_s, length_s / 2),
        cam_layer="features" if backbone == "cnn" else None,
        note=given.get("note") or "",
        recorded_with=given.get("recorded_with") or "",
        pretrained=source,
        init=given.get("init"),
        device=given.get("device") or "cpu",
        classes=(target,) if target else CLASS_NAMES,
        unit=(unit or "points") if target else "",
    )


# The model card: what a bundle was trained on, how well it does on people it never heard, and what that is not.
def model_card(
    config: BundleConfig,
    about: str,
    subjects: Subjects,
    uncalibrated: Subjects,
    repeats: Sequence[tuple[int, float, float]],
    n: int = 2000,
) -> str:
    """Write the card of a bundle as Markdown.

    Args:
        config: settings of the bundle.
        about: what the data set's card says.
        subjects, uncalibrated: out-of-fold predictions of the fold models that the bundle holds, after and before
            calibration.
        repeats: (seed, AUROC, AUROC over pairs of like age) of every cross-validation, that of the bundle first.
        n: bootstrap resamples behind every interval.
    """
    found = confounds(subjects, n=n)
    if config.held_out is not None:
        found["classifier"] = config.held_out.auc  # what a warning under an answer says too: one value, one interval
    parts = [
        f"# {config.name}",
        (
            f"{config.title}\n\n**For research only. This is not a medical device:** it must not be used to diagnose,"
            " screen or treat anybody."
        ),
        _network(config),
        _data(config, subjects, about),
        _scope(config),
        _training(config),
        _performance(config, subjects, uncalibrated, n),
        _folds(config),
        _repeats(repeats, len(config.classes) == 2),
        _calibration(subjects, uncalibrated),
        _groups(subjects, n),
        _confounds(subjects, found, n),
        _limits(subjects, found),
        "## Library versions\n\n" + _table(["library", "version"], [[k, v] for k, v in library_versions().items()]),
    ]
    return "\n\n".join(parts).rstrip() + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def _network(config: BundleConfig) -> str:
    heard = "each recording whole"
    if config.segment is not None:
        heard = f"segments of {config.segment.length_s:g} s every {config.segment.hop_s:g} s, their logits averaged"
    options = ", ".join(f"{name} = {value}" for name, value in config.options.items()) or "defaults"
    return (
        f"## Network\n\nBackbone `{config.architecture}` ({options}), {config.training['n_parameters']:,} parameters;"
        f" it hears {heard}. Audio at {config.stft.sample_rate} Hz, normalized by {config.audio.normalize}, its offset"
        f" {config.audio.offset}. Output:"
        + (
            f" {config.classes[0]} in {config.unit}."
            if config.unit
            else f" probability of {', '.join(config.classes[:-1])} and {config.classes[-1]}."
        )
    )


def _data(config: BundleConfig, subjects: Subjects, about: str) -> str:
    t = config.training
    lines = [f"## Data: {t['data']}", f"{t['n_recordings']} recordings of {len(subjects.labels)} subjects."]
    rows = []
    for index, name in enumerate(config.classes):
        members = subset(subjects, subjects.labels == index)
        ages = members.ages[np.isfinite(members.ages)]
        age = f"{ages.mean():.1f} ({ages.min():.0f} to {ages.max():.0f})" if len(ages) else "unknown"
        sexes = ", ".join(f"{members.sexes.count(s)} {s}" for s in sorted(set(members.sexes)) if s) or "unknown"
        d = members.durations_s
        rows.append([name, len(members.labels), age, sexes, f"{d.mean():.2f} ({d.min():.2f} to {d.max():.2f})"])
    lines.append(_table(["class", "subjects", "age, years: mean (range)", "sex", "duration, s: mean (range)"], rows))
    # The data set's own words, one heading level down.
    quoted = [line for line in about.strip().splitlines() if not line.startswith("# ")]
    lines.append("\n".join(quoted).strip())
    return "\n\n".join(lines)


def _scope(config: BundleConfig) -> str:
    """What the model was made for: a recording outside gets no class."""
    made_for = config.scope
    answer = "score" if config.unit else "class"
    if made_for is None:
        return f"## What it was made for\n\nNobody has said it: the model gives a {answer} for any sound."
    voices = "synthetic voices" if made_for.synthetic else "voices of people"
    rows: list[Sequence[object]] = [
        ["what is said", ", ".join(made_for.tasks) or "unknown"],
        ["language", ", ".join(made_for.languages) or "unknown"],
        ["device", made_for.device or "unknown"],
        ["band", f"up to {made_for.band_hz:g} Hz"],
        ["speakers in a recording", made_for.n_speakers],
    ]
    return (
        f"## What it was made for\n\nRecordings like the {made_for.n_recordings} that it learned from, {voices}. To"
        f" anything outside it gives no {answer}. Ranges are the 1st to 99th percentile of the training recordings with"
        f" a margin; of these recordings {100 * made_for.share_inside:.1f} % lie inside the ranges of those of other"
        " folds.\n\n" + _table(["", "learned from"], [*rows, *scope.range_rows(made_for)])
    )


def _training(config: BundleConfig) -> str:
    t = config.training
    fit = t["fit"]
    how = (
        "Fold k tests, the next fold stops the training early, the others train: neither the weights nor the choice of"
        f" the epoch of model k saw a speaker of fold k. Best epochs: {', '.join(map(str, t['best_epochs']))}; the"
        f" final model trains on everybody for their median, {t['final_epochs']}. AdamW, learning rate"
        f" {fit['learning_rate']:g}, weight decay {fit['weight_decay']:g}, batches of {fit['batch']} random crops of"
        f" {fit['crop_s']:g} s, {fit['n_crops']} crops a recording and epoch, "
        + ("loss the mean squared error" if config.unit else f"classes weighted ({fit['class_weights']})")
        + f", level, noise and SpecAugment augmentation, seed {fit['seed']}."
        if fit["epochs"] and t["final_epochs"]
        else (
            "Fold k tests, the others fit the weights; the penalty is chosen by cross-validation over speakers inside"
            " them."
        )
    )
    how += f"\n\n{t['note']}" if t.get("note") else ""
    return (
        f"## Training\n\n{config.weights.n_folds or len(set(config.speakers.values()))} folds by speaker, alike in"
        f" {'low and high scores' if config.unit else 'class'}, sex and age. {how}"
    )


def score_card(
    config: BundleConfig,
    about: str,
    people: scores.ScoredPeople,
    repeats: Sequence[tuple[int, scores.ScoredPeople]],
    n: int = 2000,
) -> str:
    """Write the card of a bundle that gives a score, as Markdown.

    Args:
        config: settings of the bundle.
        about: what the data set's card says.
        people: out-of-fold scores of the fold models that the bundle holds.
        repeats: (seed, people) of every cross-validation, that of the bundle first.
        n: bootstrap resamples behind every interval.
    """
    unit, name = config.unit, config.classes[0]
    found = scores.figures(people, n)
    truths = people.truths
    ages = people.ages[np.isfinite(people.ages)]
    facts = [
        [f"{name}, {unit}: mean (range)", f"{truths.mean():.3g} ({truths.min():.3g} to {truths.max():.3g})"],
        [
            "age, years: mean (range)",
            f"{ages.mean():.1f} ({ages.min():.0f} to {ages.max():.0f})" if len(ages) else "unknown",
        ],
        ["sex", ", ".join(f"{people.sexes.count(s)} {s}" for s in sorted(set(people.sexes)) if s) or "unknown"],
    ]
    quoted = "\n".join(line for line in about.strip().splitlines() if not line.startswith("# ")).strip()
    others = scores.alone(people, n)
    members = {group: scores.figures(people.some(which), n) for group, which in scores.groups(people).items()}
    shown = ("mae", "gain", "spearman")
    held_out = config.held_out_score
    verdict = "" if held_out is None else held_out.sentence(unit)
    if held_out is not None and not held_out.knows:
        verdict += " **It is not shown to be nearer than that mean.**"
    age = others.get("age")
    parts = [
        f"# {config.name}",
        (
            f"{config.title}\n\n**For research only. This is not a medical device:** it must not be used to diagnose,"
            " screen or treat anybody."
        ),
        _network(config),
        f"## Data: {config.training['data']}\n\n{config.training['n_recordings']} recordings of"
        f" {len(people.speakers)} people.\n\n" + _table(["", "people"], facts) + f"\n\n{quoted}",
        _scope(config),
        _training(config),
        "## How near it comes to people it never heard\n\nOne score a person, the mean over the recordings, by the fold"
        " model in this bundle that never heard the person; 95 % intervals by bootstrap over people"
        f" ({n:,}, seeded).\n\n"
        + _table(
            ["figure", f"value ({unit} where it has a unit)"],
            [[scores.FIGURES[k], _shown(v)] for k, v in found.items()],
        )
        + f"\n\n{verdict}",
        "## Other folds, other seeds\n\n"
        + _table(["seed", *(scores.FIGURES[k] for k in shown)], [_row_of(seed, each, shown) for seed, each in repeats]),
        "## By sex and age\n\n"
        + (
            _table(
                ["group", "people", *(scores.FIGURES[k] for k in shown)],
                [[group, each["mae"].n, *(_shown(each[k]) for k in shown)] for group, each in members.items()],
            )
            if members
            else "Neither is known."
        ),
        f"## What else goes with {name}\n\nSpearman's correlation with 95 % intervals. What goes with the truth and"
        " with what the network says may be what the network hears.\n\n"
        + _table(["", "people", "value"], [[key, value.n, _shown(value)] for key, value in others.items()]),
        f"## Limits\n\n- {len(people.speakers)} people: the intervals above are wide, and one data set says nothing"
        " about other microphones, languages or clinics."
        + (
            f"\n- **Age**: it goes with {name} ({age}); the network may have learned it."
            if age is not None and age.low > 0
            else ""
        )
        + "\n- The explanations show what this network listens to. They do not show what the disease is."
        "\n- A mean squared error pulls scores to the mean: high ones come out too low and low ones too high.",
        "## Library versions\n\n" + _table(["library", "version"], [[k, v] for k, v in library_versions().items()]),
    ]
    return "\n\n".join(parts).rstrip() + "\n"


def _row_of(seed: int, people: scores.ScoredPeople, shown: Sequence[str]) -> list[object]:
    found = scores.figures(people, 1)
    return [seed, *(f"{found[name].value:.3f}" for name in shown)]


def _performance(config: BundleConfig, subjects: Subjects, uncalibrated: Subjects, n: int) -> str:
    after, before = performance(subjects, n=n), performance(uncalibrated, n=n)
    if config.held_out is not None:
        after["auroc"] = config.held_out.auc
    nothing = [performance(each, n=1) for each in knowing_nothing(subjects).values()]
    rows = [
        [METRICS[name], before[name], after[name], *(f"{each[name].value:.3f}" for each in nothing)] for name in after
    ]
    settings, two = config.calibration, len(config.classes) == 2
    answered = "threshold 0.5" if two else "the most probable class is the answer; AUROC of each class against the rest"
    base = "the share of the disease" if two else "the share of each class"
    verdict = (
        "**Calibrated**: the probabilities cost less than the base rate does, and calibration has not moved them away"
        " from the observed shares."
        if settings.calibrated
        else f"**Not calibrated**: {settings.reason}. Read the probabilities as scores."
    )
    return (
        "## How good it is on people it never heard\n\nOne prediction a subject, made by the fold model in this bundle"
        f" that never heard the subject; {answered}; 95 % intervals, exact for shares of subjects (Clopper and"
        f" Pearson), else by bootstrap over subjects ({n:,}, seeded). Beside them what answers would score that hear"
        f" nobody: {base} for everybody (base rate), and the larg{'er' if two else 'est'} class for everybody.\n\n"
        + _table(
            ["metric", "before calibration", "as shipped", *knowing_nothing(subjects)],
            rows,
        )
        + f"\n\n{verdict}"
    )


def _folds(config: BundleConfig) -> str:
    """What the networks of the folds say of the people they never heard: a network without spread is no answer."""
    names = config.classes
    shown = range(1, 2) if len(names) == 2 else range(len(names))
    rows = [
        [
            k,
            each.n_recordings,
            f"{each.spread:.2f}",
            *(f"{each.low[c]:.3f} to {each.high[c]:.3f}" for c in shown),
            each.restarts or "no",
            each.problem or "answers",
        ]
        for k, each in enumerate(config.folds)
    ]
    flat = sum(bool(each.problem) for each in config.folds)
    text = (
        "## The network of every fold\n\nWhat it says of the recordings it never heard: how far its logits spread"
        " before calibration, its lowest and highest probability, and whether it had to be trained again because it"
        " said the same of everybody.\n\n"
        + _table(
            ["fold", "recordings", "spread of logits", *(f"P({names[c]})" for c in shown), "trained again", "verdict"],
            rows,
        )
    )
    if flat:
        text += (
            f"\n\n**{flat} of {len(rows)} networks give no answers worth the name:** they say the same of everybody."
        )
    return text


def _repeats(repeats: Sequence[tuple[int, float, float]], two: bool) -> str:
    def shown(value: float) -> str:
        return "undefined" if np.isnan(value) else f"{value:.3f}"

    rows = [[seed, shown(auc), shown(matched)][: 3 if two else 2] for seed, auc, matched in repeats]
    text = "## Other folds, other seeds\n\n"
    if len(repeats) > 1:
        values = [auc for _, auc, _ in repeats]
        text += (
            f"AUROC {statistics.mean(values):.3f} +- {statistics.stdev(values):.3f} over {len(values)}"
            " cross-validations; the first is the one shipped.\n\n"
        )
    return text + _table(["seed", "AUROC", "AUROC, pairs within 5 years of age"][: 3 if two else 2], rows)


def _calibration(subjects: Subjects, uncalibrated: Subjects) -> str:
    parts = [
        "## Calibration\n\nLogits are divided by a temperature and moved by an intercept (Platt scaling), since classes"
        " were weighted in training. Those of fold k come from the out-of-fold logits of the other folds (whose models"
        " did train on subjects of fold k: these numbers are all that passes), those of the final model from all of"
        " them."
    ]
    for name, which in (("Before", uncalibrated), ("After", subjects)):
        rows = [
            [f"{b.low:.1f} to {b.high:.1f}", b.n, f"{b.mean_probability:.3f}", f"{b.share_positive:.3f}"]
            for b in reliability(which.labels, which.probabilities)
        ]
        second = which.classes[1]
        head = [f"P({second})", "subjects", f"mean P({second})", f"share with {second}"]
        if len(which.classes) > 2:
            head = ["P(answer)", "subjects", "mean P(answer)", "share right"]
        parts.append(f"{name}:\n\n" + _table(head, rows))
    return "\n\n".join(parts)


def _groups(subjects: Subjects, n: int) -> str:
    shown = (*(OF_TWO_CLASSES if len(subjects.classes) == 2 else ("balanced_accuracy",)), "auroc")
    rows = []
    for name, members in groups(subjects).items():
        part = subset(subjects, members)
        metrics = performance(part, shown, n=n)
        counts = [int((part.labels == index).sum()) for index in range(len(part.classes))]
        rows.append([name, *counts, *(_shown(metric) for metric in metrics.values())])
    head = ["group", *subjects.classes, *(METRICS[name] for name in shown)]
    return "## By sex and age\n\n" + (_table(head, rows) if rows else "Neither is known.")


def _shown(interval: Interval) -> str:
    return "undefined" if np.isnan(interval.value) else str(interval)


def _confounds(subjects: Subjects, found: Mapping[str, Interval], n: int) -> str:
    rows = [[name, value.n, _shown(value)] for name, value in found.items()]
    sexes = np.array(subjects.sexes)
    known = (sexes == "F") | (sexes == "M")
    if known.any():
        by_sex = alone((sexes[known] == "M").astype(float), subset(subjects, known), n)
        rows.insert(2, ["sex alone", by_sex.n, _shown(by_sex)])
    of_more = " Of age, duration and sex that of the two classes that they tell apart best, whichever is higher."
    return (
        "## What else could tell the classes apart\n\nAUROC with 95 % intervals."
        f"{of_more if len(subjects.classes) > 2 else ''} A confound that does better than the"
        " classifier may be what the classifier hears; within pairs of like age, age cannot help.\n\n"
        + _table(["score", "subjects", "value"], rows)
    )


def _limits(subjects: Subjects, found: Mapping[str, Interval]) -> str:
    n = len(subjects.labels)
    text = (
        f"## Limits\n\n- {n} subjects: the intervals above are wide, and one data set says nothing about other"
        " microphones, languages or clinics."
    )
    age = found.get("age alone")
    if age is not None and abs(age.value - 0.5) > 0.1:
        text += (
            f"\n- **Age confound**: age alone gives AUROC {age.value:.3f}, the classifier"
            f" {found['classifier'].value:.3f}. Old voices and {' or '.join(subjects.classes[1:])} voices share signs;"
            " the classifier may have learned age."
        )
    return (
        text + "\n- The explanations show what this network listens to. They do not show what the disease is."
        "\n- A probability holds for this data set's mix of classes, not for any population."
    )
