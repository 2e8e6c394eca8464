"""From settings to work: which recordings, which classifier judges each, and what a finished run says of itself."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from speechxai.classifiers import Classifier, build
from speechxai.classifiers.base import device_of
from speechxai.classifiers.bundle import Bundle, load_bundle
from speechxai.classifiers.network import Compared, compared
from speechxai.classifiers.scope import compare
from speechxai.data.cards import find, places_of, root_of
from speechxai.data.corpus import load
from speechxai.data.manifest import Locator, classes_of, column_to_group_by, n_missing, validate
from speechxai.errors import SpeechXAIError, did_you_mean
from speechxai.evaluation.config import FORMAT, FREE_ON_RESUME, EvaluateConfig, is_folder
from speechxai.evaluation.machine import choices, configure, machine, versions
from speechxai.evaluation.runs import RunFolder, describe, unlike
from speechxai.evaluation.values import PROTOCOLS, EvaluateSettings, Job
from speechxai.explain.recipe import parse
from speechxai.files import check_apart, check_out, fingerprint, sha256_of, to_toml
from speechxai.metrics import applicable
from speechxai.registry import code_of
from speechxai.signal.audio import resample
from speechxai.types import Recording
from speechxai.units.tiers import OWN, Matched, Units, match, read_units, units_of


@dataclass(eq=False)
class Session:
    """A configuration with everything it names: the recordings, the bundle and the resolved settings.

    Args:
        config: what was asked for.
        settings: the same with presets resolved.
        manifest: the recordings, one row each.
        bundle: the classifier and its folds.
        voices: recordings that are made, not read, by id.
        unmatched: (path, reason) of files that may be recordings but could not be placed.
        hardware: what this process asked of it and may change results, see `machine.configure`.
        resumed: sentences about what was found where a run was continued.
        n_missing: recordings whose file is not there.
        grids: their TextGrids, where those were asked for.
    """

    config: EvaluateConfig
    settings: EvaluateSettings
    manifest: pd.DataFrame
    bundle: Bundle
    voices: Mapping[str, Recording] = field(default_factory=dict)
    unmatched: list[tuple[str, str]] = field(default_factory=list)
    hardware: Mapping[str, Any] = field(default_factory=dict)
    resumed: list[str] = field(default_factory=list)
    n_missing: int = 0
    grids: Matched | None = None

    @property
    def recordings(self) -> list[str]:
        """Ids of the work units, in order."""
        return [str(recording) for recording in self.manifest["recording"]]

    @property
    def synthetic(self) -> bool:
        """Whether the voices are synthetic."""
        return self.config.data == "synthetic"

    def load(self, recording: str) -> Job:
        """Read or look up a recording, and take the classifier that never heard its speaker.

        Raises:
            SpeechXAIError: a recording that cannot be used; the message names it.
        """
        row = self.manifest.iloc[self._positions[recording]]
        voice = self.voices.get(recording)
        if voice is None:
            voice = self.read({str(key): value for key, value in row.items()})
        fold = self.bundle.fold_of(voice)
        model = self.placed(self.bundle.classifier(fold))
        if self.classes.refused:
            voice = replace(voice, label=None)
        inside = compare(self.bundle.config.scope, voice)
        facts = {"model": self.bundle.name, "fold": "final" if fold is None else str(fold)}
        facts |= {"scope": inside.state, "scope_reason": inside.reason}
        if "sha256" in voice.metadata:
            facts["sha256"] = str(voice.metadata["sha256"])
        audio = self.bundle.config.audio
        return Job(
            voice, model, facts, normalize=audio.normalize, offset=audio.offset, units=self.units(recording, voice)
        )

    def units(self, recording: str, voice: Recording) -> Units | None:
        """Phones and words of a recording; None where they were not asked for, or nobody wrote them.

        Raises:
            SpeechXAIError: a TextGrid that cannot be used.
        """
        if self.grids is None:
            asked = self.config.textgrids
            return None if asked is None else units_of(asked, voice)
        path = self.grids.found.get(recording)
        return None if path is None else read_units(path, voice.duration_s)

    def read(self, row: Mapping[str, Any]) -> Recording:
        """Read the recording of a manifest row as the bundle's network hears audio, unless the protocol reads its own
        way."""
        settings = self.bundle.config
        reads = PROTOCOLS.facts(self.settings.protocol).get("reads", {})
        return load(
            row,
            self._locator,
            sample_rate=settings.stft.sample_rate,
            normalize=reads.get("normalize", settings.audio.normalize),
            offset=reads.get("offset", settings.audio.offset),
            channel=self.config.channel,
            max_duration_s=self.config.max_duration_s,
        )

    @property
    def root(self) -> Path:
        """Folder that the manifest's paths start from."""
        return root_of(self.config.data, self.config.root, self.manifest)

    def content_of(self, recording: str) -> str | None:
        """Hash of the file of a recording as it is now; None where there is none that can be read."""
        try:
            return sha256_of(self._locator.locate(str(self.manifest.iloc[self._positions[recording]]["path"])))
        except SpeechXAIError:
            return None

    @cached_property
    def classes(self) -> Compared:
        """How the model's answers are compared with the labels: the classes of the run."""
        return compared(classes_of(self.manifest), self.bundle.config.classes)

    @property
    def unscored(self) -> str:
        """Why no answer is compared with a label that is there, a sentence; "" where it is."""
        if self.bundle.config.unit:
            return ""
        return self.classes.refused if self.manifest["label"].notna().any() else ""

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {recording: position for position, recording in enumerate(self.recordings)}

    @cached_property
    def _locator(self) -> Locator:
        return Locator(self.root)

    def placed(self, model: Classifier) -> Classifier:
        """Move a classifier to the device of the configuration, bound its batches, and put its classes into the order
        of the run."""
        if self.config.max_batch is not None:
            model.max_batch = self.config.max_batch
            model.one_at_a_time = False
        return model.to(device_of(self.config.device)).eval().reordered(self.classes.names, self.classes.order)


