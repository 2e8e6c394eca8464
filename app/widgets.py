"""Pieces that several pages share: what is chosen, how long work shows itself, and how answers look."""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import json
import re
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import streamlit as st

from app import charts, sources, state
from app.sources import Key
from speechxai.classifiers.scope import Scope
from speechxai.inspection import words
from speechxai.inspection.inspect import Heard
from speechxai.inspection.report import file_name
from speechxai.inspection.words import NOTICE, Sentence, Verdict, class_words

# Pieces that several pages share: what is chosen, how long work shows itself, and how answers look.
FOLDER = Path(__file__).resolve().parent / "components"
SHOWN_AFTER_S = 0.4


def show_html(text: str) -> None:
    """Show HTML that this app made; everything from outside was escaped by its maker."""
    st.html(text)


def plain(text: object) -> str:
    """Text from outside so that Streamlit's Markdown shows it as it is: no picture, no link, no mark of any kind."""
    # Streamlit makes links of bare addresses after the marks are read; a word joiner, which nobody sees, prevents it.
    broken = re.sub(r"(?i)(?=://)|(?<=www)(?=\.)|(?=@)", "\u2060", str(text))
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", broken)


def card(text: str) -> None:
    """Show a card, which others wrote: its headings, tables and lists, but no pictures and no links."""
    from markdown_it import MarkdownIt

    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    reader.disable(["image", "link", "autolink", "reference"])
    show_html(f'<div class="sx-card-text">{reader.render(text)}</div>')


def style() -> None:
    """Hand the page its look; a style alone takes no room."""
    show_html(f"<style>{(FOLDER / 'app.css').read_text(encoding='utf-8')}</style>")


def page(title: str, subtitle: str = "") -> None:
    """Open a page: its question, and a line about it."""
    st.title(title)
    if subtitle:
        show_html(f'<p class="sx-sub">{html.escape(subtitle)}</p>')


def foot() -> None:
    """Close a page with what the app is not."""
    show_html(f'<p class="sx-foot">{NOTICE} Nothing leaves this computer.</p>')


# ---- what is chosen: in the address, so that a page can be sent to a colleague, and in the session


def remember(name: str, value: str) -> None:
    """Keep a choice for other pages and write it into the address."""
    st.session_state[f"chosen_{name}"] = value
    if st.query_params.get(name) != value:
        st.query_params[name] = value


def recalled(name: str, options: Sequence[str], default: str | None = None) -> int:
    """Index of the choice that the address or the session names, else of the default, else 0."""
    for value in (st.query_params.get(name), st.session_state.get(f"chosen_{name}"), default):
        if value in options:
            return list(options).index(value)
    return 0


def told_apart(words: Mapping[str, str]) -> dict[str, str]:
    """Words for options, each of its own: a select box takes options of the same words for one, and shows the first.

    >>> told_apart({"a": "Model", "runs/b": "Model", "c": "Another"})
    {'a': 'Model (a)', 'runs/b': 'Model (runs/b)', 'c': 'Another'}
    """
    several = {text for text, count in Counter(words.values()).items() if count > 1}
    return {name: f"{text} ({name})" if text in several else text for name, text in words.items()}


MUST_BE_HERE = ("recording", "model")
"""Choices of which a link that names another shows nothing at all."""


def choose(
    label: str,
    name: str,
    options: Sequence[str],
    words: Callable[[str], str] = str,
    help_text: str | None = None,
    default: str | None = None,
) -> str:
    """A select box whose choice survives a change of page and stands in the address."""
    wanted = st.query_params.get(name)
    ours = st.session_state.get(f"chosen_{name}") == wanted  # written by this page, for what it showed before
    key = f"box_{name}"
    if st.session_state.get(key) not in options:
        st.session_state.pop(key, None)
    shown = told_apart({option: words(option) for option in options})
    index: int | None = recalled(name, options, default)
    if wanted is not None and wanted not in options and not ours and st.session_state.get(key) is None:
        text = f"The link names the {label.lower()} '{plain(wanted)}', which is not here."
        if name in MUST_BE_HERE:  # another person's recording, or another model's answer, is not what was linked to
            index = None
        elif not st.session_state.get(f"told_{name}_{wanted}"):
            st.session_state[f"told_{name}_{wanted}"] = True
            st.toast(text, icon=":material/info:")
    chosen = st.selectbox(
        label, options, index=index, format_func=shown.__getitem__, key=key, help=help_text, placeholder="Choose"
    )
    if chosen is None:
        st.error(f"{text} Nothing is shown: choose one.", icon=":material/link_off:")
        st.stop()
    remember(name, chosen)
    return chosen


