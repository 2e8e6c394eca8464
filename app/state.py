"""The app's door to the library: what pages ask for, by strings and numbers, computed once and kept."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from app import boards, sessions
from app import sources as app_settings
from app import sources as run_folders
from app.sources import (
    Key,
    Memory,
    bundle,
    bundle_and_lock,
    catalogue,
    catalogue_recording,
    catalogue_root,
    disk,
    memory,
    original,
    plugin_code,
    recording,
    settings,
)
from speechxai import METHODS, NotApplicable, SpeechXAIError, __version__, predict, spectrogram
from speechxai.classifiers.bundle import Bundle
from speechxai.classifiers.network import Compared, compared
from speechxai.classifiers.scope import compare
from speechxai.data import corpus
from speechxai.data.manifest import classes_of
from speechxai.errors import named
from speechxai.explain.agreement import STRONGEST
from speechxai.explain.captum_bridge import captum_names
from speechxai.explain.recipe import CONTROLS, parse
from speechxai.files import read_json
from speechxai.inspection import inspect
from speechxai.inspection.inspect import Agreement, Explained, Heard, Inspection, Tick
from speechxai.inspection.voice import Measured, voice_measures
from speechxai.inspection.words import Verdict
from speechxai.signal.acoustics import measures, task_kind
from speechxai.signal.quality import Check, quality
from speechxai.signs import whatif as signs
from speechxai.signs.whatif import WhatIf
from speechxai.units.tiers import Units, own_units

FIRST_METHOD = "input_x_gradient"
"""What a first visitor sees: one pass, and better than the controls on the embedded models, which plain saliency is
not."""

COMBINED = ("union", "intersection", "rank_mean")
"""Combinations that menus offer."""

MOST_KEPT_BYTES = 4_000_000
"""Larger blocks for the player, of recordings over 20 s, are made again."""

KEEP_EVERY_S = 10.0
"""How often the answers of a cohort are written down while they come, s: a kill loses no more."""

KEPT_FORM = 4
"""Of what lies on disk: another number where what is kept of a map changes."""


# ---- results


def _store(key: Key) -> Memory:
    """What a reader brought stays in the reader's session; the catalogue's results are everybody's."""
    if key[0] == "mine":
        return sessions.own("mine_results", lambda: Memory(60))
    return memory()


def heard(model: str, key: Key, tick: Tick | None = None) -> Heard:
    """A recording as a model hears it."""
    name = ("heard", model, *key)
    found = _store(key).get(name)
    if found is None:
        found = inspect.hear(bundle(model), recording(model, key), bundle_and_lock(model)[1], tick)
        _store(key).put(name, found)
    return found  # type: ignore[no-any-return]


def explained(
    model: str, key: Key, recipes: Sequence[str], tick: Tick | None = None, target: str = "auto"
) -> dict[str, Explained | str]:
    """Maps by recipe as asked for; a text is the reason why a recipe does not apply to this network. `target` names the
    explained class, "auto" the predicted one.

    Looks in memory, then on disk, and computes the rest together, so that shared passes are made once.
    """
    what = heard(model, key, tick)
    of = class_of(what, target)
    store, found, missing = _store(key), {}, []
    for recipe in recipes:
        canonical = str(parse(recipe))
        name = _with_units(key, canonical)
        result = store.get(("map", what.digest, of, name))
        if result is None and key[0] != "mine":
            result = _from_disk(what, name, of)
            if result is not None:
                store.put(("map", what.digest, of, name), result)
        if result is None:
            missing.append(canonical)
        found[recipe] = result
    if missing:
        hears = what
        if any(_needs_units(recipe) for recipe in missing):
            hears = inspect.with_units(what, (chosen_units(key) or own_units(what.recording)).spans)
        made, reasons = inspect.explain(hears, missing, inspect.How(of), lock=bundle_and_lock(model)[1], tick=tick)
        for canonical in missing:
            result, name = made.get(canonical) or reasons[canonical], _with_units(key, canonical)
            store.put(("map", what.digest, of, name), result)
            if key[0] != "mine" and isinstance(result, Explained):
                facts = {f.name: getattr(result, f.name) for f in fields(result) if f.name not in NOT_KEPT}
                # A bin speaks for a class or against it, so that one array holds both.
                both = result.mask if result.against is None else result.mask - result.against
                disk().put(_map_name(what, name, of), both, {**facts, "two": result.against is not None})
            for recipe in recipes:
                if str(parse(recipe)) == canonical:
                    found[recipe] = result
    return found