def prepare(config: EvaluateConfig, manifest: pd.DataFrame | None = None, bundle: Bundle | None = None) -> Session:
    """Resolve everything a configuration names, before anything is computed.

    Args:
        config: what is asked for.
        manifest: the recordings, where a run that is continued knows them already.
        bundle: the classifier, where it is loaded already.

    Raises:
        SpeechXAIError: a recipe, metric, model, device or data set that is not there, or none of its files is.
    """
    settings = config.settings()
    hardware = configure(device_of(config.device), threads=config.threads, deterministic=config.deterministic)
    if bundle is None:
        bundle = bundle_of(config)
    if not config.deterministic and device_of(config.device).type == "cpu":
        config, settings = _at_its_fastest(config, settings, bundle, hardware, new=manifest is None)
    settings, hardware = _of_what_it_gives(settings, bundle, hardware)
    check = PROTOCOLS.facts(settings.protocol).get("check")
    if check is not None:
        check(bundle, config)
    voices: dict[str, Recording] = {}
    unmatched: list[tuple[str, str]] = []
    if config.data == "synthetic":
        rate = bundle.config.stft.sample_rate
        voices = {voice.id: resampled(voice, rate) for voice in synthetic_voices(config)}
    new = manifest is None and not voices
    if manifest is None and voices:
        manifest = chosen(manifest_of(list(voices.values())), config)
    elif manifest is None:
        found, unmatched = find_recordings(config)
        manifest = chosen(found, config)
    for name in config.by:
        column_to_group_by(manifest, name)
    session = Session(config, settings, manifest, bundle, voices, unmatched, hardware)
    if session.classes.refused and PROTOCOLS.facts(settings.protocol).get("disease"):
        said = session.classes.refused.partition(":")[0]
        raise SpeechXAIError(
            f"{bundle.name}: {said}, and the protocol '{settings.protocol}' must know which of them is the disease."
            " Name the model's outputs as the data do (id2label, class_names or 'classes')."
        )
    if config.textgrids is not None and config.textgrids not in OWN:
        session.grids = match(config.textgrids, dict(zip(session.recordings, _named(manifest), strict=True)))
    if new:
        session.n_missing = n_missing(map(str, manifest["path"]), Locator(session.root))
    return session


def _named(manifest: pd.DataFrame) -> list[str]:
    """What the TextGrid of each recording is named as: its file, or its id where it is made."""
    return [str(r) if p == "(made)" else str(p) for r, p in zip(manifest["recording"], manifest["path"], strict=True)]


