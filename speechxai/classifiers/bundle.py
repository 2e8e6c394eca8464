"""Model bundles on disk: settings, weights as safetensors, a card for people; and the state of a training that goes
on."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import io
import json
import os
import re
import shutil
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from safetensors.torch import save as to_safetensors
from torch import Tensor

import speechxai
from speechxai.classifiers import Classifier, build
from speechxai.classifiers.external import Opened, open_factory, open_huggingface
from speechxai.classifiers.fit import flat_words
from speechxai.classifiers.held_out import HeldOut, HeldOutScore
from speechxai.classifiers.interpreter import Interpreter
from speechxai.classifiers.network import answers_to_made_voices, check
from speechxai.classifiers.reference import write_reference
from speechxai.classifiers.scope import Scope
from speechxai.errors import SpeechXAIError, VersionWarning, did_you_mean
from speechxai.files import (
    known_format,
    read_text,
    read_toml,
    reading,
    resource_folder,
    sha256_of,
    to_toml,
    write_atomically,
)
from speechxai.flags import MAX_COUNT
from speechxai.registry import code_of
from speechxai.signal.stft import SegmentConfig
from speechxai.types import CLASS_NAMES, Recording, StftConfig

FORMAT = 1
"""Version of a bundle's layout, the key `format` of its `config.toml`."""

CONFIG_FILE, WEIGHTS_FILE, CARD_FILE = "config.toml", "weights.safetensors", "card.md"
HUGGINGFACE_FILE = "config.json"
"""What a folder of Hugging Face's `save_pretrained` has."""
PARTS_FOLDER = "weights"
"""Bundles of large networks have one safetensors file a fold model in this folder, written and read one at a time."""

FINAL = "final"
"""The network that speaks for speakers no fold's network was trained on."""

NOT_SAVED = "0" * 64
"""Hash of what is not on disk yet."""