def chosen_units(key: Key) -> Units | None:
    """Phones and words of a recording that this reader brought or chose; None where nobody did."""
    found: Units | None = st.session_state.get(f"units_{key[1]}")
    return found


def choose_units(key: Key, units: Units | None) -> None:
    """Keep them for this reader."""
    st.session_state[f"units_{key[1]}"] = units


def _needs_units(canonical: str) -> bool:
    return any(METHODS.facts(name).get("needs") == "units" for name in parse(canonical).methods if name in METHODS)


def _with_units(key: Key, canonical: str) -> str:
    """Name of what is made by a recipe: of one that silences units with the units that were chosen, for other units
    are another map."""
    units = chosen_units(key) if _needs_units(canonical) else None
    if units is None:
        return canonical
    return f"{canonical} of {hashlib.sha256(str(units.spans).encode()).hexdigest()[:16]}"


def class_of(what: Heard, target: str) -> str:
    """Name of the class that is explained: "auto", or one that the model has not, is the predicted one."""
    return target if target in what.class_names else what.class_names[what.predicted]


NOT_KEPT = ("mask", "against", "values", "params")
"""Fields of a map that do not lie on disk beside it: itself, and what only the command line writes."""


def _map_name(what: Heard, canonical: str, of: str, kind: str = "map") -> str:
    text = f"{what.digest}|{of}|{canonical}|seed 0|{__version__}|{STRONGEST}|{kind} {KEPT_FORM}|{plugin_code()}"
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def _from_disk(what: Heard, canonical: str, of: str) -> Explained | None:
    stored = disk().get(_map_name(what, canonical, of))
    if stored is None or stored[0].shape != what.magnitude.shape:
        return None
    both, facts = stored
    two = facts.pop("two")
    return Explained(mask=np.maximum(both, 0), against=np.maximum(-both, 0) if two else None, **facts)


def verdict(model: str, key: Key, recipe: str, tick: Tick | None = None, target: str = "auto") -> Verdict:
    """What a map is worth: looked for in memory, then on disk, like the map itself. Raises SpeechXAIError where the
    recipe does not apply."""
    what, canonical = heard(model, key, tick), str(parse(recipe))
    of = class_of(what, target)
    named_so = _with_units(key, canonical)
    store, name = _store(key), ("verdict", what.digest, of, named_so)
    found = store.get(name)
    if found is None:
        stored = None if key[0] == "mine" else disk().get(_map_name(what, named_so, of, "verdict"))
        if stored is not None:
            found = Verdict(copies=tuple(stored[0].tolist()), **{**stored[1], "in_time": tuple(stored[1]["in_time"])})
        else:
            map_ = explained(model, key, [recipe], tick, of)[recipe]
            if isinstance(map_, str):
                raise NotApplicable(map_)
            found = inspect.judge(what, map_, lock=bundle_and_lock(model)[1], tick=tick)
            if key[0] != "mine":
                facts = {
                    "fall": found.fall,
                    "energy": found.energy,
                    "edges": found.edges,
                    "in_time": found.in_time,
                    "of": found.of,
                }
                disk().put(_map_name(what, named_so, of, "verdict"), np.asarray(found.copies), facts)
        store.put(name, found)
    return found  # type: ignore[no-any-return]


def known_inspection(model: str, key: Key, recipe: str, target: str = "auto") -> Inspection | None:
    """What `inspection` has found already, None where it has to be computed."""
    what = heard(model, key)
    return _store(key).get(("inspection", what.digest, class_of(what, target), _with_units(key, str(parse(recipe)))))  # type: ignore[no-any-return]


def inspection(model: str, key: Key, recipe: str, tick: Tick | None = None, target: str = "auto") -> Inspection:
    """Everything that is shown of a recording explained by a recipe: controls and other methods computed where they are
    missing.

    Raises:
        NotApplicable: the network does not allow the recipe.
    """
    what, canonical = heard(model, key, tick), str(parse(recipe))
    of = class_of(what, target)
    name = ("inspection", what.digest, of, _with_units(key, canonical))
    store = _store(key)
    found = store.get(name)
    if found is None:
        maps = explained(model, key, [canonical, *inspect.beside(what, canonical)], tick, of)
        reason = maps[canonical]
        if isinstance(reason, str):
            raise NotApplicable(reason)
        given = {name: found for name, found in maps.items() if isinstance(found, Explained)}
        worth = verdict(model, key, canonical, tick, of)
        found = inspect.assemble(what, given[canonical], worth, given, checked(model, key))
        store.put(name, found)
    return found  # type: ignore[no-any-return]