def _of_what_it_gives(
    settings: EvaluateSettings, bundle: Bundle, hardware: dict[str, Any]
) -> tuple[EvaluateSettings, dict[str, Any]]:
    """Leave out the metrics that mean nothing for a network that gives a score, and note them in `hardware`.

    Raises:
        SpeechXAIError: none is left, or a protocol of classes.
    """
    if not bundle.config.unit:
        return settings, hardware
    if settings.protocol != "standard":
        raise SpeechXAIError(
            f"{bundle.name}: gives {bundle.config.classes[0]} in {bundle.config.unit} and no class, and the protocol"
            f" '{settings.protocol}' asks for classes."
        )
    kept, refused = applicable(settings.metrics, bundle.classifier())
    if not kept:
        raise SpeechXAIError(f"{bundle.name}: no metric is left: {next(iter(refused.values()))}.")
    return replace(settings, metrics=tuple(kept)), {**hardware, "metrics_not_applicable": refused}


def _at_its_fastest(
    config: EvaluateConfig, settings: EvaluateSettings, bundle: Bundle, hardware: dict[str, Any], *, new: bool
) -> tuple[EvaluateConfig, EvaluateSettings]:
    """Take what `machine.choices` found to be fastest, and note it in `hardware`. A new run in a precision that is
    slower than float32 here is one in float32, unless forced: its folder says so to workers and to who continues it."""
    found = choices(bundle.classifier(), config.precision)
    torch.set_float32_matmul_precision(found.float32_products)
    hardware |= {"float32_products": found.float32_products, "masked_batch": found.masked_batch, "gains": found.gains}
    if config.max_batch is None:
        settings = replace(settings, masked_batch=found.masked_batch)
    if new and not config.force_precision and found.gains.get(config.precision, 1.0) < 1.0:
        hardware["precision_asked"] = config.precision
        config = config.model_copy(update={"precision": "float32"})
        settings = replace(settings, precision="float32")
    return config, settings


MODEL = "ssl4pr"
"""Folder inside a run: the bundle made of the checkpoints of its folds."""


def splits_folder(config: EvaluateConfig) -> Path:
    """Folder below which the published TRAIN_TEST_<k> are. Raises SpeechXAIError where neither splits nor root are
    given."""
    folder = config.published.splits or config.root
    if folder is None:
        raise SpeechXAIError("Checkpoints of folds need the folder of their splits: give --root, or published.splits.")
    return folder


def bundle_of(config: EvaluateConfig) -> Bundle:
    """Load the model; a folder of SSL4PR's fold_<k>.pt is imported once, into `out`/model.

    Raises:
        SpeechXAIError: a model that is not there, checkpoints without `out`, or splits of other folds.
    """
    path = Path(config.model)
    if (path / "config.toml").is_file() or not any(path.glob("fold_*.pt")):
        return load_bundle(config.model, config.allow_code)
    if config.out is None:
        raise SpeechXAIError(
            f"{path}: these checkpoints become a bundle inside the run's folder: give --out, or import them with"
            " 'speechxai import'."
        )
    from speechxai.classifiers.imports import import_folds

    made = config.out / MODEL
    if (made / "config.toml").is_file():
        return load_bundle(made)
    return import_folds(path, made, splits_folder(config))


def find_recordings(config: EvaluateConfig) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """Find the recordings that a card, a manifest or a folder names, and (path, reason) of files that could not be
    placed.

    Raises:
        SpeechXAIError: nothing there, or the root is missing.
    """
    recordings = PROTOCOLS.facts(config.protocol).get("recordings")
    own = recordings(config) if recordings is not None else None
    if own is not None:
        return own  # type: ignore[no-any-return]
    return find(config.data, config.root, config.labels)


