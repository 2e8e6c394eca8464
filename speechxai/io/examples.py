"""Example pictures of a run: a few recordings with their evidence, drawn when the run is finished."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from speechxai import plots
from speechxai.explain import CONTROLS, explain_all, parse
from speechxai.io.files import naming_folder, to_json, write_atomically
from speechxai.io.runs import RunFolder, unit_name
from speechxai.io.session import Session
from speechxai.stft import spectrogram

if TYPE_CHECKING:
    import pandas as pd

N_MAPS = 6
"""Maps drawn of each example."""


def draw_examples(session: Session, folder: RunFolder) -> None:
    """Draw the examples of a run into `pictures/`, with an index for the report; a recording that cannot be drawn is left out.

    Raises:
        SpeechXAIError: the folder cannot be written.
    """
    chosen = choose(folder.table("predictions"), session.config.pictures, session.bundle.config.classes)
    with naming_folder(folder.path, "write"):
        (folder.path / "pictures").mkdir(exist_ok=True)
    index = []
    for recording, why in chosen:
        picture = None
        with suppress(Exception):  # whatever it is, it costs this picture only
            entry, picture = draw(session, recording)
        if picture is None:
            continue
        name = f"{unit_name(recording)}.png"
        with naming_folder(folder.path, "write"):
            write_atomically(folder.path / "pictures" / name, picture)
        index.append({"recording": recording, "file": name, "why": why, **entry})
    with naming_folder(folder.path, "write"):
        write_atomically(folder.path / "pictures" / "index.json", to_json({"examples": index}))


def choose(predictions: pd.DataFrame, n: int, classes: tuple[str, ...]) -> list[tuple[str, str]]:
    """Pick examples in turn: the surest right answer of each class, then the surest mistake of each, then the next ones.

    Returns:
        (recording, why it was picked), at most `n`.
    """
    known = predictions.dropna(subset=["predicted"]).copy()
    if known.empty or n < 1:
        return []
    columns = [f"p_{name}" for name in classes]
    known["sure"] = known[columns].max(axis=1)
    known = known.sort_values(["sure", "recording"], ascending=[False, True])
    queues: list[list[tuple[str, str]]] = []
    for right in (True, False):
        for index, name in reversed(list(enumerate(classes))):
            part = known[known["predicted"] == index]
            fits = (part["label"] == index).fillna(False).astype(bool)
            part = part[fits if right else part["label"].notna() & ~fits]
            words = f"a sure and right {name}" if right else f"called {name}, and wrong"
            queues.append([(str(recording), words) for recording in part["recording"]])
    unlabeled = known[known["label"].isna()]
    queues.append([(str(recording), "label unknown") for recording in unlabeled["recording"]])
    picked = [queue[turn] for turn in range(len(known)) for queue in queues if turn < len(queue)]
    return picked[:n]


def recipes_to_draw(recipes: tuple[str, ...]) -> list[str]:
    """Methods first, then combinations, at most N_MAPS; and the energy control to compare them with."""
    own = [recipe for recipe in recipes if recipe not in CONTROLS]
    own.sort(key=lambda recipe: bool(parse(recipe).parts))
    return own[:N_MAPS] + [recipe for recipe in recipes if recipe == "energy_map"]


def draw(session: Session, recording: str) -> tuple[dict[str, Any], bytes]:
    """Explain one recording again and draw its maps; returns what the picture shows, in words, and the PNG."""
    from speechxai.combination import evidence

    job = session.load(recording)
    spec = spectrogram(job.recording.waveform[None].to(next(job.model.parameters()).device), job.model.stft)  # type: ignore[arg-type]
    found = explain_all(
        job.model, spec, recipes_to_draw(session.settings.recipes), seed=session.settings.seed,
        options={**session.settings.options, "evidence": session.settings.evidence},
    )  # fmt: skip
    maps = {}
    for recipe, attribution in found.items():
        kind = session.settings.evidence or ("positive" if attribution.signed else "absolute")
        maps[recipe] = evidence(attribution.values, kind)[0].cpu().numpy()  # type: ignore[arg-type]
    n_rows = math.ceil((len(maps) + 1) / 2)
    magnitude = spec.magnitude[0].cpu().numpy()
    style = plots.Style(width_in=9.6, height_in=1.9 * n_rows + 0.3)
    picture = plots.maps_grid(magnitude, {"recording": magnitude * 0, **maps}, spec.stft, style)
    return {"recipes": list(maps), "duration_s": job.recording.duration_s}, picture