def kept(model: str, key: Key, name: tuple[str, ...], make: Callable[[], Any]) -> Any:
    """What `make` returns, made once a recording, model and `name`: pages are drawn again with every click."""
    mine_only = key[0] == "mine"
    store = sessions.own("mine_kept", lambda: Memory(8)) if mine_only else _kept()
    full = (*name, model, heard(model, key).digest)
    found = store.get(full)
    if found is None:
        found = make()
        if not isinstance(found, bytes) or len(found) <= MOST_KEPT_BYTES:
            store.put(full, found)
    return found


@st.cache_resource(show_spinner=False)
def _kept() -> Memory:
    return Memory(48)


def method_menu(model: str) -> list[str]:
    """Recipes to choose from: methods, combinations of fast ones, methods of captum by name, controls last; without
    those of which it is known that the network does not allow them."""
    menu = [name for name in METHODS if name not in CONTROLS]
    menu += [str(parse(f"{name}(saliency, integrated_gradients, gradcam)")) for name in COMBINED]
    tried = methods_tried(model)
    return [name for name in (*menu, *captum_names(), *CONTROLS) if not tried.get(name)]


def methods_tried(model: str) -> dict[str, str]:
    """Of recipes that were tried on a network, why it does not allow them, "" where it does."""
    kept = memory().get(("tried", model))
    if kept is None:
        kept = (read_json(_tried_path(model)) or {}) if settings().keep_cache else {}
        memory().put(("tried", model), kept)
    return kept  # type: ignore[no-any-return]


def try_methods(model: str, tick: Any = None) -> None:
    """Try what was not tried yet, once a network: so menus offer what it allows."""
    kept, lock = methods_tried(model), bundle_and_lock(model)[1]
    left = [recipe for recipe in method_menu(model) if recipe not in kept]
    for done, recipe in enumerate(left):
        if tick:
            tick(done, len(left))
        kept[recipe] = inspect.not_applicable(bundle(model), [recipe], lock).get(recipe, "")
    if left and settings().keep_cache:
        _write_json(_tried_path(model), kept)


def _tried_path(model: str) -> Path:
    text = f"{bundle(model).sha256}|{__version__}|{plugin_code()}"
    return app_settings.cache_folder() / "methods" / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"


def canonical(recipe: str) -> str | None:
    """A recipe's canonical text, None where it is no recipe."""
    try:
        return str(parse(recipe))
    except SpeechXAIError:
        return None


def agreement(model: str, key: Key, recipes: tuple[str, ...]) -> Agreement:
    """How far maps agree that are computed."""
    what, store = heard(model, key), _store(key)
    name = ("agreement", what.digest, *recipes)
    found = store.get(name)
    if found is None:
        maps = explained(model, key, recipes)
        found = inspect.agreement({recipe: m for recipe, m in maps.items() if isinstance(m, Explained)})
        store.put(name, found)
    return found  # type: ignore[no-any-return]


def checked(model: str, key: Key) -> tuple[Check, ...]:
    """Checks of a recording at its own rate and level. Raises SpeechXAIError if unreadable."""
    store = _store(key)
    found = store.get(("checked", model, *key))
    if found is None:
        found = inspect.recording_checks(original(key), bundle(model))
        store.put(("checked", model, *key), found)
    return found  # type: ignore[no-any-return]


def measured(model: str, key: Key, region_s: tuple[float, float] | None = None) -> tuple[Measured, ...]:
    """Voice measures of a recording as it was brought, and of a marked stretch."""
    store, name = _store(key), ("measured", *key, str(region_s))
    found = store.get(name)
    if found is None:
        found = voice_measures(original(key), region_s)
        store.put(name, found)
    return found  # type: ignore[no-any-return]


def known_what_if(model: str, key: Key) -> WhatIf | None:
    """What was found when a reader asked what if, None where nobody has."""
    return _what_ifs(key).get((model, heard(model, key).digest))


def what_if(model: str, key: Key, tick: Any = None) -> WhatIf:
    """All dials turned on a recording. Raises SpeechXAIError where it cannot be."""
    found = known_what_if(model, key)
    if found is None:
        what = heard(model, key)
        config, lock = bundle(model).config.audio, bundle_and_lock(model)[1]
        with inspect.ticking(what.model, lock, None):
            found = signs.what_if(
                what.model,
                what.recording,
                target=what.condition if what.condition is not None else what.predicted,
                normalize=config.normalize,
                offset=config.offset,
                progress=(lambda done, total, _: tick(done, total)) if tick else None,
            )
        _what_ifs(key).put((model, what.digest), found)
    return found