def chosen(manifest: pd.DataFrame, config: EvaluateConfig) -> pd.DataFrame:
    """Take the tasks asked for and at most `limit` recordings, the classes in turn.

    Raises:
        SpeechXAIError: nothing is left.
    """
    found = manifest
    if config.tasks:
        unknown = [task for task in config.tasks if task not in set(found["task"])]
        if unknown and set(found["task"]) == {"unknown"}:
            raise SpeechXAIError(
                f"Task '{unknown[0]}': these data name no tasks. Leave --tasks away, or give them a column 'task'."
            )
        if unknown:
            raise SpeechXAIError(did_you_mean(unknown[0], sorted(set(found["task"])), "task"))
        found = found[found["task"].isin(config.tasks)]
    if config.limit is not None:
        # First recordings of all speakers before second ones, and the classes in turn.
        of_speaker = found.groupby("speaker").cumcount()
        turn = (
            found.assign(label=found["label"].fillna(-1), of_speaker=of_speaker)
            .groupby(["label", "of_speaker"])
            .cumcount()
        )
        order = np.lexsort((np.arange(len(found)), turn.to_numpy(), of_speaker.to_numpy()))
        found = found.iloc[np.sort(order[: config.limit])]
    if found.empty:
        raise SpeechXAIError(f"{config.root or config.data}: no recordings found. 'speechxai data check' says why.")
    return found.reset_index(drop=True)


def synthetic_voices(config: EvaluateConfig) -> list[Recording]:
    """Make the synthetic corpus: the same voices for the same seed, and none that `synthetic-cnn` was trained on."""
    from speechxai.data.synthetic import corpus

    return corpus(config.synthetic_speakers, config.seed + 1_000)


def resampled(voice: Recording, sample_rate: int) -> Recording:
    """Bring a recording to the sample rate that a network hears."""
    waveform = torch.from_numpy(resample(voice.waveform.numpy(), voice.sample_rate, sample_rate))
    return replace(voice, waveform=waveform, sample_rate=sample_rate)


def manifest_of(voices: list[Recording]) -> pd.DataFrame:
    """Write the manifest of recordings that are in memory; their path is "(made)"."""
    rows = [
        {
            "recording": v.id,
            "path": "(made)",
            "speaker": v.speaker,
            "label": v.label,
            "task": v.task,
            "dataset": "synthetic",
        }
        for v in voices
    ]
    return validate(pd.DataFrame(rows))


def check_run(config: EvaluateConfig, overwrite: bool = False) -> None:
    """Check, before anything is read, that a new run can be made where it is asked for.

    Raises:
        SpeechXAIError: no `out`, a folder that holds a run (unless `overwrite`) or recordings, or cannot be written.
    """
    if config.out is None:
        raise SpeechXAIError("The run needs a folder: give --out, for example --out runs/first.")
    check_out(config.out)
    to_toml(config.portable())  # a name that no file can keep
    if config.data != "synthetic":
        check_apart(config.out, places_of(config.data, config.root))
    RunFolder.check_new(config.out, overwrite)


def create_run(session: Session, overwrite: bool = False) -> RunFolder:
    """Make the run folder of a session.

    Raises:
        SpeechXAIError: no `out`, a folder that holds a run (unless `overwrite`) or recordings, or cannot be written.
    """
    check_run(session.config, overwrite)
    assert session.config.out is not None
    if not session.synthetic:
        files = (session.root / path for path in session.manifest["path"])
        check_apart(session.config.out, places_of(session.config.data, session.config.root, files))
    environment = describe_environment(session)
    if overwrite:
        RunFolder.remove(session.config.out)
    return RunFolder.create(session.config.out, stored(session), session.manifest, environment)


def stored(session: Session) -> dict[str, Any]:
    """The settings as a run's folder keeps them: paths are absolute, and the recordings' folder is always named."""
    content = session.config.portable()
    return content if session.synthetic else {**content, "root": os.path.abspath(session.root)}


