"""`speechxai concepts`: where in a network are the signs, and what follows when they are taken out?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from speechxai.commands.console import flag, progress_bars, say, warn

EPILOG = """
Examples:

\b
  speechxai concepts models/mine --out concepts                                all five signs
  speechxai concepts models/mine --signs breathiness --signs tremor --out concepts
  speechxai concepts models/whisper --speech LIBRISPEECH --out concepts        and what it costs in words
  speechxai explain voice.wav --model models/mine --recipe concept:breathiness --out why

The directions are stored beside the model (of one that comes with the library, beside a copy in --out); the recipe
concept:NAME shows when one is active.
"""


def concepts(
    bundle: Annotated[Path, typer.Argument(help="Folder of a model whose network states its hidden layers.")],
    out: Annotated[Path, flag("out", also="Tables and a page.")],
    sought: Annotated[
        list[str] | None, typer.Option("--signs", help="Sign to look for; repeat for several (default: five).")
    ] = None,
    speech: Annotated[
        Path | None, typer.Option(help="Folder of real speech whose transcript must stay, for Whisper tiny.en.")
    ] = None,
    features: Annotated[int, typer.Option(help="Features of the sparse autoencoders, 64 to 512.")] = 256,
    seed: Annotated[int, flag("seed", also="Voices, autoencoders, controls.")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="Few voices and steps: to see that everything works.")] = False,
    overwrite: Annotated[bool, flag("overwrite", also="Tables that are there.")] = False,
) -> None:
    """Find the signs inside a network as directions and features, take them out, and count what else goes."""
    from dataclasses import replace

    import torch

    from speechxai.classifiers.bundle import comes_with_library, load_bundle, own_copy
    from speechxai.classifiers.hidden import read_concepts, write_concepts
    from speechxai.errors import SpeechXAIError
    from speechxai.files import check_out
    from speechxai.inside.concepts import QUICK, SIGNS, ConceptSettings, find_concepts
    from speechxai.inside.report import facts_of, findings, tables, write
    from speechxai.report.render import console
    from speechxai.signal.audio import files_under, read_audio

    page = out / "concepts.html"
    if page.is_file() and not overwrite:
        raise SpeechXAIError(f"{page}: is there already. Choose another folder with --out, or give --overwrite.")
    check_out(out)
    torch.set_num_threads(1)
    chosen = tuple(name for each in sought or SIGNS for name in each.split(","))
    short = {"n_features": features, **(QUICK if quick else {})}
    settings = ConceptSettings(signs=chosen, seed=seed, **short)
    model = load_bundle(bundle)
    if comes_with_library(model):
        model = own_copy(model, out / model.name)
    network = model.classifier()
    clips = [] if speech is None else [read_audio(path, sample_rate=16_000) for path in files_under(speech)]
    with progress_bars(lambda total, what: "concepts") as show:
        found = find_concepts(network, settings, clips, lambda share, what: show(round(1000 * share), 1000, what))
    stored = write_concepts(model.folder, {**read_concepts(model.folder), **found.concepts})
    written = write(out, f"Signs inside {model.name}", found, settings)
    facts = facts_of(found)
    for table in tables(facts):
        say(f"{table.title}\n\n{console(replace(table, note=''))}\n")
    for finding in findings(facts):
        say(f"{'! ' if finding.tone == 'caution' else '  '}{finding.text}")
    if clips and found.n_words is None:
        warn("No words were counted: only the encoder of Whisper tiny.en has a decoder here.")
    say(f"\nTables: {written}. Directions, for the recipe concept:NAME: {stored}")
