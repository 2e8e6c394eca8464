"""The material of an auxiliary study, read from a run: its recordings, its stored maps, and who may not be trusted among them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from speechxai.acoustics import segments_by_voicing
from speechxai.auxiliary import Material
from speechxai.combination import COMBINATIONS, evidence
from speechxai.config import EvaluateConfig, from_dict
from speechxai.errors import SpeechXAIError, named
from speechxai.explain import CONTROLS, Recipe, parse
from speechxai.io.runs import RunFolder, unit_name
from speechxai.io.session import Session, prepare
from speechxai.pipeline_unit import tiled
from speechxai.stft import spectrogram

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Progress = Callable[[int, int, str], None]

CACHE_BYTES = 2**30
"""Spectrograms are kept in memory up to this size; beyond it they are read again for every row of the table."""


@dataclass(frozen=True, eq=False)
class Source:
    """What a run gives to a study.

    Args:
        material: recordings that have every map.
        left_out: reason by recording for those that were left out.
        held_out: by recording, whether its maps come from a network that never heard the speaker: True, False, or None where
            nobody can say.
        fingerprint: changes when the run's units change.
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
            "n_pd": int((manifest["label"] == 1).sum()),
            "n_hc": int((manifest["label"] == 0).sum()),
            "left_out": dict(self.left_out),
            "not_held_out": sum(value is False for value in self.held_out.values()),
            "unknown_held_out": sum(value is None for value in self.held_out.values()),
            "fingerprint": self.fingerprint,
        }


def chosen_recipes(folder: RunFolder, asked: tuple[str, ...]) -> tuple[str, ...]:
    """Resolve "methods" (single methods of the run, the default) and "all" (its combinations too), without floors; names stay.

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
            f"{folder.path}: the run kept no maps. Evaluate with --maps, or study the spectrograms alone with --input original."
        )
    session = prepare(config, folder.manifest)
    rows, left_out, loaded = [], {}, []
    records = folder.manifest.to_dict("records")
    done = set(folder.done_units())
    for number, row in enumerate(records, start=1):
        recording = str(row["recording"])
        reason = _why_not(folder, row, recipes, done)  # type: ignore[arg-type]
        if reason is None:
            try:
                loaded.append(_loaded(session, row, config))  # type: ignore[arg-type]
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
        _magnitudes(session, manifest, config, loaded),
        lambda recipe, i: _evidence(folder, config, parse(recipe), names[i]),
        lambda i: loaded[i].voicing,
        tuple(one.n_frames for one in loaded),
    )
    return Source(material, left_out, _held_out(folder, session, manifest), _fingerprint(folder, names))


@dataclass(eq=False)
class _Loaded:
    n_frames: int
    voicing: np.ndarray[tuple[int], np.dtype[np.int8]]
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
    """Whether a map is stored, or the maps that it is combined of (the published protocol keeps single methods only)."""
    return (stored / str(recipe)).is_dir() or (bool(recipe.parts) and all(_is_there(stored, p) for p in recipe.parts))


def _waveform(session: Session, row: dict[str, Any], config: EvaluateConfig) -> Tensor:
    """Waveform as the run explained it: the published protocol repeats short ones and cuts long ones."""
    voice = session.voices.get(str(row["recording"])) or session.read(row)
    published = config.protocol == "mancini2025"
    return tiled(voice.waveform, voice.sample_rate, config.published.clip_s) if published else voice.waveform


def _loaded(session: Session, row: dict[str, Any], config: EvaluateConfig) -> _Loaded:
    stft = session.bundle.config.stft_config()
    waveform = _waveform(session, row, config)
    magnitude = spectrogram(waveform[None], stft).magnitude[0]
    n_frames = magnitude.shape[-1]
    voicing = segments_by_voicing(waveform, stft.sample_rate, n_frames, stft.hop_length)
    return _Loaded(n_frames, voicing, magnitude)


def _magnitudes(
    session: Session, manifest: pd.DataFrame, config: EvaluateConfig, loaded: list[_Loaded]
) -> Callable[[int], Tensor]:
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
        return spectrogram(_waveform(session, records[i], config)[None], stft).magnitude[0] if kept is None else kept  # type: ignore[arg-type]

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
    if config.evidence != "auto" and config.protocol != "mancini2025":
        return evidence(values[None], config.evidence)[0]
    positive = recipe.signed and config.protocol != "mancini2025"
    return evidence(values[None], "positive" if positive else "absolute")[0]


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
    digest = hashlib.sha256()
    for recording in recordings:
        digest.update((folder.path / "units" / f"{unit_name(recording)}.json").read_bytes())
    return digest.hexdigest()