def basis_of(session: Session) -> dict[str, Any]:
    """What every number of a session depends on, whichever recording it is of, as plain values.

    `settings`: recipes and metrics with presets resolved, seed, options and so on; `model`: its weights and how they
    are used; `versions`: program and libraries.
    """
    config, bundle = session.config.to_dict(), session.bundle.config
    # What chooses the recordings changes none of them; a model is its weights, not its name.
    elsewhere = ("data", "limit", "tasks", "synthetic_speakers", "model", "controls", "auxiliary", "published")
    settings = {key: value for key, value in config.items() if key not in (*FREE_ON_RESUME, *elsewhere)}
    if settings["agreement"]:  # the rule, which older runs do not state
        del settings["agreement"]
    if not settings["signs"]:
        del settings["signs"]
    if session.grids is not None:  # what they say, wherever they lie
        settings["textgrids"] = fingerprint({name: sha256_of(path) for name, path in session.grids.found.items()})
    settings |= {
        "recipes": list(session.settings.recipes),
        "metrics": list(session.settings.metrics),
        "device": device_of(session.config.device).type,
    }
    if session.settings.protocol != "standard":
        asked = config["published"]
        settings["published"] = {key: value for key, value in asked.items() if key not in ("splits", "corrected")}
    more = ["quantus"] if any(name.startswith("quantus:") for name in session.settings.metrics) else []
    more += ["torchaudio", "transformers"] if bundle.architecture != "cnn" else []
    model = {"weights": bundle.weights.sha256, "use": session.bundle.use}
    path = session.bundle.folder / "interpreter" / "config.toml"
    if path.is_file() and any("lmac" in parse(recipe).methods for recipe in session.settings.recipes):
        model["interpreter"] = sha256_of(path)  # which holds the hashes of its weights
    return {
        "settings": settings,
        "model": model,
        "versions": {**versions(more), **code_of(session.config.imports), **session.bundle.code},
    }


def check_basis(session: Session, folder: RunFolder) -> None:
    """Check, before a worker computes, that a run's other units were computed as this process would.

    Raises:
        SpeechXAIError: other settings, another model or other versions; the message names the first.
    """
    basis = basis_of(session)
    if fingerprint(basis) != folder.basis:
        raise SpeechXAIError(
            f"{folder.path}: the worker on {socket.gethostname()} would compute it in another way:"
            f" {unlike(folder.environment.get('basis') or {}, basis)}. All workers need the same."
        )


def resume(session: Session, folder: RunFolder, overwrite: bool = False) -> None:
    """Check that a run can be continued, and throw away those of its units that do not fit: damaged, of another run, of
    a recording whose file has been replaced, without their maps. What is found stands in `session.resumed`.

    Args:
        session: what would be computed.
        folder: what has been.
        overwrite: whether units that were computed with other settings, another model or other versions are computed
            anew, instead of an error.

    Raises:
        SpeechXAIError: units that were computed in another way, or recordings at another place that are not the run's.
    """
    moved = _moved(session, folder)
    if moved:
        _compare_all(session, folder)
    basis = basis_of(session)
    folder.agree_on(basis, lambda: {**describe_environment(session), "unmatched": _unmatched(folder)}, overwrite)
    if moved or folder.format < FORMAT or overwrite:
        content = {**stored(session), "out": str(folder.path.resolve())}
        if moved and is_folder(content["data"]):
            content["data"] = content["root"]  # a folder of recordings is its own root
        folder.configure(content)
    counts = folder.drop_misfits()
    replaced, n_gone = _compare_done(session, folder)
    folder.drop(replaced)
    if replaced:
        counts["whose recording has been replaced"] = len(replaced)
    if moved:
        session.resumed.append(f"The recordings are read from {moved} now; their content is the same.")
    if counts:
        what = ", ".join(f"{number} {reason}" for reason, number in counts.items())
        session.resumed.append(
            f"{sum(counts.values())} of {len(session.recordings)} units do not fit and are computed again: {what}."
        )
    if n_gone:
        session.resumed.append(
            f"{n_gone} recordings are not below {session.root} any more; their scores are kept. --root NEW says where"
            " they are."
        )


def _unmatched(folder: RunFolder) -> list[Any]:
    try:
        found = folder.environment.get("unmatched", [])
    except SpeechXAIError:  # damaged: who could not be placed is not known any more
        return []
    return list(found)


def _moved(session: Session, folder: RunFolder) -> Path | None:
    """Where the recordings are now, where a run that is continued looked for them at another place before."""
    if session.synthetic:
        return None
    then = folder.config.get("root") or root_of(str(folder.config.get("data")), None, session.manifest)
    return None if os.path.abspath(then) == os.path.abspath(session.root) else session.root


def _compare_all(session: Session, folder: RunFolder) -> None:
    """Check the content of every recording at its new place.

    Raises:
        SpeechXAIError: some are others, or none is there.
    """
    missing, others = [], []
    for row in session.manifest.to_dict("records"):
        recording = str(row["recording"])
        stated = folder.content_of(recording) or str(row.get("sha256"))
        found = session.content_of(recording)
        if found is None:
            missing.append(recording)
        elif len(stated) == 64 and found != stated:
            others.append(recording)
    n = len(session.recordings)
    if others or len(missing) == n:
        first = (others or missing)[0]
        raise SpeechXAIError(
            f"{session.root}: these are not the recordings of {folder.path}: of {n}, {len(others)} have another content"
            f" and {len(missing)} are missing; the first is {first}."
        )


