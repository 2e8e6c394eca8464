"""The folder of an auxiliary study: one file a fit, written in one step; tables, sentences and report are rebuilt from
them."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import torch
from torch import Tensor

from speechxai.auxiliary.study import band_names, study, units
from speechxai.auxiliary.tables import arms, coefficients, leak, sentences, table
from speechxai.auxiliary.values import AuxiliarySettings, Fit, Material, Unit
from speechxai.data.manifest import classes_of
from speechxai.errors import SpeechXAIError, named
from speechxai.evaluation.config import EvaluateConfig, from_dict
from speechxai.evaluation.machine import machine, peak_memory_mb, versions
from speechxai.evaluation.runs import NOT_THERE, RunFolder, hash_of, unit_name, unlike
from speechxai.evaluation.session import Session, prepare
from speechxai.evaluation.values import PROTOCOLS
from speechxai.explain.combination import COMBINATIONS, evidence
from speechxai.explain.recipe import CONTROLS, Recipe, parse
from speechxai.files import (
    csv_table,
    fingerprint,
    hold,
    known_format,
    naming_folder,
    parquet,
    read_bytes,
    read_csv,
    read_json,
    read_parquet,
    read_sealed,
    read_toml,
    sealed,
    sha256_of,
    to_toml,
    write_atomically,
)
from speechxai.report.render import Finding
from speechxai.signal.acoustics import segments_by_voicing
from speechxai.signal.stft import spectrogram, waveform
from speechxai.types import Array

if TYPE_CHECKING:
    import pandas as pd


# The material of an auxiliary study, read from a run: its recordings, its stored maps, and who may not be trusted among
# them.
Progress = Callable[[int, int, str], None]

CACHE_BYTES = 2**30
"""Spectrograms are kept in memory up to this size; beyond it they are read again for every row of the table."""


@dataclass(frozen=True, eq=False)
class Source:
    """What a run gives to a study.

    Args:
        material: recordings that have every map.
        left_out: reason by recording for those that were left out.
        held_out: by recording, whether its maps come from a network that never heard the speaker: True, False, or None
            where nobody can say.
        fingerprint: changes when the run's units change, or their maps.
    """

    material: Material
    left_out: Mapping[str, str]
    held_out: Mapping[str, bool | None]
    fingerprint: str

    def facts(self) -> dict[str, Any]:
        """Counts that the study's sentences and tables state."""
        manifest = self.material.manifest
        return {
            "n_recordings": len(manifest),
            "n_speakers": int(manifest["speaker"].nunique()),
            "classes": {
                name: int((manifest["label"] == index).sum()) for index, name in enumerate(classes_of(manifest))
            },
            "left_out": dict(self.left_out),
            "not_held_out": sum(value is False for value in self.held_out.values()),
            "unknown_held_out": sum(value is None for value in self.held_out.values()),
            "fingerprint": self.fingerprint,
        }


def chosen_recipes(folder: RunFolder, asked: tuple[str, ...]) -> tuple[str, ...]:
    """Resolve "methods" (single methods of the run, the default) and "all" (its combinations too), without floors;
    names stay.

    Raises:
        SpeechXAIError: a recipe that the run does not have, or none at all.
    """
    present = [str(parse(recipe)) for recipe in folder.environment.get("recipes", [])]
    explanations = [recipe for recipe in present if recipe not in CONTROLS]
    found: list[str] = []
    for text in asked or ("methods",):
        if text == "all":
            found += explanations
        elif text == "methods":
            found += [recipe for recipe in explanations if not parse(recipe).parts]
        elif str(parse(text)) in present:
            found.append(str(parse(text)))
        else:
            raise SpeechXAIError(
                f"{folder.path}: the run has no maps of '{text}'. It has: {', '.join(present) or 'none'}."
            )
    chosen = tuple(dict.fromkeys(found))
    if not chosen:
        raise SpeechXAIError(f"{folder.path}: the run has no explanations to study.")
    return chosen