def step(name: str, options: Sequence[str], by: int) -> None:
    """Move a choice to the next or the one before, around the ends."""
    at = recalled(name, options)
    moved = options[(at + by) % len(options)]
    st.session_state[f"box_{name}"] = moved
    remember(name, moved)


def choose_model() -> str:
    """The model, by name."""
    names = sources.models()
    if not names:
        st.error("There is no model. Start the app with one: speechxai app --model FOLDER.", icon=":material/error:")
        st.stop()
    folders = sources.models_by_name()
    named = st.query_params.get("model")
    if named in names:  # a link of an earlier version, with a path
        st.query_params["model"] = next(short for short, folder in folders.items() if folder == named)
    return folders[
        choose("Model", "model", list(folders), lambda short: sources.bundle(folders[short]).config.title or short)
    ]


def choose_recipe(model: str, label: str = "Explained by") -> str:
    """A method or combination, by name and with what it does; one that the network does not allow is not offered."""
    options = state.method_menu(model)
    wanted = st.query_params.get("recipe")
    if wanted and wanted not in options:
        canonical = state.canonical(wanted)
        if canonical:
            options.append(canonical)
            st.query_params["recipe"] = canonical
    help_text = (
        "Each method looks for the evidence in its own way. The last three are controls that know nothing of the model."
    )
    return choose(label, "recipe", options, words.method_words, help_text, state.FIRST_METHOD)


def try_methods(model: str) -> None:
    """At the end of a page: find out once which methods a network allows, for the menus of the next turn."""
    with working("Trying which methods this network allows", f"methods {model}") as tick:
        state.try_methods(model, tick)


def choose_class(model: str) -> str:
    """The class that evidence is shown for: the answer's, unless another is chosen."""
    names = sources.bundle(model).config.classes
    return choose(
        "Evidence for",
        "target",
        ["auto", *names],
        lambda name: "the answer" if name == "auto" else words.class_words(name),
        default="auto",
    )


# ---- long work


@contextmanager
def working(label: str, job: str, at_once: bool = False) -> Iterator[Callable[..., None]]:
    """Show that work goes on, with a way to stop it. Yields a function to call between steps: (done, total) or nothing.

    A reader who stops it, or who chooses something else meanwhile, ends the work at its next step. Work whose first
    step takes long is shown `at_once`, other work once it takes longer than a moment.
    """
    if st.session_state.get("stopped") == job:
        st.info(f"{plain(label)}: stopped.", icon=":material/pause_circle:")
        if st.button("Go on", key=f"again_{job}"):
            st.session_state.pop("stopped")
            st.rerun()
        st.stop()
    place = st.empty()
    began, last, shown, steps = time.monotonic(), 0.0, None, 0
    wait_s = 0.0 if at_once else SHOWN_AFTER_S

    def stop() -> None:
        st.session_state["stopped"] = job

    def tick(done: int | None = None, total: int | None = None) -> None:
        nonlocal last, shown, steps
        steps += 1
        now = time.monotonic()
        if now - began < wait_s or now - last < 0.25:
            return
        last = now
        if shown is None:
            with place.container(border=True):
                shown = st.empty()
                st.button("Stop", key=f"stop_{job}", on_click=stop)
        if total:
            shown.progress((done or 0) / total, text=f"{plain(label)}: {done} of {total}")
        else:
            shown.progress(0.0 if steps < 2 else 1 - 0.97**steps, text=f"{plain(label)}: {now - began:.0f} s")

    if at_once:
        tick()
    yield tick
    place.empty()


LARGE_BYTES = 20_000_000
"""Weights from here on take so long to read that it is said."""


def load(model: str, key: Key) -> None:
    """Read the weights that answer about a recording; a large model says so at once, over an outline of the page."""
    chosen = sources.bundle(model)
    fold = chosen.fold_of(sources.recording(model, key))
    n_bytes = chosen.unread_bytes(fold)
    if n_bytes < LARGE_BYTES:
        return
    place = st.empty()
    place.html(
        f'<div role="status" class="sx-loading"><p>Loading the model ({n_bytes / 1e6:.0f} MB)</p><i class="bar"></i>'
        '<div aria-hidden="true"><i></i><i></i></div></div>'
    )
    time.sleep(0.05)  # the message leaves before the weights fill the processor
    chosen.classifier(fold)
    place.empty()


# ---- answers