def _compare_done(session: Session, folder: RunFolder) -> tuple[list[str], int]:
    """Recordings whose file has been replaced since it was scored, and how many are not there any more."""
    replaced, n_gone = [], 0
    for unit in folder.units() if not session.synthetic else ():
        stated = str(unit.facts.get("sha256", ""))
        found = session.content_of(unit.recording)
        if found is None:
            n_gone += 1
        elif stated and found != stated:
            replaced.append(unit.recording)
    return replaced, n_gone


def describe_environment(session: Session) -> dict[str, Any]:
    """Versions, machine and what the run consists of, for `environment.json`."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        **machine(),
        "basis": basis_of(session),
        "device": str(device_of(session.config.device)),
        "precision": session.settings.precision,
        **session.hardware,
        "synthetic": session.synthetic,
        "model": {
            "name": session.bundle.name,
            "title": session.bundle.config.title,
            "sha256": session.bundle.config.weights.sha256,
            "classes": list(session.classes.names),
            **({"unit": session.bundle.config.unit} if session.bundle.config.unit else {}),
            "probability": session.bundle.probability_words,
            "concerns": session.bundle.concerns(),
            "card": session.bundle.card,
        },
        "unscored": session.unscored,
        "unmatched": session.unmatched,
        "recipes": list(session.settings.recipes),
        "metrics": list(session.settings.metrics),
        "facts": describe(session.settings.recipes, session.settings.metrics),
    }


DEFAULT_DURATION_S = 5.0


@dataclass(frozen=True)
class Plan:
    """Numbers of an evaluation before it runs; passes are those of one recording of `duration_s`."""

    n_recordings: int
    n_speakers: int
    classes: str
    duration_s: float
    n_forward: float
    n_backward: float
    maps_mb: float
    not_applicable: dict[str, str]


def plan(session: Session) -> Plan:
    """Count what an evaluation will cost: every recipe and metric once on noise, through a CNN of a few weights.

    The counts are exact for that network; another one may refuse methods. They do not depend on what is heard, and only
    occlusion's depend on how long.
    """
    manifest, classes = session.manifest, session.classes.names
    stft = session.bundle.config.stft_config()
    duration_s = _duration_s(session)
    backbone = build("cnn", stft, n_mels=16, channels=[2, 2], n_classes=len(classes))
    stand_in = Classifier(backbone, stft, session.bundle.config.segment_config(), classes, "features").eval()
    noise = torch.randn(round(duration_s * stft.sample_rate), generator=torch.Generator().manual_seed(0)) * 0.1
    result = PROTOCOLS[session.settings.protocol](
        Job(Recording(noise, stft.sample_rate, "noise", "noise/noise"), stand_in),
        replace(session.settings, keep_maps=True),
        [],
    )
    labeled = [f"{int((manifest['label'] == i).sum())} {name}" for i, name in enumerate(classes_of(manifest))]
    n_bytes = sum(values.nbytes for values in result.maps.values())
    return Plan(
        n_recordings=len(manifest),
        n_speakers=int(manifest["speaker"].nunique()),
        classes=", ".join(labeled),
        duration_s=duration_s,
        n_forward=float(result.facts["n_forward"]),
        n_backward=float(result.facts["n_backward"]),
        maps_mb=n_bytes * len(manifest) / 2**20,
        not_applicable=result.not_applicable,
    )


def _duration_s(session: Session) -> float:
    """Length of the first recording that can be read."""
    from speechxai.signal.audio import probe

    for row in session.manifest.head(5).to_dict("records"):
        voice = session.voices.get(str(row["recording"]))
        if voice is not None:
            return voice.duration_s
        with suppress(Exception):  # the run itself says what is wrong with this one
            path = root_of(session.config.data, session.config.root, session.manifest) / str(row["path"])
            return min(30.0, max(0.2, float(probe(path).duration_s)))
    return DEFAULT_DURATION_S