ABOUT = (
    "format",
    "name",
    "title",
    "training",
    "listens",
    "libraries",
    "check",
    "sha256",
    "max_batch",
    "held_out",
    "held_out_score",
)
"""Keys that change no answer; all others do."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class StftSettings(_Strict):
    """The fields of `types.StftConfig`."""

    n_fft: int = Field(strict=True)
    win_length: int = Field(strict=True)
    hop_length: int = Field(strict=True)
    window: Literal["hamming", "hann"]
    sample_rate: int = Field(strict=True)
    scale: Literal["log1p", "linear"]


class SegmentSettings(_Strict):
    """The fields of `stft.SegmentConfig`."""

    length_s: float = Field(strict=True)
    hop_s: float = Field(strict=True)
    short: Literal["keep", "pad"] = "keep"


class AudioSettings(_Strict):
    """How audio is read for this model: parameters of `signal.audio.read_audio`.

    A bundle that does not speak of the offset was trained before there was a choice, on samples as they are.
    """

    normalize: Literal["peak", "none"] = "peak"
    offset: Literal["removed", "kept"] = "kept"


class WeightsFile(_Strict):
    """The weights' file, its sha256, and how many fold models it holds beside the final one.

    Large networks have a file each: `parts` then gives the sha256 of every `weights/<part>.safetensors`, `sha256` is
    the hash of that table, and `final` names the part that speaks for speakers no model heard.
    """

    sha256: str = Field(default=NOT_SAVED, pattern="^[0-9a-f]{64}$")
    n_folds: int = Field(default=0, ge=0, strict=True)
    parts: dict[str, str] = Field(default_factory=dict)
    final: str = Field(default=FINAL, pattern="^(final|fold[0-9]+)$")


class CalibrationSettings(_Strict):
    """What calibration did, for people: the weights hold the temperature and intercept in use.

    `calibrated` is whether the probabilities may be called so, by `validation.not_calibrated_because`, and `reason` why
    not; None where nobody has looked.
    """

    method: str = ""
    calibrated: bool | None = None
    reason: str = ""
    fold_temperatures: tuple[float, ...] = ()
    fold_intercepts: tuple[tuple[float, ...], ...] = ()
    final_temperature: float | None = None
    final_intercept: tuple[float, ...] = ()


class FoldFacts(_Strict):
    """How the network of a fold answered for the people it never heard.

    Args:
        n_recordings: of them.
        spread: `fit.spread_of` its logits before calibration.
        low, high: lowest and highest probability of every class.
        restarts: how often it was trained again, because the network before had no spread.
        problem: what keeps it from giving answers, see `fit.flatness`; "" where nothing does.
    """

    n_recordings: int = Field(ge=0)
    spread: float = Field(ge=0)
    low: tuple[float, ...]
    high: tuple[float, ...]
    restarts: int = Field(default=0, ge=0)
    problem: str = ""


class Listens(_Strict):
    """What a model listens to at all, found by turning dials on recordings.

    Args:
        said: sentences.
        alarms: those of them that speak against its answers: it answers more to the recording than to any sign.
        n_speakers: behind them.
    """

    said: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()
    n_speakers: int = Field(default=0, ge=0)


class BundleConfig(_Strict):
    """A model bundle, without its weights.

    Args:
        format: version of this file's layout.
        name, title: short name (the folder's), and one line for people.
        architecture: a name of `classifiers.BACKBONES`, or "module:factory" of a network that others wrote.
        options: of the backbone.
        stft, segment, audio: signal settings; without `segment` recordings are heard whole.
        classes: names of the classes by index; of a score its one name.
        unit: of a score; "" for classes.
        cam_layer: module of the backbone that Grad-CAM reads.
        max_batch: segments that pass at once.
        training: what it was trained on and how; for people.
        listens: what it was found to listen to; None where nobody asked.
        calibration: what it did, and whether probabilities may be called calibrated.
        folds: how every fold's network answered, where training has looked.
        held_out: answers of two classes about people that the answering network never heard.
        held_out_score: scores of such people.
        scope: what it was made for; without it nobody knows which recordings it may be asked about.
        libraries: versions at training.
        weights: hash and number of fold models.
        speakers, files: fold of every training speaker, and of every training file by its sha256.
        check: what a trial of somebody else's network found, see `network.NetworkReport`.
        sha256: `answers_hash` when it was saved; bundles of earlier versions have none.
    """

    format: int = Field(default=FORMAT, ge=1, le=FORMAT, strict=True)
    name: str = Field(min_length=1)
    title: str = ""
    architecture: str
    options: dict[str, Any] = Field(default_factory=dict)
    stft: StftSettings
    segment: SegmentSettings | None = None
    audio: AudioSettings = Field(default_factory=AudioSettings)
    classes: tuple[str, ...] = CLASS_NAMES
    unit: str = ""
    cam_layer: str | None = None
    max_batch: int = Field(default=16, ge=1, le=MAX_COUNT, strict=True)
    training: dict[str, Any] = Field(default_factory=dict)
    listens: Listens | None = None
    calibration: CalibrationSettings = Field(default_factory=CalibrationSettings)
    folds: tuple[FoldFacts, ...] = ()
    held_out: HeldOut | None = None
    held_out_score: HeldOutScore | None = None
    scope: Scope | None = None
    libraries: dict[str, str] = Field(default_factory=dict)
    weights: WeightsFile = Field(default_factory=WeightsFile)
    speakers: dict[str, int] = Field(default_factory=dict)
    files: dict[str, int] = Field(default_factory=dict)
    check: dict[str, Any] = Field(default_factory=dict)
    sha256: str = Field(default=NOT_SAVED, pattern="^[0-9a-f]{64}$")

    @model_validator(mode="after")
    def _consistent(self) -> BundleConfig:
        if len(self.classes) < 2 - bool(self.unit) or len(set(self.classes)) < len(self.classes):
            raise ValueError(f"'classes' must hold at least two different names. Got {list(self.classes)}.")
        if self.unit and len(self.classes) != 1:
            raise ValueError(f"'classes' must hold the one name of a score in {self.unit}. Got {list(self.classes)}.")
        for table, folds in (("speakers", self.speakers), ("files", self.files)):
            for key, fold in folds.items():
                if self.weights.sha256 != NOT_SAVED and not 0 <= fold < self.weights.n_folds:
                    raise ValueError(
                        f"'{table}' puts '{key}' in fold {fold}, but there are {self.weights.n_folds} fold models."
                    )
        self.stft_config()
        self.segment_config()
        return self

    @property
    def use(self) -> str:
        """Hash of what an answer depends on beside the weights: network, signal settings, classes and their order, who
        is heard by which network, the scope, and what probabilities are called."""
        # Defaults are left out, so that a key that a later version adds changes no hash.
        values = self.model_dump(mode="json", exclude={*ABOUT, "weights"}, exclude_defaults=True)
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    @property
    def answers_hash(self) -> str:
        """Hash of everything that an answer depends on: the weights and their `use`."""
        text = f"{self.weights.sha256}|{self.weights.n_folds}|{self.weights.final}|{self.use}"
        return hashlib.sha256(text.encode()).hexdigest()

    def stft_config(self) -> StftConfig:
        """Return the STFT settings."""
        return StftConfig(**self.stft.model_dump())

    def segment_config(self) -> SegmentConfig | None:
        """Return the segment settings, or None."""
        return None if self.segment is None else SegmentConfig(**self.segment.model_dump())


LISTENS = "## What it listens to"
"""Heading of the card's section that `state_listening` writes."""


def state_listening(folder: Path, listens: Listens, section: str) -> None:
    """Write what a model was found to listen to into its settings and its card; no answer depends on it.

    Args:
        folder: of the bundle.
        listens: for the settings.
        section: Markdown below LISTENS, which takes the place of an earlier one.

    Raises:
        SpeechXAIError: no bundle.
    """
    bundle = load_bundle(folder)
    content = bundle.config.model_copy(update={"listens": listens}).model_dump(mode="json", exclude_none=True)
    content["weights"] = bundle.config.weights.model_dump(exclude_defaults=True)
    order = {name: content[name] for name in BundleConfig.model_fields if name in content}
    state_section(bundle.folder, LISTENS, section)
    write_atomically(bundle.folder / CONFIG_FILE, to_toml(order).encode())


def state_section(folder: Path, heading: str, section: str) -> None:
    """Write a section of a model's card, before its limits; one of that heading is replaced.

    Args:
        folder: of the bundle.
        heading: such as LISTENS.
        section: Markdown below it.
    """
    path = folder / CARD_FILE
    parts = re.split(r"(?m)^(?=## )", read_text(path))
    kept = [part for part in parts if not part.startswith(heading)]
    at = next((k for k, part in enumerate(kept) if part.startswith("## Limits")), len(kept))
    kept.insert(at, f"{heading}\n\n{section.strip()}\n\n")
    write_atomically(path, "".join(kept).encode())


def library_versions() -> dict[str, str]:
    """Versions of the libraries whose change may change a prediction; one that is not installed is left out."""
    found: dict[str, str] = {}
    for name in ("torch", "torchaudio", "librosa"):
        # Only some networks need torchaudio.
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return {**found, "speechxai": speechxai.__version__}


def version_differences(trained: dict[str, str]) -> list[str]:
    """Sentences about libraries whose major.minor differs from those a model was trained with.

    This package is none of them: a release that moved answers would say so, and the model's reference shows it.
    """
    here = library_versions()
    return [
        f"{name} {here[name]} here, {version} at training"
        for name, version in trained.items()
        if name != "speechxai"
        and name in here
        and version.split("+")[0].split(".")[:2] != here[name].split("+")[0].split(".")[:2]
    ]


def read_bundle_config(path: Path) -> BundleConfig:
    """Read and check a bundle's config.toml; one that states no format has the first.

    Raises:
        SpeechXAIError: the path first; what is wrong with every key, or a format that only a newer version knows.
    """
    if not path.exists():
        raise SpeechXAIError(
            f"{path}: no such file. A model bundle is a folder with {CONFIG_FILE}, {WEIGHTS_FILE} and {CARD_FILE}."
        )
    values = read_toml(path)
    known_format(values.get("format"), FORMAT, f"{path}: this bundle")
    try:
        return BundleConfig.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'settings'}: {e['msg']}" for e in error.errors())
        raise SpeechXAIError(f"{path}: {problems}. Known keys: {', '.join(BundleConfig.model_fields)}.") from error


