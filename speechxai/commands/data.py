"""`speechxai data`: what sets there are, what is in a folder, a manifest of your own, downloads."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from speechxai.commands.console import Command, flag, say, warn

if TYPE_CHECKING:
    import pandas as pd

    from speechxai.data.cards import MatchReport
    from speechxai.data.corpus import CheckReport

MAX_LINES = 10
"""How many single files a section names before it counts the rest; --all names every one."""

data_app = typer.Typer(
    name="data",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    help="Data sets: list the cards, check a folder, audit it, import your own, fetch open ones.",
    epilog="""
Examples:

\b
  speechxai data list                                              which sets are known, and how to get them
  speechxai data fetch mdvr-kcl --root DATA/mdvr-kcl               download an open set, resumable
  speechxai data check mdvr-kcl --root DATA/mdvr-kcl               what is in it, and what could mislead a classifier
  speechxai data check folder --root MY_VOICES                     any folder with HC and PD below it
  speechxai data audit mdvr-kcl --root DATA/mdvr-kcl --out audit   what a model reaches on it that hears no disease
  speechxai data import MY_VOICES --labels labels.csv --out manifest.csv
  speechxai data import MY_VOICES --labels labels.csv --classes HC,PD,MSA --out manifest.csv

A card is a text file: copy one, change its pattern, and name it by its path: speechxai data check ./mine.toml --root
DIR
""",
)


def _examples(*lines: str) -> str:
    return "Examples:\n\n\b\n" + "".join(f"  speechxai data {line}\n" for line in lines)


@data_app.command("list", cls=Command, epilog=_examples("list", "list mdvr-kcl", "list --import my_cards"))
def list_cards(
    name: Annotated[
        str, typer.Argument(help="A card whose whole text is shown; all cards in a table without it.")
    ] = "",
    imports: Annotated[list[str] | None, flag("imports")] = None,
) -> None:
    """List the data cards with access, license and size, or show the text of one."""
    from speechxai.data.cards import card_names, card_text, load_card

    if name:
        say(card_text(name))
        return
    cards = [load_card(card) for card in card_names()]
    rows = [(card.name, card.access, card.language, card.size, card.license) for card in cards]
    _table("Data cards", ("card", "access", "language", "size", "license"), rows)
    say("Who is in a set, its confounds, and what it must not be used for: speechxai data list CARD")


def _opened(card: str, root: Path | None) -> tuple[pd.DataFrame, Path, MatchReport | None]:
    """The recordings of a card or a manifest.csv, the folder they lie in, and how files were matched (a card's alone).

    Raises:
        SpeechXAIError: a card without its folder, or one that is not there.
    """
    from speechxai.data.cards import build_manifest, root_of
    from speechxai.data.manifest import read_manifest
    from speechxai.errors import SpeechXAIError

    if Path(card).suffix.lower() == ".csv":
        manifest = read_manifest(card)
        return manifest, root_of(card, root, manifest), None
    if root is None:
        raise SpeechXAIError(f"The data card '{card}' needs the folder of its recordings: give --root.")
    with _bar("Matching files") as progress:
        manifest, match = build_manifest(card, root, progress)
    return manifest, root, match


@data_app.command(
    "check",
    cls=Command,
    epilog=_examples(
        "check mdvr-kcl --root DATA/mdvr-kcl",
        "check folder --root MY_VOICES --out manifest.csv",
        "check manifest.csv --all",
        "check ./mine.toml --root MY_VOICES",
        "check my-card --import my_cards --root MY_VOICES",
    ),
)
def check_folder(
    card: Annotated[str, typer.Argument(help="Name of a card, path of your own card.toml, or a manifest.csv.")],
    root: Annotated[Path | None, flag("root")] = None,
    out: Annotated[Path | None, flag("out", also="The manifest as a CSV file, beside what is printed.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Name every file instead of the first ten of a kind.")] = False,
    imports: Annotated[list[str] | None, flag("imports")] = None,
    overwrite: Annotated[bool, flag("overwrite")] = False,
) -> None:
    """Say what is in a folder and what could mislead a classifier.

    Exit status 1 when nothing matched, files could not be read (or their names not be written), or files are not those
    of the publisher.
    """
    from speechxai.data.corpus import check
    from speechxai.data.manifest import write_manifest
    from speechxai.files import check_out
    from speechxai.signal.audio import NOT_UTF8

    if out is not None:
        check_out(out, "file", overwrite)
    limit = sys.maxsize if every else MAX_LINES
    bad = False
    manifest, root, match = _opened(card, root)
    if match is not None:
        _print_match(match, limit)
        bad = bool(match.changed) or any(reason == NOT_UTF8 for _, reason in match.unmatched)
    if manifest.empty:
        warn(
            f"{root}: nothing matched. The reasons stand above; 'speechxai data list {card}' shows the layouts that are"
            " read."
        )
        raise typer.Exit(1)
    if out is not None:
        write_manifest(manifest, out)
        say(f"Manifest: {out}")
    with _bar("Reading recordings") as progress:
        report = check(manifest, root, progress)
    _print_report(report, manifest, limit)
    if bad or report.unreadable:
        raise typer.Exit(1)


@data_app.command(
    "audit",
    cls=Command,
    epilog=_examples(
        "audit figshare-voice --root DATA/figshare-voice --out audit",
        "audit manifest.csv --out audit",
        "audit folder --root MY_VOICES --out audit --models acoustic",
        "audit figshare-voice --root DATA/figshare-voice --out audit --models acoustic --models cnn",
    )
    + """
What is asked: 'speechxai list probes'. An alarm means that a probe exceeds what chance reaches with any of them
together. After an interruption the same command goes on.
""",
)
def audit_folder(
    card: Annotated[str, typer.Argument(help="Name of a card, path of your own card.toml, or a manifest.csv.")],
    out: Annotated[Path, flag("out", also="The audit's folder: report.html, audit.json, card.md, and what is kept.")],
    root: Annotated[Path | None, flag("root")] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--models",
            help=(
                "Also train the task's own models (acoustic, cnn, whisper, dvector) by speaker on everything, on"
                " matched pairs, without pauses and with everything equalized; repeat for several. Minutes to hours."
            ),
        ),
    ] = None,
    seed: Annotated[int, flag("seed")] = 0,
    imports: Annotated[list[str] | None, flag("imports")] = None,
) -> None:
    """Ask what a model reaches on a data set that hears no disease: age, sex, level, noise, silence, codec and more.

    Each probe alone tells the classes apart, or not, on speakers it never saw, with an interval; recordings under two
    names are found by their sound. With --models: what is left of the AUROC when the confounds are gone. Exit status 1
    when recordings could not be read.
    """
    import time

    from speechxai.audit import audit as work
    from speechxai.audit import left, report
    from speechxai.commands.console import duration, progress_bars
    from speechxai.data.cards import load_card, places_of
    from speechxai.errors import SpeechXAIError, did_you_mean
    from speechxai.files import check_apart, check_out

    began = time.monotonic()
    for model in models or ():
        if model not in left.MODELS:
            raise SpeechXAIError(f"--models: {did_you_mean(model, list(left.MODELS), 'model')}")
    check_out(out)
    published, name, title = [], Path(card).stem, ""
    manifest, root, match = _opened(card, root)
    if match is not None:
        loaded = load_card(card)
        published, name, title = loaded.published, loaded.name, loaded.title
    check_apart(out, places_of(card, root))
    if manifest.empty:
        raise SpeechXAIError(f"{root}: nothing matched. See 'speechxai data check {card} --root {root}'.")
    with progress_bars(lambda total, what: what.partition(":")[0]) as show:
        found = work.audit_set(manifest, root, out / "measures", name=name, title=title, progress=show, seed=seed)
        warn(f"Probes: {duration(time.monotonic() - began)}.")
        report.write(out, found, published=published)
        done: list[left.Left] = []
        recordings = work.recordings_of(manifest, root) if models else []
        for model in models or ():
            for condition in left.CONDITIONS:
                each = left.leave(recordings, model, condition, out / "models", show, seed=seed)
                done.append(each)
                words = each.reason or f"AUROC {each.auroc:.3f} [{each.low:.3f}, {each.high:.3f}]"
                warn(f"{model}, {each.label}: {words}, {duration(each.wall_s)}")
                report.write(out, found, done, left.doubted(done, recordings), published)
    _table(
        report.probe_table(found).title + f": AUROC of {found.classes[1]} against {found.classes[0]}",
        ("probe", "AUROC", "95 % interval", "bound", "what tells most"),
        [
            (each.label, "not asked", "", "", each.reason)
            if each.reason
            else (
                each.label,
                f"{each.auroc:.3f}",
                f"{each.low:.3f} to {each.high:.3f}",
                f"{each.bound:.3f}",
                ("ALARM: " if each.alarm else "") + each.leading,
            )
            for each in found.probes
        ],
        right=(1, 3),
    )
    for sentence in report.findings(found, done, published):
        say(("Caution. " if sentence.tone == "caution" else "") + sentence.text)
    for reason in found.unreadable:
        warn(f"left out: {reason}")
    say(f"Written: {out / 'report.html'}, after {duration(time.monotonic() - began)}")
    if found.unreadable:
        raise typer.Exit(1)


@data_app.command(
    "import",
    cls=Command,
    epilog=_examples(
        "import MY_VOICES --labels labels.csv --out manifest.csv",
        "import MY_VOICES --labels labels.xlsx --classes HC,PD,MSA",
        "import MY_VOICES --labels labels.csv --merge-speakers",
    ),
)
def import_labels(
    folder: Annotated[Path, typer.Argument(help="Folder with the recordings.")],
    labels: Annotated[Path, flag("labels", also="More columns if you have them.")],
    out: Annotated[Path, flag("out", also="The manifest.")] = Path("manifest.csv"),
    name: Annotated[str, typer.Option(help="Name of the data set; the folder's name without it.")] = "",
    merge_speakers: Annotated[
        bool,
        typer.Option(
            "--merge-speakers", help="Speakers that differ in spelling alone (007, 7, 7.0; Subj01, subj1) are one."
        ),
    ] = False,
    classes: Annotated[
        str,
        typer.Option(
            metavar="CONTROL,OTHER[,...]",
            help=(
                "Names of all classes, the control first; NAME=TEXT where the table says it otherwise. Without it the"
                " labels must be HC / PD or healthy / pathological, in any usual spelling."
            ),
        ),
    ] = "",
    overwrite: Annotated[bool, flag("overwrite")] = False,
) -> None:
    """Make a manifest of your own folder and a table of labels.

    The table has a row a recording: `file,label,speaker` with the name of a class, or unknown, as label; it may add
    task, sex, age, updrs, updrs_speech, hoehn_yahr, medication, language, and any other columns, which are kept. A
    recording without a label is an error: nothing is guessed.
    """
    from speechxai.data.cards import import_folder
    from speechxai.data.manifest import classes_of, label_names, own_columns, write_manifest
    from speechxai.data.tables import merged, not_understood, same_person, spelled_differently
    from speechxai.files import check_out

    check_out(out, "file", overwrite)
    name = name or os.path.basename(os.path.realpath(folder))
    manifest = import_folder(folder, labels, name, classes=classes.split(",") if classes else None)
    groups = same_person(manifest["speaker"]) if merge_speakers else ()
    if groups:
        manifest["speaker"] = merged(list(manifest["speaker"]))
    write_manifest(manifest, out)
    for group in groups:
        say(f"One speaker now: {', '.join(group)}")
    for words in not_understood(manifest):
        warn(f"Beware: {words}")
    for words in spelled_differently(manifest["speaker"]):
        warn(f"Beware: {words} --merge-speakers makes them one; otherwise they may stand in train and test.")
    counts = Counter(label_names(manifest))
    found = ", ".join(f"{counts[name]} {name}" for name in (*classes_of(manifest), "unknown") if counts[name])
    say(f"{out}: {len(manifest)} recordings of {manifest['speaker'].nunique()} speakers ({found})")
    for column in own_columns(manifest):
        kind = "numbers" if manifest[column].dtype == "Float64" else f"{manifest[column].nunique()} different texts"
        say(f"  kept beside: {column} ({kind})")
    say(f"Next: speechxai data check {out}")


@data_app.command(
    "fetch",
    cls=Command,
    epilog=_examples("fetch mdvr-kcl --root DATA/mdvr-kcl", "fetch ./mine.toml --root DATA/mine"),
)
def fetch_card(
    card: Annotated[str, typer.Argument(help="Name of an open data set.")],
    root: Annotated[Path, flag("root", also="The download goes there; made if it is not there.")],
    imports: Annotated[list[str] | None, flag("imports")] = None,
) -> None:
    """Download an open data set, compare it with the publisher's checksums, unpack it.

    A download that broke off goes on where it stopped when the command is run again. Sets that need a request are not
    downloaded; the command says how to obtain them.
    """
    from speechxai.data.cards import load_card
    from speechxai.data.fetch import fetch

    loaded = load_card(card)
    if loaded.fetch:
        say(f"{loaded.title}\nLicense: {loaded.license}\nSource: {loaded.source}")
    with _byte_bar() as progress:
        files = fetch(loaded, root, progress)
    for file in files:
        kept = f", {file.resumed_bytes} of them from before" if file.resumed_bytes else ""
        say(
            f"{root / file.name}: {file.n_bytes} bytes{kept}; {file.unpacked} files unpacked"
            if file.unpacked
            else f"{root / file.name}: {file.n_bytes} bytes{kept}"
        )
        if file.verified in ("sha256", "md5"):
            say(f"  {file.verified} is the publisher's; sha256 {file.sha256}")
        else:
            say(f"  the publisher's checksum is not known here (compared: {file.verified}); sha256 {file.sha256}")
    say(f"Next: speechxai data check {card} --root {root}")


def _print_match(match: MatchReport, limit: int) -> None:
    left = f", {len(match.left_out)} left out on purpose" if match.left_out else ""
    say(
        f"\n{match.card}: {match.n_audio} audio files, {match.n_matched} matched, {len(match.unmatched)} not"
        f" matched{left}"
    )
    _lines("Not matched", [f"{path}: {reason}" for path, reason in match.unmatched], limit)
    reasons = Counter(reason for _, reason in match.left_out)
    _lines("Left out", [f"{count} files: {reason}" for reason, count in reasons.items()], limit)
    _lines("Not the publisher's bytes (sha256 differs)", list(match.changed), limit)
    _lines("Listed, but not in the folder", list(match.missing), limit)
    _lines("Notes", list(match.notes), sys.maxsize)


def _print_report(report: CheckReport, manifest: pd.DataFrame, limit: int) -> None:
    from speechxai.data.manifest import classes_of

    classes = ", ".join(f"{count} {name}" for name, count in report.classes.items())
    total_s = float(report.quality["duration_s"].sum())
    say(f"\n{report.n_files} files, {classes}; {manifest['speaker'].nunique()} speakers, {total_s:.0f} s in all")
    rows = [(name, str(report.classes[name]), str(report.speakers.get(name, 0))) for name in report.classes]
    _table("Classes", ("class", "recordings", "speakers"), rows, right=(1, 2))
    tasks = ", ".join(f"{name} ({count})" for name, count in report.tasks.items())
    rates = ", ".join(f"{rate} Hz ({count})" for rate, count in report.sample_rates.items())
    say(f"Tasks: {tasks}\nSample rates: {rates or 'none'}")
    _table("Quality", ("measure", "lowest", "median", "highest"), _quality_rows(report), right=(1, 2, 3))
    kinds = Counter(words.split(":")[0] for _, words in report.warnings)
    common = {kind for kind, count in kinds.items() if count > 0.5 * report.n_files}
    warnings = [f"{kind}: {count} of {report.n_files} recordings" for kind, count in kinds.items() if kind in common]
    warnings += [f"{name}: {words}" for name, words in report.warnings if words.split(":")[0] not in common]
    _lines("Quality warnings", warnings, limit)
    _lines("Same file twice (byte by byte)", [_same(group, manifest) for group in report.duplicates], limit)
    _lines(
        "Same sound in several files (another container, bit depth or level; cut or resampled copies are not found)",
        [_same(group, manifest) for group in report.copies],
        limit,
    )
    _lines("Cannot be read", [message for _, message in report.unreadable], limit)
    _lines("Not understood", list(report.not_understood), limit)
    _lines("Speakers that may be one person, and would stand in train and test", list(report.spellings), limit)
    _table(
        f"Confounds: how well each of these ALONE separates {' from '.join(classes_of(manifest))} (AUC; 0.5 is chance,"
        " 1 is perfect)",
        ("what", "AUC", "chance up to", "higher in", "meaning"),
        [
            (c.name, _number(c.auc), _number(c.chance), c.higher_in, ("ALARM: " if c.alarm else "") + c.note)
            for c in report.confounds
        ],
        right=(1, 2),
    )
    alarms = [f"{c.name} (AUC {c.auc:.3f})" for c in report.confounds if c.alarm]
    if alarms:
        say(
            f"Beware: {', '.join(alarms)} tells the classes apart without any speech. A good score on this set may not"
            " be about the voice."
        )


def _same(group: Sequence[str], manifest: pd.DataFrame) -> str:
    """Recordings that are one, and what their rows say of it that cannot all be true."""
    from speechxai.data.manifest import label_names

    rows = manifest.assign(label=label_names(manifest))
    rows = rows[rows["recording"].isin(group)]
    different = [
        f"{title} {' and '.join(rows[column].unique())}"
        for column, title in (("speaker", "speakers"), ("label", "LABELS"))
        if rows[column].nunique() > 1
    ]
    return " = ".join(group) + (f": {', '.join(different)}" if different else "")


def _quality_rows(report: CheckReport) -> list[tuple[str, ...]]:
    names = {
        "duration_s": "duration, s",
        "rms_dbfs": "level, dB of full scale",
        "peak": "peak (full scale 1)",
        "clipping_share": "clipped share",
        "silence_share": "silent share",
        "snr_db": "speech above background, dB",
        "bandwidth_hz": "bandwidth, Hz",
    }
    rows: list[tuple[str, ...]] = []
    for column, title in names.items():
        values = report.quality[column].dropna()
        digits = 0 if column == "bandwidth_hz" else 3 if "share" in column else 2
        if not len(values):
            rows.append((title, *("not known",) * 3))
            continue
        cells = (values.min(), values.median(), values.max())
        known = "" if len(values) == len(report.quality) else f" ({len(values)} of {len(report.quality)})"
        rows.append((title + known, *(f"{value:.{digits}f}" for value in cells)))
    return rows


def _number(value: float) -> str:
    return "not known" if value != value else f"{value:.3f}"


def _lines(title: str, lines: Sequence[str], limit: int) -> None:
    if lines:
        say(f"\n{title}:")
        for line in lines[:limit]:
            say(f"  {line}")
        if len(lines) > limit:
            say(f"  and {len(lines) - limit} more; --all names them")


def _table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", title_style="bold")
    for index, name in enumerate(header):
        table.add_column(name, justify="right" if index in right else "left")
    for row in rows:
        table.add_row(*(Text(cell, style="bold red" if cell.startswith("ALARM") else "") for cell in row))
    # Written to a file or a pipe there is no width to respect: rows stay whole for whoever searches in them.
    console = Console() if sys.stdout.isatty() else Console(width=160)
    say()
    console.print(table)


@contextmanager
def _bar(title: str) -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def _byte_bar() -> Iterator[Callable[[str, int, int | None], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        tasks = {}

        def draw(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total)
            bar.update(tasks[name], completed=done, total=total)

        yield draw
