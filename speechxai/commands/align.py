"""`speechxai align`: where the words and phones of a transcript lie in a recording."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speechxai.commands.console import flag, say, table, warn, work_on

if TYPE_CHECKING:
    from speechxai.types import Recording

EPILOG = """
Examples:

\b
  speechxai align voice.wav --transcripts voice.txt --out aligned
  speechxai align voices --transcripts texts --out aligned         # texts/voice.txt is what voice.wav says
  speechxai align voices --transcripts whisper --out aligned       # English, by Whisper tiny.en (extra pretrained)
  speechxai explain voice.wav --textgrids aligned --out why

Writes a TextGrid with tiers words and phones for each recording, as it is named, and alignment.csv: every phone with
its times and its acoustic score. Correct them in Praat and hand them back: explain and evaluate read what you saved.
English alone; for other languages bring the TextGrids of another aligner. Words outside the dictionary are spoken by
eSpeak NG where it is installed, otherwise left out; both are said.

Exit status: 0 all aligned, 1 some were not, 2 none or wrong input.
"""


def align(
    source: Annotated[Path, typer.Argument(help="Audio file, or a folder of them.")],
    transcripts: Annotated[Path, flag("transcripts")],
    out: Annotated[Path, flag("out", also="A folder for the TextGrids.")],
    channel: Annotated[int | None, flag("channel")] = None,
    max_duration_s: Annotated[float, flag("max_duration_s")] = 600.0,
    overwrite: Annotated[bool, flag("overwrite")] = False,
) -> None:
    """Align recordings with what is said in them: a TextGrid of words and phones each, and how sure it is."""
    from speechxai.errors import NotApplicable, SpeechXAIError, encodable
    from speechxai.files import check_out, csv_text, naming_folder, write_atomically
    from speechxai.signal.audio import files_under, read_audio
    from speechxai.units import align as aligner

    check_out(out)
    alone = not source.is_dir()
    names = [source.name] if alone else files_under(source)
    if not names:
        raise SpeechXAIError(f"{encodable(source)}: no recordings in this folder.")
    said_in = _transcripts(transcripts, names)
    rows: list[list[Any]] = []
    scores: dict[str, list[float]] = {}
    failures = 0
    for name in names:
        path = source if alone else source / name
        grid = out / Path(name).with_suffix(".TextGrid")
        try:
            check_out(grid, "file", overwrite)
            with work_on(path):
                recording = read_audio(path, sample_rate=None, channel=channel, max_duration_s=max_duration_s)
                found = aligner.align(recording, said_in(name, recording))
        except (SpeechXAIError, NotApplicable) as error:
            failures += 1
            warn(f"Error: {error}")
            continue
        with naming_folder(out, "write"):
            grid.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(grid, found.textgrid().encode())
        say(
            f"{grid}: {len(found.words)} words, {len(found.spoken)} phones, score {found.score:.1f}, doubtful"
            f" {len(found.doubtful)}"
        )
        if found.score < aligner.UNFIT:
            warn(
                f"{path}: the transcript hardly fits (score {found.score:.1f}; a true one has over {aligner.UNFIT:g})."
            )
        if found.spelled:
            words = ", ".join(f"{word} ({phones})" for word, phones in found.spelled.items())
            warn(f"{path}: not in the dictionary, spoken by eSpeak NG: {words}.")
        if found.left_out:
            warn(f"{path}: left out, for nothing says how they are spoken: {', '.join(found.left_out)}.")
        for phone in found.phones:
            rows.append([name, phone.symbol, f"{phone.start_s:.4f}", f"{phone.end_s:.4f}", f"{phone.score:.2f}"])
        for phone in found.spoken:
            scores.setdefault(phone.symbol, []).append(phone.score)
    if scores:
        with naming_folder(out, "write"):
            header = ["recording", "phone", "start_s", "end_s", "score"]
            write_atomically(out / "alignment.csv", csv_text([header, *rows]).encode())
        say("\nHow well each phone sounds like itself: acoustic score, near 0 is sure; the least sure first.")
        say(table(("phone", "number", "mean score", f"under {aligner.DOUBTFUL:g}"), _doubt(scores), right=(1, 2, 3)))
        say(f"Written to {out}")
    if failures:
        raise typer.Exit(1 if scores else 2)


MOST_PHONES = 12
"""Phones in the table of doubt."""


def _doubt(scores: Mapping[str, list[float]]) -> list[tuple[str, str, str, str]]:
    from speechxai.units.align import DOUBTFUL

    means = sorted((sum(values) / len(values), name) for name, values in scores.items())
    return [
        (name, str(len(scores[name])), f"{mean:.1f}", str(sum(value < DOUBTFUL for value in scores[name])))
        for mean, name in means[:MOST_PHONES]
    ]


def _transcripts(given: Path, names: list[str]) -> Callable[[str, Recording], str]:
    """What gives the transcript of a recording by its name.

    Raises:
        SpeechXAIError: no such file or folder, or one text for several recordings.
    """
    from speechxai.classifiers.whisper import transcript
    from speechxai.errors import SpeechXAIError, encodable
    from speechxai.files import read_text

    if str(given) == "whisper" and not given.exists():
        return lambda name, recording: transcript(recording)
    if given.is_file():
        if len(names) > 1:
            raise SpeechXAIError(
                f"{encodable(given)}: one transcript cannot be of {len(names)} recordings. Give a folder of them."
            )
        return lambda name, recording: read_text(given)
    if not given.is_dir():
        raise SpeechXAIError(f"{encodable(given)}: no such file or folder. Give a text, a folder of them, or whisper.")

    def read(name: str, recording: Recording) -> str:
        for place in (Path(name), Path(Path(name).name)):
            for suffix in (".txt", ".lab"):
                path = given / place.with_suffix(suffix)
                if path.is_file():
                    return read_text(path)
        wanted = Path(name).with_suffix(".txt")
        raise SpeechXAIError(f"{encodable(name)}: no transcript of it, {encodable(given / wanted)}.")

    return read