def read_source(folder: RunFolder, recipes: tuple[str, ...], progress: Progress | None = None) -> Source:
    """Read the recordings of a run and find their maps.

    Args:
        folder: a run made with `--maps`; not needed where no recipe is asked for.
        recipes: whose maps are needed.
        progress: called after every recording that is read.

    Raises:
        SpeechXAIError: a run without maps, or with too few labeled recordings that have them.
    """
    config = from_dict(folder.config, str(folder.path / "config.toml"))
    if recipes and not (folder.path / "maps.zarr").is_dir():
        raise SpeechXAIError(
            f"{folder.path}: the run kept no maps. Evaluate with --maps, or study the spectrograms alone with --input"
            " original."
        )
    session = prepare(config, folder.manifest)
    rows, left_out, loaded = [], {}, []
    records = folder.manifest.to_dict("records")
    contents = {unit.recording: str(unit.facts.get("sha256", "")) for unit in folder.units()}
    for number, row in enumerate(records, start=1):
        recording = str(row["recording"])
        reason = _why_not(folder, row, recipes, set(contents))  # type: ignore[arg-type]
        if reason is None:
            try:
                loaded.append(_loaded(session, row, contents[recording]))  # type: ignore[arg-type]
                rows.append(row)
            except Exception as error:
                reason = str(named(error, recording))
        if reason is not None:
            left_out[recording] = reason
        if progress is not None:
            progress(number, len(records), "reading recordings")
    if not rows:
        first = next(iter(left_out.values()), "it has no recordings")
        raise SpeechXAIError(f"{folder.path}: no recording can be used: {first}")
    manifest = folder.manifest[~folder.manifest["recording"].astype(str).isin(left_out)].reset_index(drop=True)
    names = [str(name) for name in manifest["recording"]]
    material = Material(
        manifest,
        session.bundle.config.stft_config(),
        _magnitudes(session, manifest, loaded),
        lambda recipe, i: _evidence(folder, config, parse(recipe), names[i]),
        lambda i: loaded[i].voicing,
        tuple(one.n_frames for one in loaded),
        _answers(folder, classes_of(manifest), names) if recipes else None,
    )
    return Source(material, left_out, _held_out(folder, session, manifest), _fingerprint(folder, names))


def _answers(folder: RunFolder, classes: Sequence[str], recordings: Sequence[str]) -> Array:
    """What the run's classifier said: (R,) probability of the second of two classes, of more (R, C).

    Raises:
        SpeechXAIError: a unit that does not say it.
    """
    facts = {unit.recording: unit.facts for unit in folder.units()}
    for name in recordings:
        lacking = [label for label in classes if f"p_{label}" not in facts[name]]
        if lacking:
            raise SpeechXAIError(
                f"{folder.path}: the scores of '{name}' do not say P({lacking[0]}), and its maps are held against it."
                " Compute them again with 'speechxai evaluate --resume'."
            )
    said = np.array([[float(facts[name][f"p_{label}"]) for label in classes] for name in recordings], dtype=float)
    return said[:, 1] if len(classes) == 2 else said


@dataclass(eq=False)
class _Loaded:
    n_frames: int
    voicing: Array
    magnitude: Tensor | None


def _why_not(folder: RunFolder, row: dict[str, Any], recipes: tuple[str, ...], done: set[str]) -> str | None:
    import pandas as pd

    recording = str(row["recording"])
    if recording not in done:
        return "it has no scores in the run"
    if pd.isna(row["label"]):
        return "it has no label"
    stored = folder.path / "maps.zarr" / unit_name(recording)
    missing = [recipe for recipe in recipes if not _is_there(stored, parse(recipe))]
    return f"it has no map of '{missing[0]}'" if missing else None


def _is_there(stored: Path, recipe: Recipe) -> bool:
    """Whether a map is stored, or the maps that it is combined of (the published protocol keeps single methods
    only)."""
    return (stored / str(recipe)).is_dir() or (bool(recipe.parts) and all(_is_there(stored, p) for p in recipe.parts))