def what_to_record(scope: Scope | None) -> None:
    """Show which recordings a model was made for: before there is one, and beside one that it names no class for."""
    asked = "".join(f"<p>{html.escape(text)}</p>" for text in words.instructions(scope))
    show_html(
        f'<div class="sx-card sx-words"><h2>What to record for this model</h2>{asked}<p>The microphone a hand\'s width'
        " from the mouth. Every recording is checked for length, level, clipping, noise, sample rate and for a voice"
        " before the model answers; the model's card, on the About page, has the ranges.</p></div>"
    )


def verdict(
    what: Heard,
    labeled: str = "",
    same: bool | None = None,
    share: float = words.USUAL_SHARE,
    name: str = "",
) -> str:
    """HTML of the model's answer: class, probability, how stable it is, whether the label says the same, and how often
    such an answer is right.

    No class is named outside of what the model was made for, nor where it does not say what that is.

    Args:
        what: the recording and the answer.
        labeled: name of its label, "" where there is none.
        same: whether the two are one class; None where nobody knows.
        share: of the ill among the people that the reader sees.
        name: of the recording, and who speaks.
    """
    who = f'<div class="who">{html.escape(name)}</div>' if name else ""
    if what.scope.state != "inside":
        head = "No class" if what.scope.state == "outside" else "Scope unknown"
        return (
            f'<div class="sx-card sx-verdict">{who}<div class="says">The model says</div>'
            f'<div class="answer"><b>{head}</b></div><p class="note">{unbroken(what.scope.reason)}</p></div>'
        )
    index = what.predicted
    p = what.shown(float(what.probability[index]), index)
    low, high = sorted(what.shown(end, index) for end in what.range(index))
    scale = what.scale(index)
    truth = ""
    if labeled:
        told = "as labeled" if same else f"{'' if same is None else 'but '}labeled {class_words(labeled)}"
        truth = f" <span>({html.escape(told)})</span>"
    stable = words.stability_words(what.fold, len(what.folds), low, high)
    stated = what.bundle.probability_words
    stated = html.escape(stated[0].upper() + stated[1:])
    x = [4 + 292 * v for v in (low, p, high)]
    at = what.condition
    ends = ("0", "1") if at is None else (f"0 {what.class_names[1 - at]}", f"1 {what.class_names[at]}")
    svg = (
        '<svg viewBox="0 0 300 30"><line x1="4" x2="296" y1="10" y2="10" stroke="#dfe6e6" stroke-width="6"'
        f' stroke-linecap="round"/><line x1="{x[0]:.1f}" x2="{x[2]:.1f}" y1="10" y2="10" stroke="#8fbfc3"'
        ' stroke-width="6" stroke-linecap="round"/><line x1="150" x2="150" y1="2" y2="18" stroke="#56646b"'
        f' stroke-width="1"/><circle cx="{x[1]:.1f}" cy="10" r="6" fill="#0b6670"/><g font-size="10" fill="#4d5c64"'
        f' font-family="system-ui,sans-serif"><text x="0" y="29">{html.escape(ends[0])}</text><text x="150" y="29"'
        f' text-anchor="middle">0.5</text><text x="300" y="29" text-anchor="end">{html.escape(ends[1])}</text></g>'
        "</svg>"
    )
    drawn = charts.figure(svg, f"{scale} {p:.2f}, stable between {low:.2f} and {high:.2f}")
    counts = "".join(f"<p>{unbroken(sentence)}</p>" for sentence in what.chances(share))
    return (
        f'<div class="sx-card sx-verdict">{who}<div class="says">The model says{truth}</div>'
        f'<div class="answer"><b>{html.escape(class_words(what.class_names[index]))}</b>'
        f"<span><small>{html.escape(scale)}</small> {p:.2f}</span></div>{drawn}"
        f'<p class="note">{stated} {stable}</p>'
        f'<div class="counts">{counts}</div></div>'
    )


SHARES = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5)
"""Shares of the ill that a reader may name."""


def share_of_ill() -> float:
    """Share of the ill among the people that the reader sees, as chosen or linked to."""
    options = [words.one_in(share) for share in SHARES]
    return SHARES[recalled("share", options, words.one_in(words.USUAL_SHARE))]


def choose_share() -> None:
    """How many of the people that the reader sees are ill: what an answer means depends on it."""
    options = [words.one_in(share) for share in SHARES]
    choose(
        "Of the people you see, ill are",
        "share",
        options,
        help_text="Half of a data set is ill; of the people in a corridor few are, and most alarms are wrong there.",
        default=words.one_in(words.USUAL_SHARE),
    )


def map_verdict(found: Verdict) -> str:
    """HTML of what the map is worth, with the reason."""
    head, _, reason = found.text.partition(": ")
    return f'<p class="sx-worth {found.key}"><b>{html.escape(head)}</b>: {unbroken(reason)}</p>'


