"""The published protocol from disk to disk, and as one of PROTOCOLS, so that the rooms below need not know its name.

`RUN` holds the published maps, scored by each recording's own maximum; `RUN/batch` the same maps as the published code
scores them, divided by the maxima of batch and fold; `RUN/level` the single maps of the recordings at the other level;
`RUN/corrected` the standard protocol on the same recordings and networks.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from speechxai.classifiers.bundle import Bundle
from speechxai.data.cards import build_manifest
from speechxai.data.splits import published_splits
from speechxai.errors import SpeechXAIError
from speechxai.evaluation.config import FORMAT, EvaluateConfig
from speechxai.evaluation.runs import RunFolder, finish
from speechxai.evaluation.session import splits_folder
from speechxai.evaluation.values import PROTOCOLS, EvaluateSettings, Job, Progress, UnitResult, evaluate_recordings
from speechxai.explain.recipe import PUBLISHED_METHODS, parse
from speechxai.files import fingerprint
from speechxai.mancini2025.report import write_protocol
from speechxai.mancini2025.unit import (
    BATCH,
    CORRECTED,
    OTHER_LEVEL,
    BatchJob,
    batch_combination,
    clip,
    compute_batch,
    published_unit,
)

if TYPE_CHECKING:
    import pandas as pd

    from speechxai.evaluation.session import Session
    from speechxai.evaluation.values import UnitResult

LEFT_OUT = "words"
"""The published code leaves out every recording whose path holds this word."""
ROW = "test_row"
"""Column of the manifest: the recording's place in its fold's published test set, from 0; whom it shares a batch with
follows from it, whoever of them is missing, fails or is left out by a limit."""


def wants_splits(config: EvaluateConfig) -> bool:
    """Whether the recordings are those of the published test sets: the protocol on a data card with a root, or splits
    given."""
    card = config.root is not None and Path(config.data).suffix.lower() != ".csv"
    return config.published.splits is not None or card


def find_published(config: EvaluateConfig) -> tuple[pd.DataFrame, list[tuple[str, str]]] | None:
    """Recordings of the published test sets in their order, and (path, reason) of those that are not below the root.

    Published paths begin with another computer's folders, so a recording is found by its file name and as many of the
    folders
    above it as agree, without regard to case.

    Raises:
        SpeechXAIError: splits that cannot be read, none of their recordings below the root, or another label than the
            card's.
    """
    if not wants_splits(config):
        return None
    tested = published_splits(splits_folder(config))
    tested = tested[(tested["part"] == "test") & ~tested["path"].str.contains(LEFT_OUT)]
    if config.root is None:
        raise SpeechXAIError(f"The data card '{config.data}' needs the folder of its recordings: give --root.")
    manifest, _ = build_manifest(config.data, config.root)
    by_name: dict[str, list[int]] = {}
    keys = [str(path).casefold().split("/") for path in manifest["path"]]
    for number, key in enumerate(keys):
        by_name.setdefault(key[-1], []).append(number)
    chosen, unmatched, places = [], [], []
    for row, place in zip(tested.itertuples(), tested.groupby("fold").cumcount(), strict=True):
        wanted = str(row.path).casefold().split("/")
        candidates = by_name.get(wanted[-1], [])
        if not candidates:
            unmatched.append((str(row.path), f"test set of fold {row.fold}: no such recording below {config.root}"))
            continue
        best = max(candidates, key=lambda number: _common(keys[number], wanted))
        found = manifest.iloc[best]
        if int(found["label"]) != row.label or str(found["speaker"]) != row.speaker:
            raise SpeechXAIError(
                f"{found['path']}: the data card says speaker {found['speaker']}, label {found['label']}; "
                f"the published fold {row.fold} says {row.speaker}, {row.label}."
            )
        chosen.append(best)
        places.append(int(place))
    if not chosen:
        raise SpeechXAIError(f"{config.root}: none of the {len(tested)} recordings of the published test sets is here.")
    tests = manifest.iloc[chosen].assign(**{ROW: places})
    return tests.drop_duplicates("recording").reset_index(drop=True), unmatched


def _common(a: list[str], b: list[str]) -> int:
    """Number of last parts in which two paths agree."""
    length = 0
    for one, other in zip(reversed(a), reversed(b), strict=False):
        if one != other:
            break
        length += 1
    return length


def check_folds(bundle: Bundle, config: EvaluateConfig) -> None:
    """Check that each published test set is heard by one network of its own.

    Raises:
        SpeechXAIError: a bundle that does not know the splits, or knows others; the message names a fold.
    """
    if not wants_splits(config):
        return
    tested = published_splits(splits_folder(config))
    tested = tested[tested["part"] == "test"]
    networks: dict[int, int] = {}
    for fold, part in tested.groupby("fold"):
        heard = {bundle.config.speakers.get(str(speaker)) for speaker in part["speaker"]}
        network = next(iter(heard))
        if len(heard) != 1 or network is None or network in networks.values():
            raise SpeechXAIError(
                f"{bundle.folder}: the speakers of the published fold {fold} are not heard by one network of their own."
                " Import the checkpoints with the splits: 'speechxai import CHECKPOINTS --out MODEL --splits SPLITS'."
            )
        networks[int(str(fold))] = network


def finish_study(
    session: Session, folder: RunFolder, progress: Callable[[str], Callable[[Progress], None] | None] | None = None
) -> None:
    """Run the second pass, the other level, the corrected protocol, and the auxiliary study where the configuration has
    one; all resumable.

    Args:
        session: of the first pass.
        folder: the first pass's run, finished or as far as its recordings allow.
        progress: gives for each part's title the function that is called after every recording.

    Raises:
        SpeechXAIError: a run without maps, or a folder that cannot be written.
    """
    from speechxai.evaluation.executors import execute
    from speechxai.evaluation.session import create_run, prepare, resume

    told = progress or (lambda title: None)
    units = {unit.recording: unit for unit in folder.units()}
    if session.settings.keep_maps and units:
        second, maxima = opened(folder, session, BATCH), batch_maxima(session, folder, units)
        # A unit of the second pass depends on the maps of all that share its batch and fold.
        second.beside = {r: fingerprint([maxima[r], folder.hashes_of_maps(r)]) for r in units}
        second.drop_misfits()
        evaluate_recordings(
            [r for r in session.recordings if r in units],
            partial(batch_job, session, folder, units, maxima),
            session.settings,
            second,
            told("As published"),
            compute_batch,
        )
        finish(second)
    singles = tuple(recipe for recipe in session.settings.recipes if recipe in PUBLISHED_METHODS)
    if session.config.published.other_level and singles and units:
        level = "none" if session.settings.level == "peak" else "peak"
        other = opened(folder, session, OTHER_LEVEL, singles)
        other.beside = {recording: folder.content_of(recording) for recording in units}
        other.drop_misfits()
        evaluate_recordings(
            [r for r in session.recordings if r in units],
            session.load,
            replace(session.settings, recipes=singles, level=level, keep_maps=False),
            other,
            told("At the other level"),
            published_unit,
        )
        finish(other)
    if session.config.published.corrected:
        place = folder.path / CORRECTED
        update = {
            "protocol": "standard",
            "model": str(session.bundle.folder),
            "out": place,
            "maps": False,
            "options": {},
            "auxiliary": {},
        }
        config = session.config.model_copy(update=update)
        right = prepare(config, session.manifest, session.bundle)
        if (place / "config.toml").is_file():
            present = RunFolder.open(place)
            resume(right, present, overwrite=True)  # whoever may continue the run may continue its parts
        else:
            present = create_run(right)
        execute(right, present, told("Corrected"))
    if session.config.auxiliary:
        from speechxai.auxiliary.folder import chosen_recipes, run_study
        from speechxai.auxiliary.report import write_study_html
        from speechxai.auxiliary.values import AuxiliarySettings

        options = dict(session.config.auxiliary)
        recipes = chosen_recipes(folder, tuple(options.pop("recipes", ())))
        try:
            settings = AuxiliarySettings.from_dict({**options, "recipes": recipes})
        except TypeError as error:
            raise SpeechXAIError(f"auxiliary: {error}") from error
        write_study_html(run_study(folder, settings))


def parts(folder: RunFolder) -> list[RunFolder]:
    """The runs inside a run of this protocol, as far as they have begun: second pass, other level, corrected."""
    paths = [folder.path / name for name in (BATCH, OTHER_LEVEL, CORRECTED)]
    return [RunFolder.open(path) for path in paths if (path / "config.toml").is_file()]


def opened(folder: RunFolder, session: Session, name: str, recipes: tuple[str, ...] = ()) -> RunFolder:
    """Open or make a run of the same recordings inside the first one, with `recipes` alone where they are given."""
    path = folder.path / name
    config = {**session.config.portable(), "model": str(session.bundle.folder), "out": str(path.resolve())}
    environment = {**folder.environment, "recipes": list(recipes or folder.environment["recipes"])}
    if (path / "config.toml").is_file():
        part = RunFolder.open(path)
        if part.config != config or part.format < FORMAT:
            part.configure(config)
        part.agree_on(environment["basis"], lambda: environment, overwrite=True)
        return part
    return RunFolder.create(path, config, folder.manifest, environment)


def batch_maxima(session: Session, folder: RunFolder, units: dict[str, UnitResult]) -> dict[str, dict[str, Any]]:
    """What the published code divides each recording's maps by: shares of the batch's maximum by method, the fold's by
    combination.

    Batches are consecutive recordings of a fold's test set, `published.batch` at a time, in the order of its file; one
    that is missing or failed leaves its place empty. Of other data they are consecutive recordings that have maps.
    """
    rows = dict(zip(session.recordings, session.manifest.get(ROW, ()), strict=False))
    recipes = [recipe for recipe in map(parse, session.settings.recipes) if recipe.parts]
    folds: dict[str, list[str]] = {}
    for recording in session.recordings:
        if recording in units:
            folds.setdefault(str(units[recording].facts["fold"]), []).append(recording)
    found: dict[str, dict[str, Any]] = {}
    for members in folds.values():
        batches: dict[int, list[str]] = {}
        for place, recording in enumerate(members):
            batches.setdefault(int(rows.get(recording, place)) // session.config.published.batch, []).append(recording)
        for batch in batches.values():
            own = {r: {k[4:]: float(v) for k, v in units[r].facts.items() if k.startswith("top_")} for r in batch}
            tops = {
                name: max(values[name] for values in own.values() if name in values)
                for name in set().union(*own.values())
            }
            for recording, values in own.items():
                shares = {name: value / tops[name] if tops[name] else 0.0 for name, value in values.items()}
                found[recording] = {"shares": shares, "tops": {}}
        if not recipes:
            continue
        tops = {}
        for recording in members:
            shares = found[recording]["shares"]
            # Maps that cannot be read count for nobody: the second pass reads them again, and there it is a failure.
            with suppress(Exception):
                scaled = {name: share * stored(folder, recording, name) for name, share in shares.items()}
                own_tops = {
                    str(recipe): float(batch_combination(recipe, scaled).max())
                    for recipe in recipes
                    if set(recipe.methods) <= set(scaled)
                }
                tops |= {name: max(tops.get(name, 0.0), top) for name, top in own_tops.items()}
        for recording in members:
            found[recording]["tops"] = {
                r: t for r, t in tops.items() if set(parse(r).methods) <= set(found[recording]["shares"])
            }
    return found


def stored(folder: RunFolder, recording: str, name: str) -> Tensor:
    """Stored evidence (F, T), float32."""
    return torch.from_numpy(folder.maps(recording, name).astype("float32"))


def batch_job(
    session: Session,
    folder: RunFolder,
    units: dict[str, UnitResult],
    maxima: dict[str, dict[str, Any]],
    recording: str,
) -> BatchJob:
    """A recording with its stored maps and the maxima they are divided by."""
    job = session.load(recording)
    shares = maxima[recording]["shares"]
    maps = {name: stored(folder, recording, name) for name in shares}
    return BatchJob(job.recording, job.model, job.facts, maps, shares, maxima[recording]["tops"])


def complete(
    session: Session, folder: RunFolder, told: Callable[[str], Callable[[Progress], None] | None] | None = None
) -> list[str]:
    """Run the other parts of the protocol and write its report; returns what to say about it."""
    finish_study(session, folder, told)
    return [f"Published, authors' and corrected numbers side by side: {write_protocol(folder)}"]


@PROTOCOLS.register(
    recordings=find_published,
    check=check_folds,
    finish=complete,
    reads={"normalize": "none", "offset": "kept"},  # `clip` sets the level
    hears=clip,
    evidence="absolute",
    disease=True,
)
def mancini2025(job: Job, settings: EvaluateSettings, stages: list[str]) -> UnitResult:
    """The published code's choices, beside what repairs them."""
    return published_unit(job, settings, stages)