def part_path(folder: Path, part: str) -> Path:
    """File of a part ("final", "fold0", ...) of the bundle in `folder`."""
    return folder / PARTS_FOLDER / f"{part}.safetensors"


def _table_hash(parts: Mapping[str, str]) -> str:
    return hashlib.sha256("\n".join(f"{part} {parts[part]}" for part in sorted(parts)).encode()).hexdigest()


def check_parts(folder: Path, weights: WeightsFile) -> None:
    """Check that the table of parts is whole and every file is there; contents are checked when they are read.

    Raises:
        SpeechXAIError: a table that does not fit its hash, or a file that is missing.
    """
    wanted = {weights.final, *(f"fold{k}" for k in range(weights.n_folds))}
    if _table_hash(weights.parts) != weights.sha256 or set(weights.parts) != wanted:
        raise SpeechXAIError(
            f"{folder / CONFIG_FILE}: the table of weights is damaged. Restore the file or import the model again."
        )
    for part in weights.parts:
        if not part_path(folder, part).is_file():
            raise SpeechXAIError(
                f"{part_path(folder, part)}: the weights are missing. Restore the file or import the model again."
            )


def read_part_file(path: Path, sha256: str | None) -> dict[str, Tensor]:
    """Weights of one part, its hash compared.

    Raises:
        SpeechXAIError: a file that cannot be read or is another than the bundle's table says.
    """
    try:
        if sha256_of(path) != sha256:
            raise SpeechXAIError(
                f"{path}: the file is damaged or from another bundle. Restore the file or import the model again."
            )
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise SpeechXAIError(
            f"{path}: cannot be read ({error}). Restore the file or import the model again."
        ) from error