def _what_ifs(key: Key) -> Memory:
    """The newest few: their sounds are large."""
    if key[0] == "mine":
        return sessions.own("mine_what_ifs", lambda: Memory(2))
    return _kept_what_ifs()


@st.cache_resource(show_spinner=False)
def _kept_what_ifs() -> Memory:
    return Memory(6)


def measured_people(kind: str, tick: Any = None) -> dict[str, dict[int, list[float]]]:
    """Voice measures of the catalogue's recordings of one kind of task, by measure and label; kept on disk."""
    given = settings()
    path = app_settings.cache_folder() / "measures" / f"{_people_name()}.json"
    kept = memory().get(("people",))
    if kept is None:
        kept = (read_json(path) or {}) if given.keep_cache else {}
        memory().put(("people",), kept)
    rows = [row for row in catalogue().to_dict("records") if task_kind(str(row["task"])) == kind]
    rows = [row for row in rows if row["label"] == row["label"] and row["label"] is not None]
    new = 0
    for done, row in enumerate(rows):
        name = str(row["recording"])
        mark = f"{name}|{row.get('sha256', '')}"
        if mark not in kept:
            if tick:
                tick(done, len(rows))
            try:
                voice = original(("catalogue", name))
                values = measures(voice.waveform, voice.sample_rate)
            except SpeechXAIError:  # one recording of many: the others are shown
                values = {}
            kept[mark] = {key: round(value, 6) for key, value in values.items() if value == value}
            new += 1
    if new and given.keep_cache:
        _write_json(path, kept)
    found: dict[str, dict[int, list[float]]] = {}
    for row in rows:
        for name, value in kept[f"{row['recording']}|{row.get('sha256', '')}"].items():
            found.setdefault(name, {}).setdefault(int(row["label"]), []).append(value)
    return found


def _people_name() -> str:
    text = f"{settings().data}|{settings().root}|{__version__}"
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def runs() -> dict[str, str]:
    """Run folders by path, with their names."""
    return run_folders.find(settings().runs)


def run(path: str) -> run_folders.Run:
    """A run, read again when it has grown."""
    file = Path(path) / "summary.csv"
    return _run(path, file.stat().st_mtime if file.is_file() else 0.0)


@st.cache_resource(max_entries=8, show_spinner=False)
def _run(path: str, changed: float) -> run_folders.Run:
    return run_folders.load(path)


def from_runs(model: str, recipe: str) -> tuple[bool, str] | None:
    """What the first run of this very model, weights and all, says of a method by its first score: whether it speaks
    against it, and the sentence; None where no run can say."""
    for path, name in runs().items():
        try:
            found = run(path)
        except SpeechXAIError:  # one of many; the Benchmark page says what is wrong with it
            continue
        if not found.sha256 or found.sha256 != bundle(model).sha256:
            continue
        summary = boards.of_group(found.summary, boards.groups(found.summary)[0])
        for metric in boards.metrics_of(summary)[:1]:
            ranked = boards.ranking(boards.leaderboard(summary, metric), metric)
            if ranked.decidable and recipe in ranked.methods:
                return boards.carried(ranked, recipe, name)
    return None


def studies(path: str) -> list[boards.Study]:
    """Finished auxiliary studies of a run, read again when one has been added."""
    found = sorted(Path(path).glob("auxiliary/*/table.csv"))
    return _studies(path, tuple(file.stat().st_mtime for file in found))


@st.cache_resource(max_entries=8, show_spinner=False)
def _studies(path: str, changed: tuple[float, ...]) -> list[boards.Study]:
    return boards.studies(path)


# All recordings of the data set at once: what the model says of each, and what else tells the classes apart.
def classes(model: str) -> Compared:
    """How a model's answers are compared with the labels of the catalogue."""
    return compared(classes_of(catalogue()), bundle(model).config.classes)


