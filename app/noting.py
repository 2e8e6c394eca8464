"""Notes on a recording: kept across pages, edited under the player, written to the one folder that their owner sees."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st

from app import player, sources, widgets
from app.sources import Key
from speechxai.files import to_json
from speechxai.inspection import notes
from speechxai.inspection.inspect import Heard
from speechxai.inspection.notes import MOST, TICKS, WHOLE, Note
from speechxai.inspection.report import file_name


def folder() -> Path:
    """Where notes lie: beside the saved cases, never in the cache."""
    return Path(st.session_state.get("save_to", sources.settings().save_to)).expanduser() / "notes"


def of(key: Key) -> tuple[Note, ...]:
    """Notes on a recording, in the order of a reader's session; of a catalogue's recording those of the folder."""
    store: dict[Key, tuple[Note, ...]] = st.session_state.setdefault("notes", {})
    if key not in store:
        store[key] = notes.read(folder(), key[1]) if key[0] == "catalogue" else notes.ordered(())
    return store[key]


def keep(key: Key, changed: Sequence[Note]) -> None:
    """Keep notes: those of a reader's own recording in memory until its case is saved, others in the folder."""
    st.session_state.setdefault("notes", {})[key] = tuple(changed)
    if key[0] != "catalogue":
        return
    try:
        notes.write(folder(), key[1], changed)
        st.session_state.pop("notes_problem", None)
    except OSError as error:
        st.session_state["notes_problem"] = f"{folder()}: the notes cannot be written ({error.strerror})."


def shown_in(key: Key, heard: Heard, component: str) -> None:
    """Hand a player the notes on its recording."""
    st.session_state.setdefault("notes_of", {})[heard.digest] = key
    player.note(heard.digest, notes.for_player(of(key)), key=f"notes_of_{component}")


def take(component: str) -> None:
    """Take over what a reader kept, moved, selected or deleted in a player."""
    said = player.kept(component)
    key = st.session_state.get("notes_of", {}).get(said.get("recording"))
    if key is None:
        return
    before = of(key)
    changed = notes.merged(before, said.get("items") or (), said.get("removed") or ())
    if changed != before:
        keep(key, changed)
    ids = [note.id for note in changed]
    if said.get("chosen") in ids:
        st.session_state[f"note_chosen_{key[1]}"] = said["chosen"]


def panel(key: Key, heard: Heard, title: str) -> tuple[Note, ...]:
    """The notes on a recording, to be read and edited; returns them for the report."""
    found = of(key)
    box = f"note_chosen_{key[1]}"
    titles = [note.title for note in found]
    names = {note.id: note.title if titles.count(note.title) < 2 else f"{note.title}, {note.place}" for note in found}
    names = widgets.told_apart(names)
    if st.session_state.get(box) not in names:
        st.session_state[box] = WHOLE
    chosen = st.pills("Note on", list(names), format_func=lambda id_: widgets.plain(names[id_]), key=box) or WHOLE
    note = next(note for note in found if note.id == chosen)
    if note.id != WHOLE:
        _region(key, note, heard)
    st.text_area(
        "Comment",
        note.text,
        key=_widget(key, note, "text"),
        height=80,
        max_chars=notes.LONGEST,
        on_change=partial(_edit, key, note, "text"),
    )
    st.caption("By ear: 0 not at all, 1 slight, 2 moderate, 3 severe. Press again to take one back.")
    for place, name in enumerate(TICKS):
        if place % 3 == 0:
            columns = st.columns(3)
        with columns[place % 3]:
            st.segmented_control(
                name,
                list(range(MOST + 1)),
                default=note.ticks.get(name),
                key=_widget(key, note, name),
                on_change=partial(_edit, key, note, name),
            )
    _files(key, found, heard, title)
    return found


def _widget(key: Key, note: Note, name: str) -> str:
    return f"note_{key[1]}_{note.id}_{name}"