def save_parts(
    folder: str | Path,
    config: BundleConfig,
    classifiers: Iterable[tuple[str, Classifier]],
    card: str,
    final: str = FINAL,
) -> Path:
    """Write a bundle with one file a network; hashes, number of folds and library versions of `config` are filled in.

    Args:
        folder: is made where it is missing; its files are replaced.
        config: settings of the model.
        classifiers: names "final", "fold0", "fold1", ... without a gap, each with its network; taken one after the
            other, so that one is in memory at a time.
        card: the model card, Markdown.
        final: the part that speaks for speakers no model heard; another than "final" where there is no such network.

    Returns:
        The folder, for `load_bundle`.

    Raises:
        SpeechXAIError: parts with a gap or without `final`, a folder that cannot be written, or a bundle that answers
            otherwise than the networks it was made from.
    """
    target = Path(folder)
    parts: dict[str, str] = {}
    answers: dict[str, Tensor | None] = {}
    names: dict[str, tuple[str, ...]] = {}
    try:
        (target / PARTS_FOLDER).mkdir(parents=True, exist_ok=True)
        for part, classifier in classifiers:
            answers[part], names[part] = answers_to_made_voices(classifier), classifier.class_names
            state = {key: value.detach().cpu().contiguous() for key, value in own_weights(classifier).items()}
            path = part_path(target, part)
            temporary = path.with_suffix(".part")
            save_file(state, temporary)
            temporary.replace(path)
            parts[part] = sha256_of(path)
        n_folds = sum(part.startswith("fold") for part in parts)
        if set(parts) != {final, *(f"fold{k}" for k in range(n_folds))}:
            raise SpeechXAIError(
                f"A bundle needs the networks {final}, fold0, fold1, ... Got {', '.join(parts) or 'none'}."
            )
        weights = WeightsFile(sha256=_table_hash(parts), n_folds=n_folds, parts=parts, final=final)
        _write_settings(target, config, weights, card)
        (target / WEIGHTS_FILE).unlink(missing_ok=True)  # of a model that was replaced
    except (OSError, SafetensorError) as error:
        raise SpeechXAIError(
            f"{target}: the bundle cannot be written ({error}). Choose a folder that can be written to."
        ) from error
    bundle = load_bundle(target.resolve(), allow_code=True)
    _check_answers(bundle, answers, names)
    bundle.remember()
    return target.resolve()