def unbroken(text: str) -> str:
    """Text for HTML in which a number and its unit stay on one line."""
    return re.sub(r"(\d) (%|k?Hz|dB|s)(?![A-Za-z])", "\\1\u00a0\\2", html.escape(text))


def cautions(found: Sequence[Sentence]) -> str:
    """HTML of what speaks against trusting the answer or the map; "" where nothing does."""
    against = "".join(f"<li>{unbroken(s.text)}</li>" for s in found if s.kind == "caution")
    return f'<div class="sx-caution"><h2>Before you trust it</h2><ul>{against}</ul></div>' if against else ""


def sentences(found: Sequence[Sentence], waiting: str = "") -> str:
    """HTML of what matters, in words; `waiting` says what else will come."""
    said = "".join(f"<p>{unbroken(s.text)}</p>" for s in found if s.kind not in ("caution", "verdict"))
    more = f'<p class="more" role="status">{html.escape(waiting)}</p>' if waiting else ""
    return f'<div class="sx-card sx-words"><h2>What matters</h2>{said}{more}</div>'


def glossary() -> None:
    """The words that a page uses, for those who ask."""
    with st.expander("Words on this page"):
        lines = "".join(
            f"<dt>{html.escape(name)}</dt><dd>{html.escape(said)}</dd>" for name, said in words.GLOSSARY.items()
        )
        show_html(f'<dl class="sx-glossary">{lines}</dl>')


def problem(error: Exception) -> None:
    """Say what went wrong, in the library's own words."""
    st.error(plain(error), icon=":material/error:")


def label_of(row: Any) -> int | None:
    """The label of a catalogue row, None where it is unknown."""
    value = row.get("label")
    return None if value is None or value != value or str(value) == "<NA>" else int(value)


def short_name(key: Key, title: str) -> str:
    """Name of a recording for titles and files."""
    return title if key[0] == "mine" else key[1]


# Files for the reader's disk, made when asked for and handed over inside the page: nothing lies at an address that
# others could open.
HTML = '<button type="button" class="get" disabled>Download</button>'
"""The button has a name before its script has run, or screen readers meet a nameless one."""
CSS = """
.get { width: 100%; min-height: 40px; padding: 0 14px; font: 15px "Source Sans", "Source Sans Pro", system-ui, sans-serif; color: #1f2a30; background: #fff; border: 1px solid #cfd8d9; border-radius: 8px; cursor: pointer; }
.get:disabled, .get[aria-busy] { cursor: progress; }
.get:hover { background: #f3f6f6; border-color: #0b6670; }
.get:focus-visible { outline: 2px solid #0b6670; outline-offset: 2px; }
"""  # noqa: E501
JS = """
const waiting = new WeakMap();
export default function ({ data, parentElement, setTriggerValue }) {
  if (!data) return;
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const length = view.getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(data.subarray(4, 4 + length)));
  const button = parentElement.querySelector("button");
  button.textContent = header.label;
  button.disabled = false;
  button.onclick = () => {
    waiting.set(button, String(Date.now()));
    button.setAttribute("aria-busy", "true");
    setTriggerValue("wanted", waiting.get(button));
  };
  if (!header.turn || header.turn !== waiting.get(button)) return;
  waiting.delete(button);
  button.removeAttribute("aria-busy");
  const url = URL.createObjectURL(new Blob([data.slice(4 + length)], { type: header.type }));
  const link = Object.assign(document.createElement("a"), { href: url, download: header.name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
"""

SOUND_HTML = '<span class="sound"><span class="name"></span><audio controls preload="auto"></audio></span>'
SOUND_CSS = """
.sound { display: flex; align-items: center; gap: 10px; font: 14px "Source Sans", "Source Sans Pro", system-ui, sans-serif; color: #1f2a30; }
.sound .name { flex: 0 0 11rem; } .sound audio { height: 36px; flex: 1; min-width: 0; }
"""  # noqa: E501
SOUND_JS = """
const urls = new WeakMap();
export default function ({ data, parentElement }) {
  if (!data) return;
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const length = view.getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(data.subarray(4, 4 + length)));
  const audio = parentElement.querySelector("audio");
  if (audio.dataset.name === header.turn) return;
  audio.dataset.name = header.turn;
  parentElement.querySelector(".name").textContent = header.label;
  audio.setAttribute("aria-label", header.label);
  if (urls.has(audio)) URL.revokeObjectURL(urls.get(audio));
  urls.set(audio, URL.createObjectURL(new Blob([data.slice(4 + length)], { type: "audio/wav" })));
  audio.src = urls.get(audio);
}
"""