def _region(key: Key, note: Note, heard: Heard) -> None:
    """Name and edges of a region, and its end."""
    one, two, three, four, five, six = st.columns([3, 1.3, 1.3, 1.3, 1.3, 0.9], vertical_alignment="bottom")
    with one:
        st.text_input("Name", note.name, key=_widget(key, note, "name"), on_change=partial(_edit, key, note, "name"))
    duration_s, top_hz = len(heard.waveform) / heard.sample_rate_hz, heard.sample_rate_hz / 2
    edges = (
        ("From, s", "start_s", duration_s, 0.05, "%.2f"),
        ("To, s", "end_s", duration_s, 0.05, "%.2f"),
        ("From, Hz", "low_hz", top_hz, 100.0, "%.0f"),
        ("To, Hz", "high_hz", top_hz, 100.0, "%.0f"),
    )
    for column, (label, name, most, step, shown) in zip((two, three, four, five), edges, strict=True):
        value = getattr(note, name)
        with column:
            # The key holds the value: an edge that was moved in the player is another one here.
            st.number_input(
                label,
                0.0,
                float(most),
                None if value is None else min(float(value), float(most)),
                step,
                format=shown,
                key=_widget(key, note, f"{name}_{value}"),
                on_change=partial(_edge, key, note, name, f"{name}_{value}"),
                placeholder="all",
            )
    with six:
        st.button(
            "Delete", key=_widget(key, note, "delete"), help="Deletes this note.", on_click=partial(_delete, key, note)
        )


def _edit(key: Key, note: Note, name: str) -> None:
    value = st.session_state[_widget(key, note, name)]
    if name in TICKS:
        now = dict(next(one for one in of(key) if one.id == note.id).ticks)
        now.pop(name, None)
        keep(key, notes.changed(of(key), note.id, ticks=now if value is None else {**now, name: int(value)}))
    else:
        keep(key, notes.changed(of(key), note.id, **{name: str(value)[: notes.LONGEST].strip()}))


def _edge(key: Key, note: Note, name: str, widget: str) -> None:
    value = st.session_state[_widget(key, note, widget)]
    if name in ("start_s", "end_s") and value is None:
        return
    what: dict[str, Any] = {name: value}
    if name in ("low_hz", "high_hz"):  # both or none: a box has two edges
        other = "high_hz" if name == "low_hz" else "low_hz"
        if value is None:
            what[other] = None
        elif getattr(note, other) is None:
            what[other] = 0.0 if other == "low_hz" else 8_000.0
    keep(key, notes.changed(of(key), note.id, **what))


def _delete(key: Key, note: Note) -> None:
    keep(key, notes.without(of(key), [note.id]))


def _files(key: Key, found: Sequence[Note], heard: Heard, title: str) -> None:
    """What to take away, where notes lie, and how they are deleted."""
    duration_s = len(heard.waveform) / heard.sample_rate_hz
    stem = file_name(title)
    kinds: tuple[tuple[str, str, str, Callable[[], bytes]], ...] = (
        ("Notes (TextGrid)", "_notes.TextGrid", "text/plain", lambda: notes.textgrid(found, duration_s).encode()),
        ("Notes (Audacity)", "_notes_labels.txt", "text/plain", lambda: notes.audacity(found, duration_s).encode()),
        ("Notes (JSON)", "_notes.json", "application/json", lambda: to_json(notes.content(title, found))),
        ("Notes (CSV)", "_notes.csv", "text/csv", lambda: notes.table(title, found).encode()),
    )
    if notes.told(found):
        for column, (label, ending, mime, make) in zip(st.columns(len(kinds)), kinds, strict=True):
            with column:
                widgets.button(label, f"{stem}{ending}", mime, make)
    if problem := st.session_state.get("notes_problem"):
        st.error(widgets.plain(problem), icon=":material/error:")
    left, right = st.columns([4, 1.3], vertical_alignment="center")
    with left:
        where = (
            f"Written at once to {folder()}"
            if key[0] == "catalogue"
            else "In memory until you save the case; gone with this page"
        )
        text = html.escape(f"{where}. Notes are health data: never in the cache, never sent anywhere.")
        widgets.show_html(f'<p class="sx-sub">{text}</p>')
    with right:
        if st.button(
            "Delete all notes",
            icon=":material/delete:",
            key="delete_notes",
            help=f"All notes on all recordings, at once. Saved cases are folders of their own in {folder().parent}.",
        ):
            _delete_all()


def _delete_all() -> None:
    try:
        count = notes.delete_all(folder())
    except OSError as error:
        st.error(widgets.plain(f"{folder()}: not deleted ({error.strerror})."), icon=":material/error:")
        return
    st.session_state["notes"] = {}
    for name in [n for n in st.session_state if str(n).startswith(("note_", "notes_"))]:
        st.session_state.pop(name, None)
    st.toast(f"Notes on {count} recording{'' if count == 1 else 's'} deleted.", icon=":material/delete:")
    st.rerun()