def _heard(session: Session, row: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Waveform (N,) and magnitude (F, T) of a recording as the run explained it: a protocol may hear it in its own
    way."""
    voice = session.voices.get(str(row["recording"])) or session.read(row)
    stft = session.bundle.config.stft_config()
    hears = PROTOCOLS.facts(session.settings.protocol).get("hears")
    if hears is None:
        return voice.waveform, spectrogram(voice.waveform[None], stft).magnitude[0]
    spec = hears(voice, stft, session.settings)
    return waveform(spec)[0], spec.magnitude[0]


def _loaded(session: Session, row: dict[str, Any], content: str) -> _Loaded:
    if content and not session.synthetic and session.content_of(str(row["recording"])) not in (content, None):
        raise SpeechXAIError(
            f"{row['recording']}: its file has been replaced since the run explained it: 'speechxai evaluate --resume'"
            " computes it again."
        )
    stft = session.bundle.config.stft_config()
    samples, magnitude = _heard(session, row)
    n_frames = magnitude.shape[-1]
    voicing = segments_by_voicing(samples, stft.sample_rate, n_frames, stft.hop_length)
    return _Loaded(n_frames, voicing, magnitude)


def _magnitudes(session: Session, manifest: pd.DataFrame, loaded: list[_Loaded]) -> Callable[[int], Tensor]:
    """Spectrograms by number, from memory as far as CACHE_BYTES reach."""
    stft = session.bundle.config.stft_config()
    total = 0
    for one in loaded:
        total += 4 * stft.n_bins * one.n_frames
        if total > CACHE_BYTES:
            one.magnitude = None
    records = manifest.to_dict("records")

    def magnitude(i: int) -> Tensor:
        kept = loaded[i].magnitude
        return _heard(session, records[i])[1] if kept is None else kept  # type: ignore[arg-type]

    return magnitude


def _evidence(folder: RunFolder, config: EvaluateConfig, recipe: Recipe, recording: str) -> Tensor:
    """Evidence (F, T) as the run's metrics read it: positive for signed maps unless the run says otherwise."""
    if recipe.parts and not (folder.path / "maps.zarr" / unit_name(recording) / str(recipe)).is_dir():
        parts = torch.stack([_evidence(folder, config, part, recording)[None] for part in recipe.parts])
        return evidence(COMBINATIONS[recipe.name](parts))[0]
    values = torch.from_numpy(folder.maps(recording, str(recipe)).astype("float32"))
    if not torch.isfinite(values).all():
        raise SpeechXAIError(
            f"{folder.path}: the stored map of '{recipe}' for '{recording}' has NaN or infinite values."
        )
    usual = "positive" if recipe.signed else "absolute"
    asked = usual if config.evidence == "auto" else config.evidence
    return evidence(values[None], PROTOCOLS.facts(config.protocol).get("evidence", asked))[0]


def _held_out(folder: RunFolder, session: Session, manifest: pd.DataFrame) -> dict[str, bool | None]:
    """Compare the fold that explained each recording with the one whose network never heard its speaker."""
    bundle = session.bundle.config
    same_model = folder.environment.get("model", {}).get("sha256") == bundle.weights.sha256
    explained = {unit.recording: str(unit.facts.get("fold", "")) for unit in folder.units()}
    found: dict[str, bool | None] = {}
    for row in manifest.to_dict("records"):
        recording = str(row["recording"])
        if not same_model or not explained.get(recording):
            found[recording] = None
            continue
        fold = bundle.files.get(str(row.get("sha256")), bundle.speakers.get(str(row["speaker"])))
        # A speaker whom no model heard may be explained by any of them.
        found[recording] = fold is None or explained[recording] == str(fold)
    return found


def _fingerprint(folder: RunFolder, recordings: list[str]) -> str:
    return fingerprint([read_json(folder.path / "units" / f"{unit_name(name)}.json") for name in recordings])


# The folder of an auxiliary study: one file a fit, written in one step; tables, sentences and report are rebuilt from
# them.
FORMAT = 2
"""Version of a study's layout, the key `format` of its `study.toml`. 1, which older ones do not state, had fits that do
not say what they depend on."""

FOLDER = "auxiliary"
"""Studies of a run stand in this folder of it, one folder a study."""


class StudyFolder:
    """One auxiliary study on disk; serves as the store of `auxiliary.study`. Several processes may work on it at the
    same time.

    Args:
        path: an existing study; use `begin` for a new one.

    Raises:
        SpeechXAIError: no study there, or one that cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not (self.path / "study.toml").exists():
            raise SpeechXAIError(f"{self.path}: not an auxiliary study (no study.toml in it).")
        content = read_toml(self.path / "study.toml")
        self.format = known_format(content.pop("format", None), FORMAT, f"{self.path}: this study")
        try:
            self.settings = AuxiliarySettings.from_dict(content)
        except (TypeError, ValueError) as error:
            raise SpeechXAIError(f"{self.path / 'study.toml'}: {' '.join(str(error).split())}") from error

    def _read(self, path: Path, kind: str) -> dict[str, Any] | None:
        return read_sealed(path, kind) if self.format >= FORMAT else read_json(path)

    @property
    def facts(self) -> dict[str, Any]:
        """What the study stands on: counts of recordings and speakers, who was left out, the run's fingerprint.

        Raises:
            SpeechXAIError: that is not known any more.
        """
        path = self.path / "facts.json"
        content = self._read(path, "study")
        if content is None:
            raise SpeechXAIError(f"{path}: missing or damaged. Train the study anew with --again.")
        return content

    @property
    def basis(self) -> str:
        """Hash of what every fit depends on: settings, the run's maps, program and libraries."""
        return fingerprint(self.facts.get("basis"))

    @property
    def manifest(self) -> pd.DataFrame:
        """The recordings, one row each, numbered from 0."""
        path = self.path / "recordings.parquet"
        stated = self.facts.get("recordings")
        if stated is not None and stated != hash_of(read_bytes(path)):
            raise SpeechXAIError(f"{path}: damaged. Train the study anew with --again.")
        return read_parquet(path)

    @property
    def class_counts(self) -> dict[str, int]:
        """Recordings by the name of their class, the control first."""
        facts = self.facts  # of older studies HC and PD alone
        return dict(facts.get("classes") or {"HC": facts.get("n_hc", 0), "PD": facts.get("n_pd", 0)})

    @property
    def odds_of(self) -> str:
        """What the readable model's coefficients speak for, in words."""
        others = list(self.class_counts)[1:]
        return others[0] if len(others) == 1 else "each class against all others"

    @property
    def sentences(self) -> list[Finding]:
        """What the numbers support. Empty while the study is not finished."""
        content = self._read(self.path / "sentences.json", "sentences") or {}
        return [Finding(**one) for one in content.get("sentences", [])]

    def table(self, name: str) -> pd.DataFrame:
        """Read back "table", "leak", "coefficients" or "curves". Raises SpeechXAIError where the study is not finished
        or the table is damaged."""
        path = self.path / f"{name}.csv"
        if not path.exists():
            raise SpeechXAIError(f"{path}: missing. The study is not finished: run the same command again.")
        stated = (self._read(self.path / "sentences.json", "sentences") or {}).get("tables", {}).get(path.name)
        if self.format >= FORMAT and stated != hash_of(read_bytes(path)):
            raise SpeechXAIError(f"{path}: damaged. The same command writes it again.")
        found = read_csv(path)
        if name == "coefficients" and "class" not in found.columns:  # of older studies
            found = found.assign(**{"class": list(self.class_counts)[1]})
        return found

    # ---- store of the study

    def _file(self, unit: Unit, suffix: str = ".json") -> Path:
        return self.path / "units" / f"{unit.key}{suffix}"

    def judge(self, unit: Unit) -> tuple[Fit | None, str]:
        """Give a fit, or None and what does not fit about its file; NOT_THERE where there is none."""
        path = self._file(unit)
        content = self._read(path, "fit")
        if content is None:
            return None, "damaged" if os.path.lexists(path) else NOT_THERE
        if self.format >= FORMAT:
            if content.pop("format", None) != FORMAT:
                return None, "of another format"
            if content.pop("basis", None) != self.basis:
                return None, "of other settings, other maps or other versions"
        try:
            fit = Fit.from_dict(content)
        except (KeyError, TypeError, ValueError):
            return None, "damaged"
        return (fit, NOT_THERE) if fit.unit == unit else (None, "of another place in the study")

    def is_done(self, unit: Unit) -> bool:
        """Whether a unit's fit is there; a file that does not fit counts as not done."""
        return self.judge(unit)[0] is not None

    def misfits(self) -> Counter[str]:
        """How many fits are to be trained again, by what is wrong with them."""
        return Counter(reason for _, reason in map(self.judge, units(self.settings)) if reason != NOT_THERE)

    @contextmanager
    def claim(self, unit: Unit) -> Iterator[bool]:
        """Hold a unit for this process: True when it is ours and not done yet."""
        with ExitStack() as stack:
            with naming_folder(self.path, "write"):
                ours = stack.enter_context(hold(self._file(unit, ".lock")))
            yield ours and not self.is_done(unit)

    def write(self, fit: Fit) -> None:
        """Store a fit: its weights first, its file last, because the file says that it is done."""
        with naming_folder(self.path, "write"):
            if self.settings.checkpoints and fit.weights:
                from safetensors.torch import save

                content = save({name: value.contiguous() for name, value in fit.weights.items()})
                write_atomically(self.path / "checkpoints" / f"{fit.unit.key}.safetensors", content)
            depends = {"format": FORMAT, "basis": self.basis}
            write_atomically(self._file(fit.unit), sealed({**depends, **fit.to_dict()}, "fit"))

    def fits(self) -> Iterator[Fit]:
        """Finished fits in the plan's order, without their weights."""
        for unit in units(self.settings):
            fit = self.judge(unit)[0]
            if fit is not None:
                yield fit

    def n_done(self) -> tuple[int, int]:
        """Fits that are there, and fits in all."""
        plan = units(self.settings)
        return sum(self.is_done(unit) for unit in plan), len(plan)


def study_path(run: RunFolder, settings: AuxiliarySettings, name: str | None = None) -> Path:
    """Where a study of a run stands: `RUN/auxiliary/<input>-<architecture>`, or under another name."""
    return run.path / FOLDER / (name or f"{settings.input}-{settings.architecture}")


def begin(path: Path, settings: AuxiliarySettings, source: Source, again: bool = False) -> StudyFolder:
    """Open the study at `path` to continue it, or make it.

    Args:
        path: the study's folder.
        settings: what is asked for.
        source: recordings and maps.
        again: throw away what is there.

    Raises:
        SpeechXAIError: a study with other settings or of other maps is there, or the folder cannot be written.
    """
    empty = not any((path / "units").glob("*.json"))  # nothing is lost with a study that has no fit
    if (again or empty) and (path / "study.toml").exists():
        with naming_folder(path, "throw away the old study"):
            shutil.rmtree(path)
    if not (path / "study.toml").exists():
        with naming_folder(path, "create the study"):
            for part in ("units", "checkpoints", "sessions"):
                (path / part).mkdir(parents=True, exist_ok=True)
            content = parquet(source.material.manifest)
            write_atomically(path / "recordings.parquet", content)
            facts = {
                **source.facts(),
                "cells": list(band_names(source.material.stft)),
                "recordings": hash_of(content),
                "basis": basis_of(settings, source),
            }
            write_atomically(path / "facts.json", sealed(facts, "study"))
            write_atomically(path / "study.toml", to_toml({"format": FORMAT, **settings.to_dict()}).encode())
        return StudyFolder(path)
    folder = StudyFolder(path)
    stored, asked = folder.settings.to_dict(), settings.to_dict()
    differing = next((name for name in asked if stored[name] != asked[name]), None)
    if differing is not None:
        raise SpeechXAIError(
            f"{path}: this study was begun with {differing} = {stored[differing]}, not {asked[differing]}. "
            "Give another --name, or --again to throw it away."
        )
    if folder.format < FORMAT:
        raise SpeechXAIError(
            f"{path}: begun by an older version, whose fits do not say what they depend on. Give --again to train it"
            " anew."
        )
    if folder.facts.get("fingerprint") != source.fingerprint:
        raise SpeechXAIError(
            f"{path}: the run has been computed again since this study began, so its maps may be others. Give --again"
            " to train on them."
        )
    basis = basis_of(settings, source)
    if fingerprint(basis) != folder.basis:
        raise SpeechXAIError(
            f"{path}: this study was begun {unlike(folder.facts.get('basis') or {}, basis)}. Continue it as it was"
            " begun, or give --again to train it anew."
        )
    return folder


def basis_of(settings: AuxiliarySettings, source: Source) -> dict[str, Any]:
    """What every fit of a study depends on, as plain values."""
    free = ("checkpoints", "device")
    return {
        "settings": {key: value for key, value in settings.to_dict().items() if key not in free}
        | {"device": settings.device.partition(":")[0]}
        | ({} if settings.weights is None else {"weights": sha256_of(settings.weights)}),
        "versions": versions(("scikit-learn", "torchaudio")),
        "material": source.fingerprint,
    }


def execute(folder: StudyFolder, source: Source, progress: Progress | None = None) -> None:
    """Fit what is missing, then write tables and sentences."""
    published = None
    if folder.settings.weights is not None:
        from speechxai.classifiers.imports import read_weights

        published = read_weights(Path(folder.settings.weights))
    wall, before = time.perf_counter(), folder.n_done()[0]
    study(source.material, folder.settings, folder, progress, published)
    done, total = folder.n_done()
    record = {
        "wall_s": time.perf_counter() - wall,
        "n_fits": done - before,
        "peak_memory_mb": peak_memory_mb(),
        **machine(),
    }
    with naming_folder(folder.path, "write"):
        write_atomically(folder.path / "sessions" / f"{uuid4().hex[:12]}.json", sealed(record, "fits"))
    if done == total:  # else another process is at work and will finish
        finish(folder)


def finish(folder: StudyFolder) -> None:
    """Write tables, curves, predictions and sentences from the fits: the same fits give the same bytes.

    Raises:
        SpeechXAIError: fits are missing, or the folder cannot be written.
    """
    fits, manifest, facts = list(folder.fits()), folder.manifest, folder.facts
    speakers = [str(name) for name in manifest["speaker"]]
    found = arms(fits, folder.settings, len(manifest))
    tables = {
        "table": table(found, folder.settings, speakers),
        "leak": leak(found, folder.settings, speakers),
        "coefficients": coefficients(fits, facts["cells"], list(folder.class_counts)),
        "curves": curves(fits),
    }
    said = sentences(tables["table"], tables["leak"], tables["coefficients"], facts)
    contents = {f"{name}.csv": csv_table(frame) for name, frame in tables.items()}
    contents["predictions.parquet"] = parquet(predictions(fits, manifest))
    with naming_folder(folder.path, "write"):
        for name, content in contents.items():
            write_atomically(folder.path / name, content)
        told = {
            "sentences": [{"text": one.text, "tone": one.tone} for one in said],
            "tables": {name: hash_of(content) for name, content in contents.items()},
        }
        write_atomically(folder.path / "sentences.json", sealed(told, "sentences"))


def curves(fits: list[Fit]) -> pd.DataFrame:
    """Losses of every epoch of every fit; `best` marks the epoch whose weights were used."""
    import pandas as pd

    rows = [
        [fit.unit.name, fit.unit.split, fit.unit.seed, fit.unit.fold, epoch, *losses, epoch == fit.best_epoch]
        for fit in fits
        for epoch, losses in enumerate(fit.history)
    ]
    columns = ["name", "split", "seed", "fold", "epoch", "training_loss", "validation_loss", "best"]
    return pd.DataFrame(rows, columns=columns)


def predictions(fits: list[Fit], manifest: pd.DataFrame) -> pd.DataFrame:
    """Every out-of-fold answer: row of the table, split, seed, fold, recording, speaker, label learned, and the
    probability of network and twin: of the second of two classes; of more, a column each."""
    import pandas as pd

    recordings, speakers = list(manifest["recording"].astype(str)), list(manifest["speaker"].astype(str))
    classes = classes_of(manifest)
    ends = [""] if len(classes) == 2 else [f"_{name}" for name in classes]
    rows = []
    for fit in fits:
        unit, missing = fit.unit, (float("nan"),) * len(ends)
        network = np.reshape(fit.probabilities, (len(fit.rows), len(ends))).tolist()
        twin = np.reshape(fit.linear or missing * len(fit.rows), (len(fit.rows), len(ends))).tolist()
        for i, label, p, q in zip(fit.rows, fit.labels, network, twin, strict=True):
            which = (unit.name, unit.input, unit.split, unit.seed, unit.fold, recordings[i], speakers[i], label)
            rows.append([*which, *p, *q])
    columns = ["name", "input", "split", "seed", "fold", "recording", "speaker", "label"]
    columns += [f"{name}{end}" for name in ("probability", "probability_linear") for end in ends]
    return pd.DataFrame(rows, columns=columns)


def wall_time_s(folder: StudyFolder) -> float:
    """Seconds that all sessions of a study took together."""
    records = [folder._read(path, "fits") for path in sorted((folder.path / "sessions").glob("*.json"))]
    return float(sum(record["wall_s"] for record in records if record))


def finished_studies(run: Path) -> list[StudyFolder]:
    """Finished studies of a run, by name. Raises SpeechXAIError for one that is damaged."""
    paths = sorted(path.parent for path in (run / FOLDER).glob("*/table.csv"))
    return [StudyFolder(path) for path in paths]


def run_study(
    run: RunFolder,
    settings: AuxiliarySettings,
    *,
    name: str | None = None,
    again: bool = False,
    progress: Progress | None = None,
    opened: Callable[[StudyFolder], None] | None = None,
) -> StudyFolder:
    """Begin or continue a study of a run and finish it: the one door for scripts, command line and app.

    Args:
        run: made with `--maps`.
        settings: what is trained.
        name: of the study's folder.
        again: throw away what is there.
        progress: called after every recording read and every fit.
        opened: called with the study before the first fit.
    """
    source = read_source(run, settings.recipes, progress)
    folder = begin(study_path(run, settings, name), settings, source, again)
    if opened is not None:
        opened(folder)
    execute(folder, source, progress)
    return folder