DECODER_JS = """
const asked = new Set();
const letters = (view, at, text) => [...text].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
const wav = (sound) => {
  const n = Math.min(sound.numberOfChannels, 2), size = 2 * n * sound.length, view = new DataView(new ArrayBuffer(44 + size));
  letters(view, 0, "RIFF"); view.setUint32(4, 36 + size, true); letters(view, 8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, n, true);
  view.setUint32(24, sound.sampleRate, true); view.setUint32(28, 2 * n * sound.sampleRate, true);
  view.setUint16(32, 2 * n, true); view.setUint16(34, 16, true); letters(view, 36, "data"); view.setUint32(40, size, true);
  for (let c = 0; c < n; c += 1) {
    const samples = sound.getChannelData(c);
    for (let i = 0; i < samples.length; i += 1)
      view.setInt16(44 + 2 * (n * i + c), Math.round(32767 * Math.max(-1, Math.min(1, samples[i]))), true);
  }
  return new Uint8Array(view.buffer);
};
const base64 = (bytes) => {
  let text = "";
  for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
  return btoa(text);
};
export default function ({ data, setTriggerValue }) {
  if (!data) return;
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const length = view.getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(data.subarray(4, 4 + length)));
  if (asked.has(header.turn)) return;
  asked.add(header.turn);
  const answer = (text) => { asked.delete(header.turn); setTriggerValue("decoded", { turn: header.turn, wav: text }); };
  new OfflineAudioContext(1, 1, 48000).decodeAudioData(data.slice(4 + length).buffer)
    .then((sound) => answer(sound.duration > header.most_s + 1 ? "" : base64(wav(sound)))).catch(() => answer(""));
}
"""  # noqa: E501

Make = Callable[[], bytes]


@functools.lru_cache(maxsize=1)
def _decoder() -> Any:
    return st.components.v2.component("speechxai_decoder", html="<span hidden></span>", js=DECODER_JS)


def decode(name: str, content: bytes) -> bytes | None:
    """What this browser makes of a compressed recording: a WAV file, b"" where it cannot; None while it is asked."""
    turn = hashlib.sha256(content).hexdigest()
    header = json.dumps({"turn": turn, "most_s": sources.MAX_UPLOAD_S}).encode()
    asked = _decoder()(
        data=struct.pack("<I", len(header)) + header + content, key="decoder", on_decoded_change=lambda: None
    )
    found = asked.get("decoded") if asked else None
    return base64.b64decode(found["wav"]) if found and found["turn"] == turn else None


@functools.lru_cache(maxsize=1)
def _sound() -> Any:
    return st.components.v2.component("speechxai_sound", html=SOUND_HTML, css=SOUND_CSS, js=SOUND_JS)


def sound(label: str, content: bytes, key: str) -> None:
    """A WAV file to listen to; it travels inside the page and lies at no address."""
    name = hashlib.sha256(content).hexdigest()
    _sound()(data=block(label, "sound.wav", "audio/wav", name, content), key=key)


def block(label: str, name: str, mime: str, turn: str, content: bytes) -> bytes:
    """Header length, JSON header, content; `turn` names the click that the content answers, "" where none asked."""
    header = json.dumps({"label": label, "name": file_name(name), "type": mime, "turn": turn}).encode()
    return struct.pack("<I", len(header)) + header + content


@functools.lru_cache(maxsize=1)
def _component() -> Any:
    return st.components.v2.component("speechxai_download", html=HTML, css=CSS, js=JS)


@st.fragment
def button(label: str, name: str, mime: str, make: Make) -> None:
    """A button that saves what `make` returns as a file; one a label and page. Nothing is made or sent before it is
    pressed."""
    key = f"download_{label}"
    asked = st.session_state.get(key)
    turn = str((asked.get("wanted") if asked else "") or "")
    _component()(data=block(label, name, mime, turn, make() if turn else b""), key=key, on_wanted_change=lambda: None)


LEAVING = """
let unsaved = false;
const asks = (event) => { if (unsaved) event.preventDefault(); };
window.addEventListener("beforeunload", asks);
export default function ({ data }) {
  unsaved = Boolean(data?.unsaved);
  return () => { unsaved = false; };
}
"""


@functools.lru_cache(maxsize=1)
def _leaving() -> Any:
    return st.components.v2.component("speechxai_leaving", html="<span hidden></span>", js=LEAVING)


def ask_before_leaving() -> None:
    """Let the browser ask before it closes or reloads any page while a recording that was brought is not saved."""
    unsaved = bool(set(sources.mine()) - set(st.session_state.get("saved", ())))
    _leaving()(data={"unsaved": unsaved}, key="leaving")