@dataclass(frozen=True, eq=False)
class Bundle:
    """A trained model with its fold models: which of them speaks for a recording is decided here.

    Args:
        folder: where it is.
        config: what `config.toml` says.
    """

    folder: Path
    config: BundleConfig
    _made: dict[str, Classifier] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """Short name."""
        return self.config.name

    @property
    def sha256(self) -> str:
        """Hash of everything that its answers depend on: `BundleConfig.answers_hash`, and the code of others."""
        code = self.code
        if not code:
            return self.config.answers_hash
        return hashlib.sha256(json.dumps([self.config.answers_hash, code]).encode()).hexdigest()

    @property
    def code(self) -> dict[str, str]:
        """Hash of the module of a network that others wrote, as `registry.code_of`; of ours nothing."""
        module, colon, _ = self.config.architecture.partition(":")
        return code_of((module,)) if colon else {}

    @property
    def n_folds(self) -> int:
        """Number of fold models."""
        return self.config.weights.n_folds

    @property
    def use(self) -> str:
        """See `BundleConfig.use`."""
        return self.config.use

    @property
    def top_hz(self) -> float:
        """Highest frequency that its network is given, Hz."""
        stated, nyquist = self.config.options.get("f_max_hz"), self.config.stft.sample_rate / 2
        return min(float(stated), nyquist) if isinstance(stated, int | float) and stated > 0 else nyquist

    @property
    def probability_words(self) -> str:
        """What its probabilities may be called."""
        calibrated = self.config.calibration.calibrated
        if calibrated is None:
            return "probability (whether it is calibrated is not known)"
        return "calibrated probability" if calibrated else "probability (not calibrated)"

    @property
    def assumption(self) -> str:
        """What nobody has said of its outputs, a sentence; "" where it is known which of them is which class."""
        if not self.config.check.get("names_assumed"):
            return ""
        return (
            f"{self.name} does not say which output is which class: they are read as {', '.join(self.config.classes)}."
            " Let it state `class_names`, one name for each output."
        )

    def naming_classes(self, what: str) -> Bundle:
        """Return itself. Raises SpeechXAIError where it gives a score, for `what` ("The web app") shows classes."""
        if self.config.unit:
            raise SpeechXAIError(
                f"{self.name}: gives {self.config.classes[0]} in {self.config.unit} and names no class. {what} takes"
                " models that name classes; of a score there are predict, explain, whatif and evaluate."
            )
        return self

    def concerns(self, fold: int | None = None) -> list[str]:
        """What its training says against its answers, in sentences.

        Args:
            fold: whose network answers; None is the final one, which stands for all.
        """
        found, settings = [self.assumption] if self.assumption else [], self.config.calibration
        if settings.calibrated is False:
            found.append(f"The model's probabilities are not calibrated: {settings.reason}.")
        facts = enumerate(self.config.folds)
        if self.config.held_out is not None and not self.config.held_out.separates:
            found.append(
                f"This network separates nobody that could be shown: AUC {self.config.held_out.auc} over"
                f" {len(self.config.held_out.labels)} people it never heard, where chance is 0.50."
            )
        scored = self.config.held_out_score
        if scored is not None and not scored.knows:
            found.append(
                f"This network's score is not shown to be nearer than the mean for everybody: it takes away"
                f" {scored.gain} of that error, over {len(scored.truths)} people it never heard."
            )
        found += [flat_words(k, each.problem) for k, each in facts if each.problem and fold in (None, k)]
        if self.config.listens is not None:
            found += self.config.listens.alarms
        return found

    @property
    def card(self) -> str:
        """The model card, Markdown; "" where there is none."""
        path = self.folder / CARD_FILE
        return read_text(path) if os.path.lexists(path) else ""

    def classifier(self, fold: int | None = None) -> Classifier:
        """Return the model of `fold`, or the final one: in eval mode, without gradients of its weights, made once.

        Raises:
            SpeechXAIError: a fold that does not exist, or weights that do not fit.
        """
        if fold is not None and not 0 <= fold < self.n_folds:
            raise SpeechXAIError(
                f"{self.folder}: there is no fold {fold}; the bundle has {self.n_folds} fold models, numbered from 0."
            )
        part = self.config.weights.final if fold is None else f"fold{fold}"
        if part not in self._made:
            self._made[part] = self._make(part)
        return self._made[part]

    def unread_bytes(self, fold: int | None = None) -> int:
        """Bytes of weights that are read before the model of `fold` can answer; 0 where it was made before."""
        part = self.config.weights.final if fold is None else f"fold{fold}"
        path = part_path(self.folder, part) if self.config.weights.parts else self.folder / WEIGHTS_FILE
        return 0 if part in self._made or not path.is_file() else path.stat().st_size

    def fold_of(self, recording: Recording) -> int | None:
        """Return the fold whose model never heard this recording's speaker; None for a speaker no model heard.

        The file's hash (`metadata["sha256"]`) is asked first, since a renamed file keeps it, then the speaker.
        """
        sha256 = recording.metadata.get("sha256")
        by_file = self.config.files.get(sha256) if isinstance(sha256, str) else None
        return self.config.speakers.get(recording.speaker) if by_file is None else by_file

    def for_recording(self, recording: Recording) -> Classifier:
        """Return the model that may speak about this recording: of its fold if it was trained on, else the final
        one."""
        return self.classifier(self.fold_of(recording))

    def remember(self, when: str = "written with the model") -> None:
        """Write reference recordings into the folder, and what the network for new speakers makes of them.

        Args:
            when: that was, in words, for whoever compares later.

        Raises:
            SpeechXAIError: a folder that cannot be written.
        """
        classifier = self._make(self.config.weights.final)
        about = {
            "answers": self.config.answers_hash,
            "weights": self.config.weights.sha256,
            "architecture": self.config.architecture,
            "options": self.config.options,
            "state": own_weights(classifier),
        }
        write_reference(self.folder, classifier, self.config.audio.model_dump(), about, when)

    def _make(self, part: str) -> Classifier:
        config, path = self.config, self.folder / WEIGHTS_FILE
        stft = config.stft_config()
        try:
            backbone = build(config.architecture, stft, **config.options)
        except SpeechXAIError as error:
            raise SpeechXAIError(f"{self.folder / CONFIG_FILE}: {error}") from error
        classifier = Classifier(
            backbone, stft, config.segment_config(), config.classes, config.cam_layer, config.max_batch, config.unit
        )
        if config.weights.parts:
            path = part_path(self.folder, part)
            weights = read_part_file(path, config.weights.parts.get(part))
        else:
            weights = _read_part(path, part)
        # Bundles of earlier versions have a temperature alone.
        weights.setdefault("intercept", torch.zeros(len(config.classes)))
        weights |= {key: value for key, value in classifier.state_dict().items() if is_borrowed(classifier, key)}
        _check_fit(path, part, weights, classifier.state_dict())
        classifier.load_state_dict(weights)
        classifier.eval().requires_grad_(False)
        of_library = comes_with_library(self)
        classifier.interpreter = Interpreter(
            self.name if of_library else str(self.folder),
            self.folder,
            part,
            config.answers_hash,
            copy_to=copy_of(self.name) if of_library else "",
        )
        classifier.folder = self.folder
        if ":" in config.architecture or (config.architecture == "huggingface" and not config.check):
            # Weights are those that were checked before; code of others may have changed since.
            check(classifier).required(str(self.folder))
        return classifier


def is_borrowed(classifier: Classifier, key: str) -> bool:
    """Whether a weight is another's, which the backbone finds again when it is made (its attribute `borrowed`, the
    beginnings of such names), so that a bundle does not store it."""
    return key.startswith(tuple(f"backbone.{name}" for name in getattr(classifier.backbone, "borrowed", ())))


def own_weights(classifier: Classifier) -> dict[str, Tensor]:
    """The weights that a bundle stores, by name."""
    return {key: value for key, value in classifier.state_dict().items() if not is_borrowed(classifier, key)}