def known_answers(model: str) -> dict[str, dict[str, Any]]:
    """What is known already of the catalogue's recordings, by name: probability, predicted, scope; nothing is
    computed."""
    kept = memory().get(("predictions", model))
    if kept is None and settings().keep_cache:
        kept = read_json(app_settings.cache_folder() / "predictions" / f"{_table_name(bundle(model))}.json")
    if not kept:
        return {}
    rows = catalogue()
    if any(f"{row['recording']}|{row.get('sha256', '')}" not in kept for row in rows.to_dict("records")):
        return {}
    table = predictions(model)  # all of it is kept
    return {
        str(row["recording"]): {name: row[name] for name in ("probability", "predicted", "scope")}
        for row in table.to_dict("records")
    }


def predictions(model: str, tick: Any = None) -> pd.DataFrame:
    """The catalogue with what a model says: `predicted`, `p_<class>` and `probability`, of two classes that of the
    second, of more that of the answer; `problem` says what is wrong with a recording, and `scope` whether the model was
    made for it.

    Classes are counted as `classes` counts them; where nothing may be compared there is no label.

    Args:
        tick: called with recordings done and in all, before each; kept ones come at once, and what is done stays kept.
    """
    rows = catalogue()
    chosen = bundle(model)
    path = app_settings.cache_folder() / "predictions" / f"{_table_name(chosen)}.json"
    kept = memory().get(("predictions", model))
    if kept is None:
        kept = (read_json(path) or {}) if settings().keep_cache else {}
        memory().put(("predictions", model), kept)
    new, written = 0, time.monotonic()
    try:
        for done, row in enumerate(rows.to_dict("records")):
            name = str(row["recording"])
            mark = f"{name}|{row.get('sha256', '')}"
            if mark in kept:
                continue
            if tick:
                tick(done, len(rows))
            kept[mark] = _predicted(model, name)
            new += 1
            if settings().keep_cache and time.monotonic() - written > KEEP_EVERY_S:
                _write_json(path, kept)
                new, written = 0, time.monotonic()
    finally:
        if new and settings().keep_cache:
            _write_json(path, kept)
    found = [kept[f"{r['recording']}|{r.get('sha256', '')}"] for r in rows.to_dict("records")]
    how = classes(model)
    p = np.array([f.get("p") or [np.nan] * len(how.names) for f in found], dtype=float).reshape(-1, len(how.names))
    p = p[:, list(how.order)]
    table = rows.assign(problem=[f.get("problem", "") for f in found])
    table["scope"] = [f.get("scope", "unknown") for f in found]
    table = table.assign(**{f"p_{name}": p[:, index] for index, name in enumerate(how.names)})
    known = ~np.isnan(p).any(axis=1)
    table["probability"] = p[:, 1] if len(how.names) == 2 else np.where(known, p.max(axis=1), np.nan)
    table["predicted"] = pd.array(np.where(known, p.argmax(axis=1), 0), dtype="Int64")
    table["predicted"] = table["predicted"].where(known)
    return table.assign(label=pd.NA) if how.refused else table


def _predicted(model: str, name: str) -> dict[str, Any]:
    try:
        voice = catalogue_recording(model, name)
        chosen, lock = bundle_and_lock(model)
        network = chosen.for_recording(voice)
        with lock:
            probability = predict(network, spectrogram(voice.waveform[None], network.stft))[0]
    except Exception as error:  # one recording of many: the others are shown
        return {"problem": str(named(error, name))}
    return {"p": probability.tolist(), "scope": compare(chosen.config.scope, voice).state}


def _table_name(chosen: Bundle) -> str:
    text = f"{chosen.sha256}|{settings().data}|{settings().root}|{__version__}"
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _write_json(path: Path, content: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{threading.get_ident()}.part")
        part.write_text(json.dumps(content), "utf-8")
        part.replace(path)
    except OSError:
        return


def confounds(model: str, tick: Any = None) -> tuple[Any, ...]:
    """How well age, sex, duration, level and so on alone separate the classes."""
    name = ("confounds", model if settings().data == app_settings.SYNTHETIC else "")
    found = memory().get(name)
    if found is not None:
        return found  # type: ignore[no-any-return]
    given, rows = settings(), catalogue()
    if given.data == app_settings.SYNTHETIC:
        measured = []
        for done, row in enumerate(rows.to_dict("records")):
            if tick:
                tick(done, len(rows))
            voice = catalogue_recording(model, str(row["recording"]))
            measured.append(
                {"recording": voice.id, "sample_rate": voice.sample_rate}
                | vars(quality(voice.waveform, voice.sample_rate))
            )
        found = corpus.confounds(rows.assign(sample_rate=16_000), pd.DataFrame(measured))
    else:
        found = corpus.check(rows, catalogue_root(), tick).confounds
    memory().put(name, found)
    return found