def _read_part(path: Path, part: str) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            prefix = f"{part}."
            return {key.removeprefix(prefix): file.get_tensor(key) for key in file.keys() if key.startswith(prefix)}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise SpeechXAIError(f"{path}: cannot be read ({error}). Restore the file or train the model again.") from error


def _check_fit(path: Path, part: str, weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    problems = [f"'{part}.{key}' is missing" for key in wanted if key not in weights]
    problems += [f"'{part}.{key}' belongs to no layer" for key in weights if key not in wanted]
    problems += [
        f"'{part}.{key}' has shape {list(value.shape)} and must have {list(wanted[key].shape)}"
        for key, value in weights.items()
        if key in wanted and value.shape != wanted[key].shape
    ]
    problems += [
        f"'{part}.{key}' has NaN or infinite values"
        for key, value in weights.items()
        if not torch.isfinite(value).all()
    ]
    if problems:
        shown = "; ".join(problems[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")
        raise SpeechXAIError(
            f"{path}: the weights do not fit {CONFIG_FILE}: {shown}. Restore the bundle or train the model again."
        )


def bundle_names() -> list[str]:
    """Names of the models that come with the library."""
    return sorted(path.parent.name for path in resource_folder("models").glob(f"*/{CONFIG_FILE}"))


def comes_with_library(bundle: Bundle) -> bool:
    """Whether a bundle lies in the library's own folder, which must stay as it is."""
    return bundle.folder.resolve().is_relative_to(resource_folder("models").resolve())


def copy_of(name: str) -> str:
    """Where a copy of a model of the library may lie, as messages say it."""
    return f"models/my-{name}"


def own_copy(bundle: Bundle, folder: Path | None) -> Bundle:
    """Return a bundle that more may be kept beside: a copy in `folder`, or the bundle itself without one.

    A copy that is there is taken as it is, with what was kept beside it.

    Raises:
        SpeechXAIError: no folder for a model that comes with the library, a folder that holds anything but a copy of
            this model, or one that cannot be written.
    """
    if folder is None:
        if comes_with_library(bundle):
            raise SpeechXAIError(
                f"'{bundle.name}' comes with the library, whose folder stays as it is. Give --out for a copy of it, for"
                f" example --out {copy_of(bundle.name)}."
            )
        return bundle
    if (folder / CONFIG_FILE).is_file():
        found = load_bundle(folder, allow_code=True)
        if found.config.answers_hash != bundle.config.answers_hash:
            raise SpeechXAIError(f"{folder}: holds another model than '{bundle.name}'. Choose another --out.")
        return found
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SpeechXAIError(f"{folder}: holds something else than a copy of '{bundle.name}'. Choose another --out.")
    try:
        shutil.copytree(bundle.folder, folder, dirs_exist_ok=True)
    except (OSError, shutil.Error) as error:
        raise SpeechXAIError(f"{folder}: cannot be written ({error}). Choose another --out.") from error
    return load_bundle(folder, allow_code=True)


def load_bundle(name_or_path: str | Path, allow_code: bool = False) -> Bundle:
    """Open a model that comes with the library, by its name, or a bundle's folder, by its path.

    Settings are checked and the weights' hash is compared; the weights are read when a classifier is asked for. Other
    library versions than at training give one VersionWarning.

    Two more kinds of network open as bundles in memory, without folds, after one trial (`network.check`):
    "module:function", which returns a network of your own (`external.open_factory`), and a folder that Hugging Face's
    `save_pretrained` has written (`external.open_huggingface`).

    Args:
        name_or_path: for example "figshare-cnn", "runs/my-model", "my_network:load" or "my-hubert".
        allow_code: whether "module:function" may run, as the name itself or in a bundle.

    Raises:
        SpeechXAIError: an unknown name, a missing or damaged file, wrong settings, a network that needs `allow_code` or
            does not keep the contract.
    """
    if re.fullmatch(r"[\w.]+:\w+", str(name_or_path)) and not Path(name_or_path).is_dir():
        if not allow_code:
            raise SpeechXAIError(
                f"{name_or_path}: this runs code of that module. If you trust it, give --allow-code (allow_code=True)."
            )
        return in_memory(str(name_or_path), open_factory(str(name_or_path)))
    folder = _folder(name_or_path)
    if (folder / HUGGINGFACE_FILE).is_file() and not (folder / CONFIG_FILE).is_file():
        return in_memory(folder.resolve().name, open_huggingface(str(folder)), folder)
    config = read_bundle_config(folder / CONFIG_FILE)
    if ":" in config.architecture and not allow_code:
        raise SpeechXAIError(
            f"{folder / CONFIG_FILE}: the architecture '{config.architecture}' would run code of another package. "
            "If you trust it, give --allow-code (allow_code=True)."
        )
    if config.weights.parts:
        # Gigabytes are hashed when a part is asked for, not when the bundle is opened.
        check_parts(folder, config.weights)
        return _opened(folder, config)
    path = folder / WEIGHTS_FILE
    if not path.exists():
        raise SpeechXAIError(f"{path}: the weights are missing. Restore the file or train the model again.")
    found = sha256_of(path)
    if found != config.weights.sha256:
        raise SpeechXAIError(
            f"{path}: the file is damaged or from another bundle: its sha256 is {found[:12]}..., {CONFIG_FILE} says "
            f"{config.weights.sha256[:12]}.... Restore the file or train the model again."
        )
    return _opened(folder, config)


def open_anyway(name_or_path: str | Path, allow_code: bool = False) -> tuple[Bundle, list[str]]:
    """Open a bundle whose hashes may not fit, to see what is wrong with it; never to answer anybody.

    Returns:
        The bundle, and what `load_bundle` would have refused it for, in sentences.

    Raises:
        SpeechXAIError: no bundle, settings that cannot be read, or weights that are not there.
    """
    folder = _folder(name_or_path)
    config, problems = read_bundle_config(folder / CONFIG_FILE), []
    if ":" in config.architecture and not allow_code:
        return load_bundle(folder), []  # says how
    if config.weights.parts:
        try:
            check_parts(folder, config.weights)
        except SpeechXAIError as error:
            problems.append(str(error))
    elif not (folder / WEIGHTS_FILE).is_file():
        raise SpeechXAIError(f"{folder / WEIGHTS_FILE}: the weights are missing. Restore the file.")
    elif sha256_of(folder / WEIGHTS_FILE) != config.weights.sha256:
        problems.append(f"{WEIGHTS_FILE} is not the file that {CONFIG_FILE} names by its sha256")
    if config.sha256 == NOT_SAVED:
        problems.append(f"{CONFIG_FILE} carries no seal")
    elif config.sha256 != config.answers_hash:
        problems.append(f"{CONFIG_FILE} is not as it was sealed: a setting that changes answers is another now")
    return Bundle(folder, config), problems


def in_memory(name: str, opened: Opened, folder: Path | None = None) -> Bundle:
    """Make a bundle of somebody else's network, tried once: one model and no folds. `save_bundle` can keep it.

    Raises:
        SpeechXAIError: a network that does not keep the contract; the message says in one sentence how.
    """
    classifier = opened.classifier
    found = check(classifier).required(name)
    digest = hashlib.sha256(name.encode())
    for key, value in sorted(classifier.state_dict().items()):
        digest.update(key.encode() + value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    segment = classifier.segment
    config = BundleConfig(
        name=name,
        title=f"{'Hugging Face model' if folder else 'network'} {name}, not trained by this program",
        architecture=opened.architecture,
        options=opened.options,
        stft=StftSettings(**asdict(classifier.stft)),
        segment=None if segment is None else SegmentSettings(**asdict(segment)),
        audio=AudioSettings(normalize=opened.normalize),
        classes=classifier.class_names,
        unit=classifier.unit,
        cam_layer=classifier.cam_layer,
        max_batch=classifier.max_batch,
        libraries=library_versions(),
        weights=WeightsFile(sha256=digest.hexdigest()),
        check=found.table() | ({"names_assumed": True} if opened.names_assumed else {}),
    )
    return Bundle(folder or Path(name), config, {FINAL: classifier.requires_grad_(False)})


def _opened(folder: Path, config: BundleConfig) -> Bundle:
    if config.sha256 not in (NOT_SAVED, config.answers_hash):
        raise SpeechXAIError(
            f"{folder / CONFIG_FILE}: the settings are not those that were saved with the model: the order of classes"
            " or how audio is read may have changed, and with them every answer. Restore the file; if the change is"
            " meant, remove its line 'sha256'."
        )
    differences = version_differences(config.libraries)
    if differences:
        warnings.warn(
            f"The model '{config.name}' was trained with other libraries: {'; '.join(differences)}. Its predictions may"
            " differ.",
            VersionWarning,
            stacklevel=3,
        )
    return Bundle(folder, config)


def _folder(name_or_path: str | Path) -> Path:
    path = Path(name_or_path)
    if path.is_dir():
        return path
    embedded = resource_folder("models") / path.name
    if len(path.parts) == 1 and (embedded / CONFIG_FILE).is_file():
        return embedded
    known = did_you_mean(str(name_or_path), bundle_names(), "model")
    raise SpeechXAIError(f"{name_or_path}: there is no such folder. {known}")


def save_bundle(folder: str | Path, config: BundleConfig, classifiers: Mapping[str, Classifier], card: str) -> Bundle:
    """Write a bundle, open it again and compare what its networks answer with what they answered before; hash, number
    of folds and library versions of `config` are filled in.

    Args:
        folder: is made where it is missing; its files are replaced.
        config: settings of the model.
        classifiers: "final", "fold0", "fold1", ... without a gap.
        card: the model card, Markdown.

    Raises:
        SpeechXAIError: classifiers without "final" or with a gap, a folder that cannot be written, classes that are not
            those of `config`, or networks that answer otherwise once they are read back.
    """
    n_folds = len(classifiers) - 1
    wanted = [FINAL, *(f"fold{k}" for k in range(n_folds))]
    if sorted(classifiers) != sorted(wanted):
        raise SpeechXAIError(
            f"A bundle needs the classifiers final, fold0, fold1, ... Got {', '.join(sorted(classifiers)) or 'none'}."
        )
    tensors = {
        f"{part}.{key}": value.detach().cpu().contiguous().clone()
        for part in wanted
        for key, value in own_weights(classifiers[part]).items()
    }
    answers = {part: answers_to_made_voices(classifiers[part]) for part in wanted}
    content = to_safetensors(tensors)
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
        write_atomically(target / WEIGHTS_FILE, content)
        weights = WeightsFile(sha256=hashlib.sha256(content).hexdigest(), n_folds=n_folds)
        _write_settings(target, config, weights, card)
        shutil.rmtree(target / PARTS_FOLDER, ignore_errors=True)  # of a model that was replaced
    except OSError as error:
        raise SpeechXAIError(
            f"{target}: the bundle cannot be written ({error.strerror}). Choose a folder that can be written to."
        ) from error
    found = load_bundle(target.resolve(), allow_code=True)
    _check_answers(found, answers, {part: classifiers[part].class_names for part in wanted})
    found.remember()
    return found


def _check_answers(bundle: Bundle, answers: Mapping[str, Tensor | None], names: Mapping[str, tuple[str, ...]]) -> None:
    """Compare networks that are read back, one in memory at a time, with those that were written: settings make half of
    an answer. A bundle that answers otherwise is of no use, so its settings are removed.

    Args:
        bundle: as it was written.
        answers: to made voices before that, by part.
        names: of the classes of each network.
    """
    problem = ""
    for part, before in answers.items():
        if names[part] != bundle.config.classes:
            problem = (
                f"the classes of '{part}' are {', '.join(names[part])}, and the bundle's are"
                f" {', '.join(bundle.config.classes)}."
            )
            break
        try:
            after = answers_to_made_voices(bundle._make(part))
        except SpeechXAIError:
            (bundle.folder / CONFIG_FILE).unlink(missing_ok=True)
            raise
        if before is None or after is None:
            same = before is after
        else:
            # Logits of one network differ by rounding between devices.
            atol = 1e-3 * max(1.0, float(before.abs().max()))
            same = before.shape == after.shape and torch.allclose(before, after, rtol=1e-3, atol=atol)
        if not same:
            problem = (
                f"'{part}' answers otherwise than the network that was written: options, STFT, segments or the order of"
                " classes are not its own."
            )
            break
    if problem:
        (bundle.folder / CONFIG_FILE).unlink(missing_ok=True)
        raise SpeechXAIError(f"{bundle.folder}: {problem}")


def _write_settings(folder: Path, config: BundleConfig, weights: WeightsFile, card: str) -> None:
    """Write card and settings, these last: a bundle that is half written then has a hash that does not fit, and says
    so."""
    filled: dict[str, Any] = {
        **config.model_dump(mode="json", exclude_none=True),
        "format": FORMAT,
        "libraries": library_versions(),
        "weights": weights.model_dump(exclude_defaults=True),
    }
    filled["sha256"] = BundleConfig.model_validate(filled).answers_hash
    order = {name: filled[name] for name in BundleConfig.model_fields if name in filled}
    write_atomically(folder / CARD_FILE, card.encode())
    write_atomically(folder / CONFIG_FILE, to_toml(order).encode())


class EpochFile:
    """State of a training between epochs, in one file that is replaced in one step: a kill leaves the last whole one.

    Args:
        path: the file; its folder is made where it is missing.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def load(self) -> dict[str, Any] | None:
        """Return the stored state, None without a file. Raises SpeechXAIError for a file that is damaged."""
        if not self.path.exists():
            return None
        try:
            with reading(self.path) as path:
                state = torch.load(path, map_location="cpu", weights_only=True)
        except SpeechXAIError:
            raise
        except Exception as error:  # a damaged pickle has many types of them
            raise SpeechXAIError(
                f"{self.path}: this training state is damaged ({error}). Remove it to train from the start."
            ) from error
        if not isinstance(state, dict):
            raise SpeechXAIError(f"{self.path}: this is no training state. Remove it to train from the start.")
        return state

    def save(self, state: dict[str, Any]) -> None:
        """Replace the stored state. Raises SpeechXAIError where the file cannot be written."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, buffer.getvalue())
        except OSError as error:
            raise SpeechXAIError(
                f"{self.path}: cannot be written ({error.strerror}). Make room or choose another folder."
            ) from error
